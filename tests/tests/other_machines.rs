// SPDX-License-Identifier: GPL-3.0-or-later
//! Another machine, a copied or older state, and a store that goes back in time.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use wyng_tests::disk::run;
use wyng_tests::sandbox::{Sandbox, files_below, flip_a_bit, noise, write_at};

const MIB: usize = 1 << 20;

fn archive_with_a_session() -> Sandbox {
    let sandbox = Sandbox::with_archive(&["--chunk-size", "64K", "--pack-size", "1M"]);
    sandbox.image("disk.img", 3 * MIB, 1);
    sandbox.wyng(&["backup", "home", "disk.img"]).success();
    sandbox
}

fn copy(from: &Path, to: &Path) {
    run(Command::new("cp").arg("-a").arg(from).arg(to));
}

/// Replaces the state by a copy of it.
fn replace_state(sandbox: &Sandbox, copy_of: &Path) {
    std::fs::remove_dir_all(sandbox.state()).unwrap();
    copy(copy_of, &sandbox.state());
}

fn change_and_back_up(sandbox: &Sandbox, seed: u64) -> wyng_tests::sandbox::Outcome {
    write_at(
        &sandbox.path("disk.img"),
        seed * 100_000,
        &noise(1000, seed),
    );
    sandbox.wyng(&["backup", "home", "disk.img"])
}

fn remove(blobs: &BTreeSet<PathBuf>) {
    blobs
        .iter()
        .for_each(|blob| std::fs::remove_file(blob).unwrap());
}

#[test]
fn a_new_machine_adopts_from_url_and_passphrase_and_sends_no_known_chunk() {
    let sandbox = archive_with_a_session();
    sandbox.adopt("passphrase").success();
    sandbox.assert_restores("disk.img", "latest", &noise(3 * MIB, 1));
    assert_eq!(
        sandbox
            .wyng(&["backup", "home", "disk.img"])
            .expect(1)
            .codes(),
        ["not-writer"]
    );
    sandbox.wyng(&["archive", "take-over", "home"]).success();
    let outcome = sandbox.wyng(&["backup", "home", "disk.img"]);
    assert_eq!(outcome.success().json["volumes"][0]["sent_bytes"], 0);
    assert!(
        outcome.json["sent_bytes"].as_u64().unwrap() <= 70_000,
        "the tail only"
    );
}

#[test]
fn two_writers_are_told_apart_and_the_stale_one_stops() {
    let sandbox = archive_with_a_session();
    let (mine, theirs) = (sandbox.path("mine"), sandbox.path("theirs"));
    copy(&sandbox.state(), &theirs);
    sandbox.adopt("passphrase").success();
    sandbox.wyng(&["archive", "take-over", "home"]).success();
    change_and_back_up(&sandbox, 2).success();
    copy(&sandbox.state(), &mine);
    // The first machine does not know about it.
    replace_state(&sandbox, &theirs);
    let before = sandbox.blobs();
    assert_eq!(
        change_and_back_up(&sandbox, 3).expect(5).codes(),
        ["forked"]
    );
    assert_eq!(
        sandbox
            .wyng(&["backup", "home", "disk.img"])
            .expect(5)
            .codes(),
        ["stopped"]
    );
    let added: Vec<_> = sandbox.blobs().difference(&before).cloned().collect();
    assert!(
        added
            .iter()
            .all(|blob| blob.metadata().unwrap().len() > 4096),
        "no commit was added: {added:?}"
    );
    sandbox.wyng(&["archive", "open", "home"]).success();
    assert_eq!(
        sandbox
            .wyng(&["backup", "home", "disk.img"])
            .expect(1)
            .codes(),
        ["not-writer"]
    );
    // The second machine is not disturbed.
    replace_state(&sandbox, &mine);
    change_and_back_up(&sandbox, 4).success();
    sandbox.wyng(&["verify", "home", "--deep"]).success();
}

