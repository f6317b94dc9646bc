// SPDX-License-Identifier: GPL-3.0-or-later
//! Session keys: made with the public half of the data key, opened with the private half (RFC 9180,
//! exporter only).

use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};

use hpke::aead::ExportOnlyAead;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable};
use rand_core::{TryCryptoRng, TryRng};
use zeroize::{Zeroize, Zeroizing};

use super::keys::{Credential, DataKey};
use super::labels;
use super::secret::{Secret, same};
use crate::damage::{Class, Damage, Fault};
use crate::format::KeyEntry;
use crate::ids::{ArchiveId, Epoch};

type EncappedKey = <X25519HkdfSha256 as Kem>::EncappedKey;

/// Maximum number of records under one session key. A new key costs one X25519 exchange, so the
/// limit is far below that of the nonces (a collision among 2^56 has a probability of 2^-80) and of
/// Poly1305.
pub const KEY_RECORDS_MAX: u64 = 1 << 24;
/// Maximum total length of the records under one session key, bytes; see [`KEY_RECORDS_MAX`].
pub const KEY_BYTES_MAX: u64 = 1 << 40;

/// Why a session key could not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// The public key, or the exchange with it, is not valid.
    #[error("the key exchange failed")]
    Exchange,
}

/// The seed of HPKE's generator: fresh bytes of the kernel, and values that differ between two runs
/// even if those bytes do not.
pub struct Entropy {
    /// 32 bytes from the kernel.
    pub kernel: Secret,
    /// The generation on which the run is based.
    pub generation: u64,
    /// The wall clock, nanoseconds since 1970.
    pub wall_nanos: u64,
    /// The monotonic clock, nanoseconds.
    pub monotonic_nanos: u64,
    /// The process's id.
    pub process_id: u32,
}

/// A key that seals the chunks of one run, and counts the records and bytes that it sealed.
///
/// ```compile_fail
/// fn copies(key: &wyng_archive::crypto::SessionKey) -> wyng_archive::crypto::SessionKey { key.clone() }
/// ```
pub struct SessionKey {
    pub(super) secret: Secret,
    number: u32,
    epoch: Epoch,
    records: AtomicU64,
    bytes: AtomicU64,
    records_max: u64,
}

impl SessionKey {
    /// Draws session key `number` for the archive of `credential`, and the entry from which the
    /// private half derives the same key.
    pub fn draw(
        credential: &Credential,
        number: u32,
        entropy: &Entropy,
    ) -> Result<(Self, KeyEntry), EnvelopeError> {
        let public = credential.public_key().ok_or(EnvelopeError::Exchange)?;
        let mut generator = Generator::new(credential, entropy);
        let (encapped, context) =
            hpke::setup_sender_with_rng::<ExportOnlyAead, HkdfSha256, X25519HkdfSha256>(
                &OpModeS::Base,
                &public,
                &info(credential.archive(), number),
                &mut generator,
            )
            .map_err(|_| EnvelopeError::Exchange)?;
        let mut exported = Zeroizing::new([0; 32]);
        context
            .export(labels::HPKE_EXPORTER, exported.as_mut_slice())
            .map_err(|_| EnvelopeError::Exchange)?;
        let enc: [u8; 32] = encapped.to_bytes().into();
        let key = Self::mix(credential, credential.epoch(), number, &exported, &enc);
        let entry = KeyEntry {
            epoch: credential.epoch(),
            enc,
            check: key.check(),
        };
        Ok((key, entry))
    }

    /// Derives the session key of an entry. Its check is compared in constant time.
    pub fn open(
        credential: &Credential,
        data_key: &DataKey,
        number: u32,
        entry: &KeyEntry,
    ) -> Result<Self, Damage> {
        let refuse = |fault| Damage::new(Class::Key, entry.enc, fault);
        if entry.epoch != credential.epoch() {
            return Err(refuse(Fault::Shape("a key of another epoch")));
        }
        let encapped =
            EncappedKey::from_bytes(&entry.enc).map_err(|_| refuse(Fault::Shape("enc")))?;
        let context = hpke::setup_receiver::<ExportOnlyAead, HkdfSha256, X25519HkdfSha256>(
            &OpModeR::Base,
            data_key.private(),
            &encapped,
            &info(credential.archive(), number),
        )
        .map_err(|_| refuse(Fault::Shape("enc")))?;
        let mut exported = Zeroizing::new([0; 32]);
        context
            .export(labels::HPKE_EXPORTER, exported.as_mut_slice())
            .map_err(|_| refuse(Fault::Check))?;
        let key = Self::mix(credential, entry.epoch, number, &exported, &entry.enc);
        if !same(&key.check(), &entry.check) {
            return Err(refuse(Fault::Check));
        }
        Ok(key)
    }

