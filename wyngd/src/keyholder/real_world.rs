// SPDX-License-Identifier: GPL-3.0-or-later
//! The `World` of the daemon: three wires, the state directory, the kernel's clocks and randomness.
//!
//! A wire that breaks, or a message that may not come now, cannot be told to anybody: it ends the
//! process through `RealWorld::fatal`.

mod client;
mod far_ends;
mod stream;
mod targets;

use std::collections::{HashMap, HashSet, VecDeque};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::event::PollFlags;
use rustix::io::Errno as SystemErrno;
use wyng_archive::Fault;
use wyng_archive::crypto::{ArchiveId, DataKey};
use wyng_control::{
    Asked, BaseLabel, BaseOf, Command, ExitStatus, Failure, NoSource, Phase, Progress, TargetLook,
    ToClient, path_text,
};
use wyng_jail::{DiskTurn, MappedFile, MemfileError, new_file, seal_file};
use wyng_wire::BlobName;
use zeroize::Zeroizing;

use self::client::Prompts;
use self::far_ends::{Opening, Push};
use self::targets::Target;
use super::files::StateFiles;
use super::page_cache::Source;
use super::sealed::Sealed;
use super::world::{
    ChangePage, Errno, Fetched, Found, Receipt, SourceShape, TargetShape, TargetWish, World,
};
use crate::ipc::{
    ControlToKeyholder, Encoded, Fatal, KeyholderToControl, KeyholderToTransport,
    KeyholderToVolumes, NotGot, Received, Service, TransportToKeyholder, VolumesToKeyholder, Wire,
    wait,
};

type ControlWire = Wire<KeyholderToControl, ControlToKeyholder>;
type VolumesWire = Wire<KeyholderToVolumes, VolumesToKeyholder>;
type TransportWire = Wire<KeyholderToTransport, TransportToKeyholder>;

/// The person's eye is not faster; a new phase or volume is told at once, and so is an end.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);
/// How late a key's end may be noticed after the machine has slept.
const LOOK_AGAIN: Duration = Duration::from_secs(20);

/// See the module's first line.
pub struct RealWorld {
    control: ControlWire,
    volumes: VolumesWire,
    transport: TransportWire,
    files: StateFiles,
    sealed: Sealed,
    started: Instant,
    /// When the person interrupted.
    cancelled: Option<Instant>,
    client_uid: u32,
    from_control: VecDeque<Received<ControlToKeyholder>>,
    /// What control has not taken yet.
    to_control: VecDeque<Encoded<KeyholderToControl>>,
    /// Services whose far end runs.
    running: HashSet<Service>,
    /// How each service's last far end ended, once it has; none: well.
    ended: HashMap<Service, Option<Failure>>,
    push: Push,
    /// What each service's far end was last asked to open.
    openings: HashMap<Service, Opening>,
    /// What became of the fetch, if it is over before its end.
    fetch_failed: Option<Failure>,
    /// Rooms whose blob was sent. Fresh memory costs the kernel more than all copying.
    spare: Vec<Vec<u8>>,
    volumes_peak_bytes: u64,
    transport_peak_bytes: u64,
    sources: HashMap<u32, Source>,
    targets: HashMap<u32, Target>,
    prompts: Prompts,
    /// How long a client may take nothing of a stream.
    client_patience: Duration,
    /// What progress was told last, and when.
    told_progress: Option<(Phase, Option<String>, Instant)>,
    /// What `unlock` keeps.
    kept: Vec<Kept>,
    /// For what is not a backup.
    usual_turn: DiskTurn,
}

/// A data key for the next commands, until a moment of the clock that goes on while the machine
/// sleeps.
struct Kept {
    archive: ArchiveId,
    key: Arc<DataKey>,
    until: Duration,
}

