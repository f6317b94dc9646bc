// SPDX-License-Identifier: GPL-3.0-or-later
//! Deletions where little else works: in a full store, in an archive that nobody backs up to any
//! more, and in a store that refuses to read and to delete for a month.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use wyng_archive::crypto::{DataKey, slot_name};
use wyng_archive::format::SlotKind;
use wyng_control::{
    CopyReport, ExitStatus, Failure, KeepRules, PruneRules, SessionChoice, ToClient, WaitReason,
};
use wyng_engine::cache::Location;
use wyng_engine::prune::{self, PruneRequest};
use wyng_engine::space::{self, CompactRequest, UndeleteRequest};
use wyng_engine::{admin, copy, look, observe_clock};
use wyng_tests::disk::SmallDisk;
use wyng_tests::engine::{Reported, adopt, assert_whole, back_up, create_request, reported};
use wyng_tests::memory_world::{Durable, MemoryFiles, MemoryWorld};
use wyng_tests::require::{Component, require};
use wyng_tests::sandbox::{Sandbox, noise};
use wyng_wire::{RESERVE_BYTES, Service};

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;
const MIB: usize = 1 << 20;

/// An archive with the hold-off and the minimum age of a real one, and its sessions.
struct History {
    durable: Durable,
    sessions: Vec<Reported>,
    /// True time, seconds since the first second of all worlds.
    now: u64,
    capacity_bytes: Option<u64>,
    /// Most bytes that the store held after any command.
    peak_bytes: u64,
    key: Option<Arc<DataKey>>,
}

impl History {
    fn new() -> Self {
        let mut request = create_request();
        request.settings.hold_off_runs = 3;
        request.settings.hold_off_secs = 7 * DAY;
        let mut world = MemoryWorld::observed(Durable::default(), 1);
        wyng_engine::admin::create(&mut world, &request).unwrap();
        let mut archive = world.open_archive("home").unwrap();
        let key = Some(Arc::new(archive.unlock(&mut world).unwrap()));
        Self {
            durable: world.end(),
            sessions: Vec::new(),
            now: HOUR,
            capacity_bytes: None,
            peak_bytes: 0,
            key,
        }
    }

    /// The machine after this time, which it spent switched on.
    fn after(&mut self, secs: u64) -> MemoryWorld {
        self.now += secs;
        let mut world = MemoryWorld::observed(self.durable.clone(), self.now);
        world.store.capacity_bytes = self.capacity_bytes;
        world.secrets.kept_key.clone_from(&self.key);
        world
    }

    /// Ends a command, which may have failed.
    fn leave(&mut self, world: &MemoryWorld) {
        self.durable = world.crash(0).0;
        self.peak_bytes = self.peak_bytes.max(world.store.stored_bytes());
    }

    /// A session of wholly new content a day later.
    fn back_up(&mut self) -> Result<(), Failure> {
        let mut world = self.after(DAY);
        world.volumes.sources = vec![noise(150_000, self.now)];
        let ended = back_up(&mut world);
        self.sessions.extend(reported(&world));
        self.leave(&world);
        ended
    }

    /// A prune a day later; the obstacles of the packs that wait.
    fn prune(&mut self, keep_last: u32) -> Result<Vec<WaitReason>, Failure> {
        let mut world = self.after(DAY);
        let keep = KeepRules {
            last: keep_last,
            ..KeepRules::default()
        };
        let ended = prune_by(&mut world, &keep);
        self.leave(&world);
        let kept = present(&mut world);
        self.sessions.retain(|session| kept.contains(&session.time));
        assert_eq!(ended?, ExitStatus::Done, "{:?}", world.client.told);
        Ok(waits(&world))
    }

    fn generation(&mut self) -> u64 {
        let mut world = self.after(0);
        world.open_archive("home").unwrap().head.generation
    }

    fn stored_bytes(&self) -> u64 {
        self.durable
            .store
            .values()
            .map(|blob| blob.len() as u64)
            .sum()
    }
}

