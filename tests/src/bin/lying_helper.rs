// SPDX-License-Identifier: GPL-3.0-or-later
//! `lying-helper HELPER SERVICE LOG HONEST PAUSE_MS`: the real helper, except that after HONEST
//! answers it says of every requested blob that it exists. Each such answer comes after a pause,
//! and adds a byte to LOG.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use wyng_wire::{HEADER_BYTES, HELLO_BYTES, StatStatus, ToDaemon};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (helper, service, log) = (
        arguments.next().unwrap(),
        arguments.next().unwrap(),
        arguments.next().unwrap(),
    );
    let mut honest: u32 = arguments.next().unwrap().parse().unwrap();
    let pause = Duration::from_millis(arguments.next().unwrap().parse().unwrap());
    let mut log = File::options().append(true).create(true).open(log).unwrap();
    let mut child = Command::new(helper)
        .arg(service)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut from, mut to) = (child.stdout.take().unwrap(), std::io::stdout());
    let mut hello = [0; HELLO_BYTES];
    from.read_exact(&mut hello).unwrap();
    to.write_all(&hello).and_then(|()| to.flush()).unwrap();
    loop {
        let mut header = [0; HEADER_BYTES];
        if from.read_exact(&mut header).is_err() {
            break;
        }
        let mut frame = header.to_vec();
        frame.resize(HEADER_BYTES + ToDaemon::rest_bytes(&header).unwrap(), 0);
        from.read_exact(&mut frame[HEADER_BYTES..]).unwrap();
        let mut encoded = [0; 256];
        let said = match ToDaemon::decode(&frame).unwrap() {
            ToDaemon::Stated(_) if honest > 0 => {
                honest -= 1;
                frame
            }
            ToDaemon::Stated(mut stated) => {
                std::thread::sleep(pause);
                log.write_all(b".").unwrap();
                stated.status = StatStatus::Present;
                stated.length_bytes = stated.length_bytes.max(1);
                ToDaemon::Stated(stated)
                    .encode(&mut encoded)
                    .unwrap()
                    .to_vec()
            }
            ToDaemon::Bytes(bytes) => {
                let begin = frame.len();
                frame.resize(begin + usize::try_from(bytes.length_bytes).unwrap(), 0);
                from.read_exact(&mut frame[begin..]).unwrap();
                frame
            }
            _ => frame,
        };
        if to.write_all(&said).and_then(|()| to.flush()).is_err() {
            break; // the daemon has closed the pipe
        }
    }
    let _ = child.kill();
    let _ = child.wait();
}
