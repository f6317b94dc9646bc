// SPDX-License-Identifier: GPL-3.0-or-later
//! `watch --notify`: follows the daemon's commands for as long as the person's session lasts, and
//! shows notices. It stays while the daemon restarts.

mod arrival;
mod desk;
mod notices;

use std::io::Write;
use std::time::{Duration, Instant};

use wyng_config::Config;
use wyng_control::{CONTROL_VERSION, Command, ExitStatus, Failure, ToClient, ToDaemon};

use crate::cli::Cli;
use crate::client::{Client, ClientError, Reach};
use crate::clock::Clock;
use crate::defaults::ask;
use crate::message::Message;
use crate::overdue::Watch;
use crate::report::Report;
use crate::settings;
use crate::signals::{Said, Signals, Waited};
pub(crate) use arrival::Arrival;
use desk::Desk;
use notices::{Notice, Notices};

/// Time between two looks for overdue backups. The first is made at each connection.
const OVERDUE_EVERY: Duration = Duration::from_secs(6 * 3600);
/// Maximum time for such a look.
const LOOK_PATIENCE: Duration = Duration::from_secs(30);
/// The wait before the second try to connect; each further one is twice as long.
const RETRY_FIRST: Duration = Duration::from_millis(100);
/// Number of tries before a change near the socket is waited for.
const RETRIES_MAX: u32 = 9;
/// The wait for a change. A daemon may also be there again without one.
const RETRY_LAST: Duration = Duration::from_secs(600);
/// A connection that lasted for this time was no vain try.
const LASTED: Duration = Duration::from_secs(10);
/// Codes of what is overdue, as far as it is a backup.
const OVERDUE: [&str; 2] = ["backup-overdue", "archive-backup-overdue"];

/// Why it ends.
enum End {
    /// The session ends, or the person interrupted.
    Interrupted,
    /// It cannot go on.
    Failed(Message),
}

impl From<std::io::Error> for End {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(Message::of_unheard_signals(&error))
    }
}

/// Vain tries to connect, one after the other.
#[derive(Default)]
pub(crate) struct Tries(u32);

impl Tries {
    /// The wait before the next try.
    pub(crate) fn next_wait(&mut self) -> Duration {
        self.0 = self.0.saturating_add(1);
        if self.0 > RETRIES_MAX {
            return RETRY_LAST;
        }
        let doubled = 1_u32.checked_shl(self.0.saturating_sub(1)).unwrap_or(1);
        RETRY_FIRST.saturating_mul(doubled)
    }

    /// A try succeeded at that time, and the connection is lost now.
    pub(crate) fn lost(&mut self, since: Instant) {
        if since.elapsed() >= LASTED {
            *self = Self::default();
        }
    }
}

/// Follows commands until the process is told to end.
pub(crate) fn run(cli: &Cli, report: &mut Report) -> ExitStatus {
    if cli.options.standalone {
        return report.fail(Message::of_private_watch());
    }
    let opened = Signals::hear().map_err(|error| Message::of_unheard_signals(&error));
    let opened = opened.and_then(|signals| {
        let desk = Desk::open().map_err(|error| Message::of_no_notices(&error))?;
        Ok((signals, desk))
    });
    let (signals, desk) = match opened {
        Ok(opened) => opened,
        Err(message) => return report.fail(message),
    };
    let mut follower = Follower {
        cli,
        config: Config::default(),
        signals,
        desk,
        notices: Notices::default(),
    };
    let Err(end) = follower.follow();
    follower.desk.close();
    match end {
        End::Interrupted => ExitStatus::Interrupted,
        End::Failed(message) => report.fail(message),
    }
}

struct Follower<'a> {
    cli: &'a Cli,
    /// As it was when it last had no mistake.
    config: Config,
    signals: Signals,
    desk: Desk,
    notices: Notices,
}

