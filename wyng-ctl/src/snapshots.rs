// SPDX-License-Identifier: GPL-3.0-or-later
//! Base snapshots on this machine: listing them, finding unused ones, and removing them. The daemon
//! reports which ones the archives use; wyng-ctl reads their folders with the caller's rights.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use wyng_config::Config;
use wyng_control::{
    BaseLabel, OwnName, ThinPool, ThinRemoval, ThinVolume, ThinWaste, ToClient, VolumePlace, ZVOLS,
};
use wyng_origin::Machine;
use wyng_snapshot::{Folder, Kept};

use crate::cli::Options;
use crate::message::Message;
use crate::report::{Report, SnapshotLine};
use crate::thin::{self, Thin};

/// File systems whose files can be cloned.
const CLONING: [&str; 2] = ["btrfs", "xfs"];

/// What the daemon reports of its archives.
#[derive(Debug, Default)]
pub(crate) struct Snapshots {
    archives: Vec<Archive>,
}

#[derive(Debug)]
struct Archive {
    name: String,
    id: [u8; 16],
    /// All of its volumes are known.
    complete: bool,
    volumes: Vec<VolumePlace>,
}

/// Which base snapshots a command is about.
#[derive(Debug, Clone, Copy)]
pub(crate) enum About<'a> {
    /// All, or those of one archive.
    Shown(Option<&'a str>),
    /// Those that are unused.
    LeftOver,
    /// All of one archive, used or not.
    Archive(&'a str),
}

/// The places to search for base snapshots. Those of known archives are found in all of them.
#[derive(Clone, Copy)]
pub(crate) struct Where<'a> {
    /// The configuration: its volumes are searched beside those that the daemon remembers.
    pub(crate) config: &'a Config,
    /// Also finds those of unknown archives at the top of every mounted file system that can hold
    /// base snapshots; another user or daemon may use them.
    pub(crate) everywhere: bool,
}

/// A folder with base snapshots.
struct Place {
    path: PathBuf,
    folder: Folder,
    /// Its snapshots belong to the caller even if their archive is not known. Where a volume lies
    /// may be another user's word, so the folder must belong to the caller, too.
    is_ours: bool,
}

/// A base snapshot in its folder.
struct Found<'a> {
    place: &'a Place,
    kept: Kept,
}

impl Snapshots {
    /// Takes one result. Volumes follow their archive.
    pub(crate) fn hear(&mut self, event: &ToClient) {
        match event {
            ToClient::SnapshotsOf {
                archive,
                id,
                complete,
            } => {
                self.archives.push(Archive {
                    name: archive.clone(),
                    id: *id,
                    complete: *complete,
                    volumes: Vec::new(),
                });
            }
            ToClient::SnapshotOf(place) => self
                .archives
                .last_mut()
                .into_iter()
                .for_each(|archive| archive.volumes.push(place.clone())),
            _ => {}
        }
    }

    /// Reports the base snapshots.
    pub(crate) fn show(&self, about: About<'_>, looked: Where<'_>, report: &mut Report) {
        let (places, closed) = self.places(looked);
        let found = found(&places);
        let lines = found
            .iter()
            .filter(|found| self.is_about(found, &places, about))
            .map(|found| self.line(found, &places));
        let lines: Vec<SnapshotLine> = lines
            .chain(
                closed
                    .into_iter()
                    .filter_map(|(path, _)| self.unreadable(&path, about)),
            )
            .collect();
        report.take_snapshots(lines);
    }

    /// Removes the base snapshots, and reports each. One that cannot be removed is an error.
    pub(crate) fn remove(&self, about: About<'_>, looked: Where<'_>, report: &mut Report) {
        let (places, closed) = self.places(looked);
        let mut lines = Vec::new();
        for found in found(&places)
            .iter()
            .filter(|found| self.is_about(found, &places, about))
        {
            match found.place.folder.remove(&found.kept) {
                Ok(()) | Err(Errno::NOENT) => lines.push(SnapshotLine {
                    removed: true,
                    ..self.line(found, &places)
                }),
                Err(errno) => {
                    let _ = report.fail(Message::of_snapshots_left(&found.place.path, errno));
                }
            }
        }
        for (path, errno) in closed {
            if self.unreadable(&path, about).is_some() {
                report.fail(Message::of_snapshots_left(&path, errno));
            }
        }
        report.take_snapshots(lines);
    }

