// SPDX-License-Identifier: GPL-3.0-or-later
//! What can be built anew from the store: where each record lies, and the nodes. A backup reads
//! nothing else, so it never has to read from the store.
//!
//! A cache carries its generation. A cache that is behind the ledger is rolled forward from the
//! journal; otherwise it is discarded.

mod block;
mod filter;
mod index;
mod location;
mod manifest;
mod merge;
mod nodes;
mod run;

pub use index::{Index, KeysAtHand, Lookup, PacksAtHand};
pub use location::{Location, Stored};
pub use manifest::Manifest;
pub use nodes::NodeCache;

use wyng_archive::crypto::{Credential, Id};
use wyng_archive::format::RecordKind;
use wyng_control::Failure;

use crate::state::JournalPack;
use crate::world::Files;

/// Index and nodes of one archive.
pub struct Cache {
    /// The path of its folder.
    folder: String,
    generation: u64,
    /// The first number after all packs that were added.
    packs_end: u64,
    /// From ids to places.
    pub index: Index,
    /// The plain bytes of the nodes.
    pub nodes: NodeCache,
    /// Set by a restore around damage: content nodes that are lost read as holes.
    pub lost_are_holes: bool,
}

impl Cache {
    /// An empty cache of generation 0; files that were in the folder are removed.
    pub fn create(files: &mut impl Files, folder: &str) -> Result<Self, Failure> {
        files.remove(folder)?;
        let (index, nodes) = (Index::create(folder), NodeCache::open(folder, 0));
        Ok(Self {
            folder: folder.to_owned(),
            generation: 0,
            packs_end: 0,
            index,
            nodes,
            lost_are_holes: false,
        })
    }

    /// The cache that the manifest describes; `None` if there is no sound cache. Files that the
    /// manifest does not name are removed.
    pub fn open(files: &mut impl Files, folder: &str) -> Result<Option<Self>, Failure> {
        let Some(manifest) = Manifest::read(files, folder)? else {
            return Ok(None);
        };
        let nodes = NodeCache::of(folder, &manifest);
        if !nodes.cut_to_length(files)? {
            return Ok(None);
        }
        let Some(index) = Index::open(files, folder, &manifest.runs)? else {
            return Ok(None);
        };
        Ok(Some(Self {
            folder: folder.to_owned(),
            generation: manifest.generation,
            packs_end: 0,
            index,
            nodes,
            lost_are_holes: false,
        }))
    }

    /// The cache that the manifest describes, without a change to any file, even while another
    /// process writes to it. `None` if there is no sound cache, or if it was replaced meanwhile.
    ///
    /// The cache stays readable even if its files are removed later, since each file is opened
    /// here. A manifest names only files that no longer change, or that change only behind the end
    /// that the manifest states.
    pub fn look(files: &mut impl Files, folder: &str) -> Result<Option<Self>, Failure> {
        let Some(manifest) = Manifest::read(files, folder)? else {
            return Ok(None);
        };
        let nodes = NodeCache::of(folder, &manifest);
        if !nodes.has_all(files)? {
            return Ok(None);
        }
        let Some(index) = Index::look(files, folder, &manifest.runs)? else {
            return Ok(None);
        };
        let is_same = Manifest::read(files, folder)?.as_ref() == Some(&manifest);
        Ok(is_same.then(|| Self {
            folder: folder.to_owned(),
            generation: manifest.generation,
            packs_end: 0,
            index,
            nodes,
            lost_are_holes: false,
        }))
    }

    /// The generation up to which the cache is complete.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Adds the records of a durable pack. Its nodes are in the order of the directory.
    pub fn add_pack(&mut self, files: &mut impl Files, pack: &JournalPack) -> Result<(), Failure> {
        self.packs_end = self.packs_end.max(pack.number.saturating_add(1));
        let mut nodes = pack.nodes.iter();
        for entry in &pack.directory.entries {
            let stored = match entry.kind {
                RecordKind::Chunk { key } => Stored::Chunk { key },
                RecordKind::Node => {
                    let plain = nodes.next().ok_or(Failure::CacheLost)?;
                    self.nodes.append(files, plain)?
                }
            };
            self.index
                .insert(files, entry.id, Location::of(pack.number, entry, stored))?;
        }
        Ok(())
    }

