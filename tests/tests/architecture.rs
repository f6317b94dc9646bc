// SPDX-License-Identifier: GPL-3.0-or-later
//! The documents against the tree: every file, function and test that they name exists, every link
//! leads somewhere, every picture is what its script draws. It deliberately does not judge whether
//! what is said of them is true.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use wyng_tests::require::{Component, missing};

/// Maximum length of ARCHITECTURE.md, lines.
const ARCHITECTURE_LINES_MAX: usize = 150;
/// Maximum number of steps of a path through the code.
const STEPS_MAX: usize = 12;
/// Maximum width of a line of a document, columns, outside of fenced blocks.
const COLUMNS_MAX: usize = 100;
/// An identifier of at least this many words is taken for the name of a test.
const TEST_WORDS_MIN: usize = 6;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

fn read(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap()
}

/// Every document: its name from the root, and its text.
fn documents() -> Vec<(String, String)> {
    let root = root();
    let mut names: Vec<String> = ["", "docs/"]
        .into_iter()
        .flat_map(|folder| {
            std::fs::read_dir(root.join(folder))
                .unwrap()
                .map(move |entry| {
                    format!("{folder}{}", entry.unwrap().file_name().to_string_lossy())
                })
        })
        .filter(|name| name.ends_with(".md"))
        .collect();
    names.sort();
    names
        .into_iter()
        .map(|name| {
            let text = read(&name);
            (name, text)
        })
        .collect()
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

/// The numbered paragraphs of a section, without their numbers; `None` where the numbers do not
/// count from 1.
fn steps(section: &str) -> Option<Vec<&str>> {
    let numbered = section
        .lines()
        .filter(|line| line.starts_with(|first: char| first.is_ascii_digit()));
    (1_usize..)
        .zip(numbered)
        .map(|(number, line)| line.strip_prefix(&format!("{number}. ")))
        .collect()
}

/// A document without its fenced blocks.
fn unfenced(text: &str) -> String {
    let mut fenced = false;
    let outside = text.lines().filter(|line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    });
    outside.collect::<Vec<_>>().join("\n")
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

/// Whether a span names a file or folder of this tree: it begins with a folder of the tree, or is
/// the name of a Rust file.
fn is_place(span: &str) -> bool {
    const FOLDERS: [&str; 15] = [
        ".ci/",
        ".github/",
        "bench/",
        "crates/",
        "debian/",
        "docs/",
        "packaging/",
        "reader/",
        "rpc-policy/",
        "scripts/",
        "systemd/",
        "tests/",
        "wyng-ctl/",
        "wyng-transport-vm/",
        "wyngd/",
    ];
    let has_folder = FOLDERS.iter().any(|folder| span.starts_with(folder));
    (has_folder || span.ends_with(".rs")) && !span.contains([' ', '*', '…', '<'])
}

fn is_identifier(span: &str) -> bool {
    !span.is_empty()
        && span
            .chars()
            .all(|char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '_')
}

fn is_test_name(span: &str) -> bool {
    is_identifier(span) && span.split('_').count() >= TEST_WORDS_MIN
}

/// Every place and the function or type right behind it, if one is.
fn places(text: &str) -> Vec<(&str, Option<&str>)> {
    let spans = spans(text);
    let mut found = Vec::new();
    for (index, (_, place)) in spans
        .iter()
        .enumerate()
        .filter(|(_, (_, span))| is_place(span))
    {
        let item = spans.get(index + 1).filter(|(before, span)| {
            before.trim().is_empty()
                && span
                    .chars()
                    .all(|char| char.is_alphanumeric() || char == '_')
        });
        found.push((*place, item.map(|(_, span)| *span)));
    }
    found
}

/// Whether `source` defines the function or type.
fn defines(source: &str, item: &str) -> bool {
    let is_type = item.starts_with(|first: char| first.is_ascii_uppercase());
    let kinds: &[&str] = if is_type {
        &["struct", "enum", "trait", "type"]
    } else {
        &["fn"]
    };
    kinds.iter().any(|kind| {
        let definition = format!("{kind} {item}");
        source.match_indices(&definition).any(|(start, _)| {
            !source[start + definition.len()..]
                .starts_with(|next: char| next.is_alphanumeric() || next == '_')
        })
    })
}

/// The Rust sources of the tree: path from the root, and text.
struct Sources(Vec<(String, String)>);

impl Sources {
    fn read() -> Self {
        let mut found = Vec::new();
        collect_sources(&root(), "", &mut found);
        Self(found)
    }

    fn define(&self, item: &str) -> bool {
        self.0.iter().any(|(_, text)| defines(text, item))
    }

    /// What is wrong with a place that a document names.
    fn fault(&self, place: &str, item: Option<&str>) -> Option<String> {
        if !place.contains('/') {
            let ending = format!("/{place}");
            let known = self.0.iter().any(|(path, _)| path.ends_with(&ending));
            return (!known).then(|| format!("no file is called {place}"));
        }
        if !root().join(place).exists() {
            return Some(format!("{place} does not exist"));
        }
        let item = item.filter(|_| place.ends_with(".rs"))?;
        let (_, text) = self.0.iter().find(|(path, _)| path == place)?;
        (!defines(text, item)).then(|| format!("{place} does not define {item}"))
    }
}

fn collect_sources(root: &Path, folder: &str, found: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(root.join(folder)).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if folder.is_empty() {
            name.clone()
        } else {
            format!("{folder}/{name}")
        };
        if entry.path().is_dir() && name != "target" && !name.starts_with('.') {
            collect_sources(root, &path, found);
        } else if name.ends_with(".rs") {
            found.push((path, std::fs::read_to_string(entry.path()).unwrap()));
        }
    }
}

