// SPDX-License-Identifier: GPL-3.0-or-later
//! A reader that knows only docs/format.md restores archives of the programs, and refuses and names
//! damaged objects.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::process::Command;

use wyng_archive::BlobName;
use wyng_archive::crypto::{
    Coder, Id, Kind, NonceSeed, Password, RecoveryKey, Root, open_slot, pack_name, seal_slot,
    slot_name,
};
use wyng_archive::format::{
    Commit, CommitStamp, SLOT_TOKEN_BYTES, Slot, SlotKind, SlotLabel, SlotRef, Stamp, skip_of,
};
use wyng_control::Via;
use wyng_engine::{admin, backup};
use wyng_tests::memory_world::{Durable, MemoryWorld, sources_named};
use wyng_tests::programs::program;
use wyng_tests::sandbox::{Outcome, PASSPHRASE, Sandbox, flip_a_bit, noise, write_at};
use wyng_tests::second_reader::SecondReader;

const MIB: usize = 1 << 20;

/// An archive, and the content that each of its sessions must restore.
struct History {
    reader: SecondReader,
    sandbox: Sandbox,
    sessions: Vec<(String, String, Vec<u8>)>,
}

impl History {
    fn with_archive(test: &str, options: &[&str]) -> Option<Self> {
        let reader = SecondReader::ready(test)?;
        Some(Self {
            reader,
            sandbox: Sandbox::with_archive(options),
            sessions: Vec::new(),
        })
    }

    /// A backup of these files, whose content is kept for comparison.
    fn backup(&mut self, names: &[&str]) {
        let outcome = self.sandbox.wyng(&[&["backup", "home"], names].concat());
        outcome.success();
        for (place, name) in names.iter().enumerate() {
            let content = std::fs::read(self.sandbox.path(name)).unwrap();
            self.sessions
                .push(((*name).to_owned(), outcome.session(place), content));
        }
    }

    fn set_len(&self, name: &str, length: usize) {
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(self.sandbox.path(name))
            .unwrap();
        file.set_len(length as u64).unwrap();
    }

    /// Two volumes and an empty volume, which change, grow, shrink, get holes, and come and go.
    fn grow_old(&mut self) {
        self.sandbox.image("noise", 5 * MIB + 1234, 1);
        std::fs::write(
            self.sandbox.path("text"),
            "all work and no play makes a dull disk\n".repeat(40_000),
        )
        .unwrap();
        self.set_len("empty", 0);
        self.backup(&["noise", "text", "empty"]);

        write_at(&self.sandbox.path("noise"), 1_000_000, &noise(5000, 7));
        write_at(&self.sandbox.path("text"), 70 * MIB as u64, &noise(3, 3));
        self.set_len("empty", 1);
        self.backup(&["noise", "text", "empty"]);

        write_at(&self.sandbox.path("noise"), 100_000, &vec![0; MIB]);
        self.set_len("text", 1_000_000);
        self.set_len("hole", 3 * MIB + 5);
        self.backup(&["hole", "text", "noise"]);

        self.set_len("noise", 65_536);
        self.set_len("text", 2 * MIB);
        self.backup(&["text", "noise"]);
    }

    fn run(&self, arguments: &[&str]) -> Outcome {
        self.reader.run(
            &self.sandbox.store(),
            &self.sandbox.path("passphrase"),
            arguments,
        )
    }

    fn assert_all_comes_back(&self) {
        let mut expected: Vec<_> = self
            .sessions
            .iter()
            .map(|(volume, session, content)| format!("{volume} {session} {}", content.len()))
            .collect();
        let list = self.run(&["list"]);
        let mut listed: Vec<_> = std::str::from_utf8(&list.success().stdout)
            .unwrap()
            .lines()
            .collect();
        expected.sort();
        listed.sort_unstable();
        assert_eq!(listed, expected);
        for (number, (volume, session, content)) in self.sessions.iter().enumerate() {
            let target = self.sandbox.path(&format!("restored-{number}"));
            self.run(&["restore", volume, session, target.to_str().unwrap()])
                .success();
            assert!(
                std::fs::read(&target).unwrap() == *content,
                "{volume} {session}"
            );
        }
        self.run(&["check"]).success();
    }

