// SPDX-License-Identifier: GPL-3.0-or-later
//! Notes of damage: what was found missing or damaged in the store, until it is found sound again.
//! The next run heals what it can.
//!
//! Damage comes in stretches, so packs are noted as ranges, and there is a bound: what does not fit
//! is found again by the next verify.

use std::collections::{BTreeMap, BTreeSet};

use wyng_archive::format::{Malformed, Reader, Writer};

/// Number of copies that a commit can have: 0 to 255.
const COPIES_MAX: u16 = 256;
const KIND_COMMIT: u32 = 1;
const KIND_SLOT: u32 = 2;
const KIND_LOST_PACK: u32 = 3;
const KIND_SOUND_PACK: u32 = 4;
const KIND_HELD_PACK: u32 = 5;
const KIND_FORK: u32 = 6;

/// Maximum number of notes in a ledger, 16 bytes each: 1 MiB.
const NOTES_MAX: usize = 1 << 16;

/// Maximum number of packs in the notes: as many as a listing of a store may have.
const PACKS_MAX: u32 = 1 << 24;

/// Up to this number of damaged packs, damage is always believed.
const BELIEVED_PACKS: usize = 16;
/// Beyond that, damage is believed up to one damaged pack in this number of packs read.
const BELIEVED_SHARE: usize = 10;

/// What is known of a pack that was found missing or damaged once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PackNote {
    /// It is missing or damaged: the next commit marks it lost.
    Lost,
    /// It was read whole since: the next commit makes it live.
    Sound,
    /// It is missing or damaged, and so are too many other packs to believe it: nothing follows
    /// until the person says so.
    Held,
}

impl PackNote {
    /// The note for packs of which `damaged` were found missing or damaged among `read`: so much
    /// damage at once is more likely another disk, or a store that lies, so nothing follows from it
    /// by itself.
    pub fn of_damage(damaged: usize, read: usize) -> Self {
        let is_much = damaged > BELIEVED_PACKS && damaged.saturating_mul(BELIEVED_SHARE) > read;
        if is_much { Self::Held } else { Self::Lost }
    }

    fn kind(self) -> u32 {
        match self {
            Self::Lost => KIND_LOST_PACK,
            Self::Sound => KIND_SOUND_PACK,
            Self::Held => KIND_HELD_PACK,
        }
    }

    fn of_kind(kind: u32) -> Option<Self> {
        [Self::Lost, Self::Sound, Self::Held]
            .into_iter()
            .find(|note| note.kind() == kind)
    }
}

/// The damage that was noted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notes {
    /// Commits without a sound copy, by generation; each with the lowest copy below which every
    /// copy was read and none authenticates, at most 256. A generation above the head is no damage:
    /// names of it are taken, and its commit will go under that copy.
    pub commits: BTreeMap<u64, u16>,
    /// Generations whose commit is sound, and beside which another commit authenticates: two
    /// machines wrote one generation.
    pub forks: BTreeSet<u64>,
    /// Slots that are missing, by number.
    pub slots: BTreeSet<u8>,
    /// Packs, by number.
    pub packs: BTreeMap<u64, PackNote>,
}

/// Packs of consecutive numbers with one note.
struct Range {
    note: PackNote,
    first: u64,
    /// At least 1.
    count: u32,
}

impl Notes {
    /// The packs that count as lost.
    pub fn lost_packs(&self) -> BTreeSet<u64> {
        self.packs_with(PackNote::Lost)
    }

    /// The packs that would count as lost if they were fewer.
    pub fn held_packs(&self) -> BTreeSet<u64> {
        self.packs_with(PackNote::Held)
    }

    /// Whether a pack was found missing or damaged, and not found sound since.
    pub fn is_damaged(&self, pack: u64) -> bool {
        matches!(self.packs.get(&pack), Some(PackNote::Lost | PackNote::Held))
    }

    /// From now on the held packs count as lost; false if there are none.
    pub fn release_held(&mut self) -> bool {
        let held = self.held_packs();
        self.packs
            .extend(held.iter().map(|number| (*number, PackNote::Lost)));
        !held.is_empty()
    }

