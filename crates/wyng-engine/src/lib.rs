// SPDX-License-Identifier: GPL-3.0-or-later
//! What each command does, as a straight line over the parts of a [`World`](world::World). It makes
//! no system call of its own: clocks, randomness, files, the store, volumes, secrets and the client
//! come in as parts, so the same code runs under the daemon and under simulation. Worker threads of
//! [`pool`] compute, and touch nothing else.
//!
//! - [`world`]: the parts as traits; [`room`]: memory for reads past the page cache.
//! - [`state`]: what matters on this machine: credential, ledger, journal; [`cache`]: what can be
//!   built anew: the index of ids and the nodes. Both use files alone.
//! - Wings, each with one door: [`archive`] (what is known here), [`store`] (what goes to the store
//!   and comes back), [`backup`], [`restore`], [`verify`], [`admin`] (making, opening and taking
//!   over an archive, and its key slots), [`copy`] (following an archive with a further store),
//!   [`prune`] (removing sessions), [`space`] (live records, and the packs without any), and
//!   [`look`] (reports that change nothing). Nothing reaches into a wing past its door.
//! - `kept`: the kept clock, observed where a command begins and ends; `unattended`: whether a
//!   timer's run comes too soon; `older`: older versions of damaged blobs;
//!   `locking`, `renewing`: object locks, and making them longer.
//! - On the ground: [`bits`], [`naming`], [`outcome`], [`pool`]. [`run`] is one command from its
//!   begin to its exit status.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

pub mod admin;
pub mod archive;
pub mod backup;
pub mod bits;
pub mod cache;
mod command;
pub mod copy;
mod kept;
mod kept_qubes;
mod locking;
pub mod look;
pub mod naming;
mod older;
pub mod outcome;
pub mod pool;
pub mod prune;
mod renewing;
pub mod restore;
pub mod room;
pub mod space;
pub mod state;
pub mod store;
mod unattended;
pub mod verify;
pub mod world;

pub use admin::named_archive;
pub use command::run;
pub use kept::{observe_clock, parted_secs};
