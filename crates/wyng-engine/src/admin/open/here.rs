// SPDX-License-Identifier: GPL-3.0-or-later
//! What this machine has of an archive, before the store is asked.

use wyng_archive::crypto::Credential;
use wyng_archive::format::Slot;
use wyng_control::Failure;

use crate::state::{ArchiveFolder, ArchiveToml, Ledger};
use crate::world::{Files, Secrets};

/// What this machine has of an archive.
pub(super) struct Here {
    /// Its folder in the state directory.
    pub folder: ArchiveFolder,
    /// Where it is; `None`: the archive is new here.
    pub toml: Option<ArchiveToml>,
    /// What is known of its head.
    pub ledger: Ledger,
    /// This machine's copies of its slots.
    pub slots: Vec<Slot>,
    /// The name that it has here, if that is not the one under which it is to be opened.
    pub other_name: Option<String>,
}

impl Here {
    /// The archive with a name; `None` if there is none. What is damaged is reported, never
    /// repaired by guessing.
    pub(super) fn of_name(
        files: &mut impl Files,
        secrets: &mut impl Secrets,
        name: &str,
    ) -> Result<Option<(Self, Credential)>, Failure> {
        let folder = match ArchiveFolder::find(files, name) {
            Ok(folder) => folder,
            Err(Failure::UnknownArchive { .. }) => return Ok(None),
            Err(failure) => return Err(failure),
        };
        let (toml, credential) = (
            folder.read_toml(files)?,
            folder.read_credential(files, secrets.sealed_credential(folder.id()))?,
        );
        let (ledger, slots) = (
            Ledger::read(files, &folder)?,
            folder.read_slots(files).unwrap_or_default(),
        );
        Ok(Some((
            Self {
                folder,
                toml: Some(toml),
                ledger,
                slots,
                other_name: None,
            },
            credential,
        )))
    }

    /// The archive with an id. A folder without a name is left by an opening that was cut at its
    /// last step: it gets the name first, so that there is a name to forget it by.
    pub(super) fn of_id(
        files: &mut impl Files,
        folder: ArchiveFolder,
        name: &str,
    ) -> Result<Self, Failure> {
        if files.length(&folder.file("ledger"))?.is_none() {
            return Ok(Self {
                folder,
                toml: None,
                ledger: Ledger::default(),
                slots: Vec::new(),
                other_name: None,
            });
        }
        let names = folder.names_of(files)?;
        if names.is_empty() {
            folder.link(files, name)?;
        }
        let other_name = names.into_iter().next();
        let (toml, ledger) = (folder.read_toml(files)?, Ledger::read(files, &folder)?);
        let slots = folder.read_slots(files).unwrap_or_default();
        Ok(Self {
            folder,
            toml: Some(toml),
            ledger,
            slots,
            other_name,
        })
    }

    /// The generation of the newest commit that this machine knows; 0: none.
    pub(super) fn known_generation(&self) -> u64 {
        self.ledger.head().map_or(0, |head| head.generation)
    }
}
