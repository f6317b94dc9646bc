// SPDX-License-Identifier: GPL-3.0-or-later
//! The tree compared with a plain map under random edits, walks, lookups, diffs, marks and resizes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::convert::Infallible;

use proptest::prelude::*;
use wyng_archive::crypto::{Credential, Id};
use wyng_archive::format::{ContentTree, Node, Shape, depth_for};
use wyng_archive::plan::{Editor, Nodes, NodesMut, Root, Walk, any, diff, get, mark};

/// Nodes by their keyed hash, and the number of nodes that were saved and loaded.
struct Store {
    credential: Credential,
    nodes: HashMap<Id, Vec<u8>>,
    loaded: usize,
}

impl Store {
    fn new() -> Self {
        Self {
            credential: common::credential(),
            nodes: HashMap::new(),
            loaded: 0,
        }
    }
}

impl<S: Shape<Child = Id>> Nodes<S> for Store {
    type Error = Infallible;

    fn load(&mut self, child: &Id, level: u8, room: u64) -> Result<Node<S>, Infallible> {
        self.loaded += 1;
        Ok(Node::decode(&self.nodes[child], level, room).unwrap())
    }
}

impl<S: Shape<Child = Id>> NodesMut<S> for Store {
    fn save(&mut self, node: &Node<S>) -> Result<Id, Infallible> {
        assert!(!node.is_empty(), "an empty node is never stored");
        let plain = node.encode();
        let id = self.credential.node_id(&plain);
        self.nodes.insert(id, plain);
        Ok(id)
    }
}

type Map = BTreeMap<u64, Id>;

fn value(number: u32) -> Id {
    let mut id = [1; 32];
    id[..4].copy_from_slice(&number.to_le_bytes());
    Id(id)
}

/// Applies changes in ascending order; `None` removes an entry.
fn edit(
    store: &mut Store,
    old: &Root<Id>,
    size: u64,
    changes: &BTreeMap<u64, Option<Id>>,
) -> Root<Id> {
    let mut editor = Editor::<ContentTree>::new(old, size, store).unwrap();
    for (index, value) in changes.range(..size) {
        editor.set(*index, *value, store).unwrap();
    }
    editor.finish(store).unwrap()
}

fn walk(store: &mut Store, root: &Root<Id>) -> Map {
    let mut walk = Walk::<ContentTree>::from(root, 0);
    std::iter::from_fn(|| walk.next(store).unwrap()).collect()
}

fn apply(map: &mut Map, size: u64, changes: &BTreeMap<u64, Option<Id>>) {
    for (index, value) in changes.range(..size) {
        match value {
            Some(value) => drop(map.insert(*index, *value)),
            None => drop(map.remove(index)),
        }
    }
    map.retain(|index, _| *index < size);
}

/// Sizes around the powers of 32, where the depth changes.
fn size() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(0),
        1..40_u64,
        1000..1100_u64,
        32_700..32_800_u64,
        Just(u64::MAX),
        Just(1 << 40)
    ]
}

