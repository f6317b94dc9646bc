// SPDX-License-Identifier: GPL-3.0-or-later
//! The slot: the only object with unencrypted fields. Layout only; `crypto` derives, commits and
//! opens.
//!
//! ```text
//!   0 │ "wyngslot"                                                    │
//!   8 │ format = 0    │ suite=1│ number│ kind  │ 0     │ 0     │ 0    │
//!  16 │ archive id (16)                                               │
//!  32 │ Argon2 memory, KiB            │ Argon2 passes                 │
//!  40 │ Argon2 lanes = 1              │ 0                             │
//!  48 │ salt (32)                                                     │
//!  80 │ commitment (32)                                               │
//! 112 │ nonce (24)                                                    │
//! 136 │ sealed payload (40) ‖ tag (16)                                │
//! 192 │ H(bytes 0 to 191)                                             │
//! 224
//! ```

use super::bytes::{Malformed, Reader, Writer};
use crate::damage::Fault;
use crate::ids::ArchiveId;

/// Length of a slot that a passphrase or a recovery key opens, bytes, and of the part that every
/// slot begins with.
pub const SLOT_BYTES: usize = 224;
/// Length of a slot that a hardware token opens, bytes: the part that every slot begins with, and
/// room for the fields of the token.
pub const SLOT_TOKEN_BYTES: usize = 1024;
/// Length of the clear fields that the commitment covers, bytes.
pub const SLOT_COMMITTED_BYTES: usize = 80;
const MAGIC: &[u8; 8] = b"wyngslot";
const SUITE: u8 = 1;

/// The cost of one guess of the passphrase. The format bounds it; see [`SlotParams::new`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotParams {
    memory_kib: u32,
    passes: u32,
}

impl SlotParams {
    /// 256 MiB and 4 passes: about a second on one core of a laptop.
    pub const DEFAULT: Self = Self {
        memory_kib: 256 * 1024,
        passes: 4,
    };
    /// The minimum of the format: 64 MiB and 3 passes. For tests, and for machines with little
    /// memory.
    pub const LEAST: Self = Self {
        memory_kib: 64 * 1024,
        passes: 3,
    };

    /// A cost of 64 MiB to 1 GiB and 3 to 16 passes; `None` out of these bounds.
    pub fn new(memory_kib: u32, passes: u32) -> Option<Self> {
        let bounds = (64 * 1024..=1024 * 1024).contains(&memory_kib) && (3..=16).contains(&passes);
        bounds.then_some(Self { memory_kib, passes })
    }

    /// Argon2's memory, KiB.
    pub fn memory_kib(self) -> u32 {
        self.memory_kib
    }

    /// Number of Argon2's passes.
    pub fn passes(self) -> u32 {
        self.passes
    }
}

/// The kind of secret that opens a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotKind {
    /// A passphrase, which a person remembers.
    Passphrase,
    /// A recovery key, which is printed.
    RecoveryKey,
    /// A hardware token. This version neither makes such a slot nor opens it; see
    /// [`SLOT_TOKEN_BYTES`].
    Token,
}

impl SlotKind {
    /// Length of the blob of a slot of this kind, bytes. Its first [`SLOT_BYTES`] are laid out
    /// alike for all kinds.
    pub fn blob_bytes(self) -> usize {
        match self {
            Self::Passphrase | Self::RecoveryKey => SLOT_BYTES,
            Self::Token => SLOT_TOKEN_BYTES,
        }
    }

    /// Whether this version can open a slot of this kind.
    pub fn can_open(self) -> bool {
        self != Self::Token
    }

    pub(super) fn number(self) -> u8 {
        match self {
            Self::Passphrase => 0,
            Self::RecoveryKey => 1,
            Self::Token => 2,
        }
    }

    pub(super) fn from_number(number: u8) -> Result<Self, Malformed> {
        match number {
            0 => Ok(Self::Passphrase),
            1 => Ok(Self::RecoveryKey),
            2 => Ok(Self::Token),
            _ => Err(Malformed("slot kind")),
        }
    }
}

/// The clear fields except for the commitment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotClear {
    /// The slot's number, from which its name in the store follows. Used once in an archive's life.
    pub number: u8,
    /// The kind of secret that opens the slot.
    pub kind: SlotKind,
    /// The archive that the slot opens.
    pub archive: ArchiveId,
    /// Argon2's memory, KiB: 65536 to 1048576.
    pub memory_kib: u32,
    /// Number of Argon2's passes: 3 to 16.
    pub passes: u32,
    /// Argon2's salt.
    pub salt: [u8; 32],
}

