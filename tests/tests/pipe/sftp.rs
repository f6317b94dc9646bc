// SPDX-License-Identifier: GPL-3.0-or-later
//! The helper with a store behind an SFTP server. In place of ssh it starts OpenSSH's own server,
//! which needs no network; `tests/tests/sftp.rs` has the same with sshd.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use wyng_tests::disk::{SmallDisk, run};
use wyng_tests::programs::sftp_server;
use wyng_tests::require::{Component, require};
use wyng_tests::sandbox::noise;
use wyng_tests::service::until;
use wyng_wire::{
    BlobName, BytesStatus, CreateOnly, Durability, Open, OpenStatus, ReceiptStatus, Service,
    StatStatus, ToDaemon, ToHelper,
};

use super::call::{Call, Reserve, Store, command, files, name, path_of, plant, store};

const MIB: usize = 1024 * 1024;
const NOBODY: u32 = 65534;
/// The requests that an account which only adds may not make.
const ADDS_ONLY: &str =
    "-P remove,rmdir,rename,posix-rename,setstat,fsetstat,lsetstat,symlink,copy-data";

/// A program in the place of ssh.
struct Ssh(tempfile::TempDir);

impl Ssh {
    /// Starts the server with these options.
    fn server(options: &str) -> Self {
        Self::script(&format!("exec {} {options}", sftp_server().display()))
    }

    fn script(script: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let ssh = folder.path().join("ssh");
        fs::write(&ssh, format!("#!/bin/bash\n{script}\n")).unwrap();
        fs::set_permissions(&ssh, fs::Permissions::from_mode(0o755)).unwrap();
        Self(folder)
    }

    fn command(&self, service: Service) -> Command {
        let mut command = command(service);
        let path = format!("{}:/usr/bin:/bin", self.0.path().display());
        command.env("PATH", path);
        command
    }

    fn ask(&self, service: Service, folder: &Path, store: Store) -> (Call, OpenStatus) {
        let mut call = Call::start_command(self.command(service), service);
        let status = call.ask_to_open(&address(folder), store);
        if status != OpenStatus::Ok {
            assert_eq!(call.ended(), Some(13), "{}", call.said());
        }
        (call, status)
    }

    fn open(&self, service: Service, folder: &Path) -> Call {
        let (mut call, status) = self.ask(service, folder, Store::Existing);
        assert_eq!(status, OpenStatus::Ok, "{}", call.said());
        call
    }
}

fn address(folder: &Path) -> Vec<u8> {
    format!("sftp://me@nas:22{}", folder.display()).into_bytes()
}

fn blobs(folder: &Path) -> Vec<String> {
    let mut found = files(folder);
    found.retain(|path| !path.starts_with(".incoming"));
    found
}

fn is_there(test: &str) -> bool {
    require(Component::SftpServer, test)
}

#[test]
fn sftp_puts_if_absent_and_compares_and_leaves_what_a_folder_store_leaves() {
    if !is_there("sftp_puts_if_absent_and_compares_and_leaves_what_a_folder_store_leaves") {
        return;
    }
    let (ssh, store) = (Ssh::server(""), store());
    let mut call = ssh.open(Service::Push, store.path());
    let large = noise(3 * MIB + 17, 1);
    call.put(name(0xab, 1), &large);
    call.put(name(0xab, 2), b"");
    call.put(name(0xab, 1), &large);
    call.put(name(0xab, 1), &large[1..]);
    let mut other = large.clone();
    *other.last_mut().unwrap() ^= 1;
    call.put(name(0xab, 1), &other);
    call.put(name(0, 0), b"the first blob");
    let expected = [
        ReceiptStatus::Stored,
        ReceiptStatus::Stored,
        ReceiptStatus::ExistsSame,
        ReceiptStatus::ExistsDifferent,
        ReceiptStatus::ExistsDifferent,
        ReceiptStatus::ExistsSame,
    ];
    assert_eq!(call.finish(4), expected);
    let path = path_of(store.path(), &name(0xab, 1));
    assert!(fs::read(&path).unwrap() == large);
    let metadata = path.metadata().unwrap();
    assert_eq!(metadata.mode() & 0o777, 0o400);
    assert_eq!(metadata.nlink(), 1, "no other name is left");
    assert_eq!(files(store.path()).len(), 3, "nothing else is left");

    let mut folder = Call::open(Service::Fetch, store.path());
    assert!(folder.get(name(0xab, 1), 0, 4 * MIB as u32, 0) == (large, BytesStatus::Short));
    let mut folder = Call::open(Service::Push, store.path());
    folder.put(name(0xab, 3), b"from the folder");
    folder.put(name(0xab, 2), b"");
    assert_eq!(
        folder.finish(2),
        [ReceiptStatus::Stored, ReceiptStatus::ExistsSame]
    );
    let mut call = ssh.open(Service::Fetch, store.path());
    let read = call.get(name(0xab, 3), 0, 15, 0);
    assert_eq!(read, (b"from the folder".to_vec(), BytesStatus::Whole));
}

