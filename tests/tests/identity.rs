// SPDX-License-Identifier: GPL-3.0-or-later
//! An archive is identified by its id, whatever its name on this machine. Opening it keeps what
//! this machine knows, and never discards it. A slot is live because the head lists it. These tests
//! run the engine over a world in memory.

use std::collections::BTreeMap;

use wyng_archive::crypto::{SlotParams, slot_name};
use wyng_archive::format::{Slot, SlotClear, SlotKind, SlotLabel, SlotRef};
use wyng_control::{ExitStatus, Failure, KeySlot, ToClient};
use wyng_engine::pool::Pool;
use wyng_engine::state::ArchiveFolder;
use wyng_engine::store::{commit_change, put_blob};
use wyng_engine::{admin, archive, restore, verify};
use wyng_tests::engine::{
    Reported, adopt, assert_whole, back_up, cut_everywhere, killed_everywhere, made, reported,
    sources, with_a_small_session,
};
use wyng_tests::memory_world::{Durable, MemoryWorld};
use wyng_tests::sandbox::noise;

fn open_as(world: &mut MemoryWorld, name: &str) -> Result<admin::Opened, Failure> {
    let request = admin::OpenRequest {
        credentials: false,
        name: name.into(),
        store: Some("memory".into()),
        via: None,
        verify_via: None,
        expect: None,
        before: None,
    };
    admin::open(world, &request)
}

fn verify(world: &mut MemoryWorld) -> Result<ExitStatus, Failure> {
    let request = verify::VerifyRequest {
        archive: "home".into(),
        volumes: Vec::new(),
        session: None,
        deep: false,
        budget_bytes: None,
    };
    verify::verify(world, &request)
}

/// A world with the state of one machine and another store.
fn with_store(state: &Durable, store: &Durable) -> Durable {
    Durable {
        store: store.store.clone(),
        ..state.clone()
    }
}

/// One backup of this source, in a world of its own.
fn backed_up(durable: &Durable, source: &[u8], seed: u64) -> (Durable, Vec<Reported>) {
    let mut world = MemoryWorld::new(durable.clone(), seed);
    world.volumes.sources = vec![source.to_vec()];
    back_up(&mut world).unwrap();
    (world.end(), reported(&world))
}

/// The small archive after one more session.
fn with_two_sessions() -> (Durable, Durable, Vec<Reported>, Vec<u8>) {
    let (first, mut sessions, mut source) = with_a_small_session();
    source[5000..6000].fill(9);
    let (second, more) = backed_up(&first, &source, 3);
    sessions.extend(more);
    (first, second, sessions, source)
}

#[test]
fn a_known_archive_is_not_opened_under_a_second_name() {
    let (_, now, sessions, _) = with_two_sessions();
    let mut world = MemoryWorld::new(now.clone(), 10);
    let refused = Failure::ArchiveKnown {
        archive: "other".into(),
        known_as: "home".into(),
    };
    assert_eq!(open_as(&mut world, "other"), Err(refused));
    assert_eq!(world.end(), now, "nothing was changed");
    assert_whole(&now, &sessions);
}

#[test]
fn a_store_that_went_back_in_time_is_refused_under_every_name() {
    let (before, now, ..) = with_two_sessions();
    let rolled_back = with_store(&now, &before);
    for name in ["home", "other"] {
        let mut world = MemoryWorld::new(rolled_back.clone(), 10);
        let refused = Failure::RolledBack {
            known_generation: 3,
            shown_generation: 2,
        };
        assert_eq!(open_as(&mut world, name), Err(refused), "as {name}");
        assert_eq!(world.end(), rolled_back);
    }
}

#[test]
fn an_opening_that_was_cut_before_its_name_has_its_ledger_and_can_be_forgotten() {
    let (before, now, ..) = with_two_sessions();
    let mut cut = with_store(&now, &before);
    cut.links.clear();
    let mut world = MemoryWorld::new(cut, 10);
    let refused = Err(Failure::RolledBack {
        known_generation: 3,
        shown_generation: 2,
    });
    assert_eq!(open_as(&mut world, "again"), refused);
    let folder = ArchiveFolder::find(&mut world.files, "again").unwrap();
    folder.forget(&mut world.files, "again").unwrap();
    // A machine that has forgotten what it knew accepts what the store has.
    assert_eq!(open_as(&mut world, "again").unwrap().generation, 2);
}

