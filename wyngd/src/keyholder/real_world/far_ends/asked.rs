// SPDX-License-Identifier: GPL-3.0-or-later
//! The DELETEs or RENEWs of a call and their answers, in the order in which they were asked for,
//! also where one had to be signed and sent again. It does no I/O.

use std::collections::VecDeque;

use wyng_control::Failure;

/// What a command asks of one call: each thing `D` is answered by an `A`.
pub(super) struct Asked<D, A> {
    /// Number of the last one on the pipe.
    sent: u64,
    /// Number of the last one on the pipe that was answered.
    answered: u64,
    /// Those whose answers were not taken yet.
    waiting: VecDeque<Waiting<D, A>>,
}

struct Waiting<D, A> {
    asked: D,
    /// Its number on the pipe.
    number: u64,
    /// How often it was signed again.
    again: u8,
    answer: Option<A>,
}

impl<D, A> Default for Asked<D, A> {
    fn default() -> Self {
        Self {
            sent: 0,
            answered: 0,
            waiting: VecDeque::new(),
        }
    }
}

impl<D: Copy, A: Copy> Asked<D, A> {
    /// Whether nothing waits for its answer to be taken.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Numbers the next one.
    pub(super) fn next(&mut self, asked: D) -> u64 {
        self.sent = self.sent.saturating_add(1);
        self.waiting.push_back(Waiting {
            asked,
            number: self.sent,
            again: 0,
            answer: None,
        });
        self.sent
    }

    /// The answer to the oldest one, if it is there.
    pub(super) fn take_answer(&mut self) -> Option<A> {
        let answer = self.waiting.front()?.answer?;
        self.waiting.pop_front();
        Some(answer)
    }

    /// Those with the numbers `first..=last` have this answer. Answers come in the order of the numbers;
    /// anything else is [`Failure::FarEndProtocol`].
    pub(super) fn settle(&mut self, first: u64, last: u64, answer: A) -> Result<(), Failure> {
        if self.answered.checked_add(1) != Some(first) || last < first || last > self.sent {
            return Err(Failure::FarEndProtocol);
        }
        let settled = self.waiting.iter_mut();
        settled
            .filter(|waiting| (first..=last).contains(&waiting.number))
            .for_each(|waiting| waiting.answer = Some(answer));
        self.answered = last;
        Ok(())
    }

    /// The time of the signature of this one was refused, as `expired` says: what was asked, and the
    /// number under which it is sent again. `None` if that was done `max` times already.
    pub(super) fn ask_again(
        &mut self,
        number: u64,
        max: u8,
        expired: A,
    ) -> Result<Option<(D, u64)>, Failure> {
        self.settle(number, number, expired)?;
        let mut waiting = self.waiting.iter_mut();
        let again = waiting
            .find(|waiting| waiting.number == number)
            .ok_or(Failure::FarEndProtocol)?;
        if again.again >= max {
            return Ok(None);
        }
        self.sent = self.sent.saturating_add(1);
        again.again = again.again.saturating_add(1);
        (again.number, again.answer) = (self.sent, None);
        Ok(Some((again.asked, self.sent)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipc::DeleteAnswer;

    const EXPIRED: DeleteAnswer = DeleteAnswer::Expired;

    #[test]
    fn answers_settle_deletes_in_order_and_none_that_was_not_sent() {
        let mut prune = Asked::default();
        let numbers = [prune.next('a'), prune.next('b'), prune.next('c')];
        assert_eq!(numbers, [1, 2, 3]);
        let unexpected = Err(Failure::FarEndProtocol);
        for (first, last) in [(2, 2), (1, 4), (0, 1), (1, 0)] {
            let settled = prune.settle(first, last, DeleteAnswer::Deleted);
            assert_eq!(settled, unexpected, "{first} to {last}");
        }
        assert_eq!(prune.settle(1, 2, DeleteAnswer::Deleted), Ok(()));
        assert_eq!(prune.settle(2, 3, DeleteAnswer::Absent), unexpected);
        assert_eq!(prune.settle(3, 3, DeleteAnswer::Absent), Ok(()));
        let answers: Vec<_> = std::iter::from_fn(|| prune.take_answer()).collect();
        let deleted = DeleteAnswer::Deleted;
        assert_eq!(answers, [deleted, deleted, DeleteAnswer::Absent]);
    }

    #[test]
    fn a_delete_that_is_signed_again_keeps_its_place_among_the_answers() {
        let mut prune = Asked::default();
        assert_eq!([prune.next('a'), prune.next('b')], [1, 2]);
        assert_eq!(prune.ask_again(1, 3, EXPIRED), Ok(Some(('a', 3))));
        assert_eq!(prune.settle(2, 2, DeleteAnswer::Absent), Ok(()));
        assert_eq!(prune.take_answer(), None, "the first is not answered");
        assert_eq!(prune.ask_again(3, 3, EXPIRED), Ok(Some(('a', 4))));
        assert_eq!(prune.ask_again(4, 3, EXPIRED), Ok(Some(('a', 5))));
        assert_eq!(
            prune.ask_again(5, 3, EXPIRED),
            Ok(None),
            "three times, and no more"
        );
        let mut prune = Asked::default();
        assert_eq!([prune.next('a'), prune.next('b')], [1, 2]);
        assert_eq!(prune.ask_again(1, 3, EXPIRED), Ok(Some(('a', 3))));
        assert_eq!(prune.settle(2, 3, DeleteAnswer::Deleted), Ok(()));
        let deleted = Some(DeleteAnswer::Deleted);
        let answers = [
            prune.take_answer(),
            prune.take_answer(),
            prune.take_answer(),
        ];
        assert_eq!(answers, [deleted, deleted, None]);
    }
}
