// SPDX-License-Identifier: GPL-3.0-or-later
//! The reader of thin metadata over pools whose devices share subtrees, as only the kernel makes
//! them, beside what thin_delta says of them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use wyng_tests::thin_image::ThinImage;
use wyng_tests::thin_pool::ThinPool;
use wyng_tests::thin_tools::{Differences, thin_delta};
use wyng_tests::vm::{has_read, results};
use wyng_thin::{BLOCK_BYTES, Block, Metadata};

/// Numbers that look random and are the same in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    fn some(&mut self, count: u64, end: u64) -> Vec<u64> {
        (0..count).map(|_| self.below(end)).collect()
    }
}

/// What the walk says, and how many blocks it read.
fn walk(pool: &ThinPool, held: u64, [old, new]: [u64; 2], end: u64) -> (Differences, u64) {
    let mut metadata = pool.metadata(held);
    let mut found = Vec::new();
    metadata
        .differences(old, new, end, &mut |range, difference| {
            found.push((range, difference));
            Ok(())
        })
        .unwrap();
    (found, metadata.blocks_read())
}

/// Compares pairs of devices with thin_delta, and keeps the pool as a file.
fn compare(pool: &ThinPool, name: &str, pairs: &[[u64; 2]], end: u64) {
    let held_root = pool.hold();
    let mut deltas = Vec::new();
    for pair in pairs {
        let theirs = thin_delta(&pool.metadata_path(), *pair, end, true);
        let (ours, _) = walk(pool, held_root, *pair, end);
        assert_eq!(ours, theirs, "{name}: {pair:?}");
        deltas.push((*pair, theirs));
    }
    let devices = pairs.iter().flatten().copied().collect();
    let image = ThinImage {
        held_root,
        blocks: reachable(pool, held_root, devices),
        deltas,
    };
    let path = results().join(format!("{name}.zst"));
    image.save(&path);
    assert_eq!(ThinImage::load(&path), image);
    pool.release();
}

/// All pairs of these devices.
fn pairs(devices: &[u64]) -> Vec<[u64; 2]> {
    let with_others = |old: &u64| {
        let old = *old;
        let others = devices.iter().filter(move |new| **new != old);
        others.map(move |new| [old, *new])
    };
    devices.iter().flat_map(with_others).collect()
}

/// The blocks of metadata below a metadata snapshot that these devices' trees reach.
fn reachable(pool: &ThinPool, held_root: u64, devices: BTreeSet<u64>) -> BTreeMap<u64, Block> {
    let mut blocks = BTreeMap::new();
    let mut read = pool.reader();
    let keep = |number: u64, block: &mut Block| {
        read(number, block)?;
        blocks.insert(number, *block);
        std::io::Result::Ok(())
    };
    let mut metadata = Metadata::open(keep, held_root).unwrap();
    for id in devices {
        metadata.details(id).unwrap();
        metadata.mapped(id, u64::MAX, &mut |_| Ok(())).unwrap();
    }
    drop(metadata);
    blocks
}

/// The processor time of this process, without its children.
fn own_cpu() -> Duration {
    let counts = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(counts.split(' ').next().unwrap().parse().unwrap())
}

/// The processor time of children that have ended.
fn childrens_cpu() -> Duration {
    let counts = std::fs::read_to_string("/proc/self/stat").unwrap();
    let after_name = counts.rsplit(')').next().unwrap();
    let ticks = |field: usize| -> u64 {
        let word = after_name.split_whitespace().nth(field).unwrap();
        word.parse().unwrap()
    };
    Duration::from_millis((ticks(13) + ticks(14)) * 10)
}

#[test]
#[ignore = "runs in the VM of make test-vm"]
fn a_chain_of_snapshots_with_writes_discards_and_deletions_differs_as_thin_delta_says() {
    let (blocks, mut numbers) = (6_000, Numbers(0x5eed));
    for (name, block_kib) in [("chain-64k", 64), ("chain-192k", 192)] {
        let mut pool = ThinPool::new("chain", block_kib);
        pool.add(1, blocks);
        pool.write(1, 0..500);
        pool.write(1, numbers.some(1_500, blocks));
        for snapshot in 2..8 {
            pool.snapshot(snapshot, 1, blocks);
            pool.write(1, numbers.some(40, blocks));
            let run = numbers.below(blocks - 200);
            pool.write(1, run..run + numbers.below(150));
            pool.discard(1, numbers.below(blocks - 400), numbers.below(300) + 1);
            pool.write(snapshot, numbers.some(3, blocks));
        }
        pool.delete(3);
        pool.delete(5);
        // The deleted snapshots' blocks are given again.
        pool.write(1, numbers.some(200, blocks));
        pool.snapshot(9, 4, blocks);
        compare(&pool, name, &pairs(&[1, 2, 4, 7, 9]), blocks);
    }
}

