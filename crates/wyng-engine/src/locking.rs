// SPDX-License-Identifier: GPL-3.0-or-later
//! Object locks: until which day that which is pushed now cannot be deleted. The day follows from
//! this machine's clocks alone. A wall clock that a VM has set far ahead must not lock anything for
//! years, since nobody can take a lock back.

use wyng_archive::plan::age::Moment;
use wyng_control::Failure;
use wyng_wire::Service;

use crate::archive::Archive;
use crate::kept::{kept_now, kept_of_commit, local_clock};
use crate::world::{Clock, Parts, World, lock_days};

/// How far the wall clock may be ahead of what the kept clock says since the newest commit, seconds:
/// a kept clock counts at most a day of the time that the machine was off.
const AHEAD_MAX_SECS: i64 = 25 * 3600;
const SECS_A_DAY: i64 = 86_400;

/// Starts the far end that pushes to the archive's store, which locks what is pushed if the store's
/// address says so.
pub(crate) fn connect_to_push<P: Parts>(
    world: &mut World<P>,
    archive: &mut Archive,
) -> Result<(), Failure> {
    archive.lock_until_day = day_for(world, archive, &archive.toml.store.clone())?;
    archive.connect(&mut world.store, Service::Push)
}

/// Until which day the store at this address is to lock what an archive pushes now; 0: nothing is
/// locked. A wall clock that jumped, and that no person has looked at since, locks nothing.
pub(crate) fn day_for<P: Parts>(
    world: &mut World<P>,
    archive: &mut Archive,
    url: &str,
) -> Result<u32, Failure> {
    let Some(days) = lock_days(url).filter(|_| !has_jumped(world)) else {
        return Ok(0);
    };
    let now = Moment {
        kept_secs: kept_now(&mut world.files, &mut world.clock, archive)?,
        wall_secs: world.clock.wall_secs(),
    };
    let head = Moment {
        kept_secs: kept_of_commit(&archive.head),
        wall_secs: archive.head.time,
    };
    Ok(until_day(now, head, days))
}

/// The same for an archive that is being made: it has no commit yet.
pub(crate) fn first_day<P: Parts>(world: &mut World<P>, url: &str) -> u32 {
    let Some(days) = lock_days(url).filter(|_| !has_jumped(world)) else {
        return 0;
    };
    let now = Moment {
        kept_secs: 0,
        wall_secs: world.clock.wall_secs(),
    };
    until_day(now, now, days)
}

/// Whether the wall clock jumped since a person last looked. Without a clock, it may have.
fn has_jumped<P: Parts>(world: &mut World<P>) -> bool {
    local_clock(&mut world.files, &mut world.clock).map_or(true, |clock| clock.jumped)
}

/// The day at whose beginning a lock of so many days ends, counted from the beginning of 1970 UTC; 0
/// if it would end in the past by the wall clock, and so be refused.
fn until_day(now: Moment, head: Moment, days: u16) -> u32 {
    let passed = now.kept_secs.saturating_sub(head.kept_secs);
    let passed = i64::try_from(passed).unwrap_or(i64::MAX);
    let latest = head
        .wall_secs
        .saturating_add(passed)
        .saturating_add(AHEAD_MAX_SECS);
    let begin = now.wall_secs.min(latest);
    let end = begin.saturating_add(i64::from(days).saturating_mul(SECS_A_DAY));
    if end <= now.wall_secs {
        return 0;
    }
    // Up to the beginning of the next day.
    let day = end.saturating_add(SECS_A_DAY - 1).div_euclid(SECS_A_DAY);
    u32::try_from(day).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: i64 = 20_000 * SECS_A_DAY + SECS_A_DAY / 2;

    fn at(wall_secs: i64, kept_secs: u64) -> Moment {
        Moment {
            wall_secs,
            kept_secs,
        }
    }

    #[test]
    fn a_lock_lasts_for_its_days_and_to_the_end_of_the_last_one() {
        assert_eq!(until_day(at(NOON, 50), at(NOON - 40, 10), 30), 20_031);
        let midnight = 20_000 * SECS_A_DAY;
        assert_eq!(until_day(at(midnight, 0), at(midnight, 0), 30), 20_030);
    }

    #[test]
    fn a_wall_clock_that_was_set_ahead_locks_for_a_day_more_at_most() {
        let years = 5_000 * SECS_A_DAY;
        // It would end in the past by that clock: nothing is locked.
        assert_eq!(until_day(at(NOON + years, 10), at(NOON, 10), 30), 0);
        // Locks of ten years end as if the clock were a day ahead.
        assert_eq!(
            until_day(at(NOON + 20 * SECS_A_DAY, 10), at(NOON, 10), 3650),
            23_652
        );
        assert_eq!(until_day(at(NOON, 10), at(NOON, 10), 3650), 23_651);
    }

    #[test]
    fn a_machine_that_was_off_locks_for_less_and_never_until_the_past() {
        let day = 86_400;
        // Off for ten days, of which the kept clock counted one.
        let off = at(NOON + 10 * SECS_A_DAY, day);
        assert_eq!(until_day(off, at(NOON, 0), 30), 20_033);
        assert_eq!(until_day(off, at(NOON, 0), 7), 0);
    }
}
