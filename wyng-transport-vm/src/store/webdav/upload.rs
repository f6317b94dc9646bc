// SPDX-License-Identifier: GPL-3.0-or-later
//! Storing a blob if its name is free: sent under a name of its own, then moved. Whatever has the
//! name already is read back and compared.

use std::sync::Arc;

use hyper::body::Bytes;
use rustix::io::Errno;
use wyng_wire::{BlobName, WINDOW_BYTES};

use super::Webdav;
use super::folder::{Ask, Folder, incoming_path_of, path_of};
use crate::net::{Faced, Patience, is_passing, retry_after};
use crate::store::buffered::Buffered;
use crate::store::{NETWORK_BODIES_AT_ONCE, Placed, Push, Reserve, StoreError};

const STORING: &str = "store a blob";
const NAMING: &str = "name a blob";
const COMPARING: &str = "compare a blob";
/// How often a name is taken at one moment and free at the next.
const TRIES_MAX: u32 = 4;

impl Push for Webdav {
    type Upload = Buffered;

    const BODIES_AT_ONCE: usize = NETWORK_BODIES_AT_ONCE;

    fn begin(
        &self,
        name: &BlobName,
        length_bytes: u32,
        _: Reserve,
    ) -> Result<Buffered, StoreError> {
        let (folder, name) = (Arc::clone(&self.folder), *name);
        let handle = self.network.handle();
        let turn = self.turns.take(&name);
        Buffered::new(self.network.handle(), length_bytes, move |body| {
            handle.spawn(async move {
                let _turn = turn;
                folder.put(&name, body).await
            })
        })
    }
}

/// What a MOVE came to.
enum Moved {
    Done,
    /// The name is taken, or an earlier try has given it.
    Taken,
    /// What was to be moved is gone.
    SourceGone,
}

impl Folder {
    async fn put(&self, name: &BlobName, body: Bytes) -> Result<Placed, StoreError> {
        let incoming = self.send(name, &body).await?;
        let placed = self.name_it(&incoming, &path_of(name), &body).await;
        if matches!(placed, Err(StoreError::Failed { .. })) {
            // The folder of the name needs room too.
            self.check_room(&incoming, WINDOW_BYTES).await?;
        }
        if !matches!(placed, Ok(Placed::New)) {
            self.remove_incoming(&incoming).await;
        }
        placed
    }

    /// Sends a body, and returns the name under which it is there whole. Each try has a name of its
    /// own: a server may still be writing what came of a try whose connection broke.
    async fn send(&self, name: &BlobName, body: &Bytes) -> Result<String, StoreError> {
        let mut patience = Patience::to(STORING);
        loop {
            let incoming = incoming_path_of(name).map_err(|errno| failed(STORING, errno))?;
            let ask = Ask {
                headers: &[("content-type", "application/octet-stream")],
                body: body.clone(),
                ..Ask::new(STORING, "PUT", &incoming)
            };
            let faced = match self.try_once(&ask).await {
                Ok(answer) if is_passing(answer.status) => {
                    let (status, after) = (answer.status, retry_after(&answer));
                    if status.is_server_error() {
                        self.finish(answer).await;
                        self.check_room(&incoming, body.len() as u64).await?;
                    }
                    Faced::Status(status, after)
                }
                Ok(answer) => {
                    return match answer.status.as_u16() {
                        200 | 201 | 204 => {
                            self.finish(answer).await;
                            Ok(incoming)
                        }
                        // rclone's word for a new file in a folder that may only be read.
                        404 if self.has_incoming(STORING).await => {
                            self.finish(answer).await;
                            let (step, errno) = (STORING, Errno::ACCESS);
                            Err(StoreError::Refused { step, errno })
                        }
                        _ => Err(self.refusal(STORING, answer).await),
                    };
                }
                Err(problem) => {
                    // Some close the connection before the body has come, and their answer is lost.
                    self.check_room(&incoming, body.len() as u64).await?;
                    Faced::Error(problem)
                }
            };
            if !patience.again(&faced).await {
                // The other bodies on their way took the room that this one lacked, and may have
                // given it back since.
                self.check_room(&incoming, WINDOW_BYTES).await?;
                return Err(failed(STORING, faced.errno()));
            }
            self.remove_incoming(&incoming).await;
        }
    }

