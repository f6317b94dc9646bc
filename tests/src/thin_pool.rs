// SPDX-License-Identifier: GPL-3.0-or-later
//! A thin pool of the kernel's, over the scratch disk of the VM. It is made with dmsetup alone, so
//! that the size of its metadata and each step of its life are the test's.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use wyng_thin::{BLOCK_BYTES, Block, Metadata};

use crate::vm::{SCRATCH_DISK, clean_up, results, run};

const METADATA_SECTORS: u64 = 32 << 11;
const DATA_SECTORS: u64 = 32 << 21;

/// See the first line of this file. It is taken down at the end.
pub struct ThinPool {
    name: String,
    /// 512-byte sectors of a data block.
    block_sectors: u64,
    /// Ids of the volumes, which are all active.
    volumes: Vec<u64>,
}

/// Past the page cache: the kernel writes metadata through a cache of its own.
const DIRECT: i32 = rustix::fs::OFlags::DIRECT.bits().cast_signed();

/// A block as it must lie in memory to be read so.
#[repr(align(4096))]
struct Aligned(Block);

impl ThinPool {
    /// A pool without volumes. A pool of that name must not be there.
    pub fn new(name: &str, block_kib: u64) -> Self {
        // A metadata device that begins with zeros is formatted anew.
        Self::over(name, block_kib, |metadata| {
            let file = File::options().write(true).open(metadata).unwrap();
            file.write_all_at(&[0; BLOCK_BYTES], 0).unwrap();
        })
    }

    /// A pool whose volume 1, of this many blocks, has all of them mapped, though nothing was
    /// written: a large volume in no time.
    pub fn with_mapped(name: &str, block_kib: u64, blocks: u64) -> Self {
        let mut pool = Self::over(name, block_kib, |metadata| {
            let xml = format!(
                "<superblock uuid=\"\" time=\"1\" transaction=\"0\" data_block_size=\"{}\" nr_data_blocks=\"{}\">\
                 <device dev_id=\"1\" mapped_blocks=\"{blocks}\" transaction=\"0\" creation_time=\"0\" snap_time=\"1\">\
                 <range_mapping origin_begin=\"0\" data_begin=\"0\" length=\"{blocks}\" time=\"0\"/>\
                 </device></superblock>",
                block_kib * 2,
                DATA_SECTORS / (block_kib * 2),
            );
            let source = std::env::temp_dir().join("thin-pool.xml");
            std::fs::write(&source, xml).unwrap();
            let [source, target] = [&source, metadata].map(|path| path.to_str().unwrap());
            run("thin_restore", &["-i", source, "-o", target]);
        });
        pool.activate(1, blocks);
        pool
    }

    fn over(name: &str, block_kib: u64, prepare: impl Fn(&Path)) -> Self {
        results();
        let pool = Self {
            name: name.to_owned(),
            block_sectors: block_kib * 2,
            volumes: Vec::new(),
        };
        let part = |begin: u64, length: u64| format!("0 {length} linear {SCRATCH_DISK} {begin}");
        create(&pool.device("metadata"), &part(0, METADATA_SECTORS));
        create(&pool.device("data"), &part(METADATA_SECTORS, DATA_SECTORS));
        prepare(&pool.metadata_path());
        let (metadata, data) = (pool.path("metadata"), pool.path("data"));
        let (metadata, data) = (metadata.display(), data.display());
        create(
            &pool.device("pool"),
            &format!(
                "0 {DATA_SECTORS} thin-pool {metadata} {data} {} 0 1 skip_block_zeroing",
                pool.block_sectors
            ),
        );
        pool
    }

    /// Makes and activates a volume of this many blocks.
    pub fn add(&mut self, id: u64, blocks: u64) {
        self.message(&format!("create_thin {id}"));
        self.activate(id, blocks);
    }

    /// Makes and activates a snapshot of a volume of this many blocks.
    pub fn snapshot(&mut self, id: u64, origin: u64, blocks: u64) {
        let of = self.volume(origin);
        run("dmsetup", &["suspend", &of]);
        self.message(&format!("create_snap {id} {origin}"));
        run("dmsetup", &["resume", &of]);
        self.activate(id, blocks);
    }

    fn activate(&mut self, id: u64, blocks: u64) {
        let sectors = blocks * self.block_sectors;
        create(
            &self.volume(id),
            &format!("0 {sectors} thin {} {id}", self.path("pool").display()),
        );
        self.volumes.push(id);
    }

