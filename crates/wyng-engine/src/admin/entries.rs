// SPDX-License-Identifier: GPL-3.0-or-later
//! Changes names, descriptions and tags in the catalog, by a commit without a new session. A
//! command that changes nothing makes no commit.

use wyng_archive::format::{
    DESCRIPTION_MAX_BYTES, SessionEntry, TAG_MAX_BYTES, TAGS_MAX, VolumeEntry, is_volume_name,
};
use wyng_control::{Failure, SessionChoice, ToClient, VolumeLine};

use crate::archive::Archive;
use crate::locking::connect_to_push;
use crate::look::line_of;
use crate::store::{EditedVolume, commit_edit, settle_pending};
use crate::world::{Client, Files, Parts, Store, World};

/// A change of one session's entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionChange {
    /// The session gets these tags, if it does not have them.
    AddTags(Vec<String>),
    /// The session loses these tags, if it has them.
    RemoveTags(Vec<String>),
}

impl SessionChange {
    fn apply(&self, session: &mut SessionEntry) -> Result<(), Failure> {
        match self {
            Self::AddTags(tags) => {
                for tag in tags {
                    if !is_tag(tag) {
                        return Err(bad_tags());
                    }
                    if !session.tags.contains(tag) {
                        session.tags.push(tag.clone());
                    }
                }
                if session.tags.len() > TAGS_MAX {
                    return Err(bad_tags());
                }
            }
            Self::RemoveTags(tags) => session.tags.retain(|tag| !tags.contains(tag)),
        }
        Ok(())
    }
}

/// Whether people can give a session this tag: `^TAG` must be one word that is no option.
fn is_tag(tag: &str) -> bool {
    (1..=TAG_MAX_BYTES).contains(&tag.len())
        && !tag.starts_with(['^', '-'])
        && !tag.contains(|char: char| char.is_control() || char.is_whitespace())
}

fn bad_tags() -> Failure {
    Failure::BadSetting {
        setting: "the tags".into(),
        allowed: "at most 16 tags of a session, each of 1 to 64 bytes without spaces and control \
                  characters, beginning with neither `^` nor `-`"
            .into(),
    }
}

/// Gives a volume another name. History, base snapshot and origin stay with it. The name must be
/// valid for a volume ([`Failure::BadName`]), and no other volume may have it
/// ([`Failure::VolumeExists`]).
pub fn rename<P: Parts>(
    world: &mut World<P>,
    name: &str,
    volume: &str,
    new: &str,
) -> Result<(), Failure> {
    if !is_volume_name(new) {
        return Err(Failure::BadName { name: new.into() });
    }
    let mut archive = begin(world, name)?;
    let volumes = archive.volumes(&mut world.files)?;
    let is_named = |name: &str| volumes.iter().any(|(_, volume)| volume.name == name);
    if !is_named(volume)
        && is_named(new)
        && was_called(&mut world.files, &mut archive, new, volume)?
    {
        // An interrupted command has renamed the volume already.
        note_names(&mut world.files, &mut archive)?;
        return report_volume(world, &mut archive, new);
    }
    let (number, mut entry) = find(&volumes, volume)?;
    let is_begun = archive.unfinished.iter().any(|begun| begun.name == new);
    if is_begun || is_named(new) {
        return Err(Failure::VolumeExists { volume: new.into() });
    }
    // A name that another machine gave must not be missing among the former names.
    note_names(&mut world.files, &mut archive)?;
    new.clone_into(&mut entry.name);
    commit_to(world, &mut archive, EditedVolume::entry_only(number, entry))?;
    // The volume has its new name from here on. If the origins cannot be written, the next command
    // that reads them updates them.
    let _ = note_names(&mut world.files, &mut archive);
    report_volume(world, &mut archive, new)
}

