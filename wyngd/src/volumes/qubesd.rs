// SPDX-License-Identifier: GPL-3.0-or-later
//! The Admin API of Qubes OS over qubesd's socket: one request a connection, one answer. Requests hold names that were checked; answers are
//! bounded and read strictly, and of an error nothing is kept but its class.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, Shutdown, SocketAddrUnix, SocketFlags, SocketType};
use wyng_config::is_qube;

use crate::ipc::wait;

/// Some thousand qubes.
const ANSWER_MAX_BYTES: usize = 1 << 20;
const CLASS_MAX_BYTES: usize = 64;
const READ_BYTES: usize = 16 * 1024;

/// Why there is no answer to use.
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

/// `METHOD+ARGUMENT dom0 name DEST`, a NUL, and the payload.
pub(super) fn request(method: &str, argument: &str, dest: &str, payload: &str) -> Vec<u8> {
    format!("{method}+{argument} dom0 name {dest}\0{payload}").into_bytes()
}

/// Sends a request and reads the whole answer: the text that it holds. Ends early when something comes from `stop`.
pub(super) fn call(socket: &Path, request: &[u8], patience: Duration, stop: Option<BorrowedFd<'_>>) -> Result<String, QubesdError> {
    let deadline = Instant::now() + patience;
    let connection = connect(socket).map_err(QubesdError::Socket)?;
    let mut left = request;
    while !left.is_empty() {
        until(&connection, PollFlags::OUT, deadline, stop)?;
        match rustix::io::write(&connection, left) {
            Ok(written) => left = left.get(written..).unwrap_or_default(),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(errno) => return Err(QubesdError::Socket(errno)),
        }
    }
    // It acts only behind the end of the request.
    rustix::net::shutdown(&connection, Shutdown::Write).map_err(QubesdError::Socket)?;
    let (mut answer, mut room) = (Vec::new(), vec![0; READ_BYTES]);
    loop {
        until(&connection, PollFlags::IN, deadline, stop)?;
        match rustix::io::read(&connection, &mut *room) {
            Ok(0) => return text_of(&answer),
            Ok(length) => answer.extend_from_slice(room.get(..length).unwrap_or_default()),
            Err(Errno::AGAIN | Errno::INTR) => {}
            // A request that is dropped unread.
            Err(Errno::CONNRESET) => return Err(QubesdError::Refused),
            Err(errno) => return Err(QubesdError::Socket(errno)),
        }
        if answer.len() > ANSWER_MAX_BYTES {
            return Err(QubesdError::Malformed);
        }
    }
}

fn connect(path: &Path) -> Result<OwnedFd, Errno> {
    // Not even the connection waits: a qubesd that does not accept has no room in its queue, and says so.
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let connection = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&connection, &SocketAddrUnix::new(path)?)?;
    Ok(connection)
}

fn until(connection: &OwnedFd, what: PollFlags, deadline: Instant, stop: Option<BorrowedFd<'_>>) -> Result<(), QubesdError> {
    let left = u64::try_from(deadline.saturating_duration_since(Instant::now()).as_millis()).unwrap_or(u64::MAX);
    let stop = stop.map_or((connection.as_fd(), PollFlags::empty()), |stop| (stop, PollFlags::IN));
    match wait([(connection.as_fd(), what), stop], Some(left)) {
        Ok([true, _]) => Ok(()),
        Ok([false, true]) => Err(QubesdError::GivenUp),
        Ok([false, false]) => Err(QubesdError::Socket(Errno::TIMEDOUT)),
        Err(_) => Err(QubesdError::Socket(Errno::IO)),
    }
}

