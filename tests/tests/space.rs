// SPDX-License-Identifier: GPL-3.0-or-later
//! Space, over the engine in a world in memory: what is given up, moved, proven and deleted; and
//! what never is, whatever the store says and wherever a command is cut.

use std::collections::{BTreeSet, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use wyng_archive::format::{PackState, SlotKind};
use wyng_control::{
    CompactReport, ExitStatus, Failure, SessionChoice, ToClient, UndeleteReport, Via, WaitReason,
    Waits,
};
use wyng_engine::admin::CreateRequest;
use wyng_engine::prune;
use wyng_engine::space::{self, CompactRequest, UndeleteRequest};
use wyng_engine::verify;
use wyng_tests::engine::{
    Reported, adopt, assert_whole, back_up, create_request, cut_everywhere, fingerprint, reported,
};
use wyng_tests::memory_world::{Durable, MemoryWorld};
use wyng_tests::sandbox::noise;
use wyng_wire::Service;

const HOUR: u64 = 3600;
const COMMIT_BYTES: usize = 4096;

/// An archive whose hold-off is so long.
fn made(runs: u32, secs: u64) -> Durable {
    made_as(runs, secs, create_request())
}

fn made_as(runs: u32, secs: u64, mut request: CreateRequest) -> Durable {
    let mut world = MemoryWorld::observed(Durable::default(), 1);
    request.settings.hold_off_runs = runs;
    request.settings.hold_off_secs = secs;
    wyng_engine::admin::create(&mut world, &request).unwrap();
    world.end()
}

/// A world that goes on from here at this time after the first second of all worlds.
fn at(durable: &Durable, secs: u64) -> MemoryWorld {
    MemoryWorld::observed(durable.clone(), secs)
}

fn compact(world: &mut MemoryWorld) -> Result<CompactReport, Failure> {
    let request = CompactRequest {
        archive: "home".into(),
        budget_bytes: None,
        orphans: false,
    };
    assert_eq!(space::compact(world, &request)?, ExitStatus::Done);
    Ok(totals(world))
}

fn totals(world: &MemoryWorld) -> CompactReport {
    let totals = world.client.told.iter().find_map(|event| match event {
        ToClient::Compacted(report) => Some(*report),
        _ => None,
    });
    totals.unwrap()
}

fn waits(world: &MemoryWorld) -> Vec<Waits> {
    let waits = world.client.told.iter().filter_map(|event| match event {
        ToClient::Waits(waits) => Some(*waits),
        _ => None,
    });
    waits.collect()
}

/// Numbers of the packs of the head by what they are.
fn packs(world: &mut MemoryWorld, fits: fn(PackState) -> bool) -> BTreeSet<u64> {
    let mut archive = world.open_archive("home").unwrap();
    let packs = archive.packs(&mut world.files).unwrap();
    let fitting = packs.into_iter().filter(|(_, entry)| fits(entry.state));
    fitting.map(|(number, _)| number).collect()
}

/// Sessions of a volume of which most changes each hour, so that packs become thin once the small
/// packs of each run are rewritten.
fn with_small_packs(base: &Durable, runs: u64) -> (Durable, Vec<Reported>, u64) {
    let (mut durable, mut sessions) = (base.clone(), Vec::new());
    let mut content = noise(60_000, 1);
    for run in 1..=runs {
        let mut world = at(&durable, run * HOUR);
        content[..5000].copy_from_slice(&noise(5000, 100 + run));
        world.volumes.sources = vec![content.clone()];
        back_up(&mut world).unwrap();
        sessions.extend(reported(&world));
        durable = world.end();
    }
    (durable, sessions, (runs + 1) * HOUR)
}

#[test]
fn a_compaction_moves_what_is_alive_and_the_next_one_deletes_what_was_given_up() {
    let (durable, sessions, now) = with_small_packs(&made(0, 0), 12);
    let before = durable.store.len();
    let mut world = at(&durable, now);
    let report = compact(&mut world).unwrap();
    assert!(report.rewritten_packs > 6, "{report:?}");
    assert!(report.moved_bytes < report.read_bytes, "{report:?}");
    let durable = world.end();
    assert_whole(&durable, &sessions);
    // Its hold-off is over at once, and what lives on was read back by a far end of its own.
    assert!(report.deleted_packs > 6, "{report:?} {:?}", waits(&world));
    assert!(
        durable.store.len() < before,
        "{} blobs",
        durable.store.len()
    );
    let live = packs(&mut world, |state| state == PackState::Live).len();
    let mut world = at(&durable, now + HOUR);
    compact(&mut world).unwrap();
    let then = packs(&mut world, |state| state == PackState::Live).len();
    assert!(then <= live, "{then} packs after {live}");
    assert_whole(&world.end(), &sessions);
}

#[test]
fn what_is_read_back_before_a_deletion_comes_through_the_far_end_that_verifies() {
    let (pushes, checks) = (Via::Qube("one".into()), Via::Qube("two".into()));
    let request = CreateRequest {
        via: pushes.clone(),
        verify_via: Some(checks.clone()),
        ..create_request()
    };
    let (durable, sessions, now) = with_small_packs(&made_as(0, 0, request), 12);
    let mut world = at(&durable, now);
    let report = compact(&mut world).unwrap();
    assert!(report.deleted_packs > 6, "{report:?}");
    let store = &world.store;
    let calls: Vec<(Service, &Via)> = store.services.iter().copied().zip(&store.vias).collect();
    let of = |service| {
        let of_service = calls.iter().filter(move |(known, _)| *known == service);
        of_service.map(|(_, via)| *via).collect::<Vec<_>>()
    };
    // What compact moves is checked as it is moved, and comes the usual way.
    assert_eq!(of(Service::Fetch), [&pushes, &checks], "{calls:?}");
    assert!(of(Service::Push).iter().all(|via| *via == &pushes));
    assert_eq!(of(Service::Prune), [&pushes]);
    assert_whole(&world.end(), &sessions);
}

#[test]
fn a_compaction_with_its_deletions_survives_a_kill_at_every_call() {
    let (durable, sessions, now) = with_small_packs(&made(0, 0), 4);
    let mut tried = HashSet::new();
    let start = || at(&durable, now);
    let command = |world: &mut MemoryWorld| compact(world).map(drop);
    let calls = cut_everywhere(start, command, |n, killed| {
        for chance in [n.wrapping_mul(0x9e37_79b9_7f4a_7c15), 0] {
            let (cut, _) = killed.crash(chance);
            if !tried.insert(fingerprint(&cut, 0)) {
                continue;
            }
            let mut world = at(&cut, now + HOUR);
            let again = compact(&mut world).map(drop);
            assert_eq!(again, Ok(()), "after a kill at call {n}, chance {chance:x}");
            let mut durable = world.end();
            let mut world = at(&durable, now + 2 * HOUR);
            world.volumes.sources = vec![noise(60_000, 7)];
            back_up(&mut world).unwrap();
            durable = world.end();
            // Unlocking is most of the work, so that the oldest session stands for all.
            assert_whole(&durable, &sessions[..1]);
        }
    });
    assert!(calls > 100, "{calls} calls");
}

/// Days with one compaction each.
fn compact_daily(base: &Durable, from: u64, days: u64) -> Durable {
    let mut durable = base.clone();
    for day in 0..days {
        let mut world = at(&durable, from + day * 24 * HOUR);
        compact(&mut world).unwrap();
        durable = world.end();
    }
    durable
}

#[test]
fn nothing_is_deleted_before_both_the_runs_and_the_time_of_the_hold_off_have_passed() {
    let (durable, sessions, now) = with_small_packs(&made(3, 7 * 24 * HOUR), 6);
    let mut world = at(&durable, now);
    compact(&mut world).unwrap();
    let expected = WaitReason::HoldOff {
        runs_left: 3,
        secs_left: 7 * 24 * HOUR,
    };
    let waiting = waits(&world);
    assert_eq!(waiting.first().map(|waits| waits.reason), Some(expected));
    let given_up = packs(&mut world, |state| state.given_up().is_some());
    let durable = compact_daily(&world.end(), now + HOUR, 7);
    let mut world = at(&durable, now + 7 * 24 * HOUR - 60);
    assert!(
        compact(&mut world).unwrap().deleted_packs == 0,
        "a minute too early"
    );
    assert_whole(&world.end(), &sessions);
    let mut world = at(&world.end(), now + 7 * 24 * HOUR + HOUR);
    let report = compact(&mut world).unwrap();
    assert!(report.deleted_packs >= given_up.len() as u64, "{report:?}");
    assert_whole(&world.end(), &sessions);
}

#[test]
fn the_runs_of_a_hold_off_pass_though_nothing_is_backed_up_any_more() {
    let (durable, sessions, now) = with_small_packs(&made(3, 0), 6);
    let mut world = at(&durable, now);
    compact(&mut world).unwrap();
    let waiting = packs(&mut world, |state| state.given_up().is_some());
    let durable = compact_daily(&world.end(), now + 13 * HOUR, 4);
    let left = packs(&mut at(&durable, now + 1000 * HOUR), |state| {
        state.given_up().is_some()
    });
    assert!(left.is_disjoint(&waiting), "{left:?}");
    assert_whole(&durable, &sessions);
}

#[test]
fn a_store_that_drops_what_it_says_it_stored_gets_no_delete_and_the_archive_goes_on() {
    let (durable, sessions, now) = with_small_packs(&made(0, 0), 6);
    let mut world = at(&durable, now);
    world.store.drops_puts_from = Some(2);
    let request = CompactRequest {
        archive: "home".into(),
        budget_bytes: None,
        orphans: false,
    };
    let compacted = space::compact(&mut world, &request);
    assert!(
        matches!(compacted, Err(Failure::ProblemsFound { .. })),
        "{compacted:?}"
    );
    assert_eq!(world.store.deletes, [], "the old copies are the only ones");
    // The next run's commits arrive, what it moves does not.
    let mut world = at(&world.end(), now + HOUR);
    world.store.drops_puts_from = Some(3);
    let _ = space::compact(&mut world, &request);
    assert_eq!(world.store.deletes, []);
    // The store is honest from now on. What was given up for packs that never arrived is live
    // again.
    for later in 2..6 {
        world = at(&world.end(), now + later * HOUR);
        let _ = space::compact(&mut world, &request);
    }
    let mut world = at(&world.end(), now + 10 * HOUR);
    assert_eq!(space::compact(&mut world, &request), Ok(ExitStatus::Done));
    assert_whole(&world.end(), &sessions);
}

#[test]
fn what_lost_packs_took_over_comes_back_by_a_backup_alone_also_behind_a_new_cache() {
    let (durable, sessions, now) = with_small_packs(&made(3, 7 * 24 * HOUR), 6);
    let mut world = at(&durable, now);
    let report = compact(&mut world).unwrap();
    assert!(report.rewritten_packs > 3, "{report:?}");
    let mut lost = world.end();
    let stays = |name: &[u8; 32], blob: &[u8]| {
        durable.store.contains_key(name) || blob.len() == COMMIT_BYTES
    };
    lost.store.retain(|name, blob| stays(name, blob));
    for opens in [false, true] {
        let mut world = at(&lost, now + HOUR);
        if opens {
            let request = wyng_engine::admin::OpenRequest {
                credentials: false,
                name: "home".into(),
                store: Some("memory".into()),
                via: None,
                verify_via: None,
                expect: None,
                before: None,
            };
            let opened = wyng_engine::admin::open(&mut world, &request).unwrap();
            assert!(opened.problems > 0, "{opened:?}");
        } else {
            let request = verify::VerifyRequest {
                archive: "home".into(),
                volumes: Vec::new(),
                session: None,
                deep: false,
                budget_bytes: None,
            };
            let found = verify::verify(&mut world, &request);
            assert!(
                matches!(found, Err(Failure::ProblemsFound { .. })),
                "{found:?}"
            );
        }
        let mut world = at(&world.end(), now + 2 * HOUR);
        world.volumes.sources = vec![sessions.last().unwrap().content.clone()];
        back_up(&mut world).unwrap();
        assert_whole(&world.end(), &sessions);
    }
}

#[test]
fn where_deleting_is_refused_everything_else_works_and_the_reason_is_reported() {
    let (durable, sessions, now) = with_small_packs(&made(0, 0), 6);
    let mut world = at(&durable, now);
    world.store.refuses_deletes = true;
    compact(&mut world).unwrap();
    assert!(!world.store.deletes.is_empty());
    let reasons: Vec<WaitReason> = waits(&world).iter().map(|waits| waits.reason).collect();
    assert!(
        reasons
            .iter()
            .any(|reason| matches!(reason, WaitReason::StoreRefused { .. })),
        "{reasons:?}"
    );
    assert_whole(&world.end(), &sessions);
    // Within a day nothing is tried again.
    let mut world = at(&world.end(), now + HOUR);
    compact(&mut world).unwrap();
    assert_eq!(world.store.deletes, []);
    let mut world = at(&world.end(), now + 26 * HOUR);
    let report = compact(&mut world).unwrap();
    assert!(report.deleted_packs > 0, "{report:?}");
    assert_whole(&world.end(), &sessions);
}

#[test]
fn where_fetching_is_refused_nothing_is_deleted() {
    let (durable, sessions, now) = with_small_packs(&made(0, 0), 6);
    let mut world = at(&durable, now);
    compact(&mut world).unwrap();
    let mut durable = world.end();
    for run in 1..40 {
        let mut world = at(&durable, now + run * HOUR);
        world.store.refused_services = vec![Service::Fetch];
        world.volumes.sources = vec![noise(60_000, run)];
        back_up(&mut world).unwrap();
        assert_eq!(world.store.deletes, []);
        durable = world.end();
    }
    assert_whole(&durable, &sessions);
}

#[test]
fn a_lost_commit_below_the_head_does_not_hold_up_deletions_for_ever() {
    let (mut durable, _, mut now) = with_small_packs(&made(0, 7 * 24 * HOUR), 12);
    let mut world = at(&durable, now);
    compact(&mut world).unwrap();
    durable = world.end();
    let archive = world.open_archive("home").unwrap();
    let given_up_by = archive.credential.commit_name(archive.head.generation);
    // So many commits that the machine itself does not know the lost one any more.
    for run in 1..=20 {
        now += HOUR;
        let mut world = at(&durable, now);
        world.volumes.sources = vec![noise(60_000, 500 + run)];
        back_up(&mut world).unwrap();
        durable = world.end();
    }
    assert!(durable.store.remove(&given_up_by.0).is_some());
    let mut world = at(&durable, now + 8 * 24 * HOUR);
    let problems = compact(&mut world);
    assert!(
        matches!(problems, Err(Failure::ProblemsFound { count: 1 })),
        "{problems:?}"
    );
    assert!(!world.store.deletes.is_empty());
}

/// A store without the blobs of most live packs that have chunks.
fn without_most_packs(durable: &Durable, now: u64) -> Durable {
    let mut world = at(durable, now);
    let mut archive = world.open_archive("home").unwrap();
    let packs = archive.packs(&mut world.files).unwrap();
    let live = packs
        .values()
        .filter(|entry| entry.state == PackState::Live);
    let names: Vec<_> = live.map(|entry| entry.name.0).collect();
    let mut left = durable.clone();
    for name in names.iter().take(names.len() * 2 / 3) {
        left.store.remove(name);
    }
    left
}

#[test]
fn a_store_that_hides_much_is_not_believed_by_a_compaction() {
    let (durable, _, now) = with_small_packs(&made(0, 0), 40);
    let mut world = at(&without_most_packs(&durable, now), now);
    let compacted = compact(&mut world);
    assert!(
        matches!(compacted, Err(Failure::MuchDamaged { .. })),
        "{compacted:?}"
    );
    // Nothing follows, also when all of it is back, until a person has decided.
    let mut after = world.end();
    after.store.extend(durable.store);
    let mut world = at(&after, now + HOUR);
    let notes = world.open_archive("home").unwrap().ledger.notes;
    assert!(notes.lost_packs().is_empty() && notes.held_packs().len() > 16);
    let again = compact(&mut world);
    assert!(
        matches!(again, Err(Failure::MuchDamaged { .. })),
        "{again:?}"
    );
    assert!(world.store.deletes.is_empty());
}

#[test]
fn a_store_that_hides_much_is_not_believed_by_a_machine_that_opens_the_archive() {
    let (durable, _, now) = with_small_packs(&made(0, 0), 40);
    let mut store = without_most_packs(&durable, now).store;
    // Tables have to be readable for an archive to be opened.
    let mut world = at(&durable, now);
    let mut archive = world.open_archive("home").unwrap();
    let packs = archive.packs(&mut world.files).unwrap();
    let newest = packs.values().rev().take(2).map(|entry| entry.name.0);
    store.extend(newest.map(|name| (name, durable.store[&name].clone())));
    let elsewhere = Durable {
        store,
        ..Durable::default()
    };
    let mut world = at(&elsewhere, now);
    let request = wyng_engine::admin::OpenRequest {
        credentials: false,
        name: "home".into(),
        store: Some("memory".into()),
        via: Some(wyng_control::Via::Local),
        verify_via: None,
        expect: None,
        before: None,
    };
    assert!(
        wyng_engine::admin::open(&mut world, &request)
            .unwrap()
            .problems
            > 16
    );
    let notes = world.open_archive("home").unwrap().ledger.notes;
    assert!(
        notes.lost_packs().is_empty() && notes.held_packs().len() > 16,
        "{notes:?}"
    );
}

fn remove(world: &mut MemoryWorld, session: &Reported) {
    let choice = SessionChoice::Prefix(name_of(session));
    prune::remove_sessions(world, "home", &session.volume, &[choice], false).unwrap();
}

fn name_of(session: &Reported) -> String {
    jiff::Timestamp::from_second(session.time)
        .unwrap()
        .to_string()
}

fn undelete(world: &mut MemoryWorld, session: &Reported) -> Result<UndeleteReport, Failure> {
    let choice = SessionChoice::Prefix(name_of(session));
    undelete_any(world, &session.volume, choice)
}

fn undelete_any(
    world: &mut MemoryWorld,
    volume: &str,
    session: SessionChoice,
) -> Result<UndeleteReport, Failure> {
    let request = UndeleteRequest {
        archive: "home".into(),
        volume: volume.into(),
        session,
    };
    assert_eq!(space::undelete(world, &request)?, ExitStatus::Done);
    let report = world.client.told.iter().find_map(|event| match event {
        ToClient::Undeleted(report) => Some(report.clone()),
        _ => None,
    });
    Ok(report.unwrap())
}

/// Sessions of a volume that is wholly new each hour, so that a removed session frees its packs.
fn with_new_content(base: &Durable, runs: u64) -> (Durable, Vec<Reported>, u64) {
    let (mut durable, mut sessions) = (base.clone(), Vec::new());
    for run in 1..=runs {
        let mut world = at(&durable, run * HOUR);
        world.volumes.sources = vec![noise(150_000, run)];
        back_up(&mut world).unwrap();
        sessions.extend(reported(&world));
        durable = world.end();
    }
    (durable, sessions, (runs + 1) * HOUR)
}

#[test]
fn a_removed_session_comes_back_pinned_within_its_hold_off_and_not_after_it() {
    let (durable, sessions, now) = with_new_content(&made(3, 7 * 24 * HOUR), 3);
    let (first, rest) = sessions.split_first().unwrap();
    let mut world = at(&durable, now);
    remove(&mut world, first);
    let removed = world.end();
    assert_whole(&removed, rest);
    let mut world = at(&removed, now + HOUR);
    let back = undelete(&mut world, first).unwrap();
    assert_eq!(
        (back.volume.as_str(), back.session),
        ("volume 0", first.time)
    );
    assert!(
        back.revived_packs > 0 && back.read_bytes.is_some(),
        "{back:?}"
    );
    let durable = world.end();
    assert_whole(&durable, &sessions);
    let mut world = at(&durable, now + 2 * HOUR);
    let again = undelete(&mut world, first);
    assert!(
        matches!(again, Err(Failure::NotRemoved { .. })),
        "{again:?}"
    );
    let choice = SessionChoice::Prefix(name_of(first));
    let pinned =
        prune::remove_sessions(&mut world, "home", &first.volume, &[choice], false).unwrap_err();
    assert!(
        matches!(pinned, Failure::SessionPinned { .. }),
        "{pinned:?}"
    );
    // Not after the hold-off, whether its packs are still there or not.
    let late = compact_daily(&removed, now + 13 * HOUR, 9);
    let mut world = at(&late, now + 300 * HOUR);
    let refused = undelete(&mut world, first);
    assert!(
        matches!(
            refused,
            Err(Failure::CannotUndelete { .. } | Failure::UnknownSession { .. })
        ),
        "{refused:?}"
    );
    assert_whole(&late, rest);
}

#[test]
fn only_removed_sessions_are_looked_for() {
    let (durable, sessions, now) = with_new_content(&made(3, 7 * 24 * HOUR), 3);
    let mut world = at(&durable, now);
    remove(&mut world, &sessions[1]);
    let removed = world.end();
    let century = name_of(&sessions[1])[..2].to_owned();
    for choice in [SessionChoice::Latest, SessionChoice::Prefix(century)] {
        let mut world = at(&removed, now + HOUR);
        let back = undelete_any(&mut world, "volume 0", choice.clone()).unwrap();
        assert_eq!(back.session, sessions[1].time, "{choice}");
        let mut world = at(&world.end(), now + 2 * HOUR);
        let again = undelete_any(&mut world, "volume 0", choice);
        // Every session fits the prefix, and none of them was removed.
        assert!(
            matches!(
                again,
                Err(Failure::NotRemoved { .. } | Failure::UnknownSession { .. })
            ),
            "{again:?}"
        );
    }
}

#[test]
fn a_session_comes_back_on_a_machine_whose_cache_was_built_after_its_removal() {
    let (durable, sessions, now) = with_new_content(&made(3, 7 * 24 * HOUR), 3);
    let mut world = at(&durable, now);
    remove(&mut world, &sessions[0]);
    let removed = world.end();
    let other = Durable {
        store: removed.store,
        ..Durable::default()
    };
    let mut world = at(&other, now + HOUR);
    adopt(&mut world).unwrap();
    wyng_engine::admin::take_over(
        &mut world,
        "home",
        wyng_engine::admin::OtherWriter::MayWrite,
    )
    .unwrap();
    undelete(&mut world, &sessions[0]).unwrap();
    assert_whole(&world.end(), &sessions);
}

#[test]
fn a_removed_volume_comes_back_under_a_free_name() {
    let (durable, sessions, now) = with_new_content(&made(3, 7 * 24 * HOUR), 2);
    let mut world = at(&durable, now);
    prune::remove_volume(&mut world, "home", "volume 0", false).unwrap();
    let mut world = at(&world.end(), now + HOUR);
    world.volumes.sources = vec![noise(9000, 5)];
    back_up(&mut world).unwrap();
    let mut world = at(&world.end(), now + 2 * HOUR);
    let back = undelete(&mut world, &sessions[1]).unwrap();
    assert_eq!(back.volume, "volume 0-2");
}

#[test]
fn where_fetching_is_refused_a_session_comes_back_unread_and_that_is_reported() {
    let (durable, sessions, now) = with_new_content(&made(3, 7 * 24 * HOUR), 2);
    let mut world = at(&durable, now);
    remove(&mut world, &sessions[0]);
    let mut world = at(&world.end(), now + HOUR);
    world.store.refused_services = vec![Service::Fetch];
    let back = undelete(&mut world, &sessions[0]).unwrap();
    assert_eq!(back.read_bytes, None);
    assert_whole(&world.end(), &sessions);
}

#[test]
fn an_undelete_survives_a_kill_at_every_call() {
    let (durable, sessions, now) = with_new_content(&made(3, 7 * 24 * HOUR), 2);
    let mut world = at(&durable, now);
    remove(&mut world, &sessions[0]);
    let removed = world.end();
    let mut tried = HashSet::new();
    let start = || at(&removed, now + HOUR);
    let command = |world: &mut MemoryWorld| undelete(world, &sessions[0]).map(drop);
    cut_everywhere(start, command, |n, killed| {
        let (cut, _) = killed.crash(n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        if !tried.insert(fingerprint(&cut, 0)) {
            return;
        }
        let mut world = at(&cut, now + 2 * HOUR);
        match undelete(&mut world, &sessions[0]) {
            Ok(_) | Err(Failure::NotRemoved { .. }) => {}
            Err(failure) => panic!("{failure:?} after a kill at call {n}"),
        }
        if world.store.is_settled() {
            assert_whole(&world.crash(0).0, &sessions);
        }
    });
}

#[test]
fn only_blobs_that_this_machine_named_are_deleted_as_orphans() {
    let (durable, sessions, now) = with_small_packs(&made(3, 7 * 24 * HOUR), 2);
    let request = CompactRequest {
        archive: "home".into(),
        budget_bytes: None,
        orphans: true,
    };
    // A run is cut when its first packs have arrived and are not journaled as durable.
    let mut world = at(&durable, now);
    world.volumes.sources = vec![noise(300_000, 9)];
    world.store.kill_when_put = Some(3);
    assert!(catch_unwind(AssertUnwindSafe(|| back_up(&mut world))).is_err());
    let (mut cut, _) = world.crash(u64::MAX);
    cut.store.insert([9; 32], vec![1; 100]);
    let named: usize = cut.store.len() - durable.store.len() - 1;
    assert!(named > 0);
    let mut world = at(&cut, now + HOUR);
    assert_eq!(space::compact(&mut world, &request), Ok(ExitStatus::Done));
    let report = totals(&world);
    assert!(report.deleted_orphans > 0, "{report:?}");
    let durable = world.end();
    assert!(durable.store.contains_key(&[9; 32]), "nobody named it here");
    let foreign = assert_whole(&durable, &sessions);
    assert_eq!(
        foreign, 1,
        "of all that the cut run left, nothing is nobody's"
    );
}

#[test]
fn a_state_directory_from_the_middle_of_a_run_deletes_nothing_of_that_run_as_orphans() {
    let (durable, sessions, now) = with_small_packs(&made(3, 7 * 24 * HOUR), 2);
    let (gone, sessions) = sessions.split_first().unwrap();
    let mut world = at(&durable, now);
    remove(&mut world, gone);
    let mut archive = world.open_archive("home").unwrap();
    let table = archive.packs(&mut world.files).unwrap();
    let needed: HashSet<[u8; 32]> = table.values().map(|entry| entry.name.0).collect();
    let whole = world.end();
    let mut checked = 0;
    // The state is copied while the pack of the run is on its way; the run itself ends well.
    let start = || at(&durable, now);
    let command = |world: &mut MemoryWorld| {
        remove(world, gone);
        Ok(())
    };
    cut_everywhere(start, command, |n, killed| {
        let copied = killed.crash(0).0;
        if killed.store.is_settled() || copied.store.len() == whole.store.len() {
            return;
        }
        checked += 1;
        let store = whole.store.clone();
        let mut world = at(&Durable { store, ..copied }, now + HOUR);
        let request = CompactRequest {
            archive: "home".into(),
            // Nothing is moved, so that nothing but the orphans makes a commit due.
            budget_bytes: Some(0),
            orphans: true,
        };
        let ended = space::compact(&mut world, &request);
        let mut deleted = world.store.deletes.iter();
        let is_needed = deleted.any(|name| needed.contains(&name.0));
        assert!(!is_needed, "call {n}: {ended:?}");
        let store = world.crash(0).0.store;
        let after = Durable {
            store,
            ..whole.clone()
        };
        assert_whole(&after, sessions);
    });
    assert!(checked > 1, "{checked} states");
}

#[test]
fn a_removed_slot_is_deleted_after_the_hold_off_and_the_others_stay() {
    let (durable, sessions, now) = with_small_packs(&made(0, 7 * 24 * HOUR), 1);
    let wish = wyng_engine::admin::NewSlot::default();
    let mut world = at(&durable, now);
    wyng_engine::admin::add(&mut world, "home", SlotKind::RecoveryKey, &wish).unwrap();
    let mut world = at(&world.end(), now + 60);
    wyng_engine::admin::remove(&mut world, "home", 1).unwrap();
    let mut world = at(&world.end(), now + HOUR);
    compact(&mut world).unwrap();
    let old = wyng_archive::crypto::slot_name(1).0;
    let durable = world.end();
    assert!(durable.store.contains_key(&old));
    let mut world = at(&durable, now + 8 * 24 * HOUR);
    compact(&mut world).unwrap();
    let durable = world.end();
    assert!(!durable.store.contains_key(&old));
    assert!(
        durable
            .store
            .contains_key(&wyng_archive::crypto::slot_name(0).0)
    );
    assert_whole(&durable, &sessions);
}
