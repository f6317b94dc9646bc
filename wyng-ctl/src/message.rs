// SPDX-License-Identifier: GPL-3.0-or-later
//! Errors as users see them: what happened, what is safe, what to do next. Failures of the daemon
//! come from the catalogue in `wyng-control`; errors that wyng-ctl finds itself are below.

use std::io;
use std::path::Path;

use rustix::io::Errno;
use wyng_config::Mistake;
use wyng_control::{ExitStatus, Failure, Safe, ThinRemoval};

use crate::clock::{Clock, duration};
use crate::confirm::Answer;
use crate::dom0::LeftOut;
use crate::quantity::{session_name, show_bytes};

const NO_STATE: &str = "no-state";
/// What is safe if a command ends before it begins.
pub(crate) const NOTHING_DONE: &str = "Nothing was done.";

/// A task that must succeed from time to time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Success {
    Backup,
    Verify,
    KeyProof,
    Prune,
    Rehearsal,
}

/// When a store was last verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verified {
    Never,
    /// So many seconds ago; `None`: at a time ahead of now.
    At(Option<u64>),
}

/// An error, not yet completed for the command that was run.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) code: &'static str,
    pub(crate) exit: ExitStatus,
    pub(crate) text: String,
    pub(crate) safe: Safe,
    pub(crate) next: String,
    pub(crate) volume: Option<String>,
}

impl Message {
    pub(crate) fn new(
        code: &'static str,
        exit: ExitStatus,
        text: String,
        safe: &'static str,
        next: &str,
    ) -> Self {
        Self {
            code,
            exit,
            text,
            safe: Safe::Always(safe),
            next: next.to_owned(),
            volume: None,
        }
    }

    /// An invalid command line, and what to write instead.
    pub(crate) fn usage(text: impl Into<String>, next: impl Into<String>) -> Self {
        Self::new(
            "usage",
            ExitStatus::Usage,
            text.into(),
            NOTHING_DONE,
            &next.into(),
        )
    }

    /// A command about the running daemon, with `--standalone`.
    pub(crate) fn of_private_watch() -> Self {
        Self::usage(
            "a private daemon ends with its command: unlock, lock and watch require the running one",
            "Omit --standalone.",
        )
    }

    pub(crate) fn of_failure(failure: &Failure) -> Self {
        Self {
            code: failure.code(),
            exit: failure.exit(),
            text: failure.to_string(),
            safe: failure.safe(),
            next: failure.next().to_owned(),
            volume: failure.volume().map(str::to_owned),
        }
    }

    /// The configuration cannot be read.
    pub(crate) fn of_unreadable_config(path: &Path, error: &io::Error) -> Self {
        let text = format!("{} cannot be read: {error}", path.display());
        Self::new(
            "config",
            ExitStatus::Usage,
            text,
            NOTHING_DONE,
            "Name another file with --config; wyng.toml(5) has a complete example.",
        )
    }

    /// The program that shows notices cannot be started.
    pub(crate) fn of_no_notices(error: &io::Error) -> Self {
        Self::new(
            "no-notices",
            ExitStatus::Failed,
            format!("notify-send, which shows notices on the desktop, cannot be started: {error}"),
            NOTHING_DONE,
            "Install it: the package is libnotify, or libnotify-bin on Debian.",
        )
    }

    /// The overview has no terminal.
    pub(crate) fn of_no_terminal() -> Self {
        Self::new(
            "no-terminal",
            ExitStatus::Usage,
            "the overview requires a terminal, and this process has none".to_owned(),
            NOTHING_DONE,
            "Run it in a terminal, or use wyng-ctl status and wyng-ctl list.",
        )
    }

    /// The terminal of the overview does not do what a terminal does.
    pub(crate) fn of_unusable_terminal(error: &io::Error) -> Self {
        Self::new(
            "terminal-unusable",
            ExitStatus::Failed,
            format!("the overview cannot use this terminal: {error}"),
            NOTHING_DONE,
            "Run it in another terminal, or use wyng-ctl status and wyng-ctl list.",
        )
    }

