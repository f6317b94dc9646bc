// SPDX-License-Identifier: GPL-3.0-or-later
//! Makes a file or block device what a session is. What is there already is read and named, and
//! only what differs is fetched and written; what was written is read back from the medium. So
//! every chunk of the target was read from it before the restore ends with success.

use std::ops::Range;

use wyng_control::{Failure, Phase};

use super::behind::clear_behind;
use super::changes::Changes;
use super::differences::{Batch, Compared, Comparison, Found, samples_hold};
use super::fresh::{
    beside_changes, check_room, data_chunks, find_differing, holes_with, may_get_old_bytes,
    read_all_back,
};
use super::read_back::read_back;
use super::reading::Reading;
use super::target::{Context, Replacement, stop_if_cancelled};
use super::walk::{WINDOW_BYTES, for_each_chunk};
use crate::bits::Bits;
use crate::outcome::report;
use crate::store::Wanted;
use crate::world::{Client, Parts, Volumes};

/// How often what lies beside the writes is compared: each time fewer blocks can be new.
const ROUNDS_MAX: usize = 8;

/// Makes a target what the session is, durably, and reads it back. What was changed until then is
/// in `changes`, also when this fails.
pub(super) fn write<P: Parts>(
    target: &Replacement<'_>,
    parts: &mut Context<'_, P>,
    changes: &mut Changes,
) -> Result<(), Failure> {
    let comparison = target.comparison();
    let suspects = comparison.suspects(parts.world, parts.archive)?;
    if suspects.is_none() && target.fresh.is_some() && target.is_in_target() {
        // All of it is compared before anything is written: only what differs may need room.
        let differing = find_differing(target, parts, &comparison)?;
        check_room(target, parts, Some(&differing.fetched))?;
        let which = Which::In(&differing.all);
        compare_and_fetch(target, parts, &comparison, which, changes)?;
        return complete(target, parts, &comparison, changes);
    }
    check_room(target, parts, suspects.as_ref())?;
    match suspects {
        None => compare_and_fetch(target, parts, &comparison, Which::All, changes)?,
        Some(suspects) => {
            compare_and_fetch(target, parts, &comparison, Which::In(&suspects), changes)?;
            if target.quick && samples_hold(parts.world, parts.archive, &comparison, &suspects)? {
                changes.unread_bytes = taken_unread(target, parts, &suspects)?;
            } else {
                compare_and_fetch(
                    target,
                    parts,
                    &comparison,
                    Which::Outside(&suspects),
                    changes,
                )?;
            }
        }
    }
    complete(target, parts, &comparison, changes)
}

/// Does what is left once all chunks of the session are in the target: what is behind them, and
/// what the writes may have changed beside themselves; and reads it back.
fn complete<P: Parts>(
    target: &Replacement<'_>,
    parts: &mut Context<'_, P>,
    comparison: &Comparison<'_>,
    changes: &mut Changes,
) -> Result<(), Failure> {
    clear_behind(target, parts, changes)?;
    changes.cut = target
        .there
        .is_some_and(|there| there.size_bytes > target.session.size_bytes);
    finish(target, parts)?;
    mend(target, parts, comparison, changes)?;
    read_all_back(target, changes);
    read_back(target, parts, changes)
}

