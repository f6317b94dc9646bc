// SPDX-License-Identifier: GPL-3.0-or-later
//! Clients that send any message and any descriptor to the running daemon. The daemon never ends,
//! and others are served meanwhile.
//!
//! `WYNG_FUZZ_SEED` repeats a run's choices, and `WYNG_FUZZ_SECS` makes it longer.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::fs::{MemfdFlags, Mode, OFlags};
use rustix::pipe::PipeFlags;
use wyng_control::{
    BackupSource, BaseLabel, BaseOf, CONTROL_VERSION, Command, CompareWith, Compression, FileKind,
    FoundSource, Given, HoldOff, LogicalName, NoSource, Origin, OwnName, PATH_MAX_BYTES,
    QubeChoice, QubesWish, Remembered, SessionChoice, TargetFault, TargetForm, TargetFound,
    TargetLook, ThinPlace, ThinWaste, ToClient, ToDaemon, Unattended, Via, Wanted,
};
use wyng_tests::raw_client::RawClient;
use wyng_tests::sandbox::{PASSPHRASE, Sandbox, noise};
use wyng_tests::service::{Service, until};

const IMAGE_BYTES: usize = 300_000;
const USUAL_SECS: u64 = 15;
const THREADS: u64 = 4;
/// Minimum number of attempts; on a busy machine the attack goes on until then.
const CONVERSATIONS_MIN: u64 = 50;
const LOOKS_MIN: u32 = 5;
/// Number of simultaneous connections: far fewer than a user may have.
const FLOOD: usize = 12;
/// Codes of failures that a busy machine alone can cause.
const BUSY: [&str; 2] = ["too-many-connections", "far-end-stalled"];
const ATTEMPTS_MAX: u32 = 20;

/// Choices that follow from a seed.
struct Chance(u64);

impl Chance {
    fn bits(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.bits() % end as u64).unwrap()
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn number(&mut self) -> u64 {
        match self.below(4) {
            0 => 0,
            1 => self.bits() % 300,
            2 => u64::MAX - self.bits() % 3,
            _ => self.bits(),
        }
    }

    fn small(&mut self) -> u32 {
        u32::try_from(self.number() & 0xffff_ffff).unwrap()
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        noise(length, self.bits())
    }

    fn text(&mut self) -> String {
        match self.below(6) {
            0 | 1 => "home".into(),
            2 => "disk.img".into(),
            3 => String::new(),
            4 => String::from_utf8_lossy(&self.bytes(40)).into_owned(),
            _ => {
                let length = self.below(5000);
                "x".repeat(length)
            }
        }
    }

    fn via(&mut self) -> Via {
        match self.below(4) {
            0 => Via::Ssh("nowhere.invalid".into()),
            1 => Via::Qube("none".into()),
            _ => Via::Local,
        }
    }

    /// Names of volumes, most of them none of LVM's.
    fn logical_name(&mut self) -> LogicalName {
        LogicalName {
            group: self.text(),
            name: self.text(),
        }
    }

    fn maybe<T>(&mut self, some: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if self.one_in(2) {
            Some(some(self))
        } else {
            None
        }
    }

    fn timer(&mut self) -> Unattended {
        Unattended {
            profile: self.text(),
            interval_secs: self.number(),
        }
    }

    fn session(&mut self) -> SessionChoice {
        match self.below(3) {
            0 => SessionChoice::Latest,
            1 => SessionChoice::Prefix(self.text()),
            _ => SessionChoice::Tag(self.text()),
        }
    }

    fn label(&mut self) -> BaseLabel {
        let of = BaseOf {
            archive: [7; 16],
            volume: [8; 16],
        };
        BaseLabel {
            of,
            generation: self.number(),
            session: self.number().cast_signed(),
            root: [9; 32],
        }
    }

    fn path(&mut self) -> Vec<u8> {
        match self.below(4) {
            0 => b"/disk.img".to_vec(),
            1 => self.text().into_bytes(),
            2 => self.bytes(40),
            _ => b"\xff".repeat(PATH_MAX_BYTES),
        }
    }

