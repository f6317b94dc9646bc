// SPDX-License-Identifier: GPL-3.0-or-later
//! Volumes of a thin pool are backed up by snapshot and delta, whatever else happens to the pool.

use std::fs::File;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use wyng_tests::sandbox::{Outcome, Sandbox, noise};
use wyng_tests::traced::kill_numbers;

pub(super) const MIB: u64 = 1 << 20;
const DISK: &str = "/dev/vdc";
const RULES: &str = "/etc/udev/rules.d/12-wyng-ignore-lvm-devices.rules";
const LVM: &str = "/usr/sbin/lvm";
/// lvm works only by this name.
const REAL_LVM: &str = "/usr/local/lib/real/lvm";
pub(super) const VOLUME: &str = "/dev/vg/src";

/// A volume group with a pool and a volume `src`, on the whole scratch disk.
pub(super) struct Thin {
    pub(super) sandbox: Sandbox,
}

pub(super) fn run(line: &str) -> String {
    let output = Command::new("/bin/sh").args(["-c", line]).output().unwrap();
    assert!(
        output.status.success(),
        "{line}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

fn tidy() {
    let _ = std::fs::rename(REAL_LVM, LVM);
    run(
        "vgremove -q -f -f vg 2>/dev/null; pvremove -q -f -f /dev/vdc 2>/dev/null; wipefs -q -a /dev/vdc; true",
    );
    let _ = std::fs::remove_dir_all("/var/lib/wyng-pool");
    if std::fs::remove_file(RULES).is_ok() {
        run("udevadm control --reload");
    }
}

/// The rules that keep udev away from our volumes.
fn install_rules() {
    let rules =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../systemd/12-wyng-ignore-lvm-devices.rules");
    std::fs::copy(rules, RULES).unwrap();
    run("udevadm control --reload");
}

impl Thin {
    /// A pool of this size with a volume of another size; LVM's units.
    pub(super) fn new(pool: &str, volume: &str) -> Self {
        tidy();
        install_rules();
        let thin = Self {
            sandbox: Sandbox::with_archive(&[]),
        };
        thin.make_pool(pool, volume);
        thin
    }

    /// A pool of this size with blocks of this size, and no volume.
    pub(super) fn with_blocks(pool: &str, block: &str) -> Self {
        tidy();
        install_rules();
        run(&format!(
            "pvcreate -q {DISK} && vgcreate -q vg {DISK} && \
             lvcreate -q -L {pool} -c {block} --poolmetadatasize 64M -T vg/pool"
        ));
        Self {
            sandbox: Sandbox::with_archive(&[]),
        }
    }

    fn make_pool(&self, pool: &str, volume: &str) {
        run(&format!(
            "pvcreate -q {DISK} && vgcreate -q vg {DISK} && \
             lvcreate -q -L {pool} --poolmetadatasize 64M -T vg/pool && \
             lvcreate -q -V {volume} -T vg/pool -n src"
        ));
    }

    pub(super) fn write(&self, at_mib: u64, mib: u64, seed: u64) {
        self.write_to(VOLUME, at_mib, mib, seed);
    }

    pub(super) fn write_to(&self, volume: &str, at_mib: u64, mib: u64, seed: u64) {
        let device = File::options().write(true).open(volume).unwrap();
        let bytes = noise(usize::try_from(mib * MIB).unwrap(), seed);
        device.write_all_at(&bytes, at_mib * MIB).unwrap();
        device.sync_all().unwrap();
    }

    fn command(&self, archive: &str) -> Command {
        let source = format!("v={VOLUME}");
        let mut command = self.sandbox.command(&["backup", archive, &source]);
        command.env("WYNG_POOL_WAIT_SECS", "1");
        command
    }

    pub(super) fn back_up(&self) -> Outcome {
        Outcome::of(self.command("home").output().unwrap())
    }

    /// Method, whether a snapshot was read, and bytes that were read.
    pub(super) fn backs_up(&self) -> (String, bool, u64) {
        shown(&self.back_up())
    }

    /// Our volumes, each with its tags.
    pub(super) fn ours(&self) -> Vec<String> {
        let listed = run("lvs --noheadings -o lv_name,lv_tags vg");
        let lines = listed.lines().map(str::trim);
        lines
            .filter(|line| line.starts_with("wyng-"))
            .map(str::to_owned)
            .collect()
    }

    /// Checks that a session is what the volume is now.
    pub(super) fn assert_restores(&self) {
        let target = self.sandbox.path("restored.img");
        let _ = std::fs::remove_file(&target);
        self.sandbox
            .wyng(&["restore", "home", "v", "--to", target.to_str().unwrap()])
            .success();
        run(&format!("cmp {VOLUME} {}", target.display()));
    }

    /// Checks that one base and nothing else of ours is left.
    pub(super) fn assert_tidy(&self) {
        let ours = self.ours();
        assert!(
            ours.len() == 1 && ours[0].contains("wyng:1:"),
            "one base is left: {ours:?}"
        );
        assert_eq!(held(), "-", "no metadata snapshot is left");
        let notes = run("ls /var/lib/wyng-pool");
        assert!(!notes.contains("reservation\n"), "no note is left: {notes}");
    }
}

impl Drop for Thin {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            tidy();
        }
    }
}