/// Gives a volume another description; an empty one removes it.
pub fn describe<P: Parts>(
    world: &mut World<P>,
    name: &str,
    volume: &str,
    text: &str,
) -> Result<(), Failure> {
    if text.len() > DESCRIPTION_MAX_BYTES || text.contains(char::is_control) {
        return Err(Failure::BadSetting {
            setting: "the description".into(),
            allowed: "at most 1000 bytes without control characters".into(),
        });
    }
    let mut archive = begin(world, name)?;
    let (number, mut entry) = find(&archive.volumes(&mut world.files)?, volume)?;
    if entry.description != text {
        text.clone_into(&mut entry.description);
        commit_to(world, &mut archive, EditedVolume::entry_only(number, entry))?;
    }
    report_volume(world, &mut archive, volume)
}

/// Changes the entry of one session.
pub fn change_session<P: Parts>(
    world: &mut World<P>,
    name: &str,
    volume: &str,
    choice: &SessionChoice,
    change: &SessionChange,
) -> Result<(), Failure> {
    let mut archive = begin(world, name)?;
    let (number, entry) = find(&archive.volumes(&mut world.files)?, volume)?;
    let (index, session) = archive.choose_numbered(&mut world.files, &entry, choice)?;
    let mut changed = session.clone();
    change.apply(&mut changed)?;
    if changed != session {
        let edit = EditedVolume {
            number,
            entry: entry.clone(),
            sessions: vec![(index, Some(changed.clone()))],
        };
        commit_to(world, &mut archive, edit)?;
    }
    report_volume(world, &mut archive, volume)?;
    let line = line_of(world, &mut archive, &entry, changed)?;
    world.client.tell(ToClient::Session(line))
}

/// Opens an archive that this machine may write to. A pending commit of an interrupted command is
/// settled first: it may be the requested change.
fn begin<P: Parts>(world: &mut World<P>, name: &str) -> Result<Archive, Failure> {
    let mut archive = Archive::open(&mut world.files, &mut world.secrets, name)?;
    archive.may_write()?;
    if archive.ledger.pending().is_some() {
        connect_to_push(world, &mut archive)?;
        settle_pending(&mut world.files, &mut world.store, &mut archive)?;
        world.store.finish_push()?;
    }
    Ok(archive)
}

fn find(volumes: &[(u64, VolumeEntry)], name: &str) -> Result<(u64, VolumeEntry), Failure> {
    volumes
        .iter()
        .find(|(_, volume)| volume.name == name)
        .cloned()
        .ok_or_else(|| Failure::UnknownVolume {
            volume: name.to_owned(),
        })
}

fn commit_to<P: Parts>(
    world: &mut World<P>,
    archive: &mut Archive,
    edit: EditedVolume,
) -> Result<(), Failure> {
    connect_to_push(world, archive)?;
    commit_edit(world, archive, edit)?;
    world.store.finish_push()
}

/// Whether a volume had another name before, as far as this machine knows.
fn was_called(
    files: &mut impl Files,
    archive: &mut Archive,
    now: &str,
    former: &str,
) -> Result<bool, Failure> {
    Ok(archive.origins(files)?.was_called(now, former))
}

/// Writes the volumes' present names into the origins.
fn note_names(files: &mut impl Files, archive: &mut Archive) -> Result<(), Failure> {
    archive.origins(files)?.write(files, &archive.folder)
}

fn report_volume<P: Parts>(
    world: &mut World<P>,
    archive: &mut Archive,
    name: &str,
) -> Result<(), Failure> {
    let (_, volume) = find(&archive.volumes(&mut world.files)?, name)?;
    world.client.tell(ToClient::Volume(VolumeLine {
        name: volume.name,
        size_bytes: volume.size_bytes,
        description: volume.description,
        sizes: None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_one_word_of_64_bytes_that_is_no_option() {
        for tag in ["a", "before-upgrade", &"x".repeat(64), "\u{fc}ber"] {
            assert!(is_tag(tag), "{tag:?}");
        }
        for tag in ["", "^a", "-a", "a b", "a\n", &"x".repeat(65)] {
            assert!(!is_tag(tag), "{tag:?}");
        }
    }
}
