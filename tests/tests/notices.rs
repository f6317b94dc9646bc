// SPDX-License-Identifier: GPL-3.0-or-later
//! Notices on the desktop: a real daemon, real commands and `wyng-ctl watch --notify`, with a
//! notify-send that records what it is given.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use wyng_tests::disk::run;
use wyng_tests::sandbox::{Outcome, Sandbox};
use wyng_tests::service::{Service, reached, run_kill, until};

const IMAGE_BYTES: usize = 2_000_000;
/// Time that must pass before progress is shown again, and a little more.
const STEP: Duration = Duration::from_millis(3500);

/// What a notify-send can do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// It prints numbers, and replaces notices.
    New,
    /// It knows neither.
    Old,
}

/// A person's session, with a watcher in it.
struct Desktop {
    watch: Child,
    said: BufReader<ChildStderr>,
    shown: PathBuf,
    seen: usize,
}

/// One notice: the options, the title and the body.
#[derive(Debug)]
struct Shown {
    options: Vec<String>,
    title: String,
    body: String,
}

impl Shown {
    /// The number of the notice that it replaces.
    fn replaces(&self) -> Option<&str> {
        self.options
            .iter()
            .find_map(|option| option.strip_prefix("--replace-id="))
    }
}

impl Desktop {
    /// Starts the watcher, whose desktop shows a notice in `slowly` seconds.
    fn start(sandbox: &Sandbox, kind: Kind, slowly: &str, options: &[&str]) -> Self {
        let programs = sandbox.path("desktop");
        let shown = programs.join("shown");
        let _ = std::fs::remove_dir_all(&programs);
        std::fs::create_dir_all(&shown).unwrap();
        let help = match kind {
            Kind::New => "-p, --print-id\\n-r, --replace-id=REPLACE_ID",
            Kind::Old => "-u, --urgency=LEVEL",
        };
        // A notice counts once all of it is written.
        let script = format!(
            "#!/bin/sh\n[ \"$1\" = --help ] && {{ printf '%b\\n' '{help}'; exit; }}\n\
             sleep {slowly}\nnumber=$(ls {shown} | wc -l)\n\
             printf '%s\\0' \"$@\" > {folder}/new\n\
             mv {folder}/new \"{shown}/$(printf %03d $number)\"\necho $((number + 70))\n",
            shown = shown.display(),
            folder = programs.display(),
        );
        let program = programs.join("notify-send");
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let path = format!("{}:/usr/bin:/bin", programs.display());
        let mut watch = sandbox
            .command(&[&["watch", "--notify"], options].concat())
            .env("PATH", path)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(watch.stderr.take().unwrap());
        Self {
            watch,
            said,
            shown,
            seen: 0,
        }
    }

    /// Waits until the watcher hears of commands.
    fn follows(&mut self) -> &mut Self {
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        assert_eq!(line, "following the daemon\n");
        self
    }

    /// Waits for the next notice.
    #[track_caller]
    fn next(&mut self) -> Shown {
        let path = self.shown.join(format!("{:03}", self.seen));
        until("a notice is shown", || path.exists());
        self.seen += 1;
        let text = std::fs::read_to_string(path).unwrap();
        let mut words: VecDeque<String> = text.split_terminator('\0').map(str::to_owned).collect();
        let (body, title) = (words.pop_back().unwrap(), words.pop_back().unwrap());
        assert_eq!(
            words.pop_back().as_deref(),
            Some("--"),
            "texts are no options"
        );
        Shown {
            options: words.into(),
            title,
            body,
        }
    }

    /// Waits for the next notice with this title, whatever comes before it.
    #[track_caller]
    fn see(&mut self, title: &str) -> Shown {
        loop {
            let shown = self.next();
            if shown.title == title {
                return shown;
            }
        }
    }

    /// Ends the watcher as a session does. Returns how many notices were shown.
    fn end(mut self) -> usize {
        run_kill("-TERM", self.watch.id());
        assert_eq!(self.watch.wait().unwrap().code(), Some(130));
        std::fs::read_dir(&self.shown).unwrap().count()
    }
}

impl Drop for Desktop {
    fn drop(&mut self) {
        let _ = self.watch.kill();
        let _ = self.watch.wait();
    }
}

