// SPDX-License-Identifier: GPL-3.0-or-later
//! Sources and targets, which the volumes role opens and the keyholder reads and writes by their
//! descriptors. No path is opened here.

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::PollFlags;
use rustix::io::Errno as SystemErrno;
use wyng_control::{
    BaseLabel, BaseOf, Beside, ChosenQubes, Failure, FoundSource, Given, InPlaceEnd, KeptQube,
    MachineFact, NoSource, QubeChoice, QubesWish, RestoredQube, TargetFault, TargetKind,
    TargetLook, ToClient, Via, WholeCause, path_text, qube_origin,
};
use wyng_jail::DiskTurn;

use super::control::{Control, SharedControl, broken};
use super::stream::Stream;
use super::targets::Target;
use crate::ipc::{
    ControlToKeyholder, Fatal, KeyholderToControl, KeyholderToVolumes, Received,
    VolumesToKeyholder, Wire,
};
use crate::keyholder::page_cache::Source;
use wyng_engine::world::{
    ArchivedQube, ChangePage, Errno, FreshVolume, NextOfQubes, QubeSource, SourceShape,
    TargetShape, TargetWish, Volumes,
};

/// The number of the question for a plan's confirmation.
const CONFIRMATION: u32 = 0;

/// What a target is that belongs to a restore of qubes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OfQubes {
    /// A settings record, in memory.
    Record,
    /// A volume that is imported.
    Volume,
}

/// The wire to the volumes role.
pub type VolumesWire = Wire<KeyholderToVolumes, VolumesToKeyholder>;

/// The sources and targets of a command.
pub struct OpenVolumes {
    control: SharedControl,
    wire: VolumesWire,
    sources: HashMap<u32, Source>,
    targets: HashMap<u32, Target>,
    /// Why volumes of thin pools are read whole, by source.
    whole: HashMap<u32, WholeCause>,
    /// Targets that are records or volumes of qubes, and so have their places already.
    of_qubes: HashMap<u32, OfQubes>,
    /// Maximum time for which a client may read nothing of a stream.
    client_patience: Duration,
    /// The disk priority of everything but backups.
    usual_turn: DiskTurn,
    peak_bytes: u64,
}

/// A new volume of a thin pool, as the engine knows it.
fn fresh_volume(fresh: crate::ipc::FreshVolume) -> FreshVolume {
    FreshVolume {
        size_bytes: fresh.size_bytes,
        room_bytes: fresh.room_bytes,
        block_bytes: fresh.block_bytes,
    }
}

/// The error of a number that a client said: one that the system cannot say is an error of the
/// medium.
fn system_errno(errno: i32) -> SystemErrno {
    match errno {
        1..=4095 => SystemErrno::from_raw_os_error(errno),
        _ => SystemErrno::IO,
    }
}

impl OpenVolumes {
    /// Nothing is open yet. A client that reads nothing of a stream for `client_patience` is given
    /// up.
    pub(super) fn new(
        control: SharedControl,
        wire: VolumesWire,
        client_patience: Duration,
    ) -> Self {
        Self {
            control,
            wire,
            sources: HashMap::new(),
            targets: HashMap::new(),
            whole: HashMap::new(),
            of_qubes: HashMap::new(),
            client_patience,
            usual_turn: DiskTurn::current(),
            peak_bytes: 0,
        }
    }

    /// Closes everything that a command held.
    pub(super) fn close_all(&mut self) -> Result<(), Fatal> {
        self.sources.clear();
        self.targets.clear();
        self.whole.clear();
        self.of_qubes.clear();
        self.usual_turn.take();
        self.wire.send(&KeyholderToVolumes::EndAll, &[])
    }

    /// The ranges of a snapshot that read as zeros; none where they are not known. Bounded by the
    /// pool role.
    fn holes_of(&self, item: u32) -> Result<Vec<(u64, u64)>, Failure> {
        let mut holes = Vec::new();
        loop {
            match self.ask(&KeyholderToVolumes::NextHoles { item })?.message {
                VolumesToKeyholder::Holes {
                    item: found,
                    ranges,
                } if found == item => {
                    if ranges.is_empty() {
                        return Ok(holes);
                    }
                    holes.extend(ranges);
                }
                VolumesToKeyholder::NoChanges { item: found, .. } if found == item => {
                    return Ok(Vec::new());
                }
                _ => return Err(broken(&Fatal::Unexpected("volumes"))),
            }
        }
    }

