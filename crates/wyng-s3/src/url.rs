// SPDX-License-Identifier: GPL-3.0-or-later
//! A URL as store addresses have it: `scheme://user@host:port/path?key=value&key=value`. Stricter
//! than the standard: a password, a fragment, an encoded slash or a control character is refused.

/// The parts of a URL; all except the scheme are percent-decoded.
pub struct Url<'u> {
    /// Before `://`, as written.
    pub scheme: &'u str,
    /// Before `@`.
    pub user: Option<String>,
    /// Never empty; an IPv6 address without its brackets.
    pub host: String,
    /// 1 to 65535.
    pub port: Option<u16>,
    /// Empty, or with a slash at its beginning.
    pub path: String,
    /// Behind `?`.
    query: Vec<(String, String)>,
}

impl<'u> Url<'u> {
    /// `None` for anything else.
    pub fn parse(text: &'u str) -> Option<Self> {
        if text.contains('#') {
            return None;
        }
        let (scheme, rest) = text.split_once("://")?;
        let (rest, query) = match rest.split_once('?') {
            Some((rest, query)) => (rest, query),
            None => (rest, ""),
        };
        let slash = rest.find('/').unwrap_or(rest.len());
        let (authority, path) = rest.split_at_checked(slash)?;
        let (user, host_port) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, authority),
        };
        if user.is_some_and(|user| user.is_empty() || user.contains([':', '@'])) {
            return None;
        }
        let (host, port) = host_and_port(host_port)?;
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        let query = pairs
            .map(|pair| {
                let (key, value) = pair.split_once('=')?;
                Some((decode(key)?, decode(value)?))
            })
            .collect::<Option<Vec<_>>>()?;
        let twice = query
            .iter()
            .enumerate()
            .any(|(at, (key, _))| query.iter().take(at).any(|(before, _)| before == key));
        if twice {
            return None;
        }
        Some(Self {
            scheme,
            user: match user {
                Some(user) => Some(decode(user)?),
                None => None,
            },
            host,
            port,
            path: decode_path(path)?,
            query,
        })
    }

    /// The value of a key of the query.
    pub fn value(&self, key: &str) -> Option<String> {
        self.query
            .iter()
            .find(|(known, _)| known == key)
            .map(|(_, value)| value.clone())
    }

    /// `None` if the query has any other key than these.
    pub fn knows_only(&self, keys: &[&str]) -> Option<()> {
        let known = |(key, _): &(String, String)| keys.contains(&&**key);
        self.query.iter().all(known).then_some(())
    }
}

fn host_and_port(text: &str) -> Option<(String, Option<u16>)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, behind) = rest.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            match behind {
                "" => (host, None),
                behind => (host, Some(behind.strip_prefix(':')?)),
            }
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let port = match port {
        Some(port) => Some(port.parse::<u16>().ok().filter(|port| *port > 0)?),
        None => None,
    };
    let is_host_byte =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':');
    let is_host = !host.is_empty() && host.len() <= 253 && host.bytes().all(is_host_byte);
    is_host.then(|| (host.to_owned(), port))
}

/// Decodes the parts of a path. A slash that is encoded would make another path of it.
fn decode_path(path: &str) -> Option<String> {
    let parts = path
        .split('/')
        .map(|part| decode(part).filter(|part| !part.contains('/')));
    Some(parts.collect::<Option<Vec<_>>>()?.join("/"))
}

/// Replaces `%xx`; `None` if the result is not text without control characters.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let (high, low) = (digit(rest.next()?)?, digit(rest.next()?)?);
        bytes.push(u8::try_from((high << 4) | low).ok()?);
    }
    String::from_utf8(bytes)
        .ok()
        .filter(|text| !text.contains(char::is_control))
}
