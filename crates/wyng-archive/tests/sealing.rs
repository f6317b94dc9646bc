// SPDX-License-Identifier: GPL-3.0-or-later
//! A record opens only in the place for which it was sealed, and no pair of key and nonce seals two
//! messages, even without a random generator.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;
use wyng_archive::Fault;
use wyng_archive::crypto::{
    ArchiveId, Coder, Credential, DomainId, Entropy, Epoch, Id, Kind, NonceSeed, Password,
    RecordKey, Root, Secret, SessionKey, SlotError, SlotParams, open_slot, seal_slot,
};
use wyng_archive::format::{SLOT_BYTES, Slot, SlotClear, SlotKind};
use zeroize::Zeroizing;

use common::{ARCHIVE, credential, entropy, root, session_key};

const DOMAIN: DomainId = DomainId([0x66; 16]);
const SEED: NonceSeed = NonceSeed([0; 24]);

fn seal(credential: &Credential, key: &SessionKey, level: i8, chunk: &[u8]) -> (Id, Vec<u8>) {
    let id = credential.domain(DOMAIN).content_id(chunk);
    let mut coder = Coder::new(level).unwrap();
    let record = credential
        .seal_chunk(key, &mut coder, &id, chunk, NonceSeed(SEED.0))
        .unwrap();
    (id, record)
}

fn open(
    credential: &Credential,
    key: &SessionKey,
    domain: DomainId,
    id: &Id,
    record: &[u8],
) -> Result<Vec<u8>, Fault> {
    let mut chunk = Vec::new();
    let mut coder = Coder::new(0).unwrap();
    credential
        .open_chunk(
            RecordKey { key, id },
            &credential.domain(domain),
            &mut coder,
            record,
            &mut chunk,
        )
        .map_err(|damage| damage.fault)?;
    Ok(chunk)
}

fn other_root(byte: u8, epoch: u32) -> Root {
    Root::new(Secret::take(&mut [byte; 32]), Epoch(epoch))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_chunk_comes_back_and_a_flipped_bit_does_not(chunk in prop::collection::vec(0..3_u8, 1..5000), bit in any::<usize>()) {
        let (credential, key) = (credential(), session_key(&credential(), 0));
        let (id, mut record) = seal(&credential, &key, 3, &chunk);
        prop_assert_eq!(open(&credential, &key, DOMAIN, &id, &record).unwrap(), chunk);
        let bit = bit % (record.len() * 8);
        record[bit / 8] ^= 1 << (bit % 8);
        prop_assert_eq!(open(&credential, &key, DOMAIN, &id, &record), Err(Fault::Tag));
    }

    #[test]
    fn a_record_of_any_other_length_is_refused(chunk in prop::collection::vec(any::<u8>(), 1..300), cut in 0..400_usize) {
        let (credential, key) = (credential(), session_key(&credential(), 0));
        let (id, mut record) = seal(&credential, &key, 3, &chunk);
        prop_assume!(cut != record.len());
        record.resize(cut, 0);
        prop_assert!(open(&credential, &key, DOMAIN, &id, &record).is_err());
    }
}

#[test]
fn a_chunk_opens_for_no_other_archive_epoch_key_id_domain_or_kind() {
    let (credential, key) = (credential(), session_key(&credential(), 0));
    let (id, record) = seal(&credential, &key, 3, b"one chunk, sealed once");
    assert!(open(&credential, &key, DOMAIN, &id, &record).is_ok());

    let other_id = credential.domain(DOMAIN).content_id(b"another");
    assert_eq!(
        open(&credential, &key, DOMAIN, &other_id, &record),
        Err(Fault::Tag)
    );
    assert_eq!(
        open(
            &credential,
            &session_key(&credential, 1),
            DOMAIN,
            &id,
            &record
        ),
        Err(Fault::Tag)
    );
    assert_eq!(
        open(&credential, &key, DomainId([0x67; 16]), &id, &record),
        Err(Fault::Id)
    );
    // The same ROOT under another archive id, and the next epoch of the same archive.
    let elsewhere = root().credential(ArchiveId([0x23; 16])).unwrap();
    assert_eq!(
        open(&elsewhere, &key, DOMAIN, &id, &record),
        Err(Fault::Tag)
    );
    let later = other_root(0x11, 2).credential(ARCHIVE).unwrap();
    assert_eq!(
        open(&later, &session_key(&later, 0), DOMAIN, &id, &record),
        Err(Fault::Tag)
    );
    let mut plain = Vec::new();
    for kind in [Kind::Node, Kind::Directory, Kind::Commit] {
        assert!(
            credential
                .open_meta(kind, &mut Coder::new(0).unwrap(), &id, &record, &mut plain)
                .is_err(),
            "{kind:?}"
        );
    }
}

