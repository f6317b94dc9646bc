// SPDX-License-Identifier: GPL-3.0-or-later
//! Features, tags, firewall, notes, devices and labels. What qubesd cannot parse often gets no
//! answer at all.

use std::time::{SystemTime, UNIX_EPOCH};

use super::World;
use super::qubesd::{Answer, Fault};
use super::system::Release;

/// A change is refused after this many bytes of notes; what is there may be longer.
const NOTES_MAX_BYTES: usize = 256_000;
/// The devices of each release.
const CLASSES: [&str; 4] = ["block", "mic", "pci", "usb"];
/// Features that only the server itself sets.
const OWN_FEATURES: [&str; 3] = [
    "preload-dispvm",
    "preload-dispvm-completed",
    "preload-dispvm-in-progress",
];
/// Features that a disposable template must have before it may preload.
const FOR_PRELOADING: [&str; 3] = [
    "qrexec",
    "supported-rpc.qubes.WaitForRunningSystem",
    "supported-rpc.qubes.WaitForSession",
];

fn lines(names: impl IntoIterator<Item = String>) -> String {
    names.into_iter().map(|name| name + "\n").collect()
}

/// `admin.vm.feature.VERB+NAME`.
pub(super) fn feature(world: &World, qube: &str, verb: &str, name: &str, payload: &[u8]) -> Answer {
    match verb {
        "List" => Ok(lines(world.listed(qube, "features"))),
        "Get" => world
            .part(qube, "features", name)
            .ok_or(Fault::Error("QubesFeatureNotFoundError")),
        "Set" => {
            let value = std::str::from_utf8(payload).map_err(|_| Fault::Nothing)?;
            if !value.is_ascii() || value.contains('\n') {
                return Err(Fault::Nothing);
            }
            if world.release() >= Release::R43 {
                check_preloading(world, qube, name)?;
            }
            world.set_part(qube, "features", name, value);
            Ok(String::new())
        }
        "Remove" if world.remove_part(qube, "features", name) => Ok(String::new()),
        "Remove" => Err(Fault::Error("QubesFeatureNotFoundError")),
        _ => Err(Fault::Protocol),
    }
}

fn check_preloading(world: &World, qube: &str, name: &str) -> Result<(), Fault> {
    let has = |feature: &&str| world.part(qube, "features", feature).is_some();
    if OWN_FEATURES.contains(&name)
        || name == "preload-dispvm-max" && !FOR_PRELOADING.iter().all(has)
    {
        return Err(Fault::Error("QubesValueError"));
    }
    Ok(())
}

/// `admin.vm.tag.VERB+NAME`.
pub(super) fn tag(world: &World, qube: &str, verb: &str, name: &str) -> Answer {
    let is_set = || world.part(qube, "tags", name).is_some();
    match verb {
        "List" => Ok(lines(world.listed(qube, "tags"))),
        "Get" => Ok(if is_set() { "1" } else { "0" }.to_owned()),
        "Set" if name.contains(' ') || name.is_empty() || !name.is_ascii() => Err(Fault::Nothing),
        "Set" => {
            world.set_part(qube, "tags", name, "");
            Ok(String::new())
        }
        "Remove" if world.remove_part(qube, "tags", name) => Ok(String::new()),
        "Remove" => Err(Fault::Error("QubesTagNotFoundError")),
        _ => Err(Fault::Protocol),
    }
}

/// `admin.vm.firewall.VERB`. A qube without rules of its own accepts everything.
pub(super) fn firewall(world: &World, qube: &str, verb: &str, payload: &[u8]) -> Answer {
    if world.class(qube) == "RemoteVM" {
        return Err(Fault::Nothing);
    }
    let file = world.qube(qube).join("firewall");
    match verb {
        "Get" => {
            let rules = std::fs::read_to_string(file);
            Ok(rules.unwrap_or_else(|_| "action=accept\n".to_owned()))
        }
        "Set" => {
            let rules = std::str::from_utf8(payload).map_err(|_| Fault::Nothing)?;
            if rules.is_empty() || !rules.is_ascii() || !rules.lines().all(is_rule) {
                return Err(Fault::Nothing);
            }
            let kept = rules.lines().filter(|rule| !has_expired(rule));
            std::fs::write(file, lines(kept.map(str::to_owned))).unwrap();
            Ok(String::new())
        }
        _ => Err(Fault::Protocol),
    }
}

/// Whether a line has known keys, and an action. The comment takes the rest of the line.
fn is_rule(line: &str) -> bool {
    let known = [
        "action=",
        "specialtarget=",
        "dsthost=",
        "dst4=",
        "dst6=",
        "dstports=",
        "proto=",
        "icmptype=",
        "expire=",
    ];
    let line = line.split_once("comment=").map_or(line, |(rule, _)| rule);
    let mut words = line.split_ascii_whitespace();
    words.all(|word| known.iter().any(|key| word.starts_with(key))) && line.contains("action=")
}

