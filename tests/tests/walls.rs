// SPDX-License-Identifier: GPL-3.0-or-later
//! The walls of the house: which crate can reach which, over `cargo tree`; where `unsafe` may stand; what no source may say.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use wyng_tests::sandbox::files_below;

/// Everything that encrypts, derives keys from passphrases, or exchanges them.
const CIPHERS: [&str; 5] = ["chacha20poly1305", "chacha20", "argon2", "hpke", "x25519-dalek"];
/// Everything that reaches the system or the kernel's generator.
const SYSTEM: [&str; 6] = ["tokio", "nix", "rustix", "wyng-jail", "getrandom", "mio"];

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// All crates that are linked into one, itself left out.
fn reached(package: &str) -> BTreeSet<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["tree", "--offline", "--locked", "--edges", "normal", "--prefix", "none", "--format", "{p}", "--package", package]);
    let output = command.current_dir(top()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    let names = lines.lines().filter_map(|line| line.split(' ').next()).filter(|name| *name != package && !name.is_empty());
    names.map(str::to_owned).collect()
}

fn forbidden(reached: &BTreeSet<String>, groups: &[&[&str]]) -> Vec<String> {
    reached.iter().filter(|name| groups.iter().any(|group| group.contains(&name.as_str()))).cloned().collect()
}

#[test]
fn the_wire_depends_on_nothing() {
    assert_eq!(reached("wyng-wire"), BTreeSet::new());
}

#[test]
fn r7_the_helper_cannot_reach_the_cipher() {
    let reached = reached("wyng-transport-vm");
    assert_eq!(forbidden(&reached, &[&CIPHERS, &["wyng-archive", "wyng-control", "zstd", "blake3", "bincode"]]), [""; 0]);
    assert!(reached.contains("wyng-wire") && reached.contains("wyng-jail"));
}

#[test]
fn the_archive_can_do_no_input_and_output() {
    let reached = reached("wyng-archive");
    assert_eq!(forbidden(&reached, &[&SYSTEM]), [""; 0]);
    assert!(reached.contains("chacha20poly1305"), "the search finds what is there");
}

#[test]
fn the_command_line_knows_no_layout_and_no_key() {
    assert_eq!(forbidden(&reached("wyng-control"), &[&CIPHERS, &["wyng-archive", "wyng-wire"]]), [""; 0]);
    assert_eq!(forbidden(&reached("wyng-ctl"), &[&CIPHERS, &["wyng-archive", "wyng-wire", "wyngd"]]), [""; 0]);
}

#[test]
fn the_daemon_links_no_other_program() {
    assert_eq!(forbidden(&reached("wyngd"), &[&["wyng-ctl", "wyng-transport-vm", "wyng-tests"]]), [""; 0]);
}

fn sources() -> Vec<(PathBuf, String)> {
    let folders = ["crates", "wyngd", "wyng-ctl", "wyng-transport-vm", "tests"].map(|folder| files_below(&top().join(folder)));
    let rust = folders.into_iter().flatten().filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    rust.map(|path| (path.strip_prefix(top()).unwrap().to_owned(), std::fs::read_to_string(&path).unwrap())).collect()
}

/// `unsafe` as code: not in a comment, not in the name of a lint.
fn is_unsafe(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    code.split(|char: char| !(char.is_alphanumeric() || char == '_')).any(|word| word == "unsafe") && !code.contains('"')
}

#[test]
fn unsafe_stands_in_the_jail_only() {
    assert!(is_unsafe("    unsafe { x() }") && !is_unsafe("// unsafe") && !is_unsafe("#![forbid(unsafe_code)]"));
    let mut in_jail = 0;
    for (path, text) in sources() {
        let count = text.lines().filter(|line| is_unsafe(line)).count();
        if path.starts_with("crates/wyng-jail") {
            in_jail += count;
        } else {
            assert_eq!(count, 0, "{}", path.display());
        }
    }
    assert!(in_jail > 0);
}

#[test]
fn every_source_says_its_licence_and_what_it_is() {
    for (path, text) in sources() {
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("// SPDX-License-Identifier: GPL-3.0-or-later"), "{}", path.display());
        assert!(lines.next().is_some_and(|line| line.starts_with("//! ")), "{} does not say what it is", path.display());
    }
}

#[test]
fn r33_secrets_are_not_compared_with_equals() {
    for (path, text) in sources().into_iter().filter(|(path, _)| path.starts_with("crates/wyng-archive/src/crypto")) {
        let code = text.split("#[cfg(test)]").next().unwrap();
        assert!(!code.contains("expose() =="), "{}", path.display());
    }
}
