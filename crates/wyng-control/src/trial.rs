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
