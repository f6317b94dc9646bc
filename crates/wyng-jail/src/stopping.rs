// SPDX-License-Identifier: GPL-3.0-or-later
//! Stopping by the default action of Ctrl-Z, for a program that has work to do before it stops. It
//! protects nothing; it is here because the call is unsafe.

use std::io;
use std::mem::MaybeUninit;
use std::ptr;

/// Stops this process with the default action of `SIGTSTP`, and returns when it is continued, with
/// its handler installed again.
///
/// In an orphaned process group, which no process could continue, the kernel ignores the signal and
/// the call returns at once.
pub fn stop_by_default() -> io::Result<()> {
    let mut handled = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: a sigaction consists of integers and an optional pointer, for which zeros are valid;
    // zeros are SIG_DFL with an empty mask.
    let default = unsafe { MaybeUninit::<libc::sigaction>::zeroed().assume_init() };
    // SAFETY: both pointers are valid for one sigaction.
    check(unsafe { libc::sigaction(libc::SIGTSTP, &raw const default, handled.as_mut_ptr()) })?;
    // SAFETY: the call takes a number and touches no memory.
    let raised = check(unsafe { libc::raise(libc::SIGTSTP) });
    // SAFETY: the first call filled `handled`, and a null pointer is allowed for the old action.
    check(unsafe { libc::sigaction(libc::SIGTSTP, handled.as_ptr(), ptr::null_mut()) })?;
    raised
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
