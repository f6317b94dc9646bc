// SPDX-License-Identifier: GPL-3.0-or-later
//! Reading what the archive owns and comparing it with its hashes; deep: opening every record too.
//! It changes nothing in the store; what it found is noted, and the next run heals what it can.
//!
//! Integrity *and* completeness: what must be there comes from the authenticated head, never from a
//! listing.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use wyng_archive::crypto::{
    Candidates, Coder, Credential, Domain, DomainId, Id, Kind, RecordKey, SessionKey, slot_name,
};
use wyng_archive::format::{
    COMMIT_BYTES, ContentTree, Directory, KeysTree, Malformed, PackEntry, PackState, RecordKind,
    SLOT_BYTES, SessionEntry, SessionsTree, VolumeEntry, VolumesTree,
};
use wyng_archive::plan::{COPIES_ABSENT, mark};
use wyng_archive::{BlobName, Class, Damage, Fault};
use wyng_control::{
    ExitStatus, Failure, ObjectClass, Phase, Problem, Progress, SessionChoice, ToClient,
    VerifyReport,
};
use wyng_wire::Service;

use super::acknowledge::{forget_what_healed, is_acknowledged, is_list_acknowledged};
use crate::archive::{
    Archive, NodesAtHand, content_root, keys_root, sessions_root, volume_and_session, volumes_root,
};
use crate::cache::{KeysAtHand, Location, Stored};
use crate::outcome::{class_of, problem_of};
use crate::pool::{Pool, Ticket};
use crate::state::{KnownCommit, Notes, PackNote, to_hex};
use crate::store::{
    Keys, Packs, SoundCommit, keys_of, packs_below, packs_of, read_commit, read_copies, read_pack,
    usize_of,
};
use crate::world::{Client, Clock, Files, Parts, Store, World};

/// A pack is read in pieces of this size, so that memory does not grow with packs.
const PIECE_BYTES: u32 = 1 << 20;
/// Pieces asked for ahead.
const PIECES_AHEAD: usize = 4;
/// Deep: packs that are read or being opened have at most so many bytes together, but for one that
/// is longer alone.
const OPENING_MAX_BYTES: u64 = 48 << 20;
/// More than so many packs, and more than one in so many of those that were read, are too many to
/// be believed.
const HELD_MIN_PACKS: usize = 16;
const HELD_SHARE: usize = 10;
/// So many sessions are named with a problem.
const NAMED_MAX: usize = 100;

/// What a verify was asked for.
pub struct VerifyRequest {
    /// The archive's name.
    pub archive: String,
    /// Only what these need; empty: everything that the archive owns.
    pub volumes: Vec<String>,
    /// Only what this session needs.
    pub session: Option<SessionChoice>,
    /// Opens every record too.
    pub deep: bool,
    /// Reads at most so much.
    pub budget_bytes: Option<u64>,
}

/// Checks the store.
pub fn verify<P: Parts>(
    world: &mut World<P>,
    request: &VerifyRequest,
) -> Result<ExitStatus, Failure> {
    let mut archive = Archive::open(&mut world.files, &mut world.secrets, &request.archive)?;
    let (sessions, lists_lost) = chosen_sessions(&mut world.files, &mut archive, request)?;
    let data_key = if request.deep {
        Some(archive.data_key(world)?)
    } else {
        None
    };
    let packs = packs_of(&mut world.files, &mut archive)?;
    let everything = request.volumes.is_empty() && request.session.is_none();
    let needed = if everything {
        packs.keys().copied().collect()
    } else {
        packs_needed(&mut world.files, &mut world.client, &mut archive, &sessions)?
    };
    archive.connect(&mut world.store, Service::Fetch)?;
    let (opener, key_fault) = match data_key {
        Some(data_key) => {
            let Keys { keys, fault } =
                keys_of(&mut world.files, &mut world.client, &mut archive, &data_key)?;
            (
                Some(Opener::new(&mut world.files, &mut archive, keys)?),
                fault,
            )
        }
        None => (None, None),
    };
    let times = CheckTimes::read(&mut world.files, &archive)?;
    let mut check = Check {
        problems: Vec::new(),
        objects_checked: 0,
        read_bytes: 0,
        notes: archive.ledger.notes.clone(),
        returned: Vec::new(),
        copied: BTreeSet::new(),
        unnamed: HashMap::new(),
        read_packs: 0,
        bad_packs: BTreeSet::new(),
        times,
    };
    let read = check.everything(
        world,
        &mut archive,
        request,
        &packs,
        &needed,
        &sessions,
        opener,
        everything,
    );
    // Also what was found before an interruption is noted.
    check.times.write(&mut world.files, &archive)?;
    check.hold_what_is_too_much();
    if check.notes != archive.ledger.notes {
        archive.ledger.notes.take(check.notes);
        archive.ledger.write(&mut world.files, &archive.folder)?;
    }
    let (foreign_objects, listed_whole) = read?;
    // What is held counts as lost only for saying which sessions need it.
    let (lost, held) = (
        archive.ledger.notes.lost_packs(),
        archive.ledger.notes.held_packs(),
    );
    archive
        .cache
        .index
        .set_lost(lost.union(&held).copied().collect());
    let told = tell_problems(
        &mut world.files,
        &mut world.client,
        &mut archive,
        &packs,
        check.problems,
    )?;
    archive.cache.index.set_lost(lost);
    forget_what_healed(&mut world.files, &mut archive)?;
    let (objects_checked, read_bytes) = (check.objects_checked, check.read_bytes);
    // A list may have come back with its pack.
    let mut still_lost = Vec::new();
    for volume in lists_lost {
        if matches!(
            archive.sessions(&mut world.files, &volume),
            Err(Failure::SessionsLost { .. })
        ) {
            still_lost.push(volume);
        }
    }
    let lists = tell_lost_lists(&mut world.client, &archive, &still_lost)?;
    let lost_keys = tell_lost_keys(&mut world.client, &archive)?;
    let key_fault =
        key_fault.filter(|fault| lost_keys == 0 || !matches!(fault, Failure::Missing { .. }));
    let passed_over = tell_passed_over(&mut world.client, &archive)?;
    let problems = [told.new, lists.new, lost_keys, passed_over]
        .into_iter()
        .fold(u64::from(key_fault.is_some()), u64::saturating_add);
    if let Some(fault) = key_fault {
        world.client.tell(ToClient::Problem(problem_of(fault)?))?;
    }
    let acknowledged = told.acknowledged.saturating_add(lists.acknowledged);
    world.client.tell(ToClient::Verified(VerifyReport {
        objects_checked,
        foreign_objects,
        listed_whole,
        read_bytes,
        problems,
        acknowledged,
    }))?;
    match problems {
        0 => Ok(ExitStatus::Done),
        count if held.is_empty() => Err(Failure::ProblemsFound { count }),
        _ => Err(Failure::MuchDamaged {
            packs: held.len() as u64,
        }),
    }
}

