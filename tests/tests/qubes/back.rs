// SPDX-License-Identifier: GPL-3.0-or-later
//! Whole qubes come back on another machine: a plan that is shown and confirmed, new qubes with
//! their volumes and settings, and nothing half made after a kill at any call of qubesd.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use serde_json::Value;
use wyng_tests::disk::LoopMount;
use wyng_tests::fake_qubes::FakeQubes;
use wyng_tests::pty::Pty;
use wyng_tests::require::{Component, require};
use wyng_tests::sandbox::{Outcome, Sandbox, noise};

const MIB: usize = 1 << 20;

/// A machine with qubes, in a pool that is a btrfs.
pub(crate) struct Machine {
    pub(crate) sandbox: Sandbox,
    pub(crate) qubes: FakeQubes,
}

impl Machine {
    pub(crate) fn new(disk: &LoopMount, pool: &str) -> Self {
        let sandbox = Sandbox::new();
        let qubes = FakeQubes::dom0(&sandbox);
        qubes.add_system(&disk.join(pool));
        Self { sandbox, qubes }
    }

    /// A machine with the archive, and one that has nothing but the archive's address and the code
    /// of its recovery sheet.
    pub(crate) fn two(
        disk: &LoopMount,
        fill: impl Fn(&FakeQubes),
        backup: &[&str],
    ) -> (Self, Self) {
        let old = Self::new(disk, "old");
        fill(&old.qubes);
        let options = ["--chunk-size", "64K", "--pack-size", "1M"];
        let create = old
            .qubes
            .create(&old.sandbox, "qrexec:sys-backup", &options);
        create.success();
        old.wyng(&[&["backup", "home"], backup].concat()).success();
        let new = Self::new(disk, "new");
        let sheet = old.wyng(&["recovery-sheet", "home"]);
        let code = sheet.success().json["code"].as_str().unwrap().to_owned();
        new.open(&old, &["--expect", &code]);
        (old, new)
    }

    fn open(&self, from: &Self, options: &[&str]) {
        let store = format!("dir:{}", from.sandbox.store().display());
        let words = [
            "archive",
            "open",
            "home",
            "--store",
            &store,
            "--via",
            "qrexec:sys-backup",
        ];
        self.wyng(&[&words, options].concat()).success();
    }

    pub(crate) fn wyng(&self, words: &[&str]) -> Outcome {
        self.qubes.wyng(&self.sandbox, words)
    }

    pub(crate) fn restore(&self, words: &[&str]) -> Outcome {
        self.wyng(&[&["restore", "home"], words].concat())
    }

    /// The same by a person at a terminal, who answers the question about the plan. Returns what
    /// the person saw, too.
    pub(crate) fn restore_attended(&self, words: &[&str], answer: &str) -> (Outcome, String) {
        self.restore_attended_after(words, answer, || {})
    }

    /// The same by a person before whose answer something happens.
    fn restore_attended_after(
        &self,
        words: &[&str],
        answer: &str,
        before: impl FnOnce(),
    ) -> (Outcome, String) {
        let mut before = Some(before);
        let terminal = Pty::open();
        let other_end = OwnedFd::from(terminal.program);
        let stream = || Stdio::from(other_end.try_clone().unwrap());
        let mut command = Command::new("setsid");
        command
            .args(["--ctty", "--wait"])
            .arg(self.sandbox.program("wyng-ctl"))
            .args(["--standalone", "--json", "--state-dir"])
            .arg(self.sandbox.state())
            .arg("--passphrase-file")
            .arg(self.sandbox.path("passphrase"))
            .args(["--config", &self.qubes.config, "restore", "home"])
            .args(words)
            .current_dir(self.sandbox.path(""))
            .stdin(stream())
            .stderr(stream())
            .stdout(Stdio::piped());
        let child = command.spawn().unwrap();
        drop((command, other_end));
        let mut person: File = terminal.person.into();
        let mut seen = String::new();
        let mut buffer = [0; 4096];
        let mut is_asked = false;
        // Reading a terminal whose other end is closed fails.
        while let Ok(read @ 1..) = person.read(&mut buffer) {
            seen.push_str(&String::from_utf8_lossy(&buffer[..read]));
            if !is_asked && seen.contains("[y/N]") {
                is_asked = true;
                before.take().into_iter().for_each(|before| before());
                person.write_all(format!("{answer}\n").as_bytes()).unwrap();
            }
        }
        (Outcome::of(child.wait_with_output().unwrap()), seen)
    }

