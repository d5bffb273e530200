use super::{RecvBuffer, SendQueue};

/// Memory that connections borrow while they need it.
///
/// Last in, first out, so that the buffer in use is the one that is still in the cache. What the pool keeps is bounded;
/// memory beyond the bound goes back to the allocator.
#[derive(Debug)]
pub struct BufferPool {
    send: Vec<Vec<u8>>,
    /// Receive buffers below [`LARGE_RECV`], for small partial frames. Boxed, so that a buffer moves between the loop and a connection
    /// as one pointer.
    #[expect(clippy::vec_box, reason = "the boxes are what is pooled")]
    small_recv: Vec<Box<RecvBuffer>>,
    /// Receive buffers from [`LARGE_RECV`] on.
    #[expect(clippy::vec_box, reason = "the boxes are what is pooled")]
    large_recv: Vec<Box<RecvBuffer>>,
    /// The queue that was given back last: in a closed loop the one that is taken next. Its memory
    /// is not in `retained`.
    last_queue: Option<Box<SendQueue>>,
    /// Further empty queues: at most [`MAX_QUEUES`].
    #[expect(clippy::vec_box, reason = "the boxes are what is pooled")]
    queues: Vec<Box<SendQueue>>,
    /// Bytes of capacity in all lists together: `retained <= limit`.
    retained: usize,
    limit: usize,
}

/// Most empty queues that are kept.
const MAX_QUEUES: usize = 1024;

/// Smallest send buffer that is allocated, in bytes.
const MIN_SEND_CAPACITY: usize = 2048;

/// Largest send buffer that is kept, in bytes: a short queue is not to hold the memory of a long one.
const MAX_SEND_CAPACITY: usize = 1024 * 1024;

/// Smallest receive buffer that is allocated, in bytes.
const MIN_RECV_CAPACITY: usize = 256;

/// From this capacity on, in bytes, a receive buffer is a large one.
const LARGE_RECV: usize = 16 * 1024;

