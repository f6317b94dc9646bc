// SPDX-License-Identifier: GPL-3.0-or-later
//! Object locks: until which day that which is pushed now cannot be deleted. The day follows from
//! this machine's clocks alone. A wall clock that a VM has set far ahead must not lock anything for
//! years, since nobody can take a lock back. So the wall clock is believed only as far as the
//! kernel's own count bears it out since it was last believed, and never because a commit says so:
//! the commit's time came from the same clock.

use wyng_archive::format::Stamp;
use wyng_archive::plan::age::Moment;
use wyng_control::{Failure, ToClient, Warning};
use wyng_wire::Service;

use crate::archive::Archive;
use crate::kept::{kept_now, kept_of_commit, local_clock};
use crate::state::{ArchiveFolder, LockBase, PushLock};
use crate::world::{Client, Clock, LockTerms, Parts, World, lock_terms};

/// The kept time of a base that a person has just believed: the chain's own count is not at hand
/// then, and the next push takes it over. Nothing has passed since, by any count.
const JUST_NOW: u64 = u64::MAX >> 1;
/// How many times the kept time the wall clock is believed to pass: machines are off for most of
/// the time, of which the kept clock counts little.
const OFF_FACTOR: u64 = 8;
/// How far the wall clock may be ahead of that, seconds.
const AHEAD_MAX_SECS: i64 = 25 * 3600;
const SECS_A_DAY: i64 = 86_400;

/// Starts the far end that pushes to the archive's store, which locks what is pushed if the store's
/// address says so.
pub(crate) fn connect_to_push<P: Parts>(
    world: &mut World<P>,
    archive: &mut Archive,
) -> Result<(), Failure> {
    set_lock(world, archive)?;
    archive.connect(&mut world.store, Service::Push)
}

/// The same for a push whose first blob is new to the store. It also finds out what keeps two blobs
/// from one name, where that is not known: the blob is sent twice. Where requests are signed here
/// this would be no harmless trial, because other bytes are sent too; `archive open --signed` made
/// it with a blob that does not matter.
pub(crate) fn connect_to_push_anew<P: Parts>(
    world: &mut World<P>,
    archive: &mut Archive,
) -> Result<(), Failure> {
    let is_known = archive.toml.create_only.is_some();
    if is_known || archive.credentials.are_signing() {
        return connect_to_push(world, archive);
    }
    set_lock(world, archive)?;
    archive.connect_to_try(&mut world.store)
}

/// Sets how what the next push stores is locked.
pub(crate) fn set_lock<P: Parts>(
    world: &mut World<P>,
    archive: &mut Archive,
) -> Result<(), Failure> {
    let until_day = day_for(world, archive, &archive.toml.store.clone())?;
    archive.lock = PushLock {
        until_day,
        at: Stamp {
            kept_secs: kept_now(&mut world.files, &mut world.clock, archive)?,
            run: archive.head.stamp.stamp.run,
        },
        first_pack: match archive.uncommitted.packs.last() {
            Some((last, _)) => last.saturating_add(1),
            None => archive.head.next_pack(),
        },
        terms: lock_terms(&archive.toml.store).unwrap_or_default(),
    };
    Ok(())
}

/// Until which day the store at this address is to lock what an archive pushes now; 0: nothing is
/// locked, which is reported. A wall clock that jumped, and that no person has looked at since,
/// locks nothing.
pub(crate) fn day_for<P: Parts>(
    world: &mut World<P>,
    archive: &mut Archive,
    url: &str,
) -> Result<u32, Failure> {
    let Some(LockTerms { days, .. }) = lock_terms(url) else {
        return Ok(0);
    };
    if has_jumped(world) {
        return not_locked(world);
    }
    let now = Moment {
        kept_secs: kept_now(&mut world.files, &mut world.clock, archive)?,
        wall_secs: world.clock.wall_secs(),
    };
    let base = archive.toml.lock_base.unwrap_or(LockBase {
        kept_secs: kept_of_commit(&archive.head),
        wall_secs: archive.head.time,
    });
    let next = next_base(now, base);
    if archive.toml.lock_base != Some(next) {
        archive.toml.lock_base = Some(next);
        archive.folder.write_toml(&mut world.files, &archive.toml)?;
    }
    match until_day(now, base, days) {
        0 => not_locked(world),
        day => Ok(day),
    }
}

/// The same for an archive that is being made: it has no commit yet, and a person is there.
pub(crate) fn first_day<P: Parts>(world: &mut World<P>, url: &str) -> Result<u32, Failure> {
    let Some(LockTerms { days, .. }) = lock_terms(url) else {
        return Ok(0);
    };
    if has_jumped(world) {
        return not_locked(world);
    }
    let wall_secs = world.clock.wall_secs();
    let now = Moment {
        kept_secs: 0,
        wall_secs,
    };
    let base = LockBase {
        kept_secs: 0,
        wall_secs,
    };
    Ok(until_day(now, base, days))
}

