// SPDX-License-Identifier: GPL-3.0-or-later
//! Object locks that are made longer in time, by an engine whose store, clocks and kills are the
//! test's.

use std::collections::{BTreeMap, BTreeSet};

use wyng_archive::crypto::slot_name;
use wyng_archive::format::PackState;
use wyng_archive::plan::probed;
use wyng_control::{
    ArchiveSummary, Command, ExitStatus, Failure, LockSummary, QubeChoice, ToClient, Warning,
};
use wyng_engine::state::{Lockable, Locks};
use wyng_engine::world::{RenewalBudget, Renewed};
use wyng_engine::{admin, backup, look};
use wyng_tests::engine::{adopt, back_up, create_request, cut_everywhere, named, open_request};
use wyng_tests::memory_world::{Durable, MachineClock, MemoryStore, MemoryWorld};
use wyng_tests::sandbox::noise;

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;
const ADDRESS: &str = "s3://disks/home?lock=30d";

type Locked = BTreeMap<[u8; 32], u32>;

/// A machine with an archive in a store that locks for 30 days, and what the store has locked.
#[derive(Clone)]
struct Machine {
    clock: MachineClock,
    durable: Durable,
    locks: Locked,
    seed: u64,
}

impl Machine {
    fn new() -> Self {
        Self::at(ADDRESS)
    }

    fn at(address: &str) -> Self {
        let mut world = MemoryWorld::observed(Durable::default(), 1);
        let mut request = create_request();
        request.store = address.into();
        admin::create(&mut world, &request).unwrap();
        Self {
            clock: MachineClock::after(10),
            durable: world.end(),
            locks: world.store.locks.clone(),
            seed: 1,
        }
    }

    fn world(&mut self) -> MemoryWorld {
        self.seed += 1;
        let mut world = MemoryWorld::new(self.durable.clone(), self.seed);
        world.clock = self.clock.clone();
        world.store.locks = self.locks.clone();
        wyng_engine::observe_clock(&mut world);
        world
    }

    fn leave(&mut self, world: &MemoryWorld) {
        self.durable = world.crash(0).0;
        self.clock = world.clock.clone();
        self.locks = world.store.locks.clone();
    }

    /// A machine that is on this long.
    fn pass(&mut self, secs: u64) {
        self.clock.pass(secs);
        let world = self.world();
        self.leave(&world);
    }

    /// A backup of new content; how many locks it asked for, and what it warned of.
    fn back_up(&mut self) -> (usize, Vec<Warning>) {
        let (asked, warned) = self.back_up_with(150_000, |_| {});
        (asked.len(), warned)
    }

    /// A backup of so much new content with a store that the test sets; which locks it asked for,
    /// in order, and what it warned of.
    fn back_up_with(
        &mut self,
        bytes: usize,
        set: impl FnOnce(&mut MemoryStore),
    ) -> (Vec<[u8; 32]>, Vec<Warning>) {
        let mut world = self.world();
        world.volumes.sources = vec![noise(bytes, self.seed)];
        set(&mut world.store);
        back_up(&mut world).unwrap();
        self.leave(&world);
        let asked = world.store.renewals.iter().map(|asked| asked.name.0);
        (asked.collect(), warnings(&world))
    }

    /// The same archive at the same place with another address.
    fn open_at(&mut self, address: &str) {
        let mut world = self.world();
        let mut request = open_request();
        request.store = Some(address.into());
        admin::open(&mut world, &request).unwrap();
        self.leave(&world);
    }

    /// The present day by the wall clock.
    fn day(&mut self) -> u32 {
        use wyng_engine::world::Clock;
        let secs = self.clock.clone().wall_secs();
        u32::try_from(secs / 86_400).unwrap()
    }

    /// The first day on which anything that the archive needs can be deleted.
    fn first_end(&mut self) -> u32 {
        let mut world = self.world();
        let names = needed(&mut world);
        let end = |name| self.locks.get(name).copied().unwrap_or(0);
        names.iter().map(end).min().unwrap()
    }

