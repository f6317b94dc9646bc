// SPDX-License-Identifier: GPL-3.0-or-later
//! Memory for what is read past the page cache: it begins at a block border and holds whole blocks,
//! as the kernel wants it.

/// Where a read past the page cache begins and ends, in memory and on the medium: a multiple of
/// this. Every block device reads in blocks of this size or of a part of it.
pub const BLOCK_BYTES: usize = 4096;

/// Whole blocks of memory, aligned as the kernel requires; grows on demand and is reused.
#[derive(Debug, Default)]
pub struct Room {
    memory: Vec<u8>,
    begin: usize,
    length: usize,
}

impl Room {
    /// Makes it `length` bytes long, whatever they are, and whole blocks behind that.
    pub fn resize(&mut self, length: usize) {
        let needed = length
            .next_multiple_of(BLOCK_BYTES)
            .saturating_add(BLOCK_BYTES);
        if self.memory.len() < needed {
            self.memory = vec![0; needed];
        }
        // Memory is never aligned only where that cannot be told; then the kernel is asked to copy.
        self.begin = Some(self.memory.as_ptr().align_offset(BLOCK_BYTES))
            .filter(|begin| *begin < BLOCK_BYTES)
            .unwrap_or(0);
        self.length = length;
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        self.memory
            .get(self.begin..self.begin.saturating_add(self.length))
            .unwrap_or_default()
    }

    /// Its bytes, to be filled.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.memory
            .get_mut(self.begin..self.begin.saturating_add(self.length))
            .unwrap_or_default()
    }

    /// The whole blocks that hold its bytes, to be filled.
    pub fn blocks_mut(&mut self) -> &mut [u8] {
        let blocks = self.length.next_multiple_of(BLOCK_BYTES);
        self.memory
            .get_mut(self.begin..self.begin.saturating_add(blocks))
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_begins_at_a_block_and_holds_whole_blocks() {
        let mut room = Room::default();
        for length in [1, 4096, 10_000, 1 << 20, 5] {
            room.resize(length);
            assert_eq!(room.bytes().len(), length);
            assert_eq!(room.bytes().as_ptr().align_offset(BLOCK_BYTES), 0);
            assert_eq!(
                room.blocks_mut().len(),
                length.next_multiple_of(BLOCK_BYTES)
            );
        }
    }
}
