// SPDX-License-Identifier: GPL-3.0-or-later
//! Copies of an archive in a further store: what a copy has after each kill, what is refused as the
//! place of one, and how one becomes the archive's own store. Runs the engine over a world in
//! memory.

use std::collections::BTreeMap;

use wyng_control::{CopyReport, Failure, SessionChoice, ToClient};
use wyng_engine::state::{PackNote, PackProof, Proofs};
use wyng_engine::store::packs_of;
use wyng_engine::{admin, copy, prune};
use wyng_tests::engine::{
    Reported, adopt, assert_whole, back_up, cut_everywhere, made, open_request, reported,
    with_a_small_session,
};
use wyng_tests::memory_world::{Blobs, Durable, FURTHER, MemoryWorld};
use wyng_tests::sandbox::noise;
use wyng_wire::Service;

/// Address of the copy.
const USB: &str = "copy:usb";

fn request_to(store: &str) -> copy::CopyRequest {
    copy::CopyRequest {
        name: "home".into(),
        store: store.into(),
        via: None,
        credentials: false,
        anew: false,
    }
}

fn copy_to(world: &mut MemoryWorld, store: &str) -> Result<(), Failure> {
    copy::copy(world, &request_to(store))
}

/// The report of the last copying.
fn last_report(world: &MemoryWorld) -> CopyReport {
    let mut reports = world.client.told.iter().filter_map(|event| match event {
        ToClient::Copied(report) => Some(report.clone()),
        _ => None,
    });
    reports.next_back().unwrap()
}

/// A copy of this archive, and its report.
fn copied(durable: &Durable, seed: u64) -> (Durable, CopyReport) {
    let mut world = MemoryWorld::new(durable.clone(), seed);
    copy_to(&mut world, USB).unwrap();
    (world.end(), last_report(&world))
}

/// The copy as the only store of a machine that knows nothing.
fn elsewhere(durable: &Durable) -> Durable {
    Durable {
        store: durable.copies[USB].clone(),
        ..Durable::default()
    }
}

/// One more session of a new content.
fn grown(durable: &Durable, seed: u64, sessions: &mut Vec<Reported>) -> Durable {
    let mut world = MemoryWorld::new(durable.clone(), seed);
    world.volumes.sources = vec![noise(20_000, seed)];
    back_up(&mut world).unwrap();
    sessions.extend(reported(&world));
    world.end()
}

#[test]
fn a_copy_opens_elsewhere_as_the_archive_does() {
    let (base, sessions, _) = with_a_small_session();
    let (durable, report) = copied(&base, 3);
    assert_eq!(durable.copies[USB], base.store, "every blob was copied");
    assert_eq!(report.sent_objects, base.store.len() as u64);
    let sent_bytes: usize = base.store.values().map(Vec::len).sum();
    assert_eq!(report.sent_bytes, sent_bytes as u64);
    assert_eq!(
        report.read_bytes, report.sent_bytes,
        "all of it was read back"
    );

    let mut other = MemoryWorld::new(elsewhere(&durable), 4);
    adopt(&mut other).unwrap();
    assert_eq!(assert_whole(&other.end(), &sessions), 0);
}

#[test]
fn a_second_copying_sends_and_reads_only_what_is_new() {
    let (base, mut sessions, _) = with_a_small_session();
    let (first, _) = copied(&base, 3);
    let grown = grown(&first, 5, &mut sessions);
    let new_bytes: usize = grown
        .store
        .iter()
        .filter(|(name, _)| !base.store.contains_key(*name))
        .map(|(_, bytes)| bytes.len())
        .sum();
    let (second, report) = copied(&grown, 6);
    assert_eq!(second.copies[USB], grown.store);
    assert_eq!(
        (report.sent_bytes, report.read_bytes),
        (new_bytes as u64, new_bytes as u64)
    );
    let (third, report) = copied(&second, 7);
    assert_eq!((report.sent_objects, report.read_bytes), (0, 0));
    let (_, report) = copied(&third, 8);
    assert_eq!((report.sent_objects, report.read_bytes), (0, 0));
    // The place may be another one by now: it was found to differ by one more copy of the head.
    assert_eq!(third.copies[USB].len(), grown.store.len() + 1);
    assert_eq!(third.store, grown.store);
    let mut other = MemoryWorld::new(elsewhere(&third), 9);
    adopt(&mut other).unwrap();
    assert_eq!(assert_whole(&other.end(), &sessions), 0);
}

