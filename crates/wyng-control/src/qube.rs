// SPDX-License-Identifier: GPL-3.0-or-later
//! Qubes in a backup: which ones a person asks for, which ones were chosen, what is left out, and
//! why one cannot be read. Names of qubes are checked where they come from; no text of qubesd is
//! passed on except for the class of an error.

use std::fmt;

use bincode::{Decode, Encode};

use crate::thin::PoolRefusal;
use crate::via::is_qube;

/// The word for all qubes that are to be in backups.
const ALL: &str = "@all";
/// The word for the settings of the whole system. `--dom0` says it; no person does.
const SYSTEM: &str = "@dom0";
const TAG: &str = "@tag:";
const TYPE: &str = "@type:";
/// Maximum length of a tag or class in a selector, bytes.
const SELECTED_MAX_BYTES: usize = 255;

/// Which qubes a backup takes, in the words of a person: each a name, `@tag:TAG`, `@type:CLASS` or
/// `@all`, which stands for the qubes whose `include_in_backups` is on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct QubeChoice {
    /// The qubes that are taken.
    pub qubes: Vec<String>,
    /// Qubes that are not taken, whatever else asks for them. `@all` is no word here.
    pub exclude: Vec<String>,
    /// Qubes that continue the history that the archive has under their names, where nothing here
    /// shows whose it is: each a name, or `@all`.
    pub continues: Vec<String>,
}

impl QubeChoice {
    /// The choice that `--all` makes.
    pub fn all() -> Self {
        Self {
            qubes: vec![ALL.to_owned()],
            exclude: Vec::new(),
            continues: Vec::new(),
        }
    }

    /// Whether it takes no qube.
    pub fn is_empty(&self) -> bool {
        self.qubes.is_empty()
    }

    /// Whether it asks for all qubes that are to be in backups.
    pub fn asks_for_all(&self) -> bool {
        self.qubes.iter().any(|word| word == ALL)
    }

    /// Whether a qube continues the history under its name, whoever had the name.
    pub fn continues_by_name(&self, qube: &str) -> bool {
        let mut words = self.continues.iter();
        words.any(|word| word == ALL || word == qube)
    }

    /// The words that are neither `@all` nor the one for the whole system.
    pub fn selectors(&self) -> impl Iterator<Item = &str> {
        let words = self.qubes.iter().map(String::as_str);
        words.filter(|word| *word != ALL && *word != SYSTEM)
    }

    /// Also takes the settings of the whole system.
    pub fn take_system(&mut self) {
        self.qubes.push(SYSTEM.to_owned());
    }

    /// Whether it takes the settings of the whole system.
    pub fn has_system(&self) -> bool {
        self.qubes.iter().any(|word| is_system(word))
    }
}

/// Whether a word stands for the settings of the whole system.
pub(crate) fn is_system(word: &str) -> bool {
    word == SYSTEM
}

/// Whether a word stands for qubes: a name, `@tag:TAG`, `@type:CLASS` or `@all`.
pub fn is_qube_selector(word: &str) -> bool {
    word == ALL || is_qube_exclusion(word)
}

/// Whether a word can exclude qubes: a name, `@tag:TAG` or `@type:CLASS`.
pub fn is_qube_exclusion(word: &str) -> bool {
    let is_plain = |text: &str, others: &str| {
        (1..=SELECTED_MAX_BYTES).contains(&text.len())
            && text
                .chars()
                .all(|char| char.is_ascii_alphanumeric() || others.contains(char))
    };
    match (word.strip_prefix(TAG), word.strip_prefix(TYPE)) {
        (Some(tag), _) => is_plain(tag, "._-"),
        (_, Some(class)) => is_plain(class, ""),
        _ => is_qube(word),
    }
}

/// Whether a word stands for qubes that continue a history by name: a name, or `@all`.
pub fn is_qube_continued(word: &str) -> bool {
    word == ALL || is_qube(word)
}