/// The prose of a document: no fenced blocks, and nothing between backquotes, where a link would be
/// a formula.
fn prose(text: &str) -> String {
    unfenced(text)
        .split('`')
        .step_by(2)
        .collect::<Vec<_>>()
        .join(" ")
}

/// The relative targets of the links in prose: file (empty for the document itself) and anchor.
fn links(prose: &str) -> Vec<(&str, Option<&str>)> {
    prose
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')'))
        .map(|(target, _)| target)
        .filter(|target| !target.contains("://") && !target.starts_with("mailto:"))
        .map(|target| match target.split_once('#') {
            Some((file, anchor)) => (file, Some(anchor)),
            None => (target, None),
        })
        .collect()
}

/// The anchors of a document's headings, as hosts of Markdown make them.
fn anchors(text: &str) -> BTreeSet<String> {
    let text = unfenced(text);
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let words = line.trim_start_matches('#').trim().to_lowercase();
            words
                .chars()
                .filter(|char| char.is_alphanumeric() || matches!(char, ' ' | '-' | '_'))
                .map(|char| if char == ' ' { '-' } else { char })
                .collect()
        })
        .collect()
}

#[test]
fn the_architecture_fits_150_lines() {
    let lines = read("ARCHITECTURE.md").lines().count();
    assert!(lines <= ARCHITECTURE_LINES_MAX, "{lines} lines");
}

#[test]
fn a_backup_and_a_restore_take_at_most_twelve_steps_that_exist() {
    let text = read("ARCHITECTURE.md");
    for path in ["The path of a backup", "The path of a restore"] {
        let steps = steps(section(&text, path).unwrap()).unwrap();
        assert!(
            (1..=STEPS_MAX).contains(&steps.len()),
            "{path} has {} steps",
            steps.len()
        );
        for step in steps {
            let begins = places(step).first().is_some_and(|(place, item)| {
                item.is_some() && step.starts_with(&format!("`{place}` `"))
            });
            assert!(
                begins,
                "{path}: a step begins with a file and a function: {step}"
            );
        }
    }
}

