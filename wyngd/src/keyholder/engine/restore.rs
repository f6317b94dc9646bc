// SPDX-License-Identifier: GPL-3.0-or-later
//! The mirror of a backup: commit, node, record, check, write. A target gets its name only when every byte of it is right and durable.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use wyng_archive::crypto::SessionKey;
use wyng_archive::format::{ContentTree, SessionEntry, VolumeEntry};
use wyng_archive::plan::Walk;
use wyng_control::{BaseOf, ExitStatus, Failure, Phase, Progress, Remembered, RestoreReport, SessionChoice, TargetKind, ToClient};
use wyng_wire::Service;

use super::archive::Archive;
use super::backup::exit_of;
use super::catalog::{content_root, session_name};
use super::fetch::{ChunkReader, Opened, Packs, Wanted, keys_of, packs_of};
use super::pool::Pool;
use super::replace::Replacement;
use crate::keyholder::state::{Origins, Said};
use crate::keyholder::world::{Errno, TargetShape, TargetWish, World};

/// So much of a volume is sorted by place before it is read. A stream holds at most two of these in memory.
pub(super) const WINDOW_BYTES: u64 = 16 << 20;

/// What a restore was asked for.
pub struct Request {
    /// The archive's name.
    pub archive: String,
    /// The volumes; empty: all that have the session.
    pub volumes: Vec<String>,
    /// Which session of each.
    pub session: SessionChoice,
    /// The targets are changed where they are.
    pub in_place: bool,
    /// Where each volume was backed up from.
    pub origins: Origins,
}

/// Restores volumes. A volume that fails is told and leaves no target; the others go on.
pub fn restore<W: World>(world: &mut W, request: &Request) -> Result<ExitStatus, Failure> {
    let mut archive = Archive::open(world, &request.archive)?;
    let chosen = choose(world, &mut archive, request)?;
    let data_key = archive.data_key(world)?;
    let keys = Arc::new(keys_of(world, &mut archive, &data_key)?);
    let packs = Arc::new(packs_of(world, &mut archive)?);
    world.connect(Service::Fetch, &archive.toml.via, &archive.toml.store, false)?;
    let mut pool = Pool::for_machine(archive.head.settings.zstd_level)?;
    let mut failed = Vec::new();
    for (item, (volume, session)) in (0..).zip(&chosen) {
        match restore_volume(world, &mut archive, &mut pool, &packs, &keys, item, request, volume, session) {
            Ok(report) => world.tell(ToClient::Restored(report))?,
            Err(failure) if is_of_one_volume(&failure) => {
                failed.push(failure.exit());
                world.tell(ToClient::Failed(about(failure, &volume.name)))?;
            }
            Err(failure) => return Err(about(failure, &volume.name)),
        }
    }
    world.finish_fetch()?;
    Ok(exit_of(&failed, chosen.len()))
}

fn choose<W: World>(world: &mut W, archive: &mut Archive, request: &Request) -> Result<Vec<(VolumeEntry, SessionEntry)>, Failure> {
    let volumes = archive.volumes(world)?;
    let mut chosen = Vec::new();
    for name in &request.volumes {
        let unknown = || Failure::UnknownVolume { volume: name.clone() };
        let (_, volume) = volumes.iter().find(|(_, volume)| volume.name == *name).ok_or_else(unknown)?;
        chosen.push((volume.clone(), archive.choose(world, volume, &request.session)?));
    }
    if !request.volumes.is_empty() {
        return Ok(chosen);
    }
    for (_, volume) in volumes {
        match archive.choose(world, &volume, &request.session) {
            Ok(session) => chosen.push((volume, session)),
            Err(Failure::UnknownSession { .. }) => {}
            Err(failure) => return Err(failure),
        }
    }
    if chosen.is_empty() { Err(Failure::UnknownSession { volume: "(any)".into(), session: "that".into() }) } else { Ok(chosen) }
}

