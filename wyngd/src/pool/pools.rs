// SPDX-License-Identifier: GPL-3.0-or-later
//! What the role does with pools: a snapshot that lives for a run, its ranges, its label once its
//! session is committed, and the removal of what is not needed.

mod of_qubes;

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::path::Path;

use rustix::fs::OFlags;
use wyng_control::{
    BaseLabel, BaseOf, LogicalName, Method, OwnName, PoolRefusal, TargetFault, ThinPlace,
    ThinRemoval, ThinWaste, WholeCause,
};

use super::journal::Journal;
use super::kernel::{self, PoolStatus, ThinTable};
use super::label::{Identity, Label};
use super::listed::{Listed, Listing};
use super::made::{BASES_MAX_PERCENT, Made, SNAPSHOT_MAX_PERCENT};
use super::names::{DmUuid, OwnVolume};
use super::programs::{Call, LVM};
use super::reservation::Patience;
use super::successor::Successor;
use super::targets::{self, NewVolume};
use super::trouble::Trouble;
use super::udev;
use super::walk::{Found, Wanted, walk};
use super::waste;
use super::zfs::{self, Zvols};
use crate::ipc::{CHANGES_MAX, DeviceNumber, RangeKind};

/// How often LVM and the kernel are compared before they count as apart: another program may change
/// the pool between the two looks.
const LOOKS_MAX: usize = 3;
/// How often a volume's name is looked up again when it was renamed before the snapshot was made.
const RENAMES_MAX: usize = 3;

/// The pools of this machine, and the snapshots of this run.
pub(super) struct Pools {
    journal: Journal,
    patience: Patience,
    /// The pools on which udev's rules were tried, by their volumes' UUIDs.
    checked: BTreeSet<String>,
    snapshots: HashMap<u32, Snapshot>,
    /// New volumes that are not complete.
    targets: HashMap<u32, NewVolume>,
    /// New volumes that are to take the places of qubes' volumes.
    of_qubes: HashMap<u32, Successor>,
    /// Snapshots of ZFS volumes. Their numbers are of the same row.
    zvols: Zvols,
    last_number: u32,
    /// As long as it is held, no other daemon takes our snapshots for leftovers.
    lock: Option<File>,
}

/// A snapshot without a label.
struct Snapshot {
    volume: OwnVolume,
    pool: Pool,
    /// UUID of the snapshot.
    uuid: String,
    device: u64,
    size_bytes: u64,
    base: Option<(OwnVolume, Label)>,
    of: BaseOf,
    ranges: Ranges,
    transaction: Option<u64>,
}

/// A snapshot's ranges, or why there are none.
enum Ranges {
    Unasked,
    Found {
        /// `None`: there was no base to compare with.
        changes: Option<std::vec::IntoIter<(u64, u64)>>,
        holes: std::vec::IntoIter<(u64, u64)>,
    },
    Unknown(WholeCause),
}

/// A pool by its UUIDs.
#[derive(Clone)]
struct Pool {
    uuid: String,
    device: DmUuid,
}

impl Pools {
    /// Starts no program yet.
    pub(super) fn new() -> Result<Self, Trouble> {
        Ok(Self {
            journal: Journal::of_machine()?,
            patience: Patience::usual(),
            checked: BTreeSet::new(),
            snapshots: HashMap::new(),
            targets: HashMap::new(),
            of_qubes: HashMap::new(),
            zvols: Zvols::default(),
            last_number: 0,
            lock: None,
        })
    }

