// SPDX-License-Identifier: GPL-3.0-or-later
//! The kept clock over whole commands of the engine, on machines whose wall clock, restarts, sleeps
//! and state directories somebody else owns. The true time is the test's own.

use wyng_archive::plan::kept_clock::KeptClock;
use wyng_control::{Command, ExitStatus, Failure, ToClient, Unattended, Warning};
use wyng_engine::state::{ArchiveFolder, Ledger, StoredClock};
use wyng_tests::engine::{adopt, create};
use wyng_tests::memory_world::{Durable, MachineClock, MemoryWorld, sources_named};
use wyng_tests::sandbox::{Sandbox, noise};
use wyng_tests::service::{Service, until};

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;
const YEAR: i64 = 365 * 86_400;

/// A machine that backs one volume up to one archive.
struct Machine {
    durable: Durable,
    clock: MachineClock,
    seed: u64,
}

impl Machine {
    /// A machine with a new archive.
    fn new() -> Self {
        let mut machine = Self {
            durable: Durable::default(),
            clock: MachineClock::after(10),
            seed: 1,
        };
        // The state directory gets its clock with the first command, as in the daemon.
        machine.run(names());
        let mut world = machine.world();
        create(&mut world).unwrap();
        machine.clock = world.clock.clone();
        machine.durable = world.end();
        machine
    }

    fn world(&mut self) -> MemoryWorld {
        self.seed += 1;
        let mut world = MemoryWorld::new(self.durable.clone(), self.seed);
        world.clock = self.clock.clone();
        world.volumes.sources = vec![noise(20_000, 1)];
        world
    }

    /// Runs a command as the daemon does; what the client heard.
    fn run(&mut self, command: Command) -> (ExitStatus, Vec<ToClient>) {
        let mut world = self.world();
        let exit = wyng_engine::run(&mut world, command);
        self.clock = world.clock.clone();
        let told = std::mem::take(&mut world.client.told);
        self.durable = world.end();
        (exit, told)
    }

    fn back_up(&mut self) -> Vec<Warning> {
        let (exit, told) = self.run(backup(None));
        assert_eq!(exit, ExitStatus::Done, "{told:?}");
        warnings(&told)
    }

    fn status(&mut self) -> Status {
        let (exit, told) = self.run(status(false));
        assert_eq!(exit, ExitStatus::Done, "{told:?}");
        Status::of(&told)
    }

    fn stored(&mut self) -> StoredClock {
        StoredClock::read(&mut self.world().files).unwrap()
    }

    fn local(&mut self) -> KeptClock {
        match self.stored() {
            StoredClock::Sound(clock) => clock,
            other => panic!("{other:?}"),
        }
    }

    /// The chain's kept clock as of the newest observation, seconds.
    fn chain_secs(&mut self) -> u64 {
        let local = self.local();
        let mut world = self.world();
        let folder = ArchiveFolder::find(&mut world.files, "home").unwrap();
        let ledger = Ledger::read(&mut world.files, &folder).unwrap();
        ledger.chain.now(&local)
    }
}

/// Output of `status`.
struct Status {
    skew_secs: i64,
    session_age_secs: Option<u64>,
    verified_age_secs: Option<u64>,
    warnings: Vec<Warning>,
}

impl Status {
    fn of(told: &[ToClient]) -> Self {
        let archive = told.iter().find_map(|event| match event {
            ToClient::Archive(archive) => Some(archive),
            _ => None,
        });
        let archive = archive.unwrap();
        let ages: Vec<Option<u64>> = told
            .iter()
            .filter_map(|event| match event {
                ToClient::Session(session) => Some(session.age_secs),
                _ => None,
            })
            .collect();
        Self {
            skew_secs: archive.clock_skew_secs,
            session_age_secs: ages[..].iter().copied().next().flatten(),
            verified_age_secs: archive.verified_age_secs,
            warnings: warnings(told),
        }
    }
}

fn warnings(told: &[ToClient]) -> Vec<Warning> {
    let warnings = told.iter().filter_map(|event| match event {
        ToClient::Warned(warning) => Some(warning.clone()),
        _ => None,
    });
    warnings.collect()
}

fn names() -> Command {
    Command::ArchiveNames
}

