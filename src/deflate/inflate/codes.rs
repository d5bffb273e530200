//! Huffman codes (RFC 1951 section 3.2.2), made for looking up what the next bits mean.

use std::sync::LazyLock;

use super::Fault;

/// Longest code, in bits.
const MOST_BITS: usize = 15;

/// Most symbols of a code: bytes, the end of the block, 31 lengths.
const MOST_SYMBOLS: usize = 288;

/// What the next bits mean: how many of them say it, and a value.
///
/// | bits | |
/// |---|---|
/// | 0 to 5 | how many bits are used in all: the code, and extra bits behind it |
/// | 8 to 11 | how many of them are the code |
/// | 13, 14, 15 | a byte; the end of the block; the table does not tell |
/// | from 16 on | the byte; or the least length or distance, to which the extra bits are added |
#[derive(Clone, Copy)]
pub(super) struct Entry(u32);

impl Entry {
    const LITERAL: u32 = 1 << 13;
    const END: u32 = 1 << 14;
    const NONE: Self = Self(1 << 15);

    /// A symbol, before its code is known.
    const fn symbol(value: u16, extra: u32, kind: u32) -> Self {
        Self((value as u32) << 16 | kind | extra)
    }

    fn with_code(self, len: usize) -> Self {
        Self(self.0 + (len as u32) * 0x101)
    }

    #[inline]
    pub(super) fn is_literal(self) -> bool {
        self.0 & Self::LITERAL != 0
    }

    #[inline]
    pub(super) fn is_end(self) -> bool {
        self.0 & Self::END != 0
    }

    /// The code is longer than what the table is for, or there is no such code.
    #[inline]
    pub(super) fn is_none(self) -> bool {
        self.0 & Self::NONE.0 != 0
    }

    /// Neither a byte nor a length or distance.
    #[inline]
    pub(super) fn is_rare(self) -> bool {
        self.0 & (Self::END | Self::NONE.0) != 0
    }

    /// Bits that are used.
    #[inline]
    pub(super) fn used(self) -> u32 {
        self.0 & 0x3f
    }

    /// The value without extra bits: a byte, or a symbol.
    #[inline]
    pub(super) fn plain(self) -> u16 {
        (self.0 >> 16) as u16
    }

    /// The value with the extra bits, which are among `bits`.
    #[inline]
    pub(super) fn value(self, bits: u64) -> usize {
        let extra = (bits & ((1 << self.used()) - 1)) >> (self.0 >> 8 & 0xf);
        usize::from(self.plain()) + extra as usize
    }
}

/// A code, with a table of `SIZE` entries for codes of up to `log2(SIZE)` bits. Longer ones are rare, and looked for bit by bit.
pub(super) struct Code<const SIZE: usize> {
    table: [Entry; SIZE],
    /// How many codes there are of each number of bits.
    counts: [u16; MOST_BITS + 1],
    /// The symbols in the order of their codes.
    symbols: [u16; MOST_SYMBOLS],
    meanings: &'static [Entry],
}

impl<const SIZE: usize> Code<SIZE> {
    /// A code without symbols, which have `meanings`.
    pub(super) fn new(meanings: &'static [Entry]) -> Self {
        Self { table: [Entry::NONE; SIZE], counts: [0; MOST_BITS + 1], symbols: [0; MOST_SYMBOLS], meanings }
    }

    /// Makes it the code whose symbols have so many bits each; 0 is a symbol that does not occur.
    ///
    /// # Errors
    /// If there are more codes than bits can tell apart, or fewer: but for a single one, or none at all, if `may_be_partial`.
    pub(super) fn set(&mut self, lengths: &[u8], may_be_partial: bool) -> Result<(), Fault> {
        // Most symbols do not occur, and often none of eight does. Of those that do: the symbol, and behind it its length, four bits.
        let mut used = [0_u16; MOST_SYMBOLS];
        let mut count = 0;
        let mut counts = [0; MOST_BITS + 1];
        for (base, lengths) in (0_u16..).step_by(8).zip(lengths.chunks(8)) {
            if lengths == [0; 8] {
                continue;
            }
            for (symbol, &len) in (base..).zip(lengths).filter(|(_, len)| **len > 0) {
                let len = u16::from(len) & 0xf;
                counts[usize::from(len)] += 1;
                used[count] = symbol << 4 | len;
                count += 1;
            }
        }
        check(&counts, may_be_partial)?;

        let mut places = first_places(&counts);
        for &used in &used[..count] {
            let place = &mut places[usize::from(used & 0xf)];
            self.symbols[usize::from(*place)] = used >> 4;
            *place += 1;
        }
        self.counts = counts;
        self.fill_table();
        Ok(())
    }

    /// What the lowest of `bits` mean, or [none](Entry::is_none).
    #[inline]
    pub(super) fn entry(&self, bits: u64) -> Entry {
        self.table[bits as usize & (SIZE - 1)]
    }

