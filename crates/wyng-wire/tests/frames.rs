// SPDX-License-Identifier: GPL-3.0-or-later
//! Every frame encoded and decoded again, and everything that a decoder must refuse. Neither end
//! runs here.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use proptest::prelude::*;
use wyng_wire::{
    BODY_MAX, BlobBytes, BlobName, BytesStatus, CreateOnly, DESTINATION_MAX, DecodeError, Delete,
    Durability, EncodeError, Entry, GET_VERSION_MAX, Get, HEADER_BYTES, Hello, HelloError,
    KEY_ID_MAX, List, ListEnd, ListStatus, MAGIC, Open, OpenStatus, Opened, PIECE_MAX, Page, Put,
    Receipt, ReceiptStatus, Renew, SIGNED_MAX, Service, Signed, Stat, StatStatus, Stated,
    TO_DAEMON_MAX, TO_HELPER_MAX, TOKEN_MAX, Tally, ToDaemon, ToHelper, VERSION_ID_MAX, Version,
    VersionId, Versions, VersionsEnd, VersionsStatus,
};

const NAME: BlobName = BlobName([7; 32]);
const SIGNED: Signed<'static> = Signed {
    time_secs: 0x0102,
    signature: [8; 32],
    body_sha256: [9; 32],
    key_id: "AKIA",
    token: "to",
};

fn name() -> impl Strategy<Value = BlobName> {
    any::<[u8; 32]>().prop_map(BlobName)
}

fn tally() -> impl Strategy<Value = Tally> {
    any::<(u64, u128)>().prop_map(|(count, digest)| Tally { count, digest })
}

const ID: &str = "ABYZabyz0189._-";
const VISIBLE: &str = "0123456789abcdefghijklmnopqrstuvwxyz!/=+~";

/// The signature of a request. Its texts are as long as a text may be, or shorter.
fn signed() -> impl Strategy<Value = Signed<'static>> {
    let text: &'static str = VISIBLE.repeat(SIGNED_MAX / VISIBLE.len()).leak();
    let token = prop_oneof![Just(0), Just(TOKEN_MAX), 0..=TOKEN_MAX];
    let token = token.prop_map(|length| &text[..length]);
    let key_id = (1..=KEY_ID_MAX).prop_map(|length| &text[..length]);
    (
        any::<u64>(),
        any::<[u8; 32]>(),
        any::<[u8; 32]>(),
        key_id,
        token,
    )
        .prop_map(
            |(time_secs, signature, body_sha256, key_id, token)| Signed {
                time_secs,
                signature,
                body_sha256,
                key_id,
                token,
            },
        )
}

/// A signature, or none.
fn maybe_signed() -> impl Strategy<Value = Option<Signed<'static>>> {
    prop::option::of(signed())
}

/// The id of a version, as long as it may be, or shorter.
fn version_id() -> impl Strategy<Value = VersionId> {
    let length = prop_oneof![Just(1), Just(VERSION_ID_MAX), 1..=VERSION_ID_MAX];
    length
        .prop_flat_map(|length| prop::collection::vec(prop::sample::select(ID.as_bytes()), length))
        .prop_map(|bytes| VersionId::new(core::str::from_utf8(&bytes).unwrap()).unwrap())
}

fn page() -> impl Strategy<Value = Page<'static>> {
    (prop::option::of(name()), signed()).prop_map(|(after, signed)| Page { after, signed })
}

/// Any frame to the helper except OPEN, which borrows.
fn to_helper() -> impl Strategy<Value = ToHelper<'static>> {
    let number = 1..=u64::MAX;
    prop_oneof![
        (
            number.clone(),
            name(),
            0..=BODY_MAX,
            any::<bool>(),
            maybe_signed()
        )
            .prop_map(|(number, name, length_bytes, may_use_reserve, signed)| {
                ToHelper::Put(Put {
                    number,
                    name,
                    length_bytes,
                    may_use_reserve,
                    signed,
                })
            }),
        Just(ToHelper::Sync),
        tally().prop_map(ToHelper::End),
        (number.clone(), name(), maybe_signed()).prop_map(|(number, name, signed)| {
            ToHelper::Delete(Delete {
                number,
                name,
                signed,
            })
        }),
        (number.clone(), name(), 1..=u32::MAX, maybe_signed()).prop_map(
            |(number, name, until_day, signed)| {
                ToHelper::Renew(Renew {
                    number,
                    name,
                    until_day,
                    signed,
                })
            }
        ),
        (number.clone(), prop::option::of(page()))
            .prop_map(|(request, page)| ToHelper::List(List { request, page })),
        (number.clone(), name(), maybe_signed()).prop_map(
            |(request, name, signed)| ToHelper::Stat(Stat {
                request,
                name,
                signed
            })
        ),
        (
            number,
            name(),
            any::<u64>(),
            0..=BODY_MAX,
            0..=GET_VERSION_MAX,
            version_id(),
            maybe_signed()
        )
            .prop_map(
                |(request, name, offset_bytes, length_bytes, version, id, signed)| {
                    ToHelper::Get(Get {
                        request,
                        name,
                        offset_bytes,
                        length_bytes,
                        version,
                        version_id: Some(id).filter(|_| signed.is_some() && version > 0),
                        signed,
                    })
                }
            ),
        (1..=u64::MAX, name(), signed()).prop_map(|(request, name, signed)| {
            ToHelper::Versions(Versions {
                request,
                name,
                signed,
            })
        }),
        Just(ToHelper::KeepAlive),
    ]
}

