// SPDX-License-Identifier: GPL-3.0-or-later
//! An archive behind a real SSH server, through the daemon, the helper and ssh.
//! `tests/tests/pipe/sftp.rs` has the single requests.

use std::process::Stdio;

use wyng_tests::disk::LoopMount;
use wyng_tests::require::{Component, require};
use wyng_tests::sandbox::{Outcome, Sandbox, create_home, noise, write_at};
use wyng_tests::service::{Service, run_kill, until};
use wyng_tests::sshd::Sshd;

const MIB: usize = 1 << 20;

/// Creates the archive with small packs, which a prune may delete at once.
fn create(sandbox: &Sandbox, sshd: &Sshd) -> Outcome {
    let store = sshd.address(&sandbox.store());
    let options = [
        "--pack-size",
        "1M",
        "--hold-off",
        "0,0s",
        "--minimum-age",
        "0s",
    ];
    sshd.wyng(sandbox, &[&create_home(&store)[..], &options].concat())
}

#[test]
fn an_archive_over_sftp_makes_the_whole_round() {
    if !require(
        Component::Sshd,
        "an_archive_over_sftp_makes_the_whole_round",
    ) {
        return;
    }
    let (sandbox, sshd) = (Sandbox::new(), Sshd::start(""));
    let wyng = |arguments: &[&str]| sshd.wyng(&sandbox, arguments);
    create(&sandbox, &sshd).success();
    let image = sandbox.image("disk.img", 6 * MIB + 1234, 1);
    let first = wyng(&["backup", "home", "disk.img"]).success().session(0);
    write_at(&image, 0, &noise(4 * MIB, 2));
    let second = wyng(&["backup", "home", "disk.img"]).success().session(0);
    assert_ne!(first, second);
    wyng(&["verify", "home", "--deep"]).success();
    wyng(&[
        "restore",
        "home",
        "disk.img",
        "--session",
        &first,
        "--to",
        "old",
    ])
    .success();
    assert!(std::fs::read(sandbox.path("old")).unwrap() == noise(6 * MIB + 1234, 1));

    let before = sandbox.blobs();
    wyng(&["prune", "home", "--keep-last", "1"]).success();
    wyng(&["prune", "home", "--keep-last", "1"]).success();
    let gone = before.difference(&sandbox.blobs()).count();
    assert!(gone >= 3, "{gone} packs were deleted");
    wyng(&["verify", "home", "--deep"]).success();

    std::fs::remove_dir_all(sandbox.state()).unwrap();
    let store = sshd.address(&sandbox.store());
    wyng(&["archive", "open", "home", "--store", &store]).success();
    wyng(&["restore", "home", "disk.img", "--to", "new"]).success();
    assert!(std::fs::read(sandbox.path("new")).unwrap() == std::fs::read(&image).unwrap());

    // The same folder, without SFTP; and what is added to it there is found over SFTP.
    sandbox.adopt("passphrase").success();
    let whole = std::fs::read(&image).unwrap();
    sandbox.assert_restores("disk.img", "latest", &whole);
    sandbox.image("other.img", MIB, 3);
    sandbox.wyng(&["archive", "take-over", "home"]).success();
    sandbox.wyng(&["backup", "home", "other.img"]).success();
    std::fs::remove_dir_all(sandbox.state()).unwrap();
    wyng(&["archive", "open", "home", "--store", &store]).success();
    wyng(&["restore", "home", "other.img", "--to", "other"]).success();
    assert!(std::fs::read(sandbox.path("other")).unwrap() == noise(MIB, 3));
}

