// SPDX-License-Identifier: GPL-3.0-or-later
//! What the overview knows: events and keys in, wishes out. Pure: it connects to nothing, reads no
//! clock and knows no terminal. `view.rs` says what is shown of it.

use std::collections::VecDeque;
use std::time::Instant;

use wyng_control::{
    ArchiveAges, ArchiveSummary, Command, Phase, Progress, SessionLine, ToClient, VolumeLine,
};

use super::keys::Key;
use super::timers::Timer;
use crate::message::Message;
use crate::plain::plain;
use crate::progress::{minutes, secs_left, word};
use crate::quantity::session_name;

/// Maximum length of a path that is typed, bytes.
const PATH_MAX_BYTES: usize = 1024;
/// dom0, which is no qube that can be made.
const DOM0: &str = "dom0";
/// Rows that a page key moves by.
const PAGE: usize = 10;

/// A command that is asked for its results.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Look {
    /// The archives, with their ages: `status`.
    Archives,
    /// The volumes and sessions of this archive: `list`.
    Volumes(String),
}

impl Look {
    /// The command.
    pub(super) fn command(&self) -> Command {
        match self {
            Self::Archives => Command::Status {
                archive: None,
                trust_clock: false,
            },
            Self::Volumes(archive) => Command::List {
                archive: archive.clone(),
                volume: None,
                session: None,
                sizes: false,
            },
        }
    }
}

/// Whether running commands are heard of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Daemon {
    /// They are.
    Follows,
    /// No daemon is there.
    Gone,
    /// Each look has a daemon of its own.
    Private,
}

/// What a person asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wish {
    /// To leave.
    Leave,
    /// To read everything again, timers too.
    Read,
    /// To run `wyng-ctl` with these words.
    Run(Vec<String>),
}

pub(super) struct Volume {
    pub(super) line: VolumeLine,
    /// Newest first.
    pub(super) sessions: Vec<SessionLine>,
}

pub(super) struct Archive {
    pub(super) summary: ArchiveSummary,
    pub(super) ages: Option<ArchiveAges>,
    /// By name. `None`: not known yet.
    pub(super) volumes: Option<Vec<Volume>>,
}

/// A row of the list of archives and volumes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Row {
    Archive {
        archive: String,
    },
    /// A qube, whose volumes follow.
    Qube {
        archive: String,
        qube: String,
    },
    Volume {
        archive: String,
        volume: String,
    },
}

/// Where keys go.
pub(super) enum Focus {
    Volumes,
    Sessions,
    /// A path is typed.
    Path(String),
    /// The command is shown, and confirmed or not.
    Command(Vec<String>),
}

/// A job of the daemon.
pub(super) struct Job {
    pub(super) name: String,
    pub(super) queued: u32,
    /// The present step, and when it began.
    pub(super) step: Option<(Phase, Option<String>, Instant)>,
    /// The step in words.
    pub(super) shown: String,
}

/// What the overview knows.
pub(super) struct State {
    /// Words of the command line that each command gets.
    pub(super) options: Vec<String>,
    /// The person's home folder, for paths that begin with `~/`.
    pub(super) home: Option<String>,
    pub(super) archives: Vec<Archive>,
    /// Number of the chosen row, and of the chosen session.
    pub(super) row: usize,
    pub(super) session: usize,
    pub(super) focus: Focus,
    pub(super) looks: VecDeque<Look>,
    /// The look that runs, with its results so far.
    pub(super) looking: Option<(Look, Vec<Archive>, Vec<Volume>)>,
    pub(super) daemon: Daemon,
    pub(super) job: Option<Job>,
    pub(super) timer: Option<Timer>,
    /// The last thing worth a line.
    pub(super) note: String,
}

impl State {
    /// Nothing is known yet.
    pub(super) fn new(options: Vec<String>, home: Option<String>, daemon: Daemon) -> Self {
        Self {
            options,
            home,
            archives: Vec::new(),
            row: 0,
            session: 0,
            focus: Focus::Volumes,
            looks: VecDeque::from([Look::Archives]),
            looking: None,
            daemon,
            job: None,
            timer: None,
            note: "Reading the archives ...".to_owned(),
        }
    }

    /// The next look, if none runs. Its results and its end are to follow.
    pub(super) fn next_look(&mut self) -> Option<Look> {
        if self.looking.is_some() {
            return None;
        }
        let look = self.looks.pop_front()?;
        self.looking = Some((look.clone(), Vec::new(), Vec::new()));
        Some(look)
    }

