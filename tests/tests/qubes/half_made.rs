// SPDX-License-Identifier: GPL-3.0-or-later
//! Restores that do not get far: what is left of a qube is guarded and named until a person has
//! decided, what is complete stays, and nothing is built on what is not.

use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use wyng_tests::fake_qubes::FakeQubes;
use wyng_tests::sandbox::{Outcome, noise};
use wyng_tests::service::until;

use super::back::{Machine, disk, plan, says, work};
use super::backups::{can, left_out, names};

const MIB: usize = 1 << 20;
const TAG: &str = "backup-restore-in-progress";
const LEFT: &str = "was left by an interrupted restore";

fn is_guarded(machine: &Machine, qube: &str) -> bool {
    machine.qubes.world.part(qube, "tags", TAG).is_some()
}

/// What the report says of a qube beside its failure.
fn unset(outcome: &Outcome, qube: &str) -> String {
    let rows = outcome.json["qubes"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let row = rows.iter().find(|row| row["name"] == qube).unwrap();
    let unset = row["unset"].as_array().cloned().unwrap_or_default();
    unset.iter().filter_map(Value::as_str).collect()
}

fn is_named(outcome: &Outcome) -> bool {
    plan(outcome)
        .iter()
        .any(|line| line.contains("interrupted"))
}

#[test]
fn a_qube_that_is_left_without_its_mark_is_guarded_and_named_until_a_person_decides() {
    if !can("a_qube_that_is_left_without_its_mark_is_guarded_and_named") {
        return;
    }
    let disk = disk();
    let (_old, new) = Machine::two(&disk, work, &["--qube", "work"]);
    let (qubes, world) = (&new.qubes, &new.qubes.world);
    let dry = ["--qube", "work", "--dry-run"];
    for failing in ["admin.vm.feature.Set", "admin.vm.tag.Set"] {
        qubes.set_qubesd_traps(&format!("{failing}@work error QubesException"));
        let failed = new.restore(&["--qube", "work"]);
        assert_eq!(failed.expect(1).codes(), ["qube-not-made"], "{failing}");
        assert!(unset(&failed, "work").contains(LEFT), "{}", failed.json);
        assert_eq!(is_guarded(&new, "work"), failing == "admin.vm.feature.Set");
        qubes.set_qubesd_traps("");
        for _ in 0..2 {
            let next = new.restore(&dry);
            says(next.success(), "work: was left by an interrupted restore");
            says(&next, "cannot start");
            assert!(is_guarded(&new, "work"), "{failing}");
        }
        let backup = new.wyng(&["backup", "home", "--qube", "work", "--dry-run"]);
        assert_eq!(
            left_out(&backup),
            [("work".into(), "unfinished-restore".into())]
        );
        let check = new.wyng(&["qubes", "check", "qrexec:sys-backup"]);
        let facts = check.json["machine"].as_array().unwrap();
        let is_named_there =
            |fact: &Value| fact["fault"] == "restore-unfinished" && fact["name"] == "work";
        assert!(facts.iter().any(is_named_there), "{}", check.json);
        match failing {
            // A person keeps it.
            "admin.vm.feature.Set" => {
                qubes.call("admin.vm.tag.Remove", TAG, "work", "");
                assert!(is_named(new.restore(&dry).success()), "once more");
                assert!(!is_guarded(&new, "work"));
                assert!(!is_named(new.restore(&dry).success()));
                let backup = new.wyng(&["backup", "home", "--qube", "work", "--dry-run"]);
                assert_eq!(left_out(&backup), []);
            }
            // A person removes it.
            _ => {
                world.remove("work");
                assert!(!is_named(new.restore(&dry).success()));
                break;
            }
        }
        world.remove("work");
    }
}

#[test]
fn a_qube_that_qubesd_may_still_make_stays_noted() {
    if !can("a_qube_that_qubesd_may_still_make_stays_noted") {
        return;
    }
    let disk = disk();
    let (_old, new) = Machine::two(&disk, work, &["--qube", "work"]);
    new.qubes
        .set_qubesd_traps("admin.vm.CreateInPool.AppVM empty");
    let failed = new.restore(&["--qube", "work"]);
    assert_eq!(failed.expect(1).codes(), ["qube-not-made"]);
    new.qubes.set_qubesd_traps("");
    // It comes into being after all.
    new.qubes.make("AppVM", "work", "debian-13");
    let next = new.restore(&["--qube", "work", "--dry-run"]);
    says(next.success(), "work: was begun by an interrupted restore");
    says(&next, "nobody can tell");
}

#[test]
fn a_lost_connection_takes_only_the_qubes_that_are_not_complete() {
    if !can("a_lost_connection_takes_only_the_qubes_that_are_not_complete") {
        return;
    }
    let disk = disk();
    let fill = |qubes: &FakeQubes| {
        for (name, seed, mib) in [("alpha", 7, 1), ("beta", 8, 8)] {
            qubes.make("AppVM", name, "debian-13");
            qubes.fill(name, "private", &noise(mib * MIB, seed));
        }
    };
    let both = ["--qube", "alpha", "--qube", "beta"];
    let (_old, new) = Machine::two(&disk, fill, &both);
    new.qubes.set_traps(&["dies-down 4000000"]);
    let lost = new.restore(&both);
    assert_eq!(lost.expect(6).codes().last().unwrap(), "qube-lost");
    let world = &new.qubes.world;
    assert!(
        world.exists("alpha") && !world.exists("beta"),
        "{}",
        lost.json
    );
    assert!(new.is_let_go("alpha") && new.image("alpha", "private") == noise(MIB, 7));
    // It continues its history, and the other one is made by the next run.
    new.restore(&["--qube", "beta"]).success();
    new.wyng(&["archive", "take-over", "home"]).success();
    let next = new.wyng(&["backup", "home", "--qube", "alpha"]);
    assert_eq!(names(next.success()), ["alpha:private", "alpha:settings"]);
}

/// Whether a signal waits for a process that takes signals one by one.
fn is_waiting(process: u32, signal: Signal) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let masks = ["SigPnd:", "ShdPnd:"];
    masks.iter().any(|mask| {
        let mut lines = status.lines();
        let digits = lines
            .find_map(|line| line.strip_prefix(mask))
            .unwrap_or("0");
        let mask = u64::from_str_radix(digits.trim(), 16).unwrap();
        mask & (1 << (signal.as_raw() - 1)) != 0
    })
}

