// SPDX-License-Identifier: GPL-3.0-or-later
//! Tests: Poly1305 does not commit to its key. A ciphertext is made that authenticates under two
//! session keys, as anyone who knows both can do; the keyed id refuses it under either key.

use chacha20::XChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher};
use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{Tag, XChaCha20Poly1305, XNonce};
use num_bigint::BigUint;

use super::seal::{Coder, Kind, associated_data};
use super::{
    ArchiveId, Credential, DomainId, Entropy, Epoch, Id, RecordKey, Root, Secret, SessionKey,
};
use crate::damage::Fault;

const CIPHERTEXT_BLOCKS: usize = 4;
/// Index of the ciphertext's block that is solved for.
const FREE: usize = 1;

/// Poly1305's `r` and `s` for a key and a nonce, and its arithmetic.
struct Mac {
    r: BigUint,
    s: BigUint,
}

fn prime() -> BigUint {
    (BigUint::from(1u8) << 130u32) - 5u8
}

impl Mac {
    fn new(key: &[u8; 32], nonce: &[u8; 24]) -> Self {
        let mut block = [0; 32];
        XChaCha20::new(key.into(), nonce.into()).apply_keystream(&mut block);
        let mut r = [0; 16];
        r.copy_from_slice(&block[..16]);
        for place in [3, 7, 11, 15] {
            r[place] &= 15;
        }
        for place in [4, 8, 12] {
            r[place] &= 252;
        }
        Self {
            r: BigUint::from_bytes_le(&r),
            s: BigUint::from_bytes_le(&block[16..]),
        }
    }

    /// The polynomial over whole blocks, without `s`.
    fn sum(&self, blocks: &[[u8; 16]]) -> BigUint {
        let full: BigUint = BigUint::from(1u8) << 128u32;
        blocks.iter().fold(BigUint::ZERO, |sum, block| {
            (sum + BigUint::from_bytes_le(block) + &full) * &self.r % prime()
        })
    }

    fn tag(&self, blocks: &[[u8; 16]]) -> [u8; 16] {
        let full: BigUint = BigUint::from(1u8) << 128u32;
        let tag: BigUint = (self.sum(blocks) + &self.s) % full;
        let mut bytes = [0; 16];
        bytes
            .iter_mut()
            .zip(tag.to_bytes_le())
            .for_each(|(to, from)| *to = from);
        bytes
    }
}

/// The blocks that the AEAD authenticates: 56 bytes of associated data, the ciphertext, both
/// lengths.
fn blocks(place: &[u8; 56], ciphertext: &[u8]) -> Vec<[u8; 16]> {
    let mut bytes = place.to_vec();
    bytes.resize(64, 0);
    bytes.extend_from_slice(ciphertext);
    bytes.extend_from_slice(&56u64.to_le_bytes());
    bytes.extend_from_slice(&(ciphertext.len() as u64).to_le_bytes());
    bytes.as_chunks().0.to_vec()
}

/// Solves for the free block; `None` if every solution has more than 128 bits.
fn collide(macs: &[Mac; 2], place: &[u8; 56]) -> Option<(Vec<u8>, [u8; 16])> {
    let (one, p) = (BigUint::from(1u8), prime());
    let mut ciphertext = vec![0; CIPHERTEXT_BLOCKS * 16];
    let all = blocks(place, &ciphertext);
    let power = u32::try_from(all.len() - 4 - FREE).ok()?;
    let [a, b] = macs;
    let minus = |x: BigUint, y: BigUint| (x + &p - y % &p) % &p;
    let factor = minus(a.r.modpow(&power.into(), &p), b.r.modpow(&power.into(), &p));
    let inverse = factor.modpow(&(&p - 2u8), &p);
    for carries in 0..9u8 {
        // (b.sum + b.s) - (a.sum + a.s) + (carries - 4) · 2^128
        let wanted = minus(
            b.sum(&all) + &b.s + (BigUint::from(carries) << 128u32),
            a.sum(&all) + &a.s + (BigUint::from(4u8) << 128u32),
        );
        let solution = wanted * &inverse % &p;
        if solution >= (&one << 128u32) {
            continue;
        }
        let free = &mut ciphertext[FREE * 16..(FREE + 1) * 16];
        free.fill(0);
        free.iter_mut()
            .zip(solution.to_bytes_le())
            .for_each(|(to, from)| *to = from);
        let all = blocks(place, &ciphertext);
        if a.tag(&all) == b.tag(&all) {
            return Some((ciphertext, a.tag(&all)));
        }
    }
    None
}

fn session_key(credential: &Credential, byte: u8) -> SessionKey {
    let kernel = Secret::take(&mut [byte; 32]);
    SessionKey::draw(
        credential,
        0,
        &Entropy {
            kernel,
            generation: 1,
            wall_nanos: 1,
            monotonic_nanos: 1,
            process_id: 1,
        },
    )
    .unwrap()
    .0
}

#[test]
fn a_record_that_authenticates_under_two_keys_opens_under_neither() {
    let archive = ArchiveId([0x22; 16]);
    let credential = Root::new(Secret::take(&mut [0x11; 32]), Epoch(1))
        .credential(archive)
        .unwrap();
    let keys = [session_key(&credential, 1), session_key(&credential, 2)];
    let id = Id([0x99; 32]);
    let place = associated_data(archive, Epoch(1), Kind::Chunk, &id);
    let (nonce, (ciphertext, tag)) = (0..=u8::MAX)
        .find_map(|try_number| {
            let nonce = [try_number; 24];
            let macs = keys
                .each_ref()
                .map(|key| Mac::new(key.secret.expose(), &nonce));
            Some((nonce, collide(&macs, &place)?))
        })
        .unwrap();
    for key in &keys {
        let mut plain = ciphertext.clone();
        let cipher = XChaCha20Poly1305::new(key.secret.expose().into());
        let opened = cipher.decrypt_inout_detached(
            &XNonce::from(nonce),
            &place,
            plain.as_mut_slice().into(),
            &Tag::from(tag),
        );
        assert!(
            opened.is_ok(),
            "the ciphertext authenticates under this key"
        );
        let record = [nonce.as_slice(), &ciphertext, &tag].concat();
        let (domain, mut chunk) = (credential.domain(DomainId([0x66; 16])), Vec::new());
        let refused = credential
            .open_chunk(
                RecordKey { key, id: &id },
                &domain,
                &mut Coder::new(0).unwrap(),
                &record,
                &mut chunk,
            )
            .unwrap_err();
        assert!(
            !matches!(refused.fault, Fault::Tag),
            "refused behind the tag: {refused}"
        );
    }
}
