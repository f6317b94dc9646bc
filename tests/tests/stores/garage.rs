// SPDX-License-Identifier: GPL-3.0-or-later
//! An archive in a real distributed store, of which one node is killed in the middle of a backup.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;
use wyng_tests::sandbox::{Sandbox, noise, write_at};
use wyng_tests::stores::{Action, Garage, Proxy, Seen};

use super::archives::{adopt, create};

const IMAGE_BYTES: usize = 12_000_000;

/// Kills a node once the store has acknowledged so many puts. Returns the rule, and whether it was
/// done.
fn killing(
    cluster: &Arc<Garage>,
    node: usize,
    after: usize,
) -> (
    impl Fn(&Seen) -> Action + Send + Sync + 'static,
    Arc<AtomicBool>,
) {
    // The proxy's thread outlives the test, and the nodes must not.
    let (cluster, killed) = (Arc::downgrade(cluster), Arc::new(AtomicBool::new(false)));
    let done = Arc::clone(&killed);
    let rule = move |seen: &Seen| {
        if seen.acknowledged >= after && !done.swap(true, Ordering::SeqCst) {
            cluster.upgrade().unwrap().kill(node);
        }
        Action::Pass
    };
    (rule, killed)
}

/// Verifies everything that the store holds, and restores the newest session.
fn assert_whole(sandbox: &Sandbox, image: &Path, to: &str) {
    let deep = sandbox.wyng(&["verify", "home", "--deep"]);
    assert_eq!(deep.success().json["problems"], json!([]));
    sandbox
        .wyng(&["restore", "home", "disk.img", "--to", to])
        .success();
    assert!(
        std::fs::read(sandbox.path(to)).unwrap() == std::fs::read(image).unwrap(),
        "{to} is not what was backed up"
    );
}

#[test]
fn a_node_of_a_distributed_store_is_killed_in_the_middle_of_a_backup_and_nothing_is_lost() {
    let test =
        "a_node_of_a_distributed_store_is_killed_in_the_middle_of_a_backup_and_nothing_is_lost";
    let Some(cluster) = Garage::start(test) else {
        return;
    };
    let cluster = Arc::new(cluster);
    let proxy = Proxy::start(cluster.port(0), |_| Action::Pass);
    let url = cluster.url_through(proxy.port(), "store");
    let sandbox = Sandbox::new();
    sandbox.text("credentials", &cluster.credentials());
    let words = ["store", "check", &url, "--credentials", "credentials"];
    let checked = sandbox.wyng(&words);
    assert_eq!(checked.success().json["create_only"], "checked");
    create(&sandbox, &url).success();
    let image = sandbox.image("disk.img", IMAGE_BYTES, 1);
    let acknowledged = || proxy.seen().last().map_or(0, |seen| seen.acknowledged);

    // A node that the helper does not speak to: two copies are enough, and the backup goes on.
    let (rule, killed) = killing(&cluster, 2, acknowledged() + 6);
    proxy.set_rule(rule);
    sandbox.wyng(&["backup", "home", "disk.img"]).success();
    assert!(killed.load(Ordering::SeqCst), "too few puts");
    assert_whole(&sandbox, &image, "without-one");
    let shown = sandbox.wyng(&["status", "home"]);
    assert_eq!(
        shown.success().json["archives"][0]["create_only"],
        "checked"
    );
    cluster.restart(2);

    // The node that it speaks to: the same command goes on where that one serves again.
    write_at(&image, 0, &noise(8_000_000, 7));
    let (rule, killed) = killing(&cluster, 0, acknowledged() + 6);
    proxy.set_rule(rule);
    let cut = sandbox.wyng(&["backup", "home", "disk.img"]);
    assert!(killed.load(Ordering::SeqCst), "too few puts");
    assert_eq!(cut.expect(1).codes(), ["store-failed"]);
    cluster.restart(0);
    sandbox.wyng(&["backup", "home", "disk.img"]).success();
    assert_whole(&sandbox, &image, "restarted");

    // Another machine finds the same.
    let other = Sandbox::new();
    other.text("credentials", &cluster.credentials());
    adopt(&other, &url, &[]).success();
    assert_whole(&other, &image, "elsewhere");
}
