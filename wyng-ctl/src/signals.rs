// SPDX-License-Identifier: GPL-3.0-or-later
//! What a person says with keys and not with words: stop now (Ctrl-C, Ctrl-\, `kill`), pause
//! (Ctrl-Z), go on (`fg`). Signals are blocked and read from descriptors: no handler runs.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use nix::sys::signal::{SigSet, Signal, raise};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, Timespec};

/// The signals that are heard.
pub(crate) struct Signals {
    interrupts: SignalFd,
    stops: SignalFd,
    continues: SignalFd,
    /// Hangs up when the daemon ends.
    daemon: Option<OwnedFd>,
}

/// What was said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Said {
    /// End the command.
    Interrupt,
    /// Stop until it is continued.
    Stop,
    /// It was stopped, and goes on.
    Continue,
    /// Nothing: the daemon that waits for an answer has ended.
    DaemonGone,
}

/// What ended a wait for several descriptors.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Waited {
    /// Something was said.
    Said(Said),
    /// Which of the descriptors are ready, in the order in which they were given.
    Ready(Vec<bool>),
    /// None of them in time.
    TimeUp,
}

impl Signals {
    /// Hears from now on; to be called before any thread or program is started. A signal that the
    /// caller had ignored (`nohup`, a job in the background of a script) stays ignored. A program
    /// that is started needs its signals back: [`unblock_signals`](wyng_jail::unblock_signals).
    pub(crate) fn hear() -> io::Result<Self> {
        let ignored = ignored_signals();
        let hear = |signals: &[Signal]| -> io::Result<SignalFd> {
            let heard: SigSet = signals
                .iter()
                .copied()
                .filter(|signal| !is_in(ignored, *signal))
                .collect();
            heard.thread_block()?;
            let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
            Ok(SignalFd::with_flags(&heard, flags)?)
        };
        Ok(Self {
            interrupts: hear(&[Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM])?,
            stops: hear(&[Signal::SIGTSTP])?,
            continues: hear(&[Signal::SIGCONT])?,
            daemon: None,
        })
    }

    /// From now on a question ends with this daemon.
    pub(crate) fn ask_for(&mut self, daemon: BorrowedFd<'_>) -> io::Result<()> {
        self.daemon = Some(daemon.try_clone_to_owned()?);
        Ok(())
    }

    /// The daemon is done.
    pub(crate) fn ask_for_nobody(&mut self) {
        self.daemon = None;
    }

    /// Waits until an answer can be read, something was said, or the daemon that asked is gone.
    pub(crate) fn wait_for_answer(&self, answer: &impl AsFd) -> io::Result<Option<Said>> {
        self.poll(answer, self.daemon.as_ref())
    }

    /// Waits until `other` can be read (or its other end is gone), or something was said; that
    /// comes first.
    pub(crate) fn wait(&self, other: &impl AsFd) -> io::Result<Option<Said>> {
        self.poll(other, None)
    }

