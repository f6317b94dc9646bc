// SPDX-License-Identifier: GPL-3.0-or-later
//! The client that asked for the command: what is reported to it, and whether it interrupted.

use wyng_control::{Failure, Progress, ToClient};

/// The client of the running command.
pub trait Client {
    /// The user id of the process that asked for the command.
    fn uid(&self) -> u32;
    /// Whether the command is to begin anew, because it waited for a passphrase while other
    /// commands waited for their turn.
    fn has_given_back(&self) -> bool {
        false
    }
    /// Reports a result to the client.
    fn tell(&mut self, event: ToClient) -> Result<(), Failure>;
    /// Reports how far the command is. Called often; few calls reach the client.
    fn progress(&mut self, progress: Progress);
    /// Whether the person has interrupted.
    fn cancelled(&mut self) -> bool;
}
