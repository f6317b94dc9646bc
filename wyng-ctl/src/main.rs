// SPDX-License-Identifier: GPL-3.0-or-later
//! The command line: it says what is wanted, opens what only the caller may open, and shows what
//! comes back. It knows no key and no archive layout.

mod cli;
mod client;
mod clock;
mod columns;
mod complete;
mod confirm;
mod conversation;
mod defaults;
mod help;
mod here;
mod manual;
mod output;
mod overdue;
mod passphrase;
mod pool;
mod power;
mod progress;
mod quantity;
mod report;
mod settings;
mod signals;
mod snapshots;
mod source;
mod target;
mod terminal;

use std::process::ExitCode;

fn main() -> ExitCode {
    wyng_jail::outlive_file_size_limit();
    complete::answer();
    let exit = cli::parse().map_or_else(|exit| exit, conversation::run);
    ExitCode::from(exit.code())
}