    pub(crate) fn image(&self, qube: &str, volume: &str) -> Vec<u8> {
        std::fs::read(self.qubes.image(qube, volume)).unwrap()
    }

    /// Everything that a qube has beside the bytes of its volumes.
    fn settings(&self, qube: &str) -> BTreeMap<String, String> {
        let world = &self.qubes.world;
        let mut all = BTreeMap::from([("class".to_owned(), world.class(qube))]);
        for (property, value) in world.all_own(qube) {
            // A qube that was restored was not backed up here yet.
            if property == "backup_timestamp" {
                continue;
            }
            all.insert(format!("property {property}"), value);
        }
        for part in ["features", "tags"] {
            for name in world.listed(qube, part) {
                let value = world.part(qube, part, &name).unwrap();
                all.insert(format!("{part} {name}"), value);
            }
        }
        for call in ["admin.vm.firewall.Get", "admin.vm.notes.Get"] {
            all.insert(call.to_owned(), self.qubes.call(call, "", qube, ""));
        }
        for volume in world.listed(qube, "volumes") {
            let info = self.qubes.call("admin.vm.volume.Info", &volume, qube, "");
            for line in info.lines() {
                let (key, value) = line.split_once('=').unwrap();
                // Where it lies and what it takes is of the machine.
                if !["path", "usage", "vid", "source"].contains(&key) {
                    all.insert(format!("volume {volume} {key}"), value.to_owned());
                }
            }
        }
        all
    }

    /// Whether nothing of a restore is left at a qube: no guard, no mark.
    pub(crate) fn is_let_go(&self, qube: &str) -> bool {
        let world = &self.qubes.world;
        let tag = world.part(qube, "tags", "backup-restore-in-progress");
        let mark = world.part(qube, "features", "wyng-restore");
        tag.is_none() && mark.is_none()
    }
}

/// The settings of two qubes that differ, as `KEY: ONE | OTHER`.
fn differences(one: &BTreeMap<String, String>, other: &BTreeMap<String, String>) -> Vec<String> {
    let keys: std::collections::BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    let none = || "-".to_owned();
    keys.into_iter()
        .filter(|key| one.get(*key) != other.get(*key))
        .map(|key| {
            let value = |of: &BTreeMap<String, String>| of.get(key).cloned().unwrap_or_else(none);
            format!("{key}: {} | {}", value(one), value(other))
        })
        .collect()
}

pub(crate) fn plan(outcome: &Outcome) -> Vec<String> {
    let lines = outcome.json["plan"].as_array().cloned();
    let text = |line: Value| line.as_str().unwrap().to_owned();
    lines.unwrap_or_default().into_iter().map(text).collect()
}

#[track_caller]
pub(crate) fn says(outcome: &Outcome, text: &str) {
    let lines = plan(outcome);
    let is_there = lines.iter().any(|line| line.contains(text));
    assert!(is_there, "{text}: {lines:#?}");
}

fn can(test: &str) -> bool {
    require(Component::Btrfs, test)
}

pub(crate) fn disk() -> LoopMount {
    LoopMount::mount("btrfs", 512, "noatime")
}

/// A qube over the template that every machine has.
pub(crate) fn work(qubes: &FakeQubes) {
    work_over(qubes, "debian-13");
}

fn work_over(qubes: &FakeQubes, template: &str) {
    qubes.make("AppVM", "work", template);
    qubes.fill("work", "private", &noise(MIB, 1));
    qubes.call("admin.vm.property.Set", "netvm", "work", "sys-net");
    qubes.call("admin.vm.property.Set", "memory", "work", "600");
    qubes.call("admin.vm.property.Set", "autostart", "work", "True");
    qubes.call("admin.vm.feature.Set", "service.cups", "work", "1");
    qubes.call("admin.vm.tag.Set", "important", "work", "");
    let rules = "action=accept specialtarget=dns\naction=drop\n";
    qubes.call("admin.vm.firewall.Set", "", "work", rules);
    qubes.call("admin.vm.notes.Set", "", "work", "My notes.");
}