    /// Gives a new volume of a thin pool its name.
    fn name_in_pool(&self, item: u32, volume: &str, path: &str) -> Result<(), Failure> {
        match self.ask(&KeyholderToVolumes::NameTarget { item })?.message {
            VolumesToKeyholder::Named { item: named, errno } if named == item => match errno {
                0 => Ok(()),
                errno => Err(unusable(volume, path, system_errno(errno))),
            },
            _ => Err(broken(&Fatal::Unexpected("volumes"))),
        }
    }

    /// Asks the volumes role, and hears control while the answer is due. Control answers for a
    /// client that is gone.
    fn ask(&self, question: &KeyholderToVolumes) -> Result<Received<VolumesToKeyholder>, Failure> {
        self.wire
            .send(question, &[])
            .map_err(|fatal| broken(&fatal))?;
        loop {
            let answered = (self.wire.as_fd(), PollFlags::IN);
            match self
                .control
                .with(|control| control.wait_beside(answered, None))?
            {
                [true, _] => return self.wire.receive().map_err(|fatal| broken(&fatal)),
                [false, _] => self.control.with(Control::poll)?,
            }
        }
    }
}

impl OpenVolumes {
    /// Takes in the record or volume of a qube as a new target.
    fn take_of_qubes(
        &mut self,
        received: Received<VolumesToKeyholder>,
        of: OfQubes,
    ) -> Result<(u32, TargetShape), Failure> {
        let fatal = || broken(&Fatal::Unexpected("volumes"));
        let VolumesToKeyholder::Target {
            item,
            kind,
            there,
            discards_bytes,
            fresh,
            remembered: None,
        } = received.message
        else {
            return Err(fatal());
        };
        if there.is_some_and(|there| there.in_place || there.beside.is_some()) {
            return Err(fatal());
        }
        let file = received.descriptors().into_iter().next();
        let mut target = Target::new(file.ok_or_else(fatal)?, kind, false, None);
        if there.is_some() {
            // Dirty data may look like a hole, and a direct read must find it.
            let path = item.to_string();
            target
                .sync()
                .map_err(|errno| unusable(&path, &path, errno))?;
        }
        self.targets
            .insert(item, target.with_blocks_of(discards_bytes));
        self.of_qubes.insert(item, of);
        let shape = TargetShape {
            kind,
            there,
            fresh: fresh.map(fresh_volume),
            remembered: None,
        };
        Ok((item, shape))
    }

    /// Has the import of a volume that is complete ended.
    fn end_import(&self, item: u32) -> Result<(), Failure> {
        match self.ask(&KeyholderToVolumes::EndImport { item })?.message {
            VolumesToKeyholder::ImportEnded {
                item: found,
                failure,
            } if found == item => failure.map_or(Ok(()), Err),
            _ => Err(broken(&Fatal::Unexpected("volumes"))),
        }
    }

    /// Takes in a source, or the reason why there is none.
    fn take_source(
        &mut self,
        item: u32,
        volume: &str,
        received: Received<VolumesToKeyholder>,
    ) -> Result<SourceShape, Failure> {
        match received.message {
            VolumesToKeyholder::Source {
                item: asked,
                size_bytes,
                snapshot,
                base,
                whole,
                ref found,
                peak_rss_bytes,
            } if asked == item => {
                self.whole.remove(&item);
                self.whole.extend(whole.map(|cause| (item, cause)));
                self.peak_bytes = peak_rss_bytes;
                let found = found.clone();
                let file = received.descriptor().map_err(|fatal| broken(&fatal))?;
                // Nobody waits for a backup: it reads the disk when nobody else does.
                DiskTurn::IDLE.take();
                self.sources
                    .insert(item, Source::new(file, size_bytes, snapshot));
                Ok(SourceShape {
                    size_bytes,
                    snapshot,
                    base,
                    found,
                })
            }
            VolumesToKeyholder::NoSource {
                item: asked,
                ref path,
                ref why,
            } if asked == item => Err(no_source(volume, path, why)),
            _ => Err(broken(&Fatal::Unexpected("volumes"))),
        }
    }
}

