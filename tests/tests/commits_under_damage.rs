// SPDX-License-Identifier: GPL-3.0-or-later
//! A commit whose blob is damaged: the machine that wrote it goes on, another machine gets an
//! error, and no old commit passes for a new one. These tests run the engine over a world in
//! memory; `healing.rs` and `other_machines.rs` run the real programs.

use std::sync::Arc;

use wyng_archive::crypto::Credential;
use wyng_control::{ExitStatus, Failure, SessionChoice, ToClient, Warning};
use wyng_engine::state::Origins;
use wyng_engine::{admin, restore, verify};
use wyng_tests::engine::{
    Reported, assert_whole, back_up, cut_everywhere, reported, with_a_small_session,
};
use wyng_tests::memory_world::{Durable, MemoryWorld};
use wyng_wire::Service;

/// An archive, and the content that each of its sessions must restore.
#[derive(Clone)]
struct History {
    durable: Durable,
    sessions: Vec<Reported>,
    source: Vec<u8>,
    seed: u64,
}

impl History {
    /// Generation 1 made the archive, generation 2 added a session.
    fn new() -> Self {
        let (durable, sessions, source) = with_a_small_session();
        Self {
            durable,
            sessions,
            source,
            seed: 100,
        }
    }

    /// A world with its own randomness and clock.
    fn world(&mut self) -> MemoryWorld {
        self.seed += 1;
        let mut world = MemoryWorld::new(self.durable.clone(), self.seed);
        world.volumes.sources = vec![self.source.clone()];
        world
    }

    /// Changes the source and backs it up: one more generation.
    fn try_back_up(&mut self) -> Result<(), Failure> {
        self.seed += 1;
        let place = usize::try_from(self.seed * 7 % 19_000).unwrap();
        self.source[place..place + 100].fill(u8::try_from(self.seed % 251).unwrap());
        self.back_up_as_it_is()
    }

    /// Backs up without a change, for which nothing is fetched.
    fn back_up_as_it_is(&mut self) -> Result<(), Failure> {
        let mut world = self.world();
        let ended = back_up(&mut world);
        assert!(
            world
                .store
                .services
                .iter()
                .all(|service| *service == Service::Push),
            "a backup fetches nothing"
        );
        self.sessions.extend(reported(&world));
        self.durable = world.end();
        ended
    }

    fn back_up(&mut self) {
        self.try_back_up().unwrap();
    }

    fn credential(&mut self) -> Arc<Credential> {
        let mut world = self.world();
        world.open_archive("home").unwrap().credential
    }

    /// Cuts a copy of a commit to ten bytes.
    fn damage(&mut self, generation: u64, copy: u8) {
        let name = self.credential().commit_copy_name(generation, copy).0;
        self.durable.store.get_mut(&name).unwrap().truncate(10);
    }

    /// Removes all copies of a commit.
    fn lose(&mut self, generation: u64) {
        let credential = self.credential();
        for copy in 0..=255 {
            self.durable
                .store
                .remove(&credential.commit_copy_name(generation, copy).0);
        }
    }

    fn copies(&mut self, generation: u64) -> Vec<u8> {
        let credential = self.credential();
        (0..=255)
            .filter(|copy| {
                self.durable
                    .store
                    .contains_key(&credential.commit_copy_name(generation, *copy).0)
            })
            .collect()
    }

    fn verify(&mut self) -> Result<ExitStatus, Failure> {
        let mut world = self.world();
        let request = verify::VerifyRequest {
            archive: "home".into(),
            volumes: Vec::new(),
            session: None,
            deep: false,
            budget_bytes: None,
        };
        let ended = verify::verify(&mut world, &request);
        self.durable = world.end();
        ended
    }

    fn open(&mut self, before: Option<u64>) -> (Result<admin::Opened, Failure>, MemoryWorld) {
        let mut world = self.world();
        let ended = admin::open(&mut world, &request(before));
        self.durable = world.end();
        (ended, world)
    }

    fn take_over(&mut self) -> Result<(), Failure> {
        let mut world = self.world();
        let ended = admin::take_over(&mut world, "home", admin::OtherWriter::MayWrite);
        self.durable = world.end();
        ended
    }

    /// The same store, seen by a machine that knows nothing.
    fn elsewhere(&self) -> Self {
        Self {
            durable: Durable {
                store: self.durable.store.clone(),
                ..Durable::default()
            },
            seed: self.seed + 1000,
            ..self.clone()
        }
    }

