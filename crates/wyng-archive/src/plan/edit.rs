// SPDX-License-Identifier: GPL-3.0-or-later
//! Editing a tree in one pass: entries are set in ascending order, every node is written once, and
//! one path is in memory.

use super::{NodesMut, Root, Under, child_base, covers, slot_of};
use crate::format::{FANOUT, Node, Shape, depth_for};

/// Why an edit failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditError<E> {
    /// The caller broke the rule that indices ascend and are below the size.
    #[error("entries must be set in ascending order below the size")]
    Order,
    /// A node could not be loaded or stored.
    #[error(transparent)]
    Nodes(E),
}

/// Makes a new tree from an old tree. Untouched nodes are shared.
pub struct Editor<S: Shape> {
    size: u64,
    shrinks: bool,
    /// The nodes from the root to the leaf that was touched last.
    path: Vec<Frame<S>>,
    /// The lowest index that may still be set.
    next: u64,
}

struct Frame<S: Shape> {
    base: u64,
    node: Node<S>,
    /// The name of the node as it is stored; returned again if nothing changes.
    stored: Option<S::Child>,
    /// The root of a lower tree and its height: it belongs at child 0, some levels further down.
    lower: Option<(S::Child, u8)>,
    changed: bool,
}

impl<S: Shape> Editor<S> {
    /// Begins with `old`, which becomes a tree of `size` indices. Entries past the new size are
    /// dropped.
    pub fn new<N: NodesMut<S>>(
        old: &Root<S::Child>,
        size: u64,
        nodes: &mut N,
    ) -> Result<Self, EditError<N::Error>> {
        let mut editor = Self {
            size,
            shrinks: size < old.size,
            path: Vec::new(),
            next: 0,
        };
        let Some(level) = depth_for(size).checked_sub(1) else {
            return Ok(editor);
        };
        let under = cut_to(old, level, nodes)?;
        let frame = Frame::open(level, 0, size.max(old.size), under, nodes)?;
        editor.path.push(frame);
        Ok(editor)
    }

    /// Sets one entry, or removes it with `None`. Indices must ascend.
    pub fn set<N: NodesMut<S>>(
        &mut self,
        index: u64,
        value: Option<S::Value>,
        nodes: &mut N,
    ) -> Result<(), EditError<N::Error>> {
        if index < self.next || index >= self.size {
            return Err(EditError::Order);
        }
        self.next = index.saturating_add(1);
        self.seek(index, nodes)?;
        if let Some(Frame {
            node: Node::Leaf(values),
            changed,
            ..
        }) = self.path.last_mut()
            && let Some(slot) = values.get_mut(slot_of(index, 0))
            && *slot != value
        {
            *slot = value;
            *changed = true;
        }
        Ok(())
    }

    /// Rewrites the nodes on the path to `index`, even if nothing in them changes. The index may
    /// still be set afterwards.
    pub fn touch<N: NodesMut<S>>(
        &mut self,
        index: u64,
        nodes: &mut N,
    ) -> Result<(), EditError<N::Error>> {
        if index < self.next || index >= self.size {
            return Err(EditError::Order);
        }
        self.next = index;
        self.seek(index, nodes)?;
        self.path.iter_mut().for_each(|frame| frame.changed = true);
        Ok(())
    }

    /// Writes the nodes that are still open, and returns the new tree.
    pub fn finish<N: NodesMut<S>>(
        mut self,
        nodes: &mut N,
    ) -> Result<Root<S::Child>, EditError<N::Error>> {
        // Closing a node drops its children past the end, so the node that contains the end must be
        // on the path.
        let end_inside = self
            .path
            .first()
            .is_some_and(|root| covers(0, root.node.level(), self.size));
        if self.shrinks && end_inside {
            self.seek(self.size, nodes)?;
        }
        let mut child = None;
        while !self.path.is_empty() {
            child = self.close_last(nodes)?;
        }
        Ok(Root {
            size: self.size,
            child,
        })
    }

    /// Moves the path to the leaf that covers `index`.
    fn seek<N: NodesMut<S>>(
        &mut self,
        index: u64,
        nodes: &mut N,
    ) -> Result<(), EditError<N::Error>> {
        while self
            .path
            .last()
            .is_some_and(|frame| !covers(frame.base, frame.node.level(), index))
        {
            self.close_last(nodes)?;
        }
        while let Some(frame) = self.path.last_mut() {
            let Some(below) = frame.node.level().checked_sub(1) else {
                break;
            };
            let slot = slot_of(index, frame.node.level());
            let under = frame.take_child(slot, below);
            let base = child_base(frame.base, frame.node.level(), slot).ok_or(EditError::Order)?;
            let size = if self.shrinks { u64::MAX } else { self.size };
            self.path
                .push(Frame::open(below, base, size, under, nodes)?);
        }
        Ok(())
    }

