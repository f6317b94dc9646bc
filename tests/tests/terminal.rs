// SPDX-License-Identifier: GPL-3.0-or-later
//! A person at a terminal: passphrases are requested, twice where they are new, and never shown.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, Signal};
use rustix::termios::LocalModes;
use wyng_tests::pty::Pty;
use wyng_tests::sandbox::{Outcome, PASSPHRASE, Sandbox, create_home, noise};
use wyng_tests::service::until;

/// A program on its own terminal, and the person in front of it.
struct Person {
    terminal: File,
    program: Child,
    seen: String,
    /// Length of the output that was examined, bytes.
    looked_at: usize,
    /// Keeps the terminal open when the program has ended.
    other_end: Option<OwnedFd>,
}

impl Person {
    /// A person in front of `wyng-ctl` with a private daemon.
    fn at(sandbox: &Sandbox, arguments: &[&str]) -> Self {
        let mut command = at_terminal(sandbox.program("wyng-ctl"));
        command
            .arg("--standalone")
            .arg("--state-dir")
            .arg(sandbox.state())
            .args(arguments);
        Self::before(command, sandbox)
    }

    /// A person in front of a shell that knows `wyng`.
    fn at_shell(sandbox: &Sandbox) -> Self {
        let mut command = at_terminal("bash");
        let program = sandbox.program("wyng-ctl");
        let words = format!(
            "{} --standalone --state-dir {}",
            program.display(),
            sandbox.state().display()
        );
        command
            .args(["--noprofile", "--norc", "-i"])
            .env("WYNG", words)
            .env("PS1", "$ ");
        Self::before(command, sandbox)
    }

    fn before(mut command: Command, sandbox: &Sandbox) -> Self {
        let terminal = Pty::open();
        let other_end = OwnedFd::from(terminal.program);
        let stream = || Stdio::from(other_end.try_clone().unwrap());
        let program = command
            .current_dir(sandbox.path(""))
            .stdin(stream())
            .stdout(stream())
            .stderr(stream())
            .spawn()
            .unwrap();
        drop(command); // with it the descriptors that would keep the terminal open
        Self {
            terminal: terminal.person.into(),
            program,
            seen: String::new(),
            looked_at: 0,
            other_end: Some(other_end),
        }
    }

    /// Reads until `text` occurs again.
    fn see(&mut self, text: &str) -> &mut Self {
        loop {
            if let Some(place) = self.seen[self.looked_at..].find(text) {
                self.looked_at += place + text.len();
                return self;
            }
            assert!(
                self.read_more(),
                "the program ended without {text:?}: {}",
                self.seen
            );
        }
    }

    /// Reads until `text` occurs, and types an answer.
    fn answer(&mut self, text: &str, line: &str) -> &mut Self {
        self.see(text).type_keys(&format!("{line}\n"))
    }

    fn type_keys(&mut self, keys: &str) -> &mut Self {
        self.terminal.write_all(keys.as_bytes()).unwrap();
        self
    }

    /// Whether the terminal echoes.
    fn echoes(&self) -> bool {
        rustix::termios::tcgetattr(&self.terminal)
            .unwrap()
            .local_modes
            .contains(LocalModes::ECHO)
    }

    /// Reads more output. False when the program has ended and its output is read. A program that
    /// prints nothing for a minute waits for an answer that does not come.
    fn read_more(&mut self) -> bool {
        for _ in 0..3000 {
            let mut polled = [PollFd::new(&self.terminal, PollFlags::IN)];
            let a_while = Timespec {
                tv_sec: 0,
                tv_nsec: 20_000_000,
            };
            if rustix::event::poll(&mut polled, Some(&a_while)).unwrap() > 0 {
                let mut buffer = [0; 4096];
                // Reading a terminal whose other end is closed fails with EIO.
                let length = self.terminal.read(&mut buffer).unwrap_or(0);
                self.seen
                    .push_str(&String::from_utf8_lossy(&buffer[..length]));
                return length > 0;
            }
            if self.program.try_wait().unwrap().is_some() {
                self.other_end = None;
            }
        }
        panic!("the program waits: {}", self.seen)
    }

    /// The process that runs on the terminal.
    fn pid(&self) -> Option<Pid> {
        rustix::termios::tcgetpgrp(&self.terminal).ok()
    }

    /// Waits for the end. Returns the output and the exit status.
    fn leave(mut self) -> (String, i32) {
        while self.read_more() {}
        (
            std::mem::take(&mut self.seen),
            self.program.wait().unwrap().code().unwrap(),
        )
    }
}

impl Drop for Person {
    /// Closes the terminal, which hangs up.
    fn drop(&mut self) {
        let _ = self
            .pid()
            .map(|group| rustix::process::kill_process_group(group, Signal::KILL));
        let _ = self.program.kill();
    }
}

