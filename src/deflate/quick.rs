//! Compression of level 1: one pass, one candidate per place, the fixed Huffman code (RFC 1951 section 3.2.6).
//!
//! Its cost is proportional to the message. Its memory is the window twice, and a table of the
//! size that the memory level sets: the compressors of many connections stay in the cache.
//!
//! *Invariant:* the output is a function of the message and of the history since the last `forget`.
//! Observers learn its length, and one compressor serves many connections in turn. A history begins
//! in the text behind all earlier ones, and no place before that is accepted. Comparing bytes does
//! not suffice: the new text may have the same bytes where another history noted them.

use crate::buf::ScratchBuffer;
use codes::{DISTANCES, LENGTHS, LITERALS};

/// Shortest sequence that is looked for, in bytes: as many as are hashed.
const LEAST_MATCH: usize = 4;

/// Longest sequence that one reference covers (RFC 1951 section 3.2.5).
const MOST_MATCH: usize = 258;

/// Most bytes of a stored block (RFC 1951 section 3.2.4).
const MOST_STORED: usize = u16::MAX as usize;

/// Header of a block with the fixed code, BFINAL not set: three bits, the type behind the flag.
const FIXED_BLOCK: u64 = 0b010;

/// The end of a block, seven bits of zero, and the header of an empty stored block, three more.
const END_AND_STORED_BLOCK: u32 = 10;

/// Compresses messages, each as one block, or as stored blocks where that is shorter.
pub(super) struct QuickDeflater {
    /// One unused byte, earlier messages, and while a message is compressed a piece of it. At most
    /// `2 * window` bytes.
    text: Vec<u8>,
    /// Where the current history begins in `text`; what is before it is forgotten. At least 1.
    floor: usize,
    /// Where in `text` four bytes with this hash were last; 0 for nowhere. A guess: the bytes there
    /// are compared.
    places: Box<[u16]>,
    /// References reach back less than this many bytes. At most 32 KiB, so that places fit into 16
    /// bits.
    window: usize,
}

impl QuickDeflater {
    /// A window of `window_bits`, 9 to 15, and a table of `1 << (memory_level + 7)` places.
    pub(super) fn new(window_bits: u8, memory_level: u8) -> Self {
        let places = vec![0; 1 << (memory_level + 7)].into_boxed_slice();
        Self { text: Vec::new(), floor: 1, places, window: 1 << window_bits }
    }

    /// Discards the history: the next message refers to nothing before it.
    pub(super) fn forget(&mut self) {
        // Clearing the places would cost more than a short message. They are below the floor now,
        // and when the text slides they are dropped.
        self.floor = self.text.len().max(1);
    }

    /// Appends the payload of the compressed message, which is not empty, to `out`.
    pub(super) fn deflate(&mut self, message: &[u8], out: &mut ScratchBuffer) {
        // A byte takes nine bits at most.
        let mut writer = BitWriter::new(out.spare(message.len() + message.len() / 8 + 32));
        writer.put(FIXED_BLOCK, 3);
        for piece in message.chunks(self.window) {
            let start = self.append(piece);
            self.encode(start, &mut writer);
        }
        writer.put(0, END_AND_STORED_BLOCK);
        let len = writer.finish();
        if len <= message.len() + 5 * message.len().div_ceil(MOST_STORED) {
            out.advance(len);
        } else {
            store(message, out);
        }
    }

    /// Makes a piece of a message, at most a window long, the end of the text; returns where it begins.
    fn append(&mut self, piece: &[u8]) -> usize {
        if self.text.is_empty() {
            self.text.reserve_exact(2 * self.window);
            self.text.push(0);
        }
        if self.text.len() + piece.len() > 2 * self.window {
            self.slide();
        }
        let start = self.text.len();
        self.text.extend_from_slice(piece);
        start
    }

    /// Drops what is forgotten and what no reference reaches any more.
    #[cold]
    fn slide(&mut self) {
        let reachable = self.text.len().saturating_sub(self.window - 1);
        let shift = self.floor.max(reachable) - 1;
        self.text.drain(1..=shift);
        self.floor = 1;
        for place in &mut self.places {
            // A dropped place becomes 0, which is below every floor: it must not pass for the first
            // byte of the history. `shift` is less than `2 * window`, so it fits.
            *place = place.saturating_sub(shift as u16);
        }
    }

