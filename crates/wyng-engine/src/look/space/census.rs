// SPDX-License-Identifier: GPL-3.0-or-later
//! Finds the sessions that reach each stored record: session after session, each id is followed
//! from the session in which it appears to the session in which it vanishes.
//!
//! Consecutive sessions are compared node by node, and equal nodes are passed over with all that is
//! below them. So the work depends on the changes between sessions, and not on their sizes. A
//! census covers only ids of its part, so that its memory has a bound however large the archive is.

use std::collections::HashMap;

use wyng_archive::crypto::Id;
use wyng_archive::format::{ContentTree, FANOUT, Node, SessionEntry, depth_for};
use wyng_archive::plan::Nodes;
use wyng_control::Failure;

use crate::archive::{Archive, NodesAtHand, content_root};
use crate::world::Files;

/// A part of all ids. Ids are keyed hashes, so the parts have about the same size.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    /// Its number, below `count`.
    pub number: u32,
    /// Number of parts.
    pub count: u32,
}

impl Part {
    /// Whether an id is in this part.
    pub(super) fn has(self, id: &Id) -> bool {
        let [a, b, c, d, ..] = id.0;
        let place = u64::from(u32::from_be_bytes([a, b, c, d]));
        (place * u64::from(self.count)) >> 32 == u64::from(self.number)
    }
}

/// Sums of a session.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct SessionShare {
    /// Bytes of the volume that are not holes.
    pub data_bytes: u64,
    /// Total length of the records that it reaches, each once, bytes.
    pub stored_bytes: u64,
    /// Total length of those records that no other session reaches, bytes.
    pub unique_bytes: u64,
}

/// Sums of a volume's sessions together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct VolumeShare {
    /// Total length of the records that they reach, each once, bytes.
    pub stored_bytes: u64,
    /// Total length of those records that no session of another volume reaches, bytes.
    pub unique_bytes: u64,
}

/// The sessions and volumes that reached an id so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reached {
    Never,
    ByOne(u32),
    BySeveral,
}

impl Reached {
    fn and_by(self, one: u32) -> Self {
        match self {
            Self::Never => Self::ByOne(one),
            Self::ByOne(known) if known == one => self,
            _ => Self::BySeveral,
        }
    }
}

/// An id that a session reaches or reached. The numbers of sessions and volumes count from 0, in
/// the order in which they are taken.
struct Sighted {
    /// The pack in which its record counts.
    pack: u64,
    /// Length of its record, bytes.
    length_bytes: u32,
    /// Number of its positions in the present session.
    positions: u32,
    /// The session since which it has been reached.
    since: Option<u32>,
    sessions: Reached,
    volumes: Reached,
    /// The last volume whose bytes it was counted among.
    counted_in: Option<u32>,
    /// It is among the ids whose positions changed with the present session.
    is_touched: bool,
}

/// Follows the ids of one part through all sessions.
pub(super) struct Census {
    part: Part,
    seen: HashMap<Id, Sighted>,
    touched: Vec<Id>,
    /// The volume being taken, and the number of sessions taken so far.
    volume: u32,
    session: u32,
    /// Sums of the present session, bytes.
    data_bytes: u64,
    stored_bytes: u64,
    /// Sums of each session.
    pub sessions: Vec<SessionShare>,
    /// Sums of each volume's sessions.
    pub volumes: Vec<VolumeShare>,
}

impl Census {
    /// A census of a part of at most `ids_max` ids.
    pub(super) fn of(part: Part, ids_max: usize) -> Self {
        Self {
            part,
            seen: HashMap::with_capacity(ids_max),
            touched: Vec::new(),
            volume: 0,
            session: 0,
            data_bytes: 0,
            stored_bytes: 0,
            sessions: Vec::new(),
            volumes: Vec::new(),
        }
    }

    /// Takes one volume's sessions, oldest first. `go_on` is asked before each of them.
    pub(super) fn take_volume(
        &mut self,
        files: &mut impl Files,
        archive: &mut Archive,
        sessions: &[SessionEntry],
        go_on: &mut dyn FnMut() -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        self.volumes.push(VolumeShare::default());
        let mut last: Option<&SessionEntry> = None;
        for session in sessions {
            go_on()?;
            self.compare(files, archive, last, session)?;
            self.end_session();
            last = Some(session);
        }
        self.end_volume();
        Ok(())
    }

