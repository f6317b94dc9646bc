// SPDX-License-Identifier: GPL-3.0-or-later
//! One command of a client: which wing does it, and the exit status that it ends with. It does
//! nothing itself.

use wyng_archive::format::{SlotKind, SlotLabel};
use wyng_archive::plan::kept_clock::KeptClock;
use wyng_control::{Abilities, BackupSource, Command, ExitStatus, Failure, ToClient};

use super::kept_qubes::settle_qubes;
use super::outcome::internal;
use super::{admin, backup, copy, kept, locking, look, prune, restore, space, verify};
use crate::state::{ArchiveFolder, Origins, StoreRoom};
use crate::unattended::{Run, unless_too_soon};
use crate::world::{Client, Clock, Files, Parts, Secrets, Store, World};

/// The errno of a read-only file system, `EROFS`.
const READ_ONLY: i32 = 30;

/// Runs a command to its end and returns its exit status. A failure that ended it has been
/// reported.
pub fn run<P: Parts>(world: &mut World<P>, command: Command) -> ExitStatus {
    match execute(world, command) {
        Ok(exit) => exit,
        // The command begins anew, and nothing of this turn is reported.
        Err(failure) if world.client.has_given_back() => failure.exit(),
        Err(failure) => {
            let exit = failure.exit();
            // The client may be gone; then only the status is left to report.
            let _ = world.client.tell(ToClient::Failed(failure));
            exit
        }
    }
}

fn execute<P: Parts>(world: &mut World<P>, command: Command) -> Result<ExitStatus, Failure> {
    if world.files.only_looks() && !works_read_only(&command) {
        // Before anything is sent or read whose result could not be kept.
        return Err(Failure::StateIo {
            file: String::new(),
            errno: READ_ONLY,
        });
    }
    let clock = kept::begin(world, !works_read_only(&command))?;
    let noted = noted(&command).map(str::to_owned);
    let named = command.archive().map(str::to_owned);
    // What a command without an archive heard is nobody's.
    world.store.take_free_mib();
    world.store.take_abilities();
    let outcome = report_clock(world, &command, clock).and_then(|()| carry_out(world, command));
    let exit = outcome.as_ref().map_or_else(Failure::exit, |exit| *exit);
    let counts = matches!(
        exit,
        ExitStatus::Done | ExitStatus::Partial | ExitStatus::Damage
    );
    if let Some(archive) = noted.filter(|_| counts && !world.client.has_given_back()) {
        // The day's record is a hint for `history`, so its failure is not the command's.
        let _ = look::note_day(world, &archive);
    }
    if let Some((archive, free_mib)) = named.as_deref().zip(world.store.take_free_mib()) {
        // The same of the store's free space, a hint for `status`.
        let _ = note_store_room(world, archive, free_mib);
    }
    if let Some(archive) = named.filter(|_| outcome.is_ok()) {
        // The same of what the store can do. After a failure the store may have been another one.
        let _ = note_abilities(world, &archive);
    }
    kept::observe_clock(world);
    outcome
}

/// Notes the free space that the archive's far end stated.
fn note_store_room<P: Parts>(
    world: &mut World<P>,
    archive: &str,
    free_mib: u32,
) -> Result<(), Failure> {
    if world.files.only_looks() {
        return Ok(());
    }
    let folder = ArchiveFolder::find(&mut world.files, archive)?;
    let wall_secs = world.clock.wall_secs();
    StoreRoom {
        free_mib,
        wall_secs,
    }
    .write(&mut world.files, &folder)
}

/// Notes what the archive's far end stated about the store, and what a trial showed.
fn note_abilities<P: Parts>(world: &mut World<P>, archive: &str) -> Result<(), Failure> {
    let abilities = world.store.take_abilities();
    if world.files.only_looks() || abilities == Abilities::default() {
        return Ok(());
    }
    let folder = ArchiveFolder::find(&mut world.files, archive)?;
    let mut toml = folder.read_toml(&mut world.files)?;
    let (known, now) = (toml.abilities(), abilities.or(toml.abilities()));
    if known == now {
        return Ok(());
    }
    toml.note_abilities(now);
    folder.write_toml(&mut world.files, &toml)
}