    /// A person accepts the wall clock.
    fn trust_clock(&mut self) {
        let mut world = self.world();
        let status = Command::Status {
            archive: None,
            trust_clock: true,
        };
        let exit = wyng_engine::run(&mut world, status);
        assert_eq!(exit, ExitStatus::Done, "{:?}", world.client.told);
        self.leave(&world);
    }

    fn summary(&mut self) -> (ArchiveSummary, LockSummary, Vec<Warning>) {
        let mut world = self.world();
        assert_eq!(look::show(&mut world, "home"), Ok(ExitStatus::Done));
        let archive = world.client.told.iter().find_map(|event| match event {
            ToClient::Archive(archive) => Some((**archive).clone()),
            _ => None,
        });
        let archive = archive.unwrap();
        let lock = archive.lock.unwrap();
        (archive, lock, warnings(&world))
    }
}

fn warnings(world: &MemoryWorld) -> Vec<Warning> {
    let warned = world.client.told.iter().filter_map(|event| match event {
        ToClient::Warned(warning) => Some(warning.clone()),
        _ => None,
    });
    warned.collect()
}

/// Names of the live packs.
fn live_packs(world: &mut MemoryWorld) -> BTreeSet<[u8; 32]> {
    let mut archive = world.open_archive("home").unwrap();
    let packs = archive.packs(&mut world.files).unwrap().into_values();
    let live = packs.filter(|pack| pack.state == PackState::Live);
    live.map(|pack| pack.name.0).collect()
}

/// Names of the live packs, of the slots, and of the commits by which the newest is found.
fn needed(world: &mut MemoryWorld) -> BTreeSet<[u8; 32]> {
    let mut names = live_packs(world);
    let archive = world.open_archive("home").unwrap();
    names.extend(
        archive
            .head
            .slots
            .iter()
            .map(|slot| slot_name(slot.number).0),
    );
    let commits = probed(archive.head.generation);
    names.extend(commits.map(|generation| archive.credential.commit_name(generation).0));
    names
}

#[test]
fn what_an_archive_needs_stays_locked_for_half_of_the_period_while_backups_run() {
    let mut machine = Machine::new();
    assert_eq!(machine.back_up(), (0, vec![]), "its locks are new");
    let (mut asked, mut runs) = (0, 0);
    for _ in 0..60 {
        machine.pass(DAY);
        let (count, warned) = machine.back_up();
        assert_eq!(warned, []);
        let left = machine.first_end() - machine.day();
        assert!(left > 14, "{left} days are left");
        asked += count;
        runs += usize::from(count > 0);
    }
    let blobs = machine.durable.store.len();
    assert!(
        runs > 3 && asked < 3 * blobs,
        "{asked} requests for {blobs} blobs"
    );
}

#[test]
fn each_of_the_three_counts_of_time_has_locks_made_longer() {
    // The wall clock alone: the machine was off.
    let mut off = Machine::new();
    off.back_up();
    off.clock.reboot(20 * DAY);
    off.pass(HOUR);
    assert!(off.back_up().0 > 3);

    // The kept clock alone: the wall clock lost ten days, which a person accepted.
    let mut slow = Machine::new();
    slow.back_up();
    for _ in 0..10 {
        slow.clock.freeze(DAY);
        slow.pass(0);
    }
    slow.trust_clock();
    slow.pass(4 * DAY);
    assert_eq!(slow.back_up().0, 0, "fourteen days");
    slow.pass(DAY);
    assert!(slow.back_up().0 > 3);

    // The runs alone.
    let mut runs = Machine::new();
    runs.back_up();
    let mut count = 0;
    while runs.back_up().0 == 0 {
        runs.pass(12 * HOUR);
        count += 1;
    }
    assert!((13..=16).contains(&count), "{count} runs in a week");
}

#[test]
fn where_the_clock_is_not_believed_nothing_is_made_longer_and_it_is_said() {
    let mut machine = Machine::new();
    machine.back_up();
    for _ in 0..20 {
        machine.pass(DAY);
    }
    machine.clock.jump(400 * 86_400);
    assert_eq!(machine.back_up(), (0, vec![Warning::NotLocked]));
    machine.clock.jump(-400 * 86_400);
    machine.pass(HOUR);
    let (count, _) = machine.back_up();
    assert_eq!(count, 0, "the jump is remembered");
}