    /// Counts the ids that only the last session reaches, after all sessions were taken.
    pub(super) fn finish(&mut self) {
        for sighted in self.seen.values() {
            let length = u64::from(sighted.length_bytes);
            if let Reached::ByOne(session) = sighted.sessions
                && let Some(share) = at(&mut self.sessions, session)
            {
                share.unique_bytes = share.unique_bytes.saturating_add(length);
            }
            if let Reached::ByOne(volume) = sighted.volumes
                && let Some(share) = at(&mut self.volumes, volume)
            {
                share.unique_bytes = share.unique_bytes.saturating_add(length);
            }
        }
    }

    /// Whether an id is in the census's part.
    pub(super) fn covers(&self, id: &Id) -> bool {
        self.part.has(id)
    }

    /// Whose record this is, if it is the one that counts for an id that a session reaches: of one
    /// volume (its number), or of several (`None`).
    pub(super) fn owner(&self, id: &Id, pack: u64) -> Option<Option<usize>> {
        let sighted = self.seen.get(id).filter(|sighted| sighted.pack == pack)?;
        Some(match sighted.volumes {
            Reached::ByOne(volume) => usize::try_from(volume).ok(),
            _ => None,
        })
    }

    /// Notes what differs between a session and the one before it.
    fn compare(
        &mut self,
        files: &mut impl Files,
        archive: &mut Archive,
        old: Option<&SessionEntry>,
        new: &SessionEntry,
    ) -> Result<(), Failure> {
        let depth = |session: &SessionEntry| depth_for(session.chunk_count());
        let is_alike = |old: &SessionEntry| {
            old.chunk_size_bytes == new.chunk_size_bytes && depth(old) == depth(new)
        };
        match old {
            Some(old) if is_alike(old) => self.walk(files, archive, Some(old), Some(new))?,
            old => {
                if old.is_some() {
                    self.walk(files, archive, old, None)?;
                }
                self.walk(files, archive, None, Some(new))?;
            }
        }
        for id in old.iter().flat_map(|old| &old.settings) {
            self.vanish(id);
        }
        for id in &new.settings {
            self.appear(files, archive, id)?;
        }
        Ok(())
    }

    /// Walks two trees of one height at once, or one of them alone.
    fn walk(
        &mut self,
        files: &mut impl Files,
        archive: &mut Archive,
        old: Option<&SessionEntry>,
        new: Option<&SessionEntry>,
    ) -> Result<(), Failure> {
        let Some(height) = old.or(new).map(|session| depth_for(session.chunk_count())) else {
            return Ok(());
        };
        let root = |session: Option<&SessionEntry>| content_root(session?).child;
        let mut open = Vec::new();
        if let Some(level) = height.checked_sub(1) {
            open.push((root(old), root(new), level, 0u64));
        }
        while let Some((before, after, level, base)) = open.pop() {
            if before == after {
                continue;
            }
            let mut load = |child: Option<Id>, session: Option<&SessionEntry>| {
                let Some((child, session)) = child.zip(session) else {
                    return Ok(Node::empty(level));
                };
                let room = session.chunk_count().saturating_sub(base);
                Nodes::<ContentTree>::load(
                    &mut NodesAtHand(archive.nodes(files)),
                    &child,
                    level,
                    room,
                )
            };
            let (node_before, node_after) = (load(before, old)?, load(after, new)?);
            if let Some(id) = &before {
                self.vanish(id);
            }
            if let Some(id) = &after {
                self.appear(files, archive, id)?;
            }
            let (ids_before, ids_after) = (ids(&node_before), ids(&node_after));
            for slot in 0..FANOUT {
                let of = |ids: &[Option<Id>; FANOUT]| ids.get(slot).copied().flatten();
                let (before, after) = (of(ids_before), of(ids_after));
                if before == after {
                    continue;
                }
                let begin = base.saturating_add((slot as u64) << (5 * u32::from(level)));
                if level > 0 {
                    open.push((before, after, level.saturating_sub(1), begin));
                    continue;
                }
                if let Some((id, session)) = before.zip(old) {
                    self.vanish(&id);
                    let bytes = u64::from(session.chunk_bytes(begin));
                    self.data_bytes = self.data_bytes.saturating_sub(bytes);
                }
                if let Some((id, session)) = after.zip(new) {
                    self.appear(files, archive, &id)?;
                    let bytes = u64::from(session.chunk_bytes(begin));
                    self.data_bytes = self.data_bytes.saturating_add(bytes);
                }
            }
        }
        Ok(())
    }

