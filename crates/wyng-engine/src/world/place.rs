// SPDX-License-Identifier: GPL-3.0-or-later
//! Where a store is, how it is reached, and what it asks for before it lets anybody in.

use std::collections::BTreeSet;

use wyng_control::{Failure, STORE_MAX_BYTES, Via};
use wyng_wire::Service;
use zeroize::Zeroizing;

/// A store's address, its far end and its credentials.
#[derive(Clone)]
pub struct Place {
    /// The store's address, which holds no secret.
    pub url: String,
    /// The far end.
    pub via: Via,
    /// What the store asks for.
    pub credentials: StoreCredentials,
}

impl Place {
    /// A store that asks for nothing.
    pub fn open(url: &str, via: &Via) -> Self {
        Self {
            url: url.to_owned(),
            via: via.clone(),
            credentials: StoreCredentials::default(),
        }
    }

    /// What a far end of this service is asked to open: the address and, behind a line feed, the
    /// credentials of the service.
    pub fn destination(&self, service: Service) -> Zeroizing<String> {
        let credentials = self.credentials.of(service);
        // At once as long as it gets: a string that grows leaves copies behind.
        let length = self.url.len().saturating_add(credentials.len());
        let mut destination = Zeroizing::new(String::with_capacity(length.saturating_add(1)));
        destination.push_str(&self.url);
        if !credentials.is_empty() {
            destination.push('\n');
            destination.push_str(&credentials);
        }
        destination
    }
}

/// Lines `key = value`, which only the far end understands. Lines behind `[push]`, `[fetch]` or
/// `[prune]` are for that service alone. Empty: the store asks for nothing.
#[derive(Clone, Default)]
pub struct StoreCredentials(Zeroizing<String>);

impl StoreCredentials {
    /// Takes the text of a credentials file, for a store at `url`.
    ///
    /// # Errors
    /// [`Failure::BadCredentials`] if it is not UTF-8, if a line is neither a pair, `vm:NAME`, a
    /// section nor a comment, if no service gets a line, if a service gets a key twice, or if the
    /// address and the lines of a service have more than [`STORE_MAX_BYTES`].
    pub fn parse(text: Zeroizing<Vec<u8>>, url: &str) -> Result<Self, Failure> {
        let text = std::str::from_utf8(&text).map_err(|_| Failure::BadCredentials)?;
        let is_line = |line: &str| {
            let line = line.trim();
            let is_section = || section(line).is_some();
            let is_pair = || line.starts_with("vm:") || line.contains('=') || line.starts_with('#');
            !line.contains(char::is_control)
                && (line.is_empty() || (is_pair() && !line.starts_with('[')) || is_section())
        };
        let read = Self(Zeroizing::new(text.to_owned()));
        let room = STORE_MAX_BYTES.saturating_sub(url.len()).saturating_sub(1);
        let lengths =
            [Service::Push, Service::Fetch, Service::Prune].map(|service| read.of(service).len());
        // A service without lines is one that the owner does not grant to this machine.
        let fits = lengths.iter().all(|length| *length <= room);
        let is_clear = [Service::Push, Service::Fetch, Service::Prune]
            .into_iter()
            .all(|service| has_each_key_once(&read.of(service)));
        if text.lines().all(is_line) && fits && is_clear && lengths.iter().any(|length| *length > 0)
        {
            Ok(read)
        } else {
            Err(Failure::BadCredentials)
        }
    }

    /// The whole text.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// Whether the store asks for nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The lines of one service.
    fn of(&self, service: Service) -> Zeroizing<String> {
        let mut lines = Zeroizing::new(String::with_capacity(self.0.len()));
        let mut counts = true;
        for line in self.0.lines().map(str::trim) {
            if let Some(named) = section(line) {
                counts = named == service;
            } else if counts && !line.is_empty() && !line.starts_with('#') {
                if !lines.is_empty() {
                    lines.push('\n');
                }
                lines.push_str(line);
            }
        }
        lines
    }
}

/// Whether no key stands in two lines: one for all services and one for this one, or with Amazon's
/// prefix and without it. Which of the two the far end took would be a guess.
fn has_each_key_once(lines: &str) -> bool {
    let mut keys = BTreeSet::new();
    lines.lines().all(|line| {
        let key = line.split_once('=').map_or(line, |(key, _)| key).trim();
        keys.insert(key.strip_prefix("aws_").unwrap_or(key))
    })
}

/// The service of a line `[push]`, `[fetch]` or `[prune]`.
fn section(line: &str) -> Option<Service> {
    Service::from_verb(line.strip_prefix('[')?.strip_suffix(']')?.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "s3://bucket/prefix";

    fn parse(text: &str) -> Result<StoreCredentials, Failure> {
        StoreCredentials::parse(Zeroizing::new(text.into()), URL)
    }

    #[test]
    fn a_service_gets_its_own_lines_and_those_of_all() {
        let credentials = parse(
            "# of the NAS\nregion_note = x\n[push]\nkey = a\n\n[fetch]\nkey = b\nsecret = c\n",
        )
        .ok()
        .unwrap();
        let place = Place {
            credentials,
            ..Place::open(URL, &Via::Local)
        };
        let of = |service| place.destination(service).to_string();
        assert_eq!(
            of(Service::Push),
            format!("{URL}\nregion_note = x\nkey = a")
        );
        assert_eq!(
            of(Service::Fetch),
            format!("{URL}\nregion_note = x\nkey = b\nsecret = c")
        );
        assert_eq!(of(Service::Prune), format!("{URL}\nregion_note = x"));
        assert_eq!(
            *Place::open(URL, &Via::Local).destination(Service::Push),
            URL
        );
    }

    #[test]
    fn what_is_no_credentials_file_is_refused() {
        assert!(parse("vm:nas").is_ok());
        for text in [
            "",
            "# nothing\n",
            "only words",
            "[push",
            "[all]\nkey = a",
            "key = a\n[push]\nkey = b",
            "aws_key = a\nkey = b",
            "key = \u{1b}[2J",
            &format!("key = {}", "x".repeat(5000)),
        ] {
            assert!(
                matches!(parse(text), Err(Failure::BadCredentials)),
                "{text:?}"
            );
        }
    }
}
