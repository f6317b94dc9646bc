// SPDX-License-Identifier: GPL-3.0-or-later
//! What the store has, compared with what it must have.

mod acknowledge;
mod check;

pub use acknowledge::acknowledge;
pub(crate) use acknowledge::{is_acknowledged, known_damage, tell_acknowledged};
pub use check::{VerifyRequest, verified_time, verify};
