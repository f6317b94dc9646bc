// SPDX-License-Identifier: GPL-3.0-or-later
//! Selects the packs that a compaction rewrites. It moves nothing itself, and knows neither volumes
//! nor sessions: sources are chosen by their live bytes, and taken by ranges of numbers.
//!
//! Two goals: the packs that do not wait for deletion are at most [`Goals::waste_percent`] larger
//! than their live records, and there are few of them. Packs are rewritten only as far as a goal is
//! missed. The packs that free the most bytes for each byte moved come first, old packs before
//! young packs: the records of a young pack may be dead in a week without any work. Waste that is
//! spread evenly over full packs costs the most, and is left until it must go.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use crate::format::padme;

/// Amount moved by one step, after which a commit is made, bytes.
pub const STEP_BYTES: u64 = 1 << 30;
/// Maximum number of packs that one step gives up, so that the nodes of the pack table that it
/// changes fit one tail of 16 MiB: 2048 leaves of 32 entries of at most 128 bytes are 8 MiB, if no
/// two sources share a leaf, and the nodes above them a tenth of it.
pub const STEP_SOURCES: usize = 2048;

/// Length of the shortest pack, bytes: what a run's last pack is filled up to.
const PACK_MIN_BYTES: u64 = 64 << 10;

/// A live pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source {
    /// Its number.
    pub number: u64,
    /// Its length, bytes.
    pub length_bytes: u64,
    /// Length of its records that are alive, with their share of the directory, bytes. A copy of an
    /// id that another pack holds is dead only where `giving_up` says so.
    pub alive_bytes: u64,
    /// It may be rewritten: it lies below the floor.
    pub movable: bool,
}

/// Goals of a compaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Goals {
    /// Maximum size of the live packs above what is alive in them, per cent.
    pub waste_percent: u64,
    /// Maximum number of live packs above one for each half of a pack size.
    pub spare_packs: u64,
    /// Size of a full pack, bytes.
    pub pack_size_bytes: u64,
    /// Size of a chunk, bytes. A new pack stays empty by half of it on average, since no record is
    /// cut in two.
    pub chunk_size_bytes: u64,
}

impl Goals {
    /// The goals of an archive: at most 1.1 times what is alive, and at most one pack for each 8
    /// MiB (at 16 MiB a pack) and 64 more.
    pub fn new(pack_size_bytes: u64, chunk_size_bytes: u64) -> Self {
        Self {
            waste_percent: 10,
            spare_packs: 64,
            pack_size_bytes,
            chunk_size_bytes,
        }
    }
}

/// Packs that are rewritten between two commits.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Step {
    /// The sources, ascending. Ranges of different steps do not overlap.
    pub sources: Vec<u64>,
    /// Length of the sources, which are read whole, bytes.
    pub read_bytes: u64,
    /// Length of what is moved, bytes.
    pub moved_bytes: u64,
}

/// Plans a compaction that reads at most `budget_bytes`. Steps ascend by number. Takes O(p log p)
/// steps and O(p) memory for p packs.
pub fn plan(packs: &[Source], goals: Goals, budget_bytes: u64) -> Vec<Step> {
    let mut choice = Choice::new(packs, goals, budget_bytes);
    choice.take_thin();
    choice.take_small();
    steps(choice.chosen)
}

/// The archive as it will be after the sources chosen so far.
struct Choice<'a> {
    packs: &'a [Source],
    goals: Goals,
    budget_bytes: u64,
    chosen: Vec<Source>,
    /// Packs that stay as they are.
    stay_count: u64,
    stay_bytes: u64,
    /// Length of the live records of all packs, bytes.
    alive_bytes: u64,
    moved_bytes: u64,
}

impl<'a> Choice<'a> {
    fn new(packs: &'a [Source], goals: Goals, budget_bytes: u64) -> Self {
        let sum = |of: fn(&Source) -> u64| {
            packs
                .iter()
                .fold(0_u64, |sum, pack| sum.saturating_add(of(pack)))
        };
        Self {
            packs,
            goals,
            budget_bytes,
            chosen: Vec::new(),
            stay_count: u64::try_from(packs.len()).unwrap_or(u64::MAX),
            stay_bytes: sum(|pack| pack.length_bytes),
            alive_bytes: sum(|pack| pack.alive_bytes.min(pack.length_bytes)),
            moved_bytes: 0,
        }
    }

    /// Packs with waste, the most worthwhile first, until the waste of all is within its goal.
    fn take_thin(&mut self) {
        let thin = self
            .packs
            .iter()
            .filter(|pack| pack.movable && pack.alive_bytes < pack.length_bytes);
        let mut thin: Vec<&Source> = thin.collect();
        let newest = self.packs.iter().map(|pack| pack.number).max();
        let newest = newest.unwrap_or_default();
        thin.sort_by_cached_key(|pack| (Reverse(pack.worth(newest)), pack.number));
        let allowed = self
            .alive_bytes
            .saturating_add(self.alive_bytes.saturating_mul(self.goals.waste_percent) / 100);
        for pack in thin {
            if self.length_bytes() <= allowed || !self.take(pack) {
                break;
            }
        }
    }