fn has_expired(line: &str) -> bool {
    let mut words = line.split_ascii_whitespace();
    let expires = words.find_map(|word| word.strip_prefix("expire=")?.parse::<u64>().ok());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    expires.is_some_and(|expires| expires <= now.as_secs())
}

/// `admin.vm.notes.VERB`.
pub(super) fn notes(world: &World, qube: &str, verb: &str, payload: &[u8]) -> Answer {
    if world.class(qube) == "RemoteVM" {
        return Err(Fault::Nothing);
    }
    let file = world.qube(qube).join("notes");
    match verb {
        "Get" => Ok(std::fs::read_to_string(file).unwrap_or_default()),
        "Set" if payload.is_empty() || payload.len() > NOTES_MAX_BYTES => Err(Fault::Nothing),
        "Set" => {
            std::fs::write(file, payload).unwrap();
            Ok(String::new())
        }
        _ => Err(Fault::Protocol),
    }
}

/// `admin.vm.device.CLASS.VERB`, and `admin.deviceclass.List`.
pub(super) fn device(world: &World, qube: &str, call: &str, port: &str, payload: &[u8]) -> Answer {
    let (class, verb) = call.split_once('.').ok_or(Fault::Protocol)?;
    if !device_classes(world).iter().any(|known| known == class) {
        return Err(Fault::Protocol);
    }
    let file = format!("assigned.{class}");
    let mut assigned = world.lines(qube, &file);
    let place = assigned
        .iter()
        .position(|line| line.split(' ').next() == Some(port));
    match verb {
        // R4.2 knows devices that are attached, and whether they are attached again at a start.
        "List" if world.release() == Release::R42 => Ok(lines(assigned)),
        "Assigned" | "Assign" | "Unassign" if world.release() == Release::R42 => {
            Err(Fault::Protocol)
        }
        "Available" => Ok(lines(world.lines(qube, &format!("available.{class}")))),
        "Assigned" => Ok(lines(assigned)),
        "Assign" => {
            let options = std::str::from_utf8(payload).map_err(|_| Fault::Nothing)?;
            let backend = port.split_once('+').map_or("", |(backend, _)| backend);
            if world.resolve(backend).is_none() || !options.contains("mode=") {
                return Err(Fault::Nothing);
            }
            if place.is_some() {
                return Err(Fault::Error("DeviceAlreadyAssigned"));
            }
            // The line is the port and the payload as it came.
            assigned.push(format!("{port} {options}").trim_end().to_owned());
            std::fs::write(world.qube(qube).join(file), lines(assigned)).unwrap();
            Ok(String::new())
        }
        "Unassign" => {
            assigned.remove(place.ok_or(Fault::Error("DeviceNotAssigned"))?);
            std::fs::write(world.qube(qube).join(file), lines(assigned)).unwrap();
            Ok(String::new())
        }
        _ => Err(Fault::Protocol),
    }
}

/// The classes of devices: those of every system, and those of the world's file `deviceclasses`.
pub(super) fn device_classes(world: &World) -> Vec<String> {
    let more = std::fs::read_to_string(world.0.join("deviceclasses")).unwrap_or_default();
    let known = CLASSES.map(str::to_owned).into_iter();
    known.chain(more.lines().map(str::to_owned)).collect()
}

/// A device that must be there for the qube to start, and is not: its port.
pub(super) fn missing_device(world: &World, qube: &str) -> Option<String> {
    device_classes(world).iter().find_map(|class| {
        let assigned = world.lines(qube, &format!("assigned.{class}"));
        assigned.into_iter().find_map(|line| {
            let (backend, port) = line.split(' ').next()?.split_once('+')?;
            let available = world.lines(backend, &format!("available.{class}"));
            let is_there = available
                .iter()
                .any(|found| found.split(' ').next() == Some(port));
            (line.contains("mode='required'") && !is_there).then(|| port.to_owned())
        })
    })
}

/// `admin.label.VERB+NAME`.
pub(super) fn label(world: &World, verb: &str, name: &str, payload: &[u8]) -> Answer {
    let labels = world.labels();
    match verb {
        "List" => Ok(lines(labels.into_keys())),
        "Get" => {
            super::properties::check_label(world, name)?;
            Ok(labels.get(name).cloned().unwrap_or_default())
        }
        "Create" => {
            let colour = std::str::from_utf8(payload).map_err(|_| Fault::Nothing)?;
            let digits = colour.strip_prefix("0x").unwrap_or_default();
            let is_colour = digits.len() == 6 && u32::from_str_radix(digits, 16).is_ok();
            if labels.contains_key(name) {
                return Err(Fault::Error("QubesValueError"));
            }
            if !is_colour {
                return Err(Fault::Protocol);
            }
            std::fs::create_dir_all(world.0.join("labels")).unwrap();
            std::fs::write(world.0.join("labels").join(name), colour).unwrap();
            Ok(String::new())
        }
        _ => Err(Fault::Protocol),
    }
}