/// An archive with a copy; two sessions later, of which the first is removed and its packs are
/// gone: no generation in between can be restored any more. The state at the copying, the present
/// one, and the sessions of both.
fn with_a_gap() -> (Durable, Durable, Vec<Reported>, Vec<Reported>) {
    let (base, sessions, _) = with_a_small_session();
    let (copied, _) = copied(&base, 3);
    let (mut removed, mut kept) = (Vec::new(), sessions.clone());
    let durable = grown(&copied, 5, &mut removed);
    let durable = grown(&durable, 6, &mut kept);
    let mut world = MemoryWorld::new(durable, 7);
    let name = jiff::Timestamp::from_second(removed[0].time).unwrap();
    let session = SessionChoice::Prefix(name.to_string());
    prune::remove_sessions(&mut world, "home", "volume 0", &[session], false).unwrap();
    let mut durable = world.end();
    let mut world = MemoryWorld::new(durable.clone(), 8);
    let mut archive = world.open_archive("home").unwrap();
    let mut gone = 0;
    for entry in packs_of(&mut world.files, &mut archive).unwrap().values() {
        if entry.state.given_up().is_some() {
            assert!(durable.store.remove(&entry.name.0).is_some());
            gone += 1;
        }
    }
    assert!(gone > 0);
    (copied, durable, sessions, kept)
}

#[test]
fn a_copy_is_whole_at_its_old_or_its_new_head_whenever_the_copying_is_killed() {
    let (before, durable, old, new) = with_a_gap();
    let generation_of = |durable: &Durable| {
        let mut world = MemoryWorld::new(durable.clone(), 20);
        world.open_archive("home").unwrap().head.generation
    };
    let (old_head, new_head) = (generation_of(&before), generation_of(&durable));
    assert!(new_head > old_head + 1);
    let mut tried = std::collections::HashSet::new();
    let mut seen = [0u32; 2];
    let start = || MemoryWorld::new(durable.clone(), 10);
    let run = |world: &mut MemoryWorld| copy_to(world, USB);
    cut_everywhere(start, run, |call, killed| {
        for chance in [call.wrapping_mul(0x9e37_79b9_7f4a_7c15), 0, u64::MAX] {
            let (left, _) = killed.crash(chance);
            if !tried.insert((left.copies[USB].clone(), left.files.clone())) {
                continue;
            }
            // A machine that knows the archive as it was when the copy was made.
            let mut reader = MemoryWorld::new(
                Durable {
                    store: left.copies[USB].clone(),
                    ..before.clone()
                },
                11,
            );
            let request = admin::OpenRequest {
                store: None,
                ..open_request()
            };
            let opened = admin::open(&mut reader, &request).unwrap();
            assert_eq!(
                opened.damaged_newest, None,
                "call {call}, chance {chance:x}"
            );
            let is_new = opened.generation == new_head;
            assert!(
                is_new || opened.generation == old_head,
                "call {call}: {opened:?}"
            );
            seen[usize::from(is_new)] += 1;
            let sessions = if is_new { &new } else { &old };
            restore_all(&reader.end(), sessions);
            // The same command goes on, and then nothing is missing.
            let mut again = MemoryWorld::new(left, 12);
            copy_to(&mut again, USB).unwrap();
            let whole = again.end();
            assert_holds(&whole.copies[USB], &durable.store);
        }
    });
    assert!(seen[0] > 3 && seen[1] > 2, "{seen:?}");
}

