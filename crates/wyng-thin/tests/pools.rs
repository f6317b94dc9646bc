// SPDX-License-Identifier: GPL-3.0-or-later
//! The reader over pools that are computed: equal to plain maps, cheap where volumes share, and
//! deaf to damage.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test that cannot go on has failed"
)]

mod common;

use std::collections::BTreeMap;
use std::ops::Range;

use common::{Block, Pool, kind_of, seal};
use proptest::prelude::*;
use wyng_thin::{Difference, Error, Metadata};

const ALL: u64 = u64::MAX;

fn read(pool: &Pool) -> impl FnMut(u64, &mut Block) -> Result<(), u64> {
    |number, block| {
        *block = *pool
            .blocks
            .get(usize::try_from(number).unwrap())
            .ok_or(number)?;
        Ok(())
    }
}

type Ranges = Vec<(Range<u64>, Difference)>;

fn differences(
    pool: &Pool,
    held: u64,
    old: u64,
    new: u64,
    end: u64,
) -> Result<(Ranges, u64), Error<u64>> {
    let mut metadata = Metadata::open(read(pool), held)?;
    let mut found = Vec::new();
    metadata.differences(old, new, end, &mut |range, difference| {
        found.push((range, difference));
        Ok(())
    })?;
    Ok((found, metadata.blocks_read()))
}

fn mapped(pool: &Pool, held: u64, id: u64, end: u64) -> Result<Vec<Range<u64>>, Error<u64>> {
    let mut found = Vec::new();
    Metadata::open(read(pool), held)?.mapped(id, end, &mut |range| {
        found.push(range);
        Ok(())
    })?;
    Ok(found)
}

/// The same by plain maps.
fn expected(
    old: &BTreeMap<u64, u64>,
    new: &BTreeMap<u64, u64>,
    end: u64,
) -> Vec<(u64, Difference)> {
    let keys: std::collections::BTreeSet<u64> = old
        .keys()
        .chain(new.keys())
        .copied()
        .filter(|key| *key < end)
        .collect();
    keys.into_iter()
        .filter(|key| old.get(key) != new.get(key))
        .map(|key| {
            (
                key,
                if new.contains_key(&key) {
                    Difference::Mapped
                } else {
                    Difference::Unmapped
                },
            )
        })
        .collect()
}

fn single(ranges: &Ranges) -> Vec<(u64, Difference)> {
    ranges
        .iter()
        .flat_map(|(range, difference)| range.clone().map(|key| (key, *difference)))
        .collect()
}

#[test]
fn a_volume_of_many_mappings_and_its_snapshot_cost_only_what_changed() {
    let mut pool = Pool::new(126);
    let map: BTreeMap<u64, u64> = (0..100_000).map(|key| (key, key + 500_000)).collect();
    pool.add(1, &map);
    pool.devices.insert(2, pool.devices[&1]);
    for key in [10, 50_000, 99_999] {
        pool.set(2, key, Some(key + 900_000));
    }
    let held = pool.finish();
    let (found, read) = differences(&pool, held, 1, 2, ALL).unwrap();
    assert_eq!(single(&found).len(), 3);
    assert!(
        read < 40,
        "{read} of {} blocks were read",
        pool.blocks.len()
    );
}

#[test]
fn equal_neighbours_are_one_range() {
    let mut pool = Pool::new(4);
    pool.add(1, &BTreeMap::new());
    pool.add(2, &(5..105).map(|key| (key, key)).collect());
    let held = pool.finish();
    assert_eq!(
        differences(&pool, held, 1, 2, ALL).unwrap().0,
        [(5..105, Difference::Mapped)]
    );
    assert_eq!(
        differences(&pool, held, 2, 1, ALL).unwrap().0,
        [(5..105, Difference::Unmapped)]
    );
    assert_eq!(
        mapped(&pool, held, 2, 50).unwrap(),
        std::slice::from_ref(&(5..50))
    );
}

#[test]
fn details_are_found_by_device_and_a_device_that_is_not_there_is_named() {
    let mut pool = Pool::new(4);
    pool.add(7, &BTreeMap::new());
    let held = pool.finish();
    let mut metadata = Metadata::open(read(&pool), held).unwrap();
    let details = metadata.details(7).unwrap();
    assert_eq!((details.mapped_blocks, details.transaction_id), (70, 1007));
    assert_eq!(metadata.details(8), Err(Error::NoDevice(8)));
    assert_eq!(metadata.superblock().data_block_bytes, 65536);
    assert_eq!(
        Metadata::open(read(&pool), 0)
            .ok()
            .unwrap()
            .superblock()
            .held_root,
        held
    );
}

#[test]
fn a_block_of_another_place_is_damage_though_its_checksum_is_right() {
    let mut pool = Pool::new(4);
    pool.add(1, &(0..64).map(|key| (key, key)).collect());
    let held = pool.finish();
    pool.blocks[3] = pool.blocks[2];
    assert!(matches!(
        mapped(&pool, held, 1, ALL),
        Err(Error::Damaged { block: 3, .. })
    ));
}