#[test]
fn of_two_helpers_that_put_one_name_at_the_same_time_one_gets_it() {
    if !is_there("of_two_helpers_that_put_one_name_at_the_same_time_one_gets_it") {
        return;
    }
    for options in ["", "-P hardlink"] {
        let (ssh, store) = (Ssh::server(options), store());
        let mut calls = [(); 2].map(|()| ssh.open(Service::Push, store.path()));
        let bodies = [noise(MIB, 1), noise(MIB, 2)];
        for (call, body) in calls.iter_mut().zip(&bodies) {
            call.announce(name(7, 7), MIB as u32, Reserve::Kept);
            call.send_raw(&body[..MIB / 2]);
        }
        let unfinished = || files(&store.path().join(".incoming")).len();
        until("both are on their way", || unfinished() == 2);
        assert_eq!(blobs(store.path()).len(), 1, "nothing is visible yet");
        for (call, body) in calls.iter_mut().zip(&bodies) {
            call.send_raw(&body[MIB / 2..]);
        }
        let statuses = calls.map(|mut call| {
            call.send(&ToHelper::Sync);
            call.receipts()[0]
        });
        let stored: Vec<usize> = (0..2)
            .filter(|place| statuses[*place] == ReceiptStatus::Stored)
            .collect();
        assert_eq!(stored.len(), 1, "{statuses:?}");
        assert_eq!(
            statuses[1 - stored[0]],
            ReceiptStatus::ExistsDifferent,
            "{options}"
        );
        let path = path_of(store.path(), &name(7, 7));
        assert!(fs::read(path).unwrap() == bodies[stored[0]]);
        until("nothing is left", || unfinished() == 0);
    }
}

#[test]
fn an_sftp_folder_is_made_opened_or_refused_as_a_folder_of_this_machine() {
    if !is_there("an_sftp_folder_is_made_opened_or_refused_as_a_folder_of_this_machine") {
        return;
    }
    let (ssh, parent) = (Ssh::server(""), tempfile::tempdir().unwrap());
    let at = |part: &str| parent.path().join(part);
    let status = |service, part: &str, store| ssh.ask(service, &at(part), store).1;
    fs::create_dir(at("empty")).unwrap();
    fs::write(at("file"), "x").unwrap();
    fs::create_dir(at("foreign")).unwrap();
    fs::write(at("foreign/note"), "mine").unwrap();
    for service in [Service::Push, Service::Prune, Service::Fetch] {
        assert_eq!(
            status(service, "none", Store::Existing),
            OpenStatus::Missing
        );
        assert_eq!(status(service, "empty", Store::Existing), OpenStatus::Empty);
        assert_eq!(
            status(service, "foreign", Store::Existing),
            OpenStatus::Empty
        );
        assert_eq!(
            status(service, "file", Store::Existing),
            OpenStatus::NotAFolder
        );
    }
    assert_eq!(
        status(Service::Push, "a/b", Store::New),
        OpenStatus::Missing
    );
    assert_eq!(
        status(Service::Push, "foreign", Store::New),
        OpenStatus::NotEmpty
    );
    assert!(!at("none").exists() && !at("a").exists());
    for part in ["empty", "new"] {
        let (mut call, status) = ssh.ask(Service::Push, &at(part), Store::New);
        assert_eq!(status, OpenStatus::Ok, "{}", call.said());
        assert!(files(&at(part)).is_empty(), "the try leaves nothing");
        call.put(name(1, 1), b"a");
        call.put(name(1, 1), b"a");
        let expected = [ReceiptStatus::Stored, ReceiptStatus::ExistsSame];
        assert_eq!(call.finish(2), expected);
        let mode = at(part).join("01").metadata().unwrap().mode();
        assert_eq!(mode & 0o777, 0o700);
    }
    assert_eq!(
        status(Service::Push, "new", Store::New),
        OpenStatus::NotEmpty
    );
}

