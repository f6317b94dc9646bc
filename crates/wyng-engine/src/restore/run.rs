// SPDX-License-Identifier: GPL-3.0-or-later
//! The mirror of a backup: look at the target, commit, node, record, check, write, read back. A
//! target gets its name only when every byte of it is right and durable.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use wyng_archive::crypto::{Id, SessionKey};
use wyng_archive::format::{ContentTree, SessionEntry, VolumeEntry};
use wyng_archive::plan::Walk;
use wyng_control::{
    BaseOf, ExitStatus, Failure, Phase, Remembered, RestoreReport, SessionChoice, TargetFound,
    TargetKind, TargetLook, ToClient,
};
use wyng_wire::Service;

use super::around;
use super::differences::{Comparison, Found, Place, Reading};
use super::replace::{Changes, Context, Replacement};
use super::walk::{WINDOW_BYTES, data_bytes, for_each_chunk, next_window};
use crate::archive::{Archive, content_root, session_name};
use crate::outcome::{exit_of, is_of_one_target, report};
use crate::pool::Pool;
use crate::state::{Origins, Said};
use crate::store::{ChunkReader, Opened, Packs, Wanted, is_damaged, keys_of, packs_of};
use crate::world::{Client, Errno, Files, Parts, Store, TargetShape, TargetWish, Volumes, World};

/// What a restore was asked for.
pub struct RestoreRequest {
    /// The archive's name.
    pub archive: String,
    /// The volumes; empty: all that have the session.
    pub volumes: Vec<String>,
    /// Which session of each.
    pub session: SessionChoice,
    /// The targets are changed where they are.
    pub in_place: bool,
    /// What a base snapshot says is the same is not read.
    pub quick: bool,
    /// Reports what would be done; changes nothing.
    pub dry_run: bool,
    /// Lost ranges become zeros, and are reported.
    pub around_damage: bool,
    /// Where each volume was backed up from.
    pub origins: Origins,
}

/// A session of a volume, and what was found where it goes.
struct Planned {
    item: u32,
    volume: VolumeEntry,
    session: SessionEntry,
    path: String,
    found: TargetFound,
}

/// What opens chunks: the head's packs, and its session keys.
struct Openers {
    packs: Arc<Packs>,
    keys: Arc<HashMap<u32, SessionKey>>,
}

/// How the restore of one volume failed.
struct Ended {
    failure: Failure,
    /// Another volume may still be restored.
    others_go_on: bool,
}

/// Restores volumes. A volume that fails is reported and leaves no target; the others go on. Every
/// target is looked at before the passphrase is asked for.
pub fn restore<P: Parts>(
    world: &mut World<P>,
    request: &RestoreRequest,
) -> Result<ExitStatus, Failure> {
    let mut archive = Archive::open(&mut world.files, &mut world.secrets, &request.archive)?;
    let (mut failed, mut went_around) = (Vec::new(), false);
    let chosen = choose(
        &mut world.files,
        &mut world.client,
        &mut archive,
        request,
        &mut failed,
    )?;
    let asked = chosen.len().saturating_add(failed.len());
    if request.around_damage {
        around::begin(&mut archive);
    }
    let mut planned = Vec::new();
    // New files of one command lie in one folder, so they share its room.
    let mut taken_bytes = 0;
    for (item, (volume, session)) in (0..).zip(chosen) {
        match look(
            world,
            &mut archive,
            request,
            item,
            (volume, session),
            &mut taken_bytes,
        ) {
            Ok(plan) => planned.push(plan),
            Err(failure) if is_of_one_target(&failure) => {
                failed.push(failure.exit());
                world.client.tell(ToClient::Failed(failure))?;
            }
            Err(failure) => return Err(failure),
        }
    }
    if planned.is_empty() {
        return Ok(exit_of(&failed, asked));
    }
    let mut pool = Pool::for_machine(archive.head.settings.zstd_level)?;
    if request.dry_run {
        for plan in &planned {
            match estimate(world, &mut archive, &mut pool, request, plan) {
                Ok(report) => world.client.tell(ToClient::Restored(report))?,
                Err(failure) if is_of_one_target(&failure) => {
                    failed.push(failure.exit());
                    world.client.tell(ToClient::Failed(failure))?;
                }
                Err(failure) => return Err(failure),
            }
        }
        return Ok(exit_of(&failed, asked));
    }
    let data_key = archive.data_key(world)?;
    let keys =
        Arc::new(keys_of(&mut world.files, &mut world.client, &mut archive, &data_key)?.keys);
    let openers = Openers {
        packs: Arc::new(packs_of(&mut world.files, &mut archive)?),
        keys,
    };
    archive.connect(&mut world.store, Service::Fetch)?;
    for plan in &planned {
        match restore_volume(world, &mut archive, &mut pool, &openers, request, plan) {
            Ok(report) => {
                let (volume, lost_bytes) = (report.name.clone(), report.lost_bytes);
                world.client.tell(ToClient::Restored(report))?;
                if lost_bytes > 0 {
                    went_around = true;
                    world
                        .client
                        .tell(ToClient::Failed(Failure::RestoredAround {
                            volume,
                            lost_bytes,
                        }))?;
                }
            }
            Err(Ended {
                failure,
                others_go_on: true,
            }) => {
                failed.push(failure.exit());
                world.client.tell(ToClient::Failed(failure))?;
            }
            Err(Ended { failure, .. }) => return Err(failure),
        }
    }
    world.store.finish_fetch()?;
    Ok(if went_around {
        ExitStatus::Damage
    } else {
        exit_of(&failed, asked)
    })
}

