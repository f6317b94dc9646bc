// SPDX-License-Identifier: GPL-3.0-or-later
//! The connection to the SFTP server through ssh's pipes. Many threads may have requests on their
//! way at the same time: one of those that wait for an answer moves the bytes for all of them, in
//! both directions, so that a full pipe can block neither end. The others sleep until their own
//! answer is there, or until it is their turn to move. The words of ssh go to the helper's
//! journal, escaped and bounded.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::{Errno, read, write};
use rustix::pipe::{PipeFlags, pipe_with};
use thiserror::Error;
use tracing::warn;

use super::packet::{Answer, LENGTH_BYTES, PACKET_MAX, Request, Status, decode, init};

/// Maximum time between two answers while one is awaited. Shorter than the daemon's own limit, so
/// that the helper can name the cause.
const ANSWER_MAX: Duration = Duration::from_secs(120);

/// The same until the store is open: the daemon waits 60 seconds for OPENED.
const OPENING_MAX: Duration = Duration::from_secs(45);

/// Maximum length of what waits to be sent before senders wait too, bytes.
const WAITING_MAX: usize = 1024 * 1024;

/// Length of the parts in which answers are read, bytes.
const PART_BYTES: usize = 64 * 1024;

/// Maximum length of ssh's words that are kept, bytes. What follows is discarded.
const WORDS_MAX: usize = 8 * 1024;

/// Maximum time for ssh's last words after it closed its output.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Why a connection is of no use any more.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(crate) enum Lost {
    /// ssh ended.
    #[error("ssh ended")]
    Ended,
    /// No answer came in time.
    #[error("the server did not answer in time")]
    Silent,
    /// What came is not SFTP, or answers nothing that was asked.
    #[error("the server does not speak SFTP version 3, or prints something before it")]
    Nonsense,
    /// The pipe to ssh failed.
    #[error("the pipe to ssh failed: {0}")]
    Pipe(Errno),
}

/// Why a request was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Lost(Lost),
    Status(Status),
}

/// The connection to one server.
pub(super) struct Connection {
    to_ssh: ChildStdin,
    from_ssh: ChildStdout,
    words: ChildStderr,
    /// Wakes the thread that waits for ssh when another one has something to send.
    waking: (OwnedFd, OwnedFd),
    shared: Mutex<Shared>,
    /// Something was moved, for threads that wait for something other than an answer.
    changed: Condvar,
    _ssh: Child,
}

struct Shared {
    outgoing: VecDeque<u8>,
    incoming: Vec<u8>,
    part: Box<[u8]>,
    /// The first packet of the server, which has no number.
    greeting: Greeting,
    requests: BTreeMap<u32, Asked>,
    last_id: u32,
    last_answer: Instant,
    /// Maximum time between two answers.
    patience: Duration,
    /// Whether a thread waits for ssh.
    moving: bool,
    /// Threads that wait for the answers to these requests.
    waiting: BTreeMap<u32, Arc<Condvar>>,
    words: Vec<u8>,
    words_ended: bool,
    lost: Option<Lost>,
}

enum Greeting {
    Awaited,
    Here(Vec<u8>),
    Taken,
}

enum Asked {
    Waiting,
    /// Nobody waits for the answer any more.
    Forgotten,
    Answered(Answer),
}

/// A request on its way. Its answer is discarded if this is dropped.
pub(super) struct Ticket {
    connection: Arc<Connection>,
    id: u32,
}

impl Connection {
    /// Speaks to a process that was started with three pipes.
    pub(super) fn over(mut process: Child) -> io::Result<Self> {
        let missing = || io::Error::other("a pipe to ssh is missing");
        let (to_ssh, from_ssh, words) = (
            process.stdin.take().ok_or_else(missing)?,
            process.stdout.take().ok_or_else(missing)?,
            process.stderr.take().ok_or_else(missing)?,
        );
        never_block(&to_ssh)?;
        never_block(&from_ssh)?;
        never_block(&words)?;
        let shared = Shared {
            outgoing: init().into(),
            incoming: Vec::new(),
            part: vec![0; PART_BYTES].into_boxed_slice(),
            greeting: Greeting::Awaited,
            requests: BTreeMap::new(),
            last_id: 0,
            last_answer: Instant::now(),
            patience: OPENING_MAX,
            moving: false,
            waiting: BTreeMap::new(),
            words: Vec::new(),
            words_ended: false,
            lost: None,
        };
        Ok(Self {
            to_ssh,
            from_ssh,
            words,
            waking: pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?,
            shared: Mutex::new(shared),
            changed: Condvar::new(),
            _ssh: process,
        })
    }

