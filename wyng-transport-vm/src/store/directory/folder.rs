// SPDX-License-Identifier: GPL-3.0-or-later
//! How the store's folders are opened and made.

use rustix::fs::{Mode, OFlags};

/// Folders are the helper's user's own. Blobs are ciphertext, but nobody else has a use for them.
pub(super) const FOLDER_MODE: Mode = Mode::RWXU;

/// How every folder is opened: as a folder, and the last component not through a link.
pub(super) const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);
