// SPDX-License-Identifier: GPL-3.0-or-later
//! Random histories of one archive on two machines: backups, prunes, removals, compactions,
//! undeletes and takeovers, over a store that lies and refuses, with kills, restarts and a clock
//! that jumps. Nothing that a kept session needs is ever deleted, honest commands lead out of every
//! state, and a removed session comes back within its hold-off.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use proptest::prelude::*;
use wyng_archive::crypto::DataKey;
use wyng_control::{ExitStatus, Failure, KeepRules, PruneRules, SessionChoice, ToClient};
use wyng_engine::prune::{self, PruneRequest};
use wyng_engine::space::{self, CompactRequest, UndeleteRequest};
use wyng_engine::state::Origins;
use wyng_engine::{admin, restore, verify};
use wyng_tests::engine::{back_up, create_request, open_request};
use wyng_tests::memory_world::{Durable, Killed, MachineClock, MemoryWorld};
use wyng_tests::sandbox::noise;
use wyng_wire::Service;

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;
const CHUNK: usize = 4096;
const HOLD_OFF_SECS: u64 = 2 * DAY;
const VOLUMES: usize = 2;

/// What a command is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Do {
    BackUp,
    Prune,
    Remove,
    Compact,
    Orphans,
    Undelete,
    Verify,
    Open,
    TakeOver,
}

/// What the store does during a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Store {
    Honest,
    /// Answers STORED from the n-th PUT on, and drops what was put.
    Drops(u64),
    /// Shows nothing of the newest commits.
    Hides(u64),
    /// Has garbage under the next commit's name.
    Garbage,
    Refuses(Service),
    RefusesDeletes,
}

/// What the clocks did before a command.
#[derive(Debug, Clone, Copy)]
enum Clock {
    Passes(u64),
    Jumps(i64),
    Reboots(u64),
}

#[derive(Debug, Clone, Copy)]
struct Step {
    what: Do,
    store: Store,
    clock: Clock,
    /// The call at which the command is killed, and what survives.
    kill: Option<(u64, u64)>,
    /// Another machine than the writer runs it.
    by_other: bool,
    chance: u64,
}

fn step() -> impl Strategy<Value = Step> {
    let what = prop_oneof![
        6 => Just(Do::BackUp),
        3 => Just(Do::Prune),
        1 => Just(Do::Remove),
        4 => Just(Do::Compact),
        1 => Just(Do::Orphans),
        2 => Just(Do::Undelete),
        1 => Just(Do::Verify),
        1 => Just(Do::Open),
        1 => Just(Do::TakeOver),
    ];
    let service = prop_oneof![Just(Service::Fetch), Just(Service::Prune)];
    let store = prop_oneof![
        10 => Just(Store::Honest),
        3 => (1u64..5).prop_map(Store::Drops),
        1 => (1u64..4).prop_map(Store::Hides),
        1 => Just(Store::Garbage),
        1 => service.prop_map(Store::Refuses),
        1 => Just(Store::RefusesDeletes),
    ];
    let clock = prop_oneof![
        8 => (4u64..40).prop_map(|hours| Clock::Passes(hours * HOUR)),
        1 => (-3_650i64..3_650).prop_map(|days| Clock::Jumps(days * 86_400)),
        1 => (0u64..100).prop_map(|hours| Clock::Reboots(hours * HOUR)),
    ];
    let kill = prop_oneof![
        5 => Just(None),
        1 => (1u64..400, any::<u64>()).prop_map(Some),
    ];
    (
        what,
        store,
        clock,
        kill,
        prop::bool::weighted(0.15),
        any::<u64>(),
    )
        .prop_map(|(what, store, clock, kill, by_other, chance)| Step {
            what,
            store,
            clock,
            kill,
            by_other,
            chance,
        })
}

/// A session by its volume's name and its time.
type Name = (String, i64);

/// A machine: its state, and its clock.
#[derive(Clone)]
struct Machine {
    state: Durable,
    clock: MachineClock,
}

