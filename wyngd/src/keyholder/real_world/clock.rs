// SPDX-License-Identifier: GPL-3.0-or-later
//! The kernel's clocks, and what the kernel counts for this process.

use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::ClockId;
use wyng_engine::world::Clock;

/// Where the kernel shows the random id of this boot.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The kernel's clocks.
#[derive(Clone)]
pub struct KernelClock {
    boot_id: [u8; 16],
}

impl KernelClock {
    /// The clocks of this boot. Call it before the jail, which hides the boot's id.
    pub fn start() -> Self {
        Self {
            boot_id: std::fs::read_to_string(BOOT_ID)
                .ok()
                .and_then(|text| id_of(&text))
                .unwrap_or_default(),
        }
    }
}

impl Clock for KernelClock {
    fn wall_nanos(&mut self) -> u64 {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
    }

    fn monotonic_nanos(&mut self) -> u64 {
        nanos_of(ClockId::Monotonic)
    }

    fn boottime_nanos(&mut self) -> u64 {
        nanos_of(ClockId::Boottime)
    }

    fn boot_id(&self) -> [u8; 16] {
        self.boot_id
    }

    fn cpu_micros(&mut self) -> u64 {
        nanos_of(ClockId::ProcessCPUTime) / 1000
    }

    fn peak_bytes(&mut self) -> u64 {
        wyng_jail::peak_resident_bytes()
    }
}

fn nanos_of(clock: ClockId) -> u64 {
    let time = rustix::time::clock_gettime(clock);
    let (secs, nanos) = (
        u64::try_from(time.tv_sec).unwrap_or(0),
        u64::try_from(time.tv_nsec).unwrap_or(0),
    );
    secs.saturating_mul(1_000_000_000).saturating_add(nanos)
}

/// The bytes of a UUID as the kernel writes it; `None` for anything else.
fn id_of(text: &str) -> Option<[u8; 16]> {
    wyng_engine::state::from_hex(&text.trim_end().replace('-', ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boot_has_an_id_that_is_the_same_each_time() {
        let id = KernelClock::start().boot_id();
        assert_ne!(id, [0; 16]);
        assert_eq!(KernelClock::start().boot_id(), id);
        assert_eq!(id_of("no id"), None);
    }

    #[test]
    fn boottime_counts_at_least_the_time_awake() {
        let mut clock = KernelClock::start();
        let awake = clock.monotonic_nanos();
        assert!(clock.boottime_nanos() >= awake && awake > 0);
    }
}
