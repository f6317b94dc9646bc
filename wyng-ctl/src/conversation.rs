// SPDX-License-Identifier: GPL-3.0-or-later
//! One command from its arguments to its exit status: sends it, answers the daemon's questions, and
//! shows the results.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::pipe::PipeFlags;
use wyng_config::{AdminDomain, Config};
use wyng_control::{
    Asked, BaseOf, CONTROL_VERSION, Command, ExitStatus, FoundSource, Given, InPlaceEnd, NoSource,
    Origin, PATH_MAX_BYTES, TargetFault, TargetFound, TargetLook, ToClient, ToDaemon, Wanted,
};
use wyng_origin::Machine;

use crate::cli::{ArchiveVerb, BackupArgs, Cli, SnapshotsVerb, Verb};
use crate::client::{Client, ClientError, Reach};
use crate::clock::{Clock, now};
use crate::confirm::{self, Answer};
use crate::credentials;
use crate::defaults::{self, default_archive};
use crate::destinations::{scratch_of, targets_of};
use crate::dom0;
use crate::here;
use crate::history::would_overwrite;
use crate::message::Message;
use crate::overdue::Watch;
use crate::own_files;
use crate::passphrase::{self, NoPassphrase};
use crate::plain::plain;
use crate::pool;
use crate::power;
use crate::progress::Progress;
use crate::quantity::{session_name, show_bytes};
use crate::report::{Report, removal_question};
use crate::settings;
use crate::signals::{Said, Signals};
use crate::snapshots::{About, Snapshots, Where};
use crate::source::{self, Clones, Opened, Source};
use crate::target::{Destination, Existing, Made, Spot, Targets};
use crate::thin::Thin;
use crate::tui;
use crate::watch;

/// The policy that denies the helper's services to every qube, where packages install it.
const POLICY: &str = "/etc/qubes/policy.d/60-wyng.policy";

/// What is confirmed before qubes are made.
const MAKING_QUBES: &str = "restoring qubes";

/// Runs a command, and shows its results.
pub(crate) fn run(cli: Cli) -> ExitStatus {
    let (exit, mut report) = carry_out(cli);
    report.finish(exit)
}

/// Runs a command; its object is returned in place of being shown, where that is asked for.
pub(crate) fn run_for(cli: Cli) -> (ExitStatus, Option<String>) {
    let is_json = cli.options.json;
    let (exit, mut report) = carry_out(cli);
    match is_json {
        true => {
            let (exit, object) = report.finish_as_object(exit);
            (exit, Some(object))
        }
        false => (report.finish(exit), None),
    }
}

fn carry_out(mut cli: Cli) -> (ExitStatus, Report) {
    let config = prepare(&mut cli);
    let mut report = Report::new(&cli);
    let exit = match config {
        Err(messages) => report.fail_all(messages),
        Ok(config) => {
            let exit = match &cli.verb {
                Verb::Watch { notify: true } => watch::run(&cli, &mut report),
                Verb::Tui => tui::run(&cli, &mut report),
                _ => here::run(&cli, &mut report)
                    .unwrap_or_else(|| converse(&cli, &config, &mut report)),
            };
            match &cli.verb {
                Verb::Status { export: true, .. } if exit != ExitStatus::Interrupted => {
                    report.export(&config.monitor, exit)
                }
                Verb::History {
                    svg: Some(path), ..
                } if exit == ExitStatus::Done => report.draw_history(path),
                _ => exit,
            }
        }
    };
    (exit, report)
}

/// Fills the gaps of the command line, and reads the configuration.
fn prepare(cli: &mut Cli) -> Result<Config, Vec<Message>> {
    cli.settle_words().map_err(|message| vec![message])?;
    let config = if cli.asks_config() {
        settings::read(&cli.options)?
    } else {
        Config::default()
    };
    cli.fill_in(&config)
        .and_then(|()| default_archive(cli))
        .map_err(|message| vec![message])?;
    Ok(config)
}