    /// Deletes a volume.
    pub fn delete(&mut self, id: u64) {
        run("dmsetup", &["remove", "--retry", &self.volume(id)]);
        self.volumes.retain(|kept| *kept != id);
        self.message(&format!("delete {id}"));
    }

    /// Writes to each of these blocks of a volume.
    pub fn write(&self, id: u64, blocks: impl IntoIterator<Item = u64>) {
        let file = File::options()
            .write(true)
            .open(self.volume_path(id))
            .unwrap();
        for block in blocks {
            file.write_all_at(&[0x5a; BLOCK_BYTES], block * self.block_sectors * 512)
                .unwrap();
        }
        // The kernel writes many at a time.
        file.sync_all().unwrap();
    }

    /// Unmaps these blocks of a volume.
    pub fn discard(&self, id: u64, begin: u64, length: u64) {
        let [begin, length] =
            [begin, length].map(|blocks| (blocks * self.block_sectors * 512).to_string());
        let path = self.volume_path(id);
        run("blkdiscard", &["-o", &begin, "-l", &length, &path]);
    }

    /// Sets the pool's transaction id, as LVM does with each change of volumes.
    pub fn set_transaction(&self, from: u64, to: u64) {
        self.message(&format!("set_transaction_id {from} {to}"));
    }

    /// Reserves a metadata snapshot, and returns its block as the pool's status has it.
    pub fn hold(&self) -> u64 {
        self.message("reserve_metadata_snap");
        self.held().unwrap()
    }

    /// Releases the metadata snapshot.
    pub fn release(&self) {
        self.message("release_metadata_snap");
    }

    /// The block of the metadata snapshot in the pool's status.
    pub fn held(&self) -> Option<u64> {
        let status = run("dmsetup", &["status", &self.device("pool")]);
        status.split(' ').nth(6).unwrap().parse().ok()
    }

    /// The device of a volume.
    pub fn volume_path(&self, id: u64) -> String {
        format!("/dev/mapper/{}", self.volume(id))
    }

    /// The device that holds the metadata.
    pub fn metadata_path(&self) -> PathBuf {
        self.path("metadata")
    }

    /// The metadata as seen from a superblock, read past the caches.
    pub fn metadata(
        &self,
        superblock: u64,
    ) -> Metadata<impl FnMut(u64, &mut Block) -> std::io::Result<()> + use<>> {
        Metadata::open(self.reader(), superblock).unwrap()
    }

    /// Reads blocks of metadata past the caches.
    pub fn reader(&self) -> impl FnMut(u64, &mut Block) -> std::io::Result<()> + use<> {
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(DIRECT)
            .open(self.path("metadata"))
            .unwrap();
        let mut buffer = Box::new(Aligned([0; BLOCK_BYTES]));
        move |number, block| {
            file.read_exact_at(&mut buffer.0, number * BLOCK_BYTES as u64)?;
            block.copy_from_slice(&buffer.0);
            Ok(())
        }
    }

    /// How many bytes were read from the metadata device so far, by anybody.
    pub fn metadata_bytes_read(&self) -> u64 {
        let node = std::fs::canonicalize(self.path("metadata")).unwrap();
        let name = node.file_name().unwrap().to_str().unwrap();
        let counts = std::fs::read_to_string(format!("/sys/block/{name}/stat")).unwrap();
        let sectors: u64 = counts.split_whitespace().nth(2).unwrap().parse().unwrap();
        sectors * 512
    }

    fn message(&self, message: &str) {
        run("dmsetup", &["message", &self.device("pool"), "0", message]);
    }

    fn device(&self, part: &str) -> String {
        format!("{}-{part}", self.name)
    }

    fn path(&self, part: &str) -> PathBuf {
        PathBuf::from(format!("/dev/mapper/{}", self.device(part)))
    }

    fn volume(&self, id: u64) -> String {
        self.device(&id.to_string())
    }
}

impl Drop for ThinPool {
    fn drop(&mut self) {
        let volumes = self.volumes.iter().map(|id| self.volume(*id));
        let parts = ["pool", "data", "metadata"].map(|part| self.device(part));
        for device in volumes.chain(parts) {
            clean_up("dmsetup", &["remove", "--retry", &device]);
        }
    }
}

fn create(name: &str, table: &str) {
    run("dmsetup", &["create", name, "--table", table]);
}
