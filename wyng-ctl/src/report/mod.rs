// SPDX-License-Identifier: GPL-3.0-or-later
//! What a command found, on standard output: for people as it comes, or as one JSON object at the end.

mod human;
mod json;
mod sheet;

use std::io::Write;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use wyng_config::{Config, ConfigError};
use wyng_control::{ExitStatus, Failure, NoSource, RecoverySheet, ToClient, Warning};
use zeroize::Zeroizing;

use crate::cli::{ArchiveVerb, Cli, Verb};
use crate::client::ClientError;
use crate::confirm::Answer;
use crate::passphrase::NoPassphrase;

/// Something that went wrong: what happened, what is safe, what to do next.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    code: &'static str,
    exit: ExitStatus,
    text: String,
    safe: String,
    next: String,
    volume: Option<String>,
}

impl Message {
    pub(crate) fn usage(text: &str) -> Self {
        Self {
            code: "usage",
            exit: ExitStatus::Usage,
            text: text.to_owned(),
            safe: "Nothing was done.".into(),
            next: "See `wyng-ctl --help`.".into(),
            volume: None,
        }
    }

    /// `action` is what was to be confirmed, as in "overwriting /dev/sdb".
    pub(crate) fn of_answer(answer: Answer, action: &str) -> Self {
        let (code, exit, text, next) = match answer {
            Answer::NoTerminal => (
                "confirmation-needed",
                ExitStatus::Usage,
                format!("{action} has to be confirmed, and there is no terminal to ask on"),
                "Add --yes.",
            ),
            Answer::Interrupted => {
                ("not-confirmed", ExitStatus::Interrupted, format!("{action} was interrupted"), "Run it again, and answer yes.")
            }
            Answer::Yes | Answer::No => {
                ("not-confirmed", ExitStatus::Interrupted, format!("{action} was not confirmed"), "Run it again, and answer yes.")
            }
        };
        Self { code, exit, text, safe: "Nothing was changed.".into(), next: next.to_owned(), volume: None }
    }

    pub(crate) fn of_failure(failure: &Failure) -> Self {
        Self {
            code: failure.code(),
            exit: failure.exit(),
            text: failure.text(),
            safe: failure.safe().to_owned(),
            next: failure.next().to_owned(),
            volume: failure.volume().map(str::to_owned),
        }
    }

    pub(crate) fn of_config(error: &ConfigError) -> Self {
        let next = match error {
            ConfigError::Mistake { remedy, .. } => remedy.clone(),
            ConfigError::Unreadable { .. } => "Name another one with --config, or see docs/config.md for a complete example.".into(),
        };
        Self { code: "config", exit: ExitStatus::Usage, text: error.to_string(), safe: "Nothing was done.".into(), next, volume: None }
    }

    pub(crate) fn of_unusable_volume(name: &str, path: &Path, why: NoSource) -> Self {
        let why = match why {
            NoSource::Errno(errno) => format!("cannot be opened: {}", std::io::Error::from_raw_os_error(errno)),
            NoSource::Link => "lies behind a link that is not root's".into(),
            NoSource::QubeRuns => "is away while its qube runs".into(),
            NoSource::Kind(kind) => format!("is {}, not a regular file or a block device", kind.name()),
        };
        Self {
            code: "configured-volume-missing",
            exit: ExitStatus::Partial,
            text: format!("{} of volume {name:?} {why}", path.display()),
            safe: "Nothing was done.".into(),
            next: "Correct the path in [volumes], mount what is missing, or run the check as the daemon's user.".into(),
            volume: Some(name.to_owned()),
        }
    }

    pub(crate) fn of_overdue_backup(profile: &str, volume: &str, newest: Option<&str>) -> Self {
        let when = newest.map_or_else(|| "was never backed up".to_owned(), |newest| format!("was last backed up at {newest}"));
        Self {
            code: "backup-overdue",
            exit: ExitStatus::Partial,
            text: format!("volume {volume:?} of profile {profile:?} {when}"),
            safe: "All sessions that are listed.".into(),
            next: format!("Run `wyng-ctl backup --profile {profile}`."),
            volume: Some(volume.to_owned()),
        }
    }

