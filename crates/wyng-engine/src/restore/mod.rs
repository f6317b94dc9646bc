// SPDX-License-Identifier: GPL-3.0-or-later
//! Restoring a session to a target, and comparing it with what is there. The store is only read.

mod around;
mod behind;
mod changes;
mod diff;
mod differences;
mod estimate;
mod fresh;
mod older;
mod plan;
mod qubes;
mod read_back;
mod reading;
mod rehearse;
mod replace;
mod run;
mod stream;
mod system;
mod target;
mod undo;
mod volume;
mod walk;
mod wrong_base;

pub use diff::{DiffRequest, compare};
pub use plan::RestoreRequest;
pub use qubes::{QubesRequest, restore_qubes};
pub use rehearse::rehearse;
pub use run::restore;
