// SPDX-License-Identifier: GPL-3.0-or-later
//! The sources of a backup: naming their volumes, opening them, and keeping their base snapshots,
//! all with the caller's rights.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use wyng_control::{BackupSource, BaseLabel, BaseOf, FoundSource, NoSource};
use wyng_origin::Machine;
use wyng_snapshot::Folder;

use crate::dom0;
use crate::message::Message;

/// A source on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    /// The volume's name.
    pub(crate) volume: String,
    /// The source's path.
    pub(crate) path: PathBuf,
    /// The user wrote NAME=PATH.
    named: bool,
    /// It is a volume of the configuration, which the daemon opens.
    configured: bool,
}

impl Source {
    /// The volume of dom0's files, which has no path.
    pub(crate) fn of_dom0() -> Self {
        Self {
            volume: dom0::VOLUME.to_owned(),
            path: PathBuf::from(dom0::PATH),
            named: true,
            configured: false,
        }
    }

    /// The source as the command names it to the daemon.
    pub(crate) fn for_daemon(&self) -> BackupSource {
        BackupSource {
            volume: self.volume.clone(),
            named: self.named,
            configured: self.configured,
        }
    }
}

/// Parses `PATH`, `NAME=PATH` or the name of a configured volume. The volume of a path has the name
/// of its last component. `zfs:POOL/DATASET` stands for the path of a ZFS volume. A path that contains `=`, or equals the name of a configured volume, must
/// begin with `./` or `/`.
pub(crate) fn parse(
    sources: &[OsString],
    configured: &BTreeMap<String, PathBuf>,
) -> Result<Vec<Source>, Message> {
    let parsed = sources
        .iter()
        .map(|source| find(source, configured))
        .collect::<Result<Vec<_>, _>>()?;
    for (place, source) in parsed.iter().enumerate() {
        if parsed
            .iter()
            .take(place)
            .any(|earlier| earlier.volume == source.volume)
        {
            let text = format!("two sources would both be volume {:?}", source.volume);
            return Err(Message::usage(
                text,
                "Give one of them another name: NAME=PATH.",
            ));
        }
    }
    Ok(parsed)
}

fn find(source: &OsStr, configured: &BTreeMap<String, PathBuf>) -> Result<Source, Message> {
    match source
        .to_str()
        .and_then(|name| configured.get_key_value(name))
    {
        Some((name, path)) => Ok(Source {
            volume: name.clone(),
            path: path.clone(),
            named: true,
            configured: true,
        }),
        None => parse_one(source),
    }
}

fn parse_one(source: &OsStr) -> Result<Source, Message> {
    let give_name = "Give the volume a name: NAME=PATH.";
    let bytes = source.as_bytes();
    let equals = bytes
        .iter()
        .position(|byte| *byte == b'=')
        .filter(|place| !bytes.iter().take(*place).any(|byte| *byte == b'/'));
    let (name, path) = match equals {
        Some(place) => {
            let (name, path) = bytes.split_at(place);
            (
                Some(OsStr::from_bytes(name)),
                Path::new(OsStr::from_bytes(path.get(1..).unwrap_or_default())),
            )
        }
        None => (None, Path::new(source)),
    };
    let named = name.is_some();
    let path = crate::pool::path_of(path)?;
    let name = name
        .or_else(|| path.file_name())
        .ok_or_else(|| Message::usage(format!("{source:?} does not name a file"), give_name))?;
    let volume = name
        .to_str()
        .ok_or_else(|| Message::usage(format!("{name:?} is not UTF-8"), give_name))?;
    if path.as_os_str().is_empty() || volume.is_empty() {
        return Err(Message::usage(
            format!("{source:?} is neither PATH nor NAME=PATH"),
            give_name,
        ));
    }
    if volume.starts_with(dom0::OF_DOM0) {
        return Err(Message::usage(
            format!("{volume:?} is a volume of dom0's own files, and no path"),
            "Give the volume another name, NAME=PATH; or back up dom0's files with --dom0.",
        ));
    }
    Ok(Source {
        volume: volume.to_owned(),
        path,
        named,
        configured: false,
    })
}

/// An opened source.
pub(crate) struct Opened {
    /// The source; if it can be cloned, a new file for the clone and the same file for reading; and
    /// the base snapshot.
    pub(crate) descriptors: Vec<OwnedFd>,
    /// The source can be cloned.
    pub(crate) clones: bool,
    /// The label of its base snapshot.
    pub(crate) base: Option<BaseLabel>,
    /// The source's place.
    pub(crate) found: FoundSource,
}

