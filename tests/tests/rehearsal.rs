// SPDX-License-Identifier: GPL-3.0-or-later
//! `rehearse` over real processes: a session of any age is restored to scratch from the store
//! alone, compared and gone again, and `status` shows when that last succeeded.

use std::collections::BTreeSet;

use wyng_tests::disk::SmallDisk;
use wyng_tests::require::{Component, require};
use wyng_tests::sandbox::{Sandbox, files_below, flip_a_bit, noise, write_at};

const LENGTH: usize = 400_000;

fn names(sandbox: &Sandbox) -> BTreeSet<std::path::PathBuf> {
    files_below(&sandbox.path(""))
}

/// An archive with three sessions of a volume that changes, of which one is live, and one that is a
/// hole for the most part.
fn with_sessions() -> Sandbox {
    let sandbox = Sandbox::with_archive(&["--chunk-size", "64K", "--pack-size", "256K"]);
    let image = sandbox.image("vm.img", LENGTH, 1);
    sandbox.wyng(&["backup", "home", "vm.img"]).success();
    write_at(&image, 100_000, &noise(50_000, 2));
    sandbox
        .wyng(&["backup", "home", "vm.img", "--live"])
        .success();
    std::fs::File::options()
        .write(true)
        .open(&image)
        .unwrap()
        .set_len(4_000_001)
        .unwrap();
    sandbox.wyng(&["backup", "home", "vm.img"]).success();
    sandbox
}

#[test]
fn each_session_is_rehearsed_from_the_store_alone_and_leaves_nothing_behind() {
    let sandbox = with_sessions();
    let listed = sandbox.wyng(&["list", "home"]).success().json.clone();
    let sessions: BTreeSet<String> = listed["volumes"][0]["sessions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|session| session["session"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(sessions.len(), 3);
    let status = || sandbox.wyng(&["status", "home"]).success().json["archives"][0].clone();
    assert!(status()["rehearsed"].is_null());
    let before = names(&sandbox);
    let mut rehearsed = BTreeSet::new();
    // Each is drawn with a chance of at least one in four.
    for turn in 0.. {
        assert!(turn < 200, "only {rehearsed:?} were drawn");
        let done = sandbox.wyng(&["rehearse", "home"]);
        let done = &done.success().json;
        assert_eq!(done["volume"], "vm.img");
        assert!(
            done["fetched_bytes"].as_u64().unwrap() > 300_000,
            "nothing that this machine has stands in for the store: {done}"
        );
        rehearsed.insert(done["session"].as_str().unwrap().to_owned());
        if rehearsed == sessions {
            break;
        }
    }
    assert_eq!(names(&sandbox), before);
    assert!(status()["rehearsed"].is_string());
}

#[test]
fn damage_ends_a_rehearsal_which_names_the_session_and_is_not_noted_as_one() {
    let sandbox = Sandbox::with_archive(&["--chunk-size", "64K", "--pack-size", "256K"]);
    sandbox.image("vm.img", LENGTH, 1);
    let session = sandbox
        .wyng(&["backup", "home", "vm.img"])
        .success()
        .session(0);
    let large = |blob: &std::path::PathBuf| blob.metadata().unwrap().len() > 100_000;
    sandbox
        .blobs()
        .into_iter()
        .filter(large)
        .for_each(|blob| flip_a_bit(&blob));
    let before = names(&sandbox);
    let failed = sandbox.wyng(&["rehearse", "home"]);
    assert_eq!(failed.expect(5).json["session"], session.as_str());
    assert!(failed.json.get("written_bytes").is_none());
    assert_eq!(names(&sandbox), before);
    let status = sandbox.wyng(&["archive", "show", "home"]);
    assert!(status.success().json["archives"][0]["rehearsed"].is_null());
    // Once the damage is known, there is nothing left that a rehearsal could restore.
    sandbox.wyng(&["verify", "home"]).expect(5);
    assert_eq!(
        sandbox
            .wyng(&["rehearse", "home", "vm.img"])
            .expect(1)
            .codes(),
        ["nothing-to-rehearse"]
    );
}

#[test]
fn a_volume_that_is_unknown_and_a_wrong_passphrase_are_refused() {
    let sandbox = with_sessions();
    sandbox.wyng(&["rehearse", "home", "vm.img"]).success();
    assert_eq!(
        sandbox
            .wyng(&["rehearse", "home", "other"])
            .expect(2)
            .codes(),
        ["unknown-volume"]
    );
    let wrong = sandbox.text("wrong", "wrong one\n");
    sandbox
        .wyng(&["rehearse", "home", "--passphrase-file", &wrong])
        .expect(4);
}

#[test]
fn a_scratch_disk_without_room_is_refused_before_anything_is_fetched() {
    if !require(Component::Root, "a full scratch disk") {
        return;
    }
    let sandbox = Sandbox::with_archive(&[]);
    sandbox.image("vm.img", 24 << 20, 1);
    sandbox.wyng(&["backup", "home", "vm.img"]).success();
    let disk = SmallDisk::mount(16);
    let scratch = disk.path();
    let full = sandbox.wyng(&["rehearse", "home", "--scratch", scratch.to_str().unwrap()]);
    assert_eq!(full.expect(1).codes(), ["target-no-room"]);
    let error = full.json["errors"][0]["text"].as_str().unwrap();
    assert!(error.contains(scratch.to_str().unwrap()), "{error}");
    assert_eq!(std::fs::read_dir(scratch).unwrap().count(), 0);
}