    /// The generations of the archive, up to the head, whose commit is damaged or has another one
    /// beside it, ascending.
    pub fn damaged_commits(&self, head: u64) -> BTreeSet<u64> {
        let damaged = self
            .commits
            .range(..=head)
            .map(|(generation, _)| generation);
        damaged.chain(self.forks.range(..=head)).copied().collect()
    }

    /// The copy under which a commit of this generation is pushed; `None` if damage has taken the
    /// names of all copies.
    pub fn copy_for(&self, generation: u64) -> Option<u8> {
        u8::try_from(self.commits.get(&generation).copied().unwrap_or(0)).ok()
    }

    /// Takes the notes of a verify. If they are too many to be kept, the held packs are left out;
    /// if they are still too many, the notes of before stay.
    pub fn take(&mut self, mut found: Self) {
        if found.notes() > NOTES_MAX {
            found.packs.retain(|_, note| *note != PackNote::Held);
        }
        if found.notes() <= NOTES_MAX {
            *self = found;
        }
    }

    /// Makes the notes fit a ledger. If they are too many, all packs from the first to the last
    /// that is noted count as held: nothing follows until a person has decided.
    pub fn shorten(&mut self) {
        if self.notes() <= NOTES_MAX {
            return;
        }
        let first = self.packs.first_key_value().map(|(number, _)| *number);
        let last = self.packs.last_key_value().map(|(number, _)| *number);
        if let (Some(first), Some(last)) = (first, last) {
            let noted = (first..=last).take(PACKS_MAX as usize);
            self.packs = noted.map(|number| (number, PackNote::Held)).collect();
        }
    }

    /// How many notes [`encode`](Self::encode) writes.
    pub fn count(&self) -> u32 {
        u32::try_from(self.notes()).unwrap_or(u32::MAX)
    }

    fn notes(&self) -> usize {
        self.commits
            .len()
            .saturating_add(self.forks.len())
            .saturating_add(self.slots.len())
            .saturating_add(self.ranges().len())
    }

    fn packs_with(&self, wanted: PackNote) -> BTreeSet<u64> {
        self.packs
            .iter()
            .filter(|(_, note)| **note == wanted)
            .map(|(number, _)| *number)
            .collect()
    }

    fn ranges(&self) -> Vec<Range> {
        let mut ranges: Vec<Range> = Vec::new();
        for (number, note) in &self.packs {
            match ranges.last_mut().filter(|last| {
                last.note == *note && last.first.checked_add(u64::from(last.count)) == Some(*number)
            }) {
                Some(last) => last.count = last.count.saturating_add(1),
                None => ranges.push(Range {
                    note: *note,
                    first: *number,
                    count: 1,
                }),
            }
        }
        ranges
    }

    /// Writes each note as kind u32 ‖ how many packs follow the first one, or a commit's copy, u32
    /// ‖ number u64.
    pub fn encode(&self, writer: &mut Writer) {
        let mut note = |kind: u32, more: u32, number: u64| {
            writer.u32(kind).u32(more).u64(number);
        };
        self.commits
            .iter()
            .for_each(|(generation, copy)| note(KIND_COMMIT, u32::from(*copy), *generation));
        self.forks
            .iter()
            .for_each(|generation| note(KIND_FORK, 0, *generation));
        self.slots
            .iter()
            .for_each(|number| note(KIND_SLOT, 0, u64::from(*number)));
        self.ranges().iter().for_each(|range| {
            note(
                range.note.kind(),
                range.count.saturating_sub(1),
                range.first,
            )
        });
    }

