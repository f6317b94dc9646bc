// SPDX-License-Identifier: GPL-3.0-or-later
//! The role of sources and targets. The caller opened them; this role inspects them, clones sources
//! where it can, determines what changed in them, and hands them to the keyholder. It opens only
//! the paths that the daemon's configuration names, and the base snapshots beside them. In dom0 it
//! also asks qubesd for the qubes behind far ends, and opens whole qubes in their pools.

mod delta;
mod disposables;
mod extents;
mod folders;
mod fresh;
mod of_qubes;
mod open;
mod qubes;
mod qubesd;
mod reflink;
mod snapshot;
mod target;
mod thin;
mod to_qubes;

use std::collections::{BTreeMap, HashMap};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::rc::Rc;

use rustix::event::PollFlags;
use rustix::fs::FileType;
use rustix::io::Errno;
use wyng_config::Config;
use wyng_control::{
    BaseLabel, BaseOf, FileKind, FoundSource, Given, NoSource, Remembered, TargetFault, TargetKind,
    There, ThinPlace, ThinRemoval, ThinUnlisted, Wanted, WholeCause,
};
use wyng_jail::{PathAccess, Profile};
use wyng_origin::Machine;
use wyng_snapshot::{Folder, Fresh};

use crate::ipc::{
    ControlToVolumes, Fatal, FreshVolume, KeyholderToVolumes, Received, VolumesToControl,
    VolumesToKeyholder, Wire, enter_jail_as, not_enforced, wait,
};
use crate::roles::{Daemon, Role};
use disposables::Disposables;
use folders::{folders_of, snapshot_folders};
use open::Trusted;
use qubes::Qubes;
use reflink::{Base, Reflink};
use snapshot::{Rotation, Snapshot};
use target::Prepared;
use thin::{ThinPools, Tried};

type Control = Wire<VolumesToControl, ControlToVolumes>;
type Keyholder = Wire<VolumesToKeyholder, KeyholderToVolumes>;

/// Why a source or target is not handed over.
enum Refusal {
    /// The system refuses an operation on the descriptor: that is reported to the command, and the
    /// role continues.
    Descriptor(Errno),
    /// A wire broke, or a message may not come now.
    Fatal(Fatal),
}

impl From<Errno> for Refusal {
    fn from(errno: Errno) -> Self {
        Self::Descriptor(errno)
    }
}

impl From<Fatal> for Refusal {
    /// The system may refuse to pass a descriptor on, as it does with sockets that carry others. A
    /// wire that is broken is found at the next message.
    fn from(fatal: Fatal) -> Self {
        match fatal {
            Fatal::Io(error) => Self::Descriptor(
                error
                    .raw_os_error()
                    .map_or(Errno::IO, Errno::from_raw_os_error),
            ),
            fatal => Self::Fatal(fatal),
        }
    }
}

/// The question that control has to answer. The keyholder asks for one source or target at a time.
enum Asked {
    /// The source's number, its volume's name, and the volume whose base snapshot it may have.
    Source(u32, String, BaseOf),
    /// The target's number, the size of its session, and the volume whose base it may begin with.
    Target(u32, u64, BaseOf),
    /// A snapshot's name.
    Keep(u32),
    /// The removal of a base snapshot.
    DropBase(u32),
}

struct Volumes {
    control: Control,
    keyholder: Keyholder,
    /// The volumes of the configuration.
    known: BTreeMap<String, PathBuf>,
    trusted: Trusted,
    /// The folder of base snapshots of each.
    folders: BTreeMap<String, Rc<Folder>>,
    /// The marks of devices, and mounted file systems.
    machine: Machine,
    /// Maximum number of snapshots that are held at once.
    snapshots_max: usize,
    asked: Option<Asked>,
    /// The role that snapshots thin volumes.
    pools: Option<ThinPools>,
    /// The qubes behind far ends, where qubesd is asked for them.
    qubes: Option<Disposables>,
    /// Whole qubes as sources, where qubesd is asked for them.
    whole: Option<Qubes>,
    /// Snapshots that are held for the keyholder, by number.
    snapshots: HashMap<u32, Box<dyn Snapshot>>,
    /// Targets that are changed in place, each with a clone of what it was.
    changed: HashMap<u32, (OwnedFd, OwnedFd)>,
}

