// SPDX-License-Identifier: GPL-3.0-or-later
//! Temporary files of blobs that have no name yet. Where the file system supports it, they have no
//! name at all, and a killed helper leaves nothing; elsewhere (FAT, some network file systems) they
//! are hidden files, which are locked while their writer lives.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{
    AtFlags, CWD, Dir, FlockOperation, Mode, OFlags, RenameFlags, flock, fstat, linkat, openat,
    renameat_with, statat, unlinkat,
};
use rustix::io::Errno;
use rustix::path::DecInt;
use wyng_wire::BlobName;

use super::folder::FOLDER;

/// The mode of a blob's file: only the helper's user may use it.
const BLOB_MODE: Mode = Mode::RUSR.union(Mode::WUSR);

/// The flags with which a file is made that must not exist.
const NEW: OFlags = OFlags::CREATE
    .union(OFlags::EXCL)
    .union(OFlags::RDWR)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Maximum number of temporary files of one name: two bodies of a call, for two calls.
const TRIES: u8 = 4;

/// The kinds of temporary files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Temporaries {
    /// `O_TMPFILE`, which gets its name by a hard link.
    Unnamed,
    /// `.HEX.N` in the shard, which gets its name by a hard link, by a rename that replaces
    /// nothing, or by a rename that replaces a file which this process has made.
    Named,
}

impl Temporaries {
    /// The kind that the file system supports. Tried with an unnamed file, which leaves nothing.
    pub(super) fn of(root: &OwnedFd) -> Result<Self, Errno> {
        // An unnamed file gets its name through /proc.
        if statat(CWD, c"/proc/self/fd", AtFlags::empty()).is_err() {
            return Ok(Self::Named);
        }
        match open_unnamed(root) {
            Ok(_) => Ok(Self::Unnamed),
            Err(Errno::NOTSUP | Errno::ISDIR | Errno::NOENT | Errno::INVAL | Errno::NOSYS) => {
                Ok(Self::Named)
            }
            Err(errno) => Err(errno),
        }
    }
}

/// A file without its final name, in the folder where it will get it: links and renames never cross
/// folders, which the oldest Landlock forbids.
pub(super) struct Temporary {
    pub(super) file: File,
    pub(super) shard: OwnedFd,
    /// The hidden name, while the file has one.
    hidden: Option<[u8; 67]>,
}

impl Temporary {
    pub(super) fn create(kind: Temporaries, shard: OwnedFd, hex: &[u8; 64]) -> Result<Self, Errno> {
        match kind {
            Temporaries::Unnamed => Ok(Self {
                file: open_unnamed(&shard)?.into(),
                shard,
                hidden: None,
            }),
            Temporaries::Named => {
                let (file, hidden) = create_named(&shard, hex)?;
                Ok(Self {
                    file: file.into(),
                    shard,
                    hidden: Some(hidden),
                })
            }
        }
    }

    /// Gives the file its name; fails with `EXIST` if the name is taken. Not durable yet.
    pub(super) fn publish(&mut self, hex: &[u8; 64]) -> Result<(), Errno> {
        let Some(hidden) = self.hidden else {
            let unnamed = [
                b"/proc/self/fd/",
                DecInt::from_fd(self.file.as_fd()).as_bytes(),
            ]
            .concat();
            return linkat(
                CWD,
                &unnamed[..],
                &self.shard,
                &hex[..],
                AtFlags::SYMLINK_FOLLOW,
            );
        };
        match linkat(
            &self.shard,
            &hidden[..],
            &self.shard,
            &hex[..],
            AtFlags::empty(),
        ) {
            Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::MLINK) => {}
            // The hidden name is removed when this is dropped.
            linked => return linked,
        }
        match renameat_with(
            &self.shard,
            &hidden[..],
            &self.shard,
            &hex[..],
            RenameFlags::NOREPLACE,
        ) {
            Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => self.claim(&hidden, hex)?,
            renamed => renamed?,
        }
        self.hidden = None;
        Ok(())
    }

    /// Where neither a link nor a rename reports that a name is taken (exFAT): the process that
    /// makes an empty file under the name owns it, and no other process replaces that file. A crash
    /// in between leaves an empty file, whose name is never used again.
    fn claim(&self, hidden: &[u8; 67], hex: &[u8; 64]) -> Result<(), Errno> {
        openat(&self.shard, &hex[..], NEW, BLOB_MODE)?;
        renameat_with(
            &self.shard,
            &hidden[..],
            &self.shard,
            &hex[..],
            RenameFlags::empty(),
        )
        .inspect_err(|_| {
            let _ = unlinkat(&self.shard, &hex[..], AtFlags::empty());
        })
    }

    /// Removes the hidden name, if there is one. A crash before that leaves a file that the next
    /// sweep removes.
    pub(super) fn unhide(&mut self) {
        if let Some(hidden) = self.hidden.take() {
            let _ = unlinkat(&self.shard, &hidden[..], AtFlags::empty());
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        self.unhide();
    }
}