fn converse(cli: &Cli, config: &Config, report: &mut Report) -> ExitStatus {
    let timely = match &cli.verb {
        Verb::Backup(BackupArgs {
            unattended: true,
            profile: Some(profile),
            power_supplies,
            ..
        }) => power::check(profile, power_supplies, now()),
        _ => Ok(()),
    };
    let begun = timely
        .map_err(|message| report.fail(message))
        .and_then(|()| own_files::collect(cli, config, report));
    let dom0 = match begun {
        Ok(dom0) => dom0,
        Err(exit) => return exit,
    };
    match Conversation::begin(cli, config, dom0) {
        // Without a state folder there is nothing to list, which is not an error.
        Err(message) if message.is_no_state() && cli.asks_about_all() => ExitStatus::Done,
        Err(message) => report.fail(message),
        Ok(mut conversation) => {
            let ended = conversation.go_on(report);
            let goes_on = matches!(
                ended,
                Err(_) | Ok(ExitStatus::Unreachable | ExitStatus::Interrupted)
            );
            let mut exit =
                ended.unwrap_or_else(|error| report.fail(conversation.why(error).message()));
            if goes_on {
                conversation
                    .targets
                    .keep_partial()
                    .iter()
                    .for_each(|path| report.note_partial(path));
            }
            let unpacked = conversation.targets.take_kept();
            // Every copy of the connection must be closed: a private daemon waits for that.
            conversation.signals.ask_for_nobody();
            if conversation.interrupted {
                conversation.client.end_soon();
            } else {
                conversation.client.end();
            }
            if exit == ExitStatus::Done {
                own_files::put_back(cli, unpacked, report);
            }
            mind_snapshots(cli, config, &conversation.snapshots, exit, report);
            mind_pools(cli, &conversation.snapshots, exit, report);
            if matches!(cli.verb, Verb::Status { .. }) && exit == ExitStatus::Done {
                for overdue in conversation
                    .watch
                    .overdue(config, cli.archive(), &Clock::here())
                {
                    report.fail_overdue(&overdue);
                }
            }
            if matches!(cli.verb, Verb::Qubes(_))
                && config.qubes.admin_domain() == Some(AdminDomain::Dom0)
                && !Path::new(POLICY).exists()
            {
                let missing = report.fail(Message::of_missing_policy(POLICY));
                exit = if exit == ExitStatus::Done {
                    missing
                } else {
                    exit
                };
            }
            exit
        }
    }
}

struct Conversation<'a> {
    cli: &'a Cli,
    client: Client,
    sources: Vec<Source>,
    /// dom0's files, if they are among the sources.
    dom0: Option<OwnedFd>,
    clones: Clones,
    targets: Targets,
    progress: Progress,
    /// What `status` compares with the profiles.
    watch: Watch,
    /// The base snapshots that the archives use.
    snapshots: Snapshots,
    /// The pipe from which a recovery key is read.
    secret: Option<OwnedFd>,
    /// The user's answers, so that a command that starts again asks nothing twice.
    answered: HashMap<String, Answer>,
    signals: Signals,
    interrupted: bool,
}

impl<'a> Conversation<'a> {
    /// Checks what can be checked without the daemon, then connects and sends the command.
    /// `dom0` are dom0's files.
    fn begin(cli: &'a Cli, config: &Config, dom0: Option<OwnedFd>) -> Result<Self, Message> {
        if cli.options.standalone
            && matches!(
                cli.verb,
                Verb::Unlock { .. } | Verb::Lock { .. } | Verb::Watch { .. }
            )
        {
            return Err(Message::of_private_watch());
        }
        let mut sources = source::parse(cli.sources(), &config.volumes)?;
        sources.extend(dom0.as_ref().map(|_| Source::of_dom0()));
        let targets = match &cli.verb {
            Verb::Restore(restore) => targets_of(restore, config)?,
            Verb::Rehearse(rehearse) => {
                Targets::new(scratch_of(rehearse, &cli.options), Existing::Stays)
            }
            _ => Targets::new(Destination::Stdout, Existing::Stays),
        };
        let mut signals = Signals::hear().map_err(|error| Message::of_unheard_signals(&error))?;
        confirm(cli, &signals)?;
        if targets.are_in_place() && !cli.is_dry_run() && !cli.options.yes && !confirm::can_ask() {
            return Err(Message::of_answer(
                Answer::NoTerminal,
                "overwriting what is there",
            ));
        }
        if makes_qubes(cli) && !cli.options.yes && !confirm::can_ask() {
            return Err(Message::of_answer(Answer::NoTerminal, MAKING_QUBES));
        }
        let request = cli.request(sources.iter().map(Source::for_daemon).collect());
        let request = request.ok_or_else(|| ClientError::Lost.message())?;
        let client = Client::connect(&Reach::of(cli, &request)).map_err(|error| error.message())?;
        signals
            .ask_for(client.as_fd())
            .map_err(|_| ClientError::Lost.message())?;
        let progress = Progress::new(&cli.options, cli.sources().len());
        let conversation = Self {
            cli,
            client,
            sources,
            dom0,
            clones: Clones::default(),
            targets,
            progress,
            watch: Watch::default(),
            snapshots: Snapshots::default(),
            secret: None,
            answered: HashMap::new(),
            signals,
            interrupted: false,
        };
        let said = conversation
            .client
            .send(
                &ToDaemon::Hello {
                    version: CONTROL_VERSION,
                },
                &[],
            )
            .and_then(|()| conversation.client.send(&request, &[]));
        // A busy daemon reports that and closes the connection; its message can still be received.
        let _ = said;
        Ok(conversation)
    }

