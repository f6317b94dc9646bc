// SPDX-License-Identifier: GPL-3.0-or-later
//! The commits below a head, each from a copy in the store or from this machine's ledger, and what
//! their hashes prove. It refuses a commit that goes back in the time of the chain. It decides
//! nothing: `archive open` chooses the state.

use std::collections::{BTreeMap, BTreeSet};

use wyng_archive::crypto::{Coder, Credential};
use wyng_archive::format::skip_of;
use wyng_control::{Failure, ObjectClass};

use super::copies::{SoundCommit, read_commit, read_copies};
use crate::archive::{check_follows, open_commit};
use crate::state::{KnownCommit, Ledger, to_hex};
use crate::world::{Client, Store};

/// Maximum number of commits that are read for a proof. The shortest path has at most 820; longer
/// paths are taken where commits on it are lost.
const READS_MAX: usize = 4096;

/// The history below one commit: the hashes that it carries for earlier commits. If a commit on the
/// path is lost, its own hash is still known; the hashes that it carried come from any other commit
/// that carries them, or there is a gap. A hash that contradicts what this machine knows is a
/// failure.
pub(crate) struct History<'a> {
    credential: &'a Credential,
    ledger: &'a Ledger,
    coder: Coder,
    /// Commits that were read, by generation.
    read: BTreeMap<u64, SoundCommit>,
    /// The hashes that these commits carry, by generation.
    carried: BTreeMap<u64, [u8; 32]>,
    /// Generations that were read, or are lost.
    tried: BTreeSet<u64>,
    /// Generations without a sound copy in the store, each with the copy under which its commit
    /// goes next.
    pub lost: BTreeMap<u64, u16>,
    /// The newest generation that was accepted by name and tag, because no commit that could be
    /// read carries its hash.
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
        history.check_against_known(head)?;
        history.take(head.clone())?;
        Ok(history)
    }

    /// Checks that the head does not go back in the time of the chain behind the newest commit that
    /// this machine knows.
    fn check_against_known(&mut self, head: &SoundCommit) -> Result<(), Failure> {
        let older = |known: &&KnownCommit| known.generation < head.known.generation;
        let Some(known) = self.ledger.head().filter(older) else {
            return Ok(());
        };
        let known = open_commit(self.credential, &mut self.coder, known)?;
        check_follows(self.credential, &head.commit, &known)
    }

    /// The hash that this history has for an earlier generation; `None` if neither that commit nor
    /// any commit that carries its hash can be read.
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
            // The lowest generation above the goal: on an intact chain that is the shortest path
            // down.
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

    /// The hashes that later commits must carry, descending: from `begin` down by its skips. A hash
    /// that is lost is left out.
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

    /// All commits that were read, with the one at which the history began.
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
        // A commit that was sent and has no receipt yet is this machine's own too.
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

    /// Goes on behind a gap, where every commit that leads to the goal is lost: the newest commit
    /// from the goal on that can be read is accepted by name and tag. False if there is none.
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
        let mut after = self.read.range(generation.saturating_add(1)..);
        if let Some((_, later)) = after.next() {
            check_follows(self.credential, &later.commit, &found.commit)?;
        }
        if let Some((_, before)) = self.read.range(..generation).next_back() {
            check_follows(self.credential, &found.commit, &before.commit)?;
        }
        self.tried.insert(generation);
        self.read.insert(generation, found);
        Ok(())
    }

    /// Notes the hash of a generation. Two commits of one history that carry different hashes for a
    /// third were not written by one machine; and a hash must not contradict what this machine
    /// committed or adopted.
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