    pub(crate) fn of_mistake(path: &Path, mistake: &Mistake) -> Self {
        let text = format!("{}:{}: {}", path.display(), mistake.line, mistake.what);
        Self::new(
            "config",
            ExitStatus::Usage,
            text,
            NOTHING_DONE,
            &mistake.remedy,
        )
    }

    /// A configured volume that cannot be backed up; `why` follows its path.
    pub(crate) fn of_unusable_volume(name: &str, path: &Path, why: &str) -> Self {
        let next = "Correct the path in [volumes], mount the missing file system, or run the check as the daemon's user.";
        let text = format!("volume {name:?}: {} {why}", path.display());
        Self {
            volume: Some(name.to_owned()),
            ..Self::new(
                "configured-volume-missing",
                ExitStatus::Partial,
                text,
                NOTHING_DONE,
                next,
            )
        }
    }

    pub(crate) fn of_overdue_backup(
        profile: &str,
        volume: &str,
        age_secs: Option<u64>,
        limit_secs: u64,
    ) -> Self {
        let when = match age_secs {
            None => "was never backed up".to_owned(),
            Some(age) => format!(
                "was last backed up {} ago; the limit is {}",
                limit(age),
                limit(limit_secs)
            ),
        };
        let (text, next) = (
            format!("volume {volume:?} {when} (profile {profile})"),
            format!("Run `wyng-ctl backup --profile {profile}`."),
        );
        Self {
            volume: Some(volume.to_owned()),
            ..Self::new(
                "backup-overdue",
                ExitStatus::Partial,
                text,
                "All listed sessions.",
                &next,
            )
        }
    }

    /// A newest session that is dated ahead of now, so that its age is unknown.
    pub(crate) fn of_session_ahead(
        profile: &str,
        volume: &str,
        newest: i64,
        clock: &Clock,
    ) -> Self {
        let text = format!(
            "the newest session of volume {volume:?}, {}, is dated ahead of this machine's clock ({}), so whether a backup is overdue is unknown (profile {profile})",
            session_name(newest),
            clock.age(newest)
        );
        let next = "Compare this machine's clock with another one: it is wrong now, or was at that backup.";
        Self {
            volume: Some(volume.to_owned()),
            ..Self::new(
                "session-ahead",
                ExitStatus::Partial,
                text,
                "All listed sessions.",
                next,
            )
        }
    }

    pub(crate) fn of_overdue_verify(
        profile: &str,
        archive: &str,
        verified: Verified,
        limit_secs: u64,
    ) -> Self {
        let when = match verified {
            Verified::Never => "was never verified".to_owned(),
            Verified::At(None) => {
                "was last verified at a time ahead of this machine's clocks".to_owned()
            }
            Verified::At(Some(age)) => format!(
                "was last verified completely {} ago; the limit is {}",
                limit(age),
                limit(limit_secs)
            ),
        };
        let next = format!("Run `wyng-ctl verify --profile {profile}`.");
        let text = format!("archive {archive:?} {when} (profile {profile})");
        Self::new(
            "verify-overdue",
            ExitStatus::Partial,
            text,
            "No problem was found.",
            &next,
        )
    }

