// SPDX-License-Identifier: GPL-3.0-or-later
//! Real file systems for tests: in memory, and in loop-mounted images. Root only.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{FlockOperation, flock};

/// A small file system in memory, unmounted when dropped.
pub struct SmallDisk {
    folder: tempfile::TempDir,
}

impl SmallDisk {
    /// Mounts a file system of `size_mib` MiB.
    pub fn mount(size_mib: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = format!("size={size_mib}m,mode=0777");
        run(Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(folder.path()));
        Self { folder }
    }

    /// Remounts it read-only.
    pub fn remount_read_only(&self) {
        run(Command::new("mount")
            .args(["-o", "remount,ro"])
            .arg(self.folder.path()));
    }

    /// The mount point.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A path on it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        run(Command::new("umount").arg("--lazy").arg(self.folder.path()));
    }
}

/// A file system in a loop-mounted image, unmounted when dropped.
pub struct LoopMount {
    folder: tempfile::TempDir,
}

impl LoopMount {
    /// Makes and mounts a file system of `size_mib` MiB. `kind` is the suffix of `mkfs.`; `options`
    /// are those of `mount -o`.
    pub fn mount(kind: &str, size_mib: u32, options: &str) -> Self {
        Self::mount_as(kind, kind, size_mib, options)
    }

    /// The same, mounted as another type than `kind`.
    pub fn mount_as(kind: &str, mounted_as: &str, size_mib: u32, options: &str) -> Self {
        Self::try_mount(kind, mounted_as, size_mib, options).unwrap()
    }

    /// Whether this kernel mounts a file system of this type from a loop device.
    pub fn works(kind: &str) -> bool {
        Self::try_mount(kind, kind, 320, "noatime").is_ok()
    }

    fn try_mount(
        kind: &str,
        mounted_as: &str,
        size_mib: u32,
        options: &str,
    ) -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let (image, top) = (folder.path().join("image"), folder.path().join("top"));
        std::fs::create_dir(&top).map_err(|error| error.to_string())?;
        let file = std::fs::File::create(&image).map_err(|error| error.to_string())?;
        file.set_len(u64::from(size_mib) << 20)
            .map_err(|error| error.to_string())?;
        try_run(Command::new(format!("mkfs.{kind}")).arg("-q").arg(&image))?;
        try_run(
            Command::new("mount")
                .args(["-t", mounted_as, "-o", &format!("loop,{options}")])
                .args([&image, &top]),
        )?;
        Ok(Self { folder })
    }

    /// The mount point.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("top")
    }

    /// A path on it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// The image: the content of the disk, whatever the file system's cache shows.
    pub fn image(&self) -> PathBuf {
        self.folder.path().join("image")
    }

    /// Changes one byte of the disk in the middle of a file, below the file system. The place is
    /// found by its bytes, so they must be on the disk exactly once.
    pub fn rot(&self, file: &Path) {
        let content = std::fs::read(file).unwrap();
        let middle = content.len() / 2;
        let needle = &content[middle..middle + 64];
        let mut image = std::fs::read(self.image()).unwrap();
        let places: Vec<usize> = (0..image.len() - 64)
            .filter(|place| image[*place] == needle[0] && &image[*place..*place + 64] == needle)
            .collect();
        let [place] = places[..] else {
            panic!("the bytes lie at {places:?}")
        };
        image[place] ^= 1;
        std::fs::File::options()
            .write(true)
            .open(self.image())
            .unwrap()
            .write_all_at(&image[place..=place], place as u64)
            .unwrap();
    }
}

impl Drop for LoopMount {
    fn drop(&mut self) {
        run(Command::new("umount").arg("--lazy").arg(self.path()));
    }
}

/// An ext4 whose image is on a small file system: once that is full, writes are lost, and only a
/// sync reports it. It has a journal, because without one a rename over another name may leave
/// neither file after a restart.
pub struct FailingDisk {
    below: SmallDisk,
    top: tempfile::TempDir,
}

impl FailingDisk {
    /// Makes and mounts one that can be made to fail.
    pub fn mount() -> Self {
        let disk = Self {
            below: SmallDisk::mount(32),
            top: tempfile::tempdir().unwrap(),
        };
        let image = disk.below.join("image");
        std::fs::File::create(&image)
            .unwrap()
            .set_len(96 << 20)
            .unwrap();
        run(Command::new("mkfs.ext4")
            .args(["-q", "-J", "size=4"])
            .arg(&image));
        disk.mount_top();
        disk
    }

