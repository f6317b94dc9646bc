// SPDX-License-Identifier: GPL-3.0-or-later
//! The engine over a world in memory: archives with a past, commands that are killed at each of
//! their calls, and what must be whole then.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use wyng_control::{BackupSource, ExitStatus, Failure, SessionChoice, ToClient, Via};
use wyng_engine::state::Origins;
use wyng_engine::{admin, backup, restore, verify};

use crate::memory_world::{Durable, Killed, MemoryWorld, sources_named};
use crate::sandbox::noise;

/// The size of a chunk.
pub const CHUNK: u32 = 4096;

/// An archive of small chunks and packs.
pub fn create_request() -> admin::CreateRequest {
    admin::CreateRequest {
        credentials: false,
        name: "home".into(),
        store: "memory".into(),
        via: Via::Local,
        verify_via: None,
        settings: admin::CreateSettings {
            chunk_size_bytes: CHUNK,
            pack_size_bytes: 64 << 10,
            zstd_level: 1,
            hold_off_runs: 3,
            hold_off_secs: 0,
            minimum_age_secs: 604_800,
            shared_domain: false,
            kdf_memory_kib: 64 << 10,
            kdf_passes: 3,
        },
    }
}

/// Makes it.
pub fn create(world: &mut MemoryWorld) -> Result<(), Failure> {
    admin::create(world, &create_request())
}

/// A volume for each source.
pub fn named(world: &MemoryWorld) -> Vec<BackupSource> {
    let names: Vec<String> = (0..world.volumes.sources.len())
        .map(|number| format!("volume {number}"))
        .collect();
    sources_named(names.iter().map(String::as_str))
}

/// Backs up all sources of the world; each of them must get a session.
pub fn back_up(world: &mut MemoryWorld) -> Result<(), Failure> {
    back_up_committing_after(world, backup::COMMIT_AFTER_BYTES)
}

/// The same with a commit after each `commit_after_bytes` that were sent.
pub fn back_up_committing_after(
    world: &mut MemoryWorld,
    commit_after_bytes: u64,
) -> Result<(), Failure> {
    let (archive, sources, [skip_unchanged, dry_run, live, heal]) =
        ("home".to_owned(), named(world), [false; 4]);
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
    match backup::back_up(world, &request)? {
        ExitStatus::Done => Ok(()),
        other => panic!("{other:?}: {:?}", world.client.told),
    }
}

/// The archive in its own store.
pub fn open_request() -> admin::OpenRequest {
    admin::OpenRequest {
        credentials: false,
        name: "home".into(),
        store: Some("memory".into()),
        via: Some(Via::Local),
        verify_via: None,
        expect: None,
        before: None,
    }
}

/// Opens the archive; nothing of it may be missing.
pub fn adopt(world: &mut MemoryWorld) -> Result<(), Failure> {
    admin::open(world, &open_request())
        .map(|opened| assert_eq!((opened.problems, opened.damaged_newest), (0, None)))
}

/// A session as it was reported with status 0, and what it must give back.
#[derive(Clone)]
pub struct Reported {
    /// The volume's name.
    pub volume: String,
    /// The session's name.
    pub time: i64,
    /// Every byte of the volume.
    pub content: Vec<u8>,
}

/// The sessions that the client heard of.
pub fn reported(world: &MemoryWorld) -> Vec<Reported> {
    let sessions = world.client.told.iter().filter_map(|event| match event {
        ToClient::BackedUp(volume) => Some((volume.name.clone(), volume.session?)),
        _ => None,
    });
    sessions
        .map(|(volume, time)| {
            let number: usize = volume.rsplit(' ').next().unwrap().parse().unwrap();
            Reported {
                volume,
                time,
                content: world.volumes.sources[number].clone(),
            }
        })
        .collect()
}

/// Restores all of it, and lets a verify find nothing wrong; how many blobs are nobody's.
pub fn assert_whole(durable: &Durable, sessions: &[Reported]) -> u64 {
    let times: std::collections::BTreeSet<i64> =
        sessions.iter().map(|session| session.time).collect();
    for time in times {
        let of_run: Vec<&Reported> = sessions
            .iter()
            .filter(|session| session.time == time)
            .collect();
        let mut world = MemoryWorld::new(durable.clone(), 1000);
        let name = jiff::Timestamp::from_second(time).unwrap().to_string();
        let volumes = of_run
            .iter()
            .map(|session| session.volume.clone())
            .collect();
        let request = restore::RestoreRequest {
            archive: "home".into(),
            volumes,
            session: SessionChoice::Prefix(name.clone()),
            in_place: false,
            quick: false,
            dry_run: false,
            around_damage: false,
            origins: Origins::default(),
        };
        assert_eq!(
            restore::restore(&mut world, &request),
            Ok(ExitStatus::Done),
            "{name}: {:?}",
            world.client.told
        );
        for (item, session) in (0..).zip(of_run) {
            assert!(
                world.volumes.placed[&item] == session.content,
                "{} {name}",
                session.volume
            );
        }
    }
    let mut world = MemoryWorld::new(durable.clone(), 1001);
    let request = verify::VerifyRequest {
        archive: "home".into(),
        volumes: Vec::new(),
        session: None,
        deep: false,
        budget_bytes: None,
    };
    assert_eq!(
        verify::verify(&mut world, &request),
        Ok(ExitStatus::Done),
        "{:?}",
        world.client.told
    );
    world
        .client
        .told
        .iter()
        .find_map(|event| {
            if let ToClient::Verified(sums) = event {
                Some(sums.foreign_objects)
            } else {
                None
            }
        })
        .unwrap()
}

