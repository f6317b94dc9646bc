// SPDX-License-Identifier: GPL-3.0-or-later
//! Tests of plans: one for each rule of the design that repairs a loss, a leak or a takeover.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::answer::{PropertyKind, VolumeInfo, assigned, properties};
use crate::class::Class;
use crate::driver::Driver;
use crate::record::{DeviceRecord, OwnValue, QubeParts, QubeRecord};

mod fates;
mod in_place;
mod order;
mod settings;

/// A record of a qube with these lines of properties beside the usual ones.
fn record(name: &str, class: Class, template: Option<&str>, more: &str) -> QubeRecord {
    let mut lines = String::from(
        "default_dispvm default=True type=vm default-dvm\n\
         guivm default=True type=vm dom0\n\
         kernel default=True type=str 6.6\n\
         label default=False type=label blue\n",
    );
    if let Some(template) = template {
        lines.push_str(&format!("template default=False type=vm {template}\n"));
    }
    for (property, line) in [
        ("netvm ", "netvm default=True type=vm sys-firewall\n"),
        (
            "include_in_backups ",
            "include_in_backups default=True type=bool True\n",
        ),
    ] {
        if !more.starts_with(property) && !more.contains(&format!("\n{property}")) {
            lines.push_str(line);
        }
    }
    lines.push_str(more);
    let volume = |name: &str, kept: bool| VolumeInfo {
        name: name.into(),
        pool: "vm-pool".into(),
        vid: String::new(),
        size_bytes: 2 << 30,
        is_writable: true,
        source: String::new(),
        save_on_stop: kept,
        snap_on_start: false,
        revisions_to_keep: 2,
        is_ephemeral: false,
    };
    let has_root = matches!(class, Class::Template | Class::Standalone);
    let mut volumes = vec![volume("volatile", false)];
    if class != Class::Disposable {
        volumes.push(volume("private", true));
    }
    if has_root {
        volumes.push(volume("root", true));
    }
    let parts = QubeParts {
        name,
        class: &class,
        properties: &properties(&lines).unwrap(),
        label_color: "0x3465a4",
        features: &[],
        tags: &[],
        firewall: &["action=accept".to_owned()],
        notes: "",
        devices: &[],
        volumes: &volumes,
        drivers: &BTreeMap::from([("vm-pool".to_owned(), Driver::LvmThin)]),
    };
    QubeRecord::of(&parts).unwrap().0
}

fn app(name: &str, more: &str) -> QubeRecord {
    record(name, Class::App, Some("debian-12"), more)
}

impl QubeRecord {
    /// The same with this effective value, as a default's.
    fn effective_of(mut self, property: &str, value: &str) -> Self {
        self.effective.insert(property.into(), Some(value.into()));
        self
    }

    /// The same with this value as its own.
    fn own_reference(self, property: &str, value: &str) -> Self {
        let mut record = self.effective_of(property, value);
        let own = OwnValue {
            kind: PropertyKind::Vm,
            value: value.into(),
        };
        record.properties.insert(property.into(), own);
        record
    }
}

fn archived(records: Vec<QubeRecord>) -> BTreeMap<String, Archived> {
    let one = |record: QubeRecord| {
        let kept = record
            .volumes
            .iter()
            .filter(|(_, volume)| volume.save_on_stop);
        let volumes: BTreeMap<String, u64> = kept
            .map(|(name, volume)| (name.clone(), volume.size))
            .collect();
        let name = record.name.clone();
        let uuid = Some("0f3b2c1d-0000-4000-8000-00000000abcd".parse().unwrap());
        (
            name,
            Archived {
                record,
                data_bytes: volumes.clone(),
                volumes,
                uuid,
                is_here: false,
            },
        )
    };
    records.into_iter().map(one).collect()
}

fn wish(names: &[&str]) -> RestoreWish {
    RestoreWish {
        asked: match names {
            [] => Asked::All,
            names => Asked::Names(names.iter().map(|name| (*name).to_owned()).collect()),
        },
        new_name: None,
        parts: Parts::Both,
        with_needs: false,
        trust_settings: false,
        is_attended: true,
        proof: Proof::Proven,
        nonce: Nonce::of("0123456789abcdef").unwrap(),
    }
}

fn trusting(names: &[&str]) -> RestoreWish {
    RestoreWish {
        trust_settings: true,
        ..wish(names)
    }
}

/// A machine as it is right after its installation.
fn machine() -> Machine {
    let qube = |class, provides_network, template_for_dispvms| PresentQube {
        class,
        provides_network,
        template_for_dispvms,
        is_restorer: false,
    };
    let default = |property: &str, value: &str| (property.to_owned(), Some(value.to_owned()));
    Machine {
        qubes: BTreeMap::from([
            ("debian-12".to_owned(), qube(Class::Template, false, false)),
            ("sys-firewall".to_owned(), qube(Class::App, true, false)),
            ("default-dvm".to_owned(), qube(Class::App, false, true)),
        ]),
        labels: BTreeSet::from(["blue".to_owned()]),
        pools: BTreeMap::from([("vm-pool".to_owned(), Driver::LvmThin)]),
        free_bytes: BTreeMap::new(),
        default_pool: "vm-pool".into(),
        kernels: BTreeSet::from(["6.6".to_owned()]),
        device_classes: BTreeSet::from(["usb".to_owned(), "pci".to_owned()]),
        defaults: BTreeMap::from([
            default("netvm", "sys-firewall"),
            default("default_dispvm", "default-dvm"),
            default("guivm", "dom0"),
            default("kernel", "6.6"),
        ]),
        honours_prohibit_start: true,
        policy: Vec::new(),
        unread_policy: Vec::new(),
    }
}

fn planned(records: Vec<QubeRecord>, wish: &RestoreWish, machine: &Machine) -> Plan {
    plan(&archived(records), wish, machine).unwrap()
}

fn one(record: QubeRecord, wish: &RestoreWish) -> Plan {
    planned(vec![record], wish, &machine())
}

/// What a property of `work` is set to, by the last step that sets it.
fn set<'a>(plan: &'a Plan, wanted: &str) -> Option<&'a str> {
    let mut steps = plan.steps.iter().rev();
    steps.find_map(|step| match step {
        Step::SetProperty {
            property, value, ..
        } if property == wanted => Some(value.as_str()),
        _ => None,
    })
}

fn at(plan: &Plan, is_it: impl Fn(&Step) -> bool) -> usize {
    plan.steps.iter().position(is_it).unwrap()
}

fn fate(plan: &Plan, name: &str) -> Fate {
    let found = plan.qubes.iter().find(|found| found.qube == name).unwrap();
    found.fate.clone()
}

fn left_out(plan: &Plan) -> Vec<(Setting, WhyLeft)> {
    let lines = plan.lines.iter();
    lines
        .filter_map(|line| match line {
            Line::LeftOut { setting, why, .. } => Some((setting.clone(), *why)),
            _ => None,
        })
        .collect()
}

fn text(plan: &Plan) -> String {
    plan.lines.iter().map(|line| format!("{line}\n")).collect()
}
