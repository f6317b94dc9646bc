// SPDX-License-Identifier: GPL-3.0-or-later
//! When each pack was last read whole and found right, so that a byte budget reaches all packs in
//! turn. The file is a hint: a torn one only changes the order of reading.

use std::collections::{BTreeMap, BTreeSet};

use wyng_archive::format::PackState;
use wyng_control::Failure;

use crate::archive::{Archive, Packs};
use crate::world::Files;

/// The file in the archive's folder: 16 bytes a pack, its number and seconds since 1970 UTC.
const FILE: &str = "checked";

/// When the pack that was read longest ago was read, seconds since 1970 UTC; 0 before the first
/// verify. Packs that no verify has met yet do not count: they are read first.
pub fn verified_time(
    files: &mut impl Files,
    archive: &Archive,
    packs: &Packs,
) -> Result<i64, Failure> {
    let times = CheckTimes::read(files, archive)?;
    let live = packs
        .iter()
        .filter(|(_, pack)| pack.state != PackState::Lost);
    Ok(live
        .filter_map(|(number, _)| times.0.get(number).copied())
        .min()
        .unwrap_or(0))
}

/// Pack numbers, each with the time of its last check, seconds since 1970 UTC.
pub(super) struct CheckTimes(BTreeMap<u64, i64>);

impl CheckTimes {
    /// The times that earlier verifies kept; empty before the first.
    pub(super) fn read(files: &mut impl Files, archive: &Archive) -> Result<Self, Failure> {
        let bytes = files.read(&archive.folder.file(FILE))?.unwrap_or_default();
        let words = |entry: &[u8; 16]| {
            let (words, _) = entry.as_chunks::<8>();
            Some((
                u64::from_le_bytes(*words.first()?),
                i64::from_le_bytes(*words.get(1)?),
            ))
        };
        Ok(Self(
            bytes.as_chunks::<16>().0.iter().filter_map(words).collect(),
        ))
    }

    /// The order in which packs are read: those that were never checked, then by the time of their
    /// last check.
    pub(super) fn oldest_first(&self, needed: &BTreeSet<u64>) -> Vec<u64> {
        let mut order: Vec<u64> = needed.iter().copied().collect();
        order.sort_by_key(|number| (self.0.get(number).copied().unwrap_or(0), *number));
        order
    }

    /// The pack was read whole and is right.
    pub(super) fn set(&mut self, number: u64, time: i64) {
        self.0.insert(number, time);
    }

    /// The pack is not right after all: the next verify reads it first.
    pub(super) fn forget(&mut self, number: u64) {
        self.0.remove(&number);
    }

    /// Keeps the times for the next verify.
    pub(super) fn write(&self, files: &mut impl Files, archive: &Archive) -> Result<(), Failure> {
        let bytes: Vec<u8> = self
            .0
            .iter()
            .flat_map(|(number, time)| [number.to_le_bytes(), time.to_le_bytes()])
            .flatten()
            .collect();
        files.replace(&archive.folder.file(FILE), &bytes)
    }
}
