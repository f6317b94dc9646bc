// SPDX-License-Identifier: GPL-3.0-or-later
//! `tui`: one screen with archives, qubes, volumes and sessions, what runs and what comes next. It
//! only draws what other commands report, and restores by the command line that it shows.

mod draw;
mod keys;
mod screen;
mod state;
mod timers;
mod view;

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags};
use wyng_control::{CONTROL_VERSION, ExitStatus, Failure, ToClient, ToDaemon};

use crate::cli::Cli;
use crate::client::{Client, ClientError, Reach};
use crate::clock::Clock;
use crate::message::Message;
use crate::report::Report;
use crate::signals::{Resizes, Said, Signals, Waited};
use crate::terminal;
use crate::watch::{Arrival, Tries};
use keys::{Key, Keys};
use screen::Screen;
use state::{Daemon, Look, State, Wish};
use timers::Asked;

/// Time after which a single Escape is the key of this name.
const ESCAPE_PATIENCE: Duration = Duration::from_millis(50);
/// Maximum number of results that are taken before the screen is drawn again.
const RESULTS_MAX: usize = 1000;
/// Maximum number of bytes of keys that are read at once.
const KEYS_MAX_BYTES: usize = 256;

/// Why the overview ends.
enum End {
    /// The person left.
    Left,
    /// The person interrupted, or the terminal is gone.
    Interrupted,
    /// It cannot go on.
    Failed(Message),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Failed(Message::of_unusable_terminal(&error))
    }
}

impl From<Errno> for End {
    fn from(errno: Errno) -> Self {
        io::Error::from(errno).into()
    }
}

/// Shows the overview until the person leaves.
pub(crate) fn run(cli: &Cli, report: &mut Report) -> ExitStatus {
    // A script that has a terminal somewhere is no person in front of one.
    let is_person = rustix::termios::isatty(rustix::stdio::stdin());
    let (true, Ok(terminal)) = (is_person, terminal::open()) else {
        return report.fail(Message::of_no_terminal());
    };
    match Overview::open(cli, &terminal).and_then(|mut overview| overview.go()) {
        Err(End::Left) => ExitStatus::Done,
        Err(End::Interrupted) => ExitStatus::Interrupted,
        Err(End::Failed(message)) => report.fail(message),
        Ok(never) => match never {},
    }
}

/// The connection over which others' commands are heard of.
enum Following {
    /// It is there, since then.
    By(Client, Instant),
    /// It is not. It is tried again at this time, or when something changes.
    Not(Option<Instant>, Option<Arrival>),
    /// Nobody follows a private daemon.
    Never,
}

struct Overview<'a> {
    cli: &'a Cli,
    terminal: &'a File,
    /// None while a command runs in the terminal.
    screen: Option<Screen>,
    signals: Signals,
    resizes: Resizes,
    keys: Keys,
    /// When bytes that may be the beginning of a key are one.
    escape: Option<Instant>,
    state: State,
    look: Option<Client>,
    following: Following,
    tries: Tries,
    timers: Option<Asked>,
}

/// A descriptor that is waited for.
#[derive(Clone, Copy)]
enum Source {
    Keys,
    Resizes,
    Look,
    Following,
    Arrival,
    Timers,
}

impl<'a> Overview<'a> {
    fn open(cli: &'a Cli, terminal: &'a File) -> Result<Self, End> {
        let heard = |error| End::Failed(Message::of_unheard_signals(&error));
        let signals = Signals::hear().map_err(heard)?;
        let resizes = Resizes::hear().map_err(heard)?;
        let is_private = cli.options.standalone;
        let daemon = if is_private {
            Daemon::Private
        } else {
            Daemon::Gone
        };
        let following = if is_private {
            Following::Never
        } else {
            Following::Not(Some(Instant::now()), None)
        };
        let home = std::env::var("HOME").ok();
        Ok(Self {
            cli,
            terminal,
            screen: Some(Screen::enter(terminal)?),
            signals,
            resizes,
            keys: Keys::default(),
            escape: None,
            state: State::new(cli.options.words(), home, daemon),
            look: None,
            following,
            tries: Tries::default(),
            timers: Asked::begin().ok(),
        })
    }