    /// Makes it fail: from now on no new block can be written.
    pub fn fail(&self) {
        rustix::fs::sync();
        let mut fill = std::fs::File::create(self.below.join("fill")).unwrap();
        std::io::copy(&mut std::io::repeat(1), &mut fill).unwrap_err();
    }

    /// Simulates a restart: writes that never reached the disk are lost, and the file system is
    /// checked.
    pub fn restart(&self) {
        run(Command::new("umount").arg(self.top.path()));
        std::fs::remove_file(self.below.join("fill")).unwrap();
        // Status 1 means that something was repaired.
        Command::new("e2fsck")
            .args(["-f", "-y"])
            .arg(self.below.join("image"))
            .output()
            .unwrap();
        self.mount_top();
    }

    /// A path on it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.top.path().join(name)
    }

    fn mount_top(&self) {
        run(Command::new("mount")
            .args(["-o", "loop"])
            .arg(self.below.join("image"))
            .arg(self.top.path()));
    }
}

impl Drop for FailingDisk {
    fn drop(&mut self) {
        run(Command::new("umount").arg("--lazy").arg(self.top.path()));
    }
}

/// An exFAT in an image, as external disks have it: no hard links, and no rename that replaces
/// nothing.
pub struct ExfatDisk {
    folder: tempfile::TempDir,
}

impl ExfatDisk {
    /// Makes and mounts one.
    pub fn mount() -> Self {
        Self::try_mount(320).unwrap()
    }

    /// Whether this machine can mount one, by its kernel or by a program.
    pub fn works() -> bool {
        Self::try_mount(64).is_ok()
    }

    fn try_mount(size_mib: u64) -> Result<Self, String> {
        let disk = Self {
            folder: tempfile::tempdir().map_err(|error| error.to_string())?,
        };
        let image = disk.folder.path().join("image");
        std::fs::create_dir(disk.path()).map_err(|error| error.to_string())?;
        std::fs::File::create(&image)
            .and_then(|file| file.set_len(size_mib << 20))
            .map_err(|error| error.to_string())?;
        try_run(Command::new("mkfs.exfat").arg(&image))?;
        let mount = |kind| {
            try_run(
                Command::new("mount")
                    .args(["-t", kind, "-o", "loop"])
                    .args([&image, &disk.path()]),
            )
        };
        mount("exfat").or_else(|_| mount("exfat-fuse"))?;
        Ok(disk)
    }

    /// The mount point.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("top")
    }

    /// A path on it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }
}

impl Drop for ExfatDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount")
            .arg("--lazy")
            .arg(self.path())
            .output();
    }
}

/// A btrfs with one copy of everything, whose checksums make a changed byte of the disk unreadable.
pub struct RottenDisk {
    folder: tempfile::TempDir,
}

impl RottenDisk {
    /// Makes and mounts one.
    pub fn mount() -> Self {
        let disk = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        std::fs::create_dir(disk.path()).unwrap();
        std::fs::File::create(disk.image())
            .unwrap()
            .set_len(320 << 20)
            .unwrap();
        run(Command::new("mkfs.btrfs")
            .args(["-q", "-d", "single", "-m", "single"])
            .arg(disk.image()));
        disk.mount_image();
        disk
    }

    /// Changes bytes in the middle of a file, below the file system.
    pub fn rot(&self, file: &Path) {
        self.rot_at(
            file,
            usize::try_from(file.metadata().unwrap().len() / 2).unwrap(),
        );
    }

    /// Changes bytes of a file after `offset_bytes`, below the file system. The whole block of 4
    /// KiB becomes unreadable.
    pub fn rot_at(&self, file: &Path, offset_bytes: usize) {
        let bytes = std::fs::read(file).unwrap();
        let pattern = &bytes[offset_bytes..offset_bytes + 64];
        rustix::fs::sync();
        run(Command::new("umount").arg(self.path()));
        let image = std::fs::File::options()
            .read(true)
            .write(true)
            .open(self.image())
            .unwrap();
        let place = find(&image, pattern);
        std::os::unix::fs::FileExt::write_all_at(&image, b"rotten", place).unwrap();
        image.sync_all().unwrap();
        self.mount_image();
    }

