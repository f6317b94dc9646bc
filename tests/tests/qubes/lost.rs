// SPDX-License-Identifier: GPL-3.0-or-later
//! The qube is lost at many bytes and in every way: an interrupted backup is continued, in the same
//! command if the qube is a disposable, and acknowledged blobs are neither lost nor sent again.

use wyng_tests::fake_qubes::FakeQubes;
use wyng_tests::sandbox::{Sandbox, noise, write_at};

const IMAGE_BYTES: usize = 3 << 20;
const DISPOSABLE: &str = "qrexec:@dispvm:net-dvm";
const STAYS: &str = "qrexec:sys-backup";
const BACKUP: [&str; 3] = ["backup", "home", "disk.img"];

/// Within HELLO, OPEN and the first PUT; within and between bodies; near the end.
const CUTS_UP: [usize; 9] = [
    0, 15, 40, 200, 70_000, 300_000, 1_000_001, 2_500_000, 3_200_000,
];
/// Within HELLO, OPENED and receipts; a backup has at least two receipts, and the answers have 112
/// bytes.
const CUTS_DOWN: [usize; 6] = [1, 16, 31, 40, 60, 100];

fn prepared(via: &str) -> (Sandbox, FakeQubes) {
    let sandbox = Sandbox::new();
    let qubes = FakeQubes::dom0(&sandbox);
    qubes
        .create(
            &sandbox,
            via,
            &["--pack-size", "256K", "--chunk-size", "64K"],
        )
        .success();
    sandbox.image("disk.img", IMAGE_BYTES, 1);
    (sandbox, qubes)
}

fn assert_whole(sandbox: &Sandbox, qubes: &FakeQubes, content: &[u8]) {
    let verified = qubes.wyng(sandbox, &["verify", "home", "--deep"]);
    assert_eq!(verified.success().json["problems"], serde_json::json!([]));
    qubes
        .wyng(
            sandbox,
            &[
                "restore",
                "home",
                "disk.img",
                "--to",
                "restored",
                "--overwrite",
            ],
        )
        .success();
    assert!(std::fs::read(sandbox.path("restored")).unwrap() == content);
    assert_eq!(qubes.world.disposables(), [""; 0]);
}

fn traps(word: &str, cuts: &[usize]) -> Vec<String> {
    cuts.iter().map(|cut| format!("{word} {cut}")).collect()
}

#[test]
fn a_backup_that_a_qube_cuts_anywhere_is_taken_up_by_the_next_one() {
    for trap in [
        traps("dies-up", &CUTS_UP),
        traps("dies-down", &CUTS_DOWN),
        traps("cut", &CUTS_DOWN),
    ]
    .concat()
    {
        let (sandbox, qubes) = prepared(STAYS);
        qubes.set_traps(&[&trap]);
        let cut = qubes.wyng(&sandbox, &BACKUP);
        // Bytes after the last frame that counts are not needed.
        let codes = cut.codes();
        assert!(
            cut.status == 0
                || cut.status == 6 && ["qube-lost", "far-end-lost"].contains(&codes[0].as_str()),
            "{trap}: {}",
            cut.json
        );
        qubes.wyng(&sandbox, &BACKUP).success();
        assert_whole(&sandbox, &qubes, &noise(IMAGE_BYTES, 1));
    }
}

#[test]
fn a_backup_goes_on_in_a_new_disposable_when_one_dies_anywhere() {
    for trap in [
        traps("dies-up", &CUTS_UP[3..]),
        traps("dies-down", &CUTS_DOWN[3..]),
        traps("cut", &CUTS_DOWN[3..]),
    ]
    .concat()
    {
        let (sandbox, qubes) = prepared(DISPOSABLE);
        qubes.set_traps(&[&trap]);
        let outcome = qubes.wyng(&sandbox, &BACKUP);
        assert_eq!(
            outcome.status, 0,
            "{trap}: {}\n{}",
            outcome.json, outcome.stderr
        );
        assert_eq!(
            qubes.world.noted("qrexec-calls").len(),
            3,
            "{trap}: making, the cut call, and the one that goes on"
        );
        assert_whole(&sandbox, &qubes, &noise(IMAGE_BYTES, 1));
    }
}

