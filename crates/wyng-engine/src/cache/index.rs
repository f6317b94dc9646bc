// SPDX-License-Identifier: GPL-3.0-or-later
//! The index: from ids to places. New ids stay in memory until there are many; the others lie in
//! sorted runs, at most four once the index is settled.
//!
//! If an id lies in several packs, each place is kept: when one pack is lost, the next one counts.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use wyng_archive::crypto::Id;
use wyng_control::Failure;

use super::location::{Location, Stored};
use super::merge::merge;
use super::run::{BlockAtHand, Run, RunWriter};
use crate::state::Notes;
use crate::world::Files;

/// Maximum number of new ids in memory, about 16 MiB; more are written as a run.
const FRESH_MAX: usize = 128 * 1024;
/// Maximum number of runs of a settled index.
const RUNS_MAX: usize = 4;
/// Maximum number of runs while ids are added. Merging many runs at once rewrites each entry
/// seldom, and the filter of each run answers for ids that it lacks.
const RUNS_OPEN_MAX: usize = 16;

/// The session keys of which the key table has an entry.
#[derive(Debug, Clone, Default)]
pub struct KeysAtHand {
    /// The size of the table. Keys from this number on are newer than the table, and known.
    pub size: u64,
    /// The numbers below it that have an entry.
    pub present: HashSet<u32>,
}

impl KeysAtHand {
    /// Whether the number is in the table and has no entry there.
    pub fn is_lost(&self, key: u32) -> bool {
        u64::from(key) < self.size && !self.present.contains(&key)
    }
}

/// A set of packs of a head, such as the packs in which ids are known. The set is derived from the
/// head's pack table, so that no step depends on the removal of an id from the index.
#[derive(Debug, Clone, Default)]
pub struct PacksAtHand {
    /// The first number behind the packs of the head. Packs from this number on are newer than the
    /// head, and known.
    pub end: u64,
    /// The numbers of the packs in the set, all below that number.
    pub present: BTreeSet<u64>,
}

impl PacksAtHand {
    /// Whether the pack is in the head's range and not in the set.
    pub fn is_dead(&self, pack: u64) -> bool {
        pack < self.end && !self.present.contains(&pack)
    }
}

/// Why runs are merged.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Merge {
    /// Many ids are being added, and more will follow.
    WhileAdding,
    /// The index is made durable.
    ToSettle,
}

/// From ids to places, in memory and in sorted runs.
pub struct Index {
    /// The folder of its cache.
    folder: String,
    /// New places, by id, then by pack.
    fresh: BTreeMap<(Id, u64), Location>,
    runs: Vec<Run>,
    packs: PacksAtHand,
    entered: PacksAtHand,
    lost: BTreeSet<u64>,
    /// Whether packs are held.
    has_held: bool,
    /// Packs that a later commit gives up.
    avoided: BTreeSet<u64>,
    keys: KeysAtHand,
    next_file: u64,
    /// No manifest names a file from this number on.
    unlisted_from: u64,
}

impl Index {
    /// An empty index.
    pub fn create(folder: &str) -> Self {
        Self {
            folder: folder.to_owned(),
            fresh: BTreeMap::new(),
            runs: Vec::new(),
            packs: PacksAtHand::default(),
            entered: PacksAtHand::default(),
            lost: BTreeSet::new(),
            has_held: false,
            avoided: BTreeSet::new(),
            keys: KeysAtHand::default(),
            next_file: 1,
            unlisted_from: 1,
        }
    }

    /// The index in the files of a manifest; `None` if a file is missing or damaged. Files that the
    /// manifest does not name are removed.
    pub fn open(
        files: &mut impl Files,
        folder: &str,
        runs: &[u64],
    ) -> Result<Option<Self>, Failure> {
        let Some(mut index) = Self::look(files, folder, runs)? else {
            return Ok(None);
        };
        index.remove_unlisted(files)?;
        Ok(Some(index))
    }

    /// The index in the files of a manifest, without a change to any file; `None` if a file is
    /// missing or damaged.
    pub fn look(
        files: &mut impl Files,
        folder: &str,
        runs: &[u64],
    ) -> Result<Option<Self>, Failure> {
        let mut index = Self::create(folder);
        for file in runs {
            let Some(run) = Run::open(files, index.path(*file))? else {
                return Ok(None);
            };
            index.runs.push(run);
            index.next_file = index.next_file.max(file.saturating_add(1));
        }
        Ok(Some(index))
    }

    /// From now on, no id is known in any other pack of the head.
    pub fn set_packs(&mut self, packs: PacksAtHand) {
        self.packs = packs;
    }

    /// The packs of which the head's pack table has an entry, whatever their state. No number gets
    /// an entry again, so places in any other pack of the head are left out when runs are merged.
    pub fn set_entered(&mut self, entered: PacksAtHand) {
        self.entered = entered;
    }

