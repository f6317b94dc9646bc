// SPDX-License-Identifier: GPL-3.0-or-later
//! Whether a timer may prune now.

use wyng_control::Failure;

use crate::kept::local_clock;
use crate::world::{Parts, World};

/// Whether the wall clock of this machine jumped since a person last looked.
pub(super) fn is_jump_unlooked<P: Parts>(world: &mut World<P>) -> Result<bool, Failure> {
    Ok(local_clock(&mut world.files, &mut world.clock)?.jumped)
}
