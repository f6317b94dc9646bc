// SPDX-License-Identifier: GPL-3.0-or-later
//! The daemon of the admin domain: a supervisor and seven roles, each a process of its own, joined
//! by typed wires.
//!
//! Read [`roles`] first: it says who holds what. Then follow one command: [`control`] takes it from
//! the client, [`keyholder`] does it, [`volumes`] hands over what the caller opened, [`spawner`]
//! starts the far end, [`transport`] speaks to it. Roles do not import one another; they meet in
//! [`ipc`].

use std::ffi::OsString;
use std::io::Write;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::process::ExitCode;

use wyng_config::Config;

pub mod control;
pub mod ipc;
pub mod keyholder;
pub mod pool;
pub mod roles;
pub mod spawner;
pub mod supervisor;
pub mod transport;
pub mod volumes;

use roles::{Daemon, Role, Use};
use supervisor::Clients;

/// Exit status for arguments that are not understood.
const USAGE: u8 = 2;
/// The service's state directory by default.
const STATE_DIR: &str = "/var/lib/wyng";

const USAGE_TEXT: &str = "\
The daemon of the Wyng backup. See wyngd(8).

usage: wyngd --socket PATH [--state-dir DIR] [--config FILE] [--helper PATH] [--journal PATH]
       wyngd --standalone [--looks] --client-fd N --state-dir DIR [--config FILE] [--helper PATH]
             (started by wyng-ctl)
       wyngd --help | --version
";

/// The part that this process plays.
enum Start {
    Supervisor(supervisor::Options),
    Role(Role, Arguments),
    /// It prints this text, and ends.
    Print(String),
}

/// The arguments, as they were given. The supervisor passes those that a role needs.
#[derive(Default)]
struct Arguments {
    /// The daemon is started for one client.
    standalone: bool,
    /// The daemon is used for commands that change nothing.
    looks: bool,
    /// For a role: the daemon is a service.
    service: bool,
    /// The socket of the one client.
    client_fd: Option<RawFd>,
    /// The socket that clients connect to.
    socket: Option<PathBuf>,
    state_dir: Option<PathBuf>,
    config: Option<PathBuf>,
    /// The helper that runs on this machine.
    helper: Option<PathBuf>,
    /// The socket of the system's journal.
    journal: Option<PathBuf>,
    /// For volumes: what marks disposables as this daemon's.
    owner: Option<String>,
    role: Option<Role>,
}

/// Runs what the arguments name, to its end.
pub fn run(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    wyng_jail::outlive_file_size_limit();
    log_to_standard_error();
    let ended = match Start::parse(arguments) {
        None => {
            eprint!("{USAGE_TEXT}");
            return ExitCode::from(USAGE);
        }
        Some(Start::Print(text)) => {
            let printed = std::io::stdout().write_all(text.as_bytes());
            return if printed.is_ok() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            };
        }
        Some(Start::Supervisor(options)) => {
            if let Some(why) = unreadable(&options) {
                eprintln!("wyngd: {why}");
                return ExitCode::from(USAGE);
            }
            supervisor::run(&options)
        }
        Some(Start::Role(role, arguments)) => match run_role(role, arguments) {
            // A closed wire is how a role learns that the conversation is over. If its peer failed,
            // the peer reports that.
            Err(ipc::Fatal::Gone(peer)) => {
                tracing::debug!(peer, "is gone");
                Ok(())
            }
            ended => ended,
        },
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(fatal) => {
            tracing::error!(reason = %fatal, "ends");
            ExitCode::FAILURE
        }
    }
}

/// Why the configuration that was named cannot be read. The usual one may be missing.
fn unreadable(options: &supervisor::Options) -> Option<String> {
    let path = options
        .config
        .as_ref()
        .filter(|_| options.config_is_named)?;
    std::fs::File::open(path).err().map(|error| {
        format!(
            "the configuration {} cannot be read: {error}",
            path.display()
        )
    })
}

