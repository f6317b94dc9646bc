// SPDX-License-Identifier: GPL-3.0-or-later
//! Adopting an archive, or catching up with it: the one command that rebuilds the local state, and
//! the only one that looks for the newest commit.
//!
//! An archive is its id, whatever it is called here. What this machine knows of that id must be an
//! ancestor of what the store shows, proven by hashes; all else is rollback or fork, and refused.
//! The new cache is built beside the one that is in use, and what only this machine still has goes
//! over into it; one write of the ledger then makes the new state count. Until that, a cut leaves
//! the old one as it was.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use wyng_archive::crypto::{Coder, Credential, Password, slot_name};
use wyng_archive::format::{HeadCode, Slot};
use wyng_archive::{Class, Damage, Fault};
use wyng_control::{Failure, Problem, ToClient, Via, Warning, is_archive_name};
use wyng_wire::Service;

use crate::archive::{
    SlotTrial, damaged_slot, listed, open_commit, read_slot, read_slots, slot_hash, with_passphrase,
};
use crate::outcome::{class_of, damaged, internal, problem_of};
use crate::state::{ArchiveFolder, ArchiveToml, KnownCommit, Ledger, PassedOver, to_hex};
use crate::store::{History, OldCache, SoundCommit, find_newest, read_copies, rebuild};
use crate::world::{Client, Clock, Files, OpenStore, Parts, Random, Secrets, Store, World};

/// So many damaged generations in a row are passed over, and so many above an older one are looked
/// at, to tell whether one of them is sound.
const GENERATIONS_READ_MAX: usize = 64;

/// What is to be opened.
pub struct OpenRequest {
    /// Its local name.
    pub name: String,
    /// Where it is; needed the first time.
    pub store: Option<String>,
    /// The far end; needed the first time where it is not local.
    pub via: Option<Via>,
    /// The code of a recovery sheet: the newest commit must be that one or descend from it.
    pub expect: Option<String>,
    /// The newest sound generation below this one, although newer ones exist.
    pub before: Option<u64>,
}

/// What was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opened {
    /// Its generation.
    pub generation: u64,
    /// Problems that were told.
    pub problems: u64,
    /// The newest generation, which is damaged, so that this older one was opened though nobody
    /// asked for it: it can only be read.
    pub damaged_newest: Option<u64>,
}

impl Opened {
    /// What a person must know of it, if it is not the newest whole state.
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

/// What this machine has of an archive.
struct Here {
    folder: ArchiveFolder,
    /// `None`: the archive is new here.
    toml: Option<ArchiveToml>,
    ledger: Ledger,
    slots: Vec<Slot>,
    /// The name that it has here, if that is not the one it is to be opened under.
    other_name: Option<String>,
}

impl Here {
    /// The archive of a name; `None` if there is none. What is damaged is told, never repaired by
    /// guessing.
    fn of_name(
        files: &mut impl Files,
        secrets: &mut impl Secrets,
        name: &str,
    ) -> Result<Option<(Self, Credential)>, Failure> {
        let folder = match ArchiveFolder::find(files, name) {
            Ok(folder) => folder,
            Err(Failure::UnknownArchive { .. }) => return Ok(None),
            Err(failure) => return Err(failure),
        };
        let (toml, credential) = (
            folder.read_toml(files)?,
            folder.read_credential(files, secrets.sealed_credential(folder.id()))?,
        );
        let (ledger, slots) = (
            Ledger::read(files, &folder)?,
            folder.read_slots(files).unwrap_or_default(),
        );
        Ok(Some((
            Self {
                folder,
                toml: Some(toml),
                ledger,
                slots,
                other_name: None,
            },
            credential,
        )))
    }

    /// What there is of an id. A folder without a name is left by an opening that was cut at its
    /// last step: it gets the name first, so that there is one to forget it by.
    fn of_id(files: &mut impl Files, folder: ArchiveFolder, name: &str) -> Result<Self, Failure> {
        if files.length(&folder.file("ledger"))?.is_none() {
            return Ok(Self {
                folder,
                toml: None,
                ledger: Ledger::default(),
                slots: Vec::new(),
                other_name: None,
            });
        }
        let names = folder.names_of(files)?;
        if names.is_empty() {
            folder.link(files, name)?;
        }
        let other_name = names.into_iter().next();
        let (toml, ledger) = (folder.read_toml(files)?, Ledger::read(files, &folder)?);
        let slots = folder.read_slots(files).unwrap_or_default();
        Ok(Self {
            folder,
            toml: Some(toml),
            ledger,
            slots,
            other_name,
        })
    }

