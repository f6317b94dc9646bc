// SPDX-License-Identifier: GPL-3.0-or-later
//! The client of the command, by way of control.

use std::time::{Duration, Instant};

use wyng_control::{Failure, Phase, Progress, ToClient};

use super::control::SharedControl;
use crate::ipc::KeyholderToControl;
use wyng_engine::world::Client;

/// Updates faster than this are not visible; a new phase or volume is reported at once, and so is an
/// end.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);

/// See the module's first line.
pub struct ClientOfCommand {
    control: SharedControl,
    /// What progress was told last, and when.
    told_progress: Option<(Phase, Option<String>, Instant)>,
}

impl ClientOfCommand {
    /// Over the wire to control.
    pub(super) fn new(control: SharedControl) -> Self {
        Self {
            control,
            told_progress: None,
        }
    }

    /// The command has ended.
    pub(super) fn end_command(&mut self) {
        self.told_progress = None;
    }
}

impl Client for ClientOfCommand {
    fn uid(&self) -> u32 {
        self.control.with(|control| control.client_uid)
    }

    fn has_given_back(&self) -> bool {
        self.control
            .with(|control| control.prompts.has_given_back())
    }

    fn tell(&mut self, event: ToClient) -> Result<(), Failure> {
        self.control
            .with(|control| control.send(&KeyholderToControl::Tell(event)))
    }

    fn progress(&mut self, progress: Progress) {
        let is_new = self
            .told_progress
            .as_ref()
            .is_none_or(|(phase, volume, told)| {
                *phase != progress.phase
                    || *volume != progress.volume
                    || told.elapsed() >= PROGRESS_EVERY
            });
        let is_end = progress.total_bytes > 0 && progress.done_bytes >= progress.total_bytes;
        if !is_new && !is_end {
            return;
        }
        self.told_progress = Some((progress.phase, progress.volume.clone(), Instant::now()));
        // A client that is gone is noticed at the next question or result.
        let _ = self.tell(ToClient::Progress(progress));
    }

    fn cancelled(&mut self) -> bool {
        self.control
            .with(|control| control.poll().is_err() || control.cancelled.is_some())
    }
}
