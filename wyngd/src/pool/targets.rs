// SPDX-License-Identifier: GPL-3.0-or-later
//! New volumes for restores. Until a volume is complete it has a name of ours and no label, so that
//! what a killed run leaves is removed like any unfinished snapshot.

use std::os::fd::OwnedFd;

use rustix::fs::OFlags;
use wyng_control::{BaseLabel, BaseOf, ThinPlace};

use super::kernel::{self, PoolStatus, PoolTable, ThinTable};
use super::label::Label;
use super::listed::{Listed, Listing};
use super::names::{DmUuid, OwnVolume, VolumeName};
use super::programs::Call;
use super::trouble::Trouble;

/// Sizes are multiples of this, bytes; LVM rounds them up to whole extents.
const SIZE_STEP: u64 = 4096;

/// A new volume that is not complete.
pub(super) struct NewVolume {
    /// Its name until then.
    pub(super) volume: OwnVolume,
    /// Its name afterwards.
    to: VolumeName,
    /// The base that it is a snapshot of.
    base: Option<(OwnVolume, Label)>,
}

/// A new volume as it is handed over.
pub(super) struct Made {
    pub(super) size_bytes: u64,
    pub(super) discards_bytes: u32,
    pub(super) room_bytes: u64,
    pub(super) block_bytes: u64,
    pub(super) base: Option<BaseLabel>,
    pub(super) device: OwnedFd,
}

impl NewVolume {
    /// A new volume under this name: a snapshot of the volume's base, if that has just this size.
    /// Nothing is made yet.
    pub(super) fn plan(
        volume: OwnVolume,
        place: &ThinPlace,
        (size_bytes, of): (u64, &BaseOf),
        (listing, pool): (&Listing, &Listed),
    ) -> Option<Self> {
        let bases = listing.bases(&pool.uuid, of).into_iter();
        let mut fitting = bases.filter(|(_, label)| label.identity.size_bytes == size_bytes);
        Some(Self {
            volume,
            to: VolumeName::new(&pool.group, &place.name)?,
            base: fitting.next(),
        })
    }

    /// Makes and opens it.
    pub(super) fn make(
        &self,
        pool: &Listed,
        device: &DmUuid,
        size_bytes: u64,
    ) -> Result<Made, Trouble> {
        match &self.base {
            Some((base, _)) => Call::SnapshotToWrite {
                origin: base.volume(),
                snapshot: &self.volume,
            }
            .run()?,
            None => {
                let size_bytes = size_bytes
                    .max(1)
                    .checked_next_multiple_of(SIZE_STEP)
                    .ok_or(Trouble::Answer("a size past every end"))?;
                let name = pool.volume();
                Call::Make {
                    pool: name.as_ref().ok_or(Trouble::Answer("a pool has no name"))?,
                    volume: &self.volume,
                    size_bytes,
                }
                .run()?
            }
        };
        let made = opened(&self.volume, device, size_bytes)?;
        Ok(Made {
            base: self.base.as_ref().map(|(_, label)| label.base),
            ..made
        })
    }

    /// Gives it its name: from then on it is not ours any more. It is deactivated before, and has
    /// the flag that keeps others from activating it: udev must not look into what a guest wrote.
    pub(super) fn name(&self) -> Result<(), Trouble> {
        Call::Deactivate(&self.volume).run()?;
        Call::Rename {
            volume: &self.volume,
            to: &self.to,
        }
        .run()
        .map(drop)
    }

    /// The base that it is a snapshot of.
    pub(super) fn base(&self) -> Option<&OwnVolume> {
        self.base.as_ref().map(|(base, _)| base)
    }
}

/// Opens a volume that was just made in the pool with this device, and has at least this size.
pub(super) fn opened(
    volume: &OwnVolume,
    device: &DmUuid,
    size_bytes: u64,
) -> Result<Made, Trouble> {
    let gone = || Trouble::Answer("the new volume is gone");
    let listing = Listing::take()?;
    let listed = listing.named(volume).ok_or_else(gone)?;
    let uuid = listed.device_uuid().ok_or_else(gone)?;
    let table = ThinTable::of(&uuid)?;
    if Some(table.pool) != kernel::active(device)
        || Some(table.device) != listed.device
        || table.size_bytes < size_bytes
    {
        return Err(Trouble::Answer("the new volume is not what lvm lists"));
    }
    let (of_pool, status) = (PoolTable::of(device)?, PoolStatus::of(device)?);
    let discards_bytes = u32::try_from(of_pool.block_bytes).unwrap_or(0);
    Ok(Made {
        size_bytes: table.size_bytes,
        discards_bytes: if of_pool.discards { discards_bytes } else { 0 },
        room_bytes: status.room_blocks().saturating_mul(of_pool.block_bytes),
        block_bytes: of_pool.block_bytes,
        base: None,
        device: kernel::open(kernel::active(&uuid).ok_or_else(gone)?, OFlags::RDWR)?,
    })
}