/// Restores every session, each by its name.
fn restore_all(durable: &Durable, sessions: &[Reported]) {
    for session in sessions {
        let mut world = MemoryWorld::new(durable.clone(), 30);
        let name = jiff::Timestamp::from_second(session.time).unwrap();
        let request = wyng_engine::restore::RestoreRequest {
            archive: "home".into(),
            volumes: vec![session.volume.clone()],
            session: SessionChoice::Prefix(name.to_string()),
            in_place: false,
            quick: false,
            dry_run: false,
            around_damage: false,
            origins: Default::default(),
        };
        let exit = wyng_engine::restore::restore(&mut world, &request);
        assert_eq!(exit, Ok(wyng_control::ExitStatus::Done));
        assert!(world.volumes.placed[&0] == session.content);
    }
}

/// Every blob of the source lies in the copy too.
fn assert_holds(copy: &Blobs, source: &Blobs) {
    let lacking = source
        .iter()
        .filter(|(name, bytes)| copy.get(*name) != Some(*bytes));
    assert_eq!(lacking.count(), 0);
}

#[test]
fn a_first_copying_that_was_killed_leaves_no_archive_or_the_whole_one() {
    let (base, sessions, _) = with_a_small_session();
    let mut tried = std::collections::HashSet::new();
    let (start, run) = (
        || MemoryWorld::new(base.clone(), 10),
        |world: &mut MemoryWorld| copy_to(world, USB),
    );
    let mut seen = [0u32; 2];
    cut_everywhere(start, run, |call, killed| {
        for chance in [call.wrapping_mul(0x9e37_79b9_7f4a_7c15), 0, u64::MAX] {
            let (left, _) = killed.crash(chance);
            let blobs = left.copies.get(USB).cloned().unwrap_or_default();
            if tried.insert(blobs.clone()) && !blobs.is_empty() {
                let mut reader = MemoryWorld::new(elsewhere(&left), 11);
                let request = open_request();
                match admin::open(&mut reader, &request) {
                    Ok(opened) => {
                        assert_eq!((opened.generation, opened.damaged_newest), (2, None));
                        restore_all(&reader.end(), &sessions);
                        seen[1] += 1;
                    }
                    // No slot, or no commit yet.
                    Err(Failure::NotAnArchive | Failure::Missing { .. }) => seen[0] += 1,
                    Err(other) => panic!("call {call}: {other:?}"),
                }
            }
            let mut again = MemoryWorld::new(left, 12);
            copy_to(&mut again, USB).unwrap();
            assert_holds(&again.end().copies[USB], &base.store);
        }
    });
    assert!(seen[0] > 1 && seen[1] > 0, "{seen:?}");
}

#[test]
fn a_copy_whose_disk_is_not_mounted_is_not_made_anew() {
    let (base, ..) = with_a_small_session();
    let (copied, _) = copied(&base, 3);
    for left in [
        BTreeMap::new(),
        BTreeMap::from([(USB.to_owned(), Blobs::new())]),
    ] {
        let mut world = MemoryWorld::new(
            Durable {
                copies: left.clone(),
                ..copied.clone()
            },
            4,
        );
        let failed = copy_to(&mut world, USB).unwrap_err();
        assert_eq!(failed.code(), "copy-gone");
        assert_eq!(world.end().copies, left, "nothing was put there");
        // A person says that the copy is lost.
        let anew = copy::CopyRequest {
            anew: true,
            ..request_to(USB)
        };
        copy::copy(&mut world, &anew).unwrap();
        assert_holds(&world.end().copies[USB], &base.store);
    }
}

#[test]
fn the_archives_own_store_is_no_place_for_a_copy_whatever_its_address() {
    let (base, ..) = with_a_small_session();
    for address in ["memory", "memory-under-another-name"] {
        let mut world = MemoryWorld::new(base.clone(), 3);
        let failed = copy_to(&mut world, address).unwrap_err();
        assert_eq!(failed.code(), "copy-is-source", "{address}");
        // What the probe left is one more copy of the newest commit, which no verify counts as
        // foreign.
        assert_eq!(assert_whole(&world.end(), &[]), 0);
    }
}

