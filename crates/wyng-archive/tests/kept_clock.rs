// SPDX-License-Identifier: GPL-3.0-or-later
//! The kept clock over simulated machines whose wall clock, restarts and sleeps somebody else owns.
//! The true time is known to the simulation alone.

use proptest::prelude::*;
use wyng_archive::format::CommitStamp;
use wyng_archive::plan::age::{Age, Moment};
use wyng_archive::plan::chain_clock::ChainClock;
use wyng_archive::plan::kept_clock::{KeptClock, Reading};

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;
const YEAR: i64 = 365 * 86_400;

/// A machine with a true time.
#[derive(Clone)]
struct Machine {
    true_secs: u64,
    boot: u32,
    booted_at: u64,
    asleep_secs: u64,
    /// Time that BOOTTIME counted in sleeps and that never passed, seconds.
    dreamt_secs: u64,
    wall_ahead_secs: i64,
}

impl Machine {
    fn new() -> Self {
        Self {
            true_secs: 0,
            boot: 1,
            booted_at: 0,
            asleep_secs: 0,
            dreamt_secs: 0,
            wall_ahead_secs: 1_700_000_000,
        }
    }

    fn read(&self) -> Reading {
        let booted_secs = self.true_secs - self.booted_at;
        let mut boot = [0; 16];
        boot[..4].copy_from_slice(&self.boot.to_le_bytes());
        Reading {
            boot,
            boottime_secs: booted_secs + self.dreamt_secs,
            awake_secs: booted_secs - self.asleep_secs,
            wall_secs: self.wall_ahead_secs.saturating_add_unsigned(self.true_secs),
        }
    }

    fn reboot(&mut self, off_secs: u64) {
        self.true_secs += off_secs;
        self.boot += 1;
        self.booted_at = self.true_secs;
        self.asleep_secs = 0;
        self.dreamt_secs = 0;
    }

    fn sleep(&mut self, secs: u64) {
        self.true_secs += secs;
        self.asleep_secs += secs;
    }
}

fn start(machine: &Machine) -> KeptClock {
    KeptClock::start([7; 16], machine.read())
}

#[test]
fn within_a_boot_a_wall_clock_set_by_ten_years_changes_nothing_but_is_a_jump() {
    for jump in [10 * YEAR, -10 * YEAR] {
        let mut machine = Machine::new();
        let mut clock = start(&machine);
        machine.true_secs += 1000;
        machine.wall_ahead_secs += jump;
        clock.observe(machine.read());
        assert_eq!((clock.kept_secs, clock.jumped), (1000, true));
    }
}

#[test]
fn ten_years_before_between_and_within_nightly_runs_move_no_night_by_more_than_a_day() {
    for jump in [10 * YEAR, -10 * YEAR] {
        let mut machine = Machine::new();
        machine.wall_ahead_secs += jump;
        let mut clock = start(&machine);
        for night in 0..30 {
            machine.true_secs += 16 * HOUR;
            clock.observe(machine.read());
            if night % 3 == 0 {
                machine.wall_ahead_secs -= jump;
            }
            machine.reboot(8 * HOUR);
            clock.observe(machine.read());
            let before = clock.kept_secs;
            if night % 3 == 1 {
                machine.wall_ahead_secs += jump;
            }
            machine.true_secs += 600;
            clock.observe(machine.read());
            assert_eq!(clock.kept_secs, before + 600);
        }
        let awake = 30 * (16 * HOUR + 600);
        assert!(clock.jumped);
        assert!((awake..=awake + 30 * DAY).contains(&clock.kept_secs));
    }
}

#[test]
fn a_wall_clock_stepped_by_23_hours_for_months_gives_no_credit_within_a_boot() {
    let mut machine = Machine::new();
    let mut clock = start(&machine);
    for _ in 0..120 * 24 {
        machine.true_secs += HOUR;
        machine.wall_ahead_secs += 23 * 3600;
        clock.observe(machine.read());
    }
    assert_eq!(clock.kept_secs, 120 * DAY);
    assert!(clock.jumped);
}

#[test]
fn a_frozen_wall_clock_stops_neither_the_kept_clock_nor_its_alarms() {
    let mut machine = Machine::new();
    let mut clock = start(&machine);
    let backup = Moment {
        wall_secs: machine.read().wall_secs,
        kept_secs: 0,
    };
    for _ in 0..10 * 24 {
        machine.true_secs += HOUR;
        machine.wall_ahead_secs -= 3600;
        clock.observe(machine.read());
    }
    let now = Moment {
        wall_secs: machine.read().wall_secs,
        kept_secs: clock.kept_secs,
    };
    assert_eq!(now.wall_secs, backup.wall_secs);
    assert_eq!(Age::of(Some(backup), now), Age::Secs(10 * DAY));
}