    /// The smallest packs, if there are too many: then until half of the spare packs are free
    /// again, so that the next nights have room. Each becomes a part of a full pack.
    fn take_small(&mut self) {
        let spare = self.goals.spare_packs;
        if self.pack_count() <= self.allowed_count(spare.saturating_sub(spare / 4)) {
            return;
        }
        let half = self.goals.pack_size_bytes / 2;
        let chosen: BTreeSet<u64> = self.chosen.iter().map(|pack| pack.number).collect();
        let mut small: Vec<&Source> = self
            .packs
            .iter()
            .filter(|pack| {
                pack.movable && pack.alive_bytes < half && !chosen.contains(&pack.number)
            })
            .collect();
        small.sort_by_key(|pack| (pack.alive_bytes, pack.number));
        for pack in small {
            if self.pack_count() <= self.allowed_count(spare / 2) || !self.take(pack) {
                break;
            }
        }
    }

    /// Adds a source; false if the budget does not reach for it.
    fn take(&mut self, pack: &Source) -> bool {
        let Some(budget_bytes) = self.budget_bytes.checked_sub(pack.length_bytes) else {
            return false;
        };
        self.budget_bytes = budget_bytes;
        self.stay_count = self.stay_count.saturating_sub(1);
        self.stay_bytes = self.stay_bytes.saturating_sub(pack.length_bytes);
        self.moved_bytes = self.moved_bytes.saturating_add(pack.alive_bytes);
        self.chosen.push(*pack);
        true
    }

    fn length_bytes(&self) -> u64 {
        self.stay_bytes.saturating_add(self.new_packs().1)
    }

    fn pack_count(&self) -> u64 {
        self.stay_count.saturating_add(self.new_packs().0)
    }

    /// One for each half of a pack size, and `spare` more.
    fn allowed_count(&self, spare: u64) -> u64 {
        let half = (self.goals.pack_size_bytes / 2).max(1);
        self.length_bytes()
            .checked_div(half)
            .unwrap_or(0)
            .saturating_add(spare)
    }

    /// Number and length of the packs into which the sources chosen so far go, if one step takes
    /// them all.
    fn new_packs(&self) -> (u64, u64) {
        let size = self.goals.pack_size_bytes.max(1);
        let filled = size
            .saturating_sub(self.goals.chunk_size_bytes / 2)
            .max(size / 2)
            .max(1);
        let full = self.moved_bytes.checked_div(filled).unwrap_or(0);
        let rest = self.moved_bytes.saturating_sub(full.saturating_mul(filled));
        if rest == 0 {
            return (full, full.saturating_mul(size));
        }
        let last = padme(rest.max(PACK_MIN_BYTES)).min(size);
        let length = full.saturating_mul(size).saturating_add(last);
        (full.saturating_add(1), length)
    }
}

impl Source {
    /// `freed / (read + moved) * sqrt(age)`: how worthwhile it is to rewrite the pack, from 0 up.
    /// The age is counted in packs that came after it, `newest` being the last.
    fn worth(&self, newest: u64) -> u64 {
        let alive_bytes = self.alive_bytes.min(self.length_bytes);
        let freed = self.length_bytes.saturating_sub(alive_bytes);
        let cost = self.length_bytes.saturating_add(alive_bytes).max(1);
        let age = newest.saturating_sub(self.number).saturating_add(1);
        // A ratio of up to 1 in 2^16, times a root of up to 2^32.
        let ratio = freed.saturating_mul(1 << 16).checked_div(cost);
        ratio
            .unwrap_or(0)
            .saturating_mul(age.min(1 << 48).saturating_mul(1 << 16).isqrt())
    }
}

