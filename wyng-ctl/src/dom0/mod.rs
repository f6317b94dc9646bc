// SPDX-License-Identifier: GPL-3.0-or-later
//! dom0's own files: collected into one tar, which is a volume of the archive like any other, and
//! written back into a new folder. Everything happens with the caller's rights; the daemon sees the
//! tar alone. Nothing is ever put where it came from.

mod pack;
mod packages;
mod policy;
mod roots;
mod scan;
mod tar;
mod unpack;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;
use wyng_config::Config;

use pack::Pack;
pub(crate) use policy::{Difference, State};
use roots::Never;
pub(crate) use scan::LeftOut;
#[cfg(test)]
pub(crate) use scan::Why;
use scan::{Rules, TooLarge};
use unpack::Ended;

/// The beginning of the names of dom0's own volumes. Nobody names a path so.
pub(crate) const OF_DOM0: &str = "dom0:";
/// The volume of dom0's files.
pub(crate) const VOLUME: &str = "dom0:files";
/// What the daemon takes for the volume's path: there is no such file.
pub(crate) const PATH: &str = "/dom0:files";
/// The chunk size of an archive whose own is not known, bytes.
pub(crate) const CHUNK_BYTES: u64 = 128 << 10;

/// The archive's own member with the list of packages.
const PACKAGES: &str = "packages.txt";
/// The archive's own member that names what is not in it.
const LEFT_OUT: &str = "left-out.txt";
/// Maximum of all of dom0's files together, bytes.
const BYTES_MAX: u64 = 4 << 30;

/// What is to be collected.
pub(crate) struct Wish<'a> {
    /// The root folder: `/`, except in tests.
    pub(crate) top: &'a Path,
    /// Paths besides the fixed ones and the homes, absolute.
    pub(crate) paths: &'a [PathBuf],
    /// Paths that are never taken besides the fixed ones: state and secrets of this command.
    pub(crate) never: &'a [PathBuf],
    /// The folder for the file without a name.
    pub(crate) scratch: &'a Path,
    /// The archive's chunk size.
    pub(crate) chunk_bytes: u64,
}

/// dom0's files as a tar.
#[derive(Debug)]
pub(crate) struct Packed {
    /// The tar, without a name, open for reading.
    pub(crate) file: OwnedFd,
    /// Number of files.
    pub(crate) files: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// What is not, or not soundly, in it.
    pub(crate) left_out: Vec<LeftOut>,
}

/// dom0's files as a restore wrote them.
#[derive(Debug)]
pub(crate) struct Unpacked {
    /// Number of files.
    pub(crate) files: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// Links, which were not made: path and target, harmless to a terminal.
    pub(crate) links: Vec<(String, String)>,
    /// What was not written.
    pub(crate) left_out: Vec<LeftOut>,
    /// How the policy differs from the one here.
    pub(crate) policy: Vec<Difference>,
}

/// Why dom0's files are not collected.
#[derive(Debug)]
pub(crate) enum NotPacked {
    /// The root folder cannot be opened.
    Unreadable(io::Error),
    /// They are more than is taken.
    TooLarge {
        bytes: u64,
        /// The folder that has the most of them, relative to the root folder, and harmless to a
        /// terminal.
        folder: String,
        folder_bytes: u64,
        max_bytes: u64,
    },
    /// The tar cannot be written.
    Unwritable(io::Error),
}

/// Why dom0's files are not written back.
#[derive(Debug)]
pub(crate) enum NotUnpacked {
    /// The tar is not as Wyng writes it; the reason completes a sentence about it. Nothing was
    /// written.
    Foreign(String),
    /// The folder, or something in it, cannot be written.
    Unwritable(io::Error),
}

/// Collects dom0's files.
pub(crate) fn pack(wish: &Wish<'_>, config: &Config) -> Result<Packed, NotPacked> {
    let unwritable = NotPacked::Unwritable;
    let top = open_folder(wish.top).map_err(|errno| NotPacked::Unreadable(errno.into()))?;
    let never = Never::of(wish.top, config, wish.never);
    let rules = Rules {
        never: &never,
        chunk_bytes: wish.chunk_bytes,
        bytes_max: BYTES_MAX,
    };
    let roots = roots::roots(wish.top, wish.paths);
    let found = scan::scan(top.as_fd(), &roots, &rules).map_err(|TooLarge { bytes, folder }| {
        let (path, folder_bytes) = folder;
        NotPacked::TooLarge {
            bytes,
            folder: policy::shown(&path),
            folder_bytes,
            max_bytes: BYTES_MAX,
        }
    })?;
    let file = scratch(wish.scratch).map_err(|errno| unwritable(errno.into()))?;
    let mut left_out = found.left_out;
    let mut pack = Pack::new(&file, wish.chunk_bytes);
    match packages::list(wish.top) {
        Ok(list) => pack.text(PACKAGES, &list).map_err(unwritable)?,
        Err(why) => left_out.push(LeftOut {
            path: PACKAGES.to_owned(),
            why,
        }),
    }
    for entry in &found.entries {
        left_out.extend(pack.entry(top.as_fd(), entry).map_err(unwritable)?);
    }
    let listed: String = left_out
        .iter()
        .map(|left| format!("{}\t{}\n", left.path, left.why.phrase()))
        .collect();
    pack.text(LEFT_OUT, listed.as_bytes()).map_err(unwritable)?;
    let (files, bytes) = (pack.files, pack.bytes);
    pack.finish().map_err(unwritable)?;
    Ok(Packed {
        file: file.into(),
        files,
        bytes,
        left_out,
    })
}

/// Writes dom0's files from a tar into the new folder `to`, and compares their policy with the one
/// here. `top` is the root folder here.
pub(crate) fn unpack(archive: OwnedFd, to: &Path, top: &Path) -> Result<Unpacked, NotUnpacked> {
    let archive = File::from(archive);
    let ended = |ended: Ended| match ended {
        Ended::Bad(bad) => NotUnpacked::Foreign(bad.phrase().to_owned()),
        Ended::Unreadable(error) => NotUnpacked::Foreign(error.to_string()),
        Ended::Unwritable(errno) => NotUnpacked::Unwritable(errno.into()),
    };
    let contents = unpack::read(&archive).map_err(ended)?;
    let written = unpack::write(&archive, &contents, to).map_err(ended)?;
    let link = |(path, target): (Vec<u8>, Vec<u8>)| (policy::shown(&path), policy::shown(&target));
    Ok(Unpacked {
        files: written.files,
        bytes: written.bytes,
        links: written.links.into_iter().map(link).collect(),
        left_out: written.left_out,
        policy: policy::compare(to, top),
    })
}

fn open_folder(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
}

/// A new file without a name, which is gone with this process.
fn scratch(folder: &Path) -> Result<File, Errno> {
    let mode = Mode::RUSR | Mode::WUSR;
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    match rustix::fs::open(folder, flags, mode) {
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => {
            let path = folder.join(format!(".wyng-dom0.{}", std::process::id()));
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::RDWR;
            let file = rustix::fs::open(&path, flags | OFlags::CLOEXEC, mode)?;
            rustix::fs::unlinkat(CWD, &path, AtFlags::empty())?;
            Ok(file.into())
        }
        made => Ok(made?.into()),
    }
}

#[cfg(test)]
mod tests;
