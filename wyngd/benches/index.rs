// SPDX-License-Identifier: GPL-3.0-or-later
//! What the index of ids costs when backups fill it: a first one of 4 million chunks (512 GiB at
//! 128 KiB), one of 3 million, and forty of 25,000; then lookups. `cargo bench -p wyngd` runs it
//! over the daemon's own files, in a folder that is removed; a table is all that is wanted.
// a bench: whatever fails ends it
#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, missing_docs)]

use std::fs::File;
use std::path::Path;

use wyng_archive::crypto::Id;
use wyng_engine::cache::{Index, Location, Stored};
use wyng_engine::world::Clock;
use wyngd::keyholder::real_world::{KernelClock, StateFiles};

const SESSIONS: [(&str, u64, u64); 3] = [
    ("first backup", 1, 4_000_000),
    ("second volume", 1, 3_000_000),
    ("40 sessions", 40, 25_000),
];
const LOOKUPS: u64 = 200_000;
const MIB: f64 = (1 << 20) as f64;

fn main() {
    let folder = std::env::temp_dir().join(format!("wyng-index-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    let mut files = StateFiles::new(File::open(&folder).unwrap().into());
    let mut clock = KernelClock::start();
    let mut index = Index::create("cache");
    println!(
        "{:<28} {:>10} {:>8} {:>12} {:>10} {:>5} {:>9}",
        "step", "ids", "CPU s", "written MiB", "disk MiB", "runs", "peak MiB"
    );
    let mut ids = 0;
    for (step, sessions, each) in SESSIONS {
        let (began, before) = (clock.cpu_micros(), written_bytes());
        let mut runs = 0;
        for _ in 0..sessions {
            for number in ids..ids + each {
                // As in packs of 16 MiB: about 270 records each.
                let stored = Stored::Chunk { key: 0 };
                let location = Location {
                    pack: number / 270,
                    offset_bytes: 60_000,
                    length_bytes: 60_000,
                    stored,
                };
                index.insert(&mut files, id_of(number), location).unwrap();
            }
            ids += each;
            runs = index.settle(&mut files).unwrap().len();
            index.remove_unlisted(&mut files).unwrap();
        }
        row(
            step,
            ids,
            seconds(&mut clock, began),
            Some(written_bytes() - before),
            bytes_below(&folder),
            runs,
        );
    }
    for (step, first, found) in [
        ("look up known ids", 0, true),
        ("look up unknown ids", ids, false),
    ] {
        let began = clock.cpu_micros();
        for number in 0..LOOKUPS {
            let id = id_of(
                first
                    + if found {
                        number * (ids / LOOKUPS)
                    } else {
                        number
                    },
            );
            assert_eq!(index.find(&mut files, &id).unwrap().is_some(), found);
        }
        row(
            step,
            LOOKUPS,
            seconds(&mut clock, began),
            None,
            bytes_below(&folder),
            0,
        );
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

fn row(step: &str, ids: u64, cpu: f64, written: Option<u64>, disk: u64, runs: usize) {
    let written = written.map_or_else(String::new, |bytes| format!("{:.0}", bytes as f64 / MIB));
    let peak = wyng_jail::peak_resident_bytes() as f64 / MIB;
    println!(
        "{step:<28} {ids:>10} {cpu:>8.2} {written:>12} {:>10.0} {runs:>5} {peak:>9.0}",
        disk as f64 / MIB
    );
}

fn seconds(clock: &mut KernelClock, began_micros: u64) -> f64 {
    (clock.cpu_micros() - began_micros) as f64 / 1e6
}

fn id_of(number: u64) -> Id {
    Id(*blake3::hash(&number.to_le_bytes()).as_bytes())
}

/// What this process has passed to `write` so far.
fn written_bytes() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").unwrap();
    io.lines()
        .find_map(|line| line.strip_prefix("wchar: "))
        .unwrap()
        .trim()
        .parse()
        .unwrap()
}

fn bytes_below(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap());
    entries
        .map(|entry| {
            if entry.path().is_dir() {
                bytes_below(&entry.path())
            } else {
                entry.metadata().unwrap().len()
            }
        })
        .sum()
}
