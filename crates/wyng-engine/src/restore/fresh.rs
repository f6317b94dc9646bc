// SPDX-License-Identifier: GPL-3.0-or-later
//! What is special about a volume that was made in a thin pool for a restore: the room that it may
//! take there, and that nothing of it is right before it was read. It writes nothing.

use wyng_control::Failure;

use super::behind::piece_behind;
use super::changes::Changes;
use super::target::{Context, Replacement};
use super::walk::data_bytes;
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
