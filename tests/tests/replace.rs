// SPDX-License-Identifier: GPL-3.0-or-later
//! A restore to an existing target, and its differences from the session: on btrfs, XFS and
//! elsewhere, beside the target and in place.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use wyng_tests::disk::run;
use wyng_tests::pool::{Pool, half_noise, number, punch, write_durably};
use wyng_tests::require::{Component, require};
use wyng_tests::sandbox::{Outcome, Sandbox, noise};
use wyng_tests::service::{Service, until};

const MIB: usize = 1 << 20;
const CHUNK: u64 = 64 << 10;
/// The offsets at which the volumes of these tests change after their session, bytes.
const PLACES: [u64; 3] = [70_000, 3_000_000, 6_000_000];

/// A volume that has changed since its session in three chunks, with a new hole and data in an old
/// hole; and the session's content.
fn changed(volume: &Path, back_up: impl Fn(&Path) -> Outcome) -> (String, Vec<u8>) {
    punch(volume, 4 * MIB as u64, 2 * CHUNK);
    let session = back_up(volume).session(0);
    let content = std::fs::read(volume).unwrap();
    for place in PLACES {
        write_durably(volume, place, &noise(5000, place));
    }
    punch(volume, MIB as u64, CHUNK);
    write_durably(
        volume,
        4 * MIB as u64 + CHUNK,
        &noise(usize::try_from(CHUNK).unwrap(), 4),
    );
    (session, content)
}