/// A program whose `/dev/tty` is its standard input.
fn at_terminal(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setsid");
    command
        .args(["--ctty", "--wait"])
        .arg(program)
        .env("LC_ALL", "C")
        .env_remove("WYNG_PASSPHRASE_COMMAND");
    command
}

/// An archive with one session, whose passphrase was typed.
fn sandbox_with_a_session() -> Sandbox {
    let sandbox = Sandbox::with_archive(&[]);
    sandbox.image("disk.img", 100_000, 1);
    sandbox.wyng(&["backup", "home", "disk.img"]).success();
    sandbox
}

const RESTORE: [&str; 5] = ["restore", "home", "disk.img", "--to", "out"];

#[test]
fn an_interrupt_ends_a_question_and_nothing_of_what_is_typed_next_is_an_answer() {
    let sandbox = sandbox_with_a_session();
    for interrupt in ["\x03", "\x1c", "kill"] {
        let mut person = Person::at(&sandbox, &RESTORE);
        person.see("Passphrase of home: ");
        assert!(!person.echoes());
        person.type_keys("half a passphrase");
        match interrupt {
            "kill" => {
                rustix::process::kill_process_group(person.pid().unwrap(), Signal::TERM).unwrap()
            }
            key => drop(person.type_keys(key).echoes()),
        }
        person.see("interrupted");
        assert!(person.echoes(), "what is typed is shown again");
        let (seen, status) = person.leave();
        assert_eq!(status, 130, "{seen}");
        assert!(
            !seen.contains("half") && !sandbox.path("out").exists(),
            "{seen}"
        );
    }
    // Also the second one of a pair.
    let store = format!("dir:{}", sandbox.path("another").display());
    let mut person = Person::at(&sandbox, &["archive", "create", "other", "--store", &store]);
    person
        .answer("New passphrase of other: ", "canary-typed")
        .see("Once more: ")
        .type_keys("\x03");
    assert_eq!(person.leave().1, 130);
    assert!(!sandbox.path("another").exists());
}

#[test]
fn a_question_that_was_stopped_is_asked_again_and_hides_the_answer() {
    let sandbox = sandbox_with_a_session();
    let mut shell = Person::at_shell(&sandbox);
    shell
        .see("$ ")
        .type_keys(&format!("$WYNG {}\n", RESTORE.join(" ")))
        .see("Passphrase of home: ")
        .type_keys("half\x1a");
    shell
        .see("Stopped")
        .see("$ ")
        .type_keys("fg\n")
        .see("Passphrase of home: ");
    assert!(!shell.echoes());
    // A stop that no key asked for.
    let stopped = shell.pid().unwrap();
    rustix::process::kill_process_group(stopped, Signal::STOP).unwrap();
    shell
        .see("Stopped")
        .see("$ ")
        .type_keys("stty echo; fg\n")
        .see("Passphrase of home: ");
    assert!(!shell.echoes());
    shell
        .type_keys(&format!("{PASSPHRASE}\n"))
        .see("restored")
        .see("$ ")
        .type_keys("echo \"status=$?\"; stty -a\n");
    shell
        .see("status=0")
        .see("isig")
        .see("$ ")
        .type_keys("exit\n");
    let (seen, _) = shell.leave();
    assert!(
        !seen.contains("canary") && !seen.contains("half ") && !seen.contains(" -echo "),
        "{seen}"
    );
}

#[test]
fn a_person_may_try_three_times_and_a_file_once() {
    let sandbox = sandbox_with_a_session();
    let mut person = Person::at(&sandbox, &RESTORE);
    person
        .answer("Passphrase of home: ", "wrong")
        .answer("Wrong passphrase. Try again.\r\nPassphrase of home: ", "");
    person
        .answer(
            "The passphrase is empty.\r\nPassphrase of home: ",
            "wrong again",
        )
        .answer("Passphrase of home: ", PASSPHRASE);
    let (seen, status) = person.leave();
    assert_eq!(status, 0, "{seen}");
    std::fs::remove_file(sandbox.path("out")).unwrap();

    let mut person = Person::at(&sandbox, &RESTORE);
    for _ in 0..3 {
        person.answer("Passphrase of home: ", "wrong");
    }
    let (seen, status) = person.leave();
    assert_eq!(
        (status, seen.matches("Passphrase of home").count()),
        (4, 3),
        "{seen}"
    );
    let mut person = Person::at(&sandbox, &RESTORE);
    person
        .answer("Passphrase of home: ", "wrong")
        .see("Passphrase of home: ")
        .type_keys("\x04");
    assert_eq!(person.leave().1, 4, "Ctrl-D gives up");
    // A file cannot be read for a second answer, even if there is a terminal.
    let wrong = sandbox.text("wrong", "not it\n");
    let (seen, status) = Person::at(
        &sandbox,
        &[&RESTORE[..], &["--passphrase-file", &wrong]].concat(),
    )
    .leave();
    assert_eq!(
        (status, seen.matches("Passphrase of home").count()),
        (4, 0),
        "{seen}"
    );
}

