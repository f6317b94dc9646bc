// SPDX-License-Identifier: GPL-3.0-or-later
//! A qube whose volumes lie in a thin pool becomes what it was: qubesd's imports are real volumes of
//! real lvm. What it is now is kept, shares its blocks, and comes back without a copy.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;

use wyng_tests::fake_qubes::FakeQubes;
use wyng_tests::sandbox::{Outcome, noise};
use wyng_tests::traced::kills_everywhere;

use super::backups::{Thin, before_lvm, run, without_wrapper};

const MIB: usize = 1 << 20;
/// The size of the pool.
const POOL_MIB: usize = 48;
const GUARD: &str = "prohibit-start";
const IN_PLACE: [&str; 3] = ["--qube", "build", "--in-place"];
const DRY: [&str; 4] = ["--qube", "build", "--in-place", "--dry-run"];
/// Each changing call of lvm by the daemon is a line here, while they are counted.
const CALLS: &str = "/run/lvm-calls";
/// The call before which the daemon is killed, behind how often it is made until then.
const KILL_AT: &str = "/run/lvm-kill";

/// A machine with a qube in a thin pool, which was backed up and has changed since.
struct Machine {
    qubes: FakeQubes,
    thin: Thin,
}

/// The volumes as the archive has them.
fn then() -> [Vec<u8>; 2] {
    let mut private = noise(4 * MIB, 1);
    private[2 * MIB..3 * MIB].fill(0);
    [private, noise(8 * MIB, 2)]
}

/// The volumes as they are when the restore begins: one has grown, one has shrunk, and half of each
/// has changed. What was cut off still lies in the pool.
fn now() -> [Vec<u8>; 2] {
    let [mut private, _] = then();
    private.extend(noise(4 * MIB, 3));
    private[..2 * MIB].copy_from_slice(&noise(2 * MIB, 4));
    let root = noise(4 * MIB, 5);
    [private, root]
}

fn device(volume: &str) -> String {
    format!("/dev/vg/vm-build-{volume}")
}

impl Machine {
    fn new() -> Self {
        let thin = Thin::with_blocks(&format!("{POOL_MIB}m"), "64k");
        let qubes = FakeQubes::dom0(&thin.sandbox);
        qubes.add_system(&thin.sandbox.path("pool"));
        let lines = ["driver=lvm_thin", "volume_group=vg", "thin_pool=pool"];
        qubes.world.add_pool("lvm", &lines.map(str::to_owned));
        let create = "admin.vm.CreateInPool.StandaloneVM";
        qubes.call(create, "", "dom0", "name=build label=red pool=lvm");
        let machine = Self { qubes, thin };
        machine.fill(&then());
        machine.set("memory", "600");
        machine
            .wyng(&["backup", "home", "--qube", "build"])
            .success();
        machine.fill(&now());
        machine.set("memory", "700");
        machine
    }

    fn fill(&self, [private, root]: &[Vec<u8>; 2]) {
        for (volume, bytes) in [("private", private), ("root", root)] {
            let resize = "admin.vm.volume.Resize";
            self.qubes
                .call(resize, volume, "build", &bytes.len().to_string());
            let file = File::options().write(true).open(device(volume)).unwrap();
            file.write_all_at(bytes, 0).unwrap();
            file.sync_all().unwrap();
        }
    }

    fn set(&self, property: &str, value: &str) {
        let call = "admin.vm.property.Set";
        self.qubes.call(call, property, "build", value);
    }

    fn wyng(&self, words: &[&str]) -> Outcome {
        self.qubes.wyng(&self.thin.sandbox, words)
    }

    fn restore(&self, words: &[&str]) -> Outcome {
        self.wyng(&[&["restore", "home"], words].concat())
    }

    fn settle(&self, word: &str) -> Outcome {
        self.restore(&["--qube", "build", word])
    }

    fn images(&self) -> [Vec<u8>; 2] {
        ["private", "root"].map(|volume| {
            let mut bytes = Vec::new();
            let mut file = File::open(device(volume)).unwrap();
            file.read_to_end(&mut bytes).unwrap();
            bytes
        })
    }

