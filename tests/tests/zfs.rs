// SPDX-License-Identifier: GPL-3.0-or-later
//! Volumes of ZFS, over a simulated `zfs` that speaks as the real one does. No test has run on a
//! real pool.

use wyng_tests::fake_zfs::FakeZfs;
use wyng_tests::programs::program;
use wyng_tests::require::{Component, require};
use wyng_tests::sandbox::{Outcome, Sandbox, noise};

const MIB: u64 = 1 << 20;
const VOLUME: &str = "tank/vms/disk";

struct Machine {
    zfs: FakeZfs,
    sandbox: Sandbox,
}

impl Machine {
    /// A machine with a volume of 16 MiB; half of it is written to.
    fn new(test: &str) -> Option<Self> {
        if !require(Component::LoopDevices, test) {
            return None;
        }
        let zfs = FakeZfs::new(&program("fake-zfs"));
        zfs.zfs(&["create", "-V", "16777216", VOLUME]);
        zfs.write(VOLUME, 0, &noise(8 << 20, 1));
        Some(Self {
            zfs,
            sandbox: Sandbox::with_archive(&[]),
        })
    }

    fn wyng(&self, words: &[&str]) -> Outcome {
        let command = self.sandbox.command(words);
        Outcome::of(
            self.zfs
                .inside(&command)
                .stdin(std::process::Stdio::null())
                .output()
                .unwrap(),
        )
    }

    /// Backs the volume up, which succeeds; its line of the result.
    fn backs_up(&self) -> serde_json::Value {
        let outcome = self.wyng(&["backup", "home", "v=zfs:tank/vms/disk"]);
        outcome.success().json["volumes"][0].clone()
    }

    /// Checks that the newest session is what the volume is now.
    fn assert_restores(&self) {
        let target = self.sandbox.path("restored");
        let _ = std::fs::remove_file(&target);
        self.wyng(&["restore", "home", "v", "--to", target.to_str().unwrap()])
            .success();
        assert!(std::fs::read(target).unwrap() == self.zfs.read(VOLUME));
    }

    /// Checks that one base and nothing else of ours is left; returns its name.
    fn base(&self) -> String {
        let ours = self.zfs.ours();
        let is_base = ours.len() == 1 && ours[0].starts_with("tank/vms/disk@wyng-");
        assert!(is_base, "{ours:?}");
        ours[0].clone()
    }
}

#[test]
fn a_volume_is_backed_up_from_a_snapshot_and_is_not_read_while_nothing_changes() {
    let Some(machine) = Machine::new("a_volume_is_backed_up_from_a_snapshot") else {
        return;
    };
    let first = machine.backs_up();
    assert_eq!(
        (&first["method"], &first["snapshot"]),
        (&"full-scan".into(), &true.into())
    );
    assert_eq!(first["whole"]["code"], "no-base");
    let base = machine.base();
    machine.assert_restores();

    let same = machine.backs_up();
    assert_eq!(same["method"], "zfs-written");
    assert_eq!(same["read_bytes"], 0);
    assert_eq!(same["whole"], serde_json::Value::Null);
    let moved = machine.base();
    assert_ne!(moved, base, "the base is a new one");

    machine.zfs.write(VOLUME, 3 * MIB, &noise(4096, 2));
    let changed = machine.backs_up();
    assert_eq!(changed["method"], "full-scan");
    assert_eq!(changed["whole"]["code"], "ranges-untold");
    assert!(
        changed["changed_bytes"].as_u64().unwrap() <= MIB,
        "{changed}"
    );
    machine.base();
    machine.assert_restores();
}

#[test]
fn what_a_path_leads_to_counts_and_not_the_path() {
    let Some(machine) = Machine::new("what_a_path_leads_to_counts") else {
        return;
    };
    let device = machine.zfs.device(VOLUME);
    let outcome = machine.wyng(&["backup", "home", &format!("v={device}")]);
    assert_eq!(outcome.success().json["volumes"][0]["snapshot"], true);
    machine.base();
    let path = "v=/dev/zvol/tank/vms/disk";
    let outcome = machine.wyng(&["backup", "home", path]);
    assert_eq!(
        outcome.success().json["volumes"][0]["method"],
        "zfs-written"
    );
}

#[test]
fn a_base_is_known_by_what_it_is_and_not_by_its_name() {
    let Some(machine) = Machine::new("a_base_is_known_by_what_it_is") else {
        return;
    };
    for (guid, createtxg) in [(Some(5), None), (None, Some(5))] {
        machine.backs_up();
        machine.zfs.forge(&machine.base(), guid, createtxg);
        let volume = machine.backs_up();
        assert_eq!(volume["method"], "full-scan");
        assert_eq!(volume["whole"]["code"], "no-base");
        // What the label does not fit is unfinished.
        machine.base();
    }
    assert_eq!(machine.backs_up()["method"], "zfs-written");
    // A label that the volume has itself is inherited by each of its snapshots.
    let listed = ["list", "-H", "-p", "-t", "snapshot", "-o", "org.wyng:base"];
    let label = machine.zfs.zfs(&listed);
    machine
        .zfs
        .zfs(&["set", &format!("org.wyng:base={}", label.trim()), VOLUME]);
    machine.zfs.zfs(&["destroy", &machine.base()]);
    machine
        .zfs
        .zfs(&["snapshot", "tank/vms/disk@wyng-0123456789abcdef"]);
    let volume = machine.backs_up();
    assert_eq!(volume["whole"]["code"], "no-base");
    machine.base();
}

