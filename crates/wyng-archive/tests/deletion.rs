// SPDX-License-Identifier: GPL-3.0-or-later
//! Deletion: each wait by itself, and random archives in which nothing goes too soon.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use wyng_archive::format::{CommitStamp, GivenUp, Heirs, HoldOff, PackState, Stamp};
use wyng_archive::plan::deletion::{Answer, Obstacle, Plan, Services, Situation, gone, plan};
use wyng_archive::plan::hold_off::HoldOffs;
use wyng_archive::plan::pack_life::Pack;
use wyng_archive::plan::waiting::commit_due;

const DAY: u64 = 86_400;

/// An archive whose parts a test changes before it asks.
#[derive(Debug, Clone)]
struct Archive {
    packs: BTreeMap<u64, Pack>,
    head: CommitStamp,
    now_kept_secs: u64,
    hold_offs: HoldOffs,
    read_packs: BTreeMap<u64, u64>,
    read_commits: BTreeMap<(u64, u64), u64>,
    vital: Vec<u64>,
    oldest_reader_secs: Option<u64>,
    services: Services,
}

const GIVEN_UP: Stamp = Stamp {
    run: 10,
    kept_secs: 100 * DAY,
};
const HEAD: Stamp = Stamp {
    run: 13,
    kept_secs: 107 * DAY,
};

impl Archive {
    /// Pack 1 was given up; 5 and 6 took over its records; 9 is vital. Everything was read since.
    fn ready() -> Self {
        let given_up = GivenUp {
            at: GIVEN_UP,
            heirs: Heirs::new(5, 6),
        };
        let states = [
            (1, PackState::GivenUp(given_up)),
            (5, PackState::Live),
            (6, PackState::Live),
            (9, PackState::Live),
        ];
        let read = 107 * DAY + 60;
        Self {
            packs: states
                .iter()
                .map(|(number, state)| (*number, pack(*state)))
                .collect(),
            head: CommitStamp {
                stamp: HEAD,
                counted_secs: HEAD.kept_secs,
            },
            now_kept_secs: 107 * DAY + 600,
            hold_offs: HoldOffs::new(HoldOff {
                runs: 3,
                secs: 7 * DAY,
            }),
            read_packs: BTreeMap::from([(5, read), (6, read), (9, read)]),
            read_commits: BTreeMap::from([(key(GIVEN_UP), read), (key(HEAD), read)]),
            vital: vec![9],
            oldest_reader_secs: None,
            services: Services {
                fetch: true,
                delete: true,
                refused_secs: None,
            },
        }
    }

    fn plan(&self) -> Plan {
        plan(&Situation {
            packs: &self.packs,
            head: self.head,
            now_kept_secs: self.now_kept_secs,
            hold_offs: self.hold_offs,
            read_packs: &self.read_packs,
            read_commits: &self.read_commits,
            vital: &self.vital,
            oldest_reader_secs: self.oldest_reader_secs,
            services: self.services,
        })
    }

    /// Obstacles of pack 1.
    fn waits(&self) -> Vec<Obstacle> {
        let plan = self.plan();
        assert_ne!(plan.mark_going.contains(&1), plan.waiting.contains_key(&1));
        plan.waiting.get(&1).cloned().unwrap_or_default()
    }

    fn given_up(&mut self, number: u64, at: Stamp, heirs: Option<Heirs>) {
        let given_up = GivenUp { at, heirs };
        self.packs
            .insert(number, pack(PackState::GivenUp(given_up)));
    }
}

fn pack(state: PackState) -> Pack {
    Pack {
        length_bytes: 100,
        state,
    }
}

fn key(stamp: Stamp) -> (u64, u64) {
    (stamp.run, stamp.kept_secs)
}

fn proof(commits_left: u64, packs_left: u64) -> Obstacle {
    Obstacle::Proof {
        commits_left,
        packs_left,
    }
}

#[test]
fn a_pack_is_marked_when_its_hold_off_and_its_proof_are_done_and_deleted_only_then() {
    let mut archive = Archive::ready();
    let marked = Plan {
        mark_going: vec![1],
        ..Plan::default()
    };
    assert_eq!(archive.plan(), marked);
    let given_up = GivenUp {
        at: GIVEN_UP,
        heirs: Heirs::new(5, 6),
    };
    archive.packs.insert(1, pack(PackState::Going(given_up)));
    assert_eq!(archive.plan().delete, [1]);
}

