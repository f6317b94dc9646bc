// SPDX-License-Identifier: GPL-3.0-or-later
//! The commits of an archive as they can be had: each from one of its copies in the store, or from
//! this machine's ledger; and what their hashes prove. It decides nothing: which state is opened is
//! decided in `open.rs`.

use std::collections::{BTreeMap, BTreeSet};

use wyng_archive::crypto::{Coder, Credential, Id, Kind};
use wyng_archive::format::{COMMIT_BYTES, Commit, Malformed, skip_of};
use wyng_archive::plan::{COPIES_ABSENT, GENERATION_MAX, head_probes, next_probe};
use wyng_archive::{Class, Damage, Fault};
use wyng_control::{Failure, ObjectClass};

use crate::archive::open_commit;
use crate::outcome::damaged;
use crate::state::{KnownCommit, Ledger, to_hex};
use crate::world::{Client, Found, Store};

/// Copies 0 to 255.
const COPIES_MAX: u16 = 256;
/// So often a search for the newest generation goes on behind a hole.
const HOLES_MAX: u32 = 4096;
/// So many commits are read for a proof. The shortest way has at most 820; the others are gone
/// where commits on it are lost.
const READS_MAX: usize = 4096;

/// A commit that authenticates.
#[derive(Debug, Clone)]
pub(crate) struct SoundCommit {
    /// Its bytes.
    pub known: KnownCommit,
    /// What it says.
    pub commit: Commit,
}

/// What the store has of one generation.
pub(crate) struct Copies {
    /// Something lies under one of its names.
    pub exists: bool,
    /// Those that authenticate, each content once, with the lowest copy that has it. Two are a
    /// fork.
    pub sound: Vec<(u8, SoundCommit)>,
    /// The lowest copy for which all copies below it were read and do not authenticate; at most
    /// 256.
    pub free: u16,
    /// What is wrong with the first that does not authenticate.
    pub fault: Fault,
}

impl Copies {
    /// The one content that authenticates, if there is one. [`Failure::TwoCommits`] if there are
    /// two.
    pub(crate) fn only(mut self) -> Result<Option<(u8, SoundCommit)>, Failure> {
        match (self.sound.pop(), self.sound.is_empty()) {
            (only, true) => Ok(only),
            (Some((_, found)), false) => Err(Failure::TwoCommits {
                generation: found.known.generation,
            }),
            (None, false) => Ok(None),
        }
    }
}

/// Reads all copies of a generation: it goes on past those that are absent or damaged until four in
/// a row are absent.
pub(crate) fn read_copies(
    store: &mut impl Store,
    credential: &Credential,
    coder: &mut Coder,
    generation: u64,
) -> Result<Copies, Failure> {
    let mut copies = Copies {
        exists: false,
        sound: Vec::new(),
        free: 0,
        fault: Fault::Missing,
    };
    let (mut next, mut absent) = (0u16, 0u8);
    while absent < COPIES_ABSENT && next < COPIES_MAX {
        // Fewer would not end the search, so they are asked for together.
        let end = next
            .saturating_add(u16::from(COPIES_ABSENT.saturating_sub(absent)))
            .min(COPIES_MAX);
        for copy in (next..end).filter_map(|copy| u8::try_from(copy).ok()) {
            ask(store, credential, generation, copy)?;
        }
        for copy in (next..end).filter_map(|copy| u8::try_from(copy).ok()) {
            let fault = match answer(store, credential, coder, generation)? {
                Ok(found) => {
                    (absent, copies.exists) = (0, true);
                    if copies
                        .sound
                        .iter()
                        .all(|(_, other)| other.known != found.known)
                    {
                        copies.sound.push((copy, found));
                    }
                    continue;
                }
                Err(fault) => fault,
            };
            if fault == Fault::Missing {
                absent = absent.saturating_add(1);
                continue;
            }
            if !copies.exists {
                copies.fault = fault;
            }
            (absent, copies.exists) = (0, true);
            if copies.free == u16::from(copy) {
                copies.free = copies.free.saturating_add(1);
            }
        }
        next = end;
    }
    Ok(copies)
}

