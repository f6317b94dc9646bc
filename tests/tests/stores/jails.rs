// SPDX-License-Identifier: GPL-3.0-or-later
//! The jail of stores behind the network is entered before the first socket is made, and that of
//! the folder store allows none.

use std::process::Command;

use wyng_tests::require::{Component, require};
use wyng_tests::stores::{Kind, Server};
use wyng_wire::{OpenStatus, Service};

use super::call::{Call, Store, name};

/// The helper under strace, and where its calls are written.
fn traced(service: Service, trace: &std::path::Path) -> Call {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-s", "200", "-o"]).arg(trace);
    strace
        .arg(wyng_tests::programs::program("wyng-transport-vm"))
        .arg(service.verb());
    Call::start_command(strace, service)
}

/// The names and arguments of the calls, in their order.
fn calls(trace: &std::path::Path) -> Vec<String> {
    let text = std::fs::read_to_string(trace).unwrap();
    let lines = text.lines().map(|line| {
        let (_, call) = line.split_once(' ').unwrap();
        call.trim_start().to_owned()
    });
    lines.collect()
}

/// Where a call is that begins with one of these words and contains this text.
fn position(calls: &[String], words: &[&str], text: &str) -> Option<usize> {
    calls
        .iter()
        .position(|call| words.iter().any(|word| call.starts_with(word)) && call.contains(text))
}

#[test]
fn no_socket_is_made_and_nothing_started_before_the_filter() {
    let test = "no_socket_is_made_and_nothing_started_before_the_filter";
    // The helper forbids dumps, so only root sees what its calls read.
    if !require(Component::Root, test) || !require(Component::Strace, test) {
        return;
    }
    for kind in [Kind::S3, Kind::Wsgidav] {
        let Some(server) = Server::start(kind, test) else {
            continue;
        };
        server.plant("store", &name(0, 0), b"x");
        for service in [Service::Push, Service::Prune, Service::Fetch] {
            let folder = tempfile::tempdir().unwrap();
            let trace = folder.path().join("trace");
            let mut call = traced(service, &trace);
            let status = call.ask_to_open(&server.destination("store"), Store::Existing);
            assert_eq!(status, OpenStatus::Ok, "{}", call.said());
            call.close();
            let calls = calls(&trace);
            let opened = position(&calls, &["read("], "127.0.0.1").unwrap();
            let filter = position(&calls, &["seccomp("], "SECCOMP_SET_MODE_FILTER").unwrap();
            let second = calls[filter + 1..]
                .iter()
                .position(|call| call.starts_with("seccomp("))
                .unwrap();
            let filter = filter + 1 + second;
            let socket = position(&calls, &["socket(", "connect(", "sendto("], "").unwrap();
            let thread = position(&calls, &["clone", "fork", "vfork"], "").unwrap();
            let ports = position(&calls, &["landlock_restrict_self"], "");
            assert!(
                opened < filter && filter < socket,
                "{kind:?} {service:?}: {opened} {filter} {socket}"
            );
            let capabilities = position(&calls, &["capset("], "permitted=0").unwrap();
            assert!(opened < capabilities && capabilities < filter);
            assert!(filter < thread, "{kind:?} {service:?}");
            assert!(
                ports.is_none_or(|ports| ports < socket),
                "{kind:?} {service:?}"
            );
            // Files are opened before; behind the filter an attempt fails.
            for late in &calls[filter + 1..] {
                let is_open = late.starts_with("openat(") && !late.contains("unfinished");
                assert!(!is_open || late.contains("EACCES"), "{late}");
                assert!(!late.starts_with("execve("), "{late}");
            }
        }
    }
}

#[test]
fn a_root_helper_becomes_an_ordinary_user_before_it_connects() {
    let test = "a_root_helper_becomes_an_ordinary_user_before_it_connects";
    if !require(Component::Root, test) {
        return;
    }
    let Some(server) = Server::start(Kind::S3, test) else {
        return;
    };
    server.plant("store", &name(0, 0), b"x");
    let mut call = Call::start(Service::Fetch);
    let status = call.ask_to_open(&server.destination("store"), Store::Existing);
    assert_eq!(status, OpenStatus::Ok);
    let status = std::fs::read_to_string(format!("/proc/{}/status", call.child.id())).unwrap();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().trim().to_owned()
    };
    assert!(
        field("Uid:").split_whitespace().all(|uid| uid != "0"),
        "{status}"
    );
    assert!(
        field("Gid:").split_whitespace().all(|gid| gid != "0"),
        "{status}"
    );
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
        assert_eq!(field(set), "0000000000000000", "{set}");
    }
    assert_eq!(field("NoNewPrivs:"), "1");
    assert_eq!(field("Seccomp:"), "2");
    assert_eq!(call.close(), Some(0));
}

#[test]
fn a_folder_store_makes_no_socket() {
    if !require(Component::Strace, "a_folder_store_makes_no_socket") {
        return;
    }
    let store = super::call::store();
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace");
    let mut call = traced(Service::Fetch, &trace);
    let address = super::call::address(store.path());
    assert_eq!(call.ask_to_open(&address, Store::Existing), OpenStatus::Ok);
    assert_eq!(call.close(), Some(0));
    let calls = calls(&trace);
    assert!(!calls.is_empty());
    assert_eq!(position(&calls, &["socket(", "connect("], ""), None);
}
