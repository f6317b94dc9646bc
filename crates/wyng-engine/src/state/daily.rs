// SPDX-License-Identifier: GPL-3.0-or-later
//! The bytes by which an archive grew on each day, and its state at the end of the day's last
//! command. The file is a hint for `history`: if it is lost or damaged, it begins anew with the
//! bytes of the sessions that exist.

use std::collections::BTreeMap;

use wyng_archive::format::{Malformed, Reader, SessionEntry, Writer};
use wyng_control::{DayState, Failure};

use super::ArchiveFolder;
use crate::world::Files;

const FILE: &str = "days";
const VERSION: u8 = 1;
/// Maximum number of days: more than five years with a command on each.
const DAYS_MAX: usize = 2000;
/// The day, the bytes added, whether the state is known, and the state.
const DAY_BYTES: usize = 49;
const DAY_SECS: i64 = 86_400;

/// A day of an archive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Day {
    /// Bytes that the sessions of this day added to the store, removed sessions included.
    pub added_bytes: u64,
    /// The state at the end of the day's last command; `None` if no command noted it.
    pub state: Option<DayState>,
}

/// The days of an archive, by their numbers: days of the wall clock since 1970 UTC.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Daily {
    /// Generation of the newest session that is counted.
    counted: u64,
    days: BTreeMap<i64, Day>,
}

impl Daily {
    /// Reads the file; empty if the file is missing, damaged or cannot be read.
    pub fn read(files: &mut impl Files, folder: &ArchiveFolder) -> Self {
        let bytes = files.read(&folder.file(FILE)).ok().flatten();
        Self::decode(&bytes.unwrap_or_default()).unwrap_or_default()
    }

    /// Replaces the file durably: at most 98 KB.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, files: &mut impl Files, folder: &ArchiveFolder) -> Result<(), Failure> {
        files.replace(&folder.file(FILE), &self.encode())
    }

    /// Counts the sessions that came since the last count, each on the day of its name.
    /// `generation` is that of the head. A session that was counted stays counted when it is
    /// removed.
    pub fn count<'a>(
        &mut self,
        sessions: impl IntoIterator<Item = &'a SessionEntry>,
        generation: u64,
    ) {
        for session in sessions {
            if session.generation > self.counted {
                let day = self.days.entry(day_of(session.time)).or_default();
                day.added_bytes = day.added_bytes.saturating_add(session.added_bytes);
            }
        }
        self.counted = generation;
        self.forget_oldest();
    }

    /// Notes the state now.
    pub fn note(&mut self, now_secs: i64, state: DayState) {
        self.days.entry(day_of(now_secs)).or_default().state = Some(state);
        self.forget_oldest();
    }

    /// The first second of each day, seconds since 1970 UTC, and the day, in order.
    pub fn days(&self) -> impl Iterator<Item = (i64, Day)> + '_ {
        self.days
            .iter()
            .map(|(number, day)| (number.saturating_mul(DAY_SECS), *day))
    }

    fn forget_oldest(&mut self) {
        while self.days.len() > DAYS_MAX {
            self.days.pop_first();
        }
    }

    fn encode(&self) -> Vec<u8> {
        let days_bytes = self.days.len().saturating_mul(DAY_BYTES);
        let mut writer = Writer::with_capacity(days_bytes.saturating_add(9));
        writer.u8(VERSION).u64(self.counted);
        for (number, day) in &self.days {
            let state = day.state.unwrap_or_default();
            writer
                .i64(*number)
                .u64(day.added_bytes)
                .u8(day.state.is_some().into())
                .u64(state.sessions)
                .u64(state.stored_bytes)
                .u64(state.waiting_bytes)
                .u64(state.damaged_sessions);
        }
        writer.finish()
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        if reader.u8()? != VERSION {
            return Ok(Self::default());
        }
        let counted = reader.u64()?;
        let mut days = BTreeMap::new();
        while reader.remaining() > 0 {
            let number = reader.i64()?;
            let (added_bytes, is_known) = (reader.u64()?, reader.u8()? != 0);
            let state = DayState {
                sessions: reader.u64()?,
                stored_bytes: reader.u64()?,
                waiting_bytes: reader.u64()?,
                damaged_sessions: reader.u64()?,
            };
            let state = is_known.then_some(state);
            days.insert(number, Day { added_bytes, state });
        }
        Ok(Self { counted, days })
    }
}

fn day_of(secs: i64) -> i64 {
    secs.div_euclid(DAY_SECS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_come_back_and_the_oldest_makes_room() {
        let mut daily = Daily::default();
        for day in 0..2500 {
            let state = DayState {
                sessions: day,
                stored_bytes: 1,
                waiting_bytes: 2,
                damaged_sessions: 3,
            };
            daily.note(DAY_SECS * (day as i64 - 5) - 1, state);
        }
        daily.counted = 7;
        let bytes = daily.encode();
        assert_eq!(bytes.len(), 9 + DAYS_MAX * DAY_BYTES);
        assert_eq!(Daily::decode(&bytes).ok(), Some(daily.clone()));
        let (first, day) = daily.days().next().unwrap();
        assert_eq!(first, DAY_SECS * (500 - 6));
        assert_eq!(day.state.unwrap().sessions, 500);
        for length in 0..bytes.len().min(200) {
            // Whatever is cut off, it is read as something or as nothing.
            let _ = Daily::decode(&bytes[..length]);
        }
    }
}