fn backup(unattended: Option<Unattended>) -> Command {
    Command::Backup {
        archive: "home".into(),
        sources: sources_named(["volume 0"]),
        qubes: wyng_control::QubeChoice::default(),
        skip_unchanged: false,
        dry_run: false,
        live: false,
        heal: false,
        verify: false,
        max_new_bytes: None,
        prune_after: None,
        unattended,
    }
}

fn verify() -> Command {
    Command::Verify {
        archive: "home".into(),
        volumes: Vec::new(),
        session: None,
        deep: false,
        budget_bytes: None,
        unattended: None,
    }
}

fn status(trust_clock: bool) -> Command {
    Command::Status {
        archive: None,
        trust_clock,
    }
}

fn nightly() -> Command {
    backup(Some(Unattended {
        profile: "nightly".into(),
        interval_secs: DAY,
    }))
}

fn is_jump(warnings: &[Warning]) -> bool {
    warnings
        .iter()
        .any(|warning| matches!(warning, Warning::ClockJumped { .. }))
}

#[test]
fn ten_years_before_between_and_within_runs_give_the_kept_clock_nothing() {
    for jump in [10 * YEAR, -10 * YEAR] {
        let mut machine = Machine::new();
        machine.clock.jump(jump);
        let begin = (machine.chain_secs(), machine.clock.true_secs());
        for night in 0..9 {
            machine.clock.pass(DAY);
            if night % 3 == 1 {
                machine.clock.jump(-jump);
            }
            assert!(is_jump(&machine.back_up()), "{jump} in night {night}");
            if night % 3 == 2 {
                machine.clock.jump(jump);
            }
        }
        let (kept, passed) = (
            machine.chain_secs() - begin.0,
            machine.clock.true_secs() - begin.1,
        );
        assert!(
            (passed - 60..=passed + 60).contains(&kept),
            "{kept} s in {passed} s"
        );
        machine.clock.reboot(HOUR);
        machine.clock.jump(jump);
        let before = machine.chain_secs();
        machine.back_up();
        let gained = machine.chain_secs() - before;
        assert!(gained <= DAY + 60, "{gained} s over a boot of an hour");
    }
}

#[test]
fn a_wall_clock_stepped_by_23_hours_for_months_is_a_jump_and_no_time() {
    let mut machine = Machine::new();
    let begin = machine.chain_secs();
    for _ in 0..120 {
        machine.clock.pass(HOUR);
        machine.clock.jump(23 * 3600);
        assert!(is_jump(&machine.back_up()));
    }
    let kept = machine.chain_secs() - begin;
    assert!((120 * HOUR..=120 * HOUR + 600).contains(&kept), "{kept} s");
    let status = machine.status();
    assert!(is_jump(&status.warnings));
    assert!(
        status.skew_secs >= 120 * 23 * 3600 - 60,
        "{}",
        status.skew_secs
    );
}

#[test]
fn under_a_frozen_wall_clock_a_verify_ages_all_the_same() {
    let mut machine = Machine::new();
    machine.back_up();
    assert_eq!(machine.status().verified_age_secs, None, "never verified");
    assert_eq!(machine.run(verify()).0, ExitStatus::Done);
    assert!(machine.status().verified_age_secs.unwrap() < 60);
    for _ in 0..10 {
        machine.clock.freeze(DAY);
        machine.run(Command::ArchiveNames);
    }
    let age = machine.status().verified_age_secs.unwrap();
    assert!((10 * DAY..10 * DAY + 60).contains(&age), "{age} s");
}

#[test]
fn what_was_done_at_a_time_ahead_of_now_counts_as_never() {
    let mut machine = Machine::new();
    machine.clock.jump(72 * YEAR);
    machine.back_up();
    machine.run(verify());
    machine.clock.jump(-72 * YEAR);
    machine.clock.pass(DAY);
    let status = machine.status();
    assert_eq!(
        (status.session_age_secs, status.verified_age_secs),
        (None, None)
    );
}

