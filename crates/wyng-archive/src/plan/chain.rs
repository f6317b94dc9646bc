// SPDX-License-Identifier: GPL-3.0-or-later
//! The chain of commits: proving descent in few steps, and finding the newest commit without a
//! listing.

use crate::format::skip_of;

/// Number of consecutive copies of a commit that must be absent before the search for more copies
/// ends.
pub const COPIES_ABSENT: u8 = 4;

/// On the way from commit `generation` to the older `goal`: the next generation, whose hash this
/// commit carries.
///
/// `None` when `goal` is not older.
pub fn earlier_step(generation: u64, goal: u64) -> Option<u64> {
    if goal >= generation {
        return None;
    }
    let skip = skip_of(generation);
    if skip >= goal && skip > 0 {
        Some(skip)
    } else {
        generation.checked_sub(1)
    }
}

/// Maximum generation: at one commit a second it takes 35,000 years. A store that shows more
/// commits lies.
pub const GENERATION_MAX: u64 = 1 << 40;

/// The generations after `newest` that must be absent before `newest` is taken for the newest
/// commit. A store that hides up to 63 commits in a row has no effect.
pub fn head_probes(newest: u64) -> impl Iterator<Item = u64> {
    let first = newest.saturating_add(1);
    first..=newest.saturating_add(64)
}

/// The next generation to probe, between one that `exists` and one that is `absent` (`None` if no
/// absent one is known yet). Returns `None` when the two meet, or past [`GENERATION_MAX`].
pub fn next_probe(exists: u64, absent: Option<u64>) -> Option<u64> {
    match absent {
        None => (exists < GENERATION_MAX).then_some(exists.saturating_mul(2).max(1)),
        Some(absent) => {
            let middle = exists.midpoint(absent);
            (middle > exists && middle < absent).then_some(middle)
        }
    }
}

/// The generations that a search for `newest` from nothing finds on its way, `newest` itself among
/// them: without one of them the search would end at an older one.
pub fn probed(newest: u64) -> impl Iterator<Item = u64> {
    let (mut exists, mut absent) = (0, None);
    core::iter::from_fn(move || {
        while let Some(probe) = next_probe(exists, absent) {
            if probe <= newest {
                exists = probe;
                return Some(probe);
            }
            absent = Some(probe);
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_from_nothing_meets_the_powers_of_two_and_then_halves_what_is_left() {
        assert_eq!(probed(0).count(), 0);
        assert_eq!(probed(1).collect::<Vec<_>>(), [1]);
        assert_eq!(probed(11).collect::<Vec<_>>(), [1, 2, 4, 8, 10, 11]);
        for newest in 1..300 {
            assert_eq!(probed(newest).last(), Some(newest));
            // What is on the way once stays on it until it is left for good.
            let before: Vec<u64> = probed(newest - 1).collect();
            let new = probed(newest).filter(|generation| !before.contains(generation));
            assert_eq!(new.collect::<Vec<_>>(), [newest]);
        }
    }

    #[test]
    fn descent_takes_at_most_half_of_log2_squared_steps() {
        for (head, goal) in [
            (1_000_000, 1),
            (1_048_575, 3),
            (1_048_577, 524_289),
            (2, 1),
            (100, 99),
        ] {
            let mut generation = head;
            let mut steps = 0;
            while let Some(next) = earlier_step(generation, goal) {
                assert!(next < generation && next >= goal);
                generation = next;
                steps += 1;
            }
            assert_eq!(generation, goal);
            let log2 = head.ilog2();
            assert!(
                steps <= (log2 + 1) * (log2 + 2) / 2,
                "{head} to {goal} took {steps} steps"
            );
        }
    }

    #[test]
    fn a_store_that_claims_every_commit_is_not_believed_for_ever() {
        let (mut exists, mut probes) = (0, 0);
        while let Some(probe) = next_probe(exists, None) {
            (exists, probes) = (probe, probes + 1);
        }
        assert_eq!((exists, probes), (GENERATION_MAX, 41));
    }

    #[test]
    fn doubling_and_bisecting_finds_every_head() {
        for head in 0..300u64 {
            let (mut exists, mut absent) = (0, None);
            while let Some(probe) = next_probe(exists, absent) {
                if probe <= head {
                    exists = probe
                } else {
                    absent = Some(probe)
                }
            }
            assert_eq!(exists, head);
        }
    }
}
