//! From a message to the payload of a compressed one (RFC 7692 section 7.2.1).

use std::fmt;

use zlib_rs::{Deflate, DeflateConfig, DeflateFlush};

use super::{DeflateDirection, FLUSH_TAIL, MAX_WINDOW_BITS, MIN_WINDOW_BITS, ScratchBuffer};

/// What compression costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeflateSettings {
    /// Effort, 1 (fast) to 9 (small).
    pub level: u8,
    /// Memory for symbols that wait to be coded, 1 to 9; each step doubles it.
    pub memory_level: u8,
}

/// Compresses the messages of one direction.
///
/// Each ends with a sync flush, so its blocks never set BFINAL, which some receivers take for the end of all messages. Without context
/// takeover one deflater serves any number of connections.
pub struct Deflater {
    stream: Deflate,
    context_takeover: bool,
    /// The stream has said something that the next message must not refer to.
    is_used: bool,
}

impl Deflater {
    /// A deflater for messages as `direction` says.
    ///
    /// A window of [`MIN_WINDOW_BITS`] is one that DEFLATE as zlib has it does not know: it takes the next larger one, so that the caller
    /// has to keep to [messages that fit](Self::fits), and there is no context takeover.
    pub fn new(direction: DeflateDirection, settings: DeflateSettings) -> Self {
        let window_bits = direction.window_bits.clamp(MIN_WINDOW_BITS + 1, MAX_WINDOW_BITS);
        let config = DeflateConfig {
            level: settings.level.clamp(1, 9).into(),
            // Negative: without header and checksum.
            window_bits: -i32::from(window_bits),
            mem_level: settings.memory_level.clamp(1, 9).into(),
            ..DeflateConfig::default()
        };
        let context_takeover = direction.context_takeover && direction.window_bits > MIN_WINDOW_BITS;
        Self { stream: Deflate::new_with_config(config), context_takeover, is_used: false }
    }

    /// Whether a message of `len` bytes may be compressed as `direction` says.
    pub fn fits(direction: DeflateDirection, len: usize) -> bool {
        direction.window_bits > MIN_WINDOW_BITS || len <= 1 << MIN_WINDOW_BITS
    }

    /// Appends the payload of the compressed message to `out`.
    ///
    /// False if the compressor failed, which it does not in correct use; `out` holds nothing of worth then, and the message has to go
    /// as it is.
    #[must_use]
    pub fn deflate(&mut self, message: &[u8], out: &mut ScratchBuffer) -> bool {
        if message.is_empty() {
            // RFC 7692 section 7.2.3.6; says nothing that a later message could refer to.
            out.extend_from_slice(&[0x00]);
            return true;
        }
        if self.is_used && !self.context_takeover {
            self.stream.reset();
        }
        self.is_used = true;
        let deflated = self.deflate_and_flush(message, out);
        if !deflated {
            self.forget();
        }
        deflated
    }

    /// The next message will not refer to any before it: for one that did not reach the peer, or when the peer got one that was not
    /// compressed here.
    pub fn forget(&mut self) {
        if self.is_used {
            self.stream.reset();
            self.is_used = false;
        }
    }

    fn deflate_and_flush(&mut self, mut message: &[u8], out: &mut ScratchBuffer) -> bool {
        loop {
            let room = out.room(message.len() + message.len() / 8, usize::MAX);
            let offered = room.len();
            let (read, written) = (self.stream.total_in(), self.stream.total_out());
            if self.stream.compress(message, room, DeflateFlush::SyncFlush).is_err() {
                return false;
            }
            let read = (self.stream.total_in() - read) as usize;
            let written = (self.stream.total_out() - written) as usize;
            message = &message[read..];
            out.advance(written);
            if message.is_empty() && written < offered {
                break;
            }
            if read == 0 && written == 0 {
                return false;
            }
        }
        let is_flushed = out.filled().ends_with(&FLUSH_TAIL);
        if is_flushed {
            out.cut(FLUSH_TAIL.len());
        }
        is_flushed
    }
}

impl fmt::Debug for Deflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deflater")
            .field("context_takeover", &self.context_takeover)
            .field("is_used", &self.is_used)
            .finish_non_exhaustive()
    }
}
