// SPDX-License-Identifier: GPL-3.0-or-later
//! One copying as a straight line.

use std::collections::HashSet;

use wyng_archive::format::PackEntry;
use wyng_config::without_credentials;
use wyng_control::{CopyReport, Failure, ToClient, Via};
use wyng_wire::{BlobName, Service};

use super::distinct::{Distinct, compare, probe};
use super::history::{Between, SentHistory, send_history};
use super::leaving::{Left, let_go};
use super::needed::Needed;
use super::packs::{Sent, send_packs};
use super::read_back::{Read, read_packs, read_small};
use super::target::{Target, look};
use crate::admin::ask_credentials;
use crate::archive::Archive;
use crate::locking::day_for;
use crate::state::CopyNote;
use crate::store::{History, SoundCommit};
use crate::world::{Client, Clock, OpenStore, Parts, Place, Store, World};

/// What is to be copied, and where to.
pub struct CopyRequest {
    /// The archive's local name.
    pub name: String,
    /// The address of the copy.
    pub store: String,
    /// Its far end; `None`: as the last time, or else local.
    pub via: Option<Via>,
    /// The client has credentials for the copy's store, and is asked for them.
    pub credentials: bool,
    /// The copy that was there is lost for good: an empty place may be filled.
    pub anew: bool,
}

/// Brings a copy up to this machine's head, and reads back what it did not read before. The same
/// command takes up a run that was cut.
pub fn copy<P: Parts>(world: &mut World<P>, request: &CopyRequest) -> Result<(), Failure> {
    let copied = bring_up_to_date(world, request);
    // What the copy's store has and can is not said of the archive's own.
    world.store.take_free_mib();
    world.store.take_abilities();
    copied
}

fn bring_up_to_date<P: Parts>(world: &mut World<P>, request: &CopyRequest) -> Result<(), Failure> {
    let mut archive = Archive::open(&mut world.files, &mut world.secrets, &request.name)?;
    if archive.ledger.stopped {
        return Err(Failure::Stopped);
    }
    let address = without_credentials(&request.store);
    if request.store == archive.toml.store {
        return Err(Failure::CopyIsSource { store: address });
    }
    let mut known = CopyNote::read(&mut world.files, &archive.folder, &request.store)?;
    if let Some(note) = known.as_mut().filter(|_| request.anew) {
        note.received = false;
    }
    let place = place_of(world, request, &archive, known.as_ref())?;
    let needed = Needed::of(&mut world.files, &mut archive)?;
    let target = look(&mut world.store, &archive, &place, known.as_ref(), &needed)?;
    let mut note = known.unwrap_or_else(|| CopyNote::new(&request.store, place.via.clone()));
    note.via = place.via.clone();
    let lacking = lacking(&archive, &needed, &target);
    let unread = unread(&needed, &target, &note);

    archive.connect(&mut world.store, Service::Fetch)?;
    check_history(world, &archive, &target, &address)?;
    let distinct = compare(
        &mut world.store,
        &archive,
        &target,
        lacking.names.into_iter(),
    )?;
    let open = match &target {
        Target::New => OpenStore::New,
        Target::Shown(_) => OpenStore::Existing,
    };
    let place = Place {
        lock_until_day: day_for(world, &mut archive, &place.url)?,
        ..place
    };
    world.store.connect(Service::Push, &place, open)?;
    if let Distinct::Probe(free) = distinct {
        probe(&mut world.store, &archive, free, &address)?;
    }
    note.write(&mut world.files, &archive.folder)?;
    let credentials = &place.credentials;
    CopyNote::write_credentials(&mut world.files, &archive.folder, &place.url, credentials)?;
    let sent = send_packs(world, &lacking.packs, &mut note, &archive.folder)?;
    world.store.finish_fetch()?;

    let to_read: Vec<PackEntry> = unread
        .into_iter()
        .chain(sent.packs.iter().copied())
        .collect();
    let mut read = read_packs_of(world, &archive, &place, &to_read, &mut note)?;
    let mut history = SentHistory::default();
    // A commit counts from its receipt, so everything that it needs must be known to be there.
    if sent.problems == 0 && read.problems == 0 {
        archive.connect(&mut world.store, Service::Fetch)?;
        let between = Between {
            archive: &archive,
            target: &target,
            note: &note,
        };
        history = send_history(world, &between)?;
        world.store.finish_fetch()?;
    }
    world.store.finish_push()?;
    note.received |= !history.unread.is_empty();
    if !history.unread.is_empty() {
        world
            .store
            .connect(Service::Fetch, &place, OpenStore::Existing)?;
        let small = read_small(world, &history.unread, &mut note)?;
        world.store.finish_fetch()?;
        read.bytes = read.bytes.saturating_add(small.bytes);
        read.problems = read.problems.saturating_add(small.problems);
    }
    let mut problems = sent.problems.saturating_add(history.problems);
    problems = problems.saturating_add(read.problems);
    let mut left = Left::default();
    if problems == 0 {
        note.received = true;
        note.generation = needed.generation;
        note.wall_secs = world.clock.wall_secs();
        note.write(&mut world.files, &archive.folder)?;
        left = let_go(world, &mut archive, &place, (&needed, &target), &mut note)?;
        problems = left.problems;
    }
    let leaving = &note.leaving;
    note.read
        .retain(|name| needed.known.contains(name) || leaving.contains_key(name));
    note.write(&mut world.files, &archive.folder)?;
    report(world, &note, (&sent, &history, &read), (&left, problems))
}

