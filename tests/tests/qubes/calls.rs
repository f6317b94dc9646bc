// SPDX-License-Identifier: GPL-3.0-or-later
//! Calls from dom0 and from an admin qube: that they work, their form, and the reports of their
//! exit statuses.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;

use wyng_tests::fake_qubes::FakeQubes;
use wyng_tests::sandbox::{Sandbox, noise};

const IMAGE_BYTES: usize = 3 << 20;

/// A backup, a verify and a restore through this far end.
fn round_trip(qubes: &FakeQubes, sandbox: &Sandbox, via: &str) {
    qubes.create(sandbox, via, &["--pack-size", "1M"]).success();
    sandbox.image("disk.img", IMAGE_BYTES, 1);
    qubes
        .wyng(sandbox, &["backup", "home", "disk.img"])
        .success();
    qubes.wyng(sandbox, &["verify", "home"]).success();
    qubes
        .wyng(
            sandbox,
            &["restore", "home", "disk.img", "--to", "restored"],
        )
        .success();
    assert!(std::fs::read(sandbox.path("restored")).unwrap() == noise(IMAGE_BYTES, 1));
}

#[test]
fn dom0_calls_each_service_of_a_qube_by_its_name() {
    let sandbox = Sandbox::new();
    let qubes = FakeQubes::dom0(&sandbox);
    round_trip(&qubes, &sandbox, "qrexec:sys-backup");
    let call = |service| format!("-d sys-backup -w 5 -- DEFAULT:QUBESRPC {service}+ dom0");
    assert_eq!(
        qubes.world.noted("qrexec-calls"),
        ["wyng.Push", "wyng.Push", "wyng.Fetch", "wyng.Fetch"].map(call)
    );
}

#[test]
fn an_admin_qube_calls_by_target_and_the_disposable_is_made_and_killed_for_it() {
    let sandbox = Sandbox::new();
    let qubes = FakeQubes::admin_qube(&sandbox);
    round_trip(&qubes, &sandbox, "qrexec:@dispvm:net-dvm");
    let call = |service| format!("@dispvm:net-dvm {service}+");
    assert_eq!(
        qubes.world.noted("qrexec-calls"),
        ["wyng.Push", "wyng.Push", "wyng.Fetch", "wyng.Fetch"].map(call)
    );
    assert_eq!(qubes.world.disposables(), [""; 0]);
}

/// The outcome of a backup through `qrexec:sys-backup` after `spoil`.
fn backup_says(admin: fn(&Sandbox) -> FakeQubes, spoil: impl Fn(&FakeQubes), code: &str) {
    let sandbox = Sandbox::new();
    let qubes = admin(&sandbox);
    qubes.create(&sandbox, "qrexec:sys-backup", &[]).success();
    sandbox.image("disk.img", IMAGE_BYTES, 1);
    spoil(&qubes);
    let outcome = qubes.wyng(&sandbox, &["backup", "home", "disk.img"]);
    assert_eq!(outcome.expect(6).codes(), [code], "{}", outcome.stderr);
}

