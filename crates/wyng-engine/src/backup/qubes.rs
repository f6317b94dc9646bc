// SPDX-License-Identifier: GPL-3.0-or-later
//! The qubes of a run: which of the archive's volumes each of their parts is. A qube is its uuid,
//! whatever it is called: its volumes are renamed with it, and a new qube under an old name gets
//! volumes of its own. It reads no source, and renames nothing itself.

use std::collections::{BTreeMap, BTreeSet};

use wyng_archive::format::VolumeEntry;
use wyng_control::{
    ChosenQube, ChosenQubes, ExitStatus, Failure, QubeChoice, QubePart, ToClient, Via, Warning,
    qube_origin,
};

use super::request::BackupRequest;
use crate::archive::Archive;
use crate::kept::agrees;
use crate::kept_qubes::follow_kept;
use crate::state::{ArchiveFolder, CopyNote, Origins, Said};
use crate::world::{Client, Files, Parts, Volumes, World};

/// A source of a run.
pub(super) struct RunSource {
    /// The volume's name from this run on.
    pub volume: String,
    /// The volume's name in the archive until now, if it is another one.
    pub former: Option<String>,
    /// Where it comes from.
    pub of: SourceOf,
}

/// Where a source comes from.
pub(super) enum SourceOf {
    /// The client or the configuration names it so.
    Path(Said),
    /// A part of a qube.
    Qube {
        /// The place of the qube among those of the run.
        qube: usize,
        /// The part.
        part: QubePart,
    },
}

impl RunSource {
    /// The name under which the archive knows the volume before the run.
    pub(super) fn known_as(&self) -> &str {
        self.former.as_deref().unwrap_or(&self.volume)
    }

    /// What stands before the part's name.
    fn label(&self) -> Option<&str> {
        let SourceOf::Qube { part, .. } = &self.of else {
            return None;
        };
        label_of(&self.volume, part)
    }

    /// Whether it is a settings record, which nobody writes to while it is read.
    pub(super) fn is_settings(&self) -> bool {
        matches!(&self.of, SourceOf::Qube { part, .. } if *part == QubePart::Settings)
    }
}

/// What the whole system is called among the qubes.
const SYSTEM: &str = "dom0";

/// The qubes of a run.
#[derive(Default)]
pub(super) struct Chosen {
    qubes: Vec<ChosenQube>,
    /// The exit statuses of qubes that could not be asked about.
    failed: Vec<ExitStatus>,
}

impl Chosen {
    /// The qubes that qubesd shows for the request. What is left out, and each qube that cannot be
    /// asked about, is reported.
    pub(super) fn of<P: Parts>(
        world: &mut World<P>,
        archive: &Archive,
        request: &BackupRequest,
    ) -> Result<Self, Failure> {
        if request.qubes.is_empty() {
            return Ok(Self::default());
        }
        let far_ends = far_ends(&mut world.files, archive)?;
        let ChosenQubes {
            qubes,
            failed,
            left_out,
        } = world
            .volumes
            .choose_qubes(&request.qubes, &far_ends, request.live)?;
        if !request.dry_run {
            follow_kept(world)?;
        }
        for left_out in left_out {
            world.client.tell(ToClient::LeftOut(left_out))?;
        }
        let mut exits = Vec::new();
        for (volume, why) in failed {
            let failure = Failure::QubeNotRead { volume, why };
            exits.push(failure.exit());
            world.client.tell(ToClient::Failed(failure))?;
        }
        if qubes.is_empty() && exits.is_empty() && request.sources.is_empty() {
            return Err(Failure::NoQubeChosen);
        }
        Ok(Self {
            qubes,
            failed: exits,
        })
    }
}

/// All sources of a run.
pub(super) struct RunSources {
    /// Their places in the list are their numbers.
    pub sources: Vec<RunSource>,
    /// The qubes that some of them are parts of.
    pub qubes: Vec<ChosenQube>,
    /// The exit statuses of qubes that could not be asked about.
    pub failed: Vec<ExitStatus>,
    /// Qubes beside whose volumes the archive has others under their names, and it is not known
    /// whose: each with the label that it has.
    beside: Vec<(String, String)>,
}