    pub(crate) fn of_overdue_verify(profile: &str, archive: &str, verified: Option<&str>) -> Self {
        let when = verified.map_or_else(|| "nobody ever read".to_owned(), |verified| format!("nobody has read all of since {verified}"));
        Self {
            code: "verify-overdue",
            exit: ExitStatus::Partial,
            text: format!("{when} what the store has of archive {archive:?} of profile {profile:?}"),
            safe: "Nothing was found to be wrong.".into(),
            next: format!("Run `wyng-ctl verify --profile {profile}`."),
            volume: None,
        }
    }

    pub(crate) fn of_snapshots_left(folder: &Path, errno: Errno) -> Self {
        Self {
            code: "snapshots-left",
            exit: ExitStatus::Partial,
            text: format!("base snapshots in {} cannot be removed: {}", folder.display(), std::io::Error::from(errno)),
            safe: "No archive, session or volume depends on them; they hold what was deleted from their volumes since.".into(),
            next: "Run `wyng-ctl snapshots clean` as the folder's owner or as root.".into(),
            volume: None,
        }
    }

    pub(crate) fn of_missing_policy(path: &str) -> Self {
        Self {
            code: "policy-missing",
            exit: ExitStatus::Partial,
            text: format!("there is no {path}, which denies the services of the helper to every qube"),
            safe: "Calls of dom0 itself need no policy.".into(),
            next: "Install the package wyng-dom0, or the file from rpc-policy.".into(),
            volume: None,
        }
    }

    pub(crate) fn of_lost_target(path: &Path) -> Self {
        Self {
            code: "target-lost",
            exit: ExitStatus::Failed,
            text: format!("{} was replaced while it was restored, or will be: its qube was started meanwhile", path.display()),
            safe: "The archive is untouched; what was written is lost or mixed with what the qube began with.".into(),
            next: "Shut the qube down, keep it from starting (qvm-features QUBE prohibit-start restore), and run the same command again."
                .into(),
            volume: None,
        }
    }

    pub(crate) fn of_deferred(percent: u8, long: bool) -> Self {
        let why = if long { "60 % or less is left" } else { "it is put off for three days at most" };
        Self {
            code: "deferred",
            exit: ExitStatus::Deferred,
            text: format!("the machine is on battery ({percent} %), and {why}"),
            safe: "All sessions that are listed.".into(),
            next: "Connect the power; the timer tries again. Without --unattended it runs now.".into(),
            volume: None,
        }
    }

    pub(crate) fn of_client(error: &ClientError) -> Self {
        if matches!(error, ClientError::Interrupted) {
            return Self::of_failure(&Failure::Interrupted);
        }
        let (code, exit, text, safe, next) = match error {
            ClientError::NoDaemon(path) => (
                "no-daemon",
                ExitStatus::Unreachable,
                format!("no daemon listens at {}", path.display()),
                "Nothing was done.",
                "Start it (systemctl start wyngd), or add --standalone.",
            ),
            ClientError::NotStarted(path, error) => (
                "daemon-not-started",
                ExitStatus::Failed,
                format!("the daemon {} cannot be started: {error}", path.display()),
                "Nothing was done.",
                "Put wyngd and wyng-transport-vm beside wyng-ctl or into /usr/libexec/wyng.",
            ),
            ClientError::Lost | ClientError::Interrupted => (
                "daemon-lost",
                ExitStatus::Failed,
                "the daemon ended before the command was done".to_owned(),
                "What was committed stays. A new target that was not finished is not there; the same command finishes one that is changed in place.",
                "Run the same command again; with -v the daemon says more.",
            ),
        };
        Self { code, exit, text, safe: safe.to_owned(), next: next.to_owned(), volume: None }
    }
}

/// A base snapshot, as it is shown.
#[derive(Debug, Clone)]
pub(crate) struct SnapshotLine {
    /// The archive's name; none if it is not known here.
    pub(crate) archive: Option<String>,
    /// The archive's id.
    pub(crate) archive_id: [u8; 16],
    /// The volume's name, where that is known.
    pub(crate) volume: Option<String>,
    /// The session that it is of; none if the folder cannot be looked into.
    pub(crate) session: Option<i64>,
    /// Where it lies.
    pub(crate) folder: PathBuf,
    /// Why nothing uses it.
    pub(crate) left_over: Option<&'static str>,
    /// It was removed.
    pub(crate) removed: bool,
}

