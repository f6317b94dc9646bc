// SPDX-License-Identifier: GPL-3.0-or-later
//! A mapping tree read from left to right, whose nodes are opened only when somebody asks for what
//! is in them.

use alloc::vec::Vec;
use core::ops::Range;

use crate::block::Block;
use crate::node::NodePlace;
use crate::trees::{Error, Trees};

/// Bits of a mapping that count time; the data block stands above them.
const TIME_BITS: u32 = 24;

/// What comes next in a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Head {
    /// A node that nobody opened yet.
    Node(NodePlace),
    /// One mapping: a block of the device, and the block of the pool that holds it.
    Mapping(u64, u64),
}

impl Head {
    /// The keys that it may hold.
    pub(crate) fn keys(&self) -> Range<u64> {
        match self {
            Self::Node(place) => place.keys.clone(),
            Self::Mapping(key, _) => *key..key.saturating_add(1),
        }
    }
}

/// See the first line of this file. It holds at most one node's entries for each level of the tree.
pub(crate) struct Cursor {
    /// What is left, the next one last.
    left: Vec<Head>,
    /// Keys from here on are of no interest.
    end: u64,
    root: Option<u64>,
}

impl Cursor {
    /// A tree without mappings.
    pub(crate) fn empty() -> Self {
        Self {
            left: Vec::new(),
            end: 0,
            root: None,
        }
    }

    /// The tree below `root`, up to key `end`.
    pub(crate) fn new(root: NodePlace, end: u64) -> Self {
        Self {
            end,
            root: Some(root.block),
            left: alloc::vec![Head::Node(root)],
        }
    }

    /// What comes next, if anything below the end does.
    pub(crate) fn head(&self) -> Option<&Head> {
        self.left.last().filter(|head| head.keys().start < self.end)
    }

    /// Passes over what comes next.
    pub(crate) fn skip(&mut self) {
        self.left.pop();
    }

    /// Puts what is in the node that comes next in its place. A mapping stays.
    pub(crate) fn open<R, E>(&mut self, trees: &mut Trees<R>) -> Result<(), Error<E>>
    where
        R: FnMut(u64, &mut Block) -> Result<(), E>,
    {
        let Some(Head::Node(place)) = self.left.last().cloned() else {
            return Ok(());
        };
        let is_root = self.root == Some(place.block);
        self.left.pop();
        if place.height > 0 {
            let children = trees.children(&place, is_root)?;
            self.left.extend(children.into_iter().rev().map(Head::Node));
        } else {
            let entries: Vec<(u64, [u8; 8])> = trees.entries(&place, is_root)?;
            let mapping = |(key, value): (u64, [u8; 8])| {
                Head::Mapping(key, u64::from_le_bytes(value) >> TIME_BITS)
            };
            self.left.extend(entries.into_iter().rev().map(mapping));
        }
        Ok(())
    }
}
