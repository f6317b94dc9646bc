// SPDX-License-Identifier: GPL-3.0-or-later
//! The words of the command line: each command with its arguments and options, and what `--help`
//! says of them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use wyng_config::{parse_bytes, parse_secs};
use wyng_control::{CompareWith, Compression, HoldOff, PruneRules, SessionChoice, Via};

use super::parse::{
    parse_budget, parse_chunk_size, parse_compression, parse_hold_off, parse_session, parse_unlock,
    parse_with,
};
use super::qubes::QubeArgs;
use super::qubes_back::{GIVEN, NEVER_WITH_DOM0, QubesBackArgs};
use crate::credentials::StoreCredentials;
use crate::quantity::parse_small_bytes;

const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (archive format version 0; not audited)"
);

/// The socket on which the service listens.
pub(crate) const SOCKET: &str = "/run/wyng/wyngd.sock";

/// The folder in which the kernel reports power supplies.
const POWER_SUPPLIES: &str = "/sys/class/power_supply";

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

/// Options of every command, before or after its words.
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
    /// Print one JSON object to standard output, or to standard error with `restore --to -`
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Show progress on standard error: auto is a bar on a terminal and lines elsewhere, json is
    /// one JSON object a line
    #[arg(long, global = true, value_enum, default_value_t = ProgressStyle::Auto)]
    pub(crate) progress: ProgressStyle,
    /// Print nothing on success except for what was asked for
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// Print more details
    #[arg(short, long, global = true)]
    pub(crate) verbose: bool,
    /// Answer yes to questions before something is overwritten or removed
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
    /// Create, adopt and inspect archives
    #[command(subcommand)]
    Archive(ArchiveVerb),
    /// Add, change, remove and check passphrases and recovery keys
    #[command(subcommand)]
    Key(KeyVerb),
    /// Back up volumes
    #[command(alias = "send")]
    Backup(BackupArgs),
    /// Record what changed and move base snapshots on, without reading or sending anything
    Monitor(MonitorArgs),
    /// List volumes and sessions
    List(ListArgs),
    /// Show what fills the store: volumes, sessions, metadata and the rest
    Why {
        /// Name of the archive
        archive: Option<String>,
    },
    /// Show how the archive grew, how many sessions it kept, and its health over time
    History {
        /// Name of the archive
        archive: Option<String>,
        /// Also write a picture to this file; asks before it replaces a file that is no such
        /// picture
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        svg: Option<PathBuf>,
    },
    /// Rename, describe and remove volumes
    #[command(subcommand)]
    Volume(VolumeVerb),
    /// Give tags to sessions: `^TAG` then names the newest session that has the tag
    #[command(subcommand)]
    Tag(TagVerb),
    /// Restore volumes
    #[command(alias = "receive")]
    Restore(RestoreArgs),
    /// Restore a random session to scratch, compare it, and remove it
    Rehearse(RehearseArgs),
    /// Compare a session with another one, or with the volume as it is
    Diff(DiffArgs),
    /// Check that the store is complete and undamaged
    #[command(alias = "arch-check")]
    Verify(VerifyArgs),
    /// Remove the sessions that no rule keeps, and free what only they need
    Prune(PruneArgs),
    /// Remove sessions by hand
    #[command(subcommand)]
    Session(SessionVerb),
    /// Rewrite packs that hold little or are small, and delete what was given up
    Compact(CompactArgs),
    /// Bring back a session that was removed, while its packs are still there
    Undelete(PinArgs),
    /// Pin a session: nothing removes it until it is unpinned
    Pin(PinArgs),
    /// Unpin a session
    Unpin(PinArgs),
    /// Show the state of archives: newest sessions, damage, overdue backups
    Status {
        /// Name of the archive [default: all]
        archive: Option<String>,
        /// Accept the present time of this machine's clock after a jump: it is no longer reported
        #[arg(long)]
        trust_clock: bool,
        /// Also write the files for monitoring systems that the configuration names under monitor
        #[arg(long, conflicts_with = "archive")]
        export: bool,
    },
    /// Follow the running daemon's commands until none is left
    Watch {
        /// Stay, and show notices on the desktop: progress, results, and overdue backups
        #[arg(long)]
        notify: bool,
    },
    /// Show archives, volumes, sessions and what runs on one screen, and choose what to restore
    Tui,
    /// Let the running daemon open the archive without the passphrase for some time
    Unlock {
        /// Name of the archive
        archive: Option<String>,
        /// Time for which the key is kept, 1s to 24h
        #[arg(long = "for", value_name = "TIME", default_value = "15m", value_parser = parse_unlock)]
        secs: u64,
    },
    /// Wipe the key that `unlock` gave to the running daemon
    Lock {
        /// Name of the archive [default: all]
        archive: Option<String>,
    },
    /// Manage base snapshots, which show what changed since the last backup
    #[command(subcommand)]
    Snapshots(SnapshotsVerb),
    /// Check the configuration
    #[command(subcommand)]
    Config(ConfigVerb),
    /// Check the connection to other qubes
    #[command(subcommand)]
    Qubes(QubesVerb),
    /// Try what a store can do
    #[command(subcommand)]
    Store(StoreVerb),
    /// Print completions for a shell
    Completions {
        /// Shell to complete for
        shell: Shell,
    },
    /// Write the manual pages to a folder
    Man {
        /// Folder for the pages; created if it is missing
        #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
        folder: PathBuf,
    },
    /// Print the sheet to keep on paper: the archive's id, and the code that reveals a rollback
    RecoverySheet {
        /// Name of the archive
        archive: Option<String>,
        /// Also show the code as a QR code in the terminal
        #[arg(long)]
        qr: bool,
        /// Write the whole sheet as an SVG file
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        svg: Option<PathBuf>,
    },
    /// Another name for `archive create`
    #[command(name = "arch-init", hide = true)]
    ArchInit(CreateArgs),
}

