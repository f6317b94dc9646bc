// SPDX-License-Identifier: GPL-3.0-or-later
//! Whole qubes are backed up: their volumes as they were committed, and their settings, each as a
//! volume of the archive; over a real file system that clones, and a simulated qubesd with its
//! traps.

use std::process::Command;

use serde_json::Value;
use wyng_tests::disk::{LoopMount, run};
use wyng_tests::fake_qubes::FakeQubes;
use wyng_tests::require::{Component, require};
use wyng_tests::sandbox::{Outcome, Sandbox, noise, write_at};
use wyng_tests::second_reader::SecondReader;
use wyng_tests::service::{Service, until};

const MIB: usize = 1 << 20;

/// An archive behind `sys-backup`, and a system whose pool is a btrfs.
pub(crate) struct System {
    pub(crate) sandbox: Sandbox,
    pub(crate) qubes: FakeQubes,
    _disk: LoopMount,
}

impl System {
    pub(crate) fn new() -> Self {
        Self::on("btrfs")
    }

    /// The same with a pool on this file system.
    pub(crate) fn on(file_system: &str) -> Self {
        let sandbox = Sandbox::new();
        let qubes = FakeQubes::dom0(&sandbox);
        let disk = LoopMount::mount(file_system, 512, "noatime");
        qubes.add_system(&disk.join("pool"));
        qubes.make("AppVM", "work", "");
        qubes.fill("work", "private", &noise(2 * MIB, 1));
        for (volume, seed) in [("root", 2), ("private", 3)] {
            qubes.fill("debian-13", volume, &noise(MIB, seed));
        }
        qubes.fill("sys-net", "private", &noise(MIB / 2, 4));
        let create = qubes.create(
            &sandbox,
            "qrexec:sys-backup",
            &["--chunk-size", "64K", "--pack-size", "1M"],
        );
        create.success();
        Self {
            sandbox,
            qubes,
            _disk: disk,
        }
    }

    pub(crate) fn wyng(&self, words: &[&str]) -> Outcome {
        self.qubes.wyng(&self.sandbox, words)
    }

    pub(crate) fn back_up(&self, words: &[&str]) -> Outcome {
        self.wyng(&[&["backup", "home"], words].concat())
    }

    /// The bytes of a volume's newest session.
    #[track_caller]
    pub(crate) fn restored(&self, volume: &str) -> Vec<u8> {
        let outcome = self.wyng(&["restore", "home", volume, "--to", "-"]);
        outcome.success();
        outcome.stdout
    }

    /// The settings record of a qube in the archive.
    #[track_caller]
    pub(crate) fn settings(&self, volume: &str) -> Value {
        serde_json::from_slice(&self.restored(volume)).unwrap()
    }
}

pub(crate) fn names(outcome: &Outcome) -> Vec<String> {
    let volumes = outcome.json["volumes"].as_array().unwrap();
    let name = |volume: &Value| volume["name"].as_str().unwrap().to_owned();
    volumes.iter().map(name).collect()
}

pub(crate) fn left_out(outcome: &Outcome) -> Vec<(String, String)> {
    let left = outcome.json["left_out"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    left.iter()
        .map(|left| (text(&left["what"]), text(&left["why"])))
        .collect()
}

pub(crate) fn of_volume<'a>(outcome: &'a Outcome, name: &str) -> &'a Value {
    let volumes = outcome.json["volumes"].as_array().unwrap();
    volumes
        .iter()
        .find(|volume| volume["name"] == name)
        .unwrap()
}

/// Whether this machine has what these tests need.
pub(crate) fn can(test: &str) -> bool {
    require(Component::Btrfs, test)
}

