// SPDX-License-Identifier: GPL-3.0-or-later
//! The entry in the desktop's menu, read by the rules of the Desktop Entry Specification (1.5), the
//! menu specification's categories among them, and its icon.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The keys that an application may have, and which kind of value each has.
const KEYS: [(&str, Kind); 17] = [
    ("Type", Kind::Text),
    ("Version", Kind::Text),
    ("Name", Kind::Text),
    ("GenericName", Kind::Text),
    ("NoDisplay", Kind::Switch),
    ("Comment", Kind::Text),
    ("Icon", Kind::Text),
    ("Hidden", Kind::Switch),
    ("OnlyShowIn", Kind::List),
    ("NotShowIn", Kind::List),
    ("TryExec", Kind::Text),
    ("Exec", Kind::Text),
    ("Path", Kind::Text),
    ("Terminal", Kind::Switch),
    ("Categories", Kind::List),
    ("Keywords", Kind::List),
    ("StartupNotify", Kind::Switch),
];

/// The main categories; one at least must be there.
const MAIN: [&str; 13] = [
    "AudioVideo",
    "Audio",
    "Video",
    "Development",
    "Education",
    "Game",
    "Graphics",
    "Network",
    "Office",
    "Science",
    "Settings",
    "System",
    "Utility",
];
/// An additional category, and the main one that it requires.
const ADDITIONAL: [(&str, &str); 1] = [("Archiving", "Utility")];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    /// `true` or `false`.
    Switch,
    /// Each part ends with a semicolon.
    List,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/desktop")
}

/// The first rule that an entry breaks.
fn fault(entry: &str) -> Option<String> {
    read(entry).and_then(|keys| check(&keys)).err()
}

/// The keys of the entry's only group.
fn read(entry: &str) -> Result<BTreeMap<&str, &str>, String> {
    let mut lines = entry
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    if lines.next() != Some("[Desktop Entry]") {
        return Err("the first group is another one".into());
    }
    let mut keys = BTreeMap::new();
    for line in lines {
        let (key, value) = line.split_once('=').ok_or(format!("no key: {line}"))?;
        let is_key = key
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if !is_key || key.is_empty() || value.trim() != value || value.is_empty() {
            return Err(format!("not of the form KEY=VALUE: {line}"));
        }
        if keys.insert(key, value).is_some() {
            return Err(format!("twice: {key}"));
        }
    }
    Ok(keys)
}

fn check(keys: &BTreeMap<&str, &str>) -> Result<(), String> {
    for (key, value) in keys {
        let (_, kind) = KEYS
            .iter()
            .find(|(known, _)| known == key)
            .ok_or(format!("not known: {key}"))?;
        let fits = match kind {
            Kind::Text => !value.contains(char::is_control) && !value.contains('\\'),
            Kind::Switch => matches!(*value, "true" | "false"),
            Kind::List => value.ends_with(';') && !value.contains(";;"),
        };
        if !fits {
            return Err(format!("{key} has no such value: {value}"));
        }
    }
    for required in ["Type", "Name", "Exec"] {
        if !keys.contains_key(required) {
            return Err(format!("missing: {required}"));
        }
    }
    if keys["Type"] != "Application" {
        return Err("no application".into());
    }
    // Nothing is quoted, and nothing that is opened with the program is passed on.
    let plain = |text: &str| {
        text.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b" /-_.".contains(&byte))
    };
    if !plain(keys["Exec"]) || !keys["Exec"].starts_with('/') {
        return Err(format!("Exec is not plain: {}", keys["Exec"]));
    }
    let categories: Vec<&str> = keys
        .get("Categories")
        .map(|value| value.split_terminator(';').collect())
        .unwrap_or_default();
    if !categories.iter().any(|category| MAIN.contains(category)) {
        return Err("no main category".into());
    }
    for category in categories
        .iter()
        .filter(|category| !MAIN.contains(category))
    {
        let of = ADDITIONAL.iter().find(|(known, _)| known == category);
        if !of.is_some_and(|(_, main)| categories.contains(main)) {
            return Err(format!("category {category}"));
        }
    }
    Ok(())
}

#[test]
fn the_menu_entry_keeps_to_the_specification_and_opens_the_overview_in_a_terminal() {
    let entry = std::fs::read_to_string(folder().join("wyng.desktop")).unwrap();
    assert_eq!(fault(&entry), None);
    let keys = read(&entry).unwrap();
    assert_eq!(
        (keys["Exec"], keys["Terminal"]),
        ("/usr/bin/wyng-ctl tui", "true")
    );
    assert_eq!(keys["TryExec"], "/usr/bin/wyng-ctl");
    // The icon is found by its name in the theme that every desktop falls back to.
    let icon = folder().join(format!("{}.svg", keys["Icon"]));
    let picture = std::fs::read_to_string(icon).unwrap();
    assert!(picture.contains("<svg xmlns=\"http://www.w3.org/2000/svg\"") && picture.len() < 4096);
    for foreign in ["<script", "href", "<image", "@import", "<!ENTITY"] {
        assert!(!picture.contains(foreign), "{foreign}");
    }
    assert!(keys["Categories"].contains("System"));
}

#[test]
fn an_entry_that_breaks_a_rule_is_found() {
    let entry = std::fs::read_to_string(folder().join("wyng.desktop")).unwrap();
    for (from, to) in [
        ("[Desktop Entry]", "[Desktop Action x]"),
        ("Terminal=true", "Terminal=yes"),
        ("Terminal=true", "Terminal = true"),
        ("Name=Wyng Backup\n", ""),
        ("Type=Application", "Type=Link"),
        ("Icon=wyng", "Icon=wyng\nIcon=wyng"),
        ("Icon=wyng", "Ikon=wyng"),
        ("Archiving;\n", "Archiving\n"),
        ("System;Utility;Archiving;", "System;Archiving;"),
        ("System;Utility;Archiving;", "Archiving;"),
        ("wyng-ctl tui", "wyng-ctl tui %f"),
        ("Exec=/usr/bin/wyng-ctl tui", "Exec=wyng-ctl tui"),
    ] {
        assert!(entry.contains(from), "{from}");
        assert!(
            fault(&entry.replacen(from, to, 1)).is_some(),
            "{from} -> {to}"
        );
    }
}
