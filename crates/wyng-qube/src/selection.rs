// SPDX-License-Identifier: GPL-3.0-or-later
//! Which qubes a backup takes, and which of their volumes. What is left out is named with its
//! reason; a name that nobody has is an error.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use crate::answer::VolumeInfo;
use crate::class::Class;
use crate::form::{DOM0, is_qube_name, is_tag};

const TAG: &str = "@tag:";
const TYPE: &str = "@type:";
/// The name of the volume that holds a qube's settings record.
const SETTINGS: &str = "settings";
/// Maximum number of names that are offered for one that nobody has.
const NEAR_MAX: usize = 3;
/// Maximum number of edits between a name and one that is offered for it.
const EDITS_MAX: usize = 2;

/// Words that stand for qubes: a name, `@tag:TAG` or `@type:CLASS`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// The qube of this name.
    Name(String),
    /// Every qube with this tag.
    Tag(String),
    /// Every qube of this class.
    Type(Class),
}

/// It is none of the words that stand for qubes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is not a qube's name, @tag:TAG or @type:CLASS")]
pub struct NoSelector;

impl FromStr for Selector {
    type Err = NoSelector;

    fn from_str(text: &str) -> Result<Self, NoSelector> {
        if let Some(tag) = text.strip_prefix(TAG) {
            return is_tag(tag)
                .then(|| Self::Tag(tag.to_owned()))
                .ok_or(NoSelector);
        }
        if let Some(class) = text.strip_prefix(TYPE) {
            return Class::of(class).map(Self::Type).ok_or(NoSelector);
        }
        if is_qube_name(text) || text == DOM0 {
            return Ok(Self::Name(text.to_owned()));
        }
        Err(NoSelector)
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => to.write_str(name),
            Self::Tag(tag) => write!(to, "{TAG}{tag}"),
            Self::Type(class) => write!(to, "{TYPE}{class}"),
        }
    }
}

impl Selector {
    fn takes(&self, qube: &Candidate) -> bool {
        match self {
            Self::Name(name) => *name == qube.name,
            Self::Tag(tag) => qube.tags.contains(tag),
            Self::Type(class) => *class == qube.class,
        }
    }
}

/// What a command or a profile asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wish {
    /// The qubes that are asked for.
    pub qubes: Vec<Selector>,
    /// Every qube whose setting `include_in_backups` says so, beside those.
    pub all: bool,
    /// The qubes that are left out whatever else asks for them.
    pub exclude: Vec<Selector>,
}

/// A qube that a backup could take. dom0 may be among them; it is never taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its name.
    pub name: String,
    /// Its class.
    pub class: Class,
    /// Its tags.
    pub tags: BTreeSet<String>,
    /// Its setting `include_in_backups`.
    pub include_in_backups: bool,
}

/// Why a qube is never in a backup, whatever asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Spared {
    /// The far end of an archive runs in it.
    FarEnd,
    /// A far end is a disposable of it.
    FarEndsTemplate,
    /// One of its volumes holds a store: the store would back up itself.
    HoldsStore,
}

/// A qube that is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// Its name.
    pub name: String,
    /// Its class.
    pub class: Class,
}

impl Chosen {
    /// Whether its volumes are taken too, and not its settings alone.
    pub fn has_volumes(&self) -> bool {
        self.class != Class::Remote
    }
}

/// Why a qube, or a volume, is not taken although something asked for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WhyLeft {
    /// It is never in a backup.
    Spared(Spared),
    /// This selector excludes it.
    Excluded(Selector),
    /// Its setting `include_in_backups` is off.
    NotIncluded,
    /// It is a qube of another machine; its settings are taken.
    VolumesElsewhere,
    /// It is called `settings`, as the volume with the settings record is.
    CalledSettings,
    /// It is excluded, or asked for, and no qube is like it.
    MatchesNothing(Selector),
}

/// Something that is not taken, with its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// The qube, or `QUBE:VOLUME`; of a selector that matches nothing: its words.
    pub what: String,
    /// Why.
    pub why: WhyLeft,
}

/// What a backup takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// The qubes, in the order of their names.
    pub qubes: Vec<Chosen>,
    /// What is left out, in the order of the qubes' names.
    pub left_out: Vec<LeftOut>,
}

/// A wish that cannot be met.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectionError {
    /// No qube has the name.
    #[error("there is no qube {name}")]
    Unknown {
        /// The name.
        name: String,
        /// At most three names that are like it.
        near: Vec<String>,
    },
    /// It was asked for by its name, and is never in a backup.
    #[error("the qube {name} is never in a backup")]
    Spared {
        /// The qube.
        name: String,
        /// Why.
        why: Spared,
    },
    /// dom0 was asked for as if it were a qube.
    #[error("dom0 is not a qube")]
    Dom0,
}

