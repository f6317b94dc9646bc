// SPDX-License-Identifier: GPL-3.0-or-later
//! What a base snapshot tells of a volume: of which session it is, and what had changed since that
//! when it was made.

use wyng_archive::crypto::DomainId;
use wyng_archive::format::{SessionEntry, VolumeEntry};
use wyng_control::{BaseLabel, Failure};

use crate::archive::Archive;
use crate::state::SavedDelta;
use crate::world::Files;

/// A base snapshot that is to be trusted.
#[derive(Debug, Clone)]
pub(crate) struct KnownBase {
    /// The session to whose tree what changed applies.
    pub session: SessionEntry,
    /// What changed between the session and the snapshot, and the snapshot's size.
    pub saved: SavedDelta,
}

/// The session and the delta that a label names, if all of it fits: a delta applies to the tree
/// that it was made from, and to no other. Ids are comparable only within one domain and chunk
/// size.
pub(crate) fn find_base(
    files: &mut impl Files,
    archive: &mut Archive,
    volume: &VolumeEntry,
    base: Option<(BaseLabel, u64)>,
    (domain, chunk_size_bytes): (DomainId, u32),
) -> Result<Option<KnownBase>, Failure> {
    let Some((label, base_bytes)) = base else {
        return Ok(None);
    };
    if (label.of.archive, label.of.volume) != (archive.folder.id().0, volume.id.0) {
        return Ok(None);
    }
    let is_it = |session: &SessionEntry| {
        (session.generation, session.time) == (label.generation, label.session)
            && (session.domain, session.chunk_size_bytes) == (domain, chunk_size_bytes)
    };
    let Some(session) = archive
        .sessions_at_hand(files, volume)?
        .into_iter()
        .find(is_it)
    else {
        return Ok(None);
    };
    let saved = if session.root.0 == label.root {
        Some(SavedDelta {
            base_bytes: session.size_bytes,
            ranges: Vec::new(),
        })
    } else {
        SavedDelta::read(files, &archive.folder, &label, &session.root.0)?
    };
    Ok(saved
        .filter(|saved| saved.base_bytes == base_bytes)
        .map(|saved| KnownBase { session, saved }))
}
