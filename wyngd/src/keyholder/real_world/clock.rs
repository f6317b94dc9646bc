// SPDX-License-Identifier: GPL-3.0-or-later
//! The kernel's clocks, and what the kernel counts for this process.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use wyng_engine::world::Clock;

/// The kernel's clocks.
pub struct KernelClock {
    started: Instant,
}

impl KernelClock {
    /// Clocks whose monotonic time begins now.
    pub fn start() -> Self {
        Self {
            started: Instant::now(),
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
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn cpu_micros(&mut self) -> u64 {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        let (secs, nanos) = (
            u64::try_from(time.tv_sec).unwrap_or(0),
            u64::try_from(time.tv_nsec).unwrap_or(0),
        );
        secs.saturating_mul(1_000_000).saturating_add(nanos / 1000)
    }

    fn peak_bytes(&mut self) -> u64 {
        wyng_jail::peak_resident_bytes()
    }
}
