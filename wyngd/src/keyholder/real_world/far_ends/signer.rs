// SPDX-License-Identifier: GPL-3.0-or-later
//! Signs requests to S3 for a far end that has no key. Each signature is that of one request, which
//! names one object and its bytes, one range, one look or one page. The id of an older version is
//! the far end's word; it becomes the value of one parameter of a GET, and of nothing else. A
//! DELETE is signed only for a name that the engine's guard has checked, or that `store check`
//! drew. No lock is made shorter: the service refuses that, and a bypass is never signed. The time
//! is that of this machine's clock alone; while that clock is known to be ahead, nothing that
//! reads, lists or deletes is signed. What stores or locks is harmless at any time.

use std::num::NonZeroU32;
use std::time::{SystemTime, UNIX_EPOCH};

use wyng_config::without_credentials;
use wyng_control::Failure;
use wyng_engine::world::{Doomed, Place};
use wyng_s3::{AccessKey, Action, LockUntil, S3Address, Stamp, Url, VersionId};
use wyng_wire::{KEY_ID_MAX, TOKEN_MAX};

use super::ahead::Ahead;
use super::fetch::Range;
use crate::ipc::{Service, Signature, SignedPage};

/// Maximum number of times that a request is signed again because its time was refused.
pub(super) const SIGNED_AGAIN_MAX: u8 = 3;

/// What the first look at a store is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// The blobs that it serves.
    Served,
    /// Older versions of blobs.
    Versions,
}

/// The bucket and the access key of one service.
pub(super) struct Signer {
    bucket: S3Address,
    key: AccessKey,
    /// Until when what is stored in this call is locked.
    lock: Option<LockUntil>,
    /// How the clock stands in a call that reads or deletes.
    ahead: Option<Ahead>,
    /// The store's address, as it is shown.
    store: String,
}

impl Signer {
    /// The signer of a service at this place; `None` where the far end has credentials of its own.
    ///
    /// # Errors
    /// [`Failure::StoreAddress`] if the address is not understood, [`Failure::StoreDenied`] if the
    /// owner has no access key for the service, [`Failure::BadCredentials`] if no frame can carry
    /// its public part, and what reading the clocks fails with.
    pub(super) fn of(
        place: &Place,
        service: Service,
        clocks: impl FnOnce() -> Result<Ahead, Failure>,
    ) -> Result<Option<Self>, Failure> {
        if !place.credentials.are_signing() {
            return Ok(None);
        }
        let store = || without_credentials(&place.url);
        let bucket = Url::parse(&place.url).and_then(|url| S3Address::parse(&url));
        let bucket = bucket.ok_or_else(|| Failure::StoreAddress { store: store() })?;
        let value = |key| place.credentials.value(service.into(), key);
        let (Some(id), Some(secret)) = (value("access_key_id"), value("secret_access_key")) else {
            return Err(Failure::StoreDenied { store: store() });
        };
        let token = value("session_token").filter(|token| !token.is_empty());
        let is_visible = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        let fits = (1..=KEY_ID_MAX).contains(&id.len())
            && is_visible(&id)
            && token
                .as_ref()
                .is_none_or(|token| token.len() <= TOKEN_MAX && is_visible(token));
        if !fits {
            return Err(Failure::BadCredentials);
        }
        let key = AccessKey {
            id: id.to_string(),
            secret,
            token,
        };
        let lock = bucket.locked_until(place.lock_until_day);
        let ahead = match service {
            Service::Push => None,
            Service::Fetch | Service::Prune => Some(clocks()?),
        };
        let store = store();
        Ok(Some(Self {
            bucket,
            key,
            lock,
            ahead,
            store,
        }))
    }

    /// The first look at the store.
    ///
    /// # Errors
    /// [`Failure::StoreClockAhead`] as for everything that reads, lists or deletes.
    pub(super) fn look(&self, at: Look) -> Result<Signature, Failure> {
        self.sign_in_time(&match at {
            Look::Served => Action::Look,
            Look::Versions => Action::LookAtVersions,
        })
    }

    /// Storing exactly these bytes, if the name is free.
    pub(super) fn put(&self, name: &[u8; 32], length_bytes: u32, sha256: [u8; 32]) -> Signature {
        self.sign(&Action::Put {
            name,
            length_bytes,
            body_sha256: sha256,
            lock: self.lock,
        })
    }

    /// Lengthening the lock of one blob to a day; `None` where the address has no lock.
    pub(super) fn renew(&self, name: &[u8; 32], until_day: u32) -> Option<Signature> {
        let until = self.bucket.locked_until(until_day)?;
        Some(self.sign(&Action::Renew { name, until }))
    }

    /// A deletion that the engine allows.
    pub(super) fn delete(&self, doomed: Doomed) -> Result<Signature, Failure> {
        self.sign_in_time(&Action::Delete(&doomed.name().0))
    }

