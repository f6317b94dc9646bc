// SPDX-License-Identifier: GPL-3.0-or-later
//! Opens volumes of the configuration, component by component from `/`. A link on the way is
//! followed only where it and its folder belong to root or to this daemon: a user who may write one
//! volume's folder cannot make the daemon read another volume in its place, or a device.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use wyng_config::dirty_image;
use wyng_control::{FileKind, NoSource};

/// Maximum number of links that are followed, as in the kernel.
const LINKS_MAX: usize = 40;
const FOLDER: OFlags = OFlags::PATH
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);
const LINK: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const VOLUME: OFlags = OFlags::NOFOLLOW
    .union(OFlags::CLOEXEC)
    .union(OFlags::NOCTTY)
    .union(OFlags::NONBLOCK);

/// The user whose links are followed; none for the links of every user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Trusted(Option<u32>);

impl Trusted {
    /// Root may read files that the owner of a volume's folder may not; any other user reads
    /// nothing by a link that it may not read without. To be called before the process enters a
    /// user namespace, in which user numbers change.
    pub(super) fn of_this_process() -> Self {
        Self(wyng_jail::is_root().then_some(0))
    }

    fn has(self, thing: &OwnedFd) -> bool {
        self.0
            .is_none_or(|user| rustix::fs::fstat(thing).is_ok_and(|found| found.st_uid == user))
    }
}

/// Opens a volume for reading, at most [`LINKS_MAX`] links away. A file that cannot be a source is
/// not even opened, because opening some devices has effects. A volume in a pool of files may be
/// missing while its qube runs.
pub(super) fn open(path: &Path, trusted: Trusted) -> Result<OwnedFd, NoSource> {
    open_as(path, trusted, OFlags::RDONLY)
}

/// The same for writing.
pub(super) fn open_for_writing(path: &Path, trusted: Trusted) -> Result<OwnedFd, NoSource> {
    open_as(path, trusted, OFlags::RDWR)
}

fn open_as(path: &Path, trusted: Trusted, access: OFlags) -> Result<OwnedFd, NoSource> {
    let mut folder = top().map_err(errno)?;
    let mut links = 0_usize;
    // In reverse order: the next component comes last.
    let mut left: Vec<PathBuf> = components(path).rev().collect();
    while let Some(name) = left.pop() {
        let is_last = left.is_empty();
        let opened = if is_last {
            open_volume(&folder, &name, access)
        } else {
            open_folder(&folder, &name)
        };
        match opened {
            Ok(volume) if is_last => return Ok(volume),
            Ok(next) => folder = next,
            // An open without following fails so for a link.
            Err(why @ NoSource::Errno(number))
                if [Errno::LOOP, Errno::NOTDIR]
                    .map(Errno::raw_os_error)
                    .contains(&number) =>
            {
                let Some(target) = target_of(&folder, &name, trusted)? else {
                    return Err(why);
                };
                links = links.saturating_add(1);
                if links > LINKS_MAX {
                    return Err(errno(Errno::LOOP));
                }
                if target.is_absolute() {
                    folder = top().map_err(errno)?;
                }
                left.extend(components(&target).rev());
            }
            Err(why) => return Err(why),
        }
    }
    Err(NoSource::Kind(FileKind::Folder))
}

/// Opens a volume beneath a folder, without following any link.
pub(super) fn open_beneath(top: &OwnedFd, path: &Path) -> Result<OwnedFd, NoSource> {
    open_beneath_as(top, path, OFlags::RDONLY)
}

/// The same for writing.
pub(super) fn open_beneath_for_writing(top: &OwnedFd, path: &Path) -> Result<OwnedFd, NoSource> {
    open_beneath_as(top, path, OFlags::RDWR)
}

fn open_beneath_as(top: &OwnedFd, path: &Path, access: OFlags) -> Result<OwnedFd, NoSource> {
    let is_plain = |component: Component<'_>| matches!(component, Component::Normal(_));
    if !path.components().all(is_plain) {
        return Err(errno(Errno::INVAL));
    }
    let name = Path::new(path.file_name().unwrap_or_default());
    let above = path.parent().unwrap_or(Path::new(""));
    let mut folders = above.components();
    let Some(first) = folders.next() else {
        return open_volume(top, name, access);
    };
    let first = open_folder(top, first.as_ref())?;
    let folder = folders.try_fold(first, |folder, next| open_folder(&folder, next.as_ref()))?;
    open_volume(&folder, name, access)
}

fn errno(errno: Errno) -> NoSource {
    NoSource::Errno(errno.raw_os_error())
}

fn open_folder(folder: &OwnedFd, name: &Path) -> Result<OwnedFd, NoSource> {
    rustix::fs::openat(folder, name, FOLDER, Mode::empty()).map_err(errno)
}