#[test]
fn a_clock_that_runs_away_after_a_person_looked_at_it_moves_no_lock_far() {
    let mut machine = Machine::new();
    // The kept clock of an old archive has counted for long.
    for _ in 0..10 {
        machine.pass(30 * DAY);
        machine.back_up();
    }
    machine.trust_clock();
    let day = machine.day();
    machine.clock.reboot(5 * 365 * DAY);
    let world = machine.world();
    machine.leave(&world);
    machine.back_up();
    let latest = machine.locks.values().max().copied();
    assert!(latest.unwrap() <= day + 30 + 2, "{latest:?} {day}");
}

#[test]
fn what_was_given_up_is_left_to_its_end() {
    let mut machine = Machine::new();
    machine.back_up();
    let old = live_packs(&mut machine.world());
    machine.pass(8 * DAY);
    machine.back_up();
    let mut world = machine.world();
    let request = wyng_engine::prune::PruneRequest {
        archive: "home".into(),
        volumes: Vec::new(),
        rules: wyng_control::PruneRules {
            keep: wyng_control::KeepRules {
                last: 1,
                ..Default::default()
            },
            ..Default::default()
        },
        dry_run: false,
        unattended: false,
        trust_clock: false,
    };
    let pruned = wyng_engine::prune::prune(&mut world, &request);
    assert_eq!(pruned, Ok(ExitStatus::Done));
    machine.leave(&world);
    let live = live_packs(&mut machine.world());
    let given_up: Vec<_> = old.difference(&live).copied().collect();
    assert!(!given_up.is_empty());
    let before = machine.locks.clone();
    machine.pass(10 * DAY);
    assert!(machine.back_up().0 > 0);
    for name in given_up {
        assert_eq!(machine.locks.get(&name), before.get(&name));
    }
}

#[test]
fn a_lost_note_and_another_machines_blobs_count_as_locks_that_have_ended() {
    let mut machine = Machine::new();
    machine.back_up();
    machine.pass(DAY);
    machine
        .durable
        .files
        .retain(|path, _| !path.ends_with("/locks"));
    let (_, lock, warned) = machine.summary();
    assert_eq!(
        (lock.end_time, lock.ends_soon, warned),
        (None, false, vec![])
    );
    assert!(lock.unknown_count > 3);
    let (count, _) = machine.back_up();
    assert!(count as u64 >= lock.unknown_count);
    assert_eq!(machine.summary().1.unknown_count, 0);

    // Another machine takes the archive over, and knows none of the locks.
    let mut other = machine.clone();
    other.durable.files.clear();
    other.durable.links.clear();
    let mut world = other.world();
    let mut request = open_request();
    request.store = Some(ADDRESS.into());
    admin::open(&mut world, &request).unwrap();
    admin::take_over(&mut world, "home", admin::OtherWriter::MayWrite).unwrap();
    other.leave(&world);
    assert!(other.summary().1.unknown_count > 3);
    assert!(other.back_up().0 > 3);
    assert_eq!(other.summary().1.unknown_count, 0);

    // The first machine follows, with its ledger or without; its numbers may be those of other
    // packs.
    machine.durable.store = other.durable.store.clone();
    machine.locks = other.locks.clone();
    for has_ledger in [true, false] {
        let mut machine = machine.clone();
        let mut world = machine.world();
        assert!(!noted(&mut world).set.is_empty());
        if !has_ledger {
            machine.leave(&world);
            let files = &mut machine.durable.files;
            files.retain(|path, _| !path.ends_with("/ledger"));
            // Under its own name the damage is said instead.
            machine.durable.links.clear();
            world = machine.world();
        }
        adopt_at(&mut world);
        assert!(noted(&mut world).set.is_empty(), "{has_ledger}");
    }
}

fn adopt_at(world: &mut MemoryWorld) {
    let mut request = open_request();
    request.store = Some(ADDRESS.into());
    admin::open(world, &request).unwrap();
}

/// What the machine has noted.
fn noted(world: &mut MemoryWorld) -> Locks {
    let archive = world.open_archive("home").unwrap();
    Locks::read(&mut world.files, &archive.folder, ADDRESS).unwrap()
}