    /// Snapshots the volume behind a device, and activates the snapshot.
    pub(super) fn snapshot(&mut self, device: DeviceNumber, of: BaseOf) -> Result<Made, Trouble> {
        let Some((group_uuid, uuid)) = kernel::volume_of(device) else {
            return self.snapshot_zvol(device, of);
        };
        let listing = Listing::take()?;
        let source = listing
            .thin(&uuid)
            .filter(|source| source.group_uuid == group_uuid)
            .ok_or(Trouble::NotThin)?;
        let pool = Pool {
            device: DmUuid::of_pool(&group_uuid, &source.pool_uuid).ok_or(Trouble::NotThin)?,
            uuid: source.pool_uuid.clone(),
        };
        let listing = agreeing(listing, &pool)?;
        self.lock_snapshots()?;
        self.check_udev(&listing, &pool)?;
        let dropped = make_room(&listing, &pool, &self.journal)?;
        let (volume, listing) = make(&uuid, &listing)?;
        match self.activate(&volume, &listing, pool, of) {
            Ok(made) => Ok(Made {
                whole: match (&made.base, dropped) {
                    (Some(_), _) => None,
                    (None, true) => Some(WholeCause::BaseDropped),
                    (None, false) => Some(WholeCause::NoBase),
                },
                ..made
            }),
            Err(trouble) => {
                remove(&volume);
                Err(trouble)
            }
        }
    }

    /// Snapshots the ZFS volume behind a device, and clones the snapshot.
    fn snapshot_zvol(&mut self, device: DeviceNumber, of: BaseOf) -> Result<Made, Trouble> {
        if !zfs::is_there() {
            return Err(Trouble::NotThin);
        }
        let volume = Zvols::find(device)?.ok_or(Trouble::NotThin)?;
        self.lock_snapshots()?;
        self.last_number = self.last_number.wrapping_add(1);
        let made = self.zvols.snapshot(self.last_number, &volume, of);
        self.unlock();
        made
    }

    /// Removes what killed runs left, if no other daemon has snapshots; and keeps others from
    /// removing ours.
    fn lock_snapshots(&mut self) -> Result<(), Trouble> {
        if self.lock.is_some() {
            return Ok(());
        }
        if let Some(_alone) = self.journal.lock_leftovers()? {
            // Only from here on does no other daemon label any. What one kind of pool refuses does
            // not keep the other from being used.
            for swept in [sweep_lvm(), sweep_zfs()] {
                if let Err(trouble) = swept {
                    tracing::warn!(%trouble, "what killed runs left stays until a later run");
                }
            }
        }
        self.lock = self.journal.lock_snapshots()?;
        match self.lock {
            Some(_) => Ok(()),
            None => Err(Trouble::Unfit(
                WholeCause::DaemonTidies,
                "another daemon is tidying up".into(),
            )),
        }
    }

    fn check_udev(&mut self, listing: &Listing, pool: &Pool) -> Result<(), Trouble> {
        if self.checked.contains(&pool.uuid) {
            return Ok(());
        }
        let listed = listing.pool(&pool.uuid).ok_or(Trouble::NotThin)?;
        let name = listed.volume().ok_or(UNNAMED)?;
        udev::check(&name, &fresh(&listed.group)?, |empty| {
            let listing = Listing::take()?;
            listing
                .named(empty)
                .and_then(Listed::device_uuid)
                .ok_or(UNLISTED)
        })?;
        self.checked.insert(pool.uuid.clone());
        Ok(())
    }

    fn activate(
        &mut self,
        volume: &OwnVolume,
        listing: &Listing,
        pool: Pool,
        of: BaseOf,
    ) -> Result<Made, Trouble> {
        let listed = listing.named(volume).ok_or(UNLISTED)?;
        if !listed.is_still(&pool.uuid) {
            return Err(Trouble::Answer("the snapshot can be written to"));
        }
        let uuid = listed.device_uuid().ok_or(UNLISTED)?;
        Call::Activate(volume).run()?;
        let table = ThinTable::of(&uuid)?;
        let pool_device = kernel::active(&pool.device);
        if Some(table.pool) != pool_device
            || Some(table.device) != listed.device
            || table.size_bytes != listed.size_bytes
        {
            return Err(Trouble::Answer("the snapshot is not what lvm lists"));
        }
        let device = kernel::active(&uuid).ok_or(UNLISTED)?;
        let device = kernel::open(device, OFlags::empty())?;
        let base = listing.bases(&pool.uuid, &of).into_iter().next();
        self.last_number = self.last_number.wrapping_add(1);
        let made = Made {
            number: self.last_number,
            size_bytes: listed.size_bytes,
            base: base
                .as_ref()
                .map(|(_, label)| (label.base, label.identity.size_bytes)),
            whole: None,
            method: Method::ThinDelta,
            device,
        };
        let snapshot = Snapshot {
            volume: volume.clone(),
            uuid: listed.uuid.clone(),
            device: table.device,
            size_bytes: listed.size_bytes,
            pool,
            base,
            of,
            ranges: Ranges::Unasked,
            transaction: None,
        };
        self.snapshots.insert(self.last_number, snapshot);
        Ok(made)
    }

