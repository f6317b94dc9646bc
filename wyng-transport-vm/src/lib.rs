// SPDX-License-Identifier: GPL-3.0-or-later
//! The helper in the network VM, which moves blobs between the pipe and a store. It knows names of
//! 32 bytes, and bytes that look random. It deliberately knows no volume, session or key, and no
//! part of it can decrypt.
//!
//! The course of a call: [`run`] fixes the service, enters the first jail, exchanges HELLO, opens
//! the store, enters the second jail, and calls one of `serve::{push, prune, fetch}`. The
//! specification is docs/protocol.md.
#![forbid(unsafe_code)]

mod exit;
mod input;
mod jail;
mod net;
mod output;
mod piece;
mod serve;
mod store;

use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use rustix::pipe::fcntl_setpipe_size;
use tracing::{error, info};
use wyng_wire::{
    CreateOnly, Durability, Hello, KEEP_ALIVE_SECS, OpenStatus, Opened, Service, ToDaemon,
    ToHelper, ToHelperRules, WATCHDOG_SECS,
};
use zeroize::Zeroizing;

use exit::CallError;
pub use exit::Exit;
use input::Input;
use output::Output;
use store::directory::Directory;
use store::s3::{self, S3};
use store::sftp::{self, Sftp};
use store::webdav::{self, Webdav};
use store::{Address, Fetch, Given, Prune, Push};

/// Requested size of each pipe, bytes: one piece. A socket, or the limit of an ordinary user, gives
/// less, which works too.
const PIPE_BYTES: usize = 1024 * 1024;

/// The answer to an address that the helper does not understand.
const BAD_DESTINATION: Opened = Opened::of(OpenStatus::BadDestination);

/// Serves one call on standard input and output. The only argument is the service.
pub fn run(arguments: impl Iterator<Item = OsString>) -> Exit {
    tracing_subscriber::fmt()
        .without_time()
        .with_target(false)
        .with_ansi(false)
        .with_writer(std::io::stderr)
        .init();
    match only_verb(arguments).ok_or(CallError::Usage).and_then(call) {
        Ok(()) => Exit::Finished,
        Err(problem) => {
            error!("{problem}");
            problem.exit()
        }
    }
}

fn only_verb(mut arguments: impl Iterator<Item = OsString>) -> Option<Service> {
    let verb = arguments.next()?;
    if arguments.next().is_some() {
        return None;
    }
    Service::from_verb(verb.to_str()?)
}

fn call(service: Service) -> Result<(), CallError> {
    jail::before_the_first_byte().map_err(CallError::Jail)?;
    let mut input = Input::from_stdin(Duration::from_secs(WATCHDOG_SECS))?;
    let output = Arc::new(Output::to_stdout()?);
    widen(&input, &output);

    output.send_hello(Hello { service })?;
    input.expect_hello(service)?;

    let mut rules = ToHelperRules::new(service);
    let destination = expect_open(&mut input, &mut rules)?;
    let call = Call {
        service,
        input,
        output,
        rules,
    };
    let Some((address, credentials)) = Address::parse(&destination.bytes) else {
        return Err(call.refuse(BAD_DESTINATION));
    };
    if destination.given.is_some() && !matches!(address, Address::S3(_)) {
        return Err(call.refuse(BAD_DESTINATION));
    }
    // No other store can lock, and an owner who wants a lock must not believe that there is one.
    if destination.lock_until_day > 0
        && !matches!(&address, Address::S3(bucket) if bucket.lock.is_some())
    {
        return Err(call.refuse(BAD_DESTINATION));
    }
    let scheme = address.scheme();
    match address {
        Address::Folder(folder) => {
            let store = Directory::open(service, destination.create, &folder)
                .map_err(|opened| call.refuse(opened))?;
            drop(destination);
            // Not every service may ask for it in the second jail.
            let free_mib = store.free_mib();
            jail::after_open(service, store.root());
            let opened = Opened {
                free_mib,
                ..open(CreateOnly::Atomic, Durability::Durable)
            };
            call.serve(store, scheme, opened)
        }
        Address::S3(address) => {
            let unopened = s3::Unopened::new(address, credentials, destination.given)
                .map_err(|status| call.refuse_because(status))?;
            drop(destination.bytes);
            jail::before_the_network(service, unopened.port());
            let opening = s3::Opening {
                service,
                create: destination.create,
                tries: destination.tries,
                looks_at_versions: destination.looks_at_versions,
                lock_until_day: destination.lock_until_day,
            };
            let store =
                S3::open(unopened, opening).map_err(|status| call.refuse_because(status))?;
            // Its first answer shows what it refuses, if it is tried.
            call.serve(
                store,
                scheme,
                open(CreateOnly::Unknown, Durability::Durable),
            )
        }
        Address::Webdav(address) => {
            let unopened = webdav::Unopened::new(address, credentials)
                .map_err(|status| call.refuse_because(status))?;
            drop(destination.bytes);
            jail::before_the_network(service, unopened.port());
            let store = Webdav::open(unopened, service, destination.create)
                .map_err(|status| call.refuse_because(status))?;
            // No server says whether a MOVE looks first, nor when a file is on its disk.
            call.serve(
                store,
                scheme,
                open(CreateOnly::Checked, Durability::Accepted),
            )
        }
        Address::Sftp(address) => {
            let unopened = sftp::Unopened::new(&address).map_err(|opened| call.refuse(opened))?;
            drop(destination.bytes);
            jail::after_connecting();
            let (create, tries) = (destination.create, destination.tries);
            let store = Sftp::open(unopened, service, create, tries, &address)
                .map_err(|opened| call.refuse(opened))?;
            let opened = open(store.create_only(), store.durability(service));
            call.serve(store, scheme, opened)
        }
    }
}

