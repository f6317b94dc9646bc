// SPDX-License-Identifier: GPL-3.0-or-later
//! Each rule that the fields of retention must keep in a pack entry, a session entry and a commit:
//! bytes that break one are refused. The bytes are changed at the offsets of `docs/format.md`.

mod common;

use common::{ARCHIVE, root};
use wyng_archive::BlobName;
use wyng_archive::crypto::{
    DomainId, Epoch, Id, NonceSeed, Password, SlotError, SlotParams, open_slot, seal_slot,
};
use wyng_archive::format::{
    ArchiveSettings, Commit, CommitStamp, EarlierHoldOff, FANOUT, Floor, GivenUp, Heirs, HoldOff,
    Malformed, Node, PackEntry, PackState, PacksRoot, PacksTree, SessionEntry, SessionsTree, Shape,
    Slot, SlotClear, SlotKind, SlotLabel, SlotRef, Stamp, TreeRoot,
};
use zeroize::Zeroizing;

/// Length of a node's header, bytes: a leaf with one entry has it from there on.
const HEADER_BYTES: usize = 8;

fn leaf<S: Shape>(entry: S::Value) -> Vec<u8> {
    let mut values: [Option<S::Value>; FANOUT] = [const { None }; FANOUT];
    values[0] = Some(entry);
    Node::<S>::Leaf(Box::new(values)).encode()
}

/// Puts a number into a field, little-endian.
fn set(bytes: &mut [u8], offset: usize, number: u64) {
    bytes[offset..offset + 8].copy_from_slice(&number.to_le_bytes());
}

fn pack_bytes(state: PackState) -> Vec<u8> {
    leaf::<PacksTree>(PackEntry {
        name: BlobName([1; 32]),
        directory: Id([2; 32]),
        length_bytes: 1 << 20,
        directory_offset_bytes: 100,
        directory_length_bytes: 45,
        state,
    })
}

/// Whether a pack entry decodes after a change.
fn pack_decodes(state: PackState, change: impl FnOnce(&mut [u8])) -> bool {
    let mut bytes = pack_bytes(state);
    change(&mut bytes[HEADER_BYTES..]);
    Node::<PacksTree>::decode(&bytes, 0, 1).is_ok()
}

fn given_up(heirs: Option<Heirs>) -> GivenUp {
    let at = Stamp {
        run: 7,
        kept_secs: 9,
    };
    GivenUp { at, heirs }
}

#[test]
fn a_pack_entry_has_112_bytes_with_the_state_at_76_and_the_flag_of_heirs_at_77() {
    let bytes = pack_bytes(PackState::Going(given_up(Heirs::new(11, 13))));
    let entry = &bytes[HEADER_BYTES..];
    assert_eq!((entry.len(), entry[76], entry[77]), (112, 3, 1));
    for (offset, number) in [(80, 7_u64), (88, 9), (96, 11), (104, 13)] {
        assert_eq!(entry[offset..offset + 8], number.to_le_bytes());
    }
}

#[test]
fn heirs_stand_only_with_their_flag_and_in_order() {
    let none = PackState::GivenUp(given_up(None));
    let some = PackState::Going(given_up(Heirs::new(11, 13)));
    assert!(pack_decodes(none, |_| {}) && pack_decodes(some, |_| {}));
    assert!(!pack_decodes(none, |entry| set(entry, 104, 1)), "no flag");
    assert!(!pack_decodes(some, |entry| entry[77] = 0), "flag taken");
    assert!(!pack_decodes(some, |entry| entry[77] = 2), "another flag");
    assert!(
        !pack_decodes(some, |entry| set(entry, 104, 10)),
        "descending"
    );
    assert!(pack_decodes(some, |entry| set(entry, 104, 11)), "one heir");
    assert!(pack_decodes(none, |entry| entry[77] = 1), "heir 0");
}

#[test]
fn a_pack_that_is_not_given_up_has_neither_stamp_nor_heirs() {
    for state in [PackState::Live, PackState::Lost] {
        assert!(pack_decodes(state, |_| {}));
        assert!(!pack_decodes(state, |entry| entry[77] = 1));
        for offset in [80, 88, 96, 104] {
            assert!(!pack_decodes(state, |entry| set(entry, offset, 1)));
        }
    }
    let given_up = PackState::GivenUp(given_up(None));
    assert!(!pack_decodes(given_up, |entry| set(entry, 80, 0)), "run 0");
    assert!(!pack_decodes(given_up, |entry| entry[76] = 4), "state 4");
    assert!(!pack_decodes(given_up, |entry| entry[78] = 1), "reserved");
}

#[test]
fn a_session_has_its_kept_clock_behind_its_time_and_is_pinned_by_bit_1() {
    let session = SessionEntry {
        time: 5,
        kept_secs: 6,
        generation: 7,
        size_bytes: 512,
        added_bytes: 0,
        chunk_size_bytes: 512,
        live: false,
        pinned: true,
        domain: DomainId([3; 16]),
        root: Id::ZERO,
        settings: Vec::new(),
        tags: Vec::new(),
    };
    let mut bytes = leaf::<SessionsTree>(session);
    let entry = &mut bytes[HEADER_BYTES..];
    assert_eq!((entry[8], entry[45]), (6, 2));
    entry[45] = 4;
    assert!(Node::<SessionsTree>::decode(&bytes, 0, 1).is_err());
}