    /// The only pack of an archive with one pack, and the other blobs.
    fn pack(&self) -> PathBuf {
        self.sandbox
            .blobs()
            .into_iter()
            .find(|blob| ![224, 4096].contains(&blob.metadata().unwrap().len()))
            .unwrap()
    }

    fn blobs_of_size(&self, size: u64) -> Vec<PathBuf> {
        self.sandbox
            .blobs()
            .into_iter()
            .filter(|blob| blob.metadata().unwrap().len() == size)
            .collect()
    }

    fn path(&self, name: BlobName) -> PathBuf {
        let hex = String::from_utf8(name.to_hex().to_vec()).unwrap();
        self.sandbox.store().join(&hex[..2]).join(hex)
    }

    /// Slot 0, and ROOT, which it holds.
    fn slot_and_root(&self) -> (Slot, Root) {
        let slot = Slot::decode(&std::fs::read(self.path(slot_name(0))).unwrap()).unwrap();
        let password = Password::new(PASSPHRASE.as_bytes().to_vec().into()).unwrap();
        let root = open_slot(&slot, &password).unwrap();
        (slot, root)
    }

    fn put(&self, name: BlobName, blob: &[u8]) {
        std::fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        std::fs::write(self.path(name), blob).unwrap();
    }

    /// Adds a commit after `newest` (2 or 3), with a change of what that one says.
    fn add_commit(&self, newest: u64, change: impl FnOnce(&mut Commit)) {
        let (slot, root) = self.slot_and_root();
        let credential = root.credential(slot.clear().archive).unwrap();
        let sealed =
            |generation| std::fs::read(self.path(credential.commit_name(generation))).unwrap();
        let previous = sealed(newest);
        let (mut plain, mut coder) = (Vec::new(), Coder::new(3).unwrap());
        let name = Id(credential.commit_name(newest).0);
        credential
            .open_meta(Kind::Commit, &mut coder, &name, &previous, &mut plain)
            .unwrap();
        let mut commit = Commit::decode(&plain, newest).unwrap();
        commit.generation = newest + 1;
        commit.previous = pack_name(&previous).0;
        commit.skip = match skip_of(newest + 1) {
            0 => [0; 32],
            earlier => pack_name(&sealed(earlier)).0,
        };
        change(&mut commit);
        let name = credential.commit_name(newest + 1);
        let seed = NonceSeed([2; 24]);
        let bytes = credential
            .seal_meta(
                Kind::Commit,
                &mut coder,
                &Id(name.0),
                &commit.encode(),
                seed,
            )
            .unwrap();
        self.put(name, &bytes);
    }

    /// Commit 3, which adds slot 1 with these bytes.
    fn add_slot(&self, kind: SlotKind, blob: &[u8]) {
        self.put(slot_name(1), blob);
        self.add_commit(2, |commit| {
            commit.next_slot = 2;
            commit.slots.push(SlotRef {
                number: 1,
                time: 1_900_000_000,
                kind,
                hash: pack_name(blob).0,
                label: SlotLabel::default(),
            });
        });
    }

    /// Commit 3, which adds a slot for a recovery key. Returns the printed key.
    fn add_recovery_key(&self) -> String {
        let (slot, root) = self.slot_and_root();
        let key = RecoveryKey::new(&mut [0xA7; 20]);
        let password = Password::new(key.chars().to_vec().into()).unwrap();
        let mut clear = *slot.clear();
        (clear.number, clear.kind, clear.salt) = (1, SlotKind::RecoveryKey, [3; 32]);
        let added = seal_slot(&root, clear, &password, NonceSeed([1; 24])).unwrap();
        self.add_slot(SlotKind::RecoveryKey, &added.encode());
        key.printed().to_string()
    }

