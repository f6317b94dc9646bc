// SPDX-License-Identifier: GPL-3.0-or-later
//! The manifest: which files make up the cache, and of which generation it is. It is replaced
//! atomically once the files are durable.
//!
//! ```text
//!   0 │ "wyngcach"                                                    │
//!   8 │ generation u64                                                │
//!  16 │ bytes of the nodes' file u64                                  │
//!  24 │ bytes of them that were in use when they were last counted u64 │
//!  32 │ count u32 ‖ 0 u32 ‖ the numbers of the runs, u64 each          │
//!     │ H of all before                                               │
//! ```

use wyng_archive::format::{Malformed, Reader, Writer};
use wyng_control::Failure;

use crate::world::Files;

const MAGIC: &[u8; 8] = b"wyngcach";

/// The files of a cache, and its generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The generation up to which the cache is complete.
    pub generation: u64,
    /// Bytes of the nodes' file that count.
    pub nodes_bytes: u64,
    /// Bytes of the nodes that were in use when they were last counted.
    pub nodes_counted_bytes: u64,
    /// The numbers of the runs' files.
    pub runs: Vec<u64>,
}

impl Manifest {
    /// Reads the manifest; `None` if it is missing or damaged: then there is no cache.
    pub fn read(files: &mut impl Files, folder: &str) -> Result<Option<Self>, Failure> {
        let Some(bytes) = files.read(&path(folder))? else {
            return Ok(None);
        };
        let Some((covered, hash)) = bytes.split_last_chunk::<32>() else {
            return Ok(None);
        };
        if blake3::hash(covered).as_bytes() != hash {
            return Ok(None);
        }
        Ok(Self::decode(covered).ok())
    }

    /// Writes the manifest durably.
    pub fn write(&self, files: &mut impl Files, folder: &str) -> Result<(), Failure> {
        let mut writer = Writer::with_capacity(128);
        writer
            .bytes(MAGIC)
            .u64(self.generation)
            .u64(self.nodes_bytes)
            .u64(self.nodes_counted_bytes);
        writer
            .u32(u32::try_from(self.runs.len()).unwrap_or(u32::MAX))
            .u32(0);
        for run in &self.runs {
            writer.u64(*run);
        }
        let mut bytes = writer.finish();
        let hash = *blake3::hash(&bytes).as_bytes();
        bytes.extend_from_slice(&hash);
        files.replace(&path(folder), &bytes)
    }

    fn decode(covered: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(covered);
        reader.magic(MAGIC)?;
        let [generation, nodes_bytes, nodes_counted_bytes] =
            [reader.u64()?, reader.u64()?, reader.u64()?];
        let count = reader.u32()?;
        reader.zeros(4, "reserved")?;
        let runs = (0..count).map(|_| reader.u64()).collect::<Result<_, _>>()?;
        reader.end()?;
        Ok(Self {
            generation,
            nodes_bytes,
            nodes_counted_bytes,
            runs,
        })
    }
}

fn path(folder: &str) -> String {
    format!("{folder}/manifest")
}