#[test]
fn a_qube_comes_back_with_its_volumes_and_its_settings() {
    if !can("a_qube_comes_back_with_its_volumes_and_its_settings") {
        return;
    }
    let system = System::new();
    let qubes = &system.qubes;
    qubes.add_volume("work", "data", &noise(MIB, 7));
    qubes.call("admin.vm.property.Set", "netvm", "work", "");
    qubes.call("admin.vm.feature.Set", "service.clocksync", "work", "1");
    qubes.call("admin.vm.tag.Set", "important", "work", "");
    qubes.call("admin.vm.firewall.Set", "", "work", "action=drop\n");
    qubes.call("admin.vm.notes.Set", "", "work", "My notes.\n");
    let device = "device_id='*' mode='manual' _read-only='yes'";
    qubes.call(
        "admin.vm.device.usb.Assign",
        "sys-net+2-1:*",
        "work",
        device,
    );
    let outcome = system.back_up(&["--qube", "work"]);
    assert_eq!(
        names(outcome.success()),
        ["work:data", "work:private", "work:settings"]
    );
    assert_eq!(of_volume(&outcome, "work:private")["snapshot"], true);
    assert!(system.restored("work:private") == noise(2 * MIB, 1));
    assert!(system.restored("work:data") == noise(MIB, 7));
    let record = system.settings("work:settings");
    assert_eq!(record["name"], "work");
    assert_eq!(record["class"], "AppVM");
    assert_eq!(record["template"], "debian-13");
    assert_eq!(record["effective"]["netvm"], Value::Null);
    assert_eq!(record["features"]["service.clocksync"], "1");
    assert_eq!(record["firewall"][0], "action=drop");
    assert_eq!(record["notes"], "My notes.\n");
    assert_eq!(record["devices"][0]["port"], "2-1");
    assert_eq!(record["volumes"]["private"]["driver"], "file-reflink");
    let text = String::from_utf8(system.restored("work:settings")).unwrap();
    assert!(
        text.ends_with("}\n") && !text.contains("sys-net:"),
        "{text}"
    );
    let list = system.wyng(&["list", "home"]);
    assert_eq!(
        names(list.success()),
        ["work:data", "work:private", "work:settings"]
    );
}

#[test]
fn the_second_reader_decodes_a_settings_record_to_the_same_bytes() {
    let test = "the_second_reader_decodes_a_settings_record_to_the_same_bytes";
    // Only who can run it makes the reader ready: that writes to `target`.
    let Some(reader) = can(test).then(|| SecondReader::ready(test)).flatten() else {
        return;
    };
    let system = System::new();
    system.back_up(&["--qube", "work"]).success();
    let ours = system.restored("work:settings");
    let list = system.wyng(&["list", "home", "work:settings"]);
    let session = list.json["volumes"][0]["sessions"][0]["session"]
        .as_str()
        .unwrap()
        .to_owned();
    let passphrase = system.sandbox.path("passphrase");
    let words = ["restore", "work:settings", &session, "-"];
    let theirs = reader.run(&system.sandbox.store(), &passphrase, &words);
    assert!(theirs.success().stdout == ours);
}

#[test]
fn a_running_qube_is_backed_up_as_it_was_committed_and_live_as_it_is() {
    if !can("a_running_qube_is_backed_up_as_it_was_committed_and_live_as_it_is") {
        return;
    }
    let system = System::new();
    let qubes = &system.qubes;
    qubes.call("admin.vm.Start", "", "work", "");
    let now = noise(2 * MIB, 9);
    std::fs::write(qubes.dirty_image("work", "private"), &now).unwrap();
    system.back_up(&["--qube", "work"]).success();
    assert!(system.restored("work:private") == noise(2 * MIB, 1));
    system.back_up(&["--qube", "work", "--live"]).success();
    assert!(system.restored("work:private") == now);
    let list = system.wyng(&["list", "home", "work:settings"]);
    let sessions = list.json["volumes"][0]["sessions"]
        .as_array()
        .unwrap()
        .clone();
    assert!(
        sessions.iter().all(|session| session["live"] == false),
        "{sessions:?}"
    );
    // It has one volume, so it need not stand still.
    assert!(
        !qubes
            .world
            .noted("calls")
            .iter()
            .any(|call| call.starts_with("admin.vm.Pause"))
    );
}