    /// Stores the last node of the path if it changed, and puts its name into its parent. Returns
    /// the name.
    fn close_last<N: NodesMut<S>>(
        &mut self,
        nodes: &mut N,
    ) -> Result<Option<S::Child>, EditError<N::Error>> {
        let Some(frame) = self.path.pop() else {
            return Ok(None);
        };
        let (base, level) = (frame.base, frame.node.level());
        let child = frame.close(self.size, nodes)?;
        if let Some(parent) = self.path.last_mut() {
            parent.put_child(slot_of(base, level.saturating_add(1)), child);
        }
        Ok(child)
    }
}

impl<S: Shape> Frame<S> {
    fn open<N: NodesMut<S>>(
        level: u8,
        base: u64,
        size: u64,
        under: Under<S::Child>,
        nodes: &mut N,
    ) -> Result<Self, EditError<N::Error>> {
        let mut frame = Self {
            base,
            node: Node::empty(level),
            stored: None,
            lower: None,
            changed: false,
        };
        match under {
            Under::Nothing => {}
            Under::Node(child) => {
                frame.node = nodes
                    .load(&child, level, size.saturating_sub(base))
                    .map_err(EditError::Nodes)?;
                frame.stored = Some(child);
            }
            Under::Lower(child, own) if Some(own) == level.checked_sub(1) => {
                frame.put_child(0, Some(child))
            }
            Under::Lower(child, own) => {
                frame.lower = Some((child, own));
                frame.changed = true;
            }
        }
        Ok(frame)
    }

    fn take_child(&mut self, slot: usize, level: u8) -> Under<S::Child> {
        if slot == 0
            && let Some((child, own)) = self.lower.take()
        {
            return Under::below(child, own, level);
        }
        match &self.node {
            Node::Inner { children, .. } => children
                .get(slot)
                .copied()
                .flatten()
                .map_or(Under::Nothing, Under::Node),
            Node::Leaf(_) => Under::Nothing,
        }
    }

    fn put_child(&mut self, slot: usize, child: Option<S::Child>) {
        if let Node::Inner { children, .. } = &mut self.node
            && let Some(place) = children.get_mut(slot)
            && *place != child
        {
            *place = child;
            self.changed = true;
        }
    }

    fn close<N: NodesMut<S>>(
        mut self,
        size: u64,
        nodes: &mut N,
    ) -> Result<Option<S::Child>, EditError<N::Error>> {
        if let Some((child, own)) = self.lower.take() {
            let below = self.node.level().saturating_sub(1);
            let lifted = lift(child, own, below, nodes)?;
            self.put_child(0, Some(lifted));
        }
        self.drop_past(size);
        match self.stored {
            _ if self.node.is_empty() => Ok(None),
            Some(stored) if !self.changed => Ok(Some(stored)),
            _ => nodes.save(&self.node).map(Some).map_err(EditError::Nodes),
        }
    }

    fn drop_past(&mut self, size: u64) {
        let (base, level) = (self.base, self.node.level());
        for slot in 0..FANOUT {
            if child_base(base, level, slot).is_some_and(|begin| begin < size) {
                continue;
            }
            let dropped = match &mut self.node {
                Node::Leaf(values) => values.get_mut(slot).and_then(Option::take).is_some(),
                Node::Inner { children, .. } => {
                    children.get_mut(slot).and_then(Option::take).is_some()
                }
            };
            self.changed |= dropped;
        }
    }
}

/// The old tree seen from height `level`: a higher tree is cut to the subtree under its children 0.
fn cut_to<S: Shape, N: NodesMut<S>>(
    old: &Root<S::Child>,
    level: u8,
    nodes: &mut N,
) -> Result<Under<S::Child>, EditError<N::Error>> {
    let (Some(mut child), Some(mut own)) = (old.child, old.level()) else {
        return Ok(Under::Nothing);
    };
    while own > level {
        let Node::Inner { children, .. } = nodes
            .load(&child, own, old.size)
            .map_err(EditError::Nodes)?
        else {
            return Ok(Under::Nothing);
        };
        let Some(first) = children.first().copied().flatten() else {
            return Ok(Under::Nothing);
        };
        child = first;
        own = own.saturating_sub(1);
    }
    Ok(Under::below(child, own, level))
}

/// Stores nodes with child 0 alone, until a tree of height `own` has height `level`.
fn lift<S: Shape, N: NodesMut<S>>(
    mut child: S::Child,
    own: u8,
    level: u8,
    nodes: &mut N,
) -> Result<S::Child, EditError<N::Error>> {
    for height in own.saturating_add(1)..=level {
        let mut frame: Frame<S> = Frame {
            base: 0,
            node: Node::empty(height),
            stored: None,
            lower: None,
            changed: true,
        };
        frame.put_child(0, Some(child));
        child = nodes.save(&frame.node).map_err(EditError::Nodes)?;
    }
    Ok(child)
}

const _: () = assert!(FANOUT == 32, "slots are five bits of an index");
