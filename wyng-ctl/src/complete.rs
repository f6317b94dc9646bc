// SPDX-License-Identifier: GPL-3.0-or-later
//! Completion of words in a shell: commands and options, and the archives, volumes and sessions
//! that the daemon knows. It asks the user nothing, starts no far end, and gives up after two
//! seconds.

use std::ffi::{OsStr, OsString};
use std::time::{Duration, Instant};

use clap::{Arg, Command, FromArgMatches};
use clap_complete::CompleteEnv;
use clap_complete::engine::{
    ArgValueCompleter, CompletionCandidate, PathCompleter, ValueCompleter,
};
use clap_complete::env::{Bash, EnvCompleter, Fish, Zsh};
use wyng_config::Config;
use wyng_control::{Command as Request, ToClient};

use crate::cli::{Options, Shell};
use crate::client::Reach;
use crate::clock::Clock;
use crate::defaults::{ask, named_archive};
use crate::help;
use crate::quantity::session_name;
use crate::settings;

/// Set by the shell's script for a run that only completes a word.
const VARIABLE: &str = "WYNG_COMPLETE";
/// Maximum time of a completion; within a longer time the user has typed the word.
const PATIENCE: Duration = Duration::from_secs(2);

/// Completes a word and ends the process, if the shell's script asks for it.
pub(crate) fn answer() {
    CompleteEnv::with_factory(|| completing(help::command(), ""))
        .var(VARIABLE)
        .bin("wyng-ctl")
        .complete();
}

