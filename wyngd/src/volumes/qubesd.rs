// SPDX-License-Identifier: GPL-3.0-or-later
//! The Admin API of Qubes OS over qubesd's socket: one request a connection, one answer. Requests
//! hold only checked names; answers are bounded and parsed strictly, and only the class of an error
//! is kept.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, Shutdown, SocketAddrUnix, SocketFlags, SocketType};
use wyng_control::is_qube;

use crate::ipc::wait;

/// Maximum length of an answer, bytes: enough for some thousand qubes.
const ANSWER_MAX_BYTES: usize = 1 << 20;
const CLASS_MAX_BYTES: usize = 64;
const READ_BYTES: usize = 16 * 1024;

/// Why there is no usable answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum QubesdError {
    #[error("its socket cannot be used: {0}")]
    Socket(Errno),
    #[error("it closed the connection without an answer")]
    Refused,
    #[error("its answer is not understood")]
    Malformed,
    #[error("it says {0}")]
    Exception(String),
    #[error("the answer is not wanted any more")]
    GivenUp,
}

impl QubesdError {
    /// Whether qubesd answered with an error of this class.
    pub(super) fn is(&self, class: &str) -> bool {
        matches!(self, Self::Exception(found) if found == class)
    }
}

/// `METHOD+ARGUMENT dom0 name DEST`, a NUL, and the payload.
pub(super) fn request(method: &str, argument: &str, dest: &str, payload: &str) -> Vec<u8> {
    format!("{method}+{argument} dom0 name {dest}\0{payload}").into_bytes()
}

/// Sends a request, reads the whole answer, and returns its text. Ends early when `stop` becomes
/// readable.
pub(super) fn call(
    socket: &Path,
    request: &[u8],
    patience: Duration,
    stop: Option<BorrowedFd<'_>>,
) -> Result<String, QubesdError> {
    let deadline = Instant::now() + patience;
    let mut call = Call::connect(socket)?;
    call.send(request, deadline, stop)?;
    call.answer(deadline, stop)
}

/// One request and its answer. qubesd continues a request whose caller has given up: only the
/// answer shows that it is done.
pub(super) struct Call {
    connection: OwnedFd,
    answer: Vec<u8>,
}

impl Call {
    /// Connects, without a request yet.
    pub(super) fn connect(path: &Path) -> Result<Self, QubesdError> {
        // The connection does not block: where the queue of qubesd is full, it fails.
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let connected =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
                .and_then(|connection| {
                    rustix::net::connect(&connection, &SocketAddrUnix::new(path)?)
                        .map(|()| connection)
                });
        Ok(Self {
            connection: connected.map_err(QubesdError::Socket)?,
            answer: Vec::new(),
        })
    }

    /// Sends the request. After an error qubesd may have received it all the same.
    pub(super) fn send(
        &self,
        request: &[u8],
        deadline: Instant,
        stop: Option<BorrowedFd<'_>>,
    ) -> Result<(), QubesdError> {
        let mut left = request;
        while !left.is_empty() {
            self.until(PollFlags::OUT, deadline, stop)?;
            match rustix::io::write(&self.connection, left) {
                Ok(written) => left = left.get(written..).unwrap_or_default(),
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(errno) => return Err(QubesdError::Socket(errno)),
            }
        }
        // qubesd acts only after the end of the request.
        rustix::net::shutdown(&self.connection, Shutdown::Write).map_err(QubesdError::Socket)
    }

    /// The text of the answer. A call that was given up, or took too long, can be asked again.
    pub(super) fn answer(
        &mut self,
        deadline: Instant,
        stop: Option<BorrowedFd<'_>>,
    ) -> Result<String, QubesdError> {
        let mut room = vec![0; READ_BYTES];
        loop {
            self.until(PollFlags::IN, deadline, stop)?;
            match rustix::io::read(&self.connection, &mut *room) {
                Ok(0) => return text_of(&self.answer),
                Ok(length) => self
                    .answer
                    .extend_from_slice(room.get(..length).unwrap_or_default()),
                Err(Errno::AGAIN | Errno::INTR) => {}
                // qubesd dropped the request unread.
                Err(Errno::CONNRESET) => return Err(QubesdError::Refused),
                Err(errno) => return Err(QubesdError::Socket(errno)),
            }
            if self.answer.len() > ANSWER_MAX_BYTES {
                return Err(QubesdError::Malformed);
            }
        }
    }

    fn until(
        &self,
        what: PollFlags,
        deadline: Instant,
        stop: Option<BorrowedFd<'_>>,
    ) -> Result<(), QubesdError> {
        let left = u64::try_from(
            deadline
                .saturating_duration_since(Instant::now())
                .as_millis(),
        )
        .unwrap_or(u64::MAX);
        let answered = (self.connection.as_fd(), what);
        let ended = match stop {
            None => wait([answered], Some(left)).map(|[answered]| [answered, false]),
            Some(stop) => wait([answered, (stop, PollFlags::IN)], Some(left)),
        };
        match ended {
            Ok([true, _]) => Ok(()),
            Ok([false, true]) => Err(QubesdError::GivenUp),
            Ok([false, false]) => Err(QubesdError::Socket(Errno::TIMEDOUT)),
            Err(_) => Err(QubesdError::Socket(Errno::IO)),
        }
    }
}

/// Waits, unless `stop` becomes readable.
pub(super) fn pause(patience: Duration, stop: BorrowedFd<'_>) -> Result<(), QubesdError> {
    match wait(
        [(stop, PollFlags::IN)],
        u64::try_from(patience.as_millis()).ok(),
    ) {
        Ok([false]) => Ok(()),
        _ => Err(QubesdError::GivenUp),
    }
}

