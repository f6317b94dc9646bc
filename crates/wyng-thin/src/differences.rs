// SPDX-License-Identifier: GPL-3.0-or-later
//! Two mapping trees side by side. A node that both reach by the same block is passed over unread.

use core::cmp::Ordering;
use core::ops::Range;

use crate::block::Block;
use crate::cursor::{Cursor, Head};
use crate::trees::{Error, Trees};

/// How the new device differs from the old one in a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Difference {
    /// It maps other data blocks, or the old one mapped none: the range must be read.
    Mapped,
    /// It maps nothing where the old one did: the range reads as zeros.
    Unmapped,
}

/// Reports what differs between two trees, in ascending order.
pub(crate) fn compare<R, E>(
    trees: &mut Trees<R>,
    mut old: Cursor,
    mut new: Cursor,
    merge: &mut Merge<'_, E>,
) -> Result<(), Error<E>>
where
    R: FnMut(u64, &mut Block) -> Result<(), E>,
{
    loop {
        match step(old.head(), new.head()) {
            Step::Done => return merge.finish(),
            Step::SkipBoth => {
                old.skip();
                new.skip();
            }
            Step::Open { in_old, in_new } => {
                if in_old {
                    old.open(trees)?;
                }
                if in_new {
                    new.open(trees)?;
                }
            }
            Step::Report { key, difference } => {
                merge.report(key, difference)?;
                if old.head().is_some_and(|head| head.keys().start == key) {
                    old.skip();
                }
                if difference == Difference::Mapped {
                    new.skip();
                }
            }
        }
    }
}

enum Step {
    Done,
    /// Both hold the same below what comes next.
    SkipBoth,
    Open {
        in_old: bool,
        in_new: bool,
    },
    Report {
        key: u64,
        difference: Difference,
    },
}

fn step(old: Option<&Head>, new: Option<&Head>) -> Step {
    let open = |in_old, in_new| Step::Open { in_old, in_new };
    match (old, new) {
        (None, None) => Step::Done,
        (Some(Head::Node(_)), None) => open(true, false),
        (None, Some(Head::Node(_))) => open(false, true),
        (Some(Head::Mapping(key, _)), None) => Step::Report {
            key: *key,
            difference: Difference::Unmapped,
        },
        (None, Some(Head::Mapping(key, _))) => Step::Report {
            key: *key,
            difference: Difference::Mapped,
        },
        (Some(Head::Node(a)), Some(Head::Node(b))) if a.block == b.block => Step::SkipBoth,
        // Shared nodes have one height: the taller is opened until heights are equal. What lies
        // before the other tree's next node cannot be shared with it.
        (Some(Head::Node(a)), Some(Head::Node(b))) => {
            match (a.height.cmp(&b.height), a.keys.start.cmp(&b.keys.start)) {
                _ if a.keys.end <= b.keys.start => open(true, false),
                _ if b.keys.end <= a.keys.start => open(false, true),
                (Ordering::Greater, _) | (Ordering::Equal, Ordering::Less) => open(true, false),
                (Ordering::Less, _) | (Ordering::Equal, Ordering::Greater) => open(false, true),
                (Ordering::Equal, Ordering::Equal) => open(true, true),
            }
        }
        (Some(Head::Mapping(key, _)), Some(Head::Node(node))) if *key < node.keys.start => {
            Step::Report {
                key: *key,
                difference: Difference::Unmapped,
            }
        }
        (Some(Head::Node(node)), Some(Head::Mapping(key, _))) if *key < node.keys.start => {
            Step::Report {
                key: *key,
                difference: Difference::Mapped,
            }
        }
        (Some(Head::Mapping(..)), Some(Head::Node(_))) => open(false, true),
        (Some(Head::Node(_)), Some(Head::Mapping(..))) => open(true, false),
        (Some(Head::Mapping(a, in_old)), Some(Head::Mapping(b, in_new))) => match a.cmp(b) {
            Ordering::Equal if in_old == in_new => Step::SkipBoth,
            Ordering::Less => Step::Report {
                key: *a,
                difference: Difference::Unmapped,
            },
            Ordering::Equal | Ordering::Greater => Step::Report {
                key: *b,
                difference: Difference::Mapped,
            },
        },
    }
}

/// Joins blocks to ranges.
pub(crate) struct Merge<'a, E> {
    visit: &'a mut dyn FnMut(Range<u64>, Difference) -> Result<(), E>,
    open: Option<(Range<u64>, Difference)>,
}

impl<'a, E> Merge<'a, E> {
    pub(crate) fn new(visit: &'a mut dyn FnMut(Range<u64>, Difference) -> Result<(), E>) -> Self {
        Self { visit, open: None }
    }

    fn report(&mut self, key: u64, difference: Difference) -> Result<(), Error<E>> {
        let next = key.saturating_add(1);
        match &mut self.open {
            Some((range, kind)) if *kind == difference && range.end == key => range.end = next,
            _ => {
                self.finish()?;
                self.open = Some((key..next, difference));
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Error<E>> {
        match self.open.take() {
            Some((range, difference)) => (self.visit)(range, difference).map_err(Error::Caller),
            None => Ok(()),
        }
    }
}
