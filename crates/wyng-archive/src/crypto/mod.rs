// SPDX-License-Identifier: GPL-3.0-or-later
//! Keys and their uses. `labels.rs` has every label; no other part of the project derives a key.

mod envelope;
mod ids;
mod keys;
mod labels;
mod recovery;
mod seal;
mod secret;
mod slot;
#[cfg(test)]
mod two_keys;

pub use crate::format::{RECORD_OVERHEAD_BYTES, SlotParams};
pub use crate::ids::{ArchiveId, DomainId, Epoch, Id};
pub use envelope::{Entropy, EnvelopeError, KEY_BYTES_MAX, KEY_RECORDS_MAX, SessionKey};
pub use ids::{Domain, pack_name, slot_name};
pub use keys::{CREDENTIAL_BYTES, Credential, CredentialError, DataKey, Root};
pub use recovery::{RecoveryKey, RecoveryKeyError};
pub use seal::{Candidates, Coder, Kind, NonceSeed, RecordKey, SealError};
pub use secret::{Secret, wiping_stack};
pub use slot::{Password, SlotError, cheapest_first, open_slot, seal_slot};
