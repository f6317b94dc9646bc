// SPDX-License-Identifier: GPL-3.0-or-later
//! Devices that are assigned to a qube. An assignment has all its parts, and the line as it was.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::lines::{all_differ, lines};
use super::malformed::Malformed;
use crate::form::{NAME_MAX_BYTES, is_domain, is_plain, is_printable};

/// Maximum length of a line, and of a value in it, bytes.
const LINE_MAX_BYTES: usize = 4096;
/// Maximum number of options.
const OPTIONS_MAX: usize = 64;
/// Maximum length of the name of a port, bytes.
const PORT_MAX_BYTES: usize = 255;
const ASSIGNED: &str = "admin.vm.device.Assigned";
const ATTACHED: &str = "admin.vm.device.List";
const ANY: &str = "*";
const OPTION: char = '_';

/// When the device is given to the qube.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// A person attaches it.
    Manual,
    /// A person is asked when it appears.
    AskToAttach,
    /// When it appears.
    AutoAttach,
    /// At the start, which fails without it.
    Required,
}

/// A device that is assigned to a qube.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The class, such as `usb`.
    pub class: String,
    /// The qube that has the device, or dom0.
    pub backend: String,
    /// Where it is there; `*` for any port.
    pub port: String,
    /// What the device says of itself; `*` for any, and where the release has none.
    pub identity: String,
    /// When it is given to the qube.
    pub mode: Mode,
    /// Options by their names, without the leading `_`.
    pub options: BTreeMap<String, String>,
    /// What stands behind the device in the line, as it is.
    pub line: String,
}

/// The answer to `admin.vm.device.CLASS.Assigned`: lines of `BACKEND+PORT:IDENTITY KEY='VALUE' …`,
/// in which a quote is `\'`.
pub fn assigned(class: &str, text: &str) -> Result<Vec<Assignment>, Malformed> {
    lines(ASSIGNED, text)?
        .into_iter()
        .map(|line| assigned_line(class, line))
        .collect()
}

fn assigned_line(class: &str, line: &str) -> Result<Assignment, Malformed> {
    let wrong = |what| Malformed::new(ASSIGNED, what);
    let (device, rest) = head(line).ok_or(wrong("a line has no device"))?;
    let pairs = quoted_pairs(rest).ok_or(wrong("a line has no keys and values"))?;
    let mut options = BTreeMap::new();
    let mut value_of = BTreeMap::new();
    for (key, value) in pairs {
        match key.strip_prefix(OPTION) {
            Some(option) => options.insert(option.to_owned(), value),
            None => value_of.insert(key.to_owned(), value),
        };
    }
    let says = |key: &str, expected: &str| value_of.get(key).is_none_or(|found| found == expected);
    let is_of_the_device = says("backend_domain", device.backend)
        && says("port_id", device.port)
        && says("ident", device.port)
        && says("device_id", device.identity)
        && says("devclass", class);
    if !is_of_the_device {
        return Err(wrong("a line speaks of another device"));
    }
    if options.len() > OPTIONS_MAX {
        return Err(wrong("a line has too many options"));
    }
    let mode = mode_of(&value_of).ok_or(wrong("a line has no mode"))?;
    Ok(device.assignment(class, mode, options, rest))
}

/// `mode='…'`, or in older releases `required='yes|no' attach_automatically='yes|no'`.
fn mode_of(value_of: &BTreeMap<String, String>) -> Option<Mode> {
    let get = |key| value_of.get(key).map(String::as_str);
    match (get("mode"), get("required"), get("attach_automatically")) {
        (Some("manual"), ..) => Some(Mode::Manual),
        (Some("ask-to-attach"), ..) => Some(Mode::AskToAttach),
        (Some("auto-attach"), ..) => Some(Mode::AutoAttach),
        (Some("required"), ..) => Some(Mode::Required),
        (None, Some("yes"), Some("yes")) => Some(Mode::Required),
        (None, Some("no"), Some("yes")) => Some(Mode::AutoAttach),
        (None, Some("no"), Some("no")) => Some(Mode::Manual),
        _ => None,
    }
}

