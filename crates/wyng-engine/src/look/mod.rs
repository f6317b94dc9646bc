// SPDX-License-Identifier: GPL-3.0-or-later
//! What can be reported without a change to anything: the archives of this machine, and its far
//! ends.

mod archives;
mod daily;
mod far_ends;
mod space;

pub(crate) use archives::line_of;
pub use archives::{
    archives, names, recovery_sheet, sessions, show, snapshots, snapshots_of, status, why,
};
pub use daily::{history, note_day};
pub use far_ends::check_far_ends;
pub use space::{SizedVolume, sizes, space};
