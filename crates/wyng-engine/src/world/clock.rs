// SPDX-License-Identifier: GPL-3.0-or-later
//! The clocks of this machine, and how much processor time and memory this process used.

/// Clocks, and counters of this process.
pub trait Clock {
    /// Nanoseconds since 1970 UTC by the wall clock.
    fn wall_nanos(&mut self) -> u64;
    /// Whole seconds since 1970 UTC by the wall clock.
    fn wall_secs(&mut self) -> i64 {
        i64::try_from(self.wall_nanos() / 1_000_000_000).unwrap_or(i64::MAX)
    }
    /// Nanoseconds of a clock that only goes forward.
    fn monotonic_nanos(&mut self) -> u64;
    /// A clock that nobody can push, seconds; `None` if this machine counts none.
    fn kept_secs(&mut self) -> Option<u64> {
        None
    }
    /// Processor time that this process has used, microseconds.
    fn cpu_micros(&mut self) -> u64;
    /// Peak of the memory of this process, bytes; 0: not measured.
    fn peak_bytes(&mut self) -> u64 {
        0
    }
}
