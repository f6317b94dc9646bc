// SPDX-License-Identifier: GPL-3.0-or-later
//! Names of ZFS volumes, and of what the daemon makes beside them. Characters are checked here,
//! because a name becomes an argument of a program that root runs.

use std::fmt;
use std::path::PathBuf;

use bincode::{Decode, Encode};

/// Folder of the links to the devices of ZFS volumes, one folder a dataset.
pub const ZVOLS: &str = "/dev/zvol";
/// The beginning of the name of a ZFS volume where a path may stand, too.
const SCHEME: &str = "zfs:";
/// Maximum length of a dataset's or a snapshot's whole name, bytes.
const NAME_MAX_BYTES: usize = 255;
/// Prefix of what the daemon makes; hexadecimal digits follow.
const PREFIX: &str = "wyng-";
/// Number of digits behind the prefix.
const DIGITS: usize = 16;

/// A volume of a ZFS pool: `POOL/DATASET`, with any number of datasets between.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct ZvolName(String);

impl ZvolName {
    /// `None` unless it lies in a pool, has only characters that ZFS allows, no space, and cannot
    /// be an option or a path that leads elsewhere.
    pub fn new(name: &str) -> Option<Self> {
        let is_part = |part: &str| {
            let mut bytes = part.bytes();
            ![".", ".."].contains(&part)
                && part.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '.')
                && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte))
        };
        let is_name = name.len() <= NAME_MAX_BYTES
            && name.starts_with(|first: char| first.is_ascii_alphabetic())
            && name.contains('/')
            && name.split('/').all(is_part);
        is_name.then(|| Self(name.to_owned()))
    }

    /// What is named as `zfs:POOL/DATASET`; `None` for any other text, `Some(None)` if it is no
    /// name of a volume.
    pub fn of_scheme(text: &str) -> Option<Option<Self>> {
        text.strip_prefix(SCHEME).map(Self::new)
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The link to its device.
    pub fn device(&self) -> PathBuf {
        PathBuf::from(ZVOLS).join(&self.0)
    }

    /// The dataset that it lies in.
    pub fn parent(&self) -> &str {
        self.0.rsplit_once('/').map_or("", |(parent, _)| parent)
    }

    /// The pool that it lies in.
    pub fn pool(&self) -> &str {
        self.0.split_once('/').map_or("", |(pool, _)| pool)
    }

    /// Whether its last component is a name that the daemon gives.
    pub fn is_own(&self) -> bool {
        is_own(self.0.rsplit_once('/').map_or("", |(_, last)| last))
    }
}

/// A snapshot that the daemon made of a ZFS volume, `POOL/DATASET@wyng-…`, or a volume that it made
/// beside one, `POOL/wyng-…`. Nothing else is ever destroyed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct OwnZfsName(String);

impl OwnZfsName {
    /// The snapshot or volume of this name, if it is the daemon's by its name.
    pub fn parse(name: &str) -> Option<Self> {
        let is_ours = name.len() <= NAME_MAX_BYTES
            && match name.split_once('@') {
                Some((of, last)) => ZvolName::new(of).is_some() && is_own(last),
                None => ZvolName::new(name).is_some_and(|volume| volume.is_own()),
            };
        is_ours.then(|| Self(name.to_owned()))
    }

    /// A new snapshot of a volume; `None` if the name would be too long.
    pub fn snapshot(of: &ZvolName, number: u64) -> Option<Self> {
        Self::parse(&format!("{}@{PREFIX}{number:016x}", of.as_str()))
    }

    /// A new volume beside another one; `None` if the name would be too long.
    pub fn beside(volume: &ZvolName, number: u64) -> Option<Self> {
        Self::parse(&format!("{}/{PREFIX}{number:016x}", volume.parent()))
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is a snapshot. The others are volumes.
    pub fn is_snapshot(&self) -> bool {
        self.0.contains('@')
    }

    /// The volume: itself, or the one that it is a snapshot of.
    pub fn volume(&self) -> Option<ZvolName> {
        ZvolName::new(self.0.split('@').next()?)
    }

    /// Whether [`parse`](Self::parse) would make it.
    pub fn is_checked(&self) -> bool {
        Self::parse(&self.0).is_some()
    }
}

impl fmt::Display for OwnZfsName {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(&self.0)
    }
}

fn is_own(last: &str) -> bool {
    last.strip_prefix(PREFIX).is_some_and(|digits| {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        digits.len() == DIGITS && digits.bytes().all(is_digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_could_be_an_option_or_lead_elsewhere_is_refused() {
        for name in [
            "",
            "tank",
            "tank/",
            "/tank/a",
            "-f/a",
            "tank/-f",
            "tank//a",
            "tank/../a",
            "tank/a@b",
            "tank/a b",
            "tank/a\tb",
            "tank/a%b",
            "1tank/a",
            &format!("tank/{}", "x".repeat(256)),
        ] {
            assert_eq!(ZvolName::new(name), None, "{name:?}");
        }
        let name = ZvolName::new("tank/qubes/.exported/work_private:1").unwrap();
        assert_eq!(
            (name.pool(), name.parent()),
            ("tank", "tank/qubes/.exported")
        );
        let device = name.device();
        assert_eq!(
            device.to_str(),
            Some("/dev/zvol/tank/qubes/.exported/work_private:1")
        );
    }

    #[test]
    fn only_the_prefix_with_sixteen_digits_is_the_daemons() {
        let volume = ZvolName::new("tank/a").unwrap();
        let snapshot = OwnZfsName::snapshot(&volume, 0xab).unwrap();
        assert_eq!(snapshot.as_str(), "tank/a@wyng-00000000000000ab");
        assert_eq!(snapshot.volume(), Some(volume.clone()));
        let beside = OwnZfsName::beside(&volume, 0xab).unwrap();
        assert_eq!(beside.as_str(), "tank/wyng-00000000000000ab");
        assert!(snapshot.is_snapshot() && !beside.is_snapshot());
        for name in [
            "tank/a",
            "tank/a@daily",
            "tank@wyng-00000000000000ab",
            "tank/a@wyng-00000000000000a",
            "tank/a@wyng-00000000000000AB",
            "tank/a@x@wyng-00000000000000ab",
            "tank/wyng-00000000000000ab@daily",
            "wyng-00000000000000ab",
        ] {
            assert_eq!(OwnZfsName::parse(name), None, "{name}");
        }
    }
}
