// SPDX-License-Identifier: GPL-3.0-or-later
//! How much memory a process had at most, as the kernel counted it. Nothing is protected here; the
//! call has no safe name elsewhere.

use std::mem::MaybeUninit;

/// Peak of this process's resident memory. Pages that it shares with others are counted whole;
/// memory files only while they are mapped.
pub fn peak_resident_bytes() -> u64 {
    peak(libc::RUSAGE_SELF)
}

/// The highest peak among the children that were reaped, and among those that they reaped; 0 before
/// the first.
pub fn peak_resident_of_children_bytes() -> u64 {
    peak(libc::RUSAGE_CHILDREN)
}

fn peak(whose: libc::c_int) -> u64 {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the pointer is valid for one rusage, which is all that the call writes.
    if unsafe { libc::getrusage(whose, usage.as_mut_ptr()) } != 0 {
        return 0;
    }
    // SAFETY: it consists of integers, for which zeros are values too; and the call has filled it.
    let usage = unsafe { usage.assume_init() };
    u64::try_from(usage.ru_maxrss)
        .unwrap_or(0)
        .saturating_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_was_touched_is_counted() {
        let before = peak_resident_bytes();
        let touched = std::hint::black_box(vec![1u8; 64 << 20]);
        assert!(
            peak_resident_bytes() >= before.max(32 << 20),
            "{} bytes were touched",
            touched.len()
        );
    }
}
