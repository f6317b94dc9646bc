// SPDX-License-Identifier: GPL-3.0-or-later
//! The bytes of a ledger. What they mean is for the ledger to say.
//!
//! ```text
//!   0 │ "wyngledg"                                                    │
//!   8 │ format = 2 u32                │ flags u32                     │
//!  16 │ keys proven at: seconds since 1970 UTC, i64                   │
//!  24 │ the same by the chain's kept clock u64; both 0 without flag 32│
//!  32 │ the chain's kept clock when it was bound, seconds u64         │
//!  40 │ this machine's kept clock at that moment, seconds u64         │
//!  48 │ the instance of this machine's kept clock (16)                │
//!  64 │ newest generation passed over u64; zero without flag 4        │
//!  72 │ when a slot opened last: seconds since 1970 UTC, i64; 0: never│
//!  80 │ its number u8 │ copy of the head u8 │ 0 u16 │ 0 u32           │
//!  88 │ when a rehearsal last succeeded: seconds since 1970 UTC, i64  │
//!  96 │ the same by the chain's kept clock u64; both 0 without flag 64│
//! 104 │ when a prune last succeeded: seconds since 1970 UTC, i64      │
//! 112 │ the same by the chain's kept clock u64; both 0 without flag 128│
//! 120 │ count of known commits u32    │ 1 if one is pending u32       │
//! 128 │ count of the spine u32        │ count of the notes u32        │
//! 136 │ the spine, descending: generation u64 ‖ hash (32)             │
//!     │ the notes of damage (notes.rs)                                │
//!     │ what was acknowledged of the damage (acknowledged.rs)         │
//!     │ the known commits, ascending: generation u64 ‖ 4096 bytes     │
//!     │ the pending one, the same                                     │
//!     │ H of all before                                               │
//! ```
//! Flags: 1: stopped; 2: the cache is in the second folder; 4: newer generations were passed over;
//! 8: one of them is sound; 16: a person asked for the older one; 32: the keys were proven; 64: a
//! rehearsal succeeded; 128: a prune succeeded.

use wyng_archive::format::{COMMIT_BYTES, Malformed, Reader, Writer};
use wyng_archive::plan::age::Moment;
use wyng_archive::plan::chain_clock::ChainClock;

use super::{KEPT_COMMITS, KnownCommit, Ledger, PassedOver};
use crate::state::{Acknowledged, CacheFolder, Notes};

const MAGIC: &[u8; 8] = b"wyngledg";
const FORMAT: u32 = 3;
const FLAG_STOPPED: u32 = 1;
const FLAG_SECOND_CACHE: u32 = 2;
const FLAG_PASSED_OVER: u32 = 4;
const FLAG_PASSED_SOUND: u32 = 8;
const FLAG_PASSED_REQUESTED: u32 = 16;
const FLAG_KEYS_PROVEN: u32 = 32;
const FLAG_REHEARSED: u32 = 64;
const FLAG_PRUNED: u32 = 128;
/// Maximum length of the spine: a generation has 64 bits, and each step clears one.
const SPINE_MAX: usize = 64;