#[test]
fn forgetting_one_of_two_names_keeps_what_the_other_leads_to() {
    let (_, mut now, sessions, _) = with_two_sessions();
    let id = now.links["archives/home"].clone();
    now.links.insert("archives/second".into(), id);
    let mut world = MemoryWorld::new(now, 10);
    ArchiveFolder::find(&mut world.files, "second")
        .unwrap()
        .forget(&mut world.files, "second")
        .unwrap();
    assert_eq!(ArchiveFolder::names(&mut world.files).unwrap(), ["home"]);
    assert_whole(&world.end(), &sessions);
}

#[test]
fn forgetting_survives_a_kill_at_every_call() {
    let (now, ..) = with_a_small_session();
    let forget = |world: &mut MemoryWorld| {
        ArchiveFolder::find(&mut world.files, "home")
            .and_then(|folder| folder.forget(&mut world.files, "home"))
    };
    cut_everywhere(
        || MemoryWorld::new(now.clone(), 10),
        forget,
        |n, killed| {
            let mut world = MemoryWorld::new(killed.crash(n).0, 20);
            match forget(&mut world) {
                Ok(()) | Err(Failure::UnknownArchive { .. }) => {}
                Err(failure) => panic!("{failure:?} after a kill at call {n}"),
            }
            assert_eq!(
                (world.end().files, world.end().links),
                (BTreeMap::new(), BTreeMap::new()),
                "after a kill at call {n}"
            );
        },
    );
}

/// Opens the archive, killed at every call, and checks the state after the kill before anything
/// repairs it.
fn opening_survives(base: &Durable, sessions: &[Reported], source: &[u8]) {
    let mut states = 0;
    killed_everywhere(base, &[], adopt, |n, survived| {
        states += 1;
        // Whichever state counts, it is complete: no command requires `archive open` again.
        let mut world = MemoryWorld::new(survived.cut.clone(), 30);
        let mut archive = world.open_archive("home").unwrap();
        assert_eq!(
            archive.volumes(&mut world.files).unwrap().len(),
            1,
            "in state {n}"
        );
        for durable in [survived.cut, survived.durable] {
            let mut world = MemoryWorld::new(durable, 40);
            world.volumes.sources = vec![source.to_vec()];
            // This machine may have to catch up, or to become the writer; then it goes on.
            if matches!(
                back_up(&mut world),
                Err(Failure::NotWriter { .. } | Failure::Forked { .. })
            ) {
                world = MemoryWorld::new(world.end(), 41);
                world.volumes.sources = vec![source.to_vec()];
                adopt(&mut world).unwrap();
                admin::take_over(&mut world, "home", admin::OtherWriter::MayWrite).unwrap();
                back_up(&mut world).unwrap();
            }
            assert!(!reported(&world).is_empty(), "in state {n}");
            let all = [sessions, &reported(&world)].concat();
            assert_whole(&world.end(), &all);
        }
    });
    assert!(states > 5, "{states} states");
}

#[test]
fn opening_a_known_archive_survives_a_kill_at_every_call() {
    let (_, now, sessions, source) = with_two_sessions();
    opening_survives(&now, &sessions, &source);
}

#[test]
fn catching_up_with_another_writer_survives_a_kill_at_every_call() {
    let (before, now, mut sessions, mut source) = with_two_sessions();
    let mut world = MemoryWorld::new(
        Durable {
            store: now.store,
            ..Durable::default()
        },
        10,
    );
    adopt(&mut world).unwrap();
    admin::take_over(&mut world, "home", admin::OtherWriter::MayWrite).unwrap();
    source[..2000].fill(3);
    let (theirs, more) = backed_up(&world.end(), &source, 11);
    sessions.extend(more);
    opening_survives(&with_store(&before, &theirs), &sessions, &source);
}

#[test]
fn opening_between_a_cut_run_and_the_next_survives_a_kill_at_every_call() {
    let (_, now, sessions, mut source) = with_two_sessions();
    source[..2000].fill(4);
    let start = || {
        let mut world = MemoryWorld::new(now.clone(), 10);
        world.volumes.sources = vec![source.clone()];
        world
    };
    let mut pending = Vec::new();
    cut_everywhere(start, back_up, |_, killed| {
        for chance in [0, u64::MAX] {
            let (durable, _) = killed.crash(chance);
            let mut world = MemoryWorld::new(durable.clone(), 20);
            if world
                .open_archive("home")
                .unwrap()
                .ledger
                .pending()
                .is_some()
                && !pending.contains(&durable)
            {
                pending.push(durable);
            }
        }
    });
    assert!(
        pending.len() > 1,
        "{} runs were cut with a pending commit",
        pending.len()
    );
    for durable in [pending.first().unwrap(), pending.last().unwrap()] {
        opening_survives(durable, &sessions, &source);
    }
}

