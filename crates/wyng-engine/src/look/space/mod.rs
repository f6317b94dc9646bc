// SPDX-License-Identifier: GPL-3.0-or-later
//! The use of the store: the bytes that each session and each volume needs, and the other bytes by
//! their kind. It reads the cache alone.
//!
//! All ids are taken in parts of at most [`IDS_A_PART`], one part after the other, so memory stays
//! below 100 MiB. Each part reads every node that a session does not share with the one before it,
//! looks up each id of the part once, and, for `why`, reads the index once.

mod census;

use std::collections::{BTreeMap, HashSet};

use wyng_archive::crypto::{DomainId, Id};
use wyng_archive::format::{
    KeysTree, PackState, SessionEntry, SessionsTree, VolumeEntry, VolumesTree,
};
use wyng_archive::plan::mark;
use wyng_control::{Failure, SessionSizes, SpaceReport, VolumeSizes};

use crate::archive::{Archive, NodesAtHand, Packs, keys_root, sessions_root, volumes_root};
use crate::store::{pack_table_nodes, packs_of};
use crate::world::{Client, Files};
use census::{Census, Part, SessionShare, VolumeShare};

/// Maximum number of ids in a part.
pub(super) const IDS_A_PART: u64 = 800_000;

/// A volume and its sessions, with the bytes that they need.
pub struct SizedVolume {
    /// The volume.
    pub volume: VolumeEntry,
    /// Bytes that its sessions need together.
    pub sizes: VolumeSizes,
    /// Its sessions, oldest first, each with the bytes that it needs.
    pub sessions: Vec<(SessionEntry, SessionSizes)>,
}

impl SizedVolume {
    /// Bytes that a session of it needs.
    pub(super) fn of(&self, session: &SessionEntry) -> Option<SessionSizes> {
        self.sessions
            .iter()
            .find(|(sized, _)| sized.generation == session.generation)
            .map(|(_, sizes)| *sizes)
    }
}

/// The sizes of all sessions of a volume (`None`: of every volume). A volume whose session table is
/// lost has no sessions here.
pub fn sizes(
    files: &mut impl Files,
    client: &mut impl Client,
    archive: &mut Archive,
    only: Option<&str>,
    ids_a_part: u64,
) -> Result<Vec<SizedVolume>, Failure> {
    let mut survey = Survey::begin(files, archive, only)?;
    survey.take_parts(files, client, archive, ids_a_part, &mut |_, _, _| Ok(()))?;
    let is_asked = |volume: &SizedVolume| only.is_none_or(|only| only == volume.volume.name);
    Ok(survey.into_sized().filter(is_asked).collect())
}

/// The stored bytes of the archive by kind, with the sizes of all sessions.
pub fn space(
    files: &mut impl Files,
    client: &mut impl Client,
    archive: &mut Archive,
    ids_a_part: u64,
) -> Result<(SpaceReport, Vec<SizedVolume>), Failure> {
    let packs = packs_of(files, archive)?;
    let catalog = catalog_nodes(files, archive)?;
    let mut survey = Survey::begin(files, archive, None)?;
    let mut records = Records {
        report: by_state(archive, &packs),
        volumes: vec![0; survey.volumes.len()],
        unrecorded: unrecorded(archive, &packs),
    };
    survey.take_parts(
        files,
        client,
        archive,
        ids_a_part,
        &mut |files, archive, census| records.count(files, archive, &catalog, census),
    )?;
    for (packed, rest) in records.unrecorded.values() {
        records.report.metadata_bytes = records.report.metadata_bytes.saturating_add(*packed);
        records.report.filler_bytes = records.report.filler_bytes.saturating_add(*rest);
    }
    let mut volumes: Vec<SizedVolume> = survey.into_sized().collect();
    for (volume, bytes) in volumes.iter_mut().zip(&records.volumes) {
        volume.sizes.unique_bytes = *bytes;
    }
    Ok((records.report, volumes))
}

/// The volumes of an archive and the sums over all parts so far.
struct Survey {
    volumes: Vec<(VolumeEntry, Vec<SessionEntry>)>,
    sessions: Vec<SessionShare>,
    shares: Vec<VolumeShare>,
}