/// Compares again what the writes may have changed beside themselves, and writes it again, until it
/// is right. Fails if it does not become right.
fn mend<P: Parts>(
    target: &Replacement<'_>,
    parts: &mut Context<'_, P>,
    comparison: &Comparison<'_>,
    changes: &mut Changes,
) -> Result<(), Failure> {
    if !may_get_old_bytes(target) || (changes.written.is_empty() && changes.cleared.is_empty()) {
        return Ok(());
    }
    let data = data_chunks(target, parts)?;
    for _ in 0..ROUNDS_MAX {
        let beside = beside_changes(&data, target.session.chunk_count(), changes);
        let mut again = Changes::none(target.session);
        let which = Which::In(&beside);
        let compared = compare_and_fetch(target, parts, comparison, which, &mut again)
            .and_then(|()| clear_behind(target, parts, &mut again));
        let found_none = again.is_empty();
        let holes = holes_with(&data, &again.written);
        changes.add(again);
        compared?;
        if found_none {
            return Ok(());
        }
        // A hole is made anew as one: only its ends lie in blocks that others share.
        for hole in holes {
            let size = u64::from(target.session.chunk_size_bytes);
            let begin = hole.start.saturating_mul(size);
            let end = hole.end.saturating_mul(size).min(target.session.size_bytes);
            changes.written.insert(hole);
            parts
                .world
                .volumes
                .punch_target(target.item, begin, end.saturating_sub(begin))
                .map_err(|errno| target.not_written(errno))?;
        }
        finish(target, parts)?;
    }
    Err(target.not_read_back(0, Found::Other))
}

fn finish<P: Parts>(target: &Replacement<'_>, parts: &mut Context<'_, P>) -> Result<(), Failure> {
    parts
        .world
        .volumes
        .finish_target(target.item, target.session.size_bytes)
        .map_err(|errno| target.not_written(errno))
}

/// Which chunks are compared in one pass.
#[derive(Clone, Copy)]
enum Which<'a> {
    /// Every chunk.
    All,
    /// Chunks that may differ from what is there.
    In(&'a Bits),
    /// The other chunks: a base snapshot says that they are the same.
    Outside(&'a Bits),
}

impl Which<'_> {
    /// The first run of such chunks at or after `from`.
    fn run(&self, from: u64, count: u64) -> Option<Range<u64>> {
        match self {
            Self::All => (from < count).then_some(from..count),
            Self::In(bits) => bits.next_run(from),
            Self::Outside(bits) => bits.next_gap(from),
        }
    }
}

/// Reads what is there of these chunks, and writes what differs.
fn compare_and_fetch<P: Parts>(
    target: &Replacement<'_>,
    parts: &mut Context<'_, P>,
    comparison: &Comparison<'_>,
    which: Which<'_>,
    changes: &mut Changes,
) -> Result<(), Failure> {
    let mut pass = Pass {
        target,
        comparison,
        which,
        reading: Reading::of(target.session),
        at_end: false,
        awaited_bytes: 0,
    };
    loop {
        while !pass.at_end && parts.reader.wants_more() {
            let wanted = pass.next_wanted(parts, changes)?;
            parts
                .reader
                .want(&mut parts.world.files, parts.archive, &wanted)?;
            pass.report_position(&mut parts.world.client)?;
        }
        match parts.reader.next(&mut parts.world.store, parts.pool)? {
            Some(opened) => {
                for chunk in opened {
                    target.put(&mut parts.world.volumes, chunk.index, &chunk.chunk, changes)?;
                    pass.awaited_bytes =
                        pass.awaited_bytes.saturating_sub(chunk.chunk.len() as u64);
                    parts.reader.give_back(vec![chunk.chunk]);
                }
            }
            None if pass.at_end => return Ok(()),
            None => {}
        }
        pass.report_position(&mut parts.world.client)?;
    }
}

/// One pass over chunks of the session.
struct Pass<'a> {
    target: &'a Replacement<'a>,
    comparison: &'a Comparison<'a>,
    which: Which<'a>,
    reading: Reading,
    /// Every chunk of the pass was compared.
    at_end: bool,
    /// Bytes that are asked for and have not come yet.
    awaited_bytes: u64,
}

