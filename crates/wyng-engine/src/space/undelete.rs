// SPDX-License-Identifier: GPL-3.0-or-later
//! Bringing back a session that was removed, within its hold-off: its packs become live again in
//! the commit that has its entry. It keeps its number and its generation, and is pinned.

use std::collections::{BTreeMap, BTreeSet};

use wyng_archive::crypto::{Coder, Id};
use wyng_archive::format::{
    PackEntry, PackState, SessionEntry, SessionsTree, Stamp, VolumeEntry, VolumeId,
};
use wyng_archive::plan::hold_off::HoldOffs;
use wyng_archive::plan::pack_life::Pack;
use wyng_archive::plan::undelete::{Refusal, free_name, packs_to_revive};
use wyng_archive::{Class, Damage};
use wyng_control::{ExitStatus, Failure, Phase, Progress, SessionChoice, ToClient, UndeleteReport};
use wyng_wire::Service;

use super::alive::{Roots, alive_packs};
use super::history::{Removed, Walk};
use super::notes::bring_in_notes;
use super::waste::nothing_read;
use crate::archive::{Archive, NodesAtHand, Packs, collect, session_name, sessions_root};
use crate::cache::PacksAtHand;
use crate::kept::kept_now;
use crate::locking::connect_to_push;
use crate::outcome::{damaged, is_refusal};
use crate::pool::Pool;
use crate::store::{
    Changes, CommitPoint, EditedVolume, PackChanges, Packer, commit, confirm_head, hash_pack,
    packs_of, read_pack, settle_pending,
};
use crate::world::{Client, Parts, Store, World};

/// Request of an undelete.
#[derive(Debug, Clone)]
pub struct UndeleteRequest {
    /// The archive's name.
    pub archive: String,
    /// The volume's name when the session was removed.
    pub volume: String,
    /// The session.
    pub session: SessionChoice,
}

/// Brings a session back.
pub fn undelete<P: Parts>(
    world: &mut World<P>,
    request: &UndeleteRequest,
) -> Result<ExitStatus, Failure> {
    let mut archive = Archive::open(&mut world.files, &mut world.secrets, &request.archive)?;
    archive.may_write()?;
    archive.tidy_cache(&mut world.files)?;
    connect_to_push(world, &mut archive)?;
    settle_pending(&mut world.files, &mut world.store, &mut archive)?;
    confirm_head(&mut world.files, &mut world.store, &mut archive)?;
    let mut pool = Pool::new(0, archive.head.settings.zstd_level)?;
    bring_in_notes(world, &mut archive, &mut pool)?;
    let may_fetch = match archive.connect(&mut world.store, Service::Fetch) {
        Ok(()) => true,
        Err(failure) if is_refusal(&failure) => false,
        Err(failure) => return Err(failure),
    };
    if may_fetch {
        learn_given_up(world, &mut archive)?;
    }
    let present = present_sessions(world, &mut archive)?;
    let World {
        files,
        store,
        client,
        ..
    } = &mut *world;
    let mut walk = Walk {
        archive: &mut archive,
        may_fetch,
        present: &present,
    };
    let found = walk.find(files, store, client, &request.volume, &request.session);
    let removed = match found {
        Err(failure @ Failure::UnknownSession { .. }) => {
            archive.look_for_packs(&mut world.files)?;
            return Err(not_found(world, &mut archive, request, failure));
        }
        found => found?,
    };
    let packs = packs_of(&mut world.files, &mut archive)?;
    let revived = revive(world, &mut archive, &packs, &removed)?;
    let read_bytes = if may_fetch {
        let read_bytes = read_back(world, &packs, &revived)?;
        world.store.finish_fetch()?;
        Some(read_bytes)
    } else {
        None
    };
    let session = removed.session.time;
    let volume = bring_back(world, &mut archive, &mut pool, (&packs, &revived), removed)?;
    world.store.finish_push()?;
    world.client.tell(ToClient::Undeleted(UndeleteReport {
        volume,
        session,
        revived_packs: revived.len() as u64,
        read_bytes,
    }))?;
    Ok(ExitStatus::Done)
}

