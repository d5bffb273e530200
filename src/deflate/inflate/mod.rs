//! From the payload of a compressed message to the message (RFC 7692 section 7.2.2).
//!
//! Whole messages only, and each ends at the end of a byte: so nothing is left of one for the next but the bytes that it may refer to.

mod bits;
mod blocks;
mod codes;
mod history;

use std::fmt;

use super::{DeflateDirection, MAX_WINDOW_BITS};
use crate::buf::ScratchBuffer;
use crate::proto::{WSCloseCode, WSProtocolError};
use bits::BitReader;
use blocks::Blocks;
use history::History;

/// Least window that is kept, as a power of two: there are senders that use this one where a smaller one was agreed on.
const LEAST_WINDOW_BITS: u8 = 9;

/// Inflates the messages of one direction.
///
/// Its memory is what later messages may refer to: with context takeover the end of what was said, up to the window, else nothing.
pub struct Inflater {
    history: History,
    context_takeover: bool,
    /// A fault was found: what follows makes no sense any more.
    is_broken: bool,
}

/// Why a message cannot be inflated.
enum Fault {
    Corrupt,
    TooBig,
}

impl Inflater {
    /// An inflater for messages that are compressed as `direction` says.
    pub fn new(direction: DeflateDirection) -> Self {
        let window_bits = direction.window_bits.clamp(LEAST_WINDOW_BITS, MAX_WINDOW_BITS);
        let window = if direction.context_takeover { 1 << window_bits } else { 0 };
        Self { history: History::new(window), context_takeover: direction.context_takeover, is_broken: false }
    }

    /// An inflater for messages that do not refer to earlier ones, whatever their window.
    pub fn without_context() -> Self {
        Self::new(DeflateDirection { context_takeover: false, window_bits: MAX_WINDOW_BITS })
    }

    /// Inflates the payload of a whole compressed message into `out`, up to `limit` bytes. Memory grows with what comes out, to a few
    /// hundred bytes beyond the limit at most.
    ///
    /// Blocks with BFINAL set end a stream in the terms of DEFLATE; what follows them goes on as a new one that may refer to what this
    /// message has said so far (RFC 7692 section 7.2.3.4). A message whose last byte ends such a block is taken as whole.
    ///
    /// # Errors
    /// 1009 as soon as more than `limit` bytes come out. 1007 if the payload is corrupt or cut off. After an error an inflater with
    /// context takeover refuses everything.
    pub fn inflate(
        &mut self,
        payload: &[u8],
        out: &mut ScratchBuffer,
        limit: usize,
    ) -> Result<(), WSProtocolError> {
        if self.is_broken {
            return Err(corrupt());
        }
        out.begin(0);
        if payload.is_empty() {
            return Ok(());
        }
        let reader = BitReader::new(payload);
        let result = Blocks { reader, out, history: &mut self.history, limit }.inflate();
        match result {
            Ok(()) => {
                self.history.append(out.filled());
                Ok(())
            }
            Err(fault) => {
                self.is_broken = self.context_takeover;
                Err(match fault {
                    Fault::Corrupt => corrupt(),
                    Fault::TooBig => too_big(limit),
                })
            }
        }
    }

    /// Bytes of memory that are held for what later messages may refer to: at most the window, and at most twice what was said.
    pub fn memory(&self) -> usize {
        self.history.capacity()
    }
}

impl fmt::Debug for Inflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inflater")
            .field("context_takeover", &self.context_takeover)
            .field("memory", &self.memory())
            .finish_non_exhaustive()
    }
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
