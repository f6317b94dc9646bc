// SPDX-License-Identifier: GPL-3.0-or-later
//! Builds the cache anew from the store: directories and nodes of all packs. No chunk is read.

use std::collections::{BTreeMap, BTreeSet};

use wyng_archive::crypto::{Coder, Credential, Kind};
use wyng_archive::format::{Commit, Malformed, Node, PackEntry, PackState, PacksTree, Place};
use wyng_archive::plan::{PacksError, read_packs};
use wyng_archive::{Class, Damage, Fault};
use wyng_control::{Failure, Phase, Problem, Progress, ToClient};

use super::metadata::{MetadataReads, Opener, ReadPack};
use super::whole::show_sound_version;
use crate::archive::open_commit;
use crate::cache::Cache;
use crate::older::with_older;
use crate::outcome::{damaged, internal};
use crate::state::{ArchiveFolder, Ledger, Notes, PackNote};
use crate::world::{Client, Files, Parts, Store, World};

/// The cache that is in use while a new one is built.
pub(crate) struct OldCache {
    cache: Cache,
    /// Numbers of packs from this one on may have been given again since.
    packs_end: u64,
}

impl OldCache {
    /// The old cache, if there is one: if it is damaged or missing, nothing is kept.
    pub(crate) fn open(
        files: &mut impl Files,
        credential: &Credential,
        folder: &ArchiveFolder,
        ledger: &Ledger,
    ) -> Option<Self> {
        let head = ledger.head()?;
        let commit = open_commit(credential, &mut Coder::new(0).ok()?, head).ok()?;
        let cache = Cache::open(files, &folder.cache(ledger.cache)).ok()??;
        Some(Self {
            cache,
            packs_end: commit.next_pack(),
        })
    }
}

/// Builds index and nodes anew in a folder of the state: the pack table from right to left, then of
/// each pack in use its directory and its nodes; a pack that was given up may be gone. A pack that
/// was given up in favour of others is read too: it becomes live again if one of them is lost. A
/// directory or node that cannot be read comes from the old cache, as far as its ids fit. A pack
/// that cannot be read is noted. It is also reported, unless the archive marks it lost already; the
/// number of packs that were reported is returned.
pub(crate) fn rebuild<P: Parts>(
    world: &mut World<P>,
    credential: &Credential,
    folder: &str,
    head: &Commit,
    notes: &mut Notes,
    mut old: Option<&mut OldCache>,
) -> Result<u64, Failure> {
    let mut coder = Coder::new(0).map_err(|_| Failure::OutOfMemory)?;
    let packs = read_pack_table(world, credential, &mut coder, head, old.as_deref_mut())?;
    // Damage of packs that went meanwhile is nobody's: no verify would find them sound again.
    notes.packs.retain(|number, _| {
        let entry = packs.get(number);
        entry.is_some_and(|entry| entry.state.given_up().is_none())
    });
    let mut cache = Cache::create(&mut world.files, folder)?;
    let (mut done_bytes, total_bytes) = (0u64, packs.len() as u64);
    let (mut bad, mut read_count) = (Vec::new(), 0usize);
    let (mut packs, mut reads) = (packs.into_iter(), MetadataReads::default());
    loop {
        while reads.has_room()
            && let Some((number, entry)) = packs.next()
        {
            match entry.state {
                PackState::Live => {}
                PackState::Lost => drop(notes.packs.entry(number).or_insert(PackNote::Lost)),
                PackState::GivenUp(given_up) if given_up.heirs.is_some() => {}
                PackState::GivenUp(_) | PackState::Going(_) => continue,
            }
            read_count = read_count.saturating_add(1);
            reads.begin(&mut world.store, number, &entry)?;
        }
        if world.client.cancelled() {
            return Err(Failure::Interrupted);
        }
        let Some((pack, damage)) = reads.next(&mut world.store, credential, &mut coder)? else {
            break;
        };
        let (number, state) = (pack.number, pack.entry.state);
        if state.given_up().is_some() && damage.is_some() {
            // It may be gone or damaged: nothing needs it unless an heir is lost.
            continue;
        }
        cache.add_pack(&mut world.files, &pack)?;
        bad.extend(damage.map(|problem| BadPack {
            number,
            entry: pack.entry,
            problem,
        }));
        done_bytes = done_bytes.saturating_add(1);
        world.client.progress(Progress {
            phase: Phase::Loading,
            volume: None,
            done_bytes,
            total_bytes,
            sent_bytes: 0,
        });
    }
    let found = |bad: &&BadPack| bad.entry.state != PackState::Lost;
    let problems = bad.iter().filter(found).count();
    let note = PackNote::of_damage(problems, read_count);
    notes
        .packs
        .extend(bad.iter().filter(found).map(|bad| (bad.number, note)));
    let mut unread = read_older_versions(world, credential, &mut coder, &mut cache, bad)?;
    if let Some(old) = old.filter(|_| !unread.is_empty()) {
        unread.retain(|number| *number < old.packs_end);
        let keeps = |pack: u64| unread.contains(&pack);
        match cache.keep_packs(&mut world.files, credential, &old.cache, &keeps) {
            Ok(()) | Err(Failure::CacheLost) => {}
            Err(failure) => return Err(failure),
        }
    }
    cache.save(&mut world.files, head.generation, head.next_pack())?;
    Ok(problems as u64)
}

