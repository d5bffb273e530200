//! The blocks of a compressed message (RFC 1951 section 3.2.3).

use super::Fault;
use super::bits::BitReader;
use super::codes::{Code, Codes, FIXED, LENGTHS};
use super::history::History;
use crate::buf::ScratchBuffer;

/// Room that is there before a symbol is decoded: for two bytes, the longest reference, and what a copy in steps writes too much.
const MARGIN: usize = 2 + 258 + STEP;

/// Bytes that are copied at a time.
const STEP: usize = 32;

/// Bytes that are copied at a time if they are closer to each other than [`STEP`].
const SMALL_STEP: usize = 8;

/// A message that is being inflated.
pub(super) struct Blocks<'a> {
    pub(super) reader: BitReader<'a>,
    /// What the message has said so far.
    pub(super) out: &'a mut ScratchBuffer,
    /// What was said before.
    pub(super) history: &'a mut History,
    /// Most bytes that the message may say.
    pub(super) limit: usize,
}

/// Why [`decode`] has returned.
enum Stop {
    EndOfBlock,
    /// The room is used up.
    Full,
}

impl Blocks<'_> {
    /// Inflates the whole message.
    pub(super) fn inflate(&mut self) -> Result<(), Fault> {
        loop {
            let header = self.reader.take(3);
            if self.reader.is_overdrawn() {
                return Err(Fault::Corrupt);
            }
            let is_last = header & 1 != 0;
            match header >> 1 {
                // The header of the empty block that each message ends with; the rest of it is not sent.
                0 if self.reader.is_at_end() && !is_last => return Ok(()),
                0 => self.stored()?,
                1 => self.coded(&FIXED)?,
                2 => self.dynamic()?,
                _ => return Err(Fault::Corrupt),
            }
            if self.reader.is_overdrawn() {
                return Err(Fault::Corrupt);
            }
            if self.out.len() > self.limit {
                return Err(Fault::TooBig);
            }
            if is_last {
                // What follows is a new stream.
                self.history.clear();
                self.reader.align();
                if self.reader.is_at_end() {
                    return Ok(());
                }
            }
        }
    }

    /// RFC 1951 section 3.2.4.
    fn stored(&mut self) -> Result<(), Fault> {
        let Some(&[a, b, c, d]) = self.reader.bytes(4) else { return Err(Fault::Corrupt) };
        let (len, complement) = (u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]));
        if len != !complement {
            return Err(Fault::Corrupt);
        }
        let bytes = self.reader.bytes(len.into()).ok_or(Fault::Corrupt)?;
        if bytes.len() > self.limit - self.out.len() {
            return Err(Fault::TooBig);
        }
        self.out.at_least(bytes.len(), self.limit);
        self.out.spare(bytes.len())[..bytes.len()].copy_from_slice(bytes);
        self.out.advance(bytes.len());
        Ok(())
    }

    /// RFC 1951 section 3.2.7.
    #[inline(never)]
    fn dynamic(&mut self) -> Result<(), Fault> {
        /// In which order the lengths of the code of lengths come.
        const ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
        let symbols = self.reader.take(5) as usize + 257;
        let distances = self.reader.take(5) as usize + 1;
        let count = self.reader.take(4) as usize + 4;
        if symbols > 286 || distances > 30 {
            return Err(Fault::Corrupt);
        }
        let mut lengths = [0; ORDER.len()];
        for &place in &ORDER[..count] {
            lengths[place] = self.reader.take(3) as u8;
        }
        let mut code = Code::<128>::new(&LENGTHS);
        code.set(&lengths, false)?;
        let mut lengths = [0; 286 + 30];
        self.lengths(&code, &mut lengths[..symbols + distances])?;
        let (symbols, distances) = lengths[..symbols + distances].split_at(symbols);
        if symbols[256] == 0 {
            // The block could not end.
            return Err(Fault::Corrupt);
        }
        let mut codes = Codes::<1024, 256>::new();
        codes.symbols.set(symbols, true)?;
        codes.distances.set(distances, true)?;
        self.coded(&codes)
    }

    /// Reads lengths of codes, all of `to`.
    fn lengths(&mut self, code: &Code<128>, to: &mut [u8]) -> Result<(), Fault> {
        let mut at = 0;
        while at < to.len() {
            self.reader.refill();
            let entry = code.entry(self.reader.peek());
            if entry.is_none() {
                return Err(Fault::Corrupt);
            }
            self.reader.consume(entry.used());
            let (len, count) = match entry.plain() {
                16 => {
                    (*at.checked_sub(1).map(|last| &to[last]).ok_or(Fault::Corrupt)?, 3 + self.reader.take(2))
                }
                17 => (0, 3 + self.reader.take(3)),
                18 => (0, 11 + self.reader.take(7)),
                len => {
                    to[at] = len as u8;
                    at += 1;
                    continue;
                }
            };
            to.get_mut(at..at + count as usize).ok_or(Fault::Corrupt)?.fill(len);
            at += count as usize;
        }
        Ok(())
    }

    fn coded<const S: usize, const D: usize>(&mut self, codes: &Codes<S, D>) -> Result<(), Fault> {
        let most = self.limit.saturating_add(MARGIN);
        loop {
            self.out.at_least(MARGIN, most);
            let len = self.out.len();
            let room = self.out.whole(most);
            let (len, stop) = decode(&mut self.reader, codes, room, len, self.history)?;
            self.out.advance(len - self.out.len());
            match stop {
                Stop::EndOfBlock => return Ok(()),
                Stop::Full if len > self.limit => return Err(Fault::TooBig),
                Stop::Full => {}
            }
        }
    }
}

