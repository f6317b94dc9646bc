// SPDX-License-Identifier: GPL-3.0-or-later
//! HTTP/1.1 with one server: connections that are used again, deadlines, and bodies with a bound.
//! Redirects are never followed, because they would take a signature or a password to another
//! server.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http_body_util::BodyExt;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustix::io::Errno;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{self, CertificateError};
use wyng_s3::Server;

use super::body::Sent;
use super::resolver::Resolver;

/// Time to reach one address of the server, TLS included.
const CONNECT: Duration = Duration::from_secs(15);
/// Time without a byte after which a server counts as stalled, and the time that a request without
/// a body takes at most.
pub(super) const STALL: Duration = Duration::from_secs(60);
/// Minimum rate of a body, bytes a second; a slower server is no use for packs of 16 MiB.
const MINIMUM_RATE: u64 = 32 * 1024;
/// Maximum time that a body waits for the one before it. On a slow link both are sent at a time.
const TURN_MAX: Duration = Duration::from_secs(5);
/// Maximum number of connections that are kept for the next request.
const IDLE_MAX: usize = 16;

/// Why there is no answer.
#[derive(Debug, Error)]
pub(crate) enum HttpError {
    /// The host has no address, or none that can be reached.
    #[error("the server cannot be reached: {0}")]
    Unreachable(#[source] io::Error),
    /// TLS does not prove that it is the server.
    #[error("{}", reason(.0))]
    Tls(#[source] io::Error),
    /// The server is too slow.
    #[error("the server did not answer in time")]
    Deadline,
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(#[from] hyper::Error),
    /// The body has more bytes than its request allows.
    #[error("the answer is too long")]
    TooLong,
}

/// One server.
pub(crate) struct Http {
    server: Server,
    resolver: Resolver,
    tls: Option<TlsConnector>,
    idle: Mutex<Vec<SendRequest<Sent>>>,
    /// Whose body is sent.
    turns: Arc<Semaphore>,
}

/// An answer whose body is still to be read. A connection is used again once its body is read to
/// the end.
pub(crate) struct Answer {
    /// The status.
    pub(crate) status: StatusCode,
    /// The headers.
    pub(crate) headers: HeaderMap,
    body: Incoming,
    /// Bytes that were taken from the body and are still to be returned.
    left: Bytes,
    time: TimeLeft,
    connection: Option<SendRequest<Sent>>,
}

impl Http {
    pub(super) fn new(server: Server, resolver: Resolver, tls: Option<TlsConnector>) -> Self {
        Self {
            server,
            resolver,
            tls,
            idle: Mutex::default(),
            turns: Arc::new(Semaphore::new(1)),
        }
    }

    /// The header `host`.
    pub(crate) fn authority(&self) -> String {
        self.server.authority()
    }

    /// The scheme and the authority.
    pub(crate) fn origin(&self) -> String {
        let scheme = if self.server.tls { "https" } else { "http" };
        format!("{scheme}://{}", self.authority())
    }

    /// Sends a request with a body of `body_bytes` and waits for the beginning of its answer. A
    /// connection that the server has closed before is replaced at once.
    pub(crate) async fn send(
        &self,
        request: &(dyn Fn() -> Option<Request<Sent>> + Sync),
        body_bytes: usize,
    ) -> Result<Answer, HttpError> {
        let mut turn = self.take_turn(body_bytes).await;
        let limit = deadline(body_bytes as u64);
        let malformed =
            || HttpError::Unreachable(io::Error::other("the request would be malformed"));
        let mut request = || {
            let mut request = request().ok_or_else(malformed)?;
            request.body_mut().hold(turn.take());
            Ok::<_, HttpError>(request)
        };
        while let Some(mut known) = self.take_idle() {
            if known.ready().await.is_err() {
                continue;
            }
            match timeout(limit, known.try_send_request(request()?)).await {
                Ok(Ok(response)) => return Ok(Answer::of(response, known)),
                // No byte of it was sent. What was sent may still have its effect, so that a
                // repetition is for the caller to decide.
                Ok(Err(unsent)) if unsent.message().is_some() => {}
                Ok(Err(sent)) => return Err(sent.into_error().into()),
                Err(_) => return Err(HttpError::Deadline),
            }
        }
        let mut fresh = self.connect().await?;
        match timeout(limit, fresh.send_request(request()?)).await {
            Ok(response) => Ok(Answer::of(response?, fresh)),
            Err(_) => Err(HttpError::Deadline),
        }
    }

    /// Waits until most of the body before is sent, unless that takes too long. Requests without a
    /// body have no turns.
    async fn take_turn(&self, body_bytes: usize) -> Option<OwnedSemaphorePermit> {
        let turn = Arc::clone(&self.turns).acquire_owned();
        if body_bytes == 0 {
            return None;
        }
        timeout(TURN_MAX, turn).await.ok()?.ok()
    }

    /// Reads a body of at most `max_bytes` to its end.
    pub(crate) async fn read_whole(
        &self,
        mut answer: Answer,
        max_bytes: usize,
    ) -> Result<Vec<u8>, HttpError> {
        let mut whole = Vec::new();
        answer.expect(max_bytes as u64);
        while let Some(part) = answer.next().await? {
            if whole.len().saturating_add(part.len()) > max_bytes {
                return Err(HttpError::TooLong);
            }
            whole.extend_from_slice(&part);
        }
        self.give_back(answer);
        Ok(whole)
    }

    /// Compares a body with these bytes. It is read no further than to the first difference.
    pub(crate) async fn is_same(
        &self,
        mut answer: Answer,
        bytes: &[u8],
    ) -> Result<bool, HttpError> {
        let mut rest = bytes;
        answer.expect(bytes.len() as u64);
        while let Some(part) = answer.next().await? {
            match rest.strip_prefix(&*part) {
                Some(behind) => rest = behind,
                None => return Ok(false),
            }
        }
        self.give_back(answer);
        Ok(rest.is_empty())
    }

    /// Keeps the connection of an answer that was read to its end.
    pub(crate) fn give_back(&self, mut answer: Answer) {
        let Some(connection) = answer.connection.take().filter(|known| !known.is_closed()) else {
            return;
        };
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_MAX {
            idle.push(connection);
        }
    }

    fn take_idle(&self) -> Option<SendRequest<Sent>> {
        self.idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop()
    }

    async fn connect(&self) -> Result<SendRequest<Sent>, HttpError> {
        let host = &self.server.host;
        let addresses = self.resolver.addresses(host).await;
        let mut last = HttpError::Deadline;
        for address in addresses.map_err(HttpError::Unreachable)? {
            let address = SocketAddr::new(address, self.server.port);
            match timeout(CONNECT, self.connect_to(address)).await {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(problem)) => last = problem,
                Err(_) => last = HttpError::Deadline,
            }
        }
        Err(last)
    }

    async fn connect_to(&self, address: SocketAddr) -> Result<SendRequest<Sent>, HttpError> {
        let stream = TcpStream::connect(address)
            .await
            .map_err(HttpError::Unreachable)?;
        // A request is written whole; waiting for more would only cost time.
        let _ = stream.set_nodelay(true);
        let Some(tls) = &self.tls else {
            return shake_hands(stream).await;
        };
        let name = ServerName::try_from(self.server.host.clone())
            .map_err(|problem| HttpError::Tls(io::Error::other(problem)))?;
        let stream = tls.connect(name, stream).await.map_err(HttpError::Tls)?;
        shake_hands(stream).await
    }
}

async fn shake_hands(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<SendRequest<Sent>, HttpError> {
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    // Its failure is the failure of the request that it carries.
    tokio::spawn(connection);
    Ok(sender)
}

impl Answer {
    fn of(response: Response<Incoming>, connection: SendRequest<Sent>) -> Self {
        let (head, body) = response.into_parts();
        Self {
            status: head.status,
            headers: head.headers,
            body,
            left: Bytes::new(),
            time: TimeLeft::of(0),
            connection: Some(connection),
        }
    }

    /// Gives the body the time that these bytes take. It is what was asked for that counts, and not
    /// what the server announces.
    pub(crate) fn expect(&mut self, body_bytes: u64) {
        self.time = TimeLeft::of(body_bytes);
    }

    /// The value of a header, if it is text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Skips bytes of the body, or all of a shorter one.
    pub(crate) async fn skip(&mut self, mut count: u64) -> Result<(), HttpError> {
        while count > 0 {
            let Some(mut part) = self.next().await? else {
                return Ok(());
            };
            let skipped = part.len().min(usize::try_from(count).unwrap_or(usize::MAX));
            self.left = part.split_off(skipped);
            count = count.saturating_sub(skipped as u64);
        }
        Ok(())
    }

    /// The next bytes of the body; `None` at its end. A body that is cut is an error.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, HttpError> {
        if !self.left.is_empty() {
            return Ok(Some(std::mem::take(&mut self.left)));
        }
        loop {
            let begun = Instant::now();
            let frame = timeout(self.time.next(), self.body.frame()).await;
            self.time.spend(begun.elapsed());
            match frame {
                Err(_) => return Err(HttpError::Deadline),
                Ok(None) => return Ok(None),
                Ok(Some(frame)) => match frame?.into_data() {
                    Ok(data) if data.is_empty() => {}
                    Ok(data) => return Ok(Some(data)),
                    // Trailers.
                    Err(_) => {}
                },
            }
        }
    }
}

/// Why TLS is refused, in words of ours: those of the library name the server.
fn reason(problem: &io::Error) -> &'static str {
    let inner = problem.get_ref().and_then(|inner| inner.downcast_ref());
    let Some(rustls::Error::InvalidCertificate(certificate)) = inner else {
        return "the server does not speak TLS as it must";
    };
    match certificate {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the server's certificate has expired"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "the server's certificate is that of another name"
        }
        CertificateError::UnknownIssuer => "the issuer of the server's certificate is not known",
        _ => "the server's certificate is refused",
    }
}

