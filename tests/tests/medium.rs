// SPDX-License-Identifier: GPL-3.0-or-later
//! The disk and not the page cache: bytes rot beneath a file system or a device whose cache still shows the right ones.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::path::Path;
use std::process::Command;

use wyng_tests::disk::LoopMount;
use wyng_tests::require::{Component, require};
use wyng_tests::sandbox::Sandbox;

const MIB: usize = 1 << 20;

/// A file system that this machine has, of each kind that has no checksums of data.
fn disks(test: &'static str) -> impl Iterator<Item = LoopMount> {
    let there = move |kind: &&str| require(if *kind == "xfs" { Component::Xfs } else { Component::Root }, test);
    ["ext4", "xfs"].into_iter().filter(there).map(|kind| LoopMount::mount(kind, 320, "noatime"))
}

#[test]
fn verify_finds_a_sector_of_the_store_that_rotted_while_the_page_cache_has_it() {
    for disk in disks("verify_finds_a_sector_of_the_store_that_rotted_while_the_page_cache_has_it") {
        let sandbox = Sandbox::with_store_at(disk.join("store"));
        sandbox.create("home", &["--chunk-size", "64K", "--pack-size", "1M"]).success();
        sandbox.image("vm.img", 3 * MIB, 1);
        sandbox.wyng(&["backup", "home", "vm.img"]).success();
        let packs: Vec<_> = sandbox.blobs().into_iter().filter(|blob| blob.metadata().unwrap().len() > 500_000).collect();
        let before = std::fs::read(&packs[1]).unwrap();
        disk.rot(&packs[1]);
        assert!(std::fs::read(&packs[1]).unwrap() == before, "the page cache hides it");
        let verified = sandbox.wyng(&["verify", "home"]);
        assert_eq!(verified.expect(5).json["problems"].as_array().unwrap().len(), 1, "{}", verified.json);
        assert!(std::fs::read(&packs[1]).unwrap() != before, "what was read is what the disk has");
    }
}

#[test]
fn verify_and_restore_leave_nothing_of_the_store_in_the_page_cache() {
    if !require(Component::Fincore, "verify_and_restore_leave_nothing_of_the_store_in_the_page_cache") {
        return;
    }
    for disk in disks("verify_and_restore_leave_nothing_of_the_store_in_the_page_cache") {
        let sandbox = Sandbox::with_store_at(disk.join("store"));
        sandbox.create("home", &[]).success();
        sandbox.image("vm.img", 40 * MIB, 1);
        sandbox.wyng(&["backup", "home", "vm.img"]).success();
        for arguments in [&["verify", "home"][..], &["restore", "home", "vm.img", "--to", "out"]] {
            sandbox.blobs().iter().for_each(|blob| drop(std::fs::read(blob).unwrap()));
            sandbox.wyng(arguments).success();
            for blob in sandbox.blobs().iter().filter(|blob| blob.metadata().unwrap().len() > 500_000) {
                assert_eq!(cached_pages(blob), 0, "{arguments:?} left pages of {}", blob.display());
            }
        }
    }
}

/// As fincore tells it.
fn cached_pages(file: &Path) -> u64 {
    let output = Command::new("fincore").args(["--noheadings", "--output", "PAGES"]).arg(file).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}