#[test]
fn a_pool_that_needs_a_check_or_has_unknown_flags_is_refused() {
    for (offset, value) in [(4, 1_u32), (4, 2), (40, 3), (360, 1)] {
        let mut pool = Pool::new(4);
        pool.add(1, &BTreeMap::new());
        let held = usize::try_from(pool.finish()).unwrap();
        pool.blocks[held][offset..offset + 4].copy_from_slice(&value.to_le_bytes());
        let kind = kind_of(&pool, held);
        seal(&mut pool.blocks[held], kind);
        assert!(
            matches!(
                Metadata::open(read(&pool), held as u64),
                Err(Error::Unsupported(_))
            ),
            "{offset}"
        );
    }
}

#[test]
fn a_failure_to_read_and_a_visitor_that_stops_are_passed_on() {
    let mut pool = Pool::new(4);
    pool.add(1, &(0..64).map(|key| (key, key)).collect());
    let held = pool.finish();
    let mut metadata = Metadata::open(read(&pool), held).unwrap();
    assert_eq!(
        metadata.mapped(1, ALL, &mut |_| Err(99)),
        Err(Error::Caller(99))
    );
    let failing = |number: u64, block: &mut Block| {
        if number == 2 {
            Err(5)
        } else {
            read(&pool)(number, block)
        }
    };
    assert_eq!(
        Metadata::open(failing, held)
            .unwrap()
            .mapped(1, ALL, &mut |_| Ok(())),
        Err(Error::Caller(5))
    );
}

/// Few keys, so that volumes meet.
fn map() -> impl Strategy<Value = BTreeMap<u64, u64>> {
    prop::collection::btree_map(0..400_u64, 0..1000_u64, 0..200)
}

proptest! {
    #[test]
    fn two_volumes_differ_as_their_maps_do(
        old in map(),
        new in map(),
        fan_out in 3..12_usize,
        end in 0..500_u64,
    ) {
        let mut pool = Pool::new(fan_out);
        pool.add(1, &old);
        pool.add(2, &new);
        let held = pool.finish();
        let (found, _) = differences(&pool, held, 1, 2, end).unwrap();
        prop_assert_eq!(single(&found), expected(&old, &new, end));
        let kept: Vec<u64> = mapped(&pool, held, 2, end).unwrap().into_iter().flatten().collect();
        prop_assert_eq!(kept, new.keys().copied().filter(|key| *key < end).collect::<Vec<_>>());
    }

    #[test]
    fn a_snapshot_and_its_origin_differ_by_what_was_written_and_cost_no_more(
        origin in map(),
        writes in prop::collection::vec(
            (0..400_u64, prop::option::weighted(0.8, 1000..2000_u64), any::<bool>()),
            0..40,
        ),
        fan_out in 3..12_usize,
    ) {
        let mut pool = Pool::new(fan_out);
        pool.add(1, &origin);
        pool.devices.insert(2, pool.devices[&1]);
        let mut maps = [origin.clone(), origin];
        let before = pool.blocks.len();
        for (key, value, in_new) in &writes {
            pool.set(if *in_new { 2 } else { 1 }, *key, *value);
            match value {
                Some(value) => drop(maps[usize::from(*in_new)].insert(*key, *value)),
                None => drop(maps[usize::from(*in_new)].remove(key)),
            }
        }
        let written = pool.blocks.len() - before;
        let held = pool.finish();
        let (found, blocks_read) = differences(&pool, held, 1, 2, ALL).unwrap();
        prop_assert_eq!(single(&found), expected(&maps[0], &maps[1], ALL));
        // Superblock, two look-ups, two ways down, then what was copied and its counterparts.
        let most = 24 + 8 * written as u64;
        prop_assert!(blocks_read <= most, "{blocks_read} blocks for {written} that were written");
    }

    #[test]
    fn a_flipped_bit_anywhere_is_an_error_or_lies_where_nothing_is_read(
        origin in map(),
        at in any::<prop::sample::Index>(),
        bit in 0..8_u8,
    ) {
        let mut pool = Pool::new(5);
        pool.add(1, &origin);
        let held = pool.finish();
        let sound = mapped(&pool, held, 1, ALL).unwrap();
        let place = at.index(pool.blocks.len() * 4096);
        pool.blocks[place / 4096][place % 4096] ^= 1 << bit;
        match mapped(&pool, held, 1, ALL) {
            Err(Error::Damaged { block, .. }) => prop_assert_eq!(block, (place / 4096) as u64),
            Ok(found) => prop_assert_eq!(found, sound),
            Err(other) => prop_assert!(false, "{:?}", other),
        }
    }

    /// Right checksums over wrong contents: what a fuzzer finds behind the checksum.
    #[test]
    fn sealed_nonsense_ends_in_an_error_and_never_in_a_panic_or_a_wrong_order(
        origin in map(),
        changes in prop::collection::vec(
            (any::<prop::sample::Index>(), 4..4096_usize, any::<u8>()),
            1..30,
        ),
    ) {
        let mut pool = Pool::new(5);
        pool.add(1, &origin);
        pool.devices.insert(2, pool.devices[&1]);
        pool.set(2, 3, Some(7));
        let held = pool.finish();
        for (which, at, value) in changes {
            let number = which.index(pool.blocks.len());
            pool.blocks[number][at % 700 + 4] = value;
            let kind = kind_of(&pool, number);
            seal(&mut pool.blocks[number], kind);
        }
        if let Ok((found, _)) = differences(&pool, held, 1, 2, ALL) {
            prop_assert!(found.windows(2).all(|pair| pair[0].0.end <= pair[1].0.start));
        }
    }
}