    /// Waits for the server's VERSION, and returns the packet.
    pub(super) fn greeting(&self) -> Result<Vec<u8>, Lost> {
        let mut shared = self.shared();
        loop {
            if let Greeting::Here(packet) = &mut shared.greeting {
                let packet = std::mem::take(packet);
                shared.greeting = Greeting::Taken;
                return Ok(packet);
            }
            if let Some(lost) = shared.lost {
                return Err(lost);
            }
            shared = self.moved(shared);
        }
    }

    /// Sends a request. Waits only while much else waits to be sent.
    pub(super) fn send(self: &Arc<Self>, request: Request) -> Result<Ticket, Fault> {
        let mut shared = self.shared();
        while shared.outgoing.len() >= WAITING_MAX && shared.lost.is_none() {
            shared = self.moved(shared);
        }
        if let Some(lost) = shared.lost {
            return Err(Fault::Lost(lost));
        }
        if !shared.is_awaiting() {
            shared.last_answer = Instant::now();
        }
        let id = shared.last_id.wrapping_add(1);
        shared.last_id = id;
        shared.requests.insert(id, Asked::Waiting);
        shared.outgoing.extend(request.finish(id));
        if shared.moving {
            // Fails only if the thread is to wake up already.
            let _ = write(&self.waking.1, &[0]);
        } else if let Err(lost) = shared.send(&self.to_ssh) {
            shared.lost = Some(lost);
            return Err(Fault::Lost(lost));
        }
        Ok(Ticket {
            connection: Arc::clone(self),
            id,
        })
    }

    /// Waits longer from now on, because the store is open.
    pub(super) fn be_patient(&self) {
        self.shared().patience = ANSWER_MAX;
    }

    /// What ssh has printed, after it ended.
    pub(super) fn last_words(&self) -> Vec<u8> {
        let end = Instant::now().checked_add(LAST_WORDS);
        let mut shared = self.shared();
        while let Some(left) = end.and_then(|end| end.checked_duration_since(Instant::now())) {
            shared.listen(&self.words);
            if shared.words_ended {
                break;
            }
            let limit = Timespec::try_from(left).ok();
            if !matches!(
                poll(
                    &mut [PollFd::new(&self.words, PollFlags::IN)],
                    limit.as_ref()
                ),
                Ok(1..)
            ) {
                break;
            }
        }
        shared.words.clone()
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        // Nothing that holds the lock panics.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until something was moved, by this thread or by the one that moves already, or until
    /// the connection is lost.
    fn moved<'c>(&'c self, shared: MutexGuard<'c, Shared>) -> MutexGuard<'c, Shared> {
        if shared.moving {
            return self
                .changed
                .wait(shared)
                .unwrap_or_else(PoisonError::into_inner);
        }
        let shared = self.move_once(shared);
        self.hand_over(&shared);
        shared
    }

    /// Has another thread move from now on, if one waits.
    fn hand_over(&self, shared: &Shared) {
        match shared.waiting.first_key_value() {
            Some((_, oldest)) if !shared.moving => oldest.notify_one(),
            _ => self.changed.notify_all(),
        }
    }

    /// Moves what there is to move, once there is something. No other thread may move.
    fn move_once<'c>(&'c self, mut shared: MutexGuard<'c, Shared>) -> MutexGuard<'c, Shared> {
        shared.moving = true;
        let is_sending = !shared.outgoing.is_empty();
        let hears_words = !shared.words_ended;
        let left = shared.patience.saturating_sub(shared.last_answer.elapsed());
        drop(shared);
        let polled = self.wait(is_sending, hears_words, left);
        let mut shared = self.shared();
        shared.moving = false;
        let moved = match polled {
            Ok(0) => Err(Lost::Silent),
            Ok(_) => shared.exchange(self),
            Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(Lost::Pipe(errno)),
        };
        self.changed.notify_all();
        if let Err(lost) = moved {
            shared.lost.get_or_insert(lost);
        }
        if shared.lost.is_some() {
            for waiting in shared.waiting.values() {
                waiting.notify_one();
            }
        }
        shared
    }

    fn wait(&self, is_sending: bool, hears_words: bool, left: Duration) -> Result<usize, Errno> {
        let limit = Timespec::try_from(left).map_err(|_| Errno::INVAL)?;
        let mut waits = Vec::with_capacity(4);
        waits.push(PollFd::new(&self.from_ssh, PollFlags::IN));
        waits.push(PollFd::new(&self.waking.0, PollFlags::IN));
        if is_sending {
            waits.push(PollFd::new(&self.to_ssh, PollFlags::OUT));
        }
        if hears_words {
            waits.push(PollFd::new(&self.words, PollFlags::IN));
        }
        poll(&mut waits, Some(&limit))
    }
}

impl From<Lost> for Fault {
    fn from(lost: Lost) -> Self {
        Self::Lost(lost)
    }
}

impl Shared {
    fn is_awaiting(&self) -> bool {
        let mut asked = self.requests.values();
        asked.any(|asked| matches!(asked, Asked::Waiting))
    }