    /// Commit 3, which adds a slot for a hardware token, cheaper to try than any other.
    fn add_token(&self) {
        let (slot, _) = self.slot_and_root();
        let mut clear = *slot.clear();
        (clear.number, clear.kind) = (1, SlotKind::Token);
        let slot = Slot::new(clear, [3; 32], [4; 24], [5; 40], [6; 16]);
        let mut blob = slot.encode();
        blob.resize(SLOT_TOKEN_BYTES, 7);
        self.add_slot(SlotKind::Token, &blob);
    }

    /// Runs `check` on a changed blob, restores the blob, and returns the line that names the
    /// damage.
    fn refusal(&self, blob: &Path, change: impl FnOnce(&Path)) -> String {
        let sound = std::fs::read(blob).unwrap();
        change(blob);
        let outcome = self.run(&["check"]);
        std::fs::write(blob, sound).unwrap();
        assert_names(&outcome, blob)
    }
}

/// Damage is status 5 and one line with the blob's name, nothing else.
#[track_caller]
fn assert_names(outcome: &Outcome, blob: &Path) -> String {
    let name = blob.file_name().unwrap().to_str().unwrap();
    assert_eq!(outcome.status, 5, "{}", outcome.stderr);
    assert_eq!(outcome.stderr.lines().count(), 1, "{}", outcome.stderr);
    assert!(
        outcome.stderr.contains(name),
        "{name} is not named in: {}",
        outcome.stderr
    );
    outcome.stderr.clone()
}

/// Two chunks and a volume's metadata in a single pack of 71680 bytes: chunks up to offset 70088,
/// then four nodes, the directory, filler.
fn small(test: &str) -> Option<History> {
    let mut history = History::with_archive(test, &["--chunk-size", "64K", "--pack-size", "128K"])?;
    history.sandbox.image("disk", 70_000, 1);
    history.backup(&["disk"]);
    Some(history)
}

#[test]
fn every_session_comes_back_of_an_archive_with_the_defaults() {
    let Some(mut history) = History::with_archive("second reader, defaults", &[]) else {
        return;
    };
    history.grow_old();
    history.assert_all_comes_back();
}

#[test]
fn every_session_comes_back_of_an_archive_of_many_packs_with_one_domain() {
    let options = [
        "--shared-domain",
        "--chunk-size",
        "64K",
        "--pack-size",
        "128K",
        "--compression",
        "zstd:-7",
    ];
    let Some(mut history) = History::with_archive("second reader, many packs", &options) else {
        return;
    };
    history.grow_old();
    assert!(
        history.sandbox.blobs().len() > 40,
        "the tree of packs has two levels"
    );
    history.assert_all_comes_back();
}

#[test]
fn every_session_comes_back_of_an_archive_of_large_chunks() {
    let options = [
        "--chunk-size",
        "1M",
        "--pack-size",
        "2M",
        "--compression",
        "zstd:19",
    ];
    let Some(mut history) = History::with_archive("second reader, large chunks", &options) else {
        return;
    };
    history.grow_old();
    history.assert_all_comes_back();
}

#[test]
fn every_session_comes_back_of_an_archive_of_large_packs_with_one_domain() {
    let options = [
        "--shared-domain",
        "--chunk-size",
        "256K",
        "--pack-size",
        "64M",
        "--compression",
        "zstd:1",
    ];
    let Some(mut history) = History::with_archive("second reader, large packs", &options) else {
        return;
    };
    history.grow_old();
    history.assert_all_comes_back();
}

#[test]
fn a_volume_goes_to_standard_output() {
    let Some(history) = small("second reader, standard output") else {
        return;
    };
    let (volume, session, content) = &history.sessions[0];
    assert!(
        history
            .run(&["restore", volume, session, "-"])
            .success()
            .stdout
            == *content
    );
}