#[test]
fn damage_that_was_accepted_once_and_is_mended_keeps_no_lock_short() {
    let mut machine = Machine::new();
    machine.back_up();
    let mut world = machine.world();
    let mut archive = world.open_archive("home").unwrap();
    archive.ledger.acknowledged.add_slot(0);
    archive.ledger.acknowledged.add_commit(1);
    let folder = archive.folder.clone();
    archive.ledger.write(&mut world.files, &folder).unwrap();
    let (slot, commit) = (slot_name(0).0, archive.credential.commit_name(1).0);
    machine.leave(&world);
    machine.pass(16 * DAY);
    let (asked, _) = machine.back_up_with(150_000, |_| {});
    assert!(asked.contains(&slot) && asked.contains(&commit));
    // What is missing now is not asked for: it is pushed again, and locked then.
    let mut world = machine.world();
    let mut archive = world.open_archive("home").unwrap();
    archive.ledger.notes.slots.insert(0);
    archive.ledger.write(&mut world.files, &folder).unwrap();
    machine.leave(&world);
    machine.pass(16 * DAY);
    let (asked, _) = machine.back_up_with(150_000, |_| {});
    assert!(!asked.contains(&slot) && asked.contains(&commit));
}

#[test]
fn a_warning_comes_when_less_than_a_quarter_is_left_by_either_clock() {
    let mut machine = Machine::new();
    machine.back_up();
    let (_, lock, warned) = machine.summary();
    let end_time = lock.end_time.unwrap();
    let days = end_time / 86_400 - i64::from(machine.day());
    assert!((30..=31).contains(&days), "{days}");
    assert_eq!(
        (lock.period_days, lock.unknown_count, warned),
        (30, 0, vec![])
    );
    machine.pass(22 * DAY);
    assert_eq!(machine.summary().2, []);
    machine.clock.freeze(2 * DAY);
    let (_, lock, warned) = machine.summary();
    assert!(lock.ends_soon, "the kept clock says so");
    let archive = "home".to_owned();
    assert!(
        warned.contains(&Warning::LockEndsSoon { archive, end_time }),
        "{warned:?}"
    );
}

#[test]
fn no_word_of_the_store_moves_what_is_noted_and_no_answer_ends_the_backup() {
    for (answer, expected) in [
        (Renewed::Missing, [1, 0]),
        (Renewed::Refused, [0, 1]),
        (Renewed::Unsupported, [0, 0]),
    ] {
        let mut machine = Machine::new();
        machine.back_up();
        machine.pass(20 * DAY);
        let before = noted(&mut machine.world());
        let mut world = machine.world();
        world.volumes.sources = vec![noise(150_000, 5)];
        world.store.answers_renewals = Some(answer);
        assert_eq!(back_up(&mut world), Ok(()));
        let warned = warnings(&world);
        match (&warned[..], answer) {
            ([Warning::LocksNotSupported], Renewed::Unsupported) => {
                assert!(world.store.renewals.len() < 40, "the first answer ends it");
            }
            (
                [
                    Warning::LocksNotRenewed {
                        renewed: 0,
                        missing,
                        refused,
                        failed: 0,
                        left: 0,
                        why: None,
                    },
                ],
                _,
            ) => assert_eq!(
                [*missing > 0, *refused > 0],
                expected.map(|count| count > 0)
            ),
            _ => panic!("{warned:?}"),
        }
        machine.leave(&world);
        let after = noted(&mut machine.world());
        for (blob, set) in &before.set {
            let now = after.set.get(blob);
            assert!(
                now.is_none_or(|now| now == set),
                "{blob:?}: {set:?}, {now:?}"
            );
        }
    }
}

