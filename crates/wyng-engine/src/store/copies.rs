// SPDX-License-Identifier: GPL-3.0-or-later
//! The copies of one commit in the store. Which content counts is decided elsewhere.

use wyng_archive::crypto::{Coder, Credential, Id, Kind};
use wyng_archive::format::{COMMIT_BYTES, Commit, Malformed};
use wyng_archive::plan::COPIES_ABSENT;
use wyng_archive::{Class, Damage, Fault};
use wyng_control::Failure;

use crate::older::newest_sound;
use crate::outcome::damaged;
use crate::state::KnownCommit;
use crate::world::Store;

/// Number of copies that a commit can have: 0 to 255.
const COPIES_MAX: u16 = 256;

/// A commit that authenticates.
#[derive(Debug, Clone)]
pub(crate) struct SoundCommit {
    /// Its sealed bytes.
    pub known: KnownCommit,
    /// The decoded commit.
    pub commit: Commit,
}

/// What the store has of one generation.
pub(crate) struct Copies {
    /// Something lies under one of its names.
    pub exists: bool,
    /// The contents that authenticate, each with the lowest copy that has it. Two contents are a
    /// fork.
    pub sound: Vec<(u8, SoundCommit)>,
    /// The lowest copy below which every copy was read and none authenticates; at most 256.
    pub free: u16,
    /// What is wrong with the first copy that does not authenticate.
    pub fault: Fault,
    /// The only sound content is an older version of a copy: the store serves none that is sound.
    pub is_older: bool,
}

impl Copies {
    /// The one content that authenticates, if there is one. [`Failure::TwoCommits`] if there are
    /// two.
    pub(crate) fn only(mut self) -> Result<Option<(u8, SoundCommit)>, Failure> {
        match (self.sound.pop(), self.sound.is_empty()) {
            (only, true) => Ok(only),
            (Some((_, found)), false) => Err(Failure::TwoCommits {
                generation: found.known.generation,
            }),
            (None, false) => Ok(None),
        }
    }
}

/// Reads all copies of a generation: it goes on past absent and damaged copies until four in a row
/// are absent.
pub(crate) fn read_copies(
    store: &mut impl Store,
    credential: &Credential,
    coder: &mut Coder,
    generation: u64,
) -> Result<Copies, Failure> {
    let mut copies = Copies {
        exists: false,
        sound: Vec::new(),
        free: 0,
        fault: Fault::Missing,
        is_older: false,
    };
    let (mut next, mut absent) = (0u16, 0u8);
    while absent < COPIES_ABSENT && next < COPIES_MAX {
        // Fewer absent copies would not end the search, so all of these are requested together.
        let end = next
            .saturating_add(u16::from(COPIES_ABSENT.saturating_sub(absent)))
            .min(COPIES_MAX);
        for copy in (next..end).filter_map(|copy| u8::try_from(copy).ok()) {
            ask(store, credential, generation, copy)?;
        }
        for copy in (next..end).filter_map(|copy| u8::try_from(copy).ok()) {
            let fault = match answer(store, credential, coder, generation)? {
                Answer::Sound(found) => {
                    (absent, copies.exists) = (0, true);
                    if copies
                        .sound
                        .iter()
                        .all(|(_, other)| other.known != found.known)
                    {
                        copies.sound.push((copy, *found));
                    }
                    continue;
                }
                Answer::Unsound(fault) => fault,
            };
            if fault == Fault::Missing {
                absent = absent.saturating_add(1);
                continue;
            }
            if !copies.exists {
                copies.fault = fault;
            }
            (absent, copies.exists) = (0, true);
            if copies.free == u16::from(copy) {
                copies.free = copies.free.saturating_add(1);
            }
        }
        next = end;
    }
    // A generation of which nothing exists is the rule above the head, and not worth a question.
    if copies.exists && copies.sound.is_empty() {
        read_older_copies(store, credential, coder, generation, &mut copies)?;
    }
    Ok(copies)
}

