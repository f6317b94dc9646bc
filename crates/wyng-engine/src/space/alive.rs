// SPDX-License-Identifier: GPL-3.0-or-later
//! Marking the records that are alive: those that the sessions that stay reach, and the nodes by
//! which these sessions are found and opened. Everything comes from the cache; nothing is fetched
//! and nothing is changed.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use wyng_archive::crypto::{Credential, Id};
use wyng_archive::format::{
    ContentTree, DIRECTORY_ENTRY_BYTES, KeyEntry, KeysTree, Node, PackState, SessionEntry,
    SessionsTree, Shape, VolumeEntry, VolumesTree,
};
use wyng_archive::plan::giving_up::{Copy, Marked, alive_copies};
use wyng_archive::plan::{Nodes, Root, mark_by_level};
use wyng_control::Failure;

use crate::archive::{
    Archive, Packs, content_root, decode_node, keys_root, sessions_root, volumes_root,
};
use crate::cache::{Cache, Location, Lookup};
use crate::world::{Client, Files};

/// Number of chunks that are looked up together: 16 MiB of ids.
const CHUNKS_AT_ONCE: usize = 512 * 1024;

/// The trees from which records are alive.
#[derive(Debug, Clone)]
pub struct Roots {
    volumes: Root<Id>,
    keys: Root<Id>,
    tables: Vec<Root<Id>>,
    sessions: Vec<SessionEntry>,
    /// Volumes whose session table is lost, so that their sessions are not known.
    tables_lost: u64,
    /// The index knows a part of the packs only: a node that it lacks is unknown, and no sign of a
    /// cache that is lost.
    in_part: bool,
}

impl Roots {
    /// One session alone, without the tables by which it is found.
    pub(super) fn of_session(session: SessionEntry) -> Self {
        Self {
            volumes: Root::empty(0),
            keys: Root::empty(0),
            tables: Vec::new(),
            sessions: vec![session],
            tables_lost: 0,
            in_part: true,
        }
    }

    /// The trees of the head, with the sessions for which `stays` is true. The head's own tables
    /// are alive as they are, with the entries of sessions that do not stay.
    pub fn of_head(
        files: &mut impl Files,
        archive: &mut Archive,
        stays: &mut dyn FnMut(&VolumeEntry, &SessionEntry) -> bool,
    ) -> Result<Self, Failure> {
        let mut roots = Self {
            volumes: volumes_root(&archive.head),
            keys: keys_root(&archive.head),
            tables: Vec::new(),
            sessions: Vec::new(),
            tables_lost: 0,
            in_part: false,
        };
        for (_, volume) in archive.volumes(files)? {
            roots.tables.push(sessions_root(&volume));
            match archive.sessions(files, &volume) {
                Ok(sessions) => roots.sessions.extend(
                    sessions
                        .into_iter()
                        .filter(|session| stays(&volume, session)),
                ),
                Err(Failure::SessionsLost { .. }) => {
                    roots.tables_lost = roots.tables_lost.saturating_add(1);
                }
                Err(failure) => return Err(failure),
            }
        }
        Ok(roots)
    }
}

/// Records that are alive, by pack.
#[derive(Debug, Default)]
pub struct Alive {
    packs: BTreeMap<u64, AliveIn>,
    /// Nodes, records and tables that no pack is known to hold. What lies below an unknown node is
    /// unknown too and may be anywhere, so that nothing may be given up while this is not 0.
    pub unknown: u64,
}

/// The records of one pack that are alive.
#[derive(Debug, Default)]
pub struct AliveIn {
    /// Their offsets, bytes.
    pub offsets: HashSet<u32>,
    /// Their length, with their share of the directory, bytes.
    pub bytes: u64,
}

impl Alive {
    /// Live records of a pack; `None` if there are none.
    pub fn of(&self, pack: u64) -> Option<&AliveIn> {
        self.packs.get(&pack)
    }

    /// The packs in which anything is alive, ascending.
    pub fn packs(&self) -> impl Iterator<Item = u64> + '_ {
        self.packs.keys().copied()
    }

    fn add(&mut self, location: &Location) {
        let pack = self.packs.entry(location.pack).or_default();
        if pack.offsets.insert(location.offset_bytes) {
            let length = u64::from(location.length_bytes);
            let length = length.saturating_add(DIRECTORY_ENTRY_BYTES as u64);
            pack.bytes = pack.bytes.saturating_add(length);
        }
    }
}