#[test]
fn metadata_opens_as_no_other_kind_and_under_no_other_id() {
    let credential = credential();
    let mut coder = Coder::new(3).unwrap();
    let plain = b"some node".to_vec();
    let id = credential.node_id(&plain);
    for kind in [Kind::Node, Kind::Directory] {
        let record = credential
            .seal_meta(kind, &mut coder, &id, &plain, NonceSeed([1; 24]))
            .unwrap();
        let mut opened = Vec::new();
        assert!(
            credential
                .open_meta(kind, &mut coder, &id, &record, &mut opened)
                .is_ok()
        );
        for other in [Kind::Node, Kind::Directory, Kind::Commit]
            .into_iter()
            .filter(|other| *other != kind)
        {
            assert_eq!(
                credential
                    .open_meta(other, &mut coder, &id, &record, &mut opened)
                    .unwrap_err()
                    .fault,
                Fault::Tag
            );
        }
        assert_eq!(
            credential
                .open_meta(kind, &mut coder, &Id([9; 32]), &record, &mut opened)
                .unwrap_err()
                .fault,
            Fault::Tag
        );
    }
    // Sealed under the id of something else: the tag is right, and the keyed id still refuses it.
    let (wrong, mut opened) = (Id([9; 32]), Vec::new());
    let record = credential
        .seal_meta(Kind::Node, &mut coder, &wrong, &plain, NonceSeed([1; 24]))
        .unwrap();
    assert_eq!(
        credential
            .open_meta(Kind::Node, &mut coder, &wrong, &record, &mut opened)
            .unwrap_err()
            .fault,
        Fault::Id
    );
}

#[test]
fn a_generator_that_returns_constants_repeats_no_key_and_nonce_for_different_bytes() {
    let credential = credential();
    let key = session_key(&credential, 0);
    let mut messages: HashMap<[u8; 24], Vec<u8>> = HashMap::new();
    let mut bodies = HashSet::new();
    // One chunk compressed at several levels, which gives different bytes; several chunks; equal
    // metadata of two kinds.
    for chunk in 0..20_u32 {
        let text: Vec<u8> = (0..20_000)
            .map(|place: u32| (place.wrapping_mul(place / 7) >> (chunk % 9)) as u8 & 0x1f)
            .collect();
        for level in [-7, 1, 3, 9, 19] {
            let (_, record) = seal(&credential, &key, level, &text);
            let (nonce, body) = record.split_first_chunk::<24>().unwrap();
            bodies.insert(body.to_vec());
            if let Some(before) = messages.insert(*nonce, body.to_vec()) {
                assert_eq!(before, body, "one nonce for two messages");
            }
        }
    }
    assert_eq!(messages.len(), bodies.len());
    assert!(bodies.len() > 40, "the levels made different bytes");
}

#[test]
fn a_cloned_machine_in_another_generation_draws_another_session_key() {
    let credential = credential();
    let (_, first) = SessionKey::draw(&credential, 0, &entropy(0)).unwrap();
    let (_, again) = SessionKey::draw(&credential, 0, &entropy(0)).unwrap();
    assert_eq!(first, again, "nothing but its inputs makes a key");
    let later = Entropy {
        generation: 8,
        ..entropy(0)
    };
    let forked = Entropy {
        process_id: 11,
        ..entropy(0)
    };
    let clock = Entropy {
        monotonic_nanos: 10,
        ..entropy(0)
    };
    for other in [later, forked, clock, entropy(1)] {
        assert_ne!(SessionKey::draw(&credential, 0, &other).unwrap().1, first);
    }
    assert_ne!(
        SessionKey::draw(&credential, 1, &entropy(0)).unwrap().1,
        first
    );
}