    fn origin(&mut self) -> Origin {
        let count = [0, 1, 9, 300][self.below(4)];
        let marks = (0..count)
            .map(|_| {
                if self.one_in(50) {
                    self.text()
                } else {
                    String::new()
                }
            })
            .collect();
        Origin {
            path: self.path(),
            leads_to: self.path(),
            device_bytes: self.maybe(Self::number),
            marks,
        }
    }

    fn here_source(&mut self, item: u32) -> ToDaemon {
        let found = FoundSource {
            origin: self.origin(),
            mounted_at: self.maybe(Self::path),
            snapshots: self.maybe(Self::path),
        };
        let given = Given::Source {
            found,
            clones: self.one_in(2),
            base: self.maybe(Self::label),
        };
        ToDaemon::Given { item, given }
    }

    fn remembered(&mut self) -> Option<Remembered> {
        self.maybe(|chance| Remembered {
            origin: chance.origin(),
            configured: chance.one_in(2),
        })
    }

    fn here_target(&mut self, item: u32) -> ToDaemon {
        let form = match self.below(5) {
            0 => TargetForm::Stream,
            1 => TargetForm::New,
            2 => TargetForm::Replacing,
            3 => TargetForm::Resumed,
            _ => TargetForm::InPlace {
                clones: self.one_in(2),
                discards_bytes: [0, 1, 65_536, u32::MAX][self.below(4)],
            },
        };
        let given = Given::Target {
            form,
            base: self.maybe(Self::label),
            remembered: self.remembered(),
        };
        ToDaemon::Given { item, given }
    }

    fn target_fault(&mut self) -> TargetFault {
        match self.below(3) {
            0 => TargetFault::Unavailable {
                errno: self.small().cast_signed(),
            },
            1 => TargetFault::InUse { how: self.text() },
            _ => TargetFault::NotConfirmed,
        }
    }

    fn looked(&mut self, item: u32) -> ToDaemon {
        let found = TargetFound {
            holds_bytes: self.one_in(2),
            free_bytes: self.maybe(Self::number),
            keeps_holes: self.one_in(2),
            remembered: self.remembered(),
        };
        let found = if self.one_in(4) {
            Err(self.target_fault())
        } else {
            Ok(found)
        };
        let look = TargetLook {
            path: self.text(),
            found,
        };
        ToDaemon::Given {
            item,
            given: Given::Look(look),
        }
    }

    fn no_source(&mut self) -> NoSource {
        if self.one_in(2) {
            NoSource::Errno(self.small().cast_signed())
        } else {
            NoSource::Kind(FileKind::Fifo)
        }
    }
}

/// Descriptors of every kind that a client can have.
struct Zoo(Vec<OwnedFd>);

impl Zoo {
    fn new(sandbox: &Sandbox) -> Self {
        let open = |path: &Path, flags| {
            rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR).unwrap()
        };
        let image = sandbox.path("disk.img");
        let pipe = || rustix::pipe::pipe_with(PipeFlags::CLOEXEC).unwrap();
        let ((read, write), (full_read, full)) = (pipe(), pipe());
        rustix::io::write(&full, &vec![0; 65_536]).unwrap();
        let (socket, other) = wyng_jail::packet_pair().unwrap();
        // A socket with descriptors in flight, its own included.
        for carried in [&socket, &other, &read] {
            wyng_jail::send_packet(socket.as_fd(), b"x", &[carried.as_fd()]).unwrap();
        }
        let mut zoo = vec![read, write, full_read, full, socket, other];
        zoo.extend([
            open(&image, OFlags::RDONLY),
            open(&image, OFlags::PATH),
            open(&sandbox.path("scratch"), OFlags::RDWR | OFlags::CREATE),
            open(
                &sandbox.path("other"),
                OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND,
            ),
            open(&sandbox.path(""), OFlags::RDONLY | OFlags::DIRECTORY),
            open(&sandbox.path(""), OFlags::RDWR | OFlags::TMPFILE),
            open(Path::new("/dev/null"), OFlags::RDWR),
            open(Path::new("/dev/full"), OFlags::RDWR),
            open(Path::new("/dev/zero"), OFlags::RDONLY),
            open(Path::new("/proc/self/mem"), OFlags::RDONLY),
            rustix::fs::memfd_create("wyng", MemfdFlags::CLOEXEC).unwrap(),
            rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).unwrap(),
            rustix::event::epoll::create(rustix::event::epoll::CreateFlags::CLOEXEC).unwrap(),
        ]);
        Self(zoo)
    }

    fn some(&self, chance: &mut Chance, count: usize) -> Vec<BorrowedFd<'_>> {
        (0..count)
            .map(|_| self.0[chance.below(self.0.len())].as_fd())
            .collect()
    }
}

