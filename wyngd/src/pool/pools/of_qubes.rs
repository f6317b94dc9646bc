// SPDX-License-Identifier: GPL-3.0-or-later
//! Volumes of qubes that are restored in place. What a volume is now is kept as a read-only
//! snapshot. The new one is made beside it, under a name of ours, and takes the place of the empty
//! volume that qubesd makes for an import: qubesd alone makes it the qube's.
//!
//! It never renames or removes a qube's volume: only an empty volume of an import gets another name,
//! and what is removed has a name of ours.

use wyng_control::{PoolRefusal, TargetFault};

use super::super::kept::kept_tag;
use super::super::kernel::{self, PoolStatus};
use super::super::listed::{Listed, Listing};
use super::super::made::SNAPSHOT_MAX_PERCENT;
use super::super::names::{DmUuid, OwnVolume, QubeVolume};
use super::super::programs::{Call, Move};
use super::super::successor::{Looked, Successor};
use super::super::targets::{self, opened};
use super::super::trouble::Trouble;
use super::{Pool, Pools, UNLISTED, UNNAMED, agreeing, fault, fresh, make, make_room, remove};
use crate::ipc::{MadeFrom, OfQube};

const NO_POOL: TargetFault = TargetFault::Pool(PoolRefusal::NoPool);
const NO_VOLUME: TargetFault = TargetFault::Pool(PoolRefusal::NoVolume);
const NOT_EMPTY: Trouble = Trouble::Answer("the volume of the import is not empty, or not there");

/// A qube's volume in a listing.
struct Place<'a> {
    pool: Pool,
    of: QubeVolume,
    /// The volume as it is now.
    present: Option<&'a Listed>,
    kept: Option<(OwnVolume, &'a Listed)>,
}

impl<'a> Place<'a> {
    /// The pool must be active. The volume need not be there.
    fn find(listing: &'a Listing, of: &OfQube) -> Result<Self, TargetFault> {
        let qube = QubeVolume::of_name(&of.pool.group, &of.name).ok_or(NO_VOLUME)?;
        let mut pools = listing.pools();
        let listed = pools
            .find(|pool| pool.group == of.pool.group && pool.name == of.pool.name)
            .ok_or(NO_POOL)?;
        let device = DmUuid::of_pool(&listed.group_uuid, &listed.uuid)
            .filter(|device| kernel::active(device).is_some())
            .ok_or(NO_POOL)?;
        let tag = |uuid: &str| kept_tag(&of.restore, &qube, uuid);
        Ok(Self {
            present: listing.in_pool(&listed.uuid, qube.volume()),
            kept: listing.kept(&listed.uuid, &tag),
            pool: Pool {
                uuid: listed.uuid.clone(),
                device,
            },
            of: qube,
        })
    }

    /// The volume as it is now, unless a start or an import of it is under way.
    fn at_rest(&self, listing: &Listing) -> Result<&'a Listed, TargetFault> {
        let in_use = [
            self.of.snap(),
            self.of.import().map(|import| import.volume().clone()),
        ];
        let mut in_use = in_use.iter().flatten();
        let is_used = in_use.any(|other| listing.has(other.group(), other.name()));
        self.present.filter(|_| !is_used).ok_or(NO_VOLUME)
    }
}

impl Pools {
    /// What the pool has of a qube's volume. Fails unless the volume is there and at rest, or
    /// something is kept.
    pub(in crate::pool) fn look_at_qube(&mut self, of: &OfQube) -> Result<Looked, TargetFault> {
        let listing = listing()?;
        let place = Place::find(&listing, of)?;
        if place.kept.is_none() {
            place.at_rest(&listing)?;
        }
        let status = PoolStatus::of(&place.pool.device).map_err(|trouble| fault(&trouble))?;
        let kept = place.kept.as_ref().map(|(_, kept)| *kept);
        Ok(Looked {
            kept_bytes: kept.map(|kept| kept.size_bytes),
            is_back: place.present.zip(kept).is_some_and(|(present, kept)| {
                present.origin_uuid == kept.uuid || present.uuid == kept.origin_uuid
            }),
            has_room: !status.is_above(SNAPSHOT_MAX_PERCENT),
        })
    }

