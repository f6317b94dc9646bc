// SPDX-License-Identifier: GPL-3.0-or-later
//! The settings of the whole system: recorded beside dom0's files, and shown again as commands. The
//! real programs run over a simulated qubesd.

use std::path::Path;

use serde_json::Value;
use wyng_tests::fake_qubes::FakeQubes;
use wyng_tests::sandbox::{Outcome, Sandbox};

struct System {
    sandbox: Sandbox,
    qubes: FakeQubes,
}

impl System {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        let qubes = FakeQubes::dom0(&sandbox);
        let pool = sandbox.path("pool");
        std::fs::create_dir(&pool).unwrap();
        qubes.add_system(&pool);
        std::fs::create_dir_all(sandbox.path("root/etc/qubes")).unwrap();
        qubes.create(&sandbox, "qrexec:sys-backup", &[]).success();
        Self { sandbox, qubes }
    }

    fn wyng(&self, words: &[&str]) -> Outcome {
        self.qubes.wyng(&self.sandbox, words)
    }

    fn set(&self, property: &str, value: &str) {
        self.qubes
            .call("admin.property.Set", property, "dom0", value);
    }

    fn back_up(&self) -> Outcome {
        let root = self.sandbox.path("root");
        self.wyng(&["backup", "home", "--dom0", "--dom0-root", text(&root)])
    }

    /// The lines that a restore of dom0's files shows of the system.
    #[track_caller]
    fn shown(&self, to: &str) -> Vec<String> {
        let (root, to) = (self.sandbox.path("root"), self.sandbox.path(to));
        let words = [
            "restore",
            "home",
            "--dom0",
            "--to",
            text(&to),
            "--dom0-root",
        ];
        let outcome = self.wyng(&[&words[..], &[text(&root)]].concat());
        outcome.success();
        let lines = outcome.json["plan"].as_array().cloned().unwrap_or_default();
        let line = |line: &Value| line.as_str().unwrap().to_owned();
        lines.iter().map(line).collect()
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn settings_of_the_system_are_recorded_and_shown_as_commands_where_they_differ() {
    let system = System::new();
    system.set("clockvm", "sys-net");
    system.set("default_shutdown_timeout", "90");
    let outcome = system.back_up();
    outcome.success();
    let volumes = outcome.json["volumes"].as_array().unwrap();
    let names: Vec<&Value> = volumes.iter().map(|volume| &volume["name"]).collect();
    assert_eq!(names, ["dom0:files", "dom0:settings"]);
    let record = system.wyng(&["restore", "home", "dom0:settings", "--to", "-"]);
    record.success();
    let record: Value = serde_json::from_slice(&record.stdout).unwrap();
    assert_eq!(record["record"], "global");
    assert_eq!(record["properties"]["clockvm"]["value"], "sys-net");
    assert_eq!(system.shown("same"), Vec::<String>::new());
    system.set("clockvm", "");
    system.set("default_shutdown_timeout", "61");
    let shown = system.shown("other");
    assert_eq!(
        shown[1..],
        [
            "qubes-prefs clockvm sys-net",
            "qubes-prefs default_shutdown_timeout 90"
        ]
    );
    // Nothing was applied.
    assert_eq!(system.shown("again"), shown);
}

#[test]
fn the_same_settings_are_the_same_volume_again() {
    let system = System::new();
    system.back_up().success();
    let outcome = system.back_up();
    outcome.success();
    assert_eq!(outcome.json["volumes"][1]["name"], "dom0:settings");
    assert_eq!(outcome.json["volumes"][1]["changed_bytes"], 0);
}

#[test]
fn nobody_names_the_whole_system_as_a_qube() {
    let system = System::new();
    for word in ["dom0", "@dom0"] {
        system.wyng(&["backup", "home", "--qube", word]).expect(2);
    }
}
