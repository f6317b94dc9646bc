// SPDX-License-Identifier: GPL-3.0-or-later
//! The states that a disk may have after a loss of power. The file system calls of real processes
//! are recorded, and replayed on a model in which everything that was not synced may be lost:
//! bytes, completely or torn at a sector, and names, each independently and in any order.

use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::traced::watched;

const SECTOR_BYTES: usize = 512;
/// Every call that changes a file or a name, or makes it durable. A call that the model does not
/// know fails the test.
const RECORDED: &str = "trace=openat,openat2,open,creat,mkdir,mkdirat,write,pwrite64,writev,pwritev,pwritev2,ftruncate,truncate,fallocate,\
    copy_file_range,splice,sendfile,fsync,fdatasync,syncfs,sync,sync_file_range,rename,renameat,renameat2,link,linkat,unlink,unlinkat,rmdir,symlink,symlinkat";

/// The effect of one call; paths are absolute.
#[derive(Debug, Clone)]
pub enum Call {
    /// A folder was made.
    MakeFolder(PathBuf),
    /// A file was opened for writing: made if it was missing, and truncated if the flag says so.
    Open(PathBuf, bool),
    /// A file without a name.
    OpenUnnamed(PathBuf),
    /// Bytes at the end.
    Append(PathBuf, Vec<u8>),
    /// A number of bytes that the kernel moved to the end. The trace does not show them;
    /// [`recorded`] finds them out.
    AppendMoved(PathBuf, usize),
    /// Bytes at an offset.
    WriteAt(PathBuf, usize, Vec<u8>),
    /// A file got this length, bytes.
    Truncate(PathBuf, usize),
    /// `fsync` or `fdatasync`.
    Sync(PathBuf),
    /// `sync` or `syncfs`: everything.
    SyncAll,
    /// A file was renamed: old name, new name.
    Rename(PathBuf, PathBuf),
    /// A file got another name: file, new name.
    Link(PathBuf, PathBuf),
    /// A name was removed.
    Unlink(PathBuf),
    /// A link was made: target, name.
    Symlink(String, PathBuf),
}

impl Call {
    /// Whether the call makes something durable.
    pub fn is_sync(&self) -> bool {
        matches!(self, Self::Sync(_) | Self::SyncAll)
    }

    /// Whether the call changes where a name leads.
    pub fn makes_a_name(&self) -> bool {
        matches!(
            self,
            Self::MakeFolder(_)
                | Self::Open(..)
                | Self::Rename(..)
                | Self::Link(..)
                | Self::Symlink(..)
        )
    }
}

/// Runs `command` until its last process ends. Returns its calls on paths in `folder`, in the order
/// in which they returned.
pub fn recorded(command: &Command, folder: &Path) -> (Output, Vec<Call>) {
    // Without a trailing slash, like the paths of the calls.
    let folder: &Path = &folder.components().collect::<PathBuf>();
    let trace = folder.join("recorded");
    let output = watched(
        command,
        &[
            "-y",
            "-xx",
            "-s",
            "16777216",
            "-e",
            "signal=none",
            "-e",
            RECORDED,
        ],
        &trace,
    );
    let text = std::fs::read_to_string(&trace).unwrap();
    std::fs::remove_file(&trace).unwrap();
    let mut recording = Recording::default();
    let mut calls: Vec<Call> = text
        .lines()
        .filter_map(|line| recording.call(line, folder))
        .collect();
    for place in 0..calls.len() {
        if let Call::AppendMoved(path, count) = &calls[place] {
            calls[place] = Call::Append(path.clone(), moved(&calls, place, path, *count));
        }
    }
    (output, calls)
}

/// The bytes that the kernel moved to the end of a file. Blobs do not change, so they are those of
/// the name that the file got later. A file without a name cannot be seen, and any bytes will do.
fn moved(calls: &[Call], place: usize, path: &Path, count: usize) -> Vec<u8> {
    let opened = |call: &Call| matches!(call, Call::Open(opened, _) | Call::OpenUnnamed(opened) if opened == path);
    let begun = calls[..place]
        .iter()
        .rposition(opened)
        .map_or(0, |opened| opened + 1);
    let before: usize = calls[begun..place]
        .iter()
        .map(|call| {
            if let Call::Append(to, bytes) = call
                && to == path
            {
                bytes.len()
            } else {
                0
            }
        })
        .sum();
    let named = calls[place..].iter().find_map(|call| match call {
        Call::Rename(from, to) | Call::Link(from, to) if from == path => Some(to.as_path()),
        _ => None,
    });
    let mut bytes = std::fs::read(named.unwrap_or(path)).unwrap_or_default();
    bytes.resize(bytes.len().max(before + count), 0);
    bytes[before..before + count].to_vec()
}