#[test]
fn what_has_a_receipt_is_not_sent_to_the_new_disposable() {
    let (sandbox, qubes) = prepared(DISPOSABLE);
    let sent = sandbox.path("sent");
    qubes.install(
        "net-dvm",
        "wyng.Push",
        &format!("tee -a {} | $HELPER push", sent.display()),
    );
    sandbox.image("disk.img", 40 << 20, 7);
    qubes.set_traps(&["dies-up 38000000"]);
    qubes.wyng(&sandbox, &BACKUP).success();
    let sent = sent.metadata().unwrap().len();
    // 48 MiB: packs of 256 KiB hold three chunks and padding. The window is 32 MiB, and a store on
    // a disk settles it soon.
    assert!(sent < 80 << 20, "{sent} bytes were sent");
    assert_whole(&sandbox, &qubes, &noise(40 << 20, 7));
}

#[test]
fn several_losses_are_outlived_as_long_as_something_is_stored_between_them() {
    let (sandbox, qubes) = prepared(DISPOSABLE);
    // After a first receipt. The commit gets none before its packs have theirs.
    qubes.set_traps(&["dies-down 60", "dies-down 60"]);
    qubes.wyng(&sandbox, &BACKUP).success();
    assert_whole(&sandbox, &qubes, &noise(IMAGE_BYTES, 1));
}

#[test]
fn a_disposable_that_dies_twice_before_anything_is_stored_ends_the_command_and_the_next_one_succeeds()
 {
    let (sandbox, qubes) = prepared(DISPOSABLE);
    qubes.set_traps(&["dies-up 70000", "dies-up 70000"]);
    assert_eq!(
        qubes.wyng(&sandbox, &BACKUP).expect(6).codes(),
        ["qube-lost"]
    );
    qubes.wyng(&sandbox, &BACKUP).success();
    assert_whole(&sandbox, &qubes, &noise(IMAGE_BYTES, 1));
}

#[test]
fn a_qube_that_stands_still_is_given_up_and_killed() {
    let (sandbox, qubes) = prepared(DISPOSABLE);
    qubes.set_traps(&["freezes-up 1000000"]);
    assert_eq!(
        qubes.wyng(&sandbox, &BACKUP).expect(6).codes(),
        ["far-end-stalled"]
    );
    assert_eq!(qubes.world.disposables(), [""; 0]);
    qubes.wyng(&sandbox, &BACKUP).success();
    assert_whole(&sandbox, &qubes, &noise(IMAGE_BYTES, 1));
}

#[test]
fn what_a_deaf_service_lets_fall_is_never_taken_for_stored() {
    let (sandbox, qubes) = prepared(STAYS);
    qubes.set_traps(&["deaf 1000000"]);
    assert_eq!(
        qubes.wyng(&sandbox, &BACKUP).expect(6).codes(),
        ["far-end-lost"]
    );
    qubes.wyng(&sandbox, &BACKUP).success();
    assert_whole(&sandbox, &qubes, &noise(IMAGE_BYTES, 1));
}

#[test]
fn an_older_session_outlives_every_cut_of_the_next_backup() {
    let (sandbox, qubes) = prepared(STAYS);
    let first = qubes.wyng(&sandbox, &BACKUP).success().session(0);
    write_at(&sandbox.path("disk.img"), 500_000, &noise(1_500_000, 9));
    for trap in traps("dies-up", &[100, 300_000, 1_200_000]) {
        qubes.world.start("sys-backup");
        qubes.set_traps(&[&trap]);
        qubes.wyng(&sandbox, &BACKUP).expect(6);
        qubes
            .wyng(
                &sandbox,
                &[
                    "restore",
                    "home",
                    "disk.img",
                    "--session",
                    &first,
                    "--to",
                    "restored",
                    "--overwrite",
                ],
            )
            .success();
        assert!(
            std::fs::read(sandbox.path("restored")).unwrap() == noise(IMAGE_BYTES, 1),
            "{trap}"
        );
    }
    let mut content = noise(IMAGE_BYTES, 1);
    content[500_000..2_000_000].copy_from_slice(&noise(1_500_000, 9));
    qubes.wyng(&sandbox, &BACKUP).success();
    assert_whole(&sandbox, &qubes, &content);
}

#[test]
fn a_restore_that_loses_its_disposable_writes_no_wrong_byte_and_the_next_one_succeeds() {
    let (sandbox, qubes) = prepared(DISPOSABLE);
    qubes.wyng(&sandbox, &BACKUP).success();
    qubes.set_traps(&["dies-down 1000000"]);
    let restore = ["restore", "home", "disk.img", "--to", "restored"];
    assert_eq!(
        qubes.wyng(&sandbox, &restore).expect(6).codes(),
        ["qube-lost"]
    );
    assert!(!sandbox.path("restored").exists());
    qubes.wyng(&sandbox, &restore).success();
    assert_whole(&sandbox, &qubes, &noise(IMAGE_BYTES, 1));
}
