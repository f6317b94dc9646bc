// SPDX-License-Identifier: GPL-3.0-or-later
//! Volumes and pools. The path that qubesd names for a volume is deliberately not kept: it is that
//! of the running volume, also while the qube is halted.

use super::lines::{Pairs, bool_of};
use super::malformed::Malformed;
use crate::driver::Driver;
use crate::form::{is_pool_name, is_printable};

/// Maximum length of the id of a volume, bytes.
const VID_MAX_BYTES: usize = 512;
const VOLUME: &str = "admin.vm.volume.Info";
const POOL: &str = "admin.pool.Info";
const IMPORT: &str = "internal.vm.volume.ImportBegin";
/// Maximum length of a folder or a container, bytes.
const LOCATION_MAX_BYTES: usize = 4096;
/// The lowest value of `revisions_to_keep`: the volume is used itself while its qube runs.
const NO_REVISIONS: i64 = -1;

/// A volume of a qube.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeInfo {
    /// Its name in the qube.
    pub name: String,
    /// The pool that it is in.
    pub pool: String,
    /// What the pool calls it: at most 512 bytes of visible ASCII. The form is checked where a
    /// place is made from it.
    pub vid: String,
    /// Length in bytes.
    pub size_bytes: u64,
    /// Whether the qube may write to it.
    pub is_writable: bool,
    /// The id of the volume that it is a snapshot of, or empty.
    pub source: String,
    /// Whether what the qube wrote is kept when it stops.
    pub save_on_stop: bool,
    /// Whether it begins as a snapshot of its source at each start.
    pub snap_on_start: bool,
    /// Number of older states that the pool keeps; -1: none, and the volume is used itself.
    pub revisions_to_keep: i64,
    /// Whether what is written to it is encrypted with a key that is lost at the stop.
    pub is_ephemeral: bool,
}

/// The answer to `admin.vm.volume.Info` of this volume: lines of `KEY=VALUE`.
pub fn volume(name: &str, text: &str) -> Result<VolumeInfo, Malformed> {
    let pairs = Pairs::of_lines(VOLUME, text)?;
    let vid = |text: &str| is_vid_text(text).then(|| text.to_owned());
    Ok(VolumeInfo {
        name: name.to_owned(),
        pool: pairs.read("pool", |pool| is_pool_name(pool).then(|| pool.to_owned()))?,
        vid: pairs.read("vid", vid)?,
        size_bytes: pairs.read("size", number)?,
        is_writable: pairs.read("rw", bool_of)?,
        source: pairs.read("source", vid)?,
        save_on_stop: pairs.read("save_on_stop", bool_of)?,
        snap_on_start: pairs.read("snap_on_start", bool_of)?,
        revisions_to_keep: pairs.read("revisions_to_keep", revisions)?,
        is_ephemeral: pairs.read("ephemeral", bool_of)?,
    })
}

/// A pool and the settings of its driver that say where volumes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolInfo {
    /// Its name.
    pub name: String,
    /// Its driver.
    pub driver: Driver,
    /// The volume group of a thin pool.
    pub volume_group: Option<String>,
    /// The thin pool in the group.
    pub thin_pool: Option<String>,
    /// The folder of a pool of files.
    pub dir_path: Option<String>,
    /// The data set of a ZFS pool.
    pub container: Option<String>,
    /// Bytes that it can hold, if it is known.
    pub size_bytes: Option<u64>,
    /// Bytes that are used of them.
    pub usage_bytes: Option<u64>,
}

impl PoolInfo {
    /// Bytes that are free, if both numbers are known.
    pub fn free_bytes(&self) -> Option<u64> {
        Some(self.size_bytes?.saturating_sub(self.usage_bytes?))
    }
}

/// The answer to `admin.pool.Info` of this pool: lines of `KEY=VALUE`.
pub fn pool(name: &str, text: &str) -> Result<PoolInfo, Malformed> {
    let pairs = Pairs::of_lines(POOL, text)?;
    let location = |key| {
        pairs.read_if_there(key, |text| {
            (1..=LOCATION_MAX_BYTES)
                .contains(&text.len())
                .then(|| text.to_owned())
        })
    };
    if pairs.find("name").is_some_and(|found| found != name) {
        return Err(Malformed::new(POOL, "it is about another pool"));
    }
    Ok(PoolInfo {
        name: name.to_owned(),
        driver: pairs.read("driver", Driver::of)?,
        volume_group: location("volume_group")?,
        thin_pool: location("thin_pool")?,
        dir_path: location("dir_path")?,
        container: location("container")?,
        size_bytes: pairs.read_if_there("size", number)?,
        usage_bytes: pairs.read_if_there("usage", number)?,
    })
}

