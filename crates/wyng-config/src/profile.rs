// SPDX-License-Identifier: GPL-3.0-or-later
//! `[profiles.NAME]`: archives, volumes and options under one name.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use toml::Spanned;
use wyng_control::{KeepRules, QubeChoice, is_qube_exclusion, is_qube_selector};

use crate::checks::{check_word, positive};
use crate::keep::WrittenKeep;
use crate::mistake::Found;
use crate::quantity::{parse_bytes, parse_secs};

const DAY_SECS: u64 = 86_400;

/// The archives, volumes and options of `--profile`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// The names of the archives, at least one, each once. A command without the name of one runs
    /// for each of them in turn.
    pub archives: Vec<String>,
    /// The names of the volumes, each one of [`Config::volumes`](crate::Config::volumes).
    pub volumes: Vec<String>,
    /// The qubes, whose volumes and settings are backed up too.
    pub qubes: QubeChoice,
    /// Whether dom0's own files are backed up too.
    pub dom0: bool,
    /// What dom0's files are besides the fixed ones: absolute paths.
    pub dom0_paths: Vec<PathBuf>,
    /// Whether the volumes are in use: their sessions are marked as crash-consistent.
    pub live: bool,
    /// Whether an unchanged volume gets no session.
    pub skip_unchanged: bool,
    /// Whether a backup reads back the blobs that it sent.
    pub verify: bool,
    /// Maximum age of a volume's newest session before a backup is overdue, seconds.
    pub backup_overdue_secs: u64,
    /// Maximum time since a blob was read before a verify is overdue, seconds; `None`: never
    /// overdue.
    pub verify_overdue_secs: Option<u64>,
    /// Maximum that one `verify` reads, bytes; `None`: everything.
    pub verify_budget_bytes: Option<u64>,
    /// The folder to which a rehearsal restores, absolute.
    pub scratch: Option<PathBuf>,
    /// Maximum bytes of new data that each volume sends in a day; `None`: no limit.
    pub max_new_bytes: Option<u64>,
    /// Which sessions of a volume a prune keeps, in place of the archive's rules if there is any.
    pub keep: KeepRules,
    /// Whether the archive is pruned after each backup of the profile.
    pub prune_after_backup: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WrittenProfile {
    archive: Spanned<Names>,
    volumes: Option<Vec<Spanned<String>>>,
    #[serde(default)]
    qubes: Vec<Spanned<String>>,
    #[serde(default)]
    exclude: Vec<Spanned<String>>,
    #[serde(default)]
    dom0: bool,
    #[serde(default)]
    dom0_paths: Vec<Spanned<String>>,
    #[serde(default)]
    live: bool,
    #[serde(default)]
    skip_unchanged: bool,
    #[serde(default)]
    verify: bool,
    backup_overdue: Option<Spanned<String>>,
    verify_overdue: Option<Spanned<String>>,
    verify_budget: Option<Spanned<String>>,
    scratch: Option<Spanned<String>>,
    max_new_bytes: Option<Spanned<String>>,
    #[serde(default)]
    keep: WrittenKeep,
    #[serde(default)]
    prune_after_backup: bool,
}

/// One name, or a list of names.
struct Names(Vec<String>);

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(NamesVisitor)
    }
}

struct NamesVisitor;

