// SPDX-License-Identifier: GPL-3.0-or-later
//! The index of ids over many sessions: no id is forgotten, and the number of files stays small.

use wyng_archive::crypto::Id;
use wyng_engine::cache::{Index, Location, PacksAtHand, Stored};
use wyng_engine::world::Files;
use wyng_tests::memory_world::{Durable, MemoryWorld};

fn id(number: u64) -> Id {
    Id(*blake3::hash(&number.to_le_bytes()).as_bytes())
}

fn location(number: u64) -> Location {
    Location {
        pack: number,
        offset_bytes: 1,
        length_bytes: 2,
        stored: Stored::Chunk { key: 3 },
    }
}

#[test]
fn an_index_of_many_sessions_finds_every_id_in_at_most_four_files() {
    let mut world = MemoryWorld::new(Durable::default(), 1);
    let folder = "cache";
    let mut index = Index::create(folder);
    let mut count = 0;
    for session in 0..20_u64 {
        // Large and small sessions in turns.
        let end = count + if session % 5 == 0 { 700 } else { 40 };
        for number in count..end {
            index
                .insert(&mut world.files, id(number), location(number))
                .unwrap();
        }
        count = end;
        let files = index.settle(&mut world.files).unwrap();
        index.remove_unlisted(&mut world.files).unwrap();
        assert!(files.len() <= 4, "{files:?} after session {session}");
        assert_eq!(
            world.files.list(folder).unwrap().len(),
            files.len(),
            "no other file stays"
        );
        index = Index::open(&mut world.files, folder, &files)
            .unwrap()
            .unwrap();
        for number in 0..count {
            assert_eq!(
                index.find(&mut world.files, &id(number)).unwrap(),
                Some(location(number)),
                "{number} after session {session}"
            );
        }
        assert_eq!(index.find(&mut world.files, &id(count)).unwrap(), None);
    }
}

#[test]
fn an_id_is_known_only_by_the_packs_that_the_head_has_in_use() {
    let mut world = MemoryWorld::new(Durable::default(), 1);
    let files = &mut world.files;
    let mut index = Index::create("cache");
    for pack in 1..=5 {
        index.insert(files, id(7), location(pack)).unwrap();
        if pack == 2 {
            // Places in files count as those in memory do.
            index.settle(files).unwrap();
        }
    }
    let mut pack_of = |present: &[u64], end| {
        index.set_packs(PacksAtHand {
            end,
            present: present.iter().copied().collect(),
        });
        let found = index.find(files, &id(7)).unwrap();
        let (best, others) = index.find_copies(files, &id(7)).unwrap();
        assert_eq!(found, best);
        assert!(
            others
                .iter()
                .all(|copy| present.contains(&copy.pack) || copy.pack >= end)
        );
        found.map(|location| location.pack)
    };
    assert_eq!(pack_of(&[1, 2, 3, 4, 5], 6), Some(1));
    assert_eq!(pack_of(&[2, 4], 6), Some(2));
    assert_eq!(pack_of(&[4], 6), Some(4));
    assert_eq!(pack_of(&[], 6), None);
    assert_eq!(pack_of(&[], 5), Some(5), "newer than the head");
    assert_eq!(pack_of(&[1], 6), Some(1), "it was made live again");
}

#[test]
fn a_merge_leaves_out_the_places_in_packs_whose_entries_left_the_pack_table() {
    let mut world = MemoryWorld::new(Durable::default(), 1);
    let files = &mut world.files;
    let mut index = Index::create("cache");
    // Pack 1 was given up and has an entry; pack 5 is newer than the head; the others are dropped.
    index.set_packs(PacksAtHand::default());
    index.set_entered(PacksAtHand {
        end: 5,
        present: [1].into(),
    });
    for pack in 1..=5 {
        index.insert(files, id(7), location(pack)).unwrap();
        index.insert(files, id(pack), location(pack)).unwrap();
        index.settle(files).unwrap();
    }
    let (best, others) = index.find_copies(files, &id(7)).unwrap();
    assert_eq!((best, others), (Some(location(1)), vec![location(5)]));
    assert_eq!(index.find(files, &id(1)).unwrap(), Some(location(1)));
    assert_eq!(index.find(files, &id(3)).unwrap(), None);
    assert_eq!(index.places_at_most(), 4);
}
