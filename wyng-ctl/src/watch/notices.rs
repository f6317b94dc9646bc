// SPDX-License-Identifier: GPL-3.0-or-later
//! Which notice each event of the daemon becomes. Pure: no clock, no program. A notice has our
//! words only, and no name that does not keep to a strict alphabet.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use wyng_control::{EndedCommand, ExitStatus, Phase, Progress, ToClient};

use crate::progress::{minutes, secs_left, word};
use crate::quantity::show_bytes;

/// The commands that may take long enough for a notice: their words, and what a person calls them.
const TASKS: [(&str, &str); 8] = [
    ("backup", "Backup"),
    ("restore", "Restore"),
    ("rehearse", "Rehearsal"),
    ("verify", "Verify"),
    ("diff", "Comparison"),
    ("prune", "Prune"),
    ("compact", "Compaction"),
    ("archive copy", "Copy"),
];

/// Minimum step between two notices of one volume, percent.
const STEP_PERCENT: u64 = 10;
/// Minimum time between two notices of progress.
const STEP_EVERY: Duration = Duration::from_secs(3);
/// Time after which the same overdue backups are shown again.
const OVERDUE_EVERY: Duration = Duration::from_secs(24 * 3600);
/// Maximum length of a name in a notice, bytes.
const NAME_MAX_BYTES: usize = 64;
/// Maximum number of commands whose failure is remembered.
const FAILED_MAX: usize = 256;
/// What a notice of a failure ends with.
const MORE: &str = "In a terminal, wyng-ctl status says more.";

/// Which notice on the screen a notice replaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// None: a command begins.
    Begins,
    /// That of the running command.
    Continues,
    /// The same, for the last time.
    Ends,
    /// None: it is about no command.
    Alone,
}

/// How much a notice matters, in the words of notify-send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Urgency {
    Low,
    Normal,
    Critical,
}

/// A notice on the desktop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Notice {
    pub(crate) place: Place,
    pub(crate) urgency: Urgency,
    /// Plain text, without any name.
    pub(crate) title: String,
    /// Text in which desktops may look for markup; there is none in it.
    pub(crate) body: String,
}

/// The command that runs, as far as it was told of.
struct Running {
    /// Its words.
    command: String,
    task: &'static str,
    /// Its archive and a colon, where its name may be shown.
    of: String,
    /// The present step, and when it began.
    step: Option<(Phase, Option<String>, Instant)>,
    /// Percent of the last notice of the step.
    percent: u64,
    shown: Instant,
}

/// What was told of so far.
#[derive(Default)]
pub(crate) struct Notices {
    running: Option<Running>,
    /// Tasks that failed last, with their archives.
    failed: BTreeSet<(&'static str, Option<String>)>,
    /// The overdue archives that were shown last, and when.
    overdue: Option<(BTreeSet<String>, Instant)>,
}

impl Notices {
    /// The notice of an event, if it is worth one.
    pub(crate) fn hear(&mut self, event: &ToClient, now: Instant) -> Option<Notice> {
        match event {
            ToClient::Running {
                command, archive, ..
            } => self.begin(command, archive.as_deref(), now),
            ToClient::Progress(progress) => self.step(progress, now),
            ToClient::Ended(ended) => self.end(ended),
            _ => None,
        }
    }

    /// The daemon is gone: a command that ran was cut off.
    pub(crate) fn lose(&mut self) -> Option<Notice> {
        let running = self.running.take()?;
        Some(Notice {
            place: Place::Ends,
            urgency: Urgency::Normal,
            title: format!("{} interrupted", running.task),
            body: escaped(&format!(
                "{}the daemon ended. What was backed up before is safe.",
                running.of
            )),
        })
    }

    /// The archives whose backups are overdue now; `None` is one that has no name to be shown.
    pub(crate) fn overdue(&mut self, archives: &[Option<&str>], now: Instant) -> Option<Notice> {
        let names: BTreeSet<String> = archives
            .iter()
            .map(|archive| archive.and_then(shown).unwrap_or("an archive").to_owned())
            .collect();
        if names.is_empty() {
            self.overdue = None;
            return None;
        }
        let is_known = self.overdue.as_ref().is_some_and(|(known, since)| {
            *known == names && now.saturating_duration_since(*since) < OVERDUE_EVERY
        });
        if is_known {
            return None;
        }
        let body = match (names.len(), names.first()) {
            (1, Some(name)) => format!("{name}: the last backup is too long ago. {MORE}"),
            (count, _) => format!("{count} archives have no backup of late. {MORE}"),
        };
        self.overdue = Some((names, now));
        Some(Notice {
            place: Place::Alone,
            urgency: Urgency::Critical,
            title: "A backup is overdue".to_owned(),
            body: escaped(&body),
        })
    }