/// From now on the wall clock as it is counts for all archives of this machine: a person has
/// compared it.
pub(crate) fn trust_wall<P: Parts>(world: &mut World<P>) -> Result<(), Failure> {
    let wall_secs = world.clock.wall_secs();
    for name in ArchiveFolder::names(&mut world.files)? {
        let folder = ArchiveFolder::find(&mut world.files, &name)?;
        let mut toml = folder.read_toml(&mut world.files)?;
        if toml.lock_base.is_some() {
            toml.lock_base = Some(LockBase {
                wall_secs,
                kept_secs: JUST_NOW,
            });
            folder.write_toml(&mut world.files, &toml)?;
        }
    }
    Ok(())
}

/// Reports that nothing is locked.
fn not_locked<P: Parts>(world: &mut World<P>) -> Result<u32, Failure> {
    world.client.tell(ToClient::Warned(Warning::NotLocked))?;
    Ok(0)
}

/// Whether the wall clock jumped since a person last looked. Without a clock, it may have.
fn has_jumped<P: Parts>(world: &mut World<P>) -> bool {
    local_clock(&mut world.files, &mut world.clock).map_or(true, |clock| clock.jumped)
}

/// The latest wall time that is believed now.
fn believed_secs(now: Moment, base: LockBase) -> i64 {
    let passed = now.kept_secs.saturating_sub(base.kept_secs);
    let passed = i64::try_from(passed.saturating_mul(OFF_FACTOR)).unwrap_or(i64::MAX);
    base.wall_secs.saturating_add(passed)
}

/// The base of the next lock: it never takes in the margin, which would add up from push to push.
fn next_base(now: Moment, base: LockBase) -> LockBase {
    LockBase {
        wall_secs: now.wall_secs.min(believed_secs(now, base)),
        kept_secs: now.kept_secs,
    }
}

/// The day at whose beginning a lock of so many days ends, counted from the beginning of 1970 UTC;
/// 0 if it would end in the past by the wall clock, and so be refused.
fn until_day(now: Moment, base: LockBase, days: u16) -> u32 {
    let latest = believed_secs(now, base).saturating_add(AHEAD_MAX_SECS);
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
    const DAY: u64 = 86_400;

    fn at(wall_secs: i64, kept_secs: u64) -> Moment {
        Moment {
            wall_secs,
            kept_secs,
        }
    }

    fn base(wall_secs: i64, kept_secs: u64) -> LockBase {
        LockBase {
            wall_secs,
            kept_secs,
        }
    }

    #[test]
    fn a_lock_lasts_for_its_days_and_to_the_end_of_the_last_one() {
        assert_eq!(until_day(at(NOON, 50), base(NOON - 40, 10), 30), 20_031);
        let midnight = 20_000 * SECS_A_DAY;
        assert_eq!(until_day(at(midnight, 0), base(midnight, 0), 30), 20_030);
    }

    #[test]
    fn a_wall_clock_that_was_set_ahead_locks_for_a_day_more_at_most() {
        let years = 5_000 * SECS_A_DAY;
        // It would end in the past by that clock: nothing is locked.
        assert_eq!(until_day(at(NOON + years, 10), base(NOON, 10), 30), 0);
        // Locks of ten years end as if the clock were a day ahead.
        assert_eq!(
            until_day(at(NOON + 20 * SECS_A_DAY, 10), base(NOON, 10), 3650),
            23_652
        );
        assert_eq!(until_day(at(NOON, 10), base(NOON, 10), 3650), 23_651);
    }

    #[test]
    fn a_wall_clock_that_stays_ahead_is_believed_no_further_from_push_to_push() {
        let wall_secs = NOON + 3_000 * SECS_A_DAY;
        let mut base = base(NOON, 0);
        for push in 1..=100 {
            // A push each hour.
            let now = at(wall_secs, push * 3600);
            let day = until_day(now, base, 3650);
            let counted = (push * 3600 * OFF_FACTOR).div_ceil(DAY);
            assert!(day > 0, "it would end in the future");
            assert!(u64::from(day) <= 23_652 + counted, "{push}: {day}");
            base = next_base(now, base);
        }
    }

    #[test]
    fn a_machine_that_was_off_locks_for_less_and_soon_in_full_again() {
        // Off for ten days, of which the kept clock counted one; it is believed eight.
        let off = at(NOON + 10 * SECS_A_DAY, DAY);
        let before = base(NOON, 0);
        assert_eq!(until_day(off, before, 30), 20_040);
        assert_eq!(until_day(off, before, 1), 20_011);
        let later = at(NOON + 11 * SECS_A_DAY, 2 * DAY);
        assert_eq!(until_day(later, next_base(off, before), 30), 20_042);
    }

    #[test]
    fn what_a_person_believes_is_believed_and_no_more() {
        // An old archive, whose kept clock has counted for long.
        let kept = 300 * DAY;
        let now = at(NOON + 4_000 * SECS_A_DAY, kept);
        let believed = base(now.wall_secs, JUST_NOW);
        assert_eq!(until_day(now, believed, 30), 24_031);
        assert_eq!(next_base(now, believed), base(now.wall_secs, kept));
        // The clock runs away before the next push.
        let away = at(now.wall_secs + 2_000 * SECS_A_DAY, kept + 60);
        assert_eq!(until_day(away, believed, 2_500), 24_031 + 2_500 - 30 + 1);
        assert_eq!(
            next_base(away, believed),
            base(now.wall_secs, kept + 60),
            "the margin is not taken in"
        );
    }
}
