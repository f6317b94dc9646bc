// SPDX-License-Identifier: GPL-3.0-or-later
//! What the person is asked while a command runs, and which answers are kept for a command that
//! begins anew.

use std::collections::{HashMap, VecDeque};
use std::os::fd::OwnedFd;

use wyng_control::Asked;
use zeroize::Zeroizing;

/// The first number of a passphrase prompt; sources and targets count from 0.
const PASSPHRASE_ITEMS: u32 = 1 << 31;

/// A passphrase that was typed, and the prompt that it answers.
struct Typed {
    /// The prompt.
    asked: Asked,
    /// The passphrase.
    secret: Zeroizing<Vec<u8>>,
}

/// Passphrases of commands that may have to begin anew.
///
/// While a person types, other commands may wait for the daemon. Then the command gives its turn
/// back: it ends without effect, and begins anew when the passphrase is there. What was typed
/// before is kept until the command goes on to its work, so that nobody is asked twice.
#[derive(Default)]
pub(super) struct Prompts {
    next_item: u32,
    /// The turn of the command that runs.
    turn: u64,
    /// What was typed for the command in this turn.
    typed: Vec<Typed>,
    /// What was typed for the command in earlier turns, and answers the same prompts again.
    replayed: VecDeque<Typed>,
    /// The pipe with what was typed after the command gave its turn back.
    pipe: Option<OwnedFd>,
    /// The prompt that the pipe answers.
    asked: Option<Asked>,
    /// What was typed for commands that wait for their turn, and the prompt at which each gave its
    /// turn back.
    waiting: HashMap<u64, (Vec<Typed>, Option<Asked>)>,
    /// The turn is given back, at this prompt for a passphrase; `Some(None)`: at a look at a
    /// target.
    given_back: Option<Option<Asked>>,
}

impl Prompts {
    /// Begins a command, perhaps anew.
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

    /// Ends the command. What was typed is wiped, unless the command begins anew.
    pub(super) fn end(&mut self) {
        let typed = std::mem::take(&mut self.typed);
        if let Some(asked) = self.given_back {
            self.waiting.insert(self.turn, (typed, asked));
        }
        self.replayed.clear();
        self.pipe = None;
    }

    /// Wipes what was typed: the command goes on to its work, and needs it no longer.
    pub(super) fn work_begins(&mut self) {
        self.typed.clear();
    }

    /// Wipes what was typed for a command that waited for its turn and does not begin anew.
    pub(super) fn abandon(&mut self, turn: u64) {
        self.waiting.remove(&turn);
    }

    /// Notes that the command ends without effect, to begin anew with the answer to the prompt.
    pub(super) fn give_back(&mut self, asked: Option<Asked>) {
        self.given_back = Some(asked);
    }

    /// Whether the turn is given back.
    pub(super) fn has_given_back(&self) -> bool {
        self.given_back.is_some()
    }

    /// The answer to the same prompt of an earlier turn.
    pub(super) fn typed_before(&mut self, asked: Asked) -> Option<Zeroizing<Vec<u8>>> {
        let typed = self.replayed.pop_front()?;
        if typed.asked == asked {
            return Some(self.keep(asked, typed.secret));
        }
        // The prompts differ from those of the earlier turn: nothing that was typed answers them.
        self.replayed.clear();
        self.pipe = None;
        None
    }

    /// The pipe of a passphrase that was typed after the turn was given back.
    pub(super) fn pipe_before(&mut self, asked: Asked) -> Option<OwnedFd> {
        self.pipe.take().filter(|_| self.asked == Some(asked))
    }

    /// The number of the next prompt.
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