    /// Keeps what a qube's volume is now.
    pub(in crate::pool) fn keep_of_qube(&mut self, of: &OfQube) -> Result<(), TargetFault> {
        let listing = listing()?;
        let place = Place::find(&listing, of)?;
        if place.kept.is_some() {
            return Ok(());
        }
        let present = place.at_rest(&listing)?;
        let kept = self
            .lock_snapshots()
            .and_then(|()| self.try_keep(&listing, &place, present, of));
        self.unlock();
        kept.map_err(|trouble| fault(&trouble))
    }

    fn try_keep(
        &mut self,
        listing: &Listing,
        place: &Place<'_>,
        present: &Listed,
        of: &OfQube,
    ) -> Result<(), Trouble> {
        let listing = agreeing(listing.clone(), &place.pool)?;
        self.check_udev(&listing, &place.pool)?;
        make_room(&listing, &place.pool, &self.journal)?;
        let (volume, listing) = make(&present.uuid, &listing)?;
        let kept = label_kept(&volume, &listing, place, of);
        if kept.is_err() {
            remove(&volume);
        }
        kept
    }

    /// Makes a volume that is to take the place of a qube's: a snapshot of it, or of what is kept,
    /// that can be written to and has at least this size. Returns its number.
    pub(in crate::pool) fn make_of_qube(
        &mut self,
        of: &OfQube,
        from: MadeFrom,
        size_bytes: u64,
    ) -> Result<(u32, targets::Made), TargetFault> {
        let listing = listing()?;
        let place = Place::find(&listing, of)?;
        let (own, kept) = place.kept.as_ref().ok_or(NO_VOLUME)?;
        let (origin, uuid) = match from {
            MadeFrom::Kept => (own.volume(), &kept.uuid),
            MadeFrom::Present => {
                // What is kept is what it is now.
                let present = place.at_rest(&listing)?;
                if kept.origin_uuid != present.uuid {
                    return Err(NO_VOLUME);
                }
                (place.of.volume(), &present.uuid)
            }
        };
        let made = self.lock_snapshots().and_then(|()| {
            let listing = agreeing(listing.clone(), &place.pool)?;
            self.check_udev(&listing, &place.pool)?;
            let volume = fresh(origin.group())?;
            let made = Call::SnapshotToWrite {
                origin,
                snapshot: &volume,
            }
            .run()
            .and_then(|_| open(&volume, uuid, &place.pool, size_bytes));
            if made.is_err() {
                remove(&volume);
            }
            made.map(|(own, made)| (volume, own, made))
        });
        match made {
            Ok((volume, uuid, made)) => {
                self.last_number = self.last_number.wrapping_add(1);
                let successor = Successor {
                    volume,
                    uuid,
                    to: place.of,
                    pool_uuid: place.pool.uuid,
                    is_placed: false,
                };
                self.of_qubes.insert(self.last_number, successor);
                Ok((self.last_number, made))
            }
            Err(trouble) => {
                self.unlock();
                Err(fault(&trouble))
            }
        }
    }

    /// Puts a volume that is complete in the place of the empty one that qubesd has made for an
    /// import. It gets that one's size.
    pub(in crate::pool) fn put_import(&mut self, number: u32) -> Result<(), Trouble> {
        let successor = self.of_qubes.get_mut(&number).ok_or(UNLISTED)?;
        let own = &successor.volume;
        let import = successor.to.import().ok_or(UNNAMED)?;
        let listing = Listing::take()?;
        let empty = listing
            .in_pool(&successor.pool_uuid, import.volume())
            .filter(|empty| is_empty(empty))
            .ok_or(NOT_EMPTY)?;
        let size_bytes = listing.named(own).ok_or(UNLISTED)?.size_bytes;
        resize(own, size_bytes, empty.size_bytes)?;
        Move::LetActivate(own).run()?;
        let away = fresh(own.group())?;
        Move::TakeAway {
            import: &import,
            to: &away,
        }
        .run()?;
        let give_back = || {
            Move::PutInPlace {
                volume: &away,
                to: &import,
            }
            .run()
        };
        // Another program may have changed it, or given its name to another volume.
        let listing = Listing::take()?;
        let is_it = |found: &&Listed| found.uuid == empty.uuid && is_empty(found);
        if listing.named(&away).filter(is_it).is_none() {
            give_back()?;
            return Err(NOT_EMPTY);
        }
        let put = Move::PutInPlace {
            volume: own,
            to: &import,
        }
        .run();
        match put {
            Ok(_) => {
                successor.is_placed = true;
                remove(&away);
                Ok(())
            }
            Err(trouble) => {
                give_back()?;
                Err(trouble)
            }
        }
    }