fn prune_by(world: &mut MemoryWorld, keep: &KeepRules) -> Result<ExitStatus, Failure> {
    let request = PruneRequest {
        archive: "home".into(),
        volumes: Vec::new(),
        rules: PruneRules {
            keep: keep.clone(),
            ..PruneRules::default()
        },
        dry_run: false,
        unattended: false,
        trust_clock: false,
    };
    prune::prune(world, &request)
}

/// What the packs wait for, as the client heard it.
fn waits(world: &MemoryWorld) -> Vec<WaitReason> {
    let waits = world.client.told.iter().filter_map(|event| match event {
        ToClient::Waits(waits) => Some(waits.reason),
        _ => None,
    });
    waits.collect()
}

/// Times of all sessions that the head has.
fn present(world: &mut MemoryWorld) -> BTreeSet<i64> {
    let mut archive = world.open_archive("home").unwrap();
    let volumes = archive.volumes(&mut world.files).unwrap();
    let mut times = BTreeSet::new();
    for (_, volume) in volumes {
        let sessions = archive.sessions(&mut world.files, &volume).unwrap();
        times.extend(sessions.iter().map(|session| session.time));
    }
    times
}

/// An archive of daily sessions whose store is full.
fn full() -> History {
    let mut history = History::new();
    history.capacity_bytes = Some(RESERVE_BYTES + 4 * MIB as u64);
    for _ in 0..100 {
        match history.back_up() {
            Ok(()) => {}
            Err(Failure::StoreFull { .. }) => return history,
            Err(failure) => panic!("{failure:?}"),
        }
    }
    panic!("the store never fills");
}

#[test]
fn a_full_store_is_emptied_by_prune_alone_until_backups_fit_again() {
    let mut history = full();
    assert!(history.sessions.len() > 12);
    let full_bytes = history.stored_bytes();
    for _ in 0..9 {
        history.prune(3).unwrap();
    }
    assert!(
        history.peak_bytes < full_bytes + (MIB as u64),
        "the prunes took {} bytes of the reserve",
        history.peak_bytes - full_bytes
    );
    assert!(
        history.stored_bytes() < full_bytes / 2,
        "{} bytes of {full_bytes} are left",
        history.stored_bytes()
    );
    for _ in 0..3 {
        history.back_up().unwrap();
    }
    assert_whole(&history.durable, &history.sessions);
}

#[test]
fn in_a_full_store_only_prunes_and_commits_take_the_reserve() {
    let mut history = full();
    let full_bytes = history.stored_bytes();
    // What a backup was cut at is kept for the next one, which fails in the same way.
    for _ in 0..5 {
        let failure = history.back_up().unwrap_err();
        assert!(matches!(failure, Failure::StoreFull { .. }), "{failure:?}");
    }
    let mut world = history.after(DAY);
    let request = CompactRequest {
        archive: "home".into(),
        budget_bytes: None,
        orphans: false,
    };
    let compacted = space::compact(&mut world, &request);
    assert!(
        matches!(compacted, Ok(_) | Err(Failure::StoreFull { .. })),
        "{compacted:?}"
    );
    history.leave(&world);
    history.prune(3).unwrap();
    let mut world = history.after(HOUR);
    let undelete = UndeleteRequest {
        archive: "home".into(),
        volume: "volume 0".into(),
        session: SessionChoice::Latest,
    };
    let undeleted = space::undelete(&mut world, &undelete);
    assert!(
        matches!(undeleted, Err(Failure::StoreFull { .. })),
        "{undeleted:?}"
    );
    assert_eq!(world.store.deletes, []);
    history.leave(&world);
    assert!(
        history.peak_bytes < full_bytes + (MIB as u64),
        "{} bytes of the reserve",
        history.peak_bytes - full_bytes
    );
    for _ in 0..9 {
        history.prune(3).unwrap();
    }
    history.back_up().unwrap();
    assert_whole(&history.durable, &history.sessions);
}