/// The answer of an open store.
const fn open(create_only: CreateOnly, durability: Durability) -> Opened {
    Opened {
        status: OpenStatus::Ok,
        create_only,
        durability,
        free_mib: None,
    }
}

/// A call between HELLO and its end.
struct Call {
    service: Service,
    input: Input,
    output: Arc<Output>,
    rules: ToHelperRules,
}

impl Call {
    /// Tells the daemon why the store is not open, and ends the call.
    fn refuse(&self, opened: Opened) -> CallError {
        self.output
            .send(&ToDaemon::Opened(opened))
            .err()
            .unwrap_or(CallError::NotOpened(opened.status))
    }

    /// The same, without the free space of the store.
    fn refuse_because(&self, status: OpenStatus) -> CallError {
        self.refuse(Opened::of(status))
    }

    /// Serves an open store.
    fn serve<S: Push + Prune + Fetch + Send + Sync + 'static>(
        mut self,
        store: S,
        scheme: &'static str,
        opened: Opened,
    ) -> Result<(), CallError> {
        info!(service = self.service.verb(), scheme, "store opened");
        self.output.send(&ToDaemon::Opened(opened))?;
        // Only behind the second jail, so that this thread is in it too.
        output::keep_alive(&self.output, Duration::from_secs(KEEP_ALIVE_SECS))?;
        let (input, output) = (&mut self.input, &*self.output);
        match self.service {
            Service::Push => serve::push::serve(&store, input, output, self.rules),
            Service::Prune => serve::prune::serve(store, input, output, self.rules),
            Service::Fetch => serve::fetch::serve(store, input, output, self.rules),
        }
    }
}

fn widen(input: &Input, output: &Output) {
    // Best effort: a socket, or a user at the pipe limit, is no fault.
    let _ = fcntl_setpipe_size(input, PIPE_BYTES);
    let _ = output.with_fd(|fd| fcntl_setpipe_size(fd, PIPE_BYTES));
}

/// What OPEN says. Its bytes may hold credentials, and are wiped when they are dropped.
struct Destination {
    create: bool,
    /// The first PUT also tries what the store refuses.
    tries: bool,
    /// The first look is at older versions.
    looks_at_versions: bool,
    /// The signature of the first request, in a call whose requests come signed.
    given: Option<Given>,
    /// What is stored is to be locked until this day; 0: not at all.
    lock_until_day: u32,
    bytes: Zeroizing<Vec<u8>>,
}

/// Waits for OPEN. The frame is wiped as soon as it was read.
fn expect_open(input: &mut Input, rules: &mut ToHelperRules) -> Result<Destination, CallError> {
    let destination = loop {
        match input.frame(rules)?.ok_or(CallError::EndedEarly)? {
            ToHelper::Open(open) => {
                break Destination {
                    create: open.create,
                    tries: open.tries,
                    looks_at_versions: open.looks_at_versions,
                    given: open.signed.as_ref().map(Given::from),
                    lock_until_day: open.lock_until_day,
                    bytes: Zeroizing::new(open.destination.to_vec()),
                };
            }
            // Before OPEN the rules accept only KEEP_ALIVE.
            _ => continue,
        }
    };
    input.wipe();
    Ok(destination)
}
