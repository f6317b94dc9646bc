// SPDX-License-Identifier: GPL-3.0-or-later
//! `[archives.NAME]`: where an archive's store is and how it is reached.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;
use wyng_control::{
    KeepRules, STORES_ALLOWED, StoreMistake, VIA_ALLOWED, Via, check_store_address,
};

use crate::checks::positive;
use crate::keep::WrittenKeep;
use crate::mistake::Found;
use crate::quantity::{parse_bytes, parse_secs};

/// The options of `archive create` and `archive open` that the configuration gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    /// The address of the store, without credentials.
    pub store: String,
    /// Where the store's credentials are, if it asks for any.
    pub credentials: Option<Credentials>,
    /// Requests to the store are signed on this machine, and the far end gets no credentials.
    pub signed: bool,
    /// How the far end is reached.
    pub via: Via,
    /// How the far end is reached through which what was pushed is checked; `None`: `via`.
    pub verify_via: Option<Via>,
    /// Addresses of the copies that `archive copy` keeps up to date where none is named.
    pub copies: Vec<String>,
    /// Which sessions of a volume a prune keeps.
    pub keep: KeepRules,
    /// Rules of volumes with rules of their own, by the volumes' names.
    pub keep_volumes: BTreeMap<String, KeepRules>,
    /// Minimum age of a session that a prune removes, seconds. The archive's own counts if it is
    /// larger.
    pub minimum_age_secs: u64,
    /// Ages and free space from which `status` warns.
    pub warn: Warn,
}

/// Where the credentials of a store are: absolute paths of files, or `vm:NAME` for a file in the
/// far end's VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credentials {
    /// One file for all services.
    All(String),
    /// A file for each service that has any.
    PerService {
        /// What stores.
        push: Option<String>,
        /// What reads.
        fetch: Option<String>,
        /// What deletes.
        prune: Option<String>,
    },
}

