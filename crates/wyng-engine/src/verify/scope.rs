// SPDX-License-Identifier: GPL-3.0-or-later
//! What a verify is to check, from the authenticated head and the cached trees; never from a
//! listing.

use std::collections::{BTreeSet, HashSet};

use wyng_archive::crypto::Id;
use wyng_archive::format::{
    ContentTree, KeysTree, SessionEntry, SessionsTree, VolumeEntry, VolumesTree,
};
use wyng_archive::plan::mark;
use wyng_control::{Failure, SessionChoice};

use crate::archive::{
    Archive, NodesAtHand, Packs, content_root, keys_root, sessions_root, volumes_root,
};
use crate::store::{packs_below, packs_of};
use crate::world::{Client, Files};

/// A session, and the volume that it is of.
pub(super) type NamedSession = (VolumeEntry, SessionEntry);

/// The sessions that are to be checked.
pub(super) struct Chosen {
    /// Sessions of volumes whose session table can be read.
    pub sessions: Vec<NamedSession>,
    /// Volumes whose session table is lost, so that their sessions are not known.
    pub lists_lost: Vec<VolumeEntry>,
    /// Everything that the archive owns was asked for.
    is_whole_archive: bool,
}

impl Chosen {
    /// The sessions of the volumes with these names (empty: of every volume); with `choice` one
    /// session of each.
    pub(super) fn of(
        files: &mut impl Files,
        archive: &mut Archive,
        names: &[String],
        choice: Option<&SessionChoice>,
    ) -> Result<Self, Failure> {
        let volumes = archive.volumes(files)?;
        if let Some(unknown) = names
            .iter()
            .find(|name| volumes.iter().all(|(_, volume)| volume.name != **name))
        {
            return Err(Failure::UnknownVolume {
                volume: unknown.clone(),
            });
        }
        let (mut chosen, mut lists_lost) = (Vec::new(), Vec::new());
        for (_, volume) in volumes {
            if !names.is_empty() && !names.contains(&volume.name) {
                continue;
            }
            let sessions = match choice {
                None => archive.sessions(files, &volume),
                Some(choice) => archive
                    .choose(files, &volume, choice)
                    .map(|session| vec![session]),
            };
            match sessions {
                Ok(sessions) => chosen.extend(
                    sessions
                        .into_iter()
                        .map(|session| (volume.clone(), session)),
                ),
                Err(Failure::SessionsLost { .. }) => lists_lost.push(volume),
                Err(Failure::UnknownSession { .. }) if names.is_empty() => {}
                Err(failure) => return Err(failure),
            }
        }
        match choice {
            Some(choice) if chosen.is_empty() && lists_lost.is_empty() => Err(Failure::NoSession {
                session: choice.to_string(),
            }),
            _ => Ok(Self {
                sessions: chosen,
                lists_lost,
                is_whole_archive: names.is_empty() && choice.is_none(),
            }),
        }
    }
}

/// What is read and compared.
pub(super) struct Scope {
    /// Every pack of the archive.
    pub packs: Packs,
    /// Numbers of the packs that are read.
    pub needed: BTreeSet<u64>,
    /// Sessions that must be complete.
    pub sessions: Vec<NamedSession>,
    /// Slots, commits and the listing of the store are checked too.
    pub is_whole_archive: bool,
    /// Maximum number of bytes of the packs that are read.
    pub budget_bytes: Option<u64>,
}

impl Scope {
    /// The packs in which the chosen sessions lie; all packs in use, if the whole archive was
    /// requested.
    pub(super) fn of(
        files: &mut impl Files,
        client: &mut impl Client,
        archive: &mut Archive,
        chosen: Chosen,
        budget_bytes: Option<u64>,
    ) -> Result<Self, Failure> {
        let packs = packs_of(files, archive)?;
        let needed = if chosen.is_whole_archive {
            // A pack that was given up may be gone, which is no damage.
            let in_use = packs
                .iter()
                .filter(|(_, pack)| pack.state.given_up().is_none());
            in_use.map(|(number, _)| *number).collect()
        } else {
            packs_needed(files, client, archive, &chosen.sessions)?
        };
        Ok(Self {
            packs,
            needed,
            sessions: chosen.sessions,
            is_whole_archive: chosen.is_whole_archive,
            budget_bytes,
        })
    }
}

/// The packs in which records of these sessions lie, and the nodes by which they are found and
/// opened.
fn packs_needed(
    files: &mut impl Files,
    client: &mut impl Client,
    archive: &mut Archive,
    sessions: &[NamedSession],
) -> Result<BTreeSet<u64>, Failure> {
    let mut needed = BTreeSet::new();
    packs_below(files, archive, &mut |pack, _| {
        needed.insert(pack);
    })?;
    let mut ids = catalog_nodes(files, archive, sessions)?;
    for (_, session) in sessions {
        if client.cancelled() {
            return Err(Failure::Interrupted);
        }
        ids.extend(reached(files, archive, session)?);
        for id in ids.drain() {
            if let Some(location) = archive.cache.index.find(files, &id)? {
                needed.insert(location.pack);
            }
        }
    }
    Ok(needed)
}

/// The nodes by which these sessions are found and opened: of the volume table, of each volume's
/// session table, and of the key table.
fn catalog_nodes(
    files: &mut impl Files,
    archive: &mut Archive,
    sessions: &[NamedSession],
) -> Result<HashSet<Id>, Failure> {
    let (volumes, keys) = (volumes_root(&archive.head), keys_root(&archive.head));
    let mut seen = HashSet::new();
    let mut nodes = NodesAtHand(archive.nodes(files));
    mark::<VolumesTree, _, _, _>(
        &volumes,
        &mut nodes,
        &mut |id| seen.insert(*id),
        &mut |_| Ok(()),
    )?;
    mark::<KeysTree, _, _, _>(&keys, &mut nodes, &mut |id| seen.insert(*id), &mut |_| {
        Ok(())
    })?;
    for (volume, _) in sessions {
        mark::<SessionsTree, _, _, _>(
            &sessions_root(volume),
            &mut nodes,
            &mut |id| seen.insert(*id),
            &mut |_| Ok(()),
        )?;
    }
    Ok(seen)
}

/// All nodes and chunks that a session reaches.
pub(super) fn reached(
    files: &mut impl Files,
    archive: &mut Archive,
    session: &SessionEntry,
) -> Result<HashSet<Id>, Failure> {
    let (mut nodes_seen, mut chunks) = (HashSet::new(), HashSet::new());
    let root = content_root(session);
    mark::<ContentTree, _, _, _>(
        &root,
        &mut NodesAtHand(archive.nodes(files)),
        &mut |id| nodes_seen.insert(*id),
        &mut |id| {
            chunks.insert(*id);
            Ok(())
        },
    )?;
    nodes_seen.extend(chunks);
    Ok(nodes_seen)
}
