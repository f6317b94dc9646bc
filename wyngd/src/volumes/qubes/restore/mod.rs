// SPDX-License-Identifier: GPL-3.0-or-later
//! In dom0: one restore of qubes. It takes the records, has a plan made of them, and does what the
//! plan says, step by step, in its order. It decides nothing that the plan decides: which qubes,
//! which settings, which order.

mod carry_out;
mod clean;
mod ground;
mod import;
mod in_place;
mod into_present;
mod journal;
mod keep;
mod machine;
mod next;
mod outcome;
mod policy;
mod put_back;
mod thin;
mod whole_file;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::io::Errno;
use wyng_control::{
    ArchivedVolume, Failure, PLAN_PAGE_MAX_BYTES, QubeFault, QubeParts, QubesWish, RestoredQube,
};
use wyng_jail::PathAccess;
use wyng_qube::plan::{
    Archived, Asked, Fate, Machine, Nonce, Parts, Plan, PolicyFile, Proof, RestoreWish, Step,
    UnreadPolicy, plan,
};
use wyng_qube::record::{QubeRecord, RECORD_MAX_BYTES};
use wyng_qube::{QubeUuid, Shown};

use clean::Unanswered;
use ground::Ground;
use in_place::Running;
use journal::{Journal, Noted};
pub(in crate::volumes) use next::{Next, Opened};
use outcome::Outcomes;
use policy::PolicyFolders;
use whole_file::read_all;

/// Random bytes of the mark of a restore.
const NONCE_BYTES: usize = 16;
/// What stands between a qube's name and the number that tells it from an earlier one.
const NUMBERED: char = '@';

/// What this process holds for restores of qubes.
pub(in crate::volumes) struct Restores {
    /// `None` where it cannot be kept: then no qube is made.
    journal: Result<Journal, i32>,
    policy: PolicyFolders,
    /// Records that are being restored, by their numbers.
    records: HashMap<u32, OwnedFd>,
    /// What was added, by the names in the records.
    added: BTreeMap<String, Added>,
    planned: Option<Planned>,
    /// A qube that is changed in place; then the plan has no other step.
    running: Option<Running>,
}

/// What the archive has of a qube.
struct Added {
    label: String,
    is_asked: bool,
    archived: Archived,
    /// The numbers of its volumes' targets.
    items: BTreeMap<String, u32>,
}

/// A plan, and how far it is done.
struct Planned {
    machine: Machine,
    lines: VecDeque<String>,
    steps: VecDeque<Step>,
    /// Bytes that are written to each pool.
    needs: BTreeMap<String, u64>,
    is_begun: bool,
    /// The volume that is being imported, under its target's number.
    open: Option<(u32, String, String)>,
    noted: Vec<Noted>,
    nonce: Nonce,
    outcomes: Outcomes,
    /// What is reported once all steps are done.
    reports: Option<VecDeque<(RestoredQube, Option<Failure>)>>,
}

impl Restores {
    /// Call it before the jail: it opens the folders of journal and policy.
    pub(super) fn of(owner: &str) -> Self {
        let journal = Journal::open(owner)
            .map_err(|error| error.raw_os_error().unwrap_or(Errno::IO.raw_os_error()));
        Self {
            journal,
            policy: PolicyFolders::open(),
            records: HashMap::new(),
            added: BTreeMap::new(),
            planned: None,
            running: None,
        }
    }

    /// The files of the policy, and what of it cannot be read.
    pub(super) fn read_policy(&self) -> (Vec<PolicyFile>, Vec<UnreadPolicy>) {
        self.policy.read()
    }

    /// What this role must be able to reach.
    pub(super) fn reach(&self) -> impl Iterator<Item = (BorrowedFd<'_>, PathAccess)> {
        let journal = self.journal.iter();
        journal
            .map(|journal| (journal.folder(), PathAccess::ReadWrite))
            .chain(self.policy.reach().map(|policy| (policy, PathAccess::Read)))
    }

    /// Removes what an earlier daemon over the same state directory began and did not end. What
    /// stays is logged.
    pub(super) fn begin(&self, ground: Ground<'_>) {
        let left = self.end_left(ground, Unanswered::Dropped);
        for sentence in left.unwrap_or_default() {
            tracing::warn!("{sentence}");
        }
    }

    /// Ends what earlier runs left. Returns sentences about what stays, or was put back.
    fn end_left(&self, ground: Ground<'_>, unanswered: Unanswered) -> Result<Vec<String>, Failure> {
        let journal = self
            .journal
            .as_ref()
            .map_err(|errno| Failure::QubesJournal { errno: *errno })?;
        let mut sentences = clean::clean(ground.0, journal, unanswered);
        sentences.extend(put_back::end_left(ground, journal));
        Ok(sentences)
    }

