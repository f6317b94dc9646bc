// SPDX-License-Identifier: GPL-3.0-or-later
//! The real helper over real pipes, against folders. What it is told is what docs/protocol.md says; what it does is read
//! from the folder itself.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod call;
mod ending;
mod fetching;
mod opening;
mod pruning;
mod pushing;