/// What is to be restored. A volume whose list of sessions is lost is reported, and counts as
/// failed.
fn choose(
    files: &mut impl Files,
    client: &mut impl Client,
    archive: &mut Archive,
    request: &RestoreRequest,
    failed: &mut Vec<ExitStatus>,
) -> Result<Vec<(VolumeEntry, SessionEntry)>, Failure> {
    let volumes = archive.volumes(files)?;
    let all = request.volumes.is_empty();
    let mut wanted: Vec<VolumeEntry> = Vec::new();
    let mut named = HashSet::new();
    for name in request.volumes.iter().filter(|name| named.insert(*name)) {
        let unknown = || Failure::UnknownVolume {
            volume: name.clone(),
        };
        let (_, volume) = volumes
            .iter()
            .find(|(_, volume)| volume.name == *name)
            .ok_or_else(unknown)?;
        wanted.push(volume.clone());
    }
    if all {
        wanted.extend(volumes.into_iter().map(|(_, volume)| volume));
    }
    let mut chosen = Vec::new();
    for volume in wanted {
        match archive.choose(files, &volume, &request.session) {
            Ok(session) => chosen.push((volume, session)),
            Err(Failure::UnknownSession { .. }) if all => {}
            Err(failure @ Failure::SessionsLost { .. }) => {
                failed.push(failure.exit());
                client.tell(ToClient::Failed(failure))?;
            }
            Err(failure) => return Err(failure),
        }
    }
    if chosen.is_empty() && failed.is_empty() {
        return Err(Failure::NoSession {
            session: request.session.to_string(),
        });
    }
    Ok(chosen)
}

/// Finds what would end the restore of a volume later: a session that is known to be damaged, and
/// whatever the caller finds at the target. `taken_bytes` of the room there are for targets that
/// were looked at before.
fn look<P: Parts>(
    world: &mut World<P>,
    archive: &mut Archive,
    request: &RestoreRequest,
    item: u32,
    (volume, session): (VolumeEntry, SessionEntry),
    taken_bytes: &mut u64,
) -> Result<Planned, Failure> {
    if !request.around_damage
        && is_damaged(&mut world.files, archive, &session, &mut HashMap::new())?
    {
        return Err(Failure::SessionDamaged {
            volume: volume.name,
            session: session_name(session.time),
        });
    }
    let wish = wish(&world.client, archive, request, &volume, &session);
    let TargetLook { path, found } = world.volumes.look_at_target(item, &wish)?;
    let found = found.map_err(|fault| fault.of_volume(&volume.name, &path, session.size_bytes))?;
    check_place(request, &volume.name, found.remembered.as_ref())?;
    if let Some(free_bytes) = found.free_bytes {
        let free_bytes = free_bytes.saturating_sub(*taken_bytes);
        let needed_bytes = if found.keeps_holes {
            data_bytes(&mut world.files, &mut world.client, archive, &session)?
        } else {
            session.size_bytes
        };
        if needed_bytes > free_bytes {
            return Err(Failure::TargetNoRoom {
                volume: volume.name,
                path,
                free_bytes,
                needed_bytes,
            });
        }
        // A file that is replaced gives back its own room when its turn is over.
        if !found.holds_bytes {
            *taken_bytes = taken_bytes.saturating_add(needed_bytes);
        }
    }
    Ok(Planned {
        item,
        volume,
        session,
        path,
        found,
    })
}

