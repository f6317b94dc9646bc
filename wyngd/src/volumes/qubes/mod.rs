// SPDX-License-Identifier: GPL-3.0-or-later
//! In dom0: whole qubes. It chooses them against qubesd's list, makes their settings records, and
//! opens their volumes where their pools keep them, beneath the pools' folders alone. It never
//! opens a path that qubesd names: `wyng-qube` makes the path from the pool and the volume's id,
//! and checks both.

mod api;
mod check;
mod choose;
mod part;
mod pause;
mod reach;
mod record;
mod restore;
mod system;

use std::collections::{BTreeSet, HashMap};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use wyng_config::{AdminDomain, Qubes as Settings};
use wyng_control::{
    Failure, InPlaceEnd, LeftOut, NoSource, QubeFault, QubesWish, RestoredQube, WhyLeftOut,
};
use wyng_jail::PathAccess;
use wyng_qube::answer::VolumeInfo;
use wyng_qube::{Place, Which};
use wyng_snapshot::{Folder, Fresh};

use super::open::Trusted;
use super::thin::PoolWire;
use api::{Api, Found};
pub(super) use part::Part;
use reach::{Pools, clone_of, place_of};
use restore::Restores;
pub(super) use restore::{Next, Opened};

/// Maximum number of attempts to open a volume that qubesd replaces meanwhile.
const ATTEMPTS: usize = 3;
/// Random bytes in the mark of this run of the daemon.
const RUN_BYTES: usize = 8;

/// Qubes as wholes.
pub(super) struct Qubes {
    api: Api,
    /// `OWNER/RUN`: which daemon over which state directory paused a qube.
    mark: String,
    pools: Pools,
    /// Qubes that are not paused, whatever is asked for.
    never_paused: BTreeSet<String>,
    /// Clones that were made together, until each is asked for: by uuid and volume.
    held: HashMap<(String, String), Held>,
    /// The uuids of running qubes whose volumes cannot be cloned together.
    torn: BTreeSet<String>,
    restores: Restores,
}

/// A clone of a running volume.
struct Held {
    file: OwnedFd,
    reads: OwnedFd,
    folder: Rc<Folder>,
}

/// Which part of which qube is wanted.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) qube: &'a str,
    pub(super) uuid: &'a str,
    /// `None`: its settings.
    pub(super) volume: Option<&'a str>,
    pub(super) live: bool,
}

impl Qubes {
    /// `None` outside of dom0. Call it before the jail: it opens the folders of the pools. A pool
    /// that cannot be asked about now is asked about when one of its volumes is wanted.
    pub(super) fn of(settings: &Settings, owner: Option<&str>) -> Option<Self> {
        let in_dom0 = settings.admin_domain() == Some(AdminDomain::Dom0);
        let owner = owner.filter(|_| in_dom0)?;
        let longest = Duration::from_secs(settings.start_timeout_secs);
        let api = Api::at(settings.qubesd_socket.clone(), longest);
        let mut random = [0; RUN_BYTES];
        // Without random digits two runs have one mark, and a qube that was left paused stays so.
        let _ = getrandom::fill(&mut random);
        let run: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let digits = blake3::hash(owner.as_bytes()).to_hex();
        let digits = digits.get(..10).unwrap_or_default();
        Some(Self {
            pools: Pools::known(&api),
            api,
            restores: Restores::of(digits),
            mark: format!("{digits}/{run}"),
            never_paused: BTreeSet::new(),
            held: HashMap::new(),
            torn: BTreeSet::new(),
        })
    }

    /// What this role must be able to reach.
    pub(super) fn reach(&self) -> Vec<(BorrowedFd<'_>, PathAccess)> {
        self.pools
            .reach()
            .into_iter()
            .chain(self.restores.reach())
            .collect()
    }

    /// Lets it ask the role that makes volumes in thin pools.
    pub(super) fn set_thin(&mut self, thin: Rc<PoolWire>) {
        self.pools.set_thin(thin);
    }

    /// Whether volumes of its pools are devices.
    pub(super) fn has_devices(&self) -> bool {
        self.pools.has_devices()
    }

    /// Drops clones that nobody asked for.
    pub(super) fn end_all(&mut self, trusted: Trusted) {
        self.held.clear();
        self.torn.clear();
        self.restores.end((&self.api, &self.pools, trusted));
    }

    /// The restore of qubes, if it is not begun: records and plan.
    pub(super) fn restores(&mut self) -> &mut Restores {
        &mut self.restores
    }

