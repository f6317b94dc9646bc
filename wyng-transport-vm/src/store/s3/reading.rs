// SPDX-License-Identifier: GPL-3.0-or-later
//! Listing and reading the objects of a bucket. Their bytes are not verified here.

use std::sync::Arc;

use rustix::io::Errno;
use tracing::warn;
use wyng_s3::{PAGE_KEYS, Signature, versions_query};
use wyng_wire::{BlobName, GET_VERSION_MAX, ListStatus};

use super::S3;
use super::bucket::{Ask, Bucket};
use super::listing::{Page, blob_of, has_versions, older_versions};
use crate::net::{Answer, Faced, Http, Patience};
use crate::store::range::{Place, Range, RangeBlob, Source, place_of};
use crate::store::{Fetch, Given, NETWORK_REQUESTS_AT_ONCE, Opened, StoreError, Wanted};

const LISTING: &str = "list the blobs";
const LISTING_VERSIONS: &str = "list the versions of blobs";
const READING: &str = "read a blob";
const LOOKING: &str = "look for a blob";
/// Maximum length of a page, bytes.
const PAGE_MAX_BYTES: usize = 4 << 20;

/// An object, or one version of it.
pub(crate) struct Object {
    bucket: Arc<Bucket>,
    key: String,
    version: Option<String>,
    /// The range that the daemon signed, with its signature: no other one can be asked for.
    signed: Option<(std::ops::Range<u64>, Signature)>,
}

impl Source for Object {
    async fn open(
        &self,
        range: std::ops::Range<u64>,
    ) -> Result<Option<(u64, Option<Answer>)>, StoreError> {
        let version = self.version.as_deref();
        let Some((all, signature)) = &self.signed else {
            return self.bucket.open(&self.key, version, range, None).await;
        };
        let known_bytes = range.start.saturating_sub(all.start);
        let mut patience = Patience::to(READING);
        loop {
            let (range, signature) = (all.clone(), Some(signature));
            let opened = self.bucket.open(&self.key, version, range, signature);
            let problem = match opened.await? {
                Some((length_bytes, Some(mut answer))) => match answer.skip(known_bytes).await {
                    Ok(()) => return Ok(Some((length_bytes, Some(answer)))),
                    Err(problem) => problem,
                },
                without_bytes => return Ok(without_bytes),
            };
            let errno = problem.errno();
            if !patience.again(&Faced::Error(problem)).await {
                let step = READING;
                return Err(StoreError::Failed { step, errno });
            }
        }
    }

    fn http(&self) -> &Http {
        &self.bucket.http
    }
}

impl Fetch for S3 {
    type Blob = RangeBlob<Object>;

    const REQUESTS_AT_ONCE: usize = NETWORK_REQUESTS_AT_ONCE;

