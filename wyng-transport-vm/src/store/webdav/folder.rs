// SPDX-License-Identifier: GPL-3.0-or-later
//! Requests to one folder of a WebDAV server, repeated while the answer may pass, and what its
//! refusals mean.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use hyper::Request;
use hyper::body::Bytes;
use rustix::io::Errno;
use tracing::warn;
use wyng_wire::{BlobName, OpenStatus};
use zeroize::Zeroizing;

use super::listing::{Entry, entries, stated_free_bytes};
use crate::net::{Answer, Faced, Http, HttpError, Patience, Sent, until_it_lasts};
use crate::store::StoreError;

/// The first step of a call.
const OPENING: &str = "open the folder";
/// The folder of blobs on their way in. It is no shard, so that its files are no blobs.
const INCOMING: &str = ".wyng-incoming";
/// Maximum length of an answer that is read to its end, bytes: a shard of about 40,000 blobs.
const ANSWER_MAX_BYTES: usize = 32 << 20;
/// What a listing asks for.
const PROPERTIES: &[u8] = b"<?xml version=\"1.0\" encoding=\"utf-8\"?><propfind xmlns=\"DAV:\"><prop><resourcetype/><getcontentlength/></prop></propfind>";

/// What asks for the free space.
const QUOTA: &[u8] = b"<?xml version=\"1.0\" encoding=\"utf-8\"?><propfind xmlns=\"DAV:\"><prop><quota-available-bytes/></prop></propfind>";
/// Maximum length of the answer to it, bytes.
const QUOTA_MAX_BYTES: usize = 64 * 1024;

/// A folder of a server, and what opens it.
pub(super) struct Folder {
    pub(super) http: Arc<Http>,
    /// With a slash at both ends, not percent-encoded.
    pub(super) path: String,
    pub(super) authorization: Option<Zeroizing<String>>,
    /// The shards that are known to be there.
    pub(super) shards: Mutex<BTreeSet<String>>,
}

/// A request to the folder.
pub(super) struct Ask<'a> {
    /// What it does, in words that complete "cannot …".
    pub(super) step: &'static str,
    pub(super) method: &'static str,
    /// Below the folder; empty: the folder itself.
    pub(super) path: &'a str,
    pub(super) headers: &'a [(&'static str, &'a str)],
    pub(super) body: Bytes,
}

impl<'a> Ask<'a> {
    /// A request without headers and body.
    pub(super) fn new(step: &'static str, method: &'static str, path: &'a str) -> Self {
        Self {
            step,
            method,
            path,
            headers: &[],
            body: Bytes::new(),
        }
    }
}

/// Where a blob lies below the folder.
pub(super) fn path_of(name: &BlobName) -> String {
    let hex = name.to_hex();
    let hex = String::from_utf8_lossy(&hex);
    format!("{}/{hex}", hex.get(..2).unwrap_or_default())
}

/// Where a blob lies on its way in. The name is one that nobody else has.
pub(super) fn incoming_path_of(name: &BlobName) -> Result<String, Errno> {
    let mut own = [0; 8];
    rustix::rand::getrandom(&mut own[..], rustix::rand::GetRandomFlags::empty())?;
    let hex = name.to_hex();
    let hex = String::from_utf8_lossy(&hex);
    Ok(format!("{INCOMING}/{hex}.{:016x}", u64::from_ne_bytes(own)))
}

impl Folder {
    /// The encoded path of something below the folder.
    fn target(&self, path: &str) -> String {
        wyng_s3::encode_path(&format!("{}{path}", self.path))
    }

    /// The whole URL of something below the folder, for the header `destination`.
    pub(super) fn url(&self, path: &str) -> String {
        format!("{}{}", self.http.origin(), self.target(path))
    }

    /// Sends a request until the answer is one that does not pass. Also returns whether an earlier
    /// try may have had its effect.
    pub(super) async fn ask(&self, ask: &Ask<'_>) -> Result<(Answer, bool), StoreError> {
        let patience = if ask.step == OPENING {
            Patience::a_little(ask.step)
        } else {
            Patience::to(ask.step)
        };
        let answered = until_it_lasts(patience, None, || self.try_once(ask)).await;
        answered.map_err(|faced| StoreError::Failed {
            step: ask.step,
            errno: faced.errno(),
        })
    }

