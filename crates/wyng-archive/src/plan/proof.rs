// SPDX-License-Identifier: GPL-3.0-or-later
//! Selects the packs that a verify with a budget reads, and computes the proven share of an
//! archive. It reads no pack itself.
//!
//! A reading *proves* a pack if it came at least a day after the push and its reader cannot
//! remember the push: a VM may still have in its memory the packs that it pushed this morning. Any
//! other whole reading only counts as read. All times are kept times of the chain, in seconds.
//!
//! Only a VM that stays from call to call can remember what it pushed: a qube or a host with a name
//! of its own. A disposable ends with its call, and so does a process of this machine, which is
//! trusted anyway. Where one such VM serves an archive alone, its readings are all that there is,
//! so a reading a day after the push counts for as long as no other far end serves; it is reported
//! as a proof by the VM that pushed.

use super::age::Age;

/// Minimum time between a push and a reading that proves it, seconds of the kept clock.
pub const PROOF_AFTER_SECS: u64 = 24 * 3600;

/// Proof that a whole, sound reading gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// Nothing: it came too soon after the push.
    Nothing,
    /// The VM that pushed the pack can still show it. It may have kept it elsewhere than in the
    /// store.
    ByPusher,
    /// The store has the pack.
    OfStore,
}

/// The proof that a whole, sound reading at `read_secs` by `reader` gives of a pack that was pushed
/// at `pushed_secs` by `pusher`.
///
/// A `V` names a VM that stays from call to call; `None` is a reader or a pusher that remembers
/// nothing: a process of this machine, or a disposable.
pub fn proves<V: Eq>(
    read_secs: u64,
    reader: Option<&V>,
    pushed_secs: u64,
    pusher: Option<&V>,
) -> Proof {
    if read_secs.saturating_sub(pushed_secs) < PROOF_AFTER_SECS {
        Proof::Nothing
    } else if reader.is_some() && reader == pusher {
        Proof::ByPusher
    } else {
        Proof::OfStore
    }
}

/// A pack and its newest readings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Readings {
    /// The pack's number.
    pub number: u64,
    /// Its length, bytes.
    pub length_bytes: u64,
    /// When it was pushed or adopted.
    pub pushed_secs: u64,
    /// The newest reading, whatever it found.
    pub read_secs: Option<u64>,
    /// The newest reading that proved it; `None` if a later one found damage.
    pub proven_secs: Option<u64>,
    /// That proof is by the VM that pushed it.
    pub is_by_pusher: bool,
}

/// Numbers of the packs that a verify reads, in the order of reading.
///
/// Half of the budget goes to the packs with the oldest proof, the other half to the packs without
/// a proof: first the packs that a reading can prove (never read before read, oldest first), then
/// the packs that were pushed less than a day ago. So a guest that writes much cannot starve old
/// packs. Each half may use what the other half leaves. The packs chosen have at most
/// `budget_bytes`, except that each half reads at least one pack, unless the budget is 0. A proof
/// ahead of `now_secs` does not count.
///
/// Takes O(p log p) steps and O(p) memory for p packs.
pub fn choose(packs: &[Readings], budget_bytes: u64, now_secs: u64) -> Vec<u64> {
    let is_proven = |pack: &&Readings| pack.proven_at(now_secs).is_some();
    let (mut proven, mut unproven): (Vec<&Readings>, Vec<&Readings>) =
        packs.iter().partition(is_proven);
    if budget_bytes == 0 {
        return Vec::new();
    }
    proven.sort_by_key(|pack| (pack.proven_secs, pack.number));
    unproven.sort_by_key(|pack| pack.turn(now_secs));
    let (mut proven, mut unproven) = (Queue::new(&proven), Queue::new(&unproven));
    proven.take(budget_bytes / 2);
    unproven.take(budget_bytes.saturating_sub(proven.taken_bytes));
    proven.take(budget_bytes.saturating_sub(unproven.taken_bytes));
    let chosen = proven.taken().iter().chain(unproven.taken());
    chosen.map(|pack| pack.number).collect()
}

impl Readings {
    fn proven_at(&self, now_secs: u64) -> Option<u64> {
        self.proven_secs.filter(|proven| *proven <= now_secs)
    }

