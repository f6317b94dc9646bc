// SPDX-License-Identifier: GPL-3.0-or-later
//! Stores: their addresses, the traits that a service needs, their error, and a folder of each kind
//! of store.

mod address;
pub(crate) mod directory;
mod error;
pub(crate) mod sftp;
mod traits;
mod url;

pub(crate) use address::Address;
pub(crate) use error::StoreError;
pub(crate) use traits::{Blob, Fetch, Placed, Prune, Push, Reserve, Upload};
