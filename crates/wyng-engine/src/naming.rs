// SPDX-License-Identifier: GPL-3.0-or-later
//! Ids of chunks: a keyed hash of their content within a domain. Nothing is looked up here.

use wyng_archive::crypto::{Domain, Id};

/// The ids of the chunks that follow each other in `bytes`; `None` for a chunk of zeros, which is a
/// hole.
pub fn name_chunks(domain: &Domain, bytes: &[u8], chunk_size: usize) -> Vec<Option<Id>> {
    bytes
        .chunks(chunk_size)
        .map(|chunk| name_chunk(domain, chunk))
        .collect()
}

/// The id of one chunk; `None` for a chunk of zeros.
pub fn name_chunk(domain: &Domain, chunk: &[u8]) -> Option<Id> {
    (!is_zero(chunk)).then(|| domain.content_id(chunk))
}

/// Compares 64 bytes at a time, which the compiler turns into vector instructions.
fn is_zero(bytes: &[u8]) -> bool {
    let (blocks, rest) = bytes.as_chunks::<64>();
    blocks
        .iter()
        .all(|block| block.iter().fold(0, |seen, byte| seen | byte) == 0)
        && rest.iter().all(|byte| *byte == 0)
}
