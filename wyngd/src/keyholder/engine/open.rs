// SPDX-License-Identifier: GPL-3.0-or-later
//! Adopting an archive, or catching up with it: the one command that rebuilds the local state, and the only one that looks for the newest
//! commit.
//!
//! What this machine knew before must be an ancestor of what the store shows, proven by hashes; all else is rollback or fork, and refused.

use std::collections::BTreeSet;
use std::sync::Arc;

use wyng_archive::crypto::{Coder, Credential, Password, slot_name};
use wyng_archive::format::{COMMIT_BYTES, Commit, SLOT_BYTES, Slot, skip_of};
use wyng_archive::plan::{GENERATION_MAX, earlier_step, head_probes, next_probe};
use wyng_archive::{BlobName, Class, Damage, Fault};
use wyng_control::{Failure, ObjectClass, Phase, Problem, Progress, ToClient, is_archive_name};
use wyng_wire::Service;

use super::archive::{damaged, internal, is_listed, open_any, open_commit};
use super::load::rebuild;
use crate::keyholder::state::{ArchiveFolder, ArchiveToml, Journal, KnownCommit, Ledger, to_hex};
use crate::keyholder::world::{Found, World};

/// At most so many slots are read: as many as can be live.
const SLOTS_READ_MAX: usize = 8;

/// Maximum number of questions for the newest commit: a hundred find it, and 64 more each commit that a damaged store hides.
const PROBES_MAX: u32 = 4096;

/// Digits of a head's hash on a recovery sheet: 64 bits, which nobody meets by trying.
const CODE_DIGITS: usize = 16;

/// What is to be opened.
pub struct Request {
    /// Its local name.
    pub name: String,
    /// Where it is; needed the first time.
    pub store: Option<String>,
    /// The far end; needed the first time where it is not local.
    pub via: Option<String>,
    /// The code of a recovery sheet: the newest commit must be that one or descend from it.
    pub expect: Option<String>,
}

/// What this machine knows already.
struct Known {
    toml: ArchiveToml,
    credential: Arc<Credential>,
    ledger: Ledger,
}

/// The newest commit of the store, opened, with its bytes.
struct Head {
    commit: Commit,
    known: KnownCommit,
}

/// Opens an archive, with what there is of it; how many of its packs could not be read, and of how many commits behind the newest one that
/// was found the store cannot say whether they exist.
pub fn open<W: World>(world: &mut W, request: &Request) -> Result<u64, Failure> {
    let known = known(world, request)?;
    let (store, via) = address(request, known.as_ref())?;
    world.connect(Service::Fetch, &via, &store, false)?;
    let slots = read_slots(world)?;
    let (credential, opened) = match &known {
        Some(known) => (Arc::clone(&known.credential), None),
        None => unlock(world, &slots).map(|(credential, slot)| (Arc::new(credential), Some(slot)))?,
    };
    let folder = ArchiveFolder::of(credential.archive());
    if slots.iter().flatten().all(|slot| slot.clear().archive != credential.archive()) && !slots.is_empty() {
        return Err(Failure::OtherArchive);
    }
    let mut ledger = known.as_ref().map(|known| known.ledger.clone()).unwrap_or_default();
    let from = ledger.head().map_or(0, |head| head.generation);
    let (head, unknown) = find_head(world, &credential, from)?;
    check_descent(world, &credential, &ledger, &head)?;
    check_expected(world, &credential, request.expect.as_deref(), &head)?;
    let live_slots = live_slots(&head.commit, &slots)?;
    if opened.is_some_and(|number| live_slots.iter().all(|slot| slot.clear().number != number)) {
        return Err(Failure::WrongPassphrase); // it was right once, and was removed
    }
    let spine = spine(world, &credential, &head)?;
    let unread = rebuild(world, &credential, &folder, &head.commit, &mut ledger.notes)?;
    world.finish_fetch()?;

    let writer = match &known {
        Some(known) => known.toml.writer.clone(),
        None => to_hex(&world.draw::<16>()?),
    };
    folder.write_toml(world, &ArchiveToml { store, via, writer })?;
    folder.write_credential(world, &credential)?;
    folder.write_slots(world, &live_slots)?;
    let pending = pending_without_rival(&ledger, &head);
    if pending.is_none() {
        Journal::of(&folder).begin(world, head.commit.generation, &[])?;
    }
    // The ledger last: until it says so, the state before is what counts.
    ledger.adopt(head.known, spine);
    if let Some(pending) = pending {
        ledger.set_pending(pending);
    }
    ledger.write(world, &folder)?;
    folder.link(world, &request.name)?;
    Ok(unread.saturating_add(unknown))
}

/// A pending commit that follows the head and was never seen by the store is kept, with its journal: the next run pushes it.
/// Any other one is dropped, with the journal: it became part of this history, or has lost its place to another.
fn pending_without_rival(ledger: &Ledger, head: &Head) -> Option<KnownCommit> {
    let generation = head.commit.generation;
    let is_same_head = ledger.head().is_some_and(|known| known.generation == generation);
    ledger.pending().filter(|pending| is_same_head && pending.generation == generation.saturating_add(1)).cloned()
}