    /// The message about a limit of `[archives.NAME.warn]`. `age_secs` is `None` if the task never
    /// succeeded, or succeeded at a time ahead of the clock.
    pub(crate) fn of_overdue_archive(
        success: Success,
        archive: &str,
        age_secs: Option<u64>,
        limit_secs: u64,
    ) -> Self {
        let (code, done, safe, next) = match success {
            Success::Backup => (
                "archive-backup-overdue",
                "had a new session",
                "All listed sessions.",
                "Run `wyng-ctl backup ARCHIVE SOURCE`, and find out why the timer did not run it.",
            ),
            Success::Verify => (
                "archive-verify-overdue",
                "was verified completely",
                "No problem was found.",
                "Run `wyng-ctl verify ARCHIVE`.",
            ),
            Success::KeyProof => (
                "key-proof-overdue",
                "was opened with a passphrase, with all of its session keys,",
                "No problem was found.",
                "Run `wyng-ctl key check ARCHIVE`, and see whether you still know the passphrase.",
            ),
            Success::Prune => (
                "prune-overdue",
                "was pruned by the rules of all its volumes",
                "All sessions; without a prune the archive only grows.",
                "Run `wyng-ctl prune ARCHIVE`, and find out why the timer did not run it.",
            ),
            Success::Rehearsal => (
                "rehearsal-overdue",
                "had a session restored by a rehearsal",
                "No problem was found.",
                "Run `wyng-ctl rehearse ARCHIVE`.",
            ),
        };
        let when = match age_secs {
            None => format!("never {done}, or at a time ahead of this machine's clocks"),
            Some(age) => format!("last {done} {} ago", limit(age)),
        };
        let text = format!(
            "archive {archive:?} {when}; the limit is {}",
            limit(limit_secs)
        );
        Self::new(code, ExitStatus::Partial, text, safe, next)
    }

    /// The store had less free space than the limit of `[archives.NAME.warn]` when it was last
    /// opened.
    pub(crate) fn of_full_store(
        archive: &str,
        free_bytes: u64,
        (time, clock): (i64, &Clock),
        limit_bytes: u64,
    ) -> Self {
        let text = format!(
            "the store of archive {archive:?} had {} free when it was last opened ({}); the limit is {}",
            show_bytes(free_bytes),
            clock.ago(time),
            show_bytes(limit_bytes)
        );
        Self::new(
            "store-nearly-full",
            ExitStatus::Partial,
            text,
            "All listed sessions.",
            "Make room in the store, or remove sessions with `wyng-ctl prune ARCHIVE`: see what fills it with `wyng-ctl why ARCHIVE`.",
        )
    }

    /// The state directory's file system has less free space than the limit.
    pub(crate) fn of_full_state(free_bytes: u64, limit_bytes: u64) -> Self {
        let text = format!(
            "the file system of the state directory has {} free; the limit is {}",
            show_bytes(free_bytes),
            show_bytes(limit_bytes)
        );
        Self::new(
            "state-nearly-full",
            ExitStatus::Partial,
            text,
            "All listed sessions. Once it is full, nothing is backed up, and restores go on.",
            "Make room on the file system of the state directory.",
        )
    }

    pub(crate) fn of_snapshots_left(folder: &Path, errno: Errno) -> Self {
        let text = format!(
            "base snapshots in {} cannot be removed: {}",
            folder.display(),
            io::Error::from(errno)
        );
        let safe = "No archive, session or volume depends on them; they hold content that was since deleted from their volumes.";
        Self::new(
            "snapshots-left",
            ExitStatus::Partial,
            text,
            safe,
            "Run `wyng-ctl snapshots clean` as the folder's owner or as root.",
        )
    }

    pub(crate) fn of_thin_left(volume: &str, removal: ThinRemoval) -> Self {
        let why = match removal {
            ThinRemoval::InUse => "a run uses it",
            ThinRemoval::Removed | ThinRemoval::Failed => {
                "LVM refused, and the daemon's log says why"
            }
        };
        let safe = "No archive, session or volume depends on it; it holds content that was since deleted from its volume.";
        Self::new(
            "thin-left",
            ExitStatus::Partial,
            format!("{volume} cannot be removed from its pool: {why}"),
            safe,
            "Run `wyng-ctl snapshots clean` as root once no backup runs.",
        )
    }

    pub(crate) fn of_missing_policy(path: &str) -> Self {
        let text = format!(
            "the policy {path} does not exist, which denies the helper's services to every qube"
        );
        let next = "Install the package wyng-dom0, or the file from rpc-policy.";
        Self::new(
            "policy-missing",
            ExitStatus::Partial,
            text,
            "Calls from dom0 itself need no policy.",
            next,
        )
    }

