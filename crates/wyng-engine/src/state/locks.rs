// SPDX-License-Identifier: GPL-3.0-or-later
//! Until which day each blob of a store with object locks is locked, as far as this machine has set
//! it. No store's word goes in here but the answer to a request of this machine.
//!
//! Nothing depends on the file but which locks are made longer next: a blob that it lacks counts as
//! the one whose lock ends first. So a file that is damaged, or is of another address, is empty.
//!
//! ```text
//!   0 │ the first 8 bytes of H(the store's address without its lock) │
//! then entries of 40 bytes:
//!   0 │ number of the first blob u64                                 │
//!   8 │ count of blobs u32, at least 1│ day of UTC u32               │
//!  16 │ when it was set: kept seconds u64                            │
//!  24 │ when it was set: run number u64                              │
//!  32 │ kind u8 │ mode u8 │ days u16 │ 0 0 0 0                       │
//! last:
//!   0 │ the first 8 bytes of H(all before)                           │
//! ```
//!
//! The kinds are 1: commits, 2: slots, 3: packs. The mode, 0: governance, 1: compliance, and the
//! days, at least 1, are those of the address for which the lock was set. Where the day of UTC is
//! 0, the entry says only that the store did not make these locks longer when it was last asked,
//! and all fields behind it but the kind are 0.

use std::collections::{BTreeMap, BTreeSet};

use wyng_archive::format::{Malformed, Reader, Stamp, Writer};
use wyng_control::Failure;

use super::ArchiveFolder;
use crate::world::{Files, LockMode, LockTerms};

const FILE: &str = "locks";
const ENTRY_BYTES: usize = 40;
/// Maximum number of blobs that are remembered.
const BLOBS_MAX: usize = 1 << 24;

/// A blob that can be locked, by the number that it has in the archive. What an archive cannot be
/// opened without comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lockable {
    /// The commit of a generation.
    Commit(u64),
    /// A slot.
    Slot(u64),
    /// A pack.
    Pack(u64),
}

/// A lock that this machine has set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SetLock {
    /// The day of UTC at whose beginning it ends, counted from the beginning of 1970.
    pub until_day: u32,
    /// When it was set, by the archive's chain.
    pub at: Stamp,
    /// What the address asked for then.
    pub terms: LockTerms,
}

/// What a push locks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PushLock {
    /// The day of UTC until whose beginning what it stores is locked; 0: it locks nothing.
    pub until_day: u32,
    /// When the push began, by the archive's chain.
    pub at: Stamp,
    /// The number of the first pack that it may store: packs before it were stored earlier.
    pub first_pack: u64,
    /// What the address asks for.
    pub terms: LockTerms,
}

impl PushLock {
    /// The lock of what it stores, if it locks.
    pub fn set(self) -> Option<SetLock> {
        let Self {
            until_day,
            at,
            terms,
            ..
        } = self;
        (until_day > 0).then_some(SetLock {
            until_day,
            at,
            terms,
        })
    }
}

/// The locks of an archive's store.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Locks {
    /// What this machine has set.
    pub set: BTreeMap<Lockable, SetLock>,
    /// What the store did not make longer when it was last asked: it is asked for last.
    pub late: BTreeSet<Lockable>,
}

impl Locks {
    /// Reads the locks of the store at this address; none if the file is missing, damaged, or of
    /// another address.
    pub fn read(
        files: &mut impl Files,
        folder: &ArchiveFolder,
        address: &str,
    ) -> Result<Self, Failure> {
        let bytes = files.read(&folder.file(FILE))?.unwrap_or_default();
        Ok(Self::decode(&bytes, address).unwrap_or_default())
    }

    /// Writes the file anew, durably.
    pub fn write(
        &self,
        files: &mut impl Files,
        folder: &ArchiveFolder,
        address: &str,
    ) -> Result<(), Failure> {
        files.replace(&folder.file(FILE), &self.encode(address))
    }

    /// Forgets all locks: the same numbers may be those of other blobs from now on.
    pub fn forget(files: &mut impl Files, folder: &ArchiveFolder) -> Result<(), Failure> {
        let path = folder.file(FILE);
        match files.length(&path)? {
            Some(_) => files.remove(&path),
            None => Ok(()),
        }
    }

