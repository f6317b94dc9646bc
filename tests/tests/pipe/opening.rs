// SPDX-License-Identifier: GPL-3.0-or-later
//! HELLO and OPEN: the calls and stores that are accepted.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;

use wyng_wire::{OpenStatus, ReceiptStatus, Service};

use super::call::{Call, Store, address, command, files, name, plant, store, traced};
use wyng_tests::disk::SmallDisk;
use wyng_tests::require::{Component, require};

/// The answer to OPEN, and the exit status after a refusal.
fn opened(service: Service, folder: &Path, store: Store) -> OpenStatus {
    let mut call = Call::start(service);
    let status = call.ask_to_open(&address(folder), store);
    if status != OpenStatus::Ok {
        assert_eq!(call.ended(), Some(13));
    }
    status
}

#[test]
fn a_missing_folder_is_missing_and_is_not_made() {
    let parent = tempfile::tempdir().unwrap();
    for service in [Service::Push, Service::Prune, Service::Fetch] {
        assert_eq!(
            opened(service, &parent.path().join("new"), Store::Existing),
            OpenStatus::Missing
        );
    }
    assert!(!parent.path().join("new").exists());
}

#[test]
fn an_empty_folder_is_no_store_for_a_disk_may_not_be_mounted() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(
        opened(Service::Push, folder.path(), Store::Existing),
        OpenStatus::Empty
    );
    fs::create_dir(folder.path().join("lost+found")).unwrap();
    assert_eq!(
        opened(Service::Push, folder.path(), Store::Existing),
        OpenStatus::Empty
    );
    fs::write(folder.path().join("README"), "not a blob").unwrap();
    assert_eq!(
        opened(Service::Fetch, folder.path(), Store::Existing),
        OpenStatus::Empty
    );
}

#[test]
fn create_makes_the_last_folder_and_no_other() {
    let parent = tempfile::tempdir().unwrap();
    assert_eq!(
        opened(Service::Push, &parent.path().join("a/b"), Store::New),
        OpenStatus::Missing
    );
    assert!(!parent.path().join("a").exists());

    let mut call = Call::start(Service::Push);
    assert_eq!(
        call.ask_to_open(&address(&parent.path().join("new")), Store::New),
        OpenStatus::Ok
    );
    call.put(name(1, 1), b"a");
    call.put(name(1, 1), b"a");
    assert_eq!(
        call.finish(2),
        [ReceiptStatus::Stored, ReceiptStatus::ExistsSame]
    );
}

#[test]
fn create_takes_an_empty_folder_and_refuses_one_that_holds_anything() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("lost+found")).unwrap();
    assert_eq!(
        opened(Service::Push, folder.path(), Store::New),
        OpenStatus::Ok
    );
    fs::write(folder.path().join("note"), "mine").unwrap();
    assert_eq!(
        opened(Service::Push, folder.path(), Store::New),
        OpenStatus::NotEmpty
    );
    assert_eq!(
        opened(Service::Push, store().path(), Store::New),
        OpenStatus::NotEmpty
    );
}

#[test]
fn a_store_that_cannot_keep_a_second_blob_from_a_name_is_not_made_and_leaves_nothing() {
    let test = "a_store_that_cannot_keep_a_second_blob_from_a_name_is_not_made_and_leaves_nothing";
    if !require(Component::Strace, test) || !require(Component::Root, test) {
        return;
    }
    let parent = tempfile::tempdir().unwrap();
    fs::create_dir(parent.path().join("there")).unwrap();
    for folder in ["new", "there"] {
        let mut call = Call::start_command(
            traced("linkat:error=EPERM", None, Service::Push),
            Service::Push,
        );
        assert_eq!(
            call.ask_to_open(&address(&parent.path().join(folder)), Store::New),
            OpenStatus::Unsuitable,
            "{folder}"
        );
        assert_eq!(call.ended(), Some(13));
    }
    assert!(!parent.path().join("new").exists());
    assert_eq!(
        fs::read_dir(parent.path().join("there")).unwrap().count(),
        0
    );
}

#[test]
fn a_store_is_not_made_without_room_for_a_first_backup() {
    if !require(
        Component::Root,
        "a_store_is_not_made_without_room_for_a_first_backup",
    ) {
        return;
    }
    for (size_mib, expected) in [(67, OpenStatus::Full), (69, OpenStatus::Ok)] {
        let disk = SmallDisk::mount(size_mib);
        assert_eq!(
            opened(Service::Push, &disk.join("new"), Store::New),
            expected
        );
        assert_eq!(disk.join("new").exists(), expected == OpenStatus::Ok);
    }
}