    /// Answers questions and shows results until the daemon is done.
    fn go_on(&mut self, report: &mut Report) -> Result<ExitStatus, ClientError> {
        loop {
            if self.wait_for_person()? {
                continue;
            }
            match self.client.receive()? {
                ToClient::Hello {
                    version: CONTROL_VERSION,
                } => {}
                ToClient::Hello { .. } => {
                    return Ok(
                        report.fail(Message::of_failure(&wyng_control::Failure::VersionMismatch))
                    );
                }
                ToClient::Want { item, wanted } => self.answer(item, &wanted, report)?,
                ToClient::Place { item } => {
                    let errno = self
                        .targets
                        .place(item)
                        .err()
                        .map_or(0, rustix::io::Errno::raw_os_error);
                    self.give(item, Given::Done { errno }, &[])?;
                }
                ToClient::Keep { item, label } => {
                    let errno = self
                        .clones
                        .keep(item, &label)
                        .err()
                        .map_or(0, rustix::io::Errno::raw_os_error);
                    self.give(item, Given::Done { errno }, &[])?;
                }
                ToClient::Forget { item } => self.clones.forget(item),
                ToClient::DropBase { item } => {
                    let dropped = self
                        .targets
                        .drop_base(item)
                        .or_else(|| self.clones.drop_base(item));
                    let errno = dropped.map_or(0, |dropped| {
                        dropped.err().map_or(0, rustix::io::Errno::raw_os_error)
                    });
                    self.give(item, Given::Done { errno }, &[])?;
                }
                ToClient::Progress(progress) => self.progress.show(&progress),
                ToClient::Queued { before } => self.progress.say_queued(before),
                ToClient::Anew => {
                    report.begin_anew();
                    self.clones = Clones::default();
                    self.targets.begin_anew();
                }
                ToClient::Running {
                    command,
                    archive,
                    queued,
                } => self
                    .progress
                    .say_running(&command, archive.as_deref(), queued),
                ToClient::Ended(ended) => self.progress.say_ended(&ended),
                ToClient::Done { exit } => {
                    self.progress.clear();
                    if let Some(path) = self.targets.lost() {
                        let lost = report.fail(Message::of_lost_target(path));
                        return Ok(if exit == ExitStatus::Done { lost } else { exit });
                    }
                    // A key that is not committed opens nothing, so it is shown only once the
                    // command has succeeded.
                    if let Some(pipe) = self.secret.take().filter(|_| exit == ExitStatus::Done) {
                        report.show_secret(passphrase::read_line(pipe).unwrap_or_default());
                    }
                    return Ok(exit);
                }
                event => {
                    self.progress.clear();
                    let is_refused = own_files::is_refused(self.cli, &event);
                    self.watch.hear(&event);
                    self.snapshots.hear(&event);
                    report.take(event);
                    if is_refused {
                        self.interrupted = true;
                        return Ok(report.fail(Message::of_unproven_dom0()));
                    }
                }
            }
        }
    }