/// Reports a jump of the wall clock in commands that a person reads and in backups, which are dated
/// by it. A person may accept the jump first.
fn report_clock<P: Parts>(
    world: &mut World<P>,
    command: &Command,
    mut clock: KeptClock,
) -> Result<(), Failure> {
    match command {
        Command::Backup { .. } => {}
        Command::Status { trust_clock, .. } => {
            kept::warn_of_loss(world)?;
            if *trust_clock {
                clock = kept::trust_clock(world, clock)?;
                locking::trust_wall(world)?;
            }
        }
        _ => return Ok(()),
    }
    kept::warn_of_jump(&mut world.client, &clock)
}

fn carry_out<P: Parts>(world: &mut World<P>, command: Command) -> Result<ExitStatus, Failure> {
    match command {
        Command::ArchiveCreate { .. }
        | Command::ArchiveOpen { .. }
        | Command::ArchiveTakeOver { .. }
        | Command::ArchiveCopy { .. }
        | Command::ArchiveForget { .. }
        | Command::ArchiveAcknowledge { .. } => about_archive(world, command),
        Command::Backup { .. }
        | Command::Monitor { .. }
        | Command::Restore { .. }
        | Command::RestoreQubes { .. }
        | Command::Rehearse { .. }
        | Command::Diff { .. }
        | Command::Verify { .. } => about_volumes(world, command),
        Command::Prune { .. }
        | Command::SessionRemove { .. }
        | Command::VolumeRemove { .. }
        | Command::Pin { .. }
        | Command::Compact { .. }
        | Command::Undelete { .. } => about_sessions(world, command),
        Command::KeyList { .. }
        | Command::KeyAdd { .. }
        | Command::KeyChange { .. }
        | Command::KeyRemove { .. }
        | Command::KeyCheck { .. }
        | Command::Unlock { .. }
        | Command::Lock { .. } => about_keys(world, command),
        Command::SettleQubes {
            archive,
            qubes,
            end,
        } => settle_qubes(world, &archive, &qubes, end),
        Command::VolumeRename { .. } | Command::VolumeDescribe { .. } | Command::Tag { .. } => {
            about_entries(world, command)
        }
        Command::ArchiveList => look::archives(world),
        Command::ArchiveNames => look::names(world),
        Command::ArchiveShow { archive } => look::show(world, &archive),
        Command::List {
            archive,
            volume,
            session,
            sizes,
        } => look::sessions(world, &archive, volume.as_deref(), session.as_ref(), sizes),
        Command::Why { archive } => look::why(world, &archive),
        Command::History { archive } => look::history(world, &archive),
        Command::Status { archive, .. } => look::status(world, archive.as_deref()),
        Command::Snapshots { archive, .. } => look::snapshots(world, archive.as_deref()),
        Command::RecoverySheet { archive } => look::recovery_sheet(world, &archive),
        Command::ThinList { .. } | Command::ThinRemove { .. } => {
            Err(internal("a command that the pool role answers"))
        }
        Command::QubesCheck { vias } => look::check_far_ends(world, vias),
        Command::StoreCheck {
            store_url,
            via,
            credentials,
        } => {
            let request = admin::CheckRequest {
                store: store_url,
                via,
                credentials,
            };
            admin::check_store(world, &request)
        }
    }
}

fn about_archive<P: Parts>(world: &mut World<P>, command: Command) -> Result<ExitStatus, Failure> {
    match command {
        Command::ArchiveCreate {
            archive,
            store_url,
            via,
            verify_via,
            credentials,
            chunk_size_bytes,
            pack_size_bytes,
            compression,
            hold_off,
            minimum_age_secs,
            shared_domain,
            kdf_memory_kib,
            kdf_passes,
        } => {
            let settings = admin::CreateSettings {
                chunk_size_bytes,
                pack_size_bytes,
                zstd_level: compression.zstd_level,
                hold_off_runs: hold_off.runs,
                hold_off_secs: hold_off.secs,
                minimum_age_secs,
                shared_domain,
                kdf_memory_kib,
                kdf_passes,
            };
            let request = admin::CreateRequest {
                name: archive,
                store: store_url,
                via,
                verify_via,
                credentials,
                settings,
            };
            admin::create(world, &request)?;
            let _ = note_abilities(world, &request.name); // a hint, as above
            look::show(world, &request.name)
        }
        Command::ArchiveOpen {
            archive,
            store_url,
            via,
            verify_via,
            credentials,
            expect,
            before,
        } => {
            let request = admin::OpenRequest {
                name: archive,
                store: store_url,
                via,
                verify_via,
                credentials,
                expect,
                before,
            };
            let opened = admin::open(world, &request)?;
            let _ = note_abilities(world, &request.name); // the same
            let shown = look::show(world, &request.name)?;
            opened.failure().map_or(Ok(shown), Err)
        }
        Command::ArchiveTakeOver {
            archive,
            promote,
            other_writer_is_gone,
        } => {
            let other = admin::OtherWriter::said(other_writer_is_gone);
            match promote {
                true => admin::promote(world, &archive, other)?,
                false => admin::take_over(world, &archive, other)?,
            }
            let _ = note_abilities(world, &archive); // the same
            look::show(world, &archive)
        }
        Command::ArchiveCopy {
            archive,
            store_url,
            via,
            credentials,
            anew,
        } => {
            let request = copy::CopyRequest {
                name: archive,
                store: store_url,
                via,
                credentials,
                anew,
            };
            copy::copy(world, &request)?;
            Ok(ExitStatus::Done)
        }
        Command::ArchiveForget { archive } => forget(world, &archive),
        Command::ArchiveAcknowledge { archive } => verify::acknowledge(world, &archive),
        _ => Err(internal("a command that is not about an archive")),
    }
}

