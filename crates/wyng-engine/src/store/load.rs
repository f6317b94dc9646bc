// SPDX-License-Identifier: GPL-3.0-or-later
//! Fetching what the cache holds from the store: directories and nodes, pack by pack.

use std::collections::BTreeSet;

use wyng_archive::crypto::{Coder, Credential, Id, Kind};
use wyng_archive::format::{
    Commit, Directory, Malformed, Node, PackEntry, PackState, PacksTree, Place, RecordKind,
};
use wyng_archive::plan::{PacksError, read_packs};
use wyng_archive::{Class, Damage, Fault};
use wyng_control::{Failure, Phase, Problem, Progress, ToClient};

use super::fetch::usize_of;
use crate::archive::open_commit;
use crate::cache::Cache;
use crate::outcome::{damaged, problem_of};
use crate::state::{ArchiveFolder, JournalPack, Ledger, Notes, PackNote};
use crate::world::{Client, Files, Parts, Store, World};

/// The cache that is in use while a new one is built.
pub(crate) struct OldCache {
    cache: Cache,
    /// Packs from this number on may have been given anew since.
    packs_end: u64,
}

impl OldCache {
    /// What there is of it: that it is damaged or missing only means that nothing is kept.
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

/// Builds index and nodes anew in a folder of the state: (a) from right to left, then of each pack
/// its directory and its nodes. What cannot be read comes from the old cache, as far as its ids
/// fit. A pack that cannot be read is noted; unless the archive marks it lost already it is told,
/// and how many these are is returned.
pub(crate) fn rebuild<P: Parts>(
    world: &mut World<P>,
    credential: &Credential,
    folder: &str,
    head: &Commit,
    notes: &mut Notes,
    old: Option<&mut OldCache>,
) -> Result<u64, Failure> {
    let mut coder = Coder::new(0).map_err(|_| Failure::OutOfMemory)?;
    let mut old = old;
    let packs = {
        let load = &mut |pack: &PackEntry,
                         place: &Place,
                         level: u8,
                         room: u64|
         -> Result<Node<PacksTree>, Failure> {
            let read = read_meta(
                &mut world.store,
                credential,
                &mut coder,
                Kind::Node,
                pack,
                place.offset_bytes,
                place.length_bytes,
                &place.id,
            );
            let plain = match (read, old.as_mut()) {
                (Err(failure @ (Failure::Missing { .. } | Failure::Damaged { .. })), Some(old)) => {
                    old.cache
                        .node(&mut world.files, credential, &place.id)?
                        .ok_or(failure)?
                }
                (read, _) => read?,
            };
            Node::decode(&plain, level, room).map_err(|Malformed(rule)| {
                damaged(&Damage::new(Class::Node, place.id.0, Fault::Shape(rule)))
            })
        };
        read_packs(head, load).map_err(|error| match error {
            PacksError::Damage(damage) => damaged(&damage),
            PacksError::Nodes(failure) => failure,
        })?
    };
    let mut cache = Cache::create(&mut world.files, folder)?;
    let (mut done_bytes, total_bytes, mut problems, mut unread) =
        (0u64, packs.len() as u64, 0u64, BTreeSet::new());
    for (number, entry) in packs {
        if world.client.cancelled() {
            return Err(Failure::Interrupted);
        }
        if entry.state == PackState::Lost {
            notes.packs.entry(number).or_insert(PackNote::Lost);
        }
        let (pack, damage) = read_pack(&mut world.store, credential, &mut coder, number, &entry)?;
        cache.add_pack(&mut world.files, &pack)?;
        if let Some(damage) = damage {
            notes.packs.insert(number, PackNote::Lost);
            unread.insert(number);
            if entry.state != PackState::Lost {
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
    if let Some(old) = old.filter(|_| !unread.is_empty()) {
        unread.retain(|number| *number < old.packs_end);
        match cache.keep_packs(&mut world.files, credential, &old.cache, &unread) {
            Ok(()) | Err(Failure::CacheLost) => {}
            Err(failure) => return Err(failure),
        }
    }
    cache.save(&mut world.files, head.generation, head.next_pack())?;
    Ok(problems)
}

/// What can be read of a pack's directory and nodes, and what could not.
pub(crate) fn read_pack(
    store: &mut impl Store,
    credential: &Credential,
    coder: &mut Coder,
    number: u64,
    entry: &PackEntry,
) -> Result<(JournalPack, Option<Problem>), Failure> {
    let mut pack = JournalPack {
        number,
        entry: *entry,
        directory: Directory {
            entries: Vec::new(),
        },
        nodes: Vec::new(),
    };
    let (offset, length) = (entry.directory_offset_bytes, entry.directory_length_bytes);
    let refuse = |rule| {
        damaged(&Damage::new(
            Class::Directory,
            entry.directory.0,
            Fault::Shape(rule),
        ))
    };
    let directory = read_meta(
        store,
        credential,
        coder,
        Kind::Directory,
        entry,
        offset,
        length,
        &entry.directory,
    )
    .and_then(|plain| Directory::decode(&plain, offset).map_err(|Malformed(rule)| refuse(rule)));
    match directory {
        Ok(directory) => pack.directory = directory,
        Err(failure) => return Ok((pack, Some(problem_of(failure)?))),
    }
    match read_nodes(store, credential, coder, entry, &pack.directory) {
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

/// The nodes of a pack stand together behind its chunks: one range.
fn read_nodes(
    store: &mut impl Store,
    credential: &Credential,
    coder: &mut Coder,
    pack: &PackEntry,
    directory: &Directory,
) -> Result<Vec<Vec<u8>>, Failure> {
    let nodes: Vec<_> = directory
        .entries
        .iter()
        .filter(|entry| entry.kind == RecordKind::Node)
        .collect();
    let Some(begin) = nodes.iter().map(|entry| entry.offset_bytes).min() else {
        return Ok(Vec::new());
    };
    let bytes = read_range(
        store,
        pack,
        begin,
        pack.directory_offset_bytes.saturating_sub(begin),
    )?;
    let mut plains = Vec::with_capacity(nodes.len());
    for entry in nodes {
        let offset = usize_of(entry.offset_bytes.saturating_sub(begin));
        let record = bytes
            .as_ref()
            .get(offset..offset.saturating_add(usize_of(entry.length_bytes)))
            .unwrap_or_default();
        let mut plain = Vec::new();
        credential
            .open_meta(Kind::Node, coder, &entry.id, record, &mut plain)
            .map_err(|damage| damaged(&damage))?;
        plains.push(plain);
    }
    Ok(plains)
}

#[allow(clippy::too_many_arguments)] // a place in a pack, and what opens it
fn read_meta(
    store: &mut impl Store,
    credential: &Credential,
    coder: &mut Coder,
    kind: Kind,
    pack: &PackEntry,
    offset_bytes: u32,
    length_bytes: u32,
    id: &Id,
) -> Result<Vec<u8>, Failure> {
    let record = read_range(store, pack, offset_bytes, length_bytes)?;
    let mut plain = Vec::new();
    credential
        .open_meta(kind, coder, id, record.as_ref(), &mut plain)
        .map_err(|damage| damaged(&damage))?;
    Ok(plain)
}

fn read_range<S: Store>(
    store: &mut S,
    pack: &PackEntry,
    offset_bytes: u32,
    length_bytes: u32,
) -> Result<S::Bytes, Failure> {
    let refuse = |fault| damaged(&Damage::new(Class::Pack, pack.name.0, fault));
    if !pack.contains(offset_bytes, length_bytes) {
        return Err(refuse(Fault::Place));
    }
    store.request(pack.name, offset_bytes, length_bytes)?;
    store.answer()?.or_fault().map_err(refuse)
}
