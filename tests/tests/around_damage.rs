// SPDX-License-Identifier: GPL-3.0-or-later
//! A restore around damage gives every byte that is still available, zeros for the lost ranges, and
//! a list of these. Nothing else passes for a complete volume.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use wyng_tests::disk::RottenDisk;
use wyng_tests::require::{Component, require};
use wyng_tests::sandbox::{Outcome, Sandbox, flip_a_bit, noise};

const MIB: usize = 1 << 20;
const CHUNK: u64 = 64 << 10;

/// An archive with `disk.img` in packs of three chunks and `other.img` in its own packs, and the
/// packs of the first volume, longest first.
fn archive(sandbox: Sandbox) -> (Sandbox, Vec<PathBuf>) {
    sandbox
        .create("home", &["--chunk-size", "64K", "--pack-size", "256K"])
        .success();
    sandbox.image("disk.img", 2 * MIB + 5000, 1);
    sandbox.image("other.img", MIB, 2);
    let before = sandbox.blobs();
    sandbox.wyng(&["backup", "home", "disk.img"]).success();
    let mut packs: Vec<PathBuf> = sandbox
        .blobs()
        .difference(&before)
        .filter(|blob| length(blob) > 4096)
        .cloned()
        .collect();
    packs.sort_by_key(|pack| std::cmp::Reverse(length(pack)));
    sandbox.wyng(&["backup", "home", "other.img"]).success();
    (sandbox, packs)
}

fn length(blob: &Path) -> u64 {
    blob.metadata().unwrap().len()
}

