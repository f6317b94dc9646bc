// SPDX-License-Identifier: GPL-3.0-or-later
//! Every layout decodes to the value that was encoded, and only canonical bytes decode: no trailing
//! byte, no second form, no excess. The decoders get random bytes, and valid bytes of which a few
//! were changed; they never panic.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use proptest::prelude::*;
use wyng_archive::crypto::{
    Credential, Id, NonceSeed, Password, RecoveryKey, SlotParams, cheapest_first, seal_slot,
};
use wyng_archive::format::{
    COMMIT_PLAIN_BYTES, Commit, ContentTree, DIRECTORY_PLAIN_MAX_BYTES, Directory, DirectoryEntry,
    FANOUT, KeysTree, Node, PacksTree, RecordKind, SessionsTree, Shape, Slot, SlotClear, SlotKind,
    SlotLabel, VolumesTree,
};
use zeroize::Zeroizing;

use common::{
    ARCHIVE, commit, credential, id, key_entry, pack_entry, place, root, session, volume,
};

fn leaf<S: Shape + std::fmt::Debug>(
    values: impl Strategy<Value = S::Value>,
) -> impl Strategy<Value = Node<S>> {
    prop::collection::btree_map(0..FANOUT, values, 1..6).prop_map(|values| {
        let mut slots: [Option<S::Value>; FANOUT] = [const { None }; FANOUT];
        for (slot, value) in values {
            slots[slot] = Some(value);
        }
        Node::Leaf(Box::new(slots))
    })
}

fn inner<S: Shape + std::fmt::Debug>(
    children: impl Strategy<Value = S::Child>,
) -> impl Strategy<Value = Node<S>> {
    (
        1..12_u8,
        prop::collection::btree_map(0..FANOUT, children, 1..FANOUT),
    )
        .prop_map(|(level, children)| {
            let mut slots: [Option<S::Child>; FANOUT] = [None; FANOUT];
            for (slot, child) in children {
                slots[slot] = Some(child);
            }
            Node::Inner {
                level,
                children: Box::new(slots),
            }
        })
}

fn node_comes_back<S: Shape + std::fmt::Debug + PartialEq>(node: &Node<S>) {
    let bytes = node.encode();
    assert_eq!(
        &Node::<S>::decode(&bytes, node.level(), u64::MAX).unwrap(),
        node
    );
    let longer = [bytes.as_slice(), &[0]].concat();
    assert!(
        Node::<S>::decode(&longer, node.level(), u64::MAX).is_err(),
        "a trailing byte"
    );
    assert!(
        Node::<S>::decode(&bytes[..bytes.len() - 1], node.level(), u64::MAX).is_err(),
        "a missing byte"
    );
    assert!(
        Node::<S>::decode(&bytes, node.level() + 1, u64::MAX).is_err(),
        "another level"
    );
}

/// Checks that bytes which decode are those that encoding gives.
fn node_is_canonical<S: Shape>(bytes: &[u8], level: u8) {
    if let Ok(node) = Node::<S>::decode(bytes, level, u64::MAX) {
        assert_eq!(node.encode(), bytes);
        assert!(!node.is_empty());
    }
}

fn every_decoder(bytes: &[u8]) {
    let level = bytes.get(1).copied().unwrap_or(0);
    node_is_canonical::<ContentTree>(bytes, level);
    node_is_canonical::<PacksTree>(bytes, level);
    node_is_canonical::<SessionsTree>(bytes, level);
    node_is_canonical::<KeysTree>(bytes, level);
    node_is_canonical::<VolumesTree>(bytes, level);
    let mut offset = [0; 4];
    offset
        .iter_mut()
        .zip(bytes)
        .for_each(|(to, from)| *to = *from);
    if let Ok(directory) = Directory::decode(bytes, u32::from_le_bytes(offset)) {
        assert_eq!(directory.encode(), bytes);
    }
    if let Ok(slot) = Slot::decode(bytes) {
        assert_eq!(slot.encode(), bytes);
    }
    if let Some(generation) = bytes
        .get(..8)
        .map(|bytes| u64::from_le_bytes(bytes.try_into().unwrap()))
        && let Ok(commit) = Commit::decode(bytes, generation)
    {
        assert_eq!(commit.encode(), bytes);
    }
    if let Ok(credential) = Credential::decode(bytes) {
        assert_eq!(credential.encode().as_slice(), bytes);
    }
    if let Ok(key) = RecoveryKey::parse(bytes) {
        assert_eq!(
            RecoveryKey::parse(key.printed().as_bytes())
                .unwrap()
                .chars(),
            key.chars()
        );
    }
}

