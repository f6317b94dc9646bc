// SPDX-License-Identifier: GPL-3.0-or-later
//! The restore of qubes as a straight line: choose the sessions, restore every settings record to
//! memory, have a plan made of them, show it and have it confirmed, and restore each volume of a
//! new qube when it is its turn. What a record says is never looked at here.

use std::collections::BTreeMap;

use wyng_archive::format::VolumeEntry;
use wyng_control::{
    ArchivedVolume, ExitStatus, Failure, QubePart, QubeParts, QubesWish, RestoredQube,
    SessionChoice, ToClient, Warning,
};
use wyng_wire::Service;

use super::older::hope_for_older_versions;
use super::plan::{Planned, RECORD_MAX_BYTES};
use super::run::openers;
use super::system::show_system;
use super::volume::{Ended, Openers, restore_into};
use super::walk::for_each_chunk;
use crate::archive::{Archive, session_name};
use crate::kept_qubes::follow_kept;
use crate::outcome::exit_of;
use crate::pool::Pool;
use crate::world::{
    ArchivedQube, Client, Files, NextOfQubes, Parts, Store, TargetShape, Volumes, World,
};

/// What stands between the label of a qube and the name of a part.
const COLON: char = ':';

/// What a restore of qubes was asked for.
#[derive(Debug, Clone)]
pub struct QubesRequest {
    /// The archive's name.
    pub archive: String,
    /// Which qubes, and how.
    pub wish: QubesWish,
    /// Which session of each volume.
    pub session: SessionChoice,
    /// Reports the plan; changes nothing.
    pub dry_run: bool,
}

/// A qube in the archive.
struct Labelled {
    label: String,
    /// Whether the person asked for it; the others are there for what it needs.
    is_asked: bool,
    settings: Planned,
    /// By the names in the qube.
    volumes: BTreeMap<String, Planned>,
}

impl Labelled {
    /// A line of the plan, if not all of the qube is of one session.
    fn mixed(&self) -> Option<String> {
        let parts = self
            .volumes
            .iter()
            .map(|(name, plan)| (name.as_str(), plan));
        let parts = parts.chain([(QubePart::Settings.name(), &self.settings)]);
        let time = |plan: &Planned| plan.session.time;
        if parts
            .clone()
            .all(|(_, plan)| time(plan) == time(&self.settings))
        {
            return None;
        }
        let parts: Vec<String> = parts
            .map(|(name, plan)| format!("{name} of {}", session_name(time(plan))))
            .collect();
        let (label, parts) = (&self.label, parts.join(", "));
        Some(format!("{label}: is of several sessions: {parts}"))
    }
}

/// What a volume is restored with.
struct Tools<'a, P: Parts> {
    world: &'a mut World<P>,
    archive: &'a mut Archive,
    pool: &'a mut Pool,
    openers: &'a Openers,
}

impl<P: Parts> Tools<'_, P> {
    fn restore(&mut self, plan: &Planned, shape: TargetShape) -> Result<(), Ended> {
        let Self {
            world,
            archive,
            pool,
            openers,
        } = self;
        let report = restore_into((world, archive, pool), openers, plan, (shape, false, None))?;
        if plan.volume.name.ends_with(":settings") {
            return Ok(());
        }
        Ok(world.client.tell(ToClient::Restored(report))?)
    }
}

/// Restores qubes. One that fails is reported and removed again, and the others go on; a setting
/// that cannot be set is named.
pub fn restore_qubes<P: Parts>(
    world: &mut World<P>,
    request: &QubesRequest,
) -> Result<ExitStatus, Failure> {
    let mut archive = Archive::open(&mut world.files, &mut world.secrets, &request.archive)?;
    let qubes = find(&mut world.files, &mut archive, request)?;
    let is_proven = !archive.toml.unproven;
    if !is_proven {
        world.client.tell(ToClient::Warned(Warning::Unproven))?;
    }
    hope_for_older_versions(world, &mut archive)?;
    let mut pool = Pool::for_machine(archive.head.settings.zstd_level)?;
    let openers = openers(world, &mut archive)?;
    archive.connect(&mut world.store, Service::Fetch)?;
    let mut failed = Vec::new();
    let mut tools = Tools {
        world,
        archive: &mut archive,
        pool: &mut pool,
        openers: &openers,
    };
    let taken = take_records(&mut tools, request, &qubes, &mut failed)?;
    if taken == 0 {
        world.store.finish_fetch()?;
        return Ok(exit_of(&failed, failed.len()));
    }
    world.volumes.plan_qubes(&request.wish, is_proven)?;
    let mixed: Vec<String> = match request.wish.parts {
        QubeParts::SettingsOnly => Vec::new(),
        _ => qubes.iter().filter_map(Labelled::mixed).collect(),
    };
    if !mixed.is_empty() {
        world.client.tell(ToClient::QubePlan(mixed))?;
    }
    loop {
        let lines = world.volumes.next_plan_lines()?;
        if lines.is_empty() {
            break;
        }
        world.client.tell(ToClient::QubePlan(lines))?;
    }
    if request.wish.qubes.is_empty() && (is_proven || request.wish.unproven) {
        let parts = (&mut *world, &mut archive, &mut pool);
        show_system(parts, &openers, &request.session)?;
    }
    if request.dry_run {
        world.store.finish_fetch()?;
        let asked = failed.len().saturating_add(taken);
        return Ok(exit_of(&failed, asked));
    }
    world.volumes.confirm_qubes()?;
    let mut tools = Tools {
        world,
        archive: &mut archive,
        pool: &mut pool,
        openers: &openers,
    };
    let (made, lost) = carry_out(&mut tools, &qubes, &mut failed)?;
    if lost.is_none() {
        world.store.finish_fetch()?;
    }
    continue_histories(world, &mut archive, &qubes, &made)?;
    follow_kept(world)?;
    if let Some(lost) = lost {
        return Err(lost);
    }
    Ok(exit_of(&failed, made.len().saturating_add(failed.len())))
}

