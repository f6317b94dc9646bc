// SPDX-License-Identifier: GPL-3.0-or-later
//! What `store check` tries, and what comes of it.

use bincode::{Decode, Encode};

/// What `store check` found.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct StoreChecked {
    /// Where the store is, without credentials.
    pub store_url: String,
    /// The far end.
    pub via: String,
    /// Free space as the far end states it, bytes; `None`: it states none.
    pub free_bytes: Option<u64>,
    /// The name of the blob that was put, if the store refuses to delete it: 64 hexadecimal digits.
    pub left_blob: Option<String>,
    /// The trials in the order in which they were made.
    pub results: Vec<(Trial, TrialResult)>,
    /// What the store can do beyond them.
    pub abilities: Abilities,
}

/// What far ends stated about a store, and what a trial of it showed. All of it is only a claim,
/// and loosens no check. `None`: not known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
pub struct Abilities {
    /// What keeps two blobs from one name.
    pub create_only: Option<CreateOnly>,
    /// What a receipt means.
    pub durability: Option<Durability>,
}

impl Abilities {
    /// These, and what only the earlier ones know.
    #[must_use]
    pub fn or(self, earlier: Self) -> Self {
        Self {
            create_only: self.create_only.or(earlier.create_only),
            durability: self.durability.or(earlier.durability),
        }
    }
}

/// What keeps two blobs from one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum CreateOnly {
    /// The store takes one of two blobs that come at the same moment.
    Atomic,
    /// The name is checked first and taken afterwards: two writers that act at the same moment can
    /// replace each other's blob.
    Checked,
}

impl CreateOnly {
    /// The word in JSON and in files.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Atomic => "atomic",
            Self::Checked => "checked",
        }
    }

    /// The value of a word.
    pub fn of_key(key: &str) -> Option<Self> {
        [Self::Atomic, Self::Checked]
            .into_iter()
            .find(|value| value.key() == key)
    }

    /// Words for a person; `None`: nobody has tried it.
    pub const fn words(value: Option<Self>) -> &'static str {
        match value {
            Some(Self::Atomic) => "atomic",
            Some(Self::Checked) => "checked, not atomic",
            None => "not tried",
        }
    }
}

/// What a receipt means after a power cut of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum Durability {
    /// What has a receipt is there.
    Durable,
    /// What was accepted last may be gone.
    Accepted,
}

impl Durability {
    /// The word in JSON and in files.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Durable => "durable",
            Self::Accepted => "accepted",
        }
    }

    /// The value of a word.
    pub fn of_key(key: &str) -> Option<Self> {
        [Self::Durable, Self::Accepted]
            .into_iter()
            .find(|value| value.key() == key)
    }

    /// Words for a person; `None`: no far end has said.
    pub const fn words(value: Option<Self>) -> &'static str {
        match value {
            Some(Self::Durable) => "durable",
            Some(Self::Accepted) => "accepted, not durable",
            None => "not known",
        }
    }
}

/// Something that an archive asks of its store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum Trial {
    /// Store a blob.
    Put,
    /// Refuse a second blob under a name that is taken.
    Exclude,
    /// Read a blob back, whole and in part.
    Fetch,
    /// List what is there.
    List,
    /// Delete a blob.
    Delete,
}

impl Trial {
    /// Words that complete "the store cannot …".
    pub const fn words(self) -> &'static str {
        match self {
            Self::Put => "store a blob",
            Self::Exclude => "refuse to overwrite a blob",
            Self::Fetch => "read a blob back",
            Self::List => "list its blobs",
            Self::Delete => "delete a blob",
        }
    }

    /// The word in JSON.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Exclude => "exclude",
            Self::Fetch => "fetch",
            Self::List => "list",
            Self::Delete => "delete",
        }
    }
}

/// The result of a [`Trial`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum TrialResult {
    /// It works.
    Works,
    /// A policy or the credentials do not allow it.
    Refused,
    /// The store does something else.
    Lacking,
    /// It was not tried: the blob could not have been deleted again.
    Untried,
}

impl TrialResult {
    /// The result of something that is allowed.
    pub const fn of(works: bool) -> Self {
        if works { Self::Works } else { Self::Lacking }
    }

    /// The word in JSON.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Works => "works",
            Self::Refused => "refused",
            Self::Lacking => "lacking",
            Self::Untried => "untried",
        }
    }
}
