// SPDX-License-Identifier: GPL-3.0-or-later
//! What a person sees and may leave out: tables, silence, colours, advice, the implied archive,
//! questions before irreversible actions, and completion by a shell.

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use rustix::termios::Winsize;
use wyng_tests::pty::Pty;
use wyng_tests::require::{Component, require};
use wyng_tests::sandbox::{Sandbox, flip_a_bit, noise};
use wyng_tests::service::Service;

/// `wyng-ctl` with output for a person, without a terminal.
fn wyng(sandbox: &Sandbox, arguments: &[&str]) -> Command {
    wyng_with_state(sandbox, &sandbox.state(), arguments)
}

fn wyng_with_state(sandbox: &Sandbox, state: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("setsid");
    command
        .arg("--wait")
        .arg(sandbox.program("wyng-ctl"))
        .arg("--standalone")
        .arg("--state-dir")
        .arg(state);
    command
        .arg("--passphrase-file")
        .arg(sandbox.path("passphrase"))
        .args(arguments)
        .current_dir(sandbox.path(""))
        .stdin(Stdio::null());
    command
        .env("TZ", "Europe/Berlin")
        .env_remove("WYNG_ARCHIVE")
        .env_remove("NO_COLOR")
        .env("TERM", "xterm");
    command
}

fn run(sandbox: &Sandbox, arguments: &[&str]) -> Output {
    wyng(sandbox, arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

/// Runs a command whose output is a terminal of this many columns. Returns its output and the exit
/// status.
fn on_terminal(mut command: Command, columns: u16) -> (String, i32) {
    let Pty {
        person: terminal,
        program: other_end,
    } = Pty::open();
    let size = Winsize {
        ws_row: 24,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    rustix::termios::tcsetwinsize(&terminal, size).unwrap();
    let mut child = command
        .stdout(Stdio::from(other_end.try_clone().unwrap()))
        .stderr(Stdio::from(other_end))
        .spawn()
        .unwrap();
    drop(command);
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    // Reading a terminal whose other end is closed fails with EIO.
    while let Ok(length @ 1..) = rustix::io::read(&terminal, &mut buffer) {
        seen.extend_from_slice(&buffer[..length]);
    }
    (
        String::from_utf8_lossy(&seen).into_owned(),
        child.wait().unwrap().code().unwrap(),
    )
}

/// An archive with two volumes, the second of which comes first by name.
fn with_sessions() -> Sandbox {
    let sandbox = Sandbox::with_archive(&[]);
    sandbox.image("vm.img", 3_000_000, 1);
    sandbox.image("a.img", 100_000, 2);
    sandbox.wyng(&["backup", "home", "vm.img"]).success();
    sandbox
        .wyng(&["backup", "home", "vm.img", "a.img"])
        .success();
    sandbox
}

#[test]
fn a_list_is_an_aligned_table_sorted_by_name_in_local_time_with_ages_and_totals() {
    let sandbox = with_sessions();
    let listed = run(&sandbox, &["list", "home"]);
    assert_eq!(code(&listed), 0);
    let listed = text(&listed.stdout);
    let lines: Vec<&str> = listed.lines().collect();
    let [head, first, second, third, totals] = lines[..] else {
        panic!("{listed}")
    };
    let rows = [first, second, third].map(|row| row.split_whitespace().collect::<Vec<_>>());
    assert_eq!(
        rows.each_ref().map(|row| row[0]),
        ["a.img", "vm.img", "vm.img"],
        "{listed}"
    );
    assert!(rows[1][1] < rows[2][1], "oldest first: {listed}");
    for (column, end) in [
        ("VOLUME", false),
        ("SESSION", false),
        ("LOCAL TIME", false),
        ("AGE", true),
        ("LOGICAL", true),
        ("ADDED", true),
    ] {
        let place = head.find(column).unwrap() + if end { column.len() } else { 0 };
        for row in [first, second, third] {
            // Text is aligned with the beginning of its heading, and numbers with its end.
            let (border, other) = if end {
                (place - 1, place)
            } else {
                (place, place.wrapping_sub(1))
            };
            assert_ne!(&row[border..=border], " ", "{column}: {listed}");
            assert_eq!(
                row.get(other..=other).unwrap_or(" "),
                " ",
                "{column}: {listed}"
            );
        }
    }
    let utc: jiff::Timestamp = rows[0][1].parse().unwrap();
    let berlin = utc.to_string();
    let local = Command::new("date")
        .env("TZ", "Europe/Berlin")
        .args(["-d", &berlin, "+%Y-%m-%d %H:%M"])
        .output()
        .unwrap();
    assert!(first.contains(text(&local.stdout).trim()), "{listed}");
    assert!(
        totals.starts_with("2 volumes, 3 sessions, ") && totals.ends_with(" added"),
        "{totals}"
    );
    let of_one = run(&sandbox, &["list", "home", "vm.img"]);
    let shown = text(&of_one.stdout);
    let sessions: Vec<&str> = shown
        .lines()
        .map(|line| line.split_whitespace().next().unwrap())
        .collect();
    assert_eq!(
        sessions,
        ["SESSION", rows[1][1], rows[2][1], "1"],
        "the volume was named"
    );
}

#[test]
fn what_is_empty_says_so_and_a_folder_that_was_mistyped_is_not_made() {
    let sandbox = Sandbox::with_archive(&[]);
    assert_eq!(
        text(&run(&sandbox, &["list", "home"]).stdout),
        "archive \"home\" has no session yet\n"
    );
    run(&sandbox, &["archive", "forget", "home", "--yes"]);
    assert_eq!(
        text(&run(&sandbox, &["archive", "list"]).stdout),
        "no archive is known\n"
    );
    let typo = sandbox.path("typo");
    for command in [
        &["list", "home"][..],
        &["archive", "list"],
        &["status"],
        &["restore", "home", "vm.img", "--to", "x"],
        &["backup", "x", "y"],
    ] {
        let output = wyng_with_state(&sandbox, &typo, command).output().unwrap();
        let told = text(&output.stderr);
        assert!(
            code(&output) == 2 && told.contains(typo.to_str().unwrap()) && !typo.exists(),
            "{told}"
        );
    }
    // Nothing exists at the default place, which is no mistake.
    let bare = |arguments: &[&str]| {
        let mut command = Command::new(sandbox.program("wyng-ctl"));
        command
            .arg("--standalone")
            .args(arguments)
            .env("XDG_STATE_HOME", &typo)
            .output()
            .unwrap()
    };
    for command in [&["archive", "list"][..], &["status"]] {
        assert_eq!(
            (text(&bare(command).stdout).as_str(), typo.exists()),
            ("no archive is known\n", false)
        );
    }
    assert_eq!(code(&bare(&["list"])), 2);
}

#[test]
fn with_quiet_nothing_is_said_of_success_and_everything_of_what_is_wrong() {
    let sandbox = with_sessions();
    let silent: [&[&str]; 9] = [
        &["backup", "home", "vm.img"],
        &["backup", "home", "vm.img", "--dry-run"],
        &["monitor", "home", "vm.img"],
        &["verify", "home", "--deep"],
        &["restore", "home", "vm.img", "--to", "out"],
        &["status"],
        &["key", "check", "home"],
        &[
            "archive",
            "create",
            "other",
            "--store",
            &format!("dir:{}", sandbox.path("other").display()),
            "--kdf-memory",
            "64M",
            "--kdf-passes",
            "3",
        ],
        &["archive", "forget", "other", "--yes"],
    ];
    for command in silent {
        let output = run(&sandbox, &[command, &["--quiet"]].concat());
        assert_eq!(
            (code(&output), text(&output.stdout), text(&output.stderr)),
            (0, String::new(), String::new()),
            "{command:?}"
        );
    }
    for command in [
        &["list", "home"][..],
        &["archive", "show", "home"],
        &["key", "list", "home"],
        &["recovery-sheet", "home"],
    ] {
        assert!(
            !run(&sandbox, &[command, &["--quiet"]].concat())
                .stdout
                .is_empty(),
            "{command:?} is asked for"
        );
    }
    flip_a_bit(
        &sandbox
            .blobs()
            .into_iter()
            .max_by_key(|blob| std::fs::metadata(blob).unwrap().len())
            .unwrap(),
    );
    let output = run(&sandbox, &["verify", "home", "--quiet"]);
    assert!(
        code(&output) == 5 && text(&output.stdout).contains("needed by vm.img"),
        "{}",
        text(&output.stdout)
    );
}

#[test]
fn an_output_that_cannot_be_written_is_a_failure_and_a_reader_that_went_away_is_none() {
    let sandbox = with_sessions();
    let commands: [&[&str]; 8] = [
        &["list", "home"],
        &["list", "home", "--json"],
        &["status"],
        &["backup", "home", "vm.img"],
        &["verify", "home"],
        &["recovery-sheet", "home"],
        &["completions", "bash"],
        &["--help"],
    ];
    for command in commands {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = wyng(&sandbox, command)
            .stdout(full)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
            .wait_with_output()
            .unwrap();
        assert!(
            code(&output) == 1
                && text(&output.stderr).contains("standard output cannot be written"),
            "{command:?}: {}",
            text(&output.stderr)
        );
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        drop(reader);
        assert_eq!(
            wyng(&sandbox, command)
                .stdout(writer)
                .stderr(Stdio::null())
                .status()
                .unwrap()
                .code(),
            Some(0),
            "{command:?}"
        );
    }
}

#[test]
fn a_volume_on_standard_output_has_that_stream_for_itself() {
    let sandbox = with_sessions();
    let content = std::fs::read(sandbox.path("vm.img")).unwrap();
    let restore = ["restore", "home", "vm.img", "--to", "-"];
    let output = run(&sandbox, &restore);
    assert!(
        code(&output) == 0
            && output.stdout == content
            && text(&output.stderr).contains("restored to -: ")
    );
    let output = run(
        &sandbox,
        &[&restore[..], &["--json", "--progress", "none"]].concat(),
    );
    assert!(code(&output) == 0 && output.stdout == content);
    let object: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(
        (&object["command"], &object["exit"]),
        (&"restore".into(), &0.into())
    );
    // An error before the first byte is no part of the volume either.
    for wrong in [&["--session", "1999"][..], &["--no-such-option"]] {
        let output = run(&sandbox, &[&restore[..], wrong, &["--json"]].concat());
        assert_eq!((code(&output), text(&output.stdout)), (2, String::new()));
        assert!(
            text(&output.stderr)
                .lines()
                .last()
                .unwrap()
                .starts_with('{')
        );
    }
}

#[test]
fn a_day_is_its_last_session_and_any_other_beginning_of_a_name_is_of_one_session_only() {
    let sandbox = with_sessions();
    sandbox
        .wyng(&[
            "archive",
            "create",
            "empty",
            "--store",
            &format!("dir:{}", sandbox.path("empty").display()),
        ])
        .success();
    let list = |session: &str| sandbox.wyng(&["list", "home", "vm.img", "--session", session]);
    let one = |session: &str| {
        let listed = list(session).success().json["volumes"][0]["sessions"].clone();
        assert_eq!(listed.as_array().unwrap().len(), 1, "{session}");
        listed[0]["session"].as_str().unwrap().to_owned()
    };
    let newest = one("latest");
    let day = newest.split_once('T').unwrap().0;
    assert_eq!((one(day), one(&newest)), (newest.clone(), newest.clone()));
    let outcome = list("2");
    assert_eq!(outcome.expect(2).codes(), ["ambiguous-session"]);
    assert!(
        outcome
            .stderr
            .contains("2 sessions of volume \"vm.img\" begin with \"2\""),
        "{}",
        outcome.stderr
    );
    let codes =
        |status: i32, command: &[&str]| sandbox.wyng(command).expect(status).codes().join(" ");
    assert_eq!(
        codes(2, &["list", "home", "vm.img", "--session", "1999"]),
        "unknown-session"
    );
    for command in [
        &["list", "home"][..],
        &["verify", "home"],
        &["restore", "home", "--all", "--to", "out"],
    ] {
        assert_eq!(
            codes(2, &[command, &["--session", "1999"]].concat()),
            "no-session",
            "{command:?}"
        );
    }
    assert_eq!(
        codes(2, &["restore", "empty", "--all", "--to", "out"]),
        "no-session"
    );
    assert_eq!(
        codes(2, &["monitor", "home", "new=vm.img"]),
        "never-backed-up"
    );
}

#[test]
fn states_have_colours_on_a_terminal_of_whoever_wants_them() {
    let sandbox = with_sessions();
    std::fs::remove_file(
        sandbox
            .blobs()
            .into_iter()
            .max_by_key(|blob| std::fs::metadata(blob).unwrap().len())
            .unwrap(),
    )
    .unwrap();
    assert_eq!(code(&run(&sandbox, &["verify", "home"])), 5);
    let list = |variable: (&str, &str)| {
        let mut command = wyng(&sandbox, &["list", "home"]);
        command.env(variable.0, variable.1);
        command
    };
    let (seen, status) = on_terminal(list(("NO_COLOR", "")), 100);
    assert!(status == 0 && seen.contains("\x1b[1;31mDAMAGED"), "{seen}");
    for variable in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        let (seen, _) = on_terminal(list(variable), 100);
        assert!(seen.contains("DAMAGED") && !seen.contains('\x1b'), "{seen}");
    }
    assert!(!list(("X", "")).output().unwrap().stdout.contains(&0x1b));
}

#[test]
fn progress_fits_into_the_terminal_and_ends_where_the_work_does() {
    let sandbox = Sandbox::with_archive(&[]);
    let name = format!("{}.img", "long-name-".repeat(12));
    sandbox.image(&name, 3_000_000, 1);
    for columns in [20, 40, 80] {
        let (seen, status) = on_terminal(
            wyng(&sandbox, &["backup", "home", &name, "--quiet"]),
            columns,
        );
        assert_eq!((seen.as_str(), status), ("", 0));
        let (seen, status) = on_terminal(wyng(&sandbox, &["backup", "home", &name]), columns);
        assert_eq!(status, 0);
        let bars: Vec<&str> = seen
            .split("\r\x1b[K")
            .filter(|bar| bar.starts_with("reading"))
            .collect();
        let cut =
            |bar: &&str| bar.split('\r').next().unwrap().chars().count() < usize::from(columns);
        assert!(!bars.is_empty() && bars.iter().all(cut), "{seen:?}");
        assert_eq!(
            bars.iter().any(|bar| bar.contains("[====")),
            columns == 80,
            "{seen:?}"
        );
    }
    let lines = text(&run(&sandbox, &["backup", "home", &name]).stderr);
    let last = lines
        .lines()
        .rfind(|line| line.starts_with("reading"))
        .unwrap();
    assert!(last.contains("100 %, 2.8 of 2.8 MiB"), "{lines}");
    // A source that ends in a hole has its full length too.
    File::create(sandbox.path("holes.img"))
        .unwrap()
        .set_len(50_000_000)
        .unwrap();
    let lines = text(&run(&sandbox, &["backup", "home", "holes.img"]).stderr);
    assert!(
        lines
            .lines()
            .rfind(|line| line.starts_with("reading"))
            .unwrap()
            .contains("100 %"),
        "{lines}"
    );
}

#[test]
fn the_archive_that_is_left_out_is_that_of_the_environment_or_the_only_one() {
    let sandbox = with_sessions();
    let restored = run(&sandbox, &["restore", "vm.img", "--to", "out"]);
    assert_eq!(code(&restored), 0, "{}", text(&restored.stderr));
    assert!(std::fs::read(sandbox.path("out")).unwrap() == noise(3_000_000, 1));
    for command in [
        &["list"][..],
        &["verify"],
        &["backup", "vm.img"],
        &["diff", "vm.img"],
        &["key", "list"],
        &["recovery-sheet"],
        &["archive", "show"],
    ] {
        assert_eq!(code(&run(&sandbox, command)), 0, "{command:?}");
    }
    // The name of an archive is not taken for a volume, and that of a volume not for an archive.
    for (command, status) in [
        (&["backup", "home"][..], 2),
        (&["restore", "home", "--to", "x"], 2),
        (&["list", "vm.img"], 2),
        (&["backup"], 2),
    ] {
        assert_eq!(code(&run(&sandbox, command)), status, "{command:?}");
    }
    let store = format!("dir:{}", sandbox.path("other").display());
    let create = [
        "archive",
        "create",
        "other",
        "--store",
        &store,
        "--kdf-memory",
        "64M",
        "--kdf-passes",
        "3",
    ];
    assert_eq!(code(&run(&sandbox, &create)), 0);
    let output = run(&sandbox, &["list"]);
    assert!(
        code(&output) == 2
            && text(&output.stderr).contains("the archive was not named; known are home, other"),
        "{}",
        text(&output.stderr)
    );
    let output = wyng(&sandbox, &["list"])
        .env("WYNG_ARCHIVE", "other")
        .output()
        .unwrap();
    assert_eq!(
        text(&output.stdout),
        "archive \"other\" has no session yet\n"
    );
    let output = wyng(&sandbox, &["list", "home"])
        .env("WYNG_ARCHIVE", "other")
        .output()
        .unwrap();
    assert!(
        text(&output.stdout).contains("vm.img"),
        "what is named counts"
    );
}

#[test]
fn what_cannot_be_undone_needs_a_yes() {
    let sandbox = Sandbox::with_archive(&[]);
    for command in [
        ["archive", "forget", "home"],
        ["archive", "take-over", "home"],
    ] {
        let output = run(&sandbox, &command);
        assert!(
            code(&output) == 2 && text(&output.stderr).contains("Add --yes."),
            "{}",
            text(&output.stderr)
        );
    }
    assert_eq!(code(&run(&sandbox, &["archive", "show", "home"])), 0);
    assert_eq!(
        code(&run(&sandbox, &["archive", "take-over", "home", "--yes"])),
        0
    );
    assert_eq!(
        code(&run(&sandbox, &["--yes", "archive", "forget", "home"])),
        0
    );
    assert_eq!(code(&run(&sandbox, &["archive", "show", "home"])), 2);
}

#[test]
fn advice_leads_to_the_same_archives_when_it_is_pasted() {
    let sandbox = with_sessions();
    let output = run(&sandbox, &["restore", "home", "nothing", "--to", "x"]);
    let told = text(&output.stderr);
    let advice = told.split('`').nth(1).unwrap();
    let rest = advice.strip_prefix("wyng-ctl ").unwrap();
    let pasted = Command::new("sh")
        .arg("-c")
        .arg(format!("{} {rest}", sandbox.program("wyng-ctl").display()))
        .output()
        .unwrap();
    assert!(
        code(&pasted) == 0 && text(&pasted.stdout).contains("vm.img"),
        "{advice}"
    );
}

#[test]
fn whoever_may_not_use_the_daemon_is_told_so_and_not_that_there_is_none() {
    if !require(
        Component::Root,
        "whoever_may_not_use_the_daemon_is_told_so_and_not_that_there_is_none",
    ) {
        return;
    }
    let mut sandbox = Sandbox::new();
    sandbox.open_to_everybody();
    let _service = Service::start(&mut sandbox);
    let socket = sandbox.path("socket");
    std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o660)).unwrap();
    let program = sandbox.path("wyng-ctl");
    std::fs::copy(sandbox.program("wyng-ctl"), &program).unwrap();
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .arg(&program)
        .arg("--socket")
        .arg(&socket)
        .arg("status");
    let output = command.output().unwrap();
    let told = text(&output.stderr);
    assert!(
        code(&output) == 1
            && told.contains("you are not allowed to use the daemon")
            && told.contains("group"),
        "{told}"
    );
}

