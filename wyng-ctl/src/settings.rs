// SPDX-License-Identifier: GPL-3.0-or-later
//! The configuration file: its path, and reading it for commands that use it.

use std::io;
use std::path::Path;

use wyng_config::{Config, ConfigError, DEFAULT_PATH};

use crate::cli::Options;
use crate::message::Message;

/// The path of the configuration.
pub(crate) fn path(options: &Options) -> &Path {
    options.config.as_deref().unwrap_or(Path::new(DEFAULT_PATH))
}

/// The path of a configuration without a mistake. A wrong configuration stops only the commands
/// that use it.
pub(crate) fn usable(options: &Options) -> Option<&Path> {
    let path = path(options);
    Config::read(path).is_ok().then_some(path)
}

/// Reads the configuration. A named file must exist and be readable; the default one may be
/// missing, or readable only for others. The error lists every mistake.
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

/// The errors of a configuration that cannot be used.
pub(crate) fn messages(error: &ConfigError) -> Vec<Message> {
    match error {
        ConfigError::Unreadable { path, error } => vec![Message::of_unreadable_config(path, error)],
        ConfigError::Wrong { path, mistakes } => mistakes
            .iter()
            .map(|mistake| Message::of_mistake(path, mistake))
            .collect(),
    }
}