/// The tools of every attacker.
struct Arena<'a> {
    socket: PathBuf,
    sandbox: &'a Sandbox,
    /// Only one attacker floods at a time, so that honest clients of the same user can connect.
    flooding: Mutex<()>,
    over: AtomicBool,
    conversations: AtomicU64,
}

fn command(chance: &mut Chance, sandbox: &Sandbox) -> Command {
    let archive = chance.text();
    let known = || "home".to_owned();
    match chance.below(20) {
        0 => Command::ArchiveList,
        18 => Command::ThinList {
            archives: vec![[7; 16]; chance.below(300)],
        },
        19 => Command::ThinRemove {
            waste: vec![
                ThinWaste::Volume(OwnName::Logical(chance.logical_name()));
                chance.below(3)
            ],
        },
        1 => Command::ArchiveShow { archive },
        2 => Command::List {
            archive,
            volume: chance.maybe(Chance::text),
            session: chance.maybe(Chance::session),
            sizes: chance.one_in(2),
        },
        3 => Command::Status {
            archive: chance.maybe(Chance::text),
            trust_clock: chance.one_in(2),
        },
        4 => Command::KeyList { archive },
        15 => Command::ArchiveAcknowledge { archive },
        16 => Command::Snapshots {
            archive: chance.maybe(Chance::text),
            clean: chance.one_in(2),
        },
        5 | 6 => {
            let count = chance.below(6);
            let source = |chance: &mut Chance| BackupSource {
                volume: chance.text(),
                named: chance.one_in(2),
                configured: chance.one_in(3),
            };
            let sources = (0..count).map(|_| source(chance)).collect();
            Command::Backup {
                archive: known(),
                sources,
                qubes: QubeChoice {
                    qubes: (0..chance.below(3)).map(|_| chance.text()).collect(),
                    exclude: (0..chance.below(2)).map(|_| chance.text()).collect(),
                    continues: (0..chance.below(2)).map(|_| chance.text()).collect(),
                },
                skip_unchanged: chance.one_in(2),
                dry_run: chance.one_in(2),
                live: chance.one_in(2),
                heal: chance.one_in(2),
                unattended: chance.maybe(Chance::timer),
                verify: chance.one_in(2),
                max_new_bytes: None,
                prune_after: None,
            }
        }
        7 => Command::Rehearse {
            archive: known(),
            volume: chance.maybe(Chance::text),
        },
        8 if chance.one_in(3) => Command::RestoreQubes {
            archive: known(),
            wish: QubesWish {
                qubes: chance.maybe(Chance::text).into_iter().collect(),
                new_name: chance.maybe(Chance::text),
                with_needs: chance.one_in(2),
                trust_settings: chance.one_in(2),
                ..QubesWish::default()
            },
            session: SessionChoice::Latest,
            dry_run: chance.one_in(2),
        },
        8 => Command::Restore {
            archive: known(),
            volumes: if chance.one_in(3) {
                vec![chance.text()]
            } else {
                vec!["disk.img".into()]
            },
            session: if chance.one_in(3) {
                chance.session()
            } else {
                SessionChoice::Latest
            },
            in_place: chance.one_in(2),
            quick: chance.one_in(2),
            dry_run: chance.one_in(4),
            around_damage: chance.one_in(4),
        },
        9 => Command::Diff {
            archive: known(),
            volume: "disk.img".into(),
            session: SessionChoice::Latest,
            with: CompareWith::Local,
            named: chance.one_in(2),
            configured: chance.one_in(3),
        },
        10 => Command::Verify {
            archive: known(),
            volumes: Vec::new(),
            session: None,
            deep: chance.one_in(2),
            budget_bytes: chance.maybe(Chance::number),
            unattended: chance.maybe(Chance::timer),
        },
        11 => Command::Unlock {
            archive,
            secs: chance.number(),
        },
        12 => Command::Lock {
            archive: chance.maybe(Chance::text),
        },
        13 => Command::KeyAdd {
            archive,
            recovery_key: chance.one_in(2),
            label: chance.maybe(Chance::text),
            kdf_memory_kib: chance.maybe(Chance::small),
            kdf_passes: Some(3),
        },
        14 => Command::ArchiveOpen {
            credentials: false,
            archive: "other".into(),
            store_url: chance.maybe(|_| format!("dir:{}", sandbox.path("no store").display())),
            via: chance.maybe(Chance::via),
            verify_via: chance.maybe(Chance::via),
            expect: chance.maybe(Chance::text),
            before: chance.maybe(Chance::number),
        },
        _ => Command::ArchiveCreate {
            credentials: false,
            archive: chance.text(),
            store_url: format!("dir:{}", sandbox.path("nowhere/at/all").display()),
            via: chance.via(),
            verify_via: chance.maybe(Chance::via),
            chunk_size_bytes: chance.small(),
            pack_size_bytes: chance.small(),
            compression: Compression { zstd_level: 3 },
            hold_off: HoldOff {
                runs: chance.small(),
                secs: chance.number(),
            },
            minimum_age_secs: chance.number(),
            shared_domain: chance.one_in(2),
            kdf_memory_kib: 65_536,
            kdf_passes: 3,
        },
    }
}

