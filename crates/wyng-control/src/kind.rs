// SPDX-License-Identifier: GPL-3.0-or-later
//! Kinds of files that cannot hold a volume.

use bincode::{Decode, Encode};

/// A kind of file without bytes at fixed offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum FileKind {
    /// A directory.
    Folder,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A character device.
    CharacterDevice,
    /// Anything else.
    Other,
}

impl FileKind {
    /// The kind's name with an article, such as `a folder`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Folder => "a folder",
            Self::Fifo => "a FIFO",
            Self::Socket => "a socket",
            Self::CharacterDevice => "a character device",
            Self::Other => "a special file",
        }
    }
}

/// Why the file at a target's path cannot hold a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum Unfit {
    /// It is of a kind without bytes at fixed offsets.
    Kind(FileKind),
    /// It is a symbolic link that leads nowhere.
    DeadLink,
    /// It would be a regular file in `/dev`, where no device has this name.
    NoDevice,
}

impl Unfit {
    /// The end of the sentence "PATH is …".
    pub fn phrase(self) -> &'static str {
        match self {
            Self::Kind(kind) => kind.name(),
            Self::DeadLink => "a symbolic link that leads nowhere",
            Self::NoDevice => {
                "a name in /dev without a device: a file created there is only in memory"
            }
        }
    }
}
