// SPDX-License-Identifier: GPL-3.0-or-later
//! Comparing two trees. Equal children are not entered, so that the time depends on the difference
//! alone.
//!
//! Content ids of two deduplication domains cannot be compared; the caller compares only sessions
//! of one domain.

use std::marker::PhantomData;

use super::{Nodes, Root, Under, child_base};
use crate::format::{FANOUT, Node, Shape};

/// Calls `visit` with each index at which the trees differ, in ascending order, and with both
/// entries.
pub fn diff<S, N, F>(
    a: &Root<S::Child>,
    b: &Root<S::Child>,
    nodes: &mut N,
    visit: &mut F,
) -> Result<(), N::Error>
where
    S: Shape,
    N: Nodes<S>,
    F: FnMut(u64, Option<&S::Value>, Option<&S::Value>),
{
    let Some(level) = a.level().max(b.level()) else {
        return Ok(());
    };
    let sides = (Under::root(a, level), Under::root(b, level));
    let mut comparison = Comparison {
        tree: PhantomData::<S>,
        sizes: (a.size, b.size),
        nodes,
        visit,
    };
    comparison.node(level, 0, sides.0, sides.1)
}

struct Comparison<'a, S, N, F> {
    tree: PhantomData<S>,
    sizes: (u64, u64),
    nodes: &'a mut N,
    visit: &'a mut F,
}

impl<S, N, F> Comparison<'_, S, N, F>
where
    S: Shape,
    N: Nodes<S>,
    F: FnMut(u64, Option<&S::Value>, Option<&S::Value>),
{
    fn node(
        &mut self,
        level: u8,
        base: u64,
        a: Under<S::Child>,
        b: Under<S::Child>,
    ) -> Result<(), N::Error> {
        match (a, b) {
            (Under::Nothing, Under::Nothing) => return Ok(()),
            (Under::Node(a), Under::Node(b)) if a == b => return Ok(()),
            (Under::Lower(a, own_a), Under::Lower(b, own_b)) if a == b && own_a == own_b => {
                return Ok(());
            }
            _ => {}
        }
        let (a, b) = (
            self.open(a, level, base, self.sizes.0)?,
            self.open(b, level, base, self.sizes.1)?,
        );
        for slot in 0..FANOUT {
            let Some(begin) = child_base(base, level, slot) else {
                break;
            };
            match level.checked_sub(1) {
                None => {
                    let (a, b) = (a.value(slot), b.value(slot));
                    if a != b {
                        (self.visit)(begin, a, b);
                    }
                }
                Some(below) => {
                    self.node(below, begin, a.child(slot, below), b.child(slot, below))?
                }
            }
        }
        Ok(())
    }

    fn open(
        &mut self,
        under: Under<S::Child>,
        level: u8,
        base: u64,
        size: u64,
    ) -> Result<Side<S>, N::Error> {
        Ok(match under {
            Under::Nothing => Side {
                node: None,
                lower: None,
            },
            Under::Node(child) => Side {
                node: Some(self.nodes.load(&child, level, size.saturating_sub(base))?),
                lower: None,
            },
            Under::Lower(child, own) => Side {
                node: None,
                lower: Some((child, own)),
            },
        })
    }
}

/// One of the two trees, at the place that is being compared.
struct Side<S: Shape> {
    node: Option<Node<S>>,
    lower: Option<(S::Child, u8)>,
}

impl<S: Shape> Side<S> {
    fn value(&self, slot: usize) -> Option<&S::Value> {
        match &self.node {
            Some(Node::Leaf(values)) => values.get(slot).and_then(Option::as_ref),
            _ => None,
        }
    }

    fn child(&self, slot: usize, level: u8) -> Under<S::Child> {
        match (&self.node, self.lower) {
            (None, Some((child, own))) if slot == 0 => Under::below(child, own, level),
            (Some(Node::Inner { children, .. }), _) => children
                .get(slot)
                .copied()
                .flatten()
                .map_or(Under::Nothing, Under::Node),
            _ => Under::Nothing,
        }
    }
}
