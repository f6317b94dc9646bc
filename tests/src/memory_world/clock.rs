// SPDX-License-Identifier: GPL-3.0-or-later
//! The clocks of a machine whose wall clock, restarts and sleeps are the test's.

use wyng_engine::world::Clock;

const NANOS_A_SEC: u64 = 1_000_000_000;
/// Time that passes between two readings of any clock, nanoseconds.
const LOOK_NANOS: u64 = 1_000_000;
/// The wall clock of the first second of all worlds, seconds since 1970 UTC.
const BEGIN_SECS: i64 = 1_900_000_000;

/// The clocks of a machine. The true time is known to the test alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineClock {
    true_nanos: u64,
    boot: u64,
    booted_nanos: u64,
    asleep_nanos: u64,
    wall_ahead_secs: i64,
}

impl MachineClock {
    /// The clock of a machine in its first boot, this many seconds after the first.
    pub fn after(secs: u64) -> Self {
        Self {
            true_nanos: secs.saturating_mul(NANOS_A_SEC),
            boot: 1,
            booted_nanos: 0,
            asleep_nanos: 0,
            wall_ahead_secs: BEGIN_SECS,
        }
    }

    /// The true time, seconds since the first.
    pub fn true_secs(&self) -> u64 {
        self.true_nanos / NANOS_A_SEC
    }

    /// Time passes while the machine is awake.
    pub fn pass(&mut self, secs: u64) {
        self.true_nanos += secs * NANOS_A_SEC;
    }

    /// The same while the wall clock stands still.
    pub fn freeze(&mut self, secs: u64) {
        self.pass(secs);
        self.jump(-i64::try_from(secs).unwrap());
    }

    /// Somebody sets the wall clock ahead, or back.
    pub fn jump(&mut self, secs: i64) {
        self.wall_ahead_secs += secs;
    }

    /// The machine is off for some time, and starts again.
    pub fn reboot(&mut self, off_secs: u64) {
        self.pass(off_secs);
        self.boot += 1;
        self.booted_nanos = self.true_nanos;
        self.asleep_nanos = 0;
    }

    /// The machine sleeps.
    pub fn suspend(&mut self, secs: u64) {
        self.pass(secs);
        self.asleep_nanos += secs * NANOS_A_SEC;
    }

    fn look(&mut self) -> u64 {
        self.true_nanos += LOOK_NANOS;
        self.true_nanos
    }
}

impl Clock for MachineClock {
    fn wall_nanos(&mut self) -> u64 {
        let ahead = i128::from(self.wall_ahead_secs) * i128::from(NANOS_A_SEC);
        u64::try_from(i128::from(self.look()) + ahead).unwrap_or(0)
    }

    fn monotonic_nanos(&mut self) -> u64 {
        self.look() - self.booted_nanos - self.asleep_nanos
    }

    fn boottime_nanos(&mut self) -> u64 {
        self.look() - self.booted_nanos
    }

    fn boot_id(&self) -> [u8; 16] {
        u128::from(self.boot).to_le_bytes()
    }

    fn cpu_micros(&mut self) -> u64 {
        0
    }
}
