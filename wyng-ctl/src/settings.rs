// SPDX-License-Identifier: GPL-3.0-or-later
//! The configuration as the command line meets it: found, and read where a command asks it.

use std::io;
use std::path::Path;

use wyng_config::{Config, ConfigError, DEFAULT_PATH};

use crate::cli::Options;
use crate::message::Message;

/// Where it is.
pub(crate) fn path(options: &Options) -> &Path {
    options.config.as_deref().unwrap_or(Path::new(DEFAULT_PATH))
}

/// Where one is that can be read and has no mistake. One that is wrong stops what asks it, and
/// nothing else.
pub(crate) fn usable(options: &Options) -> Option<&Path> {
    let path = path(options);
    Config::read(path).is_ok().then_some(path)
}

/// Reads it. Only one that was named must be there; the usual one may also be for others' eyes.
/// Every mistake is told.
pub(crate) fn read(options: &Options) -> Result<Config, Vec<Message>> {
    let read = match &options.config {
        Some(path) => Config::read(path),
        None => match Config::read_if_there(Path::new(DEFAULT_PATH)) {
            Err(ConfigError::Unreadable { error, .. })
                if error.kind() == io::ErrorKind::PermissionDenied =>
            {
                Ok(Config::default())
            }
            read => read,
        },
    };
    read.map_err(|error| messages(&error))
}

/// What is told of a configuration that cannot be used.
pub(crate) fn messages(error: &ConfigError) -> Vec<Message> {
    match error {
        ConfigError::Unreadable { path, error } => vec![Message::of_unreadable_config(path, error)],
        ConfigError::Wrong { path, mistakes } => mistakes
            .iter()
            .map(|mistake| Message::of_mistake(path, mistake))
            .collect(),
    }
}
