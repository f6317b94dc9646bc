// SPDX-License-Identifier: GPL-3.0-or-later
//! How old something is. Every age that a warning goes by comes from here.

use wyng_archive::plan::age::{Age, Moment};

use crate::world::Clock;

/// Time ahead of now from which a time must be from another clock, seconds. Sessions of one second
/// are named by the following seconds, and clocks differ.
const AHEAD_SECS: i64 = 600;

/// The age of what happened at `then`, seconds since 1970 UTC; `None`: it never happened.
pub(super) fn age_of(clock: &mut impl Clock, then: Option<i64>) -> Age {
    let moment = |wall_secs| Moment {
        wall_secs,
        kept_secs: 0,
    };
    let now = clock.wall_secs();
    let is_close = |then: i64| then.saturating_sub(now) <= AHEAD_SECS;
    let then = then.map(|then| if is_close(then) { then.min(now) } else { then });
    Age::of(then.map(moment), moment(now))
}

/// An age in seconds; `None`: it never happened, or is dated ahead of now.
pub(super) fn secs(age: Age) -> Option<u64> {
    match age {
        Age::Secs(secs) => Some(secs),
        Age::Never => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct At(i64);

    impl Clock for At {
        fn wall_nanos(&mut self) -> u64 {
            u64::try_from(self.0).unwrap() * 1_000_000_000
        }

        fn monotonic_nanos(&mut self) -> u64 {
            0
        }

        fn cpu_micros(&mut self) -> u64 {
            0
        }
    }

    #[test]
    fn a_time_a_little_ahead_is_now_and_one_far_ahead_has_no_age() {
        let mut now = At(1_000_000);
        let mut age = |then| secs(age_of(&mut now, then));
        assert_eq!(age(Some(999_990)), Some(10));
        assert_eq!(age(Some(1_000_600)), Some(0));
        assert_eq!(age(Some(1_000_601)), None);
        assert_eq!(age(None), None);
    }
}