    /// dom0's files are read with the caller's rights, and the daemon takes them from root alone.
    pub(crate) fn of_dom0_needs_root() -> Self {
        Self::new(
            "admin-files-need-root",
            ExitStatus::Partial,
            "dom0's files are read and handed over by root alone".to_owned(),
            "Everything else that was asked for.",
            "Run the command with sudo. For a timer, copy /usr/share/doc/wyng/systemd/wyng-backup@.service.d to /etc/systemd/system.",
        )
    }

    /// The root folder of dom0's files cannot be opened.
    pub(crate) fn of_unreadable_dom0(path: &Path, error: &io::Error) -> Self {
        Self::new(
            "admin-files-unreadable",
            ExitStatus::Partial,
            format!("dom0's files in {} cannot be read: {error}", path.display()),
            "Everything else that was asked for.",
            "Run the command with sudo.",
        )
    }

    /// dom0's files are more than is taken; `folder` has the most of them.
    pub(crate) fn of_large_dom0(bytes: u64, folder: &str, sum_bytes: u64, max_bytes: u64) -> Self {
        let text = format!(
            "dom0's files are {}, and at most {} are taken: {} of them are in /{folder}",
            show_bytes(bytes),
            show_bytes(max_bytes),
            show_bytes(sum_bytes),
        );
        Self::new(
            "admin-files-too-large",
            ExitStatus::Partial,
            text,
            "Everything else that was asked for. dom0's earlier sessions are intact.",
            "Move the large files into a qube, or back them up as volumes of their own.",
        )
    }

    /// Some of dom0's files are not in the session, or were not restored.
    pub(crate) fn of_incomplete_dom0(left_out: &[LeftOut]) -> Option<Self> {
        /// Number of names in the text; all are in the list.
        const NAMED_MAX: usize = 10;
        let failed = || left_out.iter().filter(|left| left.why.is_failure());
        let named: Vec<String> = failed()
            .take(NAMED_MAX)
            .map(|left| format!("{} ({})", left.path, left.why.phrase()))
            .collect();
        let more = match failed().count().saturating_sub(NAMED_MAX) {
            0 => String::new(),
            more => format!(", and {more} more"),
        };
        let message = Self::new(
            "admin-files-incomplete",
            ExitStatus::Partial,
            format!(
                "of dom0's files these are missing: {}{more}",
                named.join(", ")
            ),
            "All others of dom0's files are there.",
            "Run the command with sudo if rights are missing; otherwise look at each.",
        );
        (!named.is_empty()).then_some(message)
    }

    /// The volume of dom0's files is not as Wyng writes it; `why` completes a sentence about it.
    pub(crate) fn of_foreign_dom0(why: &str) -> Self {
        Self::new(
            "admin-files-foreign",
            ExitStatus::Failed,
            format!("the volume dom0:files is not as Wyng writes it: {why}"),
            "Nothing was written.",
            "Look at it in a disposable: `wyng-ctl restore ARCHIVE dom0:files --to FILE` restores the tar itself.",
        )
    }

    /// dom0's files of an archive that nothing proves.
    pub(crate) fn of_unproven_dom0() -> Self {
        Self::new(
            "admin-files-unproven",
            ExitStatus::Failed,
            "dom0's files are not restored, because nothing proves who wrote this archive"
                .to_owned(),
            "Nothing was written.",
            "Run `wyng-ctl archive open ARCHIVE --expect CODE` with the code of the recovery sheet. Without a sheet, --unproven restores them all the same.",
        )
    }

    pub(crate) fn of_lost_target(path: &Path) -> Self {
        let text = format!(
            "{} was replaced during the restore, or will be: its qube was started meanwhile",
            path.display()
        );
        let safe = "The archive is untouched; the restored content is lost or mixed with that of the running qube.";
        let next = "Shut the qube down, keep it from starting (qvm-features QUBE prohibit-start restore), and run the same command again.";
        Self::new("target-lost", ExitStatus::Failed, text, safe, next)
    }

