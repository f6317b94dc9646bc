// SPDX-License-Identifier: GPL-3.0-or-later
//! Reading back with a budget, over many nights: each pack has its turn, whatever is written
//! meanwhile, whatever is killed, and a loss is found within a bound.

use std::collections::{BTreeMap, BTreeSet};

use wyng_control::{ArchiveSummary, ExitStatus, Failure, ToClient, Via};
use wyng_engine::{admin, look, verify};
use wyng_tests::engine::{back_up, create, create_request, cut_everywhere};
use wyng_tests::memory_world::{Durable, MemoryWorld};
use wyng_tests::sandbox::noise;

const DAY_SECS: u64 = 86_400;
const PACK_BYTES: u64 = 64 << 10;
/// Four full packs a night.
const BUDGET_BYTES: u64 = 4 * PACK_BYTES;

fn verify(world: &mut MemoryWorld, budget_bytes: Option<u64>) -> Result<ExitStatus, Failure> {
    let request = verify::VerifyRequest {
        archive: "home".into(),
        volumes: Vec::new(),
        session: None,
        deep: false,
        budget_bytes,
    };
    verify::verify(world, &request)
}

/// A world on the night of this number.
fn night(durable: &Durable, number: u64) -> MemoryWorld {
    MemoryWorld::observed(durable.clone(), number * DAY_SECS)
}

fn backed_up(durable: &Durable, at: u64, source: Vec<u8>) -> Durable {
    let mut world = night(durable, at);
    world.volumes.sources = vec![source];
    back_up(&mut world).unwrap();
    world.end()
}

/// An archive with one session of incompressible bytes, pushed on night 0.
fn of_first_night(length_bytes: usize) -> Durable {
    let mut world = MemoryWorld::observed(Durable::default(), 0);
    create(&mut world).unwrap();
    backed_up(&world.end(), 0, noise(length_bytes, 1))
}

/// The full packs of a store.
fn packs(durable: &Durable) -> BTreeSet<[u8; 32]> {
    let is_pack = |bytes: &Vec<u8>| bytes.len() as u64 == PACK_BYTES;
    durable
        .store
        .iter()
        .filter(|(_, bytes)| is_pack(bytes))
        .map(|(name, _)| *name)
        .collect()
}

/// The packs that were read in this world.
fn read_packs(world: &MemoryWorld, all: &BTreeSet<[u8; 32]>) -> BTreeSet<[u8; 32]> {
    let read = world.store.read.iter().copied();
    read.filter(|name| all.contains(name)).collect()
}

fn status(durable: &Durable, at: u64) -> ArchiveSummary {
    let mut world = night(durable, at);
    let _ = look::status(&mut world, Some("home")).unwrap();
    let shown = world.client.told.iter().find_map(|event| match event {
        ToClient::Archive(archive) => Some((**archive).clone()),
        _ => None,
    });
    shown.unwrap()
}

#[test]
fn a_guest_that_writes_much_does_not_keep_the_old_from_being_read_again() {
    let mut durable = of_first_night(20 * PACK_BYTES as usize);
    let mut whole = night(&durable, 2);
    assert_eq!(verify(&mut whole, None), Ok(ExitStatus::Done));
    durable = whole.end();
    let old = packs(&durable);
    // What was proven when a pack was read is before it in the queue: half of the budget a night.
    let due = |durable: &Durable, at: u64| {
        let ahead_bytes = status(durable, at).proof.proven_bytes;
        at + ahead_bytes.div_ceil(BUDGET_BYTES / 2) + 1
    };
    let first = due(&durable, 2);
    let mut due_at: BTreeMap<[u8; 32], u64> = old.iter().map(|name| (*name, first)).collect();
    for at in 3..2 * first {
        // Each night more is pushed than the budget can read.
        durable = backed_up(&durable, at, noise(8 * PACK_BYTES as usize, at));
        let mut world = night(&durable, at);
        assert_eq!(verify(&mut world, Some(BUDGET_BYTES)), Ok(ExitStatus::Done));
        let read = read_packs(&world, &packs(&durable));
        assert!((2..=5).contains(&read.len()), "{} packs", read.len());
        durable = world.end();
        let next = due(&durable, at);
        for name in read.intersection(&old) {
            due_at.insert(*name, next);
        }
        assert!(due_at.values().all(|due| *due > at), "{due_at:?}, {at}");
    }
}

#[test]
fn each_pack_is_read_within_a_bound_and_counts_as_proven_only_a_day_after_its_push() {
    let mut durable = of_first_night(12 * PACK_BYTES as usize);
    // On the night of the push a reading proves nothing.
    let mut world = night(&durable, 0);
    assert_eq!(verify(&mut world, None), Ok(ExitStatus::Done));
    durable = world.end();
    assert_eq!(status(&durable, 0).proof.proven_bytes, 0);
    assert_ne!(status(&durable, 0).verified_time, 0, "but it was read");
    let all = packs(&durable);
    let mut unread = all.clone();
    for at in 1.. {
        let mut world = night(&durable, at);
        assert_eq!(verify(&mut world, Some(BUDGET_BYTES)), Ok(ExitStatus::Done));
        unread = &unread - &read_packs(&world, &all);
        durable = world.end();
        let proof = status(&durable, at).proof;
        if unread.is_empty() {
            assert!(at <= 6, "{at} nights for {} packs", all.len());
            break;
        }
        assert!(proof.proven_bytes < proof.total_bytes);
        assert_eq!(
            proof.oldest_unproven_secs.unwrap() / DAY_SECS,
            at,
            "since its push"
        );
    }
    // The small packs of metadata follow.
    for at in 7..9 {
        let mut world = night(&durable, at);
        assert_eq!(verify(&mut world, Some(BUDGET_BYTES)), Ok(ExitStatus::Done));
        durable = world.end();
    }
    let proof = status(&durable, 9).proof;
    assert_eq!(proof.proven_bytes, proof.total_bytes);
    assert_eq!(
        (proof.by_pusher_bytes, proof.oldest_unproven_secs),
        (0, None)
    );
}

