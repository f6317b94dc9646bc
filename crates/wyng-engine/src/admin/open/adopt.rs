// SPDX-License-Identifier: GPL-3.0-or-later
//! Makes a state count that was found and compared: its cache is built first, and one write of the
//! ledger is the moment from which it counts.

use wyng_archive::crypto::slot_name;
use wyng_archive::format::Slot;
use wyng_archive::plan::chain_clock::ChainClock;
use wyng_archive::plan::kept_clock::KeptClock;
use wyng_archive::{Class, Fault};
use wyng_control::{Failure, Problem, ToClient, Via, Warning};

use super::head::report_damaged;
use super::view::{View, Wanted, look_below};
use crate::archive::{StoredSlot, read_slot, slot_hash};
use crate::kept::{kept_of_commit, local_clock};
use crate::outcome::{class_of, problem_of};
use crate::state::{
    ArchiveToml, CacheFolder, CopyNote, Journal, KnownCommit, Ledger, Locks, Notes, PackProof,
    Proofs, SpaceNotes, StayingVm, to_hex,
};
use crate::store::{OldCache, rebuild};
use crate::world::{Client, Files, Parts, Place, Random, Secrets, Store, World};

/// The state that was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opened {
    /// Its generation.
    pub generation: u64,
    /// Number of problems that were reported.
    pub problems: u64,
    /// The newest generation, if it is damaged, so that this older one was opened though nobody
    /// asked for it: the archive can then only be read.
    pub damaged_newest: Option<u64>,
}

impl Opened {
    /// The failure with which the command ends, if this is not the newest whole state.
    pub fn failure(&self) -> Option<Failure> {
        match self.damaged_newest {
            Some(generation) => Some(Failure::NewestDamaged {
                generation,
                opened: self.generation,
            }),
            None if self.problems > 0 => Some(Failure::ProblemsFound {
                count: self.problems,
            }),
            None => None,
        }
    }
}

/// Builds the cache of the state in `view`, and makes it count under `name`, with the store at
/// `place`. What was pushed is checked through `verify_via`, or as before.
pub(super) fn adopt<P: Parts>(
    world: &mut World<P>,
    name: &str,
    wanted: Wanted,
    view: View,
    place: &Place,
    verify_via: Option<&Via>,
) -> Result<Opened, Failure> {
    let mut ledger = view.here.ledger.clone();
    let copy = CopyNote::read(&mut world.files, &view.here.folder, &place.url)?.is_some();
    let is_other_store = view
        .here
        .toml
        .as_ref()
        .is_some_and(|known| known.copy != copy || (copy && known.store != place.url));
    let promoting = view.here.toml.as_ref().is_some_and(|known| known.promoting);
    if is_other_store {
        // What is damaged in one store may be whole in the other.
        ledger.notes = Notes::default();
    }
    if is_other_store && promoting {
        ledger.drop_pending();
    }
    // The cache that a ledger names is in use; without a ledger none is.
    let cache = if view.here.toml.is_some() {
        ledger.cache.other()
    } else {
        ledger.cache
    };
    let (mut view, lacking) = build_cache(world, wanted, view, &mut ledger, cache)?;
    let damaged = report_damage(&mut world.client, wanted, &view, &ledger)?;
    let (live, lost_slots) =
        live_slots(&mut world.store, &mut world.client, &mut view, &mut ledger)?;
    world.store.finish_fetch()?;

    let known = view.here.toml.take();
    // What this machine wrote or checked before is still so; a code proves what it did not.
    let unproven = wanted.expected.is_none() && known.as_ref().is_none_or(|known| known.unproven);
    let toml = ArchiveToml {
        copy,
        unproven,
        promoting: promoting && !is_other_store,
        ..toml_at(&mut world.random, known, place, verify_via)?
    };
    view.here
        .folder
        .write_store_credentials(&mut world.files, &place.url, &place.credentials)?;
    write_beside(&mut world.files, &mut world.secrets, &view, &toml, &live)?;
    let (folder, generation) = (view.here.folder.clone(), view.head.found.known.generation);
    let passed_over = view.head.passed_over;
    let next_pack = view.head.found.commit.next_pack();
    let old_cache = ledger.cache;
    let local = local_clock(&mut world.files, &mut world.clock)?;
    let known_head = ledger.head().map(KnownCommit::hash);
    settle(&mut ledger, view, &local);
    ledger.cache = cache;
    ledger.notes.shorten();
    let is_other_head = known_head != ledger.head().map(KnownCommit::hash);
    if is_other_head || is_other_store {
        // The same numbers may be those of other packs now, which nobody has read. In another
        // store, nobody has read the same packs. Files can outlive the ledger that they belong to.
        SpaceNotes::default().write(&mut world.files, &folder)?;
        Proofs::default().write(&mut world.files, &folder)?;
        Locks::forget(&mut world.files, &folder)?;
    }
    if is_other_store && promoting {
        // What the promotion sent lies in the copy alone.
        Journal::of(&folder).begin(&mut world.files, generation, &[], &[], &[])?;
    }
    // From here on the new state counts.
    ledger.write(&mut world.files, &folder)?;
    folder.link(&mut world.files, name)?;
    folder.write_slots(&mut world.files, &live)?;
    let met = PackProof::of_pushed(ledger.chain.now(&local), StayingVm::of(&toml.via));
    Proofs::note_unknown(&mut world.files, &folder, next_pack, met)?;
    if old_cache != cache {
        world.files.remove(&folder.cache(old_cache))?;
    }
    if let (Some(passed), Some(_)) = (passed_over, wanted.before) {
        world.client.tell(ToClient::Warned(Warning::OlderOpened {
            generation,
            newest: passed.newest,
        }))?;
    }
    Ok(Opened {
        generation,
        problems: [damaged, lost_slots]
            .into_iter()
            .fold(lacking, u64::saturating_add),
        damaged_newest: passed_over
            .filter(|_| wanted.before.is_none())
            .map(|passed| passed.newest),
    })
}

