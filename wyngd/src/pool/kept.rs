// SPDX-License-Identifier: GPL-3.0-or-later
//! The tag of a volume that keeps what a qube's volume was before a restore in place. It says of
//! which restore and of which volume, and which volume it must be itself.
//!
//! ```text
//! wyng-kept:1:RESTORE:NAME:LV
//! ```
//! RESTORE has 32 hexadecimal digits, NAME is the name of the qube's volume without its group, and
//! LV is the UUID of the volume that has the tag, as LVM prints it.

use super::names::QubeVolume;

/// The beginning of every such tag, of any form: whatever has one is somebody's way back, and is
/// removed by nobody but whoever knows the restore.
const PREFIX: &str = "wyng-kept:";
/// The form of those that are made.
const FORM: &str = "1";

/// Whether a tag says that its volume is kept.
pub(super) fn is_kept(tag: &str) -> bool {
    tag.starts_with(PREFIX)
}

/// The tag of the volume with this UUID.
pub(super) fn kept_tag(restore: &[u8; 16], of: &QubeVolume, uuid: &str) -> String {
    let digits: String = restore.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{PREFIX}{FORM}:{digits}:{}:{uuid}", of.volume().name())
}
