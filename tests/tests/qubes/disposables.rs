// SPDX-License-Identifier: GPL-3.0-or-later
//! dom0 makes a disposable for each call, and kills it whatever happens: after the call, after a failure, after an interrupt, and after a
//! crash when it starts again. What qubesd answers is told.

use std::process::Stdio;

use wyng_tests::fake_qubes::FakeQubes;
use wyng_tests::sandbox::{Outcome, Sandbox, noise};
use wyng_tests::service::{Service, run_kill, until};

const VIA: &str = "qrexec:@dispvm:net-dvm";
const BACKUP: [&str; 3] = ["backup", "home", "disk.img"];

/// An archive that is reached through disposables.
fn prepared() -> (Sandbox, FakeQubes) {
    let sandbox = Sandbox::new();
    let qubes = FakeQubes::dom0(&sandbox);
    qubes.create(&sandbox, VIA, &["--pack-size", "256K", "--chunk-size", "64K"]).success();
    sandbox.image("disk.img", 2 << 20, 1);
    (sandbox, qubes)
}

#[test]
fn each_call_has_a_disposable_that_is_marked_before_it_starts_and_killed_when_it_has_ended() {
    let (sandbox, qubes) = prepared();
    qubes.wyng(&sandbox, &BACKUP).success();
    qubes.wyng(&sandbox, &["verify", "home"]).success();
    assert_eq!(qubes.world.disposables(), [""; 0]);
    let call = |name: &str, service| format!("-d {name} -w 5 -- DEFAULT:QUBESRPC {service}+ dom0");
    let calls = [call("disp1", "wyng.Push"), call("disp2", "wyng.Push"), call("disp3", "wyng.Fetch")];
    assert_eq!(qubes.world.noted("qrexec-calls"), calls);
    let asked: Vec<String> = qubes.world.noted("calls").into_iter().filter(|call| !call.starts_with("admin.vm.List")).collect();
    let of_one = |name: &str| {
        let name = name.to_owned();
        let own = ["admin.vm.feature.Set+wyng-far-end ", "admin.vm.Start+ ", "admin.vm.Kill+ "].map(|call| format!("{call}{name}"));
        std::iter::once("admin.vm.CreateDisposable+ net-dvm".to_owned()).chain(own)
    };
    assert_eq!(asked, ["disp1", "disp2", "disp3"].into_iter().flat_map(of_one).collect::<Vec<String>>());
}

#[test]
fn a_qube_that_stays_is_started_and_left_running() {
    let sandbox = Sandbox::new();
    let qubes = FakeQubes::dom0(&sandbox);
    qubes.world.halt("sys-backup");
    qubes.create(&sandbox, "qrexec:sys-backup", &[]).success();
    assert!(qubes.world.runs("sys-backup"));
    assert!(!qubes.world.noted("calls").iter().any(|call| call.starts_with("admin.vm.Kill")));
}

/// A backup after `spoil` says this, and leaves no disposable.
fn backup_says(spoil: impl Fn(&mut FakeQubes), status: i32, code: &str) {
    let (sandbox, mut qubes) = prepared();
    spoil(&mut qubes);
    let outcome = qubes.wyng(&sandbox, &BACKUP);
    assert_eq!(outcome.expect(status).codes(), [code], "{}", outcome.stderr);
    assert_eq!(qubes.world.disposables(), [""; 0], "{code}");
}

#[test]
fn whatever_ends_a_call_ends_its_disposable() {
    backup_says(|qubes| qubes.set_traps(&["exits 125", "exits 125"]), 6, "qrexec-failed");
    backup_says(|qubes| qubes.login_script("net-dvm", "echo hello"), 6, "far-end-banner");
    backup_says(|qubes| qubes.install("net-dvm", "wyng.Push", "exit 127"), 6, "far-end-missing");
    backup_says(|qubes| std::fs::remove_file(qubes.world.0.join("bin/qrexec-client")).unwrap(), 6, "qrexec-missing");
}

#[test]
fn what_qubesd_answers_is_told_to_the_owner() {
    let trap = |text: &'static str| move |qubes: &mut FakeQubes| qubes.set_qubesd_traps(text);
    backup_says(trap("admin.vm.CreateDisposable empty"), 6, "qubesd-refused");
    backup_says(trap("admin.vm.CreateDisposable garbage"), 6, "qubesd-answer");
    backup_says(trap("admin.vm.CreateDisposable cut"), 6, "qubesd-answer");
    backup_says(trap("admin.vm.CreateDisposable long"), 6, "qubesd-answer");
    backup_says(trap("admin.vm.CreateDisposable error QubesVMNotFoundError"), 6, "unknown-qube");
    backup_says(trap("admin.vm.feature.Set error QubesException"), 6, "qube-not-started");
    backup_says(trap("admin.vm.Start error QubesMemoryError"), 6, "qube-no-memory");
    backup_says(trap("admin.vm.Start hang"), 6, "qubesd-unreachable");
    backup_says(FakeQubes::stop_qubesd, 6, "qubesd-unreachable");
    let no_template = |qubes: &mut FakeQubes| std::fs::remove_file(qubes.world.qube("net-dvm").join("template-for-dispvms")).unwrap();
    backup_says(no_template, 6, "qube-not-started");
}

