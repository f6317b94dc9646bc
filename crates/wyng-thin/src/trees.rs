// SPDX-License-Identifier: GPL-3.0-or-later
//! Reads the B-trees of a pool's metadata, node by node, and checks each node.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

use crate::block::{Block, Malformed};
use crate::node::{self, HEIGHT_MAX, NodePlace};

/// Why metadata could not be read. No range that was reported before it may be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error<E> {
    /// A block could not be read, or the caller's visitor stopped.
    Caller(E),
    /// A block is not what its place demands.
    Damaged {
        /// Its number.
        block: u64,
        /// The rule that it breaks.
        rule: &'static str,
    },
    /// A version or a state that this reader does not know.
    Unsupported(&'static str),
    /// The pool has no such device.
    NoDevice(u64),
}

impl<E: fmt::Display> fmt::Display for Error<E> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Caller(error) => error.fmt(formatter),
            Self::Damaged { block, rule } => {
                write!(formatter, "metadata block {block} is damaged: {rule}")
            }
            Self::Unsupported(what) => write!(formatter, "thin metadata that is not known: {what}"),
            Self::NoDevice(id) => write!(formatter, "the pool has no device {id}"),
        }
    }
}

/// Every 64-bit key.
pub(crate) const ALL_KEYS: Range<u64> = 0..u64::MAX;

/// The nodes of all trees, read through `read`, which fills a block of the given number.
pub(crate) struct Trees<R> {
    read: R,
    block: Box<Block>,
    /// Blocks of the metadata device; none from here on is read.
    end: u64,
    blocks_read: u64,
}

impl<R, E> Trees<R>
where
    R: FnMut(u64, &mut Block) -> Result<(), E>,
{
    /// Reads blocks from 1 to `end`. `blocks_read` were read before.
    pub(crate) fn new(read: R, block: Box<Block>, end: u64, blocks_read: u64) -> Self {
        Self {
            read,
            block,
            end,
            blocks_read,
        }
    }

    /// The number of blocks that were read.
    pub(crate) fn blocks_read(&self) -> u64 {
        self.blocks_read
    }

    /// The value of `key` in the tree below block `root`.
    pub(crate) fn find<const N: usize>(
        &mut self,
        root: u64,
        key: u64,
    ) -> Result<Option<[u8; N]>, Error<E>> {
        let mut place = NodePlace {
            block: root,
            height: self.height(root)?,
            keys: ALL_KEYS,
        };
        while place.height > 0 {
            let children = self.children(&place, place.block == root)?;
            match children
                .into_iter()
                .rev()
                .find(|child| child.keys.start <= key)
            {
                Some(child) => place = child,
                None => return Ok(None),
            }
        }
        let is_root = place.block == root;
        let entries = self.entries(&place, is_root)?;
        Ok(entries
            .into_iter()
            .find(|(found, _)| *found == key)
            .map(|(_, value)| value))
    }

    /// How many levels lie below the node at `root`: the way down its first children.
    pub(crate) fn height(&mut self, root: u64) -> Result<u8, Error<E>> {
        let mut number = root;
        for height in 0..HEIGHT_MAX {
            self.load(number)?;
            let damaged = |Malformed(rule)| Error::Damaged {
                block: number,
                rule,
            };
            if node::is_leaf(&self.block, number).map_err(damaged)? {
                return Ok(height);
            }
            number = node::first_child(&self.block).map_err(damaged)?;
        }
        Err(Error::Damaged {
            block: root,
            rule: "height of a tree",
        })
    }

    /// The children of an internal node, each with the keys that may stand below it.
    pub(crate) fn children(
        &mut self,
        place: &NodePlace,
        is_root: bool,
    ) -> Result<Vec<NodePlace>, Error<E>> {
        let entries: Vec<(u64, [u8; 8])> = self.entries(place, is_root)?;
        let ends = entries
            .iter()
            .skip(1)
            .map(|(key, _)| *key)
            .chain([place.keys.end]);
        let height = place.height.saturating_sub(1);
        let children = entries.iter().zip(ends);
        Ok(children
            .map(|((key, block), end)| NodePlace {
                block: u64::from_le_bytes(*block),
                height,
                keys: *key..end,
            })
            .collect())
    }

    /// The entries of a node.
    pub(crate) fn entries<const N: usize>(
        &mut self,
        place: &NodePlace,
        is_root: bool,
    ) -> Result<Vec<(u64, [u8; N])>, Error<E>> {
        self.load(place.block)?;
        let damaged = |Malformed(rule)| Error::Damaged {
            block: place.block,
            rule,
        };
        node::decode(&self.block, place, is_root).map_err(damaged)
    }

    fn load(&mut self, number: u64) -> Result<(), Error<E>> {
        if !(1..self.end).contains(&number) {
            return Err(Error::Damaged {
                block: number,
                rule: "a block outside of the metadata",
            });
        }
        (self.read)(number, &mut self.block).map_err(Error::Caller)?;
        self.blocks_read = self.blocks_read.saturating_add(1);
        Ok(())
    }
}
