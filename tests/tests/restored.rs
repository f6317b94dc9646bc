// SPDX-License-Identifier: GPL-3.0-or-later
//! Restores with faulty disks: the engine over a computed world, whose disks return other bytes
//! than were written, cannot be read, or are full; killed at every call.

use std::collections::{BTreeMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, LazyLock};

use proptest::prelude::*;
use wyng_archive::crypto::DataKey;
use wyng_control::{
    CompareWith, DiffReport, ExitStatus, Failure, RestoreReport, SessionChoice, TargetFault,
    ToClient, Via,
};
use wyng_engine::state::Origins;
use wyng_engine::{admin, backup, restore};
use wyng_tests::memory_world::{Durable, Killed, MemoryWorld, sources_named};
use wyng_tests::sandbox::noise;

const CHUNK: usize = 4096;
/// Upper bound of the number of calls of these commands.
const CALLS_MAX: u64 = 5000;
/// An offset that changed after the first session, in a separate chunk.
const CHANGED: usize = 100_000;
/// An offset that did not change.
const UNCHANGED: usize = 201_000;

/// An archive of one volume with two sessions on a file system that clones: the state after the
/// first session, the current state with a base snapshot, and a key that opens the archive.
struct Scene {
    durable: Durable,
    key: Arc<DataKey>,
    first: Vec<u8>,
    now: Vec<u8>,
}

impl Scene {
    fn new() -> Self {
        let first = noise(300_000, 1);
        let mut now = first.clone();
        now[CHANGED..CHANGED + 500].fill(7);
        Self::of(first, now)
    }

    /// With sessions of these two states.
    fn of(first: Vec<u8>, now: Vec<u8>) -> Self {
        let settings = admin::CreateSettings {
            chunk_size_bytes: 4096,
            pack_size_bytes: 64 << 10,
            zstd_level: 1,
            hold_off_runs: 3,
            hold_off_secs: 0,
            minimum_age_secs: 604_800,
            shared_domain: false,
            kdf_memory_kib: 64 << 10,
            kdf_passes: 3,
        };
        let mut world = MemoryWorld::new(Durable::default(), 1);
        let request = admin::CreateRequest {
            credentials: false,
            name: "home".into(),
            store: "memory".into(),
            via: Via::Local,
            verify_via: None,
            settings,
        };
        admin::create(&mut world, &request).unwrap();
        let mut durable = world.end();
        for (seed, state) in [(2, &first), (3, &now)] {
            let mut world = MemoryWorld::new(durable, seed);
            (world.volumes.clones, world.volumes.sources) = (true, vec![state.clone()]);
            let (archive, sources) = ("home".into(), sources_named(["vm"]));
            let (skip_unchanged, dry_run, live, heal, commit_after_bytes) =
                (false, false, false, false, backup::COMMIT_AFTER_BYTES);
            let request = backup::BackupRequest {
                archive,
                sources,
                qubes: wyng_control::QubeChoice::default(),
                skip_unchanged,
                dry_run,
                live,
                heal,
                verify: false,
                max_new_bytes: None,
                prune_after: None,
                commit_after_bytes,
            };
            assert_eq!(backup::back_up(&mut world, &request), Ok(ExitStatus::Done));
            durable = world.end();
        }
        let mut world = MemoryWorld::new(durable.clone(), 4);
        let key = world
            .open_archive("home")
            .unwrap()
            .unlock(&mut world)
            .map(Arc::new)
            .unwrap();
        Self {
            durable,
            key,
            first,
            now,
        }
    }

    /// An unlocked world, in which `there` is the content of the existing target.
    fn world(&self, there: &[u8]) -> MemoryWorld {
        let mut world = MemoryWorld::new(self.durable.clone(), 10);
        (
            world.volumes.clones,
            world.volumes.there,
            world.secrets.kept_key,
        ) = (true, Some(there.to_vec()), Some(Arc::clone(&self.key)));
        world
    }