/// The failure of a source that could not be opened.
fn no_source(volume: &str, path: &[u8], why: &NoSource) -> Failure {
    let (volume, path) = (volume.to_owned(), path_text(path));
    match why {
        NoSource::Errno(errno) => Failure::SourceUnavailable {
            volume,
            path,
            errno: *errno,
        },
        NoSource::Link => Failure::SourceLink { volume, path },
        NoSource::QubeRuns => Failure::SourceOfRunningQube { volume, path },
        NoSource::Kind(kind) => Failure::SourceKind {
            volume,
            path,
            kind: kind.name().to_owned(),
        },
        NoSource::OfQube(why) => Failure::QubeNotRead {
            volume,
            why: why.clone(),
        },
    }
}

impl Volumes for OpenVolumes {
    fn open_source(
        &mut self,
        item: u32,
        volume: &str,
        base_of: &BaseOf,
        origin: Option<Vec<u8>>,
    ) -> Result<SourceShape, Failure> {
        let message = KeyholderToVolumes::OpenSource {
            item,
            volume: volume.to_owned(),
            base_of: *base_of,
            origin,
        };
        let received = self.ask(&message)?;
        self.take_source(item, volume, received)
    }

    fn check_machine(&mut self, far_ends: &[Via]) -> Result<Vec<MachineFact>, Failure> {
        let far_ends = far_ends.to_vec();
        match self
            .ask(&KeyholderToVolumes::CheckMachine { far_ends })?
            .message
        {
            VolumesToKeyholder::Machine { facts } => Ok(facts),
            _ => Err(broken(&Fatal::Unexpected("volumes"))),
        }
    }

    fn choose_qubes(
        &mut self,
        choice: &QubeChoice,
        far_ends: &[Via],
        live: bool,
    ) -> Result<ChosenQubes, Failure> {
        let message = KeyholderToVolumes::ChooseQubes {
            choice: choice.clone(),
            far_ends: far_ends.to_vec(),
            live,
        };
        match self.ask(&message)?.message {
            VolumesToKeyholder::Qubes { chosen } => Ok(chosen),
            VolumesToKeyholder::NoQubes { failure } => Err(failure),
            _ => Err(broken(&Fatal::Unexpected("volumes"))),
        }
    }

    fn open_of_qube(
        &mut self,
        item: u32,
        volume: &str,
        base_of: &BaseOf,
        source: &QubeSource<'_>,
    ) -> Result<SourceShape, Failure> {
        let message = KeyholderToVolumes::OpenOfQube {
            item,
            qube: source.qube.to_owned(),
            uuid: source.uuid.to_owned(),
            part: source.part.clone(),
            base_of: *base_of,
            live: source.live,
        };
        let received = self.ask(&message)?;
        let VolumesToKeyholder::Settings {
            item: asked,
            size_bytes,
            left_out,
            peak_rss_bytes,
        } = &received.message
        else {
            return self.take_source(item, volume, received);
        };
        if *asked != item {
            return Err(broken(&Fatal::Unexpected("volumes")));
        }
        self.peak_bytes = *peak_rss_bytes;
        let size_bytes = *size_bytes;
        for left_out in left_out {
            let told = KeyholderToControl::Tell(ToClient::LeftOut(left_out.clone()));
            self.control.with(|control| control.send(&told))?;
        }
        let file = received.descriptor().map_err(|fatal| broken(&fatal))?;
        self.sources
            .insert(item, Source::new(file, size_bytes, false));
        let mut found = FoundSource::default();
        found.origin.path = qube_origin(source.uuid, source.part).into_bytes();
        found.origin.leads_to.clone_from(&found.origin.path);
        Ok(SourceShape {
            size_bytes,
            snapshot: false,
            base: None,
            found,
        })
    }

