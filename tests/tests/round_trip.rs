// SPDX-License-Identifier: GPL-3.0-or-later
//! A restore returns the bytes of the backup: real binaries, from `wyng-ctl` through the daemon's
//! roles, the pipe and the helper to a folder, and back.

use wyng_tests::disk::ExfatDisk;
use wyng_tests::require::{Component, require};
use wyng_tests::sandbox::{Sandbox, noise, write_at};

const MIB: usize = 1 << 20;

#[test]
fn a_volume_comes_back_exactly() {
    let sandbox = Sandbox::with_archive(&[]);
    let image = sandbox.image("disk.img", 5 * MIB + 1234, 1);
    sandbox
        .wyng(&["backup", "home", image.to_str().unwrap()])
        .success();
    sandbox.assert_restores("disk.img", "latest", &noise(5 * MIB + 1234, 1));
}

#[test]
fn an_empty_volume_and_one_of_zeros_come_back() {
    let sandbox = Sandbox::with_archive(&[]);
    std::fs::write(sandbox.path("empty"), b"").unwrap();
    std::fs::File::create(sandbox.path("hole"))
        .unwrap()
        .set_len(3 << 30)
        .unwrap();
    let outcome = sandbox.wyng(&["backup", "home", "empty", "hole"]);
    outcome.success();
    assert_eq!(
        outcome.json["volumes"][1]["read_bytes"], 0,
        "holes are not read"
    );
    sandbox.assert_restores("empty", "latest", b"");
    let target = sandbox.path("out");
    sandbox
        .wyng(&["restore", "home", "hole", "--to", "out"])
        .success();
    let metadata = std::fs::metadata(target).unwrap();
    assert_eq!(metadata.len(), 3 << 30);
    assert!(
        std::os::unix::fs::MetadataExt::blocks(&metadata) < 1000,
        "holes stay holes"
    );
}

#[test]
fn every_session_of_a_volume_that_changes_grows_and_shrinks_comes_back() {
    let sandbox = Sandbox::with_archive(&[]);
    let image = sandbox.image("disk.img", 3 * MIB, 1);
    let mut sessions = Vec::new();
    for step in 0..4_u64 {
        match step {
            0 => {}
            1 => write_at(&image, 1_000_000, &noise(5000, 7)),
            2 => write_at(&image, 5_000_000, b"grown"),
            _ => std::fs::File::options()
                .write(true)
                .open(&image)
                .unwrap()
                .set_len(1_234_567)
                .unwrap(),
        }
        let outcome = sandbox.wyng(&["backup", "home", "disk.img"]);
        outcome.success();
        sessions.push((outcome.session(0), std::fs::read(&image).unwrap()));
    }
    for (session, bytes) in sessions {
        sandbox.assert_restores("disk.img", &session, &bytes);
    }
}

#[test]
fn a_second_backup_sends_what_changed_and_little_else() {
    let sandbox = Sandbox::with_archive(&[]);
    let image = sandbox.image("disk.img", 8 * MIB, 1);
    sandbox.wyng(&["backup", "home", "disk.img"]).success();
    write_at(&image, 4_000_000, &noise(100, 9));
    let outcome = sandbox.wyng(&["backup", "home", "disk.img"]);
    outcome.success();
    let sent = outcome.json["sent_bytes"].as_u64().unwrap();
    assert!(
        sent < 200_000,
        "{sent} bytes for one changed chunk of 128 KiB"
    );
    assert_eq!(outcome.json["volumes"][0]["changed_bytes"], 131_072);
}

#[test]
fn an_archive_lives_on_an_external_disk_without_links() {
    if !require(
        Component::Exfat,
        "an_archive_lives_on_an_external_disk_without_links",
    ) {
        return;
    }
    let disk = ExfatDisk::mount();
    let sandbox = Sandbox::with_store_at(disk.join("store"));
    sandbox
        .create("home", &["--chunk-size", "64K", "--pack-size", "256K"])
        .success();
    let image = sandbox.image("disk.img", 2 * MIB, 1);
    let first = sandbox
        .wyng(&["backup", "home", "disk.img"])
        .success()
        .session(0);
    write_at(&image, 1_000_000, &noise(5000, 7));
    sandbox.wyng(&["backup", "home", "disk.img"]).success();
    assert_eq!(
        sandbox.wyng(&["verify", "home"]).success().json["problems"],
        serde_json::json!([])
    );
    sandbox.adopt("passphrase").success();
    sandbox.assert_restores("disk.img", &first, &noise(2 * MIB, 1));
    sandbox.assert_restores("disk.img", "latest", &std::fs::read(&image).unwrap());
}

#[test]
fn several_volumes_share_a_run_and_its_second() {
    let sandbox = Sandbox::with_archive(&[]);
    sandbox.image("a.img", MIB, 1);
    sandbox.image("b.img", MIB, 2);
    let outcome = sandbox.wyng(&["backup", "home", "a.img", "second=b.img"]);
    outcome.success();
    assert_eq!(outcome.session(0), outcome.session(1));
    sandbox.assert_restores("second", "latest", &noise(MIB, 2));
}

#[test]
fn all_volumes_are_restored_to_a_folder_and_one_to_standard_output() {
    let sandbox = Sandbox::with_archive(&[]);
    sandbox.image("a.img", MIB, 1);
    sandbox.image("b.img", MIB + 7, 2);
    sandbox
        .wyng(&["backup", "home", "a.img", "b.img"])
        .success();
    sandbox
        .wyng(&["restore", "home", "--all", "--to", "out"])
        .success();
    assert!(std::fs::read(sandbox.path("out/a.img")).unwrap() == noise(MIB, 1));
    assert!(std::fs::read(sandbox.path("out/b.img")).unwrap() == noise(MIB + 7, 2));
    let mut command = sandbox.command(&["restore", "home", "b.img", "--to", "-"]);
    let output = command.output().unwrap();
    assert!(output.status.success());
    assert!(output.stdout.starts_with(&noise(MIB + 7, 2)));
}
