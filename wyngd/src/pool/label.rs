// SPDX-License-Identifier: GPL-3.0-or-later
//! The label of a base: one LVM tag, so that it is there whole or not at all. It says of which
//! session the volume is the state, and which volume it must be.
//!
//! ```text
//! wyng:1:ARCHIVE:VOLUME:GENERATION:SESSION:ROOT:POOL:LV:DEVICE:TRANSACTION:SIZE
//! ```
//! The parts up to ROOT are hexadecimal, of 32, 32, 16, 16 and 64 digits. POOL and LV are UUIDs as
//! LVM prints them, the rest are decimal numbers; SIZE is in bytes.

use wyng_control::BaseLabel;

use super::names::is_uuid;

/// The beginning of every label of this form.
const PREFIX: &str = "wyng:1";
/// The number of parts, with the two of the prefix.
const PARTS: usize = 12;

/// What identifies a volume of a pool beyond its name. Names are given to other volumes, device ids
/// are given again, and in a rebuilt pool transaction ids begin anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    /// UUID of the pool's volume.
    pub(super) pool: String,
    /// UUID of the volume.
    pub(super) volume: String,
    /// The pool's number of the device.
    pub(super) device: u64,
    /// The pool's transaction id when the device was made.
    pub(super) transaction: u64,
    /// Its size, bytes.
    pub(super) size_bytes: u64,
}

/// A base's label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Label {
    /// The session.
    pub(super) base: BaseLabel,
    /// The volume.
    pub(super) identity: Identity,
}

impl Label {
    /// The label as a tag.
    pub(super) fn tag(&self) -> String {
        let Identity {
            pool,
            volume,
            device,
            transaction,
            size_bytes,
        } = &self.identity;
        format!(
            "{PREFIX}:{}:{pool}:{volume}:{device}:{transaction}:{size_bytes}",
            self.base.words().join(":")
        )
    }

    /// The label that a tag is; `None` for any other tag.
    pub(super) fn parse(tag: &str) -> Option<Self> {
        let parts: Vec<&str> = tag.split(':').collect();
        let [
            _,
            _,
            archive,
            of,
            generation,
            session,
            root,
            pool,
            volume,
            device,
            transaction,
            size,
        ] = <[&str; PARTS]>::try_from(parts).ok()?;
        let label = Self {
            base: BaseLabel::from_words([archive, of, generation, session, root])?,
            identity: Identity {
                pool: is_uuid(pool).then(|| pool.to_owned())?,
                volume: is_uuid(volume).then(|| volume.to_owned())?,
                device: device.parse().ok()?,
                transaction: transaction.parse().ok()?,
                size_bytes: size.parse().ok()?,
            },
        };
        (label.tag() == tag).then_some(label)
    }
}

#[cfg(test)]
pub(super) fn example() -> Label {
    Label {
        base: BaseLabel {
            of: wyng_control::BaseOf {
                archive: [1; 16],
                volume: [0xab; 16],
            },
            generation: 7,
            session: -1,
            root: [9; 32],
        },
        identity: Identity {
            pool: "ABCDEF-GHIJ-KLMN-OPQR-STUV-WXYZ-012345".into(),
            volume: "abcdef-ghij-klmn-opqr-stuv-wxyz-012345".into(),
            device: 12,
            transaction: 34,
            size_bytes: 1 << 40,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Maximum length of a tag in LVM.
    const TAG_MAX: usize = 1024;

    #[test]
    fn a_label_comes_back_from_its_tag_which_lvm_allows() {
        let tag = example().tag();
        assert_eq!(Label::parse(&tag), Some(example()));
        assert!(tag.len() < TAG_MAX);
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_+.-/=!:&#".contains(&byte);
        assert!(tag.bytes().all(allowed), "{tag}");
    }

    #[test]
    fn a_part_of_a_label_is_no_label() {
        let tag = example().tag();
        for length in 0..tag.len() - 1 {
            let cut = Label::parse(&tag[..length]);
            // The size alone may be cut to a shorter number, which then does not fit the volume.
            assert!(cut.is_none_or(|cut| cut.identity.size_bytes < 1 << 40));
        }
        for other in [
            format!("{tag}0:"),
            tag.replace("wyng:1", "wyng:2"),
            tag.to_uppercase(),
        ] {
            assert_eq!(Label::parse(&other), None, "{other}");
        }
    }
}
