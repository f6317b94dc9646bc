// SPDX-License-Identifier: GPL-3.0-or-later
//! dom0 makes a disposable for each call, and kills it in every case: after the call, after a
//! failure, after an interrupt, and after a crash when it starts again. qubesd's answers are
//! reported.

use std::process::{Child, Stdio};

use wyng_tests::fake_qubes::FakeQubes;
use wyng_tests::sandbox::{Outcome, Sandbox, noise};
use wyng_tests::service::{Service, run_kill, until};

const VIA: &str = "qrexec:@dispvm:net-dvm";
const BACKUP: [&str; 3] = ["backup", "home", "disk.img"];

/// An archive that is reached through disposables.
fn prepared() -> (Sandbox, FakeQubes) {
    let sandbox = Sandbox::new();
    let qubes = FakeQubes::dom0(&sandbox);
    qubes
        .create(
            &sandbox,
            VIA,
            &["--pack-size", "256K", "--chunk-size", "64K"],
        )
        .success();
    sandbox.image("disk.img", 2 << 20, 1);
    (sandbox, qubes)
}

/// The disposable's name in the n-th call of a client.
fn called(qubes: &FakeQubes, place: usize) -> String {
    let call = qubes.world.noted("qrexec-calls")[place].clone();
    call.strip_prefix("-d ")
        .unwrap()
        .split(' ')
        .next()
        .unwrap()
        .to_owned()
}

