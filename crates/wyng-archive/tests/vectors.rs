// SPDX-License-Identifier: GPL-3.0-or-later
//! `tests/vectors/format-0.txt`: fixed inputs and the format's outputs, for every derivation and
//! every class of object.
//!
//! The inputs are in the code below. Lines are `name = hexadecimal`. After a change of the format,
//! which is a ceremony (docs/style.md),
//! `WYNG_WRITE_VECTORS=1 cargo test -p wyng-archive --test vectors` rewrites the file. HPKE is
//! checked against RFC 9180, A.7.1, in `src/crypto/envelope.rs`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::fmt::Write;
use std::path::Path;

use wyng_archive::BlobName;
use wyng_archive::crypto::{
    Coder, DomainId, Epoch, Id, Kind, NonceSeed, Password, RecoveryKey, SessionKey, SlotParams,
    pack_name, seal_slot, slot_name,
};
use wyng_archive::format::{
    ArchiveSettings, Commit, CommitStamp, ContentTree, Directory, DirectoryEntry, EarlierHoldOff,
    FANOUT, Floor, GivenUp, HeadCode, Heirs, HoldOff, KeysTree, Node, PackEntry, PackState,
    PacksRoot, PacksTree, Place, RecordKind, SessionEntry, SessionsTree, Shape, SlotClear,
    SlotKind, SlotLabel, SlotRef, Stamp, Tail, TreeRoot, VolumeEntry, VolumeId, VolumesTree, padme,
};
use zeroize::Zeroizing;

use common::{ARCHIVE, credential, entropy, root};

struct Vectors(String);

impl Vectors {
    fn note(&mut self, name: &str, bytes: impl AsRef<[u8]>) {
        write!(self.0, "{name} = ").unwrap();
        bytes
            .as_ref()
            .iter()
            .for_each(|byte| write!(self.0, "{byte:02x}").unwrap());
        self.0.push('\n');
    }
}

/// Bytes that zstd cannot shorten, so that no vector depends on zstd's version.
fn incompressible(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    bytes
}

fn leaf<S: Shape>(slot: usize, value: S::Value) -> Vec<u8> {
    let mut values: [Option<S::Value>; FANOUT] = [const { None }; FANOUT];
    values[slot] = Some(value);
    Node::<S>::Leaf(Box::new(values)).encode()
}

fn inner<S: Shape>(child: S::Child) -> Vec<u8> {
    let mut children: [Option<S::Child>; FANOUT] = [None; FANOUT];
    children[31] = Some(child);
    Node::<S>::Inner {
        level: 2,
        children: Box::new(children),
    }
    .encode()
}

fn counted(place: usize) -> u8 {
    u8::try_from(place).unwrap()
}

fn derivations(vectors: &mut Vectors) {
    let credential = credential();
    vectors.note(
        "credential: ROOT 32 x 11, epoch 1, archive id 16 x 22",
        credential.encode(),
    );
    vectors.note("slot name 0", slot_name(0).0);
    vectors.note("slot name 255", slot_name(255).0);
    vectors.note("commit name 1", credential.commit_name(1).0);
    vectors.note("commit name 2^63", credential.commit_name(1 << 63).0);
    vectors.note("commit name 1, copy 1", credential.commit_copy_name(1, 1).0);
    vectors.note(
        "commit name 1, copy 255",
        credential.commit_copy_name(1, 255).0,
    );
    assert_eq!(credential.commit_copy_name(1, 0), credential.commit_name(1));
    vectors.note(
        "code of commit 18 with the hash 00 01 02 …, its characters",
        HeadCode::of(18, &std::array::from_fn(counted)).to_string(),
    );
    vectors.note("pack name of 00 01 02", pack_name(&[0, 1, 2]).0);
    vectors.note("node id of 00 01 02", credential.node_id(&[0, 1, 2]).0);
    vectors.note(
        "content id of 00 01 02 in domain 16 x 66",
        credential
            .domain(DomainId([0x66; 16]))
            .content_id(&[0, 1, 2])
            .0,
    );
    let (_, entry) = SessionKey::draw(&credential, 5, &entropy(0x33)).unwrap();
    vectors.note(
        "key 5 enc: kernel 32 x 33, generation 7, clocks 8 and 9, process 10",
        entry.enc,
    );
    vectors.note("key 5 check", entry.check);
    let recovery = RecoveryKey::new(&mut [0x77; 20]);
    vectors.note(
        "recovery key of 20 x 77, its characters",
        recovery.printed().as_bytes(),
    );
    for length in [65_536_u64, 65_537, 1_000_001, 16_777_217] {
        vectors.note(
            &format!("padme of {length}, u64"),
            padme(length).to_le_bytes(),
        );
    }
}