    /// The next ranges of a snapshot, or why they are not known.
    pub(super) fn next_ranges(
        &mut self,
        number: u32,
        kind: RangeKind,
    ) -> Result<Vec<(u64, u64)>, WholeCause> {
        if self.zvols.has(number) {
            return self.zvols.next_ranges(number, kind);
        }
        let snapshot = self
            .snapshots
            .get_mut(&number)
            .ok_or(WholeCause::LvmFailed)?;
        if matches!(snapshot.ranges, Ranges::Unasked) {
            snapshot.look(kind, &self.journal, self.patience);
        }
        match (&mut snapshot.ranges, kind) {
            (Ranges::Found { changes, .. }, RangeKind::Changes) => {
                let changes = changes.as_mut().ok_or(WholeCause::NoBase)?;
                Ok(changes.take(CHANGES_MAX).collect())
            }
            (Ranges::Found { holes, .. }, RangeKind::Holes) => {
                Ok(holes.take(CHANGES_MAX).collect())
            }
            (Ranges::Unknown(cause), _) => Err(*cause),
            (Ranges::Unasked, _) => Err(WholeCause::LvmFailed),
        }
    }

    /// Makes a snapshot the base, and removes the base before it.
    pub(super) fn keep(&mut self, number: u32, base: BaseLabel) -> Result<(), Trouble> {
        if self.zvols.has(number) {
            let kept = self.zvols.keep(number, base);
            self.unlock();
            return kept;
        }
        let snapshot = self.snapshots.remove(&number).ok_or(UNLISTED)?;
        let kept = snapshot.keep(base);
        match &kept {
            Ok(()) => note(self.journal.forget_dropped(&snapshot.pool.uuid)),
            Err(_) => remove(&snapshot.volume),
        }
        self.unlock();
        kept
    }

    /// Removes the bases of a snapshot's volume, or that of a new volume.
    pub(super) fn drop_base(&mut self, number: u32) -> Result<(), Trouble> {
        if self.zvols.has(number) {
            return self.zvols.drop_base(number);
        }
        if let Some(base) = self.targets.get(&number).and_then(NewVolume::base) {
            return Call::Remove(base).run().map(drop);
        }
        let snapshot = self.snapshots.get_mut(&number).ok_or(UNLISTED)?;
        snapshot.base = None;
        for (volume, _) in Listing::take()?.bases(&snapshot.pool.uuid, &snapshot.of) {
            Call::Remove(&volume).run()?;
        }
        Ok(())
    }

    /// Removes a snapshot that is not needed.
    pub(super) fn release(&mut self, number: u32) {
        if let Some(snapshot) = self.snapshots.remove(&number) {
            remove(&snapshot.volume);
        }
        if let Some(target) = self.targets.remove(&number) {
            remove(&target.volume);
        }
        if let Some(new) = self.of_qubes.remove(&number).filter(|new| !new.is_placed) {
            remove(&new.volume);
        }
        self.zvols.release(number);
        self.unlock();
    }

    /// Makes a new volume for a restore, under a name of ours; returns its number.
    pub(super) fn make(
        &mut self,
        place: &ThinPlace,
        size_bytes: u64,
        of: &BaseOf,
    ) -> Result<(u32, targets::Made), TargetFault> {
        let listing = Listing::take().map_err(|trouble| fault(&trouble))?;
        let mut pools = listing.pools();
        let listed = pools
            .find(|pool| pool.group == place.pool.group && pool.name == place.pool.name)
            .ok_or(TargetFault::Pool(PoolRefusal::NoPool))?;
        if listing.has(&place.pool.group, &place.name) {
            return Err(TargetFault::VolumeExists);
        }
        let device = DmUuid::of_pool(&listed.group_uuid, &listed.uuid)
            .filter(|device| kernel::active(device).is_some())
            .ok_or(TargetFault::Pool(PoolRefusal::NoPool))?;
        let pool = Pool {
            device,
            uuid: listed.uuid.clone(),
        };
        self.make_in(&listing, &pool, place, (size_bytes, of))
            .map_err(|trouble| fault(&trouble))
    }

