// SPDX-License-Identifier: GPL-3.0-or-later
//! A qube's record from qubesd's answers: what is recorded, and what is skipped because it cannot
//! be set, is another's, or changes with every backup.

use std::collections::BTreeMap;

use super::bad::BadRecord;
use super::codec::Record;
use super::qube::{
    DeviceRecord, EFFECTIVE, LabelRecord, MENUS, OwnValue, QubeRecord, VolumeRecord,
};
use crate::answer::{Assignment, Property, VolumeInfo};
use crate::class::Class;
use crate::driver::Driver;
use crate::form::is_menu_item;

/// Properties that identify a qube, are computed, are recorded elsewhere, or change with every
/// backup. Setting one fails, or does nothing.
const SKIPPED_PROPERTIES: [&str; 26] = [
    "backup_timestamp",
    "connected_vms",
    "dispid",
    "dns",
    "gateway",
    "gateway6",
    "icon",
    "is_preload",
    "klass",
    "label",
    "name",
    "preload_requested",
    "qid",
    "start_time",
    "storage",
    "stubdom_uuid",
    "stubdom_xid",
    "template",
    "updateable",
    "uuid",
    "visible_gateway",
    "visible_gateway6",
    "visible_ip",
    "visible_ip6",
    "visible_netmask",
    "xid",
];
/// Features that say which disposables are being preloaded, which qubesd refuses; and our own marks.
const SKIPPED_FEATURES: [&str; 5] = [
    "preload-dispvm",
    "preload-dispvm-completed",
    "preload-dispvm-in-progress",
    "wyng-paused",
    "wyng-restore",
];
/// Tags that say that a qube is being restored.
const SKIPPED_TAGS: [&str; 1] = ["backup-restore-in-progress"];
const LABEL: &str = "label";
const TEMPLATE: &str = "template";
const INCLUDED: &str = "include_in_backups";
const TRUE: &str = "True";

/// Whether a property of this name is never recorded, and so is never set.
pub(crate) fn is_skipped_property(name: &str) -> bool {
    SKIPPED_PROPERTIES.contains(&name)
}

/// Whether a feature of this name is never recorded, and so is never set.
pub(crate) fn is_skipped_feature(name: &str) -> bool {
    SKIPPED_FEATURES.contains(&name)
}

/// What qubesd answered about one qube.
#[derive(Debug, Clone)]
pub struct QubeParts<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its class.
    pub class: &'a Class,
    /// All its properties.
    pub properties: &'a [Property],
    /// The colour of its label.
    pub label_color: &'a str,
    /// Names and values of its features.
    pub features: &'a [(String, String)],
    /// Its tags.
    pub tags: &'a [String],
    /// The rules of its firewall; none of a qube of another machine.
    pub firewall: &'a [String],
    /// Its notes.
    pub notes: &'a str,
    /// Devices of all classes that are assigned to it.
    pub devices: &'a [Assignment],
    /// Its volumes.
    pub volumes: &'a [VolumeInfo],
    /// The driver of each pool.
    pub drivers: &'a BTreeMap<String, Driver>,
}

/// What was left out of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotRecorded {
    /// Entries of a menu that are no names.
    MenuItems {
        /// The feature that lists them.
        feature: &'static str,
        /// How many.
        count: usize,
    },
}

impl QubeRecord {
    /// The record of a qube, and what was left out of it. An error names the field that is missing
    /// or out of its bounds.
    pub fn of(parts: &QubeParts<'_>) -> Result<(Self, Vec<NotRecorded>), BadRecord> {
        let find = |name: &str| parts.properties.iter().find(|found| found.name == name);
        let label = LabelRecord {
            name: find(LABEL).ok_or(BadRecord::Field(LABEL))?.value.clone(),
            color: parts.label_color.to_owned(),
        };
        let mut record = Self::empty(parts.name, parts.class.clone(), label);
        record.template = find(TEMPLATE).and_then(value_or_none);
        // A class without the property is in no backup of all qubes.
        record.include_in_backups = find(INCLUDED).is_some_and(|found| found.value == TRUE);
        for property in parts.properties {
            let name = property.name.as_str();
            if EFFECTIVE.contains(&name) {
                let value = value_or_none(property);
                record.effective.insert(name.to_owned(), value);
            }
            if !property.is_default && !is_skipped_property(name) {
                let own = OwnValue {
                    kind: property.kind,
                    value: property.value.clone(),
                };
                record.properties.insert(name.to_owned(), own);
            }
        }
        let not_recorded = record.take_features(parts.features);
        let kept = |tag: &&String| !SKIPPED_TAGS.contains(&tag.as_str());
        record.tags = parts.tags.iter().filter(kept).cloned().collect();
        record.firewall = parts.firewall.to_vec();
        record.notes = parts.notes.to_owned();
        record.devices = parts.devices.iter().map(DeviceRecord::of).collect();
        record.devices.sort();
        for volume in parts.volumes {
            let kept = VolumeRecord::of(volume, parts.drivers)?;
            record.volumes.insert(volume.name.clone(), kept);
        }
        record.check()?;
        Ok((record, not_recorded))
    }

    fn take_features(&mut self, features: &[(String, String)]) -> Vec<NotRecorded> {
        let mut not_recorded = Vec::new();
        for (name, value) in features {
            if is_skipped_feature(name) {
                continue;
            }
            let Some(feature) = MENUS.into_iter().find(|menu| menu == name) else {
                self.features.insert(name.clone(), value.clone());
                continue;
            };
            let all: Vec<&str> = value
                .split([' ', '\n'])
                .filter(|item| !item.is_empty())
                .collect();
            let items: Vec<String> = all
                .iter()
                .filter(|item| is_menu_item(item))
                .map(|item| (*item).to_owned())
                .collect();
            let count = all.len().saturating_sub(items.len());
            if count > 0 {
                not_recorded.push(NotRecorded::MenuItems { feature, count });
            }
            self.menus.insert(name.clone(), items);
        }
        not_recorded
    }
}

impl VolumeRecord {
    fn of(volume: &VolumeInfo, drivers: &BTreeMap<String, Driver>) -> Result<Self, BadRecord> {
        let driver = drivers.get(&volume.pool);
        Ok(Self {
            size: volume.size_bytes,
            rw: volume.is_writable,
            revisions_to_keep: volume.revisions_to_keep,
            ephemeral: volume.is_ephemeral,
            save_on_stop: volume.save_on_stop,
            snap_on_start: volume.snap_on_start,
            has_source: !volume.source.is_empty(),
            pool: volume.pool.clone(),
            driver: driver.cloned().ok_or(BadRecord::Field("volumes"))?,
        })
    }
}

fn value_or_none(property: &Property) -> Option<String> {
    Some(property.value.clone()).filter(|value| !value.is_empty())
}
