// SPDX-License-Identifier: GPL-3.0-or-later
//! The simulated qubes themselves: they behave like the real ones, byte by byte and with the traps.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use wyng_tests::fake_qubes::{FakeQubes, World};
use wyng_tests::sandbox::Sandbox;
use wyng_tests::service::until;

/// A system whose `sys-backup` has this service `test.S`.
fn system(script: &str) -> (Sandbox, FakeQubes) {
    let sandbox = Sandbox::new();
    let qubes = FakeQubes::dom0(&sandbox);
    qubes.install("sys-backup", "test.S", script);
    (sandbox, qubes)
}

fn client(world: &World, call: &str) -> Child {
    let mut command = Command::new(world.0.join("bin/qrexec-client"));
    command.args(["-d", "sys-backup", "-w", "1", "--", call]);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn called(world: &World) -> Output {
    client(world, "DEFAULT:QUBESRPC test.S+ dom0")
        .wait_with_output()
        .unwrap()
}

#[test]
fn an_exit_status_comes_through_as_it_is_and_a_signal_as_128_and_its_number() {
    for (script, code) in [
        ("exit 0", 0),
        ("exit 125", 125),
        ("exit 127", 127),
        ("kill -9 $$", 137),
        ("kill -15 $$", 143),
    ] {
        let (_sandbox, qubes) = system(script);
        assert_eq!(called(&qubes.world).status.code(), Some(code), "{script}");
    }
}

#[test]
fn a_service_that_is_missing_is_127_and_a_qube_that_does_not_run_125_with_a_line_of_the_log() {
    let (_sandbox, qubes) = system("exit 0");
    let output = client(&qubes.world, "DEFAULT:QUBESRPC test.Other+ dom0")
        .wait_with_output()
        .unwrap();
    assert_eq!(output.status.code(), Some(127));
    qubes.world.halt("sys-backup");
    let output = called(&qubes.world);
    assert!(output.status.code() == Some(125) && !output.stderr.is_empty());
}

#[test]
fn a_call_is_a_user_a_service_with_its_argument_and_a_source() {
    let (_sandbox, qubes) = system("exit 0");
    let wrong = [
        "test.S+ dom0",
        "DEFAULT:QUBESRPC test.S dom0",
        "DEFAULT:QUBESRPC test.S+",
        "DEFAULT:QUBESRPC test.S+ dom0 x",
        "true",
    ];
    for call in wrong {
        let output = client(&qubes.world, call).wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(125), "{call}");
    }
}

#[test]
fn half_a_close_passes_in_both_directions() {
    let (_sandbox, qubes) = system("exec cat");
    let mut client = client(&qubes.world, "DEFAULT:QUBESRPC test.S+ dom0");
    client
        .stdin
        .take()
        .unwrap()
        .write_all(b"there and back")
        .unwrap();
    let output = client.wait_with_output().unwrap();
    assert_eq!(
        (output.status.code(), output.stdout.as_slice()),
        (Some(0), &b"there and back"[..])
    );
}

#[test]
fn standard_error_that_nobody_reads_holds_up_the_output() {
    let (_sandbox, qubes) = system("head -c 4194304 /dev/zero >&2; echo behind");
    let mut client = client(&qubes.world, "DEFAULT:QUBESRPC test.S+ dom0");
    let stdout = client.stdout.take().unwrap();
    let mut polled = [rustix::event::PollFd::new(
        &stdout,
        rustix::event::PollFlags::IN,
    )];
    let a_while = rustix::event::Timespec {
        tv_sec: 0,
        tv_nsec: 300_000_000,
    };
    assert_eq!(rustix::event::poll(&mut polled, Some(&a_while)).unwrap(), 0);
    let mut errors = Vec::new();
    client
        .stderr
        .take()
        .unwrap()
        .read_to_end(&mut errors)
        .unwrap();
    assert_eq!(errors.len(), 4 << 20);
    assert_eq!(std::io::read_to_string(stdout).unwrap(), "behind\n");
    client.wait().unwrap();
}

