// SPDX-License-Identifier: GPL-3.0-or-later
//! A pool's metadata snapshot, held while its trees are read.
//!
//! Nothing that was read is true before [`Reservation::end`] has shown that the metadata snapshot
//! stood from the first block to the last: if somebody else released it, the kernel may have put
//! valid nodes of other trees in the place of its blocks.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, Mode, OFlags};
use wyng_control::WholeCause;
use wyng_thin::{BLOCK_BYTES, Block};

use super::journal::{self, Held, Journal};
use super::kernel::{self, PoolStatus, PoolTable};
use super::names::DmUuid;
use super::programs::Call;
use super::trouble::Trouble;
use crate::roles::POOL_WAIT_VARIABLE;

/// How long somebody else's metadata snapshot is waited for.
const FOREIGN_WAIT: Duration = Duration::from_secs(60);
/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long ours is held at most: as long as it is, changes cost the pool metadata blocks.
const HOLD_MAX: Duration = Duration::from_secs(600);
/// The lock of another program that takes metadata snapshots.
const THIN_SEND_RECV_LOCK: &str = "/run/thin-send-recv.lock";

/// Blocks of a pool's metadata, past every cache.
pub(super) struct Blocks {
    device: OwnedFd,
    /// Two blocks, so that a whole one begins at a multiple of its size, as a direct read wants it.
    memory: Box<[u8; 2 * BLOCK_BYTES]>,
    deadline: Instant,
}

/// A metadata snapshot that is ours.
pub(super) struct Reservation<'a> {
    journal: &'a Journal,
    pool: DmUuid,
    pool_uuid: String,
    held: Held,
    blocks: Blocks,
    is_ended: bool,
    /// Nobody else takes one; the files are locked as long as they are open.
    _locks: (std::fs::File, Option<OwnedFd>),
}

/// Who waits, and how long.
#[derive(Clone, Copy)]
pub(super) struct Patience(Duration);

impl Patience {
    /// As long as usual, or as the environment says.
    pub(super) fn usual() -> Self {
        let said = std::env::var(POOL_WAIT_VARIABLE).ok();
        let said = said
            .and_then(|text| text.parse().ok())
            .map(Duration::from_secs);
        Self(said.unwrap_or(FOREIGN_WAIT))
    }
}

impl Blocks {
    /// Of the pool's device.
    fn open(pool: &DmUuid) -> Result<Self, Trouble> {
        let device = kernel::open(PoolTable::of(pool)?.metadata, OFlags::DIRECT)?;
        let now = Instant::now();
        Ok(Self {
            device,
            memory: Box::new([0; 2 * BLOCK_BYTES]),
            deadline: now.checked_add(HOLD_MAX).unwrap_or(now),
        })
    }

    /// Reads one block from the medium. Fails when the metadata snapshot was held for too long.
    pub(super) fn read(&mut self, number: u64, block: &mut Block) -> Result<(), Trouble> {
        if Instant::now() > self.deadline {
            return Err(Trouble::Metadata("reading it took too long".into()));
        }
        let offset = number
            .checked_mul(BLOCK_BYTES as u64)
            .ok_or(Trouble::Answer("a block past every end"))?;
        let begin = self.memory.as_ptr().align_offset(BLOCK_BYTES);
        let (_, aligned) = self.memory.split_at_mut(begin.min(BLOCK_BYTES));
        let (room, _) = aligned.split_at_mut(BLOCK_BYTES);
        let read =
            rustix::io::retry_on_intr(|| rustix::io::pread(&self.device, &mut *room, offset))?;
        if read != BLOCK_BYTES {
            return Err(Trouble::Metadata(format!("block {number} is past its end")));
        }
        block.copy_from_slice(room);
        Ok(())
    }

    /// The hash of a block.
    fn hash(&mut self, number: u64) -> Result<String, Trouble> {
        let mut block = [0; BLOCK_BYTES];
        self.read(number, &mut block)?;
        Ok(blake3::hash(&block).to_hex().to_string())
    }
}

impl<'a> Reservation<'a> {
    /// Takes the metadata snapshot of a pool: waits for those of others, and releases the one that
    /// a killed daemon of this machine left.
    pub(super) fn take(
        journal: &'a Journal,
        pool: DmUuid,
        pool_uuid: &str,
        patience: Patience,
    ) -> Result<Self, Trouble> {
        let locks = wait(patience, || {
            let ours = journal.lock_reservations()?;
            Ok(ours.and_then(|ours| Some((ours, theirs()?))))
        })?
        .ok_or_else(|| held_by_others(&pool))?;
        release_left(journal, &pool, pool_uuid)?;
        let transaction = wait(patience, || {
            let status = PoolStatus::of(&pool)?;
            Ok(status.held.is_none().then_some(status.transaction))
        })?
        .ok_or_else(|| held_by_others(&pool))?;
        let mut intent = journal::Reservation {
            pool: pool_uuid.to_owned(),
            transaction,
            held: None,
        };
        journal.write(&intent)?;
        if let Err(trouble) = Call::Reserve(&pool).run() {
            // The kernel refused, so nothing is held by us.
            journal.remove(pool_uuid)?;
            return Err(trouble);
        }
        let (held, blocks) = match note_taken(journal, &pool, &mut intent) {
            Ok(taken) => taken,
            Err(trouble) => {
                // It is ours for certain: while it is held, nobody else can take one.
                Call::Unreserve(&pool).run()?;
                journal.remove(pool_uuid)?;
                return Err(trouble);
            }
        };
        Ok(Self {
            journal,
            pool,
            pool_uuid: pool_uuid.to_owned(),
            held,
            blocks,
            is_ended: false,
            _locks: locks,
        })
    }

