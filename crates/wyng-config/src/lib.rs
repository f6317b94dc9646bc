// SPDX-License-Identifier: GPL-3.0-or-later
//! `/etc/wyng/wyng.toml`: the archives, volumes and profiles of this machine. `docs/config.md`
//! describes every setting.
//!
//! `wyng-ctl` reads the names and profiles. In the daemon, `volumes` opens the volumes that the
//! file names, and `spawner` and `transport` read how far ends are reached. The file holds no
//! secret.

mod address;
mod archive;
mod checks;
mod hours;
mod keep;
mod mistake;
mod monitor;
mod pool;
mod profile;
mod quantity;
mod qubes;
mod written;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

pub use address::without_credentials;
pub use archive::{Archive, Credentials, STATE_FREE_BYTES, Warn};
use checks::{check_not_of_dom0, check_volume_name, check_word, volume_path};
pub use hours::{Hours, NoHours};
use mistake::Found;
pub use mistake::Mistake;
pub use monitor::Monitor;
pub use pool::{dirty_image, folder_of_qubes};
pub use profile::Profile;
pub use quantity::{parse_bytes, parse_secs};
pub use qubes::{AdminDomain, FarEnds, Qubes};
use wyng_control::PruneRules;

/// The default path of the configuration.
pub const DEFAULT_PATH: &str = "/etc/wyng/wyng.toml";
/// Maximum size of the file, bytes. A larger file is a mistake, or an attempt to exhaust memory.
const FILE_MAX_BYTES: usize = 1 << 20;

/// The content of the file, checked: each volume that a profile names is configured.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    /// Archives by their names on this machine.
    pub archives: BTreeMap<String, Archive>,
    /// Absolute paths of disk images and block devices by the names of their volumes.
    pub volumes: BTreeMap<String, PathBuf>,
    /// Profiles by name.
    pub profiles: BTreeMap<String, Profile>,
    /// How other qubes are reached.
    pub qubes: Qubes,
    /// Settings of far ends of every kind.
    pub far_ends: FarEnds,
    /// Files for monitoring systems.
    pub monitor: Monitor,
}

/// Why the configuration could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{path} cannot be read: {error}")]
    Unreadable {
        /// The path of the file.
        path: PathBuf,
        /// The cause.
        error: io::Error,
    },
    /// The file has mistakes.
    #[error("{}", all_of(path, mistakes))]
    Wrong {
        /// The path of the file.
        path: PathBuf,
        /// All mistakes in it, in the order of their lines; never empty.
        mistakes: Vec<Mistake>,
    },
}

fn all_of(path: &Path, mistakes: &[Mistake]) -> String {
    let lines: Vec<String> = mistakes
        .iter()
        .map(|Mistake { line, what, .. }| format!("{}:{line}: {what}", path.display()))
        .collect();
    lines.join("; ")
}

