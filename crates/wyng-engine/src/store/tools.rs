// SPDX-License-Identifier: GPL-3.0-or-later
//! The parts of a world and of an archive that packing uses, and the sealing of metadata.

use wyng_archive::crypto::{Credential, Id, Kind, NonceSeed};
use wyng_control::Failure;

use crate::archive::Archive;
use crate::cache::Cache;
use crate::outcome::internal;
use crate::pool::Pool;
use crate::state::Journal;
use crate::world::{Parts, Random, World};

/// The parts of a world and of an archive that packing uses.
pub(crate) struct Tools<'a, P: Parts> {
    /// Draws nonces and filler.
    pub random: &'a mut P::Random,
    /// Where cache and journal are.
    pub files: &'a mut P::Files,
    /// Takes packs and gives receipts.
    pub store: &'a mut P::Store,
    /// Seals metadata.
    pub credential: &'a Credential,
    /// Takes in what became durable.
    pub cache: &'a mut Cache,
    /// Notes what became durable.
    pub journal: &'a Journal,
    /// Computes the names of packs.
    pub pool: &'a mut Pool,
}

impl<'a, P: Parts> Tools<'a, P> {
    /// The parts of a world and of an archive that packing uses.
    pub(crate) fn of(
        world: &'a mut World<P>,
        archive: &'a mut Archive,
        pool: &'a mut Pool,
    ) -> Self {
        Self {
            random: &mut world.random,
            files: &mut world.files,
            store: &mut world.store,
            credential: &archive.credential,
            cache: &mut archive.cache,
            journal: &archive.journal,
            pool,
        }
    }
}

/// Seals metadata under its id.
pub(super) fn seal<P: Parts>(
    tools: &mut Tools<'_, P>,
    kind: Kind,
    id: &Id,
    plain: &[u8],
) -> Result<Vec<u8>, Failure> {
    let seed = NonceSeed(tools.random.draw()?);
    tools
        .credential
        .seal_meta(kind, tools.pool.coder(), id, plain, seed)
        .map_err(|error| internal(&error.to_string()))
}
