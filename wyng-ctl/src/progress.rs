// SPDX-License-Identifier: GPL-3.0-or-later
//! The progress of a job on standard error: a line that is rewritten on a terminal, plain lines
//! elsewhere, or JSON lines.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use wyng_control::{EndedCommand, Phase, Progress as Told};

use crate::cli::{Options, ProgressStyle};
use crate::columns::{cut, shorten, width};
use crate::plain::plain;
use crate::quantity::{show_bytes, show_share};

/// Time before which a rate means nothing.
const RATE_AFTER: Duration = Duration::from_secs(1);
/// Minimum width of a shortened name, columns.
const NAME_LEAST: usize = 8;
/// Minimum width of a bar, columns.
const BAR_LEAST: usize = 10;
const BAR_MOST: usize = 32;
/// Columns before a bar.
const GAP: usize = 2;
/// Without a terminal, the time between two lines of one phase and volume.
const LINE_EVERY: Duration = Duration::from_secs(10);

enum Style {
    Bar,
    Lines,
    Json,
    None,
}

/// Shows progress.
pub(crate) struct Progress {
    style: Style,
    /// The present phase and volume, and the time of their beginning, for the rate.
    current: Option<(Phase, Option<String>, Instant)>,
    last_line: Option<Instant>,
    bar_shown: bool,
    /// The end of the present phase was shown.
    end_shown: bool,
    /// Number of volumes of the command, 0 if unknown, and the number of the present one.
    volume_total: usize,
    volume_number: usize,
}

impl Progress {
    /// The progress of a command about `volume_total` volumes; 0: unknown.
    pub(crate) fn new(options: &Options, volume_total: usize) -> Self {
        let style = match options.progress {
            _ if options.quiet => Style::None,
            ProgressStyle::None => Style::None,
            ProgressStyle::Json => Style::Json,
            ProgressStyle::Auto if std::io::stderr().is_terminal() => Style::Bar,
            ProgressStyle::Auto => Style::Lines,
        };
        Self {
            style,
            current: None,
            last_line: None,
            bar_shown: false,
            end_shown: false,
            volume_total,
            volume_number: 0,
        }
    }

    pub(crate) fn show(&mut self, told: &Told) {
        let is_new = self
            .current
            .as_ref()
            .is_none_or(|(phase, volume, _)| *phase != told.phase || *volume != told.volume);
        if is_new {
            let is_other_volume = self
                .current
                .as_ref()
                .is_none_or(|(_, volume, _)| *volume != told.volume);
            if is_other_volume && told.volume.is_some() {
                self.volume_number = self.volume_number.saturating_add(1);
            }
            self.current = Some((told.phase, told.volume.clone(), Instant::now()));
            self.end_shown = false;
        }
        let ends = told.total_bytes > 0
            && told.done_bytes >= told.total_bytes
            && !std::mem::replace(&mut self.end_shown, false);
        self.end_shown = told.total_bytes > 0 && told.done_bytes >= told.total_bytes;
        match self.style {
            Style::None => {}
            Style::Json => write_line(&json_line(told)),
            Style::Bar => {
                // The last column stays free: some terminals wrap when it is filled.
                let line = self.parts(told).bar(columns().saturating_sub(1));
                let mut stderr = std::io::stderr();
                let _ = write!(stderr, "\r\x1b[K{line}").and_then(|()| stderr.flush());
                self.bar_shown = true;
            }
            Style::Lines
                if is_new
                    || ends
                    || self
                        .last_line
                        .is_none_or(|last| last.elapsed() >= LINE_EVERY) =>
            {
                self.last_line = Some(Instant::now());
                write_line(&self.parts(told).line());
            }
            Style::Lines => {}
        }
    }

    /// Shows that the command waits for others.
    pub(crate) fn say_queued(&mut self, before: u32) {
        match self.style {
            Style::None => {}
            Style::Json => {
                write_line(&serde_json::json!({"phase": "queued", "before": before}).to_string())
            }
            Style::Bar | Style::Lines => write_line(&format!(
                "waiting for {before} other command{}",
                if before == 1 { "" } else { "s" }
            )),
        }
    }

    /// Shows the command of another client.
    pub(crate) fn say_running(&mut self, command: &str, archive: Option<&str>, queued: u32) {
        self.clear();
        match self.style {
            Style::None => {}
            Style::Json => {
                write_line(&serde_json::json!({"phase": "running", "command": command, "archive": archive, "queued": queued}).to_string());
            }
            Style::Bar | Style::Lines => {
                let archive = archive
                    .map(|archive| format!(" {}", plain(archive)))
                    .unwrap_or_default();
                write_line(&format!("{command}{archive} runs, {queued} wait"));
            }
        }
    }