impl RealWorld {
    /// A world over these wires and files. A client that takes nothing of a stream for
    /// `client_patience` is given up.
    pub fn new(
        wires: (ControlWire, VolumesWire, TransportWire),
        files: StateFiles,
        sealed: Sealed,
        client_patience: Duration,
    ) -> Self {
        let (control, volumes, transport) = wires;
        Self {
            control,
            volumes,
            transport,
            files,
            sealed,
            started: Instant::now(),
            cancelled: None,
            client_uid: u32::MAX,
            from_control: VecDeque::new(),
            to_control: VecDeque::new(),
            running: HashSet::new(),
            ended: HashMap::new(),
            push: Push::default(),
            openings: HashMap::new(),
            fetch_failed: None,
            spare: Vec::new(),
            volumes_peak_bytes: 0,
            transport_peak_bytes: 0,
            sources: HashMap::new(),
            targets: HashMap::new(),
            prompts: Prompts::default(),
            client_patience,
            told_progress: None,
            kept: Vec::new(),
            usual_turn: DiskTurn::current(),
        }
    }

    /// Waits for the next job.
    pub fn next_command(&mut self) -> Result<Command, Fatal> {
        loop {
            let timeout = self.wipe_expired();
            let unsaid = if self.to_control.is_empty() {
                PollFlags::empty()
            } else {
                PollFlags::OUT
            };
            let [says, takes] = wait(
                [
                    (self.control.as_fd(), PollFlags::IN),
                    (self.control.as_fd(), unsaid),
                ],
                timeout,
            )?;
            if takes {
                self.flush_control()
                    .map_err(|_| Fatal::Gone(self.control.peer()))?;
            }
            if !says {
                continue;
            }
            let received = self.control.receive()?;
            match received.message.clone() {
                ControlToKeyholder::Start {
                    command,
                    uid,
                    turn,
                    typed,
                } => {
                    let pipe = if typed {
                        Some(received.descriptor()?)
                    } else {
                        None
                    };
                    self.prompts.begin(turn, pipe);
                    self.client_uid = uid;
                    self.cancelled = None;
                    self.files.look_whether_writable();
                    return Ok(command);
                }
                ControlToKeyholder::Lock { archive } => {
                    self.lock(archive.as_deref())
                        .and_then(|()| self.flush_control())
                        .map_err(|_| Fatal::Gone(self.control.peer()))?;
                }
                ControlToKeyholder::Abandon { turn } => self.prompts.abandon(turn),
                // What belongs to the job before, and came when it had ended.
                ControlToKeyholder::FarEndEnded { service, .. } => {
                    self.running.remove(&service);
                }
                ControlToKeyholder::Cancel => {}
                _ => return Err(Fatal::Unexpected(self.control.peer())),
            }
        }
    }

    /// The job has ended: what it held is closed. It may have given its turn back, and then begins
    /// anew.
    pub fn done(&mut self, exit: ExitStatus) -> Result<(), Fatal> {
        self.sources.clear();
        self.targets.clear();
        self.ended.clear();
        self.told_progress = None;
        self.usual_turn.take();
        self.volumes.send(&KeyholderToVolumes::EndAll, &[])?;
        self.close_far_ends()?;
        self.prompts.end();
        self.from_control.clear();
        let ended = if self.prompts.has_given_back() {
            KeyholderToControl::GivenBack
        } else {
            KeyholderToControl::Done(exit)
        };
        self.send_control(&ended)
            .map_err(|_| Fatal::Gone(self.control.peer()))
    }

    /// Wipes keys whose time is over. In how many milliseconds to look again, if any is left: a
    /// timeout stands still while the machine sleeps, the time of a key does not.
    fn wipe_expired(&mut self) -> Option<u64> {
        let now = since_boot();
        self.kept.retain(|kept| kept.until > now);
        let next = self
            .kept
            .iter()
            .map(|kept| kept.until.saturating_sub(now))
            .min()?;
        Some(
            u64::try_from(next.min(LOOK_AGAIN).as_millis())
                .unwrap_or(u64::MAX)
                .saturating_add(1),
        )
    }

    /// A wire broke: there is nobody left to tell, and nothing to finish.
    #[track_caller]
    fn fatal(fatal: &Fatal) -> Failure {
        if !matches!(fatal, Fatal::Gone(_)) {
            tracing::error!(reason = %fatal, "the keyholder stops its job");
        }
        Failure::internal("a wire between two roles broke")
    }

    fn send_transport(&self, message: &KeyholderToTransport) -> Result<(), Failure> {
        self.transport
            .send(message, &[])
            .map_err(|fatal| Self::fatal(&fatal))
    }