    fn known_generation(&self) -> u64 {
        self.ledger.head().map_or(0, |head| head.generation)
    }
}

/// The state that is to be opened.
struct Head {
    found: SoundCommit,
    copy: u8,
    passed_over: Option<PassedOver>,
    /// Newer generations of which the store cannot say whether they exist.
    unknown: BTreeSet<u64>,
    /// Generations from this one on of which no copy is sound, each with the copy under which the
    /// next commit goes.
    taken: Taken,
}

/// All that is needed to open the archive, but for the cache; nothing of it is written yet.
struct View {
    credential: Arc<Credential>,
    here: Here,
    head: Head,
    /// Hashes below the head, see [`Ledger`].
    spine: Vec<(u64, [u8; 32])>,
    read: Vec<KnownCommit>,
    lost: BTreeMap<u64, u16>,
    gap: Option<u64>,
    /// Slots of the store that were read already.
    slots: Option<Vec<Slot>>,
    /// The slot that gave the credential, if a passphrase was typed.
    slot: Option<u8>,
}

/// Opens an archive, with what there is of it.
pub fn open<P: Parts>(world: &mut World<P>, request: &OpenRequest) -> Result<Opened, Failure> {
    if !is_archive_name(&request.name) {
        return Err(Failure::BadName {
            name: request.name.clone(),
        });
    }
    let expected = request
        .expect
        .as_deref()
        .map(str::parse)
        .transpose()
        .map_err(|_| Failure::CodeMistyped)?;
    let named = Here::of_name(&mut world.files, &mut world.secrets, &request.name)?;
    let (store, via) = address(
        request,
        named.as_ref().and_then(|(here, _)| here.toml.as_ref()),
    )?;
    world
        .store
        .connect(Service::Fetch, &via, &store, OpenStore::Existing)?;
    let view = match named {
        Some((here, credential)) => look(
            &mut world.store,
            &mut world.client,
            request.before,
            expected,
            Arc::new(credential),
            here,
        )?,
        None => by_passphrase(world, request, expected)?,
    };
    if let Some(known_as) = view.here.other_name.clone() {
        return Err(Failure::ArchiveKnown {
            archive: request.name.clone(),
            known_as,
        });
    }
    if let Some(generation) = view.gap {
        if view.slot.is_none() {
            prove_owner(&mut world.secrets, &mut world.client, &view)?;
        }
        world
            .client
            .tell(ToClient::Warned(Warning::HistoryGap { generation }))?;
    }
    adopt(
        world,
        request,
        expected,
        view,
        ArchiveToml {
            store,
            via,
            writer: String::new(),
        },
    )
}

fn address(request: &OpenRequest, known: Option<&ArchiveToml>) -> Result<(String, Via), Failure> {
    let unnamed = || Failure::StoreUnnamed {
        archive: request.name.clone(),
    };
    let store = request
        .store
        .clone()
        .or_else(|| known.map(|known| known.store.clone()))
        .ok_or_else(unnamed)?;
    let via = request
        .via
        .clone()
        .or_else(|| known.map(|known| known.via.clone()))
        .unwrap_or(Via::Local);
    Ok((store, via))
}

/// Finds the archive by what a passphrase opens. A slot counts only if the state that it leads to
/// lists it.
fn by_passphrase<P: Parts>(
    world: &mut World<P>,
    request: &OpenRequest,
    expected: Option<HeadCode>,
) -> Result<View, Failure> {
    let slots = read_slots(&mut world.store, &mut world.client)?;
    if slots.is_empty() {
        return Err(Failure::NotAnArchive);
    }
    with_passphrase(&mut world.secrets, |password| {
        let mut trial = SlotTrial::new(slots.sound.iter().cloned());
        let mut seen: Option<View> = None;
        while let Some((root, slot)) = trial.next(&mut world.client, &password)? {
            let credential = root
                .credential(slot.clear().archive)
                .ok_or_else(|| internal("the data key cannot be derived from the root key"))?;
            let is_same = |view: &View| view.credential.commit_name(1) == credential.commit_name(1);
            let mut view = match seen.take().filter(is_same) {
                Some(view) => view,
                None => {
                    let here = Here::of_id(
                        &mut world.files,
                        ArchiveFolder::of(credential.archive()),
                        &request.name,
                    )?;
                    look(
                        &mut world.store,
                        &mut world.client,
                        request.before,
                        expected,
                        Arc::new(credential),
                        here,
                    )?
                }
            };
            let number = slot.clear().number;
            let is_live = listed(&view.head.found.commit, &slot).is_some();
            if is_live || view.head.passed_over.is_some() {
                accept_slot(&mut world.client, request, &view, is_live, number)?;
                (view.slot, view.slots) = (Some(number), Some(slots.sound.clone()));
                return Ok(view);
            }
            seen = Some(view);
        }
        match (seen, slots.damaged.first()) {
            (Some(_), _) => Err(Failure::PassphraseRemoved),
            // A passphrase cannot be judged by a damaged slot.
            (None, Some((number, fault))) => Err(damaged_slot(*number, *fault)),
            (None, None) => Err(trial.refused()),
        }
    })
}

/// A slot may have been added by a newer commit than the one that is opened. Whoever asks for an
/// older one gets in by it, and hears of it.
fn accept_slot(
    client: &mut impl Client,
    request: &OpenRequest,
    view: &View,
    is_live: bool,
    slot: u8,
) -> Result<(), Failure> {
    let generation = view.head.found.known.generation;
    match (is_live, request.before, view.head.passed_over) {
        (false, Some(_), _) => client.tell(ToClient::Warned(Warning::SlotNotListed {
            slot,
            generation,
        })),
        (false, None, Some(passed)) => Err(Failure::NewestDamaged {
            generation: passed.newest,
            opened: 0,
        }),
        _ => Ok(()),
    }
}

/// Finds the state to open, and compares it with what this machine and the recovery sheet know.
fn look(
    store: &mut impl Store,
    client: &mut impl Client,
    before: Option<u64>,
    expected: Option<HeadCode>,
    credential: Arc<Credential>,
    here: Here,
) -> Result<View, Failure> {
    let known_generation = here.known_generation();
    if before.is_some_and(|before| before <= known_generation.max(1)) {
        return Err(Failure::BeforeKnown { known_generation });
    }
    if let Some(pending) = here
        .ledger
        .pending()
        .filter(|pending| before.is_some_and(|before| before <= pending.generation))
    {
        // A commit of this machine whose receipt was lost is committed all the same.
        let mut coder = Coder::new(0).map_err(|_| Failure::OutOfMemory)?;
        let copies = read_copies(store, &credential, &mut coder, pending.generation)?;
        if copies
            .sound
            .iter()
            .any(|(_, found)| found.known == *pending)
        {
            return Err(Failure::BeforeKnown {
                known_generation: pending.generation,
            });
        }
    }
    let head = choose_head(store, client, &credential, &here.ledger, before)?;
    let generation = head.found.known.generation;
    let mut history = History::from(&credential, &here.ledger, &head.found)?;
    if let Some(known) = here.ledger.head()
        && history
            .hash_of(store, client, known.generation)?
            .is_some_and(|hash| hash != known.hash())
    {
        return Err(Failure::NotDescended { known_generation });
    }
    if let Some(code) = expected {
        let known_generation = code.generation();
        if generation < known_generation {
            return Err(Failure::RolledBack {
                known_generation,
                shown_generation: generation,
            });
        }
        if !history
            .hash_of(store, client, known_generation)?
            .is_some_and(|hash| code.matches(&hash))
        {
            return Err(Failure::NotDescended { known_generation });
        }
    }
    let spine = history.spine(store, client, generation)?;
    let (lost, gap) = (history.lost.clone(), history.gap);
    let read = history.into_read().collect();
    Ok(View {
        credential,
        here,
        head,
        spine,
        read,
        lost,
        gap,
        slots: None,
        slot: None,
    })
}

/// The newest generation of which a copy authenticates, or of which this machine has the bytes;
/// with `below` the newest of those below it.
fn choose_head(
    store: &mut impl Store,
    client: &mut impl Client,
    credential: &Credential,
    ledger: &Ledger,
    below: Option<u64>,
) -> Result<Head, Failure> {
    let known = ledger.head().map_or(0, |head| head.generation);
    let (newest, unknown) = find_newest(store, client, credential, known)?;
    if newest == 0 {
        return Err(whose(store, client, credential, known)?);
    }
    if newest < known {
        return Err(Failure::RolledBack {
            known_generation: known,
            shown_generation: newest,
        });
    }
    let mut coder = Coder::new(0).map_err(|_| Failure::OutOfMemory)?;
    let is_pending = |generation: u64| {
        ledger
            .pending()
            .is_some_and(|pending| pending.generation == generation)
    };
    let top = below.map_or(newest, |below| newest.min(below.saturating_sub(1)));
    let requested = below.is_some();
    let (mut passed_over, mut taken) = newer_than(store, credential, &mut coder, top, newest)?;
    for generation in (known.max(1)..=top).rev().take(GENERATIONS_READ_MAX) {
        if client.cancelled() {
            return Err(Failure::Interrupted);
        }
        let copies = read_copies(store, credential, &mut coder, generation)?;
        let (exists, free, fault) = (copies.exists, copies.free, copies.fault);
        match copies.only() {
            Ok(Some((copy, found))) => {
                return Ok(Head {
                    found,
                    copy,
                    passed_over,
                    unknown,
                    taken,
                });
            }
            Ok(None) => {}
            // Somebody who asks for an older one has been told of the fork.
            Err(Failure::TwoCommits { .. }) if below.is_some() && generation > known => {
                passed_over
                    .get_or_insert(PassedOver {
                        newest: generation,
                        sound: true,
                        requested,
                    })
                    .sound = true;
                continue;
            }
            Err(failure) => return Err(failure),
        }
        if exists {
            taken.insert(generation, (free, fault));
        }
        // This machine's own bytes are as good as a copy. That nothing newer is there was looked
        // at.
        if let Some(own) = ledger
            .head()
            .filter(|own| own.generation == generation)
            .cloned()
        {
            let commit = open_commit(credential, &mut coder, &own)?;
            return Ok(Head {
                found: SoundCommit { known: own, commit },
                copy: 0,
                passed_over,
                unknown,
                taken,
            });
        }
        // The commit that this machine may have sent last, and that did not arrive whole, is no
        // state that anybody has seen.
        if exists && !is_pending(generation) {
            passed_over.get_or_insert(PassedOver {
                newest: generation,
                sound: false,
                requested,
            });
        }
    }
    for (generation, (_, fault)) in &taken {
        tell_damaged(client, credential, *generation, *fault)?;
    }
    Err(Failure::NewestDamaged {
        generation: newest,
        opened: 0,
    })
}

/// Generations whose names are taken by what does not authenticate: the copy under which each goes
/// next, and what is wrong with the first.
type Taken = BTreeMap<u64, (u16, Fault)>;

/// Whether generations exist above `top`, and one of them is sound; and those that are not.
fn newer_than(
    store: &mut impl Store,
    credential: &Credential,
    coder: &mut Coder,
    top: u64,
    newest: u64,
) -> Result<(Option<PassedOver>, Taken), Failure> {
    let mut taken = Taken::new();
    let mut passed_over = (newest > top).then_some(PassedOver {
        newest,
        sound: false,
        requested: true,
    });
    for generation in (top.saturating_add(1)..=newest)
        .rev()
        .take(GENERATIONS_READ_MAX)
    {
        let Some(passed) = passed_over.as_mut().filter(|passed| !passed.sound) else {
            break;
        };
        let copies = read_copies(store, credential, coder, generation)?;
        passed.sound = !copies.sound.is_empty();
        if copies.exists && !passed.sound {
            taken.insert(generation, (copies.free, copies.fault));
        }
    }
    Ok((passed_over, taken))
}

/// Why there is no commit of this archive in the store.
fn whose(
    store: &mut impl Store,
    client: &mut impl Client,
    credential: &Credential,
    known_generation: u64,
) -> Result<Failure, Failure> {
    let slots = read_slots(store, client)?;
    if slots.is_empty() {
        return Ok(Failure::NotAnArchive);
    }
    if !slots.sound.is_empty()
        && slots
            .sound
            .iter()
            .all(|slot| slot.clear().archive != credential.archive())
    {
        return Ok(Failure::OtherArchive);
    }
    Ok(match known_generation {
        0 => damaged(&Damage::new(
            Class::Commit,
            credential.commit_name(1).0,
            Fault::Missing,
        )),
        known_generation => Failure::RolledBack {
            known_generation,
            shown_generation: 0,
        },
    })
}

/// Without a proof by hashes it takes more than the credential, which lies on the disk.
fn prove_owner(
    secrets: &mut impl Secrets,
    client: &mut impl Client,
    view: &View,
) -> Result<(), Failure> {
    let slots = view
        .here
        .slots
        .iter()
        .filter(|slot| listed(&view.head.found.commit, slot).is_some())
        .cloned();
    let slots: Vec<Slot> = slots.collect();
    with_passphrase(secrets, |password: Password| {
        let mut trial = SlotTrial::new(slots.iter().cloned());
        let opened = trial
            .next(client, &password)?
            .and_then(|(root, slot)| root.credential(slot.clear().archive));
        match opened.filter(|opened| opened.commit_name(1) == view.credential.commit_name(1)) {
            Some(_) => Ok(()),
            None => Err(trial.refused()),
        }
    })
}

/// Builds the cache, and makes the new state count.
fn adopt<P: Parts>(
    world: &mut World<P>,
    request: &OpenRequest,
    expected: Option<HeadCode>,
    mut view: View,
    mut toml: ArchiveToml,
) -> Result<Opened, Failure> {
    let known_generation = view.here.known_generation();
    let mut ledger = view.here.ledger.clone();
    // In use is the one that a ledger names; without a ledger none is.
    let cache = if view.here.toml.is_some() {
        ledger.cache.other()
    } else {
        ledger.cache
    };
    let mut old = OldCache::open(
        &mut world.files,
        &view.credential,
        &view.here.folder,
        &ledger,
    );
    let mut problems = loop {
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
            Ok(problems) => break problems,
            // The commit is sound, and what it reaches first is not there: the one before may be
            // whole.
            Err(failure @ (Failure::Missing { .. } | Failure::Damaged { .. }))
                if generation > known_generation.max(1) =>
            {
                world.client.tell(ToClient::Problem(problem_of(failure)?))?;
                view = look_below(&mut world.store, &mut world.client, request, expected, view)?;
            }
            Err(failure) => return Err(failure),
        }
    };
    let generation = view.head.found.known.generation;
    for (damaged, (_, fault)) in &view.head.taken {
        let is_pending = ledger
            .pending()
            .is_some_and(|pending| pending.generation == *damaged);
        if !is_pending {
            tell_damaged(&mut world.client, &view.credential, *damaged, *fault)?;
            problems = problems.saturating_add(u64::from(request.before.is_none()));
        }
    }
    for unknown in &view.head.unknown {
        let object = to_hex(&view.credential.commit_name(*unknown).0);
        let problem = format!(
            "the store cannot say whether it is there: if it is, it is newer than generation {generation}"
        );
        world.client.tell(ToClient::Problem(Problem {
            object,
            class: class_of(Class::Commit),
            problem,
            volumes: Vec::new(),
            acknowledged: false,
        }))?;
        problems = problems.saturating_add(1);
    }
    for (lost, free) in &view.lost {
        tell_damaged(
            &mut world.client,
            &view.credential,
            *lost,
            if *free == 0 {
                Fault::Missing
            } else {
                Fault::Tag
            },
        )?;
        problems = problems.saturating_add(1);
    }
    let (live, slot_problems) =
        live_slots(&mut world.store, &mut world.client, &mut view, &mut ledger)?;
    world.store.finish_fetch()?;

