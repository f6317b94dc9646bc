// SPDX-License-Identifier: GPL-3.0-or-later
//! What is shown of base snapshots.

use std::path::PathBuf;

/// A base snapshot, as it is shown.
#[derive(Debug, Clone)]
pub(crate) struct SnapshotLine {
    /// The archive's name; none if it is not known here.
    pub(crate) archive: Option<String>,
    /// The archive's id.
    pub(crate) archive_id: [u8; 16],
    /// The volume's name, where that is known.
    pub(crate) volume: Option<String>,
    /// The session that it is of; none if the folder cannot be looked into.
    pub(crate) session: Option<i64>,
    /// Where it lies.
    pub(crate) folder: PathBuf,
    /// Why nothing uses it.
    pub(crate) left_over: Option<&'static str>,
    /// It was removed.
    pub(crate) removed: bool,
}
