// SPDX-License-Identifier: GPL-3.0-or-later
//! The deadlines of one call: the helper's HELLO, its silence, progress while an answer is
//! outstanding, and the daemon's own keep-alives. No clock is read here: whoever calls passes the
//! time.

use std::time::{Duration, Instant};

use wyng_config::Config;
use wyng_wire::{KEEP_ALIVE_SECS, WATCHDOG_SECS};

use super::pace::Pace;
use crate::ipc::FarEndFault;

/// Extra time for the helper's HELLO, after qrexec's own start timeout.
const GREETING: Duration = Duration::from_secs(10);

/// The time limits of a call.
#[derive(Debug, Clone, Copy)]
pub(in crate::transport) struct Limits {
    /// Maximum time between two writes to the helper.
    keep_alive: Duration,
    /// Maximum time until the helper's HELLO.
    greeting: Duration,
    /// Maximum time between two bytes from the helper, once it has said HELLO.
    silence: Duration,
    /// Maximum time without progress while an answer is outstanding; keep-alives do not count.
    /// [`Pace`] defines progress.
    stall: Duration,
}

impl Limits {
    /// The protocol's limits, and those of the configuration.
    pub(in crate::transport) fn of(config: &Config) -> Self {
        Self {
            keep_alive: Duration::from_secs(KEEP_ALIVE_SECS),
            greeting: Duration::from_secs(config.qubes.start_timeout_secs).saturating_add(GREETING),
            silence: Duration::from_secs(WATCHDOG_SECS),
            stall: Duration::from_secs(config.far_ends.stall_timeout_secs),
        }
    }
}

/// Whether the far end owes an answer: an opened store, a receipt, bytes, the end. A keep-alive is
/// no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outstanding {
    /// An answer is due, so time without progress counts.
    Answer,
    /// Nothing is due, and only silence counts.
    Nothing,
}

/// The deadlines of one call.
pub(super) struct Watchdog {
    limits: Limits,
    has_greeted: bool,
    /// Last byte from the helper.
    heard: Instant,
    /// Last write to the helper.
    wrote: Instant,
    /// When the call began. Bytes before HELLO gain no time.
    began: Instant,
    pace: Pace,
}

impl Watchdog {
    /// A call that begins now.
    pub(super) fn new(limits: Limits, now: Instant) -> Self {
        Self {
            limits,
            has_greeted: false,
            heard: now,
            wrote: now,
            began: now,
            pace: Pace::new(limits.stall),
        }
    }

    /// Notes bytes from the helper, whatever they mean.
    pub(super) fn heard(&mut self, now: Instant) {
        self.heard = now;
    }

    /// Notes bytes that the pipe to the helper took.
    pub(super) fn wrote(&mut self, now: Instant) {
        self.wrote = now;
    }

    /// Notes the helper's HELLO, and starts the time in which the store must open.
    pub(super) fn greeted(&mut self) {
        self.has_greeted = true;
        self.pace.begin();
    }

    /// Notes that the store is open.
    pub(super) fn opened(&mut self) {
        self.pace.begin();
    }

    /// Notes progress that is worth this many bytes.
    pub(super) fn moved(&mut self, bytes: u64) {
        self.pace.moved(bytes);
    }

    /// Uses up time that this process spent waiting. The time in which it works is not waiting.
    pub(super) fn waited(&mut self, waited: Duration, outstanding: Outstanding) {
        if outstanding == Outstanding::Answer {
            self.pace.wait(waited);
        }
    }

    /// Time until the next keep-alive or deadline, milliseconds, at least 1: what is due then is
    /// over when that time has passed.
    pub(super) fn next_millis(&self, now: Instant, outstanding: Outstanding) -> u64 {
        let keep_alive = left(self.limits.keep_alive, self.wrote, now);
        let next = keep_alive.min(self.silence_left(now));
        let next = match outstanding {
            Outstanding::Answer => next.min(self.pace.left()),
            Outstanding::Nothing => next,
        };
        u64::try_from(next.as_millis())
            .unwrap_or(u64::MAX)
            .saturating_add(1)
    }

    /// Fails with [`FarEndFault::Silent`] before the helper's HELLO and [`FarEndFault::Stalled`]
    /// after it, if the helper was silent for too long or made no progress for too long.
    pub(super) fn check(&self, now: Instant, outstanding: Outstanding) -> Result<(), FarEndFault> {
        let (since, limit) = self.silence();
        let is_silent = now.saturating_duration_since(since) > limit;
        let is_stalled = outstanding == Outstanding::Answer && self.pace.left().is_zero();
        match (is_silent || is_stalled, self.has_greeted) {
            (false, _) => Ok(()),
            (true, false) => Err(FarEndFault::Silent),
            (true, true) => Err(FarEndFault::Stalled),
        }
    }