impl HttpError {
    /// The number of an error of the system that says the same.
    pub(crate) fn errno(&self) -> Errno {
        match self {
            Self::Unreachable(problem) => {
                Errno::from_io_error(problem).unwrap_or(Errno::HOSTUNREACH)
            }
            Self::Deadline => Errno::TIMEDOUT,
            Self::Broken(_) => Errno::CONNRESET,
            Self::Tls(_) | Self::TooLong => Errno::PROTO,
        }
    }
}

/// The time that a body has left. Only waiting for it counts: a reader may pause.
#[derive(Debug)]
struct TimeLeft(Duration);

impl TimeLeft {
    fn of(body_bytes: u64) -> Self {
        Self(deadline(body_bytes))
    }

    /// Maximum time until the next bytes.
    fn next(&self) -> Duration {
        self.0.min(STALL)
    }

    fn spend(&mut self, waited: Duration) {
        self.0 = self.0.saturating_sub(waited);
    }
}

/// The time that a request with a body takes at most.
fn deadline(body_bytes: u64) -> Duration {
    STALL.saturating_add(Duration::from_secs(body_bytes / MINIMUM_RATE))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long a server lasts that sends `bytes` every `every_secs` seconds of a body that it
    /// never ends, seconds.
    fn lasts(body_bytes: u64, every_secs: u64) -> u64 {
        let (mut time, mut secs) = (TimeLeft::of(body_bytes), 0);
        while time.next() > Duration::from_secs(every_secs) {
            time.spend(Duration::from_secs(every_secs));
            secs += every_secs;
        }
        secs + time.next().as_secs()
    }

    #[test]
    fn a_server_that_sends_a_byte_before_every_deadline_does_not_last() {
        for every_secs in [1, 10, 59] {
            assert!(
                lasts(0, every_secs) <= 60,
                "nothing to speak of was asked for"
            );
            let pack_secs = (16 << 20) / MINIMUM_RATE;
            assert!(lasts(16 << 20, every_secs) <= 60 + pack_secs);
        }
        assert_eq!(lasts(16 << 20, 61), 60, "a silent one ends sooner");
    }
}
