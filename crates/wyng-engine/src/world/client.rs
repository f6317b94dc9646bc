// SPDX-License-Identifier: GPL-3.0-or-later
//! Whoever asked for the command: what is reported to it, and whether it interrupted.

use wyng_control::{Failure, Progress, ToClient};

/// See the module's first line.
pub trait Client {
    /// Whose process asked for the command.
    fn uid(&self) -> u32;
    /// Whether the command is to begin anew: it waited for a passphrase while others waited for it.
    fn has_given_back(&self) -> bool {
        false
    }
    /// Tells the client a result.
    fn tell(&mut self, event: ToClient) -> Result<(), Failure>;
    /// Tells the client how far it is; called often, told seldom.
    fn progress(&mut self, progress: Progress);
    /// Did the person interrupt?
    fn cancelled(&mut self) -> bool;
}