    /// Notes that these blobs are locked from now on.
    pub fn note(&mut self, blobs: impl IntoIterator<Item = Lockable>, lock: SetLock) {
        let room = BLOBS_MAX.saturating_sub(self.set.len());
        for blob in blobs.into_iter().take(room) {
            self.late.remove(&blob);
            self.set.insert(blob, lock);
        }
    }

    /// Notes that the store did not make these locks longer.
    pub fn note_late(&mut self, blobs: impl IntoIterator<Item = Lockable>) {
        let room = BLOBS_MAX.saturating_sub(self.late.len());
        self.late.extend(blobs.into_iter().take(room));
    }

    /// Forgets what is not to be kept.
    pub fn retain(&mut self, is_kept: impl Fn(&Lockable) -> bool) {
        self.set.retain(|blob, _| is_kept(blob));
        self.late.retain(is_kept);
    }

    fn encode(&self, address: &str) -> Vec<u8> {
        let mut ranges: Vec<(Lockable, u32, Option<SetLock>)> = Vec::new();
        let set = self.set.iter().map(|(blob, lock)| (*blob, Some(*lock)));
        let late = self.late.iter().map(|blob| (*blob, None));
        for (blob, lock) in set.chain(late) {
            match ranges.last_mut() {
                Some((first, count, last)) if *last == lock && first.is_before(blob, *count) => {
                    *count = count.saturating_add(1);
                }
                _ => ranges.push((blob, 1, lock)),
            }
        }
        let mut writer = Writer::with_capacity(ENTRY_BYTES);
        writer.bytes(&first_8(&without_lock(address)));
        for (first, count, lock) in ranges {
            let (kind, number) = first.parts();
            writer.u64(number).u32(count);
            match lock {
                Some(SetLock {
                    until_day,
                    at,
                    terms,
                }) => writer
                    .u32(until_day)
                    .u64(at.kept_secs)
                    .u64(at.run)
                    .u8(kind)
                    .u8(mode_number(terms.mode))
                    .u16(terms.days)
                    .u32(0),
                None => writer.u32(0).u64(0).u64(0).u8(kind).u8(0).u16(0).u32(0),
            };
        }
        let mut bytes = writer.finish();
        let check = first_8(&bytes);
        bytes.extend_from_slice(&check);
        bytes
    }

    fn decode(bytes: &[u8], address: &str) -> Option<Self> {
        let (covered, check) = bytes.split_last_chunk::<8>()?;
        let (of, entries) = covered.split_first_chunk::<8>()?;
        let (entries, rest) = entries.as_chunks::<ENTRY_BYTES>();
        if first_8(covered) != *check || first_8(&without_lock(address)) != *of || !rest.is_empty()
        {
            return None;
        }
        let mut locks = Self::default();
        for entry in entries {
            let (first, count, lock) = decode_entry(entry).ok()?;
            let (kind, number) = first.parts();
            let numbers = number..number.saturating_add(count.into());
            let blobs = numbers.filter_map(|number| Lockable::of(kind, number));
            match lock {
                Some(lock) => locks.note(blobs, lock),
                None => locks.note_late(blobs),
            }
        }
        Some(locks)
    }
}

impl Lockable {
    fn parts(self) -> (u8, u64) {
        match self {
            Self::Commit(number) => (1, number),
            Self::Slot(number) => (2, number),
            Self::Pack(number) => (3, number),
        }
    }

    fn of(kind: u8, number: u64) -> Option<Self> {
        match kind {
            1 => Some(Self::Commit(number)),
            2 => Some(Self::Slot(number)),
            3 => Some(Self::Pack(number)),
            _ => None,
        }
    }

    /// Whether the other one follows `count` of this kind that begin with this one.
    fn is_before(self, other: Self, count: u32) -> bool {
        let ((kind, number), other) = (self.parts(), other.parts());
        number.checked_add(count.into()).map(|next| (kind, next)) == Some(other)
    }
}

