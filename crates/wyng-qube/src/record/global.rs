// SPDX-License-Identifier: GPL-3.0-or-later
//! The record of the settings of the whole system. Nothing of it is ever applied: a restore prints
//! it as commands.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::bad::BadRecord;
use super::codec::{Kind, Record, VERSION, decode, encode, sound};
use crate::answer::{FEATURE_MAX_BYTES, Property, PropertyKind};
use crate::driver::Driver;
use crate::form::{is_color, is_feature_name, is_label_name, is_pool_name, is_property_name};

const ITEMS_MAX: usize = 1024;

/// The settings of the whole system. Bounds: 1 MiB in all, 1024 of each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GlobalRecord {
    record: Kind,
    version: u32,
    /// Every property by its name.
    pub properties: BTreeMap<String, GlobalValue>,
    /// Colours of labels by their names.
    pub labels: BTreeMap<String, String>,
    /// Drivers of pools by the pools' names.
    pub pools: BTreeMap<String, Driver>,
    /// Values of dom0's features by their names.
    pub features: BTreeMap<String, String>,
}

/// A property of the system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GlobalValue {
    /// What the value is.
    #[serde(rename = "type")]
    pub kind: PropertyKind,
    /// Whether the value is that of a default.
    pub default: bool,
    /// The value, which fits the kind.
    pub value: String,
}

/// What qubesd answered about the whole system.
#[derive(Debug, Clone)]
pub struct GlobalParts<'a> {
    /// Its properties.
    pub properties: &'a [Property],
    /// Names and colours of labels.
    pub labels: &'a [(String, String)],
    /// The driver of each pool.
    pub drivers: &'a BTreeMap<String, Driver>,
    /// Names and values of dom0's features.
    pub features: &'a [(String, String)],
}

impl GlobalRecord {
    /// The record of what qubesd answered. An error names the field that is out of its bounds.
    pub fn of(parts: &GlobalParts<'_>) -> Result<Self, BadRecord> {
        let value = |property: &Property| GlobalValue {
            kind: property.kind,
            default: property.is_default,
            value: property.value.clone(),
        };
        let record = Self {
            record: Kind::Global,
            version: VERSION,
            properties: parts
                .properties
                .iter()
                .map(|property| (property.name.clone(), value(property)))
                .collect(),
            labels: parts.labels.iter().cloned().collect(),
            pools: parts.drivers.clone(),
            features: parts.features.iter().cloned().collect(),
        };
        record.check()?;
        Ok(record)
    }

    /// The bytes of the record: equal records have equal bytes.
    pub fn encode(&self) -> Result<Vec<u8>, BadRecord> {
        encode(self)
    }

    /// The record of these bytes, as strictly as that of a qube.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadRecord> {
        decode(bytes)
    }
}

impl Record for GlobalRecord {
    const KIND: Kind = Kind::Global;

    fn check(&self) -> Result<(), BadRecord> {
        let is_sound = |(name, found): (&String, &GlobalValue)| {
            is_property_name(name) && found.kind.fits(&found.value)
        };
        let is_bounded = self.properties.len() <= ITEMS_MAX;
        sound(
            "properties",
            is_bounded && self.properties.iter().all(is_sound),
        )?;
        let is_sound = |(name, color): (&String, &String)| is_label_name(name) && is_color(color);
        let is_bounded = self.labels.len() <= ITEMS_MAX;
        sound("labels", is_bounded && self.labels.iter().all(is_sound))?;
        let is_bounded = self.pools.len() <= ITEMS_MAX;
        sound(
            "pools",
            is_bounded && self.pools.keys().all(|pool| is_pool_name(pool)),
        )?;
        let is_sound = |(name, value): (&String, &String)| {
            is_feature_name(name) && value.len() <= FEATURE_MAX_BYTES && !value.contains('\0')
        };
        let is_bounded = self.features.len() <= ITEMS_MAX;
        sound("features", is_bounded && self.features.iter().all(is_sound))
    }
}