    /// Looking for a blob.
    pub(super) fn stat(&self, name: &[u8; 32]) -> Result<Signature, Failure> {
        self.sign_in_time(&Action::Stat(name))
    }

    /// Reading one range of what is served, or of the older version with this id, of which a
    /// range of no bytes of an older version is [`Failure::Internal`].
    pub(super) fn get(&self, range: &Range, id: Option<&VersionId>) -> Result<Signature, Failure> {
        let Range {
            ref name,
            offset_bytes,
            length_bytes,
            ..
        } = *range;
        self.sign_in_time(&match id {
            None => Action::Get {
                name,
                offset_bytes,
                length_bytes,
            },
            Some(id) => Action::GetVersion {
                name,
                id,
                offset_bytes,
                length_bytes: NonZeroU32::new(length_bytes)
                    .ok_or_else(|| Failure::internal("nothing of a version is wanted"))?,
            },
        })
    }

    /// Listing the versions of one blob.
    pub(super) fn versions(&self, name: &[u8; 32]) -> Result<Signature, Failure> {
        self.sign_in_time(&Action::Versions(name))
    }

    /// Listing the page behind a name.
    pub(super) fn page(&self, after: Option<[u8; 32]>) -> Result<SignedPage, Failure> {
        let signature = self.sign_in_time(&Action::Page {
            after: after.as_ref(),
        })?;
        Ok(SignedPage { after, signature })
    }

    /// [`Failure::StoreClockAhead`] while nothing is signed that could do harm if it were sent
    /// later than now.
    pub(super) fn check_clock(&self) -> Result<(), Failure> {
        if self.ahead.as_ref().is_some_and(Ahead::has_jumped) {
            let store = self.store.clone();
            return Err(Failure::StoreClockAhead { store });
        }
        Ok(())
    }

    /// Signs what could do harm if it were sent later than now.
    fn sign_in_time(&self, action: &Action<'_>) -> Result<Signature, Failure> {
        self.check_clock()?;
        Ok(self.sign(action))
    }

    fn sign(&self, action: &Action<'_>) -> Signature {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let time_secs = now.unwrap_or_default().as_secs();
        let stamp = Stamp::at(i64::try_from(time_secs).unwrap_or(i64::MAX));
        let signed = action.sign(&self.bucket, &self.key, stamp);
        Signature {
            time_secs,
            signature: signed.mac,
            body_sha256: action.body_sha256(),
            key_id: signed.key_id,
            token: signed.token.unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signer(parted_secs: Option<i64>) -> Signer {
        let url = Url::parse("s3://disks/store?endpoint=https://host").unwrap();
        Signer {
            bucket: S3Address::parse(&url).unwrap(),
            key: AccessKey {
                id: "AKIA".into(),
                secret: "secret".to_owned().into(),
                token: None,
            },
            lock: None,
            ahead: parted_secs.map(Ahead::of),
            store: "s3://disks/store".into(),
        }
    }

    const RANGE: Range = Range {
        name: [7; 32],
        offset_bytes: 3,
        length_bytes: 4,
        version: 1,
    };

    #[test]
    fn an_id_makes_another_request_and_none_for_a_range_of_no_bytes() {
        let signer = signer(Some(0));
        let [one, other] = ["v1", "v2"].map(|id| VersionId::new(id).unwrap());
        let mac = |id| signer.get(&RANGE, id).unwrap().signature;
        assert_ne!(mac(Some(&one)), mac(Some(&other)));
        assert_ne!(mac(Some(&one)), mac(None));
        let empty = Range {
            length_bytes: 0,
            ..RANGE
        };
        assert!(matches!(
            signer.get(&empty, Some(&one)),
            Err(Failure::Internal { .. })
        ));
        assert!(
            signer.get(&empty, None).is_ok(),
            "what is served has a HEAD"
        );
    }

    #[test]
    fn while_the_clock_is_ahead_only_what_stores_or_locks_is_signed() {
        let id = VersionId::new("v1").unwrap();
        for (parted_secs, is_signed) in [(Some(7200), false), (Some(0), true), (None, true)] {
            let signer = signer(parted_secs);
            let signed = [
                signer.look(Look::Served).is_ok(),
                signer.look(Look::Versions).is_ok(),
                signer.stat(&[7; 32]).is_ok(),
                signer.get(&RANGE, None).is_ok(),
                signer.get(&RANGE, Some(&id)).is_ok(),
                signer.versions(&[7; 32]).is_ok(),
                signer.page(None).is_ok(),
                signer.check_clock().is_ok(),
            ];
            assert_eq!(signed, [is_signed; 8], "{parted_secs:?}");
            // Infallible, whatever the clock says.
            let _: Signature = signer.put(&[7; 32], 1, [0; 32]);
        }
    }
}