fn message(chance: &mut Chance, sandbox: &Sandbox) -> ToDaemon {
    let item = if chance.one_in(2) {
        u32::try_from(chance.below(3)).unwrap()
    } else {
        chance.small()
    };
    let errno = chance.small().cast_signed();
    match chance.below(13) {
        0 => ToDaemon::Hello {
            version: if chance.one_in(2) {
                CONTROL_VERSION
            } else {
                chance.small()
            },
        },
        1 | 2 => ToDaemon::Start(command(chance, sandbox)),
        3 => ToDaemon::Watch { stays: false },
        4 | 5 => ToDaemon::Cancel,
        6 => ToDaemon::Given {
            item,
            given: Given::Pipe,
        },
        13 => ToDaemon::Given {
            item,
            given: Given::NewThin {
                place: ThinPlace {
                    pool: chance.logical_name(),
                    name: chance.text(),
                },
            },
        },
        7 => chance.here_source(item),
        8 => chance.here_target(item),
        9 => chance.looked(item),
        12 => ToDaemon::Given {
            item,
            given: Given::NoTarget {
                fault: chance.target_fault(),
            },
        },
        10 if chance.one_in(2) => ToDaemon::Given {
            item,
            given: Given::NoSource {
                path: chance.path(),
                why: chance.no_source(),
            },
        },
        10 => ToDaemon::Given {
            item,
            given: Given::NoPipe,
        },
        _ => ToDaemon::Given {
            item,
            given: Given::Done { errno },
        },
    }
}

/// Packets of random bytes, also after a greeting.
fn say_anything(chance: &mut Chance, arena: &Arena<'_>, zoo: &Zoo) {
    let client = if chance.one_in(2) {
        RawClient::greeted(&arena.socket)
    } else {
        RawClient::silent(&arena.socket)
    };
    for _ in 0..chance.below(4) {
        let longest = [8, 300, 66_000][chance.below(3)];
        let length = chance.below(longest);
        let (bytes, count) = (chance.bytes(length), chance.below(5));
        client.send(&bytes, &zoo.some(chance, count));
    }
}

/// Well-formed messages in any phase.
fn say_messages(chance: &mut Chance, arena: &Arena<'_>, zoo: &Zoo) {
    let client = if chance.one_in(4) {
        RawClient::silent(&arena.socket)
    } else {
        RawClient::greeted(&arena.socket)
    };
    for _ in 0..chance.below(12) {
        let (message, count) = (
            message(chance, arena.sandbox),
            if chance.one_in(2) { 0 } else { chance.below(5) },
        );
        if wyng_control::encode(&message).is_ok()
            && !client.give(&message, &zoo.some(chance, count))
        {
            return;
        }
        if chance.one_in(3) && client.has_something(0) && client.hear().is_none() {
            return;
        }
    }
}