/// A qube that a backup takes.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ChosenQube {
    /// Its name.
    pub name: String,
    /// Its uuid, which it keeps for life: 36 characters.
    pub uuid: String,
    /// The names of the volumes that keep what the qube writes.
    pub volumes: Vec<String>,
}

/// The qubes that a backup takes, and those that it does not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct ChosenQubes {
    /// In the order of their names.
    pub qubes: Vec<ChosenQube>,
    /// Qubes that were asked for and could not be asked about, each with the reason.
    pub failed: Vec<(String, QubeFault)>,
    /// What is left out.
    pub left_out: Vec<LeftOut>,
}

/// A part of a qube.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub enum QubePart {
    /// The volume of this name.
    Volume(String),
    /// Its settings record.
    Settings,
}

impl QubePart {
    /// The name of the part, as in `QUBE:PART`. A volume called `settings` is never backed up.
    pub fn name(&self) -> &str {
        match self {
            Self::Volume(name) => name,
            Self::Settings => "settings",
        }
    }
}

/// The beginning of the names of dom0's own volumes.
const OF_DOM0: &str = "dom0:";

/// Whether a volume of this name is one of dom0's own: its files, or the settings of the whole
/// system. No path and no renamed volume has such a name.
pub fn is_of_dom0(volume: &str) -> bool {
    volume.starts_with(OF_DOM0)
}

/// The path of an origin whose volume is a part of a qube.
const ORIGIN: &str = "qube:";

/// The origin of a qube's part, in the place of a path: `qube:UUID/PART`.
pub fn qube_origin(uuid: &str, part: &QubePart) -> String {
    format!("{ORIGIN}{uuid}/{}", part.name())
}

/// Whether an origin's path is a part of a qube, and so no path that could be opened.
pub fn is_qube_origin(path: &[u8]) -> bool {
    path.starts_with(ORIGIN.as_bytes())
}

/// A qube, or a volume of one, that a backup does not take although something asked for it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct LeftOut {
    /// `QUBE`, `QUBE:VOLUME`, or the words that match nothing.
    pub what: String,
    /// Why it is not taken.
    pub why: WhyLeftOut,
}

/// Why something is left out.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum WhyLeftOut {
    /// A far end runs in it.
    FarEnd,
    /// Far ends are disposables of it.
    FarEndsTemplate,
    /// One of its volumes holds a store.
    HoldsStore,
    /// It is excluded by this word.
    Excluded(String),
    /// Its `include_in_backups` is off.
    NotIncluded,
    /// It is a qube of another machine: its settings are taken, and no volume.
    Elsewhere,
    /// A volume that is called as the settings record is.
    CalledSettings,
    /// No qube is like the words.
    MatchesNothing,
    /// Entries of its menu that are no names.
    MenuItems {
        /// Their number.
        count: u32,
    },
    /// It runs, and its volumes were read one after the other: the net of a far end, or a far
    /// end's own, is never paused.
    NotPaused,
    /// It runs, and its volumes were read one after the other: not all of them can be cloned.
    NotOneMoment,
    /// A restore began it and did not complete it.
    Unfinished,
}

impl WhyLeftOut {
    /// Whether the qube is taken all the same, and only something about it is to be known.
    pub fn is_taken(&self) -> bool {
        match self {
            Self::Elsewhere | Self::MenuItems { .. } | Self::NotPaused | Self::NotOneMoment => true,
            Self::FarEnd
            | Self::FarEndsTemplate
            | Self::HoldsStore
            | Self::Excluded(_)
            | Self::NotIncluded
            | Self::CalledSettings
            | Self::MatchesNothing
            | Self::Unfinished => false,
        }
    }

