// SPDX-License-Identifier: GPL-3.0-or-later
//! The frames of the pipe between the daemon and the helper in the network VM: layouts, maxima and
//! the order in which frames may come. It does no I/O, allocates nothing and depends on nothing; it
//! is all that the helper knows of Wyng, and deliberately knows no volume, session or key. The
//! specification is docs/protocol.md.
//!
//! # How a reader uses it
//! 1. Read [`HELLO_BYTES`] bytes, [`Hello::decode`].
//! 2. Read [`HEADER_BYTES`] bytes; [`ToHelper::rest_bytes`] (in the helper) or
//!    [`ToDaemon::rest_bytes`] (in the daemon) says how many bytes complete the frame: never more
//!    than [`TO_HELPER_MAX`] or [`TO_DAEMON_MAX`] in all.
//! 3. [`ToHelper::decode`] or [`ToDaemon::decode`] the whole frame, then ask [`ToHelperRules`] or
//!    [`ToDaemonRules`] whether it may come now.
//! 4. `body_bytes` raw bytes follow the frame; then the next header.
//!
//! Nothing here waits, so a blocking and an asynchronous reader are the same few lines.
#![no_std]
#![forbid(unsafe_code)]
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod fields;
mod hello;
mod name;
mod rules;
mod service;
mod tally;
mod to_daemon;
mod to_helper;

pub use fields::{DecodeError, EncodeError};
pub use hello::{HELLO_BYTES, Hello, HelloError, MAGIC, VERSION};
pub use name::BlobName;
pub use rules::{OutOfPhase, ToDaemonRules, ToHelperRules};
pub use service::Service;
pub use tally::Tally;
pub use to_daemon::{
    BlobBytes, BytesStatus, Entry, ListEnd, OpenStatus, Opened, Receipt, ReceiptStatus, StatStatus,
    Stated, ToDaemon,
};
pub use to_helper::{Delete, Get, Open, Put, Stat, ToHelper};

/// Bytes of the header that starts every frame but HELLO: kind, three zeros, bytes that follow as
/// u32.
pub const HEADER_BYTES: usize = 8;

/// Longest destination in OPEN, in bytes: the longest path that Linux takes.
pub const DESTINATION_MAX: usize = 4096;

/// Longest frame that the daemon sends, header included and bodies apart: an OPEN.
pub const TO_HELPER_MAX: usize = 4112;

/// Longest frame that the helper sends, header included and bodies apart: an ENTRY.
pub const TO_DAEMON_MAX: usize = 56;

/// Longest body of a PUT, and longest range of a GET, in bytes: four packs of the usual size.
pub const BODY_MAX: u32 = 64 * 1024 * 1024;

/// Longest body of one BYTES frame; a longer range comes in several, so that a disk that fails in
/// the middle of a blob is an answer and not the end of the call.
pub const PIECE_MAX: u32 = 1024 * 1024;

/// Most bytes of bodies that the daemon may have sent and not seen settled. One body may exceed it
/// when it is alone.
pub const WINDOW_BYTES: u64 = 32 * 1024 * 1024;

/// Free space that only a PUT with `may_use_reserve` may touch, so that a full store can still be
/// pruned.
pub const RESERVE_BYTES: u64 = 64 * 1024 * 1024;

/// Highest version that a GET may ask for; 0 is what the store serves, 1 to 15 are older ones.
pub const GET_VERSION_MAX: u8 = 15;

/// Each end sends a frame at least this often, a KEEP_ALIVE if there is nothing else.
pub const KEEP_ALIVE_SECS: u64 = 10;

/// An end that waited this long for a byte ends the call. Six keep-alives, so that a busy machine
/// is not a dead one.
pub const WATCHDOG_SECS: u64 = 60;