#[test]
fn a_state_folder_that_cannot_be_used_is_named() {
    let sandbox = Sandbox::with_archive(&[]);
    let file = sandbox.text("file", "");
    let output = wyng_with_state(&sandbox, Path::new(&file), &["list", "home"])
        .output()
        .unwrap();
    let told = text(&output.stderr);
    assert!(code(&output) == 1 && told.contains(&file), "{told}");
    assert_eq!(told.lines().count(), 3, "three lines and no log: {told}");
}

#[test]
fn the_daemon_says_how_it_is_started_and_reads_the_configuration_that_is_named() {
    let sandbox = Sandbox::new();
    let daemon = |arguments: &[&str]| {
        Command::new(sandbox.program("wyngd"))
            .args(arguments)
            .output()
            .unwrap()
    };
    for (option, says) in [
        ("--help", "usage: wyngd --socket PATH"),
        ("--version", "wyngd 0."),
        ("-h", "usage:"),
        ("-V", "wyngd 0."),
    ] {
        let output = daemon(&[option]);
        assert!(
            code(&output) == 0 && text(&output.stdout).contains(says),
            "{option}"
        );
    }
    assert_eq!(code(&daemon(&["--no-such-option"])), 2);
    let (socket, state) = (sandbox.path("socket"), sandbox.path("state"));
    let output = daemon(&[
        "--socket",
        socket.to_str().unwrap(),
        "--state-dir",
        state.to_str().unwrap(),
        "--config",
        "/nonexistent/wyng.toml",
    ]);
    assert!(
        code(&output) == 2 && text(&output.stderr).contains("/nonexistent/wyng.toml"),
        "{}",
        text(&output.stderr)
    );
    assert!(!socket.exists() && !state.exists());
}

