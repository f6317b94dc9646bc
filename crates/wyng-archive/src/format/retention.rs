// SPDX-License-Identifier: GPL-3.0-or-later
//! Fields of commits and pack entries that keep anything from being deleted too soon: points in the
//! time of a chain, hold-offs, the floor, and the state of a pack. `plan` draws the conclusions.
//! Layouts: `docs/format.md`, sections 8.1 and 9.

use super::bytes::{Malformed, Reader, Writer};

/// A point in the time of a chain. The entry of a given-up pack holds the point of the commit that
/// gave the pack up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stamp {
    /// Runs counted so far.
    pub run: u64,
    /// The chain's kept clock, seconds.
    pub kept_secs: u64,
}

impl Stamp {
    pub(super) fn encode(self, writer: &mut Writer) {
        writer.u64(self.run).u64(self.kept_secs);
    }

    /// The first commit of a chain is its first run, so that no commit has run number 0.
    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (run, kept_secs) = (reader.u64()?, reader.u64()?);
        if run == 0 {
            return Err(Malformed("run number"));
        }
        Ok(Self { run, kept_secs })
    }

    /// Whether neither clock of this point is past that of `now`.
    fn is_reached(self, now: Self) -> bool {
        self.run <= now.run && self.kept_secs <= now.kept_secs
    }
}

/// Fields of a commit from which its successor counts on; 24 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommitStamp {
    /// The commit's own point in time.
    pub stamp: Stamp,
    /// The kept clock of the newest commit that counted as a run, seconds.
    pub counted_secs: u64,
}

impl CommitStamp {
    pub(super) fn encode(self, writer: &mut Writer) {
        self.stamp.encode(writer);
        writer.u64(self.counted_secs);
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (stamp, counted_secs) = (Stamp::decode(reader)?, reader.u64()?);
        if counted_secs > stamp.kept_secs {
            return Err(Malformed("kept clock of the counted run"));
        }
        Ok(Self {
            stamp,
            counted_secs,
        })
    }
}

/// A hold-off: how many runs and how much time must pass before something given up is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HoldOff {
    /// Runs that must be counted after the commit that gave something up.
    pub runs: u64,
    /// Time that must pass after that commit, seconds of the kept clock.
    pub secs: u64,
}

/// A hold-off that was lowered, and still holds for what was given up before; 32 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EarlierHoldOff {
    /// The commit that lowered it.
    pub until: Stamp,
    /// The hold-off of everything given up until then.
    pub hold_off: HoldOff,
}

impl EarlierHoldOff {
    const BYTES: usize = 32;

    pub(super) fn encode(earlier: Option<&Self>, writer: &mut Writer) {
        let Some(Self { until, hold_off }) = earlier else {
            writer.bytes(&[0; Self::BYTES]);
            return;
        };
        until.encode(writer);
        writer.u64(hold_off.runs).u64(hold_off.secs);
    }

    /// The earlier hold-off of a commit at `now`; `present`: whether the commit has one.
    pub(super) fn decode(
        reader: &mut Reader<'_>,
        present: bool,
        now: Stamp,
    ) -> Result<Option<Self>, Malformed> {
        if !present {
            reader.zeros(Self::BYTES, "earlier hold-off")?;
            return Ok(None);
        }
        let until = Stamp::decode(reader)?;
        if !until.is_reached(now) {
            return Err(Malformed("an earlier hold-off from a later commit"));
        }
        let (runs, secs) = (reader.u64()?, reader.u64()?);
        Ok(Some(Self {
            until,
            hold_off: HoldOff { runs, secs },
        }))
    }
}

/// The floor: packs from this number on are alive, although no session reaches them, because they
/// were sent for a volume whose session is not complete yet; 16 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Floor {
    /// The lowest number of a pack sent for a volume that was begun.
    pub pack: u64,
    /// Kept clock of the newest commit after which a pack was sent for such a volume, seconds.
    pub sent_secs: u64,
}

impl Floor {
    const BYTES: usize = 16;

    pub(super) fn encode(floor: Option<&Self>, writer: &mut Writer) {
        match floor {
            Some(floor) => writer.u64(floor.pack).u64(floor.sent_secs),
            None => writer.bytes(&[0; Self::BYTES]),
        };
    }

    pub(super) fn decode(
        reader: &mut Reader<'_>,
        present: bool,
    ) -> Result<Option<Self>, Malformed> {
        if !present {
            reader.zeros(Self::BYTES, "floor")?;
            return Ok(None);
        }
        let (pack, sent_secs) = (reader.u64()?, reader.u64()?);
        Ok(Some(Self { pack, sent_secs }))
    }
}

/// Since when a pack is given up, and where its records went; 32 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GivenUp {
    /// Run number and kept clock of the commit that gave it up.
    pub at: Stamp,
    /// The packs that took over its records; `None` if nothing in it was alive.
    pub heirs: Option<Heirs>,
}

impl GivenUp {
    pub(super) const BYTES: usize = 32;

    pub(super) fn encode(&self, writer: &mut Writer) {
        self.at.encode(writer);
        match self.heirs {
            Some(heirs) => writer.u64(heirs.first).u64(heirs.last),
            None => writer.bytes(&[0; 16]),
        };
    }

    pub(super) fn decode(reader: &mut Reader<'_>, has_heirs: bool) -> Result<Self, Malformed> {
        let at = Stamp::decode(reader)?;
        if !has_heirs {
            reader.zeros(16, "heirs")?;
            return Ok(Self { at, heirs: None });
        }
        let heirs = Heirs::new(reader.u64()?, reader.u64()?).ok_or(Malformed("heirs"))?;
        Ok(Self {
            at,
            heirs: Some(heirs),
        })
    }
}

/// A range of pack numbers, both included. It may cover packs that took over nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Heirs {
    /// The lowest number.
    pub first: u64,
    /// The highest number.
    pub last: u64,
}

impl Heirs {
    /// A range; `None` if it would be empty.
    pub fn new(first: u64, last: u64) -> Option<Self> {
        (first <= last).then_some(Self { first, last })
    }
}

/// State of a pack.
///
/// ```text
/// live ──prune, compact──▶ given up ──hold-off and proof──▶ going ──DELETE──▶ entry dropped
///   ▲                          │
///   └────────undelete──────────┘
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PackState {
    /// Its records may be used and referenced.
    Live,
    /// Nothing refers to it. It can be made live again.
    GivenUp(GivenUp),
    /// It is being deleted. It is never made live again.
    Going(GivenUp),
    /// It was missing or damaged. It is read only for records that no other pack has.
    Lost,
}

impl PackState {
    /// When and for which heirs the pack was given up, whether it is going or not. Its absence is
    /// no fault then.
    pub fn given_up(self) -> Option<GivenUp> {
        match self {
            Self::GivenUp(given_up) | Self::Going(given_up) => Some(given_up),
            Self::Live | Self::Lost => None,
        }
    }

    pub(super) fn number(self) -> u8 {
        match self {
            Self::Live => 0,
            Self::GivenUp(_) => 1,
            Self::Lost => 2,
            Self::Going(_) => 3,
        }
    }
}
