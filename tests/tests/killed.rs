// SPDX-License-Identifier: GPL-3.0-or-later
//! Each command is killed at every one of its calls to the world, counted, not sampled. Writes that
//! were not durable are lost or torn. Then the same command runs again without a repair: it
//! succeeds, and every session that was ever reported restores exactly.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use wyng_archive::crypto::DataKey;
use wyng_archive::format::SlotKind;
use wyng_control::{
    BaseLabel, ExitStatus, Failure, Method, SessionChoice, StoreChecked, ToClient, Trial,
    TrialResult, Via,
};
use wyng_engine::state::Origins;
use wyng_engine::{admin, backup, restore, verify};
use wyng_tests::engine::{
    CHUNK, Reported, adopt, assert_whole, back_up, back_up_committing_after, create,
    cut_everywhere, fingerprint, killed_everywhere, made, named, reported, sources,
    with_a_small_session,
};
use wyng_tests::memory_world::{Durable, MemoryWorld, sources_named};
use wyng_tests::sandbox::noise;
use wyng_wire::Service;

/// Creates worlds that begin with this state and these sources.
fn with_sources(base: &Durable, sources: &[Vec<u8>]) -> impl Fn() -> MemoryWorld {
    let (base, sources) = (base.clone(), sources.to_vec());
    move || {
        let mut world = MemoryWorld::new(base.clone(), 10);
        world.volumes.sources.clone_from(&sources);
        world
    }
}

/// An archive with a session of each source, and the sources after a change.
fn with_a_session() -> (Durable, Vec<Reported>, Vec<Vec<u8>>) {
    let mut world = MemoryWorld::new(made(), 2);
    world.volumes.sources = sources();
    back_up(&mut world).unwrap();
    let sessions = reported(&world);
    let mut changed = sources();
    changed[0][100_000..101_000].fill(7);
    changed[0].truncate(250_000);
    changed[1].extend(noise(20_000, 3));
    (world.end(), sessions, changed)
}

#[test]
fn a_first_backup_survives_a_kill_at_every_call() {
    let base = made();
    let calls = killed_everywhere(&base, &sources(), back_up, |n, survived| {
        assert!(survived.sessions.len() >= 2);
        // Packs in the journal are not sent again: the store has no unreferenced pack except for
        // those that were sent before they could be journaled.
        let foreign = assert_whole(&survived.durable, &survived.sessions);
        assert!(
            foreign <= survived.arrived as u64,
            "{foreign} foreign blobs after a kill at call {n}"
        );
    });
    assert!(calls > 50, "{calls} calls");
}

/// A run that commits after every two packs, whether or not a volume is finished.
fn back_up_in_many_commits(world: &mut MemoryWorld) -> Result<(), Failure> {
    back_up_committing_after(world, 128 << 10)
}

#[test]
fn a_backup_whose_commits_cover_no_volume_survives_a_kill_at_every_call() {
    let base = made();
    let calls = killed_everywhere(&base, &sources(), back_up_in_many_commits, |n, survived| {
        assert!(survived.sessions.len() >= 2);
        let foreign = assert_whole(&survived.durable, &survived.sessions);
        assert!(
            foreign <= survived.arrived as u64,
            "{foreign} foreign blobs after a kill at call {n}"
        );
    });
    let mut world = MemoryWorld::new(base, 10);
    world.volumes.sources = sources();
    back_up_in_many_commits(&mut world).unwrap();
    let generation = world.open_archive("home").unwrap().head.generation;
    assert!(generation >= 4, "the run made {} commits", generation - 1);
    assert!(calls > 50, "{calls} calls");
}

/// The state after a run that was killed after its first commits and before a volume was finished.
fn cut_before_a_volume_is_finished() -> (Durable, Vec<Vec<u8>>) {
    let sources = vec![noise(1_000_000, 1)];
    let mut world = MemoryWorld::new(made(), 10);
    world.volumes.sources.clone_from(&sources);
    back_up_in_many_commits(&mut world).unwrap();
    let calls = world.calls();
    let mut world = MemoryWorld::new(made(), 10);
    world.volumes.sources.clone_from(&sources);
    world.kill_at(calls * 3 / 4);
    assert!(catch_unwind(AssertUnwindSafe(|| back_up_in_many_commits(&mut world))).is_err());
    assert_eq!(reported(&world).len(), 0);
    (world.crash(0).0, sources)
}

