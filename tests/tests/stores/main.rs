// SPDX-License-Identifier: GPL-3.0-or-later
//! Stores behind the network: the real helper against real servers on loopback.

mod abilities;
mod archives;
mod blobs;
#[path = "../pipe/call.rs"]
#[expect(dead_code, reason = "parts of it serve the folder store alone")]
mod call;
mod copies;
mod faults;
mod garage;
mod jails;
mod links;
mod listings;
mod locks;
mod replacing;
mod rooms;
mod signatures;
mod signed;
mod versions;