type NamedSession = (VolumeEntry, SessionEntry);

/// The sessions that are to be checked, and the volumes of which nobody can say which those are.
fn chosen_sessions(
    files: &mut impl Files,
    archive: &mut Archive,
    request: &VerifyRequest,
) -> Result<(Vec<NamedSession>, Vec<VolumeEntry>), Failure> {
    let volumes = archive.volumes(files)?;
    if let Some(unknown) = request
        .volumes
        .iter()
        .find(|name| volumes.iter().all(|(_, volume)| volume.name != **name))
    {
        return Err(Failure::UnknownVolume {
            volume: unknown.clone(),
        });
    }
    let (mut chosen, mut lists_lost) = (Vec::new(), Vec::new());
    for (_, volume) in volumes {
        if !request.volumes.is_empty() && !request.volumes.contains(&volume.name) {
            continue;
        }
        let sessions = match &request.session {
            None => archive.sessions(files, &volume),
            Some(choice) => archive
                .choose(files, &volume, choice)
                .map(|session| vec![session]),
        };
        match sessions {
            Ok(sessions) => chosen.extend(
                sessions
                    .into_iter()
                    .map(|session| (volume.clone(), session)),
            ),
            Err(Failure::SessionsLost { .. }) => lists_lost.push(volume),
            Err(Failure::UnknownSession { .. }) if request.volumes.is_empty() => {}
            Err(failure) => return Err(failure),
        }
    }
    match &request.session {
        Some(choice) if chosen.is_empty() && lists_lost.is_empty() => Err(Failure::NoSession {
            session: choice.to_string(),
        }),
        _ => Ok((chosen, lists_lost)),
    }
}

/// Names the volumes whose list of sessions is lost.
fn tell_lost_lists(
    client: &mut impl Client,
    archive: &Archive,
    volumes: &[VolumeEntry],
) -> Result<Told, Failure> {
    let mut told = Told {
        new: 0,
        acknowledged: 0,
    };
    for volume in volumes {
        let acknowledged = is_list_acknowledged(archive, volume);
        let count = if acknowledged {
            &mut told.acknowledged
        } else {
            &mut told.new
        };
        *count = count.saturating_add(1);
        let root = sessions_root(volume).child.unwrap_or(Id::ZERO);
        client.tell(ToClient::Problem(Problem {
            object: to_hex(&root.0),
            class: ObjectClass::Node,
            problem: "it holds the list of the sessions, and is missing".into(),
            volumes: vec![volume.name.clone()],
            acknowledged,
        }))?;
    }
    Ok(told)
}

/// Names the newer generation that this machine passed over, until a person has it go on from the
/// older one; how many problems that is.
fn tell_passed_over(client: &mut impl Client, archive: &Archive) -> Result<u64, Failure> {
    let Some(passed) = archive.ledger.passed_over else {
        return Ok(0);
    };
    let opened = archive.head.generation;
    let what = if passed.sound {
        "was passed over"
    } else {
        "is damaged"
    };
    client.tell(ToClient::Problem(Problem {
        object: to_hex(&archive.credential.commit_name(passed.newest).0),
        class: ObjectClass::Commit,
        problem: format!(
            "generation {} {what}, and the archive is open as generation {opened} left it",
            passed.newest
        ),
        volumes: Vec::new(),
        acknowledged: false,
    }))?;
    Ok(1)
}

/// Names the nodes of the key table that are lost, whichever sessions need their keys; how many
/// there are.
fn tell_lost_keys(client: &mut impl Client, archive: &Archive) -> Result<u64, Failure> {
    for id in &archive.lost_keys.nodes {
        client.tell(ToClient::Problem(Problem {
            object: to_hex(&id.0),
            class: ObjectClass::Node,
            problem: "it holds a part of the key table, and is missing".into(),
            volumes: Vec::new(),
            acknowledged: false,
        }))?;
    }
    Ok(archive.lost_keys.nodes.len() as u64)
}

