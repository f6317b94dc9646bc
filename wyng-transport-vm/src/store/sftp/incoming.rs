// SPDX-License-Identifier: GPL-3.0-or-later
//! Blobs that have no name yet: files `.incoming/HEX.N`. A file gets its name by a hard link, which
//! fails if the name is taken, or else by a rename that was tried and replaces nothing. What killed
//! helpers leave is removed after a day.

use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use tracing::{info, warn};
use wyng_wire::BlobName;

use super::connection::{Fault, Handle, Ticket};
use super::packet::{self, Code, Status};
use super::places::{Entries, Places, known};
use super::server::Extensions;

/// The folder of blobs on their way in.
pub(super) const FOLDER: &[u8] = b".incoming";

/// The mode of a blob's file: not even its owner can open it for writing again.
const BLOB_MODE: u32 = 0o400;

/// Maximum number of temporary files of one name.
const TRIES: u8 = 9;

/// Maximum number of temporary names that are refused and not there, before that has another cause.
const GONE_MAX: u8 = 3;

/// Age from which a temporary file is left over. No upload takes that long between two writes.
const LEFT_OVER: Duration = Duration::from_secs(24 * 60 * 60);

/// Maximum number of temporary files that are looked at when a store is opened. In a folder of an
/// account that may not remove, there is one of each blob.
const SWEPT_MAX: usize = 1000;

/// What became of the name of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Named {
    /// The file has the name, and its temporary one as well.
    Linked,
    /// The file has the name alone. Somebody else may have the temporary one by now.
    Renamed,
    /// Something else has the name.
    Taken,
}

/// How blobs get their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Naming {
    /// By `hardlink@openssh.com`.
    HardLink,
    /// By RENAME, not tried yet.
    RenameUntried,
    /// By RENAME, which was seen to replace nothing.
    Rename,
}

impl Naming {
    pub(super) fn of(extensions: Extensions) -> Self {
        if extensions.hardlink {
            Self::HardLink
        } else {
            Self::RenameUntried
        }
    }
}

/// A temporary file.
pub(super) struct Temporary {
    /// The file, open for writing until it was renamed.
    pub(super) file: Option<Handle>,
    pub(super) path: Vec<u8>,
}

impl Places {
    fn incoming_path(&self, name: &BlobName, number: u8) -> Vec<u8> {
        let number = [b'.', b'0'.saturating_add(number)];
        self.path(&[FOLDER, &[&name.to_hex()[..], &number].concat()])
    }

    /// Makes the folder of blobs on their way in, unless it is there.
    pub(super) fn prepare_incoming(&self) -> Result<(), Fault> {
        match self.server.make_folder(&self.path(&[FOLDER]))?.status() {
            Err(fault) if !fault.may_be_taken() => Err(fault),
            _ => Ok(()),
        }
    }

    /// Opens the folder of blobs on their way in.
    pub(super) fn open_incoming(&self) -> Result<Handle, Fault> {
        let path = self.path(&[FOLDER]);
        self.server.ask(packet::OPENDIR, &path)?.handle()
    }

    /// Sends OPEN for the first temporary file of a name.
    pub(super) fn ask_for_temporary(&self, name: &BlobName) -> Result<Ticket, Fault> {
        self.open_new(&self.incoming_path(name, 0))
    }

    /// Makes a temporary file. `asked` is the outcome for the first of its names.
    pub(super) fn make_temporary(
        &self,
        name: &BlobName,
        asked: Result<Handle, Fault>,
    ) -> Result<Temporary, Fault> {
        let (mut outcome, mut number, mut gone) = (asked, 0_u8, 0_u8);
        loop {
            let path = self.incoming_path(name, number);
            match outcome {
                Ok(file) => {
                    return Ok(Temporary {
                        file: Some(file),
                        path,
                    });
                }
                Err(fault) if fault.is(Code::NoSuchFile) && number == 0 => {
                    self.prepare_incoming()?;
                }
                // A full disk has the same code as a name that is taken. A name that was taken may
                // be free by now.
                Err(fault) if fault.may_be_taken() => {
                    gone = gone.saturating_add(self.server.look(&path)?.is_none().into());
                    if gone > GONE_MAX {
                        return Err(fault);
                    }
                }
                Err(fault) => return Err(fault),
            }
            number = number.saturating_add(1);
            if number >= TRIES {
                return Err(Fault::Status(Status {
                    code: Code::Exists,
                    message: "every temporary name is taken".into(),
                }));
            }
            outcome = self.open_new(&self.incoming_path(name, number))?.handle();
        }
    }

    fn open_new(&self, path: &[u8]) -> Result<Ticket, Fault> {
        let flags = packet::FOR_WRITING | packet::CREATE | packet::EXCLUSIVE;
        self.server.open(path, flags, BLOB_MODE)
    }

    /// Gives a temporary file this path as its name, unless it is taken.
    pub(super) fn publish(
        &self,
        temporary: &mut Temporary,
        path: &[u8],
        naming: &Mutex<Naming>,
    ) -> Result<Named, Fault> {
        let now = *known(naming);
        let named = match now {
            Naming::HardLink => match self.server.hardlink(&temporary.path, path)?.status() {
                Err(fault) if fault.is(Code::Unsupported) || fault.is(Code::PermissionDenied) => {
                    *known(naming) = Naming::RenameUntried;
                    return self.publish(temporary, path, naming);
                }
                linked => linked.map(|()| Named::Linked),
            },
            Naming::RenameUntried => {
                if !self.renames_without_replacing()? {
                    return Err(Fault::Status(Status {
                        code: Code::Unsupported,
                        message: "neither a link nor a rename keeps a name".into(),
                    }));
                }
                info!("blobs get their names by a rename, which replaces nothing here");
                *known(naming) = Naming::Rename;
                return self.publish(temporary, path, naming);
            }
            Naming::Rename => {
                // Some servers store a file only when it is closed.
                if let Some(file) = temporary.file.take() {
                    file.close()?;
                }
                let renamed = self.server.rename(&temporary.path, path)?.status();
                renamed.map(|()| Named::Renamed)
            }
        };
        match named {
            Err(fault) if fault.may_be_taken() => match self.server.look(path)? {
                Some(_) => Ok(Named::Taken),
                None => Err(fault),
            },
            named => named,
        }
    }

