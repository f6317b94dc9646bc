// SPDX-License-Identifier: GPL-3.0-or-later
//! Percent-encoding as signatures require it: everything except letters, digits and `-._~`, with
//! upper-case digits.

/// Encodes a path; its slashes stay. A path without a slash at its beginning gets one.
pub fn encode_path(path: &str) -> String {
    let mut encoded = String::with_capacity(path.len());
    if !path.starts_with('/') {
        encoded.push('/');
    }
    push(&mut encoded, path, true);
    encoded
}

/// Encodes the pairs of a query, in the order of the encoded keys.
pub fn encode_query(pairs: &[(&str, &str)]) -> String {
    let mut encoded: Vec<String> = pairs
        .iter()
        .map(|(key, value)| {
            let mut pair = String::new();
            push(&mut pair, key, false);
            pair.push('=');
            push(&mut pair, value, false);
            pair
        })
        .collect();
    encoded.sort_unstable();
    encoded.join("&")
}

fn push(encoded: &mut String, text: &str, keeps_slash: bool) {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte))
            }
            b'/' if keeps_slash => encoded.push('/'),
            other => encoded.push_str(&format!("%{other:02X}")),
        }
    }
}