/// The sessions that the head has, by their volumes and indices in the session tables.
fn present_sessions<P: Parts>(
    world: &mut World<P>,
    archive: &mut Archive,
) -> Result<BTreeSet<(VolumeId, u64)>, Failure> {
    let mut present = BTreeSet::new();
    for (_, volume) in archive.volumes(&mut world.files)? {
        let mut nodes = NodesAtHand(archive.nodes(&mut world.files));
        let sessions = collect::<SessionsTree, _>(&sessions_root(&volume), &mut nodes)?;
        present.extend(sessions.iter().map(|(number, _)| (volume.id, *number)));
    }
    Ok(present)
}

/// The failure where no removed session fits: a session that the head has was not removed.
fn not_found<P: Parts>(
    world: &mut World<P>,
    archive: &mut Archive,
    request: &UndeleteRequest,
    failure: Failure,
) -> Failure {
    let Ok(volumes) = archive.volumes(&mut world.files) else {
        return failure;
    };
    let named = volumes
        .iter()
        .find(|(_, volume)| volume.name == request.volume);
    let Some((_, volume)) = named else {
        return failure;
    };
    match archive.choose(&mut world.files, volume, &request.session) {
        Ok(session) => Failure::NotRemoved {
            volume: request.volume.clone(),
            session: session_name(session.time),
        },
        Err(Failure::AmbiguousSession {
            volume, session, ..
        }) => Failure::NotRemoved { volume, session },
        Err(_) => failure,
    }
}

/// Adds the contents of given-up packs to the cache where it lacks them: a cache that was built
/// anew passed these packs over.
fn learn_given_up<P: Parts>(world: &mut World<P>, archive: &mut Archive) -> Result<(), Failure> {
    let packs = packs_of(&mut world.files, archive)?;
    let mut unknown: BTreeSet<u64> = packs
        .iter()
        .filter(|(_, entry)| matches!(entry.state, PackState::GivenUp(_)))
        .map(|(number, _)| *number)
        .collect();
    let index = &archive.cache.index;
    index.visit(&mut world.files, &mut |_, _, location| {
        unknown.remove(&location.pack);
        Ok(())
    })?;
    if unknown.is_empty() {
        return Ok(());
    }
    let mut coder = Coder::new(0).map_err(|_| Failure::OutOfMemory)?;
    archive.reopen_cache(&mut world.files)?;
    for number in unknown {
        if let Some(entry) = packs.get(&number) {
            let (store, credential) = (&mut world.store, &archive.credential);
            let (pack, _) = read_pack(store, credential, &mut coder, number, entry)?;
            archive.cache.add_pack(&mut world.files, &pack)?;
        }
    }
    archive.save_cache(&mut world.files)
}

/// The packs that become live again. The index is opened to packs that were given up, so that what
/// the session needs is found in them.
fn revive<P: Parts>(
    world: &mut World<P>,
    archive: &mut Archive,
    packs: &Packs,
    removed: &Removed,
) -> Result<BTreeSet<u64>, Failure> {
    let gone = |refusal: &Refusal| Failure::CannotUndelete {
        volume: removed.volume.name.clone(),
        session: session_name(removed.session.time),
        why: refusal.to_string(),
    };
    let present = packs
        .iter()
        .filter(|(_, entry)| !matches!(entry.state, PackState::Going(_)));
    archive.cache.index.set_packs(PacksAtHand {
        end: archive.head.next_pack(),
        present: present.map(|(number, _)| *number).collect(),
    });
    let roots = Roots::of_session(removed.session.clone());
    let World { files, client, .. } = &mut *world;
    let alive = alive_packs(files, client, archive, &roots, &nothing_read)?;
    let mut needs = alive.packs;
    // A live copy needs no pack that was given up beside it.
    let live = |number: &u64| {
        let entry = packs.get(number);
        entry.is_some_and(|entry| entry.state == PackState::Live)
    };
    archive.cache.index.set_packs(PacksAtHand {
        end: archive.head.next_pack(),
        present: needs.iter().copied().filter(live).collect(),
    });
    let World { files, client, .. } = &mut *world;
    let by_live = alive_packs(files, client, archive, &roots, &nothing_read)?;
    if by_live.unknown == 0 {
        needs.retain(live);
    }
    let table: BTreeMap<u64, Pack> = packs
        .iter()
        .map(|(number, entry)| (*number, Pack::from(entry)))
        .collect();
    let now = Stamp {
        run: archive.head.stamp.stamp.run,
        kept_secs: kept_now(&mut world.files, &mut world.clock, archive)?,
    };
    let hold_offs = HoldOffs::of_commit(&archive.head);
    let left = hold_offs.of(removed.removed).left(removed.removed, now);
    if alive.unknown > 0 && !left.is_over() {
        return Err(Failure::CannotUndelete {
            volume: removed.volume.name.clone(),
            session: session_name(removed.session.time),
            why: "packs that it needs are being deleted, or are deleted".into(),
        });
    }
    packs_to_revive(removed.removed, now, &hold_offs, &table, &needs)
        .map_err(|refusal| gone(&refusal))
}

