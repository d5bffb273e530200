//! The masking back ends that this CPU can run, for tests and benchmarks, and the choice of the one that is used.
//!
//! Not part of the stable interface: the set and its names change with the hardware supported.

use std::fmt;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::kernel;
#[cfg(all(target_arch = "aarch64", target_endian = "little", target_feature = "neon"))]
use super::neon;
#[cfg(target_arch = "x86_64")]
use super::x86;

/// The masking kernel, compiled for one instruction set that this CPU supports.
///
/// It masks payloads of every length itself, also the short ones that [`mask`](super::mask()) does inline.
#[derive(Clone, Copy)]
pub struct Backend {
    name: &'static str,
    is_supported: fn() -> bool,
    /// Sound to call, by the contract of [`kernel::xor`], once `is_supported` has said yes. A `Backend` leaves this
    /// module only after that.
    kernel: unsafe fn(src: *const u8, dst: *mut u8, len: usize, key: u32),
}

/// The back ends that this CPU can run, the preferred one first. There is always at least `scalar`.
pub fn available() -> impl Iterator<Item = Backend> {
    BACKENDS.iter().copied().filter(|backend| (backend.is_supported)())
}

impl Backend {
    /// The name of the instruction set, such as `avx2`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Makes this the back end of the whole process, for counts that must not differ from one CPU to the next.
    pub fn choose(&self) {
        let place = BACKENDS.iter().position(|backend| backend.name == self.name);
        CHOICE.store(place.unwrap_or(usize::MAX), Ordering::Relaxed);
    }

    /// Masks or unmasks in place, as [`mask`](super::mask()) does.
    pub fn mask(&self, data: &mut [u8], key: [u8; 4]) {
        let place = data.as_mut_ptr();
        // SAFETY: the CPU supports the kernel (see the field); `data` is readable and writable for its length, and
        // source and destination are the same place.
        unsafe { (self.kernel)(place, place, data.len(), u32::from_ne_bytes(key)) }
    }

    /// Copies and masks, as [`mask_copy`](super::mask_copy) does.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn mask_copy(&self, src: &[u8], dst: &mut [MaybeUninit<u8>], key: [u8; 4]) {
        assert_eq!(src.len(), dst.len(), "mask_copy: source and destination differ in length");
        // SAFETY: the CPU supports the kernel (see the field); both slices are valid for the same length, and a shared
        // and a unique borrow cannot overlap.
        unsafe {
            (self.kernel)(src.as_ptr(), dst.as_mut_ptr().cast(), src.len(), u32::from_ne_bytes(key));
        }
    }
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Backend").field(&self.name).finish()
    }
}

/// The preferred back end of this CPU. Detection runs on the first call only.
#[inline]
pub(super) fn selected() -> &'static Backend {
    #[cold]
    fn select() -> &'static Backend {
        let choice =
            BACKENDS.iter().position(|backend| (backend.is_supported)()).unwrap_or(BACKENDS.len() - 1);
        // Not over one that `choose` made meanwhile.
        let _ = CHOICE.compare_exchange(usize::MAX, choice, Ordering::Relaxed, Ordering::Relaxed);
        &BACKENDS[choice]
    }

    BACKENDS.get(CHOICE.load(Ordering::Relaxed)).unwrap_or_else(select)
}

/// The index of the choice; before it is made, one that is out of bounds. Relaxed, since the table is constant and every
/// choice is right.
static CHOICE: AtomicUsize = AtomicUsize::new(usize::MAX);

