// SPDX-License-Identifier: GPL-3.0-or-later
//! A proxy between the helper and a server, which understands HTTP/1.1 well enough to do harm at
//! any byte of a request or an answer.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// A request that the proxy has read.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Its number, from 0 on.
    pub number: usize,
    /// The line of its method and the headers.
    pub head: String,
    /// Its body.
    pub body: Vec<u8>,
    /// Number of PUTs that the server has answered with success by then.
    pub acknowledged: usize,
}

impl Seen {
    /// The answer of a server that refuses headers of S3 which are not signed, as Amazon's does;
    /// the server of the tests heeds them. `None` if there are none.
    pub fn has_unsigned_headers(&self) -> Option<Action> {
        let head = self.head.to_ascii_lowercase();
        let (_, signed) = head.split_once("signedheaders=")?;
        let signed: Vec<&str> = signed.split([',', '\r']).next()?.split(';').collect();
        let names = head
            .lines()
            .filter_map(|line| Some(line.split_once(':')?.0));
        let mut unsigned =
            names.filter(|name| name.starts_with("x-amz-") && !signed.contains(name));
        unsigned.next()?;
        let text = "<Error><Code>AccessDenied</Code></Error>";
        let length = text.len();
        Some(Action::Answer(format!(
            "HTTP/1.1 403 Forbidden\r\ncontent-length: {length}\r\n\r\n{text}"
        )))
    }

    /// Whether it has this method.
    pub fn is(&self, method: &str) -> bool {
        self.head
            .strip_prefix(method)
            .is_some_and(|rest| rest.starts_with(' '))
    }
}

/// What the proxy does with a request.
#[derive(Debug, Clone)]
pub enum Action {
    /// Passes it on, and the answer back.
    Pass,
    /// Passes on its first bytes only, and closes both connections.
    CutRequest(usize),
    /// Passes back the first bytes of the answer only, and closes both connections.
    CutAnswer(usize),
    /// Passes back the first bytes of the answer only, and keeps the connection open.
    StallAnswer(usize),
    /// Answers itself; the server never gets the request.
    Answer(String),
    /// Passes it on, and answers something else than the server.
    AnswerAfter(String),
    /// Passes it on, and the answer back with a text replaced by another.
    Replace(&'static str, &'static str),
}

/// Numbers of what has passed.
#[derive(Default)]
struct Count {
    requests: AtomicUsize,
    acknowledged: AtomicUsize,
}

/// Decides what becomes of a request.
type Rule = Box<dyn Fn(&Seen) -> Action + Send + Sync>;

/// A proxy that runs until the test ends.
pub struct Proxy {
    port: u16,
    seen: Arc<Mutex<Vec<Seen>>>,
    rule: Arc<Mutex<Rule>>,
}

impl Proxy {
    /// A proxy to a port on loopback that does as the rule says.
    pub fn start(server: u16, rule: impl Fn(&Seen) -> Action + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let proxy = Self {
            port: listener.local_addr().unwrap().port(),
            seen: Arc::default(),
            rule: Arc::new(Mutex::new(Box::new(rule))),
        };
        let (seen, rule) = (Arc::clone(&proxy.seen), Arc::clone(&proxy.rule));
        let count = Arc::new(Count::default());
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (seen, rule, count) =
                    (Arc::clone(&seen), Arc::clone(&rule), Arc::clone(&count));
                // A connection that breaks is what the test is about.
                std::thread::spawn(move || serve(client, server, &seen, &rule, &count));
            }
        });
        proxy
    }

    /// A proxy that makes a server refuse headers which are not signed, and otherwise does as the
    /// rule says.
    pub fn strict(server: u16, rule: impl Fn(&Seen) -> Action + Send + Sync + 'static) -> Self {
        Self::start(server, strictly(rule))
    }

    /// The port on loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// [`Proxy::set_rule`] of a proxy that is [`Proxy::strict`].
    pub fn set_strict_rule(&self, rule: impl Fn(&Seen) -> Action + Send + Sync + 'static) {
        self.set_rule(strictly(rule));
    }

    /// From now on another rule counts.
    pub fn set_rule(&self, rule: impl Fn(&Seen) -> Action + Send + Sync + 'static) {
        *self.rule.lock().unwrap() = Box::new(rule);
    }

    /// The requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