    let folder = view.here.folder.clone();
    toml.writer = match view.here.toml.take() {
        Some(known) => known.writer,
        None => to_hex(&world.random.draw::<16>()?),
    };
    folder.write_toml(&mut world.files, &toml)?;
    let unsealed = world.secrets.sealed_credential(folder.id());
    folder.write_unsealed_credential(&mut world.files, &view.credential, unsealed)?;
    // With those of before: whichever ledger a cut leaves finds its slots here.
    let all: Vec<Slot> = view
        .here
        .slots
        .iter()
        .filter(|slot| !live.contains(slot))
        .chain(&live)
        .cloned()
        .collect();
    folder.write_slots(&mut world.files, &all)?;
    let passed_over = view.head.passed_over;
    let old_cache = ledger.cache;
    settle(&mut ledger, view, world.clock.wall_secs());
    ledger.cache = cache;
    // From here on the new state counts.
    ledger.write(&mut world.files, &folder)?;
    folder.link(&mut world.files, &request.name)?;
    folder.write_slots(&mut world.files, &live)?;
    if old_cache != cache {
        world.files.remove(&folder.cache(old_cache))?;
    }
    if let (Some(passed), Some(_)) = (passed_over, request.before) {
        world.client.tell(ToClient::Warned(Warning::OlderOpened {
            generation,
            newest: passed.newest,
        }))?;
    }
    let damaged_newest = passed_over
        .filter(|_| request.before.is_none())
        .map(|passed| passed.newest);
    Ok(Opened {
        generation,
        problems: problems.saturating_add(slot_problems),
        damaged_newest,
    })
}