    /// A short word for scripts, stable over versions.
    pub fn code(&self) -> &'static str {
        match self {
            Self::FarEnd => "far-end",
            Self::FarEndsTemplate => "far-ends-template",
            Self::HoldsStore => "holds-store",
            Self::Excluded(_) => "excluded",
            Self::NotIncluded => "not-included",
            Self::Elsewhere => "elsewhere",
            Self::CalledSettings => "called-settings",
            Self::MatchesNothing => "matches-nothing",
            Self::MenuItems { .. } => "menu-items",
            Self::NotPaused => "not-paused",
            Self::NotOneMoment => "not-one-moment",
            Self::Unfinished => "unfinished-restore",
        }
    }
}

impl fmt::Display for WhyLeftOut {
    /// The end of the sentence "WHAT is left out: …", or "WHAT: …" of what is taken all the same.
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FarEnd => to.write_str("a far end runs in it"),
            Self::FarEndsTemplate => to.write_str("far ends are disposables of it"),
            Self::HoldsStore => to.write_str("it holds a store"),
            Self::Excluded(word) => write!(to, "{word} is excluded"),
            Self::NotIncluded => to.write_str("its include_in_backups is off"),
            Self::Elsewhere => {
                to.write_str("only its settings are taken; its volumes are on another machine")
            }
            Self::CalledSettings => to.write_str("its name is the one of the settings record"),
            Self::MatchesNothing => to.write_str("no qube is like that"),
            Self::MenuItems { count } => {
                write!(to, "{count} entries of its menu are left out: they are no names of files")
            }
            Self::NotPaused => to.write_str(
                "it is not paused, because a far end needs it: its volumes are of slightly different times",
            ),
            Self::NotOneMoment => to.write_str(
                "it is not paused, because its pools do not clone: its volumes are of slightly different times",
            ),
            Self::Unfinished => to.write_str(
                "a restore was interrupted before it was complete; `restore --dry-run` says what to do",
            ),
        }
    }
}

/// Why a qube, or a part of it, cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum QubeFault {
    /// qubesd cannot be reached, or does not answer in time.
    Unreachable {
        /// The call.
        call: String,
        /// The system's error number (`errno`).
        errno: i32,
    },
    /// qubesd answers nothing: it refuses, or failed.
    Refused {
        /// The call.
        call: String,
    },
    /// qubesd's answer has an unknown form.
    Malformed {
        /// The call.
        call: String,
    },
    /// qubesd answers with an error.
    Exception {
        /// The call.
        call: String,
        /// The class of the error: letters and digits.
        class: String,
    },
    /// No qube has this name and uuid any more.
    Gone,
    /// The volume is not where its pool would keep it.
    NoPlace(NoQubePlace),
    /// The folder of its pool is out of reach of this process.
    PoolOutOfReach,
    /// Its thin pool cannot be used.
    Pool(PoolRefusal),
    /// The volume was replaced at each attempt to read it.
    Replaced,
    /// The qube was not to be paused for so long.
    PausedTooLong,
    /// It is not halted.
    NotHalted,
    /// The plan does not make it.
    NotPlanned {
        /// Why; the end of a sentence.
        why: String,
    },
    /// A volume of it could not be restored.
    VolumeNotRestored {
        /// The volume's name.
        volume: String,
    },
    /// qubesd wants the bytes of a volume elsewhere than its pool keeps them.
    OtherPlace,
    /// The place of a volume cannot be opened for writing.
    NotOpened {
        /// The system's error number (`errno`).
        errno: i32,
    },
    /// The journal of new qubes cannot be written.
    NoJournal {
        /// The system's error number (`errno`).
        errno: i32,
    },
    /// Its settings are out of the bounds of a settings record.
    Record {
        /// The part that is.
        field: String,
    },
}

/// Why the place of a qube's volume is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum NoQubePlace {
    /// The driver of its pool is not known here.
    UnknownDriver,
    /// Nothing of it is kept when the qube stops.
    NotKept,
    /// What qubesd says of the pool is not understood.
    BadPool,
    /// Its id is not the one that the pool gives it.
    BadId,
    /// The state before the start is a snapshot of ZFS, which cannot be opened.
    ZfsSnapshot,
}