fn strictly(
    rule: impl Fn(&Seen) -> Action + Send + Sync + 'static,
) -> impl Fn(&Seen) -> Action + Send + Sync + 'static {
    move |seen| seen.has_unsigned_headers().unwrap_or_else(|| rule(seen))
}

fn serve(
    client: TcpStream,
    server: u16,
    seen: &Mutex<Vec<Seen>>,
    rule: &Mutex<Rule>,
    count: &Count,
) -> io::Result<()> {
    let mut requests = BufReader::new(client.try_clone()?);
    loop {
        let Some((head, body)) = read_message(&mut requests, Framing::Request)? else {
            return Ok(());
        };
        let request = Seen {
            number: count.requests.fetch_add(1, Ordering::SeqCst),
            head: String::from_utf8_lossy(&head).into_owned(),
            body: body.clone(),
            acknowledged: count.acknowledged.load(Ordering::SeqCst),
        };
        seen.lock().unwrap().push(request.clone());
        let action = (rule.lock().unwrap())(&request);
        let whole = [head, body].concat();
        if let Action::Answer(answer) = &action {
            (&client).write_all(answer.as_bytes())?;
            continue;
        }
        let mut upstream = TcpStream::connect(("127.0.0.1", server))?;
        if let Action::CutRequest(length) = action {
            let _ = upstream.write_all(&whole[..length.min(whole.len())]);
            let _ = upstream.shutdown(Shutdown::Both);
            return client.shutdown(Shutdown::Both);
        }
        upstream.write_all(&whole)?;
        let framing = if request.is("HEAD") {
            Framing::HeadAnswer
        } else {
            Framing::Answer
        };
        let Some((head, body)) = read_message(&mut BufReader::new(upstream), framing)? else {
            return client.shutdown(Shutdown::Both);
        };
        if request.is("PUT") && head.starts_with(b"HTTP/1.1 2") {
            count.acknowledged.fetch_add(1, Ordering::SeqCst);
        }
        let mut answer = [head, body].concat();
        match action {
            Action::CutAnswer(length) => {
                let _ = (&client).write_all(&answer[..length.min(answer.len())]);
                return client.shutdown(Shutdown::Both);
            }
            Action::StallAnswer(length) => {
                let _ = (&client).write_all(&answer[..length.min(answer.len())]);
                loop {
                    std::thread::park();
                }
            }
            Action::AnswerAfter(other) => answer = other.into(),
            Action::Replace(text, other) => {
                answer = String::from_utf8_lossy(&answer).replace(text, other).into();
            }
            Action::Pass | Action::CutRequest(_) | Action::Answer(_) => {}
        }
        (&client).write_all(&answer)?;
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Framing {
    Request,
    Answer,
    HeadAnswer,
}

/// The head and the body of a message; `None` at the end of the stream.
fn read_message(
    from: &mut impl BufRead,
    framing: Framing,
) -> io::Result<Option<(Vec<u8>, Vec<u8>)>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if from.read_until(b'\n', &mut head)? == 0 {
            return Ok(None);
        }
    }
    let text = String::from_utf8_lossy(&head).to_ascii_lowercase();
    let header = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.map(|value| value.trim_start_matches(':').trim().to_owned())
    };
    let mut body = Vec::new();
    let without_body = text.starts_with("http/1.1 204") || text.starts_with("http/1.1 304");
    if framing == Framing::HeadAnswer || without_body {
        return Ok(Some((head, body)));
    }
    if header("transfer-encoding").is_some_and(|coding| coding.contains("chunked")) {
        while !body.ends_with(b"0\r\n\r\n") {
            if from.read_until(b'\n', &mut body)? == 0 {
                break;
            }
        }
        return Ok(Some((head, body)));
    }
    match header("content-length").and_then(|length| length.parse().ok()) {
        Some(length) => {
            body.resize(length, 0);
            from.read_exact(&mut body)?;
        }
        None if framing == Framing::Answer => {
            from.read_to_end(&mut body)?;
        }
        None => {}
    }
    Ok(Some((head, body)))
}
