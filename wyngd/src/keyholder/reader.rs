// SPDX-License-Identifier: GPL-3.0-or-later
//! The reader: the keyholder's code in a second process, which answers whoever only looks while the
//! keyholder works. It deliberately cannot do anything else: it has one wire, to control, opens no
//! file for writing, and hears no passphrase.
//!
//! Looks come one after the other. Each shows the state of the last commit that is whole on the
//! disk.

use std::cell::RefCell;
use std::os::fd::AsFd;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use rustix::event::PollFlags;
use wyng_archive::crypto::{ArchiveId, DataKey, wiping_stack};
use wyng_control::{
    Asked, BaseLabel, BaseOf, Command, Failure, Progress, TargetLook, ToClient, Via,
};
use wyng_jail::{PathAccess, inherited};
use wyng_wire::{BlobName, Service};
use zeroize::Zeroizing;

use super::real_world::{KernelClock, StateFiles};
use super::sealed::Sealed;
use crate::ipc::{ControlToReader, Fatal, ReaderToControl, Wire, enter_jail, not_enforced, wait};
use crate::roles::{CREDENTIALS_VARIABLE, Daemon, Role};
use wyng_engine::world::{
    ChangePage, Client, Errno, Fetched, Files, Found, OpenStore, Parts, Random, Receipt, Reserve,
    Secrets, SourceShape, Store, TargetShape, TargetWish, Volumes, Wait, World,
};

type ControlWire = Wire<ReaderToControl, ControlToReader>;

/// Serves until control is gone.
pub fn run(daemon: Daemon) -> Result<(), Fatal> {
    let control: ControlWire = Wire::inherited(Role::Reader, Role::Control)?;
    let files = StateFiles::only_read(inherited(
        Role::Reader
            .extra()
            .ok_or(Fatal::Gone("the state directory"))?,
    )?);
    let sealed = std::env::var_os(CREDENTIALS_VARIABLE)
        .map(|folder| Sealed::read(Path::new(&folder)))
        .unwrap_or_default();
    let missing = enter_jail(Role::Reader, daemon, || {
        vec![
            ("locked memory", wyng_jail::lock_memory()),
            ("empty network", wyng_jail::empty_network_namespace()),
            (
                "only the state directory",
                wyng_jail::restrict_paths(&[(files.root().as_fd(), PathAccess::Read)]),
            ),
        ]
    });
    let peak_rss_bytes = wyng_jail::peak_resident_bytes();
    control.send(
        &ReaderToControl::Ready {
            missing: not_enforced(missing),
            peak_rss_bytes,
        },
        &[],
    )?;
    let control = SharedControl(Rc::new(RefCell::new(Control {
        wire: control,
        cancelled: false,
        client_uid: u32::MAX,
    })));
    let mut world: World<LookingParts> = World {
        clock: KernelClock::start(),
        random: Nothing,
        files: LookedAtFiles {
            files,
            control: control.clone(),
        },
        store: Nothing,
        volumes: Nothing,
        secrets: SealedAlone(sealed),
        client: Looker(control.clone()),
    };
    loop {
        let command = control.with(Control::next_command)?;
        // Control forwards nothing else; a command that works would find nothing to work with.
        if !command.only_looks() {
            return Err(Fatal::Unexpected(
                control.with(|control| control.wire.peer()),
            ));
        }
        let exit = wiping_stack(|| wyng_engine::run(&mut world, command));
        world.files.files.close();
        let done = ReaderToControl::Done {
            exit,
            peak_rss_bytes: wyng_jail::peak_resident_bytes(),
        };
        control.with(|control| control.wire.send(&done, &[]))?;
    }
}

/// A world of which only the local state can be seen.
struct LookingParts;

impl Parts for LookingParts {
    type Clock = KernelClock;
    type Random = Nothing;
    type Files = LookedAtFiles;
    type Store = Nothing;
    type Volumes = Nothing;
    type Secrets = SealedAlone;
    type Client = Looker;
}

/// The wire to control.
struct Control {
    wire: ControlWire,
    cancelled: bool,
    client_uid: u32,
}

/// What files and client share.
#[derive(Clone)]
struct SharedControl(Rc<RefCell<Control>>);

impl SharedControl {
    fn with<T>(&self, call: impl FnOnce(&mut Control) -> T) -> T {
        call(&mut self.0.borrow_mut())
    }
}

impl Control {
    fn next_command(&mut self) -> Result<Command, Fatal> {
        loop {
            match self.wire.receive()?.message {
                ControlToReader::Start { command, uid } => {
                    self.cancelled = false;
                    self.client_uid = uid;
                    return Ok(command);
                }
                // It came when the look had ended.
                ControlToReader::Cancel => {}
            }
        }
    }