    fn note_backed_up(&mut self, qube: &str, uuid: &str, time: i64) -> Result<(), Failure> {
        let message = KeyholderToVolumes::NoteBackedUp {
            qube: qube.to_owned(),
            uuid: uuid.to_owned(),
            time,
        };
        match self.ask(&message)?.message {
            VolumesToKeyholder::Noted => Ok(()),
            _ => Err(broken(&Fatal::Unexpected("volumes"))),
        }
    }

    fn open_record(&mut self, item: u32, volume: &str) -> Result<TargetShape, Failure> {
        let received = self.ask(&KeyholderToVolumes::OpenRecord { item })?;
        match &received.message {
            VolumesToKeyholder::NoTarget { item: found, fault } if *found == item => {
                return Err(fault.clone().of_volume(volume, volume, 0));
            }
            // Where qubesd is not asked.
            VolumesToKeyholder::QubeAdded {
                failure: Some(failure),
            } => return Err(failure.clone()),
            _ => {}
        }
        let (found, shape) = self.take_of_qubes(received, OfQubes::Record)?;
        if found == item {
            Ok(shape)
        } else {
            Err(broken(&Fatal::Unexpected("volumes")))
        }
    }

    fn add_qube(&mut self, qube: &ArchivedQube, wish: &QubesWish) -> Result<(), Failure> {
        let message = KeyholderToVolumes::AddQube {
            label: qube.label.clone(),
            record: qube.record,
            volumes: qube.volumes.clone(),
            uuid: qube.uuid.clone(),
            wish: wish.clone(),
        };
        match self.ask(&message)?.message {
            VolumesToKeyholder::QubeAdded { failure } => failure.map_or(Ok(()), Err),
            _ => Err(broken(&Fatal::Unexpected("volumes"))),
        }
    }

    fn system_commands(&mut self, record: u32) -> Result<Vec<String>, Failure> {
        let shown = self.ask(&KeyholderToVolumes::ShowSystem { record })?;
        match shown.message {
            VolumesToKeyholder::PlanLines { lines } => Ok(lines),
            VolumesToKeyholder::QubeAdded {
                failure: Some(failure),
            } => Err(failure),
            _ => Err(broken(&Fatal::Unexpected("volumes"))),
        }
    }

    fn plan_qubes(&mut self, wish: &QubesWish, is_proven: bool) -> Result<(), Failure> {
        let wish = wish.clone();
        match self
            .ask(&KeyholderToVolumes::PlanQubes { wish, is_proven })?
            .message
        {
            VolumesToKeyholder::Planned { failure } => failure.map_or(Ok(()), Err),
            _ => Err(broken(&Fatal::Unexpected("volumes"))),
        }
    }

    fn next_plan_lines(&mut self) -> Result<Vec<String>, Failure> {
        match self.ask(&KeyholderToVolumes::NextPlanLines)?.message {
            VolumesToKeyholder::PlanLines { lines } => Ok(lines),
            _ => Err(broken(&Fatal::Unexpected("volumes"))),
        }
    }

    fn confirm_qubes(&mut self) -> Result<(), Failure> {
        let question = KeyholderToControl::WantConfirmation { item: CONFIRMATION };
        self.control.with(|control| {
            control.send(&question)?;
            match control.answer()?.message {
                _ if control.cancelled.is_some() => Err(Failure::Interrupted),
                ControlToKeyholder::Given {
                    item: CONFIRMATION,
                    given: Given::Done { errno: 0 },
                } => Ok(()),
                ControlToKeyholder::Given {
                    item: CONFIRMATION,
                    given: Given::Done { .. },
                } => Err(Failure::QubesNotConfirmed),
                // A person is asked, and other commands wait.
                ControlToKeyholder::GiveBack => {
                    control.prompts.give_back(None);
                    Err(Failure::Interrupted)
                }
                _ => Err(broken(&Fatal::Unexpected("control"))),
            }
        })
    }

    fn next_of_qubes(&mut self) -> Result<NextOfQubes, Failure> {
        let received = self.ask(&KeyholderToVolumes::NextOfQubes)?;
        if matches!(received.message, VolumesToKeyholder::Target { .. }) {
            let (item, shape) = self.take_of_qubes(received, OfQubes::Volume)?;
            return Ok(NextOfQubes::Import { item, shape });
        }
        match received.message {
            VolumesToKeyholder::NoImport { item } => Ok(NextOfQubes::NoImport { item }),
            VolumesToKeyholder::QubeMade { qube, failure } => {
                Ok(NextOfQubes::Made { qube, failure })
            }
            VolumesToKeyholder::QubesDone { failure } => failure.map_or(Ok(NextOfQubes::Done), Err),
            _ => Err(broken(&Fatal::Unexpected("volumes"))),
        }
    }

