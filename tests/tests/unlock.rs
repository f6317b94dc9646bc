// SPDX-License-Identifier: GPL-3.0-or-later
//! `unlock` and `lock`, and the secrets in the keyholder's memory before and after.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Instant;

use wyng_control::{BackupSource, Command};
use wyng_tests::raw_client::RawClient;
use wyng_tests::require::{Component, require};
use wyng_tests::sandbox::{Outcome, PASSPHRASE, Sandbox, noise};
use wyng_tests::second_reader::SecondReader;
use wyng_tests::service::{Service, until};

const IMAGE_BYTES: usize = 300_000;

/// A service with an archive of one session, and a wrong passphrase.
fn with_session() -> (Sandbox, Service, String) {
    let mut sandbox = Sandbox::with_archive(&[]);
    sandbox.image("disk.img", IMAGE_BYTES, 1);
    let service = Service::start(&mut sandbox);
    sandbox.wyng(&["backup", "home", "disk.img"]).success();
    let wrong = sandbox.text("wrong", "not it\n");
    (sandbox, service, wrong)
}

/// Restores with a wrong passphrase: if it is requested, the restore is refused.
fn restore(sandbox: &Sandbox, wrong: &str) -> Outcome {
    let target = sandbox.path("restored");
    let _ = std::fs::remove_file(&target);
    let outcome = sandbox.wyng(&[
        "restore",
        "home",
        "disk.img",
        "--to",
        target.to_str().unwrap(),
        "--passphrase-file",
        wrong,
    ]);
    if outcome.status == 0 {
        assert!(std::fs::read(target).unwrap() == noise(IMAGE_BYTES, 1));
    }
    outcome
}

#[test]
fn an_unlocked_archive_restores_without_the_passphrase_until_it_is_locked() {
    let (sandbox, _service, wrong) = with_session();
    assert_eq!(
        restore(&sandbox, &wrong).expect(4).codes(),
        ["wrong-passphrase"]
    );
    sandbox
        .wyng(&["unlock", "home", "--passphrase-file", &wrong])
        .expect(4);
    restore(&sandbox, &wrong).expect(4);
    let until = sandbox
        .wyng(&["unlock", "home", "--for", "1h"])
        .success()
        .json["until"]
        .clone();
    assert!(until.is_string());
    restore(&sandbox, &wrong).success();
    sandbox
        .wyng(&["verify", "home", "--deep", "--passphrase-file", &wrong])
        .success();
    // Commands about the passphrase itself request it.
    sandbox
        .wyng(&["key", "check", "home", "--passphrase-file", &wrong])
        .expect(4);
    sandbox
        .wyng(&["unlock", "home", "--passphrase-file", &wrong])
        .expect(4);
    sandbox.wyng(&["lock", "home"]).success();
    restore(&sandbox, &wrong).expect(4);
    sandbox.wyng(&["unlock", "home"]).success();
    sandbox.wyng(&["lock"]).success();
    restore(&sandbox, &wrong).expect(4);
}

#[test]
fn the_key_is_kept_no_longer_than_was_asked_for() {
    let (sandbox, _service, wrong) = with_session();
    sandbox.wyng(&["unlock", "home", "--for", "1h"]).success();
    let begun = Instant::now();
    sandbox.wyng(&["unlock", "home", "--for", "3s"]).success();
    restore(&sandbox, &wrong).success();
    until("the key is no longer kept", || {
        restore(&sandbox, &wrong).status == 4
    });
    assert!(begun.elapsed().as_secs() >= 3);
}

#[test]
fn an_archive_that_is_forgotten_leaves_no_key() {
    let (sandbox, _service, wrong) = with_session();
    sandbox.wyng(&["unlock", "home"]).success();
    sandbox.wyng(&["archive", "forget", "home"]).success();
    let store = format!("dir:{}", sandbox.store().display());
    sandbox
        .wyng(&["archive", "open", "home", "--store", &store])
        .success();
    restore(&sandbox, &wrong).expect(4);
}

