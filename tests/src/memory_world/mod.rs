// SPDX-License-Identifier: GPL-3.0-or-later
//! A world in memory that ends at a counted call, and forgets what was not durable: the engine's
//! own code runs over it.

mod clock;
mod files;
mod person;
mod plug;
mod store;
mod volumes;

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};

use wyng_control::{BackupSource, Failure};
use wyng_engine::archive::Archive;
use wyng_engine::world::{Parts, Random, World};

pub use clock::MachineClock;
pub use files::MemoryFiles;
pub use person::{MemoryClient, MemorySecrets};
pub use plug::{Killed, Plug};
pub use store::{Blobs, FURTHER, MemoryStore};
pub use volumes::{Bases, MemoryVolumes};

/// What a kill leaves: files and links of the state, blobs of the store.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Durable {
    /// Whole files.
    pub files: BTreeMap<String, Vec<u8>>,
    /// Links.
    pub links: BTreeMap<String, String>,
    /// Blobs by name.
    pub store: Blobs,
    /// Blobs of further stores, by address.
    pub copies: BTreeMap<String, Blobs>,
    /// Base snapshots by archive and volume.
    pub bases: Bases,
}

/// The parts that are in memory, all on one plug.
pub struct InMemory;

impl Parts for InMemory {
    type Clock = MachineClock;
    type Random = SeededRandom;
    type Files = MemoryFiles;
    type Store = MemoryStore;
    type Volumes = MemoryVolumes;
    type Secrets = MemorySecrets;
    type Client = MemoryClient;
}

/// A world whose parts share one [`Plug`].
pub struct MemoryWorld {
    world: World<InMemory>,
    plug: Plug,
}

impl Deref for MemoryWorld {
    type Target = World<InMemory>;

    fn deref(&self) -> &World<InMemory> {
        &self.world
    }
}

impl DerefMut for MemoryWorld {
    fn deref_mut(&mut self) -> &mut World<InMemory> {
        &mut self.world
    }
}

impl MemoryWorld {
    /// A world that begins with `durable`, and whose randomness follows from `seed`.
    pub fn new(durable: Durable, seed: u64) -> Self {
        let plug = Plug::default();
        let world = World {
            clock: MachineClock::after(seed),
            random: SeededRandom(
                blake3::Hasher::new()
                    .update(&seed.to_le_bytes())
                    .finalize_xof(),
            ),
            files: MemoryFiles::new(plug.clone(), durable.files, durable.links),
            store: MemoryStore::new(plug.clone(), durable.store, durable.copies),
            volumes: MemoryVolumes::new(plug.clone(), durable.bases),
            secrets: MemorySecrets::new(plug.clone()),
            client: MemoryClient::new(plug.clone()),
        };
        Self { world, plug }
    }

    /// The same where the kept clock was observed, as the daemon does before each command.
    pub fn observed(durable: Durable, seed: u64) -> Self {
        let mut before = Self::new(durable, seed);
        wyng_engine::observe_clock(&mut before.world);
        Self::new(before.end(), seed)
    }

    /// From now on the `n`-th call is the last.
    pub fn kill_at(&mut self, n: u64) {
        self.plug.pull_at(n);
    }

    /// The numbers of the calls that changed something: a kill at any other call leaves what a kill
    /// at the next of these leaves.
    pub fn changing_calls(&self) -> Vec<u64> {
        self.plug.changing_calls()
    }

    /// How many calls were made.
    pub fn calls(&self) -> u64 {
        self.plug.calls()
    }

    /// What is left when the plug is pulled now. `chance` decides what survives of the rest; and
    /// how many blobs lie there that no journal has.
    pub fn crash(&self, chance: u64) -> (Durable, usize) {
        let (store, copies, arrived) = self.store.crash(chance);
        let (files, links) = self.files.crash(chance);
        let bases = self.volumes.bases().clone();
        (
            Durable {
                files,
                links,
                store,
                copies,
                bases,
            },
            arrived,
        )
    }

    /// The state after a clean end.
    pub fn end(&self) -> Durable {
        assert!(
            self.store.is_settled(),
            "a clean end leaves nothing in flight"
        );
        self.crash(0).0
    }

    /// The archive of this name, as a command opens it.
    pub fn open_archive(&mut self, name: &str) -> Result<Archive, Failure> {
        Archive::open(&mut self.world.files, &mut self.world.secrets, name)
    }
}

/// Bytes that follow from a seed.
pub struct SeededRandom(blake3::OutputReader);

impl Random for SeededRandom {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), Failure> {
        self.0.fill(bytes);
        Ok(())
    }

    fn process_id(&self) -> u32 {
        1
    }
}

/// Sources of these volumes, as by their paths alone.
pub fn sources_named<'a>(volumes: impl IntoIterator<Item = &'a str>) -> Vec<BackupSource> {
    let source = |volume: &str| BackupSource {
        volume: volume.to_owned(),
        named: false,
        configured: false,
    };
    volumes.into_iter().map(source).collect()
}
