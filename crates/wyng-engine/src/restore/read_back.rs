// SPDX-License-Identifier: GPL-3.0-or-later
//! Reading back what a restore wrote: from the medium, past the page cache. Nothing is written.

use wyng_control::{Failure, Phase};

use super::behind::is_clear;
use super::changes::Changes;
use super::differences::{Compared, Comparison, Found, Place};
use super::reading::Reading;
use super::target::{Context, Replacement, stop_if_cancelled};
use crate::outcome::report;
use crate::room::Room;
use crate::world::Parts;

/// Reads everything that was written from the target's medium, and compares it with the session. A
/// lost chunk must be zeros.
pub(super) fn read_back<P: Parts>(
    target: &Replacement<'_>,
    parts: &mut Context<'_, P>,
    changes: &Changes,
) -> Result<(), Failure> {
    let comparison = Comparison {
        place: Place::Target,
        there_bytes: target.session.size_bytes,
        base: None,
        ..target.comparison()
    };
    let (chunk_size, total_bytes) = (
        u64::from(target.session.chunk_size_bytes),
        target.session.size_bytes,
    );
    let mut reading = Reading::of(target.session);
    let runs = |from| changes.written.next_run(from);
    while let Some(batch) =
        reading.next(parts.world, parts.archive, parts.pool, &comparison, &runs)?
    {
        let is_lost_and_zeros = |compared: &Compared| {
            let is_lost = parts
                .reader
                .lost()
                .is_some_and(|lost| lost.contains(compared.index));
            let bytes = || batch.bytes(compared.index, target.session.chunk_bytes(compared.index));
            is_lost
                && (compared.found == Found::Hole
                    || (compared.found == Found::Other && bytes().iter().all(|byte| *byte == 0)))
        };
        let wrong = batch
            .chunks
            .iter()
            .find(|compared| compared.found != Found::Same && !is_lost_and_zeros(compared));
        if let Some(Compared { index, found, .. }) = wrong {
            return Err(target.not_read_back(index.saturating_mul(chunk_size), *found));
        }
        reading.give_back(batch);
        let done_bytes = reading
            .position()
            .saturating_mul(chunk_size)
            .min(total_bytes);
        report(
            &mut parts.world.client,
            Phase::ReadingBack,
            &target.volume.name,
            done_bytes,
            total_bytes,
        );
        stop_if_cancelled(&mut parts.world.client)?;
    }
    let mut room = Room::default();
    for (begin, end) in &changes.cleared {
        let range = *begin..*end;
        match is_clear(target.item, &mut parts.world.volumes, &mut room, &range) {
            Ok(true) => {}
            Ok(false) => return Err(target.not_read_back(*begin, Found::Other)),
            Err(errno) => return Err(target.not_read_back(*begin, Found::Unreadable(errno))),
        }
        stop_if_cancelled(&mut parts.world.client)?;
    }
    Ok(())
}
