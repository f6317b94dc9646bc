// SPDX-License-Identifier: GPL-3.0-or-later
//! Reading the catalog from the cache: volumes, sessions, and the nodes below them.

use wyng_archive::crypto::{Credential, Id};
use wyng_archive::format::{
    Commit, ContentTree, FANOUT, KeysTree, Malformed, Node, PacksTree, Place, SessionEntry,
    SessionsTree, Shape, VolumeEntry, VolumesTree,
};
use wyng_archive::plan::{Nodes, Root, Walk};
use wyng_control::{Failure, ObjectClass, SessionChoice};

use super::archive::{Archive, LostKeys};
use crate::keyholder::cache::{Cache, KeysAtHand};
use crate::keyholder::state::to_hex;
use crate::keyholder::world::Files;

/// `2026-11-23`.
const DAY_CHARS: usize = 10;

/// Nodes from the cache.
pub struct CachedNodes<'a, F> {
    /// The local state.
    pub files: &'a mut F,
    /// Where the nodes are.
    pub cache: &'a mut Cache,
    /// What checks their ids.
    pub credential: &'a Credential,
}

impl<F: Files> CachedNodes<'_, F> {
    fn load_by_id<S: Shape>(&mut self, id: &Id, level: u8, room: u64) -> Result<Node<S>, Failure> {
        let plain = self
            .cache
            .node(self.files, self.credential, id)?
            .ok_or_else(|| self.absent(id))?;
        Node::decode(&plain, level, room).map_err(|Malformed(rule)| Failure::Damaged {
            class: ObjectClass::Node,
            object: to_hex(&id.0),
            what: rule.into(),
            volume: None,
        })
    }
}

impl<F> CachedNodes<'_, F> {
    /// The cache has every node; but for those of lost packs, when it was built after they were
    /// lost.
    fn absent(&self, id: &Id) -> Failure {
        if self.cache.index.has_lost() {
            Failure::Missing {
                class: ObjectClass::Node,
                object: to_hex(&id.0),
                volume: None,
            }
        } else {
            Failure::CacheLost
        }
    }
}

impl<S: Shape<Child = Id>, F: Files> Nodes<S> for CachedNodes<'_, F> {
    type Error = Failure;

    fn load(&mut self, child: &Id, level: u8, room: u64) -> Result<Node<S>, Failure> {
        match self.load_by_id(child, level, room) {
            Err(Failure::Missing { .. })
                if self.cache.lost_are_holes && S::TREE == ContentTree::TREE =>
            {
                Ok(Node::empty(level))
            }
            loaded => loaded,
        }
    }
}

/// The same where a lost node is a failure, whatever else is going on.
pub struct EveryNode<'a, F>(pub CachedNodes<'a, F>);

impl<S: Shape<Child = Id>, F: Files> Nodes<S> for EveryNode<'_, F> {
    type Error = Failure;

    fn load(&mut self, child: &Id, level: u8, room: u64) -> Result<Node<S>, Failure> {
        self.0.load_by_id(child, level, room)
    }
}

/// The same where nodes of lost packs may be absent: what is below them is passed over.
pub struct NodesAtHand<'a, F>(pub CachedNodes<'a, F>);

impl<S: Shape<Child = Id>, F: Files> Nodes<S> for NodesAtHand<'_, F> {
    type Error = Failure;

    fn load(&mut self, child: &Id, level: u8, room: u64) -> Result<Node<S>, Failure> {
        match self.0.load(child, level, room) {
            Err(Failure::Missing { .. }) => Ok(Node::empty(level)),
            loaded => loaded,
        }
    }
}

/// The same for (a), whose nodes name each other by place; here too the id says which it is.
pub struct CachedPackNodes<'a, F>(pub CachedNodes<'a, F>);

impl<F: Files> Nodes<PacksTree> for CachedPackNodes<'_, F> {
    type Error = Failure;

    fn load(&mut self, child: &Place, level: u8, room: u64) -> Result<Node<PacksTree>, Failure> {
        self.0.load_by_id(&child.id, level, room)
    }
}

impl Archive {
    /// What reads nodes of this archive.
    pub fn nodes<'a, F: Files>(&'a mut self, files: &'a mut F) -> CachedNodes<'a, F> {
        CachedNodes {
            files,
            cache: &mut self.cache,
            credential: &self.credential,
        }
    }

    /// All volumes with their numbers, in order.
    pub fn volumes(&mut self, files: &mut impl Files) -> Result<Vec<(u64, VolumeEntry)>, Failure> {
        let root = volumes_root(&self.head);
        collect::<VolumesTree, _>(&root, &mut self.nodes(files))
    }

    /// All sessions of a volume, oldest first. [`Failure::SessionsLost`] where the cache was built
    /// after their list was lost: of this volume only.
    pub fn sessions(
        &mut self,
        files: &mut impl Files,
        volume: &VolumeEntry,
    ) -> Result<Vec<SessionEntry>, Failure> {
        match collect::<SessionsTree, _>(&sessions_root(volume), &mut self.nodes(files)) {
            Err(Failure::Missing { .. }) => Err(Failure::SessionsLost {
                volume: volume.name.clone(),
            }),
            sessions => Ok(sessions?.into_iter().map(|(_, session)| session).collect()),
        }
    }

