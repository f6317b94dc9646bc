// SPDX-License-Identifier: GPL-3.0-or-later
//! Makes thin metadata as the kernel lays it: B-trees that are copied where they are written to, so
//! that a snapshot shares subtrees with its origin.

use std::collections::BTreeMap;

pub(crate) const BLOCK: usize = 4096;
pub(crate) type Block = [u8; BLOCK];

const NODE_KIND: u32 = 121_107;
const SUPERBLOCK_KIND: u32 = 160_774;

/// A pool's metadata.
#[derive(Clone)]
pub(crate) struct Pool {
    pub(crate) blocks: Vec<Block>,
    /// Most entries of a node: small ones make deep trees of few entries.
    pub(crate) fan_out: usize,
    /// Device id to the root of its mapping tree.
    pub(crate) devices: BTreeMap<u64, u64>,
}

enum Kids {
    Leaf(Vec<(u64, u64)>),
    Inner(Vec<(u64, u64)>),
}

impl Pool {
    pub(crate) fn new(fan_out: usize) -> Self {
        let mut pool = Self {
            blocks: vec![[0; BLOCK]],
            fan_out,
            devices: BTreeMap::new(),
        };
        pool.blocks.reserve(64);
        pool
    }

    /// Adds a device that maps these blocks.
    pub(crate) fn add(&mut self, id: u64, map: &BTreeMap<u64, u64>) {
        let root = self.build(map);
        self.devices.insert(id, root);
    }

    fn build(&mut self, map: &BTreeMap<u64, u64>) -> u64 {
        let entries: Vec<(u64, u64)> = map.iter().map(|(key, value)| (*key, *value)).collect();
        let mut level: Vec<(u64, u64)> = if entries.is_empty() {
            vec![(0, self.node(&Kids::Leaf(Vec::new())))]
        } else {
            entries
                .chunks(self.fan_out)
                .map(|part| (part[0].0, self.node(&Kids::Leaf(part.to_vec()))))
                .collect()
        };
        while level.len() > 1 {
            level = level
                .chunks(self.fan_out)
                .map(|part| (part[0].0, self.node(&Kids::Inner(part.to_vec()))))
                .collect();
        }
        level[0].1
    }

    /// Maps or unmaps one block of a device, copying the nodes on the way.
    pub(crate) fn set(&mut self, id: u64, key: u64, value: Option<u64>) {
        let root = self.devices[&id];
        let mut tops = self.write(root, key, value);
        while tops.len() > 1 {
            tops = tops
                .chunks(self.fan_out)
                .map(|part| (part[0].0, self.node(&Kids::Inner(part.to_vec()))))
                .collect();
        }
        let mut root = match tops.first() {
            Some((_, root)) => *root,
            None => self.node(&Kids::Leaf(Vec::new())),
        };
        // A root with one child gives way to the child.
        while let Kids::Inner(children) = self.kids(root) {
            if children.len() > 1 {
                break;
            }
            root = children[0].1;
        }
        self.devices.insert(id, root);
    }

    /// The nodes that come in the place of `block`: none if it became empty, two if it was split.
    fn write(&mut self, block: u64, key: u64, value: Option<u64>) -> Vec<(u64, u64)> {
        match self.kids(block) {
            Kids::Leaf(mut entries) => {
                match (entries.binary_search_by_key(&key, |(key, _)| *key), value) {
                    (Ok(place), Some(value)) => entries[place].1 = value,
                    (Ok(place), None) => drop(entries.remove(place)),
                    (Err(place), Some(value)) => entries.insert(place, (key, value)),
                    (Err(_), None) => {}
                }
                self.split(entries, Kids::Leaf)
            }
            Kids::Inner(mut children) => {
                let place = children
                    .partition_point(|(first, _)| *first <= key)
                    .saturating_sub(1);
                let instead = self.write(children[place].1, key, value);
                children.splice(place..=place, instead);
                self.split(children, Kids::Inner)
            }
        }
    }

    fn split(
        &mut self,
        entries: Vec<(u64, u64)>,
        kind: fn(Vec<(u64, u64)>) -> Kids,
    ) -> Vec<(u64, u64)> {
        let half = if entries.len() > self.fan_out {
            entries.len().div_ceil(2)
        } else {
            entries.len().max(1)
        };
        entries
            .chunks(half)
            .map(|part| (part[0].0, self.node(&kind(part.to_vec()))))
            .collect()
    }

