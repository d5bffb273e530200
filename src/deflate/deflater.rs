//! From a message to the payload of a compressed one (RFC 7692 section 7.2.1).

use std::fmt;

use zlib_rs::{Deflate, DeflateConfig, DeflateFlush};

use super::quick::QuickDeflater;
use super::{DeflateDirection, FLUSH_TAIL, MAX_WINDOW_BITS, MIN_WINDOW_BITS};
use crate::buf::ScratchBuffer;

/// What compression costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeflateSettings {
    /// Effort, 1 (fast) to 9 (small). With 1 the compressor is one of our own, above it zlib's.
    pub level: u8,
    /// Memory for symbols that wait to be coded, 1 to 9; each step doubles it.
    pub memory_level: u8,
}

/// Compresses the messages of one direction.
///
/// Each ends with a sync flush, so its blocks never set BFINAL, which some receivers take for the end of all messages. Without context
/// takeover one deflater serves any number of connections.
///
/// The output for a message is a function of the message and of those since the last
/// [`forget`](Self::forget): so a deflater that has forgotten may serve another connection, and the
/// lengths of its messages reveal nothing of the first one's.
pub struct Deflater {
    engine: Engine,
    direction: DeflateDirection,
    settings: DeflateSettings,
    /// The stream has said something that the next message must not refer to.
    is_used: bool,
}

enum Engine {
    Quick(QuickDeflater),
    Zlib(Deflate),
}

impl Deflater {
    /// A deflater for messages as `direction` says.
    ///
    /// A window of 8 bits is one that DEFLATE as zlib has it does not know: it takes the next larger one, so that the caller
    /// has to keep to [messages that fit](Self::fits), and there is no context takeover.
    pub fn new(mut direction: DeflateDirection, settings: DeflateSettings) -> Self {
        direction.context_takeover &= direction.window_bits > MIN_WINDOW_BITS;
        direction.window_bits = direction.window_bits.clamp(MIN_WINDOW_BITS + 1, MAX_WINDOW_BITS);
        Self { engine: Engine::new(direction, settings), direction, settings, is_used: false }
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
        if !self.direction.context_takeover {
            self.forget();
        }
        self.is_used = true;
        let deflated = match &mut self.engine {
            Engine::Quick(quick) => {
                quick.deflate(message, out);
                true
            }
            Engine::Zlib(stream) => deflate_and_flush(stream, message, out),
        };
        if !deflated {
            self.forget();
        }
        deflated
    }

    /// The next message will not refer to any before it: for one that did not reach the peer, or when the peer got one that was not
    /// compressed here.
    pub fn forget(&mut self) {
        if !self.is_used {
            return;
        }
        match &mut self.engine {
            Engine::Quick(quick) => quick.forget(),
            // A reset keeps the bytes of the window. zlib notes the last positions of a message by
            // hashes of the bytes there and behind its end, so what later messages of the context
            // find would depend on the bytes of earlier histories.
            Engine::Zlib(_) if self.direction.context_takeover => {
                self.engine = Engine::new(self.direction, self.settings);
            }
            // In a message by itself no search follows the notes at its end.
            Engine::Zlib(stream) => stream.reset(),
        }
        self.is_used = false;
    }
}

impl Engine {
    fn new(direction: DeflateDirection, settings: DeflateSettings) -> Self {
        let memory_level = settings.memory_level.clamp(1, 9);
        if settings.level <= 1 {
            return Self::Quick(QuickDeflater::new(direction.window_bits, memory_level));
        }
        Self::Zlib(Deflate::new_with_config(DeflateConfig {
            level: settings.level.min(9).into(),
            // Negative: without header and checksum.
            window_bits: -i32::from(direction.window_bits),
            mem_level: memory_level.into(),
            ..DeflateConfig::default()
        }))
    }
}

/// Compresses in one call with room for the worst case.
///
/// After a call that filled its room exactly zlib ends the flush a second time. So the output would
/// depend on the room, and that on the messages of other connections that used the buffer before.
fn deflate_and_flush(stream: &mut Deflate, message: &[u8], out: &mut ScratchBuffer) -> bool {
    let len = message.len();
    // zlib's bound for any window and memory level, and the bytes that a flush adds.
    let most = len + len / 8 + len / 64 + 64;
    let room = &mut out.spare(most)[..most];
    let (read, written) = (stream.total_in(), stream.total_out());
    if stream.compress(message, room, DeflateFlush::SyncFlush).is_err() {
        return false;
    }
    let read = (stream.total_in() - read) as usize;
    let written = (stream.total_out() - written) as usize;
    out.advance(written);
    let is_flushed = read == len && written < most && out.filled().ends_with(&FLUSH_TAIL);
    if is_flushed {
        out.cut(FLUSH_TAIL.len());
    }
    is_flushed
}

impl fmt::Debug for Deflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deflater")
            .field("direction", &self.direction)
            .field("settings", &self.settings)
            .field("is_used", &self.is_used)
            .finish_non_exhaustive()
    }
}
