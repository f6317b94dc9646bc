// SPDX-License-Identifier: GPL-3.0-or-later
//! dom0's own files: backed up with the real programs from a folder that stands for dom0's root,
//! and restored into a folder of their own.

use std::fs::{create_dir_all, read, read_to_string, write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use wyng_tests::archive_writer::ArchiveWriter;
use wyng_tests::sandbox::{Outcome, PASSPHRASE, Sandbox, noise};

const CHUNK: usize = 64 << 10;

/// An archive, and a folder with the files of a dom0.
struct Dom0 {
    sandbox: Sandbox,
    root: PathBuf,
}

impl Dom0 {
    fn new() -> Self {
        let sandbox = Sandbox::with_archive(&["--chunk-size", "64K", "--pack-size", "1M"]);
        let root = sandbox.path("root");
        for folder in [
            "etc/qubes/policy.d",
            "etc/qubes-rpc",
            "srv/salt",
            "home/user/.cache",
            "usr/bin",
        ] {
            create_dir_all(root.join(folder)).unwrap();
        }
        let write = |path: &str, bytes: &[u8]| write(root.join(path), bytes).unwrap();
        write("etc/passwd", b"user:x:1000:1000::/home/user/:/bin/sh\n");
        write("etc/qubes/policy.d/30-user.policy", b"old\nsame\n");
        write("etc/qubes-rpc/my.Service", b"#!/bin/sh\n");
        write("srv/salt/top.sls", b"base:\n");
        write("home/user/.cache/big", &noise(CHUNK, 1));
        write("home/user/notes", b"notes\n");
        for seed in 2..6 {
            write(&format!("home/user/large{seed}"), &noise(5 * CHUNK, seed));
        }
        symlink("/usr/bin/dpkg-query", root.join("usr/bin/dpkg-query")).unwrap();
        Self { sandbox, root }
    }

    fn wyng(&self, words: &[&str]) -> Outcome {
        let root = self.root.to_str().unwrap();
        self.sandbox
            .wyng(&[words, &["--dom0", "--dom0-root", root]].concat())
    }

    fn back_up(&self) -> Outcome {
        self.wyng(&["backup", "home"])
    }

    fn restore(&self, to: &str, more: &[&str]) -> (Outcome, PathBuf) {
        let to = self.sandbox.path(to);
        let words = ["restore", "home", "--to", to.to_str().unwrap()];
        (self.wyng(&[&words, more].concat()), to)
    }
}

fn sent(outcome: &Outcome) -> u64 {
    outcome.json["volumes"][0]["sent_bytes"].as_u64().unwrap()
}

#[test]
fn dom0s_files_come_back_into_a_folder_with_the_difference_of_the_policy() {
    let dom0 = Dom0::new();
    let outcome = dom0.back_up();
    outcome.success();
    assert_eq!(outcome.json["volumes"][0]["name"], "dom0:files");
    write(
        dom0.root.join("etc/qubes/policy.d/30-user.policy"),
        "same\n\u{1b}new\n",
    )
    .unwrap();
    let (outcome, to) = dom0.restore("back", &[]);
    outcome.success();
    assert_eq!(
        read_to_string(to.join("home/user/notes")).unwrap(),
        "notes\n"
    );
    assert!(read(to.join("home/user/large3")).unwrap() == noise(5 * CHUNK, 3));
    assert!(!to.join("home/user/.cache").exists());
    if Path::new("/usr/bin/dpkg-query").exists() {
        let packages = read_to_string(to.join("packages.txt")).unwrap();
        assert!(packages.lines().any(|line| line.starts_with("dpkg=")));
    }
    let policy = &outcome.json["dom0"]["policy"][0];
    assert_eq!(policy["file"], "30-user.policy");
    assert_eq!(policy["state"], "differs");
    assert_eq!(
        policy["lines"],
        serde_json::json!(["+ old", "- \\u{1b}new"])
    );
    let mode = std::fs::metadata(&to).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    dom0.restore("back", &[]).0.expect(2);
}

#[test]
fn the_tar_itself_is_a_volume_for_any_tar() {
    let dom0 = Dom0::new();
    dom0.back_up().success();
    let tar = dom0.sandbox.path("x.tar");
    let words = [
        "restore",
        "home",
        "dom0:files",
        "--to",
        tar.to_str().unwrap(),
    ];
    dom0.sandbox.wyng(&words).success();
    let output = Command::new("tar").arg("-tf").arg(&tar).output().unwrap();
    let listed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success());
    assert!(
        listed.lines().any(|line| line == "home/user/notes"),
        "{listed}"
    );
}