fn restore(sandbox: &Sandbox, session: &str, arguments: &[&str]) -> Outcome {
    sandbox.wyng(
        &[
            &["restore", "home", "vm", "--session", session][..],
            arguments,
        ]
        .concat(),
    )
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The store has lost everything that sessions need except for the parts that are read first.
fn lose_packs(sandbox: &Sandbox) -> Vec<(PathBuf, Vec<u8>)> {
    let packs: Vec<_> = sandbox
        .blobs()
        .into_iter()
        .filter(|blob| std::fs::metadata(blob).unwrap().len() > 100_000)
        .collect();
    let kept = packs
        .iter()
        .map(|pack| (pack.clone(), std::fs::read(pack).unwrap()))
        .collect();
    packs
        .iter()
        .for_each(|pack| std::fs::remove_file(pack).unwrap());
    kept
}

fn bring_back(packs: Vec<(PathBuf, Vec<u8>)>) {
    packs
        .into_iter()
        .for_each(|(path, bytes)| std::fs::write(path, bytes).unwrap());
}

#[test]
fn what_is_the_same_in_a_file_that_is_replaced_is_not_fetched() {
    for pool in Pool::each("what_is_the_same_in_a_file_that_is_replaced_is_not_fetched") {
        let path = pool.volume("vm.img", 8 * MIB);
        let (session, content) = changed(&path, |path| pool.back_up(path));
        let before = std::fs::read(&path).unwrap();
        let packs = lose_packs(&pool.sandbox);
        restore(
            &pool.sandbox,
            &session,
            &["--to", text(&path), "--overwrite"],
        )
        .expect(5);
        assert!(
            std::fs::read(&path).unwrap() == before,
            "a restore that failed left it as it was"
        );
        bring_back(packs);
        let outcome = restore(
            &pool.sandbox,
            &session,
            &["--to", text(&path), "--overwrite"],
        );
        assert_eq!(
            number(outcome.success(), "written_bytes"),
            4 * CHUNK,
            "{:?}",
            pool.kind
        );
        assert!(
            number(&outcome, "fetched_bytes") < 5 * CHUNK,
            "{}",
            outcome.json
        );
        assert!(std::fs::read(&path).unwrap() == content);
    }
}

#[test]
fn a_new_file_beside_the_volume_is_made_of_its_base_snapshot() {
    for pool in Pool::each("a_new_file_beside_the_volume_is_made_of_its_base_snapshot") {
        let path = pool.volume("vm.img", 8 * MIB);
        let (first, content) = changed(&path, |path| pool.back_up(path));
        let second = pool.back_up(&path).session(0);
        let latest = std::fs::read(&path).unwrap();
        for (session, content, chunks) in [(first, content, 5), (second, latest, 0)] {
            let beside = pool.disk.join("beside.img");
            let outcome = restore(&pool.sandbox, &session, &["--to", text(&beside)]);
            assert!(
                number(outcome.success(), "fetched_bytes") <= chunks * CHUNK,
                "{}",
                outcome.json
            );
            assert!(
                std::fs::read(&beside).unwrap() == content,
                "{:?}",
                pool.kind
            );
            std::fs::remove_file(beside).unwrap();
        }
    }
}

#[test]
fn a_volume_is_put_back_where_it_is() {
    for pool in Pool::each("a_volume_is_put_back_where_it_is") {
        let path = pool.volume("vm.img", 8 * MIB);
        let (session, content) = changed(&path, |path| pool.back_up(path));
        std::fs::File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(9 * MIB as u64 + 5)
            .unwrap();
        write_durably(&path, 9 * MIB as u64, b"grown");
        let (before, inode) = (
            std::fs::read(&path).unwrap(),
            std::fs::metadata(&path).unwrap().ino(),
        );
        let packs = lose_packs(&pool.sandbox);
        restore(&pool.sandbox, &session, &["--in-place", "--yes"]).expect(5);
        assert!(
            std::fs::read(&path).unwrap() == before,
            "what was begun was undone"
        );
        bring_back(packs);
        let outcome = restore(&pool.sandbox, &session, &["--in-place", "--yes"]);
        assert_eq!(
            number(outcome.success(), "written_bytes"),
            4 * CHUNK,
            "{:?}",
            pool.kind
        );
        assert!(std::fs::read(&path).unwrap() == content);
        assert_eq!(std::fs::metadata(&path).unwrap().ino(), inode);
        // The base snapshot is still that of the session: the next backup reads the ranges that the
        // restore wrote.
        let outcome = pool.back_up(&path);
        assert_eq!(
            (
                number(&outcome, "changed_bytes"),
                outcome.json["volumes"][0]["method"].as_str()
            ),
            (0, Some(pool.kind.method))
        );
    }
}

#[test]
fn where_nothing_can_be_cloned_what_is_there_is_read_and_compared() {
    let sandbox = Sandbox::with_archive(&["--chunk-size", "64K", "--pack-size", "1M"]);
    let path = sandbox.path("vm");
    std::fs::write(&path, half_noise(8 * MIB, 1)).unwrap();
    let (session, content) = changed(&path, |path| {
        let outcome = sandbox.wyng(&["backup", "home", text(path)]);
        outcome.success();
        outcome
    });
    let changed = std::fs::read(&path).unwrap();
    for arguments in [
        &["--to", text(&path), "--overwrite"][..],
        &["--in-place", "--yes", "--to", text(&path)],
        &["--in-place", "--yes"],
    ] {
        std::fs::write(&path, &changed).unwrap();
        let outcome = restore(&sandbox, &session, arguments);
        assert!(
            number(outcome.success(), "fetched_bytes") < 5 * CHUNK,
            "{}",
            outcome.json
        );
        assert!(std::fs::read(&path).unwrap() == content, "{arguments:?}");
    }
    // The old content cannot be restored here, which is reported.
    std::fs::write(&path, &changed).unwrap();
    let packs = lose_packs(&sandbox);
    let failed = restore(&sandbox, &session, &["--in-place", "--yes"]);
    assert!(
        failed
            .expect(5)
            .codes()
            .contains(&"target-unfinished".to_owned()),
        "{}",
        failed.json
    );
    bring_back(packs);
    restore(&sandbox, &session, &["--in-place", "--yes"]).success();
    assert!(std::fs::read(&path).unwrap() == content);
}

#[test]
fn a_block_device_is_put_back_where_it_is() {
    if !require(Component::Root, "a_block_device_is_put_back_where_it_is") {
        return;
    }
    let sandbox = Sandbox::with_archive(&["--chunk-size", "64K", "--pack-size", "1M"]);
    let image = sandbox.path("image");
    std::fs::write(&image, half_noise(8 * MIB, 1)).unwrap();
    let attached = Command::new("losetup")
        .args(["--find", "--show"])
        .arg(&image)
        .output()
        .unwrap();
    let device = PathBuf::from(String::from_utf8(attached.stdout).unwrap().trim());
    let source = format!("vm={}", device.display());
    let session = sandbox
        .wyng(&["backup", "home", &source])
        .success()
        .session(0);
    let content = std::fs::read(&device).unwrap();
    write_durably(&device, 70_000, &noise(5000, 9));
    let outcome = restore(&sandbox, &session, &["--in-place", "--yes"]);
    let found = std::fs::read(&device).unwrap();
    run(Command::new("losetup").arg("-d").arg(&device));
    assert_eq!(number(outcome.success(), "written_bytes"), CHUNK);
    assert!(found == content);
}

#[test]
fn the_daemon_keeps_nothing_of_a_volume_when_its_restore_has_ended() {
    for mut pool in Pool::each("the_daemon_keeps_nothing_of_a_volume_when_its_restore_has_ended") {
        let service = Service::start(&mut pool.sandbox);
        let path = pool.volume("vm.img", 8 * MIB);
        let (session, content) = changed(&path, |path| pool.back_up(path));
        restore(&pool.sandbox, &session, &["--in-place", "--yes"]).success();
        assert!(std::fs::read(&path).unwrap() == content);
        // A clone of the old content would use space of the pool until the daemon ends.
        let descriptors = format!("/proc/{}/fd", service.role("volumes"));
        until("no file of the pool is held", || {
            let held = std::fs::read_dir(&descriptors).unwrap();
            let mut files = held.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
            !files.any(|file| file.starts_with(path.parent().unwrap()))
        });
    }
}

fn ranges(outcome: &Outcome) -> Vec<(u64, u64)> {
    let field = |range: &Value, name: &str| range[name].as_u64().unwrap();
    let ranges = outcome.json["ranges"].as_array().unwrap();
    ranges
        .iter()
        .map(|range| (field(range, "offset_bytes"), field(range, "length_bytes")))
        .collect()
}

/// Number of chunks that differ after [`changed`].
fn expected() -> Vec<(u64, u64)> {
    [
        (CHUNK, CHUNK),
        (MIB as u64, CHUNK),
        (3_000_000 / CHUNK * CHUNK, CHUNK),
        (4 * MIB as u64 + CHUNK, CHUNK),
        (6_000_000 / CHUNK * CHUNK, CHUNK),
    ]
    .to_vec()
}

#[test]
fn a_comparison_of_sessions_reads_nothing_and_one_with_the_volume_reads_all_of_it() {
    for pool in
        Pool::each("a_comparison_of_sessions_reads_nothing_and_one_with_the_volume_reads_all_of_it")
    {
        let path = pool.volume("vm.img", 8 * MIB);
        let (first, _) = changed(&path, |path| pool.back_up(path));
        let local = pool.sandbox.wyng(&["diff", "home", "vm"]);
        assert_eq!(ranges(local.success()), expected(), "{:?}", pool.kind);
        assert_eq!(local.json["with"], Value::Null);
        assert_eq!(local.json["damaged_bytes"], json!(0));
        let second = pool.back_up(&path).session(0);
        for (session, with) in [(&first, &second), (&second, &first)] {
            let outcome =
                pool.sandbox
                    .wyng(&["diff", "home", "vm", "--session", session, "--with", with]);
            assert_eq!(
                (ranges(outcome.success()), &outcome.json["read_bytes"]),
                (expected(), &json!(0))
            );
            assert_eq!(outcome.json["differing_bytes"], json!(5 * CHUNK));
        }
        assert_eq!(
            ranges(
                pool.sandbox
                    .wyng(&["diff", "home", "vm", "--session", &first])
                    .success()
            ),
            expected()
        );
        assert_eq!(
            ranges(pool.sandbox.wyng(&["diff", "home", "vm"]).success()),
            []
        );
        assert_eq!(pool.bases().len(), 1);
    }
}

#[test]
fn a_comparison_reads_the_volume_where_nothing_tells_what_changed() {
    let sandbox = Sandbox::with_archive(&["--chunk-size", "64K", "--pack-size", "1M"]);
    let path = sandbox.path("vm");
    std::fs::write(&path, half_noise(8 * MIB, 1)).unwrap();
    changed(&path, |path| {
        let outcome = sandbox.wyng(&["backup", "home", text(path)]);
        outcome.success();
        outcome
    });
    let outcome = sandbox.wyng(&["diff", "home", "vm"]);
    assert_eq!(ranges(outcome.success()), expected());
    std::fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(8 * MIB as u64 + 3)
        .unwrap();
    let grown = sandbox.wyng(&["diff", "home", "vm"]);
    assert_eq!(ranges(grown.success()).last(), Some(&(8 * MIB as u64, 3)));
    sandbox.image("other.img", 5, 1);
    assert_eq!(
        sandbox
            .wyng(&["diff", "home", "other.img"])
            .expect(2)
            .codes(),
        ["unknown-volume"]
    );
}
