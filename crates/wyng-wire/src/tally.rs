// SPDX-License-Identifier: GPL-3.0-or-later
//! The number of names that went over the pipe, and a sum of them. It finds mistakes and proves
//! nothing.

use crate::BlobName;

/// Count and digest of the names in END and FINAL.
///
/// The digest is the sum, modulo 2^128, of both 16-byte halves of every name as little-endian
/// numbers. A cryptographic hash would prove no more: a hostile helper knows every name and can
/// compute any digest of them. The digest finds frames that a defect lost or doubled. Names are
/// uniformly random, so a lost name goes unnoticed with a probability of 2^-128. A sum does not
/// depend on the order and, unlike an exclusive or, does not cancel a name that is put twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Number of names, repetitions included.
    pub count: u64,
    /// Sum of the halves of all names, modulo 2^128.
    pub digest: u128,
}

impl Tally {
    /// Adds one name.
    pub fn add(&mut self, name: &BlobName) {
        self.count = self.count.saturating_add(1);
        for half in [name.0.first_chunk(), name.0.last_chunk()]
            .into_iter()
            .flatten()
        {
            self.digest = self.digest.wrapping_add(u128::from_le_bytes(*half));
        }
    }
}