#[test]
fn a_system_of_qubes_comes_back_on_a_new_machine() {
    if !can("a_system_of_qubes_comes_back_on_a_new_machine") {
        return;
    }
    let disk = disk();
    let fill = |qubes: &FakeQubes| {
        let set = |property, qube, value| {
            qubes.call("admin.vm.property.Set", property, qube, value);
        };
        qubes.make("TemplateVM", "fedora-42", "");
        set("netvm", "fedora-42", "");
        // Qubes over a template are made with the size that its root has by then.
        qubes.fill("fedora-42", "root", &noise(MIB / 2, 10));
        qubes.make("AppVM", "sys-vpn", "fedora-42");
        set("provides_network", "sys-vpn", "True");
        work_over(qubes, "fedora-42");
        set("netvm", "work", "sys-vpn");
        qubes.make("StandaloneVM", "build", "");
        set("netvm", "build", "");
        qubes.make("AppVM", "dvm", "fedora-42");
        set("template_for_dispvms", "dvm", "True");
        // A disposable is made with the size that its template's private volume has by then.
        qubes.fill("dvm", "private", &noise(MIB / 2, 10));
        qubes.make("DispVM", "browse", "dvm");
        set("netvm", "browse", "sys-vpn");
        let images = [
            ("fedora-42", "root"),
            ("fedora-42", "private"),
            ("sys-vpn", "private"),
            ("build", "root"),
            ("build", "private"),
            ("dvm", "private"),
        ];
        for (seed, (qube, volume)) in (10..).zip(images) {
            qubes.fill(qube, volume, &noise(MIB / 2, seed));
        }
    };
    let names = ["fedora-42", "sys-vpn", "work", "build", "dvm", "browse"];
    let chosen: Vec<&str> = names.iter().flat_map(|name| ["--qube", name]).collect();
    let (old, new) = Machine::two(&disk, fill, &chosen);
    let (outcome, seen) = new.restore_attended(&["--all-qubes", "--trust-settings"], "y");
    outcome.success();
    assert!(
        seen.contains("fedora-42: is created (TemplateVM)"),
        "{seen}"
    );
    for name in names {
        assert!(new.qubes.world.exists(name), "{name}");
        assert!(new.is_let_go(name), "{name}");
        let left = differences(&old.settings(name), &new.settings(name));
        println!("{name}: {left:#?}");
        assert_eq!(left, [""; 0], "{name}");
        let volumes = match name {
            "fedora-42" | "build" => &["root", "private"][..],
            "browse" => &[],
            _ => &["private"],
        };
        for volume in volumes {
            assert!(new.image(name, volume) == old.image(name, volume), "{name}");
        }
    }
}

#[test]
fn without_trust_only_what_gives_no_power_is_applied_and_the_next_backup_continues_the_history() {
    if !can("without_trust_only_what_gives_no_power_is_applied") {
        return;
    }
    let disk = disk();
    let (_old, new) = Machine::two(&disk, work, &["--qube", "work"]);
    let dry = new.restore(&["--qube", "work", "--dry-run"]);
    dry.success();
    assert!(!new.qubes.world.exists("work"));
    says(&dry, "work: is created (AppVM, template debian-13)");
    says(&dry, "work: property autostart is left out");
    let outcome = new.restore(&["--qube", "work"]);
    assert_eq!(plan(outcome.success()), plan(&dry));
    assert_eq!(outcome.json["qubes"][0]["made"], true);
    assert!(new.image("work", "private") == noise(MIB, 1));
    let settings = new.settings("work");
    let get = |key: &str| settings.get(key).map(String::as_str);
    assert_eq!(get("property netvm"), Some("sys-net"));
    assert_eq!(get("property memory"), Some("600"));
    assert_eq!(get("property autostart"), None);
    assert_eq!(get("features service.cups"), None);
    assert_eq!(get("tags important"), None);
    assert!(
        get("admin.vm.firewall.Get")
            .unwrap()
            .contains("action=drop")
    );
    assert_eq!(get("admin.vm.notes.Get"), Some("My notes."));
    assert!(new.is_let_go("work"));
    new.wyng(&["archive", "take-over", "home"]).success();
    let next = new.wyng(&["backup", "home", "--qube", "work"]);
    assert_eq!(next.success().json["volumes"][0]["name"], "work:private");
    // A name that is taken is left alone, and the new qube is made beside it.
    let beside = new.restore(&["--qube", "work", "--as", "work-then"]);
    beside.success();
    assert!(new.image("work-then", "private") == noise(MIB, 1));
    let taken = new.restore(&["--qube", "work", "--as", "sys-net"]);
    assert_eq!(taken.expect(2).codes(), ["qubes-not-planned"]);
}