#[test]
fn every_file_and_function_that_the_documents_name_exists() {
    let (sources, mut faults, mut count) = (Sources::read(), Vec::new(), 0);
    for (name, text) in documents() {
        let text = unfenced(&text);
        for (place, item) in places(&text) {
            count += 1;
            faults.extend(
                sources
                    .fault(place, item)
                    .map(|fault| format!("{name}: {fault}")),
            );
        }
        for (_, span) in spans(&text) {
            let function = span.strip_suffix("()").filter(|name| is_identifier(name));
            faults.extend(
                function
                    .filter(|function| !sources.define(function))
                    .map(|function| format!("{name}: nothing defines {function}()")),
            );
        }
    }
    assert!(count > 60, "only {count} places were found");
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn every_test_that_the_documents_name_exists() {
    let (sources, mut faults, mut count) = (Sources::read(), Vec::new(), 0);
    for (name, text) in documents() {
        for (_, span) in spans(&unfenced(&text)) {
            if is_test_name(span) {
                count += 1;
                faults.extend((!sources.define(span)).then(|| format!("{name}: {span}")));
            }
        }
    }
    assert!(count > 80, "only {count} tests were found");
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn every_invariant_names_tests_that_exist() {
    let (text, sources) = (read("docs/invariants.md"), Sources::read());
    let invariants: Vec<&str> = text
        .split("\n## ")
        .skip(1)
        .filter(|section| section.starts_with(|first: char| first.is_ascii_digit()))
        .collect();
    assert!(invariants.len() >= 15, "{} invariants", invariants.len());
    for invariant in invariants {
        let (_, tests) = invariant
            .split_once("\n- Tests")
            .unwrap_or_else(|| panic!("no test holds: {invariant}"));
        let names: Vec<&str> = spans(tests)
            .into_iter()
            .map(|(_, span)| span)
            .filter(|span| is_identifier(span))
            .collect();
        assert!(!names.is_empty(), "no test holds: {invariant}");
        for name in names {
            assert!(sources.define(name), "there is no test {name}");
        }
    }
}

#[test]
fn every_link_of_the_documents_leads_to_a_file_and_a_heading() {
    let mut dead = Vec::new();
    for (name, text) in documents() {
        let folder = Path::new(&name).parent().unwrap().to_owned();
        for (file, anchor) in links(&prose(&text)) {
            let target = if file.is_empty() {
                root().join(&name)
            } else {
                root().join(&folder).join(file)
            };
            let is_there = target.exists()
                && anchor.is_none_or(|anchor| {
                    std::fs::read_to_string(&target)
                        .is_ok_and(|text| anchors(&text).contains(anchor))
                });
            if !is_there {
                dead.push(format!("{name}: {file}#{}", anchor.unwrap_or_default()));
            }
        }
    }
    assert!(dead.is_empty(), "{dead:#?}");
}

#[test]
fn no_line_of_the_documents_is_wider_than_100_columns() {
    let mut wide = Vec::new();
    // The commands of docs/errors.md are generated with it, at any width.
    for (name, text) in documents()
        .into_iter()
        .filter(|(name, _)| name != "docs/errors.md")
    {
        for line in unfenced(&text).lines() {
            if line.chars().count() > COLUMNS_MAX {
                wide.push(format!("{name}: {line}"));
            }
        }
    }
    assert!(wide.is_empty(), "{wide:#?}");
}

#[test]
fn every_picture_is_what_its_script_draws() {
    let (root, folder) = (root(), tempfile::tempdir().unwrap());
    let mut python = Command::new("python3");
    python
        .arg(root.join("scripts/draw-pictures.py"))
        .arg(folder.path());
    let Ok(status) = python.status() else {
        return missing(Component::Python, "every_picture_is_what_its_script_draws");
    };
    assert!(status.success());
    let names = |folder: &Path| -> BTreeSet<String> {
        std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    };
    let committed = root.join("docs/pictures");
    assert_eq!(names(folder.path()), names(&committed));
    for name in names(&committed) {
        let drawn = std::fs::read_to_string(folder.path().join(&name)).unwrap();
        let is_same = drawn == std::fs::read_to_string(committed.join(&name)).unwrap();
        assert!(is_same, "{name}: run scripts/draw-pictures.py");
        assert!(
            drawn.contains("prefers-color-scheme: dark"),
            "{name} has one scheme of colours"
        );
    }
}

#[test]
fn the_reader_of_this_test_finds_steps_places_and_links() {
    let text = "# A\n## The way\n\n1. `crates/b.rs` `one`: see `docs/d`, `not_it`.\n2. `e.rs` `Two`\n\n## Next\n1. no\n";
    let steps = steps(section(text, "The way").unwrap()).unwrap();
    assert_eq!(
        steps,
        [
            "`crates/b.rs` `one`: see `docs/d`, `not_it`.",
            "`e.rs` `Two`"
        ]
    );
    assert_eq!(
        places(steps[0]),
        [("crates/b.rs", Some("one")), ("docs/d", None)]
    );
    assert_eq!(places(steps[1]), [("e.rs", Some("Two"))]);
    let prose = prose(
        "[a](x.md#y) [b](https://example.org) [c](#d) `k[a](b)`\n```\n`k[a](b)` c\n```\n[e](docs/f.md)",
    );
    assert_eq!(
        links(&prose),
        [("x.md", Some("y")), ("", Some("d")), ("docs/f.md", None)]
    );
    let heads = anchors("# One, two\n```\n# no\n```\n### `a` B-c\n");
    assert_eq!(heads, ["one-two", "a-b-c"].map(str::to_owned).into());
}

#[test]
fn steps_that_do_not_count_from_one_are_refused() {
    assert_eq!(steps("1. a\n3. b\n"), None);
}

#[test]
fn a_file_or_a_function_that_is_not_there_is_found() {
    let sources = Sources::read();
    assert_eq!(sources.fault("wyngd/src/roles.rs", Some("wire_to")), None);
    assert_eq!(sources.fault("wyngd/src/roles.rs", Some("Role")), None);
    assert_eq!(sources.fault("roles.rs", None), None);
    for (place, item) in [
        ("wyngd/src/roles.rs", Some("no_such_function")),
        ("wyngd/src/roles.rs", Some("wire")),
        ("wyngd/src/roles.rs", Some("NoSuchType")),
        ("wyngd/src/no_such_file.rs", None),
        ("no_such_file.rs", None),
        ("docs/no-such-folder", None),
    ] {
        assert!(sources.fault(place, item).is_some(), "{place} {item:?}");
    }
    assert!(!defines("fn one_more()", "one") && defines("fn one<T>()", "one"));
    assert!(is_test_name("a_test_has_at_least_six_words") && !is_test_name("qrexec_client_vm"));
}
