// SPDX-License-Identifier: GPL-3.0-or-later
//! The client of the command, by way of control. Results all go to it, progress only as often as a
//! person can see.

use std::time::{Duration, Instant};

use wyng_control::{Failure, Phase, Progress, ToClient};

use super::control::SharedControl;
use crate::ipc::KeyholderToControl;
use wyng_engine::world::Client;

/// Minimum time between two progress messages: faster updates are not visible. A new phase or
/// volume, and an end, are reported at once.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);

/// The client of the running command.
pub struct ClientOfCommand {
    control: SharedControl,
    /// The phase and volume of the last progress message, and when it was sent.
    last_progress: Option<(Phase, Option<String>, Instant)>,
}

impl ClientOfCommand {
    /// A client over the wire to control.
    pub(super) fn new(control: SharedControl) -> Self {
        Self {
            control,
            last_progress: None,
        }
    }

    /// Forgets what was reported of a command that has ended.
    pub(super) fn end_command(&mut self) {
        self.last_progress = None;
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
            .last_progress
            .as_ref()
            .is_none_or(|(phase, volume, sent)| {
                *phase != progress.phase
                    || *volume != progress.volume
                    || sent.elapsed() >= PROGRESS_EVERY
            });
        let is_end = progress.total_bytes > 0 && progress.done_bytes >= progress.total_bytes;
        if !is_new && !is_end {
            return;
        }
        self.last_progress = Some((progress.phase, progress.volume.clone(), Instant::now()));
        // A client that is gone is noticed at the next prompt or result.
        let _ = self.tell(ToClient::Progress(progress));
    }

    fn cancelled(&mut self) -> bool {
        self.control
            .with(|control| control.poll().is_err() || control.cancelled.is_some())
    }
}
