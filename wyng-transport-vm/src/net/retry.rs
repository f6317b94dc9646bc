// SPDX-License-Identifier: GPL-3.0-or-later
//! Trying again: which answers pass, how long to wait, and when to give up. Every request of a
//! store can be repeated, so a lost answer only means that an effect may be there already.

use std::time::{Duration, Instant};

use hyper::StatusCode;
use rustix::io::Errno;
use tokio::time::sleep;
use tracing::{info, warn};

use super::client::{Answer, HttpError};

/// Maximum number of tries of one request.
const TRIES_MAX: u32 = 8;
/// The same while a store is opened, since a person may wait for it, and of what another run asks
/// for again.
const TRIES_FEW: u32 = 4;
/// The first wait between two tries; each one is twice as long as the one before.
const FIRST_WAIT: Duration = Duration::from_millis(200);
/// Maximum wait between two tries, whatever the server asks for.
const WAIT_MAX: Duration = Duration::from_secs(20);
/// Time after which nothing is tried again. It is less than the daemon's patience with a far end,
/// so that the helper and not the daemon says what failed.
const GIVE_UP: Duration = Duration::from_secs(150);

/// Why a request is tried again.
#[derive(Debug)]
pub(crate) enum Faced {
    /// There is no answer.
    Error(HttpError),
    /// An answer that may pass.
    Status(StatusCode, Option<Duration>),
}

impl Faced {
    /// The number of an error of the system that says the same.
    pub(crate) fn errno(&self) -> Errno {
        match self {
            Self::Error(problem) => problem.errno(),
            Self::Status(..) => Errno::BUSY,
        }
    }
}

/// Sends a request until the answer is one that does not pass: neither a status that always may
/// pass, nor `passing`. Also returns whether an earlier try may have had its effect.
pub(crate) async fn until_it_lasts<F>(
    mut patience: Patience,
    passing: Option<StatusCode>,
    try_once: impl Fn() -> F,
) -> Result<(Answer, bool), Faced>
where
    F: Future<Output = Result<Answer, HttpError>>,
{
    loop {
        let faced = match try_once().await {
            Ok(answer) if is_passing(answer.status) || Some(answer.status) == passing => {
                Faced::Status(answer.status, retry_after(&answer))
            }
            Ok(answer) => return Ok((answer, patience.tried_before())),
            Err(problem) => Faced::Error(problem),
        };
        if !patience.again(&faced).await {
            return Err(faced);
        }
    }
}

/// The tries of one request.
pub(crate) struct Patience {
    step: &'static str,
    began: Instant,
    tries: u32,
    tries_max: u32,
}

impl Patience {
    /// For a request that does this, in words that complete "cannot …".
    pub(crate) fn to(step: &'static str) -> Self {
        Self {
            step,
            began: Instant::now(),
            tries: 0,
            tries_max: TRIES_MAX,
        }
    }

    /// The same for the first request to a server, and for what another run asks for again.
    pub(crate) fn a_little(step: &'static str) -> Self {
        Self {
            tries_max: TRIES_FEW,
            ..Self::to(step)
        }
    }

    /// Whether an earlier try may have had its effect.
    fn tried_before(&self) -> bool {
        self.tries > 0
    }

    /// Waits for the next try. False: it is given up.
    pub(crate) async fn again(&mut self, faced: &Faced) -> bool {
        let step = self.step;
        let asked = match faced {
            // A certificate does not become right.
            Faced::Error(problem @ (HttpError::Tls(_) | HttpError::TooLong)) => {
                warn!("cannot {step}: {problem}");
                return false;
            }
            Faced::Error(problem) => {
                info!("cannot {step}: {problem}");
                None
            }
            Faced::Status(status, asked) => {
                info!("cannot {step}: the server answers {}", status.as_u16());
                *asked
            }
        };
        self.tries = self.tries.saturating_add(1);
        let doubled = FIRST_WAIT.saturating_mul(1 << self.tries.min(10));
        let wait = asked.unwrap_or(doubled).min(WAIT_MAX);
        let over = self.began.elapsed().saturating_add(wait) > GIVE_UP;
        if self.tries >= self.tries_max || over {
            warn!("cannot {step}: given up after {} tries", self.tries);
            return false;
        }
        sleep(wait).await;
        true
    }
}

/// Whether a status says that the same request may succeed later.
pub(crate) fn is_passing(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        408 | 423 | 425 | 429 | 500 | 502 | 503 | 504
    )
}

/// How long the server asks to wait. Dates are not understood: the helper trusts no server's clock.
pub(crate) fn retry_after(answer: &Answer) -> Option<Duration> {
    let secs = answer.header("retry-after")?.trim().parse().ok()?;
    Some(Duration::from_secs(secs))
}
