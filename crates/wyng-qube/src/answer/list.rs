// SPDX-License-Identifier: GPL-3.0-or-later
//! Answers that are lists of names, and those that are one value.

use super::lines::{Pairs, all_differ, lines, names};
use super::malformed::Malformed;
use crate::class::Class;
use crate::form::{
    WORD_MAX_BYTES, is_color, is_device_class, is_domain, is_feature_name, is_kernel_name,
    is_label_name, is_plain, is_pool_name, is_tag, is_volume_name, is_word,
};
use crate::uuid::QubeUuid;

/// Maximum length of a feature's value, bytes.
pub const FEATURE_MAX_BYTES: usize = 64 << 10;
/// Maximum length of a qube's notes, bytes: what Qubes OS allows.
pub const NOTES_MAX_BYTES: usize = 256_000;
const HALTED: &str = "Halted";
const LIST: &str = "admin.vm.List";

/// A qube as the answer to `admin.vm.List` has it, dom0 included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// `dom0`, or a name that a qube may have.
    pub name: String,
    /// Its class.
    pub class: Class,
    /// `Halted`, `Transient`, `Running`, `Paused`, `Suspended`, `Halting`, `Dying`, `Crashed`,
    /// `NA`; 1 to 64 letters and digits.
    pub state: String,
    /// Its uuid; `None` up to Qubes OS 4.2, where it is a property.
    pub uuid: Option<QubeUuid>,
}

impl Listed {
    /// Whether none of its volumes is in use. Every other state counts as running, also one that is
    /// not known here.
    pub fn is_halted(&self) -> bool {
        self.state == HALTED
    }
}

/// The answer to `admin.vm.List`: lines of `NAME class=CLASS state=STATE`, with `uuid=UUID` from
/// 4.3 on, and more words in later releases. Each name is there once.
pub fn qubes(text: &str) -> Result<Vec<Listed>, Malformed> {
    let listed: Vec<Listed> = lines(LIST, text)?
        .into_iter()
        .map(listed_line)
        .collect::<Result<_, _>>()?;
    if all_differ(listed.iter().map(|qube| qube.name.as_str())) {
        Ok(listed)
    } else {
        Err(Malformed::new(LIST, "a name is there twice"))
    }
}

fn listed_line(line: &str) -> Result<Listed, Malformed> {
    let (name, rest) = line
        .split_once(' ')
        .filter(|(name, _)| is_domain(name))
        .ok_or(Malformed::new(LIST, "a line has no name"))?;
    let words = Pairs::of_words(LIST, rest.split(' '))?;
    Ok(Listed {
        name: name.to_owned(),
        class: words.read("class", Class::of)?,
        state: words.read("state", |state| is_word(state).then(|| state.to_owned()))?,
        uuid: words.read_if_there("uuid", |uuid| uuid.parse().ok())?,
    })
}

/// The answer to `admin.vm.volume.List`: names of volumes.
pub fn volumes(text: &str) -> Result<Vec<String>, Malformed> {
    names("admin.vm.volume.List", text, is_volume_name)
}

/// The answer to `admin.vm.volume.ListSnapshots`: the ids of older states, the oldest first.
pub fn snapshots(text: &str) -> Result<Vec<String>, Malformed> {
    let is_id = |name: &str| is_plain(name, WORD_MAX_BYTES, "._:-");
    names("admin.vm.volume.ListSnapshots", text, is_id)
}

/// The answer to `admin.pool.List`: names of pools.
pub fn pools(text: &str) -> Result<Vec<String>, Malformed> {
    names("admin.pool.List", text, is_pool_name)
}

/// The answer to `admin.pool.volume.List` of the pool of kernels: their names.
pub fn kernels(text: &str) -> Result<Vec<String>, Malformed> {
    names("admin.pool.volume.List", text, is_kernel_name)
}

/// The answer to `admin.vm.feature.List`: names of features.
pub fn feature_names(text: &str) -> Result<Vec<String>, Malformed> {
    names("admin.vm.feature.List", text, is_feature_name)
}

/// The answer to `admin.vm.feature.Get`: the value as it is, empty for "off". It may have line
/// feeds and characters outside of ASCII, which cannot be restored.
pub fn feature_value(text: &str) -> Result<String, Malformed> {
    bounded("admin.vm.feature.Get", text, FEATURE_MAX_BYTES)
}

/// The answer to `admin.vm.tag.List`: tags.
pub fn tags(text: &str) -> Result<Vec<String>, Malformed> {
    names("admin.vm.tag.List", text, is_tag)
}

/// The answer to `admin.label.List`: names of labels.
pub fn labels(text: &str) -> Result<Vec<String>, Malformed> {
    names("admin.label.List", text, is_label_name)
}

