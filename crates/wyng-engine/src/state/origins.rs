// SPDX-License-Identifier: GPL-3.0-or-later
//! Where each volume was backed up from on this machine, so that another disk of the same file
//! name, or another device at the same place, is not mistaken for a known volume; and where its
//! base snapshot lies. Origins stay on this machine: the archive contains no path.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use wyng_archive::format::{VolumeEntry, VolumeId};
use wyng_control::{
    BackupSource, Failure, FoundSource, Origin, QubePart, VolumePlace, is_qube_origin,
    path_of_text, path_text, qube_origin,
};

use super::{ArchiveFolder, to_hex};
use crate::world::Files;

const FILE: &str = "origins.toml";
/// Maximum number of former names that are remembered for a volume; older ones are forgotten.
const FORMER_NAMES_MAX: usize = 8;

/// The origins of volumes, by the volumes' names.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Origins {
    known: BTreeMap<String, Known>,
    /// Whether something is not written yet.
    changed: bool,
}

/// An [`Origin`] and the folder of the base snapshot as in [`FoundSource`], with paths as text from
/// which their bytes can be recovered; and the user who named it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Known {
    path: String,
    /// Absent in files that were written before this field existed: then the path had no link.
    #[serde(default)]
    leads_to: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    device_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    marks: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    snapshots: Option<String>,
    /// The volume's id, hexadecimal: the origin follows a volume that is renamed.
    volume: String,
    /// Names that the volume had before, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    former_names: Vec<String>,
    uid: u32,
}

/// How a source was named for this command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// By its path alone, or by the path that was remembered.
    Path,
    /// As NAME=PATH: the person says that PATH is that volume now.
    NamedPath,
    /// By a name of the configuration, which says where the volume is.
    Configured,
}

impl Said {
    /// How this source was named.
    pub fn of(source: &BackupSource) -> Self {
        match (source.configured, source.named) {
            (true, _) => Self::Configured,
            (false, true) => Self::NamedPath,
            (false, false) => Self::Path,
        }
    }
}

impl Origins {
    /// Reads the origins; a machine that has not backed up yet has none.
    pub fn read(files: &mut impl Files, folder: &ArchiveFolder) -> Result<Self, Failure> {
        let Some(bytes) = files.read(&folder.file(FILE))? else {
            return Ok(Self::default());
        };
        let damaged = || Failure::StateDamaged {
            file: folder.file(FILE),
            what: "it is not what was written".into(),
        };
        let text = std::str::from_utf8(&bytes).map_err(|_| damaged())?;
        let known: BTreeMap<String, Known> = toml::from_str(text).map_err(|_| damaged())?;
        if known.values().any(|known| known.origin().is_none()) {
            return Err(damaged());
        }
        Ok(Self {
            known,
            changed: false,
        })
    }

    /// Reads the origins, under the names that these volumes have now.
    pub fn read_following(
        files: &mut impl Files,
        folder: &ArchiveFolder,
        volumes: &[(u64, VolumeEntry)],
    ) -> Result<Self, Failure> {
        let mut origins = Self::read(files, folder)?;
        origins.follow(volumes);
        Ok(origins)
    }

    /// Gives each origin the name that its volume has in the volume table. An origin of a volume
    /// that is not in the table keeps its name, unless another volume has it.
    pub fn follow(&mut self, volumes: &[(u64, VolumeEntry)]) {
        let now_called: BTreeMap<String, &str> = volumes
            .iter()
            .map(|(_, volume)| (to_hex(&volume.id.0), volume.name.as_str()))
            .collect();
        let is_renamed = |(name, known): (&String, &Known)| {
            now_called
                .get(&known.volume)
                .is_some_and(|now| *now != name.as_str())
        };
        if !self.known.iter().any(is_renamed) {
            return;
        }
        self.changed = true;
        let (in_table, others): (Vec<_>, Vec<_>) = std::mem::take(&mut self.known)
            .into_iter()
            .partition(|(_, known)| now_called.contains_key(&known.volume));
        for (name, mut known) in in_table {
            let Some(now) = now_called.get(&known.volume) else {
                continue;
            };
            known
                .former_names
                .retain(|former| former != now && *former != name);
            if name != *now {
                known.former_names.push(name);
            }
            let forgotten = known.former_names.len().saturating_sub(FORMER_NAMES_MAX);
            known.former_names.drain(..forgotten);
            self.known.insert((*now).to_owned(), known);
        }
        for (name, known) in others {
            self.known.entry(name).or_insert(known);
        }
    }

