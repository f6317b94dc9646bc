// SPDX-License-Identifier: GPL-3.0-or-later
//! The session keys of a run. It draws and journals them; sealing is left to the workers.

use std::sync::Arc;

use wyng_archive::crypto::{Entropy, Secret, SessionKey};
use wyng_archive::format::KeyEntry;
use wyng_control::Failure;

use super::job::Job;
use crate::outcome::internal;
use crate::state::JournalKey;
use crate::world::{Clock, Parts, Random};

/// The key that seals now, and the envelopes that the archive's key table lacks.
pub(super) struct RunKeys {
    current: Option<Arc<SessionKey>>,
    /// Envelopes in no commit yet, each with its number in the key table, ascending.
    uncommitted: Vec<(u64, KeyEntry)>,
    /// Numbers of the key table whose nodes are lost are given again.
    replaces_lost: bool,
}

impl RunKeys {
    /// Begins with the envelopes that an interrupted run journaled, and without a key: a key is
    /// drawn when the first record is to be sealed.
    pub(super) fn after(left: Vec<(u64, KeyEntry)>, replaces_lost: bool) -> Self {
        Self {
            current: None,
            uncommitted: left,
            replaces_lost,
        }
    }

    /// Whether the key table lacks no envelope.
    pub(super) fn all_committed(&self) -> bool {
        self.uncommitted.is_empty()
    }

    /// Hands over the envelopes for a commit.
    pub(super) fn take_uncommitted(&mut self) -> Vec<(u64, KeyEntry)> {
        std::mem::take(&mut self.uncommitted)
    }

    /// The key to seal with: a new one when there is none yet or the old one is worn. A key is
    /// journaled before it seals anything.
    pub(super) fn current<P: Parts>(
        &mut self,
        job: &mut Job<'_, P>,
    ) -> Result<Arc<SessionKey>, Failure> {
        if let Some(key) = self.current.as_ref().filter(|key| !key.is_worn()) {
            return Ok(Arc::clone(key));
        }
        let number = self.uncommitted.last().map_or_else(
            || job.archive.next_key(self.replaces_lost),
            |(last, _)| last.saturating_add(1),
        );
        let number = u32::try_from(number).map_err(|_| internal("the key table is full"))?;
        let world = &mut *job.world;
        let entropy = Entropy {
            kernel: Secret::take(&mut world.random.draw()?),
            generation: job.archive.head.generation,
            wall_nanos: world.clock.wall_nanos(),
            monotonic_nanos: world.clock.monotonic_nanos(),
            process_id: world.random.process_id(),
        };
        let (key, entry) = SessionKey::draw(&job.archive.credential, number, &entropy)
            .map_err(|error| internal(&error.to_string()))?;
        job.archive
            .journal
            .key(&mut world.files, &JournalKey { number, entry })?;
        self.uncommitted.push((number.into(), entry));
        let key = Arc::new(key);
        self.current = Some(Arc::clone(&key));
        Ok(key)
    }
}