#[test]
fn what_was_sent_before_an_opening_at_the_same_head_is_not_sent_again() {
    let base = made();
    let mut world = MemoryWorld::new(base, 10);
    world.volumes.sources = vec![noise(2_000_000, 1)];
    world.kill_at(150);
    assert!(
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| back_up(&mut world))).is_err()
    );
    let (cut, _) = world.crash(0);
    let in_store: u64 = cut.store.values().map(|blob| blob.len() as u64).sum();
    let mut world = MemoryWorld::new(cut, 20);
    adopt(&mut world).unwrap();
    let mut world = MemoryWorld::new(world.end(), 30);
    world.volumes.sources = vec![noise(2_000_000, 1)];
    back_up(&mut world).unwrap();
    assert!(
        world.store.sent_bytes + in_store < 2_400_000,
        "{} bytes on top of {in_store}",
        world.store.sent_bytes
    );
    let sessions = reported(&world);
    assert_whole(&world.end(), &sessions);
}

#[test]
fn a_far_end_that_is_lost_at_any_call_of_an_opening_leaves_this_machine_as_it_was() {
    let (_, now, sessions, source) = with_two_sessions();
    let mut whole = MemoryWorld::new(now.clone(), 10);
    adopt(&mut whole).unwrap();
    let mut lost = 0;
    for call in 1..whole.calls() {
        let mut world = MemoryWorld::new(now.clone(), 10);
        world.store.lose_far_end_at = Some(call);
        if adopt(&mut world) == Ok(()) {
            break;
        }
        lost += 1;
        let mut left = world.end();
        left.files
            .retain(|name, _| !name.contains("/cache.second/"));
        assert_eq!(left, now, "lost at call {call}");
        if call % 40 == 0 {
            let (after, more) = backed_up(&world.end(), &source, 20);
            assert_whole(&after, &[sessions.clone(), more].concat());
        }
    }
    assert!(lost > 20, "{lost} calls");
}

#[test]
fn metadata_that_the_store_lost_is_kept_by_an_opening_and_heals() {
    let (_, now, sessions, source) = with_two_sessions();
    let packs: Vec<[u8; 32]> = now
        .store
        .iter()
        .filter(|(_, bytes)| bytes.len() > 4096)
        .map(|(name, _)| *name)
        .collect();
    assert_eq!(
        packs.len(),
        2,
        "each run has a pack, of chunks and of nodes"
    );
    // The second pack holds the newest nodes of the pack table, which a new machine reads first.
    for lost in packs {
        let mut damaged = now.clone();
        damaged.store.remove(&lost);
        let mut world = MemoryWorld::new(damaged, 10);
        let opened = open_as(&mut world, "home").unwrap();
        assert_eq!(
            (opened.generation, opened.problems, opened.damaged_newest),
            (3, 1, None)
        );
        assert!(
            world
                .client
                .told
                .iter()
                .any(|event| matches!(event, ToClient::Problem(_))),
            "what is missing is told"
        );
        // The source still has what it had at the newest session.
        let (healed, more) = backed_up(&world.end(), &source, 20);
        let newest = [sessions[1].clone(), more[0].clone()];
        let mut world = MemoryWorld::new(healed.clone(), 30);
        let mut archive = world.open_archive("home").unwrap();
        let (_, volume) = archive.volumes(&mut world.files).unwrap().remove(0);
        assert_eq!(
            archive.sessions(&mut world.files, &volume).unwrap().len(),
            3,
            "no session was forgotten"
        );
        for session in newest {
            let only = [session];
            assert_restores(&healed, &only);
        }
    }
}

fn assert_restores(durable: &Durable, sessions: &[Reported]) {
    use wyng_control::SessionChoice;
    for session in sessions {
        let mut world = MemoryWorld::new(durable.clone(), 1000);
        let name = jiff::Timestamp::from_second(session.time)
            .unwrap()
            .to_string();
        let (volumes, session_choice) = (vec![session.volume.clone()], SessionChoice::Prefix(name));
        let origins = wyng_engine::state::Origins::default();
        let request = restore::RestoreRequest {
            archive: "home".into(),
            volumes,
            session: session_choice,
            in_place: false,
            quick: false,
            dry_run: false,
            around_damage: false,
            origins,
        };
        assert_eq!(
            restore::restore(&mut world, &request),
            Ok(ExitStatus::Done),
            "{:?}",
            world.client.told
        );
        assert!(world.volumes.placed[&0] == session.content);
    }
}