    /// Encodes the text from `start` on.
    fn encode(&mut self, start: usize, writer: &mut BitWriter<'_>) {
        let (text, places) = (&self.text[..], &mut self.places[..]);
        let (floor, window) = (self.floor, self.window);
        let shift = u64::BITS - places.len().trailing_zeros();
        let mut at = start;
        while let Some(next) = four(text, at) {
            let place = &mut places[hash(*next, shift)];
            let candidate = usize::from(*place);
            *place = at as u16;
            // Places of other histories are below the floor. No place is ahead of `at`.
            if candidate >= floor && at - candidate < window && four(text, candidate) == Some(next) {
                let len = match_len(text, candidate, at);
                writer.reference(len, at - candidate);
                // What was said before is found by half of its places as well.
                let mut inside = at + 1;
                while inside < at + len
                    && let Some(bytes) = four(text, inside)
                {
                    places[hash(*bytes, shift)] = inside as u16;
                    inside += 2;
                }
                at += len;
            } else {
                writer.literal(next[0]);
                at += 1;
            }
        }
        for &byte in &text[at..] {
            writer.literal(byte);
        }
    }
}

/// The message in stored blocks (RFC 1951 section 3.2.4); what follows the header of the last, empty one is the tail that is not sent.
fn store(message: &[u8], out: &mut ScratchBuffer) {
    for piece in message.chunks(MOST_STORED) {
        let len = piece.len() as u16;
        out.extend_from_slice(&[0x00]);
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(&(!len).to_le_bytes());
        out.extend_from_slice(piece);
    }
    out.extend_from_slice(&[0x00]);
}

/// Returns the four bytes at `at`, if there are as many.
fn four(text: &[u8], at: usize) -> Option<&[u8; LEAST_MATCH]> {
    text.get(at..)?.first_chunk()
}

/// Multiplicative hash: the high bits of the product depend on all bits of the four bytes.
fn hash(bytes: [u8; LEAST_MATCH], shift: u32) -> usize {
    (u64::from(u32::from_le_bytes(bytes)).wrapping_mul(0x9e37_79b1_0000_0000) >> shift) as usize
}

/// How many bytes at `candidate` are those at `at`, behind the first four, which are.
fn match_len(text: &[u8], candidate: usize, at: usize) -> usize {
    let most = (text.len() - at).min(MOST_MATCH);
    let (old, new) = (&text[candidate..candidate + most], &text[at..at + most]);
    let mut len = LEAST_MATCH;
    while let (Some(old), Some(new)) = (old[len..].first_chunk(), new[len..].first_chunk()) {
        let differing = u64::from_le_bytes(*old) ^ u64::from_le_bytes(*new);
        if differing != 0 {
            return len + differing.trailing_zeros() as usize / 8;
        }
        len += size_of::<u64>();
    }
    let rest = old[len..].iter().zip(&new[len..]);
    len + rest.take_while(|(old, new)| old == new).count()
}

/// Writes bits, the lowest first (RFC 1951 section 3.1.1).
struct BitWriter<'a> {
    room: &'a mut [u8],
    len: usize,
    /// The lowest `count` are yet to be written; the others are zero.
    bits: u64,
    /// Less than 8 between calls.
    count: u32,
}

impl<'a> BitWriter<'a> {
    /// `room` has to hold all that will be written, and seven bytes more.
    fn new(room: &'a mut [u8]) -> Self {
        Self { room, len: 0, bits: 0, count: 0 }
    }

    /// Appends the lowest `count` bits of `value`, at most 56; the others are zero.
    fn put(&mut self, value: u64, count: u32) {
        debug_assert!(self.count < 8 && count <= 56 && value >> count == 0);
        self.bits |= value << self.count;
        self.count += count;
        self.room[self.len..self.len + size_of::<u64>()].copy_from_slice(&self.bits.to_le_bytes());
        self.len += (self.count / 8) as usize;
        self.bits >>= self.count & !7;
        self.count %= 8;
    }

    fn literal(&mut self, byte: u8) {
        let (code, count) = LITERALS[usize::from(byte)];
        self.put(u64::from(code), u32::from(count));
    }

    /// A reference to `len` bytes, `distance` bytes back.
    fn reference(&mut self, len: usize, distance: usize) {
        let (code, count) = LENGTHS[len];
        let (code, count) = (u64::from(code), u32::from(count));
        // RFC 1951 section 3.2.5: from 5 on two codes for each number of extra bits.
        let less = distance as u32 - 1;
        let extra = (less | 2).ilog2() - 1;
        let symbol = less >> extra;
        let symbol = if less < 4 { less } else { 2 * extra + symbol };
        let low = u64::from(less & ((1 << extra) - 1));
        let extra = if less < 4 { 0 } else { extra };
        let distance = u64::from(DISTANCES[symbol as usize]) | low << 5;
        self.put(code | distance << count, count + 5 + extra);
    }

