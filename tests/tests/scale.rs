// SPDX-License-Identifier: GPL-3.0-or-later
//! Size over time, over the engine in a world in memory: what an archive, its commits and its local
//! state come to while sessions come and go for months. docs/format.md states the bounds.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use wyng_archive::crypto::DataKey;
use wyng_archive::format::PackState;
use wyng_control::{
    BaseLabel, BaseOf, ExitStatus, Failure, FoundSource, KeepRules, Method, PruneRules,
    SessionChoice, TargetLook, ToClient, Via,
};
use wyng_engine::archive::Archive;
use wyng_engine::prune::{self, PruneRequest};
use wyng_engine::space::{self, CompactRequest, CopyTimes, Roots, mark_alive};
use wyng_engine::state::Origins;
use wyng_engine::world::{
    ChangePage, Errno, Parts, Random, SourceShape, TargetShape, TargetWish, Volumes, World,
};
use wyng_engine::{admin, backup, observe_clock, restore, verify};
use wyng_tests::engine::create_request;
use wyng_tests::memory_world::{
    Durable, MachineClock, MemoryClient, MemoryFiles, MemorySecrets, MemoryStore, MemoryWorld,
    Plug, sources_named,
};
use wyng_tests::sandbox::noise;

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;
const MIB: u64 = 1 << 20;

/// Sessions are kept, and packs wait, for so many days.
fn wait_days(request: &mut admin::CreateRequest, days: u64) {
    request.settings.hold_off_runs = 3;
    request.settings.hold_off_secs = days * DAY;
    request.settings.minimum_age_secs = days * DAY;
}

/// As a command of the daemon does it, the clock is observed before.
fn back_up<P: Parts>(world: &mut World<P>, volumes: &[&str]) {
    observe_clock(world);
    let request = backup::BackupRequest {
        archive: "home".into(),
        sources: sources_named(volumes.iter().copied()),
        qubes: wyng_control::QubeChoice::default(),
        skip_unchanged: false,
        dry_run: false,
        live: false,
        heal: false,
        verify: false,
        max_new_bytes: None,
        prune_after: None,
        commit_after_bytes: backup::COMMIT_AFTER_BYTES,
    };
    assert_eq!(backup::back_up(world, &request), Ok(ExitStatus::Done));
}

fn prune<P: Parts>(world: &mut World<P>, keep: &KeepRules) {
    observe_clock(world);
    let request = PruneRequest {
        archive: "home".into(),
        volumes: Vec::new(),
        rules: PruneRules {
            keep: keep.clone(),
            ..PruneRules::default()
        },
        dry_run: false,
        unattended: false,
        trust_clock: false,
    };
    assert_eq!(prune::prune(world, &request), Ok(ExitStatus::Done));
}

fn compact<P: Parts>(world: &mut World<P>) {
    observe_clock(world);
    let request = CompactRequest {
        archive: "home".into(),
        budget_bytes: None,
        orphans: false,
    };
    assert_eq!(space::compact(world, &request), Ok(ExitStatus::Done));
}

fn open<P: Parts>(world: &mut World<P>) -> Archive {
    Archive::open(&mut world.files, &mut world.secrets, "home").unwrap()
}

fn unlocked<P: Parts>(world: &mut World<P>) -> Arc<DataKey> {
    let mut archive = open(world);
    Arc::new(archive.unlock(world).unwrap())
}

/// Contents of a store, without the packs that wait for their deletion.
#[derive(Debug)]
struct Measured {
    /// Length of the packs that do not wait, bytes.
    bytes: u64,
    objects: u64,
    /// Length of the records that are alive, each with its entry in a directory, bytes.
    alive_bytes: u64,
    commits: u64,
    sessions: usize,
}