#[derive(Default)]
struct Recording<'a> {
    /// Unfinished calls, which were interrupted by a call of another process.
    unfinished: BTreeMap<&'a str, &'a str>,
    /// Files without a name by the number of their descriptor, because they have no path.
    unnamed: BTreeMap<String, PathBuf>,
}

impl<'a> Recording<'a> {
    fn call(&mut self, line: &'a str, folder: &Path) -> Option<Call> {
        let (process, event) = line.split_once(' ').unwrap();
        let event = event.trim_start();
        if let Some(begun) = event.strip_suffix(" <unfinished ...>") {
            self.unfinished.insert(process, begun);
            return None;
        }
        let whole = match event.split_once(" resumed>") {
            Some((_, rest)) => format!("{}{rest}", self.unfinished.remove(process).unwrap()),
            None => event.to_owned(),
        };
        let (call, result) = whole.rsplit_once(" = ")?;
        if result.starts_with('-') || result.starts_with('?') {
            return None;
        }
        let (name, arguments) = call
            .trim_end()
            .strip_suffix(')')
            .unwrap()
            .split_once('(')
            .unwrap();
        let arguments: Vec<&str> = arguments.split(", ").collect();
        self.decode(name, &arguments, result, folder)
    }

    fn decode(
        &mut self,
        name: &str,
        arguments: &[&str],
        result: &str,
        folder: &Path,
    ) -> Option<Call> {
        let inside = |path: PathBuf| path.starts_with(folder).then_some(path);
        let file = || inside(descriptor(arguments[0]));
        let done = || {
            result
                .split_whitespace()
                .next()
                .unwrap()
                .parse::<usize>()
                .unwrap()
        };
        Some(match name {
            "openat" if arguments[2].contains("O_TMPFILE") => {
                let (number, _) = result.split_once('<').unwrap();
                let path = inside(descriptor(result))?;
                self.unnamed.insert(number.to_owned(), path.clone());
                Call::OpenUnnamed(path)
            }
            "openat" if arguments[2].contains("O_CREAT") || arguments[2].contains("O_TRUNC") => {
                Call::Open(
                    inside(descriptor(result))?,
                    arguments[2].contains("O_TRUNC"),
                )
            }
            "openat" => return None,
            "mkdir" => Call::MakeFolder(inside(quoted(arguments[0]).into())?),
            "mkdirat" => Call::MakeFolder(inside(below(arguments[0], arguments[1]))?),
            "write" => Call::Append(file()?, bytes(arguments[1])[..done()].to_vec()),
            "splice" => Call::AppendMoved(inside(descriptor(arguments[2]))?, done()),
            "pwrite64" => Call::WriteAt(
                file()?,
                arguments[3].parse().unwrap(),
                bytes(arguments[1])[..done()].to_vec(),
            ),
            "ftruncate" => Call::Truncate(file()?, arguments[1].parse().unwrap()),
            "fsync" | "fdatasync" => Call::Sync(file()?),
            "syncfs" => Call::SyncAll,
            "renameat" | "renameat2" => Call::Rename(
                inside(below(arguments[0], arguments[1]))?,
                below(arguments[2], arguments[3]),
            ),
            "linkat" => {
                let from = below(arguments[0], arguments[1]);
                let number = from
                    .strip_prefix("/proc/self/fd")
                    .ok()
                    .map(|number| number.to_str().unwrap().to_owned());
                let to = inside(below(arguments[2], arguments[3]))?;
                Call::Link(
                    number.map_or(from, |number| self.unnamed[&number].clone()),
                    to,
                )
            }
            "unlinkat" => Call::Unlink(inside(below(arguments[0], arguments[1]))?),
            "symlinkat" => Call::Symlink(
                quoted(arguments[0]),
                inside(below(arguments[1], arguments[2]))?,
            ),
            _ => {
                let path = arguments
                    .iter()
                    .find(|argument| argument.contains('<'))
                    .map(|argument| descriptor(argument));
                assert!(
                    path.and_then(inside).is_none(),
                    "the model does not know {name}"
                );
                return None;
            }
        })
    }
}

/// The path that `-y` shows for a descriptor.
fn descriptor(argument: &str) -> PathBuf {
    let path = argument
        .split_once('<')
        .and_then(|(_, path)| path.split_once('>'))
        .map_or("", |(path, _)| path);
    std::ffi::OsString::from_vec(bytes(path)).into()
}

fn below(folder: &str, name: &str) -> PathBuf {
    descriptor(folder).join(quoted(name))
}

