// SPDX-License-Identifier: GPL-3.0-or-later
//! Single blobs (slots, commits) that are waited for.

use wyng_control::Failure;
use wyng_wire::BlobName;

pub(super) use crate::world::{Kept, Store};
use crate::world::{Reserve, Wait};

/// Sends one small blob, which may use the store's reserve, and waits for its receipt. Nothing else
/// may be in flight.
pub fn put_blob(store: &mut impl Store, name: BlobName, bytes: &[u8]) -> Result<Kept, Failure> {
    let mut buffer = store.buffer(bytes.len())?;
    buffer
        .as_mut()
        .iter_mut()
        .zip(bytes)
        .for_each(|(to, from)| *to = *from);
    let number = store.put(name, buffer, bytes.len(), Reserve::Usable)?;
    let receipt = store
        .receipt(Wait::UntilThere)?
        .filter(|receipt| receipt.number == number)
        .ok_or(Failure::FarEndProtocol)?;
    Ok(receipt.kept)
}
