// SPDX-License-Identifier: GPL-3.0-or-later
//! Things that may have a blob's name without being a blob, as a person, another program or a
//! repaired file system leaves them.

use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, mknodat};

/// A kind of directory entry that is no regular file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Foreign {
    /// A folder.
    Folder,
    /// A link to a file that can be read.
    Link,
    /// A named pipe: opening it waits for the other end.
    Pipe,
    /// A socket: it cannot be opened.
    Socket,
}

impl Foreign {
    /// Each kind.
    pub const ALL: [Self; 4] = [Self::Folder, Self::Link, Self::Pipe, Self::Socket];

    /// Replaces the file at `path` by one; the folder above is made.
    pub fn place(self, path: &Path) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let _ = std::fs::remove_file(path);
        match self {
            Self::Folder => std::fs::create_dir(path).unwrap(),
            Self::Link => symlink("/etc/passwd", path).unwrap(),
            Self::Pipe => mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap(),
            Self::Socket => bind(path),
        }
    }

    /// Removes it.
    pub fn remove(self, path: &Path) {
        match self {
            Self::Folder => std::fs::remove_dir(path).unwrap(),
            Self::Link | Self::Pipe | Self::Socket => std::fs::remove_file(path).unwrap(),
        }
    }
}

/// A socket's path has a short maximum length.
fn bind(path: &Path) {
    let folder = tempfile::tempdir().unwrap();
    let short = folder.path().join("to");
    symlink(path.parent().unwrap(), &short).unwrap();
    drop(UnixListener::bind(short.join("s")).unwrap());
    std::fs::rename(path.parent().unwrap().join("s"), path).unwrap();
}
