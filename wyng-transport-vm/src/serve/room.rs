// SPDX-License-Identifier: GPL-3.0-or-later
//! A bound on the bytes that are held at a time, in the order in which they come.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// Room for bytes. Whoever is alone may hold more than there is room for.
pub(super) struct Room {
    max_bytes: u64,
    held: Mutex<Held>,
    changed: Condvar,
}

#[derive(Default)]
struct Held {
    bytes: u64,
    is_closed: bool,
}

/// A part of the room, which is free again when this is dropped.
pub(super) struct Hold {
    room: Arc<Room>,
    bytes: u64,
}

impl Room {
    /// Room for this many bytes.
    pub(super) fn new(max_bytes: u64) -> Arc<Self> {
        Arc::new(Self {
            max_bytes,
            held: Mutex::default(),
            changed: Condvar::new(),
        })
    }

    /// Waits until these bytes fit, or nothing else is held. `None`: the room was closed.
    pub(super) fn hold(self: &Arc<Self>, bytes: u64) -> Option<Hold> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let mut held = self
            .changed
            .wait_while(held, |held| {
                let fits = held.bytes.saturating_add(bytes) <= self.max_bytes;
                !held.is_closed && held.bytes > 0 && !fits
            })
            .unwrap_or_else(PoisonError::into_inner);
        if held.is_closed {
            return None;
        }
        held.bytes = held.bytes.saturating_add(bytes);
        Some(Hold {
            room: Arc::clone(self),
            bytes,
        })
    }

    /// Wakes whoever waits: nothing will be free any more.
    pub(super) fn close(&self) {
        self.held
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_closed = true;
        self.changed.notify_all();
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut held = self
            .room
            .held
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        held.bytes = held.bytes.saturating_sub(self.bytes);
        self.room.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_waits_for_what_is_held_unless_it_is_alone() {
        let room = Room::new(10);
        let large = room.hold(100);
        assert!(large.is_some(), "it is alone");
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| room.hold(6));
            drop(large);
            let first = waiting.join().unwrap();
            let second = room.hold(4);
            assert!(first.is_some() && second.is_some());
            let closed = scope.spawn(|| room.hold(1).is_none());
            room.close();
            assert!(closed.join().unwrap());
        });
    }
}
