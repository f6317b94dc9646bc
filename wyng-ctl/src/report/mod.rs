// SPDX-License-Identifier: GPL-3.0-or-later
//! The report of a command: for users as results arrive, or as one JSON object at the end.

mod advice;
mod dom0;
mod found;
mod human;
mod json;
mod metrics;
mod pools;
mod pruned;
mod restored;
mod rows;
mod sheet;
mod space;
mod table;
mod told;
mod unparsed;

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use serde_json::Value;
use wyng_config::{Config, Monitor};
use wyng_control::{ExitStatus, Failure, RecoverySheet, ToClient, Warning};
use zeroize::Zeroizing;

use crate::cli::{self, Cli, Kind, Verb};
use crate::client;
use crate::clock::now;
use crate::credentials::NoCredentials;
use crate::dom0::{Packed, Unpacked};
use crate::history::write_picture;
use crate::message::Message;
use crate::output::Output;
use crate::overdue::Overdue;
use crate::passphrase::NoPassphrase;
use crate::plain::plain;
use crate::quantity::session_name;
use crate::replace::replace;
use crate::thin::Thin;
use advice::Advice;
use dom0::Dom0Row;
use found::Found;
use human::Human;
pub(crate) use pruned::question as removal_question;
pub(crate) use rows::SnapshotLine;
use told::Told;

/// The drawings of a recovery sheet besides its text.
struct Drawing {
    qr: bool,
    svg: Option<PathBuf>,
}

impl Drawing {
    fn of(cli: &Cli) -> Self {
        match &cli.verb {
            Verb::RecoverySheet { qr, svg, .. } => Self {
                qr: *qr,
                svg: svg.clone(),
            },
            _ => Self {
                qr: false,
                svg: None,
            },
        }
    }

    fn draw(&self, sheet: &RecoverySheet, output: Option<&mut Output>) -> Result<(), Message> {
        if let (true, Some(output)) = (self.qr, output)
            && let Ok(code) = sheet::in_terminal(sheet)
        {
            output.line(&code);
        }
        let Some(path) = &self.svg else { return Ok(()) };
        let image = sheet::as_svg(sheet).map_err(|error| Message::of_unwritable(path, &error))?;
        std::fs::write(path, image).map_err(|error| Message::of_unwritable(path, &error))
    }
}

/// Collects and shows the results and errors of one command.
pub(crate) struct Report {
    json: bool,
    kind: Kind,
    archive: Option<String>,
    /// The state folder of a private daemon.
    state_dir: Option<PathBuf>,
    found: Found,
    messages: Vec<Told>,
    human: Human,
    advice: Advice,
    output: Output,
    warnings: Vec<Warning>,
    /// The results include a new recovery key.
    has_key: bool,
    /// The drawings of a recovery sheet besides its text.
    drawing: Drawing,
    /// The next `no-passphrase` or `no-credentials` of the daemon was already reported, with its
    /// cause.
    secret_told: bool,
    /// The archive that was last shown.
    archive_shown: Option<String>,
}

impl Report {
    pub(crate) fn new(cli: &Cli) -> Self {
        Self {
            json: cli.options.json,
            kind: cli.kind(),
            archive: cli.archive().map(str::to_owned),
            state_dir: cli
                .options
                .standalone
                .then(|| client::state_dir(&cli.options)),
            found: Found::of(cli),
            messages: Vec::new(),
            human: Human::new(cli),
            advice: Advice::of(cli),
            output: Output::new(cli.stdout_is_target()),
            warnings: Vec::new(),
            has_key: false,
            drawing: Drawing::of(cli),
            secret_told: false,
            archive_shown: None,
        }
    }

    /// Takes one result. A user sees it as soon as it is complete.
    pub(crate) fn take(&mut self, event: ToClient) {
        if let ToClient::Failed(failure) = &event {
            let told = std::mem::take(&mut self.secret_told)
                && matches!(failure, Failure::NoPassphrase | Failure::NoCredentials);
            if !told {
                self.fail(self.named(failure));
            }
            return;
        }
        if let ToClient::Warned(warning) = event {
            return self.warn(warning);
        }
        if let ToClient::Archive(archive) = &event {
            self.archive_shown = Some(archive.name.clone());
        }
        if let ToClient::RecoverySheet(sheet) = &event
            && let Err(message) = self
                .drawing
                .draw(sheet, (!self.json).then_some(&mut self.output))
        {
            self.fail(message);
        }
        self.found.take(&event);
        if !self.json {
            self.human.take(&event, &self.found, &mut self.output);
        }
    }

    /// The lines of a plan that were shown.
    pub(crate) fn plan(&self) -> String {
        self.found.plan().join("\n")
    }

    /// Shows a plan to a person who reads nothing else before a question.
    pub(crate) fn show_plan_before_question(&self) {
        if self.json {
            for line in self.found.plan() {
                let _ = writeln!(std::io::stderr(), "{}", plain(line));
            }
        }
    }

    /// Forgets the plan of a command that begins anew.
    pub(crate) fn begin_anew(&mut self) {
        self.found.forget_plan();
    }