impl SlotClear {
    /// The encoded fields: bytes 0 to 79 of the slot.
    pub fn encode(&self) -> [u8; SLOT_COMMITTED_BYTES] {
        let mut writer = Writer::with_capacity(SLOT_COMMITTED_BYTES);
        writer
            .bytes(MAGIC)
            .u16(0)
            .u8(SUITE)
            .u8(self.number)
            .u8(self.kind.number())
            .zeros_to(16)
            .bytes(&self.archive.0);
        writer
            .u32(self.memory_kib)
            .u32(self.passes)
            .u32(1)
            .u32(0)
            .bytes(&self.salt);
        let mut bytes = [0; SLOT_COMMITTED_BYTES];
        bytes
            .iter_mut()
            .zip(writer.finish())
            .for_each(|(to, from)| *to = from);
        bytes
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        reader.magic(MAGIC)?;
        reader.zeros(2, "format version")?;
        if reader.u8()? != SUITE {
            return Err(Malformed("suite"));
        }
        let number = reader.u8()?;
        let kind = SlotKind::from_number(reader.u8()?)?;
        reader.zeros(3, "reserved")?;
        let archive = ArchiveId(reader.array()?);
        let (memory_kib, passes) = (reader.u32()?, reader.u32()?);
        SlotParams::new(memory_kib, passes).ok_or(Malformed("Argon2 parameters"))?;
        if reader.u32()? != 1 {
            return Err(Malformed("Argon2 lanes"));
        }
        reader.zeros(4, "reserved")?;
        Ok(Self {
            number,
            kind,
            archive,
            memory_kib,
            passes,
            salt: reader.array()?,
        })
    }
}

/// A slot whose fields are within bounds and whose checksum matches. Nothing about it is proven
/// before it is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    clear: SlotClear,
    commitment: [u8; 32],
    nonce: [u8; 24],
    sealed_payload: [u8; 40],
    tag: [u8; 16],
}

impl Slot {
    /// A slot of these fields.
    pub fn new(
        clear: SlotClear,
        commitment: [u8; 32],
        nonce: [u8; 24],
        sealed_payload: [u8; 40],
        tag: [u8; 16],
    ) -> Self {
        Self {
            clear,
            commitment,
            nonce,
            sealed_payload,
            tag,
        }
    }

    /// The clear fields.
    pub fn clear(&self) -> &SlotClear {
        &self.clear
    }

    /// The commitment to the key that opens the payload.
    pub fn commitment(&self) -> &[u8; 32] {
        &self.commitment
    }

    /// The payload's nonce.
    pub fn nonce(&self) -> &[u8; 24] {
        &self.nonce
    }

    /// The payload's ciphertext.
    pub fn sealed_payload(&self) -> &[u8; 40] {
        &self.sealed_payload
    }

    /// The payload's tag.
    pub fn tag(&self) -> &[u8; 16] {
        &self.tag
    }

    /// The first 224 bytes of the slot, which are all of a slot that this version can open.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::with_capacity(SLOT_BYTES);
        writer
            .bytes(&self.clear.encode())
            .bytes(&self.commitment)
            .bytes(&self.nonce)
            .bytes(&self.sealed_payload)
            .bytes(&self.tag);
        let mut bytes = writer.finish();
        let check = *blake3::hash(&bytes).as_bytes();
        bytes.extend_from_slice(&check);
        bytes
    }

    /// Decodes the first 224 bytes of a slot. The checksum in its last field tells damage from a
    /// wrong passphrase; it is no protection against an attacker.
    pub fn decode(bytes: &[u8]) -> Result<Self, Fault> {
        if bytes.len() != SLOT_BYTES {
            return Err(Fault::Length);
        }
        let (covered, check) = bytes.split_last_chunk::<32>().ok_or(Fault::Length)?;
        if blake3::hash(covered).as_bytes() != check {
            return Err(Fault::Hash);
        }
        Self::decode_fields(covered).map_err(|Malformed(rule)| Fault::Shape(rule))
    }

    fn decode_fields(covered: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(covered);
        let clear = SlotClear::decode(&mut reader)?;
        let slot = Self::new(
            clear,
            reader.array()?,
            reader.array()?,
            reader.array()?,
            reader.array()?,
        );
        reader.end()?;
        Ok(slot)
    }
}
