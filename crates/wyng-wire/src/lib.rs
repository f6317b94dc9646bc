// SPDX-License-Identifier: GPL-3.0-or-later
//! The frames of the pipe between the daemon and the helper in the network VM: layouts, maxima and
//! the order in which frames may come. The crate does no I/O, allocates nothing and has no
//! dependencies. It is all that the helper knows of Wyng, and deliberately knows no volume, session
//! or key. The specification is docs/protocol.md.
//!
//! # How to read frames
//! 1. Read [`HELLO_BYTES`] bytes, [`Hello::decode`].
//! 2. Read [`HEADER_BYTES`] bytes; [`ToHelper::rest_bytes`] (in the helper) or
//!    [`ToDaemon::rest_bytes`] (in the daemon) returns the number of bytes that complete the frame,
//!    so that a whole frame has at most [`TO_HELPER_MAX`] or [`TO_DAEMON_MAX`] bytes.
//! 3. [`ToHelper::decode`] or [`ToDaemon::decode`] the whole frame, then ask [`ToHelperRules`] or
//!    [`ToDaemonRules`] whether it may come now.
//! 4. `body_bytes` raw bytes follow the frame; then the next header.
//!
//! Nothing here waits, so the same few lines serve a blocking and an asynchronous reader.
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
mod signed;
mod tally;
mod to_daemon;
mod to_helper;
mod version_id;

pub use fields::{DecodeError, EncodeError};
pub use hello::{HELLO_BYTES, Hello, HelloError, MAGIC, VERSION};
pub use name::BlobName;
pub use rules::{OutOfPhase, ToDaemonRules, ToHelperRules};
pub use service::Service;
pub use signed::{KEY_ID_MAX, Signed, TOKEN_MAX};
pub use tally::Tally;
pub use to_daemon::{
    BlobBytes, BytesStatus, CreateOnly, Durability, Entry, ListEnd, ListStatus, OpenStatus, Opened,
    Receipt, ReceiptStatus, StatStatus, Stated, ToDaemon, Version, VersionsEnd, VersionsStatus,
};
pub use to_helper::{Delete, Get, List, Open, Page, Put, Renew, Stat, ToHelper, Versions};
pub use version_id::{VERSION_ID_MAX, VersionId};

/// Length of the header of every frame except HELLO, bytes: kind, three zeros, length of the rest
/// as u32.
pub const HEADER_BYTES: usize = 8;

/// Maximum length of a store's address in OPEN, bytes: the longest path that Linux accepts.
pub const DESTINATION_MAX: usize = 4096;

/// Maximum length of the signature of a request, bytes.
pub const SIGNED_MAX: usize = 3072;

/// Maximum length of a frame that the daemon sends, bytes: an OPEN with a signature. The header
/// counts, a body does not.
pub const TO_HELPER_MAX: usize = 7184;

/// Maximum length of a frame that the helper sends, bytes: a VERSION. The header counts, a body
/// does not.
pub const TO_DAEMON_MAX: usize = 80;

/// Maximum length of the body of a PUT and of the range of a GET, bytes: four packs of the default
/// size.
pub const BODY_MAX: u32 = 64 * 1024 * 1024;

/// Maximum length of the body of one BYTES frame, bytes. A longer range comes in several frames, so
/// that a disk that fails in the middle of a blob can be reported without ending the call.
pub const PIECE_MAX: u32 = 1024 * 1024;

/// Maximum number of body bytes that the daemon has sent and the helper has not settled. A single
/// body may exceed it.
pub const WINDOW_BYTES: u64 = 32 * 1024 * 1024;

/// Free space that only a PUT with `may_use_reserve` may use, bytes. A full store can still be
/// pruned because of it.
pub const RESERVE_BYTES: u64 = 64 * 1024 * 1024;

/// Highest version that a GET may request: 0 is the current version of the blob, 1 to 15 are older
/// versions.
pub const GET_VERSION_MAX: u8 = 15;

/// Maximum time between two frames of one end, seconds. An end with nothing else to send sends
/// KEEP_ALIVE.
pub const KEEP_ALIVE_SECS: u64 = 10;

/// Maximum time that an end waits for a byte before it ends the call, seconds: six keep-alives, so
/// that a busy machine is not taken for a dead one.
pub const WATCHDOG_SECS: u64 = 60;