/// The packs in which any record is alive.
#[derive(Debug, Default)]
pub struct AlivePacks {
    /// Their numbers.
    pub packs: BTreeSet<u64>,
    /// See [`Alive::unknown`].
    pub unknown: u64,
}

impl AlivePacks {
    /// The live packs in the form that the choice of packs to give up takes. `table_nodes`: the
    /// packs that hold nodes of the head's pack table.
    pub fn marked(&self, packs: &Packs, table_nodes: &BTreeSet<u64>) -> Vec<Marked> {
        let live = packs
            .iter()
            .filter(|(_, entry)| entry.state == PackState::Live);
        live.map(|(number, _)| Marked {
            number: *number,
            is_needed: self.packs.contains(number),
            holds_table_node: table_nodes.contains(number),
        })
        .collect()
    }
}

/// Marks every record that the roots reach. Where several packs hold an id, `copy` says of each
/// when it came and when it was read whole, and the rule of [`alive_copies`] decides; a copy in a
/// lost pack counts only if there is no other.
///
/// Takes about 8 bytes of memory for each record that is alive, beside what [`alive_packs`] takes.
///
/// Fails with [`Failure::Interrupted`] if the client cancels.
pub fn mark_alive(
    files: &mut impl Files,
    client: &mut impl Client,
    archive: &Archive,
    roots: &Roots,
    copy: &dyn Fn(u64) -> Copy,
) -> Result<Alive, Failure> {
    let mut alive = Alive::default();
    let mut found = |location: &Location| alive.add(location);
    let marking = Marking::of((files, client), archive, (roots, copy), &mut found);
    alive.unknown = marking.all(roots)?;
    Ok(alive)
}

/// Finds the packs of the records that [`mark_alive`] marks.
///
/// That a pack is not needed is a statement about every session that stays, and nothing on the disk
/// is trusted with it, so every node that the roots reach is loaded. A node that sessions share is
/// loaded once. Ids are looked up in ascending order: nodes a level at a time, and chunks
/// `CHUNKS_AT_ONCE` at a time, so that each block of the index is read once for many ids. Takes
/// 32 bytes of memory for each chunk that waits, and about 100 for each node.
///
/// Fails with [`Failure::Interrupted`] if the client cancels.
pub fn alive_packs(
    files: &mut impl Files,
    client: &mut impl Client,
    archive: &Archive,
    roots: &Roots,
    copy: &dyn Fn(u64) -> Copy,
) -> Result<AlivePacks, Failure> {
    let mut alive = AlivePacks::default();
    let mut found = |location: &Location| {
        alive.packs.insert(location.pack);
    };
    let marking = Marking::of((files, client), archive, (roots, copy), &mut found);
    alive.unknown = marking.all(roots)?;
    Ok(alive)
}

/// Loads nodes, and marks them and the chunks that they name.
struct Marking<'a, F, C> {
    files: &'a mut F,
    client: &'a mut C,
    cache: &'a Cache,
    credential: &'a Credential,
    lookup: Lookup<'a>,
    /// Chunks that are not looked up yet.
    chunks: Vec<Id>,
    /// See [`Alive::unknown`].
    unknown: u64,
    in_part: bool,
    copy: &'a dyn Fn(u64) -> Copy,
    /// Takes each place that is alive, some more than once.
    found: &'a mut dyn FnMut(&Location),
}