    /// Takes something overdue: an error of the command, and a warning of its archive.
    pub(crate) fn fail_overdue(&mut self, overdue: &Overdue) {
        if let Some(archive) = &overdue.archive {
            let told = self.advice.apply(overdue.message.clone(), Some(archive));
            self.found.take_overdue(archive, &told);
        }
        self.fail(overdue.message.clone());
    }

    /// The message of a failure. Damage gets the name of its archive: that of the command, or else
    /// the one last shown. A file of a private daemon's state gets its full path.
    fn named(&self, failure: &Failure) -> Message {
        let mut failure = failure.clone();
        if let (Failure::StateIo { file, .. } | Failure::StateDamaged { file, .. }, Some(folder)) =
            (&mut failure, &self.state_dir)
        {
            if !file.is_empty() {
                *file = folder.join(&*file).display().to_string();
            } else {
                *file = folder.display().to_string();
            }
        }
        let message = Message::of_failure(&failure);
        match self
            .archive
            .as_ref()
            .or(self.archive_shown.as_ref())
            .filter(|_| message.exit == ExitStatus::Damage)
        {
            Some(archive) => Message {
                text: format!("archive {archive:?}: {}", message.text),
                ..message
            },
            None => message,
        }
    }

    /// Takes what the daemon reported of thin pools, and warns where a pool wants attention.
    pub(crate) fn take_pools(&mut self, thin: &Thin) {
        if !self.json {
            self.human.pools(thin, &mut self.output);
        }
        self.found.take_pools(thin);
        for warning in pools::warnings(thin) {
            self.warn(warning);
        }
    }

    /// Takes what was collected of dom0's files.
    pub(crate) fn take_dom0(&mut self, packed: &Packed) {
        let row = Dom0Row::of_backup(packed);
        if !self.json {
            self.human.dom0(&row, &mut self.output);
        }
        self.found.take_dom0(row);
        if let Some(message) = Message::of_incomplete_dom0(&packed.left_out) {
            self.fail(message);
        }
    }

    /// Takes what was restored of dom0's files into a folder.
    pub(crate) fn take_dom0_back(&mut self, folder: &Path, unpacked: &Unpacked) {
        let row = Dom0Row::of_restore(folder, unpacked);
        if !self.json {
            self.human.dom0(&row, &mut self.output);
        }
        self.found.take_dom0(row);
        if let Some(message) = Message::of_incomplete_dom0(&unpacked.left_out) {
            self.fail(message);
        }
    }

    /// Takes base snapshots.
    pub(crate) fn take_snapshots(&mut self, lines: Vec<SnapshotLine>) {
        if !self.json {
            self.human.snapshots(&lines, &mut self.output);
        }
        self.found.take_snapshots(lines);
    }

    /// Takes the configuration that `config check` read, and the exit status of the check.
    pub(crate) fn take_config(&mut self, config: Config, exit: ExitStatus) {
        if !self.json {
            self.human.config(&config, &mut self.output);
            if exit == ExitStatus::Done {
                self.human
                    .say("the configuration is correct", &mut self.output);
            }
        }
        self.found.take_config(&config);
    }

    /// Takes the script of a shell, which is printed unchanged without `--json`.
    pub(crate) fn take_script(&mut self, script: String) {
        if !self.json {
            self.output.bytes(script.as_bytes());
        }
        self.found.take_script(script);
    }

    /// Shows a new recovery key, for the only time.
    pub(crate) fn show_secret(&mut self, key: Zeroizing<String>) {
        if !self.json {
            self.output.line(key.as_str());
            self.output.line("This recovery key opens the archive like a passphrase. Write it down now: it is not shown again.");
        }
        self.has_key = true;
        self.found.take_key(key);
    }

    /// Reports an error, and returns its exit status.
    pub(crate) fn fail(&mut self, message: Message) -> ExitStatus {
        let exit = message.exit;
        self.human.flush(&mut self.output);
        let told = self.advice.apply(message, self.archive_shown.as_deref());
        tell(&told);
        self.messages.push(told);
        exit
    }

    /// Reports errors, and returns the exit status of the first.
    pub(crate) fn fail_all(&mut self, messages: Vec<Message>) -> ExitStatus {
        let exits: Vec<ExitStatus> = messages
            .into_iter()
            .map(|message| self.fail(message))
            .collect();
        exits.first().copied().unwrap_or(ExitStatus::Failed)
    }

    /// Reports the file that an interrupted restore leaves for the next one.
    pub(crate) fn note_partial(&self, path: &Path) {
        let path = plain(&path.to_string_lossy());
        let _ = writeln!(
            std::io::stderr(),
            "wyng-ctl: the restored part is kept in {path}: the same command continues with it"
        );
    }

    /// Reports a warning, even with `--quiet`.
    fn warn(&mut self, warning: Warning) {
        self.human.flush(&mut self.output);
        let (text, next) = (
            plain(&warning.to_string()),
            plain(
                &self
                    .advice
                    .paste(warning.next(), self.archive_shown.as_deref(), None),
            ),
        );
        let _ = write!(
            std::io::stderr(),
            "wyng-ctl: WARNING: {text}\n  next: {next}\n"
        );
        self.warnings.push(warning);
    }

