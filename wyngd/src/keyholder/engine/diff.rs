// SPDX-License-Identifier: GPL-3.0-or-later
//! What differs between a session and another one, or the volume as it is on this machine: in the time of the difference where ids or a base
//! snapshot tell it, else by reading the volume. Nothing is fetched, and no passphrase is needed.

use wyng_archive::crypto::Id;
use wyng_archive::format::{ContentTree, SessionEntry, VolumeEntry};
use wyng_archive::plan::diff;
use wyng_control::{BackupSource, BaseOf, CompareWith, DiffReport, ExitStatus, Failure, SessionChoice, ToClient};

use super::archive::{Archive, internal};
use super::backup::said;
use super::bits::Bits;
use super::catalog::content_root;
use super::differences::{Comparison, Reading};
use super::source::ReadStop;
use crate::keyholder::state::{Origins, Said};
use crate::keyholder::world::World;

/// Ranges in one message to the client.
const PAGE_RANGES: usize = 1000;
/// The number of the one source.
const ITEM: u32 = 0;

/// What a comparison was asked for.
pub struct Request {
    /// The archive's name.
    pub archive: String,
    /// The volume, and how its place is named.
    pub source: BackupSource,
    /// Which session of it.
    pub session: SessionChoice,
    /// With what.
    pub with: CompareWith,
}

/// What it is compared with, and where they differ.
struct Found {
    differing: Bits,
    with: Option<i64>,
    with_size_bytes: u64,
    read_bytes: u64,
}

/// Compares, and tells the ranges that differ.
pub fn compare<W: World>(world: &mut W, request: &Request) -> Result<ExitStatus, Failure> {
    let mut archive = Archive::open(world, &request.archive)?;
    let unknown = || Failure::UnknownVolume { volume: request.source.volume.clone() };
    let volumes = archive.volumes(world)?;
    let (_, volume) = volumes.into_iter().find(|(_, volume)| volume.name == request.source.volume).ok_or_else(unknown)?;
    let session = archive.choose(world, &volume, &request.session)?;
    let found = match &request.with {
        CompareWith::Session(choice) => {
            let other = archive.choose(world, &volume, choice)?;
            with_session(world, &mut archive, &session, &other)?
        }
        CompareWith::Local => {
            let found = with_local(world, &mut archive, &volume, &session, request);
            world.close_source(ITEM);
            found?
        }
    };
    tell(world, &volume, &session, &found)
}

/// By ids alone.
fn with_session<W: World>(world: &mut W, archive: &mut Archive, a: &SessionEntry, b: &SessionEntry) -> Result<Found, Failure> {
    if (a.domain, a.chunk_size_bytes) != (b.domain, b.chunk_size_bytes) {
        return Err(internal("sessions whose ids cannot be compared"));
    }
    let mut differing = Bits::none(a.chunk_count().max(b.chunk_count()))?;
    let mut visit = |index: u64, _: Option<&Id>, _: Option<&Id>| differing.insert(index..index.saturating_add(1));
    diff::<ContentTree, _, _>(&content_root(a), &content_root(b), &mut archive.nodes(world), &mut visit)?;
    resized(&mut differing, a, b.size_bytes);
    Ok(Found { differing, with: Some(b.time), with_size_bytes: b.size_bytes, read_bytes: 0 })
}

/// By what changed since the base snapshot, or by reading all.
fn with_local<W: World>(
    world: &mut W,
    archive: &mut Archive,
    volume: &VolumeEntry,
    session: &SessionEntry,
    request: &Request,
) -> Result<Found, Failure> {
    let base_of = BaseOf { archive: archive.folder.id().0, volume: volume.id.0 };
    let origins = Origins::read(world, &archive.folder)?;
    let said = said(&request.source);
    let path = origins.path_of(&volume.name, world.client_uid());
    if path.is_none() && said == Said::Path {
        return Err(Failure::NoOrigin { volume: volume.name.clone() });
    }
    let shape = world.open_source(ITEM, &volume.name, &base_of, path)?;
    origins.check(&volume.name, &shape.found.origin, said)?;
    let domain = archive.credential.domain(session.domain);
    let there_bytes = shape.size_bytes;
    let comparison = Comparison { item: ITEM, there_bytes, base: shape.base, volume, session, domain: &domain };
    let stopped = |stop: ReadStop| stop.of_volume(&volume.name, &shape.found.origin.path);
    let suspects = comparison.suspects(world, archive).map_err(stopped)?;
    let there_count = there_bytes.div_ceil(u64::from(session.chunk_size_bytes));
    let mut differing = Bits::none(session.chunk_count().max(there_count))?;
    let mut reading = Reading::of(session);
    comparison
        .compare(world, archive, &suspects, &mut reading, |world, compared| {
            if !compared.is_same {
                differing.insert(compared.index..compared.index.saturating_add(1));
            }
            if world.cancelled() { Err(ReadStop::Failure(Failure::Interrupted)) } else { Ok(true) }
        })
        .map_err(stopped)?;
    resized(&mut differing, session, there_bytes);
    Ok(Found { differing, with: None, with_size_bytes: there_bytes, read_bytes: reading.read_bytes })
}

/// What only the larger one has differs.
fn resized(differing: &mut Bits, session: &SessionEntry, other_bytes: u64) {
    let chunk_size = u64::from(session.chunk_size_bytes);
    let (least, most) = (session.size_bytes.min(other_bytes), session.size_bytes.max(other_bytes));
    if least != most {
        differing.insert(least / chunk_size..most.div_ceil(chunk_size));
    }
}

fn tell<W: World>(world: &mut W, volume: &VolumeEntry, session: &SessionEntry, found: &Found) -> Result<ExitStatus, Failure> {
    let chunk_size = u64::from(session.chunk_size_bytes);
    let end_bytes = session.size_bytes.max(found.with_size_bytes);
    let (mut page, mut differing_bytes, mut next) = (Vec::new(), 0u64, 0);
    while let Some(begin) = found.differing.next(next) {
        next = begin.saturating_add(1);
        while found.differing.contains(next) {
            next = next.saturating_add(1);
        }
        let range = (begin.saturating_mul(chunk_size), next.saturating_mul(chunk_size).min(end_bytes));
        differing_bytes = differing_bytes.saturating_add(range.1.saturating_sub(range.0));
        page.push(range);
        if page.len() >= PAGE_RANGES {
            world.tell(ToClient::Differences(std::mem::take(&mut page)))?;
        }
    }
    if !page.is_empty() {
        world.tell(ToClient::Differences(page))?;
    }
    world.tell(ToClient::Compared(DiffReport {
        name: volume.name.clone(),
        session: session.time,
        size_bytes: session.size_bytes,
        with: found.with,
        with_size_bytes: found.with_size_bytes,
        differing_bytes,
        read_bytes: found.read_bytes,
    }))?;
    Ok(ExitStatus::Done)
}
