// SPDX-License-Identifier: GPL-3.0-or-later
//! Undoing what a restore changed in a target that was there before, from the clone beside it.

use wyng_control::Failure;

use super::changes::Changes;
use super::target::Replacement;
use crate::bits::Bits;
use crate::room::{BLOCK_BYTES, Room};
use crate::world::{Beside, Errno, There, Volumes};

/// Gives a target that was changed where it is back what it had; returns whether it did. Where the
/// target cannot be cloned back, as on a full file system, what differs is written back from the
/// clone.
pub(super) fn undo(
    target: &Replacement<'_>,
    volumes: &mut impl Volumes,
    changes: &Changes,
) -> Result<bool, Failure> {
    let Some(there) = target.there.filter(|there| there.in_place) else {
        return Ok(true);
    };
    if changes.is_empty() {
        return Ok(volumes.finish_target(target.item, there.size_bytes).is_ok());
    }
    if there.beside != Some(Beside::Kept) {
        return Ok(false);
    }
    Ok(volumes.undo_target(target.item, there.size_bytes)?
        || write_back(target, volumes, there, changes).is_ok())
}

/// Writes back what differs from the clone, and reads that back.
fn write_back(
    target: &Replacement<'_>,
    volumes: &mut impl Volumes,
    there: There,
    changes: &Changes,
) -> Result<(), Errno> {
    volumes.finish_target(target.item, there.size_bytes)?;
    let (mut was, mut is) = (Room::default(), Room::default());
    let chunk_size = u64::from(target.session.chunk_size_bytes);
    let mut changed = Bits::none(there.size_bytes.div_ceil(chunk_size));
    let mut from = 0;
    while let Some(run) = changes.written.next_run(from) {
        from = run.end;
        changed.insert(run);
    }
    if changes.cut {
        changed.insert(target.session.size_bytes / chunk_size..u64::MAX);
    }
    // The second pass reads back what the first pass wrote.
    for may_write in [true, false] {
        let mut next = 0;
        while let Some(index) = changed.next(next) {
            next = index.saturating_add(1);
            let offset = index.saturating_mul(chunk_size);
            let length = usize::try_from(there.size_bytes.saturating_sub(offset).min(chunk_size))
                .unwrap_or(0);
            was.resize(length);
            is.resize(length);
            let read = volumes.read_source(target.item, offset, was.bytes_mut())?;
            let found = volumes.read_target(target.item, offset, is.blocks_mut())?;
            if read < length || found < length {
                return Err(Errno::IO);
            }
            let blocks = was
                .bytes()
                .chunks(BLOCK_BYTES)
                .zip(is.bytes().chunks(BLOCK_BYTES));
            for (begin, (old, _)) in (0..)
                .step_by(BLOCK_BYTES)
                .zip(blocks)
                .filter(|(_, (old, new))| old != new)
            {
                if !may_write {
                    return Err(Errno::IO);
                }
                volumes.write_target(target.item, offset.saturating_add(begin), old)?;
            }
        }
        volumes.finish_target(target.item, there.size_bytes)?;
    }
    Ok(())
}
