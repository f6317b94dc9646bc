// SPDX-License-Identifier: GPL-3.0-or-later
//! The record: a sealed frame. Lengths and codings only; `crypto` seals and opens. Layout:
//! `docs/format.md`, section 5.
//!
//! ```text
//!   0 │ nonce (24)                                                    │
//!  24 │ ciphertext of the frame ‖ tag (16)                            │
//!
//!   0 │ coding│ plain length u24      │ body …                        │  the frame
//! ```

/// Bytes of a record besides its body: nonce, frame header and tag.
pub const RECORD_OVERHEAD_BYTES: usize = NONCE_BYTES + FRAME_HEADER_BYTES + TAG_BYTES;
/// Bytes of XChaCha20-Poly1305's nonce.
pub(crate) const NONCE_BYTES: usize = 24;
/// Bytes of Poly1305's tag.
pub(crate) const TAG_BYTES: usize = 16;
/// Bytes of the frame's header: the coding and the plain length.
pub(crate) const FRAME_HEADER_BYTES: usize = 4;
/// The body is the plain bytes.
pub(crate) const CODING_RAW: u8 = 0;
/// The body is one zstd frame.
pub(crate) const CODING_ZSTD: u8 = 1;