impl RunSources {
    /// The sources that the request names, and the parts of the chosen qubes. It must come after
    /// what an interrupted run left is settled, which may name volumes.
    pub(super) fn of(
        files: &mut impl Files,
        archive: &mut Archive,
        request: &BackupRequest,
        chosen: Chosen,
    ) -> Result<Self, Failure> {
        let by_path = |source: &wyng_control::BackupSource| RunSource {
            volume: source.volume.clone(),
            former: None,
            of: SourceOf::Path(Said::of(source)),
        };
        let mut all = Self {
            sources: request.sources.iter().map(by_path).collect(),
            qubes: chosen.qubes,
            failed: chosen.failed,
            beside: Vec::new(),
        };
        if all.qubes.is_empty() {
            return Ok(all);
        }
        let volumes = archive.volumes(files)?;
        let origins = archive.origins(files)?;
        let mut names = Names::of(&volumes, &origins, archive);
        names.continued = request.qubes.clone();
        let by_path = all
            .sources
            .iter()
            .map(|source| (source.volume.clone(), None));
        names.taken.extend(by_path);
        for (place, qube) in all.qubes.iter().enumerate() {
            let begins = names.begins_unasked(qube);
            let sources = names.sources_of(place, qube);
            let label = sources.first().and_then(RunSource::label);
            if let Some(label) = label.filter(|label| begins && *label != qube.name) {
                all.beside.push((qube.name.clone(), label.to_owned()));
            }
            all.sources.extend(sources);
        }
        Ok(all)
    }

    /// Names each qube that begins a history although the archive has one under its name.
    pub(super) fn warn(&self, client: &mut impl Client) -> Result<(), Failure> {
        for (qube, label) in self.beside.clone() {
            client.tell(ToClient::Warned(Warning::HistoryNotContinued {
                qube,
                label,
            }))?;
        }
        Ok(())
    }

    /// How many sources were asked for, with each qube that could not be asked about.
    pub(super) fn asked(&self) -> usize {
        self.sources.len().saturating_add(self.failed.len())
    }

    /// Tells qubesd of each qube that was backed up whole in a run of this time. Nothing is told
    /// while the clocks disagree: the time would mislead whoever reads it.
    pub(super) fn note_backed_up<P: Parts>(
        &self,
        world: &mut World<P>,
        failed: &BTreeSet<u32>,
        time: i64,
    ) -> Result<(), Failure> {
        if !agrees(world)? {
            return Ok(());
        }
        let of_qube = |place: usize| {
            let items = (0..).zip(&self.sources);
            items.filter(move |(_, source)| {
                matches!(source.of, SourceOf::Qube { qube, .. } if qube == place)
            })
        };
        for (place, qube) in self.qubes.iter().enumerate() {
            if of_qube(place).all(|(item, _): (u32, _)| !failed.contains(&item)) {
                world.volumes.note_backed_up(&qube.name, &qube.uuid, time)?;
            }
        }
        Ok(())
    }
}

/// The far ends of all archives and copies that this machine knows. One that cannot be read has
/// none: what it would keep out is kept out by its own runs.
fn far_ends(files: &mut impl Files, archive: &Archive) -> Result<Vec<Via>, Failure> {
    let mut vias = BTreeSet::from([archive.toml.via.clone()]);
    vias.insert(archive.toml.verify_via().clone());
    for name in ArchiveFolder::names(files)? {
        let Ok(folder) = ArchiveFolder::find(files, &name) else {
            continue;
        };
        if let Ok(toml) = folder.read_toml(files) {
            vias.insert(toml.verify_via().clone());
            vias.insert(toml.via);
        }
        if let Ok(copies) = CopyNote::all(files, &folder) {
            vias.extend(copies.into_iter().map(|copy| copy.via));
        }
    }
    Ok(vias.into_iter().collect())
}

/// What a name has before a part's own name.
fn label_of<'a>(volume: &'a str, part: &QubePart) -> Option<&'a str> {
    volume.strip_suffix(part.name())?.strip_suffix(':')
}

/// The names of volumes, each with the origin of the volume that has it; `None`: a source of this
/// run that is no part of a qube.
struct Names {
    taken: BTreeMap<String, Option<String>>,
    /// The names by their origins.
    called: BTreeMap<String, String>,
    /// Names in the volume table.
    in_archive: BTreeSet<String>,
    /// Names of volumes that an interrupted run began, and that have no session.
    begun: BTreeSet<String>,
    /// Which qubes continue a history by name.
    continued: QubeChoice,
}

impl Names {
    fn of(volumes: &[(u64, VolumeEntry)], origins: &Origins, archive: &Archive) -> Self {
        let table = volumes.iter().map(|(_, volume)| volume.name.clone());
        let begun = archive.unfinished.iter().map(|begun| begun.name.clone());
        let called = origins.names_by_path();
        let taken = called
            .iter()
            .map(|(path, name)| (name.clone(), Some(path.clone())))
            .collect();
        Self {
            taken,
            called,
            in_archive: table.collect(),
            begun: begun.collect(),
            continued: QubeChoice::default(),
        }
    }