fn objects(vectors: &mut Vectors) {
    let credential = credential();
    let (memory_kib, passes) = (SlotParams::LEAST.memory_kib(), SlotParams::LEAST.passes());
    let clear = SlotClear {
        number: 3,
        kind: SlotKind::Passphrase,
        archive: ARCHIVE,
        memory_kib,
        passes,
        salt: [0x44; 32],
    };
    let password = Password::new(Zeroizing::new(b"horse".to_vec())).unwrap();
    let slot = seal_slot(&root(), clear, &password, NonceSeed([0x55; 24])).unwrap();
    vectors.note(
        "slot 3, passphrase horse, salt 32 x 44, nonce seed 24 x 55",
        slot.encode(),
    );
    let recovery = RecoveryKey::new(&mut [0x77; 20]);
    let clear = SlotClear {
        number: 4,
        kind: SlotKind::RecoveryKey,
        ..clear
    };
    let password = Password::new(Zeroizing::new(recovery.chars().to_vec())).unwrap();
    vectors.note(
        "slot 4, that recovery key",
        seal_slot(&root(), clear, &password, NonceSeed([0x55; 24]))
            .unwrap()
            .encode(),
    );

    let (key, entry) = SessionKey::draw(&credential, 5, &entropy(0x33)).unwrap();
    let chunk = incompressible(8192);
    let id = credential.domain(DomainId([0x66; 16])).content_id(&chunk);
    let mut coder = Coder::new(3).unwrap();
    let record = credential
        .seal_chunk(&key, &mut coder, &id, &chunk, NonceSeed([0x88; 24]))
        .unwrap();
    vectors.note(
        "id of the chunk: 8192 bytes of BLAKE3's output for nothing",
        id.0,
    );
    vectors.note(
        "H of the chunk's record under key 5, nonce seed 24 x 88",
        blake3::hash(&record).as_bytes(),
    );
    vectors.note("the record's nonce", &record[..24]);

    let place = Place {
        pack: 9,
        offset_bytes: 10,
        length_bytes: 11,
        id: Id([12; 32]),
    };
    let pack = PackEntry {
        name: BlobName([13; 32]),
        directory: Id([14; 32]),
        length_bytes: 1 << 24,
        directory_offset_bytes: 15,
        directory_length_bytes: 16,
        state: PackState::GivenUp(GivenUp {
            at: Stamp {
                run: 17,
                kept_secs: 1 << 33,
            },
            heirs: Heirs::new(9, 12),
        }),
    };
    let session = SessionEntry {
        time: 1_800_000_000,
        kept_secs: 1 << 34,
        generation: 18,
        size_bytes: 1 << 40,
        added_bytes: 19,
        chunk_size_bytes: 1 << 17,
        live: true,
        pinned: true,
        domain: DomainId([20; 16]),
        root: Id([21; 32]),
        settings: vec![Id([22; 32])],
        tags: vec!["weekly".into(), "ü".into()],
    };
    let volume = VolumeEntry {
        id: VolumeId([23; 16]),
        domain: DomainId([24; 16]),
        size_bytes: 25,
        chunk_size_bytes: 1 << 17,
        sessions_size: 26,
        sessions_root: Id([27; 32]),
        name: "vm.img".into(),
        description: "mail".into(),
    };
    vectors.note(
        "leaf of content, slot 3",
        leaf::<ContentTree>(3, Id([28; 32])),
    );
    vectors.note("leaf of the pack table, slot 0", leaf::<PacksTree>(0, pack));
    let going = PackState::Going(GivenUp {
        at: Stamp {
            run: 1,
            kept_secs: 0,
        },
        heirs: None,
    });
    vectors.note(
        "leaf of the pack table, slot 31, going without heirs",
        leaf::<PacksTree>(
            31,
            PackEntry {
                state: going,
                ..pack
            },
        ),
    );
    vectors.note(
        "leaf of a session table, slot 1",
        leaf::<SessionsTree>(1, session),
    );
    vectors.note("leaf of the key table, slot 5", leaf::<KeysTree>(5, entry));
    vectors.note(
        "leaf of the volume table, slot 31",
        leaf::<VolumesTree>(31, volume),
    );
    vectors.note(
        "inner node of content, level 2, child 31",
        inner::<ContentTree>(Id([29; 32])),
    );
    vectors.note(
        "inner node of the pack table, level 2, child 31",
        inner::<PacksTree>(place),
    );
    let plain = leaf::<ContentTree>(3, Id(*blake3::hash(b"").as_bytes()));
    let record = credential
        .seal_meta(
            Kind::Node,
            &mut coder,
            &credential.node_id(&plain),
            &plain,
            NonceSeed([0x88; 24]),
        )
        .unwrap();
    assert_eq!(record.len(), plain.len() + 44, "raw");
    vectors.note(
        "leaf of content, slot 3 is H of nothing, sealed, nonce seed 24 x 88",
        record,
    );

    let entries = vec![
        DirectoryEntry {
            id: Id([30; 32]),
            offset_bytes: 0,
            length_bytes: 100,
            kind: RecordKind::Chunk { key: 5 },
        },
        DirectoryEntry {
            id: Id([31; 32]),
            offset_bytes: 100,
            length_bytes: 50,
            kind: RecordKind::Node,
        },
    ];
    vectors.note(
        "directory of a chunk and a node",
        Directory { entries }.encode(),
    );

    let commit = Commit {
        generation: 6,
        time: 1_800_000_001,
        writer: [32; 16],
        previous: [33; 32],
        skip: [34; 32],
        stamp: CommitStamp {
            stamp: Stamp {
                run: 35,
                kept_secs: 1 << 35,
            },
            counted_secs: 1 << 34,
        },
        earlier_hold_off: Some(EarlierHoldOff {
            until: Stamp {
                run: 34,
                kept_secs: 1 << 33,
            },
            hold_off: HoldOff {
                runs: 30,
                secs: 2_592_000,
            },
        }),
        floor: Some(Floor {
            pack: 36,
            sent_secs: 1 << 34,
        }),
        epoch: Epoch(1),
        settings: ArchiveSettings {
            chunk_size_bytes: 1 << 17,
            pack_size_bytes: 1 << 24,
            hold_off_runs: 3,
            hold_off_secs: 604_800,
            minimum_age_secs: 604_801,
            zstd_level: -3,
            shared_domain: Some(DomainId([36; 16])),
        },
        next_slot: 5,
        packs: PacksRoot {
            size: 37,
            root: Some(place),
        },
        keys: TreeRoot {
            size: 38,
            root: Some(Id([39; 32])),
        },
        volumes: TreeRoot {
            size: 40,
            root: Some(Id([41; 32])),
        },
        tail: Some(Tail {
            number: 37,
            entry: PackEntry {
                state: PackState::Live,
                ..pack
            },
        }),
        slots: vec![
            SlotRef {
                number: 3,
                time: 1_799_999_999,
                kind: SlotKind::Passphrase,
                hash: [42; 32],
                label: SlotLabel::default(),
            },
            SlotRef {
                number: 4,
                time: -1,
                kind: SlotKind::RecoveryKey,
                hash: [43; 32],
                label: SlotLabel::new("sheet in the safe ü").unwrap(),
            },
        ],
    };
    let plain = commit.encode();
    vectors.note(
        "commit 6, without the zeros at its end",
        &plain[..plain.iter().rposition(|byte| *byte != 0).unwrap() + 1],
    );
    let name = Id(credential.commit_name(6).0);
    let sealed = credential
        .seal_meta(
            Kind::Commit,
            &mut coder,
            &name,
            &plain,
            NonceSeed([0x88; 24]),
        )
        .unwrap();
    vectors.note(
        "H of commit 6 sealed, nonce seed 24 x 88",
        blake3::hash(&sealed).as_bytes(),
    );
}

#[test]
fn every_derivation_and_object_is_what_the_vectors_say() {
    let mut vectors = Vectors("# Test vectors of the archive format, version 0. See crates/wyng-archive/tests/vectors.rs.\n".into());
    derivations(&mut vectors);
    objects(&mut vectors);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/format-0.txt");
    if std::env::var_os("WYNG_WRITE_VECTORS").is_some() {
        std::fs::write(&path, &vectors.0).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap();
    for (found, expected) in vectors.0.lines().zip(expected.lines()) {
        assert_eq!(found, expected);
    }
    assert_eq!(vectors.0.lines().count(), expected.lines().count());
}