#[test]
fn an_interrupt_takes_only_the_qubes_that_are_not_complete() {
    if !can("an_interrupt_takes_only_the_qubes_that_are_not_complete") {
        return;
    }
    let disk = disk();
    let fill = |qubes: &FakeQubes| {
        for (name, seed, mib) in [("alpha", 7, 1), ("beta", 8, 48)] {
            qubes.make("AppVM", name, "debian-13");
            qubes.fill(name, "private", &noise(mib * MIB, seed));
        }
    };
    let both = ["--qube", "alpha", "--qube", "beta"];
    let (_old, new) = Machine::two(&disk, fill, &both);
    let (qubes, world) = (&new.qubes, &new.qubes.world);
    let begin = "internal.vm.volume.ImportBegin";
    qubes.set_qubesd_traps(&format!("{begin}@beta slow"));
    std::fs::write(world.0.join("calls"), "").unwrap();
    let words = [
        &["restore", "home"],
        &both[..],
        &["--config", &qubes.config],
    ]
    .concat();
    let mut command = new.sandbox.command(&words);
    let restore = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    until("the second volume is begun", || {
        let calls = world.noted("calls");
        calls.contains(&format!("{begin}+private beta"))
    });
    let process = Pid::from_child(&restore);
    kill_process(process, Signal::INT).unwrap();
    until("the signal is heard", || {
        !is_waiting(restore.id(), Signal::INT)
    });
    qubes.let_go();
    let outcome = Outcome::of(restore.wait_with_output().unwrap());
    assert_eq!(outcome.expect(130).codes().last().unwrap(), "interrupted");
    assert!(
        world.exists("alpha") && !world.exists("beta"),
        "{}",
        outcome.json
    );
    assert!(new.is_let_go("alpha") && new.image("alpha", "private") == noise(MIB, 7));
}