/// The name with which a new store is tried; no blob has it.
const TRIED: BlobName = BlobName([0; 32]);

/// Whether this name was left by a run that was killed while it tried a new store.
pub(super) fn is_left_by_a_try(name: &[u8]) -> bool {
    let hidden = name.strip_prefix(b".").filter(|_| is_hidden_name(name));
    hidden.unwrap_or(name).starts_with(&TRIED.to_hex())
}

/// Tries whether a second file is refused a name that a first file has: two writers depend on it.
/// Leaves nothing.
pub(super) fn try_to_be_exclusive(kind: Temporaries, root: &OwnedFd) -> Result<(), Errno> {
    let hex = TRIED.to_hex();
    let _ = unlinkat(root, &hex[..], AtFlags::empty());
    let attempt = |hex: &[u8; 64]| {
        Temporary::create(kind, root.try_clone().map_err(|_| Errno::MFILE)?, hex)?.publish(hex)
    };
    let tried = attempt(&hex).and_then(|()| match attempt(&hex) {
        Err(Errno::EXIST) => Ok(()),
        Ok(()) => Err(Errno::OPNOTSUPP),
        Err(errno) => Err(errno),
    });
    let _ = unlinkat(root, &hex[..], AtFlags::empty());
    tried
}

/// Removes the hidden files of killed helpers from every shard. A locked file belongs to a living
/// helper, and stays. A shard that cannot be read is skipped, because hidden files do no harm.
pub(super) fn sweep(root: &OwnedFd) {
    for byte in 0..=u8::MAX {
        let Ok(shard) = openat(root, format!("{byte:02x}").as_str(), FOLDER, Mode::empty()) else {
            continue;
        };
        let Ok(entries) = Dir::read_from(&shard) else {
            continue;
        };
        for entry in entries.map_while(Result::ok) {
            if is_hidden_name(entry.file_name().to_bytes()) {
                remove_if_dead(&shard, entry.file_name().to_bytes());
            }
        }
    }
}

fn open_unnamed(folder: &OwnedFd) -> Result<OwnedFd, Errno> {
    openat(
        folder,
        c".",
        OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC,
        BLOB_MODE,
    )
}

