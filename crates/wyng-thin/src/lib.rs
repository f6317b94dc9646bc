// SPDX-License-Identifier: GPL-3.0-or-later
//! Reads the metadata of a thin pool of device-mapper: which blocks a volume maps, and where two
//! volumes differ. It does no I/O: blocks of 4 KiB come in through a function, and nothing is
//! written ever.
//!
//! # Why not thin_delta
//! `thin_delta` reads both mapping trees whole, so its cost follows what is mapped. A snapshot
//! shares whole subtrees with its origin by block number; [`Metadata::differences`] walks both
//! trees side by side and skips what they share, so its cost follows what changed.
//!
//! # What the caller must see to
//! The trees are read from a *metadata snapshot* (`reserve_metadata_snap`), past every cache: the
//! live trees change while they are read. What comes out is true only if the metadata snapshot
//! stood until the walk had ended; until that is shown, ranges are provisional.
//!
//! # Damage
//! Every block is checked: its checksum, its own number, its place in the tree, the order and the
//! range of its keys. A block that fails ends the walk with [`Error::Damaged`]; it never becomes a
//! range. Versions and flags that are not known are [`Error::Unsupported`].
//!
//! The layout is that of the kernel's `drivers/md/dm-thin-metadata.c` and
//! `drivers/md/persistent-data`, stable since 2011.
#![no_std]
#![forbid(unsafe_code)]
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

extern crate alloc;

mod block;
mod crc32c;
mod cursor;
mod differences;
mod metadata;
mod node;
mod superblock;
mod trees;

pub use block::{BLOCK_BYTES, Block};
pub use differences::Difference;
pub use metadata::{Details, Metadata};
pub use superblock::Superblock;
pub use trees::Error;
