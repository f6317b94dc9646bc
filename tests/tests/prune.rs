// SPDX-License-Identifier: GPL-3.0-or-later
//! Pruning, over a world in memory: a dry run says what the run does, every session that is kept
//! restores whatever interrupts the run, and nothing in a pack that was given up is used again.

use std::collections::BTreeSet;
use std::sync::Arc;

use wyng_archive::crypto::{DataKey, Id};
use wyng_archive::format::{
    ContentTree, KeysTree, Node, PackState, SessionEntry, SessionsTree, Shape, VolumeEntry,
    VolumesTree, depth_for,
};
use wyng_archive::plan::Nodes;
use wyng_archive::plan::giving_up::{Copy, alive_copies};
use wyng_control::{
    ExitStatus, Failure, JudgedSession, KeepReason, KeepRules, PruneReport, PruneRules, RemovedFor,
    SessionChoice, SessionFate, ToClient,
};
use wyng_engine::archive::Archive;
use wyng_engine::cache::Location;
use wyng_engine::prune::{self, PruneRequest};
use wyng_engine::space::{CopyTimes, Roots, alive_packs, mark_alive};
use wyng_engine::state::{Origins, PackNote};
use wyng_engine::store::packs_of;
use wyng_engine::{admin, restore, verify};
use wyng_tests::engine::{
    Reported, back_up, create_request, cut_everywhere, fingerprint, reported,
};
use wyng_tests::memory_world::{Durable, MemoryFiles, MemoryWorld};
use wyng_tests::sandbox::noise;

const DAY: u64 = 86_400;
const CHUNK: usize = 4096;

/// An archive with a past, and what each of its sessions must restore.
#[derive(Clone)]
struct History {
    durable: Durable,
    sources: Vec<Vec<u8>>,
    sessions: Vec<Reported>,
    /// Seconds since the first second of all worlds.
    now: u64,
    /// How far the wall clock is ahead of the true time, seconds.
    wall_ahead_secs: i64,
    key: Option<Arc<DataKey>>,
}

impl History {
    /// A new archive whose sessions must reach this age before a prune may remove them.
    fn new(minimum_age_secs: u64, sources: Vec<Vec<u8>>) -> Self {
        let mut world = MemoryWorld::observed(Durable::default(), 1);
        let mut request = create_request();
        request.settings.minimum_age_secs = minimum_age_secs;
        admin::create(&mut world, &request).unwrap();
        let mut history = Self {
            durable: world.end(),
            sources,
            sessions: Vec::new(),
            now: 10,
            wall_ahead_secs: 0,
            key: None,
        };
        let mut world = history.world();
        let mut archive = world.open_archive("home").unwrap();
        history.key = Some(Arc::new(archive.unlock(&mut world).unwrap()));
        history
    }

    /// The machine as it is now.
    fn world(&self) -> MemoryWorld {
        self.world_of(self.durable.clone())
    }

    fn world_of(&self, durable: Durable) -> MemoryWorld {
        let mut world = MemoryWorld::observed(durable, self.now);
        world.clock.jump(self.wall_ahead_secs);
        world.volumes.sources.clone_from(&self.sources);
        world.secrets.kept_key.clone_from(&self.key);
        world
    }

    /// Backs up all sources, after this time.
    fn back_up_after(&mut self, secs: u64) {
        self.now += secs;
        let mut world = self.world();
        back_up(&mut world).unwrap();
        self.sessions.extend(reported(&world));
        self.durable = world.end();
    }

    /// Changes a chunk of a source.
    fn change(&mut self, source: usize, chunk: usize, seed: u64) {
        let begin = chunk * CHUNK;
        self.sources[source][begin..begin + CHUNK].copy_from_slice(&noise(CHUNK, seed));
    }

    /// One session a day, each with a chunk of its own in place of another one.
    fn daily(&mut self, days: u64) {
        for _ in 0..days {
            let seed = self.now + 1;
            let chunks = self.sources[0].len() / CHUNK;
            self.change(0, usize::try_from(seed).unwrap() / 7 % chunks, seed);
            self.back_up_after(DAY);
        }
    }

    /// Prunes now; what was reported.
    fn prune(&mut self, rules: &PruneRules) -> Heard {
        self.now += 60;
        let mut world = self.world();
        let heard = prune_in(&mut world, rules, false).unwrap();
        self.durable = world.end();
        self.keep(&heard);
        heard
    }

    /// From now on only the sessions that a prune kept are expected.
    fn keep(&mut self, heard: &Heard) {
        let removed = heard.removed();
        self.sessions
            .retain(|session| !removed.contains(&(session.volume.clone(), session.time)));
    }

    /// Every session that is expected restores although the blobs of the packs that were given up
    /// are gone, and nothing is damaged.
    fn assert_whole(&self) {
        self.assert_restores(&without_given_up(self, &self.durable));
    }