#[test]
fn a_plan_that_is_not_confirmed_makes_nothing() {
    if !can("a_plan_that_is_not_confirmed_makes_nothing") {
        return;
    }
    let disk = disk();
    let (_old, new) = Machine::two(&disk, work, &["--qube", "work"]);
    let (outcome, seen) = new.restore_attended(&["--qube", "work"], "n");
    assert_eq!(outcome.codes(), ["qubes-not-confirmed"], "{seen}");
    assert!(!new.qubes.world.exists("work"));
    // Nobody reads what a script answers.
    let trusted = new.restore(&["--qube", "work", "--trust-settings"]);
    assert_eq!(trusted.expect(2).codes(), ["qubes-not-planned"]);
    let in_place = new.restore(&["--qube", "work", "--in-place"]);
    assert_eq!(in_place.expect(2).codes(), ["qubes-in-place"]);
    let unknown = new.restore(&["--qube", "nobody"]);
    assert_eq!(unknown.expect(2).codes(), ["qube-not-in-archive"]);
}

#[test]
fn what_is_missing_here_is_named_and_a_missing_template_or_net_qube_is_never_replaced() {
    if !can("what_is_missing_here_is_named") {
        return;
    }
    let disk = disk();
    let fill = |qubes: &FakeQubes| {
        work(qubes);
        qubes.make("TemplateVM", "fedora-42", "");
        qubes.fill("fedora-42", "root", &noise(MIB, 5));
        qubes.fill("fedora-42", "private", &noise(MIB, 6));
        qubes.make("AppVM", "lone", "fedora-42");
        qubes.fill("lone", "private", &noise(MIB, 7));
        qubes.call("admin.label.Create", "teal", "dom0", "0x008080");
        qubes.call("admin.vm.property.Set", "label", "work", "teal");
        qubes.make("AppVM", "sys-vpn", "debian-13");
        qubes.call(
            "admin.vm.property.Set",
            "provides_network",
            "sys-vpn",
            "True",
        );
        qubes.call("admin.vm.property.Set", "netvm", "work", "sys-vpn");
    };
    let chosen = ["--qube", "work", "--qube", "lone", "--qube", "fedora-42"];
    let (_old, new) = Machine::two(&disk, fill, &chosen);
    let outcome = new.restore(&["--qube", "work", "--qube", "lone"]);
    assert_eq!(outcome.expect(3).codes(), ["qube-not-made"]);
    says(&outcome, "lone: is not restored: its template fedora-42");
    says(&outcome, "work: the net qube sys-vpn is missing");
    says(&outcome, "label teal: is made");
    assert_eq!(new.settings("work")["property netvm"], "");
    assert_eq!(new.settings("work")["property label"], "teal");
    assert!(!new.qubes.world.exists("lone"));
    let needs = new.restore(&["--qube", "lone", "--with-needs"]);
    needs.success();
    assert!(new.image("lone", "private") == noise(MIB, 7));
    assert!(new.image("fedora-42", "root") == noise(MIB, 5));
    // Settings alone, and data alone.
    let settings = new.restore(&["--qube", "work", "--as", "bare", "--settings-only"]);
    settings.success();
    assert_ne!(new.image("bare", "private"), noise(MIB, 1));
    assert_eq!(new.settings("bare")["property memory"], "600");
    let data = new.restore(&["--qube", "work", "--as", "data", "--data-only"]);
    data.success();
    assert!(new.image("data", "private") == noise(MIB, 1));
    assert_eq!(new.settings("data").get("property memory"), None);
    assert_eq!(new.settings("data")["property netvm"], "");
}

