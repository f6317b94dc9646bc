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

/// A system of qubes over a folder, which need not be able to clone.
fn whole() -> (Sandbox, FakeQubes) {
    let sandbox = Sandbox::new();
    let qubes = FakeQubes::dom0(&sandbox);
    qubes.add_system(&sandbox.path("pool"));
    qubes.make("AppVM", "work", "");
    (sandbox, qubes)
}

fn release(qubes: &FakeQubes, release: &str) {
    std::fs::write(qubes.world.0.join("release"), release).unwrap();
}

#[test]
fn a_release_differs_in_its_list_and_in_how_it_denies() {
    let (_sandbox, qubes) = whole();
    for (of, has_uuid, denied) in [
        ("4.2", false, ""),
        ("4.3", true, ""),
        ("4.4", true, "ProtocolError"),
    ] {
        release(&qubes, of);
        let list = qubes.call("admin.vm.List", "", "dom0", "");
        assert!(
            list.lines().all(|line| line.contains(" uuid=") == has_uuid),
            "{list}"
        );
        assert_eq!(qubes.fails("admin.vm.Nonsense", "", "work", ""), denied);
    }
    let missing = [("4.2", "QubesLabelNotFoundError"), ("4.4", "ProtocolError")];
    for (of, class) in missing {
        release(&qubes, of);
        let set = qubes.fails("admin.vm.property.Set", "label", "work", "pink");
        assert_eq!(set, class);
    }
}

#[test]
fn a_qube_can_be_named_by_its_uuid() {
    let (_sandbox, qubes) = whole();
    let uuid = qubes.world.uuid("work");
    let answer = qubes.call("admin.vm.List", "", &format!("uuid:{uuid}"), "");
    assert_eq!(
        answer,
        format!("work class=AppVM state=Halted uuid={uuid}\n")
    );
}

#[test]
fn a_property_is_shown_with_its_default_and_type_and_is_escaped_in_the_list_of_all_alone() {
    let (_sandbox, qubes) = whole();
    let all = || qubes.call("admin.vm.property.GetAll", "", "work", "");
    assert!(all().contains("\nmemory default=True type=int 400\n"));
    assert!(
        all().contains("\nnetvm default=True type=vm sys-net\n"),
        "the default of the system"
    );
    assert!(all().contains("\nbackup_timestamp default=True type=int \n"));
    qubes.call("admin.vm.property.Set", "netvm", "work", "");
    assert!(all().contains("\nnetvm default=False type=vm \n"));
    let odd = "a\\b\nc";
    qubes.call("admin.vm.property.Set", "kernelopts", "work", odd);
    assert!(all().contains("\nkernelopts default=False type=str a\\\\b\\nc\n"));
    let one = qubes.call("admin.vm.property.Get", "kernelopts", "work", "");
    assert_eq!(one, format!("default=False type=str {odd}"));
    let globals = qubes.call("admin.property.GetAll", "", "dom0", "");
    assert!(globals.contains("default_netvm default=False type=vm sys-net\n"));
}

#[test]
fn what_cannot_be_set_is_refused_as_the_server_refuses_it() {
    let (_sandbox, qubes) = whole();
    let set =
        |property: &str, value: &str| qubes.fails("admin.vm.property.Set", property, "work", value);
    for fixed in ["qid", "uuid", "dispid", "name", "icon", "klass"] {
        let expected = if fixed == "dispid" {
            "QubesNoSuchPropertyError"
        } else {
            ""
        };
        assert_eq!(set(fixed, "1"), expected, "{fixed}");
    }
    for part in ["netvm", "default_dispvm", "guivm", "template", "kernel"] {
        assert_eq!(set(part, "missing"), "QubesPropertyValueError", "{part}");
    }
    assert_eq!(set("netvm", "debian-13"), "QubesValueError");
    assert_eq!(set("nonsense", "1"), "QubesNoSuchPropertyError");
    for taken in ["ip", "mac"] {
        qubes.call("admin.vm.property.Set", taken, "work", "10.137.0.50");
        qubes.call("admin.vm.property.Set", taken, "sys-net", "10.137.0.50");
    }
}