#[test]
fn a_retired_archive_is_emptied_by_prune_alone() {
    let mut history = History::new();
    for _ in 0..12 {
        history.back_up().unwrap();
    }
    let full_bytes = history.stored_bytes();
    // Nothing is backed up any more: the prunes themselves are the runs of the hold-off.
    let mut waits = Vec::new();
    for _ in 0..40 {
        waits = history.prune(1).unwrap();
    }
    assert_eq!(waits, [], "nothing waits for a run that never comes");
    let generation = history.generation();
    for _ in 0..20 {
        assert_eq!(history.prune(1), Ok(Vec::new()));
    }
    assert_eq!(history.generation(), generation, "an idle archive is left");
    assert_eq!(history.sessions.len(), 1, "the newest session stays");
    assert!(
        history.stored_bytes() < full_bytes / 2,
        "{} bytes of {full_bytes} are left",
        history.stored_bytes()
    );
    assert_whole(&history.durable, &history.sessions);
    // The volume itself goes by hand, and its packs by further prunes.
    let mut world = history.after(DAY);
    prune::remove_volume(&mut world, "home", "volume 0", false).unwrap();
    history.leave(&world);
    history.sessions.clear();
    for _ in 0..40 {
        waits = history.prune(1).unwrap();
    }
    assert_eq!(waits, []);
    assert!(
        history.stored_bytes() < MIB as u64,
        "{} bytes are left of an archive without a session",
        history.stored_bytes()
    );
    assert_whole(&history.durable, &[]);
}

/// Address of the copy.
const USB: &str = "copy:usb";

impl History {
    /// Brings the copy up to date, this time later, in a world that `changes`.
    fn copy(
        &mut self,
        secs: u64,
        changes: impl Fn(&mut MemoryWorld),
    ) -> (Result<(), Failure>, CopyReport, MemoryWorld) {
        let mut world = self.after(secs);
        changes(&mut world);
        let request = copy::CopyRequest {
            name: "home".into(),
            store: USB.into(),
            via: None,
            credentials: false,
            anew: false,
        };
        let ended = copy::copy(&mut world, &request);
        self.leave(&world);
        let mut reports = world.client.told.iter().filter_map(|event| match event {
            ToClient::Copied(report) => Some(report.clone()),
            _ => None,
        });
        let report = reports.next_back().unwrap();
        (ended, report, world)
    }

    /// Names of blobs of the copy that the archive's own store does not have, except copies of
    /// commits by which a run found out that they are two.
    fn only_in_the_copy(&mut self) -> BTreeSet<[u8; 32]> {
        let mut world = self.after(0);
        let archive = world.open_archive("home").unwrap();
        let mut names: BTreeSet<_> = self.durable.copies[USB].keys().copied().collect();
        names.retain(|name| !self.durable.store.contains_key(name));
        for generation in 1..=archive.head.generation {
            for copy in 0..4 {
                let name = archive.credential.commit_copy_name(generation, copy);
                names.remove(&name.0);
            }
        }
        names
    }

    /// Fails the test unless the copy opens elsewhere with every session.
    fn assert_copy_is_whole(&self) {
        let elsewhere = Durable {
            store: self.durable.copies[USB].clone(),
            ..Durable::default()
        };
        let mut world = MemoryWorld::new(elsewhere, self.now);
        adopt(&mut world).unwrap();
        assert_whole(&world.end(), &self.sessions);
    }
}

#[test]
fn what_the_archive_deleted_leaves_its_copy_after_a_hold_off_of_its_own() {
    let mut history = History::new();
    for _ in 0..4 {
        history.back_up().unwrap();
    }
    history.copy(0, |_| {}).0.unwrap();
    let mut since: BTreeMap<[u8; 32], u64> = BTreeMap::new();
    let mut deleted = 0;
    for day in 0..24 {
        history.back_up().unwrap();
        history.prune(2).unwrap();
        let before = history.only_in_the_copy();
        let now = history.now;
        let (ended, report, world) = history.copy(0, |_| {});
        ended.unwrap();
        assert!(!report.deletes_refused);
        let after = history.only_in_the_copy();
        for name in &before {
            let waited = now - *since.entry(*name).or_insert(now);
            assert_eq!(after.contains(name), waited < 7 * DAY, "after {waited} s");
        }
        deleted += report.deleted_objects;
        assert_eq!(report.deleted_objects, world.store.deletes.len() as u64);
        assert!(report.waiting_objects >= after.len() as u64);
        if day % 6 == 5 {
            history.assert_copy_is_whole();
        }
    }
    assert!(deleted > 10, "{deleted}");
    history.assert_copy_is_whole();
}