/// How a recovery sheet is drawn besides its text.
struct Drawing {
    qr: bool,
    svg: Option<PathBuf>,
}

impl Drawing {
    fn of(cli: &Cli) -> Self {
        match &cli.verb {
            Verb::RecoverySheet { qr, svg, .. } => Self { qr: *qr, svg: svg.clone() },
            _ => Self { qr: false, svg: None },
        }
    }

    fn draw(&self, sheet: &RecoverySheet, json: bool) -> Result<(), String> {
        if self.qr && !json {
            let code = sheet::in_terminal(sheet).map_err(|error| format!("the code cannot be drawn: {error}"))?;
            let _ = writeln!(std::io::stdout(), "{code}");
        }
        if let Some(path) = &self.svg {
            let image = sheet::as_svg(sheet).map_err(|error| format!("the code cannot be drawn: {error}"))?;
            std::fs::write(path, image).map_err(|error| format!("{} cannot be written: {error}", path.display()))?;
        }
        Ok(())
    }
}

/// Collects what the daemon tells.
pub(crate) struct Report {
    json: bool,
    /// Standard output is a volume: what is found goes to standard error.
    stdout_is_target: bool,
    dry_run: bool,
    quiet: bool,
    command: &'static str,
    archive: Option<String>,
    events: Vec<ToClient>,
    messages: Vec<Message>,
    warnings: Vec<Warning>,
    /// What `config check` found.
    config: Option<Config>,
    /// Base snapshots.
    snapshots: Vec<SnapshotLine>,
    /// A recovery key, shown once.
    secret: Option<Zeroizing<String>>,
    /// How a recovery sheet is drawn besides its text.
    drawing: Drawing,
    /// Told already, in better words than the daemon can.
    passphrase_told: bool,
    /// Said at the end to people if nothing was found.
    nothing: Option<&'static str>,
    /// The archive that was shown last, where the command names none.
    archive_shown: Option<String>,
}

impl Report {
    pub(crate) fn new(cli: &Cli) -> Self {
        Self {
            json: cli.options.json,
            stdout_is_target: cli.stdout_is_target(),
            dry_run: cli.is_dry_run(),
            quiet: cli.options.quiet,
            command: cli.command_name(),
            archive: cli.archive().map(str::to_owned),
            events: Vec::new(),
            messages: Vec::new(),
            warnings: Vec::new(),
            config: None,
            snapshots: Vec::new(),
            secret: None,
            drawing: Drawing::of(cli),
            passphrase_told: false,
            nothing: matches!(cli.verb, Verb::Archive(ArchiveVerb::Acknowledge { .. }))
                .then_some("no damage is known; `wyng-ctl verify` looks for it"),
            archive_shown: None,
        }
    }

    /// Takes one result. People see it at once.
    pub(crate) fn take(&mut self, event: ToClient) {
        if let ToClient::Failed(failure) = &event {
            let told = std::mem::take(&mut self.passphrase_told) && *failure == Failure::NoPassphrase;
            if !told {
                self.fail(self.named(failure));
            }
            return;
        }
        if let ToClient::Warned(warning) = event {
            return self.warn(warning);
        }
        if let ToClient::Acknowledged { .. } = &event {
            self.nothing = None;
        }
        if let ToClient::Archive(archive) = &event {
            self.archive_shown = Some(archive.name.clone());
        }
        if let ToClient::RecoverySheet(sheet) = &event
            && let Err(error) = self.drawing.draw(sheet, self.json)
        {
            self.fail(Message::usage(&error));
        }
        if self.json {
            self.events.push(event);
        } else {
            human::show(&event, self.quiet, self.dry_run);
        }
    }

