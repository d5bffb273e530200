//! Prefetching memory that will be needed soon.

/// Bytes per cache line.
#[cfg(target_arch = "x86_64")]
const LINE: usize = 64;

/// Most bytes of a value that are prefetched: of one with a large buffer inside, little is needed
/// at once.
#[cfg(target_arch = "x86_64")]
const MOST: usize = 512;

/// Prefetches `value`, or its front, without waiting for it. Does nothing on architectures other
/// than x86-64.
#[inline]
#[cfg_attr(
    not(target_arch = "x86_64"),
    expect(unused_variables, reason = "only known for this architecture")
)]
pub(crate) fn prefetch<T: ?Sized>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};

        let start = std::ptr::from_ref(value).cast::<i8>();
        let in_front = start.addr() % LINE;
        let first_line = start.wrapping_sub(in_front);
        let len = match size_of_val(value).min(MOST) {
            0 => 0,
            len => in_front + len,
        };
        for offset in (0..len).step_by(LINE) {
            // SAFETY: a prefetch has no effect on the program, whatever the address; SSE is part of
            // the architecture.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(first_line.wrapping_add(offset)) };
        }
    }
}