/// All back ends compiled in, the preferred one first. The last one runs everywhere.
static BACKENDS: &[Backend] = &[
    #[cfg(target_arch = "x86_64")]
    Backend { name: "avx512", is_supported: x86::has_fast_avx512, kernel: x86::avx512 },
    #[cfg(target_arch = "x86_64")]
    Backend { name: "avx2", is_supported: x86::has_avx2, kernel: x86::avx2 },
    #[cfg(target_arch = "x86_64")]
    Backend { name: "sse2", is_supported: || true, kernel: x86::sse2 },
    #[cfg(all(target_arch = "aarch64", target_endian = "little", target_feature = "neon"))]
    Backend { name: "neon", is_supported: || true, kernel: neon::neon },
    Backend { name: "scalar", is_supported: || true, kernel: kernel::xor::<[u64; 2]> },
];

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 4] = [0x81, 0x02, 0xF4, 0x68];
    const GUARD: u8 = 0xA5;
    /// Guard bytes on both sides of the masked range.
    const MARGIN: usize = 64;
    const LARGEST: usize = if cfg!(miri) { 300 } else { 65_543 };

    /// Lengths: all around the blocks and their multiples, then a few that run the unrolled loop for long.
    fn lengths() -> impl Iterator<Item = usize> {
        let (step, large) =
            if cfg!(miri) { (7, &[LARGEST][..]) } else { (1, &[1000, 4095, 4096, LARGEST][..]) };
        (0..300).step_by(step).chain(large.iter().copied())
    }

    fn alignments() -> impl Iterator<Item = usize> {
        (0..64).step_by(if cfg!(miri) { 13 } else { 1 })
    }

    /// Bytes on a 64-byte boundary, so that an index is an alignment.
    #[repr(align(64))]
    #[derive(Clone)]
    struct Aligned([u8; LARGEST + 64 + 2 * MARGIN]);

    impl Aligned {
        fn boxed(fill: impl FnMut(usize) -> u8) -> Box<Self> {
            Box::new(Self(std::array::from_fn(fill)))
        }
    }

    fn noise(at: usize) -> u8 {
        (at as u32).wrapping_mul(0x9E37_79B1).to_be_bytes()[0]
    }

    fn assert_masked(plain: &[u8], masked: &[u8], key: [u8; 4], what: &str) {
        let expected = plain.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key);
        assert!(expected.eq(masked.iter().copied()), "{what}: wrong bytes");
    }

    /// The property that every back end must have, in place: the range masked, the bytes around it untouched.
    fn check_in_place(backend: Backend, plain: &Aligned, work: &mut Aligned) {
        for (align, len) in alignments().flat_map(|align| lengths().map(move |len| (align, len))) {
            let mut key = KEY;
            key.rotate_left((align + len) % 4);
            let (start, end) = (MARGIN + align, MARGIN + align + len);
            let around = start - MARGIN..end + MARGIN;
            work.0[around.clone()].copy_from_slice(&plain.0[around]);

            backend.mask(&mut work.0[start..end], key);

            let what = format!("{backend:?} in place, alignment {align}, length {len}");
            assert_masked(&plain.0[start..end], &work.0[start..end], key, &what);
            assert_eq!(work.0[start - MARGIN..start], plain.0[start - MARGIN..start], "{what}: wrote before");
            assert_eq!(work.0[end..end + MARGIN], plain.0[end..end + MARGIN], "{what}: wrote behind");
        }
    }

    /// The same for the copying form, with source and destination aligned differently.
    fn check_copy(backend: Backend, plain: &Aligned) {
        for (align, len) in alignments().flat_map(|align| lengths().map(move |len| (align, len))) {
            let src = &plain.0[align * 5 % 64..][..len];
            let mut out = vec![MaybeUninit::new(GUARD); align + len + MARGIN];

            backend.mask_copy(src, &mut out[align..align + len], KEY);

            // SAFETY: the vector was filled with initialised bytes, and masking writes only initialised ones.
            let out: Vec<u8> = out.iter().map(|byte| unsafe { byte.assume_init() }).collect();
            let what = format!("{backend:?} copy, alignment {align}, length {len}");
            assert_masked(src, &out[align..align + len], KEY, &what);
            assert!(
                out[..align].iter().chain(&out[align + len..]).all(|&byte| byte == GUARD),
                "{what}: margin"
            );
        }
    }

    #[test]
    fn every_back_end_agrees_with_the_naive_twin() {
        let plain = Aligned::boxed(noise);
        let mut work = plain.clone();
        for backend in available() {
            check_in_place(backend, &plain, &mut work);
            check_copy(backend, &plain);
        }
    }

    #[test]
    fn a_choice_holds_until_the_next() {
        let preferred = selected().name();
        for backend in available() {
            backend.choose();
            assert_eq!(selected().name(), backend.name());
        }
        available().next().expect("one runs everywhere").choose();
        assert_eq!(selected().name(), preferred);
    }

    #[test]
    fn scalar_is_always_there_and_names_differ() {
        let names: Vec<_> = available().map(|backend| backend.name()).collect();
        assert_eq!(names.last(), Some(&"scalar"));
        assert!(names.iter().enumerate().all(|(at, name)| !names[..at].contains(name)));
    }
}
