// SPDX-License-Identifier: GPL-3.0-or-later
//! Nodes from the cache, and the roots of the trees that they make.

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
pub(crate) struct EveryNode<'a, F>(pub CachedNodes<'a, F>);

impl<S: Shape<Child = Id>, F: Files> Nodes<S> for EveryNode<'_, F> {
    type Error = Failure;

    fn load(&mut self, child: &Id, level: u8, room: u64) -> Result<Node<S>, Failure> {
        self.0.load_by_id(child, level, room)
    }
}

/// The same where nodes of lost packs may be absent: what is below them is passed over.
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

/// The same for (a), whose nodes name each other by place; here too the id says which it is.
pub(crate) struct CachedPackNodes<'a, F>(pub CachedNodes<'a, F>);

impl<F: Files> Nodes<PacksTree> for CachedPackNodes<'_, F> {
    type Error = Failure;

    fn load(&mut self, child: &Place, level: u8, room: u64) -> Result<Node<PacksTree>, Failure> {
        self.0.load_by_id(&child.id, level, room)
    }
}

/// What is missing of the key table, because the cache was built after a pack was lost that held
/// it.
#[derive(Debug, Default)]
pub struct LostKeys {
    /// Nodes of the table.
    pub nodes: Vec<Id>,
    /// The first number behind all that these nodes may hold; 0 if there are none.
    pub end: u64,
}

/// The session keys of which the head's table has an entry, and what is missing of that table.
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

/// The root of (c).
pub(crate) fn keys_root(commit: &Commit) -> Root<Id> {
    Root {
        size: commit.keys.size,
        child: commit.keys.root,
    }
}

/// The root of (d).
pub(crate) fn volumes_root(commit: &Commit) -> Root<Id> {
    Root {
        size: commit.volumes.size,
        child: commit.volumes.root,
    }
}

/// The root of a volume's (b).
pub(crate) fn sessions_root(volume: &VolumeEntry) -> Root<Id> {
    Root {
        size: volume.sessions_size,
        child: some_id(volume.sessions_root),
    }
}

/// The root of a session's content.
pub(crate) fn content_root(session: &SessionEntry) -> Root<Id> {
    Root {
        size: session.chunk_count(),
        child: some_id(session.root),
    }
}

/// Zero stands for no entries.
pub(super) fn some_id(id: Id) -> Option<Id> {
    (id != Id::ZERO).then_some(id)
}

/// All entries of a tree, by their numbers.
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
