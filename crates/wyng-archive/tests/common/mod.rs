// SPDX-License-Identifier: GPL-3.0-or-later
//! Fixed keys and strategies for values of the format.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(dead_code, reason = "each test file uses another part")]

use proptest::prelude::*;
use wyng_archive::BlobName;
use wyng_archive::crypto::{
    ArchiveId, Credential, DomainId, Entropy, Epoch, Id, Root, Secret, SessionKey,
};
use wyng_archive::format::{
    ArchiveSettings, Commit, CommitStamp, EarlierHoldOff, Floor, GivenUp, Heirs, HoldOff, KeyEntry,
    PackEntry, PackState, PacksRoot, Place, SessionEntry, SlotKind, SlotLabel, SlotRef, Stamp,
    Tail, TreeRoot, VolumeEntry, VolumeId,
};

pub(crate) const ARCHIVE: ArchiveId = ArchiveId([0x22; 16]);

pub(crate) fn root() -> Root {
    Root::new(Secret::take(&mut [0x11; 32]), Epoch(1))
}

pub(crate) fn credential() -> Credential {
    root().credential(ARCHIVE).unwrap()
}

/// The entropy of a generator that returns the same byte for ever.
pub(crate) fn entropy(byte: u8) -> Entropy {
    Entropy {
        kernel: Secret::take(&mut [byte; 32]),
        generation: 7,
        wall_nanos: 8,
        monotonic_nanos: 9,
        process_id: 10,
    }
}

pub(crate) fn session_key(credential: &Credential, number: u32) -> SessionKey {
    SessionKey::draw(credential, number, &entropy(0x33))
        .unwrap()
        .0
}

pub(crate) fn id() -> impl Strategy<Value = Id> {
    any::<[u8; 32]>().prop_map(Id)
}

pub(crate) fn stamp() -> impl Strategy<Value = Stamp> {
    (1..=u64::MAX, any::<u64>()).prop_map(|(run, kept_secs)| Stamp { run, kept_secs })
}

fn pack_state() -> impl Strategy<Value = PackState> {
    let heirs = (any::<u64>(), any::<u64>()).prop_map(|(a, b)| Heirs {
        first: a.min(b),
        last: a.max(b),
    });
    (0..4_u8, stamp(), prop::option::of(heirs)).prop_map(|(state, at, heirs)| match state {
        0 => PackState::Live,
        1 => PackState::GivenUp(GivenUp { at, heirs }),
        2 => PackState::Going(GivenUp { at, heirs }),
        _ => PackState::Lost,
    })
}

pub(crate) fn pack_entry() -> impl Strategy<Value = PackEntry> {
    (any::<[u8; 32]>(), id(), 0..=u32::MAX, pack_state()).prop_flat_map(
        |(name, directory, length_bytes, state)| {
            (0..=length_bytes).prop_flat_map(move |directory_offset_bytes| {
                (0..=length_bytes - directory_offset_bytes).prop_map(
                    move |directory_length_bytes| PackEntry {
                        name: BlobName(name),
                        directory,
                        length_bytes,
                        directory_offset_bytes,
                        directory_length_bytes,
                        state,
                    },
                )
            })
        },
    )
}

pub(crate) fn place() -> impl Strategy<Value = Place> {
    (any::<u64>(), any::<u32>(), any::<u32>(), id()).prop_map(
        |(pack, offset_bytes, length_bytes, id)| Place {
            pack,
            offset_bytes,
            length_bytes,
            id,
        },
    )
}

pub(crate) fn key_entry() -> impl Strategy<Value = KeyEntry> {
    (any::<u32>(), any::<[u8; 32]>(), any::<[u8; 32]>()).prop_map(|(epoch, enc, check)| KeyEntry {
        epoch: Epoch(epoch),
        enc,
        check,
    })
}

fn chunk_size() -> impl Strategy<Value = u32> {
    (9..=20_u32).prop_map(|log2| 1 << log2)
}

pub(crate) fn session() -> impl Strategy<Value = SessionEntry> {
    let numbers = (
        (any::<i64>(), any::<u64>()),
        any::<u64>(),
        any::<u64>(),
        any::<u64>(),
        chunk_size(),
        any::<bool>(),
        any::<bool>(),
    );
    let tags = prop::collection::vec("[a-zäß✓]{1,20}", 0..16);
    (
        numbers,
        any::<[u8; 16]>(),
        id(),
        prop::collection::vec(id(), 0..16),
        tags,
    )
        .prop_map(
            |(
                (
                    (time, kept_secs),
                    generation,
                    size_bytes,
                    added_bytes,
                    chunk_size_bytes,
                    live,
                    pinned,
                ),
                domain,
                root,
                settings,
                tags,
            )| SessionEntry {
                time,
                kept_secs,
                generation,
                size_bytes,
                added_bytes,
                chunk_size_bytes,
                live,
                pinned,
                domain: DomainId(domain),
                root,
                settings,
                tags,
            },
        )
}

