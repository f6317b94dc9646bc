// SPDX-License-Identifier: GPL-3.0-or-later
//! Pruning with the real programs: rules from the command line and from the configuration, sessions
//! and volumes removed by hand, pins, and a budget.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use wyng_tests::sandbox::{Outcome, Sandbox, create_home, noise};

const IMAGE_BYTES: usize = 600_000;

/// A sandbox with an archive whose sessions may be removed at once, and a volume with as many
/// sessions, each with another content.
fn with_sessions(count: u64) -> (Sandbox, Vec<(String, Vec<u8>)>) {
    let sandbox = Sandbox::with_archive(&["--minimum-age", "0s", "--pack-size", "256K"]);
    let sessions = (0..count).map(|seed| back_up(&sandbox, seed)).collect();
    (sandbox, sessions)
}

/// Backs up a volume of new content; its session.
fn back_up(sandbox: &Sandbox, seed: u64) -> (String, Vec<u8>) {
    let content = noise(IMAGE_BYTES, 100 + seed);
    std::fs::write(sandbox.path("disk.img"), &content).unwrap();
    let outcome = sandbox.wyng(&["backup", "home", "disk.img"]);
    (outcome.success().session(0), content)
}

/// The names of the volume's sessions, as `list` shows them.
fn listed(sandbox: &Sandbox) -> Vec<String> {
    let outcome = sandbox.wyng(&["list", "home"]);
    outcome.success();
    let sessions = outcome.json["volumes"][0]["sessions"].as_array();
    let names = sessions.into_iter().flatten();
    names
        .map(|session| session["session"].as_str().unwrap().to_owned())
        .collect()
}

fn removed(outcome: &Outcome) -> Vec<Value> {
    outcome.json["volumes"][0]["removed"]
        .as_array()
        .unwrap()
        .clone()
}

fn assert_whole(sandbox: &Sandbox, sessions: &[(String, Vec<u8>)]) {
    for (session, content) in sessions {
        sandbox.assert_restores("disk.img", session, content);
    }
    sandbox.wyng(&["verify", "home", "--deep"]).success();
}

#[test]
fn a_dry_run_shows_what_the_run_then_does() {
    let (sandbox, sessions) = with_sessions(4);
    let before = sandbox.blobs();
    let rules = ["prune", "home", "--keep-last", "1"];
    let dry = sandbox.wyng(&[&rules[..], &["--dry-run"]].concat());
    dry.success();
    assert_eq!(sandbox.blobs(), before);
    let run = sandbox.wyng(&rules);
    run.success();
    assert_eq!(run.json["volumes"], dry.json["volumes"]);
    assert_eq!(run.json["freed_bytes"], dry.json["freed_bytes"]);
    assert_eq!(run.json["waiting_bytes"], dry.json["waiting_bytes"]);
    assert_eq!(
        (&dry.json["dry_run"], &run.json["dry_run"]),
        (&json!(true), &json!(false))
    );
    let kept = &run.json["volumes"][0]["kept"];
    assert_eq!(kept.as_array().unwrap().len(), 1);
    assert_eq!(kept[0]["session"], sessions[3].0);
    assert_eq!(
        kept[0]["reasons"],
        json!(["newest", "newest-sound", "last"])
    );
    let gone: Vec<&str> = sessions[..3]
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(removed(&run), gone);
    assert!(run.json["freed_bytes"].as_u64().unwrap() > 3 * IMAGE_BYTES as u64 / 2);
    assert!(
        sandbox.blobs().is_superset(&before),
        "what was given up waits for its hold-off"
    );
    assert_eq!(listed(&sandbox), [sessions[3].0.clone()]);
    let again = sandbox.wyng(&rules);
    assert_eq!(removed(again.success()), Vec::<Value>::new());
    // What comes back is sent again, and not found in what was given up.
    let back = back_up(&sandbox, 0);
    assert_whole(&sandbox, &[sessions[3].clone(), back]);
}

