// SPDX-License-Identifier: GPL-3.0-or-later
//! Peak memory of a process, as the kernel counts it. It protects nothing; it is here because the
//! call is unsafe.

use std::mem::MaybeUninit;

/// Peak resident memory of this process, bytes. Shared pages count in full, memory files only while
/// they are mapped.
pub fn peak_resident_bytes() -> u64 {
    peak(libc::RUSAGE_SELF)
}

/// Highest peak resident memory among the children that were reaped, and those that they reaped,
/// bytes; 0 before the first.
pub fn peak_resident_of_children_bytes() -> u64 {
    peak(libc::RUSAGE_CHILDREN)
}

fn peak(whose: libc::c_int) -> u64 {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the pointer is valid for one rusage, and the call writes no more.
    if unsafe { libc::getrusage(whose, usage.as_mut_ptr()) } != 0 {
        return 0;
    }
    // SAFETY: a rusage consists of integers, and the call has filled it.
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