    /// The place of a pack without a proof in the order of reading: whether it is too young to be
    /// proven, the newest reading that could have proven it, and its number. A reading that came
    /// too soon does not count: it would put the pack behind every pack that is pushed later.
    fn turn(&self, now_secs: u64) -> (bool, Option<u64>, u64) {
        let provable_secs = self.pushed_secs.saturating_add(PROOF_AFTER_SECS);
        let tried = self.read_secs.filter(|read| *read >= provable_secs);
        (provable_secs > now_secs, tried, self.number)
    }
}

/// Packs in the order in which they are read, of which the first are taken.
struct Queue<'a> {
    packs: &'a [&'a Readings],
    taken: usize,
    taken_bytes: u64,
}

impl<'a> Queue<'a> {
    fn new(packs: &'a [&'a Readings]) -> Self {
        Self {
            packs,
            taken: 0,
            taken_bytes: 0,
        }
    }

    /// Takes packs up to `most_bytes` altogether, and at least one.
    fn take(&mut self, most_bytes: u64) {
        while let Some(pack) = self.packs.get(self.taken) {
            let bytes = self.taken_bytes.saturating_add(pack.length_bytes);
            if bytes > most_bytes && self.taken > 0 {
                break;
            }
            self.taken_bytes = bytes;
            self.taken = self.taken.saturating_add(1);
        }
    }

    fn taken(&self) -> &'a [&'a Readings] {
        self.packs.get(..self.taken).unwrap_or_default()
    }
}

/// Proven share of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Length of the packs that are proven, bytes.
    pub proven_bytes: u64,
    /// Length of those among them that only the VM that pushed them has proven, bytes.
    pub by_pusher_bytes: u64,
    /// Length of all packs, bytes.
    pub total_bytes: u64,
    /// Age of the oldest pack that is not proven, since its push; `None` if all are.
    pub oldest_unproven: Option<Age>,
    /// Age of the oldest proof among the proven; `None` if there is none.
    pub oldest_proof: Option<Age>,
}

