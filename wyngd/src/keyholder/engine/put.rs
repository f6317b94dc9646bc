// SPDX-License-Identifier: GPL-3.0-or-later
//! What an answer to a PUT means, and single blobs (slots, commits) that are waited for.

use wyng_control::Failure;
use wyng_wire::BlobName;

use crate::keyholder::world::{PutAnswer, World};

/// A blob lies under its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// It is new.
    New,
    /// It was there already, with the same bytes.
    Same,
    /// Other bytes have the name.
    Different,
    /// The name is taken; the credential for push may not read by what.
    Unknown,
}

/// Sorts the answers that end a command from those that tell what lies in the store.
pub fn kept(answer: PutAnswer) -> Result<Kept, Failure> {
    match answer {
        PutAnswer::Stored => Ok(Kept::New),
        PutAnswer::ExistsSame => Ok(Kept::Same),
        PutAnswer::ExistsDifferent => Ok(Kept::Different),
        PutAnswer::ExistsUnknown => Ok(Kept::Unknown),
        PutAnswer::Full => Err(Failure::StoreFull),
        PutAnswer::Refused => Err(Failure::StoreDenied),
        PutAnswer::Failed => Err(Failure::StoreFailed),
    }
}

/// Sends one small blob, which may use the store's reserve, and waits for its receipt. Nothing else may be in flight.
pub fn put_blob<W: World>(world: &mut W, name: BlobName, bytes: &[u8]) -> Result<Kept, Failure> {
    let mut buffer = world.buffer(bytes.len())?;
    buffer.as_mut().iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    let number = world.put(name, buffer, bytes.len(), true)?;
    let receipt = world.receipt(true)?.filter(|receipt| receipt.number == number).ok_or(Failure::FarEndProtocol)?;
    kept(receipt.answer)
}
