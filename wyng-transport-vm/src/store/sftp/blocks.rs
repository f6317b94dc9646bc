// SPDX-License-Identifier: GPL-3.0-or-later
//! Reading a file of the server by blocks, of which many are on their way at the same time, and
//! blobs that stay open.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use wyng_wire::BlobName;

use super::connection::{Fault, Handle, Lost, Ticket};
use super::packet::{BLOCK_BYTES, Code};
use super::places::known;
use super::server::Server;

/// Maximum number of blocks that are read ahead, by all readers of a call together: twice what ssh
/// has on its way at most, so that the server never waits for a request. The server answers one
/// request after the other, so a longer queue would only hold up what opens the next blob. Each
/// reader may have two, whatever the others have.
const BLOCKS_MAX: usize = 128;
const BLOCKS_OF_EACH: usize = 2;
/// Maximum number of blocks of one reader beside others. A reader that had them all would leave the
/// link idle at its end, until the others hear of it.
const BLOCKS_OF_ONE: usize = 16;

/// Maximum number of blobs that stay open, of which ranges are read in turns.
const BLOBS_MAX: usize = 16;

/// Blobs that were opened last, and their lengths.
#[derive(Default)]
pub(super) struct OpenBlobs(Mutex<VecDeque<(BlobName, Arc<Handle>, u64)>>);

impl OpenBlobs {
    pub(super) fn find(&self, name: &BlobName) -> Option<(Arc<Handle>, u64)> {
        let blobs = known(&self.0);
        let found = blobs.iter().find(|(known, ..)| known == name);
        found.map(|(_, file, length_bytes)| (Arc::clone(file), *length_bytes))
    }

    pub(super) fn keep(&self, name: &BlobName, file: &Arc<Handle>, length_bytes: u64) {
        let mut blobs = known(&self.0);
        blobs.push_back((*name, Arc::clone(file), length_bytes));
        if blobs.len() > BLOBS_MAX {
            blobs.pop_front();
        }
    }
}

/// Blocks that are on their way to all readers of a call.
#[derive(Clone, Default)]
pub(super) struct Queue(Arc<AtomicUsize>);

/// A place in the queue.
struct Queued(Queue);

impl Queue {
    fn has_room(&self) -> bool {
        self.0.load(Ordering::SeqCst) < BLOCKS_MAX
    }

    fn enter(&self) -> Queued {
        self.0.fetch_add(1, Ordering::SeqCst);
        Queued(self.clone())
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A block that was asked for.
struct Asked {
    at: u64,
    length_bytes: u32,
    ticket: Ticket,
    _queued: Queued,
}

/// Blocks of one file that were asked for, in their order and without gaps.
pub(super) struct Blocks {
    queue: Queue,
    /// Maximum number of blocks on their way.
    own_max: usize,
    asked: VecDeque<Asked>,
    /// Where the next block begins, bytes.
    next_bytes: u64,
    /// End of the range that is wanted, bytes.
    end_bytes: u64,
}

impl Blocks {
    /// Blocks of a reader beside others.
    pub(super) fn beside(queue: &Queue) -> Self {
        Self::of(queue.clone(), BLOCKS_OF_ONE)
    }

    /// Blocks of a reader that is alone.
    pub(super) fn alone() -> Self {
        Self::of(Queue::default(), BLOCKS_MAX)
    }

    fn of(queue: Queue, own_max: usize) -> Self {
        Self {
            queue,
            own_max,
            asked: VecDeque::new(),
            next_bytes: 0,
            end_bytes: 0,
        }
    }

    fn may_ask(&self) -> bool {
        let own = self.asked.len();
        let has_room = own < self.own_max && self.queue.has_room();
        self.next_bytes < self.end_bytes && (own < BLOCKS_OF_EACH || has_room)
    }

    /// Asks for blocks from `offset_bytes` on, as far as the range goes and the window allows. What
    /// was asked for at another place is forgotten.
    pub(super) fn ask(
        &mut self,
        server: &Server,
        file: &Handle,
        offset_bytes: u64,
        length_bytes: u64,
    ) -> Result<(), Fault> {
        if self
            .asked
            .front()
            .is_none_or(|asked| asked.at != offset_bytes)
        {
            self.asked.clear();
            self.next_bytes = offset_bytes;
        }
        self.end_bytes = offset_bytes.saturating_add(length_bytes);
        self.ask_further(server, file)
    }

    fn ask_further(&mut self, server: &Server, file: &Handle) -> Result<(), Fault> {
        while self.may_ask() {
            let left_bytes = self.end_bytes.saturating_sub(self.next_bytes);
            let length_bytes =
                u32::try_from(left_bytes).map_or(BLOCK_BYTES, |left| left.min(BLOCK_BYTES));
            let ticket = server.read(file, self.next_bytes, length_bytes)?;
            self.asked.push_back(Asked {
                at: self.next_bytes,
                length_bytes,
                ticket,
                _queued: self.queue.enter(),
            });
            self.next_bytes = self.next_bytes.saturating_add(length_bytes.into());
        }
        Ok(())
    }

    /// Takes the blocks that fit into `room`, and returns the number of bytes: 0 at the end of the
    /// file. An error behind the first block is that of the next call.
    pub(super) fn fill(
        &mut self,
        server: &Server,
        file: &Handle,
        room: &mut [u8],
    ) -> Result<usize, Fault> {
        let mut filled = 0_usize;
        while let Some(asked) = self.asked.pop_front() {
            let length = asked.length_bytes as usize;
            let Some(place) = room.get_mut(filled..filled.saturating_add(length)) else {
                self.asked.push_front(asked);
                break;
            };
            let count = match asked.ticket.data() {
                Ok(bytes) => {
                    let Some(place) = place.get_mut(..bytes.len()) else {
                        return Err(server.connection.give_up(Lost::Nonsense));
                    };
                    place.copy_from_slice(&bytes);
                    bytes.len()
                }
                Err(fault) if fault.is(Code::EndOfFile) => 0,
                Err(Fault::Status(_)) if filled > 0 => 0,
                Err(fault) => {
                    self.asked.clear();
                    return Err(fault);
                }
            };
            filled = filled.saturating_add(count);
            if count < length {
                // The rest is asked for again, or the file ends here.
                self.asked.clear();
                break;
            }
            self.ask_further(server, file)?;
        }
        Ok(filled)
    }
}