    /// Asks volumes, and hears control while the answer is due. Control answers in the place of a
    /// client that is gone.
    fn ask_volumes(
        &mut self,
        question: &KeyholderToVolumes,
    ) -> Result<Received<VolumesToKeyholder>, Failure> {
        self.volumes
            .send(question, &[])
            .map_err(|fatal| Self::fatal(&fatal))?;
        loop {
            let polled = [
                (self.volumes.as_fd(), PollFlags::IN),
                (self.control.as_fd(), PollFlags::IN),
            ];
            match wait(polled, None).map_err(|fatal| Self::fatal(&fatal))? {
                [true, _] => return self.volumes.receive().map_err(|fatal| Self::fatal(&fatal)),
                [false, _] => self.poll_control()?,
            }
        }
    }

    fn target(&mut self, item: u32) -> Result<&mut Target, Errno> {
        self.targets
            .get_mut(&item)
            .ok_or(Errno(SystemErrno::BADF.raw_os_error()))
    }

    fn source(&mut self, item: u32) -> Result<&mut Source, Errno> {
        self.sources
            .get_mut(&item)
            .ok_or(Errno(SystemErrno::BADF.raw_os_error()))
    }
}

/// The clock that goes on while the machine sleeps.
fn since_boot() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

impl World for RealWorld {
    type Buffer = Vec<u8>;
    type Bytes = MappedFile;

    fn wall_nanos(&mut self) -> u64 {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
    }

