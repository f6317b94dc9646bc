// SPDX-License-Identifier: GPL-3.0-or-later
//! Reading sources, and the page cache beside them: it is left as it was, so that what a backup
//! reads or a restore writes does not push out what the machine works with; and of a block device
//! it is not believed, since it does not see what others wrote to the medium.

mod behind;
mod medium;
mod pages;
mod source;

pub(super) use behind::Behind;
pub(super) use medium::{find_data, read_medium};
pub(super) use source::Source;