impl Credentials {
    /// Whether every place is a file of this machine, so that it can sign with what is there.
    fn are_here(&self) -> bool {
        let is_here = |place: &String| !place.starts_with("vm:");
        match self {
            Self::All(all) => is_here(all),
            Self::PerService { push, fetch, prune } => {
                [push, fetch, prune].into_iter().flatten().all(is_here)
            }
        }
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum WrittenCredentials {
    All(String),
    PerService(WrittenServices),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenServices {
    push: Option<String>,
    fetch: Option<String>,
    prune: Option<String>,
}

impl WrittenCredentials {
    fn check(written: Spanned<Self>, found: &mut Found) -> Credentials {
        let is_place = |text: &&String| text.starts_with('/') || text.starts_with("vm:");
        let (wrong, credentials) = match written.as_ref() {
            Self::All(all) => {
                let wrong = (!is_place(&all)).then(|| all.clone());
                (wrong, Credentials::All(all.clone()))
            }
            Self::PerService(services) => {
                let all = [&services.push, &services.fetch, &services.prune];
                let wrong = all
                    .into_iter()
                    .flatten()
                    .find(|text| !is_place(text))
                    .cloned();
                let credentials = Credentials::PerService {
                    push: services.push.clone(),
                    fetch: services.fetch.clone(),
                    prune: services.prune.clone(),
                };
                (wrong, credentials)
            }
        };
        if let Some(wrong) = wrong {
            found.note(
                &written,
                format!("{wrong:?} is no absolute path"),
                "Write the absolute path of a credentials file, or \"vm:NAME\".",
            );
        }
        credentials
    }
}

/// Free space of the state directory below which `status` warns unless the configuration states
/// another limit, bytes: about the local state of an archive of 1 TiB with 25 % of data.
pub const STATE_FREE_BYTES: u64 = 256 << 20;

/// Ages of an archive from which `status` warns, seconds, and free space below which it warns,
/// bytes; `None`: never.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Warn {
    /// The newest session of any volume is older.
    pub backup_secs: Option<u64>,
    /// A part of the store was not read for longer.
    pub verify_secs: Option<u64>,
    /// No passphrase has opened the archive, with all its session keys, for longer.
    pub key_proof_secs: Option<u64>,
    /// No prune by rules has succeeded for longer.
    pub prune_secs: Option<u64>,
    /// No rehearsal has succeeded for longer.
    pub rehearsal_secs: Option<u64>,
    /// The store stated less free space when it was last opened.
    pub store_free_bytes: Option<u64>,
    /// The file system of the state directory has less free space; `None`: [`STATE_FREE_BYTES`].
    pub state_free_bytes: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WrittenArchive {
    store: Spanned<String>,
    credentials: Option<Spanned<WrittenCredentials>>,
    signed: Option<Spanned<bool>>,
    via: Option<Spanned<String>>,
    verify_via: Option<Spanned<String>>,
    #[serde(default)]
    copies: Vec<Spanned<String>>,
    #[serde(default)]
    keep: WrittenKeep,
    #[serde(default)]
    keep_volumes: BTreeMap<String, WrittenKeep>,
    minimum_age: Option<Spanned<String>>,
    #[serde(default)]
    warn: WrittenWarn,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenWarn {
    backup: Option<Spanned<String>>,
    verify: Option<Spanned<String>>,
    key_proof: Option<Spanned<String>>,
    prune: Option<Spanned<String>>,
    rehearsal: Option<Spanned<String>>,
    store_free: Option<Spanned<String>>,
    state_free: Option<Spanned<String>>,
}

impl WrittenWarn {
    fn check(self, found: &mut Found) -> Warn {
        let room = |text: Option<Spanned<String>>, found: &mut Found| {
            found.check(positive(&text?, parse_bytes, "\"256M\", \"10G\""))
        };
        let mut age = |text: Option<Spanned<String>>| {
            found.check(positive(&text?, parse_secs, "\"2d\", \"12h\""))
        };
        Warn {
            backup_secs: age(self.backup),
            verify_secs: age(self.verify),
            key_proof_secs: age(self.key_proof),
            prune_secs: age(self.prune),
            rehearsal_secs: age(self.rehearsal),
            store_free_bytes: room(self.store_free, found),
            state_free_bytes: room(self.state_free, found),
        }
    }
}

/// Notes what is wrong with the address of a store.
fn check_address(address: &Spanned<String>, found: &mut Found) {
    match check_store_address(address.as_ref()) {
        Ok(()) => {}
        Err(StoreMistake::NoStore) => found.note(
            address,
            format!("{:?} is no store", address.as_ref()),
            &format!("Write one of {STORES_ALLOWED}."),
        ),
        Err(StoreMistake::Secret) => found.note(
            address,
            "the address of a store holds a password".into(),
            "Remove it from the address, and name a file that has it: credentials = \"FILE\".",
        ),
    }
}

impl WrittenArchive {
    pub(crate) fn check(self, found: &mut Found) -> Archive {
        check_address(&self.store, found);
        let mut copies: Vec<String> = Vec::new();
        for copy in self.copies {
            check_address(&copy, found);
            if copy.as_ref() == self.store.as_ref() || copies.contains(copy.as_ref()) {
                found.note(
                    &copy,
                    format!("{:?} is named twice", copy.as_ref()),
                    "Name each copy once; the archive's own store is none.",
                );
            }
            copies.push(copy.into_inner());
        }
        let mut far_end = |written: Option<Spanned<String>>| {
            let via = written?;
            let parsed = via.as_ref().parse().ok();
            if parsed.is_none() {
                found.note(
                    &via,
                    format!("{:?} is no far end", via.as_ref()),
                    &format!("Write one of {VIA_ALLOWED}."),
                );
            }
            parsed
        };
        let (via, verify_via) = (far_end(self.via), far_end(self.verify_via));
        let minimum_age = self
            .minimum_age
            .and_then(|text| found.check(positive(&text, parse_secs, "\"14d\"")));
        let keep_volumes = self.keep_volumes.into_iter();
        let credentials = self
            .credentials
            .map(|written| WrittenCredentials::check(written, found));
        let signed = self.signed.as_ref().filter(|signed| *signed.as_ref());
        if let Some(signed) = signed {
            if !self.store.as_ref().starts_with("s3:") {
                found.note(
                    signed,
                    "requests to this store cannot be signed".into(),
                    "Remove `signed`, or name a store at s3://.",
                );
            } else if !credentials.as_ref().is_some_and(Credentials::are_here) {
                found.note(
                    signed,
                    "this machine has no credentials with which it could sign".into(),
                    "Name a file of this machine: credentials = \"/absolute/path\".",
                );
            }
        }
        Archive {
            keep: self.keep.check(found),
            keep_volumes: keep_volumes
                .map(|(volume, keep)| (volume, keep.check(found)))
                .collect(),
            minimum_age_secs: minimum_age.unwrap_or(0),
            signed: signed.is_some(),
            credentials,
            store: self.store.into_inner(),
            via: via.unwrap_or(Via::Local),
            verify_via,
            copies,
            warn: self.warn.check(found),
        }
    }
}