    /// Checks that qubesd has made a volume the qube's, and forgets it.
    pub(in crate::pool) fn check_import(&mut self, number: u32) -> Result<(), Trouble> {
        let successor = self.of_qubes.get(&number).ok_or(UNLISTED)?;
        let listing = Listing::take()?;
        let found = listing.in_pool(&successor.pool_uuid, successor.to.volume());
        if found.is_none_or(|found| found.uuid != successor.uuid) {
            return Err(Trouble::Answer("the import is not the qube's volume"));
        }
        self.of_qubes.remove(&number);
        self.unlock();
        Ok(())
    }

    /// Removes what was kept of a qube's volume.
    pub(in crate::pool) fn give_up_of_qube(&mut self, of: &OfQube) -> Result<(), TargetFault> {
        let listing = listing()?;
        match Place::find(&listing, of)?.kept {
            Some((kept, _)) => Call::Remove(&kept)
                .run()
                .map(drop)
                .map_err(|trouble| fault(&trouble)),
            None => Ok(()),
        }
    }
}

fn listing() -> Result<Listing, TargetFault> {
    Listing::take().map_err(|trouble| fault(&trouble))
}

/// Gives a snapshot the tag of what is kept. Until then it is unfinished.
fn label_kept(
    volume: &OwnVolume,
    listing: &Listing,
    place: &Place<'_>,
    of: &OfQube,
) -> Result<(), Trouble> {
    let listed = listing.named(volume).ok_or(UNLISTED)?;
    let tag = |uuid: &str| kept_tag(&of.restore, &place.of, uuid);
    Call::Label {
        snapshot: volume,
        tag: &tag(&listed.uuid),
    }
    .run()?;
    let listing = Listing::take()?;
    let kept = listing.kept(&place.pool.uuid, &tag);
    if kept.is_some_and(|(kept, _)| kept == *volume) {
        Ok(())
    } else {
        Err(Trouble::Answer("the tag is not there"))
    }
}

/// Makes a new snapshot as long as it must be, and opens it. It must be one of the volume with this
/// UUID: another program may have given the name to another volume. Returns its own UUID.
fn open(
    volume: &OwnVolume,
    origin_uuid: &str,
    pool: &Pool,
    size_bytes: u64,
) -> Result<(String, targets::Made), Trouble> {
    let listing = Listing::take()?;
    let listed = listing.named(volume).ok_or(UNLISTED)?;
    if listed.origin_uuid != origin_uuid || listed.pool_uuid != pool.uuid {
        return Err(Trouble::Answer("the snapshot is one of another volume"));
    }
    if listed.size_bytes < size_bytes {
        Move::Extend { volume, size_bytes }.run()?;
    }
    let made = opened(volume, &pool.device, size_bytes)?;
    Ok((listed.uuid.clone(), made))
}

/// Whether nothing was ever written to a volume, and it is no snapshot.
fn is_empty(volume: &Listed) -> bool {
    let device = volume.device_uuid();
    volume.origin_uuid.is_empty()
        && device.is_some_and(|device| kernel::mapped_bytes(&device) == Some(0))
}

/// Gives one of our volumes the size of another. What lies behind a shorter end is zeros by then.
fn resize(volume: &OwnVolume, size_bytes: u64, wanted_bytes: u64) -> Result<(), Trouble> {
    if size_bytes < wanted_bytes {
        let size_bytes = wanted_bytes;
        Move::Extend { volume, size_bytes }.run()?;
    } else if size_bytes > wanted_bytes {
        let knows_fs = Move::ReduceOptions.run()?.contains("--fs ");
        Move::Reduce {
            volume,
            size_bytes: wanted_bytes,
            knows_fs,
        }
        .run()?;
    }
    let listing = Listing::take()?;
    let is_so = |found: &Listed| found.size_bytes == wanted_bytes;
    if listing.named(volume).is_some_and(is_so) {
        Ok(())
    } else {
        Err(Trouble::Answer("the volume has another size"))
    }
}
