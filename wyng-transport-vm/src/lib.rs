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
    Hello, KEEP_ALIVE_SECS, OpenStatus, Opened, Service, ToDaemon, ToHelper, ToHelperRules,
    WATCHDOG_SECS,
};

use exit::CallError;
pub use exit::Exit;
use input::Input;
use output::Output;
use store::directory::Directory;

/// Requested size of each pipe, bytes: one piece. A socket, or the limit of an ordinary user, gives
/// less, which works too.
const PIPE_BYTES: usize = 1024 * 1024;

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
    let store = open_store(service, &mut input, &output, &mut rules)?;
    // Not every service may ask for it in the second jail.
    let free_mib = store.free_mib();
    jail::after_open(service, store.root());
    output.send(&ToDaemon::Opened(Opened {
        status: OpenStatus::Ok,
        free_mib,
    }))?;

    // Threads start only after the second jail, so that all of them are in it.
    output::keep_alive(&output, Duration::from_secs(KEEP_ALIVE_SECS))?;
    match service {
        Service::Push => serve::push::serve(&store, &mut input, &output, rules),
        Service::Prune => serve::prune::serve(store, &mut input, &output, rules),
        Service::Fetch => serve::fetch::serve(&store, &mut input, &output, rules),
    }
}

fn widen(input: &Input, output: &Output) {
    // Best effort: a socket, or a user at the pipe limit, is no fault.
    let _ = fcntl_setpipe_size(input, PIPE_BYTES);
    let _ = output.with_fd(|fd| fcntl_setpipe_size(fd, PIPE_BYTES));
}

/// Waits for OPEN and opens the store that it names. The address is wiped as soon as the store is
/// open or refused.
fn open_store(
    service: Service,
    input: &mut Input,
    output: &Output,
    rules: &mut ToHelperRules,
) -> Result<Directory, CallError> {
    let opened = loop {
        match input.frame(rules)?.ok_or(CallError::EndedEarly)? {
            ToHelper::Open(open) => break store::open(service, open.create, open.destination),
            // Before OPEN the rules accept only KEEP_ALIVE.
            _ => continue,
        }
    };
    input.wipe();
    match opened {
        Ok(store) => {
            info!(service = service.verb(), scheme = "dir", "store opened");
            Ok(store)
        }
        Err(opened) => {
            output.send(&ToDaemon::Opened(opened))?;
            Err(CallError::NotOpened(opened.status))
        }
    }
}