pub(super) fn shown(outcome: &Outcome) -> (String, bool, u64) {
    let volume = &outcome.success().json["volumes"][0];
    (
        volume["method"].as_str().unwrap().to_owned(),
        volume["snapshot"].as_bool().unwrap(),
        volume["read_bytes"].as_u64().unwrap(),
    )
}

/// Why the volume was read whole, if a reason is reported.
pub(super) fn whole(outcome: &Outcome) -> &str {
    outcome.success().json["volumes"][0]["whole"]["code"]
        .as_str()
        .unwrap_or("-")
}

/// The metadata snapshot that the pool holds.
pub(super) fn held() -> String {
    let status = run("dmsetup status vg-pool-tpool");
    status.split_whitespace().nth(6).unwrap().to_owned()
}

/// Bytes that were read from a part of the pool so far.
fn read_bytes_of(part: &str) -> u64 {
    let line = run(&format!(
        "cat /sys/dev/block/$(dmsetup info -c --noheadings -o major,minor --separator : vg-pool_{part})/stat"
    ));
    line.split_whitespace()
        .nth(2)
        .unwrap()
        .parse::<u64>()
        .unwrap()
        * 512
}

/// Runs these shell commands at each start of lvm by the daemon, before lvm itself; `$1` is lvm's
/// verb, and `$REAL` lvm.
pub(super) fn before_lvm(script: &str) {
    let wrapper = format!("#!/bin/sh\nREAL={REAL_LVM}\n{script}\nexec $REAL \"$@\"\n");
    std::fs::create_dir_all(Path::new(REAL_LVM).parent().unwrap()).unwrap();
    std::fs::rename(LVM, REAL_LVM).unwrap();
    std::fs::write(LVM, wrapper).unwrap();
    std::fs::set_permissions(LVM, std::fs::Permissions::from_mode(0o755)).unwrap();
}

pub(super) fn without_wrapper() {
    std::fs::rename(REAL_LVM, LVM).unwrap();
}

#[test]
#[ignore = "runs in the VM of make test-vm"]
fn of_a_tebibyte_with_40_mib_changed_40_mib_are_read_and_few_blocks_of_metadata() {
    let thin = Thin::new("8G", "1T");
    for at in [0, 1000, 500_000, 1_048_566] {
        thin.write(at, 10, at);
    }
    assert_eq!(thin.backs_up(), ("full-scan".into(), true, 40 * MIB));
    for at in [5, 200_000, 700_000, 900_000] {
        thin.write(at, 10, at);
    }
    let before = (read_bytes_of("tmeta"), read_bytes_of("tdata"));
    assert_eq!(thin.backs_up(), ("thin-delta".into(), true, 40 * MIB));
    let (metadata, data) = (
        read_bytes_of("tmeta") - before.0,
        read_bytes_of("tdata") - before.1,
    );
    assert!(metadata <= 4 * MIB, "{metadata} bytes of metadata");
    assert!((40 * MIB..44 * MIB).contains(&data), "{data} bytes of data");
    thin.assert_tidy();
}

