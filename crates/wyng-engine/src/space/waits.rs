// SPDX-License-Identifier: GPL-3.0-or-later
//! Reports packs that wait for their deletion, and their obstacles.

use wyng_archive::plan::deletion::Obstacle;
use wyng_archive::plan::waiting::{Waits, waits};
use wyng_control::{Failure, ToClient, WaitReason};

use super::waste::Waste;
use crate::archive::Archive;
use crate::kept::kept_now;
use crate::world::{Client, Parts, World};

/// Reports each group of packs that wait.
pub(crate) fn tell_waits(client: &mut impl Client, waits: &[Waits]) -> Result<(), Failure> {
    waits.iter().try_for_each(|waits| {
        client.tell(ToClient::Waits(wyng_control::Waits {
            reason: reason(waits.obstacle),
            packs: waits.packs,
            bytes: waits.bytes,
        }))
    })
}

/// The waiting packs and their obstacles, for a command that only looks.
pub(crate) fn look_for_waits<P: Parts>(
    world: &mut World<P>,
    archive: &mut Archive,
) -> Result<Vec<Waits>, Failure> {
    let mut waste = Waste::of(&mut world.files, archive)?;
    if !waste.is_any() {
        return Ok(Vec::new());
    }
    let now = kept_now(&mut world.files, &mut world.clock, archive)?;
    let plan = waste.plan(&mut world.files, &mut world.client, archive, now)?;
    Ok(waits(&plan, waste.table()))
}

fn reason(obstacle: Obstacle) -> WaitReason {
    match obstacle {
        Obstacle::HoldOff {
            runs_left,
            secs_left,
        } => WaitReason::HoldOff {
            runs_left,
            secs_left,
        },
        Obstacle::Reader => WaitReason::Reader,
        Obstacle::HeirLost { .. } => WaitReason::HeirLost,
        Obstacle::FetchRefused => WaitReason::FetchRefused,
        Obstacle::HeirOf { .. } => WaitReason::Needed,
        Obstacle::Proof {
            commits_left,
            packs_left,
        } => WaitReason::Proof {
            commits_left,
            packs_left,
        },
        Obstacle::DeleteRefused => WaitReason::DeleteRefused,
        Obstacle::StoreRefused { secs_left } => WaitReason::StoreRefused { secs_left },
    }
}