impl Measured {
    fn of(world: &mut MemoryWorld, blobs: &BTreeMap<[u8; 32], Vec<u8>>) -> Self {
        let mut archive = open(world);
        let packs = archive.packs(&mut world.files).unwrap();
        let waiting: BTreeSet<[u8; 32]> = packs
            .values()
            .filter(|entry| entry.state != PackState::Live)
            .map(|entry| entry.name.0)
            .collect();
        let objects = blobs.keys().filter(|name| !waiting.contains(*name));
        let objects = objects.count() as u64;
        let live = packs.values().filter(|pack| pack.state == PackState::Live);
        let bytes = live.map(|pack| u64::from(pack.length_bytes)).sum();
        let roots = Roots::of_head(&mut world.files, &mut archive, &mut |_, _| true).unwrap();
        let times = CopyTimes::of(&mut world.files, &archive, u64::MAX).unwrap();
        let world = &mut **world;
        let (files, client) = (&mut world.files, &mut world.client);
        let copy = |pack| times.copy(pack);
        let alive = mark_alive(files, client, &archive, &roots, &copy).unwrap();
        let numbers = alive.packs();
        let mut sessions = 0;
        for (_, volume) in archive.volumes(&mut world.files).unwrap() {
            sessions += archive.sessions(&mut world.files, &volume).unwrap().len();
        }
        Self {
            bytes,
            objects,
            alive_bytes: numbers.map(|pack| alive.of(pack).unwrap().bytes).sum(),
            commits: archive.head.generation,
            sessions,
        }
    }
}

#[test]
fn sixty_daily_sessions_with_churn_stay_within_a_tenth_of_what_is_alive_and_few_objects() {
    const CHUNK: usize = 16 << 10;
    const PACK: u64 = MIB;
    /// The tail of the commit that ends a compaction comes on top: the shortest pack.
    const TAIL: u64 = 64 << 10;
    let mut world = MemoryWorld::new(Durable::default(), 1);
    let mut request = create_request();
    request.settings.chunk_size_bytes = u32::try_from(CHUNK).unwrap();
    request.settings.pack_size_bytes = u32::try_from(PACK).unwrap();
    wait_days(&mut request, 7);
    observe_clock(&mut world);
    admin::create(&mut world, &request).unwrap();
    world.secrets.kept_key = Some(unlocked(&mut world));
    let keep = KeepRules {
        daily: 7,
        weekly: 4,
        monthly: 6,
        ..KeepRules::default()
    };
    let chunks = 1536;
    world.volumes.sources = vec![noise(chunks * CHUNK, 1)];
    let mut contents: BTreeMap<i64, [u8; 32]> = BTreeMap::new();
    for day in 1..=60 {
        world.clock.pass(DAY);
        // Each day writes 60 chunks, most of them in a quarter of the volume.
        for write in 0..60 {
            let place = blake3::hash(&[day, write]).as_bytes()[..8]
                .try_into()
                .unwrap();
            let place = usize::try_from(u64::from_le_bytes(place) >> 8).unwrap();
            let chunk = if write % 4 == 0 {
                place % chunks
            } else {
                place % (chunks / 4)
            };
            let fresh = noise(CHUNK, u64::from(day) * 100 + u64::from(write));
            world.volumes.sources[0][chunk * CHUNK..][..CHUNK].copy_from_slice(&fresh);
        }
        world.client.told.clear();
        back_up(&mut world, &["disk"]);
        let time = world.client.told.iter().find_map(|event| match event {
            ToClient::BackedUp(volume) => volume.session,
            _ => None,
        });
        let content = blake3::hash(&world.volumes.sources[0]);
        contents.insert(time.unwrap(), *content.as_bytes());
        prune(&mut world, &keep);
        compact(&mut world);
        let blobs = world.store.crash(0).0;
        let found = Measured::of(&mut world, &blobs);
        let objects_max = found.bytes / (PACK / 2) + found.commits + 64;
        assert!(found.objects <= objects_max, "day {day}: {found:?}");
        let bytes_max = found.alive_bytes * 11 / 10 + TAIL;
        assert!(found.bytes <= bytes_max, "day {day}: {found:?}");
        if day == 60 {
            eprintln!("{found:?}");
            assert!(found.sessions <= 7 + 2 * (7 + 4 + 6), "{found:?}");
        }
    }
    let request = verify::VerifyRequest {
        archive: "home".into(),
        volumes: Vec::new(),
        session: None,
        deep: true,
        budget_bytes: None,
    };
    assert_eq!(verify::verify(&mut world, &request), Ok(ExitStatus::Done));
    let mut archive = open(&mut world);
    let (_, volume) = archive.volumes(&mut world.files).unwrap().remove(0);
    for session in archive.sessions(&mut world.files, &volume).unwrap() {
        let name = jiff::Timestamp::from_second(session.time)
            .unwrap()
            .to_string();
        let request = restore::RestoreRequest {
            archive: "home".into(),
            volumes: vec!["disk".into()],
            session: SessionChoice::Prefix(name.clone()),
            in_place: false,
            quick: false,
            dry_run: false,
            around_damage: false,
            origins: Origins::default(),
        };
        let restored = restore::restore(&mut world, &request);
        assert_eq!(restored, Ok(ExitStatus::Done), "{name}");
        let placed = blake3::hash(&world.volumes.placed[&0]);
        assert_eq!(placed.as_bytes(), &contents[&session.time], "{name}");
    }
}

