// SPDX-License-Identifier: GPL-3.0-or-later
//! Whether a command may be forwarded at all: its bounds, and that it fits the wire to the role that does it.

use wyng_config::{VIA_ALLOWED, Via};
use wyng_control::{Command, Failure, decode, encode};

use crate::ipc::ControlToKeyholder;

/// Checks a command before any role hears of it. Every string and number is within its bound, and the forwarded message, which is longer
/// than the client's own, fits a packet.
pub(super) fn check(command: &Command) -> Result<(), Failure> {
    command.check_bounds()?;
    let vias: Vec<&str> = match command {
        Command::ArchiveCreate { via, .. } => vec![via],
        Command::ArchiveOpen { via, .. } => via.iter().map(String::as_str).collect(),
        Command::QubesCheck { vias } => vias.iter().map(String::as_str).collect(),
        _ => Vec::new(),
    };
    if vias.into_iter().any(|via| Via::parse(via).is_none()) {
        return Err(Failure::BadSetting { setting: "the far end".into(), allowed: VIA_ALLOWED.into() });
    }
    let forwarded = ControlToKeyholder::Start { command: command.clone(), uid: u32::MAX };
    let too_long = |_| Failure::BadSetting { setting: "the length of the command".into(), allowed: "64 KiB of names and paths".into() };
    // The limit counts differently on the way back, so only a message that also decodes is known to fit.
    encode(&forwarded).and_then(|bytes| decode::<ControlToKeyholder>(&bytes)).map(drop).map_err(too_long)
}

#[cfg(test)]
mod tests {
    use wyng_control::ToDaemon;

    use super::*;

    #[test]
    fn the_longest_command_that_a_client_can_say_is_refused_if_it_does_not_fit_when_it_is_forwarded() {
        let via = |host_bytes| format!("ssh:{}", "h".repeat(host_bytes));
        let check_of = |count, last_bytes| Command::QubesCheck { vias: [vec![via(255); count], vec![via(last_bytes)]].concat() };
        let heard = |command: &Command| encode(&ToDaemon::Start(command.clone())).is_ok_and(|bytes| decode::<ToDaemon>(&bytes).is_ok());
        // One far end more would be too much for the client's own message, and so would one byte more.
        let count = (0..wyng_control::ITEMS_MAX).rev().find(|count| heard(&check_of(*count, 1))).unwrap();
        let longest = (1..=255).rev().map(|last_bytes| check_of(count, last_bytes)).find(heard).unwrap();
        assert_eq!(check(&longest).map_err(|failure| failure.code()), Err("bad-setting"));
        assert_eq!(check(&check_of(1, 1)), Ok(()));
    }
}