#[test]
#[ignore = "runs in the VM of make test-vm"]
fn what_was_written_discarded_and_grown_since_the_base_is_restored_exactly() {
    let thin = Thin::new("1G", "100M");
    thin.write(0, 40, 1);
    assert_eq!(thin.backs_up().0, "full-scan");
    thin.assert_restores();
    thin.write(7, 3, 2);
    run(&format!(
        "blkdiscard -o {} -l {} {VOLUME}",
        20 * MIB,
        10 * MIB
    ));
    let (method, _, read) = thin.backs_up();
    assert_eq!(
        (method.as_str(), read),
        ("thin-delta", 3 * MIB),
        "zeros are not read"
    );
    thin.assert_restores();
    run("lvextend -q -L 150M vg/src");
    thin.write(130, 1, 3);
    assert_eq!(thin.backs_up().0, "thin-delta");
    thin.assert_restores();
    run("lvreduce -q -f -L 60M vg/src");
    thin.write(59, 1, 4);
    assert_eq!(thin.backs_up().0, "thin-delta");
    thin.assert_restores();
    thin.assert_tidy();
}

#[test]
#[ignore = "runs in the VM of make test-vm"]
fn each_archive_has_a_base_of_its_own() {
    let thin = Thin::new("1G", "64M");
    let store = format!("dir:{}", thin.sandbox.path("store of other").display());
    let create = ["archive", "create", "other", "--store", &store];
    let cheap = ["--kdf-memory", "64M", "--kdf-passes", "3"];
    thin.sandbox.wyng(&[&create[..], &cheap].concat()).success();
    for (turn, method) in [(0, "full-scan"), (1, "thin-delta"), (2, "thin-delta")] {
        thin.write(turn * 4, 2, turn);
        for archive in ["home", "other"] {
            let outcome = Outcome::of(thin.command(archive).output().unwrap());
            assert_eq!(shown(&outcome).0, method, "{archive}");
        }
    }
    assert_eq!(thin.ours().len(), 2);
    thin.assert_restores();
}

#[test]
#[ignore = "runs in the VM of make test-vm"]
fn a_base_that_is_lost_changed_or_of_another_pool_is_no_base() {
    let thin = Thin::new("1G", "64M");
    let base = || thin.ours()[0].split_whitespace().next().unwrap().to_owned();
    let spoil: [(&str, &dyn Fn()); 3] = [
        ("lost", &|| {
            run(&format!("lvremove -q -f vg/{}", base()));
        }),
        ("can be written to", &|| {
            run(&format!("lvchange -q -p rw vg/{}", base()));
        }),
        ("of another pool", &|| {
            // All is made anew with the same names, ids and transaction ids, and the label is
            // copied.
            let line = thin.ours()[0].clone();
            let (name, tag) = line.split_once(char::is_whitespace).unwrap();
            run("vgremove -q -f -f vg && wipefs -q -a /dev/vdc");
            thin.make_pool("1G", "64M");
            thin.write(0, 8, 99);
            run(&format!(
                "lvcreate -q -s -pr -ky -n {name} --addtag {} vg/src",
                tag.trim()
            ));
        }),
    ];
    thin.write(0, 8, 0);
    for (seed, (why, spoil)) in (1..).zip(spoil) {
        thin.backs_up();
        assert_eq!(thin.backs_up().0, "thin-delta", "before: {why}");
        spoil();
        thin.write(2, 1, seed);
        assert_eq!(thin.backs_up().0, "full-scan", "{why}");
        thin.assert_restores();
        thin.assert_tidy();
    }
}