fn run_role(role: Role, arguments: Arguments) -> Result<(), ipc::Fatal> {
    let daemon = if arguments.service {
        Daemon::Service
    } else {
        Daemon::Private
    };
    let config = arguments
        .config
        .map_or_else(
            || Ok(Config::default()),
            |path| Config::read_if_there(&path),
        )
        .map_err(|error| std::io::Error::other(error.to_string()))?;
    match role {
        Role::Spawner => spawner::run(daemon, arguments.helper, config.qubes),
        Role::Control => {
            let purpose = Use::of_looks(arguments.looks);
            control::run(daemon, purpose, &config, arguments.journal.as_deref())
        }
        Role::Volumes => volumes::run(daemon, config, arguments.owner),
        Role::Pool => pool::run(daemon),
        Role::Keyholder => keyholder::door::run(daemon),
        Role::Reader => keyholder::reader::run(daemon),
        Role::Transport => transport::run(daemon, &config),
    }
}

impl Arguments {
    /// Reads an option and its value into its place; `None` where either is not understood.
    fn read(&mut self, option: &str, values: &mut impl Iterator<Item = OsString>) -> Option<()> {
        let mut path = || values.next().map(PathBuf::from);
        match option {
            "--standalone" => self.standalone = true,
            "--looks" => self.looks = true,
            "--service" => self.service = true,
            "--socket" => self.socket = Some(path()?),
            "--state-dir" => self.state_dir = Some(path()?),
            "--config" => self.config = Some(path()?),
            "--helper" => self.helper = Some(path()?),
            "--journal" => self.journal = Some(path()?),
            "--client-fd" => self.client_fd = Some(values.next()?.to_str()?.parse().ok()?),
            "--owner" => self.owner = Some(values.next()?.into_string().ok()?),
            "--role" => self.role = Some(Role::from_name(values.next()?.to_str()?)?),
            _ => return None,
        }
        Some(())
    }

    /// The options of the supervisor, with what a service has by default; `None` where one that it
    /// needs is missing.
    fn of_supervisor(self) -> Option<supervisor::Options> {
        let (clients, state_dir) = if self.standalone {
            (Clients::One(self.client_fd?), self.state_dir?)
        } else {
            let state_dir = self.state_dir.unwrap_or_else(|| PathBuf::from(STATE_DIR));
            (Clients::AtSocket(self.socket?), state_dir)
        };
        // A service has its configuration where packages put it; a private daemon has the one that
        // its caller names.
        let usual = |path| (!self.standalone).then(|| PathBuf::from(path));
        Some(supervisor::Options {
            clients,
            purpose: Use::of_looks(self.standalone && self.looks),
            state_dir,
            config_is_named: self.config.is_some(),
            config: self.config.or_else(|| usual(wyng_config::DEFAULT_PATH)),
            helper: self.helper,
            journal: self.journal.or_else(|| usual(control::JOURNAL)),
        })
    }
}

impl Start {
    fn parse(mut arguments: impl Iterator<Item = OsString>) -> Option<Self> {
        let mut read = Arguments::default();
        while let Some(argument) = arguments.next() {
            match argument.to_str()? {
                "--help" | "-h" => return Some(Self::Print(USAGE_TEXT.to_owned())),
                "--version" | "-V" => {
                    return Some(Self::Print(format!(
                        "wyngd {}\n",
                        env!("CARGO_PKG_VERSION")
                    )));
                }
                option => read.read(option, &mut arguments)?,
            }
        }
        match read.role {
            Some(role) => Some(Self::Role(role, read)),
            None => read.of_supervisor().map(Self::Supervisor),
        }
    }
}

/// Warnings and errors of our own, as fields; never content, never a text from the far end.
fn log_to_standard_error() {
    let level = match std::env::var("WYNGD_LOG").as_deref() {
        Ok("debug") => tracing::Level::DEBUG,
        Ok("info") => tracing::Level::INFO,
        Ok("error") => tracing::Level::ERROR,
        _ => tracing::Level::WARN,
    };
    // A second subscriber cannot be set, and the first one stays.
    let _ = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .try_init();
}
