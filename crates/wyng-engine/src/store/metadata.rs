// SPDX-License-Identifier: GPL-3.0-or-later
//! Reads the metadata of packs: directories, and the nodes before them. A pack costs one range, and
//! many ranges are on their way at a time, so that a store far away is not asked once a round trip.

use std::collections::VecDeque;

use wyng_archive::crypto::{Coder, Credential, Id, Kind};
use wyng_archive::format::{Directory, DirectoryEntry, Malformed, PackEntry, RecordKind};
use wyng_archive::{Class, Damage, Fault};
use wyng_control::{Failure, Problem};

use super::pack::usize_of;
use crate::outcome::{damaged, problem_of};
use crate::state::JournalPack;
use crate::world::Store;

/// Bytes before a directory that are read with it: the nodes of most packs. Where they begin is in
/// the directory.
const NODES_GUESS_BYTES: u32 = 32 << 10;
/// Maximum number of ranges that are requested before the first is answered.
const RANGES_AHEAD: usize = 32;
/// Maximum bytes of ranges that are requested before the first is answered. A range that is alone
/// may have more.
const AHEAD_MAX_BYTES: u64 = 8 << 20;

/// What of a pack could be read, and the problem if that is not all.
pub(super) type ReadPack = (JournalPack, Option<Problem>);

/// Packs whose metadata is being read.
#[derive(Default)]
pub(super) struct MetadataReads {
    asked: VecDeque<Asked>,
}

/// A range that was requested, or is refused because it does not lie in its pack.
struct Asked {
    pack: JournalPack,
    /// Where the range begins in the pack, bytes.
    begin: u32,
    /// Where it ends, bytes.
    end: u32,
    what: What,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    /// The directory, at the end of the range, and what is before it.
    Directory,
    /// The nodes alone, from the first one on.
    Nodes,
    /// Nothing was requested.
    Refused,
}

/// How far the reading of a pack is.
enum Reading {
    Ended(ReadPack),
    /// Another range is needed.
    Further(Asked),
}

impl MetadataReads {
    /// Whether another pack may be begun.
    pub(super) fn has_room(&self) -> bool {
        let bytes = self.asked.iter().fold(0, |sum: u64, asked| {
            sum.saturating_add(asked.length_bytes().into())
        });
        self.asked.len() < RANGES_AHEAD && bytes < AHEAD_MAX_BYTES
    }

    /// Requests the metadata of a pack.
    pub(super) fn begin(
        &mut self,
        store: &mut impl Store,
        number: u64,
        entry: &PackEntry,
    ) -> Result<(), Failure> {
        let pack = JournalPack {
            number,
            entry: *entry,
            directory: Directory::default(),
            nodes: Vec::new(),
        };
        let (begin, length_bytes) = (entry.directory_offset_bytes, entry.directory_length_bytes);
        let what = if entry.contains(begin, length_bytes) {
            What::Directory
        } else {
            What::Refused
        };
        let begin = begin.saturating_sub(NODES_GUESS_BYTES);
        self.ask(store, Asked::of(pack, begin, what))
    }

    /// The next pack that is read, in the order of their ends; `None` when every one is.
    pub(super) fn next(
        &mut self,
        store: &mut impl Store,
        credential: &Credential,
        coder: &mut Coder,
    ) -> Result<Option<ReadPack>, Failure> {
        while let Some(asked) = self.asked.pop_front() {
            let answer = match asked.what {
                What::Refused => Err(Fault::Place),
                What::Directory | What::Nodes => store.answer()?.or_fault(),
            };
            let answer = answer.as_ref().map(AsRef::as_ref).map_err(|fault| *fault);
            let mut opener = Opener { credential, coder };
            match asked.take(answer, &mut opener)? {
                Reading::Ended(read) => return Ok(Some(read)),
                Reading::Further(asked) => self.ask(store, asked)?,
            }
        }
        Ok(None)
    }

    fn ask(&mut self, store: &mut impl Store, asked: Asked) -> Result<(), Failure> {
        if asked.what != What::Refused {
            store.request(asked.pack.entry.name, asked.begin, asked.length_bytes())?;
        }
        self.asked.push_back(asked);
        Ok(())
    }
}

