// SPDX-License-Identifier: GPL-3.0-or-later
//! The daemon next to other programs: the page cache has the same pages before and after.

use std::fs::File;
use std::io::IoSliceMut;
use std::ops::Range;
use std::path::Path;
use std::process::Command;

use rustix::fs::{Advice, fadvise};
use rustix::io::{ReadWriteFlags, preadv2};
use wyng_tests::require::{Component, missing, require};
use wyng_tests::sandbox::{Sandbox, noise};

const MIB: u64 = 1 << 20;
const PAGE_BYTES: u64 = 4096;

/// A folder on a disk, because temporary folders are often in memory, where no page can be dropped.
/// `None` when this folder is in memory too.
fn folder_on_disk(test: &str) -> Option<tempfile::TempDir> {
    if !require(Component::Fincore, test) {
        return None;
    }
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let probe = folder.path().join("probe");
    std::fs::write(&probe, vec![1; 1 << 16]).unwrap();
    drop_all(&probe);
    if cached_count(&probe) == 0 {
        return Some(folder);
    }
    missing(Component::Disk, test);
    None
}

fn drop_all(path: &Path) {
    let file = File::open(path).unwrap();
    file.sync_all().unwrap();
    fadvise(&file, 0, None, Advice::DontNeed).unwrap();
}

/// Reads exactly these bytes of a file into the page cache.
fn bring_in(path: &Path, range: &Range<u64>) {
    let file = File::open(path).unwrap();
    fadvise(&file, 0, None, Advice::Random).unwrap();
    let mut bytes = vec![0; usize::try_from(range.end - range.start).unwrap()];
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut bytes, range.start).unwrap();
}

/// Number of pages of a file in the page cache.
fn cached_count(path: &Path) -> u64 {
    let output = Command::new("fincore")
        .args(["-n", "-o", "PAGES"])
        .arg(path)
        .output()
        .unwrap();
    String::from_utf8(output.stdout)
        .unwrap()
        .trim()
        .parse()
        .unwrap()
}

/// Whether every page of a range is in the page cache. Checking a missing page starts a read of it.
fn is_cached(path: &Path, range: &Range<u64>) -> bool {
    let file = File::open(path).unwrap();
    fadvise(&file, 0, None, Advice::Random).unwrap();
    let pages = range.start / PAGE_BYTES..range.end / PAGE_BYTES;
    pages.map(|page| page * PAGE_BYTES).all(|place| {
        preadv2(
            &file,
            &mut [IoSliceMut::new(&mut [0])],
            place,
            ReadWriteFlags::NOWAIT,
        ) == Ok(1)
    })
}

#[test]
fn a_backup_leaves_the_page_cache_as_it_was() {
    let Some(disk) = folder_on_disk("a_backup_leaves_the_page_cache_as_it_was") else {
        return;
    };
    let sandbox = Sandbox::with_store_at(disk.path().join("store"));
    sandbox.create("home", &[]).success();
    let image = disk.path().join("disk.img");
    std::fs::write(&image, noise(16 << 20, 1)).unwrap();
    drop_all(&image);
    // A long range, a range that ends within a piece, and a single piece between missing ones.
    let in_use = [
        2 * MIB..5 * MIB,
        7 * MIB..7 * MIB + 3 * PAGE_BYTES,
        9 * MIB + (64 << 10)..9 * MIB + (128 << 10),
    ];
    in_use.iter().for_each(|range| bring_in(&image, range));
    sandbox.blobs().iter().for_each(|blob| drop_all(blob));
    sandbox
        .wyng(&["backup", "home", image.to_str().unwrap()])
        .success();
    let expected: u64 = in_use
        .iter()
        .map(|range| (range.end - range.start) / PAGE_BYTES)
        .sum();
    assert_eq!(
        cached_count(&image),
        expected,
        "pages of the source, as before"
    );
    for range in &in_use {
        assert!(is_cached(&image, range), "{range:?} was in use and stays");
    }
    for blob in sandbox.blobs() {
        assert_eq!(
            cached_count(&blob),
            0,
            "{} is written and not read",
            blob.display()
        );
    }
}

#[test]
fn a_restored_file_is_on_the_disk_and_not_in_memory() {
    let Some(disk) = folder_on_disk("a_restored_file_is_on_the_disk_and_not_in_memory") else {
        return;
    };
    let sandbox = Sandbox::with_archive(&[]);
    let image = sandbox.image("disk.img", 24 << 20, 1);
    sandbox
        .wyng(&["backup", "home", image.to_str().unwrap()])
        .success();
    let target = disk.path().join("restored");
    sandbox
        .wyng(&[
            "restore",
            "home",
            "disk.img",
            "--to",
            target.to_str().unwrap(),
        ])
        .success();
    assert_eq!(cached_count(&target), 0);
    assert!(std::fs::read(&target).unwrap() == noise(24 << 20, 1));
}
