// SPDX-License-Identifier: GPL-3.0-or-later
//! The target of a restore: it is checked before the passphrase is requested, an impossible target
//! is refused by name, and a replaced file keeps its attributes.

use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use wyng_tests::disk::{ExfatDisk, LoopMount, run};
use wyng_tests::pool::{Pool, number};
use wyng_tests::require::{Component, require};
use wyng_tests::sandbox::{Outcome, Sandbox, files_below, noise};
use wyng_tests::service::{Service, until};

const MIB: usize = 1 << 20;

/// An archive with the volume `vm` of 2 MiB.
fn archive() -> (Sandbox, Vec<u8>) {
    let sandbox = Sandbox::with_archive(&["--chunk-size", "64K", "--pack-size", "1M"]);
    sandbox.image("vm", 2 * MIB, 1);
    sandbox.wyng(&["backup", "home", "vm"]).success();
    (sandbox, noise(2 * MIB, 1))
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A restore that must not request a passphrase: if it does, it fails with that.
fn refused(sandbox: &Sandbox, arguments: &[&str]) -> Outcome {
    sandbox.wyng(
        &[
            &["restore", "home", "vm", "--passphrase-file", "/nonexistent"][..],
            arguments,
        ]
        .concat(),
    )
}

/// A loop device over a file, detached when dropped.
struct Device(PathBuf);

impl Device {
    fn over(file: &Path, options: &[&str]) -> Self {
        let attached = Command::new("losetup")
            .args(["--find", "--show"])
            .args(options)
            .arg(file)
            .output()
            .unwrap();
        assert!(attached.status.success(), "{attached:?}");
        Self(PathBuf::from(
            String::from_utf8(attached.stdout).unwrap().trim(),
        ))
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("-d").arg(&self.0).output();
    }
}

#[test]
fn what_can_hold_no_volume_is_refused_by_its_kind_and_left_as_it_is() {
    let (sandbox, _) = archive();
    let folder = sandbox.path("folder");
    std::fs::create_dir(&folder).unwrap();
    let (fifo, socket, dead) = (
        sandbox.path("fifo"),
        sandbox.path("socket"),
        sandbox.path("dead"),
    );
    run(Command::new("mkfifo").arg(&fifo));
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    symlink("nowhere", &dead).unwrap();
    let kinds = [
        (text(&folder), "a folder"),
        (text(&fifo), "a FIFO"),
        (text(&socket), "a socket"),
        (text(&dead), "a symbolic link that leads nowhere"),
        ("/dev/null", "a character device"),
        ("/dev/wyng-no-such-disk", "a name in /dev without a device"),
    ];
    for (path, kind) in kinds {
        for how in [
            &[][..],
            &["--overwrite"],
            &["--in-place", "--yes"],
            &["--dry-run"],
        ] {
            let outcome = refused(&sandbox, &[&["--to", path], how].concat());
            let is_absent = how.contains(&"--in-place") && !Path::new(path).exists();
            let (code, status) = if is_absent {
                ("target-unavailable", 1)
            } else {
                ("target-kind", 2)
            };
            assert_eq!(outcome.expect(status).codes(), [code], "{path} {how:?}");
            let said = outcome.json["errors"][0]["text"].as_str().unwrap();
            assert!(
                said.contains(path) && (is_absent || said.contains(kind)),
                "{said}"
            );
        }
    }
    drop(listener);
    assert_eq!(std::fs::read_link(&dead).unwrap(), Path::new("nowhere"));
    assert!(files_below(&folder).is_empty() && !Path::new("/dev/wyng-no-such-disk").exists());
    for (path, code) in [
        ("vm", "target-exists"),
        ("missing/vm", "target-unavailable"),
        ("vm/below", "target-unavailable"),
    ] {
        let outcome = refused(&sandbox, &["--to", path]);
        assert_eq!(outcome.expect(1).codes(), [code]);
        assert!(
            outcome.json["errors"][0]["text"]
                .as_str()
                .unwrap()
                .contains(path),
            "{}",
            outcome.json
        );
    }
}

#[test]
fn a_device_is_written_where_it_is_or_not_at_all() {
    if !require(
        Component::Root,
        "a_device_is_written_where_it_is_or_not_at_all",
    ) {
        return;
    }
    let (sandbox, content) = archive();
    // Larger than the session, and not a multiple of any block size.
    let backing = sandbox.image("disk", 3 * MIB + 512, 2);
    let device = Device::over(&backing, &[]);
    // A link to a device is that device.
    let link = sandbox.path("link");
    symlink(&device.0, &link).unwrap();
    for path in [&device.0, &link] {
        for how in [&[][..], &["--overwrite"]] {
            let outcome = refused(&sandbox, &[&["--to", text(path)], how].concat());
            assert_eq!(outcome.expect(2).codes(), ["target-is-device"]);
            assert!(
                outcome.json["errors"][0]["next"]
                    .as_str()
                    .unwrap()
                    .contains("--in-place"),
                "{}",
                outcome.json
            );
        }
    }
    assert!(
        std::fs::read(&backing).unwrap() == noise(3 * MIB + 512, 2),
        "nothing was written yet"
    );
    sandbox
        .wyng(&[
            "restore",
            "home",
            "vm",
            "--to",
            text(&link),
            "--in-place",
            "--yes",
        ])
        .success();
    let found = std::fs::read(&backing).unwrap();
    assert!(
        found[..2 * MIB] == content && found[2 * MIB..].iter().all(|byte| *byte == 0),
        "behind the session are zeros"
    );
    assert_eq!(std::fs::read_link(&link).unwrap(), device.0);
    // A sector smaller.
    let small = sandbox.image("small", 2 * MIB - 512, 3);
    let device = Device::over(&small, &[]);
    let outcome = refused(&sandbox, &["--to", text(&device.0), "--in-place", "--yes"]);
    assert_eq!(outcome.expect(1).codes(), ["target-too-small"]);
    assert!(
        std::fs::read(&small).unwrap() == noise(2 * MIB - 512, 3),
        "it was not touched"
    );
}

#[test]
fn a_volume_of_an_odd_size_fits_a_device_that_is_large_enough() {
    if !require(
        Component::Root,
        "a_volume_of_an_odd_size_fits_a_device_that_is_large_enough",
    ) {
        return;
    }
    for (size, sector) in [
        (MIB + 777, "512"),
        (MIB + 4096 + 1, "4096"),
        (MIB - 1, "4096"),
    ] {
        let sandbox = Sandbox::with_archive(&["--chunk-size", "64K", "--pack-size", "1M"]);
        sandbox.image("vm", size, 1);
        sandbox.wyng(&["backup", "home", "vm"]).success();
        let backing = sandbox.image("disk", 2 * MIB, 2);
        let device = Device::over(&backing, &["--sector-size", sector]);
        sandbox
            .wyng(&[
                "restore",
                "home",
                "vm",
                "--to",
                text(&device.0),
                "--in-place",
                "--yes",
            ])
            .success();
        let found = std::fs::read(&backing).unwrap();
        assert!(
            found[..size] == noise(size, 1) && found[size..].iter().all(|byte| *byte == 0),
            "{size} bytes, sectors of {sector}"
        );
    }
}

#[test]
fn what_is_in_use_is_not_overwritten() {
    if !require(Component::Ext4, "what_is_in_use_is_not_overwritten")
        || !require(Component::Root, "what_is_in_use_is_not_overwritten")
    {
        return;
    }
    let (sandbox, _) = archive();
    let disk = LoopMount::mount("ext4", 64, "noatime");
    let image = disk.image();
    let before = std::fs::read(&image).unwrap();
    let source = Command::new("findmnt")
        .args(["--noheadings", "--output", "SOURCE"])
        .arg(disk.path())
        .output()
        .unwrap();
    let device = String::from_utf8(source.stdout).unwrap().trim().to_owned();
    let mounted = refused(&sandbox, &["--to", &device, "--in-place", "--yes"]);
    assert_eq!(mounted.expect(1).codes(), ["target-in-use"]);
    let said = mounted.json["errors"][0]["text"].as_str().unwrap();
    assert!(
        said.contains("mounted at") && said.contains(text(&disk.path())),
        "{said}"
    );
    // The device's backing file, in place and replaced.
    for how in [&["--in-place", "--yes"][..], &["--overwrite"]] {
        let behind = refused(&sandbox, &[&["--to", text(&image)], how].concat());
        assert_eq!(behind.expect(1).codes(), ["target-in-use"]);
        assert!(
            behind.json["errors"][0]["text"]
                .as_str()
                .unwrap()
                .contains(&device),
            "{}",
            behind.json
        );
    }
    assert!(std::fs::read(&image).unwrap() == before);
    // An image that a virtual machine has locked.
    let locked = std::fs::File::options()
        .read(true)
        .write(true)
        .open(sandbox.image("locked", MIB, 4))
        .unwrap();
    rustix::fs::fcntl_lock(&locked, rustix::fs::FlockOperation::LockShared).unwrap();
    let outcome = refused(&sandbox, &["--to", "locked", "--in-place", "--yes"]);
    assert_eq!(outcome.expect(1).codes(), ["target-in-use"]);
}

#[test]
fn a_disk_is_in_use_when_a_partition_of_it_is() {
    if !require(
        Component::Ext4,
        "a_disk_is_in_use_when_a_partition_of_it_is",
    ) || !require(
        Component::Root,
        "a_disk_is_in_use_when_a_partition_of_it_is",
    ) {
        return;
    }
    let (sandbox, _) = archive();
    let backing = sandbox.path("disk");
    std::fs::File::create(&backing)
        .unwrap()
        .set_len(66 << 20)
        .unwrap();
    let device = Device::over(&backing, &[]);
    run(Command::new("addpart")
        .arg(&device.0)
        .args(["1", "2048", "131072"]));
    let partition = PathBuf::from(format!("{}p1", text(&device.0)));
    let mount = sandbox.path("mount");
    std::fs::create_dir(&mount).unwrap();
    run(Command::new("mkfs.ext4").arg("-q").arg(&partition));
    run(Command::new("mount").args([&partition, &mount]));
    let outcome = refused(&sandbox, &["--to", text(&device.0), "--in-place", "--yes"]);
    run(Command::new("umount").arg(&mount));
    run(Command::new("delpart").arg(&device.0).arg("1"));
    assert_eq!(outcome.expect(1).codes(), ["target-in-use"]);
    assert!(
        outcome.json["errors"][0]["text"]
            .as_str()
            .unwrap()
            .contains(text(&mount)),
        "{}",
        outcome.json
    );
}

fn attribute(path: &Path) -> Option<Vec<u8>> {
    let mut value = vec![0; 100];
    let length = rustix::fs::getxattr(path, "user.wyng", &mut value).ok()?;
    value.truncate(length);
    Some(value)
}

#[test]
fn a_file_that_is_replaced_keeps_its_owner_mode_attributes_and_links() {
    let test = "a_file_that_is_replaced_keeps_its_owner_mode_attributes_and_links";
    if !require(Component::Root, test) || !require(Component::Ext4, test) {
        return;
    }
    for kind in ["ext4", "btrfs", "xfs"] {
        let component = match kind {
            "ext4" => Component::Ext4,
            "btrfs" => Component::Btrfs,
            _ => Component::Xfs,
        };
        if !require(component, test) {
            continue;
        }
        let disk = LoopMount::mount(kind, 320, "noatime");
        let (sandbox, content) = archive();
        let path = disk.join("old.img");
        std::fs::write(&path, noise(3 * MIB, 7)).unwrap();
        std::os::unix::fs::chown(&path, Some(12_345), Some(54_321)).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        rustix::fs::setxattr(&path, "user.wyng", b"kept", rustix::fs::XattrFlags::empty()).unwrap();
        let inode = std::fs::metadata(&path).unwrap().ino();
        let link = disk.join("link.img");
        symlink("old.img", &link).unwrap();
        sandbox
            .wyng(&["restore", "home", "vm", "--to", text(&link), "--overwrite"])
            .success();
        let found = std::fs::metadata(&path).unwrap();
        assert_eq!(
            (found.uid(), found.gid(), found.mode() & 0o7777),
            (12_345, 54_321, 0o640),
            "{kind}"
        );
        assert!(
            found.ino() != inode && std::fs::read(&path).unwrap() == content,
            "{kind}"
        );
        assert_eq!(attribute(&path), Some(b"kept".to_vec()), "{kind}");
        assert_eq!(
            std::fs::read_link(&link).unwrap(),
            Path::new("old.img"),
            "the link leads to the new file"
        );
        // Its other hard links would keep the old bytes.
        std::fs::hard_link(&path, disk.join("other.img")).unwrap();
        std::fs::write(&path, "old").unwrap();
        let outcome = refused(&sandbox, &["--to", text(&path), "--overwrite"]);
        assert_eq!(outcome.expect(1).codes(), ["target-loses"]);
        sandbox
            .wyng(&[
                "restore",
                "home",
                "vm",
                "--to",
                text(&path),
                "--in-place",
                "--yes",
            ])
            .success();
        assert!(
            std::fs::read(disk.join("other.img")).unwrap() == content,
            "{kind}: both names have the session"
        );
        let names: Vec<_> = std::fs::read_dir(disk.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert!(
            names
                .iter()
                .all(|name| !name.to_string_lossy().ends_with("wyng-new")),
            "{names:?}"
        );
    }
}

#[test]
fn who_cannot_give_a_new_file_the_old_owner_does_not_replace_the_file() {
    let test = "who_cannot_give_a_new_file_the_old_owner_does_not_replace_the_file";
    if !require(Component::Root, test) {
        return;
    }
    let (sandbox, _) = archive();
    sandbox.open_to_everybody();
    run(Command::new("chmod").args(["-R", "a+rwX"]).args([
        sandbox.state(),
        sandbox.store(),
        sandbox.path("passphrase"),
    ]));
    std::fs::write(sandbox.path("roots"), "old").unwrap();
    let command = sandbox.command(&[
        "restore",
        "home",
        "vm",
        "--to",
        "roots",
        "--overwrite",
        "--passphrase-file",
        "/nonexistent",
    ]);
    let as_nobody = Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .arg(command.get_program())
        .args(command.get_args())
        .current_dir(sandbox.path(""))
        .env("STATE_DIRECTORY", sandbox.path("notes"))
        .output();
    let outcome = Outcome::of(as_nobody.unwrap());
    assert_eq!(
        outcome.expect(1).codes(),
        ["target-loses"],
        "{}",
        outcome.stderr
    );
    assert_eq!(std::fs::read(sandbox.path("roots")).unwrap(), b"old");
}

#[test]
fn a_file_that_must_not_change_is_refused_before_anything_is_fetched() {
    let test = "a_file_that_must_not_change_is_refused_before_anything_is_fetched";
    if !require(Component::Root, test) || !require(Component::Ext4, test) {
        return;
    }
    let (sandbox, _) = archive();
    let disk = LoopMount::mount("ext4", 64, "noatime");
    let path = disk.join("kept.img");
    std::fs::write(&path, "kept").unwrap();
    run(Command::new("chattr").arg("+i").arg(&path));
    for how in [&["--overwrite"][..], &["--in-place", "--yes"]] {
        assert_eq!(
            refused(&sandbox, &[&["--to", text(&path)], how].concat())
                .expect(1)
                .codes(),
            ["target-unavailable"]
        );
    }
    run(Command::new("chattr").arg("-i").arg(&path));
    run(Command::new("mount")
        .args(["-o", "remount,ro"])
        .arg(disk.path()));
    let read_only = refused(&sandbox, &["--to", text(&disk.join("new"))]);
    assert!(
        read_only.expect(1).json["errors"][0]["text"]
            .as_str()
            .unwrap()
            .contains("Read-only"),
        "{}",
        read_only.json
    );
}

#[test]
fn where_there_is_no_room_nothing_is_fetched_and_holes_need_none() {
    let test = "where_there_is_no_room_nothing_is_fetched_and_holes_need_none";
    if !require(Component::Root, test) || !require(Component::Ext4, test) {
        return;
    }
    let disk = LoopMount::mount("ext4", 64, "noatime");
    let sandbox = Sandbox::with_archive(&["--chunk-size", "64K", "--pack-size", "1M"]);
    sandbox.image("vm", 70 * MIB, 1);
    let sparse = sandbox.path("sparse");
    std::fs::write(&sparse, noise(MIB, 2)).unwrap();
    std::fs::File::options()
        .write(true)
        .open(&sparse)
        .unwrap()
        .set_len(10 << 30)
        .unwrap();
    sandbox.wyng(&["backup", "home", "vm", "sparse"]).success();
    let outcome = refused(&sandbox, &["--to", text(&disk.join("out"))]);
    assert_eq!(outcome.expect(1).codes(), ["target-no-room"]);
    let holes = disk.join("holes");
    std::fs::File::create(&holes)
        .unwrap()
        .set_len(80 << 20)
        .unwrap();
    let outcome = refused(&sandbox, &["--to", text(&holes), "--in-place", "--yes"]);
    assert_eq!(outcome.expect(1).codes(), ["target-no-room"]);
    assert_eq!(
        std::fs::metadata(&holes).unwrap().blocks(),
        0,
        "it was not touched"
    );
    std::fs::write(&holes, noise(50 * MIB, 3)).unwrap();
    sandbox
        .wyng(&[
            "restore",
            "home",
            "sparse",
            "--to",
            text(&holes),
            "--in-place",
            "--yes",
        ])
        .success();
    std::fs::remove_file(&holes).unwrap();
    let out = disk.join("sparse");
    sandbox
        .wyng(&["restore", "home", "sparse", "--to", text(&out)])
        .success();
    let found = std::fs::metadata(&out).unwrap();
    assert!(
        found.len() == 10 << 30 && found.blocks() * 512 < 2 << 20,
        "{} blocks",
        found.blocks()
    );
}

#[test]
fn where_both_have_holes_nothing_is_read() {
    let test = "where_both_have_holes_nothing_is_read";
    if !require(Component::Root, test) || !require(Component::Ext4, test) {
        return;
    }
    let disk = LoopMount::mount("ext4", 64, "noatime");
    let mut sandbox = Sandbox::with_archive(&["--chunk-size", "64K", "--pack-size", "1M"]);
    let service = Service::start(&mut sandbox);
    let path = disk.join("sparse");
    std::fs::write(&path, noise(MIB, 2)).unwrap();
    std::fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(10 << 30)
        .unwrap();
    sandbox.wyng(&["backup", "home", text(&path)]).success();
    for (how, written) in [
        (&["--in-place", "--yes"][..], 0),
        (&["--overwrite"], MIB as u64),
    ] {
        let before = read_by(service.role("keyholder"));
        let outcome =
            sandbox.wyng(&[&["restore", "home", "sparse", "--to", text(&path)][..], how].concat());
        assert_eq!(
            (
                number(outcome.success(), "written_bytes"),
                number(&outcome, "fetched_bytes")
            ),
            (written, 0),
            "{how:?}"
        );
        let read = read_by(service.role("keyholder")) - before;
        assert!(read < 8 * MIB as u64, "{how:?}: {read} bytes were read");
    }
}

/// Number of bytes that a process has read from files and wires.
fn read_by(process: u32) -> u64 {
    let counted = std::fs::read_to_string(format!("/proc/{process}/io")).unwrap();
    counted
        .lines()
        .find_map(|line| line.strip_prefix("rchar: "))
        .unwrap()
        .parse()
        .unwrap()
}

#[test]
fn a_disk_without_links_and_nameless_files_takes_a_volume() {
    if !require(
        Component::Exfat,
        "a_disk_without_links_and_nameless_files_takes_a_volume",
    ) {
        return;
    }
    let (sandbox, content) = archive();
    let disk = ExfatDisk::mount();
    let out = disk.join("out");
    std::fs::write(
        disk.join(".out.wyng-new"),
        "left by a restore that was killed",
    )
    .unwrap();
    sandbox
        .wyng(&["restore", "home", "vm", "--to", text(&out)])
        .success();
    assert!(std::fs::read(&out).unwrap() == content);
    assert_eq!(
        sandbox
            .wyng(&["restore", "home", "vm", "--to", text(&out)])
            .expect(1)
            .codes(),
        ["target-exists"]
    );
    for how in [&["--overwrite"][..], &["--in-place", "--yes"]] {
        std::fs::write(&out, noise(3 * MIB, 5)).unwrap();
        sandbox
            .wyng(&[&["restore", "home", "vm", "--to", text(&out)][..], how].concat())
            .success();
        assert!(std::fs::read(&out).unwrap() == content, "{how:?}");
    }
    assert_eq!(
        files_below(&disk.path()),
        [out].into(),
        "nothing else is left"
    );
}

#[test]
fn what_cannot_be_finished_on_a_full_disk_is_again_what_it_was() {
    for pool in Pool::each("what_cannot_be_finished_on_a_full_disk_is_again_what_it_was") {
        let path = pool.disk.join("vm.img");
        std::fs::write(&path, noise(100 * MIB, 1)).unwrap();
        pool.back_up(&path);
        let before = noise(110 * MIB, 2);
        std::fs::write(&path, &before).unwrap();
        std::fs::File::open(&path).unwrap().sync_all().unwrap();
        // The free space is smaller than the ranges that the restore writes and must be able to
        // undo.
        let mut fill = std::fs::File::create(pool.disk.join("fill")).unwrap();
        let part = noise(MIB, 3);
        while fill.write_all(&part).is_ok() {}
        fill.set_len(fill.metadata().unwrap().len().saturating_sub(40 << 20))
            .unwrap();
        fill.sync_all().unwrap();
        let outcome = pool
            .sandbox
            .wyng(&["restore", "home", "vm", "--in-place", "--yes"]);
        assert_eq!(
            outcome.expect(1).codes(),
            ["target-write-undone"],
            "{:?}",
            pool.kind
        );
        assert!(std::fs::read(&path).unwrap() == before, "{:?}", pool.kind);
    }
}

#[test]
fn several_volumes_go_into_a_folder_and_one_that_cannot_stops_no_other() {
    let (sandbox, content) = archive();
    sandbox.image("second", MIB, 2);
    sandbox.image("third", MIB, 3);
    sandbox
        .wyng(&["backup", "home", "second", "third"])
        .success();
    sandbox
        .wyng(&["restore", "home", "vm", "third", "--to", "some"])
        .success();
    assert!(std::fs::read(sandbox.path("some/vm")).unwrap() == content);
    assert!(std::fs::read(sandbox.path("some/third")).unwrap() == noise(MIB, 3));
    assert!(!sandbox.path("some/second").exists());
    let outcome = sandbox.wyng(&["restore", "home", "vm", "second", "--to", "some"]);
    assert_eq!(outcome.expect(3).codes(), ["target-exists"]);
    assert!(std::fs::read(sandbox.path("some/second")).unwrap() == noise(MIB, 2));
    assert_eq!(outcome.json["errors"][0]["volume"].as_str(), Some("vm"));
    for wrong in [
        &["vm", "second", "--to", "-"][..],
        &["vm", "second", "--in-place", "--yes", "--to", "x"],
        &["--all", "vm", "--to", "x"],
    ] {
        sandbox
            .wyng(&[&["restore", "home"][..], wrong].concat())
            .expect(2);
    }
    std::fs::write(sandbox.path("vm"), "changed").unwrap();
    std::fs::write(sandbox.path("second"), "changed").unwrap();
    sandbox
        .wyng(&["restore", "home", "vm", "second", "--in-place", "--yes"])
        .success();
    assert!(std::fs::read(sandbox.path("vm")).unwrap() == content);
    assert!(std::fs::read(sandbox.path("second")).unwrap() == noise(MIB, 2));
    let twice = sandbox.wyng(&["restore", "home", "vm", "vm", "--to", "twice"]);
    assert_eq!(
        twice.success().json["volumes"].as_array().unwrap().len(),
        1,
        "a volume that is named twice is one volume"
    );
    // Two volumes with the same place cannot both be restored there.
    sandbox.wyng(&["backup", "home", "other=vm"]).success();
    let outcome = sandbox.wyng(&["restore", "home", "vm", "other", "--in-place", "--yes"]);
    assert_eq!(outcome.expect(3).codes(), ["target-in-use"]);
}

#[test]
fn a_dry_run_asks_for_nothing_and_changes_nothing() {
    let (sandbox, content) = archive();
    sandbox.image("second", MIB, 2);
    sandbox.wyng(&["backup", "home", "second"]).success();
    let dry = refused(&sandbox, &["second", "--to", "folder", "--dry-run"]);
    assert_eq!(dry.success().json["dry_run"].as_bool(), Some(true));
    assert_eq!(
        dry.json["volumes"][1]["target"].as_str(),
        Some("folder/second")
    );
    assert_eq!(number(&dry, "written_bytes"), 2 * MIB as u64);
    assert!(!sandbox.path("folder").exists());
    let mut changed = content;
    changed[MIB] ^= 1;
    std::fs::write(sandbox.path("vm"), &changed).unwrap();
    let dry = refused(&sandbox, &["--in-place", "--dry-run"]);
    assert_eq!(number(dry.success(), "written_bytes"), 65_536);
    assert_eq!(
        dry.json["volumes"][0]["target"].as_str(),
        sandbox.path("vm").canonicalize().unwrap().to_str()
    );
    assert!(std::fs::read(sandbox.path("vm")).unwrap() == changed);
}

#[test]
fn a_volume_on_standard_output_has_it_for_itself() {
    let (sandbox, content) = archive();
    let outcome = sandbox.wyng(&["restore", "home", "vm", "--to", "-"]);
    assert!(
        outcome.success().stdout == content,
        "{} bytes",
        outcome.stdout.len()
    );
    let object: serde_json::Value =
        serde_json::from_str(outcome.stderr.lines().last().unwrap()).unwrap();
    assert_eq!(
        (object["command"].as_str(), object["exit"].as_u64()),
        (Some("restore"), Some(0))
    );
    // Also when it fails: readers of the volume see no change.
    let failed = sandbox.wyng(&["restore", "home", "nosuch", "--to", "-"]);
    assert!(failed.expect(2).stdout.is_empty());
    // A reader that closes its pipe has a part, and the error does not call it removed.
    let mut command = sandbox.command(&["restore", "home", "vm", "--to", "-"]);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let ended = Outcome::of(child.wait_with_output().unwrap());
    assert!(
        ended.expect(1).stderr.contains("output-write"),
        "{}",
        ended.stderr
    );
}

#[test]
fn an_interrupted_restore_goes_on_where_it_stopped() {
    let mut sandbox = Sandbox::with_archive(&["--chunk-size", "64K", "--pack-size", "1M"]);
    let content = noise(60 * MIB, 1);
    std::fs::write(sandbox.path("vm"), &content).unwrap();
    sandbox.wyng(&["backup", "home", "vm"]).success();
    // A store that fails after half of the requests.
    sandbox.replace_helper(
        "if [ \"$1\" = fetch ]; then \"$HELPER\" \"$@\" | dd bs=64K count=400 status=none; exit 1; fi\nexec \"$HELPER\" \"$@\"",
    );
    let cut = sandbox.wyng(&["restore", "home", "vm", "--to", "out"]);
    assert!(
        cut.expect(6).stderr.contains(".out.wyng-partial"),
        "{}",
        cut.stderr
    );
    assert!(!sandbox.path("out").exists());
    let partial = std::fs::metadata(sandbox.path(".out.wyng-partial")).unwrap();
    assert!(
        partial.mode() & 0o77 == 0 && partial.blocks() * 512 > 10 << 20,
        "{partial:?}"
    );
    sandbox.restore_helper();
    let rest = sandbox.wyng(&["restore", "home", "vm", "--to", "out"]);
    let fetched = number(rest.success(), "fetched_bytes");
    assert!(fetched < 50 << 20, "{fetched} bytes were fetched again");
    assert!(std::fs::read(sandbox.path("out")).unwrap() == content);
    assert!(!sandbox.path(".out.wyng-partial").exists());
    // Interrupted by the person, while the store does not answer.
    sandbox.replace_helper(
        "if [ \"$1\" = fetch ]; then \"$HELPER\" \"$@\" | (dd bs=64K count=400 status=none; cat >&2); exit 1; fi\nexec \"$HELPER\" \"$@\"",
    );
    let mut command = sandbox.command(&["restore", "home", "vm", "--to", "again"]);
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    until("a part is written", || {
        largest_open_file(child.id()) > 10 << 20
    });
    rustix::process::kill_process(
        rustix::process::Pid::from_child(&child),
        rustix::process::Signal::INT,
    )
    .unwrap();
    let interrupted = Outcome::of(child.wait_with_output().unwrap());
    assert!(
        interrupted
            .expect(130)
            .stderr
            .contains(".again.wyng-partial"),
        "{}",
        interrupted.stderr
    );
    assert!(!sandbox.path("again").exists());
    sandbox.restore_helper();
    sandbox
        .wyng(&["restore", "home", "vm", "--to", "again"])
        .success();
    assert!(std::fs::read(sandbox.path("again")).unwrap() == content);
}

/// Allocated size of the largest file that a process has open, bytes.
fn largest_open_file(process: u32) -> u64 {
    let open = std::fs::read_dir(format!("/proc/{process}/fd"))
        .into_iter()
        .flatten()
        .flatten();
    open.filter_map(|entry| std::fs::metadata(entry.path()).ok())
        .map(|found| found.blocks() * 512)
        .max()
        .unwrap_or(0)
}

#[test]
fn what_somebody_else_put_under_a_hidden_name_is_not_taken_for_ours() {
    let (sandbox, content) = archive();
    std::fs::write(sandbox.path("secret"), "not to be written").unwrap();
    for (name, make) in [
        (
            ".out.wyng-partial",
            (|link: &Path, to: &Path| symlink(to, link).unwrap()) as fn(&Path, &Path),
        ),
        (".out.wyng-partial", |link, to| {
            std::fs::hard_link(to, link).unwrap()
        }),
        (".out.wyng-new", |link, to| symlink(to, link).unwrap()),
        (".out.wyng-new", |link, _| {
            std::fs::write(link, "left over").unwrap()
        }),
    ] {
        let hidden = sandbox.path(name);
        make(&hidden, &sandbox.path("secret"));
        sandbox
            .wyng(&["restore", "home", "vm", "--to", "out"])
            .success();
        assert!(std::fs::read(sandbox.path("out")).unwrap() == content);
        assert_eq!(
            std::fs::read(sandbox.path("secret")).unwrap(),
            b"not to be written"
        );
        std::fs::remove_file(sandbox.path("out")).unwrap();
        let _ = std::fs::remove_file(hidden);
    }
}

#[test]
fn a_session_that_is_known_to_be_damaged_overwrites_nothing() {
    let (sandbox, _) = archive();
    for blob in sandbox
        .blobs()
        .iter()
        .filter(|blob| blob.metadata().unwrap().len() > 500_000)
    {
        std::fs::remove_file(blob).unwrap();
    }
    sandbox.wyng(&["verify", "home"]).expect(5);
    std::fs::write(sandbox.path("vm"), "as it is").unwrap();
    for how in [&["--to", "new"][..], &["--in-place", "--yes"]] {
        assert_eq!(
            refused(&sandbox, how).expect(5).codes(),
            ["session-damaged"]
        );
    }
    assert_eq!(std::fs::read(sandbox.path("vm")).unwrap(), b"as it is");
}

#[test]
fn the_largest_file_that_there_is_comes_back() {
    for pool in Pool::each("the_largest_file_that_there_is_comes_back") {
        let path = pool.disk.join("vm.img");
        std::fs::write(&path, noise(MIB, 1)).unwrap();
        let largest = std::fs::File::options().write(true).open(&path).unwrap();
        if largest.set_len(u64::MAX >> 1).is_err() {
            largest.set_len((u64::MAX >> 1) - 4095).unwrap();
        }
        let size = largest.metadata().unwrap().len();
        pool.back_up(&path);
        pool.back_up(&path);
        let out = pool.disk.join("out");
        for how in [
            &[][..],
            &["--overwrite"],
            &["--in-place", "--yes"],
            &["--in-place", "--yes", "--quick"],
        ] {
            let restored = pool
                .sandbox
                .wyng(&[&["restore", "home", "vm", "--to", text(&out)], how].concat());
            assert_eq!(number(restored.success(), "fetched_bytes"), 0, "{how:?}");
            assert_eq!(
                std::fs::metadata(&out).unwrap().len(),
                size,
                "{:?}",
                pool.kind
            );
        }
        let compared = pool.sandbox.wyng(&["diff", "home", "vm"]);
        assert_eq!(compared.success().json["differing_bytes"].as_u64(), Some(0));
    }
}