#[test]
fn a_copy_that_may_not_delete_keeps_everything_and_is_asked_again_a_day_later() {
    let mut history = History::new();
    for _ in 0..4 {
        history.back_up().unwrap();
    }
    history.copy(0, |_| {}).0.unwrap();
    for _ in 0..20 {
        history.back_up().unwrap();
        history.prune(2).unwrap();
    }
    // The hold-off of the copy begins.
    let waiting = history.copy(0, |_| {}).1.waiting_objects;
    assert!(waiting > 0);
    for _ in 0..4 {
        history.back_up().unwrap();
        history.prune(2).unwrap();
    }
    let before = history.only_in_the_copy();
    for refuses in [
        |world: &mut MemoryWorld| world.store.refuses_deletes = true,
        |world: &mut MemoryWorld| world.store.refused_services = vec![Service::Prune],
    ] {
        let (ended, report, world) = history.copy(2 * DAY, refuses);
        ended.unwrap();
        assert!(report.deletes_refused && report.waiting_objects >= waiting);
        assert!(world.store.services.contains(&Service::Prune));
        let (ended, report, world) = history.copy(HOUR, refuses);
        ended.unwrap();
        assert!(report.deletes_refused, "it is said again");
        assert!(!world.store.services.contains(&Service::Prune));
        assert!(before.is_subset(&history.only_in_the_copy()));
    }
    let (ended, report, _) = history.copy(2 * DAY, |_| {});
    ended.unwrap();
    assert!(report.deleted_objects > 0 && !report.deletes_refused);
    history.assert_copy_is_whole();
}

#[test]
fn nothing_leaves_a_copy_whose_newest_commit_cannot_be_read_back() {
    let mut history = History::new();
    for _ in 0..4 {
        history.back_up().unwrap();
    }
    history.copy(0, |_| {}).0.unwrap();
    for _ in 0..20 {
        history.back_up().unwrap();
        history.prune(2).unwrap();
    }
    assert!(history.copy(0, |_| {}).1.waiting_objects > 0);
    for _ in 0..4 {
        history.back_up().unwrap();
        history.prune(2).unwrap();
    }
    // The last day on which nothing is due.
    history
        .copy(0, |world| {
            world.store.refused_services = vec![Service::Prune]
        })
        .0
        .unwrap();
    history.now += 2 * DAY;
    let mut world = history.after(0);
    let archive = world.open_archive("home").unwrap();
    let head = archive.credential.commit_name(archive.head.generation);
    let copy = history.durable.copies.get_mut(USB).unwrap();
    copy.get_mut(&head.0).unwrap()[100] ^= 1;
    let before = history.only_in_the_copy();
    let (ended, report, world) = history.copy(0, |_| {});
    assert_eq!(ended, Err(Failure::ProblemsFound { count: 1 }));
    assert_eq!((report.deleted_objects, report.problems), (0, 1));
    assert!(world.store.deletes.is_empty());
    assert_eq!(history.only_in_the_copy(), before);
}