#[test]
fn each_exit_status_tells_the_owner_what_to_install_or_start() {
    let remove = |qubes: &FakeQubes| {
        std::fs::remove_file(qubes.world.qube("sys-backup").join("services/wyng.Push")).unwrap()
    };
    backup_says(FakeQubes::dom0, remove, "far-end-missing");
    backup_says(
        FakeQubes::dom0,
        |qubes| qubes.set_traps(&["exits 125"]),
        "qrexec-failed",
    );
    backup_says(
        FakeQubes::dom0,
        |qubes| qubes.set_traps(&["frozen"]),
        "qrexec-failed",
    );
    backup_says(
        FakeQubes::dom0,
        |qubes| qubes.set_traps(&["dies-up 100"]),
        "qube-lost",
    );
    backup_says(
        FakeQubes::dom0,
        |qubes| qubes.set_traps(&["drops-up 100"]),
        "qube-lost",
    );
    backup_says(
        FakeQubes::admin_qube,
        |qubes| qubes.set_traps(&["drops-up 100"]),
        "qube-lost",
    );
    backup_says(
        FakeQubes::admin_qube,
        |qubes| std::fs::write(qubes.world.0.join("no-agent"), "").unwrap(),
        "qube-lost",
    );
    backup_says(
        FakeQubes::dom0,
        |qubes| qubes.install("sys-backup", "wyng.Push", "kill -9 $$"),
        "far-end-killed",
    );
    for status in [16, 200, 254] {
        backup_says(
            FakeQubes::dom0,
            |qubes| qubes.install("sys-backup", "wyng.Push", &format!("exit {status}")),
            "far-end-lost",
        );
    }
    let forbid = |qubes: &FakeQubes| {
        let service = qubes.world.qube("sys-backup").join("services/wyng.Push");
        std::fs::set_permissions(service, std::fs::Permissions::from_mode(0o644)).unwrap();
    };
    backup_says(FakeQubes::dom0, forbid, "far-end-not-executable");
    backup_says(
        FakeQubes::dom0,
        |qubes| std::fs::remove_file(qubes.world.0.join("bin/qrexec-client")).unwrap(),
        "qrexec-missing",
    );
    backup_says(
        FakeQubes::admin_qube,
        |qubes| std::fs::write(qubes.world.0.join("refuse"), "").unwrap(),
        "far-end-refused",
    );
    backup_says(
        FakeQubes::admin_qube,
        |qubes| std::fs::write(qubes.world.0.join("nostart"), "").unwrap(),
        "far-end-refused",
    );
}

#[test]
fn a_far_end_that_never_greets_is_told_from_one_that_stands_still() {
    backup_says(
        FakeQubes::admin_qube,
        |qubes| qubes.set_traps(&["silent"]),
        "far-end-silent",
    );
}

#[test]
fn how_a_far_end_ends_behind_its_last_word_changes_nothing() {
    for behind in ["exit 1", "exit 127", "kill -9 $$", "sleep 100"] {
        let sandbox = Sandbox::new();
        let qubes = FakeQubes::dom0(&sandbox);
        for (service, verb) in [("wyng.Push", "push"), ("wyng.Fetch", "fetch")] {
            qubes.install("sys-backup", service, &format!("$HELPER {verb}; {behind}"));
        }
        round_trip(&qubes, &sandbox, "qrexec:sys-backup");
    }
}

#[test]
fn a_login_script_that_prints_is_told_from_everything_else() {
    backup_says(
        FakeQubes::dom0,
        |qubes| qubes.login_script("sys-backup", "echo Welcome to this template"),
        "far-end-banner",
    );
}

#[test]
fn standard_error_that_is_not_of_the_protocol_holds_nothing_up() {
    let sandbox = Sandbox::new();
    let qubes = FakeQubes::dom0(&sandbox);
    let noisy = "yes 'click here' | head -c 4000000 >&2; exec $HELPER";
    qubes.install("sys-backup", "wyng.Push", &format!("{noisy} push"));
    qubes.install("sys-backup", "wyng.Fetch", &format!("{noisy} fetch"));
    round_trip(&qubes, &sandbox, "qrexec:sys-backup");
}

#[test]
fn what_could_reach_past_the_name_of_a_qube_is_refused_before_anything_starts() {
    let sandbox = Sandbox::new();
    let qubes = FakeQubes::dom0(&sandbox);
    for via in [
        "qrexec:dom0",
        "qrexec:-d",
        "qrexec:sys-backup other",
        "qrexec:@dispvm:@anyvm",
        "telnet:host",
    ] {
        assert_eq!(
            qubes.create(&sandbox, via, &[]).expect(2).codes(),
            ["bad-setting"],
            "{via}"
        );
    }
    assert_eq!(qubes.world.noted("qrexec-calls"), [""; 0]);
}