    /// Fills up the last byte with zeros. How many bytes were written.
    fn finish(self) -> usize {
        self.len + usize::from(self.count > 0)
    }
}

/// The fixed code (RFC 1951 sections 3.2.5 and 3.2.6), turned round so that codes can be written lowest bit first.
mod codes {
    use super::MOST_MATCH;

    /// Code and number of bits of each byte.
    pub(super) const LITERALS: [(u16, u8); 256] = {
        let mut codes = [(0, 0); 256];
        let mut byte = 0;
        while byte < 256 {
            codes[byte] = fixed(byte as u16);
            byte += 1;
        }
        codes
    };

    /// Code, with extra bits, and number of bits of each length from 3 on.
    pub(super) const LENGTHS: [(u32, u8); MOST_MATCH + 1] = {
        let mut codes = [(0, 0); MOST_MATCH + 1];
        let mut len = 3;
        while len <= MOST_MATCH {
            codes[len] = length(len as u32);
            len += 1;
        }
        codes
    };

    /// Code, of five bits, of each class of distances.
    pub(super) const DISTANCES: [u8; 30] = {
        let mut codes = [0; 30];
        let mut symbol = 0;
        while symbol < 30 {
            codes[symbol] = (symbol as u8).reverse_bits() >> 3;
            symbol += 1;
        }
        codes
    };

    const fn length(len: u32) -> (u32, u8) {
        let less = len - 3;
        let (symbol, extra) = match less {
            0..8 => (257 + less, 0),
            255 => (285, 0),
            _ => {
                let extra = less.ilog2() - 2;
                (257 + 4 * extra + (less >> extra), extra)
            }
        };
        let (code, count) = fixed(symbol as u16);
        let low = less & ((1 << extra) - 1);
        (code as u32 | low << count, count + extra as u8)
    }

    const fn fixed(symbol: u16) -> (u16, u8) {
        let (code, count) = match symbol {
            0..144 => (0x30 + symbol, 8),
            144..256 => (0x190 + symbol - 144, 9),
            256..280 => (symbol - 256, 7),
            _ => (0xc0 + symbol - 280, 8),
        };
        (code.reverse_bits() >> (16 - count), count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::Random;

    fn deflated(quick: &mut QuickDeflater, message: &[u8]) -> usize {
        let mut out = ScratchBuffer::default();
        out.begin(0);
        quick.deflate(message, &mut out);
        out.len()
    }

    #[test]
    fn noise_is_stored() {
        let mut random = Random::new(1);
        let mut quick = QuickDeflater::new(12, 5);
        for len in [1, 2, 100, 65_535, 65_536, 200_000_usize] {
            let noise: Vec<u8> = (0..len).map(|_| random.below(256) as u8).collect();
            let least = len + 5 * len.div_ceil(MOST_STORED) + 1;
            assert!(deflated(&mut quick, &noise) <= least, "{len}");
        }
    }

    #[test]
    fn repetitions_are_references() {
        let mut quick = QuickDeflater::new(12, 5);
        let message: Vec<u8> = (b'a'..=b'z').cycle().take(2000).collect();
        assert!(deflated(&mut quick, &message) < 60, "26 letters and 8 references");
        assert!(deflated(&mut quick, &message) < 40, "references to the message before");
        quick.forget();
        assert!(deflated(&mut quick, &message) > 40, "the letters are said again");
    }

    #[test]
    fn what_is_beyond_the_window_is_not_referred_to() {
        let mut quick = QuickDeflater::new(9, 5);
        let mut random = Random::new(2);
        let noise = |random: &mut Random, len: usize| (0..len).map(|_| random.below(256) as u8).collect();
        let message: Vec<u8> = noise(&mut random, 100);
        deflated(&mut quick, &message);
        assert!(deflated(&mut quick, &message) < 20);
        let between: Vec<u8> = noise(&mut random, 512);
        deflated(&mut quick, &between);
        assert!(deflated(&mut quick, &message) > 100);
    }

    #[test]
    fn memory_is_two_windows_and_the_table() {
        let mut quick = QuickDeflater::new(12, 5);
        for len in [10, 5000, 100_000] {
            deflated(&mut quick, &vec![7; len]);
            assert_eq!(quick.text.capacity(), 8192);
        }
        assert_eq!(quick.places.len(), 4096);
    }
}
