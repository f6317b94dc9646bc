// SPDX-License-Identifier: GPL-3.0-or-later
//! Properties of qubes and of the system: their types and defaults, and which values are refused.

use super::World;
use super::qubesd::Fault;
use super::system::Release;

/// The type of a property, as GetAll names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Text,
    Number,
    Bool,
    Qube,
    Label,
}

impl Type {
    fn name(self) -> &'static str {
        match self {
            Self::Text => "str",
            Self::Number => "int",
            Self::Bool => "bool",
            Self::Qube => "vm",
            Self::Label => "label",
        }
    }
}

/// What a property is when a qube has no value of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Default {
    Value(&'static str),
    /// The property of the system with this name.
    Global(&'static str),
    /// It follows from what the qube is, and cannot be set.
    Computed,
}

/// The classes that have a property.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    /// Every class with a kernel.
    All,
    /// Those that are made of a template.
    Templated,
    /// A template of disposables.
    App,
    Disposable,
    /// A class of releases since R4.3.
    AllSince43,
    System,
}

type Row = (&'static str, Type, Default, Of);

/// Every property that is known here. The real system has some more, of the same kinds.
const ROWS: [Row; 64] = [
    (
        "audiovm",
        Type::Qube,
        Default::Global("default_audiovm"),
        Of::All,
    ),
    (
        "auto_cleanup",
        Type::Bool,
        Default::Value("False"),
        Of::Disposable,
    ),
    ("autostart", Type::Bool, Default::Value("False"), Of::All),
    (
        "backup_timestamp",
        Type::Number,
        Default::Value(""),
        Of::All,
    ),
    (
        "bootmode",
        Type::Text,
        Default::Value("default"),
        Of::AllSince43,
    ),
    ("debug", Type::Bool, Default::Value("False"), Of::All),
    (
        "default_dispvm",
        Type::Qube,
        Default::Global("default_dispvm"),
        Of::All,
    ),
    ("default_user", Type::Text, Default::Value("user"), Of::All),
    (
        "devices_denied",
        Type::Text,
        Default::Value(""),
        Of::AllSince43,
    ),
    ("dispid", Type::Number, Default::Computed, Of::Disposable),
    (
        "dns",
        Type::Text,
        Default::Value("10.139.1.1 10.139.1.2"),
        Of::All,
    ),
    ("gateway", Type::Text, Default::Value(""), Of::All),
    (
        "guivm",
        Type::Qube,
        Default::Global("default_guivm"),
        Of::All,
    ),
    ("icon", Type::Text, Default::Computed, Of::All),
    (
        "include_in_backups",
        Type::Bool,
        Default::Value("True"),
        Of::All,
    ),
    (
        "installed_by_rpm",
        Type::Bool,
        Default::Value("False"),
        Of::All,
    ),
    ("ip", Type::Text, Default::Value("10.137.0.9"), Of::All),
    (
        "kernel",
        Type::Text,
        Default::Global("default_kernel"),
        Of::All,
    ),
    (
        "kernelopts",
        Type::Text,
        Default::Value("swiotlb=2048"),
        Of::All,
    ),
    (
        "keyboard_layout",
        Type::Text,
        Default::Value("us++"),
        Of::All,
    ),
    ("klass", Type::Text, Default::Computed, Of::All),
    ("label", Type::Label, Default::Value("red"), Of::All),
    (
        "mac",
        Type::Text,
        Default::Value("00:16:3e:5e:6c:00"),
        Of::All,
    ),
    (
        "management_dispvm",
        Type::Qube,
        Default::Global("management_dispvm"),
        Of::All,
    ),
    ("maxmem", Type::Number, Default::Value("4000"), Of::All),
    ("memory", Type::Number, Default::Value("400"), Of::All),
    ("name", Type::Text, Default::Computed, Of::All),
    (
        "netvm",
        Type::Qube,
        Default::Global("default_netvm"),
        Of::All,
    ),
    (
        "provides_network",
        Type::Bool,
        Default::Value("False"),
        Of::All,
    ),
    ("qid", Type::Number, Default::Computed, Of::All),
    (
        "qrexec_timeout",
        Type::Number,
        Default::Value("60"),
        Of::All,
    ),
    (
        "shutdown_timeout",
        Type::Number,
        Default::Value("60"),
        Of::All,
    ),
    ("start_time", Type::Text, Default::Computed, Of::All),
    ("stubdom_mem", Type::Number, Default::Value(""), Of::All),
    ("stubdom_xid", Type::Number, Default::Value("-1"), Of::All),
    ("template", Type::Qube, Default::Value(""), Of::Templated),
    (
        "template_for_dispvms",
        Type::Bool,
        Default::Value("False"),
        Of::App,
    ),
    ("updateable", Type::Bool, Default::Computed, Of::All),
    ("uuid", Type::Text, Default::Computed, Of::All),
    ("vcpus", Type::Number, Default::Value("2"), Of::All),
    ("virt_mode", Type::Text, Default::Value("pvh"), Of::All),
    (
        "visible_ip",
        Type::Text,
        Default::Value("10.137.0.9"),
        Of::All,
    ),
    ("xid", Type::Number, Default::Value("-1"), Of::All),
    (
        "check_updates_vm",
        Type::Bool,
        Default::Value("True"),
        Of::System,
    ),
    ("clockvm", Type::Qube, Default::Value(""), Of::System),
    (
        "default_audiovm",
        Type::Qube,
        Default::Value(""),
        Of::System,
    ),
    ("default_dispvm", Type::Qube, Default::Value(""), Of::System),
    (
        "default_guivm",
        Type::Qube,
        Default::Value("dom0"),
        Of::System,
    ),
    (
        "default_kernel",
        Type::Text,
        Default::Value("6.12.18-1.fc41"),
        Of::System,
    ),
    ("default_netvm", Type::Qube, Default::Value(""), Of::System),
    ("default_pool", Type::Text, Default::Value(""), Of::System),
    (
        "default_pool_kernel",
        Type::Text,
        Default::Value("linux-kernel"),
        Of::System,
    ),
    (
        "default_pool_private",
        Type::Text,
        Default::Value(""),
        Of::System,
    ),
    (
        "default_pool_root",
        Type::Text,
        Default::Value(""),
        Of::System,
    ),
    (
        "default_pool_volatile",
        Type::Text,
        Default::Value(""),
        Of::System,
    ),
    (
        "default_qrexec_timeout",
        Type::Number,
        Default::Value("60"),
        Of::System,
    ),
    (
        "default_shutdown_timeout",
        Type::Number,
        Default::Value("60"),
        Of::System,
    ),
    (
        "default_template",
        Type::Qube,
        Default::Value(""),
        Of::System,
    ),
    (
        "management_dispvm",
        Type::Qube,
        Default::Value(""),
        Of::System,
    ),
    (
        "stats_interval",
        Type::Number,
        Default::Value("3"),
        Of::System,
    ),
    ("updatevm", Type::Qube, Default::Value(""), Of::System),
    ("visible_gateway", Type::Text, Default::Value(""), Of::All),
    (
        "visible_netmask",
        Type::Text,
        Default::Value("255.255.255.255"),
        Of::All,
    ),
    (
        "start_timeout",
        Type::Number,
        Default::Value("60"),
        Of::System,
    ),
];

/// A property of a qube or, with `dom0`, of the system.
pub(super) struct Property<'a> {
    world: &'a World,
    qube: &'a str,
    row: &'static Row,
}