    /// The state of this machine, and the store as another one left it.
    fn with_store_of(&self, other: &Self) -> Self {
        Self {
            durable: Durable {
                store: other.durable.store.clone(),
                ..self.durable.clone()
            },
            seed: self.seed + 5000,
            ..self.clone()
        }
    }

    fn restore(&mut self, session: SessionChoice) -> Result<Vec<u8>, Failure> {
        let mut world = self.world();
        let volumes = vec!["volume 0".into()];
        let request = restore::RestoreRequest {
            archive: "home".into(),
            volumes,
            session,
            in_place: false,
            quick: false,
            dry_run: false,
            around_damage: false,
            origins: Origins::default(),
        };
        restore::restore(&mut world, &request).map(|_| world.volumes.placed[&0].clone())
    }

    fn assert_whole(&self) {
        assert_whole(&self.durable, &self.sessions);
    }
}

fn request(before: Option<u64>) -> admin::OpenRequest {
    admin::OpenRequest {
        credentials: false,
        name: "home".into(),
        store: Some("memory".into()),
        via: None,
        verify_via: None,
        expect: None,
        before,
    }
}

fn opened(generation: u64) -> Result<admin::Opened, Failure> {
    Ok(admin::Opened {
        generation,
        problems: 0,
        damaged_newest: None,
    })
}

fn warnings(world: &MemoryWorld) -> Vec<Warning> {
    world
        .client
        .told
        .iter()
        .filter_map(|event| {
            if let ToClient::Warned(warning) = event {
                Some(warning.clone())
            } else {
                None
            }
        })
        .collect()
}

#[test]
fn the_machine_that_wrote_a_damaged_newest_commit_writes_on_and_a_verify_is_clean_again() {
    let mut history = History::new();
    history.damage(2, 0);
    history.back_up();
    assert_eq!(
        history.copies(2),
        [0, 1],
        "one copy more, and nobody looked before"
    );
    assert_eq!(history.verify(), Ok(ExitStatus::Done));
    history.assert_whole();
    let mut elsewhere = history.elsewhere();
    assert_eq!(elsewhere.open(None).0, opened(3));
    elsewhere.assert_whole();
}

#[test]
fn a_head_whose_next_copy_is_taken_too_is_read_by_archive_open_before_another_copy_goes_there() {
    let mut history = History::new();
    history.damage(2, 0);
    let before = history.clone();
    history.back_up();
    assert_eq!(history.copies(2), [0, 1]);
    let next = history.credential().commit_copy_name(2, 1).0;
    // The same state again, and now the next copy is damaged too: without reading it, it could be
    // another machine's.
    let mut history = before;
    history.durable.store.insert(next, vec![7; 10]);
    assert_eq!(
        history.try_back_up(),
        Err(Failure::Forked { generation: 2 })
    );
    let (ended, _) = history.open(None);
    assert_eq!(
        ended,
        Ok(admin::Opened {
            generation: 2,
            problems: 1,
            damaged_newest: None
        })
    );
    history.back_up();
    assert_eq!(history.copies(2), [0, 1, 2]);
    assert_eq!(history.verify(), Ok(ExitStatus::Done));
    history.assert_whole();
}

#[test]
fn damage_below_the_head_that_a_verify_found_is_healed_by_the_next_run() {
    let mut history = History::new();
    history.back_up();
    history.back_up();
    for generation in [2, 3] {
        history.damage(generation, 0);
    }
    assert_eq!(history.verify(), Err(Failure::ProblemsFound { count: 2 }));
    history.back_up();
    assert_eq!(history.verify(), Ok(ExitStatus::Done));
    assert_eq!(
        (history.copies(2), history.copies(3)),
        (vec![0, 1], vec![0, 1])
    );
    history.damage(2, 1);
    assert_eq!(history.verify(), Err(Failure::ProblemsFound { count: 1 }));
    history.back_up();
    assert_eq!(history.copies(2), [0, 1, 2]);
    assert_eq!(history.verify(), Ok(ExitStatus::Done));
    history.assert_whole();
}

