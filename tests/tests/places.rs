// SPDX-License-Identifier: GPL-3.0-or-later
//! A place is what the person named: a source is remembered as it was given and resolved at each
//! use, and a device is recognised by its marks. A missing source is a failure, and never a
//! session.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use wyng_tests::disk::{LoopDevice, LoopMount, SmallDisk, run};
use wyng_tests::pool::write_durably;
use wyng_tests::require::{Component, require};
use wyng_tests::sandbox::{Outcome, Sandbox, noise};
use wyng_tests::service::Service;

const MIB: usize = 1 << 20;

fn sandbox() -> Sandbox {
    Sandbox::with_archive(&["--chunk-size", "64K", "--pack-size", "1M"])
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// `NAME=PATH`.
fn named(name: &str, path: &Path) -> String {
    format!("{name}={}", path.display())
}

/// The text of the first error.
fn error(outcome: &Outcome) -> String {
    outcome.json["errors"][0]["text"]
        .as_str()
        .unwrap()
        .to_owned()
}

fn differing(outcome: &Outcome) -> u64 {
    outcome.success().json["differing_bytes"].as_u64().unwrap()
}

fn in_place(sandbox: &Sandbox, volume: &str) -> Outcome {
    sandbox.wyng(&["restore", "home", volume, "--in-place", "--yes"])
}

/// Changes the target of a link.
fn relink(link: &Path, to: &Path) {
    let _ = std::fs::remove_file(link);
    symlink(to, link).unwrap();
}

#[test]
fn a_device_is_found_again_wherever_the_kernel_puts_it_and_another_one_at_its_place_is_refused() {
    if !require(
        Component::Root,
        "a_device_is_found_again_wherever_the_kernel_puts_it_and_another_one_at_its_place_is_refused",
    ) {
        return;
    }
    let sandbox = sandbox();
    let [ours, others] = [1, 2].map(|seed| sandbox.image(&format!("disk {seed}"), MIB, seed));
    // Like /dev/VG/LV and /dev/disk/by-id: links to a node whose number changes.
    let link = sandbox.path("vm-work-private");
    let first = LoopDevice::attach(&ours);
    relink(&link, first.node());
    sandbox.wyng(&["backup", "home", &text(&link)]).success();
    let second = LoopDevice::attach(&ours);
    relink(&link, second.node());
    write_durably(second.node(), 70_000, &noise(5000, 9));
    assert_eq!(
        differing(&sandbox.wyng(&["diff", "home", "vm-work-private"])),
        64 << 10
    );
    in_place(&sandbox, "vm-work-private").success();
    assert_eq!(
        differing(&sandbox.wyng(&["diff", "home", "vm-work-private"])),
        0
    );
    sandbox.wyng(&["backup", "home", &text(&link)]).success();
    // Now the same name leads to another disk.
    drop(first);
    let third = LoopDevice::attach(&others);
    relink(&link, third.node());
    for command in [
        &["diff", "home", "vm-work-private"][..],
        &["backup", "home", &text(&link)],
    ] {
        let refused = sandbox.wyng(command);
        assert_eq!(
            refused.expect(2).codes(),
            ["volume-elsewhere"],
            "{command:?}"
        );
        for name in [&link, second.node(), third.node(), &ours, &others] {
            assert!(
                error(&refused).contains(name.to_str().unwrap()),
                "{} is named: {}",
                name.display(),
                error(&refused)
            );
        }
    }
    assert_eq!(
        in_place(&sandbox, "vm-work-private").expect(2).codes(),
        ["volume-elsewhere"]
    );
    assert!(
        third.medium() == noise(MIB, 2),
        "the other disk is untouched"
    );
    // A person has to say that the volume is there now.
    sandbox
        .wyng(&["backup", "home", &named("vm-work-private", &link)])
        .success();
    sandbox.wyng(&["backup", "home", &text(&link)]).success();
    sandbox.assert_restores("vm-work-private", "latest", &noise(MIB, 2));
}

#[test]
fn a_configured_device_that_became_another_or_lost_its_medium_is_refused_by_the_service() {
    if !require(
        Component::Root,
        "a_configured_device_that_became_another_or_lost_its_medium_is_refused_by_the_service",
    ) {
        return;
    }
    let mut sandbox = sandbox();
    let [ours, others] = [1, 2].map(|seed| sandbox.image(&format!("disk {seed}"), MIB, seed));
    let device = LoopDevice::attach(&ours);
    let config = sandbox.text(
        "wyng.toml",
        &format!("[volumes]\ndisk = {:?}\n", device.node()),
    );
    let service = Service::start_with(&mut sandbox, &["--config", &config]);
    let backup = || sandbox.wyng(&["backup", "home", "disk", "--config", &config]);
    backup().success();
    device.detach();
    let empty = backup();
    assert_eq!(empty.expect(1).codes(), ["source-empty"]);
    assert!(
        error(&empty).contains(&text(device.node())),
        "{}",
        error(&empty)
    );
    device.attach_another(&others);
    let other = backup();
    assert_eq!(other.expect(2).codes(), ["volume-elsewhere"]);
    assert!(
        error(&other).contains(&text(&ours)) && error(&other).contains(&text(&others)),
        "{}",
        error(&other)
    );
    device.detach();
    device.attach_another(&ours);
    backup().success();
    assert_eq!(
        differing(&sandbox.wyng(&["diff", "home", "disk", "--config", &config])),
        0
    );
    service.stop();
    sandbox.talk_to_nobody();
    let listed = sandbox.wyng(&["list", "home", "disk"]);
    assert_eq!(
        listed.success().json["volumes"][0]["sessions"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
}

#[test]
fn paths_that_are_not_utf8_are_volumes_of_their_own_and_are_found_again() {
    let sandbox = sandbox();
    let [one, other] = [&b"x\xff"[..], b"x\xfe"].map(|name| {
        let folder = sandbox.path("").join(OsStr::from_bytes(name));
        std::fs::create_dir(&folder).unwrap();
        folder.join("vm.img")
    });
    std::fs::write(&one, noise(MIB, 1)).unwrap();
    std::fs::write(&other, noise(MIB, 2)).unwrap();
    let backup = |path: &Path| {
        Outcome::of(
            sandbox
                .command(&["backup", "home"])
                .arg(path)
                .output()
                .unwrap(),
        )
    };
    backup(&one).success();
    let refused = backup(&other);
    assert_eq!(refused.expect(2).codes(), ["volume-of-other-path"]);
    assert!(
        error(&refused).contains(r"x\xff/vm.img") && error(&refused).contains(r"x\xfe/vm.img"),
        "{}",
        error(&refused)
    );
    write_durably(&one, 5000, b"changed");
    assert_eq!(
        differing(&sandbox.wyng(&["diff", "home", "vm.img"])),
        64 << 10
    );
    in_place(&sandbox, "vm.img").success();
    assert!(std::fs::read(&one).unwrap() == noise(MIB, 1));
}

#[test]
fn a_link_that_leads_elsewhere_is_refused_with_both_names_until_a_person_says_so() {
    let sandbox = sandbox();
    let [old, new] = ["2026.img", "2027.img"].map(|name| {
        sandbox.image(
            name,
            300_000,
            name.len() as u64 + u64::from(name == "2027.img"),
        )
    });
    let link = sandbox.path("current.img");
    relink(&link, &old);
    sandbox.wyng(&["backup", "home", "current.img"]).success();
    relink(&link, &new);
    let refused = sandbox.wyng(&["backup", "home", "current.img"]);
    assert_eq!(refused.expect(2).codes(), ["volume-elsewhere"]);
    assert!(
        error(&refused).contains("2026.img") && error(&refused).contains("2027.img"),
        "{}",
        error(&refused)
    );
    assert_eq!(
        in_place(&sandbox, "current.img").expect(2).codes(),
        ["volume-elsewhere"]
    );
    assert!(
        std::fs::read(&new).unwrap() == noise(300_000, 9),
        "and nothing was written there"
    );
    // Another path of the known file is the same source.
    sandbox
        .wyng(&["backup", "home", &format!("current.img={}", old.display())])
        .success();
    sandbox
        .wyng(&["backup", "home", "current.img=./current.img"])
        .success();
    sandbox.wyng(&["backup", "home", "current.img"]).success();
    sandbox.assert_restores("current.img", "latest", &noise(300_000, 9));
}

#[test]
fn what_a_run_lacks_of_one_volume_ends_no_other_and_where_the_others_came_from_is_known() {
    let sandbox = sandbox();
    let folders = ["a", "b"].map(|name| sandbox.path(name));
    folders
        .iter()
        .for_each(|folder| std::fs::create_dir(folder).unwrap());
    std::fs::write(folders[0].join("vm.img"), noise(300_000, 1)).unwrap();
    std::fs::write(folders[1].join("vm.img"), noise(300_000, 2)).unwrap();
    let first = sandbox.wyng(&["backup", "home", "a/vm.img", "missing.img"]);
    assert_eq!(first.expect(3).codes(), ["source-unavailable"]);
    assert!(
        error(&first).contains(&text(&sandbox.path("missing.img"))),
        "{}",
        error(&first)
    );
    // The source is remembered although the run ended with 3: the image of another machine does not
    // become the next session.
    let other = sandbox.wyng(&["backup", "home", "b/vm.img", "third=a/vm.img"]);
    assert_eq!(
        other.expect(3).codes(),
        ["volume-of-other-path"],
        "and the third is backed up"
    );
    assert!(
        error(&other).contains("a/vm.img") && error(&other).contains("b/vm.img"),
        "{}",
        error(&other)
    );
    assert_eq!(differing(&sandbox.wyng(&["diff", "home", "vm.img"])), 0);
    assert_eq!(
        sandbox
            .wyng(&["backup", "home", "b/vm.img"])
            .expect(2)
            .codes(),
        ["volume-of-other-path"]
    );
    // A command with a path uses that path, and remembers nothing of it.
    assert_eq!(
        differing(&sandbox.wyng(&["diff", "home", "vm.img", "--to", "b/vm.img"])),
        300_000
    );
    assert_eq!(differing(&sandbox.wyng(&["diff", "home", "vm.img"])), 0);
    sandbox.adopt("passphrase").success();
    assert_eq!(
        sandbox.wyng(&["diff", "home", "vm.img"]).expect(2).codes(),
        ["no-origin"]
    );
    assert_eq!(
        differing(&sandbox.wyng(&["diff", "home", "vm.img", "--to", "a/vm.img"])),
        0
    );
}

#[test]
fn a_restore_to_a_new_file_needs_no_memory_of_where_the_volume_was() {
    let sandbox = sandbox();
    let content = noise(MIB, 1);
    sandbox.image("vm", MIB, 1);
    let session = sandbox.wyng(&["backup", "home", "vm"]).success().session(0);
    std::fs::write(sandbox.path("state/archives/home/origins.toml"), "vm = 1").unwrap();
    let refused = in_place(&sandbox, "vm");
    assert_eq!(refused.expect(1).codes(), ["state-damaged"]);
    let text = refused.json["errors"][0]["text"].as_str().unwrap();
    let named = text.split(' ').find(|word| word.starts_with('/')).unwrap();
    assert!(std::path::Path::new(named).exists(), "{text}");
    sandbox.assert_restores("vm", &session, &content);
}

#[test]
fn the_configuration_wins_over_the_path_that_is_remembered() {
    let sandbox = sandbox();
    let [old, new] = ["old.img", "new.img"]
        .map(|name| sandbox.image(name, 300_000, u64::from(name.as_bytes()[0])));
    let configure = |path: &Path| sandbox.text("wyng.toml", &format!("[volumes]\nvm = {path:?}\n"));
    let config = configure(&old);
    sandbox
        .wyng(&["backup", "home", "vm", "--config", &config])
        .success();
    std::fs::copy(&old, &new).unwrap();
    write_durably(&new, 5000, b"here now");
    configure(&new);
    // Before the next backup too, the configured path is compared and changed.
    assert_eq!(
        differing(&sandbox.wyng(&["diff", "home", "vm", "--config", &config])),
        64 << 10
    );
    write_durably(&old, 5000, b"a copy that stays as it is");
    let copy = std::fs::read(&old).unwrap();
    sandbox
        .wyng(&[
            "restore",
            "home",
            "vm",
            "--in-place",
            "--yes",
            "--config",
            &config,
        ])
        .success();
    assert!(std::fs::read(&new).unwrap() == noise(300_000, u64::from(b'o')));
    assert!(
        std::fs::read(&old).unwrap() == copy,
        "where it was is left alone"
    );
    sandbox
        .wyng(&["backup", "home", "vm", "--config", &config])
        .success();
}

#[test]
fn each_error_about_a_source_names_its_path_and_says_what_it_is() {
    let sandbox = sandbox();
    let _listening = std::os::unix::net::UnixListener::bind(sandbox.path("socket-file")).unwrap();
    run(Command::new("mkfifo").arg(sandbox.path("fifo")));
    std::fs::create_dir(sandbox.path("folder")).unwrap();
    let cases = [
        (sandbox.path("socket-file"), "source-kind", "a socket", 2),
        (sandbox.path("fifo"), "source-kind", "a FIFO", 2),
        (sandbox.path("folder"), "source-kind", "a folder", 2),
        (
            PathBuf::from("/dev/null"),
            "source-kind",
            "a character device",
            2,
        ),
        (
            sandbox.path("missing"),
            "source-unavailable",
            "No such file",
            1,
        ),
        (
            sandbox.path("passphrase/below"),
            "source-unavailable",
            "Not a directory",
            1,
        ),
    ];
    for (path, code, what, status) in cases {
        for command in ["backup", "monitor"] {
            sandbox
                .wyng(&["backup", "home", &named("vm", &sandbox.path("passphrase"))])
                .success();
            let refused = sandbox.wyng(&[command, "home", &named("vm", &path)]);
            assert_eq!(refused.expect(status).codes(), [code], "{}", path.display());
            assert!(
                error(&refused).contains(&text(&path)) && error(&refused).contains(what),
                "{}",
                error(&refused)
            );
        }
    }
    let config = sandbox.text(
        "wyng.toml",
        &format!("[volumes]\nvm = {:?}\n", sandbox.path("folder")),
    );
    let refused = sandbox.wyng(&["backup", "home", "vm", "--config", &config]);
    assert_eq!(refused.expect(2).codes(), ["source-kind"]);
    assert!(error(&refused).contains("a folder"), "{}", error(&refused));
    assert_eq!(
        sandbox
            .wyng(&["config", "check", "--config", &config])
            .expect(3)
            .codes(),
        ["configured-volume-missing"]
    );
}

#[test]
fn a_source_that_lost_its_bytes_is_a_failure_and_no_session() {
    let sandbox = sandbox();
    let path = sandbox.image("vm.img", 300_000, 1);
    sandbox.wyng(&["backup", "home", "vm.img"]).success();
    std::fs::File::create(&path).unwrap();
    for command in ["backup", "monitor"] {
        let refused = sandbox.wyng(&[command, "home", "vm.img"]);
        assert_eq!(refused.expect(1).codes(), ["source-empty"]);
        assert!(
            error(&refused).contains(&text(&path)) && error(&refused).contains("300000"),
            "{}",
            error(&refused)
        );
    }
    // Not even where the person names it as the volume: an empty session must be requested
    // explicitly.
    assert_eq!(
        sandbox
            .wyng(&["backup", "home", &named("vm.img", &path)])
            .expect(1)
            .codes(),
        ["source-empty"]
    );
    sandbox.assert_restores("vm.img", "latest", &noise(300_000, 1));
    // A file that was always empty is an ordinary volume.
    sandbox
        .wyng(&["backup", "home", &named("empty", &path)])
        .success();
    sandbox
        .wyng(&["backup", "home", &named("empty", &path)])
        .success();
    sandbox.assert_restores("empty", "latest", b"");
}

/// A file that a guest has just written: most of it is only in memory.
fn fresh_image(path: &Path) -> Vec<u8> {
    let mut content = vec![0; 8 * MIB];
    content[4 * MIB..4 * MIB + 3_000_000].copy_from_slice(&noise(3_000_000, 5));
    let file = std::fs::File::create(path).unwrap();
    file.set_len(content.len() as u64).unwrap();
    std::os::unix::fs::FileExt::write_all_at(
        &file,
        &content[4 * MIB..4 * MIB + 3_000_000],
        4 << 20,
    )
    .unwrap();
    content
}

#[test]
fn what_has_no_place_on_the_disk_yet_is_no_hole() {
    if !require(
        Component::Root,
        "what_has_no_place_on_the_disk_yet_is_no_hole",
    ) {
        return;
    }
    // An ext3 that is mounted as ext4 reports dirty pages as a hole; the other file systems are
    // tested too.
    for (make, mount, options) in [
        ("ext3", "ext4", "delalloc"),
        ("ext4", "ext4", "delalloc"),
        ("xfs", "xfs", "noatime"),
        ("btrfs", "btrfs", "noatime"),
    ] {
        let disk = LoopMount::mount_as(make, mount, 320, options);
        let sandbox = sandbox();
        let path = disk.join("vm.img");
        for _ in 0..2 {
            let content = fresh_image(&path);
            sandbox
                .wyng(&["backup", "home", &named(make, &path)])
                .success();
            sandbox.assert_restores(make, "latest", &content);
            std::fs::remove_file(&path).unwrap();
        }
        let content = fresh_image(&path);
        // An existing target is compared in the same way.
        std::fs::write(&path, &content).unwrap();
        assert_eq!(
            differing(&sandbox.wyng(&["diff", "home", make])),
            0,
            "{make}"
        );
    }
    let disk = SmallDisk::mount(64);
    let sandbox = sandbox();
    let content = fresh_image(&disk.join("vm.img"));
    sandbox
        .wyng(&["backup", "home", &named("vm", &disk.join("vm.img"))])
        .success();
    sandbox.assert_restores("vm", "latest", &content);
}

#[test]
fn a_device_is_read_past_its_page_cache() {
    if !require(Component::Root, "a_device_is_read_past_its_page_cache") {
        return;
    }
    let sandbox = sandbox();
    // Not a multiple of the read size, nor of the alignment.
    let image = sandbox.path("disk");
    std::fs::write(&image, noise(6 * MIB + 3 * 512, 1)).unwrap();
    let mut device = LoopDevice::attach(&image);
    let part = device.add_partition(1, 2048, 4096);
    sandbox
        .wyng(&["backup", "home", &named("disk", device.node())])
        .success();
    // The whole disk is read, and then a partition is written, which the disk's own cache does not
    // show.
    let held = std::fs::File::open(device.node()).unwrap();
    let _ = std::fs::read(device.node()).unwrap();
    write_durably(&part, 300_000, &noise(200_000, 7));
    let medium = device.medium();
    assert!(
        medium.len() == 6 * MIB + 3 * 512 && medium != std::fs::read(device.node()).unwrap(),
        "the cache is stale"
    );
    assert_eq!(
        differing(&sandbox.wyng(&["diff", "home", "disk"])) / (64 << 10),
        4
    );
    sandbox
        .wyng(&["backup", "home", &named("disk", device.node())])
        .success();
    assert_eq!(differing(&sandbox.wyng(&["diff", "home", "disk"])), 0);
    sandbox.assert_restores("disk", "latest", &medium);
    drop(held);
}

#[test]
fn a_device_that_is_in_use_is_backed_up_with_a_hint() {
    if !require(
        Component::Root,
        "a_device_that_is_in_use_is_backed_up_with_a_hint",
    ) {
        return;
    }
    let mut sandbox = sandbox();
    let image = sandbox.path("disk");
    std::fs::File::create(&image)
        .unwrap()
        .set_len(24 << 20)
        .unwrap();
    let mut device = LoopDevice::attach(&image);
    let part = device.add_partition(1, 2048, 40_000);
    run(Command::new("mkfs.ext4").arg("-q").arg(&part));
    let place = sandbox.path("mounted here");
    std::fs::create_dir(&place).unwrap();
    let config = sandbox.text(
        "wyng.toml",
        &format!("[volumes]\ndisk = {:?}\nother = {image:?}\n", device.node()),
    );
    let service = Service::start_with(&mut sandbox, &["--config", &config]);
    let mounted_at = |source: &str| {
        let outcome = sandbox.wyng(&["backup", "home", source, "--config", &config]);
        outcome.success().json["volumes"][0]["mounted_at"]
            .as_str()
            .map(str::to_owned)
    };
    let sources = [
        "disk".to_owned(),
        named("whole", device.node()),
        named("part", &part),
        named("image", &image),
    ];
    for source in &sources {
        assert_eq!(mounted_at(source), None, "{source}");
    }
    run(Command::new("mount").arg(&part).arg(&place));
    let found: Vec<_> = sources.iter().map(|source| mounted_at(source)).collect();
    run(Command::new("umount").arg(&place));
    assert!(
        found
            .iter()
            .all(|found| found.as_deref() == Some(place.to_str().unwrap())),
        "{found:?}"
    );
    assert_eq!(mounted_at(&sources[0]), None);
    service.stop();
}
