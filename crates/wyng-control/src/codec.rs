// SPDX-License-Identifier: GPL-3.0-or-later
//! The encoding of local messages: bincode, bounded, exact, canonical.
//!
//! bincode alone accepts trailing bytes and over-long integers; [`decode`] refuses both. Messages
//! hold no recursive type and no list of empty elements, which its limit would not bound.

use bincode::config::{Configuration, Limit, LittleEndian, Varint};

/// Maximum size of one message, bytes: well below what a Unix packet socket carries by default.
pub const MESSAGE_MAX_BYTES: usize = 64 * 1024;

const CONFIG: Configuration<LittleEndian, Varint, Limit<MESSAGE_MAX_BYTES>> =
    bincode::config::standard().with_limit::<MESSAGE_MAX_BYTES>();

/// Why a local message was refused. For the receiver this is fatal: the sender has a bug, or
/// another version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The message exceeds [`MESSAGE_MAX_BYTES`].
    #[error("a message of more than 64 KiB")]
    TooLong,
    /// The bytes are not a message of the expected type.
    #[error("a malformed message")]
    Malformed,
    /// Bytes follow the message.
    #[error("trailing bytes after a message")]
    Trailing,
    /// The same value has a shorter encoding.
    #[error("a message in a form that is not canonical")]
    NotCanonical,
}

/// Encodes one message; fails with [`CodecError::TooLong`] past [`MESSAGE_MAX_BYTES`].
pub fn encode<T: bincode::Encode>(message: &T) -> Result<Vec<u8>, CodecError> {
    let bytes = bincode::encode_to_vec(message, CONFIG).map_err(|_| CodecError::TooLong)?;
    if bytes.len() > MESSAGE_MAX_BYTES {
        Err(CodecError::TooLong)
    } else {
        Ok(bytes)
    }
}

/// Decodes exactly one message. Refuses every encoding that [`encode`] would not have written.
pub fn decode<T: bincode::Encode + bincode::Decode<()>>(bytes: &[u8]) -> Result<T, CodecError> {
    if bytes.len() > MESSAGE_MAX_BYTES {
        return Err(CodecError::TooLong);
    }
    let (message, read_bytes) =
        bincode::decode_from_slice::<T, _>(bytes, CONFIG).map_err(|_| CodecError::Malformed)?;
    if read_bytes != bytes.len() {
        return Err(CodecError::Trailing);
    }
    if encode(&message)? != bytes {
        return Err(CodecError::NotCanonical);
    }
    Ok(message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Command, ToDaemon};

    #[test]
    fn a_message_comes_back_as_it_was() {
        let message = ToDaemon::Start(Command::ArchiveShow {
            archive: "home".into(),
        });
        assert_eq!(decode::<ToDaemon>(&encode(&message).unwrap()), Ok(message));
    }

    #[test]
    fn trailing_bytes_are_refused() {
        let mut bytes = encode(&ToDaemon::Cancel).unwrap();
        bytes.push(0);
        assert_eq!(decode::<ToDaemon>(&bytes), Err(CodecError::Trailing));
    }

    #[test]
    fn an_over_long_integer_is_refused() {
        assert_eq!(decode::<u64>(&[251, 5, 0]), Err(CodecError::NotCanonical));
    }

    #[test]
    fn a_huge_length_is_refused_before_it_is_allocated() {
        assert_eq!(
            decode::<Vec<u8>>(&[253, 255, 255, 255, 255, 255, 255, 255, 127]),
            Err(CodecError::Malformed)
        );
    }

    #[test]
    fn a_message_past_the_limit_is_not_written() {
        assert_eq!(
            encode(&vec![0u8; MESSAGE_MAX_BYTES + 1]),
            Err(CodecError::TooLong)
        );
    }
}