    fn answer(
        &mut self,
        item: u32,
        wanted: &Wanted,
        report: &mut Report,
    ) -> Result<(), ClientError> {
        self.progress.clear();
        let pipe = match wanted {
            Wanted::Source {
                volume,
                base_of,
                origin,
            } => return self.give_source(item, volume, base_of, origin.as_deref()),
            Wanted::TargetLook {
                volume,
                session,
                size_bytes,
                base_of,
                origin,
            } => {
                let spot = self.targets.spot(volume, origin.as_deref());
                let path = spot.as_ref().map_or_else(|_| String::new(), Spot::shown);
                let question = question(&path, *size_bytes, volume, *session);
                let found = match spot {
                    Ok(spot) => self.look(&spot, *size_bytes, base_of, question)?,
                    Err(fault) => Err(fault),
                };
                return self.give(item, Given::Look(TargetLook { path, found }), &[]);
            }
            Wanted::Target {
                volume,
                size_bytes,
                base_of,
                origin,
                ..
            } => {
                if let Some(place) = self.targets.thin().cloned() {
                    return self.give(item, Given::NewThin { place }, &[]);
                }
                let spot = self.targets.spot(volume, origin.as_deref());
                let made =
                    spot.and_then(|spot| self.targets.make(item, &spot, *size_bytes, base_of));
                return self.give_target(item, made);
            }
            Wanted::Confirmation => return self.confirm_plan(item, report),
            Wanted::Secret => rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map(|(read, write)| {
                self.secret = Some(read);
                write
            }),
            Wanted::Passphrase { asked } => return self.give_passphrase(item, *asked, report),
        };
        match pipe {
            Ok(pipe) => self.give(item, Given::Pipe, &[pipe.as_fd()]),
            Err(_) => self.give(item, Given::NoPipe, &[]),
        }
    }

    /// Answers the daemon's question of this number.
    fn give(
        &self,
        item: u32,
        given: Given,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), ClientError> {
        self.client
            .send(&ToDaemon::Given { item, given }, descriptors)
    }

    fn give_passphrase(
        &mut self,
        item: u32,
        asked: Asked,
        report: &mut Report,
    ) -> Result<(), ClientError> {
        if asked == Asked::StoreCredentials {
            return self.give_credentials(item, report);
        }
        let archive = self.cli.archive().unwrap_or("the archive");
        let given = self
            .cli
            .passphrase_origin(asked == Asked::New)
            .and_then(|origin| passphrase::as_pipe(&origin, archive, asked, &self.signals));
        match given {
            Ok(pipe) => return self.give(item, Given::Pipe, &[pipe.as_fd()]),
            Err(NoPassphrase::Interrupted) if self.client.is_gone() => return Ok(()),
            Err(NoPassphrase::Interrupted) => self.interrupt()?,
            // The daemon reports why it refused the first one.
            Err(NoPassphrase::OnlyOnce | NoPassphrase::GivenUp) if asked == Asked::Again => {}
            Err(none) => report.explain_no_passphrase(&none),
        }
        self.give(item, Given::NoPipe, &[])
    }

    fn give_credentials(&self, item: u32, report: &mut Report) -> Result<(), ClientError> {
        match self.cli.store_credentials().map(credentials::as_pipe) {
            Some(Ok(pipe)) => self.give(item, Given::Pipe, &[pipe.as_fd()]),
            Some(Err(none)) => {
                report.explain_no_credentials(&none);
                self.give(item, Given::NoPipe, &[])
            }
            None => self.give(item, Given::NoPipe, &[]),
        }
    }

    /// Looks at the place of a target, and asks the user before it is overwritten in place.
    fn look(
        &mut self,
        spot: &Spot,
        size_bytes: u64,
        base_of: &BaseOf,
        question: String,
    ) -> Result<Result<TargetFound, TargetFault>, ClientError> {
        let found = self.targets.look(spot, size_bytes, base_of);
        let asks = self.targets.are_in_place() && !self.cli.is_dry_run() && !self.cli.options.yes;
        if !asks || found.is_err() {
            return Ok(found);
        }
        let signals = &self.signals;
        let answer = *self
            .answered
            .entry(question)
            .or_insert_with_key(|question| confirm::ask(question, signals));
        if answer == Answer::Interrupted && !self.client.is_gone() {
            self.interrupt()?;
        }
        Ok(if answer == Answer::Yes {
            found
        } else {
            Err(TargetFault::NotConfirmed)
        })
    }

