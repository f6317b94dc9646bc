// SPDX-License-Identifier: GPL-3.0-or-later
//! The output of the commands conforms to `docs/schema`: every command, succeeding and failing.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use wyng_tests::sandbox::{Outcome, Sandbox, create_home, flip_a_bit, noise};
use wyng_tests::second_reader::SecondReader;
use wyng_tests::service::Service;

fn schema(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../docs/schema")
        .join(name)
}

/// Runs a command, checks its exit status, and keeps its output.
struct Tour {
    sandbox: Sandbox,
    outputs: String,
    lines: String,
}

impl Tour {
    fn run(&mut self, status: i32, arguments: &[&str]) -> Outcome {
        let outcome = self
            .sandbox
            .wyng(&[arguments, &["--progress", "json"]].concat());
        outcome.expect(status);
        writeln!(self.outputs, "{}", outcome.json).unwrap();
        for line in outcome.stderr.lines().filter(|line| line.starts_with('{')) {
            writeln!(self.lines, "{line}").unwrap();
        }
        outcome
    }
}

#[test]
fn every_output_is_what_its_schema_says() {
    let Some(reader) = SecondReader::ready("every_output_is_what_its_schema_says") else {
        return;
    };
    let mut sandbox = Sandbox::new();
    sandbox.image("disk.img", 300_000, 1);
    let store = format!("dir:{}", sandbox.store().display());
    let second = sandbox.text("second", "another one\n");
    let wrong = sandbox.text("wrong", "not it\n");
    let config = sandbox.text(
        "wyng.toml",
        "[volumes]\nv = \"/nonexistent/v\"\n[profiles.p]\narchive = \"home\"\n",
    );
    let broken = sandbox.text("broken.toml", "[volumes\n");
    let _service = Service::start(&mut sandbox);
    let mut tour = Tour {
        sandbox,
        outputs: String::new(),
        lines: String::new(),
    };
    let create = create_home(&store);
    tour.run(0, &create);
    tour.run(2, &create);
    tour.run(3, &["status", "--config", &config]);
    tour.run(0, &["snapshots", "list"]);
    tour.run(0, &["snapshots", "clean", "home"]);
    tour.run(0, &["backup", "home", "disk.img"]);
    tour.run(0, &["backup", "home", "disk.img", "--skip-unchanged"]);
    tour.run(0, &["backup", "home", "disk.img", "--dry-run"]);
    tour.run(3, &["backup", "home", "disk.img", "nothing.img"]);
    tour.run(0, &["monitor", "home", "disk.img"]);
    tour.run(3, &["monitor", "home", "disk.img", "nothing=disk.img"]);
    tour.run(2, &["backup", "--profile", "q", "--config", &config]);
    std::fs::create_dir_all(tour.sandbox.path("power/BAT0")).unwrap();
    std::fs::write(tour.sandbox.path("power/BAT0/type"), "Battery").unwrap();
    tour.run(
        7,
        &[
            "backup",
            "--profile",
            "p",
            "--unattended",
            "--power-supplies",
            "power",
            "--config",
            &config,
        ],
    );
    for command in [
        &["list", "home"][..],
        &["list", "home", "--sizes"],
        &["why", "home"],
        &["history", "home", "--svg", "history.svg"],
        &["volume", "describe", "home", "disk.img", "a disk"],
        &["volume", "rename", "home", "disk.img", "disk"],
        &["volume", "rename", "home", "disk", "disk.img"],
        &["tag", "add", "home", "disk.img", "latest", "a", "b"],
        &["tag", "remove", "home", "disk.img", "^a", "a"],
        &["status"],
        &["archive", "list"],
        &["archive", "show", "home"],
        &["key", "list", "home"],
    ] {
        tour.run(0, command);
    }
    let written = tour.sandbox.path("status.json");
    let monitor = format!("[monitor]\nstatus_file = {written:?}\n");
    let monitor = tour.sandbox.text("monitor.toml", &monitor);
    tour.run(0, &["status", "--export", "--config", &monitor]);
    tour.outputs += &std::fs::read_to_string(&written).unwrap();
    tour.run(2, &["list", "nothing"]);
    tour.run(2, &["volume", "rename", "home", "disk.img", "../x"]);
    tour.run(2, &["list", "--no-such-option"]);
    tour.run(0, &["completions", "bash"]);
    tour.run(0, &["man", "manual"]);
    tour.run(3, &["config", "check", "--config", &config]);
    tour.run(2, &["config", "check", "--config", &broken]);
    tour.run(0, &["restore", "home", "disk.img", "--to", "restored.img"]);
    assert!(std::fs::read(tour.sandbox.path("restored.img")).unwrap() == noise(300_000, 1));
    tour.run(1, &["restore", "home", "disk.img", "--to", "restored.img"]);
    tour.run(0, &["rehearse", "home"]);
    tour.run(2, &["rehearse", "home", "nothing"]);
    tour.run(0, &["backup", "home", "disk.img", "--verify"]);
    tour.run(0, &["diff", "home", "disk.img"]);
    tour.run(0, &["diff", "home", "disk.img", "--with", "latest"]);
    tour.run(2, &["diff", "home", "nothing"]);
    tour.run(0, &["key", "add", "home", "--new-passphrase-file", &second]);
    tour.run(0, &["key", "add", "home", "--recovery-key"]);
    tour.run(
        0,
        &[
            "key",
            "change",
            "home",
            "--new-passphrase-file",
            &wrong,
            "--passphrase-file",
            &second,
        ],
    );
    let slots = tour.run(0, &["key", "list", "home"]);
    let newest = slots.json["slots"].as_array().unwrap().last().unwrap()["number"].to_string();
    tour.run(0, &["key", "remove", "home", &newest]);
    tour.run(0, &["key", "check", "home"]);
    tour.run(4, &["key", "check", "home", "--passphrase-file", &second]);
    tour.run(2, &["prune", "home"]);
    tour.run(0, &["prune", "home", "--keep-daily", "7", "--dry-run"]);
    tour.run(0, &["prune", "home", "--keep-daily", "7"]);
    tour.run(0, &["pin", "home", "disk.img", "latest"]);
    tour.run(
        1,
        &["session", "remove", "home", "disk.img", "latest", "--yes"],
    );
    tour.run(0, &["unpin", "home", "disk.img", "latest"]);
    tour.sandbox.image("small.img", 20_000, 3);
    tour.run(0, &["backup", "home", "second=small.img"]);
    tour.run(
        0,
        &["session", "remove", "home", "second", "latest", "--yes"],
    );
    tour.run(0, &["volume", "remove", "home", "second", "--yes"]);
    tour.run(0, &["compact", "home"]);
    tour.run(0, &["undelete", "home", "second", "latest"]);
    tour.run(2, &["undelete", "home", "disk.img", "latest"]);
    tour.run(0, &["unlock", "home"]);
    tour.run(4, &["unlock", "home", "--passphrase-file", &second]);
    tour.run(0, &["verify", "home", "--deep"]);
    tour.run(0, &["lock"]);
    tour.run(0, &["watch"]);
    tour.run(2, &["tui"]);
    tour.run(0, &["qubes", "check"]);
    tour.run(0, &["store", "check", &store]);
    tour.run(6, &["qubes", "check", "qrexec:nowhere"]);
    tour.run(0, &["recovery-sheet", "home"]);
    let copy = format!("dir:{}", tour.sandbox.path("copy").display());
    tour.run(0, &["archive", "copy", "home", "--to", &copy]);
    tour.run(1, &["archive", "copy", "home", "--to", &store]);
    let both = "[volumes]\na = \"/a\"\n[profiles.both]\narchive = [\"home\", \"nothing\"]\n";
    let both = tour.sandbox.text("both.toml", both);
    tour.run(2, &["verify", "--profile", "both", "--config", &both]);
    tour.run(0, &["archive", "take-over", "home"]);
    tour.run(0, &["archive", "forget", "home"]);
    tour.run(0, &["archive", "open", "home", "--store", &store]);
    let mut blobs: Vec<PathBuf> = tour.sandbox.blobs().into_iter().collect();
    blobs.sort_by_key(|blob| std::cmp::Reverse(std::fs::metadata(blob).unwrap().len()));
    // The first pack that something needs; others were given up.
    let is_needed = |pack: &PathBuf| {
        flip_a_bit(pack);
        let is_needed = tour.sandbox.wyng(&["verify", "home"]).status == 5;
        if !is_needed {
            flip_a_bit(pack);
        }
        is_needed
    };
    let pack = blobs.into_iter().find(is_needed).unwrap();
    tour.run(5, &["verify", "home"]);
    tour.run(5, &["restore", "home", "disk.img", "--to", "again.img"]);
    tour.run(5, &["status"]);
    tour.run(0, &["archive", "acknowledge", "home"]);
    tour.run(0, &["verify", "home"]);
    tour.run(0, &["status", "home"]);
    std::fs::remove_file(pack).unwrap();
    tour.run(0, &["archive", "forget", "home"]);
    tour.run(5, &["archive", "open", "home", "--store", &store]);
    std::fs::rename(tour.sandbox.store(), tour.sandbox.path("elsewhere")).unwrap();
    tour.run(6, &["verify", "home"]);

    let (outputs, lines) = (
        tour.sandbox.text("outputs", &tour.outputs),
        tour.sandbox.text("lines", &tour.lines),
    );
    assert_eq!(
        reader.validate(&schema("output.json"), Path::new(&outputs)),
        ""
    );
    assert_eq!(
        reader.validate(&schema("progress.json"), Path::new(&lines)),
        ""
    );
    assert_eq!(
        every("command", &tour.outputs),
        commands_of_the_schema(),
        "each command of the schema was met"
    );
    let phases = every("phase", &tour.lines);
    assert!(
        ["reading", "unlocking", "verifying"]
            .iter()
            .all(|phase| phases.contains(*phase)),
        "{phases:?}"
    );
    // Output that the schema does not know is found.
    let unknown =
        tour.sandbox.text("unknown", "{\"schema\":1,\"command\":\"lock\",\"exit\":0,\"errors\":[],\"archive\":\"home\",\"more\":1}\n");
    assert!(
        reader
            .validate(&schema("output.json"), Path::new(&unknown))
            .contains("'more' was unexpected")
    );
}

