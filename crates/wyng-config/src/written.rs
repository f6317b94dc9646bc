// SPDX-License-Identifier: GPL-3.0-or-later
//! From the text to its tables. Parsing goes on after a mistake, so that all mistakes are reported
//! at once. The shape is known here, not the meaning.

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use crate::archive::WrittenArchive;
use crate::mistake::{At, Found};
use crate::monitor::WrittenMonitor;
use crate::profile::WrittenProfile;
use crate::qubes::{WrittenFarEnds, WrittenQubes};

const TABLES: &str =
    "Write one of [archives.NAME], [volumes], [profiles.NAME], [qubes], [far_ends], [monitor].";

/// The tables of the text, as far as their shape is right.
#[derive(Default)]
pub(crate) struct Document {
    pub(crate) archives: Vec<(Spanned<String>, WrittenArchive)>,
    pub(crate) volumes: Vec<(Spanned<String>, Spanned<String>)>,
    pub(crate) profiles: Vec<(Spanned<String>, WrittenProfile)>,
    pub(crate) qubes: WrittenQubes,
    pub(crate) far_ends: WrittenFarEnds,
    pub(crate) monitor: WrittenMonitor,
}

/// Parses the text. Text that is not TOML is reported before anything else, because its meaning is
/// unknown.
pub(crate) fn parse(text: &str, found: &mut Found) -> Document {
    let (tables, errors) = DeTable::parse_recoverable(text);
    let mut document = Document::default();
    if !errors.is_empty() {
        for error in &errors {
            found.push(At::of_toml(error));
        }
        found.keep_one_a_line(text);
        return document;
    }
    for (name, value) in tables.into_inner() {
        match name.as_ref().as_ref() {
            "archives" => document.archives = entries(value, found),
            "volumes" => document.volumes = entries(value, found),
            "profiles" => document.profiles = entries(value, found),
            "qubes" => document.qubes = shape(value, found).unwrap_or_default(),
            "far_ends" => document.far_ends = shape(value, found).unwrap_or_default(),
            "monitor" => document.monitor = shape(value, found).unwrap_or_default(),
            other => found.note(&name, format!("unknown table `{other}`"), TABLES),
        }
    }
    document
}

/// The entries of a table, each parsed separately, in the order of the text.
fn entries<T: DeserializeOwned>(
    table: Spanned<DeValue<'_>>,
    found: &mut Found,
) -> Vec<(Spanned<String>, T)> {
    let at = table.span();
    let DeValue::Table(table) = table.into_inner() else {
        found.note(&Spanned::new(at, ()), "this is not a table".into(), TABLES);
        return Vec::new();
    };
    let owned = |name: Spanned<_>| {
        Spanned::new(
            name.span(),
            AsRef::<std::borrow::Cow<'_, str>>::as_ref(&name)
                .clone()
                .into_owned(),
        )
    };
    let mut entries: Vec<_> = table
        .into_iter()
        .filter_map(|(name, value)| Some((owned(name), shape(value, found)?)))
        .collect();
    entries.sort_by_key(|(name, _)| name.span().start);
    entries
}

/// Deserializes a value. A wrong field is reported and left out, so that the other fields are
/// checked too. `None` when the rest is not enough.
fn shape<T: DeserializeOwned>(mut value: Spanned<DeValue<'_>>, found: &mut Found) -> Option<T> {
    let mut left_out = false;
    loop {
        let error = match T::deserialize(ValueDeserializer::from(value.clone())) {
            Ok(read) => return Some(read),
            Err(error) => error,
        };
        let at = error.span().unwrap_or_default();
        let fields = if let DeValue::Table(fields) = value.get_mut() {
            Some(fields)
        } else {
            None
        };
        let wrong = fields.and_then(|fields| {
            let (name, _) = fields.iter().find(|(name, value)| {
                name.span().contains(&at.start) || value.span().contains(&at.start)
            })?;
            let name = name.clone();
            fields.remove(&name)
        });
        // A field that is missing because it was left out is not reported again.
        if wrong.is_some() || !left_out {
            found.push(At::of_toml(&error));
        }
        wrong?;
        left_out = true;
    }
}
