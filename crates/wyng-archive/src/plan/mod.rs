// SPDX-License-Identifier: GPL-3.0-or-later
//! Conclusions from trees, commits and times alone. Pure functions: nodes come from a [`Nodes`],
//! clocks and random numbers from the caller.
//!
//! - Trees: edit, walk, compare, mark, descend.
//! - Time: [`kept_clock`], its file, the chain's clock over it, and ages.
//! - Removal: the sessions that a prune keeps ([`retention`]), the packs that are given up, deleted
//!   ([`deletion`]) and rewritten ([`compaction`]).
//! - Care: the packs that a verify reads ([`proof`]), the session that a rehearsal restores, a
//!   volume's budget.

pub mod age;
pub mod budget;
mod calendar;
mod chain;
pub mod chain_clock;
pub mod clock_file;
pub mod compaction;
pub mod deletion;
mod diff;
mod edit;
pub mod floor;
pub mod giving_up;
pub mod hold_off;
pub mod kept_clock;
mod mark;
pub mod pack_life;
mod packs;
pub mod proof;
pub mod rehearsal;
pub mod retention;
pub mod stamp;
pub mod unattended;
pub mod undelete;
pub mod waiting;
mod walk;

pub use chain::{COPIES_ABSENT, GENERATION_MAX, earlier_step, head_probes, next_probe, probed};
pub use diff::diff;
pub use edit::{EditError, Editor};
pub use mark::{any, mark, mark_by_level};
pub use packs::{PacksError, read_packs};
pub use walk::{Walk, get};

use crate::format::{Node, Shape, depth_for};

/// A source of nodes.
pub trait Nodes<S: Shape> {
    /// Why a node could not be loaded.
    type Error;

    /// Loads the node `child` of height `level`; the tree has `room` indices from the node's first
    /// index on. [`Node::decode`] checks both.
    fn load(&mut self, child: &S::Child, level: u8, room: u64) -> Result<Node<S>, Self::Error>;
}

/// A source of nodes that also stores new nodes.
pub trait NodesMut<S: Shape>: Nodes<S> {
    /// Stores a node that is not empty, and returns its name.
    fn save(&mut self, node: &Node<S>) -> Result<S::Child, Self::Error>;
}

/// A tree: its number of indices, and its root if it has entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Root<C> {
    /// Number of indices.
    pub size: u64,
    /// The root; `None` while the tree has no entries.
    pub child: Option<C>,
}

impl<C> Root<C> {
    /// A tree of `size` indices without entries.
    pub fn empty(size: u64) -> Self {
        Self { size, child: None }
    }

    /// The root's height above the leaves; `None` for a tree of size 0.
    fn level(&self) -> Option<u8> {
        depth_for(self.size).checked_sub(1)
    }
}

/// The child of a node of height `level` that leads to `index`, 0 to 31.
fn slot_of(index: u64, level: u8) -> usize {
    let shifted = index.checked_shr(shift(level)).unwrap_or(0);
    usize::try_from(shifted & 31).unwrap_or(0)
}

/// The first index of child `slot` of a node whose first index is `base`; `None` past the highest
/// possible index.
fn child_base(base: u64, level: u8, slot: usize) -> Option<u64> {
    let span = 1u64.checked_shl(shift(level))?;
    u64::try_from(slot)
        .ok()?
        .checked_mul(span)?
        .checked_add(base)
}

/// Whether a node of height `level` at `base` covers `index`.
fn covers(base: u64, level: u8, index: u64) -> bool {
    let above = shift(level.saturating_add(1));
    base.checked_shr(above).unwrap_or(0) == index.checked_shr(above).unwrap_or(0)
}

fn shift(level: u8) -> u32 {
    u32::from(level).saturating_mul(5)
}

/// The subtree at a place of a tree, seen from a height that the tree itself may not have.
#[derive(Clone, Copy)]
enum Under<C> {
    Nothing,
    /// A node of exactly this height.
    Node(C),
    /// The root of a lower tree and its height: it is reached through children 0 that were never
    /// stored.
    Lower(C, u8),
}

impl<C: Copy> Under<C> {
    /// The tree `root`, seen from height `level`, which is at least its own height.
    fn root(root: &Root<C>, level: u8) -> Self {
        match (root.child, root.level()) {
            (Some(child), Some(own)) if own == level => Self::Node(child),
            (Some(child), Some(own)) => Self::Lower(child, own),
            _ => Self::Nothing,
        }
    }

    /// The root of a tree of height `own`, seen from height `level`.
    fn below(child: C, own: u8, level: u8) -> Self {
        if own == level {
            Self::Node(child)
        } else {
            Self::Lower(child, own)
        }
    }
}
