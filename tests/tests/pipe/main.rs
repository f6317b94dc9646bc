// SPDX-License-Identifier: GPL-3.0-or-later
//! The real helper over real pipes and folders. It is called as docs/protocol.md says, and its
//! effects are read from the folder.

mod call;
mod ending;
mod fetching;
mod opening;
mod pruning;
mod pushing;
mod sftp;