/// Looks for a commit in the older versions of the copies below the first that may be free: where a
/// commit was overwritten, one of them is it.
fn read_older_copies<S: Store>(
    store: &mut S,
    credential: &Credential,
    coder: &mut Coder,
    generation: u64,
    copies: &mut Copies,
) -> Result<(), Failure> {
    // Copy 0 was there once, also where it was deleted.
    for copy in 0..copies.free.max(1) {
        let Ok(copy) = u8::try_from(copy) else { break };
        let name = credential.commit_copy_name(generation, copy);
        let mut sound = None;
        newest_sound(store, name, &mut |store: &mut S| {
            ask(store, credential, generation, copy)?;
            Ok(match answer(store, credential, coder, generation)? {
                Answer::Sound(found) => {
                    sound = Some((copy, *found));
                    None
                }
                Answer::Unsound(fault) => Some(fault),
            })
        })?;
        if let Some(found) = sound {
            copies.sound.push(found);
            (copies.exists, copies.is_older) = (true, true);
            break;
        }
    }
    Ok(())
}

/// Reads the copies of a generation whose hash may be known: if copy 0 has that hash, the other
/// copies are not requested.
pub(crate) fn read_commit(
    store: &mut impl Store,
    credential: &Credential,
    coder: &mut Coder,
    generation: u64,
    hash: Option<&[u8; 32]>,
) -> Result<Copies, Failure> {
    ask(store, credential, generation, 0)?;
    match answer(store, credential, coder, generation)? {
        Answer::Sound(found) if hash.is_some_and(|hash| found.known.hash() == *hash) => {
            Ok(Copies {
                exists: true,
                sound: vec![(0, *found)],
                free: 0,
                fault: Fault::Missing,
                is_older: false,
            })
        }
        _ => {
            let mut copies = read_copies(store, credential, coder, generation)?;
            // A commit whose hash a later one carries was there.
            if hash.is_some() && !copies.exists {
                read_older_copies(store, credential, coder, generation, &mut copies)?;
            }
            Ok(copies)
        }
    }
}

fn ask(
    store: &mut impl Store,
    credential: &Credential,
    generation: u64,
    copy: u8,
) -> Result<(), Failure> {
    store.request(
        credential.commit_copy_name(generation, copy),
        0,
        u32::try_from(COMMIT_BYTES).unwrap_or(u32::MAX),
    )
}

/// What the store has under one name.
enum Answer {
    /// A commit that authenticates.
    Sound(Box<SoundCommit>),
    /// Nothing, or something that does not authenticate.
    Unsound(Fault),
}

/// The answer for a copy that was requested. A copy that authenticates and is malformed was written
/// by another program: its meaning is unknown, so it is a failure.
fn answer(
    store: &mut impl Store,
    credential: &Credential,
    coder: &mut Coder,
    generation: u64,
) -> Result<Answer, Failure> {
    let bytes = match store.answer()?.or_fault() {
        Ok(bytes) => bytes.as_ref().to_vec(),
        Err(fault) => return Ok(Answer::Unsound(fault)),
    };
    let name = credential.commit_name(generation);
    let mut plain = Vec::new();
    match credential.open_meta(Kind::Commit, coder, &Id(name.0), &bytes, &mut plain) {
        Ok(()) => {}
        Err(Damage {
            fault: fault @ (Fault::Tag | Fault::Length),
            ..
        }) => return Ok(Answer::Unsound(fault)),
        Err(damage) => return Err(damaged(&damage)),
    }
    let malformed =
        |Malformed(rule)| damaged(&Damage::new(Class::Commit, name.0, Fault::Shape(rule)));
    let commit = Commit::decode(&plain, generation).map_err(malformed)?;
    Ok(Answer::Sound(Box::new(SoundCommit {
        known: KnownCommit { generation, bytes },
        commit,
    })))
}
