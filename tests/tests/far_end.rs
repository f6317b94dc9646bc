// SPDX-License-Identifier: GPL-3.0-or-later
//! A helper that prints first, sends nonsense, dies or is missing; and what a working helper sees:
//! only ciphertext.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use wyng_tests::programs::program;
use wyng_tests::require::{Component, require};
use wyng_tests::sandbox::{Outcome, PASSPHRASE, Sandbox, noise, write_at};
use wyng_tests::service::{run_kill, until};
use wyng_wire::{HEADER_BYTES, HELLO_BYTES, ToDaemon};

const MIB: usize = 1 << 20;
const MARK: &str = "canary-plaintext-91c2e7";
const VOLUME: &str = "canary-volume-4b1d";

fn prepared() -> Sandbox {
    let sandbox = Sandbox::with_archive(&[]);
    sandbox.image("disk.img", 20 * MIB, 1);
    sandbox
}

/// Checks that a backup with this helper fails with this error, and that the real helper then
/// completes it correctly.
fn fails_then_recovers(script: &str, status: i32, code: &str) {
    let mut sandbox = prepared();
    sandbox.replace_helper(script);
    let outcome = sandbox.wyng(&["backup", "home", "disk.img"]);
    assert_eq!(outcome.expect(status).codes(), [code], "{}", outcome.stderr);
    sandbox.restore_helper();
    sandbox.wyng(&["backup", "home", "disk.img"]).success();
    sandbox.wyng(&["verify", "home", "--deep"]).success();
    sandbox.assert_restores("disk.img", "latest", &noise(20 * MIB, 1));
}

#[test]
fn a_helper_that_prints_first_is_told_from_a_broken_one() {
    fails_then_recovers(
        "echo Welcome to this template; exec $HELPER $1",
        6,
        "far-end-banner",
    );
}

#[test]
fn a_helper_that_ends_at_once_is_lost() {
    fails_then_recovers("exit 3", 6, "far-end-lost");
}

#[test]
fn a_helper_that_dies_in_the_middle_loses_nothing_that_it_acknowledged() {
    fails_then_recovers(
        "dd bs=65536 count=150 status=none | $HELPER $1",
        6,
        "far-end-lost",
    );
}

#[test]
fn nonsense_after_the_greeting_ends_the_call() {
    fails_then_recovers(
        "$HELPER $1 | (head -c 32; head -c 4096 /dev/zero | tr '\\0' 'A'; cat)",
        6,
        "far-end-protocol",
    );
}

#[test]
fn a_helper_that_is_not_there_is_named_with_what_to_install() {
    let mut sandbox = prepared();
    sandbox.replace_helper("");
    std::fs::remove_file(sandbox.path("programs/wyng-transport-vm")).unwrap();
    let outcome = sandbox.wyng(&["backup", "home", "disk.img"]);
    assert_eq!(outcome.expect(6).codes(), ["far-end-start"]);
    assert!(
        outcome.json["errors"][0]["next"]
            .as_str()
            .unwrap()
            .contains("wyng-transport-vm")
    );
}

#[test]
fn a_helper_that_only_says_that_it_lives_is_given_up() {
    let mut sandbox = prepared();
    let mut frame = [0; 64];
    std::fs::write(
        sandbox.path("alive"),
        ToDaemon::KeepAlive.encode(&mut frame).unwrap(),
    )
    .unwrap();
    let alive = sandbox.path("alive");
    sandbox.replace_helper(&format!(
        "$HELPER $1 </dev/null | head -c {HELLO_BYTES}; while cat {}; do sleep 0.1; done",
        alive.display()
    ));
    let config = sandbox.text("wyng.toml", "[far_ends]\nstall_timeout = \"2s\"\n");
    let outcome = sandbox.wyng(&["backup", "home", "disk.img", "--config", &config]);
    assert_eq!(
        outcome.expect(6).codes(),
        ["far-end-stalled"],
        "it never opened the store"
    );
}

