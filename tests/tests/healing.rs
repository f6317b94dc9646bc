// SPDX-License-Identifier: GPL-3.0-or-later
//! Objects that the store lost are named by verify and stored again by the next backup, as far as
//! sources and cache still have them. Objects that cannot heal stay named.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use wyng_tests::disk::RottenDisk;
use wyng_tests::foreign::Foreign;
use wyng_tests::require::{Component, require};
use wyng_tests::sandbox::{Outcome, Sandbox, flip_a_bit, noise, write_at};
use wyng_tests::second_reader::SecondReader;

const MIB: usize = 1 << 20;
const CHUNK: u64 = 64 << 10;

/// An archive of one volume, and the content that each of its sessions must restore.
struct History {
    sandbox: Sandbox,
    sessions: Vec<(String, Vec<u8>)>,
}

impl History {
    fn new() -> Self {
        let sandbox = Sandbox::with_archive(&["--chunk-size", "64K", "--pack-size", "256K"]);
        sandbox.image("disk.img", 2 * MIB, 1);
        let mut history = Self {
            sandbox,
            sessions: Vec::new(),
        };
        history.back_up();
        history
    }

    fn back_up(&mut self) -> Outcome {
        let outcome = self.sandbox.wyng(&["backup", "home", "disk.img"]);
        self.sessions.push((
            outcome.success().session(0),
            std::fs::read(self.sandbox.path("disk.img")).unwrap(),
        ));
        outcome
    }

    fn change(&self, chunk: u64, seed: u64) {
        write_at(
            &self.sandbox.path("disk.img"),
            chunk * CHUNK,
            &noise(64 << 10, seed),
        );
    }

    /// The blobs that were added since.
    fn added_since(&self, before: &BTreeSet<PathBuf>) -> Vec<PathBuf> {
        self.sandbox.blobs().difference(before).cloned().collect()
    }

    fn assert_restores(&self, places: impl IntoIterator<Item = usize>) {
        for place in places {
            let (session, content) = &self.sessions[place];
            self.sandbox.assert_restores("disk.img", session, content);
        }
    }

    fn assert_whole(&self) {
        let outcome = self.sandbox.wyng(&["verify", "home"]);
        assert_eq!(outcome.success().json["problems"], serde_json::json!([]));
        assert_eq!(self.damaged(), Vec::<String>::new());
        self.sandbox.wyng(&["status", "home"]).success();
        self.assert_restores(0..self.sessions.len());
    }

    /// The same on a machine that knows only the store and the passphrase, and with a reader that
    /// knows only the format.
    fn assert_whole_elsewhere(&self) {
        self.sandbox.adopt("passphrase").success();
        self.assert_whole();
        if let Some(reader) = SecondReader::ready("healing") {
            let (store, passphrase) = (self.sandbox.store(), self.sandbox.path("passphrase"));
            for (session, content) in &self.sessions {
                let outcome =
                    reader.run(&store, &passphrase, &["restore", "disk.img", session, "-"]);
                assert!(outcome.success().stdout == *content, "{session}");
            }
        }
    }

    /// The sessions that `list` shows as damaged.
    fn damaged(&self) -> Vec<String> {
        let list = self.sandbox.wyng(&["list", "home"]);
        let sessions = list.success().json["volumes"][0]["sessions"]
            .as_array()
            .unwrap()
            .clone();
        let damaged = sessions.iter().filter(|session| session["damaged"] == true);
        damaged
            .map(|session| session["session"].as_str().unwrap().to_owned())
            .collect()
    }
}

fn packs(blobs: &BTreeSet<PathBuf>) -> Vec<PathBuf> {
    blobs
        .iter()
        .filter(|blob| blob.metadata().unwrap().len() > 4096)
        .cloned()
        .collect()
}

/// Removes blobs, which can be put back.
fn take(blobs: &[PathBuf]) -> BTreeMap<PathBuf, Vec<u8>> {
    blobs
        .iter()
        .map(|blob| {
            let bytes = std::fs::read(blob).unwrap();
            std::fs::remove_file(blob).unwrap();
            (blob.clone(), bytes)
        })
        .collect()
}

fn put_back(blobs: &BTreeMap<PathBuf, Vec<u8>>) {
    blobs
        .iter()
        .for_each(|(blob, bytes)| std::fs::write(blob, bytes).unwrap());
}