    /// Whether the pack's entry left the pack table, so that its places are not needed again.
    pub fn is_dropped(&self, pack: u64) -> bool {
        self.entered.is_dead(pack)
    }

    /// From now on, no id is known in these packs either.
    pub fn give_up_packs(&mut self, packs: impl Iterator<Item = u64>) {
        for pack in packs {
            self.packs.present.remove(&pack);
        }
    }

    /// From now on no record is taken for stored because it is in these packs: a later commit of
    /// this command gives them up.
    pub fn avoid_packs(&mut self, packs: BTreeSet<u64>) {
        self.avoided = packs;
    }

    /// A place of an id in a pack that is neither lost nor avoided, so that its record need not be
    /// stored again.
    pub fn find_lasting(
        &self,
        files: &mut impl Files,
        id: &Id,
    ) -> Result<Option<Location>, Failure> {
        let sound = self.find_sound(files, id)?;
        Ok(sound.filter(|location| !self.avoided.contains(&location.pack)))
    }

    /// From now on these packs count as lost.
    pub fn set_lost(&mut self, packs: BTreeSet<u64>) {
        self.lost = packs;
    }

    /// From now on the packs that these notes call lost count as lost. The cache may have been
    /// built without the packs that they hold.
    pub fn set_noted(&mut self, notes: &Notes) {
        self.lost = notes.lost_packs();
        self.has_held = !notes.held_packs().is_empty();
    }

    /// From now on chunks under any other key of the table count as lost.
    pub fn set_keys(&mut self, keys: KeysAtHand) {
        self.keys = keys;
    }

    /// Whether any pack or any session key is lost, or any pack held.
    pub fn has_lost(&self) -> bool {
        self.has_held || !self.lost.is_empty() || self.has_lost_keys()
    }

    /// The session keys of which the key table has an entry.
    pub fn keys(&self) -> &KeysAtHand {
        &self.keys
    }

    /// Whether the key table lacks any entry.
    pub fn has_lost_keys(&self) -> bool {
        (self.keys.present.len() as u64) < self.keys.size
    }

    /// Whether the key table has no entry for this session key. Nothing opens what was sealed under
    /// a lost key.
    pub fn is_key_lost(&self, key: u32) -> bool {
        self.keys.is_lost(key)
    }

    /// Whether the pack of a place is lost, or the session key under which the record is sealed.
    pub fn is_lost(&self, location: &Location) -> bool {
        let key_lost = matches!(location.stored, Stored::Chunk { key } if self.keys.is_lost(key));
        key_lost || self.lost.contains(&location.pack)
    }

    /// The best place of an id: of several packs, the one with the lowest number that is not lost.
    /// A place in a lost pack, or under a lost session key, is given only if there is no other. A
    /// place in a pack that was given up is never given.
    pub fn find(&self, files: &mut impl Files, id: &Id) -> Result<Option<Location>, Failure> {
        Ok(self.find_copies(files, id)?.0)
    }

    /// The best place of an id, and its other places, the worst first.
    pub fn find_copies(
        &self,
        files: &mut impl Files,
        id: &Id,
    ) -> Result<(Option<Location>, Vec<Location>), Failure> {
        self.lookup().find_copies(files, id)
    }

