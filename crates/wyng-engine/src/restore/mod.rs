// SPDX-License-Identifier: GPL-3.0-or-later
//! From a session to a target, and what is there already.

mod around;
mod diff;
mod differences;
mod replace;
mod run;
mod walk;

pub use diff::{DiffRequest, compare};
pub use run::{RestoreRequest, restore};
