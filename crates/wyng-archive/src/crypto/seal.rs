// SPDX-License-Identifier: GPL-3.0-or-later
//! Sealing and opening records: frame, hedged nonce, XChaCha20-Poly1305. Opening checks in the
//! order tag, coding, length, id.

use chacha20poly1305::aead::inout::InOutBuf;
use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{Tag, XChaCha20Poly1305, XNonce};
use zstd::zstd_safe::CParameter;

use super::envelope::SessionKey;
use super::ids::Domain;
use super::keys::Credential;
use super::secret::Secret;
use crate::damage::{Class, Damage, Fault};
use crate::format::{
    CHUNK_SIZE_MAX_BYTES, CODING_RAW, CODING_ZSTD, COMMIT_PLAIN_BYTES, DIRECTORY_PLAIN_MAX_BYTES,
    FRAME_HEADER_BYTES, NODE_PLAIN_MAX_BYTES, NONCE_BYTES, RECORD_OVERHEAD_BYTES, TAG_BYTES,
};
use crate::ids::{ArchiveId, Epoch, Id};

/// Parameters that replace zstd's own for its levels 1 and 3, which assume a thread with the whole
/// cache to itself. Tables that leave room in the second level of cache, and for level 1 matches of
/// at least 7 bytes instead of 6, save 4 % and 14 % of the time to compress and decompress, and
/// cost 1.4 % and 1.0 % of size (a real file system in chunks of 128 KiB; `docs/performance.md`).
const TUNED: [(i8, &[CParameter]); 2] = [
    (1, &[CParameter::MinMatch(7), CParameter::HashLog(14)]),
    (3, &[CParameter::HashLog(14), CParameter::ChainLog(13)]),
];

/// The kind of a record's content. The associated data has its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A chunk or settings, sealed under a session key.
    Chunk,
    /// A node of a tree, sealed under META.
    Node,
    /// The directory of a pack, sealed under META.
    Directory,
    /// A commit, sealed under META.
    Commit,
}

impl Kind {
    /// Its number in the format.
    pub fn number(self) -> u8 {
        match self {
            Self::Chunk => 1,
            Self::Node => 2,
            Self::Directory => 3,
            Self::Commit => 4,
        }
    }

    /// The class in reports of damage.
    pub fn class(self) -> Class {
        match self {
            Self::Chunk => Class::Record,
            Self::Node => Class::Node,
            Self::Directory => Class::Directory,
            Self::Commit => Class::Commit,
        }
    }

    /// Maximum length of the plain bytes, bytes: the bound of every decompression.
    pub fn plain_max_bytes(self) -> usize {
        match self {
            Self::Chunk => CHUNK_SIZE_MAX_BYTES,
            Self::Node => NODE_PLAIN_MAX_BYTES,
            Self::Directory => DIRECTORY_PLAIN_MAX_BYTES,
            Self::Commit => COMMIT_PLAIN_BYTES,
        }
    }
}

/// The 24 random bytes of one record's nonce. They are hashed with the sealed bytes: see
/// `docs/format.md`, section 5.
#[derive(Clone, Copy)]
pub struct NonceSeed(pub [u8; 24]);

/// Why nothing was sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The plain bytes are empty, or longer than the kind allows.
    #[error("the plain bytes are empty or too long to be sealed")]
    Length,
    /// The compressed bytes do not decompress to the plain bytes: memory or processor is faulty.
    #[error("compressed bytes do not decompress to the plain bytes (is the memory faulty?)")]
    SelfCheck,
    /// The session key reached its maximum of records or bytes.
    #[error("the session key is used up")]
    KeyUsedUp,
    /// The compressor or the cipher failed.
    #[error("the compressor or cipher failed")]
    Inner,
}

/// Which codings a frame may have.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Coding {
    /// zstd where it shortens the plain bytes, raw otherwise.
    Smallest,
    /// The plain bytes, as they are.
    Raw,
}

/// Compresses with a check, and decompresses within a bound. Each thread has its own; it holds no
/// key.
pub struct Coder {
    compressor: zstd::bulk::Compressor<'static>,
    decompressor: zstd::bulk::Decompressor<'static>,
    /// The result of the last compression.
    compressed: Vec<u8>,
    /// The result of the check, or a decrypted frame.
    scratch: Vec<u8>,
}

