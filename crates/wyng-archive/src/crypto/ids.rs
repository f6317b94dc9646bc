// SPDX-License-Identifier: GPL-3.0-or-later
//! Names and ids of objects, and the keys that derive them.

use wyng_wire::BlobName;

use super::labels;
use super::secret::Secret;
use crate::ids::{DomainId, Id};

/// The key that names the chunks of one deduplication domain. Equal chunks of two domains have
/// unrelated ids.
pub struct Domain {
    id: DomainId,
    key: Secret,
}

impl Domain {
    pub(super) fn new(names: &Secret, id: DomainId) -> Self {
        Self {
            id,
            key: Secret::derive(labels::DOMAIN, &[names.expose(), &id.0]),
        }
    }

    /// The id of the domain.
    pub fn id(&self) -> DomainId {
        self.id
    }

    /// `KH[domain key](chunk)`: the content id of one chunk's plain bytes.
    pub fn content_id(&self, chunk: &[u8]) -> Id {
        Id(*blake3::keyed_hash(self.key.expose(), chunk).as_bytes())
    }
}

/// `H(bytes)`: the name of a pack. It can be checked without a key.
pub fn pack_name(bytes: &[u8]) -> BlobName {
    BlobName(*blake3::hash(bytes).as_bytes())
}

/// The name under which slot `number` is stored. It can be computed without a key.
pub fn slot_name(number: u8) -> BlobName {
    BlobName(*Secret::derive(labels::SLOT_NAME, &[&[number]]).expose())
}