struct History {
    machines: [Machine; 2],
    /// The machine that writes.
    writer: usize,
    store: BTreeMap<[u8; 32], Vec<u8>>,
    sources: Vec<Vec<u8>>,
    /// Contents that a session may have: more than one where a killed backup's session is not told
    /// from the next one's.
    contents: BTreeMap<Name, Vec<Vec<u8>>>,
    /// Contents of each volume that were backed up and have no session that was heard of.
    unheard: Vec<Vec<Vec<u8>>>,
    /// Sessions that went, and when by the true time.
    removed: BTreeMap<Name, u64>,
    /// A commit that removes sessions may be pending.
    asked_to_remove: bool,
    /// The store dropped blobs, and no verify has found everything since.
    dropped: bool,
    /// Sessions that were made meanwhile: they may need what was dropped.
    tainted: BTreeSet<Name>,
    runs: u64,
    key: Option<Arc<DataKey>>,
}

impl History {
    fn new() -> Self {
        let mut request = create_request();
        request.settings.hold_off_runs = 2;
        request.settings.hold_off_secs = HOLD_OFF_SECS;
        request.settings.minimum_age_secs = DAY;
        let mut world = MemoryWorld::observed(Durable::default(), 1);
        admin::create(&mut world, &request).unwrap();
        let mut archive = world.open_archive("home").unwrap();
        let key = Some(Arc::new(archive.unlock(&mut world).unwrap()));
        let mut durable = world.end();
        let store = std::mem::take(&mut durable.store);
        let machine = |state| Machine {
            state,
            clock: MachineClock::after(10),
        };
        Self {
            machines: [machine(durable), machine(Durable::default())],
            writer: 0,
            store,
            sources: (0..VOLUMES as u64)
                .map(|seed| noise(10 * CHUNK, seed))
                .collect(),
            contents: BTreeMap::new(),
            unheard: vec![Vec::new(); VOLUMES],
            removed: BTreeMap::new(),
            asked_to_remove: false,
            dropped: false,
            tainted: BTreeSet::new(),
            runs: 0,
            key,
        }
    }

    /// A world of a machine over the store, with its own randomness.
    fn world(&mut self, machine: usize) -> MemoryWorld {
        self.runs += 1;
        let machine = &self.machines[machine];
        let durable = Durable {
            store: self.store.clone(),
            ..machine.state.clone()
        };
        let mut world = MemoryWorld::new(durable, 1000 + self.runs);
        world.clock = machine.clock.clone();
        wyng_engine::observe_clock(&mut world);
        world.volumes.sources.clone_from(&self.sources);
        world.secrets.kept_key.clone_from(&self.key);
        world
    }

    fn leave(&mut self, machine: usize, world: &MemoryWorld, chance: u64) {
        let mut state = world.crash(chance).0;
        self.store = std::mem::take(&mut state.store);
        let clock = world.clock.clone();
        self.machines[machine] = Machine { state, clock };
    }

    /// The clock does what it does for one machine; the true time is that of both.
    fn pass(&mut self, step: &Step, machine: usize) {
        let clock = &mut self.machines[machine].clock;
        match step.clock {
            Clock::Passes(secs) => clock.pass(secs),
            Clock::Jumps(secs) => clock.jump(secs),
            Clock::Reboots(secs) => clock.reboot(secs),
        }
        let now = self.now();
        for machine in &mut self.machines {
            machine.clock.pass(now - machine.clock.true_secs());
        }
    }

    fn now(&self) -> u64 {
        let secs = self
            .machines
            .iter()
            .map(|machine| machine.clock.true_secs());
        secs.max().unwrap()
    }

