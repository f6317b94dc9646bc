// SPDX-License-Identifier: GPL-3.0-or-later
//! The daemon's end of a call, as far as the tests need it. The helper's frames are checked by the
//! rules of the wire crate.

use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use wyng_wire::{
    BlobBytes, BlobName, BytesStatus, Delete, Get, HEADER_BYTES, HELLO_BYTES, Hello, Open,
    OpenStatus, Opened, Put, ReceiptStatus, Renew, Service, Stat, StatStatus, Tally, ToDaemon,
    ToDaemonRules, ToHelper,
};

/// The store that OPEN asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Store {
    /// One that exists.
    Existing,
    /// One that is to be made.
    New,
}

/// Whether a PUT may use the reserve of the store.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reserve {
    Kept,
    Usable,
}

/// A helper and the daemon's end of its pipes.
pub(crate) struct Call {
    pub(crate) child: Child,
    stdin: Option<ChildStdin>,
    stdout: ChildStdout,
    stderr: fs::File,
    rules: ToDaemonRules,
    sent_through: u64,
    sent: Tally,
}

/// A name of the byte `first` followed by bytes `rest`.
pub(crate) fn name(first: u8, rest: u8) -> BlobName {
    let mut name = [rest; 32];
    name[0] = first;
    BlobName(name)
}

/// The file of a blob.
pub(crate) fn path_of(store: &Path, name: &BlobName) -> std::path::PathBuf {
    let hex = name.to_string();
    store.join(&hex[..2]).join(hex)
}

/// Places a blob without a helper.
pub(crate) fn plant(store: &Path, name: &BlobName, bytes: &[u8]) {
    let path = path_of(store, name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// A folder with one blob, which makes it a store.
pub(crate) fn store() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    plant(folder.path(), &name(0, 0), b"the first blob");
    folder
}

/// Every file below a folder, by its path in it.
pub(crate) fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.is_symlink() {
                folders.push(path);
            } else {
                found.push(
                    path.strip_prefix(folder)
                        .unwrap()
                        .to_str()
                        .unwrap()
                        .to_owned(),
                );
            }
        }
    }
    found.sort();
    found
}

pub(crate) fn command(service: Service) -> Command {
    let mut command = Command::new(wyng_tests::programs::program("wyng-transport-vm"));
    command.arg(service.verb());
    command
}

/// The helper under `strace`, which makes its calls, or those on one path, fail as `fault` says:
/// `openat:error=EIO`. It is run with calls that the filter allows.
pub(crate) fn traced(fault: &str, path: Option<&str>, service: Service) -> Command {
    let mut traced = Command::new("strace");
    if let Some(path) = path {
        traced.args(["-P", path]);
    }
    traced.args([
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        &format!("inject={fault}:syscall=gettid"),
    ]);
    traced
        .arg(wyng_tests::programs::program("wyng-transport-vm"))
        .arg(service.verb());
    traced
}

impl Call {
    /// Starts a helper, says HELLO, and takes its HELLO.
    pub(crate) fn start(service: Service) -> Self {
        Self::start_command(command(service), service)
    }

    pub(crate) fn start_command(command: Command, service: Service) -> Self {
        Self::spawn(command, service, &Hello { service }.encode())
    }

    /// Starts a helper for `started`, and calls it for `called`.
    pub(crate) fn start_as(started: Service, called: Service) -> Self {
        Self::spawn(
            command(started),
            started,
            &Hello { service: called }.encode(),
        )
    }

    /// Starts a helper, and sends something else in place of HELLO.
    pub(crate) fn start_saying(service: Service, words: &[u8]) -> Self {
        Self::spawn(command(service), service, words)
    }

    fn spawn(mut command: Command, service: Service, first_bytes: &[u8]) -> Self {
        let stderr = tempfile::tempfile().unwrap();
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(stderr.try_clone().unwrap());
        let mut child = command.spawn().unwrap();
        let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        stdin.write_all(first_bytes).unwrap();
        let mut hello = [0; HELLO_BYTES];
        stdout.read_exact(&mut hello).unwrap();
        assert_eq!(Hello::decode(&hello), Ok(Hello { service }));
        let rules = ToDaemonRules::new(service);
        Self {
            child,
            stdin: Some(stdin),
            stdout,
            stderr,
            rules,
            sent_through: 0,
            sent: Tally::default(),
        }
    }