/// The packs in which records of these sessions lie, and the nodes by which they are found and
/// opened.
fn packs_needed(
    files: &mut impl Files,
    client: &mut impl Client,
    archive: &mut Archive,
    sessions: &[NamedSession],
) -> Result<BTreeSet<u64>, Failure> {
    let mut needed = BTreeSet::new();
    packs_below(files, archive, &mut |pack, _| {
        needed.insert(pack);
    })?;
    let mut ids = catalog_nodes(files, archive, sessions)?;
    for (_, session) in sessions {
        if client.cancelled() {
            return Err(Failure::Interrupted);
        }
        ids.extend(reached(files, archive, session)?);
        for id in ids.drain() {
            if let Some(location) = archive.cache.index.find(files, &id)? {
                needed.insert(location.pack);
            }
        }
    }
    Ok(needed)
}

/// The nodes by which these sessions are found and opened: of the volumes, of each volume's
/// sessions, and of the key table.
fn catalog_nodes(
    files: &mut impl Files,
    archive: &mut Archive,
    sessions: &[NamedSession],
) -> Result<HashSet<Id>, Failure> {
    let (volumes, keys) = (volumes_root(&archive.head), keys_root(&archive.head));
    let mut seen = HashSet::new();
    let mut nodes = NodesAtHand(archive.nodes(files));
    mark::<VolumesTree, _, _, _>(
        &volumes,
        &mut nodes,
        &mut |id| seen.insert(*id),
        &mut |_| Ok(()),
    )?;
    mark::<KeysTree, _, _, _>(&keys, &mut nodes, &mut |id| seen.insert(*id), &mut |_| {
        Ok(())
    })?;
    for (volume, _) in sessions {
        mark::<SessionsTree, _, _, _>(
            &sessions_root(volume),
            &mut nodes,
            &mut |id| seen.insert(*id),
            &mut |_| Ok(()),
        )?;
    }
    Ok(seen)
}

/// All nodes and chunks that a session reaches.
fn reached(
    files: &mut impl Files,
    archive: &mut Archive,
    session: &SessionEntry,
) -> Result<HashSet<Id>, Failure> {
    let (mut nodes_seen, mut chunks) = (HashSet::new(), HashSet::new());
    let root = content_root(session);
    mark::<ContentTree, _, _, _>(
        &root,
        &mut NodesAtHand(archive.nodes(files)),
        &mut |id| nodes_seen.insert(*id),
        &mut |id| {
            chunks.insert(*id);
            Ok(())
        },
    )?;
    nodes_seen.extend(chunks);
    Ok(nodes_seen)
}

/// Something wrong, and the number of the pack in which it was found, if in one.
struct Found {
    damage: Damage,
    pack: Option<u64>,
}

/// What is found while reading.
struct Check {
    problems: Vec<Found>,
    objects_checked: u64,
    read_bytes: u64,
    notes: Notes,
    /// Packs that were noted as lost, and are whole.
    returned: Vec<u64>,
    /// Generations whose commit is not sound under its first name.
    copied: BTreeSet<u64>,
    /// Chunks that have their id in no known domain, and their packs. Only for one that a session
    /// reaches is that a fault.
    unnamed: HashMap<Id, u64>,
    /// Packs that were read and did not count as lost before.
    read_packs: usize,
    /// Those of them that are missing or damaged.
    bad_packs: BTreeSet<u64>,
    times: CheckTimes,
}

impl Check {
    /// Reads it all; how many blobs of the store are not the archive's, and whether all of the
    /// store could be listed.
    #[allow(clippy::too_many_arguments)] // the parts of one verify, each borrowed for itself
    fn everything<P: Parts>(
        &mut self,
        world: &mut World<P>,
        archive: &mut Archive,
        request: &VerifyRequest,
        packs: &Packs,
        needed: &BTreeSet<u64>,
        sessions: &[NamedSession],
        opener: Option<Opener>,
        of_archive: bool,
    ) -> Result<(u64, bool), Failure> {
        if of_archive {
            self.slots(&mut world.store, archive)?;
            self.commits(&mut world.store, &mut world.client, archive)?;
        }
        let order = self.times.oldest_first(needed);
        match opener {
            None => self.hash_packs(world, packs, &order, request.budget_bytes)?,
            Some(opener) => {
                self.open_packs(world, archive, packs, &order, opener, request.budget_bytes)?
            }
        }
        self.index_again(&mut world.files, &mut world.store, archive, packs)?;
        // Where a lost pack's directory was never read here, only the sessions know what was in it.
        if request.deep || !self.notes.packs.is_empty() || archive.cache.index.has_lost_keys() {
            self.completeness(
                &mut world.files,
                &mut world.client,
                archive,
                packs,
                sessions,
            )?;
        }
        let foreign = if of_archive {
            self.foreign(&mut world.store, archive, packs)?
        } else {
            (0, true)
        };
        world.store.finish_fetch()?;
        Ok(foreign)
    }

    fn note(&mut self, class: Class, name: BlobName, fault: Fault) {
        self.problems.push(Found {
            damage: Damage::new(class, name.0, fault),
            pack: None,
        });
    }

    /// Notes what was found in a pack, or that it is right.
    fn judge(&mut self, number: u64, pack: &PackEntry, now: i64, damages: Vec<Damage>) {
        let counted_as_lost =
            pack.state == PackState::Lost || self.notes.packs.get(&number) == Some(&PackNote::Lost);
        if !counted_as_lost {
            self.read_packs = self.read_packs.saturating_add(1);
        }
        if !damages.is_empty() {
            if !counted_as_lost {
                self.bad_packs.insert(number);
            }
            self.notes.packs.insert(number, PackNote::Lost);
            self.problems
                .extend(damages.into_iter().map(|damage| Found {
                    damage,
                    pack: Some(number),
                }));
            return;
        }
        self.times.set(number, now);
        let noted = match pack.state {
            PackState::Lost => self.notes.packs.insert(number, PackNote::Sound),
            PackState::Live | PackState::GivenUp(_) => self.notes.packs.remove(&number),
        };
        self.returned
            .extend((noted == Some(PackNote::Lost)).then_some(number));
    }

