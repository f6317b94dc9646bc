// SPDX-License-Identifier: GPL-3.0-or-later
//! The kernel's random number generator.

use wyng_control::Failure;

use wyng_engine::world::Random;

/// Randomness from the kernel.
pub struct KernelRandom;

impl Random for KernelRandom {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), Failure> {
        getrandom::fill(bytes).map_err(|_| Failure::internal("the kernel gives no random bytes"))
    }

    fn process_id(&self) -> u32 {
        std::process::id()
    }
}