#[test]
fn a_commit_that_arrived_torn_goes_under_the_next_copy_with_the_same_bytes() {
    let history = History::new();
    let (mut torn, base) = (0, history.clone());
    let start = || base.clone().world();
    cut_everywhere(start, back_up, |n, killed| {
        let mut after = History {
            durable: killed.crash(u64::MAX).0,
            ..history.clone()
        };
        let pending = {
            let mut world = after.world();
            world
                .open_archive("home")
                .unwrap()
                .ledger
                .pending()
                .cloned()
        };
        if after.copies(3).is_empty() {
            return;
        }
        after.damage(3, 0);
        let ended = after.try_back_up();
        if pending.is_none() {
            assert_eq!(ended, Ok(()), "its receipt was seen, at call {n}");
            after.sessions = [after.sessions.clone(), reported(&killed)].concat();
            after.assert_whole();
            return;
        }
        torn += 1;
        assert_eq!(ended, Err(Failure::Forked { generation: 3 }), "at call {n}");
        assert_eq!(after.open(None).0, opened(2), "at call {n}");
        after.back_up();
        let name = after.credential().commit_copy_name(3, 1).0;
        assert_eq!(
            after.durable.store[&name],
            pending.unwrap().bytes,
            "no second content is ever sealed for a generation that was sent"
        );
        assert_eq!(after.verify(), Ok(ExitStatus::Done));
        after.assert_whole();
        assert_eq!(after.elsewhere().open(None).0.unwrap().problems, 0);
    });
    assert!(torn > 0, "{torn} commits were torn");
}

#[test]
fn a_new_machine_is_told_of_a_damaged_newest_commit_and_nothing_old_passes_for_the_latest() {
    let mut history = History::new();
    history.back_up();
    history.damage(3, 0);
    let mut elsewhere = history.elsewhere();
    let (ended, world) = elsewhere.open(None);
    assert_eq!(
        ended,
        Ok(admin::Opened {
            generation: 2,
            problems: 1,
            damaged_newest: Some(3)
        })
    );
    assert!(
        world
            .client
            .told
            .iter()
            .any(|event| matches!(event, ToClient::Problem(_))),
        "the commit is named"
    );
    let refused = Failure::NewestDamaged {
        generation: 3,
        opened: 2,
    };
    assert_eq!(
        elsewhere.restore(SessionChoice::Latest),
        Err(refused.clone())
    );
    assert_eq!(elsewhere.take_over(), Err(refused.clone()));
    assert_eq!(elsewhere.try_back_up(), Err(refused));
    let first = elsewhere.sessions[0].clone();
    let name = jiff::Timestamp::from_second(first.time)
        .unwrap()
        .to_string();
    assert_eq!(
        elsewhere.restore(SessionChoice::Prefix(name)),
        Ok(first.content.clone()),
        "what has a name can be had"
    );

    // Only on request, and with a warning. It is remembered until this machine has written a
    // commit.
    let (ended, world) = elsewhere.open(Some(3));
    assert_eq!(ended, opened(2));
    assert_eq!(
        warnings(&world),
        [Warning::OlderOpened {
            generation: 2,
            newest: 3
        }]
    );
    assert_eq!(elsewhere.restore(SessionChoice::Latest), Ok(first.content));
    assert_eq!(
        elsewhere.try_back_up(),
        Err(Failure::NewerPassedOver {
            generation: 2,
            newest: 3
        })
    );
    elsewhere.take_over().unwrap();
    elsewhere.sessions.truncate(1);
    elsewhere.back_up();
    assert_eq!(
        elsewhere.copies(3),
        [0, 1],
        "generation 3 was written anew beside the damage"
    );
    elsewhere.assert_whole();
    assert_eq!(
        elsewhere.elsewhere().open(None).0,
        opened(4),
        "it opens on the next machine as it is"
    );
}

#[test]
fn going_on_from_an_older_generation_survives_a_kill_at_every_call() {
    let mut history = History::new();
    history.back_up();
    history.back_up();
    history.damage(3, 0);
    history.damage(4, 0);
    let elsewhere = history.elsewhere();
    let start = || elsewhere.clone().world();
    let go_on = |world: &mut MemoryWorld| {
        admin::open(world, &request(Some(3)))?;
        admin::take_over(world, "home", admin::OtherWriter::MayWrite)
    };
    cut_everywhere(start, go_on, |n, killed| {
        let mut after = History {
            durable: killed.crash(n).0,
            ..elsewhere.clone()
        };
        // The same commands again, whether it was taken over or not.
        let mut world = after.world();
        match admin::open(&mut world, &request(Some(3))) {
            Ok(_) => {}
            // It has written the next commit already.
            Err(Failure::BeforeKnown { known_generation }) => {
                assert!(known_generation >= 3, "after a kill at call {n}")
            }
            Err(failure) => panic!("{failure:?} after a kill at call {n}"),
        }
        assert_eq!(
            admin::take_over(&mut world, "home", admin::OtherWriter::MayWrite),
            Ok(()),
            "after a kill at call {n}"
        );
        after.durable = world.end();
        after.sessions.truncate(1);
        after.back_up();
        assert_eq!(
            after.elsewhere().open(None).0.unwrap().damaged_newest,
            None,
            "after a kill at call {n}"
        );
        after.assert_whole();
    });
}

