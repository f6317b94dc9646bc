// SPDX-License-Identifier: GPL-3.0-or-later
//! The commands that need no daemon.

use std::collections::HashMap;
use std::path::PathBuf;

use wyng_config::Config;
use wyng_control::{ExitStatus, NoSource};

use crate::cli::{Cli, ConfigVerb, Options, Verb};
use crate::message::Message;
use crate::report::Report;
use crate::{complete, manual, settings};

/// Runs the command if it is one of them.
pub(crate) fn run(cli: &Cli, report: &mut Report) -> Option<ExitStatus> {
    match &cli.verb {
        Verb::Config(ConfigVerb::Check) => Some(check(&cli.options, report)),
        Verb::Completions { shell } => {
            report.take_script(complete::script(*shell));
            Some(ExitStatus::Done)
        }
        Verb::Man { folder } => Some(match manual::write(folder) {
            Ok(()) => ExitStatus::Done,
            Err((path, error)) => report.fail(Message::of_unwritable(&path, &error)),
        }),
        _ => None,
    }
}

/// `config check`: reports each mistake, and each volume that does not exist or cannot be backed
/// up.
fn check(options: &Options, report: &mut Report) -> ExitStatus {
    let config = match Config::read(settings::path(options)) {
        Ok(config) => config,
        Err(error) => return report.fail_all(settings::messages(&error)),
    };
    let mut places: HashMap<PathBuf, &str> = HashMap::new();
    let mut wrong = Vec::new();
    for (name, path) in &config.volumes {
        if let Err(why) = wyng_origin::open(path) {
            wrong.push(Message::of_unusable_volume(name, path, &no_source(why)));
        } else if let Some(other) = std::fs::canonicalize(path)
            .ok()
            .and_then(|place| places.insert(place, name))
        {
            wrong.push(Message::of_unusable_volume(
                name,
                path,
                &format!("is the same file or device as volume {other:?}"),
            ));
        }
    }
    let exit = if wrong.is_empty() {
        ExitStatus::Done
    } else {
        report.fail_all(wrong)
    };
    report.take_config(config.clone(), exit);
    exit
}

/// Why a path cannot be backed up: the predicate of a sentence whose subject is the path.
fn no_source(why: NoSource) -> String {
    match why {
        NoSource::Errno(errno) => format!(
            "cannot be opened: {}",
            std::io::Error::from_raw_os_error(errno)
        ),
        NoSource::Link => "lies behind a link that does not belong to root".into(),
        NoSource::QubeRuns => "does not exist while its qube runs".into(),
        NoSource::Kind(kind) => format!("is {}, not a regular file or a block device", kind.name()),
        NoSource::OfQube(fault) => format!("cannot be read: {fault}"),
    }
}