    /// An unattended backup on battery; `why` completes a sentence.
    pub(crate) fn of_deferred(percent: u8, why: &str) -> Self {
        let text = format!("the machine is on battery ({percent} %), and {why}");
        let next =
            "Connect the power; the timer tries again. Without --unattended the backup runs now.";
        Self::new(
            "deferred",
            ExitStatus::Deferred,
            text,
            "All listed sessions.",
            next,
        )
    }

    /// Standard output cannot be written.
    pub(crate) fn of_output(error: &io::Error) -> Self {
        let text = format!("standard output cannot be written: {error}");
        let next = "Free some space for the output, and ask for it again: `wyng-ctl list ARCHIVE` and `wyng-ctl status` show the present state.";
        Self::new(
            "output",
            ExitStatus::Failed,
            text,
            "The command did its work; only its output is incomplete.",
            next,
        )
    }

    /// A new recovery key could not be shown, and opens the archive all the same.
    pub(crate) fn of_unshown_key(error: &io::Error) -> Self {
        let text = format!("the new recovery key could not be shown: {error}");
        let next = "Remove its slot, the newest in `wyng-ctl key list ARCHIVE`, with `wyng-ctl key remove ARCHIVE SLOT`, and add another key.";
        Self::new(
            "key-unshown",
            ExitStatus::Failed,
            text,
            "All sessions, and all other passphrases and keys.",
            next,
        )
    }

    /// A file that the user asked for cannot be written.
    pub(crate) fn of_unwritable(path: &Path, error: &dyn std::fmt::Display) -> Self {
        let text = format!("{} cannot be written: {error}", path.display());
        Self::new(
            "file-unwritable",
            ExitStatus::Failed,
            text,
            "Nothing else was changed.",
            "Name another file, or free some space there.",
        )
    }

    pub(crate) fn of_needed_sources() -> Self {
        Self::usage(
            "the volumes are missing",
            "Name each after the archive as PATH, NAME=PATH or a volume of the configuration, or add --all.",
        )
    }

    /// An action that was not confirmed, such as "overwriting /dev/sdb".
    pub(crate) fn of_answer(answer: Answer, action: &str) -> Self {
        let (code, exit, text, next) = match answer {
            Answer::NoTerminal => (
                "confirmation-needed",
                ExitStatus::Usage,
                format!("{action} must be confirmed, and there is no terminal"),
                "Add --yes.",
            ),
            Answer::Interrupted => (
                "not-confirmed",
                ExitStatus::Interrupted,
                format!("{action} was interrupted"),
                "Run the same command again, and answer yes.",
            ),
            Answer::Yes | Answer::No => (
                "not-confirmed",
                ExitStatus::Interrupted,
                format!("{action} was not confirmed"),
                "Run the same command again, and answer yes.",
            ),
        };
        Self::new(code, exit, text, "Nothing was changed.", next)
    }

    /// Whether the error is that the state folder does not exist.
    pub(crate) fn is_no_state(&self) -> bool {
        self.code == NO_STATE
    }

    /// ARCHIVE was left out, and none or several are known.
    pub(crate) fn of_needed_archive(known: &[String]) -> Self {
        let (text, next) = match known {
            [] => (
                "no archive is known".to_owned(),
                "Create an archive with `wyng-ctl archive create NAME --store URL`, or adopt one with `wyng-ctl archive open NAME --store URL`."
                    .to_owned(),
            ),
            known => (format!("the archive was not named; known are {}", known.join(", ")), "Name the archive, or set WYNG_ARCHIVE.".to_owned()),
        };
        Self::new(
            "archive-needed",
            ExitStatus::Usage,
            text,
            NOTHING_DONE,
            &next,
        )
    }

    pub(crate) fn of_unheard_signals(error: &io::Error) -> Self {
        let text = format!("this process cannot receive signals: {error}");
        Self::new(
            "signals",
            ExitStatus::Failed,
            text,
            NOTHING_DONE,
            "Check the limits of the process (ulimit -n).",
        )
    }
}

fn limit(secs: u64) -> String {
    duration(i64::try_from(secs).unwrap_or(i64::MAX))
}
