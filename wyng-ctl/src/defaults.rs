// SPDX-License-Identifier: GPL-3.0-or-later
//! The default archive: the one named by the environment, or the only one that is known.

use wyng_control::{CONTROL_VERSION, Command, ExitStatus, ToClient, ToDaemon};

use crate::cli::Cli;
use crate::client::{Client, ClientError, Reach};
use crate::message::Message;

/// The variable that names the default archive.
const ARCHIVE_VARIABLE: &str = "WYNG_ARCHIVE";

/// Fills in the archive of a command that requires one.
pub(crate) fn default_archive(cli: &mut Cli) -> Result<(), Message> {
    if cli.archive_place().is_none_or(|archive| archive.is_some()) {
        return Ok(());
    }
    let archive = match named_archive() {
        Some(name) => name,
        None => match <[String; 1]>::try_from(known_archives(cli)?) {
            Ok([only]) => only,
            Err(known) => return Err(Message::of_needed_archive(&known)),
        },
    };
    if let Some(place) = cli.archive_place() {
        *place = Some(archive);
    }
    if cli.names_only_its_archive() {
        Err(Message::of_needed_sources())
    } else {
        Ok(())
    }
}

/// The archive that the environment names.
pub(crate) fn named_archive() -> Option<String> {
    std::env::var(ARCHIVE_VARIABLE)
        .ok()
        .filter(|name| !name.is_empty())
}

/// The names of all archives that the daemon knows.
fn known_archives(cli: &Cli) -> Result<Vec<String>, Message> {
    let (mut names, mut failed) = (Vec::new(), None);
    let asked = ask(
        &Reach::of(cli, &ToDaemon::Start(Command::ArchiveNames)),
        Command::ArchiveNames,
        |event| match event {
            ToClient::ArchiveName { name } => names.push(name),
            ToClient::Failed(failure) => failed = Some(Message::of_failure(&failure)),
            _ => {}
        },
    );
    asked.map_err(|error| error.message())?;
    failed.map_or(Ok(names), Err)
}

/// Runs a command that asks no questions, and hands each result to `take`.
pub(crate) fn ask(
    reach: &Reach<'_>,
    command: Command,
    mut take: impl FnMut(ToClient),
) -> Result<ExitStatus, ClientError> {
    let client = Client::connect(reach)?;
    client.send(
        &ToDaemon::Hello {
            version: CONTROL_VERSION,
        },
        &[],
    )?;
    client.send(&ToDaemon::Start(command), &[])?;
    let exit = loop {
        match client.receive()? {
            ToClient::Done { exit } => break exit,
            event => take(event),
        }
    };
    client.end();
    Ok(exit)
}
