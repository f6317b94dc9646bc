// SPDX-License-Identifier: GPL-3.0-or-later
//! What an observer of the store learns from the sizes, the number and the order of blobs. It does
//! not learn how the bytes of a run are divided among volumes, their order, or their names.

use std::collections::BTreeMap;

use wyng_control::{ExitStatus, Via};
use wyng_engine::{admin, backup};
use wyng_tests::memory_world::{Durable, MemoryWorld, sources_named};
use wyng_tests::sandbox::{Sandbox, noise};

const CHUNK: usize = 4096;
const PACK: usize = 64 << 10;
/// Number of full packs between two commits of these runs.
const PACKS_A_COMMIT: usize = 16;

fn made() -> Durable {
    let settings = admin::CreateSettings {
        chunk_size_bytes: u32::try_from(CHUNK).unwrap(),
        pack_size_bytes: u32::try_from(PACK).unwrap(),
        zstd_level: 1,
        hold_off_runs: 3,
        hold_off_secs: 0,
        minimum_age_secs: 604_800,
        shared_domain: false,
        kdf_memory_kib: 64 << 10,
        kdf_passes: 3,
    };
    let mut world = MemoryWorld::new(Durable::default(), 1);
    admin::create(
        &mut world,
        &admin::CreateRequest {
            credentials: false,
            name: "home".into(),
            store: "memory".into(),
            via: Via::Local,
            verify_via: None,
            settings,
        },
    )
    .unwrap();
    world.end()
}

/// What a run shows: the length of each blob that it puts, in order, as `COUNT x LENGTH`; and the
/// blobs in the store afterwards.
fn observed(durable: Durable, seed: u64, volumes: &[(String, Vec<u8>)]) -> (String, Durable) {
    let mut world = MemoryWorld::new(durable, seed);
    world.volumes.sources = volumes.iter().map(|(_, bytes)| bytes.clone()).collect();
    let request = backup::BackupRequest {
        archive: "home".into(),
        sources: sources_named(volumes.iter().map(|(name, _)| name.as_str())),
        qubes: wyng_control::QubeChoice::default(),
        skip_unchanged: false,
        dry_run: false,
        live: false,
        heal: false,
        verify: false,
        max_new_bytes: None,
        prune_after: None,
        commit_after_bytes: (PACKS_A_COMMIT * PACK) as u64,
    };
    assert_eq!(
        backup::back_up(&mut world, &request),
        Ok(ExitStatus::Done),
        "{:?}",
        world.client.told
    );
    let shown: Vec<String> = world
        .store
        .puts
        .chunk_by(|a, b| a == b)
        .map(|alike| format!("{} x {}", alike.len(), alike[0]))
        .collect();
    (shown.join(", "), world.end())
}

/// `bytes` cut into volumes of these numbers of chunks.
fn split(bytes: &[u8], chunks: impl IntoIterator<Item = usize>) -> Vec<(String, Vec<u8>)> {
    let mut rest = bytes;
    let mut volumes = Vec::new();
    for (number, count) in chunks.into_iter().enumerate() {
        let (volume, behind) = rest.split_at(count * CHUNK);
        volumes.push((format!("volume {number}"), volume.to_vec()));
        rest = behind;
    }
    assert!(rest.is_empty());
    volumes
}

#[test]
fn what_the_store_sees_of_a_run_does_not_tell_how_its_bytes_are_split_over_volumes() {
    // away from a pack's border, which a few KiB of metadata could cross
    const CHUNKS: usize = 1516;
    let bytes = noise(CHUNKS * CHUNK, 7);
    let whole = split(&bytes, [CHUNKS]);
    let mut named = split(&bytes, [500, 416, 600]);
    named
        .iter_mut()
        .zip(["a", "a volume whose name is long", "vault"])
        .for_each(|((name, _), other)| *name = other.into());
    let mut reversed = split(&bytes, [100, 1316, 100]);
    reversed.reverse();
    let splits = [
        ("three", split(&bytes, [500, 516, 500])),
        ("three of other sizes and names", named),
        ("the largest in the middle, backwards", reversed),
        // A commit at a volume's end would come exactly where a pack is full, or next to it.
        (
            "at the packs' borders",
            split(&bytes, [240, 241, 239, 256, 255, 257, 28]),
        ),
        (
            "a hundred and more",
            split(
                &bytes,
                std::iter::repeat_n(10, CHUNKS / 10).chain([CHUNKS % 10]),
            ),
        ),
    ];
    let (expected, _) = observed(made(), 10, &whole);
    // The head once more; then full packs and the tail, and their commit.
    let behind_head = expected.strip_prefix("1 x 4096, ").unwrap();
    let regular = format!("{} x {PACK}, 1 x 4096, ", PACKS_A_COMMIT + 1);
    assert!(behind_head.starts_with(&regular.repeat(5)), "{expected}");
    for (what, volumes) in splits {
        assert_eq!(observed(made(), 10, &volumes).0, expected, "{what}");
    }
}

#[test]
fn what_the_store_sees_of_a_later_run_does_not_tell_which_volumes_changed() {
    let bytes = noise(1200 * CHUNK, 8);
    let volumes = split(&bytes, [300; 4]);
    let (_, durable) = observed(made(), 10, &volumes);
    let fresh = noise(640 * CHUNK, 9);
    let change = |parts: [usize; 4]| {
        let (mut changed, mut rest) = (volumes.clone(), fresh.as_slice());
        for ((_, volume), chunks) in changed.iter_mut().zip(parts) {
            let (new, behind) = rest.split_at(chunks * CHUNK);
            volume[..new.len()].copy_from_slice(new);
            rest = behind;
        }
        changed
    };
    let (expected, _) = observed(durable.clone(), 20, &change([160; 4]));
    assert!(expected.matches(" x 4096").count() >= 3, "{expected}");
    for parts in [
        [300, 300, 40, 0],
        [0, 40, 300, 300],
        [300, 20, 20, 300],
        [1, 299, 300, 40],
    ] {
        assert_eq!(
            observed(durable.clone(), 20, &change(parts)).0,
            expected,
            "{parts:?}"
        );
    }
}

/// Number of files of each length in a store.
fn seen_in_folder(sandbox: &Sandbox) -> BTreeMap<u64, usize> {
    let mut seen = BTreeMap::new();
    for blob in sandbox.blobs() {
        *seen
            .entry(std::fs::metadata(blob).unwrap().len())
            .or_default() += 1;
    }
    seen
}

#[test]
fn a_store_in_a_folder_shows_the_same_of_one_volume_and_of_three() {
    // A commit lists at most 512 packs of 128 KiB, so that a run of this size has two commits.
    const MIB: usize = 1 << 20;
    let bytes = noise(80 * MIB, 3);
    let seen = |sizes: &[usize]| {
        let sandbox = Sandbox::with_archive(&["--chunk-size", "64K", "--pack-size", "128K"]);
        let (mut rest, mut names) = (bytes.as_slice(), Vec::new());
        for (number, size) in sizes.iter().enumerate() {
            let (volume, behind) = rest.split_at(size * MIB);
            std::fs::write(sandbox.path(&format!("{number}.img")), volume).unwrap();
            names.push(format!("{number}.img"));
            rest = behind;
        }
        let mut command = vec!["backup", "home"];
        command.extend(names.iter().map(String::as_str));
        sandbox.wyng(&command).success();
        seen_in_folder(&sandbox)
    };
    let expected = seen(&[80]);
    assert!(
        expected[&4096] >= 3,
        "the first commit of the archive, and two of the run: {expected:?}"
    );
    assert_eq!(seen(&[25, 40, 15]), expected);
}