#[test]
fn the_manual_has_a_page_of_every_command_of_the_daemon_and_of_the_configuration() {
    let sandbox = Sandbox::new();
    let wyng = |arguments: &[&str]| {
        Command::new(sandbox.program("wyng-ctl"))
            .args(arguments)
            .output()
            .unwrap()
    };
    let folder = sandbox.path("man");
    assert!(wyng(&["man", folder.to_str().unwrap()]).status.success());
    for command in commands_of_the_schema()
        .into_iter()
        .filter(|command| !command.is_empty())
    {
        let name = command.replace(' ', "-");
        let page = std::fs::read_to_string(folder.join(format!("wyng-ctl-{name}.1"))).unwrap();
        for section in [
            "NAME",
            "SYNOPSIS",
            "\"EXIT STATUS\"",
            "ENVIRONMENT",
            "FILES",
            "\"SEE ALSO\"",
        ] {
            assert!(
                page.contains(&format!(".SH {section}\n")),
                "{section}: {page}"
            );
        }
    }
    for (name, says) in [
        ("wyngd.8", "--state-dir"),
        ("wyng.toml.5", "verify_budget"),
        ("wyng-ctl-backup.1", ".SH EXAMPLES"),
    ] {
        assert!(
            std::fs::read_to_string(folder.join(name))
                .unwrap()
                .replace("\\-", "-")
                .contains(says),
            "{name}"
        );
    }
}

