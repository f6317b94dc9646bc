// SPDX-License-Identifier: GPL-3.0-or-later
//! How the kernel and LVM behave where Wyng depends on it.

use std::fs::File;
use std::os::unix::fs::FileExt;

use wyng_tests::thin_pool::ThinPool;
use wyng_tests::vm::run;
use wyng_tests::volume_group::VolumeGroup;

const BLOCK_BYTES: u64 = 65_536;

/// The bytes of a range that are not zeros, read past the cache.
fn bytes_set(path: &str, at: u64, length: u64) -> usize {
    run("blockdev", &["--flushbufs", path]);
    let mut bytes = vec![0; usize::try_from(length).unwrap()];
    File::open(path)
        .unwrap()
        .read_exact_at(&mut bytes, at)
        .unwrap();
    bytes.iter().filter(|byte| **byte != 0).count()
}

/// A restore that trusted a discard would leave old data where zeros belong.
#[test]
#[ignore = "runs in the VM of make test-vm"]
fn a_discard_of_part_of_a_block_succeeds_and_keeps_its_data_and_zeros_must_be_written() {
    let mut pool = ThinPool::new("discards", BLOCK_BYTES / 1024);
    pool.add(1, 16);
    let path = pool.volume_path(1);
    let file = File::options().write(true).open(&path).unwrap();
    let content = vec![1; usize::try_from(4 * BLOCK_BYTES).unwrap()];
    file.write_all_at(&content, 0).unwrap();
    file.sync_all().unwrap();
    let blkdiscard = |options: &[&str], at: u64, length: u64| {
        let range = [at.to_string(), length.to_string()];
        let range = ["-o", &range[0], "-l", &range[1], &path];
        run("blkdiscard", &[options, &range].concat());
    };

    blkdiscard(&[], 4096, 4096);
    assert_eq!(bytes_set(&path, 4096, 4096), 4096);
    // The end of block 0, block 1, the beginning of block 2: only block 1 goes.
    let half = BLOCK_BYTES / 2;
    blkdiscard(&[], half, 2 * BLOCK_BYTES);
    let set = [0, 1, 2].map(|block| bytes_set(&path, block * BLOCK_BYTES, BLOCK_BYTES) as u64);
    assert_eq!(set, [BLOCK_BYTES, 0, BLOCK_BYTES]);

    blkdiscard(&["--zeroout"], half, half);
    assert_eq!(bytes_set(&path, 0, BLOCK_BYTES) as u64, half);
}

#[test]
#[ignore = "runs in the VM of make test-vm"]
fn a_read_only_snapshot_is_activated_only_on_demand_and_stays_while_its_origin_is_written() {
    let group = VolumeGroup::new("qubes");
    let origin = group.add("vm-work");
    let file = File::options().write(true).open(&origin).unwrap();
    let write = |byte: u8| {
        file.write_all_at(&vec![byte; 1 << 20], 0).unwrap();
        file.sync_all().unwrap();
    };
    write(7);
    group.snapshot("wyng-0000000000000001", "vm-work");
    let snapshot = group.path("wyng-0000000000000001");
    // The mark keeps it inactive, and is no error.
    run("lvchange", &["-ay", "qubes/wyng-0000000000000001"]);
    assert!(!std::path::Path::new(&snapshot).exists());

    group.activate("wyng-0000000000000001");
    write(9);
    run("blkdiscard", &["-o", "0", "-l", "65536", &origin]);
    let mut bytes = vec![0; 1 << 20];
    run("blockdev", &["--flushbufs", &snapshot]);
    let snapshot = File::options()
        .read(true)
        .write(true)
        .open(&snapshot)
        .unwrap();
    snapshot.read_exact_at(&mut bytes, 0).unwrap();
    assert!(bytes.iter().all(|byte| *byte == 7));
    let written = snapshot
        .write_all_at(&[1; 4096], 0)
        .and_then(|()| snapshot.sync_all());
    assert!(written.is_err());
}
