// SPDX-License-Identifier: GPL-3.0-or-later
//! `/etc/wyng/wyng.toml`: which archives, volumes and profiles there are. `docs/config.md` describes every setting.
//!
//! `wyng-ctl` reads it for names and profiles; of the daemon the role `volumes` does, to open the volumes that it names, and `spawner` and
//! `transport` do for how far ends are reached. It holds no secret.

mod address;
mod pool;
mod quantity;
mod qubes;
mod via;

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

pub use address::without_credentials;
pub use pool::{dirty_image, folder_of_qubes, mapped_snapshot};
pub use quantity::{parse_bytes, parse_secs};
pub use qubes::{AdminDomain, FarEnds, Qubes};
use qubes::{WrittenFarEnds, WrittenQubes};
pub use via::{VIA_ALLOWED, Via, is_qube};

/// Where it is, if nothing else is said.
pub const DEFAULT_PATH: &str = "/etc/wyng/wyng.toml";
/// More is a mistake, or somebody's attempt to fill memory.
const FILE_MAX_BYTES: usize = 1 << 20;
const DAY_SECS: u64 = 86_400;

/// What the file says; checked, and each name in a profile leads somewhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    /// By their names on this machine.
    pub archives: BTreeMap<String, Archive>,
    /// Disk images and block devices, by the names of their volumes; absolute paths.
    pub volumes: BTreeMap<String, PathBuf>,
    /// By name.
    pub profiles: BTreeMap<String, Profile>,
    /// How other qubes are reached.
    pub qubes: Qubes,
    /// What holds for far ends of every kind.
    pub far_ends: FarEnds,
}

/// What `archive create` and `archive open` need not be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    /// The store: `dir:/path`.
    pub store: String,
    /// The far end; [`Via`] understands it.
    pub via: String,
}

/// What `--profile` stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// Where it backs up to.
    pub archive: String,
    /// What it backs up; each is one of [`Config::volumes`].
    pub volumes: Vec<String>,
    /// The volumes are in use: sessions are marked as crash-consistent.
    pub live: bool,
    /// No session for a volume that did not change.
    pub skip_unchanged: bool,
    /// A newest session older than that is overdue, seconds.
    pub backup_overdue_secs: u64,
    /// A blob that nobody read for longer than that is overdue, seconds; none: never.
    pub verify_overdue_secs: Option<u64>,
    /// The most that one `verify` reads; none: all.
    pub verify_budget_bytes: Option<u64>,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("{path} cannot be read: {error}")]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It is wrong.
    #[error("{path}:{line}: {what}")]
    Mistake {
        /// Which file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong there.
        what: String,
        /// What to write instead.
        remedy: String,
    },
}

