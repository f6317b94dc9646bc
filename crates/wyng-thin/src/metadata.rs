// SPDX-License-Identifier: GPL-3.0-or-later
//! The metadata of one pool as seen from one superblock: its devices, their details, their mapping
//! trees.

use alloc::boxed::Box;
use core::ops::Range;

use crate::block::{BLOCK_BYTES, Block, Malformed, u64_at};
use crate::cursor::Cursor;
use crate::differences::{Difference, Merge, compare};
use crate::node::NodePlace;
use crate::superblock::{Refused, Superblock};
use crate::trees::{ALL_KEYS, Error, Trees};

/// What a pool knows of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Details {
    /// How many data blocks it maps, shared ones included.
    pub mapped_blocks: u64,
    /// The pool's transaction id when it was made. Device ids are given again; the two together are
    /// not, within a pool.
    pub transaction_id: u64,
}

/// The metadata of a pool, read through `read`, which fills a block of the given number.
pub struct Metadata<R> {
    trees: Trees<R>,
    superblock: Superblock,
}

const DETAILS_BYTES: usize = 24;

impl<R, E> Metadata<R>
where
    R: FnMut(u64, &mut Block) -> Result<(), E>,
{
    /// Reads the superblock at block `number`: 0 for the live one, of which only the numbers in
    /// [`Superblock`] are of use; the held root for the metadata snapshot.
    ///
    /// # Errors
    /// [`Error::Damaged`] and [`Error::Unsupported`] as for every walk.
    pub fn open(mut read: R, number: u64) -> Result<Self, Error<E>> {
        let mut block = Box::new([0; BLOCK_BYTES]);
        read(number, &mut block).map_err(Error::Caller)?;
        let superblock = Superblock::decode(&block, number).map_err(|refused| match refused {
            Refused::Malformed(Malformed(rule)) => Error::Damaged {
                block: number,
                rule,
            },
            Refused::Unsupported(what) => Error::Unsupported(what),
        })?;
        let trees = Trees::new(read, block, superblock.metadata_blocks, 1);
        Ok(Self { trees, superblock })
    }

    /// What the superblock says.
    pub fn superblock(&self) -> &Superblock {
        &self.superblock
    }

    /// How many blocks were read so far; a test counts them.
    pub fn blocks_read(&self) -> u64 {
        self.trees.blocks_read()
    }

    /// The details of device `id`.
    ///
    /// # Errors
    /// [`Error::NoDevice`] if the pool has none of this id.
    pub fn details(&mut self, id: u64) -> Result<Details, Error<E>> {
        let found: [u8; DETAILS_BYTES] = self
            .trees
            .find(self.superblock.details_root, id)?
            .ok_or(Error::NoDevice(id))?;
        let mut whole = [0; BLOCK_BYTES];
        whole
            .iter_mut()
            .zip(found)
            .for_each(|(to, from)| *to = from);
        Ok(Details {
            mapped_blocks: u64_at(&whole, 0),
            transaction_id: u64_at(&whole, 8),
        })
    }

    /// Calls `visit` with the ranges of data blocks below `end` that device `id` maps, ascending
    /// and apart. What it does not map reads as zeros, unless it has an external origin.
    ///
    /// # Errors
    /// See [`Error`]; a visitor's own error is passed on as [`Error::Caller`].
    pub fn mapped(
        &mut self,
        id: u64,
        end: u64,
        visit: &mut dyn FnMut(Range<u64>) -> Result<(), E>,
    ) -> Result<(), Error<E>> {
        let new = self.mappings(id, end)?;
        compare(
            &mut self.trees,
            Cursor::empty(),
            new,
            &mut Merge::new(&mut |range, _| visit(range)),
        )
    }

    /// Calls `visit` with the ranges of data blocks below `end` in which device `new` may differ
    /// from device `old`, ascending and apart. What is mapped to one data block by both is equal as
    /// long as `old` was never written to.
    ///
    /// # Errors
    /// See [`Error`]; a visitor's own error is passed on as [`Error::Caller`].
    pub fn differences(
        &mut self,
        old: u64,
        new: u64,
        end: u64,
        visit: &mut dyn FnMut(Range<u64>, Difference) -> Result<(), E>,
    ) -> Result<(), Error<E>> {
        let (old, new) = (self.mappings(old, end)?, self.mappings(new, end)?);
        compare(&mut self.trees, old, new, &mut Merge::new(visit))
    }

    /// The mapping tree of a device, from its beginning.
    fn mappings(&mut self, id: u64, end: u64) -> Result<Cursor, Error<E>> {
        let root: [u8; 8] = self
            .trees
            .find(self.superblock.mapping_root, id)?
            .ok_or(Error::NoDevice(id))?;
        let block = u64::from_le_bytes(root);
        let height = self.trees.height(block)?;
        Ok(Cursor::new(
            NodePlace {
                block,
                height,
                keys: ALL_KEYS,
            },
            end,
        ))
    }
}