/// A consumer of each part's census.
type ForEachPart<'a, F> = &'a mut dyn FnMut(&mut F, &mut Archive, &Census) -> Result<(), Failure>;

impl Survey {
    /// The volumes that may share records with the requested volume, because they have a domain in
    /// common.
    fn begin(
        files: &mut impl Files,
        archive: &mut Archive,
        only: Option<&str>,
    ) -> Result<Self, Failure> {
        let entries = archive.volumes(files)?;
        if let Some(only) = only
            && entries.iter().all(|(_, volume)| volume.name != only)
        {
            return Err(Failure::UnknownVolume {
                volume: only.to_owned(),
            });
        }
        let mut volumes = Vec::new();
        for (_, volume) in entries {
            let sessions = archive.sessions_at_hand(files, &volume)?;
            volumes.push((volume, sessions));
        }
        if let Some(only) = only {
            let asked: HashSet<DomainId> = volumes
                .iter()
                .filter(|(volume, _)| volume.name == only)
                .flat_map(|(_, sessions)| sessions.iter().map(|session| session.domain))
                .collect();
            volumes.retain(|(volume, sessions)| {
                volume.name == only
                    || sessions
                        .iter()
                        .any(|session| asked.contains(&session.domain))
            });
        }
        let count = volumes.iter().map(|(_, sessions)| sessions.len()).sum();
        Ok(Self {
            sessions: vec![SessionShare::default(); count],
            shares: vec![VolumeShare::default(); volumes.len()],
            volumes,
        })
    }

    fn take_parts<F: Files>(
        &mut self,
        files: &mut F,
        client: &mut impl Client,
        archive: &mut Archive,
        ids_a_part: u64,
        each: ForEachPart<'_, F>,
    ) -> Result<(), Failure> {
        let ids = archive.cache.index.places_at_most();
        let count = u32::try_from(ids.div_ceil(ids_a_part.max(1)).max(1)).unwrap_or(u32::MAX);
        let room = usize::try_from(ids.min(ids_a_part)).unwrap_or(usize::MAX);
        for number in 0..count {
            let mut census = Census::of(Part { number, count }, room);
            for (_, sessions) in &self.volumes {
                census.take_volume(files, archive, sessions, &mut || {
                    if client.cancelled() {
                        Err(Failure::Interrupted)
                    } else {
                        Ok(())
                    }
                })?;
            }
            census.finish();
            for (sum, share) in self.sessions.iter_mut().zip(&census.sessions) {
                // Every part sees the same positions.
                sum.data_bytes = share.data_bytes;
                sum.stored_bytes = sum.stored_bytes.saturating_add(share.stored_bytes);
                sum.unique_bytes = sum.unique_bytes.saturating_add(share.unique_bytes);
            }
            for (sum, share) in self.shares.iter_mut().zip(&census.volumes) {
                sum.stored_bytes = sum.stored_bytes.saturating_add(share.stored_bytes);
                sum.unique_bytes = sum.unique_bytes.saturating_add(share.unique_bytes);
            }
            each(files, archive, &census)?;
        }
        Ok(())
    }

    fn into_sized(self) -> impl Iterator<Item = SizedVolume> {
        let mut shares = self.sessions.into_iter();
        self.volumes
            .into_iter()
            .zip(self.shares)
            .map(move |((volume, sessions), share)| SizedVolume {
                volume,
                sizes: VolumeSizes {
                    stored_bytes: share.stored_bytes,
                    unique_bytes: share.unique_bytes,
                },
                sessions: sessions
                    .into_iter()
                    .zip(shares.by_ref())
                    .map(|(session, share)| {
                        let sizes = SessionSizes {
                            data_bytes: share.data_bytes,
                            stored_bytes: share.stored_bytes,
                            unique_bytes: share.unique_bytes,
                        };
                        (session, sizes)
                    })
                    .collect(),
            })
    }
}