    /// The same on a machine that adopts the archive.
    fn assert_whole_elsewhere(&self) {
        let elsewhere = Durable {
            store: without_given_up(self, &self.durable).store,
            ..Durable::default()
        };
        let mut world = self.world_of(elsewhere);
        wyng_tests::engine::adopt(&mut world).unwrap();
        self.assert_restores(&world.end());
    }

    fn assert_restores(&self, durable: &Durable) {
        for session in &self.sessions {
            let mut world = self.world_of(durable.clone());
            let request = restore::RestoreRequest {
                archive: "home".into(),
                volumes: vec![session.volume.clone()],
                session: SessionChoice::Prefix(name(session.time)),
                in_place: false,
                quick: false,
                dry_run: false,
                around_damage: false,
                origins: Origins::default(),
            };
            let exit = restore::restore(&mut world, &request);
            let (volume, time) = (&session.volume, name(session.time));
            assert_eq!(exit, Ok(ExitStatus::Done), "{volume} {time}");
            assert!(
                world.volumes.placed[&0] == session.content,
                "{volume} {time}"
            );
        }
        let mut world = self.world_of(durable.clone());
        let request = verify::VerifyRequest {
            archive: "home".into(),
            volumes: Vec::new(),
            session: None,
            deep: true,
            budget_bytes: None,
        };
        let exit = verify::verify(&mut world, &request);
        assert_eq!(exit, Ok(ExitStatus::Done), "{:?}", world.client.told);
    }

    /// Notes that a pack is lost, as a verify does.
    fn note_lost(&mut self, pack: u64) {
        let mut world = self.world();
        let mut archive = world.open_archive("home").unwrap();
        archive.ledger.notes.packs.insert(pack, PackNote::Lost);
        let folder = archive.folder.clone();
        archive.ledger.write(&mut world.files, &folder).unwrap();
        self.durable = world.end();
    }
}

/// A store without the blobs of the packs that were given up.
fn without_given_up(history: &History, durable: &Durable) -> Durable {
    let mut world = history.world_of(durable.clone());
    let mut archive = world.open_archive("home").unwrap();
    let mut left = durable.clone();
    for entry in packs_of(&mut world.files, &mut archive).unwrap().values() {
        if entry.state.given_up().is_some() {
            assert!(left.store.remove(&entry.name.0).is_some());
        }
    }
    left
}

/// The numbers of the packs in this state.
fn packs_that(history: &History, is: impl Fn(PackState) -> bool) -> BTreeSet<u64> {
    let mut world = history.world();
    let mut archive = world.open_archive("home").unwrap();
    let packs = packs_of(&mut world.files, &mut archive).unwrap();
    let fitting = packs.iter().filter(|(_, entry)| is(entry.state));
    fitting.map(|(number, _)| *number).collect()
}

fn name(time: i64) -> String {
    jiff::Timestamp::from_second(time).unwrap().to_string()
}

/// What a prune reported.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Heard {
    sessions: Vec<JudgedSession>,
    totals: PruneReport,
}

impl Heard {
    fn of(world: &MemoryWorld) -> Self {
        let sessions = world.client.told.iter().filter_map(|event| match event {
            ToClient::Judged(session) => Some(session.clone()),
            _ => None,
        });
        let totals = world.client.told.iter().find_map(|event| match event {
            ToClient::Pruned(totals) => Some(*totals),
            _ => None,
        });
        Self {
            sessions: sessions.collect(),
            totals: totals.expect("the totals"),
        }
    }

    fn removed(&self) -> BTreeSet<(String, i64)> {
        let is_removed = |session: &&JudgedSession| matches!(session.fate, SessionFate::Removed(_));
        let removed = self.sessions.iter().filter(is_removed);
        removed
            .map(|session| (session.volume.clone(), session.session))
            .collect()
    }

    /// The same, as a dry run.
    fn dry(mut self) -> Self {
        self.totals.dry_run = true;
        self
    }
}

fn prune_in(world: &mut MemoryWorld, rules: &PruneRules, dry_run: bool) -> Result<Heard, Failure> {
    let request = PruneRequest {
        archive: "home".into(),
        volumes: Vec::new(),
        rules: rules.clone(),
        dry_run,
        unattended: false,
        trust_clock: false,
    };
    let exit = prune::prune(world, &request)?;
    assert_eq!(exit, ExitStatus::Done, "{:?}", world.client.told);
    Ok(Heard::of(world))
}

fn keep(keep: KeepRules) -> PruneRules {
    PruneRules {
        keep,
        ..PruneRules::default()
    }
}

fn keep_last(last: u32) -> PruneRules {
    keep(KeepRules {
        last,
        ..KeepRules::default()
    })
}

fn keep_daily(daily: u32) -> PruneRules {
    keep(KeepRules {
        daily,
        ..KeepRules::default()
    })
}