    /// Tries whether a rename succeeds when the name is free, and fails and changes nothing when it
    /// is taken. The three files are removed again.
    fn renames_without_replacing(&self) -> Result<bool, Fault> {
        let tried = tried();
        let paths = [0, 1, 2].map(|number| self.incoming_path(&tried, number));
        let keeps = self.rename_keeps(&paths);
        for path in &paths {
            self.remove(path)?;
        }
        keeps
    }

    fn rename_keeps(&self, [taken, other, free]: &[Vec<u8>; 3]) -> Result<bool, Fault> {
        for (path, bytes) in [(taken, &b"1"[..]), (other, b"22")] {
            let file = self.open_new(path)?.handle()?;
            self.server.write(&file, 0, bytes)?.status()?;
            file.close()?;
        }
        let has_length = |path: &[u8], length_bytes| -> Result<bool, Fault> {
            let found = self.server.look(path)?;
            Ok(found.is_some_and(|found| found.length_bytes == Some(length_bytes)))
        };
        let renamed = |from: &[u8], to: &[u8]| match self.server.rename(from, to)?.status() {
            Ok(()) => Ok(true),
            Err(Fault::Status(_)) => Ok(false),
            Err(lost) => Err(lost),
        };
        Ok(!renamed(other, taken)?
            && has_length(taken, 1)?
            && has_length(other, 2)?
            && renamed(other, free)?
            && has_length(free, 2)?)
    }

    /// Tries whether a second file is refused a name that a first file has: two writers depend on
    /// it. Leaves nothing, where the account may remove.
    pub(super) fn try_to_be_exclusive(&self, naming: &Mutex<Naming>) -> Result<bool, Fault> {
        let tried = tried();
        let name = self.incoming_path(&tried, TRIES);
        let mut named = Vec::new();
        for _ in 0..2 {
            let asked = self.ask_for_temporary(&tried)?.handle();
            let mut temporary = self.make_temporary(&tried, asked)?;
            // Two helpers must never write to one temporary file.
            if let Ok(second) = self.open_new(&temporary.path)?.handle() {
                for file in temporary.file.take().into_iter().chain([second]) {
                    drop(file.close());
                }
                self.remove(&temporary.path)?;
                return Ok(false);
            }
            named.push(self.publish(&mut temporary, &name, naming));
            drop(temporary.file);
            self.remove(&temporary.path)?;
        }
        self.remove(&name)?;
        match &named[..] {
            [Ok(Named::Linked | Named::Renamed), Ok(second)] => Ok(*second == Named::Taken),
            [Err(lost @ Fault::Lost(_)), ..] | [_, Err(lost @ Fault::Lost(_))] => Err(lost.clone()),
            _ => Ok(false),
        }
    }

    /// Removes a file, if that is allowed.
    pub(super) fn remove(&self, path: &[u8]) -> Result<(), Fault> {
        match self.server.ask(packet::REMOVE, path)?.status() {
            Err(lost @ Fault::Lost(_)) => Err(lost),
            _ => Ok(()),
        }
    }

    /// Removes what killed helpers left in the folder that was opened, as far as that is allowed.
    /// Such files do no harm.
    pub(super) fn sweep(&self, opened: Result<Handle, Fault>) {
        if let Err(fault) = opened.and_then(|folder| self.try_to_sweep(&folder)) {
            if !fault.is(Code::NoSuchFile) && !fault.is(Code::PermissionDenied) {
                warn!("unfinished blobs cannot be looked for: {fault:?}");
            }
        }
    }

    fn try_to_sweep(&self, folder: &Handle) -> Result<(), Fault> {
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let newest_secs = now.saturating_sub(LEFT_OVER).as_secs();
        let mut listing = Entries::of(&self.server, folder)?;
        let (mut old, mut seen) = (Vec::new(), 0_usize);
        while let Some(entries) = listing.next()? {
            seen = seen.saturating_add(entries.len());
            for entry in entries {
                let changed_secs = entry.attributes.changed_secs.map(u64::from);
                if is_temporary(&entry.name) && changed_secs.is_some_and(|at| at < newest_secs) {
                    old.push(entry.name);
                }
            }
            if seen >= SWEPT_MAX {
                break;
            }
        }
        for name in old {
            self.server
                .ask(packet::REMOVE, &self.path(&[FOLDER, &name]))?
                .status()?;
        }
        Ok(())
    }
}

/// Whether a file in the folder of blobs on their way in is one of ours.
fn is_temporary(name: &[u8]) -> bool {
    match name {
        [hex @ .., b'.', b'0'..=b'9'] => BlobName::from_hex(hex).is_some(),
        _ => false,
    }
}

/// A name with which a server is tried; no blob has it, and no other helper tries it.
fn tried() -> BlobName {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = now.unwrap_or_default().as_nanos().to_be_bytes();
    let own = std::process::id().to_be_bytes();
    let mut name = BlobName([0; 32]);
    let places = name.0.iter_mut().rev();
    places
        .zip(now.iter().chain(&own))
        .for_each(|(place, byte)| *place = *byte);
    name
}