    fn make_in(
        &mut self,
        listing: &Listing,
        pool: &Pool,
        place: &ThinPlace,
        wish: (u64, &BaseOf),
    ) -> Result<(u32, targets::Made), Trouble> {
        let listing = agreeing(listing.clone(), pool)?;
        self.lock_snapshots()?;
        self.check_udev(&listing, pool)?;
        let listed = listing.pool(&pool.uuid).ok_or(UNLISTED)?;
        let volume = fresh(&listed.group)?;
        let target = NewVolume::plan(volume, place, wish, (&listing, listed)).ok_or(UNNAMED)?;
        match target.make(listed, &pool.device, wish.0) {
            Ok(made) => {
                self.last_number = self.last_number.wrapping_add(1);
                self.targets.insert(self.last_number, target);
                Ok((self.last_number, made))
            }
            Err(trouble) => {
                remove(&target.volume);
                self.unlock();
                Err(trouble)
            }
        }
    }

    /// Gives a new volume its name, by which it stays.
    pub(super) fn name(&mut self, number: u32) -> Result<(), Trouble> {
        self.targets.get(&number).ok_or(UNLISTED)?.name()?;
        self.targets.remove(&number);
        self.unlock();
        Ok(())
    }

    /// Removes what a person wants to have removed. What a run uses stays.
    pub(super) fn discard(&mut self, waste: &ThinWaste) -> ThinRemoval {
        let removed = match waste {
            ThinWaste::Volume(OwnName::Logical(name)) => self.discard_volume(name),
            ThinWaste::Volume(OwnName::Zfs(name)) => self.zvols.discard(&self.journal, name),
            ThinWaste::MetadataOf(pool) => waste::release_metadata(&self.journal, pool),
        };
        removed.unwrap_or_else(|trouble| {
            tracing::warn!(%trouble, "something stays in a pool");
            ThinRemoval::Failed
        })
    }

    fn discard_volume(&self, name: &LogicalName) -> Result<ThinRemoval, Trouble> {
        let volume = OwnVolume::of_name(&name.group, &name.name).ok_or(UNNAMED)?;
        let is_held = |snapshot: &Snapshot| {
            snapshot.volume == volume
                || snapshot
                    .base
                    .as_ref()
                    .is_some_and(|(base, _)| *base == volume)
        };
        let of_target =
            |target: &NewVolume| target.volume == volume || target.base() == Some(&volume);
        let of_qube = |new: &Successor| new.volume == volume;
        if self.snapshots.values().any(is_held)
            || self.targets.values().any(of_target)
            || self.of_qubes.values().any(of_qube)
        {
            return Ok(ThinRemoval::InUse);
        }
        waste::remove(&self.journal, &volume)
    }

    /// Removes all snapshots that have no label.
    pub(super) fn release_all(&mut self) {
        for (_, snapshot) in self.snapshots.drain() {
            remove(&snapshot.volume);
        }
        for (_, target) in self.targets.drain() {
            remove(&target.volume);
        }
        for (_, new) in self.of_qubes.drain().filter(|(_, new)| !new.is_placed) {
            remove(&new.volume);
        }
        self.zvols.release_all();
        self.unlock();
    }

    fn unlock(&mut self) {
        let is_idle = self.snapshots.is_empty() && self.targets.is_empty();
        if is_idle && self.of_qubes.is_empty() && self.zvols.is_empty() {
            self.lock = None;
        }
    }
}