#[test]
#[ignore = "runs in the VM of make test-vm"]
fn volumes_without_mappings_and_with_few_differ_as_thin_delta_says() {
    let blocks = 300;
    let mut pool = ThinPool::new("small", 1024);
    pool.add(1, blocks);
    pool.snapshot(2, 1, blocks);
    pool.write(1, [0, 7, 299]);
    pool.snapshot(3, 1, blocks);
    pool.discard(1, 0, blocks);
    pool.add(4, blocks);
    pool.write(4, 0..blocks);
    compare(&pool, "small", &pairs(&[1, 2, 3, 4]), blocks);
}

#[test]
#[ignore = "runs in the VM of make test-vm"]
fn the_walk_over_a_deep_tree_reads_what_changed_and_thin_delta_reads_all() {
    let blocks = 200_000;
    let mut pool = ThinPool::with_mapped("deep", 64, blocks);
    pool.snapshot(2, 1, blocks);
    pool.write(1, Numbers(0xdeeb).some(12, blocks));
    pool.write(1, 100_000..100_300);
    pool.discard(1, 20_000, 64);
    let held = pool.hold();

    let (bytes_before, cpu_before) = (pool.metadata_bytes_read(), own_cpu());
    let (ours, blocks_read) = walk(&pool, held, [2, 1], blocks);
    let (our_bytes, our_cpu) = (
        pool.metadata_bytes_read() - bytes_before,
        own_cpu() - cpu_before,
    );
    let (bytes_before, cpu_before) = (pool.metadata_bytes_read(), childrens_cpu());
    let theirs = thin_delta(&pool.metadata_path(), [2, 1], blocks, true);
    let (their_bytes, their_cpu) = (
        pool.metadata_bytes_read() - bytes_before,
        childrens_cpu() - cpu_before,
    );
    pool.release();
    compare(&pool, "deep", &pairs(&[1, 2]), blocks);

    assert_eq!(ours, theirs);
    assert_eq!(our_bytes, blocks_read * BLOCK_BYTES as u64);
    // The changed leaves of both volumes, and the ways to them.
    assert!(blocks_read < 80, "{blocks_read} blocks were read");
    assert!(
        their_bytes > our_bytes * 4,
        "ours: {our_bytes} bytes, thin_delta: {their_bytes} bytes"
    );
    has_read(our_bytes, their_bytes);
    let report = format!(
        "the walk over {blocks} mappings, {} changed: {our_bytes} bytes and {our_cpu:?} of CPU; \
         thin_delta: {their_bytes} bytes and {their_cpu:?} of CPU\n",
        ours.iter()
            .map(|(range, _)| range.end - range.start)
            .sum::<u64>(),
    );
    std::fs::write(results().join("walk"), report).unwrap();
}

#[test]
#[ignore = "runs in the VM of make test-vm"]
fn a_metadata_snapshot_stands_while_its_volumes_change_and_the_superblock_names_it() {
    let blocks = 2_000;
    let mut pool = ThinPool::new("held", 64);
    pool.add(1, blocks);
    pool.write(1, 0..1_000);
    pool.snapshot(2, 1, blocks);
    pool.write(1, [3, 500]);
    assert_eq!(pool.held(), None);
    assert_eq!(pool.metadata(0).superblock().held_root, 0);

    let held = pool.hold();
    assert_eq!(pool.metadata(0).superblock().held_root, held);
    let (before, _) = walk(&pool, held, [2, 1], blocks);
    let superblock = *pool.metadata(held).superblock();
    // Device 2 goes, its blocks are given again, and the live trees change.
    pool.delete(2);
    pool.write(1, 1_000..1_400);
    pool.discard(1, 0, 300);
    pool.add(3, blocks);
    pool.write(3, 0..200);
    assert_eq!(walk(&pool, held, [2, 1], blocks).0, before);
    assert_eq!(*pool.metadata(held).superblock(), superblock);
    assert_eq!(superblock.held_root, 0, "the copy names no copy");
    assert_eq!(pool.held(), Some(held));

    pool.release();
    assert_eq!(pool.held(), None);
    assert_eq!(pool.metadata(0).superblock().held_root, 0);
}

#[test]
#[ignore = "runs in the VM of make test-vm"]
fn a_device_made_again_under_an_id_has_another_transaction() {
    let mut pool = ThinPool::new("again", 64);
    pool.set_transaction(0, 5);
    pool.add(1, 100);
    pool.set_transaction(5, 6);
    pool.write(1, 0..10);
    let held = pool.hold();
    let first = pool.metadata(held).details(1).unwrap();
    pool.release();
    pool.delete(1);
    pool.set_transaction(6, 7);
    pool.add(1, 100);
    pool.write(1, 0..10);
    let held = pool.hold();
    let second = pool.metadata(held).details(1).unwrap();
    pool.release();
    assert_eq!((first.mapped_blocks, second.mapped_blocks), (10, 10));
    assert_eq!((first.transaction_id, second.transaction_id), (5, 7));
}
