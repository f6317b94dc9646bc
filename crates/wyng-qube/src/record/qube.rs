// SPDX-License-Identifier: GPL-3.0-or-later
//! The record of one qube.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::bad::BadRecord;
use super::codec::{Kind, Record, VERSION, decode, encode, sound};
use crate::answer::{
    Assignment, FEATURE_MAX_BYTES, FIREWALL_MAX_BYTES, Mode, NOTES_MAX_BYTES, PropertyKind,
};
use crate::class::Class;
use crate::driver::Driver;
use crate::form::{
    is_color, is_device_class, is_domain, is_feature_name, is_kernel_name, is_label_name,
    is_menu_item, is_pool_name, is_property_name, is_qube_name, is_tag, is_volume_name,
};

/// The properties whose effective value is recorded, also where it is a default's: they decide
/// where a qube's traffic goes, what it starts from, and who sees it.
pub const EFFECTIVE: [&str; 7] = [
    "audiovm",
    "default_dispvm",
    "guivm",
    "kernel",
    "management_dispvm",
    "netvm",
    "template",
];
/// The features that list entries of a menu. They are recorded as names, apart from the others.
pub const MENUS: [&str; 3] = ["default-menu-items", "menu-items", "netvm-menu-items"];
pub(super) const KERNEL: &str = "kernel";
const PROPERTIES_MAX: usize = 512;
const FEATURES_MAX: usize = 4096;
const TAGS_MAX: usize = 1024;
const RULES_MAX: usize = 4096;
const DEVICES_MAX: usize = 1024;
const VOLUMES_MAX: usize = 64;
const MENU_ITEMS_MAX: usize = 4096;
/// The lowest value of `revisions_to_keep`.
const REVISIONS_MIN: i64 = -1;
const FALSE: &str = "False";

/// What a qube is beside its volumes. Bounds: 1 MiB in all, 512 properties, 4096 features, 1024
/// tags, 4096 rules, 1024 devices, 64 volumes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QubeRecord {
    pub(super) record: Kind,
    pub(super) version: u32,
    /// Its name.
    pub name: String,
    /// Its class; never that of dom0.
    pub class: Class,
    /// Its label.
    pub label: LabelRecord,
    /// The template that it is made over, where its class has one.
    pub template: Option<String>,
    /// Whether backups of all qubes take it.
    pub include_in_backups: bool,
    /// Its own values, not those of defaults, by the names of their properties.
    pub properties: BTreeMap<String, OwnValue>,
    /// The values that counted, of the properties in [`EFFECTIVE`] that its class has; `None` for
    /// none.
    pub effective: BTreeMap<String, Option<String>>,
    /// Values of features by their names; an empty one is "off".
    pub features: BTreeMap<String, String>,
    /// Entries of menus, by the features in [`MENUS`].
    pub menus: BTreeMap<String, Vec<String>>,
    /// Its tags.
    pub tags: BTreeSet<String>,
    /// Rules of its firewall, each as qubesd has it, in their order.
    pub firewall: Vec<String>,
    /// Its notes, at most 256,000 bytes.
    pub notes: String,
    /// Devices that are assigned to it.
    pub devices: Vec<DeviceRecord>,
    /// How each of its volumes is kept, by its name.
    pub volumes: BTreeMap<String, VolumeRecord>,
}

/// A label, with what it takes to make it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabelRecord {
    /// Its name.
    pub name: String,
    /// Its colour: `0x` and six hexadecimal digits.
    pub color: String,
}

/// A property's own value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OwnValue {
    /// What the value is.
    #[serde(rename = "type")]
    pub kind: PropertyKind,
    /// The value, which fits the kind. Of a qube that is none: empty.
    pub value: String,
}

/// A device that is assigned to the qube.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceRecord {
    /// Its class, such as `usb`.
    pub class: String,
    /// The qube that has it, or dom0.
    pub backend: String,
    /// Where it is there.
    pub port: String,
    /// What it says of itself.
    pub identity: String,
    /// When it is given to the qube.
    pub mode: Mode,
    /// Its options.
    pub options: BTreeMap<String, String>,
}

/// How a volume is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VolumeRecord {
    /// Length in bytes.
    pub size: u64,
    /// Whether the qube may write to it.
    pub rw: bool,
    /// Number of older states that the pool keeps; at least -1.
    pub revisions_to_keep: i64,
    /// Whether what is written to it is lost at the stop, by encryption.
    pub ephemeral: bool,
    /// Whether what the qube wrote is kept when it stops. Such a volume is backed up.
    pub save_on_stop: bool,
    /// Whether it begins as a snapshot of another volume at each start.
    pub snap_on_start: bool,
    /// Whether there is a volume that it begins from.
    pub has_source: bool,
    /// The name of the pool.
    pub pool: String,
    /// The driver of the pool.
    pub driver: Driver,
}

impl QubeRecord {
    /// The bytes of the record: equal records have equal bytes.
    pub fn encode(&self) -> Result<Vec<u8>, BadRecord> {
        encode(self)
    }