#[test]
fn a_disposable_that_a_killed_daemon_left_is_killed_by_the_next_one_and_no_other() {
    let (sandbox, qubes) = prepared();
    qubes.install("net-dvm", "wyng.Push", "exec sleep 100");
    let mut command = sandbox.command(&[&BACKUP[..], &["--config", &qubes.config]].concat());
    let mut backup = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until("the helper is called", || qubes.world.noted("qrexec-calls").len() == 2);
    let volumes = child_called(backup.id(), "wyngd: volumes");
    run_kill("-KILL", volumes);
    backup.wait().unwrap();
    assert_eq!(qubes.world.disposables(), ["disp2"]);

    // Somebody else's, and another daemon's.
    let foreign = qubes.world.make_disposable("net-dvm");
    qubes.world.start(&foreign);
    let other = qubes.world.make_disposable("net-dvm");
    qubes.world.start(&other);
    std::fs::write(qubes.world.qube(&other).join("feature.wyng-far-end"), "1-1").unwrap();
    qubes.add("net-dvm");
    qubes.wyng(&sandbox, &BACKUP).success();
    assert_eq!(qubes.world.disposables(), [foreign, other]);
}

#[test]
fn one_that_was_marked_and_never_started_is_removed_by_the_next_daemon() {
    let (sandbox, qubes) = prepared();
    let mark = |name: &str| qubes.world.qube(name).join("feature.wyng-far-end");
    qubes.set_qubesd_traps("admin.vm.Kill empty");
    qubes.wyng(&sandbox, &BACKUP).success();
    let owner = std::fs::read(mark("disp2")).unwrap();
    qubes.set_qubesd_traps("");
    let halted = qubes.world.make_disposable("net-dvm");
    std::fs::write(mark(&halted), owner).unwrap();
    qubes.wyng(&sandbox, &["list", "home"]).success();
    assert_eq!(qubes.world.disposables(), [""; 0]);
}

#[test]
fn an_interrupt_while_a_qube_starts_is_heard_and_leaves_nothing() {
    let (sandbox, qubes) = prepared();
    qubes.set_qubesd_traps("admin.vm.Start hang");
    let mut command = sandbox.command(&[&BACKUP[..], &["--config", &qubes.config]].concat());
    let backup = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until("the qube starts", || qubes.world.noted("calls").iter().any(|call| call == "admin.vm.Start+ disp2"));
    run_kill("-INT", backup.id());
    let outcome = Outcome::of(backup.wait_with_output().unwrap());
    assert_eq!(outcome.expect(130).codes(), ["interrupted"]);
    assert_eq!(qubes.world.disposables(), [""; 0]);
    qubes.set_qubesd_traps("");
    qubes.wyng(&sandbox, &BACKUP).success();
    qubes.wyng(&sandbox, &["restore", "home", "disk.img", "--to", "restored"]).success();
    assert!(std::fs::read(sandbox.path("restored")).unwrap() == noise(2 << 20, 1));
}

#[test]
fn a_client_that_is_killed_takes_the_disposable_along() {
    let (sandbox, qubes) = prepared();
    qubes.install("net-dvm", "wyng.Push", "exec sleep 100");
    let mut command = sandbox.command(&[&BACKUP[..], &["--config", &qubes.config]].concat());
    let mut backup = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until("the helper is called", || qubes.world.noted("qrexec-calls").len() == 2);
    let control = child_called(backup.id(), "wyngd: control");
    run_kill("-KILL", control);
    backup.wait().unwrap();
    assert_eq!(qubes.world.disposables(), [""; 0]);
}

#[test]
fn a_service_that_is_stopped_kills_its_disposable_first() {
    let (mut sandbox, qubes) = prepared();
    qubes.install("net-dvm", "wyng.Push", "exec sleep 100");
    let service = Service::start_with(&mut sandbox, &["--config", &qubes.config]);
    let mut backup = sandbox.command(&BACKUP).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until("the helper is called", || qubes.world.noted("qrexec-calls").len() == 2);
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
        let children = std::fs::read_to_string(format!("/proc/{process}/task/{process}/children")).unwrap_or_default();
        found.extend(children.split_whitespace().map(|child| child.parse::<u32>().unwrap()));
        place += 1;
    }
    panic!("no process is called {title}");
}
