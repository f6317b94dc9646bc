// SPDX-License-Identifier: GPL-3.0-or-later
//! Every label of the format, one purpose each. A label is the context of BLAKE3's `derive_key`,
//! and is never built at run time.
//!
//! The tree of keys is drawn in `docs/format.md`, section 3.

macro_rules! labels {
    ($($(#[$doc:meta])* $name:ident = $purpose:literal;)*) => {
        $($(#[$doc])* pub(super) const $name: &str = concat!("wyng 2026-11-23 format 0: ", $purpose);)*
        #[cfg(test)]
        pub(super) const ALL: &[&str] = &[$($name),*];
    };
}

labels! {
    /// A slot's number to its blob name, which anyone can compute.
    SLOT_NAME = "slot name";
    /// A slot's secret to the key of its commitment.
    SLOT_COMMITMENT = "slot commitment";
    /// A slot's secret to the key that seals ROOT.
    SLOT_SEAL = "slot seal";
    /// A slot's secret to the key that hedges the slot's nonce.
    SLOT_NONCE = "slot nonce";
    /// A recovery key's random bytes to its check.
    RECOVERY_KEY_CHECK = "recovery key check";
    /// ROOT to the X25519 private key.
    DATA_PRIVATE_KEY = "data private key";
    /// ROOT and the epoch to META.
    META = "meta";
    /// ROOT to COMMITS.
    COMMIT_NAMES = "commit names";
    /// ROOT to NAMES.
    CONTENT_NAMES = "content names";
    /// NAMES and a domain's id to the key of its content ids.
    DOMAIN = "domain";
    /// META to the key that seals nodes, directories and commits.
    META_SEAL = "meta seal";
    /// META to the key that hedges nonces.
    NONCES = "nonces";
    /// META to the key that names nodes and directories.
    NODE_IDS = "node ids";
    /// META to the key that mixes session keys.
    SESSION_MIX = "session mix";
    /// META to the key that seeds HPKE's generator.
    GENERATOR = "generator";
    /// META to the key that authenticates the credential.
    CREDENTIAL_MAC = "credential mac";
    /// A session key to its check.
    SESSION_CHECK = "session check";
}

/// The exporter context of HPKE; not a BLAKE3 label.
pub(super) const HPKE_EXPORTER: &[u8] = b"wyng session";

#[cfg(test)]
mod tests {
    #[test]
    fn each_label_serves_one_purpose() {
        let mut labels = super::ALL.to_vec();
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), super::ALL.len());
    }
}