/// The same for a commit whose hash is known: when the first copy has it, the others are not asked
/// for.
pub(crate) fn read_commit(
    store: &mut impl Store,
    credential: &Credential,
    coder: &mut Coder,
    generation: u64,
    hash: Option<&[u8; 32]>,
) -> Result<Copies, Failure> {
    ask(store, credential, generation, 0)?;
    match answer(store, credential, coder, generation)? {
        Ok(found) if hash.is_some_and(|hash| found.known.hash() == *hash) => Ok(Copies {
            exists: true,
            sound: vec![(0, found)],
            free: 0,
            fault: Fault::Missing,
        }),
        _ => read_copies(store, credential, coder, generation),
    }
}

fn ask(
    store: &mut impl Store,
    credential: &Credential,
    generation: u64,
    copy: u8,
) -> Result<(), Failure> {
    store.request(
        credential.commit_copy_name(generation, copy),
        0,
        u32::try_from(COMMIT_BYTES).unwrap_or(u32::MAX),
    )
}

/// The copy that was asked for, or why it is none. One that authenticates and is malformed was
/// written by other programs: nothing is known of what it means, so it ends the command.
fn answer(
    store: &mut impl Store,
    credential: &Credential,
    coder: &mut Coder,
    generation: u64,
) -> Result<Result<SoundCommit, Fault>, Failure> {
    let bytes = match store.answer()?.or_fault() {
        Ok(bytes) => bytes.as_ref().to_vec(),
        Err(fault) => return Ok(Err(fault)),
    };
    let name = credential.commit_name(generation);
    let mut plain = Vec::new();
    match credential.open_meta(Kind::Commit, coder, &Id(name.0), &bytes, &mut plain) {
        Ok(()) => {}
        Err(Damage {
            fault: fault @ (Fault::Tag | Fault::Length),
            ..
        }) => return Ok(Err(fault)),
        Err(damage) => return Err(damaged(&damage)),
    }
    let malformed =
        |Malformed(rule)| damaged(&Damage::new(Class::Commit, name.0, Fault::Shape(rule)));
    let commit = Commit::decode(&plain, generation).map_err(malformed)?;
    Ok(Ok(SoundCommit {
        known: KnownCommit { generation, bytes },
        commit,
    }))
}

/// The newest generation of which some copy exists, 0 if none does; and those above it of which the
/// store cannot say whether they exist. Doubling and bisecting from one that is known, then probing
/// 64 more, and going on from any that exists.
pub(crate) fn find_newest(
    store: &mut impl Store,
    client: &mut impl Client,
    credential: &Credential,
    known: u64,
) -> Result<(u64, BTreeSet<u64>), Failure> {
    let mut unknown = BTreeSet::new();
    let mut exists = |generation| exists(store, client, credential, generation, &mut unknown);
    let mut newest = if known > 0 && exists(known)? {
        known
    } else {
        0
    };
    let mut absent = None;
    while let Some(probe) = next_probe(newest, absent) {
        if exists(probe)? {
            newest = probe
        } else {
            absent = Some(probe)
        }
    }
    if newest >= GENERATION_MAX {
        return Err(implausible(credential, newest));
    }
    let mut holes = 0u32;
    'probing: loop {
        for generation in head_probes(newest) {
            if exists(generation)? {
                (newest, holes) = (generation, holes.saturating_add(1));
                if holes > HOLES_MAX {
                    return Err(implausible(credential, newest));
                }
                continue 'probing;
            }
        }
        break;
    }
    unknown.retain(|generation| *generation > newest);
    Ok((newest, unknown))
}

/// Is there any copy of it? A name that is taken by something else was perhaps a copy's.
fn exists(
    store: &mut impl Store,
    client: &mut impl Client,
    credential: &Credential,
    generation: u64,
    unknown: &mut BTreeSet<u64>,
) -> Result<bool, Failure> {
    if client.cancelled() {
        return Err(Failure::Interrupted);
    }
    for copy in 0..COPIES_ABSENT {
        match store.stat(credential.commit_copy_name(generation, copy))? {
            Found::Blob { .. } | Found::Foreign => return Ok(true),
            Found::Unknown => drop(unknown.insert(generation)),
            Found::Nothing => {}
        }
    }
    Ok(false)
}

