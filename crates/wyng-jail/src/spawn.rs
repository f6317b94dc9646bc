// SPDX-License-Identifier: GPL-3.0-or-later
//! Starting a program with exactly the descriptors that it should hold.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::ptr;

use rustix::process::{Pid, PidfdFlags};

/// A program that was started.
pub struct Started {
    /// The child; its owner must reap it.
    pub child: Child,
    /// A pidfd, readable when the child has ended.
    pub ended: OwnedFd,
}

/// The signals that ask a process to end. A process that ignores them resets them in the programs
/// that it starts.
const STOP_SIGNALS: [libc::c_int; 2] = [libc::SIGTERM, libc::SIGINT];

/// Ignores the signals that ask this process to end; its parent ends it. So a signal to the whole
/// process group acts only on the process that knows the order in which the others end.
pub fn ignore_stop() -> io::Result<()> {
    for signal in STOP_SIGNALS {
        // SAFETY: ignoring a signal runs no function.
        if unsafe { libc::signal(signal, libc::SIG_IGN) } == libc::SIG_ERR {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Lowest number at which descriptors are parked while they are moved to their places: above every
/// number that a role uses.
const PARKING: RawFd = 100;

/// Starts `command` with the given descriptors at the given numbers (3 and above), the standard
/// streams of the command, no other descriptor open, and no signal blocked. The child is killed
/// when the calling thread ends.
pub fn start(mut command: Command, descriptors: Vec<(OwnedFd, RawFd)>) -> io::Result<Started> {
    let places: Vec<(RawFd, RawFd)> = descriptors
        .iter()
        .map(|(descriptor, place)| (descriptor.as_raw_fd(), *place))
        .collect();
    if places
        .iter()
        .any(|(_, place)| !(3..PARKING).contains(place))
    {
        return Err(io::Error::other("a descriptor's place is out of bounds"));
    }
    let mut parked = vec![0; places.len()];
    let arrange = move || {
        // Only system calls from here on: nothing may be allocated or locked between fork and exec.
        unblock_all()?;
        for signal in STOP_SIGNALS {
            // SAFETY: the default action runs no function of this program.
            if unsafe { libc::signal(signal, libc::SIG_DFL) } == libc::SIG_ERR {
                return Err(io::Error::last_os_error());
            }
        }
        // SAFETY: prctl with these arguments touches no memory.
        check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) })?;
        for ((from, _), parking) in places.iter().zip(parked.iter_mut()) {
            // SAFETY: fcntl duplicates a descriptor of this process and touches no memory.
            *parking = check(unsafe { libc::fcntl(*from, libc::F_DUPFD_CLOEXEC, PARKING) })?;
        }
        // SAFETY: the call only marks descriptors of this process, and touches no memory.
        check(unsafe {
            libc::close_range(
                3,
                libc::c_uint::MAX,
                libc::CLOSE_RANGE_CLOEXEC as libc::c_int,
            )
        })?;
        for ((_, place), parking) in places.iter().zip(parked.iter()) {
            // SAFETY: dup2 of an open descriptor; the copy is not marked, so it stays open.
            check(unsafe { libc::dup2(*parking, *place) })?;
        }
        Ok(())
    };
    // SAFETY: `arrange` makes only async-signal-safe calls, and owns everything that it touches.
    unsafe { command.pre_exec(arrange) };
    let child = command.spawn()?;
    drop(descriptors);
    let pid = Pid::from_child(&child);
    let ended = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
    Ok(Started { child, ended })
}

/// Signals that a program survives which must not end in the middle of its work. `SIGPIPE` is among
/// them because the process that reads its output may be gone.
const FATAL_BY_DEFAULT: [libc::c_int; 4] =
    [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGPIPE];

/// Starts a program that must come to its own end, such as lvm: it is in a session of its own, is
/// not killed with its parent, ignores the signals that would end it, and gets nothing from
/// standard input and no descriptor beyond the standard streams.
pub fn start_unkillable(mut command: Command) -> io::Result<Child> {
    let alone = || {
        // Only system calls from here on: nothing may be allocated or locked between fork and exec.
        unblock_all()?;
        for signal in FATAL_BY_DEFAULT {
            // SAFETY: ignoring a signal runs no function.
            if unsafe { libc::signal(signal, libc::SIG_IGN) } == libc::SIG_ERR {
                return Err(io::Error::last_os_error());
            }
        }
        // SAFETY: prctl with these arguments touches no memory.
        check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, 0) })?;
        // SAFETY: the call takes no argument and touches no memory.
        check(unsafe { libc::setsid() })?;
        // SAFETY: the call only marks descriptors of this process, and touches no memory.
        check(unsafe {
            libc::close_range(
                3,
                libc::c_uint::MAX,
                libc::CLOSE_RANGE_CLOEXEC as libc::c_int,
            )
        })?;
        Ok(())
    };
    command.stdin(Stdio::null());
    // SAFETY: `alone` makes only async-signal-safe calls, and owns everything that it touches.
    unsafe { command.pre_exec(alone) };
    command.spawn()
}

/// Has the program begin with no signal blocked. Whoever hears signals through a descriptor blocks
/// them, and a program that it starts would inherit that.
pub fn unblock_signals(command: &mut Command) {
    // SAFETY: `unblock_all` makes only async-signal-safe calls.
    unsafe { command.pre_exec(unblock_all) };
}

fn unblock_all() -> io::Result<()> {
    let mut none = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the pointer is valid for one set, which the call fills.
    check(unsafe { libc::sigemptyset(none.as_mut_ptr()) })?;
    // SAFETY: the call above filled the set; nothing is written to the null pointer.
    check(unsafe { libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), ptr::null_mut()) })?;
    Ok(())
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_must_come_to_its_end_outlives_signals_and_leaves_the_session() {
        let mut command = Command::new("/bin/sh");
        let script = "kill -TERM $$; kill -INT $$; kill -HUP $$; cat /proc/$$/stat; ls /proc/$$/fd";
        command.args(["-c", script]).stdout(Stdio::piped());
        let child = start_unkillable(command).unwrap();
        let process = child.id().to_string();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{said}");
        let (stat, descriptors) = said.split_once('\n').unwrap();
        let session = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(3);
        assert_eq!(session, Some(process.as_str()), "it leads a session");
        let open: Vec<i32> = descriptors
            .split_whitespace()
            .map(|fd| fd.parse().unwrap())
            .collect();
        assert!(open.iter().all(|fd| *fd <= 2 || *fd >= 10), "{open:?}");
    }
}