#[test]
#[ignore = "runs in the VM of make test-vm"]
fn a_volume_that_is_renamed_between_two_calls_is_the_one_that_was_opened() {
    let thin = Thin::new("1G", "64M");
    thin.write(0, 8, 1);
    run("lvcreate -q -V 64M -T vg/pool -n next");
    // As qubesd does it when a qube shuts down, in the very moment before the snapshot.
    before_lvm(
        "if [ \"$1\" = lvcreate ] && [ ! -e /run/renamed ] && echo \"$*\" | grep -q -- --snapshot; then \
         touch /run/renamed; $REAL lvrename -q vg src src-back; $REAL lvrename -q vg next src; fi",
    );
    let (method, snapshot, read) = thin.backs_up();
    without_wrapper();
    assert!(
        std::fs::remove_file("/run/renamed").is_ok(),
        "it was renamed"
    );
    assert_eq!(
        (method.as_str(), snapshot, read),
        ("full-scan", true, 8 * MIB)
    );
    run("lvrename -q vg src next && lvrename -q vg src-back src");
    thin.assert_restores();
    thin.assert_tidy();
}

#[test]
#[ignore = "runs in the VM of make test-vm"]
fn somebody_elses_metadata_snapshot_is_left_alone_and_the_volume_is_read_whole() {
    let thin = Thin::new("1G", "64M");
    thin.write(0, 8, 1);
    thin.backs_up();
    thin.write(3, 1, 2);
    run("dmsetup message vg-pool-tpool 0 reserve_metadata_snap");
    let theirs = held();
    let outcome = thin.back_up();
    let (method, snapshot, _) = shown(&outcome);
    assert_eq!((method.as_str(), snapshot), ("full-scan", true));
    assert_eq!(whole(&outcome), "metadata-held");
    assert_eq!(held(), theirs);
    run("dmsetup message vg-pool-tpool 0 release_metadata_snap");
    thin.assert_restores();
    thin.assert_tidy();
    assert_eq!(
        thin.backs_up().0,
        "thin-delta",
        "the base before it is one still"
    );
}

#[test]
#[ignore = "runs in the VM of make test-vm"]
fn a_metadata_snapshot_that_was_released_while_it_was_read_shows_nothing() {
    let thin = Thin::new("1G", "64M");
    thin.write(0, 8, 1);
    thin.backs_up();
    thin.write(3, 1, 2);
    // dmsetup is wrapped: as soon as ours is taken, somebody else releases it.
    run("mv /usr/sbin/dmsetup /usr/sbin/dmsetup.real");
    let wrapper = "#!/bin/sh\n/usr/sbin/dmsetup.real \"$@\"; code=$?\n\
                   [ \"$1\" = table ] && [ -e /run/release ] && rm /run/release && \
                   /usr/sbin/dmsetup.real message vg-pool-tpool 0 release_metadata_snap\n\
                   [ \"$5\" = reserve_metadata_snap ] && touch /run/release\nexit $code\n";
    std::fs::write("/usr/sbin/dmsetup", wrapper).unwrap();
    run("chmod 755 /usr/sbin/dmsetup");
    let (method, snapshot, _) = thin.backs_up();
    run("mv /usr/sbin/dmsetup.real /usr/sbin/dmsetup");
    assert_eq!((method.as_str(), snapshot), ("full-scan", true));
    assert_eq!(held(), "-");
    thin.assert_restores();
}

