// SPDX-License-Identifier: GPL-3.0-or-later
//! What this machine's daemons hold of its pools, beyond their own lives: one small file a pool
//! that says that its metadata snapshot is ours, one that says that bases were removed because it
//! was nearly full, and two locks.
//!
//! A pool has one metadata snapshot, and anybody may take it. To release somebody else's would
//! spoil what they read, and to leave ours would cost the pool space for good. So the intent is on
//! the disk before ours is taken, and which one we got after; only that one is ever released.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use super::names::is_uuid;

/// Where root's daemons keep the journal.
const FOLDER: &str = "/var/lib/wyng-pool";
/// Ending of a reservation's file, behind the pool's UUID.
const ENDING: &str = ".reservation";
/// Ending of the file that counts removed bases.
const DROPPED_ENDING: &str = ".dropped";
/// First line of a reservation's file.
const FORM: &str = "wyng-reservation 1";

/// A metadata snapshot that is recognised again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Held {
    /// The block of its superblock.
    pub(super) root: u64,
    /// Hash of that block, hexadecimal.
    pub(super) copy: String,
}

/// That a pool's metadata snapshot is being taken, or was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reservation {
    /// UUID of the pool's volume.
    pub(super) pool: String,
    /// The pool's transaction id before.
    pub(super) transaction: u64,
    /// `None`: it is not known whether one was taken.
    pub(super) held: Option<Held>,
}

/// The folder of these files.
#[derive(Debug)]
pub(super) struct Journal(PathBuf);

impl Journal {
    /// Root's own.
    pub(super) fn of_machine() -> io::Result<Self> {
        Self::at(Path::new(FOLDER))
    }

    /// Root's own, which is not made if it is missing: nothing is noted then.
    pub(super) fn unmade() -> Self {
        Self(PathBuf::from(FOLDER))
    }