    #[track_caller]
    fn is(&self, wanted: &[Vec<u8>; 2], memory: &str) {
        let found = self.images();
        let sizes = found.each_ref().map(Vec::len);
        assert!(found == *wanted, "{sizes:?}");
        let own = self.qubes.world.own("build", "memory");
        assert_eq!(own.as_deref(), Some(memory));
        for volume in ["private", "root"] {
            let info = self.qubes.call("admin.vm.volume.Info", volume, "build", "");
            let index = usize::from(volume == "root");
            let size = format!("\nsize={}\n", wanted[index].len());
            assert!(info.contains(&size), "{info}");
        }
    }

    fn guard(&self) -> Option<String> {
        self.qubes.world.part("build", "features", GUARD)
    }

    fn kept(&self) -> Vec<String> {
        let ours = self.thin.ours().into_iter();
        ours.filter(|line| line.contains("wyng-kept:1:")).collect()
    }

    /// Nothing is kept, nothing of a restore is left, and the base snapshots are there.
    #[track_caller]
    fn is_tidy(&self) {
        let ours = self.thin.ours();
        let is_base = |line: &String| line.contains(" wyng:1:");
        assert!(ours.iter().all(is_base), "{ours:?}");
        let left = run("lvs --noheadings -o lv_name vg");
        assert!(
            !left.contains("-import") && !left.contains("-snap"),
            "{left}"
        );
        assert_eq!(self.guard(), None);
    }
}

fn warned(outcome: &Outcome) -> bool {
    let warnings = outcome.json["warnings"].as_array().cloned();
    let mut warnings = warnings.unwrap_or_default().into_iter();
    warnings.any(|warning| warning["code"] == "qube-kept")
}

/// Bytes of the pool's data that are used.
fn used_bytes() -> usize {
    let status = run("dmsetup status vg-pool-tpool");
    let blocks = status.split_whitespace().nth(5).unwrap();
    let used: usize = blocks.split_once('/').unwrap().0.parse().unwrap();
    used << 16
}

/// What LVM says of the qube's volumes beside their sizes.
fn flags() -> String {
    run(
        "lvs --noheadings -o lv_name,lv_skip_activation,lv_permissions,lv_active,lv_tags \
         vg/vm-build-private vg/vm-build-root",
    )
}

#[test]
#[ignore = "runs in the VM of make test-vm"]
fn a_qube_in_a_thin_pool_becomes_what_it_was_and_goes_back_or_is_accepted() {
    let machine = Machine::new();
    let (before, was) = (used_bytes(), flags());
    machine.restore(&DRY).success();
    assert_eq!(machine.kept().len(), 0);
    let done = machine.restore(&IN_PLACE);
    assert_eq!(done.success().json["qubes"][0]["deed"], "in-place");
    machine.is(&then(), "600");
    assert_eq!(flags(), was);
    assert_eq!((machine.guard(), machine.kept().len()), (None, 2));
    // Two MiB of one volume, and four of the other. All the rest is shared.
    let taken = used_bytes() - before;
    assert!(taken <= 7 * MIB, "{taken} bytes of the pool");

    // It is shown, no clean-up and no other run takes it, and nothing is done over it.
    let list = machine.wyng(&["snapshots", "list"]);
    let lines = list.success().json["snapshots"].as_array().unwrap();
    let is_kept =
        |line: &&serde_json::Value| line["session"].is_null() && line["left_over"].is_null();
    assert_eq!(lines.iter().filter(is_kept).count(), 2, "{}", list.json);
    assert!(warned(&list) && warned(&machine.wyng(&["status"])));
    machine.wyng(&["snapshots", "clean"]).success();
    let backup = machine.wyng(&["backup", "home", "--qube", "build"]);
    assert_eq!(backup.success().json["volumes"][0]["method"], "thin-delta");
    assert_eq!(machine.kept().len(), 2);
    let again = machine.restore(&IN_PLACE);
    assert_eq!(again.expect(2).codes(), ["qubes-in-place"]);

    let before = used_bytes();
    machine.settle("--undo").success();
    machine.is(&now(), "700");
    assert_eq!(flags(), was);
    assert!(used_bytes() <= before, "nothing is copied");
    machine.is_tidy();
    machine
        .restore(&[&IN_PLACE[..], &["--data-only"]].concat())
        .success();
    machine.is(&then(), "700");
    machine.settle("--accept").success();
    machine.is(&then(), "700");
    machine.is_tidy();
    // It starts and stops as ever.
    machine.qubes.world.start("build");
    machine.qubes.world.halt("build");
    machine.is(&then(), "700");
}

