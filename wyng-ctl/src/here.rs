// SPDX-License-Identifier: GPL-3.0-or-later
//! The commands that are answered here, without a daemon.

use std::io::Write;
use std::path::Path;

use clap::CommandFactory;
use wyng_config::Config;
use wyng_control::ExitStatus;

use crate::cli::{Cli, ConfigVerb, Options, Shell, Verb};
use crate::report::{Message, Report};
use crate::settings;

/// Runs the command if it is one of them.
pub(crate) fn run(cli: &Cli, report: &mut Report) -> Option<ExitStatus> {
    match &cli.verb {
        Verb::Config(ConfigVerb::Check) => Some(check(&cli.options, report)),
        Verb::Completions { shell } => Some(completions(*shell)),
        Verb::Man { folder } => {
            Some(manual(folder).unwrap_or_else(|error| {
                report.fail(Message::usage(&format!("the pages cannot be written to {}: {error}", folder.display())))
            }))
        }
        _ => None,
    }
}

/// Is all there that the configuration names? Each volume that is not is told.
fn check(options: &Options, report: &mut Report) -> ExitStatus {
    let config = match Config::read(settings::path(options)) {
        Ok(config) => config,
        Err(error) => return report.fail(Message::of_config(&error)),
    };
    let mut exit = ExitStatus::Done;
    for (name, path) in &config.volumes {
        if let Err(why) = wyng_origin::open(path) {
            exit = report.fail(Message::of_unusable_volume(name, path, why));
        }
    }
    report.take_config(config);
    exit
}

fn completions(shell: Shell) -> ExitStatus {
    let shell = match shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut <Cli as CommandFactory>::command(), "wyng-ctl", &mut text);
    let _ = std::io::stdout().write_all(&text); // a reader that went away is no failure
    ExitStatus::Done
}

/// `wyng-ctl.1`, and a page for each command.
fn manual(folder: &Path) -> std::io::Result<ExitStatus> {
    std::fs::create_dir_all(folder)?;
    clap_mangen::generate_to(<Cli as CommandFactory>::command(), folder)?;
    Ok(ExitStatus::Done)
}
