// SPDX-License-Identifier: GPL-3.0-or-later
//! The attributes of a file besides its bytes: owner, mode, extended attributes, flags. A new file
//! takes them over from the file that it replaces.

use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;

use rustix::fs::{
    Gid, IFlags, Mode, Uid, XattrFlags, fchmod, fchown, fgetxattr, flistxattr, fsetxattr, fstat,
    ioctl_getflags, ioctl_setflags,
};
use rustix::io::Errno;

/// Maximum size of a list or value of extended attributes, bytes: above the kernel's limits.
const NAMES_MAX_BYTES: usize = 64 << 10;
const VALUE_MAX_BYTES: usize = 64 << 10;
/// Attributes that vouch for the old bytes.
const OF_THE_BYTES: [&CStr; 3] = [c"security.ima", c"security.evm", c"security.capability"];
/// Flags that control how a file is stored. Others belong to the kernel.
const KEPT: IFlags = IFlags::NOCOW
    .union(IFlags::COMPRESSED)
    .union(IFlags::NODUMP)
    .union(IFlags::NOATIME);

/// Copies all attributes of `old` to `new`, which is empty. The error names the first that cannot
/// be copied: the object of "would lose …".
pub(super) fn take_over(old: &OwnedFd, new: &OwnedFd) -> Result<(), String> {
    let (was, is) = (stat(old)?, stat(new)?);
    if was.st_nlink > 1 {
        return Err(format!(
            "its other names (it has {} hard links)",
            was.st_nlink
        ));
    }
    // Before the first byte is written, as a file that shares blocks cannot change its flags later.
    if let (Ok(was), Ok(is)) = (ioctl_getflags(old), ioctl_getflags(new)) {
        let wanted = is.difference(KEPT).union(was.intersection(KEPT));
        if wanted != is {
            ioctl_setflags(new, wanted).map_err(|_| "its flags (see lsattr)".to_owned())?;
        }
    }
    if (was.st_uid, was.st_gid) != (is.st_uid, is.st_gid) {
        let owner = (
            Some(Uid::from_raw(was.st_uid)),
            Some(Gid::from_raw(was.st_gid)),
        );
        fchown(new, owner.0, owner.1)
            .map_err(|_| format!("its owner (user {}, group {})", was.st_uid, was.st_gid))?;
    }
    for name in names(old).map_err(|_| "its extended attributes".to_owned())? {
        take_over_attribute(old, new, &name)
            .map_err(|_| format!("its attribute {}", name.to_string_lossy()))?;
    }
    set_mode(new, Mode::from_raw_mode(was.st_mode)).map_err(|_| "its mode".to_owned())
}

/// Sets the mode again after the last write, which may have cleared bits of it.
pub(super) fn set_mode(file: &OwnedFd, mode: Mode) -> Result<(), Errno> {
    if Mode::from_raw_mode(fstat(file)?.st_mode) == mode {
        Ok(())
    } else {
        fchmod(file, mode)
    }
}

/// The mode of a file.
pub(super) fn mode(file: &OwnedFd) -> Result<Mode, Errno> {
    Ok(Mode::from_raw_mode(fstat(file)?.st_mode))
}

fn take_over_attribute(old: &OwnedFd, new: &OwnedFd, name: &CStr) -> Result<(), Errno> {
    let mut value = vec![0; VALUE_MAX_BYTES];
    let length = match fgetxattr(old, name, value.as_mut_slice()) {
        Err(Errno::NODATA) => return Ok(()),
        length => length?,
    };
    value.truncate(length);
    let mut there = vec![0; VALUE_MAX_BYTES];
    if fgetxattr(new, name, there.as_mut_slice())
        .is_ok_and(|length| there.get(..length) == Some(&value))
    {
        return Ok(());
    }
    fsetxattr(new, name, &value, XattrFlags::empty())
}

fn names(file: &OwnedFd) -> Result<Vec<CString>, Errno> {
    let mut list = vec![0; NAMES_MAX_BYTES];
    let length = match flistxattr(file, list.as_mut_slice()) {
        Err(Errno::NOTSUP) => 0,
        length => length?,
    };
    list.truncate(length);
    let names = list
        .split_inclusive(|byte| *byte == 0)
        .filter_map(|name| CStr::from_bytes_with_nul(name).ok());
    Ok(names
        .filter(|name| !OF_THE_BYTES.contains(name))
        .map(CStr::to_owned)
        .collect())
}

fn stat(file: &OwnedFd) -> Result<rustix::fs::Stat, String> {
    fstat(file).map_err(|errno| format!("its attributes, which cannot be read: {errno}"))
}
