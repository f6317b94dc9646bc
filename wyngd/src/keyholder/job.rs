// SPDX-License-Identifier: GPL-3.0-or-later
//! One command of a client: the engine's function for it, and how what is known here is told.

use std::collections::HashMap;
use std::sync::Arc;

use wyng_archive::crypto::{ArchiveId, Id};
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
use super::world::{Client, Clock, Files, Parts, Secrets, Store, World};

/// `EROFS`.
const READ_ONLY: i32 = 30;
/// A folder that no machine has.
const NO_STORE: &str = "dir:/nonexistent/wyng";

/// Runs a command to its end. The failure that ended it, if one did, has been told; its exit status
/// is returned.
pub fn run<P: Parts>(world: &mut World<P>, command: Command) -> ExitStatus {
    match execute(world, command) {
        Ok(exit) => exit,
        // It begins anew, and nobody is told of this turn.
        Err(failure) if world.client.has_given_back() => failure.exit(),
        Err(failure) => {
            let exit = failure.exit();
            // Whoever asked may be gone; the status is all that is left to say then.
            let _ = world.client.tell(ToClient::Failed(failure));
            exit
        }
    }
}

fn execute<P: Parts>(world: &mut World<P>, command: Command) -> Result<ExitStatus, Failure> {
    if world.files.only_looks() && !works_read_only(&command) {
        // Before anything is sent or read whose result could not be kept.
        return Err(Failure::StateIo {
            file: "its folder".into(),
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
            let names = ArchiveFolder::names(&mut world.files)?;
            each(world, names, show)
        }
        Command::ArchiveNames => {
            for name in ArchiveFolder::names(&mut world.files)? {
                world.client.tell(ToClient::ArchiveName { name })?;
            }
            Ok(ExitStatus::Done)
        }
        Command::ArchiveShow { archive } => show(world, &archive),
        Command::ArchiveForget { archive } => {
            let folder = ArchiveFolder::find(&mut world.files, &archive)?;
            tell_snapshots(world, &archive)?;
            world.secrets.wipe_keys(Some(folder.id()));
            folder.forget(&mut world.files, &archive)?;
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
            let folder = ArchiveFolder::find(&mut world.files, &archive)?;
            // Who names the target needs not to know where the volume was.
            let origins = match Origins::read(&mut world.files, &folder) {
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
                ArchiveFolder::find(&mut world.files, &name)?;
            }
            for name in ArchiveFolder::names(&mut world.files)? {
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

fn show<P: Parts>(world: &mut World<P>, name: &str) -> Result<ExitStatus, Failure> {
    let mut archive = Archive::open(&mut world.files, &mut world.secrets, name)?;
    let packs = fetch::packs_of(&mut world.files, &mut archive)?;
    let volume_count = archive.volumes(&mut world.files)?.len() as u64;
    let stored_bytes = packs.values().fold(0, |sum: u64, pack| {
        sum.saturating_add(pack.length_bytes.into())
    });
    let settings = archive.head.settings;
    let verified_time = verify::verified_time(&mut world.files, &archive, &packs)?;
    world.client.tell(ToClient::Archive(ArchiveSummary {
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

fn list<P: Parts>(
    world: &mut World<P>,
    name: &str,
    only: Option<&str>,
    choice: Option<&SessionChoice>,
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
    let (mut known, mut is_found, mut exit) = (HashMap::new(), false, ExitStatus::Done);
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
        world.client.tell(ToClient::Volume(VolumeLine {
            name: volume.name.clone(),
            size_bytes: volume.size_bytes,
        }))?;
        for session in sessions {
            tell_session(
                &mut world.files,
                &mut world.client,
                &mut archive,
                &volume,
                session,
                &mut known,
            )?;
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

fn tell_session(
    files: &mut impl Files,
    client: &mut impl Client,
    archive: &mut Archive,
    volume: &VolumeEntry,
    session: SessionEntry,
    known: &mut HashMap<Id, bool>,
) -> Result<(), Failure> {
    let damaged = heal::is_damaged(files, archive, &session, known)?;
    let acknowledged = damaged && acknowledge::is_acknowledged(files, archive, volume, &session)?;
    client.tell(ToClient::Session(SessionLine {
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

fn status<P: Parts>(world: &mut World<P>, only: Option<&str>) -> Result<ExitStatus, Failure> {
    let names = match only {
        Some(name) => vec![name.to_owned()],
        None => ArchiveFolder::names(&mut world.files)?,
    };
    each(world, names, status_of)
}

fn status_of<P: Parts>(world: &mut World<P>, name: &str) -> Result<ExitStatus, Failure> {
    tell_snapshots(world, name)?;
    show(world, name)?;
    let mut archive = Archive::open(&mut world.files, &mut world.secrets, name)?;
    let mut known = HashMap::new();
    for (_, volume) in archive.volumes(&mut world.files)? {
        world.client.tell(ToClient::Volume(VolumeLine {
            name: volume.name.clone(),
            size_bytes: volume.size_bytes,
        }))?;
        if let Some(newest) = archive.sessions_at_hand(&mut world.files, &volume)?.pop() {
            tell_session(
                &mut world.files,
                &mut world.client,
                &mut archive,
                &volume,
                newest,
                &mut known,
            )?;
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
    let damage = acknowledge::known_damage(&mut world.files, &mut archive)?;
    acknowledge::tell(&mut world.client, damage.acknowledged)?;
    match damage.new {
        0 => Ok(ExitStatus::Done),
        count => Err(Failure::ProblemsFound { count }),
    }
}

/// Does it for each archive: one that fails is told, and hides no other. The status is the first
/// failure's.
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
fn tell_snapshots<P: Parts>(world: &mut World<P>, name: &str) -> Result<(), Failure> {
    let folder = ArchiveFolder::find(&mut world.files, name)?;
    let volumes = Archive::open(&mut world.files, &mut world.secrets, name)
        .and_then(|mut archive| archive.volumes(&mut world.files));
    world.client.tell(ToClient::SnapshotsOf {
        archive: name.to_owned(),
        id: folder.id().0,
        complete: volumes.is_ok(),
    })?;
    let volumes = volumes.unwrap_or_default();
    let remembered = Origins::read(&mut world.files, &folder).unwrap_or_default();
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

/// What a person keeps on paper: with the passphrase it opens the archive anywhere, and shows that
/// it was not rolled back.
fn recovery_sheet<P: Parts>(world: &mut World<P>, name: &str) -> Result<ExitStatus, Failure> {
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

/// The passphrase is always asked for: the time begins anew only for whoever knows it.
fn unlock<P: Parts>(world: &mut World<P>, name: &str, secs: u64) -> Result<ExitStatus, Failure> {
    if !(1..=UNLOCK_MAX_SECS).contains(&secs) {
        return Err(Failure::BadSetting {
            setting: "the time for which the key is kept".into(),
            allowed: "1s to 24h".into(),
        });
    }
    let mut archive = Archive::open(&mut world.files, &mut world.secrets, name)?;
    let key = archive.unlock(world)?;
    archive.ledger.write(&mut world.files, &archive.folder)?;
    world
        .secrets
        .keep_key(archive.folder.id(), Arc::new(key), secs);
    let until = (world.clock.wall_nanos() / 1_000_000_000).saturating_add(secs);
    world.client.tell(ToClient::Unlocked {
        until: i64::try_from(until).unwrap_or(i64::MAX),
    })?;
    Ok(ExitStatus::Done)
}

/// Wipes the key that is kept of an archive, or all.
fn lock<P: Parts>(world: &mut World<P>, archive: Option<&str>) -> Result<(), Failure> {
    let archive = named_archive(&mut world.files, archive)?;
    world.secrets.wipe_keys(archive);
    Ok(())
}

/// The id of the archive with this name, if one is named.
pub fn named_archive(
    files: &mut impl Files,
    name: Option<&str>,
) -> Result<Option<ArchiveId>, Failure> {
    name.map(|name| Ok(ArchiveFolder::find(files, name)?.id()))
        .transpose()
}

fn key_check<P: Parts>(world: &mut World<P>, name: &str) -> Result<ExitStatus, Failure> {
    let mut archive = Archive::open(&mut world.files, &mut world.secrets, name)?;
    let data_key = archive.unlock(world)?;
    if let Some(fault) =
        fetch::keys_of(&mut world.files, &mut world.client, &mut archive, &data_key)?.fault
    {
        return Err(fault);
    }
    let mut slots = archive.live_slots(&mut world.files)?;
    let opened = archive.ledger.opened.map(|(number, _)| number);
    slots.retain(|slot| Some(slot.clear().number) == opened);
    keys::tell_slots(&mut world.client, &archive, &slots, opened)?;
    Ok(ExitStatus::Done)
}

/// Calls each far end for each service, and has it look for a store that is not there: a helper
/// that says so has been reached.
fn check_far_ends<P: Parts>(
    world: &mut World<P>,
    mut vias: Vec<String>,
) -> Result<ExitStatus, Failure> {
    if vias.is_empty() {
        for name in ArchiveFolder::names(&mut world.files)? {
            vias.push(
                ArchiveFolder::find(&mut world.files, &name)?
                    .read_toml(&mut world.files)?
                    .via,
            );
        }
        vias.sort_unstable();
        vias.dedup();
    }
    let mut failed = Vec::new();
    for via in &vias {
        for service in [Service::Push, Service::Fetch] {
            match world.store.connect(service, via, NO_STORE, false) {
                Err(Failure::StoreMissing { .. }) | Ok(()) => {
                    world.client.tell(ToClient::Reached {
                        via: via.clone(),
                        service: service.qrexec_name().to_owned(),
                    })?;
                }
                Err(Failure::Interrupted) => return Err(Failure::Interrupted),
                Err(failure) => {
                    failed.push(failure.exit());
                    world.client.tell(ToClient::Failed(failure))?;
                }
            }
        }
    }
    Ok(failed.first().copied().unwrap_or(ExitStatus::Done))
}
