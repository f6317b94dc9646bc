// SPDX-License-Identifier: GPL-3.0-or-later
//! The bytes of a state directory's `clock` file. Where they are kept, and how a file is replaced,
//! is the caller's business.
//!
//! ```text
//! offset  bytes
//!      0      8  magic "wyngclk0"
//!      8     16  instance
//!     24      8  kept clock, seconds
//!     32     16  boot id of the newest reading
//!     48      8  its CLOCK_BOOTTIME, seconds
//!     56      8  its CLOCK_MONOTONIC, seconds
//!     64      8  its wall clock, seconds since 1970 UTC, signed
//!     72      8  stretch, seconds
//!     80      8  parted, seconds, signed
//!     88      1  jumped, 0 or 1
//!     89      7  zero
//!     96     32  BLAKE3 of bytes 0 to 95
//! ```

use super::kept_clock::{KeptClock, Reading};
use crate::format::{Malformed, Reader, Writer};

/// Length of the file.
pub const CLOCK_FILE_BYTES: usize = 128;

const MAGIC: &[u8; 8] = b"wyngclk0";
const CHECKED_BYTES: usize = 96;
/// Maximum of each count of time in the file: ten thousand years, seconds. A larger one was not
/// counted.
const COUNT_MAX_SECS: u64 = 10_000 * 366 * 86_400;

impl KeptClock {
    /// The [`CLOCK_FILE_BYTES`] of the file.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::with_capacity(CLOCK_FILE_BYTES);
        writer
            .bytes(MAGIC)
            .bytes(&self.instance)
            .u64(self.kept_secs)
            .bytes(&self.last.boot)
            .u64(self.last.boottime_secs)
            .u64(self.last.awake_secs)
            .i64(self.last.wall_secs)
            .u64(self.stretch_secs)
            .i64(self.parted_secs)
            .u8(u8::from(self.jumped));
        writer.zeros_to(CHECKED_BYTES);
        let mut bytes = writer.finish();
        let check = blake3::hash(&bytes);
        bytes.extend_from_slice(check.as_bytes());
        bytes
    }

    /// Reads the file's bytes. Fails with [`Malformed`] if they are not what [`encode`] wrote; the
    /// caller then starts a new clock, without credit for the old one.
    ///
    /// [`encode`]: Self::encode
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let (checked, check) = bytes
            .split_at_checked(CHECKED_BYTES)
            .ok_or(Malformed("too short"))?;
        if blake3::hash(checked).as_bytes() != check {
            return Err(Malformed("checksum"));
        }
        let mut reader = Reader::new(checked);
        reader.magic(MAGIC)?;
        let (instance, kept_secs, boot) = (reader.array()?, count(reader.u64()?)?, reader.array()?);
        let last = Reading {
            boot,
            boottime_secs: count(reader.u64()?)?,
            awake_secs: count(reader.u64()?)?,
            wall_secs: reader.i64()?,
        };
        let (stretch_secs, parted_secs) = (count(reader.u64()?)?, reader.i64()?);
        let jumped = match reader.u8()? {
            0 => false,
            1 => true,
            _ => return Err(Malformed("jumped")),
        };
        reader.zeros(reader.remaining(), "reserved")?;
        Ok(Self {
            instance,
            kept_secs,
            last,
            stretch_secs,
            parted_secs,
            jumped,
        })
    }
}

fn count(secs: u64) -> Result<u64, Malformed> {
    (secs <= COUNT_MAX_SECS)
        .then_some(secs)
        .ok_or(Malformed("a count of time"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn clock() -> impl Strategy<Value = KeptClock> {
        let reading = (
            any::<[u8; 16]>(),
            0..1_u64 << 40,
            0..=COUNT_MAX_SECS,
            any::<i64>(),
        );
        let rest = (
            any::<[u8; 16]>(),
            0..1_u64 << 40,
            0..1_u64 << 40,
            any::<i64>(),
            any::<bool>(),
        );
        (reading, rest).prop_map(
            |(
                (boot, boottime_secs, awake_secs, wall_secs),
                (instance, kept_secs, stretch_secs, parted_secs, jumped),
            )| KeptClock {
                instance,
                kept_secs,
                last: Reading {
                    boot,
                    boottime_secs: boottime_secs.min(COUNT_MAX_SECS),
                    awake_secs,
                    wall_secs,
                },
                stretch_secs: stretch_secs.min(COUNT_MAX_SECS),
                parted_secs,
                jumped,
            },
        )
    }

    proptest! {
        #[test]
        fn a_clock_comes_back_from_its_bytes_as_it_was(clock in clock()) {
            let clock = KeptClock { kept_secs: clock.kept_secs.min(COUNT_MAX_SECS), ..clock };
            let bytes = clock.encode();
            prop_assert_eq!(bytes.len(), CLOCK_FILE_BYTES);
            prop_assert_eq!(KeptClock::decode(&bytes), Ok(clock));
        }

        #[test]
        fn a_file_with_any_byte_changed_or_cut_off_is_no_clock(
            clock in clock(),
            place in 0..CLOCK_FILE_BYTES,
            by in 1..=255_u8,
        ) {
            let mut bytes = clock.encode();
            prop_assert!(KeptClock::decode(&bytes[..place]).is_err());
            bytes[place] ^= by;
            prop_assert!(KeptClock::decode(&bytes).is_err());
            bytes[place] ^= by;
            bytes.push(0);
            prop_assert!(KeptClock::decode(&bytes).is_err());
        }
    }

    #[test]
    fn a_count_of_more_than_ten_thousand_years_is_refused_though_its_checksum_is_right() {
        let reading = Reading {
            boot: [1; 16],
            boottime_secs: 0,
            awake_secs: 0,
            wall_secs: 0,
        };
        let sound = KeptClock::start([2; 16], reading);
        let broken = [
            KeptClock {
                kept_secs: COUNT_MAX_SECS + 1,
                ..sound
            },
            KeptClock {
                stretch_secs: COUNT_MAX_SECS + 1,
                ..sound
            },
            KeptClock {
                last: Reading {
                    boottime_secs: u64::MAX,
                    ..reading
                },
                ..sound
            },
        ];
        for clock in broken {
            assert_eq!(
                KeptClock::decode(&clock.encode()),
                Err(Malformed("a count of time"))
            );
        }
    }
}