/// Numbers that follow from a seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    fn small(&mut self) -> u32 {
        u32::try_from(self.below(4)).unwrap()
    }

    fn rules(&mut self) -> PruneRules {
        let mut rules = keep(KeepRules {
            last: self.small(),
            hourly: self.small(),
            daily: self.small(),
            weekly: self.small(),
            monthly: self.small(),
            yearly: self.small(),
            within_secs: self.below(3) * DAY,
            tags: Vec::new(),
        });
        if rules.keep.is_empty() {
            rules.keep.last = 1;
        }
        if self.below(3) == 0 {
            rules.of_volumes.push((
                "volume 1".into(),
                KeepRules {
                    last: 1,
                    ..KeepRules::default()
                },
            ));
        }
        rules
    }
}

/// An archive with a past of two volumes: gaps from minutes to weeks, jumps of the wall clock,
/// shared chunks, content that comes back, pins.
fn random_history(chance: &mut Chance) -> History {
    let sources = vec![noise(10 * CHUNK, 1), noise(5 * CHUNK, 2)];
    let mut history = History::new(chance.below(3) * DAY, sources);
    for _ in 0..4 + chance.below(8) {
        for _ in 0..chance.below(4) {
            let source = usize::try_from(chance.below(2)).unwrap();
            let chunks = (history.sources[source].len() / CHUNK) as u64;
            let chunk = usize::try_from(chance.below(chunks)).unwrap();
            history.change(source, chunk, 100 + chance.below(12));
        }
        if chance.below(6) == 0 {
            history.wall_ahead_secs += (i64::try_from(chance.below(20)).unwrap() - 10) * 40_000_000;
        }
        let gap = [600, 7200, DAY, 3 * DAY, 9 * DAY][usize::try_from(chance.below(5)).unwrap()];
        history.back_up_after(gap);
        if chance.below(5) == 0 {
            let mut world = history.world();
            let latest = SessionChoice::Latest;
            prune::pin(&mut world, "home", "volume 0", &latest, true).unwrap();
            history.durable = world.end();
        }
    }
    history
}

#[test]
fn a_dry_run_reports_just_what_the_run_does_and_the_next_run_removes_nothing() {
    let mut freed = 0;
    for seed in 0..16 {
        let mut chance = Chance(seed);
        let mut history = random_history(&mut chance);
        let rules = chance.rules();
        history.now += chance.below(20) * DAY;
        let mut world = history.world();
        let before = world.end();
        let dry = prune_in(&mut world, &rules, true).unwrap();
        assert!(world.end() == before, "a dry run changes nothing");
        history.now -= 60;
        let heard = history.prune(&rules);
        freed += heard.totals.freed_bytes;
        assert_eq!(heard.clone().dry(), dry, "seed {seed}");
        let given_up = packs_that(&history, |state| state.given_up().is_some());
        assert_eq!(given_up.is_empty(), heard.totals.waiting_bytes == 0);
        history.assert_whole();
        let again = history.prune(&rules);
        assert_eq!(again.removed(), BTreeSet::new(), "seed {seed}");
        let before = history.durable.store.len();
        history.prune(&rules);
        let third = history.durable.store.len();
        assert_eq!(third, before, "seed {seed}: prunes do not go on for ever");
        history.back_up_after(60);
        history.assert_whole();
        if seed % 4 == 0 {
            history.assert_whole_elsewhere();
        }
    }
    assert!(freed > 0, "no history had anything to free");
}

#[test]
fn exactly_those_records_are_alive_that_a_plain_walk_of_each_session_that_stays_reaches() {
    let (mut dead, mut doubled) = (0, 0);
    for seed in 0..24 {
        let mut chance = Chance(1000 + seed);
        let mut history = random_history(&mut chance);
        if chance.below(2) == 0 {
            let live = packs_that(&history, |state| state == PackState::Live);
            // The first packs have the most that is still needed.
            let chosen = usize::try_from(chance.below(3)).unwrap();
            let pack = *live.iter().nth(chosen).unwrap();
            if chance.below(2) == 0 {
                history.send_again(pack);
            } else {
                history.note_lost(pack);
            }
        }
        if chance.below(2) == 0 {
            history.prune(&chance.rules());
        }
        let salt = chance.below(1 << 20);
        let stays = |volume: &VolumeEntry, session: &SessionEntry| {
            let hash = (session.time.unsigned_abs() ^ salt).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            volume.name == "volume 1" || hash >> 62 != 0
        };
        let copy = |pack| Copy {
            pack,
            came_secs: pack,
            read_whole_secs: (pack % 2 == salt % 2).then_some(1 << 20),
        };
        let mut world = history.world();
        let mut archive = world.open_archive("home").unwrap();
        let plain = plain_marks(&mut world, &mut archive, &stays, &copy);
        let all = plain_marks(&mut world, &mut archive, &|_, _| true, &copy);
        dead += all.len() - plain.len();
        doubled += usize::from(plain_ids(&mut world, &mut archive, &stays).len() < plain.len());
        let world = &mut *world;
        let (files, client) = (&mut world.files, &mut world.client);
        let roots = Roots::of_head(files, &mut archive, &mut |volume, session| {
            stays(volume, session)
        });
        let roots = roots.unwrap();
        let marked = mark_alive(files, client, &archive, &roots, &copy).unwrap();
        let packs = alive_packs(files, client, &archive, &roots, &copy).unwrap();
        let of_pack = |pack| {
            let offsets = marked.of(pack).unwrap().offsets.iter();
            offsets.map(move |offset| (pack, *offset))
        };
        let found: BTreeSet<(u64, u32)> = marked.packs().flat_map(of_pack).collect();
        assert_eq!(found, plain, "seed {seed}");
        assert_eq!(packs.packs, marked.packs().collect(), "seed {seed}");
        assert_eq!((marked.unknown, packs.unknown), (0, 0), "seed {seed}");
    }
    assert!(dead > 10 && doubled > 1, "{dead} {doubled}");
}

