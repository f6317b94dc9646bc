// SPDX-License-Identifier: GPL-3.0-or-later
//! What is special about volumes of a thin pool: the room that a new one may take there, and that
//! blocks that were just taken may have old bytes. It writes nothing.

use std::ops::Range;

use wyng_control::{Failure, TargetKind};

use super::behind::piece_behind;
use super::changes::Changes;
use super::target::{Context, Replacement};
use super::walk::{data_bytes, for_each_chunk};
use crate::bits::Bits;
use crate::world::Parts;

/// Refuses a restore that would leave too little of the pool free. `suspects` are the chunks that
/// may be written; all that the session has without them.
pub(super) fn check_room<P: Parts>(
    target: &Replacement<'_>,
    parts: &mut Context<'_, P>,
    suspects: Option<&Bits>,
) -> Result<(), Failure> {
    let Some(fresh) = target.fresh else {
        return Ok(());
    };
    let session = target.session;
    let needed_bytes = match suspects {
        Some(suspects) => suspects
            .len()
            .saturating_mul(u64::from(session.chunk_size_bytes)),
        None => data_bytes(
            &mut parts.world.files,
            &mut parts.world.client,
            parts.archive,
            session,
        )?,
    };
    if needed_bytes <= fresh.room_bytes {
        return Ok(());
    }
    Err(Failure::TargetNoRoom {
        volume: target.volume.name.clone(),
        path: target.path.to_owned(),
        free_bytes: fresh.room_bytes,
        needed_bytes,
    })
}

/// Has all of a new volume read back, holes and the bytes behind the session's end included: a pool
/// that does not zero its blocks gives out blocks with old bytes.
pub(super) fn read_all_back(target: &Replacement<'_>, changes: &mut Changes) {
    let Some(fresh) = target.fresh else {
        return;
    };
    changes.written.insert(0..target.session.chunk_count());
    let mut next = target.session.size_bytes;
    while next < fresh.size_bytes {
        let piece = piece_behind(next, fresh.size_bytes);
        next = piece.end;
        changes.cleared.push((piece.start, piece.end));
    }
}

/// Whether a write to one place may change another: a device that is changed in place may be a
/// volume of a pool that does not zero its blocks. What it never had reads as zeros until a write
/// takes the block, and then as whatever the block held before.
pub(super) fn may_get_old_bytes(target: &Replacement<'_>) -> bool {
    let in_place = target.there.is_some_and(|there| there.in_place);
    in_place && target.kind == TargetKind::Device
}

/// The chunks of the session that are no holes.
pub(super) fn data_chunks<P: Parts>(
    target: &Replacement<'_>,
    parts: &mut Context<'_, P>,
) -> Result<Bits, Failure> {
    let mut data = Bits::none(target.session.chunk_count());
    for_each_chunk(
        &mut parts.world.files,
        &mut parts.world.client,
        parts.archive,
        target.session,
        |index, _| {
            data.insert(index..index.saturating_add(1));
            Ok(())
        },
    )?;
    Ok(data)
}

/// The chunks, of this number, that a write to others may have changed: holes, and chunks that may
/// share a block with a hole or with what was written. A block is only taken for a write if nothing
/// was in it, so that all chunks that lie whole in it are holes.
pub(super) fn beside_changes(data: &Bits, count: u64, changes: &Changes) -> Bits {
    let mut beside = Bits::none(count);
    let mut add = |run: &Range<u64>| {
        beside.insert(run.start.saturating_sub(1)..run.end.saturating_add(1).min(count));
    };
    holes_with(data, &Bits::all(count))
        .iter()
        .for_each(&mut add);
    let mut next = 0;
    while let Some(run) = changes.written.next_run(next) {
        add(&run);
        next = run.end;
    }
    if !changes.cleared.is_empty() {
        add(&(count..count));
    }
    beside
}

/// The holes, as ranges of chunks, that have any of these chunks.
pub(super) fn holes_with(data: &Bits, chunks: &Bits) -> Vec<Range<u64>> {
    let mut holes = Vec::new();
    let mut next = 0;
    while let Some(hole) = data.next_gap(next) {
        next = hole.end;
        if chunks
            .next(hole.start)
            .is_some_and(|chunk| chunk < hole.end)
        {
            holes.push(hole);
        }
    }
    holes
}