    /// Sends a request once.
    pub(super) async fn try_once(&self, ask: &Ask<'_>) -> Result<Answer, HttpError> {
        let (host, target) = (self.http.authority(), self.target(ask.path));
        let request = || {
            let mut request = Request::builder()
                .method(ask.method)
                .uri(&*target)
                .header("host", &*host);
            if let Some(authorization) = &self.authorization {
                request = request.header("authorization", authorization.as_str());
            }
            for (name, value) in ask.headers {
                request = request.header(*name, *value);
            }
            request.body(Sent::new(ask.body.clone())).ok()
        };
        self.http.send(&request, ask.body.len()).await
    }

    /// Reads the rest of an answer that is of no interest, so that its connection serves again.
    pub(super) async fn finish(&self, answer: Answer) {
        // An answer that cannot be read to its end costs its connection.
        let _ = self.http.read_whole(answer, ANSWER_MAX_BYTES).await;
    }

    /// What an answer that is no success means.
    pub(super) async fn refusal(&self, step: &'static str, answer: Answer) -> StoreError {
        let status = answer.status.as_u16();
        warn!("cannot {step}: the server answers {status}");
        self.finish(answer).await;
        match status {
            507 => StoreError::Full { free_mib: None },
            // 413: a limit of the server for the length of a body.
            401 | 403 | 405 | 413 | 501 => {
                let errno = Errno::ACCESS;
                StoreError::Refused { step, errno }
            }
            _ => {
                let errno = match status {
                    300..=399 => Errno::REMOTE,
                    404 | 409 | 410 => Errno::NOENT,
                    _ => Errno::IO,
                };
                StoreError::Failed { step, errno }
            }
        }
    }

    /// Makes the folder unless it is there.
    pub(super) async fn make(&self) -> Result<(), OpenStatus> {
        let made = self.make_folder(OPENING, "").await;
        made.map_err(|problem| open_status(&problem))
    }

    /// Makes the shard of a blob unless it is known to be there. Servers differ in what they answer
    /// to a MOVE into a folder that is missing.
    pub(super) async fn make_shard(
        &self,
        step: &'static str,
        path: &str,
    ) -> Result<(), StoreError> {
        let shard = path.split('/').next().unwrap_or_default();
        let known = || self.shards.lock().unwrap_or_else(PoisonError::into_inner);
        if !known().contains(shard) {
            self.make_folder(step, shard).await?;
            known().insert(shard.to_owned());
        }
        Ok(())
    }

    /// Makes a folder below this one unless it is there.
    async fn make_folder(&self, step: &'static str, path: &str) -> Result<(), StoreError> {
        let (answer, _) = self.ask(&Ask::new(step, "MKCOL", path)).await?;
        match answer.status.as_u16() {
            // 405: there is something already.
            200 | 201 | 204 | 405 => {
                self.finish(answer).await;
                Ok(())
            }
            _ => Err(self.refusal(step, answer).await),
        }
    }

    /// Checks that the folder is there, and holds blobs or, if it is new, nothing.
    pub(super) async fn look(&self, is_new: bool) -> Result<(), OpenStatus> {
        let listed = self.list(OPENING, "").await;
        let found = listed.map_err(|problem| open_status(&problem))?;
        let found = found.ok_or(OpenStatus::Missing)?;
        for entry in found.iter().filter(|_| is_new) {
            if entry.name != INCOMING && !self.is_empty_shard(entry).await? {
                return Err(OpenStatus::NotEmpty);
            }
        }
        let shards = found
            .into_iter()
            .filter(|entry| entry.is_folder && is_shard(&entry.name));
        let mut known = self.shards.lock().unwrap_or_else(PoisonError::into_inner);
        known.extend(shards.map(|entry| entry.name));
        if is_new || !known.is_empty() {
            Ok(())
        } else {
            Err(OpenStatus::Empty)
        }
    }

    /// Whether an entry of the folder is a shard whose blobs were all deleted.
    async fn is_empty_shard(&self, entry: &Entry) -> Result<bool, OpenStatus> {
        if !(entry.is_folder && is_shard(&entry.name)) {
            return Ok(false);
        }
        let listed = self.list(OPENING, &entry.name).await;
        let found = listed.map_err(|problem| open_status(&problem))?;
        Ok(found.is_none_or(|found| found.is_empty()))
    }