#[test]
fn a_prune_without_a_rule_is_refused() {
    let (sandbox, sessions) = with_sessions(2);
    for words in [&["prune", "home"][..], &["prune", "home", "disk.img"]] {
        let outcome = sandbox.wyng(words);
        assert_eq!(outcome.expect(2).codes(), ["no-rules"]);
    }
    let unknown = sandbox.wyng(&["prune", "home", "nothing", "--keep-last", "1"]);
    assert_eq!(unknown.expect(2).codes(), ["unknown-volume"]);
    assert_eq!(listed(&sandbox).len(), sessions.len());
}

#[test]
fn the_minimum_age_of_the_archive_and_of_the_configuration_both_hold() {
    let (sandbox, sessions) = with_sessions(3);
    let config = format!(
        "[archives.home]\nstore = \"dir:{}\"\nminimum_age = \"1d\"\n[archives.home.keep]\nlast = 1\n",
        sandbox.store().display()
    );
    let config = sandbox.text("wyng.toml", &config);
    let kept = sandbox.wyng(&["prune", "home", "--config", &config]);
    assert_eq!(removed(kept.success()), Vec::<Value>::new());
    let reasons = &kept.json["volumes"][0]["kept"][0]["reasons"];
    assert_eq!(*reasons, json!(["young"]));
    let young = Sandbox::with_archive(&["--minimum-age", "1d"]);
    back_up(&young, 1);
    back_up(&young, 2);
    let kept = young.wyng(&["prune", "home", "--keep-last", "1"]);
    assert_eq!(removed(kept.success()), Vec::<Value>::new());
    assert_whole(&sandbox, &sessions);
}

#[test]
fn a_profile_prunes_after_its_backup_and_each_volume_may_have_rules_of_its_own() {
    let sandbox = Sandbox::new();
    let store = format!("dir:{}", sandbox.store().display());
    let create = create_home(&store);
    sandbox
        .wyng(&[&create[..], &["--minimum-age", "0s"]].concat())
        .success();
    let [work, vault] = ["work", "vault"].map(|name| sandbox.image(name, IMAGE_BYTES, 1));
    let config = sandbox.text(
        "wyng.toml",
        &format!(
            "[archives.home]\nstore = {store:?}\n\
             [archives.home.keep]\nlast = 1\n\
             [archives.home.keep_volumes.vault]\nwithin = \"1d\"\n\
             [volumes]\nwork = {work:?}\nvault = {vault:?}\n\
             [profiles.nightly]\narchive = \"home\"\nprune_after_backup = true\n"
        ),
    );
    let backup = || {
        let outcome = sandbox.wyng(&["backup", "--profile", "nightly", "--config", &config]);
        outcome.success();
        outcome
    };
    backup();
    let second = backup();
    let pruned = &second.json["pruned"];
    let of = |name: &str| {
        let volumes = pruned["volumes"].as_array().unwrap();
        volumes
            .iter()
            .find(|volume| volume["name"] == name)
            .unwrap()
            .clone()
    };
    assert_eq!(of("work")["removed"].as_array().unwrap().len(), 1);
    assert_eq!(of("vault")["removed"], json!([]));
    let words = ["prune", "--profile", "nightly", "--config", &config];
    let again = sandbox.wyng(&[&words[..], &["--dry-run"]].concat());
    again.success();
    let removed: BTreeSet<String> = again.json["volumes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|volume| volume["removed"].to_string())
        .collect();
    assert_eq!(removed, BTreeSet::from(["[]".to_owned()]));
    sandbox.wyng(&["verify", "home", "--deep"]).success();
}

#[test]
fn a_profile_that_prunes_by_no_rule_is_a_mistake() {
    let sandbox = Sandbox::new();
    let config = sandbox.text(
        "wyng.toml",
        "[volumes]\na = \"/x\"\n[profiles.p]\narchive = \"home\"\nprune_after_backup = true\n",
    );
    let outcome = sandbox.wyng(&["config", "check", "--config", &config]);
    assert_eq!(outcome.expect(2).codes(), ["config"]);
    let text = outcome.json["errors"][0]["text"].as_str().unwrap();
    assert!(text.contains("no rule says what to keep"), "{text}");
}

/// The words that remove sessions of the volume.
fn remove<'a>(sessions: &[&'a str]) -> Vec<&'a str> {
    [&["session", "remove", "home", "disk.img"], sessions].concat()
}

