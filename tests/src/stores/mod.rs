// SPDX-License-Identifier: GPL-3.0-or-later
//! Stores behind the network, on loopback: real servers, and what comes between them and the
//! helper.

mod checker;
mod garage;
mod proxy;
mod server;
mod shelf;

pub use checker::Checker;
pub use garage::Garage;
pub(crate) use garage::program as garage_program;
pub use proxy::{Action, Proxy, Seen};
pub use server::{Answer, Kind, SECRET, Server, USER};
pub use shelf::Shelf;