#[test]
fn a_pack_that_the_store_loses_or_changes_is_found_within_the_bound() {
    let sound = of_first_night(12 * PACK_BYTES as usize);
    let all: Vec<[u8; 32]> = packs(&sound).into_iter().collect();
    // Each half of the budget reads two packs a night, and all are to be proven first.
    let bound = all.len() as u64 / 2 + 2;
    for (turn, name) in all.iter().enumerate() {
        let mut durable = sound.clone();
        if turn % 2 == 0 {
            durable.store.remove(name);
        } else {
            durable.store.get_mut(name).unwrap()[100] ^= 1;
        }
        let found = (1..=bound).find(|at| {
            let mut world = night(&durable, *at);
            let ended = verify(&mut world, Some(BUDGET_BYTES));
            durable = world.end();
            ended.is_err_and(|failure| failure.exit() == ExitStatus::Damage)
        });
        assert!(found.is_some(), "pack {turn} within {bound} nights");
        let proof = status(&durable, bound).proof;
        assert!(proof.proven_bytes < proof.total_bytes);
    }
}

#[test]
fn what_was_read_before_a_kill_is_not_read_again() {
    let durable = of_first_night(40 * PACK_BYTES as usize);
    let all = packs(&durable);
    let half = Some(20 * PACK_BYTES);
    let start = || night(&durable, 2);
    let mut longest = 0;
    cut_everywhere(
        start,
        |world| verify(world, half).map(|exit| assert_eq!(exit, ExitStatus::Done)),
        |call, killed| {
            let before = read_packs(&killed, &all);
            // Power is lost: what was synced counts, which is at least all but sixteen packs.
            let (left, _) = killed.crash(0);
            let mut world = night(&left, 3);
            assert_eq!(verify(&mut world, half), Ok(ExitStatus::Done));
            let again = read_packs(&world, &all).intersection(&before).count();
            assert!(
                again <= 16 + 1,
                "{again} packs were read twice, call {call}"
            );
            longest = longest.max(before.len());
        },
    );
    assert!(longest >= 20, "{longest} packs before the last kill");
}

#[test]
fn an_archive_whose_proofs_are_lost_has_never_been_read() {
    let durable = of_first_night(4 * PACK_BYTES as usize);
    let mut world = night(&durable, 2);
    assert_eq!(verify(&mut world, None), Ok(ExitStatus::Done));
    let mut durable = world.end();
    let proof = status(&durable, 2).proof;
    assert_eq!(proof.proven_bytes, proof.total_bytes);
    durable.files.retain(|name, _| !name.ends_with("/proofs"));
    let proof = status(&durable, 2).proof;
    assert_eq!((proof.proven_bytes, proof.oldest_unproven_secs), (0, None));
    // A day after they were met anew, a reading proves them again.
    for (at, all) in [(2, false), (3, true)] {
        let mut world = night(&durable, at);
        assert_eq!(verify(&mut world, None), Ok(ExitStatus::Done));
        durable = world.end();
        let proof = status(&durable, at).proof;
        assert_eq!(proof.proven_bytes == proof.total_bytes, all);
    }
}

#[test]
fn a_vm_that_stays_proves_what_it_pushed_only_until_there_is_another_one() {
    let mut world = MemoryWorld::observed(Durable::default(), 0);
    let request = admin::CreateRequest {
        credentials: false,
        via: Via::Qube("one".into()),
        verify_via: None,
        ..create_request()
    };
    admin::create(&mut world, &request).unwrap();
    let durable = backed_up(&world.end(), 0, noise(4 * PACK_BYTES as usize, 1));
    let mut world = night(&durable, 2);
    assert_eq!(verify(&mut world, None), Ok(ExitStatus::Done));
    let durable = world.end();
    let proof = status(&durable, 2).proof;
    assert_eq!(proof.proven_bytes, proof.total_bytes);
    assert_eq!(proof.by_pusher_bytes, proof.total_bytes, "and that is said");

    // The other one reads what is verified, or everything from now on.
    for (via, verify_via) in [(None, Some("two")), (Some("two"), None)] {
        prove_by_another(&durable, via, verify_via);
    }
}

fn prove_by_another(durable: &Durable, via: Option<&str>, verify_via: Option<&str>) {
    let named = |name: Option<&str>| name.map(|name| Via::Qube(name.into()));
    let mut world = night(durable, 3);
    let request = admin::OpenRequest {
        credentials: false,
        name: "home".into(),
        store: None,
        via: named(via),
        verify_via: named(verify_via),
        expect: None,
        before: None,
    };
    admin::open(&mut world, &request).unwrap();
    let durable = world.end();
    assert_eq!(status(&durable, 3).proof.proven_bytes, 0);
    let mut world = night(&durable, 3);
    assert_eq!(verify(&mut world, None), Ok(ExitStatus::Done));
    let proof = status(&world.end(), 3).proof;
    assert_eq!(proof.proven_bytes, proof.total_bytes);
    assert_eq!(proof.by_pusher_bytes, 0);
}
