// SPDX-License-Identifier: GPL-3.0-or-later
//! Reading the disk and not the page cache: bytes change below a file system or device whose cache
//! still has the right ones.

use std::path::Path;
use std::process::Command;

use serde_json::json;
use wyng_tests::disk::{LoopMount, run};
use wyng_tests::pool::{Pool, number};
use wyng_tests::require::{Component, require};
use wyng_tests::sandbox::{Sandbox, noise, write_at};

const MIB: usize = 1 << 20;

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A file system of each kind without checksums of data that this machine supports.
fn disks(test: &'static str) -> impl Iterator<Item = LoopMount> {
    let there = move |kind: &&str| {
        require(
            if *kind == "xfs" {
                Component::Xfs
            } else {
                Component::Root
            },
            test,
        )
    };
    ["ext4", "xfs"]
        .into_iter()
        .filter(there)
        .map(|kind| LoopMount::mount(kind, 320, "noatime"))
}

#[test]
fn verify_finds_a_sector_of_the_store_that_rotted_while_the_page_cache_has_it() {
    for disk in disks("verify_finds_a_sector_of_the_store_that_rotted_while_the_page_cache_has_it")
    {
        let sandbox = Sandbox::with_store_at(disk.join("store"));
        sandbox
            .create("home", &["--chunk-size", "64K", "--pack-size", "1M"])
            .success();
        sandbox.image("vm.img", 3 * MIB, 1);
        sandbox.wyng(&["backup", "home", "vm.img"]).success();
        let packs: Vec<_> = sandbox
            .blobs()
            .into_iter()
            .filter(|blob| blob.metadata().unwrap().len() > 500_000)
            .collect();
        let before = std::fs::read(&packs[1]).unwrap();
        disk.rot(&packs[1]);
        assert!(
            std::fs::read(&packs[1]).unwrap() == before,
            "the page cache hides it"
        );
        let verified = sandbox.wyng(&["verify", "home"]);
        assert_eq!(
            verified.expect(5).json["problems"]
                .as_array()
                .unwrap()
                .len(),
            1,
            "{}",
            verified.json
        );
        assert!(
            std::fs::read(&packs[1]).unwrap() != before,
            "what was read is what the disk has"
        );
    }
}

#[test]
fn verify_and_restore_leave_nothing_of_the_store_in_the_page_cache() {
    if !require(
        Component::Fincore,
        "verify_and_restore_leave_nothing_of_the_store_in_the_page_cache",
    ) {
        return;
    }
    for disk in disks("verify_and_restore_leave_nothing_of_the_store_in_the_page_cache") {
        let sandbox = Sandbox::with_store_at(disk.join("store"));
        sandbox.create("home", &[]).success();
        sandbox.image("vm.img", 40 * MIB, 1);
        sandbox.wyng(&["backup", "home", "vm.img"]).success();
        for arguments in [
            &["verify", "home"][..],
            &["restore", "home", "vm.img", "--to", "out"],
        ] {
            sandbox
                .blobs()
                .iter()
                .for_each(|blob| drop(std::fs::read(blob).unwrap()));
            sandbox.wyng(arguments).success();
            for blob in sandbox
                .blobs()
                .iter()
                .filter(|blob| blob.metadata().unwrap().len() > 500_000)
            {
                assert_eq!(
                    cached_pages(blob),
                    0,
                    "{arguments:?} left pages of {}",
                    blob.display()
                );
            }
        }
    }
}

/// The bytes of a file in the page cache, as fincore reports them.
fn cached_pages(file: &Path) -> u64 {
    let output = Command::new("fincore")
        .args(["--noheadings", "--output", "PAGES"])
        .arg(file)
        .output()
        .unwrap();
    String::from_utf8(output.stdout)
        .unwrap()
        .trim()
        .parse()
        .unwrap()
}

#[test]
fn a_file_that_rotted_beneath_its_cache_is_mended_where_it_is() {
    for disk in disks("a_file_that_rotted_beneath_its_cache_is_mended_where_it_is") {
        let sandbox = Sandbox::with_archive(&["--chunk-size", "64K", "--pack-size", "1M"]);
        let path = disk.join("vm.img");
        let content = noise(3 * MIB, 1);
        std::fs::write(&path, &content).unwrap();
        let source = format!("vm={}", path.display());
        sandbox.wyng(&["backup", "home", &source]).success();
        std::fs::File::open(&path).unwrap().sync_all().unwrap();
        disk.rot(&path);
        assert!(
            std::fs::read(&path).unwrap() == content,
            "the page cache hides it"
        );
        let outcome = sandbox.wyng(&["restore", "home", "vm", "--in-place", "--yes"]);
        assert_eq!(
            number(outcome.success(), "fetched_bytes") / 65_536,
            1,
            "{}",
            outcome.json
        );
        drop_cache(&path);
        assert!(
            std::fs::read(&path).unwrap() == content,
            "the disk has the session"
        );
    }
}