    /// The record of these bytes; refused where it is out of its bounds, of another form, or not
    /// encoded as [`encode`](Self::encode) does it.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadRecord> {
        decode(bytes)
    }

    /// Whether one of its own properties is on: neither empty nor `False`, since Qubes OS knows
    /// more words for on than `True`.
    pub fn is_true(&self, property: &str) -> bool {
        self.properties
            .get(property)
            .is_some_and(|own| !own.value.is_empty() && own.value != FALSE)
    }

    /// The effective value of a property in [`EFFECTIVE`]; `None` for none, and where its class
    /// does not have it.
    pub fn effective(&self, property: &str) -> Option<&str> {
        self.effective.get(property)?.as_deref()
    }

    pub(super) fn empty(name: &str, class: Class, label: LabelRecord) -> Self {
        Self {
            record: Kind::Qube,
            version: VERSION,
            name: name.to_owned(),
            class,
            label,
            template: None,
            include_in_backups: false,
            properties: BTreeMap::new(),
            effective: BTreeMap::new(),
            features: BTreeMap::new(),
            menus: BTreeMap::new(),
            tags: BTreeSet::new(),
            firewall: Vec::new(),
            notes: String::new(),
            devices: Vec::new(),
            volumes: BTreeMap::new(),
        }
    }

    fn check_identity(&self) -> Result<(), BadRecord> {
        sound("name", is_qube_name(&self.name))?;
        sound("class", self.class != Class::Admin)?;
        let label = &self.label;
        sound(
            "label",
            is_label_name(&label.name) && is_color(&label.color),
        )?;
        let template = self.template.as_deref();
        sound("template", template.is_none_or(is_qube_name))
    }

    fn check_properties(&self) -> Result<(), BadRecord> {
        let is_sound =
            |(name, own): (&String, &OwnValue)| is_property_name(name) && own.kind.fits(&own.value);
        let is_bounded = self.properties.len() <= PROPERTIES_MAX;
        sound(
            "properties",
            is_bounded && self.properties.iter().all(is_sound),
        )?;
        let is_sound = |(name, value): (&String, &Option<String>)| {
            let fits = |value: &str| match name.as_str() {
                KERNEL => is_kernel_name(value),
                _ => is_domain(value),
            };
            EFFECTIVE.contains(&name.as_str()) && value.as_deref().is_none_or(fits)
        };
        sound("effective", self.effective.iter().all(is_sound))
    }

    fn check_features(&self) -> Result<(), BadRecord> {
        let is_sound = |(name, value): (&String, &String)| {
            is_feature_name(name)
                && !MENUS.contains(&name.as_str())
                && value.len() <= FEATURE_MAX_BYTES
                && !value.contains('\0')
        };
        let is_bounded = self.features.len() <= FEATURES_MAX;
        sound("features", is_bounded && self.features.iter().all(is_sound))?;
        let is_sound = |(name, items): (&String, &Vec<String>)| {
            MENUS.contains(&name.as_str())
                && items.len() <= MENU_ITEMS_MAX
                && items.iter().all(|item| is_menu_item(item))
        };
        sound("menus", self.menus.iter().all(is_sound))?;
        let is_bounded = self.tags.len() <= TAGS_MAX;
        sound(
            "tags",
            is_bounded && self.tags.iter().all(|tag| is_tag(tag)),
        )
    }

    fn check_texts(&self) -> Result<(), BadRecord> {
        let bytes: usize = self.firewall.iter().map(String::len).sum();
        let is_bounded = self.firewall.len() <= RULES_MAX && bytes <= FIREWALL_MAX_BYTES;
        let is_sound = |rule: &String| crate::answer::is_rule_text(rule);
        sound("firewall", is_bounded && self.firewall.iter().all(is_sound))?;
        let notes = &self.notes;
        sound(
            "notes",
            notes.len() <= NOTES_MAX_BYTES && !notes.contains('\0'),
        )
    }

    fn check_storage(&self) -> Result<(), BadRecord> {
        let is_bounded = self.devices.len() <= DEVICES_MAX;
        let is_ordered = self.devices.is_sorted();
        let is_sound = self.devices.iter().all(DeviceRecord::is_sound);
        sound("devices", is_bounded && is_ordered && is_sound)?;
        let is_sound = |(name, volume): (&String, &VolumeRecord)| {
            is_volume_name(name)
                && is_pool_name(&volume.pool)
                && volume.revisions_to_keep >= REVISIONS_MIN
        };
        let is_bounded = self.volumes.len() <= VOLUMES_MAX;
        sound("volumes", is_bounded && self.volumes.iter().all(is_sound))
    }
}

impl Record for QubeRecord {
    const KIND: Kind = Kind::Qube;

    fn check(&self) -> Result<(), BadRecord> {
        self.check_identity()?;
        self.check_properties()?;
        self.check_features()?;
        self.check_texts()?;
        self.check_storage()
    }
}

impl DeviceRecord {
    pub(super) fn of(assignment: &Assignment) -> Self {
        Self {
            class: assignment.class.clone(),
            backend: assignment.backend.clone(),
            port: assignment.port.clone(),
            identity: assignment.identity.clone(),
            mode: assignment.mode,
            options: assignment.options.clone(),
        }
    }

    fn is_sound(&self) -> bool {
        is_device_class(&self.class)
            && is_domain(&self.backend)
            && crate::answer::is_device_place(&self.port, &self.identity)
            && crate::answer::are_device_options(&self.options)
    }
}