impl Asked {
    /// A range of a pack from `begin` on.
    fn of(pack: JournalPack, begin: u32, what: What) -> Self {
        let entry = &pack.entry;
        let end = match what {
            What::Nodes => entry.directory_offset_bytes,
            What::Directory | What::Refused => entry
                .directory_offset_bytes
                .saturating_add(entry.directory_length_bytes),
        };
        Self {
            pack,
            begin,
            end,
            what,
        }
    }

    fn length_bytes(&self) -> u32 {
        self.end.saturating_sub(self.begin)
    }

    fn take(
        mut self,
        answer: Result<&[u8], Fault>,
        opener: &mut Opener<'_>,
    ) -> Result<Reading, Failure> {
        let entry = self.pack.entry;
        let bytes = match answer {
            Ok(bytes) => bytes,
            // A medium may fail before the directory, and not in it.
            Err(Fault::Unreadable) if self.has_more_than_the_directory() => {
                let begin = entry.directory_offset_bytes;
                return Ok(Reading::Further(Self::of(self.pack, begin, self.what)));
            }
            Err(fault) => {
                let refused = damaged(&Damage::new(Class::Pack, entry.name.0, fault));
                return self.ended(Err(refused));
            }
        };
        if self.what == What::Directory {
            let offset = usize_of(entry.directory_offset_bytes.saturating_sub(self.begin));
            match opener.directory(&entry, bytes.get(offset..).unwrap_or_default()) {
                Ok(directory) => self.pack.directory = directory,
                Err(failure) => return self.ended(Err(failure)),
            }
            match nodes_of(&self.pack.directory)
                .map(|node| node.offset_bytes)
                .min()
            {
                None => return self.ended(Ok(())),
                Some(first) if first < self.begin => {
                    let asked = Self::of(self.pack, first, What::Nodes);
                    return Ok(Reading::Further(asked));
                }
                Some(_) => {}
            }
        }
        match opener.nodes(&self.pack.directory, self.begin, bytes) {
            Ok(nodes) => self.pack.nodes = nodes,
            Err(failure) => return self.ended(Err(failure)),
        }
        self.ended(Ok(()))
    }

    fn has_more_than_the_directory(&self) -> bool {
        self.what == What::Directory && self.begin < self.pack.entry.directory_offset_bytes
    }

    /// What is known of the pack. Without its nodes, it holds none.
    fn ended(mut self, read: Result<(), Failure>) -> Result<Reading, Failure> {
        let problem = match read {
            Ok(()) => None,
            Err(failure) => {
                let entries = &mut self.pack.directory.entries;
                entries.retain(|entry| entry.kind != RecordKind::Node);
                Some(problem_of(failure)?)
            }
        };
        Ok(Reading::Ended((self.pack, problem)))
    }
}

/// Opens records of metadata.
pub(super) struct Opener<'a> {
    pub(super) credential: &'a Credential,
    pub(super) coder: &'a mut Coder,
}

impl Opener<'_> {
    fn directory(&mut self, pack: &PackEntry, record: &[u8]) -> Result<Directory, Failure> {
        let plain = self.open(Kind::Directory, &pack.directory, record)?;
        Directory::decode(&plain, pack.directory_offset_bytes).map_err(|Malformed(rule)| {
            let fault = Fault::Shape(rule);
            damaged(&Damage::new(Class::Directory, pack.directory.0, fault))
        })
    }

    /// Opens all nodes of a pack, of which `bytes` are a range from `begin` on.
    fn nodes(
        &mut self,
        directory: &Directory,
        begin: u32,
        bytes: &[u8],
    ) -> Result<Vec<Vec<u8>>, Failure> {
        let mut plains = Vec::new();
        for entry in nodes_of(directory) {
            let offset = usize_of(entry.offset_bytes.saturating_sub(begin));
            let end = offset.saturating_add(usize_of(entry.length_bytes));
            let record = bytes.get(offset..end).unwrap_or_default();
            plains.push(self.open(Kind::Node, &entry.id, record)?);
        }
        Ok(plains)
    }

    /// Opens a record of this id.
    pub(super) fn open(&mut self, kind: Kind, id: &Id, record: &[u8]) -> Result<Vec<u8>, Failure> {
        let mut plain = Vec::new();
        self.credential
            .open_meta(kind, self.coder, id, record, &mut plain)
            .map_err(|damage| damaged(&damage))?;
        Ok(plain)
    }
}

fn nodes_of(directory: &Directory) -> impl Iterator<Item = &DirectoryEntry> {
    directory
        .entries
        .iter()
        .filter(|entry| entry.kind == RecordKind::Node)
}