/// Reports what was reached.
fn report<P: Parts>(
    world: &mut World<P>,
    note: &CopyNote,
    (sent, history, read): (&Sent, &SentHistory, &Read),
    (left, problems): (&Left, u64),
) -> Result<(), Failure> {
    world.client.tell(ToClient::Copied(CopyReport {
        store: without_credentials(&note.store),
        generation: note.generation,
        sent_objects: (sent.packs.len() as u64).saturating_add(history.blobs),
        sent_bytes: sent.bytes.saturating_add(history.bytes),
        read_bytes: read.bytes,
        deleted_objects: left.deleted,
        waiting_objects: left.waiting,
        deletes_refused: left.refused,
        problems,
    }))?;
    match problems {
        0 => Ok(()),
        count => Err(Failure::ProblemsFound { count }),
    }
}

/// The copy's address, far end and credentials: those of this command, or of the last one.
fn place_of<P: Parts>(
    world: &mut World<P>,
    request: &CopyRequest,
    archive: &Archive,
    known: Option<&CopyNote>,
) -> Result<Place, Failure> {
    let via = request
        .via
        .clone()
        .or_else(|| known.map(|known| known.via.clone()))
        .unwrap_or(Via::Local);
    let url = &request.store;
    let before = CopyNote::read_credentials(&mut world.files, &archive.folder, url)?;
    let credentials = match request.credentials {
        true => ask_credentials(&mut world.secrets, true, url, before.are_signing())?,
        false => before,
    };
    Ok(Place {
        credentials,
        ..Place::open(&request.store, &via)
    })
}

/// What the target does not show.
struct Lacking {
    packs: Vec<PackEntry>,
    /// Names of the packs, and of the head.
    names: Vec<BlobName>,
}

fn lacking(archive: &Archive, needed: &Needed, target: &Target) -> Lacking {
    let is_lacking = |pack: &&PackEntry| !target.has_whole(&pack.name, pack.length_bytes.into());
    let packs: Vec<PackEntry> = needed.packs.iter().filter(is_lacking).copied().collect();
    let head = archive.credential.commit_name(needed.generation);
    let mut names: Vec<BlobName> = packs.iter().map(|pack| pack.name).collect();
    names.retain(|name| !target.has(name));
    names.extend((!target.has(&head)).then_some(head));
    Lacking { packs, names }
}

/// Packs that the target shows and that this machine has not read back.
fn unread(needed: &Needed, target: &Target, note: &CopyNote) -> Vec<PackEntry> {
    let mut seen: HashSet<BlobName> = HashSet::new();
    let is_unread = |pack: &&PackEntry| {
        target.has_whole(&pack.name, pack.length_bytes.into()) && !note.read.contains(&pack.name)
    };
    let packs = needed.packs.iter().filter(is_unread).copied();
    packs.filter(|pack| seen.insert(pack.name)).collect()
}

/// Refuses a target whose newest commit is none of this archive's history. The source is open for
/// reading.
fn check_history<P: Parts>(
    world: &mut World<P>,
    archive: &Archive,
    target: &Target,
    address: &str,
) -> Result<(), Failure> {
    let Target::Shown(shown) = target else {
        return Ok(());
    };
    let (Some(found), Some(known)) = (&shown.newest, archive.ledger.head()) else {
        return Ok(());
    };
    let head = SoundCommit {
        known: known.clone(),
        commit: archive.head.clone(),
    };
    let generation = found.known.generation;
    let mut history = History::from(&archive.credential, &archive.ledger, &head)?;
    match history.hash_of(&mut world.store, &mut world.client, generation)? {
        Some(hash) if hash != found.known.hash() => Err(Failure::CopyDiverged {
            store: address.to_owned(),
            generation,
        }),
        _ => Ok(()),
    }
}

/// Reads packs back by a far end that is started after their receipts.
fn read_packs_of<P: Parts>(
    world: &mut World<P>,
    archive: &Archive,
    place: &Place,
    packs: &[PackEntry],
    note: &mut CopyNote,
) -> Result<Read, Failure> {
    if packs.is_empty() {
        return Ok(Read::default());
    }
    world
        .store
        .connect(Service::Fetch, place, OpenStore::Existing)?;
    let read = read_packs(world, packs, note, &archive.folder)?;
    world.store.finish_fetch()?;
    Ok(read)
}