#[test]
fn what_a_service_does_not_read_any_more_is_taken_and_lost() {
    let (_sandbox, qubes) = system("exec <&-; read line </dev/tty; sleep 1; exit 3");
    let mut client = client(&qubes.world, "DEFAULT:QUBESRPC test.S+ dom0");
    let mut stdin = client.stdin.take().unwrap();
    stdin.write_all(&vec![0; 9_000_000]).unwrap();
    assert_eq!(client.wait().unwrap().code(), Some(3));
}

#[test]
fn a_login_script_comes_first_and_with_the_same_streams() {
    let (_sandbox, qubes) = system("exec cat");
    qubes.login_script("sys-backup", "echo first");
    assert_eq!(called(&qubes.world).stdout, b"first\n");
}

#[test]
fn a_link_that_drops_is_1_and_the_qube_goes_on() {
    let (_sandbox, qubes) = system("head -c 100000 /dev/zero; exec cat");
    qubes.set_traps(&["drops-down 70000"]);
    let output = called(&qubes.world);
    assert_eq!(
        (output.status.code(), output.stdout.len()),
        (Some(1), 70_000)
    );
    assert!(qubes.world.runs("sys-backup"));
}

#[test]
fn a_service_that_cannot_be_executed_is_126() {
    let (_sandbox, qubes) = system("exit 0");
    let service = qubes.world.qube("sys-backup").join("services/test.S");
    std::fs::set_permissions(&service, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(called(&qubes.world).status.code(), Some(126));
}

#[test]
fn a_paused_or_halting_qube_costs_the_whole_time_limit_and_is_125() {
    let (_sandbox, qubes) = system("exit 0");
    for state in ["Paused", "Halting"] {
        qubes.world.set_state("sys-backup", state);
        let begun = Instant::now();
        assert_eq!(called(&qubes.world).status.code(), Some(125), "{state}");
        assert!(begun.elapsed() >= Duration::from_secs(1), "{state}");
    }
}

#[test]
fn a_qube_that_dies_looks_like_an_end_but_for_255() {
    let (_sandbox, qubes) = system("head -c 100000 /dev/zero; exec cat");
    qubes.set_traps(&["dies-down 70000", "cut 70000"]);
    let output = called(&qubes.world);
    assert_eq!(
        (output.status.code(), output.stdout.len()),
        (Some(255), 70_000)
    );
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("vchan connection closed early")
            && !qubes.world.runs("sys-backup")
    );
    qubes.world.start("sys-backup");
    let output = called(&qubes.world);
    assert_eq!(
        (output.status.code(), output.stdout.len()),
        (Some(0), 70_000)
    );
}

/// The answer to these bytes, after which the connection is half closed.
fn asked(qubes: &FakeQubes, request: &[u8]) -> Vec<u8> {
    let mut stream = UnixStream::connect(qubes.world.0.join("qubesd.sock")).unwrap();
    stream.write_all(request).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    answer
}

const CREATE: &[u8] = b"admin.vm.Create.DispVM+net-dvm dom0 name dom0\0name=mine label=red";

/// Half a request about the disposable `mine`.
fn about_mine(method: &str) -> Vec<u8> {
    format!("{method}+ dom0 name mine\0").into_bytes()
}

#[test]
fn qubesd_answers_as_it_was_recorded() {
    let (_sandbox, qubes) = system("exit 0");
    assert_eq!(asked(&qubes, CREATE), b"0\0");
    assert!(asked(&qubes, CREATE).starts_with(b"2\0QubesVMAlreadyExistsError\0"));
    assert_eq!(
        asked(
            &qubes,
            b"admin.vm.property.Set+auto_cleanup dom0 name mine\0True"
        ),
        b"0\0"
    );
    let list = asked(&qubes, b"admin.vm.List+ dom0 name dom0\0");
    assert!(
        list.starts_with(b"0\0dom0 class=AdminVM state=Running uuid="),
        "{}",
        list.escape_ascii()
    );
    assert!(
        String::from_utf8(list)
            .unwrap()
            .contains("\nmine class=DispVM state=Halted uuid=")
    );
    assert!(
        asked(&qubes, &about_mine("admin.vm.Kill")).starts_with(b"2\0QubesVMNotStartedError\0")
    );
    assert_eq!(asked(&qubes, &about_mine("admin.vm.Start")), b"0\0");
    assert!(
        asked(&qubes, &about_mine("admin.vm.List"))
            .starts_with(b"0\0mine class=DispVM state=Running uuid=")
    );
    assert!(
        asked(&qubes, &about_mine("admin.vm.Remove")).starts_with(b"2\0QubesVMNotHaltedError\0")
    );
    assert_eq!(asked(&qubes, &about_mine("admin.vm.Kill")), b"0\0");
    assert!(asked(&qubes, &about_mine("admin.vm.Kill")).starts_with(b"2\0QubesVMNotFoundError\0"));
}

