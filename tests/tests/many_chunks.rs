// SPDX-License-Identifier: GPL-3.0-or-later
//! A volume with as many chunks as one of 1 TiB: 8 million indices, 2 million of them with data.
//! Memory and local state depend on the number of chunks and not on their size, so a chunk has 1
//! KiB here; the source is computed, the state is on the disk, and sent blobs are dropped.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use wyng_archive::crypto::{ArchiveId, DataKey};
use wyng_archive::plan::giving_up::Copy;
use wyng_control::{
    Asked, BaseLabel, BaseOf, ExitStatus, Failure, FoundSource, KeepRules, Progress, PruneRules,
    SessionFate, TargetLook, ToClient, Via,
};
use wyng_engine::archive::Archive;
use wyng_engine::cache::{Location, Stored};
use wyng_engine::prune::{self, PruneRequest};
use wyng_engine::space::{Roots, mark_alive};
use wyng_engine::world::{
    ChangePage, Client, Clock, Deleted, Doomed, Errno, Fetched, Found, Kept, Lasting, OpenStore,
    Parts, Place, Random, Receipt, Renewed, Reserve, Secrets, SourceShape, Store, TargetShape,
    TargetWish, Volumes, Wait, World,
};
use wyng_engine::{admin, backup};
use wyng_tests::memory_world::sources_named;
use wyng_wire::{BlobName, Service};
use wyngd::keyholder::real_world::StateFiles;
use zeroize::Zeroizing;

const CHUNK_BYTES: u64 = 1024;
/// Number of chunks of 128 KiB in 1 TiB.
const PLACES: u64 = 8 << 20;
/// The first 64 of each 256 chunks have data.
const STRETCH: u64 = 64;
const STRETCH_EVERY: u64 = 256;
const CHUNKS: u64 = PLACES / STRETCH_EVERY * STRETCH;
const SIZE_BYTES: u64 = PLACES * CHUNK_BYTES;
/// Maximum memory of the keyholder, a part of the 128 MiB; 32 MiB are for packs in flight, and the
/// rest for the other processes.
const MEMORY_MAX_KIB: u64 = 88 << 10;
/// Maximum memory of a prune.
const PRUNE_MEMORY_MAX_KIB: u64 = 48 << 10;
/// Maximum number of reads of the local state by a prune: one for each node, and one for each block
/// of the index as often as marking passes through it. One for each chunk would be `CHUNKS`.
const PRUNE_READS_MAX: u64 = CHUNKS / 4;
/// Maximum local state: 0.1 % of the data if each chunk had 128 KiB, and 3 MB for each session.
const STATE_MAX_BYTES: u64 = CHUNKS * 131 + 3_000_000;

/// State files are real; the store takes everything and keeps nothing.
struct Computed;

impl Parts for Computed {
    type Clock = SecondsClock;
    type Random = HashedRandom;
    type Files = StateFiles;
    type Store = TakesAll;
    type Volumes = ComputedVolume;
    type Secrets = OnePassphrase;
    type Client = Listener;
}

fn world_over(state: &Path) -> World<Computed> {
    World {
        clock: SecondsClock(1 << 60),
        random: HashedRandom(0),
        files: StateFiles::new(File::open(state).unwrap().into()),
        store: TakesAll::default(),
        volumes: ComputedVolume { changed: None },
        secrets: OnePassphrase,
        client: Listener {
            changed_bytes: Vec::new(),
            removed_sessions: 0,
        },
    }
}

fn back_up(world: &mut World<Computed>) {
    let request = backup::BackupRequest {
        archive: "home".into(),
        sources: sources_named(["disk"]),
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
    assert_eq!(
        backup::back_up(world, &request).map_err(|failure| failure.to_string()),
        Ok(ExitStatus::Done)
    );
}

#[test]
fn two_million_chunks_of_a_volume_of_1_tib_fit_the_memory_and_the_local_state() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut world = world_over(folder.path());
    let settings = admin::CreateSettings {
        chunk_size_bytes: u32::try_from(CHUNK_BYTES).unwrap(),
        pack_size_bytes: 16 << 20,
        zstd_level: 1,
        hold_off_runs: 3,
        hold_off_secs: 0,
        minimum_age_secs: 0,
        shared_domain: false,
        kdf_memory_kib: 64 << 10,
        kdf_passes: 3,
    };
    admin::create(
        &mut world,
        &admin::CreateRequest {
            credentials: false,
            name: "home".into(),
            store: "none".into(),
            via: Via::Local,
            verify_via: None,
            settings,
        },
    )
    .unwrap();
    // Argon2 used 64 MiB, which do not count for a backup.
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    back_up(&mut world);
    assert_eq!(world.client.changed_bytes, [CHUNKS * CHUNK_BYTES]);
    let (first_kib, first_bytes) = (peak_kib(), bytes_below(folder.path()));
    world.volumes.changed = Some(STRETCH_EVERY);
    back_up(&mut world);
    assert_eq!(
        world.client.changed_bytes,
        [CHUNKS * CHUNK_BYTES, CHUNK_BYTES]
    );
    let (peak_kib, state_bytes) = (peak_kib(), bytes_below(folder.path()));
    eprintln!(
        "{CHUNKS} chunks: {first_kib} and {peak_kib} KiB of memory, {first_bytes} and {state_bytes} bytes of local state"
    );
    assert!(peak_kib <= MEMORY_MAX_KIB, "{peak_kib} KiB");
    assert!(state_bytes <= STATE_MAX_BYTES, "{state_bytes} bytes");
    drop(world);
    // A process of its own, because this one keeps memory that the backups freed.
    let own = std::env::current_exe().unwrap();
    let prune = Command::new(own)
        .args(["--exact", "--ignored", "--nocapture", PRUNE])
        .env(STATE, folder.path())
        .status();
    assert!(prune.unwrap().success());
}