/// A mistake, where it is in the text.
struct Mistake {
    at: Range<usize>,
    what: String,
    remedy: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    archives: BTreeMap<Spanned<String>, WrittenArchive>,
    #[serde(default)]
    volumes: BTreeMap<Spanned<String>, Spanned<String>>,
    #[serde(default)]
    profiles: BTreeMap<Spanned<String>, WrittenProfile>,
    #[serde(default)]
    qubes: WrittenQubes,
    #[serde(default)]
    far_ends: WrittenFarEnds,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenArchive {
    store: Spanned<String>,
    via: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenProfile {
    archive: Spanned<String>,
    volumes: Option<Vec<Spanned<String>>>,
    #[serde(default)]
    live: bool,
    #[serde(default)]
    skip_unchanged: bool,
    backup_overdue: Option<Spanned<String>>,
    verify_overdue: Option<Spanned<String>>,
    verify_budget: Option<Spanned<String>>,
}

impl Config {
    /// Reads a file of at most 1 MiB.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let unreadable = |error| ConfigError::Unreadable { path: path.to_owned(), error };
        let bytes = std::fs::read(path).map_err(unreadable)?;
        if bytes.len() > FILE_MAX_BYTES {
            return Err(unreadable(io::Error::other("it is larger than 1 MiB")));
        }
        let text = String::from_utf8(bytes).map_err(|_| unreadable(io::Error::other("it is not UTF-8")))?;
        Self::parse(&text).map_err(|Mistake { at, what, remedy }| {
            let before = text.get(..at.start).unwrap_or(&text);
            ConfigError::Mistake { path: path.to_owned(), line: before.matches('\n').count().saturating_add(1), what, remedy }
        })
    }

    /// [`read`](Self::read), where a file that is not there says nothing.
    pub fn read_if_there(path: &Path) -> Result<Self, ConfigError> {
        match Self::read(path) {
            Err(ConfigError::Unreadable { error, .. }) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            read => read,
        }
    }

    fn parse(text: &str) -> Result<Self, Mistake> {
        let written: Written = toml::from_str(text).map_err(|error| Mistake {
            at: error.span().unwrap_or_default(),
            what: error.message().replace('\n', "; "),
            remedy: "See the example in docs/config.md.".into(),
        })?;
        let mut config = Self { qubes: written.qubes.check()?, far_ends: written.far_ends.check()?, ..Self::default() };
        for (name, archive) in written.archives {
            check_word(&name)?;
            config.archives.insert(name.into_inner(), archive.check()?);
        }
        for (name, path) in written.volumes {
            check_volume_name(&name)?;
            let path = absolute(&path, "Write the path of a disk image or block device from / on.")?;
            config.volumes.insert(name.into_inner(), path);
        }
        for (name, profile) in written.profiles {
            check_word(&name)?;
            let profile = profile.check(&config.volumes)?;
            config.profiles.insert(name.into_inner(), profile);
        }
        Ok(config)
    }
}

impl WrittenArchive {
    fn check(self) -> Result<Archive, Mistake> {
        if !self.store.as_ref().starts_with("dir:/") {
            return Err(mistake(&self.store, format!("{:?} is no store", self.store.as_ref()), "Write \"dir:/absolute/path\"."));
        }
        if let Some(via) = self.via.as_ref().filter(|via| Via::parse(via.as_ref()).is_none()) {
            return Err(mistake(via, format!("{:?} is no far end", via.as_ref()), &format!("Write one of {VIA_ALLOWED}.")));
        }
        Ok(Archive { store: self.store.into_inner(), via: self.via.map_or_else(|| "local".to_owned(), Spanned::into_inner) })
    }
}

impl WrittenProfile {
    fn check(self, known: &BTreeMap<String, PathBuf>) -> Result<Profile, Mistake> {
        check_word(&self.archive)?;
        let volumes = match self.volumes {
            None => known.keys().cloned().collect(),
            Some(names) => names.into_iter().map(|name| known_volume(name, known)).collect::<Result<Vec<_>, _>>()?,
        };
        let duration = |text: Option<Spanned<String>>| text.map(|text| quantity(&text, parse_secs, "\"3d\", \"12h\"")).transpose();
        Ok(Profile {
            archive: self.archive.into_inner(),
            volumes,
            live: self.live,
            skip_unchanged: self.skip_unchanged,
            backup_overdue_secs: duration(self.backup_overdue)?.unwrap_or(3 * DAY_SECS),
            verify_overdue_secs: duration(self.verify_overdue)?,
            verify_budget_bytes: self.verify_budget.map(|text| quantity(&text, parse_bytes, "\"10G\", \"500M\"")).transpose()?,
        })
    }
}

fn mistake<T>(at: &Spanned<T>, what: String, remedy: &str) -> Mistake {
    Mistake { at: at.span(), what, remedy: remedy.to_owned() }
}

/// A name of an archive or a profile: it stands on command lines and in the names of units.
fn check_word(name: &Spanned<String>) -> Result<(), Mistake> {
    let text = name.as_ref();
    let fits = (1..=64).contains(&text.len()) && !text.starts_with(['.', '-']);
    if fits && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')) {
        return Ok(());
    }
    Err(mistake(name, format!("{text:?} is no name"), "Write 1 to 64 of A-Z a-z 0-9 . _ -, beginning with neither . nor -."))
}

/// A volume's name becomes the name of a file at a restore; with `=` in it, a source could not be told from NAME=PATH.
fn check_volume_name(name: &Spanned<String>) -> Result<(), Mistake> {
    let text = name.as_ref();
    let fits = (1..=200).contains(&text.len()) && !text.starts_with(['.', '-']);
    if fits && text.chars().all(|char| !matches!(char, '/' | '=') && !char.is_control()) {
        return Ok(());
    }
    Err(mistake(name, format!("{text:?} is no name"), "Write 1 to 200 bytes without / and =, beginning with neither . nor -."))
}

fn absolute(path: &Spanned<String>, remedy: &str) -> Result<PathBuf, Mistake> {
    if path.as_ref().starts_with('/') {
        return Ok(PathBuf::from(path.as_ref()));
    }
    Err(mistake(path, format!("{:?} is no absolute path", path.as_ref()), remedy))
}

