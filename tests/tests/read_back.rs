// SPDX-License-Identifier: GPL-3.0-or-later
//! `backup --verify` over real processes: what a run sent is read back by a far end that was
//! started anew, and a far end that answers STORED and keeps nothing is found out.

use wyng_tests::sandbox::{Sandbox, noise};

const LENGTH: usize = 600_000;

/// A helper that speaks the real protocol and says STORED of each blob; of what it got since the
/// last call, it keeps only blobs of at most 8 KiB: commits and slots.
fn drop_packs(sandbox: &mut Sandbox) {
    let (store, list) = (sandbox.store(), sandbox.path("before"));
    sandbox.replace_helper(&format!(
        "blobs() {{ find {store} -type f -size +16 | sort; }}\n\
         case $1 in\n\
         push) blobs > {list} ;;\n\
         fetch) blobs | comm -13 {list} - | xargs -r rm ;;\n\
         esac\n\
         exec $HELPER $1",
        store = store.display(),
        list = list.display()
    ));
}

fn with_a_session() -> Sandbox {
    let sandbox = Sandbox::with_archive(&["--chunk-size", "64K", "--pack-size", "256K"]);
    sandbox.image("vm.img", LENGTH, 1);
    sandbox.wyng(&["backup", "home", "vm.img"]).success();
    sandbox
}

#[test]
fn a_backup_reads_back_what_it_sent_and_nothing_else() {
    let sandbox = with_a_session();
    assert_eq!(
        sandbox.wyng(&["backup", "home", "vm.img"]).success().json["read_back"],
        serde_json::Value::Null,
        "only if it was asked for"
    );
    sandbox.image("vm.img", LENGTH, 2);
    let done = sandbox.wyng(&["backup", "home", "vm.img", "--verify"]);
    let (sent, read_back) = (&done.success().json["sent_bytes"], &done.json["read_back"]);
    let (sent, read) = (
        sent.as_u64().unwrap(),
        read_back["read_bytes"].as_u64().unwrap(),
    );
    assert_eq!(read_back["problems"], serde_json::json!([]));
    assert!(
        (sent..sent + 16_384).contains(&read),
        "{read} bytes are the packs that were sent, {sent} bytes, and the commit"
    );
    // It came too soon to prove anything.
    let status = sandbox.wyng(&["status", "home"]);
    assert_eq!(status.success().json["archives"][0]["proven_share"], 0.0);
}

#[test]
fn a_far_end_that_says_stored_and_keeps_nothing_is_found_by_the_backup_itself() {
    let mut sandbox = with_a_session();
    sandbox.image("vm.img", LENGTH, 2);
    drop_packs(&mut sandbox);
    let caught = sandbox.wyng(&["backup", "home", "vm.img", "--verify"]);
    assert_eq!(caught.expect(5).codes(), ["problems-found"]);
    let problems = caught.json["read_back"]["problems"].as_array().unwrap();
    assert!(
        problems.len() >= 3
            && problems
                .iter()
                .all(|problem| problem["class"] == "pack" && problem["problem"] == "it is missing"),
        "{problems:?}"
    );
    // An honest far end heals what it kept nothing of.
    sandbox.restore_helper();
    sandbox.wyng(&["status", "home"]).expect(5);
    sandbox
        .wyng(&["backup", "home", "vm.img", "--verify"])
        .success();
    sandbox.wyng(&["status", "home"]).success();
    sandbox.assert_restores("vm.img", "latest", &noise(LENGTH, 2));
}

#[test]
fn where_reading_is_refused_the_backup_says_that_it_is_complete() {
    let mut sandbox = with_a_session();
    sandbox.image("vm.img", LENGTH, 2);
    sandbox.replace_helper("[ $1 = push ] || exit 126\nexec $HELPER $1");
    let refused = sandbox.wyng(&["backup", "home", "vm.img", "--verify"]);
    assert_eq!(refused.expect(6).codes(), ["not-read-back"]);
    let error = &refused.json["errors"][0];
    assert!(
        error["safe"].as_str().unwrap().contains("in the archive")
            && error["next"].as_str().unwrap().contains("wyng.Fetch"),
        "{error}"
    );
    sandbox.restore_helper();
    sandbox.assert_restores("vm.img", "latest", &noise(LENGTH, 2));
}

#[test]
fn a_profile_can_ask_for_it() {
    let mut sandbox = with_a_session();
    let config = sandbox.text(
        "wyng.toml",
        &format!(
            "[archives.home]\nstore = \"dir:{}\"\n[volumes]\nvm = \"{}\"\n\
             [profiles.p]\narchive = \"home\"\nverify = true\n",
            sandbox.store().display(),
            sandbox.path("vm.img").display()
        ),
    );
    drop_packs(&mut sandbox);
    let caught = sandbox.wyng(&["backup", "--profile", "p", "--config", &config]);
    assert_eq!(caught.expect(5).codes(), ["problems-found"]);
    let dry = sandbox.wyng(&["backup", "--profile", "p", "--config", &config, "--dry-run"]);
    dry.success();
}