#[test]
fn a_slot_that_was_removed_leaves_the_copy_and_every_other_one_stays() {
    let mut history = History::new();
    history.back_up().unwrap();
    let mut world = history.after(DAY);
    let wish = admin::NewSlot::default();
    admin::add(&mut world, "home", SlotKind::RecoveryKey, &wish).unwrap();
    history.leave(&world);
    history.copy(0, |_| {}).0.unwrap();
    let [first, second] = [0, 1].map(|number| slot_name(number).0);
    assert!(history.durable.copies[USB].contains_key(&second));
    let mut world = history.after(DAY);
    admin::remove(&mut world, "home", 1).unwrap();
    history.leave(&world);
    assert_eq!(history.copy(0, |_| {}).1.waiting_objects, 1);
    for _ in 0..3 {
        history.back_up().unwrap();
        assert_eq!(history.copy(0, |_| {}).1.deleted_objects, 0);
    }
    let (ended, report, world) = history.copy(8 * DAY, |_| {});
    ended.unwrap();
    assert_eq!(report.deleted_objects, 1);
    assert_eq!(world.store.deletes, [slot_name(1)]);
    let copy = &history.durable.copies[USB];
    assert!(copy.contains_key(&first) && !copy.contains_key(&second));
    history.assert_copy_is_whole();
}

#[test]
fn a_real_full_disk_is_emptied_by_prune_alone() {
    let test = "a_real_full_disk_is_emptied_by_prune_alone";
    if !require(Component::Root, test) {
        return;
    }
    let disk = SmallDisk::mount(300);
    let sandbox = Sandbox::with_store_at(disk.join("store"));
    // A hold-off counts days, which a test has not.
    let waits = ["--minimum-age", "0s", "--hold-off", "0,0s"];
    sandbox.create("home", &waits).success();
    let image = sandbox.image("disk.img", 1, 0);
    let mut seed = 0;
    let mut back_up = || {
        seed += 1;
        let content = noise(40 * MIB, seed);
        std::fs::write(&image, &content).unwrap();
        (sandbox.wyng(&["backup", "home", "disk.img"]), content)
    };
    let mut last = None;
    let full = loop {
        let (outcome, content) = back_up();
        if outcome.status != 0 {
            break outcome;
        }
        last = Some((outcome.session(0), content));
    };
    assert_eq!(full.expect(1).codes(), ["store-full"]);
    let (again, _) = back_up();
    assert_eq!(again.expect(1).codes(), ["store-full"]);
    sandbox
        .wyng(&["prune", "home", "--keep-last", "1"])
        .success();
    let (session, content) = last.unwrap();
    sandbox.assert_restores("disk.img", &session, &content);
    let (fits, content) = back_up();
    sandbox.assert_restores("disk.img", &fits.success().session(0), &content);
    sandbox.wyng(&["verify", "home", "--deep"]).success();
}

/// Hourly runs of a month.
const MONTH_HOURS: u64 = 720;

/// Local state: the bound of docs/format.md for these places, bytes.
fn state_bound_bytes(world: &mut MemoryWorld) -> u64 {
    let mut archive = world.open_archive("home").unwrap();
    let packs = archive.packs(&mut world.files).unwrap();
    let mut places = 0;
    let count = &mut |_: &mut MemoryFiles, _, location: Location| {
        places += u64::from(packs.contains_key(&location.pack));
        Ok(())
    };
    archive.cache.index.visit(&mut world.files, count).unwrap();
    600 * places + 4 * MIB as u64
}

/// A command, before which the daemon observes the clock.
fn command<T>(world: &mut MemoryWorld, run: impl FnOnce(&mut MemoryWorld) -> T) -> T {
    world.client.told.clear();
    world.client.progress.clear();
    world.store.services.clear();
    observe_clock(world);
    run(world)
}

