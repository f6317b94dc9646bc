// SPDX-License-Identifier: GPL-3.0-or-later
//! What a store asks for before it lets anybody in: `key = value` lines behind the address, or the
//! name of a file of this VM that has them. Wiped when dropped, and never printed.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use zeroize::Zeroizing;

/// The folder of credentials that lie in the VM.
const FOLDER: &str = "/etc/wyng/credentials";
/// Maximum length of credentials, bytes.
const MAX_BYTES: usize = 4096;

/// The lines of one service.
#[derive(Default)]
pub(crate) struct Credentials(Vec<(String, Zeroizing<String>)>);

impl Credentials {
    /// Reads the lines, or the file that the only line names as `vm:NAME`. `None` for anything that
    /// is not understood.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?.trim();
        match text.strip_prefix("vm:") {
            Some(name) => Self::parse(&of_vm(Path::new(FOLDER), name)?),
            None => Self::parse(text),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = Vec::new();
        for line in text.lines().map(str::trim) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (key, value) = line.split_once('=')?;
            let (key, value) = (key.trim(), value.trim());
            let quoted = value
                .strip_prefix('"')
                .and_then(|value| value.strip_suffix('"'));
            let value = quoted.unwrap_or(value);
            if value.contains(char::is_control) {
                return None;
            }
            // Amazon's own files have this prefix.
            let key = key.strip_prefix("aws_").unwrap_or(key);
            // Which of two counts must not be a guess.
            if lines.iter().any(|(known, _)| known == key) {
                return None;
            }
            lines.push((key.to_owned(), Zeroizing::new(value.to_owned())));
        }
        Some(Self(lines))
    }

    /// The value of a key.
    pub(crate) fn get(&self, key: &str) -> Option<&Zeroizing<String>> {
        let mut lines = self.0.iter();
        lines
            .find(|(known, _)| known == key)
            .map(|(_, value)| value)
    }
}

/// The text of a file in the folder.
fn of_vm(folder: &Path, name: &str) -> Option<Zeroizing<String>> {
    let is_name = !name.is_empty()
        && name.len() <= 64
        && !name.starts_with('.')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    if !is_name {
        return None;
    }
    let mut file = File::open(folder.join(name)).ok()?;
    let mut text = Zeroizing::new(String::with_capacity(MAX_BYTES + 1));
    let limit = u64::try_from(MAX_BYTES).ok()?.saturating_add(1);
    file.by_ref().take(limit).read_to_string(&mut text).ok()?;
    (text.len() <= MAX_BYTES).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_understood_with_and_without_quotes() {
        let text = b"# of the NAS\naws_access_key_id = AKIA\nsecret_access_key=\"a b\"\n\n";
        let read = Credentials::read(text).unwrap();
        assert_eq!(read.get("access_key_id").unwrap().as_str(), "AKIA");
        assert_eq!(read.get("secret_access_key").unwrap().as_str(), "a b");
        assert!(read.get("session_token").is_none());
        assert!(Credentials::read(b"no line").is_none());
        assert!(Credentials::read(b"a = \xff").is_none());
        assert!(Credentials::read(b"aws_a = x\na = y").is_none());
    }

    #[test]
    fn a_file_of_the_vm_is_named_and_no_other_file_can_be() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("nas"), "password = x\n").unwrap();
        std::fs::write(folder.path().join(".hidden"), "password = x\n").unwrap();
        assert_eq!(&**of_vm(folder.path(), "nas").unwrap(), "password = x\n");
        for name in ["", ".hidden", "../nas", "a/b", "missing"] {
            assert!(of_vm(folder.path(), name).is_none(), "{name}");
        }
    }
}