    fn step(&mut self, step: &Step) {
        let other = 1 - self.writer;
        let is_known = !self.machines[other].state.links.is_empty();
        let machine = if step.by_other && is_known {
            other
        } else {
            self.writer
        };
        self.pass(step, machine);
        if step.what == Do::TakeOver {
            // What a store dropped, only the machine that sent it can heal.
            if !self.dropped {
                self.take_over(step);
            }
            return;
        }
        if step.what == Do::BackUp {
            self.change_sources(step.chance);
        }
        let before = present(&mut self.world(machine));
        let garbage = self.put_garbage(machine, step.store);
        let mut world = self.world(machine);
        tell_lies(&mut world, step.store);
        let ran = run(&mut world, step, &self.removed);
        let chance = step.kill.map_or(0, |(_, chance)| chance);
        self.leave(machine, &world, chance);
        if let Some(name) = garbage
            && self.store.get(&name).is_some_and(|blob| *blob == GARBAGE)
        {
            self.store.remove(&name);
        }
        if machine == self.writer {
            self.dropped |= matches!(step.store, Store::Drops(_) | Store::Hides(_));
            self.learn(&mut world, &before, step.what);
            if step.what == Do::Verify && step.store == Store::Honest && ran == Some(Ok(())) {
                self.dropped = false;
                self.tainted.clear();
            }
            if step.what == Do::Undelete {
                self.check_undelete(step, &ran);
            }
        }
        if !world.store.deletes.is_empty() {
            self.assert_recoverable(&format!("{step:?} by machine {machine}"));
        }
    }

    fn change_sources(&mut self, chance: u64) {
        for (volume, source) in self.sources.iter_mut().enumerate() {
            let changed = chance >> (10 * volume);
            for place in (0..10usize).filter(|place| (changed >> place) & 1 == 1) {
                let seed = 100 + (chance >> 20) % 40;
                let begin = place * CHUNK;
                source[begin..begin + CHUNK].copy_from_slice(&noise(CHUNK, seed));
            }
        }
        for (unheard, source) in self.unheard.iter_mut().zip(&self.sources) {
            unheard.push(source.clone());
        }
    }

    /// Puts garbage where the machine's next commit goes.
    fn put_garbage(&mut self, machine: usize, store: Store) -> Option<[u8; 32]> {
        if store != Store::Garbage {
            return None;
        }
        let mut world = self.world(machine);
        let archive = world.open_archive("home").unwrap();
        let next = archive.head.generation + 1;
        let name = archive.credential.commit_name(next).0;
        self.store.entry(name).or_insert(GARBAGE.to_vec());
        Some(name)
    }

    /// The other machine opens the archive and takes it over; both may be cut.
    fn take_over(&mut self, step: &Step) {
        let taking = 1 - self.writer;
        let mut world = self.world(taking);
        let ended = cut(&mut world, step.kill, &mut |world| {
            admin::open(world, &open_request())?;
            admin::take_over(world, "home", admin::OtherWriter::MayWrite)
        });
        self.leave(taking, &world, step.kill.map_or(0, |(_, chance)| chance));
        // What the last writer had pending may have been pushed: then it is a rival.
        if ended == Some(Ok(())) {
            self.writer = taking;
        } else {
            self.settle_writer();
        }
    }

    /// After a takeover that was cut, whoever the store's head names writes.
    fn settle_writer(&mut self) {
        for machine in [self.writer, 1 - self.writer] {
            if self.machines[machine].state.links.is_empty() {
                continue;
            }
            let mut world = self.world(machine);
            let opened = admin::open(&mut world, &open_request());
            let writes = opened.is_ok()
                && world
                    .open_archive("home")
                    .is_ok_and(|archive| archive.may_write().is_ok());
            if writes {
                self.writer = machine;
                return;
            }
        }
    }

    /// Learns which sessions came and went. Only a prune or a removal takes any away.
    fn learn(&mut self, world: &mut MemoryWorld, before: &BTreeSet<Name>, what: Do) {
        for event in &world.client.told {
            if let ToClient::BackedUp(done) = event
                && let Some(time) = done.session
            {
                let volume = number(&done.name);
                let content = vec![self.sources[volume].clone()];
                self.contents.insert((done.name.clone(), time), content);
            }
        }
        let after = present(&mut self.world(self.writer));
        for name in after.difference(before) {
            let unheard = self.unheard[number(&name.0)].clone();
            self.contents.entry(name.clone()).or_insert(unheard);
            self.removed.remove(name);
            if self.dropped {
                self.tainted.insert(name.clone());
            }
        }
        let may_remove = matches!(what, Do::Prune | Do::Remove);
        let now = self.now();
        for name in before.difference(&after) {
            // A pending commit of an earlier command may settle, or be dropped, in any command.
            let is_settled = may_remove || self.asked_to_remove;
            assert!(is_settled || what == Do::Open, "{what:?} removed {name:?}");
            self.removed.insert(name.clone(), now);
        }
        let archive = self.world(self.writer).open_archive("home").unwrap();
        self.asked_to_remove &= archive.ledger.pending().is_some();
        self.asked_to_remove |= may_remove && archive.ledger.pending().is_some();
    }