    /// The current content with a byte that no program wrote: the changes since the base snapshot
    /// do not show it.
    fn rotten(&self) -> (Vec<u8>, MemoryWorld) {
        let mut there = self.now.clone();
        there[UNCHANGED] ^= 1;
        let mut world = self.world(&there);
        world.volumes.untold = 0..300_000;
        (there, world)
    }
}

fn newest(in_place: bool) -> restore::RestoreRequest {
    let (archive, volumes, session) = ("home".into(), vec!["vm".into()], SessionChoice::Latest);
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

fn report(world: &MemoryWorld) -> &RestoreReport {
    world
        .client
        .told
        .iter()
        .find_map(|event| {
            if let ToClient::Restored(report) = event {
                Some(report)
            } else {
                None
            }
        })
        .unwrap()
}

fn failures(world: &MemoryWorld) -> Vec<&Failure> {
    world
        .client
        .told
        .iter()
        .filter_map(|event| {
            if let ToClient::Failed(failure) = event {
                Some(failure)
            } else {
                None
            }
        })
        .collect()
}

#[test]
fn bytes_that_rotted_under_a_base_snapshot_come_from_the_store_and_end_the_trust_in_it() {
    let scene = Scene::new();
    for in_place in [true, false] {
        let (there, mut world) = scene.rotten();
        assert_eq!(
            restore::restore(&mut world, &newest(in_place)),
            Ok(ExitStatus::Done),
            "{:?}",
            world.client.told
        );
        assert!(world.volumes.placed[&0] == scene.now && there != scene.now);
        let report = report(&world);
        assert_eq!(
            (
                report.damaged_bytes,
                report.written_bytes,
                report.unread_bytes
            ),
            (CHUNK as u64, CHUNK as u64, 0)
        );
        assert!(world.end().bases.is_empty(), "the base snapshot is gone");
    }
    let mut sound = scene.world(&scene.now);
    assert_eq!(
        restore::restore(&mut sound, &newest(true)),
        Ok(ExitStatus::Done)
    );
    assert_eq!(
        (
            report(&sound).damaged_bytes,
            sound.volumes.target_bytes_read
        ),
        (0, 300_000),
        "all of it was read, once"
    );
    assert_eq!(sound.end().bases.len(), 1);
}

#[test]
fn who_asks_for_seconds_instead_of_certainty_hears_what_was_not_read() {
    let scene = Scene::new();
    let mut world = scene.world(&scene.now);
    let mut request = restore::RestoreRequest {
        quick: true,
        ..newest(true)
    };
    assert_eq!(restore::restore(&mut world, &request), Ok(ExitStatus::Done));
    assert_eq!(
        (
            report(&world).unread_bytes,
            world.volumes.target_bytes_read < 300_000
        ),
        (300_000, true)
    );
    // A wrong sample makes the restore read everything, also here.
    let mut world = scene.world(&noise(300_000, 9));
    (world.volumes.untold, request.in_place) = (0..300_000, false);
    assert_eq!(restore::restore(&mut world, &request), Ok(ExitStatus::Done));
    assert_eq!(
        (report(&world).unread_bytes, report(&world).damaged_bytes),
        (0, 300_000)
    );
    assert!(world.volumes.placed[&0] == scene.now && world.end().bases.is_empty());
}

#[test]
fn what_cannot_be_read_is_replaced_wherever_it_is() {
    let scene = Scene::new();
    for (clones, in_place) in [(true, true), (true, false), (false, true), (false, false)] {
        let mut world = scene.world(&scene.now);
        (world.volumes.clones, world.volumes.unreadable) =
            (clones, Some((UNCHANGED as u64, UNCHANGED as u64 + 1)));
        assert_eq!(
            restore::restore(&mut world, &newest(in_place)),
            Ok(ExitStatus::Done),
            "{:?}",
            world.client.told
        );
        assert!(
            world.volumes.placed[&0] == scene.now,
            "clones {clones}, in place {in_place}"
        );
        assert_eq!(report(&world).damaged_bytes, CHUNK as u64);
        assert_eq!(world.end().bases.is_empty(), clones);
    }
}

#[test]
fn what_the_medium_gives_back_wrong_is_never_called_restored() {
    let scene = Scene::new();
    let wrong = |world: &mut MemoryWorld, in_place| {
        world.volumes.rotten_byte = Some(UNCHANGED as u64);
        assert_eq!(
            restore::restore(world, &newest(in_place)),
            Ok(ExitStatus::Failed),
            "{:?}",
            world.client.told
        );
        assert!(world.volumes.placed.is_empty());
        let offset = (UNCHANGED / CHUNK * CHUNK) as u64;
        assert!(
            matches!(failures(world)[..], [Failure::TargetDiffers { offset_bytes, .. }] if *offset_bytes == offset),
            "{:?}",
            world.client.told
        );
    };
    // A new file, a file that replaces another, and a file that is changed in place and then has
    // its old content again.
    let mut world = scene.world(&[]);
    world.volumes.there = None;
    wrong(&mut world, false);
    wrong(&mut scene.world(&scene.first), false);
    let mut world = scene.world(&scene.first);
    wrong(&mut world, true);
    assert!(world.volumes.targets[&0] == scene.first);
}

#[test]
fn a_target_without_room_is_again_what_it_was_and_one_failure_says_so() {
    let scene = Scene::new();
    let before = [
        noise(200_000, 5),
        scene.first[200_000..].to_vec(),
        noise(70_000, 6),
    ]
    .concat();
    for undo_fails in [false, true] {
        for room in 0..80 {
            let mut world = scene.world(&before);
            (world.volumes.room_for_writes, world.volumes.undo_fails) = (Some(room), undo_fails);
            match restore::restore(&mut world, &newest(true)) {
                Ok(ExitStatus::Done) => {
                    assert!(room > 40);
                    break;
                }
                ended => assert_eq!(ended, Ok(ExitStatus::Failed)),
            }
            let is_what_it_was = world.volumes.targets[&0] == before;
            // A target that could be neither cloned back nor written back is reported as such.
            assert!(
                is_what_it_was || (undo_fails && room > 0),
                "after {room} writes"
            );
            match failures(&world)[..] {
                [Failure::TargetWriteUndone { errno: 28, .. }] => assert!(is_what_it_was),
                [Failure::TargetUnfinished { why, .. }] => {
                    assert!(!is_what_it_was && why.contains("No space left"), "{why}")
                }
                _ => panic!("{:?}", world.client.told),
            }
        }
    }
}

#[test]
fn what_cannot_be_cloned_back_is_written_back() {
    let scene = Scene::new();
    let before = [
        noise(200_000, 5),
        scene.first[200_000..].to_vec(),
        noise(70_000, 6),
    ]
    .concat();
    let mut world = scene.world(&before);
    (world.volumes.rotten_byte, world.volumes.undo_fails) = (Some(1000), true);
    assert_eq!(
        restore::restore(&mut world, &newest(true)),
        Ok(ExitStatus::Failed)
    );
    // The changed byte is read wrong there too, so that it cannot be verified.
    assert!(
        matches!(failures(&world)[..], [Failure::TargetUnfinished { .. }]),
        "{:?}",
        world.client.told
    );
    let rest: Vec<usize> = (0..before.len())
        .filter(|place| world.volumes.targets[&0][*place] != before[*place])
        .collect();
    assert!(
        rest.is_empty(),
        "all was written back, also what had been cut off: {rest:?}"
    );
}

#[test]
fn a_device_that_is_larger_has_zeros_behind_the_session() {
    let scene = Scene::new();
    let mut world = scene.world(&noise(40 << 20, 3));
    (world.volumes.is_device, world.volumes.clones) = (true, false);
    assert_eq!(
        restore::restore(&mut world, &newest(true)),
        Ok(ExitStatus::Done),
        "{:?}",
        world.client.told
    );
    let device = &world.volumes.placed[&0];
    assert!(
        device[..300_000] == scene.now
            && device[300_000..].iter().all(|byte| *byte == 0)
            && device.len() == 40 << 20
    );
    // The written ranges are read back too.
    let mut world = scene.world(&noise(2 << 20, 3));
    (
        world.volumes.is_device,
        world.volumes.clones,
        world.volumes.rotten_byte,
    ) = (true, false, Some(1 << 20));
    assert_eq!(
        restore::restore(&mut world, &newest(true)),
        Ok(ExitStatus::Failed)
    );
    assert!(
        matches!(failures(&world)[..], [Failure::TargetUnfinished { .. }]),
        "{:?}",
        world.client.told
    );
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 60,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn old_bytes_of_a_pool_that_does_not_zero_its_blocks_do_not_stay_beside_what_is_written(
        chunks in prop::collection::vec(0..4_u8, 100),
        block in prop::sample::select(vec![512_usize, 4096, 3 * 4096, 5 * 2048, 65_536, 200_000]),
        quick in any::<bool>(),
    ) {
        static SCENE: LazyLock<Scene> = LazyLock::new(|| {
            let mut now = noise(300_000, 1);
            // Holes of one chunk and of many, one of them at the end.
            for (begin, end) in [(0, 1), (5, 6), (9, 30), (31, 33), (60, 73)] {
                now[begin * CHUNK..end * CHUNK].fill(0);
            }
            now[290_000..].fill(0);
            Scene::of(noise(300_000, 2), now)
        });
        let scene = &*SCENE;
        let mut there = scene.now.clone();
        there.resize(100 * CHUNK, 0);
        for (chunk, what) in there.chunks_mut(CHUNK).zip(&chunks) {
            match what {
                0 => chunk.fill(0),
                1 => chunk.fill(9),
                _ => {}
            }
        }
        let mut world = scene.world(&there);
        world.volumes.is_device = true;
        world.volumes.clones = false;
        world.volumes.old_bytes_in = Some(block);
        let request = restore::RestoreRequest { quick, ..newest(true) };
        prop_assert_eq!(restore::restore(&mut world, &request), Ok(ExitStatus::Done));
        let device = &world.volumes.placed[&0];
        prop_assert!(device[..300_000] == scene.now);
        prop_assert!(device[300_000..].iter().all(|byte| *byte == 0));
    }
}

#[test]
fn a_target_is_looked_at_before_the_passphrase_is_asked_for() {
    let scene = Scene::new();
    let mut world = scene.world(&scene.now);
    (
        world.secrets.kept_key,
        world.secrets.passphrase,
        world.volumes.fault,
    ) = (None, b"wrong".to_vec(), Some(TargetFault::Exists));
    assert_eq!(
        restore::restore(&mut world, &newest(false)),
        Ok(ExitStatus::Failed)
    );
    assert_eq!(
        failures(&world),
        [&Failure::TargetExists {
            volume: "vm".into(),
            path: "/vm".into()
        }]
    );
    world.volumes.fault = None;
    assert_eq!(
        restore::restore(&mut world, &newest(false)),
        Err(Failure::WrongPassphrase)
    );
}

#[test]
fn a_dry_run_says_what_a_restore_then_does_and_asks_for_nothing() {
    let scene = Scene::new();
    for (there, in_place) in [
        (None, false),
        (Some(&scene.first), true),
        (Some(&scene.first), false),
    ] {
        let mut world = scene.world(&[]);
        (
            world.volumes.there,
            world.secrets.kept_key,
            world.secrets.passphrase,
        ) = (there.cloned(), None, b"wrong".to_vec());
        world.volumes.sources = there.cloned().into_iter().collect();
        let request = restore::RestoreRequest {
            dry_run: true,
            ..newest(in_place)
        };
        assert_eq!(
            restore::restore(&mut world, &request),
            Ok(ExitStatus::Done),
            "{:?}",
            world.client.told
        );
        assert!(
            world.volumes.targets.is_empty() && world.end() == scene.durable,
            "nothing was changed"
        );
        let said = report(&world).clone();
        let mut world = scene.world(&[]);
        world.volumes.there = there.cloned();
        assert_eq!(
            restore::restore(&mut world, &newest(in_place)),
            Ok(ExitStatus::Done)
        );
        let done = report(&world);
        assert_eq!(
            (said.written_bytes, &said.path),
            (done.written_bytes, &done.path)
        );
        // Neighbouring records are read in one request, with the bytes between them.
        assert!(
            said.fetched_bytes <= done.fetched_bytes
                && done.fetched_bytes < said.fetched_bytes + 40_000,
            "{said:?} {done:?}"
        );
    }
}

#[test]
fn a_comparison_reads_all_of_the_volume_and_names_what_nobody_wrote() {
    let scene = Scene::new();
    let (there, mut world) = scene.rotten();
    world.volumes.sources = vec![there];
    let (archive, source, session) = (
        "home".into(),
        sources_named(["vm"]).remove(0),
        SessionChoice::Latest,
    );
    let request = restore::DiffRequest {
        archive,
        source,
        session,
        with: CompareWith::Local,
    };
    assert_eq!(restore::compare(&mut world, &request), Ok(ExitStatus::Done));
    let begin = (UNCHANGED / CHUNK * CHUNK) as u64;
    assert!(
        world
            .client
            .told
            .contains(&ToClient::Differences(vec![(begin, begin + CHUNK as u64)])),
        "{:?}",
        world.client.told
    );
    let compared = world.client.told.iter().find_map(|event| {
        if let ToClient::Compared(sums) = event {
            Some(sums)
        } else {
            None
        }
    });
    let Some(DiffReport {
        read_bytes,
        damaged_bytes,
        ..
    }) = compared
    else {
        panic!("{:?}", world.client.told)
    };
    assert_eq!((*read_bytes, *damaged_bytes), (300_000, CHUNK as u64));
    assert!(world.end().bases.is_empty(), "the base snapshot is gone");
    world.volumes.unreadable = Some((5000, 5001));
    assert!(matches!(
        restore::compare(&mut world, &request),
        Err(Failure::SourceRead {
            offset_bytes: 4096,
            errno: 5,
            ..
        })
    ));
}

/// Kills a restore in place at each of its calls, in a world from `prepare`; the next restore
/// finishes it.
fn killed_everywhere(scene: &Scene, before: &[u8], prepare: impl Fn(&mut MemoryWorld)) -> u64 {
    std::panic::set_hook(Box::new(|info| {
        if !info.payload().is::<Killed>() {
            eprintln!("{info}");
        }
    }));
    let mut tried = HashSet::new();
    for n in 1..CALLS_MAX {
        let mut world = scene.world(before);
        prepare(&mut world);
        world.kill_at(n);
        match catch_unwind(AssertUnwindSafe(|| {
            restore::restore(&mut world, &newest(true))
        })) {
            Ok(_) => return n - 1,
            Err(payload) if payload.is::<Killed>() => {}
            Err(payload) => resume_unwind(payload),
        }
        let left = world
            .volumes
            .targets
            .get(&0)
            .cloned()
            .unwrap_or_else(|| before.to_vec());
        let (durable, _) = world.crash(0);
        if !tried.insert((left.clone(), durable.bases.len())) {
            continue;
        }
        let mut world = scene.world(&left);
        (world.volumes.untold, world.volumes.clones) = (0..0, !durable.bases.is_empty());
        assert_eq!(
            restore::restore(&mut world, &newest(true)),
            Ok(ExitStatus::Done),
            "after a kill at call {n}"
        );
        assert!(
            world.volumes.placed[&0] == scene.now,
            "after a kill at call {n}"
        );
    }
    panic!("the command never ends");
}

#[test]
fn a_restore_over_rotten_bytes_that_is_killed_anywhere_is_finished_by_the_next_one() {
    let scene = Scene::new();
    let (rotten, _) = scene.rotten();
    let calls = killed_everywhere(&scene, &rotten, |world| world.volumes.untold = 0..300_000);
    assert!(calls > 40, "{calls} calls");
}

#[test]
fn a_restore_that_is_killed_while_it_undoes_what_it_did_is_finished_by_the_next_one() {
    let scene = Scene::new();
    let before = [
        noise(150_000, 5),
        scene.first[150_000..].to_vec(),
        noise(70_000, 6),
    ]
    .concat();
    for undo_fails in [false, true] {
        let calls = killed_everywhere(&scene, &before, |world| {
            (world.volumes.rotten_byte, world.volumes.undo_fails) = (Some(1000), undo_fails)
        });
        assert!(calls > 100, "{calls} calls");
    }
}

/// A world whose target lacks everything, whose store serves other bytes in place of each pack, and
/// has these older versions of it, the newest first.
fn overwritten(scene: &Scene, older: impl Fn(&[u8]) -> Vec<Vec<u8>>) -> (usize, MemoryWorld) {
    let is_pack = |name: &[u8; 32], bytes: &[u8]| blake3::hash(bytes).as_bytes() == name;
    let packs: BTreeMap<[u8; 32], Vec<u8>> = scene.durable.store.clone();
    let packs: Vec<_> = packs
        .into_iter()
        .filter(|(name, bytes)| is_pack(name, bytes))
        .collect();
    let mut durable = scene.durable.clone();
    for (name, bytes) in &packs {
        durable.store.insert(*name, noise(bytes.len(), 77));
    }
    let scene = Scene {
        durable,
        key: Arc::clone(&scene.key),
        first: Vec::new(),
        now: Vec::new(),
    };
    let mut world = scene.world(&noise(300_000, 9));
    world.volumes.untold = 0..300_000;
    let versions = packs.iter().map(|(name, bytes)| (*name, older(bytes)));
    world.store.older = versions.collect();
    (packs.len(), world)
}

#[test]
fn the_newest_older_version_that_is_the_pack_is_used_and_reported_and_no_other() {
    let scene = Scene::new();
    let junk = |bytes: &[u8], seed| noise(bytes.len(), seed);
    let (packs, mut world) = overwritten(&scene, |bytes| {
        let short = bytes[..bytes.len() / 2].to_vec();
        vec![junk(bytes, 1), short, bytes.to_vec(), junk(bytes, 2)]
    });
    let ended = restore::restore(&mut world, &newest(true));
    assert_eq!(ended, Ok(ExitStatus::Done), "{:?}", world.client.told);
    assert!(world.volumes.placed[&0] == scene.now);
    let told = world.client.told.iter();
    let older = told.filter(|event| {
        matches!(event, ToClient::Problem(problem) if problem.problem.contains("older version"))
    });
    let count = older.count();
    assert!(count > 0 && count <= packs, "{count} of {packs}");

    // What is not the pack is never used, and what is older than the fifteenth is not looked at.
    for behind in [14, 15] {
        let (_, mut world) = overwritten(&scene, |bytes| {
            let mut all: Vec<_> = (0..behind).map(|seed| junk(bytes, seed)).collect();
            all.push(bytes.to_vec());
            all
        });
        let ended = restore::restore(&mut world, &newest(true));
        if behind < 15 {
            assert_eq!(ended, Ok(ExitStatus::Done));
            assert!(world.volumes.placed[&0] == scene.now);
        } else {
            assert_ne!(ended, Ok(ExitStatus::Done));
            let failures = failures(&world);
            assert!(!failures.is_empty() && world.volumes.placed.is_empty());
        }
    }
}
