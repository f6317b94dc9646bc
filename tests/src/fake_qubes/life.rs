// SPDX-License-Identifier: GPL-3.0-or-later
//! The life of a qube: made, started, paused, halted, removed, and what each of these does to its
//! files.

use super::World;
use super::properties::check_label;
use super::qubesd::{Answer, Fault};
use super::settings::missing_device;
use super::system::Release;
use super::volumes::{InPython, KERNELS, Volume};

/// Maximum length of a qube's name, bytes.
const NAME_MAX_BYTES: usize = 31;
/// Sizes of a new qube's volumes, bytes.
const PRIVATE_BYTES: u64 = 2 << 30;
const ROOT_BYTES: u64 = 10 << 30;
const VOLATILE_BYTES: u64 = 12 << 30;
const NOT_FOUND: Fault = Fault::Error("QubesVMNotFoundError");

/// The words of a Create's payload.
#[derive(Default)]
struct Wanted {
    name: String,
    label: String,
    /// The pool of all volumes, and those of single ones.
    pool: Option<String>,
    pools: Vec<(String, String)>,
}

impl Wanted {
    fn parse(payload: &[u8], in_pool: bool) -> Result<Self, Fault> {
        let text = std::str::from_utf8(payload).map_err(|_| Fault::Protocol)?;
        let mut wanted = Self::default();
        for word in text.split(' ') {
            let (key, value) = word.split_once('=').ok_or(Fault::Protocol)?;
            match key.strip_prefix("pool:") {
                Some(volume) if in_pool => wanted.pools.push((volume.to_owned(), value.to_owned())),
                _ => match key {
                    "name" if wanted.name.is_empty() => wanted.name = value.to_owned(),
                    "label" if wanted.label.is_empty() => wanted.label = value.to_owned(),
                    "pool" if in_pool => wanted.pool = Some(value.to_owned()),
                    _ => return Err(Fault::Protocol),
                },
            }
        }
        if wanted.name.is_empty() || wanted.label.is_empty() {
            return Err(Fault::Protocol);
        }
        Ok(wanted)
    }
}

/// `admin.vm.Create.CLASS+TEMPLATE` and `CreateInPool`. The name is taken at once; making the new
/// qube's volumes takes long. Without a template, the system's default is taken in silence.
pub(super) fn create(
    world: &World,
    (class, in_pool): (&str, bool),
    template: &str,
    payload: &[u8],
    wait: impl Fn(),
) -> Answer {
    let wanted = Wanted::parse(payload, in_pool)?;
    if !is_name(&wanted.name) {
        return Err(Fault::Error("QubesPropertyValueError"));
    }
    check_label(world, &wanted.label)?;
    let template = template_of(world, class, template)?;
    if world.exists(&wanted.name) {
        return Err(Fault::Error("QubesVMAlreadyExistsError"));
    }
    let is_snapshot = |volume: &str| {
        matches!(
            (class, volume),
            ("AppVM", "root") | ("DispVM", "root" | "private")
        )
    };
    // A copy of the template's volume lies where that does.
    if wanted.pools.iter().any(|(volume, _)| is_snapshot(volume)) {
        return Err(Fault::Error("QubesException"));
    }
    let pools = wanted
        .pools
        .iter()
        .map(|(_, pool)| pool)
        .chain(&wanted.pool);
    if pools.into_iter().any(|pool| world.pool(pool).is_empty()) {
        return Err(Fault::Error("QubesPoolNotFoundError"));
    }
    match template.as_deref() {
        Some(template) if class == "DispVM" => {
            world.make_named_disposable(&wanted.name, template);
        }
        _ => std::fs::create_dir(world.qube(&wanted.name)).unwrap(),
    }
    let set = |file: &str, text: &str| std::fs::write(world.qube(&wanted.name).join(file), text);
    set("class", class).unwrap();
    set("property.label", &wanted.label).unwrap();
    if let Some(template) = &template {
        set("property.template", template).unwrap();
    }
    world.set_part(&wanted.name, "tags", "created-by-dom0", "");
    wait();
    make_volumes(world, class, template.as_deref(), &wanted);
    Ok(String::new())
}