impl<'a> Property<'a> {
    /// The property of this name.
    pub(super) fn of(world: &'a World, qube: &'a str, name: &str) -> Option<Self> {
        Self::all(world, qube).find(|property| property.row.0 == name)
    }

    /// All properties, sorted by name.
    pub(super) fn all(world: &'a World, qube: &'a str) -> impl Iterator<Item = Self> {
        let class = world.class(qube);
        let has = move |of: Of| match of {
            Of::System => qube == "dom0",
            _ if qube == "dom0" => false,
            Of::All => true,
            Of::AllSince43 => world.release() >= Release::R43,
            Of::Templated => matches!(class.as_str(), "AppVM" | "DispVM"),
            Of::App => class == "AppVM",
            Of::Disposable => class == "DispVM",
        };
        let mut rows: Vec<&'static Row> = ROWS.iter().filter(|row| has(row.3)).collect();
        rows.sort_by_key(|row| row.0);
        rows.into_iter().map(move |row| Self { world, qube, row })
    }

    /// Its name.
    pub(super) fn name(&self) -> &'static str {
        self.row.0
    }

    /// Its value, and whether that is the default.
    pub(super) fn value(&self) -> (String, bool) {
        if let Some(own) = self.world.own(self.qube, self.row.0) {
            return (own, false);
        }
        let value = match self.row.2 {
            // A disposable that vanishes is in no backup.
            Default::Value(_) if self.row.0 == "include_in_backups" => self.is_backed_up(),
            Default::Value(value) => value.to_owned(),
            Default::Global(global) => {
                Self::of(self.world, "dom0", global).map_or_else(String::new, |it| it.value().0)
            }
            Default::Computed => self.computed(),
        };
        let is_default = self.row.2 != Default::Computed || self.row.0 == "icon";
        (value, is_default)
    }

    fn is_backed_up(&self) -> String {
        let vanishes = self.world.own(self.qube, "auto_cleanup").as_deref() == Some("True");
        if vanishes { "False" } else { "True" }.to_owned()
    }

    fn computed(&self) -> String {
        let class = self.world.class(self.qube);
        match self.row.0 {
            "icon" => format!(
                "appvm-{}",
                self.world.own(self.qube, "label").unwrap_or_default()
            ),
            "klass" => class,
            "name" => self.qube.to_owned(),
            "uuid" => self.world.uuid(self.qube),
            "updateable" if class == "TemplateVM" || class == "StandaloneVM" => "True".to_owned(),
            "updateable" => "False".to_owned(),
            "dispid" => "4711".to_owned(),
            "qid" => "7".to_owned(),
            _ => String::new(),
        }
    }

    /// Its line in GetAll.
    pub(super) fn line(&self) -> String {
        format!("{} {}\n", self.row.0, escaped(&self.answer()))
    }

    /// The answer to Get, which is not escaped.
    pub(super) fn answer(&self) -> String {
        let (value, is_default) = self.value();
        let default = if is_default { "True" } else { "False" };
        format!("default={default} type={} {value}", self.row.1.name())
    }

    /// Removes its own value.
    pub(super) fn reset(&self) -> Result<(), Fault> {
        self.check_settable()?;
        let file = format!("property.{}", self.row.0);
        let _ = std::fs::remove_file(self.world.qube(self.qube).join(file));
        Ok(())
    }

    /// What is computed, or written once and for all, is refused without a word.
    fn check_settable(&self) -> Result<(), Fault> {
        if self.row.2 == Default::Computed {
            return Err(Fault::Nothing);
        }
        Ok(())
    }

    /// Sets its own value.
    pub(super) fn set(&self, value: &str) -> Result<(), Fault> {
        const WRONG: Fault = Fault::Error("QubesPropertyValueError");
        self.check_settable()?;
        match self.row.1 {
            Type::Number if value.parse::<f64>().is_err() => return Err(WRONG),
            Type::Bool if self.row.0 == "auto_cleanup" && !is_bool(value) => {
                return Err(Fault::Error("QubesValueError"));
            }
            Type::Bool if !is_bool(value) => return Err(WRONG),
            Type::Label => check_label(self.world, value)?,
            Type::Qube if !value.is_empty() => {
                if self.world.resolve(value).is_none() {
                    return Err(WRONG);
                }
                self.check_qube(value)?;
            }
            Type::Text if self.row.0 == "kernel" && !self.is_kernel(value) => return Err(WRONG),
            _ => {}
        }
        if !self.world.set_own(self.qube, self.row.0, value) {
            return Err(Fault::Error("QubesVMNotFoundError"));
        }
        self.follow(value);
        Ok(())
    }

    /// Whether the named qube can have this part.
    fn check_qube(&self, named: &str) -> Result<(), Fault> {
        let is_true = |property| self.world.own(named, property).as_deref() == Some("True");
        let is_refused = match self.row.0 {
            "netvm" | "default_netvm" => !is_true("provides_network"),
            "default_dispvm" | "management_dispvm" => !is_true("template_for_dispvms"),
            "template" if self.world.class(self.qube) == "AppVM" => {
                self.world.class(named) != "TemplateVM"
            }
            _ => false,
        };
        if is_refused {
            return Err(Fault::Error("QubesValueError"));
        }
        Ok(())
    }

    /// A kernel of the pool of kernels; any, where there is no such pool.
    fn is_kernel(&self, value: &str) -> bool {
        let pool = self.world.pool(super::volumes::KERNELS);
        value.is_empty()
            || pool
                .get("dir_path")
                .is_none_or(|folder| std::path::Path::new(folder).join(value).is_dir())
    }

    /// What else qubesd does when the property is set.
    fn follow(&self, value: &str) {
        let (world, qube) = (self.world, self.qube);
        match (self.row.0, value) {
            ("provides_network", "True") => world.set_part(qube, "features", "servicevm", "1"),
            ("provides_network", _) => {
                world.remove_part(qube, "features", "servicevm");
            }
            _ => {}
        }
        let preloads = world.part(qube, "features", "preload-dispvm-max");
        if preloads.is_some_and(|count| count != "0" && !count.is_empty()) {
            world.note("preloads", qube);
        }
    }
}

fn is_bool(value: &str) -> bool {
    matches!(value, "True" | "False")
}

/// Whether there is such a label.
pub(super) fn check_label(world: &World, label: &str) -> Result<(), Fault> {
    match world.labels().contains_key(label) {
        true => Ok(()),
        false if world.release() >= Release::R44 => Err(Fault::Error("ProtocolError")),
        false => Err(Fault::Error("QubesLabelNotFoundError")),
    }
}

/// As in GetAll: a line feed and a backslash are escaped.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\n', "\\n")
}