/// A command whose questions are answered, not always correctly; the client may leave at any time.
fn converse(chance: &mut Chance, arena: &Arena<'_>, zoo: &Zoo) {
    let client = RawClient::start(&arena.socket, command(chance, arena.sandbox));
    for _ in 0..chance.below(40) {
        if arena.over.load(Ordering::SeqCst) || chance.one_in(25) || !client.has_something(1) {
            return;
        }
        if chance.one_in(15) {
            client.say(&ToDaemon::Cancel);
        }
        let Some(event) = client.hear() else { return };
        match event {
            ToClient::Want { item, wanted } => answer(chance, arena, zoo, &client, item, &wanted),
            ToClient::Place { item } | ToClient::Keep { item, .. } => {
                let errno = chance.small().cast_signed();
                client.say(&ToDaemon::Given {
                    item,
                    given: Given::Done { errno },
                });
            }
            ToClient::Done { .. } => return,
            _ => {}
        }
    }
}

fn answer(
    chance: &mut Chance,
    arena: &Arena<'_>,
    zoo: &Zoo,
    client: &RawClient,
    item: u32,
    wanted: &Wanted,
) {
    let typed = |text: &[u8]| {
        let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).unwrap();
        rustix::io::write(&write, text).unwrap();
        read
    };
    match (chance.below(8), wanted) {
        (0, _) => {}
        (1, _) => drop(client.say(&ToDaemon::Given {
            item,
            given: Given::NoPipe,
        })),
        (2, _) => drop(client.say(&message(chance, arena.sandbox))),
        (3, Wanted::Passphrase { .. }) => drop(client.give(
            &ToDaemon::Given {
                item,
                given: Given::Pipe,
            },
            &[typed(&chance.bytes(2000)).as_fd()],
        )),
        (4.., Wanted::Passphrase { .. }) => drop(client.give(
            &ToDaemon::Given {
                item,
                given: Given::Pipe,
            },
            &[typed(PASSPHRASE.as_bytes()).as_fd()],
        )),
        (3 | 4, Wanted::Source { .. }) => {
            let image = File::open(arena.sandbox.path("disk.img")).unwrap();
            let ToDaemon::Given {
                given: Given::Source { found, .. },
                ..
            } = chance.here_source(item)
            else {
                unreachable!()
            };
            let given = Given::Source {
                found,
                clones: false,
                base: None,
            };
            client.give(&ToDaemon::Given { item, given }, &[image.as_fd()]);
        }
        (3.., Wanted::TargetLook { .. }) => {
            let looked = chance.looked(item);
            if wyng_control::encode(&looked).is_ok() {
                client.say(&looked);
            }
        }
        (_, _) => {
            let message = match chance.below(4) {
                0 => ToDaemon::Given {
                    item,
                    given: Given::Pipe,
                },
                1 => chance.here_source(item),
                _ => chance.here_target(item),
            };
            let count = match &message {
                ToDaemon::Given { given, .. } => given.descriptors(),
                _ => 1,
            };
            // A message that is out of bounds may be too long for a packet.
            if wyng_control::encode(&message).is_ok() {
                client.give(&message, &zoo.some(chance, count));
            }
        }
    }
}

/// Many clients at once, which send the same message again and again and read nothing.
fn flood(chance: &mut Chance, arena: &Arena<'_>) {
    let Ok(_alone) = arena.flooding.try_lock() else {
        return;
    };
    let clients: Vec<RawClient> = (0..FLOOD)
        .map(|_| RawClient::silent(&arena.socket))
        .collect();
    for client in &clients {
        client.say(&ToDaemon::Hello {
            version: CONTROL_VERSION,
        });
        client.say(&ToDaemon::Start(command(chance, arena.sandbox)));
    }
    for _ in 0..50 {
        let client = &clients[chance.below(FLOOD)];
        let flags = rustix::fs::fcntl_getfl(client).unwrap() | OFlags::NONBLOCK;
        rustix::fs::fcntl_setfl(client, flags).unwrap();
        while client.say(&ToDaemon::Cancel) && !chance.one_in(100) {}
    }
}

