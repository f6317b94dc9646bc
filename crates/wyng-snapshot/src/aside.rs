// SPDX-License-Identifier: GPL-3.0-or-later
//! Clones that are kept until a person decides, beside the base snapshots and apart from them: no
//! backup uses one, and nothing but its own name removes it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

use super::{Folder, is_regular, own_path};

const PREFIX: &str = "before";
/// Maximum length of a part of the name, bytes.
const PART_MAX_BYTES: usize = 72;

/// The name of such a clone: `before-OWNER-PART-WORD`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AsideName(String);

impl AsideName {
    /// The name of what is kept of a part of an owner, made apart from others by a word. `None`
    /// where one of them is empty, longer than 72 bytes, or has other characters than letters,
    /// digits, `.`, `_` and `-`.
    pub fn of(owner: &str, part: &str, word: &str) -> Option<Self> {
        let is_plain = |text: &&str| {
            (1..=PART_MAX_BYTES).contains(&text.len())
                && text
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        };
        let is_sound = [owner, part, word].iter().all(is_plain);
        is_sound.then(|| Self(format!("{PREFIX}-{owner}-{part}-{word}")))
    }
}

impl Folder {
    /// Gives a complete clone its name durably. `EEXIST` if the name is taken.
    pub fn set_aside(&self, file: BorrowedFd<'_>, name: &AsideName) -> Result<(), Errno> {
        rustix::fs::fsync(file)?;
        let from = own_path(&file);
        rustix::fs::linkat(CWD, from, &self.folder, &name.0, AtFlags::SYMLINK_FOLLOW)?;
        // btrfs does not log a file without a name.
        rustix::fs::fsync(file)?;
        rustix::fs::fsync(&self.folder)
    }

    /// Opens such a clone for reading.
    pub fn open_aside(&self, name: &AsideName) -> Result<OwnedFd, Errno> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = rustix::fs::openat(self.folder.as_fd(), &name.0, flags, Mode::empty())?;
        match is_regular(&rustix::fs::fstat(&file)?) {
            true => Ok(file),
            false => Err(Errno::INVAL),
        }
    }

    /// Removes such a clone durably. That it is gone is no error.
    pub fn remove_aside(&self, name: &AsideName) -> Result<(), Errno> {
        match rustix::fs::unlinkat(&self.folder, &name.0, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => rustix::fs::fsync(&self.folder),
            Err(errno) => Err(errno),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_plain_and_is_never_that_of_a_base_snapshot() {
        let name = AsideName::of("0f3b2c1d-0000", "private", "0123").unwrap();
        assert_eq!(name.0, "before-0f3b2c1d-0000-private-0123");
        assert!(super::super::label::read(&name.0).is_none());
        let long = "x".repeat(73);
        for (owner, part, word) in [
            ("", "a", "b"),
            ("a", "../b", "c"),
            ("a", "b", "c/"),
            (long.as_str(), "a", "b"),
        ] {
            assert_eq!(AsideName::of(owner, part, word), None);
        }
    }
}