    /// Whether nothing was written for so long that the helper needs a keep-alive.
    pub(super) fn needs_keep_alive(&self, now: Instant) -> bool {
        left(self.limits.keep_alive, self.wrote, now).is_zero()
    }

    fn silence_left(&self, now: Instant) -> Duration {
        let (since, limit) = self.silence();
        left(limit, since, now)
    }

    /// Since when the helper has been silent, and for how long it may be.
    fn silence(&self) -> (Instant, Duration) {
        if self.has_greeted {
            (self.heard, self.limits.silence)
        } else {
            (self.began, self.limits.greeting)
        }
    }
}

/// What is left of `limit`, which began at `since`.
fn left(limit: Duration, since: Instant, now: Instant) -> Duration {
    limit.saturating_sub(now.saturating_duration_since(since))
}

#[cfg(test)]
mod tests {
    use super::Outstanding::{Answer, Nothing};
    use super::*;

    const LIMITS: Limits = Limits {
        keep_alive: Duration::from_secs(10),
        greeting: Duration::from_secs(130),
        silence: Duration::from_secs(60),
        stall: Duration::from_secs(300),
    };

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    fn greeted(now: Instant) -> Watchdog {
        let mut watchdog = Watchdog::new(LIMITS, now);
        watchdog.greeted();
        watchdog
    }

    #[test]
    fn a_helper_that_never_greets_is_silent_after_the_greeting_time() {
        let begin = Instant::now();
        let watchdog = Watchdog::new(LIMITS, begin);
        assert_eq!(watchdog.check(begin + secs(130), Nothing), Ok(()));
        assert_eq!(
            watchdog.check(begin + secs(131), Nothing),
            Err(FarEndFault::Silent)
        );
    }

    #[test]
    fn bytes_before_the_greeting_gain_no_time() {
        let begin = Instant::now();
        let mut watchdog = Watchdog::new(LIMITS, begin);
        watchdog.heard(begin + secs(129));
        assert_eq!(
            watchdog.check(begin + secs(131), Nothing),
            Err(FarEndFault::Silent)
        );
    }

    #[test]
    fn a_helper_that_greeted_and_says_nothing_more_is_stalled_after_a_minute() {
        let begin = Instant::now();
        let watchdog = greeted(begin);
        assert_eq!(watchdog.check(begin + secs(60), Nothing), Ok(()));
        assert_eq!(
            watchdog.check(begin + secs(61), Nothing),
            Err(FarEndFault::Stalled)
        );
    }

    #[test]
    fn a_keep_alive_ends_the_silence_and_does_not_count_as_progress() {
        let begin = Instant::now();
        let mut watchdog = greeted(begin);
        for step in 1..30 {
            watchdog.waited(secs(10), Answer);
            watchdog.heard(begin + secs(10 * step));
            assert_eq!(watchdog.check(begin + secs(10 * step), Answer), Ok(()));
        }
        watchdog.waited(secs(10), Answer);
        watchdog.heard(begin + secs(300));
        assert_eq!(
            watchdog.check(begin + secs(300), Answer),
            Err(FarEndFault::Stalled)
        );
        assert_eq!(watchdog.check(begin + secs(300), Nothing), Ok(()));
    }

    #[test]
    fn waiting_uses_up_time_only_while_an_answer_is_outstanding() {
        let begin = Instant::now();
        let mut watchdog = greeted(begin);
        watchdog.waited(secs(299), Answer);
        watchdog.waited(secs(1000), Nothing);
        assert_eq!(watchdog.check(begin, Answer), Ok(()));
        watchdog.waited(secs(1), Answer);
        assert_eq!(watchdog.check(begin, Answer), Err(FarEndFault::Stalled));
        watchdog.moved(16 << 20);
        assert_eq!(watchdog.check(begin, Answer), Ok(()));
    }

    #[test]
    fn the_next_deadline_is_the_nearest_and_is_over_when_its_time_has_passed() {
        let begin = Instant::now();
        let mut watchdog = greeted(begin);
        assert_eq!(watchdog.next_millis(begin, Nothing), 10_001);
        assert!(!watchdog.needs_keep_alive(begin + secs(9)));
        assert!(watchdog.needs_keep_alive(begin + secs(10)));
        watchdog.wrote(begin + secs(55));
        assert_eq!(watchdog.next_millis(begin + secs(55), Nothing), 5001);
        watchdog.waited(secs(298), Answer);
        assert_eq!(watchdog.next_millis(begin + secs(55), Answer), 2001);
        assert_eq!(watchdog.next_millis(begin + secs(500), Answer), 1);
    }
}
