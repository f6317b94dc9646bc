// SPDX-License-Identifier: GPL-3.0-or-later
//! The store in a bucket: the blob `abcdef…` is the object `prefix/abcdef…`. Every request is
//! signed with the hash of its body. Other objects of the bucket are left alone.

mod bucket;
mod condition;
mod listing;
mod reading;
mod renewal;
mod upload;
mod versions;

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rustix::io::Errno;
use tracing::warn;
use wyng_s3::{AccessKey, S3Address, versions_query};
use wyng_wire::{BlobName, OpenStatus, Service};

use super::turns::Turns;
use super::{Given, Prune, StoreError};
use crate::net::{Credentials, Network, Prepared};
use bucket::{Ask, Bucket, OPENING};
use condition::Condition;
use listing::{Page, has_versions};
use versions::Versions;

const DELETING: &str = "delete a blob";
/// Maximum length of the first page, bytes: it has one key.
const FIRST_PAGE_MAX_BYTES: usize = 64 * 1024;
/// Maximum length of the first page of versions, bytes: it has a hundred.
const VERSIONS_MAX_BYTES: usize = 256 * 1024;

/// An open bucket.
pub(crate) struct S3 {
    network: Network,
    bucket: Arc<Bucket>,
    turns: Turns,
}

/// For what a bucket is opened.
pub(crate) struct Opening {
    pub(crate) service: Service,
    /// The store is new.
    pub(crate) create: bool,
    /// The first PUT also tries what the store refuses.
    pub(crate) tries: bool,
    /// The first look, which the daemon signed, is at older versions.
    pub(crate) looks_at_versions: bool,
    /// What is stored is locked until this day; 0: not at all.
    pub(crate) lock_until_day: u32,
}

/// What was read for a bucket before the jail.
pub(crate) struct Unopened {
    address: S3Address,
    key: Option<AccessKey>,
    /// The daemon's signature of the first request, in a call without a key.
    given: Option<Given>,
    prepared: Prepared,
}

impl Unopened {
    /// Reads the files that are needed. Nothing is connected yet.
    pub(crate) fn new(
        address: S3Address,
        credentials: &[u8],
        given: Option<Given>,
    ) -> Result<Self, OpenStatus> {
        let key = match given {
            None => Some(access_key(credentials).ok_or(OpenStatus::Permission)?),
            Some(_) if credentials.is_empty() => None,
            // A daemon that signs sends no secret; one that does both has a defect.
            Some(_) => return Err(OpenStatus::BadDestination),
        };
        let prepared = Prepared::read(&address.server).map_err(|problem| {
            warn!("a file of the store's address cannot be read: {problem}");
            OpenStatus::BadDestination
        })?;
        Ok(Self {
            address,
            key,
            given,
            prepared,
        })
    }

    /// The port of the server.
    pub(crate) fn port(&self) -> u16 {
        self.address.server.port
    }
}

fn access_key(credentials: &[u8]) -> Option<AccessKey> {
    let credentials = Credentials::read(credentials)?;
    Some(AccessKey {
        id: credentials.get("access_key_id")?.to_string(),
        secret: credentials.get("secret_access_key")?.clone(),
        token: credentials.get("session_token").cloned(),
    })
}

/// What the first look at a bucket shows.
enum Holds {
    Nothing,
    Something,
    /// The key may not list.
    NotShown,
}

impl S3 {
    /// Opens the bucket. Only behind the jail: here the first connection is made.
    pub(crate) fn open(unopened: Unopened, opening: Opening) -> Result<Self, OpenStatus> {
        let Opening {
            service,
            create,
            tries,
            looks_at_versions,
            lock_until_day,
        } = opening;
        let Unopened {
            address,
            key,
            given,
            prepared,
        } = unopened;
        let network =
            Network::start(prepared, address.server.clone()).map_err(|problem: io::Error| {
                warn!("the network cannot be used: {problem}");
                OpenStatus::Failed
            })?;
        let bucket = Arc::new(Bucket {
            http: network.http(),
            lock: address.locked_until(lock_until_day),
            address,
            tries: AtomicBool::new(tries),
            condition: Condition::default(),
            versions: Versions::default(),
            key,
        });
        let holds = network
            .open(bucket.look(given.as_ref(), looks_at_versions))
            .unwrap_or_else(|| {
                warn!("the server does not answer in time");
                Err(OpenStatus::Unreachable)
            })?;
        // Where everything was deleted, a fetch may still find what it was.
        let holds = match holds {
            Holds::Nothing if service == Service::Fetch && given.is_none() => {
                match network.open(bucket.has_older()) {
                    Some(Ok(true)) => Holds::Something,
                    _ => Holds::Nothing,
                }
            }
            holds => holds,
        };
        match (create, holds, service) {
            (true, Holds::Something, _) => Err(OpenStatus::NotEmpty),
            (false, Holds::Nothing, _) => Err(OpenStatus::Empty),
            // A fetch begins with a listing.
            (_, Holds::NotShown, Service::Fetch) => Err(OpenStatus::Permission),
            _ => Ok(Self {
                network,
                bucket,
                turns: Turns::default(),
            }),
        }
    }

