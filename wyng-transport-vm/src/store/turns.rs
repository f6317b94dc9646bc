// SPDX-License-Identifier: GPL-3.0-or-later
//! Two puts of one name in a call follow each other: a server may look and write later, and would
//! take both.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

use wyng_wire::BlobName;

/// The names that are being stored.
#[derive(Default)]
pub(super) struct Turns(Arc<Shared>);

#[derive(Default)]
struct Shared {
    names: Mutex<Vec<BlobName>>,
    changed: Condvar,
}

/// The right to store a blob of a name, until it is dropped.
pub(super) struct Turn {
    shared: Arc<Shared>,
    name: BlobName,
}

impl Turns {
    /// Waits until the put before has ended, if it has this name.
    pub(super) fn take(&self, name: &BlobName) -> Turn {
        let names = self.0.names.lock().unwrap_or_else(PoisonError::into_inner);
        let mut names = self
            .0
            .changed
            .wait_while(names, |names| names.contains(name))
            .unwrap_or_else(PoisonError::into_inner);
        names.push(*name);
        Turn {
            shared: Arc::clone(&self.0),
            name: *name,
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let names = &self.shared.names;
        let mut names = names.lock().unwrap_or_else(PoisonError::into_inner);
        names.retain(|name| *name != self.name);
        self.shared.changed.notify_all();
    }
}