#[test]
#[ignore = "runs in the VM of make test-vm"]
fn a_pool_that_is_nearly_full_gets_no_snapshot_and_a_fuller_one_loses_bases() {
    let thin = Thin::new("100M", "96M");
    thin.write(0, 40, 1);
    assert_eq!(thin.backs_up(), ("full-scan".into(), true, 40 * MIB));
    run(
        "lvcreate -q -V 50M -T vg/pool -n fill && dd if=/dev/urandom of=/dev/vg/fill bs=1M count=44 oflag=direct",
    );
    let outcome = thin.back_up();
    let (method, snapshot, _) = shown(&outcome);
    assert_eq!(
        (method.as_str(), snapshot),
        ("full-scan", false),
        "84 % are used"
    );
    assert_eq!(whole(&outcome), "pool-filling");
    assert_eq!(thin.ours().len(), 1);
    let status = thin.sandbox.wyng(&["status"]);
    assert_eq!(status.json["warnings"][0]["code"], "pool-filling");
    thin.write(0, 10, 2);
    let status = thin.sandbox.wyng(&["status"]);
    assert_eq!(status.json["warnings"][0]["code"], "pool-full");
    // `monitor` reads no byte, and makes room all the same.
    let source = format!("v={VOLUME}");
    let outcome = thin.sandbox.wyng(&["monitor", "home", &source]);
    assert_eq!(whole(&outcome), "base-dropped");
    assert_eq!(thin.ours(), [""; 0], "94 % were used");
    let status = thin.sandbox.wyng(&["status"]);
    let warnings = status.json["warnings"].as_array().unwrap();
    let says = |code| warnings.iter().any(|warning| warning["code"] == code);
    assert!(says("pool-bases-dropped"), "{warnings:?}");
    assert_eq!(status.json["pools"][0]["bases_dropped"], 1);
    let (method, snapshot, _) = thin.backs_up();
    assert_eq!((method.as_str(), snapshot), ("full-scan", false));
    thin.assert_restores();
}

#[test]
#[ignore = "runs in the VM of make test-vm"]
fn what_a_guest_wrote_is_never_probed() {
    let thin = Thin::new("1G", "64M");
    run(&format!(
        "mke2fs -q -t ext4 -U 11111111-2222-3333-4444-555555555555 {VOLUME}"
    ));
    run("udevadm settle");
    let links =
        || run("ls -l /dev/disk/by-uuid /dev/disk/by-id /dev/disk/by-label 2>/dev/null; true");
    let links_of = |text: &str| text.lines().filter(|line| line.contains("->")).count();
    let before = links();
    // The snapshot is active until lvm deactivates it.
    before_lvm(
        "[ \"$1 $2 $3\" = 'lvchange --activate n' ] && udevadm settle && ls -l /dev/disk/by-uuid /dev/disk/by-id >/run/links && $REAL lvs --noheadings -o lv_attr vg >>/run/links",
    );
    assert_eq!(thin.backs_up().0, "full-scan");
    without_wrapper();
    let during = std::fs::read_to_string("/run/links").unwrap();
    assert!(
        during.contains("Vri-a"),
        "the snapshot was active: {during}"
    );
    assert!(
        links_of(&before) > 0 && links_of(&during) == links_of(&before),
        "{before}\n{during}"
    );
    // Without the rule nothing of ours is activated.
    std::fs::remove_file(RULES).unwrap();
    run("udevadm control --reload");
    before_lvm("echo \"$*\" >>/run/calls");
    let outcome = thin.back_up();
    let (method, snapshot, _) = shown(&outcome);
    without_wrapper();
    assert_eq!((method.as_str(), snapshot), ("full-scan", false));
    assert_eq!(whole(&outcome), "snapshots-probed");
    let calls = std::fs::read_to_string("/run/calls").unwrap();
    assert!(
        !calls.contains("--snapshot") && !calls.contains("ignoreactivationskip"),
        "{calls}"
    );
}