    /// Refuses a source that is not the volume backed up under that name before. A path that is
    /// given alone must be the known path, or lead to the same file or device
    /// ([`Failure::VolumeOfOtherPath`]); and the known path must lead to the same file or device as
    /// before ([`Failure::VolumeElsewhere`]). A name that is not known must not be the former name
    /// of a volume that this source is ([`Failure::VolumeRenamed`]): otherwise a configuration that
    /// still has that name would begin a new volume and send everything again.
    pub fn check(&self, volume: &str, found: &Origin, said: Said) -> Result<(), Failure> {
        let known = self.known.get(volume).and_then(Known::origin);
        let is_part = |origin: &Origin| is_qube_origin(&origin.path);
        // No path is a part of a qube, whoever says so.
        if known.as_ref().is_some_and(is_part) || is_part(found) {
            return Err(Failure::VolumeOfOtherPath {
                volume: volume.to_owned(),
                path: path_text(&found.path),
                // Not everybody is to learn a qube's uuid.
                known: "a qube".to_owned(),
            });
        }
        if said == Said::NamedPath {
            return Ok(());
        }
        let Some(known) = known else {
            return match self.renamed(volume, found) {
                Some(now) => Err(Failure::VolumeRenamed {
                    volume: volume.to_owned(),
                    path: path_text(&found.path),
                    now: now.to_owned(),
                }),
                None => Ok(()),
            };
        };
        if known.leads_to_the_same_as(found) {
            return Ok(());
        }
        if known.path == found.path {
            return Err(Failure::VolumeElsewhere {
                volume: volume.to_owned(),
                path: path_text(&found.path),
                was: known.shown(),
                now: found.shown(),
            });
        }
        match said {
            Said::Configured => Ok(()),
            _ => Err(Failure::VolumeOfOtherPath {
                volume: volume.to_owned(),
                path: path_text(&found.path),
                known: path_text(&known.path),
            }),
        }
    }

    /// Removes the origin of a volume that left the archive.
    pub fn forget(&mut self, volume: &str) {
        self.changed |= self.known.remove(volume).is_some();
    }

    /// Whether the volume that is called `now` was called `former` before.
    pub fn was_called(&self, now: &str, former: &str) -> bool {
        self.known
            .get(now)
            .is_some_and(|known| known.former_names.iter().any(|name| name == former))
    }

    /// The present name of the volume that had this name, if `found` is that volume's source.
    fn renamed(&self, former: &str, found: &Origin) -> Option<&str> {
        let is_it = |known: &Known| {
            known.former_names.iter().any(|name| name == former)
                && known
                    .origin()
                    .is_some_and(|origin| origin.leads_to_the_same_as(found))
        };
        self.known
            .iter()
            .find(|(_, known)| is_it(known))
            .map(|(name, _)| name.as_str())
    }

    /// From now on this source is the volume's origin, as the user `uid` named it.
    pub fn set(&mut self, volume: &str, id: VolumeId, found: &FoundSource, uid: u32) {
        let FoundSource {
            origin:
                Origin {
                    path,
                    leads_to,
                    device_bytes,
                    marks,
                },
            snapshots,
            ..
        } = found;
        // The name now stands for this volume, and no longer for a volume that had it before.
        for known in self.known.values_mut() {
            let before = known.former_names.len();
            known.former_names.retain(|former| former != volume);
            self.changed |= known.former_names.len() != before;
        }
        let volume_id = to_hex(&id.0);
        self.take_from_others(volume, &volume_id);
        let former_names = self
            .known
            .get(volume)
            .filter(|known| known.volume == volume_id)
            .map(|known| known.former_names.clone())
            .unwrap_or_default();
        let known = Known {
            volume: volume_id,
            former_names,
            path: path_text(path),
            leads_to: path_text(leads_to),
            device_bytes: *device_bytes,
            marks: marks.clone(),
            snapshots: snapshots.as_deref().map(path_text),
            uid,
        };
        self.changed |= self.known.insert(volume.to_owned(), known.clone()) != Some(known);
    }

