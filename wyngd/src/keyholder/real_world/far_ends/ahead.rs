// SPDX-License-Identifier: GPL-3.0-or-later
//! Whether the wall clock is known to be ahead. A request that is signed then counts at a time that
//! is still to come, and whoever keeps it can send it once more at that time. It does no I/O but
//! reading clocks.

use wyng_archive::plan::kept_clock::PARTED_MAX_SECS;
use wyng_control::Failure;
use wyng_engine::world::Clock;

use crate::keyholder::real_world::{KernelClock, StateFiles};

/// The clocks of this machine, and the one that it keeps.
pub(in crate::keyholder::real_world) struct Clocks {
    clock: KernelClock,
    files: StateFiles,
}

impl Clocks {
    /// The kernel's clocks, and the state directory, of which only the kept clock is read.
    pub(in crate::keyholder::real_world) fn new(clock: KernelClock, files: StateFiles) -> Self {
        Self { clock, files }
    }

    /// How the wall clock stands now.
    pub(super) fn now(&mut self) -> Result<Ahead, Failure> {
        let parted_secs = wyng_engine::parted_secs(&mut self.files, &mut self.clock)?;
        let (wall_secs, boottime_secs) = read(&mut self.clock.clone());
        Ok(Ahead {
            parted_secs,
            wall_secs,
            boottime_secs,
            clock: self.clock.clone(),
        })
    }
}

/// How far the wall clock was ahead when a call began, and what the clocks were then.
pub(super) struct Ahead {
    parted_secs: i64,
    wall_secs: i64,
    boottime_secs: i64,
    clock: KernelClock,
}

impl Ahead {
    /// A call that begins now, with a wall clock that is so much ahead.
    #[cfg(test)]
    pub(super) fn of(parted_secs: i64) -> Self {
        let mut clock = KernelClock::start();
        let (wall_secs, boottime_secs) = read(&mut clock);
        Self {
            parted_secs,
            wall_secs,
            boottime_secs,
            clock,
        }
    }

    /// Whether the wall clock is further ahead now than a clock drifts: it jumped before the call
    /// began, or since.
    pub(super) fn has_jumped(&self) -> bool {
        let (wall_secs, boottime_secs) = read(&mut self.clock.clone());
        self.is_too_far(wall_secs, boottime_secs)
    }

    fn is_too_far(&self, wall_secs: i64, boottime_secs: i64) -> bool {
        let wall = wall_secs.saturating_sub(self.wall_secs);
        let counted = boottime_secs.saturating_sub(self.boottime_secs);
        let parted = self
            .parted_secs
            .saturating_add(wall.saturating_sub(counted));
        u64::try_from(parted).is_ok_and(|ahead| ahead > PARTED_MAX_SECS)
    }
}

/// The wall clock and the kernel's count, seconds.
fn read(clock: &mut KernelClock) -> (i64, i64) {
    let boottime_secs = clock.boottime_nanos() / 1_000_000_000;
    let wall_secs = clock.wall_nanos() / 1_000_000_000;
    let secs = |secs| i64::try_from(secs).unwrap_or(i64::MAX);
    (secs(wall_secs), secs(boottime_secs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_ahead_if_it_jumped_before_the_call_or_in_it_and_not_once_it_was_put_back() {
        let begun = |parted_secs| Ahead {
            parted_secs,
            wall_secs: 1_000_000,
            boottime_secs: 500,
            clock: KernelClock::start(),
        };
        assert!(!begun(0).is_too_far(1_000_010, 510));
        assert!(!begun(3600).is_too_far(1_000_010, 510));
        assert!(begun(3601).is_too_far(1_000_010, 510));
        assert!(!begun(0).is_too_far(1_003_600, 500), "a drift");
        assert!(begun(0).is_too_far(1_003_601, 500), "a jump in the call");
        assert!(!begun(0).is_too_far(1_090_000, 90_500), "a day has passed");
        assert!(!begun(7200).is_too_far(1_000_010 - 7200, 510), "put back");
        assert!(!begun(-100_000).is_too_far(1_000_010, 510), "behind");
        assert!(Ahead::of(7200).has_jumped() && !Ahead::of(0).has_jumped());
    }
}
