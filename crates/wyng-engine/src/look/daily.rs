// SPDX-License-Identifier: GPL-3.0-or-later
//! The growth of an archive, day by day: noted at the end of commands that change or check it, and
//! reported by `history`.

use std::collections::HashMap;

use wyng_archive::format::PackState;
use wyng_control::{DayLine, DayState, ExitStatus, Failure, ToClient};

use crate::archive::Archive;
use crate::state::Daily;
use crate::store::{is_damaged, packs_of};
use crate::world::{Client, Clock, Files, Parts, World};

/// Reports each day of an archive, oldest first. Days without a note have what the sessions that
/// still exist added. Nothing is written.
///
/// # Errors
/// The archive is not known here, or its local state cannot be read.
pub fn history<P: Parts>(world: &mut World<P>, name: &str) -> Result<ExitStatus, Failure> {
    let mut archive = Archive::open(&mut world.files, &mut world.secrets, name)?;
    let (daily, _) = counted(&mut world.files, &mut archive)?;
    let now_secs = world.clock.wall_secs();
    // A day ahead of now comes from a wall clock that was put back since.
    for (time, day) in daily.days().filter(|(time, _)| *time <= now_secs) {
        world.client.tell(ToClient::Day(DayLine {
            time,
            added_bytes: day.added_bytes,
            state: day.state,
        }))?;
    }
    Ok(ExitStatus::Done)
}

/// Notes the bytes that this day added so far, and the present state of the archive.
///
/// # Errors The local state cannot be read or written. The caller's own work is done all the same.
pub fn note_day<P: Parts>(world: &mut World<P>, name: &str) -> Result<(), Failure> {
    let mut archive = Archive::open(&mut world.files, &mut world.secrets, name)?;
    let (mut daily, state) = counted(&mut world.files, &mut archive)?;
    daily.note(world.clock.wall_secs(), state);
    daily.write(&mut world.files, &archive.folder)
}

/// The days with every session counted, and the present state.
fn counted(files: &mut impl Files, archive: &mut Archive) -> Result<(Daily, DayState), Failure> {
    let mut daily = Daily::read(files, &archive.folder);
    let (mut sessions, mut known) = (Vec::new(), HashMap::new());
    for (_, volume) in archive.volumes(files)? {
        sessions.extend(archive.sessions_at_hand(files, &volume)?);
    }
    daily.count(&sessions, archive.head.generation);
    let mut state = DayState {
        sessions: sessions.len() as u64,
        ..DayState::default()
    };
    for session in &sessions {
        if is_damaged(files, archive, session, &mut known)? {
            state.damaged_sessions = state.damaged_sessions.saturating_add(1);
        }
    }
    for pack in packs_of(files, archive)?.values() {
        state.stored_bytes = state.stored_bytes.saturating_add(pack.length_bytes.into());
    }
    for pack in archive.packs(files)?.values() {
        if matches!(pack.state, PackState::GivenUp(_) | PackState::Going(_)) {
            state.waiting_bytes = state.waiting_bytes.saturating_add(pack.length_bytes.into());
        }
    }
    Ok((daily, state))
}
