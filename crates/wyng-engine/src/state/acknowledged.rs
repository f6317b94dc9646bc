// SPDX-License-Identifier: GPL-3.0-or-later
//! Lasting damage that a person has acknowledged: it is still shown, and is no longer a failure.
//!
//! A session's damage is acknowledged with a digest of exactly what the session lacks. When it
//! lacks something else, the acknowledgement no longer fits, so new damage is never silenced.

use std::collections::{BTreeMap, BTreeSet};

use wyng_archive::format::{Malformed, Reader, VolumeId, Writer};

/// Maximum number of sessions in a ledger, 56 bytes each, and of commits.
const ENTRIES_MAX: usize = 4096;

/// A session of a volume, by the generation that brought it. Generation 0 stands for the volume's
/// session table.
pub type SessionKey = (VolumeId, u64);

/// The damage that was acknowledged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Acknowledged {
    sessions: BTreeMap<SessionKey, [u8; 32]>,
    /// Commits, by generation.
    commits: BTreeSet<u64>,
    /// Slots, by number.
    slots: BTreeSet<u8>,
}

impl Acknowledged {
    /// Whether nothing was acknowledged.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty() && self.commits.is_empty() && self.slots.is_empty()
    }

    /// Whether it was acknowledged that the session lacks exactly this.
    pub fn has_session(&self, session: &SessionKey, lacks: &[u8; 32]) -> bool {
        self.sessions.get(session) == Some(lacks)
    }

    /// Whether any damage of the session was acknowledged. Only then need it be determined what the
    /// session lacks.
    pub fn may_have_session(&self, session: &SessionKey) -> bool {
        self.sessions.contains_key(session)
    }

    /// Whether the commit's damage was acknowledged.
    pub fn has_commit(&self, generation: u64) -> bool {
        self.commits.contains(&generation)
    }

    /// Whether the slot's damage was acknowledged.
    pub fn has_slot(&self, number: u8) -> bool {
        self.slots.contains(&number)
    }

    /// Adds a session; false if there is no room.
    pub fn add_session(&mut self, session: SessionKey, lacks: [u8; 32]) -> bool {
        let has_room = self.sessions.len() < ENTRIES_MAX;
        if has_room {
            self.sessions.insert(session, lacks);
        }
        has_room
    }

    /// Adds a commit; false if there is no room.
    pub fn add_commit(&mut self, generation: u64) -> bool {
        let has_room = self.commits.len() < ENTRIES_MAX;
        if has_room {
            self.commits.insert(generation);
        }
        has_room
    }

    /// Adds a slot.
    pub fn add_slot(&mut self, number: u8) {
        self.slots.insert(number);
    }

    /// Writes `count of sessions u32 ‖ count of commits u32 ‖ count of slots u32 ‖ 0 u32`, then
    /// each session as volume (16) ‖ generation u64 ‖ digest (32), each commit as u64, each slot as
    /// u8.
    pub fn encode(&self, writer: &mut Writer) {
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        writer
            .u32(count(self.sessions.len()))
            .u32(count(self.commits.len()))
            .u32(count(self.slots.len()))
            .u32(0);
        for ((volume, generation), lacks) in &self.sessions {
            writer.bytes(&volume.0).u64(*generation).bytes(lacks);
        }
        for generation in &self.commits {
            writer.u64(*generation);
        }
        for number in &self.slots {
            writer.u8(*number);
        }
    }

    /// Reads what [`encode`](Self::encode) wrote.
    pub fn decode(reader: &mut Reader) -> Result<Self, Malformed> {
        let mut counts = [0; 3];
        for count in &mut counts {
            *count = usize::try_from(reader.u32()?)
                .ok()
                .filter(|count| *count <= ENTRIES_MAX)
                .ok_or(Malformed("acknowledged"))?;
        }
        reader.zeros(4, "reserved")?;
        let [sessions, commits, slots] = counts;
        Ok(Self {
            sessions: (0..sessions)
                .map(|_| Ok(((VolumeId(reader.array()?), reader.u64()?), reader.array()?)))
                .collect::<Result<_, Malformed>>()?,
            commits: (0..commits)
                .map(|_| reader.u64())
                .collect::<Result<_, Malformed>>()?,
            slots: (0..slots)
                .map(|_| reader.u8())
                .collect::<Result<_, Malformed>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_acknowledged_comes_back_as_it_was(
            sessions in prop::collection::btree_map(any::<([u8; 16], u64)>().prop_map(|(volume, generation)| (VolumeId(volume), generation)), any::<[u8; 32]>(), 0..5),
            commits in prop::collection::btree_set(any::<u64>(), 0..5),
            slots in prop::collection::btree_set(any::<u8>(), 0..5),
        ) {
            let acknowledged = Acknowledged { sessions, commits, slots };
            let mut writer = Writer::with_capacity(1024);
            acknowledged.encode(&mut writer);
            let bytes = writer.finish();
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(Acknowledged::decode(&mut reader), Ok(acknowledged));
            prop_assert_eq!(reader.end(), Ok(()));
        }

        #[test]
        fn random_bytes_are_an_error_or_within_bounds(bytes in prop::collection::vec(prop_oneof![3 => Just(0), 1 => any::<u8>()], 0..200)) {
            if let Ok(acknowledged) = Acknowledged::decode(&mut Reader::new(&bytes)) {
                prop_assert!(acknowledged.sessions.len() + acknowledged.commits.len() + acknowledged.slots.len() <= 200);
            }
        }
    }

    #[test]
    fn there_is_a_bound() {
        let mut acknowledged = Acknowledged::default();
        assert!((0..ENTRIES_MAX as u64).all(|generation| acknowledged.add_commit(generation)));
        assert!(!acknowledged.add_commit(u64::MAX) && !acknowledged.has_commit(u64::MAX));
    }

    #[test]
    fn a_session_that_lacks_something_else_is_not_acknowledged() {
        let (mut acknowledged, session) = (Acknowledged::default(), (VolumeId([1; 16]), 7));
        assert!(acknowledged.add_session(session, [2; 32]));
        assert!(acknowledged.has_session(&session, &[2; 32]));
        assert!(
            !acknowledged.has_session(&session, &[3; 32])
                && !acknowledged.has_session(&(VolumeId([1; 16]), 8), &[2; 32])
        );
    }
}
