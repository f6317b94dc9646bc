// SPDX-License-Identifier: GPL-3.0-or-later
//! What is shown of the overview's state. Pure. Text from elsewhere, such as the names in an
//! archive, is in a view only escaped; how wide the terminal is does not matter here.

use super::state::{Archive, Daemon, Focus, Job, Row, State};
use crate::clock::{Clock, duration};
use crate::plain::plain;
use crate::quantity::{counted, session_name, shell_word, show_bytes};
use wyng_control::SessionLine;

/// A line of a pane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) text: String,
    /// Shown at the right end, if there is room.
    pub(super) figure: String,
}

/// A list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pane {
    pub(super) title: String,
    pub(super) lines: Vec<Line>,
    /// Number of the chosen line.
    pub(super) chosen: Option<usize>,
    pub(super) has_keys: bool,
}

/// What takes the place of the panes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Dialog {
    /// Paragraphs, which are wrapped.
    pub(super) text: Vec<String>,
    /// What is typed, behind the last paragraph.
    pub(super) typed: Option<String>,
}

/// One screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct View {
    pub(super) head: String,
    pub(super) panes: [Pane; 2],
    pub(super) dialog: Option<Dialog>,
    pub(super) foot: [String; 3],
    pub(super) keys: &'static str,
}

impl State {
    /// The screen.
    pub(super) fn view(&self, clock: &Clock) -> View {
        let keys = match &self.focus {
            Focus::Volumes => "Up/Down move   Enter sessions   r read again   q leave",
            Focus::Sessions => "Up/Down move   Enter restore   Left back   r read again   q leave",
            Focus::Path(_) => "Enter show the command   Esc back",
            Focus::Command(_) => "y run it   n back",
        };
        let count = self.archives.len();
        View {
            head: format!("Wyng: {}", counted(count, "archive")),
            panes: [self.volumes_pane(), self.sessions_pane(clock)],
            dialog: self.dialog(),
            foot: [self.job_line(), self.timer_line(clock), self.note.clone()],
            keys,
        }
    }

    fn volumes_pane(&self) -> Pane {
        let line = |row: &Row| match row {
            Row::Archive { archive } => {
                let found = self
                    .archives
                    .iter()
                    .find(|found| found.summary.name == *archive);
                let count = found.map_or(0, |found| found.summary.volume_count);
                Line {
                    text: plain(archive),
                    figure: counted(count, "volume"),
                }
            }
            Row::Qube { qube, .. } => Line {
                text: format!("  {}", plain(qube)),
                figure: String::new(),
            },
            Row::Volume { archive, volume } => Line {
                text: match volume.split_once(':') {
                    Some((_, volume)) => format!("    {}", plain(volume)),
                    None => format!("  {}", plain(volume)),
                },
                figure: self
                    .size_of(archive, volume)
                    .map_or_else(String::new, show_bytes),
            },
        };
        Pane {
            title: "Archives, qubes and volumes".to_owned(),
            lines: self.rows().iter().map(line).collect(),
            chosen: Some(self.row),
            has_keys: matches!(self.focus, Focus::Volumes),
        }
    }

    fn size_of(&self, archive: &str, volume: &str) -> Option<u64> {
        let mut archives = self.archives.iter();
        let archive = archives.find(|found| found.summary.name == archive)?;
        let mut volumes = archive.volumes.iter().flatten();
        volumes
            .find(|found| found.line.name == volume)
            .map(|found| found.line.size_bytes)
    }

    fn sessions_pane(&self, clock: &Clock) -> Pane {
        let has_keys = matches!(self.focus, Focus::Sessions);
        let (title, lines) = match self.chosen() {
            Some(Row::Volume { volume, .. }) => {
                let lines = self
                    .sessions()
                    .iter()
                    .map(|session| line_of(session, clock));
                (format!("Sessions of {}", plain(&volume)), lines.collect())
            }
            Some(Row::Qube { qube, .. }) => {
                let lines = self
                    .sessions()
                    .iter()
                    .map(|session| line_of(session, clock));
                (format!("Qube {}", plain(&qube)), lines.collect())
            }
            Some(Row::Archive { archive }) => {
                let found = self
                    .archives
                    .iter()
                    .find(|found| found.summary.name == archive);
                let lines = found.map(|found| found.facts(clock)).unwrap_or_default();
                (format!("Archive {}", plain(&archive)), lines)
            }
            None => ("Nothing yet".to_owned(), Vec::new()),
        };
        Pane {
            title,
            lines,
            chosen: has_keys.then_some(self.session),
            has_keys,
        }
    }