impl fmt::Display for QubeFault {
    /// The end of the sentence "… cannot be read: …".
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable { call, errno } => {
                let system = std::io::Error::from_raw_os_error(*errno);
                write!(to, "qubesd cannot be asked for {call}: {system}")
            }
            Self::Refused { call } => write!(to, "qubesd answers nothing to {call}"),
            Self::Malformed { call } => {
                write!(to, "qubesd's answer to {call} is not understood")
            }
            Self::Exception { call, class } => write!(to, "qubesd answers {call} with {class}"),
            Self::Gone => to.write_str("it is gone, or another qube has its name"),
            Self::NoPlace(why) => to.write_str(match why {
                NoQubePlace::UnknownDriver => "the driver of its pool is not known",
                NoQubePlace::NotKept => "nothing of it is kept when its qube stops",
                NoQubePlace::BadPool => "the settings of its pool are not understood",
                NoQubePlace::BadId => "its id is not the one that its pool gives it",
                NoQubePlace::ZfsSnapshot => {
                    "its qube runs, and the state from before is a snapshot of ZFS"
                }
            }),
            Self::PoolOutOfReach => {
                to.write_str("the folder of its pool is out of reach of the daemon")
            }
            Self::Pool(why) => write!(to, "its pool cannot be used: {}", why.phrase()),
            Self::Replaced => to.write_str("its qube was started or stopped at each attempt"),
            Self::PausedTooLong => {
                to.write_str("its qube would have had to be paused for more than 10 seconds")
            }
            Self::NotHalted => to.write_str("it is not halted"),
            Self::NotPlanned { why } => to.write_str(why),
            Self::VolumeNotRestored { volume } => {
                write!(to, "its volume {volume} could not be restored")
            }
            Self::OtherPlace => {
                to.write_str("qubesd wants its volume elsewhere than its pool keeps it")
            }
            Self::NotOpened { errno } => {
                let system = std::io::Error::from_raw_os_error(*errno);
                write!(to, "the place of its volume cannot be opened: {system}")
            }
            Self::NoJournal { errno } => {
                let system = std::io::Error::from_raw_os_error(*errno);
                write!(to, "the journal of new qubes cannot be written: {system}")
            }
            Self::Record { field } => {
                write!(to, "its settings are out of bounds: {field}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_stands_for_qubes_or_is_refused() {
        for word in ["work", "@tag:a.b", "@type:AppVM", "@all"] {
            assert!(is_qube_selector(word), "{word}");
        }
        for word in [
            "",
            "@",
            "@tag:",
            "@type:App VM",
            "@tag:a b",
            "@any",
            "a/b",
            "-x",
            "@all ",
        ] {
            assert!(!is_qube_selector(word), "{word}");
        }
        assert!(!is_qube_exclusion("@all"));
        assert!(is_qube_continued("@all") && is_qube_continued("work"));
        assert!(!is_qube_continued("@tag:a") && !is_qube_continued("a/b"));
    }

    #[test]
    fn every_reason_has_a_word_of_its_own() {
        let reasons = [
            WhyLeftOut::FarEnd,
            WhyLeftOut::FarEndsTemplate,
            WhyLeftOut::HoldsStore,
            WhyLeftOut::Excluded("@tag:a".into()),
            WhyLeftOut::NotIncluded,
            WhyLeftOut::Elsewhere,
            WhyLeftOut::CalledSettings,
            WhyLeftOut::MatchesNothing,
            WhyLeftOut::MenuItems { count: 1 },
            WhyLeftOut::NotPaused,
            WhyLeftOut::NotOneMoment,
            WhyLeftOut::Unfinished,
        ];
        let codes: std::collections::BTreeSet<_> = reasons.iter().map(WhyLeftOut::code).collect();
        assert_eq!(codes.len(), reasons.len());
    }
}