#[test]
fn a_slot_that_the_store_lost_is_told_kept_and_pushed_again() {
    let (_, mut now, sessions, source) = with_two_sessions();
    let slot = now.store.remove(&slot_name(0).0).unwrap();
    let mut world = MemoryWorld::new(now, 10);
    assert_eq!(open_as(&mut world, "home").unwrap().problems, 1);
    let (after, more) = backed_up(&world.end(), &source, 20);
    assert_eq!(after.store[&slot_name(0).0], slot);
    assert_whole(&after, &[sessions, more].concat());
}

#[test]
fn an_opening_writes_no_credential_where_the_service_manager_unseals_it() {
    let (_, now, sessions, _) = with_two_sessions();
    let is_credential =
        |name: &String| name.ends_with("/credential") || name.ends_with("/credential.copy");
    let sealed = now
        .files
        .iter()
        .find(|(name, _)| is_credential(name))
        .map(|(_, bytes)| bytes.clone())
        .unwrap();
    let mut sealed_state = now.clone();
    sealed_state.files.retain(|name, _| !is_credential(name));
    let new_machine = Durable {
        store: now.store.clone(),
        ..Durable::default()
    };
    for state in [sealed_state, new_machine.clone()] {
        let mut world = MemoryWorld::new(state, 10);
        world.secrets.sealed = Some(sealed.clone());
        adopt(&mut world).unwrap();
        assert_eq!(
            world
                .end()
                .files
                .keys()
                .filter(|name| is_credential(name))
                .count(),
            0,
            "it lies nowhere in the clear"
        );
    }
    // Where another credential, or none, is unsealed, it is written.
    for other in [Some(vec![7; sealed.len()]), None] {
        let mut world = MemoryWorld::new(new_machine.clone(), 10);
        world.secrets.sealed = other;
        adopt(&mut world).unwrap();
        assert_eq!(
            world
                .end()
                .files
                .keys()
                .filter(|name| is_credential(name))
                .count(),
            2
        );
        assert_whole(&world.end(), &sessions);
    }
}

#[test]
fn an_opening_keeps_since_when_the_store_was_verified() {
    let (_, now, ..) = with_two_sessions();
    let mut world = MemoryWorld::new(now, 10);
    verify(&mut world).unwrap();
    let checked = |world: &MemoryWorld| {
        world
            .end()
            .files
            .iter()
            .find(|(name, _)| name.ends_with("/proofs"))
            .map(|(_, times)| times.clone())
    };
    let before = checked(&world).unwrap();
    let mut world = MemoryWorld::new(world.end(), 20);
    adopt(&mut world).unwrap();
    assert_eq!(checked(&world), Some(before));
}

#[test]
fn a_verify_never_remembers_packs_that_no_commit_has() {
    let mut world = MemoryWorld::new(made(), 2);
    world.volumes.sources = sources();
    back_up(&mut world).unwrap();
    let old = reported(&world);
    let base = world.end();
    // A run is cut after it sent packs, and one that was lost comes back.
    let run = || {
        let mut world = MemoryWorld::new(base.clone(), 10);
        world.volumes.sources = vec![noise(300_000, 8)];
        world
    };
    let mut whole = run();
    back_up(&mut whole).unwrap();
    let mut cut = run();
    cut.kill_at(whole.calls() * 8 / 10);
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| back_up(&mut cut))).is_err());
    let (mut cut, _) = cut.crash(0);
    let sent = cut.store.len() - base.store.len();
    assert!(sent > 1, "{sent} packs were sent");
    let (name, pack) = base
        .store
        .iter()
        .find(|(_, bytes)| bytes.len() > 4096)
        .map(|(name, bytes)| (*name, bytes.clone()))
        .unwrap();
    cut.store.remove(&name);
    let mut world = MemoryWorld::new(cut, 20);
    assert!(matches!(
        verify(&mut world),
        Err(Failure::ProblemsFound { .. })
    ));
    let mut back = world.end();
    back.store.insert(name, pack);
    let mut world = MemoryWorld::new(back, 30);
    assert_eq!(verify(&mut world), Ok(ExitStatus::Done));
    // Then the journal is lost, and other packs get the same numbers.
    let mut lost = world.end();
    for (name, bytes) in &mut lost.files {
        if name.ends_with("/journal") {
            bytes.clear();
        }
    }
    let mut world = MemoryWorld::new(lost, 40);
    world.volumes.sources = vec![noise(300_000, 8)];
    back_up(&mut world).unwrap();
    let sessions = [old, reported(&world)].concat();
    assert_whole(&world.end(), &sessions);
}

