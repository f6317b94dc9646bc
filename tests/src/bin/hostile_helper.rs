// SPDX-License-Identifier: GPL-3.0-or-later
//! `hostile-helper SERVICE FOLDER`: a helper that speaks the protocol of the pipe over a real
//! folder and lies as FOLDER/lies says, a line for each lie:
//!
//! - `drop packs`: blobs that are no commits are answered as stored, and dropped;
//! - `drop all`: every blob is;
//! - `drop until COUNT`: the first COUNT blobs of each call are kept, and all others dropped;
//! - `hide NAME`: nothing is shown under the name, and what is put there is dropped;
//! - `show NAME FILE`: the content of FILE lies under the name.
//!
//! Every DELETE is carried out, and its name is appended to FOLDER/deletes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use wyng_wire::{
    BlobBytes, BlobName, BytesStatus, Delete, Entry, Get, HEADER_BYTES, HELLO_BYTES, Hello,
    ListEnd, ListStatus, OpenStatus, Opened, PIECE_MAX, Put, Receipt, ReceiptStatus, Service,
    StatStatus, Stated, TO_DAEMON_MAX, Tally, ToDaemon, ToHelper, VersionsEnd, VersionsStatus,
};

/// Length of a commit, bytes.
const COMMIT_BYTES: u32 = 4096;

/// What is dropped of the blobs that are put.
enum Dropped {
    Nothing,
    Packs,
    All,
    /// All but so many of each call.
    Behind(u64),
}

struct Lies {
    dropped: Dropped,
    hidden: BTreeSet<String>,
    shown: BTreeMap<String, Vec<u8>>,
}

impl Lies {
    fn read(folder: &Path) -> Self {
        let mut lies = Self {
            dropped: Dropped::Nothing,
            hidden: BTreeSet::new(),
            shown: BTreeMap::new(),
        };
        let text = std::fs::read_to_string(folder.join("lies")).unwrap();
        for line in text.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["drop", "packs"] => lies.dropped = Dropped::Packs,
                ["drop", "all"] => lies.dropped = Dropped::All,
                ["drop", "until", count] => {
                    lies.dropped = Dropped::Behind(count.parse().unwrap());
                }
                ["hide", name] => drop(lies.hidden.insert(name.to_owned())),
                ["show", name, file] => {
                    let content = std::fs::read(file).unwrap();
                    lies.shown.insert(name.to_owned(), content);
                }
                _ => panic!("no lie: {line}"),
            }
        }
        lies
    }

    fn drops(&self, put: &Put, name: &str) -> bool {
        let drops = match self.dropped {
            Dropped::Nothing => false,
            Dropped::Packs => put.length_bytes != COMMIT_BYTES,
            Dropped::All => true,
            Dropped::Behind(count) => put.number > count,
        };
        drops || self.hidden.contains(name)
    }
}

/// One call of the helper.
struct Call {
    lies: Lies,
    store: PathBuf,
    deletes: File,
    /// Names that count for FINAL.
    done: Tally,
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let service = match arguments.next().unwrap().as_str() {
        "push" => Service::Push,
        "prune" => Service::Prune,
        "fetch" => Service::Fetch,
        other => panic!("no service: {other}"),
    };
    let folder = PathBuf::from(arguments.next().unwrap());
    let log = folder.join("deletes");
    let deletes = File::options().append(true).create(true).open(log).unwrap();
    let mut call = Call {
        lies: Lies::read(&folder),
        store: PathBuf::new(),
        deletes,
        done: Tally::default(),
    };
    say(&Hello { service }.encode());
    let mut hello = [0; HELLO_BYTES];
    std::io::stdin().read_exact(&mut hello).unwrap();
    while let Some(frame) = next_frame() {
        call.serve(&ToHelper::decode(&frame).unwrap());
    }
}

fn say(bytes: &[u8]) {
    let mut to = std::io::stdout();
    // The daemon may have closed the pipe.
    if to.write_all(bytes).and_then(|()| to.flush()).is_err() {
        std::process::exit(0);
    }
}

fn answer(frame: &ToDaemon) {
    let mut encoded = [0; TO_DAEMON_MAX];
    say(frame.encode(&mut encoded).unwrap());
}

fn next_frame() -> Option<Vec<u8>> {
    let mut from = std::io::stdin();
    let mut header = [0; HEADER_BYTES];
    from.read_exact(&mut header).ok()?;
    let mut frame = header.to_vec();
    frame.resize(HEADER_BYTES + ToHelper::rest_bytes(&header).unwrap(), 0);
    from.read_exact(&mut frame[HEADER_BYTES..]).ok()?;
    Some(frame)
}

