// SPDX-License-Identifier: GPL-3.0-or-later
//! The roles as processes: /proc shows for each role during a backup what `wyngd/src/roles.rs`
//! says.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use wyng_jail::CapabilitySet;
use wyng_tests::disk::run;
use wyng_tests::require::{Component, require};
use wyng_tests::sandbox::{Outcome, Sandbox, create_home, files_below, noise};
use wyng_tests::service::{Service, until};
use wyngd::roles::{ROLES, Role, RunsAs, SUPERVISOR_CAPABILITIES};

const MIB: usize = 1 << 20;

/// A backup that has begun to read, stopped: all its processes stand still until they are
/// continued.
struct StoppedBackup {
    wyng_ctl: Child,
    /// The processes by the names of their roles, the supervisor included.
    processes: BTreeMap<String, u32>,
    _service: Option<Service>,
    sandbox: Sandbox,
}

impl StoppedBackup {
    /// With a private daemon.
    fn begin() -> Self {
        Self::in_sandbox(Sandbox::with_archive(&[]), None)
    }

    /// With a running daemon.
    fn in_service() -> Self {
        let mut sandbox = Sandbox::new();
        let service = Service::start(&mut sandbox);
        sandbox.create("home", &[]).success();
        Self::in_sandbox(sandbox, Some(service))
    }

    fn in_sandbox(sandbox: Sandbox, service: Option<Service>) -> Self {
        sandbox.image("disk.img", 512 * MIB, 1);
        let mut command = sandbox.command(&["backup", "home", "disk.img", "--progress", "json"]);
        let mut wyng_ctl = command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(wyng_ctl.stderr.take().unwrap()).lines();
        // The far end is there when the second batch is reported.
        assert!(
            lines
                .by_ref()
                .take(2)
                .all(|line| line.unwrap().contains("reading"))
        );
        let processes = descendants(
            service
                .as_ref()
                .map_or(wyng_ctl.id(), |_| std::process::id()),
        );
        let processes: BTreeMap<_, _> = processes
            .into_iter()
            .filter(|(title, _)| title.contains("wyng"))
            .collect();
        for process in processes.values() {
            signal(*process, rustix::process::Signal::STOP);
        }
        // From here on progress is not read; the backup is killed at the end.
        Self {
            wyng_ctl,
            processes,
            _service: service,
            sandbox,
        }
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
        let Ok(process) = entry.unwrap().file_name().to_string_lossy().parse::<u32>() else {
            continue;
        };
        let Some(parent) = status(process, "PPid").and_then(|parent| parent.parse::<u32>().ok())
        else {
            continue;
        };
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
        String::from_utf8_lossy(line.split(|byte| *byte == 0).next().unwrap_or_default())
            .into_owned()
    };
    parents
        .keys()
        .filter(|process| is_below(**process))
        .map(|process| (title(*process), *process))
        .collect()
}

/// All numbers of a line.
fn every(process: u32, field: &str) -> Vec<u32> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(&format!("{field}:")))
        .unwrap();
    line.split_whitespace()
        .map(|number| number.parse().unwrap())
        .collect()
}

fn status(process: u32, field: &str) -> Option<String> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status
        .lines()
        .find(|line| line.starts_with(&format!("{field}:")))?;
    Some(line.split_whitespace().nth(1)?.to_owned())
}

/// A line of capabilities, by its name in `/proc`.
fn capabilities(process: u32, field: &str) -> CapabilitySet {
    CapabilitySet::from_bits_retain(
        u64::from_str_radix(&status(process, field).unwrap(), 16).unwrap(),
    )
}

/// Checks that a process, and any program that it starts, has exactly these capabilities.
fn assert_holds(process: u32, allowed: CapabilitySet, who: &str) {
    assert_eq!(capabilities(process, "CapEff"), allowed, "{who}");
    assert_eq!(capabilities(process, "CapPrm"), allowed, "{who}");
    assert_eq!(capabilities(process, "CapBnd"), allowed, "{who}");
    assert_eq!(
        capabilities(process, "CapInh") | capabilities(process, "CapAmb"),
        CapabilitySet::empty(),
        "{who}"
    );
}

