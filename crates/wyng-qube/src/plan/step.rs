// SPDX-License-Identifier: GPL-3.0-or-later
//! The steps of a restore: a closed list of what may be asked of qubesd. Each is one request.

use std::collections::BTreeMap;

use super::request::{PayloadForm, Request, Socket, Unsendable};
use crate::class::Class;
use crate::form::DOM0;

/// The tag that keeps a qube from starting while it is restored. Whoever has the tag
/// `backup-restore-mgmt` may do everything to a qube that has it.
pub const GUARD_TAG: &str = "backup-restore-in-progress";
/// The feature that keeps a qube from starting.
pub const GUARD_FEATURE: &str = "prohibit-start";
const GUARD_REASON: &str = "Wyng restores this qube";
/// The feature that marks a qube as made by one restore.
const MARK: &str = "wyng-restore";
const NETVM: &str = "netvm";
const FOR_DISPOSABLES: &str = "template_for_dispvms";
const TRUE: &str = "True";
const FALSE: &str = "False";
const NONE: &str = "";
const NONCE_MIN_BYTES: usize = 16;
const NONCE_MAX_BYTES: usize = 64;

/// What keeps a new qube from starting while it is restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    /// The tag `backup-restore-in-progress`.
    Tag,
    /// The feature `prohibit-start`: where the tag would be a grant to some qube.
    Feature,
}

/// A random word that marks what one restore made: 16 to 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nonce(String);

impl Nonce {
    /// The word; `None` where it is not of its form.
    pub fn of(text: &str) -> Option<Self> {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let is_sound =
            (NONCE_MIN_BYTES..=NONCE_MAX_BYTES).contains(&text.len()) && text.bytes().all(is_digit);
        is_sound.then(|| Self(text.to_owned()))
    }

    /// The word as a qube's feature has it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// One thing that a restore does. `qube` is the name that the restored qube gets.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are what the variant names")]
pub enum Step {
    /// Makes a label that is not here.
    CreateLabel { name: String, color: String },
    /// Makes the qube, with all arguments: none is left to a default. Its uuid is read and kept
    /// before the next step.
    Create {
        qube: String,
        class: Class,
        template: Option<String>,
        label: String,
        pools: BTreeMap<String, String>,
    },
    /// Keeps it from starting.
    Guard { qube: String, guard: Guard },
    /// Gives it no network, until its own is set.
    CutOff { qube: String },
    /// Marks it as made by this restore.
    Mark { qube: String, nonce: Nonce },
    /// Lets disposables be made over it.
    AllowDisposables { qube: String },
    /// Sets whether what is written to a volume is lost at the stop.
    SetEphemeral {
        qube: String,
        volume: String,
        is_ephemeral: bool,
    },
    /// Begins to import a volume. [`import_end`] ends it.
    Import {
        qube: String,
        volume: String,
        size_bytes: u64,
    },
    /// Sets the length of a volume.
    Resize {
        qube: String,
        volume: String,
        size_bytes: u64,
    },
    /// Sets the number of older states of a volume.
    SetRevisions {
        qube: String,
        volume: String,
        count: i64,
    },
    /// Keeps the qube from writing to a volume.
    SetReadOnly { qube: String, volume: String },
    /// Lets the qube write to a volume.
    SetWritable { qube: String, volume: String },
    /// Sets a feature.
    SetFeature {
        qube: String,
        feature: String,
        value: String,
    },
    /// Sets a property; an empty value is none.
    SetProperty {
        qube: String,
        property: String,
        value: String,
    },
    /// Lets a property have its default, whatever that is.
    ResetProperty { qube: String, property: String },
    /// Lets a property have its default, if that is what was recorded: resets it, after which
    /// [`Step::settle`] compares what it is now.
    KeepDefault {
        qube: String,
        property: String,
        /// The value that was recorded.
        expected: Option<String>,
        /// The value that is set where the default is another.
        otherwise: Option<String>,
    },
    /// Sets a tag.
    SetTag { qube: String, tag: String },
    /// Sets the rules of the firewall.
    SetFirewall { qube: String, rules: Vec<String> },
    /// Sets the notes.
    SetNotes { qube: String, text: String },
    /// Removes a feature that was made on the way; that it is missing is no error.
    RemoveFeature { qube: String, feature: String },
    /// Takes the mark away.
    Unmark { qube: String },
    /// Lets it start. Before that, no qube may have got the tag `backup-restore-mgmt`.
    Unguard { qube: String, guard: Guard },
}

impl Step {
    /// The qube that it is about; `None` for a label.
    pub fn qube(&self) -> Option<&str> {
        match self {
            Self::CreateLabel { .. } => None,
            Self::Create { qube, .. }
            | Self::Guard { qube, .. }
            | Self::CutOff { qube }
            | Self::Mark { qube, .. }
            | Self::AllowDisposables { qube }
            | Self::SetEphemeral { qube, .. }
            | Self::Import { qube, .. }
            | Self::Resize { qube, .. }
            | Self::SetRevisions { qube, .. }
            | Self::SetReadOnly { qube, .. }
            | Self::SetWritable { qube, .. }
            | Self::ResetProperty { qube, .. }
            | Self::SetFeature { qube, .. }
            | Self::SetProperty { qube, .. }
            | Self::KeepDefault { qube, .. }
            | Self::SetTag { qube, .. }
            | Self::SetFirewall { qube, .. }
            | Self::SetNotes { qube, .. }
            | Self::RemoveFeature { qube, .. }
            | Self::Unmark { qube }
            | Self::Unguard { qube, .. } => Some(qube),
        }
    }

