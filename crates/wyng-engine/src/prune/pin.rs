// SPDX-License-Identifier: GPL-3.0-or-later
//! Pinning a session: no prune removes it, and no person, until it is unpinned.

use wyng_control::{Failure, JudgedSession, KeepReason, SessionChoice, SessionFate, ToClient};

use super::begin::connect;
use crate::archive::Archive;
use crate::store::{EditedVolume, commit_edit};
use crate::world::{Client, Parts, Store, World};

/// Pins or unpins a session. If the session does not change, there is no commit.
pub fn pin<P: Parts>(
    world: &mut World<P>,
    name: &str,
    volume: &str,
    choice: &SessionChoice,
    pinned: bool,
) -> Result<(), Failure> {
    let mut archive = Archive::open(&mut world.files, &mut world.secrets, name)?;
    connect(world, &mut archive)?;
    let volumes = archive.volumes(&mut world.files)?;
    let named = volumes.into_iter().find(|(_, entry)| entry.name == volume);
    let (number, entry) = named.ok_or_else(|| Failure::UnknownVolume {
        volume: volume.to_owned(),
    })?;
    let (index, mut session) = archive.choose_numbered(&mut world.files, &entry, choice)?;
    let time = session.time;
    if session.pinned != pinned {
        session.pinned = pinned;
        let edit = EditedVolume {
            number,
            entry,
            sessions: vec![(index, Some(session))],
        };
        commit_edit(world, &mut archive, edit)?;
    }
    world.store.finish_push()?;
    let reasons = if pinned {
        vec![KeepReason::Pinned]
    } else {
        Vec::new()
    };
    world.client.tell(ToClient::Judged(JudgedSession {
        volume: volume.to_owned(),
        session: time,
        fate: SessionFate::Kept(reasons),
    }))
}
