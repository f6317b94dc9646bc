// SPDX-License-Identifier: GPL-3.0-or-later
//! What this machine has, for a plan. It only asks.

use std::collections::{BTreeMap, BTreeSet};

use wyng_control::QubeFault;
use wyng_qube::answer::{self, Listed, PoolInfo};
use wyng_qube::plan::{Machine, PresentQube, restorer_query};
use wyng_qube::record::EFFECTIVE;
use wyng_qube::{Class, Driver};

use super::super::api::Api;
use super::policy::PolicyFolders;

const DOM0: &str = "dom0";
const KERNELS: &str = "linux-kernel";
const TRUE: &str = "True";
/// This machine, and the uuids of its qubes.
pub(super) fn machine(
    api: &Api,
    policy: &PolicyFolders,
) -> Result<(Machine, BTreeSet<String>), QubeFault> {
    let listed: Vec<Listed> = api
        .list()?
        .into_iter()
        .filter(|qube| qube.class != Class::Admin)
        .collect();
    let honours_prohibit_start = listed.iter().any(|qube| qube.uuid.is_some());
    let (mut qubes, mut uuids) = (BTreeMap::new(), BTreeSet::new());
    for qube in listed {
        let name = qube.name.clone();
        let class = qube.class.clone();
        match api.with_uuid(qube) {
            Ok(found) => uuids.insert(found.uuid.as_str().to_owned()),
            // It has gone since it was listed.
            Err(QubeFault::Gone) => continue,
            Err(fault) => return Err(fault),
        };
        let present = PresentQube {
            provides_network: is_on(api, &name, "provides_network")?,
            template_for_dispvms: is_on(api, &name, "template_for_dispvms")?,
            is_restorer: is_restorer(api, &name)?,
            class,
        };
        qubes.insert(name, present);
    }
    let labels = api.ask(("admin.label.List", "", DOM0), answer::labels)?;
    let pools = api.pools()?;
    let classes = api.ask(("admin.deviceclass.List", "", DOM0), answer::device_classes)?;
    let (policy, unread_policy) = policy.read();
    let machine = Machine {
        qubes,
        labels: labels.into_iter().collect(),
        kernels: kernels(api, &pools),
        free_bytes: pools
            .iter()
            .filter_map(|pool| Some((pool.name.clone(), pool.free_bytes()?)))
            .collect(),
        pools: pools
            .into_iter()
            .map(|pool| (pool.name, pool.driver))
            .collect(),
        default_pool: api.system("default_pool")?.value,
        device_classes: classes.into_iter().collect(),
        defaults: defaults(api),
        honours_prohibit_start,
        policy,
        unread_policy,
    };
    Ok((machine, uuids))
}

/// Whether a qube has power over all qubes that are being restored.
fn is_restorer(api: &Api, qube: &str) -> Result<bool, QubeFault> {
    let request = restorer_query(qube).map_err(|_| QubeFault::Gone)?;
    match api.call(&request) {
        Ok(answer) => Ok(answer == "1"),
        Err(QubeFault::Gone) => Ok(false),
        Err(fault) => Err(fault),
    }
}

/// The first qube that has power over all qubes that are being restored.
pub(super) fn restorer(api: &Api) -> Result<Option<String>, QubeFault> {
    for qube in api.list()? {
        if qube.class != Class::Admin && is_restorer(api, &qube.name)? {
            return Ok(Some(qube.name));
        }
    }
    Ok(None)
}

/// Whether a property is on. A class that lacks it has it off.
fn is_on(api: &Api, qube: &str, property: &str) -> Result<bool, QubeFault> {
    match api.property(qube, property) {
        Ok(found) => Ok(found.value == TRUE),
        Err(QubeFault::Gone | QubeFault::Exception { .. }) => Ok(false),
        Err(fault) => Err(fault),
    }
}

/// The kernels of every pool of kernels. One that cannot be listed has none: a kernel that is not
/// known is left to its default.
fn kernels(api: &Api, pools: &[PoolInfo]) -> BTreeSet<String> {
    let is_of_kernels = |pool: &&PoolInfo| pool.driver == Driver::Other(KERNELS.to_owned());
    pools
        .iter()
        .filter(is_of_kernels)
        .filter_map(|pool| {
            let call = ("admin.pool.volume.List", pool.name.as_str(), DOM0);
            api.ask(call, answer::kernels).ok()
        })
        .flatten()
        .collect()
}

/// What a new qube has of the properties whose effective value is recorded. One that cannot be
/// asked is not known.
fn defaults(api: &Api) -> BTreeMap<String, Option<String>> {
    let system_name = |property: &str| match property {
        "audiovm" => Some("default_audiovm"),
        "default_dispvm" => Some("default_dispvm"),
        "guivm" => Some("default_guivm"),
        "kernel" => Some("default_kernel"),
        "management_dispvm" => Some("management_dispvm"),
        "netvm" => Some("default_netvm"),
        _ => None,
    };
    EFFECTIVE
        .iter()
        .filter_map(|property| {
            let value = api.system(system_name(property)?).ok()?.value;
            let value = Some(value).filter(|value| !value.is_empty());
            Some(((*property).to_owned(), value))
        })
        .collect()
}

/// A machine without what comes and goes by itself: disposables, and the room of pools.
pub(super) fn steady(mut machine: Machine) -> Machine {
    machine.free_bytes.clear();
    machine
        .qubes
        .retain(|name, qube| qube.class != Class::Disposable || !is_passing(name));
    machine
}

/// Whether it is called as disposables of the moment are: `dispNUMBER`, or those of Wyng.
fn is_passing(name: &str) -> bool {
    let is_numbered = name
        .strip_prefix("disp")
        .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()));
    is_numbered || name.starts_with("wyng-")
}