#[test]
fn a_volume_without_a_session_is_in_the_catalog_so_that_another_machine_knows_its_domain() {
    let (cut, sources) = cut_before_a_volume_is_finished();
    let mut world = MemoryWorld::new(cut.clone(), 20);
    let mut archive = world.open_archive("home").unwrap();
    assert!(
        archive.head.generation > 3,
        "several commits were made: {}",
        archive.head.generation
    );
    let volumes = archive.volumes(&mut world.files).unwrap();
    assert_eq!(
        volumes
            .iter()
            .map(|(number, volume)| (*number, volume.name.as_str()))
            .collect::<Vec<_>>(),
        [(0, "volume 0")]
    );
    assert_eq!(
        archive.sessions(&mut world.files, &volumes[0].1).unwrap(),
        []
    );
    // A machine that has only the store and the passphrase.
    let mut world = MemoryWorld::new(
        Durable {
            store: cut.store,
            ..Durable::default()
        },
        30,
    );
    adopt(&mut world).unwrap();
    admin::take_over(&mut world, "home", admin::OtherWriter::MayWrite).unwrap();
    let mut world = MemoryWorld::new(world.end(), 40);
    world.volumes.sources = sources;
    back_up_in_many_commits(&mut world).unwrap();
    assert!(
        world.store.sent_bytes < 600_000,
        "{} of 1000000 bytes were sent again",
        world.store.sent_bytes
    );
    let sessions = reported(&world);
    assert_whole(&world.end(), &sessions);
}

#[test]
fn a_volume_that_was_begun_stays_in_the_catalog_beside_those_that_come_after_it() {
    let (cut, _) = cut_before_a_volume_is_finished();
    // Another volume is backed up next; the first one has no session yet.
    let mut world = MemoryWorld::new(cut, 20);
    world.volumes.sources = vec![noise(30_000, 5)];
    let request = backup::BackupRequest {
        archive: "home".into(),
        sources: sources_named(["another"]),
        qubes: wyng_control::QubeChoice::default(),
        skip_unchanged: false,
        dry_run: false,
        live: false,
        heal: false,
        verify: false,
        max_new_bytes: None,
        prune_after: None,
        commit_after_bytes: backup::COMMIT_AFTER_BYTES,
    };
    assert_eq!(backup::back_up(&mut world, &request), Ok(ExitStatus::Done));
    let mut archive = world.open_archive("home").unwrap();
    let names: Vec<String> = archive
        .volumes(&mut world.files)
        .unwrap()
        .into_iter()
        .map(|(_, volume)| volume.name)
        .collect();
    assert_eq!(names, ["volume 0", "another"]);
    assert_eq!(archive.unfinished, []);
}

#[test]
fn wherever_a_run_is_killed_a_dry_run_behind_it_stores_nothing() {
    let base = made();
    let start = || {
        let mut world = MemoryWorld::new(base.clone(), 10);
        world.volumes.sources = sources();
        world
    };
    cut_everywhere(start, back_up_in_many_commits, |n, killed| {
        let left = killed.crash(u64::MAX).0;
        let mut world = MemoryWorld::new(left.clone(), 20);
        world.volumes.sources = sources();
        let request = backup::BackupRequest {
            archive: "home".into(),
            sources: named(&world),
            qubes: wyng_control::QubeChoice::default(),
            skip_unchanged: false,
            dry_run: true,
            live: false,
            heal: false,
            verify: false,
            max_new_bytes: None,
            prune_after: None,
            commit_after_bytes: 128 << 10,
        };
        let ended = backup::back_up(&mut world, &request);
        assert_eq!(ended, Ok(ExitStatus::Done), "after a kill at call {n}");
        assert_eq!(world.store.services, [], "after a kill at call {n}");
        assert!(
            world.crash(u64::MAX).0.store == left.store,
            "a blob was stored after a kill at call {n}"
        );
    });
}

