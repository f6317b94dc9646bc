// SPDX-License-Identifier: GPL-3.0-or-later
//! Stores that lie, lose blobs or are missing; wrong passphrases; faulty targets and sources. Each
//! is refused with its own error and status, and a target never holds wrong bytes.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

use wyng_tests::disk::{LoopMount, SmallDisk};
use wyng_tests::require::{Component, require};
use wyng_tests::sandbox::{Outcome, Sandbox, files_below, flip_a_bit, noise};

const MIB: usize = 1 << 20;

/// An archive in small packs, with one volume and two sessions.
fn small_archive() -> Sandbox {
    let sandbox = Sandbox::with_archive(&["--chunk-size", "64K", "--pack-size", "256K"]);
    for seed in [1, 2] {
        sandbox.image("disk.img", MIB, seed);
        sandbox.wyng(&["backup", "home", "disk.img"]).success();
    }
    sandbox
}

fn restore_all(sandbox: &Sandbox) -> (Outcome, bool) {
    let _ = std::fs::remove_dir_all(sandbox.path("out"));
    std::fs::create_dir(sandbox.path("out")).unwrap();
    let outcome = sandbox.wyng(&["restore", "home", "disk.img", "--to", "out/disk.img"]);
    let left = files_below(&sandbox.path("out"));
    (outcome, !left.is_empty())
}

/// Whether nothing of any archive is in the state directory, whose clock goes on.
fn has_only_a_clock(sandbox: &Sandbox) -> bool {
    files_below(&sandbox.state())
        .iter()
        .all(|file| *file == sandbox.state().join("clock"))
}

#[test]
fn a_flipped_bit_in_any_blob_is_found_by_verify_and_never_reaches_a_target() {
    let sandbox = small_archive();
    for blob in sandbox.blobs() {
        let sound = std::fs::read(&blob).unwrap();
        std::fs::set_permissions(&blob, std::fs::Permissions::from_mode(0o600)).unwrap();
        flip_a_bit(&blob);
        let name = blob.file_name().unwrap().to_string_lossy().into_owned();
        let verified = sandbox.wyng(&["verify", "home"]);
        verified.expect(5);
        let problems = verified.json["problems"].as_array().unwrap();
        assert!(
            problems
                .iter()
                .any(|problem| problem["object"] == name.as_str()),
            "{name} is not named: {problems:?}"
        );
        let (restored, left) = restore_all(&sandbox);
        match restored.status {
            0 => assert!(
                std::fs::read(sandbox.path("out/disk.img")).unwrap() == noise(MIB, 2),
                "{name}"
            ),
            5 => assert!(!left, "a refused restore left a file behind: {name}"),
            other => panic!("status {other} for {name}: {}", restored.stderr),
        }
        std::fs::write(&blob, sound).unwrap();
    }
    sandbox.wyng(&["verify", "home"]).success();
}

#[test]
fn a_missing_or_cut_blob_is_named_with_the_sessions_that_need_it() {
    let sandbox = small_archive();
    for blob in sandbox.blobs() {
        let sound = std::fs::read(&blob).unwrap();
        let name = blob.file_name().unwrap().to_string_lossy().into_owned();
        let named = |outcome: &Outcome| outcome.json["problems"].to_string().contains(&name);
        std::fs::remove_file(&blob).unwrap();
        assert!(
            named(sandbox.wyng(&["verify", "home"]).expect(5)),
            "missing {name}"
        );
        std::fs::write(&blob, &sound[..sound.len() / 2]).unwrap();
        assert!(
            named(sandbox.wyng(&["verify", "home"]).expect(5)),
            "cut {name}"
        );
        std::fs::write(&blob, sound).unwrap();
    }
}

