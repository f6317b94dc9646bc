// SPDX-License-Identifier: GPL-3.0-or-later
//! Devices as the kernel shows them: in `/sys`, by their numbers and UUIDs and never by a name that
//! somebody may change; and in the tables and status lines of dmsetup.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};

use super::names::DmUuid;
use super::programs::Call;
use super::trouble::Trouble;
use crate::ipc::DeviceNumber;

/// Bytes of a sector, the unit of tables.
const SECTOR_BYTES: u64 = 512;
/// How many blocks of data one block of metadata has the places of, at least: a third of what a
/// leaf can have.
const PLACES_PER_METADATA_BLOCK: u64 = 84;

/// The line of a thin volume's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ThinTable {
    /// Its size, bytes.
    pub(super) size_bytes: u64,
    /// Its pool's device.
    pub(super) pool: DeviceNumber,
    /// The pool's number of it.
    pub(super) device: u64,
}

/// What a pool's status line shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PoolStatus {
    /// The transaction id.
    pub(super) transaction: u64,
    /// Used and all blocks of metadata.
    pub(super) metadata_blocks: (u64, u64),
    /// Used and all blocks of data.
    pub(super) data_blocks: (u64, u64),
    /// The block of the metadata snapshot that is held.
    pub(super) held: Option<u64>,
}

impl ThinTable {
    /// The table of the device with this UUID.
    pub(super) fn of(device: &DmUuid) -> Result<Self, Trouble> {
        Self::parse(&Call::Table(device).run()?)
            .ok_or(Trouble::Answer("the snapshot is no plain thin device"))
    }

    /// `None` unless this is one line `0 SIZE thin POOL ID` and nothing else. With a third argument
    /// the device has an external origin, and what it does not map is not zero.
    pub(super) fn parse(table: &str) -> Option<Self> {
        let words: Vec<&str> = table.split_whitespace().collect();
        let ["0", sectors, "thin", pool, device] = words.as_slice() else {
            return None;
        };
        Some(Self {
            size_bytes: sectors.parse::<u64>().ok()?.checked_mul(SECTOR_BYTES)?,
            pool: parse_number(pool)?,
            device: device.parse().ok()?,
        })
    }
}

/// Bytes that a pool holds for an active thin volume, shared ones included.
pub(super) fn mapped_bytes(device: &DmUuid) -> Option<u64> {
    parse_mapped(&Call::Status(device).run().ok()?)
}

/// The line of a thin volume's status.
fn parse_mapped(status: &str) -> Option<u64> {
    let words: Vec<&str> = status.split_whitespace().collect();
    let ["0", _, "thin", sectors, ..] = words.as_slice() else {
        return None;
    };
    sectors.parse::<u64>().ok()?.checked_mul(SECTOR_BYTES)
}

/// The line of a pool's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PoolTable {
    /// The device that holds its metadata.
    pub(super) metadata: DeviceNumber,
    /// Length of its blocks, bytes.
    pub(super) block_bytes: u64,
    /// It takes blocks back.
    pub(super) discards: bool,
}

impl PoolTable {
    /// The table of the pool's device.
    pub(super) fn of(pool: &DmUuid) -> Result<Self, Trouble> {
        Self::parse(&Call::Table(pool).run()?)
            .ok_or(Trouble::Answer("the pool's table is not understood"))
    }

    fn parse(table: &str) -> Option<Self> {
        let words: Vec<&str> = table.split_whitespace().collect();
        let ["0", _, "thin-pool", metadata, _, sectors, _, features @ ..] = words.as_slice() else {
            return None;
        };
        Some(Self {
            metadata: parse_number(metadata)?,
            block_bytes: sectors.parse::<u64>().ok()?.checked_mul(SECTOR_BYTES)?,
            discards: !features.contains(&"ignore_discard"),
        })
    }
}

impl PoolStatus {
    /// The status of the pool's device.
    pub(super) fn of(pool: &DmUuid) -> Result<Self, Trouble> {
        Self::parse(&Call::Status(pool).run()?).ok_or(Trouble::Answer(
            "the pool failed, or its status is not understood",
        ))
    }

    /// `None` for a pool that failed too: its line shows no numbers.
    pub(super) fn parse(status: &str) -> Option<Self> {
        let words: Vec<&str> = status.split_whitespace().collect();
        let ["0", _, "thin-pool", transaction, metadata, data, held, ..] = words.as_slice() else {
            return None;
        };
        let both = |text: &str| {
            let (used, all) = text.split_once('/')?;
            Some((used.parse().ok()?, all.parse().ok()?))
        };
        Some(Self {
            transaction: transaction.parse().ok()?,
            metadata_blocks: both(metadata)?,
            data_blocks: both(data)?,
            held: match *held {
                "-" => None,
                held => Some(held.parse().ok()?),
            },
        })
    }

    /// Blocks of data that may be taken. A tenth of the data stays free, and a tenth of the
    /// metadata, which must have room for where the blocks are.
    pub(super) fn room_blocks(&self) -> u64 {
        let free =
            |(used, all): (u64, u64)| all.saturating_sub(used).saturating_sub(all.div_ceil(10));
        let placed = free(self.metadata_blocks).saturating_mul(PLACES_PER_METADATA_BLOCK);
        free(self.data_blocks).min(placed)
    }

    /// Used shares of data and of metadata, per cent, rounded up.
    pub(super) fn used_percent(&self) -> (u8, u8) {
        let percent = |(used, all): (u64, u64)| {
            let percent = u128::from(used).saturating_mul(100);
            let percent = percent.checked_add(u128::from(all.saturating_sub(1)));
            let percent = percent.and_then(|percent| percent.checked_div(all.into()));
            percent.map_or(100, |percent| u8::try_from(percent).unwrap_or(u8::MAX))
        };
        (percent(self.data_blocks), percent(self.metadata_blocks))
    }