    /// Hears what control has said; with `until_writable` until a message can be sent without
    /// waiting.
    fn hear_control(&mut self, until_writable: bool) -> Result<(), Failure> {
        let broke = |fatal: Fatal| {
            tracing::debug!(reason = %fatal, "the reader stops its look");
            Failure::internal("a wire between two roles broke")
        };
        loop {
            let writable = if until_writable {
                PollFlags::OUT
            } else {
                PollFlags::empty()
            };
            let polled = [
                (self.wire.as_fd(), PollFlags::IN),
                (self.wire.as_fd(), writable),
            ];
            let timeout = if until_writable { None } else { Some(0) };
            let [says, takes] = wait(polled, timeout).map_err(broke)?;
            if !says {
                return Ok(());
            }
            match self.wire.receive().map_err(broke)?.message {
                ControlToReader::Cancel => self.cancelled = true,
                ControlToReader::Start { .. } => {
                    return Err(broke(Fatal::Unexpected(self.wire.peer())));
                }
            }
            if takes {
                return Ok(());
            }
        }
    }

    fn unless_cancelled(&mut self) -> Result<(), Failure> {
        self.hear_control(false)?;
        if self.cancelled {
            Err(Failure::Interrupted)
        } else {
            Ok(())
        }
    }

    /// Sends something to the client, unless it interrupted: it hears all the same why the look
    /// ends.
    fn tell(&mut self, event: ToClient) -> Result<(), Failure> {
        self.hear_control(true)?;
        if self.cancelled && !matches!(event, ToClient::Failed(_)) {
            return Err(Failure::Interrupted);
        }
        let broke = |_| Failure::internal("a wire between two roles broke");
        self.wire
            .send(&ReaderToControl::Tell(event), &[])
            .map_err(broke)
    }
}

/// The files of the state. Each read is where an interrupt is heard.
struct LookedAtFiles {
    files: StateFiles,
    control: SharedControl,
}

impl Files for LookedAtFiles {
    fn only_looks(&self) -> bool {
        true
    }

    fn look_anew(&mut self) {
        self.files.close();
    }

    fn read(&mut self, name: &str) -> Result<Option<Vec<u8>>, Failure> {
        self.control.with(Control::unless_cancelled)?;
        self.files.read(name)
    }

    fn replace(&mut self, name: &str, bytes: &[u8]) -> Result<(), Failure> {
        self.files.replace(name, bytes)
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> Result<(), Failure> {
        self.files.append(name, bytes)
    }

    fn sync(&mut self, name: &str) -> Result<(), Failure> {
        self.files.sync(name)
    }

    fn truncate(&mut self, name: &str, length_bytes: u64) -> Result<(), Failure> {
        self.files.truncate(name, length_bytes)
    }

    fn length(&mut self, name: &str) -> Result<Option<u64>, Failure> {
        self.files.length(name)
    }

    fn read_at(&mut self, name: &str, offset: u64, bytes: &mut [u8]) -> Result<(), Failure> {
        self.control.with(Control::unless_cancelled)?;
        self.files.read_at(name, offset, bytes)
    }

    fn remove(&mut self, name: &str) -> Result<(), Failure> {
        self.files.remove(name)
    }

    fn list(&mut self, name: &str) -> Result<Vec<String>, Failure> {
        self.files.list(name)
    }

    fn link(&mut self, name: &str, target: &str) -> Result<(), Failure> {
        self.files.link(name, target)
    }

    fn read_link(&mut self, name: &str) -> Result<Option<String>, Failure> {
        self.files.read_link(name)
    }
}

/// A look asks for what only work needs: a defect of ours.
#[track_caller]
fn refused<T>() -> Result<T, Failure> {
    Err(Failure::internal(
        "a look asked for more than the local state",
    ))
}

/// The same where a failure is a number.
fn denied<T>() -> Result<T, Errno> {
    Err(Errno(rustix::io::Errno::PERM.raw_os_error()))
}

/// In the place of what a look has no use for.
struct Nothing;

impl Random for Nothing {
    fn fill(&mut self, _: &mut [u8]) -> Result<(), Failure> {
        refused()
    }

    fn process_id(&self) -> u32 {
        std::process::id()
    }
}

impl Store for Nothing {
    type Buffer = Vec<u8>;
    type Bytes = Vec<u8>;

    fn connect(&mut self, _: Service, _: &Via, _: &str, _: OpenStore) -> Result<(), Failure> {
        refused()
    }

    fn buffer(&mut self, _: usize) -> Result<Vec<u8>, Failure> {
        refused()
    }

