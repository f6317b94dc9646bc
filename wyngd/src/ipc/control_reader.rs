// SPDX-License-Identifier: GPL-3.0-or-later
//! The wire between control and reader: looks, and what they report. No descriptor travels here.

use bincode::{Decode, Encode};
use wyng_control::{Command, ExitStatus, ToClient};

use super::jail::NotEnforced;

/// control → reader.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one message at a time, and it is taken apart at once"
)]
pub enum ControlToReader {
    /// A command that only looks. The look before it has ended.
    Start {
        /// The command.
        command: Command,
        /// User of the client's process, as the kernel reports it.
        uid: u32,
    },
    /// No client waits for the running look any more.
    Cancel,
}

/// reader → control.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum ReaderToControl {
    /// The reader is in its jail.
    Ready {
        /// Protections that could not be enforced.
        missing: Vec<NotEnforced>,
        /// Peak of the reader's resident memory, bytes.
        peak_rss_bytes: u64,
    },
    /// An event for the client, passed on unchanged.
    Tell(ToClient),
    /// The look has ended.
    Done {
        /// The exit status.
        exit: ExitStatus,
        /// Peak of the reader's resident memory, bytes.
        peak_rss_bytes: u64,
    },
}
