// SPDX-License-Identifier: GPL-3.0-or-later
//! The reader of thin metadata over what the tools of device-mapper write, beside what they say of
//! it.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use wyng_tests::require::{Component, require};
use wyng_tests::thin_image::ThinImage;
use wyng_tests::thin_tools::{Differences, thin_delta};
use wyng_thin::{Block, Metadata};

/// Blocks of a device: the first, how many, and the pool's block that holds the first.
type Runs = Vec<(u64, u64, u64)>;

const DEVICE_BLOCKS: u64 = 3000;
const POOL_BLOCKS: u64 = 100_000;

/// A device's mappings, as a pool would have them: no data block is behind two blocks of one
/// device.
fn runs(seed: u64) -> impl Strategy<Value = Runs> {
    prop::collection::vec((0..60_u64, 1..40_u64, 0..200_u64), 0..40).prop_map(move |found| {
        let (mut at, mut runs) = (0, Vec::new());
        for (gap, length, data) in found {
            let begin = at + gap;
            if begin + length > DEVICE_BLOCKS {
                break;
            }
            // Some runs lie where those of the other device do, others elsewhere.
            let place = if data < 100 {
                begin
            } else {
                begin + 10_000 * (1 + seed)
            };
            runs.push((begin, length, place));
            at = begin + length;
        }
        runs
    })
}

fn write_pool(folder: &Path, devices: &[(u64, &Runs)]) -> File {
    let mut xml = format!(
        "<superblock uuid=\"\" time=\"1\" transaction=\"2\" flags=\"0\" version=\"2\" data_block_size=\"128\" nr_data_blocks=\"{POOL_BLOCKS}\">\n"
    );
    for (id, runs) in devices {
        let count: u64 = runs.iter().map(|(_, length, _)| length).sum();
        writeln!(xml, "<device dev_id=\"{id}\" mapped_blocks=\"{count}\" transaction=\"1\" creation_time=\"0\" snap_time=\"1\">").unwrap();
        for (begin, length, data) in runs.iter() {
            writeln!(xml, "<range_mapping origin_begin=\"{begin}\" data_begin=\"{data}\" length=\"{length}\" time=\"1\"/>").unwrap();
        }
        xml.push_str("</device>\n");
    }
    xml.push_str("</superblock>\n");
    let (source, target) = (folder.join("pool.xml"), folder.join("pool"));
    std::fs::write(&source, xml).unwrap();
    let file = File::create(&target).unwrap();
    file.set_len(4 << 20).unwrap();
    let output = Command::new("thin_restore")
        .arg("-i")
        .arg(&source)
        .arg("-o")
        .arg(&target)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    File::open(&target).unwrap()
}

fn ours(file: &File) -> Differences {
    let read = |number: u64, block: &mut [u8; 4096]| file.read_exact_at(block, number * 4096);
    let mut found = Vec::new();
    let mut metadata = Metadata::open(read, 0).unwrap();
    metadata
        .differences(1, 2, DEVICE_BLOCKS, &mut |range, difference| {
            found.push((range, difference));
            Ok(())
        })
        .unwrap();
    found
}

#[test]
fn random_pools_differ_as_thin_delta_says() {
    if !require(
        Component::ThinTools,
        "random_pools_differ_as_thin_delta_says",
    ) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut runner = TestRunner::new(Config {
        cases: 60,
        ..Config::default()
    });
    runner
        .run(&(runs(0), runs(1)), |(old, new)| {
            let file = write_pool(folder.path(), &[(1, &old), (2, &new)]);
            let theirs = thin_delta(&folder.path().join("pool"), [1, 2], DEVICE_BLOCKS, false);
            prop_assert_eq!(ours(&file), theirs);
            Ok(())
        })
        .unwrap();
}

/// The pools in tests/data/thin, which a kernel made: their devices share subtrees.
fn kernels_pools() -> Vec<ThinImage> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/thin");
    let files = std::fs::read_dir(folder).unwrap();
    files
        .map(|file| ThinImage::load(&file.unwrap().path()))
        .collect()
}

fn reader(image: &ThinImage) -> impl FnMut(u64, &mut Block) -> Result<(), ()> {
    |number, block| {
        image.read(number, block);
        Ok(())
    }
}

/// What the walk says, or why it ended, and the blocks that it read.
fn walk(
    image: &ThinImage,
    [old, new]: [u64; 2],
) -> (Result<Differences, wyng_thin::Error<()>>, BTreeSet<u64>) {
    let mut read = BTreeSet::new();
    let mut found = Vec::new();
    let keep = |number: u64, block: &mut Block| {
        read.insert(number);
        reader(image)(number, block)
    };
    let end = Metadata::open(keep, image.held_root).and_then(|mut metadata| {
        metadata.differences(old, new, u64::MAX, &mut |range, difference| {
            found.push((range, difference));
            Ok(())
        })
    });
    (end.map(|()| found), read)
}

/// The blocks of a device's mapping tree, with those on the way to it.
fn tree(image: &ThinImage, id: u64) -> BTreeSet<u64> {
    let mut read = BTreeSet::new();
    let keep = |number: u64, block: &mut Block| {
        read.insert(number);
        reader(image)(number, block)
    };
    Metadata::open(keep, image.held_root)
        .unwrap()
        .mapped(id, u64::MAX, &mut |_| Ok(()))
        .unwrap();
    read
}

#[test]
fn pools_of_the_kernel_differ_as_thin_delta_said() {
    let pools = kernels_pools();
    let pairs = pools
        .iter()
        .flat_map(|image| image.deltas.iter().map(move |delta| (image, delta)));
    let mut compared = 0;
    for (image, (pair, theirs)) in pairs {
        assert_eq!(walk(image, *pair).0.as_ref(), Ok(theirs), "{pair:?}");
        compared += usize::from(!theirs.is_empty());
    }
    assert!(compared > 40, "{compared}");
}

#[test]
fn in_pools_of_the_kernel_a_walk_reads_what_the_two_trees_do_not_share() {
    let mut least_part = 1.0_f64;
    for image in kernels_pools() {
        for (pair, _) in &image.deltas {
            let trees = pair.map(|id| tree(&image, id));
            let shared: BTreeSet<u64> = trees[0].intersection(&trees[1]).copied().collect();
            let (_, read) = walk(&image, *pair);
            // Besides: the superblock and the tree of devices, and, for a tree of another height,
            // the way down its left side.
            let needless = read.intersection(&shared).count();
            assert!(
                needless <= 8,
                "{pair:?}: {needless} shared blocks were read"
            );
            let both = trees[0].union(&trees[1]).count();
            least_part = least_part.min(read.len() as f64 / both as f64);
        }
    }
    assert!(least_part < 0.2, "{least_part}");
}

#[test]
fn damage_in_any_block_of_a_pool_of_the_kernel_is_an_error() {
    for mut image in kernels_pools() {
        let (pair, _) = image.deltas[0].clone();
        let (_, read) = walk(&image, pair);
        for number in read {
            let sound = image.blocks[&number];
            for place in [0, 5, 9, 40, 2_000, 4_095] {
                image.blocks.get_mut(&number).unwrap()[place] ^= 0x10;
                let (damaged, _) = walk(&image, pair);
                assert!(
                    matches!(damaged, Err(wyng_thin::Error::Damaged { block, .. }) if block == number),
                    "byte {place} of block {number}: {damaged:?}"
                );
                image.blocks.insert(number, sound);
            }
        }
    }
}