#[test]
fn a_private_daemon_cannot_be_unlocked_and_no_time_is_too_long_or_none() {
    let sandbox = Sandbox::with_archive(&[]);
    sandbox.wyng(&["unlock", "home"]).expect(2);
    sandbox.wyng(&["lock"]).expect(2);
    for time in ["0s", "25h", "-1s", "soon"] {
        sandbox
            .wyng(&["unlock", "home", &format!("--for={time}")])
            .expect(2);
    }
}

/// The secrets in the memory of a process, in all readable mappings, mapped files included.
fn found(process: u32, secrets: &[(String, Vec<u8>)]) -> Vec<String> {
    let memory = File::open(format!("/proc/{process}/mem")).unwrap();
    let mut names = Vec::new();
    let mut read = 0_usize;
    for line in std::fs::read_to_string(format!("/proc/{process}/maps"))
        .unwrap()
        .lines()
    {
        let mut words = line.split_whitespace();
        let (first, end) = words.next().unwrap().split_once('-').unwrap();
        let (first, end) = (
            u64::from_str_radix(first, 16).unwrap(),
            u64::from_str_radix(end, 16).unwrap(),
        );
        if !words.next().unwrap().starts_with('r')
            || line.contains("[vvar")
            || line.contains("[vsyscall]")
        {
            continue;
        }
        let mut bytes = vec![0; usize::try_from(end - first).unwrap()];
        memory.read_exact_at(&mut bytes, first).unwrap();
        read += bytes.len();
        for (name, secret) in secrets {
            if bytes.windows(secret.len()).any(|window| window == secret) {
                names.push(format!("{name} in {line}"));
            }
        }
    }
    assert!(read > 1 << 20, "{read} bytes were read");
    names
}

#[test]
fn the_keyholders_memory_has_no_secret_in_it_that_it_does_not_need() {
    let test = "the_keyholders_memory_has_no_secret_in_it_that_it_does_not_need";
    if !require(Component::Root, test) {
        return;
    }
    let Some(reader) = SecondReader::ready(test) else {
        return;
    };
    let mut sandbox = Sandbox::new();
    sandbox.image("disk.img", IMAGE_BYTES, 1);
    let service = Service::start(&mut sandbox);
    // Also secrets that were made in the same process: ROOT was drawn here.
    sandbox.create("home", &[]).success();
    sandbox.wyng(&["backup", "home", "disk.img"]).success();
    let mut secrets = reader.secrets(&sandbox.store(), &sandbox.path("passphrase"));
    assert_eq!(
        secrets.len(),
        5,
        "passphrase, ROOT, data key twice and one session key"
    );
    assert!(
        secrets
            .iter()
            .any(|(_, secret)| secret == PASSPHRASE.as_bytes())
    );
    // One data key in 32 has the same bytes before and after clamping.
    secrets.dedup_by(|later, earlier| later.1 == earlier.1);
    let keyholder = service.role("keyholder");
    assert_eq!(found(keyholder, &secrets), [""; 0], "after a backup");

    sandbox.wyng(&["unlock", "home"]).success();
    let kept = found(keyholder, &secrets);
    assert!(
        kept.len() == 1
            && kept
                .iter()
                .all(|place| place.starts_with("the data key in")),
        "while unlocked: {kept:?}"
    );
    let target = sandbox.path("restored");
    sandbox
        .wyng(&[
            "restore",
            "home",
            "disk.img",
            "--to",
            target.to_str().unwrap(),
        ])
        .success();
    sandbox.wyng(&["lock"]).success();
    assert_eq!(found(keyholder, &secrets), [""; 0], "after lock");

    // Also during a running command, whose client has not opened its source yet.
    sandbox.wyng(&["unlock", "home"]).success();
    let sources = vec![BackupSource {
        volume: "a".into(),
        named: true,
        configured: false,
    }];
    let backup = Command::Backup {
        archive: "home".into(),
        sources,
        qubes: wyng_control::QubeChoice::default(),
        skip_unchanged: false,
        dry_run: false,
        live: false,
        heal: false,
        unattended: None,
        verify: false,
        max_new_bytes: None,
        prune_after: None,
    };
    let client = RawClient::start(&sandbox.path("socket"), backup);
    client.hear_question();
    sandbox.wyng(&["lock", "home"]).success();
    assert_eq!(
        found(keyholder, &secrets),
        [""; 0],
        "after lock, while a backup runs"
    );
}
