// SPDX-License-Identifier: GPL-3.0-or-later
//! Faults between the helper and the server. After each, nothing that has a receipt is lost,
//! nothing is overwritten, and the receipts say what the server's disk has.

use wyng_tests::sandbox::noise;
use wyng_tests::stores::{Action, Kind, Proxy, Seen, Server};
use wyng_wire::{BytesStatus, OpenStatus, ReceiptStatus, Service};

use super::blobs::with_each;
use super::call::{Call, Store, name};

fn open_through(proxy: &Proxy, service: Service, server: &Server) -> Call {
    let mut call = Call::start(service);
    let address = server.destination_through(proxy.port(), "store");
    let status = call.ask_to_open(&address, Store::Existing);
    assert_eq!(status, OpenStatus::Ok, "{}", call.said());
    call
}

/// The action for the first request that `is` it; every other one passes.
fn once(
    is: impl Fn(&Seen) -> bool + Send + Sync + 'static,
    action: Action,
) -> impl Fn(&Seen) -> Action + Send + Sync + 'static {
    let done = std::sync::atomic::AtomicBool::new(false);
    move |seen| {
        if is(seen) && !done.swap(true, std::sync::atomic::Ordering::SeqCst) {
            action.clone()
        } else {
            Action::Pass
        }
    }
}

/// The methods that a PUT of a blob uses.
fn methods(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::S3 | Kind::Moto => &["PUT"],
        Kind::Wsgidav | Kind::Rclone => &["PUT", "MKCOL", "MOVE"],
    }
}

/// Puts a blob through faults; its receipt, and the helper's journal.
fn put_through(proxy: &Proxy, server: &Server, body: &[u8]) -> (ReceiptStatus, String) {
    let mut call = open_through(proxy, Service::Push, server);
    call.put(name(1, 1), body);
    let receipts = call.receipts();
    (receipts[0], call.said())
}

#[test]
fn a_put_survives_a_connection_that_is_cut_at_any_byte_of_a_request_or_an_answer() {
    let test = "a_put_survives_a_connection_that_is_cut_at_any_byte_of_a_request_or_an_answer";
    with_each(test, |server, kind| {
        let body = noise(50_000, 1);
        let proxy = Proxy::start(server.port(), |_| Action::Pass);
        for method in methods(kind) {
            for at in [0, 1, 20, 300, 700, 10_000, 50_000] {
                for action in [Action::CutRequest(at), Action::CutAnswer(at)] {
                    let path = server.path_of("store", &name(1, 1));
                    let _ = std::fs::remove_file(&path);
                    if *method == "MKCOL" {
                        let _ = std::fs::remove_dir(path.parent().unwrap());
                    }
                    proxy.set_rule(once(|seen| seen.is(method), action.clone()));
                    let (receipt, said) = put_through(&proxy, server, &body);
                    // After a lost answer the blob is there already.
                    let is_right =
                        matches!(receipt, ReceiptStatus::Stored | ReceiptStatus::ExistsSame);
                    assert!(
                        is_right,
                        "{kind:?} {method} {action:?}: {receipt:?}\n{said}"
                    );
                    let stored = server.blob("store", &name(1, 1)).unwrap();
                    assert!(
                        stored == body,
                        "{kind:?} {method} {action:?}: {receipt:?}, {} bytes\n{said}",
                        stored.len()
                    );
                }
            }
        }
    });
}

#[test]
fn an_answer_that_is_lost_after_the_effect_never_makes_a_difference_to_the_bytes() {
    let test = "an_answer_that_is_lost_after_the_effect_never_makes_a_difference_to_the_bytes";
    with_each(test, |server, kind| {
        let (ours, theirs) = (noise(50_000, 1), noise(50_000, 2));
        server.plant("store", &name(1, 1), &theirs);
        let proxy = Proxy::start(server.port(), |_| Action::Pass);
        for method in methods(kind) {
            proxy.set_rule(once(|seen| seen.is(method), Action::CutAnswer(0)));
            let (receipt, said) = put_through(&proxy, server, &ours);
            assert_eq!(receipt, ReceiptStatus::ExistsDifferent, "{kind:?}\n{said}");
            assert!(
                server.blob("store", &name(1, 1)).unwrap() == theirs,
                "{kind:?}"
            );
        }
    });
}

