// SPDX-License-Identifier: GPL-3.0-or-later
//! HELLO, the first 16 bytes in both directions. It is the one frame without a header: whoever
//! reads it may be reading something that is not Wyng at all.

use core::fmt;

use crate::Service;

/// The first eight bytes in both directions. The first is no text in any encoding, so that a login
/// script's output is told apart at once; CR, LF and NUL show a pipe that translates.
pub const MAGIC: [u8; 8] = *b"\xf7wyng\r\n\0";

/// The version of the pipe. Both ends must have the same.
pub const VERSION: u16 = 1;

/// Bytes of a HELLO.
pub const HELLO_BYTES: usize = 16;

/// `magic[8] version:u16 service:u8 zero[5]`, sent by both ends without waiting for the other's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The verb set that the sender was started for, or expects.
    pub service: Service,
}

/// Why the first bytes are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HelloError {
    /// The magic is not there: the far end is something else, or prints before it speaks.
    NotWyng,
    /// The far end speaks another version.
    Version(u16),
    /// The far end names a service that does not exist.
    Service(u8),
    /// A reserved byte is not zero.
    Reserved,
}

impl Hello {
    /// The 16 bytes.
    pub fn encode(self) -> [u8; HELLO_BYTES] {
        let [m0, m1, m2, m3, m4, m5, m6, m7] = MAGIC;
        let [v0, v1] = VERSION.to_le_bytes();
        [
            m0,
            m1,
            m2,
            m3,
            m4,
            m5,
            m6,
            m7,
            v0,
            v1,
            self.service.byte(),
            0,
            0,
            0,
            0,
            0,
        ]
    }

    /// Checks magic, then version, then the rest, so that the most telling error wins.
    pub fn decode(bytes: &[u8; HELLO_BYTES]) -> Result<Self, HelloError> {
        let [m0, m1, m2, m3, m4, m5, m6, m7, v0, v1, service, zeros @ ..] = *bytes;
        if [m0, m1, m2, m3, m4, m5, m6, m7] != MAGIC {
            return Err(HelloError::NotWyng);
        }
        let version = u16::from_le_bytes([v0, v1]);
        if version != VERSION {
            return Err(HelloError::Version(version));
        }
        if zeros != [0; 5] {
            return Err(HelloError::Reserved);
        }
        Service::from_byte(service)
            .map(|service| Self { service })
            .ok_or(HelloError::Service(service))
    }
}

impl fmt::Display for HelloError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotWyng => {
                f.write_str("the far end does not speak Wyng's protocol (does a login script of its template print something?)")
            }
            Self::Version(version) => write!(f, "the far end speaks version {version} of the pipe, this end version {VERSION}"),
            Self::Service(service) => write!(f, "the far end names an unknown service, {service}"),
            Self::Reserved => f.write_str("a reserved byte of the far end's HELLO is not zero"),
        }
    }
}

impl core::error::Error for HelloError {}