/// Serves until control is gone. The volumes of the configuration can be opened by their names.
/// `owner` marks this daemon's disposables; those that are left in the end are killed.
pub fn run(daemon: Daemon, config: Config, owner: Option<String>) -> Result<(), Fatal> {
    let Config {
        volumes: known,
        qubes,
        ..
    } = config;
    let whole = Qubes::of(&qubes, owner.as_deref());
    let opens_none = known.is_empty() && whole.is_none();
    let mut volumes = Volumes {
        control: Wire::inherited(Role::Volumes, Role::Control)?,
        keyholder: Wire::inherited(Role::Volumes, Role::Keyholder)?,
        folders: snapshot_folders(&known),
        machine: if opens_none {
            Machine::unopened()
        } else {
            Machine::open()
        },
        known,
        snapshots_max: wyng_snapshot::held_max(),
        trusted: Trusted::of_this_process(),
        asked: None,
        pools: None,
        qubes: Disposables::of(&qubes, owner),
        whole,
        snapshots: HashMap::new(),
        changed: HashMap::new(),
    };
    let devices = volumes.whole.as_ref().is_some_and(Qubes::has_devices);
    let folders = folders_of(&volumes.known, devices);
    let profile = match &volumes.qubes {
        Some(_) => Profile::VolumesInDom0,
        None if volumes.known.is_empty() => Role::Volumes.profile(),
        None => Profile::VolumesByName,
    };
    if volumes.qubes.is_some() {
        // Disposables outlive the supervisor, so this role does too: it ends when control is gone
        // and they are killed.
        wyng_jail::outlive_parent()?;
    }
    let missing = enter_jail_as(Role::Volumes, profile, daemon, || {
        let readable = folders
            .iter()
            .map(|folder| (folder.as_fd(), PathAccess::Read));
        let kept = volumes
            .folders
            .values()
            .flat_map(|folder| folder.descriptors())
            .map(|folder| (folder, PathAccess::ReadWrite));
        let of_qubes = volumes.whole.iter().flat_map(Qubes::reach);
        let reach: Vec<_> = readable.chain(kept).chain(of_qubes).collect();
        vec![
            ("empty network", wyng_jail::empty_network_namespace()),
            (
                "only the folders of configured volumes",
                wyng_jail::restrict_paths(&reach),
            ),
        ]
    });
    drop(folders);
    // The pool role has no wire to control: its protections are reported here.
    let (pools, pool) = ThinPools::meet()?.unzip();
    if let (Some(qubes), Some(pools)) = (&mut volumes.whole, &pools) {
        qubes.set_thin(Rc::clone(pools.wire()));
    }
    volumes.pools = pools;
    volumes.control.send(
        &VolumesToControl::Ready {
            volumes: not_enforced(missing),
            pool: pool.unwrap_or_default(),
        },
        &[],
    )?;
    if daemon == Daemon::Service {
        let trusted = volumes.trusted;
        let whole = volumes.whole.iter();
        whole.for_each(|qubes| qubes.begin(trusted));
    }
    let served = volumes.serve();
    let qubes = volumes.qubes.take();
    // Snapshots take up room on the disk, and killing disposables may take a while.
    drop(volumes);
    qubes.into_iter().for_each(Disposables::end_all);
    served
}

impl Volumes {
    fn serve(&mut self) -> Result<(), Fatal> {
        loop {
            let polled = [
                (self.control.as_fd(), PollFlags::IN),
                (self.keyholder.as_fd(), PollFlags::IN),
            ];
            let [from_control, from_keyholder] = wait(
                polled,
                self.qubes.as_ref().and_then(Disposables::due_millis),
            )?;
            if from_keyholder {
                self.hear_keyholder()?;
            }
            if from_control {
                match self.control.receive() {
                    Err(Fatal::Gone(_)) => return Ok(()),
                    received => self.hear_control(received?)?,
                }
            }
            if let Some(qubes) = self
                .qubes
                .as_mut()
                .filter(|qubes| qubes.due_millis() == Some(0))
            {
                match from_control {
                    false => qubes.kill_ended(Some(self.control.as_fd())),
                    // A stream of messages puts it off for a while only.
                    true if qubes.is_overdue() => qubes.kill_ended(None),
                    true => {}
                }
            }
        }
    }