#[test]
fn a_check_of_the_configuration_tells_all_mistakes_and_that_all_is_right() {
    let sandbox = Sandbox::new();
    let image = sandbox.image("vm.img", 1000, 1);
    let check = |text: &str| {
        sandbox.wyng(&[
            "config",
            "check",
            "--config",
            &sandbox.text("wyng.toml", text),
        ])
    };
    let wrong = check(
        "[volumes]\nvm = \"vm.img\"\n[profiles.p]\narchive = \"home\"\nverify_budget = \"0\"\n[archives.home]\nstore = \"x\"\n",
    );
    assert_eq!(
        wrong.expect(2).codes(),
        ["config", "config", "config"],
        "{}",
        wrong.stderr
    );
    for line in ["wyng.toml:2: ", "wyng.toml:5: ", "wyng.toml:7: "] {
        assert!(wrong.stderr.contains(line), "{}", wrong.stderr);
    }
    std::os::unix::fs::symlink(&image, sandbox.path("again.img")).unwrap();
    let again = sandbox.path("again.img");
    let unusable = check(&format!(
        "[volumes]\na = {image:?}\nfolder = \"/tmp\"\nnull = \"/dev/null\"\ntwin = {again:?}\nnone = \"/nonexistent\"\n"
    ));
    assert_eq!(
        unusable.expect(3).codes(),
        ["configured-volume-missing"; 4],
        "{}",
        unusable.stderr
    );
    let right = sandbox.text("wyng.toml", &format!("[volumes]\na = {image:?}\n"));
    let output = run(&sandbox, &["config", "check", "--config", &right]);
    assert!(
        code(&output) == 0 && text(&output.stdout).ends_with("the configuration is correct\n"),
        "{}",
        text(&output.stdout)
    );
}