/// Number of chunks of 128 KiB in 1 TiB. A chunk has 1 KiB here: trees, commits and local state
/// depend on the number of chunks.
const PLACES: u64 = 8 << 20;
const CHUNK_BYTES: u64 = 1024;
const QUIET: usize = 20;
const CHANGED: u64 = 64;
const DAYS: u64 = 18;
/// Most bytes that an hourly run sends: 64 chunks of 1 KiB, the nodes above them, the sessions of
/// 21 volumes, and the commit.
const RUN_BYTES: u64 = MIB / 4;
/// Most bytes of local state for each place of a record that has an entry in the pack table, and
/// beside these.
const STATE_PLACE: u64 = 600;
const STATE_BESIDE: u64 = 4 * MIB;
struct Sparse;

impl Parts for Sparse {
    type Clock = MachineClock;
    type Random = Hashed;
    type Files = MemoryFiles;
    type Store = MemoryStore;
    type Volumes = SparseVolumes;
    type Secrets = MemorySecrets;
    type Client = MemoryClient;
}

struct Hashed(u64);

impl Hashed {
    fn below(&mut self, end: u64) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes).unwrap();
        u64::from_le_bytes(bytes) % end
    }
}

impl Random for Hashed {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), Failure> {
        self.0 += 1;
        let mut hasher = blake3::Hasher::new();
        hasher
            .update(&self.0.to_le_bytes())
            .finalize_xof()
            .fill(bytes);
        Ok(())
    }

    fn process_id(&self) -> u32 {
        1
    }
}

/// A disk of 8 million chunks of which few have data, and volumes that nobody writes to. All of
/// them have base snapshots.
#[derive(Default)]
struct SparseVolumes {
    /// The hour in which each chunk of the disk was last written.
    written: BTreeMap<u64, u64>,
    changed: BTreeSet<u64>,
    bases: BTreeMap<BaseOf, BaseLabel>,
    pages: BTreeMap<u32, VecDeque<(u64, u64)>>,
}

impl SparseVolumes {
    fn write(&mut self, hour: u64, chunks: impl Iterator<Item = u64>) {
        self.changed = chunks.collect();
        self.written
            .extend(self.changed.iter().map(|chunk| (*chunk, hour)));
    }

    fn size_bytes(item: u32) -> u64 {
        if item == 0 {
            PLACES * CHUNK_BYTES
        } else {
            8 * CHUNK_BYTES
        }
    }
}