    /// Whether more than this share of data or of metadata is used, per cent. A pool without blocks
    /// is full.
    pub(super) fn is_above(&self, percent: u64) -> bool {
        let is_above = |(used, all): (u64, u64)| {
            u128::from(used).saturating_mul(100) > u128::from(all).saturating_mul(percent.into())
                || all == 0
        };
        is_above(self.metadata_blocks) || is_above(self.data_blocks)
    }
}

/// The volume group's and the volume's UUID of a device, if it is a volume of LVM's.
pub(super) fn volume_of(device: DeviceNumber) -> Option<(String, String)> {
    DmUuid::parse_volume(&line(&folder_of(device).join("dm/uuid"))?)
}

/// The number of the active device with this UUID.
pub(super) fn active(uuid: &DmUuid) -> Option<DeviceNumber> {
    let devices = std::fs::read_dir("/sys/block")
        .ok()?
        .flatten()
        .map(|entry| entry.path());
    devices
        .filter(|folder| line(&folder.join("dm/uuid")).as_deref() == Some(uuid.as_str()))
        .find_map(|folder| parse_number(&line(&folder.join("dev"))?))
}

/// Whether the device waits in the middle of a change.
pub(super) fn is_suspended(device: DeviceNumber) -> bool {
    line(&folder_of(device).join("dm/suspended")).as_deref() != Some("0")
}

/// Opens a block device by its number, for reading unless the flags say otherwise.
pub(super) fn open(device: DeviceNumber, flags: OFlags) -> Result<OwnedFd, Trouble> {
    let name = std::fs::read_link(folder_of(device))?;
    let node = Path::new("/dev").join(name.file_name().unwrap_or_default());
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | flags;
    let opened = rustix::fs::open(node, flags, Mode::empty())?;
    let found = rustix::fs::fstat(&opened)?;
    let number = DeviceNumber {
        major: rustix::fs::major(found.st_rdev),
        minor: rustix::fs::minor(found.st_rdev),
    };
    if FileType::from_raw_mode(found.st_mode) != FileType::BlockDevice || number != device {
        return Err(Trouble::Answer("a device's node is another device"));
    }
    Ok(opened)
}

fn folder_of(device: DeviceNumber) -> PathBuf {
    PathBuf::from(format!("/sys/dev/block/{}:{}", device.major, device.minor))
}

/// `MAJOR:MINOR`.
fn parse_number(text: &str) -> Option<DeviceNumber> {
    let (major, minor) = text.split_once(':')?;
    Some(DeviceNumber {
        major: major.parse().ok()?,
        minor: minor.parse().ok()?,
    })
}

fn line(file: &Path) -> Option<String> {
    Some(std::fs::read_to_string(file).ok()?.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_plain_thin_device_is_taken() {
        let pool = DeviceNumber {
            major: 253,
            minor: 2,
        };
        assert_eq!(
            ThinTable::parse("0 2147483648 thin 253:2 7\n"),
            Some(ThinTable {
                size_bytes: 1 << 40,
                pool,
                device: 7
            })
        );
        for table in [
            "0 2048 thin 253:2 7 253:9",
            "0 2048 linear 253:2 0",
            "0 2048 thin 253:2 7\n2048 2048 thin 253:2 8",
            "8 2048 thin 253:2 7",
            "0 2048 thin /dev/pool 7",
            "",
        ] {
            assert_eq!(ThinTable::parse(table), None, "{table}");
        }
    }

    #[test]
    fn a_pools_table_shows_its_blocks_and_whether_it_takes_them_back() {
        let table = "0 204800 thin-pool 253:0 253:1 128 0 1 no_discard_passdown";
        let found = PoolTable::parse(table).unwrap();
        assert_eq!((found.block_bytes, found.discards), (64 << 10, true));
        assert_eq!(found.metadata.minor, 0);
        let deaf = table.replace("1 no_discard_passdown", "1 ignore_discard");
        assert!(!PoolTable::parse(&deaf).unwrap().discards);
        assert_eq!(PoolTable::parse("0 204800 thin-pool Fail"), None);
    }

    #[test]
    fn an_active_volumes_status_shows_what_is_mapped() {
        assert_eq!(parse_mapped("0 2048 thin 1024 2047\n"), Some(512 << 10));
        for other in [
            "0 2048 thin Fail",
            "0 2048 thin -",
            "0 2048 linear 1024",
            "",
        ] {
            assert_eq!(parse_mapped(other), None, "{other}");
        }
    }

    #[test]
    fn a_pools_status_shows_what_is_used_and_held() {
        let line = "0 204800 thin-pool 5 12/1024 1600/1600 - rw no_discard_passdown queue - 1024";
        let status = PoolStatus::parse(line).unwrap();
        assert_eq!((status.transaction, status.held), (5, None));
        assert!(status.is_above(99) && !status.is_above(100));
        assert_eq!(status.used_percent(), (100, 2), "rounded up");
        let held = PoolStatus::parse(&line.replace(" - rw", " 93 rw")).unwrap();
        assert_eq!(held.held, Some(93));
        let full = line
            .replace("12/1024", "901/1000")
            .replace("1600/1600", "1/1600");
        assert!(
            PoolStatus::parse(&full).unwrap().is_above(90),
            "metadata counts too"
        );
        assert!(
            !PoolStatus::parse(&full.replace("901", "900"))
                .unwrap()
                .is_above(90)
        );
        for failed in [
            "0 204800 thin-pool Fail",
            "0 204800 thin-pool Error",
            "",
            "0 8 linear",
        ] {
            assert_eq!(PoolStatus::parse(failed), None, "{failed}");
        }
    }
}
