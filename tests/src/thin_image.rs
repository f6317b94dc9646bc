// SPDX-License-Identifier: GPL-3.0-or-later
//! The metadata of a pool that a kernel made, as a small file: what the reader's tests on other
//! machines read. tests/data/thin has such files; `make test-vm` makes them, and leaves them in
//! `target/vm/results`.
//!
//! The file is compressed with zstd. In it: the number of blocks; each with its number and its
//! words of 64 bits, as differences from the word before, which are small in a tree of ascending
//! keys; then lines of text, `OLD NEW`, each with the ranges in which two devices differ.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use wyng_thin::{BLOCK_BYTES, Block, Difference};

use crate::thin_tools::Differences;

/// Metadata blocks by number, and what `thin_delta` said of pairs of devices.
#[derive(Debug, PartialEq, Eq)]
pub struct ThinImage {
    /// The block of the metadata snapshot.
    pub held_root: u64,
    /// All blocks that the devices' trees reach.
    pub blocks: BTreeMap<u64, Block>,
    /// Where a pair of devices differs.
    pub deltas: Vec<([u64; 2], Differences)>,
}

impl ThinImage {
    /// Reads a file.
    pub fn load(path: &Path) -> Self {
        let bytes = zstd::decode_all(std::fs::File::open(path).unwrap()).unwrap();
        let mut words = bytes
            .chunks_exact(8)
            .map(|word| u64::from_le_bytes(word.try_into().unwrap()));
        let (held_root, count) = (words.next().unwrap(), words.next().unwrap());
        let blocks: BTreeMap<u64, Block> = (0..count)
            .map(|_| {
                let number = words.next().unwrap();
                let mut block = [0; BLOCK_BYTES];
                let mut last: u64 = 0;
                for place in block.chunks_exact_mut(8) {
                    last = last.wrapping_add(words.next().unwrap());
                    place.copy_from_slice(&last.to_le_bytes());
                }
                (number, block)
            })
            .collect();
        let text_at = 16 + blocks.len() * (8 + BLOCK_BYTES);
        let deltas = String::from_utf8(bytes[text_at..].to_vec()).unwrap();
        Self {
            held_root,
            blocks,
            deltas: deltas.lines().map(read_line).collect(),
        }
    }

    /// Writes a file.
    pub fn save(&self, path: &Path) {
        let mut bytes = Vec::new();
        let mut word = |word: u64| bytes.extend_from_slice(&word.to_le_bytes());
        word(self.held_root);
        word(self.blocks.len() as u64);
        for (number, block) in &self.blocks {
            word(*number);
            let mut last: u64 = 0;
            for place in block.chunks_exact(8) {
                let next = u64::from_le_bytes(place.try_into().unwrap());
                word(next.wrapping_sub(last));
                last = next;
            }
        }
        for (devices, differences) in &self.deltas {
            bytes.extend_from_slice(write_line(devices, differences).as_bytes());
        }
        std::fs::write(path, zstd::encode_all(&bytes[..], 19).unwrap()).unwrap();
    }

    /// Reads a block as a pool's metadata device does; one that is not there is zeros.
    pub fn read(&self, number: u64, block: &mut Block) {
        *block = self
            .blocks
            .get(&number)
            .copied()
            .unwrap_or([0; BLOCK_BYTES]);
    }
}

fn write_line([old, new]: &[u64; 2], differences: &Differences) -> String {
    let mut line = format!("{old} {new}");
    for (range, difference) in differences {
        let kind = if *difference == Difference::Mapped {
            'm'
        } else {
            'u'
        };
        write!(line, " {kind}{}+{}", range.start, range.end - range.start).unwrap();
    }
    line.push('\n');
    line
}

fn read_line(line: &str) -> ([u64; 2], Differences) {
    let mut words = line.split(' ');
    let mut number = || -> u64 { words.next().unwrap().parse().unwrap() };
    let devices = [number(), number()];
    let differences = words.map(|word| {
        let (kind, range) = word.split_at(1);
        let (begin, length) = range.split_once('+').unwrap();
        let (begin, length): (u64, u64) = (begin.parse().unwrap(), length.parse().unwrap());
        let difference = match kind {
            "m" => Difference::Mapped,
            _ => Difference::Unmapped,
        };
        (begin..begin + length, difference)
    });
    (devices, differences.collect())
}

/// Puts the checksum that a block needs, as a superblock or a node of a tree, in its place.
pub fn seal(block: &mut Block, is_superblock: bool) {
    let kind = if is_superblock { 160_774 } else { 121_107 };
    let sum = block[4..].iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            (sum >> 1) ^ if sum & 1 == 1 { 0x82f6_3b78 } else { 0 }
        })
    });
    block[..4].copy_from_slice(&(sum ^ kind).to_le_bytes());
}