/// Where qubesd wants the bytes of an import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportTarget {
    /// Their number.
    pub size_bytes: u64,
    /// The path. It is compared with the one that [`import_place`](crate::import_place) gives, and
    /// never opened as it is.
    pub path: String,
}

/// The answer to `internal.vm.volume.ImportBegin`: `SIZE PATH`.
pub fn import_target(text: &str) -> Result<ImportTarget, Malformed> {
    let wrong = Malformed::new(IMPORT, "it is no size and path");
    let (size, path) = text.split_once(' ').ok_or(wrong)?;
    let is_path = path.starts_with('/')
        && path.len() <= LOCATION_MAX_BYTES
        && !path.contains(|char: char| char == ' ' || char.is_control());
    match number(size) {
        Some(size_bytes) if is_path => Ok(ImportTarget {
            size_bytes,
            path: path.to_owned(),
        }),
        _ => Err(wrong),
    }
}

/// Whether it can be the id of a volume, as far as it is only kept and compared.
fn is_vid_text(text: &str) -> bool {
    text.len() <= VID_MAX_BYTES && is_printable(text)
}

fn number(text: &str) -> Option<u64> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    is_plain.then(|| text.parse().ok()).flatten()
}

fn revisions(text: &str) -> Option<i64> {
    let value: i64 = text.parse().ok()?;
    (value >= NO_REVISIONS && value.to_string() == text).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: &str = "pool=vm-pool\nvid=qubes_dom0/vm-work-private\nsize=2147483648\nusage=0\n\
        rw=True\nsource=\npath=/dev/qubes_dom0/vm-work-private-snap\nsave_on_stop=True\n\
        snap_on_start=False\nrevisions_to_keep=-1\nephemeral=False\nis_outdated=False\n";

    #[test]
    fn a_volume_is_known_without_its_path() {
        let found = volume("private", INFO).unwrap();
        assert_eq!(found.vid, "qubes_dom0/vm-work-private");
        assert_eq!((found.size_bytes, found.revisions_to_keep), (2 << 30, -1));
        assert!(found.save_on_stop && found.is_writable && !found.snap_on_start);
        assert!(!format!("{found:?}").contains("snap\""));
    }

    #[test]
    fn a_volume_that_lacks_a_value_or_has_one_twice_is_refused() {
        for (from, to) in [
            ("size=2147483648\n", ""),
            ("size=2147483648", "size=-1"),
            ("size=2147483648", "size=+1"),
            ("size=2147483648", "size="),
            ("rw=True", "rw=true"),
            ("revisions_to_keep=-1", "revisions_to_keep=-2"),
            ("revisions_to_keep=-1", "revisions_to_keep=01"),
            ("pool=vm-pool", "pool=a/b"),
            ("usage=0", "rw=True"),
            ("vid=qubes_dom0", "vid=\x1b"),
            ("usage=0", "usage"),
        ] {
            let wrong = INFO.replace(from, to);
            assert_ne!(wrong, INFO);
            assert!(volume("private", &wrong).is_err(), "{to}");
        }
        assert!(volume("private", INFO.trim_end()).is_err());
    }

    #[test]
    fn a_pool_has_its_driver_and_location() {
        let text = "dir_path=/var/lib/qubes\ndriver=file-reflink\nname=varlibqubes\nrevisions_to_keep=1\nsize=5\nusage=1\n";
        let found = pool("varlibqubes", text).unwrap();
        assert_eq!(found.driver, Driver::FileReflink);
        assert_eq!(found.dir_path.as_deref(), Some("/var/lib/qubes"));
        assert_eq!(found.free_bytes(), Some(4));
        assert!(pool("other", text).is_err());
        assert!(pool("p", "name=p\n").is_err());
        assert!(pool("p", "driver=a b\n").is_err());
        let kernels = pool("linux-kernel", "driver=linux-kernel\ndir_path=/x\n").unwrap();
        assert_eq!(kernels.driver, Driver::Other("linux-kernel".into()));
    }

    #[test]
    fn an_import_has_a_size_and_an_absolute_path() {
        let found = import_target("2048 /var/lib/qubes/appvms/work/private-import.img").unwrap();
        assert_eq!(found.size_bytes, 2048);
        assert_eq!(found.path, "/var/lib/qubes/appvms/work/private-import.img");
        for wrong in [
            "", "2048", "2048 ", "/x 2048", "-1 /x", "1 x", "1 /a b", "1 /a\n", " /x",
        ] {
            assert!(import_target(wrong).is_err(), "{wrong:?}");
        }
    }
}