#[test]
fn a_session_key_is_found_again_with_the_private_half_and_only_at_its_number() {
    let credential = credential();
    let (key, entry) = SessionKey::draw(&credential, 5, &entropy(1)).unwrap();
    let (id, record) = seal(&credential, &key, 3, b"chunk");
    let found = SessionKey::open(&credential, &root().data_key().unwrap(), 5, &entry).unwrap();
    assert!(open(&credential, &found, DOMAIN, &id, &record).is_ok());
    let wrong_key = other_root(0x12, 1).data_key().unwrap();
    assert!(SessionKey::open(&credential, &wrong_key, 5, &entry).is_err());
    assert!(SessionKey::open(&credential, &root().data_key().unwrap(), 6, &entry).is_err());
    let mut forged = entry;
    forged.check[0] ^= 1;
    assert!(
        matches!(SessionKey::open(&credential, &root().data_key().unwrap(), 5, &forged), Err(damage) if damage.fault == Fault::Check)
    );
}

#[test]
fn a_key_that_is_used_up_seals_nothing_more() {
    let credential = credential();
    let key = session_key(&credential, 0).with_records_max(4);
    let mut coder = Coder::new(3).unwrap();
    let id = credential.domain(DOMAIN).content_id(b"x");
    for sealed in 0..4 {
        assert_eq!(key.is_worn(), sealed >= 2);
        credential
            .seal_chunk(&key, &mut coder, &id, b"x", NonceSeed([0; 24]))
            .unwrap();
    }
    assert!(
        credential
            .seal_chunk(&key, &mut coder, &id, b"x", NonceSeed([0; 24]))
            .is_err()
    );
}

fn slot(kind: SlotKind, password: &[u8]) -> Slot {
    let (memory_kib, passes) = (SlotParams::LEAST.memory_kib(), SlotParams::LEAST.passes());
    let clear = SlotClear {
        number: 1,
        kind,
        archive: ARCHIVE,
        memory_kib,
        passes,
        salt: [7; 32],
    };
    seal_slot(
        &root(),
        clear,
        &Password::new(Zeroizing::new(password.to_vec())).unwrap(),
        NonceSeed([8; 24]),
    )
    .unwrap()
}

fn try_open(slot: &Slot, password: &[u8]) -> Result<Root, SlotError> {
    open_slot(
        slot,
        &Password::new(Zeroizing::new(password.to_vec())).unwrap(),
    )
}

/// Changes one byte of a slot, and repairs the checksum as a forger would.
fn forged(slot: &Slot, place: usize) -> Vec<u8> {
    let mut bytes = slot.encode();
    bytes[place] ^= 1;
    let covered = SLOT_BYTES - 32;
    let check = *blake3::hash(&bytes[..covered]).as_bytes();
    bytes[covered..].copy_from_slice(&check);
    bytes
}

#[test]
fn a_forged_slot_is_refused_wherever_it_was_changed() {
    let slot = slot(SlotKind::Passphrase, b"horse");
    assert!(try_open(&slot, b"horse").is_ok());
    assert!(matches!(try_open(&slot, b"house"), Err(SlotError::Refused)));
    // One offset in each field: number, kind, archive, memory, passes, salt, commitment, nonce,
    // payload, tag.
    for place in [11, 12, 16, 32, 36, 48, 79, 80, 111, 112, 136, 175, 176, 191] {
        match Slot::decode(&forged(&slot, place)) {
            Err(_) => {}
            Ok(changed) => assert!(try_open(&changed, b"horse").is_err(), "byte {place}"),
        }
    }
}

#[test]
fn a_slots_cost_outside_of_the_bounds_is_refused_before_memory_is_taken() {
    for (memory_kib, passes) in [
        (0, 3),
        (65_535, 3),
        (1_048_577, 3),
        (u32::MAX, 3),
        (65_536, 2),
        (65_536, 17),
        (65_536, u32::MAX),
    ] {
        assert!(
            SlotParams::new(memory_kib, passes).is_none(),
            "{memory_kib} KiB, {passes} passes"
        );
        let mut bytes = slot(SlotKind::Passphrase, b"horse").encode();
        bytes[32..36].copy_from_slice(&memory_kib.to_le_bytes());
        bytes[36..40].copy_from_slice(&passes.to_le_bytes());
        let covered = SLOT_BYTES - 32;
        let check = *blake3::hash(&bytes[..covered]).as_bytes();
        bytes[covered..].copy_from_slice(&check);
        assert!(Slot::decode(&bytes).is_err());
    }
}
