// SPDX-License-Identifier: GPL-3.0-or-later
//! Commands that run and commands that wait, as plain data: their clients, their open questions,
//! and their time limits.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use wyng_control::{Command, ThinWaste, ToClient, Via};

use super::journal::About;
use super::questions::{Asker, Prompt};
use crate::ipc::Service;

/// Time for a person's answer while others wait, before the command gives its turn back. A
/// passphrase file is read within it, so that such a command never begins anew.
const PROMPT_GRACE: Duration = Duration::from_secs(2);

/// A command that waits for its turn.
pub(super) struct Waiting {
    pub(super) client: u64,
    pub(super) command: Command,
    /// The command's number, if it has had a turn.
    pub(super) turn: Option<u64>,
    /// Pipe with the passphrase that was typed after the command gave its turn back.
    pub(super) typed: Option<OwnedFd>,
}

/// A command that gave its turn back, and waits for a person's answer.
pub(super) struct Parked {
    pub(super) command: Command,
    pub(super) turn: u64,
    pub(super) item: u32,
    pub(super) asker: Asker,
}

/// The command that runs.
pub(super) struct Job {
    /// Its client; none once that client is gone.
    pub(super) client: Option<u64>,
    pub(super) command: Command,
    pub(super) turn: u64,
    /// Open questions: the asker, and when it asked.
    pub(super) asked: HashMap<u32, (Asker, Instant)>,
    /// Questions that were answered in the client's place, whose own answer may still come.
    pub(super) late: HashSet<u32>,
    pub(super) prompt: Option<Prompt>,
    /// The numbers of the sources that the daemon opens itself.
    pub(super) configured: HashSet<u32>,
    pub(super) cancelled: bool,
    pub(super) tally: Tally,
}

/// What a command has done so far, for clients that watch.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    /// Number of volumes that were backed up or restored.
    pub(super) volumes: u32,
    /// Number of failures.
    pub(super) failures: u32,
    pub(super) sent_bytes: u64,
}

impl Tally {
    /// Counts a result.
    pub(super) fn count(&mut self, event: &ToClient) {
        match event {
            ToClient::BackedUp(_) | ToClient::Restored(_) => {
                self.volumes = self.volumes.saturating_add(1);
            }
            ToClient::Failed(_) => self.failures = self.failures.saturating_add(1),
            ToClient::Totals { sent_bytes, .. } => self.sent_bytes = *sent_bytes,
            _ => {}
        }
    }
}

/// Commands that work: the one that runs, and those that wait.
#[derive(Default)]
pub(super) struct Turns {
    pub(super) queue: VecDeque<Waiting>,
    pub(super) job: Option<Job>,
    /// By client.
    pub(super) parked: BTreeMap<u64, Parked>,
    pub(super) next_turn: u64,
    /// Peak of resident memory of the spawner and its largest far end, bytes, as of the last far
    /// end's end.
    pub(super) spawner_peak_bytes: u64,
    /// The qube that volumes prepares, and the far end that is to be started in it.
    pub(super) preparing: Option<(Service, Via)>,
    /// Far ends whose end is still to be reported to volumes.
    pub(super) ended_in_qubes: Vec<Service>,
}

impl Job {
    pub(super) fn about(&self) -> About<'_> {
        About::of(&self.command)
    }

    /// When the oldest open question to a program was asked.
    pub(super) fn oldest_question(&self) -> Option<Instant> {
        self.asked
            .values()
            .filter(|(asker, _)| !asker.asks_a_person())
            .map(|(_, since)| *since)
            .min()
    }
}

impl Turns {
    /// The client of the command that runs.
    pub(super) fn owner(&self) -> Option<u64> {
        self.job.as_ref().and_then(|job| job.client)
    }

    /// Whether no command runs.
    pub(super) fn is_idle(&self) -> bool {
        self.job.is_none()
    }

    /// When the running command has waited long enough for its client or for a person.
    pub(super) fn deadline(&self, patience: Duration) -> Option<Instant> {
        let job = self.job.as_ref()?;
        let question = job
            .oldest_question()
            .and_then(|since| since.checked_add(patience));
        question.into_iter().chain(self.gives_back_at()).min()
    }

    /// When the command that waits for a passphrase gives its turn back.
    pub(super) fn gives_back_at(&self) -> Option<Instant> {
        let prompt = self
            .job
            .as_ref()?
            .prompt
            .as_ref()
            .filter(|prompt| !prompt.gives_back && !self.queue.is_empty())?;
        prompt.since.checked_add(PROMPT_GRACE)
    }
}

/// A command that the reader answers now.
pub(super) struct Look {
    /// Its client; none once that client is gone.
    pub(super) client: Option<u64>,
    pub(super) name: &'static str,
    pub(super) archive: Option<String>,
}

/// Commands that only look: the one that runs, and those that wait.
#[derive(Default)]
pub(super) struct Looks {
    pub(super) queue: VecDeque<(u64, Command)>,
    pub(super) running: Option<Look>,
    /// Peak of the reader's resident memory, bytes.
    pub(super) peak_bytes: u64,
}

/// Commands about thin pools that wait, the first of which is being answered.
#[derive(Default)]
pub(super) struct Thin {
    pub(super) queue: VecDeque<ThinCommand>,
    /// Volumes has a question.
    pub(super) asked: bool,
}

/// A command about thin pools.
pub(super) struct ThinCommand {
    /// Its client; none once that client is gone.
    pub(super) client: Option<u64>,
    pub(super) work: ThinWork,
}

/// What is left of a command.
pub(super) enum ThinWork {
    List {
        /// The archives whose volumes the client may hear of; none: every volume.
        only: Option<BTreeSet<[u8; 16]>>,
        /// The number of volumes that were listed before.
        from: u32,
    },
    Remove(VecDeque<ThinWaste>),
}

impl Look {
    pub(super) fn about(&self) -> About<'_> {
        About {
            command: self.name,
            archive: self.archive.as_deref(),
        }
    }
}

impl Looks {
    /// The client of the look that runs.
    pub(super) fn owner(&self) -> Option<u64> {
        self.running.as_ref().and_then(|look| look.client)
    }
}

/// Numbers of the sources of a backup, monitor or diff that are volumes of the configuration.
pub(super) fn configured(command: &Command) -> HashSet<u32> {
    match command {
        Command::Backup { sources, .. } | Command::Monitor { sources, .. } => (0..)
            .zip(sources)
            .filter(|(_, source)| source.configured)
            .map(|(item, _)| item)
            .collect(),
        Command::Diff {
            configured: true, ..
        } => HashSet::from([0]),
        _ => HashSet::new(),
    }
}