/// The places of [`plain_ids`], by the rule for copies.
fn plain_marks(
    world: &mut MemoryWorld,
    archive: &mut Archive,
    stays: &dyn Fn(&VolumeEntry, &SessionEntry) -> bool,
    copy: &dyn Fn(u64) -> Copy,
) -> BTreeSet<(u64, u32)> {
    let mut marks = BTreeSet::new();
    for id in plain_ids(world, archive, stays) {
        let index = &archive.cache.index;
        let (best, others) = index.find_copies(&mut world.files, &id).unwrap();
        let mut places: Vec<Location> = best.into_iter().chain(others).collect();
        assert!(!places.is_empty());
        if places.iter().any(|place| !index.is_lost(place)) {
            places.retain(|place| !index.is_lost(place));
            let copies: Vec<Copy> = places.iter().map(|place| copy(place.pack)).collect();
            let alive = alive_copies(&copies);
            places.retain(|place| alive.contains(&place.pack));
        }
        marks.extend(places.iter().map(|place| (place.pack, place.offset_bytes)));
    }
    marks
}

/// The ids of all nodes and chunks that the sessions that stay and the tables of the head reach,
/// tree by tree.
fn plain_ids(
    world: &mut MemoryWorld,
    archive: &mut Archive,
    stays: &dyn Fn(&VolumeEntry, &SessionEntry) -> bool,
) -> BTreeSet<Id> {
    let mut ids = BTreeSet::new();
    let head = archive.head.clone();
    let files = &mut world.files;
    let (volumes, keys) = (&head.volumes, &head.keys);
    ids_below::<VolumesTree>(files, archive, (volumes.size, volumes.root), &mut ids);
    ids_below::<KeysTree>(files, archive, (keys.size, keys.root), &mut ids);
    for (_, volume) in archive.volumes(files).unwrap() {
        let table = (volume.sessions_size, Some(volume.sessions_root));
        ids_below::<SessionsTree>(files, archive, table, &mut ids);
        for session in archive.sessions(files, &volume).unwrap() {
            if stays(&volume, &session) {
                let content = (session.chunk_count(), Some(session.root));
                for id in ids_below::<ContentTree>(files, archive, content, &mut ids) {
                    ids.insert(id);
                }
                ids.extend(&session.settings);
            }
        }
    }
    ids
}

/// Adds the ids of a tree's nodes, and gives its entries.
fn ids_below<S: Shape<Child = Id>>(
    files: &mut MemoryFiles,
    archive: &mut Archive,
    (size, root): (u64, Option<Id>),
    ids: &mut BTreeSet<Id>,
) -> Vec<S::Value> {
    let mut entries = Vec::new();
    let Some(level) = depth_for(size).checked_sub(1) else {
        return entries;
    };
    let root = root.filter(|root| *root != Id::ZERO);
    let mut open: Vec<(Id, u8, u64)> = root.map(|root| (root, level, size)).into_iter().collect();
    while let Some((id, level, room)) = open.pop() {
        ids.insert(id);
        let node: Node<S> = archive.nodes(files).load(&id, level, room).unwrap();
        match node {
            Node::Leaf(values) => entries.extend(values.into_iter().flatten()),
            Node::Inner { level, children } => {
                for (slot, child) in (0..).zip(children.iter()) {
                    let begin = slot * 32u64.pow(level.into());
                    open.extend(child.map(|child| (child, level - 1, room - begin)));
                }
            }
        }
    }
    entries
}

/// What a kill at each call of a prune leaves: the sessions that are kept restore, and so does what
/// the next commands make of it.
fn assert_survives_every_kill(history: &History, rules: &PruneRules) {
    let after = {
        let mut after = history.clone();
        after.prune(rules);
        after
    };
    let start = || {
        let mut world = history.world();
        world.clock.pass(60);
        world
    };
    let run = |world: &mut MemoryWorld| prune_in(world, rules, false).map(drop);
    let mut tried = BTreeSet::new();
    cut_everywhere(start, run, |n, killed| {
        for chance in [n.wrapping_mul(0x9e37_79b9_7f4a_7c15), 0] {
            let (durable, _) = killed.crash(chance);
            if !tried.insert(fingerprint(&durable, 0)) {
                continue;
            }
            let mut cut = History {
                durable,
                ..after.clone()
            };
            // Whatever the next command is, it works: a backup that finds the prune half done, or
            // the same prune again.
            let mut backed_up = cut.clone();
            backed_up.back_up_after(3600);
            backed_up.assert_whole();
            cut.prune(rules);
            assert_eq!(cut.sessions.len(), after.sessions.len(), "at call {n}");
            if tried.len() % 4 == 0 {
                cut.assert_whole();
            }
        }
    });
    assert!(tried.len() > 5, "{}", tried.len());
}