#[test]
fn all_running_volumes_of_a_qube_are_of_one_moment_and_it_goes_on() {
    if !can("all_running_volumes_of_a_qube_are_of_one_moment_and_it_goes_on") {
        return;
    }
    let system = System::new();
    let qubes = &system.qubes;
    qubes.make("StandaloneVM", "legacy", "");
    for (volume, seed) in [("root", 5), ("private", 6)] {
        qubes.fill("legacy", volume, &noise(MIB, seed));
    }
    qubes.call("admin.vm.Start", "", "legacy", "");
    std::fs::write(qubes.world.0.join("calls"), "").unwrap();
    system.back_up(&["--qube", "legacy", "--live"]).success();
    let of_interest = |call: &String| {
        ["Pause+", "Unpause+", "wyng-paused"]
            .iter()
            .any(|word| call.contains(word))
    };
    let calls: Vec<String> = qubes
        .world
        .noted("calls")
        .into_iter()
        .filter(of_interest)
        .collect();
    let expected = [
        "admin.vm.feature.Set+wyng-paused legacy",
        "admin.vm.Pause+ legacy",
        "admin.vm.Unpause+ legacy",
        "admin.vm.feature.Remove+wyng-paused legacy",
    ];
    assert_eq!(calls, expected);
    assert_eq!(qubes.world.state("legacy"), "Running");
    assert!(system.restored("legacy:root") == noise(MIB, 5));
    let record = system.settings("legacy:settings");
    assert!(record["features"].get("wyng-paused").is_none(), "{record}");
}

#[test]
fn a_qube_that_was_left_paused_goes_on_with_the_next_run() {
    if !can("a_qube_that_was_left_paused_goes_on_with_the_next_run") {
        return;
    }
    let system = System::new();
    let qubes = &system.qubes;
    qubes.make("StandaloneVM", "legacy", "");
    for volume in ["root", "private"] {
        qubes.fill("legacy", volume, &noise(MIB, 5));
    }
    qubes.call("admin.vm.Start", "", "legacy", "");
    qubes.call("admin.vm.Start", "", "work", "");
    qubes.call("admin.vm.Pause", "", "work", "");
    std::fs::write(qubes.world.0.join("calls"), "").unwrap();
    let words = [
        "backup",
        "home",
        "--qube",
        "legacy",
        "--live",
        "--config",
        &qubes.config,
    ];
    // Whoever pauses it dies within the call.
    qubes.set_qubesd_traps("admin.vm.Unpause hang");
    let mut child = system.sandbox.command(&words).spawn().unwrap();
    until("it stands still", || {
        qubes.world.state("legacy") == "Paused"
    });
    let _ = child.kill();
    let _ = child.wait();
    qubes.set_qubesd_traps("");
    // The daemon ends a moment after its command.
    let mut next = system.back_up(&["--qube", "sys-net"]);
    until("the daemon has left the state folder", || {
        let is_busy = next.codes() == ["busy"];
        if is_busy {
            next = system.back_up(&["--qube", "sys-net"]);
        }
        !is_busy
    });
    next.success();
    assert_eq!(qubes.world.state("legacy"), "Running");
    assert_eq!(
        qubes.world.state("work"),
        "Paused",
        "somebody else paused it"
    );
}

#[test]
fn without_revisions_a_running_qube_is_refused_and_the_others_are_backed_up() {
    if !can("without_revisions_a_running_qube_is_refused_and_the_others_are_backed_up") {
        return;
    }
    let system = System::new();
    let qubes = &system.qubes;
    qubes.call(
        "admin.vm.volume.Set.revisions_to_keep",
        "private",
        "work",
        "-1",
    );
    qubes.call("admin.vm.Start", "", "work", "");
    let outcome = system.back_up(&["--qube", "work", "--qube", "sys-net"]);
    assert_eq!(outcome.expect(3).codes(), ["source-of-running-qube"]);
    assert_eq!(
        names(&outcome),
        ["sys-net:private", "sys-net:settings", "work:settings"]
    );
    // Live it is there.
    system.back_up(&["--qube", "work", "--live"]).success();
    assert!(system.restored("work:private") == noise(2 * MIB, 1));
    qubes.call("admin.vm.Shutdown", "", "work", "");
    system.back_up(&["--qube", "work"]).success();
}

