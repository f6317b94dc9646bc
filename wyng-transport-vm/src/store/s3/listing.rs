// SPDX-License-Identifier: GPL-3.0-or-later
//! What S3 answers in XML: pages of a listing, versions of an object, and the code of an error.

use wyng_wire::{BlobName, VersionId};

use crate::store::xml::{Tag, walk};

/// A page of a listing.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Page {
    /// Keys and lengths, bytes, as they came.
    pub(super) objects: Vec<(String, u64)>,
    /// More pages follow.
    pub(super) continues: bool,
}

impl Page {
    /// `None` for anything that is not a page.
    pub(super) fn parse(document: &[u8]) -> Option<Self> {
        let mut page = Self::default();
        let (mut is_listing, mut inside) = (false, false);
        let (mut key, mut length) = (None, None);
        walk(document, |tag| {
            match tag {
                Tag::Begin("ListBucketResult") => is_listing = true,
                Tag::Begin("Contents") => {
                    (inside, key, length) = (true, None, None);
                }
                Tag::End("Key", text) if inside => key = Some(text.to_owned()),
                Tag::End("Size", text) if inside => length = text.trim().parse().ok(),
                Tag::End("Contents", _) => {
                    inside = false;
                    page.objects.push((key.take()?, length?));
                }
                Tag::End("IsTruncated", text) => page.continues = text.trim() == "true",
                _ => {}
            }
            Some(())
        })?;
        is_listing.then_some(page)
    }
}

/// The ids of the older versions of an object, the newest first; `None` for anything else.
pub(super) fn older_versions(document: &[u8], key: &str) -> Option<Vec<String>> {
    let mut ids = Vec::new();
    let (mut is_listing, mut inside) = (false, false);
    let (mut of_key, mut id, mut is_latest) = (false, None, false);
    walk(document, |tag| {
        match tag {
            Tag::Begin("ListVersionsResult") => is_listing = true,
            Tag::Begin("Version") => (inside, of_key, id, is_latest) = (true, false, None, false),
            Tag::End("Key", text) if inside => of_key = text == key,
            Tag::End("VersionId", text) if inside => id = Some(text.to_owned()),
            Tag::End("IsLatest", text) if inside => is_latest = text.trim() == "true",
            Tag::End("Version", _) => {
                inside = false;
                let id = id.take().filter(|id| VersionId::new(id).is_some());
                ids.extend(id.filter(|_| of_key && !is_latest));
            }
            _ => {}
        }
        Some(())
    })?;
    is_listing.then_some(ids)
}

/// Whether a listing of versions has any.
pub(super) fn has_versions(document: &[u8]) -> bool {
    let (mut is_listing, mut has_any) = (false, false);
    let walked = walk(document, |tag| {
        is_listing |= matches!(tag, Tag::Begin("ListVersionsResult"));
        has_any |= matches!(tag, Tag::Begin("Version"));
        Some(())
    });
    walked.is_some() && is_listing && has_any
}

/// The code of an error: a word, for the journal and for what it means; empty if there is none.
pub(super) fn error_code(document: &[u8]) -> String {
    let mut code = String::new();
    let _ = walk(document, |tag| {
        if let Tag::End("Code", text) = tag {
            code = text.to_owned();
        }
        Some(())
    });
    let is_word = code.len() <= 64 && code.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if is_word { code } else { String::new() }
}

/// The name of the blob under a key.
pub(super) fn blob_of(key: &str, prefix: &str) -> Option<BlobName> {
    BlobName::from_hex(key.strip_prefix(prefix)?.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_its_keys_in_their_order() {
        let page = "<?xml version=\"1.0\"?><ListBucketResult xmlns=\"x\"><Name>b</Name><Prefix>p/</Prefix>\
                    <KeyCount>2</KeyCount><IsTruncated>true</IsTruncated>\
                    <Contents><Key>p/a</Key><Size>7</Size><Owner><ID>1</ID></Owner></Contents>\
                    <Contents><Size>8</Size><Key>p/b&amp;c</Key></Contents></ListBucketResult>";
        let expected = Page {
            objects: vec![("p/a".into(), 7), ("p/b&c".into(), 8)],
            continues: true,
        };
        assert_eq!(Page::parse(page.as_bytes()), Some(expected));
        for length in 0..page.len() - 1 {
            assert_eq!(Page::parse(&page.as_bytes()[..length]), None, "{length}");
        }
        assert_eq!(Page::parse(b"<html><body>Welcome</body></html>"), None);
        let without_length = page.replace("<Size>7</Size>", "<Size>-7</Size>");
        assert_eq!(Page::parse(without_length.as_bytes()), None);
    }

    #[test]
    fn older_versions_are_those_of_the_key_that_are_not_the_latest() {
        let version = |key: &str, id: &str, latest: bool| {
            format!(
                "<Version><Key>{key}</Key><VersionId>{id}</VersionId><IsLatest>{latest}</IsLatest></Version>"
            )
        };
        let document = format!(
            "<ListVersionsResult>{}{}<DeleteMarker><Key>k</Key><VersionId>m</VersionId></DeleteMarker>{}{}{}</ListVersionsResult>",
            version("k", "v3", true),
            version("k", "v2", false),
            version("k", "not/an/id", false),
            version("k", "v1", false),
            version("k2", "other", false)
        );
        let ids = older_versions(document.as_bytes(), "k").unwrap();
        assert_eq!(ids, ["v2", "v1"]);
    }

    #[test]
    fn the_code_of_an_error_is_one_word() {
        assert_eq!(
            error_code(b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>"),
            "AccessDenied"
        );
        assert_eq!(error_code(b"<Error><Code>\x1b[2J</Code></Error>"), "");
        assert_eq!(error_code(b"not found"), "");
    }
}
