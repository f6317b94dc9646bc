// SPDX-License-Identifier: GPL-3.0-or-later
//! What was asked of the person while a command runs, and what of it is kept for a command that
//! begins anew.

use std::collections::{HashMap, VecDeque};
use std::os::fd::OwnedFd;

use wyng_control::Asked;
use zeroize::Zeroizing;

/// Numbers of passphrase questions; sources and targets count from 0.
const PASSPHRASE_ITEMS: u32 = 1 << 31;

/// A passphrase that was typed, and which one was asked for.
struct Typed {
    /// Which.
    asked: Asked,
    /// It.
    secret: Zeroizing<Vec<u8>>,
}

/// Passphrases of commands that may have to begin anew.
///
/// While a person types, others may want the daemon. Then the command gives its turn back: it ends
/// without effect, and begins anew when the passphrase is there. What was typed before is kept
/// until the command goes on to its work, so that nobody is asked twice.
#[derive(Default)]
pub(super) struct Prompts {
    next_item: u32,
    /// The command that runs.
    turn: u64,
    /// What was typed for it in this turn.
    typed: Vec<Typed>,
    /// What was typed for it in earlier turns, and is to be answered again.
    replayed: VecDeque<Typed>,
    /// What was typed after it gave its turn back.
    pipe: Option<OwnedFd>,
    /// The question which that answers.
    asked: Option<Asked>,
    /// What was typed for commands that wait for their turn, and what they were asking when they
    /// gave it back.
    waiting: HashMap<u64, (Vec<Typed>, Option<Asked>)>,
    /// The turn is given back, while this was asked; no passphrase, where it was a look at a
    /// target.
    given_back: Option<Option<Asked>>,
}

impl Prompts {
    /// A command begins, perhaps anew.
    pub(super) fn begin(&mut self, turn: u64, pipe: Option<OwnedFd>) {
        let (replayed, asked) = self.waiting.remove(&turn).unwrap_or_default();
        (
            self.turn,
            self.replayed,
            self.pipe,
            self.asked,
            self.given_back,
        ) = (turn, replayed.into(), pipe, asked, None);
        self.typed.clear();
    }

    /// The command has ended. What was typed is wiped, unless it begins anew.
    pub(super) fn end(&mut self) {
        let typed = std::mem::take(&mut self.typed);
        if let Some(asked) = self.given_back {
            self.waiting.insert(self.turn, (typed, asked));
        }
        self.replayed.clear();
        self.pipe = None;
    }

    /// The command goes on to its work, and needs no longer what was typed.
    pub(super) fn work_begins(&mut self) {
        self.typed.clear();
    }

    /// A command that waited for its turn does not begin anew.
    pub(super) fn abandon(&mut self, turn: u64) {
        self.waiting.remove(&turn);
    }

    /// The command ends without effect, to begin anew with the answer to what was asked.
    pub(super) fn give_back(&mut self, asked: Option<Asked>) {
        self.given_back = Some(asked);
    }

    /// Whether the turn is given back.
    pub(super) fn has_given_back(&self) -> bool {
        self.given_back.is_some()
    }

    /// The answer to the same question of an earlier turn.
    pub(super) fn typed_before(&mut self, asked: Asked) -> Option<Zeroizing<Vec<u8>>> {
        let typed = self.replayed.pop_front()?;
        if typed.asked == asked {
            return Some(self.keep(asked, typed.secret));
        }
        // It is not the question of the last time: nothing is taken for its answer.
        self.replayed.clear();
        self.pipe = None;
        None
    }

    /// The pipe of a passphrase that was typed after the turn was given back.
    pub(super) fn pipe_before(&mut self, asked: Asked) -> Option<OwnedFd> {
        self.pipe.take().filter(|_| self.asked == Some(asked))
    }

    /// The number of the next question.
    pub(super) fn take_item(&mut self) -> u32 {
        let item = self.next_item.max(PASSPHRASE_ITEMS);
        self.next_item = item.checked_add(1).unwrap_or(PASSPHRASE_ITEMS);
        item
    }

    /// Keeps what was typed until the command goes on to its work.
    pub(super) fn keep(&mut self, asked: Asked, secret: Zeroizing<Vec<u8>>) -> Zeroizing<Vec<u8>> {
        self.typed.push(Typed {
            asked,
            secret: secret.clone(),
        });
        secret
    }
}