/// `0`, NUL and text; or `2`, NUL, the class of an error, NUL, and more that is not looked at but must end with a NUL. An empty answer is a
/// refusal, or an error inside of qubesd.
fn text_of(answer: &[u8]) -> Result<String, QubesdError> {
    match answer {
        [] => Err(QubesdError::Refused),
        [b'0', 0, text @ ..] => String::from_utf8(text.to_vec()).map_err(|_| QubesdError::Malformed),
        [b'2', 0, error @ .., 0] => {
            let class = error.split(|byte| *byte == 0).next().unwrap_or_default();
            let plain = (1..=CLASS_MAX_BYTES).contains(&class.len()) && class.iter().all(|byte| byte.is_ascii_alphanumeric());
            match std::str::from_utf8(class) {
                Ok(class) if plain => Err(QubesdError::Exception(class.to_owned())),
                _ => Err(QubesdError::Malformed),
            }
        }
        _ => Err(QubesdError::Malformed),
    }
}

/// The names of all disposables in the answer to `admin.vm.List`: lines of `NAME class=CLASS state=STATE uuid=UUID`.
pub(super) fn disposables(list: &str) -> Result<Vec<String>, QubesdError> {
    let mut found = Vec::new();
    for line in list.lines() {
        let mut words = line.split(' ');
        let name = words.next().unwrap_or_default();
        let class = words.find_map(|word| word.strip_prefix("class=")).ok_or(QubesdError::Malformed)?;
        if name != "dom0" && !is_qube(name) {
            return Err(QubesdError::Malformed);
        }
        if class == "DispVM" {
            found.push(name.to_owned());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_request_has_its_words_and_its_payload_behind_a_nul() {
        assert_eq!(request("admin.vm.CreateDisposable", "", "net-dvm", ""), b"admin.vm.CreateDisposable+ dom0 name net-dvm\0");
        assert_eq!(request("admin.vm.feature.Set", "x", "disp1", "7"), b"admin.vm.feature.Set+x dom0 name disp1\x007");
    }

    #[test]
    fn answers_are_told_apart_by_their_first_two_bytes() {
        assert_eq!(text_of(b"0\0disp1234"), Ok("disp1234".into()));
        assert_eq!(text_of(b"0\0"), Ok(String::new()));
        assert_eq!(text_of(b""), Err(QubesdError::Refused));
        let error = b"2\0QubesVMNotFoundError\0Traceback\0No such domain: %r\0x\0";
        assert_eq!(text_of(error), Err(QubesdError::Exception("QubesVMNotFoundError".into())));
    }

    #[test]
    fn what_is_cut_or_none_of_its_answers_is_refused() {
        for answer in [&b"0"[..], b"1\0\0domain-start\0", b"2\0QubesExcep", b"2\0\0", b"2\0a b\0", b"HTTP/1.1 200 OK", b"0\0\xff"] {
            assert_eq!(text_of(answer), Err(QubesdError::Malformed), "{}", answer.escape_ascii());
        }
    }

    #[test]
    fn of_a_list_only_disposables_are_taken() {
        let list =
            "dom0 class=AdminVM state=Running uuid=0\nwork class=AppVM state=Halted uuid=1\ndisp7 class=DispVM state=Running uuid=2\n";
        assert_eq!(disposables(list), Ok(vec!["disp7".to_owned()]));
        assert_eq!(disposables(""), Ok(Vec::new()));
        for wrong in ["disp7\n", "a/b class=DispVM\n", " class=DispVM\n", "\n"] {
            assert_eq!(disposables(wrong), Err(QubesdError::Malformed), "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn random_answers_are_refused_or_text(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = text_of(&bytes);
        }

        #[test]
        fn random_text_behind_a_sound_head_never_passes_for_a_name(kind in "[012]", bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(text) = text_of(&[kind.as_bytes(), b"\0", &bytes].concat())
                && let Ok(names) = disposables(&text)
            {
                prop_assert!(names.iter().all(|name| is_qube(name)));
            }
        }

        #[test]
        fn random_lists_give_names_or_nothing(list in "([a-z@/ =]|class=DispVM|\n){0,40}") {
            if let Ok(names) = disposables(&list) {
                prop_assert!(names.iter().all(|name| is_qube(name)));
            }
        }
    }
}