#[test]
fn a_helper_that_takes_a_little_now_and_then_is_given_up() {
    let mut sandbox = prepared();
    sandbox.replace_helper("while head -c 4096; do sleep 1; done | $HELPER $1");
    let config = sandbox.text("wyng.toml", "[far_ends]\nstall_timeout = \"3s\"\n");
    let outcome = sandbox.wyng(&["backup", "home", "disk.img", "--config", &config]);
    assert_eq!(
        outcome.expect(6).codes(),
        ["far-end-stalled"],
        "it took something in every stall limit"
    );
}

/// Number of possible slots, each of which is requested.
const SLOTS: u32 = 256;

/// A sandbox whose helper says of every commit that it exists, and the file that grows by a byte
/// with each such answer.
fn with_lying_helper(pause_ms: u32) -> (Sandbox, std::path::PathBuf) {
    let mut sandbox = prepared();
    let log = sandbox.path("claims");
    std::fs::write(&log, "").unwrap();
    let liar = program("lying-helper");
    sandbox.replace_helper(&format!(
        "exec {} $HELPER $1 {} {SLOTS} {pause_ms}",
        liar.display(),
        log.display()
    ));
    (sandbox, log)
}

#[test]
fn a_helper_that_claims_to_have_every_commit_is_not_asked_for_ever() {
    let (sandbox, log) = with_lying_helper(0);
    assert_eq!(
        sandbox.wyng(&["archive", "open", "home"]).expect(5).codes(),
        ["damaged"],
        "no archive has so many commits"
    );
    let claims = log.metadata().unwrap().len();
    assert!((50..20_000).contains(&claims), "{claims} questions");
}