    /// Asks whether the plan that was shown is to be carried out. A command that begins anew asks
    /// again only if its plan is another one.
    fn confirm_plan(&mut self, item: u32, report: &Report) -> Result<(), ClientError> {
        let signals = &self.signals;
        let question = match &self.cli.verb {
            Verb::Restore(restore) if restore.in_place => "Change this qube in place as shown?",
            _ => "Make these qubes as shown?",
        };
        let answer = if self.cli.options.yes {
            Answer::Yes
        } else {
            report.show_plan_before_question();
            *self
                .answered
                .entry(report.plan())
                .or_insert_with(|| confirm::ask(question, signals))
        };
        if answer == Answer::Interrupted && !self.client.is_gone() {
            self.interrupt()?;
        }
        let errno = match answer {
            Answer::Yes => 0,
            _ => rustix::io::Errno::CANCELED.raw_os_error(),
        };
        self.give(item, Given::Done { errno }, &[])
    }

    fn give_target(
        &mut self,
        item: u32,
        made: Result<Made, TargetFault>,
    ) -> Result<(), ClientError> {
        match made {
            Ok(Made {
                form,
                files,
                base,
                remembered,
            }) => {
                let (label, base) = base.unzip();
                let descriptors: Vec<OwnedFd> = files.into_iter().chain(base).collect();
                let given = Given::Target {
                    form,
                    base: label,
                    remembered,
                };
                self.give(
                    item,
                    given,
                    &descriptors.iter().map(AsFd::as_fd).collect::<Vec<_>>(),
                )
            }
            // What changed since it was looked at.
            Err(fault) => self.give(item, Given::NoTarget { fault }, &[]),
        }
    }

    fn give_source(
        &mut self,
        item: u32,
        volume: &str,
        base_of: &BaseOf,
        origin: Option<&[u8]>,
    ) -> Result<(), ClientError> {
        if volume == dom0::VOLUME
            && let Some(dom0) = &self.dom0
        {
            return self.give_dom0(item, dom0.as_fd());
        }
        if matches!(self.cli.verb, Verb::Restore(_)) {
            return self.give_what_is_there(item, volume, origin);
        }
        let named = usize::try_from(item)
            .ok()
            .and_then(|place| self.sources.get(place))
            .map(|source| source.path.clone());
        let named = named.or_else(|| self.cli.compared_path().map(Path::to_owned));
        let remembered = origin.map(|path| PathBuf::from(OsStr::from_bytes(path)));
        let path = wyng_origin::absolute(&named.or(remembered).ok_or(ClientError::Lost)?);
        match self.clones.open(item, &path, base_of) {
            Ok(Opened {
                descriptors,
                clones,
                base,
                found,
            }) => {
                let given = Given::Source {
                    found,
                    clones,
                    base,
                };
                self.give(
                    item,
                    given,
                    &descriptors.iter().map(AsFd::as_fd).collect::<Vec<_>>(),
                )
            }
            Err(why) => {
                let why = pool::why_missing(&path, why);
                self.send_no_source(item, path, why)
            }
        }
    }

    /// Sends dom0's files, whose place is always the same.
    fn give_dom0(&self, item: u32, file: BorrowedFd<'_>) -> Result<(), ClientError> {
        let path = dom0::PATH.as_bytes().to_vec();
        let origin = Origin {
            leads_to: path.clone(),
            path,
            ..Origin::default()
        };
        let given = Given::Source {
            found: FoundSource {
                origin,
                ..FoundSource::default()
            },
            clones: false,
            base: None,
        };
        self.give(item, given, &[file])
    }

    /// Sends what a dry run compares with: the present content of the target.
    fn give_what_is_there(
        &self,
        item: u32,
        volume: &str,
        origin: Option<&[u8]>,
    ) -> Result<(), ClientError> {
        let spot = self.targets.spot(volume, origin).ok();
        let path = spot
            .as_ref()
            .and_then(Spot::path)
            .map(wyng_origin::absolute)
            .unwrap_or_default();
        let opened =
            wyng_origin::open(&path).map(|file| (Machine::open().look(&path, file.as_fd()), file));
        match opened {
            Ok((found, file)) => {
                let given = Given::Source {
                    found,
                    clones: false,
                    base: None,
                };
                self.give(item, given, &[file.as_fd()])
            }
            Err(why) => self.send_no_source(item, path, why),
        }
    }