#[test]
fn of_an_archive_that_nothing_proves_templates_need_a_word_of_the_person() {
    if !can("of_an_archive_that_nothing_proves_templates_need_a_word") {
        return;
    }
    let disk = disk();
    let fill = |qubes: &FakeQubes| {
        work(qubes);
        qubes.make("StandaloneVM", "build", "");
        qubes.fill("build", "root", &noise(MIB, 5));
        qubes.fill("build", "private", &noise(MIB, 6));
    };
    let (old, _) = Machine::two(&disk, fill, &["--qube", "work", "--qube", "build"]);
    let new = Machine::new(&disk, "unproven");
    new.open(&old, &[]);
    let outcome = new.restore(&["--all-qubes"]);
    outcome.expect(3);
    assert_eq!(outcome.json["warnings"][0]["code"], "unproven");
    says(
        &outcome,
        "build: is not restored: nothing proves who wrote it",
    );
    assert!(new.qubes.world.exists("work") && !new.qubes.world.exists("build"));
    new.restore(&["--qube", "build", "--unproven"]).success();
    assert!(new.image("build", "root") == noise(MIB, 5));
}

#[test]
fn a_record_that_somebody_made_up_is_refused_or_shown_and_never_applied() {
    if !can("a_record_that_somebody_made_up_is_refused") {
        return;
    }
    let disk = disk();
    let (old, new) = Machine::two(&disk, work, &["--qube", "work"]);
    let path = old.sandbox.path("record");
    let to = path.to_str().unwrap().to_owned();
    old.wyng(&["restore", "home", "work:settings", "--to", &to])
        .success();
    let record = std::fs::read_to_string(&path).unwrap();
    let long = format!("\"notes\": \"{}\"", "x".repeat(2 << 20));
    let hostile = [
        ("\"name\": \"work\"", "\"name\": \"../../etc\""),
        ("\"name\": \"work\"", "\"name\": \"dom0\""),
        ("\"name\": \"work\"", "\"name\": \"vault\""),
        ("\"private\": {", "\"../private\": {"),
        ("\"pool\": \"vm-pool\"", "\"pool\": \"/dev/sda\""),
        ("\"notes\": \"My notes.\"", "\"notes\": \"\\u0000\""),
        ("\"notes\": \"My notes.\"", &long),
        ("action=drop", "action=drop\\u001b[2J"),
        ("\"version\": 1", "\"version\": 2"),
        ("\"version\": 1", "\"version\": 1, \"run\": \"rm\""),
    ];
    for (number, (from, to)) in hostile.into_iter().enumerate() {
        let wrong = record.replacen(from, to, 1);
        assert_ne!(wrong, record, "{from}");
        // Sealed by the real program, as whoever holds the credential could.
        let label = format!("evil{number}");
        let file = old.sandbox.text(
            &label,
            &wrong.replace("\"name\": \"work\"", &format!("\"name\": \"{label}\"")),
        );
        let source = format!("{label}:settings={file}");
        old.wyng(&["backup", "home", &source]).success();
        let outcome = old.restore(&["--qube", &label]);
        assert_eq!(outcome.codes(), ["qube-record"], "{from} {to:.40}");
    }
    assert_eq!(
        old.qubes.world.names(),
        ["debian-13", "net-dvm", "sys-backup", "sys-net", "work"]
    );
    // What is well formed is shown, and power is left out.
    let changed = record
        .replace("\"name\": \"work\"", "\"name\": \"odd\"")
        .replace("\"netvm\": \"sys-net\"", "\"netvm\": \"sys-evil\"");
    assert_ne!(changed, record);
    let file = old.sandbox.text("odd", &changed);
    old.wyng(&["backup", "home", &format!("odd:settings={file}")])
        .success();
    let outcome = old.restore(&["--qube", "odd"]);
    says(&outcome, "odd: the net qube sys-evil is missing");
    assert_eq!(old.settings("odd")["property netvm"], "");
    assert!(!new.qubes.world.exists("odd"));
}