/// A pack whose metadata the store does not serve whole.
struct BadPack {
    number: u64,
    entry: PackEntry,
    problem: Problem,
}

/// Takes into the cache the metadata of packs of which the store has a sound older version, and
/// reports every pack that the archive does not mark lost already. Returns the numbers of those
/// that cannot be read. Nothing may be requested and not answered.
fn read_older_versions<P: Parts>(
    world: &mut World<P>,
    credential: &Credential,
    coder: &mut Coder,
    cache: &mut Cache,
    bad: Vec<BadPack>,
) -> Result<BTreeSet<u64>, Failure> {
    let mut unread = BTreeSet::new();
    for BadPack {
        number,
        entry,
        mut problem,
    } in bad
    {
        if show_sound_version(&mut world.store, &entry, &mut |_| {})? {
            let (pack, _) = read_pack(&mut world.store, credential, coder, number, &entry)?;
            cache.add_pack(&mut world.files, &pack)?;
            problem.problem = with_older(&problem.problem);
        } else {
            unread.insert(number);
        }
        if entry.state != PackState::Lost {
            world.client.tell(ToClient::Problem(problem))?;
        }
    }
    Ok(unread)
}

/// All packs of the head, by number: the pack table read from the store, or node by node from the
/// old cache where the store's copy is missing or damaged.
fn read_pack_table<P: Parts>(
    world: &mut World<P>,
    credential: &Credential,
    coder: &mut Coder,
    head: &Commit,
    mut old: Option<&mut OldCache>,
) -> Result<BTreeMap<u64, PackEntry>, Failure> {
    let mut opener = Opener { credential, coder };
    let load = &mut |pack: &PackEntry,
                     place: &Place,
                     level: u8,
                     room: u64|
     -> Result<Node<PacksTree>, Failure> {
        let plain = match (
            read_record(&mut world.store, &mut opener, pack, place),
            old.as_mut(),
        ) {
            (Err(failure @ (Failure::Missing { .. } | Failure::Damaged { .. })), Some(old)) => old
                .cache
                .node(&mut world.files, credential, &place.id)?
                .ok_or(failure)?,
            (read, _) => read?,
        };
        Node::decode(&plain, level, room).map_err(|Malformed(rule)| {
            damaged(&Damage::new(Class::Node, place.id.0, Fault::Shape(rule)))
        })
    };
    read_packs(head, load).map_err(|error| match error {
        PacksError::Damage(damage) => damaged(&damage),
        PacksError::Nodes(failure) => failure,
    })
}

/// A pack's directory and nodes as far as they can be read, and the problem if they cannot.
pub(crate) fn read_pack(
    store: &mut impl Store,
    credential: &Credential,
    coder: &mut Coder,
    number: u64,
    entry: &PackEntry,
) -> Result<ReadPack, Failure> {
    let mut reads = MetadataReads::default();
    reads.begin(store, number, entry)?;
    let read = reads.next(store, credential, coder)?;
    read.ok_or_else(|| internal("a pack that was asked for did not come"))
}

/// Reads and opens one record of metadata; where it is missing or damaged, in a sound older version
/// of its pack.
fn read_record<S: Store>(
    store: &mut S,
    opener: &mut Opener<'_>,
    pack: &PackEntry,
    place: &Place,
) -> Result<Vec<u8>, Failure> {
    let refuse = |fault| damaged(&Damage::new(Class::Pack, pack.name.0, fault));
    if !pack.contains(place.offset_bytes, place.length_bytes) {
        return Err(refuse(Fault::Place));
    }
    let mut read = |store: &mut S| {
        store.request(pack.name, place.offset_bytes, place.length_bytes)?;
        let record = store.answer()?.or_fault().map_err(refuse)?;
        opener.open(Kind::Node, &place.id, record.as_ref())
    };
    match read(store) {
        Err(Failure::Missing { .. } | Failure::Damaged { .. })
            if show_sound_version(store, pack, &mut |_| {})? =>
        {
            read(store)
        }
        read => read,
    }
}