#[test]
fn only_push_may_create() {
    let parent = tempfile::tempdir().unwrap();
    for service in [Service::Prune, Service::Fetch] {
        let mut call = Call::start(service);
        call.send(&wyng_wire::ToHelper::Open(wyng_wire::Open {
            create: true,
            tries: false,
            looks_at_versions: false,
            signed: None,
            lock_until_day: 0,
            destination: &address(&parent.path().join("new")),
        }));
        assert_eq!(call.ended(), Some(11));
    }
    assert!(!parent.path().join("new").exists());
}

#[test]
fn a_folder_that_cannot_lock_is_not_opened_for_blobs_that_are_to_be_locked() {
    let parent = tempfile::tempdir().unwrap();
    let folder = address(&parent.path().join("new"));
    let mut call = Call::start(Service::Push);
    let status = call.ask_to_open_locked(&folder, Store::New, 20_000);
    assert_eq!(status, OpenStatus::BadDestination);
    assert!(!parent.path().join("new").exists());
}

#[test]
fn what_is_no_folder_is_told_so() {
    let parent = tempfile::tempdir().unwrap();
    fs::write(parent.path().join("file"), "").unwrap();
    assert_eq!(
        opened(Service::Push, &parent.path().join("file"), Store::Existing),
        OpenStatus::NotAFolder
    );
    assert_eq!(
        opened(Service::Push, &parent.path().join("file"), Store::New),
        OpenStatus::NotAFolder
    );
}

#[test]
fn the_owner_may_reach_the_store_through_a_link() {
    let (store, parent) = (store(), tempfile::tempdir().unwrap());
    symlink(store.path(), parent.path().join("link")).unwrap();
    assert_eq!(
        opened(Service::Push, &parent.path().join("link"), Store::Existing),
        OpenStatus::Ok
    );
}

#[test]
fn an_address_that_is_unknown_relative_or_climbs_is_refused() {
    let climbing = [address(store().path()), b"/../x".to_vec()].concat();
    for address in [
        &b"ftp://host/x"[..],
        b"dir:relative",
        b"/tmp",
        b"dir:",
        &climbing,
    ] {
        let mut call = Call::start(Service::Push);
        assert_eq!(
            call.ask_to_open(address, Store::Existing),
            OpenStatus::BadDestination
        );
        assert_eq!(call.ended(), Some(13));
    }
}

#[test]
fn nothing_of_an_address_is_logged() {
    let parent = tempfile::tempdir().unwrap();
    for address in [
        address(&parent.path().join("hush-hush")),
        b"s3://hush-hush@host/".to_vec(),
    ] {
        let mut call = Call::start(Service::Push);
        assert_ne!(call.ask_to_open(&address, Store::Existing), OpenStatus::Ok);
        call.ended();
        let said = call.said();
        assert!(!said.is_empty() && !said.contains("hush"), "{said}");
    }
}

#[test]
fn another_verb_set_is_refused() {
    let mut call = Call::start_as(Service::Push, Service::Prune);
    assert_eq!(call.ended(), Some(11));
    assert!(
        call.said()
            .contains("started for push, but called for prune")
    );
}

#[test]
fn an_unknown_argument_or_none_is_refused_before_the_first_byte() {
    for arguments in [&[][..], &["pull"], &["push", "push"], &["--help"]] {
        let ended = std::process::Command::new(wyng_tests::programs::program("wyng-transport-vm"))
            .args(arguments)
            .output()
            .unwrap();
        assert_eq!(ended.status.code(), Some(10), "{arguments:?}");
        assert!(ended.stdout.is_empty(), "{arguments:?}");
    }
}

#[test]
fn a_read_only_disk_can_be_read_and_not_written() {
    if !require(
        Component::Root,
        "a_read_only_disk_can_be_read_and_not_written",
    ) {
        return;
    }
    let disk = SmallDisk::mount(4);
    plant(disk.path(), &name(0, 0), b"");
    disk.remount_read_only();
    assert_eq!(
        opened(Service::Push, disk.path(), Store::Existing),
        OpenStatus::ReadOnly
    );
    assert_eq!(
        opened(Service::Prune, disk.path(), Store::Existing),
        OpenStatus::ReadOnly
    );
    assert_eq!(
        opened(Service::Fetch, disk.path(), Store::Existing),
        OpenStatus::Ok
    );
    assert_eq!(
        opened(Service::Push, &disk.join("new"), Store::New),
        OpenStatus::ReadOnly
    );
}