/// The clones of sources, which get their names once their sessions are committed.
#[derive(Default)]
pub(crate) struct Clones(HashMap<u32, (Folder, OwnedFd, BaseOf)>);

impl Clones {
    /// Opens a source for reading, and the files for a clone if its file system supports clones.
    /// `path` is absolute.
    pub(crate) fn open(
        &mut self,
        item: u32,
        path: &Path,
        base_of: &BaseOf,
    ) -> Result<Opened, NoSource> {
        let source = wyng_origin::open(path)?;
        let mut found = Machine::open().look(path, source.as_fd());
        let prepared = Folder::of(source.as_fd()).and_then(|folder| {
            let fresh = folder.fresh().ok()?;
            let kept = rustix::io::fcntl_dupfd_cloexec(&fresh.file, 0).ok()?;
            Some((folder, fresh, kept))
        });
        let Some((folder, fresh, kept)) = prepared else {
            return Ok(Opened {
                descriptors: vec![source],
                clones: false,
                base: None,
                found,
            });
        };
        found.snapshots = folder
            .path()
            .map(|path| path.as_os_str().as_bytes().to_vec());
        let (label, base) = folder.base(base_of).unzip();
        // Where there are too many descriptors, one clone is let go: its volume keeps the base
        // snapshot that it has. A clone takes two here and four in the daemon, which therefore lets
        // go first where both have the same limit.
        if self.0.len() >= wyng_snapshot::held_max().saturating_mul(2)
            && let Some(let_go) = self.0.keys().next().copied()
        {
            self.0.remove(&let_go);
        }
        self.0.insert(item, (folder, kept, *base_of));
        let descriptors = [source, fresh.file, fresh.reads]
            .into_iter()
            .chain(base)
            .collect();
        Ok(Opened {
            descriptors,
            clones: true,
            base: label,
            found,
        })
    }

    /// Makes a clone the base snapshot.
    pub(crate) fn keep(&mut self, item: u32, label: &BaseLabel) -> Result<(), Errno> {
        let (folder, file, _) = self.0.remove(&item).ok_or(Errno::BADF)?;
        folder.keep(file.as_fd(), label)
    }

    /// Removes the base snapshot of a source, which does not match its label.
    pub(crate) fn drop_base(&self, item: u32) -> Option<Result<(), Errno>> {
        self.0
            .get(&item)
            .map(|(folder, _, base_of)| folder.drop_base(base_of))
    }

    /// Drops a clone that is not needed. Without a name it vanishes.
    pub(crate) fn forget(&mut self, item: u32) {
        self.0.remove(&item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(source: &str) -> (String, PathBuf) {
        let source = parse_one(OsStr::new(source)).unwrap();
        (source.volume, source.path)
    }

    #[test]
    fn a_path_is_called_by_its_last_component() {
        assert_eq!(
            one("/var/lib/vm.img"),
            ("vm.img".into(), "/var/lib/vm.img".into())
        );
        assert_eq!(one("home=/dev/x/y"), ("home".into(), "/dev/x/y".into()));
        assert_eq!(one("./a=b"), ("a=b".into(), "./a=b".into()));
        let zvol = "/dev/zvol/tank/a/b";
        assert_eq!(one("zfs:tank/a/b"), ("b".into(), zvol.into()));
        assert_eq!(one("home=zfs:tank/a/b"), ("home".into(), zvol.into()));
    }

    #[test]
    fn two_sources_cannot_be_one_volume() {
        let parse = |sources: &[&str]| {
            let sources: Vec<OsString> = sources.iter().map(OsString::from).collect();
            parse(
                &sources,
                &BTreeMap::from([("x".to_owned(), PathBuf::from("/configured"))]),
            )
        };
        assert!(parse(&["/a/x", "/b/x"]).is_err());
        assert!(parse(&["/a/x", "y=/b/x"]).is_ok());
        assert!(parse(&["/"]).is_err());
        assert!(parse(&["=x"]).is_err());
        assert!(parse(&["dom0:files=/x"]).is_err());
        assert!(parse(&["./dom0:settings"]).is_err());
        assert!(parse(&["x", "./x"]).is_err());
        let [configured, file] = parse(&["x", "y=./x"]).unwrap().try_into().unwrap();
        assert!(configured.configured && configured.path == Path::new("/configured"));
        assert!(!file.configured && file.path == Path::new("./x"));
    }
}
