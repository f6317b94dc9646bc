// SPDX-License-Identifier: GPL-3.0-or-later
//! The settings record of a qube, from one call after the other, as a sealed memory file.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use wyng_control::{LeftOut, NoSource, QubeFault, WhyLeftOut};
use wyng_jail::{new_file, seal_file};
use wyng_qube::Class;
use wyng_qube::answer;
use wyng_qube::record::{BadRecord, NotRecorded, QubeParts, QubeRecord};

use super::api::{Api, Found};

/// The record's bytes, and what is not in it.
pub(super) fn record(api: &Api, found: &Found) -> Result<(Vec<u8>, Vec<LeftOut>), QubeFault> {
    let qube = found.listed.name.as_str();
    let properties = api.ask(("admin.vm.property.GetAll", "", qube), answer::properties)?;
    let label = properties.iter().find(|property| property.name == "label");
    let label_color = match label {
        Some(label) => api.ask(("admin.label.Get", &label.value, "dom0"), answer::color)?,
        None => String::new(),
    };
    let names = api.ask(("admin.vm.feature.List", "", qube), answer::feature_names)?;
    let mut features = Vec::new();
    for name in names {
        let value = api.ask(("admin.vm.feature.Get", &name, qube), answer::feature_value)?;
        features.push((name, value));
    }
    let tags = api.tags(qube)?;
    // qubesd has no answer about these of a qube of another machine.
    let is_here = *found.class() != Class::Remote;
    let (mut firewall, mut notes, mut volumes) = Default::default();
    if is_here {
        firewall = api.ask(("admin.vm.firewall.Get", "", qube), answer::firewall)?;
        notes = api.ask(("admin.vm.notes.Get", "", qube), answer::notes)?;
        volumes = api.volumes(qube)?;
    }
    let mut devices = Vec::new();
    let classes = api.ask(
        ("admin.deviceclass.List", "", "dom0"),
        answer::device_classes,
    )?;
    for class in &classes {
        let (verb, parse): (_, fn(&str, &str) -> _) = match found.is_old {
            true => ("List", answer::attached_by_old_releases),
            false => ("Assigned", answer::assigned),
        };
        let method = format!("admin.vm.device.{class}.{verb}");
        devices.extend(api.ask((&method, "", qube), |text| parse(class, text))?);
    }
    let pools = api.pools()?;
    let drivers = pools
        .into_iter()
        .map(|pool| (pool.name, pool.driver))
        .collect();
    let parts = QubeParts {
        name: qube,
        class: found.class(),
        properties: &properties,
        label_color: &label_color,
        features: &features,
        tags: &tags,
        firewall: &firewall,
        notes: &notes,
        devices: &devices,
        volumes: &volumes,
        drivers: &drivers,
    };
    let (record, not_recorded) = QubeRecord::of(&parts).map_err(|bad| out_of_bounds(&bad))?;
    let bytes = record.encode().map_err(|bad| out_of_bounds(&bad))?;
    let left_out = not_recorded
        .into_iter()
        .map(|NotRecorded::MenuItems { count, .. }| LeftOut {
            what: qube.to_owned(),
            why: WhyLeftOut::MenuItems {
                count: u32::try_from(count).unwrap_or(u32::MAX),
            },
        });
    Ok((bytes, left_out.collect()))
}

pub(super) fn out_of_bounds(bad: &BadRecord) -> QubeFault {
    QubeFault::Record {
        field: bad.to_string(),
    }
}

/// Bytes in a memory file that nobody can change.
pub(super) fn sealed(bytes: &[u8]) -> Result<OwnedFd, NoSource> {
    let errno = |error: std::io::Error| {
        let errno = error.raw_os_error();
        NoSource::Errno(errno.unwrap_or(Errno::IO.raw_os_error()))
    };
    let file = new_file().map_err(errno)?;
    let mut left = bytes;
    while !left.is_empty() {
        match rustix::io::retry_on_intr(|| rustix::io::write(&file, left)) {
            Ok(written) => left = left.get(written..).unwrap_or_default(),
            Err(number) => return Err(NoSource::Errno(number.raw_os_error())),
        }
    }
    seal_file(&file).map_err(errno)?;
    Ok(file)
}