    fn kids(&self, block: u64) -> Kids {
        let bytes = &self.blocks[block as usize];
        let count = u32::from_le_bytes(bytes[16..20].try_into().unwrap()) as usize;
        let room = u32::from_le_bytes(bytes[20..24].try_into().unwrap()) as usize;
        let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        let entries =
            (0..count).map(|index| (word(32 + index * 8), word(32 + room * 8 + index * 8)));
        match bytes[4] {
            1 => Kids::Inner(entries.collect()),
            _ => Kids::Leaf(entries.map(|(key, value)| (key, value >> 24)).collect()),
        }
    }

    fn node(&mut self, kids: &Kids) -> u64 {
        let (flags, entries): (u32, Vec<(u64, Vec<u8>)>) = match kids {
            Kids::Inner(children) => (
                1,
                children
                    .iter()
                    .map(|(key, block)| (*key, block.to_le_bytes().to_vec()))
                    .collect(),
            ),
            Kids::Leaf(entries) => (
                2,
                entries
                    .iter()
                    .map(|(key, block)| (*key, ((block << 24) | 5).to_le_bytes().to_vec()))
                    .collect(),
            ),
        };
        self.put(flags, &entries, 8)
    }

    fn put(&mut self, flags: u32, entries: &[(u64, Vec<u8>)], value_bytes: usize) -> u64 {
        let number = self.blocks.len() as u64;
        let room = (BLOCK - 32) / (8 + value_bytes) / 3 * 3;
        let mut bytes = [0; BLOCK];
        bytes[4..8].copy_from_slice(&flags.to_le_bytes());
        bytes[8..16].copy_from_slice(&number.to_le_bytes());
        bytes[16..20].copy_from_slice(&(entries.len() as u32).to_le_bytes());
        bytes[20..24].copy_from_slice(&(room as u32).to_le_bytes());
        bytes[24..28].copy_from_slice(&(value_bytes as u32).to_le_bytes());
        for (index, (key, value)) in entries.iter().enumerate() {
            bytes[32 + index * 8..40 + index * 8].copy_from_slice(&key.to_le_bytes());
            let at = 32 + room * 8 + index * value_bytes;
            bytes[at..at + value_bytes].copy_from_slice(value);
        }
        seal(&mut bytes, NODE_KIND);
        self.blocks.push(bytes);
        number
    }

    /// Writes the trees of devices and the superblock, at block 0 and as a metadata snapshot, whose
    /// block is returned.
    pub(crate) fn finish(&mut self) -> u64 {
        let roots: Vec<(u64, Vec<u8>)> = self
            .devices
            .iter()
            .map(|(id, root)| (*id, root.to_le_bytes().to_vec()))
            .collect();
        let mapping_root = self.put(2, &roots, 8);
        let details: Vec<(u64, Vec<u8>)> =
            self.devices.keys().map(|id| (*id, details(*id))).collect();
        let details_root = self.put(2, &details, 24);
        let held = self.blocks.len() as u64;
        self.blocks.push([0; BLOCK]);
        for (number, held_root) in [(0, held), (held, 0)] {
            let mut bytes = [0; BLOCK];
            let mut word =
                |at: usize, value: u64| bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
            word(8, number);
            word(32, 27_022_010);
            word(40, 2);
            word(48, 77);
            word(56, held_root);
            word(320, mapping_root);
            word(328, details_root);
            word(336, 128 | (8 << 32));
            word(344, held + 1);
            seal(&mut bytes, SUPERBLOCK_KIND);
            self.blocks[number as usize] = bytes;
        }
        held
    }
}

fn details(id: u64) -> Vec<u8> {
    [id * 10, id + 1000, 0]
        .iter()
        .flat_map(|word: &u64| word.to_le_bytes())
        .collect()
}

/// Puts the checksum of a block in its place.
pub(crate) fn seal(block: &mut Block, kind: u32) {
    let mut sum = u32::MAX;
    for byte in &block[4..] {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = if sum & 1 == 1 {
                (sum >> 1) ^ 0x82f6_3b78
            } else {
                sum >> 1
            };
        }
    }
    block[..4].copy_from_slice(&(sum ^ kind).to_le_bytes());
}

/// The kind of checksum that a block of a finished pool has.
pub(crate) fn kind_of(pool: &Pool, number: usize) -> u32 {
    if number == 0 || number + 1 == pool.blocks.len() {
        SUPERBLOCK_KIND
    } else {
        NODE_KIND
    }
}