/// The script that a shell reads once.
pub(crate) fn script(shell: Shell) -> String {
    let shell: &dyn EnvCompleter = match shell {
        Shell::Bash => &Bash,
        Shell::Zsh => &Zsh,
        Shell::Fish => &Fish,
    };
    let mut script = Vec::new();
    // Writing to memory cannot fail.
    let _ = shell.write_registration(VARIABLE, "wyng-ctl", "wyng-ctl", "wyng-ctl", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

/// The command line with a completer for each argument.
fn completing(command: Command, path: &str) -> Command {
    let ids: Vec<String> = command
        .get_arguments()
        .map(|arg| arg.get_id().to_string())
        .collect();
    let command = ids.into_iter().fold(command, |command, id| {
        let complete: Option<fn(Arg) -> Arg> = match (&*id, path) {
            ("archive", "restore" | "diff") => {
                Some(|arg| arg.add(ArgValueCompleter::new(archives_or_volumes)))
            }
            ("archive", _)
            | (
                "name",
                "archive show"
                | "archive forget"
                | "archive copy"
                | "archive take-over"
                | "archive acknowledge",
            ) => Some(|arg| arg.add(ArgValueCompleter::new(archives))),
            ("volume" | "volumes", _) => Some(|arg| arg.add(ArgValueCompleter::new(volumes))),
            ("session", _) => Some(|arg| arg.add(ArgValueCompleter::new(sessions))),
            ("with", _) => Some(|arg| arg.add(ArgValueCompleter::new(sessions_or_local))),
            ("sources", _) => Some(|arg| arg.add(ArgValueCompleter::new(sources))),
            ("profile", _) => Some(|arg| arg.add(ArgValueCompleter::new(profiles))),
            _ => None,
        };
        // An argument that is changed goes to the end, so all of them go there, in their order.
        command.mut_arg(id, complete.unwrap_or(|arg| arg))
    });
    command.mut_subcommands(|sub| {
        let below = help::joined(path, sub.get_name());
        completing(sub, &below)
    })
}

/// The other words of the command line.
struct Line {
    options: Options,
    archive: Option<String>,
    volume: Option<String>,
}

impl Line {
    fn read() -> Option<Self> {
        let words: Vec<OsString> = std::env::args_os()
            .skip_while(|word| word != "--")
            .skip(1)
            .collect();
        let matches = help::command()
            .ignore_errors(true)
            .try_get_matches_from(words)
            .ok()?;
        let options = Options::from_arg_matches(&matches).ok()?;
        let mut deepest = &matches;
        while let Some((_, below)) = deepest.subcommand() {
            deepest = below;
        }
        let text = |id: &str| deepest.try_get_one::<String>(id).ok().flatten().cloned();
        Some(Self {
            options,
            archive: text("archive"),
            volume: text("volume").or_else(|| text("volumes")),
        })
    }

    fn ask(&self, request: Request) -> Vec<ToClient> {
        let mut events = Vec::new();
        let reach = Reach {
            options: &self.options,
            may_make_state: false,
            only_looks: request.only_looks(),
            until: Some(Instant::now() + PATIENCE),
        };
        // The results before a failure are still used.
        let _ = ask(&reach, request, |event| events.push(event));
        events
    }

    fn archives(&self) -> Vec<String> {
        let name = |event| {
            if let ToClient::ArchiveName { name } = event {
                Some(name)
            } else {
                None
            }
        };
        self.ask(Request::ArchiveNames)
            .into_iter()
            .filter_map(name)
            .collect()
    }

    /// The named archive, or the default one.
    fn archive(&self) -> Option<String> {
        self.archive.clone().or_else(|| self.default_archive())
    }

    fn default_archive(&self) -> Option<String> {
        named_archive().or_else(|| {
            <[String; 1]>::try_from(self.archives())
                .ok()
                .map(|[only]| only)
        })
    }

    fn volumes_of(&self, archive: Option<String>) -> Vec<String> {
        let Some(archive) = archive else {
            return Vec::new();
        };
        let name = |event| {
            if let ToClient::Volume(volume) = event {
                Some(volume.name)
            } else {
                None
            }
        };
        self.ask(Request::List {
            archive,
            volume: None,
            session: None,
            sizes: false,
        })
        .into_iter()
        .filter_map(name)
        .collect()
    }

    fn config(&self) -> Config {
        Config::read(settings::path(&self.options)).unwrap_or_default()
    }
}

fn beginning(with: &OsStr, names: impl IntoIterator<Item = String>) -> Vec<CompletionCandidate> {
    let with = with.to_string_lossy();
    names
        .into_iter()
        .filter(|name| name.starts_with(&*with))
        .map(CompletionCandidate::new)
        .collect()
}

fn archives(current: &OsStr) -> Vec<CompletionCandidate> {
    beginning(
        current,
        Line::read().map(|line| line.archives()).unwrap_or_default(),
    )
}

/// If the archive may be left out, the first word may be a volume.
fn archives_or_volumes(current: &OsStr) -> Vec<CompletionCandidate> {
    let Some(line) = Line::read() else {
        return Vec::new();
    };
    let volumes = line.volumes_of(line.default_archive());
    beginning(current, line.archives().into_iter().chain(volumes))
}

fn volumes(current: &OsStr) -> Vec<CompletionCandidate> {
    beginning(
        current,
        Line::read()
            .map(|line| line.volumes_of(line.archive()))
            .unwrap_or_default(),
    )
}

fn sessions(current: &OsStr) -> Vec<CompletionCandidate> {
    let Some(line) = Line::read() else {
        return Vec::new();
    };
    let (archive, volume) = match (line.archive.clone(), line.volume.clone()) {
        // A single word is the volume where a volume is required.
        (Some(word), None) if line.volumes_of(line.default_archive()).contains(&word) => {
            (line.default_archive(), Some(word))
        }
        (archive, volume) => (archive.or_else(|| line.default_archive()), volume),
    };
    let Some(archive) = archive else {
        return Vec::new();
    };
    let events = line.ask(Request::List {
        archive,
        volume,
        session: None,
        sizes: false,
    });
    let mut times: Vec<i64> = events
        .into_iter()
        .filter_map(|event| {
            if let ToClient::Session(session) = event {
                Some(session.session)
            } else {
                None
            }
        })
        .collect();
    times.sort_unstable();
    times.dedup();
    let (clock, with) = (Clock::here(), current.to_string_lossy().into_owned());
    let newest_first = times.into_iter().rev().map(|time| {
        CompletionCandidate::new(session_name(time)).help(Some(
            format!("{}, {}", clock.local(time), clock.ago(time)).into(),
        ))
    });
    let fits = |candidate: &CompletionCandidate| {
        candidate.get_value().to_string_lossy().starts_with(&with)
    };
    newest_first
        .chain([CompletionCandidate::new("latest")])
        .filter(fits)
        .collect()
}

fn sessions_or_local(current: &OsStr) -> Vec<CompletionCandidate> {
    beginning(current, ["local".to_owned()])
        .into_iter()
        .chain(sessions(current))
        .collect()
}

fn sources(current: &OsStr) -> Vec<CompletionCandidate> {
    let known = Line::read()
        .map(|line| line.config().volumes.into_keys().collect::<Vec<_>>())
        .unwrap_or_default();
    beginning(current, known)
        .into_iter()
        .chain(PathCompleter::any().complete(current))
        .collect()
}

fn profiles(current: &OsStr) -> Vec<CompletionCandidate> {
    beginning(
        current,
        Line::read()
            .map(|line| line.config().profiles.into_keys().collect::<Vec<_>>())
            .unwrap_or_default(),
    )
}