/// What a helper knows of an open store.
fn known(ssh: &Ssh, service: Service, folder: &Path, create: bool, tries: bool) -> [u8; 2] {
    let mut call = Call::start_command(ssh.command(service), service);
    call.send(&ToHelper::Open(Open {
        create,
        tries,
        looks_at_versions: false,
        signed: None,
        lock_until_day: 0,
        destination: &address(folder),
    }));
    let opened = call.read_opened();
    assert_eq!(opened.status, OpenStatus::Ok, "{}", call.said());
    [opened.create_only.byte(), opened.durability.byte()]
}

#[test]
fn the_helper_states_what_keeps_names_apart_and_whether_folders_are_synced() {
    if !is_there("the_helper_states_what_keeps_names_apart_and_whether_folders_are_synced") {
        return;
    }
    let (unknown, durable) = (CreateOnly::Unknown.byte(), Durability::Durable.byte());
    let (atomic, checked) = (CreateOnly::Atomic.byte(), CreateOnly::Checked.byte());
    let accepted = Durability::Accepted.byte();
    let parent = tempfile::tempdir().unwrap();
    let whole = Ssh::server("");
    let folder = parent.path().join("whole");
    let made = known(&whole, Service::Push, &folder, true, true);
    assert_eq!(made, [atomic, durable]);
    let store = store();
    let at = |service, tries| known(&whole, service, store.path(), false, tries);
    assert_eq!(at(Service::Push, false), [unknown, durable]);
    assert_eq!(at(Service::Push, true), [atomic, durable]);
    assert_eq!(at(Service::Fetch, false), [unknown, durable]);
    assert_eq!(files(store.path()).len(), 1, "a try leaves nothing");
    let renames = Ssh::server("-P hardlink");
    let tried = known(&renames, Service::Push, store.path(), false, true);
    assert_eq!(tried, [checked, durable]);
    let bare = Ssh::server("-P hardlink,fsync");
    let made = known(
        &bare,
        Service::Push,
        &parent.path().join("bare"),
        true,
        true,
    );
    assert_eq!(made, [checked, accepted]);
    let read = known(&bare, Service::Fetch, store.path(), false, false);
    assert_eq!(read, [checked, accepted]);
}

#[test]
fn a_server_without_extensions_is_used_by_what_version_3_has() {
    if !is_there("a_server_without_extensions_is_used_by_what_version_3_has") {
        return;
    }
    let ssh = Ssh::server("-P hardlink,fsync,statvfs,fstatvfs,posix-rename,limits");
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("new");
    let (mut call, status) = ssh.ask(Service::Push, &folder, Store::New);
    assert_eq!(status, OpenStatus::Ok, "{}", call.said());
    call.put(name(1, 1), b"a");
    call.put(name(1, 1), b"a");
    call.put(name(1, 1), b"b");
    let expected = [
        ReceiptStatus::Stored,
        ReceiptStatus::ExistsSame,
        ReceiptStatus::ExistsDifferent,
    ];
    call.send(&ToHelper::Sync);
    assert_eq!(call.receipts(), expected);
    let said = call.said();
    assert!(
        said.contains("may not outlive a power cut") && said.contains("by a rename"),
        "{said}"
    );
    // One upload gets its temporary name while the one before loses it.
    let mut again = ssh.open(Service::Push, &folder);
    for number in 0..50_u8 {
        again.put(name(1, 1), b"a");
        again.put(name(2, number), b"new");
    }
    let statuses = again.finish(100);
    let pair = [ReceiptStatus::ExistsSame, ReceiptStatus::Stored];
    assert!(statuses.chunks(2).all(|two| two == pair), "{statuses:?}");
    assert_eq!(files(&folder).len(), 51);
    let mut prune = ssh.open(Service::Prune, &folder);
    prune.delete(name(1, 1));
    assert_eq!(prune.finish(1), [ReceiptStatus::Deleted]);
}