#[test]
fn the_hold_off_waits_for_runs_and_for_time() {
    let mut archive = Archive::ready();
    archive.now_kept_secs = 107 * DAY - 5;
    archive.hold_offs.current.runs = 4;
    let hold_off = Obstacle::HoldOff {
        runs_left: 1,
        secs_left: 5,
    };
    assert_eq!(archive.waits(), [hold_off]);
    assert!(commit_due(&archive.plan(), 0, &archive.head, HEAD.kept_secs + DAY).is_some());
}

#[test]
fn each_object_that_was_not_read_since_the_pack_was_given_up_is_waited_for() {
    for (number, left) in [(5, 1), (6, 1), (9, 1)] {
        for read in [None, Some(GIVEN_UP.kept_secs)] {
            let mut archive = Archive::ready();
            archive.read_packs.remove(&number);
            archive.read_packs.extend(read.map(|read| (number, read)));
            assert_eq!(archive.waits(), [proof(0, left)], "pack {number}");
        }
    }
    for stamp in [GIVEN_UP, HEAD] {
        for read in [None, Some(stamp.kept_secs)] {
            let mut archive = Archive::ready();
            archive.read_commits.remove(&key(stamp));
            archive
                .read_commits
                .extend(read.map(|read| (key(stamp), read)));
            assert_eq!(archive.waits(), [proof(1, 0)], "{stamp:?}");
        }
    }
}

#[test]
fn a_head_that_is_newer_than_all_readings_has_to_be_read_again() {
    let mut archive = Archive::ready();
    archive.head = archive.head.next(108 * DAY);
    archive.now_kept_secs = 108 * DAY;
    assert_eq!(archive.waits(), [proof(1, 0)]);
}

#[test]
fn an_heir_that_is_vital_too_is_counted_once() {
    let mut archive = Archive::ready();
    archive.vital = vec![5, 9];
    archive.read_packs.clear();
    assert_eq!(archive.waits(), [proof(0, 3)]);
}

#[test]
fn an_heir_that_was_given_up_stands_for_its_own_heirs() {
    let mut archive = Archive::ready();
    let later = Stamp {
        run: 11,
        kept_secs: 101 * DAY,
    };
    archive.given_up(5, later, Heirs::new(7, 8));
    archive.packs.insert(7, pack(PackState::Live));
    archive.packs.insert(8, pack(PackState::Live));
    archive.read_packs.remove(&5);
    archive.read_packs.insert(8, 107 * DAY + 60);
    assert_eq!(archive.waits(), [proof(0, 1)], "pack 7");
    archive.read_packs.insert(7, 107 * DAY + 60);
    assert_eq!(archive.waits(), []);
    archive.packs.insert(7, pack(PackState::Lost));
    assert_eq!(archive.waits(), [Obstacle::HeirLost { pack: 7 }]);
}

#[test]
fn a_pack_whose_heir_is_lost_is_never_deleted() {
    let mut archive = Archive::ready();
    archive.packs.insert(6, pack(PackState::Lost));
    archive.now_kept_secs = u64::MAX;
    assert_eq!(archive.waits(), [Obstacle::HeirLost { pack: 6 }]);
}

#[test]
fn an_heir_keeps_its_entry_while_a_pack_that_waits_names_it() {
    let mut archive = Archive::ready();
    archive.given_up(5, GIVEN_UP, None);
    assert_eq!(archive.plan().mark_going, [1, 5]);
    archive.packs.insert(6, pack(PackState::Lost));
    let plan = archive.plan();
    assert_eq!(plan.mark_going, []);
    assert_eq!(plan.waiting[&5], [Obstacle::HeirOf { pack: 1 }]);
    // Packs 2 and 3 wait too; 7 lies behind what the last of them names.
    archive.given_up(2, GIVEN_UP, Heirs::new(5, 9));
    archive.given_up(3, GIVEN_UP, Heirs::new(6, 6));
    archive.given_up(4, GIVEN_UP, None);
    archive.given_up(7, GIVEN_UP, None);
    archive.given_up(10, GIVEN_UP, None);
    let plan = archive.plan();
    assert_eq!(plan.mark_going, [4, 10]);
    assert_eq!(plan.waiting[&7], [Obstacle::HeirOf { pack: 2 }]);
}

#[test]
fn nothing_is_deleted_where_fetching_or_deleting_is_refused() {
    let mut archive = Archive::ready();
    archive.services.fetch = false;
    assert_eq!(archive.waits(), [Obstacle::FetchRefused]);
    let mut archive = Archive::ready();
    archive.services.delete = false;
    assert_eq!(archive.waits(), [Obstacle::DeleteRefused]);
}

