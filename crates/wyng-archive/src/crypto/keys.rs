// SPDX-License-Identifier: GPL-3.0-or-later
//! ROOT, the keys that are derived from it, and the credential: the part that stays in the admin
//! domain.

use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable, Kem, Serializable};
use wyng_wire::BlobName;
use zeroize::Zeroizing;

use super::ids::Domain;
use super::labels;
use super::secret::{Secret, same};
use crate::format::{Malformed, Reader};
use crate::ids::{ArchiveId, DomainId, Epoch, Id};

type PrivateKey = <X25519HkdfSha256 as Kem>::PrivateKey;
pub(super) type PublicKey = <X25519HkdfSha256 as Kem>::PublicKey;

/// Length of an encoded [`Credential`], bytes.
pub const CREDENTIAL_BYTES: usize = 192;
const CREDENTIAL_MAGIC: &[u8; 8] = b"wyngcred";

/// The archive's secret. It is in memory only while the archive is unlocked.
///
/// ```compile_fail
/// fn copies(root: &wyng_archive::crypto::Root) -> wyng_archive::crypto::Root { root.clone() }
/// ```
pub struct Root {
    secret: Secret,
    epoch: Epoch,
}

impl Root {
    /// Takes over 32 random bytes, or those of a slot.
    pub fn new(secret: Secret, epoch: Epoch) -> Self {
        Self { secret, epoch }
    }

    /// The epoch of META.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    pub(super) fn secret(&self) -> &Secret {
        &self.secret
    }

    /// The private half of the data key pair: it opens session keys, and with them chunks.
    ///
    /// `None` is impossible with 32 bytes; it is reported instead of assumed.
    pub fn data_key(&self) -> Option<DataKey> {
        let secret = Secret::derive(labels::DATA_PRIVATE_KEY, &[self.secret.expose()]);
        let private = PrivateKey::from_bytes(secret.expose()).ok()?;
        Some(DataKey { private })
    }

    /// The part that the admin domain keeps: everything that a backup needs, and nothing that opens
    /// a chunk.
    pub fn credential(&self, archive: ArchiveId) -> Option<Credential> {
        let public = self.data_key()?.public_bytes();
        Some(Credential::new(
            archive,
            self.epoch,
            Secret::derive(
                labels::META,
                &[self.secret.expose(), &self.epoch.0.to_le_bytes()],
            ),
            Secret::derive(labels::COMMIT_NAMES, &[self.secret.expose()]),
            Secret::derive(labels::CONTENT_NAMES, &[self.secret.expose()]),
            public,
        ))
    }
}

/// The private half of the data key pair.
pub struct DataKey {
    private: PrivateKey, // wiped by its own crate when dropped
}

impl DataKey {
    pub(super) fn private(&self) -> &PrivateKey {
        &self.private
    }

    fn public_bytes(&self) -> [u8; 32] {
        X25519HkdfSha256::sk_to_pk(&self.private).to_bytes().into()
    }

    /// Whether this private half belongs to the credential's public half. Checked at each unlock.
    pub fn belongs_to(&self, credential: &Credential) -> bool {
        same(&self.public_bytes(), &credential.public)
    }
}

/// {archive id, epoch, META, COMMITS, NAMES, data public key}: enough to back up, list, prune,
/// compact and check; it opens no chunk.
///
/// ```compile_fail
/// fn prints(credential: &wyng_archive::crypto::Credential) { println!("{credential:?}") }
/// ```
pub struct Credential {
    archive: ArchiveId,
    epoch: Epoch,
    meta: Secret,
    commits: Secret,
    names: Secret,
    public: [u8; 32],
    pub(super) seal_key: Secret,
    pub(super) nonce_key: Secret,
    pub(super) mix_key: Secret,
    pub(super) generator_key: Secret,
    node_key: Secret,
}

/// Why a stored credential is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// The bytes are not a credential of this format.
    #[error("the credential is malformed: {0}")]
    Malformed(&'static str),
    /// The MAC is wrong: the credential is damaged or was changed.
    #[error("the credential does not authenticate")]
    Mac,
}