fn answer(status: &str, headers: &str) -> Action {
    Action::Answer(format!(
        "HTTP/1.1 {status}\r\n{headers}content-length: 0\r\n\r\n"
    ))
}

#[test]
fn an_answer_that_passes_is_asked_for_again() {
    with_each(
        "an_answer_that_passes_is_asked_for_again",
        |server, kind| {
            let body = noise(50_000, 1);
            let proxy = Proxy::start(server.port(), |_| Action::Pass);
            for status in [
                "429 Too Many",
                "500 Oops",
                "502 Bad",
                "503 Slow Down",
                "504 Late",
            ] {
                let _ = std::fs::remove_file(server.path_of("store", &name(1, 1)));
                proxy.set_rule(once(
                    |seen| seen.is("PUT"),
                    answer(status, "retry-after: 1\r\n"),
                ));
                let (receipt, said) = put_through(&proxy, server, &body);
                assert_eq!(receipt, ReceiptStatus::Stored, "{kind:?} {status}\n{said}");
            }
            if kind == Kind::S3 {
                let _ = std::fs::remove_file(server.path_of("store", &name(1, 1)));
                proxy.set_rule(once(|seen| seen.is("PUT"), answer("409 Conflict", "")));
                let (receipt, said) = put_through(&proxy, server, &body);
                assert_eq!(receipt, ReceiptStatus::Stored, "{said}");
            }
        },
    );
}

#[test]
fn a_full_store_a_refusal_and_a_redirect_are_told_apart_and_none_is_followed() {
    let test = "a_full_store_a_refusal_and_a_redirect_are_told_apart_and_none_is_followed";
    with_each(test, |server, kind| {
        let proxy = Proxy::start(server.port(), |_| Action::Pass);
        let elsewhere = Proxy::start(server.port(), |_| Action::Pass);
        let location = format!(
            "location: http://127.0.0.1:{}/x\r\nx-amz-bucket-region: mars-1\r\n",
            elsewhere.port()
        );
        for (status, headers, expected) in [
            ("507 Full", "", ReceiptStatus::Full),
            ("403 Forbidden", "", ReceiptStatus::Refused),
            ("307 Elsewhere", &*location, ReceiptStatus::Failed),
        ] {
            proxy.set_rule({
                let reply = answer(status, headers);
                move |seen| {
                    if seen.is("PUT") {
                        reply.clone()
                    } else {
                        Action::Pass
                    }
                }
            });
            let (receipt, said) = put_through(&proxy, server, b"x");
            assert_eq!(receipt, expected, "{kind:?} {status}\n{said}");
            if kind == Kind::S3 && status.starts_with("307") {
                assert!(said.contains("region=mars-1"), "{said}");
            }
        }
        assert_eq!(elsewhere.seen().len(), 0, "{kind:?}");
        assert!(server.blob("store", &name(1, 1)).is_none(), "{kind:?}");
    });
}

#[test]
fn a_taken_name_that_cannot_be_read_is_unknown() {
    with_each(
        "a_taken_name_that_cannot_be_read_is_unknown",
        |server, kind| {
            server.plant("store", &name(1, 1), b"x");
            let proxy = Proxy::start(server.port(), |seen| {
                if seen.is("GET") && seen.head.contains(&name(1, 1).to_string()) {
                    answer("403 Forbidden", "")
                } else {
                    Action::Pass
                }
            });
            let (receipt, said) = put_through(&proxy, server, b"x");
            assert_eq!(receipt, ReceiptStatus::ExistsUnknown, "{kind:?}\n{said}");
        },
    );
}

#[test]
fn a_body_that_is_cut_while_it_is_read_is_read_on() {
    with_each(
        "a_body_that_is_cut_while_it_is_read_is_read_on",
        |server, kind| {
            let bytes = noise(2_500_000, 4);
            server.plant("store", &name(1, 1), &bytes);
            let proxy = Proxy::start(server.port(), |_| Action::Pass);
            for at in [0, 100, 1000, 1_000_000, 2_400_000] {
                proxy.set_rule(once(
                    |seen| seen.is("GET") && seen.head.contains("bytes=0-"),
                    Action::CutAnswer(at),
                ));
                let mut call = open_through(&proxy, Service::Fetch, server);
                let (got, status) = call.get(name(1, 1), 0, bytes.len() as u32, 0);
                assert!(got == bytes, "{kind:?} {at}: {} bytes", got.len());
                assert_eq!(status, BytesStatus::Whole, "{kind:?} {at}");
            }
        },
    );
}

