// SPDX-License-Identifier: GPL-3.0-or-later
//! Stopping like a program that never heard of Ctrl-Z, for one that has something to do before it
//! stops. Nothing is protected here; the call has no safe name elsewhere.

use std::io;
use std::mem::MaybeUninit;
use std::ptr;

/// Stops this process with the default action of `SIGTSTP`, and returns when it is continued. The
/// handler that was installed is back then.
///
/// The kernel ignores the signal in an orphaned process group, which nobody could continue; the
/// call returns at once there.
pub fn stop_by_default() -> io::Result<()> {
    let mut handled = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: a sigaction consists of integers and an optional pointer, for which zeros are values;
    // zeros are SIG_DFL with an empty mask.
    let default = unsafe { MaybeUninit::<libc::sigaction>::zeroed().assume_init() };
    // SAFETY: both pointers are valid for one sigaction.
    check(unsafe { libc::sigaction(libc::SIGTSTP, &raw const default, handled.as_mut_ptr()) })?;
    // SAFETY: it takes a number and touches no memory.
    let raised = check(unsafe { libc::raise(libc::SIGTSTP) });
    // SAFETY: the call above filled it, and both pointers are valid for what the call reads and
    // writes.
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