    /// The same; none where their list is lost, which is told elsewhere.
    pub fn sessions_at_hand(
        &mut self,
        files: &mut impl Files,
        volume: &VolumeEntry,
    ) -> Result<Vec<SessionEntry>, Failure> {
        match self.sessions(files, volume) {
            Err(Failure::SessionsLost { .. }) => Ok(Vec::new()),
            sessions => sessions,
        }
    }

    /// One session of a volume, by choice. A day is its last session; any other beginning of a name
    /// has to be that of one session only.
    pub fn choose(
        &mut self,
        files: &mut impl Files,
        volume: &VolumeEntry,
        choice: &SessionChoice,
    ) -> Result<SessionEntry, Failure> {
        let mut fitting = self.sessions(files, volume)?;
        let named = match choice {
            SessionChoice::Latest => {
                // Nothing old passes for the latest, unless a person asked for an older generation.
                if let Some(behind) = self
                    .is_behind()
                    .filter(|behind| matches!(behind, Failure::NewestDamaged { .. }))
                {
                    return Err(behind);
                }
                fitting.drain(..fitting.len().saturating_sub(1));
                "latest".to_owned()
            }
            SessionChoice::Prefix(prefix) => {
                fitting.retain(|session| session_name(session.time).starts_with(prefix.as_str()));
                if prefix.len() == DAY_CHARS {
                    fitting.drain(..fitting.len().saturating_sub(1));
                }
                prefix.clone()
            }
            SessionChoice::Tag(tag) => {
                fitting.retain(|session| session.tags.contains(tag));
                format!("^{tag}")
            }
        };
        let (count, volume) = (fitting.len() as u64, volume.name.clone());
        match (fitting.pop(), count) {
            (Some(session), 1) => Ok(session),
            (None, _) => Err(Failure::UnknownSession {
                volume,
                session: named,
            }),
            (Some(_), count) => Err(Failure::AmbiguousSession {
                volume,
                session: named,
                count,
            }),
        }
    }
}

/// The session keys of which the head's table has an entry, and what is missing of that table.
pub fn keys_at_hand(
    files: &mut impl Files,
    archive: &mut Archive,
) -> Result<(KeysAtHand, LostKeys), Failure> {
    let root = keys_root(&archive.head);
    let mut keys = KeysAtHand {
        size: root.size,
        ..KeysAtHand::default()
    };
    let mut nodes = NotingLostKeys {
        nodes: archive.nodes(files),
        size: root.size,
        lost: LostKeys::default(),
    };
    for (number, _) in collect::<KeysTree, _>(&root, &mut nodes)? {
        keys.present.extend(u32::try_from(number));
    }
    Ok((keys, nodes.lost))
}

/// Passes over lost nodes of the key table, and notes them.
struct NotingLostKeys<'a, F> {
    nodes: CachedNodes<'a, F>,
    size: u64,
    lost: LostKeys,
}

impl<F: Files> Nodes<KeysTree> for NotingLostKeys<'_, F> {
    type Error = Failure;

    fn load(&mut self, child: &Id, level: u8, room: u64) -> Result<Node<KeysTree>, Failure> {
        match self.nodes.load(child, level, room) {
            Err(Failure::Missing { .. }) => {
                let keys = (FANOUT as u64).saturating_pow(u32::from(level).saturating_add(1));
                self.lost.nodes.push(*child);
                self.lost.end = self
                    .lost
                    .end
                    .max(self.size.saturating_sub(room).saturating_add(keys));
                Ok(Node::empty(level))
            }
            loaded => loaded,
        }
    }
}

/// The root of (c).
pub fn keys_root(commit: &Commit) -> Root<Id> {
    Root {
        size: commit.keys.size,
        child: commit.keys.root,
    }
}

/// The root of (d).
pub fn volumes_root(commit: &Commit) -> Root<Id> {
    Root {
        size: commit.volumes.size,
        child: commit.volumes.root,
    }
}

/// The root of a volume's (b).
pub fn sessions_root(volume: &VolumeEntry) -> Root<Id> {
    Root {
        size: volume.sessions_size,
        child: some_id(volume.sessions_root),
    }
}

/// The root of a session's content.
pub fn content_root(session: &SessionEntry) -> Root<Id> {
    Root {
        size: session.chunk_count(),
        child: some_id(session.root),
    }
}

/// Zero stands for no entries.
pub fn some_id(id: Id) -> Option<Id> {
    (id != Id::ZERO).then_some(id)
}

/// A session's name: `2026-11-23T06:43:10Z`.
pub fn session_name(time: i64) -> String {
    jiff::Timestamp::from_second(time).map_or_else(|_| time.to_string(), |time| time.to_string())
}

/// All entries of a tree, by their numbers.
pub fn collect<S, N>(root: &Root<S::Child>, nodes: &mut N) -> Result<Vec<(u64, S::Value)>, N::Error>
where
    S: Shape,
    N: Nodes<S>,
{
    let mut walk = Walk::<S>::from(root, 0);
    let mut entries = Vec::new();
    while let Some(entry) = walk.next(nodes)? {
        entries.push(entry);
    }
    Ok(entries)
}
