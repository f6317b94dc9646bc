// SPDX-License-Identifier: GPL-3.0-or-later
//! Passphrases that are not typed: files with bytes that no keyboard gives, and the program that
//! the environment names.

use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal};
use wyng_tests::sandbox::{Outcome, PASSPHRASE, Sandbox, create_home};
use wyng_tests::service::until;

/// `wyng-ctl` without a passphrase and without a terminal.
fn bare(sandbox: &Sandbox, arguments: &[&str]) -> Command {
    let mut command = Command::new("setsid");
    command
        .arg("--wait")
        .arg(sandbox.program("wyng-ctl"))
        .arg("--standalone")
        .arg("--state-dir")
        .arg(sandbox.state())
        .arg("--json");
    command
        .args(arguments)
        .current_dir(sandbox.path(""))
        .stdin(Stdio::null());
    command
}

fn with_command(sandbox: &Sandbox, line: &str, arguments: &[&str]) -> Outcome {
    Outcome::of(
        bare(sandbox, arguments)
            .env("WYNG_PASSPHRASE_COMMAND", line)
            .output()
            .unwrap(),
    )
}

#[test]
fn a_file_that_holds_another_passphrase_than_was_typed_into_it_is_refused_with_its_name() {
    let sandbox = Sandbox::new();
    let store = format!("dir:{}", sandbox.store().display());
    for (text, says) in [
        ("correct horse\r\n", "CR LF"),
        ("\r\n", "CR LF"),
        ("", "empty"),
        ("\n", "empty"),
        ("two\nlines\n", "more than one line"),
    ] {
        let file = sandbox.text("windows.txt", text);
        let create = [
            "archive",
            "create",
            "home",
            "--store",
            &store,
            "--passphrase-file",
            &file,
        ];
        let outcome = sandbox.wyng(&create);
        assert_eq!(outcome.expect(4).codes(), ["no-passphrase"], "{text:?}");
        let error = &outcome.json["errors"][0];
        assert!(
            error["text"].as_str().unwrap().contains(says)
                && error["text"].as_str().unwrap().contains(&file),
            "{error}"
        );
        assert!(!sandbox.store().exists());
    }
    // The advice works.
    let file = sandbox.text("windows.txt", "correct horse\r\n");
    let outcome = sandbox.wyng(&[
        "archive",
        "create",
        "home",
        "--store",
        &store,
        "--passphrase-file",
        &file,
    ]);
    let next = outcome.json["errors"][0]["next"]
        .as_str()
        .unwrap()
        .to_owned();
    let (_, advice) = next.split_once(": ").unwrap();
    assert!(
        Command::new("sh")
            .args(["-c", advice])
            .status()
            .unwrap()
            .success(),
        "{advice}"
    );
    assert_eq!(std::fs::read(&file).unwrap(), b"correct horse\n");
    let missing = sandbox.wyng(&[
        "archive",
        "create",
        "home",
        "--store",
        &store,
        "--passphrase-file",
        "/nonexistent/pw",
    ]);
    assert!(
        missing.expect(4).json["errors"][0]["text"]
            .as_str()
            .unwrap()
            .contains("/nonexistent/pw")
    );
}

#[test]
fn the_program_that_the_environment_names_gives_the_passphrase() {
    let sandbox = Sandbox::new();
    let store = format!("dir:{}", sandbox.store().display());
    let print = format!("cat '{}'", sandbox.path("passphrase").display());
    let create = create_home(&store);
    with_command(&sandbox, &print, &create).success();
    with_command(&sandbox, &print, &["key", "check", "home"]).success();
    sandbox.wyng(&["key", "check", "home"]).success();
    // The program has the signals back that wyng-ctl hears through descriptors.
    let mask = sandbox.path("mask");
    // No shell: some give their programs a mask of their own.
    let look = format!(
        "sed -n -e '/SigBlk/w {}' -e '/^{PASSPHRASE}$/p' /proc/self/status '{}'",
        mask.display(),
        sandbox.path("passphrase").display()
    );
    with_command(&sandbox, &look, &["key", "check", "home"]).success();
    assert_eq!(
        std::fs::read_to_string(mask).unwrap(),
        "SigBlk:\t0000000000000000\n"
    );
    // A named file takes precedence.
    let wrong = sandbox.text("wrong", "not it\n");
    with_command(
        &sandbox,
        &print,
        &["key", "check", "home", "--passphrase-file", &wrong],
    )
    .expect(4);
    // A new passphrase is not read from the source of the known one.
    with_command(&sandbox, &print, &["key", "add", "home"]).expect(4);
    for (line, says) in [
        ("false", "exit status: 1"),
        ("/nonexistent/program", "No such file"),
        ("true", "empty"),
        ("'open", "quotation mark"),
        // The command is not run by a shell.
        (&*format!("echo {PASSPHRASE} | head -1"), ""),
        ("$(cat passphrase)", ""),
    ] {
        let outcome = with_command(&sandbox, line, &["key", "check", "home"]);
        let text = outcome.expect(4).json["errors"][0]["text"]
            .as_str()
            .unwrap()
            .to_owned();
        assert!(text.contains(says), "{line}: {text}");
    }
}

#[test]
fn an_interrupt_ends_the_program_that_was_to_give_the_passphrase() {
    let sandbox = Sandbox::with_archive(&[]);
    let started = sandbox.path("started");
    let line = format!("sh -c 'touch {}; exec sleep 1000'", started.display());
    let mut program = bare(&sandbox, &["key", "check", "home"])
        .env("WYNG_PASSPHRASE_COMMAND", line)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    until("the program runs", || started.exists());
    // setsid has become wyng-ctl.
    rustix::process::kill_process(Pid::from_child(&program), Signal::TERM).unwrap();
    assert_eq!(program.wait().unwrap().code(), Some(130));
}
