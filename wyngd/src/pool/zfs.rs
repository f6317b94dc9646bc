// SPDX-License-Identifier: GPL-3.0-or-later
//! Volumes of ZFS pools: a snapshot and a read-only clone of it that live for a run, the label once
//! the session is committed, and the removal of what is not needed. A clone is read because the
//! devices of snapshots would appear for all snapshots of a volume, and only by a setting of its
//! owner's.
//!
//! ZFS says how much was written between two snapshots, and not where: a volume to which nothing
//! was written is known to be the same, and any other is read whole.

mod call;
mod listed;

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FileType, Mode, OFlags, SeekFrom};
use wyng_control::{
    BaseLabel, BaseOf, Method, OwnName, OwnZfsName, ThinRemoval, ThinVolume, WholeCause, ZVOLS,
    ZvolName,
};

use super::journal::Journal;
use super::made::{BASES_MAX_PERCENT, Made, SNAPSHOT_MAX_PERCENT};
use super::trouble::Trouble;
use super::udev;
use crate::ipc::{DeviceNumber, RangeKind};
use call::Call;
use listed::{Base, Identity, Listed, bases, label_text, list};

/// How long a device is waited for, and a program that has ours open. udev may be slow, and opens
/// every new device itself.
const PATIENCE: Duration = Duration::from_secs(10);
/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The snapshots of this run, by their numbers.
#[derive(Default)]
pub(super) struct Zvols {
    snapshots: HashMap<u32, Zvol>,
    /// udev's rules were tried.
    is_checked: bool,
}

/// A snapshot without a label, and its clone.
struct Zvol {
    snapshot: OwnZfsName,
    clone: OwnZfsName,
    identity: Identity,
    base: Option<Base>,
    of: BaseOf,
}

/// Whether this machine has ZFS volumes, and the program.
pub(super) fn is_there() -> bool {
    Path::new(ZVOLS).exists() && call::program().is_some()
}

impl Zvols {
    /// The volume whose device this is. Names are compared by their links, because a device's name
    /// says nothing of its volume.
    pub(super) fn find(device: DeviceNumber) -> Result<Option<ZvolName>, Trouble> {
        let is_device = |volume: &ZvolName| {
            let number = std::fs::metadata(volume.device()).map(|found| found.rdev());
            number.is_ok_and(|number| {
                let DeviceNumber { major, minor } = device;
                (rustix::fs::major(number), rustix::fs::minor(number)) == (major, minor)
            })
        };
        let volumes = list(Call::Volumes).map_err(of_zfs)?;
        let mut names = volumes.iter().filter_map(Listed::volume);
        Ok(names.find(is_device))
    }

    /// Snapshots a volume, and clones the snapshot.
    pub(super) fn snapshot(
        &mut self,
        number: u32,
        volume: &ZvolName,
        of: BaseOf,
    ) -> Result<Made, Trouble> {
        self.check_udev(volume).map_err(of_zfs)?;
        let dropped = make_room(volume).map_err(of_zfs)?;
        let was = identity_of(volume).map_err(of_zfs)?;
        let (mark, beside) = (fresh()?, fresh()?);
        let snapshot = OwnZfsName::snapshot(volume, mark).ok_or(UNNAMED)?;
        let clone = OwnZfsName::beside(volume, beside).ok_or(UNNAMED)?;
        let made = make(&snapshot, &clone)
            .and_then(|(found, device)| {
                // The name may lead to another volume by now.
                let same = identity_of(volume)? == was && found.size_bytes == was.size_bytes;
                if same {
                    Ok((found, device))
                } else {
                    Err(Trouble::Unfit(
                        WholeCause::Renamed,
                        "the volume is another one now".into(),
                    ))
                }
            })
            .and_then(|made| Ok((made, list(Call::SnapshotsOf(volume))?)));
        let ((identity, device), listed) = match made {
            Ok(made) => made,
            Err(trouble) => {
                remove(&clone);
                remove(&snapshot);
                return Err(of_zfs(trouble));
            }
        };
        let base = bases(&listed, &of).into_iter().next();
        let made = Made {
            number,
            size_bytes: identity.size_bytes,
            base: base
                .as_ref()
                .map(|base| (base.label, base.identity.size_bytes)),
            whole: match (&base, dropped) {
                (Some(_), _) => None,
                (None, true) => Some(WholeCause::BaseDropped),
                (None, false) => Some(WholeCause::NoBase),
            },
            method: Method::ZfsWritten,
            device,
        };
        let zvol = Zvol {
            snapshot,
            clone,
            identity,
            base,
            of,
        };
        self.snapshots.insert(number, zvol);
        Ok(made)
    }