/// The targets of all descriptors of a process, in the kernel's words.
fn descriptors(process: u32) -> BTreeMap<i32, String> {
    let folder = std::fs::read_dir(format!("/proc/{process}/fd")).unwrap();
    let each = folder.map(|entry| {
        let entry = entry.unwrap();
        let what = std::fs::read_link(entry.path()).unwrap();
        (
            entry.file_name().to_string_lossy().parse().unwrap(),
            what.to_string_lossy().into_owned(),
        )
    });
    each.collect()
}

fn network(process: &str) -> std::path::PathBuf {
    std::fs::read_link(format!("/proc/{process}/ns/net")).unwrap()
}

#[test]
fn every_role_is_a_process_with_its_name_its_descriptors_and_its_jail() {
    let test = "every_role_is_a_process_with_its_name_its_descriptors_and_its_jail";
    // Only root can examine processes that have made themselves undumpable, and can enter a network
    // namespace.
    if !require(Component::Root, test) {
        return;
    }
    let backup = StoppedBackup::begin();
    for role in ROLES {
        let process = backup.of(role);
        assert_eq!(
            status(process, "NoNewPrivs").as_deref(),
            Some("1"),
            "{role:?}"
        );
        assert_eq!(
            status(process, "Seccomp").as_deref(),
            Some("2"),
            "{role:?} has a filter"
        );
        assert_eq!(
            status(process, "SigBlk").as_deref(),
            Some("0000000000000000"),
            "{role:?} has no signal blocked, though the supervisor hears some"
        );
        if role != Role::Spawner {
            // The spawner's children may need the network.
            assert_ne!(
                network(&process.to_string()),
                network("self"),
                "{role:?} has a network namespace of its own"
            );
        }
        let state = backup.sandbox.state();
        let mut held = descriptors(process);
        for place in role.peers().map(|peer| role.wire_to(peer).unwrap()) {
            let found = held.remove(&place);
            assert!(
                found
                    .as_ref()
                    .is_some_and(|what| what.starts_with("socket:")),
                "{role:?} has no wire at {place}: {found:?}"
            );
        }
        let extra = role.extra().map(|place| held.remove(&place).unwrap());
        match role {
            Role::Control => assert!(
                extra.unwrap().starts_with("socket:"),
                "control has its client"
            ),
            Role::Keyholder | Role::Reader => assert_eq!(
                Path::new(&extra.unwrap()),
                state,
                "{role:?} has the state directory"
            ),
            Role::Spawner | Role::Volumes | Role::Pool | Role::Transport => {
                assert_eq!(extra, None)
            }
        }
        held.retain(|place, _| *place > 2);
        for (kind, most) in may_hold(role) {
            let of_it: Vec<i32> = held
                .iter()
                .filter(|(_, what)| is_of(kind, what, &backup.sandbox))
                .map(|(place, _)| *place)
                .collect();
            assert!(
                of_it.len() <= most,
                "{role:?} holds {of_it:?} of {kind:?}, and may hold {most}"
            );
            held.retain(|place, _| !of_it.contains(place));
        }
        assert!(
            held.is_empty(),
            "{role:?} holds what roles.rs does not give it: {held:?}"
        );
    }
}

/// The kind of a descriptor's target.
#[derive(Debug, Clone, Copy)]
enum Held {
    Process,
    Pipe,
    MemoryFile,
    Source,
    State,
}

/// The descriptors that a role holds for a backup besides its wires, and the maximum number of each
/// kind.
fn may_hold(role: Role) -> Vec<(Held, usize)> {
    match role {
        Role::Control | Role::Volumes | Role::Pool | Role::Reader => Vec::new(),
        // The far end, and its standard error.
        Role::Spawner => vec![(Held::Process, 1), (Held::Pipe, 1)],
        // The far end's input and output, and blobs on their way.
        Role::Transport => vec![(Held::Pipe, 2), (Held::MemoryFile, 32)],
        // Blobs that are being filled.
        Role::Keyholder => vec![(Held::Source, 1), (Held::State, 16), (Held::MemoryFile, 16)],
    }
}

fn is_of(kind: Held, what: &str, sandbox: &Sandbox) -> bool {
    match kind {
        Held::Process => what == "anon_inode:[pidfd]",
        Held::Pipe => what.starts_with("pipe:"),
        Held::MemoryFile => what.starts_with("/memfd:"),
        Held::Source => Path::new(what) == sandbox.path("disk.img"),
        Held::State => Path::new(what).starts_with(sandbox.state()),
    }
}