#[test]
fn a_prune_that_is_killed_at_any_call_leaves_every_session_that_it_keeps() {
    let mut history = History::new(0, vec![noise(6 * CHUNK, 1), noise(3 * CHUNK, 2)]);
    history.daily(6);
    // The content of a session that goes comes back with the next backup.
    let first = history.sessions[0].content.clone();
    history.sources[0] = first;
    assert_survives_every_kill(&history, &keep_last(2));
}

#[test]
fn a_prune_of_more_packs_than_one_commit_has_room_for_is_made_in_steps_and_survives_every_kill() {
    let mut history = History::new(0, vec![noise(2 * CHUNK, 1)]);
    for number in 0..360 {
        history.change(0, 1, 1000 + number);
        history.back_up_after(3600);
    }
    let generation = |history: &History| {
        let mut world = history.world();
        world.open_archive("home").unwrap().head.generation
    };
    let mut whole = history.clone();
    let heard = whole.prune(&keep_last(2));
    assert_eq!(heard.removed().len(), 358);
    assert!(
        generation(&whole) > generation(&history) + 2,
        "one commit had room for it: the test needs more packs"
    );
    whole.assert_whole_elsewhere();
    assert_survives_every_kill(&history, &keep_last(2));
}

#[test]
fn what_only_a_given_up_pack_holds_is_sent_again() {
    let mut history = History::new(0, vec![noise(8 * CHUNK, 1)]);
    history.back_up_after(DAY);
    let first = history.sources[0].clone();
    history.sources[0] = noise(8 * CHUNK, 2);
    history.back_up_after(DAY);
    let heard = history.prune(&keep_last(1));
    assert_eq!(heard.removed().len(), 1);
    assert!(heard.totals.freed_bytes > 0);
    history.sources[0] = first;
    history.back_up_after(DAY);
    history.assert_whole();
}

#[test]
fn a_table_that_is_as_it_was_before_is_written_anew_if_its_pack_goes() {
    // Without its newest session the table has just the entries that it had before.
    let mut history = History::new(0, vec![noise(3 * CHUNK, 1)]);
    history.back_up_after(DAY);
    // A commit whose pack has tables alone.
    let mut world = history.world();
    let latest = SessionChoice::Latest;
    prune::pin(&mut world, "home", "volume 0", &latest, true).unwrap();
    history.durable = world.end();
    for seed in 0..5 {
        history.change(0, 0, 10 + seed);
        history.back_up_after(DAY);
        let gone = history.sessions.pop().unwrap();
        let mut world = history.world();
        let named = [SessionChoice::Prefix(name(gone.time))];
        prune::remove_sessions(&mut world, "home", "volume 0", &named, false).unwrap();
        history.durable = world.end();
        history.assert_whole();
    }
    history.assert_whole_elsewhere();
    let given_up = packs_that(&history, |state| state.given_up().is_some());
    assert!(!given_up.is_empty());
}

#[test]
fn a_table_that_is_as_it_was_before_is_written_anew_if_its_pack_goes_with_a_later_commit() {
    let mut history = History::new(0, vec![noise(2 * CHUNK, 1)]);
    history.back_up_after(DAY);
    // A commit whose pack has just the table to which the removal leads back.
    let mut world = history.world();
    prune::pin(&mut world, "home", "volume 0", &SessionChoice::Latest, true).unwrap();
    history.durable = world.end();
    for number in 0..360 {
        history.change(0, 1, 1000 + number);
        history.back_up_after(3600);
    }
    let gone = history.sessions.split_off(1);
    let named = gone
        .iter()
        .map(|session| SessionChoice::Prefix(name(session.time)));
    let named: Vec<SessionChoice> = named.collect();
    let mut world = history.world();
    let before = world.open_archive("home").unwrap().head.generation;
    prune::remove_sessions(&mut world, "home", "volume 0", &named, false).unwrap();
    history.durable = world.end();
    let after = history
        .world()
        .open_archive("home")
        .unwrap()
        .head
        .generation;
    assert!(
        after > before + 2,
        "one commit had room for it: the test needs more packs"
    );
    history.assert_whole();
    history.assert_whole_elsewhere();
}

