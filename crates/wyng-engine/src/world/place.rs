// SPDX-License-Identifier: GPL-3.0-or-later
//! Where a store is, how it is reached, and what it asks for before it lets anybody in.

use std::collections::BTreeSet;

use wyng_config::without_credentials;
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
    /// What is pushed is locked until the beginning of this day of UTC, counted from the beginning
    /// of 1970; 0: not at all.
    pub lock_until_day: u32,
}

impl Place {
    /// A store that asks for nothing.
    pub fn open(url: &str, via: &Via) -> Self {
        Self {
            url: url.to_owned(),
            via: via.clone(),
            credentials: StoreCredentials::default(),
            lock_until_day: 0,
        }
    }

    /// What a far end of this service is asked to open: the address and, behind a line feed, the
    /// credentials of the service. Where requests are signed here, no credentials follow.
    pub fn destination(&self, service: Service) -> Zeroizing<String> {
        let credentials = if self.credentials.are_signing() {
            Zeroizing::default()
        } else {
            self.credentials.of(service)
        };
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

/// What nobody can do to a locked object; the stricter mode is the greater one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum LockMode {
    /// Whoever has a right for it can remove the lock.
    #[default]
    Governance,
    /// Nobody can remove the lock or shorten it.
    Compliance,
}

/// What an address says about locks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LockTerms {
    /// For how many days an object is locked.
    pub days: u16,
    /// How strictly.
    pub mode: LockMode,
}

/// How a store at this address is to lock what it stores; `None`: not at all, or the address is
/// malformed, which its far end reports.
pub(crate) fn lock_terms(url: &str) -> Option<LockTerms> {
    let (_, query) = url.strip_prefix("s3:")?.split_once('?')?;
    let value = |key| query.split('&').find_map(|pair| pair.strip_prefix(key));
    let days = value("lock=")?.strip_suffix('d')?.parse().ok()?;
    let mode = match value("lock_mode=") {
        Some("governance") => LockMode::Governance,
        _ => LockMode::Compliance,
    };
    Some(LockTerms { days, mode })
}

/// The line that has this machine sign each request, instead of handing the credentials to the far
/// end.
const SIGNED: &str = "signed";

/// The line that has the far end get the credentials although requests were signed before.
const UNSIGNED: &str = "unsigned";

/// Lines `key = value`, which only the far end understands. Lines behind `[push]`, `[fetch]` or
/// `[prune]` are for that service alone. With the line `signed` before all of them, they are the
/// access keys with which this machine signs. Empty: the store asks for nothing.
#[derive(Clone, Default)]
pub struct StoreCredentials(Zeroizing<String>);

impl StoreCredentials {
    /// Takes the text of a credentials file, for a store at `url`.
    ///
    /// # Errors
    /// [`Failure::BadCredentials`] if it is not UTF-8, if a line is neither a pair, `vm:NAME`, a
    /// section nor a comment, if no service gets a line, if a service gets a key twice, or if the
    /// address and the lines of a service have more than [`STORE_MAX_BYTES`];
    /// [`Failure::NotSignable`] if they are to sign requests to a store that is none of S3.
    pub fn parse(text: Zeroizing<Vec<u8>>, url: &str) -> Result<Self, Failure> {
        let text = std::str::from_utf8(&text).map_err(|_| Failure::BadCredentials)?;
        let is_line = |line: &str| {
            let line = line.trim();
            let is_section = || section(line).is_some();
            let is_pair = || line.starts_with("vm:") || line.contains('=') || line.starts_with('#');
            !line.contains(char::is_control)
                && (line == SIGNED
                    || line.is_empty()
                    || (is_pair() && !line.starts_with('['))
                    || is_section())
        };
        let read = Self(Zeroizing::new(text.to_owned()));
        if read.are_signing() && !url.starts_with("s3:") {
            let store = without_credentials(url);
            return Err(Failure::NotSignable { store });
        }
        let places = text.lines().filter(|line| line.trim() == SIGNED).count();
        let is_in_place = places == usize::from(read.are_signing());
        let has_keys =
            !read.are_signing() || !text.lines().any(|line| line.trim().starts_with("vm:"));
        let room = STORE_MAX_BYTES.saturating_sub(url.len()).saturating_sub(1);
        let lengths =
            [Service::Push, Service::Fetch, Service::Prune].map(|service| read.of(service).len());
        // A service without lines is one that the owner does not grant to this machine.
        let fits = lengths.iter().all(|length| *length <= room);
        let is_clear = [Service::Push, Service::Fetch, Service::Prune]
            .into_iter()
            .all(|service| has_each_key_once(&read.of(service)));
        let is_signing_right = is_in_place && has_keys;
        if text.lines().all(is_line)
            && is_signing_right
            && fits
            && is_clear
            && lengths.iter().any(|length| *length > 0)
        {
            Ok(read)
        } else {
            Err(Failure::BadCredentials)
        }
    }

    /// The same for an archive whose requests are signed on this machine today, if any are: they
    /// stay signed, unless the text says otherwise in its first line.
    ///
    /// # Errors
    /// Those of [`StoreCredentials::parse`].
    pub fn parse_after(
        are_signed: bool,
        text: Zeroizing<Vec<u8>>,
        url: &str,
    ) -> Result<Self, Failure> {
        let own = text.strip_prefix(UNSIGNED.as_bytes());
        if let Some(own) = own.and_then(|own| own.strip_prefix(b"\n")) {
            return Self::parse(Zeroizing::new(own.to_vec()), url);
        }
        let read = Self::parse(Zeroizing::new(text.to_vec()), url)?;
        if read.are_signing() || !are_signed {
            return Ok(read);
        }
        // At once as long as it gets, as above.
        let length = text.len().saturating_add(SIGNED.len()).saturating_add(1);
        let mut signed = Zeroizing::new(Vec::with_capacity(length));
        signed.extend_from_slice(SIGNED.as_bytes());
        signed.push(b'\n');
        signed.extend_from_slice(&text);
        Self::parse(signed, url)
    }

