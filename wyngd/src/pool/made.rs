// SPDX-License-Identifier: GPL-3.0-or-later
//! A snapshot as it is handed over, and how full a pool may be for one: the same for every kind of
//! pool.

use std::os::fd::OwnedFd;

use wyng_control::{BaseLabel, Method, WholeCause};

/// No snapshot is made while more than this share of the pool's data or metadata is used, per cent.
pub(super) const SNAPSHOT_MAX_PERCENT: u64 = 80;
/// Bases are removed while more than this is used, per cent.
pub(super) const BASES_MAX_PERCENT: u64 = 90;

/// A snapshot as it is handed over.
pub(super) struct Made {
    pub(super) number: u32,
    pub(super) size_bytes: u64,
    /// The base's label, and its size in bytes.
    pub(super) base: Option<(BaseLabel, u64)>,
    /// Why there is no base.
    pub(super) whole: Option<WholeCause>,
    /// How its changes are found.
    pub(super) method: Method,
    /// Its device, opened for reading.
    pub(super) device: OwnedFd,
}
