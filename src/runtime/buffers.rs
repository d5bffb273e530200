//! The buffers of a loop.

use std::cell::{Cell, RefCell};

use crate::buf::{BufferPool, RecvBuffer};

use super::config::WSLoopConfig;

/// A receive buffer that grew beyond this many bytes, and beyond four times the configured size, is
/// not kept: after a large frame the memory goes back.
const MAX_GROWN: usize = 1024 * 1024;

/// The receive buffer that all reads of a loop share, and the pool for what connections keep.
///
/// # Invariants
/// - `recv` is `None` only while a dispatch has the buffer.
pub(super) struct Buffers {
    recv: Cell<Option<Box<RecvBuffer>>>,
    /// Capacity in bytes of the receive buffer.
    recv_size: usize,
    pool: RefCell<BufferPool>,
}

impl Buffers {
    pub(super) fn new(config: &WSLoopConfig) -> Self {
        let recv_size = config.read_buffer_size;
        Self {
            recv: Cell::new(Some(Box::new(RecvBuffer::with_capacity(recv_size)))),
            recv_size,
            pool: RefCell::new(BufferPool::new(config.retained_memory)),
        }
    }

    #[inline]
    pub(super) fn pool_cell(&self) -> &RefCell<BufferPool> {
        &self.pool
    }

    /// Returns the loop's receive buffer, empty; another one if a dispatch has it.
    #[inline]
    #[expect(clippy::unnecessary_box_returns, reason = "a buffer changes hands as one pointer")]
    pub(super) fn take_recv(&self) -> Box<RecvBuffer> {
        self.recv.take().unwrap_or_else(|| self.pool.borrow_mut().take_recv(self.recv_size))
    }

    /// Takes back a receive buffer, the loop's or any other.
    #[inline]
    pub(super) fn give_recv(&self, mut buffer: Box<RecvBuffer>) {
        if buffer.capacity() != self.recv_size {
            return self.give_other_recv(buffer);
        }
        buffer.clear();
        if let Some(other) = self.recv.replace(Some(buffer)) {
            self.give_other_recv(other);
        }
    }

    /// Takes back a buffer that is not needed as the loop's, or has another size.
    #[inline(never)]
    fn give_other_recv(&self, mut buffer: Box<RecvBuffer>) {
        if buffer.capacity() > MAX_GROWN.max(4 * self.recv_size) {
            return;
        }
        match self.recv.take() {
            None if buffer.capacity() >= self.recv_size => {
                buffer.clear();
                self.recv.set(Some(buffer));
            }
            loops => {
                self.recv.set(loops);
                self.pool.borrow_mut().give_recv(buffer);
            }
        }
    }
}
