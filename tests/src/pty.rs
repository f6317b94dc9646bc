// SPDX-License-Identifier: GPL-3.0-or-later
//! A pseudo-terminal: the end at which a test sits, and the end that a program has.

use std::fs::File;
use std::os::fd::OwnedFd;

use nix::fcntl::OFlag;
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};

/// A new pseudo-terminal.
pub struct Pty {
    /// Where a person sits: reads what the program shows, writes what is typed.
    pub person: OwnedFd,
    /// The terminal of the program.
    pub program: File,
}

impl Pty {
    /// Opens both ends. Neither is passed on to programs that are started meanwhile.
    pub fn open() -> Self {
        let person = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC).unwrap();
        grantpt(&person).unwrap();
        unlockpt(&person).unwrap();
        let program = File::options()
            .read(true)
            .write(true)
            .open(ptsname_r(&person).unwrap())
            .unwrap();
        Self {
            person: person.into(),
            program,
        }
    }
}
