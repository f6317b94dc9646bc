// SPDX-License-Identifier: GPL-3.0-or-later
//! What was put in a push and is not acknowledged yet: enough to send it once more. It talks to
//! nobody.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;

use wyng_control::Failure;

use crate::ipc::PutAnswer;
use wyng_engine::world::{Place, Reserve};

/// The push of a command. Numbers of PUTs count on though its call is begun anew; on the pipe they
/// count from 1 in each call.
#[derive(Default)]
pub(super) struct Push {
    /// The last PUT.
    pub number: u64,
    /// The last PUT on the pipe of this call.
    on_the_pipe: u64,
    /// The last one that was answered.
    answered: u64,
    /// Blobs that were put and are not settled, in the order of their numbers. One may have its
    /// answer already, if a blob before it was signed and sent again.
    pub unsettled: VecDeque<Sent>,
    /// Receipts that nobody asked for yet.
    pub receipts: VecDeque<Settled>,
    /// The blob of the last receipt that was asked for, if the store did not take it.
    pub returned: Option<Sent>,
    /// Nothing was put since the transport was asked to settle everything.
    pub synced: bool,
    /// Nothing more will be put.
    pub ended: bool,
    /// How to begin anew, where that makes sense.
    pub again: Option<Again>,
    /// Peak of the bytes of unsettled blobs.
    pub unsettled_peak_bytes: u64,
}

/// A blob that was put and is not settled.
pub(super) struct Sent {
    /// The number of its PUT.
    pub number: u64,
    /// The number on the pipe of this call.
    pub on_the_pipe: u64,
    /// Its name.
    pub name: [u8; 32],
    /// Its length.
    pub length_bytes: u32,
    /// Whether it may take the store's reserve.
    pub reserve: Reserve,
    /// The pages that are on their way; it may have to be sent again.
    pub file: OwnedFd,
    /// SHA-256 of its bytes, where its request is signed.
    pub sha256: Option<[u8; 32]>,
    /// How often its request was signed again.
    pub again: u8,
    /// The answer to its PUT.
    pub answer: Option<PutAnswer>,
}

/// A PUT that has its receipt.
pub(super) struct Settled {
    /// Its number.
    pub number: u64,
    /// What became of the blob.
    pub answer: PutAnswer,
    /// The blob, if the store did not take it because its name was taken.
    pub returned: Option<Sent>,
}

/// A call that may be begun anew.
#[derive(Clone)]
pub(super) struct Again {
    /// The store and its far end.
    pub place: Place,
    /// The call is the second or a later one, and nothing was settled in it.
    pub fruitless: bool,
}

impl Push {
    /// Bytes of blobs that are not settled.
    pub(super) fn unsettled_bytes(&self) -> u64 {
        self.unsettled.iter().fold(0, |sum: u64, sent| {
            sum.saturating_add(u64::from(sent.length_bytes))
        })
    }

    /// A push begins, or none is left.
    pub(super) fn begin(&mut self, again: Option<Again>) {
        *self = Self {
            unsettled_peak_bytes: self.unsettled_peak_bytes,
            again,
            ..Self::default()
        };
    }

    /// A blob was put.
    pub(super) fn note_sent(&mut self, sent: Sent) {
        self.number = sent.number;
        self.unsettled.push_back(sent);
        self.unsettled_peak_bytes = self.unsettled_peak_bytes.max(self.unsettled_bytes());
        self.synced = false;
    }

    /// Numbers the next PUT on the pipe.
    pub(super) fn next_on_the_pipe(&mut self) -> u64 {
        self.on_the_pipe = self.on_the_pipe.saturating_add(1);
        self.on_the_pipe
    }

    /// Another call takes over all that is not answered; on its pipe the numbers begin at 1 again.
    pub(super) fn begin_call(&mut self) {
        self.synced = false;
        (self.on_the_pipe, self.answered) = (0, 0);
        for sent in self
            .unsettled
            .iter_mut()
            .filter(|sent| sent.answer.is_none())
        {
            self.on_the_pipe = self.on_the_pipe.saturating_add(1);
            sent.on_the_pipe = self.on_the_pipe;
        }
    }

    /// The time of the signature of this PUT was refused: it is to be sent under a new number.
    /// `None` if that was done `max` times already; [`Failure::FarEndProtocol`] if it was not
    /// signed, or is not the one that is answered next.
    pub(super) fn send_again(&mut self, number: u64, max: u8) -> Result<Option<&Sent>, Failure> {
        let next = self.next_on_the_pipe();
        self.synced = false;
        let sent = self.answered(number)?;
        if sent.sha256.is_none() {
            return Err(Failure::FarEndProtocol);
        }
        if sent.again >= max {
            return Ok(None);
        }
        sent.again = sent.again.saturating_add(1);
        sent.on_the_pipe = next;
        Ok(Some(sent))
    }

    /// The PUT with this number on the pipe, which is answered next.
    fn answered(&mut self, number: u64) -> Result<&mut Sent, Failure> {
        if self.answered.checked_add(1) != Some(number) {
            return Err(Failure::FarEndProtocol);
        }
        self.answered = number;
        let mut unsettled = self.unsettled.iter_mut();
        unsettled
            .find(|sent| sent.answer.is_none() && sent.on_the_pipe == number)
            .ok_or(Failure::FarEndProtocol)
    }