/// A place that the person did not name for this very command must be where the volume was backed
/// up from.
fn check_place(
    request: &RestoreRequest,
    volume: &str,
    remembered: Option<&Remembered>,
) -> Result<(), Failure> {
    let Some(Remembered { origin, configured }) = remembered else {
        return Ok(());
    };
    let said = if *configured {
        Said::Configured
    } else {
        Said::Path
    };
    request.origins.check(volume, origin, said)
}

fn wish<'a>(
    client: &impl Client,
    archive: &Archive,
    request: &'a RestoreRequest,
    volume: &'a VolumeEntry,
    session: &SessionEntry,
) -> TargetWish<'a> {
    TargetWish {
        volume: &volume.name,
        session: session.time,
        size_bytes: session.size_bytes,
        base_of: BaseOf {
            archive: archive.folder.id().0,
            volume: volume.id.0,
        },
        in_place: request.in_place,
        origin: request.origins.path_of(&volume.name, client.uid()),
    }
}

/// The chunks that a target which holds something lacks, and the bytes that would be written to it:
/// what is there is read.
fn differing<P: Parts>(
    world: &mut World<P>,
    archive: &mut Archive,
    pool: &mut Pool,
    request: &RestoreRequest,
    plan: &Planned,
) -> Result<(Vec<(u64, Id)>, u64), Failure> {
    let Planned {
        item,
        volume,
        session,
        ..
    } = plan;
    let (mut wanted, mut written_bytes) = (Vec::new(), 0u64);
    let TargetWish {
        base_of, origin, ..
    } = wish(&world.client, archive, request, volume, session);
    let shape = world
        .volumes
        .open_source(*item, &volume.name, &base_of, origin)?;
    let domain = Arc::new(archive.credential.domain(session.domain));
    let there_bytes = shape.size_bytes;
    let comparison = Comparison {
        item: *item,
        place: Place::Source,
        there_bytes,
        base: None,
        volume,
        session,
        domain: &domain,
    };
    let mut reading = Reading::of(session);
    let all = |from| (from < session.chunk_count()).then_some(from..session.chunk_count());
    while let Some(batch) = reading.next(world, archive, pool, &comparison, &all)? {
        let differing = batch
            .chunks
            .iter()
            .filter(|chunk| chunk.found != Found::Same);
        for (index, expected) in differing.map(|chunk| (chunk.index, chunk.expected)) {
            written_bytes = written_bytes.saturating_add(session.chunk_bytes(index).into());
            wanted.extend(expected.map(|id| (index, id)));
        }
        reading.give_back(batch);
        report(
            &mut world.client,
            Phase::Reading,
            &volume.name,
            reading
                .position()
                .saturating_mul(session.chunk_size_bytes.into()),
            session.size_bytes,
        );
        if world.client.cancelled() {
            return Err(Failure::Interrupted);
        }
    }
    world.volumes.close_source(*item);
    Ok((wanted, written_bytes))
}

/// What a restore would fetch and write: all of the session, or what differs from what is there,
/// which is read.
fn estimate<P: Parts>(
    world: &mut World<P>,
    archive: &mut Archive,
    pool: &mut Pool,
    request: &RestoreRequest,
    plan: &Planned,
) -> Result<RestoreReport, Failure> {
    let Planned {
        item,
        volume,
        session,
        path,
        found,
    } = plan;
    let (wanted, written_bytes) = if found.holds_bytes {
        differing(world, archive, pool, request, plan)?
    } else {
        let (mut wanted, mut written_bytes) = (Vec::new(), 0u64);
        for_each_chunk(
            &mut world.files,
            &mut world.client,
            archive,
            session,
            |index, id| {
                written_bytes = written_bytes.saturating_add(session.chunk_bytes(index).into());
                wanted.push((index, id));
                Ok(())
            },
        )?;
        (wanted, written_bytes)
    };
    let mut fetched_bytes = 0u64;
    for (_, id) in &wanted {
        let record = archive.cache.index.find(&mut world.files, id)?;
        fetched_bytes =
            fetched_bytes.saturating_add(record.map_or(0, |record| record.length_bytes.into()));
    }
    let lost_bytes = if request.around_damage {
        let lost = around::known_lost(
            &mut world.files,
            &mut world.client,
            archive,
            session,
            &wanted,
        )?;
        around::tell_lost(&mut world.client, &volume.name, session, &lost)?
    } else {
        0
    };
    let name = volume.name.clone();
    Ok(RestoreReport {
        item: *item,
        name,
        session: session.time,
        path: path.clone(),
        written_bytes,
        fetched_bytes,
        damaged_bytes: 0,
        unread_bytes: 0,
        lost_bytes,
    })
}