/// The same archive below a generation whose commit is sound, and which cannot be used all the
/// same.
fn look_below(
    store: &mut impl Store,
    client: &mut impl Client,
    request: &OpenRequest,
    expected: Option<HeadCode>,
    view: View,
) -> Result<View, Failure> {
    let generation = view.head.found.known.generation;
    let (slots, slot) = (view.slots, view.slot);
    let newest = view
        .head
        .passed_over
        .map_or(generation, |passed| passed.newest);
    let mut below = look(
        store,
        client,
        Some(generation),
        expected,
        view.credential,
        view.here,
    )?;
    below.head.passed_over = Some(PassedOver {
        newest,
        sound: true,
        requested: request.before.is_some(),
    });
    if let Some(number) = slot {
        let is_live = |slot: &Slot| {
            slot.clear().number == number && listed(&below.head.found.commit, slot).is_some()
        };
        accept_slot(
            client,
            request,
            &below,
            slots.iter().flatten().any(is_live),
            number,
        )?;
    }
    Ok(View {
        slots,
        slot,
        ..below
    })
}

/// What the ledger says from now on.
fn settle(ledger: &mut Ledger, view: View, now: i64) {
    let generation = view.head.found.known.generation;
    // A pending commit that follows the head and has no rival is kept, with its journal: the next
    // run pushes it. Any other became part of this history, or lost its place to another that
    // authenticates.
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
    ledger.opened = view.slot.map(|slot| (slot, now)).or(ledger.opened);
    ledger.adopt(view.head.found.known, view.spine, view.read);
    if let Some(pending) = pending {
        ledger.set_pending(pending);
    }
}

