// SPDX-License-Identifier: GPL-3.0-or-later
//! The daemon of the admin domain: a supervisor and six roles, each a process of its own, joined by
//! typed wires.
//!
//! Read [`roles`] first: it says who holds what. Then follow one command: [`control`] takes it from
//! the client, [`keyholder`] does it, [`volumes`] hands over what the caller opened, [`spawner`]
//! starts the far end, [`transport`] speaks to it. Roles do not import one another; they meet in
//! [`ipc`].

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

pub mod control;
pub mod ipc;
pub mod keyholder;
pub mod roles;
pub mod spawner;
pub mod supervisor;
pub mod transport;
pub mod volumes;

use roles::Role;
use supervisor::Door;

/// Exit status for arguments that are not understood.
const USAGE: u8 = 2;
/// The state of the service, if nothing else is said.
const STATE_DIR: &str = "/var/lib/wyng";

const USAGE_TEXT: &str = "\
The daemon of the Wyng backup. See wyngd(8).

usage: wyngd --socket PATH [--state-dir DIR] [--config FILE] [--helper PATH] [--journal PATH]
       wyngd --standalone [--looks] --client-fd N --state-dir DIR [--config FILE] [--helper PATH] (started by wyng-ctl)
       wyngd --help | --version
";

/// What this process is to be.
enum Start {
    Supervisor(supervisor::Options),
    Role(Role, RoleOptions),
    /// It says this, and ends.
    Say(String),
}

/// What the supervisor tells a role about how the daemon was started.
struct RoleOptions {
    /// The spawner: the helper.
    helper: Option<PathBuf>,
    /// Every role: is it a service?
    service: bool,
    /// Spawner, control, volumes and transport: the configuration.
    config: Option<PathBuf>,
    /// Control: the system's journal.
    journal: Option<PathBuf>,
    /// Control: the daemon takes no lock.
    only_looks: bool,
    /// Volumes: what marks disposables as this daemon's.
    owner: Option<String>,
}

/// Runs what the arguments name, to its end.
pub fn run(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    wyng_jail::outlive_file_size_limit();
    log_to_standard_error();
    let ended = match parse(arguments) {
        None => {
            eprint!("{USAGE_TEXT}");
            return ExitCode::from(USAGE);
        }
        Some(Start::Say(text)) => {
            let said = std::io::stdout().write_all(text.as_bytes());
            return if said.is_ok() {
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
        Some(Start::Role(role, options)) => match run_role(role, options) {
            // A closed wire is how a role learns that the conversation is over. Should its peer
            // have failed, then that is told by the peer.
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

fn run_role(role: Role, options: RoleOptions) -> Result<(), ipc::Fatal> {
    match role {
        Role::Spawner => spawner::run(options.service, options.helper, options.config.as_deref()),
        Role::Control => control::run(&control::Options {
            service: options.service,
            only_looks: options.only_looks,
            config: options.config.as_deref(),
            journal: options.journal.as_deref(),
        }),
        Role::Volumes => volumes::run(options.service, options.config.as_deref(), options.owner),
        Role::Keyholder => keyholder::door::run(options.service),
        Role::Reader => keyholder::reader::run(options.service),
        Role::Transport => transport::run(options.service, options.config.as_deref()),
    }
}

fn parse(mut arguments: impl Iterator<Item = OsString>) -> Option<Start> {
    let (
        mut standalone,
        mut looks,
        mut service,
        mut client_fd,
        mut socket,
        mut state_dir,
        mut config,
        mut helper,
        mut journal,
        mut owner,
        mut role,
    ) = (
        false, false, false, None, None, None, None, None, None, None, None,
    );
    while let Some(argument) = arguments.next() {
        match argument.to_str()? {
            "--help" | "-h" => return Some(Start::Say(USAGE_TEXT.to_owned())),
            "--version" | "-V" => {
                return Some(Start::Say(format!("wyngd {}\n", env!("CARGO_PKG_VERSION"))));
            }
            "--standalone" => standalone = true,
            "--looks" => looks = true,
            "--client-fd" => client_fd = Some(arguments.next()?.to_str()?.parse().ok()?),
            "--service" => service = true,
            "--socket" => socket = Some(PathBuf::from(arguments.next()?)),
            "--state-dir" => state_dir = Some(PathBuf::from(arguments.next()?)),
            "--config" => config = Some(PathBuf::from(arguments.next()?)),
            "--helper" => helper = Some(PathBuf::from(arguments.next()?)),
            "--journal" => journal = Some(PathBuf::from(arguments.next()?)),
            "--owner" => owner = Some(arguments.next()?.into_string().ok()?),
            "--role" => role = Some(Role::from_name(arguments.next()?.to_str()?)?),
            _ => return None,
        }
    }
    match role {
        Some(role) => Some(Start::Role(
            role,
            RoleOptions {
                helper,
                service,
                config,
                journal,
                only_looks: looks,
                owner,
            },
        )),
        None => {
            let door = if standalone {
                Door::Client(client_fd?)
            } else {
                Door::Socket(socket?)
            };
            let state_dir = if standalone {
                state_dir?
            } else {
                state_dir.unwrap_or_else(|| PathBuf::from(STATE_DIR))
            };
            // A service has its configuration where packages put it; a private daemon has the one
            // that its caller names.
            let config_is_named = config.is_some();
            let config =
                config.or_else(|| (!standalone).then(|| PathBuf::from(wyng_config::DEFAULT_PATH)));
            let journal =
                journal.or_else(|| (!standalone).then(|| PathBuf::from(control::JOURNAL)));
            Some(Start::Supervisor(supervisor::Options {
                door,
                only_looks: standalone && looks,
                state_dir,
                config,
                config_is_named,
                helper,
                journal,
            }))
        }
    }
}

/// Warnings and errors of our own, as fields; never content, never a text from the far end.
fn log_to_standard_error() {
    let level = match std::env::var("WYNGD_LOG").as_deref() {
        Ok("debug") => tracing::Level::DEBUG,
        Ok("info") => tracing::Level::INFO,
        _ => tracing::Level::WARN,
    };
    // A second subscriber cannot be set; then the first one stays.
    let _ = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .try_init();
}