    /// Finds many ids, at little cost if they ascend.
    pub fn lookup(&self) -> Lookup<'_> {
        let blocks = self.runs.iter().map(|_| BlockAtHand::default());
        Lookup {
            index: self,
            blocks: blocks.collect(),
        }
    }

    /// Number of places; if the same place is in several runs, it counts in each.
    pub fn places_at_most(&self) -> u64 {
        let fresh = self.fresh.len() as u64;
        self.runs
            .iter()
            .fold(fresh, |sum, run| sum.saturating_add(run.entries))
    }

    /// Visits every place of every id, in no particular order.
    pub fn visit<F: Files>(
        &self,
        files: &mut F,
        visit: &mut dyn FnMut(&mut F, Id, Location) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        for ((id, _), location) in &self.fresh {
            visit(files, *id, *location)?;
        }
        self.runs.iter().try_for_each(|run| run.visit(files, visit))
    }

    /// The best place of an id, if neither its pack nor its session key is lost: then the record
    /// need not be sent.
    pub fn find_sound(&self, files: &mut impl Files, id: &Id) -> Result<Option<Location>, Failure> {
        Ok(self
            .find(files, id)?
            .filter(|location| !self.is_lost(location)))
    }

    /// Adds a place of an id.
    pub fn insert(
        &mut self,
        files: &mut impl Files,
        id: Id,
        location: Location,
    ) -> Result<(), Failure> {
        self.fresh.insert((id, location.pack), location);
        if self.fresh.len() >= FRESH_MAX {
            self.spill(files)
        } else {
            Ok(())
        }
    }

    /// Writes the new ids as a run, merges down to `RUNS_MAX` runs, and gives the numbers of
    /// their files.
    pub fn settle(&mut self, files: &mut impl Files) -> Result<Vec<u64>, Failure> {
        if !self.fresh.is_empty() {
            self.spill(files)?;
        }
        if self.runs.len() > RUNS_MAX {
            self.merge_smallest(files, Merge::ToSettle)?;
        }
        Ok(self
            .runs
            .iter()
            .filter_map(|run| file_number(&run.path))
            .collect())
    }

    /// Removes files that belong to no run of this index: files of an older manifest, or of an
    /// interrupted command.
    pub fn remove_unlisted(&mut self, files: &mut impl Files) -> Result<(), Failure> {
        for name in files.list(&self.folder)? {
            let path = format!("{}/{name}", self.folder);
            if file_number(&path).is_some() && self.runs.iter().all(|run| run.path != path) {
                files.remove(&path)?;
            }
        }
        self.unlisted_from = self.next_file;
        Ok(())
    }

    fn spill(&mut self, files: &mut impl Files) -> Result<(), Failure> {
        let path = self.take_path();
        let fresh = std::mem::take(&mut self.fresh);
        let mut writer = RunWriter::create(files, path, fresh.len())?;
        for ((id, _), location) in fresh {
            writer.push(files, id, location)?;
        }
        self.runs.push(writer.finish(files)?);
        if self.runs.len() > RUNS_OPEN_MAX {
            self.merge_smallest(files, Merge::WhileAdding)
        } else {
            Ok(())
        }
    }

    /// Merges all runs except for the three largest; the order of runs has no meaning. To settle
    /// the index, each further run is merged too that is less than twice as large as the merged
    /// runs together: otherwise each small session would rewrite it again. Files that no manifest
    /// names are removed at once.
    fn merge_smallest(&mut self, files: &mut impl Files, merge_for: Merge) -> Result<(), Failure> {
        self.runs.sort_by_key(|run| std::cmp::Reverse(run.entries));
        let mut smallest = self
            .runs
            .split_off(self.runs.len().min(RUNS_MAX.saturating_sub(1)));
        let mut entries = smallest
            .iter()
            .fold(0u64, |sum, run| sum.saturating_add(run.entries));
        while merge_for == Merge::ToSettle
            && let Some(next) = self
                .runs
                .pop_if(|run| run.entries < entries.saturating_mul(2))
        {
            entries = entries.saturating_add(next.entries);
            smallest.push(next);
        }
        let path = self.take_path();
        let merged = merge(files, &smallest, path, &|pack| self.is_dropped(pack))?;
        self.runs.push(merged);
        for run in smallest {
            if file_number(&run.path).is_some_and(|file| file >= self.unlisted_from) {
                files.remove(&run.path)?;
            }
        }
        Ok(())
    }

    fn take_path(&mut self) -> String {
        let path = self.path(self.next_file);
        self.next_file = self.next_file.saturating_add(1);
        path
    }

    fn path(&self, file: u64) -> String {
        format!("{}/run-{file}", self.folder)
    }
}

/// Finds ids one after another. It keeps the last block of each run, so that ids in ascending order
/// read each block of the index once.
pub struct Lookup<'a> {
    index: &'a Index,
    /// By run.
    blocks: Vec<BlockAtHand>,
}

impl Lookup<'_> {
    /// See [`Index::find_copies`].
    pub fn find_copies(
        &mut self,
        files: &mut impl Files,
        id: &Id,
    ) -> Result<(Option<Location>, Vec<Location>), Failure> {
        let index = self.index;
        let rank = |location: &Location| (index.is_lost(location), location.pack);
        let (mut best, mut others): (Option<Location>, Vec<Location>) = (None, Vec::new());
        let mut take = |found: Location| match best {
            _ if index.packs.is_dead(found.pack) => {}
            Some(known) if rank(&known) <= rank(&found) => others.push(found),
            known => {
                best = Some(found);
                others.extend(known);
            }
        };
        index
            .fresh
            .range((*id, 0)..=(*id, u64::MAX))
            .for_each(|(_, location)| take(*location));
        for (run, block) in index.runs.iter().zip(&mut self.blocks) {
            if run.may_contain(id) {
                run.find(files, id, block, &mut take)?;
            }
        }
        others.sort_unstable_by_key(|location| std::cmp::Reverse(rank(location)));
        Ok((best, others))
    }
}

fn file_number(path: &str) -> Option<u64> {
    path.rsplit_once("/run-")?.1.parse().ok()
}
