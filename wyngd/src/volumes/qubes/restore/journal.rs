// SPDX-License-Identifier: GPL-3.0-or-later
//! What this daemon's restores have begun and not ended, beyond the life of the daemon: one small
//! file for each state directory, replaced as a whole and durable before qubesd is asked. Whatever
//! is noted is removed only after qubesd has shown that it is still what was noted.

use std::fs::DirBuilder;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use wyng_qube::plan::{Guard, InPlaceNote, Intent, NOTES_MAX_BYTES, Nonce, NotesFile};
use wyng_qube::{is_qube_name, is_volume_name};

/// Where root's daemons keep the journal.
const FOLDER: &str = "/var/lib/wyng-qubes";
/// First line of the file.
const FORM: &str = "wyng-qubes 1";
/// Maximum length of the file, bytes.
const FILE_MAX_BYTES: usize = 1 << 20;
const NONE: &str = "-";
const TAG: &str = "tag";
const FEATURE: &str = "feature";

/// How far a qube is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// It may be there. Its guard and its mark are not reached yet.
    Begun,
    /// It was left without its mark, and a later run has guarded it. Whoever takes the guard away
    /// has decided.
    Held,
    /// It has guard and mark.
    Marked,
    /// Everything of it is done, except that mark and guard go.
    Made,
}

/// Every state with its word in the file.
const PROGRESS: [(Progress, &str); 4] = [
    (Progress::Begun, "begun"),
    (Progress::Held, "held"),
    (Progress::Marked, "marked"),
    (Progress::Made, "made"),
];

/// A qube that is being made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Noted {
    pub(super) intent: Intent,
    pub(super) progress: Progress,
}

impl Noted {
    /// Whether all of it is done, except that mark and guard go.
    pub(super) fn is_made(&self) -> bool {
        self.progress == Progress::Made
    }
}

/// The folder of the journal, and the file of this daemon.
pub(super) struct Journal {
    folder: OwnedFd,
    name: String,
}

impl Journal {
    /// Opens the folder, which is made if it is missing. `owner` has letters and digits.
    pub(super) fn open(owner: &str) -> io::Result<Self> {
        match DirBuilder::new().mode(0o700).create(FOLDER) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = rustix::fs::open(FOLDER, flags, Mode::empty())?;
        Ok(Self {
            folder,
            name: format!("{owner}.restore"),
        })
    }

    pub(super) fn folder(&self) -> BorrowedFd<'_> {
        self.folder.as_fd()
    }

    /// What is noted, in the order in which it was begun.
    pub(super) fn read(&self) -> Result<Vec<Noted>, Errno> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(&self.folder, &self.name, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(Vec::new()),
            file => file?,
        };
        let bytes = super::whole_file::read_all(&file, FILE_MAX_BYTES)?;
        let text = String::from_utf8(bytes).map_err(|_| Errno::BADMSG)?;
        parse(&text).ok_or(Errno::BADMSG)
    }

    /// Notes all of this durably, in the place of what was noted before.
    pub(super) fn write(&self, noted: &[Noted]) -> Result<(), Errno> {
        if noted.is_empty() {
            match rustix::fs::unlinkat(&self.folder, &self.name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno),
            }
            return rustix::fs::fsync(&self.folder);
        }
        self.replace(&self.name, text(noted).as_bytes())
    }

    /// The notes of restores in place.
    pub(super) fn read_in_place(&self) -> Result<Vec<InPlaceNote>, Errno> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let name = self.in_place_name();
        let file = match rustix::fs::openat(&self.folder, &name, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(Vec::new()),
            file => file?,
        };
        let bytes = super::whole_file::read_all(&file, NOTES_MAX_BYTES)?;
        let notes = NotesFile::decode(&bytes).map_err(|_| Errno::BADMSG)?;
        Ok(notes.notes)
    }

    /// Notes all of this durably, in the place of the notes before.
    pub(super) fn write_in_place(&self, notes: Vec<InPlaceNote>) -> Result<(), Errno> {
        let bytes = NotesFile::of(notes).encode().map_err(|_| Errno::FBIG)?;
        self.replace(&self.in_place_name(), &bytes)
    }

    fn in_place_name(&self) -> String {
        format!("{}.in-place", self.name)
    }

    /// Gives a file these bytes durably, all of them or none.
    fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), Errno> {
        let fresh = format!("{name}.new");
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.folder, &fresh, flags, Mode::from_raw_mode(0o600))?;
        let mut left = bytes;
        while !left.is_empty() {
            let written = rustix::io::retry_on_intr(|| rustix::io::write(&file, left))?;
            left = left.get(written..).unwrap_or_default();
        }
        rustix::fs::fsync(&file)?;
        rustix::fs::renameat(&self.folder, &fresh, &self.folder, name)?;
        rustix::fs::fsync(&self.folder)
    }
}