fn forget<P: Parts>(world: &mut World<P>, archive: &str) -> Result<ExitStatus, Failure> {
    let folder = ArchiveFolder::find(&mut world.files, archive)?;
    look::snapshots_of(world, archive)?;
    world.secrets.wipe_keys(Some(folder.id()));
    folder.forget(&mut world.files, archive)?;
    Ok(ExitStatus::Done)
}

fn about_volumes<P: Parts>(world: &mut World<P>, command: Command) -> Result<ExitStatus, Failure> {
    match command {
        Command::Backup {
            archive,
            sources,
            qubes,
            skip_unchanged,
            dry_run,
            live,
            heal,
            unattended,
            verify,
            max_new_bytes,
            prune_after,
        } => {
            let request = backup::BackupRequest {
                archive,
                sources,
                qubes,
                skip_unchanged,
                dry_run,
                live,
                heal,
                verify,
                max_new_bytes,
                prune_after,
                commit_after_bytes: backup::COMMIT_AFTER_BYTES,
            };
            let timer = unattended.as_ref().filter(|_| !dry_run);
            let back_up = |world: &mut World<P>| backup::back_up(world, &request);
            unless_too_soon(world, &request.archive, Run::Backup, timer, back_up)
        }
        Command::Monitor { archive, sources } => {
            backup::monitor(world, &backup::MonitorRequest { archive, sources })
        }
        Command::Restore { .. } => restore_volumes(world, command),
        Command::RestoreQubes {
            archive,
            wish,
            session,
            dry_run,
        } => {
            let request = restore::QubesRequest {
                archive,
                wish,
                session,
                dry_run,
            };
            restore::restore_qubes(world, &request)
        }
        Command::Rehearse { archive, volume } => {
            restore::rehearse(world, &archive, volume.as_deref())
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
            let request = restore::DiffRequest {
                archive,
                source,
                session,
                with,
            };
            restore::compare(world, &request)
        }
        Command::Verify {
            archive,
            volumes,
            session,
            deep,
            budget_bytes,
            unattended,
        } => {
            let request = verify::VerifyRequest {
                archive,
                volumes,
                session,
                deep,
                budget_bytes,
            };
            let verify = |world: &mut World<P>| verify::verify(world, &request);
            let timer = unattended.as_ref();
            unless_too_soon(world, &request.archive, Run::Verify, timer, verify)
        }
        _ => Err(internal("a command that is not about volumes")),
    }
}

/// A restore, with the places that this machine remembers.
fn restore_volumes<P: Parts>(
    world: &mut World<P>,
    command: Command,
) -> Result<ExitStatus, Failure> {
    let Command::Restore {
        archive,
        volumes,
        session,
        in_place,
        quick,
        dry_run,
        around_damage,
    } = command
    else {
        return Err(internal("a command that restores nothing"));
    };
    let folder = ArchiveFolder::find(&mut world.files, &archive)?;
    // A person who names the target need not know where the volume was.
    let origins = match Origins::read(&mut world.files, &folder) {
        Err(Failure::StateDamaged { .. }) if !in_place => Origins::default(),
        origins => origins?,
    };
    let request = restore::RestoreRequest {
        archive,
        volumes,
        session,
        in_place,
        quick,
        dry_run,
        around_damage,
        origins,
    };
    restore::restore(world, &request)
}