/// The records of live packs, sorted by who needs them.
struct Records {
    report: SpaceReport,
    /// Bytes that only one volume's sessions reach, by volume.
    volumes: Vec<u64>,
    /// For each live pack the length of its directory, and its bytes that are in no record, so far.
    unrecorded: BTreeMap<u64, (u64, u64)>,
}

impl Records {
    /// Counts every record of the census's part.
    fn count(
        &mut self,
        files: &mut impl Files,
        archive: &Archive,
        catalog: &HashSet<Id>,
        census: &Census,
    ) -> Result<(), Failure> {
        archive
            .cache
            .index
            .visit(files, &mut |files, id, location| {
                if !census.covers(&id) {
                    return Ok(());
                }
                let Some((_, rest)) = self.unrecorded.get_mut(&location.pack) else {
                    return Ok(());
                };
                let length = u64::from(location.length_bytes);
                *rest = rest.saturating_sub(length);
                let report = &mut self.report;
                let sum = match census.owner(&id, location.pack) {
                    Some(Some(volume)) => self.volumes.get_mut(volume),
                    Some(None) => Some(&mut report.shared_bytes),
                    None => {
                        let is_needed = catalog.contains(&id)
                            && archive
                                .cache
                                .index
                                .find(files, &id)?
                                .is_some_and(|best| best.pack == location.pack);
                        Some(if is_needed {
                            &mut report.metadata_bytes
                        } else {
                            &mut report.dead_bytes
                        })
                    }
                };
                if let Some(sum) = sum {
                    *sum = sum.saturating_add(length);
                }
                Ok(())
            })
    }
}

/// Sums up the packs by their states; live packs are counted record by record.
fn by_state(archive: &Archive, packs: &Packs) -> SpaceReport {
    let lost = archive.ledger.notes.lost_packs();
    let mut report = SpaceReport::default();
    for (number, pack) in packs {
        let length = u64::from(pack.length_bytes);
        report.stored_bytes = report.stored_bytes.saturating_add(length);
        let (bytes, count) = match pack.state {
            _ if lost.contains(number) => (&mut report.lost_bytes, &mut report.lost_packs),
            PackState::Lost => (&mut report.lost_bytes, &mut report.lost_packs),
            PackState::Live => continue,
            _ => (&mut report.waiting_bytes, &mut report.waiting_packs),
        };
        *bytes = bytes.saturating_add(length);
        *count = count.saturating_add(1);
    }
    report
}

/// For each live pack the length of its directory, and of all the rest.
fn unrecorded(archive: &Archive, packs: &Packs) -> BTreeMap<u64, (u64, u64)> {
    let lost = archive.ledger.notes.lost_packs();
    packs
        .iter()
        .filter(|(number, pack)| pack.state == PackState::Live && !lost.contains(number))
        .map(|(number, pack)| {
            let rest = pack
                .length_bytes
                .saturating_sub(pack.directory_length_bytes);
            (*number, (pack.directory_length_bytes.into(), rest.into()))
        })
        .collect()
}

/// The nodes of the head's tables: about one for each 31 sessions, volumes, keys and packs.
fn catalog_nodes(files: &mut impl Files, archive: &mut Archive) -> Result<HashSet<Id>, Failure> {
    let mut seen = HashSet::new();
    pack_table_nodes(files, archive, &mut |place| {
        seen.insert(place.id);
    })?;
    let (volumes, keys) = (volumes_root(&archive.head), keys_root(&archive.head));
    let tables = archive.volumes(files)?;
    let mut nodes = NodesAtHand(archive.nodes(files));
    let mut first = |id: &Id| seen.insert(*id);
    mark::<VolumesTree, _, _, _>(&volumes, &mut nodes, &mut first, &mut |_| Ok(()))?;
    mark::<KeysTree, _, _, _>(&keys, &mut nodes, &mut first, &mut |_| Ok(()))?;
    for (_, volume) in tables {
        let root = sessions_root(&volume);
        mark::<SessionsTree, _, _, _>(&root, &mut nodes, &mut first, &mut |_| Ok(()))?;
    }
    Ok(seen)
}
