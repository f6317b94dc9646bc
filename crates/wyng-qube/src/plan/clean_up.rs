// SPDX-License-Identifier: GPL-3.0-or-later
//! What an interrupted restore left: what may be removed, what must be ended, and what a person has
//! taken up since and is only named.

use super::request::{Request, Unsendable};
use super::step::{Guard, ImportEnd, Nonce, admin, import_end};
use crate::uuid::QubeUuid;

/// What the journal of a restore notes about a qube, each before it is asked of qubesd, the uuid
/// right after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    /// The name that the qube was to get.
    pub qube: String,
    /// The mark of the restore.
    pub nonce: Nonce,
    /// The uuid, once it was read.
    pub uuid: Option<QubeUuid>,
    /// What was to guard it.
    pub guard: Guard,
    /// The volume whose import was begun and not ended.
    pub open_import: Option<String>,
    /// Whether it was paused by this daemon, and not unpaused yet.
    pub is_paused_by_us: bool,
}

/// A qube that is found under the name of an intent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its uuid.
    pub uuid: QubeUuid,
    /// The value of its feature `wyng-restore`.
    pub mark: Option<String>,
    /// Whether it has the guard that the intent names.
    pub is_guarded: bool,
    /// Whether it runs, or has ever run.
    pub has_run: bool,
}

/// What is done with what was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CleanUp {
    /// Nothing was made, or it is gone.
    Nothing,
    /// It is as the restore left it, and is removed.
    Remove,
    /// It is named to the person, and nothing is done to it.
    Name(WhyNamed),
}

/// Why a qube is not removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhyNamed {
    /// Its uuid was not noted, so it cannot be told from one that a person made.
    UnknownUuid,
    /// It is another qube under the same name.
    OtherQube,
    /// The mark is not that of the restore.
    OtherMark,
    /// The guard is gone: a person, or the restore, let it start.
    NotGuarded,
    /// It has run.
    HasRun,
}

/// Whether what an interrupted restore made may be removed: only if uuid, mark and guard are still
/// those of the restore, and it never ran.
pub fn may_remove(intent: &Intent, found: Option<&Found>) -> CleanUp {
    let Some(found) = found else {
        return CleanUp::Nothing;
    };
    let why = match &intent.uuid {
        None => WhyNamed::UnknownUuid,
        Some(uuid) if *uuid != found.uuid => WhyNamed::OtherQube,
        Some(_) if found.mark.as_deref() != Some(intent.nonce.as_str()) => WhyNamed::OtherMark,
        Some(_) if !found.is_guarded => WhyNamed::NotGuarded,
        Some(_) if found.has_run => WhyNamed::HasRun,
        Some(_) => return CleanUp::Remove,
    };
    CleanUp::Name(why)
}

/// The calls that end what is open: an import fails, and what was paused goes on. They are made
/// whether or not the qube is removed, but only where its uuid is the one that was noted.
pub fn ending(intent: &Intent, found: &Found) -> Result<Vec<Request>, Unsendable> {
    let mut calls = Vec::new();
    if intent.uuid.as_ref() != Some(&found.uuid) {
        return Ok(calls);
    }
    if let Some(volume) = &intent.open_import {
        calls.push(import_end(&intent.qube, volume, ImportEnd::Fail)?);
    }
    if intent.is_paused_by_us {
        calls.push(admin("admin.vm.Unpause", "", &intent.qube, "")?);
    }
    Ok(calls)
}

/// The call that removes a qube that [`may_remove`] allows. Qubes are removed in the opposite order
/// of their making: one that another is made over cannot be.
pub fn removal(intent: &Intent) -> Result<Request, Unsendable> {
    admin("admin.vm.Remove", "", &intent.qube, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn intent() -> Intent {
        Intent {
            qube: "work".into(),
            nonce: Nonce::of("0123456789abcdef").unwrap(),
            uuid: Some(uuid("1")),
            guard: Guard::Tag,
            open_import: Some("private".into()),
            is_paused_by_us: true,
        }
    }

    fn uuid(last: &str) -> QubeUuid {
        format!("0f3b2c1d-0000-4000-8000-00000000000{last}")
            .parse()
            .unwrap()
    }

    fn found() -> Found {
        Found {
            uuid: uuid("1"),
            mark: Some("0123456789abcdef".into()),
            is_guarded: true,
            has_run: false,
        }
    }

    #[test]
    fn a_qube_is_removed_only_while_uuid_mark_and_guard_match_and_it_never_ran() {
        assert_eq!(may_remove(&intent(), Some(&found())), CleanUp::Remove);
        assert_eq!(may_remove(&intent(), None), CleanUp::Nothing);
        type Change = fn(&mut Intent, &mut Found);
        let changes: [(WhyNamed, Change); 6] = [
            (WhyNamed::UnknownUuid, |intent, _| intent.uuid = None),
            (WhyNamed::OtherQube, |_, found| found.uuid = uuid("2")),
            (WhyNamed::OtherMark, |_, found| found.mark = None),
            (WhyNamed::OtherMark, |_, found| {
                found.mark = Some("0123456789abcdee".into())
            }),
            (WhyNamed::NotGuarded, |_, found| found.is_guarded = false),
            (WhyNamed::HasRun, |_, found| found.has_run = true),
        ];
        for (why, change) in changes {
            let (mut intent, mut found) = (intent(), found());
            change(&mut intent, &mut found);
            assert_eq!(may_remove(&intent, Some(&found)), CleanUp::Name(why));
        }
    }

    #[test]
    fn an_open_import_fails_and_what_we_paused_goes_on() {
        let calls = ending(&intent(), &found()).unwrap();
        let methods: Vec<&str> = calls.iter().map(Request::method).collect();
        assert_eq!(
            methods,
            ["internal.vm.volume.ImportEnd", "admin.vm.Unpause"]
        );
        assert_eq!(calls[0].payload(), "fail");
        let other = Found {
            uuid: uuid("2"),
            ..found()
        };
        assert!(ending(&intent(), &other).unwrap().is_empty());
        let nothing = Intent {
            open_import: None,
            is_paused_by_us: false,
            ..intent()
        };
        assert!(ending(&nothing, &found()).unwrap().is_empty());
        assert_eq!(removal(&intent()).unwrap().method(), "admin.vm.Remove");
    }
}