#[test]
fn a_wrong_passphrase_is_status_4_and_no_damage() {
    let Some(history) = small("second reader, wrong passphrase") else {
        return;
    };
    let wrong = history.sandbox.path("wrong");
    std::fs::write(&wrong, "another-passphrase\n").unwrap();
    for command in ["list", "check"] {
        let outcome = history
            .reader
            .run(&history.sandbox.store(), &wrong, &[command]);
        outcome.expect(4);
        assert_eq!(outcome.stderr.lines().count(), 1, "{}", outcome.stderr);
    }
}

#[test]
fn a_recovery_key_opens_the_archive_however_it_is_typed() {
    let Some(history) = small("second reader, recovery key") else {
        return;
    };
    let printed = history.add_recovery_key();
    let mistyped = printed.replacen(
        &printed[..1],
        if printed.starts_with('2') { "3" } else { "2" },
        1,
    );
    let careless = format!(
        " {}",
        printed
            .to_lowercase()
            .replace('-', " ")
            .replace('0', "o")
            .replace('1', "l")
    );
    let file = history.sandbox.path("typed");
    for (typed, status) in [
        (&printed, 0),
        (&careless, 0),
        (&mistyped, 4),
        (&PASSPHRASE.to_owned(), 0),
    ] {
        std::fs::write(&file, format!("{typed}\n")).unwrap();
        history
            .reader
            .run(&history.sandbox.store(), &file, &["check"])
            .expect(status);
    }
}

#[test]
fn a_damaged_slot_does_not_keep_another_from_opening_but_fails_the_check() {
    let Some(history) = small("second reader, damaged slot") else {
        return;
    };
    history.add_recovery_key();
    let damaged = history.path(slot_name(1));
    flip_a_bit(&damaged);
    history.run(&["list"]).success();
    assert!(assert_names(&history.run(&["check"]), &damaged).starts_with("slot "));
    std::fs::remove_file(&damaged).unwrap();
    assert!(assert_names(&history.run(&["check"]), &damaged).starts_with("slot "));
}

#[test]
fn a_damaged_commit_is_read_from_its_next_copy() {
    let Some(mut history) = small("second reader, copies of commits") else {
        return;
    };
    let first = history.blobs_of_size(4096);
    history.backup(&["disk"]);
    let newest = history
        .blobs_of_size(4096)
        .into_iter()
        .find(|blob| !first.contains(blob))
        .unwrap();
    std::fs::write(&newest, b"").unwrap();
    assert!(assert_names(&history.run(&["list"]), &newest).starts_with("commit "));
    // The next backup puts the same bytes under the next copy, before it makes a commit of its own.
    history.backup(&["disk"]);
    history.assert_all_comes_back();
}

#[test]
fn an_older_generation_is_read_on_request_and_said() {
    let Some(mut history) = small("second reader, an older generation") else {
        return;
    };
    let first = history.blobs_of_size(4096);
    history.backup(&["disk"]);
    let newest = history
        .blobs_of_size(4096)
        .into_iter()
        .find(|blob| !first.contains(blob))
        .unwrap();
    flip_a_bit(&newest);
    assert_names(&history.run(&["list"]), &newest);
    for command in ["list", "check"] {
        let outcome = history.run(&["--before", "3", command]);
        outcome.success();
        assert_eq!(outcome.stderr.lines().count(), 1, "{}", outcome.stderr);
        assert!(
            outcome
                .stderr
                .contains("generations up to 3 exist; this is generation 2"),
            "{}",
            outcome.stderr
        );
    }
    let (volume, session, content) = &history.sessions[0];
    assert!(
        history
            .run(&["--before", "3", "restore", volume, session, "-"])
            .success()
            .stdout
            == *content
    );
}

