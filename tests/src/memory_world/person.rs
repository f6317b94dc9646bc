// SPDX-License-Identifier: GPL-3.0-or-later
//! Whoever runs a command over a world in memory: what was heard, what is typed.

use std::sync::Arc;

use wyng_archive::crypto::{ArchiveId, DataKey};
use wyng_control::{Asked, Failure, Phase, Progress, ToClient};
use wyng_engine::world::{Client, Secrets};
use zeroize::Zeroizing;

use super::plug::Plug;

/// A client that notes everything.
pub struct MemoryClient {
    plug: Plug,
    /// What the client heard.
    pub told: Vec<ToClient>,
    /// Every progress that was told.
    pub progress: Vec<Progress>,
    /// The person interrupts once so many slots were tried.
    pub cancel_after_slots: Option<u64>,
}

impl MemoryClient {
    /// One that has heard nothing.
    pub fn new(plug: Plug) -> Self {
        Self {
            plug,
            told: Vec::new(),
            progress: Vec::new(),
            cancel_after_slots: None,
        }
    }

    /// How many slots a passphrase was tried on.
    pub fn slots_tried(&self) -> u64 {
        self.progress
            .iter()
            .filter(|progress| progress.phase == Phase::Unlocking)
            .count() as u64
    }
}

impl Client for MemoryClient {
    fn uid(&self) -> u32 {
        0
    }

    fn tell(&mut self, event: ToClient) -> Result<(), Failure> {
        self.plug.change();
        self.told.push(event);
        Ok(())
    }

    fn progress(&mut self, progress: Progress) {
        self.progress.push(progress);
    }

    fn cancelled(&mut self) -> bool {
        self.cancel_after_slots
            .is_some_and(|slots| self.slots_tried() >= slots)
    }
}

/// A person who knows the passphrase. Nothing is kept from one command to the next, but what a test
/// puts there.
pub struct MemorySecrets {
    plug: Plug,
    /// The archive is unlocked: unlocking it is most of a small restore's work.
    pub kept_key: Option<Arc<DataKey>>,
    /// What is typed when a passphrase is asked for.
    pub passphrase: Vec<u8>,
    /// What is typed when a new one is asked for, if it is another.
    pub new_passphrase: Option<Vec<u8>>,
    /// What was shown to the person.
    pub secret: Option<Vec<u8>>,
    /// How often a passphrase was asked for.
    pub asked_passphrases: u32,
    /// What the service manager unsealed.
    pub sealed: Option<Vec<u8>>,
}

impl MemorySecrets {
    /// Who types "passphrase".
    pub fn new(plug: Plug) -> Self {
        Self {
            plug,
            kept_key: None,
            passphrase: b"passphrase".to_vec(),
            new_passphrase: None,
            secret: None,
            asked_passphrases: 0,
            sealed: None,
        }
    }
}

impl Secrets for MemorySecrets {
    fn passphrase(&mut self, asked: Asked) -> Result<Zeroizing<Vec<u8>>, Failure> {
        self.plug.step();
        // Nobody is there who could try again.
        if asked == Asked::Again {
            return Err(Failure::NoPassphrase);
        }
        self.asked_passphrases += 1;
        let typed = self
            .new_passphrase
            .as_ref()
            .filter(|_| asked == Asked::New)
            .unwrap_or(&self.passphrase);
        Ok(Zeroizing::new(typed.clone()))
    }

    fn sealed_credential(&mut self, _: ArchiveId) -> Option<Zeroizing<Vec<u8>>> {
        self.sealed.clone().map(Zeroizing::new)
    }

    fn keep_key(&mut self, _: ArchiveId, _: Arc<DataKey>, _: u64) {}

    fn kept_key(&mut self, _: ArchiveId) -> Option<Arc<DataKey>> {
        self.kept_key.clone()
    }

    fn wipe_keys(&mut self, _: Option<ArchiveId>) {}

    fn show_secret(&mut self, text: &[u8]) -> Result<(), Failure> {
        self.plug.change();
        self.secret = Some(text.to_vec());
        Ok(())
    }
}