/// A slot with any number and cost, made without knowing the passphrase or ROOT.
fn forged(durable: &Durable, number: u8, memory_kib: u32, passes: u32) -> Slot {
    let own = Slot::decode(&durable.store[&slot_name(0).0]).unwrap();
    let clear = SlotClear {
        number,
        memory_kib,
        passes,
        salt: [number; 32],
        ..*own.clear()
    };
    Slot::new(clear, [3; 32], [4; 24], [5; 40], [6; 16])
}

fn add_forged(
    durable: &mut Durable,
    numbers: impl IntoIterator<Item = u8>,
    memory_kib: u32,
    passes: u32,
) {
    for number in numbers {
        let slot = forged(durable, number, memory_kib, passes);
        durable
            .store
            .entry(slot_name(number).0)
            .or_insert_with(|| slot.encode());
    }
}

fn elsewhere(durable: &Durable) -> Durable {
    Durable {
        store: durable.store.clone(),
        ..Durable::default()
    }
}

#[test]
fn forged_slots_under_all_other_names_do_not_hold_up_the_right_one() {
    let (mut now, sessions, _) = with_a_small_session();
    add_forged(&mut now, 1..=255, 1 << 20, 16);
    let mut world = MemoryWorld::new(elsewhere(&now), 10);
    adopt(&mut world).unwrap();
    assert_eq!(world.client.slots_tried(), 1, "the cheapest is tried first");
    assert_whole(&world.end(), &sessions);
}

#[test]
fn among_slots_of_one_cost_the_newest_is_tried_first_and_a_person_can_interrupt() {
    let (mut now, ..) = with_a_small_session();
    add_forged(&mut now, [3, 5, 200], 64 << 10, 3);
    let mut world = MemoryWorld::new(elsewhere(&now), 10);
    adopt(&mut world).unwrap();
    assert_eq!(world.client.slots_tried(), 4);
    let told: Vec<(u64, u64)> = world
        .client
        .progress
        .iter()
        .map(|told| (told.done_bytes, told.total_bytes))
        .take(4)
        .collect();
    assert_eq!(
        told,
        [(0, 4), (1, 4), (2, 4), (3, 4)],
        "the person sees how far it is"
    );
    add_forged(&mut now, 1..=255, 64 << 10, 3);
    let mut world = MemoryWorld::new(elsewhere(&now), 10);
    world.client.cancel_after_slots = Some(2);
    assert_eq!(adopt(&mut world), Err(Failure::Interrupted));
    assert_eq!(world.client.slots_tried(), 2);
}

/// Changes the passphrase; everything else stays.
fn change(durable: &Durable, old: &str, new: &str, seed: u64) -> Durable {
    let mut world = MemoryWorld::new(durable.clone(), seed);
    (world.secrets.passphrase, world.secrets.new_passphrase) = (old.into(), Some(new.into()));
    admin::change(&mut world, "home", &admin::NewSlot::default()).unwrap();
    world.end()
}