#[test]
fn the_machine_before_and_the_one_that_took_over_beside_its_damaged_commit_are_told_apart() {
    let mut old = History::new();
    old.back_up();
    old.damage(3, 0);
    let mut new = old.elsewhere();
    assert_eq!(new.open(Some(3)).0, opened(2));
    new.take_over().unwrap();
    let mut old = old.with_store_of(&new);
    assert_eq!(
        old.try_back_up(),
        Err(Failure::Forked { generation: 3 }),
        "its own commit and its next copy are both taken"
    );
    assert_eq!(old.try_back_up(), Err(Failure::Stopped));
    assert_eq!(
        old.open(None).0,
        Err(Failure::NotDescended {
            known_generation: 3
        })
    );
    let mut new = new.with_store_of(&old);
    new.sessions.truncate(1);
    new.back_up();
    new.assert_whole();
    assert_eq!(new.verify(), Ok(ExitStatus::Done));
}

#[test]
fn two_copies_that_authenticate_and_differ_are_named_and_refused() {
    let common = History::new();
    let (mut one, mut other) = (common.clone(), common);
    other.seed += 31;
    one.back_up();
    other.back_up();
    let credential = one.credential();
    let (first, second) = (
        credential.commit_copy_name(3, 0).0,
        credential.commit_copy_name(3, 2).0,
    );
    let rival = other.durable.store[&first].clone();
    assert_ne!(rival, one.durable.store[&first]);
    one.durable.store.insert(second, rival);
    let mut elsewhere = one.elsewhere();
    assert_eq!(
        elsewhere.open(None).0,
        Err(Failure::TwoCommits { generation: 3 })
    );
    assert!(
        elsewhere.durable.files.is_empty(),
        "nothing of it was taken over"
    );
    assert_eq!(
        elsewhere.open(Some(3)).0,
        opened(2),
        "an older one can be read"
    );
    assert_eq!(
        elsewhere.take_over(),
        Err(Failure::NewerSound {
            generation: 2,
            newest: 3
        }),
        "and not be written"
    );
    assert_eq!(one.open(None).0, Err(Failure::TwoCommits { generation: 3 }));
    // The listing shows a copy although the first one is intact.
    assert_eq!(one.verify(), Err(Failure::ProblemsFound { count: 1 }));
}

#[test]
fn an_older_generation_is_opened_before_a_sound_one_and_never_written_after() {
    let mut history = History::new();
    history.back_up();
    let mut elsewhere = history.elsewhere();
    let (ended, world) = elsewhere.open(Some(3));
    assert_eq!(ended, opened(2));
    assert_eq!(warnings(&world).len(), 1);
    assert_eq!(
        elsewhere.take_over(),
        Err(Failure::NewerSound {
            generation: 2,
            newest: 3
        })
    );
    // The newest commit can be taken over again at any time.
    assert_eq!(elsewhere.open(None).0, opened(3));
    elsewhere.take_over().unwrap();
    elsewhere.assert_whole();
}

#[test]
fn no_older_generation_than_its_own_is_opened_by_a_machine_that_has_a_ledger() {
    let mut history = History::new();
    history.back_up();
    for before in [1, 2, 3] {
        assert_eq!(
            history.open(Some(before)).0,
            Err(Failure::BeforeKnown {
                known_generation: 3
            })
        );
    }
    // Its own generation is known from its own bytes, whatever the store has.
    history.damage(3, 0);
    assert_eq!(history.open(Some(4)).0.unwrap().generation, 3);
    assert_eq!(history.open(None).0.unwrap().damaged_newest, None);
    history.assert_whole_after_a_run();
}

impl History {
    fn assert_whole_after_a_run(&mut self) {
        self.back_up();
        assert_eq!(self.verify(), Ok(ExitStatus::Done));
        self.assert_whole();
    }
}

