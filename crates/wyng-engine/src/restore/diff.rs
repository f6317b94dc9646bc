// SPDX-License-Identifier: GPL-3.0-or-later
//! What differs between two sessions, by their ids alone; or between a session and the volume as it
//! is on this machine, which is read whole. Nothing is fetched, and no passphrase is needed.

use std::sync::Arc;

use wyng_archive::crypto::Id;
use wyng_archive::format::{ContentTree, SessionEntry, VolumeEntry};
use wyng_archive::plan::diff;
use wyng_control::{
    BackupSource, BaseOf, CompareWith, DiffReport, ExitStatus, Failure, Phase, SessionChoice,
    ToClient, path_text,
};

use super::differences::{self, Compared, Comparison, Place};
use super::reading::Reading;
use super::wrong_base::drop_wrong_base;
use crate::archive::{Archive, content_root};
use crate::bits::Bits;
use crate::outcome::{internal, report};
use crate::pool::Pool;
use crate::state::Said;
use crate::world::{Client, Errno, Files, Parts, Volumes, World};

/// Maximum number of ranges in one message.
const PAGE_RANGES: usize = 1000;
/// The number of the only source.
const ITEM: u32 = 0;

/// What a comparison was asked for.
pub struct DiffRequest {
    /// The archive's name.
    pub archive: String,
    /// The volume, and how its place is named.
    pub source: BackupSource,
    /// Which session of the volume.
    pub session: SessionChoice,
    /// What the session is compared with.
    pub with: CompareWith,
}

/// Where a session and what it is compared with differ.
struct Found {
    differing: Bits,
    with: Option<i64>,
    with_size_bytes: u64,
    read_bytes: u64,
    damaged_bytes: u64,
}

/// Compares, and reports the ranges that differ.
pub fn compare<P: Parts>(
    world: &mut World<P>,
    request: &DiffRequest,
) -> Result<ExitStatus, Failure> {
    let mut archive = Archive::open(&mut world.files, &mut world.secrets, &request.archive)?;
    let unknown = || Failure::UnknownVolume {
        volume: request.source.volume.clone(),
    };
    let volumes = archive.volumes(&mut world.files)?;
    let (_, volume) = volumes
        .into_iter()
        .find(|(_, volume)| volume.name == request.source.volume)
        .ok_or_else(unknown)?;
    let session = archive.choose(&mut world.files, &volume, &request.session)?;
    let found = match &request.with {
        CompareWith::Session(choice) => {
            let other = archive.choose(&mut world.files, &volume, choice)?;
            with_session(&mut world.files, &mut archive, &session, &other)?
        }
        CompareWith::Local => {
            let found = with_local(world, &mut archive, &volume, &session, request);
            world.volumes.close_source(ITEM);
            found?
        }
    };
    report_differences(&mut world.client, &volume, &session, &found)
}

/// Compares two sessions by their ids alone.
fn with_session(
    files: &mut impl Files,
    archive: &mut Archive,
    a: &SessionEntry,
    b: &SessionEntry,
) -> Result<Found, Failure> {
    if (a.domain, a.chunk_size_bytes) != (b.domain, b.chunk_size_bytes) {
        return Err(internal(
            "two sessions of one volume have ids that cannot be compared",
        ));
    }
    let mut differing = Bits::none(a.chunk_count().max(b.chunk_count()));
    let mut visit = |index: u64, _: Option<&Id>, _: Option<&Id>| {
        differing.insert(index..index.saturating_add(1))
    };
    diff::<ContentTree, _, _>(
        &content_root(a),
        &content_root(b),
        &mut archive.nodes(files),
        &mut visit,
    )?;
    resized(&mut differing, a, b.size_bytes);
    Ok(Found {
        differing,
        with: Some(b.time),
        with_size_bytes: b.size_bytes,
        read_bytes: 0,
        damaged_bytes: 0,
    })
}