impl Credential {
    fn new(
        archive: ArchiveId,
        epoch: Epoch,
        meta: Secret,
        commits: Secret,
        names: Secret,
        public: [u8; 32],
    ) -> Self {
        let sub = |label| Secret::derive(label, &[meta.expose()]);
        let (seal_key, nonce_key) = (sub(labels::META_SEAL), sub(labels::NONCES));
        let (mix_key, generator_key, node_key) = (
            sub(labels::SESSION_MIX),
            sub(labels::GENERATOR),
            sub(labels::NODE_IDS),
        );
        Self {
            archive,
            epoch,
            meta,
            commits,
            names,
            public,
            seal_key,
            nonce_key,
            mix_key,
            generator_key,
            node_key,
        }
    }

    /// The archive that it is for.
    pub fn archive(&self) -> ArchiveId {
        self.archive
    }

    /// The epoch of its META.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// `KH[COMMITS](generation)`: the name of a commit, the same in every epoch.
    pub fn commit_name(&self, generation: u64) -> BlobName {
        BlobName(self.commits.tag(&[&generation.to_le_bytes()]))
    }

    /// `KH[COMMITS](generation ‖ copy)`: the name of another copy of a commit; copy 0 is the commit
    /// itself.
    ///
    /// Every copy authenticates [`commit_name`](Self::commit_name) as its associated data, so that
    /// all copies have the same bytes.
    pub fn commit_copy_name(&self, generation: u64, copy: u8) -> BlobName {
        match copy {
            0 => self.commit_name(generation),
            copy => BlobName(self.commits.tag(&[&generation.to_le_bytes(), &[copy]])),
        }
    }

    /// `KH[node ids](plain)`: the id of a node or directory.
    pub fn node_id(&self, plain: &[u8]) -> Id {
        Id(self.node_key.tag(&[plain]))
    }

    /// The key that names the chunks of one domain.
    pub fn domain(&self, id: DomainId) -> Domain {
        Domain::new(&self.names, id)
    }

    pub(super) fn public_key(&self) -> Option<PublicKey> {
        PublicKey::from_bytes(&self.public).ok()
    }

    /// The bytes of the credential file: [`CREDENTIAL_BYTES`], with a MAC over all of them.
    ///
    /// ```text
    ///   0 │ "wyngcred"                                                    │
    ///   8 │ format = 0    │ 0             │ epoch u32                     │
    ///  16 │ archive id (16)                                               │
    ///  32 │ META (32) ‖ COMMITS (32) ‖ NAMES (32) ‖ public key (32)       │
    /// 160 │ KH[credential mac](bytes 0 to 159)                            │
    /// ```
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(CREDENTIAL_BYTES));
        bytes.extend_from_slice(CREDENTIAL_MAGIC);
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&self.epoch.0.to_le_bytes());
        bytes.extend_from_slice(&self.archive.0);
        for part in [
            self.meta.expose(),
            self.commits.expose(),
            self.names.expose(),
            &self.public,
        ] {
            bytes.extend_from_slice(part);
        }
        let mac = Self::mac(&self.meta, &bytes);
        bytes.extend_from_slice(&mac);
        bytes
    }

    /// Decodes the result of [`encode`](Self::encode), and refuses any other bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, CredentialError> {
        let malformed = |Malformed(rule)| CredentialError::Malformed(rule);
        let (covered, mac) = bytes
            .split_last_chunk::<32>()
            .ok_or(CredentialError::Malformed("length"))?;
        let mut reader = Reader::new(covered);
        reader.magic(CREDENTIAL_MAGIC).map_err(malformed)?;
        reader.zeros(4, "format").map_err(malformed)?;
        let epoch = Epoch(reader.u32().map_err(malformed)?);
        let archive = ArchiveId(reader.array().map_err(malformed)?);
        let meta = Secret::take(&mut reader.array().map_err(malformed)?);
        let commits = Secret::take(&mut reader.array().map_err(malformed)?);
        let names = Secret::take(&mut reader.array().map_err(malformed)?);
        let public = reader.array().map_err(malformed)?;
        reader.end().map_err(malformed)?;
        if !same(&Self::mac(&meta, covered), mac) {
            return Err(CredentialError::Mac);
        }
        Ok(Self::new(archive, epoch, meta, commits, names, public))
    }

    fn mac(meta: &Secret, covered: &[u8]) -> [u8; 32] {
        Secret::derive(labels::CREDENTIAL_MAC, &[meta.expose()]).tag(&[covered])
    }
}