#[test]
fn a_pool_without_room_is_named_with_figures_before_anything_is_made() {
    if !can("a_pool_without_room_is_named_with_figures") {
        return;
    }
    let disk = disk();
    let (_old, new) = Machine::two(&disk, work, &["--qube", "work"]);
    let has_free = |bytes: usize| {
        let folder = disk.join("new").display().to_string();
        let lines = [
            "driver=file-reflink".to_owned(),
            format!("dir_path={folder}"),
            format!("size={}", 4 * MIB),
            format!("usage={}", 4 * MIB - bytes),
        ];
        new.qubes.world.add_pool("vm-pool", &lines);
    };
    let world = &new.qubes.world;
    let is_refused = |outcome: &Outcome| {
        assert_eq!(outcome.codes(), ["qubes-not-planned"], "{}", outcome.json);
        let text = outcome.json["errors"][0]["text"].to_string();
        let figures = "has 1048575 bytes free, and 1048576 bytes are written to it";
        assert!(text.contains(figures), "{text}");
        let calls = world.noted("calls");
        assert!(
            !calls.iter().any(|call| call.contains(".Create")),
            "{calls:#?}"
        );
    };
    std::fs::write(world.0.join("calls"), "").unwrap();
    has_free(MIB - 1);
    is_refused(&new.restore(&["--qube", "work", "--dry-run"]));
    is_refused(&new.restore(&["--qube", "work"]));
    // The room goes while a person reads the plan.
    has_free(MIB);
    let attended = new.restore_attended_after(&["--qube", "work"], "y", || has_free(MIB - 1));
    is_refused(&attended.0);
    has_free(MIB);
    new.restore(&["--qube", "work"]).success();
    assert!(new.image("work", "private") == noise(MIB, 1));
}

/// The calls that change something, counted from 1, in a restore that is not killed.
pub(crate) fn changing(calls: &[String]) -> Vec<usize> {
    let changes = |call: &String| {
        let asks = [".Get", ".List", ".Info", ".GetAll", ".ListSnapshots"];
        let method = call.split('+').next().unwrap();
        !asks.iter().any(|ask| method.ends_with(ask))
    };
    (1..)
        .zip(calls)
        .filter(|(_, call)| changes(call))
        .map(|(number, _)| number)
        .collect()
}

#[test]
fn a_restore_that_is_killed_at_any_call_leaves_what_the_next_run_removes_or_names() {
    if !can("a_restore_that_is_killed_at_any_call") {
        return;
    }
    let disk = disk();
    let (_old, new) = Machine::two(&disk, work, &["--qube", "work"]);
    let (qubes, world) = (&new.qubes, &new.qubes.world);
    std::fs::write(world.0.join("calls"), "").unwrap();
    new.restore(&["--qube", "work"]).success();
    let calls = world.noted("calls");
    world.remove("work");
    for number in changing(&calls) {
        for phase in ["before", "after"] {
            let at = format!("{phase} {}", calls[number - 1]);
            qubes.kill_at(number, phase, "caller");
            let killed = new.restore(&["--qube", "work"]);
            assert_ne!(killed.status, 0, "{at}");
            std::fs::write(world.0.join("kill"), "").unwrap();
            assert_ne!(world.noted("killed"), [""; 0], "{at}");
            std::fs::write(world.0.join("killed"), "").unwrap();
            // It was let go, or it cannot start.
            let was_there = world.exists("work");
            let next = new.restore(&["--qube", "work"]);
            next.success();
            let made: Vec<String> = world
                .names()
                .into_iter()
                .filter(|name| name.starts_with("work"))
                .collect();
            let is_whole =
                |name: &String| new.is_let_go(name) && new.image(name, "private") == noise(MIB, 1);
            match made.as_slice() {
                [one] => assert!(one == "work" && is_whole(one), "{at}"),
                // Its uuid was not noted, so it is named, or it was let go already.
                [first, second] => {
                    assert!(was_there && is_whole(second), "{at}");
                    let is_named = plan(&next)
                        .iter()
                        .any(|line| line.contains("by an interrupted restore"));
                    assert!(is_named || is_whole(first), "{at}: {:#?}", plan(&next));
                    // Only of one whose uuid was not noted nobody knows whose it is.
                    let is_known = plan(&next)
                        .iter()
                        .all(|line| !line.contains("nobody can tell"));
                    let tag = world.part(first, "tags", "backup-restore-in-progress");
                    assert!(!is_named || !is_known || tag.is_some(), "{at}");
                }
                other => panic!("{at}: {other:?}"),
            }
            made.iter().for_each(|name| world.remove(name));
        }
    }
    // Nothing is noted any more.
    let last = new.restore(&["--qube", "work"]);
    let is_clean = plan(last.success())
        .iter()
        .all(|line| !line.contains("interrupted"));
    assert!(is_clean, "{:#?}", plan(&last));
}