    /// Whether it is one of ours.
    pub(super) fn has(&self, number: u32) -> bool {
        self.snapshots.contains_key(&number)
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.snapshots.is_empty()
    }

    /// The ranges that changed: none, or they are not known. Where a volume was never written to is
    /// never known.
    pub(super) fn next_ranges(
        &self,
        number: u32,
        kind: RangeKind,
    ) -> Result<Vec<(u64, u64)>, WholeCause> {
        let zvol = self.snapshots.get(&number).ok_or(WholeCause::ZfsFailed)?;
        if kind == RangeKind::Holes {
            return Ok(Vec::new());
        }
        let base = zvol.base.as_ref().ok_or(WholeCause::NoBase)?;
        match zvol.written_since(base) {
            Ok(0) => Ok(Vec::new()),
            Ok(_) => Err(WholeCause::RangesUntold),
            Err(trouble) => {
                tracing::warn!(%trouble, "a ZFS volume is read whole");
                Err(trouble.cause().unwrap_or(WholeCause::ZfsFailed))
            }
        }
    }

    /// Makes a snapshot the base, and removes the base before it.
    pub(super) fn keep(&mut self, number: u32, base: BaseLabel) -> Result<(), Trouble> {
        let zvol = self.snapshots.remove(&number).ok_or(GONE)?;
        remove(&zvol.clone);
        let kept = zvol.keep(base);
        if kept.is_err() {
            remove(&zvol.snapshot);
        }
        kept.map_err(of_zfs)
    }

    /// Removes the bases of a snapshot's volume.
    pub(super) fn drop_base(&mut self, number: u32) -> Result<(), Trouble> {
        let zvol = self.snapshots.get_mut(&number).ok_or(GONE)?;
        zvol.base = None;
        let volume = zvol.snapshot.volume().ok_or(UNNAMED)?;
        for base in bases(&list(Call::SnapshotsOf(&volume))?, &zvol.of) {
            destroy(&base.name)?;
        }
        Ok(())
    }

    /// Removes a snapshot that is not needed, and its clone.
    pub(super) fn release(&mut self, number: u32) {
        if let Some(zvol) = self.snapshots.remove(&number) {
            zvol.remove();
        }
    }

    /// Removes all snapshots that have no label.
    pub(super) fn release_all(&mut self) {
        for (_, zvol) in self.snapshots.drain() {
            zvol.remove();
        }
    }

    /// Removes what a person wants to have removed. What a run uses stays.
    pub(super) fn discard(
        &self,
        journal: &Journal,
        name: &OwnZfsName,
    ) -> Result<ThinRemoval, Trouble> {
        let is_held = |zvol: &Zvol| {
            zvol.snapshot == *name
                || zvol.clone == *name
                || zvol.base.as_ref().is_some_and(|base| base.name == *name)
        };
        if self.snapshots.values().any(is_held) {
            return Ok(ThinRemoval::InUse);
        }
        let is_base = |listed: &[Listed]| {
            let mut all = listed.iter();
            let found = all.find(|found| found.name == name.as_str())?;
            Some(found.base().is_some())
        };
        let Some(finished) = is_base(&ours()?) else {
            return Ok(ThinRemoval::Removed);
        };
        // An unfinished one stays while any daemon has snapshots.
        let alone = if finished {
            None
        } else {
            match journal.lock_leftovers()? {
                None => return Ok(ThinRemoval::InUse),
                alone => alone,
            }
        };
        // A run may have finished it, or removed it, before the lock.
        if alone.is_some() && is_base(&ours()?) != Some(false) {
            return Ok(ThinRemoval::InUse);
        }
        destroy(name)?;
        Ok(ThinRemoval::Removed)
    }