#[test]
fn a_reader_of_an_older_head_holds_what_it_may_need() {
    let mut archive = Archive::ready();
    archive.oldest_reader_secs = Some(GIVEN_UP.kept_secs - 1);
    assert_eq!(archive.waits(), [Obstacle::Reader]);
    archive.oldest_reader_secs = Some(GIVEN_UP.kept_secs);
    assert_eq!(
        archive.waits(),
        [Obstacle::Reader],
        "made in the same second"
    );
    archive.oldest_reader_secs = Some(GIVEN_UP.kept_secs + 1);
    assert_eq!(archive.waits(), []);
}

#[test]
fn after_a_refusal_the_next_try_is_a_kept_day_later() {
    let mut archive = Archive::ready();
    let refused = archive.now_kept_secs;
    archive.services.refused_secs = Some(refused);
    archive.now_kept_secs = refused + DAY - 1;
    assert_eq!(archive.waits(), [Obstacle::StoreRefused { secs_left: 1 }]);
    archive.now_kept_secs = refused + DAY;
    assert_eq!(archive.waits(), []);
    archive.now_kept_secs = refused - 1;
    assert_eq!(
        archive.waits(),
        [],
        "a refusal ahead of now is of a clock that was lost"
    );
}

#[test]
fn the_first_refusal_ends_the_deletes_and_only_what_is_gone_loses_its_entry() {
    let answers = [
        (1, Answer::Deleted),
        (2, Answer::Absent),
        (3, Answer::Refused),
        (4, Answer::Deleted),
    ];
    assert_eq!(gone(answers), (BTreeSet::from([1, 2]), true));
    assert_eq!(gone([(1, Answer::Deleted)]), (BTreeSet::from([1]), false));
}

/// A retired archive: nothing changes any more, and one command runs a day. Waits end by the
/// commits that are due for their sake alone.
#[test]
fn a_retired_archive_is_emptied_by_the_commits_that_are_due() {
    let mut archive = Archive::ready();
    archive.head = CommitStamp::first(100 * DAY);
    archive.given_up(1, archive.head.stamp, Heirs::new(5, 6));
    let (mut commits, mut entries) = (0, 1);
    for day in 101..130 {
        let start = day * DAY;
        archive.now_kept_secs = start;
        // A verify reads everything.
        archive
            .read_packs
            .values_mut()
            .for_each(|read| *read = start);
        let given_up = Stamp {
            run: 1,
            kept_secs: 100 * DAY,
        };
        archive.read_commits = [given_up, archive.head.stamp]
            .into_iter()
            .map(|stamp| (key(stamp), start))
            .collect();
        let plan = archive.plan();
        let dropped = u64::from(entries == 1 && !archive.packs.contains_key(&1));
        if commit_due(&plan, dropped, &archive.head, start).is_some() {
            commits += 1;
            entries -= dropped;
            archive.head = archive.head.next(start);
            for number in plan.mark_going {
                archive.packs.remove(&number); // marked, and deleted after the receipt
            }
        }
    }
    assert_eq!(
        (entries, commits),
        (0, 5),
        "three runs, one mark, one that drops the entry"
    );
}

fn archives() -> impl Strategy<Value = Archive> {
    let stamp = || (0..8_u64, 90..110_u64);
    let heirs = || prop::option::of((0..6_u64, 0..4_u64));
    let one = (0..6_u8, stamp(), heirs(), prop::option::of(90..112_u64));
    let packs = prop::collection::vec(one, 1..25);
    let commits = prop::collection::btree_map(stamp(), 90..112_u64, 0..40);
    let rest = (
        stamp(),
        prop::collection::btree_set(0..25_u64, 0..4),
        0..4_u64,
        0..8_u64,
        prop::option::weighted(0.2, 90..112_u64),
        0..8_u8,
    );
    (packs, commits, rest).prop_map(
        |(packs, commits, (head, vital, runs, days, reader, services))| {
            let mut archive = Archive::ready();
            archive.packs.clear();
            archive.read_packs.clear();
            for (number, (state, (run, day), heirs, read)) in (0..).zip(packs) {
                let at = Stamp {
                    run,
                    kept_secs: day * DAY,
                };
                let heirs = heirs.and_then(|(skip, more)| {
                    Heirs::new(number + 1 + skip, number + 1 + skip + more)
                });
                let given_up = GivenUp { at, heirs };
                let state = match state {
                    0..=2 => PackState::Live,
                    3 | 4 => PackState::GivenUp(given_up),
                    _ if run == 0 => PackState::Lost,
                    _ => PackState::Going(given_up),
                };
                archive.packs.insert(number, pack(state));
                archive
                    .read_packs
                    .extend(read.map(|day| (number, day * DAY)));
            }
            archive.read_commits = commits
                .into_iter()
                .map(|((run, day), read)| ((run, day * DAY), read * DAY))
                .collect();
            let stamp = Stamp {
                run: head.0,
                kept_secs: head.1 * DAY,
            };
            archive.head = CommitStamp {
                stamp,
                counted_secs: stamp.kept_secs,
            };
            archive.now_kept_secs = 112 * DAY;
            archive.vital = vital.into_iter().collect();
            archive.hold_offs = HoldOffs::new(HoldOff {
                runs,
                secs: days * DAY,
            });
            archive.oldest_reader_secs = reader.map(|day| day * DAY);
            archive.services.delete = services > 0;
            archive.services.fetch = services > 1;
            archive
        },
    )
}