    /// Notes a pack that is not as long as it was made. What was read of it may be right: the rest
    /// is not the archive's.
    fn judge_length(&mut self, number: u64, pack: &PackEntry) {
        if matches!(pack.state, PackState::GivenUp(_))
            || self.problems.iter().any(|found| found.pack == Some(number))
        {
            return;
        }
        if pack.state != PackState::Lost {
            self.bad_packs.insert(number);
        }
        self.notes.packs.insert(number, PackNote::Lost);
        self.times.0.remove(&number);
        self.problems.push(Found {
            damage: Damage::new(Class::Pack, pack.name.0, Fault::Length),
            pack: Some(number),
        });
    }

    /// If so much of what was read is missing or damaged, or was before and was not read again,
    /// then nothing follows from it by itself: more likely it is another disk, or a store that
    /// lies, and healing would send everything again.
    fn hold_what_is_too_much(&mut self) {
        let bad = self.bad_packs.len();
        let is_much = bad > HELD_MIN_PACKS && bad.saturating_mul(HELD_SHARE) > self.read_packs;
        if is_much || !self.notes.held_packs().is_empty() {
            self.notes.packs.extend(
                self.bad_packs
                    .iter()
                    .map(|number| (*number, PackNote::Held)),
            );
        }
    }

    /// Takes what a pack holds that is whole again into the cache: when that was built, perhaps
    /// nothing of it could be read.
    fn index_again(
        &mut self,
        files: &mut impl Files,
        store: &mut impl Store,
        archive: &mut Archive,
        packs: &Packs,
    ) -> Result<(), Failure> {
        if self.returned.is_empty() {
            return Ok(());
        }
        let mut coder = Coder::new(0).map_err(|_| Failure::OutOfMemory)?;
        archive.reopen_cache(files)?;
        for number in std::mem::take(&mut self.returned) {
            let Some(entry) = packs.get(&number) else {
                continue;
            };
            let (pack, _) = read_pack(store, &archive.credential, &mut coder, number, entry)?;
            archive.cache.add_pack(files, &pack)?;
        }
        archive.save_cache(files)
    }

    fn slots(&mut self, store: &mut impl Store, archive: &Archive) -> Result<(), Failure> {
        for slot in &archive.head.slots {
            let name = slot_name(slot.number);
            match self.read_small(store, name, SLOT_BYTES)? {
                Ok(bytes) if *blake3::hash(bytes.as_ref()).as_bytes() == slot.hash => {
                    self.notes.slots.remove(&slot.number);
                }
                read => {
                    self.notes.slots.insert(slot.number);
                    self.note(Class::Slot, name, read.err().unwrap_or(Fault::Hash));
                }
            }
        }
        Ok(())
    }

    /// From the head down: each commit's hash stands in the one after it. One copy is enough; two
    /// that authenticate and differ are a fork.
    fn commits(
        &mut self,
        store: &mut impl Store,
        client: &mut impl Client,
        archive: &Archive,
    ) -> Result<(), Failure> {
        let mut coder = Coder::new(0).map_err(|_| Failure::OutOfMemory)?;
        let (mut generation, mut expected) = (
            archive.head.generation,
            archive.ledger.head().map(KnownCommit::hash),
        );
        while generation > 0 {
            if client.cancelled() {
                return Err(Failure::Interrupted);
            }
            let name = archive.credential.commit_name(generation);
            let copies = read_commit(
                store,
                &archive.credential,
                &mut coder,
                generation,
                expected.as_ref(),
            )?;
            self.objects_checked = self.objects_checked.saturating_add(1);
            self.read_bytes = self.read_bytes.saturating_add(COMMIT_BYTES as u64);
            let (free, fault, contents) = (copies.free, copies.fault, copies.sound.len());
            if copies.sound.first().is_none_or(|(copy, _)| *copy > 0) {
                self.copied.insert(generation);
            }
            let fits = |found: &SoundCommit| expected.is_none_or(|hash| hash == found.known.hash());
            let found = copies.sound.into_iter().map(|(_, found)| found).find(fits);
            match (&found, contents) {
                (Some(_), 1) => drop(self.notes.commits.remove(&generation)),
                (_, 0) => {
                    self.notes.commits.insert(generation, free);
                    self.note(Class::Commit, name, fault);
                }
                (None, 1) => self.note(Class::Commit, name, Fault::Hash),
                (_, _) => self.note(Class::Commit, name, Fault::Copies),
            }
            generation = generation.saturating_sub(1);
            // Below a damaged commit the hash is known only where this machine kept the bytes; the
            // tag is checked all the same.
            expected = found
                .map(|found| found.commit.previous)
                .or_else(|| archive.ledger.known(generation).map(KnownCommit::hash));
        }
        Ok(())
    }

    /// Reads packs and compares their hashes with their names.
    fn hash_packs<P: Parts>(
        &mut self,
        world: &mut World<P>,
        packs: &Packs,
        order: &[u64],
        budget_bytes: Option<u64>,
    ) -> Result<(), Failure> {
        let (now, total_bytes) = (world.clock.wall_secs(), bytes_of(packs, order));
        for number in order {
            let Some(pack) = packs.get(number) else {
                continue;
            };
            if budget_bytes.is_some_and(|budget| {
                self.read_bytes.saturating_add(pack.length_bytes.into()) > budget
            }) {
                break;
            }
            let fault = self.hash_pack(&mut world.store, pack)?;
            self.judge(
                *number,
                pack,
                now,
                fault
                    .map(|fault| Damage::new(Class::Pack, pack.name.0, fault))
                    .into_iter()
                    .collect(),
            );
            self.pack_done(&mut world.client, total_bytes)?;
        }
        Ok(())
    }

