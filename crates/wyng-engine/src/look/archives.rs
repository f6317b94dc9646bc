// SPDX-License-Identifier: GPL-3.0-or-later
//! What this machine knows of its archives, reported from the state directory alone.

use std::collections::HashMap;

use wyng_archive::crypto::Id;
use wyng_archive::format::{HeadCode, SessionEntry, VolumeEntry};
use wyng_archive::plan::age::{Age, Moment};
use wyng_archive::plan::proof::Share;
use wyng_config::without_credentials;
use wyng_control::{
    ArchiveAges, ArchiveSummary, CopyLine, ExitStatus, Failure, ProofSummary, RecoverySheet,
    SessionChoice, SessionLine, ToClient, Via, VolumeLine, VolumePlace, Warning,
};

use super::space::{IDS_A_PART, sizes, space};
use crate::archive::{Archive, Packs};
use crate::kept::{local_clock, moment_now, moment_of_session};
use crate::kept_qubes::tell_kept;
use crate::renewing::lock_summary;
use crate::space::{look_for_waits, tell_waits};
use crate::state::{ArchiveFolder, CopyNote, Origins, StoreRoom, to_hex};
use crate::store::{is_damaged, packs_of};
use crate::verify::{Proven, is_acknowledged, known_damage, proven, report_acknowledged};
use crate::world::{Client, Files, Parts, World};

/// Reports an archive: where it is, how large, and when it was last checked.
pub fn show<P: Parts>(world: &mut World<P>, name: &str) -> Result<ExitStatus, Failure> {
    let mut archive = Archive::open(&mut world.files, &mut world.secrets, name)?;
    let packs = packs_of(&mut world.files, &mut archive)?;
    let volume_count = archive.volumes(&mut world.files)?.len() as u64;
    let stored_bytes = packs.values().fold(0, |sum: u64, pack| {
        sum.saturating_add(pack.length_bytes.into())
    });
    let settings = archive.head.settings;
    let local = local_clock(&mut world.files, &mut world.clock)?;
    let now = moment_now(&mut world.files, &mut world.clock, &mut archive)?;
    let Proven { share, verified } = proven(&mut world.files, &archive, &packs, now)?;
    let keys_proven = archive.ledger.keys_proven;
    let copies = copies_of(&mut world.files, &archive, &packs)?;
    let lock = lock_summary(&mut world.files, &mut archive, now)?;
    world
        .client
        .tell(ToClient::Archive(Box::new(ArchiveSummary {
            name: name.to_owned(),
            id: to_hex(&archive.folder.id().0),
            store_url: without_credentials(&archive.toml.store),
            via: archive.toml.via.to_string(),
            verify_via: archive.toml.verify_via.as_ref().map(Via::to_string),
            abilities: archive.toml.abilities(),
            lock,
            copies,
            generation: archive.head.generation,
            committed_time: archive.head.time,
            keys_proven_time: keys_proven.map_or(0, |then| then.wall_secs),
            keys_proven_age_secs: Age::of(keys_proven, now).secs(),
            verified_time: verified.map_or(0, |then| then.wall_secs),
            verified_age_secs: Age::of(verified, now).secs(),
            clock_skew_secs: local.parted_secs,
            rehearsed_time: archive.ledger.rehearsed.map_or(0, |then| then.wall_secs),
            proof: proof_summary(&share),
            chunk_size_bytes: settings.chunk_size_bytes,
            pack_size_bytes: settings.pack_size_bytes,
            zstd_level: settings.zstd_level,
            volume_count,
            pack_count: packs.len() as u64,
            stored_bytes,
            hold_off_runs: settings.hold_off_runs,
            hold_off_secs: settings.hold_off_secs,
            minimum_age_secs: settings.minimum_age_secs,
        })))?;
    if let Some(end_time) = lock
        .filter(|lock| lock.ends_soon)
        .and_then(|lock| lock.end_time)
    {
        world.client.tell(ToClient::Warned(Warning::LockEndsSoon {
            archive: name.to_owned(),
            end_time,
        }))?;
    }
    Ok(ExitStatus::Done)
}

/// The archive's copies, as this machine knows them.
fn copies_of(
    files: &mut impl Files,
    archive: &Archive,
    packs: &Packs,
) -> Result<Vec<CopyLine>, Failure> {
    let head = archive.head.generation;
    let line = |note: &CopyNote| {
        let (mut proven_bytes, mut total_bytes) = (0_u64, 0_u64);
        for pack in packs
            .values()
            .filter(|pack| pack.state.given_up().is_none())
        {
            let length = u64::from(pack.length_bytes);
            total_bytes = total_bytes.saturating_add(length);
            if note.read.contains(&pack.name) {
                proven_bytes = proven_bytes.saturating_add(length);
            }
        }
        CopyLine {
            store_url: without_credentials(&note.store),
            via: note.via.to_string(),
            generation: note.generation,
            behind: head.saturating_sub(note.generation),
            copied_time: note.wall_secs,
            proven_bytes,
            total_bytes,
        }
    };
    let notes = CopyNote::all(files, &archive.folder)?;
    // The copy that this machine reads is the store itself.
    let others = notes.iter().filter(|note| note.store != archive.toml.store);
    Ok(others.map(line).collect())
}

