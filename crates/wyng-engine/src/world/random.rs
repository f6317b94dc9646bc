// SPDX-License-Identifier: GPL-3.0-or-later
//! Randomness for secrets and nonces.

use wyng_control::Failure;

/// Draws random bytes.
pub trait Random {
    /// Fills `bytes` with fresh random bytes of the kernel.
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), Failure>;
    /// Draws an array of fresh random bytes.
    fn draw<const N: usize>(&mut self) -> Result<[u8; N], Failure> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }
    /// The id of this process, which is mixed into the derivation of a session key.
    fn process_id(&self) -> u32;
}