impl Volumes for SparseVolumes {
    fn open_source(
        &mut self,
        item: u32,
        _: &str,
        of: &BaseOf,
        _: Option<Vec<u8>>,
    ) -> Result<SourceShape, Failure> {
        let size_bytes = Self::size_bytes(item);
        let ranges = self.changed.iter().filter(|_| item == 0);
        let ranges = ranges.map(|chunk| (chunk * CHUNK_BYTES, (chunk + 1) * CHUNK_BYTES));
        self.pages.insert(item, ranges.collect());
        Ok(SourceShape {
            size_bytes,
            snapshot: true,
            base: self.bases.get(of).map(|label| (*label, size_bytes)),
            found: FoundSource::default(),
        })
    }

    fn next_changes(&mut self, item: u32) -> Result<Option<ChangePage>, Failure> {
        let ranges = self.pages.get_mut(&item).unwrap().drain(..).collect();
        let method = Method::Fiemap;
        Ok(Some(ChangePage { method, ranges }))
    }

    fn next_data(&mut self, item: u32, offset: u64) -> Result<Option<(u64, u64)>, Errno> {
        if item > 0 {
            let size = Self::size_bytes(item);
            return Ok((offset < size).then_some((offset, size)));
        }
        let mut written = self.written.range(offset / CHUNK_BYTES..);
        Ok(written.next().map(|(chunk, _)| {
            let begin = chunk * CHUNK_BYTES;
            (begin.max(offset), begin + CHUNK_BYTES)
        }))
    }

    fn read_source(&mut self, item: u32, offset: u64, bytes: &mut [u8]) -> Result<usize, Errno> {
        let size = usize::try_from(CHUNK_BYTES).unwrap();
        for (chunk, bytes) in (offset / CHUNK_BYTES..).zip(bytes.chunks_mut(size)) {
            let hour = if item == 0 {
                self.written.get(&chunk)
            } else {
                Some(&0)
            };
            let seed = hour.map(|hour| [u64::from(item), chunk, *hour].map(u64::to_le_bytes));
            match seed {
                None => bytes.fill(0),
                Some(seed) => {
                    let mut hasher = blake3::Hasher::new();
                    hasher
                        .update(seed.as_flattened())
                        .finalize_xof()
                        .fill(bytes);
                }
            }
        }
        Ok(bytes.len())
    }

    fn source_bytes(&mut self, item: u32) -> Result<u64, Errno> {
        Ok(Self::size_bytes(item))
    }

    fn end_reading(&mut self, _: u32) {}

    fn rotate(&mut self, _: u32, label: &BaseLabel) -> Result<bool, Failure> {
        self.bases.insert(label.of, *label);
        Ok(true)
    }

    fn close_source(&mut self, _: u32) {}

    fn drop_base(&mut self, _: u32) -> Result<(), Failure> {
        panic!("nothing is restored")
    }

    fn look_at_target(&mut self, _: u32, _: &TargetWish<'_>) -> Result<TargetLook, Failure> {
        panic!("nothing is restored")
    }

    fn open_target(&mut self, _: u32, _: &TargetWish<'_>, _: &str) -> Result<TargetShape, Failure> {
        panic!("nothing is restored")
    }

    fn next_target_data(&mut self, _: u32, _: u64) -> Result<Option<(u64, u64)>, Errno> {
        panic!("nothing is restored")
    }

    fn read_target(&mut self, _: u32, _: u64, _: &mut [u8]) -> Result<usize, Errno> {
        panic!("nothing is restored")
    }

    fn write_target(&mut self, _: u32, _: u64, _: &[u8]) -> Result<(), Errno> {
        panic!("nothing is restored")
    }

    fn punch_target(&mut self, _: u32, _: u64, _: u64) -> Result<(), Errno> {
        panic!("nothing is restored")
    }

    fn finish_target(&mut self, _: u32, _: u64) -> Result<(), Errno> {
        panic!("nothing is restored")
    }

    fn place_target(&mut self, _: u32, _: &str, _: &str) -> Result<(), Failure> {
        panic!("nothing is restored")
    }