/// A service with an archive, whose pushes wait at a gate.
fn gated() -> (Sandbox, Service, PathBuf) {
    let mut sandbox = Sandbox::with_archive(&["--chunk-size", "64K", "--pack-size", "256K"]);
    sandbox.image("disk.img", IMAGE_BYTES, 1);
    let gate = sandbox.path("gate");
    run(Command::new("mkfifo").arg(&gate));
    sandbox.replace_helper(&format!(
        "[ $1 = fetch ] || read -r _ <{}; exec $HELPER $1",
        gate.display()
    ));
    let service = Service::start(&mut sandbox);
    (sandbox, service, gate)
}

/// A service with an archive and a disk.
fn ready() -> (Sandbox, Service) {
    let mut sandbox = Sandbox::with_archive(&[]);
    sandbox.image("disk.img", IMAGE_BYTES, 1);
    let service = Service::start(&mut sandbox);
    (sandbox, service)
}

fn spawn(sandbox: &Sandbox, arguments: &[&str]) -> Child {
    let mut command = sandbox.command(arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

#[test]
fn a_command_has_one_notice_which_its_progress_and_its_result_replace() {
    let (sandbox, _service, gate) = gated();
    let mut desktop = Desktop::start(&sandbox, Kind::New, "0", &[]);
    desktop.follows();
    // A name that a desktop would take for markup is no name for a notice.
    let hostile = "<b>x&amp;\u{202e}=disk.img";
    let backup = spawn(
        &sandbox,
        &["backup", "home", hostile, "work:private=disk.img"],
    );
    let mut opened = reached(&gate);
    let begun = Instant::now();
    let first = desktop.next();
    assert_eq!(
        (first.title.as_str(), first.body.as_str(), first.replaces()),
        ("Backup runs", "home: it has begun", None)
    );
    let options = [
        "--app-name=Wyng",
        "--urgency=low",
        "--icon=wyng",
        "--print-id",
    ];
    assert_eq!(first.options, options);
    until("it is time for progress", || begun.elapsed() > STEP);
    opened.write_all(b"\n").unwrap();
    let step = desktop.next();
    assert_eq!(
        (step.title.as_str(), step.replaces()),
        ("Backup runs", Some("70"))
    );
    assert!(
        step.body.starts_with("home: reading a volume, ") && step.body.contains(" %"),
        "{step:?}"
    );
    Outcome::of(backup.wait_with_output().unwrap()).success();
    let result = desktop.see("Backup done");
    // The number that the last one was shown under.
    let last = (69 + desktop.seen - 1).to_string();
    assert_eq!(result.replaces(), Some(last.as_str()), "{result:?}");
    assert!(
        result.body.starts_with("home: 2 volumes, ") && result.body.ends_with(" MiB sent"),
        "{result:?}"
    );
    // The result stays when the next command begins.
    sandbox.wyng(&["verify", "home"]).success();
    let next = desktop.next();
    assert_eq!(
        (next.title.as_str(), next.replaces()),
        ("Verify runs", None)
    );
    let result = desktop.see("Verify done");
    assert!(result.replaces().is_some());
    // What takes no time has no notice.
    sandbox.wyng(&["list", "home"]).success();
    sandbox.wyng(&["lock"]).success();
    let seen = desktop.seen;
    assert_eq!(desktop.end(), seen);
}

#[test]
fn the_first_success_after_a_failure_is_named() {
    let (sandbox, _service) = ready();
    let mut desktop = Desktop::start(&sandbox, Kind::New, "0", &[]);
    desktop.follows();
    sandbox
        .wyng(&["backup", "home", "disk.img", "nothing.img"])
        .expect(3);
    let failed = desktop.see("Backup failed");
    assert_eq!(
        failed.body,
        "home: not everything was done: 1 failure, 1 volume done. In a terminal, wyng-ctl status says more."
    );
    assert!(failed.options.contains(&"--urgency=critical".to_owned()));
    sandbox.wyng(&["backup", "home", "disk.img"]).success();
    desktop.see("Backup done again");
    sandbox
        .wyng(&["tag", "add", "home", "disk.img", "latest", "x"])
        .success();
    sandbox.wyng(&["backup", "home", "disk.img"]).success();
    assert_eq!(
        desktop.next().title,
        "Backup runs",
        "a tag is not worth a notice"
    );
    desktop.see("Backup done");
}

#[test]
fn no_result_is_lost_when_commands_end_quicker_than_the_desktop_shows_them() {
    let (sandbox, _service) = ready();
    let mut desktop = Desktop::start(&sandbox, Kind::New, "0.3", &[]);
    desktop.follows();
    for _ in 0..6 {
        sandbox
            .wyng(&["backup", "home", "disk.img", "--dry-run"])
            .success();
    }
    for _ in 0..6 {
        desktop.see("Backup done");
    }
}

#[test]
fn the_watcher_waits_for_the_daemon_and_stays_when_it_restarts() {
    let mut sandbox = Sandbox::with_archive(&[]);
    sandbox.image("disk.img", IMAGE_BYTES, 1);
    let gate = sandbox.path("gate");
    run(Command::new("mkfifo").arg(&gate));
    // Neither the socket nor its folder exist yet.
    let socket = sandbox.path("run/wyng/wyngd.sock");
    sandbox.talk_to(socket.clone());
    let mut desktop = Desktop::start(&sandbox, Kind::New, "0", &[]);
    let quiet = format!(
        "[ $1 = fetch ] || read -r _ <{}; exec $HELPER $1",
        gate.display()
    );
    sandbox.replace_helper(&quiet);
    std::fs::create_dir_all(socket.parent().unwrap()).unwrap();
    let serve = |sandbox: &mut Sandbox| {
        let service = Service::start(sandbox);
        std::fs::rename(sandbox.path("socket"), &socket).unwrap();
        sandbox.talk_to(socket.clone());
        service
    };
    let service = serve(&mut sandbox);
    desktop.follows();
    let backup = spawn(&sandbox, &["backup", "home", "disk.img"]);
    let _opened = reached(&gate);
    desktop.see("Backup runs");
    service.stop();
    let lost = desktop.see("Backup interrupted");
    assert!(lost.body.starts_with("home: the daemon ended."), "{lost:?}");
    Outcome::of(backup.wait_with_output().unwrap()).expect(1);
    sandbox.restore_helper();
    let _service = serve(&mut sandbox);
    desktop.follows();
    sandbox.wyng(&["backup", "home", "disk.img"]).success();
    desktop.see("Backup done");
}

#[test]
fn an_old_desktop_shows_beginnings_and_results() {
    let (sandbox, _service, gate) = gated();
    let mut desktop = Desktop::start(&sandbox, Kind::Old, "0", &[]);
    desktop.follows();
    let backup = spawn(&sandbox, &["backup", "home", "disk.img"]);
    let mut opened = reached(&gate);
    let begun = Instant::now();
    let first = desktop.next();
    assert_eq!(
        first.options,
        ["--app-name=Wyng", "--urgency=low", "--icon=wyng"]
    );
    until("it would be time for progress", || begun.elapsed() > STEP);
    opened.write_all(b"\n").unwrap();
    Outcome::of(backup.wait_with_output().unwrap()).success();
    assert_eq!(desktop.next().title, "Backup done");
}

#[test]
fn a_backup_that_is_overdue_is_shown_when_the_session_begins() {
    let (sandbox, _service) = ready();
    sandbox.wyng(&["backup", "home", "disk.img"]).success();
    let config = sandbox.text(
        "wyng.toml",
        "[volumes]\nother = \"/dev/null\"\n[profiles.nightly]\narchive = \"home\"\nvolumes = [\"other\"]\n",
    );
    let mut desktop = Desktop::start(&sandbox, Kind::New, "0", &["--config", &config]);
    let overdue = desktop.follows().next();
    assert_eq!(
        (overdue.title.as_str(), overdue.body.as_str()),
        (
            "A backup is overdue",
            "home: the last backup is too long ago. In a terminal, wyng-ctl status says more."
        )
    );
}

#[test]
fn without_a_notify_send_the_watcher_fails_and_says_what_to_install() {
    let (sandbox, _service) = ready();
    let mut command = sandbox.command(&["watch", "--notify"]);
    let refused = command.env("PATH", sandbox.path("")).output().unwrap();
    assert_eq!(Outcome::of(refused).expect(1).codes(), ["no-notices"]);
    let alone = Sandbox::new();
    alone.wyng(&["watch", "--notify"]).expect(2);
}