    fn check_udev(&mut self, volume: &ZvolName) -> Result<(), Trouble> {
        if self.is_checked || !udev::runs() {
            return Ok(());
        }
        let empty = OwnZfsName::beside(volume, fresh()?).ok_or(UNNAMED)?;
        let checked = Call::MakeEmpty(&empty).run().and_then(|_| {
            let link = empty.volume().ok_or(UNNAMED)?.device();
            let device = wait(|| std::fs::metadata(&link).ok())
                .ok_or_else(|| missing(&link))?
                .rdev();
            let device = DeviceNumber {
                major: rustix::fs::major(device),
                minor: rustix::fs::minor(device),
            };
            udev::leaves_alone(device)
        });
        remove(&empty);
        checked?;
        self.is_checked = true;
        Ok(())
    }
}

impl Zvol {
    /// Bytes that were written since a base. 0 only if nothing was: even a discard writes metadata
    /// of the volume, which is counted.
    fn written_since(&self, base: &Base) -> Result<u64, Trouble> {
        let volume = self.snapshot.volume().ok_or(UNNAMED)?;
        let call = Call::Written {
            base: &base.name,
            snapshot: &self.snapshot,
        };
        let written = call.run()?.trim().parse();
        // The names are still those of the same snapshots.
        let listed = list(Call::SnapshotsOf(&volume))?;
        let is_there = |name: &OwnZfsName, identity: &Identity| {
            let mut all = listed.iter();
            all.any(|found| found.name == name.as_str() && found.identity == *identity)
        };
        if !is_there(&base.name, &base.identity) || !is_there(&self.snapshot, &self.identity) {
            return Err(Trouble::Unfit(
                WholeCause::Renamed,
                "a snapshot is another one now".into(),
            ));
        }
        let written = written.map_err(|_| Trouble::Answer("zfs's number is not understood"))?;
        if base.identity.size_bytes != self.identity.size_bytes && written == 0 {
            return Err(Trouble::Answer(
                "zfs counts nothing, but the size is another",
            ));
        }
        Ok(written)
    }

    fn keep(&self, base: BaseLabel) -> Result<(), Trouble> {
        Call::Label {
            snapshot: &self.snapshot,
            label: &label_text(&base, &self.identity),
        }
        .run()?;
        let volume = self.snapshot.volume().ok_or(UNNAMED)?;
        let bases = bases(&list(Call::SnapshotsOf(&volume))?, &base.of);
        if !bases.iter().any(|found| found.name == self.snapshot) {
            return Err(Trouble::Answer("the label is not there"));
        }
        for older in bases.iter().filter(|found| found.name != self.snapshot) {
            remove(&older.name);
        }
        Ok(())
    }

    fn remove(self) {
        // A snapshot with a clone cannot be destroyed.
        remove(&self.clone);
        remove(&self.snapshot);
    }
}

/// Everything that this program made in pools of ZFS: volumes first, which may be clones of the
/// snapshots behind them.
fn ours() -> Result<Vec<Listed>, Trouble> {
    let mut all = list(Call::Volumes)?;
    all.extend(list(Call::Snapshots)?);
    all.retain(|found| found.own().is_some());
    Ok(all)
}

/// Removes what killed runs left. Only if no other daemon has snapshots.
pub(super) fn sweep() -> Result<(), Trouble> {
    for found in ours()?.iter().filter(|found| found.base().is_none()) {
        if let Some(name) = found.own() {
            tracing::info!(name = name.as_str(), "removes an unfinished snapshot");
            remove(&name);
        }
    }
    Ok(())
}

