// SPDX-License-Identifier: GPL-3.0-or-later
//! The findings of verify: an object that it did not look up is not reported as a fault.

use std::path::PathBuf;

use wyng_tests::archive_writer::ArchiveWriter;
use wyng_tests::sandbox::{Outcome, PASSPHRASE, Sandbox, noise};

const MIB: usize = 1 << 20;

fn assert_no_problem(verified: &Outcome) {
    assert_eq!(verified.success().json["problems"], serde_json::json!([]));
}

#[test]
fn a_deep_verify_of_one_volume_calls_no_other_volumes_records_damaged() {
    // Both are in one pack.
    let sandbox = Sandbox::with_archive(&["--chunk-size", "64K"]);
    sandbox.image("first.img", MIB, 1);
    sandbox.image("second.img", MIB, 2);
    sandbox
        .wyng(&["backup", "home", "first.img", "second.img"])
        .success();
    for volume in ["first.img", "second.img"] {
        assert_no_problem(&sandbox.wyng(&["verify", "home", volume, "--deep"]));
    }
    let sent = sandbox
        .wyng(&["backup", "home", "first.img", "second.img"])
        .success()
        .json["sent_bytes"]
        .as_u64()
        .unwrap();
    assert!(
        sent < MIB as u64 / 4,
        "nothing was noted as lost, so nothing is sent again: {sent} bytes"
    );
}

/// An archive of another program, with a fault.
fn written(fault: fn(&mut ArchiveWriter)) -> Sandbox {
    let sandbox = Sandbox::new();
    let mut writer =
        ArchiveWriter::open_or_create(&sandbox.store(), PASSPHRASE.as_bytes(), Some(3)).unwrap();
    fault(&mut writer);
    writer
        .back_up(&[("disk.img".into(), sandbox.image("disk.img", 300_000, 1))])
        .unwrap();
    sandbox.adopt("passphrase").success();
    sandbox
}

#[test]
fn a_chunk_of_an_unknown_domain_that_no_session_reaches_is_no_fault() {
    let sandbox = written(ArchiveWriter::stray);
    assert_no_problem(&sandbox.wyng(&["verify", "home", "--deep"]));
    assert_no_problem(&sandbox.wyng(&["verify", "home", "disk.img", "--deep"]));
    sandbox.assert_restores("disk.img", "latest", &noise(300_000, 1));
}

#[test]
fn a_chunk_that_a_session_reaches_under_another_id_than_its_own_is_damage() {
    let sandbox = written(ArchiveWriter::misname);
    for arguments in [
        &["verify", "home", "--deep"][..],
        &["verify", "home", "disk.img", "--deep"],
    ] {
        let verified = sandbox.wyng(arguments);
        let problems = verified.expect(5).json["problems"].as_array().unwrap();
        assert!(problems.iter().all(|problem| problem["class"] == "record"
            && problem["volumes"].as_array().unwrap().len() == 1));
    }
    assert_eq!(
        sandbox
            .wyng(&["restore", "home", "disk.img", "--to", "out"])
            .expect(5)
            .codes(),
        ["session-damaged"],
        "it is known before anything is fetched"
    );
}

/// An archive of more than thirty packs, and `count` packs with chunks, which are removed from the
/// store.
fn much_taken(count: usize) -> (Sandbox, Vec<(PathBuf, Vec<u8>)>) {
    let sandbox = Sandbox::with_archive(&["--chunk-size", "64K", "--pack-size", "128K"]);
    sandbox.image("disk.img", 4 * MIB, 1);
    sandbox.wyng(&["backup", "home", "disk.img"]).success();
    let full = sandbox
        .blobs()
        .into_iter()
        .filter(|blob| blob.metadata().unwrap().len() == 128 << 10);
    let taken: Vec<_> = full
        .take(count)
        .map(|blob| (blob.clone(), std::fs::read(&blob).unwrap()))
        .collect();
    assert_eq!(taken.len(), count);
    taken
        .iter()
        .for_each(|(blob, _)| std::fs::remove_file(blob).unwrap());
    (sandbox, taken)
}

