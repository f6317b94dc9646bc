// SPDX-License-Identifier: GPL-3.0-or-later
//! Marking what a tree reaches. A node that was marked before is not entered again, so shared parts cost nothing.

use super::{Nodes, Root};
use crate::format::{Node, Shape};

/// Calls `first` with each node's name, which says whether it was not marked yet, and `value` with each entry below such nodes.
pub fn mark<S, N, F, V>(root: &Root<S::Child>, nodes: &mut N, first: &mut F, value: &mut V) -> Result<(), N::Error>
where
    S: Shape,
    N: Nodes<S>,
    F: FnMut(&S::Child) -> bool,
    V: FnMut(&S::Value) -> Result<(), N::Error>,
{
    let mut open: Vec<(S::Child, u8, u64)> = root.child.zip(root.level()).map(|(child, level)| (child, level, 0)).into_iter().collect();
    while let Some((child, level, base)) = open.pop() {
        if !first(&child) {
            continue;
        }
        match nodes.load(&child, level, root.size.saturating_sub(base))? {
            Node::Leaf(values) => {
                for entry in values.iter().flatten() {
                    value(entry)?;
                }
            }
            Node::Inner { level, children } => {
                for (slot, child) in children.iter().enumerate().rev() {
                    if let (Some(child), Some(begin)) = (child, super::child_base(base, level, slot)) {
                        open.push((*child, level.saturating_sub(1), begin));
                    }
                }
            }
        }
    }
    Ok(())
}