    /// Shows how the command of another client ended.
    pub(crate) fn say_ended(&mut self, ended: &EndedCommand) {
        self.clear();
        let EndedCommand {
            command, archive, ..
        } = ended;
        match self.style {
            Style::None => {}
            Style::Json => write_line(
                &serde_json::json!({
                    "phase": "ended",
                    "command": command,
                    "archive": archive,
                    "exit": ended.exit.code(),
                    "volumes": ended.volumes,
                    "failures": ended.failures,
                    "sent_bytes": ended.sent_bytes,
                })
                .to_string(),
            ),
            Style::Bar | Style::Lines => {
                let archive = archive
                    .as_deref()
                    .map(|archive| format!(" {}", plain(archive)))
                    .unwrap_or_default();
                write_line(&format!(
                    "{command}{archive} ended with status {}",
                    ended.exit.code()
                ));
            }
        }
    }

    /// Shows after Ctrl-Z that the daemon continues.
    pub(crate) fn say_stopped(&mut self) {
        self.clear();
        match self.style {
            Style::None | Style::Json => {}
            Style::Bar | Style::Lines => write_line(
                "wyng-ctl is stopped; the daemon continues until it needs an answer. `fg` resumes, and Ctrl-C then ends the command",
            ),
        }
    }

    /// Removes the bar before something else is printed.
    pub(crate) fn clear(&mut self) {
        if std::mem::take(&mut self.bar_shown) {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }

    fn parts(&self, told: &Told) -> Parts {
        let (done, total) = (told.done_bytes.min(told.total_bytes), told.total_bytes);
        let elapsed = self
            .current
            .as_ref()
            .map_or(Duration::ZERO, |(.., since)| since.elapsed());
        let mut parts = Parts {
            phase: word(told.phase),
            ..Parts::default()
        };
        if let Some(volume) = &told.volume {
            parts.volume = plain(volume);
        }
        if self.volume_total > 1 && told.volume.is_some() {
            parts.place = format!(
                "{}/{} ",
                self.volume_number.min(self.volume_total),
                self.volume_total
            );
        }
        if told.phase == Phase::Unlocking {
            if total > 1 {
                parts.amount = format!("slot {} of {total}", done.saturating_add(1));
            }
            return parts;
        }
        if total == 0 {
            return parts;
        }
        parts.share = Some((done, total));
        parts.percent = format!("{} %", done.saturating_mul(100) / total);
        if told.phase == Phase::Loading {
            parts.amount = format!("{done} of {total} packs");
            return parts;
        }
        parts.amount = show_share(done, total);
        let rate = u64::try_from(elapsed.as_millis())
            .ok()
            .and_then(|millis| done.saturating_mul(1000).checked_div(millis))
            .unwrap_or(0);
        if rate > 0 && elapsed >= RATE_AFTER {
            parts.rate = format!("{}/s", show_bytes(rate));
            if done < total {
                parts.left = format!("{} left", minutes(total.saturating_sub(done) / rate));
            }
        }
        if told.sent_bytes > 0 {
            parts.sent = format!("{} sent", show_bytes(told.sent_bytes));
        }
        parts
    }
}

/// The parts of a line, which are left out one by one where the line is too long.
#[derive(Debug, Default, Clone)]
struct Parts {
    phase: &'static str,
    place: String,
    volume: String,
    share: Option<(u64, u64)>,
    percent: String,
    amount: String,
    rate: String,
    left: String,
    sent: String,
}

impl Parts {
    /// A plain line of any length.
    fn line(&self) -> String {
        let figures = [
            &self.percent,
            &self.amount,
            &self.rate,
            &self.left,
            &self.sent,
        ];
        let figures: Vec<&str> = figures
            .into_iter()
            .map(|figure| figure.trim())
            .filter(|figure| !figure.is_empty())
            .collect();
        let head = self.head(usize::MAX);
        if figures.is_empty() {
            head
        } else {
            format!("{head}: {}", figures.join(", "))
        }
    }

    /// A line with a bar of at most `columns`. The parts left out first are the bytes sent, the
    /// middle of the name, the rate, and the time left.
    fn bar(&self, columns: usize) -> String {
        let name = width(&self.volume);
        for cleared in 0..=4 {
            let mut parts = self.clone();
            [
                &mut parts.sent,
                &mut parts.rate,
                &mut parts.left,
                &mut parts.amount,
            ]
            .into_iter()
            .take(cleared)
            .for_each(|part| part.clear());
            let room = columns.saturating_sub(width(&parts.without_bar(0)));
            let least = if cleared == 0 {
                name
            } else {
                name.min(NAME_LEAST)
            };
            let bar = if self.share.is_some() && cleared < 4 {
                BAR_LEAST.saturating_add(GAP)
            } else {
                0
            };
            if room >= least.saturating_add(bar) {
                return cut(
                    parts
                        .fitted(columns, room.saturating_sub(bar).min(name))
                        .chars(),
                    columns,
                );
            }
        }
        cut(self.head(NAME_LEAST).chars(), columns)
    }

    /// The line with a bar as wide as the remaining room.
    fn fitted(&self, columns: usize, name: usize) -> String {
        let line = self.without_bar(name);
        let room = columns
            .saturating_sub(width(&line))
            .saturating_sub(GAP)
            .min(BAR_MOST);
        match self.share {
            Some((done, total)) if room >= BAR_LEAST => format!(
                "{}  {}  {}",
                self.head(name),
                bar(done, total, room),
                self.figures()
            ),
            _ => line,
        }
    }