/// The qubes of the archive that the request names, or all that it could need, with the sessions
/// of their parts.
fn find(
    files: &mut impl Files,
    archive: &mut Archive,
    request: &QubesRequest,
) -> Result<Vec<Labelled>, Failure> {
    let wish = &request.wish;
    let is_asked = |label: &str| wish.qubes.is_empty() || wish.qubes.iter().any(|q| q == label);
    let mut parts: BTreeMap<String, BTreeMap<String, VolumeEntry>> = BTreeMap::new();
    for (_, volume) in archive.volumes(files)? {
        let Some((label, part)) = volume.name.rsplit_once(COLON) else {
            continue;
        };
        if label != "dom0" && (is_asked(label) || wish.with_needs) {
            let of_qube = parts.entry(label.to_owned()).or_default();
            of_qube.insert(part.to_owned(), volume);
        }
    }
    let mut items = 0..u32::MAX;
    let mut found = Vec::new();
    for (label, mut volumes) in parts {
        let Some(settings) = volumes.remove(QubePart::Settings.name()) else {
            continue;
        };
        let mut plan = |files: &mut _, volume: VolumeEntry| {
            let chosen = archive.choose(files, &volume, &request.session);
            let session = match chosen {
                Err(Failure::UnknownSession { .. }) => return Ok(None),
                chosen => chosen?,
            };
            let item = items.next().ok_or(Failure::internal("too many volumes"))?;
            Ok(Some(Planned::anew(item, volume, session)))
        };
        let Some(settings) = plan(files, settings)? else {
            continue;
        };
        let mut planned = BTreeMap::new();
        for (name, volume) in volumes {
            if let Some(volume) = plan(files, volume)? {
                planned.insert(name, volume);
            }
        }
        found.push(Labelled {
            is_asked: is_asked(&label),
            label,
            settings,
            volumes: planned,
        });
    }
    let unknown = wish
        .qubes
        .iter()
        .find(|asked| !found.iter().any(|qube| qube.label == **asked));
    match unknown {
        Some(qube) => Err(Failure::QubeNotInArchive { qube: qube.clone() }),
        None if found.is_empty() => Err(Failure::NoSession {
            session: request.session.to_string(),
        }),
        None => Ok(found),
    }
}

/// Restores the records to memory, and hands each on with the volumes beside it; returns how many
/// were taken. A record that is refused is reported, if its qube was asked for.
fn take_records<P: Parts>(
    tools: &mut Tools<'_, P>,
    request: &QubesRequest,
    qubes: &[Labelled],
    failed: &mut Vec<ExitStatus>,
) -> Result<usize, Failure> {
    let mut taken = 0_usize;
    let origins = tools.archive.origins(&mut tools.world.files)?;
    let (asked, needs): (Vec<_>, Vec<_>) = qubes.iter().partition(|qube| qube.is_asked);
    for qube in asked.into_iter().chain(needs) {
        match take_record(
            tools,
            request,
            qube,
            origins.qube_of(&qube.settings.volume.name),
        ) {
            Ok(()) => taken = taken.saturating_add(usize::from(qube.is_asked)),
            Err(ended) if !ended.others_go_on => return Err(ended.failure),
            Err(_) if !qube.is_asked => {}
            Err(ended) => {
                failed.push(ended.failure.exit());
                tools.world.client.tell(ToClient::Failed(ended.failure))?;
            }
        }
    }
    Ok(taken)
}

