// SPDX-License-Identifier: GPL-3.0-or-later
//! One command of a client: the engine's function for it, and how what is known here is told.

use std::collections::HashMap;
use std::sync::Arc;

use wyng_archive::crypto::Id;
use wyng_archive::format::{HeadCode, SessionEntry, SlotKind, SlotLabel, VolumeEntry};
use wyng_control::{
    ArchiveSummary, BackupSource, Command, ExitStatus, Failure, RecoverySheet, SessionChoice,
    SessionLine, ToClient, UNLOCK_MAX_SECS, VolumeLine, VolumePlace, Warning,
};

use wyng_config::without_credentials;
use wyng_wire::Service;

use super::engine::archive::Archive;
use super::engine::{
    acknowledge, backup, create, diff, fetch, heal, keys, monitor, open, restore, take_over, verify,
};
use super::state::{ArchiveFolder, Origins, to_hex};
use super::world::World;

/// `EROFS`.
const READ_ONLY: i32 = 30;
/// A folder that no machine has.
const NO_STORE: &str = "dir:/nonexistent/wyng";

/// Runs a command to its end. The failure that ended it, if one did, has been told; its exit status
/// is returned.
pub fn run<W: World>(world: &mut W, command: Command) -> ExitStatus {
    match execute(world, command) {
        Ok(exit) => exit,
        // It begins anew, and nobody is told of this turn.
        Err(failure) if world.has_given_back() => failure.exit(),
        Err(failure) => {
            let exit = failure.exit();
            // Whoever asked may be gone; the status is all that is left to say then.
            let _ = world.tell(ToClient::Failed(failure));
            exit
        }
    }
}