#[test]
fn an_old_recovery_key_opens_after_any_number_of_changed_passphrases() {
    let (now, sessions, _) = with_a_small_session();
    let mut world = MemoryWorld::new(now, 10);
    admin::add(
        &mut world,
        "home",
        SlotKind::RecoveryKey,
        &admin::NewSlot::default(),
    )
    .unwrap();
    let recovery = world.secrets.secret.clone().unwrap();
    let mut durable = world.end();
    for number in 0..10_u64 {
        let old = if number == 0 {
            "passphrase".to_owned()
        } else {
            format!("passphrase {number}")
        };
        durable = change(
            &durable,
            &old,
            &format!("passphrase {}", number + 1),
            20 + number,
        );
    }
    assert_eq!(
        (0..=255)
            .filter(|number| durable.store.contains_key(&slot_name(*number).0))
            .count(),
        12
    );
    let mut world = MemoryWorld::new(elsewhere(&durable), 50);
    world.secrets.passphrase = recovery.clone();
    adopt(&mut world).unwrap();
    assert_whole_with(&world.end(), &sessions, "passphrase 10");
    // The machine with the whole state keeps the slot too.
    let mut world = MemoryWorld::new(durable, 60);
    adopt(&mut world).unwrap();
    let mut world = MemoryWorld::new(change(&world.end(), "passphrase 10", "last", 61), 62);
    world.secrets.passphrase = recovery;
    assert!(
        world
            .open_archive("home")
            .unwrap()
            .unlock(&mut world)
            .is_ok()
    );
    // A removed passphrase opens nothing, although its slot still exists.
    let mut world = MemoryWorld::new(elsewhere(&world.end()), 70);
    world.secrets.passphrase = b"passphrase 3".to_vec();
    assert_eq!(adopt(&mut world), Err(Failure::PassphraseRemoved));
    assert!(world.end().files.is_empty());
}

fn assert_whole_with(durable: &Durable, sessions: &[Reported], passphrase: &str) {
    let mut world = MemoryWorld::new(durable.clone(), 900);
    admin::take_over(&mut world, "home", admin::OtherWriter::MayWrite).unwrap();
    assert_whole(
        &change(&world.end(), passphrase, "passphrase", 901),
        sessions,
    );
}

fn add_passphrase(
    durable: &Durable,
    new: &str,
    label: &str,
    seed: u64,
) -> (Result<(), Failure>, MemoryWorld) {
    let mut world = MemoryWorld::new(durable.clone(), seed);
    world.secrets.new_passphrase = Some(new.into());
    let wish = admin::NewSlot {
        label: SlotLabel::new(label),
        ..admin::NewSlot::default()
    };
    (
        admin::add(&mut world, "home", SlotKind::Passphrase, &wish),
        world,
    )
}

fn slots(world: &MemoryWorld) -> Vec<KeySlot> {
    world
        .client
        .told
        .iter()
        .filter_map(|event| {
            if let ToClient::KeySlot(slot) = event {
                Some(slot.clone())
            } else {
                None
            }
        })
        .collect()
}

#[test]
fn a_key_command_passes_over_four_taken_numbers_and_no_more() {
    let (now, ..) = with_a_small_session();
    for (taken, ends) in [(4, Ok(())), (5, Err(Failure::SlotNamesTaken))] {
        let mut durable = now.clone();
        add_forged(&mut durable, 1..=taken, 64 << 10, 3);
        let (ended, world) = add_passphrase(&durable, "second", "", 10);
        assert_eq!(ended, ends, "{taken} numbers are taken");
        let mut world = MemoryWorld::new(world.end(), 20);
        admin::list(&mut world, "home").unwrap();
        let numbers: Vec<u8> = slots(&world).iter().map(|slot| slot.number).collect();
        assert_eq!(numbers, if taken == 4 { vec![0, 5] } else { vec![0] });
    }
}

/// The first state after a kill in which a condition holds.
fn cut_behind(
    start: impl Fn() -> MemoryWorld,
    command: impl Fn(&mut MemoryWorld) -> Result<(), Failure>,
    calls: &[u64],
    holds: impl Fn(&Durable) -> bool,
) -> Durable {
    for n in calls {
        let mut world = start();
        world.kill_at(*n);
        assert!(
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| command(&mut world))).is_err()
        );
        let (durable, _) = world.crash(0);
        if holds(&durable) {
            return durable;
        }
    }
    panic!("no kill leaves it so");
}

#[test]
fn numbers_that_cut_commands_of_this_machine_used_up_are_passed_over_all() {
    let (mut durable, ..) = with_a_small_session();
    for round in 1..=5 {
        let wish = admin::NewSlot::default();
        let add = |world: &mut MemoryWorld| admin::add(world, "home", SlotKind::Passphrase, &wish);
        let start = || {
            let mut world = MemoryWorld::new(durable.clone(), 100 + round);
            world.secrets.new_passphrase = Some(b"second".to_vec());
            world
        };
        let slot = slot_name(u8::try_from(round).unwrap());
        let mut whole = start();
        add(&mut whole).unwrap();
        // Killed between the slot and the commit that would list it.
        durable = cut_behind(start, add, &whole.changing_calls(), |cut| {
            cut.store.contains_key(&slot.0)
        });
    }
    let (ended, world) = add_passphrase(&durable, "second", "", 10);
    assert_eq!(ended, Ok(()));
    assert_eq!(slots(&world).last().unwrap().number, 6);
}

