// SPDX-License-Identifier: GPL-3.0-or-later
//! The cost of each step of the format on one thread, seconds for a GiB of plain bytes that are not
//! zero. `cargo bench` prints it as a table.
//!
//! `WYNG_BENCH_IMAGE=FILE` names the sample (its first 512 MiB that are not zero); the default is
//! programs of this machine. The lower bound beside each figure was measured on AMD Zen 4 with a 4
//! GiB ext4 image: see `docs/performance.md`.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a benchmark that cannot go on has failed"
)]

use std::fs::File;
use std::hint::black_box;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use wyng_archive::crypto::{
    ArchiveId, Coder, Credential, DomainId, Entropy, Epoch, NonceSeed, RecordKey, Root, Secret,
    SessionKey, pack_name,
};

const CHUNK_BYTES: usize = 128 << 10;
const SAMPLE_BYTES: usize = 512 << 20;
const READ_BYTES: usize = 1 << 20;
const GIB: f64 = (1u64 << 30) as f64;

fn main() {
    let (source, chunks) = sample();
    let plain_bytes: usize = chunks.iter().map(Vec::len).sum();
    println!(
        "{} chunks of up to 128 KiB, {} MiB, of {}",
        chunks.len(),
        plain_bytes >> 20,
        source.display()
    );
    println!("{:<58} {:>8} {:>8}", "step, one thread", "s/GiB", "floor");
    let per_gib = |time: Duration| time.as_secs_f64() * GIB / plain_bytes as f64;
    let row = |step: &str, time: Duration, floor: &str| {
        println!("{step:<58} {:>8.2} {floor:>8}", per_gib(time))
    };

    row(
        "read 1 MiB at a time from the page cache",
        read(&source),
        "0.15",
    );
    row("memory copy", timed(|| copy(&chunks)), "0.14");
    row(
        "is it zero?",
        timed(|| {
            chunks
                .iter()
                .filter(|chunk| chunk.iter().all(|byte| *byte == 0))
                .count()
        }),
        "0.02",
    );
    let (credential, key) = keys();
    let domain = credential.domain(DomainId([3; 16]));
    row(
        "keyed BLAKE3",
        timed(|| {
            chunks
                .iter()
                .map(|chunk| u64::from(domain.content_id(chunk).0[0]))
                .sum::<u64>()
        }),
        "0.28",
    );
    for (level, compress, decompress) in [(1, "2.3", "0.75"), (3, "3.0-3.5", "0.86")] {
        let mut compressor = zstd::bulk::Compressor::new(level).unwrap();
        let mut decompressor = zstd::bulk::Decompressor::new().unwrap();
        // Copied into one buffer, because fresh memory would cost as much as the step.
        let mut body = vec![0; CHUNK_BYTES * 2];
        let squeeze = || {
            chunks
                .iter()
                .map(|chunk| {
                    compressor
                        .compress_to_buffer(chunk, body.as_mut_slice())
                        .unwrap()
                })
                .sum::<usize>()
        };
        row(
            &format!("zstd {level}, all of it"),
            timed(squeeze),
            compress,
        );
        let bodies: Vec<_> = chunks
            .iter()
            .map(|chunk| compressor.compress(chunk).unwrap())
            .collect();
        let mut plain = vec![0; CHUNK_BYTES];
        let open = || {
            bodies
                .iter()
                .map(|body| {
                    decompressor
                        .decompress_to_buffer(body, plain.as_mut_slice())
                        .unwrap()
                })
                .sum::<usize>()
        };
        row(&format!("decompress zstd {level}"), timed(open), decompress);
    }
    row("XChaCha20-Poly1305", timed(|| encrypt(&chunks)), "0.70");
    row(
        "BLAKE3 of a whole pack, not compressed",
        timed(|| {
            chunks
                .iter()
                .map(|chunk| u64::from(pack_name(chunk).0[0]))
                .sum::<u64>()
        }),
        "",
    );
    let ids: Vec<_> = chunks
        .iter()
        .map(|chunk| domain.content_id(chunk))
        .collect();
    for level in [1, 3] {
        let mut coder = Coder::new(level).unwrap();
        let mut seal = |id, chunk: &Vec<u8>| {
            credential
                .seal_chunk(&key, &mut coder, id, chunk, NonceSeed([9; 24]))
                .unwrap()
        };
        row(
            &format!("seal whole, zstd {level} (compress, compare, nonce, encrypt)"),
            timed(|| {
                for (chunk, id) in chunks.iter().zip(&ids) {
                    seal(id, chunk);
                }
            }),
            "",
        );
        let records: Vec<Vec<u8>> = ids
            .iter()
            .zip(&chunks)
            .map(|(id, chunk)| seal(id, chunk))
            .collect();
        let sealed_bytes: usize = records.iter().map(Vec::len).sum();
        let mut chunk = Vec::new();
        let open = || {
            let opened = records.iter().zip(&ids).map(|(record, id)| {
                let under = RecordKey { key: &key, id };
                credential.open_chunk(under, &domain, &mut coder, record, &mut chunk)
            });
            opened.for_each(Result::unwrap);
        };
        row(
            &format!("open whole, zstd {level} (decrypt, decompress, id)"),
            timed(open),
            "",
        );
        println!(
            "{:<58} {:>8.2}",
            format!("  plain bytes for one sealed, zstd {level}"),
            plain_bytes as f64 / sealed_bytes as f64
        );
    }
}