    fn send_no_source(&self, item: u32, path: PathBuf, why: NoSource) -> Result<(), ClientError> {
        let mut path = path.into_os_string().into_vec();
        path.truncate(PATH_MAX_BYTES); // a longer one cannot be opened
        self.give(item, Given::NoSource { path, why }, &[])
    }

    /// Waits for the daemon or a signal; true after a signal.
    fn wait_for_person(&mut self) -> Result<bool, ClientError> {
        match self
            .signals
            .wait(&self.client.as_fd())
            .map_err(|_| ClientError::Lost)?
        {
            None => return Ok(false),
            Some(Said::Interrupt) => self.interrupt()?,
            Some(Said::Stop) => {
                self.progress.say_stopped();
                self.signals.stop().map_err(|_| ClientError::Lost)?;
            }
            Some(Said::Continue | Said::DaemonGone) => {}
        }
        Ok(true)
    }

    /// A daemon that ends during an interrupt was interrupted too: by a service manager, or by a
    /// signal to the whole group.
    fn why(&self, error: ClientError) -> ClientError {
        if self.interrupted || self.signals.are_interrupted_within(1) {
            ClientError::Interrupted
        } else {
            error
        }
    }

    /// The first interrupt asks the daemon to stop; the second does not wait for its answer.
    fn interrupt(&mut self) -> Result<(), ClientError> {
        if std::mem::replace(&mut self.interrupted, true) {
            return Err(ClientError::Interrupted);
        }
        self.client.send(&ToDaemon::Cancel, &[])
    }
}

/// Shows or removes base snapshots once the daemon is done: those of a forgotten archive are no
/// longer needed.
fn mind_snapshots(
    cli: &Cli,
    config: &Config,
    snapshots: &Snapshots,
    exit: ExitStatus,
    report: &mut Report,
) {
    let here = Where {
        config,
        everywhere: false,
    };
    match &cli.verb {
        Verb::Status { archive, .. } => {
            snapshots.show(About::Shown(archive.as_deref()), here, report)
        }
        _ if exit != ExitStatus::Done => {}
        Verb::Snapshots(SnapshotsVerb::List { archive, all }) => {
            snapshots.show(
                About::Shown(archive.as_deref()),
                Where {
                    everywhere: *all,
                    ..here
                },
                report,
            );
        }
        Verb::Snapshots(SnapshotsVerb::Clean { archive, all, .. }) => {
            let about = archive.as_deref().map_or(About::LeftOver, About::Archive);
            snapshots.remove(
                about,
                Where {
                    everywhere: *all,
                    ..here
                },
                report,
            );
        }
        // The snapshots of this archive are removed wherever they lie.
        Verb::Archive(ArchiveVerb::Forget { name }) => snapshots.remove(
            About::Archive(name),
            Where {
                everywhere: true,
                ..here
            },
            report,
        ),
        _ => {}
    }
}

/// The same for base snapshots in thin pools, about which only the daemon may ask.
fn mind_pools(cli: &Cli, snapshots: &Snapshots, exit: ExitStatus, report: &mut Report) {
    let (about, removes, everywhere, metadata) = match &cli.verb {
        Verb::Status { archive, .. } => (About::Shown(archive.as_deref()), false, false, false),
        _ if exit != ExitStatus::Done => return,
        Verb::Monitor(_) => (About::LeftOver, false, false, false),
        Verb::Snapshots(SnapshotsVerb::List { archive, all }) => {
            (About::Shown(archive.as_deref()), false, *all, false)
        }
        Verb::Snapshots(SnapshotsVerb::Clean {
            archive,
            all,
            metadata,
        }) => {
            let about = archive.as_deref().map_or(About::LeftOver, About::Archive);
            (about, true, *all, *metadata)
        }
        Verb::Archive(ArchiveVerb::Forget { name }) => (About::Archive(name), true, true, false),
        _ => return,
    };
    let thin = match Thin::of(&cli.options, snapshots.archive_ids()) {
        // A run may be at work, which is nothing to report of an archive.
        Ok(thin) if matches!(cli.verb, Verb::Status { .. }) => thin.finished(),
        Ok(thin) => thin,
        Err(message) => {
            report.fail(message);
            return;
        }
    };
    if removes {
        let metadata = if metadata {
            thin.pools.as_slice()
        } else {
            Default::default()
        };
        snapshots.remove_thin(about, &thin, (everywhere, metadata), &cli.options, report);
    } else if !matches!(cli.verb, Verb::Monitor(_)) {
        snapshots.show_thin(about, &thin, everywhere, report);
    }
    report.take_pools(&thin);
}

