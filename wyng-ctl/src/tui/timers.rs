// SPDX-License-Identifier: GPL-3.0-or-later
//! When the next timer elapses, as systemd lists it. Without systemd there is none.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::process::{Command, Stdio};

use serde::Deserialize;
use wyng_jail::Started;

const PROGRAM: &str = "systemctl";
/// Its arguments: our timers, as JSON. It is asked for nothing else.
const ARGUMENTS: [&str; 5] = [
    "list-timers",
    "--output=json",
    "--no-pager",
    "--no-ask-password",
    "wyng-*",
];
/// Maximum length of the list, bytes: what a pipe holds, so that the program ends before it is
/// read.
const LIST_MAX_BYTES: u64 = 64 * 1024;
/// Maximum length of a unit's name, bytes: that of systemd.
const UNIT_MAX_BYTES: usize = 255;

/// A timer that will elapse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Timer {
    /// Its unit, such as `wyng-backup@nightly.timer`.
    pub(super) unit: String,
    /// When, seconds since 1970 UTC.
    pub(super) next: i64,
}

/// A line of the list. systemd adds fields from time to time.
#[derive(Deserialize)]
struct Line {
    unit: String,
    /// Microseconds since 1970 UTC; none, or 0, if nothing is planned.
    next: Option<u64>,
}

/// The program while it runs.
pub(super) struct Asked(Started);

impl Asked {
    /// Asks systemd. Fails if there is no such program.
    pub(super) fn begin() -> io::Result<Self> {
        let mut command = Command::new(PROGRAM);
        command
            .args(ARGUMENTS)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        wyng_jail::start(command, Vec::new()).map(Self)
    }

    /// Readable once the program has ended.
    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.ended.as_fd()
    }

    /// The timer that elapses next, from a program that has ended.
    pub(super) fn answer(mut self) -> Option<Timer> {
        let ended = self.0.child.wait().ok()?;
        let mut list = Vec::new();
        let pipe = self.0.child.stdout.take()?;
        pipe.take(LIST_MAX_BYTES).read_to_end(&mut list).ok()?;
        next_timer(&list).filter(|_| ended.success())
    }
}

impl Drop for Asked {
    /// One that is asked no more is ended and reaped.
    fn drop(&mut self) {
        let _ = self.0.child.kill();
        let _ = self.0.child.wait();
    }
}

fn next_timer(list: &[u8]) -> Option<Timer> {
    let lines: Vec<Line> = serde_json::from_slice(list).ok()?;
    let timers = lines.into_iter().filter_map(|line| {
        let micros = line.next.filter(|next| *next > 0)?;
        let next = i64::try_from(micros / 1_000_000).ok()?;
        (line.unit.len() <= UNIT_MAX_BYTES).then_some(Timer {
            unit: line.unit,
            next,
        })
    });
    timers.min_by_key(|timer| timer.next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timer_that_elapses_first_is_shown() {
        let list = br#"[
            {"next":1795416190000001,"left":1,"last":0,"passed":0,"unit":"wyng-verify@a.timer","activates":"x"},
            {"next":1795416100999999,"unit":"wyng-backup@a.timer"},
            {"next":0,"unit":"wyng-prune@a.timer"},
            {"next":null,"unit":"wyng-copy@a.timer"}
        ]"#;
        let expected = Timer {
            unit: "wyng-backup@a.timer".into(),
            next: 1_795_416_100,
        };
        assert_eq!(next_timer(list), Some(expected));
        for nothing in [
            &b"[]"[..],
            b"",
            b"0 timers listed.",
            b"{}",
            br#"[{"next":1}]"#,
        ] {
            assert_eq!(next_timer(nothing), None);
        }
        let long = format!(r#"[{{"next":5000000,"unit":"{}"}}]"#, "x".repeat(256));
        assert_eq!(next_timer(long.as_bytes()), None);
    }
}
