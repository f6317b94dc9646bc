// SPDX-License-Identifier: GPL-3.0-or-later
//! A failed read of a source, before the volume's name is added.

use wyng_control::{Failure, path_text};

use crate::world::Errno;

/// Why reading a source stopped.
pub(crate) enum ReadStop {
    /// The offset in the source, bytes, and the system's error.
    Errno(u64, Errno),
    /// The size changed: the expected and the found size, bytes.
    Resized(u64, u64),
    /// Any other failure.
    Failure(Failure),
}

impl From<Failure> for ReadStop {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl ReadStop {
    /// The failure as it is reported for a volume that was read at `path`, which is empty if it is
    /// not known.
    pub(crate) fn of_volume(self, name: &str, path: &[u8]) -> Failure {
        let (volume, path) = (name.to_owned(), path_text(path));
        match self {
            Self::Errno(offset_bytes, Errno(errno)) => Failure::SourceRead {
                volume,
                path,
                offset_bytes,
                errno,
            },
            Self::Resized(expected_bytes, found_bytes) => Failure::SourceResized {
                volume,
                path,
                expected_bytes,
                found_bytes,
            },
            Self::Failure(failure) => failure,
        }
    }
}