    fn hear_keyholder(&mut self) -> Result<(), Fatal> {
        match self.keyholder.receive()?.message {
            KeyholderToVolumes::OpenSource {
                item,
                volume,
                base_of,
                origin,
            } => {
                self.snapshots.remove(&item);
                self.ask(
                    Asked::Source(item, volume.clone(), base_of),
                    Wanted::Source {
                        volume,
                        base_of,
                        origin,
                    },
                )
            }
            KeyholderToVolumes::OpenTarget {
                item,
                volume,
                size_bytes,
                base_of,
                in_place,
                origin,
            } => {
                self.snapshots.remove(&item);
                self.changed.remove(&item);
                self.ask(
                    Asked::Target(item, size_bytes, base_of),
                    Wanted::Target {
                        volume,
                        size_bytes,
                        base_of,
                        in_place,
                        origin,
                    },
                )
            }
            KeyholderToVolumes::NameTarget { item } => {
                let target = self.snapshots.get(&item);
                let named = target.map_or(Err(Errno::NOENT), |target| target.give_name());
                let errno = raw(named);
                self.keyholder
                    .send(&VolumesToKeyholder::Named { item, errno }, &[])
            }
            KeyholderToVolumes::Undo { item } => {
                let undone = self
                    .changed
                    .remove(&item)
                    .map_or(Err(Errno::OPNOTSUPP), |(target, was)| {
                        target::undo(&target, &was)
                    });
                self.keyholder.send(
                    &VolumesToKeyholder::Undone {
                        item,
                        errno: raw(undone),
                    },
                    &[],
                )
            }
            KeyholderToVolumes::NextChanges { item } => self.send_changes(item),
            KeyholderToVolumes::NextHoles { item } => self.send_holes(item),
            KeyholderToVolumes::EndAll => {
                let trusted = self.trusted;
                let whole = self.whole.iter_mut();
                whole.for_each(|qubes| qubes.end_all(trusted));
                self.snapshots.clear();
                self.changed.clear();
                Ok(())
            }
            KeyholderToVolumes::Rotate { item, label } => self.rotate(item, label),
            KeyholderToVolumes::DropBase { item } => self.drop_base(item),
            KeyholderToVolumes::CloseSource { item } => {
                self.changed.remove(&item);
                let trusted = self.trusted;
                let whole = self.whole.iter_mut();
                whole.for_each(|qubes| qubes.close_import(item, trusted));
                match self.snapshots.remove(&item) {
                    Some(snapshot) if snapshot.is_of_client() => {
                        self.control.send(&VolumesToControl::Forget { item }, &[])
                    }
                    _ => Ok(()),
                }
            }
            about_qubes => self.hear_about_qubes(about_qubes),
        }
    }

    fn send_changes(&mut self, item: u32) -> Result<(), Fatal> {
        let page = self
            .snapshots
            .get_mut(&item)
            .map(|snapshot| snapshot.next_changes());
        let message = match page {
            Some(Ok((method, ranges))) => VolumesToKeyholder::Changes {
                item,
                method,
                ranges,
            },
            Some(Err(error)) => {
                tracing::warn!(%error, "the changes are unknown: the volume is read whole");
                self.no_changes(item)
            }
            None => self.no_changes(item),
        };
        self.keyholder.send(&message, &[])
    }

    fn send_holes(&mut self, item: u32) -> Result<(), Fatal> {
        let page = self
            .snapshots
            .get_mut(&item)
            .and_then(|snapshot| snapshot.next_holes().ok());
        let message = match page {
            Some(ranges) => VolumesToKeyholder::Holes { item, ranges },
            None => self.no_changes(item),
        };
        self.keyholder.send(&message, &[])
    }

    fn no_changes(&self, item: u32) -> VolumesToKeyholder {
        let snapshot = self.snapshots.get(&item);
        VolumesToKeyholder::NoChanges {
            item,
            whole: snapshot.and_then(|snapshot| snapshot.whole_cause()),
        }
    }