/// The test that is the prune, and the variable that names its state directory.
const PRUNE: &str = "a_prune_of_one_session_of_a_volume_of_1_tib_fits_the_memory_and_few_reads";
const STATE: &str = "WYNG_TEST_STATE";

/// Removes the older session, and holds what it takes to find the packs that nothing needs then.
#[test]
#[ignore = "the test of the two million chunks starts it, and makes its archive"]
fn a_prune_of_one_session_of_a_volume_of_1_tib_fits_the_memory_and_few_reads() {
    let mut world = world_over(Path::new(&std::env::var_os(STATE).unwrap()));
    // Later than the backups, and with other random bytes.
    world.clock.0 += 1 << 50;
    world.random.0 = 1 << 40;
    let request = PruneRequest {
        archive: "home".into(),
        volumes: Vec::new(),
        rules: PruneRules {
            keep: KeepRules {
                last: 1,
                ..KeepRules::default()
            },
            ..PruneRules::default()
        },
        dry_run: false,
        unattended: false,
        trust_clock: false,
    };
    let (reads, nanos) = (reads(), cpu_nanos());
    assert_eq!(prune::prune(&mut world, &request), Ok(ExitStatus::Done));
    let (peak_kib, reads) = (peak_kib(), self::reads() - reads);
    eprintln!(
        "prune: {peak_kib} KiB of memory, {reads} reads, {} ms of CPU time",
        (cpu_nanos() - nanos) / 1_000_000
    );
    assert_eq!(world.client.removed_sessions, 1);
    assert!(peak_kib <= PRUNE_MEMORY_MAX_KIB, "{peak_kib} KiB");
    assert!(reads <= PRUNE_READS_MAX, "{reads} reads");
    assert_every_chunk_is_alive(&mut world);
}

/// The newest session alone has every place of a chunk but the one that has changed since.
fn assert_every_chunk_is_alive(world: &mut World<Computed>) {
    let (files, client) = (&mut world.files, &mut world.client);
    let mut archive = Archive::open(files, &mut world.secrets, "home").unwrap();
    let roots = Roots::of_head(files, &mut archive, &mut |_, _| true).unwrap();
    let copy = |pack| Copy {
        pack,
        came_secs: 0,
        read_whole_secs: None,
    };
    let alive = mark_alive(files, client, &archive, &roots, &copy).unwrap();
    let (mut marked, mut dead) = (0, 0);
    let count = &mut |_: &mut StateFiles, _, place: Location| {
        if matches!(place.stored, Stored::Chunk { .. }) {
            let pack = alive.of(place.pack);
            let is_alive = pack.is_some_and(|pack| pack.offsets.contains(&place.offset_bytes));
            *if is_alive { &mut marked } else { &mut dead } += 1;
        }
        Ok(())
    };
    archive.cache.index.visit(files, count).unwrap();
    assert_eq!((marked, dead, alive.unknown), (CHUNKS, 1, 0));
}