    fn dialog(&self) -> Option<Dialog> {
        match &self.focus {
            Focus::Volumes | Focus::Sessions => None,
            Focus::Path(path) => Some(Dialog {
                text: vec!["Restore to a new file, which is not there yet:".to_owned()],
                typed: Some(plain(path)),
            }),
            Focus::Command(words) => {
                let words: Vec<String> =
                    words.iter().map(|word| plain(&shell_word(word))).collect();
                Some(Dialog {
                    text: vec![
                        "This command is run in this terminal:".to_owned(),
                        String::new(),
                        format!("wyng-ctl {}", words.join(" ")),
                        String::new(),
                        "Run it? [y/n]".to_owned(),
                    ],
                    typed: None,
                })
            }
        }
    }

    fn job_line(&self) -> String {
        let what = match (&self.job, self.daemon) {
            (Some(job), _) => job.shown(),
            (None, Daemon::Follows) => "nothing".to_owned(),
            (None, Daemon::Gone) => "not known, no daemon listens".to_owned(),
            (None, Daemon::Private) => "not known without the running daemon".to_owned(),
        };
        format!("Runs: {what}")
    }

    fn timer_line(&self, clock: &Clock) -> String {
        match &self.timer {
            Some(timer) => format!("Next: {}, {}", plain(&timer.unit), clock.local(timer.next)),
            None => "Next: no timer".to_owned(),
        }
    }
}

impl Job {
    fn shown(&self) -> String {
        let step = match self.shown.as_str() {
            "" => String::new(),
            step => format!(": {step}"),
        };
        let waits = match self.queued {
            0 => String::new(),
            queued => format!("; {queued} wait"),
        };
        format!("{}{step}{waits}", self.name)
    }
}

impl Archive {
    /// What a person wants to know of it first.
    fn facts(&self, clock: &Clock) -> Vec<Line> {
        let ages = self.ages.as_ref();
        let age = |time: i64, secs: Option<u64>| match time {
            0 => "never".to_owned(),
            time => format!("{} ago", clock.given_age(time, secs)),
        };
        let backup = ages.map_or((0, None), |ages| (ages.last_backup_time, ages.backup_secs));
        let verify = ages.map_or((0, None), |ages| (ages.last_verify_time, ages.verify_secs));
        let rows = [
            ("Last backup", age(backup.0, backup.1)),
            ("Verified", age(verify.0, verify.1)),
            ("In the store", show_bytes(self.summary.stored_bytes)),
            ("Store", plain(&self.summary.store_url)),
            ("Far end", plain(&self.summary.via)),
        ];
        rows.into_iter()
            .map(|(name, value)| Line {
                text: format!("{name}: {value}"),
                figure: String::new(),
            })
            .collect()
    }
}