    fn monotonic_nanos(&mut self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn cpu_micros(&mut self) -> u64 {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        let (secs, nanos) = (
            u64::try_from(time.tv_sec).unwrap_or(0),
            u64::try_from(time.tv_nsec).unwrap_or(0),
        );
        secs.saturating_mul(1_000_000).saturating_add(nanos / 1000)
    }

    fn peak_bytes(&mut self) -> u64 {
        let parts = [
            wyng_jail::peak_resident_bytes(),
            self.push.unsettled_peak_bytes,
            self.volumes_peak_bytes,
            self.transport_peak_bytes,
        ];
        parts.into_iter().fold(0, u64::saturating_add)
    }

    fn keep_key(&mut self, archive: ArchiveId, key: Arc<DataKey>, secs: u64) {
        self.wipe_keys(Some(archive));
        self.kept.push(Kept {
            archive,
            key,
            until: since_boot().saturating_add(Duration::from_secs(secs)),
        });
    }

    fn sealed_credential(&mut self, archive: ArchiveId) -> Option<Zeroizing<Vec<u8>>> {
        self.sealed.of(archive)
    }

    fn kept_key(&mut self, archive: ArchiveId) -> Option<Arc<DataKey>> {
        self.wipe_expired();
        self.kept
            .iter()
            .find(|kept| kept.archive == archive)
            .map(|kept| Arc::clone(&kept.key))
    }

    fn wipe_keys(&mut self, archive: Option<ArchiveId>) {
        self.kept
            .retain(|kept| archive.is_some_and(|archive| kept.archive != archive));
    }

    fn client_uid(&self) -> u32 {
        self.client_uid
    }

    fn only_looks(&self) -> bool {
        self.files.only_reads()
    }

    fn look_anew(&mut self) {
        self.files.close();
    }

    fn has_given_back(&self) -> bool {
        self.prompts.has_given_back()
    }

    fn process_id(&self) -> u32 {
        std::process::id()
    }

    fn random(&mut self, bytes: &mut [u8]) -> Result<(), Failure> {
        getrandom::fill(bytes).map_err(|_| Failure::internal("the kernel gives no random bytes"))
    }

    fn read_file(&mut self, name: &str) -> Result<Option<Vec<u8>>, Failure> {
        self.files.read(name)
    }

    fn replace_file(&mut self, name: &str, bytes: &[u8]) -> Result<(), Failure> {
        self.files.replace(name, bytes)
    }

    fn append_file(&mut self, name: &str, bytes: &[u8]) -> Result<(), Failure> {
        self.files.append(name, bytes)
    }

    fn sync_file(&mut self, name: &str) -> Result<(), Failure> {
        self.files.sync(name)
    }

    fn truncate_file(&mut self, name: &str, length_bytes: u64) -> Result<(), Failure> {
        self.files.truncate(name, length_bytes)
    }

    fn file_bytes(&mut self, name: &str) -> Result<Option<u64>, Failure> {
        self.files.length(name)
    }

    fn read_file_at(&mut self, name: &str, offset: u64, bytes: &mut [u8]) -> Result<(), Failure> {
        self.files.read_at(name, offset, bytes)
    }

    fn remove(&mut self, name: &str) -> Result<(), Failure> {
        self.files.remove(name)
    }

    fn list_folder(&mut self, name: &str) -> Result<Vec<String>, Failure> {
        self.files.list(name)
    }

    fn make_link(&mut self, name: &str, target: &str) -> Result<(), Failure> {
        self.files.link(name, target)
    }

    fn read_link(&mut self, name: &str) -> Result<Option<String>, Failure> {
        self.files.read_link(name)
    }

    fn connect(
        &mut self,
        service: wyng_wire::Service,
        via: &str,
        destination: &str,
        create: bool,
    ) -> Result<(), Failure> {
        let service = match service {
            wyng_wire::Service::Push => Service::Push,
            wyng_wire::Service::Fetch => Service::Fetch,
            wyng_wire::Service::Prune => {
                return Err(Failure::internal("prune is not part of this version"));
            }
        };
        self.prompts.work_begins();
        self.connect_far_end(service, via, destination, create)
    }

    fn buffer(&mut self, length_bytes: usize) -> Result<Vec<u8>, Failure> {
        let mut room = self.spare.pop().unwrap_or_default();
        room.try_reserve_exact(length_bytes.saturating_sub(room.len()))
            .map_err(|_| Failure::OutOfMemory)?;
        room.resize(length_bytes, 0);
        Ok(room)
    }

    fn put(
        &mut self,
        name: BlobName,
        bytes: Vec<u8>,
        length_bytes: usize,
        may_use_reserve: bool,
    ) -> Result<u64, Failure> {
        self.prompts.work_begins();
        self.put_blob(name, bytes, length_bytes, may_use_reserve)
    }

    fn receipt(&mut self, wait_for_it: bool) -> Result<Option<Receipt>, Failure> {
        self.next_receipt(wait_for_it)
    }

    fn take_back(&mut self) -> Result<Vec<u8>, Failure> {
        self.take_back_blob()
    }

    fn finish_push(&mut self) -> Result<(), Failure> {
        self.end_push()
    }

    fn request(
        &mut self,
        name: BlobName,
        offset_bytes: u32,
        length_bytes: u32,
    ) -> Result<(), Failure> {
        self.prompts.work_begins();
        self.unless_cancelled()?;
        self.send_transport(&KeyholderToTransport::Get {
            name: name.0,
            offset_bytes: u64::from(offset_bytes),
            length_bytes,
        })
    }

    fn answer(&mut self) -> Result<Fetched<MappedFile>, Failure> {
        let received = self.fetch_message()?;
        match received.message {
            TransportToKeyholder::Got { length_bytes } => {
                let length = usize::try_from(length_bytes).unwrap_or(usize::MAX);
                let file = received.descriptor().map_err(|fatal| Self::fatal(&fatal))?;
                let mapped = MappedFile::map(&file, length).map_err(|error| match error {
                    MemfileError::Io(error) => Failure::MemoryFile {
                        errno: error.raw_os_error().unwrap_or(0),
                    },
                    MemfileError::NotSealed | MemfileError::Length => {
                        Self::fatal(&Fatal::Unexpected("transport"))
                    }
                })?;
                Ok(Fetched::Bytes(mapped))
            }
            TransportToKeyholder::NotGot(NotGot::Missing) => Ok(Fetched::Missing),
            TransportToKeyholder::NotGot(NotGot::Short) => Ok(Fetched::Short),
            TransportToKeyholder::NotGot(NotGot::Foreign) => {
                Ok(Fetched::Unreadable(Fault::Foreign))
            }
            TransportToKeyholder::NotGot(NotGot::Refused) => {
                Ok(Fetched::Unreadable(Fault::Refused))
            }
            TransportToKeyholder::NotGot(NotGot::Failed) => {
                Ok(Fetched::Unreadable(Fault::Unreadable))
            }
            _ => Err(Self::fatal(&Fatal::Unexpected("transport"))),
        }
    }

    fn stat(&mut self, name: BlobName) -> Result<Found, Failure> {
        self.prompts.work_begins();
        self.unless_cancelled()?;
        self.send_transport(&KeyholderToTransport::Stat { name: name.0 })?;
        match self.fetch_message()?.message {
            TransportToKeyholder::Stated(found) => Ok(found),
            _ => Err(Self::fatal(&Fatal::Unexpected("transport"))),
        }
    }

    fn list_store(&mut self, visit: &mut dyn FnMut(BlobName, u64)) -> Result<bool, Failure> {
        self.send_transport(&KeyholderToTransport::List)?;
        loop {
            match self.fetch_message()?.message {
                TransportToKeyholder::Entries(entries) => entries
                    .into_iter()
                    .for_each(|(name, length)| visit(BlobName(name), length)),
                TransportToKeyholder::ListEnd { complete } => return Ok(complete),
                _ => return Err(Self::fatal(&Fatal::Unexpected("transport"))),
            }
        }
    }

    fn finish_fetch(&mut self) -> Result<(), Failure> {
        self.send_transport(&KeyholderToTransport::EndFetch)?;
        self.let_end(Service::Fetch)
    }

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
        let received = self.ask_volumes(&message)?;
        match received.message {
            VolumesToKeyholder::Source {
                item: asked,
                size_bytes,
                snapshot,
                base,
                ref found,
                peak_rss_bytes,
            } if asked == item => {
                self.volumes_peak_bytes = peak_rss_bytes;
                let found = found.clone();
                let file = received.descriptor().map_err(|fatal| Self::fatal(&fatal))?;
                // Nobody waits for a backup: it reads when nobody else does.
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
                why,
            } if asked == item => {
                let (volume, path) = (volume.to_owned(), path_text(path));
                Err(match why {
                    NoSource::Errno(errno) => Failure::SourceUnavailable {
                        volume,
                        path,
                        errno,
                    },
                    NoSource::Link => Failure::SourceLink { volume, path },
                    NoSource::QubeRuns => Failure::SourceOfRunningQube { volume, path },
                    NoSource::Kind(kind) => Failure::SourceKind {
                        volume,
                        path,
                        kind: kind.name().to_owned(),
                    },
                })
            }
            _ => Err(Self::fatal(&Fatal::Unexpected("volumes"))),
        }
    }