    /// Damage is an archive's: which one, the command says, or the last one that was shown.
    fn named(&self, failure: &Failure) -> Message {
        let message = Message::of_failure(failure);
        match self.archive.as_ref().or(self.archive_shown.as_ref()).filter(|_| message.exit == ExitStatus::Damage) {
            Some(archive) => Message { text: format!("archive {archive:?}: {}", message.text), ..message },
            None => message,
        }
    }

    /// Takes what there is of base snapshots.
    pub(crate) fn take_snapshots(&mut self, lines: Vec<SnapshotLine>) {
        if !self.json {
            lines.iter().for_each(human::show_snapshot);
        }
        self.snapshots.extend(lines);
    }

    /// Takes what `config check` read.
    pub(crate) fn take_config(&mut self, config: Config) {
        if !self.json {
            human::show_config(&config);
        }
        self.config = Some(config);
    }

    /// Shows a new recovery key: the only time that it can be seen.
    pub(crate) fn show_secret(&mut self, key: Zeroizing<String>) {
        if !self.json {
            let _ = writeln!(
                std::io::stdout(),
                "{}\nThis recovery key opens the archive like a passphrase. Write it down now: it is not shown again.",
                key.as_str()
            );
        }
        self.secret = Some(key);
    }

    /// Tells what went wrong, and gives its exit status.
    pub(crate) fn fail(&mut self, message: Message) -> ExitStatus {
        let exit = message.exit;
        let _ = write!(
            std::io::stderr(),
            "wyng-ctl: {}\n  safe: {}\n  next: {}\n",
            plain(&message.text),
            plain(&message.safe),
            plain(&message.next)
        );
        self.messages.push(message);
        exit
    }

    /// What an interrupted restore leaves for the next one.
    pub(crate) fn note_partial(&self, path: &Path) {
        let path = plain(&path.to_string_lossy());
        let _ = writeln!(std::io::stderr(), "wyng-ctl: what was restored so far is kept in {path}: the same command goes on with it");
    }

    /// Tells what a person must know although the command is done; `--quiet` does not silence it.
    fn warn(&mut self, warning: Warning) {
        let (text, next) = (plain(&warning.text()), warning.next());
        let _ = write!(std::io::stderr(), "wyng-ctl: WARNING: {text}\n  next: {next}\n");
        self.warnings.push(warning);
    }

    /// The daemon only hears that there is no passphrase; here it is known why.
    pub(crate) fn explain_no_passphrase(&mut self, why: &NoPassphrase) {
        let mut message = Message::of_failure(&Failure::NoPassphrase);
        message.text = why.to_string();
        if !matches!(why, NoPassphrase::NoTerminal) {
            message.next = "Run the same command again.".into();
        }
        self.fail(message);
        self.passphrase_told = true;
    }

    /// Prints the JSON object, if that was asked for.
    pub(crate) fn finish(&self, exit: ExitStatus) -> ExitStatus {
        // What failed here, after the daemon had done its part, counts too.
        let exit = self.messages.first().filter(|_| exit == ExitStatus::Done).map_or(exit, |message| message.exit);
        if self.json {
            json::print(self, exit);
        } else if let Some(nothing) = self.nothing.filter(|_| exit == ExitStatus::Done && !self.quiet) {
            let _ = writeln!(std::io::stdout(), "{nothing}");
        }
        exit
    }
}