impl<'de> Visitor<'de> for NamesVisitor {
    type Value = Names;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("the name of an archive, or a list of names")
    }

    fn visit_str<E>(self, name: &str) -> Result<Names, E> {
        Ok(Names(vec![name.to_owned()]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Names, A::Error> {
        let mut names = Vec::new();
        while let Some(name) = list.next_element()? {
            names.push(name);
        }
        Ok(Names(names))
    }
}

/// The archives of a profile: at least one, and none twice.
fn check_archives(written: Spanned<Names>, found: &mut Found) -> Vec<String> {
    let span = written.span();
    let names = written.into_inner().0;
    if names.is_empty() {
        let at = Spanned::new(span.clone(), ());
        found.note(
            &at,
            "the list of archives is empty".to_owned(),
            "Name at least one archive.",
        );
    }
    let mut seen = BTreeSet::new();
    for name in &names {
        let at = Spanned::new(span.clone(), name.clone());
        if found.check(check_word(&at)).is_some() && !seen.insert(name) {
            found.note(
                &at,
                format!("archive {name:?} is listed twice"),
                "Remove one of them.",
            );
        }
    }
    names
}

/// The qubes of a profile: words that stand for qubes, and none twice.
fn check_qubes(
    qubes: Vec<Spanned<String>>,
    exclude: Vec<Spanned<String>>,
    found: &mut Found,
) -> QubeChoice {
    if let (true, Some(excluded)) = (qubes.is_empty(), exclude.first()) {
        found.note(
            excluded,
            "qubes are excluded, and none is taken".to_owned(),
            "Add qubes = [\"@all\"], or remove exclude.",
        );
    }
    let mut check = |words: Vec<Spanned<String>>, is_known: fn(&str) -> bool, remedy| {
        let mut seen = BTreeSet::new();
        for word in &words {
            if !is_known(word.as_ref()) {
                let what = format!("{:?} stands for no qube", word.as_ref());
                found.note(word, what, remedy);
            } else if !seen.insert(word.as_ref()) {
                let what = format!("{:?} is listed twice", word.as_ref());
                found.note(word, what, "Remove one of them.");
            }
        }
        words.into_iter().map(Spanned::into_inner).collect()
    };
    QubeChoice {
        qubes: check(
            qubes,
            is_qube_selector,
            "Write a qube's name, \"@tag:TAG\", \"@type:CLASS\" or \"@all\".",
        ),
        exclude: check(
            exclude,
            is_qube_exclusion,
            "Write a qube's name, \"@tag:TAG\" or \"@type:CLASS\".",
        ),
        // A person says it once, for one run.
        continues: Vec::new(),
    }
}

/// The paths of dom0's files: absolute, without `..`, and of use only with `dom0`.
fn check_dom0_paths(dom0: bool, paths: Vec<Spanned<String>>, found: &mut Found) -> Vec<PathBuf> {
    if let (false, Some(path)) = (dom0, paths.first()) {
        found.note(
            path,
            "dom0_paths names files, and dom0 is not backed up".to_owned(),
            "Add dom0 = true, or remove dom0_paths.",
        );
    }
    for path in &paths {
        let names = path.as_ref().split('/');
        if !path.as_ref().starts_with('/') || names.clone().any(|name| matches!(name, "." | "..")) {
            found.note(
                path,
                "a path of dom0_paths is not absolute, or has \"..\" in it".to_owned(),
                "Begin it with a slash, for instance \"/usr/local/bin\".",
            );
        }
    }
    paths
        .into_iter()
        .map(|path| PathBuf::from(path.into_inner()))
        .collect()
}

impl WrittenProfile {
    pub(crate) fn check(
        self,
        name: &Spanned<String>,
        known: &BTreeSet<String>,
        found: &mut Found,
    ) -> Option<Profile> {
        let archives = check_archives(self.archive, found);
        let volumes: Vec<String> = match self.volumes {
            None => known.iter().cloned().collect(),
            Some(names) => {
                let mut seen = BTreeSet::new();
                for name in &names {
                    if !known.contains(name.as_ref()) {
                        found.note(
                            name,
                            format!("there is no volume {:?}", name.as_ref()),
                            "Add it to [volumes], as NAME = \"/path\".",
                        );
                    } else if !seen.insert(name.as_ref()) {
                        found.note(
                            name,
                            format!("volume {:?} is listed twice", name.as_ref()),
                            "Remove one of them.",
                        );
                    }
                }
                names.into_iter().map(Spanned::into_inner).collect()
            }
        };
        let qubes = check_qubes(self.qubes, self.exclude, found);
        let dom0_paths = check_dom0_paths(self.dom0, self.dom0_paths, found);
        if volumes.is_empty() && qubes.is_empty() && !self.dom0 {
            found.note(
                name,
                format!("profile {:?} has no volume", name.as_ref()),
                "Name some from [volumes]; without `volumes` it has all of them. In dom0, \
                 qubes = [\"@all\"] takes qubes.",
            );
        }
        let mut duration = |text: Option<Spanned<String>>| {
            Some(found.check(positive(&text?, parse_secs, "\"3d\", \"12h\"")))
        };
        let (backup_overdue, verify_overdue) =
            (duration(self.backup_overdue), duration(self.verify_overdue));
        let mut bytes = |text: Option<Spanned<String>>| {
            text.map(|text| found.check(positive(&text, parse_bytes, "\"10G\", \"500M\"")))
        };
        let (budget, max_new) = (bytes(self.verify_budget), bytes(self.max_new_bytes));
        let scratch = match &self.scratch {
            Some(path) if !path.as_ref().starts_with('/') => {
                found.note(
                    path,
                    "scratch is not an absolute path".to_owned(),
                    "Begin it with a slash, for instance \"/var/tmp\".",
                );
                None
            }
            scratch => scratch.as_ref().map(|path| PathBuf::from(path.as_ref())),
        };
        Some(Profile {
            archives,
            volumes,
            qubes,
            dom0: self.dom0,
            dom0_paths,
            live: self.live,
            skip_unchanged: self.skip_unchanged,
            verify: self.verify,
            backup_overdue_secs: backup_overdue.map_or(Some(3 * DAY_SECS), |secs| secs)?,
            verify_overdue_secs: verify_overdue.map_or(Some(None), |secs| secs.map(Some))?,
            verify_budget_bytes: budget.map_or(Some(None), |bytes| bytes.map(Some))?,
            scratch,
            max_new_bytes: max_new.map_or(Some(None), |bytes| bytes.map(Some))?,
            keep: self.keep.check(found),
            prune_after_backup: self.prune_after_backup,
        })
    }
}