/// `archive.toml` with the store at `place`. What is known of a store is known of no other address.
fn toml_at(
    random: &mut impl Random,
    known: Option<ArchiveToml>,
    place: &Place,
    verify_via: Option<&Via>,
) -> Result<ArchiveToml, Failure> {
    let checks = known.as_ref().and_then(|known| known.verify_via.as_ref());
    let verify_via = ArchiveToml::other_far_end(&place.via, verify_via.or(checks));
    let same = known.as_ref().filter(|known| known.store == place.url);
    let abilities = same.map(ArchiveToml::abilities).unwrap_or_default();
    let lock_base = known.as_ref().and_then(|known| known.lock_base);
    let mut toml = ArchiveToml {
        store: place.url.clone(),
        via: place.via.clone(),
        verify_via,
        writer: match known {
            Some(known) => known.writer,
            None => to_hex(&random.draw::<16>()?),
        },
        copy: false,
        promoting: false,
        unproven: false,
        create_only: None,
        durability: None,
        lock_base,
    };
    toml.note_abilities(abilities);
    Ok(toml)
}

/// Builds the cache beside the one in use; returns the state that it is of, and the number of
/// problems that were reported. Where what a sound commit reaches first is not there, the commit
/// before it is tried.
fn build_cache<P: Parts>(
    world: &mut World<P>,
    wanted: Wanted,
    mut view: View,
    ledger: &mut Ledger,
    cache: CacheFolder,
) -> Result<(View, u64), Failure> {
    let known_generation = view.here.known_generation();
    let mut old = OldCache::open(
        &mut world.files,
        &view.credential,
        &view.here.folder,
        ledger,
    );
    loop {
        let (generation, commit) = (
            view.head.found.known.generation,
            view.head.found.commit.clone(),
        );
        let path = view.here.folder.cache(cache);
        match rebuild(
            world,
            &view.credential,
            &path,
            &commit,
            &mut ledger.notes,
            old.as_mut(),
        ) {
            Ok(problems) => return Ok((view, problems)),
            Err(failure @ (Failure::Missing { .. } | Failure::Damaged { .. }))
                if generation > known_generation.max(1) =>
            {
                world.client.tell(ToClient::Problem(problem_of(failure)?))?;
                view = look_below(&mut world.store, &mut world.client, wanted, view)?;
            }
            Err(failure) => return Err(failure),
        }
    }
}

/// Reports commits above and below the head that are damaged, lost or unknown; returns how many of
/// them are problems.
fn report_damage(
    client: &mut impl Client,
    wanted: Wanted,
    view: &View,
    ledger: &Ledger,
) -> Result<u64, Failure> {
    let mut problems = 0u64;
    let generation = view.head.found.known.generation;
    for (damaged, (_, fault)) in &view.head.taken {
        let is_pending = ledger
            .pending()
            .is_some_and(|pending| pending.generation == *damaged);
        if !is_pending {
            report_damaged(client, &view.credential, *damaged, *fault)?;
            problems = problems.saturating_add(u64::from(wanted.before.is_none()));
        }
    }
    for unknown in &view.head.unknown {
        client.tell(ToClient::Problem(Problem {
            object: to_hex(&view.credential.commit_name(*unknown).0),
            class: class_of(Class::Commit),
            problem: format!(
                "the store cannot say whether it is there: if it is, it is newer than generation {generation}"
            ),
            volumes: Vec::new(),
            acknowledged: false,
        }))?;
        problems = problems.saturating_add(1);
    }
    for (lost, free) in &view.lost {
        let fault = if *free == 0 {
            Fault::Missing
        } else {
            Fault::Tag
        };
        report_damaged(client, &view.credential, *lost, fault)?;
        problems = problems.saturating_add(1);
    }
    Ok(problems)
}