fn sent(sandbox: &Sandbox, options: &[&str]) -> u64 {
    sandbox
        .wyng(&[&["backup", "home", "disk.img"], options].concat())
        .success()
        .json["sent_bytes"]
        .as_u64()
        .unwrap()
}

#[test]
fn a_store_that_lacks_much_is_told_and_heals_only_when_asked() {
    let (sandbox, _) = much_taken(20);
    let verified = sandbox.wyng(&["verify", "home"]);
    assert_eq!(verified.expect(5).codes(), ["much-damaged"]);
    let problems = verified.json["problems"].as_array().unwrap();
    assert!(
        problems.len() == 20
            && problems
                .iter()
                .all(|problem| problem["volumes"].as_array().unwrap().len() == 1),
        "{problems:?}"
    );
    assert!(
        sent(&sandbox, &[]) < MIB as u64 / 2,
        "it may be another disk: nothing is sent again"
    );
    assert_eq!(
        sandbox.wyng(&["status", "home"]).expect(5).codes(),
        ["much-damaged"]
    );
    // Checking a part changes nothing.
    sandbox.wyng(&["verify", "home", "--budget", "600K"]);
    assert_eq!(
        sandbox.wyng(&["status", "home"]).expect(5).codes(),
        ["much-damaged"]
    );
    assert!(sent(&sandbox, &["--heal"]) > 2 * MIB as u64);
    assert_no_problem(&sandbox.wyng(&["verify", "home"]));
    sandbox.wyng(&["status", "home"]).success();
    sandbox.assert_restores("disk.img", "latest", &noise(4 * MIB, 1));
}

#[test]
fn a_disk_that_was_another_one_leaves_nothing_noted_when_it_is_the_right_one_again() {
    let (sandbox, taken) = much_taken(20);
    sandbox.wyng(&["verify", "home"]).expect(5);
    taken
        .iter()
        .for_each(|(blob, bytes)| std::fs::write(blob, bytes).unwrap());
    assert_no_problem(&sandbox.wyng(&["verify", "home"]));
    sandbox.wyng(&["status", "home"]).success();
    assert!(
        sent(&sandbox, &["--heal"]) < MIB as u64 / 2,
        "nothing is lost"
    );
}

#[test]
fn sixteen_packs_heal_by_themselves() {
    let (sandbox, _) = much_taken(16);
    assert_eq!(
        sandbox.wyng(&["verify", "home"]).expect(5).codes(),
        ["problems-found"]
    );
    assert!(sent(&sandbox, &[]) > MIB as u64);
    assert_no_problem(&sandbox.wyng(&["verify", "home"]));
}

#[test]
fn only_what_the_archive_never_named_is_foreign() {
    let mut sandbox = Sandbox::with_archive(&["--chunk-size", "64K", "--pack-size", "256K"]);
    let foreign = |sandbox: &Sandbox| {
        sandbox.wyng(&["verify", "home"]).success().json["foreign_objects"]
            .as_u64()
            .unwrap()
    };
    // A removed slot stays in the store.
    let second = sandbox.text("second", "another one\n");
    sandbox
        .wyng(&["key", "add", "home", "--new-passphrase-file", &second])
        .success();
    sandbox.wyng(&["key", "remove", "home", "1"]).success();
    assert_eq!(foreign(&sandbox), 0);
    // So do packs that a killed run has sent and the next run uses.
    sandbox.image("disk.img", 4 * MIB, 1);
    sandbox.replace_helper("dd bs=65536 count=2000000 iflag=count_bytes status=none | $HELPER $1");
    let before = sandbox.blobs().len();
    sandbox.wyng(&["backup", "home", "disk.img"]).expect(6);
    sandbox.restore_helper();
    assert!(sandbox.blobs().len() > before, "the cut run left packs");
    assert_eq!(foreign(&sandbox), 0);
    // A slot of someone else is a fault.
    let name = "ab".repeat(32);
    std::fs::create_dir_all(sandbox.store().join("ab")).unwrap();
    std::fs::write(sandbox.store().join("ab").join(name), "somebody's").unwrap();
    assert_eq!(foreign(&sandbox), 1);
}
