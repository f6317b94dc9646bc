// SPDX-License-Identifier: GPL-3.0-or-later
//! Whether udev leaves our volumes alone. What a guest wrote must never be probed in the admin
//! domain: it may have the UUID of the machine's own file system, or be a volume group.

use wyng_control::WholeCause;

use super::kernel;
use super::names::{DmUuid, OwnVolume, VolumeName};
use super::programs::Call;
use super::trouble::Trouble;
use crate::ipc::DeviceNumber;

/// It is there while udev runs.
const UDEV: &str = "/run/udev/control";
/// Our rule sets these; udev's own rules for disks obey them.
const FLAGS: [&str; 2] = [
    "E:DM_UDEV_DISABLE_DISK_RULES_FLAG=1",
    "E:UDEV_DISABLE_PERSISTENT_STORAGE_RULES_FLAG=1",
];

/// Checks that neither udev nor lvm looks into our volumes, on an empty volume of this pool.
pub(super) fn check(
    pool: &VolumeName,
    empty: &OwnVolume,
    uuid_of: impl FnOnce(&OwnVolume) -> Result<DmUuid, Trouble>,
) -> Result<(), Trouble> {
    if Call::ScansVolumes.run()?.trim() != "scan_lvs=0" {
        return Err(Trouble::Unfit(
            WholeCause::Probed,
            "lvm looks for volume groups inside volumes: set devices/scan_lvs to 0 in \
             /etc/lvm/lvm.conf"
                .into(),
        ));
    }
    if !runs() {
        return Ok(());
    }
    Call::MakeEmpty { pool, empty }.run()?;
    let checked = uuid_of(empty).and_then(|uuid| {
        let device = kernel::active(&uuid).ok_or(Trouble::Answer("a volume is not active"))?;
        leaves_alone(device)
    });
    Call::Remove(empty).run()?;
    checked
}

/// Whether udev runs on this machine.
pub(super) fn runs() -> bool {
    std::path::Path::new(UDEV).exists()
}

/// Checks that udev did not look into a device, which it knows by now.
pub(super) fn leaves_alone(device: DeviceNumber) -> Result<(), Trouble> {
    let DeviceNumber { major, minor } = device;
    let entry = std::fs::read_to_string(format!("/run/udev/data/b{major}:{minor}"))?;
    if obeys(&entry) {
        return Ok(());
    }
    Err(Trouble::Unfit(
        WholeCause::Probed,
        "udev would probe snapshots: install 12-wyng-ignore-lvm-devices.rules and \
         12-wyng-ignore-zvols.rules in /usr/lib/udev/rules.d, and run \"udevadm control --reload\""
            .into(),
    ))
}

fn obeys(entry: &str) -> bool {
    FLAGS
        .iter()
        .all(|flag| entry.lines().any(|line| line == *flag))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_flags_are_wanted() {
        let [one, other] = FLAGS;
        assert!(obeys(&format!("S:x\n{one}\n{other}\nV:1\n")));
        for entry in [
            one.to_owned(),
            other.to_owned(),
            format!("{one}0\n{other}"),
            String::new(),
        ] {
            assert!(!obeys(&entry), "{entry}");
        }
    }
}