#[test]
fn a_damaged_cache_is_no_loss_of_the_store_even_beside_a_lost_pack() {
    let mut history = History::new(0, vec![noise(6 * CHUNK, 1)]);
    history.back_up_after(DAY);
    let first = packs_that(&history, |_| true);
    history.back_up_after(DAY);
    history.note_lost(*first.first().unwrap());
    let nodes = |path: &&String| path.contains("cache") && path.ends_with("nodes");
    let path = history.durable.files.keys().find(nodes).unwrap().clone();
    for byte in history.durable.files.get_mut(&path).unwrap() {
        *byte ^= 1;
    }
    let mut world = history.world();
    let pruned = prune_in(&mut world, &keep_last(1), false);
    assert!(matches!(pruned, Err(Failure::CacheLost)), "{pruned:?}");
}

#[test]
fn a_settled_commit_that_gave_packs_up_counts_at_once() {
    let mut history = History::new(0, vec![noise(8 * CHUNK, 1)]);
    history.back_up_after(DAY);
    let first = history.sources[0].clone();
    history.sources[0] = noise(8 * CHUNK, 2);
    history.back_up_after(DAY);
    // The content of the session that goes is backed up by the very command that finds the prune's
    // commit pending.
    history.sources[0] = first;
    let rules = keep_last(1);
    let mut kept = history.clone();
    kept.prune(&rules);
    let run = |world: &mut MemoryWorld| prune_in(world, &rules, false).map(drop);
    let mut pending = 0;
    cut_everywhere(
        || history.world(),
        run,
        |_, killed| {
            let (durable, _) = killed.crash(0);
            let mut cut = History {
                durable,
                ..kept.clone()
            };
            let archive = cut.world().open_archive("home");
            pending += usize::from(archive.is_ok_and(|archive| archive.ledger.pending().is_some()));
            cut.back_up_after(60);
            cut.assert_whole();
        },
    );
    assert!(pending > 0);
}

impl History {
    /// A pack seems to be lost and its records are sent again; then it is whole after all.
    fn send_again(&mut self, pack: u64) {
        self.note_lost(pack);
        self.back_up_after(DAY);
        let mut world = self.world();
        let mut archive = world.open_archive("home").unwrap();
        archive.ledger.notes.packs.insert(pack, PackNote::Sound);
        let folder = archive.folder.clone();
        archive.ledger.write(&mut world.files, &folder).unwrap();
        self.durable = world.end();
        self.back_up_after(DAY);
    }
}

#[test]
fn both_copies_of_an_id_are_kept_until_the_pack_that_counts_is_proven_whole_since() {
    let mut history = History::new(0, vec![noise(6 * CHUNK, 1)]);
    history.back_up_after(DAY);
    let before = packs_that(&history, |state| state == PackState::Live);
    let first = *before.first().unwrap();
    history.send_again(first);
    let live = packs_that(&history, |state| state == PackState::Live);
    assert!(live.contains(&first));
    history.prune(&keep_last(5));
    history.prune(&keep_last(5));
    let chunks = packs_with_chunks(&history);
    assert!(chunks.len() > 1, "{chunks:?}");
    let live = packs_that(&history, |state| state == PackState::Live);
    assert!(chunks.is_subset(&live), "{chunks:?} {live:?}");
    // A later reading that finds everything whole lets the later copies go, and no more than them.
    history.now += 2 * DAY;
    let mut world = history.world();
    let request = verify::VerifyRequest {
        archive: "home".into(),
        volumes: Vec::new(),
        session: None,
        deep: false,
        budget_bytes: None,
    };
    assert_eq!(verify::verify(&mut world, &request), Ok(ExitStatus::Done));
    history.durable = world.end();
    history.prune(&keep_last(5));
    assert_eq!(packs_with_chunks(&history), BTreeSet::from([first]));
    history.assert_whole();
}

/// Numbers of the packs in which a chunk of the newest session of the first volume is alive.
fn packs_with_chunks(history: &History) -> BTreeSet<u64> {
    use wyng_archive::plan::{Root, Walk};
    let mut world = history.world();
    let mut archive = world.open_archive("home").unwrap();
    let volumes = archive.volumes(&mut world.files).unwrap();
    let sessions = archive.sessions(&mut world.files, &volumes[0].1).unwrap();
    let newest = sessions.last().unwrap();
    let root = Root {
        size: newest.chunk_count(),
        child: Some(newest.root),
    };
    let mut walk = Walk::<ContentTree>::from(&root, 0);
    let mut ids = Vec::new();
    while let Some((_, id)) = walk.next(&mut archive.nodes(&mut world.files)).unwrap() {
        ids.push(id);
    }
    let world = &mut *world;
    let (files, client) = (&mut world.files, &mut world.client);
    let roots = Roots::of_head(files, &mut archive, &mut |_, _| true).unwrap();
    let times = CopyTimes::of(files, &archive, u64::MAX).unwrap();
    let copy = |pack| times.copy(pack);
    let alive = mark_alive(files, client, &archive, &roots, &copy).unwrap();
    let mut packs = BTreeSet::new();
    for id in ids {
        let (best, others) = archive.cache.index.find_copies(files, &id).unwrap();
        let places = best.into_iter().chain(others);
        let in_alive = |place: &Location| {
            let pack = alive.of(place.pack);
            pack.is_some_and(|pack| pack.offsets.contains(&place.offset_bytes))
        };
        packs.extend(places.filter(in_alive).map(|place| place.pack));
    }
    packs
}

