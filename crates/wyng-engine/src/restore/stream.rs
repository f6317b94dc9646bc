// SPDX-License-Identifier: GPL-3.0-or-later
//! Writes a session onwards to a stream: in the volume's order, with nothing read back and nothing
//! kept of what is there.

use std::collections::BTreeMap;

use wyng_archive::format::{ContentTree, SessionEntry};
use wyng_archive::plan::Walk;
use wyng_control::{Failure, Phase};

use super::changes::Changes;
use super::target::{Context, Replacement};
use super::walk::{WINDOW_BYTES, next_window};
use crate::archive::content_root;
use crate::outcome::report;
use crate::store::{Opened, Wanted};
use crate::world::{Client, Errno, Parts, Volumes};

/// Asks for the chunks of a session window by window, and writes them to a stream one after the
/// other.
pub(super) fn write_stream<P: Parts>(
    parts: &mut Context<'_, P>,
    replacement: &Replacement<'_>,
    changes: &mut Changes,
) -> Result<(), Failure> {
    let (volume, session) = (replacement.volume, replacement.session);
    let mut stream = Stream::new(replacement.item, session);
    let not_written = |error| match error {
        Errno::CANCELED => Failure::Interrupted,
        Errno(errno) => Failure::OutputWrite {
            volume: volume.name.clone(),
            errno,
        },
    };
    let mut walk = Walk::<ContentTree>::from(&content_root(session), 0);
    let mut at_end = false;
    loop {
        while !at_end && parts.reader.wants_more() && stream.has_room() {
            let window = next_window(&mut parts.world.files, parts.archive, &mut walk, session)?;
            at_end = window.is_empty();
            stream.expect(&window);
            parts
                .reader
                .want(&mut parts.world.files, parts.archive, &window)?;
        }
        match parts.reader.next(&mut parts.world.store, parts.pool)? {
            Some(opened) => {
                for chunk in opened {
                    let written = stream
                        .take(&mut parts.world.volumes, chunk)
                        .map_err(not_written)?;
                    changes.written_bytes =
                        written.iter().fold(changes.written_bytes, |sum, chunk| {
                            sum.saturating_add(chunk.len() as u64)
                        });
                    parts.reader.give_back(written);
                }
            }
            None if at_end => {
                return parts
                    .world
                    .volumes
                    .finish_target(stream.item, session.size_bytes)
                    .map_err(not_written);
            }
            None => {}
        }
        report(
            &mut parts.world.client,
            Phase::Restoring,
            &volume.name,
            changes.written_bytes,
            session.size_bytes,
        );
        if parts.world.client.cancelled() {
            return Err(Failure::Interrupted);
        }
    }
}

/// Puts chunks, which come in the order of the store, into the volume's order.
struct Stream {
    /// The target's number.
    item: u32,
    chunk_size_bytes: u64,
    /// Indices that are still waited for, with the chunks that came too early.
    waiting: BTreeMap<u64, Option<Vec<u8>>>,
    /// Maximum number of indices waited for before another window is asked for.
    waiting_max: usize,
}

impl Stream {
    fn new(item: u32, session: &SessionEntry) -> Self {
        let chunk_size_bytes = u64::from(session.chunk_size_bytes);
        let waiting_max = usize::try_from(WINDOW_BYTES / chunk_size_bytes).unwrap_or(usize::MAX);
        Self {
            item,
            chunk_size_bytes,
            waiting: BTreeMap::new(),
            waiting_max,
        }
    }

    /// Whether another window may be asked for: what is waited for bounds the memory.
    fn has_room(&self) -> bool {
        self.waiting.len() <= self.waiting_max
    }

    /// Waits for these chunks too.
    fn expect(&mut self, window: &[Wanted]) {
        self.waiting
            .extend(window.iter().map(|wanted| (wanted.index, None)));
    }

    /// Takes a chunk and writes every chunk whose turn it is; returns their memory, to be filled
    /// again.
    fn take(&mut self, volumes: &mut impl Volumes, opened: Opened) -> Result<Vec<Vec<u8>>, Errno> {
        let mut written = Vec::new();
        self.waiting.insert(opened.index, Some(opened.chunk));
        while let Some(next) = self.waiting.first_entry()
            && next.get().is_some()
        {
            let (index, chunk) = next.remove_entry();
            let chunk = chunk.unwrap_or_default();
            volumes.write_target(
                self.item,
                index.saturating_mul(self.chunk_size_bytes),
                &chunk,
            )?;
            written.push(chunk);
        }
        Ok(written)
    }
}
