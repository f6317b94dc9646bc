// SPDX-License-Identifier: GPL-3.0-or-later
//! Checks of the names, paths and quantities in the configuration.

use std::path::PathBuf;

use toml::Spanned;
use wyng_control::{ZvolName, is_of_dom0};

use crate::mistake::At;

/// Checks the name of an archive or a profile, which is used on command lines and in the names of
/// units.
pub(crate) fn check_word(name: &Spanned<String>) -> Result<(), At> {
    let text = name.as_ref();
    let fits = (1..=64).contains(&text.len()) && !text.starts_with(['.', '-']);
    if fits
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
    {
        return Ok(());
    }
    Err(At::new(
        name,
        format!("{text:?} is no name"),
        "Write 1 to 64 of A-Z a-z 0-9 . _ -, beginning with neither . nor -.",
    ))
}

/// Checks the name of a volume. A restore makes it the name of a file; with `=` in it, a source
/// could be taken for NAME=PATH.
pub(crate) fn check_volume_name(name: &Spanned<String>) -> Result<(), At> {
    let text = name.as_ref();
    let fits = (1..=200).contains(&text.len()) && !text.starts_with(['.', '-']);
    if fits
        && text
            .chars()
            .all(|char| !matches!(char, '/' | '=') && !char.is_control())
    {
        return Ok(());
    }
    Err(At::new(
        name,
        format!("{text:?} is no name"),
        "Write 1 to 200 bytes without / and =, beginning with neither . nor -.",
    ))
}

/// Refuses the names of dom0's own volumes, which no path can have.
pub(crate) fn check_not_of_dom0(name: &Spanned<String>) -> Result<(), At> {
    match is_of_dom0(name.as_ref()) {
        false => Ok(()),
        true => Err(At::new(
            name,
            format!("{:?} is reserved for dom0's own volumes", name.as_ref()),
            "Give the volume another name; `dom0 = true` in a profile backs up dom0's files.",
        )),
    }
}

pub(crate) fn absolute(path: &Spanned<String>, remedy: &str) -> Result<PathBuf, At> {
    if path.as_ref().starts_with('/') {
        return Ok(PathBuf::from(path.as_ref()));
    }
    Err(At::new(
        path,
        format!("{:?} is no absolute path", path.as_ref()),
        remedy,
    ))
}

/// The path of a volume; that of a ZFS volume's device for `zfs:POOL/DATASET`.
pub(crate) fn volume_path(path: &Spanned<String>) -> Result<PathBuf, At> {
    let remedy = "Write the absolute path of a disk image or block device, or zfs:POOL/DATASET.";
    match ZvolName::of_scheme(path.as_ref()) {
        None => absolute(path, remedy),
        Some(Some(name)) => Ok(name.device()),
        Some(None) => Err(At::new(
            path,
            format!("{:?} does not name a ZFS volume", path.as_ref()),
            remedy,
        )),
    }
}

pub(crate) fn quantity(
    text: &Spanned<String>,
    parse: fn(&str) -> Result<u64, String>,
    examples: &str,
) -> Result<u64, At> {
    parse(text.as_ref()).map_err(|what| At::new(text, what, &format!("Write it as {examples}.")))
}

/// A limit, which must not be 0.
pub(crate) fn positive(
    text: &Spanned<String>,
    parse: fn(&str) -> Result<u64, String>,
    examples: &str,
) -> Result<u64, At> {
    match quantity(text, parse, examples)? {
        0 => Err(At::new(
            text,
            format!("{:?} is nothing", text.as_ref()),
            &format!("Write it as {examples}, or leave it out."),
        )),
        quantity => Ok(quantity),
    }
}
