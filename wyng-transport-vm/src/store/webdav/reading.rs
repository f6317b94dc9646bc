// SPDX-License-Identifier: GPL-3.0-or-later
//! Listing and reading the files of the folder. Their bytes are not verified here.

use std::cell::Cell;
use std::sync::Arc;

use rustix::io::Errno;
use tracing::warn;
use wyng_wire::BlobName;

use super::Webdav;
use super::folder::{Ask, Folder, is_shard, path_of};
use crate::net::{Answer, Faced, Http, Patience};
use crate::store::range::{Range, RangeBlob, Source, place_of};
use crate::store::{Fetch, NETWORK_REQUESTS_AT_ONCE, Opened, StoreError, Wanted};

const LISTING: &str = "list the blobs";
const READING: &str = "read a blob";
const LOOKING: &str = "look for a blob";

/// A file of the server.
pub(crate) struct RemoteFile {
    folder: Arc<Folder>,
    path: String,
}

impl Fetch for Webdav {
    type Blob = RangeBlob<RemoteFile>;

    const REQUESTS_AT_ONCE: usize = NETWORK_REQUESTS_AT_ONCE;

    fn list<E>(&self, mut visit: impl FnMut(&BlobName, u64) -> Result<(), E>) -> Result<bool, E> {
        let complete = Cell::new(true);
        let list = |path: &str| match self.wait(self.folder.list(LISTING, path)) {
            Ok(Some(found)) => found,
            // A folder that was there a moment ago.
            Ok(None) => {
                complete.set(false);
                Vec::new()
            }
            Err(problem) => {
                warn!("{problem}");
                complete.set(false);
                Vec::new()
            }
        };
        for shard in list("") {
            if !shard.is_folder || !is_shard(&shard.name) {
                continue;
            }
            for file in list(&shard.name) {
                // Any other name is that of a foreign file.
                let name = BlobName::from_hex(file.name.as_bytes())
                    .filter(|_| !file.is_folder && file.name.starts_with(&shard.name));
                match (name, file.length_bytes) {
                    (Some(name), Some(length_bytes)) => visit(&name, length_bytes)?,
                    (Some(_), None) => complete.set(false),
                    (None, _) => {}
                }
            }
        }
        Ok(complete.get())
    }

    fn stat(&self, name: &BlobName) -> Result<Option<u64>, StoreError> {
        self.wait(self.folder.length(&path_of(name)))
    }

    fn open_blob(&self, name: &BlobName) -> Result<Option<Self::Blob>, StoreError> {
        let file = RemoteFile {
            folder: Arc::clone(&self.folder),
            path: path_of(name),
        };
        RangeBlob::open(file, self.network.handle(), 0..u64::from(u32::MAX))
    }

    fn open_range(
        &self,
        name: &BlobName,
        wanted: &Wanted,
    ) -> Result<Opened<Self::Blob>, StoreError> {
        if wanted.version != 0 {
            return Ok(Opened::NoVersion);
        }
        let file = RemoteFile {
            folder: Arc::clone(&self.folder),
            path: path_of(name),
        };
        let opened = RangeBlob::open(file, self.network.handle(), wanted.range())?;
        Ok(opened.map_or(Opened::Absent, Opened::Blob))
    }
}

impl Source for RemoteFile {
    async fn open(
        &self,
        range: std::ops::Range<u64>,
    ) -> Result<Option<(u64, Option<Answer>)>, StoreError> {
        let mut patience = Patience::to(READING);
        loop {
            let problem = match self.folder.open(&self.path, &range).await? {
                None => return Ok(None),
                Some((length_bytes, None)) => return Ok(Some((length_bytes, None))),
                Some((length_bytes, Some((mut answer, before_bytes)))) => {
                    match answer.skip(before_bytes).await {
                        Ok(()) => return Ok(Some((length_bytes, Some(answer)))),
                        Err(problem) => problem,
                    }
                }
            };
            let errno = problem.errno();
            if !patience.again(&Faced::Error(problem)).await {
                let step = READING;
                return Err(StoreError::Failed { step, errno });
            }
        }
    }

    fn http(&self) -> &Http {
        &self.folder.http
    }
}

/// The whole length of a file, and the answer that has a range of it behind this many bytes.
type Found = (u64, Option<(Answer, u64)>);

impl Folder {
    /// The length of a file, bytes, if it exists.
    async fn length(&self, path: &str) -> Result<Option<u64>, StoreError> {
        let (answer, _) = self.ask(&Ask::new(LOOKING, "HEAD", path)).await?;
        match answer.status.as_u16() {
            200 | 204 => {
                let length = answer
                    .header("content-length")
                    .and_then(|text| text.parse().ok());
                self.http.give_back(answer);
                // A folder has none.
                length
                    .map(Some)
                    .ok_or(StoreError::Foreign { step: LOOKING })
            }
            404 | 410 => Ok(None),
            _ => Err(self.refusal(LOOKING, answer).await),
        }
    }

    async fn open(
        &self,
        path: &str,
        range: &std::ops::Range<u64>,
    ) -> Result<Option<Found>, StoreError> {
        let without_bytes = |length: Option<u64>| length.map(|length| (length, None));
        if range.is_empty() {
            return Ok(without_bytes(self.length(path).await?));
        }
        let wanted = Range::of(range);
        let ask = Ask {
            headers: &[("range", &wanted.0)],
            ..Ask::new(READING, "GET", path)
        };
        let (mut answer, _) = self.ask(&ask).await?;
        match answer.status.as_u16() {
            206 => answer.expect(range.end.saturating_sub(range.start)),
            // What is before the range comes too.
            200 => answer.expect(range.end),
            404 | 410 => {
                self.finish(answer).await;
                return Ok(None);
            }
            // The file ends before the range begins.
            416 => {
                self.finish(answer).await;
                return Ok(without_bytes(self.length(path).await?));
            }
            _ => return Err(self.refusal(READING, answer).await),
        }
        match place_of(&answer, range) {
            Some(place) => Ok(Some((
                place.length_bytes,
                Some((answer, place.before_bytes)),
            ))),
            None => {
                warn!("cannot {READING}: the server sends another range");
                let (step, errno) = (READING, Errno::IO);
                Err(StoreError::Unusable { step, errno })
            }
        }
    }
}