/// What this program made, for a person.
pub(super) fn shown() -> Result<Vec<ThinVolume>, Trouble> {
    let shown = ours()?.into_iter().filter_map(|found| {
        let (name, base) = (found.own()?, found.base());
        Some(ThinVolume {
            pool: name.volume()?.pool().to_owned(),
            size_bytes: found.identity.size_bytes,
            mapped_bytes: None,
            exclusive_bytes: name.is_snapshot().then_some(found.used_bytes),
            label: base.map(|base| base.label),
            kept: false,
            volume: OwnName::Zfs(name),
        })
    });
    Ok(shown.collect())
}

/// Makes a snapshot and its clone, and opens the clone.
fn make(snapshot: &OwnZfsName, clone: &OwnZfsName) -> Result<(Identity, OwnedFd), Trouble> {
    Call::Snapshot(snapshot).run()?;
    let volume = snapshot.volume().ok_or(UNNAMED)?;
    let listed = list(Call::SnapshotsOf(&volume))?;
    let found = listed.iter().find(|found| found.name == snapshot.as_str());
    let identity = found.ok_or(GONE)?.identity;
    Call::Clone {
        snapshot,
        volume: clone,
    }
    .run()?;
    let link = clone.volume().ok_or(UNNAMED)?.device();
    let device = wait(|| open(&link, identity.size_bytes)).ok_or_else(|| missing(&link))?;
    Ok((identity, device))
}

/// Opens a device by its link, once it is there with this size.
fn open(link: &Path, size_bytes: u64) -> Option<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let device = rustix::fs::open(link, flags, Mode::empty()).ok()?;
    let kind = FileType::from_raw_mode(rustix::fs::fstat(&device).ok()?.st_mode);
    let has_bytes = rustix::fs::seek(&device, SeekFrom::End(0)).ok()?;
    (kind == FileType::BlockDevice && has_bytes == size_bytes).then_some(device)
}

/// What a volume is beyond its name.
fn identity_of(volume: &ZvolName) -> Result<Identity, Trouble> {
    let volumes = list(Call::Volumes)?;
    let found = volumes.iter().find(|found| found.name == volume.as_str());
    Ok(found.ok_or(GONE)?.identity)
}

/// Removes bases from a pool that is nearly full, and refuses a new snapshot in a fuller one than a
/// snapshot may be made in. Returns whether any was removed.
fn make_room(volume: &ZvolName) -> Result<bool, Trouble> {
    let mut percent = used_percent(volume)?;
    let mut dropped = false;
    if percent > BASES_MAX_PERCENT {
        let all = list(Call::Snapshots)?;
        let of_pool = |base: &Base| {
            let of = base.name.volume();
            of.is_some_and(|of| of.pool() == volume.pool())
        };
        let mut bases: Vec<Base> = all
            .iter()
            .filter_map(Listed::base)
            .filter(of_pool)
            .collect();
        bases.sort_by_key(|base| base.label.session);
        for base in bases {
            if percent <= BASES_MAX_PERCENT {
                break;
            }
            tracing::warn!(
                base = base.name.as_str(),
                "the pool is nearly full: a base is removed"
            );
            destroy(&base.name)?;
            dropped = true;
            percent = used_percent(volume)?;
        }
    }
    if percent > SNAPSHOT_MAX_PERCENT {
        let cause = if dropped {
            WholeCause::BaseDropped
        } else {
            WholeCause::PoolFilling
        };
        let why = format!(
            "{percent} % of the pool {} is used, and a snapshot would hold more",
            volume.pool()
        );
        return Err(Trouble::Unfit(cause, why));
    }
    Ok(dropped)
}

/// The share of a volume's pool that is used, per cent, rounded up.
fn used_percent(volume: &ZvolName) -> Result<u64, Trouble> {
    parse_room(&Call::Room(volume).run()?)
        .ok_or(Trouble::Answer("zfs's numbers are not understood"))
}

