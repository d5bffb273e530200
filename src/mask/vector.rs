//! What the masking kernel needs of a vector, and the vectors that every CPU has.

#![expect(clippy::inline_always, reason = "must vanish into a caller that has the instruction set enabled")]

/// A block of bytes that is loaded, masked and stored as one.
///
/// # Safety
/// `load` and `store` access exactly [`BYTES`](Self::BYTES) bytes, and `BYTES` is a power of two and a multiple of 4.
/// All methods may be called only where the CPU supports the instruction set of the implementing type; that is why
/// they are unsafe, and it is not repeated at each of them.
pub(super) unsafe trait Vector: Copy {
    /// The size of the block in bytes.
    const BYTES: usize;

    /// The key repeated over the whole block, its first byte first in memory. `key` is in native byte order.
    unsafe fn splat(key: u32) -> Self;

    /// Reads a block. `src` must be readable for `BYTES` bytes; it need not be aligned.
    unsafe fn load(src: *const u8) -> Self;

    /// Writes a block. `dst` must be writable for `BYTES` bytes; it need not be aligned.
    unsafe fn store(self, dst: *mut u8);

    /// The bitwise exclusive or.
    unsafe fn xor(self, other: Self) -> Self;
}

/// Implements [`Vector`] for an unsigned integer of at least 32 bits.
macro_rules! impl_vector_for_word {
    ($word:ty, $splat:expr) => {
        // SAFETY: an unaligned access of an integer touches its size, 4 or 8 bytes; every CPU has the operations.
        unsafe impl Vector for $word {
            const BYTES: usize = size_of::<$word>();

            #[inline(always)]
            unsafe fn splat(key: u32) -> Self {
                $splat(key)
            }

            #[inline(always)]
            unsafe fn load(src: *const u8) -> Self {
                // SAFETY: the caller promises BYTES readable bytes.
                unsafe { src.cast::<Self>().read_unaligned() }
            }

            #[inline(always)]
            unsafe fn store(self, dst: *mut u8) {
                // SAFETY: the caller promises BYTES writable bytes.
                unsafe { dst.cast::<Self>().write_unaligned(self) }
            }

            #[inline(always)]
            unsafe fn xor(self, other: Self) -> Self {
                self ^ other
            }
        }
    };
}

impl_vector_for_word!(u32, |key| key);
impl_vector_for_word!(u64, |key| u64::from(key) << 32 | u64::from(key));

/// Two blocks side by side: how a wider block, or an unrolled step, is made of narrower ones.
// SAFETY: each half accesses its own `V::BYTES`; twice a power of two that is a multiple of 4 is one too.
unsafe impl<V: Vector> Vector for [V; 2] {
    const BYTES: usize = 2 * V::BYTES;

    #[inline(always)]
    unsafe fn splat(key: u32) -> Self {
        // SAFETY: the caller vouches for the instruction set.
        unsafe { [V::splat(key); 2] }
    }

    #[inline(always)]
    unsafe fn load(src: *const u8) -> Self {
        // SAFETY: the caller promises 2 * V::BYTES readable bytes.
        unsafe { [V::load(src), V::load(src.add(V::BYTES))] }
    }

    #[inline(always)]
    unsafe fn store(self, dst: *mut u8) {
        // SAFETY: the caller promises 2 * V::BYTES writable bytes.
        unsafe {
            self[0].store(dst);
            self[1].store(dst.add(V::BYTES));
        }
    }

    #[inline(always)]
    unsafe fn xor(self, other: Self) -> Self {
        // SAFETY: the caller vouches for the instruction set.
        unsafe { [self[0].xor(other[0]), self[1].xor(other[1])] }
    }
}
