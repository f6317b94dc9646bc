// SPDX-License-Identifier: GPL-3.0-or-later
//! What a target has behind the end of the session.

use std::ops::Range;

use wyng_control::{Failure, Phase, TargetKind};

use super::changes::Changes;
use super::target::{Context, Replacement, stop_if_cancelled};
use super::walk::WINDOW_BYTES;
use crate::outcome::report;
use crate::room::{BLOCK_BYTES, Room};
use crate::world::{Errno, Parts, Volumes};

/// Makes zeros of what a device has behind the end of the session, where it is not zeros already. A
/// file is cut there instead, when it gets its size.
pub(super) fn clear_behind<P: Parts>(
    target: &Replacement<'_>,
    parts: &mut Context<'_, P>,
    changes: &mut Changes,
) -> Result<(), Failure> {
    let end = target
        .there
        .filter(|_| target.kind == TargetKind::Device)
        .map_or(0, |there| there.size_bytes);
    let mut room = Room::default();
    let mut next = target.session.size_bytes;
    while next < end {
        let piece = piece_behind(next, end);
        if !is_clear(target.item, &mut parts.world.volumes, &mut room, &piece).unwrap_or(false) {
            changes.cleared.push((piece.start, piece.end));
            let length = piece.end.saturating_sub(piece.start);
            parts
                .world
                .volumes
                .punch_target(target.item, piece.start, length)
                .map_err(|errno| target.not_written(errno))?;
        }
        next = piece.end;
        report(
            &mut parts.world.client,
            Phase::Restoring,
            &target.volume.name,
            next,
            end,
        );
        stop_if_cancelled(&mut parts.world.client)?;
    }
    Ok(())
}

/// The next piece of `begin..end`: up to a border of windows.
pub(super) fn piece_behind(begin: u64, end: u64) -> Range<u64> {
    begin
        ..(begin / WINDOW_BYTES)
            .saturating_add(1)
            .saturating_mul(WINDOW_BYTES)
            .min(end)
}

/// Whether the target's medium has only zeros in a range of bytes.
pub(super) fn is_clear(
    item: u32,
    volumes: &mut impl Volumes,
    room: &mut Room,
    range: &Range<u64>,
) -> Result<bool, Errno> {
    let begin = range.start / BLOCK_BYTES as u64 * BLOCK_BYTES as u64;
    let (before, length) = (
        range.start.saturating_sub(begin),
        range.end.saturating_sub(begin),
    );
    let as_usize = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    room.resize(as_usize(length));
    let read = volumes.read_target(item, begin, room.blocks_mut())?;
    let found = room.bytes().get(as_usize(before)..).unwrap_or_default();
    Ok(read >= as_usize(length) && found.iter().all(|byte| *byte == 0))
}