#[test]
fn no_age_is_shown_younger_than_either_clock_says() {
    let mut machine = Machine::new();
    machine.back_up();
    machine.run(verify());
    let (wall, kept) = (0, machine.local().kept_secs);
    let mut wall_passed = wall;
    for step in 0..40_u64 {
        let jump = i64::try_from(step % 7).unwrap() * 50_000 - 100_000;
        machine.clock.pass(step * 977);
        machine.clock.jump(jump);
        wall_passed += i64::try_from(step * 977).unwrap() + jump;
        if step % 5 == 4 {
            machine.clock.reboot(step * 100);
            wall_passed += i64::try_from(step * 100).unwrap();
        }
        let status = machine.status();
        let kept_passed = machine.local().kept_secs - kept;
        match status.verified_age_secs {
            None => assert!(wall_passed < -500, "{wall_passed} s"),
            Some(age) => {
                assert!(i128::from(age) + 60 >= i128::from(wall_passed), "{age} s");
                assert!(age + 60 >= kept_passed, "{age} s after {kept_passed} s");
            }
        }
    }
}

#[test]
fn a_thousand_restarts_with_the_wall_clock_pushed_speed_the_kept_clock_fourfold_at_most() {
    let mut machine = Machine::new();
    let begin = (machine.local().kept_secs, machine.clock.true_secs());
    for _ in 0..1000 {
        machine.clock.pass(60);
        machine.run(Command::ArchiveNames);
        machine.clock.jump(23 * 3600);
        machine.clock.reboot(5);
        machine.run(Command::ArchiveNames);
    }
    let (kept, passed) = (
        machine.local().kept_secs - begin.0,
        machine.clock.true_secs() - begin.1,
    );
    assert!(kept <= 4 * passed, "{kept} s in {passed} s");
    assert!(
        kept >= 3 * passed,
        "the bound is reached: {kept} s in {passed} s"
    );
}

#[test]
fn a_night_asleep_counts_and_is_no_jump() {
    let mut machine = Machine::new();
    machine.clock.pass(10 * HOUR);
    machine.back_up();
    let before = machine.chain_secs();
    machine.clock.suspend(8 * HOUR);
    assert_eq!(machine.back_up(), []);
    let gained = machine.chain_secs() - before;
    assert!(
        (8 * HOUR - 60..=8 * HOUR + 60).contains(&gained),
        "{gained} s"
    );
}

#[test]
fn a_lost_clock_starts_anew_without_credit_is_reported_once_and_stops_no_chain() {
    for damage in [true, false] {
        let mut machine = Machine::new();
        machine.clock.pass(5 * DAY);
        machine.back_up();
        let (before, old) = (machine.chain_secs(), machine.local());
        if damage {
            machine.durable.files.get_mut("clock").unwrap()[30] ^= 1;
        } else {
            machine.durable.files.remove("clock");
        }
        assert_eq!(machine.stored(), StoredClock::Lost);
        machine.clock.pass(3 * DAY);
        assert_eq!(machine.back_up(), [Warning::ClockLost]);
        assert_eq!(machine.back_up(), []);
        let local = machine.local();
        assert_ne!(local.instance, old.instance);
        assert!(local.kept_secs < 60);
        machine.run(verify());
        machine.clock.pass(HOUR);
        machine.back_up();
        // The verify had to know the chain's time, and bound it to the new clock.
        let gained = machine.chain_secs() - before.min(machine.chain_secs());
        assert!(gained <= HOUR + 60, "{gained} s");
        let age = machine.status().verified_age_secs.unwrap();
        assert!((HOUR..HOUR + 60).contains(&age), "{age} s");
    }
}

#[test]
fn a_restored_state_directory_counts_no_time_twice() {
    let mut machine = Machine::new();
    machine.clock.pass(DAY);
    machine.back_up();
    let old = machine.durable.files["clock"].clone();
    let before = machine.clock.true_secs();
    let kept = machine.local().kept_secs;
    machine.clock.pass(2 * DAY);
    machine.back_up();
    machine.durable.files.insert("clock".into(), old);
    machine.clock.pass(DAY);
    machine.back_up();
    let (gained, passed) = (
        machine.local().kept_secs - kept,
        machine.clock.true_secs() - before,
    );
    assert!(gained <= passed + 1, "{gained} s in {passed} s");
}

#[test]
fn a_cloned_state_directory_runs_no_faster_than_its_machine() {
    let mut machine = Machine::new();
    machine.clock.pass(10 * DAY);
    machine.back_up();
    let kept = machine.local().kept_secs;
    let mut clone = Machine {
        durable: machine.durable.clone(),
        clock: MachineClock::after(0),
        seed: 500,
    };
    // Another machine: another boot, which has counted little.
    clone.clock.reboot(0);
    clone.clock.jump(YEAR);
    clone.run(verify());
    let gained = clone.local().kept_secs - kept;
    assert!(gained <= DAY, "{gained} s");
    let before = clone.local().kept_secs;
    clone.clock.pass(DAY);
    clone.run(verify());
    let gained = clone.local().kept_secs - before;
    assert!((DAY..DAY + 60).contains(&gained), "{gained} s");
}

