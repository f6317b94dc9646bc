// SPDX-License-Identifier: GPL-3.0-or-later
//! When each pack was last read whole and found right, so that a byte budget reaches all packs in
//! turn. The file is a hint: a torn one only changes the order of reading.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use wyng_archive::format::PackState;
use wyng_archive::plan::age::{Age, Moment};
use wyng_control::Failure;

use crate::archive::{Archive, Packs};
use crate::world::Files;

/// The file in the archive's folder: 24 bytes a pack, its number, seconds since 1970 UTC, and
/// seconds of the chain's kept clock.
const FILE: &str = "checked";

/// The last complete verify.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verified {
    /// When the pack that was read longest ago was read, seconds since 1970 UTC; 0 before the first
    /// verify.
    pub time: i64,
    /// The greatest age of a pack since it was read.
    pub age: Age,
}

/// The last complete verify, seen at `now`. Packs that no verify has met yet do not count: they are
/// read first.
pub fn verified(
    files: &mut impl Files,
    archive: &Archive,
    packs: &Packs,
    now: Moment,
) -> Result<Verified, Failure> {
    let times = CheckTimes::read(files, archive)?;
    let live = packs
        .iter()
        .filter(|(_, pack)| pack.state != PackState::Lost);
    let read: Vec<Moment> = live
        .filter_map(|(number, _)| times.0.get(number).copied())
        .collect();
    let ages = read.iter().map(|then| Age::of(Some(*then), now));
    Ok(Verified {
        time: read.iter().map(|then| then.wall_secs).min().unwrap_or(0),
        age: ages.max().unwrap_or(Age::Never),
    })
}

/// Pack numbers, each with the time of its last check.
pub(super) struct CheckTimes(BTreeMap<u64, Moment>);

impl CheckTimes {
    /// The times that earlier verifies kept; empty before the first.
    pub(super) fn read(files: &mut impl Files, archive: &Archive) -> Result<Self, Failure> {
        let bytes = files.read(&archive.folder.file(FILE))?.unwrap_or_default();
        let words = |entry: &[u8; 24]| {
            let (words, _) = entry.as_chunks::<8>();
            let then = Moment {
                wall_secs: i64::from_le_bytes(*words.get(1)?),
                kept_secs: u64::from_le_bytes(*words.get(2)?),
            };
            Some((u64::from_le_bytes(*words.first()?), then))
        };
        Ok(Self(
            bytes.as_chunks::<24>().0.iter().filter_map(words).collect(),
        ))
    }

    /// The order in which packs are read: those that were never checked, or at a time ahead of
    /// `now`, then by the age of their last check.
    pub(super) fn oldest_first(&self, needed: &BTreeSet<u64>, now: Moment) -> Vec<u64> {
        let mut order: Vec<u64> = needed.iter().copied().collect();
        let age = |number: &u64| Age::of(self.0.get(number).copied(), now);
        order.sort_by_key(|number| (Reverse(age(number)), *number));
        order
    }

    /// The pack was read whole and is right.
    pub(super) fn set(&mut self, number: u64, now: Moment) {
        self.0.insert(number, now);
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
            .flat_map(|(number, then)| {
                [
                    number.to_le_bytes(),
                    then.wall_secs.to_le_bytes(),
                    then.kept_secs.to_le_bytes(),
                ]
            })
            .flatten()
            .collect();
        files.replace(&archive.folder.file(FILE), &bytes)
    }
}