fn implausible(credential: &Credential, generation: u64) -> Failure {
    let object = to_hex(&credential.commit_name(generation).0);
    Failure::Damaged {
        class: ObjectClass::Commit,
        object,
        what: "the store shows more commits than there can be".into(),
        volume: None,
    }
}

/// The history below one commit: which hashes it carries for earlier ones. Where a commit on the
/// way is lost, its own hash is still known; those that it carried come from any other commit that
/// carries them, or there is a gap. A hash that contradicts what this machine knows ends it.
pub(crate) struct History<'a> {
    credential: &'a Credential,
    ledger: &'a Ledger,
    coder: Coder,
    /// Commits that were had, by generation.
    read: BTreeMap<u64, SoundCommit>,
    /// The hashes that those carry.
    carried: BTreeMap<u64, [u8; 32]>,
    /// Generations that were read, or are lost.
    tried: BTreeSet<u64>,
    /// Of which the store has no sound copy, with the copy under which the commit goes next.
    pub lost: BTreeMap<u64, u16>,
    /// The newest commit that was taken by its name and tag, because nothing that could be read
    /// carries its hash.
    pub gap: Option<u64>,
}

impl<'a> History<'a> {
    /// Begins at a commit that authenticates.
    pub(crate) fn from(
        credential: &'a Credential,
        ledger: &'a Ledger,
        head: &SoundCommit,
    ) -> Result<Self, Failure> {
        let coder = Coder::new(0).map_err(|_| Failure::OutOfMemory)?;
        let (read, carried, tried, lost) = (
            BTreeMap::new(),
            BTreeMap::new(),
            BTreeSet::new(),
            BTreeMap::new(),
        );
        let mut history = Self {
            credential,
            ledger,
            coder,
            read,
            carried,
            tried,
            lost,
            gap: None,
        };
        history.note_hash(head.known.generation, head.known.hash())?;
        history.take(head.clone())?;
        Ok(history)
    }

    /// The hash that this history has for an earlier generation; `None` if neither it nor anything
    /// that carries its hash can be read.
    pub(crate) fn hash_of(
        &mut self,
        store: &mut impl Store,
        client: &mut impl Client,
        goal: u64,
    ) -> Result<Option<[u8; 32]>, Failure> {
        loop {
            if let Some(hash) = self.carried.get(&goal) {
                return Ok(Some(*hash));
            }
            // The lowest one above the goal: on a whole chain that is the shortest way down.
            let next = self
                .carried
                .range(goal..)
                .find(|(generation, _)| !self.tried.contains(generation))
                .map(|(at, hash)| (*at, *hash));
            match next {
                Some((generation, hash)) => self.read_by_hash(store, client, generation, &hash)?,
                None if self.read_behind_gap(store, client, goal)? => {}
                None => return Ok(None),
            }
        }
    }

    /// The hashes that later commits will have to carry: from the begin down by its skips,
    /// descending. Where one is lost, it is left out.
    pub(crate) fn spine(
        &mut self,
        store: &mut impl Store,
        client: &mut impl Client,
        begin: u64,
    ) -> Result<Vec<(u64, [u8; 32])>, Failure> {
        let (mut below, mut generation) = (Vec::new(), skip_of(begin));
        while generation > 0 {
            if let Some(hash) = self.hash_of(store, client, generation)? {
                below.push((generation, hash));
                if !self.tried.contains(&generation) {
                    self.read_by_hash(store, client, generation, &hash)?;
                }
            }
            generation = skip_of(generation);
        }
        Ok(below)
    }

    /// All commits that were had, but for the one at which it began.
    pub(crate) fn into_read(self) -> impl Iterator<Item = KnownCommit> {
        self.read.into_values().map(|found| found.known)
    }

