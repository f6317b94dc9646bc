// SPDX-License-Identifier: GPL-3.0-or-later
//! Between a record and its bytes. A record has one encoding: JSON with two spaces for each level,
//! fields in a fixed order, names in the order of their bytes, and a line feed at the end.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::bad::BadRecord;

/// Maximum length of a record, bytes.
pub const RECORD_MAX_BYTES: usize = 1 << 20;
/// The version that is written and read.
pub(super) const VERSION: u32 = 1;

/// What a record is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    /// One qube.
    Qube,
    /// The whole system.
    Global,
}

/// A kind of record.
pub(super) trait Record: Serialize + DeserializeOwned {
    const KIND: Kind;

    /// The first field that is out of bounds, or not of its form.
    fn check(&self) -> Result<(), BadRecord>;
}

/// The first two fields, whatever stands behind them.
#[derive(Deserialize)]
struct Head {
    record: Kind,
    version: u32,
}

/// The bytes of a record. An error says that what qubesd answered is beyond the bounds of a record.
pub(super) fn encode(record: &impl Record) -> Result<Vec<u8>, BadRecord> {
    record.check()?;
    write(record)
}

/// The record of bytes that somebody may have made up.
pub(super) fn decode<R: Record>(bytes: &[u8]) -> Result<R, BadRecord> {
    if bytes.len() > RECORD_MAX_BYTES {
        return Err(BadRecord::TooLong);
    }
    let head: Head = serde_json::from_slice(bytes).map_err(|_| BadRecord::NotARecord)?;
    if head.version != VERSION {
        return Err(BadRecord::Version(head.version));
    }
    if head.record != R::KIND {
        return Err(BadRecord::OtherKind);
    }
    let record: R = serde_json::from_slice(bytes).map_err(|_| BadRecord::NotARecord)?;
    record.check()?;
    if write(&record)? == bytes {
        Ok(record)
    } else {
        Err(BadRecord::NotCanonical)
    }
}

fn write(record: &impl Record) -> Result<Vec<u8>, BadRecord> {
    let mut bytes = serde_json::to_vec_pretty(record).map_err(|_| BadRecord::NotARecord)?;
    bytes.push(b'\n');
    if bytes.len() > RECORD_MAX_BYTES {
        return Err(BadRecord::TooLong);
    }
    Ok(bytes)
}

/// An error that names the field, unless it is sound.
pub(super) fn sound(field: &'static str, is_sound: bool) -> Result<(), BadRecord> {
    if is_sound {
        Ok(())
    } else {
        Err(BadRecord::Field(field))
    }
}
