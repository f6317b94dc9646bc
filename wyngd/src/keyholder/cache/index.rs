// SPDX-License-Identifier: GPL-3.0-or-later
//! The index: ids to places. New ids are in memory until there are many; the rest lies in at most four sorted runs.

use std::collections::BTreeMap;

use wyng_archive::crypto::Id;
use wyng_control::Failure;

use super::run::{Location, Run, RunWriter, merge};
use crate::keyholder::state::ArchiveFolder;
use crate::keyholder::world::World;

/// New ids in memory, about 16 MiB; more are written as a run.
const FRESH_MAX: usize = 128 * 1024;
const RUNS_MAX: usize = 4;

/// See the module's first line.
pub struct Index {
    folder: ArchiveFolder,
    fresh: BTreeMap<Id, Location>,
    runs: Vec<Run>,
    next_file: u64,
}

impl Index {
    /// An empty one.
    pub fn create(folder: &ArchiveFolder) -> Self {
        Self { folder: folder.clone(), fresh: BTreeMap::new(), runs: Vec::new(), next_file: 1 }
    }

    /// From the files of a manifest; `None` when one is damaged.
    pub fn open<W: World>(world: &mut W, folder: &ArchiveFolder, files: &[u64]) -> Result<Option<Self>, Failure> {
        let mut index = Self::create(folder);
        for file in files {
            let Some(run) = Run::open(world, index.path(*file))? else { return Ok(None) };
            index.runs.push(run);
            index.next_file = index.next_file.max(file.saturating_add(1));
        }
        index.remove_unlisted(world)?;
        Ok(Some(index))
    }

    /// Where an id lies; of several packs the one with the lowest number.
    pub fn find<W: World>(&self, world: &mut W, id: &Id) -> Result<Option<Location>, Failure> {
        let mut best = self.fresh.get(id).copied();
        for run in self.runs.iter().filter(|run| run.may_contain(id)) {
            if let Some(found) = run.find(world, id)?
                && best.is_none_or(|best| found.pack < best.pack)
            {
                best = Some(found);
            }
        }
        Ok(best)
    }

    /// Notes where an id lies.
    pub fn insert<W: World>(&mut self, world: &mut W, id: Id, location: Location) -> Result<(), Failure> {
        let place = self.fresh.entry(id).or_insert(location);
        if location.pack < place.pack {
            *place = location;
        }
        if self.fresh.len() >= FRESH_MAX { self.spill(world) } else { Ok(()) }
    }

    /// Writes what is in memory, merges down to `RUNS_MAX` runs, and gives their files.
    pub fn settle<W: World>(&mut self, world: &mut W) -> Result<Vec<u64>, Failure> {
        if !self.fresh.is_empty() {
            self.spill(world)?;
        }
        Ok(self.runs.iter().filter_map(|run| file_number(&run.path)).collect())
    }

    /// Removes the files that belong to no run: an older manifest's, or a cut run's.
    pub fn remove_unlisted<W: World>(&self, world: &mut W) -> Result<(), Failure> {
        for name in world.list_folder(&self.folder.file("cache"))? {
            let path = self.folder.file(&format!("cache/{name}"));
            if file_number(&path).is_some() && self.runs.iter().all(|run| run.path != path) {
                world.remove(&path)?;
            }
        }
        Ok(())
    }

    fn spill<W: World>(&mut self, world: &mut W) -> Result<(), Failure> {
        let path = self.take_path();
        let fresh = std::mem::take(&mut self.fresh);
        let mut writer = RunWriter::create(world, path, fresh.len())?;
        for (id, location) in fresh {
            writer.push(world, id, location)?;
        }
        self.runs.push(writer.finish(world)?);
        while self.runs.len() > RUNS_MAX {
            self.merge_smallest(world)?;
        }
        Ok(())
    }

    /// The order of runs means nothing (the lowest pack wins), so the two smallest are merged: each entry is rewritten about log times.
    fn merge_smallest<W: World>(&mut self, world: &mut W) -> Result<(), Failure> {
        self.runs.sort_by_key(|run| std::cmp::Reverse(run.entries));
        let smallest = self.runs.split_off(self.runs.len().saturating_sub(2));
        let path = self.take_path();
        let merged = merge(world, &smallest, path)?;
        self.runs.push(merged);
        Ok(())
    }

    fn take_path(&mut self) -> String {
        let path = self.path(self.next_file);
        self.next_file = self.next_file.saturating_add(1);
        path
    }

    fn path(&self, file: u64) -> String {
        self.folder.file(&format!("cache/run-{file}"))
    }
}

fn file_number(path: &str) -> Option<u64> {
    path.rsplit_once("/run-")?.1.parse().ok()
}
