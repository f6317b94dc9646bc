// SPDX-License-Identifier: GPL-3.0-or-later
//! Groups the packs that wait for their deletion, for `status`, and decides whether a commit is due
//! for their sake.

use std::collections::BTreeMap;
use std::mem::discriminant;

use super::deletion::{Obstacle, Plan};
use super::pack_life::Pack;
use crate::format::CommitStamp;

/// Packs that wait for the same kind of thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waits {
    /// The kind, with the most that is left for any of the packs.
    pub obstacle: Obstacle,
    /// Number of packs.
    pub packs: u64,
    /// Their length, bytes.
    pub bytes: u64,
}

/// Groups the waiting packs by their first obstacle, each pack once, in the order of [`Obstacle`].
pub fn waits(plan: &Plan, packs: &BTreeMap<u64, Pack>) -> Vec<Waits> {
    let mut groups: Vec<Waits> = Vec::new();
    for (number, obstacles) in &plan.waiting {
        let Some(first) = obstacles.iter().min() else {
            continue;
        };
        let bytes = packs.get(number).map_or(0, |pack| pack.length_bytes);
        let same = |group: &&mut Waits| discriminant(&group.obstacle) == discriminant(first);
        match groups.iter_mut().find(same) {
            Some(group) => {
                group.obstacle = most(group.obstacle, *first);
                group.packs = group.packs.saturating_add(1);
                group.bytes = group.bytes.saturating_add(bytes);
            }
            None => groups.push(Waits {
                obstacle: *first,
                packs: 1,
                bytes,
            }),
        }
    }
    groups.sort_by_key(|group| group.obstacle);
    groups
}

/// The larger of what is left, part by part, of two obstacles of one kind.
fn most(a: Obstacle, b: Obstacle) -> Obstacle {
    match (a, b) {
        (
            Obstacle::HoldOff {
                runs_left,
                secs_left,
            },
            Obstacle::HoldOff {
                runs_left: runs,
                secs_left: secs,
            },
        ) => Obstacle::HoldOff {
            runs_left: runs_left.max(runs),
            secs_left: secs_left.max(secs),
        },
        (
            Obstacle::Proof {
                commits_left,
                packs_left,
            },
            Obstacle::Proof {
                commits_left: commits,
                packs_left: packs,
            },
        ) => Obstacle::Proof {
            commits_left: commits_left.max(commits),
            packs_left: packs_left.max(packs),
        },
        _ => a.max(b),
    }
}

/// The reason why a prune or a backup that changed nothing makes a commit all the same. Without it
/// a full or retired archive would wait for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Packs are to be marked as going.
    MarksGoing,
    /// Entries of deleted packs are to be dropped.
    DropsEntries,
    /// A hold-off waits for a run, and the commit counts as one.
    CountsRun,
}

/// The reason why a commit is due at `now_kept_secs` although nothing else changed; `None` if no
/// commit is due. `gone`: number of entries of deleted packs that are still in the head. At most
/// two commits in a day of the kept clock are due for the sake of runs, and none once the hold-offs
/// wait for time alone.
pub fn commit_due(plan: &Plan, gone: u64, head: &CommitStamp, now_kept_secs: u64) -> Option<Due> {
    if !plan.mark_going.is_empty() {
        return Some(Due::MarksGoing);
    }
    if gone > 0 {
        return Some(Due::DropsEntries);
    }
    let waits_for_run = |obstacle: &Obstacle| matches!(obstacle, Obstacle::HoldOff { runs_left, .. } if *runs_left > 0);
    let waits_for_run = plan.waiting.values().flatten().any(waits_for_run);
    (waits_for_run && head.next_counts(now_kept_secs)).then_some(Due::CountsRun)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::PackState;

    const HOUR: u64 = 3600;

    fn hold_off(runs_left: u64, secs_left: u64) -> Obstacle {
        Obstacle::HoldOff {
            runs_left,
            secs_left,
        }
    }

    fn plan(waiting: &[(u64, &[Obstacle])]) -> Plan {
        Plan {
            waiting: waiting
                .iter()
                .map(|(number, obstacles)| (*number, obstacles.to_vec()))
                .collect(),
            ..Plan::default()
        }
    }

    #[test]
    fn each_pack_waits_for_one_kind_of_thing_with_the_most_that_is_left() {
        let pack = Pack {
            length_bytes: 10,
            state: PackState::Live,
        };
        let packs = (1..=4).map(|number| (number, pack)).collect();
        let proof = Obstacle::Proof {
            commits_left: 1,
            packs_left: 5,
        };
        let plan = plan(&[
            (1, &[hold_off(2, 50), proof]),
            (2, &[proof]),
            (3, &[hold_off(1, 70)]),
            (4, &[Obstacle::Reader, hold_off(3, 0)]),
        ]);
        let waits = waits(&plan, &packs);
        let found: Vec<_> = waits
            .iter()
            .map(|one| (one.obstacle, one.packs, one.bytes))
            .collect();
        assert_eq!(found, [(hold_off(3, 70), 3, 30), (proof, 1, 10)]);
    }

    #[test]
    fn a_commit_is_due_for_a_run_that_a_hold_off_waits_for() {
        let head = CommitStamp::first(0);
        let waiting = plan(&[(1, &[hold_off(2, 0)])]);
        assert_eq!(
            commit_due(&waiting, 0, &head, 12 * HOUR),
            Some(Due::CountsRun)
        );
        assert_eq!(commit_due(&waiting, 0, &head, 11 * HOUR), None);
    }

    #[test]
    fn no_commit_is_due_for_time_alone_nor_for_a_proof() {
        let head = CommitStamp::first(0);
        let proof = Obstacle::Proof {
            commits_left: 1,
            packs_left: 0,
        };
        for obstacles in [&[hold_off(0, 9)][..], &[proof], &[Obstacle::FetchRefused]] {
            assert_eq!(
                commit_due(&plan(&[(1, obstacles)]), 0, &head, u64::MAX),
                None
            );
        }
        assert_eq!(commit_due(&plan(&[]), 0, &head, u64::MAX), None);
    }

    #[test]
    fn a_commit_is_due_to_mark_and_to_drop_at_once() {
        let head = CommitStamp::first(0);
        let mut marks = plan(&[]);
        marks.mark_going.push(7);
        assert_eq!(commit_due(&marks, 0, &head, 0), Some(Due::MarksGoing));
        assert_eq!(commit_due(&plan(&[]), 1, &head, 0), Some(Due::DropsEntries));
    }
}