#[test]
fn a_folder_without_the_right_to_write_is_told_so() {
    if !require(
        Component::Root,
        "a_folder_without_the_right_to_write_is_told_so",
    ) {
        return;
    }
    let disk = SmallDisk::mount(128);
    plant(disk.path(), &name(0, 0), b"");
    for (mode, service, expected) in [
        (0o755, Service::Push, OpenStatus::Permission),
        (0o755, Service::Prune, OpenStatus::Permission),
        (0o755, Service::Fetch, OpenStatus::Ok),
        (0o744, Service::Fetch, OpenStatus::Permission),
        (0o700, Service::Fetch, OpenStatus::Permission),
    ] {
        fs::set_permissions(disk.path(), fs::Permissions::from_mode(mode)).unwrap();
        let mut call = Call::start_command(nobody(service), service);
        assert_eq!(
            call.ask_to_open(&address(disk.path()), Store::Existing),
            expected,
            "{mode:o} {service:?}"
        );
    }
}

#[test]
fn an_ordinary_user_stores_deletes_and_reads() {
    if !require(Component::Root, "an_ordinary_user_stores_deletes_and_reads") {
        return;
    }
    let disk = SmallDisk::mount(128);
    let folder = address(&disk.join("new"));
    let mut push = Call::start_command(nobody(Service::Push), Service::Push);
    assert_eq!(push.ask_to_open(&folder, Store::New), OpenStatus::Ok);
    push.put(name(1, 1), b"kept");
    push.put(name(2, 2), b"deleted");
    assert_eq!(push.finish(2), [ReceiptStatus::Stored; 2]);

    let mut prune = Call::start_command(nobody(Service::Prune), Service::Prune);
    assert_eq!(prune.ask_to_open(&folder, Store::Existing), OpenStatus::Ok);
    prune.delete(name(2, 2));
    assert_eq!(prune.finish(1), [ReceiptStatus::Deleted]);

    let mut fetch = Call::start_command(nobody(Service::Fetch), Service::Fetch);
    assert_eq!(fetch.ask_to_open(&folder, Store::Existing), OpenStatus::Ok);
    assert_eq!(fetch.get(name(1, 1), 0, 4, 0).0, b"kept");
    assert_eq!(files(&disk.join("new")).len(), 1);
}

#[test]
fn a_blob_that_may_not_be_read_exists_unknown() {
    if !require(
        Component::Root,
        "a_blob_that_may_not_be_read_exists_unknown",
    ) {
        return;
    }
    let disk = SmallDisk::mount(128);
    plant(disk.path(), &name(1, 1), b"same");
    fs::set_permissions(disk.join("01"), fs::Permissions::from_mode(0o777)).unwrap();
    fs::set_permissions(
        super::call::path_of(disk.path(), &name(1, 1)),
        fs::Permissions::from_mode(0o600),
    )
    .unwrap();
    let mut call = Call::start_command(nobody(Service::Push), Service::Push);
    assert_eq!(
        call.ask_to_open(&address(disk.path()), Store::Existing),
        OpenStatus::Ok
    );
    call.put(name(1, 1), b"same");
    assert_eq!(call.finish(0), [ReceiptStatus::ExistsUnknown]);
}

/// The helper as an ordinary user, from a copy that this user can execute.
fn nobody(service: Service) -> std::process::Command {
    let mut command = command(service);
    command.uid(65534).gid(65534);
    command
}

#[test]
fn an_open_helper_has_given_up_what_it_can() {
    let store = store();
    for service in [Service::Push, Service::Prune, Service::Fetch] {
        let call = Call::open(service, store.path());
        let status = fs::read_to_string(format!("/proc/{}/status", call.child.id())).unwrap();
        assert!(status.contains("NoNewPrivs:\t1"), "{status}");
        if let Ok(limits) = fs::read_to_string(format!("/proc/{}/limits", call.child.id())) {
            let core = limits
                .lines()
                .find(|line| line.starts_with("Max core file size"))
                .unwrap();
            assert_eq!(
                core.split_whitespace().skip(4).collect::<Vec<_>>(),
                ["0", "0", "bytes"]
            );
        }
    }
}