/// Writes what does not count before a ledger names it: address, credential, and the slots. The
/// slots of before stay among them, so that whichever ledger a crash leaves finds its own.
fn write_beside(
    files: &mut impl Files,
    secrets: &mut impl Secrets,
    view: &View,
    toml: &ArchiveToml,
    live: &[Slot],
) -> Result<(), Failure> {
    let folder = &view.here.folder;
    folder.write_toml(files, toml)?;
    let unsealed = secrets.sealed_credential(folder.id());
    folder.write_unsealed_credential(files, &view.credential, unsealed)?;
    let all: Vec<Slot> = view
        .here
        .slots
        .iter()
        .filter(|slot| !live.contains(slot))
        .chain(live)
        .cloned()
        .collect();
    folder.write_slots(files, &all)
}

/// The slots that the head lists and that this version can open, from the store or, where the store
/// lost one, from this machine's copies; and how many the store lost, which are reported.
fn live_slots(
    store: &mut impl Store,
    client: &mut impl Client,
    view: &mut View,
    ledger: &mut Ledger,
) -> Result<(Vec<Slot>, u64), Failure> {
    let (mut live, mut problems) = (Vec::new(), 0u64);
    let listed = &view.head.found.commit.slots;
    for wanted in listed.iter().filter(|slot| slot.kind.can_open()) {
        let fits =
            |slot: &&Slot| slot.clear().number == wanted.number && slot_hash(slot) == wanted.hash;
        let found = match &view.slots {
            Some(slots) => slots
                .iter()
                .find(|slot| slot.clear().number == wanted.number)
                .cloned()
                .map_or(StoredSlot::Faulty(Fault::Missing), StoredSlot::Sound),
            None => read_slot(store, wanted.number)?,
        };
        let fault = match found {
            StoredSlot::Sound(slot) if fits(&&slot) => {
                ledger.notes.slots.remove(&wanted.number);
                live.push(slot);
                continue;
            }
            StoredSlot::Sound(_) => Fault::Hash,
            StoredSlot::Faulty(fault) => fault,
        };
        live.extend(view.here.slots.iter().find(fits).cloned());
        ledger.notes.slots.insert(wanted.number);
        client.tell(ToClient::Problem(Problem {
            object: to_hex(&slot_name(wanted.number).0),
            class: class_of(Class::Slot),
            problem: fault.to_string(),
            volumes: Vec::new(),
            acknowledged: false,
        }))?;
        problems = problems.saturating_add(1);
    }
    Ok((live, problems))
}

/// Brings the ledger to the new head. `local` has observed the present.
fn settle(ledger: &mut Ledger, view: View, local: &KeptClock) {
    let generation = view.head.found.known.generation;
    // A pending commit that follows the head and has no rival is kept, with its journal: the next
    // run pushes it. Any other pending commit became part of this history, or lost its place to one
    // that authenticates.
    let is_same_head = ledger
        .head()
        .is_some_and(|known| known.generation == generation);
    let pending = ledger
        .pending()
        .filter(|pending| is_same_head && pending.generation == generation.saturating_add(1))
        .cloned();
    ledger.notes.commits.retain(|noted, _| *noted < generation);
    ledger.notes.commits.extend(view.lost);
    ledger.notes.commits.extend(
        view.head
            .taken
            .into_iter()
            .map(|(taken, (free, _))| (taken, free)),
    );
    ledger.head_copy = view.head.copy;
    ledger.passed_over = view.head.passed_over;
    let now = local.last.wall_secs;
    ledger.opened = view.slot.map(|slot| (slot, now)).or(ledger.opened);
    // The time since another head was made is not credited; the time since this machine adopted
    // the same head was counted.
    if !is_same_head {
        let head_secs = kept_of_commit(&view.head.found.commit);
        ledger.chain = ChainClock::adopt(head_secs, local);
    }
    ledger.adopt(view.head.found.known, view.spine, view.read);
    if let Some(pending) = pending {
        ledger.set_pending(pending);
    }
}