#[test]
fn wherever_a_run_is_killed_no_session_is_without_the_place_that_it_came_from() {
    let (base, mut with_sessions) = (made(), 0);
    let start = || {
        let mut world = MemoryWorld::new(base.clone(), 10);
        world.volumes.sources = sources();
        world
    };
    cut_everywhere(start, back_up_in_many_commits, |n, killed| {
        let mut world = MemoryWorld::new(killed.crash(u64::MAX).0, 20);
        let mut archive = world.open_archive("home").unwrap();
        // A pending commit may have arrived.
        let _ = admin::take_over(&mut world, "home", admin::OtherWriter::MayWrite);
        let origins = Origins::read(&mut world.files, &archive.folder).unwrap();
        archive = world.open_archive("home").unwrap();
        for (_, volume) in archive.volumes(&mut world.files).unwrap() {
            if !archive
                .sessions(&mut world.files, &volume)
                .unwrap()
                .is_empty()
            {
                with_sessions += 1;
                assert_eq!(
                    origins.path_of(&volume.name, 0),
                    Some(format!("/{}", volume.name).into_bytes()),
                    "after a kill at call {n}"
                );
            }
        }
    });
    assert!(with_sessions > 10, "{with_sessions} volumes with sessions");
}

#[test]
fn an_incremental_backup_survives_a_kill_at_every_call_and_so_do_older_sessions() {
    let (base, old, changed) = with_a_session();
    let calls = killed_everywhere(&base, &changed, back_up, |n, survived| {
        let sessions: Vec<Reported> = if n % 5 == 0 {
            old.iter().chain(&survived.sessions).cloned().collect()
        } else {
            survived.sessions
        };
        let foreign = assert_whole(&survived.durable, &sessions);
        assert!(
            foreign <= survived.arrived as u64,
            "{foreign} foreign blobs after a kill at call {n}"
        );
    });
    assert!(calls > 30, "{calls} calls");
}

/// The same on a file system that clones files: the ranges that changed since the base snapshot are
/// read, and the snapshot is rotated.
fn back_up_clones(world: &mut MemoryWorld) -> Result<(), Failure> {
    world.volumes.clones = true;
    back_up(world)
}

/// An archive with a session of each source and their base snapshots, and the sources after a
/// change.
fn with_bases() -> (Durable, Vec<Reported>, Vec<Vec<u8>>) {
    let mut world = MemoryWorld::new(made(), 2);
    world.volumes.sources = sources();
    back_up_clones(&mut world).unwrap();
    let sessions = reported(&world);
    let mut changed = sources();
    changed[0][100_000..101_000].fill(7);
    changed[0].truncate(250_000);
    changed[1][60_000..70_000].fill(0);
    changed[1].extend(noise(20_000, 3));
    (world.end(), sessions, changed)
}

fn methods(world: &MemoryWorld) -> Vec<Method> {
    world
        .client
        .told
        .iter()
        .filter_map(|event| {
            if let ToClient::BackedUp(volume) = event {
                Some(volume.method)
            } else {
                None
            }
        })
        .collect()
}

#[test]
fn a_first_backup_of_clones_survives_a_kill_at_every_call() {
    killed_everywhere(&made(), &sources(), back_up_clones, |n, survived| {
        if n % 3 == 0 {
            assert_whole(&survived.durable, &survived.sessions);
        }
        assert_eq!(
            survived.durable.bases.len(),
            2,
            "each volume has one base, after a kill at call {n}"
        );
    });
}

#[test]
fn a_backup_by_base_snapshots_and_their_rotation_survive_a_kill_at_every_call() {
    let (base, old, changed) = with_bases();
    let calls = killed_everywhere(&base, &changed, back_up_clones, |n, survived| {
        let sessions: Vec<Reported> = if n % 5 == 0 {
            old.iter().chain(&survived.sessions).cloned().collect()
        } else {
            survived.sessions
        };
        let foreign = assert_whole(&survived.durable, &sessions);
        assert!(
            foreign <= survived.arrived as u64,
            "{foreign} foreign blobs after a kill at call {n}"
        );
        let bases: Vec<&Vec<u8>> = survived
            .durable
            .bases
            .values()
            .map(|(_, bytes)| bytes)
            .collect();
        assert!(
            bases.len() == 2 && changed.iter().all(|source| bases.contains(&source)),
            "the bases are of the last run"
        );
    });
    assert!(calls > 30, "{calls} calls");
}

#[test]
fn what_changed_back_and_forth_between_two_base_snapshots_comes_back_exactly() {
    let (base, mut sessions, changed) = with_bases();
    let mut durable = base;
    for (seed, state) in (10..).zip([changed.clone(), sources(), sources(), changed]) {
        let mut world = MemoryWorld::new(durable, seed);
        world.volumes.sources = state;
        back_up_clones(&mut world).unwrap();
        assert_eq!(methods(&world), [Method::Fiemap; 2]);
        sessions.extend(reported(&world));
        durable = world.end();
    }
    assert_eq!(assert_whole(&durable, &sessions), 0);
}

