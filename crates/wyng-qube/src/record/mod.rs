// SPDX-License-Identifier: GPL-3.0-or-later
//! The settings record: what a qube is beside its volumes, as one JSON text. `docs/format.md`
//! describes it. A record holds one qube and nothing of another; the settings of the whole system
//! have a record of their own.
//!
//! A record is data that somebody else may have written. Decoding it is strict, and deliberately
//! gives nothing that could be opened or started: no path, no program.

mod bad;
mod codec;
mod global;
mod make;
mod qube;

pub use bad::BadRecord;
pub use codec::RECORD_MAX_BYTES;
pub use global::{GlobalParts, GlobalRecord, GlobalValue};
pub use make::{NotRecorded, QubeParts};
pub(crate) use make::{is_skipped_feature, is_skipped_property};
pub use qube::{DeviceRecord, EFFECTIVE, LabelRecord, MENUS, OwnValue, QubeRecord, VolumeRecord};

#[cfg(test)]
mod tests;
