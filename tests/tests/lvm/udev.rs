// SPDX-License-Identifier: GPL-3.0-or-later
//! A guest decides what its volume holds: file systems that claim the name of the admin domain's
//! own, volume groups. Nothing here may look at it while one of our snapshots is active.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use wyng_tests::vm::run;
use wyng_tests::volume_group::VolumeGroup;

/// The file system of the VM's own that the guest claims to be, as /boot of an admin domain.
const OWN_DISK: &str = "/dev/disk/by-id/virtio-files";
const BOOT: &str = "wyng-000000000000000a";
const NESTED: &str = "wyng-000000000000000b";

/// The rules that Wyng installs, in force as long as this lives.
struct Rules(PathBuf);

impl Rules {
    fn install() -> Self {
        let name = "12-wyng-ignore-lvm-devices.rules";
        let source = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../systemd")
            .join(name);
        let target = Path::new("/etc/udev/rules.d").join(name);
        std::fs::copy(source, &target).unwrap();
        run("udevadm", &["control", "--reload"]);
        Self(target)
    }
}

impl Drop for Rules {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).unwrap();
        run("udevadm", &["control", "--reload"]);
    }
}

/// The links in /dev/disk with where they lead, and what LVM sees as its disks.
fn looks() -> (BTreeSet<String>, String) {
    let links = run("find", &["/dev/disk", "-type", "l", "-printf", "%p %l\n"]);
    (links.lines().map(str::to_owned).collect(), run("pvs", &[]))
}

fn properties(path: &str) -> BTreeSet<String> {
    let properties = run("udevadm", &["info", "--query=property", path]);
    properties.lines().map(str::to_owned).collect()
}

#[test]
#[ignore = "runs in the VM of make test-vm"]
fn a_guest_that_claims_to_be_boot_and_a_nested_volume_group_change_nothing() {
    let group = VolumeGroup::new("qubes");
    let uuid = run("blkid", &["-o", "value", "-s", "UUID", OWN_DISK]);
    let claims_boot = group.add("vm-work");
    run("mkfs.ext4", &["-q", "-U", uuid.trim(), &claims_boot]);
    let nested = group.add("vm-mail");
    let see_volumes = ["--config", "devices/scan_lvs=1"];
    run(
        "vgcreate",
        &[&see_volumes[..], &["nested", &nested]].concat(),
    );
    for (snapshot, origin) in [(BOOT, "vm-work"), (NESTED, "vm-mail")] {
        group.deactivate(origin);
        group.snapshot(snapshot, origin);
    }
    let before = looks();
    let activated = || {
        [BOOT, NESTED]
            .iter()
            .for_each(|snapshot| group.activate(snapshot));
        looks()
    };

    // Without the rules, the guest becomes /boot.
    let without = activated();
    assert!(
        before.0.iter().any(|link| !without.0.contains(link)),
        "the guest took no link"
    );
    [BOOT, NESTED]
        .iter()
        .for_each(|snapshot| group.deactivate(snapshot));
    assert_eq!(looks(), before);

    let _rules = Rules::install();
    assert_eq!(activated(), before);
    for path in [BOOT, NESTED].map(|snapshot| group.path(snapshot)) {
        let properties = properties(&path);
        for flag in [
            "DM_UDEV_DISABLE_DISK_RULES_FLAG=1",
            "UDEV_DISABLE_PERSISTENT_STORAGE_RULES_FLAG=1",
            "UDISKS_IGNORE=1",
            "SYSTEMD_READY=0",
        ] {
            assert!(properties.contains(flag), "{flag}: {properties:?}");
        }
        let looked = |property: &&String| property.starts_with("ID_FS_");
        assert_eq!(properties.iter().find(looked), None);
    }
    // Events that come later, for all disks: ours stay hidden, and the others are not.
    let again = [
        "trigger",
        "--settle",
        "--action=change",
        "--subsystem-match=block",
    ];
    run("udevadm", &again);
    assert_eq!(looks(), before);
    [BOOT, NESTED]
        .iter()
        .for_each(|snapshot| group.deactivate(snapshot));
}

#[test]
#[ignore = "runs in the VM of make test-vm"]
fn a_volume_of_ours_that_is_written_to_stays_hidden_and_one_of_another_name_does_not() {
    let group = VolumeGroup::new("qubes");
    let _rules = Rules::install();
    let before = looks().0;
    let ours = group.add("wyng-00000000000000cc");
    run("mkfs.ext4", &["-q", "-L", "guest", &ours]);
    run("udevadm", &["settle"]);
    assert_eq!(looks().0, before);
    let other = group.add("vm-wyng-1");
    assert!(!properties(&other).contains("DM_UDEV_DISABLE_DISK_RULES_FLAG=1"));
    assert_ne!(looks().0, before);
}