#[test]
fn what_a_killed_run_left_is_destroyed_and_nothing_else() {
    let Some(machine) = Machine::new("what_a_killed_run_left_is_destroyed") else {
        return;
    };
    machine.zfs.zfs(&["snapshot", "tank/vms/disk@daily"]);
    machine
        .zfs
        .zfs(&["create", "-V", "1048576", "tank/vms/wyng-home"]);
    machine.backs_up();
    let kept = machine.zfs.names();
    let hook = machine.zfs.state("before");
    for call in ["snapshot", "clone", "get", "destroy", "set"] {
        let role = "$(cut -d ' ' -f 4 /proc/$PPID/stat)";
        let script = format!("[ \"$1\" != {call} ] || kill -KILL {role}");
        std::fs::write(&hook, script).unwrap();
        let killed = machine.wyng(&["backup", "home", "v=zfs:tank/vms/disk"]);
        assert_ne!(killed.status, 0, "{call}");
        std::fs::remove_file(&hook).unwrap();
        machine.wyng(&["snapshots", "clean"]).success();
        let names = machine.zfs.names();
        assert!(names.len() <= kept.len(), "{call}: {names:?}");
        assert!(names.contains(&"tank/vms/disk@daily".to_owned()));
        assert!(names.contains(&"tank/vms/wyng-home".to_owned()));
        machine
            .zfs
            .write(VOLUME, MIB, &noise(4096, call.len() as u64));
        machine.backs_up();
        machine.assert_restores();
        assert_eq!(machine.zfs.names().len(), kept.len(), "{call}");
    }
}

#[test]
fn bases_are_listed_with_what_they_hold_alone_and_forgotten_with_their_archive() {
    let Some(machine) = Machine::new("bases_are_listed_with_what_they_hold_alone") else {
        return;
    };
    machine.backs_up();
    machine.zfs.write(VOLUME, 0, &[7; 8192]);
    let listed = machine.wyng(&["snapshots", "list"]);
    let line = &listed.success().json["snapshots"][0];
    assert_eq!(line["logical_volume"], machine.base());
    assert_eq!(line["volume"], "v");
    assert!(line["exclusive_bytes"].as_u64().unwrap() > 8000, "{line}");
    machine.wyng(&["archive", "forget", "home"]).success();
    assert_eq!(machine.zfs.names(), [VOLUME]);
}

#[test]
fn a_pool_that_fills_up_gets_no_snapshot_and_loses_its_bases() {
    let Some(machine) = Machine::new("a_pool_that_fills_up_gets_no_snapshot") else {
        return;
    };
    let room = machine.zfs.state("room");
    machine.backs_up();
    std::fs::write(&room, "850\t150\n").unwrap();
    let volume = machine.backs_up();
    assert_eq!(volume["snapshot"], false);
    assert_eq!(volume["whole"]["code"], "pool-filling");
    machine.base();
    std::fs::write(&room, "500\t500\n950\t50\n").unwrap();
    let volume = machine.backs_up();
    assert_eq!(volume["snapshot"], true);
    assert_eq!(volume["whole"]["code"], "base-dropped");
    std::fs::remove_file(&room).unwrap();
    assert_eq!(machine.backs_up()["method"], "zfs-written");
}

#[test]
fn a_restore_in_place_writes_to_a_volume_and_to_none_that_the_daemon_makes() {
    let Some(machine) = Machine::new("a_restore_in_place_writes_to_a_volume") else {
        return;
    };
    machine.backs_up();
    let was = machine.zfs.read(VOLUME);
    machine.zfs.write(VOLUME, 2 * MIB, &noise(MIB as usize, 5));
    machine.zfs.write(VOLUME, 12 * MIB, &noise(4096, 6));
    let restore = ["restore", "home", "v", "--to", "zfs:tank/vms/disk"];
    let refused = machine.wyng(&restore);
    assert_eq!(refused.status, 2, "only in place");
    let restored = machine.wyng(&[&restore[..], &["--in-place"]].concat());
    let volume = &restored.success().json["volumes"][0];
    assert!(
        volume["written_bytes"].as_u64().unwrap() <= 3 * MIB,
        "{volume}"
    );
    assert!(machine.zfs.read(VOLUME) == was);

    let own = "tank/vms/wyng-0123456789abcdef";
    machine.zfs.zfs(&["create", "-V", "16777216", own]);
    let to = format!("zfs:{own}");
    let refused = machine.wyng(&["restore", "home", "v", "--to", &to, "--in-place"]);
    assert_eq!(refused.codes(), ["target-in-use"]);
}

#[test]
fn where_zfs_fails_the_volume_is_read_as_it_is_and_the_reason_is_reported() {
    let Some(machine) = Machine::new("where_zfs_fails_the_volume_is_read_as_it_is") else {
        return;
    };
    let hook = machine.zfs.state("before");
    std::fs::write(&hook, "[ \"$1\" != clone ] || kill -KILL $PPID").unwrap();
    let volume = machine.backs_up();
    assert_eq!(volume["snapshot"], false);
    assert_eq!(volume["whole"]["code"], "zfs-failed");
    assert_eq!(machine.zfs.ours(), [""; 0], "the snapshot is gone");
    machine.assert_restores();
}