    /// The PUTs `first..=last` of this call ended with `answer`. Receipts come in the order of the
    /// numbers; anything else is [`Failure::FarEndProtocol`].
    pub(super) fn settle(
        &mut self,
        first: u64,
        last: u64,
        answer: PutAnswer,
    ) -> Result<(), Failure> {
        for number in first..=last {
            self.answered(number)?.answer = Some(answer);
        }
        while let Some(answer) = self.unsettled.front().and_then(|sent| sent.answer) {
            let Some(sent) = self.unsettled.pop_front() else {
                break;
            };
            let is_taken = matches!(
                answer,
                PutAnswer::ExistsDifferent | PutAnswer::ExistsUnknown
            );
            self.receipts.push_back(Settled {
                number: sent.number,
                answer,
                returned: is_taken.then_some(sent),
            });
        }
        if let Some(again) = &mut self.again {
            again.fruitless = false;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push_of(count: u64) -> Push {
        let mut push = Push::default();
        for number in 1..=count {
            let on_the_pipe = push.next_on_the_pipe();
            push.note_sent(Sent {
                number,
                on_the_pipe,
                name: [0; 32],
                length_bytes: 10,
                reserve: Reserve::Untouched,
                file: std::fs::File::open("/dev/null").unwrap().into(),
                sha256: Some([0; 32]),
                again: 0,
                answer: None,
            });
        }
        push
    }

    #[test]
    fn receipts_settle_blobs_in_order_and_nothing_else() {
        let mut push = push_of(3);
        assert_eq!(
            push.settle(2, 2, PutAnswer::Stored),
            Err(Failure::FarEndProtocol)
        );
        let mut push = push_of(3);
        push.settle(1, 2, PutAnswer::Stored).unwrap();
        assert_eq!(push.unsettled_bytes(), 10);
        assert_eq!(
            push.settle(3, 4, PutAnswer::Stored),
            Err(Failure::FarEndProtocol)
        );
    }

    #[test]
    fn a_call_that_takes_over_counts_from_one() {
        let mut push = push_of(3);
        push.settle(1, 1, PutAnswer::Stored).unwrap();
        push.begin_call();
        push.settle(1, 2, PutAnswer::ExistsSame).unwrap();
        let numbers: Vec<u64> = push.receipts.iter().map(|receipt| receipt.number).collect();
        assert_eq!(numbers, [1, 2, 3]);
        assert_eq!(push.unsettled_bytes(), 0);
    }

    #[test]
    fn a_blob_that_is_signed_again_keeps_its_place_among_the_receipts() {
        let mut push = push_of(3);
        let again = |push: &mut Push, number| {
            let sent = push.send_again(number, 3);
            sent.map(|sent| sent.map(|sent| (sent.number, sent.on_the_pipe)))
        };
        assert_eq!(again(&mut push, 1), Ok(Some((1, 4))));
        push.settle(2, 3, PutAnswer::Stored).unwrap();
        assert!(push.receipts.is_empty(), "the first has no receipt");
        assert_eq!(again(&mut push, 4), Ok(Some((1, 5))));
        push.settle(5, 5, PutAnswer::ExistsUnknown).unwrap();
        let receipts: Vec<_> = push
            .receipts
            .iter()
            .map(|one| (one.number, one.answer))
            .collect();
        let stored = PutAnswer::Stored;
        assert_eq!(
            receipts,
            [(1, PutAnswer::ExistsUnknown), (2, stored), (3, stored)]
        );

        let mut push = push_of(1);
        for number in 1..=3 {
            assert_eq!(again(&mut push, number), Ok(Some((1, number + 1))));
        }
        assert_eq!(again(&mut push, 4), Ok(None), "three times, and no more");
        let mut push = push_of(1);
        push.unsettled[0].sha256 = None;
        let refused = again(&mut push, 1);
        assert_eq!(refused, Err(Failure::FarEndProtocol), "it was not signed");
    }

    #[test]
    fn a_call_that_takes_over_sends_what_has_no_answer() {
        let mut push = push_of(3);
        assert!(push.send_again(1, 3).unwrap().is_some());
        push.settle(2, 2, PutAnswer::Stored).unwrap();
        push.begin_call();
        push.settle(1, 2, PutAnswer::ExistsSame).unwrap();
        let receipts: Vec<_> = push
            .receipts
            .iter()
            .map(|one| (one.number, one.answer))
            .collect();
        let same = PutAnswer::ExistsSame;
        assert_eq!(receipts, [(1, same), (2, PutAnswer::Stored), (3, same)]);
    }

    #[test]
    fn a_blob_whose_name_was_taken_comes_back_with_its_receipt() {
        let mut push = push_of(2);
        push.settle(1, 1, PutAnswer::ExistsDifferent).unwrap();
        push.settle(2, 2, PutAnswer::Stored).unwrap();
        let returned: Vec<bool> = push
            .receipts
            .iter()
            .map(|receipt| receipt.returned.is_some())
            .collect();
        assert_eq!(returned, [true, false]);
    }
}