/// Kills `command` before each of its calls that changes something, and behind the last of them,
/// and shows the world as it is then. A kill at a call that only reads leaves what one at the next
/// change leaves. How many calls the command makes.
pub fn cut_everywhere(
    start: impl Fn() -> MemoryWorld,
    command: impl Fn(&mut MemoryWorld) -> Result<(), Failure>,
    mut check: impl FnMut(u64, MemoryWorld),
) -> u64 {
    std::panic::set_hook(Box::new(|info| {
        if !info.payload().is::<Killed>() {
            eprintln!("{info}");
        }
    }));
    let mut whole = start();
    assert_eq!(command(&mut whole), Ok(()));
    let behind = whole
        .changing_calls()
        .last()
        .map(|last| last + 1)
        .filter(|call| *call <= whole.calls());
    for n in whole.changing_calls().iter().copied().chain(behind) {
        let mut world = start();
        world.kill_at(n);
        match catch_unwind(AssertUnwindSafe(|| command(&mut world))) {
            Ok(done) => panic!("{done:?} before call {n}"),
            Err(payload) if payload.is::<Killed>() => check(n, world),
            Err(payload) => resume_unwind(payload),
        }
    }
    whole.calls()
}

/// What a killed command and the same one after it leave.
pub struct Survived {
    /// After the kill.
    pub cut: Durable,
    /// After both.
    pub durable: Durable,
    /// Sessions that either of them reported.
    pub sessions: Vec<Reported>,
    /// Blobs that had arrived before they could be journaled when the plug was pulled.
    pub arrived: usize,
}

/// Kills `command` everywhere, in two ways of losing what is not durable; runs it once more each
/// time; gives it to `check`, with the number of the state that it was left in. How many calls the
/// command makes.
pub fn killed_everywhere(
    base: &Durable,
    sources: &[Vec<u8>],
    command: impl Fn(&mut MemoryWorld) -> Result<(), Failure>,
    mut check: impl FnMut(u64, Survived),
) -> u64 {
    let start = || {
        let mut world = MemoryWorld::new(base.clone(), 10);
        world.volumes.sources = sources.to_vec();
        world
    };
    let mut tried = HashSet::new();
    cut_everywhere(start, &command, |n, killed| {
        for chance in [n.wrapping_mul(0x9e37_79b9_7f4a_7c15), 0] {
            let mut sessions = reported(&killed);
            let (durable, arrived) = killed.crash(chance);
            if !tried.insert(fingerprint(&durable, sessions.len())) {
                continue;
            }
            let mut world = MemoryWorld::new(durable.clone(), 20);
            world.volumes.sources = sources.to_vec();
            assert_eq!(
                command(&mut world),
                Ok(()),
                "once more after a kill at call {n}, chance {chance:x}"
            );
            sessions.extend(reported(&world));
            check(
                tried.len() as u64,
                Survived {
                    cut: durable,
                    durable: world.end(),
                    sessions,
                    arrived,
                },
            );
        }
    })
}

/// Tells one state from another.
pub fn fingerprint(durable: &Durable, reported: usize) -> u64 {
    let mut hasher = DefaultHasher::new();
    (durable, reported).hash(&mut hasher);
    hasher.finish()
}

/// A new archive.
pub fn made() -> Durable {
    let mut world = MemoryWorld::new(Durable::default(), 1);
    create(&mut world).unwrap();
    world.end()
}

/// Two volumes, one of them with a hole.
pub fn sources() -> Vec<Vec<u8>> {
    vec![
        noise(300_000, 1),
        [vec![0; 50_000], noise(30_000, 2)].concat(),
    ]
}

/// An archive with one session of one small volume: unlocking it is most of the work, at every call
/// again.
pub fn with_a_small_session() -> (Durable, Vec<Reported>, Vec<u8>) {
    let mut world = MemoryWorld::new(made(), 2);
    let source = noise(20_000, 1);
    world.volumes.sources = vec![source.clone()];
    back_up(&mut world).unwrap();
    (world.end(), reported(&world), source)
}