/// The running number in a disposable's name, after the owner and the run.
fn is_ours(name: &str) -> bool {
    let digits = |text: &str, length| {
        text.len() == length && text.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    let words: Vec<&str> = name.split('-').collect();
    matches!(words[..], ["wyng", owner, run, count] if digits(owner, 10) && digits(run, 6) && count.parse::<u32>().is_ok())
}

#[test]
fn each_call_has_a_disposable_of_a_name_that_was_known_before_and_it_is_gone_when_the_call_has_ended()
 {
    let (sandbox, qubes) = prepared();
    qubes.wyng(&sandbox, &BACKUP).success();
    qubes.wyng(&sandbox, &["verify", "home"]).success();
    assert_eq!(qubes.world.disposables(), [""; 0]);
    let names: Vec<String> = (0..3).map(|place| called(&qubes, place)).collect();
    assert!(names.iter().all(|name| is_ours(name)), "{names:?}");
    let services = ["wyng.Push", "wyng.Push", "wyng.Fetch"].iter().zip(&names);
    let calls: Vec<String> = services
        .map(|(service, name)| format!("-d {name} -w 5 -- DEFAULT:QUBESRPC {service}+ dom0"))
        .collect();
    assert_eq!(qubes.world.noted("qrexec-calls"), calls);
    let asked: Vec<String> = qubes
        .world
        .noted("calls")
        .into_iter()
        .filter(|call| !call.starts_with("admin.vm.List") && !call.starts_with("admin.pool."))
        .collect();
    let of_one = |name: &String| {
        let own = [
            "admin.vm.property.Set+auto_cleanup ",
            // The policy denies it notices from its first moment on.
            "admin.vm.tag.Set+wyng-transport ",
            "admin.vm.Start+ ",
            "admin.vm.Kill+ ",
        ]
        .map(|call| format!("{call}{name}"));
        std::iter::once("admin.vm.Create.DispVM+net-dvm dom0".to_owned()).chain(own)
    };
    assert_eq!(
        asked,
        names.iter().flat_map(of_one).collect::<Vec<String>>()
    );
}

#[test]
fn a_paused_qube_is_named_and_not_called() {
    let sandbox = Sandbox::new();
    let qubes = FakeQubes::dom0(&sandbox);
    qubes.create(&sandbox, "qrexec:sys-backup", &[]).success();
    let before = qubes.world.noted("qrexec-calls").len();
    for state in ["Paused", "Suspended"] {
        qubes.world.set_state("sys-backup", state);
        assert_eq!(
            qubes.wyng(&sandbox, &["verify", "home"]).expect(6).codes(),
            ["qube-paused"]
        );
    }
    assert_eq!(qubes.world.noted("qrexec-calls").len(), before);
    qubes.world.start("sys-backup");
    qubes.wyng(&sandbox, &["verify", "home"]).success();
}

#[test]
fn a_qube_that_shuts_down_is_waited_for_and_started_again() {
    let sandbox = Sandbox::new();
    let qubes = FakeQubes::dom0(&sandbox);
    qubes.create(&sandbox, "qrexec:sys-backup", &[]).success();
    qubes.world.set_state("sys-backup", "Halting");
    std::fs::write(qubes.world.0.join("calls"), "").unwrap();
    let mut command = sandbox.command(&["verify", "home", "--config", &qubes.config]);
    let verify = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    until("it is looked at twice", || {
        qubes
            .world
            .noted("calls")
            .iter()
            .filter(|call| *call == "admin.vm.List+ sys-backup")
            .count()
            > 1
    });
    qubes.world.halt("sys-backup");
    begun_outcome(verify).success();
    assert!(qubes.world.runs("sys-backup"));

    qubes.world.set_state("sys-backup", "Halting");
    assert_eq!(
        qubes.wyng(&sandbox, &["verify", "home"]).expect(6).codes(),
        ["qube-halting"]
    );
    qubes.world.set_state("sys-backup", "Crashed");
    assert_eq!(
        qubes.wyng(&sandbox, &["verify", "home"]).expect(6).codes(),
        ["qube-not-started"]
    );
}

#[test]
fn a_qube_that_somebody_else_starts_is_waited_for() {
    let sandbox = Sandbox::new();
    let qubes = FakeQubes::dom0(&sandbox);
    qubes.create(&sandbox, "qrexec:sys-backup", &[]).success();
    // Like a start with its lock: paused at first.
    qubes.world.halt("sys-backup");
    qubes.set_qubesd_traps("admin.vm.Start slow");
    let mut command = sandbox.command(&["verify", "home", "--config", &qubes.config]);
    let verify = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    until("it is started", || {
        qubes
            .world
            .noted("calls")
            .iter()
            .any(|call| call == "admin.vm.Start+ sys-backup")
    });
    qubes.world.set_state("sys-backup", "Transient");
    qubes.let_go();
    begun_outcome(verify).success();
}

#[test]
fn a_qube_that_stays_is_started_and_left_running() {
    let sandbox = Sandbox::new();
    let qubes = FakeQubes::dom0(&sandbox);
    qubes.world.halt("sys-backup");
    qubes.create(&sandbox, "qrexec:sys-backup", &[]).success();
    assert!(qubes.world.runs("sys-backup"));
    let calls = qubes.world.noted("calls");
    let place = |wanted: &str| calls.iter().position(|call| call == wanted).unwrap();
    assert!(
        place("admin.vm.tag.Set+wyng-transport sys-backup") < place("admin.vm.Start+ sys-backup")
    );
    assert!(
        !qubes
            .world
            .noted("calls")
            .iter()
            .any(|call| call.starts_with("admin.vm.Kill"))
    );
}

/// Checks that a backup after `spoil` reports this, and leaves no disposable.
fn backup_says(spoil: impl Fn(&mut FakeQubes), status: i32, code: &str) {
    let (sandbox, mut qubes) = prepared();
    spoil(&mut qubes);
    let outcome = qubes.wyng(&sandbox, &BACKUP);
    assert_eq!(outcome.expect(status).codes(), [code], "{}", outcome.stderr);
    assert_eq!(qubes.world.disposables(), [""; 0], "{code}");
}

#[test]
fn whatever_ends_a_call_ends_its_disposable() {
    backup_says(
        |qubes| qubes.set_traps(&["exits 125", "exits 125"]),
        6,
        "qrexec-failed",
    );
    backup_says(
        |qubes| qubes.login_script("net-dvm", "echo hello"),
        6,
        "far-end-banner",
    );
    backup_says(
        |qubes| qubes.install("net-dvm", "wyng.Push", "exit 127"),
        6,
        "far-end-missing",
    );
    backup_says(
        |qubes| std::fs::remove_file(qubes.world.0.join("bin/qrexec-client")).unwrap(),
        6,
        "qrexec-missing",
    );
}

#[test]
fn what_qubesd_answers_is_told_to_the_owner() {
    let trap = |text: &'static str| move |qubes: &mut FakeQubes| qubes.set_qubesd_traps(text);
    backup_says(trap("admin.vm.Create.DispVM empty"), 6, "qubesd-refused");
    backup_says(trap("admin.vm.Create.DispVM garbage"), 6, "qubesd-answer");
    backup_says(trap("admin.vm.Create.DispVM cut"), 6, "qubesd-answer");
    backup_says(trap("admin.vm.Create.DispVM long"), 6, "qubesd-answer");
    backup_says(
        trap("admin.vm.Create.DispVM error QubesVMNotFoundError"),
        6,
        "unknown-qube",
    );
    backup_says(
        trap("admin.vm.property.Set error QubesException"),
        6,
        "qube-not-started",
    );
    backup_says(
        trap("admin.vm.tag.Set error QubesException"),
        6,
        "qube-not-started",
    );
    backup_says(
        trap("admin.vm.Start error QubesMemoryError"),
        6,
        "qube-no-memory",
    );
    backup_says(trap("admin.vm.Start hang"), 6, "qubesd-unreachable");
    backup_says(FakeQubes::stop_qubesd, 6, "qubesd-unreachable");
    let no_template = |qubes: &mut FakeQubes| {
        std::fs::remove_file(
            qubes
                .world
                .qube("net-dvm")
                .join("property.template_for_dispvms"),
        )
        .unwrap()
    };
    backup_says(no_template, 6, "qube-not-started");
}

/// Starts the backup without waiting for it.
fn begun(sandbox: &Sandbox, qubes: &FakeQubes) -> Child {
    let mut command = sandbox.command(&[&BACKUP[..], &["--config", &qubes.config]].concat());
    command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn until_asked(qubes: &FakeQubes, call: &str) {
    until(call, || {
        qubes
            .world
            .noted("calls")
            .iter()
            .any(|noted| noted.starts_with(call))
    });
}

fn until_none_is_left(qubes: &FakeQubes) {
    until("no disposable is left", || {
        qubes.world.disposables().is_empty()
    });
}

#[test]
fn a_disposable_that_a_killed_daemon_left_is_killed_by_the_next_one_and_no_other() {
    let (sandbox, qubes) = prepared();
    qubes.install("net-dvm", "wyng.Push", "exec sleep 100");
    let mut backup = begun(&sandbox, &qubes);
    until("the helper is called", || {
        qubes.world.noted("qrexec-calls").len() == 2
    });
    run_kill("-KILL", child_called(backup.id(), "wyngd: volumes"));
    backup.wait().unwrap();
    let left = called(&qubes, 1);
    assert_eq!(qubes.world.disposables(), std::slice::from_ref(&left));

    // A disposable of another program, one of another daemon, and a qube of such a name that is no
    // disposable.
    let foreign = qubes.world.make_disposable("net-dvm");
    let others = "wyng-0123456789-012345-1";
    qubes.world.make_named_disposable(others, "net-dvm");
    let stays = format!("{}-9", left.rsplit_once('-').unwrap().0);
    qubes.add(&stays);
    for name in [&foreign, others, &stays] {
        qubes.world.start(name);
    }
    qubes.add("net-dvm");
    qubes.wyng(&sandbox, &BACKUP).success();
    assert_eq!(qubes.world.disposables(), [foreign, others.to_owned()]);
    assert!(qubes.world.runs(&stays));
}

#[test]
fn one_that_was_made_and_never_started_is_removed_by_the_next_daemon() {
    let (sandbox, qubes) = prepared();
    qubes.wyng(&sandbox, &BACKUP).success();
    let left = format!(
        "{}-ffffff-1",
        called(&qubes, 0).rsplitn(3, '-').last().unwrap()
    );
    qubes.world.make_named_disposable(&left, "net-dvm");
    // A daemon that only looks takes no lock, and so removes nothing.
    qubes
        .wyng(&sandbox, &["archive", "acknowledge", "home"])
        .success();
    assert_eq!(qubes.world.disposables(), [""; 0]);
}

#[test]
fn a_disposable_whose_start_was_given_up_is_killed_when_it_has_started() {
    let (sandbox, qubes) = prepared();
    qubes.set_qubesd_traps("admin.vm.Start slow");
    // The start exceeds its time limit. The removal waits for it, and is refused when the qube has
    // started.
    let backup = begun(&sandbox, &qubes);
    until_asked(&qubes, "admin.vm.Remove+");
    qubes.let_go();
    assert_eq!(
        begun_outcome(backup).expect(6).codes(),
        ["qubesd-unreachable"]
    );
    until_none_is_left(&qubes);
}

#[test]
fn an_interrupt_is_answered_while_qubesd_makes_or_starts_a_qube_and_nothing_is_left_when_it_is_done()
 {
    // A disposable that has not begun to start is removed at once.
    for (call, left) in [
        ("admin.vm.Create.DispVM+net-dvm", 1),
        ("admin.vm.property.Set+auto_cleanup", 0),
        ("admin.vm.Start+", 1),
    ] {
        let (sandbox, qubes) = prepared();
        std::fs::write(qubes.world.0.join("calls"), "").unwrap();
        qubes.set_qubesd_traps(&format!("{} slow", call.split('+').next().unwrap()));
        let backup = begun(&sandbox, &qubes);
        until_asked(&qubes, call);
        run_kill("-INT", backup.id());
        // qubesd does not answer before the command has ended.
        assert_eq!(
            begun_outcome(backup).expect(130).codes(),
            ["interrupted"],
            "{call}"
        );
        assert_eq!(qubes.world.disposables().len(), left, "{call}");
        qubes.let_go();
        until_none_is_left(&qubes);
        qubes.wyng(&sandbox, &BACKUP).success();
        qubes
            .wyng(
                &sandbox,
                &["restore", "home", "disk.img", "--to", "restored"],
            )
            .success();
        assert!(std::fs::read(sandbox.path("restored")).unwrap() == noise(2 << 20, 1));
    }
}

#[test]
fn a_disposable_that_cannot_be_killed_when_its_call_ends_is_killed_by_the_daemon_when_it_can() {
    let (mut sandbox, mut qubes) = prepared();
    qubes.install(
        "net-dvm",
        "wyng.Push",
        "while [ ! -e QUBES/end ]; do sleep 0.01; done; exit 16"
            .replace("QUBES", qubes.world.0.to_str().unwrap())
            .as_str(),
    );
    let service = Service::start_with(&mut sandbox, &["--config", &qubes.config]);
    let backup = begun(&sandbox, &qubes);
    until("the helper is called", || {
        qubes.world.noted("qrexec-calls").len() == 2
    });
    qubes.stop_qubesd();
    std::fs::write(qubes.world.0.join("end"), "").unwrap();
    assert_eq!(begun_outcome(backup).expect(6).codes(), ["far-end-lost"]);
    assert_eq!(qubes.world.disposables().len(), 1);
    // No command comes, so the timer does it.
    qubes.start_qubesd();
    until_none_is_left(&qubes);
    service.stop();
}

#[test]
fn a_client_that_is_killed_takes_the_disposable_along() {
    for victim in ["wyngd: control", "wyngd: keyholder", "wyngd: spawner"] {
        let (sandbox, qubes) = prepared();
        qubes.install("net-dvm", "wyng.Push", "exec sleep 100");
        let mut backup = begun(&sandbox, &qubes);
        until("the helper is called", || {
            qubes.world.noted("qrexec-calls").len() == 2
        });
        run_kill("-KILL", child_called(backup.id(), victim));
        backup.wait().unwrap();
        until_none_is_left(&qubes);
    }
}

/// Kills a process at each call of a command to qubesd, before and after the effect of the call,
/// and checks with `then` that nothing is left behind. Returns the number of kills.
fn killed_everywhere(victim: &str, command: &[&str], then: fn(&Sandbox, &FakeQubes)) -> usize {
    let (sandbox, qubes) = prepared();
    for call in 1.. {
        let before = qubes.world.noted("killed").len();
        for phase in ["before", "after"] {
            qubes.kill_at(call, phase, victim);
            let mut command = sandbox.command(&[command, &["--config", &qubes.config]].concat());
            begun_outcome(
                command
                    .stdout(Stdio::piped())
                    .stderr(Stdio::piped())
                    .spawn()
                    .unwrap(),
            );
            then(&sandbox, &qubes);
            until_none_is_left(&qubes);
        }
        std::fs::remove_file(qubes.world.0.join("kill")).unwrap();
        if qubes.world.noted("killed").len() == before && qubes.world.noted("calls").len() < call {
            break;
        }
    }
    qubes.wyng(&sandbox, &BACKUP).success();
    qubes.world.noted("killed").len()
}

#[test]
fn nothing_is_left_over_whichever_process_is_killed_at_whichever_call_of_qubesd() {
    // If the caller of qubesd is killed, the next daemon removes the disposable; if another process
    // is killed, the caller does.
    let nothing = |_: &Sandbox, _: &FakeQubes| {};
    let restore = [
        "restore",
        "home",
        "disk.img",
        "--to",
        "restored",
        "--overwrite",
    ];
    let mut kills = 0;
    for command in [
        &BACKUP[..],
        &["verify", "home"],
        &restore,
        &["qubes", "check", VIA],
    ] {
        kills += killed_everywhere("caller", command, until_unlocked);
        kills += killed_everywhere("parent", command, nothing);
        kills += killed_everywhere("grandparent", command, nothing);
    }
    assert!(kills >= 100, "{kills} kills");
}

/// Runs a command that needs no far end and changes something, as soon as the previous daemon has
/// ended.
fn until_unlocked(sandbox: &Sandbox, qubes: &FakeQubes) {
    until("a command runs", || {
        qubes
            .wyng(sandbox, &["archive", "acknowledge", "home"])
            .status
            == 0
    });
}

fn begun_outcome(command: Child) -> Outcome {
    Outcome::of(command.wait_with_output().unwrap())
}

#[test]
fn a_service_that_is_stopped_kills_its_disposable_first() {
    let (mut sandbox, qubes) = prepared();
    qubes.install("net-dvm", "wyng.Push", "exec sleep 100");
    let service = Service::start_with(&mut sandbox, &["--config", &qubes.config]);
    let mut backup = sandbox
        .command(&BACKUP)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    until("the helper is called", || {
        qubes.world.noted("qrexec-calls").len() == 2
    });
    service.stop();
    backup.wait().unwrap();
    assert_eq!(qubes.world.disposables(), [""; 0]);
}

/// The process of this title among the descendants of another.
fn child_called(ancestor: u32, title: &str) -> u32 {
    let mut found = vec![ancestor];
    let mut place = 0;
    while let Some(process) = found.get(place) {
        let line = std::fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
        if line.starts_with(format!("{title}\0").as_bytes()) {
            return *process;
        }
        let children = std::fs::read_to_string(format!("/proc/{process}/task/{process}/children"))
            .unwrap_or_default();
        found.extend(
            children
                .split_whitespace()
                .map(|child| child.parse::<u32>().unwrap()),
        );
        place += 1;
    }
    panic!("no process is called {title}");
}
