//! AVX-512, AVX2 and SSE2 behind [`Vector`].

use std::arch::x86_64::{
    __m128i, __m256i, __m512i, _mm_loadu_si128, _mm_set1_epi32, _mm_storeu_si128, _mm_xor_si128,
    _mm256_loadu_si256, _mm256_set1_epi32, _mm256_storeu_si256, _mm256_xor_si256, _mm512_loadu_si512,
    _mm512_set1_epi32, _mm512_storeu_si512, _mm512_xor_si512,
};

use super::kernel;
use super::vector::Vector;

/// Implements [`Vector`] for a register type, and instantiates the kernel with its instruction set enabled.
macro_rules! backend {
    ($kernel:ident, $features:literal, $register:ty, $splat:ident, $load:ident, $store:ident, $xor:ident) => {
        // SAFETY: the intrinsics read and write one register, of 16, 32 or 64 bytes, without alignment.
        unsafe impl Vector for $register {
            const BYTES: usize = size_of::<$register>();

            #[inline(always)]
            unsafe fn splat(key: u32) -> Self {
                // SAFETY: the caller vouches for the instruction set.
                unsafe { $splat(key.cast_signed()) }
            }

            #[inline(always)]
            unsafe fn load(src: *const u8) -> Self {
                // SAFETY: the caller vouches for the instruction set and for BYTES readable bytes.
                unsafe { $load(src.cast()) }
            }

            #[inline(always)]
            unsafe fn store(self, dst: *mut u8) {
                // SAFETY: the caller vouches for the instruction set and for BYTES writable bytes.
                unsafe { $store(dst.cast(), self) }
            }

            #[inline(always)]
            unsafe fn xor(self, other: Self) -> Self {
                // SAFETY: the caller vouches for the instruction set.
                unsafe { $xor(self, other) }
            }
        }

        /// [`kernel::xor`] with this instruction set.
        ///
        /// # Safety
        /// As [`kernel::xor`]; the CPU must support the enabled features.
        #[target_feature(enable = $features)]
        pub(super) unsafe fn $kernel(src: *const u8, dst: *mut u8, len: usize, key: u32) {
            // SAFETY: the features are enabled here, the rest is the caller's promise.
            unsafe { kernel::xor::<$register>(src, dst, len, key) }
        }
    };
}

backend!(sse2, "sse2", __m128i, _mm_set1_epi32, _mm_loadu_si128, _mm_storeu_si128, _mm_xor_si128);
backend!(avx2, "avx2", __m256i, _mm256_set1_epi32, _mm256_loadu_si256, _mm256_storeu_si256, _mm256_xor_si256);
backend!(
    avx512,
    "avx512f",
    __m512i,
    _mm512_set1_epi32,
    _mm512_loadu_si512,
    _mm512_storeu_si512,
    _mm512_xor_si512
);

/// Whether the CPU has AVX2.
pub(super) fn has_avx2() -> bool {
    is_x86_feature_detected!("avx2")
}

/// Whether the CPU has AVX-512 that is worth using.
///
/// The kernel needs AVX-512F alone. VBMI2 stands for the generations from Ice Lake and Zen 4 on. The older ones lower
/// their clock when they meet 512-bit instructions and halt for microseconds to do so, which costs more latency than
/// the wider blocks save; there AVX2 is the better choice.
pub(super) fn has_fast_avx512() -> bool {
    is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vbmi2")
}