/// Reads the packs whole, so that no session comes back that cannot be restored.
fn read_back<P: Parts>(
    world: &mut World<P>,
    packs: &Packs,
    revived: &BTreeSet<u64>,
) -> Result<u64, Failure> {
    let mut read_bytes = 0u64;
    let revived = revived.iter().filter_map(|number| packs.get(number));
    let total_bytes = revived.clone().fold(0u64, |sum, entry| {
        sum.saturating_add(entry.length_bytes.into())
    });
    for entry in revived {
        if world.client.cancelled() {
            return Err(Failure::Interrupted);
        }
        let count = &mut |bytes| read_bytes = read_bytes.saturating_add(bytes);
        if let Some(fault) = hash_pack(&mut world.store, entry, count)? {
            return Err(damaged(&Damage::new(Class::Pack, entry.name.0, fault)));
        }
        world.client.progress(Progress {
            phase: Phase::Verifying,
            volume: None,
            done_bytes: read_bytes,
            total_bytes,
            sent_bytes: 0,
        });
    }
    Ok(read_bytes)
}

/// Makes the commit with the session's entry; the volume's name.
fn bring_back<P: Parts>(
    world: &mut World<P>,
    archive: &mut Archive,
    pool: &mut Pool,
    (packs, revived): (&Packs, &BTreeSet<u64>),
    removed: Removed,
) -> Result<String, Failure> {
    archive.follow_head(&mut world.files)?;
    let Removed {
        volume_number,
        volume,
        number,
        mut session,
        ..
    } = removed;
    session.pinned = true;
    let volumes = archive.volumes(&mut world.files)?;
    let present = volumes.iter().find(|(_, present)| present.id == volume.id);
    let (volume_number, entry) = match present {
        Some((present, entry)) => (*present, entry.clone()),
        None => {
            let taken = volumes.iter().map(|(_, volume)| volume.name.clone());
            let name = free_name(&volume.name, &taken.collect());
            let name = name.ok_or(Failure::CannotUndelete {
                volume: volume.name.clone(),
                session: session_name(session.time),
                why: "every name for its volume is taken".into(),
            })?;
            let empty = VolumeEntry {
                name,
                sessions_root: Id::ZERO,
                ..volume
            };
            (volume_number, empty)
        }
    };
    let name = entry.name.clone();
    let mut changes = PackChanges::default();
    for number in revived {
        if let Some(pack) = packs.get(number) {
            let state = PackState::Live;
            changes
                .entries
                .insert(*number, PackEntry { state, ..*pack });
        }
    }
    if changes.leaves() > PackChanges::leaves_max(&archive.head) {
        // The packs come first: without the session, they are only kept longer.
        let mut packer = Packer::after(archive, Vec::new());
        while changes.leaves() > PackChanges::leaves_max(&archive.head) {
            let packs = changes.take_part(&archive.head);
            let part = Changes {
                packs,
                ..Changes::default()
            };
            commit(world, archive, pool, &mut packer, part)?;
        }
    }
    let sessions: Vec<(u64, Option<SessionEntry>)> = vec![(number, Some(session))];
    let mut packer = Packer::after(archive, Vec::new());
    let changes = Changes {
        edited: vec![EditedVolume {
            number: volume_number,
            entry,
            sessions,
        }],
        packs: changes,
        point: CommitPoint::EndOfRun,
        ..Changes::default()
    };
    commit(world, archive, pool, &mut packer, changes)?;
    Ok(name)
}
