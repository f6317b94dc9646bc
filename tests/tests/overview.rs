// SPDX-License-Identifier: GPL-3.0-or-later
//! `wyng-ctl tui` on a pseudo-terminal, which understands the few sequences that the overview may
//! send, and fails at any other: no name in an archive commands the terminal.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::Signal;
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcgetpgrp, tcsetwinsize};
use wyng_tests::disk::{LoopMount, run};
use wyng_tests::fake_qubes::FakeQubes;
use wyng_tests::pty::Pty;
use wyng_tests::require::{Component, require};
use wyng_tests::sandbox::{Outcome, PASSPHRASE, Sandbox, noise};
use wyng_tests::service::{Service, reached};

const IMAGE_BYTES: usize = 100_000;
const DOWN: &str = "\x1b[B";

/// What a terminal shows.
#[derive(Default)]
struct Shown {
    rows: Vec<Vec<char>>,
    row: usize,
    column: usize,
    /// The screen of the overview is shown, not the one of before.
    other_screen: bool,
    cursor_hidden: bool,
    /// Everything that was printed on the screen of before.
    lines: String,
}

impl Shown {
    fn resize(&mut self, width: u16, height: u16) {
        self.rows = vec![vec![' '; usize::from(width)]; usize::from(height)];
    }

    fn text(&self) -> String {
        let rows = self.rows.iter().map(|row| row.iter().collect::<String>());
        rows.map(|row| format!("{}\n", row.trim_end())).collect()
    }

    /// Takes the output, as far as it is whole. Returns the rest.
    fn take(&mut self, output: &str) -> String {
        let mut rest = output;
        while let Some(char) = rest.chars().next() {
            if char == '\x1b' {
                let Some(end) = rest[1..].find(|char: char| char.is_ascii_alphabetic()) else {
                    return rest.to_owned();
                };
                self.obey(&rest[1..=end + 1]);
                rest = &rest[end + 2..];
                continue;
            }
            self.print(char);
            rest = &rest[char.len_utf8()..];
        }
        String::new()
    }

    fn obey(&mut self, sequence: &str) {
        match sequence {
            "[?1049h" => self.other_screen = true,
            "[?1049l" => self.other_screen = false,
            "[?25l" => self.cursor_hidden = true,
            "[?25h" => self.cursor_hidden = false,
            "[2J" => self.rows.iter_mut().for_each(|row| row.fill(' ')),
            // The progress bar of a command that runs.
            "[K" if !self.other_screen => {}
            sequence if sequence.ends_with('m') => {
                let parameters = sequence[1..sequence.len() - 1].split(';');
                for parameter in parameters {
                    assert!(
                        ["", "0", "1", "4", "7"].contains(&parameter),
                        "{sequence:?}"
                    );
                }
            }
            sequence if sequence.ends_with('H') => {
                let (row, column) = sequence[1..sequence.len() - 1].split_once(';').unwrap();
                self.row = row.parse::<usize>().unwrap() - 1;
                self.column = column.parse::<usize>().unwrap() - 1;
            }
            other => panic!("an unknown sequence: {other:?}"),
        }
    }

    fn print(&mut self, char: char) {
        if !self.other_screen {
            self.lines.push(char);
            return;
        }
        assert!(!char.is_control(), "{char:?} on the screen");
        // What was drawn for a larger window may still arrive.
        if let Some(cell) = self
            .rows
            .get_mut(self.row)
            .and_then(|row| row.get_mut(self.column))
        {
            *cell = char;
        }
        self.column += 1;
    }
}

/// A person in front of the overview.
struct Person {
    terminal: File,
    program: Child,
    shown: Shown,
    left: Vec<u8>,
    /// Keeps the terminal open when the program has ended.
    other_end: OwnedFd,
}

impl Person {
    fn at(sandbox: &Sandbox, daemon: &[&str]) -> Self {
        let Pty { person, program } = Pty::open();
        let other_end = OwnedFd::from(program);
        let stream = || Stdio::from(other_end.try_clone().unwrap());
        let programs = sandbox.path("bin");
        let mut command = Command::new("setsid");
        command
            .args(["--ctty", "--wait"])
            .arg(sandbox.program("wyng-ctl"))
            .args(daemon)
            .arg("tui")
            .env("PATH", format!("{}:/usr/bin:/bin", programs.display()))
            .env("TZ", "UTC")
            .env_remove("WYNG_PASSPHRASE_COMMAND")
            .current_dir(sandbox.path(""))
            .stdin(stream())
            .stdout(stream())
            .stderr(stream());
        let mut new = Self {
            terminal: person.into(),
            shown: Shown::default(),
            left: Vec::new(),
            program: {
                resized(&other_end, 80, 24);
                command.spawn().unwrap()
            },
            other_end,
        };
        new.shown.resize(80, 24);
        new
    }

