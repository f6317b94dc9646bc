// SPDX-License-Identifier: GPL-3.0-or-later
//! The configuration as the command line meets it: found, read where a command asks it, and checked against the machine.

use std::io;
use std::path::{Path, PathBuf};

use wyng_config::{Config, ConfigError, DEFAULT_PATH};
use wyng_control::ExitStatus;

use crate::cli::Options;
use crate::report::{Message, Report};
use crate::source;

/// Where it is.
pub(crate) fn path(options: &Options) -> &Path {
    options.config.as_deref().unwrap_or(Path::new(DEFAULT_PATH))
}

/// Reads it. Only one that was named must be there; the usual one may also be for others' eyes.
pub(crate) fn read(options: &Options) -> Result<Config, Message> {
    let read = match &options.config {
        Some(path) => Config::read(path),
        None => match Config::read_if_there(Path::new(DEFAULT_PATH)) {
            Err(ConfigError::Unreadable { error, .. }) if error.kind() == io::ErrorKind::PermissionDenied => Ok(Config::default()),
            read => read,
        },
    };
    read.map_err(|error| Message::of_config(&error))
}

/// `config check`: is all there that the file names? Each volume that is not is told.
pub(crate) fn check(options: &Options, report: &mut Report) -> ExitStatus {
    let config = match Config::read(path(options)) {
        Ok(config) => config,
        Err(error) => return report.fail(Message::of_config(&error)),
    };
    let missing: Vec<(&String, &PathBuf, i32)> =
        config.volumes.iter().filter_map(|(name, path)| Some((name, path, source::open(path).err()?))).collect();
    let exit = if missing.is_empty() { ExitStatus::Done } else { ExitStatus::Partial };
    for (name, path, errno) in missing {
        report.fail(Message::of_missing_volume(name, path, errno));
    }
    report.take_config(config);
    exit
}
