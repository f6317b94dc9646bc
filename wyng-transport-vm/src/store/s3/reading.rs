// SPDX-License-Identifier: GPL-3.0-or-later
//! Listing and reading the objects of a bucket. Their bytes are not verified here.

use std::sync::{Arc, Mutex, PoisonError};

use hyper::body::Bytes;
use rustix::io::Errno;
use tokio::runtime::Handle;
use tracing::warn;
use wyng_wire::BlobName;

use super::S3;
use super::bucket::{Ask, Bucket, errno_of};
use super::listing::{Page, blob_of, older_versions};
use crate::net::{Answer, Faced, HttpError, Patience};
use crate::piece::Piece;
use crate::store::range::{Place, Range, place_of};
use crate::store::{Blob, Fetch, Opened, StoreError, Wanted};

const LISTING: &str = "list the blobs";
const READING: &str = "read a blob";
const LOOKING: &str = "look for a blob";
/// Objects in one page of a listing; servers give no more.
const PAGE: &str = "1000";
/// Maximum length of a page, bytes.
const PAGE_MAX_BYTES: usize = 4 << 20;

/// One range of an object that is being read.
pub(crate) struct BucketBlob {
    bucket: Arc<Bucket>,
    handle: Handle,
    key: String,
    version: Option<String>,
    length_bytes: u64,
    /// Where the range ends, bytes.
    end: u64,
    reading: Mutex<Reading>,
}

/// How far a range was read.
struct Reading {
    answer: Option<Answer>,
    /// Bytes that came and were not asked for yet.
    left: Bytes,
    /// The next byte that is read.
    at: u64,
}

impl Fetch for S3 {
    type Blob = BucketBlob;

    fn list<E>(&self, mut visit: impl FnMut(&BlobName, u64) -> Result<(), E>) -> Result<bool, E> {
        let prefix = &self.bucket.address.prefix;
        let mut last = String::new();
        loop {
            let page = match self.wait(self.bucket.page(&last, PAGE)) {
                Ok(page) => page,
                Err(problem) => {
                    warn!("{problem}");
                    return Ok(false);
                }
            };
            for (key, length_bytes) in &page.objects {
                // A page that repeats itself would never end.
                if !key.starts_with(&**prefix) || *key <= last {
                    warn!("cannot {LISTING}: the server's order is wrong");
                    return Ok(false);
                }
                last.clone_from(key);
                if let Some(name) = blob_of(key, prefix) {
                    visit(&name, *length_bytes)?;
                }
            }
            if !page.continues {
                return Ok(true);
            }
            if page.objects.is_empty() {
                warn!("cannot {LISTING}: a page has nothing, and more is to follow");
                return Ok(false);
            }
        }
    }

    fn stat(&self, name: &BlobName) -> Result<Option<u64>, StoreError> {
        self.wait(self.bucket.length(&self.bucket.key_of(name), None))
    }

    fn open_blob(&self, name: &BlobName) -> Result<Option<BucketBlob>, StoreError> {
        let whole = Wanted {
            version: 0,
            offset_bytes: 0,
            length_bytes: u32::MAX,
        };
        Ok(match self.open_range(name, &whole)? {
            Opened::Blob(blob) => Some(blob),
            Opened::Absent | Opened::NoVersion => None,
        })
    }

    fn open_range(
        &self,
        name: &BlobName,
        wanted: &Wanted,
    ) -> Result<Opened<BucketBlob>, StoreError> {
        let key = self.bucket.key_of(name);
        let version = match wanted.version {
            0 => None,
            number => match self.wait(self.bucket.older_version(&key, number))? {
                Some(id) => Some(id),
                None => return Ok(Opened::NoVersion),
            },
        };
        let (at, end) = (
            wanted.offset_bytes,
            wanted
                .offset_bytes
                .saturating_add(wanted.length_bytes.into()),
        );
        let opened = self.wait(self.bucket.open(&key, version.as_deref(), at..end))?;
        let Some((length_bytes, answer)) = opened else {
            return Ok(Opened::Absent);
        };
        Ok(Opened::Blob(BucketBlob {
            bucket: Arc::clone(&self.bucket),
            handle: self.network.handle(),
            key,
            version,
            length_bytes,
            end: end.min(length_bytes),
            reading: Mutex::new(Reading {
                answer,
                left: Bytes::new(),
                at,
            }),
        }))
    }
}