    /// Reads packs whole, some ahead; workers compare their hashes and open their directories and
    /// every record.
    fn open_packs<P: Parts>(
        &mut self,
        world: &mut World<P>,
        archive: &Archive,
        packs: &Packs,
        order: &[u64],
        opener: Opener,
        budget_bytes: Option<u64>,
    ) -> Result<(), Failure> {
        let (now, total_bytes) = (world.clock.wall_secs(), bytes_of(packs, order));
        let mut pool = Pool::for_machine(archive.head.settings.zstd_level)?;
        let opener = Arc::new(opener);
        let mut left = order
            .iter()
            .filter_map(|number| Some((*number, *packs.get(number)?)))
            .peekable();
        let mut asked: VecDeque<(u64, PackEntry)> = VecDeque::new();
        let mut opening: VecDeque<(u64, PackEntry, Ticket<OpenedPack>)> = VecDeque::new();
        let (mut begun_bytes, mut ahead_bytes) = (self.read_bytes, 0u64);
        loop {
            while let Some((number, pack)) = left.next_if(|(_, pack)| {
                let length = u64::from(pack.length_bytes);
                budget_bytes.is_none_or(|budget| begun_bytes.saturating_add(length) <= budget)
                    && (ahead_bytes == 0 || ahead_bytes.saturating_add(length) <= OPENING_MAX_BYTES)
            }) {
                world.store.request(pack.name, 0, pack.length_bytes)?;
                begun_bytes = begun_bytes.saturating_add(pack.length_bytes.into());
                ahead_bytes = ahead_bytes.saturating_add(pack.length_bytes.into());
                asked.push_back((number, pack));
            }
            if opening.len() < pool.width()
                && let Some((number, pack)) = asked.pop_front()
            {
                let fault = match world.store.answer()?.or_fault() {
                    Ok(bytes) => {
                        self.read_bytes = self.read_bytes.saturating_add(pack.length_bytes.into());
                        let opener = Arc::clone(&opener);
                        opening.push_back((
                            number,
                            pack,
                            pool.run(move |coder| opener.pack(coder, &pack, bytes.as_ref()))?,
                        ));
                        continue;
                    }
                    Err(fault) => fault,
                };
                self.judge(
                    number,
                    &pack,
                    now,
                    vec![Damage::new(Class::Pack, pack.name.0, fault)],
                );
                ahead_bytes = ahead_bytes.saturating_sub(pack.length_bytes.into());
                self.pack_done(&mut world.client, total_bytes)?;
                continue;
            }
            let Some((number, pack, ticket)) = opening.pop_front() else {
                return Ok(());
            };
            let opened = ticket.wait()?;
            ahead_bytes = ahead_bytes.saturating_sub(pack.length_bytes.into());
            self.objects_checked = self.objects_checked.saturating_add(opened.records);
            self.unnamed
                .extend(opened.unnamed.into_iter().map(|id| (id, number)));
            self.judge(number, &pack, now, opened.damages);
            self.pack_done(&mut world.client, total_bytes)?;
        }
    }

    fn pack_done(&mut self, client: &mut impl Client, total_bytes: u64) -> Result<(), Failure> {
        self.objects_checked = self.objects_checked.saturating_add(1);
        client.progress(Progress {
            phase: Phase::Verifying,
            volume: None,
            done_bytes: self.read_bytes,
            total_bytes,
            sent_bytes: 0,
        });
        if client.cancelled() {
            Err(Failure::Interrupted)
        } else {
            Ok(())
        }
    }

    /// Reads a pack in pieces and compares its hash with its name.
    fn hash_pack(
        &mut self,
        store: &mut impl Store,
        pack: &PackEntry,
    ) -> Result<Option<Fault>, Failure> {
        let mut hasher = blake3::Hasher::new();
        let (mut asked_bytes, mut asked, mut fault) = (0u32, 0usize, None);
        loop {
            while asked < PIECES_AHEAD && asked_bytes < pack.length_bytes {
                let length = PIECE_BYTES.min(pack.length_bytes.saturating_sub(asked_bytes));
                store.request(pack.name, asked_bytes, length)?;
                asked_bytes = asked_bytes.saturating_add(length);
                asked = asked.saturating_add(1);
            }
            if asked == 0 {
                break;
            }
            asked = asked.saturating_sub(1);
            match store.answer()?.or_fault() {
                Ok(bytes) => {
                    self.read_bytes = self.read_bytes.saturating_add(bytes.as_ref().len() as u64);
                    hasher.update(bytes.as_ref());
                }
                // A pack that vanishes while it is read is missing.
                Err(Fault::Missing) => fault = Some(Fault::Missing),
                Err(found) => fault = fault.or(Some(found)),
            }
        }
        let same = hasher.finalize() == blake3::Hash::from_bytes(pack.name.0);
        Ok(fault.or((!same).then_some(Fault::Hash)))
    }