    /// Reads `count` notes.
    pub fn decode(reader: &mut Reader, count: u32) -> Result<Self, Malformed> {
        let mut notes = Self::default();
        if usize::try_from(count).map_or(true, |count| count > NOTES_MAX) {
            return Err(Malformed("notes"));
        }
        for _ in 0..count {
            let (kind, more, number) = (reader.u32()?, reader.u32()?, reader.u64()?);
            match (kind, PackNote::of_kind(kind)) {
                (KIND_COMMIT, _) => {
                    let copy = u16::try_from(more)
                        .ok()
                        .filter(|copy| *copy <= COPIES_MAX)
                        .ok_or(Malformed("copy"))?;
                    notes.commits.insert(number, copy);
                }
                (KIND_FORK, _) if more == 0 => drop(notes.forks.insert(number)),
                (KIND_SLOT, _) if more == 0 => drop(
                    notes
                        .slots
                        .insert(u8::try_from(number).map_err(|_| Malformed("slot"))?),
                ),
                (_, Some(note)) => {
                    let last = number
                        .checked_add(u64::from(more))
                        .filter(|_| more < PACKS_MAX)
                        .ok_or(Malformed("range"))?;
                    notes
                        .packs
                        .extend((number..=last).map(|number| (number, note)));
                    if notes.packs.len() > PACKS_MAX as usize {
                        return Err(Malformed("packs"));
                    }
                }
                _ => return Err(Malformed("kind of a note")),
            }
        }
        Ok(notes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn note() -> impl Strategy<Value = PackNote> {
        prop::sample::select(vec![PackNote::Lost, PackNote::Sound, PackNote::Held])
    }

    fn written(notes: &Notes) -> Vec<u8> {
        let mut writer = Writer::with_capacity(1024);
        notes.encode(&mut writer);
        writer.finish()
    }

    proptest! {
        #[test]
        fn notes_come_back_as_they_were(
            packs in prop::collection::btree_map(0..200_u64, note(), 0..120),
            commits in prop::collection::btree_map(any::<u64>(), 0..=COPIES_MAX, 0..4),
            forks in prop::collection::btree_set(any::<u64>(), 0..4),
            slots in prop::collection::btree_set(any::<u8>(), 0..4),
        ) {
            let notes = Notes { commits, forks, slots, packs };
            let bytes = written(&notes);
            prop_assert_eq!(bytes.len(), 16 * notes.count() as usize);
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(Notes::decode(&mut reader, notes.count()), Ok(notes));
            prop_assert_eq!(reader.end(), Ok(()));
        }

        #[test]
        fn random_notes_decode_to_an_error_or_to_what_a_ledger_can_hold(bytes in prop::collection::vec(prop_oneof![Just(0), 0..7_u8, any::<u8>()], 0..20 * 16)) {
            let count = u32::try_from(bytes.len() / 16).unwrap();
            if let Ok(notes) = Notes::decode(&mut Reader::new(&bytes), count) {
                prop_assert!(notes.count() <= count && notes.packs.len() <= PACKS_MAX as usize);
            }
        }
    }

    #[test]
    fn a_store_that_lost_everything_is_one_note() {
        let notes = Notes {
            packs: (0..1_000_000)
                .map(|number| (number, PackNote::Held))
                .collect(),
            ..Notes::default()
        };
        assert_eq!(written(&notes).len(), 16);
    }

    #[test]
    fn more_than_a_ledger_can_hold_is_not_taken() {
        let scattered = |note| {
            (0..=NOTES_MAX as u64)
                .map(|number| (number * 2, note))
                .collect::<BTreeMap<_, _>>()
        };
        let before = Notes {
            packs: [(3, PackNote::Lost)].into(),
            ..Notes::default()
        };
        let mut notes = before.clone();
        notes.take(Notes {
            packs: scattered(PackNote::Lost),
            ..Notes::default()
        });
        assert_eq!(notes, before);
        let mut held = scattered(PackNote::Held);
        held.insert(1_000_001, PackNote::Lost);
        notes.take(Notes {
            packs: held,
            ..Notes::default()
        });
        assert_eq!(notes.packs, [(1_000_001, PackNote::Lost)].into());
    }

    #[test]
    fn what_is_held_counts_as_lost_when_it_is_released() {
        let mut notes = Notes {
            packs: [(1, PackNote::Held), (2, PackNote::Sound)].into(),
            ..Notes::default()
        };
        assert!(notes.lost_packs().is_empty() && notes.release_held());
        assert_eq!(notes.lost_packs(), [1].into());
        assert!(!notes.release_held());
    }
}
