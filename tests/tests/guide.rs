// SPDX-License-Identifier: GPL-3.0-or-later
//! docs/qubes.md: its commands exist in `wyng-ctl`, its configuration is valid, the files that it
//! names are shipped, and the first verified backup takes few commands.

use std::path::Path;
use std::process::Command;

use wyng_tests::programs::program;
use wyng_tests::sandbox::Sandbox;

/// Maximum number of commands up to the first verified backup.
const COMMANDS_MAX: usize = 6;

fn guide() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/qubes.md")).unwrap()
}

/// The lines of each fenced block of a language.
fn blocks(text: &str, language: &str) -> Vec<Vec<String>> {
    let fence = format!("```{language}");
    let mut lines = text.lines().map(str::trim);
    let mut found = Vec::new();
    while lines.by_ref().any(|line| line == fence) {
        found.push(
            lines
                .by_ref()
                .take_while(|line| *line != "```")
                .map(str::to_owned)
                .collect(),
        );
    }
    found
}

/// The commands in the second column of the tables for people who come from other tools.
fn ours_of_tables(text: &str) -> Vec<String> {
    text.split_once("### Coming from")
        .unwrap()
        .1
        .lines()
        .take_while(|line| !line.starts_with('#'))
        .filter(|line| line.starts_with('|'))
        .filter_map(|line| line.split('|').nth(2))
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .filter(|code| !code.starts_with('-') && *code != "wyng-ctl")
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_first_verified_backup_takes_six_commands() {
    let text = guide();
    let first = text
        .split_once("## The first backup")
        .unwrap()
        .1
        .split_once("## Every night")
        .unwrap()
        .0;
    let blocks = blocks(first, "sh");
    let [_building, commands, ..] = &blocks[..] else {
        panic!("{} blocks", blocks.len())
    };
    assert!(commands.len() <= COMMANDS_MAX, "{commands:#?}");
    assert!(
        commands
            .iter()
            .any(|command| command == "sudo wyng-ctl backup home --all --dom0"),
        "it is of all qubes"
    );
    assert!(
        commands
            .last()
            .unwrap()
            .starts_with("sudo wyng-ctl verify "),
        "the last one proves it"
    );
}

#[test]
fn every_command_of_the_guide_is_one_that_there_is() {
    let understood = |words: &[&str]| {
        let output = Command::new(program("wyng-ctl"))
            .args(words)
            .arg("--help")
            .output()
            .unwrap();
        // A mistake before --help is reported instead of the help.
        output.status.success()
    };
    let mut seen = 0;
    for line in blocks(&guide(), "sh").into_iter().flatten() {
        let words: Vec<&str> = line
            .split_whitespace()
            .skip_while(|word| *word != "wyng-ctl")
            .skip(1)
            .collect();
        if !words.is_empty() {
            assert!(understood(&words), "{line}");
            seen += 1;
        }
    }
    assert!(seen >= 10, "{seen} commands");
    let ours = ours_of_tables(&guide());
    assert!(ours.len() >= 20, "{ours:#?}");
    for command in ours {
        let words: Vec<&str> = command.split_whitespace().collect();
        assert!(understood(&words), "{command}");
    }
    assert!(
        !understood(&["restore", "home", "--everything"])
            && !understood(&["archive", "opn", "home"])
    );
}

#[test]
fn the_configuration_of_the_guide_is_right() {
    let blocks = blocks(&guide(), "toml");
    let [config] = &blocks[..] else {
        panic!("{} configurations", blocks.len())
    };
    let sandbox = Sandbox::new();
    let config = sandbox.text("wyng.toml", &config.join("\n"));
    let checked = sandbox.wyng(&["config", "check", "--config", &config]);
    let nightly = &checked.expect(0).json["profiles"][0];
    assert_eq!(nightly["qubes"][0], "@all", "{nightly}");
    assert_eq!(nightly["dom0"], true, "{nightly}");
}

#[test]
fn the_units_and_files_that_the_guide_names_are_shipped() {
    let (text, root) = (guide(), Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
    for name in [
        "wyng-backup@nightly.timer",
        "wyng-verify@nightly.timer",
        "wyngd.service",
    ] {
        assert!(
            text.contains(name)
                && root
                    .join("systemd")
                    .join(name.replace("@nightly", "@"))
                    .is_file(),
            "{name}"
        );
    }
    let documents = text
        .split("/usr/share/doc/wyng/")
        .skip(1)
        .map(|rest| rest.split(['`', ' ']).next().unwrap());
    let mut seen = 0;
    for document in documents {
        let there = document.strip_prefix("systemd/").map_or_else(
            || root.join("rpc-policy").join(document),
            |name| root.join("systemd/examples").join(name),
        );
        assert!(there.exists(), "{document}");
        seen += 1;
    }
    assert_eq!(seen, 5);
}