#[allow(clippy::too_many_arguments)] // the parts of one restore, each borrowed for itself
fn restore_volume<W: World>(
    world: &mut W,
    archive: &mut Archive,
    pool: &mut Pool,
    packs: &Arc<Packs>,
    keys: &Arc<HashMap<u32, SessionKey>>,
    item: u32,
    request: &Request,
    volume: &VolumeEntry,
    session: &SessionEntry,
) -> Result<RestoreReport, Failure> {
    let wish = TargetWish {
        volume: &volume.name,
        size_bytes: session.size_bytes,
        base_of: BaseOf { archive: archive.folder.id().0, volume: volume.id.0 },
        in_place: request.in_place,
        origin: request.origins.path_of(&volume.name, world.client_uid()),
    };
    let TargetShape { kind, there, remembered } = world.open_target(item, wish)?;
    if let Some(Remembered { origin, configured }) = remembered {
        let said = if configured { Said::Configured } else { Said::Path };
        request.origins.check(&volume.name, &origin, said)?;
    }
    let credential = Arc::clone(&archive.credential);
    let mut reader = ChunkReader::new(&credential, packs, keys, credential.domain(session.domain));
    let written = match &there {
        None => write_volume(world, archive, pool, &mut reader, Target::new(item, kind, session.chunk_size_bytes), volume, session),
        Some(there) => Replacement { item, there, volume, session }.write(world, archive, pool, &mut reader),
    };
    let fetched_bytes = reader.fetched_bytes;
    let abandoned = reader.abandon(world);
    let written = written.and_then(|written_bytes| abandoned.map(|()| written_bytes));
    let written = written.and_then(|written_bytes| world.place_target(item, &volume.name, session.size_bytes).map(|()| written_bytes));
    world.end_reading(item);
    if written.is_err() && there.is_some_and(|there| there.in_place) && !world.undo_target(item)? {
        world.tell(ToClient::Failed(Failure::TargetUnfinished { volume: volume.name.clone() }))?;
    }
    let written_bytes = written?;
    Ok(RestoreReport { item, name: volume.name.clone(), session: session.time, written_bytes, fetched_bytes })
}

/// Asks for the chunks of a session window by window, and writes each where it belongs; how many bytes that were.
fn write_volume<W: World>(
    world: &mut W,
    archive: &mut Archive,
    pool: &mut Pool,
    reader: &mut ChunkReader,
    mut target: Target,
    volume: &VolumeEntry,
    session: &SessionEntry,
) -> Result<u64, Failure> {
    let mut walk = Walk::<ContentTree>::from(&content_root(session), 0);
    let window_chunks = (WINDOW_BYTES / u64::from(session.chunk_size_bytes)).max(1);
    let mut at_end = false;
    loop {
        while !at_end && reader.wants_more() && target.has_room() {
            let window = next_window(world, archive, &mut walk, session, window_chunks)?;
            at_end = window.is_empty();
            target.expect(&window);
            reader.want(world, archive, &window)?;
        }
        let Some(opened) = reader.next(world, pool)? else { if at_end { break } else { continue } };
        for chunk in opened {
            let written = target.take(world, chunk).map_err(|error| match error {
                Errno::CANCELED => Failure::Interrupted,
                Errno(errno) => Failure::TargetWrite { volume: volume.name.clone(), errno },
            })?;
            reader.give_back(written);
        }
        report(world, &volume.name, session, target.written_bytes);
        if world.cancelled() {
            return Err(Failure::Interrupted);
        }
    }
    Ok(target.written_bytes)
}

fn next_window<W: World>(
    world: &mut W,
    archive: &mut Archive,
    walk: &mut Walk<ContentTree>,
    session: &SessionEntry,
    window_chunks: u64,
) -> Result<Vec<Wanted>, Failure> {
    let mut window = Vec::new();
    let mut nodes = archive.nodes(world);
    while (window.len() as u64) < window_chunks
        && let Some((index, id)) = walk.next(&mut nodes)?
    {
        window.push(Wanted { index, id, plain_bytes: session.chunk_bytes(index) });
    }
    Ok(window)
}