#[test]
fn a_change_that_was_not_told_is_found_by_the_samples_and_all_is_read() {
    let (base, _, mut changed) = with_bases();
    changed.truncate(1);
    changed[0][50_000..200_000].copy_from_slice(&noise(150_000, 9));
    let mut world = MemoryWorld::new(base, 10);
    world.volumes.sources = changed;
    world.volumes.untold = 0..200_000;
    back_up_clones(&mut world).unwrap();
    assert_eq!(methods(&world), [Method::FullScan]);
    let sessions = reported(&world);
    assert_whole(&world.end(), &sessions);
}

#[test]
fn a_base_snapshot_of_another_state_is_not_trusted() {
    let changes: [fn(&mut BaseLabel); 3] = [
        |label| label.root[0] ^= 1,
        |label| label.generation += 1,
        |label| label.session -= 1,
    ];
    for change in changes {
        let (mut base, _, changed) = with_bases();
        base.bases.values_mut().for_each(|(label, bytes)| {
            change(label);
            bytes.iter_mut().for_each(|byte| *byte ^= 1);
        });
        let mut world = MemoryWorld::new(base, 10);
        world.volumes.sources = changed;
        back_up_clones(&mut world).unwrap();
        assert_eq!(methods(&world), [Method::FullScan; 2]);
        let sessions = reported(&world);
        assert_whole(&world.end(), &sessions);
    }
}

#[test]
fn an_older_base_snapshot_still_tells_what_changed_since_its_own_session() {
    let (base, _, changed) = with_bases();
    // A run whose snapshots could not be kept.
    let mut world = MemoryWorld::new(base.clone(), 10);
    world.volumes.sources = changed.clone();
    back_up_clones(&mut world).unwrap();
    let mut durable = world.end();
    durable.bases = base.bases;
    let mut world = MemoryWorld::new(durable, 20);
    world.volumes.sources = changed;
    world.volumes.sources[0][..5000].fill(3);
    back_up_clones(&mut world).unwrap();
    assert_eq!(methods(&world), [Method::Fiemap; 2]);
    let sessions = reported(&world);
    assert_whole(&world.end(), &sessions);
}

#[test]
fn a_backup_by_base_snapshots_costs_what_changed_whatever_the_size() {
    let calls = |chunks: usize| {
        let mut world = MemoryWorld::new(made(), 2);
        world.volumes.sources = vec![noise(chunks * CHUNK as usize, 1)];
        back_up_clones(&mut world).unwrap();
        let mut again = MemoryWorld::new(world.end(), 3);
        again.volumes.sources.clone_from(&world.volumes.sources);
        again.volumes.sources[0][20_000..20_100].fill(9);
        back_up_clones(&mut again).unwrap();
        again.calls()
    };
    // Trees of height one.
    let (small, large) = (calls(1200), calls(12_000));
    // The pack table is read at each opening: a node for 32 packs.
    assert!(
        large < small * 5 / 4,
        "{small} calls, and {large} for ten times as much"
    );
}

#[test]
fn a_backup_that_is_killed_late_sends_little_again() {
    let base = made();
    let sources = vec![noise(2_000_000, 1)];
    let mut world = MemoryWorld::new(base.clone(), 10);
    world.volumes.sources.clone_from(&sources);
    back_up(&mut world).unwrap();
    let (calls, all_bytes) = (world.calls(), world.store.sent_bytes);
    let mut world = MemoryWorld::new(base, 10);
    world.volumes.sources.clone_from(&sources);
    world.kill_at(calls * 9 / 10);
    assert!(catch_unwind(AssertUnwindSafe(|| back_up(&mut world))).is_err());
    let mut world = MemoryWorld::new(world.crash(0).0, 20);
    world.volumes.sources = sources;
    back_up(&mut world).unwrap();
    // Three packs may be in flight or open.
    assert!(
        world.store.sent_bytes < all_bytes / 10 + 4 * (64 << 10),
        "{} of {all_bytes} bytes were sent again",
        world.store.sent_bytes
    );
}

#[test]
fn making_an_archive_survives_a_kill_at_every_call() {
    let calls = killed_everywhere(&Durable::default(), &[], create, |n, survived| {
        assert_eq!(
            survived.durable.store.len(),
            2,
            "a slot and a commit, after a kill at call {n}"
        );
        let mut world = MemoryWorld::new(survived.durable, 30);
        world.volumes.sources = vec![noise(10_000, 1)];
        back_up(&mut world).unwrap();
        let sessions = reported(&world);
        assert_eq!(assert_whole(&world.end(), &sessions), 0);
    });
    assert!(calls > 10, "{calls} calls");
}