/// Opens the last component of a path. Its kind is checked before and after, since the name may
/// lead elsewhere by then.
fn open_volume(folder: &OwnedFd, name: &Path, access: OFlags) -> Result<OwnedFd, NoSource> {
    let found =
        rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).map_err(
            |error| match error {
                Errno::NOENT if is_dirty(folder, name) => NoSource::QubeRuns,
                error => errno(error),
            },
        )?;
    if FileType::from_raw_mode(found.st_mode) == FileType::Symlink {
        return Err(errno(Errno::LOOP));
    }
    wyng_origin::usable(&found)?;
    let volume = rustix::fs::openat(folder, name, VOLUME | access, Mode::empty()).map_err(errno)?;
    wyng_origin::usable(&rustix::fs::fstat(&volume).map_err(errno)?)?;
    Ok(volume)
}

fn top() -> Result<OwnedFd, Errno> {
    rustix::fs::open("/", FOLDER, Mode::empty())
}

fn components(path: &Path) -> impl DoubleEndedIterator<Item = PathBuf> + '_ {
    path.components()
        .filter(|component| matches!(component, Component::Normal(_) | Component::ParentDir))
        .map(|component| {
            let name: &Path = component.as_ref();
            name.to_owned()
        })
}

/// The target of a link; `None` if it is no link. It is opened first, so that owner and target
/// belong to the same link.
fn target_of(folder: &OwnedFd, name: &Path, trusted: Trusted) -> Result<Option<PathBuf>, NoSource> {
    let link = rustix::fs::openat(folder, name, LINK, Mode::empty()).map_err(errno)?;
    if FileType::from_raw_mode(rustix::fs::fstat(&link).map_err(errno)?.st_mode)
        != FileType::Symlink
    {
        return Ok(None);
    }
    if !trusted.has(folder) || !trusted.has(&link) {
        return Err(NoSource::Link);
    }
    let target = rustix::fs::readlinkat(&link, "", Vec::new()).map_err(errno)?;
    Ok(Some(PathBuf::from(OsStr::from_bytes(target.as_bytes()))))
}

fn is_dirty(folder: &OwnedFd, name: &Path) -> bool {
    dirty_image(name)
        .is_some_and(|dirty| rustix::fs::statat(folder, dirty, AtFlags::SYMLINK_NOFOLLOW).is_ok())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    const EVERYBODY: Trusted = Trusted(None);

    fn opens(path: &Path, trusted: Trusted) -> Result<String, NoSource> {
        Ok(std::io::read_to_string(std::fs::File::from(open(path, trusted)?)).unwrap())
    }

    #[test]
    fn links_are_followed_relative_absolute_and_in_the_middle() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(at("a/b")).unwrap();
        std::fs::write(at("a/b/disk"), "here").unwrap();
        symlink("../a/./b/disk", at("a/relative")).unwrap();
        symlink(at("a/b"), at("absolute")).unwrap();
        symlink("relative", at("a/twice")).unwrap();
        for name in [
            "a/b/disk",
            "a/relative",
            "absolute/disk",
            "a/twice",
            "absolute/../relative",
        ] {
            assert_eq!(opens(&at(name), EVERYBODY), Ok("here".into()), "{name}");
        }
        symlink("ring", at("ring")).unwrap();
        assert_eq!(opens(&at("ring"), EVERYBODY), Err(errno(Errno::LOOP)));
        assert_eq!(opens(&at("a/b/none"), EVERYBODY), Err(errno(Errno::NOENT)));
        assert_eq!(
            opens(&at("a/b/disk/none"), EVERYBODY),
            Err(errno(Errno::NOTDIR))
        );
        assert_eq!(
            opens(Path::new("/"), EVERYBODY),
            Err(NoSource::Kind(FileKind::Folder))
        );
    }

    #[test]
    fn a_link_is_followed_where_it_and_its_folder_are_of_who_is_trusted() {
        let folder = tempfile::tempdir().unwrap();
        let (link, up) = (folder.path().join("link"), folder.path().join("up"));
        std::fs::write(folder.path().join("disk"), "here").unwrap();
        symlink("disk", &link).unwrap();
        symlink(".", &up).unwrap();
        let own = folder.path().metadata().unwrap().uid();
        for path in [link, up.join("disk")] {
            assert_eq!(opens(&path, Trusted(Some(own))), Ok("here".into()));
            assert_eq!(opens(&path, Trusted(Some(own + 1))), Err(NoSource::Link));
        }
        // A file that is no link needs no trusted owner.
        assert_eq!(
            opens(&folder.path().join("disk"), Trusted(Some(own + 1))),
            Ok("here".into())
        );
    }

    #[test]
    fn a_volume_that_is_away_while_its_qube_runs_is_told_from_one_that_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("private-dirty.img"), "").unwrap();
        assert_eq!(
            opens(&folder.path().join("private.img"), EVERYBODY),
            Err(NoSource::QubeRuns)
        );
        assert_eq!(
            opens(&folder.path().join("root.img"), EVERYBODY),
            Err(errno(Errno::NOENT))
        );
    }
}
