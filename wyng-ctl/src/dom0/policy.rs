// SPDX-License-Identifier: GPL-3.0-or-later
//! How a restored policy of qrexec differs from the one here. It is only shown: a policy is a
//! grant, and whoever holds the archive's credential may have written the restored one.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use wyng_control::path_text;

/// Where the policy is, relative to the root folder, and what its files include.
const FOLDERS: [&str; 2] = ["etc/qubes/policy.d", "etc/qubes/policy.d/include"];
/// Maximum length of a file that is compared, bytes; a longer one differs.
const FILE_MAX_BYTES: u64 = 256 << 10;
/// Maximum number of lines of a file that are compared.
const LINES_MAX: usize = 1000;
/// Maximum number of lines that are shown of a file.
const SHOWN_MAX: usize = 200;

/// How a file of the policy differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// It is in both, with other content.
    Differs,
    /// It is in the archive alone.
    New,
    /// It is here alone.
    Missing,
}

impl State {
    /// A short word for scripts, stable over versions.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::Differs => "differs",
            Self::New => "new",
            Self::Missing => "missing",
        }
    }
}

/// A file of the policy that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Difference {
    /// Its name in `policy.d`, harmless to a terminal.
    pub(crate) file: String,
    pub(crate) state: State,
    /// Lines that are here alone, after `-`, and in the archive alone, after `+`; harmless to a
    /// terminal.
    pub(crate) lines: Vec<String>,
}

/// Compares the restored policy with the one here. `restored` and `here` are root folders.
pub(super) fn compare(restored: &Path, here: &Path) -> Vec<Difference> {
    let mut found = Vec::new();
    for folder in FOLDERS {
        let (restored, here) = (restored.join(folder), here.join(folder));
        let inner = folder.strip_prefix(FOLDERS[0]).unwrap_or_default();
        let names: BTreeSet<OsString> = names(&restored).chain(names(&here)).collect();
        for name in names {
            let file = Path::new(inner.trim_start_matches('/')).join(&name);
            let contents = (content(&here.join(&name)), content(&restored.join(&name)));
            found.extend(difference(&file, contents));
        }
    }
    found
}

/// How a file differs, by its content here and in the archive.
fn difference(file: &Path, (old, new): (Option<Vec<u8>>, Option<Vec<u8>>)) -> Option<Difference> {
    let state = match (&old, &new) {
        (None, None) => return None,
        (Some(old), Some(new)) if old == new && !is_long(new) => return None,
        (Some(_), Some(_)) => State::Differs,
        (None, Some(_)) => State::New,
        (Some(_), None) => State::Missing,
    };
    Some(Difference {
        file: shown(file.as_os_str().as_bytes()),
        state,
        lines: lines(&old.unwrap_or_default(), &new.unwrap_or_default()),
    })
}

fn names(folder: &Path) -> impl Iterator<Item = OsString> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name())
}

/// What is in a plain file, as far as it is compared.
fn content(path: &Path) -> Option<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty()).ok()?);
    file.metadata().ok().filter(std::fs::Metadata::is_file)?;
    let mut content = Vec::new();
    let most = FILE_MAX_BYTES.saturating_add(1);
    file.take(most).read_to_end(&mut content).ok()?;
    Some(content)
}

/// Whether there is more of it than is compared.
fn is_long(content: &[u8]) -> bool {
    content.len() as u64 > FILE_MAX_BYTES
}

