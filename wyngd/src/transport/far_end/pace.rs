// SPDX-License-Identifier: GPL-3.0-or-later
//! A minimum rate for the far end: waiting uses time up, progress gives it back, and a call whose
//! time is used up is over.
//!
//! With a limit on each wait alone, a far end could last for ever by taking a few bytes just before
//! each deadline.

use std::time::Duration;

/// Minimum rate over a long wait, bytes a second: 64 kbit/s. Slower progress only delays the end of
/// the call.
const RATE_BYTES: u64 = 8 * 1024;
/// Worth of a receipt or an answered request besides its bytes, bytes.
pub(super) const ANSWER_WORTH_BYTES: u64 = 16 * 1024;
/// Worth of a listing's entry, bytes.
pub(super) const ENTRY_WORTH_BYTES: u64 = 512;

/// The waiting time that a far end has left, at most the stall limit. Time in which this process
/// works is not waiting.
pub(super) struct Pace {
    limit: Duration,
    left: Duration,
}

impl Pace {
    /// A far end with its full time.
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, left: limit }
    }

    /// Starts the next stage of the conversation, with its full time.
    pub(super) fn begin(&mut self) {
        self.left = self.limit;
    }

    /// Uses up the time that was spent waiting for an answer.
    pub(super) fn wait(&mut self, waited: Duration) {
        self.left = self.left.saturating_sub(waited);
    }

    /// Gives back the time that these bytes take at the minimum rate.
    pub(super) fn moved(&mut self, bytes: u64) {
        let micros = bytes
            .saturating_mul(1_000_000)
            .checked_div(RATE_BYTES)
            .unwrap_or(0);
        self.left = self
            .left
            .saturating_add(Duration::from_micros(micros))
            .min(self.limit);
    }

    /// The waiting time that is left.
    pub(super) fn left(&self) -> Duration {
        self.left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long a far end lasts that moves `bytes` every `every_secs` seconds, seconds; none if it
    /// lasts longer than a day.
    fn lasts(limit_secs: u64, bytes: u64, every_secs: u64) -> Option<u64> {
        let mut pace = Pace::new(Duration::from_secs(limit_secs));
        let mut waited_secs = 0u64;
        while waited_secs < 86_400 {
            pace.wait(Duration::from_secs(every_secs));
            waited_secs += every_secs;
            if pace.left.is_zero() {
                return Some(waited_secs);
            }
            pace.moved(bytes);
        }
        None
    }

    #[test]
    fn a_far_end_that_takes_a_little_before_every_deadline_does_not_last() {
        assert_eq!(lasts(300, 0, 5), Some(300));
        assert!(
            lasts(300, 4096, 5).is_some_and(|secs| secs <= 350),
            "4 KiB each 5 s"
        );
        assert!(
            lasts(300, ANSWER_WORTH_BYTES, 299).is_some_and(|secs| secs <= 600),
            "one answer just before each deadline"
        );
    }

    #[test]
    fn a_slow_link_lasts_and_so_does_one_that_pauses() {
        assert_eq!(lasts(300, 5 * 16 * 1024, 5), None, "16 KiB a second");
        assert_eq!(
            lasts(300, 16 << 20, 290),
            None,
            "a pack after each long pause"
        );
        assert_eq!(
            lasts(300, ANSWER_WORTH_BYTES, 1),
            None,
            "an answer a second"
        );
    }
}
