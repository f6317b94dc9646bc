// SPDX-License-Identifier: GPL-3.0-or-later
//! Making, opening and taking over an archive; its key slots; names, descriptions and tags in its
//! catalog; trying a store for one. No volume is read or written.

mod check_store;
mod create;
mod entries;
mod keys;
mod open;
mod take_over;
mod unlock;

pub use check_store::{CheckRequest, check_store};
pub(crate) use create::ask_credentials;
pub use create::{CreateRequest, CreateSettings, create};
pub use entries::{SessionChange, change_session, describe, rename};
pub use keys::{NewSlot, add, change, list, remove, report_slots};
pub use open::{OpenRequest, Opened, open};
pub use take_over::{OtherWriter, promote, take_over};
pub use unlock::{key_check, lock, named_archive, unlock};