    /// Does every chunk and node of every session lie in a pack that the archive has?
    fn completeness(
        &mut self,
        files: &mut impl Files,
        client: &mut impl Client,
        archive: &mut Archive,
        packs: &Packs,
        sessions: &[NamedSession],
    ) -> Result<(), Failure> {
        let (mut seen, mut seen_chunks, mut unopenable) =
            (HashSet::new(), HashSet::new(), BTreeSet::new());
        for (_, session) in sessions {
            if client.cancelled() {
                return Err(Failure::Interrupted);
            }
            let (mut nodes, mut chunks) = (Vec::new(), Vec::new());
            let mut at_hand = NodesAtHand(archive.nodes(files));
            let mut first = |id: &Id| {
                let is_first = seen.insert(*id);
                nodes.extend(is_first.then_some(*id));
                is_first
            };
            mark::<ContentTree, _, _, _>(
                &content_root(session),
                &mut at_hand,
                &mut first,
                &mut |id| {
                    chunks.extend(seen_chunks.insert(*id).then_some(*id));
                    Ok(())
                },
            )?;
            let nodes = nodes.into_iter().map(|id| (Class::Node, id));
            for (class, id) in nodes.chain(chunks.into_iter().map(|id| (Class::Record, id))) {
                let location = archive.cache.index.find(files, &id)?;
                match location.and_then(|location| Some((location, packs.get(&location.pack)?))) {
                    None => self.note(class, BlobName(id.0), Fault::Missing),
                    Some((location, pack)) if self.is_under_lost_key(archive, &location) => {
                        unopenable.insert(pack.name);
                    }
                    Some(_) => {}
                }
                // The domain of a session is known, so its chunks have their ids in it.
                if let Some(pack) = self.unnamed.remove(&id) {
                    self.notes.packs.insert(pack, PackNote::Lost);
                    self.bad_packs.insert(pack);
                    self.times.0.remove(&pack);
                    self.problems.push(Found {
                        damage: Damage::new(Class::Record, id.0, Fault::Id),
                        pack: Some(pack),
                    });
                }
            }
        }
        for pack in unopenable {
            self.note(
                Class::Pack,
                pack,
                Fault::Shape("the session key of records in it is lost"),
            );
        }
        Ok(())
    }

    /// Is it a chunk in a pack that is whole, under a session key that is lost? A pack that is not
    /// is a problem of its own.
    fn is_under_lost_key(&self, archive: &Archive, location: &Location) -> bool {
        let key_lost = matches!(location.stored, Stored::Chunk { key } if archive.cache.index.is_key_lost(key));
        key_lost && self.notes.packs.get(&location.pack) != Some(&PackNote::Lost)
    }

    /// Blobs in the store that this archive never named, and whether all of the store could be
    /// listed. They are counted, never read: another machine's, a crash's, or somebody's. Slots
    /// that were removed stay in the store, and what a cut run sent is this machine's. Only further
    /// copies of a sound commit are read: two contents of one generation are a fork, which a
    /// listing brings to light.
    fn foreign(
        &mut self,
        store: &mut impl Store,
        archive: &Archive,
        packs: &Packs,
    ) -> Result<(u64, bool), Failure> {
        let mut owned: HashSet<BlobName> = packs
            .values()
            .chain(archive.uncommitted.packs.iter().map(|(_, pack)| pack))
            .map(|pack| pack.name)
            .collect();
        owned.extend(
            (0..=u8::MAX)
                .take_while(|number| u16::from(*number) < archive.head.next_slot)
                .map(slot_name),
        );
        let newest = archive
            .ledger
            .pending()
            .map_or(archive.head.generation, |pending| pending.generation);
        let lengths: HashMap<BlobName, (u64, PackEntry)> = packs
            .iter()
            .map(|(number, pack)| (pack.name, (*number, *pack)))
            .collect();
        let (mut further, mut too_long) = (HashMap::new(), Vec::new());
        for generation in 1..=newest {
            owned.insert(archive.credential.commit_name(generation));
            let name = |copy| archive.credential.commit_copy_name(generation, copy);
            if self.copied.contains(&generation) || generation > archive.head.generation {
                owned.extend((1..=u8::MAX).map(name));
            } else {
                further.extend((1..COPIES_ABSENT).map(|copy| (name(copy), generation)));
            }
        }
        let (mut foreign, mut copied) = (0u64, BTreeSet::new());
        let listed_whole = store.list(&mut |name, length_bytes| {
            if let Some((number, pack)) = lengths
                .get(&name)
                .filter(|(_, pack)| u64::from(pack.length_bytes) != length_bytes)
            {
                too_long.push((*number, *pack));
            }
            match further.get(&name) {
                Some(generation) => drop(copied.insert(*generation)),
                None => foreign = foreign.saturating_add(u64::from(!owned.contains(&name))),
            }
        })?;
        too_long
            .iter()
            .for_each(|(number, pack)| self.judge_length(*number, pack));
        let mut coder = Coder::new(0).map_err(|_| Failure::OutOfMemory)?;
        for generation in copied {
            if read_copies(store, &archive.credential, &mut coder, generation)?
                .sound
                .len()
                > 1
            {
                self.note(
                    Class::Commit,
                    archive.credential.commit_name(generation),
                    Fault::Copies,
                );
            }
        }
        Ok((foreign, listed_whole))
    }

    fn read_small<S: Store>(
        &mut self,
        store: &mut S,
        name: BlobName,
        length: usize,
    ) -> Result<Result<S::Bytes, Fault>, Failure> {
        self.objects_checked = self.objects_checked.saturating_add(1);
        store.request(name, 0, u32::try_from(length).unwrap_or(u32::MAX))?;
        let answer = store.answer()?.or_fault();
        if answer.is_ok() {
            self.read_bytes = self.read_bytes.saturating_add(length as u64);
        }
        Ok(answer)
    }
}