    fn undo_target(&mut self, _: u32, _: u64) -> Result<bool, Failure> {
        panic!("nothing is restored")
    }

    fn close_target(&mut self, _: u32) {
        panic!("nothing is restored")
    }
}

fn sparse_world() -> World<Sparse> {
    let plug = Plug::default();
    World {
        clock: MachineClock::after(1),
        random: Hashed(0),
        files: MemoryFiles::new(plug.clone(), BTreeMap::new(), BTreeMap::new()),
        store: MemoryStore::new(plug.clone(), BTreeMap::new(), BTreeMap::new()),
        volumes: SparseVolumes::default(),
        secrets: MemorySecrets::new(plug.clone()),
        client: MemoryClient::new(plug),
    }
}

#[test]
fn weeks_of_hourly_sessions_of_a_volume_of_1_tib_keep_commits_and_local_state_bounded() {
    let mut world = sparse_world();
    let mut request = create_request();
    request.via = Via::Local;
    request.settings.chunk_size_bytes = u32::try_from(CHUNK_BYTES).unwrap();
    request.settings.pack_size_bytes = 16 << 20;
    // Short, so that what is dropped soon exceeds what is kept.
    wait_days(&mut request, 1);
    observe_clock(&mut world);
    admin::create(&mut world, &request).unwrap();
    world.secrets.kept_key = Some(unlocked(&mut world));
    let keep = KeepRules {
        hourly: 24,
        daily: 7,
        weekly: 4,
        monthly: 12,
        yearly: 2,
        ..KeepRules::default()
    };
    let names: Vec<String> = (0..QUIET).map(|number| format!("quiet {number}")).collect();
    let volumes: Vec<&str> = ["disk"]
        .into_iter()
        .chain(names.iter().map(String::as_str))
        .collect();
    world.volumes.write(
        0,
        (0..8192)
            .map(|number| number * 3)
            .chain((0..PLACES).step_by(4096)),
    );
    let mut chance = Hashed(1 << 40);
    let mut run_bytes = 0;
    for hour in 1..=DAYS * 24 {
        world.clock.pass(HOUR);
        let before = world.store.sent_bytes;
        back_up(&mut world, &volumes);
        if hour > 1 {
            run_bytes = run_bytes.max(world.store.sent_bytes - before);
        }
        let hot = |chance: &mut Hashed| match chance.below(10) {
            0 => chance.below(PLACES),
            _ => chance.below(8192) * 3,
        };
        let written: Vec<u64> = (0..CHANGED).map(|_| hot(&mut chance)).collect();
        world.volumes.write(hour, written.into_iter());
        if hour % 24 != 0 {
            continue;
        }
        prune(&mut world, &keep);
        compact(&mut world);
        world.client.told.clear();
        world.client.progress.clear();
        world.store.read.clear();
        let mut archive = open(&mut world);
        let packs = archive.packs(&mut world.files).unwrap();
        let mut places = 0;
        let count = &mut |_: &mut MemoryFiles, _, location: wyng_engine::cache::Location| {
            places += u64::from(packs.contains_key(&location.pack));
            Ok(())
        };
        archive.cache.index.visit(&mut world.files, count).unwrap();
        let files = world.files.crash(0).0;
        let state: u64 = files.values().map(|bytes| bytes.len() as u64).sum();
        let what = format!("day {}: {state} bytes of state, {places} places", hour / 24);
        let indexed = archive.cache.index.places_at_most();
        eprintln!("{what}, {indexed} in the index");
        assert!(indexed <= 2 * places, "{what}, {indexed} in the index");
        assert!(state <= places * STATE_PLACE + STATE_BESIDE, "{what}");
    }
    for (name, bytes) in world.files.crash(0).0 {
        eprintln!("{name}: {} bytes", bytes.len());
    }
    eprintln!("{run_bytes} bytes sent at most");
    assert!(run_bytes <= RUN_BYTES, "{run_bytes} bytes");
}