    /// An honest undelete within the hold-off brings the session back.
    fn check_undelete(&mut self, step: &Step, ran: &Option<Result<(), Failure>>) {
        let Some(name) = chosen(&self.removed, step.chance) else {
            return;
        };
        let since = self.removed[&name];
        // The kept clock runs at most four times as fast as the true time.
        let is_within = (self.now() - since) * 4 < HOLD_OFF_SECS;
        let is_honest = step.kill.is_none() && step.store == Store::Honest && !self.dropped;
        if let Some(Err(failure)) = ran
            && is_within
            && is_honest
        {
            let mut world = self.world(self.writer);
            admin::open(&mut world, &open_request()).unwrap();
            let again = undelete(&mut world, &name);
            let told = &world.client.told;
            assert_eq!(again, Ok(()), "{name:?}: {failure:?}, {told:?}");
            self.leave(self.writer, &world, 0);
            self.removed.remove(&name);
        }
    }

    /// Honest commands make the archive whole, and every session that it has restores. A copy does
    /// so whose store refuses every DELETE: nothing may be missing already.
    fn assert_recoverable(&mut self, what: &str) {
        let machine = self.writer;
        let (mut state, clock) = {
            let Machine { state, clock } = self.machines[machine].clone();
            (state, clock)
        };
        state.store.clone_from(&self.store);
        let mut history = Copy {
            state,
            clock,
            runs: self.runs * 1000,
            sources: self.sources.clone(),
            key: self.key.clone(),
        };
        history.lead_out(what, self.dropped);
        for (volume, time) in history.present() {
            let name = (volume.clone(), time);
            let is_new = !self.contents.contains_key(&name);
            if self.tainted.contains(&name) || (self.dropped && is_new) {
                continue;
            }
            let unheard = &self.unheard[number(&volume)];
            let known = self.contents.get(&name).unwrap_or(unheard);
            let restored = history.restore(&volume, time, what);
            assert!(known.contains(&restored), "{what}: {volume} {time}");
        }
    }
}

const GARBAGE: [u8; 4096] = [7; 4096];

fn number(volume: &str) -> usize {
    volume.rsplit(' ').next().unwrap().parse().unwrap()
}

/// The sessions that the machine's head has.
fn present(world: &mut MemoryWorld) -> BTreeSet<Name> {
    let mut archive = world.open_archive("home").unwrap();
    let mut present = BTreeSet::new();
    for (_, volume) in archive.volumes(&mut world.files).unwrap() {
        let sessions = archive.sessions(&mut world.files, &volume).unwrap();
        let names = sessions.iter().map(|session| session.time);
        present.extend(names.map(|time| (volume.name.clone(), time)));
    }
    present
}

fn tell_lies(world: &mut MemoryWorld, store: Store) {
    match store {
        Store::Honest | Store::Garbage => {}
        Store::Drops(from) => world.store.drops_puts_from = Some(from),
        Store::Hides(count) => {
            let archive = world.open_archive("home").unwrap();
            let head = archive.head.generation;
            let hidden = (head + 1).saturating_sub(count)..=head;
            let names = hidden.map(|generation| archive.credential.commit_name(generation).0);
            world.store.hidden = names.collect();
        }
        Store::Refuses(service) => world.store.refused_services = vec![service],
        Store::RefusesDeletes => world.store.refuses_deletes = true,
    }
}

/// Runs a command that may be killed; `None` if it was.
fn cut(
    world: &mut MemoryWorld,
    kill: Option<(u64, u64)>,
    command: &mut dyn FnMut(&mut MemoryWorld) -> Result<(), Failure>,
) -> Option<Result<(), Failure>> {
    if let Some((call, _)) = kill {
        world.kill_at(call);
    }
    match catch_unwind(AssertUnwindSafe(|| command(world))) {
        Ok(ended) => Some(ended),
        Err(payload) if payload.is::<Killed>() => None,
        Err(payload) => resume_unwind(payload),
    }
}