    /// The folders that may hold base snapshots: remembered ones, those above volumes, and those at
    /// the top of a file system; and the remembered folders that cannot be opened.
    fn places(
        &self,
        Where { config, everywhere }: Where<'_>,
    ) -> (Vec<Place>, Vec<(PathBuf, Errno)>) {
        let remembered: Vec<PathBuf> = self
            .volumes()
            .filter_map(|(_, place)| place.folder.as_deref().map(path_of))
            .collect();
        let sources = self
            .volumes()
            .filter_map(|(_, place)| place.path.as_deref().map(path_of))
            .chain(config.volumes.values().cloned());
        let above = sources.filter_map(|path| {
            std::fs::canonicalize(path)
                .ok()?
                .parent()
                .map(Path::to_owned)
        });
        let above = above.flat_map(|folder| Folder::candidates(&folder).collect::<Vec<_>>());
        let tops = Machine::open()
            .mounted(&CLONING)
            .into_iter()
            .filter_map(|top| Folder::candidates(&top).next());
        let ours = remembered
            .iter()
            .cloned()
            .chain(above)
            .map(|path| (path, true));
        let (mut places, mut closed, mut tried) = (Vec::<Place>::new(), Vec::new(), HashSet::new());
        for (path, is_ours) in ours.chain(tops.map(|path| (path, everywhere))) {
            if !tried.insert(path.clone()) {
                continue;
            }
            match Folder::open(&path) {
                Ok(folder)
                    if places
                        .iter()
                        .all(|known| known.folder.identity() != folder.identity()) =>
                {
                    places.push(Place {
                        path,
                        is_ours: everywhere || (is_ours && folder.is_of_caller()),
                        folder,
                    });
                }
                Err(errno)
                    if remembered.contains(&path)
                        && !matches!(errno, Errno::NOENT | Errno::NOTDIR) =>
                {
                    closed.push((path, errno))
                }
                Ok(_) | Err(_) => {}
            }
        }
        (places, closed)
    }

    fn volumes(&self) -> impl Iterator<Item = (&Archive, &VolumePlace)> {
        self.archives
            .iter()
            .flat_map(|archive| archive.volumes.iter().map(move |place| (archive, place)))
    }

    fn archive_of(&self, label: &BaseLabel) -> Option<&Archive> {
        self.archives
            .iter()
            .find(|archive| archive.id == label.of.archive)
    }

    fn place_of(&self, label: &BaseLabel) -> Option<&VolumePlace> {
        self.archive_of(label)?
            .volumes
            .iter()
            .find(|place| place.id == Some(label.of.volume))
    }

    /// The ids of the archives that the daemon reported.
    pub(crate) fn archive_ids(&self) -> Vec<[u8; 16]> {
        self.archives.iter().map(|archive| archive.id).collect()
    }

    /// Reports the base snapshots in pools of LVM and ZFS.
    pub(crate) fn show_thin(
        &self,
        about: About<'_>,
        thin: &Thin,
        everywhere: bool,
        report: &mut Report,
    ) {
        let lines = self.thin_about(about, thin, everywhere);
        report.take_snapshots(lines.map(|volume| self.thin_line(volume, thin)).collect());
    }

