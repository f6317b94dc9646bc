// SPDX-License-Identifier: GPL-3.0-or-later
//! The users of a file or block device that would be overwritten: mounts, swap, devices on top of
//! it, and locks. The kernel only reports that a block device cannot be opened exclusively; this
//! module finds out why.

use std::ffi::OsString;
use std::fs::{read_dir, read_to_string};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, FlockOperation, Stat, major, minor, stat};

/// The use of a block device: the end of a sentence that begins with its path.
pub(super) fn of_device(device: &Stat) -> Option<String> {
    let numbers = with_partitions(device);
    let is_it = |path: &Path| {
        stat(path).is_ok_and(|found| is_block(&found) && numbers.contains(&number(found.st_rdev)))
    };
    for mount in mounts() {
        if numbers.contains(&mount.number) || is_it(&mount.source) {
            return Some(format!("it is mounted at {}", mount.place.display()));
        }
    }
    if let Some(swap) = swaps().into_iter().find(|swap| is_it(swap)) {
        return Some(format!("it is swap space ({})", swap.display()));
    }
    for number in &numbers {
        if let Some(holder) = names_in(&PathBuf::from(format!("/sys/dev/block/{number}/holders")))
            .into_iter()
            .next()
        {
            return Some(format!("the device {holder} is built on it"));
        }
    }
    of_loop_device(|path| is_it(path))
}

/// The use of a regular file, as far as the kernel reports it. `writable` is the file, opened for
/// writing.
pub(super) fn of_file(file: &Stat, writable: Option<&OwnedFd>) -> Option<String> {
    let is_it = |path: &Path| {
        stat(path).is_ok_and(|found| (found.st_dev, found.st_ino) == (file.st_dev, file.st_ino))
    };
    if swaps().iter().any(|swap| is_it(swap)) {
        return Some("it is swap".to_owned());
    }
    if let Some(how) = of_loop_device(is_it) {
        return Some(how);
    }
    // Virtual machines lock their images.
    let locked = writable.is_some_and(|file| {
        rustix::fs::fcntl_lock(file, FlockOperation::NonBlockingLockExclusive).is_err()
    });
    if let Some(file) = writable.filter(|_| !locked) {
        let _ = rustix::fs::fcntl_lock(file, FlockOperation::NonBlockingUnlock);
    }
    locked.then(|| "another program has locked it".to_owned())
}

fn of_loop_device(is_it: impl Fn(&Path) -> bool) -> Option<String> {
    let devices = names_in(Path::new("/sys/block"))
        .into_iter()
        .filter(|name| name.starts_with("loop"));
    let behind =
        |name: &String| read_to_string(format!("/sys/block/{name}/loop/backing_file")).ok();
    let used = devices.filter_map(|name| behind(&name).map(|file| (name, file)));
    used.into_iter()
        .find(|(_, file)| is_it(Path::new(file.trim_end_matches('\n'))))
        .map(|(name, _)| format!("/dev/{name} is built on it"))
}

/// A device and its partitions, as `MAJOR:MINOR`.
fn with_partitions(device: &Stat) -> Vec<String> {
    let own = number(device.st_rdev);
    let folder = PathBuf::from(format!("/sys/dev/block/{own}"));
    let partitions = names_in(&folder)
        .into_iter()
        .filter(|name| folder.join(name).join("partition").exists());
    let numbers = partitions.filter_map(|name| read_to_string(folder.join(name).join("dev")).ok());
    let numbers: Vec<String> = numbers.map(|number| number.trim().to_owned()).collect();
    [vec![own], numbers].concat()
}

struct Mount {
    number: String,
    place: PathBuf,
    source: PathBuf,
}

/// One line: `36 35 98:0 /root /place options … - type source …`
fn mounts() -> Vec<Mount> {
    let text = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
    let lines = text.split(|byte| *byte == b'\n');
    lines
        .filter_map(|line| {
            let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
            let dash = words.iter().position(|word| *word == b"-")?;
            let number = String::from_utf8_lossy(words.get(2)?).into_owned();
            let source = words.get(dash.checked_add(2)?)?;
            Some(Mount {
                number,
                place: unescape(words.get(4)?),
                source: unescape(source),
            })
        })
        .collect()
}

/// The areas of swap: the first column of `/proc/swaps`.
fn swaps() -> Vec<PathBuf> {
    let text = std::fs::read("/proc/swaps").unwrap_or_default();
    let lines = text.split(|byte| *byte == b'\n').skip(1);
    lines
        .filter_map(|line| {
            line.split(|byte| matches!(byte, b' ' | b'\t'))
                .next()
                .filter(|word| !word.is_empty())
        })
        .map(unescape)
        .collect()
}

/// The bytes of an escaped path: the kernel writes a space as `\040`.
fn unescape(word: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some((first, behind)) = rest.split_first() {
        let octal = behind.get(..3).filter(|digits| {
            *first == b'\\' && digits.iter().all(|digit| matches!(digit, b'0'..=b'7'))
        });
        let value =
            octal.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        match value {
            Some(value) => {
                bytes.push(value);
                rest = behind.get(3..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = behind;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

fn number(device: u64) -> String {
    format!("{}:{}", major(device), minor(device))
}

fn is_block(found: &Stat) -> bool {
    FileType::from_raw_mode(found.st_mode) == FileType::BlockDevice
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_kernel_are_read_as_they_are() {
        assert_eq!(unescape(br"/mnt/a\040b\134c"), Path::new(r"/mnt/a b\c"));
        assert_eq!(unescape(br"/mnt/\9\04"), Path::new(r"/mnt/\9\04"));
        assert!(
            mounts()
                .iter()
                .any(|mount| mount.place == Path::new("/proc")),
            "the mounts of this process are understood"
        );
    }
}
