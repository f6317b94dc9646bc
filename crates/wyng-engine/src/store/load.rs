// SPDX-License-Identifier: GPL-3.0-or-later
//! Builds the cache anew from the store: directories and nodes, pack by pack. No chunk is read.

use std::collections::{BTreeMap, BTreeSet};

use wyng_archive::crypto::{Coder, Credential, Id, Kind};
use wyng_archive::format::{
    Commit, Directory, Malformed, Node, PackEntry, PackState, PacksTree, Place, RecordKind,
};
use wyng_archive::plan::{PacksError, read_packs};
use wyng_archive::{Class, Damage, Fault};
use wyng_control::{Failure, Phase, Problem, Progress, ToClient};

use super::pack::usize_of;
use crate::archive::open_commit;
use crate::cache::Cache;
use crate::outcome::{damaged, problem_of};
use crate::state::{ArchiveFolder, JournalPack, Ledger, Notes, PackNote};
use crate::world::{Client, Files, Parts, Store, World};

/// The cache that is in use while a new one is built.
pub(crate) struct OldCache {
    cache: Cache,
    /// Numbers of packs from this one on may have been given again since.
    packs_end: u64,
}

impl OldCache {
    /// The old cache, if there is one: if it is damaged or missing, nothing is kept.
    pub(crate) fn open(
        files: &mut impl Files,
        credential: &Credential,
        folder: &ArchiveFolder,
        ledger: &Ledger,
    ) -> Option<Self> {
        let head = ledger.head()?;
        let commit = open_commit(credential, &mut Coder::new(0).ok()?, head).ok()?;
        let cache = Cache::open(files, &folder.cache(ledger.cache)).ok()??;
        Some(Self {
            cache,
            packs_end: commit.next_pack(),
        })
    }
}

/// Builds index and nodes anew in a folder of the state: the pack table from right to left, then of
/// each pack in use its directory and its nodes; a pack that was given up may be gone. A pack that
/// was given up in favour of others is read too: it becomes live again if one of them is lost. A
/// directory or node that cannot be read comes from the old cache, as far as its ids fit. A pack
/// that cannot be read is noted. It is also reported, unless the archive marks it lost already; the
/// number of packs that were reported is returned.
pub(crate) fn rebuild<P: Parts>(
    world: &mut World<P>,
    credential: &Credential,
    folder: &str,
    head: &Commit,
    notes: &mut Notes,
    mut old: Option<&mut OldCache>,
) -> Result<u64, Failure> {
    let mut coder = Coder::new(0).map_err(|_| Failure::OutOfMemory)?;
    let packs = read_pack_table(world, credential, &mut coder, head, old.as_deref_mut())?;
    // Damage of packs that went meanwhile is nobody's: no verify would find them sound again.
    notes.packs.retain(|number, _| {
        let entry = packs.get(number);
        entry.is_some_and(|entry| entry.state.given_up().is_none())
    });
    let mut cache = Cache::create(&mut world.files, folder)?;
    let (mut done_bytes, total_bytes, mut problems, mut unread) =
        (0u64, packs.len() as u64, 0u64, BTreeSet::new());
    let (mut found, mut read_count) = (Vec::new(), 0usize);
    for (number, entry) in packs {
        if world.client.cancelled() {
            return Err(Failure::Interrupted);
        }
        let has_heirs = match entry.state {
            PackState::Live | PackState::Lost => false,
            PackState::GivenUp(given_up) if given_up.heirs.is_some() => true,
            PackState::GivenUp(_) | PackState::Going(_) => continue,
        };
        if entry.state == PackState::Lost {
            notes.packs.entry(number).or_insert(PackNote::Lost);
        }
        read_count = read_count.saturating_add(1);
        let (pack, damage) = read_pack(&mut world.store, credential, &mut coder, number, &entry)?;
        if has_heirs && damage.is_some() {
            // It may be gone or damaged: nothing needs it unless an heir is lost.
            continue;
        }
        cache.add_pack(&mut world.files, &pack)?;
        if let Some(damage) = damage {
            unread.insert(number);
            if entry.state != PackState::Lost {
                found.push(number);
                problems = problems.saturating_add(1);
                world.client.tell(ToClient::Problem(damage))?;
            }
        }
        if world.client.cancelled() {
            return Err(Failure::Interrupted);
        }
        done_bytes = done_bytes.saturating_add(1);
        world.client.progress(Progress {
            phase: Phase::Loading,
            volume: None,
            done_bytes,
            total_bytes,
            sent_bytes: 0,
        });
    }
    let note = PackNote::of_damage(found.len(), read_count);
    notes
        .packs
        .extend(found.into_iter().map(|number| (number, note)));
    if let Some(old) = old.filter(|_| !unread.is_empty()) {
        unread.retain(|number| *number < old.packs_end);
        let keeps = |pack: u64| unread.contains(&pack);
        match cache.keep_packs(&mut world.files, credential, &old.cache, &keeps) {
            Ok(()) | Err(Failure::CacheLost) => {}
            Err(failure) => return Err(failure),
        }
    }
    cache.save(&mut world.files, head.generation, head.next_pack())?;
    Ok(problems)
}