#[expect(clippy::unnecessary_box_returns, reason = "a buffer changes hands as one pointer")]
impl BufferPool {
    /// An empty pool that will keep at most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            send: Vec::new(),
            small_recv: Vec::new(),
            large_recv: Vec::new(),
            last_queue: None,
            queues: Vec::new(),
            retained: 0,
            limit,
        }
    }

    /// Bytes that the pool holds for later use.
    pub(crate) fn retained(&self) -> usize {
        self.retained + self.last_queue.as_ref().map_or(0, |queue| queue.capacity())
    }

    /// An empty send buffer with room for at least `capacity` bytes.
    pub(crate) fn take_send(&mut self, capacity: usize) -> Vec<u8> {
        match self.send.pop() {
            Some(mut buffer) => {
                self.retained -= buffer.capacity();
                buffer.reserve(capacity);
                buffer
            }
            None => Vec::with_capacity(capacity.max(MIN_SEND_CAPACITY)),
        }
    }

    /// Takes a send buffer back.
    pub(crate) fn give_send(&mut self, mut buffer: Vec<u8>) {
        if buffer.capacity() <= MAX_SEND_CAPACITY && self.admit(buffer.capacity()) {
            buffer.clear();
            self.send.push(buffer);
        }
    }

    /// An empty queue.
    #[inline]
    pub(crate) fn take_queue(&mut self) -> Box<SendQueue> {
        match self.last_queue.take() {
            Some(queue) if queue.capacity() > 0 => queue,
            last => self.take_any_queue(last),
        }
    }

    /// Gives `last` or any other queue a buffer that is there, so that it does not allocate one more.
    #[inline(never)]
    #[expect(clippy::unnecessary_box_returns, reason = "a queue changes hands as one pointer")]
    fn take_any_queue(&mut self, last: Option<Box<SendQueue>>) -> Box<SendQueue> {
        let mut queue = last.or_else(|| self.queues.pop()).unwrap_or_default();
        if queue.capacity() == 0
            && let Some(buffer) = self.send.pop()
        {
            queue.gather_in(buffer);
        }
        self.retained -= queue.capacity();
        queue
    }

    /// Takes an empty queue back, and the memory that it keeps if there is room for that.
    #[inline]
    pub(crate) fn give_queue(&mut self, mut queue: Box<SendQueue>) {
        debug_assert!(queue.is_empty());
        if queue.capacity() > MAX_SEND_CAPACITY.min(self.limit - self.retained) {
            queue.shrink(0);
        }
        if let Some(earlier) = self.last_queue.replace(queue) {
            self.keep_queue(earlier);
        }
    }

    #[inline(never)]
    fn keep_queue(&mut self, mut queue: Box<SendQueue>) {
        if self.queues.len() < MAX_QUEUES && queue.is_light() {
            let last = self.last_queue.as_ref().map_or(0, |queue| queue.capacity());
            queue.shrink(MAX_SEND_CAPACITY.min((self.limit - self.retained).saturating_sub(last)));
            self.retained += queue.capacity();
            self.queues.push(queue);
        }
    }

    /// An empty receive buffer with room for at least `capacity` bytes.
    pub(crate) fn take_recv(&mut self, capacity: usize) -> Box<RecvBuffer> {
        let list = if capacity < LARGE_RECV { &mut self.small_recv } else { &mut self.large_recv };
        match list.pop() {
            Some(mut buffer) => {
                self.retained -= buffer.capacity();
                buffer.make_room(capacity);
                buffer
            }
            None => Box::new(RecvBuffer::with_capacity(capacity.max(MIN_RECV_CAPACITY))),
        }
    }

    /// Makes the spare room of a receive buffer at least `room` bytes.
    ///
    /// The bytes in a small buffer that has to grow move to another one: else every large frame that begins small would cost the
    /// pool a small buffer.
    pub(crate) fn grow_recv(&mut self, mut buffer: Box<RecvBuffer>, room: usize) -> Box<RecvBuffer> {
        if buffer.spare() >= room || buffer.capacity() >= LARGE_RECV {
            buffer.make_room(room);
            return buffer;
        }
        let mut larger = self.take_recv(buffer.len() + room);
        larger.extend_from_slice(buffer.filled());
        self.give_recv(buffer);
        larger
    }

    /// Takes a receive buffer back.
    pub(crate) fn give_recv(&mut self, mut buffer: Box<RecvBuffer>) {
        if self.admit(buffer.capacity()) {
            buffer.clear();
            let list =
                if buffer.capacity() < LARGE_RECV { &mut self.small_recv } else { &mut self.large_recv };
            list.push(buffer);
        }
    }

    fn admit(&mut self, capacity: usize) -> bool {
        let admitted = capacity > 0 && capacity <= self.limit.saturating_sub(self.retained());
        if admitted {
            self.retained += capacity;
        }
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_no_more_than_its_limit() {
        let mut pool = BufferPool::new(10_000);
        pool.give_send(Vec::with_capacity(8_000));
        pool.give_recv(Box::new(RecvBuffer::with_capacity(4_000)));
        assert_eq!(pool.retained(), 8_000, "the second did not fit");
        let buffer = pool.take_send(100);
        assert!(buffer.capacity() >= 8_000);
        assert_eq!(pool.retained(), 0);
        pool.give_recv(Box::new(RecvBuffer::with_capacity(4_000)));
        assert!(pool.take_recv(1).capacity() >= 4_000);
    }

    #[test]
    fn a_queue_that_was_long_does_not_keep_its_places_for_chunks() {
        let mut pool = BufferPool::new(1 << 20);
        let mut queue = pool.take_queue();
        for _ in 0..10_000 {
            queue.push_owned(vec![0; 10], 0);
        }
        queue.clear(&mut pool);
        pool.give_queue(queue);
        assert!(pool.take_queue().is_light());
    }

    #[test]
    fn a_small_receive_buffer_stays_small() {
        let mut pool = BufferPool::new(1 << 20);
        let mut small = pool.take_recv(5_000);
        small.extend_from_slice(b"bytes");
        let grown = pool.grow_recv(small, 100_000);
        assert!(grown.spare() >= 100_000 && grown.filled() == b"bytes");
        assert_eq!(pool.retained(), 5_000, "the small one is back");
        let grown = pool.grow_recv(grown, 200_000);
        assert!(grown.spare() >= 200_000 && grown.filled() == b"bytes");
        let capacity = grown.capacity();
        pool.give_recv(grown);
        assert_eq!(pool.take_recv(20_000).capacity(), capacity);
        assert_eq!(pool.take_recv(15_000).capacity(), 15_000, "it has grown no more than it had to");
    }
}
