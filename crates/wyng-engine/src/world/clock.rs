// SPDX-License-Identifier: GPL-3.0-or-later
//! The clocks of this machine, and how much processor time and memory this process used.

use wyng_archive::plan::kept_clock::Reading;

const NANOS_A_SEC: u64 = 1_000_000_000;

/// Clocks, and counters of this process.
pub trait Clock {
    /// Nanoseconds since 1970 UTC by the wall clock, which a VM may have set.
    fn wall_nanos(&mut self) -> u64;
    /// Whole seconds since 1970 UTC by the wall clock.
    fn wall_secs(&mut self) -> i64 {
        i64::try_from(self.wall_nanos() / NANOS_A_SEC).unwrap_or(i64::MAX)
    }
    /// CLOCK_MONOTONIC: time awake since the start of the machine, nanoseconds. It only goes
    /// forward.
    fn monotonic_nanos(&mut self) -> u64;
    /// CLOCK_BOOTTIME: time since the start of the machine, awake or asleep, nanoseconds. Nobody
    /// can set it.
    fn boottime_nanos(&mut self) -> u64;
    /// The kernel's random id of this boot. Zeros if it cannot be read: the kept clock then gains
    /// nothing over a boot.
    fn boot_id(&self) -> [u8; 16];
    /// The clocks by which the kept clock goes, read together.
    fn reading(&mut self) -> Reading {
        Reading {
            boot: self.boot_id(),
            boottime_secs: self.boottime_nanos() / NANOS_A_SEC,
            awake_secs: self.monotonic_nanos() / NANOS_A_SEC,
            wall_secs: self.wall_secs(),
        }
    }
    /// Processor time that this process has used, microseconds.
    fn cpu_micros(&mut self) -> u64;
    /// Peak of the memory of this process, bytes; 0: not measured.
    fn peak_bytes(&mut self) -> u64 {
        0
    }
}