#[test]
fn nothing_is_made_over_a_template_that_is_not_complete() {
    if !can("nothing_is_made_over_a_template_that_is_not_complete") {
        return;
    }
    let disk = disk();
    let fill = |qubes: &FakeQubes| {
        let set = |property, qube, value| {
            qubes.call("admin.vm.property.Set", property, qube, value);
        };
        qubes.make("TemplateVM", "fedora-42", "");
        qubes.make("AppVM", "lone", "fedora-42");
        qubes.make("AppVM", "sys-vpn", "debian-13");
        set("provides_network", "sys-vpn", "True");
        qubes.make("AppVM", "calm", "debian-13");
        set("netvm", "calm", "sys-vpn");
    };
    let all = ["fedora-42", "lone", "sys-vpn", "calm"];
    let chosen: Vec<&str> = all.iter().flat_map(|name| ["--qube", name]).collect();
    let (_old, new) = Machine::two(&disk, fill, &chosen);
    let traps = [
        "internal.vm.volume.ImportBegin@fedora-42 error QubesException",
        "internal.vm.volume.ImportBegin@sys-vpn error QubesException",
        "admin.vm.Remove error QubesException",
    ];
    new.qubes.set_qubesd_traps(&traps.join("\n"));
    let (outcome, _) = new.restore_attended(&["--all-qubes", "--trust-settings"], "y");
    outcome.expect(3);
    let world = &new.qubes.world;
    // What could not be removed is there, guarded, and nothing uses it.
    for name in ["fedora-42", "sys-vpn"] {
        assert!(world.exists(name) && is_guarded(&new, name), "{name}");
        assert!(unset(&outcome, name).contains("not removed"), "{name}");
    }
    assert!(!world.exists("lone"), "{}", outcome.json);
    assert_eq!(world.own("calm", "netvm").as_deref(), Some(""));
    assert!(unset(&outcome, "calm").contains("sys-vpn could not be restored"));
    assert!(new.is_let_go("calm"));
}

#[test]
fn another_qube_that_has_the_name_by_now_is_not_removed() {
    if !can("another_qube_that_has_the_name_by_now_is_not_removed") {
        return;
    }
    let disk = disk();
    let (_old, new) = Machine::two(&disk, work, &["--qube", "work"]);
    let (qubes, world) = (&new.qubes, &new.qubes.world);
    std::fs::write(world.0.join("calls"), "").unwrap();
    new.restore(&["--qube", "work"]).success();
    let calls = world.noted("calls");
    world.remove("work");
    let begin = |call: &String| call.starts_with("internal.vm.volume.ImportBegin");
    let begins = calls.iter().position(begin).unwrap() + 1;
    for is_replaced in [true, false] {
        qubes.kill_at(begins, "after", "caller");
        assert_ne!(new.restore(&["--qube", "work"]).status, 0);
        std::fs::write(world.0.join("kill"), "").unwrap();
        if is_replaced {
            // Between the last question and the removal.
            qubes.set_qubesd_traps("admin.vm.tag.Get@work replaced");
        }
        let next = new.restore(&["--qube", "work", "--dry-run"]);
        qubes.set_qubesd_traps("");
        assert_eq!(world.exists("work"), is_replaced);
        assert_eq!(is_named(next.success()), is_replaced);
        world.remove("work");
        new.restore(&["--qube", "work", "--dry-run"]).success();
    }
}

#[test]
fn a_qube_without_its_firewall_is_cut_off_and_says_so() {
    if !can("a_qube_without_its_firewall_is_cut_off_and_says_so") {
        return;
    }
    let disk = disk();
    let (_old, new) = Machine::two(&disk, work, &["--qube", "work"]);
    let trap = "admin.vm.firewall.Set@work error QubesException";
    new.qubes.set_qubesd_traps(trap);
    let outcome = new.restore(&["--qube", "work"]);
    assert_eq!(outcome.expect(3).codes(), ["qube-unfinished"]);
    let world = &new.qubes.world;
    assert_eq!(world.own("work", "netvm").as_deref(), Some(""));
    assert!(unset(&outcome, "work").contains("property netvm: none"));
    assert!(new.is_let_go("work"), "it reaches nothing");
}