fn decode_entry(entry: &[u8; ENTRY_BYTES]) -> Result<(Lockable, u32, Option<SetLock>), Malformed> {
    let mut reader = Reader::new(entry);
    let (number, count, until_day) = (reader.u64()?, reader.u32()?, reader.u32()?);
    let (kept_secs, run) = (reader.u64()?, reader.u64()?);
    let first = Lockable::of(reader.u8()?, number).ok_or(Malformed("the kind of an entry"))?;
    let (mode, days) = (reader.u8()?, reader.u16()?);
    reader.zeros(4, "the end of an entry")?;
    if until_day == 0 {
        return Ok((first, count, None));
    }
    // A note from before the address's days were in it has none: what it says is asked for anew.
    if days == 0 {
        return Err(Malformed("the days of an entry"));
    }
    let mode = match mode {
        0 => LockMode::Governance,
        1 => LockMode::Compliance,
        _ => return Err(Malformed("the mode of an entry")),
    };
    let lock = SetLock {
        until_day,
        at: Stamp { run, kept_secs },
        terms: LockTerms { days, mode },
    };
    Ok((first, count, Some(lock)))
}

fn mode_number(mode: LockMode) -> u8 {
    match mode {
        LockMode::Governance => 0,
        LockMode::Compliance => 1,
    }
}

/// The address without its lock: with another period or mode, what was set stays set.
fn without_lock(address: &str) -> Vec<u8> {
    let parts = address.split(['?', '&']);
    let parts = parts.filter(|part| !(part.starts_with("lock=") || part.starts_with("lock_mode=")));
    parts
        .flat_map(|part| [part.as_bytes(), b"\n"].concat())
        .collect()
}

fn first_8(bytes: &[u8]) -> [u8; 8] {
    let hash = blake3::hash(bytes);
    hash.as_bytes().first_chunk().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: &str = "s3://disks/home?lock=30d";

    fn lock(until_day: u32) -> SetLock {
        let (run, kept_secs) = (3, 4);
        SetLock {
            until_day,
            at: Stamp { run, kept_secs },
            terms: LockTerms {
                days: 30,
                mode: LockMode::Compliance,
            },
        }
    }

    #[test]
    fn locks_come_back_as_they_were_and_equal_ones_in_a_row_take_one_entry() {
        let mut locks = Locks::default();
        locks.note((0..1000).map(Lockable::Pack), lock(20_000));
        locks.note((500..600).map(Lockable::Pack), lock(20_001));
        locks.note([Lockable::Commit(7), Lockable::Slot(7)], lock(20_000));
        let bytes = locks.encode(ADDRESS);
        assert_eq!(bytes.len(), 8 + 5 * ENTRY_BYTES + 8);
        assert_eq!(Locks::decode(&bytes, ADDRESS).as_ref(), Some(&locks));

        // Other terms take an entry of their own, and so does what the store did not make longer.
        let mode = LockMode::Governance;
        for terms in [LockTerms { days: 30, mode }, LockTerms { days: 31, mode }] {
            let other = SetLock {
                terms,
                ..lock(20_000)
            };
            locks.note(
                [Lockable::Pack(if terms.days == 30 { 20 } else { 40 })],
                other,
            );
        }
        locks.note_late((990..1010).map(Lockable::Pack));
        let bytes = locks.encode(ADDRESS);
        assert_eq!(bytes.len(), 8 + 10 * ENTRY_BYTES + 8);
        assert_eq!(Locks::decode(&bytes, ADDRESS).as_ref(), Some(&locks));

        // Once the store has made one longer, it is late no more.
        locks.note([Lockable::Pack(995)], lock(20_000));
        assert!(!locks.late.contains(&Lockable::Pack(995)));
    }

    #[test]
    fn a_file_that_is_damaged_or_of_another_address_has_no_locks() {
        let mut locks = Locks::default();
        locks.note([Lockable::Pack(1)], lock(20_000));
        let bytes = locks.encode(ADDRESS);
        assert_eq!(Locks::decode(&bytes, "s3://disks/other?lock=30d"), None);
        let longer = Locks::decode(&bytes, "s3://disks/home?lock=60d&lock_mode=governance");
        assert_eq!(longer, Some(locks), "the lock alone is another");
        for place in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[place] ^= 1;
            assert_eq!(Locks::decode(&changed, ADDRESS), None, "byte {place}");
            assert_eq!(
                Locks::decode(&bytes[..place], ADDRESS),
                None,
                "{place} bytes"
            );
        }
    }
}
