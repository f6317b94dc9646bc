// SPDX-License-Identifier: GPL-3.0-or-later
//! ARCHITECTURE.md against the code: each file and function that it names exists, and each link in the documents leads somewhere.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::path::{Path, PathBuf};

use wyng_tests::sandbox::files_below;

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn section<'a>(text: &'a str, heading: &str) -> &'a str {
    let (_, after) = text.split_once(heading).unwrap_or_else(|| panic!("no section {heading}"));
    after.split_once("\n## ").map_or(after, |(section, _)| section)
}

/// Words in backticks.
fn quoted(line: &str) -> Vec<&str> {
    line.split('`').skip(1).step_by(2).collect()
}

/// Each path in a step, with the functions that follow it.
fn named(step: &str) -> Vec<(String, String)> {
    let mut file = None;
    let mut named = Vec::new();
    for word in quoted(step) {
        if word.ends_with(".rs") {
            file = Some(word.to_owned());
        } else if let Some(file) = &file {
            named.push((file.clone(), word.to_owned()));
        }
    }
    named
}

fn defines(file: &str, function: &str) -> bool {
    let Ok(source) = std::fs::read_to_string(top().join(file)) else { return false };
    let name = format!("fn {function}");
    source.match_indices(&name).any(|(place, _)| matches!(source.as_bytes().get(place + name.len()), Some(b'(' | b'<')))
}

#[test]
fn a_backup_and_a_restore_are_walked_in_at_most_twelve_steps_that_exist() {
    let text = std::fs::read_to_string(top().join("ARCHITECTURE.md")).unwrap();
    for heading in ["\n## One backup\n", "\n## One restore\n"] {
        let steps: Vec<&str> =
            section(&text, heading).lines().filter(|line| line.starts_with(|first: char| first.is_ascii_digit())).collect();
        assert!((6..=12).contains(&steps.len()), "{heading}: {} steps", steps.len());
        for step in steps {
            let named = named(step);
            assert!(!named.is_empty(), "no file and function in: {step}");
            for (file, function) in named {
                assert!(defines(&file, &function), "{file} has no function {function}");
            }
        }
    }
}

#[test]
fn a_function_that_does_not_exist_is_noticed() {
    assert!(defines("wyngd/src/volumes.rs", "hand_over"));
    assert!(!defines("wyngd/src/volumes.rs", "hand_ove"));
    assert!(!defines("wyngd/src/volume.rs", "hand_over"));
    assert_eq!(named("1. `a.rs` `x`, `y`; `b.rs` `z`"), [("a.rs", "x"), ("a.rs", "y"), ("b.rs", "z")].map(|(a, b)| (a.into(), b.into())));
}

#[test]
fn every_test_that_the_architecture_names_exists() {
    let text = std::fs::read_to_string(top().join("ARCHITECTURE.md")).unwrap();
    let sources: String = ["tests", "crates", "wyngd", "wyng-ctl", "wyng-transport-vm"]
        .iter()
        .flat_map(|folder| files_below(&top().join(folder)))
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect();
    let table = section(&text, "\n## What the format promises, and where it is shown\n");
    for name in quoted(table).into_iter().filter(|word| word.contains('_') && !word.contains(['.', '/', ':'])) {
        assert!(sources.contains(&format!("fn {name}(")), "no test is called {name}");
    }
}

#[test]
fn every_link_in_the_documents_leads_somewhere() {
    let mut count = 0;
    let documents = std::fs::read_dir(top()).unwrap().chain(std::fs::read_dir(top().join("docs")).unwrap());
    for document in documents.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|end| end == "md")) {
        let text = std::fs::read_to_string(&document).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = link.split('#').next().unwrap();
            // `seal[key](x)` is a formula.
            if link.contains("://") || !path.contains('.') {
                continue;
            }
            count += 1;
            assert!(document.parent().unwrap().join(path).exists(), "{}: {link}", document.display());
        }
    }
    assert!(count > 10, "{count} links");
}