fn proof_summary(share: &Share) -> ProofSummary {
    let oldest_unproven_secs = match share.oldest_unproven {
        Some(Age::Secs(secs)) => Some(secs),
        Some(Age::Never) | None => None,
    };
    ProofSummary {
        proven_bytes: share.proven_bytes,
        by_pusher_bytes: share.by_pusher_bytes,
        total_bytes: share.total_bytes,
        oldest_unproven_secs,
    }
}

/// Reports the sessions of an archive, or of one volume; with `choice` only the session of each
/// volume that it chooses. `with_sizes`: also what each needs in the store.
pub fn sessions<P: Parts>(
    world: &mut World<P>,
    name: &str,
    only: Option<&str>,
    choice: Option<&SessionChoice>,
    with_sizes: bool,
) -> Result<ExitStatus, Failure> {
    let mut archive = Archive::open(&mut world.files, &mut world.secrets, name)?;
    let mut volumes = archive.volumes(&mut world.files)?;
    if let Some(only) = only {
        volumes.retain(|(_, volume)| volume.name == only);
        if volumes.is_empty() {
            return Err(Failure::UnknownVolume {
                volume: only.to_owned(),
            });
        }
    }
    if let Some(passed) = archive.ledger.passed_over {
        let (generation, newest) = (archive.head.generation, passed.newest);
        world.client.tell(ToClient::Warned(match passed.requested {
            true => Warning::OlderOpened { generation, newest },
            false => Warning::NewestDamaged { generation, newest },
        }))?;
    }
    let sized = if with_sizes {
        let World { files, client, .. } = world;
        sizes(files, client, &mut archive, only, IDS_A_PART)?
    } else {
        Vec::new()
    };
    let mut seen = Seen::now(world, &mut archive)?;
    let (mut is_found, mut exit) = (false, ExitStatus::Done);
    for (_, volume) in volumes {
        let sessions = match choice {
            None => archive.sessions(&mut world.files, &volume),
            Some(choice) => archive
                .choose(&mut world.files, &volume, choice)
                .map(|session| vec![session]),
        };
        let sessions = match sessions {
            Err(Failure::UnknownSession { .. }) if only.is_none() => continue,
            Err(failure @ Failure::SessionsLost { .. }) if only.is_none() => {
                exit = failure.exit();
                world.client.tell(ToClient::Failed(failure))?;
                continue;
            }
            sessions => sessions?,
        };
        let sized = sized.iter().find(|sized| sized.volume.id == volume.id);
        world.client.tell(ToClient::Volume(VolumeLine {
            sizes: sized.map(|sized| sized.sizes),
            ..volume_line(&volume)
        }))?;
        for session in sessions {
            let sizes = sized.and_then(|sized| sized.of(&session));
            let line = session_line(&mut world.files, &mut archive, &volume, session, &mut seen)?;
            world
                .client
                .tell(ToClient::Session(SessionLine { sizes, ..line }))?;
            is_found = true;
        }
    }
    match choice {
        Some(choice) if !is_found && exit == ExitStatus::Done => Err(Failure::NoSession {
            session: choice.to_string(),
        }),
        _ => Ok(exit),
    }
}

/// State shared by all sessions of an archive that are reported.
struct Seen {
    /// Whether packs and chunks that were checked before are damaged.
    damaged: HashMap<Id, bool>,
    now: Moment,
}

impl Seen {
    /// Nothing was looked at yet.
    fn now<P: Parts>(world: &mut World<P>, archive: &mut Archive) -> Result<Self, Failure> {
        Ok(Self {
            damaged: HashMap::new(),
            now: moment_now(&mut world.files, &mut world.clock, archive)?,
        })
    }
}

/// Reports what fills the store: every volume and session with its sizes, and then the rest.
pub fn why<P: Parts>(world: &mut World<P>, name: &str) -> Result<ExitStatus, Failure> {
    let mut archive = Archive::open(&mut world.files, &mut world.secrets, name)?;
    let mut seen = Seen::now(world, &mut archive)?;
    let World { files, client, .. } = world;
    let (report, volumes) = space(files, client, &mut archive, IDS_A_PART)?;
    for sized in volumes {
        client.tell(ToClient::Volume(VolumeLine {
            sizes: Some(sized.sizes),
            ..volume_line(&sized.volume)
        }))?;
        for (session, sizes) in sized.sessions {
            let line = session_line(files, &mut archive, &sized.volume, session, &mut seen)?;
            client.tell(ToClient::Session(SessionLine {
                sizes: Some(sizes),
                ..line
            }))?;
        }
    }
    client.tell(ToClient::Space(report))?;
    Ok(ExitStatus::Done)
}

