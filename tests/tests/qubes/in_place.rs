// SPDX-License-Identifier: GPL-3.0-or-later
//! A qube that is here becomes what it was: its volumes are kept before, all of them change or none
//! does, and there is a way back until a person gives it up.

use std::path::PathBuf;

use wyng_tests::disk::LoopMount;
use wyng_tests::fake_qubes::FakeQubes;
use wyng_tests::sandbox::{Outcome, noise};
use wyng_tests::service::until;

use super::back::{Machine, changing, disk, plan, says};
use super::backups::{can, left_out};

const KIB: usize = 1 << 10;
const GUARD: &str = "prohibit-start";
/// What a person has set before.
const OWN_GUARD: &str = "mine";
const IN_PLACE: [&str; 3] = ["--qube", "build", "--in-place"];

/// The volumes as the archive has them.
fn then() -> [Vec<u8>; 2] {
    [noise(256 * KIB, 1), noise(512 * KIB, 2)]
}

/// The volumes as they are when the restore begins. One of them has grown, one has shrunk.
fn now() -> [Vec<u8>; 2] {
    [noise(384 * KIB, 3), noise(320 * KIB, 4)]
}

fn fill(qubes: &FakeQubes, [private, root]: &[Vec<u8>; 2]) {
    qubes.fill("build", "private", private);
    qubes.fill("build", "root", root);
}

fn set(machine: &Machine, property: &str, value: &str) {
    let call = "admin.vm.property.Set";
    machine.qubes.call(call, property, "build", value);
}

/// A machine with a qube that was backed up and has changed since.
fn changed(disk: &LoopMount) -> Machine {
    let machine = Machine::new(disk, "pool");
    let qubes = &machine.qubes;
    qubes.make("StandaloneVM", "build", "");
    fill(qubes, &then());
    set(&machine, "memory", "600");
    qubes.call("admin.vm.notes.Set", "", "build", "Then.");
    let options = ["--chunk-size", "64K", "--pack-size", "1M"];
    let create = qubes.create(&machine.sandbox, "qrexec:sys-backup", &options);
    create.success();
    let backup = machine.wyng(&["backup", "home", "--qube", "build"]);
    backup.success();
    change(&machine);
    machine
}

fn change(machine: &Machine) {
    fill(&machine.qubes, &now());
    set(machine, "memory", "700");
    let notes = "admin.vm.notes.Set";
    machine.qubes.call(notes, "", "build", "Now.");
}

fn images(machine: &Machine) -> [Vec<u8>; 2] {
    ["private", "root"].map(|volume| machine.image("build", volume))
}

#[track_caller]
fn is(machine: &Machine, wanted: &[Vec<u8>; 2], memory: &str) {
    let found = images(machine);
    let sizes = found.each_ref().map(Vec::len);
    assert!(found == *wanted, "{sizes:?}");
    let own = machine.qubes.world.own("build", "memory");
    assert_eq!(own.as_deref(), Some(memory));
}

fn guard(machine: &Machine) -> Option<String> {
    machine.qubes.world.part("build", "features", GUARD)
}

/// The clones that are kept.
fn kept(disk: &LoopMount) -> Vec<PathBuf> {
    let folder = std::fs::read_dir(disk.join(".wyng"));
    let names = folder.into_iter().flatten().flatten();
    let paths = names.map(|entry| entry.path());
    let is_kept = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.starts_with("before-")
    };
    paths.filter(is_kept).collect()
}

fn warned(outcome: &Outcome) -> Vec<String> {
    let warnings = outcome.json["warnings"].as_array().cloned();
    let code = |warning: &serde_json::Value| warning["code"].as_str().unwrap().to_owned();
    warnings.unwrap_or_default().iter().map(code).collect()
}

fn settle(machine: &Machine, word: &str) -> Outcome {
    machine.restore(&["--qube", "build", word])
}

