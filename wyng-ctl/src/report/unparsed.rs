// SPDX-License-Identifier: GPL-3.0-or-later
//! Errors of an invalid command line, in the form of every other error. The parser provides the
//! cause, and mostly the remedy.

use std::ffi::OsString;

use clap::Command;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::help;
use crate::message::Message;
use crate::quantity::capitalized;

/// The beginning of the parser's list of missing arguments.
const MISSING: &str = "the following required arguments were not provided:";

/// The error of a command line, whose first word is the program's name.
pub(super) fn message(error: &clap::Error, words: &[OsString]) -> Message {
    let told = error.to_string();
    let mut paragraphs = told.trim().split("\n\n");
    let first = paragraphs
        .next()
        .unwrap_or_default()
        .trim_start_matches("error: ");
    let tips: Vec<String> = paragraphs
        .flat_map(str::lines)
        .filter_map(|line| line.trim().strip_prefix("tip: "))
        // The tip for values that begin with a dash: no argument has such values.
        .filter(|tip| !tip.starts_with("to pass "))
        .map(|tip| capitalized(tip).replace("subcommand", "command") + ".")
        .collect();
    let usage = match error.get(ContextKind::Usage) {
        Some(ContextValue::StyledStr(usage)) => usage.to_string(),
        _ => String::new(),
    };
    let see = format!("See `{} --help`.", command_of(words));
    let correct = format!(
        "Correct the value; `{} --help` describes it.",
        command_of(words)
    );
    let (text, otherwise) = match (error.kind(), error.get(ContextKind::InvalidSubcommand)) {
        (ErrorKind::InvalidSubcommand, Some(ContextValue::String(word))) => {
            (format!("there is no command {word:?}"), see)
        }
        (ErrorKind::MissingSubcommand, _) => ("the command is missing".to_owned(), see),
        (ErrorKind::MissingRequiredArgument, _) if !usage.is_empty() => {
            let mut forms = usage
                .trim_start_matches("Usage:")
                .trim()
                .lines()
                .map(in_one_line);
            let form = forms.next().unwrap_or_default();
            let next = match forms.next() {
                None => format!("Write {form}."),
                Some(_) => format!(
                    "Write {form}; `{} --help` shows the other forms.",
                    command_of(words)
                ),
            };
            (
                format!(
                    "missing: {}",
                    in_one_line(first.trim_start_matches(MISSING))
                ),
                next,
            )
        }
        (ErrorKind::InvalidValue | ErrorKind::ValueValidation, _) => (in_one_line(first), correct),
        _ => (in_one_line(first), see),
    };
    Message::usage(
        text,
        if tips.is_empty() {
            otherwise
        } else {
            tips.join(" ")
        },
    )
}

fn in_one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// `wyng-ctl` and the words that name a command.
fn command_of(words: &[OsString]) -> String {
    let mut found = vec!["wyng-ctl"];
    let all = help::command();
    let mut at: &Command = &all;
    for word in words.iter().skip(1) {
        if let Some(below) = at.find_subcommand(word) {
            found.push(below.get_name());
            at = below;
        }
    }
    found.join(" ")
}

#[cfg(test)]
mod tests {
    use clap::FromArgMatches;

    use super::*;
    use crate::cli::Cli;

    fn told(words: &[&str]) -> (String, String) {
        let words: Vec<OsString> = ["wyng-ctl"]
            .iter()
            .chain(words)
            .map(OsString::from)
            .collect();
        let error = help::command()
            .try_get_matches_from(&words)
            .and_then(|matches| Cli::from_arg_matches(&matches))
            .unwrap_err();
        let message = message(&error, &words);
        (message.text, message.next)
    }

    #[test]
    fn words_that_are_no_command_are_told_what_to_write_instead() {
        let cases: [(&[&str], &str, &str); 10] = [
            (
                &["frobnicate"],
                "there is no command \"frobnicate\"",
                "See `wyng-ctl --help`.",
            ),
            (
                &["bakcup"],
                "there is no command \"bakcup\"",
                "A similar command exists: 'backup'.",
            ),
            (
                &["key", "lst"],
                "there is no command \"lst\"",
                "A similar command exists: 'list'.",
            ),
            (
                &["--standalone"],
                "the command is missing",
                "See `wyng-ctl --help`.",
            ),
            (
                &["archive", "create"],
                "missing: <NAME>",
                "Write wyng-ctl archive create <NAME>.",
            ),
            (
                &["restore", "home"],
                "missing: --to <PATH>",
                "Write wyng-ctl restore [OPTIONS] [ARCHIVE] VOLUME --to PATH; `wyng-ctl restore --help` shows the other forms.",
            ),
            (
                &["list", "--bogus"],
                "unexpected argument '--bogus' found",
                "See `wyng-ctl list --help`.",
            ),
            (
                &["verify", "--budget", "0"],
                "invalid value '0' for '--budget <SIZE>': a budget of 0 reads nothing",
                "Correct the value; `wyng-ctl verify --help` describes it.",
            ),
            (
                &["verify", "home", "--deeep"],
                "unexpected argument '--deeep' found",
                "A similar argument exists: '--deep'.",
            ),
            (
                &["completions", "powershell"],
                "invalid value 'powershell' for '<SHELL>' [possible values: bash, zsh, fish]",
                "Correct the value; `wyng-ctl completions --help` describes it.",
            ),
        ];
        for (words, text, next) in cases {
            assert_eq!(told(words), (text.to_owned(), next.to_owned()));
        }
    }
}
