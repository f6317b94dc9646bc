// SPDX-License-Identifier: GPL-3.0-or-later
//! One target and the session that it becomes, with the writes to it. The order of the writes is
//! not decided here.

use std::sync::Arc;

use wyng_archive::crypto::Domain;
use wyng_archive::format::{SessionEntry, VolumeEntry};
use wyng_control::{Failure, TargetKind};

use super::changes::Changes;
use super::differences::{Comparison, Found, Place};
use crate::archive::Archive;
use crate::pool::Pool;
use crate::store::ChunkReader;
use crate::world::{Client, Errno, FreshVolume, Parts, There, Volumes, World};

/// What a restore works with, each part borrowed for itself.
pub(super) struct Context<'a, P: Parts> {
    /// The parts of the world.
    pub world: &'a mut World<P>,
    /// The archive.
    pub archive: &'a mut Archive,
    /// The workers.
    pub pool: &'a mut Pool,
    /// Fetches and opens chunks.
    pub reader: &'a mut ChunkReader,
}

/// What is restored, and what is there.
pub(super) struct Replacement<'a> {
    /// The target's number, under which the file beside it is read too.
    pub item: u32,
    /// A file, a device or a stream.
    pub kind: TargetKind,
    /// What is there, if anything.
    pub there: Option<There>,
    /// It was made for this restore, in a thin pool.
    pub fresh: Option<FreshVolume>,
    /// The volume.
    pub volume: &'a VolumeEntry,
    /// The session.
    pub session: &'a SessionEntry,
    /// The session's domain.
    pub domain: &'a Arc<Domain>,
    /// The target, as it is shown to people.
    pub path: &'a str,
    /// What a base snapshot says is the same is not read, except for samples.
    pub quick: bool,
}

impl Replacement<'_> {
    /// What is there, to be compared with the session.
    pub(super) fn comparison(&self) -> Comparison<'_> {
        let place = match self.there {
            None => Place::Nowhere,
            Some(there) if there.in_target => Place::Target,
            Some(_) => Place::Source,
        };
        Comparison {
            item: self.item,
            place,
            there_bytes: self.there.map_or(0, |there| there.size_bytes),
            base: self.there.and_then(|there| there.base),
            volume: self.volume,
            session: self.session,
            domain: self.domain,
        }
    }

    /// Whether what is there is the target itself, and not a file beside it.
    pub(super) fn is_in_target(&self) -> bool {
        self.there.is_some_and(|there| there.in_target)
    }

    /// Writes a chunk of the session where it belongs.
    pub(super) fn put(
        &self,
        volumes: &mut impl Volumes,
        index: u64,
        bytes: &[u8],
        changes: &mut Changes,
    ) -> Result<(), Failure> {
        // Noted before the write: one that fails may have written a part.
        changes.written.insert(index..index.saturating_add(1));
        let offset = index.saturating_mul(u64::from(self.session.chunk_size_bytes));
        volumes
            .write_target(self.item, offset, bytes)
            .map_err(|errno| self.not_written(errno))?;
        changes.written_bytes = changes.written_bytes.saturating_add(bytes.len() as u64);
        Ok(())
    }

    /// The failure of a write to the target.
    pub(super) fn not_written(&self, Errno(errno): Errno) -> Failure {
        Failure::TargetWrite {
            volume: self.volume.name.clone(),
            path: self.path.to_owned(),
            errno,
        }
    }

    /// The failure of a target that, at this offset in bytes, is not what was written.
    pub(super) fn not_read_back(&self, offset_bytes: u64, found: Found) -> Failure {
        let (volume, path) = (self.volume.name.clone(), self.path.to_owned());
        match found {
            Found::Unreadable(Errno(errno)) => Failure::TargetUnreadable {
                volume,
                path,
                offset_bytes,
                errno,
            },
            _ => Failure::TargetDiffers {
                volume,
                path,
                offset_bytes,
            },
        }
    }
}

/// [`Failure::Interrupted`] once the person has interrupted.
pub(super) fn stop_if_cancelled(client: &mut impl Client) -> Result<(), Failure> {
    if client.cancelled() {
        Err(Failure::Interrupted)
    } else {
        Ok(())
    }
}
