//! From the payload of a compressed message to the message (RFC 7692 section 7.2.2).

use std::fmt;

use zlib_rs::{Inflate, InflateFlush, Status};

use super::{DeflateDirection, FLUSH_TAIL, MAX_WINDOW_BITS, ScratchBuffer};
use crate::proto::{WSCloseCode, WSProtocolError};

/// An empty last block. A stream that takes it as such was not cut off before.
const LAST_BLOCK: [u8; 5] = [0x01, 0x00, 0x00, 0xff, 0xff];

/// Least window that the decompressor is given, as a power of two. It may always be larger than what the sender uses.
const LEAST_WINDOW_BITS: u8 = 9;

/// Inflates the messages of one direction.
///
/// Without context takeover each message is inflated by itself, and one inflater serves any number of connections.
pub struct Inflater {
    stream: Inflate,
    direction: DeflateDirection,
    /// A fault was found: what follows makes no sense any more.
    is_broken: bool,
}

impl Inflater {
    /// An inflater for messages that are compressed as `direction` says.
    pub fn new(direction: DeflateDirection) -> Self {
        Self { stream: Inflate::new(false, window_bits(direction)), direction, is_broken: false }
    }

    /// An inflater for messages that do not refer to earlier ones, whatever their window.
    pub fn without_context() -> Self {
        Self::new(DeflateDirection { context_takeover: false, window_bits: MAX_WINDOW_BITS })
    }

    /// Inflates the payload of a whole compressed message into `out`, up to `limit` bytes. Memory grows with what comes out.
    ///
    /// Blocks with BFINAL set end a stream in the terms of DEFLATE; what follows them goes on as a new one that may refer to what this
    /// message has said so far (RFC 7692 section 7.2.3.4). A message whose last byte ends such a block is taken as whole.
    ///
    /// # Errors
    /// 1009 as soon as more than `limit` bytes come out. 1007 if the payload is corrupt or cut off; with context takeover not every cut
    /// can be seen. After an error an inflater with context takeover refuses everything.
    pub fn inflate(
        &mut self,
        payload: &[u8],
        out: &mut ScratchBuffer,
        limit: usize,
    ) -> Result<(), WSProtocolError> {
        if self.is_broken && self.direction.context_takeover {
            return Err(corrupt());
        }
        out.begin(0);
        if payload.is_empty() {
            return Ok(());
        }
        if !self.direction.context_takeover {
            self.stream.reset(false);
        }
        let result = self.inflate_whole(payload, out, limit);
        self.is_broken = result.is_err();
        result
    }

    fn inflate_whole(
        &mut self,
        payload: &[u8],
        out: &mut ScratchBuffer,
        limit: usize,
    ) -> Result<(), WSProtocolError> {
        if self.feed(payload, out, limit)? {
            return Ok(());
        }
        let len = out.len();
        let mut is_whole = !self.feed(&FLUSH_TAIL, out, limit)?;
        if !self.direction.context_takeover {
            is_whole &= self.feed(&LAST_BLOCK, out, limit)?;
        }
        // The tails are headers of empty blocks; where they say more, they were taken for something else.
        if is_whole && out.len() == len { Ok(()) } else { Err(corrupt()) }
    }

    /// Inflates all of `input`. Whether its last byte ended the stream.
    fn feed(
        &mut self,
        mut input: &[u8],
        out: &mut ScratchBuffer,
        limit: usize,
    ) -> Result<bool, WSProtocolError> {
        loop {
            // One byte beyond the limit tells that it was passed.
            let room = out.room(4 * input.len(), limit.saturating_add(1));
            let offered = room.len();
            let (read, written) = (self.stream.total_in(), self.stream.total_out());
            let status = self.stream.decompress(input, room, InflateFlush::SyncFlush);
            let read = (self.stream.total_in() - read) as usize;
            let written = (self.stream.total_out() - written) as usize;
            out.advance(written);
            input = &input[read..];
            if out.len() > limit {
                return Err(too_big(limit));
            }
            match status {
                // The next message resets the stream. Behind the end there is nothing, or the block that RFC 7692 asks for.
                Ok(Status::StreamEnd) if !self.direction.context_takeover && matches!(input, [] | [0x00]) => {
                    return Ok(true);
                }
                Ok(Status::StreamEnd) => {
                    self.begin_anew(out.filled());
                    if input.is_empty() {
                        return Ok(true);
                    }
                }
                Ok(_) if input.is_empty() && written < offered => return Ok(false),
                Ok(_) if read > 0 || written > 0 => {}
                _ => return Err(corrupt()),
            }
        }
    }

    /// A stream that goes on behind the end of the one before.
    fn begin_anew(&mut self, said: &[u8]) {
        let bits = window_bits(self.direction);
        self.stream = Inflate::new(false, bits);
        let window = &said[said.len().saturating_sub(1 << bits)..];
        let taken = self.stream.set_dictionary(window);
        debug_assert!(taken.is_ok(), "a raw stream takes a dictionary at any time");
    }
}

impl fmt::Debug for Inflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inflater").field("direction", &self.direction).finish_non_exhaustive()
    }
}

fn window_bits(direction: DeflateDirection) -> u8 {
    direction.window_bits.clamp(LEAST_WINDOW_BITS, MAX_WINDOW_BITS)
}

#[cold]
fn corrupt() -> WSProtocolError {
    WSProtocolError::new(WSCloseCode::INVALID_TEXT, "compressed message is corrupt")
}

#[cold]
fn too_big(limit: usize) -> WSProtocolError {
    WSProtocolError::new(
        WSCloseCode::MESSAGE_TOO_BIG,
        format!("inflated message exceeds the limit of {limit}"),
    )
}