#[test]
fn two_copies_of_a_commit_that_authenticate_and_differ_are_refused() {
    let Some(mut history) = small("second reader, a fork") else {
        return;
    };
    let (state, store) = (
        history.sandbox.path("state-copy"),
        history.sandbox.path("store-copy"),
    );
    let copy = |from: &Path, to: &Path| {
        assert!(
            Command::new("cp")
                .arg("-a")
                .arg(from)
                .arg(to)
                .status()
                .unwrap()
                .success()
        )
    };
    copy(&history.sandbox.state(), &state);
    copy(&history.sandbox.store(), &store);
    history.backup(&["disk"]);
    let root = {
        let slot = Slot::decode(&std::fs::read(history.path(slot_name(0))).unwrap()).unwrap();
        let password = Password::new(PASSPHRASE.as_bytes().to_vec().into()).unwrap();
        open_slot(&slot, &password)
            .unwrap()
            .credential(slot.clear().archive)
            .unwrap()
    };
    let rival = std::fs::read(history.path(root.commit_name(3))).unwrap();
    // The same machine, in an earlier state: it writes another third generation.
    for (from, to) in [
        (&state, history.sandbox.state()),
        (&store, history.sandbox.store()),
    ] {
        std::fs::remove_dir_all(&to).unwrap();
        copy(from, &to);
    }
    history.backup(&["disk"]);
    let further = history.path(root.commit_copy_name(3, 2));
    std::fs::create_dir_all(further.parent().unwrap()).unwrap();
    std::fs::write(&further, rival).unwrap();
    assert!(
        assert_names(&history.run(&["list"]), &history.path(root.commit_name(3)))
            .contains("two machines")
    );
    assert_eq!(
        history.sandbox.adopt("passphrase").expect(5).codes(),
        ["two-commits"]
    );
}

#[test]
fn a_slot_is_live_because_the_newest_commit_lists_it() {
    let Some(history) = small("second reader, live slots") else {
        return;
    };
    let key = history
        .sandbox
        .wyng(&["key", "add", "home", "--recovery-key"])
        .success()
        .json["recovery_key"]
        .as_str()
        .unwrap()
        .to_owned();
    let mut passphrase = history.sandbox.path("passphrase");
    for number in 0..9 {
        let next = history.sandbox.text(
            &format!("passphrase {number}"),
            &format!("number {number}\n"),
        );
        let old = passphrase.to_str().unwrap();
        history
            .sandbox
            .wyng(&[
                "key",
                "change",
                "home",
                "--passphrase-file",
                old,
                "--new-passphrase-file",
                &next,
            ])
            .success();
        passphrase = next.into();
    }
    let recovery = PathBuf::from(history.sandbox.text("recovery", &format!("{key}\n")));
    let run = |file: &Path| {
        history
            .reader
            .run(&history.sandbox.store(), file, &["check"])
    };
    run(&recovery).success();
    run(&passphrase).success();
    let removed = run(&history.sandbox.path("passphrase 3"));
    removed.expect(4);
    assert!(removed.stderr.contains("removed"), "{}", removed.stderr);
}

#[test]
fn what_is_no_archive_and_what_is_no_session_is_status_1() {
    let Some(history) = small("second reader, status 1") else {
        return;
    };
    let passphrase = history.sandbox.path("passphrase");
    let target = history.sandbox.path("restored");
    for outcome in [
        history
            .reader
            .run(&history.sandbox.path("nowhere"), &passphrase, &["list"]),
        history.reader.run(
            &history.sandbox.store(),
            &history.sandbox.path("nowhere"),
            &["list"],
        ),
        history.run(&[
            "restore",
            "disk",
            "2001-01-01T00:00:00Z",
            target.to_str().unwrap(),
        ]),
        history.run(&["restore", "disk"]),
    ] {
        outcome.expect(1);
        assert_eq!(outcome.stderr.lines().count(), 1, "{}", outcome.stderr);
    }
    assert!(!target.exists());
}