#[test]
fn a_thousand_reboots_with_the_wall_clock_pushed_at_each_speed_the_clock_fourfold_at_most() {
    let mut machine = Machine::new();
    let mut clock = start(&machine);
    for _ in 0..1000 {
        machine.true_secs += 60;
        clock.observe(machine.read());
        machine.wall_ahead_secs += 23 * 3600;
        machine.reboot(5);
        clock.observe(machine.read());
    }
    let (kept, passed) = (clock.kept_secs, machine.true_secs);
    assert!(kept <= 4 * passed, "{kept} s in {passed} s");
    assert!(
        kept >= 3 * passed,
        "the bound is reached: {kept} s in {passed} s"
    );
}

#[test]
fn a_boot_is_credited_by_what_it_counted_before_it_was_first_read_too() {
    let mut machine = Machine::new();
    let mut clock = start(&machine);
    machine.reboot(HOUR);
    // Ten hours on, of which one command saw the last five minutes.
    machine.true_secs += 10 * HOUR - 300;
    clock.observe(machine.read());
    machine.true_secs += 300;
    clock.observe(machine.read());
    let before = clock.kept_secs;
    machine.reboot(14 * HOUR);
    clock.observe(machine.read());
    assert_eq!(clock.kept_secs, before + 14 * HOUR);
}

#[test]
fn a_clock_that_stood_in_the_future_once_gets_credit_again_at_the_next_boot() {
    let mut machine = Machine::new();
    let mut clock = start(&machine);
    machine.wall_ahead_secs += 30 * YEAR;
    machine.true_secs += DAY;
    clock.observe(machine.read());
    machine.wall_ahead_secs -= 30 * YEAR;
    machine.reboot(HOUR);
    clock.observe(machine.read());
    assert_eq!(clock.kept_secs, DAY, "the wall went back: no credit");
    machine.true_secs += 2 * HOUR;
    clock.observe(machine.read());
    machine.reboot(HOUR);
    clock.observe(machine.read());
    assert_eq!(clock.kept_secs, DAY + 3 * HOUR);
}

#[test]
fn a_wall_clock_that_went_back_over_a_boot_is_a_jump_and_time_off_is_none() {
    let mut machine = Machine::new();
    let mut clock = start(&machine);
    machine.true_secs += 10 * DAY;
    clock.observe(machine.read());
    machine.reboot(30 * DAY);
    clock.observe(machine.read());
    assert_eq!((clock.kept_secs, clock.jumped), (11 * DAY, false));
    machine.wall_ahead_secs -= 3600;
    machine.reboot(60);
    clock.observe(machine.read());
    assert_eq!((clock.kept_secs, clock.jumped), (11 * DAY, true));
}

#[test]
fn small_steps_add_up_to_a_jump_until_a_person_has_looked() {
    let mut machine = Machine::new();
    let mut clock = start(&machine);
    for _ in 0..5 {
        assert!(!clock.jumped);
        machine.true_secs += 600;
        machine.wall_ahead_secs += 800;
        clock.observe(machine.read());
    }
    assert!(clock.jumped);
    let before = clock;
    clock.trust_wall();
    assert_eq!(
        (clock.kept_secs, clock.last),
        (before.kept_secs, before.last)
    );
    machine.true_secs += 600;
    clock.observe(machine.read());
    assert_eq!((clock.jumped, clock.parted_secs), (false, 0));
}

#[test]
fn a_restored_state_directory_gives_no_credit_for_the_same_boot() {
    let mut machine = Machine::new();
    machine.true_secs = 5000;
    let mut clock = start(&machine);
    clock.stretch_secs = 5000;
    let mut restored = machine.read();
    restored.boottime_secs -= 1000;
    restored.awake_secs -= 1000;
    restored.wall_secs += 3 * YEAR;
    clock.observe(restored);
    assert_eq!(clock.kept_secs, 0);
    let mut rebooted = restored;
    rebooted.boot = [9; 16];
    rebooted.wall_secs += YEAR;
    clock.observe(rebooted);
    assert_eq!(clock.kept_secs, 0, "nothing was counted to take credit by");
}

#[test]
fn a_cloned_state_directory_runs_no_faster_than_either_machine() {
    let mut first = Machine::new();
    let mut clock = start(&first);
    first.true_secs += 10 * DAY;
    clock.observe(first.read());
    let (mut second, mut clone) = (first.clone(), clock);
    second.reboot(HOUR);
    second.boot = 77;
    let head = ChainClock::adopt(clock.kept_secs, &clock);
    for _ in 0..50 {
        for (machine, clock) in [(&mut first, &mut clock), (&mut second, &mut clone)] {
            let before = clock.kept_secs;
            machine.true_secs += DAY;
            clock.observe(machine.read());
            assert!(clock.kept_secs - before <= DAY + HOUR);
        }
    }
    // The chain is written by one of them at a time, each time by adoption: their seconds never
    // add.
    let mut chain = head;
    chain = ChainClock::adopt(chain.now(&clock), &clone);
    assert_eq!(chain.now(&clone), 10 * DAY + 50 * DAY);
}

