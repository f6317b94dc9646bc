// SPDX-License-Identifier: GPL-3.0-or-later
//! What can be built anew from the store: where each record lies, and the nodes. Backup reads nothing else, which makes push-only true.
//!
//! It carries the generation that it belongs to. Behind the ledger it is rolled forward from the journal; otherwise it is discarded.

mod filter;
mod index;
mod manifest;
mod nodes;
mod run;

pub use index::Index;
pub use manifest::Manifest;
pub use nodes::NodeCache;
pub use run::{Location, Stored};

use wyng_archive::crypto::{Credential, Id};
use wyng_archive::format::{DirectoryEntry, RecordKind};
use wyng_control::Failure;

use super::state::{ArchiveFolder, JournalPack};
use super::world::World;

/// Index and nodes of one archive.
pub struct Cache {
    folder: ArchiveFolder,
    generation: u64,
    /// Ids to places.
    pub index: Index,
    /// Plain bytes of nodes.
    pub nodes: NodeCache,
}

impl Cache {
    /// An empty cache of generation 0; whatever files were there are removed.
    pub fn create<W: World>(world: &mut W, folder: &ArchiveFolder) -> Result<Self, Failure> {
        world.remove(&folder.file("cache"))?;
        Ok(Self { folder: folder.clone(), generation: 0, index: Index::create(folder), nodes: NodeCache::open(folder, 0) })
    }

    /// The cache as its manifest says; `None` if there is none that is sound. Files that the manifest does not name are removed.
    pub fn open<W: World>(world: &mut W, folder: &ArchiveFolder) -> Result<Option<Self>, Failure> {
        let Some(manifest) = Manifest::read(world, folder)? else { return Ok(None) };
        let nodes = NodeCache::open(folder, manifest.nodes_bytes);
        if !nodes.cut_to_length(world)? {
            return Ok(None);
        }
        let Some(index) = Index::open(world, folder, &manifest.runs)? else { return Ok(None) };
        Ok(Some(Self { folder: folder.clone(), generation: manifest.generation, index, nodes }))
    }

    /// The cache as its manifest says, without a change to any file, also while another process writes to it. `None` if there is none that
    /// is sound, or if it was replaced meanwhile.
    ///
    /// What it holds stays readable though the files are removed later: each is opened here. A manifest names only files that no longer
    /// change, or of which only what is behind its end does.
    pub fn look<W: World>(world: &mut W, folder: &ArchiveFolder) -> Result<Option<Self>, Failure> {
        let Some(manifest) = Manifest::read(world, folder)? else { return Ok(None) };
        let nodes = NodeCache::open(folder, manifest.nodes_bytes);
        if !nodes.has_all(world)? {
            return Ok(None);
        }
        let Some(index) = Index::look(world, folder, &manifest.runs)? else { return Ok(None) };
        let is_same = Manifest::read(world, folder)?.as_ref() == Some(&manifest);
        Ok(is_same.then(|| Self { folder: folder.clone(), generation: manifest.generation, index, nodes }))
    }

    /// The generation that it belongs to.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Takes in what a durable pack holds. Nodes come in the order of the directory.
    pub fn add_pack<W: World>(&mut self, world: &mut W, pack: &JournalPack) -> Result<(), Failure> {
        let mut nodes = pack.nodes.iter();
        for entry in &pack.directory.entries {
            let stored = match entry.kind {
                RecordKind::Chunk { key } => Stored::Chunk { key },
                RecordKind::Node => {
                    let plain = nodes.next().ok_or(Failure::CacheLost)?;
                    self.nodes.append(world, plain)?
                }
            };
            self.index.insert(world, entry.id, location(pack.number, entry, stored))?;
        }
        Ok(())
    }

    /// The plain bytes of a node, whose id is checked; `None` if the cache does not have it.
    pub fn node<W: World>(&mut self, world: &mut W, credential: &Credential, id: &Id) -> Result<Option<Vec<u8>>, Failure> {
        let Some(Location { stored: Stored::Node { offset, plain_bytes }, .. }) = self.index.find(world, id)? else { return Ok(None) };
        let plain = self.nodes.read(world, offset, plain_bytes)?;
        Ok((credential.node_id(&plain) == *id).then_some(plain))
    }

    /// Makes everything durable as the cache of `generation`.
    pub fn save<W: World>(&mut self, world: &mut W, generation: u64) -> Result<(), Failure> {
        self.nodes.sync(world)?;
        let runs = self.index.settle(world)?;
        Manifest { generation, nodes_bytes: self.nodes.length_bytes(), runs }.write(world, &self.folder)?;
        self.generation = generation;
        self.index.remove_unlisted(world)
    }
}

/// Where a directory's entry lies.
pub fn location(pack: u64, entry: &DirectoryEntry, stored: Stored) -> Location {
    Location { pack, offset_bytes: entry.offset_bytes, length_bytes: entry.length_bytes, stored }
}