#[test]
fn some_changes_bring_others_with_them() {
    let (_sandbox, qubes) = whole();
    let features = |qube: &str| qubes.call("admin.vm.feature.List", "", qube, "");
    assert_eq!(features("sys-net"), "servicevm\n");
    assert_eq!(
        qubes.call("admin.vm.tag.List", "", "work", ""),
        "created-by-dom0\n"
    );
    // Unlike the release before.
    let preload = |value: &str| {
        qubes.fails(
            "admin.vm.feature.Set",
            "preload-dispvm-max",
            "net-dvm",
            value,
        )
    };
    assert_eq!(preload("1"), "QubesValueError");
    for feature in [
        "qrexec",
        "supported-rpc.qubes.WaitForRunningSystem",
        "supported-rpc.qubes.WaitForSession",
    ] {
        qubes.call("admin.vm.feature.Set", feature, "net-dvm", "1");
    }
    qubes.call("admin.vm.feature.Set", "preload-dispvm-max", "net-dvm", "1");
    qubes.call("admin.vm.property.Set", "backup_timestamp", "net-dvm", "1");
    assert_eq!(qubes.world.noted("preloads"), ["net-dvm"]);
    let own = qubes.fails("admin.vm.feature.Set", "preload-dispvm", "net-dvm", "disp1");
    assert_eq!(own, "QubesValueError");
}

#[test]
fn what_the_server_does_not_parse_gets_no_answer() {
    let (_sandbox, qubes) = whole();
    for (method, argument, payload) in [
        ("admin.vm.notes.Set", "", ""),
        ("admin.vm.firewall.Set", "", ""),
        ("admin.vm.firewall.Set", "", "action=accept nonsense=1\n"),
        ("admin.vm.firewall.Set", "", "specialtarget=dns\n"),
        (
            "admin.vm.firewall.Set",
            "",
            "action=accept comment=\u{e4}\n",
        ),
        ("admin.vm.feature.Set", "x", "\u{e4}"),
        ("admin.vm.feature.Set", "x", "a\nb"),
        ("admin.vm.tag.Set", "a b", ""),
        (
            "admin.vm.device.pci.Assign",
            "missing+00_1f.2",
            "mode='required'",
        ),
        ("admin.vm.device.pci.Assign", "dom0+00_1f.2", ""),
    ] {
        // A space in the argument ends the request's first line early.
        assert_eq!(
            qubes.fails(method, argument, "work", payload),
            "",
            "{method} {payload:?}"
        );
    }
    let rule = "action=accept specialtarget=dns\naction=drop\n";
    qubes.call(
        "admin.vm.firewall.Set",
        "",
        "work",
        &format!("action=drop expire=1\n{rule}"),
    );
    assert_eq!(
        qubes.call("admin.vm.firewall.Get", "", "work", ""),
        rule,
        "what has expired is gone"
    );
    // Longer than a request can be.
    std::fs::write(qubes.world.qube("work").join("notes"), "n".repeat(100_000)).unwrap();
    assert_eq!(
        qubes.call("admin.vm.notes.Get", "", "work", "").len(),
        100_000
    );
}

#[test]
fn a_device_is_assigned_once_and_one_that_is_required_and_missing_blocks_the_start() {
    let (_sandbox, qubes) = whole();
    let options = "device_id='8086:1e03' port_id='00_1f.2' devclass='pci' backend_domain='dom0' mode='required'";
    let assign = "admin.vm.device.pci.Assign";
    qubes.call(assign, "dom0+00_1f.2:8086:1e03", "work", options);
    let again = qubes.fails(assign, "dom0+00_1f.2:8086:1e03", "work", options);
    assert_eq!(again, "DeviceAlreadyAssigned");
    assert_eq!(
        qubes.call("admin.vm.device.pci.Assigned", "", "work", ""),
        format!("dom0+00_1f.2:8086:1e03 {options}\n")
    );
    assert_eq!(
        qubes.fails("admin.vm.Start", "", "work", ""),
        "QubesVMError"
    );
    std::fs::write(
        qubes.world.qube("dom0").join("available.pci"),
        "00_1f.2:8086:1e03\n",
    )
    .unwrap();
    qubes.call("admin.vm.Start", "", "work", "");
    assert_eq!(
        qubes.fails("admin.vm.device.floppy.Assigned", "", "work", ""),
        ""
    );
    let classes = qubes.call("admin.deviceclass.List", "", "dom0", "");
    assert_eq!(classes, "block\nmic\npci\nusb\n");
}

