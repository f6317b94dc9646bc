// SPDX-License-Identifier: GPL-3.0-or-later
//! The archive format of `docs/format.md`: layouts, cryptography and plans.
//!
//! This crate does no I/O, reads no clock and draws no random byte: bytes, times and randomness are
//! arguments, so that the same code runs in the daemon, in a simulation and against test vectors.
//!
//! - [`mod@format`]: the layout of each object; one file an object, named as in the glossary.
//! - [`crypto`]: keys and their labels, slots, ids, sealing and opening, session keys.
//! - [`plan`]: work on trees: editing, comparing, marking. Pure functions over a source of nodes.
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::unreachable,
        clippy::string_slice,
        clippy::as_conversions
    )
)]

pub mod crypto;
mod damage;
pub mod format;
mod ids;
pub mod plan;

pub use damage::{Class, Damage, Fault};
pub use wyng_wire::BlobName;
