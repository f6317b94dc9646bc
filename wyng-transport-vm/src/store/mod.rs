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
mod url;
pub(crate) mod webdav;
mod xml;

pub(crate) use address::{Address, S3Address, Server, WebdavAddress};
pub(crate) use error::StoreError;
pub(crate) use traits::{Blob, Fetch, Opened, Placed, Prune, Push, Reserve, Upload, Wanted};