    fn next_data(&mut self, item: u32, offset: u64) -> Result<Option<(u64, u64)>, Errno> {
        self.source(item)?
            .next_data(offset)
            .map_err(|errno| Errno(errno.raw_os_error()))
    }

    fn read_source(&mut self, item: u32, offset: u64, bytes: &mut [u8]) -> Result<usize, Errno> {
        self.source(item)?
            .read(offset, bytes)
            .map_err(|errno| Errno(errno.raw_os_error()))
    }

    fn source_bytes(&mut self, item: u32) -> Result<u64, Errno> {
        self.source(item)?
            .current_bytes()
            .map_err(|errno| Errno(errno.raw_os_error()))
    }

    fn next_changes(&mut self, item: u32) -> Result<Option<ChangePage>, Failure> {
        match self
            .ask_volumes(&KeyholderToVolumes::NextChanges { item })?
            .message
        {
            VolumesToKeyholder::Changes {
                item: found,
                method,
                ranges,
            } if found == item => Ok(Some(ChangePage { method, ranges })),
            VolumesToKeyholder::NoChanges { item: found } if found == item => Ok(None),
            _ => Err(Self::fatal(&Fatal::Unexpected("volumes"))),
        }
    }

    fn end_reading(&mut self, item: u32) {
        self.sources.remove(&item);
    }

