// SPDX-License-Identifier: GPL-3.0-or-later
//! Whose history a qube continues: on a new machine, after a new name, and where its parts are not
//! of one moment or one session.

use wyng_tests::require::{Component, require};
use wyng_tests::sandbox::{Outcome, noise};

use super::back::{Machine, disk, plan, says, work};
use super::backups::{System, can, left_out, names, of_volume};

const MIB: usize = 1 << 20;

fn warnings(outcome: &Outcome) -> Vec<String> {
    let rows = outcome.json["warnings"].as_array().cloned();
    let code = |row: serde_json::Value| row["code"].as_str().unwrap().to_owned();
    rows.unwrap_or_default().into_iter().map(code).collect()
}

fn sessions(machine: &Machine, volume: &str) -> usize {
    let list = machine.wyng(&["list", "home", volume]);
    let volumes = list.success().json["volumes"].as_array().unwrap();
    volumes[0]["sessions"].as_array().unwrap().len()
}

#[test]
fn on_a_new_machine_an_empty_qube_of_the_same_name_begins_a_history_of_its_own() {
    if !can("on_a_new_machine_an_empty_qube_of_the_same_name_begins_a_history_of_its_own") {
        return;
    }
    let disk = disk();
    let (_old, new) = Machine::two(&disk, work, &["--qube", "work"]);
    new.wyng(&["archive", "take-over", "home"]).success();
    new.qubes.make("AppVM", "work", "debian-13");
    let first = new.wyng(&["backup", "home", "--qube", "work"]);
    let own = ["work@2:private", "work@2:settings"];
    assert_eq!(names(first.success()), own);
    assert_eq!(warnings(&first), ["history-not-continued"]);
    assert_eq!(sessions(&new, "work:private"), 1);
    let again = new.wyng(&["backup", "home", "--qube", "work"]);
    assert_eq!(names(again.success()), own);
    assert_eq!(warnings(&again), [""; 0], "it is said once");
    // A history of its own is never left for another.
    let asked = ["backup", "home", "--qube", "work", "--continue", "work"];
    let late = new.wyng(&asked);
    assert_eq!(names(late.success()), own);
    assert_eq!(warnings(&late), ["history-not-continued"]);
    for volume in own {
        new.wyng(&["volume", "remove", "home", volume, "--yes"])
            .success();
    }
    let continued = new.wyng(&asked);
    assert_eq!(
        names(continued.success()),
        ["work:private", "work:settings"]
    );
    assert_eq!(warnings(&continued), [""; 0]);
    assert_eq!(sessions(&new, "work:private"), 2);
    let next = new.wyng(&["backup", "home", "--qube", "work"]);
    assert_eq!(names(next.success()), ["work:private", "work:settings"]);
    let vain = new.wyng(&["backup", "home", "disk=/dev/null", "--continue", "work"]);
    assert_eq!(vain.expect(2).codes(), ["usage"]);
}

#[test]
fn a_renamed_qube_of_which_a_part_fails_has_one_name_all_the_same() {
    if !can("a_renamed_qube_of_which_a_part_fails_has_one_name_all_the_same") {
        return;
    }
    let system = System::new();
    system.back_up(&["--qube", "work"]).success();
    system.qubes.rename("work", "job");
    system
        .qubes
        .set_qubesd_traps("admin.vm.notes.Get@job empty");
    system.back_up(&["--qube", "job", "--dry-run"]).expect(3);
    let list = system.wyng(&["list", "home"]);
    assert_eq!(names(&list), ["work:private", "work:settings"]);
    let outcome = system.back_up(&["--qube", "job"]);
    assert_eq!(outcome.expect(3).codes(), ["qube-not-read"]);
    let list = system.wyng(&["list", "home"]);
    assert_eq!(names(&list), ["job:private", "job:settings"]);
    let count = |name: &str| of_volume(&list, name)["sessions"].as_array().unwrap().len();
    assert_eq!((count("job:private"), count("job:settings")), (2, 1));
    system.qubes.set_qubesd_traps("");
    let outcome = system.back_up(&["--qube", "job"]);
    assert_eq!(names(outcome.success()), ["job:private", "job:settings"]);
    assert_eq!(names(&system.wyng(&["list", "home"])).len(), 2);
}

