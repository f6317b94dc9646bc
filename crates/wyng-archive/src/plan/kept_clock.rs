// SPDX-License-Identifier: GPL-3.0-or-later
//! The kept clock: a count of seconds that nobody outside of the machine can push. Waiting times go
//! by it, because a VM sets the wall clock. It reads no clock itself.
//!
//! There is one kept clock for each state directory. While the machine is awake it advances by what
//! the kernel counted. Time between two boots, or asleep, is known from the wall clock only; it is
//! credited within bounds, so that whoever owns the wall clock and the restarts speeds the kept
//! clock fourfold at most. The caller reads the machine's clocks at each command, hourly in the
//! daemon and at its end, passes a [`Reading`], and stores the result (`clock_file`).

/// Maximum credit for time between two boots, or asleep, seconds.
const CREDIT_MAX_SECS: u64 = 24 * 3600;
/// Maximum credit as a multiple of what the kernel counted in the stretch before.
const CREDIT_FACTOR: u64 = 3;
/// Maximum difference between the wall clock and the kernel's count before it is a jump, seconds.
pub const PARTED_MAX_SECS: u64 = 3600;
/// Minimum difference between BOOTTIME and MONOTONIC that is a sleep, seconds. The two are read one
/// after the other and rounded, so they differ by a second without a sleep.
const ASLEEP_MIN_SECS: u64 = 2;

/// The machine's clocks, read together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// The kernel's random id of this boot, `/proc/sys/kernel/random/boot_id`.
    pub boot: [u8; 16],
    /// CLOCK_BOOTTIME: time since the start of the machine, awake or asleep, seconds.
    pub boottime_secs: u64,
    /// CLOCK_MONOTONIC: time awake since the start of the machine, seconds.
    pub awake_secs: u64,
    /// CLOCK_REALTIME, seconds since 1970 UTC. It may have been set by a VM.
    pub wall_secs: i64,
}

/// The kept clock of one state directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptClock {
    /// 16 random bytes drawn at the start. A clock that was lost and started anew differs in them,
    /// so that an offset to the old clock is not applied to the new one.
    pub instance: [u8; 16],
    /// Time counted since the clock was started, seconds.
    pub kept_secs: u64,
    /// The newest reading. It replaces the one before as a whole: a maximum would let a wall clock
    /// that stood in the future once stop all credit for years.
    pub last: Reading,
    /// Time that the kernel counted awake since the last boot or sleep, up to the newest reading,
    /// seconds. It bounds the credit for the time off or asleep that follows.
    pub stretch_secs: u64,
    /// How far the wall clock has parted from the kernel's count within boots, summed since a
    /// person last looked, seconds. Positive: the wall clock is ahead.
    pub parted_secs: i64,
    /// The wall clock has jumped since a person last looked: it parted by more than an hour, or it
    /// went back over a boot. Unattended pruning stops then. Time off is no jump.
    pub jumped: bool,
}

impl KeptClock {
    /// A clock that begins now, with no credit for anything before: the first of a state directory,
    /// or the successor of one whose file was lost or damaged.
    pub fn start(instance: [u8; 16], now: Reading) -> Self {
        Self {
            instance,
            kept_secs: 0,
            last: now,
            stretch_secs: 0,
            parted_secs: 0,
            jumped: false,
        }
    }

    /// Takes a reading, and counts the time since the one before. Never goes back.
    pub fn observe(&mut self, now: Reading) {
        let last = std::mem::replace(&mut self.last, now);
        let wall_passed = now.wall_secs.saturating_sub(last.wall_secs);
        if now.boot != last.boot {
            self.count(credit(wall_passed, self.stretch_secs));
            self.jumped |= wall_passed < 0;
            // A sleep before the first reading of a boot is not part of the time awake.
            self.stretch_secs = now.awake_secs;
            return;
        }
        let counted = now.boottime_secs.checked_sub(last.boottime_secs);
        let Some((passed, awake)) = counted.zip(now.awake_secs.checked_sub(last.awake_secs)) else {
            // A smaller count under the same boot id: the state directory comes from another
            // machine or from an older copy.
            self.jumped |= wall_passed < 0;
            self.stretch_secs = 0;
            return;
        };
        let asleep = passed.saturating_sub(awake);
        if asleep < ASLEEP_MIN_SECS {
            self.count(passed);
            self.stretch_secs = self.stretch_secs.saturating_add(awake);
        } else {
            // Over a sleep the kernel adds what a hardware clock says, which under Xen is a virtual
            // one. So a sleep counts as a boot.
            let stretch = self.stretch_secs.saturating_add(awake);
            let off = wall_passed
                .saturating_sub_unsigned(awake)
                .min(i64::try_from(asleep).unwrap_or(i64::MAX));
            self.count(awake.saturating_add(credit(off, stretch)));
            self.stretch_secs = 0;
        }
        let parted = wall_passed.saturating_sub_unsigned(passed);
        self.parted_secs = self.parted_secs.saturating_add(parted);
        self.jumped |= self.parted_secs.unsigned_abs() > PARTED_MAX_SECS;
    }

    /// Records that a person checked the clocks and accepts their present difference. The kept
    /// clock itself does not move.
    pub fn trust_wall(&mut self) {
        self.parted_secs = 0;
        self.jumped = false;
    }

    fn count(&mut self, secs: u64) {
        self.kept_secs = self.kept_secs.saturating_add(secs);
    }
}

/// `min(max(passed, 0), 24 h, 3 * counted)`: what the wall clock's `passed` seconds count for,
/// after a stretch in which the kernel counted `counted_secs`.
fn credit(passed: i64, counted_secs: u64) -> u64 {
    let most = counted_secs
        .saturating_mul(CREDIT_FACTOR)
        .min(CREDIT_MAX_SECS);
    u64::try_from(passed).unwrap_or(0).min(most)
}