#[test]
fn a_far_end_that_is_lost_meanwhile_costs_a_warning_and_the_next_run_continues() {
    let mut machine = Machine::new();
    machine.back_up();
    machine.pass(20 * DAY);
    let mut whole = machine.clone();
    let mut world = whole.world();
    world.volumes.sources = vec![noise(150_000, 5)];
    back_up(&mut world).unwrap();
    let (calls, asked) = (world.calls(), world.store.renewals.len());

    let mut world = machine.world();
    world.volumes.sources = vec![noise(150_000, 5)];
    world.store.lose_far_end_at = Some(calls - asked as u64);
    assert_eq!(back_up(&mut world), Ok(()));
    let warned = warnings(&world);
    let [
        Warning::LocksNotRenewed {
            renewed, left, why, ..
        },
    ] = &warned[..]
    else {
        panic!("{warned:?}")
    };
    assert!(*left > 0 && why.is_some(), "{warned:?}");
    let renewed = usize::try_from(*renewed).unwrap();
    machine.leave(&world);
    machine.pass(HOUR);
    let (again, warned) = machine.back_up();
    assert_eq!((again, warned), (asked - renewed, vec![]));
}

/// A machine whose archive has many packs, of which half of the locks is over, and their names in
/// the order of their numbers.
fn with_many_packs(bytes: usize) -> (Machine, Vec<[u8; 32]>) {
    let mut machine = Machine::new();
    machine.back_up_with(bytes, |_| {});
    machine.pass(20 * DAY);
    let mut world = machine.world();
    let mut archive = world.open_archive("home").unwrap();
    let packs = archive.packs(&mut world.files).unwrap();
    (
        machine,
        packs.into_values().map(|pack| pack.name.0).collect(),
    )
}

#[test]
fn objects_that_refuse_for_ever_keep_no_other_from_its_turn() {
    let (mut machine, packs) = with_many_packs(8_000_000);
    let (refusing, willing) = packs.split_at(packs.len() - 5);
    assert!(refusing.len() > 110, "{} packs", packs.len());
    let mut refusing: BTreeSet<[u8; 32]> = refusing.iter().copied().collect();
    refusing.extend(
        needed(&mut machine.world())
            .into_iter()
            .filter(|name| !packs.contains(name)),
    );
    let answers: BTreeMap<_, _> = refusing
        .iter()
        .map(|name| (*name, Renewed::Refused))
        .collect();
    let refuse = |store: &mut MemoryStore| store.answers_renewals_of = answers.clone();
    let (asked, warned) = machine.back_up_with(60_000, refuse);
    let [
        Warning::LocksNotRenewed {
            renewed: 0, left, ..
        },
    ] = &warned[..]
    else {
        panic!("{warned:?}")
    };
    assert!(*left > 0 && asked.iter().all(|name| refusing.contains(name)));
    machine.pass(DAY);
    let (asked, _) = machine.back_up_with(60_000, refuse);
    assert!(willing.iter().all(|name| asked.contains(name)));
    let day = machine.day();
    for name in willing {
        assert!(machine.locks[name] > day + 14);
    }
    // Once one refuses no longer, it gets its turn too.
    machine.pass(DAY);
    machine.back_up_with(60_000, |_| {});
    let left = machine.first_end() - machine.day();
    assert!(left > 14, "{left} days are left");
}

#[test]
fn a_failure_for_one_object_ends_nothing_and_one_of_the_store_soon_does() {
    for (answer, counts) in [(Renewed::Failed, (0, 1)), (Renewed::Unsupported, (1, 0))] {
        let (mut machine, packs) = with_many_packs(150_000);
        let expected = needed(&mut machine.world()).len();
        let (asked, warned) = machine.back_up_with(60_000, |store| {
            store.answers_renewals_of.insert(packs[0], answer);
        });
        let [
            Warning::LocksNotRenewed {
                renewed,
                missing: 0,
                refused,
                failed,
                left: 0,
                why: None,
            },
        ] = &warned[..]
        else {
            panic!("{warned:?}")
        };
        assert_eq!((*refused, *failed), counts);
        assert!(usize::try_from(*renewed).unwrap() >= expected / 2);
        assert_eq!(asked.len(), usize::try_from(*renewed).unwrap() + 1);
        // It is asked for again, alone, and still says nothing of the store.
        machine.pass(DAY);
        let (asked, warned) = machine.back_up_with(60_000, |store| {
            store.answers_renewals_of.insert(packs[0], answer);
        });
        assert_eq!(asked, [packs[0]]);
        assert!(
            matches!(warned[..], [Warning::LocksNotRenewed { renewed: 0, .. }]),
            "{warned:?}"
        );
        machine.pass(DAY);
        assert_eq!(
            machine.back_up_with(60_000, |_| {}),
            (vec![packs[0]], vec![])
        );
    }

    let (mut machine, packs) = with_many_packs(4_000_000);
    let (asked, warned) = machine.back_up_with(60_000, |store| {
        store.answers_renewals = Some(Renewed::Failed);
    });
    assert!(packs.len() > 50 && asked.len() <= 40, "{}", asked.len());
    let [
        Warning::LocksNotRenewed {
            failed: 8,
            left,
            why: Some(_),
            ..
        },
    ] = &warned[..]
    else {
        panic!("{warned:?}")
    };
    assert!(*left > 40, "{left}");
}