#[test]
fn what_rotted_beneath_a_base_snapshot_comes_from_the_store() {
    for pool in Pool::each("what_rotted_beneath_a_base_snapshot_comes_from_the_store") {
        let (path, beside) = (pool.disk.join("vm.img"), pool.disk.join("beside.img"));
        let ways = [
            (&beside, &["--to", text(&beside)][..]),
            (&path, &["--to", text(&path), "--overwrite"]),
            (&path, &["--in-place", "--yes"]),
            (&path, &["--in-place", "--yes", "--quick"]),
        ];
        for (seed, (target, way)) in (1..).zip(ways) {
            let content = noise(3 * MIB, seed);
            std::fs::write(&path, &content).unwrap();
            pool.back_up(&path);
            assert_eq!(pool.bases().len(), 1);
            pool.disk.rot(&path);
            // The extents of the volume are unchanged. 48 chunks are few enough for the samples of
            // --quick to read nearly all of them.
            let outcome = pool
                .sandbox
                .wyng(&[&["restore", "home", "vm"][..], way].concat());
            outcome.success();
            drop_cache(target);
            let is_quick = number(&outcome, "unread_bytes") > 0;
            assert!(
                is_quick == way.contains(&"--quick") || !is_quick,
                "{:?} {way:?}: {}",
                pool.kind,
                outcome.json
            );
            if !is_quick {
                assert!(
                    std::fs::read(target).unwrap() == content,
                    "{:?} {way:?}",
                    pool.kind
                );
                assert_eq!(
                    number(&outcome, "damaged_bytes"),
                    65_536,
                    "{:?} {way:?}",
                    pool.kind
                );
                assert!(
                    pool.bases().is_empty(),
                    "{:?} {way:?}: what is wrong is no base",
                    pool.kind
                );
            }
        }
    }
}

#[test]
fn a_comparison_finds_what_rotted_beneath_a_base_snapshot() {
    for pool in Pool::each("a_comparison_finds_what_rotted_beneath_a_base_snapshot") {
        let path = pool.disk.join("vm.img");
        std::fs::write(&path, noise(3 * MIB, 1)).unwrap();
        pool.back_up(&path);
        pool.disk.rot(&path);
        let compared = pool.sandbox.wyng(&["diff", "home", "vm"]);
        if pool.kind.name == "btrfs" {
            // It has checksums, and the read fails.
            assert_eq!(compared.expect(1).codes(), ["source-read"]);
        } else {
            assert_eq!(compared.success().json["damaged_bytes"], json!(65_536));
            assert_eq!(compared.json["differing_bytes"], json!(65_536));
        }
        assert!(
            pool.bases().is_empty(),
            "{:?}: what is wrong is no base",
            pool.kind
        );
    }
}

#[test]
fn a_device_that_rotted_beneath_its_cache_is_mended_where_it_is() {
    if !require(
        Component::Root,
        "a_device_that_rotted_beneath_its_cache_is_mended_where_it_is",
    ) {
        return;
    }
    let sandbox = Sandbox::with_archive(&["--chunk-size", "64K", "--pack-size", "1M"]);
    let (image, content) = (sandbox.path("image"), noise(3 * MIB, 1));
    std::fs::write(&image, &content).unwrap();
    let attached = Command::new("losetup")
        .args(["--find", "--show"])
        .arg(&image)
        .output()
        .unwrap();
    let device = String::from_utf8(attached.stdout)
        .unwrap()
        .trim()
        .to_owned();
    sandbox
        .wyng(&["backup", "home", &format!("vm={device}")])
        .success();
    // Held open, so that its cache is not dropped when the last one closes it.
    let held = std::fs::File::open(&device).unwrap();
    assert!(std::fs::read(&device).unwrap() == content);
    write_at(&image, 2_000_000, &[content[2_000_000] ^ 1]);
    assert!(
        std::fs::read(&device).unwrap() == content,
        "the page cache hides it"
    );
    let outcome = sandbox.wyng(&[
        "restore",
        "home",
        "vm",
        "--to",
        &device,
        "--in-place",
        "--yes",
    ]);
    let found = std::fs::read(&image).unwrap();
    drop(held);
    run(Command::new("losetup").arg("-d").arg(&device));
    assert_eq!(
        outcome.success().json["volumes"][0]["written_bytes"],
        json!(65_536),
        "{}",
        outcome.json
    );
    assert!(found == content, "the disk has the session");
}

fn drop_cache(path: &Path) {
    run(Command::new("dd")
        .args(["iflag=nocache", "count=0", "status=none"])
        .arg(format!("if={}", text(path))));
}
