// SPDX-License-Identifier: GPL-3.0-or-later
//! ARCHITECTURE.md against the code: every file, function and test that it names exists; and every
//! link of the documents leads somewhere. It deliberately does not judge whether what is said of
//! them is true.

use std::path::{Path, PathBuf};

/// The most steps in which a walk may be told.
const STEPS_MAX: usize = 12;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

fn architecture() -> String {
    std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap()
}

/// The text below a heading, up to the next one of its level.
fn section<'a>(text: &'a str, heading: &str) -> Option<&'a str> {
    let (_, below) = text.split_once(&format!("\n## {heading}\n"))?;
    Some(
        below
            .split_once("\n## ")
            .map_or(below, |(section, _)| section),
    )
}

/// The numbered lines of a section, without their numbers; `None` where the numbers do not count
/// from 1.
fn steps(section: &str) -> Option<Vec<&str>> {
    let numbered = section
        .lines()
        .filter(|line| line.starts_with(|first: char| first.is_ascii_digit()));
    (1_usize..)
        .zip(numbered)
        .map(|(number, line)| line.strip_prefix(&format!("{number}. ")))
        .collect()
}

/// What stands between backquotes, with what stands between it and the one before.
fn spans(text: &str) -> Vec<(&str, &str)> {
    let mut parts = text.split('`');
    let mut found = Vec::new();
    while let (Some(before), Some(span)) = (parts.next(), parts.next()) {
        found.push((before, span));
    }
    found
}

fn is_file(span: &str) -> bool {
    span.ends_with(".rs") && span.contains('/')
}

fn is_identifier(span: &str) -> bool {
    !span.is_empty()
        && span
            .chars()
            .all(|char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '_')
}

/// Every `file` and the `function` right behind it, if one is.
fn places(text: &str) -> Vec<(&str, Option<&str>)> {
    let spans = spans(text);
    let mut found = Vec::new();
    for (index, (_, file)) in spans
        .iter()
        .enumerate()
        .filter(|(_, (_, span))| is_file(span))
    {
        let function = spans
            .get(index + 1)
            .filter(|(before, span)| *before == " " && is_identifier(span));
        found.push((*file, function.map(|(_, span)| *span)));
    }
    found
}

fn defines(source: &str, function: &str) -> bool {
    [format!("fn {function}("), format!("fn {function}<")]
        .iter()
        .any(|definition| source.contains(definition))
}

/// What is wrong with a place.
fn fault(root: &Path, file: &str, function: Option<&str>) -> Option<String> {
    let Ok(source) = std::fs::read_to_string(root.join(file)) else {
        return Some(format!("{file} does not exist"));
    };
    let function = function.filter(|function| !defines(&source, function))?;
    Some(format!("{file} has no function {function}"))
}

/// The prose of a document: no fenced blocks, and nothing between backquotes, where a link would be
/// a formula.
fn prose(text: &str) -> String {
    let blocks = text.split("\n```").step_by(2);
    blocks
        .flat_map(|outside| outside.split('`').step_by(2))
        .collect::<Vec<_>>()
        .join(" ")
}

/// The relative targets of the links in prose, without their anchors.
fn links(prose: &str) -> Vec<&str> {
    prose
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')'))
        .map(|(target, _)| target.split('#').next().unwrap_or_default())
        .filter(|target| {
            !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:")
        })
        .collect()
}

fn documents(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect()
}

/// Every line of Rust in the project, to look for the names of tests.
fn all_sources(folder: &Path, found: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            all_sources(&path, found);
        } else if name.ends_with(".rs") {
            found.push_str(&std::fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn a_backup_and_a_restore_are_told_in_at_most_twelve_steps_that_exist() {
    let text = architecture();
    for walk in ["The way of a backup", "The way of a restore"] {
        let steps = steps(section(&text, walk).unwrap()).unwrap();
        assert!(
            (1..=STEPS_MAX).contains(&steps.len()),
            "{walk} has {} steps",
            steps.len()
        );
        for step in steps {
            let begins = places(step).first().is_some_and(|(file, function)| {
                function.is_some() && step.starts_with(&format!("`{file}` `"))
            });
            assert!(
                begins,
                "{walk}: a step begins with a file and a function: {step}"
            );
        }
    }
}

#[test]
fn every_file_and_function_that_the_architecture_names_exists() {
    let (text, root) = (architecture(), root());
    let places = places(&text);
    assert!(places.len() > 40, "only {} places were found", places.len());
    let faults: Vec<String> = places
        .into_iter()
        .filter_map(|(file, function)| fault(&root, file, function))
        .collect();
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn every_test_that_an_invariant_names_exists() {
    let (text, mut sources) = (architecture(), String::new());
    all_sources(&root(), &mut sources);
    let rows: Vec<&str> = section(&text, "Invariants")
        .unwrap()
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| |"))
        .collect();
    assert!(rows.len() >= 9, "{} invariants", rows.len());
    for row in rows {
        let tests = row.rsplit('|').nth(1).unwrap();
        for (_, name) in spans(tests) {
            assert!(
                defines(&sources, name),
                "there is no test {name}, named in: {row}"
            );
        }
    }
}

#[test]
fn every_link_of_the_documents_leads_to_a_file() {
    let root = root();
    let mut dead = Vec::new();
    for folder in [root.clone(), root.join("docs")] {
        for document in documents(&folder) {
            for link in links(&prose(&std::fs::read_to_string(&document).unwrap())) {
                if !folder.join(link).exists() {
                    dead.push(format!("{}: {link}", document.display()));
                }
            }
        }
    }
    assert!(dead.is_empty(), "{dead:#?}");
}

#[test]
fn the_reader_of_this_test_finds_steps_places_and_links() {
    let text = "# A\n## The way\n\n1. `a/b.rs` `one`: see `c/d.rs`, `not_it`.\n2. `e/f.rs` `two`\n\n## Next\n1. no\n";
    let steps = steps(section(text, "The way").unwrap()).unwrap();
    assert_eq!(
        steps,
        ["`a/b.rs` `one`: see `c/d.rs`, `not_it`.", "`e/f.rs` `two`"]
    );
    assert_eq!(
        places(steps[0]),
        [("a/b.rs", Some("one")), ("c/d.rs", None)]
    );
    let prose = prose(
        "[a](x.md#y) [b](https://example.org) [c](#d) `k[a](b)`\n```\n`k[a](b)` c\n```\n[e](docs/f.md)",
    );
    assert_eq!(links(&prose), ["x.md", "docs/f.md"]);
}

#[test]
fn steps_that_do_not_count_from_one_are_refused() {
    assert_eq!(steps("1. a\n3. b\n"), None);
}

#[test]
fn a_file_or_a_function_that_is_not_there_is_found() {
    let root = root();
    assert_eq!(fault(&root, "wyngd/src/roles.rs", Some("wire_to")), None);
    assert!(fault(&root, "wyngd/src/roles.rs", Some("no_such_function")).is_some());
    assert!(fault(&root, "wyngd/src/no_such_file.rs", None).is_some());
}
