// SPDX-License-Identifier: GPL-3.0-or-later
//! What makes every draw of a secret or a nonce another one.

use wyng_control::Failure;

/// See the module's first line.
pub trait Random {
    /// Fills `bytes` with fresh random bytes of the kernel.
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), Failure>;
    /// The same, as an array.
    fn draw<const N: usize>(&mut self) -> Result<[u8; N], Failure> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }
    /// The number of this process, which enters the derivation of a session key.
    fn process_id(&self) -> u32;
}