    /// A result of the look that runs.
    pub(super) fn take_result(&mut self, event: ToClient) {
        let Some((look, archives, volumes)) = &mut self.looking else {
            return;
        };
        match (look, event) {
            (Look::Archives, ToClient::Archive(summary)) => archives.push(Archive {
                summary: *summary,
                ages: None,
                volumes: None,
            }),
            (Look::Archives, ToClient::Ages(ages)) => {
                if let Some(archive) = archives.last_mut() {
                    archive.ages = Some(ages);
                }
            }
            (Look::Volumes(_), ToClient::Volume(line)) => volumes.push(Volume {
                line,
                sessions: Vec::new(),
            }),
            (Look::Volumes(_), ToClient::Session(session)) => {
                if let Some(volume) = volumes.last_mut() {
                    volume.sessions.push(session);
                }
            }
            (_, ToClient::Failed(failure)) => {
                self.note = plain(&Message::of_failure(&failure).text);
            }
            _ => {}
        }
    }

    /// The end of the look that runs; `failed` says why there are no results.
    pub(super) fn end_look(&mut self, failed: Option<&str>) {
        let (row, session) = (self.chosen(), self.chosen_session());
        let Some((look, archives, mut volumes)) = self.looking.take() else {
            return;
        };
        if let Some(why) = failed {
            self.note = plain(why);
            return;
        }
        match look {
            Look::Archives => {
                self.take_archives(archives);
                if self.note.starts_with("Reading") {
                    self.note = String::new();
                }
            }
            Look::Volumes(name) => {
                volumes.sort_by(|a, b| a.line.name.cmp(&b.line.name));
                for volume in &mut volumes {
                    volume.sessions.reverse();
                }
                if let Some(archive) = self.archive_mut(&name) {
                    archive.volumes = Some(volumes);
                }
            }
        }
        self.choose(row.as_ref(), session);
    }

    /// The volumes that are known already stay until they are listed anew.
    fn take_archives(&mut self, archives: Vec<Archive>) {
        let mut known = std::mem::take(&mut self.archives);
        self.archives = archives;
        for archive in &mut self.archives {
            let name = &archive.summary.name;
            let before = known.iter_mut().find(|known| known.summary.name == *name);
            archive.volumes = before.and_then(|before| before.volumes.take());
            self.looks.push_back(Look::Volumes(name.clone()));
        }
    }

    /// An event of another client's command.
    pub(super) fn hear(&mut self, event: &ToClient, now: Instant) {
        match event {
            ToClient::Hello { .. } => {
                let was = std::mem::replace(&mut self.daemon, Daemon::Follows);
                if was == Daemon::Gone && self.looking.is_none() {
                    self.reload();
                }
            }
            ToClient::Running {
                command,
                archive,
                queued,
            } => {
                let archive = archive.as_deref().unwrap_or_default();
                self.job = Some(Job {
                    name: plain(format!("{command} {archive}").trim_end()),
                    queued: *queued,
                    step: None,
                    shown: String::new(),
                });
            }
            ToClient::Progress(told) => {
                if let Some(job) = &mut self.job {
                    job.step(told, now);
                }
            }
            ToClient::Ended(ended) => {
                self.job = None;
                let archive = ended.archive.as_deref().unwrap_or_default();
                self.note = plain(&format!(
                    "{} {archive} ended with status {}.",
                    ended.command,
                    ended.exit.code()
                ));
                self.reload();
            }
            _ => {}
        }
    }

    /// No daemon is there any more.
    pub(super) fn lose_daemon(&mut self) {
        self.daemon = Daemon::Gone;
        self.job = None;
    }

    /// The next timer.
    pub(super) fn take_timer(&mut self, timer: Option<Timer>) {
        self.timer = timer;
    }

    /// The command that was run has ended.
    pub(super) fn ran(&mut self, status: Option<i32>) {
        self.focus = Focus::Sessions;
        self.note = match status {
            Some(status) => format!("The command ended with status {status}."),
            None => "The command was killed, or could not be started.".to_owned(),
        };
        self.reload();
    }

    /// Asks for everything again.
    pub(super) fn reload(&mut self) {
        if !self.looks.contains(&Look::Archives) {
            self.looks.clear();
            self.looks.push_back(Look::Archives);
        }
    }