/// The answer to `admin.vm.device.CLASS.List` of Qubes OS 4.2: lines of `BACKEND+PORT OPTION=VALUE …
/// persistent=yes|no`. What is attached only until the qube stops is left out: it is not assigned.
pub fn attached_by_old_releases(class: &str, text: &str) -> Result<Vec<Assignment>, Malformed> {
    let mut found = Vec::new();
    for line in lines(ATTACHED, text)? {
        let wrong = |what| Malformed::new(ATTACHED, what);
        let (device, rest) = head(line).ok_or(wrong("a line has no device"))?;
        let pairs: Option<Vec<(&str, &str)>> =
            rest.split(' ').map(|word| word.split_once('=')).collect();
        let pairs = pairs
            .filter(|pairs| pairs.iter().all(|(key, _)| is_key(key)))
            .filter(|pairs| all_differ(pairs.iter().map(|(key, _)| *key)))
            .filter(|pairs| pairs.len() <= OPTIONS_MAX)
            .ok_or(wrong("a line has no keys and values"))?;
        let (persistent, options): (Vec<_>, Vec<_>) =
            pairs.into_iter().partition(|(key, _)| *key == "persistent");
        match persistent.as_slice() {
            [(_, "yes")] => {
                let owned = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
                let options = options.into_iter().map(owned).collect();
                found.push(device.assignment(class, Mode::Required, options, rest));
            }
            [(_, "no")] => {}
            _ => return Err(wrong("a line does not say whether it is kept")),
        }
    }
    Ok(found)
}

/// Where a device is, and what it says of itself.
struct Device<'a> {
    backend: &'a str,
    port: &'a str,
    identity: &'a str,
}

impl Device<'_> {
    fn assignment(
        &self,
        class: &str,
        mode: Mode,
        options: BTreeMap<String, String>,
        line: &str,
    ) -> Assignment {
        Assignment {
            class: class.to_owned(),
            backend: self.backend.to_owned(),
            port: self.port.to_owned(),
            identity: self.identity.to_owned(),
            mode,
            options,
            line: line.to_owned(),
        }
    }
}

/// `BACKEND+PORT[:IDENTITY]` and what stands behind the first space.
fn head(line: &str) -> Option<(Device<'_>, &str)> {
    if line.len() > LINE_MAX_BYTES || !is_printable(line) {
        return None;
    }
    let (device, rest) = line.split_once(' ')?;
    let (backend, place) = device.split_once('+')?;
    let (port, identity) = place.split_once(':').unwrap_or((place, ANY));
    let device = Device {
        backend,
        port,
        identity,
    };
    (is_domain(backend) && is_port(port) && is_identity(identity)).then_some((device, rest))
}

/// Whether a device can be there, and say this of itself.
pub(crate) fn is_device_place(port: &str, identity: &str) -> bool {
    is_port(port) && is_identity(identity)
}

/// Whether these can be the options of an assignment.
pub(crate) fn are_device_options(options: &BTreeMap<String, String>) -> bool {
    let is_option = |(key, value): (&String, &String)| {
        is_key(key) && value.len() <= LINE_MAX_BYTES && is_printable(value)
    };
    options.len() <= OPTIONS_MAX && options.iter().all(is_option)
}

/// Whether it can be a port: `*`, or 1 to 255 of `A-Z a-z 0-9 . _ -`.
fn is_port(port: &str) -> bool {
    port == ANY || is_plain(port, PORT_MAX_BYTES, "._-")
}

/// Whether it can be what a device says of itself: visible ASCII without a space or a quote.
fn is_identity(identity: &str) -> bool {
    (1..=LINE_MAX_BYTES).contains(&identity.len())
        && is_printable(identity)
        && !identity.contains([' ', '\''])
}

/// Whether it can be the name of an option.
fn is_key(key: &str) -> bool {
    is_plain(key, NAME_MAX_BYTES, "._-")
}

