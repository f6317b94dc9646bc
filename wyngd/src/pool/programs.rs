// SPDX-License-Identifier: GPL-3.0-or-later
//! How this role starts programs, and every argument vector of lvm and dmsetup; those of zfs are in
//! `zfs/call.rs`. The variable parts are names and UUIDs of checked characters, and tags that this
//! program wrote.
//!
//! No program is ever killed: lvm that ends between two of its steps leaves a pool that needs
//! repair. So a program runs to its end however long it takes, and its output is read to its end.

use std::io::Read;
use std::process::{ChildStderr, Command, Stdio};
use std::thread::JoinHandle;

use super::names::{DmUuid, ImportVolume, OwnVolume, VolumeName};
use super::trouble::Trouble;

/// Where lvm is.
pub(super) const LVM: &str = "/usr/sbin/lvm";
const DMSETUP: &str = "/usr/sbin/dmsetup";
/// Maximum bytes of a program's output that are kept. A volume takes about 300.
const OUTPUT_MAX_BYTES: usize = 16 << 20;
/// Maximum bytes that are kept of what a program says about a failure.
const REASON_MAX_BYTES: usize = 1024;
/// What is listed of each volume, in the order in which [`Listed`](super::listed::Listed) reads it.
pub(super) const COLUMNS: &str = "vg_uuid,vg_name,lv_uuid,lv_name,segtype,pool_lv_uuid,origin_uuid,\
                                  thin_id,lv_size,lv_attr,transaction_id,lv_tags";
/// Separates columns. No name, UUID or tag can contain it.
pub(super) const SEPARATOR: char = '|';
/// Size of the volume on which udev's rules are tried, bytes: it fits one extent.
const EMPTY_VOLUME: &str = "65536b";
/// Activates a volume, and keeps others from activating it.
const ACTIVE_FOR_US: [&str; 5] = [
    "--activate",
    "y",
    "--ignoreactivationskip",
    "--setactivationskip",
    "y",
];