#[test]
fn an_older_state_directory_is_stopped_at_its_first_commit_and_catches_up() {
    let sandbox = archive_with_a_session();
    let old = sandbox.path("old");
    copy(&sandbox.state(), &old);
    change_and_back_up(&sandbox, 2).success();
    let newest = std::fs::read(sandbox.path("disk.img")).unwrap();
    replace_state(&sandbox, &old);
    let refused = change_and_back_up(&sandbox, 3);
    assert_eq!(refused.expect(5).codes(), ["forked"]);
    assert!(
        refused.json["errors"][0]["next"]
            .as_str()
            .unwrap()
            .contains("archive open")
    );
    sandbox.wyng(&["archive", "open", "home"]).success();
    sandbox.assert_restores("disk.img", "latest", &newest);
    change_and_back_up(&sandbox, 4).success();
    sandbox.wyng(&["verify", "home", "--deep"]).success();
    assert_eq!(
        sandbox.wyng(&["list", "home"]).json["volumes"][0]["sessions"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
}

#[test]
fn a_store_that_goes_back_in_time_is_refused() {
    let sandbox = archive_with_a_session();
    let old = sandbox.blobs();
    change_and_back_up(&sandbox, 2).success();
    let new = sandbox.blobs();
    remove(&new.difference(&old).cloned().collect());
    sandbox.wyng(&["verify", "home"]).expect(5);
    assert_eq!(
        sandbox.wyng(&["archive", "open", "home"]).expect(5).codes(),
        ["rolled-back"]
    );
    let target = sandbox.path("target");
    sandbox
        .wyng(&[
            "restore",
            "home",
            "disk.img",
            "--to",
            target.to_str().unwrap(),
        ])
        .expect(5);
    assert!(!target.exists());
}

#[test]
fn another_history_from_the_same_start_is_refused() {
    let sandbox = archive_with_a_session();
    let (state, store) = (sandbox.path("state-copy"), sandbox.path("store-copy"));
    copy(&sandbox.state(), &state);
    copy(&sandbox.store(), &store);
    for seed in 2..5 {
        change_and_back_up(&sandbox, seed).success();
    }
    let known = sandbox.path("known");
    copy(&sandbox.state(), &known);
    // An attacker with a copy writes another, longer history, and replaces the store by it.
    replace_state(&sandbox, &state);
    std::fs::remove_dir_all(sandbox.store()).unwrap();
    copy(&store, &sandbox.store());
    for seed in 5..10 {
        change_and_back_up(&sandbox, seed).success();
    }
    replace_state(&sandbox, &known);
    assert_eq!(
        sandbox.wyng(&["archive", "open", "home"]).expect(5).codes(),
        ["not-descended"]
    );
    assert_eq!(
        change_and_back_up(&sandbox, 11).expect(5).codes(),
        ["stopped"]
    );
}

#[test]
fn a_lost_cache_stops_a_backup_before_it_sends_and_comes_back() {
    let sandbox = archive_with_a_session();
    let archives = sandbox.state().join("archives");
    let folder = std::fs::read_dir(&archives)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.is_dir() && !path.is_symlink());
    std::fs::remove_dir_all(folder.unwrap().join("cache")).unwrap();
    let before = sandbox.blobs();
    assert_eq!(
        sandbox
            .wyng(&["backup", "home", "disk.img"])
            .expect(1)
            .codes(),
        ["cache-lost"]
    );
    assert_eq!(sandbox.blobs(), before);
    sandbox.wyng(&["archive", "open", "home"]).success();
    let outcome = sandbox.wyng(&["backup", "home", "disk.img"]);
    assert_eq!(outcome.success().json["volumes"][0]["sent_bytes"], 0);
}

#[test]
fn an_archive_is_forgotten_here_and_stays_there() {
    let sandbox = archive_with_a_session();
    let before = sandbox.blobs();
    sandbox.wyng(&["archive", "forget", "home"]).success();
    sandbox.wyng(&["list", "home"]).expect(2);
    assert_eq!(sandbox.blobs(), before);
    sandbox.adopt("passphrase").success();
    sandbox.assert_restores("disk.img", "latest", &noise(3 * MIB, 1));
}

#[test]
fn a_damaged_ledger_is_told_and_the_advice_leads_out() {
    let sandbox = archive_with_a_session();
    let code = sandbox.wyng(&["recovery-sheet", "home"]).success().json["code"]
        .as_str()
        .unwrap()
        .to_owned();
    let ledgers: Vec<_> = files_below(&sandbox.state())
        .into_iter()
        .filter(|path| path.ends_with("ledger"))
        .collect();
    flip_a_bit(&ledgers[0]);
    for command in [
        &["backup", "home", "disk.img"][..],
        &["archive", "open", "home"],
    ] {
        let outcome = sandbox.wyng(command);
        assert_eq!(outcome.expect(1).codes(), ["state-damaged"]);
        assert!(
            outcome.json["errors"][0]["next"]
                .as_str()
                .unwrap()
                .contains("archive forget home`"),
            "{}",
            outcome.json
        );
    }
    sandbox.wyng(&["archive", "forget", "home"]).success();
    let store = format!("dir:{}", sandbox.store().display());
    sandbox
        .wyng(&[
            "archive", "open", "home", "--store", &store, "--expect", &code,
        ])
        .success();
    sandbox.assert_restores("disk.img", "latest", &noise(3 * MIB, 1));
    sandbox.wyng(&["archive", "take-over", "home"]).success();
    change_and_back_up(&sandbox, 2).success();
}

/// Blobs that are not below any name of `before`, with their bytes.
fn added(sandbox: &Sandbox, before: &BTreeSet<PathBuf>) -> Vec<(PathBuf, Vec<u8>)> {
    sandbox
        .blobs()
        .difference(before)
        .map(|blob| (blob.clone(), std::fs::read(blob).unwrap()))
        .collect()
}

#[test]
fn no_older_block_or_tail_passes_for_a_newer_one() {
    let sandbox = archive_with_a_session();
    let start = sandbox.blobs();
    change_and_back_up(&sandbox, 2).success();
    let older = added(&sandbox, &start);
    let second = sandbox.blobs();
    change_and_back_up(&sandbox, 3).success();
    let newer = added(&sandbox, &second);
    // A pack of chunks and nodes, and a commit: each is replaced by the one of the previous run.
    assert!(
        newer.len() >= 2 && newer.len() == older.len(),
        "{} and {} blobs",
        newer.len(),
        older.len()
    );
    let state = sandbox.path("state-copy");
    copy(&sandbox.state(), &state);
    let content = std::fs::read(sandbox.path("disk.img")).unwrap();
    for (blob, bytes) in &newer {
        let (_, stale) = older
            .iter()
            .min_by_key(|(_, stale)| stale.len().abs_diff(bytes.len()))
            .unwrap();
        std::fs::write(blob, stale).unwrap();
        sandbox.wyng(&["verify", "home"]).expect(5);
        let out = sandbox.path("out");
        // This machine may still have everything that it needs; then it restores the newest state,
        // and no other.
        restores_newest_or_refuses(&sandbox, &out, &content);
        // A machine that knows nothing yet does not accept it either.
        assert_eq!(sandbox.adopt("passphrase").status, 5);
        restores_newest_or_refuses(&sandbox, &out, &content);
        std::fs::write(blob, bytes).unwrap();
        replace_state(&sandbox, &state);
    }
    sandbox.wyng(&["verify", "home", "--deep"]).success();
}

fn restores_newest_or_refuses(sandbox: &Sandbox, target: &Path, newest: &[u8]) {
    let arguments = [
        "restore",
        "home",
        "disk.img",
        "--session",
        "latest",
        "--to",
        target.to_str().unwrap(),
    ];
    if sandbox.wyng(&arguments).status == 0 {
        assert!(
            std::fs::read(target).unwrap() == newest,
            "an older state of the volume passed for the newest"
        );
        std::fs::remove_file(target).unwrap();
    }
    assert!(!target.exists(), "a target that was refused is not there");
}

#[test]
fn a_slot_of_before_a_key_change_does_not_come_back() {
    let sandbox = archive_with_a_session();
    let is_slot = |bytes: &[u8]| bytes.starts_with(b"wyngslot");
    let (old, _) = added(&sandbox, &BTreeSet::new())
        .into_iter()
        .find(|(_, bytes)| is_slot(bytes))
        .unwrap();
    let before = sandbox.blobs();
    let second = sandbox.text("second", "another one\n");
    sandbox
        .wyng(&["key", "change", "home", "--new-passphrase-file", &second])
        .success();
    let (new, _) = added(&sandbox, &before)
        .into_iter()
        .find(|(_, bytes)| is_slot(bytes))
        .unwrap();
    std::fs::write(&new, std::fs::read(&old).unwrap()).unwrap();
    let verified = sandbox.wyng(&["verify", "home"]);
    verified.expect(5);
    // The old passphrase opens nothing, on any machine.
    for passphrase in ["passphrase", "second"] {
        let opened = sandbox.adopt(passphrase);
        assert!(
            matches!(opened.status, 4 | 5),
            "{passphrase}: {}",
            opened.json
        );
    }
}

#[test]
fn a_copied_state_directory_repeats_no_nonce() {
    let sandbox = archive_with_a_session();
    let (state, store) = (sandbox.path("state-copy"), sandbox.path("store-copy"));
    copy(&sandbox.state(), &state);
    copy(&sandbox.store(), &store);
    let before = sandbox.blobs();
    let mut windows: std::collections::HashSet<[u8; 24]> = std::collections::HashSet::new();
    // The copy makes the same backup first, and then another one: neither may use a nonce that the
    // other has used.
    for seed in [2, 2, 3] {
        change_and_back_up(&sandbox, seed).success();
        let mut own = Vec::new();
        for (blob, bytes) in added(&sandbox, &before) {
            for window in bytes.windows(24) {
                let window: [u8; 24] = window.try_into().unwrap();
                assert!(
                    !windows.contains(&window),
                    "{} repeats {window:02x?}",
                    blob.display()
                );
                own.push(window);
            }
        }
        assert!(own.len() > 10_000, "{} places were compared", own.len());
        windows.extend(own);
        replace_state(&sandbox, &state);
        std::fs::remove_dir_all(sandbox.store()).unwrap();
        copy(&store, &sandbox.store());
    }
}

#[test]
fn a_second_name_opens_no_second_history() {
    let sandbox = archive_with_a_session();
    let old = sandbox.blobs();
    change_and_back_up(&sandbox, 2).success();
    let newest = std::fs::read(sandbox.path("disk.img")).unwrap();
    let store = format!("dir:{}", sandbox.store().display());
    let other = |sandbox: &Sandbox| sandbox.wyng(&["archive", "open", "other", "--store", &store]);
    assert_eq!(other(&sandbox).expect(2).codes(), ["archive-known"]);
    let aside = sandbox.path("aside");
    copy(&sandbox.store(), &aside);
    remove(&sandbox.blobs().difference(&old).cloned().collect());
    assert_eq!(other(&sandbox).expect(5).codes(), ["rolled-back"]);
    assert_eq!(
        sandbox
            .wyng(&["archive", "forget", "other"])
            .expect(2)
            .codes(),
        ["unknown-archive"]
    );
    std::fs::remove_dir_all(sandbox.store()).unwrap();
    std::fs::rename(&aside, sandbox.store()).unwrap();
    sandbox.assert_restores("disk.img", "latest", &newest);
    change_and_back_up(&sandbox, 3).success();
}

#[test]
fn one_archive_whose_state_is_damaged_hides_no_other() {
    let sandbox = archive_with_a_session();
    let second = format!("dir:{}", sandbox.path("second-store").display());
    sandbox
        .wyng(&[
            "archive",
            "create",
            "a",
            "--store",
            &second,
            "--kdf-memory",
            "64M",
            "--kdf-passes",
            "3",
        ])
        .success();
    let link = std::fs::read_link(sandbox.state().join("archives/a")).unwrap();
    flip_a_bit(&sandbox.state().join("archives").join(link).join("ledger"));
    for command in [["archive", "list"].as_slice(), &["status"]] {
        let outcome = sandbox.wyng(command);
        assert_eq!(outcome.expect(1).codes(), ["state-damaged"], "{command:?}");
        assert_eq!(
            outcome.json["archives"][0]["name"], "home",
            "{command:?}: {}",
            outcome.json
        );
    }
}