#[test]
fn a_slot_has_a_date_and_a_label_and_the_one_that_opened_is_shown() {
    let (now, ..) = with_a_small_session();
    let (ended, world) = add_passphrase(&now, "second", "laptop", 10);
    assert_eq!(ended, Ok(()));
    let told = slots(&world);
    assert_eq!(
        told.iter()
            .map(|slot| (slot.number, slot.label.as_str(), slot.opens))
            .collect::<Vec<_>>(),
        [(0, "", true), (1, "laptop", false)]
    );
    assert!(told[0].made_time > 0 && told[1].made_time > told[0].made_time);
    // On another machine too, because the sealed commit has them.
    let mut world = MemoryWorld::new(elsewhere(&world.end()), 20);
    world.secrets.passphrase = b"second".to_vec();
    adopt(&mut world).unwrap();
    let mut world = MemoryWorld::new(world.end(), 30);
    admin::list(&mut world, "home").unwrap();
    assert_eq!(
        slots(&world)
            .iter()
            .map(|slot| (slot.label.as_str(), slot.opened_time > 0))
            .collect::<Vec<_>>(),
        [("", false), ("laptop", true)]
    );
    assert!(
        !world
            .end()
            .store
            .values()
            .any(|blob| blob.windows(6).any(|window| window == b"laptop")),
        "the store does not see it"
    );
}

#[test]
fn a_changed_passphrase_keeps_its_label_and_stays_valid_nowhere() {
    let (now, ..) = with_a_small_session();
    let (_, world) = add_passphrase(&now, "second", "laptop", 10);
    let durable = change(&world.end(), "second", "third", 20);
    let mut world = MemoryWorld::new(durable.clone(), 30);
    admin::list(&mut world, "home").unwrap();
    assert_eq!(
        slots(&world)
            .iter()
            .map(|slot| (slot.number, slot.label.as_str()))
            .collect::<Vec<_>>(),
        [(0, ""), (2, "laptop")]
    );
    for (passphrase, opens) in [("passphrase", true), ("second", false), ("third", true)] {
        let mut world = MemoryWorld::new(durable.clone(), 40);
        world.secrets.passphrase = passphrase.into();
        assert_eq!(
            world
                .open_archive("home")
                .unwrap()
                .unlock(&mut world)
                .is_ok(),
            opens,
            "{passphrase}"
        );
    }
}

#[test]
fn a_passphrase_that_a_slot_has_is_not_added_and_nothing_is_changed_into_it() {
    let (now, ..) = with_a_small_session();
    let (_, world) = add_passphrase(&now, "second", "", 10);
    let durable = world.end();
    let (ended, world) = add_passphrase(&durable, "passphrase", "", 20);
    assert_eq!(
        (ended, world.end().store == durable.store),
        (Err(Failure::PassphraseTaken { slot: 0 }), true)
    );
    for (new, slot) in [("second", 1), ("passphrase", 0)] {
        let mut world = MemoryWorld::new(durable.clone(), 30);
        world.secrets.new_passphrase = Some(new.into());
        assert_eq!(
            admin::change(&mut world, "home", &admin::NewSlot::default()),
            Err(Failure::PassphraseTaken { slot })
        );
        assert_eq!(world.end().store, durable.store);
    }
}

/// The archive with a second slot under the passphrase of the first, which no command makes.
fn with_twin_slots() -> Durable {
    let (now, ..) = with_a_small_session();
    let mut world = MemoryWorld::new(now, 10);
    let mut archive = world.open_archive("home").unwrap();
    let mut slots = archive.live_slots(&mut world.files).unwrap();
    let unlocked = archive.unlock_root(&mut world, &slots).unwrap();
    let plan = archive::SlotPlan {
        archive: archive.folder.id(),
        number: 1,
        kind: SlotKind::Passphrase,
        params: SlotParams::LEAST,
    };
    let twin =
        archive::new_slot(&mut world.random, plan, &unlocked.root, &unlocked.password).unwrap();
    put_blob(&mut world.store, slot_name(1), &twin.encode()).unwrap();
    let listed = archive::slot_ref(&twin, 0, SlotLabel::default());
    slots.push(twin);
    archive
        .folder
        .write_slots(&mut world.files, &slots)
        .unwrap();
    let mut pool = Pool::new(0, 0).unwrap();
    commit_change(&mut world, &mut archive, &mut pool, |state| {
        state.slots.push(listed);
        state.next_slot = 2;
    })
    .unwrap();
    world.end()
}

