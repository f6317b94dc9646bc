// SPDX-License-Identifier: GPL-3.0-or-later
//! `list --sizes` and `why` against a count of every id, one by one.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use wyng_archive::crypto::Id;
use wyng_archive::format::{ContentTree, SessionEntry};
use wyng_archive::plan::{Root, mark};
use wyng_control::SpaceReport;
use wyng_engine::archive::Archive;
use wyng_engine::look::{self, SizedVolume};
use wyng_engine::{admin, verify};
use wyng_tests::engine::{CHUNK, back_up, create_request, cut_everywhere, made};
use wyng_tests::memory_world::{Durable, MemoryWorld};
use wyng_tests::sandbox::noise;

/// More than the ids of every archive here.
const ALL_IDS: u64 = 1 << 20;

/// Numbers that follow from a seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> usize {
        self.0 = self
            .0
            .wrapping_mul(0x5851_f42d_4c95_7f2d)
            .wrapping_add(0x1405_7b7e_f767_814f);
        usize::try_from((self.0 >> 33) % bound).unwrap()
    }
}

/// Content with holes, repeated chunks, chunks of other volumes, and chunks that come back.
fn changed(mut content: Vec<u8>, chance: &mut Chance) -> Vec<u8> {
    let chunk = CHUNK as usize;
    match chance.below(8) {
        0 => content.resize(content.len() + chance.below(40) * chunk / 2, 7),
        1 => content.truncate(content.len().saturating_sub(chance.below(5) * 1000).max(10)),
        _ => {}
    }
    let chunks = content.len().div_ceil(chunk) as u64;
    for _ in 0..chance.below(6) {
        let begin = chance.below(chunks) * chunk;
        let end = (begin + chunk).min(content.len());
        let new = match chance.below(3) {
            0 => vec![0; chunk],
            1 => noise(chunk, chance.below(5) as u64),
            _ => noise(chunk, 1000 + chance.below(1 << 30) as u64),
        };
        content[begin..end].copy_from_slice(&new[..end - begin]);
    }
    content
}

/// An archive of two volumes with several sessions of each.
fn archive_with_history(seed: u64, shared_domain: bool) -> Durable {
    let mut world = MemoryWorld::new(Durable::default(), seed);
    let mut request = create_request();
    request.settings.shared_domain = shared_domain;
    admin::create(&mut world, &request).unwrap();
    let mut durable = world.end();
    let mut chance = Chance(seed);
    let mut sources = vec![noise(150_000, seed), noise(90_000, seed)];
    for run in 0..6 {
        let mut world = MemoryWorld::new(durable, seed * 100 + run);
        sources = sources
            .into_iter()
            .map(|source| changed(source, &mut chance))
            .collect();
        world.volumes.sources = sources.clone();
        back_up(&mut world).unwrap();
        durable = world.end();
    }
    durable
}

/// Every id that a session reaches, and its bytes that are no holes.
fn reached(
    world: &mut MemoryWorld,
    archive: &mut Archive,
    session: &SessionEntry,
) -> (BTreeSet<[u8; 32]>, u64) {
    let root = Root {
        size: session.chunk_count(),
        child: (session.root != Id::ZERO).then_some(session.root),
    };
    let mut nodes = HashSet::new();
    let mut ids = BTreeSet::new();
    mark::<ContentTree, _, _, _>(
        &root,
        &mut archive.nodes(&mut world.files),
        &mut |id| nodes.insert(*id),
        &mut |id| {
            ids.insert(id.0);
            Ok(())
        },
    )
    .unwrap();
    ids.extend(nodes.into_iter().map(|id| id.0));
    let mut walk = wyng_archive::plan::Walk::<ContentTree>::from(&root, 0);
    let mut data_bytes = 0;
    while let Some((index, _)) = walk.next(&mut archive.nodes(&mut world.files)).unwrap() {
        data_bytes += u64::from(session.chunk_bytes(index));
    }
    (ids, data_bytes)
}

fn length(world: &mut MemoryWorld, archive: &Archive, ids: impl Iterator<Item = [u8; 32]>) -> u64 {
    ids.map(|id| {
        let place = archive.cache.index.find(&mut world.files, &Id(id)).unwrap();
        u64::from(place.unwrap().length_bytes)
    })
    .sum()
}

/// Compares the sizes with those of a count of every id.
fn assert_as_counted(world: &mut MemoryWorld, archive: &mut Archive, sized: &[SizedVolume]) {
    let mut owners: BTreeMap<[u8; 32], (BTreeSet<u64>, BTreeSet<usize>)> = BTreeMap::new();
    let mut sets = Vec::new();
    for (number, volume) in sized.iter().enumerate() {
        for (session, sizes) in &volume.sessions {
            let (ids, data_bytes) = reached(world, archive, session);
            assert_eq!(sizes.data_bytes, data_bytes);
            for id in &ids {
                let (sessions, volumes) = owners.entry(*id).or_default();
                sessions.insert(sets.len() as u64);
                volumes.insert(number);
            }
            sets.push(ids);
        }
    }
    let all = sized.iter().flat_map(|volume| &volume.sessions);
    for ((_, sizes), ids) in all.zip(&sets) {
        assert_eq!(
            sizes.stored_bytes,
            length(world, archive, ids.iter().copied())
        );
        let unique = ids.iter().copied().filter(|id| owners[id].0.len() == 1);
        assert_eq!(sizes.unique_bytes, length(world, archive, unique));
    }
    for (number, volume) in sized.iter().enumerate() {
        let of_it = |id: &[u8; 32]| owners[id].1.contains(&number);
        let ids: Vec<_> = owners.keys().copied().filter(|id| of_it(id)).collect();
        assert_eq!(
            volume.sizes.stored_bytes,
            length(world, archive, ids.iter().copied())
        );
        let unique = ids.into_iter().filter(|id| owners[id].1.len() == 1);
        assert_eq!(volume.sizes.unique_bytes, length(world, archive, unique));
    }
}