    /// The mount point.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("top")
    }

    /// A path on it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    fn image(&self) -> PathBuf {
        self.folder.path().join("image")
    }

    fn mount_image(&self) {
        run(Command::new("mount")
            .args(["-o", "loop"])
            .args([self.image(), self.path()]));
    }
}

impl Drop for RottenDisk {
    fn drop(&mut self) {
        run(Command::new("umount").arg("--lazy").arg(self.path()));
    }
}

/// The offset of a pattern of random bytes in a file, bytes.
fn find(file: &std::fs::File, pattern: &[u8]) -> u64 {
    const STEP: usize = 4 << 20;
    let length = file.metadata().unwrap().len();
    let mut bytes = vec![0; STEP + pattern.len()];
    for begin in (0..length).step_by(STEP) {
        let read = std::os::unix::fs::FileExt::read_at(file, &mut bytes, begin).unwrap();
        if let Some(place) = bytes[..read]
            .windows(pattern.len())
            .position(|window| window == pattern)
        {
            return begin + place as u64;
        }
    }
    panic!("the file is not on the disk as it is")
}

/// Runs a program, which must succeed.
pub fn run(command: &mut Command) {
    try_run(command).unwrap();
}

fn try_run(command: &mut Command) -> Result<(), String> {
    let output = command
        .output()
        .map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(format!(
            "{command:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        ))
    }
}

/// A loop device with a number that no other test uses meanwhile, so that its node stays reserved
/// while nothing is attached to it.
pub struct LoopDevice {
    node: PathBuf,
    partitions: Vec<u32>,
    _number: std::fs::File,
}

/// Numbers that `losetup --find` rarely reaches.
const LOOP_NUMBERS: std::ops::Range<u32> = 80..120;

impl LoopDevice {
    /// Attaches an image.
    pub fn attach(image: &Path) -> Self {
        let (number, lock) = LOOP_NUMBERS
            .filter_map(|number| {
                let lock = std::env::temp_dir().join(format!("wyng-test-loop-{number}"));
                let lock = std::fs::File::options()
                    .write(true)
                    .create(true)
                    .truncate(false)
                    .open(lock)
                    .unwrap();
                flock(&lock, FlockOperation::NonBlockingLockExclusive)
                    .is_ok()
                    .then_some((number, lock))
            })
            .next()
            .unwrap();
        let device = Self {
            node: PathBuf::from(format!("/dev/loop{number}")),
            partitions: Vec::new(),
            _number: lock,
        };
        device.attach_another(image);
        device
    }

    /// Attaches an image after [`detach`](Self::detach).
    pub fn attach_another(&self, image: &Path) {
        run(Command::new("losetup").arg(&self.node).arg(image));
    }

    /// Detaches the image; the node stays without a medium.
    pub fn detach(&self) {
        run(Command::new("losetup").arg("-d").arg(&self.node));
        crate::service::until("nothing is attached any more", || self.bytes() == 0);
    }

    /// Adds a partition of this many sectors of 512 bytes, and returns its node.
    pub fn add_partition(&mut self, number: u32, first_sector: u64, sectors: u64) -> PathBuf {
        run(Command::new("addpart").arg(&self.node).args([
            number.to_string(),
            first_sector.to_string(),
            sectors.to_string(),
        ]));
        self.partitions.push(number);
        let node = PathBuf::from(format!("{}p{number}", self.node.display()));
        crate::service::until("the partition has its node", || node.exists());
        node
    }

    /// The path of its node.
    pub fn node(&self) -> &Path {
        &self.node
    }

    /// The bytes on the medium.
    pub fn medium(&self) -> Vec<u8> {
        let read = Command::new("dd")
            .arg(format!("if={}", self.node.display()))
            .args(["iflag=direct", "bs=1M", "status=none"])
            .output();
        read.unwrap().stdout
    }

    fn bytes(&self) -> u64 {
        let size = std::fs::read_to_string(
            Path::new("/sys/block")
                .join(self.node.file_name().unwrap())
                .join("size"),
        );
        size.unwrap().trim().parse().unwrap()
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        for number in &self.partitions {
            run(Command::new("delpart")
                .arg(&self.node)
                .arg(number.to_string()));
        }
        // It fails where nothing is attached, which is fine.
        let _ = Command::new("losetup").arg("-d").arg(&self.node).output();
    }
}
