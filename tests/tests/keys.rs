// SPDX-License-Identifier: GPL-3.0-or-later
//! Passphrases and recovery keys: added, changed, removed and tested without encrypting anything
//! again.

use wyng_archive::format::HeadCode;
use wyng_tests::sandbox::{Outcome, Sandbox, flip_a_bit, noise};

const MIB: usize = 1 << 20;

fn archive_with_a_session() -> Sandbox {
    let sandbox = Sandbox::with_archive(&[]);
    sandbox.image("disk.img", MIB, 1);
    sandbox.wyng(&["backup", "home", "disk.img"]).success();
    sandbox
}

fn check(sandbox: &Sandbox, file: &str) -> Outcome {
    sandbox.wyng(&["key", "check", "home", "--passphrase-file", file])
}

#[test]
fn a_second_passphrase_opens_here_and_on_another_machine() {
    let sandbox = archive_with_a_session();
    let second = sandbox.text("second", "another one\n");
    let before: u64 = sandbox
        .blobs()
        .iter()
        .map(|blob| blob.metadata().unwrap().len())
        .sum();
    sandbox
        .wyng(&["key", "add", "home", "--new-passphrase-file", &second])
        .success();
    let after: u64 = sandbox
        .blobs()
        .iter()
        .map(|blob| blob.metadata().unwrap().len())
        .sum();
    assert!(
        after - before < 8192,
        "a slot and a commit, and nothing sealed again"
    );
    check(&sandbox, &second).success();
    check(&sandbox, "passphrase").success();
    sandbox.adopt(&second).success();
    sandbox.assert_restores("disk.img", "latest", &noise(MIB, 1));
    sandbox.wyng(&["verify", "home"]).success();
}

#[test]
fn a_changed_passphrase_no_longer_opens_and_backups_go_on() {
    let sandbox = archive_with_a_session();
    let second = sandbox.text("second", "another one\n");
    sandbox
        .wyng(&["key", "change", "home", "--new-passphrase-file", &second])
        .success();
    check(&sandbox, "passphrase").expect(4);
    check(&sandbox, &second).success();
    sandbox.adopt("passphrase").expect(4);
    sandbox.adopt(&second).success();
    sandbox.wyng(&["archive", "take-over", "home"]).success();
    sandbox.wyng(&["backup", "home", "disk.img"]).success();
}

