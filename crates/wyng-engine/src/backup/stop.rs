// SPDX-License-Identifier: GPL-3.0-or-later
//! Why a source could not be read, before the volume's name is put to it.

use wyng_control::{Failure, path_text};

use crate::world::Errno;

/// Why a source could not be read.
pub(crate) enum ReadStop {
    /// The system's word, and where.
    Errno(u64, Errno),
    /// It has another size than it had.
    Resized(u64, u64),
    /// Something else broke.
    Failure(Failure),
}

impl From<Failure> for ReadStop {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl ReadStop {
    /// As it is reported of a volume, whose bytes were read at `path`; empty if that is not known.
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