#[test]
fn a_month_with_fetch_and_delete_refused_deletes_nothing_and_the_next_prunes_delete_it_all() {
    let mut history = History::new();
    let mut world = history.after(HOUR);
    let keep = KeepRules {
        hourly: 24,
        daily: 7,
        ..KeepRules::default()
    };
    let mut content = noise(60_000, 1);
    let mut names: BTreeSet<[u8; 32]> = BTreeSet::new();
    world.store.refused_services = vec![Service::Fetch, Service::Prune];
    let mut sessions = Vec::new();
    for hour in 1..=MONTH_HOURS {
        world.clock.pass(HOUR);
        let place = usize::try_from(hour % 14 * 4096).unwrap();
        content[place..place + 4096].copy_from_slice(&noise(4096, hour));
        world.volumes.sources = vec![content.clone()];
        let before_bytes = world.store.stored_bytes();
        command(&mut world, back_up).unwrap();
        sessions.extend(reported(&world));
        let grown_bytes = world.store.stored_bytes() - before_bytes;
        // A pack of chunks, a tail, and the commit.
        assert!(grown_bytes <= (128 << 10) + 4096, "{grown_bytes} bytes");
        if hour % 24 != 0 {
            continue;
        }
        let pruned = command(&mut world, |world| prune_by(world, &keep));
        assert_eq!(pruned, Ok(ExitStatus::Done), "{:?}", world.client.told);
        assert_eq!(world.store.deletes, [], "day {}", hour / 24);
        let stored = world.store.crash(0).0;
        assert!(names.iter().all(|name| stored.contains_key(name)));
        names = stored.into_keys().collect();
        let status = command(&mut world, |world| look::status(world, Some("home")));
        assert_eq!(status, Ok(ExitStatus::Done));
        // Sessions go from the eighth day on, and their packs wait for another week.
        if hour > 15 * 24 {
            let reasons = waits(&world);
            assert!(
                reasons.contains(&WaitReason::FetchRefused),
                "day {}: {reasons:?}",
                hour / 24
            );
        }
        let files = world.files.crash(0).0;
        let state_bytes: u64 = files.values().map(|bytes| bytes.len() as u64).sum();
        assert!(state_bytes <= state_bound_bytes(&mut world));
    }
    let kept = present(&mut world);
    sessions.retain(|session| kept.contains(&session.time));
    assert!(sessions.len() < 220, "{} sessions", sessions.len());
    history.durable = world.end();
    assert_whole(&history.durable, &sessions[..1]);
    assert_allowed_again_deletes_all(world, &keep, sessions);
}

/// Fetch and delete are allowed again: a refusal is asked again a kept day later, so that the
/// second daily prune has deleted every pack whose hold-off was over.
fn assert_allowed_again_deletes_all(
    mut world: MemoryWorld,
    keep: &KeepRules,
    mut sessions: Vec<Reported>,
) {
    let waiting = given_up(&mut world);
    assert!(waiting.len() > 300, "{} packs wait", waiting.len());
    world.store.refused_services.clear();
    for _ in 0..2 {
        world.clock.pass(DAY);
        let pruned = command(&mut world, |world| prune_by(world, keep));
        assert_eq!(pruned, Ok(ExitStatus::Done), "{:?}", world.client.told);
    }
    let reasons = waits(&world);
    assert!(
        reasons
            .iter()
            .all(|reason| matches!(reason, WaitReason::HoldOff { .. } | WaitReason::Needed)),
        "{reasons:?}"
    );
    let left = given_up(&mut world);
    assert!(left.len() < waiting.len() / 2, "{} packs wait", left.len());
    for _ in 0..8 {
        world.clock.pass(DAY);
        let pruned = command(&mut world, |world| prune_by(world, keep));
        assert_eq!(pruned, Ok(ExitStatus::Done), "{:?}", world.client.told);
    }
    let left = given_up(&mut world);
    assert!(left.is_disjoint(&waiting), "{left:?}");
    let kept = present(&mut world);
    sessions.retain(|session| kept.contains(&session.time));
    assert!(!sessions.is_empty());
    assert_whole(&world.end(), &sessions);
}

/// Names of the packs that wait for their deletion.
fn given_up(world: &mut MemoryWorld) -> BTreeSet<[u8; 32]> {
    let mut archive = world.open_archive("home").unwrap();
    let packs = archive.packs(&mut world.files).unwrap();
    let waiting = packs
        .values()
        .filter(|entry| entry.state.given_up().is_some());
    waiting.map(|entry| entry.name.0).collect()
}
