// SPDX-License-Identifier: GPL-3.0-or-later
//! A world in memory that ends at a counted call, and forgets what was not durable: the engine's
//! own code runs over it.

mod files;
mod person;
mod plug;
mod store;
mod volumes;

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};

use wyng_control::{BackupSource, Failure};
use wyng_engine::archive::Archive;
use wyng_engine::world::{Clock, Parts, Random, World};

pub use files::MemoryFiles;
pub use person::{MemoryClient, MemorySecrets};
pub use plug::{Killed, Plug};
pub use store::MemoryStore;
pub use volumes::{Bases, MemoryVolumes};

/// What a kill leaves: files and links of the state, blobs of the store.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Durable {
    /// Whole files.
    pub files: BTreeMap<String, Vec<u8>>,
    /// Links.
    pub links: BTreeMap<String, String>,
    /// Blobs by name.
    pub store: BTreeMap<[u8; 32], Vec<u8>>,
    /// Base snapshots by archive and volume.
    pub bases: Bases,
}

/// The parts that are in memory, all on one plug.
pub struct InMemory;

impl Parts for InMemory {
    type Clock = CountedClock;
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
            clock: CountedClock::after(seed),
            random: SeededRandom(
                blake3::Hasher::new()
                    .update(&seed.to_le_bytes())
                    .finalize_xof(),
            ),
            files: MemoryFiles::new(plug.clone(), durable.files, durable.links),
            store: MemoryStore::new(plug.clone(), durable.store),
            volumes: MemoryVolumes::new(plug.clone(), durable.bases),
            secrets: MemorySecrets::new(plug.clone()),
            client: MemoryClient::new(plug.clone()),
        };
        Self { world, plug }
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
        let (store, arrived) = self.store.crash(chance);
        let (files, links) = self.files.crash(chance);
        let bases = self.volumes.bases().clone();
        (
            Durable {
                files,
                links,
                store,
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

/// Each look at it is a millisecond later than the one before.
pub struct CountedClock {
    true_nanos: u64,
    wall_ahead_secs: i64,
}

impl CountedClock {
    /// The clock this many seconds after the first second of all worlds.
    pub fn after(secs: u64) -> Self {
        Self {
            true_nanos: secs * 1_000_000_000,
            wall_ahead_secs: 1_900_000_000,
        }
    }

    /// Time passes.
    pub fn pass(&mut self, secs: u64) {
        self.true_nanos += secs * 1_000_000_000;
    }

    /// Somebody sets the wall clock ahead, or back.
    pub fn jump(&mut self, secs: i64) {
        self.wall_ahead_secs += secs;
    }
}

impl Clock for CountedClock {
    fn wall_nanos(&mut self) -> u64 {
        let ahead = i128::from(self.wall_ahead_secs) * 1_000_000_000;
        u64::try_from(i128::from(self.monotonic_nanos()) + ahead).unwrap_or(0)
    }

    fn monotonic_nanos(&mut self) -> u64 {
        self.true_nanos += 1_000_000;
        self.true_nanos
    }

    fn kept_secs(&mut self) -> Option<u64> {
        Some(self.true_nanos / 1_000_000_000)
    }

    fn cpu_micros(&mut self) -> u64 {
        0
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