    /// Whether a qube continues the history under its name, whoever had the name. The system as a
    /// whole does: its own files continue by name too, and no qube can be called like it.
    fn continues(&self, qube: &str) -> bool {
        qube == SYSTEM || self.continued.continues_by_name(qube)
    }

    /// The label of the volumes that are known to be the qube's.
    fn known_label(&self, qube: &ChosenQube) -> Option<&str> {
        let mut parts = parts_of(qube);
        parts.find_map(|part| {
            let name = self.called.get(&qube_origin(&qube.uuid, &part))?;
            label_of(name, &part)
        })
    }

    /// Whether the archive has volumes under the qube's name of which it is not known whose they
    /// are, and the qube has no history, or was asked to continue theirs.
    fn begins_unasked(&self, qube: &ChosenQube) -> bool {
        let is_unknown = |part: QubePart| {
            let name = format!("{}:{}", qube.name, part.name());
            self.in_archive.contains(&name) && !self.taken.contains_key(&name)
        };
        let is_new = self.known_label(qube).is_none();
        parts_of(qube).any(is_unknown) && (is_new || self.continues(&qube.name))
    }

    /// The parts of a qube as sources, under names with one label.
    fn sources_of(&mut self, place: usize, qube: &ChosenQube) -> Vec<RunSource> {
        let parts: Vec<QubePart> = parts_of(qube).collect();
        let label = self.label(qube, &parts);
        parts
            .into_iter()
            .map(|part| {
                let path = qube_origin(&qube.uuid, &part);
                let volume = format!("{label}:{}", part.name());
                let former = self.called.get(&path).cloned();
                self.taken.insert(volume.clone(), Some(path));
                RunSource {
                    former: former.filter(|former| *former != volume),
                    volume,
                    of: SourceOf::Qube { qube: place, part },
                }
            })
            .collect()
    }

    /// The qube's own name, or the first of NAME@2, NAME@3, … under which each of its parts has the
    /// volume that it had, or one that no other source has. A label that it has already stays.
    fn label(&self, qube: &ChosenQube, parts: &[QubePart]) -> String {
        let known = self.known_label(qube);
        let is_own = |label: &&str| {
            let number = label.strip_prefix(&qube.name);
            number.is_some_and(|rest| rest.is_empty() || rest.starts_with('@'))
        };
        let numbered = (2..=u32::MAX).map(|number| format!("{}@{number}", qube.name));
        let labels = known.filter(is_own).map(str::to_owned).into_iter();
        let mut labels = labels.chain([qube.name.clone()]).chain(numbered);
        let fits = |label: &String| parts.iter().all(|part| self.fits(qube, label, part));
        labels.find(fits).unwrap_or_else(|| qube.name.clone())
    }

    fn fits(&self, qube: &ChosenQube, label: &str, part: &QubePart) -> bool {
        let (name, path) = (
            format!("{label}:{}", part.name()),
            qube_origin(&qube.uuid, part),
        );
        match self.taken.get(&name) {
            Some(origin) => origin.as_ref() == Some(&path),
            None if self.called.contains_key(&path) => {
                !self.in_archive.contains(&name) && !self.begun.contains(&name)
            }
            // Whose history it is, nobody knows here, unless other volumes of the qube show it.
            None => {
                !self.in_archive.contains(&name)
                    || self.known_label(qube) == Some(label)
                    || label == qube.name && self.continues(label)
            }
        }
    }
}

