// SPDX-License-Identifier: GPL-3.0-or-later
//! Where a restore and a rehearsal write to, as the command line says it. Nothing is opened.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use wyng_config::Config;
use wyng_control::ThinPlace;

use crate::cli::{Options, RehearseArgs, RestoreArgs};
use crate::client;
use crate::message::Message;
use crate::pool;
use crate::target::{Destination, Existing, Places, Targets, stdout_is_terminal};

/// The targets of a restore.
pub(crate) fn targets_of(restore: &RestoreArgs, config: &Config) -> Result<Targets, Message> {
    if restore.qubes.are_named() {
        return Ok(Targets::new(Destination::Stdout, Existing::Stays));
    }
    if restore.dom0 {
        return new_folder(restore);
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
            named: named.as_deref().map(pool::path_of).transpose()?,
            configured: config.volumes.clone(),
        }),
        None => {
            return Err(Message::usage(
                "the target is missing",
                "Add --to PATH, or --in-place.",
            ));
        }
        Some(path) if restore.is_to_pool() => {
            Destination::Thin(thin_place(path, several || restore.overwrite)?)
        }
        Some(path) if path.as_os_str().as_bytes().starts_with(b"zfs:") => {
            return Err(Message::usage(
                "a ZFS volume is not made by a restore, but changed in place",
                "Make it with `zfs create -V`, and add --in-place.",
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

/// The target of dom0's files: a file without a name beside the new folder, into which they are
/// written afterwards.
fn new_folder(restore: &RestoreArgs) -> Result<Targets, Message> {
    let to = restore.to.as_deref().unwrap_or(Path::new(""));
    if rustix::fs::lstat(to).is_ok() || to.as_os_str().is_empty() {
        return Err(Message::usage(
            format!("{} is there already", to.display()),
            "Name a new folder for dom0's files: --to DIR.",
        ));
    }
    let beside = to.parent().filter(|beside| !beside.as_os_str().is_empty());
    let beside = beside.unwrap_or(Path::new(".")).to_owned();
    Ok(Targets::new(Destination::Kept(beside), Existing::Stays))
}

/// The place in a thin pool that `--to` names.
fn thin_place(path: &Path, several_or_overwrite: bool) -> Result<ThinPlace, Message> {
    if several_or_overwrite {
        return Err(Message::usage(
            "a new volume in a thin pool takes one session, and replaces nothing",
            "Name one volume, and omit --overwrite.",
        ));
    }
    let text = path.to_str().and_then(|text| text.strip_prefix("thin:"));
    text.and_then(ThinPlace::parse).ok_or_else(|| {
        Message::usage(
            "the new volume in a thin pool cannot have this name: names of vm-*, wyng-* and those that LVM keeps for itself are refused",
            "Name it as --to thin:GROUP/POOL/NAME.",
        )
    })
}

/// Where a rehearsal restores to.
pub(crate) fn scratch_of(rehearse: &RehearseArgs, options: &Options) -> Destination {
    Destination::Scratch(match &rehearse.scratch {
        Some(folder) => folder.clone(),
        None if options.standalone => client::state_dir(options),
        None => PathBuf::from("/var/tmp"),
    })
}
