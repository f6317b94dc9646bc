// SPDX-License-Identifier: GPL-3.0-or-later
//! Blobs whose bytes are at hand: single small ones (slots, commits) whose receipts are waited for,
//! and buffers for others. New packs are the packer's.

use wyng_control::Failure;
use wyng_wire::BlobName;

pub(super) use crate::world::{Kept, Store};
use crate::world::{Reserve, Wait};

/// Sends one small blob, which may use the store's reserve, and waits for its receipt. Nothing else
/// may be in flight.
pub fn put_blob(store: &mut impl Store, name: BlobName, bytes: &[u8]) -> Result<Kept, Failure> {
    let buffer = buffer_of(store, bytes)?;
    let number = store.put(name, buffer, bytes.len(), Reserve::Usable)?;
    let receipt = store
        .receipt(Wait::UntilThere)?
        .filter(|receipt| receipt.number == number)
        .ok_or(Failure::FarEndProtocol)?;
    Ok(receipt.kept)
}

/// A buffer of the store that holds these bytes.
pub(crate) fn buffer_of<S: Store>(store: &mut S, bytes: &[u8]) -> Result<S::Buffer, Failure> {
    let mut buffer = store.buffer(bytes.len())?;
    buffer
        .as_mut()
        .iter_mut()
        .zip(bytes)
        .for_each(|(to, from)| *to = *from);
    Ok(buffer)
}