    /// Whether a restore began this qube and did not complete it: it stays noted until a person has
    /// decided.
    pub(super) fn is_unfinished(&self, uuid: &str) -> bool {
        if self.half_changed().any(|note| note.uuid == uuid) {
            return true;
        }
        let noted = self.journal.as_ref().ok().map(Journal::read);
        let is_it = |noted: &Noted| {
            let own = noted.intent.uuid.as_ref();
            !noted.is_made() && own.is_some_and(|own| own.as_str() == uuid)
        };
        noted.is_some_and(|noted| noted.is_ok_and(|noted| noted.iter().any(is_it)))
    }

    /// The qubes that a restore began, or changes, and did not complete.
    pub(super) fn unfinished(&self) -> Vec<String> {
        let noted = self.journal.as_ref().ok().map(Journal::read);
        let noted = noted.and_then(Result::ok).unwrap_or_default().into_iter();
        noted
            .filter(|noted| !noted.is_made())
            .map(|noted| noted.intent.qube)
            .chain(self.half_changed().map(|note| note.qube))
            .collect()
    }

    /// A new memory file for a record.
    pub(in crate::volumes) fn open_record(&mut self, item: u32) -> Result<OwnedFd, Errno> {
        let errno = |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
        let file = wyng_jail::new_file().map_err(errno)?;
        let own = rustix::io::fcntl_dupfd_cloexec(&file, 3)?;
        self.records.insert(item, own);
        Ok(file)
    }

    /// The bytes of a record that is complete, and of no qube.
    pub(super) fn take_record(&mut self, item: u32) -> Result<Vec<u8>, Errno> {
        let file = self.records.remove(&item).ok_or(Errno::BADF)?;
        read_all(&file, RECORD_MAX_BYTES)
    }

    /// Takes a record that is complete, and what lies beside it.
    pub(in crate::volumes) fn add(
        &mut self,
        (label, item): (&str, u32),
        volumes: &[ArchivedVolume],
        uuid: Option<String>,
        wish: &QubesWish,
    ) -> Result<(), Failure> {
        let refused = |why: String| Failure::QubeRecord {
            volume: format!("{label}:settings"),
            why,
        };
        let file = self.records.remove(&item);
        let bytes = file
            .ok_or(Errno::BADF)
            .and_then(|file| read_all(&file, RECORD_MAX_BYTES))
            .map_err(|errno| refused(errno.to_string()))?;
        let record = QubeRecord::decode(&bytes).map_err(|bad| refused(bad.to_string()))?;
        let name = record.name.clone();
        let is_asked = wish.qubes.is_empty() || wish.qubes.iter().any(|asked| asked == label);
        let own = label.split(NUMBERED).next().unwrap_or_default();
        if own != name && wish.new_name.is_none() {
            let name = Shown::of(&name);
            return Err(refused(format!(
                "it is of a qube that was called {name}, whose new name --as gives"
            )));
        }
        if let Some(known) = self.added.get(&name) {
            let known = Shown::of(&known.label);
            return Err(refused(format!(
                "{known} of the archive had the same name; restore this one alone with --as"
            )));
        }
        let added = Added {
            label: label.to_owned(),
            is_asked,
            archived: Archived {
                is_here: false,
                record,
                volumes: volumes
                    .iter()
                    .map(|volume| (volume.name.clone(), volume.size_bytes))
                    .collect(),
                data_bytes: volumes
                    .iter()
                    .map(|volume| (volume.name.clone(), volume.data_bytes))
                    .collect(),
                uuid: uuid.and_then(|uuid| uuid.parse().ok()),
            },
            items: volumes
                .iter()
                .map(|volume| (volume.name.clone(), volume.item))
                .collect(),
        };
        self.added.insert(name, added);
        Ok(())
    }

    /// Makes the plan, after what an earlier run left is cleaned up.
    pub(in crate::volumes::qubes) fn plan(
        &mut self,
        ground: Ground<'_>,
        wish: &QubesWish,
        is_proven: bool,
    ) -> Result<(), Failure> {
        let (api, ..) = ground;
        let stays = self.end_left(ground, Unanswered::Dropped)?;
        if wish.in_place {
            return self.plan_in_place(ground, wish, is_proven, stays);
        }
        let noted = self.noted()?;
        let (machine, uuids) =
            machine::machine(api, &self.policy).map_err(super::api::of_command)?;
        let nonce = nonce().ok_or(Failure::QubesNotPlanned {
            why: "the system gives no random bytes".into(),
        })?;
        let of_records = RestoreWish {
            asked: match wish.qubes.is_empty() {
                true => Asked::All,
                false => Asked::Names(
                    self.added
                        .iter()
                        .filter(|(_, added)| added.is_asked)
                        .map(|(name, _)| name.clone())
                        .collect(),
                ),
            },
            new_name: wish.new_name.clone(),
            parts: parts(wish),
            with_needs: wish.with_needs,
            trust_settings: wish.trust_settings,
            is_attended: wish.attended,
            proof: proof(is_proven, wish),
            nonce: nonce.clone(),
        };
        let archived: BTreeMap<String, Archived> = self
            .added
            .iter()
            .map(|(name, added)| {
                let mut archived = added.archived.clone();
                let uuid = archived.uuid.as_ref().map(QubeUuid::as_str);
                archived.is_here = uuid.is_some_and(|uuid| uuids.contains(uuid));
                (name.clone(), archived)
            })
            .collect();
        let planned =
            plan(&archived, &of_records, &machine).map_err(|error| Failure::QubesNotPlanned {
                why: error.to_string(),
            })?;
        let outcomes = self.outcomes(&planned, wish, &uuids);
        let Plan {
            lines,
            steps,
            needs,
            ..
        } = planned;
        let lines = lines.iter().map(ToString::to_string);
        self.planned = Some(Planned {
            machine: machine::steady(machine),
            lines: stays.into_iter().chain(lines).collect(),
            steps: steps.into(),
            needs,
            is_begun: false,
            open: None,
            noted,
            nonce,
            outcomes,
            reports: None,
        });
        Ok(())
    }