/// `KEY='VALUE' KEY='VALUE' …`, each key once. A quote in a value is `\'`; a backslash is itself.
fn quoted_pairs(text: &str) -> Option<Vec<(&str, String)>> {
    let mut pairs = Vec::new();
    let mut rest = text;
    loop {
        let (key, behind) = rest.split_once("='")?;
        let (value, behind) = quoted(behind)?;
        if !is_key(key) {
            return None;
        }
        pairs.push((key, value));
        match behind.strip_prefix(' ') {
            Some(next) => rest = next,
            None if behind.is_empty() => break,
            None => return None,
        }
    }
    all_differ(pairs.iter().map(|(key, _)| *key)).then_some(pairs)
}

/// The value up to its closing quote, and what stands behind that.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    for (at, char) in text.char_indices() {
        match (char, value.ends_with('\\')) {
            ('\'', true) => {
                value.pop();
                value.push('\'');
            }
            ('\'', false) => return Some((value, text.get(at.checked_add(1)?..)?)),
            _ => value.push(char),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "sys-usb+2-1:1050:0407:: device_id='1050:0407::' port_id='2-1' \
        devclass='usb' backend_domain='sys-usb' mode='auto-attach' frontend_domain='work' \
        _read-only='yes' _note='it\\'s'\n";

    #[test]
    fn an_assignment_has_all_its_parts_and_its_line() {
        let found = assigned("usb", LINE).unwrap().remove(0);
        assert_eq!(found.backend, "sys-usb");
        assert_eq!(
            (found.port.as_str(), found.identity.as_str()),
            ("2-1", "1050:0407::")
        );
        assert_eq!(found.mode, Mode::AutoAttach);
        assert_eq!(found.options["read-only"], "yes");
        assert_eq!(found.options["note"], "it's");
        let (_, payload) = LINE.trim_end().split_once(' ').unwrap();
        assert_eq!(found.line, payload);
        assert_eq!(assigned("usb", ""), Ok(Vec::new()));
    }

    #[test]
    fn older_forms_of_a_line_are_known() {
        let line = "dom0+00_1d.0 required='yes' attach_automatically='yes' ident='00_1d.0' devclass='pci' backend_domain='dom0'\n";
        let found = assigned("pci", line).unwrap().remove(0);
        assert_eq!((found.mode, found.identity.as_str()), (Mode::Required, "*"));
        let line = "dom0+00_1d.0 no-strict-reset=True persistent=yes\nsys-usb+2-1 persistent=no\n";
        let found = attached_by_old_releases("pci", line).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].mode, Mode::Required);
        assert_eq!(found[0].options["no-strict-reset"], "True");
    }

    #[test]
    fn a_line_that_contradicts_itself_or_is_cut_is_refused() {
        for (from, to) in [
            ("backend_domain='sys-usb'", "backend_domain='other'"),
            ("port_id='2-1'", "port_id='2-2'"),
            ("device_id='1050:0407::'", "device_id='1'"),
            ("devclass='usb'", "devclass='pci'"),
            ("mode='auto-attach' ", ""),
            ("mode='auto-attach'", "mode='always'"),
            ("_read-only='yes'", "mode='auto-attach'"),
            ("_read-only='yes'", "_read-only='yes"),
            ("_read-only='yes'", "_read-only=yes"),
            ("_read-only='yes' ", "_read-only='yes'  "),
            ("sys-usb+", "a/b+"),
            ("+2-1:", "+../x:"),
            ("sys-usb+2-1:1050:0407:: ", ""),
            ("it\\'s", "it\x1b"),
        ] {
            let wrong = LINE.replacen(from, to, 1);
            assert_ne!(wrong, LINE);
            assert!(assigned("usb", &wrong).is_err(), "{wrong}");
        }
        assert!(assigned("usb", LINE.trim_end()).is_err());
        assert!(attached_by_old_releases("usb", "sys-usb+2-1 a=b\n").is_err());
        assert!(attached_by_old_releases("usb", "sys-usb+2-1 persistent=maybe\n").is_err());
    }
}
