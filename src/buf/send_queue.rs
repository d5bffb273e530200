use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::Bytes;

use super::BufferPool;
use crate::mask;

/// Small writes are gathered in one buffer up to this size, in bytes; then a further buffer is begun, so that growing
/// never copies more than this.
const GATHER_LIMIT: usize = 256 * 1024;

/// Shared bytes that wait alone are copied into a gathered buffer when more follow, up to this many.
const SMALL_SHARED: usize = 2048;

/// Places for chunks that an emptied queue may keep.
const MAX_KEPT_CHUNKS: usize = 64;

/// Encoded bytes on their way to the socket, in order.
///
/// Three kinds of memory queue together: gathered small frames (a pooled buffer), frames that own their memory, and
/// shared frames (by reference count). A queue that was emptied holds no bytes, only places for chunks.
#[derive(Debug, Default)]
pub struct SendQueue {
    /// The chunk that leaves next. `None` only if `rest` is empty too.
    front: Option<Chunk>,
    rest: VecDeque<Chunk>,
    /// Bytes in all chunks that have not left.
    len: usize,
    /// How many bytes [`append_gathered`](Self::append_gathered) may still append. More than zero only while `front` is the one chunk, is
    /// being gathered in and has that much spare capacity.
    room: usize,
}

#[derive(Debug)]
enum Chunk {
    /// `start <= data.len()`; the bytes before `start` have left.
    Owned {
        data: Vec<u8>,
        start: usize,
        /// Small frames are gathered here. Memory that was handed in is not grown: that would copy it.
        gathers: bool,
    },
    Shared(Bytes),
}

impl Chunk {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Owned { data, start, .. } => &data[*start..],
            Self::Shared(bytes) => bytes,
        }
    }

    fn advance(&mut self, n: usize) {
        match self {
            Self::Owned { start, .. } => *start += n,
            Self::Shared(bytes) => drop(bytes.split_to(n)),
        }
    }
}

impl SendQueue {
    /// Bytes that have not left.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether everything has left.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends `additional` bytes or fewer through `write`, which gets the buffer to append to.
    #[inline]
    pub fn append(&mut self, additional: usize, pool: &mut BufferPool, write: impl FnOnce(&mut Vec<u8>)) {
        self.seal();
        let buffer = self.tail(additional, pool);
        let before = buffer.len();
        write(buffer);
        let written = buffer.len() - before;
        debug_assert!(written <= additional);
        self.len += written;
    }

    /// Begins an empty queue with a buffer that takes at least `additional` bytes, [open](Self::open) up to `limit` bytes.
    pub fn begin(&mut self, additional: usize, limit: usize, pool: &mut BufferPool) {
        debug_assert!(self.front.is_none() && self.rest.is_empty());
        let data = pool.take_send(additional);
        self.room = data.capacity().min(limit);
        self.front = Some(Chunk::Owned { data, start: 0, gathers: true });
    }

    /// Lets [`append_gathered`](Self::append_gathered) append to what is queued, up to `limit` bytes in all; until anything else is done
    /// with the queue.
    pub fn open(&mut self, limit: usize) {
        self.room = match &self.front {
            Some(Chunk::Owned { data, gathers: true, .. }) if self.rest.is_empty() => {
                (data.capacity() - data.len()).min(limit.saturating_sub(self.len))
            }
            _ => 0,
        };
    }

    /// Ends what [`open`](Self::open) began.
    #[inline]
    pub fn seal(&mut self) {
        self.room = 0;
    }

    /// Appends `additional` bytes or fewer through `write`; false, and nothing done, if the queue is not [open](Self::open) for that
    /// many.
    #[inline]
    pub fn append_gathered(&mut self, additional: usize, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        if additional > self.room {
            return false;
        }
        let Some(Chunk::Owned { data, .. }) = &mut self.front else { return false };
        let before = data.len();
        write(data);
        let written = data.len() - before;
        debug_assert!(written <= additional);
        self.len += written;
        self.room -= written;
        true
    }

    /// Appends a short frame; false, and nothing done, if the queue is not [open](Self::open) for it. Small, so that nothing is called
    /// and nothing is spilled on the way of most frames of a burst.
    #[inline]
    pub fn append_short(&mut self, header: [u8; 2], payload: &[u8]) -> bool {
        let len = header.len() + payload.len();
        if len > self.room {
            return false;
        }
        let Some(Chunk::Owned { data, .. }) = &mut self.front else { return false };
        let Some(place) = data.spare_capacity_mut().get_mut(..len) else { return false };
        place[0].write(header[0]);
        place[1].write(header[1]);
        mask::copy_short(payload, &mut place[2..]);
        // SAFETY: the `len` bytes behind the old length are within the capacity and were just written.
        unsafe { data.set_len(data.len() + len) };
        self.len += len;
        self.room -= len;
        true
    }

    /// Appends memory whose bytes before `start` are not to be sent.
    pub fn push_owned(&mut self, data: Vec<u8>, start: usize) {
        debug_assert!(start <= data.len());
        if start < data.len() {
            self.len += data.len() - start;
            self.push(Chunk::Owned { data, start, gathers: false });
        }
    }

