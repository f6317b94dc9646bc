// SPDX-License-Identifier: GPL-3.0-or-later
//! The shape of a store's address. Only the helper knows more of it: the admin domain has no
//! network, and what an address leads to is none of its business.

/// The addresses that a person may write.
pub const STORES_ALLOWED: &str = "dir:/absolute/path, s3://bucket/prefix, webdavs://host/path, \
                                  sftp://user@host/path";

/// What is wrong with an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreMistake {
    /// It has the scheme of no store, or nothing behind it.
    NoStore,
    /// It has a password. Addresses are shown, and are no secret.
    Secret,
}

/// Checks the scheme of an address, and that it holds no password.
pub fn check_store_address(address: &str) -> Result<(), StoreMistake> {
    if address.starts_with("dir:/") {
        return Ok(());
    }
    let (scheme, rest) = address.split_once("://").ok_or(StoreMistake::NoStore)?;
    if rest.is_empty() || !matches!(scheme, "s3" | "webdav" | "webdavs" | "sftp") {
        return Err(StoreMistake::NoStore);
    }
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    match authority.rsplit_once('@') {
        Some((user, _)) if user.contains(':') => Err(StoreMistake::Secret),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_scheme_is_a_store_and_nothing_else_is() {
        for address in [
            "dir:/mnt/disk",
            "dir:/mnt/a:b@c",
            "s3://bucket/prefix?endpoint=https://host:9000&region=x",
            "webdavs://ann@cloud.example.org/x",
            "webdav://host/x",
            "sftp://ann@nas:2222/x:y@z",
        ] {
            assert_eq!(check_store_address(address), Ok(()), "{address}");
        }
        for address in [
            "",
            "/mnt",
            "dir:mnt",
            "s3:bucket",
            "s3://",
            "https://host/x",
            "S3://b",
        ] {
            let mistake = Err(StoreMistake::NoStore);
            assert_eq!(check_store_address(address), mistake, "{address}");
        }
    }

    #[test]
    fn an_address_holds_no_password() {
        for address in [
            "webdavs://ann:hush@host/x",
            "sftp://ann:@nas/x",
            "s3://key:secret@bucket",
        ] {
            let mistake = Err(StoreMistake::Secret);
            assert_eq!(check_store_address(address), mistake, "{address}");
        }
    }
}
