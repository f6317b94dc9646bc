// SPDX-License-Identifier: GPL-3.0-or-later
//! The credentials of a store, from files into a pipe. They are never an argument or a variable of
//! the environment.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;

use wyng_config::Credentials;
use zeroize::Zeroizing;

/// Maximum length of all credentials, bytes; the daemon takes no more.
const MAX_BYTES: usize = 8 * 1024;

/// Where a store's credentials are, and who uses them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoreCredentials {
    /// The files.
    pub(crate) files: Credentials,
    /// This machine signs each request with them; otherwise the far end gets them.
    pub(crate) signed: bool,
    /// The far end gets them although this machine signed before.
    pub(crate) unsigned: bool,
}

/// Why there are no credentials.
#[derive(Debug)]
pub(crate) enum NoCredentials {
    /// A file cannot be read.
    Unreadable(String, io::Error),
    /// A file is too long to be one of credentials.
    TooLong(String),
    /// No pipe can be made.
    Pipe(io::Error),
}

impl fmt::Display for NoCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(file, error) => {
                write!(f, "the credentials file {file} cannot be read: {error}")
            }
            Self::TooLong(file) => write!(f, "the credentials file {file} has more than 8 KiB"),
            Self::Pipe(error) => write!(f, "the credentials cannot be handed over: {error}"),
        }
    }
}

/// A pipe with the text of the files; those of one service behind its name.
pub(crate) fn as_pipe(credentials: &StoreCredentials) -> Result<OwnedFd, NoCredentials> {
    let mut text = Zeroizing::new(Vec::with_capacity(4 * MAX_BYTES));
    if credentials.signed {
        text.extend_from_slice(b"signed\n");
    }
    if credentials.unsigned {
        text.extend_from_slice(b"unsigned\n");
    }
    match &credentials.files {
        Credentials::All(file) => append(&mut text, file)?,
        Credentials::PerService { push, fetch, prune } => {
            for (service, file) in [("push", push), ("fetch", fetch), ("prune", prune)] {
                if let Some(file) = file {
                    text.extend_from_slice(format!("\n[{service}]\n").as_bytes());
                    append(&mut text, file)?;
                }
            }
        }
    }
    let pipe = |problem| NoCredentials::Pipe(problem);
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
        .map_err(|errno| pipe(errno.into()))?;
    // A pipe takes 64 KiB without a reader, and an ordinary user's at least 4 KiB: so it is made
    // as large as the text.
    let _ = rustix::pipe::fcntl_setpipe_size(&write, text.len().max(4096));
    File::from(write).write_all(&text).map_err(pipe)?;
    Ok(read)
}

fn append(text: &mut Zeroizing<Vec<u8>>, file: &str) -> Result<(), NoCredentials> {
    if file.starts_with("vm:") {
        text.extend_from_slice(file.as_bytes());
        return Ok(());
    }
    let unreadable = |problem| NoCredentials::Unreadable(file.to_owned(), problem);
    let source = File::open(file).map_err(unreadable)?;
    let before = text.len();
    let limit = u64::try_from(MAX_BYTES).unwrap_or(u64::MAX);
    source
        .take(limit.saturating_add(1))
        .read_to_end(text)
        .map_err(unreadable)?;
    if text.len().saturating_sub(before) > MAX_BYTES {
        return Err(NoCredentials::TooLong(file.to_owned()));
    }
    Ok(())
}