#[test]
fn a_cut_making_is_not_taken_up_with_another_passphrase() {
    let mut world = MemoryWorld::new(Durable::default(), 1);
    world.kill_at(15);
    assert!(catch_unwind(AssertUnwindSafe(|| create(&mut world))).is_err());
    let mut world = MemoryWorld::new(world.crash(0).0, 2);
    world.secrets.passphrase = b"another".to_vec();
    assert_eq!(create(&mut world), Err(Failure::WrongPassphrase));
}

#[test]
fn adopting_survives_a_kill_at_every_call() {
    let (base, old, source) = with_a_small_session();
    let elsewhere = Durable {
        store: base.store,
        ..Durable::default()
    };
    let take_over: fn(&mut MemoryWorld) -> Result<(), Failure> = |world| {
        adopt(world)?;
        admin::take_over(world, "home", admin::OtherWriter::MayWrite)
    };
    killed_everywhere(&elsewhere, &[], take_over, |n, survived| {
        if n % 4 == 0 {
            assert_whole(&survived.durable, &old);
            let mut world = MemoryWorld::new(survived.durable, 40);
            world.volumes.sources = vec![source.clone()];
            back_up(&mut world).unwrap();
            assert!(
                world.store.sent_bytes <= (64 << 10) + 2 * 4096,
                "no known chunk is sent: {} bytes",
                world.store.sent_bytes
            );
        }
    });
}

#[test]
fn adopting_between_a_cut_run_and_the_next_loses_no_session() {
    let (base, old, source) = with_a_small_session();
    let mut changed = source;
    changed[5000..6000].fill(9);
    let mut tried = HashSet::new();
    let calls = cut_everywhere(
        with_sources(&base, &[changed.clone()]),
        back_up,
        |n, killed| {
            let mut sessions = [old.clone(), reported(&killed)].concat();
            let (durable, _) = killed.crash(0);
            if !tried.insert(fingerprint(&durable, sessions.len())) {
                return;
            }
            let mut world = MemoryWorld::new(durable, 20);
            assert_eq!(adopt(&mut world), Ok(()), "after a kill at call {n}");
            let mut world = MemoryWorld::new(world.end(), 30);
            world.volumes.sources = vec![changed.clone()];
            assert_eq!(
                back_up(&mut world),
                Ok(()),
                "after a kill at call {n} and archive open"
            );
            sessions.extend(reported(&world));
            assert_whole(&world.end(), &sessions);
        },
    );
    assert!(calls > 30, "{calls} calls");
}

#[test]
fn an_archive_is_made_where_a_push_may_not_read() {
    let mut world = MemoryWorld::new(Durable::default(), 1);
    world.store.push_may_read = false;
    wyng_engine::admin::create(&mut world, &wyng_tests::engine::create_request()).unwrap();
    assert_eq!(world.store.services, [wyng_wire::Service::Push]);
}

/// What `store check` finds, and how it ends.
fn check_store(world: &mut MemoryWorld) -> (StoreChecked, Result<ExitStatus, Failure>) {
    let request = admin::CheckRequest {
        store: "memory".into(),
        via: Via::Local,
        credentials: false,
    };
    let ended = admin::check_store(world, &request);
    let told = world.client.told.iter().find_map(|event| match event {
        ToClient::StoreChecked(checked) => Some(checked.clone()),
        _ => None,
    });
    (told.unwrap(), ended)
}

