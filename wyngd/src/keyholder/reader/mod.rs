// SPDX-License-Identifier: GPL-3.0-or-later
//! The reader: the keyholder's code in a second process, which answers whoever only looks while the
//! keyholder works. It deliberately cannot do anything else: it has one wire, to control, opens no
//! file for writing, and hears no passphrase.
//!
//! Looks come one after the other. Each shows the state of the last commit that is whole on the
//! disk.

mod door;
mod files;
mod nothing;
mod wire;

pub use door::run;
