// SPDX-License-Identifier: GPL-3.0-or-later
//! The kept clock in the course of commands: observed and stored where a command begins and ends,
//! and read wherever the chain's time is needed.
//!
//! A command that only looks stores nothing: it observes the stored clock in memory, so it shows
//! the present even where the state directory can only be read.

use wyng_archive::format::{Commit, SessionEntry};
use wyng_archive::plan::age::Moment;
use wyng_archive::plan::chain_clock::ChainClock;
use wyng_archive::plan::kept_clock::KeptClock;
use wyng_control::{Failure, ToClient, Warning};

use crate::archive::Archive;
use crate::state::StoredClock;
use crate::world::{Client, Clock, Files, Parts, Random, World};

/// The chain's kept clock as a commit has it, seconds.
pub(crate) fn kept_of_commit(commit: &Commit) -> u64 {
    commit.stamp.stamp.kept_secs
}

/// The start of a session's run, by both clocks.
pub(crate) fn moment_of_session(session: &SessionEntry) -> Moment {
    Moment {
        wall_secs: session.time,
        kept_secs: session.kept_secs,
    }
}

/// The state directory's kept clock now, observed in memory alone. Without a sound clock, it
/// returns a clock at 0 that belongs to no instance, so that no chain advances by it.
pub(crate) fn local_clock(
    files: &mut impl Files,
    clock: &mut impl Clock,
) -> Result<KeptClock, Failure> {
    let now = clock.reading();
    Ok(match StoredClock::read(files)? {
        StoredClock::Sound(mut stored) => {
            stored.observe(now);
            stored
        }
        StoredClock::New | StoredClock::Lost => KeptClock::start([0; 16], now),
    })
}

/// The kept clock of the archive's chain now, seconds: never below that of its head. Where the
/// state directory's clock was lost, put back or is behind the head, the chain continues from the
/// head without credit, and the ledger is written.
pub(crate) fn kept_now(
    files: &mut impl Files,
    clock: &mut impl Clock,
    archive: &mut Archive,
) -> Result<u64, Failure> {
    let local = local_clock(files, clock)?;
    let head_secs = kept_of_commit(&archive.head);
    let chain = &mut archive.ledger.chain;
    let mut is_changed = chain.rebind(&local);
    if chain.now(&local) < head_secs {
        *chain = ChainClock::adopt(head_secs, &local);
        is_changed = true;
    }
    let now_secs = chain.now(&local);
    if is_changed && !files.only_looks() {
        archive.ledger.write(files, &archive.folder)?;
    }
    Ok(now_secs)
}

/// The present by both clocks, for ages and marks of an archive.
pub(crate) fn moment_now(
    files: &mut impl Files,
    clock: &mut impl Clock,
    archive: &mut Archive,
) -> Result<Moment, Failure> {
    Ok(Moment {
        kept_secs: kept_now(files, clock, archive)?,
        wall_secs: clock.wall_secs(),
    })
}

/// Observes the clock at the begin of a command, stores it, and reports once that it was lost.
/// Where it cannot be stored, that is a failure only if the command `must_store` it: a full disk
/// must not stop a restore.
pub(crate) fn begin<P: Parts>(
    world: &mut World<P>,
    must_store: bool,
) -> Result<KeptClock, Failure> {
    if world.files.only_looks() {
        return local_clock(&mut world.files, &mut world.clock);
    }
    let stored = StoredClock::read(&mut world.files)?;
    let now = world.clock.reading();
    let clock = match stored {
        StoredClock::Sound(mut clock) => {
            clock.observe(now);
            clock
        }
        StoredClock::New | StoredClock::Lost => KeptClock::start(world.random.draw()?, now),
    };
    match StoredClock::write(&mut world.files, &clock) {
        Err(failure) if must_store => return Err(failure),
        _ => {}
    }
    if stored == StoredClock::Lost {
        world.client.tell(ToClient::Warned(Warning::ClockLost))?;
    }
    Ok(clock)
}

/// Observes the clock outside of a command, or at the end of one, and stores it. A lost clock stays
/// lost until a command can report it. A clock that cannot be stored is observed again later.
pub fn observe_clock<P: Parts>(world: &mut World<P>) {
    if world.files.only_looks() {
        return;
    }
    let now = world.clock.reading();
    let clock = match StoredClock::read(&mut world.files) {
        Ok(StoredClock::Sound(mut clock)) => {
            clock.observe(now);
            clock
        }
        Ok(StoredClock::New) => match world.random.draw() {
            Ok(instance) => KeptClock::start(instance, now),
            Err(_) => return,
        },
        Ok(StoredClock::Lost) | Err(_) => return,
    };
    // The time since the stored reading is counted by the next observation.
    let _ = StoredClock::write(&mut world.files, &clock);
}

/// How far the wall clock has parted from the kernel's count since a person last looked, seconds;
/// positive: it is ahead. A clock that is new or lost knows of no difference.
pub fn parted_secs(files: &mut impl Files, clock: &mut impl Clock) -> Result<i64, Failure> {
    Ok(local_clock(files, clock)?.parted_secs)
}

/// Reports that the kept clock is lost. A look only reports it; the next command that may write
/// starts a new clock.
pub(crate) fn warn_of_loss<P: Parts>(world: &mut World<P>) -> Result<(), Failure> {
    if StoredClock::read(&mut world.files)? == StoredClock::Lost {
        world.client.tell(ToClient::Warned(Warning::ClockLost))?;
    }
    Ok(())
}

/// Reports a jump of the wall clock that no person has accepted yet.
pub(crate) fn warn_of_jump(client: &mut impl Client, clock: &KeptClock) -> Result<(), Failure> {
    if clock.jumped {
        client.tell(ToClient::Warned(Warning::ClockJumped {
            ahead_secs: clock.parted_secs,
        }))?;
    }
    Ok(())
}

/// Whether no jump of the wall clock waits for a person to accept it.
pub(crate) fn agrees<P: Parts>(world: &mut World<P>) -> Result<bool, Failure> {
    Ok(!local_clock(&mut world.files, &mut world.clock)?.jumped)
}

/// Stores that a person accepts the present difference of the clocks. The kept clock itself does
/// not move.
pub(crate) fn trust_clock<P: Parts>(
    world: &mut World<P>,
    mut clock: KeptClock,
) -> Result<KeptClock, Failure> {
    clock.trust_wall();
    StoredClock::write(&mut world.files, &clock)?;
    Ok(clock)
}
