// SPDX-License-Identifier: GPL-3.0-or-later
//! What every step of a run works with. A job knows no volume and no pack.

use crate::archive::Archive;
use crate::pool::Pool;
use crate::store::Tools;
use crate::world::{Parts, World};

/// The world, the archive that is backed up to, and the workers that compute.
pub(super) struct Job<'w, P: Parts> {
    /// Everything outside of the engine.
    pub world: &'w mut World<P>,
    /// The archive as this machine knows it.
    pub archive: Archive,
    /// Workers that hash, compress and seal.
    pub pool: Pool,
}

impl<P: Parts> Job<'_, P> {
    /// The parts of the job that packing and the editing of trees use.
    pub(super) fn tools(&mut self) -> Tools<'_, P> {
        Tools::of(self.world, &mut self.archive, &mut self.pool)
    }
}