fn bytes_of(packs: &Packs, order: &[u64]) -> u64 {
    order
        .iter()
        .filter_map(|number| packs.get(number))
        .fold(0, |sum: u64, pack| {
            sum.saturating_add(pack.length_bytes.into())
        })
}

/// Opens directories and records with all keys of the archive.
struct Opener {
    credential: Arc<Credential>,
    keys: HashMap<u32, SessionKey>,
    /// Which keys the table has.
    table: KeysAtHand,
    /// All that the archive knows of: a pack may hold chunks of any volume, whichever was asked
    /// for.
    domains: Vec<Domain>,
    /// The one that fitted last is tried first: a pack's chunks are mostly of one volume.
    fitted: AtomicUsize,
}

/// What was found in one pack.
struct OpenedPack {
    damages: Vec<Damage>,
    /// Chunks whose tag is right, and whose id is that of no known domain.
    unnamed: Vec<Id>,
    records: u64,
}

impl Opener {
    fn new(
        files: &mut impl Files,
        archive: &mut Archive,
        keys: HashMap<u32, SessionKey>,
    ) -> Result<Self, Failure> {
        // Of a volume that a cut run began there is no session, and perhaps a pack.
        let mut ids: BTreeSet<DomainId> = archive
            .unfinished
            .iter()
            .map(|begun| begun.domain)
            .collect();
        for (_, volume) in archive.volumes(files)? {
            ids.insert(volume.domain);
            ids.extend(
                archive
                    .sessions_at_hand(files, &volume)?
                    .iter()
                    .map(|session| session.domain),
            );
        }
        let domains = ids
            .into_iter()
            .map(|id| archive.credential.domain(id))
            .collect();
        let table = archive.cache.index.keys().clone();
        Ok(Self {
            credential: Arc::clone(&archive.credential),
            keys,
            table,
            domains,
            fitted: AtomicUsize::new(0),
        })
    }

    /// Compares a whole pack with its name, and opens its directory and every record.
    fn pack(&self, coder: &mut Coder, pack: &PackEntry, bytes: &[u8]) -> OpenedPack {
        let mut opened = OpenedPack {
            damages: Vec::new(),
            unnamed: Vec::new(),
            records: 0,
        };
        if blake3::hash(bytes) != blake3::Hash::from_bytes(pack.name.0) {
            opened
                .damages
                .push(Damage::new(Class::Pack, pack.name.0, Fault::Hash));
        }
        let mut plain = Vec::new();
        let entries = match self.directory(coder, pack, bytes, &mut plain) {
            Ok(directory) => directory.entries,
            Err(damage) => {
                opened.damages.push(damage);
                return opened;
            }
        };
        for entry in entries {
            let begin = usize_of(entry.offset_bytes);
            let record = bytes
                .get(begin..begin.saturating_add(usize_of(entry.length_bytes)))
                .unwrap_or_default();
            match self.record(coder, entry.kind, &entry.id, record, &mut plain) {
                Ok(true) => {}
                Ok(false) => opened.unnamed.push(entry.id),
                Err(damage) => opened.damages.push(damage),
            }
            opened.records = opened.records.saturating_add(1);
        }
        opened
    }

    fn directory(
        &self,
        coder: &mut Coder,
        pack: &PackEntry,
        bytes: &[u8],
        plain: &mut Vec<u8>,
    ) -> Result<Directory, Damage> {
        let refuse = |fault| Damage::new(Class::Directory, pack.directory.0, fault);
        let begin = usize_of(pack.directory_offset_bytes);
        let record = bytes
            .get(begin..begin.saturating_add(usize_of(pack.directory_length_bytes)))
            .ok_or(refuse(Fault::Place))?;
        self.credential
            .open_meta(Kind::Directory, coder, &pack.directory, record, plain)?;
        Directory::decode(plain, pack.directory_offset_bytes)
            .map_err(|Malformed(rule)| refuse(Fault::Shape(rule)))
    }

    /// Opens a record; whether its id is that of its content. A chunk of a domain that is not known
    /// here keeps its tag as its proof.
    fn record(
        &self,
        coder: &mut Coder,
        kind: RecordKind,
        id: &Id,
        record: &[u8],
        plain: &mut Vec<u8>,
    ) -> Result<bool, Damage> {
        let RecordKind::Chunk { key } = kind else {
            return self
                .credential
                .open_meta(Kind::Node, coder, id, record, plain)
                .map(|()| true);
        };
        let refuse = |fault| Damage::new(Class::Record, id.0, fault);
        if self.table.is_lost(key) {
            // the pack's hash is all that can be compared; whether a session needs the record is
            // asked elsewhere
            return Ok(true);
        }
        let key = self
            .keys
            .get(&key)
            .ok_or(refuse(Fault::Shape("its key is not in the key table")))?;
        let likely = self.fitted.load(Ordering::Relaxed);
        let fitting = self.credential.open_chunk_of_any(
            RecordKey { key, id },
            Candidates {
                all: &self.domains,
                first: likely,
            },
            coder,
            record,
            plain,
        )?;
        if let Some(place) = fitting {
            self.fitted.store(place, Ordering::Relaxed);
        }
        Ok(fitting.is_some())
    }
}

/// When the pack that was read longest ago was read; 0 before the first verify. Packs that no
/// verify has met yet do not count: they are read first.
pub fn verified_time(
    files: &mut impl Files,
    archive: &Archive,
    packs: &Packs,
) -> Result<i64, Failure> {
    let times = CheckTimes::read(files, archive)?;
    let live = packs
        .iter()
        .filter(|(_, pack)| pack.state != PackState::Lost);
    Ok(live
        .filter_map(|(number, _)| times.0.get(number).copied())
        .min()
        .unwrap_or(0))
}