    /// Has the daemon remove base snapshots from thin pools, and what killed runs left of the
    /// metadata of these pools; reports each. An unfinished one that a run uses stays, which is no
    /// error.
    pub(crate) fn remove_thin(
        &self,
        about: About<'_>,
        thin: &Thin,
        (everywhere, metadata): (bool, &[ThinPool]),
        options: &Options,
        report: &mut Report,
    ) {
        let volumes: Vec<&ThinVolume> = self.thin_about(about, thin, everywhere).collect();
        let left = metadata.iter().filter(|pool| pool.metadata_left);
        let waste: Vec<ThinWaste> = volumes
            .iter()
            .map(|volume| ThinWaste::Volume(volume.volume.clone()))
            .chain(
                left.clone()
                    .map(|pool| ThinWaste::MetadataOf(pool.pool.clone())),
            )
            .collect();
        let removals = match thin::remove(options, &waste) {
            Ok(removals) => removals,
            Err(message) => {
                report.fail(message);
                return;
            }
        };
        let removal = |name: String| removals.get(&name).copied().unwrap_or(ThinRemoval::Failed);
        let mut lines = Vec::new();
        for volume in volumes {
            let line = self.thin_line(volume, thin);
            match removal(volume.volume.to_string()) {
                ThinRemoval::Removed => lines.push(SnapshotLine {
                    removed: true,
                    ..line
                }),
                ThinRemoval::InUse if volume.label.is_none() => lines.push(line),
                kept => {
                    report.fail(Message::of_thin_left(&volume.volume.to_string(), kept));
                }
            }
        }
        for pool in left {
            match removal(pool.pool.to_string()) {
                ThinRemoval::Removed => {}
                kept => {
                    let what = format!("the metadata snapshot of {}", pool.pool);
                    report.fail(Message::of_thin_left(&what, kept));
                }
            }
        }
        report.take_snapshots(lines);
    }

