// SPDX-License-Identifier: GPL-3.0-or-later
//! What a restore in place is asked for, and its plan. They are filled elsewhere.

use super::super::step::Step;
use super::super::wish::{Parts, Proof};
use super::change::Change;
use super::lines::InPlaceLine;

/// What a restore in place is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InPlaceWish<'a> {
    /// The name of the qube that is changed.
    pub name: &'a str,
    /// A person typed that name beside the one of the archive.
    pub is_named_apart: bool,
    /// Which parts of it.
    pub parts: Parts,
    /// Whether the history is proven.
    pub proof: Proof,
}

/// A plan of a restore in place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InPlacePlan {
    /// What a person reads.
    pub lines: Vec<InPlaceLine>,
    /// The volumes that are restored, with their lengths in bytes.
    pub volumes: Vec<(String, u64)>,
    /// Labels that are made first.
    pub labels: Vec<Step>,
    /// What is set before the volumes are written.
    pub before: Vec<Change>,
    /// What is set once all volumes are in their places, in this order.
    pub after: Vec<Change>,
}