/// `0`, NUL and text; or `2`, NUL, the class of an error, NUL, and further text that is ignored but
/// must end with a NUL. An empty answer is a refusal, or an error inside of qubesd.
fn text_of(answer: &[u8]) -> Result<String, QubesdError> {
    match answer {
        [] => Err(QubesdError::Refused),
        [b'0', 0, text @ ..] => {
            String::from_utf8(text.to_vec()).map_err(|_| QubesdError::Malformed)
        }
        [b'2', 0, error @ .., 0] => {
            let class = error.split(|byte| *byte == 0).next().unwrap_or_default();
            match std::str::from_utf8(class) {
                Ok(class) if is_word(class) => Err(QubesdError::Exception(class.to_owned())),
                _ => Err(QubesdError::Malformed),
            }
        }
        _ => Err(QubesdError::Malformed),
    }
}

/// A qube as the answer to `admin.vm.List` has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) name: String,
    /// `AppVM`, `DispVM`, …
    pub(super) class: String,
    /// `Halted`, `Transient`, `Running`, `Paused`, `Suspended`, `Halting`, `Dying`, `Crashed`,
    /// `NA`.
    pub(super) state: String,
}

/// Lines of `NAME class=CLASS state=STATE`, and more words in later releases.
pub(super) fn listed(list: &str) -> Result<Vec<Listed>, QubesdError> {
    list.lines()
        .map(|line| listed_line(line).ok_or(QubesdError::Malformed))
        .collect()
}

fn listed_line(line: &str) -> Option<Listed> {
    let mut words = line.split(' ');
    let name = words
        .next()
        .filter(|name| *name == "dom0" || is_qube(name))?
        .to_owned();
    let value = |key| {
        words
            .clone()
            .find_map(|word| word.strip_prefix(key))
            .filter(|value| is_word(value))
            .map(str::to_owned)
    };
    Some(Listed {
        name,
        class: value("class=")?,
        state: value("state=")?,
    })
}

/// Whether it is the name of a class, a state or an error, and so can be shown.
fn is_word(text: &str) -> bool {
    (1..=CLASS_MAX_BYTES).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_request_has_its_words_and_its_payload_behind_a_nul() {
        assert_eq!(
            request("admin.vm.Start", "", "net-dvm", ""),
            b"admin.vm.Start+ dom0 name net-dvm\0"
        );
        assert_eq!(
            request("admin.vm.property.Set", "x", "disp1", "7"),
            b"admin.vm.property.Set+x dom0 name disp1\x007"
        );
    }

    #[test]
    fn answers_are_told_apart_by_their_first_two_bytes() {
        assert_eq!(text_of(b"0\0disp1234"), Ok("disp1234".into()));
        assert_eq!(text_of(b"0\0"), Ok(String::new()));
        assert_eq!(text_of(b""), Err(QubesdError::Refused));
        let error = b"2\0QubesVMNotFoundError\0Traceback\0No such domain: %r\0x\0";
        assert_eq!(
            text_of(error),
            Err(QubesdError::Exception("QubesVMNotFoundError".into()))
        );
    }

    #[test]
    fn what_is_cut_or_none_of_its_answers_is_refused() {
        for answer in [
            &b"0"[..],
            b"1\0\0domain-start\0",
            b"2\0QubesExcep",
            b"2\0\0",
            b"2\0a b\0",
            b"HTTP/1.1 200 OK",
            b"0\0\xff",
        ] {
            assert_eq!(
                text_of(answer),
                Err(QubesdError::Malformed),
                "{}",
                answer.escape_ascii()
            );
        }
    }

    #[test]
    fn a_list_has_names_classes_and_states_with_and_without_more_words() {
        let qube = |name: &str, class: &str, state: &str| Listed {
            name: name.into(),
            class: class.into(),
            state: state.into(),
        };
        let list = "dom0 class=AdminVM state=Running uuid=0\nwork class=AppVM state=Halted\ndisp7 class=DispVM state=Paused uuid=2\n";
        let found = [
            qube("dom0", "AdminVM", "Running"),
            qube("work", "AppVM", "Halted"),
            qube("disp7", "DispVM", "Paused"),
        ];
        assert_eq!(listed(list), Ok(found.to_vec()));
        assert_eq!(listed(""), Ok(Vec::new()));
        for wrong in [
            "disp7\n",
            "disp7 class=DispVM\n",
            "a/b class=DispVM state=Running\n",
            " class=DispVM state=Running\n",
            "\n",
        ] {
            assert_eq!(listed(wrong), Err(QubesdError::Malformed), "{wrong:?}");
        }
        assert_eq!(
            listed("disp7 class=DispVM state=\x1b[2J\n"),
            Err(QubesdError::Malformed)
        );
    }

    proptest! {
        #[test]
        fn random_answers_are_refused_or_text(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = text_of(&bytes);
        }

        #[test]
        fn random_text_behind_a_sound_head_never_passes_for_a_name(kind in "[012]", bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(text) = text_of(&[kind.as_bytes(), b"\0", &bytes].concat())
                && let Ok(qubes) = listed(&text)
            {
                prop_assert!(qubes.iter().all(|qube| qube.name == "dom0" || is_qube(&qube.name)));
            }
        }

        #[test]
        fn random_lists_give_names_or_nothing(list in "([a-z@/ =]|class=DispVM|state=Halted|\n){0,40}") {
            if let Ok(qubes) = listed(&list) {
                prop_assert!(qubes.iter().all(|qube| qube.name == "dom0" || is_qube(&qube.name)));
            }
        }
    }
}