    /// The volumes in thin pools that a command is about. An unfinished one belongs to a run that is
    /// at work, or was killed; what is kept of a qube is shown, and never removed by this command.
    fn thin_about<'a>(
        &'a self,
        about: About<'a>,
        thin: &'a Thin,
        everywhere: bool,
    ) -> impl Iterator<Item = &'a ThinVolume> {
        thin.volumes.iter().filter(move |volume| {
            let Some(label) = &volume.label else {
                return match about {
                    About::Shown(None) => true,
                    About::LeftOver => !volume.kept,
                    _ => false,
                };
            };
            let name = self.archive_of(label).map(|archive| archive.name.as_str());
            match about {
                _ if name.is_none() && !everywhere => false,
                About::Shown(None) => true,
                About::Shown(Some(only)) | About::Archive(only) => name == Some(only),
                About::LeftOver => self.thin_left_over(volume, thin).is_some(),
            }
        })
    }

    /// Why a volume in a thin pool is unused; `None` if it is used, or this is unknown.
    fn thin_left_over(&self, volume: &ThinVolume, thin: &Thin) -> Option<&'static str> {
        if volume.kept {
            return None;
        }
        let Some(label) = &volume.label else {
            return Some("unfinished: a run is at work, or was killed");
        };
        let Some(archive) = self.archive_of(label) else {
            return Some("its archive is not known here");
        };
        let Some(place) = self.place_of(label) else {
            return archive
                .complete
                .then_some("its volume is not in the archive");
        };
        if place
            .path
            .as_deref()
            .map(path_of)
            .as_ref()
            .is_some_and(is_gone)
        {
            return Some("its source is gone");
        }
        let is_newer = |other: &&ThinVolume| {
            other
                .label
                .is_some_and(|other| other.of == label.of && other.generation > label.generation)
        };
        let newer = thin.volumes.iter().find(is_newer);
        newer.map(|_| "there is a newer one")
    }

    fn thin_line(&self, volume: &ThinVolume, thin: &Thin) -> SnapshotLine {
        let label = volume.label.as_ref();
        let archive = label.and_then(|label| self.archive_of(label));
        let place = label.and_then(|label| self.place_of(label));
        SnapshotLine {
            archive: archive.map(|archive| archive.name.clone()),
            archive_id: label.map(|label| label.of.archive),
            volume: place.map(|place| place.volume.clone()),
            session: label.map(|label| label.session),
            folder: match &volume.volume {
                OwnName::Logical(name) => Path::new("/dev").join(&name.group),
                OwnName::Zfs(_) => PathBuf::from(ZVOLS),
            },
            logical_volume: Some(volume.volume.to_string()),
            mapped_bytes: volume.mapped_bytes,
            exclusive_bytes: volume.exclusive_bytes,
            left_over: self.thin_left_over(volume, thin),
            removed: false,
        }
    }

    fn is_about(&self, found: &Found<'_>, places: &[Place], about: About<'_>) -> bool {
        let name = self
            .archive_of(&found.kept.label)
            .map(|archive| archive.name.as_str());
        match about {
            _ if name.is_none() && !found.place.is_ours => false,
            About::Shown(None) => true,
            About::Shown(Some(only)) | About::Archive(only) => name == Some(only),
            About::LeftOver => self.left_over(found, places).is_some(),
        }
    }

    /// Why a snapshot is unused; `None` if it is used, or this is unknown.
    fn left_over(&self, found: &Found<'_>, places: &[Place]) -> Option<&'static str> {
        let Some(archive) = self.archive_of(&found.kept.label) else {
            return Some("its archive is not known here");
        };
        if !found.kept.is_sound {
            return Some("it was changed since it was made");
        }
        let Some(place) = self.place_of(&found.kept.label) else {
            return archive
                .complete
                .then_some("its volume is not in the archive");
        };
        let remembered = place.folder.as_deref().map(path_of);
        let remembered = places
            .iter()
            .find(|known| Some(&known.path) == remembered.as_ref());
        if remembered.is_some_and(|known| known.folder.identity() != found.place.folder.identity())
        {
            return Some("the volume's base snapshot lies elsewhere now");
        }
        let source = place.path.as_deref().map(path_of);
        if source.as_ref().is_some_and(is_gone) {
            return Some("its source is gone");
        }
        let siblings = found.place.folder.kept().unwrap_or_default();
        let newest = siblings
            .iter()
            .filter(|kept| kept.label.of == found.kept.label.of)
            .map(|kept| kept.label.generation)
            .max();
        (newest > Some(found.kept.label.generation)).then_some("there is a newer one")
    }

    fn line(&self, found: &Found<'_>, places: &[Place]) -> SnapshotLine {
        SnapshotLine {
            archive: self
                .archive_of(&found.kept.label)
                .map(|archive| archive.name.clone()),
            archive_id: Some(found.kept.label.of.archive),
            volume: self
                .place_of(&found.kept.label)
                .map(|place| place.volume.clone()),
            session: Some(found.kept.label.session),
            folder: found.place.path.clone(),
            logical_volume: None,
            mapped_bytes: None,
            exclusive_bytes: None,
            left_over: self.left_over(found, places),
            removed: false,
        }
    }

    /// A remembered folder that the caller may not read, if the command is about its snapshot.
    fn unreadable(&self, folder: &Path, about: About<'_>) -> Option<SnapshotLine> {
        let is_asked = |archive: &Archive| match about {
            About::Shown(None) => true,
            About::Shown(Some(only)) | About::Archive(only) => archive.name == only,
            About::LeftOver => false,
        };
        let lies_there =
            |place: &VolumePlace| place.folder.as_deref().map(path_of).as_deref() == Some(folder);
        let (archive, place) = self
            .volumes()
            .find(|(archive, place)| is_asked(archive) && lies_there(place))?;
        Some(SnapshotLine {
            archive: Some(archive.name.clone()),
            archive_id: Some(archive.id),
            volume: Some(place.volume.clone()),
            session: None,
            folder: folder.to_owned(),
            logical_volume: None,
            mapped_bytes: None,
            exclusive_bytes: None,
            left_over: None,
            removed: false,
        })
    }
}

fn found(places: &[Place]) -> Vec<Found<'_>> {
    let kept_in = |place: &Place| place.folder.kept().unwrap_or_default();
    places
        .iter()
        .flat_map(|place| {
            kept_in(place)
                .into_iter()
                .map(move |kept| Found { place, kept })
        })
        .collect()
}

fn is_gone(path: &PathBuf) -> bool {
    std::fs::symlink_metadata(path).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
}

fn path_of(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(bytes))
}
