// SPDX-License-Identifier: GPL-3.0-or-later
//! The kept clock of an archive's chain of commits, as this machine continues it: the clock of the
//! head that the machine adopted, plus what the machine counted itself since. It holds an offset to
//! the state directory's [`KeptClock`], never a count of its own.
//!
//! Adopting a head gives no credit for the time since that head was made, and the result is never
//! the larger of the head's clock and this machine's older one: both would let a machine bring time
//! into a chain that the chain has not counted.

use super::kept_clock::KeptClock;

/// The offset that a ledger stores. The default is bound to no clock, and begins at 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ChainClock {
    /// The chain's kept clock when it was last bound to the machine's, seconds.
    pub chain_secs: u64,
    /// The instance of the machine's clock to which it is bound.
    pub instance: [u8; 16],
    /// The machine's kept clock at that moment, seconds.
    pub local_secs: u64,
}

impl ChainClock {
    /// Adopts a head whose commit has the kept clock `head_secs`. `local` has observed the present.
    pub fn adopt(head_secs: u64, local: &KeptClock) -> Self {
        Self {
            chain_secs: head_secs,
            instance: local.instance,
            local_secs: local.kept_secs,
        }
    }

    /// The chain's kept clock now, seconds; at least that of the head adopted. `local` has observed
    /// the present.
    pub fn now(&self, local: &KeptClock) -> u64 {
        let counted = if self.is_bound_to(local) {
            local.kept_secs.saturating_sub(self.local_secs)
        } else {
            0
        };
        self.chain_secs.saturating_add(counted)
    }

    /// Binds the chain to the machine's clock if that was lost, replaced or put back since: the
    /// chain continues from its last value, without credit. True if the ledger has to be written.
    ///
    /// Without it a clock that was put back would hold the chain still until it caught up.
    #[must_use]
    pub fn rebind(&mut self, local: &KeptClock) -> bool {
        let stale = !self.is_bound_to(local);
        if stale {
            *self = Self::adopt(self.chain_secs, local);
        }
        stale
    }

    fn is_bound_to(&self, local: &KeptClock) -> bool {
        self.instance == local.instance && local.kept_secs >= self.local_secs
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::kept_clock::Reading;

    fn local(instance: u8, kept_secs: u64) -> KeptClock {
        let reading = Reading {
            boot: [0; 16],
            boottime_secs: 0,
            awake_secs: 0,
            wall_secs: 0,
        };
        KeptClock {
            kept_secs,
            ..KeptClock::start([instance; 16], reading)
        }
    }

    #[test]
    fn the_chain_goes_on_by_what_the_machine_counts() {
        let chain = ChainClock::adopt(9000, &local(1, 50));
        assert_eq!(chain.now(&local(1, 50)), 9000, "no credit at adoption");
        assert_eq!(chain.now(&local(1, 80)), 9030);
    }

    #[test]
    fn an_adopted_head_wins_over_the_machines_own_larger_clock() {
        let ahead = ChainClock::adopt(1_000_000, &local(1, 0));
        assert_eq!(ahead.now(&local(1, 10)), 1_000_010);
        let adopted = ChainClock::adopt(9000, &local(1, 10));
        assert_eq!(adopted.now(&local(1, 11)), 9001);
    }

    #[test]
    fn a_clock_that_was_lost_goes_on_without_credit_and_at_once() {
        let mut chain = ChainClock::adopt(9000, &local(1, 500));
        assert_eq!(chain.now(&local(2, 700)), 9000, "another clock's seconds");
        assert!(chain.rebind(&local(2, 700)));
        assert_eq!(chain.now(&local(2, 760)), 9060);
        assert!(!chain.rebind(&local(2, 760)));
    }

    #[test]
    fn a_clock_that_was_put_back_does_not_hold_the_chain_still() {
        let mut chain = ChainClock::adopt(9000, &local(1, 500));
        assert!(chain.rebind(&local(1, 100)));
        assert_eq!(chain.now(&local(1, 160)), 9060);
    }
}
