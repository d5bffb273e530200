//! Facts about a connection, one bit each.

use std::cell::Cell;

/// One word, so that what an event depends on is one test.
#[derive(Default)]
pub(super) struct Flags(Cell<u32>);

impl Flags {
    /// What is sent is gathered: the connection is driven when the dispatch ends.
    pub(super) const CORKED: u32 = 1;
    /// `on_ws_disconnected` has returned.
    pub(super) const GONE: u32 = 1 << 1;
    /// It counts when bytes arrive.
    pub(super) const WATCHED: u32 = 1 << 2;
    /// The kernel notes when it receives bytes.
    pub(super) const STAMPED: u32 = 1 << 3;
    /// The bytes go through TLS.
    pub(super) const SECURE: u32 = 1 << 4;
    /// Compression was agreed on.
    pub(super) const DEFLATE: u32 = 1 << 5;
    /// Bytes are left of earlier reads.
    pub(super) const LEFTOVER: u32 = 1 << 6;
    /// They may begin with whole frames, because delivery has stopped.
    pub(super) const HELD: u32 = 1 << 7;
    /// An event came while the stream was lent.
    pub(super) const MISSED: u32 = 1 << 8;
    /// Tasks receive messages from this connection.
    pub(super) const SERVES_TASKS: u32 = 1 << 9;
    /// Tasks take messages straight from a read, past the listener.
    pub(super) const PULLED: u32 = 1 << 10;
    /// Tasks run before the next frame is delivered.
    pub(super) const YIELDS: u32 = 1 << 11;
    /// The time that callbacks take is measured.
    pub(super) const MEASURED: u32 = 1 << 12;

    /// Other threads have handles to it.
    pub(super) const REMOTE: u32 = 1 << 13;

    /// A warning is logged when a callback takes long.
    pub(super) const CLOCKED: u32 = 1 << 14;

    /// Any of these: receiving has to look at more than the socket. In debug builds, where
    /// [`CLOCKED`](Self::CLOCKED) is the default, the plain way reads the clock, too: so it is the
    /// one that is tested.
    pub(super) const RECEIVED_SLOWLY: u32 = Self::GONE
        | Self::WATCHED
        | Self::STAMPED
        | Self::LEFTOVER
        | Self::SERVES_TASKS
        | Self::MEASURED
        | if cfg!(debug_assertions) { 0 } else { Self::CLOCKED };

    #[inline]
    pub(super) fn has(&self, flag: u32) -> bool {
        self.0.get() & flag != 0
    }

    /// Returns the flags among these that are set.
    #[inline]
    pub(super) fn all(&self, flags: u32) -> u32 {
        self.0.get() & flags
    }

    /// Sets the flag.
    #[inline]
    pub(super) fn set(&self, flag: u32) {
        self.0.set(self.0.get() | flag);
    }

    /// Clears the flag. Returns `true` if it was set before.
    #[inline]
    pub(super) fn clear(&self, flag: u32) -> bool {
        self.0.replace(self.0.get() & !flag) & flag != 0
    }
}