#[test]
fn a_new_machine_brings_no_time_of_its_own_into_the_chain() {
    let mut machine = Machine::new();
    machine.clock.pass(3 * DAY);
    machine.back_up();
    let mut new = Machine {
        durable: Durable {
            store: machine.durable.store.clone(),
            ..Durable::default()
        },
        clock: machine.clock.clone(),
        seed: 700,
    };
    let mut world = new.world();
    wyng_engine::observe_clock(&mut world);
    world.clock.pass(500 * DAY);
    adopt(&mut world).unwrap();
    new.clock = world.clock.clone();
    new.durable = world.end();
    new.run(verify());
    assert!(
        new.local().kept_secs >= 500 * DAY,
        "what the machine itself counted"
    );
    // The head's own, and no more.
    let heads = 3 * DAY..3 * DAY + 60;
    assert!(heads.contains(&new.chain_secs()), "{} s", new.chain_secs());
    new.clock.pass(DAY);
    let (exit, told) = new.run(Command::ArchiveTakeOver {
        archive: "home".into(),
        promote: false,
        other_writer_is_gone: false,
    });
    assert_eq!(exit, ExitStatus::Done, "{told:?}");
    assert!(
        heads.contains(&new.chain_secs()),
        "{} s after the take-over",
        new.chain_secs()
    );
}

#[test]
fn a_jump_is_reported_until_a_person_accepts_it_and_accepting_gives_no_time() {
    let mut machine = Machine::new();
    machine.clock.pass(HOUR);
    machine.clock.jump(2 * 3600);
    assert!(is_jump(&machine.back_up()));
    assert!(is_jump(&machine.back_up()));
    assert!(is_jump(&machine.status().warnings));
    let before = machine.local();
    let (exit, told) = machine.run(status(true));
    assert_eq!((exit, warnings(&told)), (ExitStatus::Done, vec![]));
    let after = machine.local();
    assert!(after.kept_secs - before.kept_secs < 60);
    assert_eq!((after.jumped, after.parted_secs), (false, 0));
    assert_eq!(machine.back_up(), []);
    machine.clock.reboot(60);
    machine.clock.jump(-7200);
    let [Warning::ClockJumped { .. }] = machine.back_up()[..] else {
        panic!("the wall clock went back over a boot")
    };
}

#[test]
fn a_machine_that_was_off_for_a_month_has_jumped_nowhere() {
    let mut machine = Machine::new();
    machine.clock.pass(DAY);
    machine.back_up();
    machine.clock.reboot(30 * DAY);
    assert_eq!(machine.back_up(), []);
    assert_eq!(machine.status().skew_secs, 0);
}

#[test]
fn a_state_directory_whose_clock_cannot_be_stored_still_restores() {
    let mut machine = Machine::new();
    machine.back_up();
    let mut world = machine.world();
    world.files.only_looks = true;
    let clock = machine.durable.files["clock"].clone();
    machine.clock.pass(DAY);
    let exit = wyng_engine::run(&mut world, status(false));
    assert_eq!(exit, ExitStatus::Done, "{:?}", world.client.told);
    assert!(
        world.end().files["clock"] == clock,
        "a look changes no file"
    );
    let exit = wyng_engine::run(&mut world, status(true));
    let Some(ToClient::Failed(Failure::StateIo { .. })) = world.client.told.last() else {
        panic!("{exit:?}: {:?}", world.client.told)
    };
}

/// Sessions that a timer made.
fn sessions(told: &[ToClient]) -> usize {
    told.iter()
        .filter(|event| matches!(event, ToClient::BackedUp(_)))
        .count()
}

