// SPDX-License-Identifier: GPL-3.0-or-later
//! `make-archive DIR --passphrase-file F [--seed N] NAME=IMAGE…`: an archive on disk without a
//! daemon, to test readers with.
//!
//! Makes one session of each image and prints `VOLUME SESSION` lines. Called again on DIR it adds
//! sessions.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use wyng_tests::archive_writer::{ArchiveWriter, Problem};

struct Arguments {
    folder: PathBuf,
    passphrase_file: PathBuf,
    seed: Option<u64>,
    images: Vec<(String, PathBuf)>,
}

fn main() -> ExitCode {
    let Some(arguments) = parse(std::env::args().skip(1)) else {
        eprintln!("usage: make-archive DIR --passphrase-file F [--seed N] NAME=IMAGE...");
        return ExitCode::from(2);
    };
    match make(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("make-archive: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn make(arguments: &Arguments) -> Result<(), Problem> {
    let passphrase = std::fs::read(&arguments.passphrase_file)?;
    let passphrase = passphrase.strip_suffix(b"\n").unwrap_or(&passphrase);
    let mut writer = ArchiveWriter::open_or_create(&arguments.folder, passphrase, arguments.seed)?;
    let time = writer.back_up(&arguments.images)?;
    for (volume, _) in &arguments.images {
        println!("{volume} {}", jiff::Timestamp::from_second(time)?);
    }
    Ok(())
}

fn parse(arguments: impl Iterator<Item = String>) -> Option<Arguments> {
    let (mut folder, mut passphrase_file, mut seed, mut images) = (None, None, None, Vec::new());
    let mut arguments = arguments;
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--passphrase-file" => passphrase_file = Some(PathBuf::from(arguments.next()?)),
            "--seed" => seed = Some(arguments.next()?.parse().ok()?),
            _ if folder.is_none() => folder = Some(PathBuf::from(argument)),
            _ => {
                let (name, path) = argument.split_once('=')?;
                images.push((name.to_owned(), Path::new(path).to_owned()));
            }
        }
    }
    (!images.is_empty()).then_some(Arguments {
        folder: folder?,
        passphrase_file: passphrase_file?,
        seed,
        images,
    })
}