#[test]
fn a_damaged_session_fills_no_place_and_its_removal_is_named() {
    let mut history = History::new(0, vec![noise(6 * CHUNK, 1)]);
    history.back_up_after(DAY);
    history.back_up_after(DAY);
    // All of the third session is its own, and lost.
    let before = packs_that(&history, |_| true);
    history.sources[0] = noise(6 * CHUNK, 7);
    history.back_up_after(DAY);
    let own: Vec<u64> = packs_that(&history, |_| true)
        .difference(&before)
        .copied()
        .collect();
    let lost = history.sessions.pop().unwrap();
    history.sources[0] = noise(6 * CHUNK, 8);
    history.back_up_after(DAY);
    history.note_lost(own[0]);
    // A timer removes none: a store that hides a pack for a while must not bring that about.
    let mut world = history.world();
    let by_timer = PruneRequest {
        archive: "home".into(),
        volumes: Vec::new(),
        rules: keep_last(2),
        dry_run: true,
        unattended: true,
        trust_clock: false,
    };
    prune::prune(&mut world, &by_timer).unwrap();
    assert_eq!(
        Heard::of(&world).sessions[2].fate,
        SessionFate::Kept(vec![KeepReason::Damaged])
    );
    let heard = history.prune(&keep_last(2));
    let fates: Vec<&SessionFate> = heard.sessions.iter().map(|judged| &judged.fate).collect();
    let kept = |judged: &SessionFate| matches!(judged, SessionFate::Kept(_));
    assert_eq!(fates.len(), 4);
    assert!(
        !kept(fates[0]) && kept(fates[1]) && kept(fates[3]),
        "{fates:?}"
    );
    assert_eq!(heard.sessions[2].session, lost.time);
    assert_eq!(*fates[2], SessionFate::Removed(RemovedFor::Damaged));
    let SessionFate::Kept(reasons) = fates[3] else {
        panic!("{fates:?}")
    };
    assert!(reasons.contains(&KeepReason::Newest) && reasons.contains(&KeepReason::Last));
}

#[test]
fn a_clock_that_jumps_ten_years_either_way_removes_nothing_more() {
    for years in [10, -10] {
        let removed = |jump: i64, at: &[u64]| {
            let mut history = History::new(2 * DAY, vec![noise(3 * CHUNK, 1)]);
            for day in 0..12 {
                if at.contains(&day) {
                    history.wall_ahead_secs += jump;
                }
                history.daily(1);
            }
            let heard = history.prune(&keep_daily(4));
            history.assert_whole();
            let fates = heard.sessions.iter().map(|judged| &judged.fate);
            let removed = fates
                .enumerate()
                .filter(|(_, fate)| matches!(fate, SessionFate::Removed(_)));
            removed.map(|(place, _)| place).collect::<BTreeSet<_>>()
        };
        let jump = years * 365 * 86_400;
        let calm = removed(0, &[]);
        assert_eq!(calm.len(), 8);
        for at in [&[3][..], &[11], &[2, 5, 9]] {
            assert!(
                removed(jump, at).is_subset(&calm),
                "{years} years at {at:?}"
            );
        }
    }
}

#[test]
fn two_months_of_daily_prunes_keep_what_the_rules_say_and_little_else() {
    let mut history = History::new(7 * DAY, vec![noise(40 * CHUNK, 1)]);
    let rules = keep(KeepRules {
        daily: 7,
        weekly: 4,
        monthly: 6,
        ..KeepRules::default()
    });
    let mut heard = None;
    for day in 0..60 {
        for chunk in 0..6 {
            history.change(
                0,
                (day * 5 + chunk * 7) % 40,
                1000 + (day * 10 + chunk) as u64,
            );
        }
        history.back_up_after(DAY - 60);
        heard = Some(history.prune(&rules));
    }
    let kept = heard.unwrap().sessions.len();
    assert!((9..=16).contains(&kept), "{kept} sessions");
    assert_eq!(history.sessions.len(), kept);
    history.assert_whole_elsewhere();
    let live = packs_that(&history, |state| state == PackState::Live).len();
    assert!(live < 60, "{live} packs");
}

#[test]
fn a_prune_without_a_rule_is_refused() {
    let mut history = History::new(0, vec![noise(CHUNK, 1)]);
    history.back_up_after(DAY);
    let mut world = history.world();
    let refused = prune_in(&mut world, &PruneRules::default(), false);
    assert_eq!(refused.map(drop), Err(Failure::NoRules));
    assert_eq!(world.end(), history.durable);
}

#[test]
fn nothing_younger_than_the_minimum_age_goes_but_by_hand() {
    let mut history = History::new(7 * DAY, vec![noise(3 * CHUNK, 1)]);
    history.daily(10);
    let heard = history.prune(&keep_last(1));
    assert_eq!(heard.removed().len(), 3, "{:?}", heard.sessions);
    history.assert_whole();
    let young = history.sessions.remove(2);
    let mut world = history.world();
    let named = [SessionChoice::Prefix(name(young.time))];
    prune::remove_sessions(&mut world, "home", "volume 0", &named, false).unwrap();
    history.durable = world.end();
    history.assert_whole();
}

