// SPDX-License-Identifier: GPL-3.0-or-later
//! The state directory's kept clock, one for all archives in it. Its bytes are described in
//! `wyng_archive::plan::clock_file`.

use wyng_archive::plan::kept_clock::KeptClock;
use wyng_control::Failure;

use super::archives::ArchiveFolder;
use crate::world::Files;

const FILE: &str = "clock";

/// The kept clock as the state directory has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoredClock {
    /// The clock as it was last stored.
    Sound(KeptClock),
    /// No clock was stored yet, and there is no archive.
    New,
    /// The clock is missing although there are archives, or it is damaged.
    Lost,
}

impl StoredClock {
    /// Reads the clock. Fails with [`Failure::StateIo`] if the directory cannot be read.
    pub fn read(files: &mut impl Files) -> Result<Self, Failure> {
        Ok(match files.read(FILE)? {
            Some(bytes) => KeptClock::decode(&bytes).map_or(Self::Lost, Self::Sound),
            None if ArchiveFolder::names(files)?.is_empty() => Self::New,
            None => Self::Lost,
        })
    }

    /// Stores the clock durably in place of the one before. Fails with [`Failure::StateIo`].
    pub fn write(files: &mut impl Files, clock: &KeptClock) -> Result<(), Failure> {
        files.replace(FILE, &clock.encode())
    }
}