fn quoted(argument: &str) -> String {
    String::from_utf8(bytes(argument)).unwrap()
}

/// The bytes of `\x..\x..`, quoted or not.
fn bytes(argument: &str) -> Vec<u8> {
    argument
        .trim_matches('"')
        .split("\\x")
        .skip(1)
        .map(|digits| u8::from_str_radix(&digits[..2], 16).unwrap())
        .collect()
}

/// What happens to everything that was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Loss {
    /// Nothing: only the processes ended.
    Nothing,
    /// Everything is lost.
    Everything,
    /// Names and lengths stay; the bytes read as zeros.
    Contents,
    /// Bytes stay, and names are lost.
    Names,
    /// Each change stays, is lost, or is torn at a sector, as drawn from this seed.
    Some(u64),
}

type NodeId = usize;
/// A change of a folder's names in one step: where each of these names leads, or that it is
/// removed.
type NameChange = Vec<(String, Option<NodeId>)>;

#[derive(Debug, Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Truncate(usize),
}

#[derive(Debug, Clone)]
enum Node {
    File {
        synced: Vec<u8>,
        now: Vec<u8>,
        /// The changes since `prepared`, or else since `synced`.
        pending: Vec<Change>,
        /// The content that was synced while the file had no name. It lasts with a name that is
        /// committed with the file, and is lost with a name that is synced alone.
        prepared: Option<Vec<u8>>,
    },
    Folder {
        synced: BTreeMap<String, NodeId>,
        now: BTreeMap<String, NodeId>,
        pending: Vec<NameChange>,
    },
    Symlink(String),
}

/// A folder, and everything in it that a run changes.
#[derive(Debug, Clone)]
pub struct FileSystem {
    root: PathBuf,
    nodes: Vec<Node>,
    unnamed: BTreeMap<PathBuf, NodeId>,
    /// Every name in the root that occurred so far.
    tops: HashSet<String>,
}

impl FileSystem {
    /// The model of `root` with `tops` as they are on the disk, all durable. Other names in it are
    /// not part of the model until a call makes them.
    pub fn of(root: &Path, tops: &[&str]) -> Self {
        let empty = Node::Folder {
            synced: BTreeMap::new(),
            now: BTreeMap::new(),
            pending: Vec::new(),
        };
        let mut system = Self {
            root: root.to_owned(),
            nodes: vec![empty],
            unnamed: BTreeMap::new(),
            tops: tops.iter().map(|&top| top.into()).collect(),
        };
        let there = tops
            .iter()
            .filter(|top| root.join(top).symlink_metadata().is_ok());
        let names: BTreeMap<String, NodeId> = there
            .map(|&top| (top.to_owned(), system.load(&root.join(top))))
            .collect();
        system.nodes[0] = Node::Folder {
            synced: names.clone(),
            now: names,
            pending: Vec::new(),
        };
        system
    }

