// SPDX-License-Identifier: GPL-3.0-or-later
//! Thirty-two secret bytes that cannot be copied, printed, compared with `==`, or left behind in
//! memory.

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A key. It lives on the heap, so that moving it leaves no copy, and is wiped when dropped.
///
/// ```compile_fail
/// fn copies(secret: &wyng_archive::crypto::Secret) -> wyng_archive::crypto::Secret { secret.clone() }
/// ```
/// ```compile_fail
/// fn prints(secret: &wyng_archive::crypto::Secret) { println!("{secret:?}") }
/// ```
/// ```compile_fail
/// fn compares(a: &wyng_archive::crypto::Secret, b: &wyng_archive::crypto::Secret) -> bool { a == b }
/// ```
pub struct Secret(Box<[u8; 32]>);

impl Secret {
    /// Takes over the bytes and wipes their old place.
    pub fn take(bytes: &mut [u8; 32]) -> Self {
        let mut secret = Self(Box::new([0; 32]));
        secret.0.copy_from_slice(bytes);
        bytes.zeroize();
        secret
    }

    /// Derives the key for one purpose: BLAKE3 `derive_key` with `label` over the concatenated
    /// parts.
    pub(super) fn derive(label: &'static str, parts: &[&[u8]]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(label);
        for part in parts {
            hasher.update(part);
        }
        Self::output(&mut hasher)
    }

    /// Keyed BLAKE3 over the concatenated parts, as a key.
    pub(super) fn mix(&self, parts: &[&[u8]]) -> Self {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        for part in parts {
            hasher.update(part);
        }
        Self::output(&mut hasher)
    }

    /// Keyed BLAKE3 over the concatenated parts, for public values: ids, nonces, commitments.
    pub(super) fn tag(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        for part in parts {
            hasher.update(part);
        }
        let tag = *hasher.finalize().as_bytes();
        hasher.zeroize();
        tag
    }

    /// The bytes, to be passed to a cipher. The caller must not keep them.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    fn output(hasher: &mut blake3::Hasher) -> Self {
        let mut secret = Self(Box::new([0; 32]));
        hasher.finalize_xof().fill(secret.0.as_mut_slice());
        hasher.zeroize();
        secret
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl ZeroizeOnDrop for Secret {}

/// Length of the stack that [`wiping_stack`] wipes, bytes: more than the frames of a command use.
const WIPED_STACK_BYTES: usize = 512 << 10;

/// Runs `work`, then wipes the stack that it used: ciphers, hashers and moves leave parts of keys
/// in frames that have returned.
pub fn wiping_stack<T>(work: impl FnOnce() -> T) -> T {
    let result = below(work);
    below(|| [0_u8; WIPED_STACK_BYTES].zeroize());
    result
}

/// Never inlined, so that the frames of `work` lie below the caller's.
#[inline(never)]
fn below<T>(work: impl FnOnce() -> T) -> T {
    work()
}

/// Compares two public values that prove knowledge of a secret (a commitment, a check, a MAC) in
/// constant time.
pub(super) fn same(a: &[u8; 32], b: &[u8; 32]) -> bool {
    a.ct_eq(b).into()
}