#[test]
fn whoever_waits_for_a_busy_far_end_can_be_interrupted() {
    let (sandbox, log) = with_lying_helper(300);
    let open = sandbox
        .command(&["archive", "open", "home"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    until("the helper is asked", || log.metadata().unwrap().len() >= 3);
    run_kill("-INT", open.id());
    let outcome = Outcome::of(open.wait_with_output().unwrap());
    assert_eq!(outcome.expect(130).codes(), ["interrupted"]);
    let claims = log.metadata().unwrap().len();
    assert!(
        claims < 30,
        "{claims} questions, though there was always an answer to read"
    );
}

#[test]
fn what_a_helper_prints_to_standard_error_is_neither_waited_for_nor_shown() {
    let mut sandbox = prepared();
    sandbox.replace_helper("yes 'click here' | head -c 300000 >&2; exec $HELPER $1");
    let outcome = sandbox.wyng(&["backup", "home", "disk.img"]);
    outcome.success();
    assert!(!outcome.stderr.contains("click here"));
}

#[test]
fn no_byte_of_ours_crosses_the_pipe_or_rests_in_the_store() {
    let mut sandbox = Sandbox::new();
    let (sent, answered) = (sandbox.path("sent"), sandbox.path("answered"));
    sandbox.replace_helper(&format!(
        "tee -a {} | $HELPER $1 | tee -a {}",
        sent.display(),
        answered.display()
    ));
    sandbox.create("canary-archive-name", &[]).success();
    let mut bytes = noise(8 * MIB, 1);
    for place in (0..bytes.len()).step_by(40_000) {
        bytes[place..place + MARK.len()].copy_from_slice(MARK.as_bytes());
    }
    std::fs::write(sandbox.path(VOLUME), &bytes).unwrap();
    for round in 0..2 {
        write_at(&sandbox.path(VOLUME), round * 1_000_000, MARK.as_bytes());
        sandbox
            .wyng(&["backup", "canary-archive-name", VOLUME])
            .success();
    }
    sandbox
        .wyng(&["verify", "canary-archive-name", "--deep"])
        .success();
    sandbox
        .wyng(&["restore", "canary-archive-name", VOLUME, "--to", "out"])
        .success();

    let mut seen = vec![sent, answered];
    assert!(
        seen.iter()
            .all(|path| path.metadata().unwrap().len() > 1000),
        "both ways were watched"
    );
    seen.extend(sandbox.blobs());
    let canaries = [MARK, VOLUME, PASSPHRASE, "canary"];
    for path in &seen {
        let found = canaries
            .iter()
            .find(|canary| contains(&std::fs::read(path).unwrap(), canary.as_bytes()));
        assert_eq!(found, None, "{}", path.display());
        assert!(
            !path
                .strip_prefix(sandbox.path(""))
                .unwrap()
                .to_string_lossy()
                .contains("canary")
        );
    }
    assert!(
        contains(
            &std::fs::read(sandbox.path(VOLUME)).unwrap(),
            MARK.as_bytes()
        ),
        "the search finds what is there"
    );
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack
        .windows(needle.len())
        .any(|window| window == needle)
}

#[test]
fn a_backup_reads_nothing_back_but_receipts() {
    let test = "a_backup_reads_nothing_back_but_receipts";
    // Only root may look into processes that have made themselves undumpable.
    if !require(Component::Strace, test) || !require(Component::Root, test) {
        return;
    }
    let mut sandbox = prepared();
    sandbox.wyng(&["backup", "home", "disk.img"]).success();
    write_at(&sandbox.path("disk.img"), 5_000_000, &noise(3 * MIB, 9));
    let answered = sandbox.path("answered");
    sandbox.replace_helper(&format!("$HELPER $1 | tee {}", answered.display()));
    let backup = sandbox.command(&["backup", "home", "disk.img"]);
    let trace = sandbox.path("trace");
    let mut traced = std::process::Command::new("strace");
    traced
        .args(["-f", "-qq", "-e", "trace=open,openat,openat2", "-o"])
        .arg(&trace);
    traced
        .arg(backup.get_program())
        .args(backup.get_args())
        .current_dir(sandbox.path(""));
    assert!(traced.status().unwrap().success());

    let trace = std::fs::read_to_string(trace).unwrap();
    let blobs = trace
        .lines()
        .filter(|line| opened_name(line).is_some_and(is_blob_name));
    let read: Vec<&str> = blobs
        .filter(|line| !line.contains("O_WRONLY"))
        .filter_map(opened_name)
        .collect();
    // The head is put again to check that it still exists: the helper compares it with its file.
    let is_head = |name: &str| {
        sandbox
            .blobs()
            .iter()
            .any(|blob| blob.ends_with(name) && blob.metadata().unwrap().len() == 4096)
    };
    assert!(
        read.len() == 1 && read.iter().all(|name| is_head(name)),
        "stored blobs were opened for reading: {read:#?}"
    );
    assert!(
        trace.contains("O_WRONLY"),
        "the trace sees the helper write"
    );
    let puts = sandbox.blobs().len() as u64;
    let back = answered.metadata().unwrap().len();
    assert!(back <= 64 + 64 * puts, "{back} bytes came back");
}

#[test]
fn a_push_answers_with_frames_of_fixed_sizes_and_no_more_than_its_receipts_need() {
    let mut sandbox = prepared();
    let answered = sandbox.path("answered");
    sandbox.replace_helper(&format!("$HELPER $1 | tee {}", answered.display()));
    for seed in [1, 2] {
        sandbox.image("disk.img", 20 * MIB, seed);
        sandbox.wyng(&["backup", "home", "disk.img"]).success();
        let bytes = std::fs::read(&answered).unwrap();
        let (mut rest, mut receipts, mut others) = (&bytes[HELLO_BYTES..], 0, 0);
        while !rest.is_empty() {
            let frame_bytes =
                HEADER_BYTES + ToDaemon::rest_bytes(rest.first_chunk().unwrap()).unwrap();
            let (frame, behind) = rest.split_at(frame_bytes);
            match ToDaemon::decode(frame).unwrap() {
                ToDaemon::Receipt(_) => receipts += 1,
                ToDaemon::Opened(_) | ToDaemon::Final(_) | ToDaemon::KeepAlive => others += 1,
                other => panic!("a push answers with {other:?}"),
            }
            rest = behind;
        }
        assert!(
            receipts > 0 && others >= 2,
            "{receipts} receipts, {others} other frames"
        );
        assert!(
            bytes.len() <= 64 + 64 * receipts,
            "{} bytes came back with {receipts} receipts",
            bytes.len()
        );
    }
}

fn opened_name(line: &str) -> Option<&str> {
    line.split('"').nth(1)
}

fn is_blob_name(path: &str) -> bool {
    let name = Path::new(path)
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[test]
fn a_first_backup_cut_at_nine_tenths_sends_the_window_and_one_pack_again_at_most() {
    let mut sandbox = Sandbox::with_archive(&[]);
    let content = noise(400 * MIB, 1);
    std::fs::write(sandbox.path("disk.img"), &content).unwrap();
    let cut_bytes = 360 * MIB;
    // The bytes that went over the pipe until it broke, and in the next run.
    sandbox.replace_helper(&format!(
        "dd bs=65536 count={cut_bytes} iflag=count_bytes status=none | $HELPER $1"
    ));
    assert_eq!(
        sandbox
            .wyng(&["backup", "home", "disk.img"])
            .expect(6)
            .codes(),
        ["far-end-lost"]
    );
    let sent = sandbox.path("sent");
    sandbox.replace_helper(&format!("tee {} | $HELPER $1", sent.display()));
    sandbox.wyng(&["backup", "home", "disk.img"]).success();
    let sent = sent.metadata().unwrap().len();
    let left = (content.len() - cut_bytes) as u64;
    // Headers, tags and metadata may take a hundredth.
    let allowed = left + (48 << 20) + content.len() as u64 / 100;
    assert!(sent <= allowed, "{sent} bytes were sent of {allowed}");
    assert!(
        sent >= left,
        "{sent} bytes were sent, and {left} were missing: the cut came too late"
    );
    sandbox.restore_helper();
    sandbox.assert_restores("disk.img", "latest", &content);
}

#[test]
fn an_interrupted_backup_is_status_130_and_goes_on_where_it_stopped() {
    let sandbox = Sandbox::with_archive(&["--pack-size", "1M"]);
    sandbox.image("disk.img", 512 * MIB, 1);
    let mut command = sandbox.command(&["backup", "home", "disk.img", "--progress", "json"]);
    let mut backup = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let process = rustix::process::Pid::from_child(&backup);
    let lines = BufReader::new(backup.stderr.take().unwrap())
        .lines()
        .map(Result::unwrap);
    // The bytes that were reported as sent so far; the run is interrupted at the first such report.
    let mut interrupted = false;
    for line in lines {
        let sent = serde_json::from_str::<serde_json::Value>(&line)
            .ok()
            .and_then(|line| line["sent_bytes"].as_u64());
        if !interrupted && sent.is_some_and(|sent| sent > 100 << 20) {
            rustix::process::kill_process(process, rustix::process::Signal::INT).unwrap();
            interrupted = true;
        }
    }
    let outcome = Outcome::of(backup.wait_with_output().unwrap());
    assert_eq!(outcome.expect(130).codes(), ["interrupted"]);
    let again = sandbox.wyng(&["backup", "home", "disk.img"]);
    let sent = again.success().json["sent_bytes"].as_u64().unwrap();
    // Packs of 1 MiB hold seven chunks: the whole volume takes 586 MiB. The first 100 MiB are
    // stored, except for packs in flight.
    assert!(
        sent < (586 - 100 + 50) << 20,
        "{sent} bytes were sent again"
    );
    sandbox.assert_restores("disk.img", "latest", &noise(512 * MIB, 1));
}

/// How long a command lasts with a limit of 1 MiB a second.
fn lasts(sandbox: &Sandbox, limit: &str, words: &[&str]) -> Duration {
    let config = sandbox.text("wyng.toml", &format!("[far_ends]\n{limit} = \"1M\"\n"));
    let begun = Instant::now();
    let words = [words, &["--config", &config]].concat();
    sandbox.wyng(&words).success();
    begun.elapsed()
}

#[test]
fn a_limit_of_the_rate_is_kept_in_each_direction() {
    let sandbox = Sandbox::with_archive(&[]);
    sandbox.image("disk.img", 3 * MIB, 1);
    // An eighth of a second's bytes may move at once.
    let shortest = Duration::from_millis(2800);
    let backup = lasts(&sandbox, "limit_up", &["backup", "home", "disk.img"]);
    assert!(backup >= shortest, "{backup:?}");
    let restore = ["restore", "home", "disk.img", "--to", "out.img"];
    let restore = lasts(&sandbox, "limit_down", &restore);
    assert!(restore >= shortest, "{restore:?}");
    assert_eq!(
        std::fs::read(sandbox.path("out.img")).unwrap(),
        noise(3 * MIB, 1)
    );
}
