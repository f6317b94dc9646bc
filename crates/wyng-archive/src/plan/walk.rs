// SPDX-License-Identifier: GPL-3.0-or-later
//! Reading a tree: one entry, or all entries from an index on, with one path in memory.

use super::{Nodes, Root, child_base, slot_of};
use crate::format::{FANOUT, Node, Shape};

/// The entry at `index`, if there is one.
pub fn get<S: Shape, N: Nodes<S>>(
    root: &Root<S::Child>,
    index: u64,
    nodes: &mut N,
) -> Result<Option<S::Value>, N::Error> {
    let mut walk = Walk::from(root, index);
    Ok(walk
        .next(nodes)?
        .filter(|(found, _)| *found == index)
        .map(|(_, value)| value))
}

/// All entries in ascending order.
pub struct Walk<S: Shape> {
    size: u64,
    /// The nodes from the root down, each with its first index and the slot that is visited next.
    path: Vec<(Node<S>, u64, usize)>,
    /// The root and its height, until it is loaded.
    begin: Option<(S::Child, u8)>,
    from: u64,
}

impl<S: Shape> Walk<S> {
    /// A walk that begins with the first entry at or after `index`.
    pub fn from(root: &Root<S::Child>, index: u64) -> Self {
        Self {
            size: root.size,
            path: Vec::new(),
            begin: root.child.zip(root.level()),
            from: index,
        }
    }

    /// The next entry, with its index.
    pub fn next<N: Nodes<S>>(
        &mut self,
        nodes: &mut N,
    ) -> Result<Option<(u64, S::Value)>, N::Error> {
        if let Some((child, level)) = self.begin.take() {
            self.enter(&child, level, 0, nodes)?;
        }
        while let Some((node, base, slot)) = self.path.last_mut() {
            let (here, level, base) = (*slot, node.level(), *base);
            if here >= FANOUT {
                self.path.pop();
                continue;
            }
            *slot = here.saturating_add(1);
            let Some(begin) = child_base(base, level, here) else {
                continue;
            };
            match node {
                Node::Leaf(values) => {
                    if let Some(value) = values.get(here).and_then(Option::as_ref) {
                        return Ok(Some((begin, value.clone())));
                    }
                }
                Node::Inner { children, .. } => {
                    if let Some(child) = children.get(here).copied().flatten() {
                        self.enter(&child, level.saturating_sub(1), begin, nodes)?;
                    }
                }
            }
        }
        Ok(None)
    }

    /// Goes on with the first entry at or after `index`, without loading what lies between; never
    /// backwards.
    pub fn skip_to(&mut self, index: u64) {
        self.from = self.from.max(index);
        while let Some((node, base, slot)) = self.path.last_mut() {
            if *base > index {
                return;
            }
            if super::covers(*base, node.level(), index) {
                *slot = slot_of(index, node.level()).max(*slot);
                return;
            }
            self.path.pop();
        }
    }

    fn enter<N: Nodes<S>>(
        &mut self,
        child: &S::Child,
        level: u8,
        base: u64,
        nodes: &mut N,
    ) -> Result<(), N::Error> {
        let node = nodes.load(child, level, self.size.saturating_sub(base))?;
        // In the nodes on the path to `from` only the entries at or after it are visited.
        let slot = if self.from > base {
            if super::covers(base, level, self.from) {
                slot_of(self.from, level)
            } else {
                FANOUT
            }
        } else {
            0
        };
        self.path.push((node, base, slot));
        Ok(())
    }
}
