// SPDX-License-Identifier: GPL-3.0-or-later
//! The plug that every part of a world in memory hangs on: it counts their calls and is pulled at
//! one of them.

use std::cell::RefCell;
use std::rc::Rc;

/// What a world panics with when its last call is reached.
#[derive(Debug)]
pub struct Killed;

/// Counts calls, and ends the engine at the chosen one. Clones are the same plug.
#[derive(Debug, Clone, Default)]
pub struct Plug(Rc<RefCell<Counted>>);

#[derive(Debug, Default)]
struct Counted {
    calls: u64,
    /// The calls that changed anything that a kill could leave behind, or that the client hears.
    changing_calls: Vec<u64>,
    kill_at: Option<u64>,
    /// Receipts that were given since a file was last synced.
    unjournaled: usize,
}

impl Plug {
    /// From now on the `n`-th call is the last.
    pub fn pull_at(&self, n: u64) {
        let mut counted = self.0.borrow_mut();
        counted.kill_at = Some(counted.calls + n);
    }

    /// How many calls were made.
    pub fn calls(&self) -> u64 {
        self.0.borrow().calls
    }

    /// The numbers of the calls that changed something.
    pub fn changing_calls(&self) -> Vec<u64> {
        self.0.borrow().changing_calls.clone()
    }

    /// A call.
    pub fn step(&self) {
        let is_last = {
            let mut counted = self.0.borrow_mut();
            counted.calls += 1;
            counted.kill_at == Some(counted.calls)
        };
        if is_last {
            self.pull();
        }
    }

    /// A call that changes something.
    pub fn change(&self) {
        self.step();
        let mut counted = self.0.borrow_mut();
        let call = counted.calls;
        counted.changing_calls.push(call);
    }

    /// Ends the world now.
    pub fn pull(&self) -> ! {
        std::panic::panic_any(Killed)
    }

    /// A receipt was given.
    pub fn note_receipt(&self) {
        self.0.borrow_mut().unjournaled += 1;
    }

    /// A file was synced.
    pub fn note_sync(&self) {
        self.0.borrow_mut().unjournaled = 0;
    }

    /// How many receipts were given since a file was last synced.
    pub fn unjournaled(&self) -> usize {
        self.0.borrow().unjournaled
    }
}
