// SPDX-License-Identifier: GPL-3.0-or-later
//! `deltas/VOLUME-ROOT`: what changed in a volume between its newest session and its base snapshot,
//! collected by `monitor`.
//!
//! In the snapshot's label and in the file's name, a hash over the tree's root and these bytes
//! takes the place of that root. So a snapshot and a delta that do not belong together, or do not
//! belong to that tree, are never used. A file is durable before the snapshot gets its label, and
//! is removed after a newer snapshot has a label.
//!
//! ```text
//!   0 │ "wyngdelt"                                                    │
//!   8 │ the base snapshot's size u64                                  │
//!  16 │ count u32                     │ 0 u32                         │
//!  24 │ ranges of bytes, ascending and apart: begin u64 ‖ end u64     │
//! ```

use wyng_archive::format::{Malformed, Reader, Writer};
use wyng_control::{BaseLabel, Failure};

use super::{ArchiveFolder, to_hex};
use crate::world::Files;

const MAGIC: &[u8; 8] = b"wyngdelt";
const FOLDER: &str = "deltas";
/// Separates this hash from every other use of the hash function.
const CONTEXT: &[u8] = b"wyng base snapshot behind a session";
/// Maximum number of ranges, 8 MiB. The changes of a volume that changed in more places are
/// collected more coarsely.
pub const DELTA_RANGES_MAX: usize = 1 << 19;

/// The changes between a session and a base snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SavedDelta {
    /// The size of the base snapshot.
    pub base_bytes: u64,
    /// Ranges of bytes that may have changed since the session, `(begin, end)`, ascending and
    /// disjoint; at most [`DELTA_RANGES_MAX`].
    pub ranges: Vec<(u64, u64)>,
}

impl SavedDelta {
    /// The root in the label of the snapshot, where `session_root` is the root of the session's
    /// tree.
    pub fn label_root(&self, session_root: &[u8; 32]) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        hasher
            .update(CONTEXT)
            .update(session_root)
            .update(&self.encode());
        *hasher.finalize().as_bytes()
    }

    /// The delta that belongs to a snapshot with this label and to the tree with this root; `None`
    /// if it is not here.
    pub fn read(
        files: &mut impl Files,
        folder: &ArchiveFolder,
        label: &BaseLabel,
        session_root: &[u8; 32],
    ) -> Result<Option<Self>, Failure> {
        let found = files.read(&path(folder, &label.of.volume, &label.root))?;
        let delta = found.and_then(|bytes| Self::decode(&bytes).ok());
        Ok(delta.filter(|delta| delta.label_root(session_root) == label.root))
    }

    /// Writes the delta durably, for the snapshot that is to have this label.
    pub fn write(
        &self,
        files: &mut impl Files,
        folder: &ArchiveFolder,
        label: &BaseLabel,
    ) -> Result<(), Failure> {
        files.replace(&path(folder, &label.of.volume, &label.root), &self.encode())
    }

    /// Removes the volume's other deltas: they belong to no snapshot any more, now that a snapshot
    /// has this label.
    pub fn remove_others(
        files: &mut impl Files,
        folder: &ArchiveFolder,
        label: &BaseLabel,
    ) -> Result<(), Failure> {
        let deltas = folder.file(FOLDER);
        let (prefix, kept) = (
            to_hex(&label.of.volume),
            name(&label.of.volume, &label.root),
        );
        for found in files.list(&deltas)? {
            if found.starts_with(&prefix) && found != kept {
                files.remove(&format!("{deltas}/{found}"))?;
            }
        }
        Ok(())
    }

    fn encode(&self) -> Vec<u8> {
        let mut writer =
            Writer::with_capacity(self.ranges.len().saturating_mul(16).saturating_add(24));
        writer
            .bytes(MAGIC)
            .u64(self.base_bytes)
            .u32(u32::try_from(self.ranges.len()).unwrap_or(u32::MAX))
            .u32(0);
        for (begin, end) in &self.ranges {
            writer.u64(*begin).u64(*end);
        }
        writer.finish()
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        reader.magic(MAGIC)?;
        let (base_bytes, count) = (reader.u64()?, reader.u32()?);
        reader.zeros(4, "reserved")?;
        let (mut ranges, mut last): (Vec<(u64, u64)>, u64) = (Vec::new(), 0);
        for _ in 0..count {
            let (begin, end) = (reader.u64()?, reader.u64()?);
            if begin >= end || begin < last || ranges.len() >= DELTA_RANGES_MAX {
                return Err(Malformed("ranges"));
            }
            last = end;
            ranges.push((begin, end));
        }
        reader.end()?;
        Ok(Self { base_bytes, ranges })
    }
}

fn path(folder: &ArchiveFolder, volume: &[u8; 16], root: &[u8; 32]) -> String {
    folder.file(&format!("{FOLDER}/{}", name(volume, root)))
}

fn name(volume: &[u8; 16], root: &[u8; 32]) -> String {
    format!("{}-{}", to_hex(volume), to_hex(root))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delta_comes_back_as_it_was_and_nothing_else_does() {
        let delta = SavedDelta {
            base_bytes: 7,
            ranges: vec![(0, 3), (3, 9), (20, 21)],
        };
        let bytes = delta.encode();
        assert_eq!(SavedDelta::decode(&bytes), Ok(delta.clone()));
        assert!(SavedDelta::decode(&bytes[..bytes.len() - 1]).is_err());
        assert!(SavedDelta::decode(&[&bytes[..], &[0]].concat()).is_err());
        for ranges in [vec![(3, 3)], vec![(0, 4), (3, 9)], vec![(5, 6), (0, 1)]] {
            assert!(
                SavedDelta::decode(
                    &SavedDelta {
                        base_bytes: 7,
                        ranges
                    }
                    .encode()
                )
                .is_err()
            );
        }
        assert_ne!(
            delta.label_root(&[1; 32]),
            delta.label_root(&[2; 32]),
            "it belongs to one tree"
        );
        assert_ne!(
            delta.label_root(&[1; 32]),
            [1; 32],
            "and is never taken for none"
        );
    }
}