pub(crate) fn volume() -> impl Strategy<Value = VolumeEntry> {
    let names = ("[a-zA-Z0-9ü ][^/\\p{Cc}]{0,40}", "\\PC{0,300}");
    (
        any::<[u8; 16]>(),
        any::<[u8; 16]>(),
        any::<u64>(),
        chunk_size(),
        any::<u64>(),
        id(),
        names,
    )
        .prop_map(
            |(
                volume,
                domain,
                size_bytes,
                chunk_size_bytes,
                sessions_size,
                sessions_root,
                (name, description),
            )| VolumeEntry {
                id: VolumeId(volume),
                domain: DomainId(domain),
                size_bytes,
                chunk_size_bytes,
                sessions_size,
                sessions_root,
                name,
                description,
            },
        )
}

fn tree_root() -> impl Strategy<Value = TreeRoot> {
    (
        1..u64::MAX,
        prop::option::of(any::<[u8; 32]>().prop_filter("a root", |root| *root != [0; 32])),
    )
        .prop_map(|(size, root)| TreeRoot {
            size,
            root: root.map(Id),
        })
}

fn slot_kind() -> impl Strategy<Value = SlotKind> {
    prop_oneof![
        Just(SlotKind::Passphrase),
        Just(SlotKind::RecoveryKey),
        Just(SlotKind::Token)
    ]
}

/// A commit's stamp, with an earlier hold-off that it can have, and a floor.
fn commit_stamp() -> impl Strategy<Value = (CommitStamp, Option<EarlierHoldOff>, Option<Floor>)> {
    let earlier = (
        any::<bool>(),
        any::<u64>(),
        any::<u64>(),
        any::<u64>(),
        any::<u64>(),
    );
    let floor = prop::option::of(any::<(u64, u64)>());
    (stamp(), any::<u64>(), earlier, floor).prop_map(|(stamp, counted, earlier, floor)| {
        let (has_earlier, run, kept_secs, runs, secs) = earlier;
        let until = Stamp {
            run: run.clamp(1, stamp.run),
            kept_secs: kept_secs.min(stamp.kept_secs),
        };
        let hold_off = HoldOff { runs, secs };
        let commit = CommitStamp {
            stamp,
            counted_secs: counted.min(stamp.kept_secs),
        };
        let earlier = has_earlier.then_some(EarlierHoldOff { until, hold_off });
        let floor = floor.map(|(pack, sent_secs)| Floor { pack, sent_secs });
        (commit, earlier, floor)
    })
}

/// All possible commits: every commit that decodes is one of them.
pub(crate) fn commit() -> impl Strategy<Value = Commit> {
    let fixed = (
        1..u64::MAX,
        any::<i64>(),
        any::<[u8; 16]>(),
        any::<[u8; 32]>(),
        commit_stamp(),
        any::<u32>(),
    );
    let settings = (
        7..=11_u32,
        any::<u32>(),
        any::<(u64, u64)>(),
        -7..=19_i8,
        prop::option::of(any::<[u8; 16]>()),
    );
    let trees = (
        1..1_000_000_u64,
        place(),
        pack_entry(),
        tree_root(),
        tree_root(),
    );
    let slots = prop::collection::btree_map(
        0..200_u8,
        (
            any::<i64>(),
            slot_kind(),
            any::<[u8; 32]>(),
            "[a-zü ]{0,16}",
        ),
        1..8,
    );
    (fixed, settings, trees, slots, any::<bool>()).prop_map(
        |(fixed, settings, trees, slots, has_tail)| {
            let (generation, time, writer, previous, (stamp, earlier_hold_off, floor), epoch) =
                fixed;
            let (log2, hold_off_runs, times, zstd_level, shared) = settings;
            let (hold_off_secs, minimum_age_secs) = times;
            let (packs_size, place, mut entry, keys, volumes) = trees;
            entry.state = PackState::Live;
            let place = Place {
                pack: place.pack % packs_size,
                ..place
            };
            Commit {
                generation,
                time,
                writer,
                previous: if generation == 1 { [0; 32] } else { previous },
                skip: if wyng_archive::format::skip_of(generation) == 0 {
                    [0; 32]
                } else {
                    previous
                },
                stamp,
                earlier_hold_off,
                floor,
                epoch: Epoch(epoch),
                settings: ArchiveSettings {
                    chunk_size_bytes: 1 << (log2 + 2),
                    pack_size_bytes: 64 << 10,
                    hold_off_runs,
                    hold_off_secs,
                    minimum_age_secs,
                    zstd_level,
                    shared_domain: shared.map(DomainId),
                },
                next_slot: 200,
                packs: if has_tail {
                    PacksRoot {
                        size: packs_size,
                        root: Some(place),
                    }
                } else {
                    PacksRoot {
                        size: 0,
                        root: None,
                    }
                },
                keys,
                volumes,
                tail: has_tail.then_some(Tail {
                    number: packs_size,
                    entry,
                }),
                slots: slots
                    .into_iter()
                    .map(|(number, (time, kind, hash, label))| SlotRef {
                        number,
                        time,
                        kind,
                        hash,
                        label: SlotLabel::new(&label).unwrap(),
                    })
                    .collect(),
            }
        },
    )
}