    fn begin(&mut self, command: &str, archive: Option<&str>, now: Instant) -> Option<Notice> {
        self.running = None;
        let (_, task) = TASKS.iter().find(|(words, _)| *words == command)?;
        let of = archive
            .and_then(shown)
            .map_or_else(String::new, |archive| format!("{archive}: "));
        let body = format!("{of}it has begun");
        self.running = Some(Running {
            command: command.to_owned(),
            task,
            of,
            step: None,
            percent: 0,
            shown: now,
        });
        Some(Notice {
            place: Place::Begins,
            urgency: Urgency::Low,
            title: format!("{task} runs"),
            body: escaped(&body),
        })
    }

    fn step(&mut self, told: &Progress, now: Instant) -> Option<Notice> {
        let running = self.running.as_mut()?;
        let is_new = running
            .step
            .as_ref()
            .is_none_or(|(phase, volume, _)| *phase != told.phase || *volume != told.volume);
        if is_new {
            running.step = Some((told.phase, told.volume.clone(), now));
            running.percent = 0;
        }
        let done = told.done_bytes.min(told.total_bytes);
        let percent = done.saturating_mul(100).checked_div(told.total_bytes)?;
        let far = percent.saturating_sub(running.percent) >= STEP_PERCENT;
        if !far || now.saturating_duration_since(running.shown) < STEP_EVERY {
            return None;
        }
        running.percent = percent;
        running.shown = now;
        let since = running.step.as_ref().map_or(now, |(.., since)| *since);
        let volume = match told.volume.as_deref() {
            Some(volume) => format!(" {}", shown(volume).unwrap_or("a volume")),
            None => String::new(),
        };
        let left = secs_left(done, told.total_bytes, now.saturating_duration_since(since));
        let left = left.map_or_else(String::new, |left| format!(", {} left", minutes(left)));
        Some(Notice {
            place: Place::Continues,
            urgency: Urgency::Low,
            title: format!("{} runs", running.task),
            body: escaped(&format!(
                "{}{}{volume}, {percent} %{left}",
                running.of,
                word(told.phase)
            )),
        })
    }

