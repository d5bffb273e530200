//! The masking algorithm, written once over [`Vector`].
//!
//! Source and destination are either the same place or disjoint. In place, a block that overlaps another would be
//! masked twice if it were loaded after the other was stored; so the blocks that overlap, the first and the last, are
//! loaded before anything is stored and stored after everything was loaded. Where two stores overlap they write the
//! same bytes.
//!
//! A short payload is covered by two overlapping blocks rather than by ever smaller ones, so that the branches depend
//! on the size class and not on the length: with lengths that vary, mispredicted branches would cost ten times the
//! work.

#![expect(clippy::inline_always, reason = "must vanish into a caller that has the instruction set enabled")]

use super::vector::Vector;

/// Longest payload in bytes that [`xor_short`] takes.
pub(super) const SHORT_MAX: usize = 64;

/// The 16-byte block that needs no detection.
#[cfg(target_arch = "x86_64")]
type Block = std::arch::x86_64::__m128i;
#[cfg(all(target_arch = "aarch64", target_endian = "little", target_feature = "neon"))]
type Block = std::arch::aarch64::uint8x16_t;
#[cfg(not(any(
    target_arch = "x86_64",
    all(target_arch = "aarch64", target_endian = "little", target_feature = "neon")
)))]
type Block = [u64; 2];

/// XORs `len` bytes with the repeated key, in blocks of `V`; any length.
///
/// # Safety
/// `src` must be readable and `dst` writable for `len` bytes, and they must be equal or disjoint. The CPU must support
/// the instruction set of `V`.
#[inline(always)]
pub(super) unsafe fn xor<V: Vector>(src: *const u8, dst: *mut u8, len: usize, key: u32) {
    // SAFETY: `at` and `last` stay within `0..=len - V::BYTES` at every access of one block and within
    // `0..=len - 4 * V::BYTES` at every unrolled one; the rest is the caller's promise.
    unsafe {
        if len < V::BYTES {
            return xor_short(src, dst, len, key);
        }
        let last = len - V::BYTES;
        let head = V::load(src).xor(V::splat(key));
        let tail = V::load(src.add(last)).xor(V::splat(rotated(key, last)));

        // Whole blocks at aligned destinations: a store across a cache line costs two.
        let mut at = V::BYTES - dst.addr() % V::BYTES;
        let key = V::splat(rotated(key, at));
        while len - at >= <[[V; 2]; 2]>::BYTES {
            <[[V; 2]; 2]>::load(src.add(at)).xor([[key; 2]; 2]).store(dst.add(at));
            at += <[[V; 2]; 2]>::BYTES;
        }
        while at < last {
            V::load(src.add(at)).xor(key).store(dst.add(at));
            at += V::BYTES;
        }

        head.store(dst);
        tail.store(dst.add(last));
    }
}

/// XORs up to [`SHORT_MAX`] bytes with the repeated key, with what every CPU of this architecture has.
///
/// # Safety
/// `src` must be readable and `dst` writable for `len` bytes, `len` must be at most `SHORT_MAX`, and the two must be
/// equal or disjoint.
#[inline(always)]
pub(super) unsafe fn xor_short(src: *const u8, dst: *mut u8, len: usize, key: u32) {
    debug_assert!(len <= SHORT_MAX);
    // SAFETY: each branch hands on a length between the size of its block and twice that.
    unsafe {
        match len {
            33.. => xor_ends::<[Block; 2]>(src, dst, len, key),
            16.. => xor_ends::<Block>(src, dst, len, key),
            8.. => xor_ends::<u64>(src, dst, len, key),
            4.. => xor_ends::<u32>(src, dst, len, key),
            _ => xor_bytes(src, dst, len, key),
        }
    }
}

/// Copies up to twice [`SHORT_MAX`] bytes: masking with a key of zeros, which the compiler sees and leaves out.
///
/// # Safety
/// As [`xor_short`], with twice the length.
#[inline(always)]
pub(super) unsafe fn copy_short(src: *const u8, dst: *mut u8, len: usize) {
    debug_assert!(len <= 2 * SHORT_MAX);
    // SAFETY: above SHORT_MAX the length is between the size of the block and twice that.
    unsafe {
        if len > SHORT_MAX {
            xor_ends::<[[Block; 2]; 2]>(src, dst, len, 0);
        } else {
            xor_short(src, dst, len, 0);
        }
    }
}

/// XORs a length between one and two blocks: the first block and the last one, which may overlap.
///
/// # Safety
/// As [`xor`], and `V::BYTES <= len <= 2 * V::BYTES`.
#[inline(always)]
unsafe fn xor_ends<V: Vector>(src: *const u8, dst: *mut u8, len: usize, key: u32) {
    let last = len - V::BYTES;
    // SAFETY: both blocks lie within the `len` bytes that the caller vouches for.
    unsafe {
        let head = V::load(src).xor(V::splat(key));
        let tail = V::load(src.add(last)).xor(V::splat(rotated(key, last)));
        head.store(dst);
        tail.store(dst.add(last));
    }
}

/// XORs byte by byte.
///
/// # Safety
/// As [`xor`].
#[inline(always)]
unsafe fn xor_bytes(src: *const u8, dst: *mut u8, len: usize, key: u32) {
    let key = key.to_ne_bytes();
    for at in 0..len {
        // SAFETY: `at < len`.
        unsafe { dst.add(at).write(src.add(at).read() ^ key[at % 4]) }
    }
}

/// The key, in native byte order, as it applies from byte `offset` of the payload on.
#[inline(always)]
const fn rotated(key: u32, offset: usize) -> u32 {
    let bits = offset as u32 % 4 * 8;
    if cfg!(target_endian = "little") { key.rotate_right(bits) } else { key.rotate_left(bits) }
}
