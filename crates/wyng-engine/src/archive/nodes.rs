// SPDX-License-Identifier: GPL-3.0-or-later
//! Nodes of the trees, from the cache alone, and the roots of the trees.

use wyng_archive::crypto::{Credential, Id};
use wyng_archive::format::{
    Commit, ContentTree, FANOUT, KeysTree, Malformed, Node, PacksTree, Place, SessionEntry, Shape,
    VolumeEntry,
};
use wyng_archive::plan::{Nodes, Root, Walk};
use wyng_control::{Failure, ObjectClass};

use crate::cache::{Cache, KeysAtHand};
use crate::state::to_hex;
use crate::world::Files;

/// Loads nodes from the cache.
pub struct CachedNodes<'a, F> {
    /// The state directory.
    pub files: &'a mut F,
    /// The cache.
    pub cache: &'a mut Cache,
    /// Checks their ids.
    pub credential: &'a Credential,
}

impl<F: Files> CachedNodes<'_, F> {
    fn load_by_id<S: Shape>(&mut self, id: &Id, level: u8, room: u64) -> Result<Node<S>, Failure> {
        let Some(plain) = self.cache.node(self.files, self.credential, id)? else {
            return Err(self.absent(id)?);
        };
        decode_node(id, &plain, level, room)
    }
}

/// A node from its plain bytes.
pub(crate) fn decode_node<S: Shape>(
    id: &Id,
    plain: &[u8],
    level: u8,
    room: u64,
) -> Result<Node<S>, Failure> {
    Node::decode(plain, level, room).map_err(|Malformed(rule)| Failure::Damaged {
        class: ObjectClass::Node,
        object: to_hex(&id.0),
        what: rule.into(),
        volume: None,
    })
}

impl<F: Files> CachedNodes<'_, F> {
    /// Why the cache lacks a node. It has every node, except for nodes of packs that were lost
    /// before it was built; where the index has the node in a sound pack, the cache itself is
    /// damaged, and the store is not.
    fn absent(&mut self, id: &Id) -> Result<Failure, Failure> {
        let index = &self.cache.index;
        let is_at_hand = index.find_sound(self.files, id)?.is_some();
        Ok(if index.has_lost() && !is_at_hand {
            Failure::Missing {
                class: ObjectClass::Node,
                object: to_hex(&id.0),
                volume: None,
            }
        } else {
            Failure::CacheLost
        })
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

/// Loads nodes from the cache; a lost node is always a failure, also in a restore around damage.
pub(crate) struct EveryNode<'a, F>(pub CachedNodes<'a, F>);

impl<S: Shape<Child = Id>, F: Files> Nodes<S> for EveryNode<'_, F> {
    type Error = Failure;

    fn load(&mut self, child: &Id, level: u8, room: u64) -> Result<Node<S>, Failure> {
        self.0.load_by_id(child, level, room)
    }
}

/// Loads nodes from the cache; a lost node is passed over with all that is below it.
pub(crate) struct NodesAtHand<'a, F>(pub CachedNodes<'a, F>);

impl<S: Shape<Child = Id>, F: Files> Nodes<S> for NodesAtHand<'_, F> {
    type Error = Failure;

    fn load(&mut self, child: &Id, level: u8, room: u64) -> Result<Node<S>, Failure> {
        match self.0.load(child, level, room) {
            Err(Failure::Missing { .. }) => Ok(Node::empty(level)),
            loaded => loaded,
        }
    }
}

/// Loads nodes of the pack table from the cache. They name each other by place; the cache finds
/// them by the id in it.
pub(crate) struct CachedPackNodes<'a, F>(pub CachedNodes<'a, F>);

impl<F: Files> Nodes<PacksTree> for CachedPackNodes<'_, F> {
    type Error = Failure;

    fn load(&mut self, child: &Place, level: u8, room: u64) -> Result<Node<PacksTree>, Failure> {
        self.0.load_by_id(&child.id, level, room)
    }
}

/// The part of the key table that is missing, because its pack was lost before the cache was built.
#[derive(Debug, Default)]
pub struct LostKeys {
    /// Nodes that are missing.
    pub nodes: Vec<Id>,
    /// The first number behind all keys that these nodes may hold; 0 if no node is missing.
    pub end: u64,
}

/// The session keys of which the head's key table has an entry, and the missing part of that table.
pub(super) fn keys_at_hand(
    files: &mut impl Files,
    cache: &mut Cache,
    credential: &Credential,
    head: &Commit,
) -> Result<(KeysAtHand, LostKeys), Failure> {
    let root = keys_root(head);
    let mut keys = KeysAtHand {
        size: root.size,
        ..KeysAtHand::default()
    };
    let mut nodes = NotingLostKeys {
        nodes: CachedNodes {
            files,
            cache,
            credential,
        },
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

/// The root of the key table.
pub(crate) fn keys_root(commit: &Commit) -> Root<Id> {
    Root {
        size: commit.keys.size,
        child: commit.keys.root,
    }
}

/// The root of the volume table.
pub(crate) fn volumes_root(commit: &Commit) -> Root<Id> {
    Root {
        size: commit.volumes.size,
        child: commit.volumes.root,
    }
}

/// The root of a volume's session table.
pub(crate) fn sessions_root(volume: &VolumeEntry) -> Root<Id> {
    Root {
        size: volume.sessions_size,
        child: some_id(volume.sessions_root),
    }
}

/// The root of a session's content tree.
pub(crate) fn content_root(session: &SessionEntry) -> Root<Id> {
    Root {
        size: session.chunk_count(),
        child: some_id(session.root),
    }
}

/// The id of a root, of which zero means that the tree has no entries.
pub(super) fn some_id(id: Id) -> Option<Id> {
    (id != Id::ZERO).then_some(id)
}

/// All entries of a tree with their numbers, ascending.
pub(crate) fn collect<S, N>(
    root: &Root<S::Child>,
    nodes: &mut N,
) -> Result<Vec<(u64, S::Value)>, N::Error>
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