/// A session: its name, what is special about it, and its age.
fn line_of(session: &SessionLine, clock: &Clock) -> Line {
    let mut words = vec![session_name(session.session)];
    let special = [
        (session.damaged, "damaged"),
        (session.pinned, "pinned"),
        (session.live, "live"),
    ];
    let special = special.into_iter().filter(|(is_it, _)| *is_it);
    words.extend(special.map(|(_, word)| word.to_owned()));
    words.extend(session.tags.iter().map(|tag| plain(&format!("^{tag}"))));
    Line {
        text: words.join(" "),
        figure: match session.age_secs {
            Some(secs) => duration(i64::try_from(secs).unwrap_or(i64::MAX)),
            None => clock.given_age(session.session, None),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use wyng_control::{
        Abilities, ArchiveSummary, EndedCommand, ExitStatus, Failure, Phase, Progress,
        ProofSummary, ToClient, VolumeLine,
    };

    use super::super::keys::Key;
    use super::super::state::{Look, Wish};
    use super::super::timers::Timer;
    use super::*;

    fn archive(name: &str) -> ToClient {
        ToClient::Archive(Box::new(ArchiveSummary {
            name: name.into(),
            id: "0123456789abcdef0123456789abcdef".into(),
            store_url: "dir:/srv/\x1b[2Jwyng".into(),
            via: "local".into(),
            verify_via: None,
            abilities: Abilities {
                create_only: None,
                durability: None,
            },
            lock: None,
            copies: Vec::new(),
            generation: 7,
            committed_time: 0,
            keys_proven_time: 0,
            keys_proven_age_secs: None,
            verified_time: 0,
            verified_age_secs: None,
            clock_skew_secs: 0,
            rehearsed_time: 0,
            proof: ProofSummary {
                proven_bytes: 0,
                by_pusher_bytes: 0,
                total_bytes: 0,
                oldest_unproven_secs: None,
            },
            chunk_size_bytes: 131_072,
            pack_size_bytes: 16_777_216,
            zstd_level: 3,
            volume_count: 3,
            pack_count: 2,
            stored_bytes: 3 << 20,
            hold_off_runs: 3,
            hold_off_secs: 0,
            minimum_age_secs: 0,
        }))
    }

    fn volume(name: &str) -> ToClient {
        ToClient::Volume(VolumeLine {
            name: name.into(),
            size_bytes: 10 << 30,
            description: String::new(),
            sizes: None,
        })
    }

    fn session(time: i64) -> ToClient {
        ToClient::Session(SessionLine {
            session: time,
            age_secs: Some(7200),
            generation: 1,
            tags: vec!["before".into()],
            size_bytes: 10 << 30,
            added_bytes: 0,
            live: false,
            pinned: true,
            damaged: false,
            acknowledged: false,
            sizes: None,
        })
    }

    /// Answers every look that is wanted: archive `home`, with these volumes and two sessions each.
    fn answer(state: &mut State, volumes: &[&str], times: &[i64]) {
        while let Some(look) = state.next_look() {
            match look {
                Look::Archives => state.take_result(archive("home")),
                Look::Volumes(name) => {
                    assert_eq!(name, "home");
                    for name in volumes {
                        state.take_result(volume(name));
                        times
                            .iter()
                            .for_each(|time| state.take_result(session(*time)));
                    }
                }
            }
            assert_eq!(state.next_look(), None, "one look at a time");
            state.end_look(None);
        }
    }

    const TIMES: [i64; 2] = [1_795_416_190, 1_795_502_590];

    fn known(volumes: &[&str]) -> State {
        let options = vec!["--config".to_owned(), "/etc/a b".to_owned()];
        let mut state = State::new(options, Some("/own".into()), Daemon::Follows);
        answer(&mut state, volumes, &TIMES);
        state
    }

    fn shown(state: &State) -> View {
        state.view(&Clock::here())
    }

    fn texts(pane: &Pane) -> Vec<&str> {
        pane.lines.iter().map(|line| line.text.as_str()).collect()
    }

    fn press(state: &mut State, keys: &[Key]) -> Option<Wish> {
        keys.iter().fold(None, |_, key| state.press(*key))
    }

    fn typed(text: &str) -> Vec<Key> {
        text.chars().map(Key::Char).collect()
    }

    #[test]
    fn volumes_are_grouped_by_qube_and_names_are_escaped() {
        let state = known(&[
            "work:root",
            "disk.img",
            "work:private",
            "a\x1b[2J\u{202e}b:c",
        ]);
        let view = shown(&state);
        assert_eq!(
            texts(&view.panes[0]),
            [
                "home",
                "  a\\u{1b}[2J\\u{202e}b",
                "    c",
                "  disk.img",
                "  work",
                "    private",
                "    root"
            ]
        );
        assert_eq!(view.panes[0].lines[5].figure, "10 GiB");
        assert!(texts(&view.panes[1]).contains(&"Store: dir:/srv/\\u{1b}[2Jwyng"));
        assert_eq!(view.foot, ["Runs: nothing", "Next: no timer", ""]);
    }

    #[test]
    fn a_restore_is_composed_shown_and_confirmed() {
        let mut state = known(&["work:private", "work:root"]);
        press(&mut state, &[Key::Down, Key::Enter]);
        assert!(
            shown(&state).panes[0].has_keys,
            "a qube has no sessions of its own"
        );
        press(
            &mut state,
            &[Key::Down, Key::Down, Key::Up, Key::Enter, Key::Down],
        );
        let view = shown(&state);
        assert_eq!(view.panes[1].title, "Sessions of work:private");
        assert_eq!(
            texts(&view.panes[1]),
            [
                "2026-11-24T06:43:10Z pinned ^before",
                "2026-11-23T06:43:10Z pinned ^before"
            ]
        );
        assert_eq!(
            (view.panes[1].chosen, view.panes[1].lines[0].figure.as_str()),
            (Some(1), "2 h")
        );
        press(&mut state, &[Key::Enter]);
        let asked = shown(&state).dialog.unwrap();
        assert_eq!(asked.typed.as_deref(), Some("restored-work-private"));
        press(&mut state, &[Key::Backspace; 21]);
        press(&mut state, &typed("~/it's"));
        assert_eq!(press(&mut state, &[Key::Enter]), None);
        let asked = shown(&state).dialog.unwrap();
        assert_eq!(
            asked.text[2],
            "wyng-ctl --config '/etc/a b' restore home work:private --session 2026-11-23T06:43:10Z --to '/own/it'\\''s'"
        );
        assert_eq!(
            press(&mut state, &[Key::Enter, Key::Char('x')]),
            None,
            "only y runs it"
        );
        let Some(Wish::Run(words)) = state.press(Key::Char('y')) else {
            panic!("it is run");
        };
        assert_eq!(words[1..4], ["/etc/a b", "restore", "home"]);
        assert_eq!(words.last().unwrap(), "/own/it's");
        state.ran(Some(0));
        let view = shown(&state);
        assert_eq!(
            (view.dialog, view.foot[2].as_str()),
            (None, "The command ended with status 0.")
        );
        assert_eq!(
            state.next_look(),
            Some(Look::Archives),
            "everything is read again"
        );
    }

    #[test]
    fn a_qube_is_restored_from_a_session_of_its_settings_and_dom0_is_not() {
        let mut state = known(&["dom0:settings", "work:private", "work:settings"]);
        press(&mut state, &[Key::Down, Key::Enter]);
        let view = shown(&state);
        assert!(
            view.panes[0].has_keys && view.panes[1].lines.is_empty(),
            "dom0"
        );
        press(&mut state, &[Key::Down, Key::Down, Key::Enter, Key::Down]);
        let view = shown(&state);
        assert_eq!(view.panes[1].title, "Qube work");
        assert_eq!(view.panes[1].lines.len(), 2);
        press(&mut state, &[Key::Enter]);
        let asked = shown(&state).dialog.unwrap();
        assert_eq!(
            asked.text[2],
            "wyng-ctl --config '/etc/a b' restore home --qube work --session 2026-11-23T06:43:10Z"
        );
        let Some(Wish::Run(words)) = state.press(Key::Char('y')) else {
            panic!("it is run");
        };
        assert_eq!(words[4..6], ["--qube", "work"]);
        // A name is no option.
        let mut state = known(&["-x:settings"]);
        press(&mut state, &[Key::Down, Key::Enter, Key::Enter]);
        let asked = shown(&state).dialog.unwrap();
        assert!(asked.text[2].contains(" --qube=-x "), "{asked:?}");
    }

    #[test]
    fn no_name_and_no_path_becomes_an_option() {
        let mut state = known(&["-x"]);
        press(&mut state, &[Key::Down, Key::Enter, Key::Enter]);
        press(&mut state, &[Key::Backspace; 20]);
        press(&mut state, &typed("-"));
        press(&mut state, &[Key::Enter]);
        let Some(Wish::Run(words)) = state.press(Key::Char('y')) else {
            panic!("it is run");
        };
        let expected = [
            "--session",
            "2026-11-24T06:43:10Z",
            "--to",
            "./-",
            "--",
            "home",
            "-x",
        ];
        assert_eq!(words[3..], expected);
    }

    #[test]
    fn a_choice_stays_with_its_session_or_is_taken_back() {
        let mut state = known(&["disk.img"]);
        press(&mut state, &[Key::Down, Key::Enter]);
        state.press(Key::Enter);
        state.reload();
        // Another volume comes before it, and another session is newer.
        answer(
            &mut state,
            &["a", "disk.img"],
            &[TIMES[0], TIMES[1], TIMES[1] + 60],
        );
        press(&mut state, &[Key::Enter]);
        let asked = shown(&state).dialog.unwrap();
        assert!(
            asked.text[2].contains("disk.img --session 2026-11-24T06:43:10Z"),
            "{asked:?}"
        );
        press(&mut state, &[Key::Escape, Key::Enter]);
        state.reload();
        answer(&mut state, &["a", "disk.img"], &TIMES[..1]);
        let view = shown(&state);
        assert!(
            view.dialog.is_none() && view.panes[0].has_keys,
            "it has gone"
        );
        state.reload();
        answer(&mut state, &[], &[]);
        assert_eq!(texts(&shown(&state).panes[0]), ["home"]);
        assert_eq!(
            press(
                &mut state,
                &[Key::Down, Key::PageDown, Key::End, Key::Enter]
            ),
            None
        );
    }

    #[test]
    fn what_runs_and_what_comes_next_is_shown() {
        let mut state = known(&[]);
        let begin = Instant::now();
        let running = ToClient::Running {
            command: "backup".into(),
            archive: Some("home".into()),
            queued: 2,
        };
        state.hear(&running, begin);
        let progress = |done_bytes| {
            ToClient::Progress(Progress {
                phase: Phase::Reading,
                volume: Some("a\x07".into()),
                done_bytes,
                total_bytes: 1000,
                sent_bytes: 0,
            })
        };
        state.hear(&progress(0), begin);
        state.hear(&progress(250), begin + Duration::from_secs(10));
        let expected = "Runs: backup home: reading a\\u{7}, 25 %, 0:30 left; 2 wait";
        assert_eq!(shown(&state).foot[0], expected);
        let ended = ToClient::Ended(EndedCommand {
            command: "backup".into(),
            archive: Some("home".into()),
            exit: ExitStatus::Partial,
            volumes: 1,
            failures: 1,
            sent_bytes: 0,
        });
        state.hear(&ended, begin);
        let unit = "wyng-backup@nightly.timer".to_owned();
        state.take_timer(Some(Timer {
            unit,
            next: TIMES[0],
        }));
        let foot = shown(&state).foot;
        assert_eq!(
            (foot[0].as_str(), foot[2].as_str()),
            ("Runs: nothing", "backup home ended with status 3.")
        );
        assert!(
            foot[1].starts_with("Next: wyng-backup@nightly.timer, 2026-11-2"),
            "{foot:?}"
        );
        assert_eq!(state.next_look(), Some(Look::Archives));
        state.take_result(ToClient::Failed(Failure::Interrupted));
        state.end_look(Some("no daemon listens at /run/\x1b"));
        state.lose_daemon();
        let foot = shown(&state).foot;
        assert_eq!(foot[0], "Runs: not known, no daemon listens");
        assert_eq!(foot[2], "no daemon listens at /run/\\u{1b}");
    }

    #[test]
    fn keys_leave_and_read_again_but_not_while_a_path_is_typed() {
        let mut state = known(&["disk.img"]);
        assert_eq!(state.press(Key::Char('r')), Some(Wish::Read));
        assert_eq!(
            press(
                &mut state,
                &[Key::Down, Key::Enter, Key::Enter, Key::Char('q')]
            ),
            None
        );
        assert!(shown(&state).dialog.unwrap().typed.unwrap().ends_with('q'));
        press(&mut state, &[Key::Escape, Key::Left]);
        assert_eq!(state.press(Key::Char('q')), Some(Wish::Leave));
    }
}