    fn kept_qubes(&mut self) -> Result<Vec<KeptQube>, Failure> {
        match self.ask(&KeyholderToVolumes::KeptQubes)?.message {
            VolumesToKeyholder::KeptQubes { kept } => Ok(kept),
            VolumesToKeyholder::QubeAdded {
                failure: Some(failure),
            } => Err(failure),
            _ => Err(broken(&Fatal::Unexpected("volumes"))),
        }
    }

    fn settle_qube(
        &mut self,
        qube: &str,
        end: InPlaceEnd,
    ) -> Result<(RestoredQube, Option<Failure>), Failure> {
        let qube = qube.to_owned();
        match self
            .ask(&KeyholderToVolumes::SettleQube { qube, end })?
            .message
        {
            VolumesToKeyholder::QubeMade { qube, failure } => Ok((qube, failure)),
            VolumesToKeyholder::QubeAdded {
                failure: Some(failure),
            } => Err(failure),
            _ => Err(broken(&Fatal::Unexpected("volumes"))),
        }
    }

    fn next_changes(&mut self, item: u32) -> Result<Option<ChangePage>, Failure> {
        match self.ask(&KeyholderToVolumes::NextChanges { item })?.message {
            VolumesToKeyholder::Changes {
                item: found,
                method,
                ranges,
            } if found == item => Ok(Some(ChangePage { method, ranges })),
            VolumesToKeyholder::NoChanges { item: found, whole } if found == item => {
                self.whole.extend(whole.map(|cause| (item, cause)));
                Ok(None)
            }
            _ => Err(broken(&Fatal::Unexpected("volumes"))),
        }
    }

    fn whole_cause(&self, item: u32) -> Option<WholeCause> {
        self.whole.get(&item).copied()
    }

    fn next_data(&mut self, item: u32, offset: u64) -> Result<Option<(u64, u64)>, Errno> {
        if self.sources.get(&item).is_some_and(Source::wants_holes) {
            let holes = self.holes_of(item).map_err(|_| Errno::IO)?;
            found(self.sources.get_mut(&item))?
                .learn_holes(holes)
                .map_err(|errno| Errno(errno.raw_os_error()))?;
        }
        found(self.sources.get_mut(&item))?
            .next_data(offset)
            .map_err(|errno| Errno(errno.raw_os_error()))
    }

    fn read_source(&mut self, item: u32, offset: u64, bytes: &mut [u8]) -> Result<usize, Errno> {
        found(self.sources.get_mut(&item))?
            .read(offset, bytes)
            .map_err(|errno| Errno(errno.raw_os_error()))
    }

    fn source_bytes(&mut self, item: u32) -> Result<u64, Errno> {
        found(self.sources.get_mut(&item))?
            .current_bytes()
            .map_err(|errno| Errno(errno.raw_os_error()))
    }

    fn end_reading(&mut self, item: u32) {
        self.sources.remove(&item);
    }

    fn rotate(&mut self, item: u32, label: &BaseLabel) -> Result<bool, Failure> {
        match self
            .ask(&KeyholderToVolumes::Rotate {
                item,
                label: *label,
            })?
            .message
        {
            VolumesToKeyholder::Rotated { item: found, errno } if found == item => {
                if errno != 0 {
                    tracing::warn!(
                        errno,
                        "a base snapshot could not be kept: the next backup of its volume reads more"
                    );
                }
                Ok(errno == 0)
            }
            _ => Err(broken(&Fatal::Unexpected("volumes"))),
        }
    }

    fn close_source(&mut self, item: u32) {
        self.sources.remove(&item);
        // If the wire is broken, the next question finds out.
        let _ = self
            .wire
            .send(&KeyholderToVolumes::CloseSource { item }, &[]);
    }