    /// Reports why there is no passphrase. The daemon will only report that there is none.
    pub(crate) fn explain_no_passphrase(&mut self, why: &NoPassphrase) {
        let mut message = Message::of_failure(&Failure::NoPassphrase);
        message.text = why.to_string();
        if let Some(next) = why.next() {
            message.next = next;
        }
        self.fail(message);
        self.secret_told = true;
    }

    /// Reports why there are no credentials. The daemon will only report that there are none.
    pub(crate) fn explain_no_credentials(&mut self, why: &NoCredentials) {
        let mut message = Message::of_failure(&Failure::NoCredentials);
        message.text = why.to_string();
        self.fail(message);
        self.secret_told = true;
    }

    /// The results so far as one JSON object.
    fn object(&self, exit: ExitStatus) -> String {
        json::object(&json::Parts {
            kind: self.kind,
            exit,
            archive: self.archive.as_deref(),
            errors: &self.messages,
            warnings: &self.warnings,
            found: &self.found,
        })
    }

    /// The exit status so far. An error after the end of the daemon's part counts too.
    fn settled(&self, exit: ExitStatus) -> ExitStatus {
        self.messages
            .first()
            .filter(|_| exit == ExitStatus::Done)
            .map_or(exit, |message| message.exit)
    }

    /// Writes the results of `status` for monitoring systems, failures included. A file that cannot
    /// be written is an error of the command, and the exit status if nothing else failed.
    pub(crate) fn export(&mut self, monitor: &Monitor, exit: ExitStatus) -> ExitStatus {
        let exit = self.settled(exit);
        let object = self.object(exit);
        let mut object: Value = serde_json::from_str(&object).unwrap_or_default();
        let metrics = metrics::text(&object);
        if let Value::Object(fields) = &mut object {
            fields.insert("written".into(), session_name(now()).into());
        }
        let status = format!("{object}\n");
        let files = [(&monitor.status_file, status), (&monitor.textfile, metrics)];
        for (path, text) in files {
            if let Some(path) = path
                && let Err(error) = replace(path, text.as_bytes())
            {
                self.fail(Message::of_unwritable(path, &error));
            }
        }
        self.settled(exit)
    }

    /// Writes the picture of `history`, and returns the exit status.
    pub(crate) fn draw_history(&mut self, path: &Path) -> ExitStatus {
        let archive = self.archive.as_deref().unwrap_or_default();
        match write_picture(path, archive, self.found.history()) {
            Ok(()) => {
                if !self.json {
                    let line = format!("picture written: {}", plain(&path.to_string_lossy()));
                    self.human.flush(&mut self.output);
                    self.human.say(&line, &mut self.output);
                }
                ExitStatus::Done
            }
            Err(error) => self.fail(Message::of_unwritable(path, &error)),
        }
    }

    /// The final exit status, and the JSON object, which somebody else shows.
    pub(crate) fn finish_as_object(&self, exit: ExitStatus) -> (ExitStatus, String) {
        let exit = self.settled(exit);
        (exit, self.object(exit))
    }

    /// Shows the summary, or the JSON object with `--json`, and returns the final exit status.
    pub(crate) fn finish(&mut self, exit: ExitStatus) -> ExitStatus {
        let exit = self.settled(exit);
        if self.json {
            let object = self.object(exit);
            self.output.line(&object);
        } else {
            self.human.finish(
                exit,
                self.archive.as_deref(),
                &self.found,
                &self.advice,
                &mut self.output,
            );
        }
        match self.output.failure(self.has_key) {
            None => exit,
            Some(error) => {
                let message = if self.has_key {
                    Message::of_unshown_key(&error)
                } else {
                    Message::of_output(&error)
                };
                let failed = self.fail(message);
                if exit == ExitStatus::Done {
                    failed
                } else {
                    exit
                }
            }
        }
    }
}

/// Shows the help, the version, or the error of an invalid command line. Returns the exit status.
pub(crate) fn show_unparsed(error: &clap::Error, words: &[OsString], json: bool) -> ExitStatus {
    let asked_for = !error.use_stderr();
    if !asked_for && error.kind() != ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let told = Told::of_no_command(unparsed::message(error, words));
        tell(&told);
        if json {
            Output::new(cli::is_stdout_target(words)).line(&json::of_unparsed(&told));
        }
        return ExitStatus::Usage;
    }
    match error.print().and_then(|()| std::io::stdout().flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            tell(&Told::of_no_command(Message::of_output(&error)));
            ExitStatus::Failed
        }
        _ if asked_for => ExitStatus::Done,
        _ => ExitStatus::Usage,
    }
}

/// Prints an error to standard error.
fn tell(told: &Told) {
    let (text, safe, next) = (plain(&told.text), plain(&told.safe), plain(&told.next));
    let _ = write!(
        std::io::stderr(),
        "wyng-ctl: {text}\n  safe: {safe}\n  next: {next}\n"
    );
}

#[cfg(test)]
mod tests;