/// The free space of a full store, MiB; on the wire the highest number means "not known".
fn free() -> impl Strategy<Value = Option<u32>> {
    prop::option::of(0..u32::MAX)
}

fn opened(status: OpenStatus) -> ToDaemon {
    ToDaemon::Opened(Opened::of(status))
}

fn receipt(number: u64, status: ReceiptStatus) -> ToDaemon {
    ToDaemon::Receipt(Receipt {
        number,
        status,
        free_mib: None,
    })
}

fn to_daemon() -> impl Strategy<Value = ToDaemon> {
    let number = 1..=u64::MAX;
    prop_oneof![
        (
            prop::sample::select(OpenStatus::ALL),
            prop::sample::select(CreateOnly::ALL),
            prop::sample::select(Durability::ALL),
            free()
        )
            .prop_map(|(status, create_only, durability, free_mib)| {
                let refused = Opened::of(status);
                ToDaemon::Opened(match status {
                    OpenStatus::Ok => Opened {
                        status,
                        create_only,
                        durability,
                        free_mib,
                    },
                    OpenStatus::Full => Opened {
                        free_mib,
                        ..refused
                    },
                    _ => refused,
                })
            }),
        (
            number.clone(),
            prop::sample::select(ReceiptStatus::ALL),
            free()
        )
            .prop_map(|(number, status, free_mib)| {
                ToDaemon::Receipt(Receipt {
                    number,
                    status,
                    free_mib: free_mib.filter(|_| status == ReceiptStatus::Full),
                })
            }),
        tally().prop_map(ToDaemon::Final),
        (number.clone(), name(), any::<u64>()).prop_map(|(request, name, length_bytes)| {
            ToDaemon::Entry(Entry {
                request,
                name,
                length_bytes,
            })
        }),
        (
            number.clone(),
            any::<u64>(),
            prop::sample::select(ListStatus::ALL)
        )
            .prop_map(|(request, count, status)| {
                ToDaemon::ListEnd(ListEnd {
                    request,
                    count,
                    status,
                })
            }),
        (
            number.clone(),
            any::<u64>(),
            prop::sample::select(StatStatus::ALL)
        )
            .prop_map(|(request, length, status)| {
                let length_bytes = if status == StatStatus::Present {
                    length
                } else {
                    0
                };
                ToDaemon::Stated(Stated {
                    request,
                    length_bytes,
                    status,
                })
            }),
        (
            number,
            1..=PIECE_MAX,
            prop::sample::select(BytesStatus::ALL)
        )
            .prop_map(|(request, length, status)| {
                let carries = matches!(
                    status,
                    BytesStatus::More | BytesStatus::Whole | BytesStatus::Short
                );
                ToDaemon::Bytes(BlobBytes {
                    request,
                    length_bytes: if carries { length } else { 0 },
                    status,
                })
            }),
        (1..=u64::MAX, version_id())
            .prop_map(|(request, id)| ToDaemon::Version(Version { request, id })),
        (
            1..=u64::MAX,
            0..=GET_VERSION_MAX,
            prop::sample::select(VersionsStatus::ALL)
        )
            .prop_map(|(request, count, status)| {
                let shown = status == VersionsStatus::Shown;
                ToDaemon::VersionsEnd(VersionsEnd {
                    request,
                    count: if shown { count } else { 0 },
                    status,
                })
            }),
        Just(ToDaemon::KeepAlive),
    ]
}

/// Reads a frame as the helper does: the header, the rest that the header announces, decode.
fn helper_reads(frame: &[u8]) -> Result<ToHelper<'_>, DecodeError> {
    let header = frame
        .first_chunk::<HEADER_BYTES>()
        .ok_or(DecodeError::Truncated)?;
    let rest_bytes = ToHelper::rest_bytes(header)?;
    assert!(
        HEADER_BYTES + rest_bytes <= TO_HELPER_MAX,
        "more asked for than any frame has"
    );
    ToHelper::decode(
        frame
            .get(..HEADER_BYTES + rest_bytes)
            .ok_or(DecodeError::Truncated)?,
    )
}