#[test]
fn a_wrong_range_and_a_wrong_length_are_faults_of_the_blob() {
    with_each(
        "a_wrong_range_and_a_wrong_length_are_faults_of_the_blob",
        |server, kind| {
            server.plant("store", &name(1, 1), &[7; 1000]);
            let proxy = Proxy::start(server.port(), |_| Action::Pass);
            for (text, other) in [
                ("bytes 0-99/", "bytes 1-100/"),
                ("bytes 0-99/", "bytes 0-9/"),
            ] {
                proxy.set_rule(move |_| Action::Replace(text, other));
                let mut call = open_through(&proxy, Service::Fetch, server);
                let (got, status) = call.get(name(1, 1), 0, 100, 0);
                assert_eq!(
                    (got.len(), status),
                    (0, BytesStatus::Failed),
                    "{kind:?} {other}"
                );
                // The call goes on.
                proxy.set_rule(|_| Action::Pass);
                assert_eq!(
                    call.get(name(1, 1), 0, 100, 0).1,
                    BytesStatus::Whole,
                    "{kind:?}"
                );
            }
        },
    );
}

#[test]
fn a_server_that_overwrites_is_found_when_an_archive_is_created() {
    let test = "a_server_that_overwrites_is_found_when_an_archive_is_created";
    for kind in Kind::WEBDAV {
        let Some(server) = Server::start(kind, test) else {
            continue;
        };
        let proxy = Proxy::start(server.port(), |_| Action::Pass);
        proxy.set_rule(once(
            |seen| seen.is("MOVE") && seen.number > 5,
            Action::AnswerAfter("HTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n".into()),
        ));
        let mut call = Call::start(Service::Push);
        let address = server.destination_through(proxy.port(), "new");
        let status = call.ask_to_open(&address, Store::New);
        assert_eq!(status, OpenStatus::Unsuitable, "{kind:?}\n{}", call.said());
        assert!(server.files("new").is_empty(), "{kind:?}");
    }
}

#[test]
fn a_host_that_nobody_has_and_a_port_at_which_nobody_listens_are_unreachable() {
    for address in [
        "s3://b?endpoint=http://127.0.0.1:1&insecure=true\naccess_key_id=a\nsecret_access_key=b",
        "webdav://127.0.0.1:1/x?insecure=true\nuser=a\npassword=b",
    ] {
        let mut call = Call::start(Service::Fetch);
        let status = call.ask_to_open(address.as_bytes(), Store::Existing);
        assert_eq!(status, OpenStatus::Unreachable, "{}", call.said());
        assert_eq!(call.ended(), Some(13));
        assert!(!call.said().contains("password"));
    }
}

#[test]
fn a_certificate_counts_only_if_it_was_named_and_is_the_hosts() {
    let test = "a_certificate_counts_only_if_it_was_named_and_is_the_hosts";
    let Some(server) = Server::start_with_tls(test) else {
        return;
    };
    server.plant("store", &name(0, 0), b"the first blob");
    let certificate = server.certificate();
    let (ca, port) = (certificate.display(), server.port());
    for (host, query, expected) in [
        ("localhost", format!("?ca={ca}"), OpenStatus::Ok),
        ("localhost", String::new(), OpenStatus::Unreachable),
        // The certificate has another name.
        ("127.0.0.1", format!("?ca={ca}"), OpenStatus::Unreachable),
        (
            "localhost",
            format!("?ca={ca}.missing"),
            OpenStatus::BadDestination,
        ),
    ] {
        let address = format!(
            "webdavs://{host}:{port}/disks/store{query}\n{}",
            server.credentials()
        );
        let mut call = Call::start(Service::Push);
        let status = call.ask_to_open(address.as_bytes(), Store::Existing);
        assert_eq!(status, expected, "{host} {query}\n{}", call.said());
        if status == OpenStatus::Ok {
            call.put(name(1, 1), &noise(100_000, 1));
            assert_eq!(call.finish(1), [ReceiptStatus::Stored]);
            assert!(server.blob("store", &name(1, 1)).is_some());
        }
    }
}