/// The qubes that a wish takes. `spared` has the qubes that are never in a backup: naming one is an
/// error, and every other way to ask for it leaves it out with a line.
pub fn select(
    candidates: &[Candidate],
    wish: &Wish,
    spared: &BTreeMap<String, Spared>,
) -> Result<Selection, SelectionError> {
    for selector in wish.qubes.iter().chain(&wish.exclude) {
        check_name(selector, candidates)?;
    }
    let mut qubes: Vec<&Candidate> = candidates
        .iter()
        .filter(|qube| qube.class != Class::Admin && qube.name != DOM0)
        .collect();
    qubes.sort_by(|one, other| one.name.cmp(&other.name));
    let mut selection = Selection {
        qubes: Vec::new(),
        left_out: Vec::new(),
    };
    for selector in wish.qubes.iter().chain(&wish.exclude) {
        if !qubes.iter().any(|qube| selector.takes(qube)) {
            let why = WhyLeft::MatchesNothing(selector.clone());
            selection.left_out.push(left_out(selector.to_string(), why));
        }
    }
    for qube in qubes {
        let asked = wish.qubes.iter().any(|selector| selector.takes(qube));
        let excluding = wish.exclude.iter().find(|selector| selector.takes(qube));
        match (asked || wish.all, excluding, spared.get(&qube.name)) {
            (false, ..) => {}
            (true, Some(selector), _) => {
                let why = WhyLeft::Excluded(selector.clone());
                selection.left_out.push(left_out(qube.name.clone(), why));
            }
            (true, None, Some(why)) => {
                let by_name = Selector::Name(qube.name.clone());
                if wish.qubes.contains(&by_name) {
                    let name = qube.name.clone();
                    return Err(SelectionError::Spared { name, why: *why });
                }
                let why = WhyLeft::Spared(*why);
                selection.left_out.push(left_out(qube.name.clone(), why));
            }
            (true, None, None) if asked || qube.include_in_backups => {
                selection.take(qube);
            }
            (true, None, None) => {
                let why = WhyLeft::NotIncluded;
                selection.left_out.push(left_out(qube.name.clone(), why));
            }
        }
    }
    Ok(selection)
}

impl Selection {
    fn take(&mut self, qube: &Candidate) {
        let chosen = Chosen {
            name: qube.name.clone(),
            class: qube.class.clone(),
        };
        if !chosen.has_volumes() {
            let why = WhyLeft::VolumesElsewhere;
            self.left_out.push(left_out(qube.name.clone(), why));
        }
        self.qubes.push(chosen);
    }
}

fn left_out(what: String, why: WhyLeft) -> LeftOut {
    LeftOut { what, why }
}

fn check_name(selector: &Selector, candidates: &[Candidate]) -> Result<(), SelectionError> {
    match selector {
        Selector::Name(name) if name == DOM0 => Err(SelectionError::Dom0),
        Selector::Name(name) if !candidates.iter().any(|qube| qube.name == *name) => {
            Err(SelectionError::Unknown {
                name: name.clone(),
                near: near(name, candidates),
            })
        }
        _ => Ok(()),
    }
}

/// The names that are like this one, the likest first.
fn near(name: &str, candidates: &[Candidate]) -> Vec<String> {
    let mut found: Vec<(usize, &str)> = candidates
        .iter()
        .filter(|qube| qube.class != Class::Admin)
        .map(|qube| (edits(name, &qube.name), qube.name.as_str()))
        .filter(|(edits, other)| {
            let begins = other.starts_with(name) || name.starts_with(other);
            *edits <= EDITS_MAX || begins
        })
        .collect();
    found.sort_unstable();
    found.truncate(NEAR_MAX);
    found.into_iter().map(|(_, name)| name.to_owned()).collect()
}