#[test]
fn a_qube_becomes_what_it_was_and_goes_back_or_is_accepted() {
    if !can("a_qube_becomes_what_it_was_and_goes_back_or_is_accepted") {
        return;
    }
    let disk = disk();
    let machine = changed(&disk);
    let dry = machine.restore(&[&IN_PLACE[..], &["--dry-run"]].concat());
    says(dry.success(), "build: is changed in place");
    says(
        &dry,
        "volume private is overwritten: 393216 bytes become 262144",
    );
    says(&dry, "property memory: 700 becomes 600");
    says(&dry, "is kept for 14 days");
    is(&machine, &now(), "700");
    let done = machine.restore(&IN_PLACE);
    assert_eq!(plan(done.success()), plan(&dry));
    assert_eq!(done.json["qubes"][0]["deed"], "in-place");
    is(&machine, &then(), "600");
    assert_eq!(guard(&machine), None);
    assert_eq!(kept(&disk).len(), 2);
    // It is shown, no clean-up takes it, and nothing is done over it.
    for words in [&["snapshots", "list"][..], &["status"]] {
        assert!(warned(&machine.wyng(words)).contains(&"qube-kept".into()));
    }
    machine.wyng(&["snapshots", "clean"]).success();
    machine.wyng(&["snapshots", "clean", "home"]).success();
    assert_eq!(kept(&disk).len(), 2);
    let again = machine.restore(&IN_PLACE);
    assert_eq!(again.expect(2).codes(), ["qubes-in-place"]);
    settle(&machine, "--undo").success();
    is(&machine, &now(), "700");
    assert_eq!((guard(&machine), kept(&disk).len()), (None, 0));
    assert_eq!(
        settle(&machine, "--undo").expect(2).codes(),
        ["nothing-kept"]
    );
    // The data alone, and then there is no way back.
    machine
        .restore(&[&IN_PLACE[..], &["--data-only"]].concat())
        .success();
    is(&machine, &then(), "700");
    settle(&machine, "--accept").success();
    assert_eq!(kept(&disk).len(), 0);
    assert_eq!(
        settle(&machine, "--undo").expect(2).codes(),
        ["nothing-kept"]
    );
    assert_eq!(
        warned(machine.wyng(&["snapshots", "list"]).success()),
        [""; 0]
    );
    is(&machine, &then(), "700");
}

#[test]
fn what_is_kept_goes_after_14_days_of_the_kept_clock_and_not_before() {
    if !can("what_is_kept_goes_after_14_days_of_the_kept_clock") {
        return;
    }
    let disk = disk();
    let machine = changed(&disk);
    machine.restore(&IN_PLACE).success();
    let state = machine.sandbox.state();
    let file = std::path::Path::new(&state).join("kept-qubes");
    let backup = || machine.wyng(&["backup", "home", "--qube", "build"]);
    backup().success();
    assert_eq!(kept(&disk).len(), 2);
    let text = std::fs::read_to_string(&file).unwrap();
    let until: u64 = text.split_whitespace().nth(3).unwrap().parse().unwrap();
    assert!(until >= 14 * 86_400, "{text}");
    // The time is over; a dry run changes nothing.
    std::fs::write(&file, text.replace(&format!(" {until} "), " 0 ")).unwrap();
    machine
        .wyng(&["backup", "home", "--qube", "build", "--dry-run"])
        .success();
    assert_eq!(kept(&disk).len(), 2);
    backup().success();
    assert_eq!(kept(&disk).len(), 0);
    assert_eq!(
        settle(&machine, "--undo").expect(2).codes(),
        ["nothing-kept"]
    );
    is(&machine, &then(), "600");
}

#[test]
fn a_qube_that_is_another_or_may_start_is_not_changed() {
    if !can("a_qube_that_is_another_or_may_start_is_not_changed") {
        return;
    }
    let disk = disk();
    let machine = changed(&disk);
    let (qubes, world) = (&machine.qubes, &machine.qubes.world);
    let refused = |why: &str| {
        let outcome = machine.restore(&IN_PLACE);
        assert_eq!(outcome.expect(2).codes(), ["qubes-in-place"], "{why}");
        let text = outcome.json["errors"][0]["text"]
            .as_str()
            .unwrap()
            .to_owned();
        assert!(text.contains(why), "{why}: {text}");
        assert_eq!((guard(&machine), kept(&disk).len()), (None, 0));
    };
    world.start("build");
    refused("not halted");
    world.halt("build");
    std::fs::write(world.0.join("release"), "4.2").unwrap();
    refused("prohibit-start");
    std::fs::remove_file(world.0.join("release")).unwrap();
    is(&machine, &now(), "700");
    // Started by somebody at the moment in which the guard comes.
    qubes.set_qubesd_traps("admin.vm.feature.Get@build starts");
    let started = machine.restore(&IN_PLACE);
    assert_ne!(started.status, 0);
    qubes.set_qubesd_traps("");
    world.halt("build");
    machine
        .restore(&[&IN_PLACE[..], &["--dry-run"]].concat())
        .success();
    is(&machine, &now(), "700");
    assert_eq!((guard(&machine), kept(&disk).len()), (None, 0));
    // Another qube under the same name.
    world.remove("build");
    qubes.make("StandaloneVM", "build", "");
    change(&machine);
    refused("`--as build`");
    let meant = machine.restore(&[&IN_PLACE[..], &["--as", "build"]].concat());
    meant.success();
    is(&machine, &then(), "600");
    settle(&machine, "--undo").success();
    is(&machine, &now(), "700");
    // Pools of which nothing is kept: a thin one that is not there, and one of ZFS.
    let pools = [
        (
            vec!["driver=lvm_thin", "volume_group=vg", "thin_pool=pool"],
            "its pool cannot be used",
        ),
        (
            vec!["driver=zfs", "container=tank/qubes"],
            "of the driver zfs",
        ),
    ];
    for (lines, why) in pools {
        let lines: Vec<String> = lines.into_iter().map(str::to_owned).collect();
        world.add_pool("other", &lines);
        world.remove("build");
        let create = "admin.vm.CreateInPool.StandaloneVM";
        qubes.call(create, "", "dom0", "name=build label=red pool=other");
        let outcome = machine.restore(&[&IN_PLACE[..], &["--as", "build"]].concat());
        assert_eq!(outcome.expect(2).codes(), ["qubes-in-place"]);
        let text = outcome.json["errors"][0]["text"].to_string();
        assert!(text.contains(why), "{why}: {text}");
    }
}