#[test]
fn a_store_is_tried_and_keeps_nothing_of_it_unless_it_refuses_to_delete() {
    use Trial::{Delete, Exclude, Fetch, List, Put};
    use TrialResult::{Lacking, Refused, Untried, Works};
    type Change = fn(&mut MemoryWorld);
    let all = [Put, Exclude, Fetch, List, Delete];
    let cases: [(bool, Change, [TrialResult; 5]); 8] = [
        (false, |_| {}, [Works; 5]),
        (true, |_| {}, [Works; 5]),
        (true, |world| world.store.push_may_read = false, [Works; 5]),
        (
            false,
            |world| world.store.refuses_deletes = true,
            [Works, Works, Works, Works, Refused],
        ),
        (
            true,
            |world| world.store.refuses_deletes = true,
            [Untried, Untried, Untried, Works, Refused],
        ),
        (
            true,
            |world| world.store.refused_services = vec![Service::Prune],
            [Untried, Untried, Untried, Works, Refused],
        ),
        (
            true,
            |world| world.store.refused_services = vec![Service::Fetch],
            [Works, Works, Refused, Refused, Works],
        ),
        (
            true,
            |world| world.store.drops_puts_from = Some(0),
            [Works, Lacking, Lacking, Lacking, Works],
        ),
    ];
    for (number, (has_archive, change, expected)) in cases.into_iter().enumerate() {
        let base = if has_archive {
            made()
        } else {
            Durable::default()
        };
        let mut world = MemoryWorld::new(base.clone(), 1);
        change(&mut world);
        let (checked, ended) = check_store(&mut world);
        let found: Vec<(Trial, TrialResult)> = all.into_iter().zip(expected).collect();
        assert_eq!(checked.results, found, "case {number}");
        let is_left = !has_archive && expected[4] == Refused;
        assert_eq!(checked.left_blob.is_some(), is_left, "case {number}");
        assert_eq!(ended.is_ok(), !expected.contains(&Lacking), "case {number}");
        let left = world.end().store.len() - base.store.len();
        assert_eq!(left, usize::from(is_left), "case {number}");
    }
}

#[test]
fn a_commit_whose_receipt_was_lost_is_settled_by_archive_open_where_push_may_not_read() {
    let (base, old, source) = with_a_small_session();
    let mut changed = source;
    changed[5000..6000].fill(9);
    let mut settled = 0;
    cut_everywhere(
        with_sources(&base, &[changed.clone()]),
        back_up,
        |n, killed| {
            let run = |durable: Durable, seed: u64| {
                let mut world = MemoryWorld::new(durable, seed);
                world.volumes.sources = vec![changed.clone()];
                world.store.push_may_read = false;
                let ended = back_up(&mut world);
                assert!(
                    world
                        .store
                        .services
                        .iter()
                        .all(|service| *service == Service::Push),
                    "a backup fetches nothing: {:?}",
                    world.store.services
                );
                (ended, world)
            };
            // All sent packs have arrived.
            let (mut ended, mut world) = run(killed.crash(u64::MAX).0, 20);
            if let Err(Failure::CommitUnsettled { generation }) = ended {
                settled += 1;
                assert_eq!(generation, 3);
                let mut opening = MemoryWorld::new(world.end(), 30);
                assert_eq!(adopt(&mut opening), Ok(()), "after a kill at call {n}");
                (ended, world) = run(opening.end(), 40);
            }
            assert_eq!(ended, Ok(()), "after a kill at call {n}");
            let sessions = [old.clone(), reported(&world)].concat();
            assert_whole(&world.end(), &sessions);
        },
    );
    assert!(settled > 1, "{settled} commits had arrived unseen");
}

#[test]
fn a_key_change_survives_a_kill_at_every_call() {
    let (base, old, _) = with_a_small_session();
    let change: fn(&mut MemoryWorld) -> Result<(), Failure> = |world| {
        admin::add(
            world,
            "home",
            SlotKind::RecoveryKey,
            &admin::NewSlot::default(),
        )
    };
    killed_everywhere(&base, &[], change, |n, survived| {
        if n % 6 == 0 {
            assert_whole(&survived.durable, &old);
        }
        let mut world = MemoryWorld::new(survived.durable, 50);
        admin::list(&mut world, "home").unwrap();
        let slots = world
            .client
            .told
            .iter()
            .filter(|event| matches!(event, ToClient::KeySlot(_)))
            .count();
        // Killed between the commit and its report, the same command adds one more.
        assert!(
            (2..=3).contains(&slots),
            "{slots} slots after a kill at call {n}"
        );
    });
}