/// Number of read calls of this process.
fn reads() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").unwrap();
    let line = io.lines().find(|line| line.starts_with("syscr:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// CPU time of this thread, nanoseconds.
fn cpu_nanos() -> u64 {
    let times = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    times.split_whitespace().next().unwrap().parse().unwrap()
}

/// Peak resident memory since the peak was last reset, bytes.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Each file counts once, because an archive's folder has links to it too.
fn bytes_below(folder: &Path) -> u64 {
    let files = wyng_tests::sandbox::files_below(folder);
    let files: BTreeSet<_> = files
        .iter()
        .map(|file| file.canonicalize().unwrap())
        .collect();
    files
        .iter()
        .map(|file| file.metadata().unwrap().len())
        .sum()
}

/// Each look at it is a second later than the one before, nanoseconds since 1970.
struct SecondsClock(u64);

impl Clock for SecondsClock {
    fn wall_nanos(&mut self) -> u64 {
        self.0 += 1_000_000_000;
        self.0
    }

    fn monotonic_nanos(&mut self) -> u64 {
        self.wall_nanos()
    }

    fn boottime_nanos(&mut self) -> u64 {
        self.wall_nanos()
    }

    fn boot_id(&self) -> [u8; 16] {
        [1; 16]
    }

    fn cpu_micros(&mut self) -> u64 {
        0
    }
}

/// Keys and seeds; what they seal is dropped.
struct HashedRandom(u64);

impl Random for HashedRandom {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), Failure> {
        self.0 += 1;
        blake3::Hasher::new()
            .update(&self.0.to_le_bytes())
            .finalize_xof()
            .fill(bytes);
        Ok(())
    }

    fn process_id(&self) -> u32 {
        std::process::id()
    }
}

/// A store that keeps hashes alone.
#[derive(Default)]
struct TakesAll {
    put_number: u64,
    receipts: VecDeque<Receipt>,
    /// The hash of each blob by its name.
    names: HashMap<[u8; 32], [u8; 32]>,
}

impl Store for TakesAll {
    type Buffer = Vec<u8>;
    type Bytes = Vec<u8>;

    fn connect(&mut self, _: Service, _: &Place, _: OpenStore) -> Result<(), Failure> {
        self.put_number = 0;
        Ok(())
    }

    fn buffer(&mut self, length_bytes: usize) -> Result<Vec<u8>, Failure> {
        Ok(vec![0; length_bytes])
    }

    fn put(
        &mut self,
        name: BlobName,
        bytes: Vec<u8>,
        length: usize,
        _: Reserve,
    ) -> Result<u64, Failure> {
        self.put_number += 1;
        let hash = *blake3::hash(&bytes[..length]).as_bytes();
        let kept = match self.names.insert(name.0, hash) {
            None => Kept::New,
            Some(there) if there == hash => Kept::Same,
            Some(there) => {
                self.names.insert(name.0, there);
                Kept::Different
            }
        };
        self.receipts.push_back(Receipt {
            number: self.put_number,
            kept,
        });
        Ok(self.put_number)
    }

    fn receipt(&mut self, wait: Wait) -> Result<Option<Receipt>, Failure> {
        // Receipts come as late as a window of 32 MiB allows.
        if wait == Wait::UntilThere || self.receipts.len() > 2 {
            Ok(self.receipts.pop_front())
        } else {
            Ok(None)
        }
    }

    fn finish_push(&mut self) -> Result<(), Failure> {
        Ok(())
    }

    // Calls that a backup never makes.
    fn take_back(&mut self) -> Result<Vec<u8>, Failure> {
        panic!("this store takes every name")
    }

    fn renew(&mut self, _: Lasting) -> Result<(), Failure> {
        panic!("this store has no locks")
    }

    fn renewed(&mut self) -> Result<Renewed, Failure> {
        panic!("this store has no locks")
    }

    fn delete(&mut self, _: Doomed) -> Result<(), Failure> {
        panic!("a backup deletes nothing")
    }

    fn deleted(&mut self) -> Result<Deleted, Failure> {
        panic!("a backup deletes nothing")
    }

    fn finish_prune(&mut self) -> Result<(), Failure> {
        panic!("a backup deletes nothing")
    }

    fn request(&mut self, _: BlobName, _: u32, _: u32) -> Result<(), Failure> {
        panic!("a backup reads nothing back")
    }

    fn show_version(&mut self, _: BlobName, _: u8) {}

    fn answer(&mut self) -> Result<Fetched<Vec<u8>>, Failure> {
        panic!("a backup reads nothing back")
    }

    fn stat(&mut self, _: BlobName) -> Result<Found, Failure> {
        panic!("a backup reads nothing back")
    }

    fn list(&mut self, _: &mut dyn FnMut(BlobName, u64)) -> Result<bool, Failure> {
        panic!("a backup reads nothing back")
    }

    fn finish_fetch(&mut self) -> Result<(), Failure> {
        panic!("a backup reads nothing back")
    }
}

/// A volume whose bytes follow from their places.
struct ComputedVolume {
    /// Chunks that have other bytes in the next session.
    changed: Option<u64>,
}

impl ComputedVolume {
    /// Bytes that follow from the number of the chunk.
    fn fill(&self, chunk: u64, bytes: &mut [u8]) {
        let seed = if self.changed == Some(chunk) {
            !chunk
        } else {
            chunk
        };
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        for word in bytes.as_chunks_mut::<8>().0 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            *word = state.to_le_bytes();
        }
    }
}