#[test]
#[ignore = "runs in the VM of make test-vm"]
fn a_second_volume_that_fails_puts_the_first_one_back_and_what_is_in_use_is_refused() {
    let machine = Machine::new();
    // The second import cannot take its place.
    before_lvm("[ \"$1 $4\" = \"lvrename vm-build-root-import\" ] && exit 5");
    let failed = machine.restore(&IN_PLACE);
    without_wrapper();
    assert_ne!(failed.status, 0);
    assert!(
        failed.codes().contains(&"qube-put-back".into()),
        "{}",
        failed.json
    );
    machine.is(&now(), "700");
    machine.is_tidy();
    // What an import is written to is never taken away once something was written to it.
    before_lvm(
        "[ \"$1 $4\" = \"lvrename vm-build-private-import\" ] && \
         dd if=/dev/urandom of=/dev/vg/vm-build-private-import bs=64k count=1 oflag=direct",
    );
    let failed = machine.restore(&IN_PLACE);
    without_wrapper();
    assert_ne!(failed.status, 0);
    machine.is(&now(), "700");
    machine.is_tidy();
    // A volume of which a snapshot runs, or an import is under way.
    for ending in ["snap", "import"] {
        let other = format!("vg/vm-build-private-{ending}");
        run(&format!(
            "lvcreate -q -V 4m -T vg/pool -n vm-build-private-{ending}"
        ));
        let refused = machine.restore(&IN_PLACE);
        assert_eq!(refused.expect(2).codes(), ["qubes-in-place"], "{ending}");
        run(&format!("lvremove -q -f {other}"));
    }
    machine.is(&now(), "700");
}

/// Uses the pool up to this share, per cent, by a volume of nobody's.
fn fill_pool(percent: usize) {
    let blocks = ((POOL_MIB * MIB) * percent / 100 - used_bytes()) >> 16;
    run(&format!(
        "lvcreate -q -V {POOL_MIB}m -T vg/pool -n fill && \
         dd if=/dev/urandom of=/dev/vg/fill bs=64k count={blocks} oflag=direct"
    ));
}

#[test]
#[ignore = "runs in the VM of make test-vm"]
fn a_full_pool_refuses_a_restore_in_place_and_never_takes_the_way_back() {
    let machine = Machine::new();
    // Too much is used for a snapshot; and too much for what differs.
    for (percent, code) in [(85, "qubes-in-place"), (79, "target-no-room")] {
        fill_pool(percent);
        let refused = machine.restore(&IN_PLACE);
        assert!(
            refused.codes().contains(&code.into()),
            "{code}: {}",
            refused.json
        );
        machine.is(&now(), "700");
        machine.is_tidy();
        run("lvremove -q -f vg/fill");
    }
    machine.restore(&IN_PLACE).success();
    machine.is(&then(), "600");
    fill_pool(93);
    let backup = machine.wyng(&["backup", "home", "--qube", "build"]);
    let volumes = backup.success().json["volumes"].to_string();
    assert!(volumes.contains("base-dropped"), "{volumes}");
    assert_eq!(machine.kept().len(), 2);
    assert!(machine.thin.ours().len() < 4, "no base is gone");
    machine.settle("--undo").success();
    machine.is(&now(), "700");
}

/// Notes the daemon's changing calls of lvm, without what is new in each run, and kills it at one of
/// them if that is ordered. The call itself is made: no program is ever killed.
fn count_calls() {
    before_lvm(&format!(
        "case ${{0##*/}} in lvm) ;; *) exec $REAL ${{0##*/}} \"$@\";; esac\n\
         case \"$1 $2\" in lvs*|lvmconfig*|*--help) ;; *)\n\
         call=$(echo \"$*\" | sed 's/wyng-[0-9a-f]\\{{16\\}}/wyng-N/g; s/wyng[-:][k1][^ ]*/TAG/g')\n\
         echo \"$call\" >>{CALLS}\n\
         [ \"$(grep -cxF -e \"$call\" {CALLS}) $call\" = \"$(cat {KILL_AT} 2>/dev/null)\" ] && \
         pkill -KILL -f wyngd;;\n\
         esac"
    ));
}