    /// In front of the overview with private daemons.
    fn alone(sandbox: &Sandbox) -> Self {
        let state = sandbox.state().display().to_string();
        Self::at(sandbox, &["--standalone", "--state-dir", &state])
    }

    /// Reads until the screen has this text.
    #[track_caller]
    fn see(&mut self, text: &str) -> &mut Self {
        while !(self.shown.other_screen && self.shown.text().contains(text)) {
            assert!(
                self.read_more(),
                "it ended without {text:?}: {}",
                self.shown.text()
            );
        }
        self
    }

    /// Reads until the terminal has this text outside of the overview, and forgets what came before.
    #[track_caller]
    fn see_line(&mut self, text: &str) -> &mut Self {
        while !self.shown.lines.contains(text) {
            assert!(
                self.read_more(),
                "it ended without {text:?}: {}",
                self.shown.lines
            );
        }
        let end = self.shown.lines.find(text).unwrap() + text.len();
        self.shown.lines.drain(..end);
        self
    }

    fn press(&mut self, keys: &str) -> &mut Self {
        self.terminal.write_all(keys.as_bytes()).unwrap();
        self
    }

    /// Gives the window another size.
    fn resize(&mut self, width: u16, height: u16) -> &mut Self {
        self.shown.resize(width, height);
        resized(&self.terminal, width, height);
        self
    }

    /// Reads more output. False when the program has ended and its output is read.
    fn read_more(&mut self) -> bool {
        for _ in 0..3000 {
            let has_ended = self.program.try_wait().unwrap().is_some();
            if self.is_readable() {
                self.read();
                return true;
            }
            if has_ended {
                return false;
            }
        }
        panic!("it waits: {}{}", self.shown.lines, self.shown.text())
    }

    fn is_readable(&self) -> bool {
        let a_while = Timespec {
            tv_sec: 0,
            tv_nsec: 20_000_000,
        };
        let mut polled = [PollFd::new(&self.terminal, PollFlags::IN)];
        rustix::event::poll(&mut polled, Some(&a_while)).unwrap() > 0
    }

    fn read(&mut self) {
        let mut buffer = [0; 4096];
        let length = self.terminal.read(&mut buffer).unwrap();
        self.left.extend_from_slice(&buffer[..length]);
        // A character may be cut.
        let whole = match std::str::from_utf8(&self.left) {
            Ok(text) => text.len(),
            Err(error) => error.valid_up_to(),
        };
        let text = String::from_utf8(self.left.drain(..whole).collect()).unwrap();
        let rest = self.shown.take(&text);
        self.left.splice(0..0, rest.into_bytes());
    }

    /// Waits for the end. Returns the exit status; the terminal is as it was before.
    fn leave(mut self) -> i32 {
        while self.read_more() {}
        let modes = tcgetattr(&self.other_end).unwrap().local_modes;
        assert!(
            modes.contains(LocalModes::ECHO | LocalModes::ICANON),
            "{modes:?}"
        );
        assert!(!self.shown.other_screen && !self.shown.cursor_hidden);
        self.program.wait().unwrap().code().unwrap()
    }
}