#[test]
fn a_passphrase_is_asked_for_and_never_shown() {
    let sandbox = Sandbox::new();
    let store = format!("dir:{}", sandbox.store().display());
    let create = create_home(&store);
    let mut person = Person::at(&sandbox, &create);
    person
        .answer("New passphrase of home: ", "canary-typed")
        .answer("Once more: ", "canary-typed");
    let (seen, status) = person.leave();
    assert_eq!(status, 0, "{seen}");
    assert!(!seen.contains("canary"), "{seen}");

    sandbox.image("disk.img", 100_000, 1);
    sandbox.wyng(&["backup", "home", "disk.img"]).success();
    let mut person = Person::at(&sandbox, &["restore", "home", "disk.img", "--to", "out"]);
    person.answer("Passphrase of home: ", "canary-typed");
    let (seen, status) = person.leave();
    assert_eq!(status, 0, "{seen}");
    assert!(
        !seen.contains("canary") && seen.contains("restored"),
        "{seen}"
    );
    assert!(std::fs::read(sandbox.path("out")).unwrap() == noise(100_000, 1));
}

#[test]
fn two_different_new_passphrases_make_no_archive() {
    let sandbox = Sandbox::new();
    let store = format!("dir:{}", sandbox.store().display());
    let mut person = Person::at(&sandbox, &["archive", "create", "home", "--store", &store]);
    for _ in 0..3 {
        person
            .answer("New passphrase of home: ", "one")
            .answer("Once more: ", "another")
            .see("The two passphrases differ.");
    }
    let (seen, status) = person.leave();
    assert_eq!(status, 4, "{seen}");
    assert!(
        seen.contains("differ") && !sandbox.store().exists(),
        "{seen}"
    );
}

/// A sandbox whose far end waits at a gate before its first byte, until the gate is opened for the
/// second time.
fn sandbox_with_a_gate() -> Sandbox {
    let mut sandbox = Sandbox::with_archive(&[]);
    sandbox.image("disk.img", 100_000, 1);
    let gate = sandbox.path("gate");
    assert!(
        Command::new("mkfifo")
            .arg(&gate)
            .status()
            .unwrap()
            .success()
    );
    sandbox.replace_helper(&format!(
        "read -r line < {}; exec \"$HELPER\" \"$@\"",
        gate.display()
    ));
    sandbox
}

/// The far end waits at the gate; it goes on when this is dropped.
fn gate(sandbox: &Sandbox) -> File {
    File::options()
        .write(true)
        .open(sandbox.path("gate"))
        .unwrap()
}

#[test]
fn a_stopped_command_reports_that_the_daemon_continues_and_can_be_resumed() {
    let sandbox = sandbox_with_a_gate();
    let mut shell = Person::at_shell(&sandbox);
    shell.see("$ ").type_keys("$WYNG backup home disk.img\n");
    let gate = gate(&sandbox);
    shell
        .type_keys("\x1a")
        .see("the daemon continues")
        .see("Stopped")
        .see("$ ");
    drop(gate);
    shell
        .type_keys("fg\n")
        .see("disk.img")
        .see("$ ")
        .type_keys("echo \"status=$?\"; exit\n")
        .see("status=0");
    shell.leave();
}

#[test]
fn a_second_interrupt_is_an_interrupt_too() {
    let sandbox = sandbox_with_a_gate();
    let mut person = Person::at(&sandbox, &["backup", "home", "disk.img"]);
    let _gate = gate(&sandbox);
    person.type_keys("\x03\x03").see("interrupted");
    assert_eq!(person.leave().1, 130);
}

#[test]
fn a_question_ends_with_the_daemon_that_asked_it() {
    let sandbox = sandbox_with_a_session();
    let mut person = Person::at(&sandbox, &RESTORE);
    person.see("Passphrase of home: ");
    let pid = person.pid().unwrap();
    rustix::process::kill_process(daemon_of(pid), Signal::KILL).unwrap();
    person.see("the daemon ended before the command was done");
    assert!(person.echoes());
    assert_eq!(person.leave().1, 1);
}

/// The only child of a `wyng-ctl`.
fn daemon_of(pid: Pid) -> Pid {
    let children = std::fs::read_to_string(format!(
        "/proc/{pid}/task/{pid}/children",
        pid = pid.as_raw_nonzero()
    ))
    .unwrap();
    Pid::from_raw(children.trim().parse().unwrap()).unwrap()
}