/// The values of a field in JSON objects, one a line.
fn every(field: &str, lines: &str) -> BTreeSet<String> {
    lines
        .lines()
        .map(|line| text_of(&serde_json::from_str::<serde_json::Value>(line).unwrap()[field]))
        .collect()
}

fn commands_of_the_schema() -> BTreeSet<String> {
    let schema: serde_json::Value =
        serde_json::from_slice(&std::fs::read(schema("output.json")).unwrap()).unwrap();
    let commands = schema["oneOf"].as_array().unwrap().iter();
    commands
        .map(|command| text_of(&command["properties"]["command"]["const"]))
        .collect()
}

/// Words that are not a command have no command's schema.
fn text_of(value: &serde_json::Value) -> String {
    value.as_str().unwrap_or("").to_owned()
}

/// A character that reverses the rest of a line and is invisible itself.
const TURNS: &str = "\u{202e}\u{200b}";

/// The output of a command for a person, on both streams.
fn shown(sandbox: &Sandbox, arguments: &[&str]) -> String {
    let command = sandbox.command(arguments);
    let mut plain = Command::new(command.get_program());
    plain
        .args(command.get_args().filter(|argument| *argument != "--json"))
        .current_dir(sandbox.path(""));
    plain
        .env("STATE_DIRECTORY", sandbox.path("notes"))
        .stdin(std::process::Stdio::null());
    let output = plain.output().unwrap();
    format!(
        "{}{}",
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap()
    )
}