/// The slots that the head lists: of the store, or where it lost one this machine's copy. How many
/// the store lost.
fn live_slots(
    store: &mut impl Store,
    client: &mut impl Client,
    view: &mut View,
    ledger: &mut Ledger,
) -> Result<(Vec<Slot>, u64), Failure> {
    let (mut live, mut problems) = (Vec::new(), 0u64);
    for wanted in &view.head.found.commit.slots {
        let fits =
            |slot: &&Slot| slot.clear().number == wanted.number && slot_hash(slot) == wanted.hash;
        let found = match &view.slots {
            Some(slots) => slots
                .iter()
                .find(|slot| slot.clear().number == wanted.number)
                .cloned()
                .ok_or(Fault::Missing),
            None => read_slot(store, wanted.number)?,
        };
        let fault = match found {
            Ok(slot) if fits(&&slot) => {
                ledger.notes.slots.remove(&wanted.number);
                live.push(slot);
                continue;
            }
            Ok(_) => Fault::Hash,
            Err(fault) => fault,
        };
        live.extend(view.here.slots.iter().find(fits).cloned());
        ledger.notes.slots.insert(wanted.number);
        let object = to_hex(&slot_name(wanted.number).0);
        let problem = Problem {
            object,
            class: class_of(Class::Slot),
            problem: fault.to_string(),
            volumes: Vec::new(),
            acknowledged: false,
        };
        client.tell(ToClient::Problem(problem))?;
        problems = problems.saturating_add(1);
    }
    Ok((live, problems))
}

fn tell_damaged(
    client: &mut impl Client,
    credential: &Credential,
    generation: u64,
    fault: Fault,
) -> Result<(), Failure> {
    let object = to_hex(&credential.commit_name(generation).0);
    let problem = Problem {
        object,
        class: class_of(Class::Commit),
        problem: fault.to_string(),
        volumes: Vec::new(),
        acknowledged: false,
    };
    client.tell(ToClient::Problem(problem))
}