/// Changes a few bytes, and perhaps the length.
fn changed(mut bytes: Vec<u8>, changes: &[(u16, u8)], cut: Option<u16>) -> Vec<u8> {
    for (place, value) in changes {
        let length = bytes.len().max(1);
        if let Some(byte) = bytes.get_mut(usize::from(*place) % length) {
            *byte = *value;
        }
    }
    if let Some(cut) = cut {
        bytes.resize(usize::from(cut) % (bytes.len() + 3), 0);
    }
    bytes
}

fn changes() -> impl Strategy<Value = (Vec<(u16, u8)>, Option<u16>)> {
    (
        prop::collection::vec((any::<u16>(), any::<u8>()), 0..4),
        prop::option::weighted(0.2, any::<u16>()),
    )
}

/// The records of a filled pack: chunks, then nodes, without gaps from 0 on; and the offset of the
/// directory, bytes.
fn directory() -> impl Strategy<Value = (Directory, u32)> {
    (
        prop::collection::vec((id(), 45..100_000_u32, any::<u32>()), 1..20),
        0..20_usize,
    )
        .prop_map(|(records, nodes_from)| {
            let mut offset_bytes = 0;
            let mut entries = Vec::new();
            for (place, (id, length_bytes, key)) in records.into_iter().enumerate() {
                let kind = if place < nodes_from {
                    RecordKind::Chunk { key }
                } else {
                    RecordKind::Node
                };
                entries.push(DirectoryEntry {
                    id,
                    offset_bytes,
                    length_bytes,
                    kind,
                });
                offset_bytes += length_bytes;
            }
            (Directory { entries }, offset_bytes)
        })
}

fn slot() -> Slot {
    let clear = SlotClear {
        number: 3,
        kind: SlotKind::Passphrase,
        archive: ARCHIVE,
        memory_kib: SlotParams::LEAST.memory_kib(),
        passes: SlotParams::LEAST.passes(),
        salt: [0x44; 32],
    };
    let password = Password::new(Zeroizing::new(b"horse".to_vec())).unwrap();
    seal_slot(&root(), clear, &password, NonceSeed([0x55; 24])).unwrap()
}

#[test]
fn a_label_is_short_text_without_control_characters() {
    for (text, fits) in [
        ("", true),
        ("laptop", true),
        (&"ü".repeat(16), true),
        (&"ü".repeat(17), false),
        ("a\nb", false),
        ("a\u{1b}[2J", false),
    ] {
        assert_eq!(SlotLabel::new(text).is_some(), fits, "{text:?}");
    }
}