#[test]
fn an_account_that_only_adds_can_neither_overwrite_nor_remove() {
    let test = "an_account_that_only_adds_can_neither_overwrite_nor_remove";
    if !is_there(test) || !require(Component::Root, test) {
        return;
    }
    let store = tempfile::tempdir().unwrap();
    fs::set_permissions(store.path(), fs::Permissions::from_mode(0o700)).unwrap();
    plant(store.path(), &name(0, 0), b"the first blob");
    run(Command::new("chown")
        .args(["-R", &NOBODY.to_string()])
        .arg(store.path()));
    let (adds, all) = (Ssh::server(ADDS_ONLY), Ssh::server(""));
    let nobody = |ssh: &Ssh, service| {
        let mut command = ssh.command(service);
        command.uid(NOBODY).gid(NOBODY);
        let mut call = Call::start_command(command, service);
        let status = call.ask_to_open(&address(store.path()), Store::Existing);
        assert_eq!(status, OpenStatus::Ok, "{}", call.said());
        call
    };
    let mut call = nobody(&adds, Service::Push);
    let blob = name(1, 1);
    call.put(blob, b"what was stored");
    call.put(blob, b"what was stored");
    call.put(blob, b"what came later");
    let expected = [
        ReceiptStatus::Stored,
        ReceiptStatus::ExistsSame,
        ReceiptStatus::ExistsDifferent,
    ];
    assert_eq!(call.finish(2), expected);
    let mut call = nobody(&adds, Service::Prune);
    call.delete(blob);
    assert_eq!(call.finish(0), [ReceiptStatus::Refused]);

    // What somebody does who has taken over the machine with the key.
    let path = path_of(store.path(), &blob);
    let other = Ssh::script("");
    fs::write(other.0.path().join("junk"), "junk").unwrap();
    for attack in [
        "put junk PATH",
        "reput junk PATH",
        "rm PATH",
        "rename junk PATH",
        "rename PATH FOLDER/gone",
        "rename -l PATH FOLDER/gone",
        "chmod 600 PATH",
        "ln junk PATH",
        "symlink junk PATH",
        "rmdir FOLDER",
    ] {
        let folder = path.parent().unwrap();
        let batch = other.0.path().join("batch");
        let attack = attack
            .replace("PATH", path.to_str().unwrap())
            .replace("FOLDER", folder.to_str().unwrap());
        fs::write(&batch, &attack).unwrap();
        let mut sftp = Command::new("sftp");
        sftp.arg("-b")
            .arg(&batch)
            .arg("-D")
            .arg(format!("{} {ADDS_ONLY}", sftp_server().display()));
        let output = sftp
            .current_dir(other.0.path())
            .stdin(Stdio::null())
            .uid(NOBODY)
            .gid(NOBODY)
            .output()
            .unwrap();
        assert!(!output.status.success(), "{attack}");
        assert_eq!(fs::read(&path).unwrap(), b"what was stored", "{attack}");
    }
    let mut call = nobody(&all, Service::Prune);
    call.delete(blob);
    assert_eq!(call.finish(1), [ReceiptStatus::Deleted]);
}

#[test]
fn a_read_only_server_is_read_and_refuses_the_rest() {
    if !is_there("a_read_only_server_is_read_and_refuses_the_rest") {
        return;
    }
    let (ssh, store) = (Ssh::server("-R"), store());
    let push = ssh.ask(Service::Push, store.path(), Store::Existing).1;
    assert_eq!(push, OpenStatus::Permission);
    let mut call = ssh.open(Service::Fetch, store.path());
    let read = call.get(name(0, 0), 4, 100, 0);
    assert_eq!(read, (b"first blob".to_vec(), BytesStatus::Short));
    let mut call = ssh.open(Service::Prune, store.path());
    call.delete(name(0, 0));
    assert_eq!(call.finish(0), [ReceiptStatus::Refused]);
    assert_eq!(blobs(store.path()).len(), 1);
}

#[test]
fn ranges_of_a_blob_come_exactly_in_any_order() {
    if !is_there("ranges_of_a_blob_come_exactly_in_any_order") {
        return;
    }
    let (ssh, store) = (Ssh::server(""), store());
    let bytes = noise(5 * MIB + 4321, 3);
    plant(store.path(), &name(9, 9), &bytes);
    let mut call = ssh.open(Service::Fetch, store.path());
    for (offset, length) in [
        (0, bytes.len()),
        (0, 1),
        (32 * 1024 - 1, 2),
        (1, MIB),
        (MIB + 7, 3 * MIB),
        (bytes.len() - 1, 1),
        (5, 0),
    ] {
        let expected = bytes[offset..offset + length].to_vec();
        let got = call.get(name(9, 9), offset as u64, length as u32, 0);
        assert!(got == (expected, BytesStatus::Whole), "{offset} {length}");
    }
    let beyond = call.get(name(9, 9), bytes.len() as u64 + 5, 10, 0);
    assert_eq!(beyond, (vec![], BytesStatus::Short));
    assert_eq!(
        call.stat(name(9, 9)),
        (StatStatus::Present, bytes.len() as u64)
    );
    assert_eq!(call.stat(name(9, 8)), (StatStatus::Absent, 0));
    assert_eq!(call.stat(name(8, 8)), (StatStatus::Absent, 0));
    assert_eq!(call.get(name(9, 8), 0, 1, 0).1, BytesStatus::Absent);
    assert_eq!(call.get(name(9, 9), 0, 1, 1).1, BytesStatus::NoVersion);
}

