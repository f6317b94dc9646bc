// SPDX-License-Identifier: GPL-3.0-or-later
//! A limit of the rate in one direction of a call. It is kept here, in front of the pipe, so that
//! no far end can exceed it. No clock is read here: whoever calls passes the time.

use std::time::{Duration, Instant};

/// Part of a second whose bytes may move at once, as a divisor: the rate is even over longer times.
const BURSTS_A_SECOND: u64 = 8;

/// Bytes that may move, at most a burst.
pub(super) struct Throttle {
    /// Bytes a second; `None`: no limit.
    rate_bytes: Option<u64>,
    saved_bytes: u64,
    /// When `saved_bytes` was right.
    at: Instant,
}

impl Throttle {
    /// A direction in which a burst may move at once.
    pub(super) fn new(rate_bytes: Option<u64>, now: Instant) -> Self {
        Self {
            rate_bytes,
            saved_bytes: rate_bytes.map_or(0, burst_bytes),
            at: now,
        }
    }

    /// Limits the rate from now on, or no more.
    pub(super) fn set(&mut self, rate_bytes: Option<u64>, now: Instant) {
        if self.rate_bytes != rate_bytes {
            *self = Self::new(rate_bytes, now);
        }
    }

    /// Maximum number of bytes that may move now; 0 until half a burst is saved, so that they do
    /// not move one by one.
    pub(super) fn room(&self, now: Instant) -> usize {
        let Some(rate_bytes) = self.rate_bytes else {
            return usize::MAX;
        };
        let saved_bytes = self.saved_at(rate_bytes, now);
        if saved_bytes < burst_bytes(rate_bytes) / 2 {
            return 0;
        }
        usize::try_from(saved_bytes).unwrap_or(usize::MAX)
    }

    /// Notes bytes that moved.
    pub(super) fn moved(&mut self, bytes: usize, now: Instant) {
        if let Some(rate_bytes) = self.rate_bytes {
            let saved_bytes = self.saved_at(rate_bytes, now);
            self.saved_bytes = saved_bytes.saturating_sub(bytes as u64);
            self.at = now;
        }
    }

    /// Time until there is room; `None` if there is.
    pub(super) fn wait(&self, now: Instant) -> Option<Duration> {
        let rate_bytes = self.rate_bytes.filter(|_| self.room(now) == 0)?;
        let lacking = (burst_bytes(rate_bytes) / 2).saturating_sub(self.saved_at(rate_bytes, now));
        let micros = lacking.saturating_mul(1_000_000).checked_div(rate_bytes)?;
        Some(Duration::from_micros(micros))
    }

    fn saved_at(&self, rate_bytes: u64, now: Instant) -> u64 {
        let micros = now.saturating_duration_since(self.at).as_micros();
        let micros = u64::try_from(micros).unwrap_or(u64::MAX);
        let gained_bytes = rate_bytes.saturating_mul(micros) / 1_000_000;
        let saved_bytes = self.saved_bytes.saturating_add(gained_bytes);
        saved_bytes.min(burst_bytes(rate_bytes))
    }
}

fn burst_bytes(rate_bytes: u64) -> u64 {
    rate_bytes / BURSTS_A_SECOND
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: u64 = 800_000;

    /// Bytes that move in `millis`, where the caller looks again once there is room.
    fn move_for(throttle: &mut Throttle, begin: Instant, millis: u64) -> u64 {
        let (mut now, mut moved) = (begin, 0);
        let end = begin + Duration::from_millis(millis);
        while now < end {
            match throttle.wait(now) {
                Some(wait) => now += wait + Duration::from_micros(1),
                None => {
                    let room = throttle.room(now);
                    assert!(room > 0);
                    throttle.moved(room, now);
                    moved += room as u64;
                }
            }
        }
        moved
    }

    #[test]
    fn the_rate_is_kept_over_time_and_a_pause_saves_a_burst_at_most() {
        let begin = Instant::now();
        let mut throttle = Throttle::new(Some(RATE), begin);
        let moved = move_for(&mut throttle, begin, 10_000);
        assert!(
            (10 * RATE - RATE / 8..=10 * RATE + RATE / 8).contains(&moved),
            "{moved}"
        );
        let later = begin + Duration::from_secs(3600);
        let moved = move_for(&mut throttle, later, 1000);
        assert!(moved <= RATE + RATE / 4, "{moved}");
    }

    #[test]
    fn without_a_limit_everything_may_move_and_a_limit_that_ends_is_none() {
        let now = Instant::now();
        let mut throttle = Throttle::new(None, now);
        throttle.moved(1 << 40, now);
        assert_eq!((throttle.room(now), throttle.wait(now)), (usize::MAX, None));
        throttle.set(Some(RATE), now);
        throttle.moved(100_000, now);
        assert_eq!(throttle.room(now), 0);
        throttle.set(Some(RATE), now);
        assert_eq!(throttle.room(now), 0, "the same limit goes on");
        throttle.set(None, now);
        assert_eq!(throttle.room(now), usize::MAX);
    }
}