    fn drop_base(&mut self, item: u32) -> Result<(), Failure> {
        match self.ask(&KeyholderToVolumes::DropBase { item })?.message {
            VolumesToKeyholder::BaseDropped { item: found, errno } if found == item => {
                match errno {
                    0 => Ok(()),
                    errno => Err(Failure::BaseKept { errno }),
                }
            }
            _ => Err(broken(&Fatal::Unexpected("volumes"))),
        }
    }

    fn look_at_target(&mut self, item: u32, wish: &TargetWish<'_>) -> Result<TargetLook, Failure> {
        let question = KeyholderToControl::WantTargetLook {
            item,
            volume: wish.volume.to_owned(),
            session: wish.session,
            size_bytes: wish.size_bytes,
            base_of: wish.base_of,
            origin: wish.origin.clone(),
        };
        self.control.with(|control| {
            control.send(&question)?;
            match control.answer()?.message {
                ControlToKeyholder::Given {
                    given: Given::Look(_),
                    ..
                } if control.cancelled.is_some() => Err(Failure::Interrupted),
                ControlToKeyholder::Given {
                    item: looked,
                    given: Given::Look(look),
                } if looked == item => Ok(look),
                // A person is asked, and other commands wait.
                ControlToKeyholder::GiveBack => {
                    control.prompts.give_back(None);
                    Err(Failure::Interrupted)
                }
                _ => Err(broken(&Fatal::Unexpected("control"))),
            }
        })
    }

    fn open_target(
        &mut self,
        item: u32,
        wish: &TargetWish<'_>,
        path: &str,
    ) -> Result<TargetShape, Failure> {
        let message = KeyholderToVolumes::OpenTarget {
            item,
            volume: wish.volume.to_owned(),
            size_bytes: wish.size_bytes,
            base_of: wish.base_of,
            in_place: wish.in_place,
            origin: wish.origin.clone(),
        };
        let received = self.ask(&message)?;
        let (kind, there, discards_bytes, fresh, remembered) = match &received.message {
            VolumesToKeyholder::Target {
                item: found,
                kind,
                there,
                discards_bytes,
                fresh,
                remembered,
            } if *found == item => (*kind, *there, *discards_bytes, *fresh, remembered.clone()),
            VolumesToKeyholder::NoTarget { item: found, fault } if *found == item => {
                return Err(fault.clone().of_volume(wish.volume, path, wish.size_bytes));
            }
            _ => return Err(broken(&Fatal::Unexpected("volumes"))),
        };
        let mut given = received.descriptors().into_iter();
        let fatal = || broken(&Fatal::Unexpected("volumes"));
        let file = given.next().ok_or_else(fatal)?;
        let beside = there.and_then(|there| there.beside);
        if let Some(there) = there.filter(|_| beside.is_some()) {
            let source = Source::new(
                given.next().ok_or_else(fatal)?,
                there.size_bytes,
                beside == Some(Beside::Kept),
            );
            self.sources.insert(item, source);
        }
        let in_place = there.is_some_and(|there| there.in_place);
        let unusable = |errno: SystemErrno| unusable(wish.volume, path, errno);
        let stream = (kind == TargetKind::Stream)
            .then(|| Stream::to(&file, self.client_patience))
            .transpose()
            .map_err(unusable)?;
        let mut target = Target::new(file, kind, in_place, stream).with_blocks_of(discards_bytes);
        if fresh.is_some() {
            target = target.named_by_pool();
        }
        if beside == Some(Beside::Old) {
            // A clone that failed half way may have left something.
            target.empty().map_err(unusable)?;
        } else if there.is_some() {
            // Dirty data may look like a hole, and a direct read must find it.
            target.sync().map_err(unusable)?;
        }
        self.targets.insert(item, target);
        Ok(TargetShape {
            kind,
            there,
            remembered,
            fresh: fresh.map(fresh_volume),
        })
    }

    fn next_target_data(&mut self, item: u32, offset: u64) -> Result<Option<(u64, u64)>, Errno> {
        found(self.targets.get_mut(&item))?
            .next_data(offset)
            .map_err(|errno| Errno(errno.raw_os_error()))
    }