#[test]
fn a_newest_generation_whose_first_pack_is_lost_is_passed_over_as_well() {
    let mut history = History::new();
    let before = history.durable.store.clone();
    history.back_up();
    let commit = history.credential().commit_copy_name(3, 0).0;
    history
        .durable
        .store
        .retain(|name, _| before.contains_key(name) || *name == commit);
    let mut elsewhere = history.elsewhere();
    let (ended, _) = elsewhere.open(None);
    assert_eq!(ended.unwrap().damaged_newest, Some(3));
    assert_eq!(elsewhere.open(Some(3)).0.unwrap().generation, 2);
    // Its commit is intact, so no copy is written; the machine with the metadata heals it.
    assert_eq!(
        elsewhere.take_over(),
        Err(Failure::NewerSound {
            generation: 2,
            newest: 3
        })
    );
    assert!(matches!(
        history.verify(),
        Err(Failure::ProblemsFound { .. })
    ));
    history.back_up_as_it_is().unwrap();
    assert_eq!(history.verify(), Ok(ExitStatus::Done));
    assert_eq!(
        history.elsewhere().open(None).0.unwrap().damaged_newest,
        None
    );
}

/// A history of 20 generations, and the state of this machine at generation `known`.
fn long_history(known: u64) -> (History, History) {
    let mut history = History::new();
    let mut past = None;
    for generation in 3..=20 {
        history.back_up();
        if generation == known {
            past = Some(history.clone());
        }
    }
    let past = past.unwrap().with_store_of(&history);
    (history, past)
}

#[test]
fn a_gap_in_the_history_is_said_and_the_passphrase_asked_for() {
    // From 20 to 5: 20, 16, 15, 14, 12, 8, 7, 6, 5.
    let (_, past) = long_history(5);
    let mut whole = past.clone();
    let (ended, world) = whole.open(None);
    assert_eq!(
        (ended, world.secrets.asked_passphrases, warnings(&world)),
        (opened(20), 0, Vec::new())
    );

    let mut gap = past.clone();
    gap.lose(14);
    let (ended, world) = gap.open(None);
    let found = ended.unwrap();
    assert_eq!(
        (found.generation, found.problems),
        (20, 1),
        "the lost commit is told"
    );
    assert_eq!(warnings(&world), [Warning::HistoryGap { generation: 13 }]);
    assert_eq!(world.secrets.asked_passphrases, 1);
    // It writes on, and the next commits carry the right hashes.
    for _ in 0..13 {
        gap.sessions.clear();
        gap.back_up();
    }
    assert_eq!(gap.elsewhere().open(None).0.unwrap().generation, 33);

    let mut wrong = past;
    wrong.lose(14);
    let mut world = wrong.world();
    world.secrets.passphrase = b"another".to_vec();
    assert_eq!(
        admin::open(&mut world, &request(None)),
        Err(Failure::WrongPassphrase)
    );
    assert_eq!(
        world.end().files,
        wrong.durable.files,
        "without it nothing is taken over"
    );
}

#[test]
fn a_gap_excuses_no_hash_that_contradicts_what_this_machine_knows() {
    let (mut theirs, past) = long_history(5);
    // Another history of the same archive, from generation 4 on.
    let mut mine = past.with_store_of(&History::new());
    mine.durable = History::new().durable;
    mine.seed += 77;
    for _ in 3..=5 {
        mine.back_up();
    }
    for lost in 6..=15 {
        theirs.lose(lost);
    }
    let mut mine = mine.with_store_of(&theirs);
    assert_eq!(
        mine.open(None).0,
        Err(Failure::NotDescended {
            known_generation: 5
        })
    );
}

#[test]
fn what_the_ledger_keeps_fills_the_gaps_of_the_store() {
    let (mut history, _) = long_history(5);
    // 16 is on the path of skips, and older than the last 16 only in a longer history; the others
    // are among the last 16.
    for lost in [16, 15, 14, 12] {
        history.lose(lost);
    }
    let (ended, world) = history.open(None);
    assert_eq!(ended.unwrap().generation, 20);
    assert_eq!(warnings(&world), []);
    history.assert_whole_after_damage();
}

impl History {
    fn assert_whole_after_damage(&mut self) {
        assert!(matches!(self.verify(), Err(Failure::ProblemsFound { .. })));
        self.assert_whole_after_a_run();
    }
}

#[test]
fn a_store_that_shows_every_commit_there_can_be_holds_nobody_up() {
    let mut history = History::new();
    for mut machine in [history.elsewhere(), history.clone()] {
        let mut world = machine.world();
        world.store.shows_everything = true;
        let ended = admin::open(&mut world, &request(None));
        assert!(matches!(ended, Err(Failure::Damaged { .. })), "{ended:?}");
    }
    history.back_up();
}