/// What a program is started for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Call<'a> {
    /// Prints whether lvm looks for volumes inside volumes.
    ScansVolumes,
    /// Lists every volume of this machine, one a line.
    List,
    /// Makes a read-only snapshot that is not activated.
    Snapshot {
        origin: &'a VolumeName,
        snapshot: &'a OwnVolume,
    },
    /// Makes an empty volume in a pool, and activates it.
    MakeEmpty {
        pool: &'a VolumeName,
        empty: &'a OwnVolume,
    },
    /// Makes a snapshot that can be written to, and activates it. It has the flag that keeps others
    /// from activating it.
    SnapshotToWrite {
        origin: &'a VolumeName,
        snapshot: &'a OwnVolume,
    },
    /// Makes a volume of this size in bytes in a pool, and activates it. It has the same flag.
    Make {
        pool: &'a VolumeName,
        volume: &'a OwnVolume,
        size_bytes: u64,
    },
    /// Gives one of our volumes another name in its group. It is not ours any more.
    Rename {
        volume: &'a OwnVolume,
        to: &'a VolumeName,
    },
    /// Activates a snapshot, though it has the flag that keeps others from activating it.
    Activate(&'a OwnVolume),
    Deactivate(&'a OwnVolume),
    Remove(&'a OwnVolume),
    /// Gives a snapshot its label.
    Label {
        snapshot: &'a OwnVolume,
        tag: &'a str,
    },
    /// Prints a device's table.
    Table(&'a DmUuid),
    /// Prints a device's status.
    Status(&'a DmUuid),
    /// Takes a pool's metadata snapshot.
    Reserve(&'a DmUuid),
    /// Gives a pool's metadata snapshot back.
    Unreserve(&'a DmUuid),
}

/// What a program is started for when one of our volumes is to take the place of a qube's.
#[derive(Debug, Clone, Copy)]
pub(super) enum Move<'a> {
    /// Gives the empty volume of an import one of our names.
    TakeAway {
        import: &'a ImportVolume,
        to: &'a OwnVolume,
    },
    /// Gives one of our volumes the name of an import's. It is not ours any more.
    PutInPlace {
        volume: &'a OwnVolume,
        to: &'a ImportVolume,
    },
    /// Makes a volume longer, to a size in bytes.
    Extend {
        volume: &'a OwnVolume,
        size_bytes: u64,
    },
    /// Prints the options of the next call. lvm knows `--fs` since 2.03.17.
    ReduceOptions,
    /// Makes a volume shorter, to a size in bytes. With `knows_fs`, lvm is told not to look for a
    /// file system in it, which a guest made.
    Reduce {
        volume: &'a OwnVolume,
        size_bytes: u64,
        knows_fs: bool,
    },
    /// Takes the flag away that keeps others from activating it.
    LetActivate(&'a OwnVolume),
}

/// A program and its arguments.
type Vector = (&'static str, Vec<String>);

fn lvm(verb: &str, options: &[&str], target: Option<String>) -> Vector {
    let words = [verb].into_iter().chain(options.iter().copied());
    let mut words: Vec<String> = words.map(str::to_owned).collect();
    words.extend(
        target
            .into_iter()
            .flat_map(|target| ["--".to_owned(), target]),
    );
    (LVM, words)
}

fn rename(from: &VolumeName, to: &VolumeName) -> Vector {
    let words = ["lvrename", "--", from.group(), from.name(), to.name()];
    (LVM, words.map(str::to_owned).to_vec())
}

fn dmsetup(verb: &str, device: &DmUuid, rest: &[&str]) -> Vector {
    let words = [verb, "--uuid", device.as_str()]
        .into_iter()
        .chain(rest.iter().copied());
    (DMSETUP, words.map(str::to_owned).collect())
}

impl Move<'_> {
    fn vector(&self) -> Vector {
        match self {
            Self::TakeAway { import, to } => rename(import.volume(), to.volume()),
            Self::PutInPlace { volume, to } => rename(volume.volume(), to.volume()),
            Self::Extend { volume, size_bytes } => {
                let size = format!("{size_bytes}b");
                lvm("lvextend", &["--size", &size], Some(volume.path()))
            }
            Self::ReduceOptions => lvm("lvreduce", &["--help"], None),
            Self::Reduce {
                volume,
                size_bytes,
                knows_fs,
            } => {
                let size = format!("{size_bytes}b");
                let how = ["--yes", "--force", "--size", &size];
                let fs: &[&str] = if *knows_fs { &["--fs", "ignore"] } else { &[] };
                lvm("lvreduce", &[&how[..], fs].concat(), Some(volume.path()))
            }
            Self::LetActivate(volume) => lvm(
                "lvchange",
                &["--setactivationskip", "n"],
                Some(volume.path()),
            ),
        }
    }

    /// Runs the program to its end, and returns what it printed.
    pub(super) fn run(&self) -> Result<String, Trouble> {
        let (program, arguments) = self.vector();
        run(program, &arguments)
    }
}

impl Call<'_> {
    /// The program and its arguments.
    fn vector(&self) -> Vector {
        match self {
            Self::ScansVolumes => lvm(
                "lvmconfig",
                &["--typeconfig", "full", "devices/scan_lvs"],
                None,
            ),
            Self::List => {
                let separator = SEPARATOR.to_string();
                let format = ["--all", "--noheadings", "--units", "b", "--nosuffix"];
                let columns = ["--separator", &separator, "--options", COLUMNS];
                lvm("lvs", &[&format[..], &columns].concat(), None)
            }
            Self::Snapshot { origin, snapshot } => {
                let how = [
                    "--yes",
                    "--snapshot",
                    "--permission",
                    "r",
                    "--setactivationskip",
                    "y",
                ];
                let named = ["--name", snapshot.name()];
                lvm(
                    "lvcreate",
                    &[&how[..], &named].concat(),
                    Some(origin.path()),
                )
            }
            Self::MakeEmpty { pool, empty } => {
                let how = [
                    "--yes",
                    "--thin",
                    "--virtualsize",
                    EMPTY_VOLUME,
                    "--wipesignatures",
                    "n",
                ];
                let named = ["--name", empty.name()];
                lvm("lvcreate", &[&how[..], &named].concat(), Some(pool.path()))
            }
            Self::SnapshotToWrite { origin, snapshot } => {
                let how = ["--yes", "--snapshot", "--permission", "rw"];
                let named = ["--name", snapshot.name()];
                let words = [&how[..], &ACTIVE_FOR_US, &named].concat();
                lvm("lvcreate", &words, Some(origin.path()))
            }
            Self::Make {
                pool,
                volume,
                size_bytes,
            } => {
                let size = format!("{size_bytes}b");
                let how = ["--yes", "--thin", "--wipesignatures", "n"];
                let named = ["--virtualsize", &size, "--name", volume.name()];
                let words = [&how[..], &ACTIVE_FOR_US, &named].concat();
                lvm("lvcreate", &words, Some(pool.path()))
            }
            Self::Rename { volume, to } => rename(volume.volume(), to),
            Self::Activate(volume) => lvm(
                "lvchange",
                &["--activate", "y", "--ignoreactivationskip"],
                Some(volume.path()),
            ),
            Self::Deactivate(volume) => lvm("lvchange", &["--activate", "n"], Some(volume.path())),
            Self::Remove(volume) => lvm("lvremove", &["--force"], Some(volume.path())),
            Self::Label { snapshot, tag } => {
                lvm("lvchange", &["--addtag", tag], Some(snapshot.path()))
            }
            Self::Table(device) => dmsetup("table", device, &[]),
            Self::Status(device) => dmsetup("status", device, &[]),
            Self::Reserve(device) => dmsetup("message", device, &["0", "reserve_metadata_snap"]),
            Self::Unreserve(device) => dmsetup("message", device, &["0", "release_metadata_snap"]),
        }
    }

    /// Runs the program to its end, and returns what it printed.
    pub(super) fn run(&self) -> Result<String, Trouble> {
        let (program, arguments) = self.vector();
        run(program, &arguments)
    }
}

/// Runs a program to its end, and returns what it printed. The arguments are checked.
pub(super) fn run(program: &str, arguments: &[String]) -> Result<String, Trouble> {
    let what = || format!("{program} {}", arguments.join(" "));
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .env("LC_ALL", "C")
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = wyng_jail::start_unkillable(command)?;
    let reason = child.stderr.take().map(read_reason);
    let mut printed = Vec::new();
    let mut is_whole = true;
    if let Some(mut output) = child.stdout.take() {
        is_whole = read_to_end(&mut output, &mut printed, OUTPUT_MAX_BYTES)?;
    }
    let status = child.wait()?;
    let reason = reason
        .and_then(|reason| reason.join().ok())
        .unwrap_or_default();
    if !status.success() {
        return Err(Trouble::Program {
            what: what(),
            reason,
        });
    }
    if !is_whole {
        return Err(Trouble::Answer("a program printed too much"));
    }
    String::from_utf8(printed).map_err(|_| Trouble::Answer("a program printed no text"))
}

/// Reads to the end, and keeps at most `most` bytes; returns whether that is all of it.
fn read_to_end(from: &mut impl Read, kept: &mut Vec<u8>, most: usize) -> std::io::Result<bool> {
    let mut piece = [0; 4096];
    let mut is_whole = true;
    loop {
        let read = match from.read(&mut piece) {
            Ok(0) => return Ok(is_whole),
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let room = most.saturating_sub(kept.len());
        is_whole &= read <= room;
        kept.extend(piece.iter().take(read.min(room)));
    }
}

/// Reads what the program says about a failure, beside its output: a full pipe would stop it.
fn read_reason(mut from: ChildStderr) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut said = Vec::new();
        let _ = read_to_end(&mut from, &mut said, REASON_MAX_BYTES); // the exit status counts
        String::from_utf8_lossy(&said).trim().to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_argument_vectors_are_these_and_names_stand_behind_the_options() {
        let origin = VolumeName::new("qubes_dom0", "vm-work-private").unwrap();
        let own = OwnVolume::new("qubes_dom0", 0xab).unwrap();
        let device = DmUuid::of_pool(
            "ABCDEF-GHIJ-KLMN-OPQR-STUV-WXYZ-012345",
            "abcdef-ghij-klmn-opqr-stuv-wxyz-012345",
        )
        .unwrap();
        let words = |call: Call<'_>| {
            let (program, words) = call.vector();
            format!("{program} {}", words.join(" "))
        };
        assert_eq!(
            words(Call::Snapshot {
                origin: &origin,
                snapshot: &own
            }),
            format!(
                "/usr/sbin/lvm lvcreate --yes --snapshot --permission r \
                 --setactivationskip y --name wyng-00000000000000ab -- qubes_dom0/vm-work-private"
            )
        );
        let moved = |call: Move<'_>| {
            let (program, words) = call.vector();
            format!("{program} {}", words.join(" "))
        };
        let path = "qubes_dom0/wyng-00000000000000ab";
        assert_eq!(
            words(Call::Activate(&own)),
            format!("/usr/sbin/lvm lvchange --activate y --ignoreactivationskip -- {path}")
        );
        let to = VolumeName::new("qubes_dom0", "home").unwrap();
        assert_eq!(
            words(Call::Rename {
                volume: &own,
                to: &to
            }),
            "/usr/sbin/lvm lvrename -- qubes_dom0 wyng-00000000000000ab home"
        );
        let import = super::super::names::QubeVolume::of_name("qubes_dom0", "vm-work-private");
        let import = import.unwrap().import().unwrap();
        assert_eq!(
            [
                moved(Move::TakeAway {
                    import: &import,
                    to: &own
                }),
                moved(Move::PutInPlace {
                    volume: &own,
                    to: &import
                }),
            ],
            [
                "/usr/sbin/lvm lvrename -- qubes_dom0 vm-work-private-import wyng-00000000000000ab",
                "/usr/sbin/lvm lvrename -- qubes_dom0 wyng-00000000000000ab vm-work-private-import",
            ]
        );
        assert_eq!(
            moved(Move::Reduce {
                volume: &own,
                size_bytes: 4096,
                knows_fs: true
            }),
            format!("/usr/sbin/lvm lvreduce --yes --force --size 4096b --fs ignore -- {path}")
        );
        assert_eq!(
            words(Call::Remove(&own)),
            format!("/usr/sbin/lvm lvremove --force -- {path}")
        );
        assert_eq!(
            words(Call::Label {
                snapshot: &own,
                tag: "wyng:1"
            }),
            format!("/usr/sbin/lvm lvchange --addtag wyng:1 -- {path}")
        );
        assert_eq!(
            words(Call::Unreserve(&device)),
            "/usr/sbin/dmsetup message --uuid \
             LVM-ABCDEFGHIJKLMNOPQRSTUVWXYZ012345abcdefghijklmnopqrstuvwxyz012345-tpool \
             0 release_metadata_snap"
        );
    }

    #[test]
    fn too_much_output_is_read_to_its_end_and_not_kept() {
        let mut kept = Vec::new();
        let mut from = std::io::Cursor::new(vec![7; 10_000]);
        assert!(!read_to_end(&mut from, &mut kept, 100).unwrap());
        assert_eq!((kept.len(), from.position()), (100, 10_000));
    }
}