    /// Its index in the key table.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The epoch of its entry.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Lowers the maximum number of records, so that a test can reach it.
    #[must_use]
    pub fn with_records_max(mut self, records_max: u64) -> Self {
        self.records_max = records_max.min(KEY_RECORDS_MAX);
        self
    }

    /// Whether a run should take its next key: true from half of the limit on, long before sealing
    /// is refused.
    pub fn is_worn(&self) -> bool {
        self.records.load(Ordering::Relaxed) >= self.records_max / 2
            || self.bytes.load(Ordering::Relaxed) >= KEY_BYTES_MAX / 2
    }

    /// Counts one record before it is sealed. False when a limit is reached: the record must not be
    /// sealed.
    pub(super) fn count(&self, bytes: u64) -> bool {
        self.records.fetch_add(1, Ordering::Relaxed) < self.records_max
            && self.bytes.fetch_add(bytes, Ordering::Relaxed) < KEY_BYTES_MAX
    }

    fn mix(
        credential: &Credential,
        epoch: Epoch,
        number: u32,
        exported: &[u8; 32],
        enc: &[u8; 32],
    ) -> Self {
        let secret = credential
            .mix_key
            .mix(&[exported, enc, &number.to_le_bytes()]);
        Self {
            secret,
            number,
            epoch,
            records: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            records_max: KEY_RECORDS_MAX,
        }
    }

    fn check(&self) -> [u8; 32] {
        *Secret::derive(labels::SESSION_CHECK, &[self.secret.expose()]).expose()
    }
}

fn info(archive: ArchiveId, number: u32) -> [u8; 20] {
    let mut info = [0; 20];
    let (id, key) = info.split_at_mut(16);
    id.copy_from_slice(&archive.0);
    key.copy_from_slice(&number.to_le_bytes());
    info
}

/// BLAKE3's output stream, keyed by META: unpredictable if the kernel's bytes *or* META are
/// unknown.
struct Generator(blake3::OutputReader);

impl Generator {
    fn new(credential: &Credential, entropy: &Entropy) -> Self {
        let mut hasher = blake3::Hasher::new_keyed(credential.generator_key.expose());
        hasher.update(entropy.kernel.expose());
        hasher.update(&entropy.generation.to_le_bytes());
        hasher.update(&entropy.wall_nanos.to_le_bytes());
        hasher.update(&entropy.monotonic_nanos.to_le_bytes());
        hasher.update(&entropy.process_id.to_le_bytes());
        let stream = hasher.finalize_xof();
        hasher.zeroize();
        Self(stream)
    }
}

impl Drop for Generator {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl TryRng for Generator {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.0.fill(&mut bytes);
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.0.fill(bytes);
        Ok(())
    }
}

impl TryCryptoRng for Generator {}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes<const N: usize>(hex: &str) -> [u8; N] {
        std::array::from_fn(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap())
    }

    /// RFC 9180, appendix A.7.1: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, export-only AEAD, base
    /// mode.
    #[test]
    fn hpke_exports_what_rfc_9180_prints() {
        let private: [u8; 32] =
            bytes("33d196c830a12f9ac65d6e565a590d80f04ee9b19c83c87f2c170d972a812848");
        let enc: [u8; 32] =
            bytes("e5e8f9bfff6c2f29791fc351d2c25ce1299aa5eaca78a757c0b4fb4bcd830918");
        let info: [u8; 20] = bytes("4f6465206f6e2061204772656369616e2055726e");
        let context = hpke::setup_receiver::<ExportOnlyAead, HkdfSha256, X25519HkdfSha256>(
            &OpModeR::Base,
            &<X25519HkdfSha256 as Kem>::PrivateKey::from_bytes(&private).unwrap(),
            &EncappedKey::from_bytes(&enc).unwrap(),
            &info,
        )
        .unwrap();
        let exported = |exporter: &[u8]| {
            let mut out = [0; 32];
            context.export(exporter, &mut out).unwrap();
            out
        };
        assert_eq!(
            exported(b""),
            bytes("7a36221bd56d50fb51ee65edfd98d06a23c4dc87085aa5866cb7087244bd2a36")
        );
        assert_eq!(
            exported(&[0]),
            bytes("d5535b87099c6c3ce80dc112a2671c6ec8e811a2f284f948cec6dd1708ee33f0")
        );
        assert_eq!(
            exported(b"TestContext"),
            bytes("ffaabc85a776136ca0c378e5d084c9140ab552b78f039d2e8775f26efff4c70e")
        );
    }
}