/// The niceness of a process, and its I/O class.
fn turn(process: u32) -> (i32, String) {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let niceness = stat
        .rsplit_once(')')
        .unwrap()
        .1
        .split_whitespace()
        .nth(16)
        .unwrap()
        .parse()
        .unwrap();
    let class = Command::new("ionice")
        .arg("-p")
        .arg(process.to_string())
        .output()
        .unwrap()
        .stdout;
    (
        niceness,
        String::from_utf8(class)
            .unwrap()
            .split([':', '\n'])
            .next()
            .unwrap()
            .to_owned(),
    )
}

#[test]
fn who_works_for_a_backup_lets_everybody_else_go_first() {
    if !require(
        Component::Ionice,
        "who_works_for_a_backup_lets_everybody_else_go_first",
    ) {
        return;
    }
    let backup = StoppedBackup::begin();
    let far_end = *backup
        .processes
        .iter()
        .find(|(title, _)| title.contains("wyng-transport-vm"))
        .unwrap()
        .1;
    let (own, usual) = turn(std::process::id());
    assert_eq!(
        turn(backup.of(Role::Control)),
        (own, usual),
        "a person waits for control"
    );
    for role in [
        Role::Spawner,
        Role::Volumes,
        Role::Keyholder,
        Role::Transport,
    ] {
        assert_eq!(turn(backup.of(role)).0, own.max(10), "{role:?}");
    }
    assert_eq!(
        turn(backup.of(Role::Keyholder)).1,
        "idle",
        "who reads the source"
    );
    assert_eq!(
        turn(far_end),
        (own.max(10), "idle".to_owned()),
        "who writes the store"
    );
}

