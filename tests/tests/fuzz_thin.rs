// SPDX-License-Identifier: GPL-3.0-or-later
//! The reader of thin metadata over pools of a kernel's that were changed and then sealed again, so
//! that every checksum is right: links that lead anywhere, counts and keys of any size. The reader
//! ends, with ranges in order or with an error, and never goes in circles.
//!
//! `WYNG_FUZZ_SEED` repeats a run's choices, and `WYNG_FUZZ_SECS` makes it longer.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use wyng_tests::thin_image::{ThinImage, seal};
use wyng_thin::{Block, Metadata};

const USUAL_SECS: u64 = 3;
/// A walk over a pool of this few blocks that reads more of them goes in circles.
const READS_MAX: u64 = 200_000;

struct Chance(u64);

impl Chance {
    fn bits(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.bits() % end as u64).unwrap()
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}

/// Changes a block where it hurts: its header, a key, a child, or any byte.
fn harm(chance: &mut Chance, block: &mut Block, numbers: &[u64]) {
    match chance.below(6) {
        0 => block[4] = chance.pick(&[0, 1, 2, 3]),
        1 => {
            let count = chance.pick(&[0, 1, 126, 252, 253, 65_535, u32::MAX]);
            let place = chance.pick(&[16, 20, 24]);
            block[place..place + 4].copy_from_slice(&count.to_le_bytes());
        }
        2 => {
            let place = 32 + chance.below(508) * 8;
            block[place..place + 8].copy_from_slice(&chance.pick(numbers).to_le_bytes());
        }
        3 => {
            let place = 32 + chance.below(508) * 8;
            let word = chance.pick(&[0, 1, u64::MAX, u64::MAX - 1, 1 << 40]);
            block[place..place + 8].copy_from_slice(&word.to_le_bytes());
        }
        4 => {
            // Another child in the place of this one.
            let (from, to) = (chance.below(252) * 8, chance.below(252) * 8);
            block.copy_within(2_048 + from..2_056 + from, 2_048 + to);
        }
        _ => block[chance.below(4_092) + 4] = chance.bits().to_le_bytes()[0],
    }
}

#[test]
fn no_metadata_makes_the_reader_panic_run_in_circles_or_report_out_of_order() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seed: u64 = number("WYNG_FUZZ_SEED").unwrap_or(now.subsec_nanos().into());
    let until =
        Instant::now() + Duration::from_secs(number("WYNG_FUZZ_SECS").unwrap_or(USUAL_SECS));
    let mut chance = Chance(seed | 1);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/thin");
    let pools: Vec<ThinImage> = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| ThinImage::load(&file.unwrap().path()))
        .collect();
    let (mut rounds, mut ended_well, mut ended_in_error) = (0, 0_u64, 0_u64);
    while rounds < 200 || Instant::now() < until {
        rounds += 1;
        let image = &pools[chance.below(pools.len())];
        let (pair, _) = image.deltas[chance.below(image.deltas.len())];
        let numbers: Vec<u64> = image.blocks.keys().copied().collect();
        let mut changed = std::collections::BTreeMap::new();
        for _ in 0..=chance.below(8) {
            let number = chance.pick(&numbers);
            let mut block = *changed.entry(number).or_insert(image.blocks[&number]);
            harm(&mut chance, &mut block, &numbers);
            seal(&mut block, number == image.held_root);
            changed.insert(number, block);
        }
        let mut reads = 0;
        let read = |number: u64, block: &mut Block| {
            reads += 1;
            assert!(reads < READS_MAX, "the walk has no end (seed {seed})");
            match changed.get(&number) {
                Some(sound) => *block = *sound,
                None => image.read(number, block),
            }
            Ok::<(), ()>(())
        };
        let mut end = 0;
        let walked = Metadata::open(read, image.held_root).and_then(|mut metadata| {
            metadata.details(pair[0])?;
            metadata.differences(pair[0], pair[1], u64::MAX, &mut |range, _| {
                assert!(range.start >= end && range.end > range.start, "seed {seed}");
                end = range.end;
                Ok(())
            })
        });
        match walked {
            Ok(()) => ended_well += 1,
            Err(_) => ended_in_error += 1,
        }
    }
    eprintln!("{rounds} pools, {ended_well} read, {ended_in_error} refused, seed {seed}");
    assert!(ended_well > 0 && ended_in_error > 0, "seed {seed}");
}