    /// From now on this part of a qube is the volume's origin. `uid` restored it.
    pub fn set_part(&mut self, volume: &VolumeEntry, uuid: &str, part: &QubePart, uid: u32) {
        let mut found = FoundSource::default();
        found.origin.path = qube_origin(uuid, part).into_bytes();
        found.origin.leads_to.clone_from(&found.origin.path);
        self.set(&volume.name, volume.id, &found, uid);
    }

    /// Moves what is known of a volume under another name to this one: the run renames it.
    fn take_from_others(&mut self, volume: &str, id: &str) {
        let is_former = |(name, known): &(&String, &Known)| *name != volume && known.volume == id;
        let former = self
            .known
            .iter()
            .find(is_former)
            .map(|(name, _)| name.clone());
        if let Some((former, mut known)) = former.and_then(|name| self.known.remove_entry(&name)) {
            known.former_names.push(former);
            let forgotten = known.former_names.len().saturating_sub(FORMER_NAMES_MAX);
            known.former_names.drain(..forgotten);
            self.known.insert(volume.to_owned(), known);
            self.changed = true;
        }
    }

    /// The names of the volumes by the paths that they were backed up from.
    pub fn names_by_path(&self) -> BTreeMap<String, String> {
        let known = self.known.iter();
        known
            .map(|(name, known)| (known.path.clone(), name.clone()))
            .collect()
    }

    /// The uuid of the qube that a volume is the settings record of.
    pub fn qube_of(&self, volume: &str) -> Option<String> {
        let path = self.known.get(volume)?.path.as_str();
        let (_, part) = path
            .split_once(':')
            .filter(|_| is_qube_origin(path.as_bytes()))?;
        let (uuid, _) = part.split_once('/')?;
        Some(uuid.to_owned())
    }

    /// The path from which a volume was backed up last, if it is one, and this very user named it:
    /// opening a path that another user named could open what that user has no right to.
    pub fn path_of(&self, volume: &str, uid: u32) -> Option<Vec<u8>> {
        self.known
            .get(volume)
            .filter(|known| known.uid == uid)
            .and_then(|known| path_of_text(&known.path))
            .filter(|path| !is_qube_origin(path))
    }

    /// Where each volume lies, as far as this user may know, with the folder of its base snapshot.
    pub fn places(&self, uid: u32) -> impl Iterator<Item = VolumePlace> {
        self.known.iter().map(move |(volume, known)| {
            let path = if uid == known.uid || uid == 0 {
                path_of_text(&known.path).filter(|path| !is_qube_origin(path))
            } else {
                None
            };
            let folder = known.snapshots.as_deref().and_then(path_of_text);
            VolumePlace {
                volume: volume.clone(),
                id: None,
                path,
                folder,
            }
        })
    }

    /// Writes the origins if something changed since they were read or written.
    pub fn write(&mut self, files: &mut impl Files, folder: &ArchiveFolder) -> Result<(), Failure> {
        if !self.changed {
            return Ok(());
        }
        let text = toml::to_string(&self.known).map_err(|_| Failure::internal(FILE))?;
        files.replace(&folder.file(FILE), text.as_bytes())?;
        self.changed = false;
        Ok(())
    }
}