#[test]
fn no_name_and_no_path_reaches_the_terminal_as_it_is() {
    let name = format!("exe{TURNS}gpj");
    let folder = tempfile::tempdir().unwrap();
    let mut sandbox = Sandbox::with_store_at(folder.path().join(&name));
    let store = format!("dir:{}", sandbox.store().display());
    let image = sandbox.image("disk.img", 300_000, 1);
    let (source, other) = (
        format!("{name}={}", image.display()),
        sandbox.image(&format!("other{TURNS}.img"), 300_000, 2),
    );
    let again = format!("{}", other.display());
    let target = sandbox.path(&format!("target{TURNS}"));
    let target = target.to_str().unwrap();
    let mut seen = 0;
    let mut see = |sandbox: &Sandbox, arguments: &[&str]| {
        let shown = shown(sandbox, arguments);
        assert!(
            !shown
                .contains(|char: char| TURNS.contains(char) || (char.is_control() && char != '\n')),
            "{arguments:?}: {shown:?}"
        );
        assert!(shown.contains("\\u{202e}"), "{arguments:?}: {shown}");
        seen += 1;
    };
    see(&sandbox, &create_home(&store));
    see(&sandbox, &["backup", "home", &source]);
    see(&sandbox, &["backup", "home", &source, "--dry-run"]);
    see(&sandbox, &["monitor", "home", &source]);
    for look in [
        ["list", "home"].as_slice(),
        &["status"],
        &["archive", "list"],
        &["archive", "show", "home"],
        &["recovery-sheet", "home"],
    ] {
        see(&sandbox, look);
    }
    see(&sandbox, &["restore", "home", &name, "--to", target]);
    see(&sandbox, &["restore", "home", &name, "--to", target]); // the target exists
    see(&sandbox, &["diff", "home", &name]);
    see(&sandbox, &["diff", "home", &name, "--with", "latest"]);
    // Unknown names in errors.
    see(&sandbox, &["list", "home", &format!("no{TURNS}such")]);
    see(
        &sandbox,
        &["list", "home", &name, "--session", &format!("2{TURNS}")],
    );
    see(&sandbox, &["list", &format!("no{TURNS}archive")]);
    see(&sandbox, &["backup", "home", &again]);
    see(&sandbox, &["backup", "home", &format!("{name}={again}x")]);
    // Damage names the sessions that need the object.
    for blob in sandbox.blobs() {
        if blob.metadata().unwrap().len() > 60_000 {
            flip_a_bit(&blob);
        }
    }
    see(&sandbox, &["verify", "home"]);
    see(&sandbox, &["status"]);
    // A watching client sees the names of others.
    let gate = sandbox.path("gate");
    wyng_tests::disk::run(Command::new("mkfifo").arg(&gate));
    sandbox.replace_helper(&format!(
        "[ $1 = fetch ] || read -r _ <{}; exec $HELPER $1",
        gate.display()
    ));
    let _service = Service::start(&mut sandbox);
    let backup = sandbox
        .command(&["backup", "home", &source])
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut opened = wyng_tests::service::reached(&gate);
    std::thread::scope(|scope| {
        let watch = scope.spawn(|| shown(&sandbox, &["watch"]));
        std::io::Write::write_all(&mut opened, b"\n").unwrap();
        assert!(
            !watch
                .join()
                .unwrap()
                .contains(|char: char| TURNS.contains(char))
        );
    });
    drop(backup.wait_with_output());
    assert!(seen > 15);
}
