// SPDX-License-Identifier: GPL-3.0-or-later
//! The keyholder: the one process that holds keys. It has no path, no socket of a network, and no
//! child; what it meets, it meets through the parts of a [`world::World`], so that the same engine runs
//! under the daemon and under simulation.
//!
//! - [`engine`]: what a command does, from its begin to its exit status: straight lines over a
//!   `World`.
//! - [`state`]: what matters on this machine: credential, ledger, journal.
//! - [`cache`]: what can be built anew: the index of ids and the nodes.
//! - [`sealed`]: credentials that the service manager unsealed.
//! - [`reader`]: the same code in a process that can only look.
//! - [`door`]: the process itself: its wires and its jail; [`real_world`]: the parts of a
//!   `World` made of them; `page_cache`: reading and writing volumes without
//!   leaving traces in the kernel's memory.

pub mod cache;
pub mod door;
pub mod engine;
mod page_cache;
pub mod reader;
pub mod real_world;
pub mod room;
pub mod sealed;
pub mod state;
pub mod world;