/// Asks the user to confirm what cannot be undone.
fn confirm(cli: &Cli, signals: &Signals) -> Result<(), Message> {
    let (question, action) = match &cli.verb {
        _ if cli.options.yes => return Ok(()),
        Verb::Session(_) | Verb::Volume(_) => {
            return confirm_removal(cli, signals);
        }
        Verb::Archive(ArchiveVerb::Forget { name }) => (
            format!(
                "Forget archive {name}? Its store stays as it is; adopting it again requires the store's address and a passphrase."
            ),
            format!("forgetting archive {name:?}"),
        ),
        Verb::Archive(ArchiveVerb::TakeOver {
            name,
            promote: true,
            ..
        }) => (
            format!(
                "Make the copy from which archive {name} is open its own store? The store before must not be written to any more."
            ),
            format!("promoting the copy of archive {name:?}"),
        ),
        Verb::Archive(ArchiveVerb::TakeOver { name, .. }) => (
            format!(
                "Make this machine the writer of archive {name}? Any other machine that writes to it will be stopped."
            ),
            format!("taking over archive {name:?}"),
        ),
        Verb::Restore(restore) if restore.qubes.settled().is_some() => {
            let Some((qubes, end)) = restore.qubes.settled() else {
                return Ok(());
            };
            let qubes = plain(&qubes.join(", "));
            match end {
                InPlaceEnd::Accept => (
                    format!("Give up what {qubes} was before the restore in place?"),
                    "accepting a restore".to_owned(),
                ),
                InPlaceEnd::Undo => (
                    format!(
                        "Put {qubes} back to what it was before the restore in place? What it \
                         wrote since is lost."
                    ),
                    "undoing a restore".to_owned(),
                ),
            }
        }
        Verb::History {
            svg: Some(path), ..
        } if would_overwrite(path) => (
            format!(
                "Replace {}? It is no picture of an archive's history.",
                plain(&path.to_string_lossy())
            ),
            format!("replacing {}", path.display()),
        ),
        _ => return Ok(()),
    };
    match confirm::ask(&question, signals) {
        Answer::Yes => Ok(()),
        answer => Err(Message::of_answer(answer, &action)),
    }
}

/// Asks the user to confirm the removal of what they named, with what is special about it, as a dry
/// run reports it.
fn confirm_removal(cli: &Cli, signals: &Signals) -> Result<(), Message> {
    let action = "removing sessions";
    let Some(command) = cli.removal(true) else {
        return Ok(());
    };
    if !confirm::can_ask() {
        return Err(Message::of_answer(Answer::NoTerminal, action));
    }
    let (mut judged, mut failed) = (Vec::new(), None);
    let reach = Reach::of(cli, &ToDaemon::Start(command.clone()));
    let whole = matches!(command, Command::VolumeRemove { .. });
    let volume = match &command {
        Command::SessionRemove { volume, .. } | Command::VolumeRemove { volume, .. } => {
            volume.clone()
        }
        _ => String::new(),
    };
    let asked = defaults::ask(&reach, command, |event| match event {
        ToClient::Judged(session) => judged.push(session),
        ToClient::Failed(failure) => failed = Some(Message::of_failure(&failure)),
        _ => {}
    });
    asked.map_err(|error| error.message())?;
    failed.map_or(Ok(()), Err)?;
    match confirm::ask(&removal_question(&volume, whole, &judged), signals) {
        Answer::Yes => Ok(()),
        answer => Err(Message::of_answer(answer, action)),
    }
}

/// Whether the command makes qubes.
fn makes_qubes(cli: &Cli) -> bool {
    match &cli.verb {
        Verb::Restore(restore) => {
            restore.qubes.are_named() && restore.qubes.settled().is_none() && !restore.dry_run
        }
        _ => false,
    }
}

/// The question before a file or device is changed in place.
fn question(path: &str, size_bytes: u64, volume: &str, session: i64) -> String {
    let (path, volume) = (plain(path), plain(volume));
    format!(
        "Overwrite {path} with volume {volume} of {} ({})?",
        session_name(session),
        show_bytes(size_bytes)
    )
}
