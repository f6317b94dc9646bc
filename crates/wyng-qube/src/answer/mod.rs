// SPDX-License-Identifier: GPL-3.0-or-later
//! What qubesd's answers say, from their text behind the first two bytes. Each parser takes the
//! whole answer or refuses it; it deliberately repairs nothing and skips nothing that it does not
//! know the form of.

mod device;
mod firewall;
mod lines;
mod list;
mod malformed;
mod property;
mod storage;

pub use device::{Assignment, Mode, assigned, attached_by_old_releases};
pub(crate) use device::{are_device_options, is_device_place};
pub(crate) use firewall::is_rule_text;
pub use firewall::{FIREWALL_MAX_BYTES, RULE_MAX_BYTES, firewall, is_restorable_rule};
pub use list::{
    FEATURE_MAX_BYTES, Listed, NOTES_MAX_BYTES, color, device_classes, feature_names,
    feature_value, kernels, labels, notes, pools, qubes, snapshots, tags, volumes,
};
pub use malformed::Malformed;
pub use property::{Property, PropertyKind, VALUE_MAX_BYTES, properties, property};
pub use storage::{ImportTarget, PoolInfo, VolumeInfo, import_target, pool, volume};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Every parser, on one text. None may panic.
    fn parse_all(text: &str) {
        let _ = qubes(text);
        let _ = properties(text);
        let _ = property("memory", text);
        let _ = volumes(text);
        let _ = volume("private", text);
        let _ = snapshots(text);
        let _ = import_target(text);
        let _ = pools(text);
        let _ = pool("p", text);
        let _ = feature_names(text);
        let _ = feature_value(text);
        let _ = tags(text);
        let _ = labels(text);
        let _ = color(text);
        let _ = kernels(text);
        let _ = device_classes(text);
        let _ = assigned("usb", text);
        let _ = attached_by_old_releases("usb", text);
        let _ = firewall(text);
        let _ = notes(text);
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            parse_all(&String::from_utf8_lossy(&bytes));
        }

        #[test]
        fn random_words_of_answers_never_panic(
            text in "(class=|default=True |type=int |=|'|\\\\|\n| |\\+|:|pool=|vid=|mode='auto-attach'|action=accept|[a-z0-9é]){0,40}"
        ) {
            parse_all(&text);
        }
    }
}