#[derive(Debug, Subcommand)]
pub(crate) enum SnapshotsVerb {
    /// List base snapshots near the known volumes, and which of them are unused
    List {
        /// Name of the archive [default: all]
        archive: Option<String>,
        /// Also look at the top of every mounted btrfs and XFS, and for those of unknown archives
        /// in thin pools
        #[arg(long)]
        all: bool,
    },
    /// Remove unused base snapshots: of archives that this machine does not know, and of volumes
    /// that are gone
    Clean {
        /// Remove all base snapshots of this archive instead; the next backup then reads each
        /// volume completely
        archive: Option<String>,
        /// Also look at the top of every mounted btrfs and XFS, and in thin pools, where archives of
        /// another user or daemon may have theirs
        #[arg(long, conflicts_with = "archive")]
        all: bool,
        /// Also release the metadata snapshots of thin pools that a killed run may have left: only
        /// if no other program uses them
        #[arg(long, conflicts_with = "archive")]
        metadata: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigVerb {
    /// Report every mistake, and every volume that cannot be backed up
    Check,
}

#[derive(Debug, Subcommand)]
pub(crate) enum QubesVerb {
    /// Check the connection to the far ends, and that each service answers
    Check {
        /// Far end as for `archive create --via` [default: those of all archives]
        #[arg(value_name = "VIA")]
        vias: Vec<String>,
        /// The same, understood.
        #[arg(skip)]
        far_ends: Vec<Via>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum StoreVerb {
    /// Put, read, list and delete a small blob, and say what the store lacks for an archive
    Check(StoreCheckArgs),
}

/// How a store is reached, and what it asks for.
#[derive(Debug, Args)]
pub(crate) struct ReachArgs {
    /// File with the store's credentials [default: those known for this store]
    #[arg(long, value_name = "FILE")]
    pub(super) credentials: Option<PathBuf>,
    /// Sign each request here instead of handing the credentials to the far end; for s3://
    #[arg(long, requires = "credentials")]
    pub(super) signed: bool,
    /// Hand the credentials to the far end, although requests to this store were signed here before
    #[arg(long, requires = "credentials", conflicts_with = "signed")]
    pub(super) no_signed: bool,
    /// The same, or those of the configuration.
    #[arg(skip)]
    pub(super) store_credentials: Option<StoreCredentials>,
    /// Far end: local, ssh:HOST, qrexec:VM, qrexec:@dispvm:TEMPLATE [default: the one known for
    /// this store, else local]
    #[arg(long, value_name = "TRANSPORT")]
    pub(super) via: Option<String>,
    /// The same, or that of the configuration.
    #[arg(skip)]
    pub(super) far_end: Option<Via>,
}

/// The store of an archive.
#[derive(Debug, Args)]
pub(crate) struct StoreArgs {
    /// Address of the store: dir:/path, s3://bucket/prefix, webdavs://host/path,
    /// sftp://user@host/path [default: as configured, else as before]
    #[arg(long, value_name = "URL")]
    pub(super) store: Option<String>,
    #[command(flatten)]
    pub(super) reach: ReachArgs,
    /// Far end through which what was pushed is checked [default: as configured, else as before,
    /// else that of --via]
    #[arg(long, value_name = "TRANSPORT")]
    pub(super) verify_via: Option<String>,
    /// The same, or that of the configuration.
    #[arg(skip)]
    pub(super) verify_far_end: Option<Via>,
}

#[derive(Debug, Args)]
pub(crate) struct StoreCheckArgs {
    /// Address of the store, as for `archive create --store`
    #[arg(value_name = "URL")]
    pub(super) store: String,
    #[command(flatten)]
    pub(super) reach: ReachArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ArchiveVerb {
    /// Create an archive in an empty store
    Create(CreateArgs),
    /// Adopt an existing archive, or catch up with it: rebuilds the local state
    Open(OpenArgs),
    /// Bring a copy of the archive in a further store up to date; needs no passphrase
    Copy(CopyArgs),
    /// Become the archive's writer
    TakeOver {
        /// Name of the archive
        name: String,
        /// The store is a copy made by `archive copy`: make it the archive's own store
        #[arg(long)]
        promote: bool,
        /// The machine that wrote until now does not write any more: needed where the store cannot
        /// keep two writers apart
        #[arg(long)]
        other_writer_is_gone: bool,
    },
    /// List the archives that this machine knows
    List,
    /// Show one archive
    Show {
        /// Name of the archive
        name: Option<String>,
    },
    /// Accept all damage known now as lasting: it is still shown, but `verify` and `status` end
    /// with 0 again
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
    pub(super) name: String,
    #[command(flatten)]
    pub(super) place: StoreArgs,
    /// Size of a chunk: a power of two, 64K to 1M
    #[arg(long, value_name = "SIZE", default_value = "128K", value_parser = parse_chunk_size)]
    pub(super) chunk_size: u32,
    /// Size of a pack: a multiple of 4K, 64K to 64M, at least twice the chunk size
    #[arg(long, value_name = "SIZE", default_value = "16M", value_parser = parse_small_bytes)]
    pub(super) pack_size: u32,
    /// Compression of new chunks: zstd:LEVEL, -7 to 19
    #[arg(long, value_name = "ALGORITHM:LEVEL", default_value = "zstd:3", value_parser = parse_compression)]
    pub(super) compression: Compression,
    /// RUNS,TIME that must both pass before anything is deleted
    #[arg(long, value_name = "RUNS,TIME", default_value = "3,7d", value_parser = parse_hold_off)]
    pub(super) hold_off: HoldOff,
    /// Minimum age of a session that a prune removes
    #[arg(long, value_name = "TIME", default_value = "7d", value_parser = parse_secs)]
    pub(super) minimum_age: u64,
    /// Deduplicate across all volumes instead of within each one
    #[arg(long)]
    pub(super) shared_domain: bool,
    /// Memory cost of one guess at the passphrase, 64M to 1G
    #[arg(long, value_name = "SIZE", default_value = "256M", value_parser = parse_bytes)]
    pub(super) kdf_memory: u64,
    /// Passes of one guess at the passphrase, 3 to 16
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub(super) kdf_passes: u32,
}

#[derive(Debug, Args)]
pub(crate) struct OpenArgs {
    /// Name of the archive on this machine
    pub(super) name: String,
    #[command(flatten)]
    pub(super) place: StoreArgs,
    /// Refuse a state older than this code of the recovery sheet
    #[arg(long, value_name = "CODE")]
    pub(super) expect: Option<String>,
    /// Open the newest intact generation below this one if newer ones are damaged: their sessions
    /// are not shown
    #[arg(long, value_name = "GENERATION")]
    pub(super) before: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct CopyArgs {
    /// Name of the archive on this machine
    #[arg(required_unless_present = "profile", conflicts_with = "profile")]
    pub(super) name: Option<String>,
    /// Address of the copy: dir:/path, s3://bucket/prefix, webdavs://host/path,
    /// sftp://user@host/path [default: the configured copies, one after the other]
    #[arg(long, value_name = "URL")]
    pub(super) to: Option<String>,
    /// Bring the configured copies of the archives of this profile up to date
    #[arg(long, value_name = "NAME", conflicts_with = "to")]
    pub(super) profile: Option<String>,
    /// Make the copy again in an empty place, because the one that was there is lost for good
    #[arg(long)]
    pub(super) anew: bool,
    #[command(flatten)]
    pub(super) reach: ReachArgs,
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
        /// Add a recovery key, shown once, instead of a passphrase
        #[arg(long)]
        recovery_key: bool,
        #[command(flatten)]
        new: NewPassphrase,
    },
    /// Replace the given passphrase by a new one
    Change {
        /// Name of the archive
        archive: Option<String>,
        #[command(flatten)]
        new: NewPassphrase,
    },
    /// Remove a passphrase or recovery key; requires the passphrase of another slot
    Remove {
        /// Name of the archive
        archive: Option<String>,
        /// Number of the slot, as `key list` shows it
        slot: Option<String>,
    },
    /// Check that a passphrase opens the archive, and show its slot
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
    /// Memory cost of one guess at it, 64M to 1G [default: as the slot that opens]
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    pub(super) kdf_memory: Option<u64>,
    /// Passes of one guess at it, 3 to 16 [default: as the slot that opens]
    #[arg(long, value_name = "N")]
    pub(super) kdf_passes: Option<u32>,
    /// Label for `key list`, at most 32 bytes; readable only with the archive's keys
    #[arg(long, value_name = "TEXT")]
    pub(super) label: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct BackupArgs {
    /// Name of the archive; a profile names it too
    pub(super) archive: Option<String>,
    /// PATH or NAME=PATH of a disk image or block device, or a volume of the configuration.
    /// `zfs:POOL/DATASET` stands for the path of a ZFS volume
    #[arg(value_name = "SOURCE", value_hint = ValueHint::AnyPath)]
    pub(crate) sources: Vec<OsString>,
    /// Back up all volumes of the configuration; in dom0, also all qubes that are to be in backups
    #[arg(long, conflicts_with = "sources")]
    pub(super) all: bool,
    #[command(flatten)]
    pub(super) qubes: QubeArgs,
    /// Back up dom0's own files: policies, RPC services, salt, the list of packages, the homes of
    /// its people, and what profiles name as dom0_paths
    #[arg(long)]
    pub(crate) dom0: bool,
    /// What dom0's files are besides the fixed ones.
    #[arg(skip)]
    pub(crate) dom0_paths: Vec<PathBuf>,
    /// Root folder of dom0's files
    #[arg(long, value_name = "DIR", hide = true, default_value = "/")]
    pub(crate) dom0_root: PathBuf,
    /// Take archive, volumes, qubes and options from this profile
    #[arg(long, value_name = "PROFILE", conflicts_with_all = ["sources", "all"])]
    pub(crate) profile: Option<String>,
    /// Mark all sessions as backed up while in use; back up running qubes as they are now, each
    /// paused for at most 10 seconds where its volumes can be cloned
    #[arg(long)]
    pub(super) live: bool,
    /// Read and count, but send nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Make no session for an unchanged volume
    #[arg(long)]
    pub(super) skip_unchanged: bool,
    /// Also send again what `verify` reported as missing or damaged in so large a part of the store
    /// that it does not count as lost
    #[arg(long, conflicts_with = "dry_run")]
    pub(super) heal: bool,
    /// Read back what was sent, by a far end that is started anew once the store has everything
    #[arg(long, conflicts_with = "dry_run")]
    pub(super) verify: bool,
    /// Let each volume send at most this much new data in a day; one that has more gets no session,
    /// and continues there the next day
    #[arg(long, value_name = "SIZE", value_parser = parse_budget)]
    pub(super) max_new_bytes: Option<u64>,
    /// The rules of the prune that follows the backup.
    #[arg(skip)]
    pub(super) prune_after: Option<PruneRules>,
    /// Defer the backup with status 7 while the machine is on battery, for at most three days if
    /// more than 60 % are left
    #[arg(long, requires = "profile")]
    pub(crate) unattended: bool,
    /// Leave the backup out if the profile's last one with --interval began less than half of TIME
    /// ago; the packaged timer is daily, and says 1d
    #[arg(long, value_name = "TIME", requires = "profile", value_parser = parse_secs)]
    pub(super) interval: Option<u64>,
    /// Folder in which the kernel reports power supplies
    #[arg(long, value_name = "DIR", hide = true, default_value = POWER_SUPPLIES)]
    pub(crate) power_supplies: PathBuf,
}

impl BackupArgs {
    /// Whether anything but dom0's files is backed up.
    pub(crate) fn has_others(&self) -> bool {
        !self.sources.is_empty() || !self.qubes.choice().is_empty()
    }
}

/// Which sessions of a volume are kept.
#[derive(Debug, Args)]
pub(crate) struct KeepArgs {
    /// Keep the newest N sessions, at most one in each hour
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub(super) keep_last: u32,
    /// Keep the newest session of each of the newest N hours that have one
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub(super) keep_hourly: u32,
    /// Keep the newest session of each of the newest N days that have one
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub(super) keep_daily: u32,
    /// Keep the newest session of each of the newest N weeks that have one
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub(super) keep_weekly: u32,
    /// Keep the newest session of each of the newest N months that have one
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub(super) keep_monthly: u32,
    /// Keep the newest session of each of the newest N years that have one
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub(super) keep_yearly: u32,
    /// Keep every session at most this much older than the newest one, such as 30d
    #[arg(
        long,
        value_name = "TIME",
        default_value = "0s",
        hide_default_value = true,
        value_parser = parse_secs
    )]
    pub(super) keep_within: u64,
    /// Keep every session with this tag; may be given several times
    #[arg(long, value_name = "TAG")]
    pub(super) keep_tag: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct PruneArgs {
    /// Name of the archive
    pub(super) archive: Option<String>,
    /// Prune only these volumes
    #[arg(value_name = "VOLUME")]
    pub(super) volumes: Vec<String>,
    /// Take the archive and the rules from this profile
    #[arg(long, value_name = "PROFILE")]
    pub(super) profile: Option<String>,
    #[command(flatten)]
    pub(super) keep: KeepArgs,
    /// Report what would be removed and why, and change nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Remove nothing after a jump of the clock, until somebody has looked; for timers
    #[arg(long)]
    pub(super) unattended: bool,
    /// Accept the clock of this machine as it is: it was compared with another one
    #[arg(long, conflicts_with = "unattended")]
    pub(super) trust_clock: bool,
    /// The rules of the configuration, by archive.
    #[arg(skip)]
    pub(super) configured: BTreeMap<String, PruneRules>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SessionVerb {
    /// Remove sessions, whatever their age; pinned ones stay
    Remove {
        /// Name of the archive
        archive: String,
        /// Name of the volume
        volume: String,
        /// Sessions: names or the beginnings of them, days, ^TAG, latest
        #[arg(value_name = "SESSION", required = true, value_parser = parse_session)]
        sessions: Vec<SessionChoice>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct PinArgs {
    /// Name of the archive
    pub(super) archive: String,
    /// Name of the volume
    pub(super) volume: String,
    /// Session: its name or the beginning of it, a day, ^TAG, latest
    #[arg(value_name = "SESSION", value_parser = parse_session)]
    pub(super) session: SessionChoice,
}

#[derive(Debug, Args)]
pub(crate) struct CompactArgs {
    /// Name of the archive
    pub(super) archive: Option<String>,
    /// Rewrite packs of at most this total size
    #[arg(long, value_name = "SIZE", value_parser = parse_budget)]
    pub(super) budget: Option<u64>,
    /// Also delete blobs that this machine pushed in interrupted runs and that no commit has
    #[arg(long)]
    pub(super) orphans: bool,
}

#[derive(Debug, Args)]
pub(crate) struct MonitorArgs {
    /// Name of the archive
    pub(super) archive: Option<String>,
    /// PATH or NAME=PATH of a disk image, or a volume of the configuration
    #[arg(value_name = "SOURCE", value_hint = ValueHint::AnyPath)]
    pub(super) sources: Vec<OsString>,
    /// Monitor all volumes of the configuration
    #[arg(long, conflicts_with = "sources")]
    pub(super) all: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Name of the archive
    pub(super) archive: Option<String>,
    /// Show only this volume
    pub(super) volume: Option<String>,
    /// Show only this session: its name or the beginning of it, a day, ^TAG, latest
    #[arg(long, value_name = "SESSION", value_parser = parse_session)]
    pub(super) session: Option<SessionChoice>,
    /// Also show what each session needs in the store, and what its removal would free
    #[arg(long)]
    pub(super) sizes: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum VolumeVerb {
    /// Give a volume another name; its sessions, base snapshot and path stay with it
    Rename {
        /// Name of the archive
        archive: String,
        /// Name of the volume
        volume: String,
        /// New name of the volume
        #[arg(value_name = "NEW")]
        new: String,
    },
    /// Give a volume a description, which `list` shows
    Describe {
        /// Name of the archive
        archive: String,
        /// Name of the volume
        volume: String,
        /// Description, at most 1000 bytes; an empty one removes it
        text: String,
    },
    /// Remove a volume with all of its sessions
    Remove {
        /// Name of the archive
        archive: String,
        /// Name of the volume
        volume: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum TagVerb {
    /// Add tags to a session
    Add(TagArgs),
    /// Remove tags from a session
    Remove(TagArgs),
}

#[derive(Debug, Args)]
pub(crate) struct TagArgs {
    /// Name of the archive
    pub(super) archive: String,
    /// Name of the volume
    pub(super) volume: String,
    /// Session: its name or the beginning of it, a day, ^TAG, latest
    #[arg(value_parser = parse_session)]
    pub(super) session: SessionChoice,
    /// Tags: words of at most 64 bytes, at most 16 of a session
    #[arg(value_name = "TAG", required = true)]
    pub(super) tags: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// Name of the archive
    pub(super) archive: Option<String>,
    /// Names of the volumes
    #[arg(value_name = "VOLUME", conflicts_with = "all")]
    pub(crate) volumes: Vec<String>,
    /// Restore all volumes
    #[arg(long)]
    pub(crate) all: bool,
    /// Session: its name or the beginning of it, a day (its last session), latest
    #[arg(long, value_name = "SESSION", default_value = "latest", value_parser = parse_session)]
    pub(super) session: SessionChoice,
    /// Write to this new file, or with `-` to standard output; for several volumes, to a folder
    /// with one file a volume. `thin:GROUP/POOL/NAME` is a new volume in a thin pool of LVM's;
    /// with --in-place, `zfs:POOL/DATASET` is a ZFS volume
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath, required_unless_present_any = ["in_place", "of_qubes"])]
    pub(crate) to: Option<PathBuf>,
    /// Replace an existing file once the new one is complete; content that both share is not
    /// fetched
    #[arg(long)]
    pub(crate) overwrite: bool,
    /// Change the volume, or the target of --to, in place: only differences are fetched and
    /// written. Nothing else may use it meanwhile
    #[arg(long, conflicts_with_all = ["all", "overwrite"])]
    pub(crate) in_place: bool,
    /// Trust the base snapshot about equal content instead of reading it: takes seconds, but is
    /// less certain. Content kept unread is reported
    #[arg(long)]
    pub(super) quick: bool,
    /// Report what would be fetched and written, and where; asks nothing and changes nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Also restore damaged sessions: lost ranges become zeros and are listed, and the exit status
    /// is 5
    #[arg(long)]
    pub(crate) around_damage: bool,
    /// Restore dom0's own files into the new folder that --to names; none is put where it came from
    #[arg(long, group = GIVEN, requires = "to", conflicts_with_all = NEVER_WITH_DOM0)]
    pub(crate) dom0: bool,
    /// Root folder of the present dom0's files
    #[arg(long, value_name = "DIR", hide = true, default_value = "/")]
    pub(crate) dom0_root: PathBuf,
    #[command(flatten)]
    pub(crate) qubes: QubesBackArgs,
}

impl RestoreArgs {
    /// Whether `--to` names a place in a thin pool.
    pub(crate) fn is_to_pool(&self) -> bool {
        let to = self.to.as_ref().map(|to| to.as_os_str().as_encoded_bytes());
        to.is_some_and(|to| to.starts_with(b"thin:"))
    }
}

#[derive(Debug, Args)]
pub(crate) struct RehearseArgs {
    /// Name of the archive; a profile names it too
    pub(super) archive: Option<String>,
    /// Volume whose session is restored [default: one at random]
    pub(super) volume: Option<String>,
    /// Folder with room for the session; its file never gets a name [default: as configured, else
    /// the state folder of a private daemon, else /var/tmp]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) scratch: Option<PathBuf>,
    /// Take archive and scratch folder from this profile
    #[arg(long, value_name = "PROFILE")]
    pub(super) profile: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// Name of the archive
    pub(super) archive: Option<String>,
    /// Name of the volume
    pub(super) volume: Option<String>,
    /// Session: its name or the beginning of it, a day (its last session), latest
    #[arg(long, value_name = "SESSION", default_value = "latest", value_parser = parse_session)]
    pub(super) session: SessionChoice,
    /// Compare with another session of the volume, or with `local`: the volume as it is
    #[arg(long, value_name = "SESSION", default_value = "local", value_parser = parse_with)]
    pub(super) with: CompareWith,
    /// Path of the volume [default: as configured, else as backed up from]
    #[arg(long, value_name = "PATH")]
    pub(super) to: Option<PathBuf>,
    /// The configuration names the volume
    #[arg(skip)]
    pub(super) configured: bool,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// Name of the archive; a profile names it too
    pub(super) archive: Option<String>,
    /// Check only what these volumes need
    pub(super) volumes: Vec<String>,
    /// Check only what this session needs
    #[arg(long, value_name = "SESSION", value_parser = parse_session)]
    pub(super) session: Option<SessionChoice>,
    /// Also open every chunk; requires the passphrase
    #[arg(long)]
    pub(super) deep: bool,
    /// Read packs of at most this total size: one half those whose proof is the oldest, the other
    /// half those that were never read; commits and slots are read in addition
    #[arg(long, value_name = "SIZE", value_parser = parse_budget)]
    pub(super) budget: Option<u64>,
    /// Take archive and budget from this profile
    #[arg(long, value_name = "PROFILE", conflicts_with = "volumes")]
    pub(super) profile: Option<String>,
    /// Leave the verify out if the profile's last one with --interval began less than half of TIME
    /// ago; the packaged timer is weekly, and says 1w
    #[arg(long, value_name = "TIME", requires = "profile", value_parser = parse_secs)]
    pub(super) interval: Option<u64>,
}