    /// Makes the folder of blobs on their way in, unless it is there.
    pub(super) async fn prepare_incoming(&self) -> Result<(), OpenStatus> {
        let made = self.make_folder("make a folder", INCOMING).await;
        made.map_err(|problem| open_status(&problem))
    }

    /// The free space that the server states for the folder (RFC 4331), bytes; `None` where it
    /// states none.
    pub(super) async fn free_bytes(&self, step: &'static str) -> Option<u64> {
        let ask = Ask {
            headers: &[("depth", "0"), ("content-type", "application/xml")],
            body: Bytes::from_static(QUOTA),
            ..Ask::new(step, "PROPFIND", "")
        };
        let answer = self.try_once(&ask).await.ok()?;
        if answer.status.as_u16() != 207 {
            self.finish(answer).await;
            return None;
        }
        let text = self.http.read_whole(answer, QUOTA_MAX_BYTES).await.ok()?;
        stated_free_bytes(&text)
    }

    /// Whether the folder of blobs on their way in is there.
    pub(super) async fn has_incoming(&self, step: &'static str) -> bool {
        matches!(self.list(step, INCOMING).await, Ok(Some(_)))
    }

    /// What is directly in a folder; `None` if there is no such folder.
    pub(super) async fn list(
        &self,
        step: &'static str,
        path: &str,
    ) -> Result<Option<Vec<Entry>>, StoreError> {
        let ask = Ask {
            headers: &[("depth", "1"), ("content-type", "application/xml")],
            body: Bytes::from_static(PROPERTIES),
            ..Ask::new(step, "PROPFIND", path)
        };
        let mut patience = Patience::to(step);
        loop {
            let (answer, _) = self.ask(&ask).await?;
            match answer.status.as_u16() {
                207 => {}
                404 | 410 => {
                    self.finish(answer).await;
                    return Ok(None);
                }
                _ => return Err(self.refusal(step, answer).await),
            }
            let problem = match self.http.read_whole(answer, ANSWER_MAX_BYTES).await {
                Ok(text) => {
                    let own = self.target(path);
                    return match entries(&text, &own) {
                        Some(found) => Ok(Some(found)),
                        None => {
                            warn!("cannot {step}: the answer is no listing of this folder");
                            let errno = Errno::IO;
                            Err(StoreError::Failed { step, errno })
                        }
                    };
                }
                Err(problem) => problem,
            };
            let errno = problem.errno();
            if !patience.again(&Faced::Error(problem)).await {
                return Err(StoreError::Failed { step, errno });
            }
        }
    }
}

/// The status of a store whose opening failed.
pub(super) fn open_status(problem: &StoreError) -> OpenStatus {
    warn!("{problem}");
    match problem {
        StoreError::Full { .. } => OpenStatus::Full,
        StoreError::Refused { .. } => OpenStatus::Permission,
        StoreError::Failed { errno, .. } => match *errno {
            Errno::NOENT => OpenStatus::Missing,
            Errno::BUSY | Errno::IO => OpenStatus::Failed,
            // A redirect leads elsewhere.
            Errno::REMOTE => OpenStatus::BadDestination,
            _ => OpenStatus::Unreachable,
        },
        StoreError::Lost { .. } => OpenStatus::Unreachable,
        StoreError::Foreign { .. }
        | StoreError::Unusable { .. }
        | StoreError::Expired { .. }
        | StoreError::Lax { .. } => OpenStatus::Failed,
    }
}

/// Whether a name is that of a shard.
pub(super) fn is_shard(name: &str) -> bool {
    let is_digit = |digit: u8| matches!(digit, b'0'..=b'9' | b'a'..=b'f');
    name.len() == 2 && name.bytes().all(is_digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_lies_in_its_shard_and_on_its_way_in_beside_it() {
        let name = BlobName([0xab; 32]);
        let hex = "ab".repeat(32);
        assert_eq!(path_of(&name), format!("ab/{hex}"));
        let (first, second) = (
            incoming_path_of(&name).unwrap(),
            incoming_path_of(&name).unwrap(),
        );
        assert!(first.starts_with(&format!(".wyng-incoming/{hex}.")));
        assert_ne!(first, second);
    }
}
