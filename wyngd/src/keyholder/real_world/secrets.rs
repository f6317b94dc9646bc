// SPDX-License-Identifier: GPL-3.0-or-later
//! What passes between the keyholder and a person: passphrases in, recovery keys out, each by a
//! pipe of the client; and the keys that are kept. Nothing here waits for a client without hearing
//! control.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::fs::FileType;
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags, splice};
use wyng_archive::crypto::{ArchiveId, DataKey};
use wyng_control::{Asked, Failure, Given};
use zeroize::Zeroizing;

use super::control::{Control, SharedControl, broken};
use crate::ipc::{ControlToKeyholder, Fatal, KeyholderToControl};
use crate::keyholder::sealed::Sealed;
use wyng_engine::world::Secrets;

/// Maximum length of a passphrase, bytes.
const PASSPHRASE_MAX_BYTES: usize = 1024;
/// Maximum length of a store's credentials, bytes.
const CREDENTIALS_MAX_BYTES: usize = 8 * 1024;
/// Maximum time for which the pipe of a passphrase is read: the client fills and closes it before
/// it passes it on.
const PIPE_PATIENCE: Duration = Duration::from_secs(10);

/// Passphrases, keys that are kept, and secrets that are shown.
pub struct PersonsSecrets {
    control: SharedControl,
    sealed: Sealed,
}

impl PersonsSecrets {
    /// Over the wire to control.
    pub(super) fn new(control: SharedControl, sealed: Sealed) -> Self {
        Self { control, sealed }
    }

    fn read_passphrase(
        &mut self,
        pipe: &OwnedFd,
        asked: Asked,
    ) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let max_bytes = match asked {
            Asked::StoreCredentials => CREDENTIALS_MAX_BYTES,
            Asked::Known | Asked::Again | Asked::New => PASSPHRASE_MAX_BYTES,
        };
        match self.read_secret(pipe, max_bytes) {
            Ok(secret) => Ok(self
                .control
                .with(|control| control.prompts.keep(asked, secret))),
            Err(Errno::CANCELED) => Err(Failure::Interrupted),
            Err(errno) => {
                tracing::info!(%errno, "a passphrase's pipe cannot be read");
                Err(Failure::NoPassphrase)
            }
        }
    }

    /// Reads a client's pipe to its end, or one byte beyond the maximum, without leaving copies
    /// behind as a growing buffer would. The client may hold the pipe too, and could make a read of
    /// it wait forever: so its pages are moved into a pipe that nobody else has.
    fn read_secret(
        &mut self,
        pipe: &OwnedFd,
        max_bytes: usize,
    ) -> Result<Zeroizing<Vec<u8>>, Errno> {
        let kind = FileType::from_raw_mode(rustix::fs::fstat(pipe)?.st_mode);
        if kind != FileType::Fifo {
            return Err(Errno::INVAL);
        }
        let (own_end, own_begin) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        let mut secret = Zeroizing::new(vec![0; max_bytes.saturating_add(1)]);
        let mut length = 0usize;
        let until = Instant::now()
            .checked_add(PIPE_PATIENCE)
            .ok_or(Errno::TIMEDOUT)?;
        while let Some(room) = secret.get_mut(length..).filter(|room| !room.is_empty()) {
            match splice(
                pipe,
                None,
                &own_begin,
                None,
                room.len(),
                SpliceFlags::NONBLOCK,
            ) {
                Ok(0) => break,
                Ok(_) => {
                    length = length.saturating_add(rustix::io::retry_on_intr(|| {
                        rustix::io::read(&own_end, &mut *room)
                    })?)
                }
                Err(Errno::AGAIN) => self.control.with(|control| {
                    control.wait_for_client(
                        pipe,
                        PollFlags::IN,
                        until.saturating_duration_since(Instant::now()),
                    )
                })?,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        secret.truncate(length);
        Ok(secret)
    }
}

impl Secrets for PersonsSecrets {
    fn passphrase(&mut self, asked: Asked) -> Result<Zeroizing<Vec<u8>>, Failure> {
        if let Some(typed) = self
            .control
            .with(|control| control.prompts.typed_before(asked))
        {
            return Ok(typed);
        }
        if let Some(pipe) = self
            .control
            .with(|control| control.prompts.pipe_before(asked))
        {
            return self.read_passphrase(&pipe, asked);
        }
        let received = self.control.with(|control| {
            let item = control.prompts.take_item();
            control.send(&KeyholderToControl::WantPassphrase { item, asked })?;
            let received = control.answer()?;
            match received.message {
                ControlToKeyholder::Given {
                    item: found,
                    given: Given::Pipe,
                } if found == item => Ok(received),
                ControlToKeyholder::Given {
                    item: found,
                    given: Given::NoPipe,
                } if found == item => Err(if control.cancelled.is_some() {
                    Failure::Interrupted
                } else {
                    Failure::NoPassphrase
                }),
                ControlToKeyholder::GiveBack => {
                    control.prompts.give_back(Some(asked));
                    Err(Failure::Interrupted)
                }
                _ => Err(broken(&Fatal::Unexpected("control"))),
            }
        })?;
        let pipe = received.descriptor().map_err(|fatal| broken(&fatal))?;
        self.read_passphrase(&pipe, asked)
    }

    fn sealed_credential(&mut self, archive: ArchiveId) -> Option<Zeroizing<Vec<u8>>> {
        self.sealed.of(archive)
    }

    fn keep_key(&mut self, archive: ArchiveId, key: Arc<DataKey>, secs: u64) {
        self.control
            .with(|control| control.keys.keep(archive, key, secs));
    }

    fn kept_key(&mut self, archive: ArchiveId) -> Option<Arc<DataKey>> {
        self.control.with(|control| control.keys.of(archive))
    }

    fn wipe_keys(&mut self, archive: Option<ArchiveId>) {
        self.control.with(|control| control.keys.wipe(archive));
    }

    fn show_secret(&mut self, text: &[u8]) -> Result<(), Failure> {
        let item = self.control.with(|control| control.prompts.take_item());
        self.control
            .with(|control| control.send(&KeyholderToControl::WantSecretPipe { item }))?;
        let received = self.control.with(Control::answer)?;
        match received.message {
            ControlToKeyholder::Given {
                item: found,
                given: Given::Pipe,
            } if found == item => {
                let pipe = received.descriptor().map_err(|fatal| broken(&fatal))?;
                put_secret(&pipe, text).map_err(|errno| {
                    tracing::info!(%errno, "a pipe for a secret takes none");
                    Failure::NoPassphrase
                })
            }
            ControlToKeyholder::Given {
                item: found,
                given: Given::NoPipe,
            } if found == item => Err(Failure::NoPassphrase),
            _ => Err(broken(&Fatal::Unexpected("control"))),
        }
    }
}

/// Puts a short text into an empty pipe of the client in one step, or not at all.
fn put_secret(pipe: &OwnedFd, text: &[u8]) -> Result<(), Errno> {
    let (own_end, own_begin) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    let written = rustix::io::retry_on_intr(|| rustix::io::write(&own_begin, text))?;
    let moved = splice(&own_end, None, pipe, None, written, SpliceFlags::NONBLOCK)?;
    if moved == text.len() {
        Ok(())
    } else {
        Err(Errno::AGAIN)
    }
}