/// Every live pack to which the records of a given-up one may have gone, and no lost one among
/// them.
fn final_heirs(archive: &Archive, of: u64) -> Option<BTreeSet<u64>> {
    let PackState::GivenUp(given_up) = archive.packs[&of].state else {
        return Some(BTreeSet::new());
    };
    let mut found = BTreeSet::new();
    let Some(heirs) = given_up.heirs else {
        return Some(found);
    };
    for number in heirs.first..=heirs.last {
        match archive.packs.get(&number).map(|pack| pack.state) {
            Some(PackState::Live) => drop(found.insert(number)),
            Some(PackState::Lost) => return None,
            Some(PackState::GivenUp(_)) => found.extend(final_heirs(archive, number)?),
            Some(PackState::Going(going)) => {
                let mut before = archive.clone();
                before.packs.insert(number, pack(PackState::GivenUp(going)));
                found.extend(final_heirs(&before, number)?);
            }
            None => {}
        }
    }
    Some(found)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 3000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_pack_given_up_is_marked_deleted_or_waits_for_a_reason(archive in archives()) {
        let plan = archive.plan();
        for (number, pack) in &archive.packs {
            let places = [
                plan.mark_going.contains(number),
                plan.delete.contains(number),
                plan.waiting.get(number).is_some_and(|obstacles| !obstacles.is_empty()),
            ];
            let expected = match pack.state {
                PackState::Live | PackState::Lost => 0,
                PackState::GivenUp(_) => { prop_assert!(!places[1]); 1 }
                PackState::Going(_) => { prop_assert!(!places[0]); 1 }
            };
            prop_assert_eq!(places.iter().filter(|place| **place).count(), expected);
        }
    }

    #[test]
    fn nothing_is_marked_before_its_hold_off_and_everything_it_left_behind_was_read(
        archive in archives(),
    ) {
        for number in archive.plan().mark_going {
            let PackState::GivenUp(given_up) = archive.packs[&number].state else { unreachable!() };
            prop_assert!(archive.services.delete && archive.services.fetch);
            prop_assert!(
                archive.head.stamp.run >= given_up.at.run + archive.hold_offs.current.runs
            );
            prop_assert!(
                archive.now_kept_secs
                    >= given_up.at.kept_secs + archive.hold_offs.current.secs
            );
            prop_assert!(
                archive.oldest_reader_secs.is_none_or(|head| head > given_up.at.kept_secs)
            );
            for commit in [given_up.at, archive.head.stamp] {
                prop_assert!(archive.read_commits[&key(commit)] > commit.kept_secs);
            }
            let heirs = final_heirs(&archive, number);
            prop_assert!(heirs.is_some(), "an heir is lost");
            for waiting in archive.plan().waiting.keys() {
                let (PackState::GivenUp(by) | PackState::Going(by)) =
                    archive.packs[waiting].state
                else {
                    unreachable!()
                };
                let named =
                    by.heirs.is_some_and(|heirs| (heirs.first..=heirs.last).contains(&number));
                prop_assert!(!named, "{waiting} waits and names {number}");
            }
            for pack in heirs.unwrap().iter().chain(&archive.vital) {
                prop_assert!(archive.read_packs[pack] > given_up.at.kept_secs);
            }
        }
    }

    #[test]
    fn reading_everything_back_leaves_no_pack_waiting_for_proof(archive in archives()) {
        let mut archive = archive;
        let now = archive.now_kept_secs;
        archive.read_packs = (0..30).map(|number| (number, now)).collect();
        let stamps = (0..10).flat_map(|run| (90..=112).map(move |day| (run, day * DAY)));
        archive.read_commits = stamps.map(|stamp| (stamp, now)).collect();
        let waiting = archive.plan().waiting;
        let proofs = waiting
            .values()
            .flatten()
            .filter(|obstacle| matches!(obstacle, Obstacle::Proof { .. }));
        prop_assert_eq!(proofs.count(), 0);
    }
}
