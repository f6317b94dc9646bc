// SPDX-License-Identifier: GPL-3.0-or-later
//! Stores: their addresses, the traits that a service needs, their error, and a folder of each kind
//! of store.

mod address;
mod buffered;
pub(crate) mod directory;
mod error;
mod range;
pub(crate) mod s3;
pub(crate) mod sftp;
mod traits;
mod turns;
pub(crate) mod webdav;
mod xml;

pub(crate) use address::{Address, WebdavAddress};
pub(crate) use error::StoreError;
pub(crate) use traits::{
    Blob, Fetch, Given, Opened, Placed, Prune, Push, Renewal, Renewed, Reserve, Upload, Wanted,
};

/// Maximum number of blobs that a store behind a network stores at a time: with small packs, as many
/// as a fast link carries in the round trips of one.
const NETWORK_BODIES_AT_ONCE: usize = 8;

/// Maximum number of requests that a store behind a network is asked at a time by a fetch: enough to
/// fill a fast link with short ranges, and few connections for a server.
const NETWORK_REQUESTS_AT_ONCE: usize = 16;