/// Reads a frame as the daemon does.
fn daemon_reads(frame: &[u8]) -> Result<ToDaemon, DecodeError> {
    let header = frame
        .first_chunk::<HEADER_BYTES>()
        .ok_or(DecodeError::Truncated)?;
    let rest_bytes = ToDaemon::rest_bytes(header)?;
    assert!(
        HEADER_BYTES + rest_bytes <= TO_DAEMON_MAX,
        "more asked for than any frame has"
    );
    ToDaemon::decode(
        frame
            .get(..HEADER_BYTES + rest_bytes)
            .ok_or(DecodeError::Truncated)?,
    )
}

fn bytes_to_helper(frame: ToHelper<'_>) -> Vec<u8> {
    frame.encode(&mut [0; TO_HELPER_MAX]).unwrap().to_vec()
}

fn bytes_to_daemon(frame: ToDaemon) -> Vec<u8> {
    frame.encode(&mut [0; TO_DAEMON_MAX]).unwrap().to_vec()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_frame_to_the_helper_comes_back_as_it_went(frame in to_helper()) {
        let bytes = bytes_to_helper(frame);
        prop_assert_eq!(helper_reads(&bytes), Ok(frame));
    }

    #[test]
    fn every_open_comes_back_as_it_went(
        create: bool,
        tries: bool,
        looks: bool,
        signed in maybe_signed(),
        lock_until_day: u32,
        destination in prop::collection::vec(any::<u8>(), 1..=DESTINATION_MAX),
    ) {
        let frame = ToHelper::Open(Open {
            create, tries, looks_at_versions: looks && signed.is_some(), signed, lock_until_day,
            destination: &destination,
        });
        let bytes = bytes_to_helper(frame);
        prop_assert_eq!(helper_reads(&bytes), Ok(frame));
    }

    #[test]
    fn every_frame_to_the_daemon_comes_back_as_it_went(frame in to_daemon()) {
        let bytes = bytes_to_daemon(frame);
        prop_assert_eq!(daemon_reads(&bytes), Ok(frame));
    }

    #[test]
    fn a_frame_with_one_byte_more_or_less_is_refused(to_helper in to_helper(), to_daemon in to_daemon()) {
        let mut bytes = bytes_to_helper(to_helper);
        prop_assert_eq!(ToHelper::decode(&bytes[..bytes.len() - 1]), Err(DecodeError::Truncated));
        bytes.push(0);
        prop_assert_eq!(ToHelper::decode(&bytes), Err(DecodeError::Trailing));

        let mut bytes = bytes_to_daemon(to_daemon);
        prop_assert_eq!(ToDaemon::decode(&bytes[..bytes.len() - 1]), Err(DecodeError::Truncated));
        bytes.push(0);
        prop_assert_eq!(ToDaemon::decode(&bytes), Err(DecodeError::Trailing));
    }

    #[test]
    fn random_bytes_decode_to_nothing_or_to_what_encodes_to_them(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        if let Ok(frame) = ToHelper::decode(&bytes) {
            prop_assert_eq!(bytes_to_helper(frame), bytes.clone());
        }
        if let Ok(frame) = ToDaemon::decode(&bytes) {
            prop_assert_eq!(bytes_to_daemon(frame), bytes);
        }
    }

    #[test]
    fn a_random_rest_under_a_fitting_header_decodes_to_nothing_or_to_what_encodes_to_it(
        kind in prop_oneof![0x00..=0x0b_u8, 0x7e..=0x8a_u8],
        rest in prop_oneof![0..=6_usize, Just(7), Just(9)].prop_flat_map(|words| {
            prop::collection::vec(prop_oneof![3 => Just(0), 2 => 0..=9_u8, 1 => any::<u8>()], words * 8)
        }),
    ) {
        let mut bytes = vec![kind, 0, 0, 0];
        bytes.extend_from_slice(&(rest.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&rest);
        if let Ok(frame) = helper_reads(&bytes) {
            prop_assert_eq!(bytes_to_helper(frame), bytes.clone());
        }
        if let Ok(frame) = daemon_reads(&bytes) {
            prop_assert_eq!(bytes_to_daemon(frame), bytes);
        }
    }

    #[test]
    fn random_headers_never_ask_for_more_than_the_longest_frame(header: [u8; HEADER_BYTES]) {
        if let Ok(rest_bytes) = ToHelper::rest_bytes(&header) {
            prop_assert!(HEADER_BYTES + rest_bytes <= TO_HELPER_MAX);
        }
        if let Ok(rest_bytes) = ToDaemon::rest_bytes(&header) {
            prop_assert!(HEADER_BYTES + rest_bytes <= TO_DAEMON_MAX);
        }
    }

    #[test]
    fn a_random_hello_is_refused(bytes: [u8; 16]) {
        prop_assume!(!bytes.starts_with(&MAGIC));
        prop_assert_eq!(Hello::decode(&bytes), Err(HelloError::NotWyng));
    }

    #[test]
    fn a_name_comes_back_from_its_digits(name in name()) {
        let hex = name.to_hex();
        prop_assert_eq!(BlobName::from_hex(&hex), Some(name));
        prop_assert_eq!(name.to_string().into_bytes(), hex.to_vec());
    }
}

#[test]
fn the_layouts_are_those_of_the_specification() {
    let put = bytes_to_helper(ToHelper::Put(Put {
        number: 0x0102,
        name: NAME,
        length_bytes: 0x0300,
        may_use_reserve: true,
        signed: None,
    }));
    let mut expected = vec![2, 0, 0, 0, 48, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0];
    expected.extend_from_slice(&[7; 32]);
    expected.extend_from_slice(&[0, 3, 0, 0, 1, 0, 0, 0]);
    assert_eq!(put, expected);

    let renew = bytes_to_helper(ToHelper::Renew(Renew {
        number: 0x0102,
        name: NAME,
        until_day: 0x0403,
        signed: None,
    }));
    let mut expected = vec![9, 0, 0, 0, 48, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0];
    expected.extend_from_slice(&[7; 32]);
    expected.extend_from_slice(&[3, 4, 0, 0, 0, 0, 0, 0]);
    assert_eq!(renew, expected);

    let mut tail = vec![2, 1, 0, 0, 0, 0, 0, 0];
    tail.extend_from_slice(&[8; 32]);
    tail.extend_from_slice(&[9; 32]);
    tail.extend_from_slice(&[4, 0, 2, 0, 0, 0, 0, 0]);
    tail.extend_from_slice(b"AKIAto");
    let list = bytes_to_helper(ToHelper::List(List {
        request: 3,
        page: Some(Page {
            after: Some(NAME),
            signed: SIGNED,
        }),
    }));
    let mut expected = vec![6, 0, 0, 0, 134, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0];
    expected.extend_from_slice(&[1, 0, 0, 0, 0, 0, 0, 0]);
    expected.extend_from_slice(&[7; 32]);
    expected.extend_from_slice(&tail);
    assert_eq!(list, expected);
    let open = bytes_to_helper(ToHelper::Open(Open {
        create: true,
        tries: false,
        looks_at_versions: false,
        signed: Some(SIGNED),
        lock_until_day: 0,
        destination: b"s3://b",
    }));
    let mut expected = vec![1, 0, 0, 0, 100, 0, 0, 0, 3, 0, 86, 0, 0, 0, 0, 0];
    expected.extend_from_slice(b"s3://b");
    expected.extend_from_slice(&tail);
    assert_eq!(open, expected);

    let versions = bytes_to_helper(ToHelper::Versions(Versions {
        request: 3,
        name: NAME,
        signed: SIGNED,
    }));
    let mut expected = vec![10, 0, 0, 0, 126, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0];
    expected.extend_from_slice(&[7; 32]);
    expected.extend_from_slice(&tail);
    assert_eq!(versions, expected);
    let older = bytes_to_helper(ToHelper::Get(Get {
        request: 3,
        name: NAME,
        offset_bytes: 5,
        length_bytes: 6,
        version: 2,
        version_id: VersionId::new("v.2"),
        signed: Some(SIGNED),
    }));
    let mut expected = vec![8, 0, 0, 0, 206, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0];
    expected.extend_from_slice(&[7; 32]);
    expected.extend_from_slice(&[5, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 2, 0, 0, 0]);
    expected.extend_from_slice(b"v.2");
    expected.extend_from_slice(&[0; 61]);
    expected.extend_from_slice(&tail);
    assert_eq!(older, expected);
    let id = VersionId::new("v.2").unwrap();
    let version = bytes_to_daemon(ToDaemon::Version(Version { request: 3, id }));
    let mut expected = vec![0x88, 0, 0, 0, 72, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0];
    expected.extend_from_slice(b"v.2");
    expected.extend_from_slice(&[0; 61]);
    assert_eq!(version, expected);
    let end = bytes_to_daemon(ToDaemon::VersionsEnd(VersionsEnd {
        request: 3,
        count: 15,
        status: VersionsStatus::Shown,
    }));
    let mut expected = vec![0x89, 0, 0, 0, 16, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0];
    expected.extend_from_slice(&[15, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(end, expected);

    let stored = bytes_to_daemon(receipt(9, ReceiptStatus::ExistsSame));
    assert_eq!(
        stored,
        [
            0x82, 0, 0, 0, 16, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0
        ]
    );

    let full = bytes_to_daemon(ToDaemon::Receipt(Receipt {
        number: 9,
        status: ReceiptStatus::Full,
        free_mib: Some(0x0102),
    }));
    assert_eq!(
        full,
        [
            0x82, 0, 0, 0, 16, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 2, 1, 0, 0
        ]
    );
    let open = bytes_to_daemon(ToDaemon::Opened(Opened {
        status: OpenStatus::Ok,
        create_only: CreateOnly::Checked,
        durability: Durability::Durable,
        free_mib: Some(3),
    }));
    assert_eq!(open, [0x81, 0, 0, 0, 8, 0, 0, 0, 0, 2, 1, 0, 3, 0, 0, 0]);
    let full = bytes_to_daemon(opened(OpenStatus::Full));
    assert_eq!(
        full,
        [
            0x81, 0, 0, 0, 8, 0, 0, 0, 7, 0, 0, 0, 0xff, 0xff, 0xff, 0xff
        ]
    );

    let hello = Hello {
        service: Service::Fetch,
    }
    .encode();
    assert_eq!(
        hello,
        [
            0xf7, b'w', b'y', b'n', b'g', b'\r', b'\n', 0, 2, 0, 3, 0, 0, 0, 0, 0
        ]
    );
}

#[test]
fn a_push_answers_with_at_most_64_bytes_and_64_a_receipt() {
    let fixed = Hello {
        service: Service::Push,
    }
    .encode()
    .len()
        + bytes_to_daemon(opened(OpenStatus::Ok)).len()
        + bytes_to_daemon(ToDaemon::Final(Tally::default())).len();
    assert!(fixed <= 64, "{fixed}");
    assert!(bytes_to_daemon(receipt(1, ReceiptStatus::Stored)).len() <= 64);
}

#[test]
fn free_space_is_stated_by_an_open_or_full_store_and_abilities_by_an_open_one() {
    for frame in [
        ToDaemon::Opened(Opened {
            free_mib: Some(1),
            ..Opened::of(OpenStatus::Empty)
        }),
        ToDaemon::Opened(Opened {
            create_only: CreateOnly::Atomic,
            ..Opened::of(OpenStatus::Full)
        }),
        ToDaemon::Receipt(Receipt {
            number: 1,
            status: ReceiptStatus::Stored,
            free_mib: Some(1),
        }),
        ToDaemon::Receipt(Receipt {
            number: 1,
            status: ReceiptStatus::Full,
            free_mib: Some(u32::MAX),
        }),
    ] {
        assert_eq!(
            frame.encode(&mut [0; TO_DAEMON_MAX]),
            Err(EncodeError::OutOfBounds),
            "{frame:?}"
        );
    }
}

#[test]
fn no_frame_may_come_from_the_wrong_end() {
    assert_eq!(
        ToDaemon::decode(&bytes_to_helper(ToHelper::Sync)),
        Err(DecodeError::UnknownKind(3))
    );
    assert_eq!(
        ToHelper::decode(&bytes_to_daemon(opened(OpenStatus::Ok))),
        Err(DecodeError::UnknownKind(0x81))
    );
}

#[test]
fn an_oversized_open_is_refused_by_its_header() {
    let too_long = ((DESTINATION_MAX + SIGNED_MAX) as u32 + 9).to_le_bytes();
    let header = [
        1,
        0,
        0,
        0,
        too_long[0],
        too_long[1],
        too_long[2],
        too_long[3],
    ];
    assert_eq!(
        ToHelper::rest_bytes(&header),
        Err(DecodeError::Length {
            kind: 1,
            bytes: 7177
        })
    );
    assert_eq!(
        ToHelper::rest_bytes(&[1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]),
        Err(DecodeError::Length {
            kind: 1,
            bytes: u32::MAX
        })
    );
    let long = vec![b'x'; DESTINATION_MAX + 1];
    let open = ToHelper::Open(Open {
        create: false,
        tries: false,
        looks_at_versions: false,
        signed: None,
        lock_until_day: 0,
        destination: &long,
    });
    assert_eq!(open.encode(&mut [0; 8192]), Err(EncodeError::OutOfBounds));
}

#[test]
fn an_open_without_an_address_is_refused() {
    assert_eq!(
        ToHelper::rest_bytes(&[1, 0, 0, 0, 8, 0, 0, 0]),
        Err(DecodeError::Length { kind: 1, bytes: 8 })
    );
    assert_eq!(
        ToHelper::decode(&[1, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        Err(DecodeError::OutOfBounds)
    );
}

#[test]
fn an_oversized_body_is_refused() {
    let mut put = bytes_to_helper(ToHelper::Put(Put {
        number: 1,
        name: NAME,
        length_bytes: BODY_MAX,
        may_use_reserve: false,
        signed: None,
    }));
    put[48..52].copy_from_slice(&(BODY_MAX + 1).to_le_bytes());
    assert_eq!(ToHelper::decode(&put), Err(DecodeError::OutOfBounds));

    let mut bytes = bytes_to_daemon(ToDaemon::Bytes(BlobBytes {
        request: 1,
        length_bytes: PIECE_MAX,
        status: BytesStatus::More,
    }));
    bytes[16..20].copy_from_slice(&(PIECE_MAX + 1).to_le_bytes());
    assert_eq!(ToDaemon::decode(&bytes), Err(DecodeError::OutOfBounds));
}

#[test]
fn every_reserved_byte_must_be_zero() {
    let get = Get {
        request: 1,
        name: NAME,
        offset_bytes: 0,
        length_bytes: 1,
        version: 0,
        version_id: None,
        signed: None,
    };
    let put = Put {
        number: 1,
        name: NAME,
        length_bytes: 1,
        may_use_reserve: false,
        signed: None,
    };
    let open = Open {
        lock_until_day: 0,
        create: true,
        tries: false,
        looks_at_versions: false,
        signed: None,
        destination: b"dir:/x",
    };
    let signed_stat = Stat {
        request: 1,
        name: NAME,
        signed: Some(SIGNED),
    };
    let renew = Renew {
        number: 1,
        name: NAME,
        until_day: 1,
        signed: None,
    };
    let first_page = List {
        request: 1,
        page: Some(Page {
            after: None,
            signed: SIGNED,
        }),
    };
    for (frame, reserved) in [
        (
            bytes_to_helper(ToHelper::Get(get)),
            vec![1, 2, 3, 61, 62, 63],
        ),
        (
            bytes_to_helper(ToHelper::Put(put)),
            vec![1, 2, 3, 53, 54, 55],
        ),
        (bytes_to_helper(ToHelper::Open(open)), vec![1, 2, 3, 9]),
        (
            bytes_to_helper(ToHelper::Renew(renew)),
            vec![1, 2, 3, 52, 53, 54, 55],
        ),
        (
            bytes_to_helper(ToHelper::Stat(signed_stat)),
            vec![1, 2, 3, 121, 124, 125, 126, 127],
        ),
        (
            bytes_to_helper(ToHelper::List(first_page)),
            vec![1, 2, 3, 17, 18, 19, 20, 21, 22, 23, 24, 55],
        ),
    ] {
        for place in reserved {
            let mut changed = frame.clone();
            changed[place] = 1;
            assert_eq!(
                ToHelper::decode(&changed),
                Err(DecodeError::Reserved),
                "byte {place} of {frame:?}"
            );
        }
    }
    let opened_bytes = bytes_to_daemon(opened(OpenStatus::Empty));
    // What is known of a store is known of one that is open.
    for place in [9, 10] {
        let mut changed = opened_bytes.clone();
        changed[place] = 1;
        let refused = ToDaemon::decode(&changed);
        assert_eq!(refused, Err(DecodeError::OutOfBounds), "byte {place}");
    }
    for place in [1, 2, 3, 11, 12, 13, 14, 15] {
        let mut changed = opened_bytes.clone();
        changed[place] = 1;
        assert_eq!(
            ToDaemon::decode(&changed),
            Err(DecodeError::Reserved),
            "byte {place}"
        );
    }
    let mut hello = Hello {
        service: Service::Push,
    }
    .encode();
    hello[15] = 1;
    assert_eq!(Hello::decode(&hello), Err(HelloError::Reserved));
}

#[test]
fn an_unknown_flag_status_version_or_number_is_refused() {
    let mut put = bytes_to_helper(ToHelper::Put(Put {
        number: 1,
        name: NAME,
        length_bytes: 1,
        may_use_reserve: false,
        signed: None,
    }));
    put[52] = 2;
    assert_eq!(ToHelper::decode(&put), Err(DecodeError::UnknownFlag(2)));
    put[52] = 0;
    put[8] = 0;
    assert_eq!(
        ToHelper::decode(&put),
        Err(DecodeError::OutOfBounds),
        "number 0"
    );

    let mut get = bytes_to_helper(ToHelper::Get(Get {
        request: 1,
        name: NAME,
        offset_bytes: 0,
        length_bytes: 1,
        version: 15,
        version_id: None,
        signed: None,
    }));
    get[60] = 16;
    assert_eq!(
        ToHelper::decode(&get),
        Err(DecodeError::OutOfBounds),
        "version 16"
    );

    let mut receipt = bytes_to_daemon(receipt(1, ReceiptStatus::Stored));
    receipt[16] = 0;
    assert_eq!(
        ToDaemon::decode(&receipt),
        Err(DecodeError::UnknownStatus(0))
    );
    receipt[16] = 18;
    assert_eq!(
        ToDaemon::decode(&receipt),
        Err(DecodeError::UnknownStatus(18))
    );
    let mut renew = bytes_to_helper(ToHelper::Renew(Renew {
        number: 1,
        name: NAME,
        until_day: 1,
        signed: None,
    }));
    renew[48] = 0;
    assert_eq!(
        ToHelper::decode(&renew),
        Err(DecodeError::OutOfBounds),
        "day 0"
    );
    for place in [9, 10] {
        let mut open = bytes_to_daemon(opened(OpenStatus::Ok));
        open[place] = 3;
        let refused = ToDaemon::decode(&open);
        assert_eq!(refused, Err(DecodeError::UnknownStatus(3)), "byte {place}");
    }
}

#[test]
fn a_signature_beyond_its_bounds_is_refused_and_its_parts_are_not_printed() {
    let stat = |signed| {
        ToHelper::Stat(Stat {
            request: 1,
            name: NAME,
            signed: Some(signed),
        })
    };
    let long = "x".repeat(SIGNED_MAX);
    let texts = ["", &long[..KEY_ID_MAX + 1], "a b", "a\nb", "\u{e9}"];
    for key_id in texts {
        let frame = stat(Signed { key_id, ..SIGNED });
        let encoded = frame.encode(&mut [0; TO_HELPER_MAX]).map(drop);
        assert_eq!(encoded, Err(EncodeError::OutOfBounds), "{key_id:?}");
    }
    for token in [&long[..TOKEN_MAX + 1], "a b", "\0"] {
        let frame = stat(Signed { token, ..SIGNED });
        let encoded = frame.encode(&mut [0; TO_HELPER_MAX]).map(drop);
        assert_eq!(encoded, Err(EncodeError::OutOfBounds), "{token:?}");
    }
    let sound = bytes_to_helper(stat(SIGNED));
    // The lengths of key and token, and the last byte of the token.
    for (place, value) in [
        (120, 3),
        (120, 7),
        (122, 1),
        (122, 3),
        (133, b' '),
        (133, 0xff),
    ] {
        let mut changed = sound.clone();
        changed[place] = value;
        assert!(ToHelper::decode(&changed).is_err(), "{place} {value}");
    }
    let mut without_a_key = sound.clone();
    (without_a_key[120], without_a_key[122]) = (0, 6);
    assert_eq!(
        ToHelper::decode(&without_a_key),
        Err(DecodeError::OutOfBounds)
    );

    let version = ToHelper::Get(Get {
        request: 1,
        name: NAME,
        offset_bytes: 0,
        length_bytes: 1,
        version: 1,
        version_id: None,
        signed: Some(SIGNED),
    });
    let encoded = version.encode(&mut [0; TO_HELPER_MAX]).map(drop);
    assert_eq!(
        encoded,
        Err(EncodeError::OutOfBounds),
        "a version without its id"
    );
    let printed = format!("{:?}", stat(SIGNED));
    assert!(
        !printed.contains("AKIA") && !printed.contains("8, 8"),
        "{printed}"
    );
}

#[test]
fn an_id_of_a_version_has_one_alphabet_and_no_more_than_64_characters() {
    let long = "v".repeat(VERSION_ID_MAX + 1);
    for text in [
        "", "a&b", "a%41", "a b", "a/b", "a\0", "\u{e9}", "a=b", &long,
    ] {
        assert_eq!(VersionId::new(text), None, "{text:?}");
    }
    for text in ["null", "3sL4kqtJlcpXroDTDmJ.rmSpXd3dIbrHY_-", &long[1..]] {
        assert_eq!(VersionId::new(text).unwrap().as_str(), text);
    }
    let id = VersionId::new("ab").unwrap();
    let sound = bytes_to_daemon(ToDaemon::Version(Version { request: 1, id }));
    let older = bytes_to_helper(ToHelper::Get(Get {
        request: 1,
        name: NAME,
        offset_bytes: 0,
        length_bytes: 1,
        version: 15,
        version_id: Some(id),
        signed: Some(SIGNED),
    }));
    // An empty id, a byte of no alphabet, and one that follows a zero.
    for (place, byte) in [
        (0, 0),
        (0, b'&'),
        (1, b'%'),
        (1, 0x80),
        (3, b'c'),
        (63, b'c'),
    ] {
        let mut changed = sound.clone();
        changed[16 + place] = byte;
        let refused = ToDaemon::decode(&changed);
        assert_eq!(refused, Err(DecodeError::OutOfBounds), "{place} {byte}");
        let mut changed = older.clone();
        changed[64 + place] = byte;
        let refused = ToHelper::decode(&changed);
        assert_eq!(refused, Err(DecodeError::OutOfBounds), "{place} {byte}");
    }
    let mut served = older;
    served[60] = 0;
    assert!(
        ToHelper::decode(&served).is_err(),
        "an id without a version"
    );
    assert_eq!(format!("{id:?}"), "VersionId(..)");
}

#[test]
fn a_list_of_versions_ends_with_15_of_them_at_most_and_with_none_unless_they_are_shown() {
    let end = |count, status| {
        ToDaemon::VersionsEnd(VersionsEnd {
            request: 1,
            count,
            status,
        })
    };
    for (count, status) in [
        (16, VersionsStatus::Shown),
        (1, VersionsStatus::NotShown),
        (1, VersionsStatus::Expired),
    ] {
        let encoded = end(count, status).encode(&mut [0; TO_DAEMON_MAX]).map(drop);
        assert_eq!(encoded, Err(EncodeError::OutOfBounds), "{count} {status:?}");
        let mut sound = bytes_to_daemon(end(0, status));
        sound[16] = count;
        assert_eq!(ToDaemon::decode(&sound), Err(DecodeError::OutOfBounds));
    }
    let mut sound = bytes_to_daemon(end(0, VersionsStatus::Shown));
    sound[17] = 3;
    assert_eq!(ToDaemon::decode(&sound), Err(DecodeError::UnknownStatus(3)));
    for place in 18..24 {
        let mut changed = bytes_to_daemon(end(0, VersionsStatus::Shown));
        changed[place] = 1;
        assert_eq!(ToDaemon::decode(&changed), Err(DecodeError::Reserved));
    }
}

#[test]
fn an_open_whose_flag_and_signature_differ_is_refused() {
    let mut open = bytes_to_helper(ToHelper::Open(Open {
        create: false,
        tries: false,
        looks_at_versions: false,
        signed: Some(SIGNED),
        lock_until_day: 0,
        destination: b"s3://b",
    }));
    open[8] = 0;
    assert_eq!(ToHelper::decode(&open), Err(DecodeError::OutOfBounds));
    open[8] = 4;
    assert_eq!(ToHelper::decode(&open), Err(DecodeError::OutOfBounds));
    open[8] = 8;
    assert_eq!(ToHelper::decode(&open), Err(DecodeError::OutOfBounds));
    open[8] = 16;
    assert_eq!(ToHelper::decode(&open), Err(DecodeError::UnknownFlag(16)));
    (open[8], open[10]) = (2, 0);
    assert_eq!(ToHelper::decode(&open), Err(DecodeError::OutOfBounds));
    (open[10], open[11]) = (92, 0);
    assert_eq!(
        ToHelper::decode(&open),
        Err(DecodeError::OutOfBounds),
        "no address"
    );
    (open[10], open[11]) = (93, 0);
    assert_eq!(ToHelper::decode(&open), Err(DecodeError::Truncated));
}

#[test]
fn a_bytes_frame_that_says_absent_and_has_a_body_is_refused() {
    let mut bytes = bytes_to_daemon(ToDaemon::Bytes(BlobBytes {
        request: 1,
        length_bytes: 0,
        status: BytesStatus::Absent,
    }));
    bytes[16] = 1;
    assert_eq!(ToDaemon::decode(&bytes), Err(DecodeError::OutOfBounds));
    let more_of_nothing = ToDaemon::Bytes(BlobBytes {
        request: 1,
        length_bytes: 0,
        status: BytesStatus::More,
    });
    assert_eq!(
        more_of_nothing.encode(&mut [0; 64]),
        Err(EncodeError::OutOfBounds),
        "it could go on for ever"
    );
}

#[test]
fn a_hello_of_another_version_says_which() {
    let mut hello = Hello {
        service: Service::Push,
    }
    .encode();
    hello[8] = 9;
    assert_eq!(Hello::decode(&hello), Err(HelloError::Version(9)));
    hello[8] = 2;
    hello[10] = 4;
    assert_eq!(Hello::decode(&hello), Err(HelloError::Service(4)));
}

#[test]
fn a_buffer_that_is_too_short_is_an_error_and_not_a_short_frame() {
    assert_eq!(ToHelper::Sync.encode(&mut [0; 7]), Err(EncodeError::Buffer));
    assert_eq!(
        ToDaemon::Final(Tally::default()).encode(&mut [0; 31]),
        Err(EncodeError::Buffer)
    );
}

#[test]
fn the_address_of_a_store_is_not_printed() {
    let open = ToHelper::Open(Open {
        create: false,
        tries: false,
        looks_at_versions: false,
        signed: None,
        lock_until_day: 0,
        destination: b"dir:/secret",
    });
    assert!(!format!("{open:?}").contains("secret"));
    assert!(!format!("{open:?}").contains("115"), "nor as numbers");
}

#[test]
fn text_in_upper_case_or_of_another_length_is_no_name() {
    let mut hex = NAME.to_hex();
    assert_eq!(BlobName::from_hex(&hex[..63]), None);
    hex[1] = b'G';
    assert_eq!(BlobName::from_hex(&hex), None);
    hex[1] = b'A';
    assert_eq!(BlobName::from_hex(&hex), None);
}

#[test]
fn a_tally_finds_a_lost_and_a_doubled_name_and_ignores_the_order() {
    let of = |names: &[u8]| {
        let mut tally = Tally::default();
        names
            .iter()
            .for_each(|byte| tally.add(&BlobName([*byte; 32])));
        tally
    };
    assert_eq!(of(&[1, 2, 3]), of(&[3, 1, 2]));
    assert_ne!(of(&[1, 2]).digest, of(&[1, 3]).digest);
    assert_ne!(
        of(&[1, 2, 2]).digest,
        of(&[1]).digest,
        "a sum does not cancel"
    );
}