impl Snapshot {
    fn look(&mut self, kind: RangeKind, journal: &Journal, patience: Patience) {
        let base = self.base.as_ref().map(|(_, label)| &label.identity);
        let wanted = Wanted {
            pool: self.pool.device.clone(),
            pool_uuid: &self.pool.uuid,
            device: self.device,
            size_bytes: self.size_bytes,
            base: base.filter(|_| kind == RangeKind::Changes),
        };
        self.ranges = match walk(&wanted, journal, patience) {
            Ok(Found {
                transaction,
                changes,
                holes,
            }) => {
                self.transaction = Some(transaction);
                Ranges::Found {
                    changes: changes.map(Vec::into_iter),
                    holes: holes.into_iter(),
                }
            }
            Err(trouble) => {
                tracing::warn!(%trouble, "a thin volume is read whole");
                Ranges::Unknown(trouble.cause().unwrap_or(WholeCause::LvmFailed))
            }
        };
    }

    fn keep(&self, base: BaseLabel) -> Result<(), Trouble> {
        let transaction = self.transaction.ok_or(Trouble::Answer(
            "the snapshot cannot be recognised later, because the metadata was not read",
        ))?;
        let label = Label {
            base,
            identity: Identity {
                pool: self.pool.uuid.clone(),
                volume: self.uuid.clone(),
                device: self.device,
                transaction,
                size_bytes: self.size_bytes,
            },
        };
        Call::Deactivate(&self.volume).run()?;
        Call::Label {
            snapshot: &self.volume,
            tag: &label.tag(),
        }
        .run()?;
        let bases = Listing::take()?.bases(&self.pool.uuid, &base.of);
        if !bases.iter().any(|(volume, _)| *volume == self.volume) {
            return Err(Trouble::Answer("the label is not there"));
        }
        for (older, _) in bases.iter().filter(|(volume, _)| *volume != self.volume) {
            remove(older);
        }
        Ok(())
    }
}

/// Why there is no new volume, for a person; the log has the program's words.
pub(super) fn fault(trouble: &Trouble) -> TargetFault {
    tracing::warn!(%trouble, "no volume is made");
    let cause = trouble.cause().unwrap_or(WholeCause::LvmFailed);
    TargetFault::Pool(PoolRefusal::Unfit(cause))
}

const UNLISTED: Trouble = Trouble::Answer("a volume is gone");
const UNNAMED: Trouble = Trouble::Answer("a name of a volume is not as LVM allows");

/// A name that nobody has.
fn fresh(group: &str) -> Result<OwnVolume, Trouble> {
    let mut number = [0; 8];
    getrandom::fill(&mut number).map_err(|_| Trouble::Answer("there is no randomness"))?;
    OwnVolume::new(group, u64::from_le_bytes(number)).ok_or(UNNAMED)
}

/// Makes a snapshot of the volume with this UUID, which another program may rename at any time.
/// Returns it with a listing that shows it.
fn make(uuid: &str, listing: &Listing) -> Result<(OwnVolume, Listing), Trouble> {
    let mut listing = listing.clone();
    for _ in 0..RENAMES_MAX {
        let source = listing.thin(uuid).ok_or(UNLISTED)?;
        let origin = source.volume().ok_or(UNNAMED)?;
        let snapshot = fresh(&source.group)?;
        let made = Call::Snapshot {
            origin: &origin,
            snapshot: &snapshot,
        }
        .run();
        listing = Listing::take()?;
        match (made, listing.named(&snapshot)) {
            (Ok(_), Some(found)) if found.origin_uuid == uuid => return Ok((snapshot, listing)),
            // The name leads to another volume now.
            (_, Some(_)) => remove(&snapshot),
            (Err(trouble), None) if listing.thin(uuid).and_then(Listed::volume) == Some(origin) => {
                return Err(trouble);
            }
            (_, None) => {}
        }
    }
    Err(Trouble::Unfit(
        WholeCause::Renamed,
        "the volume is renamed again and again".into(),
    ))
}

/// What `status` says of dropped bases is for people alone: no backup fails for want of it.
fn note<E: std::fmt::Display>(noted: Result<(), E>) {
    if let Err(trouble) = noted {
        tracing::warn!(%trouble, "status will not say which bases were dropped");
    }
}