#[test]
fn a_slot_of_a_hardware_token_is_passed_over_by_both_readers_and_only_its_hash_is_checked() {
    let Some(history) = small("second reader, hardware token") else {
        return;
    };
    history.add_token();
    history.assert_all_comes_back();
    history.sandbox.adopt("passphrase").success();
    history.sandbox.wyng(&["verify", "home"]).success();
    let listed = history.sandbox.wyng(&["key", "list", "home"]);
    let slots = listed.success().json["slots"].as_array().unwrap().clone();
    let kinds: Vec<_> = slots.iter().map(|slot| slot["kind"].clone()).collect();
    assert_eq!(kinds, ["passphrase", "hardware-token"]);

    let token = history.path(slot_name(1));
    write_at(&token, 1000, &[8]);
    history.run(&["list"]).success();
    assert!(assert_names(&history.run(&["check"]), &token).starts_with("slot "));
    let verified = history.sandbox.wyng(&["verify", "home"]);
    assert_eq!(verified.expect(5).codes(), ["problems-found"]);
}

#[test]
fn a_commit_that_goes_back_in_the_time_of_its_chain_is_refused() {
    let Some(history) = small("second reader, time of the chain") else {
        return;
    };
    history.add_commit(2, |commit| {
        commit.stamp = CommitStamp {
            stamp: Stamp {
                run: 5,
                kept_secs: 9000,
            },
            counted_secs: 8000,
        };
    });
    history.run(&["check"]).success();
    history.sandbox.adopt("passphrase").success();
    let (slot, root) = history.slot_and_root();
    let credential = root.credential(slot.clear().archive).unwrap();
    let later = history.path(credential.commit_name(4));
    for (run, kept_secs) in [(4, 9000), (5, 8999)] {
        history.add_commit(3, |commit| commit.stamp.stamp = Stamp { run, kept_secs });
        assert!(assert_names(&history.run(&["check"]), &later).contains("run number or kept"));
        let store = format!("dir:{}", history.sandbox.store().display());
        let opened = history
            .sandbox
            .wyng(&["archive", "open", "home", "--store", &store]);
        assert_eq!(opened.expect(5).codes(), ["damaged"]);
    }
    // A machine that knows no older commit finds it when it reads the older one.
    history.sandbox.adopt("passphrase").success();
    let verified = history.sandbox.wyng(&["verify", "home"]);
    assert_eq!(verified.expect(5).codes(), ["problems-found"]);
}

#[test]
fn a_bit_flipped_anywhere_in_a_pack_is_refused_and_its_object_is_named() {
    let Some(history) = small("second reader, packs") else {
        return;
    };
    let pack = history.pack();
    let length = pack.metadata().unwrap().len();
    let mut named = BTreeSet::new();
    for offset in [0, 30_000, 65_579, 65_580]
        .into_iter()
        .chain((70_030..length).step_by(110))
    {
        let line = history.refusal(&pack, |blob| {
            let byte = std::fs::read(blob).unwrap()[usize::try_from(offset).unwrap()];
            write_at(blob, offset, &[byte ^ 0x10]);
        });
        let mut classes = ["record", "node", "directory"]
            .into_iter()
            .filter(|class| line.contains(&format!(", {class} ")));
        named.insert(classes.next_back().unwrap_or("pack"));
    }
    assert_eq!(
        named,
        BTreeSet::from(["record", "node", "directory", "pack"])
    );
}

#[test]
fn a_restore_refuses_a_chunk_with_a_flipped_bit_and_leaves_nothing() {
    let Some(history) = small("second reader, restore") else {
        return;
    };
    let (volume, session, _) = &history.sessions[0];
    let target = history.sandbox.path("restored");
    write_at(&history.pack(), 40_000, &[0; 4]);
    let outcome = history.run(&["restore", volume, session, target.to_str().unwrap()]);
    assert!(assert_names(&outcome, &history.pack()).contains(", record "));
    assert!(!target.exists());
    history.run(&["list"]).success();
}