    /// Whether a disk that is full may be why the server failed: some have no better word for it.
    async fn check_room(&self, incoming: &str, needed_bytes: u64) -> Result<(), StoreError> {
        let free_bytes = self.free_bytes(STORING).await;
        let Some(free_bytes) = free_bytes.filter(|free| *free < needed_bytes) else {
            return Ok(());
        };
        self.remove_incoming(incoming).await;
        Err(StoreError::Full {
            free_mib: u32::try_from(free_bytes >> 20).ok(),
        })
    }

    /// Gives the name to what was sent.
    async fn name_it(
        &self,
        incoming: &str,
        path: &str,
        body: &Bytes,
    ) -> Result<Placed, StoreError> {
        self.make_shard(NAMING, path).await?;
        for _ in 0..TRIES_MAX {
            match self.move_to(incoming, path).await? {
                Moved::Done => return Ok(Placed::New),
                Moved::Taken | Moved::SourceGone => {
                    // Also what an earlier try moved, whose answer was lost.
                    if let Some(placed) = self.compare(path, body).await? {
                        return Ok(placed);
                    }
                }
            }
        }
        Err(failed(NAMING, Errno::IO))
    }

    /// Tries whether the server keeps a second file from a name that a first one has.
    pub(super) async fn try_to_be_exclusive(&self) -> Result<bool, StoreError> {
        let own = BlobName([0; 32]);
        let first = self.send(&own, &Bytes::from_static(b"first")).await?;
        let second = self.send(&own, &Bytes::from_static(b"second")).await?;
        let name = incoming_path_of(&own).map_err(|errno| failed(NAMING, errno))?;
        let moved = self.move_to(&first, &name).await?;
        let again = self.move_to(&second, &name).await?;
        let is_kept = self.compare(&name, b"first").await? == Some(Placed::Same);
        for path in [&first, &second, &name] {
            self.remove_incoming(path).await;
        }
        let named = matches!(moved, Moved::Done | Moved::Taken);
        Ok(named && matches!(again, Moved::Taken) && is_kept)
    }

    /// Removes what was not stored. Best effort: what is left over is no blob, and is in nobody's
    /// way.
    async fn remove_incoming(&self, path: &str) {
        let ask = Ask::new("remove what was not stored", "DELETE", path);
        if let Ok((answer, _)) = self.ask(&ask).await {
            self.finish(answer).await;
        }
    }

    async fn move_to(&self, incoming: &str, path: &str) -> Result<Moved, StoreError> {
        let destination = self.url(path);
        let ask = Ask {
            headers: &[("destination", &destination), ("overwrite", "F")],
            ..Ask::new(NAMING, "MOVE", incoming)
        };
        let (answer, _) = self.ask(&ask).await?;
        let moved = match answer.status.as_u16() {
            // 204 says that something was replaced, in spite of the header: it is compared like
            // everything that has a name already.
            201 | 200 => Moved::Done,
            204 | 412 => Moved::Taken,
            404 | 410 => Moved::SourceGone,
            _ => return Err(self.refusal(NAMING, answer).await),
        };
        self.finish(answer).await;
        Ok(moved)
    }

    /// Compares a body with the file that has its name; `None` if there is none.
    async fn compare(&self, path: &str, body: &[u8]) -> Result<Option<Placed>, StoreError> {
        let ask = Ask::new(COMPARING, "GET", path);
        let mut patience = Patience::to(COMPARING);
        loop {
            let (answer, _) = self.ask(&ask).await?;
            match answer.status.as_u16() {
                200 => {}
                404 | 410 => {
                    self.finish(answer).await;
                    return Ok(None);
                }
                _ => {
                    return match self.refusal(COMPARING, answer).await {
                        StoreError::Refused { .. } => Ok(Some(Placed::Unknown)),
                        problem => Err(problem),
                    };
                }
            }
            let problem = match self.http.is_same(answer, body).await {
                Ok(true) => return Ok(Some(Placed::Same)),
                Ok(false) => return Ok(Some(Placed::Different)),
                Err(problem) => problem,
            };
            let errno = problem.errno();
            if !patience.again(&Faced::Error(problem)).await {
                let step = COMPARING;
                return Err(StoreError::Failed { step, errno });
            }
        }
    }
}

fn failed(step: &'static str, errno: Errno) -> StoreError {
    StoreError::Failed { step, errno }
}