    fn without_bar(&self, name: usize) -> String {
        let figures = self.figures();
        if figures.is_empty() {
            self.head(name)
        } else {
            format!("{}  {figures}", self.head(name))
        }
    }

    fn figures(&self) -> String {
        let figures = [
            &self.percent,
            &self.amount,
            &self.rate,
            &self.left,
            &self.sent,
        ];
        figures
            .into_iter()
            .filter(|figure| !figure.is_empty())
            .cloned()
            .collect::<Vec<_>>()
            .join("  ")
    }

    fn head(&self, name: usize) -> String {
        let space = if self.volume.is_empty() { "" } else { " " };
        format!(
            "{}{}{space}{}",
            self.place,
            self.phase,
            shorten(&self.volume, name)
        )
    }
}

/// `[=====>    ]`, `columns` wide.
fn bar(done: u64, total: u64, columns: usize) -> String {
    let inside = columns.saturating_sub(2);
    let filled = u64::try_from(inside)
        .ok()
        .and_then(|inside| done.saturating_mul(inside).checked_div(total))
        .unwrap_or(0);
    let filled = usize::try_from(filled).unwrap_or(inside).min(inside);
    let head = if filled < inside { ">" } else { "" };
    format!(
        "[{}{head}{}]",
        "=".repeat(filled),
        " ".repeat(inside.saturating_sub(filled).saturating_sub(head.len()))
    )
}

/// Time left by the rate so far, seconds; none while the rate means nothing.
pub(crate) fn secs_left(done: u64, total: u64, elapsed: Duration) -> Option<u64> {
    if elapsed < RATE_AFTER {
        return None;
    }
    let rate = done
        .saturating_mul(1000)
        .checked_div(u64::try_from(elapsed.as_millis()).ok()?)?;
    let left = total.saturating_sub(done);
    left.checked_div(rate).filter(|_| left > 0)
}

/// `0:48`, `1:02:03`.
pub(crate) fn minutes(secs: u64) -> String {
    let (hours, minutes, secs) = (secs / 3600, secs / 60 % 60, secs % 60);
    if hours == 0 {
        format!("{minutes}:{secs:02}")
    } else {
        format!("{hours}:{minutes:02}:{secs:02}")
    }
}

/// Columns of the terminal at standard error.
fn columns() -> usize {
    let found =
        rustix::termios::tcgetwinsize(rustix::stdio::stderr()).map_or(0, |size| size.ws_col);
    usize::from(if found == 0 { 80 } else { found })
}

/// A step in one word or two.
pub(crate) fn word(phase: Phase) -> &'static str {
    match phase {
        Phase::Unlocking => "unlocking",
        Phase::Reading => "reading",
        Phase::Committing => "committing",
        Phase::Loading => "loading",
        Phase::Restoring => "restoring",
        Phase::ReadingBack => "reading back",
        Phase::Verifying => "verifying",
        Phase::Copying => "copying",
    }
}

fn json_line(told: &Told) -> String {
    serde_json::json!({
        "phase": word(told.phase),
        "volume": told.volume,
        "done_bytes": told.done_bytes,
        "total_bytes": told.total_bytes,
        "sent_bytes": told.sent_bytes,
    })
    .to_string()
}

/// A closed standard error is ignored: progress is no reason to fail.
fn write_line(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parts(volume: &str) -> Parts {
        Parts {
            phase: "reading",
            place: "2/5 ".into(),
            volume: volume.into(),
            share: Some((44, 100)),
            percent: "44 %".into(),
            amount: "4.4 of 10 GiB".into(),
            rate: "120 MiB/s".into(),
            left: "0:48 left".into(),
            sent: "1.2 GiB sent".into(),
        }
    }

    proptest! {
        #[test]
        fn a_line_never_wraps(volume in "\\PC{0,80}", columns in 0..200_usize) {
            let line = parts(&volume).bar(columns);
            prop_assert!(width(&line) <= columns, "{line:?}");
        }
    }

    #[test]
    fn what_is_least_missed_is_left_out_first() {
        let lines: Vec<String> = [120, 79, 60, 40, 20]
            .into_iter()
            .map(|columns| parts("private.img").bar(columns))
            .collect();
        assert_eq!(
            lines,
            [
                "2/5 reading private.img  [=============>                ]  44 %  4.4 of 10 GiB  120 MiB/s  0:48 left  1.2 GiB sent",
                "2/5 reading private.img  [===>     ]  44 %  4.4 of 10 GiB  120 MiB/s  0:48 left",
                "2/5 reading private.img  [=====>      ]  44 %  4.4 of 10 GiB",
                "2/5 reading private.img  44 %",
                "2/5 reading pri...mg",
            ]
        );
    }

    #[test]
    fn a_plain_line_says_all() {
        assert_eq!(
            parts("vm").line(),
            "2/5 reading vm: 44 %, 4.4 of 10 GiB, 120 MiB/s, 0:48 left, 1.2 GiB sent"
        );
        assert_eq!(
            (minutes(48).as_str(), minutes(3723).as_str()),
            ("0:48", "1:02:03")
        );
    }
}