#[test]
fn slots_are_tried_cheapest_first_and_the_newest_among_equals() {
    let sound = slot();
    let mut slots: Vec<Slot> = [
        (1, 65_536, 5),
        (9, 1_048_576, 3),
        (4, 65_536, 3),
        (200, 65_536, 5),
        (7, 98_304, 3),
    ]
    .map(|(number, memory_kib, passes)| {
        let clear = SlotClear {
            number,
            memory_kib,
            passes,
            ..*sound.clear()
        };
        Slot::new(
            clear,
            *sound.commitment(),
            *sound.nonce(),
            *sound.sealed_payload(),
            *sound.tag(),
        )
    })
    .into();
    cheapest_first(&mut slots);
    assert_eq!(
        slots
            .iter()
            .map(|slot| slot.clear().number)
            .collect::<Vec<_>>(),
        [4, 7, 200, 1, 9]
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nodes_come_back(
        content in leaf::<ContentTree>(id()), packs in leaf::<PacksTree>(pack_entry()), sessions in leaf::<SessionsTree>(session()),
        keys in leaf::<KeysTree>(key_entry()), volumes in leaf::<VolumesTree>(volume()),
        by_id in inner::<ContentTree>(id()), by_place in inner::<PacksTree>(place()),
    ) {
        node_comes_back(&content);
        node_comes_back(&packs);
        node_comes_back(&sessions);
        node_comes_back(&keys);
        node_comes_back(&volumes);
        node_comes_back(&by_id);
        node_comes_back(&by_place);
        prop_assert!(Node::<KeysTree>::decode(&content.encode(), 0, u64::MAX).is_err(), "a node of another tree");
    }

    #[test]
    fn a_child_past_the_end_is_refused(node in leaf::<ContentTree>(id())) {
        let Node::Leaf(values) = &node else { panic!() };
        let last = values.iter().rposition(Option::is_some).unwrap() as u64;
        prop_assert!(Node::<ContentTree>::decode(&node.encode(), 0, last + 1).is_ok());
        prop_assert!(Node::<ContentTree>::decode(&node.encode(), 0, last).is_err());
    }

    #[test]
    fn commits_come_back(commit in commit()) {
        let bytes = commit.encode();
        prop_assert_eq!(bytes.len(), COMMIT_PLAIN_BYTES);
        prop_assert_eq!(&Commit::decode(&bytes, commit.generation).unwrap(), &commit);
        prop_assert!(Commit::decode(&bytes, commit.generation - 1).is_err(), "another generation");
        prop_assert!(Commit::decode(&bytes[1..], commit.generation).is_err());
    }

    #[test]
    fn directories_come_back((directory, end) in directory()) {
        let bytes = directory.encode();
        prop_assert_eq!(&Directory::decode(&bytes, end).unwrap(), &directory);
        prop_assert!(Directory::decode(&bytes, end - 1).is_err(), "the last record would reach into the directory");
        prop_assert!(Directory::decode(&[bytes.as_slice(), &[0]].concat(), end).is_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_decode_to_nothing_or_to_what_encodes_to_them(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        every_decoder(&bytes);
    }

    #[test]
    fn changed_commits_decode_to_nothing_or_to_what_encodes_to_them(commit in commit(), (changes, cut) in changes()) {
        every_decoder(&changed(commit.encode(), &changes, cut));
    }

    #[test]
    fn changed_nodes_decode_to_nothing_or_to_what_encodes_to_them(
        sessions in leaf::<SessionsTree>(session()), volumes in leaf::<VolumesTree>(volume()), packs in leaf::<PacksTree>(pack_entry()),
        by_place in inner::<PacksTree>(place()), (changes, cut) in changes(),
    ) {
        for bytes in [sessions.encode(), volumes.encode(), packs.encode(), by_place.encode()] {
            every_decoder(&changed(bytes, &changes, cut));
        }
    }

    #[test]
    fn changed_directories_decode_to_nothing_or_to_what_encodes_to_them((directory, end) in directory(), (changes, cut) in changes()) {
        let bytes = changed(directory.encode(), &changes, cut);
        if let Ok(decoded) = Directory::decode(&bytes, end) {
            prop_assert_eq!(decoded.encode(), bytes);
        }
    }
}

#[test]
fn a_slot_or_credential_with_any_bit_flipped_is_refused() {
    let (slot, credential) = (slot().encode(), credential().encode());
    assert!(Slot::decode(&slot).is_ok() && Credential::decode(&credential).is_ok());
    for bit in 0..slot.len() * 8 {
        let mut bytes = slot.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(Slot::decode(&bytes).is_err(), "bit {bit}");
    }
    for bit in 0..credential.len() * 8 {
        let mut bytes = credential.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(Credential::decode(&bytes).is_err(), "bit {bit}");
    }
}

#[test]
fn an_oversized_directory_is_refused_before_it_is_read() {
    assert!(Directory::decode(&vec![0; DIRECTORY_PLAIN_MAX_BYTES + 48], u32::MAX).is_err());
    assert!(Commit::decode(&[0; COMMIT_PLAIN_BYTES + 1], 1).is_err());
    assert_eq!(Id::ZERO.0, [0; 32]);
}
