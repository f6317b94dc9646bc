// SPDX-License-Identifier: GPL-3.0-or-later
//! What is special about volumes of a thin pool: the room that a new one may take there, and that
//! blocks that were just taken may have old bytes. It writes nothing.

use std::num::NonZeroU64;
use std::ops::Range;

use wyng_control::{Failure, Phase, TargetKind};

use super::behind::piece_behind;
use super::changes::Changes;
use super::differences::{Comparison, Found};
use super::reading::Reading;
use super::target::{Context, Replacement, stop_if_cancelled};
use super::walk::for_each_chunk;
use crate::bits::Bits;
use crate::outcome::report;
use crate::world::Parts;

/// Refuses a restore that would leave too little of the pool free. `suspects` are the chunks that
/// may be written; all that the session has without them. The pool gives whole blocks, however
/// little is written to each.
pub(super) fn check_room<P: Parts>(
    target: &Replacement<'_>,
    parts: &mut Context<'_, P>,
    suspects: Option<&Bits>,
) -> Result<(), Failure> {
    let Some(fresh) = target.fresh else {
        return Ok(());
    };
    let written = match suspects {
        Some(suspects) => suspects,
        None => &data_chunks(target, parts)?,
    };
    let chunk_bytes = target.session.chunk_size_bytes.into();
    let needed_bytes = taken_bytes(written, chunk_bytes, fresh.block_bytes);
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

/// Length of the blocks that have any of these chunks, bytes.
fn taken_bytes(chunks: &Bits, chunk_bytes: u64, block_bytes: u64) -> u64 {
    let block = NonZeroU64::new(block_bytes).unwrap_or(NonZeroU64::MIN);
    let (mut blocks, mut counted_to, mut next) = (0u64, 0, 0);
    while let Some(run) = chunks.next_run(next) {
        next = run.end;
        let first = run.start.saturating_mul(chunk_bytes) / block;
        let end = run.end.saturating_mul(chunk_bytes).div_ceil(block.get());
        blocks = blocks.saturating_add(end.saturating_sub(first.max(counted_to)));
        counted_to = end;
    }
    blocks.saturating_mul(block.get())
}

/// The chunks of a session that its target has not.
pub(super) struct Differing {
    /// All of them.
    pub all: Bits,
    /// Those that are no holes: they are fetched, and may take room.
    pub fetched: Bits,
}

/// Compares all of a target with its session. Nothing is written.
pub(super) fn find_differing<P: Parts>(
    target: &Replacement<'_>,
    parts: &mut Context<'_, P>,
    comparison: &Comparison<'_>,
) -> Result<Differing, Failure> {
    let session = target.session;
    let count = session.chunk_count();
    let mut differing = Differing {
        all: Bits::none(count),
        fetched: Bits::none(count),
    };
    let mut reading = Reading::of(session);
    let every = |from| (from < count).then_some(from..count);
    while let Some(batch) =
        reading.next(parts.world, parts.archive, parts.pool, comparison, &every)?
    {
        let chunks = batch.chunks.iter();
        for compared in chunks.filter(|compared| compared.found != Found::Same) {
            let only = compared.index..compared.index.saturating_add(1);
            if compared.expected.is_some() {
                differing.fetched.insert(only.clone());
            }
            differing.all.insert(only);
        }
        reading.give_back(batch);
        let client = &mut parts.world.client;
        let seen_bytes = reading
            .position()
            .saturating_mul(session.chunk_size_bytes.into());
        let volume = &target.volume.name;
        let (seen, all) = (seen_bytes.min(session.size_bytes), session.size_bytes);
        report(client, Phase::Reading, volume, seen, all);
        stop_if_cancelled(client)?;
    }
    Ok(differing)
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

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: u64 = 1024;

    #[test]
    fn scattered_chunks_take_whole_blocks_and_no_block_counts_twice() {
        let mut chunks = Bits::none(100);
        chunks.insert(0..1);
        chunks.insert(2..3); // of the same block of 512 KiB
        chunks.insert(7..9); // of two blocks
        assert_eq!(taken_bytes(&chunks, 128 * KIB, 512 * KIB), 3 * 512 * KIB);
        assert_eq!(taken_bytes(&chunks, 128 * KIB, 64 * KIB), 4 * 128 * KIB);
        assert_eq!(taken_bytes(&Bits::none(9), 128 * KIB, 512 * KIB), 0);
        assert_eq!(taken_bytes(&Bits::all(8), 64 * KIB, 512 * KIB), 512 * KIB);
    }
}