#[test]
fn a_new_machine_brings_no_time_of_its_own_into_the_chain() {
    let mut machine = Machine::new();
    let mut clock = KeptClock::start([1; 16], machine.read());
    machine.true_secs += 500 * DAY;
    clock.observe(machine.read());
    let head = CommitStamp::first(3 * DAY);
    let chain = ChainClock::adopt(head.stamp.kept_secs, &clock);
    let commit = head.next(chain.now(&clock));
    assert_eq!(commit.stamp.kept_secs, 3 * DAY);
    machine.true_secs += HOUR;
    clock.observe(machine.read());
    assert_eq!(chain.now(&clock), 3 * DAY + HOUR);
}

#[test]
fn a_night_asleep_counts_as_the_wall_clock_says_within_the_bounds() {
    let mut machine = Machine::new();
    let mut clock = start(&machine);
    machine.true_secs += 10 * HOUR;
    clock.observe(machine.read());
    machine.sleep(8 * HOUR);
    clock.observe(machine.read());
    assert_eq!((clock.kept_secs, clock.jumped), (18 * HOUR, false));
}

#[test]
fn a_sleep_of_which_the_hardware_clock_lies_counts_no_more_than_a_boot() {
    let mut machine = Machine::new();
    let mut clock = start(&machine);
    machine.true_secs += HOUR;
    clock.observe(machine.read());
    machine.sleep(60);
    machine.dreamt_secs += 400 * DAY;
    machine.wall_ahead_secs += 400 * 86_400;
    clock.observe(machine.read());
    assert_eq!(clock.kept_secs, HOUR + 3 * HOUR);
}

/// Events on a machine between two readings.
#[derive(Debug, Clone)]
struct Step {
    awake: u64,
    asleep: u64,
    dreamt: u64,
    off: Option<u64>,
    jump: i64,
    looked: bool,
    /// The state directory is lost.
    lost: bool,
}

fn step() -> impl Strategy<Value = Step> {
    let times = (0..100_000_u64, 0..50_000_u64, 0..1_000_000_u64);
    let rest = (
        prop::option::of(0..100_000_u64),
        -10 * YEAR..10 * YEAR,
        any::<bool>(),
        prop::bool::weighted(0.05),
    );
    (times, rest).prop_map(
        |((awake, asleep, dreamt), (off, jump, looked, lost))| Step {
            awake,
            asleep,
            dreamt,
            off,
            jump,
            looked,
            lost,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_chains_clock_never_runs_more_than_fourfold_nor_backwards(
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let mut machine = Machine::new();
        let mut clock = start(&machine);
        let mut chain = ChainClock::adopt(1000, &clock);
        let mut commit = CommitStamp::first(1000);
        for (number, step) in (0..).zip(steps) {
            machine.true_secs += step.awake;
            clock.observe(machine.read());
            machine.sleep(step.asleep);
            machine.dreamt_secs += if step.asleep > 0 { step.dreamt } else { 0 };
            machine.wall_ahead_secs += step.jump;
            clock.observe(machine.read());
            if let Some(off) = step.off {
                machine.reboot(off);
            }
            if step.lost {
                clock = KeptClock::start([number; 16], machine.read());
            }
            clock.observe(machine.read());
            if step.looked {
                clock.trust_wall();
            }
            let _rebound = chain.rebind(&clock);
            let next = commit.next(chain.now(&clock));
            prop_assert_eq!(next.follows(&commit), Ok(()));
            prop_assert!(next.stamp.kept_secs - 1000 <= 4 * machine.true_secs);
            prop_assert_eq!(next.stamp.kept_secs, chain.now(&clock));
            prop_assert!(next.stamp.run <= 1 + 4 * machine.true_secs / (12 * HOUR));
            commit = next;
            chain = ChainClock::adopt(commit.stamp.kept_secs, &clock);
        }
    }

    #[test]
    fn no_age_is_shown_younger_than_either_clock_says(
        then in (any::<i64>(), any::<u64>()),
        now in (any::<i64>(), any::<u64>()),
    ) {
        let (then, now) = (
            Moment { wall_secs: then.0, kept_secs: then.1 },
            Moment { wall_secs: now.0, kept_secs: now.1 },
        );
        match Age::of(Some(then), now) {
            Age::Never => prop_assert!(
                then.wall_secs > now.wall_secs
                    || then.kept_secs > now.kept_secs
                    || i128::from(now.wall_secs) - i128::from(then.wall_secs) > i128::from(i64::MAX)
            ),
            Age::Secs(age) => {
                prop_assert!(
                    i128::from(age) >= i128::from(now.wall_secs) - i128::from(then.wall_secs)
                );
                prop_assert!(age >= now.kept_secs.saturating_sub(then.kept_secs));
            }
        }
    }
}