    /// The call that does it. A plan has no step that cannot be sent.
    pub fn request(&self) -> Result<Request, Unsendable> {
        match self {
            Self::CreateLabel { name, color } => admin("admin.label.Create", name, DOM0, color),
            Self::Create { .. } => self.create_request(),
            Self::Guard { qube, guard } => match guard {
                Guard::Tag => admin("admin.vm.tag.Set", GUARD_TAG, qube, NONE),
                Guard::Feature => admin("admin.vm.feature.Set", GUARD_FEATURE, qube, GUARD_REASON),
            },
            Self::CutOff { qube } => admin("admin.vm.property.Set", NETVM, qube, NONE),
            Self::Mark { qube, nonce } => admin("admin.vm.feature.Set", MARK, qube, nonce.as_str()),
            Self::AllowDisposables { qube } => {
                admin("admin.vm.property.Set", FOR_DISPOSABLES, qube, TRUE)
            }
            Self::SetFeature {
                qube,
                feature,
                value,
            } => admin("admin.vm.feature.Set", feature, qube, value),
            Self::SetProperty {
                qube,
                property,
                value,
            } => admin("admin.vm.property.Set", property, qube, value),
            Self::KeepDefault { qube, property, .. } | Self::ResetProperty { qube, property } => {
                admin("admin.vm.property.Reset", property, qube, NONE)
            }
            Self::SetTag { qube, tag } => admin("admin.vm.tag.Set", tag, qube, NONE),
            Self::SetFirewall { qube, rules } => {
                let payload = rules.iter().map(|rule| format!("{rule}\n")).collect();
                let payload = (PayloadForm::Lines, payload);
                Request::new(Socket::Admin, "admin.vm.firewall.Set", NONE, qube, payload)
            }
            Self::SetNotes { qube, text } => {
                let payload = (PayloadForm::Notes, text.clone());
                Request::new(Socket::Admin, "admin.vm.notes.Set", NONE, qube, payload)
            }
            Self::RemoveFeature { qube, feature } => {
                admin("admin.vm.feature.Remove", feature, qube, NONE)
            }
            Self::Unmark { qube } => admin("admin.vm.feature.Remove", MARK, qube, NONE),
            Self::Unguard { qube, guard } => match guard {
                Guard::Tag => admin("admin.vm.tag.Remove", GUARD_TAG, qube, NONE),
                Guard::Feature => admin("admin.vm.feature.Remove", GUARD_FEATURE, qube, NONE),
            },
            Self::SetEphemeral { .. }
            | Self::Import { .. }
            | Self::Resize { .. }
            | Self::SetRevisions { .. }
            | Self::SetReadOnly { .. }
            | Self::SetWritable { .. } => self.volume_request(),
        }
    }

    fn create_request(&self) -> Result<Request, Unsendable> {
        let Self::Create {
            qube,
            class,
            template,
            label,
            pools,
        } = self
        else {
            return Err(Unsendable::Character);
        };
        let (call, mut payload) = if pools.is_empty() {
            ("Create", format!("name={qube} label={label}"))
        } else {
            ("CreateInPool", format!("name={qube} label={label}"))
        };
        for (volume, pool) in pools {
            payload.push_str(&format!(" pool:{volume}={pool}"));
        }
        let method = format!("admin.vm.{call}.{class}");
        let template = template.as_deref().unwrap_or(NONE);
        admin(&method, template, DOM0, &payload)
    }