/// Cuts the sources into steps by ascending number.
fn steps(mut chosen: Vec<Source>) -> Vec<Step> {
    chosen.sort_by_key(|pack| pack.number);
    let mut steps: Vec<Step> = Vec::new();
    for pack in chosen {
        let fits = |step: &&mut Step| {
            step.sources.len() < STEP_SOURCES
                && step.moved_bytes.saturating_add(pack.alive_bytes) <= STEP_BYTES
        };
        let step = match steps.last_mut().filter(fits) {
            Some(step) => step,
            None => {
                steps.push(Step::default());
                let Some(step) = steps.last_mut() else {
                    break;
                };
                step
            }
        };
        step.sources.push(pack.number);
        step.read_bytes = step.read_bytes.saturating_add(pack.length_bytes);
        step.moved_bytes = step.moved_bytes.saturating_add(pack.alive_bytes);
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const GOALS: Goals = Goals {
        waste_percent: 10,
        spare_packs: 64,
        pack_size_bytes: 16 * MIB,
        chunk_size_bytes: MIB / 8,
    };

    /// Full packs numbered from 0 with this many MiB alive in each.
    fn full(alive_mib: &[u64]) -> Vec<Source> {
        (0..)
            .zip(alive_mib)
            .map(|(number, alive)| Source {
                number,
                length_bytes: 16 * MIB,
                alive_bytes: alive * MIB,
                movable: true,
            })
            .collect()
    }

    fn chosen(packs: &[Source], budget_bytes: u64) -> Vec<u64> {
        let steps = plan(packs, GOALS, budget_bytes);
        steps.into_iter().flat_map(|step| step.sources).collect()
    }

    #[test]
    fn nothing_is_rewritten_within_the_goals() {
        assert_eq!(chosen(&full(&[16; 40]), u64::MAX), []);
        assert_eq!(chosen(&full(&[15; 40]), u64::MAX), []);
        assert_eq!(chosen(&[], u64::MAX), []);
    }

    #[test]
    fn the_thinnest_packs_are_rewritten_and_no_more_than_needed() {
        let mut packs = full(&[16; 20]);
        packs[3].alive_bytes = 2 * MIB;
        packs[4].alive_bytes = MIB;
        packs[9].alive_bytes = 14 * MIB;
        packs[12].alive_bytes = 3 * MIB;
        assert_eq!(chosen(&packs, u64::MAX), [3, 4]);
    }

    #[test]
    fn of_two_packs_of_equal_waste_the_older_is_rewritten() {
        let mut packs = full(&[16; 10]);
        packs[8].alive_bytes = 4 * MIB;
        packs[2].alive_bytes = 4 * MIB;
        assert_eq!(chosen(&packs, u64::MAX), [2]);
    }

    #[test]
    fn a_pack_from_the_floor_on_is_counted_and_left_alone() {
        let mut packs = full(&[16; 10]);
        packs[9].alive_bytes = 0;
        packs[9].movable = false;
        assert_eq!(chosen(&packs, u64::MAX), []);
        packs[1].alive_bytes = 8 * MIB;
        assert_eq!(chosen(&packs, u64::MAX), [1]);
    }

    #[test]
    fn no_more_is_read_than_the_budget() {
        let packs = full(&[1; 100]);
        for budget_mib in [0, 15, 16, 160] {
            let steps = plan(&packs, GOALS, budget_mib * MIB);
            let read: u64 = steps.iter().map(|step| step.read_bytes).sum();
            assert_eq!(read, budget_mib / 16 * 16 * MIB);
        }
    }

    #[test]
    fn small_packs_are_merged_when_there_are_too_many_smallest_first() {
        let small = |number: u64| Source {
            number,
            length_bytes: MIB,
            alive_bytes: MIB - number,
            movable: true,
        };
        let few: Vec<Source> = (0..52).map(small).collect();
        assert_eq!(chosen(&few, u64::MAX), []);
        let many: Vec<Source> = (0..60).map(small).collect();
        let merged = chosen(&many, u64::MAX);
        assert_eq!(merged.last(), Some(&59));
        assert!((20..30).contains(&merged.len()), "{} packs", merged.len());
        assert_eq!(
            merged,
            (60 - u64::try_from(merged.len()).unwrap()..60).collect::<Vec<_>>()
        );
    }

    #[test]
    fn steps_are_bounded_and_ascend_without_overlap() {
        let mut packs = full(&vec![7; 5000]);
        for pack in &mut packs[2500..] {
            pack.alive_bytes = 0;
        }
        let steps = plan(&packs, GOALS, u64::MAX);
        let numbers: Vec<u64> = steps.iter().flat_map(|step| step.sources.clone()).collect();
        assert!(
            numbers.is_sorted() && numbers.len() > 4000,
            "{}",
            numbers.len()
        );
        for step in &steps {
            assert!(step.moved_bytes <= STEP_BYTES && step.sources.len() <= STEP_SOURCES);
        }
        assert!(steps.iter().any(|step| step.sources.len() == STEP_SOURCES));
        assert!(
            steps
                .iter()
                .any(|step| step.moved_bytes > STEP_BYTES - 8 * MIB)
        );
    }

    #[test]
    fn extreme_lengths_are_planned_without_overflow() {
        let pack = |number, length_bytes, alive_bytes| Source {
            number,
            length_bytes,
            alive_bytes,
            movable: true,
        };
        let packs = [
            pack(0, u64::MAX, 0),
            pack(u64::MAX, 0, u64::MAX),
            pack(5, 7, u64::MAX),
        ];
        assert!(plan(&packs, GOALS, u64::MAX).len() <= 3);
        let odd = Goals {
            pack_size_bytes: 0,
            chunk_size_bytes: u64::MAX,
            ..GOALS
        };
        assert!(plan(&packs, odd, u64::MAX).len() <= 3);
    }
}
