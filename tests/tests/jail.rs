// SPDX-License-Identifier: GPL-3.0-or-later
//! Each system call filter kills what its role has no business to do, and lets it live, panic and end otherwise.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use wyng_tests::programs::program;

const SIGSYS: i32 = 31;
const ALL: [&str; 11] = [
    "supervisor",
    "spawner",
    "control",
    "volumes",
    "volumes-by-name",
    "volumes-in-dom0",
    "keyholder",
    "transport",
    "push",
    "prune",
    "fetch",
];

fn dies(profile: &str, attempt: &str) -> bool {
    // Without the environment, as roles are started: no backtrace is made, which would open files.
    let output = Command::new(program("in-profile")).args([profile, attempt]).env_clear().output().unwrap();
    let alive = String::from_utf8_lossy(&output.stdout).contains("alive");
    match (alive, output.status.signal()) {
        (true, None) => false,
        (false, Some(SIGSYS)) => true,
        _ => panic!("{profile} {attempt}: {output:?}"),
    }
}

#[test]
fn every_profile_lives_ends_and_panics_in_peace() {
    for profile in ALL {
        assert!(!dies(profile, "nothing"), "{profile}");
        assert!(!dies(profile, "panic"), "{profile}");
    }
}

#[test]
fn nothing_but_the_spawner_starts_a_program_or_makes_a_socket_and_dom0s_volumes_a_local_one() {
    for profile in ALL {
        let spawner = profile == "spawner";
        assert_eq!(dies(profile, "execute"), !spawner, "{profile}");
        assert_eq!(dies(profile, "socket"), !spawner, "{profile}");
        assert_eq!(dies(profile, "local-socket"), !spawner && profile != "volumes-in-dom0", "{profile}");
    }
}

#[test]
fn the_volumes_role_clones_and_makes_no_other_ioctl() {
    for profile in ["volumes", "volumes-by-name"] {
        assert!(!dies(profile, "clone"), "{profile}");
        assert!(dies(profile, "ioctl"), "{profile}");
    }
    for profile in ["supervisor", "control", "transport", "push", "prune", "fetch"] {
        assert!(dies(profile, "clone"), "{profile}");
    }
}

#[test]
fn not_even_the_spawner_mounts() {
    for profile in ALL {
        assert!(dies(profile, "mount"), "{profile}");
    }
}

#[test]
fn who_gets_descriptors_opens_no_path() {
    for profile in ["supervisor", "control", "volumes", "transport"] {
        assert!(dies(profile, "open"), "{profile}");
    }
}