fn execute<W: World>(world: &mut W, command: Command) -> Result<ExitStatus, Failure> {
    if world.only_looks() && !works_read_only(&command) {
        // Before anything is sent or read whose result could not be kept.
        return Err(Failure::StateIo {
            file: String::new(),
            errno: READ_ONLY,
        });
    }
    match command {
        Command::ArchiveCreate {
            archive,
            store_url,
            via,
            chunk_size_bytes,
            pack_size_bytes,
            compression,
            hold_off,
            shared_domain,
            kdf_memory_kib,
            kdf_passes,
        } => {
            let settings = create::Settings {
                chunk_size_bytes,
                pack_size_bytes,
                zstd_level: compression.zstd_level,
                hold_off_runs: hold_off.runs,
                hold_off_secs: hold_off.secs,
                shared_domain,
                kdf_memory_kib,
                kdf_passes,
            };
            create::create(
                world,
                &create::Request {
                    name: archive.clone(),
                    store: store_url,
                    via,
                    settings,
                },
            )?;
            show(world, &archive)
        }
        Command::ArchiveOpen {
            archive,
            store_url,
            via,
            expect,
            before,
        } => {
            let request = open::Request {
                name: archive.clone(),
                store: store_url,
                via,
                expect,
                before,
            };
            let open::Opened {
                generation,
                problems,
                damaged_newest,
            } = open::open(world, &request)?;
            let shown = show(world, &archive)?;
            match damaged_newest {
                Some(newest) => Err(Failure::NewestDamaged {
                    generation: newest,
                    opened: generation,
                }),
                None if problems > 0 => Err(Failure::ProblemsFound { count: problems }),
                None => Ok(shown),
            }
        }
        Command::ArchiveTakeOver { archive } => {
            take_over::take_over(world, &archive)?;
            show(world, &archive)
        }
        Command::ArchiveList => {
            let names = ArchiveFolder::names(world)?;
            each(world, names, show)
        }
        Command::ArchiveNames => {
            for name in ArchiveFolder::names(world)? {
                world.tell(ToClient::ArchiveName { name })?;
            }
            Ok(ExitStatus::Done)
        }
        Command::ArchiveShow { archive } => show(world, &archive),
        Command::ArchiveForget { archive } => {
            let folder = ArchiveFolder::find(world, &archive)?;
            tell_snapshots(world, &archive)?;
            world.wipe_keys(Some(folder.id()));
            folder.forget(world, &archive)?;
            Ok(ExitStatus::Done)
        }
        Command::ArchiveAcknowledge { archive } => acknowledge::acknowledge(world, &archive),
        Command::Backup {
            archive,
            sources,
            skip_unchanged,
            dry_run,
            live,
            heal,
        } => {
            let commit_after_bytes = backup::COMMIT_AFTER_BYTES;
            backup::back_up(
                world,
                &backup::Request {
                    archive,
                    sources,
                    skip_unchanged,
                    dry_run,
                    live,
                    heal,
                    commit_after_bytes,
                },
            )
        }
        Command::Monitor { archive, sources } => {
            monitor::monitor(world, &monitor::Request { archive, sources })
        }
        Command::List {
            archive,
            volume,
            session,
        } => list(world, &archive, volume.as_deref(), session.as_ref()),
        Command::Restore {
            archive,
            volumes,
            session,
            in_place,
            quick,
            dry_run,
            around_damage,
        } => {
            let folder = ArchiveFolder::find(world, &archive)?;
            // Who names the target needs not to know where the volume was.
            let origins = match Origins::read(world, &folder) {
                Err(Failure::StateDamaged { .. }) if !in_place => Origins::default(),
                origins => origins?,
            };
            restore::restore(
                world,
                &restore::Request {
                    archive,
                    volumes,
                    session,
                    in_place,
                    quick,
                    dry_run,
                    around_damage,
                    origins,
                },
            )
        }
        Command::Diff {
            archive,
            volume,
            session,
            with,
            named,
            configured,
        } => {
            let source = BackupSource {
                volume,
                named,
                configured,
            };
            diff::compare(
                world,
                &diff::Request {
                    archive,
                    source,
                    session,
                    with,
                },
            )
        }
        Command::Verify {
            archive,
            volumes,
            session,
            deep,
            budget_bytes,
        } => verify::verify(
            world,
            &verify::Request {
                archive,
                volumes,
                session,
                deep,
                budget_bytes,
            },
        ),
        Command::Status { archive } => status(world, archive.as_deref()),
        Command::Unlock { archive, secs } => unlock(world, &archive, secs),
        Command::Lock { archive } => lock(world, archive.as_deref()).map(|()| ExitStatus::Done),
        Command::KeyList { archive } => keys::list(world, &archive).map(|()| ExitStatus::Done),
        Command::KeyAdd {
            archive,
            recovery_key,
            label,
            kdf_memory_kib,
            kdf_passes,
        } => {
            let kind = if recovery_key {
                SlotKind::RecoveryKey
            } else {
                SlotKind::Passphrase
            };
            let wish = keys::NewSlot {
                memory_kib: kdf_memory_kib,
                passes: kdf_passes,
                label: slot_label(label)?,
            };
            keys::add(world, &archive, kind, &wish).map(|()| ExitStatus::Done)
        }
        Command::KeyChange {
            archive,
            label,
            kdf_memory_kib,
            kdf_passes,
        } => {
            let wish = keys::NewSlot {
                memory_kib: kdf_memory_kib,
                passes: kdf_passes,
                label: slot_label(label)?,
            };
            keys::change(world, &archive, &wish).map(|()| ExitStatus::Done)
        }
        Command::KeyRemove { archive, number } => {
            keys::remove(world, &archive, number).map(|()| ExitStatus::Done)
        }
        Command::Snapshots { archive, .. } => {
            if let Some(name) = archive {
                ArchiveFolder::find(world, &name)?;
            }
            for name in ArchiveFolder::names(world)? {
                tell_snapshots(world, &name)?;
            }
            Ok(ExitStatus::Done)
        }
        Command::QubesCheck { vias } => check_far_ends(world, vias),
        Command::RecoverySheet { archive } => recovery_sheet(world, &archive),
        Command::KeyCheck { archive } => key_check(world, &archive),
    }
}

/// Whether a command does all that it is asked though the local state can only be read.
fn works_read_only(command: &Command) -> bool {
    let writes_nothing = matches!(
        command,
        Command::Restore { .. }
            | Command::Diff { .. }
            | Command::KeyCheck { .. }
            | Command::Unlock { .. }
            | Command::Snapshots { .. }
    );
    command.only_looks()
        || writes_nothing
        || matches!(command, Command::QubesCheck { .. } | Command::Lock { .. })
}

fn show<W: World>(world: &mut W, name: &str) -> Result<ExitStatus, Failure> {
    let mut archive = Archive::open(world, name)?;
    let packs = fetch::packs_of(world, &mut archive)?;
    let volume_count = archive.volumes(world)?.len() as u64;
    let stored_bytes = packs.values().fold(0, |sum: u64, pack| {
        sum.saturating_add(pack.length_bytes.into())
    });
    let settings = archive.head.settings;
    let verified_time = verify::verified_time(world, &archive, &packs)?;
    world.tell(ToClient::Archive(ArchiveSummary {
        name: name.to_owned(),
        id: to_hex(&archive.folder.id().0),
        store_url: without_credentials(&archive.toml.store),
        via: archive.toml.via.clone(),
        generation: archive.head.generation,
        committed_time: archive.head.time,
        keys_proven_time: archive.ledger.keys_proven_time,
        verified_time,
        chunk_size_bytes: settings.chunk_size_bytes,
        pack_size_bytes: settings.pack_size_bytes,
        zstd_level: settings.zstd_level,
        volume_count,
        pack_count: packs.len() as u64,
        stored_bytes,
        hold_off_runs: settings.hold_off_runs,
        hold_off_secs: settings.hold_off_secs,
    }))?;
    Ok(ExitStatus::Done)
}

