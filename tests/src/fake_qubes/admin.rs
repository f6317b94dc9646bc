// SPDX-License-Identifier: GPL-3.0-or-later
//! The calls of the Admin API, each to the part of the system that answers it.

use super::World;
use super::life;
use super::properties::Property;
use super::qubesd::{Answer, Fault, Request};
use super::settings;
use super::system::Release;
use super::volumes::Volume;

/// Answers a call that needs no lock. `qube` is its destination.
pub(super) fn answer(world: &World, qube: &str, request: &Request) -> Answer {
    let Request {
        method,
        argument,
        payload,
        ..
    } = request;
    let verb_of = |prefix: &str| method.strip_prefix(prefix);
    if let Some(verb) = verb_of("admin.vm.feature.") {
        return settings::feature(world, qube, verb, argument, payload);
    }
    if let Some(verb) = verb_of("admin.vm.tag.") {
        return settings::tag(world, qube, verb, argument);
    }
    if let Some(verb) = verb_of("admin.vm.firewall.") {
        return settings::firewall(world, qube, verb, payload);
    }
    if let Some(verb) = verb_of("admin.vm.notes.") {
        return settings::notes(world, qube, verb, payload);
    }
    if let Some(call) = verb_of("admin.vm.device.") {
        return settings::device(world, qube, call, argument, payload);
    }
    if let Some(verb) = verb_of("admin.label.").filter(|_| qube == "dom0") {
        return settings::label(world, verb, argument, payload);
    }
    if let Some(verb) = verb_of("admin.vm.property.").filter(|_| qube != "dom0") {
        return property(world, qube, verb, request);
    }
    if let Some(verb) = verb_of("admin.property.").filter(|_| qube == "dom0") {
        return property(world, qube, verb, request);
    }
    if let Some(verb) = verb_of("admin.vm.volume.") {
        return volume(world, qube, verb, request);
    }
    match method.as_str() {
        "admin.vm.List" if qube == "dom0" => {
            let dom0 = match world.release() {
                Release::R42 => "dom0 class=AdminVM state=Running\n".to_owned(),
                _ => "dom0 class=AdminVM state=Running uuid=00000000-0000-0000-0000-000000000000\n"
                    .to_owned(),
            };
            let names = world.names();
            let others = names.iter().map(|name| line(world, name));
            Ok(std::iter::once(dom0).chain(others).collect())
        }
        "admin.vm.List" => Ok(line(world, qube)),
        "admin.vm.CurrentState" => Ok(format!(
            "mem=409600 cputime=1 power_state={}",
            world.state(qube)
        )),
        "admin.vm.Kill" | "admin.vm.Shutdown" | "admin.vm.Pause" | "admin.vm.Unpause" => {
            let verb = method.trim_start_matches("admin.vm.");
            life::change_state(world, qube, verb, payload)
        }
        "admin.deviceclass.List" if qube == "dom0" => {
            let classes = settings::device_classes(world);
            Ok(classes.into_iter().map(|class| class + "\n").collect())
        }
        "admin.pool.List" if qube == "dom0" => {
            Ok(world.pools().into_iter().map(|pool| pool + "\n").collect())
        }
        "admin.pool.volume.List" if qube == "dom0" => {
            let folder = world.pool(argument).remove("dir_path");
            let kernels = folder.map(std::fs::read_dir).and_then(Result::ok);
            let names = kernels.into_iter().flatten().flatten();
            Ok(names
                .map(|entry| format!("{}\n", entry.file_name().to_string_lossy()))
                .collect())
        }
        "admin.pool.Info" if qube == "dom0" => {
            let pool = world.pool(argument);
            if pool.is_empty() {
                return Err(Fault::Error("QubesPoolNotFoundError"));
            }
            let lines = pool.iter().map(|(key, value)| format!("{key}={value}\n"));
            Ok(std::iter::once(format!("name={argument}\n"))
                .chain(lines)
                .collect())
        }
        _ => Err(Fault::Protocol),
    }
}

/// Answers a call at the internal socket: the two ends of an import.
pub(super) fn answer_inside(world: &World, qube: &str, request: &Request) -> Answer {
    let mut volume = Volume::of(world, qube, &request.argument).ok_or(Fault::Protocol)?;
    match request.method.as_str() {
        "internal.vm.volume.ImportBegin" => {
            if world.state(qube) != "Halted" {
                return Err(Fault::Error("QubesVMNotHaltedError"));
            }
            let size = std::str::from_utf8(&request.payload).map_err(|_| Fault::Protocol)?;
            volume.begin_import(size)
        }
        "internal.vm.volume.ImportEnd" => volume.end_import(&request.payload),
        _ => Err(Fault::Protocol),
    }
}

fn property(world: &World, qube: &str, verb: &str, request: &Request) -> Answer {
    if verb == "GetAll" {
        return Ok(Property::all(world, qube)
            .map(|property| property.line())
            .collect());
    }
    if verb == "List" {
        let names = Property::all(world, qube).map(|property| property.name());
        return Ok(names.map(|name| format!("{name}\n")).collect());
    }
    let property = Property::of(world, qube, &request.argument)
        .ok_or(Fault::Error("QubesNoSuchPropertyError"))?;
    match verb {
        "Get" => Ok(property.answer()),
        "Set" => {
            let value = std::str::from_utf8(&request.payload).map_err(|_| Fault::Nothing)?;
            property.set(value).map(|()| String::new())
        }
        "Reset" => property.reset().map(|()| String::new()),
        _ => Err(Fault::Protocol),
    }
}

fn volume(world: &World, qube: &str, verb: &str, request: &Request) -> Answer {
    if verb == "List" {
        let names = world.listed(qube, "volumes");
        return Ok(names.into_iter().map(|name| name + "\n").collect());
    }
    let mut volume = Volume::of(world, qube, &request.argument).ok_or(Fault::Protocol)?;
    let payload = std::str::from_utf8(&request.payload).map_err(|_| Fault::Protocol)?;
    let done = |()| String::new();
    match verb {
        "Info" => Ok(volume.info()),
        "ListSnapshots" => Ok(volume.snapshots()),
        "Resize" => volume
            .resize(payload, world.state(qube) != "Halted")
            .map(done),
        "Revert" => volume.revert(payload).map(done),
        _ => match verb.strip_prefix("Set.") {
            Some(key @ ("revisions_to_keep" | "rw" | "ephemeral")) => {
                volume.set_setting(key, payload).map(done)
            }
            _ => Err(Fault::Protocol),
        },
    }
}

fn line(world: &World, name: &str) -> String {
    let (class, state) = (world.class(name), world.state(name));
    match world.release() {
        Release::R42 => format!("{name} class={class} state={state}\n"),
        _ => format!(
            "{name} class={class} state={state} uuid={}\n",
            world.uuid(name)
        ),
    }
}