    /// What the lowest of `bits` mean, if [`entry`](Self::entry) does not tell.
    #[cold]
    pub(super) fn long_entry(&self, bits: u64) -> Result<Entry, Fault> {
        // The codes of each length follow each other, and those of the next begin behind them, with a bit more.
        let (mut code, mut first, mut place) = (0, 0, 0);
        for len in 1..=MOST_BITS {
            code |= (bits >> (len - 1) & 1) as usize;
            let count = usize::from(self.counts[len]);
            if code < first + count {
                let symbol = self.symbols[place + code - first];
                let entry = self.meanings[usize::from(symbol)].with_code(len);
                return if entry.is_none() { Err(Fault::Corrupt) } else { Ok(entry) };
            }
            place += count;
            first = (first + count) << 1;
            code <<= 1;
        }
        Err(Fault::Corrupt)
    }

    /// Goes from short codes to long ones; for each further bit the table so far is repeated behind itself.
    fn fill_table(&mut self) {
        self.table[0] = Entry::NONE;
        let mut symbols = self.symbols.iter();
        let (mut code, mut size) = (0_u16, 1);
        for (len, &count) in (1..).zip(&self.counts[1..=SIZE.ilog2() as usize]) {
            self.table.copy_within(..size, size);
            size *= 2;
            code <<= 1;
            for &symbol in symbols.by_ref().take(count.into()) {
                let place = code.reverse_bits() >> (u16::BITS - len);
                let entry = self.meanings[usize::from(symbol)].with_code(len as usize);
                self.table[usize::from(place)] = entry;
                code += 1;
            }
        }
    }
}

/// The sets of lengths that zlib accepts.
fn check(counts: &[u16; MOST_BITS + 1], may_be_partial: bool) -> Result<(), Fault> {
    let mut left = 1_i32;
    for &count in &counts[1..] {
        left = 2 * left - i32::from(count);
        if left < 0 {
            return Err(Fault::Corrupt);
        }
    }
    let is_single = counts[2..].iter().all(|&count| count == 0);
    if left == 0 || (may_be_partial && is_single) { Ok(()) } else { Err(Fault::Corrupt) }
}

/// Where in the order of codes those of each length begin.
fn first_places(counts: &[u16; MOST_BITS + 1]) -> [u16; MOST_BITS + 1] {
    let mut places = [0; MOST_BITS + 1];
    for len in 1..=MOST_BITS {
        places[len] = places[len - 1] + counts[len - 1];
    }
    places
}

/// The code of bytes, lengths and the end, and that of distances.
pub(super) struct Codes<const SYMBOLS_SIZE: usize, const DISTANCES_SIZE: usize> {
    pub(super) symbols: Code<SYMBOLS_SIZE>,
    pub(super) distances: Code<DISTANCES_SIZE>,
}

impl<const SYMBOLS_SIZE: usize, const DISTANCES_SIZE: usize> Codes<SYMBOLS_SIZE, DISTANCES_SIZE> {
    pub(super) fn new() -> Self {
        Self { symbols: Code::new(&SYMBOLS), distances: Code::new(&DISTANCES) }
    }
}

/// Those of RFC 1951 section 3.2.6: no code is longer than its table is for.
pub(super) static FIXED: LazyLock<Codes<512, 32>> = LazyLock::new(|| {
    let mut lengths = [8; MOST_SYMBOLS];
    lengths[144..256].fill(9);
    lengths[256..280].fill(7);
    let mut codes = Codes::new();
    let set = codes.symbols.set(&lengths, false).and_then(|()| codes.distances.set(&[5; 32], false));
    debug_assert!(set.is_ok(), "the fixed codes are complete");
    codes
});

/// The symbols of code lengths (RFC 1951 section 3.2.7): themselves.
pub(super) static LENGTHS: [Entry; 19] = {
    let mut entries = [Entry::NONE; 19];
    let mut symbol = 0;
    while symbol < entries.len() {
        entries[symbol] = Entry::symbol(symbol as u16, 0, 0);
        symbol += 1;
    }
    entries
};

/// RFC 1951 section 3.2.5: bytes, the end, and from 257 on lengths, four for each number of extra bits from 265 on.
static SYMBOLS: [Entry; MOST_SYMBOLS] = {
    let mut entries = [Entry::NONE; MOST_SYMBOLS];
    let mut symbol = 0;
    while symbol < 286 {
        entries[symbol] = match symbol {
            0..256 => Entry::symbol(symbol as u16, 0, Entry::LITERAL),
            256 => Entry::symbol(0, 0, Entry::END),
            257..265 => Entry::symbol(symbol as u16 - 254, 0, 0),
            285 => Entry::symbol(258, 0, 0),
            _ => {
                let extra = (symbol - 261) / 4;
                Entry::symbol((((4 + (symbol - 261) % 4) << extra) + 3) as u16, extra as u32, 0)
            }
        };
        symbol += 1;
    }
    entries
};

/// RFC 1951 section 3.2.5: distances, two for each number of extra bits from 4 on.
static DISTANCES: [Entry; 32] = {
    let mut entries = [Entry::NONE; 32];
    let mut symbol = 0;
    while symbol < 30 {
        entries[symbol] = if symbol < 4 {
            Entry::symbol(symbol as u16 + 1, 0, 0)
        } else {
            let extra = symbol / 2 - 1;
            Entry::symbol((((2 + symbol % 2) << extra) + 1) as u16, extra as u32, 0)
        };
        symbol += 1;
    }
    entries
};
