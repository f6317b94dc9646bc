// SPDX-License-Identifier: GPL-3.0-or-later
//! The command line: sends a command to the daemon, opens files with the caller's rights, and shows
//! the results. It knows no key and no archive layout.

mod cli;
mod client;
mod clock;
mod columns;
mod complete;
mod confirm;
mod conversation;
mod credentials;
mod defaults;
mod destinations;
mod dom0;
mod help;
mod here;
mod history;
mod manual;
mod message;
mod output;
mod overdue;
mod own_files;
mod passphrase;
mod plain;
mod pool;
mod power;
mod progress;
mod quantity;
mod replace;
mod report;
mod settings;
mod several;
mod signals;
mod snapshots;
mod source;
mod target;
mod terminal;
mod thin;
mod tui;
mod watch;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::FromArgMatches;
use wyng_control::ExitStatus;

use cli::Cli;

fn main() -> ExitCode {
    wyng_jail::outlive_file_size_limit();
    complete::answer();
    let exit = parse().map_or_else(|exit| exit, |cli| several::run(cli, parse));
    ExitCode::from(exit.code())
}

/// Parses the command line. Shows the error, the help or the version if it is one of these, and
/// returns the exit status.
fn parse() -> Result<Cli, ExitStatus> {
    let words: Vec<OsString> = std::env::args_os().collect();
    let parsed = help::command()
        .try_get_matches_from(&words)
        .and_then(|matches| Cli::from_arg_matches(&matches));
    parsed.map_err(|error| {
        // `--json` counts even if the rest of the command line is invalid.
        let json = words
            .iter()
            .take_while(|word| *word != "--")
            .any(|word| word == "--json");
        report::show_unparsed(&error, &words, json)
    })
}