#[test]
fn a_flipped_bit_in_a_slot_or_in_any_commit_is_refused_and_named() {
    let Some(history) = small("second reader, slots and commits") else {
        return;
    };
    for (size, class, count) in [(224, "slot ", 1), (4096, "commit ", 2)] {
        let blobs = history.blobs_of_size(size);
        assert_eq!(blobs.len(), count, "{class}");
        for blob in blobs {
            assert!(history.refusal(&blob, flip_a_bit).starts_with(class));
        }
    }
}

#[test]
fn a_blob_that_is_cut_lengthened_or_missing_is_refused_and_named() {
    let Some(history) = small("second reader, cut") else {
        return;
    };
    let resize = |blob: &Path, by: i64| {
        let length = blob
            .metadata()
            .unwrap()
            .len()
            .checked_add_signed(by)
            .unwrap();
        File::options()
            .write(true)
            .open(blob)
            .unwrap()
            .set_len(length)
            .unwrap();
    };
    for blob in [
        history.pack(),
        history.blobs_of_size(224).remove(0),
        history.blobs_of_size(4096).remove(0),
    ] {
        history.refusal(&blob, |blob| resize(blob, -1));
        history.refusal(&blob, |blob| resize(blob, 1));
        history.refusal(&blob, |blob| resize(blob, -200));
    }
    history.refusal(&history.pack(), |blob| std::fs::remove_file(blob).unwrap());
    history.run(&["check"]).success();
}

#[test]
fn a_missing_pack_costs_only_the_sessions_that_need_it() {
    let Some(mut history) = small("second reader, missing pack") else {
        return;
    };
    let first = history.pack();
    history.sandbox.image("other", 200_000, 2);
    history.backup(&["other"]);
    std::fs::remove_file(&first).unwrap();
    let target = history.sandbox.path("restored");
    let restore = |number: usize| {
        let (volume, session, content) = &history.sessions[number];
        (
            history.run(&["restore", volume, session, target.to_str().unwrap()]),
            content,
        )
    };
    assert_names(&restore(0).0, &first);
    let (outcome, content) = restore(1);
    outcome.success();
    assert!(std::fs::read(&target).unwrap() == *content);
    assert_names(&history.run(&["check"]), &first);
}

#[test]
fn a_blob_under_the_name_of_another_is_refused() {
    let Some(history) = small("second reader, exchanged") else {
        return;
    };
    let commits = history.blobs_of_size(4096);
    let (one, other) = (
        std::fs::read(&commits[0]).unwrap(),
        std::fs::read(&commits[1]).unwrap(),
    );
    history.refusal(&commits[0], |blob| std::fs::write(blob, other).unwrap());
    history.refusal(&commits[1], |blob| std::fs::write(blob, one).unwrap());
}

/// Archives that the programs did not write, with chunk size, pack size, domain and level from a
/// seed.
#[test]
fn every_session_comes_back_of_archives_of_a_dozen_seeds() {
    let Some(reader) = SecondReader::ready("second reader, seeds") else {
        return;
    };
    for seed in 1..=12_u64 {
        let sandbox = Sandbox::new();
        let mut sessions = Vec::new();
        for call in 0..2 {
            let lengths = noise(4, seed * 2 + call)
                .into_iter()
                .map(|byte| usize::from(byte) * 1733);
            let contents: Vec<_> = ["a", "b"]
                .into_iter()
                .zip(lengths)
                .map(|(name, length)| (name, noise(length, seed)))
                .collect();
            sessions.extend(make_archive(&sandbox, seed, &contents));
        }
        let run = |arguments: &[&str]| {
            reader.run(&sandbox.store(), &sandbox.path("passphrase"), arguments)
        };
        run(&["check"]).success();
        assert_eq!(
            run(&["list"]).success().stdout.lines().count(),
            sessions.len(),
            "seed {seed}"
        );
        for (volume, session, content) in sessions {
            assert!(
                run(&["restore", &volume, &session, "-"]).success().stdout == content,
                "seed {seed}: {volume} {session}"
            );
        }
    }
}