#[test]
fn a_second_backup_reads_only_what_changed_though_the_file_is_another_one() {
    if !can("a_second_backup_reads_only_what_changed_though_the_file_is_another_one") {
        return;
    }
    let system = System::new();
    let qubes = &system.qubes;
    system.back_up(&["--qube", "work"]).success();
    qubes.call("admin.vm.Start", "", "work", "");
    write_at(
        &qubes.dirty_image("work", "private"),
        MIB as u64,
        &[7; 4096],
    );
    qubes.call("admin.vm.Shutdown", "", "work", "");
    let outcome = system.back_up(&["--qube", "work"]);
    let private = of_volume(outcome.success(), "work:private");
    assert_ne!(private["method"], "full-scan", "{private}");
    assert!(
        private["read_bytes"].as_u64().unwrap() <= 128 << 10,
        "{private}"
    );
    let mut expected = noise(2 * MIB, 1);
    expected[MIB..MIB + 4096].fill(7);
    assert!(system.restored("work:private") == expected);
}

#[test]
fn a_renamed_qube_keeps_its_history() {
    if !can("a_renamed_qube_keeps_its_history") {
        return;
    }
    let system = System::new();
    system.back_up(&["--qube", "work"]).success();
    system.qubes.rename("work", "job");
    let outcome = system.back_up(&["--qube", "job"]);
    assert_eq!(names(outcome.success()), ["job:private", "job:settings"]);
    assert_ne!(of_volume(&outcome, "job:private")["method"], "full-scan");
    let list = system.wyng(&["list", "home"]);
    assert_eq!(names(&list), ["job:private", "job:settings"]);
    for volume in list.json["volumes"].as_array().unwrap() {
        assert_eq!(volume["sessions"].as_array().unwrap().len(), 2, "{volume}");
    }
}

#[test]
fn a_new_qube_under_an_old_name_gets_volumes_of_its_own() {
    if !can("a_new_qube_under_an_old_name_gets_volumes_of_its_own") {
        return;
    }
    let system = System::new();
    let qubes = &system.qubes;
    system.back_up(&["--qube", "work"]).success();
    qubes.call("admin.vm.Remove", "", "work", "");
    qubes.make("AppVM", "work", "");
    qubes.fill("work", "private", &noise(2 * MIB, 1));
    let outcome = system.back_up(&["--qube", "work"]);
    assert_eq!(
        names(outcome.success()),
        ["work@2:private", "work@2:settings"]
    );
    // The same bytes, and none of them is known: it is another domain.
    let sent = of_volume(&outcome, "work@2:private")["sent_bytes"]
        .as_u64()
        .unwrap();
    assert!(sent > 2 * MIB as u64, "{sent}");
    let again = system.back_up(&["--qube", "work"]);
    assert_eq!(
        names(again.success()),
        ["work@2:private", "work@2:settings"]
    );
}

#[test]
fn all_qubes_are_those_that_are_to_be_in_backups_but_never_the_far_end() {
    if !can("all_qubes_are_those_that_are_to_be_in_backups_but_never_the_far_end") {
        return;
    }
    let system = System::new();
    let qubes = &system.qubes;
    qubes.make("AppVM", "scratch", "");
    qubes.call(
        "admin.vm.property.Set",
        "include_in_backups",
        "scratch",
        "False",
    );
    qubes.make("RemoteVM", "far", "");
    let outcome = system.back_up(&["--all", "--exclude", "@type:TemplateVM"]);
    let expected = [
        "far:settings",
        "net-dvm:settings",
        "sys-net:private",
        "sys-net:settings",
        "work:private",
        "work:settings",
    ];
    assert_eq!(names(outcome.success()), expected);
    let left = left_out(&outcome);
    let is = |what: &str, why: &str| left.contains(&(what.to_owned(), why.to_owned()));
    assert!(
        is("debian-13", "excluded") && is("scratch", "not-included"),
        "{left:?}"
    );
    assert!(
        is("sys-backup", "far-end") && is("far", "elsewhere"),
        "{left:?}"
    );
    // By a word the far end is left out; by its name it is refused.
    qubes.call("admin.vm.tag.Set", "mine", "sys-backup", "");
    qubes.call("admin.vm.tag.Set", "mine", "work", "");
    let tagged = system.back_up(&["--qube", "@tag:mine"]);
    assert_eq!(names(tagged.success()), ["work:private", "work:settings"]);
    assert_eq!(left_out(&tagged), [("sys-backup".into(), "far-end".into())]);
    let named = system.back_up(&["--qube", "sys-backup"]);
    assert_eq!(named.expect(2).codes(), ["qube-spared"]);
    let unknown = system.back_up(&["--qube", "wrok"]);
    assert_eq!(unknown.expect(2).codes(), ["no-such-qube"]);
    assert!(
        unknown.json["errors"][0]["text"]
            .as_str()
            .unwrap()
            .contains("work")
    );
    let none = system.back_up(&["--qube", "@tag:nobody"]);
    assert_eq!(none.expect(2).codes(), ["no-qube-chosen"]);
}

