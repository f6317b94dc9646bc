// SPDX-License-Identifier: GPL-3.0-or-later
//! A store's address as it is shown to people. Only the helper knows its meaning.

/// `scheme://user:secret@host` as `scheme://user@host`; any other text unchanged.
#[must_use]
pub fn without_credentials(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    match rest.split_once('@') {
        Some((user, host)) => format!(
            "{scheme}://{}@{host}",
            user.split(':').next().unwrap_or_default()
        ),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_shown_and_a_path_is() {
        assert_eq!(without_credentials("dir:/mnt/a@b:c"), "dir:/mnt/a@b:c");
        assert_eq!(
            without_credentials("webdavs://me:hush@host/x"),
            "webdavs://me@host/x"
        );
        assert_eq!(
            without_credentials("s3://bucket/prefix"),
            "s3://bucket/prefix"
        );
    }
}
