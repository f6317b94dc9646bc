// SPDX-License-Identifier: GPL-3.0-or-later
//! What the store has, compared with what it must have. Nothing in the store is changed.

mod acknowledge;
mod completeness;
mod findings;
mod foreign;
mod head;
mod opener;
mod packs;
mod problems;
mod proving;
mod run;
mod scope;

pub use acknowledge::acknowledge;
pub(crate) use acknowledge::{is_acknowledged, known_damage, report_acknowledged};
pub(crate) use proving::{Proven, proven};
pub(crate) use run::read_back;
pub use run::{VerifyRequest, verify};