/// The ranges of a volume that are listed as lost.
fn lost(outcome: &Outcome, place: usize) -> Vec<(u64, u64)> {
    let volume = &outcome.json["volumes"][place];
    let ranges: Vec<(u64, u64)> = volume["lost"]
        .as_array()
        .unwrap()
        .iter()
        .map(|range| {
            (
                range["offset_bytes"].as_u64().unwrap(),
                range["length_bytes"].as_u64().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        volume["lost_bytes"],
        ranges.iter().map(|(_, length)| length).sum::<u64>()
    );
    ranges
}

/// Checks that the target is the content with zeros in exactly these ranges.
fn assert_around(target: &[u8], content: &[u8], lost: &[(u64, u64)]) {
    let mut expected = content.to_vec();
    for (begin, length) in lost {
        expected[*begin as usize..(begin + length) as usize].fill(0);
    }
    assert_eq!(target.len(), expected.len());
    assert_eq!(
        target
            .iter()
            .zip(&expected)
            .position(|(found, wanted)| found != wanted),
        None,
        "lost: {lost:?}"
    );
}

fn content() -> Vec<u8> {
    noise(2 * MIB + 5000, 1)
}

#[test]
fn what_a_lost_pack_held_is_zeros_and_listed_and_all_else_is_exact() {
    let (sandbox, packs) = archive(Sandbox::new());
    std::fs::remove_file(&packs[0]).unwrap();
    assert_eq!(
        sandbox
            .wyng(&["restore", "home", "disk.img", "--to", "out"])
            .expect(5)
            .codes(),
        ["missing"]
    );
    assert!(!sandbox.path("out").exists());
    let restored = sandbox.wyng(&[
        "restore",
        "home",
        "disk.img",
        "--to",
        "out",
        "--around-damage",
    ]);
    assert_eq!(restored.expect(5).codes(), ["restored-around-damage"]);
    let lost = lost(&restored, 0);
    assert_eq!(
        lost.iter().map(|(_, length)| length).sum::<u64>(),
        3 * CHUNK,
        "a pack holds three chunks"
    );
    assert_around(
        &std::fs::read(sandbox.path("out")).unwrap(),
        &content(),
        &lost,
    );
}

#[test]
fn of_a_damaged_pack_only_the_damaged_chunk_is_lost() {
    let (sandbox, packs) = archive(Sandbox::new());
    flip_a_bit(&packs[0]);
    let restored = sandbox.wyng(&[
        "restore",
        "home",
        "disk.img",
        "--to",
        "out",
        "--around-damage",
    ]);
    let lost = lost(restored.expect(5), 0);
    assert_eq!(lost.iter().map(|(_, length)| length).sum::<u64>(), CHUNK);
    assert_around(
        &std::fs::read(sandbox.path("out")).unwrap(),
        &content(),
        &lost,
    );
}

#[test]
fn of_a_pack_that_the_disk_cannot_read_only_what_lies_there_is_lost() {
    if !require(
        Component::Btrfs,
        "of_a_pack_that_the_disk_cannot_read_only_what_lies_there_is_lost",
    ) {
        return;
    }
    let disk = RottenDisk::mount();
    let (sandbox, packs) = archive(Sandbox::with_store_at(disk.join("store")));
    // In the middle of the second of three records.
    disk.rot_at(&packs[0], CHUNK as usize * 3 / 2);
    let restored = sandbox.wyng(&[
        "restore",
        "home",
        "disk.img",
        "--to",
        "out",
        "--around-damage",
    ]);
    let lost = lost(restored.expect(5), 0);
    assert_eq!(
        lost.iter().map(|(_, length)| length).sum::<u64>(),
        CHUNK,
        "the other two records of the pack can be read"
    );
    assert_around(
        &std::fs::read(sandbox.path("out")).unwrap(),
        &content(),
        &lost,
    );
}

#[test]
fn a_stream_goes_around_damage_too() {
    let (sandbox, packs) = archive(Sandbox::new());
    std::fs::remove_file(&packs[0]).unwrap();
    let mut command = sandbox.command(&[
        "restore",
        "home",
        "disk.img",
        "--to",
        "-",
        "--around-damage",
    ]);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(5));
    let target = output.stdout.get(..content().len()).unwrap();
    let zeros: Vec<(u64, u64)> = (0..content().len() as u64 / CHUNK)
        .filter(|chunk| {
            target[(chunk * CHUNK) as usize..((chunk + 1) * CHUNK) as usize]
                .iter()
                .all(|byte| *byte == 0)
        })
        .map(|chunk| (chunk * CHUNK, CHUNK))
        .collect();
    assert_eq!(zeros.len(), 3);
    assert_around(target, &content(), &zeros);
}

#[test]
fn what_is_there_already_and_right_is_not_lost() {
    let (sandbox, packs) = archive(Sandbox::new());
    std::fs::remove_file(&packs[0]).unwrap();
    // The volume still has its bytes except for one.
    let mut damaged = content();
    damaged[2 * MIB] ^= 1;
    for options in [&["--overwrite"][..], &["--in-place", "--yes"]] {
        std::fs::write(sandbox.path("there"), &damaged).unwrap();
        let restored = sandbox.wyng(
            &[
                &[
                    "restore",
                    "home",
                    "disk.img",
                    "--to",
                    "there",
                    "--around-damage",
                ],
                options,
            ]
            .concat(),
        );
        let lost = lost(&restored, 0);
        assert!(
            restored.status == if lost.is_empty() { 0 } else { 5 } && lost.len() <= 1,
            "{}",
            restored.json
        );
        assert_around(
            &std::fs::read(sandbox.path("there")).unwrap(),
            &content(),
            &lost,
        );
    }
    // Also in place, where everything differs.
    std::fs::write(sandbox.path("there"), noise(content().len(), 7)).unwrap();
    let restored = sandbox.wyng(&[
        "restore",
        "home",
        "disk.img",
        "--to",
        "there",
        "--around-damage",
        "--in-place",
        "--yes",
    ]);
    let lost = lost(restored.expect(5), 0);
    assert_eq!(
        lost.iter().map(|(_, length)| length).sum::<u64>(),
        3 * CHUNK
    );
    assert_around(
        &std::fs::read(sandbox.path("there")).unwrap(),
        &content(),
        &lost,
    );
}

#[test]
fn on_the_machine_that_wrote_it_what_lies_below_a_lost_node_is_restored() {
    let (sandbox, packs) = archive(Sandbox::new());
    // The last pack of the run holds the nodes of the tree, which the cache has too.
    std::fs::remove_file(packs.last().unwrap()).unwrap();
    let restored = sandbox.wyng(&[
        "restore",
        "home",
        "disk.img",
        "--to",
        "out",
        "--around-damage",
    ]);
    let lost = lost(&restored, 0);
    // That pack also holds chunks, at most three.
    assert!(
        lost.iter().map(|(_, length)| length).sum::<u64>() <= 3 * CHUNK,
        "{lost:?}"
    );
    assert_around(
        &std::fs::read(sandbox.path("out")).unwrap(),
        &content(),
        &lost,
    );
}

/// An archive whose first chunks and their leaf are in the second run's packs, opened by a machine
/// without a cache, after the first run's nodes were lost; and the volume's bytes.
fn with_lost_leaves() -> (Sandbox, Vec<u8>) {
    let sandbox = Sandbox::new();
    sandbox
        .create("home", &["--chunk-size", "64K", "--pack-size", "256K"])
        .success();
    let mut bytes = noise(6 * MIB + 5000, 1);
    std::fs::write(sandbox.path("disk.img"), &bytes).unwrap();
    let before = sandbox.blobs();
    let first =
        sandbox.wyng(&["backup", "home", "disk.img"]).success().json["volumes"][0]["session"]
            .as_str()
            .unwrap()
            .to_owned();
    let first_run: BTreeSet<PathBuf> = sandbox.blobs().difference(&before).cloned().collect();
    bytes[..CHUNK as usize].copy_from_slice(&noise(CHUNK as usize, 3));
    std::fs::write(sandbox.path("disk.img"), &bytes).unwrap();
    sandbox.wyng(&["backup", "home", "disk.img"]).success();
    // The pack with the first session's nodes, found by trying each pack.
    for pack in first_run.iter().filter(|blob| length(blob) > 8192) {
        let away = sandbox.path("away");
        std::fs::rename(pack, &away).unwrap();
        sandbox.adopt("passphrase");
        let restored = sandbox.wyng(&[
            "restore",
            "home",
            "disk.img",
            "--session",
            &first,
            "--to",
            "tried",
            "--around-damage",
        ]);
        let lost_all = restored.json["volumes"][0]["lost_bytes"] == bytes.len() as u64;
        std::fs::remove_file(sandbox.path("tried")).unwrap();
        if lost_all {
            return (sandbox, bytes);
        }
        std::fs::rename(&away, pack).unwrap();
    }
    panic!("no pack held the nodes");
}

#[test]
fn what_lay_below_a_lost_node_is_lost_where_nobody_remembers_the_node() {
    let (sandbox, bytes) = with_lost_leaves();
    // The second run rewrote the first leaf: 32 chunks. The chunks of the other leaves are in the
    // store, but nothing says where.
    let first_leaf = 32 * CHUNK;
    let all = [(first_leaf, bytes.len() as u64 - first_leaf)];
    for options in [
        &["--to", "new"][..],
        &["--to", "there", "--in-place", "--yes"],
        &["--to", "there", "--overwrite"],
    ] {
        // The target already has the session's bytes, but nothing shows that any more.
        std::fs::write(sandbox.path("there"), &bytes).unwrap();
        let restored =
            sandbox.wyng(&[&["restore", "home", "disk.img", "--around-damage"], options].concat());
        assert_eq!(restored.expect(5).codes(), ["restored-around-damage"]);
        let lost = lost(&restored, 0);
        // The lost pack may hold a chunk of the first leaf too.
        let (begin, length) = *lost.last().unwrap();
        assert_eq!(begin + length, all[0].0 + all[0].1, "{lost:?}");
        assert!(
            lost.iter()
                .all(|range| *range == all[0] || range.0 < first_leaf),
            "{lost:?}"
        );
        assert_around(
            &std::fs::read(sandbox.path(options[1])).unwrap(),
            &bytes,
            &lost,
        );
    }
    // Without the option nothing is restored.
    assert_eq!(
        sandbox
            .wyng(&["restore", "home", "disk.img", "--to", "other"])
            .expect(5)
            .codes(),
        ["session-damaged"]
    );
}

#[test]
fn what_verify_noted_of_a_pack_does_not_lose_its_sound_records() {
    let (sandbox, packs) = archive(Sandbox::new());
    flip_a_bit(&packs[0]);
    sandbox.wyng(&["verify", "home"]).expect(5);
    let restored = sandbox.wyng(&[
        "restore",
        "home",
        "disk.img",
        "--to",
        "out",
        "--around-damage",
    ]);
    let lost = lost(restored.expect(5), 0);
    assert_eq!(lost.iter().map(|(_, length)| length).sum::<u64>(), CHUNK);
    assert_around(
        &std::fs::read(sandbox.path("out")).unwrap(),
        &content(),
        &lost,
    );
}

#[test]
fn a_chunk_that_lies_in_two_packs_is_lost_with_both_only() {
    let (sandbox, packs) = archive(Sandbox::new());
    let away = sandbox.path("away");
    std::fs::rename(&packs[0], &away).unwrap();
    sandbox.wyng(&["verify", "home"]).expect(5);
    let before = sandbox.blobs();
    sandbox.wyng(&["backup", "home", "disk.img"]).success();
    let copies: Vec<PathBuf> = sandbox.blobs().difference(&before).cloned().collect();
    sandbox
        .wyng(&["restore", "home", "disk.img", "--to", "healed"])
        .success();
    // The old pack comes back, and the new packs are lost.
    std::fs::rename(&away, &packs[0]).unwrap();
    copies
        .iter()
        .filter(|blob| length(blob) > 8192)
        .for_each(|pack| std::fs::remove_file(pack).unwrap());
    let restored = sandbox.wyng(&["restore", "home", "disk.img", "--to", "out"]);
    assert_eq!(
        restored.success().json["volumes"][0]["lost"],
        serde_json::json!([])
    );
    assert!(std::fs::read(sandbox.path("out")).unwrap() == content());
    std::fs::remove_file(&packs[0]).unwrap();
    let restored = sandbox.wyng(&[
        "restore",
        "home",
        "disk.img",
        "--to",
        "around",
        "--around-damage",
    ]);
    let lost = lost(restored.expect(5), 0);
    assert_eq!(
        lost.iter().map(|(_, length)| length).sum::<u64>(),
        3 * CHUNK
    );
    assert_around(
        &std::fs::read(sandbox.path("around")).unwrap(),
        &content(),
        &lost,
    );
}

#[test]
fn all_volumes_come_back_and_the_damaged_one_is_told() {
    let (sandbox, packs) = archive(Sandbox::new());
    std::fs::remove_file(&packs[0]).unwrap();
    std::fs::create_dir(sandbox.path("all")).unwrap();
    let restored = sandbox.wyng(&["restore", "home", "--all", "--to", "all", "--around-damage"]);
    assert_eq!(restored.expect(5).codes(), ["restored-around-damage"]);
    let names: BTreeSet<&str> = restored.json["volumes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|volume| volume["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["disk.img", "other.img"].into());
    assert_around(
        &std::fs::read(sandbox.path("all/disk.img")).unwrap(),
        &content(),
        &lost(&restored, 0),
    );
    assert!(
        lost(&restored, 1).is_empty()
            && std::fs::read(sandbox.path("all/other.img")).unwrap() == noise(MIB, 2)
    );
}

#[test]
fn a_dry_run_lists_what_is_known_to_be_lost() {
    let (sandbox, packs) = archive(Sandbox::new());
    std::fs::remove_file(&packs[0]).unwrap();
    sandbox.wyng(&["verify", "home"]).expect(5);
    let options = [
        "restore",
        "home",
        "disk.img",
        "--to",
        "out",
        "--around-damage",
        "--dry-run",
    ];
    let announced = lost(sandbox.wyng(&options).success(), 0);
    assert!(!sandbox.path("out").exists());
    let restored = sandbox.wyng(&options[..6]);
    assert_eq!(lost(restored.expect(5), 0), announced);
    assert_around(
        &std::fs::read(sandbox.path("out")).unwrap(),
        &content(),
        &announced,
    );
    // Bytes that the target already has are not fetched, and so not lost.
    std::fs::write(sandbox.path("out"), content()).unwrap();
    assert_eq!(
        lost(
            sandbox
                .wyng(&[&options[..], &["--in-place"]].concat())
                .success(),
            0
        ),
        []
    );
}

#[test]
fn without_damage_nothing_is_different() {
    let (sandbox, _) = archive(Sandbox::new());
    let restored = sandbox.wyng(&[
        "restore",
        "home",
        "disk.img",
        "--to",
        "out",
        "--around-damage",
    ]);
    assert!(lost(restored.success(), 0).is_empty());
    assert!(std::fs::read(sandbox.path("out")).unwrap() == content());
}