/// All packs of the head, by number: the pack table read from the store, or node by node from the
/// old cache where the store's copy is missing or damaged.
fn read_pack_table<P: Parts>(
    world: &mut World<P>,
    credential: &Credential,
    coder: &mut Coder,
    head: &Commit,
    mut old: Option<&mut OldCache>,
) -> Result<BTreeMap<u64, PackEntry>, Failure> {
    let mut reader = MetaReader {
        store: &mut world.store,
        credential,
        coder,
    };
    let load = &mut |pack: &PackEntry,
                     place: &Place,
                     level: u8,
                     room: u64|
     -> Result<Node<PacksTree>, Failure> {
        let plain = match (reader.record(Kind::Node, pack, place), old.as_mut()) {
            (Err(failure @ (Failure::Missing { .. } | Failure::Damaged { .. })), Some(old)) => old
                .cache
                .node(&mut world.files, credential, &place.id)?
                .ok_or(failure)?,
            (read, _) => read?,
        };
        Node::decode(&plain, level, room).map_err(|Malformed(rule)| {
            damaged(&Damage::new(Class::Node, place.id.0, Fault::Shape(rule)))
        })
    };
    read_packs(head, load).map_err(|error| match error {
        PacksError::Damage(damage) => damaged(&damage),
        PacksError::Nodes(failure) => failure,
    })
}

/// A pack's directory and nodes as far as they can be read, and the problem if they cannot.
pub(crate) fn read_pack(
    store: &mut impl Store,
    credential: &Credential,
    coder: &mut Coder,
    number: u64,
    entry: &PackEntry,
) -> Result<(JournalPack, Option<Problem>), Failure> {
    let mut reader = MetaReader {
        store,
        credential,
        coder,
    };
    let mut pack = JournalPack {
        number,
        entry: *entry,
        directory: Directory {
            entries: Vec::new(),
        },
        nodes: Vec::new(),
    };
    match reader.directory(number, entry) {
        Ok(directory) => pack.directory = directory,
        Err(failure) => return Ok((pack, Some(problem_of(failure)?))),
    }
    match reader.nodes(entry, &pack.directory) {
        Ok(nodes) => {
            pack.nodes = nodes;
            Ok((pack, None))
        }
        Err(failure) => {
            pack.directory
                .entries
                .retain(|entry| entry.kind != RecordKind::Node);
            Ok((pack, Some(problem_of(failure)?)))
        }
    }
}

/// Reads and opens the metadata of packs.
struct MetaReader<'a, S> {
    store: &'a mut S,
    credential: &'a Credential,
    coder: &'a mut Coder,
}

impl<S: Store> MetaReader<'_, S> {
    fn directory(&mut self, number: u64, pack: &PackEntry) -> Result<Directory, Failure> {
        let place = Place {
            pack: number,
            offset_bytes: pack.directory_offset_bytes,
            length_bytes: pack.directory_length_bytes,
            id: pack.directory,
        };
        let plain = self.record(Kind::Directory, pack, &place)?;
        Directory::decode(&plain, pack.directory_offset_bytes).map_err(|Malformed(rule)| {
            let fault = Fault::Shape(rule);
            damaged(&Damage::new(Class::Directory, pack.directory.0, fault))
        })
    }

    /// Reads all nodes of a pack as one range: they stand together behind its chunks.
    fn nodes(&mut self, pack: &PackEntry, directory: &Directory) -> Result<Vec<Vec<u8>>, Failure> {
        let nodes: Vec<_> = directory
            .entries
            .iter()
            .filter(|entry| entry.kind == RecordKind::Node)
            .collect();
        let Some(begin) = nodes.iter().map(|entry| entry.offset_bytes).min() else {
            return Ok(Vec::new());
        };
        let length_bytes = pack.directory_offset_bytes.saturating_sub(begin);
        let bytes = self.range(pack, begin, length_bytes)?;
        let mut plains = Vec::with_capacity(nodes.len());
        for entry in nodes {
            let offset = usize_of(entry.offset_bytes.saturating_sub(begin));
            let record = bytes
                .as_ref()
                .get(offset..offset.saturating_add(usize_of(entry.length_bytes)))
                .unwrap_or_default();
            plains.push(self.open(Kind::Node, &entry.id, record)?);
        }
        Ok(plains)
    }

    fn record(&mut self, kind: Kind, pack: &PackEntry, place: &Place) -> Result<Vec<u8>, Failure> {
        let record = self.range(pack, place.offset_bytes, place.length_bytes)?;
        self.open(kind, &place.id, record.as_ref())
    }

    fn open(&mut self, kind: Kind, id: &Id, record: &[u8]) -> Result<Vec<u8>, Failure> {
        let mut plain = Vec::new();
        self.credential
            .open_meta(kind, self.coder, id, record, &mut plain)
            .map_err(|damage| damaged(&damage))?;
        Ok(plain)
    }

    fn range(
        &mut self,
        pack: &PackEntry,
        offset_bytes: u32,
        length_bytes: u32,
    ) -> Result<S::Bytes, Failure> {
        let refuse = |fault| damaged(&Damage::new(Class::Pack, pack.name.0, fault));
        if !pack.contains(offset_bytes, length_bytes) {
            return Err(refuse(Fault::Place));
        }
        self.store.request(pack.name, offset_bytes, length_bytes)?;
        self.store.answer()?.or_fault().map_err(refuse)
    }
}
