// SPDX-License-Identifier: GPL-3.0-or-later
//! The signature of one HTTP request, which the daemon makes and the helper only passes on. It
//! names no header and no address: the helper builds the request from the frame that carries it.

use core::fmt;

use crate::fields::Fields;
use crate::{DecodeError, EncodeError, SIGNED_MAX};

/// Maximum length of the public part of an access key, bytes.
pub const KEY_ID_MAX: usize = 128;

/// Bytes of a signature before its key and token.
const FIXED_BYTES: usize = 80;

/// Maximum length of the token of a session, bytes.
pub const TOKEN_MAX: usize = SIGNED_MAX - FIXED_BYTES - KEY_ID_MAX;

/// Length of the shortest signature: a key of one byte, and no token.
pub(crate) const SIGNED_MIN: usize = FIXED_BYTES + 1;

/// `time:u64 signature[32] body_sha256[32] key_length:u8 zero token_length:u16 zero[4] key token`,
/// at the end of a frame.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signed<'a> {
    /// The second at which the request was signed, since the beginning of 1970 UTC.
    pub time_secs: u64,
    /// HMAC-SHA256 over the request.
    pub signature: [u8; 32],
    /// SHA-256 of the request's body; that of no bytes where there is none.
    pub body_sha256: [u8; 32],
    /// The public part of the access key: 1 to [`KEY_ID_MAX`] visible characters of ASCII.
    pub key_id: &'a str,
    /// The token of a session, at most [`TOKEN_MAX`] visible characters of ASCII; empty: none.
    pub token: &'a str,
}

impl fmt::Debug for Signed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signed")
            .field("time_secs", &self.time_secs)
            .finish_non_exhaustive()
    }
}

impl<'a> Signed<'a> {
    /// The rest of a frame, if it has any.
    pub(crate) fn decode_rest(fields: Fields<'a>) -> Result<Option<Self>, DecodeError> {
        if fields.is_empty() {
            return Ok(None);
        }
        Self::decode(fields).map(Some)
    }

    /// All of the rest of a frame.
    pub(crate) fn decode(mut fields: Fields<'a>) -> Result<Self, DecodeError> {
        let (time_secs, signature, body_sha256) = (fields.u64()?, fields.array()?, fields.array()?);
        let key_bytes = usize::from(fields.u8()?);
        fields.zeros::<1>()?;
        let token_bytes = usize::from(fields.u16()?);
        fields.zeros::<4>()?;
        let (key_id, token) = fields
            .remainder()
            .split_at_checked(key_bytes)
            .ok_or(DecodeError::Truncated)?;
        if token.len() != token_bytes {
            return Err(DecodeError::OutOfBounds);
        }
        let signed = Self {
            time_secs,
            signature,
            body_sha256,
            key_id: core::str::from_utf8(key_id).map_err(|_| DecodeError::OutOfBounds)?,
            token: core::str::from_utf8(token).map_err(|_| DecodeError::OutOfBounds)?,
        };
        if signed.is_in_bounds() {
            Ok(signed)
        } else {
            Err(DecodeError::OutOfBounds)
        }
    }

    /// The part before key and token.
    pub(crate) fn encode_fixed(&self) -> Result<[u8; FIXED_BYTES], EncodeError> {
        if !self.is_in_bounds() {
            return Err(EncodeError::OutOfBounds);
        }
        let length = |text: &str| u16::try_from(text.len()).map_err(|_| EncodeError::OutOfBounds);
        // A key has at most 128 bytes, so that the high byte of its length is the zero.
        let (key, token) = (length(self.key_id)?, length(self.token)?);
        let mut fixed = [0; FIXED_BYTES];
        let parts: [&[u8]; 5] = [
            &self.time_secs.to_le_bytes(),
            &self.signature,
            &self.body_sha256,
            &key.to_le_bytes(),
            &token.to_le_bytes(),
        ];
        let bytes = parts.into_iter().flatten();
        fixed
            .iter_mut()
            .zip(bytes)
            .for_each(|(to, from)| *to = *from);
        Ok(fixed)
    }

    fn is_in_bounds(&self) -> bool {
        let is_visible = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        (1..=KEY_ID_MAX).contains(&self.key_id.len())
            && self.token.len() <= TOKEN_MAX
            && is_visible(self.key_id)
            && is_visible(self.token)
    }
}
