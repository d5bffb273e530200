//! Masking (RFC 6455 section 5.3): the exclusive or of the payload and a four-byte key that repeats.
//!
//! Masking and unmasking are the same operation. Up to 64 bytes it is a handful of inlined word operations without
//! any dispatch; longer payloads go to the widest vector unit that the CPU has, chosen once per process:
//!
//! | file | holds |
//! |---|---|
//! | `vector` | the trait that both paths are written over, and the machine words as its smallest instances |
//! | `kernel` | the algorithm, once |
//! | `x86`, `neon` | glue: intrinsics behind the trait, and the kernel compiled for each instruction set |
//! | `backends` | the table of what this CPU can run, and the choice |
//! | `keys` | where masking keys come from |

#[doc(hidden)]
#[doc(hidden)]
pub mod backends;
mod kernel;
mod keys;
#[cfg(all(target_arch = "aarch64", target_endian = "little", target_feature = "neon"))]
mod neon;
mod vector;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::mem::MaybeUninit;

pub use keys::MaskKeys;

/// Masks or unmasks `data` in place (RFC 6455 section 5.3).
///
/// The first byte of `data` is the first byte of the payload. See [`mask_with_offset`] to go on in the middle.
#[inline]
pub fn mask(data: &mut [u8], key: [u8; 4]) {
    let word = u32::from_ne_bytes(key);
    let place = data.as_mut_ptr();
    if data.len() <= kernel::SHORT_MAX {
        // SAFETY: `data` is readable and writable for its length, which is at most SHORT_MAX, and source and
        // destination are the same place.
        unsafe { kernel::xor_short(place, place, data.len(), word) }
    } else {
        backends::selected().mask(data, key);
    }
}

/// Masks or unmasks in place a piece of payload whose first byte is byte number `offset` of that payload.
///
/// Only `offset % 4` matters, so a counter that wraps at a power of two is fine.
#[inline]
pub fn mask_with_offset(data: &mut [u8], mut key: [u8; 4], offset: usize) {
    key.rotate_left(offset % 4);
    mask(data, key);
}

/// Writes `src`, masked with `key`, to `dst`: copy and mask in one pass. All of `dst` is initialised afterwards.
///
/// # Panics
/// If the lengths differ.
#[inline]
#[doc(hidden)]
pub fn mask_copy(src: &[u8], dst: &mut [MaybeUninit<u8>], key: [u8; 4]) {
    assert_eq!(src.len(), dst.len(), "mask_copy: source and destination differ in length");
    if src.len() <= kernel::SHORT_MAX {
        // SAFETY: both slices are valid for the same length, which is at most SHORT_MAX; a shared and a unique
        // borrow cannot overlap.
        unsafe {
            kernel::xor_short(src.as_ptr(), dst.as_mut_ptr().cast(), src.len(), u32::from_ne_bytes(key));
        }
    } else {
        backends::selected().mask_copy(src, dst, key);
    }
}

/// Appends `src`, masked with `key`, to `out`. The new bytes are written once, without being zeroed before.
///
/// # Panics
/// If the new length exceeds `isize::MAX` bytes, as every growth of a `Vec` does.
#[inline]
#[doc(hidden)]
pub fn mask_extend(src: &[u8], out: &mut Vec<u8>, key: [u8; 4]) {
    out.reserve(src.len());
    mask_copy(src, &mut out.spare_capacity_mut()[..src.len()], key);
    // SAFETY: the capacity was reserved, and `mask_copy` has initialised `src.len()` bytes behind the old length.
    unsafe { out.set_len(out.len() + src.len()) }
}

/// Copies up to 128 bytes as they are, without a call. All of `dst` is initialised afterwards.
///
/// # Panics
/// If the lengths differ, or are above 128.
#[inline]
pub(crate) fn copy_short(src: &[u8], dst: &mut [MaybeUninit<u8>]) {
    assert!(src.len() == dst.len() && src.len() <= 2 * kernel::SHORT_MAX);
    // SAFETY: both slices are valid for the same length, which is at most twice SHORT_MAX; a shared and a unique borrow cannot
    // overlap.
    unsafe { kernel::copy_short(src.as_ptr(), dst.as_mut_ptr().cast(), src.len()) }
}

/// The name of the back end that masks payloads of more than 64 bytes in this process, such as `avx2`.
#[doc(hidden)]
pub fn backend_name() -> &'static str {
    backends::selected().name()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

    fn payload(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i * 7 + i / 256) as u8).collect()
    }

    fn naive(data: &[u8], key: [u8; 4], offset: usize) -> Vec<u8> {
        data.iter().enumerate().map(|(i, byte)| byte ^ key[(offset + i) % 4]).collect()
    }

    #[test]
    fn example_of_the_rfc() {
        // RFC 6455 section 5.7: a masked text message that contains "Hello".
        let mut data = [0x7f, 0x9f, 0x4d, 0x51, 0x58];
        mask(&mut data, KEY);
        assert_eq!(&data, b"Hello");
    }

    #[test]
    fn every_entry_point_agrees_with_the_naive_twin() {
        for len in (0..300).chain(if cfg!(miri) { [300, 301] } else { [4096, 65_537] }) {
            let plain = payload(len);
            let expected = naive(&plain, KEY, 0);

            let mut in_place = plain.clone();
            mask(&mut in_place, KEY);
            assert_eq!(in_place, expected, "mask, {len} bytes");

            let mut appended = b"head".to_vec();
            mask_extend(&plain, &mut appended, KEY);
            assert_eq!(&appended[..4], b"head");
            assert_eq!(&appended[4..], expected, "mask_extend, {len} bytes");
        }
    }

    #[test]
    fn a_payload_may_be_masked_in_pieces() {
        let plain = payload(400);
        let expected = naive(&plain, KEY, 0);
        for cut in (0..=plain.len()).step_by(if cfg!(miri) { 17 } else { 1 }) {
            let mut pieces = plain.clone();
            let (head, tail) = pieces.split_at_mut(cut);
            mask(head, KEY);
            mask_with_offset(tail, KEY, cut);
            assert_eq!(pieces, expected, "cut at {cut}");
        }
        let mut wrapped = plain.clone();
        mask_with_offset(&mut wrapped, KEY, usize::MAX);
        assert_eq!(wrapped, naive(&plain, KEY, 3));
    }

    #[test]
    #[should_panic(expected = "differ in length")]
    fn copy_refuses_a_short_destination() {
        mask_copy(&[0; 8], &mut [MaybeUninit::uninit(); 7], KEY);
    }

    #[test]
    fn the_choice_is_one_of_the_available_back_ends() {
        assert!(backends::available().any(|backend| backend.name() == backend_name()));
    }
}