    /// The whole text.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// Whether the store asks for nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this machine signs each request, and no far end gets the credentials.
    pub fn are_signing(&self) -> bool {
        let mut lines = self.0.lines().map(str::trim);
        let first = lines.find(|line| !line.is_empty() && !line.starts_with('#'));
        first == Some(SIGNED)
    }

    /// The value of a key among the lines of one service, without the quotes around it.
    pub fn value(&self, service: Service, key: &str) -> Option<Zeroizing<String>> {
        let lines = self.of(service);
        lines.lines().find_map(|line| {
            let (found, value) = line.split_once('=')?;
            if bare(found) != key {
                return None;
            }
            let value = value.trim();
            let quoted = value
                .strip_prefix('"')
                .and_then(|value| value.strip_suffix('"'));
            Some(Zeroizing::new(quoted.unwrap_or(value).to_owned()))
        })
    }

    /// The lines of one service.
    fn of(&self, service: Service) -> Zeroizing<String> {
        let mut lines = Zeroizing::new(String::with_capacity(self.0.len()));
        let mut counts = true;
        for line in self.0.lines().map(str::trim) {
            if let Some(named) = section(line) {
                counts = named == service;
            } else if counts && !line.is_empty() && !line.starts_with('#') && line != SIGNED {
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
    lines
        .lines()
        .all(|line| keys.insert(bare(line.split_once('=').map_or(line, |(key, _)| key))))
}

/// A key without the prefix that it has in Amazon's own files.
fn bare(key: &str) -> &str {
    let key = key.trim();
    key.strip_prefix("aws_").unwrap_or(key)
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
    fn what_was_signed_stays_signed_unless_it_is_said_otherwise() {
        let after = |before: &str, text: &str| {
            let before = parse(before).ok().unwrap();
            StoreCredentials::parse_after(before.are_signing(), Zeroizing::new(text.into()), URL)
                .map(|read| (read.are_signing(), read.text().to_owned()))
        };
        let kept = after("signed\nkey = a\n", "key = b\n");
        assert_eq!(kept, Ok((true, "signed\nkey = b\n".into())));
        let dropped = after("signed\nkey = a\n", "unsigned\nkey = b\n");
        assert_eq!(dropped, Ok((false, "key = b\n".into())));
        assert_eq!(
            after("key = a\n", "key = b\n"),
            Ok((false, "key = b\n".into()))
        );
        let begun = after("key = a\n", "signed\nkey = b\n");
        assert_eq!(begun, Ok((true, "signed\nkey = b\n".into())));
        // With a name in the VM nothing can be signed here.
        let refused = after("signed\nkey = a\n", "vm:nas");
        assert_eq!(refused, Err(Failure::BadCredentials));
    }

    #[test]
    fn the_days_and_the_mode_of_a_lock_are_in_the_address() {
        use LockMode::{Compliance, Governance};
        let governed = Some((30, Governance));
        for (url, terms) in [
            ("s3://b/p?region=x&lock=30d&lock_mode=governance", governed),
            ("s3://b/p?lock_mode=governance&lock=30d", governed),
            (
                "s3://b/p?lock_mode=compliance&lock=7d",
                Some((7, Compliance)),
            ),
            ("s3://b/p?lock=365d", Some((365, Compliance))),
            ("s3://b/p?lock=x", None),
            ("s3://b/p?lock_mode=governance", None),
            ("s3://b/p?region=x", None),
            ("s3://b/lock=30d", None),
            ("webdavs://host/p?lock=30d", None),
        ] {
            let terms = terms.map(|(days, mode)| LockTerms { days, mode });
            assert_eq!(lock_terms(url), terms, "{url}");
        }
        assert!(Governance < Compliance);
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
    fn where_this_machine_signs_no_far_end_gets_a_line() {
        let text =
            "# ours\n\nsigned\naws_access_key_id = AKIA\n[push]\nsecret_access_key = \"a b\"";
        let credentials = parse(text).ok().unwrap();
        assert!(credentials.are_signing());
        let value = |service, key| {
            credentials
                .value(service, key)
                .map(|value| value.to_string())
        };
        let secret = "secret_access_key";
        assert_eq!(value(Service::Push, secret).as_deref(), Some("a b"));
        assert_eq!(value(Service::Fetch, secret), None);
        let id = value(Service::Fetch, "access_key_id");
        assert_eq!(id.as_deref(), Some("AKIA"));
        let place = Place {
            credentials,
            ..Place::open(URL, &Via::Local)
        };
        for service in [Service::Push, Service::Fetch, Service::Prune] {
            assert_eq!(*place.destination(service), URL);
        }
        for text in [
            "signed\nvm:nas",
            "key = a\nsigned",
            "signed",
            "signed\nsigned\nkey = a",
        ] {
            let parsed = parse(text);
            assert!(matches!(parsed, Err(Failure::BadCredentials)), "{text:?}");
        }
        let elsewhere = Zeroizing::new(b"signed\nuser = ann".to_vec());
        let parsed = StoreCredentials::parse(elsewhere, "webdavs://host/x");
        assert!(matches!(parsed, Err(Failure::NotSignable { .. })));
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