fn commit() -> Commit {
    let until = Stamp {
        run: 8,
        kept_secs: 900,
    };
    Commit {
        generation: 1,
        time: 0,
        writer: [1; 16],
        previous: [0; 32],
        skip: [0; 32],
        stamp: CommitStamp {
            stamp: Stamp {
                run: 9,
                kept_secs: 1000,
            },
            counted_secs: 1000,
        },
        epoch: Epoch(1),
        settings: ArchiveSettings {
            chunk_size_bytes: 1 << 17,
            pack_size_bytes: 1 << 24,
            hold_off_runs: 3,
            hold_off_secs: 0,
            minimum_age_secs: 604_800,
            zstd_level: 3,
            shared_domain: None,
        },
        earlier_hold_off: Some(EarlierHoldOff {
            until,
            hold_off: HoldOff { runs: 5, secs: 6 },
        }),
        floor: Some(Floor {
            pack: 0,
            sent_secs: 0,
        }),
        next_slot: 1,
        packs: PacksRoot {
            size: 0,
            root: None,
        },
        keys: TreeRoot::EMPTY,
        volumes: TreeRoot::EMPTY,
        tail: None,
        slots: vec![SlotRef {
            number: 0,
            time: 0,
            kind: SlotKind::Token,
            hash: [2; 32],
            label: SlotLabel::default(),
        }],
    }
}

/// Result of decoding the commit after a change.
fn changed(commit: &Commit, change: impl FnOnce(&mut [u8])) -> Result<Commit, Malformed> {
    let mut bytes = commit.encode();
    change(&mut bytes);
    Commit::decode(&bytes, commit.generation)
}

#[test]
fn a_commits_run_number_begins_at_1_and_its_counted_run_is_not_ahead_of_it() {
    let commit = commit();
    assert_eq!(changed(&commit, |_| {}), Ok(commit.clone()));
    let run = changed(&commit, |bytes| set(bytes, 96, 0));
    assert_eq!(run, Err(Malformed("run number")));
    let counted = changed(&commit, |bytes| set(bytes, 112, 1001));
    assert_eq!(counted, Err(Malformed("kept clock of the counted run")));
}

#[test]
fn an_earlier_hold_off_stands_only_with_its_flag_and_from_no_later_commit() {
    let commit = commit();
    for (offset, number) in [(176, 10), (184, 1001)] {
        let later = changed(&commit, |bytes| set(bytes, offset, number));
        assert_eq!(
            later,
            Err(Malformed("an earlier hold-off from a later commit"))
        );
    }
    let without_flag = changed(&commit, |bytes| bytes[153] &= !4);
    assert_eq!(without_flag, Err(Malformed("earlier hold-off")));
}

#[test]
fn a_floor_stands_only_with_its_flag_and_may_be_at_pack_0() {
    let commit = commit();
    let none = changed(&commit, |bytes| bytes[153] &= !8).unwrap();
    assert_eq!((commit.floor.is_some(), none.floor), (true, None));
    let without_flag = changed(&none, |bytes| set(bytes, 208, 1));
    assert_eq!(without_flag, Err(Malformed("floor")));
    assert!(
        changed(&commit, |bytes| bytes[153] |= 16).is_err(),
        "a flag"
    );
}

#[test]
fn the_bytes_between_tail_and_slots_and_in_a_slots_entry_are_reserved() {
    let commit = commit();
    for offset in [480, 511, 515, 519] {
        assert!(changed(&commit, |bytes| bytes[offset] = 1).is_err());
    }
    assert!(changed(&commit, |bytes| bytes[514] = 3).is_err(), "kind 3");
}

#[test]
fn a_slot_for_a_hardware_token_is_read_and_opened_by_no_passphrase() {
    let clear = SlotClear {
        number: 3,
        kind: SlotKind::Passphrase,
        archive: ARCHIVE,
        memory_kib: SlotParams::LEAST.memory_kib(),
        passes: SlotParams::LEAST.passes(),
        salt: [4; 32],
    };
    let password = Password::new(Zeroizing::new(b"horse".to_vec())).unwrap();
    let sealed = seal_slot(&root(), clear, &password, NonceSeed([5; 24])).unwrap();
    let token = Slot::new(
        SlotClear {
            kind: SlotKind::Token,
            ..clear
        },
        *sealed.commitment(),
        *sealed.nonce(),
        *sealed.sealed_payload(),
        *sealed.tag(),
    );
    assert_eq!(Slot::decode(&token.encode()), Ok(token.clone()));
    assert!(matches!(
        open_slot(&token, &password),
        Err(SlotError::Refused)
    ));
    assert_eq!(SlotKind::Token.blob_bytes(), 1024);
}