impl Ledger {
    /// The bytes that the checksum covers.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::with_capacity(80 * 1024);
        let flags = [
            (self.stopped, FLAG_STOPPED),
            (self.cache == CacheFolder::Second, FLAG_SECOND_CACHE),
            (self.passed_over.is_some(), FLAG_PASSED_OVER),
            (
                self.passed_over.is_some_and(|passed| passed.sound),
                FLAG_PASSED_SOUND,
            ),
            (
                self.passed_over.is_some_and(|passed| passed.requested),
                FLAG_PASSED_REQUESTED,
            ),
            (self.keys_proven.is_some(), FLAG_KEYS_PROVEN),
            (self.rehearsed.is_some(), FLAG_REHEARSED),
            (self.pruned.is_some(), FLAG_PRUNED),
        ];
        let flags = flags
            .into_iter()
            .filter(|(set, _)| *set)
            .fold(0, |flags, (_, flag)| flags | flag);
        writer.bytes(MAGIC).u32(FORMAT).u32(flags);
        encode_moment(&mut writer, self.keys_proven);
        writer
            .u64(self.chain.chain_secs)
            .u64(self.chain.local_secs)
            .bytes(&self.chain.instance);
        writer.u64(self.passed_over.map_or(0, |passed| passed.newest));
        let (slot, opened_time) = self.opened.unwrap_or((0, 0));
        writer
            .i64(opened_time)
            .u8(slot)
            .u8(self.head_copy)
            .u16(0)
            .u32(0);
        encode_moment(&mut writer, self.rehearsed);
        encode_moment(&mut writer, self.pruned);
        writer
            .u32(u32::try_from(self.known.len()).unwrap_or(u32::MAX))
            .u32(u32::from(self.pending.is_some()));
        writer
            .u32(u32::try_from(self.spine.len()).unwrap_or(u32::MAX))
            .u32(self.notes.count());
        for (generation, hash) in &self.spine {
            writer.u64(*generation).bytes(hash);
        }
        self.notes.encode(&mut writer);
        self.acknowledged.encode(&mut writer);
        for commit in self.known.iter().chain(&self.pending) {
            writer.u64(commit.generation).bytes(&commit.bytes);
        }
        writer.finish()
    }

    /// A ledger from the bytes that the checksum covers.
    pub(super) fn decode(covered: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(covered);
        reader.magic(MAGIC)?;
        if reader.u32()? != FORMAT {
            return Err(Malformed("another version of these programs wrote it"));
        }
        let flags = reader.u32()?;
        let of_passed = FLAG_PASSED_SOUND | FLAG_PASSED_REQUESTED;
        let of_moments = FLAG_KEYS_PROVEN | FLAG_REHEARSED | FLAG_PRUNED;
        let all = FLAG_STOPPED | FLAG_SECOND_CACHE | FLAG_PASSED_OVER | of_passed | of_moments;
        let has = |flag: u32| flags & flag != 0;
        if flags & !all != 0 || has(of_passed) && !has(FLAG_PASSED_OVER) {
            return Err(Malformed("flags"));
        }
        let cache = if has(FLAG_SECOND_CACHE) {
            CacheFolder::Second
        } else {
            CacheFolder::First
        };
        let keys_proven = decode_moment(&mut reader, has(FLAG_KEYS_PROVEN))?;
        let (chain_secs, local_secs) = (reader.u64()?, reader.u64()?);
        let chain = ChainClock {
            chain_secs,
            instance: reader.array()?,
            local_secs,
        };
        let newest = reader.u64()?;
        let (sound, requested) = (has(FLAG_PASSED_SOUND), has(FLAG_PASSED_REQUESTED));
        let passed_over = has(FLAG_PASSED_OVER).then_some(PassedOver {
            newest,
            sound,
            requested,
        });
        let (opened_time, slot, head_copy) = (reader.i64()?, reader.u8()?, reader.u8()?);
        let opened = (opened_time != 0).then_some((slot, opened_time));
        reader.zeros(6, "reserved")?;
        let rehearsed = decode_moment(&mut reader, has(FLAG_REHEARSED))?;
        let pruned = decode_moment(&mut reader, has(FLAG_PRUNED))?;
        let (count, pending) = (reader.u32()?, reader.u32()?);
        if usize::try_from(count).map_or(true, |count| count > KEPT_COMMITS + SPINE_MAX)
            || pending > 1
        {
            return Err(Malformed("count"));
        }
        let (spine_count, note_count) = (reader.u32()?, reader.u32()?);
        if usize::try_from(spine_count).map_or(true, |count| count > SPINE_MAX) {
            return Err(Malformed("spine"));
        }
        let spine = (0..spine_count)
            .map(|_| Ok((reader.u64()?, reader.array()?)))
            .collect::<Result<_, Malformed>>()?;
        let notes = Notes::decode(&mut reader, note_count)?;
        let acknowledged = Acknowledged::decode(&mut reader)?;
        let mut commit = || {
            let generation = reader.u64()?;
            Ok(KnownCommit {
                generation,
                bytes: reader.slice(COMMIT_BYTES)?.to_vec(),
            })
        };
        let known: Vec<KnownCommit> = (0..count)
            .map(|_| commit())
            .collect::<Result<_, Malformed>>()?;
        let pending = (pending == 1).then(commit).transpose()?;
        reader.end()?;
        let stopped = has(FLAG_STOPPED);
        Ok(Self {
            known,
            pending,
            spine,
            stopped,
            chain,
            keys_proven,
            rehearsed,
            pruned,
            opened,
            head_copy,
            passed_over,
            cache,
            notes,
            acknowledged,
        })
    }
}

fn encode_moment(writer: &mut Writer, moment: Option<Moment>) {
    let (wall_secs, kept_secs) = moment.map_or((0, 0), |then| (then.wall_secs, then.kept_secs));
    writer.i64(wall_secs).u64(kept_secs);
}

fn decode_moment(reader: &mut Reader<'_>, is_there: bool) -> Result<Option<Moment>, Malformed> {
    let moment = Moment {
        wall_secs: reader.i64()?,
        kept_secs: reader.u64()?,
    };
    Ok(is_there.then_some(moment))
}