fn volume_line(volume: &VolumeEntry) -> VolumeLine {
    VolumeLine {
        name: volume.name.clone(),
        size_bytes: volume.size_bytes,
        description: volume.description.clone(),
        sizes: None,
    }
}

fn session_line(
    files: &mut impl Files,
    archive: &mut Archive,
    volume: &VolumeEntry,
    session: SessionEntry,
    seen: &mut Seen,
) -> Result<SessionLine, Failure> {
    let damaged = is_damaged(files, archive, &session, &mut seen.damaged)?;
    let acknowledged = damaged && is_acknowledged(files, archive, volume, &session)?;
    Ok(SessionLine {
        age_secs: Age::of(Some(moment_of_session(&session)), seen.now).secs(),
        session: session.time,
        generation: session.generation,
        tags: session.tags,
        size_bytes: session.size_bytes,
        added_bytes: session.added_bytes,
        live: session.live,
        pinned: session.pinned,
        damaged,
        acknowledged,
        sizes: None,
    })
}

/// The line of one session, for a command that changes it.
pub(crate) fn line_of<P: Parts>(
    world: &mut World<P>,
    archive: &mut Archive,
    volume: &VolumeEntry,
    session: SessionEntry,
) -> Result<SessionLine, Failure> {
    let mut seen = Seen::now(world, archive)?;
    session_line(&mut world.files, archive, volume, session, &mut seen)
}

/// Reports the state of an archive, or of every archive: its newest sessions, and what a person
/// should know.
pub fn status<P: Parts>(world: &mut World<P>, only: Option<&str>) -> Result<ExitStatus, Failure> {
    let names = match only {
        Some(name) => vec![name.to_owned()],
        None => ArchiveFolder::names(&mut world.files)?,
    };
    tell_kept(&mut world.files, &mut world.clock, &mut world.client)?;
    each(world, names, status_of)
}

fn status_of<P: Parts>(world: &mut World<P>, name: &str) -> Result<ExitStatus, Failure> {
    snapshots_of(world, name)?;
    show(world, name)?;
    let mut archive = Archive::open(&mut world.files, &mut world.secrets, name)?;
    let mut seen = Seen::now(world, &mut archive)?;
    let (mut last_backup, mut session_count) = (None, 0_u64);
    for (_, volume) in archive.volumes(&mut world.files)? {
        world.client.tell(ToClient::Volume(volume_line(&volume)))?;
        let mut sessions = archive.sessions_at_hand(&mut world.files, &volume)?;
        session_count = session_count.saturating_add(sessions.len() as u64);
        if let Some(newest) = sessions.pop() {
            let then = moment_of_session(&newest);
            last_backup = last_backup.max(Some((then.wall_secs, then.kept_secs)));
            let line = session_line(&mut world.files, &mut archive, &volume, newest, &mut seen)?;
            world.client.tell(ToClient::Session(line))?;
        }
    }
    let last_backup = last_backup.map(|(wall_secs, kept_secs)| Moment {
        wall_secs,
        kept_secs,
    });
    let ages = ages(world, &mut archive, last_backup, seen.now)?;
    world.client.tell(ToClient::Ages(ArchiveAges {
        session_count,
        ..ages
    }))?;
    let waits = look_for_waits(world, &mut archive)?;
    tell_waits(&mut world.client, &waits)?;
    if archive.ledger.stopped {
        return Err(Failure::Stopped);
    }
    if let Some(behind) = archive.is_behind() {
        return Err(behind);
    }
    archive.refuse_much_damage()?;
    let damage = known_damage(&mut world.files, &mut archive)?;
    report_acknowledged(&mut world.client, damage.acknowledged)?;
    match damage.new {
        0 => Ok(ExitStatus::Done),
        count => Err(Failure::ProblemsFound { count }),
    }
}

/// Ages of the last successes, and free space. A backup counts as a success if it made a session,
/// whatever commits came later. The sessions are not counted.
fn ages<P: Parts>(
    world: &mut World<P>,
    archive: &mut Archive,
    last_backup: Option<Moment>,
    now: Moment,
) -> Result<ArchiveAges, Failure> {
    let packs = packs_of(&mut world.files, archive)?;
    let Proven { verified, .. } = proven(&mut world.files, archive, &packs, now)?;
    let time = |then: Option<Moment>| then.map_or(0, |then| then.wall_secs);
    let store_room = StoreRoom::read(&mut world.files, &archive.folder);
    Ok(ArchiveAges {
        last_backup_time: time(last_backup),
        backup_secs: Age::of(last_backup, now).secs(),
        last_verify_time: time(verified),
        verify_secs: Age::of(verified, now).secs(),
        key_proof_secs: Age::of(archive.ledger.keys_proven, now).secs(),
        prune_secs: Age::of(archive.ledger.pruned, now).secs(),
        rehearsal_secs: Age::of(archive.ledger.rehearsed, now).secs(),
        store_free_bytes: store_room.map(|room| u64::from(room.free_mib) << 20),
        store_free_time: store_room.map_or(0, |room| room.wall_secs),
        state_free_bytes: world.files.free_bytes(),
        session_count: 0,
    })
}

