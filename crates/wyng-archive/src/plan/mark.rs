// SPDX-License-Identifier: GPL-3.0-or-later
//! Marking what a tree reaches, and searching it. Nodes that were seen before are not entered
//! again, so shared parts cost nothing.

use std::collections::HashMap;

use super::{Nodes, Root};
use crate::format::{Node, Shape};
use crate::ids::Id;

/// Calls `first` with each node's name, and `value` with each entry of the leaves for which `first`
/// was true. `first` returns whether the node was not marked before.
pub fn mark<S, N, F, V>(
    root: &Root<S::Child>,
    nodes: &mut N,
    first: &mut F,
    value: &mut V,
) -> Result<(), N::Error>
where
    S: Shape,
    N: Nodes<S>,
    F: FnMut(&S::Child) -> bool,
    V: FnMut(&S::Value) -> Result<(), N::Error>,
{
    let mut open: Vec<(S::Child, u8, u64)> = root
        .child
        .zip(root.level())
        .map(|(child, level)| (child, level, 0))
        .into_iter()
        .collect();
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
                    if let (Some(child), Some(begin)) =
                        (child, super::child_base(base, level, slot))
                    {
                        open.push((*child, level.saturating_sub(1), begin));
                    }
                }
            }
        }
    }
    Ok(())
}

/// Calls `first` with the name of each node that the roots reach, and loads the nodes for which
/// `first` was true. It goes down level by level, and loads the nodes of a level in ascending order
/// of their names, so that a source that is sorted by name is passed through once for each level.
/// Holds the names of the widest level.
pub fn mark_by_level<S, N, F>(
    roots: &[Root<Id>],
    nodes: &mut N,
    first: &mut F,
) -> Result<(), N::Error>
where
    S: Shape<Child = Id>,
    N: Nodes<S>,
    F: FnMut(&Id) -> bool,
{
    // The nodes of each level, each with the number of indices from its first index on.
    let mut levels: Vec<Vec<(Id, u64)>> = Vec::new();
    for root in roots {
        if let Some((child, level)) = root.child.zip(root.level()) {
            let place = usize::from(level);
            levels.resize(levels.len().max(place.saturating_add(1)), Vec::new());
            if let Some(open) = levels.get_mut(place) {
                open.push((child, root.size));
            }
        }
    }
    while let Some(mut open) = levels.pop() {
        open.retain(|(child, _)| first(child));
        open.sort_unstable_by_key(|(child, _)| *child);
        let level = u8::try_from(levels.len()).unwrap_or(u8::MAX);
        for (child, room) in open {
            let Node::Inner { children, .. } = nodes.load(&child, level, room)? else {
                continue;
            };
            let Some(below) = levels.last_mut() else {
                continue;
            };
            for (slot, child) in children.iter().enumerate() {
                if let (Some(child), Some(begin)) = (child, super::child_base(0, level, slot)) {
                    below.push((*child, room.saturating_sub(begin)));
                }
            }
        }
    }
    Ok(())
}

/// Whether `fits` is true for any name below the root, of a node or of an entry. `known` remembers
/// the result for each node.
pub fn any<S, N, F>(
    root: &Root<Id>,
    nodes: &mut N,
    known: &mut HashMap<Id, bool>,
    fits: &mut F,
) -> Result<bool, N::Error>
where
    S: Shape<Child = Id, Value = Id>,
    N: Nodes<S>,
    F: FnMut(&mut N, &Id) -> Result<bool, N::Error>,
{
    match root.child.zip(root.level()) {
        Some((child, level)) => any_below(&child, level, root.size, nodes, known, fits),
        None => Ok(false),
    }
}

fn any_below<S, N, F>(
    id: &Id,
    level: u8,
    room: u64,
    nodes: &mut N,
    known: &mut HashMap<Id, bool>,
    fits: &mut F,
) -> Result<bool, N::Error>
where
    S: Shape<Child = Id, Value = Id>,
    N: Nodes<S>,
    F: FnMut(&mut N, &Id) -> Result<bool, N::Error>,
{
    if let Some(found) = known.get(id) {
        return Ok(*found);
    }
    let mut found = fits(nodes, id)?;
    if !found {
        match nodes.load(id, level, room)? {
            Node::Leaf(values) => {
                for value in values.iter().flatten() {
                    found = found || fits(nodes, value)?;
                }
            }
            Node::Inner { level, children } => {
                for (slot, child) in children.iter().enumerate() {
                    if let (false, Some(child), Some(begin)) =
                        (found, child, super::child_base(0, level, slot))
                    {
                        found = any_below(
                            child,
                            level.saturating_sub(1),
                            room.saturating_sub(begin),
                            nodes,
                            known,
                            fits,
                        )?;
                    }
                }
            }
        }
    }
    known.insert(*id, found);
    Ok(found)
}
