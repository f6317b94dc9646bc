// SPDX-License-Identifier: GPL-3.0-or-later
//! The network of the stores that are reached over HTTP. What lies in files (name servers,
//! certificates) is read before the jail; sockets and threads come only behind it.

mod body;
mod client;
mod credentials;
mod resolver;
mod retry;

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use wyng_s3::Server;

pub(crate) use body::Sent;
pub(crate) use client::{Answer, Http, HttpError};
pub(crate) use credentials::Credentials;
pub(crate) use resolver::DNS_PORT;
pub(crate) use retry::{Faced, Patience, is_passing, retry_after, until_it_lasts};

use resolver::Resolver;

/// Maximum time of opening a store: less than the silence with which the daemon gives a far end up,
/// so that the helper says what failed.
const OPENING_MAX: Duration = Duration::from_secs(45);
/// Number of threads that send and receive: one body can be encrypted while another one is.
const WORKERS: usize = 2;
/// Maximum size of a file of certificates, bytes.
const CERTIFICATES_MAX_BYTES: u64 = 4 << 20;

/// What was read for the network before the jail.
pub(crate) struct Prepared {
    resolver: Resolver,
    tls: Option<TlsConnector>,
}

impl Prepared {
    /// Reads name servers, and the certificates that the owner trusts: the file that the address
    /// names, else the one of `SSL_CERT_FILE`, else those that the web trusts.
    pub(crate) fn read(server: &Server) -> io::Result<Self> {
        let tls = if server.tls {
            let named = server.ca.clone();
            let file = named.or_else(|| std::env::var_os("SSL_CERT_FILE").map(Into::into));
            Some(connector(roots(file.as_deref())?)?)
        } else {
            None
        };
        Ok(Self {
            resolver: Resolver::read(),
            tls,
        })
    }
}

fn roots(file: Option<&Path>) -> io::Result<RootCertStore> {
    let Some(file) = file else {
        let roots = webpki_roots::TLS_SERVER_ROOTS.to_vec();
        return Ok(RootCertStore { roots });
    };
    let mut bytes = Vec::new();
    // A device or a pipe may never end.
    let limit = CERTIFICATES_MAX_BYTES.saturating_add(1);
    let read = File::open(file)?.take(limit).read_to_end(&mut bytes)?;
    if read as u64 > CERTIFICATES_MAX_BYTES {
        return Err(io::Error::other(
            "a file of certificates is larger than 4 MiB",
        ));
    }
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&bytes) {
        store
            .add(certificate.map_err(io::Error::other)?)
            .map_err(io::Error::other)?;
    }
    if store.is_empty() {
        return Err(io::Error::other("a file of certificates has none"));
    }
    Ok(store)
}

fn connector(roots: RootCertStore) -> io::Result<TlsConnector> {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// The threads of the network, and the server that they talk to. Only behind the jail.
pub(crate) struct Network {
    runtime: Runtime,
    http: Arc<Http>,
}

impl Network {
    /// Starts the threads; nothing is connected yet.
    pub(crate) fn start(prepared: Prepared, server: Server) -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .thread_name("network")
            .enable_io()
            .enable_time()
            .build()?;
        Ok(Self {
            runtime,
            http: Arc::new(Http::new(server, prepared.resolver, prepared.tls)),
        })
    }

    /// The server.
    pub(crate) fn http(&self) -> Arc<Http> {
        Arc::clone(&self.http)
    }

    /// Waits for a store to be opened; `None` if that takes too long.
    pub(crate) fn open<T>(&self, opening: impl Future<Output = T>) -> Option<T> {
        let opened = async { timeout(OPENING_MAX, opening).await.ok() };
        self.runtime.block_on(opened)
    }

    /// Where work is handed over, and waited for.
    pub(crate) fn handle(&self) -> Handle {
        self.runtime.handle().clone()
    }
}
