//! The bytes that a connection keeps between reads.

use std::cell::Cell;

use crate::buf::RecvBuffer;
use crate::runtime::LoopCore;

/// A partial frame of at most this many bytes is copied in front of the next read, unless it would
/// take more than half of the buffer; a larger one is read on in place.
pub(super) const SMALL: usize = 4096;

/// Least room, in bytes, that a large partial frame is given for its next read.
const MIN_GROWTH: usize = 16 * 1024;

/// Received bytes that were not delivered. An idle connection has none, and no buffer.
#[derive(Default)]
pub(super) struct Leftover(Cell<Option<Box<RecvBuffer>>>);

impl Leftover {
    /// Keeps the bytes in `buffer`, which is not empty.
    ///
    /// A large part stays where it is, and the loop takes another buffer. A small one is copied, so
    /// that a connection does not hold much more memory than has arrived.
    pub(super) fn keep(&self, buffer: Box<RecvBuffer>, core: &LoopCore) {
        if buffer.len() >= buffer.capacity() / 4 {
            return self.put(buffer);
        }
        let mut copy = core.pool().take_recv(buffer.len());
        copy.extend_from_slice(buffer.filled());
        core.give_recv(buffer);
        self.put(copy);
    }

    #[inline]
    pub(super) fn put(&self, buffer: Box<RecvBuffer>) {
        self.0.set(Some(buffer));
    }

    #[inline]
    pub(super) fn take(&self) -> Option<Box<RecvBuffer>> {
        self.0.take()
    }

    /// Calls `look` with the bytes.
    pub(super) fn with_bytes<R>(&self, look: impl FnOnce(&[u8]) -> R) -> R {
        let buffer = self.take();
        let result = look(buffer.as_ref().map_or(&[], |buffer| buffer.filled()));
        self.0.set(buffer);
        result
    }

    /// Returns the buffer for the next read: the loop's, with a small partial frame in front, or the
    /// one that holds a large partial frame, with room to go on. The room grows with what has
    /// arrived, not with what the header claims (`wire_len`, if it is known).
    #[expect(clippy::unnecessary_box_returns, reason = "a buffer changes hands as one pointer")]
    pub(super) fn read_on(&self, wire_len: impl FnOnce() -> Option<u64>, core: &LoopCore) -> Box<RecvBuffer> {
        let Some(partial) = self.take() else { return core.take_recv() };
        let arrived = partial.len();
        if arrived <= SMALL.min(core.config().read_buffer_size / 2) {
            let mut buffer = core.take_recv();
            buffer.extend_from_slice(partial.filled());
            core.give_recv(partial);
            return buffer;
        }
        let missing = wire_len().map_or(0, |total| total.saturating_sub(arrived as u64));
        let growth = (2 * arrived).max(MIN_GROWTH);
        let room = usize::try_from(missing).unwrap_or(usize::MAX).clamp(1, growth);
        core.pool().grow_recv(partial, room)
    }

    /// Returns the buffer for a read of control frames while data is held: little of a data frame
    /// that must wait fits in behind them.
    #[expect(clippy::unnecessary_box_returns, reason = "a buffer changes hands as one pointer")]
    pub(super) fn read_control_frames(&self, core: &LoopCore) -> Box<RecvBuffer> {
        let mut pool = core.pool();
        match self.take() {
            Some(partial) => pool.grow_recv(partial, SMALL),
            None => pool.take_recv(SMALL),
        }
    }

    /// Drops the bytes.
    pub(super) fn drop_bytes(&self, core: &LoopCore) {
        if let Some(buffer) = self.take() {
            core.give_recv(buffer);
        }
    }
}