    /// In this folder, which is made if it is missing.
    fn at(folder: &Path) -> io::Result<Self> {
        match DirBuilder::new().mode(0o700).create(folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        Ok(Self(folder.to_owned()))
    }

    /// The lock of whoever takes a metadata snapshot; `None` while another daemon has it.
    pub(super) fn lock_reservations(&self) -> io::Result<Option<File>> {
        self.lock("reservations", FlockOperation::NonBlockingLockExclusive)
    }

    /// The lock of whoever has unfinished snapshots; it is shared.
    pub(super) fn lock_snapshots(&self) -> io::Result<Option<File>> {
        self.lock("snapshots", FlockOperation::NonBlockingLockShared)
    }

    /// The lock of whoever removes unfinished snapshots: nobody alive has one.
    pub(super) fn lock_leftovers(&self) -> io::Result<Option<File>> {
        self.lock("snapshots", FlockOperation::NonBlockingLockExclusive)
    }

    fn lock(&self, name: &str, how: FlockOperation) -> io::Result<Option<File>> {
        let file = self.open(Path::new(name))?;
        match rustix::fs::flock(&file, how) {
            Ok(()) => Ok(Some(file)),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// The reservation that is noted for a pool. A file that is not understood counts as one of
    /// which nothing is known.
    pub(super) fn read(&self, pool: &str) -> io::Result<Option<Reservation>> {
        match std::fs::read_to_string(self.path(pool)?) {
            Ok(text) => Ok(Some(
                parse(&text)
                    .filter(|found| found.pool == pool)
                    .unwrap_or(Reservation {
                        pool: pool.to_owned(),
                        transaction: 0,
                        held: None,
                    }),
            )),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Notes a reservation durably, in the place of what was noted before.
    pub(super) fn write(&self, reservation: &Reservation) -> io::Result<()> {
        let path = self.path(&reservation.pool)?;
        let fresh = path.with_extension("new");
        let mut file = self.open(&fresh)?;
        file.set_len(0)?;
        file.write_all(text(reservation).as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&fresh, &path)?;
        File::open(&self.0)?.sync_all()
    }

    /// Forgets the reservation of a pool durably.
    pub(super) fn remove(&self, pool: &str) -> io::Result<()> {
        match std::fs::remove_file(self.path(pool)?) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => File::open(&self.0)?.sync_all(),
        }
    }

    /// Notes that one more base was removed from a pool that is nearly full.
    pub(super) fn note_dropped(&self, pool: &str) -> io::Result<()> {
        let count = self.dropped(pool)?.unwrap_or(0).saturating_add(1);
        let path = self.path_of(pool, DROPPED_ENDING)?;
        let fresh = path.with_extension("counted");
        let mut file = self.open(&fresh)?;
        file.set_len(0)?;
        file.write_all(format!("{count}\n").as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&fresh, &path)
    }

    /// The number of bases that were removed from a pool since one was made there; `None`: none. A
    /// file that is not understood counts one.
    pub(super) fn dropped(&self, pool: &str) -> io::Result<Option<u32>> {
        match std::fs::read_to_string(self.path_of(pool, DROPPED_ENDING)?) {
            Ok(text) => Ok(Some(text.trim_end().parse().unwrap_or(1))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Forgets which bases were removed from a pool: one was made there again.
    pub(super) fn forget_dropped(&self, pool: &str) -> io::Result<()> {
        match std::fs::remove_file(self.path_of(pool, DROPPED_ENDING)?) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn open(&self, name: &Path) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        options.open(self.0.join(name))
    }

    fn path(&self, pool: &str) -> io::Result<PathBuf> {
        self.path_of(pool, ENDING)
    }

    fn path_of(&self, pool: &str, ending: &str) -> io::Result<PathBuf> {
        if is_uuid(pool) {
            Ok(self.0.join(format!("{pool}{ending}")))
        } else {
            Err(io::ErrorKind::InvalidInput.into())
        }
    }
}

fn text(reservation: &Reservation) -> String {
    let Reservation {
        pool,
        transaction,
        held,
    } = reservation;
    let held = held.as_ref().map_or_else(
        || "-".to_owned(),
        |held| format!("{} {}", held.root, held.copy),
    );
    format!("{FORM}\npool {pool}\ntransaction {transaction}\nheld {held}\n")
}

fn parse(text: &str) -> Option<Reservation> {
    let lines: Vec<&str> = text.lines().collect();
    let [FORM, pool, transaction, held] = lines.as_slice() else {
        return None;
    };
    let held = match held.strip_prefix("held ")? {
        "-" => None,
        held => {
            let (root, copy) = held.split_once(' ')?;
            Some(Held {
                root: root.parse().ok()?,
                copy: copy.to_owned(),
            })
        }
    };
    let reservation = Reservation {
        pool: pool.strip_prefix("pool ")?.to_owned(),
        transaction: transaction.strip_prefix("transaction ")?.parse().ok()?,
        held,
    };
    (self::text(&reservation) == text).then_some(reservation)
}

#[cfg(test)]
mod tests {
    use super::*;

    const POOL: &str = "ABCDEF-GHIJ-KLMN-OPQR-STUV-WXYZ-012345";

    fn reservation(held: Option<Held>) -> Reservation {
        Reservation {
            pool: POOL.into(),
            transaction: 41,
            held,
        }
    }

    #[test]
    fn a_reservation_is_noted_replaced_and_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::at(&folder.path().join("pool")).unwrap();
        assert_eq!(journal.read(POOL).unwrap(), None);
        let held = Held {
            root: 93,
            copy: "ab".repeat(32),
        };
        for noted in [reservation(None), reservation(Some(held))] {
            journal.write(&noted).unwrap();
            let again = Journal::at(&folder.path().join("pool")).unwrap();
            assert_eq!(again.read(POOL).unwrap(), Some(noted));
        }
        journal.remove(POOL).unwrap();
        journal.remove(POOL).unwrap();
        assert_eq!(journal.read(POOL).unwrap(), None);
    }

    #[test]
    fn a_damaged_note_says_that_nothing_is_known_and_never_that_nothing_is_held() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::at(folder.path()).unwrap();
        let file = journal.path(POOL).unwrap();
        let whole = text(&reservation(Some(Held {
            root: 93,
            copy: "ab".into(),
        })));
        for length in 0..whole.len() {
            std::fs::write(&file, &whole[..length]).unwrap();
            let noted = journal.read(POOL).unwrap();
            assert_eq!(noted.and_then(|noted| noted.held), None, "{length} bytes");
            assert!(journal.read(POOL).unwrap().is_some());
        }
        assert!(journal.read("../../etc/passwd").is_err());
    }

    #[test]
    fn removed_bases_are_counted_until_one_is_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::at(folder.path()).unwrap();
        assert_eq!(journal.dropped(POOL).unwrap(), None);
        journal.forget_dropped(POOL).unwrap();
        for count in 1..3 {
            journal.note_dropped(POOL).unwrap();
            let again = Journal::at(folder.path()).unwrap();
            assert_eq!(again.dropped(POOL).unwrap(), Some(count));
        }
        assert_eq!(journal.read(POOL).unwrap(), None, "that is another note");
        journal.forget_dropped(POOL).unwrap();
        assert_eq!(journal.dropped(POOL).unwrap(), None);
        assert!(journal.note_dropped("../x").is_err());
    }

    #[test]
    fn leftovers_are_removed_by_nobody_while_a_daemon_has_snapshots() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (
            Journal::at(folder.path()).unwrap(),
            Journal::at(folder.path()).unwrap(),
        );
        let (a, b) = (
            one.lock_snapshots().unwrap(),
            other.lock_snapshots().unwrap(),
        );
        assert!(a.is_some() && b.is_some());
        assert!(one.lock_leftovers().unwrap().is_none());
        drop((a, b));
        let cleaner = one.lock_leftovers().unwrap();
        assert!(cleaner.is_some() && other.lock_snapshots().unwrap().is_none());
        drop(cleaner);
        let held = one.lock_reservations().unwrap();
        assert!(held.is_some() && other.lock_reservations().unwrap().is_none());
    }
}
