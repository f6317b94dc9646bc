// SPDX-License-Identifier: GPL-3.0-or-later
//! Percent-encoding as signatures require it: everything except letters, digits and `-._~`, with
//! upper-case digits. And base64, as headers have it.

use zeroize::Zeroizing;

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

/// The base64 of the standard alphabet, with padding. It is wiped when it is dropped: the header
/// `authorization` holds a password.
pub fn encode_base64(bytes: &[u8]) -> Zeroizing<String> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let room = bytes.len().div_ceil(3).saturating_mul(4);
    let mut encoded = Zeroizing::new(String::with_capacity(room));
    for part in bytes.chunks(3) {
        let mut number = 0_u32;
        for index in 0..3 {
            number = (number << 8) | u32::from(part.get(index).copied().unwrap_or(0));
        }
        for index in 0..4_u32 {
            let digit = (number >> (18 - 6 * index)) & 63;
            let digit = DIGITS.get(digit as usize).copied().unwrap_or(b'=');
            let is_padding = index as usize > part.len();
            encoded.push(if is_padding { '=' } else { char::from(digit) });
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_standard() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(encode_base64(bytes.as_bytes()).as_str(), text);
        }
        assert_eq!(encode_base64(&[0xfb, 0xef, 0xff]).as_str(), "++//");
    }
}