    fn ask(&mut self, question: Asked, wanted: Wanted) -> Result<(), Fatal> {
        let item = question.item();
        if self.asked.replace(question).is_some() {
            return Err(Fatal::Unexpected(self.keyholder.peer()));
        }
        self.control
            .send(&VolumesToControl::Want { item, wanted }, &[])
    }

    fn rotate(&mut self, item: u32, label: BaseLabel) -> Result<(), Fatal> {
        let rotation = self
            .snapshots
            .remove(&item)
            .map_or(Rotation::Done(Err(Errno::NOENT)), |snapshot| {
                snapshot.rotate(&label)
            });
        match rotation {
            Rotation::Done(done) => self.keyholder.send(
                &VolumesToKeyholder::Rotated {
                    item,
                    errno: raw(done),
                },
                &[],
            ),
            Rotation::ByClient if self.asked.replace(Asked::Keep(item)).is_some() => {
                Err(Fatal::Unexpected(self.keyholder.peer()))
            }
            Rotation::ByClient => self
                .control
                .send(&VolumesToControl::Keep { item, label }, &[]),
        }
    }

    fn drop_base(&mut self, item: u32) -> Result<(), Fatal> {
        let rotation = self
            .snapshots
            .get(&item)
            .map_or(Rotation::Done(Ok(())), |snapshot| snapshot.drop_base());
        match rotation {
            Rotation::Done(done) => self.keyholder.send(
                &VolumesToKeyholder::BaseDropped {
                    item,
                    errno: raw(done),
                },
                &[],
            ),
            Rotation::ByClient if self.asked.replace(Asked::DropBase(item)).is_some() => {
                Err(Fatal::Unexpected(self.keyholder.peer()))
            }
            Rotation::ByClient => self.control.send(&VolumesToControl::DropBase { item }, &[]),
        }
    }

