// SPDX-License-Identifier: GPL-3.0-or-later
//! Waits until a daemon's socket may have appeared: the kernel reports what changes in its folder.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;

/// What may make a socket answer: it, or a folder above it, appears or changes its mode.
const CHANGES: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::ONLYDIR);

/// The nearest folder above a socket that exists, being watched.
pub(crate) struct Arrival {
    changes: OwnedFd,
}

impl Arrival {
    /// Watches from now on. A folder that comes into being meanwhile is a change too: the caller
    /// then begins anew with it.
    pub(crate) fn near(socket: &Path) -> Result<Self, Errno> {
        let changes = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let whole = std::path::absolute(socket).unwrap_or_else(|_| PathBuf::from(socket));
        let mut found = Err(Errno::NOENT);
        for folder in whole.ancestors().skip(1) {
            found = inotify::add_watch(&changes, folder, CHANGES);
            if found.is_ok() {
                break;
            }
        }
        found.map(|_| Self { changes })
    }

    /// Readable once something changed.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.changes.as_fd()
    }
}