#[test]
fn if_the_second_volume_fails_the_first_is_put_back_byte_for_byte() {
    if !can("if_the_second_volume_fails_the_first_is_put_back") {
        return;
    }
    let disk = disk();
    let machine = changed(&disk);
    let qubes = &machine.qubes;
    qubes.call("admin.vm.feature.Set", GUARD, "build", OWN_GUARD);
    // The second import is not where it should be: the first one is in its place by then.
    std::fs::write(qubes.world.0.join("calls"), "").unwrap();
    qubes.set_traps(&["dies-down 700000"]);
    let lost = machine.restore(&IN_PLACE);
    assert_eq!(lost.status, 6, "{}", lost.json);
    let calls = qubes.world.noted("calls");
    let end = |volume: &str| format!("internal.vm.volume.ImportEnd+{volume} build");
    assert!(calls.contains(&end("private")), "{calls:#?}");
    assert!(
        lost.codes().contains(&"qube-put-back".into()),
        "{}",
        lost.json
    );
    is(&machine, &now(), "700");
    assert_eq!(guard(&machine).as_deref(), Some(OWN_GUARD));
    assert_eq!(kept(&disk).len(), 0);
    qubes.set_traps(&[]);
    // The same where qubesd fails.
    qubes.set_qubesd_traps("internal.vm.volume.ImportEnd@build error QubesException");
    let failed = machine.restore(&IN_PLACE);
    assert_ne!(failed.status, 0);
    qubes.set_qubesd_traps("");
    let dry = machine.restore(&[&IN_PLACE[..], &["--dry-run"]].concat());
    dry.success();
    is(&machine, &now(), "700");
    assert_eq!(guard(&machine).as_deref(), Some(OWN_GUARD));
}

#[test]
fn what_a_half_changed_qube_still_needs_is_given_up_by_no_person_and_no_time() {
    if !can("what_a_half_changed_qube_still_needs_is_given_up_by_nobody") {
        return;
    }
    let disk = disk();
    let machine = changed(&disk);
    let (qubes, world) = (&machine.qubes, &machine.qubes.world);
    std::fs::write(world.0.join("calls"), "").unwrap();
    machine.restore(&IN_PLACE).success();
    let calls = world.noted("calls");
    let end = "internal.vm.volume.ImportEnd+private build";
    let number = 1 + calls.iter().position(|call| call == end).unwrap();
    settle(&machine, "--undo").success();
    // Killed with one volume of two in its place; and it runs, so that it cannot be put back.
    qubes.kill_at(number, "after", "caller");
    assert_ne!(machine.restore(&IN_PLACE).status, 0);
    std::fs::write(world.0.join("kill"), "").unwrap();
    assert!(images(&machine)[0] == then()[0]);
    world.start("build");
    let accepted = settle(&machine, "--accept");
    assert_eq!(accepted.expect(1).codes(), ["qube-not-settled"]);
    let times = std::path::Path::new(&machine.sandbox.state()).join("kept-qubes");
    for _ in 0..2 {
        machine.wyng(&["backup", "home", "--qube", "build"]);
        let text = std::fs::read_to_string(&times).unwrap_or_default();
        let over = text.lines().map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                [uuid, _, qube] => format!("{uuid} 0 {qube}\n"),
                _ => format!("{line}\n"),
            }
        });
        std::fs::write(&times, over.collect::<String>()).unwrap();
    }
    assert_eq!(kept(&disk).len(), 2);
    let check = machine.wyng(&["qubes", "check", "qrexec:sys-backup"]);
    assert!(warned(&check).contains(&"restore-unfinished".into()));
    world.halt("build");
    let dry = machine.restore(&[&IN_PLACE[..], &["--dry-run"]].concat());
    dry.success();
    is(&machine, &now(), "700");
    assert_eq!((guard(&machine), kept(&disk).len()), (None, 0));
}