    /// Waits until one of `others` can be read (or its other end is gone), something was said, or
    /// the time is over. What was said comes first.
    pub(crate) fn wait_any(
        &self,
        others: &[BorrowedFd<'_>],
        until: Option<Instant>,
    ) -> io::Result<Waited> {
        let signals = [&self.interrupts, &self.stops, &self.continues];
        let mut polled: Vec<PollFd<'_>> = signals
            .iter()
            .map(|signal| PollFd::new(*signal, PollFlags::IN))
            .collect();
        polled.extend(others.iter().map(|other| PollFd::new(other, PollFlags::IN)));
        loop {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            let left = left.and_then(|left| Timespec::try_from(left).ok());
            rustix::io::retry_on_intr(|| rustix::event::poll(&mut polled, left.as_ref()))?;
            for (said, signal) in [Said::Interrupt, Said::Stop, Said::Continue]
                .into_iter()
                .zip(signals)
            {
                if signal.read_signal()?.is_some() {
                    return Ok(Waited::Said(said));
                }
            }
            let ready: Vec<bool> = polled
                .iter()
                .skip(signals.len())
                .map(|descriptor| !descriptor.revents().is_empty())
                .collect();
            if ready.contains(&true) {
                return Ok(Waited::Ready(ready));
            }
            if until.is_some_and(|until| until <= Instant::now()) {
                return Ok(Waited::TimeUp);
            }
        }
    }

    fn poll(&self, other: &impl AsFd, daemon: Option<&OwnedFd>) -> io::Result<Option<Said>> {
        loop {
            let mut polled = vec![
                PollFd::new(&self.interrupts, PollFlags::IN),
                PollFd::new(&self.stops, PollFlags::IN),
                PollFd::new(&self.continues, PollFlags::IN),
                PollFd::new(other, PollFlags::IN),
            ];
            // What the daemon says waits; that it hangs up is always reported.
            polled.extend(daemon.map(|daemon| PollFd::new(daemon, PollFlags::empty())));
            rustix::io::retry_on_intr(|| rustix::event::poll(&mut polled, None))?;
            let mut ready = polled
                .iter()
                .map(|descriptor| !descriptor.revents().is_empty());
            for (said, signals) in [
                (Said::Interrupt, &self.interrupts),
                (Said::Stop, &self.stops),
                (Said::Continue, &self.continues),
            ] {
                if ready.next() == Some(true) && signals.read_signal()?.is_some() {
                    return Ok(Some(said));
                }
            }
            match (ready.next(), ready.next()) {
                (_, Some(true)) => return Ok(Some(Said::DaemonGone)),
                (Some(true), _) => return Ok(None),
                // The kernel withdraws a pause that was asked for when the process is continued.
                _ => {}
            }
        }
    }

    /// Was the command to be interrupted, though nobody has asked yet?
    pub(crate) fn are_interrupted(&self) -> bool {
        self.are_interrupted_within(0)
    }

    /// Is the command interrupted now or soon? A signal that reaches several processes at once may
    /// reach this one last.
    pub(crate) fn are_interrupted_within(&self, secs: i64) -> bool {
        let patience = Timespec {
            tv_sec: secs,
            tv_nsec: 0,
        };
        let mut polled = [PollFd::new(&self.interrupts, PollFlags::IN)];
        rustix::io::retry_on_intr(|| rustix::event::poll(&mut polled, Some(&patience)))
            .is_ok_and(|ready| ready > 0)
    }

    /// Forgets interrupts so far: they were for a program that has ended.
    pub(crate) fn forget_interrupts(&self) -> io::Result<()> {
        while self.interrupts.read_signal()?.is_some() {}
        Ok(())
    }

    /// Stops, as it was asked to, until it is continued: the signal is delivered with its default
    /// action. The kernel ignores it in an orphaned process group, which nobody could continue.
    pub(crate) fn stop(&self) -> io::Result<()> {
        let stop = SigSet::from(Signal::SIGTSTP);
        raise(Signal::SIGTSTP)?;
        stop.thread_unblock()?;
        stop.thread_block()?;
        // Whoever stops here knows that it went on.
        while self.continues.read_signal()?.is_some() {}
        Ok(())
    }
}

/// Changes of the terminal's size.
pub(crate) struct Resizes(SignalFd);

impl Resizes {
    /// Hears of them from now on; as [`Signals::hear`].
    pub(crate) fn hear() -> io::Result<Self> {
        let resizes = SigSet::from(Signal::SIGWINCH);
        resizes.thread_block()?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        Ok(Self(SignalFd::with_flags(&resizes, flags)?))
    }

    /// Readable once the size has changed.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Forgets the changes so far.
    pub(crate) fn forget(&self) -> io::Result<()> {
        while self.0.read_signal()?.is_some() {}
        Ok(())
    }
}

/// The signals that the kernel does not even deliver, one bit each.
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0)
}

/// The lowest bit is signal 1.
fn is_in(mask: u64, signal: Signal) -> bool {
    u32::try_from(signal as i32)
        .ok()
        .and_then(|signal| signal.checked_sub(1))
        .and_then(|bit| mask.checked_shr(bit))
        .is_some_and(|mask| mask & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_has_its_lowest_bit_for_signal_one() {
        assert!(is_in(0x2, Signal::SIGINT) && !is_in(0x2, Signal::SIGQUIT));
        assert!(is_in(1 << 14, Signal::SIGTERM));
    }
}