#[test]
fn foreign_things_over_sftp_are_neither_opened_followed_nor_listed() {
    if !is_there("foreign_things_over_sftp_are_neither_opened_followed_nor_listed") {
        return;
    }
    let (ssh, store) = (Ssh::server(""), store());
    let elsewhere = tempfile::tempdir().unwrap();
    plant(elsewhere.path(), &name(2, 2), b"elsewhere");
    symlink(elsewhere.path().join("02"), store.path().join("02")).unwrap();
    run(Command::new("mkfifo").arg(store.path().join("03")));
    for (first, what) in [(4_u8, "fifo"), (5, "folder"), (6, "link")] {
        let path = path_of(store.path(), &name(first, 1));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match what {
            "fifo" => run(Command::new("mkfifo").arg(&path)),
            "folder" => fs::create_dir(&path).unwrap(),
            _ => symlink("/etc/passwd", &path).unwrap(),
        }
    }
    fs::write(store.path().join("04/note"), "mine").unwrap();
    let mut call = ssh.open(Service::Fetch, store.path());
    assert_eq!(listed(&mut call), ([name(0, 0)].to_vec(), true));
    for first in [4, 5, 6] {
        assert_eq!(call.stat(name(first, 1)).0, StatStatus::Foreign, "{first}");
        assert_eq!(call.get(name(first, 1), 0, 9, 0).1, BytesStatus::Foreign);
    }
    for first in [2, 3] {
        assert_eq!(call.stat(name(first, 2)).0, StatStatus::Absent, "{first}");
    }
    let mut call = ssh.open(Service::Push, store.path());
    for (first, rest) in [(2, 9), (3, 9), (4, 1), (5, 1), (6, 1)] {
        call.put(name(first, rest), b"x");
    }
    assert_eq!(call.finish(0), [ReceiptStatus::ExistsDifferent; 5]);
    let mut call = ssh.open(Service::Prune, store.path());
    call.delete(name(5, 1));
    call.delete(name(2, 2));
    assert_eq!(
        call.finish(1),
        [ReceiptStatus::Refused, ReceiptStatus::Absent]
    );
    assert!(path_of(elsewhere.path(), &name(2, 2)).exists());
}