/// Reports every archive that this machine knows.
pub fn archives<P: Parts>(world: &mut World<P>) -> Result<ExitStatus, Failure> {
    let names = ArchiveFolder::names(&mut world.files)?;
    each(world, names, show)
}

/// Reports the names of the archives that this machine knows.
pub fn names<P: Parts>(world: &mut World<P>) -> Result<ExitStatus, Failure> {
    for name in ArchiveFolder::names(&mut world.files)? {
        world.client.tell(ToClient::ArchiveName { name })?;
    }
    Ok(ExitStatus::Done)
}

/// Does the work for each archive. The failure of one is reported and hides no other; the exit
/// status is that of the first failure.
fn each<P: Parts>(
    world: &mut World<P>,
    names: Vec<String>,
    work: fn(&mut World<P>, &str) -> Result<ExitStatus, Failure>,
) -> Result<ExitStatus, Failure> {
    let mut exit = ExitStatus::Done;
    for name in names {
        let ended = match work(world, &name) {
            Err(Failure::Interrupted) => return Err(Failure::Interrupted),
            Err(failure) => {
                let exit = failure.exit();
                world.client.tell(ToClient::Failed(failure))?;
                exit
            }
            Ok(exit) => exit,
        };
        if exit == ExitStatus::Done {
            exit = ended;
        }
    }
    Ok(exit)
}

/// Reports where the base snapshots of every archive may lie. An archive that is named must be
/// known.
pub fn snapshots<P: Parts>(
    world: &mut World<P>,
    archive: Option<&str>,
) -> Result<ExitStatus, Failure> {
    if let Some(name) = archive {
        ArchiveFolder::find(&mut world.files, name)?;
    }
    for name in ArchiveFolder::names(&mut world.files)? {
        snapshots_of(world, &name)?;
    }
    tell_kept(&mut world.files, &mut world.clock, &mut world.client)?;
    Ok(ExitStatus::Done)
}

/// Reports where an archive's base snapshots may lie. For an archive that cannot be opened, its id
/// and the remembered places are reported all the same.
pub fn snapshots_of<P: Parts>(world: &mut World<P>, name: &str) -> Result<(), Failure> {
    let folder = ArchiveFolder::find(&mut world.files, name)?;
    let volumes = Archive::open(&mut world.files, &mut world.secrets, name)
        .and_then(|mut archive| archive.volumes(&mut world.files));
    world.client.tell(ToClient::SnapshotsOf {
        archive: name.to_owned(),
        id: folder.id().0,
        complete: volumes.is_ok(),
    })?;
    let volumes = volumes.unwrap_or_default();
    let remembered =
        Origins::read_following(&mut world.files, &folder, &volumes).unwrap_or_default();
    let mut places: Vec<VolumePlace> = remembered.places(world.client.uid()).collect();
    for (
        _,
        VolumeEntry {
            id, name: volume, ..
        },
    ) in volumes
    {
        match places.iter_mut().find(|place| place.volume == volume) {
            Some(place) => place.id = Some(id.0),
            None => places.push(VolumePlace {
                volume,
                id: Some(id.0),
                path: None,
                folder: None,
            }),
        }
    }
    places
        .into_iter()
        .try_for_each(|place| world.client.tell(ToClient::SnapshotOf(place)))
}

/// Reports what a person keeps on paper: with the passphrase it opens the archive anywhere, and
/// shows that the archive was not rolled back.
pub fn recovery_sheet<P: Parts>(world: &mut World<P>, name: &str) -> Result<ExitStatus, Failure> {
    let archive = Archive::open(&mut world.files, &mut world.secrets, name)?;
    let head = archive.ledger.head().ok_or(Failure::CacheLost)?;
    world.client.tell(ToClient::RecoverySheet(RecoverySheet {
        name: name.to_owned(),
        id: to_hex(&archive.folder.id().0),
        store_url: without_credentials(&archive.toml.store),
        epoch: archive.head.epoch.0,
        generation: head.generation,
        committed_time: archive.head.time,
        code: HeadCode::of(head.generation, &head.hash()).to_string(),
    }))?;
    Ok(ExitStatus::Done)
}
