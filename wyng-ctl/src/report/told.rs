// SPDX-License-Identifier: GPL-3.0-or-later
//! An error as it is reported, completed for the command that was run.

use serde::Serialize;
use wyng_control::{ExitStatus, Safe};

use crate::message::{Message, NOTHING_DONE};

/// An error as it is reported.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Told {
    pub(super) code: &'static str,
    #[serde(skip)]
    pub(super) exit: ExitStatus,
    pub(super) text: String,
    pub(super) safe: String,
    pub(super) next: String,
    pub(super) volume: Option<String>,
}

/// A warning about an archive.
#[derive(Debug, Clone, Serialize)]
pub(super) struct OverdueRow {
    code: &'static str,
    text: String,
    next: String,
}

impl OverdueRow {
    pub(super) fn of(told: &Told) -> Self {
        Self {
            code: told.code,
            text: told.text.clone(),
            next: told.next.clone(),
        }
    }
}

impl Told {
    /// The error of an invalid command line, of which no archive is known.
    pub(super) fn of_no_command(message: Message) -> Self {
        let safe = match message.safe {
            Safe::Always(safe) => safe,
            Safe::OfCommand => NOTHING_DONE,
        };
        Self {
            code: message.code,
            exit: message.exit,
            text: message.text,
            safe: safe.to_owned(),
            next: message.next,
            volume: message.volume,
        }
    }
}