/// The names of a listing, sorted, and whether it is complete.
fn listed(call: &mut Call) -> (Vec<BlobName>, bool) {
    let request = call.next_number();
    call.send(&ToHelper::List(wyng_wire::List {
        request,
        page: None,
    }));
    let mut names = Vec::new();
    loop {
        match call.read().0 {
            ToDaemon::Entry(entry) => names.push(entry.name),
            ToDaemon::ListEnd(end) => {
                assert_eq!(end.count, names.len() as u64);
                names.sort();
                return (names, end.status == wyng_wire::ListStatus::Complete);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_hundred_thousand_names_are_listed_once_each() {
    if !is_there("a_hundred_thousand_names_are_listed_once_each") {
        return;
    }
    let (ssh, store) = (Ssh::server(""), store());
    let mut expected = vec![name(0, 0)];
    for number in 1..=100_000_u32 {
        let [first, second, third, _] = number.wrapping_mul(0x9e37_79b9).to_be_bytes();
        let mut blob = name(first, second);
        blob.0[2] = third;
        blob.0[28..].copy_from_slice(&number.to_le_bytes());
        expected.push(blob);
    }
    for first in 0..=u8::MAX {
        fs::create_dir_all(store.path().join(format!("{first:02x}"))).unwrap();
    }
    for blob in &expected[1..] {
        fs::write(path_of(store.path(), blob), b"").unwrap();
    }
    expected.sort();
    let mut call = ssh.open(Service::Fetch, store.path());
    let (names, complete) = listed(&mut call);
    assert!(names == expected, "{} names", names.len());
    assert!(complete);
}

#[test]
fn a_shard_that_cannot_be_read_makes_the_listing_incomplete() {
    let test = "a_shard_that_cannot_be_read_makes_the_listing_incomplete";
    if !is_there(test) || !require(Component::Root, test) {
        return;
    }
    let (ssh, store) = (Ssh::server(""), store());
    plant(store.path(), &name(1, 1), b"x");
    let mode = |part: &str, mode| {
        fs::set_permissions(store.path().join(part), fs::Permissions::from_mode(mode)).unwrap();
    };
    mode("", 0o755);
    mode("00", 0o755);
    mode("01", 0o700);
    let mut command = ssh.command(Service::Fetch);
    command.uid(NOBODY).gid(NOBODY);
    let mut call = Call::start_command(command, Service::Fetch);
    let status = call.ask_to_open(&address(store.path()), Store::Existing);
    assert_eq!(status, OpenStatus::Ok);
    assert_eq!(listed(&mut call), ([name(0, 0)].to_vec(), false));
}

#[test]
fn a_full_server_answers_full_and_keeps_the_reserve() {
    let test = "a_full_server_answers_full_and_keeps_the_reserve";
    if !is_there(test) || !require(Component::Root, test) {
        return;
    }
    let disk = SmallDisk::mount(80);
    let ssh = Ssh::server("");
    plant(disk.path(), &name(0, 0), b"the first blob");
    let mut call = ssh.open(Service::Push, disk.path());
    call.put(name(1, 1), &noise(30 * MIB, 1));
    call.put_with(name(2, 2), &noise(30 * MIB, 2), Reserve::Usable);
    call.put_with(name(3, 3), &noise(60 * MIB, 3), Reserve::Usable);
    call.put_with(name(4, 4), b"small", Reserve::Usable);
    let expected = [
        ReceiptStatus::Full,
        ReceiptStatus::Stored,
        ReceiptStatus::Full,
        ReceiptStatus::Stored,
    ];
    let said = call.said();
    assert_eq!(call.finish(2), expected, "{said}");
    assert_eq!(files(disk.path()).len(), 3, "nothing unfinished is left");
}

#[test]
fn a_new_store_needs_room_on_the_server() {
    let test = "a_new_store_needs_room_on_the_server";
    if !is_there(test) || !require(Component::Root, test) {
        return;
    }
    let disk = SmallDisk::mount(40);
    let (call, status) = Ssh::server("").ask(Service::Push, &disk.join("new"), Store::New);
    drop(call);
    assert_eq!(status, OpenStatus::Full);
    assert!(!disk.join("new").exists());
    disk.remount_read_only();
    plant_is_refused(&disk.join("new"));
}

fn plant_is_refused(folder: &Path) {
    let (_, status) = Ssh::server("").ask(Service::Push, folder, Store::New);
    assert_ne!(status, OpenStatus::Ok);
}

#[test]
fn what_a_killed_upload_left_is_no_blob_and_goes_after_a_day() {
    if !is_there("what_a_killed_upload_left_is_no_blob_and_goes_after_a_day") {
        return;
    }
    let (ssh, store) = (Ssh::server(""), store());
    let mut call = ssh.open(Service::Push, store.path());
    call.announce(name(1, 1), MIB as u32, Reserve::Kept);
    call.send_raw(&noise(MIB / 2, 1));
    let incoming = store.path().join(".incoming");
    until("it is on its way", || files(&incoming).len() == 1);
    run(Command::new("kill")
        .arg("-KILL")
        .arg(call.child.id().to_string()));
    assert_eq!(call.ended(), None);
    until("the server has ended", || {
        !servers_below(&incoming, &store.path().join("00"))
    });
    assert_eq!(files(&incoming).len(), 1, "it is left");

    let mut call = ssh.open(Service::Push, store.path());
    call.put(name(1, 1), b"again");
    assert_eq!(call.finish(1), [ReceiptStatus::Stored]);
    let left = incoming.join(&files(&incoming)[0]);
    assert_eq!(blobs(store.path()).len(), 2);
    run(Command::new("touch").args(["-d", "2 days ago"]).arg(&left));
    fs::write(incoming.join("note"), "mine").unwrap();
    run(Command::new("touch")
        .args(["-d", "2 days ago"])
        .arg(incoming.join("note")));
    let swept = ssh.open(Service::Push, store.path()).finish(0);
    assert_eq!(swept, []);
    assert_eq!(files(&incoming), ["note"], "the foreign file stays");
}

/// Whether a process still has a file open below one of these folders.
fn servers_below(incoming: &Path, shard: &Path) -> bool {
    let is_below = |descriptor: PathBuf| {
        fs::read_link(descriptor).is_ok_and(|path| path.starts_with(incoming) || path == shard)
    };
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|process| fs::read_dir(process.path().join("fd")).ok())
        .any(|descriptors| descriptors.flatten().any(|entry| is_below(entry.path())))
}

/// The shell words that pass so many bytes on, each at once.
fn cut(bytes: usize) -> String {
    format!("stdbuf -o0 head -c {bytes}")
}

#[test]
fn a_connection_that_ends_within_a_blob_ends_the_helper_and_takes_nothing_back() {
    if !is_there("a_connection_that_ends_within_a_blob_ends_the_helper_and_takes_nothing_back") {
        return;
    }
    let server = sftp_server();
    for cut_bytes in [100_000, MIB + 200_000, 2 * MIB + 5_000] {
        // What the helper sends is cut, and what the server answers still comes.
        let ssh = Ssh::script(&format!("{} | {}", cut(cut_bytes), server.display()));
        let store = store();
        let mut call = ssh.open(Service::Push, store.path());
        let blob = noise(MIB, 1);
        for number in 1..=3 {
            call.try_put(name(number, 1), &blob);
        }
        let mut stored = Vec::new();
        while let Some((ToDaemon::Receipt(receipt), Some(numbers))) = call.try_read() {
            assert_eq!(receipt.status, ReceiptStatus::Stored);
            stored.extend(numbers);
        }
        assert_eq!(call.ended(), Some(17), "{}", call.said());
        assert!(stored.len() <= cut_bytes / MIB, "{stored:?}");
        for number in stored {
            let path = path_of(store.path(), &name(number as u8, 1));
            assert!(fs::read(path).unwrap() == blob, "{number} was acknowledged");
        }
        let mut again = Ssh::server("").open(Service::Push, store.path());
        for number in 1..=3 {
            again.put(name(number, 1), &blob);
        }
        let all = again.finish(3);
        assert!(
            all.iter()
                .all(|status| matches!(status, ReceiptStatus::Stored | ReceiptStatus::ExistsSame)),
            "{all:?}"
        );
    }
}

#[test]
fn a_connection_that_ends_within_a_listing_or_a_blob_ends_the_fetch() {
    if !is_there("a_connection_that_ends_within_a_listing_or_a_blob_ends_the_fetch") {
        return;
    }
    let ssh = Ssh::script(&format!(
        "exec {} < <({})",
        cut(500_000),
        sftp_server().display()
    ));
    let store = store();
    plant(store.path(), &name(1, 1), &noise(3 * MIB, 1));
    let mut call = ssh.open(Service::Fetch, store.path());
    let request = call.next_number();
    call.send(&ToHelper::Get(wyng_wire::Get {
        request,
        name: name(1, 1),
        offset_bytes: 0,
        length_bytes: 3 * MIB as u32,
        version: 0,
        version_id: None,
        signed: None,
    }));
    assert_eq!(call.ended(), Some(17), "{}", call.said());
}

#[test]
fn what_is_no_sftp_is_unreachable_and_its_words_are_escaped_and_bounded() {
    if !is_there("what_is_no_sftp_is_unreachable_and_its_words_are_escaped_and_bounded") {
        return;
    }
    let store = store();
    for (script, status, words) in [
        (
            "echo Welcome to this machine; sleep 60",
            OpenStatus::Unreachable,
            "version 3",
        ),
        (
            "echo 'Host key verification failed.' >&2; exit 255",
            OpenStatus::Unreachable,
            "Host key",
        ),
        (
            "echo 'me@nas: Permission denied (publickey).' >&2; exit 255",
            OpenStatus::Permission,
            "Permission denied",
        ),
        ("exit 0", OpenStatus::Unreachable, "ssh ended"),
        (
            "printf '\\033]0;x\\007\\n' >&2; exit 255",
            OpenStatus::Unreachable,
            "\\x1b]0;x\\x07",
        ),
    ] {
        let ssh = Ssh::script(script);
        let (mut call, opened) = ssh.ask(Service::Fetch, store.path(), Store::Existing);
        let said = call.said();
        assert_eq!(opened, status, "{script}");
        assert!(said.contains(words), "{script}: {said}");
        assert!(!said.contains('\u{1b}'), "{script}");
    }
    let talks = format!(
        "yes click here | head -c 3000000 >&2; exec {}",
        sftp_server().display()
    );
    let ssh = Ssh::script(&talks);
    let mut call = ssh.open(Service::Fetch, store.path());
    assert_eq!(call.get(name(0, 0), 0, 3, 0).0, b"the");
    assert!(call.said().len() < 64 * 1024, "{}", call.said().len());
}

#[test]
fn an_address_with_an_option_or_a_word_for_a_shell_is_refused() {
    let ssh = Ssh::script("exit 0");
    for address in [
        "sftp://-oProxyCommand=x@nas/x",
        "sftp://me@-nas/x",
        "sftp://me%20-x@nas/x",
        "sftp://me%3bid@nas/x",
        "sftp://me@nas;id/x",
        "sftp://me@nas",
        "sftp://me:secret@nas/x",
        "sftp://me@nas/x/../y",
    ] {
        let mut call = Call::start_command(ssh.command(Service::Push), Service::Push);
        let status = call.ask_to_open(address.as_bytes(), Store::Existing);
        assert_eq!(status, OpenStatus::BadDestination, "{address}");
    }
}

#[test]
fn the_helper_opens_starts_and_connects_nothing_once_ssh_is_connected() {
    let test = "the_helper_opens_starts_and_connects_nothing_once_ssh_is_connected";
    if !is_there(test) || !require(Component::Strace, test) || !require(Component::Root, test) {
        return;
    }
    for service in [Service::Push, Service::Prune, Service::Fetch] {
        let (ssh, store) = (Ssh::server(""), store());
        let trace = store.path().join("trace");
        let helper = ssh.command(service);
        let mut traced = Command::new("strace");
        traced.args(["-f", "-qq", "-o"]).arg(&trace);
        traced.arg(helper.get_program()).args(helper.get_args());
        for (variable, value) in helper.get_envs() {
            traced.env(variable, value.unwrap());
        }
        let mut call = Call::start_command(traced, service);
        let status = call.ask_to_open(&address(store.path()), Store::Existing);
        assert_eq!(status, OpenStatus::Ok, "{}", call.said());
        match service {
            Service::Push => call.put(name(1, 1), &noise(MIB, 1)),
            Service::Prune => call.delete(name(0, 0)),
            Service::Fetch => assert_eq!(call.get(name(0, 0), 0, 3, 0).0, b"the"),
        }
        if service == Service::Fetch {
            assert_eq!(call.close(), Some(0));
        } else {
            call.finish(1);
        }
        let trace = fs::read_to_string(&trace).unwrap();
        // Each line begins with the number of its thread. The server's processes are those that
        // started a program; the helper's are the first one, and those that it started later.
        let process = |line: &str| line.split_whitespace().next().unwrap().to_owned();
        let first = process(trace.lines().next().unwrap());
        let others: Vec<String> = trace
            .lines()
            .filter(|line| line.contains("execve(") && process(line) != first)
            .map(process)
            .collect();
        assert!(!others.is_empty(), "ssh was started");
        let filter = "PR_SET_SECCOMP";
        let is_filter = |line: &&str| line.contains(filter) || line.contains("seccomp(");
        let begun = trace.lines().position(|line| is_filter(&line)).unwrap();
        let behind: Vec<&str> = trace
            .lines()
            .skip(begun)
            .filter(|line| !others.contains(&process(line)))
            .collect();
        assert!(behind.len() > 10, "the helper worked behind its filter");
        let calls = [
            "socket(", "connect(", "execve(", "open(", "openat(", "openat2(", "bind(",
        ];
        let found: Vec<&&str> = behind
            .iter()
            .filter(|line| calls.iter().any(|call| line.contains(call)))
            // glibc asks for these in vain, the last two to count the processors for many threads:
            // `tests/tests/jail.rs` shows that it gets none.
            .filter(|line| !line.contains("/proc/sys/vm/overcommit_memory"))
            .filter(|line| !line.contains("/sys/devices/system/cpu/online"))
            .filter(|line| !line.contains("/proc/stat"))
            .collect();
        assert!(found.is_empty(), "{service:?}: {found:?}");
    }
}