#[test]
fn a_volume_that_is_called_settings_is_left_out() {
    if !can("a_volume_that_is_called_settings_is_left_out") {
        return;
    }
    let system = System::new();
    system.qubes.add_volume("work", "settings", b"mine");
    let outcome = system.back_up(&["--qube", "work"]);
    assert_eq!(names(outcome.success()), ["work:private", "work:settings"]);
    assert_eq!(
        left_out(&outcome),
        [("work:settings".into(), "called-settings".into())]
    );
    assert_eq!(system.settings("work:settings")["name"], "work");
}

#[test]
fn each_call_that_qubesd_does_not_answer_well_is_named_and_the_other_qubes_go_on() {
    if !can("each_call_that_qubesd_does_not_answer_well_is_named_and_the_other_qubes_go_on") {
        return;
    }
    let system = System::new();
    let calls = [
        "admin.vm.List",
        "admin.vm.volume.List",
        "admin.vm.volume.Info",
        "admin.vm.property.GetAll",
        "admin.vm.feature.List",
        "admin.vm.tag.List",
        "admin.vm.firewall.Get",
        "admin.vm.notes.Get",
        "admin.vm.device.pci.Assigned",
    ];
    let traps = ["empty", "garbage", "cut", "long", "error QubesException"];
    for (place, call) in calls.iter().enumerate() {
        let trap = traps[place % traps.len()];
        system
            .qubes
            .set_qubesd_traps(&format!("{call}@work {trap}"));
        let outcome = system.back_up(&["--qube", "work", "--qube", "sys-net"]);
        let codes = outcome.expect(3).codes();
        let is_named = codes.iter().all(|code| code == "qube-not-read");
        assert!(is_named && !codes.is_empty(), "{call} {trap}: {codes:?}");
        let text = outcome.json["errors"][0]["text"].as_str().unwrap();
        assert!(text.starts_with("work") && text.contains(call), "{text}");
        let backed_up = names(&outcome);
        assert!(
            backed_up.contains(&"sys-net:settings".into()),
            "{call}: {backed_up:?}"
        );
        assert!(
            !backed_up.contains(&"work:settings".into()),
            "{call}: {backed_up:?}"
        );
    }
    // For the whole command there must be a list.
    for (trap, code) in [
        ("empty", "qubesd-refused"),
        ("garbage", "qubesd-answer"),
        ("error QubesException", "qubesd-refused"),
    ] {
        system
            .qubes
            .set_qubesd_traps(&format!("admin.vm.List@dom0 {trap}"));
        let outcome = system.back_up(&["--qube", "work"]);
        assert_eq!(outcome.expect(6).codes(), [code]);
    }
}

#[test]
fn a_call_that_hangs_is_given_up() {
    if !can("a_call_that_hangs_is_given_up") {
        return;
    }
    let system = System::new();
    system
        .qubes
        .set_qubesd_traps("admin.vm.notes.Get@work hang");
    let outcome = system.back_up(&["--qube", "work", "--qube", "sys-net"]);
    assert_eq!(outcome.expect(3).codes(), ["qube-not-read"]);
    assert_eq!(
        names(&outcome),
        ["sys-net:private", "sys-net:settings", "work:private"]
    );
}