impl Drop for Person {
    fn drop(&mut self) {
        if let Ok(group) = tcgetpgrp(&self.terminal) {
            let _ = rustix::process::kill_process_group(group, Signal::KILL);
        }
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

fn resized(terminal: &impl std::os::fd::AsFd, width: u16, height: u16) {
    let size = Winsize {
        ws_row: height,
        ws_col: width,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(terminal, size).unwrap();
}

/// An archive with a disk, two volumes of a qube, and a name that would turn the line around. Every
/// volume has one session, and `work:private` two.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::with_archive(&[]);
    sandbox.image("disk.img", IMAGE_BYTES, 1);
    let names = [
        "disk.img",
        "work:private",
        "work:root",
        "x\u{202e}\u{feff}z",
    ];
    let sources = names.map(|name| format!("{name}=disk.img"));
    let sources: Vec<&str> = sources.iter().map(String::as_str).collect();
    sandbox
        .wyng(&[&["backup", "home"], &sources[..]].concat())
        .success();
    sandbox.image("disk.img", IMAGE_BYTES, 2);
    sandbox
        .wyng(&["backup", "home", "work:private=disk.img"])
        .success();
    // No timer of this machine.
    let programs = sandbox.path("bin");
    std::fs::create_dir(&programs).unwrap();
    let list = "[{\"next\":1795416190000000,\"unit\":\"wyng-backup@nightly.timer\"}]";
    let program = programs.join("systemctl");
    let script = format!(
        "#!/bin/sh\n[ \"$*\" = 'list-timers --output=json --no-pager --no-ask-password wyng-*' ] && echo '{list}'\n"
    );
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    sandbox
}

#[test]
fn a_session_is_chosen_and_its_command_shown_and_not_run() {
    let sandbox = sandbox();
    let mut person = Person::alone(&sandbox);
    person
        .see("home")
        .see("    private")
        .see("Next: wyng-backup@nightly.timer, 2026-11-23 06:43");
    let shown = person.shown.text();
    // What would command the terminal is shown.
    assert!(shown.contains("x\\u{202e}\\u{feff}z"), "{shown}");
    for part in [
        "Wyng: 1 archive",
        "    root",
        "  disk.img",
        "97.6 KiB",
        "Last backup: ",
        "q leave",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert_eq!(shown.lines().count(), 24);
    person.press(DOWN).see("Sessions of disk.img");
    // A qube, then its first volume.
    person
        .press(DOWN)
        .see("Qube work")
        .press(DOWN)
        .see("Sessions of work:private");
    person
        .press("\r")
        .see("Enter restore")
        .press("\x1b[F\r")
        .see("> restored-work-private_");
    person
        .press(&"\x7f".repeat(30))
        .press("a file")
        .see("> a file_");
    person.press("\r").see("Run it? [y/n]");
    let first = sandbox.wyng(&["list", "home", "work:private"]);
    let session = first.json["volumes"][0]["sessions"][0]["session"]
        .as_str()
        .unwrap()
        .to_owned();
    let shown: String = person.shown.text().split('\n').collect();
    assert!(
        shown.contains(&format!(
            "restore home work:private --session {session} --to 'a file'"
        )),
        "{shown}"
    );
    person
        .press("n")
        .see("Enter restore")
        .press("\x1b")
        .see("Up/Down move   Enter sessions");
    person.press("q");
    assert_eq!(person.leave(), 0);
    assert!(!sandbox.path("a file").exists());
}

#[test]
fn a_confirmed_command_restores_in_the_same_terminal_and_comes_back() {
    let sandbox = sandbox();
    let mut person = Person::alone(&sandbox);
    person
        .see("    private")
        .press(DOWN)
        .see("Sessions of disk.img");
    person
        .press("\r")
        .see("Enter restore")
        .press("\r")
        .see("> restored-disk.img_");
    person.press("\r").see("Run it? [y/n]").press("y");
    person.see_line("Passphrase of home: ");
    assert!(!person.shown.other_screen);
    person
        .press(&format!("{PASSPHRASE}\n"))
        .see_line("restored");
    person
        .see_line("Enter goes back to the overview.")
        .press("\n");
    person.see("The command ended with status 0.").press("q");
    assert!(
        !person.shown.lines.contains("canary"),
        "{}",
        person.shown.lines
    );
    assert_eq!(person.leave(), 0);
    let restored = std::fs::read(sandbox.path("restored-disk.img")).unwrap();
    assert!(restored == noise(IMAGE_BYTES, 1));
}

#[test]
fn a_qube_of_a_session_is_made_again_by_the_plan_that_is_shown_and_confirmed() {
    let test = "a_qube_of_a_session_is_made_again_by_the_plan_that_is_shown_and_confirmed";
    if !require(Component::Btrfs, test) {
        return;
    }
    let disk = LoopMount::mount("btrfs", 512, "noatime");
    let sandbox = Sandbox::new();
    let qubes = FakeQubes::dom0(&sandbox);
    qubes.add_system(&disk.join("pool"));
    qubes.make("AppVM", "work", "debian-13");
    qubes.fill("work", "private", &noise(IMAGE_BYTES, 1));
    qubes.create(&sandbox, "qrexec:sys-backup", &[]).success();
    let backup = ["backup", "home", "--qube", "work"];
    qubes.wyng(&sandbox, &backup).success();
    qubes.world.remove("work");
    std::fs::create_dir(sandbox.path("bin")).unwrap();
    let state = sandbox.state().display().to_string();
    let words = [
        "--standalone",
        "--state-dir",
        &state,
        "--config",
        &qubes.config,
    ];
    let mut person = Person::at(&sandbox, &words);
    person.see("    settings").press(DOWN).see("Qube work");
    person.press("\r").see("Enter restore").press("\r");
    person.see("Run it? [y/n]").press("y");
    person.see_line("Passphrase of home: ");
    person
        .press(&format!("{PASSPHRASE}\n"))
        .see_line("work: is created (AppVM, template debian-13)")
        .see_line("Make these qubes as shown? [y/N] ")
        .press("y\n");
    person
        .see_line("Enter goes back to the overview.")
        .press("\n");
    person.see("The command ended with status 0.").press("q");
    assert_eq!(person.leave(), 0);
    let image = std::fs::read(qubes.image("work", "private")).unwrap();
    assert!(image == noise(IMAGE_BYTES, 1));
}

#[test]
fn a_window_of_any_size_shows_what_is_chosen() {
    let sandbox = sandbox();
    let mut person = Person::alone(&sandbox);
    person
        .see("    private")
        .press(DOWN)
        .see("> ")
        .see("Sessions of disk.img");
    person
        .resize(40, 10)
        .see("> ")
        .see("disk.img")
        .see("Up/Down move");
    assert!(!person.shown.text().contains("Sessions of"), "one pane");
    person.press("\r").see("Sessions of disk.img").see("Z");
    person.resize(20, 5).see("Sessions").see("> 20");
    person
        .resize(1, 1)
        .resize(132, 50)
        .see("Archives, qubes and volumes")
        .see("Sessions of disk.img");
    person.press("q");
    assert_eq!(person.leave(), 0);
}

#[test]
fn signals_give_the_terminal_back() {
    let sandbox = sandbox();
    for interrupt in ["\x03", "\x1c", "kill"] {
        let mut person = Person::alone(&sandbox);
        person.see("    private");
        match interrupt {
            "kill" => {
                let group = tcgetpgrp(&person.terminal).unwrap();
                rustix::process::kill_process_group(group, Signal::TERM).unwrap();
            }
            key => drop(person.press(key)),
        }
        assert_eq!(person.leave(), 130, "{interrupt:?}");
    }
}

#[test]
fn what_the_daemon_runs_is_shown_and_its_result_is_read() {
    let mut sandbox = sandbox();
    let gate: PathBuf = sandbox.path("gate");
    run(Command::new("mkfifo").arg(&gate));
    sandbox.replace_helper(&format!(
        "[ $1 = fetch ] || read -r _ <{}; exec $HELPER $1",
        gate.display()
    ));
    let _service = Service::start(&mut sandbox);
    let socket = sandbox.path("socket").display().to_string();
    let mut person = Person::at(&sandbox, &["--socket", &socket]);
    person.see("    private").see("Runs: nothing");
    let mut backup = sandbox.command(&["backup", "home", "new=disk.img"]);
    let backup = backup
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut opened = reached(&gate);
    person.see("Runs: backup home");
    opened.write_all(b"\n").unwrap();
    Outcome::of(backup.wait_with_output().unwrap()).success();
    person
        .see("backup home ended with status 0.")
        .see("  new")
        .see("Runs: nothing");
    person.press("q");
    assert_eq!(person.leave(), 0);
}

#[test]
fn without_a_terminal_the_overview_is_refused() {
    let sandbox = Sandbox::with_archive(&[]);
    let command = sandbox.command(&["tui"]);
    let refused = Command::new("setsid")
        .arg("--wait")
        .arg(command.get_program())
        .args(command.get_args())
        .output();
    assert_eq!(
        Outcome::of(refused.unwrap()).expect(2).codes(),
        ["no-terminal"]
    );
}