impl Blob for BucketBlob {
    fn length_bytes(&self) -> u64 {
        self.length_bytes
    }

    fn fill(
        &self,
        piece: &mut Piece,
        offset_bytes: u64,
        wanted: usize,
    ) -> Result<usize, StoreError> {
        let mut reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        if reading.at != offset_bytes {
            *reading = Reading {
                answer: None,
                left: Bytes::new(),
                at: offset_bytes,
            };
        }
        let left = self.end.saturating_sub(offset_bytes);
        let wanted = wanted.min(usize::try_from(left).unwrap_or(usize::MAX));
        piece.fill_by(wanted, |room| {
            self.handle.block_on(self.read(&mut reading, room))
        })
    }
}

impl BucketBlob {
    /// Fills `room`; the range is asked for again where the connection broke.
    async fn read(&self, reading: &mut Reading, room: &mut [u8]) -> Result<usize, StoreError> {
        let mut patience = Patience::to(READING);
        let mut filled = 0_usize;
        loop {
            let problem = match self.read_on(reading, room, &mut filled).await {
                Ok(()) => return Ok(filled),
                Err(Broken::Store(problem)) => return Err(problem),
                Err(Broken::Connection(problem)) => problem,
            };
            (reading.answer, reading.left) = (None, Bytes::new());
            let errno = errno_of(&problem);
            if !patience.again(&Faced::Error(problem)).await {
                let step = READING;
                return Err(StoreError::Failed { step, errno });
            }
        }
    }

    async fn read_on(
        &self,
        reading: &mut Reading,
        room: &mut [u8],
        filled: &mut usize,
    ) -> Result<(), Broken> {
        while let Some(free @ [_, ..]) = room.get_mut(*filled..) {
            if reading.left.is_empty() {
                let Some(answer) = &mut reading.answer else {
                    let version = self.version.as_deref();
                    let opened = self.bucket.open(&self.key, version, reading.at..self.end);
                    let Some((_, Some(answer))) = opened.await? else {
                        return Ok(()); // it was deleted meanwhile
                    };
                    reading.answer = Some(answer);
                    continue;
                };
                match answer.next().await? {
                    Some(part) => reading.left = part,
                    // The server has sent what it announced, and that is less than the range.
                    None => return Ok(()),
                }
            }
            let count = free.len().min(reading.left.len());
            let part = reading.left.split_to(count);
            if let Some(place) = free.get_mut(..count) {
                place.copy_from_slice(&part);
            }
            *filled = filled.saturating_add(count);
            reading.at = reading.at.saturating_add(count as u64);
        }
        let is_over = reading.at >= self.end && reading.left.is_empty();
        if let Some(mut answer) = reading.answer.take_if(|_| is_over) {
            // The end of the body frees the connection for the next request.
            if answer.next().await?.is_none() {
                self.bucket.http.give_back(answer);
            }
        }
        Ok(())
    }
}

/// Why a range could not be read on.
enum Broken {
    Connection(HttpError),
    Store(StoreError),
}

impl From<HttpError> for Broken {
    fn from(problem: HttpError) -> Self {
        Self::Connection(problem)
    }
}

impl From<StoreError> for Broken {
    fn from(problem: StoreError) -> Self {
        Self::Store(problem)
    }
}

impl Bucket {
    /// One page of the listing, behind a key.
    pub(super) async fn page(&self, behind: &str, count: &str) -> Result<Page, StoreError> {
        let mut query = vec![
            ("list-type", "2"),
            ("max-keys", count),
            ("prefix", &*self.address.prefix),
        ];
        if !behind.is_empty() {
            query.push(("start-after", behind));
        }
        let ask = Ask {
            query: &query,
            ..Ask::new(LISTING, "GET", "")
        };
        let text = self.document(&ask).await?;
        Page::parse(&text).ok_or_else(|| {
            warn!("cannot {LISTING}: the answer is no page of a listing");
            failed(LISTING)
        })
    }