impl Known {
    /// `None` if a path is not what was written.
    fn origin(&self) -> Option<Origin> {
        let path = path_of_text(&self.path)?;
        let leads_to = if self.leads_to.is_empty() {
            path.clone()
        } else {
            path_of_text(&self.leads_to)?
        };
        Some(Origin {
            path,
            leads_to,
            device_bytes: self.device_bytes,
            marks: self.marks.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VOLUME: VolumeId = VolumeId([1; 16]);

    fn table(volumes: &[(&str, VolumeId)]) -> Vec<(u64, VolumeEntry)> {
        let entry = |(name, id): &(&str, VolumeId)| VolumeEntry {
            id: *id,
            domain: wyng_archive::crypto::DomainId([0; 16]),
            size_bytes: 0,
            chunk_size_bytes: 4096,
            sessions_size: 0,
            sessions_root: wyng_archive::crypto::Id::ZERO,
            name: (*name).to_owned(),
            description: String::new(),
        };
        (0..).zip(volumes.iter().map(entry)).collect()
    }

    #[test]
    fn an_origin_follows_its_volume_through_every_renaming() {
        let mut origins = Origins::default();
        let (other, [a, b]) = (VolumeId([2; 16]), ["/a.img", "/b.img"]);
        origins.set("a", VOLUME, &file(a, a), 0);
        origins.set("b", other, &file(b, b), 0);
        origins.follow(&table(&[("b", VOLUME), ("a", other)]));
        assert_eq!(
            [origins.path_of("b", 0), origins.path_of("a", 0)],
            [Some(a.into()), Some(b.into())],
            "the names were swapped"
        );
        assert_eq!(origins.check("b", &file(a, a).origin, Said::Path), Ok(()));
        origins.follow(&table(&[("b", VOLUME), ("c", other)]));
        assert_eq!(origins.path_of("c", 0), Some(b.into()));
        assert_eq!(origins.path_of("a", 0), None);
    }

    #[test]
    fn no_source_that_is_a_path_says_that_it_is_a_part_of_a_qube() {
        let origins = Origins::default();
        let stated = file("qube:7/private", "/a.img");
        for said in [Said::Path, Said::NamedPath, Said::Configured] {
            let checked = origins.check("zzz", &stated.origin, said);
            assert!(
                matches!(checked, Err(Failure::VolumeOfOtherPath { .. })),
                "{checked:?}"
            );
        }
    }

    #[test]
    fn the_former_name_of_a_renamed_volume_begins_no_new_one_unasked() {
        let mut origins = Origins::default();
        let source = file("/a.img", "/a.img");
        origins.set("old", VOLUME, &source, 0);
        origins.follow(&table(&[("new", VOLUME)]));
        for said in [Said::Path, Said::Configured] {
            assert_eq!(
                origins.check("old", &source.origin, said),
                Err(Failure::VolumeRenamed {
                    volume: "old".into(),
                    path: "/a.img".into(),
                    now: "new".into(),
                })
            );
        }
        let another = file("/b.img", "/b.img");
        assert_eq!(
            origins.check("old", &another.origin, Said::Configured),
            Ok(()),
            "another disk may have the name"
        );
        assert_eq!(
            origins.check("old", &source.origin, Said::NamedPath),
            Ok(()),
            "the person says so"
        );
        origins.set("old", VolumeId([2; 16]), &source, 0);
        assert_eq!(
            origins.check("old", &source.origin, Said::Path),
            Ok(()),
            "the name was given away"
        );
    }

    #[test]
    fn the_remembered_former_names_are_bounded() {
        let mut origins = Origins::default();
        origins.set("0", VOLUME, &file("/a.img", "/a.img"), 0);
        for number in 1..20 {
            origins.follow(&table(&[(number.to_string().as_str(), VOLUME)]));
        }
        let known = origins.known.get("19").unwrap();
        assert_eq!(known.former_names.len(), FORMER_NAMES_MAX);
        assert_eq!(known.former_names.last().unwrap(), "18");
    }

    fn file(path: &str, leads_to: &str) -> FoundSource {
        FoundSource {
            origin: Origin {
                path: path.into(),
                leads_to: leads_to.into(),
                ..Origin::default()
            },
            ..FoundSource::default()
        }
    }

    fn device(path: &str, node: &str, mark: &str) -> FoundSource {
        let mut found = file(path, node);
        (found.origin.device_bytes, found.origin.marks) = (Some(1), vec![mark.to_owned()]);
        found
    }

    fn code(checked: Result<(), Failure>) -> Option<&'static str> {
        checked.err().map(|failure| failure.code())
    }

    #[test]
    fn a_name_stays_with_its_path_unless_it_is_given_away() {
        let mut origins = Origins::default();
        assert_eq!(
            origins.check("vm.img", &file("/a/vm.img", "/a/vm.img").origin, Said::Path),
            Ok(())
        );
        origins.set("vm.img", VOLUME, &file("/a/vm.img", "/a/vm.img"), 7);
        let other = file("/b/vm.img", "/b/vm.img");
        assert_eq!(
            origins.check("vm.img", &file("/a/vm.img", "/a/vm.img").origin, Said::Path),
            Ok(())
        );
        assert_eq!(
            code(origins.check("vm.img", &other.origin, Said::Path)),
            Some("volume-of-other-path")
        );
        assert_eq!(
            origins.check("vm.img", &file("/c/link", "/a/vm.img").origin, Said::Path),
            Ok(()),
            "another name of the same file"
        );
        assert_eq!(
            origins.check("vm.img", &other.origin, Said::Configured),
            Ok(()),
            "the configuration wins"
        );
        assert_eq!(
            origins.check("vm.img", &other.origin, Said::NamedPath),
            Ok(())
        );
        origins.set("vm.img", VOLUME, &other, 8);
        assert_eq!(
            origins.path_of("vm.img", 8).as_deref(),
            Some(&b"/b/vm.img"[..])
        );
        assert_eq!(
            origins.path_of("vm.img", 0),
            None,
            "nobody opens what another one says"
        );
    }

    #[test]
    fn no_path_is_a_part_of_a_qube_whoever_says_so() {
        let mut origins = Origins::default();
        let part = qube_origin("7", &QubePart::Settings);
        origins.set("work:settings", VOLUME, &file(&part, &part), 0);
        let found = file("/tmp/settings", "/tmp/settings").origin;
        for said in [Said::Path, Said::NamedPath, Said::Configured] {
            let checked = origins.check("work:settings", &found, said);
            assert_eq!(code(checked), Some("volume-of-other-path"), "{said:?}");
        }
        assert_eq!(origins.path_of("work:settings", 0), None);
        assert_eq!(origins.qube_of("work:settings").as_deref(), Some("7"));
    }

    #[test]
    fn a_path_that_leads_elsewhere_than_before_is_refused_with_both_names() {
        let mut origins = Origins::default();
        origins.set(
            "disk",
            VOLUME,
            &device("/dev/vg/work", "/dev/dm-3", "dm:vg-work"),
            0,
        );
        let moved = device("/dev/vg/work", "/dev/dm-9", "dm:vg-work").origin;
        for said in [Said::Path, Said::Configured] {
            assert_eq!(
                origins.check("disk", &moved, said),
                Ok(()),
                "the kernel gave it another number"
            );
            let other = device("/dev/vg/work", "/dev/dm-3", "dm:vg-vault").origin;
            let Err(Failure::VolumeElsewhere { was, now, .. }) =
                origins.check("disk", &other, said)
            else {
                panic!("{said:?}")
            };
            assert_eq!(
                (was.as_str(), now.as_str()),
                ("/dev/dm-3 (dm:vg-work)", "/dev/dm-3 (dm:vg-vault)")
            );
        }
        origins.set("image", VOLUME, &file("/current.img", "/2026/a.img"), 0);
        let elsewhere = file("/current.img", "/2027/a.img").origin;
        assert_eq!(
            code(origins.check("image", &elsewhere, Said::Path)),
            Some("volume-elsewhere")
        );
        assert_eq!(
            origins.check("image", &elsewhere, Said::NamedPath),
            Ok(()),
            "the person says so"
        );
    }

    #[test]
    fn paths_that_are_not_utf8_are_told_apart() {
        let mut origins = Origins::default();
        let odd = |byte| {
            let path = vec![b'/', byte];
            FoundSource {
                origin: Origin {
                    path: path.clone(),
                    leads_to: path,
                    ..Origin::default()
                },
                ..FoundSource::default()
            }
        };
        origins.set("vm", VOLUME, &odd(0xff), 0);
        assert_eq!(origins.path_of("vm", 0), Some(vec![b'/', 0xff]));
        assert_eq!(
            code(origins.check("vm", &odd(0xfe).origin, Said::Path)),
            Some("volume-of-other-path")
        );
        assert_eq!(origins.check("vm", &odd(0xff).origin, Said::Path), Ok(()));
    }
}