/// Chunks come in the order of the store. A file takes each where it belongs; a stream waits for the next one in the volume's order.
struct Target {
    item: u32,
    kind: TargetKind,
    chunk_size_bytes: u64,
    written_bytes: u64,
    /// Indices that a stream still waits for, with the chunks that came too early.
    waiting: BTreeMap<u64, Option<Vec<u8>>>,
    waiting_max: usize,
}

impl Target {
    fn new(item: u32, kind: TargetKind, chunk_size_bytes: u32) -> Self {
        let window_chunks = usize::try_from(WINDOW_BYTES / u64::from(chunk_size_bytes)).unwrap_or(usize::MAX);
        Self {
            item,
            kind,
            chunk_size_bytes: u64::from(chunk_size_bytes),
            written_bytes: 0,
            waiting: BTreeMap::new(),
            waiting_max: window_chunks,
        }
    }

    /// May another window be asked for? A stream's memory is bounded by what it waits for.
    fn has_room(&self) -> bool {
        self.waiting.len() <= self.waiting_max
    }

    fn expect(&mut self, window: &[Wanted]) {
        if self.kind == TargetKind::Stream {
            self.waiting.extend(window.iter().map(|wanted| (wanted.index, None)));
        }
    }

    /// Gives back what was written, to be filled again.
    fn take<W: World>(&mut self, world: &mut W, opened: Opened) -> Result<Vec<Vec<u8>>, Errno> {
        let mut written = Vec::new();
        match self.kind {
            TargetKind::File => {
                self.write(world, opened.index, &opened.chunk)?;
                written.push(opened.chunk);
            }
            TargetKind::Stream => {
                self.waiting.insert(opened.index, Some(opened.chunk));
                while let Some(next) = self.waiting.first_entry()
                    && next.get().is_some()
                {
                    let (index, chunk) = next.remove_entry();
                    let chunk = chunk.unwrap_or_default();
                    self.write(world, index, &chunk)?;
                    written.push(chunk);
                }
            }
        }
        Ok(written)
    }

    fn write<W: World>(&mut self, world: &mut W, index: u64, chunk: &[u8]) -> Result<(), Errno> {
        world.write_target(self.item, index.saturating_mul(self.chunk_size_bytes), chunk)?;
        self.written_bytes = self.written_bytes.saturating_add(chunk.len() as u64);
        Ok(())
    }
}

/// Tells how far it is.
pub(super) fn report<W: World>(world: &mut W, name: &str, session: &SessionEntry, done_bytes: u64) {
    world.progress(Progress {
        phase: Phase::Restoring,
        volume: Some(name.to_owned()),
        done_bytes,
        total_bytes: session.size_bytes,
        sent_bytes: 0,
    });
}

/// Damage is of one volume: another one may be whole. A lost store or local state is not.
fn is_of_one_volume(failure: &Failure) -> bool {
    matches!(
        failure,
        Failure::TargetExists { .. }
            | Failure::TargetUnavailable { .. }
            | Failure::TargetOfRunningQube { .. }
            | Failure::TargetWrite { .. }
            | Failure::TargetDiffers { .. }
            | Failure::SourceRead { .. }
            | Failure::VolumeElsewhere { .. }
            | Failure::VolumeOfOtherPath { .. }
            | Failure::Missing { .. }
            | Failure::Damaged { .. }
    )
}

/// Names the volume in a failure that knew only the object.
fn about(failure: Failure, name: &str) -> Failure {
    match failure {
        Failure::Missing { class, object, .. } => Failure::Missing { class, object, volume: Some(name.to_owned()) },
        Failure::Damaged { class, object, what, .. } => Failure::Damaged { class, object, what, volume: Some(name.to_owned()) },
        other => other,
    }
}

/// How a session is named in a sentence.
#[must_use]
pub fn volume_and_session(volume: &str, session: &SessionEntry) -> String {
    format!("{volume} {}", session_name(session.time))
}