/// Compares a session with the volume on this machine, by reading it. What a base snapshot says is
/// the same is read too: where it differs, the disk is failing.
fn with_local<P: Parts>(
    world: &mut World<P>,
    archive: &mut Archive,
    volume: &VolumeEntry,
    session: &SessionEntry,
    request: &DiffRequest,
) -> Result<Found, Failure> {
    let base_of = BaseOf {
        archive: archive.folder.id().0,
        volume: volume.id.0,
    };
    let origins = archive.origins(&mut world.files)?;
    let said = Said::of(&request.source);
    let path = origins.path_of(&volume.name, world.client.uid());
    if path.is_none() && said == Said::Path {
        return Err(Failure::NoOrigin {
            volume: volume.name.clone(),
        });
    }
    let shape = world
        .volumes
        .open_source(ITEM, &volume.name, &base_of, path)?;
    origins.check(&volume.name, &shape.found.origin, said)?;
    let domain = Arc::new(archive.credential.domain(session.domain));
    let there_bytes = shape.size_bytes;
    let comparison = Comparison {
        item: ITEM,
        place: Place::Source,
        there_bytes,
        base: shape.base,
        volume,
        session,
        domain: &domain,
    };
    let suspects = comparison.suspects(world, archive)?;
    let chunk_size = u64::from(session.chunk_size_bytes);
    let count = session.chunk_count();
    let mut found = Found {
        differing: Bits::none(count.max(there_bytes.div_ceil(chunk_size))),
        with: None,
        with_size_bytes: there_bytes,
        read_bytes: 0,
        damaged_bytes: 0,
    };
    let mut pool = Pool::for_machine(archive.head.settings.zstd_level)?;
    let mut reading = Reading::of(session);
    let all = |from| (from < count).then_some(from..count);
    while let Some(batch) = reading.next(world, archive, &mut pool, &comparison, &all)? {
        for Compared {
            index,
            found: there,
            ..
        } in &batch.chunks
        {
            if let differences::Found::Unreadable(errno) = there {
                let path = path_text(&shape.found.origin.path);
                let failure = unreadable(
                    &mut world.volumes,
                    &volume.name,
                    path,
                    there_bytes,
                    (index.saturating_mul(chunk_size), *errno),
                );
                // The base snapshot may share the blocks that cannot be read.
                if shape.base.is_some() && matches!(failure, Failure::SourceRead { .. }) {
                    drop_wrong_base(world, ITEM)?;
                }
                return Err(failure);
            }
            if *there != differences::Found::Same {
                found.differing.insert(*index..index.saturating_add(1));
                if suspects
                    .as_ref()
                    .is_some_and(|suspects| !suspects.contains(*index))
                {
                    found.damaged_bytes = found
                        .damaged_bytes
                        .saturating_add(session.chunk_bytes(*index).into());
                }
            }
        }
        reading.give_back(batch);
        report(
            &mut world.client,
            Phase::Reading,
            &volume.name,
            reading.position().saturating_mul(chunk_size),
            session.size_bytes,
        );
        if world.client.cancelled() {
            return Err(Failure::Interrupted);
        }
    }
    if found.damaged_bytes > 0 {
        drop_wrong_base(world, ITEM)?;
    }
    resized(&mut found.differing, session, there_bytes);
    found.read_bytes = reading.read_bytes;
    Ok(found)
}

fn unreadable(
    volumes: &mut impl Volumes,
    volume: &str,
    path: String,
    expected_bytes: u64,
    (offset_bytes, Errno(errno)): (u64, Errno),
) -> Failure {
    let volume = volume.to_owned();
    match volumes.source_bytes(ITEM) {
        Ok(found_bytes) if found_bytes < expected_bytes => Failure::SourceResized {
            volume,
            path,
            expected_bytes,
            found_bytes,
        },
        _ => Failure::SourceRead {
            volume,
            path,
            offset_bytes,
            errno,
        },
    }
}

/// Notes as differing what only the larger of the two has.
fn resized(differing: &mut Bits, session: &SessionEntry, other_bytes: u64) {
    let chunk_size = u64::from(session.chunk_size_bytes);
    let (least, most) = (
        session.size_bytes.min(other_bytes),
        session.size_bytes.max(other_bytes),
    );
    if least != most {
        differing.insert(least / chunk_size..most.div_ceil(chunk_size));
    }
}

/// Reports the ranges that differ, and the sums.
fn report_differences(
    client: &mut impl Client,
    volume: &VolumeEntry,
    session: &SessionEntry,
    found: &Found,
) -> Result<ExitStatus, Failure> {
    let chunk_size = u64::from(session.chunk_size_bytes);
    let end_bytes = session.size_bytes.max(found.with_size_bytes);
    let (mut page, mut differing_bytes, mut next) = (Vec::new(), 0u64, 0);
    while let Some(run) = found.differing.next_run(next) {
        next = run.end;
        let range = (
            run.start.saturating_mul(chunk_size),
            next.saturating_mul(chunk_size).min(end_bytes),
        );
        differing_bytes = differing_bytes.saturating_add(range.1.saturating_sub(range.0));
        page.push(range);
        if page.len() >= PAGE_RANGES {
            client.tell(ToClient::Differences(std::mem::take(&mut page)))?;
        }
    }
    if !page.is_empty() {
        client.tell(ToClient::Differences(page))?;
    }
    client.tell(ToClient::Compared(DiffReport {
        name: volume.name.clone(),
        session: session.time,
        size_bytes: session.size_bytes,
        with: found.with,
        with_size_bytes: found.with_size_bytes,
        differing_bytes,
        read_bytes: found.read_bytes,
        damaged_bytes: found.damaged_bytes,
    }))?;
    Ok(ExitStatus::Done)
}
