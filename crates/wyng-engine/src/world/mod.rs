// SPDX-License-Identifier: GPL-3.0-or-later
//! Everything outside the engine, one trait for each part: a function's signature says what it may
//! touch.
//!
//! Each call is a point at which a test may stop the engine, so a call makes at most one durable
//! change.

mod client;
mod clock;
mod files;
mod place;
mod random;
mod secrets;
mod store;
mod volumes;

pub use client::Client;
pub use clock::Clock;
pub use files::Files;
pub(crate) use place::lock_terms;
pub use place::{LockMode, LockTerms, Place, StoreCredentials};
pub use random::Random;
pub use secrets::Secrets;
pub use store::{
    Deleted, Doomed, Fetched, Found, Kept, Lasting, OpenStore, Receipt, RenewalBudget, Renewed,
    Reserve, Store, Wait,
};
pub use volumes::{
    ArchivedQube, Beside, ChangePage, Errno, FreshVolume, NextOfQubes, QubeSource, SourceShape,
    TargetShape, TargetWish, There, Volumes,
};

/// The types of a world's parts.
pub trait Parts {
    /// Clocks, and counters of this process.
    type Clock: Clock;
    /// Secrets and nonces are drawn from it.
    type Random: Random;
    /// Files of the state directory.
    type Files: Files;
    /// The store, by way of a far end.
    type Store: Store;
    /// Sources, targets and base snapshots.
    type Volumes: Volumes;
    /// Passphrases, and keys that are kept.
    type Secrets: Secrets;
    /// The client that asked for the command.
    type Client: Client;
}

/// The parts that one command meets. A function that needs one or two parts takes these alone.
pub struct World<P: Parts> {
    /// Clocks, and counters of this process.
    pub clock: P::Clock,
    /// Secrets and nonces are drawn from it.
    pub random: P::Random,
    /// Files of the state directory.
    pub files: P::Files,
    /// The store, by way of a far end.
    pub store: P::Store,
    /// Sources, targets and base snapshots.
    pub volumes: P::Volumes,
    /// Passphrases, and keys that are kept.
    pub secrets: P::Secrets,
    /// The client that asked for the command.
    pub client: P::Client,
}

impl<P: Parts> World<P> {
    /// Sum of the peaks of memory: of this process, of the roles that report theirs, and of the
    /// blobs on their way to the far end, bytes.
    pub fn peak_bytes(&mut self) -> u64 {
        [self.store.peak_bytes(), self.volumes.peak_bytes()]
            .into_iter()
            .fold(self.clock.peak_bytes(), u64::saturating_add)
    }
}

/// A buffer for one blob of a world's store.
pub type Buffer<P> = <<P as Parts>::Store as Store>::Buffer;