fn is_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.len() <= NAME_MAX_BYTES
        && name.bytes().all(is_plain)
        && !name.ends_with("-dm")
        && !matches!(name, "none" | "default")
}

/// The template of a new qube; `None` for a class without one.
fn template_of(world: &World, class: &str, named: &str) -> Result<Option<String>, Fault> {
    let (default, wanted_class) = match class {
        "AppVM" => ("default_template", "TemplateVM"),
        "DispVM" => ("default_dispvm", "AppVM"),
        "TemplateVM" | "StandaloneVM" | "RemoteVM" if named.is_empty() => return Ok(None),
        "TemplateVM" | "StandaloneVM" | "RemoteVM" => return Err(Fault::Nothing),
        _ => return Err(Fault::Protocol),
    };
    let template = if named.is_empty() {
        world.own("dom0", default).ok_or(Fault::Nothing)?
    } else {
        named.to_owned()
    };
    if !world.exists(&template) {
        return Err(NOT_FOUND);
    }
    if world.class(&template) != wanted_class {
        return Err(Fault::Error("QubesPropertyValueError"));
    }
    let allows = world.own(&template, "template_for_dispvms");
    if class == "DispVM" && allows.as_deref() != Some("True") {
        return Err(Fault::Error("QubesValueError"));
    }
    Ok(Some(template))
}

/// Makes the volumes of a new qube; none in a system without pools, and none for a RemoteVM.
fn make_volumes(world: &World, class: &str, template: Option<&str>, wanted: &Wanted) {
    let qube = wanted.name.as_str();
    let (saves_root, saves_private) = match class {
        "RemoteVM" => return,
        "DispVM" => (false, false),
        "AppVM" => (false, true),
        _ => (true, true),
    };
    let pool_of = |volume: &str| {
        let own = wanted.pools.iter().find(|(name, _)| name == volume);
        let system = |property: &str| world.own("dom0", property).filter(|pool| !pool.is_empty());
        own.map(|(_, pool)| pool.clone())
            .or_else(|| wanted.pool.clone())
            .or_else(|| system(&format!("default_pool_{volume}")))
            .or_else(|| system("default_pool"))
    };
    let sizes = [
        ("private", PRIVATE_BYTES),
        ("root", ROOT_BYTES),
        ("volatile", VOLATILE_BYTES),
    ];
    for (volume, bytes) in sizes {
        let saves = match volume {
            "root" => saves_root,
            "private" => saves_private,
            _ => false,
        };
        let of_template = template
            .filter(|_| !saves && volume != "volatile")
            .and_then(|template| world.part(template, "volumes", volume))
            .map(|text| super::system::pairs(&text));
        let pool = match &of_template {
            Some(found) => found.get("pool").cloned(),
            None => pool_of(volume),
        };
        let Some(pool) = pool else { continue };
        let size = template
            .filter(|_| of_template.is_some())
            .and_then(|template| Volume::of(world, template, volume))
            .and_then(|volume| {
                super::system::pairs(&volume.info())
                    .get("size")?
                    .parse()
                    .ok()
            })
            .unwrap_or(bytes);
        let source = of_template
            .as_ref()
            .and_then(|found| found.get("vid").cloned());
        let lines = [
            ("vid", vid(world, &pool, class, qube, volume)),
            ("pool", pool),
            ("size", u64::to_string(&size)),
            ("rw", true.to_string_in_python()),
            ("save_on_stop", saves.to_string_in_python()),
            ("snap_on_start", of_template.is_some().to_string_in_python()),
            ("source", source.unwrap_or_default()),
        ];
        Volume::make(world, qube, volume, &lines);
    }
    if !world.pool(KERNELS).is_empty() {
        let lines = [
            ("vid", "6.12.18-1.fc41".to_owned()),
            ("pool", KERNELS.to_owned()),
            ("rw", false.to_string_in_python()),
            ("save_on_stop", false.to_string_in_python()),
            ("snap_on_start", false.to_string_in_python()),
        ];
        Volume::make(world, qube, "kernel", &lines);
    }
}