impl Volumes for ComputedVolume {
    fn open_source(
        &mut self,
        _: u32,
        _: &str,
        _: &BaseOf,
        _: Option<Vec<u8>>,
    ) -> Result<SourceShape, Failure> {
        Ok(SourceShape {
            size_bytes: SIZE_BYTES,
            snapshot: false,
            base: None,
            found: FoundSource::default(),
        })
    }

    fn next_changes(&mut self, _: u32) -> Result<Option<ChangePage>, Failure> {
        Ok(None)
    }

    fn end_reading(&mut self, _: u32) {}

    fn rotate(&mut self, _: u32, _: &BaseLabel) -> Result<bool, Failure> {
        panic!("there is no snapshot")
    }

    fn next_data(&mut self, _: u32, offset: u64) -> Result<Option<(u64, u64)>, Errno> {
        let every = STRETCH_EVERY * CHUNK_BYTES;
        let end = offset / every * every + STRETCH * CHUNK_BYTES;
        let (begin, end) = if offset < end {
            (offset, end)
        } else {
            (end - STRETCH * CHUNK_BYTES + every, end + every)
        };
        Ok((begin < SIZE_BYTES).then_some((begin, end)))
    }

    fn read_source(&mut self, _: u32, offset: u64, bytes: &mut [u8]) -> Result<usize, Errno> {
        let chunks = bytes.chunks_mut(usize::try_from(CHUNK_BYTES).unwrap());
        (offset / CHUNK_BYTES..)
            .zip(chunks)
            .for_each(|(chunk, bytes)| self.fill(chunk, bytes));
        Ok(bytes.len())
    }

    fn source_bytes(&mut self, _: u32) -> Result<u64, Errno> {
        Ok(SIZE_BYTES)
    }

    fn close_source(&mut self, _: u32) {}

    // Calls that a backup never makes.
    fn drop_base(&mut self, _: u32) -> Result<(), Failure> {
        panic!("a backup has no target")
    }

    fn look_at_target(&mut self, _: u32, _: &TargetWish<'_>) -> Result<TargetLook, Failure> {
        panic!("a backup has no target")
    }

    fn open_target(&mut self, _: u32, _: &TargetWish<'_>, _: &str) -> Result<TargetShape, Failure> {
        panic!("a backup has no target")
    }

    fn next_target_data(&mut self, _: u32, _: u64) -> Result<Option<(u64, u64)>, Errno> {
        panic!("a backup has no target")
    }

    fn read_target(&mut self, _: u32, _: u64, _: &mut [u8]) -> Result<usize, Errno> {
        panic!("a backup has no target")
    }

    fn write_target(&mut self, _: u32, _: u64, _: &[u8]) -> Result<(), Errno> {
        panic!("a backup has no target")
    }

    fn punch_target(&mut self, _: u32, _: u64, _: u64) -> Result<(), Errno> {
        panic!("a backup has no target")
    }

    fn finish_target(&mut self, _: u32, _: u64) -> Result<(), Errno> {
        panic!("a backup has no target")
    }

    fn place_target(&mut self, _: u32, _: &str, _: &str) -> Result<(), Failure> {
        panic!("a backup has no target")
    }

    fn undo_target(&mut self, _: u32, _: u64) -> Result<bool, Failure> {
        panic!("a backup has no target")
    }

    fn close_target(&mut self, _: u32) {
        panic!("a backup has no target")
    }
}

struct OnePassphrase;

impl Secrets for OnePassphrase {
    fn passphrase(&mut self, _: Asked) -> Result<Zeroizing<Vec<u8>>, Failure> {
        Ok(Zeroizing::new(b"passphrase".to_vec()))
    }

    fn show_secret(&mut self, _: &[u8]) -> Result<(), Failure> {
        Ok(())
    }

    fn keep_key(&mut self, _: ArchiveId, _: Arc<DataKey>, _: u64) {}

    fn kept_key(&mut self, _: ArchiveId) -> Option<Arc<DataKey>> {
        None
    }

    fn wipe_keys(&mut self, _: Option<ArchiveId>) {}

    fn sealed_credential(&mut self, _: ArchiveId) -> Option<Zeroizing<Vec<u8>>> {
        None
    }
}

/// A client that notes how much had changed, and how many sessions were removed.
struct Listener {
    changed_bytes: Vec<u64>,
    removed_sessions: usize,
}

impl Client for Listener {
    fn uid(&self) -> u32 {
        0
    }

    fn tell(&mut self, event: ToClient) -> Result<(), Failure> {
        match event {
            ToClient::BackedUp(report) => self.changed_bytes.push(report.changed_bytes),
            ToClient::Judged(judged) => {
                let is_removed = matches!(judged.fate, SessionFate::Removed(_));
                self.removed_sessions += usize::from(is_removed);
            }
            _ => {}
        }
        Ok(())
    }

    fn progress(&mut self, _: Progress) {}

    fn cancelled(&mut self) -> bool {
        false
    }
}