fn known<W: World>(world: &mut W, request: &Request) -> Result<Option<Known>, Failure> {
    if !is_archive_name(&request.name) {
        return Err(Failure::BadName { name: request.name.clone() });
    }
    let folder = match ArchiveFolder::find(world, &request.name) {
        Ok(folder) => folder,
        Err(Failure::UnknownArchive { .. }) => return Ok(None),
        Err(failure) => return Err(failure),
    };
    let (toml, credential) = (folder.read_toml(world)?, Arc::new(folder.read_credential(world)?));
    let ledger = Ledger::read(world, &folder)?;
    Ok(Some(Known { toml, credential, ledger }))
}

fn address(request: &Request, known: Option<&Known>) -> Result<(String, String), Failure> {
    let bad = || Failure::BadSetting { setting: "the store's address".into(), allowed: "needed the first time: --store URL".into() };
    let store = request.store.clone().or_else(|| known.map(|known| known.toml.store.clone())).ok_or_else(bad)?;
    let via = request.via.clone().or_else(|| known.map(|known| known.toml.via.clone())).unwrap_or_else(|| "local".into());
    Ok((store, via))
}

/// The slots of the store, highest numbers first; `Err` inside for one that is damaged.
fn read_slots<W: World>(world: &mut W) -> Result<Vec<Result<Slot, Fault>>, Failure> {
    let mut slots = Vec::new();
    for number in (0..=u8::MAX).rev() {
        let name = slot_name(number);
        if world.stat(name)? == Found::Nothing {
            continue;
        }
        slots.push(match read_blob(world, name, SLOT_BYTES)? {
            Ok(bytes) => {
                Slot::decode(&bytes).and_then(|slot| if slot.clear().number == number { Ok(slot) } else { Err(Fault::Shape("number")) })
            }
            Err(fault) => Err(fault),
        });
        if slots.len() == SLOTS_READ_MAX {
            break;
        }
    }
    if slots.is_empty() { Err(Failure::NotAnArchive) } else { Ok(slots) }
}

/// The credential, and the number of the slot that gave it.
fn unlock<W: World>(world: &mut W, slots: &[Result<Slot, Fault>]) -> Result<(Credential, u8), Failure> {
    let sound: Vec<Slot> = slots.iter().flatten().cloned().collect();
    let password = Password::new(world.passphrase(false)?).ok_or(Failure::WrongPassphrase)?;
    world.progress(Progress { phase: Phase::Unlocking, volume: None, done_bytes: 0, total_bytes: 0, sent_bytes: 0 });
    let damaged_slot = slots.iter().find_map(|slot| slot.as_ref().err());
    let (root, slot) = match (open_any(&sound, &password), damaged_slot) {
        // A passphrase cannot be judged by a damaged slot.
        (Err(Failure::WrongPassphrase), Some(fault)) => {
            return Err(Failure::Damaged {
                class: ObjectClass::Slot,
                object: "of the store".into(),
                what: fault.to_string(),
                volume: None,
            });
        }
        (opened, _) => opened?,
    };
    root.credential(slot.archive).map(|credential| (credential, slot.number)).ok_or_else(|| internal("the data key"))
}

fn read_blob<W: World>(world: &mut W, name: BlobName, length: usize) -> Result<Result<Vec<u8>, Fault>, Failure> {
    world.request(name, 0, u32::try_from(length).unwrap_or(u32::MAX))?;
    Ok(world.answer()?.or_fault().map(|bytes| bytes.as_ref().to_vec()))
}

fn read_commit<W: World>(world: &mut W, credential: &Credential, generation: u64) -> Result<Head, Failure> {
    let name = credential.commit_name(generation);
    let bytes = read_blob(world, name, COMMIT_BYTES)?.map_err(|fault| damaged(&Damage::new(Class::Commit, name.0, fault)))?;
    let known = KnownCommit { generation, bytes };
    let mut coder = Coder::new(0).map_err(|_| Failure::OutOfMemory)?;
    Ok(Head { commit: open_commit(credential, &mut coder, &known)?, known })
}

