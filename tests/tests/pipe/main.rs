// SPDX-License-Identifier: GPL-3.0-or-later
//! The real helper over real pipes, against folders. What it is told is what docs/protocol.md says;
//! what it does is read from the folder itself.

mod call;
mod ending;
mod fetching;
mod opening;
mod pruning;
mod pushing;