/// When each pack was last read whole and found right, so that a budget reaches all in turn.
struct CheckTimes(std::collections::BTreeMap<u64, i64>);

impl CheckTimes {
    const FILE: &'static str = "checked";

    fn read(files: &mut impl Files, archive: &Archive) -> Result<Self, Failure> {
        let bytes = files
            .read(&archive.folder.file(Self::FILE))?
            .unwrap_or_default();
        let words = |entry: &[u8; 16]| {
            let (words, _) = entry.as_chunks::<8>();
            Some((
                u64::from_le_bytes(*words.first()?),
                i64::from_le_bytes(*words.get(1)?),
            ))
        };
        // A torn or foreign file only changes the order of reading.
        Ok(Self(
            bytes.as_chunks::<16>().0.iter().filter_map(words).collect(),
        ))
    }

    fn oldest_first(&self, needed: &BTreeSet<u64>) -> Vec<u64> {
        let mut order: Vec<u64> = needed.iter().copied().collect();
        order.sort_by_key(|number| (self.0.get(number).copied().unwrap_or(0), *number));
        order
    }

    fn set(&mut self, number: u64, time: i64) {
        self.0.insert(number, time);
    }

    fn write(&self, files: &mut impl Files, archive: &Archive) -> Result<(), Failure> {
        let bytes: Vec<u8> = self
            .0
            .iter()
            .flat_map(|(number, time)| [number.to_le_bytes(), time.to_le_bytes()])
            .flatten()
            .collect();
        files.replace(&archive.folder.file(Self::FILE), &bytes)
    }
}

/// How many problems were told.
struct Told {
    new: u64,
    acknowledged: u64,
}

/// The sessions that need an object.
#[derive(Default)]
struct Needs {
    sessions: BTreeSet<String>,
    /// Of one of them it was not seen that it lacks what it lacks.
    is_new: bool,
}

/// Says for each problem which sessions need the object, and whether all of that was acknowledged;
/// how many problems there are. What a pack that is marked lost already lacks is one only where a
/// session needs it: all else was sent again.
fn tell_problems(
    files: &mut impl Files,
    client: &mut impl Client,
    archive: &mut Archive,
    packs: &Packs,
    mut problems: Vec<Found>,
) -> Result<Told, Failure> {
    let mut told = Told {
        new: 0,
        acknowledged: 0,
    };
    if problems.is_empty() {
        return Ok(told);
    }
    let needs = needs_of(files, client, archive, packs, &problems)?;
    problems.retain(|Found { damage, pack }| {
        let was_lost = pack
            .and_then(|number| packs.get(&number))
            .is_some_and(|pack| pack.state == PackState::Lost);
        !was_lost
            || needs
                .get(&damage.object)
                .is_some_and(|needs| !needs.sessions.is_empty())
    });
    let seen = &archive.ledger.acknowledged;
    let slots = archive
        .head
        .slots
        .iter()
        .filter(|slot| seen.has_slot(slot.number))
        .map(|slot| slot_name(slot.number));
    let commits = (1..=archive.head.generation).filter(|generation| seen.has_commit(*generation));
    let seen: HashSet<[u8; 32]> = slots
        .chain(commits.map(|generation| archive.credential.commit_name(generation)))
        .map(|name| name.0)
        .collect();
    for Found { damage, .. } in &problems {
        let needs = needs.get(&damage.object);
        let acknowledged = match damage.class {
            Class::Slot | Class::Commit => seen.contains(&damage.object),
            _ => needs.is_some_and(|needs| !needs.sessions.is_empty() && !needs.is_new),
        };
        let count = if acknowledged {
            &mut told.acknowledged
        } else {
            &mut told.new
        };
        *count = count.saturating_add(1);
        client.tell(ToClient::Problem(Problem {
            object: to_hex(&damage.object),
            class: class_of(damage.class),
            problem: damage.fault.to_string(),
            volumes: needs
                .map(|needs| needs.sessions.iter().take(NAMED_MAX).cloned().collect())
                .unwrap_or_default(),
            acknowledged,
        }))?;
    }
    Ok(told)
}

/// The sessions that need each of the objects in question, and have it nowhere else.
fn needs_of(
    files: &mut impl Files,
    client: &mut impl Client,
    archive: &mut Archive,
    packs: &Packs,
    problems: &[Found],
) -> Result<HashMap<[u8; 32], Needs>, Failure> {
    let mut needs: HashMap<[u8; 32], Needs> = problems
        .iter()
        .map(|found| (found.damage.object, Needs::default()))
        .collect();
    for (_, volume) in archive.volumes(files)? {
        for session in archive.sessions_at_hand(files, &volume)? {
            if client.cancelled() {
                return Err(Failure::Interrupted);
            }
            let is_new = !is_acknowledged(files, archive, &volume, &session)?;
            for id in reached(files, archive, &session)? {
                if archive.cache.index.find_sound(files, &id)?.is_some() {
                    continue;
                }
                let pack = archive
                    .cache
                    .index
                    .find(files, &id)?
                    .and_then(|location| packs.get(&location.pack).copied());
                let objects = [
                    Some(id.0),
                    pack.map(|pack| pack.name.0),
                    pack.map(|pack| pack.directory.0),
                ];
                for object in objects.into_iter().flatten() {
                    if let Some(needs) = needs.get_mut(&object) {
                        needs
                            .sessions
                            .insert(volume_and_session(&volume.name, &session));
                        needs.is_new |= is_new;
                    }
                }
            }
        }
    }
    Ok(needs)
}