impl Follower<'_> {
    /// Connects, follows, and connects again.
    fn follow(&mut self) -> Result<std::convert::Infallible, End> {
        let mut tries = Tries::default();
        loop {
            // Watched before the try, so that no change is missed.
            let arrival = Arrival::near(&self.cli.options.socket).ok();
            let begun = Instant::now();
            self.converse()?;
            let lost = self.notices.lose();
            self.show(lost);
            tries.lost(begun);
            if self.wait(arrival.as_ref(), tries.next_wait())? {
                tries = Tries::default();
            }
        }
    }

    /// Follows one connection to its end.
    fn converse(&mut self) -> Result<(), End> {
        let reach = Reach {
            options: &self.cli.options,
            may_make_state: false,
            only_looks: true,
            until: None,
        };
        let client = match Client::connect(&reach) {
            Ok(client) => client,
            Err(ClientError::NoDaemon(_)) => return Ok(()),
            Err(error) => return Err(End::Failed(error.message())),
        };
        let hello = ToDaemon::Hello {
            version: CONTROL_VERSION,
        };
        let sent = client
            .send(&hello, &[])
            .and_then(|()| client.send(&ToDaemon::Watch { stays: true }, &[]));
        // A daemon that refuses says why before it hangs up.
        let _ = sent;
        let mut next_look = None;
        loop {
            match self.signals.wait_any(&[client.as_fd()], next_look)? {
                Waited::Said(Said::Interrupt) => return Err(End::Interrupted),
                Waited::Said(Said::Stop) => self.signals.stop()?,
                Waited::Said(_) => {}
                Waited::TimeUp => next_look = self.look_for_overdue(),
                Waited::Ready(_) => match client.receive() {
                    Err(_) | Ok(ToClient::Done { .. }) => return Ok(()),
                    Ok(ToClient::Hello {
                        version: CONTROL_VERSION,
                    }) => {
                        say("following the daemon");
                        next_look = self.look_for_overdue();
                    }
                    Ok(ToClient::Hello { .. } | ToClient::Failed(Failure::VersionMismatch)) => {
                        let message = Message::of_failure(&Failure::VersionMismatch);
                        return Err(End::Failed(message));
                    }
                    Ok(event) => {
                        let notice = self.notices.hear(&event, Instant::now());
                        self.show(notice);
                    }
                },
            }
        }
    }

    /// Waits until a daemon may be there; true if something changed.
    fn wait(&self, arrival: Option<&Arrival>, limit: Duration) -> Result<bool, End> {
        let until = Instant::now().checked_add(limit);
        let watched: Vec<_> = arrival.iter().map(|arrival| arrival.as_fd()).collect();
        loop {
            match self.signals.wait_any(&watched, until)? {
                Waited::Said(Said::Interrupt) => return Err(End::Interrupted),
                Waited::Said(Said::Stop) => self.signals.stop()?,
                Waited::Said(_) => {}
                Waited::TimeUp => return Ok(false),
                Waited::Ready(_) => return Ok(true),
            }
        }
    }

    /// Shows which backups are overdue. Returns when to look again.
    fn look_for_overdue(&mut self) -> Option<Instant> {
        // The configuration may have changed; one with a mistake changes nothing.
        if let Ok(config) = settings::read(&self.cli.options) {
            self.config = config;
        }
        let now = Instant::now();
        let reach = Reach {
            options: &self.cli.options,
            may_make_state: false,
            only_looks: true,
            until: now.checked_add(LOOK_PATIENCE),
        };
        let mut seen = Watch::default();
        let status = Command::Status {
            archive: None,
            trust_clock: false,
        };
        if ask(&reach, status, |event| seen.hear(&event)).is_ok() {
            let found = seen.overdue(&self.config, None, &Clock::here());
            let archives: Vec<Option<&str>> = found
                .iter()
                .filter(|overdue| OVERDUE.contains(&overdue.message.code))
                .map(|overdue| overdue.archive.as_deref())
                .collect();
            let notice = self.notices.overdue(&archives, now);
            self.show(notice);
        }
        now.checked_add(OVERDUE_EVERY)
    }

    fn show(&self, notice: Option<Notice>) {
        if let Some(notice) = notice {
            self.desk.show(notice);
        }
    }
}

/// A line for the journal of the person's session. A closed standard error is no reason to end.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_become_rarer() {
        let mut tries = Tries::default();
        let mut next = || tries.next_wait().as_millis();
        let waits: Vec<u128> = (0..11).map(|_| next()).collect();
        assert_eq!(
            waits,
            [
                100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 600_000, 600_000
            ]
        );
    }
}