    fn put(&mut self, _: BlobName, _: Vec<u8>, _: usize, _: Reserve) -> Result<u64, Failure> {
        refused()
    }

    fn receipt(&mut self, _: Wait) -> Result<Option<Receipt>, Failure> {
        refused()
    }

    fn take_back(&mut self) -> Result<Vec<u8>, Failure> {
        refused()
    }

    fn finish_push(&mut self) -> Result<(), Failure> {
        refused()
    }

    fn request(&mut self, _: BlobName, _: u32, _: u32) -> Result<(), Failure> {
        refused()
    }

    fn answer(&mut self) -> Result<Fetched<Vec<u8>>, Failure> {
        refused()
    }

    fn stat(&mut self, _: BlobName) -> Result<Found, Failure> {
        refused()
    }

    fn list(&mut self, _: &mut dyn FnMut(BlobName, u64)) -> Result<bool, Failure> {
        refused()
    }

    fn finish_fetch(&mut self) -> Result<(), Failure> {
        refused()
    }
}

impl Volumes for Nothing {
    fn open_source(
        &mut self,
        _: u32,
        _: &str,
        _: &BaseOf,
        _: Option<Vec<u8>>,
    ) -> Result<SourceShape, Failure> {
        refused()
    }

    fn next_changes(&mut self, _: u32) -> Result<Option<ChangePage>, Failure> {
        refused()
    }

    fn next_data(&mut self, _: u32, _: u64) -> Result<Option<(u64, u64)>, Errno> {
        denied()
    }

    fn read_source(&mut self, _: u32, _: u64, _: &mut [u8]) -> Result<usize, Errno> {
        denied()
    }

    fn source_bytes(&mut self, _: u32) -> Result<u64, Errno> {
        denied()
    }

    fn end_reading(&mut self, _: u32) {}

    fn rotate(&mut self, _: u32, _: &BaseLabel) -> Result<bool, Failure> {
        refused()
    }

    fn close_source(&mut self, _: u32) {}

    fn drop_base(&mut self, _: u32) -> Result<(), Failure> {
        refused()
    }

    fn look_at_target(&mut self, _: u32, _: &TargetWish<'_>) -> Result<TargetLook, Failure> {
        refused()
    }

    fn open_target(&mut self, _: u32, _: &TargetWish<'_>, _: &str) -> Result<TargetShape, Failure> {
        refused()
    }

    fn next_target_data(&mut self, _: u32, _: u64) -> Result<Option<(u64, u64)>, Errno> {
        denied()
    }

    fn read_target(&mut self, _: u32, _: u64, _: &mut [u8]) -> Result<usize, Errno> {
        denied()
    }

    fn write_target(&mut self, _: u32, _: u64, _: &[u8]) -> Result<(), Errno> {
        denied()
    }

    fn punch_target(&mut self, _: u32, _: u64, _: u64) -> Result<(), Errno> {
        denied()
    }

    fn finish_target(&mut self, _: u32, _: u64) -> Result<(), Errno> {
        denied()
    }

    fn place_target(&mut self, _: u32, _: &str, _: &str) -> Result<(), Failure> {
        refused()
    }

    fn undo_target(&mut self, _: u32, _: u64) -> Result<bool, Failure> {
        refused()
    }

    fn close_target(&mut self, _: u32) {}
}

/// Credentials that the service manager unsealed; no passphrase and no key.
struct SealedAlone(Sealed);

impl Secrets for SealedAlone {
    fn passphrase(&mut self, _: Asked) -> Result<Zeroizing<Vec<u8>>, Failure> {
        refused()
    }

    fn sealed_credential(&mut self, archive: ArchiveId) -> Option<Zeroizing<Vec<u8>>> {
        self.0.of(archive)
    }

    fn keep_key(&mut self, _: ArchiveId, _: Arc<DataKey>, _: u64) {}

    fn kept_key(&mut self, _: ArchiveId) -> Option<Arc<DataKey>> {
        None
    }

    fn wipe_keys(&mut self, _: Option<ArchiveId>) {}

    fn show_secret(&mut self, _: &[u8]) -> Result<(), Failure> {
        refused()
    }
}

/// The client of the look.
struct Looker(SharedControl);

impl Client for Looker {
    fn uid(&self) -> u32 {
        self.0.with(|control| control.client_uid)
    }

    fn tell(&mut self, event: ToClient) -> Result<(), Failure> {
        self.0.with(|control| control.tell(event))
    }

    fn progress(&mut self, _: Progress) {}

    fn cancelled(&mut self) -> bool {
        self.0.with(|control| control.unless_cancelled().is_err())
    }
}
