// SPDX-License-Identifier: GPL-3.0-or-later
//! The store in a folder of a WebDAV server, laid out as the store in a folder: the blob `abcdef…`
//! is `ab/abcdef…`. A blob is sent under another name in a folder of our own, and gets its name by
//! a MOVE that replaces nothing: a plain PUT is atomic on few servers.

mod folder;
mod listing;
mod reading;
mod upload;

use std::sync::{Arc, Mutex};

use tracing::warn;
use wyng_wire::{BlobName, OpenStatus, Service};
use zeroize::Zeroizing;

use super::turns::Turns;
use super::{Prune, StoreError, WebdavAddress};
use crate::net::{Credentials, Network, Prepared};
use folder::{Ask, Folder, open_status};

const DELETING: &str = "delete a blob";

/// An open folder of a server.
pub(crate) struct Webdav {
    network: Network,
    folder: Arc<Folder>,
    turns: Turns,
}

/// What was read for a folder before the jail.
pub(crate) struct Unopened {
    address: WebdavAddress,
    /// The value of the header `authorization`, if there are credentials.
    authorization: Option<Zeroizing<String>>,
    prepared: Prepared,
}

impl Unopened {
    /// Reads the files that are needed. Nothing is connected yet.
    pub(crate) fn new(address: WebdavAddress, credentials: &[u8]) -> Result<Self, OpenStatus> {
        let authorization = authorization(&address, credentials)?;
        let prepared = Prepared::read(&address.server).map_err(|problem| {
            warn!("a file of the store's address cannot be read: {problem}");
            OpenStatus::BadDestination
        })?;
        Ok(Self {
            address,
            authorization,
            prepared,
        })
    }

    /// The port of the server.
    pub(crate) fn port(&self) -> u16 {
        self.address.server.port
    }
}

/// The header of a user and a password. A server may also ask for none.
fn authorization(
    address: &WebdavAddress,
    credentials: &[u8],
) -> Result<Option<Zeroizing<String>>, OpenStatus> {
    let credentials = Credentials::read(credentials).ok_or(OpenStatus::Permission)?;
    let user = credentials.get("user").map(|user| user.as_str());
    let user = user.or(address.user.as_deref());
    match (user, credentials.get("password")) {
        (None, None) => Ok(None),
        (Some(user), Some(password)) if !user.contains(':') => {
            let pair = Zeroizing::new(format!("{user}:{}", password.as_str()));
            let encoded = wyng_s3::encode_base64(pair.as_bytes());
            Ok(Some(Zeroizing::new(format!("Basic {}", encoded.as_str()))))
        }
        _ => {
            warn!("the credentials need both a user and a password");
            Err(OpenStatus::Permission)
        }
    }
}

impl Webdav {
    /// Opens the folder; with `create` its last component is made. Only behind the jail: here the
    /// first connection is made.
    pub(crate) fn open(
        unopened: Unopened,
        service: Service,
        create: bool,
    ) -> Result<Self, OpenStatus> {
        let Unopened {
            address,
            authorization,
            prepared,
        } = unopened;
        let network = Network::start(prepared, address.server.clone()).map_err(|problem| {
            warn!("the network cannot be used: {problem}");
            OpenStatus::Failed
        })?;
        let folder = Arc::new(Folder {
            http: network.http(),
            path: address.path,
            authorization,
            shards: Mutex::default(),
        });
        let opening = open_folder(&folder, service, create);
        network.open(opening).unwrap_or_else(|| {
            warn!("the server does not answer in time");
            Err(OpenStatus::Unreachable)
        })?;
        Ok(Self {
            network,
            folder,
            turns: Turns::default(),
        })
    }

    /// Waits for work of the network.
    fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        self.network.handle().block_on(work)
    }
}

/// A folder that was made stays if it cannot become a store: some servers claim to have made one
/// that was there before, and DELETE takes all that is in it.
async fn open_folder(folder: &Folder, service: Service, create: bool) -> Result<(), OpenStatus> {
    if create {
        folder.make().await?;
    }
    folder.look(create).await?;
    if service == Service::Push {
        folder.prepare_incoming().await?;
    }
    if create {
        let tried = folder.try_to_be_exclusive().await;
        if !tried.map_err(|problem| open_status(&problem))? {
            warn!("the server replaces a file although it is told not to (Overwrite: F)");
            return Err(OpenStatus::Unsuitable);
        }
    }
    Ok(())
}

impl Prune for Webdav {
    fn delete(&mut self, name: &BlobName) -> Result<bool, StoreError> {
        let path = folder::path_of(name);
        let folder = &self.folder;
        self.wait(async {
            let ask = Ask::new(DELETING, "DELETE", &path);
            let (answer, tried_before) = folder.ask(&ask).await?;
            match answer.status.as_u16() {
                // 202 is a promise.
                200 | 204 => {
                    folder.finish(answer).await;
                    Ok(true)
                }
                // An earlier try may have deleted it, and its answer was lost.
                404 | 410 => {
                    folder.finish(answer).await;
                    Ok(tried_before)
                }
                _ => Err(folder.refusal(DELETING, answer).await),
            }
        })
    }

    fn settle(&mut self) -> Result<(), StoreError> {
        // An answer means that the deletion is done; more no server says.
        Ok(())
    }
}