fn about_sessions<P: Parts>(world: &mut World<P>, command: Command) -> Result<ExitStatus, Failure> {
    match command {
        Command::Prune {
            archive,
            volumes,
            rules,
            dry_run,
            unattended,
            trust_clock,
        } => {
            let request = prune::PruneRequest {
                archive,
                volumes,
                rules,
                dry_run,
                unattended,
                trust_clock,
            };
            return prune::prune(world, &request);
        }
        Command::Compact {
            archive,
            budget_bytes,
            orphans,
        } => {
            let request = space::CompactRequest {
                archive,
                budget_bytes,
                orphans,
            };
            return space::compact(world, &request);
        }
        Command::Undelete {
            archive,
            volume,
            session,
        } => {
            let request = space::UndeleteRequest {
                archive,
                volume,
                session,
            };
            return space::undelete(world, &request);
        }
        Command::SessionRemove {
            archive,
            volume,
            sessions,
            dry_run,
        } => prune::remove_sessions(world, &archive, &volume, &sessions, dry_run),
        Command::VolumeRemove {
            archive,
            volume,
            dry_run,
        } => prune::remove_volume(world, &archive, &volume, dry_run),
        Command::Pin {
            archive,
            volume,
            session,
            pinned,
        } => prune::pin(world, &archive, &volume, &session, pinned),
        _ => Err(internal("a command that is not about sessions")),
    }
    .map(|()| ExitStatus::Done)
}

fn about_keys<P: Parts>(world: &mut World<P>, command: Command) -> Result<ExitStatus, Failure> {
    match command {
        Command::KeyList { archive } => admin::list(world, &archive),
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
            let wish = new_slot(label, kdf_memory_kib, kdf_passes)?;
            admin::add(world, &archive, kind, &wish)
        }
        Command::KeyChange {
            archive,
            label,
            kdf_memory_kib,
            kdf_passes,
        } => {
            let wish = new_slot(label, kdf_memory_kib, kdf_passes)?;
            admin::change(world, &archive, &wish)
        }
        Command::KeyRemove { archive, number } => admin::remove(world, &archive, number),
        Command::KeyCheck { archive } => return admin::key_check(world, &archive),
        Command::Unlock { archive, secs } => return admin::unlock(world, &archive, secs),
        Command::Lock { archive } => admin::lock(world, archive.as_deref()),
        _ => Err(internal("a command that is not about keys")),
    }
    .map(|()| ExitStatus::Done)
}

fn about_entries<P: Parts>(world: &mut World<P>, command: Command) -> Result<ExitStatus, Failure> {
    match command {
        Command::VolumeRename {
            archive,
            volume,
            new,
        } => admin::rename(world, &archive, &volume, &new),
        Command::VolumeDescribe {
            archive,
            volume,
            text,
        } => admin::describe(world, &archive, &volume, &text),
        Command::Tag {
            archive,
            volume,
            session,
            remove,
            tags,
        } => {
            let change = if remove {
                admin::SessionChange::RemoveTags(tags)
            } else {
                admin::SessionChange::AddTags(tags)
            };
            admin::change_session(world, &archive, &volume, &session, &change)
        }
        _ => Err(internal("a command that is not about an entry")),
    }
    .map(|()| ExitStatus::Done)
}

fn new_slot(
    label: Option<String>,
    memory_kib: Option<u32>,
    passes: Option<u32>,
) -> Result<admin::NewSlot, Failure> {
    Ok(admin::NewSlot {
        memory_kib,
        passes,
        label: slot_label(label)?,
    })
}

fn slot_label(text: Option<String>) -> Result<Option<SlotLabel>, Failure> {
    let bad = || Failure::BadSetting {
        setting: "the label".into(),
        allowed: "at most 32 bytes, without control characters".into(),
    };
    text.map(|text| SlotLabel::new(&text).ok_or_else(bad))
        .transpose()
}

/// The archive whose day is noted at the end of a command: it added, removed or checked something.
fn noted(command: &Command) -> Option<&str> {
    let notes = matches!(
        command,
        Command::Backup { dry_run: false, .. }
            | Command::Prune { dry_run: false, .. }
            | Command::SessionRemove { dry_run: false, .. }
            | Command::VolumeRemove { dry_run: false, .. }
            | Command::Compact { .. }
            | Command::Undelete { .. }
            | Command::Verify { .. }
    );
    command.archive().filter(|_| notes)
}

/// Whether a command does all that it is asked although the state directory can only be read.
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
        || matches!(
            command,
            Command::QubesCheck { .. } | Command::StoreCheck { .. } | Command::Lock { .. }
        )
}