#[test]
fn what_is_guarded_does_not_start() {
    let (_sandbox, qubes) = whole();
    let tag = "backup-restore-in-progress";
    qubes.call("admin.vm.tag.Set", tag, "work", "");
    assert_eq!(
        qubes.fails("admin.vm.Start", "", "work", ""),
        "QubesVMError"
    );
    qubes.call("admin.vm.tag.Remove", tag, "work", "");
    qubes.call(
        "admin.vm.feature.Set",
        "prohibit-start",
        "work",
        "it is restored",
    );
    assert_eq!(
        qubes.fails("admin.vm.Start", "", "work", ""),
        "QubesVMError"
    );
    release(&qubes, "4.2");
    qubes.call("admin.vm.Start", "", "work", "");
    assert!(qubes.world.runs("work"));
}

#[test]
fn a_qube_is_made_with_the_volumes_of_its_class() {
    let (_sandbox, qubes) = whole();
    qubes.make("StandaloneVM", "legacy", "");
    let saved = |qube: &str| -> Vec<String> {
        let volumes = qubes.call("admin.vm.volume.List", "", qube, "");
        let saves = |volume: &&str| {
            let info = qubes.call("admin.vm.volume.Info", volume, qube, "");
            info.contains("\nsave_on_stop=True\n")
        };
        volumes.lines().filter(saves).map(str::to_owned).collect()
    };
    assert_eq!(saved("work"), ["private"]);
    assert_eq!(saved("debian-13"), ["private", "root"]);
    assert_eq!(saved("legacy"), ["private", "root"]);
    let info = qubes.call("admin.vm.volume.Info", "private", "work", "");
    let path = qubes.dirty_image("work", "private");
    let line = format!("path={}\n", path.display());
    assert!(
        info.starts_with("pool=vm-pool\nvid=appvms/work/private\nsize=2147483648\n"),
        "{info}"
    );
    assert!(
        info.contains(&line) && !path.exists(),
        "the path is that of a running qube"
    );
    let root = qubes.call("admin.vm.volume.Info", "root", "work", "");
    assert!(
        root.contains("source=vm-templates/debian-13/root\n")
            && root.contains("snap_on_start=True")
    );
    // A copy keeps the size that its template had when the qube was made.
    qubes.import("debian-13", "root", &[1; 4096]);
    assert_eq!(qubes.call("admin.vm.volume.Info", "root", "work", ""), root);
}

#[test]
fn a_qube_is_not_made_twice_nor_of_what_is_missing_and_without_a_template_it_gets_the_default() {
    let (_sandbox, qubes) = whole();
    let create = |class: &str, template: &str, payload: &str| {
        qubes.fails(
            &format!("admin.vm.Create{class}"),
            template,
            "dom0",
            payload,
        )
    };
    let mine = "name=mine label=red";
    assert_eq!(
        create(".AppVM", "", "name=work label=red"),
        "QubesVMAlreadyExistsError"
    );
    assert_eq!(create(".AppVM", "missing", mine), "QubesVMNotFoundError");
    assert_eq!(
        create(".AppVM", "", "name=mine label=pink"),
        "QubesLabelNotFoundError"
    );
    for pool in ["pool:root=vm-pool", "pool:root=missing"] {
        let payload = format!("{mine} {pool}");
        assert_eq!(
            create("InPool.AppVM", "", &payload),
            "QubesException",
            "{pool}"
        );
    }
    qubes.call(
        "admin.vm.CreateInPool.AppVM",
        "",
        "dom0",
        &format!("{mine} pool:private=vm-pool"),
    );
    let template = qubes.call("admin.vm.property.Get", "template", "mine", "");
    assert_eq!(template, "default=False type=vm debian-13");
}