impl Config {
    /// Reads and checks a file of at most 1 MiB.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let unreadable = |error| ConfigError::Unreadable {
            path: path.to_owned(),
            error,
        };
        let bytes = std::fs::read(path).map_err(unreadable)?;
        if bytes.len() > FILE_MAX_BYTES {
            return Err(unreadable(io::Error::other("it is larger than 1 MiB")));
        }
        let text = String::from_utf8(bytes)
            .map_err(|_| unreadable(io::Error::other("it is not UTF-8")))?;
        Self::parse(&text).map_err(|found| ConfigError::Wrong {
            path: path.to_owned(),
            mistakes: found.in_lines_of(&text),
        })
    }

    /// The same as [`read`](Self::read); a missing file is an empty configuration.
    pub fn read_if_there(path: &Path) -> Result<Self, ConfigError> {
        match Self::read(path) {
            Err(ConfigError::Unreadable { error, .. })
                if error.kind() == io::ErrorKind::NotFound =>
            {
                Ok(Self::default())
            }
            read => read,
        }
    }

    /// The rules of a prune of this archive, as a profile of it has them.
    pub fn prune_rules(&self, archive: &str, profile: Option<&Profile>) -> PruneRules {
        let archive = self.archives.get(archive);
        let mut of_volumes: BTreeMap<String, _> = BTreeMap::new();
        if let Some(profile) = profile.filter(|profile| !profile.keep.is_empty()) {
            let volumes = profile.volumes.iter().cloned();
            of_volumes.extend(volumes.map(|volume| (volume, profile.keep.clone())));
        }
        if let Some(archive) = archive {
            of_volumes.extend(archive.keep_volumes.clone());
        }
        PruneRules {
            keep: archive
                .map(|archive| archive.keep.clone())
                .unwrap_or_default(),
            of_volumes: of_volumes.into_iter().collect(),
            minimum_age_secs: archive.map_or(0, |archive| archive.minimum_age_secs),
        }
    }

    fn parse(text: &str) -> Result<Self, Found> {
        let mut found = Found::default();
        let document = written::parse(text, &mut found);
        let mut config = Self::default();
        let mut paths: BTreeMap<PathBuf, String> = BTreeMap::new();
        // A profile may name a volume that has a mistake, so the names count before they are
        // checked.
        let names: BTreeSet<String> = document
            .volumes
            .iter()
            .map(|(name, _)| name.as_ref().clone())
            .collect();
        for (name, archive) in document.archives {
            found.check(check_word(&name));
            config
                .archives
                .insert(name.into_inner(), archive.check(&mut found));
        }
        for (name, path) in document.volumes {
            found.check(check_volume_name(&name).and_then(|()| check_not_of_dom0(&name)));
            let Some(absolute) = found.check(volume_path(&path)) else {
                continue;
            };
            if let Some(other) = paths.insert(absolute.clone(), name.as_ref().clone()) {
                let what = format!(
                    "volumes {other:?} and {:?} are the same path",
                    name.as_ref()
                );
                found.note(
                    &path,
                    what,
                    "Give each path one name; several profiles may use it.",
                );
            }
            config.volumes.insert(name.into_inner(), absolute);
        }
        for (name, profile) in document.profiles {
            found.check(check_word(&name));
            if let Some(profile) = profile.check(&name, &names, &mut found) {
                let has_rules = |archive| !config.prune_rules(archive, Some(&profile)).is_empty();
                if profile.prune_after_backup
                    && !profile.archives.iter().map(String::as_str).all(has_rules)
                {
                    let what = format!(
                        "profile {:?} prunes after its backup, and no rule says what to keep",
                        name.as_ref()
                    );
                    found.note(&name, what, "Add [archives.NAME.keep], as in wyng.toml(5).");
                }
                config.profiles.insert(name.into_inner(), profile);
            }
        }
        config.qubes = document.qubes.check(&mut found);
        config.far_ends = document.far_ends.check(&mut found);
        config.monitor = document.monitor.check(&mut found);
        if found.is_empty() {
            Ok(config)
        } else {
            Err(found)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistake_of(text: &str) -> (usize, String, String) {
        let folder =
            std::env::temp_dir().join(format!("wyng-config-{}-{:p}", std::process::id(), text));
        std::fs::write(&folder, text).unwrap();
        let read = Config::read(&folder);
        std::fs::remove_file(&folder).unwrap();
        match read {
            Err(ConfigError::Wrong { mistakes, .. }) => match &*mistakes {
                [Mistake { line, what, remedy }] => (*line, what.clone(), remedy.clone()),
                several => panic!("{several:?}"),
            },
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_empty_file_says_nothing() {
        assert_eq!(Config::parse("").ok(), Some(Config::default()));
        assert_eq!(
            Config::read_if_there(Path::new("/nonexistent/wyng.toml")).unwrap(),
            Config::default()
        );
        assert!(Config::read(Path::new("/nonexistent/wyng.toml")).is_err());
    }

    #[test]
    fn every_mistake_is_named_with_its_line_and_a_remedy() {
        let mistakes = [
            ("[archives.home]\nstore = \"/mnt/disk\"\n", 2, "is no store"),
            (
                "[archives.home]\nstore = \"webdavs://ann:hush@host/x\"\n",
                2,
                "holds a password",
            ),
            (
                "[archives.home]\nstore = \"s3://b\"\ncredentials = \"file\"\n",
                3,
                "is no absolute path",
            ),
            (
                "[archives.home]\nstore = \"s3://b\"\ncredentials = { push = \"/p\", prune = \"x\" }\n",
                3,
                "is no absolute path",
            ),
            (
                "[archives.home]\nstore = \"webdavs://host/x\"\ncredentials = \"/c\"\nsigned = true\n",
                4,
                "cannot be signed",
            ),
            (
                "[archives.home]\nstore = \"s3://b\"\nsigned = true\ncredentials = \"vm:nas\"\n",
                3,
                "no credentials with which it could sign",
            ),
            (
                "[archives.home]\nstore = \"s3://b\"\nsigned = true\n",
                3,
                "no credentials with which it could sign",
            ),
            (
                "[archives.home]\nstore = \"dir:/mnt\"\nvia = \"ssh:\"\n",
                3,
                "is no far end",
            ),
            (
                "[archives.home]\n\nstor = \"dir:/mnt\"\n",
                3,
                "unknown field `stor`",
            ),
            (
                "[archives.home]\nvia = \"local\"\n",
                1,
                "missing field `store`",
            ),
            (
                "[volumes]\nwork = \"images/work\"\n",
                2,
                "is no absolute path",
            ),
            (
                "[volumes]\nwork = \"zfs:tank\"\n",
                2,
                "does not name a ZFS volume",
            ),
            ("[volumes]\n\"a/b\" = \"/x\"\n", 2, "is no name"),
            ("[volumes]\n\"dom0:files\" = \"/x\"\n", 2, "is reserved"),
            ("[volumes]\nwork = 7\n", 2, "invalid type: integer"),
            (
                "[volumes]\na = \"/x\"\n[profiles.p]\narchive = \"home\"\nvolumes = [\n  \"a\",\n  \"b\",\n]\n",
                7,
                "there is no volume \"b\"",
            ),
            (
                "[volumes]\na = \"/x\"\n[profiles.p]\narchive = \"home\"\nverify_budget = \"much\"\n",
                5,
                "no unit of size",
            ),
            (
                "[volumes]\na = \"/x\"\n[profiles.p]\narchive = \"home\"\nbackup_overdue = \"3\"\n",
                5,
                "needs a unit",
            ),
            (
                "[volumes]\na = \"/x\"\n[profiles.p]\narchive = \"-x\"\n",
                4,
                "is no name",
            ),
            (
                "[archives.\"a b\"]\nstore = \"dir:/mnt\"\n",
                1,
                "is no name",
            ),
            (
                "[archives.home]\nstore = \"dir:/mnt\"\n[archives.home.warn]\nbackup = \"2\"\n",
                4,
                "needs a unit",
            ),
            ("[profiles.p]\nlive = true\n", 1, "missing field `archive`"),
            (
                "[archives.home]\nstore = \"dir:/mnt\"\nvia = \"qrexec:dom0\"\n",
                3,
                "is no far end",
            ),
            (
                "[qubes]\nqubesd_socket = \"qubesd.sock\"\n",
                2,
                "is no absolute path",
            ),
            ("[qubes]\n\nstart_timeout = \"60\"\n", 3, "needs a unit"),
            (
                "[far_ends]\nlimit_up = \"1K\"\n",
                2,
                "a second is too little",
            ),
            (
                "[far_ends]\nlimit_hours = \"8-18\"\n",
                2,
                "is no part of a day",
            ),
            (
                "[far_ends]\nstall_timeout = \"0s\"\n",
                2,
                "is out of bounds",
            ),
            (
                "[monitor]\nstatus_file = \"status.json\"\n",
                2,
                "is no absolute path",
            ),
            (
                "[monitor]\ntextfile = \"/var/lib/wyng.txt\"\n",
                2,
                "does not end with .prom",
            ),
            (
                "[monitor]\nstatus_file = \"/x.prom\"\ntextfile = \"/x.prom\"\n",
                3,
                "is the status file too",
            ),
            ("[qubes]\nadmin = \"domU\"\n", 2, "is no admin domain"),
            (
                "[qubes]\nqrexec = \"/usr/bin/qrexec-client\"\n",
                2,
                "unknown field `qrexec`",
            ),
            ("[volumes]\n\nwork = \n", 3, ""),
            ("[volumes]\na = \"/x\"\na = \"/y\"\n", 3, "duplicate key"),
        ];
        for (text, line, what) in mistakes {
            let (found_line, found, remedy) = mistake_of(text);
            assert_eq!(found_line, line, "{text}: {found}");
            assert!(
                found.contains(what) && !found.contains('\n'),
                "{text}: {found}"
            );
            assert!(remedy.ends_with('.'), "{text}: {remedy}");
        }
    }

    #[test]
    fn all_mistakes_are_found_at_once_and_none_is_made_of_another() {
        let text = r#"[archives.home]
store = 7
vai = "local"
[archives."a b"]
store = "mnt"
[volumes]
work = "relative"
vault = "/x"
twin = "/x"
[profiles.p]
archive = "home"
volumes = ["work", "vault", "vault", "lost"]
verify_budget = "0"
backup_overdue = "soon"
often = true
[profiles.q]
archive = "home"
volumes = []
[qubes]
admin = "domU"
start_timeout = "0s"
[far_end]
stall_timeout = "1s"
"#;
        let found = Config::parse(text).err().unwrap().in_lines_of(text);
        let reported: Vec<String> = found
            .iter()
            .map(|Mistake { line, what, .. }| {
                format!("{line} {}", what.split([',', ':']).next().unwrap())
            })
            .collect();
        let expected = [
            "2 invalid type",
            "3 unknown field `vai`",
            "4 \"a b\" is no name",
            "5 \"mnt\" is no store",
            "7 \"relative\" is no absolute path",
            "9 volumes \"vault\" and \"twin\" are the same path",
            "12 volume \"vault\" is listed twice",
            "12 there is no volume \"lost\"",
            "13 \"0\" is nothing",
            "14 \"soon\" needs a unit",
            "15 unknown field `often`",
            "16 profile \"q\" has no volume",
            "20 \"domU\" is no admin domain",
            "21 \"0s\" is out of bounds",
            "22 unknown table `far_end`",
        ];
        assert_eq!(reported, expected);
    }

    #[test]
    fn several_mistakes_of_the_language_are_found_at_once() {
        let text = "[volumes]\na = \nb = \"/x\"\nc = /y\n";
        let lines: Vec<usize> = Config::parse(text)
            .err()
            .unwrap()
            .in_lines_of(text)
            .iter()
            .map(|mistake| mistake.line)
            .collect();
        assert_eq!(lines, [2, 4]);
    }

    #[test]
    fn a_zfs_volume_is_the_path_of_its_device() {
        let text = "[volumes]\na = \"zfs:tank/vm/a\"\n";
        let config = Config::parse(text).unwrap_or_else(|_| panic!("it is right"));
        assert_eq!(config.volumes["a"], PathBuf::from("/dev/zvol/tank/vm/a"));
        let twice = "[volumes]\na = \"zfs:tank/vm/a\"\nb = \"/dev/zvol/tank/vm/a\"\n";
        assert!(Config::parse(twice).is_err(), "it is one volume");
    }

    #[test]
    fn the_rules_of_a_profile_are_those_of_its_volumes_alone() {
        let config = Config::parse(
            "[archives.home]\nstore = \"dir:/mnt\"\n[archives.home.keep_volumes.c]\nlast = 9\n\
             [volumes]\na = \"/x\"\nb = \"/y\"\nc = \"/z\"\n\
             [profiles.hourly]\narchive = \"home\"\nvolumes = [\"a\", \"c\"]\n\
             [profiles.hourly.keep]\nlast = 24\n",
        )
        .unwrap();
        let rules = config.prune_rules("home", config.profiles.get("hourly"));
        let last = |keep: &wyng_control::KeepRules| keep.last;
        let of_volumes: Vec<(&str, u32)> = rules
            .of_volumes
            .iter()
            .map(|(name, keep)| (name.as_str(), last(keep)))
            .collect();
        assert_eq!(
            (last(&rules.keep), of_volumes),
            (0, vec![("a", 24), ("c", 9)])
        );
    }

    #[test]
    fn a_profile_has_one_archive_or_several() {
        let archives = |written: &str| {
            let text = format!("[volumes]\na = \"/x\"\n[profiles.p]\narchive = {written}\n");
            Config::parse(&text).map(|config| config.profiles["p"].archives.clone())
        };
        assert_eq!(archives("\"home\"").unwrap(), ["home"]);
        assert_eq!(
            archives("[\"usb\", \"home\"]").unwrap(),
            ["usb", "home"],
            "in the order in which they are written"
        );
        for wrong in ["[]", "[\"a\", \"a\"]", "[\"-x\"]", "3", "[3]"] {
            assert!(archives(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_profile_has_qubes_beside_its_volumes_or_alone() {
        let profile = |written: &str| {
            let text = format!("[profiles.p]\narchive = \"home\"\n{written}\n");
            Config::parse(&text).map(|config| config.profiles["p"].clone())
        };
        let found = profile("qubes = [\"@all\", \"work\"]\nexclude = [\"@tag:x\"]").unwrap();
        assert!(found.volumes.is_empty() && found.qubes.asks_for_all());
        assert_eq!(found.qubes.exclude, ["@tag:x"]);
        for wrong in [
            "qubes = []",
            "qubes = [\"a b\"]",
            "qubes = [\"work\", \"work\"]",
            "qubes = [\"work\"]\nexclude = [\"@all\"]",
            "qubes = [\"@all\"]\nexclude = [\"@any:x\"]",
        ] {
            assert!(profile(wrong).is_err(), "{wrong}");
        }
        let text =
            "[volumes]\na = \"/x\"\n[profiles.p]\narchive = \"home\"\nexclude = [\"work\"]\n";
        assert!(
            Config::parse(text).is_err(),
            "what is taken of which they are left out?"
        );
    }

    #[test]
    fn a_profile_without_volumes_has_all() {
        let config =
            Config::parse("[volumes]\na = \"/x\"\nb = \"/y\"\n[profiles.p]\narchive = \"home\"\n")
                .ok()
                .unwrap();
        let profile = &config.profiles["p"];
        assert_eq!(profile.volumes, ["a", "b"]);
        assert_eq!(
            (profile.backup_overdue_secs, profile.verify_overdue_secs),
            (259_200, None)
        );
    }
}
