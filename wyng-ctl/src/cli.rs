// SPDX-License-Identifier: GPL-3.0-or-later
//! The words of the command line, and the message that each command becomes.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};
use wyng_config::{Config, Profile, parse_bytes, parse_secs};
use wyng_control::{BackupSource, Command, CompareWith, Compression, HoldOff, SessionChoice, ToDaemon, UNLOCK_MAX_SECS};

use crate::power::POWER_SUPPLIES;
use crate::quantity::parse_small_bytes;

const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (archive format version 0; not audited)");

const EXIT_STATUS: &str = "\
Exit status: 0 all was done; 1 failed; 2 wrong usage; 3 done for some volumes only, or something is overdue; 4 the passphrase is not right; \
5 damage, tampering or rollback was found; 6 the store or its transport cannot be reached; 7 put off, on battery; 130 interrupted. After 6 and 130 the \
same command goes on where it stopped.";

/// Fast, incremental, encrypted backup of disk volumes through a machine that nobody trusts.
#[derive(Debug, Parser)]
#[command(name = "wyng-ctl", version = VERSION, max_term_width = 110, after_help = EXIT_STATUS)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) options: Options,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// Options that every command has; they stand before or after it.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The running daemon's socket
    #[arg(long, global = true, value_name = "PATH", default_value = "/run/wyng/wyngd.sock", conflicts_with = "standalone")]
    pub(crate) socket: PathBuf,
    /// Run a private daemon for this one command, as the caller
    #[arg(long, global = true)]
    pub(crate) standalone: bool,
    /// The configuration: volumes and profiles by name [default: /etc/wyng/wyng.toml]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Where a private daemon keeps its state [default: $XDG_STATE_HOME/wyng]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
    /// Read the passphrase from a file, or from standard input with `-`
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
    /// One JSON object on standard output
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// How to show progress on standard error
    #[arg(long, global = true, value_enum, default_value_t = ProgressStyle::Auto)]
    pub(crate) progress: ProgressStyle,
    /// Results and errors only
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// More of what happens
    #[arg(short, long, global = true)]
    pub(crate) verbose: bool,
    /// Answer yes where a command asks before it overwrites or removes something
    #[arg(long, global = true)]
    pub(crate) yes: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProgressStyle {
    /// A bar on a terminal, plain lines elsewhere
    Auto,
    /// JSON lines
    Json,
    /// None
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
    /// Passphrases and recovery keys
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
    /// Check what the store has
    #[command(alias = "arch-check")]
    Verify(VerifyArgs),
    /// The state of archives
    Status {
        /// Which archive; all without it
        archive: Option<String>,
    },
    /// Show how far the running daemon is with others' commands, until none is left
    Watch,
    /// Have the running daemon open the archive without the passphrase for a while
    Unlock {
        /// The archive's name
        archive: String,
        /// For how long, 1s to 24h
        #[arg(long = "for", value_name = "TIME", default_value = "15m", value_parser = parse_unlock)]
        secs: u64,
    },
    /// Have the running daemon forget what `unlock` told it
    Lock {
        /// The archive's name; all without it
        archive: Option<String>,
    },
    /// Look after base snapshots, which tell what changed since the last backup
    #[command(subcommand)]
    Snapshots(SnapshotsVerb),
    /// Look at the configuration
    #[command(subcommand)]
    Config(ConfigVerb),
    /// Look at the way to other qubes
    #[command(subcommand)]
    Qubes(QubesVerb),
    /// Completions for a shell, on standard output
    Completions {
        /// Which shell
        shell: Shell,
    },
    /// Write the manual pages to a folder
    Man {
        /// Where; made if it is missing
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
    /// What to keep on paper: the archive's id, and the code that shows a rollback
    RecoverySheet {
        /// The archive's name
        archive: String,
        /// The code as a QR code, in the terminal
        #[arg(long)]
        qr: bool,
        /// The whole sheet as an SVG file
        #[arg(long, value_name = "FILE")]
        svg: Option<PathBuf>,
    },
    /// Another word for `archive create`
    #[command(name = "arch-init", hide = true)]
    ArchInit(CreateArgs),
}

#[derive(Debug, Subcommand)]
pub(crate) enum SnapshotsVerb {
    /// List base snapshots beside the volumes that are known here, and which of them nothing uses any more
    List {
        /// One archive only
        archive: Option<String>,
        /// Look at the top of every mounted btrfs and XFS too
        #[arg(long)]
        all: bool,
    },
    /// Remove base snapshots that nothing uses any more: of archives that are not known here, of volumes that are gone
    Clean {
        /// Remove all of this archive instead; the next backup of each volume reads it completely
        archive: Option<String>,
        /// Look at the top of every mounted btrfs and XFS too: also for those of archives that another user or daemon knows
        #[arg(long, conflicts_with = "archive")]
        all: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigVerb {
    /// Is it right, and is all there that it names?
    Check,
}

#[derive(Debug, Subcommand)]
pub(crate) enum QubesVerb {
    /// Is all there on the way to the far ends, and does each service answer?
    Check {
        /// How they are reached, as for `archive create --via`; those of all archives without it
        #[arg(value_name = "VIA")]
        vias: Vec<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ArchiveVerb {
    /// Make an archive in an empty place
    Create(CreateArgs),
    /// Adopt an archive, or catch up with it: rebuilds the local state
    Open(OpenArgs),
    /// Become the archive's writer
    TakeOver {
        /// The archive's name
        name: String,
    },
    /// The archives that are known here
    List,
    /// What is known of one archive
    Show {
        /// The archive's name
        name: String,
    },
    /// Say that all damage which is known now was seen and lasts: it is still shown, and `verify` and `status` end with 0 again
    Acknowledge {
        /// The archive's name
        name: String,
    },
    /// Remove the local state of an archive; the store is not touched
    Forget {
        /// The archive's name
        name: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// The archive's name on this machine
    name: String,
    /// Where the store is: dir:/path [default: as configured]
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// The far end: local, ssh:HOST, qrexec:VM, qrexec:@dispvm:TEMPLATE [default: as configured, else local]
    #[arg(long, value_name = "TRANSPORT")]
    via: Option<String>,
    /// A power of two, 64K to 1M
    #[arg(long, value_name = "SIZE", default_value = "128K", value_parser = parse_chunk_size)]
    chunk_size: u32,
    /// A multiple of 4K, 64K to 64M, at least twice the chunk size
    #[arg(long, value_name = "SIZE", default_value = "16M", value_parser = parse_small_bytes)]
    pack_size: u32,
    /// zstd:LEVEL, -7 to 19
    #[arg(long, value_name = "ALGORITHM:LEVEL", default_value = "zstd:3", value_parser = parse_compression)]
    compression: Compression,
    /// RUNS,TIME that must both pass before anything is deleted
    #[arg(long, value_name = "RUNS,TIME", default_value = "3,7d", value_parser = parse_hold_off)]
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
    /// The archive's name on this machine
    name: String,
    /// Where the store is; needed the first time [default: as configured]
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// The far end
    #[arg(long, value_name = "TRANSPORT")]
    via: Option<String>,
    /// The code of the recovery sheet
    #[arg(long, value_name = "CODE")]
    expect: Option<String>,
    /// Open the newest sound generation below this one, where newer ones are damaged: their sessions are not shown
    #[arg(long, value_name = "GENERATION")]
    before: Option<u64>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyVerb {
    /// The passphrases and recovery keys
    List {
        /// The archive's name
        archive: String,
    },
    /// Add a passphrase or a recovery key
    Add {
        /// The archive's name
        archive: String,
        /// A recovery key, shown once, instead of a passphrase
        #[arg(long)]
        recovery_key: bool,
        #[command(flatten)]
        new: NewPassphrase,
    },
    /// Put a new passphrase into the place of the one that is given
    Change {
        /// The archive's name
        archive: String,
        #[command(flatten)]
        new: NewPassphrase,
    },
    /// Remove a passphrase or recovery key; the passphrase that is asked for must be another one
    Remove {
        /// The archive's name
        archive: String,
        /// The slot's number, as `key list` shows it
        slot: u8,
    },
    /// Check that a passphrase opens the archive, and say which slot it is of
    Check {
        /// The archive's name
        archive: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct NewPassphrase {
    /// Read the new passphrase from a file
    #[arg(long, value_name = "FILE")]
    pub(crate) new_passphrase_file: Option<PathBuf>,
    /// Memory that a guess at it costs, 64M to 1G [default: as the one that opens]
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    kdf_memory: Option<u64>,
    /// Passes that a guess at it costs, 3 to 16 [default: as the one that opens]
    #[arg(long, value_name = "N")]
    kdf_passes: Option<u32>,
    /// What to call it in `key list`, at most 32 bytes; only holders of the archive's keys can read it
    #[arg(long, value_name = "TEXT")]
    label: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct BackupArgs {
    /// The archive's name; the profile says it too
    #[arg(required_unless_present = "profile")]
    archive: Option<String>,
    /// PATH or NAME=PATH of a disk image or block device, or a volume's name in the configuration
    #[arg(value_name = "SOURCE", required_unless_present_any = ["all", "profile"])]
    pub(crate) sources: Vec<OsString>,
    /// All volumes of the configuration
    #[arg(long, conflicts_with = "sources")]
    all: bool,
    /// Archive, volumes and options of this profile
    #[arg(long, value_name = "PROFILE", conflicts_with_all = ["sources", "all"])]
    pub(crate) profile: Option<String>,
    /// The volumes are in use: mark the sessions as crash-consistent
    #[arg(long)]
    live: bool,
    /// Read and count, send nothing
    #[arg(long)]
    dry_run: bool,
    /// No session for a volume that did not change
    #[arg(long)]
    skip_unchanged: bool,
    /// Send again also what `verify` found missing or damaged in so large a part of the store that it did not believe it
    #[arg(long, conflicts_with = "dry_run")]
    heal: bool,
    /// As a timer: on battery it is put off with status 7, for three days at most while more than 60 % are left
    #[arg(long, requires = "profile")]
    pub(crate) unattended: bool,
    /// Where the kernel tells of power
    #[arg(long, value_name = "DIR", hide = true, default_value = POWER_SUPPLIES)]
    pub(crate) power_supplies: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct MonitorArgs {
    /// The archive's name
    archive: String,
    /// PATH or NAME=PATH of a disk image, or a volume's name in the configuration
    #[arg(value_name = "SOURCE", required_unless_present = "all")]
    sources: Vec<OsString>,
    /// All volumes of the configuration
    #[arg(long, conflicts_with = "sources")]
    all: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// The archive's name
    archive: String,
    /// One volume only
    volume: Option<String>,
    /// One session only: its name or the beginning of it, ^TAG, latest
    #[arg(long, value_name = "SESSION", value_parser = parse_session)]
    session: Option<SessionChoice>,
}

#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// The archive's name
    archive: String,
    /// The volumes
    #[arg(value_name = "VOLUME", required_unless_present = "all", conflicts_with = "all")]
    pub(crate) volumes: Vec<String>,
    /// All volumes
    #[arg(long)]
    pub(crate) all: bool,
    /// Which session: its name or the beginning of it, ^TAG, latest
    #[arg(long, value_name = "SESSION", default_value = "latest", value_parser = parse_session)]
    session: SessionChoice,
    /// A new file, or `-` for standard output; of several volumes a folder, in which each gets a file of its name
    #[arg(long, value_name = "PATH", required_unless_present = "in_place")]
    pub(crate) to: Option<PathBuf>,
    /// Replace a file that exists, once the new one is complete; what is the same in both is not fetched
    #[arg(long)]
    pub(crate) overwrite: bool,
    /// Change the volume where it is, or what --to names: only what differs is fetched and written. Nobody else may use it meanwhile
    #[arg(long, conflicts_with_all = ["all", "overwrite"])]
    pub(crate) in_place: bool,
    /// Believe a base snapshot about what is the same, instead of reading it: seconds instead of certainty. What is taken unread is reported
    #[arg(long)]
    quick: bool,
    /// Report what would be fetched and written, and where; asks for nothing and changes nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Restore also what is damaged: lost ranges become zeros and are listed, and the exit status is 5
    #[arg(long)]
    pub(crate) around_damage: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// The archive's name
    archive: String,
    /// The volume
    volume: String,
    /// Which session: its name or the beginning of it, ^TAG, latest
    #[arg(long, value_name = "SESSION", default_value = "latest", value_parser = parse_session)]
    session: SessionChoice,
    /// Another session of the volume, or `local`: the volume as it is
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
    /// The archive's name; the profile says it too
    #[arg(required_unless_present = "profile")]
    archive: Option<String>,
    /// Only what these volumes need
    volumes: Vec<String>,
    /// Only what this session needs
    #[arg(long, value_name = "SESSION", value_parser = parse_session)]
    session: Option<SessionChoice>,
    /// Open every chunk too; asks for the passphrase
    #[arg(long)]
    deep: bool,
    /// Read at most so much, what was not read for longest first
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    budget: Option<u64>,
    /// Archive and budget of this profile
    #[arg(long, value_name = "PROFILE", conflicts_with = "volumes")]
    profile: Option<String>,
}

/// Reads the command line; ends the process with status 2 and a message where it is wrong.
pub(crate) fn parse() -> Cli {
    Cli::parse()
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

    /// Fills in what the configuration says and the command line does not; the error says what neither does.
    pub(crate) fn fill_in(&mut self, config: &Config) -> Result<(), String> {
        match &mut self.verb {
            Verb::Archive(ArchiveVerb::Create(create)) | Verb::ArchInit(create) => {
                let known = config.archives.get(&create.name);
                create.via = create.via.take().or_else(|| known.map(|known| known.via.clone()));
                create.store = create.store.take().or_else(|| known.map(|known| known.store.clone()));
                if create.store.is_none() {
                    return Err(format!("where is the store of {:?}? Neither --store nor the configuration says it", create.name));
                }
            }
            Verb::Archive(ArchiveVerb::Open(open)) => {
                let known = config.archives.get(&open.name);
                open.via = open.via.take().or_else(|| known.map(|known| known.via.clone()));
                open.store = open.store.take().or_else(|| known.map(|known| known.store.clone()));
            }
            Verb::Backup(BackupArgs { all: true, sources, .. }) | Verb::Monitor(MonitorArgs { all: true, sources, .. }) => {
                if config.volumes.is_empty() {
                    return Err("the configuration names no volume".into());
                }
                *sources = config.volumes.keys().map(OsString::from).collect();
            }
            Verb::Backup(backup) => {
                if let Some(profile) = find_profile(backup.profile.as_deref(), backup.archive.as_deref(), config)? {
                    backup.archive = Some(profile.archive.clone());
                    backup.sources = profile.volumes.iter().map(OsString::from).collect();
                    backup.live |= profile.live;
                    backup.skip_unchanged |= profile.skip_unchanged;
                }
            }
            Verb::Diff(diff) => diff.configured = diff.to.is_none() && config.volumes.contains_key(&diff.volume),
            Verb::Verify(verify) => {
                if let Some(profile) = find_profile(verify.profile.as_deref(), verify.archive.as_deref(), config)? {
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
        if let Verb::Diff(diff) = &self.verb { diff.to.as_deref() } else { None }
    }

    /// What the daemon hears; nothing if the command needs no daemon. `sources` are a backup's.
    pub(crate) fn request(&self, sources: Vec<BackupSource>) -> Option<ToDaemon> {
        Some(ToDaemon::Start(match &self.verb {
            Verb::Config(_) | Verb::Completions { .. } | Verb::Man { .. } => return None,
            Verb::Watch => return Some(ToDaemon::Watch),
            Verb::Qubes(QubesVerb::Check { vias }) => Command::QubesCheck { vias: vias.clone() },
            Verb::Snapshots(SnapshotsVerb::List { archive, .. }) => Command::Snapshots { archive: archive.clone(), clean: false },
            Verb::Snapshots(SnapshotsVerb::Clean { archive, .. }) => Command::Snapshots { archive: archive.clone(), clean: true },
            Verb::Archive(ArchiveVerb::Create(create)) | Verb::ArchInit(create) => create.command(),
            Verb::Archive(ArchiveVerb::Open(open)) => Command::ArchiveOpen {
                archive: open.name.clone(),
                store_url: open.store.clone(),
                via: open.via.clone(),
                expect: open.expect.clone(),
                before: open.before,
            },
            Verb::Archive(ArchiveVerb::TakeOver { name }) => Command::ArchiveTakeOver { archive: name.clone() },
            Verb::Archive(ArchiveVerb::List) => Command::ArchiveList,
            Verb::Archive(ArchiveVerb::Show { name }) => Command::ArchiveShow { archive: name.clone() },
            Verb::Archive(ArchiveVerb::Acknowledge { name }) => Command::ArchiveAcknowledge { archive: name.clone() },
            Verb::Archive(ArchiveVerb::Forget { name }) => Command::ArchiveForget { archive: name.clone() },
            Verb::Key(KeyVerb::List { archive }) => Command::KeyList { archive: archive.clone() },
            Verb::Key(KeyVerb::Check { archive }) => Command::KeyCheck { archive: archive.clone() },
            Verb::Key(KeyVerb::Add { archive, recovery_key, new }) => Command::KeyAdd {
                archive: archive.clone(),
                recovery_key: *recovery_key,
                label: new.label.clone(),
                kdf_memory_kib: new.memory_kib(),
                kdf_passes: new.kdf_passes,
            },
            Verb::Key(KeyVerb::Change { archive, new }) => Command::KeyChange {
                archive: archive.clone(),
                label: new.label.clone(),
                kdf_memory_kib: new.memory_kib(),
                kdf_passes: new.kdf_passes,
            },
            Verb::Key(KeyVerb::Remove { archive, slot }) => Command::KeyRemove { archive: archive.clone(), number: *slot },
            Verb::RecoverySheet { archive, .. } => Command::RecoverySheet { archive: archive.clone() },
            Verb::Backup(backup) => Command::Backup {
                archive: backup.archive.clone().unwrap_or_default(),
                sources,
                skip_unchanged: backup.skip_unchanged,
                dry_run: backup.dry_run,
                live: backup.live,
                heal: backup.heal,
            },
            Verb::Monitor(monitor) => Command::Monitor { archive: monitor.archive.clone(), sources },
            Verb::List(list) => Command::List { archive: list.archive.clone(), volume: list.volume.clone(), session: list.session.clone() },
            Verb::Restore(restore) => Command::Restore {
                archive: restore.archive.clone(),
                volumes: restore.volumes.clone(),
                session: restore.session.clone(),
                in_place: restore.in_place,
                quick: restore.quick,
                dry_run: restore.dry_run,
                around_damage: restore.around_damage,
            },
            Verb::Diff(diff) => Command::Diff {
                archive: diff.archive.clone(),
                volume: diff.volume.clone(),
                session: diff.session.clone(),
                with: diff.with.clone(),
                named: diff.to.is_some(),
                configured: diff.configured,
            },
            Verb::Verify(verify) => Command::Verify {
                archive: verify.archive.clone().unwrap_or_default(),
                volumes: verify.volumes.clone(),
                session: verify.session.clone(),
                deep: verify.deep,
                budget_bytes: verify.budget,
            },
            Verb::Unlock { archive, secs } => Command::Unlock { archive: archive.clone(), secs: *secs },
            Verb::Lock { archive } => Command::Lock { archive: archive.clone() },
            Verb::Status { archive } => Command::Status { archive: archive.clone() },
        }))
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

    /// Does the command only report what it would do?
    pub(crate) fn is_dry_run(&self) -> bool {
        match &self.verb {
            Verb::Restore(restore) => restore.dry_run,
            Verb::Backup(backup) => backup.dry_run,
            _ => false,
        }
    }

    /// Is standard output the volume that is restored? Then nothing else is written there.
    pub(crate) fn stdout_is_target(&self) -> bool {
        matches!(&self.verb, Verb::Restore(RestoreArgs { to: Some(path), .. }) if path.as_os_str() == "-")
    }

    /// Where a passphrase is read from, if not from the terminal. A new one for an archive that has one is never taken from the same file.
    pub(crate) fn passphrase_file(&self, new: bool) -> Option<&Path> {
        match &self.verb {
            Verb::Key(KeyVerb::Add { new: given, .. } | KeyVerb::Change { new: given, .. }) if new => given.new_passphrase_file.as_deref(),
            _ => self.options.passphrase_file.as_deref(),
        }
    }

    /// The archive that the command names.
    pub(crate) fn archive(&self) -> Option<&str> {
        match &self.verb {
            Verb::Archive(ArchiveVerb::List) => None,
            Verb::Archive(ArchiveVerb::Create(create)) | Verb::ArchInit(create) => Some(&create.name),
            Verb::Archive(ArchiveVerb::Open(open)) => Some(&open.name),
            Verb::Archive(
                ArchiveVerb::TakeOver { name }
                | ArchiveVerb::Show { name }
                | ArchiveVerb::Acknowledge { name }
                | ArchiveVerb::Forget { name },
            ) => Some(name),
            Verb::Key(
                KeyVerb::List { archive }
                | KeyVerb::Add { archive, .. }
                | KeyVerb::Change { archive, .. }
                | KeyVerb::Remove { archive, .. }
                | KeyVerb::Check { archive },
            )
            | Verb::Unlock { archive, .. }
            | Verb::RecoverySheet { archive, .. } => Some(archive),
            Verb::List(list) => Some(&list.archive),
            Verb::Monitor(monitor) => Some(&monitor.archive),
            Verb::Restore(restore) => Some(&restore.archive),
            Verb::Diff(diff) => Some(&diff.archive),
            Verb::Backup(BackupArgs { archive, .. }) | Verb::Verify(VerifyArgs { archive, .. }) => archive.as_deref(),
            Verb::Config(_) | Verb::Qubes(_) | Verb::Completions { .. } | Verb::Man { .. } | Verb::Watch => None,
            Verb::Status { archive }
            | Verb::Lock { archive }
            | Verb::Snapshots(SnapshotsVerb::List { archive, .. } | SnapshotsVerb::Clean { archive, .. }) => archive.as_deref(),
        }
    }
}

/// The profile that was asked for. It has one archive, which may be named a second time but not differently.
fn find_profile<'a>(name: Option<&str>, archive: Option<&str>, config: &'a Config) -> Result<Option<&'a Profile>, String> {
    let Some(name) = name else { return Ok(None) };
    let profile = config.profiles.get(name).ok_or_else(|| {
        let known: Vec<&str> = config.profiles.keys().map(String::as_str).collect();
        format!("there is no profile {name:?} in the configuration{}{}", if known.is_empty() { "" } else { ", but " }, known.join(", "))
    })?;
    match archive {
        Some(other) if other != profile.archive => Err(format!("profile {name:?} is of archive {:?}, not {other:?}", profile.archive)),
        _ => Ok(Some(profile)),
    }
}

impl NewPassphrase {
    fn memory_kib(&self) -> Option<u32> {
        self.kdf_memory.map(|bytes| u32::try_from(bytes / 1024).unwrap_or(u32::MAX))
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
    let level = text.strip_prefix("zstd:").ok_or("the one algorithm is zstd, for instance zstd:3")?;
    let zstd_level = level.parse().ok().filter(|level| (-7..=19).contains(level)).ok_or("zstd's level is -7 to 19")?;
    Ok(Compression { zstd_level })
}

fn parse_hold_off(text: &str) -> Result<HoldOff, String> {
    let (runs, time) = text.split_once(',').ok_or("RUNS,TIME, for instance 3,7d")?;
    Ok(HoldOff { runs: runs.parse().map_err(|_| "RUNS is a number")?, secs: parse_secs(time)? })
}

fn parse_unlock(text: &str) -> Result<u64, String> {
    let secs = parse_secs(text)?;
    if (1..=UNLOCK_MAX_SECS).contains(&secs) { Ok(secs) } else { Err("1s to 24h".into()) }
}

/// `latest`, `^tag`, or a session's name or the beginning of it.
fn parse_session(text: &str) -> Result<SessionChoice, String> {
    match (text, text.strip_prefix('^')) {
        ("latest", _) => Ok(SessionChoice::Latest),
        (_, Some("")) | ("", _) => Err("a session is a time like 2026-11-23T06:43:10Z, ^TAG, or latest".into()),
        (_, Some(tag)) => Ok(SessionChoice::Tag(tag.to_owned())),
        (prefix, None) => Ok(SessionChoice::Prefix(prefix.to_owned())),
    }
}

/// `local`, or a session.
fn parse_with(text: &str) -> Result<CompareWith, String> {
    if text == "local" { Ok(CompareWith::Local) } else { parse_session(text).map(CompareWith::Session) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(words: &str) -> Command {
        let Some(ToDaemon::Start(command)) = Cli::try_parse_from(words.split(' ')).unwrap().request(Vec::new()) else { panic!("{words}") };
        command
    }

    #[test]
    fn options_stand_before_or_after_the_command() {
        let before = Cli::try_parse_from(["wyng-ctl", "--json", "--standalone", "list", "a"]).unwrap();
        let after = Cli::try_parse_from(["wyng-ctl", "list", "a", "--standalone", "--json"]).unwrap();
        assert!(before.options.json && after.options.json && after.options.standalone);
    }

    #[test]
    fn wyngs_words_work_too() {
        assert_eq!(command("wyng-ctl arch-check a"), command("wyng-ctl verify a"));
        assert_eq!(command("wyng-ctl arch-init a --store dir:/x"), command("wyng-ctl archive create a --store dir:/x"));
        assert!(matches!(command("wyng-ctl send a /x"), Command::Backup { .. }));
        assert!(matches!(command("wyng-ctl receive a v --to /x"), Command::Restore { .. }));
    }

    #[test]
    fn bounds_are_checked_before_anything_is_done() {
        for words in ["--chunk-size 3K", "--chunk-size 2M", "--compression lz4:1", "--compression zstd:99", "--hold-off 3"] {
            let line = format!("wyng-ctl archive create a --store dir:/x {words}");
            assert!(Cli::try_parse_from(line.split(' ')).is_err(), "{words}");
        }
    }

    #[test]
    fn a_session_is_a_prefix_a_tag_or_the_latest() {
        assert_eq!(parse_session("latest"), Ok(SessionChoice::Latest));
        assert_eq!(parse_session("^before"), Ok(SessionChoice::Tag("before".into())));
        assert_eq!(parse_session("2026-11"), Ok(SessionChoice::Prefix("2026-11".into())));
        assert!(parse_session("^").is_err());
    }
}
