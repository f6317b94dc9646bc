// SPDX-License-Identifier: GPL-3.0-or-later
//! The reader of every decoder and the writer of every encoder: little-endian, bounded, exact.

/// A rule of a layout that the bytes break; the text names the field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub &'static str);

/// Reads fields in order; input that is too short is [`Malformed`].
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// A reader at the first byte.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Reads the next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (head, tail) = self
            .0
            .split_first_chunk::<N>()
            .ok_or(Malformed("too short"))?;
        self.0 = tail;
        Ok(*head)
    }

    /// Reads the next `length` bytes.
    pub fn slice(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (head, tail) = self
            .0
            .split_at_checked(length)
            .ok_or(Malformed("too short"))?;
        self.0 = tail;
        Ok(head)
    }

    /// Reads a byte.
    pub fn u8(&mut self) -> Result<u8, Malformed> {
        self.array().map(|[byte]| byte)
    }

    /// Reads two bytes, little-endian.
    pub fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_le_bytes)
    }

    /// Reads four bytes, little-endian.
    pub fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }

    /// Reads eight bytes, little-endian.
    pub fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_le_bytes)
    }

    /// Reads eight bytes, little-endian and signed.
    pub fn i64(&mut self) -> Result<i64, Malformed> {
        self.array().map(i64::from_le_bytes)
    }

    /// Checks the next eight bytes.
    pub fn magic(&mut self, expected: &'static [u8; 8]) -> Result<(), Malformed> {
        if self.array::<8>()? == *expected {
            Ok(())
        } else {
            Err(Malformed("magic"))
        }
    }

    /// Checks that `length` bytes are zero; otherwise the rule `what` is broken.
    pub fn zeros(&mut self, length: usize, what: &'static str) -> Result<(), Malformed> {
        if self.slice(length)?.iter().all(|byte| *byte == 0) {
            Ok(())
        } else {
            Err(Malformed(what))
        }
    }

    /// Checks that every byte was read.
    pub fn end(self) -> Result<(), Malformed> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Malformed("trailing bytes"))
        }
    }

    /// Number of bytes that are not read yet.
    pub fn remaining(&self) -> usize {
        self.0.len()
    }
}

/// Appends fields in order.
pub struct Writer(Vec<u8>);

impl Writer {
    /// A writer with room for `bytes` bytes.
    pub fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    /// Appends bytes as they are.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// Appends a byte.
    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.bytes(&[value])
    }

    /// Appends two bytes, little-endian.
    pub fn u16(&mut self, value: u16) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    /// Appends four bytes, little-endian.
    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    /// Appends eight bytes, little-endian.
    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    /// Appends eight bytes, little-endian and signed.
    pub fn i64(&mut self, value: i64) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    /// Appends zeros until `length` bytes are written in all.
    pub fn zeros_to(&mut self, length: usize) -> &mut Self {
        self.0.resize(length.max(self.0.len()), 0);
        self
    }

    /// The bytes that were written.
    pub fn finish(self) -> Vec<u8> {
        self.0
    }
}