    fn end(&mut self, ended: &EndedCommand) -> Option<Notice> {
        let (_, task) = TASKS.iter().find(|(words, _)| *words == ended.command)?;
        let is_running = self
            .running
            .take_if(|running| running.command == ended.command)
            .is_some();
        let of = ended
            .archive
            .as_deref()
            .and_then(shown)
            .map_or_else(String::new, |archive| format!("{archive}: "));
        let key = (*task, ended.archive.clone());
        let (title, urgency, body) = match ended.exit {
            ExitStatus::Done if self.failed.remove(&key) => (
                format!("{task} done again"),
                Urgency::Normal,
                format!("{of}{}. The last one had failed.", tally(ended)),
            ),
            ExitStatus::Done => (
                format!("{task} done"),
                Urgency::Normal,
                format!("{of}{}", tally(ended)),
            ),
            ExitStatus::Interrupted => (
                format!("{task} interrupted"),
                Urgency::Normal,
                format!("{of}the same command continues where it stopped"),
            ),
            exit => {
                if self.failed.len() < FAILED_MAX {
                    self.failed.insert(key);
                }
                (
                    format!("{task} failed"),
                    Urgency::Critical,
                    format!("{of}{}{}. {MORE}", reason(exit), failures(ended)),
                )
            }
        };
        Some(Notice {
            place: if is_running {
                Place::Ends
            } else {
                Place::Alone
            },
            urgency,
            title,
            body: escaped(&body),
        })
    }
}

/// What a command did.
fn tally(ended: &EndedCommand) -> String {
    let volumes = counted(ended.volumes, "volume");
    match (ended.volumes, ended.sent_bytes) {
        (0, 0) => "everything is done".to_owned(),
        (0, sent) => format!("{} sent", show_bytes(sent)),
        (_, 0) => volumes,
        (_, sent) => format!("{volumes}, {} sent", show_bytes(sent)),
    }
}

fn failures(ended: &EndedCommand) -> String {
    let failures = counted(ended.failures, "failure");
    match (ended.volumes, ended.failures) {
        (0, 0) => "it did not succeed".to_owned(),
        (0, _) => failures,
        (done, _) => format!("{failures}, {} done", counted(done, "volume")),
    }
}

fn counted(count: u32, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn reason(exit: ExitStatus) -> &'static str {
    match exit {
        ExitStatus::Locked => "the passphrase is wrong or missing: ",
        ExitStatus::Damage => "damage, tampering or rollback was found: ",
        ExitStatus::Unreachable => "the store cannot be reached: ",
        ExitStatus::Partial => "not everything was done: ",
        _ => "",
    }
}

/// The name, if a notice may have it: of a strict alphabet, as `work:private` or `disk.img` are, and
/// not one that Qubes gives a meaning (`none`, `default`, the stub domains `*-dm`).
fn shown(name: &str) -> Option<&str> {
    let has_alphabet = |part: &str| {
        part.starts_with(|char: char| char.is_ascii_alphanumeric())
            && part
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
    };
    let is_free = |part: &str| !matches!(part, "none" | "default") && !part.ends_with("-dm");
    let mut parts = name.split(':');
    let (of, volume, more) = (parts.next()?, parts.next(), parts.next());
    // `work@2` is the second qube of that name.
    let (qube, number) = of.split_once('@').unwrap_or((of, "0"));
    let is_number =
        (1..=9).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit());
    let is_shown = name.len() <= NAME_MAX_BYTES
        && more.is_none()
        && is_number
        && [Some(qube), volume]
            .into_iter()
            .flatten()
            .all(|part| has_alphabet(part) && is_free(part));
    is_shown.then_some(name)
}