impl Coder {
    /// A coder for zstd's `level` (-7 to 19). Fails with [`SealError::Inner`] when memory is
    /// exhausted.
    pub fn new(level: i8) -> Result<Self, SealError> {
        let mut compressor =
            zstd::bulk::Compressor::new(i32::from(level)).map_err(|_| SealError::Inner)?;
        for parameter in TUNED
            .iter()
            .filter(|(tuned, _)| *tuned == level)
            .flat_map(|(_, parameters)| *parameters)
        {
            compressor
                .set_parameter(*parameter)
                .map_err(|_| SealError::Inner)?;
        }
        let decompressor = zstd::bulk::Decompressor::new().map_err(|_| SealError::Inner)?;
        Ok(Self {
            compressor,
            decompressor,
            compressed: Vec::new(),
            scratch: Vec::new(),
        })
    }

    /// Space for the nonce, then the frame: the input of [`encrypt`].
    fn frame(&mut self, plain: &[u8], coding: Coding) -> Result<Vec<u8>, SealError> {
        let compresses =
            coding == Coding::Smallest && !looks_incompressible(plain) && self.compress(plain)?;
        let (coding, body) = if compresses {
            (CODING_ZSTD, self.compressed.as_slice())
        } else {
            (CODING_RAW, plain)
        };
        let [a, b, c, 0] = u32::try_from(plain.len())
            .map_err(|_| SealError::Length)?
            .to_le_bytes()
        else {
            return Err(SealError::Length);
        };
        // Exactly the room that the record needs with its tag: thousands of them wait for a pack.
        let mut record = Vec::with_capacity(RECORD_OVERHEAD_BYTES.saturating_add(body.len()));
        record.extend_from_slice(&[0; NONCE_BYTES]);
        record.extend_from_slice(&[coding, a, b, c]);
        record.extend_from_slice(body);
        Ok(record)
    }

    /// Compresses into `compressed`, decompresses the result and compares. False where the result
    /// is not shorter.
    fn compress(&mut self, plain: &[u8]) -> Result<bool, SealError> {
        // The capacity is used without being cleared first. zstd fails where it is too small.
        self.compressed.clear();
        self.compressed.reserve(plain.len());
        if self
            .compressor
            .compress_to_buffer(plain, &mut self.compressed)
            .is_err()
            || self.compressed.len() >= plain.len()
        {
            return Ok(false);
        }
        self.scratch.resize(plain.len(), 0);
        match self
            .decompressor
            .decompress_to_buffer(&self.compressed, self.scratch.as_mut_slice())
        {
            Ok(length) if length == plain.len() && self.scratch == plain => Ok(true),
            _ => Err(SealError::SelfCheck),
        }
    }

    /// Decodes a frame into `plain`. The kind bounds the length before anything is decompressed.
    fn unframe(&mut self, kind: Kind, frame: &[u8], plain: &mut Vec<u8>) -> Result<(), Fault> {
        let ([coding, a, b, c], body) = frame
            .split_first_chunk::<FRAME_HEADER_BYTES>()
            .ok_or(Fault::Length)?;
        let length =
            usize::try_from(u32::from_le_bytes([*a, *b, *c, 0])).map_err(|_| Fault::Length)?;
        if length == 0 || length > kind.plain_max_bytes() {
            return Err(Fault::Length);
        }
        match *coding {
            CODING_RAW if body.len() == length => {
                plain.clear();
                plain.extend_from_slice(body);
            }
            CODING_RAW => return Err(Fault::Length),
            CODING_ZSTD if body.len() < length && kind != Kind::Commit => {
                plain.resize(length, 0); // old bytes are overwritten to the last, or refused
                match self
                    .decompressor
                    .decompress_to_buffer(body, plain.as_mut_slice())
                {
                    Ok(found) if found == length => {}
                    _ => return Err(Fault::Decompress),
                }
            }
            CODING_ZSTD => return Err(Fault::Length),
            _ => return Err(Fault::Coding),
        }
        Ok(())
    }
}

/// The session key and the id of a chunk's record, which opens only under both.
#[derive(Clone, Copy)]
pub struct RecordKey<'a> {
    /// The session key.
    pub key: &'a SessionKey,
    /// The chunk's content id.
    pub id: &'a Id,
}

/// The domains to which a chunk may belong.
#[derive(Clone, Copy)]
pub struct Candidates<'a> {
    /// Every domain that is known.
    pub all: &'a [Domain],
    /// Index in `all` of the domain that is tried first; the others follow in order.
    pub first: usize,
}