#[test]
fn what_a_person_changes_meanwhile_stays() {
    if !can("what_a_person_changes_meanwhile_stays") {
        return;
    }
    let disk = disk();
    let machine = changed(&disk);
    let (qubes, world) = (&machine.qubes, &machine.qubes.world);
    std::fs::write(world.0.join("calls"), "").unwrap();
    qubes.set_qubesd_traps("admin.vm.property.Set@build slow");
    std::thread::scope(|scope| {
        let restore = scope.spawn(|| machine.restore(&IN_PLACE));
        until("the settings are set", || {
            let calls = world.noted("calls");
            calls
                .iter()
                .any(|call| call.starts_with("admin.vm.property.Set+"))
        });
        assert!(guard(&machine).unwrap().contains("Wyng"));
        qubes.call("admin.vm.feature.Set", GUARD, "build", OWN_GUARD);
        qubes.let_go();
        restore.join().unwrap().success();
    });
    qubes.set_qubesd_traps("");
    assert_eq!(guard(&machine).as_deref(), Some(OWN_GUARD));
    is(&machine, &then(), "600");
    // After the restore, too: an undo leaves what a person has set since.
    set(&machine, "memory", "800");
    let undone = settle(&machine, "--undo");
    undone.success();
    is(&machine, &now(), "800");
    assert_eq!(guard(&machine).as_deref(), Some(OWN_GUARD));
    let unset = undone.json["qubes"][0]["unset"].to_string();
    assert!(
        unset.contains("property memory: it was changed since"),
        "{unset}"
    );
}

#[test]
fn a_restore_in_place_that_is_killed_at_any_call_is_ended_or_put_back_by_the_next_run() {
    if !can("a_restore_in_place_that_is_killed_at_any_call") {
        return;
    }
    let disk = disk();
    let machine = changed(&disk);
    let (qubes, world) = (&machine.qubes, &machine.qubes.world);
    qubes.call("admin.vm.feature.Set", GUARD, "build", OWN_GUARD);
    let counted = |words: &[&str]| {
        std::fs::write(world.0.join("calls"), "").unwrap();
        machine.restore(words).success();
        world.noted("calls")
    };
    let undo = ["--qube", "build", "--undo"];
    for words in [&IN_PLACE[..], &undo] {
        if words == undo {
            machine.restore(&IN_PLACE).success();
        }
        let calls = counted(words);
        if words == IN_PLACE {
            settle(&machine, "--undo").success();
        }
        is(&machine, &now(), "700");
        let asks = |number: &usize| calls[*number - 1].contains(".Assigned+");
        for number in changing(&calls).into_iter().filter(|number| !asks(number)) {
            for phase in ["before", "after"] {
                let at = format!("{words:?} {phase} {}", calls[number - 1]);
                if words == undo {
                    machine.restore(&IN_PLACE).success();
                }
                qubes.kill_at(number, phase, "caller");
                assert_ne!(machine.restore(words).status, 0, "{at}");
                std::fs::write(world.0.join("kill"), "").unwrap();
                assert_ne!(world.noted("killed"), [""; 0], "{at}");
                std::fs::write(world.0.join("killed"), "").unwrap();
                // The next run ends it, whatever it is about.
                let next = machine.restore(&["--qube", "build", "--as", "other", "--dry-run"]);
                next.success();
                assert_eq!(guard(&machine).as_deref(), Some(OWN_GUARD), "{at}");
                if images(&machine) != now() {
                    assert!(images(&machine) == then() && words == IN_PLACE, "{at}");
                    settle(&machine, "--undo").success();
                }
                is(&machine, &now(), "700");
                assert_eq!(kept(&disk).len(), 0, "{at}");
                let dry = machine.wyng(&["backup", "home", "--qube", "build", "--dry-run"]);
                assert_eq!(left_out(dry.success()), [], "{at}");
            }
        }
    }
}
