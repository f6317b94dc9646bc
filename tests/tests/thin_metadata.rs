// SPDX-License-Identifier: GPL-3.0-or-later
//! The reader of thin metadata over what the tools of device-mapper write, beside what they say of
//! it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use wyng_tests::require::{Component, require};
use wyng_thin::{Difference, Metadata};

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

fn ours(file: &File) -> Vec<(Range<u64>, Difference)> {
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

fn blocks(ranges: impl IntoIterator<Item = (Range<u64>, Difference)>) -> BTreeMap<u64, bool> {
    ranges
        .into_iter()
        .flat_map(|(range, difference)| {
            range.map(move |block| (block, difference == Difference::Mapped))
        })
        .collect()
}

/// What thin_delta says: `different` and `right_only` are mapped, `left_only` is unmapped.
fn theirs(folder: &Path) -> BTreeMap<u64, bool> {
    let output = Command::new("thin_delta")
        .args(["--thin1", "1", "--thin2", "2"])
        .arg(folder.join("pool"))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).unwrap();
    let mut ranges = Vec::new();
    for line in text.lines().map(str::trim) {
        let difference = match line.split_whitespace().next() {
            Some("<different" | "<right_only") => Difference::Mapped,
            Some("<left_only") => Difference::Unmapped,
            _ => continue,
        };
        let number = |key: &str| -> u64 {
            line.split(&format!("{key}=\""))
                .nth(1)
                .unwrap()
                .split('"')
                .next()
                .unwrap()
                .parse()
                .unwrap()
        };
        let (begin, length) = (number("begin"), number("length"));
        ranges.push((begin..(begin + length).min(DEVICE_BLOCKS), difference));
    }
    blocks(ranges)
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
            prop_assert_eq!(blocks(ours(&file)), theirs(folder.path()));
            Ok(())
        })
        .unwrap();
}
