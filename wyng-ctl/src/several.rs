// SPDX-License-Identifier: GPL-3.0-or-later
//! A command with a profile of several archives, or `archive copy` to several copies: the same
//! command for each of them in turn. A store that cannot be reached holds up none.

use serde_json::{Value, json};
use wyng_control::ExitStatus;

use crate::cli::Cli;
use crate::conversation;
use crate::output::Output;
use crate::plain::plain;
use crate::settings;

/// Which status says most where archives ended differently, most telling first. A run that has to
/// be repeated because a store was out of reach says so only if nothing worse happened.
const MOST_TELLING: [ExitStatus; 8] = [
    ExitStatus::Interrupted,
    ExitStatus::Damage,
    ExitStatus::Locked,
    ExitStatus::Failed,
    ExitStatus::Usage,
    ExitStatus::Unreachable,
    ExitStatus::Partial,
    ExitStatus::Deferred,
];

/// Runs a command: once, or for each archive of its profile. `again` parses the command line.
pub(crate) fn run(cli: Cli, again: impl Fn() -> Result<Cli, ExitStatus>) -> ExitStatus {
    // A configuration with a mistake is reported by the command itself.
    let turns = match cli.may_have_turns() {
        true => cli.turns(&settings::read(&cli.options).unwrap_or_default()),
        false => Vec::new(),
    };
    if turns.len() < 2 {
        return conversation::run(cli);
    }
    let (in_json, quiet) = (cli.options.json, cli.options.quiet);
    let mut output = Output::new(false);
    let (mut exits, mut objects) = (Vec::new(), Vec::new());
    for (place, turn) in turns.into_iter().enumerate() {
        let mut cli = match again() {
            Ok(cli) => cli,
            Err(exit) => return exit,
        };
        if !in_json && !quiet {
            output.line(&format!("{}:", plain(&turn.archive)));
        }
        cli.take_turn(turn);
        if place > 0 {
            cli.power_suffices();
        }
        let (exit, object) = conversation::run_for(cli);
        exits.push(exit);
        objects.extend(object);
        // The power of the machine, and a person's Ctrl-C, are about all of them.
        if matches!(exit, ExitStatus::Interrupted | ExitStatus::Deferred) {
            break;
        }
    }
    let exit = together(&exits);
    if in_json {
        output.line(&joined(exit, &objects));
    }
    match output.failure(false) {
        Some(_) if exit == ExitStatus::Done => ExitStatus::Failed,
        _ => exit,
    }
}

/// The exit status of all runs.
fn together(exits: &[ExitStatus]) -> ExitStatus {
    let is_there = |exit: &&ExitStatus| exits.contains(exit);
    MOST_TELLING
        .iter()
        .find(is_there)
        .copied()
        .unwrap_or(ExitStatus::Done)
}

/// The objects of all runs in one.
fn joined(exit: ExitStatus, objects: &[String]) -> String {
    let runs: Vec<Value> = objects
        .iter()
        .filter_map(|object| serde_json::from_str(object).ok())
        .collect();
    let errors: Vec<&Value> = runs
        .iter()
        .filter_map(|run| run.get("errors")?.as_array())
        .flatten()
        .collect();
    let first = |field: &str| runs.first().and_then(|run| run.get(field));
    json!({
        "schema": first("schema"),
        "command": first("command"),
        "exit": exit.code(),
        "errors": errors,
        "runs": runs,
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_telling_status_counts() {
        use ExitStatus::{Damage, Deferred, Done, Failed, Interrupted, Partial, Unreachable};
        for (exits, expected) in [
            (&[Done, Done][..], Done),
            (&[Unreachable, Done], Unreachable),
            (&[Done, Partial], Partial),
            (&[Unreachable, Partial], Unreachable),
            (&[Unreachable, Failed], Failed),
            (&[Failed, Damage, Done], Damage),
            (&[Damage, Interrupted], Interrupted),
            (&[Deferred], Deferred),
        ] {
            assert_eq!(together(exits), expected, "{exits:?}");
        }
    }
}