    /// Takes a key.
    pub(super) fn press(&mut self, key: Key) -> Option<Wish> {
        match (&mut self.focus, key) {
            (Focus::Path(_), key) => self.type_path(key),
            (Focus::Command(words), Key::Char('y')) => {
                return Some(Wish::Run(std::mem::take(words)));
            }
            (Focus::Command(_), Key::Char('n' | 'q') | Key::Escape | Key::Left) => {
                self.focus = Focus::Sessions;
            }
            (Focus::Command(_), _) => {}
            (_, Key::Char('q')) => return Some(Wish::Leave),
            (_, Key::Char('r')) => {
                self.note = "Reading the archives ...".to_owned();
                self.reload();
                return Some(Wish::Read);
            }
            (Focus::Volumes, key) => self.move_among_volumes(key),
            (Focus::Sessions, key) => self.move_among_sessions(key),
        }
        None
    }

    fn move_among_volumes(&mut self, key: Key) {
        let before = self.row;
        self.row = moved(self.row, self.rows().len(), key);
        if self.row != before {
            self.session = 0;
        }
        if matches!(key, Key::Enter | Key::Right | Key::Tab) {
            match self.sessions().is_empty() {
                true => self.note = "Choose a qube or volume that has sessions.".to_owned(),
                false => self.focus = Focus::Sessions,
            }
        }
    }

    fn move_among_sessions(&mut self, key: Key) {
        self.session = moved(self.session, self.sessions().len(), key);
        match key {
            Key::Left | Key::Tab | Key::Escape | Key::Backspace => self.focus = Focus::Volumes,
            Key::Enter if self.session < self.sessions().len() => {
                self.focus = match self.qube_words() {
                    // The command itself shows its plan, and asks.
                    Some(words) => Focus::Command(words),
                    None => Focus::Path(self.proposed_path()),
                };
            }
            _ => {}
        }
    }

    fn type_path(&mut self, key: Key) {
        let Focus::Path(path) = &mut self.focus else {
            return;
        };
        match key {
            Key::Escape => self.focus = Focus::Sessions,
            Key::Backspace => {
                path.pop();
            }
            Key::Char(char) if path.len().saturating_add(char.len_utf8()) <= PATH_MAX_BYTES => {
                path.push(char);
            }
            Key::Enter if !path.is_empty() => {
                let path = std::mem::take(path);
                match self.restore_words(&path) {
                    Some(words) => self.focus = Focus::Command(words),
                    // The session has gone meanwhile.
                    None => self.focus = Focus::Volumes,
                }
            }
            _ => {}
        }
    }

    /// A file in the present folder.
    fn proposed_path(&self) -> String {
        let Some(Row::Volume { volume, .. }) = self.chosen() else {
            return String::new();
        };
        let is_harmless = |char: &char| char.is_ascii_alphanumeric() || matches!(char, '.' | '_');
        let name: String = volume
            .chars()
            .take(64)
            .map(|char| if is_harmless(&char) { char } else { '-' })
            .collect();
        format!("restored-{name}")
    }

    /// The words after `wyng-ctl` that make the chosen qube again as it was in the chosen session;
    /// `None` if a volume is chosen.
    fn qube_words(&self) -> Option<Vec<String>> {
        let Some(Row::Qube { archive, qube }) = self.chosen() else {
            return None;
        };
        let session = session_name(self.chosen_session()?);
        let mut words = self.options.clone();
        let of_restore = ["restore".to_owned(), archive];
        words.extend(of_restore);
        // It is no option, whatever it is called.
        match qube.starts_with('-') {
            true => words.push(format!("--qube={qube}")),
            false => words.extend(["--qube".to_owned(), qube]),
        }
        words.extend(["--session".to_owned(), session]);
        Some(words)
    }

    /// The words after `wyng-ctl` that restore the chosen session to this path.
    fn restore_words(&self, path: &str) -> Option<Vec<String>> {
        let Some(Row::Volume { archive, volume }) = self.chosen() else {
            return None;
        };
        let session = session_name(self.chosen_session()?);
        let path = match (path.strip_prefix("~/"), &self.home) {
            (Some(rest), Some(home)) => format!("{home}/{rest}"),
            // It is no option, and not standard output.
            _ if path.starts_with('-') => format!("./{path}"),
            _ => path.to_owned(),
        };
        let names = [archive, volume];
        let options = ["--session".to_owned(), session, "--to".to_owned(), path];
        let mut words = self.options.clone();
        words.push("restore".to_owned());
        if names.iter().any(|name| name.starts_with('-')) {
            words.extend(options);
            words.push("--".to_owned());
            words.extend(names);
        } else {
            words.extend(names);
            words.extend(options);
        }
        Some(words)
    }

