// SPDX-License-Identifier: GPL-3.0-or-later
//! A pack that is being filled. It is sealed, named and sent by the packer.

use wyng_archive::crypto::Id;
use wyng_archive::format::{PackLayout, RecordKind};
use wyng_control::Failure;

use crate::outcome::internal;

/// When in a run a commit is made or a pack is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum CommitPoint {
    /// More follows: a pack keeps its full size.
    #[default]
    MidRun,
    /// Nothing follows: the last pack is cut to its Padmé size.
    EndOfRun,
}

/// A pack that is being filled.
pub(super) struct OpenPack<B> {
    /// Its number.
    pub number: u64,
    /// Its bytes.
    pub buffer: B,
    /// Which records lie where.
    pub layout: PackLayout,
    /// Plain bytes of the nodes in it, in order.
    pub nodes: Vec<Vec<u8>>,
}

impl<B: AsMut<[u8]>> OpenPack<B> {
    /// Writes a record behind the others, and says where it begins, bytes.
    pub(super) fn append(
        &mut self,
        id: Id,
        kind: RecordKind,
        record: &[u8],
    ) -> Result<u32, Failure> {
        let length = u32::try_from(record.len()).map_err(|_| internal("a record is too long"))?;
        let offset_bytes = self
            .layout
            .push(id, kind, length)
            .ok_or_else(|| internal("a record does not fit its pack"))?;
        write_at(self.buffer.as_mut(), offset_bytes, record)?;
        Ok(offset_bytes)
    }
}

/// Writes into a pack; the offset behind what was written, bytes.
pub(super) fn write_at(
    buffer: &mut [u8],
    offset_bytes: u32,
    bytes: &[u8],
) -> Result<usize, Failure> {
    let end = usize_of(offset_bytes).saturating_add(bytes.len());
    buffer
        .get_mut(usize_of(offset_bytes)..end)
        .ok_or_else(|| internal("a pack is too short"))?
        .copy_from_slice(bytes);
    Ok(end)
}

/// A length in a pack, at most 64 MiB, as a length in memory.
pub(crate) fn usize_of(bytes: u32) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