fn parse_room(text: &str) -> Option<u64> {
    let (used, free) = text.trim().split_once('\t')?;
    let (used, free): (u128, u128) = (
        used.parse::<u64>().ok()?.into(),
        free.parse::<u64>().ok()?.into(),
    );
    let all = used.checked_add(free)?;
    let percent = used.checked_mul(100)?.checked_add(all.saturating_sub(1))?;
    percent
        .checked_div(all)
        .map_or(Some(100), |percent| u64::try_from(percent).ok())
}

/// Destroys one of ours, and waits for whoever has its device open: udev opens each new one.
fn destroy(name: &OwnZfsName) -> Result<(), Trouble> {
    let begun = Instant::now();
    loop {
        match Call::Destroy(name).run() {
            Ok(_) => return Ok(()),
            Err(Trouble::Program { reason, .. }) if is_gone(&reason) => return Ok(()),
            Err(Trouble::Program { reason, .. })
                if is_busy(&reason) && begun.elapsed() < PATIENCE =>
            {
                std::thread::sleep(LOOK_EVERY);
            }
            Err(trouble) => return Err(trouble),
        }
    }
}

/// Destroys one of ours. What stays is removed by a later run.
fn remove(name: &OwnZfsName) {
    if let Err(trouble) = destroy(name) {
        tracing::warn!(%trouble, "a snapshot stays until a later run removes it");
    }
}

/// Whether zfs says that something is not there: in other words for snapshots than for volumes.
fn is_gone(reason: &str) -> bool {
    reason.contains("dataset does not exist")
        || reason.contains("could not find any snapshots to destroy")
}

fn is_busy(reason: &str) -> bool {
    reason.contains("dataset is busy")
}

/// Looks again and again until something is there; `None` when patience is at its end.
fn wait<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let begun = Instant::now();
    loop {
        let found = look();
        if found.is_some() || begun.elapsed() >= PATIENCE {
            return found;
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

fn missing(link: &Path) -> Trouble {
    let why = format!("{} did not appear", link.display());
    Trouble::Unfit(WholeCause::ZfsFailed, why)
}

/// A number that nobody has.
fn fresh() -> Result<u64, Trouble> {
    let mut number = [0; 8];
    getrandom::fill(&mut number).map_err(|_| Trouble::Answer("there is no randomness"))?;
    Ok(u64::from_le_bytes(number))
}

/// The same trouble as one of zfs: other parts of this role take what has no cause for lvm's.
fn of_zfs(trouble: Trouble) -> Trouble {
    match trouble.cause() {
        Some(WholeCause::LvmFailed) => Trouble::Unfit(WholeCause::ZfsFailed, trouble.to_string()),
        _ => trouble,
    }
}

const GONE: Trouble = Trouble::Answer("a snapshot is gone");
const UNNAMED: Trouble = Trouble::Answer("a name is not as ZFS allows");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_of_a_pool_is_rounded_up_and_an_empty_pool_is_full() {
        for (text, percent) in [
            ("0\t100\n", Some(0)),
            ("801\t199\n", Some(81)),
            ("800\t200\n", Some(80)),
            ("0\t0\n", Some(100)),
            ("18446744073709551615\t18446744073709551615", Some(50)),
            ("80 20\n", None),
            ("80\t-\n", None),
            ("", None),
        ] {
            assert_eq!(parse_room(text), percent, "{text:?}");
        }
    }

    #[test]
    fn what_zfs_says_of_a_missing_or_busy_dataset_is_understood() {
        let gone = [
            "cannot open 'tank/wyng-0': dataset does not exist",
            "could not find any snapshots to destroy; check snapshot names.",
        ];
        assert!(gone.into_iter().all(is_gone));
        let busy = [
            "cannot destroy 'tank/wyng-0': dataset is busy",
            "cannot destroy snapshot tank/a@wyng-0: dataset is busy",
        ];
        assert!(busy.into_iter().all(is_busy));
        let clones = "cannot destroy 'tank/a@x': snapshot has dependent clones";
        assert!(!is_gone(clones) && !is_busy(clones));
    }
}
