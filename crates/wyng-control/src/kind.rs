// SPDX-License-Identifier: GPL-3.0-or-later
//! What can lie at a path and hold no volume.

use bincode::{Decode, Encode};

/// Kinds of files that cannot be a source.
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
    /// Its name with an article.
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

/// What lies where a target is to be, and can hold no volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum Unfit {
    /// A file of a kind that has no bytes at fixed places.
    Kind(FileKind),
    /// A symbolic link that leads nowhere.
    DeadLink,
    /// A name in `/dev` that no device has.
    NoDevice,
}

impl Unfit {
    /// As a part of a sentence: "PATH is …".
    pub fn phrase(self) -> &'static str {
        match self {
            Self::Kind(kind) => kind.name(),
            Self::DeadLink => "a symbolic link that leads nowhere",
            Self::NoDevice => {
                "a name in /dev without a device: a file made there is only in memory"
            }
        }
    }
}