impl<'a, F: Files, C: Client> Marking<'a, F, C> {
    fn of(
        (files, client): (&'a mut F, &'a mut C),
        archive: &'a Archive,
        (roots, copy): (&Roots, &'a dyn Fn(u64) -> Copy),
        found: &'a mut dyn FnMut(&Location),
    ) -> Self {
        Self {
            files,
            client,
            cache: &archive.cache,
            credential: &archive.credential,
            lookup: archive.cache.index.lookup(),
            chunks: Vec::new(),
            unknown: roots.tables_lost,
            in_part: roots.in_part,
            copy,
            found,
        }
    }

    /// Marks what the roots reach; the number of lost parts.
    fn all(mut self, roots: &Roots) -> Result<u64, Failure> {
        // Nodes that were entered.
        let mut seen = HashSet::new();
        let mut first = |id: &Id| seen.insert(*id);
        mark_by_level::<VolumesTree, _, _>(&[roots.volumes], &mut self, &mut first)?;
        mark_by_level::<KeysTree, _, _>(&[roots.keys], &mut self, &mut first)?;
        mark_by_level::<SessionsTree, _, _>(&roots.tables, &mut self, &mut first)?;
        let contents: Vec<Root<Id>> = roots.sessions.iter().map(content_root).collect();
        mark_by_level::<ContentTree, _, _>(&contents, &mut self, &mut first)?;
        for session in &roots.sessions {
            self.chunks.extend(&session.settings);
        }
        self.take_chunks()?;
        Ok(self.unknown)
    }

    /// Looks up the chunks that wait.
    fn take_chunks(&mut self) -> Result<(), Failure> {
        if self.client.cancelled() {
            return Err(Failure::Interrupted);
        }
        let mut chunks = std::mem::take(&mut self.chunks);
        chunks.sort_unstable();
        chunks.dedup();
        for id in &chunks {
            self.take(id)?;
        }
        chunks.clear();
        self.chunks = chunks;
        Ok(())
    }

    /// Marks the places of an id; the best one, if there is any.
    fn take(&mut self, id: &Id) -> Result<Option<Location>, Failure> {
        let index = &self.cache.index;
        let (best, others) = self.lookup.find_copies(self.files, id)?;
        let Some(best) = best else {
            self.unknown = self.unknown.saturating_add(1);
            return Ok(None);
        };
        if others.is_empty() {
            (self.found)(&best);
            return Ok(Some(best));
        }
        let best_is_lost = index.is_lost(&best);
        let others = others
            .into_iter()
            .filter(|other| best_is_lost || !index.is_lost(other));
        let places: Vec<Location> = std::iter::once(best).chain(others).collect();
        let copies: Vec<Copy> = places.iter().map(|place| (self.copy)(place.pack)).collect();
        let alive = alive_copies(&copies);
        for place in &places {
            if best_is_lost || alive.contains(&place.pack) {
                (self.found)(place);
            }
        }
        Ok(Some(best))
    }

    /// Marks a node, and gives its plain bytes; `None` if they are not in the cache although an
    /// intact cache may lack them.
    fn node(&mut self, id: &Id) -> Result<Option<Vec<u8>>, Failure> {
        let place = self.take(id)?;
        let is_counted = place.is_none();
        let plain = match place {
            Some(place) => self.cache.node_at(self.files, self.credential, id, &place),
            None => Ok(None),
        };
        match plain {
            Ok(Some(plain)) => Ok(Some(plain)),
            // The index has the node in a sound pack: the cache is damaged, and nothing is lost.
            Ok(None) if place.is_some_and(|place| !self.cache.index.is_lost(&place)) => {
                Err(Failure::CacheLost)
            }
            Ok(None) if self.cache.index.has_lost() => {
                if !is_counted {
                    self.unknown = self.unknown.saturating_add(1);
                }
                Ok(None)
            }
            Ok(None) if self.in_part => Ok(None),
            Ok(None) => Err(Failure::CacheLost),
            Err(failure) => Err(failure),
        }
    }
}

impl<S, F, C> Nodes<S> for Marking<'_, F, C>
where
    S: Shape<Child = Id>,
    S::Value: Chunk,
    F: Files,
    C: Client,
{
    type Error = Failure;

    fn load(&mut self, child: &Id, level: u8, room: u64) -> Result<Node<S>, Failure> {
        let Some(plain) = self.node(child)? else {
            return Ok(Node::empty(level));
        };
        let node = decode_node::<S>(child, &plain, level, room)?;
        if let Node::Leaf(values) = &node {
            let chunks = values.iter().flatten().filter_map(Chunk::chunk);
            self.chunks.extend(chunks);
            if self.chunks.len() >= CHUNKS_AT_ONCE {
                self.take_chunks()?;
            }
        }
        Ok(node)
    }
}

/// An entry of a leaf that may name a chunk.
trait Chunk {
    /// The chunk's id; `None` for an entry that names trees or nothing.
    fn chunk(&self) -> Option<&Id>;
}

impl Chunk for Id {
    fn chunk(&self) -> Option<&Id> {
        Some(self)
    }
}

/// An entry that names trees, if anything: these are roots by themselves.
macro_rules! names_no_chunk {
    ($($entry:ty),*) => {
        $(impl Chunk for $entry {
            fn chunk(&self) -> Option<&Id> {
                None
            }
        })*
    };
}

names_no_chunk!(VolumeEntry, SessionEntry, KeyEntry);
