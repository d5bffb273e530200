//! Where masking keys come from.

use std::fmt;

/// Random bytes fetched from the operating system at a time. A key takes four, so this is one system call in 256 frames.
const BLOCK: usize = 1024;

/// A source of masking keys that an observer cannot predict, as RFC 6455 section 5.3 demands of a client.
///
/// Bytes come from the operating system's CSPRNG in blocks of 1 KiB, each byte handed out at most once. The block is
/// allocated when the first key is asked for, so a source that is never used, as on a server, costs no memory.
///
/// A process that forks takes a copy of the current block along: let the child make its own source.
pub struct MaskKeys {
    source: Source,
    /// Empty before the first refill, of `BLOCK` bytes after it.
    block: Box<[u8]>,
    /// Bytes of `block` that are spent. Invariant: a multiple of 4, and `used <= block.len()`.
    used: usize,
}

enum Source {
    System,
    /// The state of a `SplitMix64` generator.
    Seeded(u64),
    Fixed([u8; 4]),
}

impl MaskKeys {
    /// A source fed by the CSPRNG of the operating system. Does not allocate or call the system yet.
    pub fn new() -> Self {
        Self::with_source(Source::System)
    }

    /// A source that repeats itself for the same seed, for reproducible tests.
    ///
    /// **Not for production**: whoever has seen a few keys knows all that follow.
    pub fn seeded(seed: u64) -> Self {
        Self::with_source(Source::Seeded(seed))
    }

    /// A source whose keys are all `key`, for tests that compare bytes on the wire. [`fill`](Self::fill) repeats it.
    ///
    /// **Not for production.** With `[0; 4]` masking leaves payloads as they are.
    pub fn fixed(key: [u8; 4]) -> Self {
        Self::with_source(Source::Fixed(key))
    }

    fn with_source(source: Source) -> Self {
        Self { source, block: Box::default(), used: 0 }
    }

    /// The next masking key.
    ///
    /// # Panics
    /// If the operating system has no random numbers to give, which the supported systems do not do once booted.
    #[inline]
    pub fn next_key(&mut self) -> [u8; 4] {
        if let Some(key) = self.block[self.used..].first_chunk() {
            self.used += key.len();
            return *key;
        }
        self.refill();
        let mut key = [0; 4];
        key.copy_from_slice(&self.block[..4]);
        self.used = 4;
        key
    }

    /// Fills `out` with random bytes: a `Sec-WebSocket-Key` (RFC 6455 section 4.1), the payload of a ping.
    ///
    /// # Panics
    /// As [`next_key`](Self::next_key).
    pub fn fill(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(BLOCK) {
            if self.block.len() - self.used < chunk.len() {
                self.refill();
            }
            chunk.copy_from_slice(&self.block[self.used..][..chunk.len()]);
            // Whole keys only, so that a fixed key stays in phase.
            self.used += chunk.len().next_multiple_of(4);
        }
    }

    /// Replaces the block by fresh bytes. What was left of the old one is dropped unseen.
    #[cold]
    fn refill(&mut self) {
        if self.block.is_empty() {
            self.block = vec![0; BLOCK].into_boxed_slice();
        }
        self.used = 0;
        match &mut self.source {
            Source::System => {
                getrandom::fill(&mut self.block).expect("the operating system gives random numbers");
            }
            Source::Seeded(state) => {
                for word in self.block.chunks_exact_mut(8) {
                    word.copy_from_slice(&split_mix(state).to_le_bytes());
                }
            }
            Source::Fixed(key) => {
                for word in self.block.chunks_exact_mut(4) {
                    word.copy_from_slice(key);
                }
            }
        }
    }
}

impl Default for MaskKeys {
    fn default() -> Self {
        Self::new()
    }
}

/// Shows neither the bytes to come nor the seed.
impl fmt::Debug for MaskKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = match self.source {
            Source::System => "system",
            Source::Seeded(_) => "seeded",
            Source::Fixed(_) => "fixed",
        };
        f.debug_struct("MaskKeys").field("source", &source).finish_non_exhaustive()
    }
}

/// One step of the `SplitMix64` generator.
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut mixed = *state;
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ mixed >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::collections::HashSet;

    #[test]
    fn nothing_is_allocated_before_the_first_key() {
        let mut keys = MaskKeys::new();
        assert!(keys.block.is_empty());
        keys.next_key();
        assert_eq!(keys.block.len(), BLOCK);
    }

    #[test]
    fn system_keys_differ() {
        // 1024 random keys hold two equal pairs with a probability of about 1e-8, so one pair is let pass.
        let mut keys = MaskKeys::default();
        let distinct: HashSet<_> = (0..1024).map(|_| keys.next_key()).collect();
        assert!(distinct.len() >= 1023);
    }

    #[test]
    fn no_byte_is_handed_out_twice() {
        // The seeded stream is known, so what comes out must be a subsequence of it without repeats.
        let mut state = 7;
        let mut stream = (0..4 * BLOCK / 8).flat_map(|_| split_mix(&mut state).to_le_bytes());
        let mut keys = MaskKeys::seeded(7);
        let mut odd = [0; 1001];
        keys.fill(&mut odd);
        assert!(stream.by_ref().take(odd.len()).eq(odd));
        // A key begins at a multiple of four bytes.
        assert!(stream.by_ref().skip(3).take(4).eq(keys.next_key()));
        for _ in 0..2 * BLOCK / 4 {
            assert!(stream.by_ref().take(4).eq(keys.next_key()));
        }
        // 16 bytes of the third block are left: too few for this, and dropped.
        let mut more = [0; 20];
        keys.fill(&mut more);
        assert!(stream.by_ref().skip(16).take(20).eq(more));
    }

    #[test]
    fn fill_takes_any_length() {
        let mut keys = MaskKeys::seeded(1);
        for len in [0, 1, 16, BLOCK - 1, BLOCK, BLOCK + 1, 5 * BLOCK] {
            let mut out = vec![0; len];
            keys.fill(&mut out);
            let untouched = out.windows(4).filter(|window| window == &[0; 4]).count();
            assert_eq!(untouched, 0, "runs of zeros in {len} bytes");
        }
    }

    #[test]
    fn seeds_repeat_and_differ() {
        let first_of = |seed| MaskKeys::seeded(seed).next_key();
        assert_eq!(first_of(1), first_of(1));
        assert_ne!(first_of(1), first_of(2));
    }

    #[test]
    fn fixed_stays_fixed() {
        let mut keys = MaskKeys::fixed([1, 2, 3, 4]);
        assert!((0..BLOCK).all(|_| keys.next_key() == [1, 2, 3, 4]));
        let mut out = [0; 6];
        keys.fill(&mut out);
        assert_eq!(out, [1, 2, 3, 4, 1, 2]);
        assert_eq!(keys.next_key(), [1, 2, 3, 4]);
    }

    #[test]
    fn debug_hides_the_bytes() {
        let mut keys = MaskKeys::seeded(0xDEAD);
        keys.next_key();
        assert_eq!(format!("{keys:?}"), "MaskKeys { source: \"seeded\", .. }");
    }
}