    /// What is noted of qubes that are made.
    fn noted(&self) -> Result<Vec<Noted>, Failure> {
        let journal = self
            .journal
            .as_ref()
            .map_err(|errno| Failure::QubesJournal { errno: *errno })?;
        journal.read().map_err(|errno| Failure::QubesJournal {
            errno: errno.raw_os_error(),
        })
    }

    /// What is known of each qube of the plan before anything is done.
    fn outcomes(&self, planned: &Plan, wish: &QubesWish, uuids: &BTreeSet<String>) -> Outcomes {
        let mut outcomes = Outcomes::default();
        for qube in &planned.qubes {
            let Some(added) = self.added.get(&qube.qube) else {
                continue;
            };
            let is_gone = |uuid: &QubeUuid| !uuids.contains(uuid.as_str());
            // Beside the qube that has the history, a new one begins its own.
            // Nor does one whose volumes are new and empty: they would become the newest sessions.
            // On a machine that knows nothing of the history, a qube whose name a stranger has
            // continues it under another name.
            let is_it = matches!(qube.fate, Fate::Made | Fate::Renamed(_));
            let continues = wish.parts != QubeParts::SettingsOnly
                && added.archived.uuid.as_ref().is_none_or(is_gone)
                && (added.archived.uuid.is_some() || is_it);
            let is_named = added.is_asked && !wish.qubes.is_empty();
            let why = match &qube.fate {
                Fate::NotRestored(why) if added.is_asked => Some(why.to_string()),
                Fate::AlreadyHere if is_named => {
                    Some("it is here already; --as makes it beside that one".into())
                }
                _ => None,
            };
            match (qube.new_name(), why) {
                (Some(name), _) => outcomes.begin(&added.label, name, continues),
                (None, Some(why)) => outcomes.refuse(&added.label, &qube.qube, why),
                (None, None) => {}
            }
        }
        outcomes
    }

    /// The next lines of the plan; none at its end.
    pub(in crate::volumes) fn next_lines(&mut self) -> Vec<String> {
        let (mut page, mut bytes) = (Vec::new(), 0_usize);
        let Some(planned) = &mut self.planned else {
            return page;
        };
        while let Some(line) = planned.lines.front() {
            bytes = bytes.saturating_add(line.len().saturating_add(8));
            if bytes > PLAN_PAGE_MAX_BYTES && !page.is_empty() {
                break;
            }
            page.extend(planned.lines.pop_front());
        }
        page
    }

    /// Ends what the command left open: what is not complete is removed.
    pub(in crate::volumes::qubes) fn end(&mut self, ground: Ground<'_>) {
        self.records.clear();
        self.added.clear();
        let running = self.running.take();
        let is_changing = running.is_some_and(|running| running.is_begun());
        let planned = self.planned.take();
        if is_changing || planned.is_some_and(|planned| planned.is_begun) {
            let left = self.end_left(ground, Unanswered::Kept);
            for sentence in left.unwrap_or_default() {
                tracing::warn!("{sentence}");
            }
        }
    }
}

fn parts(wish: &QubesWish) -> Parts {
    match wish.parts {
        QubeParts::Both => Parts::Both,
        QubeParts::SettingsOnly => Parts::SettingsOnly,
        QubeParts::DataOnly => Parts::DataOnly,
    }
}

fn proof(is_proven: bool, wish: &QubesWish) -> Proof {
    match (is_proven, wish.unproven) {
        (true, _) => Proof::Proven,
        (false, true) => Proof::UnprovenAccepted,
        (false, false) => Proof::Unproven,
    }
}

/// A word that marks what one restore made.
fn nonce() -> Option<Nonce> {
    let mut random = [0; NONCE_BYTES];
    getrandom::fill(&mut random).ok()?;
    let digits: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    Nonce::of(&digits)
}

/// The fault of a qube whose journal cannot be written.
fn unwritable(errno: Errno) -> QubeFault {
    QubeFault::NoJournal {
        errno: errno.raw_os_error(),
    }
}
