// SPDX-License-Identifier: GPL-3.0-or-later
//! The elements of an XML answer, without their prefixes and attributes. A document that is not
//! well-formed, too deep, or defines entities of its own is refused.

use quick_xml::Reader;
use quick_xml::events::{BytesRef, Event};

/// Maximum number of elements inside each other.
const DEPTH_MAX: usize = 32;
/// Maximum length of the text of one element, bytes.
const TEXT_MAX_BYTES: usize = 16 * 1024;

/// Where an element begins or ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Tag<'t> {
    /// It begins.
    Begin(&'t str),
    /// It ends, with this text in it, outside its elements.
    End(&'t str, &'t str),
}

/// Passes each tag to `visit`. `None` if the document is refused, or `visit` refuses it.
pub(super) fn walk(document: &[u8], mut visit: impl FnMut(Tag<'_>) -> Option<()>) -> Option<()> {
    let mut reader = Reader::from_reader(document);
    reader.config_mut().expand_empty_elements = true;
    let mut open: Vec<(String, String)> = Vec::new();
    loop {
        match reader.read_event().ok()? {
            Event::Start(tag) => {
                let name = std::str::from_utf8(tag.local_name().into_inner())
                    .ok()?
                    .to_owned();
                visit(Tag::Begin(&name))?;
                open.push((name, String::new()));
                if open.len() > DEPTH_MAX {
                    return None;
                }
            }
            Event::End(_) => {
                let (name, text) = open.pop()?;
                visit(Tag::End(&name, &text))?;
            }
            Event::Text(text) => push(&mut open, &text.decode().ok()?)?,
            Event::CData(text) => push(&mut open, &text.decode().ok()?)?,
            Event::GeneralRef(entity) => {
                push(&mut open, character(&entity)?.encode_utf8(&mut [0; 4]))?
            }
            Event::Eof => return open.is_empty().then_some(()),
            Event::DocType(_) => return None,
            Event::Empty(_) | Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
        }
    }
}

fn push(open: &mut [(String, String)], more: &str) -> Option<()> {
    // Text outside every element is white space.
    let Some((_, text)) = open.last_mut() else {
        return Some(());
    };
    text.push_str(more);
    (text.len() <= TEXT_MAX_BYTES).then_some(())
}

fn character(entity: &BytesRef<'_>) -> Option<char> {
    if entity.is_char_ref() {
        return entity.resolve_char_ref().ok()?;
    }
    match &*entity.decode().ok()? {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(document: &str) -> Option<Vec<String>> {
        let mut tags = Vec::new();
        walk(document.as_bytes(), |tag| {
            tags.push(format!("{tag:?}"));
            Some(())
        })?;
        Some(tags)
    }

    #[test]
    fn prefixes_and_entities_are_resolved() {
        assert_eq!(
            tags("<?xml version='1.0'?><d:a xmlns:d='x'><b>1 &amp; &#50;</b><c/></d:a>").unwrap(),
            [
                "Begin(\"a\")",
                "Begin(\"b\")",
                "End(\"b\", \"1 & 2\")",
                "Begin(\"c\")",
                "End(\"c\", \"\")",
                "End(\"a\", \"\")"
            ]
        );
    }

    #[test]
    fn what_is_cut_deep_or_has_entities_of_its_own_is_refused() {
        for document in [
            "<a><b></b>",
            "<a></b>",
            "<a>&own;</a>",
            "<!DOCTYPE a [<!ENTITY own 'x'>]><a/>",
        ] {
            assert_eq!(tags(document), None, "{document}");
        }
        assert_eq!(tags(&"<a>".repeat(100)), None);
        assert_eq!(tags(&format!("<a>{}</a>", "x".repeat(20_000))), None);
    }
}
