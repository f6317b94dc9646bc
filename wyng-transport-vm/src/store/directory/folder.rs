// SPDX-License-Identifier: GPL-3.0-or-later
//! How the store's folders are opened and made.

use rustix::fs::{Mode, OFlags};

/// The mode of folders: only the helper's user may use them. Blobs are ciphertext, but no other
/// user needs them.
pub(super) const FOLDER_MODE: Mode = Mode::RWXU;

/// The flags with which folders are opened: only a folder, and the last component is no link.
pub(super) const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);
