// SPDX-License-Identifier: GPL-3.0-or-later
//! The DELETEs of a call and their answers, in the order in which they were asked for, also where
//! one had to be signed and sent again. It does no I/O.

use std::collections::VecDeque;

use wyng_control::Failure;

use crate::ipc::DeleteAnswer;

/// The prune of a command.
pub(super) struct Prune<D> {
    /// Number of the last DELETE on the pipe.
    sent: u64,
    /// Number of the last DELETE on the pipe that was answered.
    answered: u64,
    /// The DELETEs whose answers were not taken yet.
    waiting: VecDeque<Waiting<D>>,
}

struct Waiting<D> {
    doomed: D,
    /// Its number on the pipe.
    number: u64,
    /// How often it was signed again.
    again: u8,
    answer: Option<DeleteAnswer>,
}

impl<D> Default for Prune<D> {
    fn default() -> Self {
        Self {
            sent: 0,
            answered: 0,
            waiting: VecDeque::new(),
        }
    }
}

impl<D: Copy> Prune<D> {
    /// Numbers the next DELETE.
    pub(super) fn next(&mut self, doomed: D) -> u64 {
        self.sent = self.sent.saturating_add(1);
        self.waiting.push_back(Waiting {
            doomed,
            number: self.sent,
            again: 0,
            answer: None,
        });
        self.sent
    }

    /// The answer to the oldest DELETE, if it is there.
    pub(super) fn take_answer(&mut self) -> Option<DeleteAnswer> {
        let answer = self.waiting.front()?.answer?;
        self.waiting.pop_front();
        Some(answer)
    }

    /// The DELETEs `first..=last` have this answer. Answers come in the order of the numbers;
    /// anything else is [`Failure::FarEndProtocol`].
    pub(super) fn settle(
        &mut self,
        first: u64,
        last: u64,
        answer: DeleteAnswer,
    ) -> Result<(), Failure> {
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

    /// The time of the signature of this DELETE was refused: its name, and the number under which it
    /// is sent again. `None` if that was done `max` times already.
    pub(super) fn ask_again(&mut self, number: u64, max: u8) -> Result<Option<(D, u64)>, Failure> {
        self.settle(number, number, DeleteAnswer::Expired)?;
        let mut waiting = self.waiting.iter_mut();
        let expired = waiting
            .find(|waiting| waiting.number == number)
            .ok_or(Failure::FarEndProtocol)?;
        if expired.again >= max {
            return Ok(None);
        }
        self.sent = self.sent.saturating_add(1);
        expired.again = expired.again.saturating_add(1);
        (expired.number, expired.answer) = (self.sent, None);
        Ok(Some((expired.doomed, self.sent)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_settle_deletes_in_order_and_none_that_was_not_sent() {
        let mut prune = Prune::default();
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
        let mut prune = Prune::default();
        assert_eq!([prune.next('a'), prune.next('b')], [1, 2]);
        assert_eq!(prune.ask_again(1, 3), Ok(Some(('a', 3))));
        assert_eq!(prune.settle(2, 2, DeleteAnswer::Absent), Ok(()));
        assert_eq!(prune.take_answer(), None, "the first is not answered");
        assert_eq!(prune.ask_again(3, 3), Ok(Some(('a', 4))));
        assert_eq!(prune.ask_again(4, 3), Ok(Some(('a', 5))));
        assert_eq!(prune.ask_again(5, 3), Ok(None), "three times, and no more");
        let mut prune = Prune::default();
        assert_eq!([prune.next('a'), prune.next('b')], [1, 2]);
        assert_eq!(prune.ask_again(1, 3), Ok(Some(('a', 3))));
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
