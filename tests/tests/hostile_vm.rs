// SPDX-License-Identifier: GPL-3.0-or-later
//! A network VM that lies: it drops what it says it stored, hides the newest commits, or shows
//! other bytes under the next commit's name. No lie has the daemon delete what a kept session
//! needs, and once the lie ends, honest commands lead out of every state.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use wyng_tests::disk::run;
use wyng_tests::programs::program;
use wyng_tests::sandbox::{Outcome, Sandbox, noise, write_at};
use wyng_tests::service::until;

/// Maximum number of verifies and backups after which all is whole.
const ROUNDS_MAX: u32 = 3;
const IMAGE_BYTES: usize = 600_000;
const PLACE_BYTES: u64 = 65_536;
/// Sessions of the archive before the lie.
const SESSIONS: u64 = 6;

/// An archive in the care of a VM that lies on request.
struct Hostile {
    sandbox: Sandbox,
    /// Sessions that an honest VM stored, each with its content.
    sessions: Vec<(String, Vec<u8>)>,
    /// A session that was removed, with its content.
    removed: (String, Vec<u8>),
    base: PathBuf,
}

impl Hostile {
    /// An archive with this hold-off, small packs, and sessions that share most of their content.
    fn new(hold_off: &str) -> Self {
        let mut sandbox = Sandbox::with_archive(&[
            "--chunk-size",
            "64K",
            "--pack-size",
            "256K",
            "--minimum-age",
            "0s",
            "--hold-off",
            hold_off,
        ]);
        let folder = sandbox.path("hostile");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("deletes"), "").unwrap();
        sandbox.replace_helper(&format!(
            "exec {} $1 {}",
            program("hostile-helper").display(),
            folder.display()
        ));
        let image = sandbox.image("disk.img", IMAGE_BYTES, 1);
        let mut sessions = Vec::new();
        let mut hostile = Self {
            base: sandbox.path("base"),
            sandbox,
            sessions: Vec::new(),
            removed: (String::new(), Vec::new()),
        };
        hostile.tell_lies(&[]);
        for session in 0..=SESSIONS {
            write_at(&image, session * PLACE_BYTES, &noise(30_000, 50 + session));
            let content = std::fs::read(&image).unwrap();
            let outcome = hostile.wyng(&["backup", "home", "disk.img"]);
            sessions.push((outcome.success().session(0), content));
        }
        // Sessions of one second are named ahead of the clock, and a removed name is free again.
        let newest: jiff::Timestamp = sessions.last().unwrap().0.parse().unwrap();
        until("the clock is past every name", || {
            jiff::Timestamp::now() > newest
        });
        hostile.removed = sessions.remove(2);
        let name = hostile.removed.0.clone();
        hostile
            .wyng(&["session", "remove", "home", "disk.img", &name])
            .success();
        hostile.sessions = sessions;
        hostile.keep_base();
        hostile
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.sandbox.path("hostile").join(name)
    }

    fn tell_lies(&self, lies: &[String]) {
        let lines: String = lies.iter().map(|lie| format!("{lie}\n")).collect();
        std::fs::write(self.folder("lies"), lines).unwrap();
    }

    fn be_honest(&self) {
        self.tell_lies(&[]);
    }

    fn wyng(&self, words: &[&str]) -> Outcome {
        self.sandbox.wyng(words)
    }

    /// Names that were to be deleted so far.
    fn deletes(&self) -> usize {
        let log = std::fs::read_to_string(self.folder("deletes")).unwrap();
        log.lines().count()
    }

    fn keep_base(&self) {
        std::fs::create_dir(&self.base).unwrap();
        for folder in [
            self.sandbox.state(),
            self.sandbox.store(),
            self.sandbox.path("disk.img"),
        ] {
            run(Command::new("cp").arg("-a").arg(folder).arg(&self.base));
        }
    }

    /// Everything as it was before the first lie.
    fn put_back(&self) {
        for name in ["state", "store"] {
            let _ = std::fs::remove_dir_all(self.sandbox.path(name));
        }
        for name in ["state", "store", "disk.img"] {
            let kept = self.base.join(name);
            run(Command::new("cp")
                .arg("-a")
                .arg(kept)
                .arg(self.sandbox.path("")));
        }
        std::fs::write(self.folder("deletes"), "").unwrap();
        self.be_honest();
    }

    fn change_image(&self, seed: u64) {
        let image = self.sandbox.path("disk.img");
        write_at(&image, 8 * PLACE_BYTES, &noise(40_000, 900 + seed));
    }

    /// The generation of the head that this machine knows.
    fn generation(&self) -> u64 {
        (1..200)
            .rfind(|generation| self.sandbox.commit(*generation).exists())
            .unwrap()
    }

    fn commit_name(&self, generation: u64) -> String {
        let path = self.sandbox.commit(generation);
        path.file_name().unwrap().to_str().unwrap().to_owned()
    }

    /// A command under a lie: whatever it comes to, an error says what to do next.
    fn suffer(&self, words: &[&str]) -> Outcome {
        let outcome = self.wyng(words);
        assert!(
            (0..=6).contains(&outcome.status),
            "{words:?}: {}\n{}",
            outcome.json,
            outcome.stderr
        );
        for error in outcome.json["errors"].as_array().into_iter().flatten() {
            let next = error["next"].as_str().unwrap_or_default();
            assert!(!next.is_empty(), "{words:?}: {error}");
        }
        outcome
    }

    /// With an honest VM: `archive open` settles what only it can settle, verifies find what is
    /// lost, backups heal it, and every session that `keeps` is whole. Sessions that were made
    /// under the lie may need what nobody has any more, and are removed.
    fn lead_out(&self, what: &str, keeps: &[(String, Vec<u8>)]) {
        self.be_honest();
        self.change_image(77);
        let backup = self.wyng(&["backup", "home", "disk.img"]);
        if backup.status != 0 {
            assert_settled_by_open(&backup, what);
            let opened = self.wyng(&["archive", "open", "home"]);
            let is_open = [0, 5].contains(&opened.status);
            assert!(is_open, "{what}: {}\n{}", opened.json, opened.stderr);
            self.wyng(&["backup", "home", "disk.img"]).success();
        }
        // A pack that comes back because its heirs were dropped may have been dropped itself.
        let mut session = String::new();
        let mut deep = self.wyng(&["verify", "home"]);
        for _ in 0..ROUNDS_MAX {
            assert!([0, 5].contains(&deep.status), "{what}: {}", deep.json);
            let healed = self.wyng(&["backup", "home", "disk.img"]);
            session = healed.success().session(0);
            for lost in self.made_under_the_lie(&session) {
                self.wyng(&["session", "remove", "home", "disk.img", &lost])
                    .success();
            }
            deep = self.wyng(&["verify", "home", "--deep"]);
            if deep.status == 0 {
                break;
            }
        }
        assert_eq!(deep.status, 0, "{what}: {}", deep.json);
        for (session, content) in keeps.first().iter().chain(&keeps.last()) {
            self.sandbox.assert_restores("disk.img", session, content);
        }
        let content = std::fs::read(self.sandbox.path("disk.img")).unwrap();
        self.sandbox.assert_restores("disk.img", &session, &content);
    }

    fn listed(&self) -> Vec<String> {
        let list = self.wyng(&["list", "home"]);
        let sessions = list.json["volumes"][0]["sessions"].as_array();
        let names = sessions.into_iter().flatten();
        names
            .map(|session| session["session"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Every session but `newest` that no honest VM stored.
    fn made_under_the_lie(&self, newest: &str) -> Vec<String> {
        let mut listed = self.listed();
        let honest = |name: &String| self.sessions.iter().any(|(session, _)| session == name);
        listed.retain(|name| name != newest && *name != self.removed.0 && !honest(name));
        listed
    }

    /// The sessions of before that the volume still has.
    fn kept(&self) -> Vec<(String, Vec<u8>)> {
        let listed = self.listed();
        let is_listed = |session: &&(String, Vec<u8>)| listed.contains(&session.0);
        let kept: Vec<_> = self.sessions.iter().filter(is_listed).cloned().collect();
        assert!(!kept.is_empty());
        kept
    }
}

/// The error that ends a command says that `archive open` finds out.
#[track_caller]
fn assert_settled_by_open(outcome: &Outcome, what: &str) {
    let next = outcome.json["errors"][0]["next"].as_str().unwrap();
    assert!(
        outcome.status == 5 && next.contains("archive open"),
        "{what}: {}",
        outcome.json
    );
}

/// The words of a command.
fn words(line: &str) -> Vec<&str> {
    line.split(' ').collect()
}

#[test]
fn what_compact_sent_is_dropped_and_its_sources_are_never_deleted() {
    let hostile = Hostile::new("0,0s");
    for lie in ["drop packs", "drop all", "drop until 1", "drop until 3"] {
        hostile.put_back();
        hostile.tell_lies(&[lie.to_owned()]);
        for line in [
            "compact home",
            "compact home",
            "archive open home",
            "verify home",
            "compact home",
        ] {
            hostile.suffer(&words(line));
            // Of few PUTs, what the first three bring is enough to delete what they replace.
            assert!(lie == "drop until 3" || hostile.deletes() == 0, "{lie}");
        }
        hostile.lead_out(lie, &hostile.sessions);
    }
}

#[test]
fn whatever_runs_after_dropped_packs_keeps_what_honest_runs_stored() {
    let hostile = Hostile::new("0,0s");
    let undelete = format!("undelete home disk.img {}", hostile.removed.0);
    for (lie, line) in [
        ("drop packs", "backup home disk.img"),
        ("drop packs", "prune home --keep-last 1"),
        ("drop packs", "compact home --orphans"),
        ("drop all", "prune home --keep-last 1"),
        ("drop all", "verify home"),
        ("drop packs", &undelete),
    ] {
        let what = format!("{lie}, {line}");
        hostile.put_back();
        hostile.tell_lies(&[lie.to_owned()]);
        hostile.change_image(1);
        hostile.suffer(&words(line));
        hostile.suffer(&["compact", "home"]);
        hostile.change_image(2);
        hostile.suffer(&words(line));
        hostile.lead_out(&what, &hostile.kept());
    }
}

#[test]
fn hidden_newest_commits_hold_nothing_up_once_they_are_shown_again() {
    let hostile = Hostile::new("0,0s");
    let undelete = format!("undelete home disk.img {}", hostile.removed.0);
    let newest = hostile.generation();
    let lies: Vec<String> = (newest - 2..=newest)
        .map(|generation| format!("hide {}", hostile.commit_name(generation)))
        .collect();
    for line in [
        "backup home disk.img",
        "prune home --keep-last 1",
        "compact home --orphans",
        "verify home --deep",
        "archive open home",
        &undelete,
    ] {
        hostile.put_back();
        hostile.tell_lies(&lies);
        hostile.change_image(1);
        let outcome = hostile.suffer(&words(line));
        if line.starts_with("archive") {
            assert_eq!(outcome.expect(5).codes(), ["rolled-back"]);
        }
        hostile.suffer(&["compact", "home"]);
        hostile.lead_out(line, &hostile.kept());
    }
}

#[test]
fn other_bytes_under_the_next_commits_name_are_settled_by_archive_open() {
    let hostile = Hostile::new("3,7d");
    let undelete = format!("undelete home disk.img {}", hostile.removed.0);
    let newest = hostile.generation();
    let next = hostile.commit_name(newest + 1);
    let garbage = hostile.sandbox.path("garbage");
    std::fs::write(&garbage, noise(4096, 3)).unwrap();
    let older = hostile.sandbox.path("older");
    std::fs::copy(hostile.sandbox.commit(newest - 1), &older).unwrap();
    for (shown, line) in [
        (&older, "backup home disk.img"),
        (&garbage, "prune home --keep-last 1"),
        (&older, "compact home --orphans"),
        (&garbage, &undelete),
        (&garbage, "verify home --deep"),
        (&older, "archive open home"),
    ] {
        let what = format!("{} {line}", shown.display());
        hostile.put_back();
        hostile.tell_lies(&[format!("show {next} {}", shown.display())]);
        hostile.change_image(1);
        let outcome = hostile.suffer(&words(line));
        if !(line.starts_with("verify") || line.starts_with("archive")) {
            assert_settled_by_open(&outcome, &what);
            // The machine writes on beside it, while the lie goes on.
            let opened = hostile.suffer(&["archive", "open", "home"]);
            assert!([0, 5].contains(&opened.status), "{what}: {}", opened.json);
            hostile.change_image(2);
            hostile.wyng(&["backup", "home", "disk.img"]).success();
        }
        assert_eq!(hostile.deletes(), 0, "{what}");
        hostile.lead_out(&what, &hostile.kept());
        // Another machine opens it as it is.
        hostile
            .sandbox
            .adopt(hostile.sandbox.path("passphrase").to_str().unwrap())
            .success();
    }
}

#[test]
fn a_machine_that_takes_over_from_hidden_commits_has_nothing_deleted_of_the_real_ones() {
    let hostile = Hostile::new("3,7d");
    let newest = hostile.generation();
    let lies: Vec<String> = (newest - 2..=newest)
        .map(|generation| format!("hide {}", hostile.commit_name(generation)))
        .collect();
    let passphrase = hostile.sandbox.path("passphrase");
    let [first, second] = ["first", "second"].map(|name| hostile.sandbox.path(name));
    let mut forks = 0;
    for commits in [1, 3] {
        hostile.put_back();
        std::fs::rename(hostile.sandbox.state(), &first).unwrap();
        hostile.tell_lies(&lies);
        let adopted = hostile.sandbox.adopt(passphrase.to_str().unwrap());
        adopted.success();
        let gone = ["archive", "take-over", "home", "--other-writer-is-gone"];
        hostile.wyng(&gone).success();
        for commit in 1..commits {
            hostile.change_image(commit);
            hostile.suffer(&["backup", "home", "disk.img"]);
            hostile.suffer(&["prune", "home", "--keep-last", "1"]);
            hostile.suffer(&["compact", "home", "--orphans"]);
        }
        hostile.be_honest();
        // Of the two machines, one goes on; the other says what to do.
        let on_second = hostile.suffer(&["backup", "home", "disk.img"]);
        std::fs::rename(hostile.sandbox.state(), &second).unwrap();
        std::fs::rename(&first, hostile.sandbox.state()).unwrap();
        hostile.change_image(50);
        let on_first = hostile.suffer(&["backup", "home", "disk.img"]);
        let goes_on = on_first.status == 0 || on_second.status == 0;
        assert!(goes_on, "{}\n{}", on_first.json, on_second.json);
        assert_eq!(hostile.deletes(), 0, "the hold-off is not over");
        for (session, content) in &hostile.sessions {
            hostile
                .sandbox
                .assert_restores("disk.img", session, content);
        }
        std::fs::remove_dir_all(&second).unwrap();
        if on_first.status == 0 {
            // The other's commit may lie beside this machine's as another copy: it is named.
            let deep = hostile.wyng(&["verify", "home", "--deep"]);
            let problems = deep.json["problems"].as_array().unwrap();
            let is_fork = |problem: &Value| {
                let text = problem["problem"].as_str().unwrap();
                text == "two copies of it authenticate and differ"
            };
            assert!(
                problems.len() <= 1 && problems.iter().all(is_fork),
                "{}",
                deep.json
            );
            forks += problems.len();
            // Both commits stay in the store, so a person who has seen it can say so.
            hostile.wyng(&["archive", "acknowledge", "home"]).success();
            hostile.wyng(&["verify", "home"]).success();
            hostile.wyng(&["status", "home"]).success();
        }
    }
    assert!(
        forks > 0,
        "no commit of the other machine was left beside this one's"
    );
}