impl Pass<'_> {
    /// Compares chunks until a window of chunks is wanted, or a window was looked at; returns the
    /// chunks that must be fetched.
    fn next_wanted<P: Parts>(
        &mut self,
        parts: &mut Context<'_, P>,
        changes: &mut Changes,
    ) -> Result<Vec<Wanted>, Failure> {
        let session = self.target.session;
        let window_chunks = usize::try_from(WINDOW_BYTES / u64::from(session.chunk_size_bytes))
            .unwrap_or(usize::MAX)
            .max(1);
        let (mut wanted, mut looked) = (Vec::new(), 0usize);
        while wanted.len() < window_chunks && looked < window_chunks {
            let runs = |from| self.which.run(from, session.chunk_count());
            let Some(batch) = self.reading.next(
                parts.world,
                parts.archive,
                parts.pool,
                self.comparison,
                &runs,
            )?
            else {
                self.at_end = true;
                break;
            };
            looked = looked.saturating_add(batch.chunks.len());
            for compared in &batch.chunks {
                let volumes = &mut parts.world.volumes;
                wanted.extend(take(
                    self.target,
                    volumes,
                    &batch,
                    *compared,
                    self.which,
                    changes,
                )?);
            }
            self.reading.give_back(batch);
        }
        self.awaited_bytes = wanted.iter().fold(self.awaited_bytes, |sum, wanted| {
            sum.saturating_add(wanted.plain_bytes.into())
        });
        Ok(wanted)
    }

    /// Reports how far the pass is, and hears an interrupt.
    fn report_position(&self, client: &mut impl Client) -> Result<(), Failure> {
        let session = self.target.session;
        let seen_bytes = self
            .reading
            .position()
            .saturating_mul(session.chunk_size_bytes.into())
            .min(session.size_bytes);
        report(
            client,
            Phase::Restoring,
            &self.target.volume.name,
            seen_bytes.saturating_sub(self.awaited_bytes),
            session.size_bytes,
        );
        stop_if_cancelled(client)
    }
}

/// Does what one compared chunk asks for: nothing, zeros, or a copy of what is beside the target;
/// returns a chunk that must be fetched.
fn take(
    target: &Replacement<'_>,
    volumes: &mut impl Volumes,
    batch: &Batch,
    compared: Compared,
    which: Which<'_>,
    changes: &mut Changes,
) -> Result<Option<Wanted>, Failure> {
    let Compared {
        index,
        expected,
        found,
    } = compared;
    let is_trusted = matches!(which, Which::Outside(_));
    let plain_bytes = target.session.chunk_bytes(index);
    if matches!(found, Found::Unreadable(_)) || (is_trusted && found != Found::Same) {
        changes.damaged_bytes = changes.damaged_bytes.saturating_add(plain_bytes.into());
        changes.base_is_wrong |= target.there.is_some_and(|there| there.base.is_some());
    }
    match (expected, found) {
        (Some(_), Found::Same) if !target.is_in_target() => {
            target.put(volumes, index, batch.bytes(index, plain_bytes), changes)?;
            Ok(None)
        }
        (_, Found::Same) => Ok(None),
        (Some(id), _) => Ok(Some(Wanted {
            index,
            id,
            plain_bytes,
        })),
        // What is beside a target is not in it: it is a hole there.
        (None, _) if !target.is_in_target() => Ok(None),
        (None, _) => {
            changes.written.insert(index..index.saturating_add(1));
            let offset = index.saturating_mul(u64::from(target.session.chunk_size_bytes));
            volumes
                .punch_target(target.item, offset, plain_bytes.into())
                .map_err(|errno| target.not_written(errno))?;
            Ok(None)
        }
    }
}

/// Bytes of the session's chunks outside of the suspects, without holes.
fn taken_unread<P: Parts>(
    target: &Replacement<'_>,
    parts: &mut Context<'_, P>,
    suspects: &Bits,
) -> Result<u64, Failure> {
    let mut unread_bytes = 0u64;
    for_each_chunk(
        &mut parts.world.files,
        &mut parts.world.client,
        parts.archive,
        target.session,
        |index, _| {
            if !suspects.contains(index) {
                unread_bytes =
                    unread_bytes.saturating_add(target.session.chunk_bytes(index).into());
            }
            Ok(())
        },
    )?;
    Ok(unread_bytes)
}