fn sizes(
    world: &mut MemoryWorld,
    archive: &mut Archive,
    only: Option<&str>,
    ids_a_part: u64,
) -> Vec<SizedVolume> {
    let world = &mut **world;
    look::sizes(
        &mut world.files,
        &mut world.client,
        archive,
        only,
        ids_a_part,
    )
    .unwrap()
}

fn space(world: &mut MemoryWorld, ids_a_part: u64) -> (SpaceReport, Vec<SizedVolume>) {
    let mut archive = world.open_archive("home").unwrap();
    let world = &mut **world;
    look::space(
        &mut world.files,
        &mut world.client,
        &mut archive,
        ids_a_part,
    )
    .unwrap()
}

fn all_sizes(volumes: &[SizedVolume]) -> Vec<String> {
    volumes
        .iter()
        .map(|volume| {
            let sessions: Vec<_> = volume.sessions.iter().map(|(_, sizes)| sizes).collect();
            format!("{:?} {sessions:?}", volume.sizes)
        })
        .collect()
}

fn assert_sum(report: &SpaceReport, volumes: &[SizedVolume]) {
    let unique: u64 = volumes.iter().map(|volume| volume.sizes.unique_bytes).sum();
    let parts = [
        unique,
        report.shared_bytes,
        report.metadata_bytes,
        report.dead_bytes,
        report.filler_bytes,
        report.waiting_bytes,
        report.lost_bytes,
    ];
    assert_eq!(
        parts.iter().sum::<u64>(),
        report.stored_bytes,
        "{report:?} {unique}"
    );
}

#[test]
fn sizes_are_those_of_a_count_of_every_id_in_any_number_of_parts() {
    let mut shared = 0;
    for seed in 1..=6 {
        let durable = archive_with_history(seed, seed % 2 == 0);
        let mut world = MemoryWorld::new(durable, 5000 + seed);
        let mut archive = world.open_archive("home").unwrap();
        let whole = sizes(&mut world, &mut archive, None, ALL_IDS);
        assert_as_counted(&mut world, &mut archive, &whole);
        for ids_a_part in [1, 7, 50] {
            let parts = sizes(&mut world, &mut archive, None, ids_a_part);
            assert_eq!(
                all_sizes(&parts),
                all_sizes(&whole),
                "{ids_a_part} ids a part"
            );
        }
        for volume in &whole {
            let name = volume.volume.name.as_str();
            let alone = sizes(&mut world, &mut archive, Some(name), ALL_IDS);
            assert_eq!(all_sizes(&alone), all_sizes(std::slice::from_ref(volume)));
        }
        shared += whole
            .iter()
            .map(|volume| volume.sizes.stored_bytes - volume.sizes.unique_bytes)
            .sum::<u64>();
    }
    assert!(shared > 0, "no two volumes share anything");
}

#[test]
fn the_parts_of_the_store_add_up_to_its_packs() {
    for seed in 1..=4 {
        let durable = archive_with_history(seed, seed % 2 == 0);
        let mut world = MemoryWorld::new(durable, 5000 + seed);
        let (report, volumes) = space(&mut world, ALL_IDS);
        assert_sum(&report, &volumes);
        let (in_parts, _) = space(&mut world, 11);
        assert_eq!(in_parts, report);
        // Older roots of the tables are needed by nothing.
        assert!(
            report.dead_bytes > 0 && report.metadata_bytes > 0,
            "{report:?}"
        );
        assert_eq!((report.waiting_packs, report.lost_packs), (0, 0));
    }
}

#[test]
fn the_parts_add_up_after_any_killed_backup_too() {
    let start = || {
        let mut world = MemoryWorld::new(made(), 10);
        world.volumes.sources = vec![noise(150_000, 3)];
        world
    };
    let mut states = 0;
    cut_everywhere(start, back_up, |call, killed| {
        let (durable, _) = killed.crash(call);
        let mut world = MemoryWorld::new(durable, 20);
        let (report, volumes) = space(&mut world, ALL_IDS);
        assert_sum(&report, &volumes);
        world.volumes.sources = vec![noise(150_000, 3)];
        back_up(&mut world).unwrap();
        let (report, volumes) = space(&mut world, ALL_IDS);
        assert_sum(&report, &volumes);
        states += 1;
    });
    assert!(states > 10, "{states}");
}

#[test]
fn lost_packs_are_a_part_of_their_own() {
    let mut durable = archive_with_history(1, false);
    let (before, _) = space(&mut MemoryWorld::new(durable.clone(), 30), ALL_IDS);
    let largest = durable
        .store
        .iter()
        .max_by_key(|(_, blob)| blob.len())
        .map(|(name, blob)| (*name, blob.len() as u64))
        .unwrap();
    durable.store.remove(&largest.0);
    let mut world = MemoryWorld::new(durable, 31);
    let request = verify::VerifyRequest {
        archive: "home".into(),
        volumes: Vec::new(),
        session: None,
        deep: false,
        budget_bytes: None,
    };
    let failure = verify::verify(&mut world, &request).unwrap_err();
    assert_eq!(failure.code(), "problems-found");
    let (report, volumes) = space(&mut world, ALL_IDS);
    assert_eq!((report.lost_bytes, report.lost_packs), (largest.1, 1));
    assert_eq!(report.stored_bytes, before.stored_bytes);
    assert_sum(&report, &volumes);
}
