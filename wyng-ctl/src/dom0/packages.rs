// SPDX-License-Identifier: GPL-3.0-or-later
//! The list of installed packages, as the system's own program reports it.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

use super::scan::Why;

/// The programs, relative to the root folder, each with the words that list one package a line.
const PROGRAMS: [(&str, &[&str]); 2] = [
    (
        "usr/bin/rpm",
        &["-qa", "--qf", "%{NAME}-%{VERSION}-%{RELEASE}.%{ARCH}\\n"],
    ),
    (
        "usr/bin/dpkg-query",
        &["-W", "-f", "${binary:Package}=${Version}\\n"],
    ),
];
/// Maximum length of the list, bytes.
const LIST_MAX_BYTES: u64 = 16 << 20;

/// The packages, sorted. The first program that is there is asked. `top` is the root folder.
pub(super) fn list(top: &Path) -> Result<Vec<u8>, Why> {
    let there = PROGRAMS
        .iter()
        .map(|(program, words)| (top.join(program), words))
        .find(|(program, _)| program.exists());
    let (program, words) = there.ok_or(Why::NoPackages)?;
    ask(&program, words).ok_or(Why::PackagesFailed)
}

fn ask(program: &Path, words: &[&str]) -> Option<Vec<u8>> {
    let mut child = Command::new(program)
        .args(words)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let mut text = Vec::new();
    let output = child.stdout.take()?;
    let read = output.take(LIST_MAX_BYTES).read_to_end(&mut text);
    let ended = child.wait().ok()?;
    if read.is_err() || !ended.success() || text.is_empty() {
        return None;
    }
    let mut lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
    lines.sort_unstable();
    Some(lines.concat())
}
