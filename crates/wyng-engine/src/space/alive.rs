// SPDX-License-Identifier: GPL-3.0-or-later
//! Marking the records that are alive: those that the sessions that stay reach, and the nodes by
//! which these sessions are found and opened. Everything comes from the cache; nothing is fetched
//! and nothing is changed.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use wyng_archive::crypto::Id;
use wyng_archive::format::{
    ContentTree, DIRECTORY_ENTRY_BYTES, KeyEntry, KeysTree, Node, PackState, SessionEntry,
    SessionsTree, Shape, VolumeEntry, VolumesTree,
};
use wyng_archive::plan::giving_up::{Copy, Marked, alive_copies};
use wyng_archive::plan::{Nodes, Root, mark};
use wyng_control::Failure;

use crate::archive::{
    Archive, CachedNodes, EveryNode, Packs, content_root, keys_root, sessions_root, volumes_root,
};
use crate::cache::Location;
use crate::world::{Client, Files};

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

    /// The live packs in the form that the choice of packs to give up takes. `table_nodes`: the
    /// packs that hold nodes of the head's pack table.
    pub fn marked(&self, packs: &Packs, table_nodes: &BTreeSet<u64>) -> Vec<Marked> {
        let live = packs
            .iter()
            .filter(|(_, entry)| entry.state == PackState::Live);
        live.map(|(number, _)| Marked {
            number: *number,
            alive_records: self.of(*number).map_or(0, |pack| pack.offsets.len() as u64),
            holds_table_node: table_nodes.contains(number),
        })
        .collect()
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

/// Marks every record that the roots reach. Where several packs hold an id, `copy` says of each
/// when it came and when it was read whole, and the rule of [`alive_copies`] decides; a copy in a
/// lost pack counts only if there is no other. Takes one look-up in the index for each entry of
/// each node, and about 8 bytes of memory for each record that is alive.
///
/// Fails with [`Failure::Interrupted`] if the client cancels.
pub fn mark_alive(
    files: &mut impl Files,
    client: &mut impl Client,
    archive: &mut Archive,
    roots: &Roots,
    copy: &dyn Fn(u64) -> Copy,
) -> Result<Alive, Failure> {
    let mut marking = Marking {
        nodes: archive.nodes(files),
        alive: Alive {
            unknown: roots.tables_lost,
            ..Alive::default()
        },
        seen: HashSet::new(),
        in_part: roots.in_part,
        copy,
    };
    marking.tree::<VolumesTree>(&roots.volumes)?;
    marking.tree::<KeysTree>(&roots.keys)?;
    for table in &roots.tables {
        marking.tree::<SessionsTree>(table)?;
    }
    for session in &roots.sessions {
        if client.cancelled() {
            return Err(Failure::Interrupted);
        }
        marking.tree::<ContentTree>(&content_root(session))?;
        for id in &session.settings {
            marking.take(id)?;
        }
    }
    Ok(marking.alive)
}

/// Loads nodes, and marks them and the chunks that they name.
struct Marking<'a, F> {
    nodes: CachedNodes<'a, F>,
    alive: Alive,
    /// Nodes that were entered. Sessions share most of them.
    seen: HashSet<Id>,
    in_part: bool,
    copy: &'a dyn Fn(u64) -> Copy,
}

impl<F: Files> Marking<'_, F> {
    fn tree<S>(&mut self, root: &Root<Id>) -> Result<(), Failure>
    where
        S: Shape<Child = Id>,
        S::Value: Chunk,
    {
        let mut seen = std::mem::take(&mut self.seen);
        let marked = mark::<S, _, _, _>(root, self, &mut |id| seen.insert(*id), &mut |_| Ok(()));
        self.seen = seen;
        marked
    }

    /// Whether the index has the node in a pack that is not lost, so that the cache must have it.
    fn is_at_hand(&mut self, id: &Id) -> Result<bool, Failure> {
        let index = &self.nodes.cache.index;
        Ok(index.find_sound(self.nodes.files, id)?.is_some())
    }

    fn take(&mut self, id: &Id) -> Result<(), Failure> {
        let index = &self.nodes.cache.index;
        let (best, others) = index.find_copies(self.nodes.files, id)?;
        let Some(best) = best else {
            self.alive.unknown = self.alive.unknown.saturating_add(1);
            return Ok(());
        };
        let best_is_lost = index.is_lost(&best);
        let others = others
            .into_iter()
            .filter(|other| best_is_lost || !index.is_lost(other));
        let places: Vec<Location> = std::iter::once(best).chain(others).collect();
        let copies: Vec<Copy> = places.iter().map(|place| (self.copy)(place.pack)).collect();
        let alive = alive_copies(&copies);
        for place in &places {
            if best_is_lost || alive.contains(&place.pack) {
                self.alive.add(place);
            }
        }
        Ok(())
    }
}

impl<S, F> Nodes<S> for Marking<'_, F>
where
    S: Shape<Child = Id>,
    S::Value: Chunk,
    F: Files,
{
    type Error = Failure;

    fn load(&mut self, child: &Id, level: u8, room: u64) -> Result<Node<S>, Failure> {
        self.take(child)?;
        let nodes = CachedNodes {
            files: &mut *self.nodes.files,
            cache: &mut *self.nodes.cache,
            credential: self.nodes.credential,
        };
        let node: Node<S> = match EveryNode(nodes).load(child, level, room) {
            Err(Failure::CacheLost) if self.in_part && !self.is_at_hand(child)? => {
                return Ok(Node::empty(level));
            }
            Err(Failure::Missing { .. }) => {
                self.alive.unknown = self.alive.unknown.saturating_add(1);
                return Ok(Node::empty(level));
            }
            loaded => loaded?,
        };
        if let Node::Leaf(values) = &node {
            for id in values.iter().flatten().filter_map(Chunk::chunk) {
                self.take(id)?;
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
