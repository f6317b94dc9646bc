// SPDX-License-Identifier: GPL-3.0-or-later
//! A disk that loses writes and reports it at the sync: the run ends, nothing is reported that is
//! not stored, and the next run goes on.

use wyng_tests::disk::FailingDisk;
use wyng_tests::require::{Component, require};
use wyng_tests::sandbox::{Sandbox, noise, write_at};

const MIB: usize = 1 << 20;

/// `EIO`, `ENOSPC`, or `EROFS` once the journal was aborted: the error of a sync depends on what
/// the kernel wrote before it.
const STORE_CODES: [&str; 3] = ["store-failed", "store-full", "store-denied"];

fn possible(test: &str) -> bool {
    require(Component::Root, test) && require(Component::Ext4, test)
}

/// Makes a session; the disk fails during the next run; after a restart the same command makes the
/// second session.
fn survives(sandbox: &Sandbox, disk: &FailingDisk, codes: &[&str]) {
    sandbox
        .create("home", &["--chunk-size", "64K", "--pack-size", "1M"])
        .success();
    let image = sandbox.image("disk.img", 2 * MIB, 1);
    let first = sandbox
        .wyng(&["backup", "home", "disk.img"])
        .success()
        .session(0);
    write_at(&image, 500_000, &noise(800_000, 2));
    disk.fail();
    let failed = sandbox.wyng(&["backup", "home", "disk.img"]);
    assert!(
        [1, 6].contains(&failed.status)
            && failed
                .codes()
                .iter()
                .all(|code| codes.contains(&code.as_str())),
        "{}",
        failed.json
    );
    assert_eq!(
        failed.json["volumes"],
        serde_json::json!([]),
        "nothing was reported"
    );
    disk.restart();
    sandbox.wyng(&["backup", "home", "disk.img"]).success();
    sandbox.assert_restores("disk.img", &first, &noise(2 * MIB, 1));
    sandbox.assert_restores("disk.img", "latest", &std::fs::read(&image).unwrap());
    let verified = sandbox.wyng(&["verify", "home", "--deep"]);
    assert_eq!(verified.success().json["problems"], serde_json::json!([]));
}

#[test]
fn a_sync_that_fails_under_the_store_ends_the_run_and_loses_nothing_reported() {
    if possible("a_sync_that_fails_under_the_store_ends_the_run_and_loses_nothing_reported") {
        let disk = FailingDisk::mount();
        survives(
            &Sandbox::with_store_at(disk.join("store")),
            &disk,
            &STORE_CODES,
        );
    }
}

#[test]
fn a_sync_that_fails_under_the_state_ends_the_run_and_loses_nothing_reported() {
    if possible("a_sync_that_fails_under_the_state_ends_the_run_and_loses_nothing_reported") {
        let disk = FailingDisk::mount();
        survives(
            &Sandbox::with_state_at(disk.join("state")),
            &disk,
            &["state-io"],
        );
    }
}
