// SPDX-License-Identifier: GPL-3.0-or-later
//! The id by which a store names one version of a blob. It comes from the network VM and goes into
//! a request that the daemon signs, so that its alphabet and its length are part of the protocol.

use core::fmt;

use crate::DecodeError;
use crate::fields::Fields;

/// Maximum length of the id of a version, bytes.
pub const VERSION_ID_MAX: usize = 64;

/// 1 to [`VERSION_ID_MAX`] letters and digits of ASCII, `.`, `_` and `-`; zeros behind them on the
/// wire. None of them means anything in a URL, a header or a terminal. It is never printed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct VersionId([u8; VERSION_ID_MAX]);

impl VersionId {
    /// The id of these characters; `None` if it has another alphabet or length.
    pub fn new(text: &str) -> Option<Self> {
        let mut padded = [0; VERSION_ID_MAX];
        padded
            .get_mut(..text.len())?
            .copy_from_slice(text.as_bytes());
        Self::from_padded(padded).filter(|id| id.as_str() == text)
    }

    /// Its characters.
    pub fn as_str(&self) -> &str {
        let length = self.0.iter().take_while(|byte| **byte != 0).count();
        let text = self.0.get(..length).unwrap_or_default();
        core::str::from_utf8(text).unwrap_or_default()
    }

    /// The field of a frame.
    pub(crate) fn decode(fields: &mut Fields<'_>) -> Result<Self, DecodeError> {
        Self::from_padded(fields.array()?).ok_or(DecodeError::OutOfBounds)
    }

    pub(crate) fn as_padded(&self) -> &[u8; VERSION_ID_MAX] {
        &self.0
    }

    fn from_padded(padded: [u8; VERSION_ID_MAX]) -> Option<Self> {
        let is_character = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
        let length = padded.iter().take_while(|byte| is_character(byte)).count();
        let mut behind = padded.iter().skip(length);
        (length > 0 && behind.all(|byte| *byte == 0)).then_some(Self(padded))
    }
}

impl fmt::Debug for VersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VersionId(..)")
    }
}
