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
pub(crate) mod webdav;
mod xml;

pub(crate) use address::{Address, WebdavAddress};
pub(crate) use error::StoreError;
pub(crate) use traits::{Blob, Fetch, Given, Opened, Placed, Prune, Push, Reserve, Upload, Wanted};
