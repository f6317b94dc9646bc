// SPDX-License-Identifier: GPL-3.0-or-later
//! Properties of a qube, and those of the whole system.

use serde::{Deserialize, Serialize};

use super::lines::{all_differ, bool_of, lines};
use super::malformed::Malformed;
use crate::form::{is_domain, is_label_name, is_property_name};

/// Maximum length of a property's value, bytes.
pub const VALUE_MAX_BYTES: usize = 64 << 10;
/// Maximum number of digits of a number.
const DIGITS_MAX: usize = 20;
const GET_ALL: &str = "property.GetAll";
const GET: &str = "property.Get";

/// What a property's value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PropertyKind {
    /// A text.
    Str,
    /// A number, or nothing.
    Int,
    /// `True`, `False`, or nothing.
    Bool,
    /// A qube, dom0, or none.
    Vm,
    /// A label.
    Label,
}

impl PropertyKind {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "str" => Self::Str,
            "int" => Self::Int,
            "bool" => Self::Bool,
            "vm" => Self::Vm,
            "label" => Self::Label,
            _ => return None,
        })
    }

    /// Whether a property of this kind can have the value. Every kind but a label may be empty.
    pub fn fits(self, value: &str) -> bool {
        value.len() <= VALUE_MAX_BYTES
            && match self {
                Self::Str => !value.contains('\0'),
                Self::Int => value.is_empty() || is_number(value),
                Self::Bool => value.is_empty() || bool_of(value).is_some(),
                Self::Vm => value.is_empty() || is_domain(value),
                Self::Label => is_label_name(value),
            }
    }
}

/// One property.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Property {
    /// Its name.
    pub name: String,
    /// Whether the value is that of a default, and not its own.
    pub is_default: bool,
    /// What the value is.
    pub kind: PropertyKind,
    /// The value, which fits the kind. Of a qube that is none: empty.
    pub value: String,
}

/// The answer to `admin.vm.property.GetAll` or `admin.property.GetAll`: lines of `NAME
/// default=True|False type=TYPE VALUE`, in which a backslash is `\\` and a line feed `\n`.
pub fn properties(text: &str) -> Result<Vec<Property>, Malformed> {
    let found: Vec<Property> = lines(GET_ALL, text)?
        .into_iter()
        .map(|line| {
            let (name, value) = line
                .split_once(' ')
                .filter(|(name, _)| is_property_name(name))
                .ok_or(Malformed::new(GET_ALL, "a line has no name"))?;
            let value = unescaped(value)
                .ok_or(Malformed::new(GET_ALL, "a backslash escapes nothing known"))?;
            of_value(GET_ALL, name, &value)
        })
        .collect::<Result<_, _>>()?;
    if all_differ(found.iter().map(|property| property.name.as_str())) {
        Ok(found)
    } else {
        Err(Malformed::new(GET_ALL, "a property is there twice"))
    }
}

/// The answer to `admin.vm.property.Get` or `admin.property.Get` of this name: `default=True|False
/// type=TYPE VALUE`, unescaped.
pub fn property(name: &str, text: &str) -> Result<Property, Malformed> {
    of_value(GET, name, text)
}

fn of_value(call: &'static str, name: &str, text: &str) -> Result<Property, Malformed> {
    let mut parts = text.splitn(3, ' ');
    let mut part = |prefix: &str| parts.next().and_then(|part| part.strip_prefix(prefix));
    let wrong = |what| Malformed::new(call, what);
    let is_default = part("default=")
        .and_then(bool_of)
        .ok_or(wrong("a property does not say whether it has its default"))?;
    let kind = part("type=")
        .and_then(PropertyKind::of)
        .ok_or(wrong("a property has no known type"))?;
    let value = part("")
        .filter(|value| kind.fits(value))
        .ok_or(wrong("a value does not fit its type"))?;
    Ok(Property {
        name: name.to_owned(),
        is_default,
        kind,
        value: value.to_owned(),
    })
}

/// `None` where a backslash is followed by anything but a backslash or an `n`.
fn unescaped(text: &str) -> Option<String> {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        plain.push(match char {
            '\\' => match chars.next()? {
                '\\' => '\\',
                'n' => '\n',
                _ => return None,
            },
            other => other,
        });
    }
    Some(plain)
}

/// Digits, with a minus in front where it is below zero.
fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    (1..=DIGITS_MAX).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Property {
        properties(text).unwrap().remove(0)
    }

    #[test]
    fn properties_have_a_default_a_type_and_a_value() {
        let memory = found("memory default=False type=int 512\n");
        assert!(!memory.is_default);
        assert_eq!(
            (memory.kind, memory.value.as_str()),
            (PropertyKind::Int, "512")
        );
        let netvm = found("netvm default=False type=vm \n");
        assert_eq!((netvm.kind, netvm.value.as_str()), (PropertyKind::Vm, ""));
        assert!(found("kernelopts default=True type=str a b=c\n").is_default);
        assert_eq!(found("x default=True type=str a b=c\n").value, "a b=c");
    }

    #[test]
    fn a_value_of_get_all_is_unescaped_and_one_of_get_is_not() {
        assert_eq!(
            found("x default=False type=str a\\\\n\\nb\n").value,
            "a\\n\nb"
        );
        let got = property("x", "default=False type=str a\\n\nb").unwrap();
        assert_eq!(got.value, "a\\n\nb");
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for wrong in [
            "memory default=False type=int 512",
            "memory default=false type=int 512\n",
            "memory default=False type=float 5.0\n",
            "memory default=False type=int 5x\n",
            "memory default=False type=int\n",
            "debug default=False type=bool yes\n",
            "netvm default=False type=vm a/b\n",
            "netvm default=False type=vm none\n",
            "label default=False type=label \n",
            "x default=False type=str a\\tb\n",
            "x default=False type=str a\\\n",
            "a.b default=False type=str x\n",
            "x default=False type=str 1\nx default=False type=str 2\n",
            "\n",
        ] {
            assert!(properties(wrong).is_err(), "{wrong:?}");
        }
    }
}