#[test]
fn a_timer_that_fires_too_soon_makes_no_session_and_a_person_always_does() {
    let mut machine = Machine::new();
    assert_eq!(sessions(&machine.run(nightly()).1), 1);
    machine.clock.pass(8 * HOUR);
    machine.clock.reboot(60);
    let (exit, told) = machine.run(nightly());
    assert_eq!((exit, sessions(&told)), (ExitStatus::Done, 0));
    let [Warning::TooSoon { left_secs }] = warnings(&told)[..] else {
        panic!("{told:?}")
    };
    assert!((3 * HOUR..=4 * HOUR).contains(&left_secs), "{left_secs} s");
    assert_eq!(machine.back_up(), []);
    machine.clock.pass(5 * HOUR);
    assert_eq!(sessions(&machine.run(nightly()).1), 1);
}

#[test]
fn neither_a_frozen_clock_nor_minutes_a_day_keep_a_timer_from_its_runs() {
    let mut frozen = Machine::new();
    let mut short = Machine::new();
    for _ in 0..20 {
        frozen.clock.freeze(DAY);
        assert_eq!(sessions(&frozen.run(nightly()).1), 1);
        short.clock.pass(600);
        assert_eq!(sessions(&short.run(nightly()).1), 1);
        short.clock.pass(60);
        short.run(Command::ArchiveNames);
        short.clock.reboot(DAY - 660);
    }
}

#[test]
fn a_timer_fired_by_jumps_makes_a_session_in_ten_minutes_at_most() {
    let mut machine = Machine::new();
    let mut made = 0;
    for _ in 0..120 {
        machine.clock.pass(60);
        machine.clock.jump(86_400);
        made += sessions(&machine.run(nightly()).1);
    }
    assert_eq!(made, 12, "in two hours");
}

#[test]
fn a_run_that_failed_is_tried_again_at_once() {
    let mut machine = Machine::new();
    machine.back_up();
    let mut world = machine.world();
    world.volumes.sources = vec![Vec::new()]; // an empty source is refused
    let exit = wyng_engine::run(&mut world, nightly());
    assert_ne!(exit, ExitStatus::Done, "{:?}", world.client.told);
    machine.clock = world.clock.clone();
    machine.durable = world.end();
    machine.clock.pass(60);
    assert_eq!(sessions(&machine.run(nightly()).1), 1);
}

/// The clock in the state directory of real programs.
fn clock_in(sandbox: &Sandbox) -> KeptClock {
    KeptClock::decode(&std::fs::read(sandbox.state().join("clock")).unwrap()).unwrap()
}

#[test]
fn the_programs_go_by_the_kernels_clocks_and_a_look_leaves_the_file_as_it_is() {
    let sandbox = Sandbox::with_archive(&[]);
    let clock = clock_in(&sandbox);
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let id = u128::from_str_radix(&id.trim().replace('-', ""), 16).unwrap();
    assert_eq!(clock.last.boot, id.to_be_bytes());
    assert!(clock.last.boottime_secs >= clock.last.awake_secs);
    assert!(clock.last.awake_secs > 0);
    let jumped = KeptClock {
        jumped: true,
        parted_secs: 7200,
        ..clock
    };
    let bytes = jumped.encode();
    std::fs::write(sandbox.state().join("clock"), &bytes).unwrap();
    let status = sandbox.wyng(&["status"]);
    let archive = &status.success().json["archives"][0];
    let skew = archive["clock_skew_seconds"].as_i64().unwrap();
    assert!((7000..7400).contains(&skew), "{skew} s");
    assert!(archive["last_verify_age_seconds"].is_null());
    assert_eq!(status.json["warnings"][0]["code"], "clock-jumped");
    assert_eq!(std::fs::read(sandbox.state().join("clock")).unwrap(), bytes);
    let trusted = sandbox.wyng(&["status", "--trust-clock"]);
    assert!(trusted.success().json["warnings"].is_null());
    assert!(!clock_in(&sandbox).jumped);
}

#[test]
fn a_service_observes_its_clock_although_nobody_calls() {
    let mut sandbox = Sandbox::with_archive(&[]);
    let mut clock = clock_in(&sandbox);
    let back_secs = clock.last.awake_secs.min(1000) / 2;
    assert!(back_secs > 0, "this machine has just been started");
    clock.last.boottime_secs -= back_secs;
    clock.last.awake_secs -= back_secs;
    clock.last.wall_secs -= i64::try_from(back_secs).unwrap();
    std::fs::write(sandbox.state().join("clock"), clock.encode()).unwrap();
    let _service = Service::start(&mut sandbox);
    until("the clock is observed", || {
        clock_in(&sandbox).kept_secs >= clock.kept_secs + back_secs
    });
}
