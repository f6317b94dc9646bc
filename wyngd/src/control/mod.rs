// SPDX-License-Identifier: GPL-3.0-or-later
//! The role that speaks with clients: it takes their commands, passes them to the roles that work,
//! forwards questions and answers, and reports the end. It sees no key, no remote byte, and no byte
//! of what it forwards.
//!
//! - `hub`: the wires and the clients, and when each is heard.
//! - `door`: who may connect, and with which command.
//! - `client`: one conversation.
//! - `turns`: commands that work. One runs at a time, in the order in which they came.
//! - `looks`: commands that only look. They run beside, one at a time.
//! - `thin`: what the daemon has in thin pools. The pool role answers, beside both.
//! - `wires`: messages of the roles that work.
//! - `journal`: the end of each command, for the system's journal.
//! - `questions` and `answers`: what a client is asked, and the role that gets the answer.
//!
//! A client's mistake ends its own conversation and nothing else. When a client is gone, its
//! command is cancelled, and its questions are answered in its place. Each wait has a time limit,
//! except the one for a person who types a passphrase, during which no other command waits.

mod answers;
mod client;
mod door;
mod hub;
mod jobs;
mod journal;
mod looks;
mod questions;
mod thin;
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

/// Serves one client to the end of its command, or, as a service, every client that connects to the
/// socket with which it was started. `config` holds the archives that the group may name, and the
/// time limit for clients; the system's journal listens at `journal`.
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