    fn load(&mut self, path: &Path) -> NodeId {
        let kind = path.symlink_metadata().unwrap().file_type();
        let node = if kind.is_dir() {
            let entries = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap());
            let names: BTreeMap<_, _> = entries
                .map(|entry| {
                    (
                        entry.file_name().into_string().unwrap(),
                        self.load(&entry.path()),
                    )
                })
                .collect();
            Node::Folder {
                synced: names.clone(),
                now: names,
                pending: Vec::new(),
            }
        } else if kind.is_symlink() {
            Node::Symlink(
                std::fs::read_link(path)
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned(),
            )
        } else {
            let bytes = std::fs::read(path).unwrap();
            Node::File {
                synced: bytes.clone(),
                now: bytes,
                pending: Vec::new(),
                prepared: None,
            }
        };
        self.add(node)
    }

    fn add(&mut self, node: Node) -> NodeId {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    /// Applies one call.
    pub fn apply(&mut self, call: &Call) {
        let file = || Node::File {
            synced: Vec::new(),
            now: Vec::new(),
            pending: Vec::new(),
            prepared: None,
        };
        match call {
            Call::MakeFolder(path) => {
                let node = self.add(Node::Folder {
                    synced: BTreeMap::new(),
                    now: BTreeMap::new(),
                    pending: Vec::new(),
                });
                self.rename(path, Some(node), None);
            }
            Call::Open(path, truncate) => match self.find(path) {
                Some(_) if *truncate => self.change(path, Change::Truncate(0)),
                Some(_) => {}
                None => {
                    let node = self.add(file());
                    self.rename(path, Some(node), None);
                }
            },
            Call::OpenUnnamed(path) => {
                let node = self.add(file());
                self.unnamed.insert(path.clone(), node);
            }
            Call::AppendMoved(path, _) => panic!("which bytes went to {}?", path.display()),
            Call::Append(path, bytes) => {
                let Some(Node::File { now, .. }) = self.find(path).map(|node| &self.nodes[node])
                else {
                    return;
                };
                let end = now.len();
                self.change(path, Change::Write(end, bytes.clone()));
            }
            Call::WriteAt(path, offset, bytes) => {
                self.change(path, Change::Write(*offset, bytes.clone()))
            }
            Call::Truncate(path, length) => self.change(path, Change::Truncate(*length)),
            // A source is synced before its holes are listed; a run does not change it.
            Call::Sync(path) if self.is_outside(path) => {}
            Call::Sync(path) => {
                let node = self
                    .find(path)
                    .unwrap_or_else(|| panic!("{} was never made", path.display()));
                if self.unnamed.contains_key(path) && !self.has_a_name(node) {
                    self.nodes[node].prepare();
                    return;
                }
                let named: Vec<NodeId> = match &self.nodes[node] {
                    Node::Folder { now, .. } => now.values().copied().collect(),
                    _ => Vec::new(),
                };
                named
                    .into_iter()
                    .for_each(|named| self.nodes[named].log_name());
                self.nodes[node].sync();
            }
            Call::SyncAll => self.nodes.iter_mut().for_each(Node::sync),
            Call::Rename(from, to) => {
                assert_eq!(
                    from.parent(),
                    to.parent(),
                    "a rename across folders is not in the model"
                );
                let node = self.find(from);
                self.rename(to, node, Some(from));
            }
            Call::Link(from, to) => {
                let node = self.find(from);
                self.rename(to, node, None);
            }
            Call::Unlink(path) => self.rename(path, None, None),
            Call::Symlink(target, path) => {
                let node = self.add(Node::Symlink(target.clone()));
                self.rename(path, Some(node), None);
            }
        }
    }

    /// Makes `path` lead to `node`, and removes the name `old` in the same folder in the same step.
    fn rename(&mut self, path: &Path, node: Option<NodeId>, old: Option<&Path>) {
        let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
        let folder = self.find(path.parent().unwrap()).unwrap();
        if folder == 0 {
            self.tops.insert(name(path));
        }
        let mut change = vec![(name(path), node)];
        change.extend(old.map(|old| (name(old), None)));
        let Node::Folder { now, pending, .. } = &mut self.nodes[folder] else {
            panic!("{} lies in no folder", path.display())
        };
        put(now, &change);
        pending.push(change);
    }

    fn change(&mut self, path: &Path, change: Change) {
        let Some(node) = self.find(path) else { return };
        let Node::File { now, pending, .. } = &mut self.nodes[node] else {
            panic!("{} is no file", path.display())
        };
        change.make(now);
        pending.push(change);
    }

    /// Whether a path is outside of the model.
    fn is_outside(&self, path: &Path) -> bool {
        let Ok(below) = path.strip_prefix(&self.root) else {
            return true;
        };
        let top = below.components().next();
        !self.unnamed.contains_key(path)
            && top.is_some_and(|top| !self.tops.contains(top.as_os_str().to_str().unwrap()))
    }

    fn has_a_name(&self, node: NodeId) -> bool {
        self.nodes.iter().any(|folder| matches!(folder, Node::Folder { now, .. } if now.values().any(|named| *named == node)))
    }

    /// The node of a path; `None` for a path outside of the tops.
    fn find(&self, path: &Path) -> Option<NodeId> {
        if let Some(unnamed) = self.unnamed.get(path) {
            return Some(*unnamed);
        }
        path.strip_prefix(&self.root)
            .ok()?
            .iter()
            .try_fold(0, |node, name| match &self.nodes[node] {
                Node::Folder { now, .. } => now.get(name.to_str()?).copied(),
                _ => None,
            })
    }

    /// Writes the state after `loss` to the disk, unless `seen` shows that the same state was
    /// written before.
    pub fn show(&self, loss: Loss, seen: &mut HashSet<u64>) -> bool {
        let mut draw = Draw(match loss {
            Loss::Some(seed) => seed,
            _ => 0,
        });
        let (mut left, mut hasher) = (BTreeMap::new(), DefaultHasher::new());
        self.gather(0, &mut PathBuf::new(), loss, &mut draw, &mut left);
        left.hash(&mut hasher);
        if !seen.insert(hasher.finish()) {
            return false;
        }
        for top in &self.tops {
            let path = self.root.join(top);
            let _ = std::fs::remove_dir_all(&path);
            let _ = std::fs::remove_file(&path);
        }
        for (path, left) in left {
            let path = self.root.join(path);
            match left {
                Left::Folder => std::fs::create_dir(&path).unwrap(),
                Left::File(bytes) => std::fs::write(&path, bytes).unwrap(),
                Left::Symlink(target) => std::os::unix::fs::symlink(target, &path).unwrap(),
            }
        }
        true
    }

    fn gather(
        &self,
        folder: NodeId,
        path: &mut PathBuf,
        loss: Loss,
        draw: &mut Draw,
        left: &mut BTreeMap<PathBuf, Left>,
    ) {
        let Node::Folder {
            synced,
            now,
            pending,
        } = &self.nodes[folder]
        else {
            return;
        };
        let mut names = if matches!(loss, Loss::Nothing | Loss::Contents) {
            now.clone()
        } else {
            synced.clone()
        };
        if let Loss::Some(_) = loss {
            pending
                .iter()
                .filter(|_| draw.one_of(2) == 0)
                .for_each(|change| put(&mut names, change));
        }
        for (name, node) in names {
            path.push(name);
            let shown = match &self.nodes[node] {
                Node::Folder { .. } => Left::Folder,
                Node::Symlink(target) => Left::Symlink(target.clone()),
                Node::File {
                    synced,
                    now,
                    pending,
                    prepared,
                } => Left::File(contents(
                    prepared.as_ref().unwrap_or(synced),
                    now,
                    pending,
                    loss,
                    draw,
                )),
            };
            left.insert(path.clone(), shown);
            self.gather(node, path, loss, draw, left);
            path.pop();
        }
    }
}

