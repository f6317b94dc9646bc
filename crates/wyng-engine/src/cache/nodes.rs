// SPDX-License-Identifier: GPL-3.0-or-later
//! The nodes' plain bytes, end to end in one file. Their ids check them, so the file carries no
//! checksum.

use wyng_control::Failure;

use super::location::Stored;
use super::manifest::Manifest;
use crate::world::Files;

/// Bytes of appended nodes that are written at once, about.
const BUFFER_BYTES: usize = 256 * 1024;
/// A file up to this size is not counted, bytes.
const UNCOUNTED_BYTES: u64 = 1 << 20;

/// The file of nodes, and the nodes that are not written to it yet.
pub struct NodeCache {
    path: String,
    written_bytes: u64,
    /// Bytes that were in use when they were last counted.
    pub(super) counted_bytes: u64,
    buffer: Vec<u8>,
}

impl NodeCache {
    /// The file with its first `length_bytes`, in the folder of a cache.
    pub fn open(folder: &str, length_bytes: u64) -> Self {
        Self {
            path: format!("{folder}/nodes"),
            written_bytes: length_bytes,
            counted_bytes: 0,
            buffer: Vec::new(),
        }
    }

    /// The file as a manifest describes it.
    pub(super) fn of(folder: &str, manifest: &Manifest) -> Self {
        Self {
            counted_bytes: manifest.nodes_counted_bytes,
            ..Self::open(folder, manifest.nodes_bytes)
        }
    }

    /// Whether so much was appended since the last count that more than half may be dead.
    pub(super) fn is_count_due(&self) -> bool {
        let due_bytes = self.counted_bytes.saturating_mul(5) / 2;
        self.length_bytes() > due_bytes.saturating_add(UNCOUNTED_BYTES)
    }

    /// Cuts off what was appended after the manifest was written; false if the file is shorter than
    /// it must be.
    pub fn cut_to_length(&self, files: &mut impl Files) -> Result<bool, Failure> {
        match files.length(&self.path)?.unwrap_or(0) {
            found if found < self.written_bytes => Ok(false),
            found if found == self.written_bytes => Ok(true),
            _ => files
                .truncate(&self.path, self.written_bytes)
                .map(|()| true),
        }
    }

    /// Whether the file exists and is long enough. Opens the file, where files stay open.
    pub fn has_all(&self, files: &mut impl Files) -> Result<bool, Failure> {
        if self.written_bytes == 0 {
            return Ok(true);
        }
        let has_all = files
            .length(&self.path)?
            .is_some_and(|found| found >= self.written_bytes);
        Ok(has_all
            && files
                .read_at(&self.path, self.written_bytes.saturating_sub(1), &mut [0])
                .is_ok())
    }

    /// Bytes of all nodes, written or not.
    pub fn length_bytes(&self) -> u64 {
        self.written_bytes.saturating_add(self.buffer.len() as u64)
    }

    /// Appends a node, and gives its place.
    pub fn append(&mut self, files: &mut impl Files, plain: &[u8]) -> Result<Stored, Failure> {
        let plain_bytes =
            u32::try_from(plain.len()).map_err(|_| Failure::internal("a node is too long"))?;
        let stored = Stored::Node {
            offset: self.length_bytes(),
            plain_bytes,
        };
        self.buffer.extend_from_slice(plain);
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush(files)?;
        }
        Ok(stored)
    }

    /// The bytes at a place; the caller checks that they are the node, by its id.
    pub fn read(
        &self,
        files: &mut impl Files,
        offset: u64,
        plain_bytes: u32,
    ) -> Result<Vec<u8>, Failure> {
        let length = usize::try_from(plain_bytes).unwrap_or(usize::MAX);
        if let Some(begin) = offset.checked_sub(self.written_bytes) {
            let begin = usize::try_from(begin).unwrap_or(usize::MAX);
            let bytes = self
                .buffer
                .get(begin..begin.saturating_add(length))
                .ok_or(Failure::CacheLost)?;
            return Ok(bytes.to_vec());
        }
        let mut bytes = vec![0; length];
        files
            .read_at(&self.path, offset, &mut bytes)
            .map_err(|_| Failure::CacheLost)?;
        Ok(bytes)
    }

    /// Writes all nodes, and makes the file durable.
    pub fn sync(&mut self, files: &mut impl Files) -> Result<(), Failure> {
        self.flush(files)?;
        if self.written_bytes > 0 {
            files.sync(&self.path)
        } else {
            Ok(())
        }
    }

    fn flush(&mut self, files: &mut impl Files) -> Result<(), Failure> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        files.append(&self.path, &self.buffer)?;
        self.written_bytes = self.length_bytes();
        self.buffer.clear();
        Ok(())
    }
}
