// SPDX-License-Identifier: GPL-3.0-or-later
//! Older versions of blobs in a call whose requests are signed: the far end lists the ids of one
//! blob's versions, and a range of one of them is signed by its id. Only a fetch does it. An id
//! that the far end made up leads to no object but the blob's own, of which nothing is believed
//! before it was opened.

use std::collections::BTreeMap;

use wyng_control::Failure;
use wyng_s3::VersionId;
use wyng_wire::GET_VERSION_MAX;

/// Maximum number of blobs whose versions are listed in a call: packs of 16 MiB hold 2 TiB.
const LISTED_MAX: usize = 1 << 17;
/// Maximum number of ids that are kept in a call.
const IDS_MAX: usize = 1 << 18;

/// The ids that were listed in a call, by blob; the newest version first.
#[derive(Default)]
pub(super) struct OlderVersions {
    ids: BTreeMap<[u8; 32], Vec<VersionId>>,
    count: usize,
}

impl OlderVersions {
    /// The id of a version of a blob; `None` if it is not known.
    pub(super) fn id_of(&self, name: &[u8; 32], version: u8) -> Option<&VersionId> {
        let place = usize::from(version).checked_sub(1)?;
        self.ids.get(name)?.get(place)
    }

    /// Whether the versions of this blob are to be listed: once, while there is room.
    pub(super) fn must_list(&self, name: &[u8; 32]) -> bool {
        let has_room = self.ids.len() < LISTED_MAX && self.count < IDS_MAX;
        has_room && !self.ids.contains_key(name)
    }

    /// Notes what was listed; [`Failure::FarEndProtocol`] for more ids than may come, or one that
    /// is none.
    pub(super) fn note(&mut self, name: [u8; 32], stated: &[String]) -> Result<(), Failure> {
        let ids: Option<Vec<VersionId>> = stated.iter().map(|id| VersionId::new(id)).collect();
        let ids = ids.filter(|ids| ids.len() <= GET_VERSION_MAX.into());
        let ids = ids.ok_or(Failure::FarEndProtocol)?;
        self.count = self.count.saturating_add(ids.len());
        self.ids.insert(name, ids);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: [u8; 32] = [7; 32];

    #[test]
    fn ids_that_no_request_may_carry_end_the_call() {
        let long = "v".repeat(65);
        for id in ["", "a&b=c", "a%26", "a/b", "a b", "\u{e9}", &long] {
            let mut older = OlderVersions::default();
            let noted = older.note(NAME, &["v2".into(), id.into()]);
            assert_eq!(noted, Err(Failure::FarEndProtocol), "{id:?}");
            assert_eq!(older.id_of(&NAME, 1), None, "{id:?}");
        }
        let mut older = OlderVersions::default();
        let sixteen = vec!["v".to_owned(); 16];
        assert_eq!(older.note(NAME, &sixteen), Err(Failure::FarEndProtocol));
        assert_eq!(older.note(NAME, &sixteen[1..]), Ok(()));
        assert_eq!(older.id_of(&NAME, 15).map(VersionId::as_str), Some("v"));
        assert_eq!(older.id_of(&NAME, 0), None);
        assert_eq!(older.id_of(&NAME, 16), None);
        assert_eq!(older.id_of(&[8; 32], 1), None);
    }

    #[test]
    fn the_versions_of_a_blob_are_listed_once_and_those_of_too_many_are_not() {
        let mut older = OlderVersions::default();
        assert!(older.must_list(&NAME));
        assert_eq!(older.note(NAME, &[]), Ok(()));
        assert!(!older.must_list(&NAME), "there are none, which is known");
        older.count = IDS_MAX;
        assert!(!older.must_list(&[8; 32]));
    }
}
