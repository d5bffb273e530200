//! Asking the caches for what will be needed soon.

/// Bytes that a cache holds together.
#[cfg(target_arch = "x86_64")]
const LINE: usize = 64;

/// Most bytes of a value that are asked for: of one with a large buffer inside, little is needed at once.
const MOST: usize = 512;

/// Asks the caches for `value`, or its front, without waiting for it. Where nothing is known about the CPU, does nothing.
#[inline]
pub(crate) fn prefetch<T: ?Sized>(value: &T) {
    prefetch_at(std::ptr::from_ref(value).cast(), size_of_val(value).min(MOST));
}

/// Asks the caches for `len` bytes at any address, whether something is there or not.
#[inline]
#[cfg_attr(
    not(target_arch = "x86_64"),
    expect(unused_variables, reason = "only known for this architecture")
)]
pub(crate) fn prefetch_at(start: *const u8, len: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};

        let in_front = start.addr() % LINE;
        let first_line = start.wrapping_sub(in_front);
        let len = if len == 0 { 0 } else { in_front + len };
        for offset in (0..len).step_by(LINE) {
            // SAFETY: a prefetch reads nothing that anybody sees, whatever the address; SSE is part of the architecture.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(first_line.wrapping_add(offset).cast()) };
        }
    }
}
