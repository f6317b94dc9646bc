// SPDX-License-Identifier: GPL-3.0-or-later
//! A volume with more new data than it may send in a day: it stops, continues the next day, and
//! nothing is sent twice, whatever interrupts it.

use std::collections::BTreeSet;

use wyng_archive::format::ContentTree;
use wyng_archive::plan::{Root, Walk};
use wyng_control::{ExitStatus, Failure, KeepRules, PruneRules, ToClient};
use wyng_engine::admin;
use wyng_engine::backup::{self, BackupRequest};
use wyng_engine::prune::{self, PruneRequest};
use wyng_engine::state::{PackNote, Spending};
use wyng_engine::store::packs_of;
use wyng_tests::engine::{
    adopt, assert_whole, back_up, create_request, cut_everywhere, fingerprint, named, reported,
};
use wyng_tests::memory_world::{Durable, MemoryWorld};
use wyng_tests::sandbox::noise;

const DAY: u64 = 86_400;
const CHUNK: usize = 4096;
const LIMIT: u64 = 64 << 10;

/// A new archive on a machine whose kept clock has begun.
fn made() -> Durable {
    let mut world = MemoryWorld::observed(Durable::default(), 0);
    wyng_engine::admin::create(&mut world, &create_request()).unwrap();
    world.end()
}

fn world(durable: &Durable, now: u64, sources: &[Vec<u8>]) -> MemoryWorld {
    let mut world = MemoryWorld::observed(durable.clone(), now);
    world.volumes.sources = sources.to_vec();
    world
}

/// Backs up all sources under the limit.
fn back_up_limited(world: &mut MemoryWorld) -> Result<ExitStatus, Failure> {
    back_up_up_to(world, LIMIT)
}

fn back_up_up_to(world: &mut MemoryWorld, max_new_bytes: u64) -> Result<ExitStatus, Failure> {
    let request = BackupRequest {
        archive: "home".into(),
        sources: named(world),
        qubes: wyng_control::QubeChoice::default(),
        skip_unchanged: false,
        dry_run: false,
        live: false,
        heal: false,
        verify: false,
        max_new_bytes: Some(max_new_bytes),
        prune_after: None,
        commit_after_bytes: backup::COMMIT_AFTER_BYTES,
    };
    backup::back_up(world, &request)
}

fn over_budget(world: &MemoryWorld) -> Vec<String> {
    let failed = world.client.told.iter().filter_map(|event| match event {
        ToClient::Failed(Failure::OverBudget { volume, .. }) => Some(volume.clone()),
        _ => None,
    });
    failed.collect()
}

fn stored_bytes(durable: &Durable) -> u64 {
    durable.store.values().map(|blob| blob.len() as u64).sum()
}

/// Number of records of each chunk of the newest session, by volume.
fn copies(durable: &Durable) -> Vec<usize> {
    let mut world = MemoryWorld::observed(durable.clone(), 40 * DAY);
    let mut archive = world.open_archive("home").unwrap();
    let mut counts = Vec::new();
    for (_, volume) in archive.volumes(&mut world.files).unwrap() {
        let sessions = archive.sessions(&mut world.files, &volume).unwrap();
        let newest = sessions.last().unwrap();
        let root = Root {
            size: newest.chunk_count(),
            child: Some(newest.root),
        };
        let mut walk = Walk::<ContentTree>::from(&root, 0);
        let mut ids = Vec::new();
        while let Some((_, id)) = walk.next(&mut archive.nodes(&mut world.files)).unwrap() {
            ids.push(id);
        }
        let index = &archive.cache.index;
        let places = ids.iter().map(|id| {
            let (best, others) = index.find_copies(&mut world.files, id).unwrap();
            best.iter().count() + others.len()
        });
        counts.push(places.sum());
    }
    counts
}

#[test]
fn a_volume_over_its_budget_goes_on_the_next_day_and_the_others_get_their_sessions() {
    let sources = [noise(60 * CHUNK, 1), noise(2 * CHUNK, 2)];
    let (mut durable, mut sessions, mut days) = (made(), Vec::new(), 0);
    loop {
        days += 1;
        let before = stored_bytes(&durable);
        let mut world = world(&durable, days * DAY, &sources);
        let exit = back_up_limited(&mut world).unwrap();
        durable = world.end();
        sessions.extend(reported(&world));
        assert!(
            stored_bytes(&durable) - before < LIMIT + 3 * (64 << 10),
            "day {days}"
        );
        if exit == ExitStatus::Done {
            break;
        }
        assert_eq!(exit, ExitStatus::Partial);
        assert_eq!(over_budget(&world), ["volume 0"]);
        assert!(days < 10);
    }
    assert_eq!(days, 4, "60 chunks, 15 a day");
    assert_eq!(
        sessions.len(),
        5,
        "one of the first volume, four of the other"
    );
    assert_eq!(copies(&durable), [60, 2], "nothing is sent twice");
    assert_whole(&durable, &sessions);
}

