// SPDX-License-Identifier: GPL-3.0-or-later
//! The place of a volume, as the user named it and as it was found. Paths are bytes, as the system
//! has them. Messages and files of the state hold them as text, from which the same bytes return.

use bincode::{Decode, Encode};

use crate::kind::FileKind;
use crate::qube::QubeFault;

/// Maximum length of a path, bytes: the kernel's own limit (`PATH_MAX`).
pub const PATH_MAX_BYTES: usize = 4096;
/// Maximum total length of the marks of one device, bytes. A disk has about eight names.
const MARKS_MAX_BYTES: usize = 16 << 10;
/// Maximum number of marks of one device. Each costs a receiver more than its bytes.
const MARKS_MAX: usize = 256;

/// The place of a volume, as found by the process that opened it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct Origin {
    /// The absolute path as the user named it. Its links are not resolved, as their targets change.
    pub path: Vec<u8>,
    /// The path without links to which it led.
    pub leads_to: Vec<u8>,
    /// The size of a block device in bytes; none for a file.
    pub device_bytes: Option<u64>,
    /// The lasting names of a block device, each as `KIND:VALUE`, by which it is recognised under
    /// any device node. Empty for a file, and for a device without a lasting name.
    pub marks: Vec<String>,
}

/// Whether a path is at most [`PATH_MAX_BYTES`] long.
pub fn is_path_bounded(path: &[u8]) -> bool {
    path.len() <= PATH_MAX_BYTES
}

/// Whether a client may state this path: it is absolute, or empty where nothing was opened. What
/// begins otherwise stands for something else, such as a part of a qube.
fn is_stated(path: &[u8]) -> bool {
    is_path_bounded(path) && (path.is_empty() || path.starts_with(b"/"))
}

impl Origin {
    /// Whether a client may state it: all paths and marks are within the bounds of this module, and
    /// the paths are absolute or empty. A part of a qube is no path, and only the daemon finds it.
    pub fn is_bounded(&self) -> bool {
        let marks_bytes = self.marks.iter().fold(0usize, |sum, mark| {
            sum.saturating_add(mark.len()).saturating_add(1)
        });
        is_stated(&self.path)
            && is_stated(&self.leads_to)
            && self.marks.len() <= MARKS_MAX
            && marks_bytes <= MARKS_MAX_BYTES
    }

    /// Whether both lead to the same file or device. Devices are compared by their marks, or by
    /// their sizes if one has no mark; files by the path without links.
    pub fn leads_to_the_same_as(&self, other: &Self) -> bool {
        match (self.device_bytes, other.device_bytes) {
            (None, None) => self.leads_to == other.leads_to,
            (Some(a), Some(b)) if self.marks.is_empty() || other.marks.is_empty() => a == b,
            (Some(_), Some(_)) => self.marks.iter().any(|mark| other.marks.contains(mark)),
            _ => false,
        }
    }

    /// The place for a message: the path without links, and a mark or the size of a device.
    pub fn shown(&self) -> String {
        let path = path_text(&self.leads_to);
        match (self.device_bytes, self.marks.first()) {
            (Some(_), Some(mark)) => format!("{path} ({mark})"),
            (Some(bytes), None) => format!("{path} (a device of {bytes} bytes)"),
            (None, _) => path,
        }
    }
}

/// The place of a target that the user did not name for this command.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Remembered {
    /// The place.
    pub origin: Origin,
    /// The path comes from the configuration. Otherwise it is the one from which the volume was
    /// backed up, as the daemon reported it.
    pub configured: bool,
}

/// A source that was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct FoundSource {
    /// The place.
    pub origin: Origin,
    /// The place where a device, or a part of it, is mounted or in use as swap space. Writes during
    /// the backup may then be in the session only in part.
    pub mounted_at: Option<Vec<u8>>,
    /// The folder of its base snapshot, if it can be cloned.
    pub snapshots: Option<Vec<u8>>,
}

impl FoundSource {
    /// Whether a client may state it.
    pub fn is_bounded(&self) -> bool {
        let paths = self.mounted_at.iter().chain(&self.snapshots);
        self.origin.is_bounded() && paths.into_iter().all(|path| is_path_bounded(path))
    }
}