#[test]
fn a_plan_says_that_parts_of_a_qube_are_of_several_sessions() {
    if !can("a_plan_says_that_parts_of_a_qube_are_of_several_sessions") {
        return;
    }
    let disk = disk();
    let (old, new) = Machine::two(&disk, work, &["--qube", "work"]);
    let is_mixed = |outcome: &Outcome| {
        let lines = plan(outcome);
        lines.iter().any(|line| line.contains("several sessions"))
    };
    let dry = ["--qube", "work", "--dry-run"];
    assert!(!is_mixed(new.restore(&dry).success()));
    old.qubes.set_qubesd_traps("admin.vm.notes.Get@work empty");
    let failed = old.wyng(&["backup", "home", "--qube", "work"]);
    assert_eq!(names(failed.expect(3)), ["work:private"]);
    old.qubes.set_qubesd_traps("");
    let mixed = old.restore(&["--qube", "work", "--as", "again", "--dry-run"]);
    says(
        mixed.success(),
        "work: is of several sessions: private of 2",
    );
    assert!(
        plan(&mixed)[0].contains(", settings of 2"),
        "{:?}",
        plan(&mixed)
    );
    let bare = [
        "--qube",
        "work",
        "--as",
        "again",
        "--dry-run",
        "--settings-only",
    ];
    assert!(!is_mixed(old.restore(&bare).success()));
}

#[test]
fn live_volumes_that_cannot_be_cloned_together_are_reported_as_of_several_moments() {
    let test = "live_volumes_that_cannot_be_cloned_together_are_reported_as_of_several_moments";
    if !require(Component::Ext4, test) || !require(Component::Root, test) {
        return;
    }
    let system = System::on("ext4");
    let qubes = &system.qubes;
    qubes.make("StandaloneVM", "legacy", "");
    for (volume, seed) in [("root", 5), ("private", 6)] {
        qubes.fill("legacy", volume, &noise(MIB, seed));
    }
    let stopped = system.back_up(&["--qube", "legacy", "--live"]);
    assert_eq!(left_out(stopped.success()), []);
    for qube in ["legacy", "work"] {
        qubes.call("admin.vm.Start", "", qube, "");
    }
    let both = ["--qube", "legacy", "--qube", "work"];
    assert_eq!(left_out(system.back_up(&both).success()), []);
    let live = system.back_up(&[&both[..], &["--live"]].concat());
    // The other one has a single volume.
    assert_eq!(
        left_out(live.success()),
        [("legacy".into(), "not-one-moment".into())]
    );
    let calls = qubes.world.noted("calls");
    assert!(!calls.iter().any(|call| call.starts_with("admin.vm.Pause")));
    assert!(system.restored("legacy:root") == noise(MIB, 5));
}

#[test]
fn a_qube_whose_settings_alone_came_back_begins_a_history_of_its_own() {
    if !can("a_qube_whose_settings_alone_came_back_begins_a_history_of_its_own") {
        return;
    }
    let disk = disk();
    let (_old, new) = Machine::two(&disk, work, &["--qube", "work"]);
    new.restore(&["--qube", "work", "--settings-only"])
        .success();
    new.wyng(&["archive", "take-over", "home"]).success();
    let next = new.wyng(&["backup", "home", "--qube", "work"]);
    assert_eq!(names(next.success()), ["work@2:private", "work@2:settings"]);
    assert_eq!(sessions(&new, "work:private"), 1);
}

#[test]
fn a_disposable_that_goes_while_qubes_are_chosen_is_no_failure() {
    if !can("a_disposable_that_goes_while_qubes_are_chosen_is_no_failure") {
        return;
    }
    let system = System::new();
    let qubes = &system.qubes;
    let passing = qubes.world.make_disposable("net-dvm");
    qubes.set_qubesd_traps(&format!(
        "admin.vm.property.Get@{passing} error QubesVMNotFoundError"
    ));
    let all = ["--all", "--exclude", "@type:TemplateVM"];
    let outcome = system.back_up(&all);
    let backed_up = names(outcome.success());
    assert!(
        backed_up.contains(&"work:private".to_owned()),
        "{backed_up:?}"
    );
    assert!(!backed_up.iter().any(|name| name.starts_with(&passing)));
    // Whoever names it is told.
    let named = system.back_up(&["--qube", "@all", "--qube", &passing]);
    assert_eq!(named.expect(3).codes(), ["qube-not-read"]);
}
