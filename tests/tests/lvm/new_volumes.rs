// SPDX-License-Identifier: GPL-3.0-or-later
//! A restore that makes its volume: in a pool, from the base where there is one, and whole or not
//! at all.

use std::fs::File;
use std::os::unix::fs::FileExt;

use wyng_tests::sandbox::{Outcome, noise};

use super::backups::{MIB, Thin, VOLUME, before_lvm, run, without_wrapper};

fn restore(thin: &Thin, volume: &str, more: &[&str]) -> Outcome {
    let words = ["restore", "home", volume, "--to", "thin:vg/pool/new"];
    thin.sandbox.wyng(&[&words[..], more].concat())
}

fn activate_new() {
    run("lvchange -q --activate y --ignoreactivationskip vg/new");
}

/// Blocks of the pool's data that are used.
fn used_blocks() -> u64 {
    let status = run("dmsetup status vg-pool-tpool");
    let blocks = status.split_whitespace().nth(5).unwrap();
    blocks.split_once('/').unwrap().0.parse().unwrap()
}

fn volumes() -> Vec<String> {
    let listed = run("lvs --noheadings -o lv_name vg");
    listed.split_whitespace().map(str::to_owned).collect()
}

#[test]
#[ignore = "runs in the VM of make test-vm"]
fn a_new_volume_is_whole_and_has_zeros_behind_the_session_or_is_not_there() {
    let thin = Thin::with_blocks("512m", "512k");
    // 10 MiB and some: no multiple of an extent, of a block or of a chunk.
    let mut image = noise(10 << 20, 1);
    image.extend(vec![0; 300_000]);
    image.extend(noise(5000, 2));
    std::fs::write(thin.sandbox.path("image"), &image).unwrap();
    let source = format!("image={}", thin.sandbox.path("image").display());
    thin.sandbox.wyng(&["backup", "home", &source]).success();
    let restored = restore(&thin, "image", &[]);
    assert_eq!(
        restored.success().json["volumes"][0]["target"],
        "/dev/vg/new"
    );
    assert!(
        !std::path::Path::new("/dev/vg/new").exists(),
        "no guest's data is in udev's way"
    );
    run("vgchange -q -ay vg");
    assert!(
        !std::path::Path::new("/dev/vg/new").exists(),
        "nor after a boot"
    );
    activate_new();
    let found = std::fs::read("/dev/vg/new").unwrap();
    assert_eq!(found.len(), 12 << 20, "whole extents");
    assert!(found[..image.len()] == image[..]);
    assert!(found[image.len()..].iter().all(|byte| *byte == 0));
    assert_eq!(
        restore(&thin, "image", &[]).codes(),
        ["target-volume-exists"]
    );
    run("lvchange -q -an vg/new");
    assert_eq!(
        restore(&thin, "image", &[]).codes(),
        ["target-volume-exists"],
        "although it has no device"
    );
    run("lvremove -q -f vg/new");
    for name in ["vm-work-private", "wyng-0123456789abcdef", "a_tdata"] {
        let to = format!("thin:vg/pool/{name}");
        let refused = thin
            .sandbox
            .wyng(&["restore", "home", "image", "--to", &to]);
        assert_eq!(refused.status, 2, "{name}");
    }
    let no_pool = ["restore", "home", "image", "--to", "thin:vg/none/new"];
    assert_eq!(thin.sandbox.wyng(&no_pool).codes(), ["target-pool"]);

    // A restore that fails takes its volume with it; one that is killed leaves an unfinished one.
    let pack = thin
        .sandbox
        .blobs()
        .into_iter()
        .max_by_key(|blob| blob.metadata().unwrap().len());
    let (pack, away) = (pack.unwrap(), thin.sandbox.path("away"));
    std::fs::rename(&pack, &away).unwrap();
    let failed = restore(&thin, "image", &[]);
    assert_ne!(failed.status, 0);
    assert_eq!(volumes(), ["pool"]);
    std::fs::rename(&away, &pack).unwrap();
    before_lvm("[ \"$1\" = lvrename ] && pkill -KILL -f wyngd");
    restore(&thin, "image", &[]);
    without_wrapper();
    let left = volumes();
    let is_left = |name: &String| name.starts_with("wyng-") || name == "new";
    assert_eq!(
        left.iter().filter(|name| is_left(name)).count(),
        1,
        "{left:?}"
    );
    if left.contains(&"new".to_owned()) {
        run("lvremove -q -f vg/new");
    }
    restore(&thin, "image", &[]).success();
    assert_eq!(volumes(), ["new", "pool"]);

    // Less than a tenth of the pool would be left free.
    run(
        "lvremove -q -f vg/new && lvcreate -q -V 500M -T vg/pool -n fill && \
         dd if=/dev/urandom of=/dev/vg/fill bs=1M count=455 oflag=direct",
    );
    assert_eq!(restore(&thin, "image", &[]).codes(), ["target-no-room"]);
    assert_eq!(volumes(), ["fill", "pool"]);
}

#[test]
#[ignore = "runs in the VM of make test-vm"]
fn a_new_volume_begins_as_its_base_and_gets_what_differs() {
    let thin = Thin::new("512M", "256M");
    thin.write(0, 64, 1);
    thin.write(200, 8, 2);
    let first = thin.back_up().success().session(0);
    let was = thin.sandbox.path("was");
    run(&format!("cp --sparse=always {VOLUME} {}", was.display()));
    thin.write(16, 4, 3);
    thin.write(100, 4, 4);
    thin.backs_up();
    let before = used_blocks();
    let restored = restore(&thin, "v", &["--session", &first]);
    let volume = &restored.success().json["volumes"][0];
    let (fetched, written) = (
        volume["fetched_bytes"].as_u64().unwrap(),
        volume["written_bytes"].as_u64().unwrap(),
    );
    // 4 MiB come back; the other 4 MiB were not there, and are given back.
    assert!((4 * MIB..6 * MIB).contains(&fetched), "{fetched} fetched");
    assert!((4 * MIB..6 * MIB).contains(&written), "{written} written");
    activate_new();
    run(&format!("cmp /dev/vg/new {}", was.display()));
    let taken = (used_blocks() - before) * 64 * 1024;
    assert!(taken <= 6 * MIB, "{taken} bytes of the pool");
    assert_eq!(thin.ours().len(), 1, "the base is still there");
    assert_eq!(thin.backs_up().0, "thin-delta", "and it is the base");

    // A base that is not what its label says decides nothing.
    run("lvremove -q -f vg/new");
    let name = thin.ours()[0].split_whitespace().next().unwrap().to_owned();
    run(&format!(
        "lvchange -q -p rw vg/{name} && lvchange -q -ay -K vg/{name}"
    ));
    let spoilt = File::options()
        .write(true)
        .open(format!("/dev/vg/{name}"))
        .unwrap();
    spoilt.write_all_at(&[7; 4096], 32 * MIB).unwrap();
    spoilt.sync_all().unwrap();
    drop(spoilt);
    run(&format!(
        "lvchange -q -an vg/{name} && lvchange -q -p r vg/{name}"
    ));
    restore(&thin, "v", &["--session", &first]).success();
    activate_new();
    run(&format!("cmp /dev/vg/new {}", was.display()));
    assert_eq!(thin.ours(), [""; 0], "it is removed");
}
