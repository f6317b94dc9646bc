// SPDX-License-Identifier: GPL-3.0-or-later
//! Shows notices with notify-send, one after the other, on a thread of its own: a desktop that does
//! not answer holds up nobody who reads from the daemon.

use std::io::{self, Read};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::OFlags;

use super::notices::{Notice, Place, Urgency};

/// The program, found as the person's session finds it.
const PROGRAM: &str = "notify-send";
/// Maximum time for one notice, after which the program is killed.
const PATIENCE: Timespec = Timespec {
    tv_sec: 30,
    tv_nsec: 0,
};
/// Maximum time for the notices that are left, once nobody follows any more.
const PATIENCE_AT_END: Duration = Duration::from_secs(2);
/// Maximum length of what the program prints that is read, bytes.
const PRINTED_MAX_BYTES: u64 = 64 * 1024;

/// Whether the program can replace a notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Replaces {
    /// By its number, which it prints.
    ByNumber,
    /// An old one cannot: progress is not shown, beginnings and results are.
    Nothing,
}

/// The desktop.
pub(super) struct Desk {
    notices: Sender<Notice>,
    over: Receiver<()>,
}

impl Desk {
    /// Asks the program what it can do, and begins to show notices. Fails if it cannot be started.
    pub(super) fn open() -> io::Result<Self> {
        let mut help = Command::new(PROGRAM);
        help.arg("--help");
        let help = run(help)?;
        let replaces = if help.contains("--replace-id") && help.contains("--print-id") {
            Replaces::ByNumber
        } else {
            Replaces::Nothing
        };
        let (notices, heard) = channel();
        let (end, over) = channel();
        std::thread::Builder::new()
            .name("notices".to_owned())
            .spawn(move || {
                show_all(&heard, replaces);
                // Nobody may wait for it any more.
                let _ = end.send(());
            })?;
        Ok(Self { notices, over })
    }

    /// Shows a notice when those before it are shown.
    pub(super) fn show(&self, notice: Notice) {
        // The thread ends after this sender.
        let _ = self.notices.send(notice);
    }

    /// Shows what is left, for a moment at most.
    pub(super) fn close(self) {
        let Self { notices, over } = self;
        drop(notices);
        match over.recv_timeout(PATIENCE_AT_END) {
            Ok(()) | Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
        }
    }
}

fn show_all(heard: &Receiver<Notice>, replaces: Replaces) {
    // The number of the running command's notice.
    let mut number = None;
    while let Ok(first) = heard.recv() {
        let mut batch = vec![first];
        batch.extend(heard.try_iter());
        for notice in worth_showing(batch, replaces) {
            let replaced = match notice.place {
                Place::Begins | Place::Alone => None,
                Place::Continues | Place::Ends => number,
            };
            let printed = run(command(&notice, replaced, replaces)).unwrap_or_default();
            number = match notice.place {
                Place::Begins | Place::Continues => printed.trim().parse().ok(),
                Place::Ends => None,
                Place::Alone => number,
            };
        }
    }
}

/// Leaves out progress that a later notice replaces at once, or that cannot be replaced.
fn worth_showing(batch: Vec<Notice>, replaces: Replaces) -> Vec<Notice> {
    let last = batch.len().saturating_sub(1);
    let is_shown = |place: usize, notice: &Notice| {
        notice.place != Place::Continues || (replaces == Replaces::ByNumber && place == last)
    };
    batch
        .into_iter()
        .enumerate()
        .filter(|(place, notice)| is_shown(*place, notice))
        .map(|(_, notice)| notice)
        .collect()
}

/// The program with its arguments: ours, a number, and two texts of ours behind `--`.
fn command(notice: &Notice, replaced: Option<u32>, replaces: Replaces) -> Command {
    let (urgency, icon) = match notice.urgency {
        Urgency::Low => ("low", "wyng"),
        Urgency::Normal => ("normal", "wyng"),
        Urgency::Critical => ("critical", "dialog-warning"),
    };
    let mut command = Command::new(PROGRAM);
    command
        .arg("--app-name=Wyng")
        .arg(format!("--urgency={urgency}"))
        .arg(format!("--icon={icon}"));
    if replaces == Replaces::ByNumber {
        command.arg("--print-id");
    }
    if let Some(number) = replaced {
        command.arg(format!("--replace-id={number}"));
    }
    command.arg("--").arg(&notice.title).arg(&notice.body);
    command
}

/// Runs the program, and returns what it printed, cut at [`PRINTED_MAX_BYTES`]. One that takes too
/// long is killed.
fn run(mut command: Command) -> io::Result<String> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut started = wyng_jail::start(command, Vec::new())?;
    let mut polled = [PollFd::new(&started.ended, PollFlags::IN)];
    // What it prints fits a pipe, so that it ends before it is read.
    let ended = rustix::io::retry_on_intr(|| rustix::event::poll(&mut polled, Some(&PATIENCE)));
    if !ended.is_ok_and(|ended| ended > 0) {
        // It may have ended by itself meanwhile.
        let _ = started.child.kill();
    }
    started.child.wait()?;
    let mut printed = Vec::new();
    if let Some(pipe) = started.child.stdout.take() {
        // A program that it left behind may hold the other end.
        let flags = rustix::fs::fcntl_getfl(&pipe)?;
        rustix::fs::fcntl_setfl(&pipe, flags | OFlags::NONBLOCK)?;
        match pipe.take(PRINTED_MAX_BYTES).read_to_end(&mut printed) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
            Ok(_) | Err(_) => {}
        }
    }
    Ok(String::from_utf8_lossy(&printed).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(place: Place) -> Notice {
        Notice {
            place,
            urgency: Urgency::Low,
            title: "Backup runs".into(),
            body: "--help".into(),
        }
    }

    #[test]
    fn a_desktop_that_is_behind_misses_progress_alone() {
        use Place::{Alone, Begins, Continues, Ends};
        let batch = || {
            [Begins, Continues, Continues, Ends, Alone, Begins, Continues]
                .map(notice)
                .to_vec()
        };
        let shown = |replaces| -> Vec<Place> {
            let shown = worth_showing(batch(), replaces).into_iter();
            shown.map(|notice| notice.place).collect()
        };
        assert_eq!(
            shown(Replaces::ByNumber),
            [Begins, Ends, Alone, Begins, Continues]
        );
        assert_eq!(shown(Replaces::Nothing), [Begins, Ends, Alone, Begins]);
    }

    #[test]
    fn no_text_becomes_an_option() {
        let words = |replaced, replaces| -> Vec<String> {
            let command = command(&notice(Place::Ends), replaced, replaces);
            let words = command.get_args();
            words
                .map(|word| word.to_str().unwrap().to_owned())
                .collect()
        };
        assert_eq!(
            words(Some(7), Replaces::ByNumber),
            [
                "--app-name=Wyng",
                "--urgency=low",
                "--icon=wyng",
                "--print-id",
                "--replace-id=7",
                "--",
                "Backup runs",
                "--help"
            ]
        );
        assert_eq!(words(None, Replaces::Nothing).len(), 6);
    }
}
