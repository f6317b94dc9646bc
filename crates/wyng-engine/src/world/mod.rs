// SPDX-License-Identifier: GPL-3.0-or-later
//! Everything that the engine meets, one trait a kind: a function's signature says what it may
//! touch.
//!
//! Each call is a point at which a test may stop the engine; so no call does two things that a
//! crash could part.

mod client;
mod clock;
mod files;
mod random;
mod secrets;
mod store;
mod volumes;

pub use client::Client;
pub use clock::Clock;
pub use files::Files;
pub use random::Random;
pub use secrets::Secrets;
pub use store::{Fetched, Found, Kept, OpenStore, Receipt, Reserve, Store, Wait};
pub use volumes::{
    Beside, ChangePage, Errno, SourceShape, TargetShape, TargetWish, There, Volumes,
};

/// The types of a world's parts.
pub trait Parts {
    /// Clocks and counters.
    type Clock: Clock;
    /// Randomness.
    type Random: Random;
    /// The local state.
    type Files: Files;
    /// The far end.
    type Store: Store;
    /// Sources and targets.
    type Volumes: Volumes;
    /// Passphrases and keys.
    type Secrets: Secrets;
    /// Whoever asked for the command.
    type Client: Client;
}

/// What one command meets. A function that needs one or two parts takes these alone.
pub struct World<P: Parts> {
    /// Clocks and counters.
    pub clock: P::Clock,
    /// Randomness.
    pub random: P::Random,
    /// The local state.
    pub files: P::Files,
    /// The far end.
    pub store: P::Store,
    /// Sources and targets.
    pub volumes: P::Volumes,
    /// Passphrases and keys.
    pub secrets: P::Secrets,
    /// Whoever asked for the command.
    pub client: P::Client,
}

impl<P: Parts> World<P> {
    /// Peaks of the memory of this process and of those that it hears of, with what was on its way
    /// to the far end, bytes.
    pub fn peak_bytes(&mut self) -> u64 {
        [self.store.peak_bytes(), self.volumes.peak_bytes()]
            .into_iter()
            .fold(self.clock.peak_bytes(), u64::saturating_add)
    }
}

/// Room for one blob of a world's store.
pub type Buffer<P> = <<P as Parts>::Store as Store>::Buffer;
