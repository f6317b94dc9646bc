// SPDX-License-Identifier: GPL-3.0-or-later
//! How far a job is, on standard error: a line that is rewritten on a terminal, plain lines elsewhere, or JSON lines.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use wyng_control::{Phase, Progress as Told};

use crate::cli::{Options, ProgressStyle};
use crate::quantity::show_bytes;
use crate::report::plain;

/// Without a terminal a line is worth printing this often, and at each new phase or volume.
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
    /// What the rate is counted for, and since when.
    current: Option<(Phase, Option<String>, Instant)>,
    last_line: Option<Instant>,
    bar_shown: bool,
}

impl Progress {
    pub(crate) fn new(options: &Options) -> Self {
        let style = match options.progress {
            _ if options.quiet => Style::None,
            ProgressStyle::None => Style::None,
            ProgressStyle::Json => Style::Json,
            ProgressStyle::Auto if std::io::stderr().is_terminal() => Style::Bar,
            ProgressStyle::Auto => Style::Lines,
        };
        Self { style, current: None, last_line: None, bar_shown: false }
    }

    pub(crate) fn show(&mut self, told: &Told) {
        let is_new = self.current.as_ref().is_none_or(|(phase, volume, _)| *phase != told.phase || *volume != told.volume);
        if is_new {
            self.current = Some((told.phase, told.volume.clone(), Instant::now()));
        }
        match self.style {
            Style::None => {}
            Style::Json => write_line(&json_line(told)),
            Style::Bar => {
                let mut stderr = std::io::stderr();
                let _ = write!(stderr, "\r\x1b[K{}", self.line(told)).and_then(|()| stderr.flush());
                self.bar_shown = true;
            }
            Style::Lines if is_new || self.last_line.is_none_or(|last| last.elapsed() >= LINE_EVERY) => {
                self.last_line = Some(Instant::now());
                write_line(&self.line(told));
            }
            Style::Lines => {}
        }
    }

    /// Others' commands come first.
    pub(crate) fn say_queued(&mut self, before: u32) {
        match self.style {
            Style::None => {}
            Style::Json => write_line(&serde_json::json!({"phase": "queued", "before": before}).to_string()),
            Style::Bar | Style::Lines => write_line(&format!("waiting for {before} other command{}", if before == 1 { "" } else { "s" })),
        }
    }

    /// Somebody else's command runs.
    pub(crate) fn say_running(&mut self, command: &str, archive: Option<&str>, queued: u32) {
        self.clear();
        match self.style {
            Style::None => {}
            Style::Json => {
                write_line(&serde_json::json!({"phase": "running", "command": command, "archive": archive, "queued": queued}).to_string());
            }
            Style::Bar | Style::Lines => {
                let archive = archive.map(|archive| format!(" {}", plain(archive))).unwrap_or_default();
                write_line(&format!("{command}{archive} runs, {queued} wait"));
            }
        }
    }

    /// Takes the bar away before something else is printed.
    pub(crate) fn clear(&mut self) {
        if std::mem::take(&mut self.bar_shown) {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }

    fn line(&self, told: &Told) -> String {
        let mut line = word(told.phase).to_owned();
        if let Some(volume) = &told.volume {
            line.push(' ');
            line.push_str(&plain(volume));
        }
        if told.phase == Phase::Unlocking && told.total_bytes > 1 {
            return format!("{line}: slot {} of {}", told.done_bytes.saturating_add(1), told.total_bytes);
        }
        if told.phase == Phase::Unlocking {
            return line;
        }
        if told.phase == Phase::Loading {
            return format!("{line}: {} of {} packs", told.done_bytes, told.total_bytes);
        }
        if told.total_bytes == 0 {
            return line;
        }
        let percent = told.done_bytes.saturating_mul(100) / told.total_bytes;
        line.push_str(&format!(": {percent:3} % of {}", show_bytes(told.total_bytes)));
        let millis = self.current.as_ref().map_or(0, |(.., since)| u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX));
        let rate = told.done_bytes.saturating_mul(1000).checked_div(millis).unwrap_or(0);
        if rate > 0 && millis > 1000 {
            let left = told.total_bytes.saturating_sub(told.done_bytes) / rate;
            line.push_str(&format!(", {}/s, {}:{:02} left", show_bytes(rate), left / 60, left % 60));
        }
        if told.sent_bytes > 0 {
            line.push_str(&format!(", {} sent", show_bytes(told.sent_bytes)));
        }
        line
    }
}

fn word(phase: Phase) -> &'static str {
    match phase {
        Phase::Unlocking => "unlocking",
        Phase::Reading => "reading",
        Phase::Committing => "committing",
        Phase::Loading => "loading",
        Phase::Restoring => "restoring",
        Phase::ReadingBack => "reading back",
        Phase::Verifying => "verifying",
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

/// Standard error may be closed; progress is no reason to fail.
fn write_line(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