fn restore_volume<P: Parts>(
    world: &mut World<P>,
    archive: &mut Archive,
    pool: &mut Pool,
    openers: &Openers,
    request: &RestoreRequest,
    plan: &Planned,
) -> Result<RestoreReport, Ended> {
    let Planned {
        item,
        volume,
        session,
        path,
        ..
    } = plan;
    let credential = Arc::clone(&archive.credential);
    let domain = Arc::new(credential.domain(session.domain));
    let wish = wish(&world.client, archive, request, volume, session);
    let lost = if request.around_damage {
        Some(around::below_lost_nodes(
            &mut world.files,
            &mut world.client,
            archive,
            session,
        )?)
    } else {
        None
    };
    let TargetShape {
        kind,
        there,
        remembered,
    } = world.volumes.open_target(*item, &wish, path)?;
    check_place(request, &volume.name, remembered.as_ref())?;
    let mut reader = ChunkReader::new(&credential, &openers.packs, &openers.keys, &domain);
    if let Some(lost) = lost {
        reader.go_around_damage(lost);
    }
    let mut changes = Changes::none(session);
    let replacement = Replacement {
        item: *item,
        kind,
        there,
        volume,
        session,
        domain: &domain,
        path,
        quick: request.quick,
    };
    let written = {
        let mut parts = Context {
            world: &mut *world,
            archive,
            pool,
            reader: &mut reader,
        };
        match kind {
            TargetKind::Stream => write_stream(
                &mut parts,
                &mut Stream::new(*item, session),
                volume,
                session,
                &mut changes,
            ),
            TargetKind::File | TargetKind::Device => replacement.write(&mut parts, &mut changes),
        }
    };
    let (fetched_bytes, lost) = (reader.fetched_bytes, reader.take_lost());
    // What is still under way must not become the answer to a later question.
    let written = reader.abandon(&mut world.store).and(written);
    if changes.base_is_wrong {
        world.volumes.drop_base(*item)?;
    }
    let placed = written.and_then(|()| world.volumes.place_target(*item, &volume.name, path));
    let ended = match placed {
        Ok(()) => Ok(RestoreReport {
            item: *item,
            name: volume.name.clone(),
            session: session.time,
            path: path.clone(),
            written_bytes: changes.written_bytes,
            fetched_bytes,
            damaged_bytes: changes.damaged_bytes,
            unread_bytes: changes.unread_bytes,
            lost_bytes: 0,
        }),
        Err(failure) => Err(end(
            &mut world.volumes,
            &replacement,
            &changes,
            about(failure, &volume.name),
        )?),
    };
    world.volumes.close_target(*item);
    let mut report = ended?;
    if let Some(lost) = lost {
        report.lost_bytes = around::tell_lost(&mut world.client, &volume.name, session, &lost)?;
    }
    Ok(report)
}

/// A target that is changed where it is becomes again what it was, as far as that can be; the
/// failure says what it is now.
fn end(
    volumes: &mut impl Volumes,
    replacement: &Replacement<'_>,
    changes: &Changes,
    failure: Failure,
) -> Result<Ended, Failure> {
    let others_go_on = is_of_one_target(&failure);
    let is_in_place = replacement.there.is_some_and(|there| there.in_place);
    let failure = if !is_in_place {
        failure
    } else if replacement.undo(volumes, changes)? {
        match failure {
            Failure::TargetWrite {
                volume,
                path,
                errno,
            } => Failure::TargetWriteUndone {
                volume,
                path,
                errno,
            },
            other => other,
        }
    } else {
        let (volume, path) = (replacement.volume.name.clone(), replacement.path.to_owned());
        Failure::TargetUnfinished {
            volume,
            path,
            why: failure.to_string(),
            exit: failure.exit(),
        }
    };
    Ok(Ended {
        failure,
        others_go_on,
    })
}

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Self {
        Self {
            others_go_on: is_of_one_target(&failure),
            failure,
        }
    }
}