#[test]
fn a_key_change_between_a_cut_run_and_the_next_loses_nothing_of_it() {
    let base = made();
    let mut world = MemoryWorld::new(base, 10);
    world.volumes.sources = vec![noise(2_000_000, 1)];
    world.kill_at(150);
    assert!(catch_unwind(AssertUnwindSafe(|| back_up(&mut world))).is_err());
    let (durable, arrived) = world.crash(0);
    let mut world = MemoryWorld::new(durable, 20);
    admin::add(
        &mut world,
        "home",
        SlotKind::RecoveryKey,
        &admin::NewSlot::default(),
    )
    .unwrap();
    let durable = world.end();
    let in_store: u64 = durable.store.values().map(|blob| blob.len() as u64).sum();
    let mut world = MemoryWorld::new(durable, 30);
    world.volumes.sources = vec![noise(2_000_000, 1)];
    back_up(&mut world).unwrap();
    assert!(
        world.store.sent_bytes + in_store < 2_400_000,
        "{} bytes on top of {in_store}",
        world.store.sent_bytes
    );
    let sessions = reported(&world);
    assert!(assert_whole(&world.end(), &sessions) <= arrived as u64);
}

#[test]
fn healing_survives_a_kill_at_every_call() {
    let (mut base, sessions, _) = with_a_session();
    // A first pack of chunks, and the newest tail with its nodes.
    let mut packs: Vec<([u8; 32], usize)> = base
        .store
        .iter()
        .map(|(name, bytes)| (*name, bytes.len()))
        .collect();
    packs.retain(|(_, length)| *length > 4096);
    for (name, _) in packs.iter().step_by(2) {
        base.store.remove(name);
    }
    let mut world = MemoryWorld::new(base, 3);
    let request = verify::VerifyRequest {
        archive: "home".into(),
        volumes: Vec::new(),
        session: None,
        deep: false,
        budget_bytes: None,
    };
    let found = verify::verify(&mut world, &request);
    assert!(
        matches!(found, Err(Failure::ProblemsFound { count }) if count as usize == packs.len().div_ceil(2)),
        "{found:?}"
    );
    let calls = killed_everywhere(&world.end(), &sources(), back_up, |n, survived| {
        let all = [sessions.clone(), survived.sessions].concat();
        if n % 3 == 0 {
            assert_whole(&survived.durable, &all);
        } else {
            assert_whole(&survived.durable, &all[..1]);
        }
    });
    assert!(calls > 100, "{calls} calls");
}

#[test]
fn a_killed_restore_leaves_no_target_and_the_next_one_is_exact() {
    let (base, old, _) = with_a_small_session();
    let restore: fn(&mut MemoryWorld) -> Result<(), Failure> = |world| {
        let request = restore::RestoreRequest {
            archive: "home".into(),
            volumes: vec!["volume 0".into()],
            session: SessionChoice::Latest,
            in_place: false,
            quick: false,
            dry_run: false,
            around_damage: false,
            origins: Origins::default(),
        };
        assert_eq!(restore::restore(world, &request)?, ExitStatus::Done);
        assert!(world.volumes.placed[&0] == noise(20_000, 1));
        Ok(())
    };
    killed_everywhere(&base, &[], restore, |n, survived| {
        if n % 20 == 0 {
            assert_whole(&survived.durable, &old);
        }
    });
}

/// The request of a restore of the first session over an existing target.
fn back_to(session: &Reported, in_place: bool) -> restore::RestoreRequest {
    let name = jiff::Timestamp::from_second(session.time)
        .unwrap()
        .to_string();
    let volumes = vec![session.volume.clone()];
    let (archive, session) = ("home".into(), SessionChoice::Prefix(name));
    restore::RestoreRequest {
        archive,
        volumes,
        session,
        in_place,
        quick: false,
        dry_run: false,
        around_damage: false,
        origins: Origins::default(),
    }
}

/// A world in which the archive is unlocked and the target exists.
fn unlocked(base: &Durable, key: &Arc<DataKey>, there: Vec<u8>) -> MemoryWorld {
    let mut world = MemoryWorld::new(base.clone(), 10);
    (
        world.volumes.clones,
        world.volumes.there,
        world.secrets.kept_key,
    ) = (true, Some(there), Some(Arc::clone(key)));
    world
}

fn fetched(world: &MemoryWorld) -> u64 {
    world
        .client
        .told
        .iter()
        .map(|event| {
            if let ToClient::Restored(volume) = event {
                volume.fetched_bytes
            } else {
                0
            }
        })
        .sum()
}