    /// Reads the one commit that has this hash: from the ledger, or from whichever copy has it.
    fn read_by_hash(
        &mut self,
        store: &mut impl Store,
        client: &mut impl Client,
        generation: u64,
        hash: &[u8; 32],
    ) -> Result<(), Failure> {
        self.count_read(client, generation)?;
        // A commit that was sent and not yet acknowledged is this machine's own too.
        let own = [self.ledger.known(generation), self.ledger.pending()]
            .into_iter()
            .flatten();
        if let Some(known) = own
            .into_iter()
            .find(|known| known.generation == generation && known.hash() == *hash)
            .cloned()
        {
            return self.take_known(known);
        }
        let copies = read_commit(
            store,
            self.credential,
            &mut self.coder,
            generation,
            Some(hash),
        )?;
        let free = copies.free;
        match copies.only()? {
            Some((_, found)) if found.known.hash() == *hash => self.take(found),
            Some(_) => Err(Failure::TwoCommits { generation }),
            None => {
                self.lost.insert(generation, free);
                Ok(())
            }
        }
    }

    /// All commits that carry a hash between the goal and the last one that was read are lost: the
    /// newest that can be read below them is taken by name and tag. Whether there is one.
    fn read_behind_gap(
        &mut self,
        store: &mut impl Store,
        client: &mut impl Client,
        goal: u64,
    ) -> Result<bool, Failure> {
        let lowest = self.tried.range(goal..).next().copied().unwrap_or(goal);
        for generation in (goal..lowest).rev() {
            self.count_read(client, generation)?;
            let copies = read_copies(store, self.credential, &mut self.coder, generation)?;
            let free = copies.free;
            let known = self.ledger.known(generation).cloned();
            let hash = match (copies.only()?, known) {
                (Some((_, found)), _) => {
                    let hash = found.known.hash();
                    self.note_hash(generation, hash)?;
                    self.take(found)?;
                    hash
                }
                (None, Some(known)) => {
                    let hash = known.hash();
                    self.lost.insert(generation, free);
                    self.note_hash(generation, hash)?;
                    self.take_known(known)?;
                    hash
                }
                (None, None) => {
                    self.lost.insert(generation, free);
                    continue;
                }
            };
            self.carried.insert(generation, hash);
            self.gap = self.gap.max(Some(generation));
            return Ok(true);
        }
        Ok(false)
    }

    fn count_read(&mut self, client: &mut impl Client, generation: u64) -> Result<(), Failure> {
        if client.cancelled() {
            return Err(Failure::Interrupted);
        }
        self.tried.insert(generation);
        if self.tried.len() > READS_MAX {
            let object = to_hex(&self.credential.commit_name(generation).0);
            let what = "too many commits before and after it are lost".into();
            return Err(Failure::Damaged {
                class: ObjectClass::Commit,
                object,
                what,
                volume: None,
            });
        }
        Ok(())
    }

    fn take_known(&mut self, known: KnownCommit) -> Result<(), Failure> {
        let commit = open_commit(self.credential, &mut self.coder, &known)?;
        self.take(SoundCommit { known, commit })
    }

    fn take(&mut self, found: SoundCommit) -> Result<(), Failure> {
        let generation = found.known.generation;
        if let Some(before) = generation.checked_sub(1).filter(|before| *before > 0) {
            self.note_hash(before, found.commit.previous)?;
        }
        if skip_of(generation) > 0 {
            self.note_hash(skip_of(generation), found.commit.skip)?;
        }
        self.tried.insert(generation);
        self.read.insert(generation, found);
        Ok(())
    }

    /// Two commits of one history that carry different hashes for a third were not written by one
    /// machine; and what this machine committed or adopted stands.
    fn note_hash(&mut self, generation: u64, hash: [u8; 32]) -> Result<(), Failure> {
        if self
            .ledger
            .known(generation)
            .is_some_and(|known| known.hash() != hash)
        {
            return Err(Failure::NotDescended {
                known_generation: generation,
            });
        }
        match self.carried.insert(generation, hash) {
            Some(other) if other != hash => Err(Failure::TwoCommits { generation }),
            _ => Ok(()),
        }
    }
}
