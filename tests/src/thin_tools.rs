// SPDX-License-Identifier: GPL-3.0-or-later
//! What the tools of device-mapper say of a thin pool's metadata, to compare the reader with.

use std::ops::Range;
use std::path::Path;
use std::process::Command;

use wyng_thin::Difference;

/// Where two volumes differ: ranges of blocks, ascending and joined as far as one kind reaches.
pub type Differences = Vec<(Range<u64>, Difference)>;

/// What `thin_delta` says of two devices, in blocks below `end`. `held` reads the metadata snapshot
/// of a pool in use.
pub fn thin_delta(metadata: &Path, devices: [u64; 2], end: u64, held: bool) -> Differences {
    let [old, new] = devices.map(|id| id.to_string());
    let output = Command::new("thin_delta")
        .args(held.then_some("-m"))
        .args(["--thin1", &old, "--thin2", &new])
        .arg(metadata)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    join(parse(&String::from_utf8(output.stdout).unwrap(), end))
}

/// The ranges in the output of `thin_delta`: `different` and `right_only` are mapped, `left_only`
/// is unmapped.
fn parse(text: &str, end: u64) -> Differences {
    let line = |line: &str| {
        let difference = match line.split_whitespace().next() {
            Some("<different" | "<right_only") => Difference::Mapped,
            Some("<left_only") => Difference::Unmapped,
            _ => return None,
        };
        let number = |key: &str| -> u64 {
            let after = line.split(&format!("{key}=\"")).nth(1).unwrap();
            after.split('"').next().unwrap().parse().unwrap()
        };
        let (begin, length) = (number("begin"), number("length"));
        Some((begin.min(end)..(begin + length).min(end), difference))
    };
    text.lines().map(str::trim).filter_map(line).collect()
}

/// Joins neighbours of one kind, and drops empty ranges: two answers are equal if they say the same
/// of each block.
fn join(ranges: Differences) -> Differences {
    let mut joined: Differences = Vec::new();
    for (range, difference) in ranges {
        match joined.last_mut() {
            _ if range.is_empty() => {}
            Some((last, kind)) if *kind == difference && last.end == range.start => {
                last.end = range.end;
            }
            _ => joined.push((range, difference)),
        }
    }
    joined
}