#[test]
fn a_start_changes_nothing_and_says_nothing_in_every_state_but_halted() {
    let (_sandbox, qubes) = system("exit 0");
    for state in ["Running", "Paused", "Halting", "Transient", "Crashed"] {
        qubes.world.set_state("sys-backup", state);
        assert_eq!(
            asked(&qubes, b"admin.vm.Start+ dom0 name sys-backup\0"),
            b"0\0",
            "{state}"
        );
        assert_eq!(qubes.world.state("sys-backup"), state);
    }
}

#[test]
fn a_disposable_that_was_made_by_name_stays_halted_unless_it_is_told_to_vanish() {
    let (_sandbox, qubes) = system("exit 0");
    asked(&qubes, CREATE);
    asked(&qubes, &about_mine("admin.vm.Start"));
    assert_eq!(asked(&qubes, &about_mine("admin.vm.Kill")), b"0\0");
    assert_eq!(qubes.world.disposables(), ["mine"]);
    assert_eq!(asked(&qubes, &about_mine("admin.vm.Remove")), b"0\0");
    assert_eq!(qubes.world.disposables(), [""; 0]);
}

#[test]
fn within_a_start_a_kill_finds_nothing_to_kill_and_a_removal_waits_for_the_start() {
    let (_sandbox, qubes) = system("exit 0");
    asked(&qubes, CREATE);
    qubes.set_qubesd_traps("admin.vm.Start slow");
    let starts = |call: &String| call == "admin.vm.Start+ mine";
    std::thread::scope(|scope| {
        let starting = scope.spawn(|| asked(&qubes, &about_mine("admin.vm.Start")));
        until("it starts", || {
            qubes.world.noted("calls").iter().any(starts)
        });
        assert!(
            asked(&qubes, &about_mine("admin.vm.Kill")).starts_with(b"2\0QubesVMNotStartedError\0")
        );
        let removing = scope.spawn(|| asked(&qubes, &about_mine("admin.vm.Remove")));
        until("it is removed", || {
            qubes
                .world
                .noted("calls")
                .iter()
                .any(|call| call == "admin.vm.Remove+ mine")
        });
        assert!(!removing.is_finished());
        qubes.let_go();
        assert_eq!(starting.join().unwrap(), b"0\0");
        assert!(
            removing
                .join()
                .unwrap()
                .starts_with(b"2\0QubesVMNotHaltedError\0")
        );
    });
}

#[test]
fn what_was_asked_is_done_though_the_caller_is_gone() {
    let (_sandbox, qubes) = system("exit 0");
    qubes.set_qubesd_traps("admin.vm.Create.DispVM slow");
    let mut stream = UnixStream::connect(qubes.world.0.join("qubesd.sock")).unwrap();
    stream.write_all(CREATE).unwrap();
    drop(stream);
    until("its name is taken", || qubes.world.exists("mine"));
    qubes.let_go();
    asked(&qubes, &about_mine("admin.vm.Start"));
    assert!(qubes.world.runs("mine"));
}

#[test]
fn qubesd_is_silent_to_what_is_malformed_or_too_long() {
    let (_sandbox, qubes) = system("exit 0");
    for request in [
        &b"admin.vm.List dom0 name dom0\0"[..],
        b"admin.vm.List+ dom0 dom0\0",
        b"admin.vm.List+ dom0 name dom0",
        b"",
    ] {
        assert_eq!(asked(&qubes, request), b"", "{}", request.escape_ascii());
    }
    assert_eq!(
        asked(
            &qubes,
            &[b"admin.vm.List+ dom0 name dom0\0".to_vec(), vec![0; 65_536]].concat()
        ),
        b""
    );
}