/// The text for a desktop that looks for markup in it.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            char => escaped.push(char),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running(command: &str) -> ToClient {
        ToClient::Running {
            command: command.into(),
            archive: Some("home".into()),
            queued: 0,
        }
    }

    fn progress(volume: &str, done_bytes: u64) -> ToClient {
        ToClient::Progress(Progress {
            phase: Phase::Reading,
            volume: Some(volume.into()),
            done_bytes,
            total_bytes: 1000,
            sent_bytes: 0,
        })
    }

    fn ended(exit: ExitStatus, volumes: u32, failures: u32) -> ToClient {
        ToClient::Ended(EndedCommand {
            command: "backup".into(),
            archive: Some("home".into()),
            exit,
            volumes,
            failures,
            sent_bytes: 3 << 20,
        })
    }

    fn after(begin: Instant, secs: u64) -> Instant {
        begin + Duration::from_secs(secs)
    }

    #[test]
    fn progress_is_shown_in_noticeable_steps_with_percent_and_time_left() {
        let (mut notices, begin) = (Notices::default(), Instant::now());
        let first = notices.hear(&running("backup"), begin).unwrap();
        assert_eq!(
            (first.place, first.title.as_str(), first.body.as_str()),
            (Place::Begins, "Backup runs", "home: it has begun")
        );
        let shown: Vec<(u64, Notice)> = (0..=100)
            .filter_map(|secs| {
                let event = progress("work:private", secs * 10);
                Some((secs, notices.hear(&event, after(begin, secs))?))
            })
            .collect();
        let at: Vec<u64> = shown.iter().map(|(secs, _)| *secs).collect();
        assert_eq!(at, [10, 20, 30, 40, 50, 60, 70, 80, 90, 100]);
        assert_eq!(
            shown[3].1.body,
            "home: reading work:private, 40 %, 1:00 left"
        );
        assert!(
            shown
                .iter()
                .all(|(_, notice)| notice.place == Place::Continues)
        );
        // Many small volumes are no reason for many notices.
        let end = after(begin, 100);
        let quick = (0..50)
            .filter_map(|volume| notices.hear(&progress(&format!("disk-{volume}"), 1000), end));
        assert_eq!(quick.count(), 0);
    }

    #[test]
    fn a_result_replaces_the_progress_and_the_first_success_after_a_failure_is_named() {
        let (mut notices, now) = (Notices::default(), Instant::now());
        let mut results = Vec::new();
        for event in [
            ended(ExitStatus::Done, 3, 0),
            ended(ExitStatus::Partial, 2, 1),
            ended(ExitStatus::Unreachable, 0, 1),
            ended(ExitStatus::Interrupted, 0, 0),
            ended(ExitStatus::Done, 1, 0),
            ended(ExitStatus::Done, 1, 0),
        ] {
            notices.hear(&running("backup"), now).unwrap();
            let Notice {
                place, title, body, ..
            } = notices.hear(&event, now).unwrap();
            assert_eq!(place, Place::Ends);
            results.push(format!("{title}: {body}"));
        }
        assert_eq!(
            results,
            [
                "Backup done: home: 3 volumes, 3 MiB sent",
                "Backup failed: home: not everything was done: 1 failure, 2 volumes done. In a terminal, wyng-ctl status says more.",
                "Backup failed: home: the store cannot be reached: 1 failure. In a terminal, wyng-ctl status says more.",
                "Backup interrupted: home: the same command continues where it stopped",
                "Backup done again: home: 1 volume, 3 MiB sent. The last one had failed.",
                "Backup done: home: 1 volume, 3 MiB sent",
            ]
        );
    }

    #[test]
    fn quick_commands_have_no_notice_and_a_lost_daemon_ends_that_of_the_running_one() {
        let (mut notices, now) = (Notices::default(), Instant::now());
        assert_eq!(notices.hear(&running("tag add"), now), None);
        assert_eq!(notices.hear(&progress("x", 500), after(now, 60)), None);
        assert_eq!(notices.lose(), None);
        notices.hear(&running("verify"), now).unwrap();
        let lost = notices.lose().unwrap();
        assert_eq!(
            (lost.place, lost.title.as_str()),
            (Place::Ends, "Verify interrupted")
        );
        assert_eq!(notices.lose(), None);
        // Its end is told of all the same, if it comes.
        let late = notices.hear(&ended(ExitStatus::Done, 1, 0), now).unwrap();
        assert_eq!(late.place, Place::Alone);
    }

    #[test]
    fn overdue_backups_are_shown_once_a_day_and_when_they_change() {
        let (mut notices, now) = (Notices::default(), Instant::now());
        assert_eq!(notices.overdue(&[], now), None);
        let first = notices.overdue(&[Some("home"), Some("home")], now).unwrap();
        assert_eq!(
            first.body,
            "home: the last backup is too long ago. In a terminal, wyng-ctl status says more."
        );
        assert_eq!(notices.overdue(&[Some("home")], after(now, 3600)), None);
        assert!(notices.overdue(&[Some("home"), Some("<b>")], now).is_some());
        let day = after(now, 24 * 3600);
        assert!(notices.overdue(&[Some("home"), None], day).is_some());
        assert_eq!(notices.overdue(&[], day), None);
        assert!(
            notices.overdue(&[Some("home")], day).is_some(),
            "again overdue"
        );
    }

    #[test]
    fn only_names_of_a_strict_alphabet_are_shown() {
        for name in [
            "work",
            "work:private",
            "work@2:private",
            "disk.img",
            "a-b_c.1",
        ] {
            assert_eq!(shown(name), Some(name));
        }
        let long = "x".repeat(65);
        for name in [
            "",
            "none",
            "default",
            "none:private",
            "work-dm",
            "work-dm:root",
            "work:default",
            "-x",
            "a b",
            "a<b>",
            "a&amp;",
            "ä",
            "a\u{202e}b",
            "a\nb",
            "a:b:c",
            "a@:b",
            "a@x:b",
            ":a",
            "a:",
            "../x",
            &long,
        ] {
            assert_eq!(shown(name), None, "{name:?}");
        }
        let mut notices = Notices::default();
        let now = Instant::now();
        notices.hear(&running("backup"), now).unwrap();
        let step = notices
            .hear(&progress("<b>\"x\"", 500), after(now, 10))
            .unwrap();
        assert_eq!(step.body, "home: reading a volume, 50 %");
        assert_eq!(
            escaped("<a href='x'>\"&"),
            "&lt;a href=&#39;x&#39;&gt;&quot;&amp;"
        );
    }
}