    fn rotate(&mut self, item: u32, label: &BaseLabel) -> Result<bool, Failure> {
        match self
            .ask_volumes(&KeyholderToVolumes::Rotate {
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
            _ => Err(Self::fatal(&Fatal::Unexpected("volumes"))),
        }
    }

    fn close_source(&mut self, item: u32) {
        self.sources.remove(&item);
        // Should the wire be broken, then the next question finds that out.
        let _ = self
            .volumes
            .send(&KeyholderToVolumes::CloseSource { item }, &[]);
    }

    fn drop_base(&mut self, item: u32) -> Result<(), Failure> {
        self.volumes
            .send(&KeyholderToVolumes::DropBase { item }, &[])
            .map_err(|fatal| Self::fatal(&fatal))
    }

    fn look_at_target(&mut self, item: u32, wish: &TargetWish<'_>) -> Result<TargetLook, Failure> {
        self.ask_for_look(item, wish)
    }

    fn open_target(
        &mut self,
        item: u32,
        wish: &TargetWish<'_>,
        path: &str,
    ) -> Result<TargetShape, Failure> {
        self.take_target(item, wish, path)
    }

    fn next_target_data(&mut self, item: u32, offset: u64) -> Result<Option<(u64, u64)>, Errno> {
        self.target(item)?
            .next_data(offset)
            .map_err(|errno| Errno(errno.raw_os_error()))
    }

    fn read_target(&mut self, item: u32, offset: u64, bytes: &mut [u8]) -> Result<usize, Errno> {
        self.target(item)?
            .read(offset, bytes)
            .map_err(|errno| Errno(errno.raw_os_error()))
    }

    fn write_target(&mut self, item: u32, offset: u64, bytes: &[u8]) -> Result<(), Errno> {
        self.write_to(item, offset, bytes)
            .map_err(|errno| Errno(errno.raw_os_error()))
    }

    fn punch_target(&mut self, item: u32, offset: u64, length: u64) -> Result<(), Errno> {
        self.target(item)?
            .punch(offset, length)
            .map_err(|errno| Errno(errno.raw_os_error()))
    }

    fn finish_target(&mut self, item: u32, size_bytes: u64) -> Result<(), Errno> {
        self.finish_at(item, size_bytes)
            .map_err(|errno| Errno(errno.raw_os_error()))
    }

    fn place_target(&mut self, item: u32, volume: &str, path: &str) -> Result<(), Failure> {
        self.name_target(item, volume, path)
    }

    fn undo_target(&mut self, item: u32, size_bytes: u64) -> Result<bool, Failure> {
        self.put_back(item, size_bytes)
    }

    fn close_target(&mut self, item: u32) {
        self.forget_target(item);
    }

    fn passphrase(&mut self, asked: Asked) -> Result<Zeroizing<Vec<u8>>, Failure> {
        self.ask_passphrase(asked)
    }

    fn show_secret(&mut self, text: &[u8]) -> Result<(), Failure> {
        self.write_secret(text)
    }

    fn tell(&mut self, event: ToClient) -> Result<(), Failure> {
        self.tell_client(event)
    }

    fn progress(&mut self, progress: Progress) {
        let is_new = self
            .told_progress
            .as_ref()
            .is_none_or(|(phase, volume, told)| {
                *phase != progress.phase
                    || *volume != progress.volume
                    || told.elapsed() >= PROGRESS_EVERY
            });
        let is_end = progress.total_bytes > 0 && progress.done_bytes >= progress.total_bytes;
        if !is_new && !is_end {
            return;
        }
        self.told_progress = Some((progress.phase, progress.volume.clone(), Instant::now()));
        // A client that is gone is noticed at the next question or result.
        let _ = self.tell(ToClient::Progress(progress));
    }

    fn cancelled(&mut self) -> bool {
        self.poll_control().is_err() || self.cancelled.is_some()
    }
}

/// Fills `bytes` from `offset`; how many, less than asked only at the end.
fn read_at(file: &OwnedFd, mut offset: u64, bytes: &mut [u8]) -> Result<usize, Errno> {
    let mut done = 0usize;
    while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match rustix::io::pread(file, rest, offset) {
            Ok(0) => break,
            Ok(read) => {
                done = done.saturating_add(read);
                offset = offset.saturating_add(read as u64);
            }
            Err(SystemErrno::INTR) => {}
            Err(errno) => return Err(Errno(errno.raw_os_error())),
        }
    }
    Ok(done)
}

/// A sealed memory file with these bytes. It is written and not mapped: the kernel then has no
/// pages to zero and none to fault in.
fn memory_file(mut bytes: &[u8]) -> std::io::Result<OwnedFd> {
    let file = new_file()?;
    while !bytes.is_empty() {
        let written = rustix::io::retry_on_intr(|| rustix::io::write(&file, bytes))?;
        bytes = bytes.get(written..).unwrap_or_default();
    }
    seal_file(&file)?;
    Ok(file)
}
