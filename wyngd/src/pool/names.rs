// SPDX-License-Identifier: GPL-3.0-or-later
//! Names of volumes and UUIDs of devices, checked before they become a program's argument.

use std::fmt::Write;

/// Prefix of this program's volumes. Qubes never gives it to a volume of its own.
const PREFIX: &str = "wyng-";
/// Digits behind the prefix.
const DIGITS: usize = 16;
/// Prefix of the volumes of qubes.
const OF_QUBES: &str = "vm-";
/// Ending of what a running qube writes to.
const SNAP: &str = "-snap";
/// Ending of what an import is written to.
const IMPORT: &str = "-import";
/// Ending of older states.
const BACK: &str = "-back";
/// Maximum length of a name in LVM.
const NAME_MAX: usize = 127;
/// Lengths of the parts of a UUID as LVM prints it.
const UUID_PARTS: [usize; 7] = [6, 4, 4, 4, 4, 4, 6];
/// Length of a UUID in the name of a device.
const UUID_CHARS: usize = 32;

/// A volume group and a volume in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct VolumeName {
    group: String,
    name: String,
}

impl VolumeName {
    /// `None` unless both have only characters that LVM allows, and neither could be an option.
    pub(super) fn new(group: &str, name: &str) -> Option<Self> {
        let is_checked = |name: &str| {
            let mut bytes = name.bytes();
            !name.is_empty()
                && name.len() <= NAME_MAX
                && !name.starts_with('-')
                && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"+_.-".contains(&byte))
        };
        (is_checked(group) && is_checked(name)).then(|| Self {
            group: group.to_owned(),
            name: name.to_owned(),
        })
    }

    /// Its group.
    pub(super) fn group(&self) -> &str {
        &self.group
    }

    /// Its name without the group.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// `GROUP/VOLUME`.
    pub(super) fn path(&self) -> String {
        format!("{}/{}", self.group, self.name)
    }

    /// The name with this ending, if LVM allows it.
    fn with(&self, ending: &str) -> Option<Self> {
        Self::new(&self.group, &format!("{}{ending}", self.name))
    }
}

/// A volume that this program made: no other may be changed or removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OwnVolume(VolumeName);

impl OwnVolume {
    /// A new one in this group, with a number that nobody else has.
    pub(super) fn new(group: &str, number: u64) -> Option<Self> {
        VolumeName::new(group, &format!("{PREFIX}{number:016x}")).map(Self)
    }

    /// The volume of this name, if it is one of ours by its name.
    pub(super) fn of_name(group: &str, name: &str) -> Option<Self> {
        let digits = name.strip_prefix(PREFIX)?;
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        (digits.len() == DIGITS && digits.bytes().all(is_digit))
            .then(|| VolumeName::new(group, name).map(Self))?
    }

    /// Its name, as that of any volume.
    pub(super) fn volume(&self) -> &VolumeName {
        &self.0
    }

    /// Its group.
    pub(super) fn group(&self) -> &str {
        self.0.group()
    }

    /// Its name without the group.
    pub(super) fn name(&self) -> &str {
        self.0.name()
    }

    /// `GROUP/VOLUME`.
    pub(super) fn path(&self) -> String {
        self.0.path()
    }
}

/// A volume of a qube, as the driver of Qubes OS names it: `vm-QUBE-VOLUME`. It is read, and never
/// changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct QubeVolume(VolumeName);

impl QubeVolume {
    /// The volume of this name, if a qube's volume can have it: none that belongs to a start, to an
    /// import or to an older state.
    pub(super) fn of_name(group: &str, name: &str) -> Option<Self> {
        let is_own = name.starts_with(OF_QUBES)
            && ![SNAP, IMPORT, BACK].iter().any(|end| name.ends_with(end));
        // The names that Qubes OS makes of it must be names too.
        let volume = is_own.then(|| VolumeName::new(group, name))??;
        volume.with(IMPORT).map(|_| Self(volume))
    }

    /// Its name.
    pub(super) fn volume(&self) -> &VolumeName {
        &self.0
    }

    /// The volume that the qube writes to while it runs.
    pub(super) fn snap(&self) -> Option<VolumeName> {
        self.0.with(SNAP)
    }

    /// The volume that qubesd has the bytes of an import written to.
    pub(super) fn import(&self) -> Option<ImportVolume> {
        self.0.with(IMPORT).map(ImportVolume)
    }
}

/// The volume of an import into a qube's volume. Only an empty one is ever given another name, and
/// only one of ours is given this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ImportVolume(VolumeName);

impl ImportVolume {
    /// Its name.
    pub(super) fn volume(&self) -> &VolumeName {
        &self.0
    }
}

/// The UUID of a device of LVM's in device-mapper: it stays the same when the volume is renamed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct DmUuid(String);

impl DmUuid {
    /// That of a volume, from the UUIDs of its group and itself as LVM prints them.
    pub(super) fn of_volume(group: &str, volume: &str) -> Option<Self> {
        Some(Self(format!("LVM-{}{}", bare(group)?, bare(volume)?)))
    }