#[test]
fn a_recovery_key_is_shown_once_and_opens_however_it_is_typed() {
    let sandbox = archive_with_a_session();
    let added = sandbox.wyng(&["key", "add", "home", "--recovery-key"]);
    let key = added.success().json["recovery_key"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(key.len(), 47);
    let typed = sandbox.text(
        "typed",
        &format!("{}\n", key.to_lowercase().replace('-', " ")),
    );
    check(&sandbox, &typed).success();
    sandbox.adopt(&typed).success();
    sandbox.assert_restores("disk.img", "latest", &noise(MIB, 1));
    let listed = sandbox.wyng(&["key", "list", "home"]);
    assert_eq!(listed.json["slots"][1]["kind"], "recovery-key");
    assert!(
        !listed
            .stdout
            .windows(key.len())
            .any(|window| window == key.as_bytes())
    );
}

#[test]
fn a_slot_is_removed_only_with_a_passphrase_that_stays() {
    let sandbox = archive_with_a_session();
    let second = sandbox.text("second", "another one\n");
    sandbox
        .wyng(&["key", "add", "home", "--new-passphrase-file", &second])
        .success();
    sandbox.wyng(&["key", "remove", "home", "0"]).expect(2);
    sandbox
        .wyng(&["key", "remove", "home", "7", "--passphrase-file", &second])
        .expect(2);
    sandbox
        .wyng(&["key", "remove", "home", "0", "--passphrase-file", &second])
        .success();
    check(&sandbox, "passphrase").expect(4);
    check(&sandbox, &second).success();
    sandbox
        .wyng(&["key", "remove", "home", "1", "--passphrase-file", &second])
        .expect(2);
}

#[test]
fn there_are_at_most_eight_slots() {
    let sandbox = archive_with_a_session();
    for number in 1..8 {
        sandbox
            .wyng(&["key", "add", "home", "--recovery-key"])
            .success();
        assert_eq!(
            sandbox.wyng(&["key", "list", "home"]).json["slots"]
                .as_array()
                .unwrap()
                .len(),
            number + 1
        );
    }
    sandbox
        .wyng(&["key", "add", "home", "--recovery-key"])
        .expect(2);
}

#[test]
fn an_archive_whose_only_slot_is_damaged_is_status_5_in_verify() {
    let sandbox = archive_with_a_session();
    let slot = sandbox
        .blobs()
        .into_iter()
        .find(|blob| blob.metadata().unwrap().len() == 224)
        .unwrap();
    std::fs::remove_file(&slot).unwrap_or(());
    sandbox.wyng(&["verify", "home"]).expect(5);
    let sandbox = archive_with_a_session();
    let slot = sandbox
        .blobs()
        .into_iter()
        .find(|blob| blob.metadata().unwrap().len() == 224)
        .unwrap();
    let mut bytes = std::fs::read(&slot).unwrap();
    bytes[100] ^= 1;
    std::fs::remove_file(&slot).unwrap();
    std::fs::write(&slot, bytes).unwrap();
    let verified = sandbox.wyng(&["verify", "home"]);
    assert_eq!(verified.expect(5).json["problems"][0]["class"], "slot");
    // A damaged slot must not report a wrong passphrase.
    sandbox.adopt("passphrase").expect(5);
}

#[test]
fn keys_are_proven_by_a_check_and_by_a_restore() {
    let sandbox = archive_with_a_session();
    let shown = || sandbox.wyng(&["status", "home"]).json["archives"][0].clone();
    let before = shown();
    assert!(before["keys_proven"].is_null() && before["key_proof_age_seconds"].is_null());
    check(&sandbox, "passphrase").success();
    let checked = shown();
    let proven = checked["keys_proven"].as_str().unwrap();
    assert!(proven >= checked["committed"].as_str().unwrap(), "{proven}");
    assert!(checked["key_proof_age_seconds"].is_u64());
    // A later proof takes the place of the first, whatever the time.
    sandbox.assert_restores("disk.img", "latest", &noise(MIB, 1));
    assert!(shown()["keys_proven"].as_str().unwrap() >= proven);
}

#[test]
fn the_recovery_sheets_code_refuses_a_rollback_on_a_new_machine() {
    let sandbox = archive_with_a_session();
    let old = sandbox.blobs();
    sandbox.image("disk.img", MIB, 2);
    sandbox.wyng(&["backup", "home", "disk.img"]).success();
    let svg = sandbox.path("sheet.svg");
    let sheet = sandbox.wyng(&["recovery-sheet", "home", "--svg", svg.to_str().unwrap()]);
    let code = sheet.success().json["code"].as_str().unwrap().to_owned();
    assert!(std::fs::read_to_string(&svg).unwrap().contains(&code));
    let store = format!("dir:{}", sandbox.store().display());
    let open = |code: &str| {
        let _ = std::fs::remove_dir_all(sandbox.state());
        sandbox.wyng(&[
            "archive", "open", "home", "--store", &store, "--expect", code,
        ])
    };
    open(&code).success();
    // A typing error in any part is reported as such, and not as a fault of the store.
    for place in [0, code.len() / 2, code.len() - 1] {
        let mut typed = code.clone().into_bytes();
        typed[place] = if typed[place] == b'7' { b'8' } else { b'7' };
        assert_eq!(
            open(std::str::from_utf8(&typed).unwrap()).expect(2).codes(),
            ["code-mistyped"],
            "at {place} of {code}"
        );
    }
    let generation = code.parse::<HeadCode>().unwrap().generation();
    let other = HeadCode::of(generation, &[7; 32]).to_string();
    assert_eq!(open(&other).expect(5).codes(), ["not-descended"]);
    // The store is reset to its state before the last backup.
    for blob in sandbox.blobs().difference(&old) {
        std::fs::remove_file(blob).unwrap();
    }
    assert_eq!(open(&code).expect(5).codes(), ["rolled-back"]);
}

#[test]
fn the_local_copy_of_slots_survives_a_flipped_store() {
    let sandbox = archive_with_a_session();
    let slot = sandbox
        .blobs()
        .into_iter()
        .find(|blob| blob.metadata().unwrap().len() == 224)
        .unwrap();
    let sound = std::fs::read(&slot).unwrap();
    std::fs::remove_file(&slot).unwrap();
    std::fs::write(&slot, sound).unwrap();
    flip_a_bit(&slot);
    check(&sandbox, "passphrase").success();
    sandbox.assert_restores("disk.img", "latest", &noise(MIB, 1));
}

#[test]
fn slots_are_listed_with_date_and_label_and_a_check_says_which_one_opened() {
    let sandbox = archive_with_a_session();
    let second = sandbox.text("second", "another one\n");
    let added = sandbox.wyng(&[
        "key",
        "add",
        "home",
        "--label",
        "laptop",
        "--new-passphrase-file",
        &second,
    ]);
    let slots = added.success().json["slots"].clone();
    assert_eq!(
        (&slots[0]["opens"], &slots[1]["opens"], &slots[1]["label"]),
        (&true.into(), &false.into(), &"laptop".into())
    );
    assert!(
        slots[1]["made"].as_str().unwrap().starts_with("20"),
        "{slots}"
    );
    let checked = check(&sandbox, &second);
    assert_eq!(checked.success().json["slot"]["number"], 1);
    assert_eq!(checked.json["slot"]["opens"], true);
    let listed = sandbox.wyng(&["key", "list", "home"]).json["slots"].clone();
    assert!(
        listed[0]["opened"].is_null() && listed[1]["opened"].is_string(),
        "{listed}"
    );
    // The same as text for people.
    let mut plain = std::process::Command::new(sandbox.program("wyng-ctl"));
    plain
        .args([
            "--standalone",
            "key",
            "check",
            "home",
            "--passphrase-file",
            &second,
            "--state-dir",
        ])
        .arg(sandbox.state());
    let told = Outcome::of(plain.output().unwrap());
    let line = String::from_utf8(told.success().stdout.clone()).unwrap();
    assert!(
        line.contains("slot 1  passphrase  \"laptop\"  made 20")
            && line.contains("this one opens the archive"),
        "{line}"
    );
    for label in ["x".repeat(33), "a\nb".to_owned()] {
        let refused = sandbox.wyng(&[
            "key",
            "add",
            "home",
            "--label",
            &label,
            "--new-passphrase-file",
            &second,
        ]);
        assert_eq!(refused.expect(2).codes(), ["bad-setting"]);
    }
}

#[test]
fn a_passphrase_is_added_once() {
    let sandbox = archive_with_a_session();
    let same = sandbox.path("passphrase").to_str().unwrap().to_owned();
    for command in ["add", "change"] {
        let refused = sandbox.wyng(&["key", command, "home", "--new-passphrase-file", &same]);
        assert_eq!(refused.expect(2).codes(), ["passphrase-taken"], "{command}");
    }
    assert_eq!(
        sandbox.wyng(&["key", "list", "home"]).json["slots"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}