impl Credential {
    /// Seals one chunk under a session key: `nonce ‖ ciphertext ‖ tag`.
    ///
    /// `id` must be the chunk's content id; it is authenticated but not stored, so a record opens
    /// under its own id only.
    pub fn seal_chunk(
        &self,
        key: &SessionKey,
        coder: &mut Coder,
        id: &Id,
        chunk: &[u8],
        seed: NonceSeed,
    ) -> Result<Vec<u8>, SealError> {
        check_length(Kind::Chunk, chunk)?;
        let record = coder.frame(chunk, Coding::Smallest)?;
        if !key.count(u64::try_from(record.len()).map_err(|_| SealError::Length)?) {
            return Err(SealError::KeyUsedUp);
        }
        let binding = Binding::new(self.archive(), key.epoch(), Kind::Chunk, id);
        encrypt(&key.secret, &self.nonce_key, &binding, seed, record)
    }

    /// Seals metadata (not a chunk) under META. `id` is its keyed hash, or the name of a commit.
    pub fn seal_meta(
        &self,
        kind: Kind,
        coder: &mut Coder,
        id: &Id,
        plain: &[u8],
        seed: NonceSeed,
    ) -> Result<Vec<u8>, SealError> {
        let coding = match kind {
            Kind::Chunk => return Err(SealError::Inner),
            Kind::Commit => Coding::Raw,
            Kind::Node | Kind::Directory => Coding::Smallest,
        };
        check_length(kind, plain)?;
        let record = coder.frame(plain, coding)?;
        let binding = Binding::new(self.archive(), self.epoch(), kind, id);
        encrypt(&self.seal_key, &self.nonce_key, &binding, seed, record)
    }

    /// Opens one chunk into `chunk`: the chunk that was sealed under this id, or a [`Damage`] that
    /// names the record.
    ///
    /// The caller compares the length: the session knows how long the chunk at each index is.
    pub fn open_chunk(
        &self,
        under: RecordKey<'_>,
        domain: &Domain,
        coder: &mut Coder,
        record: &[u8],
        chunk: &mut Vec<u8>,
    ) -> Result<(), Damage> {
        let RecordKey { key, id } = under;
        let binding = Binding::new(self.archive(), key.epoch(), Kind::Chunk, id);
        decrypt(&key.secret, &binding, record, coder, chunk)
            .and_then(|()| {
                if domain.content_id(chunk) == *id {
                    Ok(())
                } else {
                    Err(Fault::Id)
                }
            })
            .map_err(|fault| Damage::new(Class::Record, id.0, fault))
    }

    /// Opens one chunk whose domain is not known. Returns the index of the domain that gives the
    /// chunk its id; `None`: no domain does, and the tag alone binds the record to its id.
    pub fn open_chunk_of_any(
        &self,
        under: RecordKey<'_>,
        domains: Candidates<'_>,
        coder: &mut Coder,
        record: &[u8],
        chunk: &mut Vec<u8>,
    ) -> Result<Option<usize>, Damage> {
        let RecordKey { key, id } = under;
        let binding = Binding::new(self.archive(), key.epoch(), Kind::Chunk, id);
        decrypt(&key.secret, &binding, record, coder, chunk)
            .map_err(|fault| Damage::new(Class::Record, id.0, fault))?;
        let mut in_order = domains
            .all
            .iter()
            .enumerate()
            .cycle()
            .skip(domains.first)
            .take(domains.all.len());
        Ok(in_order
            .find(|(_, domain)| domain.content_id(chunk) == *id)
            .map(|(index, _)| index))
    }

    /// Opens metadata (not a chunk) into `plain`, and checks its id. A commit is bound to its name
    /// by the tag alone.
    pub fn open_meta(
        &self,
        kind: Kind,
        coder: &mut Coder,
        id: &Id,
        record: &[u8],
        plain: &mut Vec<u8>,
    ) -> Result<(), Damage> {
        let refuse = |fault| Damage::new(kind.class(), id.0, fault);
        if kind == Kind::Chunk {
            return Err(refuse(Fault::Tag));
        }
        let binding = Binding::new(self.archive(), self.epoch(), kind, id);
        decrypt(&self.seal_key, &binding, record, coder, plain).map_err(refuse)?;
        if kind != Kind::Commit && self.node_id(plain) != *id {
            return Err(refuse(Fault::Id));
        }
        Ok(())
    }
}

fn check_length(kind: Kind, plain: &[u8]) -> Result<(), SealError> {
    if plain.is_empty() || plain.len() > kind.plain_max_bytes() {
        Err(SealError::Length)
    } else {
        Ok(())
    }
}

/// The associated data, which binds a record to its archive, epoch, kind and id: 56 bytes, see
/// `docs/format.md`, section 5.
pub(super) fn associated_data(archive: ArchiveId, epoch: Epoch, kind: Kind, id: &Id) -> [u8; 56] {
    let mut data = [0; 56];
    let fields: [(usize, &[u8]); 4] = [
        (2, &[kind.number()]),
        (4, &epoch.0.to_le_bytes()),
        (8, &archive.0),
        (24, &id.0),
    ];
    for (offset, field) in fields {
        for (to, from) in data.iter_mut().skip(offset).zip(field) {
            *to = *from;
        }
    }
    data
}

