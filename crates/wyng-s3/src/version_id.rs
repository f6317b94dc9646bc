// SPDX-License-Identifier: GPL-3.0-or-later
//! The id of a version of an object. It comes from the service by way of the network VM and goes
//! into a request that is signed, so that it is checked once more where the key is.

/// Maximum length of the id of a version, bytes.
const ID_MAX_BYTES: usize = 64;

/// 1 to 64 letters and digits of ASCII, `.`, `_` and `-`: the value of one parameter of a query,
/// whatever comes before and behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionId(Box<str>);

impl VersionId {
    /// The id of these characters; `None` if it has another alphabet or length.
    pub fn new(text: &str) -> Option<Self> {
        let is_character = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let fits = (1..=ID_MAX_BYTES).contains(&text.len()) && text.bytes().all(is_character);
        fits.then(|| Self(text.into()))
    }

    /// Its characters.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_with_another_alphabet_or_length_is_refused() {
        let long = "v".repeat(ID_MAX_BYTES + 1);
        let refused = [
            "", " ", "a&delete", "a%26", "a=b", "a/b", "a?b", "a#b", "a+b", "a\nb", "a\0", "\u{e9}",
        ];
        for text in refused.into_iter().chain([&*long]) {
            assert_eq!(VersionId::new(text), None, "{text:?}");
        }
        for text in ["null", "aZ09._-", &long[1..]] {
            assert_eq!(VersionId::new(text).map(|id| id.0), Some(text.into()));
        }
    }
}
