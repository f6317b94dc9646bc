// SPDX-License-Identifier: GPL-3.0-or-later
//! How many names went over the pipe, and a sum of them. It finds mistakes, and proves nothing.

use crate::BlobName;

/// Count and digest of the names in END and FINAL.
///
/// The digest is the sum, modulo 2^128, of both 16-byte halves of every name as little-endian
/// numbers. It need not be a cryptographic hash: a hostile helper knows every name and could repeat
/// any digest of them, so that this only finds frames lost or doubled by a defect. Names are
/// uniformly random, which leaves one chance in 2^128 to a lost name; a sum, unlike an exclusive
/// or, does not cancel a name that is put twice, and needs no order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many names, with repetitions.
    pub count: u64,
    /// The sum of their halves.
    pub digest: u128,
}

impl Tally {
    /// Takes one more name into account.
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
