// SPDX-License-Identifier: GPL-3.0-or-later
//! Rules of a firewall, each a line. They are kept whole, in their order.

use super::lines::{all_differ, lines};
use super::malformed::Malformed;
use crate::form::is_printable;

/// Maximum length of all rules together, bytes.
pub const FIREWALL_MAX_BYTES: usize = 256 << 10;
/// Maximum length of a rule, bytes.
pub const RULE_MAX_BYTES: usize = 4096;
const CALL: &str = "admin.vm.firewall.Get";
/// The keys of a rule that qubesd takes back; a rule has `action`.
const KEYS: [&str; 10] = [
    "action",
    "proto",
    "dst4",
    "dst6",
    "dsthost",
    "dstports",
    "icmptype",
    "specialtarget",
    "expire",
    "comment",
];
const COMMENT: &str = "comment=";

/// The answer to `admin.vm.firewall.Get`: rules, each a line without control characters.
pub fn firewall(text: &str) -> Result<Vec<String>, Malformed> {
    if text.len() > FIREWALL_MAX_BYTES {
        return Err(Malformed::new(CALL, "it is too long"));
    }
    let rules = lines(CALL, text)?;
    if rules.iter().all(|rule| is_rule_text(rule)) {
        Ok(rules.into_iter().map(str::to_owned).collect())
    } else {
        Err(Malformed::new(CALL, "a line is no rule"))
    }
}

/// Whether it can be a rule, as far as it is only kept.
pub(crate) fn is_rule_text(rule: &str) -> bool {
    (1..=RULE_MAX_BYTES).contains(&rule.len()) && !rule.contains(char::is_control)
}

/// Whether qubesd takes the rule: visible ASCII, known keys, each once, an action of `accept`,
/// `drop` or `forward`, and a comment of the characters that a comment may have. Anything else
/// would make it drop the whole call without an answer.
pub fn is_restorable_rule(rule: &str) -> bool {
    let (options, comment) = match rule.split_once(COMMENT) {
        Some((options, comment)) => (options, comment),
        None => (rule, ""),
    };
    let pairs: Option<Vec<(&str, &str)>> = options
        .trim_end_matches(' ')
        .split(' ')
        .map(|option| option.split_once('='))
        .collect();
    let Some(pairs) = pairs else { return false };
    let is_known = |(key, value): &(&str, &str)| {
        (KEYS.contains(key) || *key == "dstname")
            && !value.is_empty()
            && value
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b":;,./-_[]".contains(&byte))
    };
    let action = pairs.iter().find(|(key, _)| *key == "action");
    is_printable(rule)
        && pairs.iter().all(is_known)
        && all_differ(pairs.iter().map(|(key, _)| *key))
        && action.is_some_and(|(_, action)| matches!(*action, "accept" | "drop" | "forward"))
        && comment
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b":;,./-_[] ".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_kept_in_their_order() {
        let text = "action=accept specialtarget=dns\naction=drop comment=a é\n";
        let rules = firewall(text).unwrap();
        assert_eq!(
            rules,
            ["action=accept specialtarget=dns", "action=drop comment=a é"]
        );
        assert!(firewall("action=accept").is_err());
        assert!(firewall("action=accept\n\n").is_err());
        assert!(firewall("action=\x1b[2J\n").is_err());
        assert!(firewall(&format!("{}\n", "x".repeat(RULE_MAX_BYTES + 1))).is_err());
    }

    #[test]
    fn a_rule_that_qubesd_would_not_answer_to_is_told_apart() {
        for rule in [
            "action=accept",
            "action=accept proto=tcp dst4=10.0.0.0/8 dstports=443-443",
            "action=accept dst6=fe80::/10 expire=1700000000 comment=a comment, [1]",
            "action=drop comment=",
        ] {
            assert!(is_restorable_rule(rule), "{rule}");
        }
        for rule in [
            "proto=tcp",
            "action=allow",
            "action=accept unknown=1",
            "action=accept action=drop",
            "action=accept comment=é",
            "action=accept comment=a!b",
            "action=accept  proto=tcp",
            "action",
            "",
        ] {
            assert!(!is_restorable_rule(rule), "{rule}");
        }
    }
}