/// The changing calls of lvm that a command makes.
fn counted(command: impl FnOnce()) -> Vec<String> {
    std::fs::write(CALLS, "").unwrap();
    let _ = std::fs::remove_file(KILL_AT);
    command();
    let calls = std::fs::read_to_string(CALLS).unwrap();
    calls.lines().map(str::to_owned).collect()
}

/// After a kill the next run, whatever it is about, puts everything back or ends it.
fn kill_at_each_call(chosen: impl Fn(&[&str], &str) -> bool) {
    let machine = Machine::new();
    count_calls();
    let undo = ["--qube", "build", "--undo"];
    for words in [&IN_PLACE[..], &undo] {
        if words == undo {
            machine.restore(&IN_PLACE).success();
        }
        let calls = counted(|| {
            machine.restore(words).success();
        });
        if words == IN_PLACE {
            machine.settle("--undo").success();
        }
        machine.is(&now(), "700");
        assert!(
            calls.iter().any(|call| call.starts_with("lvrename")),
            "{calls:#?}"
        );
        let kills = calls.iter().enumerate();
        for (number, call) in kills.filter(|(_, call)| chosen(words, call)) {
            // How often the same call was made until then.
            let nth = calls[..=number]
                .iter()
                .filter(|other| *other == call)
                .count();
            if words == undo {
                machine.restore(&IN_PLACE).success();
            }
            std::fs::write(CALLS, "").unwrap();
            std::fs::write(KILL_AT, format!("{nth} {call}\n")).unwrap();
            let killed = machine.restore(words);
            let made = std::fs::read_to_string(CALLS).unwrap();
            assert_ne!(killed.status, 0, "{words:?} {nth} {call}\n{made}");
            std::fs::remove_file(KILL_AT).unwrap();
            is_ended_by_the_next_run(&machine, words == IN_PLACE, call);
        }
    }
    without_wrapper();
}

#[track_caller]
fn is_ended_by_the_next_run(machine: &Machine, is_restore: bool, at: &str) {
    let next = machine.restore(&["--qube", "build", "--as", "other", "--dry-run"]);
    next.success();
    assert_eq!(machine.guard(), None, "{at}");
    if machine.images() != now() {
        assert!(is_restore && machine.images() == then(), "{at}");
        machine.settle("--undo").success();
    }
    machine.is(&now(), "700");
    // What was left unfinished goes with the first run that makes a snapshot.
    let backup = machine.wyng(&["backup", "home", "--qube", "build"]);
    backup.success();
    machine.is_tidy();
}

#[test]
#[ignore = "runs in the VM of make test-vm"]
fn a_restore_in_place_that_is_killed_at_a_call_of_lvm_is_ended_or_put_back() {
    // By default where an import's name is no volume's, and where one volume of two has the
    // place of the qube's.
    let taken_away = "lvrename -- vg vm-build-private-import";
    kill_at_each_call(|words, call| {
        kills_everywhere()
            || call.ends_with(" vm-build-root-import")
            || (words == IN_PLACE && call.starts_with(taken_away))
    });
}

#[test]
#[ignore = "runs in the VM of make test-vm"]
fn a_restore_in_place_that_is_killed_at_a_call_of_qubesd_is_ended_or_put_back() {
    let machine = Machine::new();
    let world = &machine.qubes.world;
    std::fs::write(world.0.join("calls"), "").unwrap();
    machine.restore(&IN_PLACE).success();
    let calls = world.noted("calls");
    machine.settle("--undo").success();
    let changes = |call: &str| call.contains(".Import") || call.contains(".Set+");
    let mut kills: Vec<(usize, &String, &str)> = (1..)
        .zip(&calls)
        .filter(|(_, call)| changes(call))
        .flat_map(|(number, call)| [(number, call, "before"), (number, call, "after")])
        .collect();
    if !kills_everywhere() {
        // qubesd has made one volume the qube's, and nobody has heard of it.
        kills.retain(|(_, call, phase)| call.contains(".Import") && *phase == "after");
        kills.truncate(1);
    }
    assert!(!kills.is_empty(), "{calls:?}");
    for (number, call, phase) in kills {
        machine.qubes.kill_at(number, phase, "caller");
        assert_ne!(machine.restore(&IN_PLACE).status, 0, "{phase} {call}");
        std::fs::write(world.0.join("kill"), "").unwrap();
        is_ended_by_the_next_run(&machine, true, &format!("{phase} {call}"));
    }
}