#[test]
fn a_restore_over_what_is_there_is_exact_and_fetches_what_differs() {
    let (base, sessions, changed) = with_bases();
    for clones in [true, false] {
        for (there, most) in [
            (changed[0].clone(), 30_000),
            (sources().remove(0), 0),
            (noise(7000, 5), 400_000),
            (Vec::new(), 400_000),
        ] {
            for in_place in [true, false] {
                let mut world = MemoryWorld::new(base.clone(), 10);
                (world.volumes.clones, world.volumes.there) = (clones, Some(there.clone()));
                assert_eq!(
                    restore::restore(&mut world, &back_to(&sessions[0], in_place)),
                    Ok(ExitStatus::Done),
                    "{:?}",
                    world.client.told
                );
                assert!(world.volumes.placed[&0] == sessions[0].content);
                assert!(
                    fetched(&world) <= most + 60_000 * u64::from(most == 30_000),
                    "{} bytes were fetched",
                    fetched(&world)
                );
            }
        }
    }
}

#[test]
fn a_restore_in_place_that_is_killed_anywhere_is_finished_by_the_next_one() {
    let (base, sessions, changed) = with_bases();
    let mut world = MemoryWorld::new(base.clone(), 5);
    let key = world
        .open_archive("home")
        .unwrap()
        .unlock(&mut world)
        .map(Arc::new)
        .unwrap();
    let mut tried = HashSet::new();
    let restore = |world: &mut MemoryWorld| {
        restore::restore(world, &back_to(&sessions[0], true))
            .map(|exit| assert_eq!(exit, ExitStatus::Done))
    };
    let calls = cut_everywhere(
        || unlocked(&base, &key, changed[0].clone()),
        restore,
        |n, killed| {
            let there = killed
                .volumes
                .targets
                .get(&0)
                .cloned()
                .unwrap_or_else(|| changed[0].clone());
            let mut hasher = DefaultHasher::new();
            there.hash(&mut hasher);
            if !tried.insert(hasher.finish()) {
                return;
            }
            let mut world = unlocked(&base, &key, there);
            assert_eq!(restore(&mut world), Ok(()), "after a kill at call {n}");
            assert!(
                world.volumes.placed[&0] == sessions[0].content,
                "after a kill at call {n}"
            );
        },
    );
    assert!(calls > 50, "{calls} calls");
}

fn monitor_clones(world: &mut MemoryWorld) -> Result<(), Failure> {
    world.volumes.clones = true;
    let request = backup::MonitorRequest {
        archive: "home".into(),
        sources: named(world),
    };
    assert_eq!(backup::monitor(world, &request)?, ExitStatus::Done);
    Ok(())
}

#[test]
fn a_monitor_survives_a_kill_at_every_call_and_the_next_backup_reads_what_changed_before_and_after()
{
    let (base, old, changed) = with_bases();
    let mut later = changed.clone();
    later[0].truncate(200_000);
    later[0][..3000].fill(1);
    later[1].extend(noise(5000, 8));
    let calls = killed_everywhere(&base, &changed, monitor_clones, |n, survived| {
        assert!(
            changed.iter().all(|source| survived
                .durable
                .bases
                .values()
                .any(|(_, bytes)| bytes == source)),
            "call {n}"
        );
        let mut world = MemoryWorld::new(survived.durable, 30);
        world.volumes.sources.clone_from(&later);
        back_up_clones(&mut world).unwrap();
        assert_eq!(
            methods(&world),
            [Method::Fiemap; 2],
            "after a kill at call {n}"
        );
        let sessions = [old.clone(), reported(&world)].concat();
        let durable = world.end();
        assert_eq!(
            durable
                .files
                .keys()
                .filter(|name| name.contains("deltas/"))
                .count(),
            0,
            "what was collected is used up"
        );
        assert_whole(&durable, &sessions);
    });
    assert!(calls > 15, "{calls} calls");
}

#[test]
fn a_base_snapshot_of_a_monitor_is_not_trusted_without_what_it_collected() {
    let (base, _, changed) = with_bases();
    let mut world = MemoryWorld::new(base, 10);
    world.volumes.sources = changed.clone();
    monitor_clones(&mut world).unwrap();
    let mut durable = world.end();
    let deltas: Vec<String> = durable
        .files
        .keys()
        .filter(|name| name.contains("deltas/"))
        .cloned()
        .collect();
    assert_eq!(deltas.len(), 2);
    durable.files.remove(&deltas[0]);
    durable.files.get_mut(&deltas[1]).unwrap()[24] ^= 1;
    let mut world = MemoryWorld::new(durable, 20);
    world.volumes.sources = changed;
    back_up_clones(&mut world).unwrap();
    assert_eq!(methods(&world), [Method::FullScan; 2]);
    let sessions = reported(&world);
    assert_whole(&world.end(), &sessions);
}
