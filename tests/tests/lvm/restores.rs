// SPDX-License-Identifier: GPL-3.0-or-later
//! Volumes of a thin pool as targets: what a restore writes, and what it gives back to the pool.

use std::fs::File;
use std::os::unix::fs::FileExt;

use wyng_tests::sandbox::{Outcome, noise};

use super::backups::{Thin, run};

const MIB: usize = 1 << 20;
const SIZE_BYTES: u64 = 100 * MIB as u64;

/// MiB of the pool's data that a volume maps.
fn mapped_mib(volume: &str) -> f64 {
    let line = format!("lvs --noheadings --nosuffix --units m -o lv_size,data_percent {volume}");
    let shown = run(&line);
    let words: Vec<f64> = shown
        .split_whitespace()
        .map(|word| word.parse().unwrap())
        .collect();
    words[0] * words[1] / 100.0
}

fn restore(thin: &Thin, volume: &str) -> Outcome {
    thin.sandbox.wyng(&[
        "restore",
        "home",
        "image",
        "--to",
        volume,
        "--in-place",
        "--yes",
    ])
}

/// A session with data at 10 MiB, and 300 KiB at 70 MiB that begin and end within blocks.
fn back_up_an_image(thin: &mut Thin) -> Vec<u8> {
    let mut image = vec![0; SIZE_BYTES as usize];
    image[10 * MIB..14 * MIB].copy_from_slice(&noise(4 * MIB, 1));
    image[70 * MIB + 4096..70 * MIB + 4096 + 300 * 1024].copy_from_slice(&noise(300 * 1024, 2));
    let path = thin.sandbox.path("image");
    let file = File::create(&path).unwrap();
    file.set_len(SIZE_BYTES).unwrap();
    for place in [10, 70] {
        let piece = &image[place * MIB..][..5 * MIB];
        file.write_all_at(piece, (place * MIB) as u64).unwrap();
    }
    let source = format!("image={}", path.display());
    thin.sandbox.wyng(&["backup", "home", &source]).success();
    image
}

#[test]
#[ignore = "runs in the VM of make test-vm"]
fn a_thin_volume_gets_the_session_and_the_pool_gets_its_blocks_back() {
    // Blocks of 512 KiB are larger than chunks: only joined holes give any back.
    let mut thin = Thin::with_blocks("2g", "512k");
    let image = back_up_an_image(&mut thin);
    run("lvcreate -q -V 112m -T vg/pool -n target");
    thin.write_to("/dev/vg/target", 0, 112, 3);
    assert!(mapped_mib("vg/target") > 111.0, "all of it is mapped");
    restore(&thin, "/dev/vg/target").success();
    let found = std::fs::read("/dev/vg/target").unwrap();
    assert!(
        found[..image.len()] == image[..],
        "the volume is the session"
    );
    assert!(found[image.len()..].iter().all(|byte| *byte == 0));
    let mapped = mapped_mib("vg/target");
    assert!((4.0..=6.5).contains(&mapped), "{mapped} MiB are mapped");
}

#[test]
#[ignore = "runs in the VM of make test-vm"]
fn what_a_snapshot_shares_with_a_restored_volume_stays_shared() {
    let mut thin = Thin::with_blocks("2g", "64k");
    let mut image = back_up_an_image(&mut thin);
    run("lvcreate -q -V 112m -T vg/pool -n target");
    restore(&thin, "/dev/vg/target").success();
    run("lvcreate -q -s -n kept vg/target && sync");
    thin.write_to("/dev/vg/target", 12, 1, 4);
    let used = || run("dmsetup status vg-pool-tpool");
    let data = |status: &str| -> u64 {
        let blocks = status.split_whitespace().nth(5).unwrap();
        blocks.split_once('/').unwrap().0.parse().unwrap()
    };
    let before = data(&used());
    restore(&thin, "/dev/vg/target").success();
    assert!(data(&used()) <= before, "no block was mapped anew");
    let found = std::fs::read("/dev/vg/target").unwrap();
    image.resize(found.len(), 0);
    assert!(found == image);
}

#[test]
#[ignore = "runs in the VM of make test-vm"]
fn a_volume_without_discards_or_with_an_external_origin_gets_zeros() {
    let mut thin = Thin::with_blocks("2g", "64k");
    let image = back_up_an_image(&mut thin);
    run("lvcreate -q -V 112m -T vg/pool -n origin");
    thin.write_to("/dev/vg/origin", 0, 112, 5);
    run("lvcreate -q -L 256m --poolmetadatasize 8M -T vg/other && \
         lvchange -q -an vg/origin && lvchange -q -pr vg/origin && \
         lvcreate -q -kn -s --thinpool vg/other -n over vg/origin && \
         lvcreate -q -L 256m --discards ignore --poolmetadatasize 8M -T vg/deaf && \
         lvcreate -q -V 112m -T vg/deaf -n target");
    thin.write_to("/dev/vg/target", 0, 112, 6);
    for volume in ["/dev/vg/over", "/dev/vg/target"] {
        restore(&thin, volume).success();
        let found = std::fs::read(volume).unwrap();
        assert!(found[..image.len()] == image[..], "{volume}");
        assert!(
            found[image.len()..].iter().all(|byte| *byte == 0),
            "{volume}"
        );
    }
}

#[test]
#[ignore = "runs in the VM of make test-vm"]
fn the_volume_of_a_qube_is_never_a_target() {
    let mut thin = Thin::with_blocks("1g", "64k");
    back_up_an_image(&mut thin);
    run("lvcreate -q -V 112m -T vg/pool -n vm-work-private");
    thin.write_to("/dev/vg/vm-work-private", 0, 1, 7);
    let before = mapped_mib("vg/vm-work-private");
    for path in [
        "/dev/vg/vm-work-private".to_owned(),
        run("readlink -f /dev/vg/vm-work-private").trim().to_owned(),
    ] {
        let outcome = restore(&thin, &path);
        assert!(outcome.stderr.contains("qvm-volume import"), "{outcome:?}");
    }
    assert_eq!(mapped_mib("vg/vm-work-private"), before);
}