    /// The rows of the list of archives and volumes.
    pub(super) fn rows(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        for archive in &self.archives {
            let name = || archive.summary.name.clone();
            rows.push(Row::Archive { archive: name() });
            let mut last = None;
            for volume in archive.volumes.iter().flatten() {
                let volume = &volume.line.name;
                let qube = volume.split_once(':').map(|(qube, _)| qube);
                if let Some(qube) = qube.filter(|qube| last != Some(*qube)) {
                    rows.push(Row::Qube {
                        archive: name(),
                        qube: qube.to_owned(),
                    });
                }
                last = qube;
                rows.push(Row::Volume {
                    archive: name(),
                    volume: volume.clone(),
                });
            }
        }
        rows
    }

    pub(super) fn chosen(&self) -> Option<Row> {
        self.rows().into_iter().nth(self.row)
    }

    /// The time that names the chosen session.
    pub(super) fn chosen_session(&self) -> Option<i64> {
        self.sessions()
            .get(self.session)
            .map(|session| session.session)
    }

    /// Chooses this row and this session again. If one of them has gone, the nearest one is chosen,
    /// and a choice that was made of it is taken back.
    fn choose(&mut self, row: Option<&Row>, session: Option<i64>) {
        let rows = self.rows();
        let found_row = rows.iter().position(|found| Some(found) == row);
        let nearest = self.row.min(rows.len().saturating_sub(1));
        self.row = found_row.unwrap_or(nearest);
        let mut sessions = self.sessions().iter();
        let found_session = sessions.position(|found| Some(found.session) == session);
        let nearest = self.session.min(self.sessions().len().saturating_sub(1));
        self.session = found_session.unwrap_or(nearest);
        let has_gone = found_row.is_none() || found_session.is_none();
        if has_gone && matches!(self.focus, Focus::Sessions | Focus::Path(_)) {
            self.focus = Focus::Volumes;
        }
    }

    /// The sessions of the chosen volume, or those in which the chosen qube can be made again:
    /// newest first.
    pub(super) fn sessions(&self) -> &[SessionLine] {
        let (archive, volume) = match self.chosen() {
            Some(Row::Volume { archive, volume }) => (archive, volume),
            Some(Row::Qube { archive, qube }) if qube != DOM0 => {
                (archive, format!("{qube}:settings"))
            }
            _ => return &[],
        };
        let archive = self
            .archives
            .iter()
            .find(|found| found.summary.name == archive);
        let mut volumes = archive
            .into_iter()
            .flat_map(|found| found.volumes.iter().flatten());
        volumes
            .find(|found| found.line.name == volume)
            .map_or(&[], |found| &found.sessions)
    }

    fn archive_mut(&mut self, name: &str) -> Option<&mut Archive> {
        let mut archives = self.archives.iter_mut();
        archives.find(|archive| archive.summary.name == name)
    }
}

impl Job {
    fn step(&mut self, told: &Progress, now: Instant) {
        let since = match &self.step {
            Some((phase, volume, since)) if *phase == told.phase && *volume == told.volume => {
                *since
            }
            _ => now,
        };
        self.step = Some((told.phase, told.volume.clone(), since));
        let done = told.done_bytes.min(told.total_bytes);
        let volume = told
            .volume
            .as_deref()
            .map_or_else(String::new, |volume| format!(" {volume}"));
        let percent = done.saturating_mul(100).checked_div(told.total_bytes);
        let percent = percent.map_or_else(String::new, |percent| format!(", {percent} %"));
        let left = secs_left(done, told.total_bytes, now.saturating_duration_since(since));
        let left = left.map_or_else(String::new, |left| format!(", {} left", minutes(left)));
        self.shown = plain(&format!("{}{volume}{percent}{left}", word(told.phase)));
    }
}

/// The number of a line after a key, among so many.
fn moved(from: usize, count: usize, key: Key) -> usize {
    let to = match key {
        Key::Up => from.saturating_sub(1),
        Key::Down => from.saturating_add(1),
        Key::PageUp => from.saturating_sub(PAGE),
        Key::PageDown => from.saturating_add(PAGE),
        Key::Home => 0,
        Key::End => usize::MAX,
        _ => from,
    };
    to.min(count.saturating_sub(1))
}