/// Decodes symbols up to the end of the block, or until there are less than [`MARGIN`] bytes of room behind the `len` that are used.
/// Returns how many are used then.
#[inline(never)]
fn decode<const S: usize, const D: usize>(
    reader_of_block: &mut BitReader<'_>,
    codes: &Codes<S, D>,
    room: &mut [u8],
    mut len: usize,
    history: &History,
) -> Result<(usize, Stop), Fault> {
    let mut reader = *reader_of_block;
    let stop = loop {
        let Some(next) = room.get_mut(len..).and_then(<[u8]>::first_chunk_mut::<MARGIN>) else {
            break Stop::Full;
        };
        if !reader.refill() {
            return Err(Fault::Corrupt);
        }
        // Two bytes from the table leave bits for a third symbol of the table, one leaves them for a reference from the tables.
        let mut entry = codes.symbols.entry(reader.peek());
        if entry.is_literal() {
            next[0] = entry.plain() as u8;
            len += 1;
            reader.consume(entry.used());
            entry = codes.symbols.entry(reader.peek());
            if entry.is_literal() {
                next[1] = entry.plain() as u8;
                len += 1;
                reader.consume(entry.used());
                continue;
            }
        }
        if entry.is_rare() {
            if entry.is_none() {
                reader.refill();
                entry = codes.symbols.long_entry(reader.peek())?;
            }
            if entry.is_literal() {
                room[len] = entry.plain() as u8;
                len += 1;
                reader.consume(entry.used());
                continue;
            }
            if entry.is_end() {
                reader.consume(entry.used());
                break Stop::EndOfBlock;
            }
        }
        let count = entry.value(reader.peek());
        reader.consume(entry.used());
        let mut entry = codes.distances.entry(reader.peek());
        if entry.is_none() {
            entry = codes.distances.long_entry(reader.peek())?;
        }
        let distance = entry.value(reader.peek());
        reader.consume(entry.used());
        if distance <= len {
            repeat(room, len, distance, count);
        } else {
            recall(history, room, len, distance, count)?;
        }
        len += count;
    };
    *reader_of_block = reader;
    Ok((len, stop))
}

/// Says again `count` bytes that begin before the message, `distance` bytes before `at`.
#[inline(never)]
fn recall(history: &History, room: &mut [u8], at: usize, distance: usize, count: usize) -> Result<(), Fault> {
    let back = distance - at;
    if back > history.len() {
        return Err(Fault::Corrupt);
    }
    let recalled = back.min(count);
    history.copy(back, &mut room[at..at + recalled]);
    if recalled < count {
        repeat(room, at + recalled, distance, count - recalled);
    }
    Ok(())
}

/// Repeats `count` bytes that are `distance` bytes before `at`, and thereby perhaps some that it has written. Writes up to a step more.
#[expect(clippy::inline_always, reason = "most symbols of text are references, and few bytes long")]
#[inline(always)]
fn repeat(room: &mut [u8], at: usize, distance: usize, count: usize) {
    let from = at - distance;
    if distance >= STEP {
        copy_steps::<STEP>(room, from, at, count);
    } else if distance >= SMALL_STEP {
        copy_steps::<SMALL_STEP>(room, from, at, count);
    } else if distance == 1 {
        let byte = room[from];
        room[at..at + count].fill(byte);
    } else {
        for place in at..at + count {
            room[place] = room[place - distance];
        }
    }
}

/// Copies `count` bytes in steps of `N`, the last of which may go beyond them. No step reads what it writes.
#[expect(clippy::inline_always, reason = "as its caller")]
#[inline(always)]
fn copy_steps<const N: usize>(room: &mut [u8], from: usize, at: usize, count: usize) {
    let mut done = 0;
    loop {
        room.copy_within(from + done..from + done + N, at + done);
        done += N;
        if done >= count {
            return;
        }
    }
}