fn list<W: World>(
    world: &mut W,
    name: &str,
    only: Option<&str>,
    choice: Option<&SessionChoice>,
) -> Result<ExitStatus, Failure> {
    let mut archive = Archive::open(world, name)?;
    let mut volumes = archive.volumes(world)?;
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
        world.tell(ToClient::Warned(match passed.requested {
            true => Warning::OlderOpened { generation, newest },
            false => Warning::NewestDamaged { generation, newest },
        }))?;
    }
    let (mut known, mut is_found, mut exit) = (HashMap::new(), false, ExitStatus::Done);
    for (_, volume) in volumes {
        let sessions = match choice {
            None => archive.sessions(world, &volume),
            Some(choice) => archive
                .choose(world, &volume, choice)
                .map(|session| vec![session]),
        };
        let sessions = match sessions {
            Err(Failure::UnknownSession { .. }) if only.is_none() => continue,
            Err(failure @ Failure::SessionsLost { .. }) if only.is_none() => {
                exit = failure.exit();
                world.tell(ToClient::Failed(failure))?;
                continue;
            }
            sessions => sessions?,
        };
        world.tell(ToClient::Volume(VolumeLine {
            name: volume.name.clone(),
            size_bytes: volume.size_bytes,
        }))?;
        for session in sessions {
            tell_session(world, &mut archive, &volume, session, &mut known)?;
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

fn tell_session<W: World>(
    world: &mut W,
    archive: &mut Archive,
    volume: &VolumeEntry,
    session: SessionEntry,
    known: &mut HashMap<Id, bool>,
) -> Result<(), Failure> {
    let damaged = heal::is_damaged(world, archive, &session, known)?;
    let acknowledged = damaged && acknowledge::is_acknowledged(world, archive, volume, &session)?;
    world.tell(ToClient::Session(SessionLine {
        session: session.time,
        generation: session.generation,
        tags: session.tags,
        size_bytes: session.size_bytes,
        added_bytes: session.added_bytes,
        live: session.live,
        damaged,
        acknowledged,
    }))
}

fn status<W: World>(world: &mut W, only: Option<&str>) -> Result<ExitStatus, Failure> {
    let names = match only {
        Some(name) => vec![name.to_owned()],
        None => ArchiveFolder::names(world)?,
    };
    each(world, names, status_of)
}

fn status_of<W: World>(world: &mut W, name: &str) -> Result<ExitStatus, Failure> {
    tell_snapshots(world, name)?;
    show(world, name)?;
    let mut archive = Archive::open(world, name)?;
    let mut known = HashMap::new();
    for (_, volume) in archive.volumes(world)? {
        world.tell(ToClient::Volume(VolumeLine {
            name: volume.name.clone(),
            size_bytes: volume.size_bytes,
        }))?;
        if let Some(newest) = archive.sessions_at_hand(world, &volume)?.pop() {
            tell_session(world, &mut archive, &volume, newest, &mut known)?;
        }
    }
    if archive.ledger.stopped {
        return Err(Failure::Stopped);
    }
    if let Some(behind) = archive.is_behind() {
        return Err(behind);
    }
    match archive.ledger.notes.held_packs().len() {
        0 => {}
        packs => {
            return Err(Failure::MuchDamaged {
                packs: packs as u64,
            });
        }
    }
    let damage = acknowledge::known_damage(world, &mut archive)?;
    acknowledge::tell(world, damage.acknowledged)?;
    match damage.new {
        0 => Ok(ExitStatus::Done),
        count => Err(Failure::ProblemsFound { count }),
    }
}

/// Does it for each archive: one that fails is told, and hides no other. The status is the first
/// failure's.
fn each<W: World>(
    world: &mut W,
    names: Vec<String>,
    work: fn(&mut W, &str) -> Result<ExitStatus, Failure>,
) -> Result<ExitStatus, Failure> {
    let mut exit = ExitStatus::Done;
    for name in names {
        let ended = match work(world, &name) {
            Err(Failure::Interrupted) => return Err(Failure::Interrupted),
            Err(failure) => {
                let exit = failure.exit();
                world.tell(ToClient::Failed(failure))?;
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

fn slot_label(text: Option<String>) -> Result<Option<SlotLabel>, Failure> {
    let bad = || Failure::BadSetting {
        setting: "the label".into(),
        allowed: "at most 32 bytes, without control characters".into(),
    };
    text.map(|text| SlotLabel::new(&text).ok_or_else(bad))
        .transpose()
}

/// Where an archive's base snapshots may lie. An archive that cannot be opened has its id and what
/// is remembered all the same.
fn tell_snapshots<W: World>(world: &mut W, name: &str) -> Result<(), Failure> {
    let folder = ArchiveFolder::find(world, name)?;
    let volumes = Archive::open(world, name).and_then(|mut archive| archive.volumes(world));
    world.tell(ToClient::SnapshotsOf {
        archive: name.to_owned(),
        id: folder.id().0,
        complete: volumes.is_ok(),
    })?;
    let volumes = volumes.unwrap_or_default();
    let remembered = Origins::read(world, &folder).unwrap_or_default();
    let mut places: Vec<VolumePlace> = remembered.places(world.client_uid()).collect();
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
        .try_for_each(|place| world.tell(ToClient::SnapshotOf(place)))
}

/// What a person keeps on paper: with the passphrase it opens the archive anywhere, and shows that
/// it was not rolled back.
fn recovery_sheet<W: World>(world: &mut W, name: &str) -> Result<ExitStatus, Failure> {
    let archive = Archive::open(world, name)?;
    let head = archive.ledger.head().ok_or(Failure::CacheLost)?;
    world.tell(ToClient::RecoverySheet(RecoverySheet {
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

/// The passphrase is always asked for: the time begins anew only for whoever knows it.
fn unlock<W: World>(world: &mut W, name: &str, secs: u64) -> Result<ExitStatus, Failure> {
    if !(1..=UNLOCK_MAX_SECS).contains(&secs) {
        return Err(Failure::BadSetting {
            setting: "the time for which the key is kept".into(),
            allowed: "1s to 24h".into(),
        });
    }
    let mut archive = Archive::open(world, name)?;
    let key = archive.unlock(world)?;
    archive.ledger.write(world, &archive.folder)?;
    world.keep_key(archive.folder.id(), Arc::new(key), secs);
    let until = (world.wall_nanos() / 1_000_000_000).saturating_add(secs);
    world.tell(ToClient::Unlocked {
        until: i64::try_from(until).unwrap_or(i64::MAX),
    })?;
    Ok(ExitStatus::Done)
}

/// Wipes the key that is kept of an archive, or all.
pub fn lock<W: World>(world: &mut W, archive: Option<&str>) -> Result<(), Failure> {
    let archive = archive
        .map(|name| ArchiveFolder::find(world, name))
        .transpose()?;
    world.wipe_keys(archive.map(|folder| folder.id()));
    Ok(())
}

fn key_check<W: World>(world: &mut W, name: &str) -> Result<ExitStatus, Failure> {
    let mut archive = Archive::open(world, name)?;
    let data_key = archive.unlock(world)?;
    if let Some(fault) = fetch::keys_of(world, &mut archive, &data_key)?.fault {
        return Err(fault);
    }
    let mut slots = archive.live_slots(world)?;
    let opened = archive.ledger.opened.map(|(number, _)| number);
    slots.retain(|slot| Some(slot.clear().number) == opened);
    keys::tell_slots(world, &archive, &slots, opened)?;
    Ok(ExitStatus::Done)
}

/// Calls each far end for each service, and has it look for a store that is not there: a helper
/// that says so has been reached.
fn check_far_ends<W: World>(world: &mut W, mut vias: Vec<String>) -> Result<ExitStatus, Failure> {
    if vias.is_empty() {
        for name in ArchiveFolder::names(world)? {
            vias.push(ArchiveFolder::find(world, &name)?.read_toml(world)?.via);
        }
        vias.sort_unstable();
        vias.dedup();
    }
    let mut failed = Vec::new();
    for via in &vias {
        for service in [Service::Push, Service::Fetch] {
            match world.connect(service, via, NO_STORE, false) {
                Err(Failure::StoreMissing { .. }) | Ok(()) => {
                    world.tell(ToClient::Reached {
                        via: via.clone(),
                        service: service.qrexec_name().to_owned(),
                    })?;
                }
                Err(Failure::Interrupted) => return Err(Failure::Interrupted),
                Err(failure) => {
                    failed.push(failure.exit());
                    world.tell(ToClient::Failed(failure))?;
                }
            }
        }
    }
    Ok(failed.first().copied().unwrap_or(ExitStatus::Done))
}