    /// Waits for work of the network.
    fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        self.network.handle().block_on(work)
    }
}

impl Bucket {
    /// The key of a blob.
    fn key_of(&self, name: &BlobName) -> String {
        self.address.key_of(&name.0)
    }

    /// Whether the bucket is there, accepts the key, and has anything behind the prefix.
    /// With `at_versions`, whether there is an older version of anything.
    async fn look(&self, given: Option<&Given>, at_versions: bool) -> Result<Holds, OpenStatus> {
        let prefix = &*self.address.prefix;
        let query = if at_versions {
            versions_query(prefix)
        } else {
            [("list-type", "2"), ("max-keys", "1"), ("prefix", prefix)]
        };
        let ask = Ask {
            query: &query,
            signature: given.map(|given| &given.signature),
            ..Ask::new(OPENING, "GET", "")
        };
        let (answer, _) = self.ask(&ask).await.map_err(|problem| {
            warn!("{problem}");
            match problem {
                StoreError::Failed {
                    errno: Errno::BUSY, ..
                } => OpenStatus::Failed,
                _ => OpenStatus::Unreachable,
            }
        })?;
        if answer.status == hyper::StatusCode::OK {
            let max_bytes = if at_versions {
                VERSIONS_MAX_BYTES
            } else {
                FIRST_PAGE_MAX_BYTES
            };
            let text = self.http.read_whole(answer, max_bytes).await;
            if at_versions {
                return Ok(match text {
                    Ok(text) if has_versions(&text) => Holds::Something,
                    _ => Holds::Nothing,
                });
            }
            let page = text.ok().and_then(|text| Page::parse(&text));
            return match page {
                Some(page) if page.objects.is_empty() => Ok(Holds::Nothing),
                Some(_) => Ok(Holds::Something),
                None => {
                    warn!("the server's answer is none of S3: check the endpoint");
                    Err(OpenStatus::BadDestination)
                }
            };
        }
        let refused = self.refusal(OPENING, answer).await;
        Err(match refused.status.as_u16() {
            _ if refused.has_expired => OpenStatus::Expired,
            _ if refused.lacks_bucket() => OpenStatus::Missing,
            _ if refused.is_of_the_key() => OpenStatus::Permission,
            401 => OpenStatus::Permission,
            403 => return Ok(Holds::NotShown),
            404 => OpenStatus::Missing,
            300..=399 => OpenStatus::BadDestination,
            _ => OpenStatus::Failed,
        })
    }
}

impl Prune for S3 {
    fn delete(&mut self, name: &BlobName) -> Result<bool, StoreError> {
        self.delete_with(name, None)
    }

    fn delete_signed(&mut self, name: &BlobName, given: &Given) -> Result<bool, StoreError> {
        self.delete_with(name, Some(given))
    }

    fn settle(&mut self) -> Result<(), StoreError> {
        // An answer means that the deletion is durable.
        Ok(())
    }
}

impl S3 {
    fn delete_with(&self, name: &BlobName, given: Option<&Given>) -> Result<bool, StoreError> {
        let key = self.bucket.key_of(name);
        let ask = Ask {
            signature: given.map(|given| &given.signature),
            passing: Some(hyper::StatusCode::CONFLICT),
            ..Ask::new(DELETING, "DELETE", &key)
        };
        let bucket = &self.bucket;
        self.wait(async {
            let (answer, _) = bucket.ask(&ask).await?;
            match answer.status.as_u16() {
                // S3 does not say whether there was anything.
                200 | 204 => {
                    let _ = bucket.http.read_whole(answer, FIRST_PAGE_MAX_BYTES).await;
                    Ok(true)
                }
                404 => {
                    let refused = bucket.refusal(DELETING, answer).await;
                    if refused.lacks_bucket() {
                        Err(refused.into_error(DELETING))
                    } else {
                        Ok(false)
                    }
                }
                _ => Err(bucket.refusal(DELETING, answer).await.into_error(DELETING)),
            }
        })
    }
}