/// The lines that only one of both has, in their order.
fn lines(old: &[u8], new: &[u8]) -> Vec<String> {
    let too_long = is_long(old) || is_long(new);
    let of = |text: &'_ [u8]| -> Vec<Vec<u8>> {
        let lines = text.split_inclusive(|byte| *byte == b'\n');
        lines.map(|line| line.trim_ascii_end().to_vec()).collect()
    };
    let (old, new) = (of(old), of(new));
    if old.len() > LINES_MAX || new.len() > LINES_MAX || too_long {
        return vec!["(too long to be compared line by line)".to_owned()];
    }
    let mut shown_lines = Vec::new();
    let width = new.len().saturating_add(1);
    let common = common_lengths(&old, &new, width);
    let length = |a: usize, b: usize| {
        let place = a.saturating_mul(width).saturating_add(b);
        common.get(place).copied().unwrap_or(0)
    };
    let (mut a, mut b) = (0_usize, 0_usize);
    loop {
        let (next_a, next_b) = (a.saturating_add(1), b.saturating_add(1));
        match (old.get(a), new.get(b)) {
            (None, None) => break,
            (Some(x), Some(y)) if x == y => (a, b) = (next_a, next_b),
            (Some(x), y) if y.is_none() || length(next_a, b) >= length(a, next_b) => {
                shown_lines.push(format!("- {}", shown(x)));
                a = next_a;
            }
            (_, Some(y)) => {
                shown_lines.push(format!("+ {}", shown(y)));
                b = next_b;
            }
            (Some(_), None) => break,
        }
    }
    if shown_lines.len() > SHOWN_MAX {
        let more = shown_lines.len().saturating_sub(SHOWN_MAX);
        shown_lines.truncate(SHOWN_MAX);
        shown_lines.push(format!("({more} more lines)"));
    }
    shown_lines
}

/// The length of the longest common part of what follows each pair of lines; rows of `width`.
fn common_lengths(old: &[Vec<u8>], new: &[Vec<u8>], width: usize) -> Vec<u16> {
    let rows = old.len().saturating_add(1);
    let mut lengths = vec![0_u16; rows.saturating_mul(width)];
    for (a, x) in old.iter().enumerate().rev() {
        for (b, y) in new.iter().enumerate().rev() {
            let here = a.saturating_mul(width).saturating_add(b);
            let below = here.saturating_add(width);
            let at = |place: usize| lengths.get(place).copied().unwrap_or(0);
            let length = match x == y {
                true => at(below.saturating_add(1)).saturating_add(1),
                false => at(below).max(at(here.saturating_add(1))),
            };
            if let Some(place) = lengths.get_mut(here) {
                *place = length;
            }
        }
    }
    lengths
}

/// Text of the archive, harmless to a terminal: a policy is ASCII, and everything else is an
/// escape, also a letter that only looks like another one.
pub(super) fn shown(text: &[u8]) -> String {
    let show = |letter: char| match letter {
        ' '..='~' => letter.to_string(),
        other => other.escape_unicode().to_string(),
    };
    path_text(text).chars().map(show).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_one_side_are_shown_and_harmless() {
        let old = b"a\nb\nc\n";
        assert_eq!(
            lines(old, b"a\nx\x1b[2J\nc\nd\n"),
            ["- b", "+ x\\u{1b}[2J", "+ d"]
        );
        assert_eq!(lines(old, old), Vec::<String>::new());
        assert_eq!(lines(b"", "\u{430}llow".as_bytes()), ["+ \\u{430}llow"]);
        assert_eq!(lines(b"a\n", b""), ["- a"]);
    }

    #[test]
    fn files_that_are_new_or_missing_or_differ_are_named() {
        let (restored, here) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        // Nobody looks behind what is compared of a file, so that it may hide anything there.
        let long = "#\n".repeat(200_000);
        for (root, name, text) in [
            (&restored, "same", "1"),
            (&here, "same", "1"),
            (&restored, "differs", "1"),
            (&here, "differs", "2"),
            (&restored, "new", "1"),
            (&here, "missing", "1"),
            (&restored, "include/grant", "* * * allow"),
            (&restored, "long", &*format!("{long}* * * allow")),
            (&here, "long", &long),
        ] {
            let file = root.path().join(FOLDERS[0]).join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        }
        let found = compare(restored.path(), here.path());
        let found: Vec<(&str, State)> = found
            .iter()
            .map(|found| (&*found.file, found.state))
            .collect();
        assert_eq!(
            found,
            [
                ("differs", State::Differs),
                ("long", State::Differs),
                ("missing", State::Missing),
                ("new", State::New),
                ("include/grant", State::New),
            ]
        );
    }
}