#[test]
fn a_qube_that_stops_or_starts_between_two_calls_is_taken_all_the_same() {
    if !can("a_qube_that_stops_or_starts_between_two_calls_is_taken_all_the_same") {
        return;
    }
    let system = System::new();
    let qubes = &system.qubes;
    qubes.call(
        "admin.vm.volume.Set.revisions_to_keep",
        "private",
        "work",
        "-1",
    );
    for trap in ["starts", "halts"] {
        qubes.set_qubesd_traps(&format!("admin.vm.volume.Info@work {trap}"));
        let outcome = system.back_up(&["--qube", "work", "--live"]);
        outcome.success();
        assert!(
            system.restored("work:private") == noise(2 * MIB, 1),
            "{trap}"
        );
    }
}

#[test]
fn the_time_of_the_backup_is_noted_where_all_of_a_qube_is_backed_up() {
    if !can("the_time_of_the_backup_is_noted_where_all_of_a_qube_is_backed_up") {
        return;
    }
    let system = System::new();
    let qubes = &system.qubes;
    let noted = |qube: &str| qubes.world.own(qube, "backup_timestamp");
    system.back_up(&["--qube", "work", "--dry-run"]).success();
    assert_eq!(noted("work"), None);
    qubes.set_qubesd_traps("admin.vm.notes.Get@work empty");
    system
        .back_up(&["--qube", "work", "--qube", "net-dvm", "--qube", "sys-net"])
        .expect(3);
    assert_eq!(noted("work"), None, "a part of it failed");
    assert!(noted("sys-net").is_some());
    assert_eq!(
        noted("net-dvm"),
        None,
        "its preloaded disposables would be made anew"
    );
    qubes.set_qubesd_traps("");
    let outcome = system.back_up(&["--qube", "work"]);
    let name = of_volume(outcome.success(), "work:private")["session"]
        .as_str()
        .unwrap()
        .to_owned();
    let date = Command::new("date")
        .args(["-u", "-d", &name, "+%s"])
        .output()
        .unwrap();
    let secs = String::from_utf8(date.stdout).unwrap().trim().to_owned();
    assert_eq!(noted("work"), Some(secs));
}

#[test]
fn a_member_of_the_group_has_the_qubes_of_a_profile_and_no_others() {
    if !can("a_member_of_the_group_has_the_qubes_of_a_profile_and_no_others")
        || !require(
            Component::Root,
            "a_member_of_the_group_has_the_qubes_of_a_profile_and_no_others",
        )
    {
        return;
    }
    let mut system = System::new();
    let written = std::fs::read_to_string(&system.qubes.config).unwrap();
    let profile = "[profiles.nightly]\narchive = \"home\"\nqubes = [\"work\"]\n";
    let config = system
        .sandbox
        .text("profile.toml", &format!("{written}{profile}"));
    let mut daemon = Service::command(&system.sandbox, &["--config", &config]);
    let _service = Service::started(&mut system.sandbox, &mut daemon);
    system.sandbox.open_to_everybody();
    run(Command::new("chmod")
        .arg("666")
        .arg(system.sandbox.path("socket")));
    let as_member = |words: &[&str]| {
        let words = [&["backup", "home", "--config", &config], words].concat();
        let command = system.sandbox.command(&words);
        let mut other = Command::new("setpriv");
        other
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(command.get_program())
            .args(command.get_args());
        Outcome::of(other.current_dir(system.sandbox.path("")).output().unwrap())
    };
    let own = as_member(&["--qube", "sys-net"]);
    assert_eq!(own.expect(1).codes(), ["qubes-not-allowed"]);
    let live = as_member(&["--profile", "nightly", "--live"]);
    assert_eq!(live.expect(1).codes(), ["qubes-not-allowed"]);
    let profile = as_member(&["--profile", "nightly"]);
    assert_eq!(names(profile.success()), ["work:private", "work:settings"]);
}

#[test]
fn where_there_is_no_qubesd_no_qube_is_backed_up() {
    let sandbox = Sandbox::with_archive(&[]);
    let outcome = sandbox.wyng(&["backup", "home", "--qube", "work"]);
    assert_eq!(outcome.expect(2).codes(), ["no-qubes-here"]);
}