fn timed<T>(work: impl FnOnce() -> T) -> Duration {
    let began = Instant::now();
    black_box(work());
    began.elapsed()
}

fn keys() -> (Credential, SessionKey) {
    let credential = Root::new(Secret::take(&mut [1; 32]), Epoch(1))
        .credential(ArchiveId([2; 16]))
        .unwrap();
    let entropy = Entropy {
        kernel: Secret::take(&mut [4; 32]),
        generation: 1,
        wall_nanos: 5,
        monotonic_nanos: 6,
        process_id: 7,
    };
    let (key, _) = SessionKey::draw(&credential, 0, &entropy).unwrap();
    (credential, key)
}

fn copy(chunks: &[Vec<u8>]) {
    let mut target = vec![0; CHUNK_BYTES];
    for chunk in chunks {
        target[..chunk.len()].copy_from_slice(black_box(chunk));
        black_box(&target);
    }
}

fn encrypt(chunks: &[Vec<u8>]) {
    let cipher = XChaCha20Poly1305::new(&[8; 32].into());
    let mut buffer = vec![0; CHUNK_BYTES];
    for chunk in chunks {
        let part = &mut buffer[..chunk.len()];
        part.copy_from_slice(chunk);
        black_box(
            cipher
                .encrypt_inout_detached(&XNonce::from([7; 24]), &[0; 56], part.into())
                .unwrap(),
        );
    }
}

/// The chunks of the sample that are not zero, as a backup reads them.
fn sample() -> (PathBuf, Vec<Vec<u8>>) {
    let image = std::env::var_os("WYNG_BENCH_IMAGE").map(PathBuf::from);
    let files = image
        .clone()
        .map_or_else(|| files_of(Path::new("/usr/bin")), |image| vec![image]);
    let mut chunks = Vec::new();
    for file in files {
        let mut file = File::open(file).unwrap();
        loop {
            let mut chunk = Vec::with_capacity(CHUNK_BYTES);
            file.by_ref()
                .take(CHUNK_BYTES as u64)
                .read_to_end(&mut chunk)
                .unwrap();
            if chunk.is_empty() || chunks.len() * CHUNK_BYTES >= SAMPLE_BYTES {
                break;
            }
            if chunk.iter().any(|byte| *byte != 0) {
                chunks.push(chunk);
            }
        }
    }
    (image.unwrap_or_else(|| PathBuf::from("/usr/bin")), chunks)
}

fn files_of(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    files
}

/// Reads the length of the sample, which was read before and is in memory.
fn read(source: &Path) -> Duration {
    let files = if source.is_dir() {
        files_of(source)
    } else {
        vec![source.to_owned()]
    };
    let (mut buffer, mut left_bytes) = (vec![0; READ_BYTES], SAMPLE_BYTES);
    let began = Instant::now();
    for file in files {
        let Ok(mut file) = File::open(file) else {
            continue;
        };
        while let Ok(count @ 1..) = file.read(&mut buffer) {
            left_bytes = left_bytes.saturating_sub(count);
            if left_bytes == 0 {
                return began.elapsed();
            }
        }
    }
    began.elapsed()
}
