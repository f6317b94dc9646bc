// SPDX-License-Identifier: GPL-3.0-or-later
//! The command line: it says what is wanted, opens what only the caller may open, and shows what comes back. It knows no key and no
//! archive layout.

mod cli;
mod client;
mod confirm;
mod conversation;
mod here;
mod overdue;
mod passphrase;
mod pool;
mod power;
mod progress;
mod quantity;
mod report;
mod settings;
mod snapshots;
mod source;
mod target;

use std::process::ExitCode;

fn main() -> ExitCode {
    wyng_jail::outlive_file_size_limit();
    let exit = conversation::run(cli::parse());
    ExitCode::from(exit.code())
}
