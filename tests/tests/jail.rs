// SPDX-License-Identifier: GPL-3.0-or-later
//! Each system call filter kills a role that makes a forbidden call, and otherwise lets it work,
//! panic and exit.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use wyng_tests::programs::program;
use wyng_tests::require::{Component, require};

const SIGSYS: i32 = 31;
const ALL: [&str; 16] = [
    "supervisor",
    "spawner",
    "control",
    "volumes",
    "volumes-by-name",
    "volumes-in-dom0",
    "keyholder",
    "reader",
    "transport",
    "push",
    "prune",
    "fetch",
    "network-push",
    "network-prune",
    "network-fetch",
    "pipes",
];

/// The profiles of stores behind the network.
const NETWORK: [&str; 3] = ["network-push", "network-prune", "network-fetch"];

fn dies(profile: &str, attempt: &str) -> bool {
    // Without an environment, like roles: a backtrace would open files.
    let output = Command::new(program("in-profile"))
        .args([profile, attempt])
        .env_clear()
        .output()
        .unwrap();
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
fn nothing_but_the_spawner_starts_a_program_and_each_makes_only_the_sockets_that_it_needs() {
    for profile in ALL {
        let spawner = profile == "spawner";
        let has_network = spawner || NETWORK.contains(&profile);
        assert_eq!(dies(profile, "execute"), !spawner, "{profile}");
        assert_eq!(dies(profile, "socket"), !has_network, "{profile}");
        assert_eq!(
            dies(profile, "local-socket"),
            !spawner && profile != "volumes-in-dom0",
            "{profile}"
        );
    }
}

#[test]
fn the_volumes_role_clones_and_makes_no_other_ioctl() {
    for profile in ["volumes", "volumes-by-name"] {
        assert!(!dies(profile, "clone"), "{profile}");
        assert!(dies(profile, "ioctl"), "{profile}");
    }
    for profile in [
        "supervisor",
        "control",
        "transport",
        "push",
        "prune",
        "fetch",
        "pipes",
    ] {
        assert!(dies(profile, "clone"), "{profile}");
    }
}

#[test]
fn the_keyholder_makes_no_ioctl_at_all() {
    for attempt in ["clone", "ioctl"] {
        assert!(dies("keyholder", attempt), "{attempt}");
    }
}

#[test]
fn not_even_the_spawner_mounts() {
    for profile in ALL {
        assert!(dies(profile, "mount"), "{profile}");
    }
}

const ENOSYS: i32 = 38;
const EPERM: i32 = 1;
/// Calls that kill a far end, by their numbers on x86-64.
const FORBIDDEN: [(&str, u32); 31] = [
    ("ptrace", 101),
    ("process_vm_readv", 310),
    ("process_vm_writev", 311),
    ("pidfd_getfd", 438),
    ("mount", 165),
    ("umount2", 166),
    ("pivot_root", 155),
    ("open_tree", 428),
    ("move_mount", 429),
    ("fsopen", 430),
    ("fsconfig", 431),
    ("fsmount", 432),
    ("fspick", 433),
    ("mount_setattr", 442),
    ("open_by_handle_at", 304),
    ("init_module", 175),
    ("finit_module", 313),
    ("delete_module", 176),
    ("kexec_load", 246),
    ("kexec_file_load", 320),
    ("bpf", 321),
    ("perf_event_open", 298),
    ("userfaultfd", 323),
    ("reboot", 169),
    ("swapon", 167),
    ("swapoff", 168),
    ("setns", 308),
    ("unshare", 272),
    ("acct", 163),
    ("getpid by its x32 number", 0x4000_0000 + 39),
    ("mount by its x32 number", 0x4000_0000 + 165),
];
/// Calls that fail in a far end as if the kernel lacked them.
const UNKNOWN: [(&str, u32); 7] = [
    ("add_key", 248),
    ("request_key", 249),
    ("keyctl", 250),
    ("io_uring_setup", 425),
    ("io_uring_enter", 426),
    ("io_uring_register", 427),
    ("clone3", 435),
];

/// The result of a system call with this first argument in a far end: the number of an error, 0, or
/// `None` if the call kills it.
fn far_end_hears(call: u32, argument: u32) -> Option<i32> {
    // A child that it should not have made prints nothing.
    let script = "my $own = $$; my $made = syscall($ARGV[0] + 0, $ARGV[1] + 0, 0, 0, 0, 0); my $errno = $made == -1 ? $! + 0 : 0; print $errno if syscall(39) == $own";
    let mut command = Command::new(program("in-profile"));
    command.args([
        "spawner",
        "run",
        "/usr/bin/perl",
        "-e",
        script,
        &call.to_string(),
        &argument.to_string(),
    ]);
    let output = command.env_clear().output().unwrap();
    match (
        output.status.signal(),
        String::from_utf8(output.stdout).unwrap().parse(),
    ) {
        (None, Ok(errno)) => Some(errno),
        (Some(SIGSYS), _) => None,
        (status, said) => panic!(
            "{call}: {status:?} {said:?} {}",
            String::from_utf8_lossy(&output.stderr)
        ),
    }
}

#[test]
fn a_far_end_dies_of_what_only_an_attack_does_and_can_do_without_the_rest() {
    if !require(
        Component::Perl,
        "a_far_end_dies_of_what_only_an_attack_does_and_can_do_without_the_rest",
    ) {
        return;
    }
    assert_eq!(far_end_hears(39, 0), Some(0), "getpid");
    for (name, call) in FORBIDDEN {
        assert_eq!(far_end_hears(call, 0), None, "{name}");
    }
    for (name, call) in UNKNOWN {
        assert_eq!(far_end_hears(call, 0), Some(ENOSYS), "{name}");
    }
    // The flags of user, mount, network, process, IPC, name and control group namespaces, each with
    // the signal of an ending child.
    for namespace in [
        0x1000_0000,
        0x2_0000,
        0x4000_0000,
        0x2000_0000,
        0x800_0000,
        0x400_0000,
        0x200_0000,
    ] {
        assert_eq!(
            far_end_hears(56, namespace | 17),
            Some(EPERM),
            "clone {namespace:#x}"
        );
    }
    assert_eq!(far_end_hears(56, 17), Some(0), "a process like any other");
}

#[test]
fn the_reader_opens_files_and_changes_none() {
    assert!(!dies("reader", "open"));
    for attempt in [
        "open-for-writing",
        "make-file",
        "make-folder",
        "remove",
        "rename",
        "ioctl",
        "clone",
    ] {
        assert!(dies("reader", attempt), "{attempt}");
        assert!(
            !dies("spawner", attempt),
            "{attempt} is what the filter refuses, not what the system does"
        );
    }
}

#[test]
fn a_helper_of_the_network_opens_no_file_and_lives_on() {
    for profile in NETWORK {
        // The C library's allocator tries, and can do without.
        assert!(!dies(profile, "open-in-vain"), "{profile}");
        for attempt in ["make-folder", "remove", "rename", "ioctl", "clone"] {
            assert!(dies(profile, attempt), "{profile} {attempt}");
        }
    }
}

#[test]
fn who_gets_descriptors_opens_no_path() {
    for profile in ["supervisor", "control", "volumes", "transport"] {
        assert!(dies(profile, "open"), "{profile}");
    }
}

#[test]
fn the_helper_with_pipes_alone_opens_no_file_and_lives() {
    assert!(!dies("pipes", "open-in-vain"));
}