/// Asks for the chunks of a session window by window, and writes them one after the other.
fn write_stream<P: Parts>(
    parts: &mut Context<'_, P>,
    stream: &mut Stream,
    volume: &VolumeEntry,
    session: &SessionEntry,
    changes: &mut Changes,
) -> Result<(), Failure> {
    let not_written = |error| match error {
        Errno::CANCELED => Failure::Interrupted,
        Errno(errno) => Failure::OutputWrite {
            volume: volume.name.clone(),
            errno,
        },
    };
    let mut walk = Walk::<ContentTree>::from(&content_root(session), 0);
    let mut at_end = false;
    loop {
        while !at_end && parts.reader.wants_more() && stream.has_room() {
            let window = next_window(&mut parts.world.files, parts.archive, &mut walk, session)?;
            at_end = window.is_empty();
            stream.expect(&window);
            parts
                .reader
                .want(&mut parts.world.files, parts.archive, &window)?;
        }
        match parts.reader.next(&mut parts.world.store, parts.pool)? {
            Some(opened) => {
                for chunk in opened {
                    let written = stream
                        .take(&mut parts.world.volumes, chunk)
                        .map_err(not_written)?;
                    changes.written_bytes =
                        written.iter().fold(changes.written_bytes, |sum, chunk| {
                            sum.saturating_add(chunk.len() as u64)
                        });
                    parts.reader.give_back(written);
                }
            }
            None if at_end => {
                return parts
                    .world
                    .volumes
                    .finish_target(stream.item, session.size_bytes)
                    .map_err(not_written);
            }
            None => {}
        }
        report(
            &mut parts.world.client,
            Phase::Restoring,
            &volume.name,
            changes.written_bytes,
            session.size_bytes,
        );
        if parts.world.client.cancelled() {
            return Err(Failure::Interrupted);
        }
    }
}

/// Chunks come in the order of the store, and a stream waits for the next one in the volume's
/// order.
struct Stream {
    item: u32,
    chunk_size_bytes: u64,
    /// Indices that are still waited for, with the chunks that came too early.
    waiting: BTreeMap<u64, Option<Vec<u8>>>,
    waiting_max: usize,
}

impl Stream {
    fn new(item: u32, session: &SessionEntry) -> Self {
        let chunk_size_bytes = u64::from(session.chunk_size_bytes);
        let waiting_max = usize::try_from(WINDOW_BYTES / chunk_size_bytes).unwrap_or(usize::MAX);
        Self {
            item,
            chunk_size_bytes,
            waiting: BTreeMap::new(),
            waiting_max,
        }
    }

    /// May another window be asked for? Memory is bounded by what is waited for.
    fn has_room(&self) -> bool {
        self.waiting.len() <= self.waiting_max
    }

    fn expect(&mut self, window: &[Wanted]) {
        self.waiting
            .extend(window.iter().map(|wanted| (wanted.index, None)));
    }

    /// Gives back what was written, to be filled again.
    fn take(&mut self, volumes: &mut impl Volumes, opened: Opened) -> Result<Vec<Vec<u8>>, Errno> {
        let mut written = Vec::new();
        self.waiting.insert(opened.index, Some(opened.chunk));
        while let Some(next) = self.waiting.first_entry()
            && next.get().is_some()
        {
            let (index, chunk) = next.remove_entry();
            let chunk = chunk.unwrap_or_default();
            volumes.write_target(
                self.item,
                index.saturating_mul(self.chunk_size_bytes),
                &chunk,
            )?;
            written.push(chunk);
        }
        Ok(written)
    }
}

/// Names the volume in a failure that knew only the object.
fn about(failure: Failure, name: &str) -> Failure {
    match failure {
        Failure::Missing { class, object, .. } => Failure::Missing {
            class,
            object,
            volume: Some(name.to_owned()),
        },
        Failure::Damaged {
            class,
            object,
            what,
            ..
        } => Failure::Damaged {
            class,
            object,
            what,
            volume: Some(name.to_owned()),
        },
        other => other,
    }
}