#[test]
fn a_restore_waits_for_the_processor_but_is_not_starved_of_the_disk() {
    if !require(
        Component::Ionice,
        "a_restore_waits_for_the_processor_but_is_not_starved_of_the_disk",
    ) {
        return;
    }
    let sandbox = Sandbox::with_archive(&[]);
    let image = sandbox.image("disk.img", 8 * MIB, 1);
    sandbox
        .wyng(&["backup", "home", image.to_str().unwrap()])
        .success();
    // Its output is not read, so it stands still.
    let mut restore = sandbox
        .command(&["restore", "home", "disk.img", "--to", "-"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut processes = BTreeMap::new();
    until("the far end runs", || {
        processes = descendants(restore.id());
        processes
            .keys()
            .any(|title| title.contains("wyng-transport-vm"))
    });
    let (own, usual) = turn(std::process::id());
    for (title, process) in processes
        .iter()
        .filter(|(title, _)| title.contains("keyholder") || title.contains("wyng-transport-vm"))
    {
        assert_eq!(turn(*process), (own.max(10), usual.clone()), "{title}");
    }
    restore.kill().unwrap();
    restore.wait().unwrap();
}

#[test]
fn a_private_daemon_of_roots_stays_root_with_few_capabilities() {
    let test = "a_private_daemon_of_roots_stays_root_with_few_capabilities";
    if !require(Component::Root, test) {
        return;
    }
    let backup = StoppedBackup::begin();
    for role in ROLES {
        let process = backup.of(role);
        assert_eq!(status(process, "Uid").as_deref(), Some("0"), "{role:?}");
        assert_holds(process, role.capabilities(RunsAs::Root), role.name());
    }
    let far_end = backup
        .processes
        .iter()
        .find(|(title, _)| title.ends_with("wyng-transport-vm"))
        .unwrap();
    assert_holds(
        *far_end.1,
        Role::Spawner.capabilities(RunsAs::Root),
        "a far end has no more than the spawner",
    );
}

#[test]
fn in_a_service_roles_have_users_of_their_own_and_share_the_state_with_nobody() {
    let test = "in_a_service_roles_have_users_of_their_own_and_share_the_state_with_nobody";
    if !require(Component::Users, test) {
        return;
    }
    let backup = StoppedBackup::in_service();
    let supervisor = backup
        .processes
        .iter()
        .find(|(title, _)| title.ends_with("/wyngd"))
        .unwrap();
    assert_holds(*supervisor.1, SUPERVISOR_CAPABILITIES, "supervisor");
    assert_eq!(status(*supervisor.1, "Seccomp").as_deref(), Some("2"));
    for role in ROLES {
        let process = backup.of(role);
        let user = role
            .user()
            .map(|name| wyng_jail::find_user(name).unwrap().unwrap());
        let (uid, gid) = user.map_or((0, 0), |user| (user.uid.as_raw(), user.gid.as_raw()));
        assert_eq!(every(process, "Uid"), vec![uid; 4], "{role:?}");
        assert_eq!(every(process, "Gid"), vec![gid; 4], "{role:?}");
        if user.is_some() {
            assert_eq!(every(process, "Groups"), [0; 0], "{role:?}");
        }
        let runs_as = user.map_or(RunsAs::Root, |_| RunsAs::OwnUser);
        assert_holds(process, role.capabilities(runs_as), role.name());
        assert_eq!(
            status(process, "NoNewPrivs").as_deref(),
            Some("1"),
            "{role:?}"
        );
        assert_eq!(status(process, "Seccomp").as_deref(), Some("2"), "{role:?}");
    }
    let locked: u64 = status(backup.of(Role::Keyholder), "VmLck")
        .unwrap()
        .parse()
        .unwrap();
    assert!(locked > 1000, "{locked} KiB are locked");
    let keys = wyng_jail::find_user(Role::Keyholder.user().unwrap())
        .unwrap()
        .unwrap()
        .uid
        .as_raw();
    for file in files_below(&backup.sandbox.state()) {
        assert_eq!(
            std::fs::symlink_metadata(&file).unwrap().uid(),
            keys,
            "{}",
            file.display()
        );
    }
    assert_eq!(
        std::fs::metadata(backup.sandbox.path("socket"))
            .unwrap()
            .mode()
            & 0o777,
        0o660
    );
}

#[test]
fn the_state_goes_from_a_private_daemon_of_roots_to_the_service_and_back() {
    let test = "the_state_goes_from_a_private_daemon_of_roots_to_the_service_and_back";
    if !require(Component::Users, test) {
        return;
    }
    let mut sandbox = Sandbox::with_archive(&[]);
    sandbox.image("disk.img", 3 * MIB, 1);
    sandbox.wyng(&["backup", "home", "disk.img"]).success();
    let service = Service::start(&mut sandbox);
    sandbox.wyng(&["backup", "home", "disk.img"]).success();
    service.stop();
    sandbox.talk_to_nobody();
    sandbox.wyng(&["backup", "home", "disk.img"]).success();
    let _service = Service::start(&mut sandbox);
    let session = sandbox
        .wyng(&["backup", "home", "disk.img"])
        .success()
        .session(0);
    sandbox.assert_restores("disk.img", &session, &noise(3 * MIB, 1));
}

#[test]
fn a_role_that_makes_a_forbidden_call_dies_of_it_and_the_daemon_ends() {
    let test = "a_role_that_makes_a_forbidden_call_dies_of_it_and_the_daemon_ends";
    if !(require(Component::Root, test) && require(Component::Strace, test)) {
        return;
    }
    // The spawner's filter lists forbidden calls; jail.rs tests it.
    for role in [
        Role::Control,
        Role::Volumes,
        Role::Keyholder,
        Role::Reader,
        Role::Transport,
    ] {
        let mut sandbox = Sandbox::new();
        let service = Service::start(&mut sandbox);
        sandbox.create("home", &[]).success();
        sandbox.image("disk.img", 3 * MIB, 1);
        let trace = sandbox.path("trace");
        // In place of the next message that it sends: a call that no role makes.
        let mut strace = traced(
            service.role(role.name()),
            "inject=sendmsg:retval=1:syscall=getppid:when=1",
            &trace,
        );
        let command = if role == Role::Reader {
            ["list", "home"].as_slice()
        } else {
            &["backup", "home", "disk.img"]
        };
        let codes = sandbox.wyng(command).expect(1).codes();
        strace.wait().unwrap();
        let seen = std::fs::read_to_string(trace).unwrap();
        assert!(seen.contains("+++ killed by SIGSYS"), "{role:?}: {seen}");
        // The keyholder may still report that a wire broke before it is killed too.
        let broken = |code: &String| ["daemon-lost", "internal"].contains(&code.as_str());
        assert!(
            !codes.is_empty() && codes.iter().all(broken),
            "{role:?}: {codes:?}"
        );
    }
}

#[test]
fn a_keyholder_without_memory_aborts_under_its_filter() {
    let test = "a_keyholder_without_memory_aborts_under_its_filter";
    if !(require(Component::Root, test) && require(Component::Strace, test)) {
        return;
    }
    let mut backup = StoppedBackup::begin();
    let keyholder = backup.of(Role::Keyholder);
    // Not the whole address space: the stack may still grow, else the process could not even abort.
    run(Command::new("prlimit")
        .arg("--data=1048576")
        .arg("--pid")
        .arg(keyholder.to_string()));
    let trace = backup.sandbox.path("trace");
    let mut strace = traced(keyholder, "trace=none", &trace);
    for process in backup.processes.values() {
        signal(*process, rustix::process::Signal::CONT);
    }
    strace.wait().unwrap();
    let seen = std::fs::read_to_string(trace).unwrap();
    assert!(
        seen.contains("+++ killed by SIGABRT"),
        "not by the filter: {seen}"
    );
    assert!(!backup.wyng_ctl.wait().unwrap().success());
}

/// `strace`, attached to a running process.
fn traced(process: u32, what: &str, trace: &Path) -> Child {
    let mut strace = Command::new("strace");
    strace
        .args(["-f", "-o"])
        .arg(trace)
        .args(["-e", what, "-p"])
        .arg(process.to_string());
    let mut strace = strace.stderr(Stdio::piped()).spawn().unwrap();
    let mut attached = String::new();
    BufReader::new(strace.stderr.take().unwrap())
        .read_line(&mut attached)
        .unwrap();
    assert!(attached.contains("attached"), "{attached}");
    strace
}

#[test]
fn what_an_ordinary_user_cannot_lock_is_told_and_the_work_goes_on() {
    let test = "what_an_ordinary_user_cannot_lock_is_told_and_the_work_goes_on";
    if !require(Component::Root, test) {
        return;
    }
    let sandbox = Sandbox::new();
    sandbox.image("disk.img", 3 * MIB, 1);
    sandbox.open_to_everybody();
    let run = |arguments: &[&str]| {
        let command = sandbox.command(arguments);
        let mut limited = Command::new("prlimit");
        limited.arg("--memlock=1048576").args([
            "setpriv",
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
        ]);
        limited
            .arg(command.get_program())
            .args(command.get_args())
            .current_dir(command.get_current_dir().unwrap());
        Outcome::of(limited.stdin(Stdio::null()).output().unwrap())
    };
    let store = format!("dir:{}", sandbox.store().display());
    run(&create_home(&store)).success();
    run(&["backup", "home", "disk.img"]).success();
    run(&["restore", "home", "disk.img", "--to", "restored.img"]).success();
    assert!(std::fs::read(sandbox.path("restored.img")).unwrap() == noise(3 * MIB, 1));
    let status = run(&["status"]);
    let told = status.success().json["unenforced"]
        .as_array()
        .unwrap()
        .clone();
    let locked: BTreeMap<&str, &str> = told
        .iter()
        .filter(|told| told["protection"] == "locked memory")
        .map(|told| {
            (
                told["role"].as_str().unwrap(),
                told["reason"].as_str().unwrap(),
            )
        })
        .collect();
    let reason = "only 1048576 bytes may be locked";
    assert_eq!(
        locked,
        BTreeMap::from([("keyholder", reason), ("reader", reason)])
    );
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
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .unwrap();
    assert!(
        core.split_whitespace().filter(|word| *word == "0").count() >= 2,
        "{core}"
    );
    let links: Vec<_> = descriptors(keyholder)
        .into_iter()
        .filter(|(place, _)| *place > 2)
        .map(|(_, what)| std::path::PathBuf::from(what))
        .collect();
    assert!(
        links.len() > 3
            && !links
                .iter()
                .any(|link| link.to_string_lossy().starts_with("pipe:")),
        "no pipe to the far end: {links:?}"
    );
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
    let is_there =
        |process: &u32| !matches!(status(*process, "State").as_deref(), None | Some("Z"));
    while backup.processes.values().any(is_there) {
        assert!(
            std::time::Instant::now() < deadline,
            "still there: {:?}",
            backup.processes
        );
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