    fn read_target(&mut self, item: u32, offset: u64, bytes: &mut [u8]) -> Result<usize, Errno> {
        found(self.targets.get_mut(&item))?
            .read(offset, bytes)
            .map_err(|errno| Errno(errno.raw_os_error()))
    }

    fn write_target(&mut self, item: u32, offset: u64, bytes: &[u8]) -> Result<(), Errno> {
        let target = found(self.targets.get_mut(&item))?;
        target
            .write(&self.control, offset, bytes)
            .map_err(|errno| Errno(errno.raw_os_error()))
    }

    fn finish_target(&mut self, item: u32, size_bytes: u64) -> Result<(), Errno> {
        let target = found(self.targets.get_mut(&item))?;
        target
            .finish(&self.control, size_bytes)
            .map_err(|errno| Errno(errno.raw_os_error()))
    }

    fn punch_target(&mut self, item: u32, offset: u64, length: u64) -> Result<(), Errno> {
        found(self.targets.get_mut(&item))?
            .punch(offset, length)
            .map_err(|errno| Errno(errno.raw_os_error()))
    }

    fn place_target(&mut self, item: u32, volume: &str, path: &str) -> Result<(), Failure> {
        let Some(target) = self.targets.get(&item) else {
            return Err(broken(&Fatal::Gone("the target")));
        };
        match self.of_qubes.get(&item) {
            Some(OfQubes::Record) => return Ok(()),
            Some(OfQubes::Volume) => {
                // Some pools do not rename what is open.
                self.targets.remove(&item);
                return self.end_import(item);
            }
            None if !target.gets_a_name() => return Ok(()),
            None => {}
        }
        if target.is_named_by_pool() {
            // What is open cannot be deactivated.
            self.targets.remove(&item);
            return self.name_in_pool(item, volume, path);
        }
        let answer = self.control.with(|control| {
            control.send(&KeyholderToControl::Tell(ToClient::Place { item }))?;
            control.answer()
        })?;
        match answer.message {
            ControlToKeyholder::Given {
                item: named,
                given: Given::Done { errno: 0 },
            } if named == item => Ok(()),
            ControlToKeyholder::Given {
                given: Given::Done { errno },
                ..
            } => Err(unusable(volume, path, system_errno(errno))),
            _ => Err(broken(&Fatal::Unexpected("control"))),
        }
    }

    fn undo_target(&mut self, item: u32, size_bytes: u64) -> Result<bool, Failure> {
        let Some(target) = self
            .targets
            .get_mut(&item)
            .filter(|target| target.is_in_place())
        else {
            return Ok(false);
        };
        if target.resize(size_bytes).is_err() {
            return Ok(false);
        }
        let undone = match self.ask(&KeyholderToVolumes::Undo { item })?.message {
            VolumesToKeyholder::Undone { item: found, errno } if found == item => errno == 0,
            _ => return Err(broken(&Fatal::Unexpected("volumes"))),
        };
        Ok(undone
            && self
                .targets
                .get_mut(&item)
                .is_some_and(|target| target.sync().is_ok()))
    }

    fn close_target(&mut self, item: u32) {
        self.targets.remove(&item);
        if self.of_qubes.remove(&item) == Some(OfQubes::Record) {
            // It is read when its qube is added.
            return;
        }
        self.sources.remove(&item);
        // If the wire is broken, the next question finds out.
        let _ = self
            .wire
            .send(&KeyholderToVolumes::CloseSource { item }, &[]);
    }

    fn peak_bytes(&self) -> u64 {
        self.peak_bytes
    }
}

/// The source or target of an item; `EBADF` if it is not open.
fn found<T>(open: Option<&mut T>) -> Result<&mut T, Errno> {
    open.ok_or(Errno(SystemErrno::BADF.raw_os_error()))
}

/// The failure for an errno about a target, which is named by the path that the client gave.
fn unusable(volume: &str, path: &str, errno: SystemErrno) -> Failure {
    let fault = match errno {
        SystemErrno::EXIST => TargetFault::Exists,
        errno => TargetFault::Unavailable {
            errno: errno.raw_os_error(),
        },
    };
    fault.of_volume(volume, path, 0)
}
