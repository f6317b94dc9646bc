// SPDX-License-Identifier: GPL-3.0-or-later
//! What a command has to do with dom0's own files before and after the daemon's part: collecting
//! them for a backup, and writing them into a folder after a restore.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use wyng_config::Config;
use wyng_control::{Command, ExitStatus, ToClient, ToDaemon, Warning};

use crate::cli::{BackupArgs, Cli, RestoreArgs, Verb};
use crate::client::{Reach, state_dir};
use crate::defaults;
use crate::dom0::{self, NotPacked, NotUnpacked, Wish};
use crate::message::Message;
use crate::report::Report;

/// Where the collected files are, without a name, for a command to the running daemon.
const SCRATCH: &str = "/var/tmp";

/// Collects dom0's files, if the command is a backup of them. What fails is reported, and everything
/// else of the command goes on: it ends here only if there is nothing else.
pub(crate) fn collect(
    cli: &Cli,
    config: &Config,
    report: &mut Report,
) -> Result<Option<OwnedFd>, ExitStatus> {
    let Verb::Backup(backup) = &cli.verb else {
        return Ok(None);
    };
    if !backup.dom0 {
        return Ok(None);
    }
    match pack(cli, backup, config) {
        Ok(packed) => {
            report.take_dom0(&packed);
            Ok(Some(packed.file))
        }
        Err(message) => {
            let exit = report.fail(message);
            match backup.has_others() {
                true => Ok(None),
                false => Err(exit),
            }
        }
    }
}

fn pack(cli: &Cli, backup: &BackupArgs, config: &Config) -> Result<dom0::Packed, Message> {
    if !cli.options.standalone && !rustix::process::geteuid().is_root() {
        return Err(Message::of_dom0_needs_root());
    }
    let own_state = state_dir(&cli.options);
    let scratch = match cli.options.standalone {
        true => own_state.as_path(),
        false => Path::new(SCRATCH),
    };
    let named = [&cli.options.passphrase_file, &cli.options.state_dir];
    let mut never: Vec<PathBuf> = named.into_iter().flatten().cloned().collect();
    never.push(own_state.clone());
    let wish = Wish {
        top: &backup.dom0_root,
        paths: &backup.dom0_paths,
        never: &never,
        scratch,
        chunk_bytes: chunk_bytes(cli).unwrap_or(dom0::CHUNK_BYTES),
    };
    dom0::pack(&wish, config).map_err(|why| match why {
        NotPacked::Unreadable(error) => Message::of_unreadable_dom0(wish.top, &error),
        NotPacked::Unwritable(error) => Message::of_unwritable(scratch, &error),
        NotPacked::TooLarge {
            bytes,
            folder,
            folder_bytes,
            max_bytes,
        } => Message::of_large_dom0(bytes, &folder, folder_bytes, max_bytes),
    })
}

/// The chunk size of the archive, as the daemon reports it.
fn chunk_bytes(cli: &Cli) -> Option<u64> {
    let command = Command::ArchiveShow {
        archive: cli.archive()?.to_owned(),
    };
    let reach = Reach::of(cli, &ToDaemon::Start(command.clone()));
    let mut found = None;
    let asked = defaults::ask(&reach, command, |event| {
        if let ToClient::Archive(archive) = event {
            found = Some(u64::from(archive.chunk_size_bytes));
        }
    });
    asked.ok().and(found)
}

/// Whether a warning ends the command: dom0's files of an archive that nothing proves are restored
/// only where a person accepts that.
pub(crate) fn is_refused(cli: &Cli, event: &ToClient) -> bool {
    let accepts = match &cli.verb {
        Verb::Restore(restore) => !restore.dom0 || restore.qubes.unproven,
        _ => true,
    };
    !accepts && matches!(event, ToClient::Warned(Warning::Unproven))
}

/// Writes restored files into the folder that the command names.
pub(crate) fn put_back(cli: &Cli, archive: Option<OwnedFd>, report: &mut Report) {
    let Verb::Restore(RestoreArgs {
        dom0: true,
        dry_run: false,
        to: Some(to),
        dom0_root,
        ..
    }) = &cli.verb
    else {
        return;
    };
    let Some(archive) = archive else { return };
    match dom0::unpack(archive, to, dom0_root) {
        Ok(unpacked) => report.take_dom0_back(to, &unpacked),
        Err(why) => {
            report.fail(match why {
                NotUnpacked::Foreign(why) => Message::of_foreign_dom0(&why),
                NotUnpacked::Unwritable(error) => Message::of_unwritable(to, &error),
            });
        }
    }
}
