// SPDX-License-Identifier: GPL-3.0-or-later
//! The manual pages: of each command, from the same source as `--help`; of the daemon and its
//! configuration, from their documents.

mod markdown;

use std::io;
use std::path::{Path, PathBuf};

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, roman};

use crate::help::{ENVIRONMENT, EXIT_STATUS, Page, command, joined};

const FILES: [(&str, &str); 5] = [
    (
        "/etc/wyng/wyng.toml",
        "The configuration; see wyng.toml(5).",
    ),
    ("/run/wyng/wyngd.sock", "Where the service listens."),
    (
        "/var/lib/wyng",
        "The state of the service: for each archive what may write to it and read its catalog, and a cache. It opens no chunk.",
    ),
    ("~/.local/state/wyng", "The same of a private daemon."),
    (
        ".wyng",
        "At the top of a btrfs or XFS file system: the base snapshots of volumes on it.",
    ),
];

/// Pages made from documents: name, section, one-line description, document.
const DOCUMENTS: [(&str, &str, &str, &str); 2] = [
    (
        "wyngd",
        "8",
        "the daemon of the Wyng backup",
        include_str!("../../docs/wyngd.md"),
    ),
    (
        "wyng.toml",
        "5",
        "configuration of the Wyng backup",
        include_str!("../../docs/config.md"),
    ),
];

/// Writes all pages into a folder, which is created if it is missing. The error names the path.
pub(crate) fn write(folder: &Path) -> Result<(), (PathBuf, io::Error)> {
    std::fs::create_dir_all(folder).map_err(|error| (folder.to_owned(), error))?;
    let mut all = command().disable_help_subcommand(true);
    all.build();
    let mut pages = Vec::new();
    commands(&all, "", &mut pages);
    pages.extend(DOCUMENTS.map(|(name, section, what, text)| {
        (
            format!("{name}.{section}"),
            document(name, section, what, text),
        )
    }));
    for (name, text) in pages {
        let path = folder.join(name);
        std::fs::write(&path, text).map_err(|error| (path, error))?;
    }
    Ok(())
}

fn commands(command: &Command, path: &str, pages: &mut Vec<(String, Vec<u8>)>) {
    pages.push(page(command, path));
    for below in command
        .get_subcommands()
        .filter(|below| !below.is_hide_set())
    {
        commands(below, &joined(path, below.get_name()), pages);
    }
}

fn page(command: &Command, path: &str) -> (String, Vec<u8>) {
    let man = Man::new(command.clone().after_help("").after_long_help(""))
        .manual("Wyng")
        .source(concat!("wyng-ctl ", env!("CARGO_PKG_VERSION")));
    let name = man.get_filename();
    let mut text = Vec::new();
    let sections = [
        Man::render_title,
        Man::render_name_section,
        Man::render_synopsis_section,
        Man::render_description_section,
    ];
    let options = [Man::render_options_section as fn(&Man, &mut dyn io::Write) -> io::Result<()>];
    for render in sections
        .into_iter()
        .map(|render| render as fn(&Man, &mut dyn io::Write) -> io::Result<()>)
        .chain(options)
    {
        let _ = render(&man, &mut text); // writing to memory cannot fail
    }
    if command.has_subcommands() {
        let _ = man.render_subcommands_section(&mut text);
    }
    let mut rest = Roff::new();
    if let Some(page) = Page::of(path) {
        rest.control("SH", ["EXAMPLES"]);
        for (what, words) in page.examples {
            rest.control("PP", [])
                .text([roman(format!("{what}:"))])
                .control("PP", [])
                .control("RS", ["4"])
                .control("nf", []);
            rest.text([roman(format!("wyng-ctl {words}"))])
                .control("fi", [])
                .control("RE", []);
        }
    }
    list(
        &mut rest,
        "EXIT STATUS",
        EXIT_STATUS
            .iter()
            .map(|(exit, what)| (exit.code().to_string(), *what)),
    );
    list(
        &mut rest,
        "ENVIRONMENT",
        ENVIRONMENT
            .iter()
            .map(|(name, what)| ((*name).to_owned(), *what)),
    );
    list(
        &mut rest,
        "FILES",
        FILES.iter().map(|(name, what)| ((*name).to_owned(), *what)),
    );
    rest.control("SH", ["SEE ALSO"])
        .text(see_also(command, path));
    let _ = rest.to_writer(&mut text);
    (name, text)
}

fn list<'a>(roff: &mut Roff, head: &str, entries: impl Iterator<Item = (String, &'a str)>) {
    roff.control("SH", [head]);
    for (name, what) in entries {
        roff.control("TP", [])
            .text([bold(name)])
            .text([roman(what)]);
    }
}

/// References to the subcommands, the parent and other pages.
fn see_also(command: &Command, path: &str) -> Vec<Inline> {
    let mut pages: Vec<(String, &str)> = command
        .get_subcommands()
        .filter(|below| !below.is_hide_set())
        .map(|below| {
            (
                format!(
                    "wyng-ctl-{}",
                    joined(path, below.get_name()).replace(' ', "-")
                ),
                "1",
            )
        })
        .collect();
    if let Some((above, _)) = path.rsplit_once(' ') {
        pages.push((format!("wyng-ctl-{above}"), "1"));
    }
    if !path.is_empty() {
        pages.push(("wyng-ctl".to_owned(), "1"));
    }
    pages.extend(DOCUMENTS.map(|(name, section, ..)| (name.to_owned(), section)));
    let last = pages.len().saturating_sub(1);
    let inline = |(place, (name, section)): (usize, (String, &str))| {
        [
            bold(name),
            roman(format!(
                "({section}){}",
                if place == last { "" } else { ", " }
            )),
        ]
    };
    pages.into_iter().enumerate().flat_map(inline).collect()
}

fn document(name: &str, section: &str, what: &str, text: &str) -> Vec<u8> {
    let mut roff = Roff::new();
    roff.control(
        "TH",
        [
            name,
            section,
            "",
            concat!("wyng ", env!("CARGO_PKG_VERSION")),
            "Wyng",
        ],
    );
    roff.control("SH", ["NAME"])
        .text([roman(format!("{name} - {what}"))]);
    markdown::append(&mut roff, text);
    roff.control("SH", ["SEE ALSO"]).text([
        bold("wyng-ctl"),
        roman("(1), "),
        bold("wyngd"),
        roman("(8), "),
        bold("wyng.toml"),
        roman("(5)"),
    ]);
    let mut page = Vec::new();
    let _ = roff.to_writer(&mut page); // writing to memory cannot fail
    page
}