#[test]
fn the_next_run_continues_where_the_budget_ended_this_one_the_oldest_first() {
    let requests = RenewalBudget {
        requests_max: 7,
        ..RenewalBudget::default()
    };
    // Each look at the clock takes a millisecond.
    let time = RenewalBudget {
        nanos_max: 2_500_000,
        ..RenewalBudget::default()
    };
    for (budget, at_most) in [(requests, 7), (time, 35)] {
        let mut machine = Machine::new();
        for _ in 0..3 {
            machine.back_up_with(2_000_000, |_| {});
            machine.pass(2 * DAY);
        }
        machine.pass(16 * DAY);
        let before = machine.locks.clone();
        let mut all = BTreeSet::new();
        for run in 0.. {
            let (asked, warned) = machine.back_up_with(60_000, |store| {
                store.renewal_budget = budget;
            });
            assert!(asked.len() <= at_most, "{} in one run", asked.len());
            let last = asked.iter().map(|name| before[name]).max();
            for name in asked {
                assert!(all.insert(name), "none is asked for twice");
            }
            let mut left = needed(&mut machine.world());
            left.retain(|name| before.contains_key(name) && !all.contains(name));
            let next = left.iter().map(|name| before[name]).min();
            assert!(next.is_none() || last <= next, "the oldest first");
            machine.pass(HOUR);
            if warned.is_empty() {
                assert!(run > 1 && left.is_empty(), "{run} runs");
                break;
            }
            let [
                Warning::LocksNotRenewed {
                    refused: 0,
                    left: 1..,
                    why: None,
                    ..
                },
            ] = &warned[..]
            else {
                panic!("{warned:?}")
            };
        }
        assert!(all.len() > 60, "{}", all.len());
    }
}

#[test]
fn a_backup_that_fails_or_finds_nothing_makes_locks_longer_all_the_same() {
    let fail = |machine: &Machine, set: &dyn Fn(&mut MemoryWorld, &mut backup::BackupRequest)| {
        let mut machine = machine.clone();
        let mut world = machine.world();
        world.volumes.sources = vec![noise(150_000, 5)];
        let mut request = backup::BackupRequest {
            archive: "home".into(),
            sources: named(&world),
            qubes: QubeChoice::default(),
            skip_unchanged: false,
            dry_run: false,
            live: false,
            heal: false,
            verify: false,
            max_new_bytes: None,
            prune_after: None,
            commit_after_bytes: backup::COMMIT_AFTER_BYTES,
        };
        set(&mut world, &mut request);
        let failure = backup::back_up(&mut world, &request).unwrap_err();
        let (asked, warned) = (world.store.renewals.len(), warnings(&world));
        machine.leave(&world);
        let left = i64::from(machine.first_end()) - i64::from(machine.day());
        (failure, asked, warned, left)
    };
    let mut machine = Machine::new();
    machine.back_up();
    machine.pass(20 * DAY);

    let (failure, asked, warned, left) = fail(&machine, &|world, _| {
        world.store.capacity_bytes = Some(0);
    });
    assert!(matches!(failure, Failure::StoreFull { .. }), "{failure:?}");
    assert!(asked > 3 && left > 14, "{asked} locks, {left} days");
    assert_eq!(warned, []);

    // It ends before it pushes anything.
    let (failure, asked, warned, left) = fail(&machine, &|_, request| {
        request.qubes.qubes = vec!["work".into()];
    });
    assert_eq!(failure, Failure::NoQubesHere);
    assert!(asked > 3 && left > 14, "{asked} locks, {left} days");
    assert_eq!(warned, []);

    // A clock that is not believed is said once.
    let mut jumped = machine.clone();
    jumped.clock.jump(400 * 86_400);
    let (_, asked, warned, _) = fail(&jumped, &|world, _| world.store.capacity_bytes = Some(0));
    assert_eq!((asked, warned), (0, vec![Warning::NotLocked]));

    // A dry run, and a far end that cannot be reached, ask for nothing.
    let (_, asked, ..) = fail(&machine, &|_, request| {
        request.qubes.qubes = vec!["work".into()];
        request.dry_run = true;
    });
    assert_eq!(asked, 0);
    let (_, asked, warned, _) = fail(&machine, &|world, _| {
        world.store.refused_services = vec![wyng_wire::Service::Push];
    });
    assert_eq!((asked, warned), (0, vec![]));
}

