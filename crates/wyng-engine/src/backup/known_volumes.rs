// SPDX-License-Identifier: GPL-3.0-or-later
//! The volumes that a run knows: those of the volume table, and those that it began. It opens no
//! source.

use wyng_archive::crypto::DomainId;
use wyng_archive::format::{ArchiveSettings, VolumeEntry, VolumeId};
use wyng_control::Failure;

use crate::archive::Archive;
use crate::state::JournalVolume;
use crate::store::{begun_volumes, new_volume};
use crate::world::{Files, Random};

/// Volumes by their numbers in the volume table.
pub(super) struct KnownVolumes {
    settings: ArchiveSettings,
    /// The volumes of the volume table.
    committed: Vec<(u64, VolumeEntry)>,
    /// Volumes that are journaled and in no commit yet: packs hold, or will hold, records of their
    /// domains.
    begun: Vec<(u64, VolumeEntry)>,
    /// The volume that is being read, while it is neither in the volume table nor in the journal.
    beginning: Option<JournalVolume>,
    next_number: u64,
}

impl KnownVolumes {
    /// Begins with the volume table and with the volumes that an interrupted run journaled.
    pub(super) fn after(archive: &mut Archive, committed: Vec<(u64, VolumeEntry)>) -> Self {
        let begun = begun_volumes(archive, &committed);
        Self {
            settings: archive.head.settings,
            next_number: archive.head.volumes.size.saturating_add(begun.len() as u64),
            committed,
            begun,
            beginning: None,
        }
    }

    /// The volume of this name, if the volume table or an interrupted run has it.
    pub(super) fn find(&mut self, name: &str) -> Option<(u64, VolumeEntry)> {
        self.beginning = None;
        let known = self.committed.iter().chain(&self.begun);
        known
            .into_iter()
            .find(|(_, volume)| volume.name == name)
            .cloned()
    }

    /// The volume of this name as the volume table or an interrupted run has it, or a new volume
    /// under the next number. Nothing is written yet.
    pub(super) fn find_or_begin(
        &mut self,
        random: &mut impl Random,
        name: &str,
    ) -> Result<(u64, VolumeEntry), Failure> {
        if let Some(known) = self.find(name) {
            return Ok(known);
        }
        let begun = JournalVolume {
            name: name.to_owned(),
            id: VolumeId(random.draw()?),
            domain: DomainId(random.draw()?),
        };
        let entry = new_volume(&self.settings, &begun);
        self.beginning = Some(begun);
        Ok((self.next_number, entry))
    }

    /// Journals a new volume before the first record of its domain is sealed. Under another domain
    /// every chunk would be sent again.
    pub(super) fn note_begun(
        &mut self,
        files: &mut impl Files,
        archive: &mut Archive,
    ) -> Result<(), Failure> {
        let Some(volume) = self.beginning.take() else {
            return Ok(());
        };
        archive.journal.volume(files, &volume)?;
        self.begun
            .push((self.next_number, new_volume(&self.settings, &volume)));
        self.next_number = self.next_number.saturating_add(1);
        archive.unfinished.push(volume);
        Ok(())
    }

    /// A volume of this number has a session that waits for its commit.
    pub(super) fn note_finished(&mut self, number: u64) {
        self.next_number = self.next_number.max(number.saturating_add(1));
    }

    /// Hands over the begun volumes for a commit; from now on they count as committed.
    pub(super) fn take_begun(&mut self) -> Vec<(u64, VolumeEntry)> {
        let begun = std::mem::take(&mut self.begun);
        self.committed.extend(begun.iter().cloned());
        begun
    }
}