    /// The commands that set what a restored record of the whole system has and this system has
    /// not; see [`system::commands`].
    pub(super) fn system_commands(&mut self, item: u32) -> Vec<String> {
        let bytes = self.restores.take_record(item);
        system::commands(&self.api, &bytes.unwrap_or_default())
    }

    /// Makes a plan of the qubes that were added.
    pub(super) fn plan(
        &mut self,
        wish: &QubesWish,
        is_proven: bool,
        trusted: Trusted,
    ) -> Result<(), Failure> {
        let ground = (&self.api, &self.pools, trusted);
        self.restores.plan(ground, wish, is_proven)
    }

    /// Gives up what a qube was before a restore in place, or puts it back.
    pub(super) fn settle(
        &self,
        qube: &str,
        end: InPlaceEnd,
        trusted: Trusted,
    ) -> (RestoredQube, Option<Failure>) {
        let ground = (&self.api, &self.pools, trusted);
        self.restores.settle(ground, qube, end)
    }

    /// Does the next part of the plan.
    pub(super) fn next_of_plan(&mut self, trusted: Trusted) -> Result<Next, Failure> {
        self.restores.next((&self.api, &self.pools, trusted))
    }

    /// Ends the import of a volume that is complete.
    pub(super) fn end_import(&mut self, item: u32, trusted: Trusted) -> Result<(), Failure> {
        let ground = (&self.api, &self.pools, trusted);
        self.restores.end_import(ground, item)
    }

    /// Ends the import of a volume that is not, if there is one under this number.
    pub(super) fn close_import(&mut self, item: u32, trusted: Trusted) {
        self.restores.close((&self.api, &self.pools, trusted), item);
    }

    /// Opens a part of a qube. Its name and uuid must still belong together.
    pub(super) fn open(&mut self, wanted: Wanted<'_>, trusted: Trusted) -> Result<Part, NoSource> {
        if wanted.volume.is_none() && system::is_system(wanted.qube, wanted.uuid) {
            let bytes = system::record(&self.api).map_err(NoSource::OfQube)?;
            return Ok(Part::Settings {
                file: record::sealed(&bytes)?,
                left_out: Vec::new(),
            });
        }
        let found = self.find(wanted).map_err(NoSource::OfQube)?;
        let Some(volume) = wanted.volume else {
            let (bytes, mut left_out) =
                record::record(&self.api, &found).map_err(NoSource::OfQube)?;
            if self.torn.remove(wanted.uuid) {
                left_out.push(LeftOut {
                    what: wanted.qube.to_owned(),
                    why: WhyLeftOut::NotOneMoment,
                });
            }
            let file = record::sealed(&bytes)?;
            return Ok(Part::Settings { file, left_out });
        };
        if let Some(held) = self.take_held(wanted, volume) {
            return Ok(held);
        }
        let is_live = wanted.live && !found.is_halted();
        let is_alone = self.never_paused.contains(wanted.qube) || self.torn.contains(wanted.uuid);
        if is_live && !is_alone {
            let together = self.clone_together(wanted, &found, trusted);
            if together.map_err(NoSource::OfQube)? == Together::Torn {
                self.torn.insert(wanted.uuid.to_owned());
            }
            if let Some(held) = self.take_held(wanted, volume) {
                return Ok(held);
            }
        }
        self.open_volume(wanted, volume, trusted)
    }

    fn find(&self, wanted: Wanted<'_>) -> Result<Found, QubeFault> {
        let found = self.api.find(wanted.qube)?;
        if found.uuid.as_str() == wanted.uuid {
            Ok(found)
        } else {
            Err(QubeFault::Gone)
        }
    }

    fn take_held(&mut self, wanted: Wanted<'_>, volume: &str) -> Option<Part> {
        let key = (wanted.uuid.to_owned(), volume.to_owned());
        let Held {
            file,
            reads,
            folder,
        } = self.held.remove(&key)?;
        let fresh = Fresh { file, reads };
        Some(Part::Clone { fresh, folder })
    }

    /// Opens a volume as its pool keeps it. qubesd renames files and devices at each start and
    /// stop, so it is looked for again where it has gone.
    fn open_volume(
        &self,
        wanted: Wanted<'_>,
        volume: &str,
        trusted: Trusted,
    ) -> Result<Part, NoSource> {
        let mut last = NoSource::OfQube(QubeFault::Replaced);
        for _ in 0..ATTEMPTS {
            let found = self.find(wanted).map_err(NoSource::OfQube)?;
            let info = self
                .api
                .volume(wanted.qube, volume)
                .map_err(NoSource::OfQube)?;
            let place = self.place(&found, &info, which(wanted.live))?;
            match self.pools.open(&place, trusted) {
                Ok(part) => return Ok(part),
                Err(why @ (NoSource::Errno(_) | NoSource::QubeRuns)) => last = why,
                Err(why) => return Err(why),
            }
        }
        Err(last)
    }