/// Ends the attack when it is dropped.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn attack(seed: u64, arena: &Arena<'_>) {
    let mut chance = Chance(seed | 1);
    let zoo = Zoo::new(arena.sandbox);
    while !arena.over.load(Ordering::SeqCst) {
        match chance.below(10) {
            0 | 1 => say_anything(&mut chance, arena, &zoo),
            2 | 3 => say_messages(&mut chance, arena, &zoo),
            4 => flood(&mut chance, arena),
            _ => converse(&mut chance, arena, &zoo),
        }
        arena.conversations.fetch_add(1, Ordering::SeqCst);
    }
}

/// Runs an honest command until it succeeds. On a busy machine the connections of several floods
/// are open at once, and a far end may take longer than its second; nothing else may fail.
#[track_caller]
fn is_served(sandbox: &Sandbox, command: &[&str]) {
    for _ in 0..ATTEMPTS_MAX {
        let outcome = sandbox.wyng(command);
        let codes = outcome.codes();
        let is_busy = |code: &String| BUSY.contains(&code.as_str());
        if outcome.status == 0 || codes.is_empty() || !codes.iter().all(is_busy) {
            outcome.success();
            return;
        }
    }
    panic!("{command:?} is not served");
}

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn random_clients_neither_end_the_daemon_nor_keep_others_from_it() {
    let now = || {
        u64::try_from(
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap()
                .as_nanos()
                & u128::from(u64::MAX),
        )
        .unwrap()
    };
    let seed = from_environment("WYNG_FUZZ_SEED").unwrap_or_else(now);
    let secs = from_environment("WYNG_FUZZ_SECS").unwrap_or(USUAL_SECS);
    println!("WYNG_FUZZ_SEED={seed}");
    let mut sandbox = Sandbox::with_archive(&["--chunk-size", "64K", "--pack-size", "256K"]);
    sandbox.image("disk.img", IMAGE_BYTES, 1);
    let session = sandbox
        .wyng(&["backup", "home", "disk.img"])
        .success()
        .session(0);
    let config = sandbox.text("wyng.toml", "[far_ends]\nstall_timeout = \"1s\"\n");
    let mut command = Service::command(&sandbox, &["--config", &config]);
    // Each dropped client is a warning; thousands would hide what a failing command says.
    command.env("WYNGD_LOG", "error");
    let mut service = Service::started(&mut sandbox, &mut command);
    let processes = service.processes();
    let arena = Arena {
        socket: sandbox.path("socket"),
        sandbox: &sandbox,
        flooding: Mutex::new(()),
        over: AtomicBool::new(false),
        conversations: AtomicU64::new(0),
    };
    let (begun, mut looks) = (Instant::now(), 0u32);
    std::thread::scope(|scope| {
        // Also when this thread panics.
        let over = Over(&arena.over);
        let attackers: Vec<_> = (0..THREADS)
            .map(|number| {
                let arena = &arena;
                scope.spawn(move || {
                    attack(
                        seed.wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
                        arena,
                    )
                })
            })
            .collect();
        let enough = || arena.conversations.load(Ordering::SeqCst) > CONVERSATIONS_MIN;
        while begun.elapsed() < Duration::from_secs(secs) || looks < LOOKS_MIN || !enough() {
            is_served(&sandbox, &["list", "home"]);
            is_served(&sandbox, &["lock", "home"]);
            looks += 1;
        }
        // Attackers are still at work.
        is_served(&sandbox, &["verify", "home"]);
        drop(over);
        for attacker in attackers {
            attacker.join().unwrap();
        }
    });
    let conversations = arena.conversations.load(Ordering::SeqCst);
    println!("{conversations} conversations, {looks} honest looks");
    assert!(service.is_running());
    until("what they started is over", || {
        service.processes() == processes
    });
    sandbox.wyng(&["verify", "home", "--deep"]).success();
    sandbox.assert_restores("disk.img", &session, &noise(IMAGE_BYTES, 1));
}