#[test]
fn whoever_ends_the_daemon_and_the_command_together_interrupted_it() {
    let sandbox = sandbox_with_a_gate();
    let mut command = sandbox.command(&["backup", "home", "disk.img"]);
    let mut program = command.stdout(Stdio::piped()).spawn().unwrap();
    let _gate = gate(&sandbox);
    let pid = Pid::from_child(&program);
    // So that both signals arrive at once.
    rustix::process::kill_process(pid, Signal::STOP).unwrap();
    rustix::process::kill_process(pid, Signal::TERM).unwrap();
    let daemon = daemon_of(pid);
    rustix::process::kill_process(daemon, Signal::TERM).unwrap();
    until("the daemon has ended", || {
        std::fs::read_to_string(format!("/proc/{}/stat", daemon.as_raw_nonzero()))
            .is_ok_and(|stat| stat.contains(") Z "))
    });
    rustix::process::kill_process(pid, Signal::CONT).unwrap();
    assert_eq!(program.wait().unwrap().code(), Some(130));
}

#[test]
fn a_restore_in_place_is_confirmed_on_the_terminal_or_by_an_option() {
    let sandbox = Sandbox::with_archive(&[]);
    let image = sandbox.image("disk.img", 100_000, 1);
    sandbox.wyng(&["backup", "home", "disk.img"]).success();
    std::fs::write(&image, noise(100_000, 2)).unwrap();
    let passphrase = sandbox.path("passphrase");
    let restore = [
        "restore",
        "home",
        "disk.img",
        "--in-place",
        "--to",
        "disk.img",
        "--passphrase-file",
        passphrase.to_str().unwrap(),
    ];
    let command = sandbox.command(&restore[..6]);
    let words = command.get_args().filter(|word| *word != "--yes");
    let refused = Command::new("setsid")
        .arg("--wait")
        .arg(command.get_program())
        .args(words)
        .current_dir(sandbox.path(""))
        .output();
    assert_eq!(
        Outcome::of(refused.unwrap()).expect(2).codes(),
        ["confirmation-needed"],
        "without a terminal"
    );
    for (answer, status, seed) in [("n", 130, 2), ("", 130, 2), ("yes", 0, 1)] {
        let mut person = Person::at(&sandbox, &restore);
        person.answer("[y/N] ", answer);
        let (seen, found) = person.leave();
        assert_eq!(found, status, "{seen}");
        assert!(
            seen.contains("Overwrite disk.img with volume disk.img of 20"),
            "{seen}"
        );
        assert!(
            std::fs::read(&image).unwrap() == noise(100_000, seed),
            "after {answer:?}: {seen}"
        );
    }
    std::fs::write(&image, noise(100_000, 3)).unwrap();
    // With --yes, as every command of a sandbox has it.
    sandbox.wyng(&restore[..6]).success();
    assert!(std::fs::read(&image).unwrap() == noise(100_000, 1));
}

#[test]
fn a_removal_is_confirmed_on_the_terminal_which_says_what_is_special_about_it() {
    let sandbox = Sandbox::with_archive(&[]);
    for seed in 1..4 {
        sandbox.image("disk.img", 100_000, seed);
        sandbox.wyng(&["backup", "home", "disk.img"]).success();
    }
    let session = ["session", "remove", "home", "disk.img", "latest"];
    let command = sandbox.command(&session);
    let words = command.get_args().filter(|word| *word != "--yes");
    let refused = Command::new("setsid")
        .arg("--wait")
        .arg(command.get_program())
        .args(words)
        .current_dir(sandbox.path(""))
        .output();
    assert_eq!(
        Outcome::of(refused.unwrap()).expect(2).codes(),
        ["confirmation-needed"],
        "without a terminal"
    );
    let left = || {
        let outcome = sandbox.wyng(&["list", "home"]);
        let volumes = outcome.success().json["volumes"]
            .as_array()
            .unwrap()
            .clone();
        volumes
            .first()
            .map_or(0, |volume| volume["sessions"].as_array().unwrap().len())
    };
    let volume = ["volume", "remove", "home", "disk.img"];
    for (words, question, answer, status, sessions) in [
        (&session[..], "the newest included?", "n", 130, 3),
        (&session, "the newest included?", "y", 0, 2),
        (&session, "the newest included?", "y", 0, 1),
        (&session, ": no sound session is left?", "", 130, 1),
        (&volume, "with all of its sessions (1)?", "yes", 0, 0),
    ] {
        let mut person = Person::at(&sandbox, words);
        person.answer("[y/N] ", answer);
        let (seen, found) = person.leave();
        assert_eq!(found, status, "{seen}");
        assert!(seen.contains(question), "{seen}");
        assert_eq!(left(), sessions, "{seen}");
    }
}
