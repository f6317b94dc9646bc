// SPDX-License-Identifier: GPL-3.0-or-later
//! What this machine has, for a plan. It only asks.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;

use rustix::fs::{Dir, Mode, OFlags};
use wyng_control::QubeFault;
use wyng_qube::answer::{self, Listed, PoolInfo};
use wyng_qube::plan::{Machine, PolicyFile, PresentQube, restorer_query};
use wyng_qube::record::EFFECTIVE;
use wyng_qube::{Class, Driver};

use super::super::api::Api;

const DOM0: &str = "dom0";
const KERNELS: &str = "linux-kernel";
const TRUE: &str = "True";
/// Where the policy of qrexec lies.
const POLICY: &str = "/etc/qubes/policy.d";
const ENDING: &str = ".policy";
/// Bounds of the policy that is looked at.
const POLICY_FILES_MAX: usize = 256;
const POLICY_FILE_MAX_BYTES: usize = 256 << 10;

/// The folder of the policy, if this system has one.
pub(super) fn policy_folder() -> Option<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(POLICY, flags, Mode::empty()).ok()
}

/// This machine, and the uuids of its qubes.
pub(super) fn machine(
    api: &Api,
    policy: Option<&OwnedFd>,
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
    let machine = Machine {
        qubes,
        labels: labels.into_iter().collect(),
        kernels: kernels(api, &pools),
        pools: pools
            .into_iter()
            .map(|pool| (pool.name, pool.driver))
            .collect(),
        default_pool: api.system("default_pool")?.value,
        device_classes: classes.into_iter().collect(),
        defaults: defaults(api),
        honours_prohibit_start,
        policy: policy.map(policy_files).unwrap_or_default(),
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

/// The files of the policy, as far as they can be read and are text.
fn policy_files(folder: &OwnedFd) -> Vec<PolicyFile> {
    let Ok(entries) = Dir::read_from(folder) else {
        return Vec::new();
    };
    // Files that others include have no ending; what gives power over qubes lies in them.
    let included = open_included(folder).and_then(|folder| {
        let files = Dir::read_from(&folder).ok()?;
        Some(read_policies(files, &folder, "include/", ""))
    });
    let mut files = read_policies(entries, folder, "", ENDING);
    files.extend(included.into_iter().flatten());
    files.sort_by(|one, other| one.name.cmp(&other.name));
    files
}

fn open_included(folder: &OwnedFd) -> Option<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(folder, "include", flags, Mode::empty()).ok()
}

fn read_policies(entries: Dir, folder: &OwnedFd, path: &str, ending: &str) -> Vec<PolicyFile> {
    entries
        .take(POLICY_FILES_MAX)
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let name = entry.file_name().to_str().ok()?.to_owned();
            name.ends_with(ending).then_some(())?;
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let file = rustix::fs::openat(folder, &name, flags, Mode::empty()).ok()?;
            let bytes = super::whole_file::read_all(&file, POLICY_FILE_MAX_BYTES).ok()?;
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let name = format!("{path}{name}");
            Some(PolicyFile { name, text })
        })
        .collect()
}

/// A machine without what comes and goes by itself: disposables.
pub(super) fn steady(mut machine: Machine) -> Machine {
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