    fn volume_request(&self) -> Result<Request, Unsendable> {
        let set = |call: &str, volume: &str, qube: &str, value: &str| {
            admin(&format!("admin.vm.volume.{call}"), volume, qube, value)
        };
        match self {
            Self::SetEphemeral {
                qube,
                volume,
                is_ephemeral,
            } => {
                let value = if *is_ephemeral { TRUE } else { FALSE };
                set("Set.ephemeral", volume, qube, value)
            }
            Self::Import {
                qube,
                volume,
                size_bytes,
            } => internal(
                "internal.vm.volume.ImportBegin",
                volume,
                qube,
                &size_bytes.to_string(),
            ),
            Self::Resize {
                qube,
                volume,
                size_bytes,
            } => set("Resize", volume, qube, &size_bytes.to_string()),
            Self::SetRevisions {
                qube,
                volume,
                count,
            } => set("Set.revisions_to_keep", volume, qube, &count.to_string()),
            Self::SetReadOnly { qube, volume } => set("Set.rw", volume, qube, FALSE),
            Self::SetWritable { qube, volume } => set("Set.rw", volume, qube, TRUE),
            _ => Err(Unsendable::Character),
        }
    }

    /// After a [`Step::KeepDefault`]: the step that is still needed, from what the property is now;
    /// `None` where its default is what was recorded.
    pub fn settle(&self, now: Option<&str>) -> Option<Self> {
        match self {
            Self::KeepDefault {
                qube,
                property,
                expected,
                otherwise,
            } if expected.as_deref() != now => Some(Self::SetProperty {
                qube: qube.clone(),
                property: property.clone(),
                value: otherwise.clone().unwrap_or_default(),
            }),
            _ => None,
        }
    }
}

/// How an import ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImportEnd {
    /// Every byte was written: the volume is what was imported.
    Ok,
    /// The volume stays what it was.
    Fail,
}

/// The call that ends an import. The answer to [`ImportEnd::Fail`] is an error of the class
/// `QubesException` although the import has ended as asked.
pub fn import_end(qube: &str, volume: &str, end: ImportEnd) -> Result<Request, Unsendable> {
    let payload = match end {
        ImportEnd::Ok => "ok",
        ImportEnd::Fail => "fail",
    };
    internal("internal.vm.volume.ImportEnd", volume, qube, payload)
}

/// The call whose answer `1` says that a qube has power over all qubes that are being restored.
pub fn restorer_query(qube: &str) -> Result<Request, Unsendable> {
    admin("admin.vm.tag.Get", super::machine::RESTORER_TAG, qube, NONE)
}

/// The call whose answer says whether a qube is guarded; [`is_guarded`] reads it.
pub fn guard_query(qube: &str, guard: Guard) -> Result<Request, Unsendable> {
    match guard {
        Guard::Tag => admin("admin.vm.tag.Get", GUARD_TAG, qube, NONE),
        Guard::Feature => admin("admin.vm.feature.Get", GUARD_FEATURE, qube, NONE),
    }
}

/// Whether the answer to [`guard_query`] says that the guard of a restore is there.
pub fn is_guarded(guard: Guard, answer: &str) -> bool {
    match guard {
        Guard::Tag => answer == "1",
        Guard::Feature => answer == GUARD_REASON,
    }
}

/// The call whose answer is the mark of the restore that made a qube.
pub fn mark_query(qube: &str) -> Result<Request, Unsendable> {
    admin("admin.vm.feature.Get", MARK, qube, NONE)
}

pub(super) fn admin(
    method: &str,
    argument: &str,
    dest: &str,
    payload: &str,
) -> Result<Request, Unsendable> {
    let payload = (PayloadForm::Line, payload.to_owned());
    Request::new(Socket::Admin, method, argument, dest, payload)
}

fn internal(
    method: &str,
    argument: &str,
    dest: &str,
    payload: &str,
) -> Result<Request, Unsendable> {
    let payload = (PayloadForm::Line, payload.to_owned());
    Request::new(Socket::Internal, method, argument, dest, payload)
}
