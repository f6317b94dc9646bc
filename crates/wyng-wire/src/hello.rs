// SPDX-License-Identifier: GPL-3.0-or-later
//! HELLO, the first 16 bytes in both directions. It is the only frame without a header, because the
//! far end may not be Wyng at all.

use core::fmt;

use crate::Service;

/// The first eight bytes in both directions. The first byte is text in no encoding, so that the
/// output of a login script is recognised at once; CR, LF and NUL expose a pipe that translates
/// line ends.
pub const MAGIC: [u8; 8] = *b"\xf7wyng\r\n\0";

/// The version of the pipe's protocol. Both ends must have the same version.
pub const VERSION: u16 = 2;

/// Bytes of a HELLO.
pub const HELLO_BYTES: usize = 16;

/// `magic[8] version:u16 service:u8 zero[5]`. Each end sends it without waiting for the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The service that the sender runs (the helper) or expects (the daemon).
    pub service: Service,
}

/// Why the first bytes are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HelloError {
    /// The magic is missing: the far end is another program, or a login script prints first.
    NotWyng,
    /// The far end has another version of the protocol.
    Version(u16),
    /// The far end names a service that does not exist.
    Service(u8),
    /// A reserved byte is not zero.
    Reserved,
}

impl Hello {
    /// Encodes the HELLO in its 16 bytes.
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

    /// Checks the magic, then the version, then the rest, so that the most specific cause is
    /// reported.
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