/// The parts of a qube that are backed up, the settings last.
fn parts_of(qube: &ChosenQube) -> impl Iterator<Item = QubePart> {
    let volumes = qube.volumes.iter().cloned().map(QubePart::Volume);
    volumes.chain([QubePart::Settings])
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "7";

    fn qube(name: &str, uuid: &str) -> ChosenQube {
        ChosenQube {
            name: name.to_owned(),
            uuid: uuid.to_owned(),
            volumes: vec!["private".to_owned()],
        }
    }

    /// Names of which some have origins, each a qube's part or another path.
    fn names(known: &[(&str, &str)], in_archive: &[&str]) -> Names {
        let own = |(name, path): &(&str, &str)| ((*name).to_owned(), (*path).to_owned());
        let taken: BTreeMap<String, String> = known.iter().map(own).collect();
        Names {
            called: taken
                .iter()
                .map(|(name, path)| (path.clone(), name.clone()))
                .collect(),
            taken: taken
                .into_iter()
                .map(|(name, path)| (name, Some(path)))
                .collect(),
            in_archive: in_archive.iter().map(|name| (*name).to_owned()).collect(),
            begun: BTreeSet::new(),
            continued: QubeChoice::default(),
        }
    }

    fn named(mut names: Names, qube: &ChosenQube) -> Vec<(String, Option<String>)> {
        let sources = names.sources_of(0, qube);
        sources
            .into_iter()
            .map(|source| (source.volume, source.former))
            .collect()
    }

    fn origin(uuid: &str, part: &str) -> String {
        qube_origin(
            uuid,
            &match part {
                "settings" => QubePart::Settings,
                volume => QubePart::Volume(volume.to_owned()),
            },
        )
    }

    fn both(label: &str) -> Vec<(String, Option<String>)> {
        ["private", "settings"]
            .map(|part| (format!("{label}:{part}"), None))
            .to_vec()
    }

    #[test]
    fn a_new_qube_is_called_as_it_is() {
        assert_eq!(named(names(&[], &[]), &qube("work", UUID)), both("work"));
    }

    #[test]
    fn the_system_continues_its_history_on_another_machine() {
        let system = ChosenQube {
            volumes: Vec::new(),
            ..qube(SYSTEM, UUID)
        };
        let sources = named(names(&[], &["dom0:settings"]), &system);
        assert_eq!(sources, [("dom0:settings".to_owned(), None)]);
    }

    #[test]
    fn a_new_uuid_under_a_known_name_is_a_new_volume() {
        let (private, settings) = (origin("1", "private"), origin("1", "settings"));
        let known = [
            ("work:private", private.as_str()),
            ("work:settings", settings.as_str()),
        ];
        let in_archive = ["work:private", "work:settings"];
        let third = origin("2", "private");
        assert_eq!(
            named(names(&known, &in_archive), &qube("work", UUID)),
            both("work@2")
        );
        let known = [&known[..], &[("work@2:private", third.as_str())]].concat();
        assert_eq!(
            named(names(&known, &in_archive), &qube("work", UUID)),
            both("work@3")
        );
        // And the qube that was there first keeps its name.
        assert_eq!(
            named(names(&known, &in_archive), &qube("work", "1")),
            both("work")
        );
        let whole = named(names(&known, &in_archive), &qube("work", "2"));
        assert_eq!(whole, both("work@2"));
    }

    #[test]
    fn a_renamed_qube_takes_its_volumes_along() {
        let (private, settings) = (origin(UUID, "private"), origin(UUID, "settings"));
        let known = [
            ("work:private", private.as_str()),
            ("work:settings", settings.as_str()),
        ];
        let in_archive = ["work:private", "work:settings"];
        let renamed = ["private", "settings"]
            .map(|part| (format!("job:{part}"), Some(format!("work:{part}"))));
        assert_eq!(
            named(names(&known, &in_archive), &qube("job", UUID)),
            renamed
        );
        // Its old label has a number, which says nothing of the new name.
        let known = [("work@2:private", private.as_str())];
        let first = named(names(&known, &["work@2:private"]), &qube("job", UUID)).remove(0);
        assert_eq!(first, ("job:private".into(), Some("work@2:private".into())));
    }

    #[test]
    fn a_volume_that_somebody_named_by_its_path_is_no_part_of_a_qube() {
        let known = [("work:private", "/dev/x")];
        assert_eq!(
            named(names(&known, &["work:private"]), &qube("work", UUID)),
            both("work@2")
        );
    }

    #[test]
    fn in_an_adopted_archive_a_history_is_continued_only_by_whoever_says_so() {
        let in_archive = ["work:private", "work:settings"];
        let adopted = || names(&[], &in_archive);
        let work = qube("work", UUID);
        assert!(adopted().begins_unasked(&work));
        assert_eq!(named(adopted(), &work), both("work@2"));
        for word in ["work", "@all"] {
            let mut asked = adopted();
            asked.continued.continues.push(word.to_owned());
            assert_eq!(named(asked, &work), both("work"), "{word}");
        }
        let mut other = adopted();
        other.continued.continues.push("vault".to_owned());
        assert_eq!(named(other, &work), both("work@2"));
        // What an interrupted run began has no session.
        let mut begun = names(&[], &[]);
        begun.begun.insert("work:private".to_owned());
        assert!(!begun.begins_unasked(&work));
        assert_eq!(named(begun, &work), both("work"));
        // A part of a qube whose other part is known.
        let private = origin(UUID, "private");
        let known = [("work:private", private.as_str())];
        let restored = || names(&known, &in_archive);
        assert!(!restored().begins_unasked(&work));
        assert_eq!(named(restored(), &work), both("work"));
        // A qube that has another history keeps it, whatever is asked.
        let known = [("job:private", private.as_str())];
        let mut renamed = names(&known, &in_archive);
        renamed.continued.continues.push("@all".to_owned());
        assert!(renamed.begins_unasked(&work));
        let first = named(renamed, &work).remove(0);
        assert_eq!(first, ("work@2:private".into(), Some("job:private".into())));
    }
}
