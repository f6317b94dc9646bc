// SPDX-License-Identifier: GPL-3.0-or-later
//! A person at a terminal: passphrases are asked for, twice where they are new, and never shown.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};

use rustix::pty::OpenptFlags;
use wyng_tests::sandbox::{Outcome, Sandbox, noise};

/// A program on a terminal of its own, and the person before it.
struct Person {
    terminal: File,
    program: Child,
    seen: String,
}

impl Person {
    fn at(sandbox: &Sandbox, arguments: &[&str]) -> Self {
        let terminal = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        rustix::pty::grantpt(&terminal).unwrap();
        rustix::pty::unlockpt(&terminal).unwrap();
        let name = rustix::pty::ptsname(&terminal, Vec::new()).unwrap();
        let other_end: OwnedFd = File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap().into();
        // The program's terminal is what /dev/tty means to it.
        let mut command = Command::new("setsid");
        command.args(["--ctty", "--wait"]).arg(wyng_tests::programs::program("wyng-ctl"));
        command.arg("--standalone").arg("--state-dir").arg(sandbox.state()).args(arguments).current_dir(sandbox.path(""));
        command.stdin(Stdio::from(other_end.try_clone().unwrap())).stdout(Stdio::from(other_end.try_clone().unwrap()));
        let program = command.stderr(Stdio::from(other_end)).spawn().unwrap();
        drop(command); // with it the ends that would keep the terminal open
        Self { terminal: terminal.into(), program, seen: String::new() }
    }

    /// Reads until `text` is there, and types an answer.
    fn answer(&mut self, text: &str, line: &str) -> &mut Self {
        while !self.seen.contains(text) {
            assert!(self.read_more(), "the program ended without asking {text:?}: {}", self.seen);
        }
        writeln!(self.terminal, "{line}").unwrap();
        self
    }

    fn read_more(&mut self) -> bool {
        let mut buffer = [0; 4096];
        // A terminal without anybody at its other end says EIO.
        let length = self.terminal.read(&mut buffer).unwrap_or(0);
        self.seen.push_str(&String::from_utf8_lossy(&buffer[..length]));
        length > 0
    }

    /// All that was to be seen, and the exit status.
    fn leave(mut self) -> (String, i32) {
        while self.read_more() {}
        (self.seen, self.program.wait().unwrap().code().unwrap())
    }
}

#[test]
fn a_passphrase_is_asked_for_and_never_shown() {
    let sandbox = Sandbox::new();
    let store = format!("dir:{}", sandbox.store().display());
    let create = ["archive", "create", "home", "--store", &store, "--kdf-memory", "64M", "--kdf-passes", "3"];
    let mut person = Person::at(&sandbox, &create);
    person.answer("New passphrase of home: ", "canary-typed").answer("Once more: ", "canary-typed");
    let (seen, status) = person.leave();
    assert_eq!(status, 0, "{seen}");
    assert!(!seen.contains("canary"), "{seen}");

    sandbox.image("disk.img", 100_000, 1);
    sandbox.wyng(&["backup", "home", "disk.img"]).success();
    let mut person = Person::at(&sandbox, &["restore", "home", "disk.img", "--to", "out"]);
    person.answer("Passphrase of home: ", "canary-typed");
    let (seen, status) = person.leave();
    assert_eq!(status, 0, "{seen}");
    assert!(!seen.contains("canary") && seen.contains("restored"), "{seen}");
    assert!(std::fs::read(sandbox.path("out")).unwrap() == noise(100_000, 1));
}

#[test]
fn two_different_new_passphrases_make_no_archive() {
    let sandbox = Sandbox::new();
    let store = format!("dir:{}", sandbox.store().display());
    let mut person = Person::at(&sandbox, &["archive", "create", "home", "--store", &store]);
    person.answer("New passphrase of home: ", "one").answer("Once more: ", "another");
    let (seen, status) = person.leave();
    assert_eq!(status, 4, "{seen}");
    assert!(seen.contains("differ") && !sandbox.store().exists(), "{seen}");
}

#[test]
fn a_restore_in_place_is_confirmed_on_the_terminal_or_by_an_option() {
    let sandbox = Sandbox::with_archive(&[]);
    let image = sandbox.image("disk.img", 100_000, 1);
    sandbox.wyng(&["backup", "home", "disk.img"]).success();
    std::fs::write(&image, noise(100_000, 2)).unwrap();
    let passphrase = sandbox.path("passphrase");
    let restore = ["restore", "home", "disk.img", "--in-place", "--to", "disk.img", "--passphrase-file", passphrase.to_str().unwrap()];
    let command = sandbox.command(&restore[..6]);
    let refused =
        Command::new("setsid").arg("--wait").arg(command.get_program()).args(command.get_args()).current_dir(sandbox.path("")).output();
    assert_eq!(Outcome::of(refused.unwrap()).expect(2).codes(), ["confirmation-needed"], "without a terminal");
    for (answer, status, seed) in [("n", 130, 2), ("", 130, 2), ("yes", 0, 1)] {
        let mut person = Person::at(&sandbox, &restore);
        person.answer("[y/N] ", answer);
        let (seen, found) = person.leave();
        assert_eq!(found, status, "{seen}");
        assert!(seen.contains("Overwrite disk.img with volume disk.img of 20"), "{seen}");
        assert!(std::fs::read(&image).unwrap() == noise(100_000, seed), "after {answer:?}: {seen}");
    }
    std::fs::write(&image, noise(100_000, 3)).unwrap();
    sandbox.wyng(&[&["--yes"][..], &restore[..6]].concat()).success();
    assert!(std::fs::read(&image).unwrap() == noise(100_000, 1));
}