    /// Handles a message about qubes, and returns whether it was one. Where qubesd is not asked,
    /// each far end can be called at once.
    fn mind_qubes(&mut self, message: &ControlToVolumes) -> Result<bool, Fatal> {
        match message {
            ControlToVolumes::PrepareQube { service, via } => {
                let service = *service;
                let prepared = self.qubes.as_mut().map_or(Ok(None), |qubes| {
                    qubes.prepare(service, via, self.control.as_fd())
                });
                let answer = match prepared {
                    Ok(qube) => VolumesToControl::QubeReady { service, qube },
                    Err(failure) => VolumesToControl::QubeNotReady { service, failure },
                };
                self.control.send(&answer, &[])?;
            }
            ControlToVolumes::EndQube { service } => {
                self.qubes.iter_mut().for_each(|qubes| qubes.end(*service))
            }
            // It came after the qube was ready, or has already ended the start.
            ControlToVolumes::GiveUpQube => {}
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Handles a message about what lies in thin pools, and returns whether it was one.
    fn mind_pools(&self, message: &ControlToVolumes) -> Result<bool, Fatal> {
        let answer = match (message, &self.pools) {
            (ControlToVolumes::ThinList { from }, Some(pools)) => {
                VolumesToControl::ThinListed(pools.list(*from)?.ok_or(ThinUnlisted::Failed))
            }
            (ControlToVolumes::ThinList { .. }, None) => {
                VolumesToControl::ThinListed(Err(ThinUnlisted::NotRoot))
            }
            (ControlToVolumes::ThinRemove(waste), Some(pools)) => {
                VolumesToControl::ThinRemoved(pools.remove(waste)?)
            }
            (ControlToVolumes::ThinRemove(_), None) => {
                VolumesToControl::ThinRemoved(ThinRemoval::Failed)
            }
            _ => return Ok(false),
        };
        self.control.send(&answer, &[])?;
        Ok(true)
    }

    fn hear_control(&mut self, received: Received<ControlToVolumes>) -> Result<(), Fatal> {
        if self.mind_qubes(&received.message)? || self.mind_pools(&received.message)? {
            return Ok(());
        }
        let Some(question) = self.asked.take() else {
            return Err(Fatal::Unexpected(self.control.peer()));
        };
        let path = match &received.message {
            ControlToVolumes::Given {
                given: Given::Source { found, .. },
                ..
            } => found.origin.path.clone(),
            _ => Vec::new(),
        };
        match self.take_answer(received, &question) {
            Ok(()) => Ok(()),
            Err(Refusal::Fatal(fatal)) => Err(fatal),
            Err(Refusal::Descriptor(errno)) => {
                let errno = errno.raw_os_error();
                let message = match question {
                    Asked::Source(item, ..) => VolumesToKeyholder::NoSource {
                        item,
                        path,
                        why: NoSource::Errno(errno),
                    },
                    Asked::Target(item, ..) => VolumesToKeyholder::NoTarget {
                        item,
                        fault: TargetFault::Unavailable { errno },
                    },
                    Asked::Keep(item) => VolumesToKeyholder::Rotated { item, errno },
                    Asked::DropBase(item) => VolumesToKeyholder::BaseDropped { item, errno },
                };
                self.keyholder.send(&message, &[])
            }
        }
    }

    /// Hands over the source or target that answers `question`.
    fn take_answer(
        &mut self,
        received: Received<ControlToVolumes>,
        question: &Asked,
    ) -> Result<(), Refusal> {
        let unexpected = Refusal::Fatal(Fatal::Unexpected(self.control.peer()));
        let (message, descriptors) = received.into_parts();
        let (item, given) = match (message, question) {
            (ControlToVolumes::Configured { item }, Asked::Source(asked, volume, base_of))
                if item == *asked =>
            {
                return self.hand_over_configured(item, volume, base_of);
            }
            (ControlToVolumes::Given { item, given }, _) if item == question.item() => {
                (item, given)
            }
            _ => return Err(unexpected),
        };
        if descriptors.len() != given.descriptors() {
            return Err(unexpected);
        }
        let mut descriptors = descriptors.into_iter();
        let to_keyholder = match (question, given) {
            (
                Asked::Source(_, _, base_of),
                Given::Source {
                    found,
                    clones,
                    base,
                },
            ) => {
                let source = descriptors.next().ok_or(unexpected)?;
                let opened = Opened {
                    item,
                    source,
                    found,
                };
                return match (clones, descriptors.next(), descriptors.next()) {
                    (true, Some(file), Some(reads)) => {
                        let base = base.zip(descriptors.next());
                        self.hand_over_clone(opened, Fresh { file, reads }, base, None)
                    }
                    _ => self.hand_over_device(opened, base_of),
                };
            }
            (Asked::Source(..), Given::NoSource { path, why }) => {
                VolumesToKeyholder::NoSource { item, path, why }
            }
            (Asked::Target(_, size_bytes, base_of), Given::NewThin { place }) => {
                return self.hand_over_fresh(item, place, *size_bytes, *base_of);
            }
            (
                Asked::Target(..),
                Given::Target {
                    form,
                    base,
                    remembered,
                },
            ) => {
                let given: Vec<OwnedFd> = descriptors.by_ref().take(form.descriptors()).collect();
                let prepared = target::prepare(form, given, base.zip(descriptors.next()));
                return self.hand_over_target(item, prepared, remembered);
            }
            (Asked::Target(..), Given::NoTarget { fault }) => {
                VolumesToKeyholder::NoTarget { item, fault }
            }
            (Asked::Keep(_), Given::Done { errno }) => VolumesToKeyholder::Rotated { item, errno },
            (Asked::DropBase(_), Given::Done { errno }) => {
                VolumesToKeyholder::BaseDropped { item, errno }
            }
            _ => return Err(unexpected),
        };
        Ok(self.keyholder.send(&to_keyholder, &[])?)
    }

    /// Hands over a target, and keeps its clone.
    fn hand_over_target(
        &mut self,
        item: u32,
        prepared: Result<Prepared, Errno>,
        remembered: Option<Remembered>,
    ) -> Result<(), Refusal> {
        let Prepared {
            kind,
            there,
            discards_bytes,
            files,
            clone,
            undo,
        } = prepared?;
        if let Some(clone) = clone {
            self.snapshots.insert(item, Box::new(clone));
        }
        if let Some(undo) = undo {
            self.changed.insert(item, undo);
        }
        let files: Vec<BorrowedFd<'_>> = files.iter().map(AsFd::as_fd).collect();
        Ok(self.keyholder.send(
            &VolumesToKeyholder::Target {
                item,
                kind,
                there,
                discards_bytes,
                fresh: None,
                remembered,
            },
            &files,
        )?)
    }

    /// Has a new volume made in a thin pool, and hands it over.
    fn hand_over_fresh(
        &mut self,
        item: u32,
        place: ThinPlace,
        size_bytes: u64,
        base_of: BaseOf,
    ) -> Result<(), Refusal> {
        let pools = self.pools.as_ref().map(ThinPools::wire);
        let made = match fresh::make(pools, place, size_bytes, base_of)? {
            fresh::Tried::Made(made) => made,
            fresh::Tried::Refused(fault) => {
                return Ok(self
                    .keyholder
                    .send(&VolumesToKeyholder::NoTarget { item, fault }, &[])?);
            }
        };
        let base = made.fresh.base();
        let message = VolumesToKeyholder::Target {
            item,
            kind: TargetKind::Device,
            there: base.map(|_| There {
                size_bytes: made.size_bytes,
                in_target: true,
                in_place: false,
                beside: None,
                base,
            }),
            discards_bytes: made.discards_bytes,
            fresh: Some(FreshVolume {
                size_bytes: made.size_bytes,
                room_bytes: made.room_bytes,
                block_bytes: made.block_bytes,
            }),
            remembered: None,
        };
        self.snapshots.insert(item, Box::new(made.fresh));
        Ok(self.keyholder.send(&message, &[made.device.as_fd()])?)
    }

    /// Opens a volume of the configuration, and has it cloned where its file system allows it.
    fn hand_over_configured(
        &mut self,
        item: u32,
        volume: &str,
        base_of: &BaseOf,
    ) -> Result<(), Refusal> {
        let missing = NoSource::Errno(Errno::NOENT.raw_os_error());
        let path = self.known.get(volume).cloned().unwrap_or_default();
        let opened = if path.as_os_str().is_empty() {
            Err(missing)
        } else {
            open::open(&path, self.trusted)
        };
        let source = match opened {
            Ok(source) => source,
            Err(why) => {
                let path = path.into_os_string().into_vec();
                return Ok(self
                    .keyholder
                    .send(&VolumesToKeyholder::NoSource { item, path, why }, &[])?);
            }
        };
        let mut found = self.machine.look(&path, source.as_fd());
        let folder = self
            .folders
            .get(volume)
            .filter(|folder| folder.is_of(source.as_fd()))
            .cloned();
        match folder.as_ref().and_then(|folder| folder.fresh().ok()) {
            Some(fresh) => {
                found.snapshots = folder
                    .as_ref()
                    .and_then(|folder| folder.path())
                    .map(|path| path.as_os_str().as_bytes().to_vec());
                let base = folder.as_ref().and_then(|folder| folder.base(base_of));
                self.hand_over_clone(
                    Opened {
                        item,
                        source,
                        found,
                    },
                    fresh,
                    base,
                    folder,
                )
            }
            None => {
                let opened = Opened {
                    item,
                    source,
                    found,
                };
                self.hand_over_device(opened, base_of)
            }
        }
    }

    /// Hands over a snapshot of a thin volume; any other source as it is.
    fn hand_over_device(&mut self, opened: Opened, base_of: &BaseOf) -> Result<(), Refusal> {
        let snapshot = match &self.pools {
            Some(pools) => pools.snapshot(&opened.source, base_of)?,
            None => Tried::AsItIs(None),
        };
        let (snapshot, reads) = match snapshot {
            Tried::Snapshot(snapshot, reads) => (snapshot, reads),
            Tried::AsItIs(whole) => return self.hand_over_source(opened, whole),
        };
        let message = VolumesToKeyholder::Source {
            item: opened.item,
            size_bytes: snapshot.size_bytes(),
            snapshot: true,
            base: snapshot.base(),
            whole: snapshot.whole_cause(),
            found: opened.found,
            peak_rss_bytes: wyng_jail::peak_resident_bytes(),
        };
        self.make_room()?;
        self.snapshots.insert(opened.item, Box::new(snapshot));
        Ok(self.keyholder.send(&message, &[reads.as_fd()])?)
    }

    /// Hands over a clone of the source; the source itself where it cannot be cloned.
    fn hand_over_clone(
        &mut self,
        opened: Opened,
        fresh: Fresh,
        base: Option<Base>,
        folder: Option<Rc<Folder>>,
    ) -> Result<(), Refusal> {
        match Reflink::snapshot(&opened.source, fresh, base, folder) {
            Ok((snapshot, reads)) => {
                self.hand_over_snapshot(opened.item, snapshot, &reads, opened.found)
            }
            Err(errno) => {
                tracing::info!(%errno, "a source cannot be cloned");
                self.hand_over_source(opened, None)
            }
        }
    }

    /// Hands over a clone that was made.
    fn hand_over_snapshot(
        &mut self,
        item: u32,
        snapshot: Reflink,
        reads: &OwnedFd,
        found: FoundSource,
    ) -> Result<(), Refusal> {
        let message = VolumesToKeyholder::Source {
            item,
            size_bytes: snapshot.size_bytes(),
            snapshot: true,
            base: snapshot.base(),
            whole: None,
            found,
            peak_rss_bytes: wyng_jail::peak_resident_bytes(),
        };
        self.make_room()?;
        self.snapshots.insert(item, Box::new(snapshot));
        Ok(self.keyholder.send(&message, &[reads.as_fd()])?)
    }

    /// Hands over a source as it is.
    fn hand_over_source(&self, opened: Opened, whole: Option<WholeCause>) -> Result<(), Refusal> {
        let Opened {
            item,
            source,
            found,
        } = opened;
        let size_bytes = match source_bytes(&source) {
            Ok(Some(size_bytes)) => Ok(size_bytes),
            Ok(None) => Err(NoSource::Kind(FileKind::Other)),
            Err(errno) => Err(NoSource::Errno(errno.raw_os_error())),
        };
        match size_bytes {
            Ok(size_bytes) => {
                let peak_rss_bytes = wyng_jail::peak_resident_bytes();
                let message = VolumesToKeyholder::Source {
                    item,
                    size_bytes,
                    snapshot: false,
                    base: None,
                    whole,
                    found,
                    peak_rss_bytes,
                };
                Ok(self.keyholder.send(&message, &[source.as_fd()])?)
            }
            Err(why) => Ok(self.keyholder.send(
                &VolumesToKeyholder::NoSource {
                    item,
                    path: found.origin.path,
                    why,
                },
                &[],
            )?),
        }
    }

    /// Lets one clone go where there are too many: a run may have many small volumes before its
    /// next commit, each with an open clone. The volume of that clone keeps the base snapshot that
    /// it has, and the next run reads more of it.
    fn make_room(&mut self) -> Result<(), Fatal> {
        if self.snapshots.len() < self.snapshots_max {
            return Ok(());
        }
        let Some(item) = self.snapshots.keys().next().copied() else {
            return Ok(());
        };
        match self.snapshots.remove(&item) {
            Some(snapshot) if snapshot.is_of_client() => {
                self.control.send(&VolumesToControl::Forget { item }, &[])
            }
            _ => Ok(()),
        }
    }
}

/// A source that is to be handed over to the keyholder.
struct Opened {
    item: u32,
    source: OwnedFd,
    found: FoundSource,
}

impl Asked {
    fn item(&self) -> u32 {
        match self {
            Self::Source(item, ..)
            | Self::Target(item, ..)
            | Self::Keep(item)
            | Self::DropBase(item) => *item,
        }
    }
}

fn raw(done: Result<(), Errno>) -> i32 {
    done.err().map_or(0, Errno::raw_os_error)
}

/// The size of a source that can be read anywhere: a regular file or a block device.
fn source_bytes(descriptor: &OwnedFd) -> Result<Option<u64>, Errno> {
    let found = rustix::fs::fstat(descriptor)?;
    Ok(match FileType::from_raw_mode(found.st_mode) {
        FileType::RegularFile => u64::try_from(found.st_size).ok(),
        FileType::BlockDevice => Some(rustix::fs::seek(descriptor, rustix::fs::SeekFrom::End(0))?),
        _ => None,
    })
}
