// SPDX-License-Identifier: GPL-3.0-or-later
//! The words of the command line, and the message that each command becomes.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Args, FromArgMatches, Parser, Subcommand, ValueEnum, ValueHint};
use wyng_config::{Config, Profile, parse_bytes, parse_secs};
use wyng_control::{
    BackupSource, Command, CompareWith, Compression, ExitStatus, HoldOff, SessionChoice, ToDaemon,
    UNLOCK_MAX_SECS,
};

use crate::help;
use crate::passphrase::{NoPassphrase, Origin};
use crate::power::POWER_SUPPLIES;
use crate::quantity::parse_small_bytes;
use crate::report::{self, Message};

const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (archive format version 0; not audited)"
);

/// Where the service listens.
pub(crate) const SOCKET: &str = "/run/wyng/wyngd.sock";

/// Fast incremental, encrypted backup of disk volumes. Your keys stay on a machine without a
/// network; everything between it and the storage is treated as hostile.
#[derive(Debug, Parser)]
#[command(name = "wyng-ctl", version = VERSION, max_term_width = 110, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) options: Options,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// Options that every command has; they stand before or after it.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Options {
    /// Socket of the running daemon
    #[arg(long, global = true, value_name = "PATH", default_value = SOCKET, value_hint = ValueHint::FilePath, conflicts_with = "standalone")]
    pub(crate) socket: PathBuf,
    /// Run a private daemon for this one command, with the caller's rights
    #[arg(long, global = true)]
    pub(crate) standalone: bool,
    /// Configuration with volumes and profiles [default: /etc/wyng/wyng.toml]
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) config: Option<PathBuf>,
    /// State folder of a private daemon [default: $XDG_STATE_HOME/wyng]
    #[arg(long, global = true, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) state_dir: Option<PathBuf>,
    /// Read the passphrase from a file, or from standard input with `-`
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) passphrase_file: Option<PathBuf>,
    /// Print one JSON object on standard output, or on standard error beside `restore --to -`
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Show progress on standard error: auto is a bar on a terminal and lines elsewhere, json lines
    /// of JSON
    #[arg(long, global = true, value_enum, default_value_t = ProgressStyle::Auto)]
    pub(crate) progress: ProgressStyle,
    /// Print nothing on success but what was asked for
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// Print more of what happens
    #[arg(short, long, global = true)]
    pub(crate) verbose: bool,
    /// Answer yes where a command asks before it overwrites or removes something
    #[arg(long, global = true)]
    pub(crate) yes: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProgressStyle {
    Auto,
    Json,
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shell {
    Bash,
    Zsh,
    Fish,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Make, adopt and look at archives
    #[command(subcommand)]
    Archive(ArchiveVerb),
    /// Add, change, remove and check passphrases and recovery keys
    #[command(subcommand)]
    Key(KeyVerb),
    /// Back up volumes
    #[command(alias = "send")]
    Backup(BackupArgs),
    /// Note what changed and free what old base snapshots hold, without reading or sending anything
    Monitor(MonitorArgs),
    /// List volumes and sessions
    List(ListArgs),
    /// Restore volumes
    #[command(alias = "receive")]
    Restore(RestoreArgs),
    /// Show what differs between a session and another one, or the volume as it is
    Diff(DiffArgs),
    /// Check that all is in the store and unharmed
    #[command(alias = "arch-check")]
    Verify(VerifyArgs),
    /// Show the state of archives: newest sessions, damage, what is overdue
    Status {
        /// Name of the archive; all without it
        archive: Option<String>,
    },
    /// Follow the running daemon's commands until none is left
    Watch,
    /// Let the running daemon open the archive without the passphrase for a while
    Unlock {
        /// Name of the archive
        archive: Option<String>,
        /// Keep the key so long, 1s to 24h
        #[arg(long = "for", value_name = "TIME", default_value = "15m", value_parser = parse_unlock)]
        secs: u64,
    },
    /// Wipe the key that `unlock` left with the running daemon
    Lock {
        /// Name of the archive; all without it
        archive: Option<String>,
    },
    /// Look after base snapshots, which tell what changed since the last backup
    #[command(subcommand)]
    Snapshots(SnapshotsVerb),
    /// Check the configuration
    #[command(subcommand)]
    Config(ConfigVerb),
    /// Check the way to other qubes
    #[command(subcommand)]
    Qubes(QubesVerb),
    /// Print completions for a shell
    Completions {
        /// Shell that is to complete
        shell: Shell,
    },
    /// Write the manual pages to a folder
    Man {
        /// Folder for the pages; made if it is missing
        #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
        folder: PathBuf,
    },
    /// Print what to keep on paper: the archive's id, and the code that shows a rollback
    RecoverySheet {
        /// Name of the archive
        archive: Option<String>,
        /// Show the code as a QR code in the terminal too
        #[arg(long)]
        qr: bool,
        /// Write the whole sheet as an SVG file
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        svg: Option<PathBuf>,
    },
    /// Another word for `archive create`
    #[command(name = "arch-init", hide = true)]
    ArchInit(CreateArgs),
}

#[derive(Debug, Subcommand)]
pub(crate) enum SnapshotsVerb {
    /// List base snapshots beside the volumes that are known here, and which of them nothing uses
    /// any more
    List {
        /// One archive only
        archive: Option<String>,
        /// Look at the top of every mounted btrfs and XFS too
        #[arg(long)]
        all: bool,
    },
    /// Remove base snapshots that nothing uses any more: of archives that are not known here, of
    /// volumes that are gone
    Clean {
        /// Remove all of this archive instead; the next backup of each volume reads it completely
        archive: Option<String>,
        /// Look at the top of every mounted btrfs and XFS too: also for those of archives that
        /// another user or daemon knows
        #[arg(long, conflicts_with = "archive")]
        all: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigVerb {
    /// Report every mistake, and every volume that cannot be backed up
    Check,
}

#[derive(Debug, Subcommand)]
pub(crate) enum QubesVerb {
    /// Check that all is there on the way to the far ends, and that each service answers
    Check {
        /// Far end as for `archive create --via`; those of all archives without it
        #[arg(value_name = "VIA")]
        vias: Vec<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ArchiveVerb {
    /// Make an archive in an empty place
    Create(CreateArgs),
    /// Adopt an archive that exists, or catch up with it: rebuilds the local state
    Open(OpenArgs),
    /// Become the archive's writer
    TakeOver {
        /// Name of the archive
        name: String,
    },
    /// List the archives that are known here
    List,
    /// Show what is known of one archive
    Show {
        /// Name of the archive
        name: Option<String>,
    },
    /// Accept all damage that is known now as lasting: it is still shown, and `verify` and `status`
    /// end with 0 again
    Acknowledge {
        /// Name of the archive
        name: Option<String>,
    },
    /// Remove the local state of an archive; the store is not touched
    Forget {
        /// Name of the archive
        name: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// Name of the archive on this machine
    name: String,
    /// Address of the store: dir:/path [default: as configured]
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// Far end: local, ssh:HOST, qrexec:VM, qrexec:@dispvm:TEMPLATE [default: as configured, else
    /// local]
    #[arg(long, value_name = "TRANSPORT")]
    via: Option<String>,
    /// Size of a chunk: a power of two, 64K to 1M
    #[arg(long, value_name = "SIZE", default_value = "128K", value_parser = parse_chunk_size)]
    chunk_size: u32,
    /// Size of a pack: a multiple of 4K, 64K to 64M, at least twice the chunk size
    #[arg(long, value_name = "SIZE", default_value = "16M", value_parser = parse_small_bytes)]
    pack_size: u32,
    /// Compression of new chunks: zstd:LEVEL, -7 to 19
    #[arg(long, value_name = "ALGORITHM:LEVEL", default_value = "zstd:3", value_parser = parse_compression)]
    compression: Compression,
    /// RUNS,TIME that must both pass before anything is deleted
    #[arg(long, value_name = "RUNS,TIME", default_value = "3,7d", value_parser = parse_hold_off, hide = true)]
    hold_off: HoldOff,
    /// Deduplicate over all volumes, instead of within each one
    #[arg(long)]
    shared_domain: bool,
    /// Memory that a guess at the passphrase costs, 64M to 1G
    #[arg(long, value_name = "SIZE", default_value = "256M", value_parser = parse_bytes)]
    kdf_memory: u64,
    /// Passes that a guess at the passphrase costs, 3 to 16
    #[arg(long, value_name = "N", default_value_t = 4)]
    kdf_passes: u32,
}

#[derive(Debug, Args)]
pub(crate) struct OpenArgs {
    /// Name of the archive on this machine
    name: String,
    /// Address of the store; needed the first time [default: as configured]
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// Far end [default: as before, as configured, else local]
    #[arg(long, value_name = "TRANSPORT")]
    via: Option<String>,
    /// Refuse a state that is older than this code of the recovery sheet
    #[arg(long, value_name = "CODE")]
    expect: Option<String>,
    /// Open the newest sound generation below this one, where newer ones are damaged: their
    /// sessions are not shown
    #[arg(long, value_name = "GENERATION")]
    before: Option<u64>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyVerb {
    /// List the passphrases and recovery keys
    List {
        /// Name of the archive
        archive: Option<String>,
    },
    /// Add a passphrase or a recovery key
    Add {
        /// Name of the archive
        archive: Option<String>,
        /// A recovery key, shown once, instead of a passphrase
        #[arg(long)]
        recovery_key: bool,
        #[command(flatten)]
        new: NewPassphrase,
    },
    /// Replace the passphrase that is given by a new one
    Change {
        /// Name of the archive
        archive: Option<String>,
        #[command(flatten)]
        new: NewPassphrase,
    },
    /// Remove a passphrase or recovery key; the one that is asked for must be another one
    Remove {
        /// Name of the archive
        archive: Option<String>,
        /// Number of the slot, as `key list` shows it
        slot: Option<String>,
    },
    /// Check that a passphrase opens the archive, and say which slot it is of
    Check {
        /// Name of the archive
        archive: Option<String>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct NewPassphrase {
    /// Read the new passphrase from a file
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) new_passphrase_file: Option<PathBuf>,
    /// Memory that a guess at it costs, 64M to 1G [default: as the one that opens]
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    kdf_memory: Option<u64>,
    /// Passes that a guess at it costs, 3 to 16 [default: as the one that opens]
    #[arg(long, value_name = "N")]
    kdf_passes: Option<u32>,
    /// What to call it in `key list`, at most 32 bytes; only holders of the archive's keys can read
    /// it
    #[arg(long, value_name = "TEXT")]
    label: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct BackupArgs {
    /// Name of the archive; the profile has it too
    archive: Option<String>,
    /// PATH or NAME=PATH of a disk image or block device, or a volume's name in the configuration
    #[arg(value_name = "SOURCE", value_hint = ValueHint::AnyPath)]
    pub(crate) sources: Vec<OsString>,
    /// Back up all volumes of the configuration
    #[arg(long, conflicts_with = "sources")]
    all: bool,
    /// Take archive, volumes and options from this profile
    #[arg(long, value_name = "PROFILE", conflicts_with_all = ["sources", "all"])]
    pub(crate) profile: Option<String>,
    /// Mark the sessions as taken while the volumes were in use
    #[arg(long)]
    live: bool,
    /// Read and count, send nothing
    #[arg(long)]
    dry_run: bool,
    /// Make no session for a volume that did not change
    #[arg(long)]
    skip_unchanged: bool,
    /// Send again also what `verify` found missing or damaged in so large a part of the store that
    /// it did not believe it
    #[arg(long, conflicts_with = "dry_run")]
    heal: bool,
    /// Put it off with status 7 while the machine is on battery, for three days at most if more
    /// than 60 % are left
    #[arg(long, requires = "profile")]
    pub(crate) unattended: bool,
    /// Where the kernel tells of power
    #[arg(long, value_name = "DIR", hide = true, default_value = POWER_SUPPLIES)]
    pub(crate) power_supplies: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct MonitorArgs {
    /// Name of the archive
    archive: Option<String>,
    /// PATH or NAME=PATH of a disk image, or a volume's name in the configuration
    #[arg(value_name = "SOURCE", value_hint = ValueHint::AnyPath)]
    sources: Vec<OsString>,
    /// Look at all volumes of the configuration
    #[arg(long, conflicts_with = "sources")]
    all: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Name of the archive
    archive: Option<String>,
    /// Show one volume only
    volume: Option<String>,
    /// Show one session only: its name or the beginning of it, a day, latest
    #[arg(long, value_name = "SESSION", value_parser = parse_session)]
    session: Option<SessionChoice>,
}

#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// Name of the archive
    archive: Option<String>,
    /// Names of the volumes
    #[arg(value_name = "VOLUME", conflicts_with = "all")]
    pub(crate) volumes: Vec<String>,
    /// Restore all volumes
    #[arg(long)]
    pub(crate) all: bool,
    /// Session: its name or the beginning of it, a day (its last session), latest
    #[arg(long, value_name = "SESSION", default_value = "latest", value_parser = parse_session)]
    session: SessionChoice,
    /// Write to a new file, or with `-` to standard output; of several volumes a folder, in which
    /// each gets a file of its name
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath, required_unless_present = "in_place")]
    pub(crate) to: Option<PathBuf>,
    /// Replace a file that exists, once the new one is complete; what is the same in both is not
    /// fetched
    #[arg(long)]
    pub(crate) overwrite: bool,
    /// Change the volume where it is, or what --to names: only what differs is fetched and written.
    /// Nobody else may use it meanwhile
    #[arg(long, conflicts_with_all = ["all", "overwrite"])]
    pub(crate) in_place: bool,
    /// Believe a base snapshot about what is the same, instead of reading it: seconds instead of
    /// certainty. What is taken unread is reported
    #[arg(long)]
    quick: bool,
    /// Report what would be fetched and written, and where; asks for nothing and changes nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Restore also what is damaged: lost ranges become zeros and are listed, and the exit status
    /// is 5
    #[arg(long)]
    pub(crate) around_damage: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// Name of the archive
    archive: Option<String>,
    /// Name of the volume
    volume: Option<String>,
    /// Session: its name or the beginning of it, a day (its last session), latest
    #[arg(long, value_name = "SESSION", default_value = "latest", value_parser = parse_session)]
    session: SessionChoice,
    /// Compare with another session of the volume, or with `local`: the volume as it is
    #[arg(long, value_name = "SESSION", default_value = "local", value_parser = parse_with)]
    with: CompareWith,
    /// Where the volume is [default: as configured, else where it was backed up from]
    #[arg(long, value_name = "PATH")]
    to: Option<PathBuf>,
    /// The configuration says where the volume is
    #[arg(skip)]
    configured: bool,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// Name of the archive; the profile has it too
    archive: Option<String>,
    /// Check only what these volumes need
    volumes: Vec<String>,
    /// Check only what this session needs
    #[arg(long, value_name = "SESSION", value_parser = parse_session)]
    session: Option<SessionChoice>,
    /// Open every chunk too; asks for the passphrase
    #[arg(long)]
    deep: bool,
    /// Read packs of at most so much, beginning with the pack that was not read for longest;
    /// commits and slots are read beside them, and a pack larger than what is left of SIZE is not
    /// read
    #[arg(long, value_name = "SIZE", value_parser = parse_budget)]
    budget: Option<u64>,
    /// Take archive and budget from this profile
    #[arg(long, value_name = "PROFILE", conflicts_with = "volumes")]
    profile: Option<String>,
}

fn parse_budget(text: &str) -> Result<u64, String> {
    match parse_bytes(text)? {
        0 => Err("it lets nothing be read".into()),
        bytes => Ok(bytes),
    }
}

/// Reads the command line. Where it is wrong, or asks for help or the version, that is shown and
/// the exit status returned.
pub(crate) fn parse() -> Result<Cli, ExitStatus> {
    let words: Vec<OsString> = std::env::args_os().collect();
    let parsed = help::command()
        .try_get_matches_from(&words)
        .and_then(|matches| Cli::from_arg_matches(&matches));
    parsed.map_err(|error| {
        // Whether `--json` was meant can be told though the rest is wrong.
        let json = words
            .iter()
            .take_while(|word| *word != "--")
            .any(|word| word == "--json");
        report::show_unparsed(&error, &words, json)
    })
}

/// The same as [`Cli::stdout_is_target`] of words that are no command: a program may be writing
/// down what comes.
pub(crate) fn is_stdout_target(words: &[OsString]) -> bool {
    words.iter().any(|word| word == "--to=-")
        || words
            .windows(2)
            .any(|pair| matches!(pair, [option, value] if option == "--to" && value == "-"))
}

impl Cli {
    /// Does the command ask the configuration? All others work though it may be wrong.
    pub(crate) fn asks_config(&self) -> bool {
        match &self.verb {
            Verb::Archive(ArchiveVerb::Create(_) | ArchiveVerb::Open(_))
            | Verb::ArchInit(_)
            | Verb::Backup(_)
            | Verb::Monitor(_)
            | Verb::Qubes(_)
            | Verb::Snapshots(_)
            | Verb::Status { .. } => true,
            Verb::Verify(verify) => verify.profile.is_some(),
            Verb::Restore(restore) => restore.in_place && restore.to.is_none(),
            Verb::Diff(diff) => diff.with == CompareWith::Local && diff.to.is_none(),
            _ => false,
        }
    }

    /// Fills in what the configuration says and the command line does not; the error says what
    /// neither does.
    pub(crate) fn fill_in(&mut self, config: &Config) -> Result<(), Message> {
        match &mut self.verb {
            Verb::Archive(ArchiveVerb::Create(create)) | Verb::ArchInit(create) => {
                let known = config.archives.get(&create.name);
                create.via = create
                    .via
                    .take()
                    .or_else(|| known.map(|known| known.via.clone()));
                create.store = create
                    .store
                    .take()
                    .or_else(|| known.map(|known| known.store.clone()));
                if create.store.is_none() {
                    let text = format!("where is the store of archive {:?} to be?", create.name);
                    return Err(Message::usage(
                        text,
                        "Add --store dir:/path, or [archives.NAME] to the configuration.",
                    ));
                }
            }
            Verb::Archive(ArchiveVerb::Open(open)) => {
                let known = config.archives.get(&open.name);
                open.via = open
                    .via
                    .take()
                    .or_else(|| known.map(|known| known.via.clone()));
                open.store = open
                    .store
                    .take()
                    .or_else(|| known.map(|known| known.store.clone()));
            }
            Verb::Backup(BackupArgs {
                all: true, sources, ..
            })
            | Verb::Monitor(MonitorArgs {
                all: true, sources, ..
            }) => {
                if config.volumes.is_empty() {
                    return Err(Message::usage(
                        "the configuration names no volume",
                        "Add some to [volumes], or name paths.",
                    ));
                }
                *sources = config.volumes.keys().map(OsString::from).collect();
            }
            Verb::Backup(backup) => {
                if let Some(profile) =
                    find_profile(backup.profile.as_deref(), backup.archive.as_deref(), config)?
                {
                    backup.archive = Some(profile.archive.clone());
                    backup.sources = profile.volumes.iter().map(OsString::from).collect();
                    backup.live |= profile.live;
                    backup.skip_unchanged |= profile.skip_unchanged;
                }
            }
            Verb::Diff(diff) => {
                let is_known = diff
                    .volume
                    .as_ref()
                    .is_some_and(|volume| config.volumes.contains_key(volume));
                diff.configured = is_known && diff.to.is_none();
            }
            Verb::Verify(verify) => {
                if let Some(profile) =
                    find_profile(verify.profile.as_deref(), verify.archive.as_deref(), config)?
                {
                    verify.archive = Some(profile.archive.clone());
                    verify.budget = verify.budget.or(profile.verify_budget_bytes);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The sources of a backup or monitor, as they were written.
    pub(crate) fn sources(&self) -> &[OsString] {
        match &self.verb {
            Verb::Backup(backup) => &backup.sources,
            Verb::Monitor(monitor) => &monitor.sources,
            _ => &[],
        }
    }

    /// The path of the volume of a diff, as it was written.
    pub(crate) fn compared_path(&self) -> Option<&Path> {
        if let Verb::Diff(diff) = &self.verb {
            diff.to.as_deref()
        } else {
            None
        }
    }

    /// What the daemon hears; nothing if the command needs no daemon. `sources` are a backup's.
    pub(crate) fn request(&self, sources: Vec<BackupSource>) -> Option<ToDaemon> {
        Some(ToDaemon::Start(match &self.verb {
            Verb::Config(_) | Verb::Completions { .. } | Verb::Man { .. } => return None,
            Verb::Watch => return Some(ToDaemon::Watch),
            Verb::Qubes(QubesVerb::Check { vias }) => Command::QubesCheck { vias: vias.clone() },
            Verb::Snapshots(SnapshotsVerb::List { archive, .. }) => Command::Snapshots {
                archive: archive.clone(),
                clean: false,
            },
            Verb::Snapshots(SnapshotsVerb::Clean { archive, .. }) => Command::Snapshots {
                archive: archive.clone(),
                clean: true,
            },
            Verb::Archive(ArchiveVerb::Create(create)) | Verb::ArchInit(create) => create.command(),
            Verb::Archive(ArchiveVerb::Open(open)) => Command::ArchiveOpen {
                archive: open.name.clone(),
                store_url: open.store.clone(),
                via: open.via.clone(),
                expect: open.expect.clone(),
                before: open.before,
            },
            Verb::Archive(ArchiveVerb::TakeOver { name }) => Command::ArchiveTakeOver {
                archive: name.clone(),
            },
            Verb::Archive(ArchiveVerb::List) => Command::ArchiveList,
            Verb::Archive(ArchiveVerb::Show { name }) => Command::ArchiveShow {
                archive: named(name),
            },
            Verb::Archive(ArchiveVerb::Acknowledge { name }) => Command::ArchiveAcknowledge {
                archive: named(name),
            },
            Verb::Archive(ArchiveVerb::Forget { name }) => Command::ArchiveForget {
                archive: name.clone(),
            },
            Verb::Key(KeyVerb::List { archive }) => Command::KeyList {
                archive: named(archive),
            },
            Verb::Key(KeyVerb::Check { archive }) => Command::KeyCheck {
                archive: named(archive),
            },
            Verb::Key(KeyVerb::Add {
                archive,
                recovery_key,
                new,
            }) => Command::KeyAdd {
                archive: named(archive),
                recovery_key: *recovery_key,
                label: new.label.clone(),
                kdf_memory_kib: new.memory_kib(),
                kdf_passes: new.kdf_passes,
            },
            Verb::Key(KeyVerb::Change { archive, new }) => Command::KeyChange {
                archive: named(archive),
                label: new.label.clone(),
                kdf_memory_kib: new.memory_kib(),
                kdf_passes: new.kdf_passes,
            },
            Verb::Key(KeyVerb::Remove { archive, slot }) => Command::KeyRemove {
                archive: named(archive),
                number: slot
                    .as_deref()
                    .and_then(|slot| slot.parse().ok())
                    .unwrap_or(u8::MAX),
            },
            Verb::RecoverySheet { archive, .. } => Command::RecoverySheet {
                archive: named(archive),
            },
            Verb::Backup(backup) => Command::Backup {
                archive: named(&backup.archive),
                sources,
                skip_unchanged: backup.skip_unchanged,
                dry_run: backup.dry_run,
                live: backup.live,
                heal: backup.heal,
            },
            Verb::Monitor(monitor) => Command::Monitor {
                archive: named(&monitor.archive),
                sources,
            },
            Verb::List(list) => Command::List {
                archive: named(&list.archive),
                volume: list.volume.clone(),
                session: list.session.clone(),
            },
            Verb::Restore(restore) => Command::Restore {
                archive: named(&restore.archive),
                volumes: restore.volumes.clone(),
                session: restore.session.clone(),
                in_place: restore.in_place,
                quick: restore.quick,
                dry_run: restore.dry_run,
                around_damage: restore.around_damage,
            },
            Verb::Diff(diff) => Command::Diff {
                archive: named(&diff.archive),
                volume: diff.volume.clone().unwrap_or_default(),
                session: diff.session.clone(),
                with: diff.with.clone(),
                named: diff.to.is_some(),
                configured: diff.configured,
            },
            Verb::Verify(verify) => Command::Verify {
                archive: named(&verify.archive),
                volumes: verify.volumes.clone(),
                session: verify.session.clone(),
                deep: verify.deep,
                budget_bytes: verify.budget,
            },
            Verb::Unlock { archive, secs } => Command::Unlock {
                archive: named(archive),
                secs: *secs,
            },
            Verb::Lock { archive } => Command::Lock {
                archive: archive.clone(),
            },
            Verb::Status { archive } => Command::Status {
                archive: archive.clone(),
            },
        }))
    }

    /// Is standard output where a volume is restored to? Then nothing else may be written there.
    pub(crate) fn stdout_is_target(&self) -> bool {
        matches!(&self.verb, Verb::Restore(RestoreArgs { to: Some(to), .. }) if to.as_os_str() == "-")
    }

    /// The command's words, for `--json`.
    pub(crate) fn command_name(&self) -> &'static str {
        match &self.verb {
            Verb::Archive(ArchiveVerb::Create(_)) | Verb::ArchInit(_) => "archive create",
            Verb::Archive(ArchiveVerb::Open(_)) => "archive open",
            Verb::Archive(ArchiveVerb::TakeOver { .. }) => "archive take-over",
            Verb::Archive(ArchiveVerb::List) => "archive list",
            Verb::Archive(ArchiveVerb::Show { .. }) => "archive show",
            Verb::Archive(ArchiveVerb::Acknowledge { .. }) => "archive acknowledge",
            Verb::Archive(ArchiveVerb::Forget { .. }) => "archive forget",
            Verb::Key(KeyVerb::List { .. }) => "key list",
            Verb::Key(KeyVerb::Add { .. }) => "key add",
            Verb::Key(KeyVerb::Change { .. }) => "key change",
            Verb::Key(KeyVerb::Remove { .. }) => "key remove",
            Verb::Key(KeyVerb::Check { .. }) => "key check",
            Verb::RecoverySheet { .. } => "recovery-sheet",
            Verb::Backup(_) => "backup",
            Verb::List(_) => "list",
            Verb::Monitor(_) => "monitor",
            Verb::Restore(_) => "restore",
            Verb::Diff(_) => "diff",
            Verb::Verify(_) => "verify",
            Verb::Unlock { .. } => "unlock",
            Verb::Lock { .. } => "lock",
            Verb::Snapshots(SnapshotsVerb::List { .. }) => "snapshots list",
            Verb::Snapshots(SnapshotsVerb::Clean { .. }) => "snapshots clean",
            Verb::Config(ConfigVerb::Check) => "config check",
            Verb::Qubes(QubesVerb::Check { .. }) => "qubes check",
            Verb::Completions { .. } => "completions",
            Verb::Man { .. } => "man",
            Verb::Watch => "watch",
            Verb::Status { .. } => "status",
        }
    }

    /// Where a passphrase comes from. A new one for an archive that has one never comes from where
    /// the known one does.
    pub(crate) fn passphrase_origin(&self, new: bool) -> Result<Origin, NoPassphrase> {
        let file = |path: &Option<PathBuf>| path.clone().map(Origin::File);
        match &self.verb {
            Verb::Key(KeyVerb::Add { new: given, .. } | KeyVerb::Change { new: given, .. })
                if new =>
            {
                Ok(file(&given.new_passphrase_file).unwrap_or(Origin::Terminal))
            }
            _ => file(&self.options.passphrase_file).map_or_else(Origin::of_environment, Ok),
        }
    }

    /// The archive that the command names.
    pub(crate) fn archive(&self) -> Option<&str> {
        match &self.verb {
            Verb::Archive(ArchiveVerb::List) => None,
            Verb::Archive(ArchiveVerb::Create(create)) | Verb::ArchInit(create) => {
                Some(&create.name)
            }
            Verb::Archive(ArchiveVerb::Open(open)) => Some(&open.name),
            Verb::Archive(ArchiveVerb::TakeOver { name } | ArchiveVerb::Forget { name }) => {
                Some(name)
            }
            Verb::Archive(
                ArchiveVerb::Show { name: archive } | ArchiveVerb::Acknowledge { name: archive },
            )
            | Verb::Key(
                KeyVerb::List { archive }
                | KeyVerb::Add { archive, .. }
                | KeyVerb::Change { archive, .. }
                | KeyVerb::Remove { archive, .. }
                | KeyVerb::Check { archive },
            )
            | Verb::Unlock { archive, .. }
            | Verb::RecoverySheet { archive, .. }
            | Verb::List(ListArgs { archive, .. })
            | Verb::Monitor(MonitorArgs { archive, .. })
            | Verb::Restore(RestoreArgs { archive, .. })
            | Verb::Diff(DiffArgs { archive, .. })
            | Verb::Backup(BackupArgs { archive, .. })
            | Verb::Verify(VerifyArgs { archive, .. })
            | Verb::Status { archive }
            | Verb::Lock { archive }
            | Verb::Snapshots(
                SnapshotsVerb::List { archive, .. } | SnapshotsVerb::Clean { archive, .. },
            ) => archive.as_deref(),
            Verb::Config(_)
            | Verb::Qubes(_)
            | Verb::Completions { .. }
            | Verb::Man { .. }
            | Verb::Watch => None,
        }
    }

    /// The place of an archive that may be left out:
    /// [`default_archive`](crate::defaults::default_archive) then fills it.
    pub(crate) fn archive_place(&mut self) -> Option<&mut Option<String>> {
        match &mut self.verb {
            Verb::Archive(
                ArchiveVerb::Show { name: archive } | ArchiveVerb::Acknowledge { name: archive },
            )
            | Verb::Key(
                KeyVerb::List { archive }
                | KeyVerb::Add { archive, .. }
                | KeyVerb::Change { archive, .. }
                | KeyVerb::Remove { archive, .. }
                | KeyVerb::Check { archive },
            )
            | Verb::Unlock { archive, .. }
            | Verb::RecoverySheet { archive, .. }
            | Verb::List(ListArgs { archive, .. })
            | Verb::Monitor(MonitorArgs { archive, .. })
            | Verb::Restore(RestoreArgs { archive, .. })
            | Verb::Diff(DiffArgs { archive, .. })
            | Verb::Backup(BackupArgs { archive, .. })
            | Verb::Verify(VerifyArgs { archive, .. }) => Some(archive),
            _ => None,
        }
    }

    /// Where ARCHIVE was left out, the one word is what comes after it. The error says what is
    /// missing.
    pub(crate) fn settle_words(&mut self) -> Result<(), Message> {
        if self.options.state_dir.is_some() && !self.options.standalone {
            return Err(Message::usage(
                "the running daemon has its own state folder, and --state-dir names another",
                "Add --standalone.",
            ));
        }
        match &mut self.verb {
            Verb::Backup(BackupArgs {
                all: false,
                profile: None,
                archive,
                sources,
                ..
            })
            | Verb::Monitor(MonitorArgs {
                all: false,
                archive,
                sources,
            }) => {
                if sources.is_empty() {
                    sources.extend(archive.take().map(OsString::from));
                }
                if sources.is_empty() {
                    return Err(Message::of_needed_sources());
                }
            }
            Verb::Restore(RestoreArgs {
                all: false,
                archive,
                volumes,
                ..
            }) => {
                if volumes.is_empty() {
                    volumes.extend(archive.take());
                }
                if volumes.is_empty() {
                    return Err(Message::usage(
                        "which volume?",
                        "See `wyng-ctl list ARCHIVE`.",
                    ));
                }
            }
            Verb::Diff(DiffArgs {
                archive, volume, ..
            }) => {
                shift(archive, volume).ok_or_else(|| {
                    Message::usage("which volume?", "See `wyng-ctl list ARCHIVE`.")
                })?;
            }
            Verb::Key(KeyVerb::Remove { archive, slot }) => {
                let number = shift(archive, slot).and_then(|slot| slot.parse::<u8>().ok());
                number.ok_or_else(|| {
                    Message::usage(
                        "which slot? A slot is a number",
                        "See `wyng-ctl key list ARCHIVE`.",
                    )
                })?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Is the only source really the archive, with nothing behind it? A volume of that name would
    /// be there.
    pub(crate) fn names_only_its_archive(&self) -> bool {
        match (self.sources(), self.archive()) {
            ([source], Some(archive)) => {
                source == archive && !std::path::Path::new(source).exists()
            }
            _ => false,
        }
    }

    /// Does the command only report what it would do?
    pub(crate) fn is_dry_run(&self) -> bool {
        matches!(
            &self.verb,
            Verb::Backup(BackupArgs { dry_run: true, .. })
                | Verb::Restore(RestoreArgs { dry_run: true, .. })
        )
    }

    /// Are sessions of one volume listed, which was named?
    pub(crate) fn is_of_one_volume(&self) -> bool {
        matches!(
            &self.verb,
            Verb::List(ListArgs {
                volume: Some(_),
                ..
            })
        )
    }

    /// Is only a part of what the archive has in the store to be checked?
    pub(crate) fn checks_part(&self) -> bool {
        let Verb::Verify(verify) = &self.verb else {
            return false;
        };
        !verify.volumes.is_empty() || verify.session.is_some() || verify.budget.is_some()
    }

    /// May the command begin in a state folder that is not there yet?
    pub(crate) fn may_make_state(&self) -> bool {
        matches!(
            &self.verb,
            Verb::Archive(ArchiveVerb::Create(_) | ArchiveVerb::Open(_))
                | Verb::ArchInit(_)
                | Verb::Qubes(_)
        )
    }

    /// Is it about all archives that are known, in the usual place?
    pub(crate) fn asks_about_all(&self) -> bool {
        let of_all = matches!(
            &self.verb,
            Verb::Archive(ArchiveVerb::List) | Verb::Status { archive: None }
        );
        of_all && self.options.state_dir.is_none()
    }

    #[cfg(test)]
    pub(crate) fn of(words: &[&str]) -> Self {
        let mut cli = Self::try_parse_from(["wyng-ctl"].iter().chain(words)).unwrap();
        cli.settle_words().unwrap();
        cli
    }
}

/// The second word, where the first may be missing.
fn shift<'a>(first: &mut Option<String>, second: &'a mut Option<String>) -> Option<&'a str> {
    if second.is_none() {
        *second = first.take();
    }
    second.as_deref()
}

/// An archive that has been filled in.
fn named(archive: &Option<String>) -> String {
    archive.clone().unwrap_or_default()
}

/// The profile that was asked for. It has one archive, which may be named a second time but not
/// differently.
fn find_profile<'a>(
    name: Option<&str>,
    archive: Option<&str>,
    config: &'a Config,
) -> Result<Option<&'a Profile>, Message> {
    let Some(name) = name else { return Ok(None) };
    let profile = config.profiles.get(name).ok_or_else(|| {
        let known: Vec<&str> = config.profiles.keys().map(String::as_str).collect();
        let next = match &*known {
            [] => "Add [profiles.NAME] to the configuration; see wyng.toml(5).".to_owned(),
            known => format!("Known are {}.", known.join(", ")),
        };
        Message::usage(
            format!("there is no profile {name:?} in the configuration"),
            next,
        )
    })?;
    match archive {
        Some(other) if other != profile.archive => Err(Message::usage(
            format!(
                "profile {name:?} is of archive {:?}, not {other:?}",
                profile.archive
            ),
            "Leave the archive out.",
        )),
        _ => Ok(Some(profile)),
    }
}

impl NewPassphrase {
    fn memory_kib(&self) -> Option<u32> {
        self.kdf_memory
            .map(|bytes| u32::try_from(bytes / 1024).unwrap_or(u32::MAX))
    }
}

impl CreateArgs {
    fn command(&self) -> Command {
        Command::ArchiveCreate {
            archive: self.name.clone(),
            store_url: self.store.clone().unwrap_or_default(),
            via: self.via.clone().unwrap_or_else(|| "local".to_owned()),
            chunk_size_bytes: self.chunk_size,
            pack_size_bytes: self.pack_size,
            compression: self.compression,
            hold_off: self.hold_off,
            shared_domain: self.shared_domain,
            kdf_memory_kib: u32::try_from(self.kdf_memory / 1024).unwrap_or(u32::MAX),
            kdf_passes: self.kdf_passes,
        }
    }
}

fn parse_chunk_size(text: &str) -> Result<u32, String> {
    let bytes = parse_small_bytes(text)?;
    // The format allows smaller ones for its tests; for people they would only cost.
    if bytes.is_power_of_two() && (64 * 1024..=1024 * 1024).contains(&bytes) {
        Ok(bytes)
    } else {
        Err("a chunk is a power of two from 64K to 1M".into())
    }
}

fn parse_compression(text: &str) -> Result<Compression, String> {
    let level = text
        .strip_prefix("zstd:")
        .ok_or("the one algorithm is zstd, for instance zstd:3")?;
    let zstd_level = level
        .parse()
        .ok()
        .filter(|level| (-7..=19).contains(level))
        .ok_or("zstd's level is -7 to 19")?;
    Ok(Compression { zstd_level })
}

fn parse_hold_off(text: &str) -> Result<HoldOff, String> {
    let (runs, time) = text.split_once(',').ok_or("RUNS,TIME, for instance 3,7d")?;
    Ok(HoldOff {
        runs: runs.parse().map_err(|_| "RUNS is a number")?,
        secs: parse_secs(time)?,
    })
}

fn parse_unlock(text: &str) -> Result<u64, String> {
    let secs = parse_secs(text)?;
    if (1..=UNLOCK_MAX_SECS).contains(&secs) {
        Ok(secs)
    } else {
        Err("1s to 24h".into())
    }
}

/// `latest`, `^tag`, or a session's name or the beginning of it.
fn parse_session(text: &str) -> Result<SessionChoice, String> {
    match (text, text.strip_prefix('^')) {
        ("latest", _) => Ok(SessionChoice::Latest),
        (_, Some("")) | ("", _) => {
            Err("a session is a time like 2026-11-23T06:43:10Z, ^TAG, or latest".into())
        }
        (_, Some(tag)) => Ok(SessionChoice::Tag(tag.to_owned())),
        (prefix, None) => Ok(SessionChoice::Prefix(prefix.to_owned())),
    }
}

/// `local`, or a session.
fn parse_with(text: &str) -> Result<CompareWith, String> {
    if text == "local" {
        Ok(CompareWith::Local)
    } else {
        parse_session(text).map(CompareWith::Session)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(words: &str) -> Command {
        let words: Vec<&str> = words.split(' ').skip(1).collect();
        let Some(ToDaemon::Start(command)) = Cli::of(&words).request(Vec::new()) else {
            panic!("{words:?}")
        };
        command
    }

    #[test]
    fn options_stand_before_or_after_the_command() {
        let before =
            Cli::try_parse_from(["wyng-ctl", "--json", "--standalone", "list", "a"]).unwrap();
        let after =
            Cli::try_parse_from(["wyng-ctl", "list", "a", "--standalone", "--json"]).unwrap();
        assert!(before.options.json && after.options.json && after.options.standalone);
    }

    #[test]
    fn wyngs_words_work_too() {
        assert_eq!(
            command("wyng-ctl arch-check a"),
            command("wyng-ctl verify a")
        );
        assert_eq!(
            command("wyng-ctl arch-init a --store dir:/x"),
            command("wyng-ctl archive create a --store dir:/x")
        );
        assert!(matches!(
            command("wyng-ctl send a /x"),
            Command::Backup { .. }
        ));
        assert!(matches!(
            command("wyng-ctl receive a v --to /x"),
            Command::Restore { .. }
        ));
    }

    #[test]
    fn bounds_are_checked_before_anything_is_done() {
        for words in [
            "--chunk-size 3K",
            "--chunk-size 2M",
            "--compression lz4:1",
            "--compression zstd:99",
            "--hold-off 3",
        ] {
            let line = format!("wyng-ctl archive create a --store dir:/x {words}");
            assert!(Cli::try_parse_from(line.split(' ')).is_err(), "{words}");
        }
    }

    #[test]
    fn the_archive_may_be_left_out_where_one_word_tells_what_is_missing() {
        let archive = |words: &[&str]| Cli::of(words).archive().map(str::to_owned);
        for (with, without) in [
            (&["list", "home"][..], &["list"][..]),
            (&["verify", "home", "--deep"], &["verify", "--deep"]),
            (
                &["restore", "home", "v", "--to", "x"],
                &["restore", "v", "--to", "x"],
            ),
            (
                &["restore", "home", "--all", "--to", "x"],
                &["restore", "--all", "--to", "x"],
            ),
            (&["diff", "home", "v"], &["diff", "v"]),
            (
                &["backup", "home", "--live", "v"],
                &["backup", "--live", "v"],
            ),
            (&["backup", "home", "--all"], &["backup", "--all"]),
            (&["monitor", "home", "v"], &["monitor", "v"]),
            (&["key", "remove", "home", "3"], &["key", "remove", "3"]),
            (&["key", "check", "home"], &["key", "check"]),
            (&["recovery-sheet", "home"], &["recovery-sheet"]),
            (&["archive", "show", "home"], &["archive", "show"]),
        ] {
            assert_eq!(
                (archive(with).as_deref(), archive(without)),
                (Some("home"), None),
                "{with:?}"
            );
        }
        assert_eq!(
            Cli::of(&["backup", "a", "b", "c"]).archive(),
            Some("a"),
            "with several words the first is the archive"
        );
        for words in [
            &["backup"][..],
            &["restore", "--to", "x"],
            &["diff"],
            &["key", "remove"],
            &["key", "remove", "home"],
            &["monitor"],
        ] {
            assert!(
                Cli::try_parse_from(["wyng-ctl"].iter().chain(words))
                    .unwrap()
                    .settle_words()
                    .is_err(),
                "{words:?}"
            );
        }
        for words in [
            &["archive", "forget"][..],
            &["archive", "take-over"],
            &["archive", "create"],
        ] {
            assert!(
                Cli::try_parse_from(["wyng-ctl"].iter().chain(words)).is_err(),
                "{words:?}"
            );
        }
    }

    #[test]
    fn a_session_is_a_prefix_a_tag_or_the_latest() {
        assert_eq!(parse_session("latest"), Ok(SessionChoice::Latest));
        assert_eq!(
            parse_session("^before"),
            Ok(SessionChoice::Tag("before".into()))
        );
        assert_eq!(
            parse_session("2026-11"),
            Ok(SessionChoice::Prefix("2026-11".into()))
        );
        assert!(parse_session("^").is_err());
    }
}