#[test]
fn the_service_reaches_an_sftp_store_with_roots_ssh_and_without_its_capabilities() {
    let test = "the_service_reaches_an_sftp_store_with_roots_ssh_and_without_its_capabilities";
    if !require(Component::Sshd, test) || !require(Component::Users, test) {
        return;
    }
    let (mut sandbox, sshd) = (Sandbox::new(), Sshd::start(""));
    let mut daemon = Service::command(&sandbox, &[]);
    let service = Service::started(&mut sandbox, daemon.env("PATH", sshd.path()));
    create(&sandbox, &sshd).success();
    sandbox.image("disk.img", 64 * MIB, 1);
    let backup = sandbox
        .command(&["backup", "home", "disk.img"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stored = || sandbox.blobs().len() > 5;
    until("the backup is at work", stored);
    let ssh = *sshd.clients().last().unwrap();
    let status = std::fs::read_to_string(format!("/proc/{ssh}/status")).unwrap();
    let held: Vec<&str> = status
        .lines()
        .filter(|line| line.starts_with("CapEff") || line.starts_with("CapPrm"))
        .collect();
    assert_eq!(held.len(), 2);
    let none = "0000000000000000";
    assert!(held.iter().all(|line| line.ends_with(none)), "{held:?}");
    Outcome::of(backup.wait_with_output().unwrap()).success();
    sandbox.wyng(&["verify", "home", "--deep"]).success();
    sandbox.assert_restores("disk.img", "latest", &noise(64 * MIB, 1));
    service.stop();
}

#[test]
fn an_unknown_host_and_a_refused_key_are_named_with_what_to_do() {
    let test = "an_unknown_host_and_a_refused_key_are_named_with_what_to_do";
    if !require(Component::Sshd, test) {
        return;
    }
    let (sandbox, sshd) = (Sandbox::new(), Sshd::start(""));
    create(&sandbox, &sshd).success();
    sandbox.image("disk.img", MIB, 1);
    sshd.use_other_key();
    let outcome = sshd.wyng(&sandbox, &["backup", "home", "disk.img"]);
    assert_eq!(outcome.expect(6).codes(), ["store-denied"]);
    assert!(next_of(&outcome).contains("accepts the helper's key"));
    sshd.forget_host();
    let outcome = sshd.wyng(&sandbox, &["backup", "home", "disk.img"]);
    assert_eq!(outcome.expect(6).codes(), ["store-unreachable"]);
    assert!(next_of(&outcome).contains("accept the host's key"));
    let text = outcome.json["errors"][0]["text"].as_str().unwrap();
    assert!(text.contains("sftp://root@127.0.0.1"), "{text}");
    // ssh's own words stay in the helper's journal.
    assert!(!outcome.stderr.contains("verification failed"));
}

#[test]
fn a_full_disk_behind_sftp_is_named_and_the_same_backup_goes_on_after_room_was_made() {
    let test = "a_full_disk_behind_sftp_is_named_and_the_same_backup_goes_on_after_room_was_made";
    if !(require(Component::Sshd, test) && require(Component::Ext4, test)) {
        return;
    }
    // A reserve of 64 MiB stays free.
    let disk = LoopMount::mount("ext4", 120, "");
    let (sandbox, sshd) = (
        Sandbox::with_store_at(disk.path().join("store")),
        Sshd::start(""),
    );
    create(&sandbox, &sshd).success();
    let space = rustix::fs::statvfs(disk.path()).unwrap();
    let free_bytes = usize::try_from(space.f_bavail * space.f_frsize).unwrap();
    let ballast = disk.path().join("ballast");
    std::fs::write(&ballast, noise(free_bytes - 66 * MIB, 3)).unwrap();
    sandbox.image("disk.img", 8 * MIB, 1);
    let backup = ["backup", "home", "disk.img"];
    let full = sshd.wyng(&sandbox, &backup);
    assert_eq!(full.expect(1).codes(), ["store-full"]);
    let text = full.json["errors"][0]["text"].as_str().unwrap();
    assert!(text.contains("sftp://"), "{text}");
    std::fs::remove_file(&ballast).unwrap();
    sshd.wyng(&sandbox, &backup).success();
    sshd.wyng(&sandbox, &["verify", "home", "--deep"]).success();
}

fn next_of(outcome: &Outcome) -> &str {
    outcome.json["errors"][0]["next"].as_str().unwrap()
}

#[test]
fn an_account_that_only_reads_restores_and_one_that_only_adds_backs_up() {
    let test = "an_account_that_only_reads_restores_and_one_that_only_adds_backs_up";
    if !require(Component::Sshd, test) {
        return;
    }
    let (sandbox, sshd) = (Sandbox::new(), Sshd::start(""));
    create(&sandbox, &sshd).success();
    sandbox.image("disk.img", 3 * MIB, 1);
    let adds = Sshd::start("-P remove,rmdir,rename,posix-rename,setstat,fsetstat,lsetstat,symlink");
    let moved = |to: &Sshd| {
        let store = to.address(&sandbox.store());
        let outcome = to.wyng(&sandbox, &["archive", "open", "home", "--store", &store]);
        outcome.success();
    };
    moved(&adds);
    adds.wyng(&sandbox, &["backup", "home", "disk.img"])
        .success();
    let reads = Sshd::start("-R");
    moved(&reads);
    reads
        .wyng(&sandbox, &["verify", "home", "--deep"])
        .success();
    reads
        .wyng(&sandbox, &["restore", "home", "disk.img", "--to", "out"])
        .success();
    assert!(std::fs::read(sandbox.path("out")).unwrap() == noise(3 * MIB, 1));
    sandbox.image("disk.img", 3 * MIB, 2);
    let refused = reads.wyng(&sandbox, &["backup", "home", "disk.img"]);
    assert_eq!(refused.expect(6).codes(), ["store-denied"]);
}

#[test]
fn an_archive_over_sftp_is_copied_to_a_folder_and_back() {
    let test = "an_archive_over_sftp_is_copied_to_a_folder_and_back";
    if !require(Component::Sshd, test) {
        return;
    }
    let (sandbox, sshd) = (Sandbox::new(), Sshd::start(""));
    create(&sandbox, &sshd).success();
    let image = sandbox.image("disk.img", 3 * MIB, 1);
    sshd.wyng(&sandbox, &["backup", "home", "disk.img"])
        .success();
    // From SFTP to a folder, and from there to another folder over SFTP.
    let folder = format!("dir:{}", sandbox.path("copy").display());
    sshd.wyng(&sandbox, &["archive", "copy", "home", "--to", &folder])
        .success();
    let new = Sandbox::new();
    let wyng = |arguments: &[&str]| sshd.wyng(&new, arguments);
    wyng(&["archive", "open", "home", "--store", &folder]).success();
    let back = sshd.address(&new.path("back"));
    let copied = wyng(&["archive", "copy", "home", "--to", &back]);
    assert!(copied.success().json["sent_bytes"].as_u64().unwrap() > 3 * MIB as u64);
    let again = wyng(&["archive", "copy", "home", "--to", &back]);
    assert_eq!(again.success().json["sent_objects"], 0);
    let third = Sandbox::new();
    sshd.wyng(&third, &["archive", "open", "home", "--store", &back])
        .success();
    sshd.wyng(&third, &["restore", "home", "disk.img", "--to", "out"])
        .success();
    assert!(std::fs::read(third.path("out")).unwrap() == std::fs::read(&image).unwrap());
}

#[test]
fn ssh_that_is_killed_within_a_backup_loses_nothing_and_the_same_command_goes_on() {
    let test = "ssh_that_is_killed_within_a_backup_loses_nothing_and_the_same_command_goes_on";
    if !require(Component::Sshd, test) {
        return;
    }
    let (sandbox, sshd) = (Sandbox::new(), Sshd::start(""));
    create(&sandbox, &sshd).success();
    let size = 64 * MIB;
    sandbox.image("disk.img", size, 1);
    let packs = || sandbox.blobs().len();
    let before = packs();
    let mut command = sandbox.command(&["backup", "home", "disk.img"]);
    let backup = command
        .env("PATH", sshd.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Receipts keep the order, and up to eight packs are stored at a time.
    until("some packs are stored", || packs() >= before + 32);
    let ssh = sshd.clients();
    run_kill("-KILL", *ssh.last().unwrap());
    let outcome = Outcome::of(backup.wait_with_output().unwrap());
    assert_eq!(outcome.expect(6).codes(), ["store-unreachable"]);
    let again = sshd.wyng(&sandbox, &["backup", "home", "disk.img"]);
    let sent = again.success().json["sent_bytes"].as_u64().unwrap();
    // Packs of 1 MiB hold seven chunks of 128 KiB. A receipt may be on its way.
    let whole = size * 8 / 7;
    assert!(
        sent < (whole - 16 * MIB) as u64,
        "{sent} bytes were sent again"
    );
    sshd.wyng(&sandbox, &["verify", "home", "--deep"]).success();
    sshd.wyng(&sandbox, &["restore", "home", "disk.img", "--to", "out"])
        .success();
    assert!(std::fs::read(sandbox.path("out")).unwrap() == noise(size, 1));
}

#[test]
fn a_server_whose_rename_replaces_is_refused_for_new_archives_and_read_from() {
    let test = "a_server_whose_rename_replaces_is_refused_for_new_archives_and_read_from";
    if !require(Component::Sshd, test) || !require(Component::Rclone, test) {
        return;
    }
    let sandbox = Sandbox::with_archive(&[]);
    sandbox.image("disk.img", 3 * MIB, 1);
    sandbox.wyng(&["backup", "home", "disk.img"]).success();
    let rclone = Sshd::rclone(&sandbox.path(""));
    let address = |folder| rclone.address(std::path::Path::new(folder));
    let store = address("/new");
    let mut create = create_home(&store);
    create[2] = "other";
    let new = rclone.wyng(&sandbox, &create);
    assert_eq!(new.expect(1).codes(), ["store-not-exclusive"]);
    assert!(!sandbox.path("new").exists());
    let store = address("/store");
    rclone
        .wyng(&sandbox, &["archive", "open", "home", "--store", &store])
        .success();
    rclone
        .wyng(&sandbox, &["verify", "home", "--deep"])
        .success();
    rclone
        .wyng(&sandbox, &["restore", "home", "disk.img", "--to", "out"])
        .success();
    assert!(std::fs::read(sandbox.path("out")).unwrap() == noise(3 * MIB, 1));
    // It says that it links, and does not: no blob may be taken for stored.
    let blobs = || {
        let mut blobs = sandbox.blobs();
        blobs.retain(|path| !path.starts_with(sandbox.store().join(".incoming")));
        blobs
    };
    let before = blobs();
    sandbox.image("disk.img", 3 * MIB, 2);
    let refused = rclone.wyng(&sandbox, &["backup", "home", "disk.img"]);
    assert_eq!(refused.expect(1).codes(), ["store-failed"]);
    assert_eq!(blobs(), before);
}
