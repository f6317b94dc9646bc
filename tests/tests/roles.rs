// SPDX-License-Identifier: GPL-3.0-or-later
//! The roles as processes: what /proc shows of each during a backup is what `wyngd/src/roles.rs` says.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use wyng_tests::require::{Component, require};
use wyng_tests::sandbox::Sandbox;
use wyngd::roles::{ROLES, Role};

const MIB: usize = 1 << 20;

/// A backup that has begun to read, stopped: every process of it stands still until it is told to go on.
struct StoppedBackup {
    wyng_ctl: Child,
    /// By role name; the supervisor among them.
    processes: BTreeMap<String, u32>,
    _sandbox: Sandbox,
}

impl StoppedBackup {
    fn begin() -> Self {
        let sandbox = Sandbox::with_archive(&[]);
        sandbox.image("disk.img", 512 * MIB, 1);
        let mut command = sandbox.command(&["backup", "home", "disk.img", "--progress", "json"]);
        let mut wyng_ctl = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(wyng_ctl.stderr.take().unwrap()).lines();
        // The far end is there when the second batch is reported.
        assert!(lines.by_ref().take(2).all(|line| line.unwrap().contains("reading")));
        let processes = descendants(wyng_ctl.id());
        for process in processes.values() {
            signal(*process, rustix::process::Signal::STOP);
        }
        // From here on nobody reads progress; the backup is killed in the end.
        Self { wyng_ctl, processes, _sandbox: sandbox }
    }

    fn of(&self, role: Role) -> u32 {
        self.processes[&format!("wyngd: {}", role.name())]
    }
}

impl Drop for StoppedBackup {
    fn drop(&mut self) {
        let _ = self.wyng_ctl.kill();
        let _ = self.wyng_ctl.wait();
    }
}

fn signal(process: u32, signal: rustix::process::Signal) {
    let process = rustix::process::Pid::from_raw(i32::try_from(process).unwrap()).unwrap();
    let _ = rustix::process::kill_process(process, signal);
}

fn descendants(ancestor: u32) -> BTreeMap<String, u32> {
    let mut parents = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").unwrap() {
        let Ok(process) = entry.unwrap().file_name().to_string_lossy().parse::<u32>() else { continue };
        let Some(parent) = status(process, "PPid").and_then(|parent| parent.parse::<u32>().ok()) else { continue };
        parents.insert(process, parent);
    }
    let is_below = |mut process: u32| {
        while let Some(parent) = parents.get(&process) {
            if *parent == ancestor {
                return true;
            }
            process = *parent;
        }
        false
    };
    let title = |process: u32| {
        let line = std::fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(line.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
    };
    parents.keys().filter(|process| is_below(**process)).map(|process| (title(*process), *process)).collect()
}

fn status(process: u32, field: &str) -> Option<String> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with(&format!("{field}:")))?;
    Some(line.split_whitespace().nth(1)?.to_owned())
}

fn descriptors(process: u32) -> BTreeSet<i32> {
    let folder = std::fs::read_dir(format!("/proc/{process}/fd")).unwrap();
    folder.map(|entry| entry.unwrap().file_name().to_string_lossy().parse().unwrap()).collect()
}

fn network(process: &str) -> std::path::PathBuf {
    std::fs::read_link(format!("/proc/{process}/ns/net")).unwrap()
}

#[test]
fn every_role_is_a_process_with_its_name_its_descriptors_and_its_jail() {
    let test = "every_role_is_a_process_with_its_name_its_descriptors_and_its_jail";
    // Only root may look into processes that have made themselves undumpable, and has a network namespace to give.
    if !require(Component::Root, test) {
        return;
    }
    let backup = StoppedBackup::begin();
    for role in ROLES {
        let process = backup.of(role);
        assert_eq!(status(process, "NoNewPrivs").as_deref(), Some("1"), "{role:?}");
        assert_eq!(status(process, "Seccomp").as_deref(), Some("2"), "{role:?} has a filter");
        if role != Role::Spawner {
            // The spawner's children may need the network; it has none of ours.
            assert_ne!(network(&process.to_string()), network("self"), "{role:?} has a network namespace of its own");
        }
        let declared: BTreeSet<i32> = (0..=2).chain(role.peers().map(|peer| role.wire_to(peer).unwrap())).chain(role.extra()).collect();
        let held = descriptors(process);
        let beyond: BTreeSet<i32> = held.difference(&declared).copied().collect();
        let most = match role {
            Role::Control | Role::Volumes => 0,
            Role::Spawner => 2,    // the far end's pidfd and standard error
            Role::Transport => 34, // two pipe ends, and blobs on their way
            Role::Keyholder => 24, // one source, files of the state, blobs that are being filled
        };
        assert!(beyond.len() <= most, "{role:?} holds {beyond:?} beyond what roles.rs gives it");
        assert!(declared.is_subset(&held), "{role:?} lacks {:?}", declared.difference(&held));
    }
}

#[test]
fn the_keyholders_memory_is_locked_and_cannot_be_dumped() {
    let test = "the_keyholders_memory_is_locked_and_cannot_be_dumped";
    if !require(Component::Root, test) {
        return;
    }
    let backup = StoppedBackup::begin();
    let keyholder = backup.of(Role::Keyholder);
    let locked: u64 = status(keyholder, "VmLck").unwrap().parse().unwrap();
    assert!(locked > 1000, "{locked} KiB are locked");
    let limits = std::fs::read_to_string(format!("/proc/{keyholder}/limits")).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert!(core.split_whitespace().filter(|word| *word == "0").count() >= 2, "{core}");
    let held = descriptors(keyholder).into_iter().filter(|descriptor| *descriptor > 2);
    let links: Vec<_> = held.map(|descriptor| std::fs::read_link(format!("/proc/{keyholder}/fd/{descriptor}")).unwrap()).collect();
    assert!(links.len() > 3 && !links.iter().any(|link| link.to_string_lossy().starts_with("pipe:")), "no pipe to the far end: {links:?}");
}

#[test]
fn no_process_is_left_when_wyng_ctl_is_killed() {
    let mut backup = StoppedBackup::begin();
    for process in backup.processes.values() {
        signal(*process, rustix::process::Signal::CONT);
    }
    backup.wyng_ctl.kill().unwrap();
    backup.wyng_ctl.wait().unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    let is_there = |process: &u32| !matches!(status(*process, "State").as_deref(), None | Some("Z"));
    while backup.processes.values().any(is_there) {
        assert!(std::time::Instant::now() < deadline, "still there: {:?}", backup.processes);
        std::thread::yield_now();
    }
}

#[test]
fn what_could_not_be_enforced_is_told_by_status() {
    let sandbox = Sandbox::with_archive(&[]);
    let outcome = sandbox.wyng(&["status"]);
    outcome.success();
    assert!(outcome.json["unenforced"].is_array());
}
