// SPDX-License-Identifier: GPL-3.0-or-later
//! The budget of a volume in a run: each record is counted before it is sent. The stored sum is a
//! step ahead of the counted sum, so that a restart gives nothing back.

use wyng_archive::format::VolumeId;
use wyng_archive::plan::budget::{OverBudget, Spent};
use wyng_control::Failure;

use crate::state::{ArchiveFolder, Spending};
use crate::world::Files;

/// Number of times in a day that a volume's sum is stored.
const STEPS_A_DAY: u64 = 64;

/// A record on its way into a pack.
pub(super) struct Charged {
    /// The volume that it is of.
    pub volume: VolumeId,
    /// Its length, bytes.
    pub bytes: u64,
    /// The record was in a lost pack, so it heals damage.
    pub heals: bool,
}

/// The budget of every volume of a run.
pub(super) struct Budget {
    max_new_bytes: u64,
    /// The chain's kept clock at the run's start, seconds: the day of the whole run.
    now_kept_secs: u64,
    /// The sums as they are stored.
    stored: Spending,
    /// The volume that is being read, and the bytes counted for it.
    counted: Option<(VolumeId, Spent)>,
}

impl Budget {
    /// The budget of a run that begins at `now_kept_secs`.
    pub(super) fn begin(
        files: &mut impl Files,
        folder: &ArchiveFolder,
        max_new_bytes: u64,
        now_kept_secs: u64,
    ) -> Result<Self, Failure> {
        Ok(Self {
            max_new_bytes,
            now_kept_secs,
            stored: Spending::read(files, folder)?,
            counted: None,
        })
    }

    /// Maximum bytes of new records that each volume may send in a day.
    pub(super) fn max_new_bytes(&self) -> u64 {
        self.max_new_bytes
    }

    /// Counts a record before it is sent. `Ok(Err(_))` if the volume may send no more today.
    pub(super) fn charge(
        &mut self,
        files: &mut impl Files,
        folder: &ArchiveFolder,
        record: &Charged,
    ) -> Result<Result<(), OverBudget>, Failure> {
        let volume = record.volume;
        if self.counted.is_none_or(|(counted, _)| counted != volume) {
            self.settle(files, folder)?;
            let today = self.stored.of(volume).today(self.now_kept_secs);
            self.counted = Some((volume, today));
        }
        let Some((_, counted)) = &mut self.counted else {
            return Ok(Ok(()));
        };
        if record.heals {
            counted.heal(record.bytes, self.now_kept_secs);
            return Ok(Ok(()));
        }
        if let Err(over) = counted.charge(record.bytes, self.max_new_bytes, self.now_kept_secs) {
            return Ok(Err(over));
        }
        let stored = self.stored.of(volume).today(self.now_kept_secs);
        if counted.new_bytes > stored.new_bytes {
            let step = self.max_new_bytes / STEPS_A_DAY;
            let ahead = counted.new_bytes.saturating_add(step);
            let ahead = ahead.min(self.max_new_bytes).max(counted.new_bytes);
            let ahead = Spent {
                new_bytes: ahead,
                ..*counted
            };
            self.stored.set(volume, ahead);
            self.stored.write(files, folder)?;
        }
        Ok(Ok(()))
    }

    /// Stores the counted bytes when a volume has been read.
    pub(super) fn settle(
        &mut self,
        files: &mut impl Files,
        folder: &ArchiveFolder,
    ) -> Result<(), Failure> {
        let Some((volume, counted)) = self.counted.take() else {
            return Ok(());
        };
        if self.stored.of(volume) == counted {
            return Ok(());
        }
        self.stored.set(volume, counted);
        self.stored.write(files, folder)
    }
}
