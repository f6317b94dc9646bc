// SPDX-License-Identifier: GPL-3.0-or-later
//! The far ends of a command, as the keyholder sees them: started by others, opened, lost, and for
//! a push in a disposable begun once more with what has no receipt. What a far end says is parsed
//! by transport; here are only its answers.

mod ahead;
mod asked;
mod calls;
mod faults;
mod fetch;
mod memory_file;
mod older;
#[cfg(test)]
mod over_wires;
mod push;
mod signer;
mod store;

pub(in crate::keyholder::real_world) use ahead::Clocks;
pub use calls::{FarEnds, TransportWire};