    /// The whole body of an answer, asked for again where it is cut.
    async fn document(&self, ask: &Ask<'_>) -> Result<Vec<u8>, StoreError> {
        let step = ask.step;
        let mut patience = Patience::to(step);
        loop {
            let (answer, _) = self.ask(ask).await?;
            if answer.status != hyper::StatusCode::OK {
                return Err(self.refusal(step, answer).await.into_error(step));
            }
            let problem = match self.http.read_whole(answer, PAGE_MAX_BYTES).await {
                Ok(text) => return Ok(text),
                Err(problem) => problem,
            };
            let errno = errno_of(&problem);
            if !patience.again(&Faced::Error(problem)).await {
                return Err(StoreError::Failed { step, errno });
            }
        }
    }

    /// The length of an object, bytes, if it exists.
    async fn length(&self, key: &str, version: Option<&str>) -> Result<Option<u64>, StoreError> {
        let query = version.map(|id| [("versionId", id)]);
        let ask = Ask {
            query: query.as_ref().map_or(&[], |query| query),
            ..Ask::new(LOOKING, "HEAD", key)
        };
        let (answer, _) = self.ask(&ask).await?;
        match answer.status.as_u16() {
            200 => {
                let length = answer
                    .header("content-length")
                    .and_then(|text| text.parse().ok());
                self.http.give_back(answer);
                length.map(Some).ok_or_else(|| failed(LOOKING))
            }
            404 => Ok(None),
            _ => Err(self.refusal(LOOKING, answer).await.into_error(LOOKING)),
        }
    }

    /// The id of the `number`-th version before the one that is served.
    async fn older_version(&self, key: &str, number: u8) -> Result<Option<String>, StoreError> {
        let ask = Ask {
            query: &[("max-keys", "100"), ("prefix", key), ("versions", "")],
            ..Ask::new("list the versions of a blob", "GET", "")
        };
        let text = match self.document(&ask).await {
            Ok(text) => text,
            // The service knows no versions, or does not show them.
            Err(StoreError::Refused { .. }) => return Ok(None),
            Err(problem) => return Err(problem),
        };
        let ids = older_versions(&text, key).unwrap_or_default();
        let index = usize::from(number).saturating_sub(1);
        Ok(ids.into_iter().nth(index))
    }

    /// Asks for a range of an object. Returns its whole length and the answer whose body is the
    /// range, if the range has bytes; `None` if there is no such object.
    async fn open(
        &self,
        key: &str,
        version: Option<&str>,
        range: std::ops::Range<u64>,
    ) -> Result<Option<(u64, Option<Answer>)>, StoreError> {
        if range.is_empty() {
            let length = self.length(key, version).await?;
            return Ok(length.map(|length| (length, None)));
        }
        let query = version.map(|id| [("versionId", id)]);
        let wanted = Range::of(&range);
        let ask = Ask {
            query: query.as_ref().map_or(&[], |query| query),
            headers: &[("range", &wanted.0)],
            ..Ask::new(READING, "GET", key)
        };
        let (answer, _) = self.ask(&ask).await?;
        match answer.status.as_u16() {
            200 | 206 => {}
            404 => {
                let refused = self.refusal(READING, answer).await;
                return if refused.lacks_bucket() {
                    Err(failed(READING))
                } else {
                    Ok(None)
                };
            }
            // The object ends before the range begins.
            416 => {
                let _ = self.refusal(READING, answer).await;
                let length = self.length(key, version).await?;
                return Ok(length.map(|length| (length, None)));
            }
            _ => return Err(self.refusal(READING, answer).await.into_error(READING)),
        }
        match place_of(&answer, &range) {
            Some(Place { length_bytes, .. }) if answer.status.as_u16() == 206 => {
                Ok(Some((length_bytes, Some(answer))))
            }
            _ => {
                warn!("cannot {READING}: the server sends another range");
                let (step, errno) = (READING, Errno::IO);
                Err(StoreError::Unusable { step, errno })
            }
        }
    }
}

fn failed(step: &'static str) -> StoreError {
    let errno = Errno::IO;
    StoreError::Failed { step, errno }
}
