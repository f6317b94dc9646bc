// SPDX-License-Identifier: GPL-3.0-or-later
//! Slots: from a passphrase to ROOT, through Argon2id and a commitment that is checked before
//! anything is opened.

use std::cmp::Reverse;

use argon2::{Algorithm, Argon2, Params, Version};
use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{Tag, XChaCha20Poly1305, XNonce};
use zeroize::Zeroizing;

use super::keys::Root;
use super::labels;
use super::recovery::{RecoveryKey, RecoveryKeyError};
use super::seal::NonceSeed;
use super::secret::{Secret, same};
use crate::damage::Fault;
use crate::format::{Reader, SLOT_COMMITTED_BYTES, Slot, SlotClear, SlotKind};
use crate::ids::Epoch;

const PASSPHRASE_MAX_BYTES: usize = 1024;
const LANES: u32 = 1;

/// A passphrase as it was typed or read from a file. Wiped when dropped.
pub struct Password(Zeroizing<Vec<u8>>);

impl Password {
    /// Takes over 1 to 1024 bytes; `None` for any other length.
    pub fn new(bytes: Zeroizing<Vec<u8>>) -> Option<Self> {
        (1..=PASSPHRASE_MAX_BYTES)
            .contains(&bytes.len())
            .then_some(Self(bytes))
    }
}

/// Why a slot did not give ROOT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SlotError {
    /// The slot is damaged: it cannot tell a right passphrase from a wrong one.
    #[error("the slot is damaged: {0}")]
    Damaged(Fault),
    /// The slot is intact, and the passphrase is wrong.
    #[error("the passphrase does not open this slot")]
    Refused,
    /// The slot requires a recovery key, and the text is none.
    #[error(transparent)]
    RecoveryKey(RecoveryKeyError),
    /// Memory for Argon2 is exhausted.
    #[error("not enough memory to derive the key")]
    Memory,
}

/// Makes a slot with these clear fields, in which ROOT is sealed under the password.
pub fn seal_slot(
    root: &Root,
    clear: SlotClear,
    password: &Password,
    seed: NonceSeed,
) -> Result<Slot, SlotError> {
    let secret = slot_secret(&clear, password)?;
    let covered = clear.encode();
    let commitment = commitment(&secret, &covered);
    let mut payload = Zeroizing::new([0; 40]);
    for (to, from) in payload.iter_mut().zip(
        root.secret()
            .expose()
            .iter()
            .chain(&root.epoch().0.to_le_bytes()),
    ) {
        *to = *from;
    }
    let place = place(&covered, &commitment);
    let nonce_tag = Secret::derive(labels::SLOT_NONCE, &[secret.expose()]).tag(&[
        &seed.0,
        &place,
        payload.as_slice(),
    ]);
    let mut nonce = [0; 24];
    nonce
        .iter_mut()
        .zip(nonce_tag)
        .for_each(|(to, from)| *to = from);
    let tag = cipher(&secret)
        .encrypt_inout_detached(&XNonce::from(nonce), &place, payload.as_mut_slice().into())
        .map_err(|_| SlotError::Damaged(Fault::Tag))?;
    Ok(Slot::new(clear, commitment, nonce, *payload, tag.into()))
}

/// Sorts slots into the order in which a passphrase is tried: by the cost of a guess, cheapest
/// first; among equals the highest number first. A store cannot delay an unlock for long with slots
/// of its own making, because those that cost more than the right slot come after it.
pub fn cheapest_first(slots: &mut [Slot]) {
    slots.sort_by_key(|slot| {
        let clear = slot.clear();
        (
            u64::from(clear.memory_kib).saturating_mul(u64::from(clear.passes)),
            Reverse(clear.number),
        )
    });
}

/// Opens a slot: Argon2id, then the commitment in constant time, and only then the payload.
pub fn open_slot(slot: &Slot, password: &Password) -> Result<Root, SlotError> {
    let clear = slot.clear();
    let secret = slot_secret(clear, password)?;
    let covered = clear.encode();
    if !same(&commitment(&secret, &covered), slot.commitment()) {
        return Err(SlotError::Refused);
    }
    let mut payload = Zeroizing::new(*slot.sealed_payload());
    cipher(&secret)
        .decrypt_inout_detached(
            &XNonce::from(*slot.nonce()),
            &place(&covered, slot.commitment()),
            payload.as_mut_slice().into(),
            &Tag::from(*slot.tag()),
        )
        .map_err(|_| SlotError::Damaged(Fault::Tag))?;
    let shape = |_| SlotError::Damaged(Fault::Shape("payload"));
    let mut reader = Reader::new(payload.as_slice());
    let root = Secret::take(&mut reader.array().map_err(shape)?);
    let epoch = Epoch(reader.u32().map_err(shape)?);
    reader.zeros(4, "payload").map_err(shape)?;
    Ok(Root::new(root, epoch))
}

/// Argon2id with one lane: this implementation would run more lanes one after the other, which
/// costs only the owner.
fn slot_secret(clear: &SlotClear, password: &Password) -> Result<Secret, SlotError> {
    let recovery;
    let password = match clear.kind {
        SlotKind::Passphrase => password.0.as_slice(),
        SlotKind::Token => return Err(SlotError::Refused),
        SlotKind::RecoveryKey => {
            recovery = RecoveryKey::parse(&password.0).map_err(SlotError::RecoveryKey)?;
            recovery.chars()
        }
    };
    let bounds = |_| SlotError::Damaged(Fault::Shape("Argon2 parameters"));
    let params = Params::new(clear.memory_kib, clear.passes, LANES, Some(32)).map_err(bounds)?;
    let mut out = [0; 32];
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(password, &clear.salt, &mut out)
        .map_err(|_| SlotError::Memory)?;
    Ok(Secret::take(&mut out))
}

/// The commitment to the secret. Without it one crafted slot could test many passphrases at once.
fn commitment(secret: &Secret, covered: &[u8; SLOT_COMMITTED_BYTES]) -> [u8; 32] {
    Secret::derive(labels::SLOT_COMMITMENT, &[secret.expose()]).tag(&[covered])
}

fn cipher(secret: &Secret) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(
        Secret::derive(labels::SLOT_SEAL, &[secret.expose()])
            .expose()
            .into(),
    )
}

/// The associated data: every clear byte, the commitment included.
fn place(
    covered: &[u8; SLOT_COMMITTED_BYTES],
    commitment: &[u8; 32],
) -> [u8; SLOT_COMMITTED_BYTES + 32] {
    let mut place = [0; SLOT_COMMITTED_BYTES + 32];
    place
        .iter_mut()
        .zip(covered.iter().chain(commitment))
        .for_each(|(to, from)| *to = *from);
    place
}