#[test]
fn blobs_that_change_places_are_refused() {
    let sandbox = small_archive();
    let blobs: Vec<_> = sandbox.blobs().into_iter().collect();
    let same_size =
        |a: &&Path, b: &Path| a.metadata().unwrap().len() == b.metadata().unwrap().len();
    let (first, second) = blobs
        .iter()
        .enumerate()
        .find_map(|(place, a)| {
            let b = blobs
                .iter()
                .skip(place + 1)
                .find(|b| same_size(&a.as_path(), b))?;
            Some((a, b))
        })
        .unwrap();
    let spare = sandbox.path("spare");
    std::fs::rename(first, &spare).unwrap();
    std::fs::rename(second, first).unwrap();
    std::fs::rename(&spare, second).unwrap();
    let verified = sandbox.wyng(&["verify", "home"]);
    assert_eq!(
        verified.expect(5).json["problems"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
}

#[test]
fn verify_deep_names_the_record_that_was_flipped() {
    let sandbox = small_archive();
    let pack = sandbox
        .blobs()
        .into_iter()
        .max_by_key(|blob| blob.metadata().unwrap().len())
        .unwrap();
    std::fs::set_permissions(&pack, std::fs::Permissions::from_mode(0o600)).unwrap();
    flip_a_bit(&pack);
    let verified = sandbox.wyng(&["verify", "home", "--deep"]);
    let classes: Vec<_> = verified.expect(5).json["problems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|problem| problem["class"].clone())
        .collect();
    assert!(
        classes.contains(&"pack".into()) && classes.contains(&"record".into()),
        "{classes:?}"
    );
}

#[test]
fn a_wrong_passphrase_is_told_from_damage() {
    let sandbox = small_archive();
    std::fs::write(sandbox.path("passphrase"), "wrong\n").unwrap();
    let (restored, left) = restore_all(&sandbox);
    assert_eq!(restored.expect(4).codes(), ["wrong-passphrase"]);
    assert!(!left);
    sandbox.wyng(&["key", "check", "home"]).expect(4);
}

#[test]
fn backup_list_and_verify_need_no_passphrase() {
    let sandbox = small_archive();
    std::fs::remove_file(sandbox.path("passphrase")).unwrap();
    sandbox.wyng(&["backup", "home", "disk.img"]).success();
    sandbox.wyng(&["list", "home"]).success();
    sandbox.wyng(&["verify", "home"]).success();
    sandbox
        .wyng(&["restore", "home", "disk.img", "--to", "out.img"])
        .expect(4);
}

#[test]
fn a_missing_store_is_not_made_again() {
    let sandbox = small_archive();
    std::fs::rename(sandbox.store(), sandbox.path("elsewhere")).unwrap();
    for arguments in [
        ["backup", "home", "disk.img"].as_slice(),
        &["verify", "home"],
        &["restore", "home", "disk.img", "--to", "x"],
    ] {
        assert_eq!(
            sandbox.wyng(arguments).expect(6).codes(),
            ["store-missing"],
            "{arguments:?}"
        );
    }
    assert!(!sandbox.store().exists());
    // The mount point of an unmounted disk exists and is empty.
    std::fs::create_dir(sandbox.store()).unwrap();
    assert_eq!(
        sandbox
            .wyng(&["backup", "home", "disk.img"])
            .expect(6)
            .codes(),
        ["store-empty"]
    );
    std::fs::remove_dir(sandbox.store()).unwrap();
    std::fs::rename(sandbox.path("elsewhere"), sandbox.store()).unwrap();
    sandbox.wyng(&["backup", "home", "disk.img"]).success();
}

#[test]
fn a_store_that_is_not_one_is_told_by_what_it_is_and_by_its_path() {
    let sandbox = small_archive();
    std::fs::write(sandbox.path("file"), "no folder").unwrap();
    let create = [
        "archive",
        "create",
        "other",
        "--kdf-memory",
        "64M",
        "--kdf-passes",
        "3",
    ]
    .as_slice();
    let open = ["archive", "open", "other"].as_slice();
    for (command, path, status, code) in [
        (create, "none/store", 1, "store-no-parent"),
        (create, "file", 6, "store-not-a-folder"),
        (create, "store", 1, "store-not-empty"),
        (open, "none", 6, "store-missing"),
        (open, ".", 6, "store-empty"), // the folder above the archive's
        (open, "file", 6, "store-not-a-folder"),
    ] {
        let store = format!("dir:{}", sandbox.path(path).display());
        let outcome = sandbox.wyng(&[command, &["--store", &store]].concat());
        assert_eq!(outcome.expect(status).codes(), [code], "{path}");
        let text = outcome.json["errors"][0]["text"]
            .as_str()
            .unwrap()
            .to_owned();
        assert!(text.contains(&store), "{text}");
    }
    // A moved store is opened at its new place, as the error advises.
    std::fs::rename(sandbox.store(), sandbox.path("moved")).unwrap();
    let missing = sandbox.wyng(&["verify", "home"]);
    assert!(
        missing.expect(6).json["errors"][0]["next"]
            .as_str()
            .unwrap()
            .contains("archive open home --store URL")
    );
    let moved = format!("dir:{}", sandbox.path("moved").display());
    sandbox
        .wyng(&["archive", "open", "home", "--store", &moved])
        .success();
    sandbox.wyng(&["verify", "home"]).success();
}

#[test]
fn an_archive_is_not_made_where_no_backup_has_room() {
    if !require(
        Component::Root,
        "an_archive_is_not_made_where_no_backup_has_room",
    ) {
        return;
    }
    let disk = SmallDisk::mount(66);
    let sandbox = Sandbox::with_store_at(disk.join("store"));
    let refused = sandbox.create("home", &[]);
    assert_eq!(refused.expect(1).codes(), ["store-full"]);
    let text = refused.json["errors"][0]["text"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(
        text.contains(disk.join("store").to_str().unwrap())
            && text.contains(" 66 MiB are free")
            && text.contains("64 MiB"),
        "{text}"
    );
    assert!(
        !sandbox.store().exists() && has_only_a_clock(&sandbox),
        "nothing is left"
    );
}

#[test]
fn an_archive_is_not_made_where_something_is() {
    let sandbox = Sandbox::new();
    std::fs::create_dir(sandbox.store()).unwrap();
    std::fs::write(sandbox.store().join("letter"), "dear").unwrap();
    assert_eq!(
        sandbox.create("home", &[]).expect(1).codes(),
        ["store-not-empty"]
    );
    assert_eq!(
        std::fs::read(sandbox.store().join("letter")).unwrap(),
        b"dear"
    );
    assert!(has_only_a_clock(&sandbox), "no local state is left");
}

#[test]
fn another_archives_store_is_refused() {
    let (mine, theirs) = (small_archive(), small_archive());
    std::fs::remove_dir_all(mine.store()).unwrap();
    std::fs::rename(theirs.store(), mine.store()).unwrap();
    mine.wyng(&["verify", "home"]).expect(5);
    let before = mine.blobs();
    assert_eq!(
        mine.wyng(&["archive", "open", "home"]).expect(5).codes(),
        ["other-archive"]
    );
    assert_eq!(mine.blobs(), before);
}

#[test]
fn a_full_store_stops_the_run_and_room_lets_it_go_on() {
    if !require(
        Component::Root,
        "a_full_store_stops_the_run_and_room_lets_it_go_on",
    ) {
        return;
    }
    let disk = SmallDisk::mount(100);
    let sandbox = Sandbox::with_store_at(disk.join("store"));
    sandbox.create("home", &[]).success();
    std::fs::write(disk.join("ballast"), noise(24 * MIB, 5)).unwrap();
    sandbox.image("disk.img", 16 * MIB, 1);
    let full = sandbox.wyng(&["backup", "home", "disk.img"]);
    assert_eq!(full.expect(1).codes(), ["store-full"]);
    let text = full.json["errors"][0]["text"].as_str().unwrap().to_owned();
    assert!(
        text.contains(disk.join("store").to_str().unwrap())
            && text.contains("75 MiB are free")
            && text.contains("64 MiB"),
        "{text}"
    );
    std::fs::remove_file(disk.join("ballast")).unwrap();
    let outcome = sandbox.wyng(&["backup", "home", "disk.img"]);
    let status = outcome.status;
    assert!(status == 0, "{}", outcome.stderr);
    sandbox.assert_restores("disk.img", "latest", &noise(16 * MIB, 1));
}

#[test]
fn a_read_only_store_is_named() {
    if !require(Component::Root, "a_read_only_store_is_named") {
        return;
    }
    let disk = SmallDisk::mount(128);
    let sandbox = Sandbox::with_store_at(disk.join("store"));
    sandbox.create("home", &[]).success();
    sandbox.image("disk.img", MIB, 1);
    sandbox.wyng(&["backup", "home", "disk.img"]).success();
    disk.remount_read_only();
    assert_eq!(
        sandbox
            .wyng(&["backup", "home", "disk.img"])
            .expect(6)
            .codes(),
        ["store-read-only"]
    );
    sandbox.wyng(&["verify", "home"]).success();
    sandbox.assert_restores("disk.img", "latest", &noise(MIB, 1));
}

#[test]
fn an_existing_target_is_kept_unless_it_may_be_replaced() {
    let sandbox = small_archive();
    std::fs::write(sandbox.path("target"), "mine").unwrap();
    assert_eq!(
        sandbox
            .wyng(&["restore", "home", "disk.img", "--to", "target"])
            .expect(1)
            .codes(),
        ["target-exists"]
    );
    assert_eq!(std::fs::read(sandbox.path("target")).unwrap(), b"mine");
    sandbox
        .wyng(&[
            "restore",
            "home",
            "disk.img",
            "--to",
            "target",
            "--overwrite",
        ])
        .success();
    assert!(std::fs::read(sandbox.path("target")).unwrap() == noise(MIB, 2));
}

#[test]
fn a_failed_restore_leaves_the_old_target_though_it_might_be_replaced() {
    let sandbox = small_archive();
    std::fs::write(sandbox.path("target"), "mine").unwrap();
    for blob in sandbox
        .blobs()
        .iter()
        .filter(|blob| blob.metadata().unwrap().len() > 100_000)
    {
        std::fs::remove_file(blob).unwrap();
    }
    sandbox
        .wyng(&[
            "restore",
            "home",
            "disk.img",
            "--to",
            "target",
            "--overwrite",
        ])
        .expect(5);
    assert_eq!(std::fs::read(sandbox.path("target")).unwrap(), b"mine");
}

#[test]
fn a_disk_that_fills_during_restore_keeps_no_part_of_the_target() {
    if !require(
        Component::Btrfs,
        "a_disk_that_fills_during_restore_keeps_no_part_of_the_target",
    ) {
        return;
    }
    // It may compress its data, so a lack of space cannot be known before.
    let disk = LoopMount::mount("btrfs", 128, "noatime");
    let sandbox = Sandbox::with_archive(&[]);
    sandbox.image("disk.img", 160 * MIB, 1);
    sandbox.wyng(&["backup", "home", "disk.img"]).success();
    let target = disk.join("target");
    let failed = sandbox.wyng(&[
        "restore",
        "home",
        "disk.img",
        "--to",
        target.to_str().unwrap(),
    ]);
    assert_eq!(failed.expect(1).codes(), ["target-write"]);
    assert!(files_below(&disk.path()).is_empty());
}

#[test]
fn a_source_that_shrinks_while_it_is_read_gets_no_session() {
    let sandbox = Sandbox::with_archive(&["--compression", "zstd:-7"]);
    let image = sandbox.image("disk.img", 256 * MIB, 1);
    let mut command = sandbox.command(&["backup", "home", "disk.img", "--progress", "json"]);
    let mut backup = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(backup.stderr.take().unwrap()).lines();
    let reading = lines
        .by_ref()
        .map(Result::unwrap)
        .find(|line| line.contains("reading"));
    assert!(reading.is_some());
    File::options()
        .write(true)
        .open(&image)
        .unwrap()
        .set_len(MIB as u64)
        .unwrap();
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    let mut outcome = Outcome::of(backup.wait_with_output().unwrap());
    outcome.stderr = rest.join("\n");
    assert_eq!(outcome.expect(1).codes(), ["source-resized"]);
    let listed = sandbox.wyng(&["list", "home"]);
    // The volume is listed if a part of it was sent before.
    let mut volumes = listed.success().json["volumes"].as_array().unwrap().iter();
    assert!(
        volumes.all(|volume| volume["sessions"] == serde_json::json!([])),
        "no session was made: {}",
        listed.json
    );
}

#[test]
fn a_second_command_at_once_is_told_that_the_state_is_in_use() {
    let sandbox = Sandbox::with_archive(&[]);
    sandbox.image("disk.img", 256 * MIB, 1);
    let mut command = sandbox.command(&["backup", "home", "disk.img", "--progress", "json"]);
    let mut backup = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(backup.stderr.take().unwrap()).lines();
    assert!(lines.next().is_some(), "the first backup is at work");
    assert_eq!(
        sandbox.wyng(&["verify", "home"]).expect(1).codes(),
        ["busy"]
    );
    for line in lines {
        line.unwrap();
    }
    assert!(backup.wait().unwrap().success());
    sandbox.wyng(&["list", "home"]).success();
}

#[test]
fn one_bad_source_among_several_leaves_the_others_backed_up() {
    let sandbox = Sandbox::with_archive(&[]);
    sandbox.image("good.img", MIB, 1);
    let outcome = sandbox.wyng(&["backup", "home", "missing.img", "good.img"]);
    assert_eq!(outcome.expect(3).codes(), ["source-unavailable"]);
    assert_eq!(outcome.json["errors"][0]["volume"], "missing.img");
    sandbox.assert_restores("good.img", "latest", &noise(MIB, 1));
}

#[test]
fn another_disk_of_the_same_file_name_is_not_taken_for_the_volume() {
    let sandbox = small_archive();
    std::fs::create_dir(sandbox.path("other")).unwrap();
    sandbox.image("other/disk.img", MIB, 3);
    assert_eq!(
        sandbox
            .wyng(&["backup", "home", "other/disk.img"])
            .expect(2)
            .codes(),
        ["volume-of-other-path"]
    );
    sandbox.wyng(&["backup", "home", "./disk.img"]).success();
    sandbox
        .wyng(&["backup", "home", "disk.img=other/disk.img"])
        .success();
    sandbox
        .wyng(&["backup", "home", "other/disk.img"])
        .success();
    sandbox.assert_restores("disk.img", "latest", &noise(MIB, 3));
}

#[test]
fn wrong_usage_is_status_2_and_says_what_to_do() {
    let sandbox = small_archive();
    for arguments in [
        ["backup", "nowhere", "disk.img"].as_slice(),
        &["restore", "home", "other.img", "--to", "x"],
        &[
            "restore",
            "home",
            "disk.img",
            "--session",
            "1999",
            "--to",
            "x",
        ],
        &["backup", "home", "disk.img", "disk.img"],
        &["backup", "home"],
        &["frobnicate"],
    ] {
        let outcome = sandbox.wyng(arguments);
        assert_eq!(outcome.status, 2, "{arguments:?}: {}", outcome.stderr);
    }
}