fn chosen(among: &BTreeMap<Name, u64>, chance: u64) -> Option<Name> {
    let names: Vec<&Name> = among.keys().collect();
    let place = usize::try_from(chance % names.len().max(1) as u64).unwrap();
    names.get(place).map(|name| (*name).clone())
}

fn run(
    world: &mut MemoryWorld,
    step: &Step,
    removed: &BTreeMap<Name, u64>,
) -> Option<Result<(), Failure>> {
    let here: BTreeMap<Name, u64> = present(world).into_iter().map(|name| (name, 0)).collect();
    cut(world, step.kill, &mut |world| match step.what {
        Do::BackUp => back_up(world),
        Do::Prune => prune(world, 2 + u32::try_from(step.chance % 6).unwrap()),
        Do::Remove => match chosen(&here, step.chance) {
            Some((volume, time)) => {
                let choice = [SessionChoice::Prefix(text(time))];
                prune::remove_sessions(world, "home", &volume, &choice, false)
            }
            None => Ok(()),
        },
        Do::Compact => compact(world, false),
        Do::Orphans => compact(world, true),
        Do::Undelete => match chosen(removed, step.chance) {
            Some(name) => undelete(world, &name),
            None => Ok(()),
        },
        Do::Verify => check(world, step.chance.is_multiple_of(2)),
        Do::Open => admin::open(world, &open_request()).map(drop),
        Do::TakeOver => unreachable!("a takeover is another machine's"),
    })
}

fn text(time: i64) -> String {
    jiff::Timestamp::from_second(time).unwrap().to_string()
}

fn prune(world: &mut MemoryWorld, last: u32) -> Result<(), Failure> {
    let request = PruneRequest {
        archive: "home".into(),
        volumes: Vec::new(),
        rules: PruneRules {
            keep: KeepRules {
                last,
                daily: last - 1,
                ..KeepRules::default()
            },
            ..PruneRules::default()
        },
        dry_run: false,
        unattended: false,
        trust_clock: false,
    };
    prune::prune(world, &request).map(drop)
}

fn compact(world: &mut MemoryWorld, orphans: bool) -> Result<(), Failure> {
    let request = CompactRequest {
        archive: "home".into(),
        budget_bytes: None,
        orphans,
    };
    space::compact(world, &request).map(drop)
}

fn undelete(world: &mut MemoryWorld, (volume, time): &Name) -> Result<(), Failure> {
    let request = UndeleteRequest {
        archive: "home".into(),
        volume: volume.clone(),
        session: SessionChoice::Prefix(text(*time)),
    };
    space::undelete(world, &request).map(drop)
}

fn check(world: &mut MemoryWorld, deep: bool) -> Result<(), Failure> {
    let request = verify::VerifyRequest {
        archive: "home".into(),
        volumes: Vec::new(),
        session: None,
        deep,
        budget_bytes: None,
    };
    verify::verify(world, &request).map(drop)
}

/// The writer's machine and the store, copied.
struct Copy {
    state: Durable,
    clock: MachineClock,
    runs: u64,
    sources: Vec<Vec<u8>>,
    key: Option<Arc<DataKey>>,
}

impl Copy {
    /// An honest command an hour later, in a store that deletes nothing.
    fn honestly(
        &mut self,
        command: impl FnOnce(&mut MemoryWorld) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        self.runs += 1;
        self.clock.pass(HOUR);
        let mut world = MemoryWorld::new(self.state.clone(), self.runs);
        world.clock = self.clock.clone();
        wyng_engine::observe_clock(&mut world);
        world.volumes.sources.clone_from(&self.sources);
        world.secrets.kept_key.clone_from(&self.key);
        world.store.refuses_deletes = true;
        let ended = command(&mut world);
        self.state = world.crash(0).0;
        self.clock = world.clock.clone();
        ended
    }