    fn go(&mut self) -> Result<std::convert::Infallible, End> {
        loop {
            self.begin_look();
            self.follow();
            if let Some(screen) = &mut self.screen {
                screen.show(&self.state.view(&Clock::here()))?;
            }
            match self.wait()? {
                (Waited::Said(Said::Interrupt), _) => return Err(End::Interrupted),
                (Waited::Said(Said::Stop), _) => {
                    self.screen = None;
                    self.signals.stop()?;
                    self.screen = Some(Screen::enter(self.terminal)?);
                }
                (Waited::Said(Said::Continue), _) => self.draw_anew()?,
                (Waited::Said(Said::DaemonGone), _) => {}
                (Waited::TimeUp, _) => self.time_is_up()?,
                (Waited::Ready(ready), sources) => {
                    let sources = sources.into_iter().zip(ready);
                    for (source, _) in sources.filter(|(_, is_ready)| *is_ready) {
                        self.take(source)?;
                    }
                }
            }
        }
    }

    fn draw_anew(&mut self) -> Result<(), End> {
        if let Some(screen) = &mut self.screen {
            screen.forget()?;
        }
        Ok(())
    }

    /// Waits for a descriptor, a signal or the next time limit.
    fn wait(&self) -> Result<(Waited, Vec<Source>), End> {
        let mut polled: Vec<(Source, BorrowedFd<'_>)> = vec![
            (Source::Keys, self.terminal.as_fd()),
            (Source::Resizes, self.resizes.as_fd()),
        ];
        polled.extend(self.look.iter().map(|look| (Source::Look, look.as_fd())));
        polled.extend(
            self.timers
                .iter()
                .map(|asked| (Source::Timers, asked.as_fd())),
        );
        let mut until = self.escape;
        match &self.following {
            Following::By(client, _) => polled.push((Source::Following, client.as_fd())),
            Following::Not(at, arrival) => {
                polled.extend(
                    arrival
                        .iter()
                        .map(|arrival| (Source::Arrival, arrival.as_fd())),
                );
                until = until.into_iter().chain(*at).min();
            }
            Following::Never => {}
        }
        let (sources, descriptors): (Vec<_>, Vec<_>) = polled.into_iter().unzip();
        Ok((self.signals.wait_any(&descriptors, until)?, sources))
    }

    fn time_is_up(&mut self) -> Result<(), End> {
        if self.escape.is_some_and(|at| at <= Instant::now()) {
            self.escape = None;
            if let Some(key) = self.keys.nothing_follows() {
                self.press(key)?;
            }
        }
        // A connection that is due is made before the next wait.
        Ok(())
    }

    fn take(&mut self, source: Source) -> Result<(), End> {
        match source {
            Source::Keys => self.read_keys()?,
            Source::Resizes => {
                self.resizes.forget()?;
                // The next view is drawn for the new size.
            }
            Source::Look => self.take_results(),
            Source::Following => self.hear(),
            Source::Arrival => {
                self.tries = Tries::default();
                self.following = Following::Not(Some(Instant::now()), None);
            }
            Source::Timers => {
                let answer = self.timers.take().and_then(Asked::answer);
                self.state.take_timer(answer);
            }
        }
        Ok(())
    }

