// SPDX-License-Identifier: GPL-3.0-or-later
//! The role that speaks with clients: it takes their commands, has them done, forwards questions
//! and answers, and says when all is done. It sees no key, no remote byte, and no byte of what it
//! forwards.
//!
//! - `hub`: the wires and the clients, and who is heard when.
//! - `door`: who comes in, and with which command.
//! - `client`: one conversation.
//! - `turns`: commands that work. One runs at a time, in the order in which they came.
//! - `looks`: commands that only look. They run beside, one at a time.
//! - `journal`: what became of each, for the system's journal.
//!
//! What a client does wrong ends its own conversation and nothing else; when it is gone, its
//! command is cancelled, and what it was asked is answered in its place. Nobody is waited for
//! without a limit, except a person who types a passphrase, for whom nobody else waits.

mod answers;
mod client;
mod door;
mod hub;
mod jobs;
mod journal;
mod looks;
mod questions;
mod turns;
mod wires;

use std::path::Path;

use wyng_config::Config;
use wyng_jail::inherited;

use crate::ipc::{Fatal, enter_jail, not_enforced};
use crate::roles::{Daemon, Role, Use};
use hub::Control;
use journal::Journal;

pub use journal::JOURNAL;

/// Serves one client to the end of its command, or as a service whoever connects to the socket that
/// it was started with. `config` names the archives that the group may name, and the patience with
/// clients; the system's journal listens at `journal`.
pub fn run(
    daemon: Daemon,
    purpose: Use,
    config: &Config,
    journal: Option<&Path>,
) -> Result<(), Fatal> {
    let socket = inherited(Role::Control.extra().ok_or(Fatal::Gone("the client"))?)?;
    let mut control = Control::new(daemon, purpose, config, Journal::connect(journal))?;
    let missing = enter_jail(Role::Control, daemon, || {
        vec![("empty network", wyng_jail::empty_network_namespace())]
    });
    control.note_ready(Role::Control, not_enforced(missing));
    control.serve(daemon, socket)
}