fn text(noted: &[Noted]) -> String {
    let lines = noted.iter().map(|Noted { intent, progress }| {
        let uuid = intent.uuid.as_ref().map_or(NONE, |uuid| uuid.as_str());
        let import = intent.open_import.as_deref().unwrap_or(NONE);
        let guard = match intent.guard {
            Guard::Tag => TAG,
            Guard::Feature => FEATURE,
        };
        let mut states = PROGRESS.iter();
        let state = states.find(|(state, _)| state == progress);
        let state = state.map_or(NONE, |(_, word)| word);
        let (qube, nonce) = (&intent.qube, intent.nonce.as_str());
        format!("{qube} {nonce} {guard} {uuid} {import} {state}\n")
    });
    std::iter::once(format!("{FORM}\n")).chain(lines).collect()
}

fn parse(text: &str) -> Option<Vec<Noted>> {
    let mut lines = text.strip_suffix('\n')?.split('\n');
    (lines.next()? == FORM).then_some(())?;
    lines.map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<Noted> {
    let words: Vec<&str> = line.split(' ').collect();
    let [qube, nonce, guard, uuid, import, state] = words.as_slice() else {
        return None;
    };
    let intent = Intent {
        qube: is_qube_name(qube).then(|| (*qube).to_owned())?,
        nonce: Nonce::of(nonce)?,
        uuid: match *uuid {
            NONE => None,
            uuid => Some(uuid.parse().ok()?),
        },
        guard: match *guard {
            TAG => Guard::Tag,
            FEATURE => Guard::Feature,
            _ => return None,
        },
        open_import: match *import {
            NONE => None,
            volume => Some(is_volume_name(volume).then(|| volume.to_owned())?),
        },
        is_paused_by_us: false,
    };
    let mut states = PROGRESS.iter();
    let (progress, _) = states.find(|(_, word)| word == state)?;
    Some(Noted {
        intent,
        progress: *progress,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noted(uuid: Option<&str>, import: Option<&str>, progress: Progress) -> Noted {
        Noted {
            intent: Intent {
                qube: "work".into(),
                nonce: Nonce::of("0123456789abcdef").unwrap(),
                uuid: uuid.map(|uuid| uuid.parse().unwrap()),
                guard: Guard::Feature,
                open_import: import.map(str::to_owned),
                is_paused_by_us: false,
            },
            progress,
        }
    }

    #[test]
    fn a_journal_reads_back_as_it_was_written_and_is_refused_when_it_is_cut() {
        let uuid = Some("0f3b2c1d-0000-4000-8000-00000000abcd");
        let all = [
            noted(None, None, Progress::Begun),
            noted(uuid, None, Progress::Held),
            noted(uuid, Some("private"), Progress::Marked),
            noted(uuid, None, Progress::Made),
        ];
        let whole = text(&all);
        assert_eq!(parse(&whole).unwrap(), all);
        for end in 0..whole.len() {
            // A cut at the end of a line shows the lines before it.
            let is_line = whole[..end].ends_with('\n');
            assert_eq!(parse(&whole[..end]).is_some(), is_line, "{end}");
        }
        for (from, to) in [("work", "../x"), ("private", "a/b"), ("feature", "both")] {
            assert_eq!(parse(&whole.replacen(from, to, 1)), None, "{to}");
        }
    }
}