#[test]
fn a_start_and_a_stop_rename_and_copy_the_files_of_a_volume() {
    let (_sandbox, qubes) = whole();
    let (image, dirty) = (
        qubes.image("work", "private"),
        qubes.dirty_image("work", "private"),
    );
    let inode = || std::os::unix::fs::MetadataExt::ino(&image.metadata().unwrap());
    qubes.fill("work", "private", b"first");
    qubes.call("admin.vm.Start", "", "work", "");
    std::fs::write(&dirty, b"second").unwrap();
    assert_eq!(
        std::fs::read(&image).unwrap(),
        b"first",
        "the committed volume stays"
    );
    let before = inode();
    qubes.call("admin.vm.Shutdown", "", "work", "");
    assert_eq!(std::fs::read(&image).unwrap(), b"second");
    assert!(inode() != before && !dirty.exists());
    assert_eq!(
        qubes.call("admin.vm.volume.ListSnapshots", "private", "work", ""),
        "1\n"
    );
    let name = image.parent().unwrap().join("private-precache.img");
    assert_eq!(
        std::fs::read(name).unwrap(),
        b"second",
        "made for the next start"
    );
    qubes.call("admin.vm.volume.Revert", "private", "work", "1");
    assert_eq!(std::fs::read(&image).unwrap(), b"first");
    assert_eq!(
        qubes.call("admin.vm.volume.ListSnapshots", "private", "work", ""),
        "2\n"
    );
    qubes.call("admin.vm.Start", "", "work", "");
    assert_eq!(
        std::fs::read(&dirty).unwrap(),
        b"first",
        "what was prepared before is older"
    );
    let revert = qubes.fails("admin.vm.volume.Revert", "private", "work", "2");
    assert_eq!(revert, "StoragePoolException");
}

#[test]
fn without_revisions_a_running_qube_has_no_committed_volume() {
    let (_sandbox, qubes) = whole();
    let (image, dirty) = (
        qubes.image("work", "private"),
        qubes.dirty_image("work", "private"),
    );
    qubes.call(
        "admin.vm.volume.Set.revisions_to_keep",
        "private",
        "work",
        "-1",
    );
    qubes.call("admin.vm.Start", "", "work", "");
    assert!(!image.exists() && dirty.exists());
    qubes.call("admin.vm.Kill", "", "work", "");
    assert!(image.exists() && !dirty.exists());
    assert_eq!(
        qubes.call("admin.vm.volume.ListSnapshots", "private", "work", ""),
        ""
    );
}

#[test]
fn an_import_makes_a_revision_or_changes_nothing() {
    let (_sandbox, qubes) = whole();
    qubes.fill("work", "private", b"old");
    assert_eq!(qubes.import("work", "private", b"newer"), b"0\0");
    assert_eq!(
        std::fs::read(qubes.image("work", "private")).unwrap(),
        b"newer"
    );
    assert_eq!(
        qubes.call("admin.vm.volume.ListSnapshots", "private", "work", ""),
        "1\n"
    );
    let refused = qubes.import("work", "root", b"x");
    assert!(
        refused.starts_with(b"2\0StoragePoolException\0"),
        "a copy of the template's"
    );
    let inside = |verb: &str, payload: &str| {
        let request = format!("internal.vm.volume.Import{verb}+private dom0 name work\0{payload}");
        qubes.ask_at("qubesd.internal.sock", request.as_bytes())
    };
    let begun = inside("Begin", "3");
    let path = qubes
        .image("work", "private")
        .with_file_name("private-import.img");
    assert_eq!(begun, format!("0\x003 {}", path.display()).as_bytes());
    assert!(inside("End", "fail").starts_with(b"2\0QubesException\0"));
    assert!(!path.exists());
    assert_eq!(
        std::fs::read(qubes.image("work", "private")).unwrap(),
        b"newer"
    );
    qubes.world.start("work");
    assert!(inside("Begin", "3").starts_with(b"2\0QubesVMNotHaltedError\0"));
}

#[test]
fn a_start_within_an_import_takes_its_file_away_and_the_end_gets_no_answer() {
    let (_sandbox, qubes) = whole();
    let inside = |verb: &str, payload: &str| {
        let request = format!("internal.vm.volume.Import{verb}+private dom0 name work\0{payload}");
        qubes.ask_at("qubesd.internal.sock", request.as_bytes())
    };
    let foreign = qubes
        .image("work", "private")
        .with_file_name("private.img~12345678");
    std::fs::write(&foreign, "").unwrap();
    qubes.fill("work", "private", b"old");
    inside("Begin", "3");
    qubes.call("admin.vm.Start", "", "work", "");
    assert!(
        !foreign.exists(),
        "what looks like an interrupted copy goes too"
    );
    qubes.call("admin.vm.Kill", "", "work", "");
    assert_eq!(inside("End", "ok"), b"");
    assert_eq!(
        std::fs::read(qubes.image("work", "private")).unwrap(),
        b"old"
    );
    // A removal does not wait for the import either.
    inside("Begin", "3");
    qubes.call("admin.vm.Remove", "", "work", "");
}