#[test]
fn a_pinned_session_is_removed_by_nobody_until_it_is_unpinned() {
    let mut history = History::new(0, vec![noise(3 * CHUNK, 1)]);
    history.daily(4);
    let (pinned, choice) = {
        let time = history.sessions[0].time;
        (time, SessionChoice::Prefix(name(time)))
    };
    let pin = |history: &mut History, is: bool| {
        let mut world = history.world();
        prune::pin(&mut world, "home", "volume 0", &choice, is).unwrap();
        history.durable = world.end();
    };
    pin(&mut history, true);
    let heard = history.prune(&keep_last(1));
    assert_eq!(heard.removed().len(), 2);
    assert_eq!(
        heard.sessions[0].fate,
        SessionFate::Kept(vec![KeepReason::Pinned])
    );
    let mut world = history.world();
    let named = [choice.clone()];
    let refused = prune::remove_sessions(&mut world, "home", "volume 0", &named, false);
    let failure = Failure::SessionPinned {
        volume: "volume 0".into(),
        session: name(pinned),
    };
    assert_eq!(refused, Err(failure.clone()));
    let refused = prune::remove_volume(&mut world, "home", "volume 0", false);
    assert_eq!(refused, Err(failure));
    pin(&mut history, false);
    assert_eq!(history.prune(&keep_last(1)).removed().len(), 1);
    history.assert_whole();
}

#[test]
fn a_volume_without_its_base_session_is_read_whole_and_restores() {
    let mut history = History::new(0, vec![noise(6 * CHUNK, 1)]);
    history.daily(3);
    let newest = history.sessions.pop().unwrap();
    let mut world = history.world();
    let named = [SessionChoice::Latest];
    prune::remove_sessions(&mut world, "home", "volume 0", &named, false).unwrap();
    let heard = Heard::of(&world);
    assert_eq!(
        heard.sessions[2].fate,
        SessionFate::Removed(RemovedFor::Asked {
            newest: true,
            last_sound: false
        })
    );
    assert_eq!(heard.sessions[2].session, newest.time);
    history.durable = world.end();
    history.back_up_after(DAY);
    history.assert_whole();
}

#[test]
fn a_removed_volume_begins_anew_under_its_name() {
    let mut history = History::new(0, vec![noise(6 * CHUNK, 1), noise(4 * CHUNK, 2)]);
    history.daily(3);
    let mut world = history.world();
    prune::remove_volume(&mut world, "home", "volume 0", false).unwrap();
    assert!(Heard::of(&world).totals.freed_bytes > 0);
    history.durable = world.end();
    history
        .sessions
        .retain(|session| session.volume != "volume 0");
    history.assert_whole();
    history.back_up_after(DAY);
    history.assert_whole();
    let mut world = history.world();
    let mut archive = world.open_archive("home").unwrap();
    let volumes = archive.volumes(&mut world.files).unwrap();
    let numbers: Vec<u64> = volumes.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, [1, 2], "no number is given twice");
}

#[test]
fn another_machine_that_takes_over_in_the_middle_finishes_the_prune() {
    let mut history = History::new(0, vec![noise(4 * CHUNK, 1)]);
    history.daily(6);
    let rules = keep_last(2);
    let mut kept = history.clone();
    kept.prune(&rules);
    let run = |world: &mut MemoryWorld| prune_in(world, &rules, false).map(drop);
    let mut tried = BTreeSet::new();
    cut_everywhere(
        || history.world(),
        run,
        |n, killed| {
            let (left, _) = killed.crash(0);
            if !tried.insert(fingerprint(&left, 0)) {
                return;
            }
            let elsewhere = Durable {
                store: left.store.clone(),
                ..Durable::default()
            };
            let mut other = History {
                durable: elsewhere,
                ..kept.clone()
            };
            let mut world = other.world();
            wyng_tests::engine::adopt(&mut world).unwrap();
            admin::take_over(&mut world, "home", admin::OtherWriter::MayWrite).unwrap();
            other.durable = world.end();
            other.prune(&rules);
            other.assert_whole();
            // The first machine writes nothing over it.
            let first = Durable {
                store: other.durable.store.clone(),
                ..left
            };
            let mut world = history.world_of(first);
            let failed = prune_in(&mut world, &rules, false).map(drop);
            assert!(
                matches!(
                    failed,
                    Err(Failure::Forked { .. } | Failure::CommitUnsettled { .. })
                ) || failed.is_ok(),
                "at call {n}: {failed:?}"
            );
            let (store, _) = world.crash(0);
            let unchanged = History {
                durable: Durable {
                    store: store.store,
                    ..other.durable.clone()
                },
                ..other.clone()
            };
            unchanged.assert_whole();
        },
    );
}
