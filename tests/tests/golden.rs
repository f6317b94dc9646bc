// SPDX-License-Identifier: GPL-3.0-or-later
//! `golden/format-0/`: archives that were made once and are read by every later state of the
//! programs, so that no change of the format goes unnoticed. One was made by the programs, the
//! other by the plain writer of these tests.
//!
//! `WYNG_WRITE_GOLDEN=1 cargo nextest run -p wyng-tests --test golden` makes them anew. That needs
//! a line in CHANGELOG.md.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use wyng_tests::archive_writer::ArchiveWriter;
use wyng_tests::sandbox::{PASSPHRASE, Sandbox, noise, write_at};
use wyng_tests::second_reader::SecondReader;

/// The seed of the plain writer: its archive has packs of 64 KiB.
const SEED: u64 = 4;
/// Maximum length of all blobs of an archive, bytes.
const ARCHIVE_MAX_BYTES: u64 = 200 << 10;

/// A session, and `H` of the volume that it restores, 64 hexadecimal digits.
#[derive(Debug, PartialEq, Eq)]
struct Golden {
    volume: String,
    session: String,
    hash: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The folder of an archive: its store, and `sessions` with what it restores.
fn golden(name: &str) -> PathBuf {
    root().join("golden/format-0").join(name)
}

fn hash(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

/// The images of the first and of the second run: `disk` changes, `data` has one session.
fn images(sandbox: &Sandbox) -> [PathBuf; 2] {
    let disk = sandbox.image("disk", 20_000, 1);
    let data = sandbox.path("data");
    std::fs::write(
        &data,
        [noise(5000, 2), vec![0; 70_000], noise(10, 3)].concat(),
    )
    .unwrap();
    [disk, data]
}

fn change(disk: &Path) {
    write_at(disk, 7000, &noise(100, 4));
}

fn golden_of(volume: &str, session: &str, image: &Path) -> Golden {
    Golden {
        volume: volume.into(),
        session: session.into(),
        hash: hash(&std::fs::read(image).unwrap()),
    }
}

/// Makes an archive in the sandbox's store with the programs.
fn by_the_programs(sandbox: &Sandbox) -> Vec<Golden> {
    let small = ["--chunk-size", "64K", "--pack-size", "128K"];
    sandbox.create("home", &small).success();
    let [disk, data] = images(sandbox);
    let first = sandbox.wyng(&["backup", "home", "disk", "data"]);
    first.success();
    let mut sessions = vec![
        golden_of("disk", &first.session(0), &disk),
        golden_of("data", &first.session(1), &data),
    ];
    change(&disk);
    let second = sandbox.wyng(&["backup", "home", "disk"]);
    second.success();
    sessions.push(golden_of("disk", &second.session(0), &disk));
    sessions
}

/// Makes an archive in the sandbox's store with the plain writer.
fn by_the_plain_writer(sandbox: &Sandbox) -> Vec<Golden> {
    let passphrase = PASSPHRASE.as_bytes();
    let [disk, data] = images(sandbox);
    let name = |time| jiff::Timestamp::from_second(time).unwrap().to_string();
    let back_up = |images: &[(String, PathBuf)]| {
        let mut writer =
            ArchiveWriter::open_or_create(&sandbox.store(), passphrase, Some(SEED)).unwrap();
        name(writer.back_up(images).unwrap())
    };
    let both = [("disk".into(), disk.clone()), ("data".into(), data.clone())];
    let first = back_up(&both);
    let mut sessions = vec![
        golden_of("disk", &first, &disk),
        golden_of("data", &first, &data),
    ];
    change(&disk);
    let second = back_up(&both[..1]);
    sessions.push(golden_of("disk", &second, &disk));
    sessions
}

fn copy(from: &Path, to: &Path) {
    let mut copy = std::process::Command::new("cp");
    assert!(copy.arg("-r").arg(from).arg(to).status().unwrap().success());
}

/// Makes the archive anew if that is asked for.
fn make(name: &str, make: fn(&Sandbox) -> Vec<Golden>) {
    if std::env::var_os("WYNG_WRITE_GOLDEN").is_none() {
        return;
    }
    let sandbox = Sandbox::new();
    let sessions = make(&sandbox);
    let folder = golden(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    copy(&sandbox.store(), &folder.join("store"));
    let lines: String = sessions
        .iter()
        .map(|golden| format!("{} {} {}\n", golden.volume, golden.session, golden.hash))
        .collect();
    std::fs::write(folder.join("sessions"), lines).unwrap();
}

fn sessions_of(name: &str) -> Vec<Golden> {
    let lines = std::fs::read_to_string(golden(name).join("sessions")).unwrap();
    let sessions = lines.lines().map(|line| {
        let mut words = line.split(' ').map(str::to_owned);
        let mut word = || words.next().unwrap();
        Golden {
            volume: word(),
            session: word(),
            hash: word(),
        }
    });
    sessions.collect()
}

/// Reads an archive with the programs and, where it can run, with the second reader.
fn assert_reads(name: &str) {
    let sandbox = Sandbox::new();
    copy(&golden(name).join("store"), &sandbox.store());
    let bytes = |blob: &PathBuf| blob.metadata().unwrap().len();
    assert!(sandbox.blobs().iter().map(bytes).sum::<u64>() <= ARCHIVE_MAX_BYTES);
    let sessions = sessions_of(name);
    let volumes: BTreeSet<_> = sessions.iter().map(|golden| &golden.volume).collect();
    assert_eq!((sessions.len(), volumes.len()), (3, 2));

    sandbox.adopt("passphrase").success();
    sandbox.wyng(&["verify", "home", "--deep"]).success();
    let second = SecondReader::ready(&format!("golden, {name}"));
    let run = |arguments: &[&str]| {
        let second = second.as_ref()?;
        Some(second.run(&sandbox.store(), &sandbox.path("passphrase"), arguments))
    };
    if let Some(checked) = run(&["check"]) {
        checked.success();
    }
    for Golden {
        volume,
        session,
        hash: expected,
    } in &sessions
    {
        let target = sandbox.path("restored");
        let to = target.to_str().unwrap();
        let _ = std::fs::remove_file(&target);
        let restore = ["restore", "home", volume, "--session", session, "--to", to];
        sandbox.wyng(&restore).success();
        assert_eq!(&hash(&std::fs::read(&target).unwrap()), expected);
        std::fs::remove_file(&target).unwrap();
        if let Some(restored) = run(&["restore", volume, session, to]) {
            restored.success();
            assert_eq!(&hash(&std::fs::read(&target).unwrap()), expected);
        }
    }
}

#[test]
fn an_archive_that_the_programs_made_once_is_read_by_both_readers() {
    make("programs", by_the_programs);
    assert_reads("programs");
}

#[test]
fn an_archive_that_the_plain_writer_made_once_is_read_and_made_again_byte_for_byte() {
    make("plain-writer", by_the_plain_writer);
    assert_reads("plain-writer");
    let sandbox = Sandbox::new();
    assert_eq!(by_the_plain_writer(&sandbox), sessions_of("plain-writer"));
    let store = golden("plain-writer").join("store");
    let made = sandbox.blobs();
    let blobs = |folder: &Path| wyng_tests::sandbox::files_below(folder).len();
    assert_eq!(blobs(&store), made.len());
    for blob in made {
        let kept = store.join(blob.strip_prefix(sandbox.store()).unwrap());
        assert!(std::fs::read(&kept).unwrap() == std::fs::read(&blob).unwrap());
    }
}
