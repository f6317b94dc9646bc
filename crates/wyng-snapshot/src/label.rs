// SPDX-License-Identifier: GPL-3.0-or-later
//! The name of a base snapshot, which is its label, so that a file gets its name and its label in
//! the same instant.
//!
//! ```text
//! ARCHIVE-VOLUME-GENERATION-SESSION-ROOT-INODE-MODIFIED
//! ```
//! All parts are hexadecimal and of fixed length: 32, 32, 16, 16, 64, 16 and 16 digits. The inode
//! and the time of the last change (nanoseconds since 1970) are those of the file itself, so that a
//! copy, or a file that was written to, is no base snapshot.

use rustix::fs::Stat;
use wyng_control::{BaseLabel, BaseOf};

/// Number of digits of the parts that are the file's own.
const OWN_DIGITS: usize = 16;

/// The name of this file with this label.
pub(crate) fn name(label: &BaseLabel, file: &Stat) -> String {
    format!("{}-{}", label.words().join("-"), own(file))
}

/// The common prefix of the names of a volume's base snapshots.
pub(crate) fn prefix(of: &BaseOf) -> String {
    format!("{}-", of.words().join("-"))
}

/// The label in a name, if it is the name of exactly this file.
pub(crate) fn parse(name: &str, file: &Stat) -> Option<BaseLabel> {
    read(name).filter(|label| self::name(label, file) == name)
}

/// The label in a name, whichever file has it.
pub(crate) fn read(name: &str) -> Option<BaseLabel> {
    let parts: Vec<&str> = name.split('-').collect();
    let [archive, volume, generation, session, root, inode, modified] =
        <[&str; 7]>::try_from(parts).ok()?;
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let is_number = |part: &str| part.len() == OWN_DIGITS && part.bytes().all(is_digit);
    if !(is_number(inode) && is_number(modified)) {
        return None;
    }
    BaseLabel::from_words([archive, volume, generation, session, root])
}

/// The part of the name that differs for a copy, and for the same file after a write.
fn own(file: &Stat) -> String {
    let seconds = i128::from(file.st_mtime).saturating_mul(1_000_000_000);
    let modified =
        u64::try_from(seconds.saturating_add(i128::from(file.st_mtime_nsec))).unwrap_or(0);
    format!("{:016x}-{modified:016x}", file.st_ino)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label() -> BaseLabel {
        BaseLabel {
            of: BaseOf {
                archive: [1; 16],
                volume: [0xab; 16],
            },
            generation: 7,
            session: -1,
            root: [9; 32],
        }
    }

    #[test]
    fn a_label_comes_back_from_the_name_of_its_file_and_from_no_other() {
        let (one, other) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        let (one, other) = (
            rustix::fs::fstat(one).unwrap(),
            rustix::fs::fstat(other).unwrap(),
        );
        let name = name(&label(), &one);
        assert!(name.len() < 255, "{} bytes", name.len());
        assert_eq!(parse(&name, &one), Some(label()));
        assert_eq!(parse(&name, &other), None);
        assert_eq!(parse(&name.to_uppercase(), &one), None);
        assert_eq!(parse(&name[1..], &one), None);
        assert_eq!(parse(&format!("{name}-"), &one), None);
    }

    #[test]
    fn a_file_that_was_written_to_lost_its_label() {
        use std::io::Write;
        let mut file = tempfile::tempfile().unwrap();
        let long_ago = rustix::fs::Timespec {
            tv_sec: 1,
            tv_nsec: 0,
        };
        rustix::fs::futimens(
            &file,
            &rustix::fs::Timestamps {
                last_access: long_ago,
                last_modification: long_ago,
            },
        )
        .unwrap();
        let name = name(&label(), &rustix::fs::fstat(&file).unwrap());
        file.write_all(b"x").unwrap();
        assert_eq!(parse(&name, &rustix::fs::fstat(&file).unwrap()), None);
    }
}
