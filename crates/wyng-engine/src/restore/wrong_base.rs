// SPDX-License-Identifier: GPL-3.0-or-later
//! A base snapshot that was found to be wrong is removed before the command ends: the next backup
//! must not compare with it.

use wyng_control::{Failure, ToClient};

use crate::world::{Client, Parts, Volumes, World};

/// Requests the removal of the base snapshot of a source or target. If it cannot be removed, that
/// is reported, and the command continues.
pub(super) fn drop_wrong_base<P: Parts>(world: &mut World<P>, item: u32) -> Result<(), Failure> {
    match world.volumes.drop_base(item) {
        Err(kept @ Failure::BaseKept { .. }) => world.client.tell(ToClient::Failed(kept)),
        dropped => dropped,
    }
}