fn take_record<P: Parts>(
    tools: &mut Tools<'_, P>,
    request: &QubesRequest,
    qube: &Labelled,
    uuid: Option<String>,
) -> Result<(), Ended> {
    let settings = &qube.settings;
    let name = &settings.volume.name;
    if settings.session.size_bytes > RECORD_MAX_BYTES {
        let failure = Failure::QubeRecord {
            volume: name.clone(),
            why: "it is longer than 1 MiB".into(),
        };
        return Err(Ended {
            failure,
            others_go_on: true,
        });
    }
    let shape = tools.world.volumes.open_record(settings.item, name)?;
    tools.restore(settings, shape)?;
    let mut volumes = Vec::new();
    for (name, plan) in &qube.volumes {
        volumes.push(ArchivedVolume {
            name: name.clone(),
            item: plan.item,
            size_bytes: plan.session.size_bytes,
            data_bytes: data_bytes(tools, plan)?,
        });
    }
    let archived = ArchivedQube {
        label: qube.label.clone(),
        record: settings.item,
        volumes,
        uuid,
    };
    let added = tools.world.volumes.add_qube(&archived, &request.wish);
    added.map_err(|failure| Ended {
        others_go_on: matches!(failure, Failure::QubeRecord { .. }),
        failure,
    })
}

/// Bytes of a session that are not holes, which its target takes up.
fn data_bytes<P: Parts>(tools: &mut Tools<'_, P>, plan: &Planned) -> Result<u64, Failure> {
    let (files, client) = (&mut tools.world.files, &mut tools.world.client);
    let mut bytes = 0_u64;
    for_each_chunk(files, client, tools.archive, &plan.session, |index, _| {
        bytes = bytes.saturating_add(plan.session.chunk_bytes(index).into());
        Ok(())
    })?;
    Ok(bytes)
}

/// Does what was confirmed. Returns the qubes that are made, and what ended the fetching, if
/// something did: qubes whose volumes are complete by then are made all the same.
fn carry_out<P: Parts>(
    tools: &mut Tools<'_, P>,
    qubes: &[Labelled],
    failed: &mut Vec<ExitStatus>,
) -> Result<(Vec<RestoredQube>, Option<Failure>), Failure> {
    let plan_of = |item: u32| {
        let mut volumes = qubes.iter().flat_map(|qube| qube.volumes.values());
        volumes.find(|plan| plan.item == item)
    };
    let (mut made, mut lost) = (Vec::new(), None);
    loop {
        if lost.is_none() && tools.world.client.cancelled() {
            lost = Some(Failure::Interrupted);
        }
        match tools.world.volumes.next_of_qubes()? {
            NextOfQubes::Import { item, .. } if lost.is_some() => {
                tools.world.volumes.close_target(item);
            }
            NextOfQubes::Import { item, shape } => {
                let plan = plan_of(item).ok_or(Failure::internal("a volume of no qube"))?;
                match tools.restore(plan, shape) {
                    Err(ended) if ended.others_go_on => {
                        tools.world.client.tell(ToClient::Failed(ended.failure))?;
                    }
                    Err(ended) => {
                        tools.world.volumes.close_target(item);
                        lost = Some(ended.failure);
                    }
                    Ok(()) => {}
                }
            }
            // What became of its qube says why.
            NextOfQubes::NoImport { .. } => {}
            NextOfQubes::Made { qube, failure } => {
                let unset = u32::try_from(qube.unset.len()).unwrap_or(u32::MAX);
                let failure = failure.or_else(|| {
                    (unset > 0).then(|| Failure::QubeUnfinished {
                        qube: qube.name.clone(),
                        count: unset,
                    })
                });
                tools
                    .world
                    .client
                    .tell(ToClient::QubeRestored(qube.clone()))?;
                match failure {
                    Some(failure) => {
                        failed.push(failure.exit());
                        tools.world.client.tell(ToClient::Failed(failure))?;
                        if qube.uuid.is_some() {
                            made.push(qube);
                            // It counts once, as one that failed in part.
                            failed.pop();
                            failed.push(ExitStatus::Partial);
                        }
                    }
                    None => made.push(qube),
                }
            }
            NextOfQubes::Done => return Ok((made, lost)),
        }
    }
}

/// Notes the uuids that the qubes got here, so that their next backups continue their histories.
fn continue_histories<P: Parts>(
    world: &mut World<P>,
    archive: &mut Archive,
    qubes: &[Labelled],
    made: &[RestoredQube],
) -> Result<(), Failure> {
    let mut origins = archive.origins(&mut world.files)?;
    let uid = world.client.uid();
    for restored in made.iter().filter(|restored| restored.continues) {
        let (Some(uuid), Some(qube)) = (
            &restored.uuid,
            qubes.iter().find(|qube| qube.label == restored.qube),
        ) else {
            continue;
        };
        origins.set_part(&qube.settings.volume, uuid, &QubePart::Settings, uid);
        for (name, plan) in &qube.volumes {
            let part = QubePart::Volume(name.clone());
            origins.set_part(&plan.volume, uuid, &part, uid);
        }
    }
    origins.write(&mut world.files, &archive.folder)
}