/// The name of a volume within its pool.
pub(super) fn vid(world: &World, pool: &str, class: &str, qube: &str, volume: &str) -> String {
    let settings = world.pool(pool);
    let folder = if class == "TemplateVM" {
        "vm-templates"
    } else {
        "appvms"
    };
    match settings.get("driver").map_or("", String::as_str) {
        "lvm_thin" => format!("{}/vm-{qube}-{volume}", settings["volume_group"]),
        "zfs" => format!("{}/{qube}/{volume}", settings["container"]),
        _ => format!("{folder}/{qube}/{volume}"),
    }
}

/// What keeps a qube from starting.
pub(super) fn check_start(world: &World, qube: &str) -> Result<(), Fault> {
    let is_guarded = world
        .part(qube, "tags", "backup-restore-in-progress")
        .is_some();
    let is_prohibited = world.release() >= Release::R43
        && world
            .part(qube, "features", "prohibit-start")
            .is_some_and(|reason| !reason.is_empty());
    if is_guarded || is_prohibited || missing_device(world, qube).is_some() {
        return Err(Fault::Error("QubesVMError"));
    }
    Ok(())
}

/// `admin.vm.Pause`, `Unpause`, `Kill` and `Shutdown`.
pub(super) fn change_state(world: &World, qube: &str, verb: &str, payload: &[u8]) -> Answer {
    let state = world.state(qube);
    match (verb, state.as_str()) {
        ("Pause", "Running") => world.set_state(qube, "Paused"),
        ("Pause", _) => return Err(Fault::Error("QubesVMNotRunningError")),
        ("Unpause", "Paused") => world.set_state(qube, "Running"),
        ("Unpause", _) => return Err(Fault::Error("QubesVMNotPausedError")),
        ("Kill" | "Shutdown", "Halted") => return Err(Fault::Error("QubesVMNotStartedError")),
        ("Shutdown", _) if payload != b"force" && serves_others(world, qube) => {
            return Err(Fault::Error("QubesVMInUseError"));
        }
        ("Kill" | "Shutdown", _) => world.halt(qube),
        _ => return Err(Fault::Protocol),
    }
    Ok(String::new())
}

/// Whether a qube that runs has its network of this one.
fn serves_others(world: &World, qube: &str) -> bool {
    let mut names = world.names().into_iter();
    names.any(|name| world.runs(&name) && world.own(&name, "netvm").as_deref() == Some(qube))
}

/// Whether another qube, or the system, is set to use this one.
fn is_in_use(world: &World, qube: &str) -> bool {
    let roles = [
        "template",
        "netvm",
        "default_dispvm",
        "guivm",
        "audiovm",
        "management_dispvm",
        "clockvm",
        "updatevm",
        "default_netvm",
        "default_template",
        "default_guivm",
        "default_audiovm",
    ];
    let users = world.names().into_iter().chain(["dom0".to_owned()]);
    users.filter(|user| user != qube).any(|user| {
        let own = world.all_own(&user);
        let uses = |role: &&str| own.get(*role).is_some_and(|value| value == qube);
        roles.iter().any(uses)
    })
}

/// `admin.vm.Remove` of a qube that is halted, also within an import into it. Its folder goes with
/// everything in it, whoever put it there.
pub(super) fn remove(world: &World, qube: &str) -> Answer {
    if !world.exists(qube) {
        return Err(NOT_FOUND);
    }
    if world.state(qube) != "Halted" {
        return Err(Fault::Error("QubesVMNotHaltedError"));
    }
    let is_of_rpm = world.own(qube, "installed_by_rpm").as_deref() == Some("True");
    if is_of_rpm || is_in_use(world, qube) {
        return Err(Fault::Error("QubesVMInUseError"));
    }
    world.remove(qube);
    Ok(String::new())
}