#[test]
fn what_did_not_change_is_not_sent_again() {
    let dom0 = Dom0::new();
    dom0.back_up().success();
    let metadata = sent(dom0.back_up().success());
    write(dom0.root.join("home/user/large4"), noise(9 * CHUNK, 4)).unwrap();
    let new: Vec<u8> = noise(2 * CHUNK, 9);
    write(dom0.root.join("home/user/alarm"), &new).unwrap();
    let sent = sent(dom0.back_up().success());
    // Of the larger file the first and the last old chunk and four new ones, the new file, and the
    // group of its folder.
    let most = u64::try_from(10 * CHUNK).unwrap() + metadata;
    assert!(sent <= most, "{sent} bytes of at most {most} were sent");
}

#[test]
fn nobody_names_a_path_as_a_volume_of_dom0() {
    let dom0 = Dom0::new();
    let image = dom0.sandbox.image("image", CHUNK, 1);
    let source = format!("dom0:files={}", image.display());
    let outcome = dom0.sandbox.wyng(&["backup", "home", &source]);
    outcome.expect(2);
    assert!(
        outcome.json["errors"][0]["text"]
            .as_str()
            .unwrap()
            .contains("dom0's own files")
    );
}

#[test]
fn a_file_that_cannot_be_read_is_named_and_counts() {
    let mut dom0 = Dom0::new();
    let secret = dom0.root.join("home/user/secret");
    dom0.sandbox.become_nobody();
    write(&secret, "x").unwrap();
    std::fs::set_permissions(&secret, PermissionsExt::from_mode(0o000)).unwrap();
    let outcome = dom0.back_up();
    outcome.expect(3);
    assert_eq!(outcome.codes(), ["admin-files-incomplete"]);
    assert_eq!(outcome.json["volumes"][0]["name"], "dom0:files");
    let left = outcome.json["dom0"]["left_out"].as_array().unwrap();
    let is_it = |left: &&Value| left["path"] == "home/user/secret";
    assert_eq!(left.iter().find(is_it).unwrap()["why"], "unreadable");
}

#[test]
fn an_archive_that_nothing_proves_gives_no_files_of_dom0_unless_a_person_accepts_that() {
    let dom0 = Dom0::new();
    dom0.back_up().success();
    dom0.sandbox.adopt("passphrase").success();
    let (outcome, to) = dom0.restore("back", &[]);
    outcome.expect(1);
    assert_eq!(outcome.codes(), ["admin-files-unproven"]);
    assert!(!to.exists());
    dom0.restore("back", &["--unproven"]).0.success();
    assert!(to.join("home/user/notes").exists());
}

#[test]
fn a_hostile_volume_of_dom0_is_not_unpacked() {
    let dom0 = Dom0::new();
    let tar = dom0.sandbox.path("evil.tar");
    let mut evil = Command::new("tar");
    evil.args(["--format=pax", "-cf"]).arg(&tar);
    let status = evil.args(["-P", "/etc/passwd"]).status().unwrap();
    assert!(status.success());
    // Whoever holds the credential can write any volume.
    let store = dom0.sandbox.store();
    std::fs::remove_dir_all(&store).unwrap();
    let mut writer = ArchiveWriter::open_or_create(&store, PASSPHRASE.as_bytes(), Some(3)).unwrap();
    writer.back_up(&[("dom0:files".into(), tar)]).unwrap();
    dom0.sandbox.adopt("passphrase").success();
    let (outcome, to) = dom0.restore("back", &["--unproven"]);
    outcome.expect(1);
    assert_eq!(outcome.codes(), ["admin-files-foreign"]);
    assert!(!to.exists());
}