/// Number of characters to add, remove or change to make one text the other, in any case.
fn edits(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.to_lowercase().chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (above, char) in one.to_lowercase().chars().enumerate() {
        let mut diagonal = above;
        let mut left = above.saturating_add(1);
        let mut next = vec![left];
        for (cell, against) in row.iter().skip(1).zip(&other) {
            let changed = diagonal.saturating_add(usize::from(char != *against));
            let least = changed
                .min(left.saturating_add(1))
                .min(cell.saturating_add(1));
            (diagonal, left) = (*cell, least);
            next.push(least);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

/// The volumes of a qube that a backup takes, and those that it leaves out with a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept<'a> {
    /// Volumes that keep what the qube wrote, custom ones too, in the order of the answer.
    pub volumes: Vec<&'a VolumeInfo>,
    /// What is left out although it keeps what the qube wrote.
    pub left_out: Vec<LeftOut>,
}

impl<'a> Kept<'a> {
    /// The volumes of the qube of this name that are kept when it stops. One that is called
    /// `settings` is left out: its place is taken by the settings record.
    pub fn of(qube: &str, volumes: &'a [VolumeInfo]) -> Self {
        let (settings, volumes) = volumes
            .iter()
            .filter(|volume| volume.save_on_stop)
            .partition::<Vec<_>, _>(|volume| volume.name == SETTINGS);
        let name = |volume: &VolumeInfo| format!("{qube}:{}", volume.name);
        Self {
            volumes,
            left_out: settings
                .into_iter()
                .map(|volume| left_out(name(volume), WhyLeft::CalledSettings))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn qube(name: &str, class: Class, tags: &[&str], include_in_backups: bool) -> Candidate {
        Candidate {
            name: name.to_owned(),
            class,
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            include_in_backups,
        }
    }

    fn house() -> Vec<Candidate> {
        vec![
            qube("dom0", Class::Admin, &["wanted"], true),
            qube("work", Class::App, &["wanted"], true),
            qube("debian-12", Class::Template, &[], false),
            qube("alone", Class::Standalone, &[], true),
            qube("far", Class::Remote, &["wanted"], true),
            qube("sys-backup", Class::App, &["wanted"], true),
            qube("disp7", Class::Disposable, &["wanted"], false),
        ]
    }

    fn wish(qubes: &[&str], all: bool, exclude: &[&str]) -> Wish {
        let parse = |words: &[&str]| words.iter().map(|word| word.parse().unwrap()).collect();
        Wish {
            qubes: parse(qubes),
            all,
            exclude: parse(exclude),
        }
    }

    fn spared() -> BTreeMap<String, Spared> {
        BTreeMap::from([("sys-backup".to_owned(), Spared::FarEnd)])
    }

    fn names(selection: &Selection) -> Vec<&str> {
        selection
            .qubes
            .iter()
            .map(|qube| qube.name.as_str())
            .collect()
    }

    fn reason<'a>(selection: &'a Selection, what: &str) -> Option<&'a WhyLeft> {
        let found = selection.left_out.iter().find(|left| left.what == what);
        found.map(|left| &left.why)
    }

    #[test]
    fn selectors_have_three_forms() {
        for words in ["work", "@tag:a-b", "@type:AppVM", "dom0"] {
            assert_eq!(words.parse::<Selector>().unwrap().to_string(), words);
        }
        for words in [
            "",
            "@tag:",
            "@tag:a b",
            "@type:",
            "@type:a/b",
            "@all",
            "a/b",
            "none",
        ] {
            assert_eq!(words.parse::<Selector>(), Err(NoSelector), "{words}");
        }
    }

    #[test]
    fn all_takes_what_is_included_in_backups_and_names_the_rest() {
        let found = select(&house(), &wish(&[], true, &[]), &spared()).unwrap();
        assert_eq!(names(&found), ["alone", "far", "work"]);
        assert_eq!(reason(&found, "debian-12"), Some(&WhyLeft::NotIncluded));
        assert_eq!(reason(&found, "disp7"), Some(&WhyLeft::NotIncluded));
        assert_eq!(reason(&found, "dom0"), None);
    }

    #[test]
    fn a_name_a_tag_and_a_class_take_what_is_not_included_too() {
        let found = select(&house(), &wish(&["debian-12"], false, &[]), &spared()).unwrap();
        assert_eq!(names(&found), ["debian-12"]);
        let found = select(&house(), &wish(&["@tag:wanted"], false, &[]), &spared()).unwrap();
        assert_eq!(names(&found), ["disp7", "far", "work"]);
        let found = select(
            &house(),
            &wish(&["@type:TemplateVM"], false, &[]),
            &spared(),
        )
        .unwrap();
        assert_eq!(names(&found), ["debian-12"]);
        let both = select(&house(), &wish(&["debian-12"], true, &[]), &spared()).unwrap();
        assert_eq!(names(&both), ["alone", "debian-12", "far", "work"]);
    }

    #[test]
    fn a_far_end_is_left_out_with_a_line_and_naming_it_is_an_error() {
        for asked in [
            wish(&[], true, &[]),
            wish(&["@tag:wanted"], false, &[]),
            wish(&["@type:AppVM"], false, &[]),
        ] {
            let found = select(&house(), &asked, &spared()).unwrap();
            assert!(!names(&found).contains(&"sys-backup"));
            let why = WhyLeft::Spared(Spared::FarEnd);
            assert_eq!(reason(&found, "sys-backup"), Some(&why), "{asked:?}");
        }
        for why in [Spared::FarEnd, Spared::FarEndsTemplate, Spared::HoldsStore] {
            let spared = BTreeMap::from([("work".to_owned(), why)]);
            let refused = select(&house(), &wish(&["work"], true, &[]), &spared);
            let name = "work".to_owned();
            assert_eq!(refused, Err(SelectionError::Spared { name, why }));
        }
    }

    #[test]
    fn dom0_is_never_taken_and_naming_it_is_an_error() {
        for asked in [
            wish(&[], true, &[]),
            wish(&["@tag:wanted"], false, &[]),
            wish(&["@type:AdminVM"], false, &[]),
        ] {
            let found = select(&house(), &asked, &BTreeMap::new()).unwrap();
            assert!(!names(&found).contains(&"dom0"), "{asked:?}");
        }
        let refused = select(&house(), &wish(&["dom0"], false, &[]), &spared());
        assert_eq!(refused, Err(SelectionError::Dom0));
    }

    #[test]
    fn an_exclusion_wins_over_everything_that_asks() {
        for exclude in ["work", "@tag:wanted", "@type:AppVM"] {
            let asked = wish(&["work", "@tag:wanted"], true, &[exclude]);
            let found = select(&house(), &asked, &spared()).unwrap();
            assert!(!names(&found).contains(&"work"), "{exclude}");
            let why = WhyLeft::Excluded(exclude.parse().unwrap());
            assert_eq!(reason(&found, "work"), Some(&why));
        }
    }

    #[test]
    fn a_name_that_nobody_has_is_an_error_with_the_names_like_it() {
        let near_of = |asked: &Wish| match select(&house(), asked, &spared()) {
            Err(SelectionError::Unknown { near, .. }) => near,
            other => panic!("{other:?}"),
        };
        assert_eq!(near_of(&wish(&["wrok"], false, &[])), ["work"]);
        assert_eq!(near_of(&wish(&["debian"], false, &[])), ["debian-12"]);
        assert_eq!(near_of(&wish(&["Work"], false, &[])), ["work"]);
        assert!(near_of(&wish(&["zzzzzzzz"], false, &[])).is_empty());
        // A typing mistake in an exclusion would back up what should not be.
        assert_eq!(near_of(&wish(&["work"], false, &["alon"])), ["alone"]);
    }

    #[test]
    fn a_tag_that_no_qube_has_is_named() {
        let found = select(&house(), &wish(&["@tag:x"], false, &[]), &spared()).unwrap();
        let why = WhyLeft::MatchesNothing(Selector::Tag("x".into()));
        assert_eq!(reason(&found, "@tag:x"), Some(&why));
    }

    #[test]
    fn of_a_qube_of_another_machine_the_settings_alone_are_taken() {
        let found = select(&house(), &wish(&["far"], false, &[]), &spared()).unwrap();
        assert!(!found.qubes[0].has_volumes());
        assert_eq!(reason(&found, "far"), Some(&WhyLeft::VolumesElsewhere));
    }

    #[test]
    fn what_is_kept_at_the_stop_is_taken_except_for_a_volume_called_settings() {
        let volume = |name: &str, save_on_stop| VolumeInfo {
            name: name.to_owned(),
            pool: "p".into(),
            vid: String::new(),
            size_bytes: 1,
            is_writable: true,
            source: String::new(),
            save_on_stop,
            snap_on_start: !save_on_stop,
            revisions_to_keep: 1,
            is_ephemeral: false,
        };
        let volumes = [
            volume("root", false),
            volume("private", true),
            volume("cache", true),
            volume("settings", true),
        ];
        let kept = Kept::of("work", &volumes);
        let names: Vec<&str> = kept
            .volumes
            .iter()
            .map(|volume| volume.name.as_str())
            .collect();
        assert_eq!(names, ["private", "cache"]);
        assert_eq!(kept.left_out[0].what, "work:settings");
        assert_eq!(kept.left_out[0].why, WhyLeft::CalledSettings);
    }

    #[test]
    fn edits_are_counted() {
        for (one, other, count) in [
            ("", "", 0),
            ("a", "", 1),
            ("wrok", "work", 2),
            ("abc", "abx", 1),
            ("AB", "ab", 0),
        ] {
            assert_eq!(edits(one, other), count, "{one} {other}");
        }
    }
}
