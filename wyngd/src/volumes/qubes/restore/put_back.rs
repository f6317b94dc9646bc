// SPDX-License-Identifier: GPL-3.0-or-later
//! Puts back what a restore in place changed: the volumes from what is kept of them, and of the
//! settings those that are still as the restore set them. Every part can be done again after a kill.

use wyng_control::QubeFault;
use wyng_qube::plan::{
    Back, GUARD_FEATURE, Guard, ImportEnd, InPlaceNote, InPlaceState, KeptVolume, Step, ThinVolume,
    back, guard_query, import_end, is_guarded,
};
use wyng_qube::record::QubeRecord;
use wyng_qube::{QubeUuid, Shown};

use super::super::super::reflink::is_clone;
use super::super::api::{Api, Found};
use super::super::record::record;
use super::clean::{is_missing, send, set};
use super::ground::Ground;
use super::import;
use super::journal::Journal;
use super::keep::{committed, give_up, kept, opened};
use super::thin;
use crate::ipc::MadeFrom;

/// Changes the note of a restore durably. `change` is not called if there is none.
pub(super) fn update(
    journal: &Journal,
    nonce: &str,
    change: impl FnOnce(&mut InPlaceNote),
) -> Result<(), QubeFault> {
    let mut notes = journal.read_in_place().map_err(unwritable)?;
    let Some(note) = notes.iter_mut().find(|note| note.nonce == nonce) else {
        return Err(QubeFault::Gone);
    };
    change(note);
    journal.write_in_place(notes).map_err(unwritable)
}

/// Adds a note durably.
pub(super) fn add(journal: &Journal, note: &InPlaceNote) -> Result<(), QubeFault> {
    let mut notes = journal.read_in_place().map_err(unwritable)?;
    notes.push(note.clone());
    journal.write_in_place(notes).map_err(unwritable)
}

fn forget(journal: &Journal, nonce: &str) -> Result<(), QubeFault> {
    let mut notes = journal.read_in_place().map_err(unwritable)?;
    notes.retain(|note| note.nonce != nonce);
    journal.write_in_place(notes).map_err(unwritable)
}

fn unwritable(errno: rustix::io::Errno) -> QubeFault {
    QubeFault::NoJournal {
        errno: errno.raw_os_error(),
    }
}

/// The qube of a note, halted.
pub(super) fn halted(api: &Api, qube: &str, uuid: Option<&QubeUuid>) -> Result<Found, QubeFault> {
    let found = api.find(qube)?;
    if uuid != Some(&found.uuid) {
        return Err(QubeFault::Gone);
    }
    match found.is_halted() {
        true => Ok(found),
        false => Err(QubeFault::NotHalted),
    }
}

/// The value of the feature that keeps a qube from starting; `None` if it is not there.
pub(super) fn guard_of(api: &Api, qube: &str) -> Result<Option<String>, QubeFault> {
    match send(api, guard_query(qube, Guard::Feature)) {
        Ok(value) => Ok(Some(value)),
        Err(QubeFault::Exception { class, .. }) if is_missing(&class) => Ok(None),
        Err(fault) => Err(fault),
    }
}

/// Keeps the qube from starting. What the feature was is noted before, unless it is the restore's
/// own already.
pub(super) fn take_guard(
    api: &Api,
    journal: &Journal,
    note: &mut InPlaceNote,
) -> Result<(), QubeFault> {
    let now = guard_of(api, &note.qube)?;
    if now
        .as_deref()
        .is_some_and(|value| is_guarded(Guard::Feature, value))
    {
        return Ok(());
    }
    update(journal, &note.nonce, |note| {
        note.guard_before.clone_from(&now)
    })?;
    note.guard_before = now;
    let step = Step::Guard {
        qube: note.qube.clone(),
        guard: Guard::Feature,
    };
    send(api, step.request()).map(drop)
}

