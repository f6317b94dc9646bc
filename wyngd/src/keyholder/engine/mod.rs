// SPDX-License-Identifier: GPL-3.0-or-later
//! The engine: what a command does, as a straight line over a [`World`](super::world::World).
//!
//! It has wings, each with one door: [`archive`] (what is known here), [`store`] (what goes to the
//! store and comes back), [`backup`], [`restore`], [`verify`], [`admin`] (making, opening and taking
//! over an archive, and its key slots), and [`look`] (what is reported without a change). Nothing reaches into a wing past its door. On the
//! ground stand [`bits`], [`naming`], [`outcome`] and [`pool`].

pub mod admin;
pub mod archive;
pub mod backup;
pub mod bits;
mod command;
pub mod look;
pub mod naming;
pub mod outcome;
pub mod pool;
pub mod restore;
pub mod store;
pub mod verify;

pub use admin::named_archive;
pub use command::run;
