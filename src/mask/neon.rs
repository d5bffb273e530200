//! NEON behind [`Vector`]. It is part of every `aarch64` target with an operating system, so nothing is detected.

#![expect(clippy::inline_always, reason = "must vanish into the kernel, which is compiled once per vector")]

use std::arch::aarch64::{uint8x16_t, vdupq_n_u32, veorq_u8, vld1q_u8, vreinterpretq_u8_u32, vst1q_u8};

use super::kernel;
use super::vector::Vector;

// SAFETY: the intrinsics read and write 16 bytes without alignment.
unsafe impl Vector for uint8x16_t {
    const BYTES: usize = 16;

    #[inline(always)]
    unsafe fn splat(key: u32) -> Self {
        // SAFETY: NEON is enabled for the whole target.
        unsafe { vreinterpretq_u8_u32(vdupq_n_u32(key)) }
    }

    #[inline(always)]
    unsafe fn load(src: *const u8) -> Self {
        // SAFETY: NEON is enabled for the whole target; the caller promises 16 readable bytes.
        unsafe { vld1q_u8(src) }
    }

    #[inline(always)]
    unsafe fn store(self, dst: *mut u8) {
        // SAFETY: NEON is enabled for the whole target; the caller promises 16 writable bytes.
        unsafe { vst1q_u8(dst, self) }
    }

    #[inline(always)]
    unsafe fn xor(self, other: Self) -> Self {
        // SAFETY: NEON is enabled for the whole target.
        unsafe { veorq_u8(self, other) }
    }
}

/// [`kernel::xor`] with NEON.
///
/// # Safety
/// As [`kernel::xor`].
pub(super) unsafe fn neon(src: *const u8, dst: *mut u8, len: usize, key: u32) {
    // SAFETY: NEON is enabled for the whole target, the rest is the caller's promise.
    unsafe { kernel::xor::<uint8x16_t>(src, dst, len, key) }
}