/// Why a source could not be opened.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum NoSource {
    /// The system's error number (`errno`).
    Errno(i32),
    /// A link on its path, or the folder of such a link, does not belong to root.
    Link,
    /// It is a volume of a running qube, and does not exist while the qube runs.
    QubeRuns,
    /// It is of a kind without bytes at fixed offsets.
    Kind(FileKind),
    /// It is a part of a qube that cannot be read.
    OfQube(QubeFault),
}

/// A path as text: UTF-8 unchanged, a backslash doubled, any other byte as `\xNN`. [`path_of_text`]
/// is the inverse.
pub fn path_text(path: &[u8]) -> String {
    let mut text = String::with_capacity(path.len());
    for chunk in path.utf8_chunks() {
        text.push_str(&chunk.valid().replace('\\', "\\\\"));
        text.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
    }
    text
}

/// The bytes of a path that [`path_text`] wrote; `None` for any other text.
pub fn path_of_text(text: &str) -> Option<Vec<u8>> {
    let mut path = Vec::with_capacity(text.len());
    let mut parts = text.split('\\');
    path.extend_from_slice(parts.next()?.as_bytes());
    while let Some(part) = parts.next() {
        if part.is_empty() {
            path.push(b'\\');
            path.extend_from_slice(parts.next()?.as_bytes());
        } else {
            let (digits, rest) = part.strip_prefix('x')?.split_at_checked(2)?;
            path.push(u8::from_str_radix(digits, 16).ok()?);
            path.extend_from_slice(rest.as_bytes());
        }
    }
    (path_text(&path) == text).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_a_path_leads_back_to_its_bytes() {
        for path in [
            &b"/a/b"[..],
            b"/x\xff",
            b"/x\xfe\\",
            b"\\",
            b"\\\\x41",
            b"/\xc3\xa4\n",
            b"",
            b"\xff\\xff\\",
        ] {
            let text = path_text(path);
            assert_eq!(path_of_text(&text).as_deref(), Some(path), "{text}");
        }
        assert_eq!(path_text(b"/x\xff\\y"), r"/x\xff\\y");
        for text in [r"\", r"\y", r"\x", r"\xf", r"\x41", r"\xFF", r"a\xag"] {
            assert_eq!(path_of_text(text), None, "{text}");
        }
    }

    fn device(path: &str, marks: &[&str], bytes: u64) -> Origin {
        let marks = marks.iter().map(|mark| (*mark).to_owned()).collect();
        Origin {
            path: path.into(),
            leads_to: path.into(),
            device_bytes: Some(bytes),
            marks,
        }
    }

    #[test]
    fn no_client_states_a_part_of_a_qube_as_a_path() {
        let stated = |path: &str, leads_to: &str| Origin {
            path: path.into(),
            leads_to: leads_to.into(),
            ..Origin::default()
        };
        assert!(stated("/a", "/b").is_bounded());
        assert!(stated("", "").is_bounded());
        for (path, leads_to) in [
            ("qube:7/private", "/b"),
            ("/a", "qube:7/private"),
            ("a", "/b"),
            (":", ":"),
        ] {
            assert!(!stated(path, leads_to).is_bounded(), "{path} {leads_to}");
        }
    }

    #[test]
    fn a_device_is_the_same_by_what_it_is_recognised_by_and_not_by_its_node() {
        let known = device("/dev/dm-3", &["dm:vg-work"], 10);
        assert!(
            known.leads_to_the_same_as(&device("/dev/dm-7", &["dm:vg-work"], 20)),
            "a volume may grow"
        );
        assert!(!known.leads_to_the_same_as(&device("/dev/dm-3", &["dm:vg-vault"], 10)));
        assert!(
            device("/dev/sda", &["id:a", "wwid:b"], 10).leads_to_the_same_as(&device(
                "/dev/sdb",
                &["wwid:b"],
                10
            ))
        );
        // Devices of which only the size is known.
        assert!(device("/dev/nbd0", &[], 10).leads_to_the_same_as(&device("/dev/nbd1", &[], 10)));
        assert!(!device("/dev/nbd0", &[], 10).leads_to_the_same_as(&device("/dev/nbd0", &[], 11)));
        assert!(!device("/dev/nbd0", &[], 10).leads_to_the_same_as(&Origin {
            device_bytes: None,
            ..device("/dev/nbd0", &[], 10)
        }));
    }
}