/// Sums up the packs that the head needs.
pub fn share(packs: &[Readings], now_secs: u64) -> Share {
    let mut share = Share {
        proven_bytes: 0,
        by_pusher_bytes: 0,
        total_bytes: 0,
        oldest_unproven: None,
        oldest_proof: None,
    };
    for pack in packs {
        share.total_bytes = share.total_bytes.saturating_add(pack.length_bytes);
        match pack.proven_at(now_secs) {
            Some(proven) => {
                share.proven_bytes = share.proven_bytes.saturating_add(pack.length_bytes);
                if pack.is_by_pusher {
                    share.by_pusher_bytes = share.by_pusher_bytes.saturating_add(pack.length_bytes);
                }
                let age = Age::of_kept(Some(proven), now_secs);
                share.oldest_proof = share.oldest_proof.max(Some(age));
            }
            None => {
                let age = Age::of_kept(Some(pack.pushed_secs), now_secs);
                share.oldest_unproven = share.oldest_unproven.max(Some(age));
            }
        }
    }
    share
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400;
    const NOW: u64 = 100 * DAY;

    fn pack(number: u64, read_day: Option<u64>, proven_day: Option<u64>) -> Readings {
        Readings {
            number,
            length_bytes: 10,
            pushed_secs: number * DAY,
            read_secs: read_day.map(|day| day * DAY),
            proven_secs: proven_day.map(|day| day * DAY),
            is_by_pusher: number == 1,
        }
    }

    #[test]
    fn a_reading_soon_after_the_push_proves_nothing_and_one_by_the_pusher_only_that_it_has_it() {
        let pushed = 10 * DAY;
        let (net, other) = (Some(&"net"), Some(&"other"));
        assert_eq!(proves(pushed + DAY, other, pushed, net), Proof::OfStore);
        assert_eq!(proves(pushed + DAY - 1, other, pushed, net), Proof::Nothing);
        assert_eq!(proves(pushed - 1, other, pushed, None), Proof::Nothing);
        assert_eq!(proves(pushed + 50 * DAY, net, pushed, net), Proof::ByPusher);
        assert_eq!(proves(pushed + DAY - 1, net, pushed, net), Proof::Nothing);
        assert_eq!(proves(pushed + DAY, None, pushed, net), Proof::OfStore);
        assert_eq!(proves(pushed + DAY, net, pushed, None), Proof::OfStore);
        let ended: Option<&&str> = None;
        assert_eq!(proves(pushed + DAY, ended, pushed, None), Proof::OfStore);
    }

    #[test]
    fn a_pack_that_a_reading_proves_comes_before_one_that_was_pushed_today() {
        let today = Readings {
            pushed_secs: NOW - 60,
            ..pack(1, None, None)
        };
        let read_too_soon = Readings {
            pushed_secs: 98 * DAY,
            ..pack(2, Some(98), None)
        };
        let found_damaged = pack(3, Some(90), None);
        let packs = [today, found_damaged, read_too_soon, pack(4, None, None)];
        assert_eq!(choose(&packs, 1000, NOW), [2, 4, 3, 1]);
    }

    #[test]
    fn half_of_the_budget_goes_to_the_oldest_proofs_and_half_to_what_was_never_read() {
        let packs = [
            pack(1, None, Some(50)),
            pack(2, None, Some(40)),
            pack(3, None, Some(60)),
            pack(4, Some(70), None),
            pack(5, None, None),
            pack(6, None, None),
            pack(7, Some(65), None),
        ];
        assert_eq!(choose(&packs, 40, NOW), [2, 1, 5, 6]);
        assert_eq!(choose(&packs, 60, NOW), [2, 1, 3, 5, 6, 7]);
        assert_eq!(choose(&packs, 1000, NOW), [2, 1, 3, 5, 6, 7, 4]);
        assert_eq!(choose(&packs, 0, NOW), []);
    }

    #[test]
    fn what_one_half_leaves_the_other_uses() {
        let proven: Vec<Readings> = (0..9).map(|one| pack(one, None, Some(one))).collect();
        assert_eq!(choose(&proven, 50, NOW), [0, 1, 2, 3, 4]);
        let unread: Vec<Readings> = (0..9).map(|one| pack(one, None, None)).collect();
        assert_eq!(choose(&unread, 50, NOW), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn a_budget_below_a_pack_still_reads_one_of_each_half() {
        let packs = [
            pack(1, None, Some(5)),
            pack(2, None, None),
            pack(3, None, None),
        ];
        assert_eq!(choose(&packs, 1, NOW), [1, 2]);
    }

    /// A guest that has ten new packs pushed a day, against a budget of four: the old ones are all
    /// proven again all the same.
    #[test]
    fn a_guest_that_writes_much_does_not_starve_the_old() {
        let mut packs: Vec<Readings> = (0..20).map(|one| pack(one, None, Some(0))).collect();
        for day in 1..=15 {
            let number = u64::try_from(packs.len()).unwrap();
            packs.extend((number..number + 10).map(|one| pack(one, None, None)));
            for chosen in choose(&packs, 40, day * DAY) {
                let place = usize::try_from(chosen).unwrap();
                packs[place].read_secs = Some(day * DAY);
                if chosen < 20 {
                    packs[place].proven_secs = Some(day * DAY);
                }
            }
        }
        assert!(packs[..20].iter().all(|pack| pack.proven_secs >= Some(DAY)));
    }

    #[test]
    fn the_share_proven_and_the_oldest_ages_are_summed_up() {
        let packs = [
            pack(2, None, Some(90)),
            pack(1, None, Some(50)),
            pack(60, None, None),
            pack(30, Some(40), None),
            pack(70, None, Some(101)),
        ];
        let share = share(&packs, NOW);
        assert_eq!((share.proven_bytes, share.total_bytes), (20, 50));
        assert_eq!(share.by_pusher_bytes, 10);
        assert_eq!(share.oldest_unproven, Some(Age::Secs(70 * DAY)));
        assert_eq!(share.oldest_proof, Some(Age::Secs(50 * DAY)));
        assert_eq!(super::share(&[], NOW).oldest_unproven, None);
        let ahead = super::share(&[pack(200, None, None)], NOW);
        assert_eq!(ahead.oldest_unproven, Some(Age::Never));
    }
}
