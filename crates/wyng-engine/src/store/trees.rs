// SPDX-License-Identifier: GPL-3.0-or-later
//! Trees that are edited while their new nodes go into packs. What is entered is decided elsewhere.

use wyng_archive::crypto::Id;
use wyng_archive::format::{ContentTree, Node, PacksTree, Place, Shape};
use wyng_archive::plan::{EditError, Editor, Nodes, NodesMut, Root};
use wyng_control::Failure;

use super::packer::Packer;
use super::tools::Tools;
use crate::archive::{CachedNodes, CachedPackNodes};
use crate::outcome::internal;
use crate::world::Parts;

/// Reads nodes from the cache, and writes new nodes into packs.
pub(super) struct PackedNodes<'a, 'b, P: Parts> {
    /// What packing works with.
    pub tools: &'a mut Tools<'b, P>,
    /// Takes the new nodes.
    pub packer: &'a mut Packer<P>,
}

impl<P: Parts, S: Shape<Child = Id>> Nodes<S> for PackedNodes<'_, '_, P> {
    type Error = Failure;

    fn load(&mut self, child: &Id, level: u8, room: u64) -> Result<Node<S>, Failure> {
        cached(self.tools).load(child, level, room)
    }
}

impl<P: Parts, S: Shape<Child = Id>> NodesMut<S> for PackedNodes<'_, '_, P> {
    fn save(&mut self, node: &Node<S>) -> Result<Id, Failure> {
        self.packer.add_node(self.tools, node.encode())
    }
}

impl<P: Parts> Nodes<PacksTree> for PackedTail<'_, '_, P> {
    type Error = Failure;

    fn load(&mut self, child: &Place, level: u8, room: u64) -> Result<Node<PacksTree>, Failure> {
        CachedPackNodes(cached(self.0.tools)).load(child, level, room)
    }
}

/// The same for the pack table: its nodes go into the tail at once, because they are named by their
/// places.
pub(super) struct PackedTail<'a, 'b, P: Parts>(pub PackedNodes<'a, 'b, P>);

impl<P: Parts> NodesMut<PacksTree> for PackedTail<'_, '_, P> {
    fn save(&mut self, node: &Node<PacksTree>) -> Result<Place, Failure> {
        self.0.packer.add_tail_node(self.0.tools, node.encode())
    }
}

/// The nodes of the cache that packing writes to.
pub(super) fn cached<'a, P: Parts>(tools: &'a mut Tools<'_, P>) -> CachedNodes<'a, P::Files> {
    CachedNodes {
        files: &mut *tools.files,
        cache: &mut *tools.cache,
        credential: tools.credential,
    }
}

/// Edits a tree whose nodes are found by id, writing new nodes into packs.
pub(super) fn edit_tree<P: Parts, S: Shape<Child = Id>>(
    tools: &mut Tools<'_, P>,
    packer: &mut Packer<P>,
    old: &Root<Id>,
    size: u64,
    changes: impl IntoIterator<Item = (u64, Option<S::Value>)>,
) -> Result<Root<Id>, Failure> {
    let mut nodes = PackedNodes { tools, packer };
    let mut editor = Editor::<S>::new(old, size, &mut nodes).map_err(edit_failure)?;
    for (index, value) in changes {
        editor.set(index, value, &mut nodes).map_err(edit_failure)?;
    }
    editor.finish(&mut nodes).map_err(edit_failure)
}

/// A content tree that is edited while its volume is read.
pub(crate) struct ContentEdit(Editor<ContentTree>);

impl ContentEdit {
    /// Begins with the base session's tree.
    pub(crate) fn new<P: Parts>(
        tools: &mut Tools<'_, P>,
        packer: &mut Packer<P>,
        base: &Root<Id>,
        size: u64,
    ) -> Result<Self, Failure> {
        Editor::new(base, size, &mut PackedNodes { tools, packer })
            .map(Self)
            .map_err(edit_failure)
    }

    /// Sets the id of one chunk; `None` makes a hole. Indices must ascend.
    pub(crate) fn set<P: Parts>(
        &mut self,
        tools: &mut Tools<'_, P>,
        packer: &mut Packer<P>,
        index: u64,
        id: Option<Id>,
    ) -> Result<(), Failure> {
        self.0
            .set(index, id, &mut PackedNodes { tools, packer })
            .map_err(edit_failure)
    }

    /// Completes the tree; its root.
    pub(crate) fn finish<P: Parts>(
        self,
        tools: &mut Tools<'_, P>,
        packer: &mut Packer<P>,
    ) -> Result<Root<Id>, Failure> {
        self.0
            .finish(&mut PackedNodes { tools, packer })
            .map_err(edit_failure)
    }
}

/// What became of an edit as a failure of the command.
pub(super) fn edit_failure(error: EditError<Failure>) -> Failure {
    match error {
        EditError::Nodes(failure) => failure,
        EditError::Order => internal("a tree was edited out of order"),
    }
}