fn edits() -> impl Strategy<Value = (u64, BTreeMap<u64, Option<Id>>)> {
    size().prop_flat_map(|size| {
        let index = prop_oneof![
            0..size.max(1),
            (0..40_u64).prop_map(move |back| size.saturating_sub(back + 1))
        ];
        let value = prop::option::weighted(0.8, (0..5_u32).prop_map(value));
        (Just(size), prop::collection::btree_map(index, value, 0..40))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_tree_equals_a_plain_map_under_edits_and_resizes(steps in prop::collection::vec(edits(), 1..6)) {
        let mut store = Store::new();
        let (mut root, mut map): (Root<Id>, Map) = (Root::empty(0), Map::new());
        for (size, changes) in steps {
            let (old_root, old_map) = (root, map.clone());
            root = edit(&mut store, &root, size, &changes);
            apply(&mut map, size, &changes);
            prop_assert_eq!(root.size, size);
            prop_assert_eq!(&walk(&mut store, &root), &map);
            prop_assert_eq!(root.child.is_none(), map.is_empty(), "holes are absent");

            // Equal content has an equal root: the tree built at once is the same.
            let at_once = map.iter().map(|(index, value)| (*index, Some(*value))).collect();
            prop_assert_eq!(edit(&mut store, &Root::empty(size), size, &at_once).child, root.child);

            let mut seen = Vec::new();
            diff::<ContentTree, _, _>(&old_root, &root, &mut store, &mut |index, a, b| seen.push((index, a.copied(), b.copied()))).unwrap();
            let indices: std::collections::BTreeSet<u64> = old_map.keys().chain(map.keys()).copied().collect();
            let expected: Vec<_> = indices
                .into_iter()
                .map(|index| (index, old_map.get(&index).copied(), map.get(&index).copied()))
                .filter(|(_, a, b)| a != b)
                .collect();
            prop_assert_eq!(seen, expected);

            let mut skipping = Walk::<ContentTree>::from(&root, 0);
            let mut expected = map.range(0..);
            for index in changes.keys().copied() {
                skipping.skip_to(index);
                let reached = expected.clone().next().map_or(u64::MAX, |(next, _)| *next).max(index);
                expected = map.range(reached..);
                let next = expected.next().map(|(index, value)| (*index, *value));
                prop_assert_eq!(skipping.next(&mut store).unwrap(), next, "the first after {}", index);
            }

            for index in changes.keys().copied().chain([0, size / 2, size.saturating_sub(1)]) {
                prop_assert_eq!(get::<ContentTree, _>(&root, index, &mut store).unwrap(), map.get(&index).copied());
            }
        }
    }

    #[test]
    fn marking_reaches_every_node_and_value_once(trees in prop::collection::vec(edits(), 1..4)) {
        let mut store = Store::new();
        let (mut nodes, mut values) = (HashSet::new(), HashSet::new());
        let (mut all_nodes, mut all_values) = (HashSet::new(), HashSet::new());
        let mut root = Root::empty(0);
        for (size, changes) in trees {
            root = edit(&mut store, &root, size, &changes);
            all_values.extend(walk(&mut store, &root).into_values());
            naive(&mut store, &root, &mut all_nodes);
            let mut visited = Vec::new();
            mark::<ContentTree, _, _, _>(&root, &mut store, &mut |id| { visited.push(*id); nodes.insert(*id) }, &mut |id| {
                values.insert(*id);
                Ok(())
            }).unwrap();
        }
        prop_assert_eq!(nodes, all_nodes);
        prop_assert_eq!(values, all_values);
    }
}

/// All nodes below a root; shared nodes are entered each time.
fn naive(store: &mut Store, root: &Root<Id>, found: &mut HashSet<Id>) {
    let mut open: Vec<(Id, u8)> = root
        .child
        .map(|child| (child, depth_for(root.size) - 1))
        .into_iter()
        .collect();
    while let Some((id, level)) = open.pop() {
        found.insert(id);
        let node: Node<ContentTree> = Node::decode(&store.nodes[&id], level, u64::MAX).unwrap();
        if let Node::Inner { children, .. } = node {
            open.extend(children.iter().flatten().map(|child| (*child, level - 1)));
        }
    }
}

#[test]
fn a_session_that_changes_k_chunks_writes_about_k_times_depth_nodes() {
    let mut store = Store::new();
    let size = 1 << 23; // 1 TiB in chunks of 128 KiB
    let all = (0..size)
        .step_by(1000)
        .map(|index| (index, Some(value(1))))
        .collect();
    let root = edit(&mut store, &Root::empty(size), size, &all);
    let before = store.nodes.len();
    let changes: BTreeMap<u64, Option<Id>> =
        (0..50).map(|k| (k * 160_001, Some(value(2)))).collect();
    let changed = edit(&mut store, &root, size, &changes);
    let (written, depth) = (store.nodes.len() - before, usize::from(depth_for(size)));
    assert!(
        written <= 50 * depth,
        "{written} nodes for 50 chunks at depth {depth}"
    );
    store.loaded = 0;
    let mut count = 0;
    diff::<ContentTree, _, _>(&root, &changed, &mut store, &mut |_, _, _| count += 1).unwrap();
    assert_eq!(count, 50);
    assert!(
        store.loaded <= 2 * 50 * depth,
        "{} nodes were loaded to compare",
        store.loaded
    );
}

#[test]
fn touched_nodes_are_rewritten_and_nothing_changes() {
    let mut store = Store::new();
    let changes: BTreeMap<u64, Option<Id>> = (0..3000)
        .map(|index| (index, Some(value(u32::try_from(index).unwrap()))))
        .collect();
    let root = edit(&mut store, &Root::empty(3000), 3000, &changes);
    let whole = std::mem::take(&mut store.nodes);
    store.nodes.clone_from(&whole);
    let mut editor = Editor::<ContentTree>::new(&root, 3000, &mut store).unwrap();
    // Only nodes of these two paths that are saved again survive.
    let mut reached = HashSet::new();
    for index in [40, 2500] {
        editor.touch(index, &mut store).unwrap();
        editor.set(index, changes[&index], &mut store).unwrap();
    }
    store.nodes.retain(|id, _| {
        reached.insert(*id);
        false
    });
    assert_eq!(editor.finish(&mut store).unwrap(), root);
    // Two leaves, two nodes above them and the root. The leaf of 40 was closed before the store was
    // emptied.
    assert_eq!(store.nodes.len(), 3);
    assert!(store.nodes.iter().all(|(id, plain)| whole[id] == *plain));
    assert_eq!(reached.len(), whole.len());
}

#[test]
fn any_finds_what_a_walk_finds_and_enters_shared_nodes_once() {
    let mut store = Store::new();
    let changes: BTreeMap<u64, Option<Id>> = (0..2000)
        .map(|index| (index, Some(value(u32::try_from(index).unwrap()))))
        .collect();
    let old = edit(&mut store, &Root::empty(2000), 2000, &changes);
    let new = edit(&mut store, &old, 2000, &[(7, Some(value(9999)))].into());
    let mut known = HashMap::new();
    let mut has = |store: &mut Store, root: &Root<Id>| {
        any::<ContentTree, _, _>(root, store, &mut known, &mut |_, id| {
            Ok::<_, Infallible>(*id == value(9999))
        })
        .unwrap()
    };
    assert!(!has(&mut store, &old));
    store.loaded = 0;
    assert!(has(&mut store, &new));
    assert_eq!(
        store.loaded, 3,
        "one path of the new tree; the rest is known"
    );
}

#[test]
fn the_depth_is_the_minimum_that_holds_the_size() {
    let sizes = [
        (0, 0),
        (1, 1),
        (32, 1),
        (33, 2),
        (1024, 2),
        (1025, 3),
        (u64::MAX, 13),
    ];
    for (size, depth) in sizes {
        assert_eq!(depth_for(size), depth, "{size}");
    }
}