    /// Moves what can be moved without waiting.
    fn exchange(&mut self, connection: &Connection) -> Result<(), Lost> {
        while matches!(read(&connection.waking.0, &mut [0; 64]), Ok(1..)) {}
        self.listen(&connection.words);
        let sent = self.send(&connection.to_ssh);
        // Answers that have come are taken even when nothing can be sent any more.
        self.receive(&connection.from_ssh)?;
        sent
    }

    fn send(&mut self, to_ssh: &ChildStdin) -> Result<(), Lost> {
        while !self.outgoing.is_empty() {
            match write(to_ssh, self.outgoing.as_slices().0) {
                Ok(count) => drop(self.outgoing.drain(..count.min(self.outgoing.len()))),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(Errno::PIPE) => return Err(Lost::Ended),
                Err(errno) => return Err(Lost::Pipe(errno)),
            }
        }
        Ok(())
    }

    fn receive(&mut self, from_ssh: &ChildStdout) -> Result<(), Lost> {
        loop {
            match read(from_ssh, &mut *self.part) {
                Ok(0) => return Err(Lost::Ended),
                Ok(count) => {
                    let part = self.part.get(..count).unwrap_or_default();
                    self.incoming.extend_from_slice(part);
                    self.take_packets()?;
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(()),
                Err(errno) => return Err(Lost::Pipe(errno)),
            }
        }
    }

    fn take_packets(&mut self) -> Result<(), Lost> {
        let mut taken = 0_usize;
        while let Some((length, rest)) = self
            .incoming
            .get(taken..)
            .and_then(|rest| rest.split_first_chunk::<LENGTH_BYTES>())
        {
            let length = u32::from_be_bytes(*length);
            if length == 0 || length > PACKET_MAX {
                return Err(Lost::Nonsense);
            }
            let Some(packet) = rest.get(..length as usize) else {
                break;
            };
            if let Greeting::Awaited = self.greeting {
                self.greeting = Greeting::Here(packet.to_vec());
            } else {
                let (id, answer) = decode(packet).map_err(|_| Lost::Nonsense)?;
                match self.requests.get_mut(&id) {
                    Some(asked @ Asked::Waiting) => {
                        *asked = Asked::Answered(answer);
                        if let Some(waiting) = self.waiting.get(&id) {
                            waiting.notify_one();
                        }
                    }
                    Some(Asked::Forgotten) => drop(self.requests.remove(&id)),
                    Some(Asked::Answered(_)) | None => return Err(Lost::Nonsense),
                }
            }
            self.last_answer = Instant::now();
            taken = taken
                .saturating_add(LENGTH_BYTES)
                .saturating_add(length as usize);
        }
        self.incoming.drain(..taken.min(self.incoming.len()));
        Ok(())
    }

    /// Takes what ssh prints, so that it never waits for a reader, and logs it line by line.
    fn listen(&mut self, words: &ChildStderr) {
        let mut part = [0; 4096];
        while !self.words_ended {
            match read(words, &mut part) {
                Ok(count @ 1..) => {
                    let before = self.words.len();
                    let room = WORDS_MAX.saturating_sub(before).min(count);
                    self.words
                        .extend_from_slice(part.get(..room).unwrap_or_default());
                    let new = self.words.get(before..).unwrap_or_default();
                    for line in new.split(|byte| *byte == b'\n') {
                        if !line.is_empty() {
                            warn!("ssh: {}", line.escape_ascii());
                        }
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Ok(_) | Err(_) => self.words_ended = true,
            }
        }
    }
}

impl Ticket {
    /// Waits for the answer.
    pub(super) fn answer(self) -> Result<Answer, Fault> {
        let mut shared = self.connection.shared();
        let answer = loop {
            if let Some(Asked::Answered(_)) = shared.requests.get(&self.id) {
                if let Some(Asked::Answered(answer)) = shared.requests.remove(&self.id) {
                    break Ok(answer);
                }
            }
            // After what came before the end.
            if let Some(lost) = shared.lost {
                break Err(Fault::Lost(lost));
            }
            if shared.moving {
                let own = Arc::new(Condvar::new());
                shared.waiting.insert(self.id, Arc::clone(&own));
                shared = own.wait(shared).unwrap_or_else(PoisonError::into_inner);
                shared.waiting.remove(&self.id);
            } else {
                shared = self.connection.move_once(shared);
            }
        };
        self.connection.hand_over(&shared);
        drop(shared); // before the ticket, which locks it
        answer
    }

    /// Waits for an answer of this kind; any other kind ends the connection.
    fn only<T>(self, of: impl FnOnce(Answer) -> Option<T>) -> Result<T, Fault> {
        let connection = Arc::clone(&self.connection);
        match self.answer()? {
            Answer::Status(status) if status.code != super::packet::Code::Ok => {
                Err(Fault::Status(status))
            }
            answer => of(answer).ok_or_else(|| connection.give_up(Lost::Nonsense)),
        }
    }

    pub(super) fn status(self) -> Result<(), Fault> {
        self.only(|answer| matches!(answer, Answer::Status(_)).then_some(()))
    }

    pub(super) fn handle(self) -> Result<Handle, Fault> {
        let connection = Arc::clone(&self.connection);
        let bytes = self.only(|answer| match answer {
            Answer::Handle(bytes) => Some(bytes),
            _ => None,
        })?;
        Ok(Handle { connection, bytes })
    }

    pub(super) fn data(self) -> Result<Vec<u8>, Fault> {
        self.only(|answer| match answer {
            Answer::Data(bytes) => Some(bytes),
            _ => None,
        })
    }

    pub(super) fn names(self) -> Result<Vec<super::packet::Entry>, Fault> {
        self.only(|answer| match answer {
            Answer::Names(entries) => Some(entries),
            _ => None,
        })
    }

    pub(super) fn attributes(self) -> Result<super::packet::Attributes, Fault> {
        self.only(|answer| match answer {
            Answer::Attributes(attributes) => Some(attributes),
            _ => None,
        })
    }

    pub(super) fn extended(self) -> Result<Vec<u8>, Fault> {
        self.only(|answer| match answer {
            Answer::Extended(reply) => Some(reply),
            _ => None,
        })
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut shared = self.connection.shared();
        match shared.requests.get_mut(&self.id) {
            Some(asked @ Asked::Waiting) => *asked = Asked::Forgotten,
            Some(Asked::Answered(_)) => drop(shared.requests.remove(&self.id)),
            Some(Asked::Forgotten) | None => {}
        }
    }
}

impl Connection {
    /// Declares the connection lost.
    pub(super) fn give_up(&self, lost: Lost) -> Fault {
        let mut shared = self.shared();
        // The thread that waits for ssh wakes the others.
        let _ = write(&self.waking.1, &[0]);
        Fault::Lost(*shared.lost.get_or_insert(lost))
    }
}

/// An open file or folder of the server, which is closed when this is dropped.
pub(super) struct Handle {
    connection: Arc<Connection>,
    bytes: Vec<u8>,
}

impl Handle {
    /// Closes the file, and returns whether the server has all of it: some store it only now.
    pub(super) fn close(mut self) -> Result<(), Fault> {
        let close = Request::new(super::packet::CLOSE).string(&self.bytes);
        self.bytes.clear();
        self.connection.send(close)?.status()
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if self.bytes.is_empty() {
            return;
        }
        // Closed in the order of the pipe; nothing depends on the answer.
        let close = Request::new(super::packet::CLOSE).string(&self.bytes);
        drop(self.connection.send(close));
    }
}

fn never_block(pipe: impl AsFd) -> Result<(), Errno> {
    fcntl_setfl(&pipe, fcntl_getfl(&pipe)? | OFlags::NONBLOCK)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::super::packet;
    use super::*;

    /// A connection to a shell script.
    fn over(script: &str) -> Arc<Connection> {
        let shell = Command::new("sh")
            .args(["-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Arc::new(Connection::over(shell).unwrap())
    }

    const GREETING: &str = r"printf '\000\000\000\005\002\000\000\000\003'";

    #[test]
    fn a_server_that_does_not_answer_is_given_up_and_stays_lost() {
        let connection = over(&format!("{GREETING}; while read -r x; do :; done"));
        connection.greeting().unwrap();
        connection.shared().patience = Duration::from_millis(50);
        let ticket = connection.send(Request::new(packet::LSTAT).string(b"/"));
        let lost = Err(Fault::Lost(Lost::Silent));
        assert_eq!(ticket.unwrap().attributes(), lost);
        let next = connection.send(Request::new(packet::LSTAT).string(b"/"));
        assert_eq!(next.and_then(Ticket::attributes), lost);
    }

    #[test]
    fn what_came_before_the_end_counts() {
        let status = r"printf '\000\000\000\011\145\000\000\000\001\000\000\000\000'";
        let connection = over(&format!("{GREETING}; read -r x; {status}"));
        connection.greeting().unwrap();
        let ticket = connection.send(Request::new(packet::REMOVE).string(b"/\n"));
        // The answer and the end are there together.
        let state = format!("/proc/{}/stat", connection._ssh.id());
        while !std::fs::read_to_string(&state).unwrap().contains(") Z ") {
            std::thread::yield_now();
        }
        assert_eq!(ticket.unwrap().status(), Ok(()));
    }

    #[test]
    fn silence_without_a_request_is_no_fault() {
        let connection = over(&format!("{GREETING}; while read -r x; do :; done"));
        connection.greeting().unwrap();
        connection.shared().patience = Duration::from_secs(60);
        let long_ago = Instant::now().checked_sub(Duration::from_secs(90));
        connection.shared().last_answer = long_ago.unwrap();
        let _ticket = connection
            .send(Request::new(packet::LSTAT).string(b"/"))
            .unwrap();
        assert!(connection.shared().last_answer.elapsed() < Duration::from_secs(60));
    }

    #[test]
    fn an_answer_that_nobody_asked_for_ends_the_connection() {
        let status = r"printf '\000\000\000\011\145\000\000\000\007\000\000\000\000'";
        let connection = over(&format!("{GREETING}; read -r x; {status}; exec cat"));
        connection.greeting().unwrap();
        let ticket = connection.send(Request::new(packet::LSTAT).string(b"/\n"));
        let answer = ticket.unwrap().attributes();
        assert_eq!(answer, Err(Fault::Lost(Lost::Nonsense)));
    }

    #[test]
    fn a_packet_of_any_length_is_not_waited_for() {
        for length in [
            r"\000\000\000\000",
            r"\000\004\000\001",
            r"\377\377\377\377",
        ] {
            let connection = over(&format!("printf '{length}'; exec cat"));
            assert_eq!(connection.greeting(), Err(Lost::Nonsense), "{length}");
        }
    }
}