/// As ids are written.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Text that may come from an archive, with what a terminal would obey made visible.
pub(crate) fn plain(text: &str) -> String {
    let harmless =
        |char: char| !char.is_control() && !matches!(char, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().map(|char| if harmless(char) { char.to_string() } else { char.escape_unicode().to_string() }).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::io::Error;

    use super::*;

    const HEAD: &str = "\
# Errors

Every error that the programs tell. With `--json` each stands in `errors[]`: `code`, `text`, `safe`, `next` and `volume`. The text says what
happened, with names and numbers; what is safe and what to do next stand here. The exit status of a command is that of the first error that
ended it, or 3 when it was done for some volumes only. Words that are no command end with 2 and a text without a code.

| code | exit | what is safe | what to do next |
|---|---|---|---|
";

    const WARNINGS: &str = "
# Warnings

What a person must know although the command did what it was asked to. With `--json` each stands in `warnings[]`: `code`, `text` and `next`.

| code | what to do next |
|---|---|
";

    /// Each warning as a row. A variant without one does not compile.
    fn warnings() -> String {
        let all = [
            Warning::OlderOpened { generation: 1, newest: 2 },
            Warning::SlotNotListed { slot: 0, generation: 1 },
            Warning::HistoryGap { generation: 1 },
        ];
        for warning in &all {
            match warning {
                Warning::OlderOpened { .. } | Warning::SlotNotListed { .. } | Warning::HistoryGap { .. } => {}
            }
        }
        all.iter().map(|warning| format!("| `{}` | {} |\n", warning.code(), warning.next())).collect()
    }

    /// Each variant, with empty names and the number 0: as bincode writes it, its index and zeros.
    fn failures() -> Vec<Failure> {
        let decode = |index: u8| {
            let mut bytes = vec![0; 64];
            bytes[0] = index;
            bincode::decode_from_slice(&bytes, bincode::config::standard()).ok().map(|(failure, _)| failure)
        };
        let found: Vec<Failure> = (0..=u8::MAX).map_while(decode).collect();
        assert!(decode(u8::try_from(found.len()).unwrap()).is_none());
        found
    }

    /// What is found here, without the daemon.
    fn own() -> Vec<Message> {
        let path = Path::new("/path");
        let mistake = ConfigError::Mistake { path: path.into(), line: 1, what: "what".into(), remedy: "As the text says.".into() };
        vec![
            Message::usage("what"),
            Message::of_answer(Answer::NoTerminal, "overwriting /path"),
            Message::of_answer(Answer::No, "overwriting /path"),
            Message::of_config(&mistake),
            Message::of_unusable_volume("vm", path, NoSource::Errno(2)),
            Message::of_overdue_backup("PROFILE", "vm", None),
            Message::of_overdue_verify("PROFILE", "home", None),
            Message::of_missing_policy("/path"),
            Message::of_snapshots_left(path, Errno::ACCESS),
            Message::of_lost_target(path),
            Message::of_deferred(50, false),
            Message::of_client(&ClientError::NoDaemon(path.into())),
            Message::of_client(&ClientError::NotStarted(path.into(), Error::from_raw_os_error(2))),
            Message::of_client(&ClientError::Lost),
        ]
    }

    #[test]
    fn every_error_says_what_is_safe_and_what_is_next_and_is_in_the_catalogue() {
        let failures = failures();
        assert!(failures.len() > 40, "{} variants", failures.len());
        let mut rows = BTreeMap::new();
        for message in failures.iter().map(Message::of_failure).chain(own()) {
            let Message { code, exit, text, safe, next, .. } = message;
            assert!(!code.is_empty() && code.chars().all(|char| char.is_ascii_lowercase() || char == '-'), "{code}");
            assert!(text.len() > 3 && !text.ends_with('.'), "{code}: {text:?}");
            for sentence in [&safe, &next] {
                assert!(sentence.ends_with('.') && sentence.starts_with(|char: char| !char.is_lowercase()), "{code}: {sentence:?}");
            }
            rows.entry(code).or_insert_with(BTreeSet::new).insert(format!("| `{code}` | {} | {safe} | {next} |\n", exit.code()));
        }
        let several: Vec<_> = rows.values().filter(|rows| rows.len() > 1).collect();
        assert!(several.is_empty(), "one code, one meaning: {several:?}");
        let catalogue = format!("{HEAD}{}{WARNINGS}{}", rows.values().flatten().cloned().collect::<String>(), warnings());
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/errors.md");
        if std::env::var_os("WYNG_WRITE_DOCS").is_some() {
            std::fs::write(&path, &catalogue).unwrap();
        }
        assert!(
            std::fs::read_to_string(path).unwrap() == catalogue,
            "docs/errors.md is of another version: run this with WYNG_WRITE_DOCS=1"
        );
    }

    #[test]
    fn a_name_cannot_command_the_terminal() {
        assert_eq!(plain("a\x1b[2Jb\u{202e}c"), "a\\u{1b}[2Jb\\u{202e}c");
    }
}
