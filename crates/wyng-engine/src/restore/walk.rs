// SPDX-License-Identifier: GPL-3.0-or-later
//! Walks over the chunks of a session, in ascending order.

use wyng_archive::crypto::Id;
use wyng_archive::format::{ContentTree, SessionEntry};
use wyng_archive::plan::Walk;
use wyng_control::Failure;

use crate::archive::{Archive, content_root};
use crate::store::Wanted;
use crate::world::{Client, Files};

/// Bytes of a volume that are sorted by place before they are read. A stream holds at most two such
/// windows in memory.
pub(super) const WINDOW_BYTES: u64 = 16 << 20;

/// Number of chunks after which a walk over cached nodes hears an interrupt.
const LOOK_UP_EVERY: u64 = 4096;

/// Visits every chunk of a session that is not a hole, in ascending order.
pub(super) fn for_each_chunk(
    files: &mut impl Files,
    client: &mut impl Client,
    archive: &mut Archive,
    session: &SessionEntry,
    mut visit: impl FnMut(u64, Id) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut walk = Walk::<ContentTree>::from(&content_root(session), 0);
    let mut nodes = archive.nodes(files);
    while let Some((index, id)) = walk.next(&mut nodes)? {
        if index % LOOK_UP_EVERY == 0 && client.cancelled() {
            return Err(Failure::Interrupted);
        }
        visit(index, id)?;
    }
    Ok(())
}

/// Number of bytes of a session outside of its holes.
pub(super) fn data_bytes(
    files: &mut impl Files,
    client: &mut impl Client,
    archive: &mut Archive,
    session: &SessionEntry,
) -> Result<u64, Failure> {
    let mut bytes = 0u64;
    for_each_chunk(files, client, archive, session, |index, _| {
        bytes = bytes.saturating_add(session.chunk_bytes(index).into());
        Ok(())
    })?;
    Ok(bytes)
}

/// The next chunks that are to be fetched together, ascending; empty at the end.
pub(super) fn next_window(
    files: &mut impl Files,
    archive: &mut Archive,
    walk: &mut Walk<ContentTree>,
    session: &SessionEntry,
) -> Result<Vec<Wanted>, Failure> {
    let window_chunks = (WINDOW_BYTES / u64::from(session.chunk_size_bytes)).max(1);
    let mut window = Vec::new();
    let mut nodes = archive.nodes(files);
    while (window.len() as u64) < window_chunks
        && let Some((index, id)) = walk.next(&mut nodes)?
    {
        window.push(Wanted {
            index,
            id,
            plain_bytes: session.chunk_bytes(index),
        });
    }
    Ok(window)
}
