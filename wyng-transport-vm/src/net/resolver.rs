// SPDX-License-Identifier: GPL-3.0-or-later
//! Looking up a host's addresses: `/etc/hosts`, then the name servers of `/etc/resolv.conf`.
//!
//! The resolver of the C library cannot be used: a static program would have to load the system's
//! libraries for it, and behind the jail no file can be opened. So both files are read before the
//! jail, and a question is a few bytes over UDP, or over TCP if the answer is cut. No answer is
//! trusted: TLS shows who the server is.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// The port of name servers.
pub(crate) const DNS_PORT: u16 = 53;
/// Time for one answer of a name server.
const PATIENCE: Duration = Duration::from_secs(3);
/// How often every name server is asked.
const ROUNDS: usize = 2;
/// Maximum number of name servers that are asked, as in the C library.
const SERVERS_MAX: usize = 3;
/// Maximum number of addresses of a host that are tried.
const ADDRESSES_MAX: usize = 16;
/// Maximum length of an answer over UDP, bytes.
const DATAGRAM_MAX: usize = 4096;
/// Maximum size of each of the two files, bytes.
const FILE_MAX_BYTES: u64 = 1 << 20;

const TYPE_A: u16 = 1;
const TYPE_AAAA: u16 = 28;
const CLASS_INTERNET: u16 = 1;

/// What the two files say.
#[derive(Debug, Default)]
pub(crate) struct Resolver {
    servers: Vec<SocketAddr>,
    /// Domains in which a name without a dot is looked up.
    search: Vec<String>,
    /// Addresses and names in lower case.
    hosts: Vec<(IpAddr, Vec<String>)>,
}

impl Resolver {
    /// Reads both files; a file that is missing says nothing.
    pub(crate) fn read() -> Self {
        let text = |path: &str| {
            let is_small = fs::metadata(path).is_ok_and(|stat| stat.len() <= FILE_MAX_BYTES);
            let bytes = is_small.then(|| fs::read(path).ok()).flatten();
            String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
        };
        Self::of(&text("/etc/resolv.conf"), &text("/etc/hosts"))
    }

    fn of(resolv_conf: &str, hosts: &str) -> Self {
        let mut resolver = Self::default();
        for line in resolv_conf.lines() {
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") if resolver.servers.len() < SERVERS_MAX => {
                    let server = words.next().and_then(|word| word.parse::<IpAddr>().ok());
                    resolver
                        .servers
                        .extend(server.map(|server| SocketAddr::new(server, DNS_PORT)));
                }
                Some("search" | "domain") => resolver.search = words.map(str::to_owned).collect(),
                _ => {}
            }
        }
        if resolver.servers.is_empty() {
            // As the C library does.
            let own = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), DNS_PORT);
            resolver.servers.push(own);
        }
        for line in hosts.lines() {
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_ascii_whitespace();
            let address = words.next().and_then(|word| word.parse().ok());
            let names = words.map(str::to_ascii_lowercase).collect();
            resolver
                .hosts
                .extend(address.map(|address| (address, names)));
        }
        resolver
    }

    /// The addresses of a host, never none: those of IPv4 first.
    pub(crate) async fn addresses(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        if let Ok(address) = host.parse() {
            return Ok(vec![address]);
        }
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let known: Vec<IpAddr> = self
            .hosts
            .iter()
            .filter(|(_, names)| names.contains(&host))
            .map(|(address, _)| *address)
            .collect();
        if !known.is_empty() {
            return Ok(known);
        }
        if host == "localhost" {
            return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
        }
        let mut names = Vec::new();
        if !host.contains('.') {
            names.extend(self.search.iter().map(|domain| format!("{host}.{domain}")));
        }
        names.push(host);
        for name in names {
            let found = self.ask_all(&name).await?;
            if !found.is_empty() {
                return Ok(found);
            }
        }
        Err(io::Error::other("no such host"))
    }

    /// Both kinds of addresses of a name; none if there is no such name.
    async fn ask_all(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let mut found = Vec::new();
        let mut last = None;
        for kind in [TYPE_A, TYPE_AAAA] {
            match self.ask(name, kind).await {
                Ok(addresses) => found.extend(addresses),
                Err(problem) => last = Some(problem),
            }
        }
        found.truncate(ADDRESSES_MAX);
        match last {
            Some(problem) if found.is_empty() => Err(problem),
            _ => Ok(found),
        }
    }

    async fn ask(&self, name: &str, kind: u16) -> io::Result<Vec<IpAddr>> {
        let mut id = [0; 2];
        let mut last = io::Error::other("no name server answers");
        for _ in 0..ROUNDS {
            for server in &self.servers {
                rustix::rand::getrandom(&mut id[..], rustix::rand::GetRandomFlags::empty())?;
                let question = question(u16::from_be_bytes(id), name, kind)
                    .ok_or_else(|| io::Error::other("the host's name is malformed"))?;
                match timeout(PATIENCE, ask_server(*server, &question)).await {
                    Ok(Ok(answer)) => match addresses(&answer, &question, kind) {
                        Some(Answer::Addresses(found)) => return Ok(found),
                        Some(Answer::Failed) => {
                            last = io::Error::other("a name server failed");
                        }
                        None => last = io::Error::other("a name server's answer is malformed"),
                    },
                    Ok(Err(problem)) => last = problem,
                    Err(_) => {}
                }
            }
        }
        Err(last)
    }
}

