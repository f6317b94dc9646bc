// SPDX-License-Identifier: GPL-3.0-or-later
//! The keyholder: the one process that holds keys. It has no path, no network socket and no child.
//! What a command does is the engine's (`wyng-engine`); here are the parts that the engine meets.
//!
//! - [`sealed`]: credentials that the service manager unsealed.
//! - [`reader`]: the same code in a process that can only look.
//! - [`door`]: the process itself: its wires and its jail; [`real_world`]: the parts of a
//!   `World` made of them; `page_cache`: reading and writing volumes without
//!   leaving traces in the kernel's memory.

pub mod door;
mod page_cache;
pub mod reader;
pub mod real_world;
pub mod sealed;