    /// Appends shared bytes.
    pub fn push_shared(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.len += bytes.len();
            self.push(Chunk::Shared(bytes));
        }
    }

    /// Fills `slices` with the bytes that leave next and returns how many slices there are.
    pub fn io_slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut count = 0;
        for (slot, chunk) in slices.iter_mut().zip(self.front.iter().chain(&self.rest)) {
            *slot = IoSlice::new(chunk.bytes());
            count += 1;
        }
        count
    }

    /// Number of separate pieces of memory.
    #[inline]
    pub fn chunk_count(&self) -> usize {
        usize::from(self.front.is_some()) + self.rest.len()
    }

    /// The bytes that leave next, in one piece: all of them if there is one chunk.
    #[inline]
    pub fn first(&self) -> &[u8] {
        self.front.as_ref().map_or(&[], Chunk::bytes)
    }

    /// Drops the first `n` bytes: they have left.
    ///
    /// # Panics
    /// If fewer than `n` bytes are queued.
    pub fn consume(&mut self, mut n: usize, pool: &mut BufferPool) {
        assert!(n <= self.len, "more bytes left than were queued");
        self.seal();
        self.len -= n;
        while let Some(front) = &mut self.front {
            let available = front.bytes().len();
            if n < available {
                front.advance(n);
                return;
            }
            n -= available;
            if let Some(Chunk::Owned { data, .. }) = self.front.take() {
                pool.give_send(data);
            }
            self.front = self.rest.pop_front();
        }
    }

    /// Whether little enough memory is held to keep the emptied queue for its next use.
    pub fn is_light(&self) -> bool {
        self.rest.capacity() <= MAX_KEPT_CHUNKS
    }

    /// Drops everything.
    pub fn clear(&mut self, pool: &mut BufferPool) {
        self.consume(self.len, pool);
    }

    fn push(&mut self, chunk: Chunk) {
        self.seal();
        if self.front.is_none() {
            self.front = Some(chunk);
        } else {
            self.rest.push_back(chunk);
        }
    }

    /// The last buffer, if it may take `additional` bytes more, else a new one.
    #[inline]
    fn tail(&mut self, additional: usize, pool: &mut BufferPool) -> &mut Vec<u8> {
        let last = if self.rest.is_empty() { self.front.as_ref() } else { self.rest.back() };
        match last {
            Some(Chunk::Owned { data, gathers: true, .. })
                if data.capacity() - data.len() >= additional || data.len() + additional <= GATHER_LIMIT => {}
            // What is small costs less to copy than to send as a piece of its own.
            Some(Chunk::Shared(bytes)) if self.rest.is_empty() && bytes.len() <= SMALL_SHARED => {
                let mut data = pool.take_send(bytes.len() + additional);
                data.extend_from_slice(bytes);
                self.front = Some(Chunk::Owned { data, start: 0, gathers: true });
            }
            _ => self.push(Chunk::Owned { data: pool.take_send(additional), start: 0, gathers: true }),
        }
        let last = if self.rest.is_empty() { self.front.as_mut() } else { self.rest.back_mut() };
        match last {
            Some(Chunk::Owned { data, .. }) => data,
            _ => unreachable!("the last chunk is the owned one found or pushed above"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(queue: &mut SendQueue, pool: &mut BufferPool, step: usize) -> Vec<u8> {
        let mut out = Vec::new();
        while !queue.is_empty() {
            let mut slices = [IoSlice::new(&[]); 4];
            let count = queue.io_slices(&mut slices);
            let visible: Vec<u8> = slices[..count].iter().flat_map(|s| s.iter().copied()).collect();
            let n = step.min(visible.len());
            out.extend_from_slice(&visible[..n]);
            queue.consume(n, pool);
        }
        out
    }

    #[test]
    fn order_is_kept_over_all_kinds_and_steps() {
        for step in 1..40 {
            let mut pool = BufferPool::new(1 << 20);
            let mut queue = SendQueue::default();
            queue.append(4, &mut pool, |b| b.extend_from_slice(b"abcd"));
            queue.append(2, &mut pool, |b| b.extend_from_slice(b"ef"));
            assert_eq!(queue.chunk_count(), 1, "small frames are gathered");
            queue.push_shared(Bytes::from_static(b"SHARED"));
            queue.push_owned(b"..owned".to_vec(), 2);
            queue.append(2, &mut pool, |b| b.extend_from_slice(b"gh"));
            assert_eq!(queue.len(), 19);
            assert_eq!(drain(&mut queue, &mut pool, step), b"abcdefSHAREDownedgh");
            assert_eq!(queue.chunk_count(), 0);
            assert!(queue.is_light());
        }
    }

    #[test]
    fn gathered_buffers_are_bounded_and_come_back() {
        let mut pool = BufferPool::new(8 << 20);
        let mut queue = SendQueue::default();
        for _ in 0..100 {
            queue.append(10_000, &mut pool, |b| b.resize(b.len() + 10_000, 1));
        }
        assert!(queue.chunk_count() >= 3);
        queue.clear(&mut pool);
        assert!(queue.is_empty() && pool.retained() >= 1_000_000);
    }
}