fn create_named(shard: &OwnedFd, hex: &[u8; 64]) -> Result<(OwnedFd, [u8; 67]), Errno> {
    for number in 0..TRIES {
        let name = hidden_name(hex, number);
        remove_if_dead(shard, &name);
        match openat(shard, &name[..], NEW, BLOB_MODE) {
            // A sweep of another helper may come between creation and lock; it then has locked or
            // removed the file.
            Ok(file) if is_mine(&file, shard, &name) => return Ok((file, name)),
            Ok(_) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
    }
    Err(Errno::BUSY)
}

/// The hidden name of a blob's temporary file: `.HEX.N`.
fn hidden_name(hex: &[u8; 64], number: u8) -> [u8; 67] {
    let mut name = [b'.'; 67];
    for (place, digit) in name.iter_mut().skip(1).zip(hex) {
        *place = *digit;
    }
    if let Some(last) = name.last_mut() {
        *last = b'0'.saturating_add(number);
    }
    name
}

fn is_hidden_name(name: &[u8]) -> bool {
    match name {
        [b'.', hex @ .., b'.', b'0'..=b'9'] => BlobName::from_hex(hex).is_some(),
        _ => false,
    }
}

fn remove_if_dead(shard: &OwnedFd, name: &[u8]) {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(file) = openat(shard, name, flags, Mode::empty()) else {
        return;
    };
    if is_mine(&file, shard, name) {
        // A file that cannot be removed does no harm: a listing does not show it.
        let _ = unlinkat(shard, name, AtFlags::empty());
    }
}

/// Locks the file. Returns whether this process holds the lock and the name still leads to the
/// file.
fn is_mine(file: &OwnedFd, shard: &OwnedFd, name: &[u8]) -> bool {
    let same = |file: &OwnedFd| -> Result<bool, Errno> {
        flock(file, FlockOperation::NonBlockingLockExclusive)?;
        let (opened, named) = (
            fstat(file)?,
            statat(shard, name, AtFlags::SYMLINK_NOFOLLOW)?,
        );
        Ok((opened.st_dev, opened.st_ino) == (named.st_dev, named.st_ino))
    };
    same(file).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    const HEX: [u8; 64] = [b'a'; 64];

    fn open_folder(path: &Path) -> OwnedFd {
        openat(CWD, path, FOLDER, Mode::empty()).unwrap()
    }

    fn names(path: &Path) -> Vec<String> {
        fs::read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    #[test]
    fn a_named_temporary_is_gone_when_it_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let temporary =
            Temporary::create(Temporaries::Named, open_folder(folder.path()), &HEX).unwrap();
        assert_eq!(names(folder.path()), [format!(".{}.0", "a".repeat(64))]);
        drop(temporary);
        assert!(names(folder.path()).is_empty());
    }

    #[test]
    fn a_named_temporary_gets_its_name_and_loses_the_hidden_one() {
        let folder = tempfile::tempdir().unwrap();
        let mut temporary =
            Temporary::create(Temporaries::Named, open_folder(folder.path()), &HEX).unwrap();
        temporary.publish(&HEX).unwrap();
        drop(temporary);
        assert_eq!(names(folder.path()), ["a".repeat(64)]);
    }

    #[test]
    fn a_name_that_is_taken_is_not_replaced() {
        for kind in [Temporaries::Named, Temporaries::Unnamed] {
            let folder = tempfile::tempdir().unwrap();
            let taken = folder.path().join("a".repeat(64));
            fs::write(&taken, "first").unwrap();
            let mut temporary = Temporary::create(kind, open_folder(folder.path()), &HEX).unwrap();
            assert_eq!(temporary.publish(&HEX), Err(Errno::EXIST), "{kind:?}");
            assert_eq!(fs::read(&taken).unwrap(), b"first", "{kind:?}");
        }
    }

    #[test]
    fn a_name_is_claimed_only_once() {
        let folder = tempfile::tempdir().unwrap();
        let create =
            || Temporary::create(Temporaries::Named, open_folder(folder.path()), &HEX).unwrap();
        let (first, second) = (create(), create());
        first.claim(&hidden_name(&HEX, 0), &HEX).unwrap();
        assert_eq!(second.claim(&hidden_name(&HEX, 1), &HEX), Err(Errno::EXIST));
        assert_eq!(
            names(folder.path()).len(),
            2,
            "the name, and the second one's hidden one"
        );
        let inode = statat(&first.shard, &HEX[..], AtFlags::empty())
            .unwrap()
            .st_ino;
        assert_eq!(inode, fstat(&first.file).unwrap().st_ino);
    }

    #[test]
    fn a_claim_that_cannot_be_used_is_undone() {
        let folder = tempfile::tempdir().unwrap();
        let temporary =
            Temporary::create(Temporaries::Named, open_folder(folder.path()), &HEX).unwrap();
        assert_eq!(
            temporary.claim(&hidden_name(&HEX, 9), &HEX),
            Err(Errno::NOENT),
            "there is no such hidden file"
        );
        assert_eq!(names(folder.path()), [format!(".{}.0", "a".repeat(64))]);
    }

    #[test]
    fn a_name_is_tried_and_nothing_is_left() {
        for kind in [Temporaries::Named, Temporaries::Unnamed] {
            let folder = tempfile::tempdir().unwrap();
            try_to_be_exclusive(kind, &open_folder(folder.path())).unwrap();
            assert!(names(folder.path()).is_empty(), "{kind:?}");
        }
    }

    #[test]
    fn two_live_temporaries_of_one_name_do_not_meet() {
        let folder = tempfile::tempdir().unwrap();
        let first =
            Temporary::create(Temporaries::Named, open_folder(folder.path()), &HEX).unwrap();
        let second =
            Temporary::create(Temporaries::Named, open_folder(folder.path()), &HEX).unwrap();
        assert_ne!(
            fstat(&first.file).unwrap().st_ino,
            fstat(&second.file).unwrap().st_ino
        );
        assert_eq!(names(folder.path()).len(), 2);
    }

    #[test]
    fn a_sweep_removes_the_dead_and_leaves_the_living_and_the_foreign() {
        let root = tempfile::tempdir().unwrap();
        let shard = root.path().join("aa");
        fs::create_dir(&shard).unwrap();
        fs::write(shard.join(format!(".{}.1", "a".repeat(64))), "dead").unwrap();
        fs::write(shard.join(".foreign.0"), "left alone").unwrap();
        let living = Temporary::create(Temporaries::Named, open_folder(&shard), &HEX).unwrap();
        sweep(&open_folder(root.path()));
        let mut left = names(&shard);
        left.sort();
        assert_eq!(
            left,
            [format!(".{}.0", "a".repeat(64)), ".foreign.0".into()]
        );
        drop(living);
    }

    #[test]
    fn a_dead_temporary_of_the_same_name_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let dead = folder.path().join(format!(".{}.0", "a".repeat(64)));
        fs::write(&dead, "dead").unwrap();
        let _living =
            Temporary::create(Temporaries::Named, open_folder(folder.path()), &HEX).unwrap();
        assert_eq!(fs::read(&dead).unwrap(), b"");
    }
}