#[test]
fn a_stricter_mode_or_a_longer_period_of_the_address_is_asked_for_at_once() {
    let governed = "s3://disks/home?lock=30d&lock_mode=governance";
    let mut machine = Machine::at(governed);
    machine.back_up();
    machine.pass(DAY);
    let mut change = |address: &str| {
        machine.open_at(address);
        machine.pass(DAY);
        let needed = needed(&mut machine.world());
        let (asked, warned) = machine.back_up_with(60_000, |_| {});
        assert_eq!(warned, []);
        let again = machine.back_up().0;
        assert_eq!(again, 0, "they are new");
        needed.intersection(&asked.into_iter().collect()).count()
    };
    assert_eq!(change(governed), 0);
    assert!(change("s3://disks/home?lock=30d") > 3, "compliance");
    assert_eq!(change(governed), 0, "what is compliance stays so");
    assert!(change("s3://disks/home?lock=40d&lock_mode=governance") > 3);
    assert_eq!(change("s3://disks/home?lock=20d&lock_mode=governance"), 0);
}

#[test]
fn a_kill_at_any_call_leaves_no_lock_noted_that_is_not_set() {
    let mut machine = Machine::new();
    machine.back_up();
    machine.pass(20 * DAY);
    let start = || {
        let mut world = MemoryWorld::new(machine.durable.clone(), 50);
        world.clock = machine.clock.clone();
        world.store.locks = machine.locks.clone();
        world.volumes.sources = vec![noise(60_000, 5)];
        world
    };
    let check = |n, killed: MemoryWorld| {
        let mut after = machine.clone();
        after.leave(&killed);
        let mut world = after.world();
        // A commit that was cut is settled first.
        world.volumes.sources = vec![noise(60_000, 6)];
        assert_set(&mut world, &after.locks, n);
        back_up(&mut world).unwrap();
        after.leave(&world);
        assert_set(&mut after.world(), &after.locks, n);
        let left = after.first_end() - after.day();
        assert!(left > 14, "{left} days are left after a kill at call {n}");
    };
    cut_everywhere(start, back_up, check);
}

/// Every lock that is noted is set in the store, for at least as long.
fn assert_set(world: &mut MemoryWorld, locks: &Locked, n: u64) {
    let noted = noted(world);
    let mut archive = world.open_archive("home").unwrap();
    let packs = archive.packs(&mut world.files).unwrap();
    for (blob, set) in &noted.set {
        let name = match blob {
            Lockable::Commit(generation) => archive.credential.commit_name(*generation),
            Lockable::Slot(number) => slot_name(u8::try_from(*number).unwrap()),
            Lockable::Pack(number) => match packs.get(number) {
                Some(pack) => pack.name,
                None => continue,
            },
        };
        let end = locks.get(&name.0).copied().unwrap_or(0);
        assert!(end >= set.until_day, "{blob:?} after a kill at call {n}");
    }
}

#[test]
fn an_address_without_a_lock_asks_for_none() -> Result<(), Failure> {
    let mut world = MemoryWorld::observed(Durable::default(), 1);
    wyng_tests::engine::create(&mut world)?;
    world.volumes.sources = vec![noise(60_000, 5)];
    back_up(&mut world)?;
    adopt(&mut world)?;
    assert!(world.store.renewals.is_empty() && world.store.locks.is_empty());
    Ok(())
}
