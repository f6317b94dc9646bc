// SPDX-License-Identifier: GPL-3.0-or-later
//! The engine: what a command does, as a straight line over a [`World`](super::world::World).
//!
//! Order of reading: [`archive`] (what is known here), [`backup`] (one run), [`source`] (what is
//! read in it) and [`sample`] (what is checked of the rest), [`packer`] (records into packs),
//! [`commit`] (the one point at which a run becomes true), [`heal`], [`restore`], [`differences`]
//! (what is there already), [`replace`], [`diff`], [`monitor`], [`verify`], [`create`], [`open`]
//! with [`slots`] and [`history`], [`keys`] and [`take_over`].

pub mod acknowledge;
pub mod archive;
pub mod around;
pub mod backup;
pub mod base;
pub mod bits;
pub mod catalog;
pub mod commit;
pub mod create;
pub mod diff;
pub mod differences;
pub mod fetch;
pub mod heal;
pub mod history;
pub mod keys;
pub mod load;
pub mod monitor;
pub mod open;
pub mod packer;
pub mod pool;
pub mod put;
pub mod replace;
pub mod restore;
pub mod sample;
pub mod slots;
pub mod source;
pub mod take_over;
pub mod verify;