#[test]
fn no_restart_gives_a_volume_more_than_its_day() {
    let sources = [noise(40 * CHUNK, 1)];
    let base = made();
    let start = || world(&base, DAY, &sources);
    let run = |world: &mut MemoryWorld| back_up_limited(world).map(drop);
    let mut tried = BTreeSet::new();
    let spent = |durable: &Durable| {
        let mut world = world(durable, DAY, &sources);
        let archive = world.open_archive("home").unwrap();
        let id = match (archive.sending.first(), archive.unfinished.first()) {
            (Some(sending), _) => sending.volume,
            (None, Some(begun)) => begun.id,
            (None, None) => return 0,
        };
        let folder = archive.folder.clone();
        let spending = Spending::read(&mut world.files, &folder).unwrap();
        spending.of(id).new_bytes
    };
    cut_everywhere(start, run, |n, killed| {
        let (cut, _) = killed.crash(0);
        if !tried.insert(fingerprint(&cut, 0)) {
            return;
        }
        let before = spent(&cut);
        let mut again = world(&cut, DAY + 60, &sources);
        let exit = back_up_limited(&mut again);
        assert_eq!(exit, Ok(ExitStatus::Partial), "after a kill at call {n}");
        let durable = again.end();
        let after = spent(&durable);
        assert!(before <= after && after <= LIMIT, "{before} {after}");
        let grown = stored_bytes(&durable) - stored_bytes(&cut);
        assert!(
            grown <= LIMIT - before + 3 * (64 << 10),
            "at call {n}: {grown} after {before}"
        );
    });
    assert!(tried.len() > 3);
}

#[test]
fn what_heals_damage_is_not_limited() {
    let sources = [noise(40 * CHUNK, 1)];
    let mut first = world(&made(), DAY, &sources);
    back_up(&mut first).unwrap();
    let mut sessions = reported(&first);
    let mut noted = world(&first.end(), 2 * DAY, &sources);
    let mut archive = noted.open_archive("home").unwrap();
    let packs = packs_of(&mut noted.files, &mut archive).unwrap();
    for pack in packs.keys().skip(1) {
        archive.ledger.notes.packs.insert(*pack, PackNote::Lost);
    }
    let folder = archive.folder.clone();
    archive.ledger.write(&mut noted.files, &folder).unwrap();
    let mut healing = world(&noted.end(), 3 * DAY, &sources);
    assert_eq!(back_up_limited(&mut healing), Ok(ExitStatus::Done));
    sessions.extend(reported(&healing));
    assert_eq!(sessions.len(), 2);
    assert_whole(&healing.end(), &sessions);
}

fn prune(durable: &Durable, now: u64) -> Durable {
    let mut world = world(durable, now, &[]);
    let request = PruneRequest {
        archive: "home".into(),
        volumes: Vec::new(),
        rules: PruneRules {
            keep: KeepRules {
                last: 1,
                ..KeepRules::default()
            },
            ..PruneRules::default()
        },
        dry_run: false,
        unattended: false,
        trust_clock: false,
    };
    assert_eq!(prune::prune(&mut world, &request), Ok(ExitStatus::Done));
    world.end()
}

/// The first pack of the head's floor, and how many packs were given up.
fn floor_and_given_up(durable: &Durable) -> (Option<u64>, usize) {
    let mut world = world(durable, 1, &[]);
    let mut archive = world.open_archive("home").unwrap();
    let packs = packs_of(&mut world.files, &mut archive).unwrap();
    let given_up = packs
        .values()
        .filter(|pack| pack.state.given_up().is_some());
    (archive.head.floor.map(|floor| floor.pack), given_up.count())
}

#[test]
fn what_was_sent_without_a_session_is_alive_until_the_session_comes_or_the_minimum_age_passes() {
    // The packs of the first volume hold nothing of the catalog.
    let sources = [noise(200 * CHUNK, 1), noise(200 * CHUNK, 2)];
    let mut first = world(&made(), DAY, &sources);
    // So much that its packs are worth the commits of their deletion.
    assert_eq!(back_up_up_to(&mut first, 700_000), Ok(ExitStatus::Partial));
    let sent = first.end();
    let (floor, _) = floor_and_given_up(&sent);
    assert!(floor.is_some());
    let pruned = prune(&sent, 2 * DAY);
    assert_eq!(floor_and_given_up(&pruned), (floor, 0));
    // Another machine that takes over does not know what the floor stands for, and keeps it.
    let elsewhere = Durable {
        store: pruned.store.clone(),
        ..Durable::default()
    };
    let mut other = world(&elsewhere, 3 * DAY, &sources);
    adopt(&mut other).unwrap();
    admin::take_over(&mut other, "home", admin::OtherWriter::MayWrite).unwrap();
    let taken = other.end();
    assert_eq!(floor_and_given_up(&prune(&taken, 4 * DAY)), (floor, 0));
    for durable in [&pruned, &taken] {
        let late = prune(durable, 10 * DAY);
        let (floor, given_up) = floor_and_given_up(&late);
        assert!(floor.is_none() && given_up > 0, "{floor:?} {given_up}");
    }
    // With the session the floor goes.
    let mut rest = world(&pruned, 3 * DAY, &sources);
    back_up(&mut rest).unwrap();
    let whole = rest.end();
    assert_eq!(floor_and_given_up(&whole), (None, 0));
    assert_eq!(copies(&whole), [200, 200]);
    assert_whole(&whole, &reported(&rest));
}