/// The content of a path after a loss.
#[derive(Hash)]
enum Left {
    Folder,
    File(Vec<u8>),
    Symlink(String),
}

impl Node {
    /// A sync of a file without a name: its bytes are on the disk, but only a commit of the whole
    /// file system makes them reachable.
    fn prepare(&mut self) {
        if let Self::File {
            now,
            pending,
            prepared,
            ..
        } = self
        {
            *prepared = Some(now.clone());
            pending.clear();
        }
    }

    /// A sync of the folder with a file's name. Of a file that was never synced under a name, btrfs
    /// logs only that it exists, and not its content.
    fn log_name(&mut self) {
        if let Self::File {
            now,
            pending,
            prepared,
            ..
        } = self
            && prepared.take().is_some()
        {
            *pending = vec![Change::Write(0, now.clone())];
        }
    }

    fn sync(&mut self) {
        match self {
            Self::File {
                synced,
                now,
                pending,
                prepared,
            } => {
                synced.clone_from(now);
                pending.clear();
                *prepared = None;
            }
            Self::Folder {
                synced,
                now,
                pending,
            } => {
                synced.clone_from(now);
                pending.clear();
            }
            Self::Symlink(_) => {}
        }
    }
}

impl Change {
    fn make(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Truncate(length) => bytes.resize(*length, 0),
            Self::Write(offset, written) => {
                let end = offset + written.len();
                bytes.resize(bytes.len().max(end), 0);
                bytes[*offset..end].copy_from_slice(written);
            }
        }
    }
}

fn put(names: &mut BTreeMap<String, NodeId>, change: &NameChange) {
    for (name, node) in change {
        match node {
            Some(node) => names.insert(name.clone(), *node),
            None => names.remove(name),
        };
    }
}

fn contents(synced: &[u8], now: &[u8], pending: &[Change], loss: Loss, draw: &mut Draw) -> Vec<u8> {
    let mut bytes = match loss {
        Loss::Nothing | Loss::Names => return now.to_vec(),
        Loss::Everything | Loss::Some(_) => synced.to_vec(),
        Loss::Contents => {
            let mut bytes = synced.to_vec();
            bytes.resize(now.len(), 0);
            return bytes;
        }
    };
    if let Loss::Some(_) = loss {
        for change in pending {
            match (draw.one_of(3), change) {
                (0, _) => {}
                (1, Change::Write(offset, written)) => {
                    let kept = SECTOR_BYTES * draw.one_of(written.len() / SECTOR_BYTES + 1);
                    Change::Write(*offset, written[..kept].to_vec()).make(&mut bytes);
                }
                _ => change.make(&mut bytes),
            }
        }
    }
    bytes
}

/// Pseudo-random numbers: an xorshift of 64 bits.
struct Draw(u64);

impl Draw {
    fn one_of(&mut self, count: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .wrapping_add(0x1234_5678_9abc_def1);
        self.0 ^= self.0 >> 29;
        usize::try_from(self.0 >> 33).unwrap() % count
    }
}