/// Doubling, bisecting, then probing 64 more, and going on from any that exists. A store that claims to have every commit is not asked for
/// ever.
fn find_head<W: World>(world: &mut W, credential: &Credential, from: u64) -> Result<(Head, u64), Failure> {
    let mut unknown = BTreeSet::new();
    let mut probes = 0;
    let mut exists = |world: &mut W, generation| -> Result<bool, Failure> {
        probes = u32::saturating_add(probes, 1);
        if probes > PROBES_MAX || generation > GENERATION_MAX {
            return Err(Failure::FarEndProtocol);
        }
        let found = world.stat(credential.commit_name(generation))?;
        if found == Found::Unknown {
            unknown.insert(generation);
        }
        // A name that is taken by something else was perhaps a commit's.
        Ok(matches!(found, Found::Blob { .. } | Found::Foreign))
    };
    let mut newest = from;
    if newest == 0 || !exists(world, newest)? {
        newest = 0;
    }
    let mut absent = None;
    while let Some(probe) = next_probe(newest, absent) {
        if exists(world, probe)? { newest = probe } else { absent = Some(probe) }
    }
    'probing: loop {
        for generation in head_probes(newest) {
            if exists(world, generation)? {
                newest = generation;
                continue 'probing;
            }
        }
        break;
    }
    if newest == 0 {
        let name = credential.commit_name(1);
        return Err(Failure::Missing { class: ObjectClass::Commit, object: to_hex(&name.0), volume: None });
    }
    let head = read_commit(world, credential, newest)?;
    let newer: Vec<u64> = unknown.into_iter().filter(|generation| *generation > newest).collect();
    for generation in &newer {
        world.tell(ToClient::Problem(Problem {
            object: to_hex(&credential.commit_name(*generation).0),
            class: ObjectClass::Commit,
            problem: format!("the store cannot say whether it is there: if it is, it is newer than generation {newest}"),
            volumes: Vec::new(),
            acknowledged: false,
        }))?;
    }
    Ok((head, newer.len() as u64))
}

/// What this machine committed last must be the head or below it, each step proven by a hash.
fn check_descent<W: World>(world: &mut W, credential: &Credential, ledger: &Ledger, head: &Head) -> Result<(), Failure> {
    let Some(known) = ledger.head() else { return Ok(()) };
    if head.commit.generation < known.generation {
        return Err(Failure::RolledBack { known_generation: known.generation, shown_generation: head.commit.generation });
    }
    let found = ancestor_hash(world, credential, head, known.generation)?;
    if found == known.hash() { Ok(()) } else { Err(Failure::NotDescended { known_generation: known.generation }) }
}

/// The hash that the head's history gives commit `goal`.
fn ancestor_hash<W: World>(world: &mut W, credential: &Credential, head: &Head, goal: u64) -> Result<[u8; 32], Failure> {
    let (mut commit, mut hash) = (head.commit.clone(), head.known.hash());
    while let Some(next) = earlier_step(commit.generation, goal) {
        let expected = if next == skip_of(commit.generation) { commit.skip } else { commit.previous };
        let earlier = read_commit(world, credential, next)?;
        hash = earlier.known.hash();
        if hash != expected {
            return Err(damaged(&Damage::new(Class::Commit, credential.commit_name(next).0, Fault::Hash)));
        }
        commit = earlier.commit;
    }
    Ok(hash)
}

/// The recovery sheet's code of a commit: `GENERATION-HASH`, the hash's first 16 hexadecimal digits.
pub fn head_code(head: &KnownCommit) -> String {
    let digits: String = to_hex(&head.hash()).chars().take(CODE_DIGITS).collect();
    format!("{}-{digits}", head.generation)
}

/// The recovery sheet's code is `GENERATION-HASH`, the hash's first 16 hexadecimal digits.
fn check_expected<W: World>(world: &mut W, credential: &Credential, expect: Option<&str>, head: &Head) -> Result<(), Failure> {
    let Some(code) = expect else { return Ok(()) };
    let bad = || Failure::BadSetting { setting: "the recovery sheet's code".into(), allowed: "GENERATION-16 hexadecimal digits".into() };
    let (generation, digits) = code.split_once('-').ok_or_else(bad)?;
    let generation: u64 = generation.parse().map_err(|_| bad())?;
    if digits.len() != CODE_DIGITS || generation == 0 {
        return Err(bad());
    }
    if head.commit.generation < generation {
        return Err(Failure::RolledBack { known_generation: generation, shown_generation: head.commit.generation });
    }
    let found = to_hex(&ancestor_hash(world, credential, head, generation)?);
    if found.starts_with(&digits.to_ascii_lowercase()) { Ok(()) } else { Err(Failure::NotDescended { known_generation: generation }) }
}

/// The slots that the head lists, each with its hash.
fn live_slots(head: &Commit, slots: &[Result<Slot, Fault>]) -> Result<Vec<Slot>, Failure> {
    let live: Vec<Slot> = slots.iter().flatten().filter(|slot| is_listed(head, slot)).cloned().collect();
    if live.is_empty() {
        let name = slot_name(head.slots.first().map_or(0, |slot| slot.number));
        return Err(Failure::Damaged {
            class: ObjectClass::Slot,
            object: to_hex(&name.0),
            what: "no slot is the one that the newest commit lists".into(),
            volume: None,
        });
    }
    Ok(live)
}

/// The hashes that later commits will have to carry: from the head down by its skips.
fn spine<W: World>(world: &mut W, credential: &Credential, head: &Head) -> Result<Vec<(u64, [u8; 32])>, Failure> {
    let (mut below, mut commit) = (Vec::new(), head.commit.clone());
    while skip_of(commit.generation) > 0 {
        let generation = skip_of(commit.generation);
        below.push((generation, commit.skip));
        let earlier = read_commit(world, credential, generation)?;
        if earlier.known.hash() != commit.skip {
            return Err(damaged(&Damage::new(Class::Commit, credential.commit_name(generation).0, Fault::Hash)));
        }
        commit = earlier.commit;
    }
    Ok(below)
}