fn known_volume(name: Spanned<String>, known: &BTreeMap<String, PathBuf>) -> Result<String, Mistake> {
    if known.contains_key(name.as_ref()) {
        return Ok(name.into_inner());
    }
    Err(mistake(&name, format!("there is no volume {:?}", name.as_ref()), "Add it to [volumes], as NAME = \"/path\"."))
}

fn quantity(text: &Spanned<String>, parse: fn(&str) -> Result<u64, String>, examples: &str) -> Result<u64, Mistake> {
    parse(text.as_ref()).map_err(|what| mistake(text, what, &format!("Write it as {examples}.")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistake_of(text: &str) -> (usize, String, String) {
        let folder = std::env::temp_dir().join(format!("wyng-config-{}-{:p}", std::process::id(), text));
        std::fs::write(&folder, text).unwrap();
        let read = Config::read(&folder);
        std::fs::remove_file(&folder).unwrap();
        match read {
            Err(ConfigError::Mistake { line, what, remedy, .. }) => (line, what, remedy),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_empty_file_says_nothing() {
        assert_eq!(Config::parse("").ok(), Some(Config::default()));
        assert_eq!(Config::read_if_there(Path::new("/nonexistent/wyng.toml")).unwrap(), Config::default());
        assert!(Config::read(Path::new("/nonexistent/wyng.toml")).is_err());
    }

    #[test]
    fn every_mistake_is_named_with_its_line_and_a_remedy() {
        let mistakes = [
            ("[archives.home]\nstore = \"/mnt/disk\"\n", 2, "is no store"),
            ("[archives.home]\nstore = \"dir:/mnt\"\nvia = \"ssh:\"\n", 3, "is no far end"),
            ("[archives.home]\n\nstor = \"dir:/mnt\"\n", 3, "unknown field `stor`"),
            ("[archives.home]\nvia = \"local\"\n", 1, "missing field `store`"),
            ("[volumes]\nwork = \"images/work\"\n", 2, "is no absolute path"),
            ("[volumes]\n\"a/b\" = \"/x\"\n", 2, "is no name"),
            ("[volumes]\nwork = 7\n", 2, "invalid type: integer"),
            (
                "[volumes]\na = \"/x\"\n[profiles.p]\narchive = \"home\"\nvolumes = [\n  \"a\",\n  \"b\",\n]\n",
                7,
                "there is no volume \"b\"",
            ),
            ("[profiles.p]\narchive = \"home\"\nverify_budget = \"much\"\n", 3, "no unit of size"),
            ("[profiles.p]\narchive = \"home\"\nbackup_overdue = \"3\"\n", 3, "needs a unit"),
            ("[profiles.p]\narchive = \"-x\"\n", 2, "is no name"),
            ("[archives.\"a b\"]\nstore = \"dir:/mnt\"\n", 1, "is no name"),
            ("[profiles.p]\nlive = true\n", 1, "missing field `archive`"),
            ("[archives.home]\nstore = \"dir:/mnt\"\nvia = \"qrexec:dom0\"\n", 3, "is no far end"),
            ("[qubes]\nqubesd_socket = \"qubesd.sock\"\n", 2, "is no absolute path"),
            ("[qubes]\n\nstart_timeout = \"60\"\n", 3, "needs a unit"),
            ("[far_ends]\nstall_timeout = \"0s\"\n", 2, "is out of bounds"),
            ("[qubes]\nadmin = \"domU\"\n", 2, "is no admin domain"),
            ("[qubes]\nqrexec = \"/usr/bin/qrexec-client\"\n", 2, "unknown field `qrexec`"),
            ("[volumes]\n\nwork = \n", 3, ""),
            ("[volumes]\na = \"/x\"\na = \"/y\"\n", 3, "duplicate key"),
        ];
        for (text, line, what) in mistakes {
            let (found_line, found, remedy) = mistake_of(text);
            assert_eq!(found_line, line, "{text}: {found}");
            assert!(found.contains(what) && !found.contains('\n'), "{text}: {found}");
            assert!(remedy.ends_with('.'), "{text}: {remedy}");
        }
    }

    #[test]
    fn a_profile_without_volumes_has_all() {
        let config = Config::parse("[volumes]\na = \"/x\"\nb = \"/y\"\n[profiles.p]\narchive = \"home\"\n").ok().unwrap();
        let profile = &config.profiles["p"];
        assert_eq!(profile.volumes, ["a", "b"]);
        assert_eq!((profile.backup_overdue_secs, profile.verify_overdue_secs), (259_200, None));
    }
}
