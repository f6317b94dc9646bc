// SPDX-License-Identifier: GPL-3.0-or-later
//! Where a restore and a rehearsal write to, as the command line says it. Nothing is opened.

use std::path::PathBuf;

use wyng_config::Config;

use crate::cli::{Options, RehearseArgs, RestoreArgs};
use crate::client;
use crate::message::Message;
use crate::target::{Destination, Existing, Places, Targets, stdout_is_terminal};

/// The targets of a restore.
pub(crate) fn targets_of(restore: &RestoreArgs, config: &Config) -> Result<Targets, Message> {
    if restore.qubes.are_named() {
        return Ok(Targets::new(Destination::Stdout, Existing::Stays));
    }
    let several = restore.all || restore.volumes.len() > 1;
    let destination = match &restore.to {
        Some(_) if restore.in_place && several => {
            return Err(Message::usage(
                "several volumes are changed in place, each at the path from which it was backed up",
                "Omit --to.",
            ));
        }
        named if restore.in_place => Destination::InPlace(Places {
            named: named.clone(),
            configured: config.volumes.clone(),
        }),
        None => {
            return Err(Message::usage(
                "the target is missing",
                "Add --to PATH, or --in-place.",
            ));
        }
        Some(path) if path.as_os_str() == "-" && several => {
            return Err(Message::usage(
                "standard output takes only one volume",
                "Name a folder for several volumes: --to DIR.",
            ));
        }
        Some(path) if path.as_os_str() == "-" && stdout_is_terminal() && !restore.dry_run => {
            return Err(Message::usage(
                "standard output is a terminal, to which no volume is written",
                "Use a pipe: … --to - | COMMAND, or name a file.",
            ));
        }
        Some(path) if path.as_os_str() == "-" => Destination::Stdout,
        Some(path) if several => Destination::Folder(path.clone()),
        Some(path) => Destination::File(path.clone()),
    };
    let existing = if restore.overwrite {
        Existing::IsReplaced
    } else {
        Existing::Stays
    };
    Ok(Targets::new(destination, existing))
}

/// Where a rehearsal restores to.
pub(crate) fn scratch_of(rehearse: &RehearseArgs, options: &Options) -> Destination {
    Destination::Scratch(match &rehearse.scratch {
        Some(folder) => folder.clone(),
        None if options.standalone => client::state_dir(options),
        None => PathBuf::from("/var/tmp"),
    })
}
