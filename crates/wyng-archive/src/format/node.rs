// SPDX-License-Identifier: GPL-3.0-or-later
//! The node of the radix tree, for each of the five kinds of tree. Layout: `docs/format.md`,
//! section 8.

use std::fmt;

use super::bytes::{Malformed, Reader, Writer};
use super::entries::{KeyEntry, PackEntry, Place, SessionEntry, VolumeEntry};
use crate::ids::Id;

/// Number of children of a node.
pub const FANOUT: usize = 32;
/// Maximum length of a node's plain bytes, bytes.
pub const NODE_PLAIN_MAX_BYTES: usize = 256 * 1024;
const HEADER_BYTES: usize = 8;

/// A kind of tree: the entries of its leaves, and how its nodes name each other.
pub trait Shape: Sized {
    /// The tree's number in the format.
    const TREE: u8;
    /// A leaf's entry.
    type Value: Clone + PartialEq + fmt::Debug;
    /// How an inner node names a child.
    type Child: Copy + PartialEq + fmt::Debug;

    /// Appends a leaf's entry.
    fn encode_value(value: &Self::Value, writer: &mut Writer);
    /// Decodes a leaf's entry.
    fn decode_value(reader: &mut Reader<'_>) -> Result<Self::Value, Malformed>;
    /// Appends a child's name.
    fn encode_child(child: &Self::Child, writer: &mut Writer);
    /// Decodes a child's name.
    fn decode_child(reader: &mut Reader<'_>) -> Result<Self::Child, Malformed>;
}

macro_rules! found_by_id {
    ($(#[$doc:meta])* $name:ident = $tree:literal, $value:ty, $encode:expr, $decode:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct $name;

        impl Shape for $name {
            const TREE: u8 = $tree;
            type Value = $value;
            type Child = Id;

            fn encode_value(value: &$value, writer: &mut Writer) {
                $encode(value, writer);
            }
            fn decode_value(reader: &mut Reader<'_>) -> Result<$value, Malformed> {
                $decode(reader)
            }
            fn encode_child(child: &Id, writer: &mut Writer) {
                writer.bytes(&child.0);
            }
            fn decode_child(reader: &mut Reader<'_>) -> Result<Id, Malformed> {
                reader.array().map(Id)
            }
        }
    };
}

found_by_id!(
    /// The content tree of a session: chunk number to content id.
    ContentTree = 1, Id,
    |id: &Id, writer: &mut Writer| { writer.bytes(&id.0); },
    |reader: &mut Reader<'_>| reader.array().map(Id)
);
found_by_id!(
    /// The session table of a volume.
    SessionsTree = 3, SessionEntry, SessionEntry::encode, SessionEntry::decode
);
found_by_id!(
    /// The key table: the envelopes of session keys.
    KeysTree = 4, KeyEntry, KeyEntry::encode, KeyEntry::decode
);
found_by_id!(
    /// The volume table.
    VolumesTree = 5, VolumeEntry, VolumeEntry::encode, VolumeEntry::decode
);

/// The pack table. Its nodes name each other by place, because packs are found through it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PacksTree;

impl Shape for PacksTree {
    const TREE: u8 = 2;
    type Value = PackEntry;
    type Child = Place;

    fn encode_value(value: &PackEntry, writer: &mut Writer) {
        value.encode(writer);
    }
    fn decode_value(reader: &mut Reader<'_>) -> Result<PackEntry, Malformed> {
        PackEntry::decode(reader)
    }
    fn encode_child(child: &Place, writer: &mut Writer) {
        child.encode(writer);
    }
    fn decode_child(reader: &mut Reader<'_>) -> Result<Place, Malformed> {
        Place::decode(reader)
    }
}

/// A node: a leaf with entries, or an inner node with children. It has at most [`FANOUT`] of them,
/// and at least one when it is stored.
#[derive(Debug, Clone, PartialEq)]
pub enum Node<S: Shape> {
    /// A node of level 0, with entries.
    Leaf(Box<[Option<S::Value>; FANOUT]>),
    /// A node of level 1 or above, with children.
    Inner {
        /// Height above the leaves.
        level: u8,
        /// The names of the children.
        children: Box<[Option<S::Child>; FANOUT]>,
    },
}

impl<S: Shape> Node<S> {
    /// An empty node, which is never stored.
    pub fn empty(level: u8) -> Self {
        if level == 0 {
            Self::Leaf(Box::new([const { None }; FANOUT]))
        } else {
            Self::Inner {
                level,
                children: Box::new([None; FANOUT]),
            }
        }
    }

    /// Height above the leaves.
    pub fn level(&self) -> u8 {
        match self {
            Self::Leaf(_) => 0,
            Self::Inner { level, .. } => *level,
        }
    }

    /// Whether it has neither entries nor children.
    pub fn is_empty(&self) -> bool {
        self.bitmap() == 0
    }

    fn bitmap(&self) -> u32 {
        fn bits<T>(slots: &[Option<T>; FANOUT]) -> u32 {
            slots
                .iter()
                .rev()
                .fold(0, |bits, slot| (bits << 1) | u32::from(slot.is_some()))
        }
        match self {
            Self::Leaf(values) => bits(values),
            Self::Inner { children, .. } => bits(children),
        }
    }

    /// The canonical bytes, of which the keyed hash is the id, and which are sealed.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::with_capacity(HEADER_BYTES + FANOUT * 32);
        writer
            .u8(S::TREE)
            .u8(self.level())
            .u16(0)
            .u32(self.bitmap());
        match self {
            Self::Leaf(values) => values
                .iter()
                .flatten()
                .for_each(|value| S::encode_value(value, &mut writer)),
            Self::Inner { children, .. } => children
                .iter()
                .flatten()
                .for_each(|child| S::encode_child(child, &mut writer)),
        }
        writer.finish()
    }

    /// Decodes a node, which must be of this tree and `level`. The tree has `room` indices from the
    /// node's first index on.
    pub fn decode(plain: &[u8], level: u8, room: u64) -> Result<Self, Malformed> {
        let mut reader = Reader::new(plain);
        if reader.u8()? != S::TREE {
            return Err(Malformed("a node of another tree"));
        }
        if reader.u8()? != level {
            return Err(Malformed("a node of another level"));
        }
        reader.zeros(2, "reserved")?;
        let bitmap = reader.u32()?;
        if bitmap == 0 {
            return Err(Malformed("an empty node"));
        }
        let span = 1u64
            .checked_shl(u32::from(level).saturating_mul(5))
            .unwrap_or(u64::MAX);
        let slots_with_room = u32::try_from(room.div_ceil(span)).unwrap_or(u32::MAX);
        if bitmap.checked_shr(slots_with_room).unwrap_or(0) != 0 {
            return Err(Malformed("a child past the end"));
        }
        let mut node = Self::empty(level);
        let present = |slot: usize| {
            bitmap
                .checked_shr(u32::try_from(slot).unwrap_or(u32::MAX))
                .unwrap_or(0)
                & 1
                == 1
        };
        match &mut node {
            Self::Leaf(values) => {
                for (_, value) in values
                    .iter_mut()
                    .enumerate()
                    .filter(|(slot, _)| present(*slot))
                {
                    *value = Some(S::decode_value(&mut reader)?);
                }
            }
            Self::Inner { children, .. } => {
                for (_, child) in children
                    .iter_mut()
                    .enumerate()
                    .filter(|(slot, _)| present(*slot))
                {
                    *child = Some(S::decode_child(&mut reader)?);
                }
            }
        }
        reader.end()?;
        Ok(node)
    }
}