/// Gives the feature back its value, if it is still the restore's own: what a person has set since
/// stays.
pub(super) fn release_guard(api: &Api, note: &InPlaceNote) -> Result<(), QubeFault> {
    let now = guard_of(api, &note.qube)?;
    if !now.is_some_and(|value| is_guarded(Guard::Feature, &value)) {
        return Ok(());
    }
    let qube = note.qube.clone();
    let step = match &note.guard_before {
        Some(value) => Step::SetFeature {
            qube,
            feature: GUARD_FEATURE.to_owned(),
            value: value.clone(),
        },
        None => Step::Unguard {
            qube,
            guard: Guard::Feature,
        },
    };
    set(api, &step)
}

/// Puts a qube back, and forgets the restore. Returns sentences about settings that stay as they
/// are. After an error the note and the clones stay, and so does the guard, if it could be taken.
pub(super) fn put_back(
    ground: Ground<'_>,
    journal: &Journal,
    note: &InPlaceNote,
) -> Result<Vec<String>, QubeFault> {
    let (api, pools, _) = ground;
    let mut note = note.clone();
    let uuid = note.qube_uuid();
    let found = halted(api, &note.qube, uuid.as_ref())?;
    update(journal, &note.nonce, |note| {
        note.state = InPlaceState::Undoing;
    })?;
    take_guard(api, journal, &mut note)?;
    // Started meanwhile, it would hold its volumes.
    halted(api, &note.qube, uuid.as_ref())?;
    for volume in &note.touched {
        // The answer is an error although the import has ended, or there was none.
        let _ = send(api, import_end(&note.qube, volume, ImportEnd::Fail));
    }
    for volume in &note.volumes {
        if note.touched.contains(&volume.volume) {
            put_volume_back(ground, &note, &found, volume)?;
        }
    }
    let stays = put_settings_back(api, &note, &found)?;
    release_guard(api, &note)?;
    // From here on there is nothing to put back, and what is left of the clones only goes.
    update(journal, &note.nonce, |note| {
        note.state = InPlaceState::Accepted;
    })?;
    give_up(pools, &note)?;
    forget(journal, &note.nonce)?;
    Ok(stays)
}

/// Makes a volume again what its clone is, by an import that shares the clone's blocks.
fn put_volume_back(
    ground: Ground<'_>,
    note: &InPlaceNote,
    found: &Found,
    volume: &KeptVolume,
) -> Result<(), QubeFault> {
    let (api, pools, _) = ground;
    if let Some(thin) = &volume.thin {
        return put_thin_back(ground, note, found, (&volume.volume, thin));
    }
    let (qube, name) = (&note.qube, &volume.volume);
    let lost = || QubeFault::VolumeNotRestored {
        volume: name.clone(),
    };
    let clone = kept(pools, note, volume)?.ok_or_else(lost)?;
    let is_back = || -> Result<bool, QubeFault> {
        let (now, _) = committed(ground, found, &api.volume(qube, name)?)?;
        Ok(is_clone(&clone, &now).unwrap_or(false))
    };
    if is_back().unwrap_or(false) {
        return Ok(());
    }
    let size = rustix::fs::fstat(&clone).map_err(opened)?.st_size;
    let step = Step::Import {
        qube: qube.clone(),
        volume: name.clone(),
        size_bytes: u64::try_from(size).unwrap_or(0),
    };
    let (file, _) = import::begin(ground, &step)?;
    let written = rustix::fs::ioctl_ficlone(&file, &clone)
        .and_then(|()| rustix::fs::fsync(&file))
        .map_err(opened);
    drop(file);
    if let Err(fault) = written {
        import::end_unsuccessfully(api, qube, name);
        return Err(fault);
    }
    import::end(api, qube, name)?;
    match is_back()? {
        true => Ok(()),
        false => Err(lost()),
    }
}