    /// The commands that errors name, until a deep verify is clean.
    /// A session that was made of dropped blobs may stay damaged.
    fn lead_out(&mut self, what: &str, may_stay_damaged: bool) {
        let mut heard = Vec::new();
        for round in 0..4 {
            let settled = self.honestly(|world| compact(world, false));
            if let Err(
                Failure::Forked { .. }
                | Failure::Stopped
                | Failure::Damaged { .. }
                | Failure::NewestDamaged { .. },
            ) = settled
            {
                heard.push(format!("{settled:?}"));
                let opened = self.honestly(|world| admin::open(world, &open_request()).map(drop));
                heard.push(format!("open: {opened:?}"));
                // The store lost commits that the writer sent.
                if let Err(Failure::RolledBack {
                    known_generation, ..
                }) = opened
                {
                    let request = admin::OpenRequest {
                        before: Some(known_generation + 1),
                        ..open_request()
                    };
                    let kept = self.honestly(|world| admin::open(world, &request).map(drop));
                    heard.push(format!("open what is known: {kept:?}"));
                }
            }
            let deep = self.honestly(|world| check(world, true));
            heard.push(format!("round {round}: {settled:?}, {deep:?}"));
            if settled.is_ok() && deep.is_ok() {
                return;
            }
        }
        assert!(may_stay_damaged, "{what}: {heard:#?}");
    }

    fn present(&mut self) -> BTreeSet<Name> {
        let mut found = BTreeSet::new();
        let look = self.honestly(|world| {
            found = present(world);
            Ok(())
        });
        assert_eq!(look, Ok(()));
        found
    }

    fn restore(&mut self, volume: &str, time: i64, what: &str) -> Vec<u8> {
        let mut restored = Vec::new();
        let ended = self.honestly(|world| {
            let request = restore::RestoreRequest {
                archive: "home".into(),
                volumes: vec![volume.into()],
                session: SessionChoice::Prefix(text(time)),
                in_place: false,
                quick: false,
                dry_run: false,
                around_damage: false,
                origins: Origins::default(),
            };
            let exit = restore::restore(world, &request)?;
            assert_eq!(exit, ExitStatus::Done, "{what}: {volume} {time}");
            restored.clone_from(&world.volumes.placed[&0]);
            Ok(())
        });
        assert_eq!(ended, Ok(()), "{what}: {volume} {time}");
        restored
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 40,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]
    #[test]
    fn whatever_happens_nothing_that_a_kept_session_needs_is_deleted(
        steps in prop::collection::vec(step(), 10..50),
    ) {
        std::panic::set_hook(Box::new(|info| {
            if !info.payload().is::<Killed>() {
                eprintln!("{info}");
            }
        }));
        let mut history = History::new();
        for step in &steps {
            history.step(step);
        }
        history.assert_recoverable("the end");
    }
}

#[test]
fn a_writer_whose_store_lost_the_newest_commits_continues_from_what_it_has() {
    let stopped = [
        (Do::BackUp, Store::Honest),
        (Do::BackUp, Store::Honest),
        (Do::BackUp, Store::Honest),
        (Do::BackUp, Store::Honest),
        (Do::Compact, Store::Drops(1)),
        (Do::Verify, Store::Honest),
        (Do::Compact, Store::Garbage),
    ];
    // The lost pack of the second backup is nowhere but in the writer's cache.
    let at_an_older_state = [
        (Do::BackUp, Store::Honest),
        (Do::BackUp, Store::Drops(1)),
        (Do::Compact, Store::Honest),
        (Do::Compact, Store::Drops(1)),
        (Do::Open, Store::Garbage),
    ];
    for steps in [&stopped[..], &at_an_older_state] {
        let mut history = History::new();
        for (what, store) in steps {
            history.step(&Step {
                what: *what,
                store: *store,
                clock: Clock::Passes(4 * HOUR),
                kill: None,
                by_other: false,
                chance: 0,
            });
        }
        let mut world = history.world(history.writer);
        assert!(back_up(&mut world).is_err());
        let opened = admin::open(&mut world, &open_request()).map(drop);
        assert!(
            matches!(opened, Err(Failure::RolledBack { .. })),
            "{opened:?}"
        );
        history.assert_recoverable("after all");
    }
}
