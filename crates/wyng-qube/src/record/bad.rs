// SPDX-License-Identifier: GPL-3.0-or-later
//! Why a record was refused.

/// A record that is not what this version writes. It holds none of the record's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadRecord {
    /// It is longer than [`RECORD_MAX_BYTES`](super::RECORD_MAX_BYTES).
    #[error("it is longer than 1 MiB")]
    TooLong,
    /// It is no JSON text, or has a field too few, too many or of another type.
    #[error("it is not a settings record")]
    NotARecord,
    /// It is the record of a qube where that of the system is expected, or the other way round.
    #[error("it is a settings record of another kind")]
    OtherKind,
    /// A later version wrote it.
    #[error("it has version {0}, and this program knows version 1")]
    Version(u32),
    /// A field is out of its bounds, or not of its form.
    #[error("its field {0} is out of bounds")]
    Field(&'static str),
    /// It says what another text says in the one form that this program writes.
    #[error("it is not in the form in which it was written")]
    NotCanonical,
}