/// One call of `make-archive`: the sessions that it added, with their content.
fn make_archive(
    sandbox: &Sandbox,
    seed: u64,
    contents: &[(&str, Vec<u8>)],
) -> Vec<(String, String, Vec<u8>)> {
    let mut command = Command::new(program("make-archive"));
    command
        .arg(sandbox.store())
        .arg("--passphrase-file")
        .arg(sandbox.path("passphrase"))
        .arg("--seed")
        .arg(seed.to_string());
    for (name, content) in contents {
        std::fs::write(sandbox.path(name), content).unwrap();
        command.arg(format!("{name}={}", sandbox.path(name).display()));
    }
    let outcome = Outcome::of(command.output().unwrap());
    let lines = String::from_utf8(outcome.success().stdout.clone()).unwrap();
    let brought = lines.lines().map(|line| {
        let (volume, session) = line.split_once(' ').unwrap();
        let (_, content) = contents.iter().find(|(name, _)| *name == volume).unwrap();
        (volume.to_owned(), session.to_owned(), content.clone())
    });
    brought.collect()
}

#[test]
fn the_second_reader_accepts_a_volume_that_has_no_session_yet() {
    let test = "the_second_reader_accepts_a_volume_that_has_no_session_yet";
    let Some(reader) = SecondReader::ready(test) else {
        return;
    };
    let sandbox = Sandbox::new();
    // The first commit of a run covers no volume, and the run ends there.
    let mut world = MemoryWorld::new(Durable::default(), 1);
    let settings = admin::CreateSettings {
        chunk_size_bytes: 4096,
        pack_size_bytes: 64 << 10,
        zstd_level: 1,
        hold_off_runs: 3,
        hold_off_secs: 0,
        minimum_age_secs: 604_800,
        shared_domain: false,
        kdf_memory_kib: 64 << 10,
        kdf_passes: 3,
    };
    admin::create(
        &mut world,
        &admin::CreateRequest {
            credentials: false,
            name: "home".into(),
            store: "memory".into(),
            via: Via::Local,
            verify_via: None,
            settings,
        },
    )
    .unwrap();
    let request = backup::BackupRequest {
        archive: "home".into(),
        sources: sources_named(["vm"]),
        qubes: wyng_control::QubeChoice::default(),
        skip_unchanged: false,
        dry_run: false,
        live: false,
        heal: false,
        verify: false,
        max_new_bytes: None,
        prune_after: None,
        commit_after_bytes: 128 << 10,
    };
    let mut cut = MemoryWorld::new(world.end(), 2);
    cut.volumes.sources = vec![noise(MIB, 1)];
    cut.store.kill_when_put = Some(12);
    assert!(
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| backup::back_up(
            &mut cut, &request
        )))
        .is_err()
    );
    for (name, bytes) in cut.crash(u64::MAX).0.store {
        let hex = String::from_utf8(BlobName(name).to_hex().to_vec()).unwrap();
        std::fs::create_dir_all(sandbox.store().join(&hex[..2])).unwrap();
        std::fs::write(sandbox.store().join(&hex[..2]).join(hex), bytes).unwrap();
    }
    std::fs::write(sandbox.path("passphrase"), &cut.secrets.passphrase).unwrap();
    let run = |command: &str| reader.run(&sandbox.store(), &sandbox.path("passphrase"), &[command]);
    assert_eq!(String::from_utf8_lossy(&run("list").success().stdout), "");
    run("check").success();
    // The programs list the volume without a session.
    sandbox.adopt("passphrase").success();
    let listed = sandbox.wyng(&["list", "home"]);
    assert_eq!(
        listed.success().json["volumes"],
        serde_json::json!([{"name": "vm", "description": "", "size_bytes": 0, "sessions": []}])
    );
    sandbox.wyng(&["status", "home"]).success();
    sandbox.wyng(&["verify", "home"]).success();
    assert_eq!(
        sandbox
            .wyng(&["restore", "home", "vm", "--to", "out"])
            .expect(2)
            .codes(),
        ["unknown-session"]
    );
}
