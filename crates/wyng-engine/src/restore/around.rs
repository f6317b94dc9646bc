// SPDX-License-Identifier: GPL-3.0-or-later
//! Restoring around damage: zeros where no pack has the bytes any more, and a list of these ranges.
//! Every other byte is exact.

use wyng_archive::crypto::Id;
use wyng_archive::format::{ContentTree, Node, SessionEntry};
use wyng_archive::plan::{Nodes, Walk};
use wyng_control::{Failure, ToClient};

use crate::archive::{Archive, EveryNode, content_root};
use crate::bits::Bits;
use crate::world::{Client, Files};

/// Maximum number of ranges in one message.
const RANGES_PER_MESSAGE: usize = 1000;
/// Number of children of a node.
const FAN_OUT: u64 = 32;

/// Lets lost content nodes read as holes for the rest of the command.
pub(super) fn begin(archive: &mut Archive) {
    archive.cache.lost_are_holes = true;
}

/// The chunks of a session that lie below lost nodes.
pub(super) fn below_lost_nodes(
    files: &mut impl Files,
    client: &mut impl Client,
    archive: &mut Archive,
    session: &SessionEntry,
) -> Result<Bits, Failure> {
    let mut lost = Bits::none(session.chunk_count());
    if archive.cache.index.has_lost() {
        let root = content_root(session);
        let mut walk = Walk::<ContentTree>::from(&root, 0);
        let mut nodes = Noting {
            nodes: EveryNode(archive.nodes(files)),
            size: root.size,
            lost: &mut lost,
        };
        while walk.next(&mut nodes)?.is_some() {
            if client.cancelled() {
                return Err(Failure::Interrupted);
            }
        }
    }
    Ok(lost)
}

/// The chunks of a session that lie below lost nodes, and those among `wanted` that no sound pack
/// is known to have. A restore may find some of them all the same.
pub(super) fn known_lost(
    files: &mut impl Files,
    client: &mut impl Client,
    archive: &mut Archive,
    session: &SessionEntry,
    wanted: &[(u64, Id)],
) -> Result<Bits, Failure> {
    let mut lost = below_lost_nodes(files, client, archive, session)?;
    for (index, id) in wanted {
        if archive.cache.index.find_sound(files, id)?.is_none() {
            lost.insert(*index..index.saturating_add(1));
        }
        if client.cancelled() {
            return Err(Failure::Interrupted);
        }
    }
    Ok(lost)
}

/// Reports the ranges in which zeros replace lost bytes; returns the number of these bytes.
pub(super) fn report_lost(
    client: &mut impl Client,
    volume: &str,
    session: &SessionEntry,
    lost: &Bits,
) -> Result<u64, Failure> {
    let chunk_size = u64::from(session.chunk_size_bytes);
    let (mut ranges, mut lost_bytes) = (Vec::new(), 0u64);
    let mut next = 0;
    while let Some(run) = lost.next_run(next) {
        next = run.end;
        let range = (
            run.start.saturating_mul(chunk_size),
            run.end.saturating_mul(chunk_size).min(session.size_bytes),
        );
        lost_bytes = lost_bytes.saturating_add(range.1.saturating_sub(range.0));
        ranges.push(range);
        if ranges.len() >= RANGES_PER_MESSAGE {
            client.tell(ToClient::Lost {
                volume: volume.to_owned(),
                ranges: std::mem::take(&mut ranges),
            })?;
        }
    }
    if !ranges.is_empty() {
        client.tell(ToClient::Lost {
            volume: volume.to_owned(),
            ranges,
        })?;
    }
    Ok(lost_bytes)
}

/// Passes over lost nodes, and notes the chunks below them.
struct Noting<'a, 'b, F> {
    nodes: EveryNode<'a, F>,
    size: u64,
    lost: &'b mut Bits,
}

impl<F: Files> Nodes<ContentTree> for Noting<'_, '_, F> {
    type Error = Failure;

    fn load(&mut self, child: &Id, level: u8, room: u64) -> Result<Node<ContentTree>, Failure> {
        match self.nodes.load(child, level, room) {
            Err(Failure::Missing { .. }) => {
                let begin = self.size.saturating_sub(room);
                let chunks = FAN_OUT.saturating_pow(u32::from(level).saturating_add(1));
                self.lost.insert(begin..begin.saturating_add(chunks));
                Ok(Node::empty(level))
            }
            loaded => loaded,
        }
    }
}