/// Removes unfinished volumes from thin pools.
fn sweep_lvm() -> Result<(), Trouble> {
    if !Path::new(LVM).exists() {
        return Ok(());
    }
    for volume in Listing::take()?.unfinished() {
        tracing::info!(volume = volume.path(), "removes an unfinished snapshot");
        remove(&volume);
    }
    Ok(())
}

/// Removes unfinished snapshots from pools of ZFS.
fn sweep_zfs() -> Result<(), Trouble> {
    if zfs::is_there() {
        zfs::sweep()
    } else {
        Ok(())
    }
}

/// Deactivates and removes one of our volumes. What stays is removed by a later run.
fn remove(volume: &OwnVolume) {
    if let Err(trouble) = Call::Remove(volume).run() {
        tracing::warn!(%trouble, "a snapshot stays until a later run removes it");
    }
}

/// A listing that agrees with the kernel about a pool: this one, or one that is taken again.
fn agreeing(mut listing: Listing, pool: &Pool) -> Result<Listing, Trouble> {
    for _ in 1..LOOKS_MAX {
        if check_pool(&listing, pool).is_ok() {
            return Ok(listing);
        }
        listing = Listing::take()?;
    }
    check_pool(&listing, pool)?;
    Ok(listing)
}

/// Refuses a pool in the middle of a change, and one that LVM and the kernel disagree about.
fn check_pool(listing: &Listing, pool: &Pool) -> Result<(), Trouble> {
    let listed = listing.pool(&pool.uuid).ok_or(UNLISTED)?;
    let device = kernel::active(&pool.device).ok_or(UNLISTED)?;
    if kernel::is_suspended(device) {
        let why = format!(
            "the pool {}/{} is suspended: look with \"dmsetup info\"",
            listed.group, listed.name
        );
        return Err(Trouble::Unfit(WholeCause::PoolUnsound, why));
    }
    let status = PoolStatus::of(&pool.device)?;
    if listed.transaction != Some(status.transaction) {
        let why = format!(
            "the pool {}/{} has transaction id {} in the kernel, and another one in LVM's metadata; \
             it needs repair (lvmthin(7))",
            listed.group, listed.name, status.transaction
        );
        return Err(Trouble::Unfit(WholeCause::PoolUnsound, why));
    }
    Ok(())
}

/// Removes bases from a pool that is nearly full, and refuses a new snapshot in a fuller one than a
/// snapshot may be made in. Returns whether any was removed. Old bases hold most of what is theirs
/// alone.
fn make_room(listing: &Listing, pool: &Pool, journal: &Journal) -> Result<bool, Trouble> {
    let mut status = PoolStatus::of(&pool.device)?;
    let mut bases: Vec<_> = listing
        .ours(&pool.uuid)
        .filter_map(|own| Some((own.label?.base.session, own.volume)))
        .collect();
    bases.sort_by_key(|(session, _)| *session);
    let mut dropped = false;
    for (_, volume) in bases {
        if !status.is_above(BASES_MAX_PERCENT) {
            break;
        }
        tracing::warn!(
            volume = volume.path(),
            "the pool is nearly full: a base is removed"
        );
        Call::Remove(&volume).run()?;
        // `status` says so until a base is made again.
        note(journal.note_dropped(&pool.uuid));
        dropped = true;
        status = PoolStatus::of(&pool.device)?;
    }
    if status.is_above(SNAPSHOT_MAX_PERCENT) {
        let (data, metadata) = (status.data_blocks, status.metadata_blocks);
        let cause = if dropped {
            WholeCause::BaseDropped
        } else {
            WholeCause::PoolFilling
        };
        let why = format!(
            "more than {SNAPSHOT_MAX_PERCENT} % of the pool is used ({} of {} data blocks, {} of {} \
             metadata blocks), and a snapshot would hold more: extend it with lvextend (lvmthin(7))",
            data.0, data.1, metadata.0, metadata.1
        );
        return Err(Trouble::Unfit(cause, why));
    }
    Ok(dropped)
}
