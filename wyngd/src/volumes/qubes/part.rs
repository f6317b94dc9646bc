// SPDX-License-Identifier: GPL-3.0-or-later
//! A part of a qube, opened and not handed over yet.

use std::os::fd::OwnedFd;
use std::rc::Rc;

use wyng_control::LeftOut;
use wyng_snapshot::{Folder, Fresh};

/// A part of a qube, opened.
pub(in crate::volumes) enum Part {
    /// Bytes that stand still, in a memory file.
    Settings {
        file: OwnedFd,
        left_out: Vec<LeftOut>,
    },
    /// A file that is to be cloned, and the folder of its base snapshots.
    File {
        source: OwnedFd,
        folder: Option<Rc<Folder>>,
    },
    /// A clone that is made already.
    Clone { fresh: Fresh, folder: Rc<Folder> },
    /// A device, of which a snapshot may be made.
    Device { source: OwnedFd },
}