/// The completions of bash for these words, the last of which is being typed.
fn bash_offers(sandbox: &Sandbox, script: &Path, words: &[&str]) -> Vec<String> {
    let complete = "source \"$1\"; shift; COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); COMP_TYPE=9
        _clap_complete_wyng_ctl wyng-ctl \"${!#}\" \"\" 2>/dev/null; printf '%s\\n' \"${COMPREPLY[@]}\"";
    let folder = sandbox.program("wyng-ctl").parent().unwrap().to_owned();
    let mut command = Command::new("bash");
    command
        .args(["-c", complete, "bash"])
        .arg(script)
        .args(words)
        .current_dir(sandbox.path(""))
        .stdin(Stdio::null());
    command
        .env(
            "PATH",
            format!("{}:{}", folder.display(), std::env::var("PATH").unwrap()),
        )
        .env_remove("WYNG_ARCHIVE");
    let output = command.output().unwrap();
    assert_eq!(text(&output.stderr), "");
    text(&output.stdout)
        .lines()
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect()
}

#[test]
fn a_shell_completes_commands_archives_volumes_and_sessions() {
    let sandbox = with_sessions();
    let script = sandbox.path("completions");
    std::fs::write(&script, run(&sandbox, &["completions", "bash"]).stdout).unwrap();
    let state = sandbox.state();
    let own = [
        "wyng-ctl",
        "--standalone",
        "--state-dir",
        state.to_str().unwrap(),
    ];
    let offers = |words: &[&str]| bash_offers(&sandbox, &script, &[&own, words].concat());
    assert_eq!(offers(&["ba"]), ["backup"]);
    assert_eq!(offers(&["archive", "fo"]), ["forget"]);
    assert_eq!(offers(&["list", "ho"]), ["home"]);
    assert_eq!(offers(&["list", "home", "v"]), ["vm.img"]);
    assert_eq!(
        offers(&["restore", "v"]),
        ["vm.img"],
        "the only archive may be left out"
    );
    assert_eq!(
        offers(&["restore", "home", ""])
            .iter()
            .filter(|word| word.ends_with(".img"))
            .count(),
        2
    );
    let sessions = offers(&["restore", "home", "vm.img", "--session", "2"]);
    let known = sandbox.wyng(&["list", "home", "vm.img"]);
    let mut known: Vec<&str> = known.json["volumes"][0]["sessions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| line["session"].as_str().unwrap())
        .collect();
    known.reverse();
    assert_eq!(sessions, known, "newest first");
    assert_eq!(offers(&["backup", "home", "vm.i"]), ["vm.img"]);
    assert_eq!(offers(&["backup", "home", "--dry"]), ["--dry-run"]);
    // Where nothing is known, nothing is printed and nothing is made.
    let typo = sandbox.path("typo");
    assert!(
        bash_offers(
            &sandbox,
            &script,
            &[
                "wyng-ctl",
                "--standalone",
                "--state-dir",
                typo.to_str().unwrap(),
                "list",
                ""
            ]
        )
        .iter()
        .all(|word| word.starts_with('-'))
    );
    assert!(!typo.exists());
    for shell in ["zsh", "fish"] {
        assert!(
            text(&run(&sandbox, &["completions", shell]).stdout).contains("WYNG_COMPLETE"),
            "{shell}"
        );
    }
}