/// Asks over UDP, and over TCP if the answer is cut.
async fn ask_server(server: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let own: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(own).await?;
    socket.connect(server).await?;
    socket.send(question).await?;
    let mut answer = vec![0; DATAGRAM_MAX];
    loop {
        let length = socket.recv(&mut answer).await?;
        let found = answer.get(..length).unwrap_or_default();
        // A datagram with another number is no answer, and the true one may follow.
        if found.get(..2) == question.get(..2) {
            if found.get(2).is_some_and(|flags| flags & 2 != 0) {
                break;
            }
            return Ok(found.to_vec());
        }
    }
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(question.len()).map_err(io::Error::other)?;
    let mut message = length.to_be_bytes().to_vec();
    message.extend_from_slice(question);
    stream.write_all(&message).await?;
    let mut length = [0; 2];
    stream.read_exact(&mut length).await?;
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

/// A question for the addresses of one kind; `None` for a name that no question can hold.
fn question(id: u16, name: &str, kind: u16) -> Option<Vec<u8>> {
    let mut message = id.to_be_bytes().to_vec();
    // Recursion is desired; one question.
    message.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        let length = u8::try_from(label.len())
            .ok()
            .filter(|length| (1..=63).contains(length))?;
        message.push(length);
        message.extend_from_slice(label.as_bytes());
    }
    message.push(0);
    message.extend_from_slice(&kind.to_be_bytes());
    message.extend_from_slice(&CLASS_INTERNET.to_be_bytes());
    (message.len() <= 300).then_some(message)
}

/// What an answer says.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    /// The name has these addresses of the kind, or there is no such name.
    Addresses(Vec<IpAddr>),
    /// The server could not find out.
    Failed,
}