/// The values that the tag of a record authenticates besides its frame.
struct Binding<'a> {
    kind: Kind,
    id: &'a Id,
    associated_data: [u8; 56],
}

impl<'a> Binding<'a> {
    fn new(archive: ArchiveId, epoch: Epoch, kind: Kind, id: &'a Id) -> Self {
        Self {
            kind,
            id,
            associated_data: associated_data(archive, epoch, kind, id),
        }
    }
}

/// Encrypts the frame after the nonce's space in place, and appends the tag.
fn encrypt(
    key: &Secret,
    nonce_key: &Secret,
    binding: &Binding<'_>,
    seed: NonceSeed,
    mut record: Vec<u8>,
) -> Result<Vec<u8>, SealError> {
    let (space, frame) = record
        .split_first_chunk_mut::<NONCE_BYTES>()
        .ok_or(SealError::Inner)?;
    let nonce = hedged_nonce(nonce_key, seed, binding, frame);
    *space = nonce;
    let cipher = XChaCha20Poly1305::new(key.expose().into());
    let tag = cipher
        .encrypt_inout_detached(&XNonce::from(nonce), &binding.associated_data, frame.into())
        .map_err(|_| SealError::Inner)?;
    record.extend_from_slice(&tag);
    Ok(record)
}

/// A nonce that depends on the sealed bytes: with a failed generator or on a cloned machine it
/// repeats only for the same bytes under the same id.
fn hedged_nonce(
    nonce_key: &Secret,
    seed: NonceSeed,
    binding: &Binding<'_>,
    frame: &[u8],
) -> [u8; NONCE_BYTES] {
    let tag = nonce_key.tag(&[&seed.0, &[binding.kind.number()], &binding.id.0, frame]);
    let mut nonce = [0; NONCE_BYTES];
    nonce.iter_mut().zip(tag).for_each(|(to, from)| *to = from);
    nonce
}

/// Checks the tag, then decodes the frame within the kind's bound.
fn decrypt(
    key: &Secret,
    binding: &Binding<'_>,
    record: &[u8],
    coder: &mut Coder,
    plain: &mut Vec<u8>,
) -> Result<(), Fault> {
    let kind = binding.kind;
    let (nonce, sealed) = record
        .split_first_chunk::<NONCE_BYTES>()
        .ok_or(Fault::Length)?;
    let (ciphertext, tag) = sealed
        .split_last_chunk::<TAG_BYTES>()
        .ok_or(Fault::Length)?;
    if ciphertext.len() > kind.plain_max_bytes().saturating_add(FRAME_HEADER_BYTES) {
        return Err(Fault::Length);
    }
    let mut frame = std::mem::take(&mut coder.scratch);
    frame.resize(ciphertext.len(), 0); // old bytes are overwritten, or never read
    let cipher = XChaCha20Poly1305::new(key.expose().into());
    let opened = InOutBuf::new(ciphertext, &mut frame)
        .map_err(|_| Fault::Length)
        .and_then(|buffer| {
            cipher
                .decrypt_inout_detached(
                    &XNonce::from(*nonce),
                    &binding.associated_data,
                    buffer,
                    &Tag::from(*tag),
                )
                .map_err(|_| Fault::Tag)
        })
        .and_then(|()| coder.unframe(kind, &frame, plain));
    coder.scratch = frame;
    if opened.is_err() {
        plain.clear();
    }
    opened
}

/// Whether the bytes of 16 samples are as evenly distributed as random bytes, so that zstd would
/// only cost time.
///
/// Of 4096 random bytes about 69,600 ordered pairs are equal; compressible bytes have many more.
fn looks_incompressible(plain: &[u8]) -> bool {
    const PLACES: usize = 16;
    const PLACE_BYTES: usize = 256;
    const EQUAL_PAIRS_MAX: u64 = 73_000;
    if plain.len() < PLACES * PLACE_BYTES * 2 {
        return false;
    }
    let mut counts = [0u32; 256];
    for place in plain.chunks(plain.len() / PLACES).take(PLACES) {
        for byte in place.iter().take(PLACE_BYTES) {
            if let Some(count) = counts.get_mut(usize::from(*byte)) {
                *count = count.saturating_add(1);
            }
        }
    }
    let equal_pairs = counts
        .iter()
        .map(|count| u64::from(*count).pow(2))
        .fold(0, u64::saturating_add);
    equal_pairs <= EQUAL_PAIRS_MAX
}