    /// Starts a helper on an existing store.
    pub(crate) fn open(service: Service, folder: &Path) -> Self {
        let mut call = Self::start(service);
        assert_eq!(
            call.ask_to_open(&address(folder), Store::Existing),
            OpenStatus::Ok
        );
        call
    }

    /// Sends OPEN, and returns the status of the answer.
    pub(crate) fn ask_to_open(&mut self, address: &[u8], store: Store) -> OpenStatus {
        self.ask_to_open_locked(address, store, 0)
    }

    /// The same for a push whose blobs are locked until a day.
    pub(crate) fn ask_to_open_locked(
        &mut self,
        address: &[u8],
        store: Store,
        lock_until_day: u32,
    ) -> OpenStatus {
        self.send(&ToHelper::Open(Open {
            create: store == Store::New,
            tries: false,
            looks_at_versions: false,
            signed: None,
            lock_until_day,
            destination: address,
        }));
        self.read_opened().status
    }

    /// The answer to OPEN.
    pub(crate) fn read_opened(&mut self) -> Opened {
        match self.read() {
            (ToDaemon::Opened(opened), None) => opened,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn send(&mut self, frame: &ToHelper<'_>) {
        let mut place = [0; wyng_wire::TO_HELPER_MAX];
        self.send_raw(frame.encode(&mut place).unwrap());
    }

    pub(crate) fn send_raw(&mut self, bytes: &[u8]) {
        self.stdin.as_mut().unwrap().write_all(bytes).unwrap();
    }

    /// Sends raw bytes to a helper that may have ended already.
    pub(crate) fn try_send_raw(&mut self, bytes: &[u8]) {
        let _ = self.stdin.as_mut().unwrap().write_all(bytes);
    }

    pub(crate) fn next_number(&mut self) -> u64 {
        self.sent_through += 1;
        self.sent_through
    }

    pub(crate) fn put(&mut self, name: BlobName, bytes: &[u8]) {
        self.put_with(name, bytes, Reserve::Kept);
    }

    pub(crate) fn put_with(&mut self, name: BlobName, bytes: &[u8], reserve: Reserve) {
        self.announce(name, bytes.len() as u32, reserve);
        self.send_raw(bytes);
    }

    /// Sends a PUT to a helper that may end before it is sent.
    pub(crate) fn try_put(&mut self, name: BlobName, bytes: &[u8]) {
        let put = ToHelper::Put(Put {
            number: self.next_number(),
            name,
            length_bytes: bytes.len() as u32,
            may_use_reserve: false,
            signed: None,
        });
        let mut place = [0; wyng_wire::TO_HELPER_MAX];
        self.try_send_raw(put.encode(&mut place).unwrap());
        self.try_send_raw(bytes);
    }

    /// Sends a PUT without its body.
    pub(crate) fn announce(&mut self, name: BlobName, length_bytes: u32, reserve: Reserve) {
        let number = self.next_number();
        self.sent.add(&name);
        self.send(&ToHelper::Put(Put {
            number,
            name,
            length_bytes,
            may_use_reserve: reserve == Reserve::Usable,
            signed: None,
        }));
    }

    /// Sends RENEW.
    pub(crate) fn renew(&mut self, name: BlobName, until_day: u32) {
        let number = self.next_number();
        self.sent.add(&name);
        self.send(&ToHelper::Renew(Renew {
            number,
            name,
            until_day,
            signed: None,
        }));
    }

    pub(crate) fn delete(&mut self, name: BlobName) {
        let number = self.next_number();
        self.sent.add(&name);
        self.send(&ToHelper::Delete(Delete {
            number,
            name,
            signed: None,
        }));
    }

    /// The next frame except for KEEP_ALIVE, and the numbers that it settles.
    pub(crate) fn read(&mut self) -> (ToDaemon, Option<std::ops::RangeInclusive<u64>>) {
        self.try_read().unwrap()
    }

    /// The same, until the helper's output ends.
    pub(crate) fn try_read(&mut self) -> Option<(ToDaemon, Option<std::ops::RangeInclusive<u64>>)> {
        loop {
            let mut frame = [0; wyng_wire::TO_DAEMON_MAX];
            let (header, behind) = frame.split_first_chunk_mut::<HEADER_BYTES>().unwrap();
            self.stdout.read_exact(header).ok()?;
            let rest_bytes = ToDaemon::rest_bytes(header).unwrap();
            self.stdout.read_exact(&mut behind[..rest_bytes]).ok()?;
            let decoded = ToDaemon::decode(&frame[..HEADER_BYTES + rest_bytes]).unwrap();
            let settled = self.rules.accept(&decoded, self.sent_through).unwrap();
            if decoded != ToDaemon::KeepAlive {
                return Some((decoded, settled));
            }
        }
    }

    /// Reads receipts until everything sent is settled; the status of each number in order.
    pub(crate) fn receipts(&mut self) -> Vec<ReceiptStatus> {
        let mut statuses = Vec::new();
        while (statuses.len() as u64) < self.sent_through {
            match self.read() {
                (ToDaemon::Receipt(receipt), Some(numbers)) => {
                    statuses.extend(numbers.map(|_| receipt.status))
                }
                other => panic!("{other:?}"),
            }
        }
        statuses
    }

    pub(crate) fn end(&mut self) {
        self.send(&ToHelper::End(self.sent));
    }

    /// Sends END, and returns every status; asserts FINAL for `done` of them and exit status 0.
    pub(crate) fn finish(mut self, done: u64) -> Vec<ReceiptStatus> {
        self.end();
        let statuses = self.receipts();
        let (last, _) = self.read();
        match last {
            ToDaemon::Final(tally) if done == self.sent.count => assert_eq!(tally, self.sent),
            ToDaemon::Final(tally) => assert_eq!(tally.count, done),
            other => panic!("{other:?}"),
        }
        assert_eq!(self.close(), Some(0));
        statuses
    }

    /// Sends END after every receipt was read; asserts FINAL for all of `done` and exit status 0.
    pub(crate) fn finish_settled(mut self, done: u64) {
        self.end();
        assert_eq!(self.read().0, ToDaemon::Final(self.sent));
        assert_eq!(self.sent.count, done);
        assert_eq!(self.close(), Some(0));
    }

    /// Requests a range, and returns its bytes and the last status.
    pub(crate) fn get(
        &mut self,
        name: BlobName,
        offset_bytes: u64,
        length_bytes: u32,
        version: u8,
    ) -> (Vec<u8>, BytesStatus) {
        self.request(name, offset_bytes, length_bytes, version);
        self.answer()
    }

    /// Requests a range; its answer comes after those that are awaited.
    pub(crate) fn request(
        &mut self,
        name: BlobName,
        offset_bytes: u64,
        length_bytes: u32,
        version: u8,
    ) {
        let request = self.next_number();
        self.send(&ToHelper::Get(Get {
            request,
            name,
            offset_bytes,
            length_bytes,
            version,
            version_id: None,
            signed: None,
        }));
    }

    /// The bytes of the oldest range that is awaited, and the last status.
    pub(crate) fn answer(&mut self) -> (Vec<u8>, BytesStatus) {
        let mut bytes = Vec::new();
        loop {
            let ToDaemon::Bytes(BlobBytes {
                length_bytes,
                status,
                ..
            }) = self.read().0
            else {
                panic!("no BYTES")
            };
            let begin = bytes.len();
            bytes.resize(begin + length_bytes as usize, 0);
            self.stdout.read_exact(&mut bytes[begin..]).unwrap();
            if status != BytesStatus::More {
                return (bytes, status);
            }
        }
    }

    /// Sends STAT for a name, and returns the answer.
    pub(crate) fn stat(&mut self, name: BlobName) -> (StatStatus, u64) {
        let request = self.next_number();
        self.send(&ToHelper::Stat(Stat {
            request,
            name,
            signed: None,
        }));
        match self.read().0 {
            ToDaemon::Stated(stated) => (stated.status, stated.length_bytes),
            other => panic!("{other:?}"),
        }
    }

    /// Closes this end, and returns the exit status; further output is discarded.
    pub(crate) fn close(&mut self) -> Option<i32> {
        drop(self.stdin.take());
        let _ = self.stdout.read_to_end(&mut Vec::new());
        self.child.wait().unwrap().code()
    }

    /// Waits for the helper to end by itself, with both pipes still open.
    pub(crate) fn ended(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }

    /// The helper's log so far.
    pub(crate) fn said(&mut self) -> String {
        let mut text = String::new();
        self.stderr.seek(SeekFrom::Start(0)).unwrap();
        self.stderr.read_to_string(&mut text).unwrap();
        text
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn address(folder: &Path) -> Vec<u8> {
    [b"dir:", folder.as_os_str().as_bytes()].concat()
}