#[test]
fn the_place_of_another_archive_or_of_other_files_is_refused() {
    let (base, ..) = with_a_small_session();
    let mut other = MemoryWorld::new(Durable::default(), 77);
    wyng_tests::engine::create(&mut other).unwrap();
    let foreign = Blobs::from([([7; 32], vec![7; 7])]);
    for place in [other.end().store, foreign, made().store] {
        let mut world = MemoryWorld::new(
            Durable {
                copies: BTreeMap::from([(USB.to_owned(), place.clone())]),
                ..base.clone()
            },
            3,
        );
        let result = copy_to(&mut world, USB);
        if place == made().store {
            // This archive's own beginnings, as another program may have copied them.
            assert_eq!(result, Ok(()));
        } else {
            assert_eq!(result.unwrap_err().code(), "copy-of-other");
            assert_eq!(world.end().copies[USB], place, "nothing was put there");
        }
    }
}

#[test]
fn what_a_store_only_claims_to_have_is_read_back_before_it_counts() {
    let (base, ..) = with_a_small_session();
    let mut archive = MemoryWorld::new(base.clone(), 3);
    let mut opened = archive.open_archive("home").unwrap();
    let packs = packs_of(&mut archive.files, &mut opened).unwrap();
    let pack = packs.values().next().unwrap();
    // As another program copied it, with one byte wrong.
    let mut damaged = base.store.clone();
    damaged.get_mut(&pack.name.0).unwrap()[100] ^= 1;
    let durable = Durable {
        copies: BTreeMap::from([(USB.to_owned(), damaged)]),
        ..base.clone()
    };
    let mut world = MemoryWorld::new(durable, 4);
    assert_eq!(
        copy_to(&mut world, USB),
        Err(Failure::ProblemsFound { count: 1 })
    );
    assert_eq!(last_report(&world).generation, 0, "it counts as no copy");
    assert!(world.client.told.iter().any(|event| matches!(
        event,
        ToClient::Problem(problem) if problem.object.starts_with(&hex(&pack.name.0[..4]))
    )));
    // A far end that says of everything that it stored it, and stores nothing.
    let mut world = MemoryWorld::new(base.clone(), 5);
    world.store.drops_puts_from = Some(1);
    let failed = copy_to(&mut world, USB).unwrap_err();
    assert!(matches!(
        failed,
        Failure::ProblemsFound { .. } | Failure::StoreEmpty { .. }
    ));
    assert!(world.end().copies[USB].is_empty());
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_copy_is_not_committed_while_the_archives_own_store_lacks_a_pack() {
    let (base, mut sessions, _) = with_a_small_session();
    let (first, _) = copied(&base, 3);
    let mut grown = grown(&first, 5, &mut sessions);
    let lost = *grown
        .store
        .iter()
        .find(|(name, bytes)| !base.store.contains_key(*name) && bytes.len() > 4096)
        .unwrap()
        .0;
    let pack = grown.store.remove(&lost).unwrap();
    let mut world = MemoryWorld::new(grown.clone(), 6);
    assert_eq!(
        copy_to(&mut world, USB),
        Err(Failure::ProblemsFound { count: 1 })
    );
    let mut other = MemoryWorld::new(elsewhere(&world.end()), 7);
    adopt(&mut other).unwrap();
    assert_whole(&other.end(), &sessions[..1]);
    // Unless the store has it in an older version.
    let mut world = MemoryWorld::new(grown, 6);
    world.store.older.insert(lost, vec![b"junk".to_vec(), pack]);
    assert_eq!(copy_to(&mut world, USB), Ok(()));
    let mut other = MemoryWorld::new(elsewhere(&world.end()), 7);
    adopt(&mut other).unwrap();
    assert_whole(&other.end(), &sessions);
}

#[test]
fn a_commit_that_is_lost_for_good_is_a_problem_until_it_is_acknowledged() {
    let (mut durable, ..) = with_a_small_session();
    for seed in 5..25 {
        durable = grown(&durable, seed, &mut Vec::new());
    }
    let mut world = MemoryWorld::new(durable.clone(), 30);
    let archive = world.open_archive("home").unwrap();
    // None of those whose bytes the ledger keeps.
    assert!(archive.ledger.known(3).is_none());
    durable.store.remove(&archive.credential.commit_name(3).0);
    let mut world = MemoryWorld::new(durable, 31);
    assert_eq!(
        copy_to(&mut world, USB),
        Err(Failure::ProblemsFound { count: 1 })
    );
    let left = world.end();
    assert_holds(&left.copies[USB], &left.store);
    let mut world = MemoryWorld::new(left, 32);
    let mut archive = world.open_archive("home").unwrap();
    assert!(archive.ledger.acknowledged.add_commit(3));
    archive
        .ledger
        .write(&mut world.files, &archive.folder)
        .unwrap();
    let mut world = MemoryWorld::new(world.end(), 33);
    assert_eq!(copy_to(&mut world, USB), Ok(()));
    assert_eq!(last_report(&world).sent_objects, 0);
    // On the way to the commits before it, too.
    assert_eq!(copy_to(&mut world, "copy:other"), Ok(()));
    let left = world.end();
    assert_holds(&left.copies["copy:other"], &left.store);
}

#[test]
fn a_copy_gets_no_commit_of_a_store_that_was_rolled_back() {
    let (base, mut sessions, _) = with_a_small_session();
    let (first, _) = copied(&base, 3);
    let grown = grown(&first, 5, &mut sessions);
    let rolled_back = Durable {
        store: base.store.clone(),
        ..grown
    };
    let mut world = MemoryWorld::new(rolled_back, 6);
    let failed = copy_to(&mut world, USB).unwrap_err();
    assert_eq!(failed.code(), "missing", "{failed:?}");
    assert_eq!(world.end().copies, first.copies, "nothing was put there");
}

#[test]
fn a_promotion_that_was_killed_is_completed_by_the_same_command() {
    let (base, sessions, _) = with_a_small_session();
    let (copied, _) = copied(&base, 3);
    let mut world = MemoryWorld::new(copied, 4);
    let request = admin::OpenRequest {
        store: Some(USB.into()),
        ..open_request()
    };
    admin::open(&mut world, &request).unwrap();
    let opened = world.end();
    let (start, run) = (
        || MemoryWorld::new(opened.clone(), 10),
        |world: &mut MemoryWorld| admin::promote(world, "home", admin::OtherWriter::MayWrite),
    );
    let mut cuts = 0;
    cut_everywhere(start, run, |call, killed| {
        let mut again = MemoryWorld::new(killed.crash(call.wrapping_mul(0x9e37_79b9)).0, 11);
        admin::promote(&mut again, "home", admin::OtherWriter::MayWrite).unwrap();
        let mut writer = MemoryWorld::new(again.end(), 12);
        writer.volumes.sources = vec![noise(20_000, 8)];
        back_up(&mut writer).unwrap();
        restore_all(&writer.end(), &sessions);
        assert_eq!(writer.end().store, base.store, "call {call}");
        cuts += 1;
    });
    assert!(cuts > 4, "{cuts}");
}

#[test]
fn what_was_read_or_found_damaged_in_one_store_counts_for_no_other() {
    let (base, _, _) = with_a_small_session();
    let (mut durable, _) = copied(&base, 3);
    for store in [USB, "memory"] {
        let mut world = MemoryWorld::new(durable, 4);
        let mut archive = world.open_archive("home").unwrap();
        archive.ledger.notes.packs.insert(0, PackNote::Lost);
        archive
            .ledger
            .write(&mut world.files, &archive.folder)
            .unwrap();
        let proof = PackProof {
            read_kept: 1,
            sound_wall: 1,
            ..PackProof::of_pushed(1, None)
        };
        let proofs = Proofs {
            packs: [(0, proof)].into(),
        };
        proofs.write(&mut world.files, &archive.folder).unwrap();
        let request = admin::OpenRequest {
            store: Some(store.into()),
            ..open_request()
        };
        admin::open(&mut world, &request).unwrap();
        let archive = world.open_archive("home").unwrap();
        assert!(archive.ledger.notes.packs.is_empty(), "{store}");
        let proofs = Proofs::read(&mut world.files, &archive.folder).unwrap();
        assert!(
            proofs.packs.values().all(|pack| pack.read_kept == 0),
            "{store}"
        );
        durable = world.end();
    }
}

#[test]
fn a_promotion_takes_nothing_along_that_only_the_lost_store_has() {
    let (base, sessions, _) = with_a_small_session();
    let (copied, _) = copied(&base, 3);
    let source = noise(60_000, 8);
    let with_source = |durable: Durable, seed| {
        let mut world = MemoryWorld::new(durable, seed);
        world.volumes.sources = vec![source.clone()];
        world
    };
    let (mut promoted, mut ahead) = (0, 0);
    let start = || with_source(copied.clone(), 10);
    cut_everywhere(start, back_up, |call, killed| {
        // Everything that was sent has arrived, in the store that is lost now.
        let mut world = MemoryWorld::new(killed.crash(u64::MAX).0, 11);
        let request = admin::OpenRequest {
            store: Some(USB.into()),
            ..open_request()
        };
        if let Err(failure) = admin::open(&mut world, &request) {
            assert_eq!(failure.code(), "rolled-back", "call {call}");
            ahead += 1;
            return;
        }
        let mut world = MemoryWorld::new(world.end(), 12);
        admin::promote(&mut world, "home", admin::OtherWriter::MayWrite).unwrap();
        let mut world = with_source(world.end(), 13);
        back_up(&mut world).unwrap();
        let all = [&sessions[..], &reported(&world)].concat();
        restore_all(&world.end(), &all);
        promoted += 1;
    });
    assert!(promoted > 20, "{promoted} promoted, {ahead} ahead");
}

#[test]
fn only_archive_copy_writes_to_a_copy_until_it_is_promoted() {
    let (base, mut sessions, _) = with_a_small_session();
    let (copied, _) = copied(&base, 3);
    let mut world = MemoryWorld::new(copied.clone(), 4);
    let open = |store: &str| admin::OpenRequest {
        store: Some(store.into()),
        ..open_request()
    };
    assert_eq!(
        admin::promote(&mut world, "home", admin::OtherWriter::MayWrite)
            .unwrap_err()
            .code(),
        "not-a-copy"
    );
    // The archive's own store is gone.
    admin::open(&mut world, &open(USB)).unwrap();
    restore_all(&world.end(), &sessions);
    world.volumes.sources = vec![noise(20_000, 8)];
    let refused = back_up(&mut world).unwrap_err();
    assert_eq!(refused.code(), "is-copy");
    let refused = admin::take_over(&mut world, "home", admin::OtherWriter::MayWrite).unwrap_err();
    assert_eq!(refused.code(), "is-copy");
    assert_eq!(
        world.end().copies,
        copied.copies,
        "nothing was written to it"
    );

    admin::promote(&mut world, "home", admin::OtherWriter::MayWrite).unwrap();
    let mut promoted = MemoryWorld::new(world.end(), 5);
    promoted.volumes.sources = vec![noise(20_000, 8)];
    back_up(&mut promoted).unwrap();
    sessions.extend(reported(&promoted));
    let durable = promoted.end();
    assert_eq!(durable.store, base.store, "the store before got nothing");
    let mut other = MemoryWorld::new(elsewhere(&durable), 6);
    adopt(&mut other).unwrap();
    assert_eq!(assert_whole(&other.end(), &sessions), 0);

    // What comes back is refused as the archive's store, and follows as a copy.
    let mut world = MemoryWorld::new(durable.clone(), 7);
    let refused = admin::open(&mut world, &open("memory")).map(drop);
    assert_eq!(refused.unwrap_err().code(), "rolled-back");
    copy_to(&mut world, "memory").unwrap();
    assert_holds(&world.end().store, &durable.copies[USB]);

    // The machine that wrote before is refused by the store that was promoted.
    let before = Durable {
        copies: durable.copies.clone(),
        ..copied
    };
    let mut world = MemoryWorld::new(before.clone(), 8);
    assert_eq!(copy_to(&mut world, USB).unwrap_err().code(), "copy-ahead");
    let before = grown(&before, 9, &mut Vec::new());
    let before = grown(&before, 10, &mut Vec::new());
    let mut world = MemoryWorld::new(before, 11);
    assert_eq!(
        copy_to(&mut world, USB).unwrap_err().code(),
        "copy-diverged"
    );
    assert_eq!(world.end().copies, durable.copies);
    assert!(!world.store.services.contains(&Service::Prune));
    assert!(USB.starts_with(FURTHER));
}