/// The addresses in an answer to this question; `None` if it is none.
fn addresses(answer: &[u8], question: &[u8], kind: u16) -> Option<Answer> {
    let mut at = Reader(answer);
    let (id, flags) = (at.number()?, at.number()?);
    let (questions, answers) = (at.number()?, at.number()?);
    at.take(4)?;
    let asked = at.take(question.len().checked_sub(12)?)?;
    let same = question.get(12..)?.eq_ignore_ascii_case(asked);
    let is_answer = flags & 0x8000 != 0 && questions == 1;
    if !same || !is_answer || Some(&id.to_be_bytes()[..]) != question.get(..2) {
        return None;
    }
    match flags & 0xf {
        0 => {}
        3 => return Some(Answer::Addresses(Vec::new())),
        _ => return Some(Answer::Failed),
    }
    let mut found = Vec::new();
    for _ in 0..answers {
        // The names of a chain of aliases; only the addresses at its end matter.
        at.skip_name()?;
        let (of_kind, of_class) = (at.number()?, at.number()?);
        at.take(4)?;
        let length = at.number()?;
        let data = at.take(length.into())?;
        if of_kind != kind || of_class != CLASS_INTERNET {
            continue;
        }
        found.push(match kind {
            TYPE_A => IpAddr::from(<[u8; 4]>::try_from(data).ok()?),
            _ => IpAddr::from(<[u8; 16]>::try_from(data).ok()?),
        });
    }
    Some(Answer::Addresses(found))
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    /// Skips labels up to the end of the name, or to a pointer, which is its end.
    fn skip_name(&mut self) -> Option<()> {
        loop {
            match *self.take(1)?.first()? {
                0 => return Some(()),
                pointer if pointer >= 0xc0 => return self.take(1).map(drop),
                length if length < 64 => self.take(length.into()).map(drop)?,
                _ => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer_to(question: &[u8], flags: u16, records: &[(u16, &[u8])]) -> Vec<u8> {
        let mut answer = question.to_vec();
        answer[2..4].copy_from_slice(&flags.to_be_bytes());
        answer[6..8].copy_from_slice(&(records.len() as u16).to_be_bytes());
        for (kind, data) in records {
            answer.extend_from_slice(&[0xc0, 12]);
            answer.extend_from_slice(&kind.to_be_bytes());
            answer.extend_from_slice(&[0, 1, 0, 0, 0, 60]);
            answer.extend_from_slice(&(data.len() as u16).to_be_bytes());
            answer.extend_from_slice(data);
        }
        answer
    }

    #[test]
    fn an_alias_is_followed_to_the_addresses_behind_it() {
        let question = question(7, "s3.example.org", TYPE_A).unwrap();
        let records: [(u16, &[u8]); 3] = [
            (5, b"\x01x\xc0\x0c"),
            (TYPE_A, &[192, 0, 2, 1]),
            (TYPE_A, &[192, 0, 2, 2]),
        ];
        let answer = answer_to(&question, 0x8180, &records);
        let expected = [[192, 0, 2, 1], [192, 0, 2, 2]].map(IpAddr::from);
        assert_eq!(
            addresses(&answer, &question, TYPE_A),
            Some(Answer::Addresses(expected.to_vec()))
        );
        let nothing = answer_to(&question, 0x8183, &[]);
        let none = Answer::Addresses(Vec::new());
        assert_eq!(addresses(&nothing, &question, TYPE_A), Some(none));
        let failed = answer_to(&question, 0x8182, &[]);
        assert_eq!(addresses(&failed, &question, TYPE_A), Some(Answer::Failed));
    }

    #[test]
    fn an_answer_that_is_cut_anywhere_or_is_to_another_question_is_none() {
        let question = question(7, "s3.example.org", TYPE_AAAA).unwrap();
        let answer = answer_to(&question, 0x8180, &[(TYPE_AAAA, &[1; 16])]);
        assert!(addresses(&answer, &question, TYPE_AAAA).is_some());
        for length in 0..answer.len() {
            assert_eq!(
                addresses(&answer[..length], &question, TYPE_AAAA),
                None,
                "{length}"
            );
        }
        let other = super::question(7, "s3.example.com", TYPE_AAAA).unwrap();
        assert_eq!(addresses(&answer, &other, TYPE_AAAA), None);
        let wrong_length = answer_to(&question, 0x8180, &[(TYPE_AAAA, &[1; 4])]);
        assert_eq!(addresses(&wrong_length, &question, TYPE_AAAA), None);
    }

    #[test]
    fn the_two_files_are_understood() {
        let resolver = Resolver::of(
            "# x\nsearch a.example b.example\nnameserver 10.139.1.1\nnameserver fd00::1\nnameserver x\noptions edns0\n",
            "127.0.0.1 localhost\n192.0.2.9 NAS nas.lan # the disk\n",
        );
        let servers: Vec<String> = resolver.servers.iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["10.139.1.1:53", "[fd00::1]:53"]);
        assert_eq!(resolver.search, ["a.example", "b.example"]);
        assert_eq!(resolver.hosts[1].1, ["nas", "nas.lan"]);
    }
}