/// Makes a volume of a thin pool again what is kept, by an import of a snapshot of that.
fn put_thin_back(
    ground: Ground<'_>,
    note: &InPlaceNote,
    found: &Found,
    (volume, place): (&str, &ThinVolume),
) -> Result<(), QubeFault> {
    let (api, pools, _) = ground;
    thin::check_place(ground, found, &api.volume(&note.qube, volume)?, place)?;
    let of = thin::of(note, volume, place);
    let looked = thin::look(pools, &of)?;
    let size_bytes = looked
        .kept_bytes
        .ok_or_else(|| QubeFault::VolumeNotRestored {
            volume: volume.to_owned(),
        })?;
    if looked.is_back {
        return Ok(());
    }
    let (successor, _) = thin::make(pools, (of, place), MadeFrom::Kept, size_bytes)?;
    let step = Step::Import {
        qube: note.qube.clone(),
        volume: volume.to_owned(),
        size_bytes,
    };
    successor.put_in_place(ground, &step)
}

fn put_settings_back(
    api: &Api,
    note: &InPlaceNote,
    found: &Found,
) -> Result<Vec<String>, QubeFault> {
    if note.changes.is_empty() {
        return Ok(Vec::new());
    }
    let now = present(api, found)?;
    let mut stays = Vec::new();
    for back in back(&note.changes, &note.qube, &now) {
        match back {
            Back::Changed(field) => {
                stays.push(format!(
                    "{}: it was changed since, and stays",
                    field.setting()
                ));
            }
            Back::Cannot(field) => {
                stays.push(format!("{}: it cannot be put back", field.setting()));
            }
            Back::Step(step) => {
                if let Err(fault) = set(api, &step) {
                    let words = super::outcome::words(&step);
                    stays.push(format!("{words}: {fault}"));
                }
            }
        }
    }
    Ok(stays)
}

/// What a qube is now.
pub(super) fn present(api: &Api, found: &Found) -> Result<QubeRecord, QubeFault> {
    let (bytes, _) = record(api, found)?;
    QubeRecord::decode(&bytes).map_err(|bad| QubeFault::Record {
        field: bad.to_string(),
    })
}

/// Gives up what a qube was before.
pub(super) fn accept(
    (api, pools, _): Ground<'_>,
    journal: &Journal,
    note: &InPlaceNote,
) -> Result<(), QubeFault> {
    update(journal, &note.nonce, |note| {
        note.state = InPlaceState::Accepted;
    })?;
    if halted(api, &note.qube, note.qube_uuid().as_ref()).is_ok() {
        release_guard(api, note)?;
    }
    give_up(pools, note)?;
    forget(journal, &note.nonce)
}

/// Ends a restore of which everything is done but its guard: what was there stays kept.
pub(super) fn end_whole(api: &Api, journal: &Journal, note: &InPlaceNote) -> Result<(), QubeFault> {
    halted(api, &note.qube, note.qube_uuid().as_ref())
        .and_then(|_| release_guard(api, note))
        .or_else(|fault| match fault {
            // A person has let it start, or removed it.
            QubeFault::NotHalted | QubeFault::Gone => Ok(()),
            fault => Err(fault),
        })?;
    update(journal, &note.nonce, |note| note.state = InPlaceState::Kept)
}

/// Ends what earlier runs left: put back, finished, or given up. Returns sentences about it.
pub(super) fn end_left(ground: Ground<'_>, journal: &Journal) -> Vec<String> {
    let notes = match journal.read_in_place() {
        Ok(notes) => notes,
        Err(errno) => {
            return vec![format!(
                "the journal of restores in place cannot be read: {errno}"
            )];
        }
    };
    let mut sentences = Vec::new();
    for note in &notes {
        let qube = Shown::of(&note.qube);
        let ended = match note.state {
            InPlaceState::Kept => continue,
            InPlaceState::Whole => end_whole(ground.0, journal, note),
            InPlaceState::Accepted => accept(ground, journal, note),
            InPlaceState::Begun | InPlaceState::Undoing => {
                put_back(ground, journal, note).map(|stays| {
                    sentences.push(format!(
                        "{qube}: an interrupted restore in place was put back"
                    ));
                    sentences.extend(stays.iter().map(|stays| format!("{qube}: {stays}")));
                })
            }
        };
        if let Err(fault) = ended {
            sentences.push(format!(
                "{qube}: an interrupted restore in place is not ended, and what it was is kept: \
                 {fault}"
            ));
        }
    }
    sentences
}
