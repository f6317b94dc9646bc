// SPDX-License-Identifier: GPL-3.0-or-later
//! Little-endian fields, read and written in order, and the errors of both. No frame is known here.

use core::fmt;

use crate::{BlobName, HEADER_BYTES};

/// Why a frame is refused. Every variant ends the call: the start of the next frame cannot be
/// found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// The first byte names no frame that this end may receive.
    UnknownKind(u8),
    /// The kind may not have the length in the header.
    Length {
        /// The kind, as in the header.
        kind: u8,
        /// The length that the header claims.
        bytes: u32,
    },
    /// The input is shorter than the layout.
    Truncated,
    /// The input is longer than the layout.
    Trailing,
    /// A byte that must be zero is not.
    Reserved,
    /// The status is unknown to this version.
    UnknownStatus(u8),
    /// The flag is unknown to this version.
    UnknownFlag(u8),
    /// A number, length or version is beyond its bound, or the length contradicts the status.
    OutOfBounds,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKind(kind) => {
                write!(f, "a frame of kind {kind:#04x} may not come from that end")
            }
            Self::Length { kind, bytes } => {
                write!(f, "a frame of kind {kind:#04x} cannot have {bytes} bytes")
            }
            Self::Truncated => f.write_str("the frame is too short"),
            Self::Trailing => f.write_str("bytes follow the frame's last field"),
            Self::Reserved => f.write_str("a reserved byte is not zero"),
            Self::UnknownStatus(status) => write!(f, "unknown status {status}"),
            Self::UnknownFlag(flags) => write!(f, "unknown flag in {flags:#04x}"),
            Self::OutOfBounds => f.write_str("a value is out of bounds"),
        }
    }
}

impl core::error::Error for DecodeError {}

/// Why a frame cannot be encoded: always a defect of the caller, who has sent nothing yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncodeError {
    /// The buffer is shorter than the frame.
    Buffer,
    /// The other end would refuse the value of a field.
    OutOfBounds,
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Buffer => "the buffer is shorter than the frame",
            Self::OutOfBounds => "a field of the frame is out of bounds",
        })
    }
}

impl core::error::Error for EncodeError {}

/// Splits a header into kind and length. The caller checks that the kind may have the length.
pub(crate) fn header(bytes: &[u8; HEADER_BYTES]) -> Result<(u8, u32), DecodeError> {
    let [kind, a, b, c, length @ ..] = *bytes;
    if [a, b, c] != [0; 3] {
        return Err(DecodeError::Reserved);
    }
    Ok((kind, u32::from_le_bytes(length)))
}

/// The part of a frame that is not read yet.
pub(crate) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// Starts after the header, and checks that the header states the length of the rest. Returns
    /// the kind too.
    pub(crate) fn behind_header(frame: &'a [u8]) -> Result<(u8, Self), DecodeError> {
        let (head, rest) = frame
            .split_first_chunk::<HEADER_BYTES>()
            .ok_or(DecodeError::Truncated)?;
        let (kind, claimed) = header(head)?;
        match u32::try_from(rest.len()) {
            Ok(given) if given == claimed => Ok((kind, Self(rest))),
            Ok(given) if given < claimed => Err(DecodeError::Truncated),
            _ => Err(DecodeError::Trailing),
        }
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (field, rest) = self
            .0
            .split_first_chunk::<N>()
            .ok_or(DecodeError::Truncated)?;
        self.0 = rest;
        Ok(*field)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array().map(u8::from_le_bytes)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn u128(&mut self) -> Result<u128, DecodeError> {
        self.array().map(u128::from_le_bytes)
    }

    /// The number of a PUT, DELETE or request, counted from 1.
    pub(crate) fn number(&mut self) -> Result<u64, DecodeError> {
        match self.u64()? {
            0 => Err(DecodeError::OutOfBounds),
            number => Ok(number),
        }
    }

    pub(crate) fn name(&mut self) -> Result<BlobName, DecodeError> {
        self.array().map(BlobName)
    }

    /// A byte with at most its lowest bit set.
    pub(crate) fn flag(&mut self) -> Result<bool, DecodeError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(DecodeError::UnknownFlag(other)),
        }
    }

    pub(crate) fn zeros<const N: usize>(&mut self) -> Result<(), DecodeError> {
        if self.array::<N>()? == [0; N] {
            Ok(())
        } else {
            Err(DecodeError::Reserved)
        }
    }

    pub(crate) fn remainder(self) -> &'a [u8] {
        self.0
    }

    /// Splits off the last `length` bytes.
    pub(crate) fn split_end(self, length: usize) -> Result<(Self, Self), DecodeError> {
        let before = self.0.len().checked_sub(length);
        let (before, end) = before
            .and_then(|before| self.0.split_at_checked(before))
            .ok_or(DecodeError::Truncated)?;
        Ok((Self(before), Self(end)))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn end(self) -> Result<(), DecodeError> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(DecodeError::Trailing)
        }
    }
}

/// Writes a header and the fields in order into the caller's buffer, and returns the written part.
pub(crate) fn encode<'b>(
    out: &'b mut [u8],
    kind: u8,
    fields: &[&[u8]],
) -> Result<&'b [u8], EncodeError> {
    let rest_bytes: usize = fields.iter().map(|field| field.len()).sum();
    let length = u32::try_from(rest_bytes).map_err(|_| EncodeError::OutOfBounds)?;
    let frame_bytes = rest_bytes
        .checked_add(HEADER_BYTES)
        .ok_or(EncodeError::OutOfBounds)?;
    let frame = out.get_mut(..frame_bytes).ok_or(EncodeError::Buffer)?;

    let mut rest = &mut *frame;
    for field in [&[kind, 0, 0, 0][..], &length.to_le_bytes()]
        .iter()
        .chain(fields)
    {
        let (place, behind) = rest
            .split_at_mut_checked(field.len())
            .ok_or(EncodeError::Buffer)?;
        place.copy_from_slice(field);
        rest = behind;
    }
    Ok(frame)
}

/// Defines an enum of one byte: its variants, their bytes, and the conversion from a byte.
macro_rules! byte_enum {
    ($(#[$meta:meta])* $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $byte:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum $name { $($(#[$variant_meta])* $variant = $byte,)+ }

        impl $name {
            /// Every value, in ascending order of the bytes.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The byte on the wire.
            pub const fn byte(self) -> u8 {
                self as u8
            }

            /// The value of a byte from the wire; `None` for an unknown byte.
            pub const fn from_byte(byte: u8) -> Option<Self> {
                match byte { $($byte => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}
pub(crate) use byte_enum;