    fn list<E>(&self, mut visit: impl FnMut(&BlobName, u64) -> Result<(), E>) -> Result<bool, E> {
        let prefix = &self.bucket.address.prefix;
        let mut last = String::new();
        loop {
            let page = match self.wait(self.bucket.page(&last, None)) {
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

    fn list_page<E>(
        &self,
        after: Option<&BlobName>,
        given: &Given,
        mut visit: impl FnMut(&BlobName, u64) -> Result<(), E>,
    ) -> Result<ListStatus, E> {
        let prefix = &self.bucket.address.prefix;
        let mut last = after.map_or_else(String::new, |name| self.bucket.key_of(name));
        let page = match self.wait(self.bucket.page(&last, Some(&given.signature))) {
            Ok(page) => page,
            Err(problem) => {
                warn!("{problem}");
                return Ok(match problem {
                    StoreError::Expired { .. } => ListStatus::Expired,
                    _ => ListStatus::Incomplete,
                });
            }
        };
        let mut has_blobs = false;
        for (key, length_bytes) in &page.objects {
            if !key.starts_with(&**prefix) || *key <= last {
                warn!("cannot {LISTING}: the server's order is wrong");
                return Ok(ListStatus::Incomplete);
            }
            last.clone_from(key);
            if let Some(name) = blob_of(key, prefix) {
                visit(&name, *length_bytes)?;
                has_blobs = true;
            }
        }
        // Behind the last name that a blob can have, everything is something else.
        if !page.continues || last > self.bucket.address.key_of(&[0xff; 32]) {
            return Ok(ListStatus::Complete);
        }
        if has_blobs {
            return Ok(ListStatus::More);
        }
        // The next page would have to begin behind a name, and this page has none.
        warn!("cannot {LISTING}: a page has no blobs, and more is to follow");
        Ok(ListStatus::Incomplete)
    }

    fn stat(&self, name: &BlobName) -> Result<Option<u64>, StoreError> {
        let key = self.bucket.key_of(name);
        self.wait(self.bucket.length(&key, None, None))
    }

    fn stat_signed(&self, name: &BlobName, given: &Given) -> Result<Option<u64>, StoreError> {
        let (key, signature) = (self.bucket.key_of(name), Some(&given.signature));
        self.wait(self.bucket.length(&key, None, signature))
    }

    fn versions_signed(&self, name: &BlobName, given: &Given) -> Result<Vec<String>, StoreError> {
        let (key, signature) = (self.bucket.key_of(name), Some(&given.signature));
        self.wait(self.bucket.list_versions(&key, signature))
    }

    fn open_blob(&self, name: &BlobName) -> Result<Option<RangeBlob<Object>>, StoreError> {
        let whole = Wanted {
            version: 0,
            version_id: None,
            offset_bytes: 0,
            length_bytes: u32::MAX,
            given: None,
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
    ) -> Result<Opened<RangeBlob<Object>>, StoreError> {
        let key = self.bucket.key_of(name);
        let version = match (wanted.version, &wanted.version_id) {
            (0, _) => None,
            (_, Some(id)) => Some(id.clone()),
            (number, None) => match self.wait(self.bucket.older_version(&key, number))? {
                Some(id) => Some(id),
                None => return Ok(Opened::NoVersion),
            },
        };
        let range = wanted.range();
        let given = wanted.given.as_ref();
        let object = Object {
            bucket: Arc::clone(&self.bucket),
            key,
            version,
            signed: given.map(|given| (range.clone(), given.signature.clone())),
        };
        let opened = RangeBlob::open(object, self.network.handle(), range)?;
        Ok(opened.map_or(Opened::Absent, Opened::Blob))
    }
}

impl Bucket {
    /// One page of the listing, behind a key.
    async fn page(&self, behind: &str, signature: Option<&Signature>) -> Result<Page, StoreError> {
        let mut query = vec![
            ("list-type", "2"),
            ("max-keys", PAGE_KEYS),
            ("prefix", &*self.address.prefix),
        ];
        if !behind.is_empty() {
            query.push(("start-after", behind));
        }
        let ask = Ask {
            query: &query,
            signature,
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
            let errno = problem.errno();
            if !patience.again(&Faced::Error(problem)).await {
                return Err(StoreError::Failed { step, errno });
            }
        }
    }

    /// The length of an object, bytes, if it exists.
    async fn length(
        &self,
        key: &str,
        version: Option<&str>,
        signature: Option<&Signature>,
    ) -> Result<Option<u64>, StoreError> {
        let query = version.map(|id| [("versionId", id)]);
        let ask = Ask {
            query: query.as_ref().map_or(&[], |query| query),
            signature,
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
        let ids = match self.versions.of(key) {
            Some(ids) => ids,
            None => {
                let ids = self.list_versions(key, None).await?;
                self.versions.keep(key, &ids);
                ids
            }
        };
        let index = usize::from(number).saturating_sub(1);
        Ok(ids.into_iter().nth(index))
    }

    /// Whether there is any version of any object behind the prefix.
    pub(super) async fn has_older(&self) -> Result<bool, StoreError> {
        let ask = Ask {
            // What was deleted comes with its marker, and may come behind other markers.
            query: &versions_query(&self.address.prefix),
            ..Ask::new(LISTING_VERSIONS, "GET", "")
        };
        Ok(has_versions(&self.document(&ask).await?))
    }

    async fn list_versions(
        &self,
        key: &str,
        signature: Option<&Signature>,
    ) -> Result<Vec<String>, StoreError> {
        let ask = Ask {
            query: &versions_query(key),
            signature,
            ..Ask::new(LISTING_VERSIONS, "GET", "")
        };
        let text = match self.document(&ask).await {
            Ok(text) => text,
            // The service knows no versions, or does not show them.
            Err(StoreError::Refused { .. }) => return Ok(Vec::new()),
            Err(problem) => return Err(problem),
        };
        let mut ids = older_versions(&text, key).unwrap_or_default();
        ids.truncate(GET_VERSION_MAX.into());
        Ok(ids)
    }

    /// Asks for a range of an object. Returns its whole length and the answer whose body is the
    /// range, if the range has bytes; `None` if there is no such object.
    async fn open(
        &self,
        key: &str,
        version: Option<&str>,
        range: std::ops::Range<u64>,
        signature: Option<&Signature>,
    ) -> Result<Option<(u64, Option<Answer>)>, StoreError> {
        if range.is_empty() {
            let length = self.length(key, version, signature).await?;
            return Ok(length.map(|length| (length, None)));
        }
        let query = version.map(|id| [("versionId", id)]);
        let wanted = Range::of(&range);
        let ask = Ask {
            query: query.as_ref().map_or(&[], |query| query),
            headers: &[("range", &wanted.0)],
            signature,
            ..Ask::new(READING, "GET", key)
        };
        let (mut answer, _) = self.ask(&ask).await?;
        match answer.status.as_u16() {
            200 | 206 => answer.expect(range.end.saturating_sub(range.start)),
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
                if signature.is_some() {
                    // No request for its length was signed; only that it is shorter matters.
                    return Ok(Some((range.start, None)));
                }
                let length = self.length(key, version, None).await?;
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