    /// The block of its superblock.
    pub(super) fn root(&self) -> u64 {
        self.held.root
    }

    /// Its blocks.
    pub(super) fn blocks(&mut self) -> &mut Blocks {
        &mut self.blocks
    }

    /// Gives it back. Fails unless it stood until now: then nothing that was read may be used.
    pub(super) fn end(mut self) -> Result<(), Trouble> {
        self.is_ended = true;
        self.give_back()
    }

    fn give_back(&mut self) -> Result<(), Trouble> {
        // The deadline is one for the walk, and not for this look.
        let now = Instant::now();
        self.blocks.deadline = now.checked_add(HOLD_MAX).unwrap_or(now);
        let stood = is_there(&self.pool, &self.held, &mut self.blocks)?;
        if stood {
            Call::Unreserve(&self.pool).run()?;
        }
        self.journal.remove(&self.pool_uuid)?;
        if stood {
            Ok(())
        } else {
            Err(Trouble::Metadata(
                "somebody else released its snapshot".into(),
            ))
        }
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        if self.is_ended {
            return;
        }
        if let Err(trouble) = self.give_back() {
            tracing::warn!(%trouble, "a pool's metadata snapshot stays until the next run");
        }
    }
}

/// Notes which metadata snapshot was taken.
fn note_taken(
    journal: &Journal,
    pool: &DmUuid,
    intent: &mut journal::Reservation,
) -> Result<(Held, Blocks), Trouble> {
    let root = PoolStatus::of(pool)?
        .held
        .ok_or_else(|| Trouble::Metadata("its snapshot is gone at once".into()))?;
    let mut blocks = Blocks::open(pool)?;
    let copy = blocks.hash(root)?;
    let held = Held { root, copy };
    intent.held = Some(held.clone());
    journal.write(intent)?;
    Ok((held, blocks))
}

/// Whether the pool still holds exactly this metadata snapshot.
fn is_there(pool: &DmUuid, held: &Held, blocks: &mut Blocks) -> Result<bool, Trouble> {
    Ok(PoolStatus::of(pool)?.held == Some(held.root) && blocks.hash(held.root)? == held.copy)
}

/// Releases the metadata snapshot that a killed daemon took, if it is that one for certain.
fn release_left(journal: &Journal, pool: &DmUuid, pool_uuid: &str) -> Result<(), Trouble> {
    let Some(noted) = journal.read(pool_uuid)? else {
        return Ok(());
    };
    match (PoolStatus::of(pool)?.held, noted.held) {
        (None, _) => {}
        (Some(_), Some(held)) if is_there(pool, &held, &mut Blocks::open(pool)?)? => {
            tracing::warn!("a metadata snapshot that a killed run left is released");
            Call::Unreserve(pool).run()?;
        }
        // The one that was noted is gone, and somebody else's is there.
        (Some(_), Some(_)) => {}
        (Some(_), None) => {
            let why = format!(
                "its metadata snapshot may be one that a killed run took, or somebody else's; if \
                 no other program reads it, release it: dmsetup message --uuid {} 0 \
                 release_metadata_snap",
                pool.as_str()
            );
            return Err(Trouble::Unfit(WholeCause::MetadataLeft, why));
        }
    }
    Ok(journal.remove(pool_uuid)?)
}

fn held_by_others(pool: &DmUuid) -> Trouble {
    let why = format!(
        "another program holds its metadata snapshot (dmsetup status --uuid {})",
        pool.as_str()
    );
    Trouble::Unfit(WholeCause::MetadataHeld, why)
}

/// The lock of thin-send-recv where its file is there: `None` while it is taken.
fn theirs() -> Option<Option<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let Ok(file) = rustix::fs::open(THIN_SEND_RECV_LOCK, flags, Mode::empty()) else {
        return Some(None);
    };
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)
        .is_ok()
        .then_some(Some(file))
}

/// Looks again and again until something is there; `None` when patience is at its end.
fn wait<T>(
    Patience(patience): Patience,
    mut look: impl FnMut() -> Result<Option<T>, Trouble>,
) -> Result<Option<T>, Trouble> {
    let begun = Instant::now();
    loop {
        let found = look()?;
        if found.is_some() || begun.elapsed() >= patience {
            return Ok(found);
        }
        std::thread::sleep(LOOK_EVERY.min(patience));
    }
}
