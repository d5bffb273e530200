//! Bits of a compressed message, the lowest of each byte first (RFC 1951 section 3.1.1).

/// Reads bits. Behind the end there are zeros, as many as are asked for; whether any was used is [told](Self::is_overdrawn).
#[derive(Clone, Copy)]
pub(super) struct BitReader<'a> {
    input: &'a [u8],
    /// The end of `input` that is not in `bits`.
    rest: &'a [u8],
    /// The lowest `count` are valid; above them are zeros, or what `rest` begins with.
    bits: u64,
    /// At most 63.
    count: u32,
    /// How many of all bits that were ever counted were zeros behind the end. If they are more than `count`, some were used.
    zeros: u32,
}

impl<'a> BitReader<'a> {
    /// So many bits are there at least after [`refill`](Self::refill).
    const REFILLED: u32 = 56;

    pub(super) fn new(input: &'a [u8]) -> Self {
        Self { input, rest: input, bits: 0, count: 0, zeros: 0 }
    }

    /// False if bits from behind the end were used before.
    #[inline]
    pub(super) fn refill(&mut self) -> bool {
        debug_assert!(self.count < 64);
        if let Some(next) = self.rest.first_chunk() {
            self.bits |= u64::from_le_bytes(*next) << (self.count & 63);
            self.rest = &self.rest[((63 - self.count as usize) / 8) & 7..];
            self.count |= Self::REFILLED;
            true
        } else {
            self.refill_at_end();
            !self.is_overdrawn()
        }
    }

    /// Fewer than eight bytes are left.
    fn refill_at_end(&mut self) {
        while self.count < Self::REFILLED {
            if let Some((&byte, rest)) = self.rest.split_first() {
                self.bits |= u64::from(byte) << self.count;
                self.rest = rest;
            } else {
                self.zeros += 8;
            }
            self.count += 8;
        }
    }

    /// What comes next; [`REFILLED`](Self::REFILLED) bits of it are valid after a refill, less by what was consumed since.
    #[inline]
    pub(super) fn peek(&self) -> u64 {
        self.bits
    }

    /// The next `count` bits were used; they are there.
    #[inline]
    pub(super) fn consume(&mut self, count: u32) {
        debug_assert!(count <= self.count);
        self.bits >>= count;
        self.count -= count;
    }

    /// Takes `count` bits, at most 32.
    pub(super) fn take(&mut self, count: u32) -> u32 {
        self.refill();
        let value = self.bits & ((1 << count) - 1);
        self.consume(count);
        value as u32
    }

    /// Bits from behind the end were used.
    pub(super) fn is_overdrawn(&self) -> bool {
        self.zeros > self.count
    }

    /// Whether all bytes were used, the last of them at least in part.
    pub(super) fn is_at_end(&self) -> bool {
        self.unused() == 0
    }

    /// Skips the rest of a byte that was used in part.
    pub(super) fn align(&mut self) {
        self.consume(self.count % 8);
    }

    /// Takes whole bytes, from the next one of which no bit was used yet. `None` if they are not there.
    pub(super) fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let unused = &self.input[self.input.len() - self.unused()..];
        let (bytes, rest) = unused.split_at_checked(len)?;
        *self = Self { rest, bits: 0, count: 0, zeros: 0, ..*self };
        Some(bytes)
    }

    /// Bytes of which no bit was used.
    fn unused(&self) -> usize {
        self.rest.len() + (self.count.saturating_sub(self.zeros) / 8) as usize
    }
}