#[test]
fn a_passphrase_that_two_slots_have_is_changed_in_both() {
    let durable = with_twin_slots();
    let mut world = MemoryWorld::new(durable.clone(), 20);
    admin::list(&mut world, "home").unwrap();
    assert_eq!(slots(&world).len(), 2);
    let changed = change(&durable, "passphrase", "new", 30);
    let mut world = MemoryWorld::new(changed, 40);
    assert_eq!(
        world.open_archive("home").unwrap().unlock(&mut world).err(),
        Some(Failure::WrongPassphrase)
    );
    admin::list(&mut world, "home").unwrap();
    assert_eq!(slots(&world).len(), 1);
}

/// The archive with a second slot that a hardware token opens, which no command makes.
fn with_a_token() -> (Durable, Vec<Reported>) {
    let (mut now, sessions, _) = with_a_small_session();
    let mut slot = forged(&now, 1, 64 << 10, 3);
    let clear = SlotClear {
        kind: SlotKind::Token,
        ..*slot.clear()
    };
    slot = Slot::new(clear, [3; 32], [4; 24], [5; 40], [6; 16]);
    let mut blob = slot.encode();
    blob.resize(SlotKind::Token.blob_bytes(), 7);
    let listed = SlotRef {
        hash: *blake3::hash(&blob).as_bytes(),
        ..archive::slot_ref(&slot, 0, SlotLabel::default())
    };
    now.store.insert(slot_name(1).0, blob);
    let mut world = MemoryWorld::new(now, 10);
    let mut archive = world.open_archive("home").unwrap();
    let mut pool = Pool::new(0, 0).unwrap();
    commit_change(&mut world, &mut archive, &mut pool, |state| {
        state.slots.push(listed);
        state.next_slot = 2;
    })
    .unwrap();
    (world.end(), sessions)
}

#[test]
fn a_slot_of_a_hardware_token_is_passed_over_listed_and_can_be_removed() {
    let (durable, sessions) = with_a_token();
    let mut world = MemoryWorld::new(elsewhere(&durable), 20);
    assert_eq!(open_as(&mut world, "home").unwrap().problems, 0);
    assert_eq!(world.client.slots_tried(), 1, "the passphrase's slot alone");
    let mut world = MemoryWorld::new(world.end(), 30);
    assert_eq!(verify(&mut world), Ok(ExitStatus::Done));
    assert_whole(&world.end(), &sessions);

    let (ended, world) = add_passphrase(&durable, "second", "", 40);
    assert_eq!(ended, Ok(()));
    let kinds: Vec<_> = slots(&world).iter().map(|slot| slot.kind).collect();
    use wyng_control::SlotKind::{Passphrase, Token};
    assert_eq!(kinds, [Passphrase, Token, Passphrase]);
    let mut world = MemoryWorld::new(world.end(), 50);
    admin::remove(&mut world, "home", 1).unwrap();
    let numbers: Vec<_> = slots(&world).iter().map(|slot| slot.number).collect();
    assert_eq!(numbers, [0, 2]);
    assert_whole(&world.end(), &sessions);
}

#[test]
fn adding_a_passphrase_survives_a_kill_at_every_call_and_adds_it_once() {
    let (now, sessions, _) = with_a_small_session();
    let add = |world: &mut MemoryWorld| {
        world.secrets.new_passphrase = Some(b"second".to_vec());
        let ended = admin::add(
            world,
            "home",
            SlotKind::Passphrase,
            &admin::NewSlot::default(),
        );
        // Killed between the commit and its report, it was added.
        if ended == Err(Failure::PassphraseTaken { slot: 1 }) {
            Ok(())
        } else {
            ended
        }
    };
    killed_everywhere(&now, &[], add, |n, survived| {
        let mut world = MemoryWorld::new(survived.durable.clone(), 50);
        admin::list(&mut world, "home").unwrap();
        assert_eq!(slots(&world).len(), 2, "in state {n}");
        world.secrets.passphrase = b"second".to_vec();
        assert!(
            world
                .open_archive("home")
                .unwrap()
                .unlock(&mut world)
                .is_ok(),
            "in state {n}"
        );
        if n % 5 == 0 {
            assert_whole(&survived.durable, &sessions);
        }
    });
}