impl Call {
    fn serve(&mut self, frame: &ToHelper) {
        match frame {
            ToHelper::Open(open) => {
                let address = std::str::from_utf8(open.destination).unwrap();
                self.store = address.strip_prefix("dir:").unwrap().into();
                answer(&ToDaemon::Opened(Opened::of(OpenStatus::Ok)));
            }
            ToHelper::Put(put) => self.put(put),
            ToHelper::Delete(delete) => self.delete(delete),
            ToHelper::Renew(renew) => {
                self.settle(renew.number, ReceiptStatus::Unsupported, &renew.name);
            }
            ToHelper::List(list) => self.list(list.request),
            ToHelper::Stat(stat) => {
                let content = self.shown(&stat.name);
                answer(&ToDaemon::Stated(Stated {
                    request: stat.request,
                    length_bytes: content.as_ref().map_or(0, |content| content.len() as u64),
                    status: match content {
                        Some(_) => StatStatus::Present,
                        None => StatStatus::Absent,
                    },
                }));
            }
            ToHelper::Get(get) => self.get(get),
            ToHelper::Versions(asked) => answer(&ToDaemon::VersionsEnd(VersionsEnd {
                request: asked.request,
                count: 0,
                status: VersionsStatus::NotShown,
            })),
            ToHelper::End(_) => answer(&ToDaemon::Final(self.done)),
            ToHelper::Sync | ToHelper::KeepAlive => {}
        }
    }

    fn path(&self, name: &BlobName) -> PathBuf {
        let hex = name.to_string();
        self.store.join(&hex[..2]).join(hex)
    }

    /// What lies under a name, as far as the daemon is shown.
    fn shown(&self, name: &BlobName) -> Option<Vec<u8>> {
        let hex = name.to_string();
        if self.lies.hidden.contains(&hex) {
            return None;
        }
        let lie = self.lies.shown.get(&hex).cloned();
        lie.or_else(|| match std::fs::read(self.path(name)) {
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            content => Some(content.unwrap()),
        })
    }

    fn put(&mut self, put: &Put) {
        let mut body = vec![0; put.length_bytes.try_into().unwrap()];
        std::io::stdin().read_exact(&mut body).unwrap();
        let status = match self.shown(&put.name) {
            Some(content) if content == body => ReceiptStatus::ExistsSame,
            Some(_) => ReceiptStatus::ExistsDifferent,
            None => {
                if !self.lies.drops(put, &put.name.to_string()) {
                    let path = self.path(&put.name);
                    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                    std::fs::write(path, body).unwrap();
                }
                ReceiptStatus::Stored
            }
        };
        self.settle(put.number, status, &put.name);
    }

    fn delete(&mut self, delete: &Delete) {
        writeln!(self.deletes, "{}", delete.name).unwrap();
        let status = match std::fs::remove_file(self.path(&delete.name)) {
            Err(error) if error.kind() == ErrorKind::NotFound => ReceiptStatus::Absent,
            removed => {
                removed.unwrap();
                ReceiptStatus::Deleted
            }
        };
        self.settle(delete.number, status, &delete.name);
    }

    fn settle(&mut self, number: u64, status: ReceiptStatus, name: &BlobName) {
        if status.is_done() {
            self.done.add(name);
        }
        let free_mib = None;
        answer(&ToDaemon::Receipt(Receipt {
            number,
            status,
            free_mib,
        }));
    }

    fn list(&self, request: u64) {
        let mut names: BTreeSet<String> = self.lies.shown.keys().cloned().collect();
        for path in wyng_tests::sandbox::files_below(&self.store) {
            names.insert(path.file_name().unwrap().to_str().unwrap().to_owned());
        }
        let mut count = 0;
        for name in names {
            let name = named(&name);
            if let Some(content) = self.shown(&name) {
                count += 1;
                answer(&ToDaemon::Entry(Entry {
                    request,
                    name,
                    length_bytes: content.len() as u64,
                }));
            }
        }
        answer(&ToDaemon::ListEnd(ListEnd {
            request,
            count,
            status: ListStatus::Complete,
        }));
    }

    fn get(&self, get: &Get) {
        let part = |status, bytes: &[u8]| {
            answer(&ToDaemon::Bytes(BlobBytes {
                request: get.request,
                length_bytes: bytes.len().try_into().unwrap(),
                status,
            }));
            say(bytes);
        };
        let Some(content) = self.shown(&get.name) else {
            return part(BytesStatus::Absent, &[]);
        };
        let begin = usize::try_from(get.offset_bytes)
            .unwrap()
            .min(content.len());
        let wanted = usize::try_from(get.length_bytes).unwrap();
        let end = content.len().min(begin + wanted);
        let last = if end - begin == wanted {
            BytesStatus::Whole
        } else {
            BytesStatus::Short
        };
        let pieces: Vec<&[u8]> = content[begin..end]
            .chunks(PIECE_MAX.try_into().unwrap())
            .collect();
        let Some((tail, before)) = pieces.split_last() else {
            return part(last, &[]);
        };
        before
            .iter()
            .for_each(|piece| part(BytesStatus::More, piece));
        part(last, tail);
    }
}

fn named(hex: &str) -> BlobName {
    let byte = |place: usize| u8::from_str_radix(&hex[2 * place..2 * place + 2], 16).unwrap();
    BlobName(std::array::from_fn(byte))
}
