// SPDX-License-Identifier: GPL-3.0-or-later
//! The DELETEs of a call and their answers, in the order of their numbers. It does no I/O.

use std::collections::VecDeque;

use wyng_control::Failure;

use crate::ipc::DeleteAnswer;

/// The prune of a command.
#[derive(Default)]
pub(super) struct Prune {
    /// Number of the last DELETE.
    sent: u64,
    /// Number of the last DELETE that was answered.
    answered: u64,
    /// Answers that were not taken yet.
    answers: VecDeque<DeleteAnswer>,
}

impl Prune {
    /// Numbers the next DELETE.
    pub(super) fn next(&mut self) -> u64 {
        self.sent = self.sent.saturating_add(1);
        self.sent
    }

    /// The oldest answer that was not taken yet.
    pub(super) fn take_answer(&mut self) -> Option<DeleteAnswer> {
        self.answers.pop_front()
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
        for _ in first..=last {
            self.answers.push_back(answer);
        }
        self.answered = last;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_settle_deletes_in_order_and_none_that_was_not_sent() {
        let mut prune = Prune::default();
        assert_eq!([prune.next(), prune.next(), prune.next()], [1, 2, 3]);
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
}