    /// Adds a position of an id.
    fn appear(
        &mut self,
        files: &mut impl Files,
        archive: &Archive,
        id: &Id,
    ) -> Result<(), Failure> {
        if !self.part.has(id) {
            return Ok(());
        }
        if !self.seen.contains_key(id) {
            let place = archive.cache.index.find(files, id)?;
            let sighted = Sighted {
                pack: place.map_or(u64::MAX, |place| place.pack),
                length_bytes: place.map_or(0, |place| place.length_bytes),
                positions: 0,
                since: None,
                sessions: Reached::Never,
                volumes: Reached::Never,
                counted_in: None,
                is_touched: false,
            };
            self.seen.insert(*id, sighted);
        }
        self.move_positions(id, |positions| positions.saturating_add(1));
        Ok(())
    }

    /// Removes a position of an id.
    fn vanish(&mut self, id: &Id) {
        self.move_positions(id, |positions| positions.saturating_sub(1));
    }

    fn move_positions(&mut self, id: &Id, change: impl FnOnce(u32) -> u32) {
        if let Some(sighted) = self.seen.get_mut(id) {
            sighted.positions = change(sighted.positions);
            if !std::mem::replace(&mut sighted.is_touched, true) {
                self.touched.push(*id);
            }
        }
    }

    /// Settles the ids that appear or vanish with the present session.
    fn end_session(&mut self) {
        for id in std::mem::take(&mut self.touched) {
            let Some(sighted) = self.seen.get_mut(&id) else {
                continue;
            };
            sighted.is_touched = false;
            let length = u64::from(sighted.length_bytes);
            match (sighted.since, sighted.positions > 0) {
                (None, true) => {
                    sighted.since = Some(self.session);
                    sighted.sessions = sighted.sessions.and_by(self.session);
                    sighted.volumes = sighted.volumes.and_by(self.volume);
                    self.stored_bytes = self.stored_bytes.saturating_add(length);
                    if sighted.counted_in != Some(self.volume) {
                        sighted.counted_in = Some(self.volume);
                        if let Some(share) = at(&mut self.volumes, self.volume) {
                            share.stored_bytes = share.stored_bytes.saturating_add(length);
                        }
                    }
                }
                (Some(since), false) => {
                    sighted.end(since, self.session);
                    self.stored_bytes = self.stored_bytes.saturating_sub(length);
                }
                (Some(_), true) | (None, false) => {}
            }
        }
        self.sessions.push(SessionShare {
            data_bytes: self.data_bytes,
            stored_bytes: self.stored_bytes,
            unique_bytes: 0,
        });
        self.session = self.session.saturating_add(1);
    }

    /// Ends the ids of a volume: the first session of the next volume has an id only if the id is
    /// met there.
    fn end_volume(&mut self) {
        for sighted in self.seen.values_mut() {
            if let Some(since) = sighted.since {
                sighted.end(since, self.session);
            }
            sighted.positions = 0;
        }
        (self.data_bytes, self.stored_bytes) = (0, 0);
        self.volume = self.volume.saturating_add(1);
    }
}

impl Sighted {
    /// Counts an id that was reached from session `since` on, and no longer by session `end`.
    fn end(&mut self, since: u32, end: u32) {
        self.since = None;
        if end.saturating_sub(since) > 1 {
            self.sessions = Reached::BySeveral;
        }
    }
}

fn at<T>(list: &mut [T], number: u32) -> Option<&mut T> {
    list.get_mut(usize::try_from(number).ok()?)
}

/// The ids that a node of a content tree names: of chunks or of nodes.
fn ids(node: &Node<ContentTree>) -> &[Option<Id>; FANOUT] {
    match node {
        Node::Leaf(ids) => ids,
        Node::Inner { children, .. } => children,
    }
}
