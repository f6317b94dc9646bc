// SPDX-License-Identifier: GPL-3.0-or-later
//! Whether every chunk and node of every session lies in a pack that the archive has, under a key
//! that it has. The cache answers; nothing is fetched.

use std::collections::{BTreeSet, HashSet};

use wyng_archive::crypto::Id;
use wyng_archive::format::{ContentTree, SessionEntry};
use wyng_archive::plan::mark;
use wyng_archive::{BlobName, Class, Fault};
use wyng_control::Failure;

use super::findings::Findings;
use super::scope::Scope;
use crate::archive::{Archive, NodesAtHand, content_root};
use crate::cache::{Location, Stored};
use crate::world::{Client, Files};

/// Notes each object that a session of the scope reaches and no pack has, and each pack that holds
/// chunks under a session key that is lost.
pub(super) fn check(
    files: &mut impl Files,
    client: &mut impl Client,
    archive: &mut Archive,
    scope: &Scope,
    findings: &mut Findings,
) -> Result<(), Failure> {
    let (mut seen, mut unopenable) = (Seen::default(), BTreeSet::new());
    for (_, session) in &scope.sessions {
        if client.cancelled() {
            return Err(Failure::Interrupted);
        }
        let (nodes, chunks) = seen.new_objects(files, archive, session)?;
        let nodes = nodes.into_iter().map(|id| (Class::Node, id));
        for (class, id) in nodes.chain(chunks.into_iter().map(|id| (Class::Record, id))) {
            let location = archive.cache.index.find(files, &id)?;
            match location.and_then(|location| Some((location, scope.packs.get(&location.pack)?))) {
                None => findings.note(class, BlobName(id.0), Fault::Missing),
                Some((location, pack)) if is_under_lost_key(archive, findings, &location) => {
                    unopenable.insert(pack.name);
                }
                Some(_) => {}
            }
            // The domain of a session is known, so its chunks have their ids in it.
            findings.judge_reached(&id);
        }
    }
    for pack in unopenable {
        findings.note(
            Class::Pack,
            pack,
            Fault::Shape("the session key of records in it is lost"),
        );
    }
    Ok(())
}

/// Objects that were met in an earlier session.
#[derive(Default)]
struct Seen {
    nodes: HashSet<Id>,
    chunks: HashSet<Id>,
}

impl Seen {
    /// The nodes and the chunks that a session reaches and no session before it did.
    fn new_objects(
        &mut self,
        files: &mut impl Files,
        archive: &mut Archive,
        session: &SessionEntry,
    ) -> Result<(Vec<Id>, Vec<Id>), Failure> {
        let (mut nodes, mut chunks) = (Vec::new(), Vec::new());
        let mut first = |id: &Id| {
            let is_first = self.nodes.insert(*id);
            nodes.extend(is_first.then_some(*id));
            is_first
        };
        mark::<ContentTree, _, _, _>(
            &content_root(session),
            &mut NodesAtHand(archive.nodes(files)),
            &mut first,
            &mut |id| {
                chunks.extend(self.chunks.insert(*id).then_some(*id));
                Ok(())
            },
        )?;
        Ok((nodes, chunks))
    }
}

/// Whether it is a chunk in a pack that is whole, under a session key that is lost. A pack that is
/// not whole is a problem of its own.
fn is_under_lost_key(archive: &Archive, findings: &Findings, location: &Location) -> bool {
    let key_lost =
        matches!(location.stored, Stored::Chunk { key } if archive.cache.index.is_key_lost(key));
    key_lost && !findings.is_noted_lost(location.pack)
}
