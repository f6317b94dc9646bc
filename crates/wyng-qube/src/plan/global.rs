// SPDX-License-Identifier: GPL-3.0-or-later
//! Settings of the whole system. They are never applied: a person gets commands to copy.

use crate::answer::Property;
use crate::form::is_plain;
use crate::record::GlobalRecord;
use crate::shown::Shown;

/// Maximum length of a value that stands in a command, bytes.
const VALUE_MAX_BYTES: usize = 255;
/// Characters of a value, beside letters and digits, that mean nothing to a shell.
const PLAIN: &str = "._-+:/@,";

/// A command for each property that has a value of its own and another one here, in the order of
/// their names. A value that would mean something to a shell is shown in a comment, and not in a
/// command.
pub fn global_commands(record: &GlobalRecord, here: &[Property]) -> Vec<String> {
    let is_here = |name: &str, value: &str| {
        let same = |found: &Property| found.name == name && found.value == value;
        here.iter().any(same)
    };
    record
        .properties
        .iter()
        .filter(|(name, found)| !found.default && !is_here(name, &found.value))
        .map(|(name, found)| {
            let value = found.value.as_str();
            if value.is_empty() {
                format!("qubes-prefs {name} ''")
            } else if is_plain(value, VALUE_MAX_BYTES, PLAIN) && !value.starts_with('-') {
                format!("qubes-prefs {name} {value}")
            } else {
                format!("# {name} was: {}", Shown::of(value))
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::answer::properties;
    use crate::record::GlobalParts;

    #[test]
    fn own_values_are_commands_and_none_can_do_anything_else() {
        let text = "clockvm default=False type=vm sys-net\n\
            default_kernel default=True type=str 6.6\n\
            evil default=False type=str a; rm -rf x\n\
            flag default=False type=str --force\n\
            lines default=False type=str a\\nrm x\n\
            updatevm default=False type=vm \n";
        let record = GlobalRecord::of(&GlobalParts {
            properties: &properties(text).unwrap(),
            labels: &[],
            drivers: &BTreeMap::new(),
            features: &[],
        });
        let record = record.unwrap();
        let commands = global_commands(&record, &[]);
        assert_eq!(
            commands,
            [
                "qubes-prefs clockvm sys-net",
                "# evil was: a; rm -rf x",
                "# flag was: --force",
                "# lines was: a\\u{a}rm x",
                "qubes-prefs updatevm ''",
            ]
        );
        let here = properties(
            "clockvm default=False type=vm sys-net\n\
            updatevm default=False type=vm sys-whonix\n",
        );
        let commands = global_commands(&record, &here.unwrap());
        assert!(!commands.iter().any(|line| line.contains("clockvm")));
        assert!(commands.contains(&"qubes-prefs updatevm ''".to_owned()));
    }
}