#[test]
fn a_check_of_the_way_calls_each_service_and_says_what_is_missing() {
    let sandbox = Sandbox::new();
    let qubes = FakeQubes::dom0(&sandbox);
    let checked = qubes.wyng(&sandbox, &["qubes", "check", "qrexec:sys-backup"]);
    // This machine has no policy of qrexec, which is reported to the owner.
    assert_eq!(checked.expect(3).codes(), ["policy-missing"]);
    let reached = |service| serde_json::json!({"via": "qrexec:sys-backup", "service": service});
    assert_eq!(
        checked.json["reached"],
        serde_json::json!([reached("wyng.Push"), reached("wyng.Fetch")])
    );
    std::fs::remove_file(qubes.world.qube("sys-backup").join("services/wyng.Fetch")).unwrap();
    let checked = qubes.wyng(
        &sandbox,
        &["qubes", "check", "qrexec:sys-backup", "qrexec:nowhere"],
    );
    assert_eq!(
        checked.expect(6).codes(),
        [
            "far-end-missing",
            "unknown-qube",
            "unknown-qube",
            "policy-missing"
        ]
    );
    assert_eq!(
        checked.json["reached"],
        serde_json::json!([reached("wyng.Push")])
    );
}

#[test]
fn a_check_says_what_whole_qubes_depend_on_and_what_is_wrong_with_it() {
    let sandbox = Sandbox::new();
    let qubes = FakeQubes::dom0(&sandbox);
    qubes.add_system(&sandbox.path("pool"));
    let slow = ["driver=file", "dir_path=/var/lib/qubes"].map(str::to_owned);
    qubes.world.add_pool("slow", &slow);
    let checked = |clockvm: &str, preloads: &str| {
        qubes.world.set_own("dom0", "clockvm", clockvm);
        qubes
            .world
            .set_part("net-dvm", "features", "preload-dispvm-max", preloads);
        let vias = ["qrexec:sys-backup", "qrexec:@dispvm:net-dvm"];
        let words = [&["qubes", "check"][..], &vias].concat();
        let found = qubes.wyng(&sandbox, &words);
        let facts = found.json["machine"].as_array().unwrap();
        let text = |fact: &serde_json::Value, key| fact[key].as_str().unwrap_or("").to_owned();
        let shown = facts.iter().map(|fact| {
            let what = format!("{} {}", text(fact, "subject"), text(fact, "name"));
            (what.trim_end().to_owned(), text(fact, "fault"))
        });
        let warnings = found.json["warnings"].as_array().unwrap();
        let codes = warnings.iter().map(|warning| text(warning, "code"));
        (
            shown.collect::<BTreeMap<_, _>>(),
            codes.collect::<BTreeSet<_>>(),
        )
    };
    let (facts, warnings) = checked("sys-net", "0");
    for (what, fault) in [
        ("qubesd", ""),
        ("pool slow", "pool-read-whole"),
        ("far-end sys-backup", ""),
        ("far-end net-dvm", ""),
        ("policy", ""),
        ("clock", ""),
    ] {
        assert_eq!(facts.get(what).map(String::as_str), Some(fault), "{what}");
    }
    assert!(facts.contains_key("pool vm-pool") && !facts.contains_key("pool linux-kernel"));
    assert!(warnings.contains("pool-read-whole"));
    assert!(!warnings.contains("far-end-preloaded"));
    let (facts, warnings) = checked("sys-backup", "2");
    assert_eq!(facts["far-end net-dvm"], "far-end-preloaded");
    assert_eq!(facts["clock"], "far-end-sets-clock");
    for code in ["far-end-preloaded", "far-end-sets-clock"] {
        assert!(warnings.contains(code), "{warnings:?}");
    }
    assert_eq!(checked("", "0").0["clock"], "no-clockvm");
}

#[test]
fn a_check_without_a_far_end_takes_those_of_all_archives() {
    let sandbox = Sandbox::new();
    let qubes = FakeQubes::admin_qube(&sandbox);
    qubes
        .create(&sandbox, "qrexec:@dispvm:net-dvm", &[])
        .success();
    let checked = qubes.wyng(&sandbox, &["qubes", "check"]);
    assert_eq!(
        checked.success().json["reached"].as_array().unwrap().len(),
        2
    );
    assert_eq!(qubes.world.disposables(), [""; 0]);
}