    /// Where a volume lies now.
    fn place(&self, found: &Found, info: &VolumeInfo, which: Which) -> Result<Place, NoSource> {
        place_of(&self.api, found, info, which)
    }

    /// Notes in qubesd when a qube was backed up, which its own tools show. It is not noted at
    /// templates of disposables: any change of theirs makes their preloaded disposables anew.
    pub(super) fn note(&self, qube: &str, uuid: &str, time: i64) -> Result<(), QubeFault> {
        if uuid == system::UUID {
            return Ok(());
        }
        let found = self.api.find(qube)?;
        let is_template = || {
            let property = self.api.property(qube, "template_for_dispvms");
            property.is_ok_and(|property| property.value == "True")
        };
        if found.uuid.as_str() != uuid || is_template() {
            return Ok(());
        }
        let time = time.to_string();
        self.api
            .send("admin.vm.property.Set", "backup_timestamp", qube, &time)
            .map(drop)
    }

    /// Whether the volume is still the opened one, by its name.
    pub(super) fn is_still(&self, wanted: Wanted<'_>, source: &OwnedFd, trusted: Trusted) -> bool {
        let Some(volume) = wanted.volume else {
            return true;
        };
        let Ok(again) = self.open_volume(wanted, volume, trusted) else {
            return false;
        };
        match again {
            Part::File { source: again, .. } | Part::Device { source: again } => {
                is_same(source, &again)
            }
            _ => false,
        }
    }

    /// Clones all volumes of a running qube at one moment, where it has several that can be cloned.
    /// A qube that somebody else paused is not let go on.
    fn clone_together(
        &mut self,
        wanted: Wanted<'_>,
        found: &Found,
        trusted: Trusted,
    ) -> Result<Together, QubeFault> {
        let volumes = self.api.volumes(wanted.qube)?;
        let kept: Vec<&VolumeInfo> = volumes.iter().filter(|info| info.save_on_stop).collect();
        if kept.len() < 2 {
            return Ok(Together::Single);
        }
        let mut opened = Vec::new();
        for info in kept {
            let Ok(place) = self.place(found, info, Which::Running) else {
                return Ok(Together::Torn);
            };
            match self.pools.open(&place, trusted) {
                Ok(Part::File {
                    source,
                    folder: Some(folder),
                }) => opened.push((info.name.clone(), source, folder)),
                // What cannot be cloned is opened when it is asked for.
                _ => return Ok(Together::Torn),
            }
        }
        for (_, source, _) in &opened {
            // So that the clones find little to write while the qube stands still.
            let _ = rustix::fs::fsync(source);
        }
        let clone_all = |deadline: Instant| {
            let mut clones = Vec::new();
            for (name, source, folder) in &opened {
                if Instant::now() > deadline {
                    return Err(QubeFault::PausedTooLong);
                }
                let Some(fresh) = clone_of(source, folder) else {
                    return Ok(Vec::new());
                };
                clones.push((name.clone(), fresh, Rc::clone(folder)));
            }
            Ok(clones)
        };
        let clones = match found.listed.state.as_str() {
            "Running" => self.while_paused(wanted.qube, clone_all)?,
            _ => clone_all(Instant::now() + Duration::from_secs(60))?,
        };
        let together = match clones.is_empty() {
            true => Together::Torn,
            false => Together::Cloned,
        };
        for (name, Fresh { file, reads }, folder) in clones {
            let key = (wanted.uuid.to_owned(), name);
            self.held.insert(
                key,
                Held {
                    file,
                    reads,
                    folder,
                },
            );
        }
        Ok(together)
    }
}

/// Whether the volumes of a running qube are of one moment.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Together {
    /// It has one.
    Single,
    /// They are.
    Cloned,
    /// They are not: each is opened when it is asked for.
    Torn,
}

fn which(live: bool) -> Which {
    if live {
        Which::Running
    } else {
        Which::Committed
    }
}

/// Whether two descriptors are of one file, or of one device.
fn is_same(one: &OwnedFd, other: &OwnedFd) -> bool {
    let identity = |file: &OwnedFd| {
        let found = rustix::fs::fstat(file).ok()?;
        let is_path = rustix::fs::fcntl_getfl(file).is_ok_and(|flags| flags.contains(OFlags::PATH));
        (!is_path).then_some((found.st_dev, found.st_ino, found.st_rdev))
    };
    identity(one).is_some() && identity(one) == identity(other)
}