    /// That of a thin pool's device, from the UUIDs of its group and itself as LVM prints them.
    pub(super) fn of_pool(group: &str, pool: &str) -> Option<Self> {
        Self::of_volume(group, pool).map(|Self(uuid)| Self(format!("{uuid}-tpool")))
    }

    /// Its text.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// The UUIDs of group and volume as LVM prints them, if this is a volume's device.
    pub(super) fn parse_volume(text: &str) -> Option<(String, String)> {
        let both = text.strip_prefix("LVM-")?;
        let (group, volume) = both.split_at_checked(UUID_CHARS)?;
        Some((dashed(group)?, dashed(volume)?))
    }
}

/// A UUID without its dashes; `None` if it is none as LVM prints it.
fn bare(uuid: &str) -> Option<String> {
    is_uuid(uuid).then(|| uuid.replace('-', ""))
}

/// Whether a text is a UUID as LVM prints it.
pub(super) fn is_uuid(text: &str) -> bool {
    let mut parts = text.split('-');
    let fits = UUID_PARTS.iter().all(|length| {
        parts.next().is_some_and(|part| {
            part.len() == *length && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
        })
    });
    fits && parts.next().is_none()
}

/// A UUID with its dashes.
fn dashed(uuid: &str) -> Option<String> {
    let (mut rest, mut text) = (uuid, String::new());
    for length in UUID_PARTS {
        let (part, after) = rest.split_at_checked(length)?;
        let dash = if text.is_empty() { "" } else { "-" };
        write!(text, "{dash}{part}").ok()?;
        rest = after;
    }
    (rest.is_empty() && is_uuid(&text)).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: &str = "ABCDEF-GHIJ-KLMN-OPQR-STUV-WXYZ-012345";
    const VOLUME: &str = "abcdef-ghij-klmn-opqr-stuv-wxyz-012345";

    #[test]
    fn a_name_that_could_be_an_option_or_a_path_is_refused() {
        for name in [
            "",
            "-f",
            "a/b",
            "a b",
            "a\n",
            "@tag",
            "a|b",
            &"x".repeat(128),
        ] {
            assert_eq!(VolumeName::new("vg", name), None, "{name:?}");
            assert_eq!(VolumeName::new(name, "lv"), None, "{name:?}");
        }
        let name = VolumeName::new("qubes_dom0", "vm-a.b+c-private-1600000000-back").unwrap();
        assert_eq!(name.path(), "qubes_dom0/vm-a.b+c-private-1600000000-back");
    }

    #[test]
    fn only_the_prefix_with_sixteen_digits_is_ours() {
        let own = OwnVolume::new("vg", 0x0123_4567_89ab_cdef).unwrap();
        assert_eq!(own.path(), "vg/wyng-0123456789abcdef");
        assert_eq!(OwnVolume::of_name("vg", own.name()), Some(own));
        for name in [
            "wyng-",
            "wyng-0123456789abcde",
            "wyng-0123456789abcdef0",
            "wyng-0123456789ABCDEF",
            "vm-0123456789abcdef",
            "[wyng-0123456789abcdef]",
        ] {
            assert_eq!(OwnVolume::of_name("vg", name), None, "{name}");
        }
    }

    #[test]
    fn a_qubes_volume_is_none_of_a_start_an_import_or_an_older_state() {
        let own = QubeVolume::of_name("vg", "vm-work-private").unwrap();
        assert_eq!(own.volume().path(), "vg/vm-work-private");
        assert_eq!(own.snap().unwrap().path(), "vg/vm-work-private-snap");
        let import = own.import().unwrap();
        assert_eq!(import.volume().path(), "vg/vm-work-private-import");
        for name in [
            "home",
            "vm-work-private-snap",
            "vm-work-private-import",
            "vm-work-private-1600000000-back",
            "wyng-0123456789abcdef",
            "vm-a/b",
            &format!("vm-{}", "x".repeat(124)),
        ] {
            assert_eq!(QubeVolume::of_name("vg", name), None, "{name}");
        }
    }

    #[test]
    fn a_devices_uuid_names_group_and_volume_and_comes_back() {
        let device = DmUuid::of_volume(GROUP, VOLUME).unwrap();
        assert_eq!(
            DmUuid::parse_volume(device.as_str()),
            Some((GROUP.to_owned(), VOLUME.to_owned()))
        );
        let pool = DmUuid::of_pool(GROUP, VOLUME).unwrap();
        assert_eq!(pool.as_str(), format!("{}-tpool", device.as_str()));
        // A pool's device, a thick volume's part and a foreign device are no volume.
        for text in [pool.as_str(), "LVM-abc", "CRYPT-LUKS2-abc", "", "LVM-é"] {
            assert_eq!(DmUuid::parse_volume(text), None, "{text}");
        }
        assert_eq!(DmUuid::of_volume(GROUP, "x; reboot"), None);
    }
}