#[test]
fn sessions_are_removed_by_hand_and_never_while_pinned() {
    let (sandbox, mut sessions) = with_sessions(3);
    let first = sessions[0].0.clone();
    sandbox.wyng(&["pin", "home", "disk.img", &first]).success();
    let pruned = sandbox.wyng(&["prune", "home", "--keep-last", "1"]);
    assert_eq!(removed(pruned.success()), [json!(sessions[1].0)]);
    sessions.remove(1);
    let pinned = sandbox.wyng(&remove(&[&first, "--yes"]));
    assert_eq!(pinned.expect(1).codes(), ["session-pinned"]);
    sandbox
        .wyng(&["unpin", "home", "disk.img", &first])
        .success();
    let unknown = sandbox.wyng(&remove(&["1999", "--yes"]));
    assert_eq!(unknown.expect(2).codes(), ["unknown-session"]);
    let gone = sandbox.wyng(&remove(&["latest", "--yes"]));
    assert_eq!(removed(gone.success()), [json!(sessions[1].0)]);
    sessions.pop();
    // The base snapshot and the newest session are gone with it.
    sessions.push(back_up(&sandbox, 9));
    assert_whole(&sandbox, &sessions);
}

#[test]
fn a_removed_volume_frees_what_only_it_had() {
    let (sandbox, sessions) = with_sessions(2);
    sandbox.image("other.img", IMAGE_BYTES, 5);
    sandbox.wyng(&["backup", "home", "other.img"]).success();
    let gone = sandbox.wyng(&["volume", "remove", "home", "other.img", "--yes"]);
    gone.success();
    assert!(gone.json["freed_bytes"].as_u64().unwrap() > IMAGE_BYTES as u64 / 2);
    let unknown = sandbox.wyng(&["volume", "remove", "home", "other.img", "--yes"]);
    assert_eq!(unknown.expect(2).codes(), ["unknown-volume"]);
    assert_whole(&sandbox, &sessions);
    sandbox.image("other.img", IMAGE_BYTES, 6);
    let back = sandbox.wyng(&["backup", "home", "other.img"]);
    let session = back.success().session(0);
    sandbox.assert_restores("other.img", &session, &noise(IMAGE_BYTES, 6));
}

#[test]
fn a_volume_over_its_budget_ends_with_3_and_its_name_and_keeps_its_sessions() {
    let (sandbox, sessions) = with_sessions(1);
    std::fs::write(sandbox.path("disk.img"), noise(IMAGE_BYTES, 77)).unwrap();
    sandbox.image("small.img", 10_000, 5);
    let words = ["backup", "home", "disk.img", "small.img"];
    let limited = sandbox.wyng(&[&words[..], &["--max-new-bytes", "300K"]].concat());
    assert_eq!(limited.expect(3).codes(), ["over-budget"]);
    assert_eq!(limited.json["errors"][0]["volume"], "disk.img");
    assert_eq!(limited.json["volumes"][0]["name"], "small.img");
    let again = sandbox.wyng(&[&words[..], &["--max-new-bytes", "300K"]].concat());
    assert_eq!(again.expect(3).codes(), ["over-budget"]);
    assert_whole(&sandbox, &sessions);
    // Without the limit it goes on with what is left.
    let rest = sandbox.wyng(&["backup", "home", "disk.img"]);
    let sent = rest.success().json["volumes"][0]["sent_bytes"].as_u64();
    assert!(sent.unwrap() < IMAGE_BYTES as u64 * 2 / 3, "{sent:?}");
    sandbox.assert_restores("disk.img", &rest.session(0), &noise(IMAGE_BYTES, 77));
}