/// The answer to `admin.label.Get`: a colour, `0x` and six hexadecimal digits.
pub fn color(text: &str) -> Result<String, Malformed> {
    if is_color(text) {
        Ok(text.to_owned())
    } else {
        Err(Malformed::new("admin.label.Get", "it is no colour"))
    }
}

/// The answer to `admin.deviceclass.List`: classes of devices.
pub fn device_classes(text: &str) -> Result<Vec<String>, Malformed> {
    names("admin.deviceclass.List", text, is_device_class)
}

/// The answer to `admin.vm.notes.Get`: the text as it is.
pub fn notes(text: &str) -> Result<String, Malformed> {
    bounded("admin.vm.notes.Get", text, NOTES_MAX_BYTES)
}

/// A text without a NUL and of at most `max` bytes.
fn bounded(call: &'static str, text: &str, max: usize) -> Result<String, Malformed> {
    if text.len() > max {
        Err(Malformed::new(call, "it is too long"))
    } else if text.contains('\0') {
        Err(Malformed::new(call, "it has a NUL"))
    } else {
        Ok(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "0f3b2c1d-0000-4000-8000-00000000abcd";

    #[test]
    fn a_list_has_uuids_from_4_3_on() {
        let text = format!(
            "dom0 class=AdminVM state=Running uuid=00000000-0000-0000-0000-000000000000\n\
             work class=AppVM state=Halted uuid={UUID} more=x\n"
        );
        let found = qubes(&text).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(found[1].name, "work");
        assert_eq!(found[1].class, Class::App);
        assert_eq!(found[1].uuid, Some(UUID.parse().unwrap()));
        assert!(found[1].is_halted() && !found[0].is_halted());
        let old = qubes("work class=AppVM state=Transient\n").unwrap();
        assert_eq!(old[0].uuid, None);
        assert!(!old[0].is_halted());
        assert_eq!(qubes(""), Ok(Vec::new()));
    }

    #[test]
    fn a_list_that_is_cut_doubled_or_of_another_form_is_refused() {
        for wrong in [
            "work class=AppVM state=Halted",
            "work\n",
            "work class=AppVM\n",
            "work class=AppVM state=Halted uuid=2\n",
            "work class=AppVM class=AppVM state=Halted\n",
            "work class=AppVM state=Halted word\n",
            "work class=AppVM  state=Halted\n",
            "work class=App/VM state=Halted\n",
            "work class=AppVM state=\x1b[2J\n",
            "wo/rk class=AppVM state=Halted\n",
            "none class=AppVM state=Halted\n",
            "work-dm class=AppVM state=Halted\n",
            "work class=AppVM state=Halted\r\n",
            "\n",
            "work class=AppVM state=Halted\nwork class=AppVM state=Halted\n",
        ] {
            assert!(qubes(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn lists_of_names_take_their_own_form_only() {
        assert_eq!(volumes("root\nprivate\n").unwrap(), ["root", "private"]);
        assert_eq!(pools("vm-pool\nlinux-kernel\n").unwrap().len(), 2);
        assert_eq!(tags("a\nb-c_d\n").unwrap().len(), 2);
        assert_eq!(
            feature_names("supported-rpc.qubes.Filecopy\n")
                .unwrap()
                .len(),
            1
        );
        assert_eq!(kernels("6.6.48-1.fc37\n").unwrap().len(), 1);
        assert_eq!(device_classes("usb\npci\n").unwrap().len(), 2);
        assert_eq!(labels("red\n").unwrap(), ["red"]);
        let ids = "1700000000-back\n3\nqubes:before-start:1700000000.123456\n";
        assert_eq!(snapshots(ids).unwrap().len(), 3);
        assert!(snapshots("../x\n").is_err());
        assert!(volumes("../root\n").is_err() && volumes("root").is_err());
        assert!(tags("a b\n").is_err() && tags("a\na\n").is_err());
        assert!(kernels("../6.6\n").is_err() && labels("12\n").is_err());
        assert!(color("0xcc0000").is_ok() && color("0xcc0000\n").is_err());
    }

    #[test]
    fn values_are_kept_as_they_are_within_their_bounds() {
        assert_eq!(feature_value("é\nx").unwrap(), "é\nx");
        assert_eq!(feature_value("").unwrap(), "");
        assert!(feature_value("a\0b").is_err());
        assert!(feature_value(&"x".repeat(FEATURE_MAX_BYTES + 1)).is_err());
        assert!(notes(&"x".repeat(NOTES_MAX_BYTES)).is_ok());
        assert!(notes(&"x".repeat(NOTES_MAX_BYTES + 1)).is_err());
    }
}
