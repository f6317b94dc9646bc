// SPDX-License-Identifier: GPL-3.0-or-later
//! What a person says with keys and not with words: stop now (Ctrl-C, Ctrl-\, `kill`), pause
//! (Ctrl-Z), go on (`fg`). A signal becomes a byte in a pipe; nothing is done within a handler.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags, Timespec};
use signal_hook::consts::{SIGCONT, SIGINT, SIGQUIT, SIGTERM, SIGTSTP};
use wyng_jail::stop_by_default;

/// The signals that are heard.
pub(crate) struct Signals {
    interrupts: UnixStream,
    stops: UnixStream,
    continues: UnixStream,
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

impl Signals {
    /// Hears from now on. A signal that the caller had ignored (`nohup`, a job in the background of
    /// a script) stays ignored.
    pub(crate) fn hear() -> io::Result<Self> {
        let ignored = ignored_signals();
        let pipe = |signals: &[i32]| -> io::Result<UnixStream> {
            let (read, write) = UnixStream::pair()?;
            read.set_nonblocking(true)?;
            for signal in signals.iter().filter(|signal| !is_in(ignored, **signal)) {
                signal_hook::low_level::pipe::register(*signal, write.try_clone()?)?;
            }
            Ok(read)
        };
        let interrupts = pipe(&[SIGINT, SIGQUIT, SIGTERM])?;
        Ok(Self {
            interrupts,
            stops: pipe(&[SIGTSTP])?,
            continues: pipe(&[SIGCONT])?,
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

    fn poll(&self, other: &impl AsFd, daemon: Option<&OwnedFd>) -> io::Result<Option<Said>> {
        let mut polled = vec![
            PollFd::new(&self.interrupts, PollFlags::IN),
            PollFd::new(&self.stops, PollFlags::IN),
            PollFd::new(&self.continues, PollFlags::IN),
            PollFd::new(other, PollFlags::IN),
        ];
        // What it says waits; that it hangs up is always told.
        polled.extend(daemon.map(|daemon| PollFd::new(daemon, PollFlags::empty())));
        rustix::io::retry_on_intr(|| rustix::event::poll(&mut polled, None))?;
        let ready: Vec<bool> = polled
            .iter()
            .map(|descriptor| !descriptor.revents().is_empty())
            .collect();
        let said = [
            (Said::Interrupt, &self.interrupts),
            (Said::Stop, &self.stops),
            (Said::Continue, &self.continues),
        ];
        for ((said, pipe), ready) in said.into_iter().zip(&ready) {
            if *ready {
                let mut byte = [0]; // one a signal
                let _ = rustix::io::read(pipe, &mut byte);
                return Ok(Some(said));
            }
        }
        Ok(ready.get(4).filter(|gone| **gone).map(|_| Said::DaemonGone))
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

    /// Stops, as it was asked to, until it is continued.
    pub(crate) fn stop(&self) -> io::Result<()> {
        stop_by_default()?;
        // Whoever stops here knows that it went on.
        let mut heard = [0; 64];
        let _ = rustix::io::read(&self.continues, &mut heard);
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
fn is_in(mask: u64, signal: i32) -> bool {
    u32::try_from(signal)
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
        assert!(is_in(0x2, SIGINT) && !is_in(0x2, SIGQUIT) && is_in(1 << 14, SIGTERM));
        assert!(!is_in(u64::MAX, 0) && !is_in(u64::MAX, 65));
    }
}
