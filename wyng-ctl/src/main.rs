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
mod message;
mod output;
mod overdue;
mod passphrase;
mod plain;
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

use std::ffi::OsString;
use std::process::ExitCode;

use clap::FromArgMatches;
use wyng_control::ExitStatus;

use cli::Cli;

fn main() -> ExitCode {
    wyng_jail::outlive_file_size_limit();
    complete::answer();
    let exit = parse().map_or_else(|exit| exit, conversation::run);
    ExitCode::from(exit.code())
}

/// Reads the command line. Where it is wrong, or asks for help or the version, that is shown and
/// the exit status returned.
fn parse() -> Result<Cli, ExitStatus> {
    let words: Vec<OsString> = std::env::args_os().collect();
    let parsed = help::command()
        .try_get_matches_from(&words)
        .and_then(|matches| Cli::from_arg_matches(&matches));
    parsed.map_err(|error| {
        // Whether `--json` was meant can be told though the rest is wrong.
        let json = words
            .iter()
            .take_while(|word| *word != "--")
            .any(|word| word == "--json");
        report::show_unparsed(&error, &words, json)
    })
}