    /// The plain bytes of a node, whose id is checked; `None` if the cache does not have it.
    pub fn node(
        &mut self,
        files: &mut impl Files,
        credential: &Credential,
        id: &Id,
    ) -> Result<Option<Vec<u8>>, Failure> {
        match self.index.find(files, id)? {
            Some(place) => self.node_at(files, credential, id, &place),
            None => Ok(None),
        }
    }

    /// As [`node`](Self::node), where the index has the node at this place.
    pub fn node_at(
        &self,
        files: &mut impl Files,
        credential: &Credential,
        id: &Id,
        place: &Location,
    ) -> Result<Option<Vec<u8>>, Failure> {
        let Stored::Node {
            offset,
            plain_bytes,
        } = place.stored
        else {
            return Ok(None);
        };
        let plain = self.nodes.read(files, offset, plain_bytes)?;
        Ok((credential.node_id(&plain) == *id).then_some(plain))
    }

    /// Takes over what another cache has of these packs: every node whose id fits, and the places
    /// of chunks.
    pub fn keep_packs(
        &mut self,
        files: &mut impl Files,
        credential: &Credential,
        old: &Self,
        keeps: &dyn Fn(u64) -> bool,
    ) -> Result<(), Failure> {
        old.index.visit(files, &mut |files, id, location| {
            if !keeps(location.pack) {
                return Ok(());
            }
            let stored = match location.stored {
                Stored::Chunk { key } => Stored::Chunk { key },
                Stored::Node {
                    offset,
                    plain_bytes,
                } => match old.nodes.read(files, offset, plain_bytes) {
                    Ok(plain) if credential.node_id(&plain) == id => {
                        self.nodes.append(files, &plain)?
                    }
                    Ok(_) | Err(Failure::CacheLost) => return Ok(()),
                    Err(failure) => return Err(failure),
                },
            };
            self.index
                .insert(files, id, Location { stored, ..location })
        })
    }

    /// Whether more than half of the nodes' file is dead: nodes of packs whose entries left the
    /// pack table. They are counted only once the file has grown to two and a half times the size
    /// that was in use at the last count, because a count reads the whole index.
    pub fn is_half_dead(&mut self, files: &mut impl Files) -> Result<bool, Failure> {
        if !self.nodes.is_count_due() {
            return Ok(false);
        }
        let (index, mut in_use_bytes) = (&self.index, 0u64);
        index.visit(files, &mut |_, _, location| {
            if let Stored::Node { plain_bytes, .. } = location.stored
                && !index.is_dropped(location.pack)
            {
                in_use_bytes = in_use_bytes.saturating_add(plain_bytes.into());
            }
            Ok(())
        })?;
        self.nodes.counted_bytes = in_use_bytes;
        Ok(in_use_bytes.saturating_mul(2) < self.nodes.length_bytes())
    }

    /// Copies the cache without its dead parts to another folder. The copy is durable, and counts
    /// once the ledger names it.
    pub fn rewrite(
        &self,
        files: &mut impl Files,
        credential: &Credential,
        folder: &str,
        packs_end: u64,
    ) -> Result<Self, Failure> {
        let mut rewritten = Self::create(files, folder)?;
        rewritten.keep_packs(files, credential, self, &|pack| {
            !self.index.is_dropped(pack)
        })?;
        rewritten.nodes.counted_bytes = rewritten.nodes.length_bytes();
        rewritten.save(files, self.generation, packs_end)?;
        Ok(rewritten)
    }

    /// Makes everything durable as the cache of `generation`, in which the packs below `packs_end`
    /// are committed. Packs that no commit has yet are known from the journal alone, and are never
    /// saved here: if the journal were lost, their numbers would be given again.
    pub fn save(
        &mut self,
        files: &mut impl Files,
        generation: u64,
        packs_end: u64,
    ) -> Result<(), Failure> {
        if self.packs_end > packs_end {
            return Err(Failure::internal(
                "the cache would remember packs that no commit has",
            ));
        }
        self.nodes.sync(files)?;
        let runs = self.index.settle(files)?;
        Manifest {
            generation,
            nodes_bytes: self.nodes.length_bytes(),
            nodes_counted_bytes: self.nodes.counted_bytes,
            runs,
        }
        .write(files, &self.folder)?;
        self.generation = generation;
        self.index.remove_unlisted(files)
    }
}