#[test]
fn a_removal_takes_the_whole_folder_along_and_is_refused_while_something_uses_the_qube() {
    let (_sandbox, qubes) = whole();
    let folder = qubes.image("work", "private").parent().unwrap().to_owned();
    std::fs::write(folder.join("somebody else's"), "").unwrap();
    let remove = |qube: &str| qubes.fails("admin.vm.Remove", "", qube, "");
    assert_eq!(remove("debian-13"), "QubesVMInUseError");
    qubes.call("admin.vm.property.Set", "installed_by_rpm", "work", "True");
    assert_eq!(remove("work"), "QubesVMInUseError");
    qubes.call("admin.vm.property.Set", "installed_by_rpm", "work", "False");
    qubes.call("admin.vm.Remove", "", "work", "");
    assert!(!folder.exists());
}

#[test]
fn a_resize_asks_nothing_and_the_settings_of_a_volume_leave_traces() {
    let (_sandbox, qubes) = whole();
    qubes.fill("work", "private", b"0123456789");
    qubes.call("admin.vm.volume.Resize", "private", "work", "4");
    assert_eq!(
        std::fs::read(qubes.image("work", "private")).unwrap(),
        b"0123"
    );
    qubes.call("admin.vm.volume.Set.rw", "private", "work", "False");
    let resize = qubes.fails("admin.vm.volume.Resize", "private", "work", "8");
    assert_eq!(resize, "StoragePoolException");
    let written = || qubes.world.part("work", "volumes", "volatile").unwrap();
    assert!(!written().contains("ephemeral"));
    qubes.call("admin.vm.volume.Set.ephemeral", "volatile", "work", "False");
    assert!(written().contains("ephemeral=False"));
}

#[test]
fn a_qube_is_paused_while_it_runs_and_a_net_qube_in_use_does_not_shut_down() {
    let (_sandbox, qubes) = whole();
    assert_eq!(
        qubes.fails("admin.vm.Pause", "", "work", ""),
        "QubesVMNotRunningError"
    );
    qubes.call("admin.vm.Start", "", "work", "");
    assert_eq!(
        qubes.fails("admin.vm.Unpause", "", "work", ""),
        "QubesVMNotPausedError"
    );
    qubes.call("admin.vm.Pause", "", "work", "");
    assert_eq!(qubes.world.state("work"), "Paused");
    qubes.call("admin.vm.Unpause", "", "work", "");
    qubes.call("admin.vm.Start", "", "sys-net", "");
    qubes.call("admin.vm.property.Set", "netvm", "work", "sys-net");
    assert_eq!(
        qubes.fails("admin.vm.Shutdown", "", "sys-net", ""),
        "QubesVMInUseError"
    );
    qubes.call("admin.vm.Shutdown", "", "sys-net", "force");
}

#[test]
fn a_remote_qube_runs_has_no_volumes_and_does_not_speak_of_its_firewall_and_notes() {
    let (_sandbox, qubes) = whole();
    qubes.make("RemoteVM", "far", "");
    let line = qubes.call("admin.vm.List", "", "far", "");
    assert!(
        line.starts_with("far class=RemoteVM state=Running"),
        "{line}"
    );
    assert_eq!(qubes.call("admin.vm.volume.List", "", "far", ""), "");
    for call in ["firewall.Get", "notes.Get"] {
        assert_eq!(qubes.fails(&format!("admin.vm.{call}"), "", "far", ""), "");
    }
}

#[test]
fn a_trap_can_be_for_one_qube_and_have_it_halt_or_start_behind_the_answer() {
    let (_sandbox, qubes) = whole();
    qubes.set_qubesd_traps("admin.vm.notes.Get@work error QubesException\nadmin.vm.tag.List starts\nadmin.vm.firewall.Get halts\n");
    assert_eq!(
        qubes.fails("admin.vm.notes.Get", "", "work", ""),
        "QubesException"
    );
    qubes.call("admin.vm.notes.Get", "", "sys-net", "");
    qubes.call("admin.vm.tag.List", "", "work", "");
    assert!(qubes.world.runs("work") && qubes.dirty_image("work", "private").exists());
    qubes.call("admin.vm.firewall.Get", "", "work", "");
    assert!(!qubes.world.runs("work") && !qubes.dirty_image("work", "private").exists());
}
