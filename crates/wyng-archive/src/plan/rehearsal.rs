// SPDX-License-Identifier: GPL-3.0-or-later
//! Selects the session that a rehearsal restores. It restores nothing, and draws no random number.

use std::cmp::Reverse;

/// Numbers of the sessions of a volume from which a rehearsal draws, newest first, in classes of
/// age: the newest, the next two, the next four and so on. A rehearsal draws a class and then a
/// session, so that a session of each age has its turn although most are young.
fn classes(sessions: &[u64]) -> Vec<Vec<u64>> {
    let mut sessions = sessions.to_vec();
    sessions.sort_unstable_by_key(|number| Reverse(*number));
    let (mut classes, mut left) = (Vec::new(), sessions.as_slice());
    let mut size = 1_usize;
    while !left.is_empty() {
        let (class, rest) = left.split_at(size.min(left.len()));
        classes.push(class.to_vec());
        left = rest;
        size = size.saturating_mul(2);
    }
    classes
}

/// The session that a rehearsal restores, by its number: drawn from `sessions`, the sound ones of a
/// volume, with two random numbers. `None` if there is none.
pub fn rehearse(sessions: &[u64], random: [u64; 2]) -> Option<u64> {
    let [of_class, of_session] = random;
    let classes = classes(sessions);
    draw(draw(&classes, of_class)?, of_session).copied()
}

fn draw<T>(from: &[T], random: u64) -> Option<&T> {
    let place = random.checked_rem(u64::try_from(from.len()).ok()?)?;
    from.get(usize::try_from(place).ok()?)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_session_of_each_age_has_its_turn() {
        let sessions: Vec<u64> = (100..200).collect();
        let mut drawn: BTreeMap<u64, u32> = BTreeMap::new();
        for class in 0..70 {
            for session in 0..64 {
                let number = rehearse(&sessions, [class, session]).unwrap();
                *drawn.entry(number).or_default() += 1;
            }
        }
        assert_eq!(drawn.len(), sessions.len(), "each of them is drawn");
        let of_old: u32 = drawn.range(..137).map(|(_, count)| *count).sum();
        assert_eq!(
            of_old,
            70 * 64 / 7,
            "the oldest third is one class of seven"
        );
        assert_eq!(drawn[&199], 70 * 64 / 7, "and so is the newest");
    }

    #[test]
    fn a_volume_without_a_sound_session_has_none_to_restore() {
        assert_eq!(rehearse(&[], [3, 4]), None);
        assert_eq!(rehearse(&[8], [u64::MAX, u64::MAX]), Some(8));
    }
}