#[test]
#[ignore = "runs in the VM of make test-vm"]
fn a_run_that_is_killed_at_a_call_of_lvm_leaves_nothing_that_the_next_run_does_not_remove() {
    let thin = Thin::new("1G", "64M");
    thin.write(0, 8, 0);
    thin.backs_up();
    for call in kill_numbers() {
        thin.write(2, 1, call.into());
        // At this call of lvm all of the daemon is killed, and lvm goes on.
        before_lvm(&format!(
            "n=$(cat /run/calls 2>/dev/null || echo 0); n=$((n + 1)); echo $n >/run/calls\n\
             [ $n = {call} ] && pkill -KILL -f wyngd && touch /run/killed"
        ));
        let _ = std::fs::remove_file("/run/calls");
        let killed = thin.command("home").output().unwrap();
        let was_killed = std::fs::remove_file("/run/killed").is_ok();
        // lvm that was started is not killed with the daemon.
        run(&format!(
            "while pgrep -f ^{REAL_LVM} >/dev/null; do sleep 0.1; done"
        ));
        without_wrapper();
        if !was_killed {
            assert!(call > 7, "{call} calls");
            Outcome::of(killed).success();
            break;
        }
        assert_eq!(thin.backs_up().0, "thin-delta", "after call {call}");
        thin.assert_tidy();
        let name = thin.ours()[0].clone();
        assert!(name.starts_with("wyng-"), "after call {call}");
    }
    thin.assert_restores();
}

#[test]
#[ignore = "runs in the VM of make test-vm"]
fn a_metadata_snapshot_that_a_killed_run_left_is_released_by_the_next_one() {
    let thin = Thin::new("1G", "64M");
    thin.write(0, 8, 0);
    thin.backs_up();
    for (turn, message) in ["reserve_metadata_snap", "release_metadata_snap"]
        .iter()
        .enumerate()
    {
        thin.write(2, 1, turn as u64);
        run("mv /usr/sbin/dmsetup /usr/sbin/dmsetup.real");
        let wrapper = format!(
            "#!/bin/sh\n[ \"$5\" = {message} ] && [ {turn} = 1 ] && pkill -KILL -f wyngd && exit 1\n\
             /usr/sbin/dmsetup.real \"$@\"; code=$?\n\
             [ \"$1\" = table ] && [ -e /run/kill ] && rm /run/kill && touch /run/killed && pkill -KILL -f wyngd\n\
             [ \"$5\" = {message} ] && touch /run/kill\nexit $code\n"
        );
        std::fs::write("/usr/sbin/dmsetup", wrapper).unwrap();
        run("chmod 755 /usr/sbin/dmsetup");
        thin.command("home").output().unwrap();
        run("mv /usr/sbin/dmsetup.real /usr/sbin/dmsetup; rm -f /run/kill /run/killed");
        if turn == 1 {
            assert_ne!(
                held(),
                "-",
                "the killed run left one, and its note says which"
            );
            assert_eq!(thin.backs_up().0, "thin-delta");
            thin.assert_tidy();
        } else {
            // The note does not say which one it is: it is left to a person.
            assert_ne!(held(), "-");
            assert_eq!(whole(&thin.back_up()), "metadata-left");
            let listed = thin.sandbox.wyng(&["snapshots", "list"]);
            assert_eq!(listed.success().json["pools"][0]["metadata_left"], true);
            assert_eq!(listed.json["warnings"][0]["code"], "pool-metadata-left");
            thin.sandbox.wyng(&["snapshots", "clean"]).success();
            assert_ne!(held(), "-", "a person has not said so");
            let clean = ["snapshots", "clean", "--metadata"];
            thin.sandbox.wyng(&clean).success();
            assert_eq!(held(), "-");
            assert_eq!(thin.backs_up().0, "thin-delta");
            // One that no note is about is somebody else's, whatever a person says.
            run("dmsetup message vg-pool-tpool 0 reserve_metadata_snap");
            thin.sandbox.wyng(&clean).success();
            assert_ne!(held(), "-");
            run("dmsetup message vg-pool-tpool 0 release_metadata_snap");
        }
    }
    thin.assert_restores();
}