fn problems(outcome: &Outcome) -> Vec<(String, Vec<String>)> {
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let problems = outcome.json["problems"].as_array().unwrap();
    problems
        .iter()
        .map(|one| {
            (
                text(&one["object"]),
                one["volumes"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(text)
                    .collect(),
            )
        })
        .collect()
}

fn name(blob: &std::path::Path) -> String {
    blob.file_name().unwrap().to_string_lossy().into_owned()
}

#[test]
fn a_lost_pack_is_named_and_its_chunks_are_sent_again() {
    let mut history = History::new();
    let first = packs(&history.sandbox.blobs());
    // The volume grows, so that the source keeps its old content.
    for seed in 2..4 {
        history.change(30 + seed, seed);
        history.back_up();
    }
    let (gone, flipped) = (first[0].clone(), first[1].clone());
    take(std::slice::from_ref(&gone));
    flip_a_bit(&flipped);
    let verified = history.sandbox.wyng(&["verify", "home"]);
    let named = problems(verified.expect(5));
    assert_eq!(
        named
            .iter()
            .map(|(object, _)| object.clone())
            .collect::<BTreeSet<_>>(),
        [name(&gone), name(&flipped)].into()
    );
    assert!(
        named.iter().any(|(_, sessions)| sessions.len() == 3),
        "{named:?}"
    );
    assert_eq!(history.damaged().len(), 3);
    // With all archives, the damaged one is named too.
    let status = history.sandbox.wyng(&["status"]);
    assert_eq!(status.expect(5).codes(), ["problems-found"]);
    assert_eq!(
        status.json["errors"][0]["text"],
        r#"archive "home": 3 problems were found"#
    );

    let outcome = history.back_up();
    let sent = outcome.json["sent_bytes"].as_u64().unwrap();
    assert!(
        (256 << 10..4 * (256 << 10)).contains(&sent),
        "what two packs held, and the metadata: {sent} bytes"
    );
    assert_eq!(outcome.json["volumes"][0]["changed_bytes"], 0);
    history.assert_whole();
    let outcome = history.back_up();
    assert!(
        outcome.json["sent_bytes"].as_u64().unwrap() <= 70_000,
        "nothing is sent twice: {}",
        outcome.json
    );
    history.assert_whole_elsewhere();
}

#[test]
fn what_no_source_has_any_more_stays_named_and_heals_when_it_comes_back() {
    let mut history = History::new();
    let before = history.sandbox.blobs();
    history.change(5, 2);
    history.back_up();
    let second = packs(&history.added_since(&before).into_iter().collect());
    history.change(5, 3);
    history.back_up();
    let taken = take(&second);
    history.sandbox.wyng(&["verify", "home"]).expect(5);
    history.back_up();
    // Its metadata was in the cache. Its own chunk is lost, and only that session needs it.
    let verified = history.sandbox.wyng(&["verify", "home"]);
    let session = &history.sessions[1].0;
    assert_eq!(
        problems(verified.expect(5)),
        [(name(&second[0]), vec![format!("disk.img {session}")])]
    );
    assert_eq!(history.damaged(), std::slice::from_ref(session));
    history.assert_restores([0, 2, 3]);
    let outcome = history.sandbox.wyng(&[
        "restore",
        "home",
        "disk.img",
        "--session",
        session,
        "--to",
        "out",
    ]);
    assert_eq!(outcome.expect(5).codes(), ["session-damaged"]);
    assert!(!history.sandbox.path("out").exists());
    // The same on a new machine: damage that is marked is not reported as new.
    history.sandbox.adopt("passphrase").success();
    assert_eq!(
        problems(history.sandbox.wyng(&["verify", "home"]).expect(5)).len(),
        1
    );

    put_back(&taken);
    history.assert_whole();
    history
        .sandbox
        .wyng(&["archive", "take-over", "home"])
        .success();
    history.back_up();
    history.assert_whole_elsewhere();
}

/// A history whose second session lacks a chunk that no source has any more; and the pack of that
/// chunk.
fn lasting() -> (History, BTreeMap<PathBuf, Vec<u8>>) {
    let mut history = History::new();
    let before = history.sandbox.blobs();
    history.change(5, 2);
    history.back_up();
    let second = packs(&history.added_since(&before).into_iter().collect());
    history.change(5, 3);
    history.back_up();
    let taken = take(&second);
    history.sandbox.wyng(&["verify", "home"]).expect(5);
    history.back_up();
    (history, taken)
}

#[test]
fn damage_that_lasts_can_be_acknowledged_and_is_still_shown() {
    let (history, _) = lasting();
    let session = format!("disk.img {}", history.sessions[1].0);
    history.sandbox.wyng(&["verify", "home"]).expect(5);
    let acknowledged = history.sandbox.wyng(&["archive", "acknowledge", "home"]);
    assert_eq!(
        acknowledged.success().json["acknowledged"],
        serde_json::json!([session])
    );
    let verified = history.sandbox.wyng(&["verify", "home"]);
    assert_eq!(
        (
            &verified.success().json["acknowledged"],
            &verified.json["problems"][0]["acknowledged"]
        ),
        (&1.into(), &true.into())
    );
    assert_eq!(problems(&verified)[0].1, std::slice::from_ref(&session));
    let status = history.sandbox.wyng(&["status", "home"]);
    assert_eq!(
        status.success().json["archives"][0]["acknowledged"],
        serde_json::json!([session])
    );
    assert_eq!(
        history.damaged(),
        std::slice::from_ref(&history.sessions[1].0)
    );
    // It still cannot be restored.
    history
        .sandbox
        .wyng(&[
            "restore",
            "home",
            "disk.img",
            "--session",
            &history.sessions[1].0,
            "--to",
            "out",
        ])
        .expect(5);
}

#[test]
fn new_damage_of_an_acknowledged_session_is_not_silenced() {
    let (history, _) = lasting();
    // Another pack that the same session needs.
    let gone = packs(&history.sandbox.blobs()).into_iter().find(|pack| {
        let bytes = take(std::slice::from_ref(pack));
        let needed = problems(&history.sandbox.wyng(&[
            "verify",
            "home",
            "--session",
            &history.sessions[1].0,
        ]))
        .len()
            > 1;
        put_back(&bytes);
        needed
    });
    history.sandbox.wyng(&["verify", "home"]).expect(5);
    history
        .sandbox
        .wyng(&["archive", "acknowledge", "home"])
        .success();
    history.sandbox.wyng(&["verify", "home"]).success();
    take(&[gone.unwrap()]);
    let verified = history.sandbox.wyng(&["verify", "home"]);
    let new: Vec<_> = verified.expect(5).json["problems"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|problem| problem["acknowledged"] == false)
        .collect();
    assert!(!new.is_empty(), "{}", verified.json);
    assert_eq!(
        history.sandbox.wyng(&["status", "home"]).expect(5).codes(),
        ["problems-found"]
    );
}

#[test]
fn status_knows_of_every_lost_pack_that_verify_reported() {
    let mut history = History::new();
    history.change(5, 2);
    history.back_up();
    for pack in packs(&history.sandbox.blobs()) {
        let bytes = take(std::slice::from_ref(&pack));
        history.sandbox.wyng(&["verify", "home"]).expect(5);
        let status = history.sandbox.wyng(&["status", "home"]);
        assert_eq!(status.expect(5).codes(), ["problems-found"], "{pack:?}");
        put_back(&bytes);
        history.sandbox.wyng(&["verify", "home"]).success();
        history.sandbox.wyng(&["status", "home"]).success();
    }
}

#[test]
fn what_heals_and_is_lost_again_is_new_damage() {
    let (history, taken) = lasting();
    history
        .sandbox
        .wyng(&["archive", "acknowledge", "home"])
        .success();
    put_back(&taken);
    assert_eq!(
        history.sandbox.wyng(&["verify", "home"]).success().json["problems"],
        serde_json::json!([])
    );
    take(&taken.keys().cloned().collect::<Vec<_>>());
    history.sandbox.wyng(&["verify", "home"]).expect(5);
    history.sandbox.wyng(&["status", "home"]).expect(5);
}

#[test]
fn a_damaged_slot_can_be_acknowledged() {
    let history = History::new();
    let slot = history
        .sandbox
        .blobs()
        .into_iter()
        .find(|blob| blob.metadata().unwrap().len() < 4096)
        .unwrap();
    flip_a_bit(&slot);
    history.sandbox.wyng(&["verify", "home"]).expect(5);
    history.sandbox.wyng(&["status", "home"]).expect(5);
    let acknowledged = history.sandbox.wyng(&["archive", "acknowledge", "home"]);
    assert_eq!(
        acknowledged.success().json["acknowledged"],
        serde_json::json!(["slot 0"])
    );
    history.sandbox.wyng(&["status", "home"]).success();
    assert_eq!(
        history.sandbox.wyng(&["verify", "home"]).success().json["acknowledged"],
        1
    );
}

#[test]
fn lost_metadata_comes_back_from_the_cache() {
    let mut history = History::new();
    for seed in 2..5 {
        history.change(seed, seed);
        history.back_up();
    }
    // Every node, every tail, and all chunks except for those of a source that still exists.
    take(&packs(&history.sandbox.blobs()));
    let verified = history.sandbox.wyng(&["verify", "home"]);
    assert!(problems(verified.expect(5)).len() > 8);
    history.back_up();
    let verified = history.sandbox.wyng(&["verify", "home"]);
    let still: BTreeSet<String> = problems(verified.expect(5))
        .into_iter()
        .flat_map(|(_, sessions)| sessions)
        .collect();
    let old: BTreeSet<String> = history.sessions[..3]
        .iter()
        .map(|(session, _)| format!("disk.img {session}"))
        .collect();
    assert_eq!(
        still, old,
        "the source has none of the chunks that were overwritten"
    );
    history.assert_restores([3, 4]);
    history.sandbox.adopt("passphrase").success();
    history.assert_restores([3, 4]);
}

#[test]
fn lost_commits_and_slots_are_pushed_again() {
    let mut history = History::new();
    history.back_up();
    let small: Vec<PathBuf> = history
        .sandbox
        .blobs()
        .into_iter()
        .filter(|blob| blob.metadata().unwrap().len() <= 4096)
        .collect();
    let taken = take(&small);
    let verified = history.sandbox.wyng(&["verify", "home"]);
    assert_eq!(
        problems(verified.expect(5)).len(),
        4,
        "a slot and three commits"
    );
    history.sandbox.wyng(&["status", "home"]).expect(5);
    history.back_up();
    for (blob, bytes) in &taken {
        assert!(std::fs::read(blob).unwrap() == *bytes, "{}", blob.display());
    }
    history.assert_whole_elsewhere();
}

#[test]
fn a_new_machine_adopts_what_is_left_and_heals_it() {
    let mut history = History::new();
    history.sandbox.image("other.img", MIB, 9);
    history
        .sandbox
        .wyng(&["backup", "home", "other.img"])
        .success();
    let before = history.sandbox.blobs();
    history.change(35, 2); // it grows: the source keeps its old content
    history.back_up();
    // The first packs are of the first volume's chunks; the other volume needs none of them.
    let gone = packs(&before).into_iter().find(|pack| {
        let bytes = take(std::slice::from_ref(pack));
        let verified = history.sandbox.wyng(&["verify", "home", "other.img"]);
        put_back(&bytes);
        verified.status == 0
    });
    let gone = gone.unwrap();
    take(std::slice::from_ref(&gone));
    let adopted = history.sandbox.adopt("passphrase");
    assert_eq!(adopted.expect(5).codes(), ["problems-found"]);
    assert_eq!(problems(&adopted).len(), 1);
    history
        .sandbox
        .assert_restores("other.img", "latest", &noise(MIB, 9));
    history
        .sandbox
        .wyng(&["archive", "take-over", "home"])
        .success();
    history.back_up();
    history.assert_restores([0, 1, 2]);
    assert_eq!(
        history.sandbox.wyng(&["verify", "home"]).success().json["problems"],
        serde_json::json!([])
    );
}

/// Two volumes with chunks in separate packs, and a pack that only the first volume needs.
struct TwoVolumes {
    sandbox: Sandbox,
    session: String,
    pack: PathBuf,
}

impl TwoVolumes {
    fn new() -> Self {
        Self::in_store(Sandbox::new())
    }

    fn in_store(sandbox: Sandbox) -> Self {
        sandbox
            .create("home", &["--chunk-size", "64K", "--pack-size", "256K"])
            .success();
        sandbox.image("first.img", MIB, 1);
        sandbox.image("second.img", MIB, 2);
        let session = sandbox
            .wyng(&["backup", "home", "first.img"])
            .success()
            .session(0);
        let pack = packs(&sandbox.blobs())
            .into_iter()
            .max_by_key(|pack| pack.metadata().unwrap().len())
            .unwrap();
        sandbox.wyng(&["backup", "home", "second.img"]).success();
        Self {
            sandbox,
            session,
            pack,
        }
    }

    fn back_up(&self) {
        self.sandbox
            .wyng(&["backup", "home", "first.img", "second.img"])
            .success();
    }

    /// Verify names the pack and the session that needs it, and everything that does not need it is
    /// done.
    fn assert_only_that_is_damage(&self, how: &str) {
        let verified = self.sandbox.wyng(&["verify", "home"]);
        let found = problems(verified.expect(5));
        assert!(
            found.iter().any(|(object, _)| *object == name(&self.pack)),
            "{how}: {found:?}"
        );
        let named: BTreeSet<String> = found
            .into_iter()
            .flat_map(|(_, sessions)| sessions)
            .collect();
        assert_eq!(
            named,
            [format!("first.img {}", self.session)].into(),
            "{how}"
        );
        let _ = std::fs::remove_dir_all(self.sandbox.path("all"));
        std::fs::create_dir(self.sandbox.path("all")).unwrap();
        std::fs::set_permissions(
            self.sandbox.path("all"),
            std::fs::Permissions::from_mode(0o777),
        )
        .unwrap();
        let restored = self
            .sandbox
            .wyng(&["restore", "home", "--all", "--to", "all"]);
        assert_eq!(
            restored.expect(3).json["errors"][0]["volume"],
            "first.img",
            "{how}"
        );
        let text = restored.json["errors"][0]["text"]
            .as_str()
            .unwrap()
            .to_owned();
        assert!(
            text.starts_with(r#"archive "home": "#)
                && text.contains(r#" of "first.img" needs an object that the store has lost"#),
            "{text}"
        );
        assert!(
            std::fs::read(self.sandbox.path("all/second.img")).unwrap() == noise(MIB, 2),
            "{how}"
        );
        assert!(!self.sandbox.path("all/first.img").exists(), "{how}");
    }

    fn assert_healed(&self, how: &str) {
        assert_eq!(
            self.sandbox.wyng(&["verify", "home"]).success().json["problems"],
            serde_json::json!([]),
            "{how}"
        );
        self.sandbox
            .assert_restores("first.img", &self.session, &noise(MIB, 1));
        self.sandbox
            .assert_restores("second.img", "latest", &noise(MIB, 2));
    }
}

#[test]
fn whatever_lies_in_a_packs_place_is_damage_of_that_pack_and_heals() {
    for kind in Foreign::ALL {
        let archive = TwoVolumes::new();
        kind.place(&archive.pack);
        archive.assert_only_that_is_damage(&format!("{kind:?}"));
        archive.back_up();
        archive.assert_healed(&format!("{kind:?}"));
        // The pack may stay for ever: nothing needs it any more.
        archive.sandbox.adopt("passphrase").success();
        archive.assert_healed(&format!("{kind:?}, on a new machine"));
    }
}

#[test]
fn whatever_lies_in_a_packs_place_does_not_keep_a_new_machine_out() {
    for kind in Foreign::ALL {
        let archive = TwoVolumes::new();
        kind.place(&archive.pack);
        let adopted = archive.sandbox.adopt("passphrase");
        assert_eq!(problems(adopted.expect(5)).len(), 1, "{kind:?}");
        archive.assert_only_that_is_damage(&format!("{kind:?}"));
    }
}

#[test]
fn whatever_lies_at_the_top_of_a_store_or_in_a_shards_place_keeps_nobody_out() {
    let archive = TwoVolumes::new();
    let shards = (0..=u8::MAX).map(|byte| archive.sandbox.store().join(format!("{byte:02x}")));
    let mut free = shards
        .filter(|shard| !shard.exists())
        .collect::<Vec<_>>()
        .into_iter();
    for (number, kind) in Foreign::ALL.iter().enumerate() {
        kind.place(&archive.sandbox.store().join(format!("foreign-{number}")));
        // A folder would be an ordinary shard.
        free.by_ref()
            .take(if *kind == Foreign::Folder { 0 } else { 40 })
            .for_each(|shard| kind.place(&shard));
    }
    archive.sandbox.adopt("passphrase").success();
    archive.assert_healed("opened");
}

#[test]
fn a_lost_list_of_sessions_hurts_its_volume_alone() {
    let sandbox = Sandbox::with_archive(&["--chunk-size", "64K", "--pack-size", "256K"]);
    sandbox.image("first.img", MIB, 1);
    sandbox.image("second.img", MIB, 2);
    sandbox.wyng(&["backup", "home", "first.img"]).success();
    let lost = packs(&sandbox.blobs());
    let second = sandbox
        .wyng(&["backup", "home", "second.img"])
        .success()
        .session(0);
    take(&lost);
    // A machine without an old cache.
    sandbox.adopt("passphrase").expect(5);
    let listed = sandbox.wyng(&["list", "home"]);
    assert_eq!(listed.expect(5).codes(), ["sessions-lost"]);
    assert_eq!(listed.json["volumes"][0]["sessions"][0]["session"], *second);
    assert_eq!(
        sandbox.wyng(&["status", "home"]).expect(5).codes(),
        ["problems-found"]
    );
    let verified = sandbox.wyng(&["verify", "home"]);
    let named: BTreeSet<String> = problems(verified.expect(5))
        .into_iter()
        .flat_map(|(_, volumes)| volumes)
        .collect();
    assert_eq!(named, ["first.img".to_owned()].into());
    sandbox.wyng(&["verify", "home", "second.img"]).success();
    std::fs::create_dir(sandbox.path("all")).unwrap();
    let restored = sandbox.wyng(&["restore", "home", "--all", "--to", "all"]);
    assert_eq!(restored.expect(3).codes(), ["sessions-lost"]);
    assert!(std::fs::read(sandbox.path("all/second.img")).unwrap() == noise(MIB, 2));

    sandbox.wyng(&["archive", "take-over", "home"]).success();
    let backup = sandbox.wyng(&["backup", "home", "first.img", "second.img"]);
    assert_eq!(backup.expect(3).codes(), ["sessions-lost"]);
    // It goes on without the lost sessions when the option says so.
    let first = sandbox
        .wyng(&["backup", "home", "first.img", "--heal"])
        .success()
        .session(0);
    assert_eq!(
        sandbox.wyng(&["verify", "home"]).success().json["problems"],
        serde_json::json!([])
    );
    sandbox.assert_restores("first.img", "latest", &noise(MIB, 1));
    sandbox.assert_restores("second.img", &second, &noise(MIB, 2));
    sandbox.adopt("passphrase").success();
    sandbox.assert_restores("first.img", "latest", &noise(MIB, 1));
    if let Some(reader) = SecondReader::ready("a_lost_list_of_sessions_hurts_its_volume_alone") {
        let outcome = reader.run(
            &sandbox.store(),
            &sandbox.path("passphrase"),
            &["restore", "first.img", &first, "-"],
        );
        assert!(outcome.success().stdout == noise(MIB, 1));
    }
}

#[test]
fn a_lost_list_of_sessions_can_be_acknowledged() {
    let sandbox = Sandbox::with_archive(&["--chunk-size", "64K", "--pack-size", "256K"]);
    sandbox.image("first.img", MIB, 1);
    sandbox.image("second.img", MIB, 2);
    sandbox.wyng(&["backup", "home", "first.img"]).success();
    let lost = packs(&sandbox.blobs());
    sandbox.wyng(&["backup", "home", "second.img"]).success();
    let taken = take(&lost);
    sandbox.adopt("passphrase").expect(5);
    sandbox.wyng(&["archive", "take-over", "home"]).success();
    sandbox.wyng(&["verify", "home"]).expect(5);
    // Marks the packs as lost. The source of the first volume is gone: nothing rewrites its session
    // table.
    sandbox.wyng(&["backup", "home", "second.img"]).success();
    sandbox.wyng(&["verify", "home"]).expect(5);
    let list = "the list of the sessions of first.img";
    assert_eq!(
        sandbox
            .wyng(&["archive", "acknowledge", "home"])
            .success()
            .json["acknowledged"],
        serde_json::json!([list])
    );
    for _ in 0..2 {
        let verified = sandbox.wyng(&["verify", "home"]);
        assert_eq!(
            (
                &verified.success().json["acknowledged"],
                &verified.json["problems"][0]["acknowledged"]
            ),
            (&1.into(), &true.into())
        );
        assert_eq!(problems(&verified)[0].1, ["first.img"]);
    }
    let status = sandbox.wyng(&["status", "home"]);
    assert_eq!(
        status.success().json["archives"][0]["acknowledged"],
        serde_json::json!([list])
    );
    // It is still shown, and the volume still cannot be restored.
    assert_eq!(
        sandbox.wyng(&["list", "home"]).expect(5).codes(),
        ["sessions-lost"]
    );
    assert_eq!(
        sandbox
            .wyng(&["restore", "home", "first.img", "--to", "out"])
            .expect(5)
            .codes(),
        ["sessions-lost"]
    );
    // A pack that comes back counts as intact once it was read.
    put_back(&taken);
    sandbox.adopt("passphrase").success();
    assert_eq!(
        sandbox.wyng(&["verify", "home"]).success().json["problems"],
        serde_json::json!([])
    );
    sandbox.assert_restores("first.img", "latest", &noise(MIB, 1));
}

#[test]
fn damage_is_acknowledged_in_words_and_without_damage_that_is_said() {
    let (history, _) = lasting();
    let session = format!("disk.img {}", history.sessions[1].0);
    let acknowledge = |history: &History| {
        let mut command = Command::new(history.sandbox.program("wyng-ctl"));
        command
            .arg("--standalone")
            .arg("--state-dir")
            .arg(history.sandbox.state());
        let output = command
            .args(["archive", "acknowledge", "home"])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0));
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(
        acknowledge(&history),
        format!("damaged, acknowledged: {session}\n")
    );
    assert!(acknowledge(&History::new()).starts_with("no damage is known"));
}

#[test]
fn a_lost_part_of_the_key_table_hurts_what_was_sealed_with_its_keys_alone() {
    let sandbox = Sandbox::with_archive(&["--chunk-size", "64K", "--pack-size", "256K"]);
    // A leaf of the key table has 32 keys, and each run that sends a chunk draws one.
    let mut before = sandbox.blobs();
    for run in 0..32 {
        before = sandbox.blobs();
        sandbox.image("first.img", 70_000, run + 1);
        sandbox.wyng(&["backup", "home", "first.img"]).success();
    }
    let lost = packs(&sandbox.blobs().difference(&before).cloned().collect());
    sandbox.image("second.img", MIB, 99);
    sandbox.wyng(&["backup", "home", "second.img"]).success();
    take(&lost);
    sandbox.adopt("passphrase").expect(5);
    std::fs::create_dir(sandbox.path("all")).unwrap();
    let restored = sandbox.wyng(&["restore", "home", "--all", "--to", "all"]);
    assert_eq!(restored.expect(3).codes().len(), 1, "{}", restored.json);
    assert!(std::fs::read(sandbox.path("all/second.img")).unwrap() == noise(MIB, 99));
    sandbox.wyng(&["key", "check", "home"]).expect(5);
    let classes = |outcome: &Outcome| outcome.json["problems"].to_string();
    let deep = sandbox.wyng(&["verify", "home", "second.img", "--deep"]);
    assert!(
        classes(deep.expect(5)).contains("node"),
        "the lost part of the table is named"
    );
}

/// A new machine that has taken over after the pack with the whole key table and the session table
/// of `second.img` was lost; that pack, and the session of `first.img`.
fn without_a_key_table() -> (Sandbox, BTreeMap<PathBuf, Vec<u8>>, String) {
    let sandbox = Sandbox::with_archive(&["--chunk-size", "64K", "--pack-size", "1M"]);
    sandbox.image("first.img", 2 * MIB, 1);
    sandbox.image("second.img", 2 * MIB, 2);
    sandbox.wyng(&["backup", "home", "first.img"]).success();
    let before = sandbox.blobs();
    sandbox.wyng(&["backup", "home", "second.img"]).success();
    let tail = packs(&sandbox.blobs().difference(&before).cloned().collect());
    let tail = tail
        .into_iter()
        .min_by_key(|pack| pack.metadata().unwrap().len())
        .unwrap();
    let session = sandbox
        .wyng(&["backup", "home", "first.img"])
        .success()
        .session(0);
    let lost = take(&[tail]);
    sandbox.adopt("passphrase").expect(5);
    sandbox
        .wyng(&["archive", "take-over", "home", "--yes"])
        .success();
    (sandbox, lost, session)
}

#[test]
fn without_its_key_table_an_archive_goes_on_and_heals_from_its_sources() {
    let (sandbox, _, session) = without_a_key_table();
    let needs = |outcome: &Outcome, volume: &str| {
        problems(outcome)
            .iter()
            .any(|(_, needs)| needs.iter().any(|name| name.contains(volume)))
    };
    assert!(needs(
        sandbox.wyng(&["verify", "home", "first.img"]).expect(5),
        "first.img"
    ));
    assert_eq!(
        sandbox
            .wyng(&["restore", "home", "first.img", "--to", "out"])
            .expect(5)
            .codes(),
        ["session-damaged"]
    );
    // A new volume, and a volume whose records cannot be opened any more.
    sandbox.image("third.img", MIB, 3);
    sandbox.wyng(&["backup", "home", "third.img"]).success();
    sandbox.assert_restores("third.img", "latest", &noise(MIB, 3));
    assert!(
        needs(sandbox.wyng(&["verify", "home"]).expect(5), "first.img"),
        "what was not sent again is damaged"
    );
    sandbox.wyng(&["backup", "home", "first.img"]).success();
    sandbox.assert_restores("first.img", &session, &noise(2 * MIB, 1));
    // The lost part still belongs to the key table, and the lost session table to its volume.
    let verified = sandbox.wyng(&["verify", "home"]);
    assert!(
        verified.expect(5).json["problems"]
            .to_string()
            .contains("key table")
            && !needs(&verified, "first.img")
    );
    sandbox
        .wyng(&["backup", "home", "first.img", "second.img", "--heal"])
        .success();
    for options in [&["verify", "home"][..], &["verify", "home", "--deep"]] {
        assert_eq!(
            sandbox.wyng(options).success().json["problems"],
            serde_json::json!([])
        );
    }
    sandbox.wyng(&["key", "check", "home"]).success();
    // On another machine too, and with a reader that knows only the format.
    sandbox.adopt("passphrase");
    sandbox.wyng(&["verify", "home", "--deep"]).success();
    let volumes = [
        ("first.img", 2 * MIB, 1),
        ("second.img", 2 * MIB, 2),
        ("third.img", MIB, 3),
    ];
    for (volume, length, seed) in volumes {
        sandbox.assert_restores(volume, "latest", &noise(length, seed));
    }
    if let Some(reader) =
        SecondReader::ready("without_its_key_table_an_archive_goes_on_and_heals_from_its_sources")
    {
        let list = sandbox.wyng(&["list", "home"]);
        for (volume, length, seed) in volumes {
            let mut listed = list.json["volumes"].as_array().unwrap().iter();
            let sessions = &listed.find(|listed| listed["name"] == volume).unwrap()["sessions"];
            let latest = sessions.as_array().unwrap().last().unwrap()["session"]
                .as_str()
                .unwrap()
                .to_owned();
            let outcome = reader.run(
                &sandbox.store(),
                &sandbox.path("passphrase"),
                &["restore", volume, &latest, "-"],
            );
            assert!(outcome.success().stdout == noise(length, seed), "{volume}");
        }
    }
}

#[test]
fn a_key_table_that_comes_back_opens_all_that_nobody_gave_up() {
    let (sandbox, lost, session) = without_a_key_table();
    std::fs::remove_file(sandbox.path("first.img")).unwrap();
    sandbox.image("third.img", MIB, 3);
    sandbox.wyng(&["backup", "home", "third.img"]).success();
    put_back(&lost);
    sandbox.wyng(&["verify", "home"]).success();
    sandbox.assert_restores("first.img", &session, &noise(2 * MIB, 1));
    sandbox.assert_restores("second.img", "latest", &noise(2 * MIB, 2));
    sandbox.assert_restores("third.img", "latest", &noise(MIB, 3));
    sandbox.wyng(&["backup", "home", "third.img"]).success();
    sandbox.wyng(&["verify", "home", "--deep"]).success();
}

#[test]
fn what_is_appended_to_a_pack_is_damage_of_that_pack_and_heals() {
    for length in [1, 10 << 30] {
        let archive = TwoVolumes::new();
        let pack = std::fs::OpenOptions::new()
            .write(true)
            .open(&archive.pack)
            .unwrap();
        pack.set_len(pack.metadata().unwrap().len() + length)
            .unwrap();
        archive.assert_only_that_is_damage("appended");
        archive.back_up();
        archive.assert_healed("appended");
    }
}

/// Verifying a volume also reads the metadata and keys of its sessions.
#[test]
fn a_pack_of_the_catalog_is_missed_by_every_volume() {
    let archive = TwoVolumes::new();
    let before = archive.sandbox.blobs();
    archive
        .sandbox
        .wyng(&["backup", "home", "second.img"])
        .success();
    let tail = packs(
        &archive
            .sandbox
            .blobs()
            .difference(&before)
            .cloned()
            .collect(),
    );
    archive
        .sandbox
        .wyng(&["verify", "home", "first.img"])
        .success();
    let away = take(&tail);
    archive
        .sandbox
        .wyng(&["verify", "home", "first.img"])
        .expect(5);
    put_back(&away);
    archive
        .sandbox
        .wyng(&["verify", "home", "first.img"])
        .success();
}

#[test]
fn a_pack_whose_place_is_taken_goes_to_another_one() {
    let sandbox = Sandbox::with_archive(&["--chunk-size", "64K", "--pack-size", "128K"]);
    sandbox.image("disk.img", 8 * MIB, 1);
    // A commit has only one place.
    let kept: BTreeSet<PathBuf> = (1..=4)
        .map(|generation| sandbox.commit(generation).parent().unwrap().to_owned())
        .collect();
    let shards = (0..=u8::MAX).map(|byte| sandbox.store().join(format!("{byte:02x}")));
    let free = shards
        .filter(|shard| !shard.exists() && !kept.contains(shard))
        .take(32);
    free.zip(Foreign::ALL[1..].iter().cycle())
        .for_each(|(shard, kind)| kind.place(&shard));
    let backup = sandbox.wyng(&["backup", "home", "disk.img"]);
    let sent = backup.success().json["sent_bytes"].as_u64().unwrap();
    let stored: u64 = packs(
        &sandbox
            .blobs()
            .into_iter()
            .filter(|blob| blob.metadata().unwrap().is_file())
            .collect(),
    )
    .iter()
    .map(|pack| pack.metadata().unwrap().len())
    .sum();
    assert!(
        sent > stored,
        "of more than a hundred packs some met one of those places: {sent} bytes were sent, {stored} stored"
    );
    assert_eq!(
        sandbox.wyng(&["verify", "home"]).success().json["problems"],
        serde_json::json!([])
    );
    sandbox.assert_restores("disk.img", "latest", &noise(8 * MIB, 1));
    sandbox.adopt("passphrase").success();
    sandbox.assert_restores("disk.img", "latest", &noise(8 * MIB, 1));
}

#[test]
fn a_pack_that_the_disk_cannot_read_is_damage_of_that_pack_and_heals() {
    let test = "a_pack_that_the_disk_cannot_read_is_damage_of_that_pack_and_heals";
    if !require(Component::Btrfs, test) {
        return;
    }
    let disk = RottenDisk::mount();
    let archive = TwoVolumes::in_store(Sandbox::with_store_at(disk.join("store")));
    disk.rot(&archive.pack);
    assert!(
        std::fs::read(&archive.pack).is_err(),
        "the disk cannot read it"
    );
    archive.assert_only_that_is_damage("EIO");
    archive.back_up();
    archive.assert_healed("EIO");
}

#[test]
fn a_pack_that_its_user_may_not_read_is_damage_of_that_pack_and_heals() {
    let test = "a_pack_that_its_user_may_not_read_is_damage_of_that_pack_and_heals";
    if !require(Component::Root, test) {
        return;
    }
    let mut archive = TwoVolumes::new();
    archive.sandbox.become_nobody();
    std::os::unix::fs::chown(&archive.pack, Some(0), Some(0)).unwrap();
    archive.assert_only_that_is_damage("EACCES");
    archive.back_up();
    archive.assert_healed("EACCES");
}

/// The blob of the last backup's commit: the only new blob of that length.
fn commit_since(history: &History, before: &BTreeSet<PathBuf>) -> PathBuf {
    let added = history.added_since(before);
    let commits: Vec<_> = added
        .into_iter()
        .filter(|blob| blob.metadata().unwrap().len() == 4096)
        .collect();
    assert_eq!(commits.len(), 1);
    commits[0].clone()
}

#[test]
fn the_machine_that_wrote_a_damaged_newest_commit_writes_on_and_all_is_clean_again() {
    let mut history = History::new();
    let before = history.sandbox.blobs();
    history.change(5, 2);
    history.back_up();
    let newest = commit_since(&history, &before);
    // A loss of power at the store lost its bytes, and nothing reads it before the next backup.
    std::fs::write(&newest, b"").unwrap();
    history.change(6, 3);
    history.back_up();
    history.assert_whole_elsewhere();
    assert_eq!(
        std::fs::read(&newest).unwrap(),
        b"",
        "nothing in the store is ever replaced"
    );
}

#[test]
fn a_new_machine_names_a_damaged_newest_commit_and_goes_on_from_the_one_before_on_request() {
    let mut history = History::new();
    let before = history.sandbox.blobs();
    history.change(5, 2);
    history.back_up();
    let newest = commit_since(&history, &before);
    flip_a_bit(&newest);
    let sandbox = &history.sandbox;
    let adopted = sandbox.adopt("passphrase");
    assert_eq!(adopted.expect(5).codes(), ["newest-damaged"]);
    assert_eq!(problems(&adopted), [(name(&newest), Vec::new())]);
    let assert_named = |warning: &str| {
        for options in [
            &["verify", "home"][..],
            &["verify", "home", "--deep"],
            &["verify", "home", "disk.img"],
        ] {
            let verified = sandbox.wyng(options);
            assert_eq!(
                problems(verified.expect(5)),
                [(name(&newest), Vec::new())],
                "{options:?}"
            );
        }
        assert_eq!(
            sandbox.wyng(&["list", "home"]).success().json["warnings"][0]["code"],
            warning
        );
    };
    assert_named("newest-damaged");
    let restore = |session: &str| {
        sandbox.wyng(&[
            "restore",
            "home",
            "disk.img",
            "--session",
            session,
            "--to",
            "out",
        ])
    };
    assert_eq!(restore("latest").expect(5).codes(), ["newest-damaged"]);
    assert_eq!(
        sandbox
            .wyng(&["archive", "take-over", "home"])
            .expect(5)
            .codes(),
        ["newest-damaged"]
    );
    assert_eq!(
        sandbox.wyng(&["status"]).expect(5).codes(),
        ["newest-damaged"]
    );
    history.assert_restores([0]);

    let opened = sandbox.wyng(&["archive", "open", "home", "--before", "3"]);
    assert_eq!(opened.success().json["warnings"][0]["code"], "older-opened");
    assert!(
        opened
            .stderr
            .contains("WARNING: the archive was opened at generation 2"),
        "{}",
        opened.stderr
    );
    assert_eq!(
        sandbox.wyng(&["status"]).expect(5).codes(),
        ["newer-passed-over"]
    );
    assert_named("older-opened");
    assert_eq!(
        sandbox
            .wyng(&["backup", "home", "disk.img"])
            .expect(5)
            .codes(),
        ["newer-passed-over"]
    );
    sandbox.wyng(&["archive", "take-over", "home"]).success();
    history.sessions.truncate(1);
    history.back_up();
    history.assert_whole_elsewhere();
}
