// SPDX-License-Identifier: GPL-3.0-or-later
//! Other commands on thin volumes, and the daemon as its unit runs it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};

use wyng_tests::service::Service;

use super::backups::{MIB, Thin, VOLUME, run};

#[test]
#[ignore = "runs in the VM of make test-vm"]
fn a_volume_that_is_written_to_meanwhile_is_backed_up_as_it_was_at_one_moment() {
    let thin = Thin::new("1G", "64M");
    thin.write(0, 32, 1);
    // Two places get the same number, one after the other: at each moment the first is ahead of
    // the second by at most one.
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let device = File::options().write(true).open(VOLUME).unwrap();
            for number in 1_u64.. {
                let block = number.to_le_bytes().repeat(512);
                for place in [MIB, 60 * MIB] {
                    device.write_all_at(&block, place).unwrap();
                    device.sync_all().unwrap();
                }
                if over.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
        for _ in 0..2 {
            let source = format!("v={VOLUME}");
            let outcome = thin.sandbox.wyng(&["backup", "home", &source, "--live"]);
            assert_eq!(outcome.success().json["volumes"][0]["snapshot"], true);
        }
        over.store(true, Ordering::Relaxed);
    });
    let target = thin.sandbox.path("restored");
    let words = ["restore", "home", "v", "--to", target.to_str().unwrap()];
    thin.sandbox.wyng(&words).success();
    let restored = File::open(&target).unwrap();
    let number = |place| {
        let mut bytes = [0; 8];
        restored.read_exact_at(&mut bytes, place).unwrap();
        u64::from_le_bytes(bytes)
    };
    let (first, second) = (number(MIB), number(60 * MIB));
    assert!(
        first > 0 && (first == second || first == second + 1),
        "{first} {second}"
    );
    thin.assert_tidy();
}

#[test]
#[ignore = "runs in the VM of make test-vm"]
fn monitor_moves_the_base_on_and_the_next_backup_reads_what_changed_since_the_session() {
    let thin = Thin::new("1G", "64M");
    thin.write(0, 8, 1);
    thin.backs_up();
    let base = thin.ours();
    for turn in 0..2 {
        thin.write(10 + 10 * turn, 2, turn + 2);
        let source = format!("v={VOLUME}");
        let outcome = thin.sandbox.wyng(&["monitor", "home", &source]);
        let volume = &outcome.success().json["volumes"][0];
        assert_eq!(volume["method"], "thin-delta");
        assert_eq!(volume["changed_bytes"], (turn + 1) * 2 * MIB);
        assert_eq!(outcome.json["pools"][0]["pool"], "vg/pool");
        thin.assert_tidy();
        assert_ne!(thin.ours(), base, "the base is a new one");
    }
    let (method, _, read) = thin.backs_up();
    assert_eq!((method.as_str(), read), ("thin-delta", 4 * MIB));
    thin.assert_restores();
    thin.assert_tidy();
}

#[test]
#[ignore = "runs in the VM of make test-vm"]
fn the_service_backs_up_a_configured_volume_of_a_thin_pool() {
    let mut thin = Thin::new("1G", "64M");
    thin.write(0, 8, 1);
    let config = thin
        .sandbox
        .text("wyng.toml", &format!("[volumes]\nv = {VOLUME:?}\n"));
    let service = Service::start_with(&mut thin.sandbox, &["--config", &config]);
    for (method, seed) in [("full-scan", 2), ("thin-delta", 3)] {
        let words = ["backup", "home", "v", "--config", &config];
        let outcome = thin.sandbox.wyng(&words);
        let volume = &outcome.success().json["volumes"][0];
        assert_eq!(volume["method"], method);
        assert_eq!(volume["snapshot"], true);
        thin.write(20, 1, seed);
    }
    thin.assert_tidy();
    service.stop();
    assert_eq!(run("lvs --noheadings -o lv_name vg | wc -w").trim(), "3");
}
