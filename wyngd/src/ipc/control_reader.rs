// SPDX-License-Identifier: GPL-3.0-or-later
//! The wire between control and reader: looks, and what they report. No descriptor travels here.

use bincode::{Decode, Encode};
use wyng_control::{Command, ExitStatus, ToClient};

use super::jail::NotEnforced;

/// control → reader.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum ControlToReader {
    /// A look. The one before has ended.
    Start {
        /// The look.
        command: Command,
        /// Who looks, as the kernel says.
        uid: u32,
    },
    /// Nobody waits for it any more.
    Cancel,
}

/// reader → control.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum ReaderToControl {
    /// In its jail.
    Ready {
        /// What could not be enforced.
        missing: Vec<NotEnforced>,
        /// Peak of the reader's resident memory.
        peak_rss_bytes: u64,
    },
    /// For the client, as it is.
    Tell(ToClient),
    /// The look has ended.
    Done {
        /// How.
        exit: ExitStatus,
        /// Peak of the reader's resident memory.
        peak_rss_bytes: u64,
    },
}
