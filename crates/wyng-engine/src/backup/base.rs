// SPDX-License-Identifier: GPL-3.0-or-later
//! The session that a source's base snapshot belongs to, and what had changed between the two. The
//! label says what the snapshot is; the snapshot itself is not opened.

use wyng_archive::crypto::DomainId;
use wyng_archive::format::{SessionEntry, VolumeEntry};
use wyng_control::{BaseLabel, Failure};

use crate::archive::Archive;
use crate::state::SavedDelta;
use crate::world::Files;

/// A base snapshot that can be trusted.
#[derive(Debug, Clone)]
pub(crate) struct KnownBase {
    /// The session to whose tree the changes apply.
    pub session: SessionEntry,
    /// What changed between the session and the snapshot, and the snapshot's size.
    pub saved: SavedDelta,
}

/// The session and the delta that a label names; `None` if anything does not fit. A delta applies
/// only to the tree from which it was made, and ids are comparable only within one domain and one
/// chunk size.
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