    fn read_keys(&mut self) -> Result<(), End> {
        let mut bytes = [0; KEYS_MAX_BYTES];
        let mut terminal = self.terminal;
        let length = match terminal.read(&mut bytes) {
            Ok(0) => return Err(End::Interrupted),
            Ok(length) => length,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) =>
            {
                return Ok(());
            }
            // The terminal is gone.
            Err(_) => return Err(End::Interrupted),
        };
        for key in self.keys.take(bytes.get(..length).unwrap_or_default()) {
            self.press(key)?;
        }
        let now = Instant::now();
        self.escape = self
            .keys
            .is_waiting()
            .then(|| now.checked_add(ESCAPE_PATIENCE))
            .flatten();
        Ok(())
    }

    fn press(&mut self, key: Key) -> Result<(), End> {
        match self.state.press(key) {
            None => Ok(()),
            Some(Wish::Leave) => Err(End::Left),
            Some(Wish::Read) => {
                self.timers = Asked::begin().ok();
                Ok(())
            }
            Some(Wish::Run(words)) => self.run_command(&words),
        }
    }

    /// Asks for the next results, if none are awaited.
    fn begin_look(&mut self) {
        while self.look.is_none() {
            let Some(look) = self.state.next_look() else {
                return;
            };
            match self.connect(&ToDaemon::Start(look.command())) {
                Ok(client) => self.look = Some(client),
                // Without a state folder there is nothing to list, which is not an error.
                Err(ClientError::NoState(_)) if look == Look::Archives => self.state.end_look(None),
                Err(error) => self.state.end_look(Some(&error.message().text)),
            }
        }
    }

    fn connect(&self, request: &ToDaemon) -> Result<Client, ClientError> {
        let client = Client::connect(&Reach {
            options: &self.cli.options,
            may_make_state: false,
            only_looks: true,
            until: None,
        })?;
        let hello = ToDaemon::Hello {
            version: CONTROL_VERSION,
        };
        client.send(&hello, &[])?;
        client.send(request, &[])?;
        Ok(client)
    }

    fn take_results(&mut self) {
        for _ in 0..RESULTS_MAX {
            let Some(client) = self.look.take_if(|client| client.is_ready()) else {
                return;
            };
            match client.receive() {
                Ok(ToClient::Done { .. }) => {
                    client.end();
                    self.state.end_look(None);
                }
                Ok(ToClient::Hello { version }) if version != CONTROL_VERSION => {
                    let failure = Message::of_failure(&Failure::VersionMismatch);
                    self.state.end_look(Some(&failure.text));
                }
                Ok(event) => {
                    self.state.take_result(event);
                    self.look = Some(client);
                }
                Err(error) => self.state.end_look(Some(&error.message().text)),
            }
        }
    }

    /// Connects once that is due, to hear of others' commands.
    fn follow(&mut self) {
        let is_due =
            matches!(&self.following, Following::Not(Some(at), _) if *at <= Instant::now());
        if !is_due {
            return;
        }
        // Watched before the try, so that no change is missed.
        let arrival = Arrival::near(&self.cli.options.socket).ok();
        self.following = match self.connect(&ToDaemon::Watch { stays: true }) {
            Ok(client) => Following::By(client, Instant::now()),
            Err(_) => Following::Not(Instant::now().checked_add(self.tries.next_wait()), arrival),
        };
    }

    fn hear(&mut self) {
        for _ in 0..RESULTS_MAX {
            let Following::By(client, since) = &self.following else {
                return;
            };
            if !client.is_ready() {
                return;
            }
            match client.receive() {
                Ok(ToClient::Done { .. }) | Err(_) => {
                    self.tries.lost(*since);
                    self.state.lose_daemon();
                    let arrival = Arrival::near(&self.cli.options.socket).ok();
                    let at = Instant::now().checked_add(self.tries.next_wait());
                    self.following = Following::Not(at, arrival);
                }
                Ok(event) => self.state.hear(&event, Instant::now()),
            }
        }
    }

    /// Leaves the screen, runs this program with these words in the terminal, and comes back once
    /// the person has read what it said.
    fn run_command(&mut self, words: &[String]) -> Result<(), End> {
        self.screen = None;
        // Other looks would wait for one whose results nobody takes.
        if let Some(client) = self.look.take() {
            client.end();
            self.state.end_look(Some("It was not read to the end."));
        }
        let mut line = Command::new("/proc/self/exe");
        line.args(words.iter().map(OsStr::new));
        wyng_jail::unblock_signals(&mut line);
        let status = match line.spawn() {
            Ok(child) => self.wait_for(child)?,
            Err(_) => None,
        };
        // What was typed for the command is no answer to this.
        let _ = rustix::termios::tcflush(self.terminal, rustix::termios::QueueSelector::IFlush);
        self.signals.forget_interrupts()?;
        let answer = terminal::Terminal::open(terminal::Echo::Hidden, &self.signals)
            .and_then(|terminal| terminal.ask("\nEnter goes back to the overview. "));
        if let Err(terminal::NoAnswer::Interrupted | terminal::NoAnswer::Ended) = answer {
            return Err(End::Interrupted);
        }
        self.state.ran(status);
        self.screen = Some(Screen::enter(self.terminal)?);
        Ok(())
    }

    /// Waits for the end of a command. Keys that interrupt or stop are for it; this program stops
    /// with it, so that the shell knows.
    fn wait_for(&self, mut child: std::process::Child) -> Result<Option<i32>, End> {
        let ended = rustix::process::pidfd_open(Pid::from_child(&child), PidfdFlags::empty())?;
        loop {
            match self.signals.wait_any(&[ended.as_fd()], None)? {
                Waited::Said(Said::Stop) => self.signals.stop()?,
                Waited::Said(_) | Waited::TimeUp => {}
                Waited::Ready(_) => return Ok(child.wait()?.code()),
            }
        }
    }
}
