// SPDX-License-Identifier: GPL-3.0-or-later
//! Data keys that `unlock` keeps for the next commands, until their time is over.

use std::sync::Arc;
use std::time::Duration;

use wyng_archive::crypto::{ArchiveId, DataKey};

/// Maximum delay with which the end of a key's time is noticed after the machine has slept.
const LOOK_AGAIN: Duration = Duration::from_secs(20);

/// The data keys that are kept.
#[derive(Default)]
pub(super) struct Keys(Vec<Kept>);

/// A data key that is kept, until a time of the clock that goes on while the machine sleeps.
struct Kept {
    archive: ArchiveId,
    key: Arc<DataKey>,
    until: Duration,
}

impl Keys {
    /// Keeps an archive's data key for `secs` seconds; it replaces a key that is kept already.
    pub(super) fn keep(&mut self, archive: ArchiveId, key: Arc<DataKey>, secs: u64) {
        self.wipe(Some(archive));
        self.0.push(Kept {
            archive,
            key,
            until: since_boot().saturating_add(Duration::from_secs(secs)),
        });
    }

    /// The archive's data key, if it is kept.
    pub(super) fn of(&mut self, archive: ArchiveId) -> Option<Arc<DataKey>> {
        self.wipe_expired();
        self.0
            .iter()
            .find(|kept| kept.archive == archive)
            .map(|kept| Arc::clone(&kept.key))
    }

    /// Wipes the archive's data key, or every key, before its time is over.
    pub(super) fn wipe(&mut self, archive: Option<ArchiveId>) {
        self.0
            .retain(|kept| archive.is_some_and(|archive| kept.archive != archive));
    }

    /// Wipes keys whose time is over. Returns after how many milliseconds to look again, if a key
    /// is left: a timeout stands still while the machine sleeps, and the time of a key does not.
    pub(super) fn wipe_expired(&mut self) -> Option<u64> {
        let now = since_boot();
        self.0.retain(|kept| kept.until > now);
        let next = self
            .0
            .iter()
            .map(|kept| kept.until.saturating_sub(now))
            .min()?;
        Some(
            u64::try_from(next.min(LOOK_AGAIN).as_millis())
                .unwrap_or(u64::MAX)
                .saturating_add(1),
        )
    }
}

/// Time since the machine was started, by the clock that goes on while it sleeps.
fn since_boot() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}
