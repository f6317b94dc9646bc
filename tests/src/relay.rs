// SPDX-License-Identifier: GPL-3.0-or-later
//! A link over a distance, on loopback: it delays every byte, and carries only so many a second in
//! each direction, over all connections together. A sender is held back as by a slow link. Nothing
//! waits busily.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_recv_buffer_size;

/// Maximum length of what is carried at once, bytes; connections take turns by it.
const PART_BYTES: usize = 16 * 1024;
/// Maximum number of parts of one connection and direction that are on their way.
const PARTS_MAX: usize = 512;
/// Size of the buffers behind which senders are held back, bytes.
const BUFFER_BYTES: usize = 256 * 1024;
/// How far senders may run ahead of the link: less than a busy machine's delay in waking a thread
/// would leave the link idle.
const AHEAD: Duration = Duration::from_millis(10);

/// A relay that runs until the test ends.
pub struct Relay {
    port: u16,
    up: Arc<Link>,
    down: Arc<Link>,
}

/// What one direction has carried.
#[derive(Debug, Clone, Copy, Default)]
pub struct Carried {
    /// Bytes.
    pub bytes: u64,
    /// Time from the first byte to the end of the last one.
    pub time: Duration,
    /// Time in which the bytes between the first tenth and the last one were carried: without what
    /// comes before and after the work.
    pub middle_time: Duration,
    /// Parts that came after the link had carried nothing for a round trip: a sender waited for an
    /// answer.
    pub waits: u64,
}

impl Carried {
    /// The share of a link of this many bytes a second that was used.
    pub fn share_of(&self, bytes_per_sec: u64) -> f64 {
        self.bytes as f64 / bytes_per_sec as f64 / self.time.as_secs_f64().max(0.001)
    }

    /// The same between the first and the last tenth of the bytes.
    pub fn middle_share_of(&self, bytes_per_sec: u64) -> f64 {
        let bytes = self.bytes as f64 * 0.8;
        bytes / bytes_per_sec as f64 / self.middle_time.as_secs_f64().max(0.001)
    }
}

/// One direction.
struct Link {
    delay: Duration,
    bytes_per_sec: u64,
    state: Mutex<State>,
}

struct State {
    /// When the link has carried what it took.
    free: Instant,
    /// How much was carried when.
    log: Vec<(u64, Instant)>,
    carried: Carried,
}

impl Relay {
    /// A relay to a port on loopback. Half of the round trip is the delay of each direction.
    pub fn start(server: u16, round_trip: Duration, bytes_per_sec: u64) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        // A link has no megabytes of memory in which a body could disappear at once.
        set_socket_recv_buffer_size(&listener, BUFFER_BYTES).unwrap();
        let port = listener.local_addr().unwrap().port();
        let link = || Arc::new(Link::new(round_trip / 2, bytes_per_sec));
        let (up, down) = (link(), link());
        let links = (Arc::clone(&up), Arc::clone(&down));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)) else {
                    continue;
                };
                let _ = set_socket_recv_buffer_size(&server, BUFFER_BYTES);
                // A connection is there after a round trip.
                let begin = Instant::now() + round_trip;
                let ends = |stream: &TcpStream| stream.try_clone().unwrap();
                let (there, back) = (ends(&server), ends(&client));
                carry(client, there, Arc::clone(&links.0), begin);
                carry(server, back, Arc::clone(&links.1), begin);
            }
        });
        Self { port, up, down }
    }

    /// The port on loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What went to the server since this was asked last.
    pub fn take_up(&self) -> Carried {
        self.up.take()
    }

    /// What came from the server since this was asked last.
    pub fn take_down(&self) -> Carried {
        self.down.take()
    }
}

impl Link {
    fn new(delay: Duration, bytes_per_sec: u64) -> Self {
        let state = State {
            free: Instant::now(),
            log: Vec::new(),
            carried: Carried::default(),
        };
        Self {
            delay,
            bytes_per_sec,
            state: Mutex::new(state),
        }
    }

    /// Takes bytes; returns when the link has carried them.
    fn carry(&self, bytes: usize) -> Instant {
        let took = Duration::from_nanos(bytes as u64 * 1_000_000_000 / self.bytes_per_sec);
        let now = Instant::now();
        let mut state = self.state.lock().unwrap();
        let begin = state.free.max(now);
        if begin.saturating_duration_since(state.free) >= self.delay * 2 {
            state.carried.waits += 1;
        }
        state.free = begin + took;
        state.carried.bytes += bytes as u64;
        let (carried, free) = (state.carried.bytes, state.free);
        if state.log.is_empty() {
            state.log.push((0, begin));
        }
        state.log.push((carried, free));
        free
    }

    fn take(&self) -> Carried {
        let mut state = self.state.lock().unwrap();
        let log = std::mem::take(&mut state.log);
        let mut carried = std::mem::take(&mut state.carried);
        let at = |tenths: u64| {
            let point = log.partition_point(|(bytes, _)| *bytes < carried.bytes * tenths / 10);
            log.get(point).map(|(_, when)| *when)
        };
        let between = |from, to| Some(at(to)?.duration_since(at(from)?));
        let (time, middle_time) = (between(0, 10), between(1, 9));
        carried.time = time.unwrap_or_default();
        carried.middle_time = middle_time.unwrap_or_default();
        carried
    }
}

/// Carries one direction of a connection until an end closes it.
fn carry(mut from: TcpStream, to: TcpStream, link: Arc<Link>, begin: Instant) {
    let (parts, due) = sync_channel(PARTS_MAX);
    let _ = to.set_nodelay(true);
    thread::spawn(move || deliver(&due, to));
    thread::spawn(move || {
        let mut part = vec![0; PART_BYTES];
        while let Ok(count @ 1..) = from.read(&mut part) {
            let carried = link.carry(count);
            let due = carried.max(begin) + link.delay;
            if !pass(&parts, due, part[..count].to_vec()) {
                break;
            }
            sleep_until(carried.checked_sub(AHEAD).unwrap_or(carried));
        }
        let _ = from.shutdown(Shutdown::Read);
        let _ = pass(&parts, Instant::now().max(begin) + link.delay, Vec::new());
    });
}

fn pass(parts: &SyncSender<(Instant, Vec<u8>)>, due: Instant, part: Vec<u8>) -> bool {
    parts.send((due, part)).is_ok()
}

/// Delivers each part when it is due; an empty one is the end.
fn deliver(parts: &Receiver<(Instant, Vec<u8>)>, mut to: TcpStream) {
    for (due, part) in parts {
        sleep_until(due);
        if part.is_empty() || to.write_all(&part).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

fn sleep_until(when: Instant) {
    thread::sleep(when.saturating_duration_since(Instant::now()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relay_delays_shapes_and_ends_with_its_sender() {
        let server = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let round_trip = Duration::from_millis(100);
        let relay = Relay::start(server.local_addr().unwrap().port(), round_trip, 10_000_000);
        let begin = Instant::now();
        let mut client = TcpStream::connect(("127.0.0.1", relay.port())).unwrap();
        client.write_all(&vec![7; 1_000_000]).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut got = Vec::new();
        server.accept().unwrap().0.read_to_end(&mut got).unwrap();
        // The connection's round trip, half a round trip for the bytes, and their time.
        assert!(
            begin.elapsed() >= Duration::from_millis(145),
            "{:?}",
            begin.elapsed()
        );
        assert_eq!(got, vec![7; 1_000_000]);
        let carried = relay.take_up();
        assert_eq!(carried.bytes, 1_000_000);
        assert!(carried.share_of(10_000_000) <= 1.01, "{carried:?}");
    }
}
