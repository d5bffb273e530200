use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::Bytes;

use super::BufferPool;
use crate::mask;

/// Small writes are gathered in one buffer up to this size, in bytes; then a further buffer is begun, so that growing
/// never copies more than this.
const MAX_GATHERED: usize = 256 * 1024;

/// Shared bytes that wait alone are copied into a gathered buffer when more follow, up to this many.
const SMALL_SHARED: usize = 2048;

/// Room in bytes that a queue has at least when it [begins](SendQueue::begin).
pub(crate) const MIN_OPENED: usize = 1024;

/// Least capacity, in bytes, of a buffer that small frames are gathered in.
const MIN_GATHERED: usize = 2048;

/// Places for chunks that an emptied queue may keep.
const MAX_KEPT_CHUNKS: usize = 64;

/// Encoded bytes on their way to the socket, in order.
///
/// Three kinds of memory queue together: gathered small frames, frames that own their memory, and
/// shared frames (by reference count). An emptied queue keeps the memory that it gathers in, and
/// places for chunks: a [`BufferPool`] hands it to the next connection that sends.
#[derive(Debug, Default)]
pub(crate) struct SendQueue {
    /// Small frames, in front of all of `rest`. The bytes before `start` have left.
    gathered: Vec<u8>,
    start: usize,
    rest: VecDeque<Chunk>,
    /// Bytes that have not left.
    len: usize,
    /// How many bytes [`append_frame`](Self::append_frame) may still append. More than zero
    /// only while `rest` is empty and `gathered` has that much spare capacity.
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
    /// Gathers in this empty buffer from here on. The queue is empty.
    pub(super) fn gather_in(&mut self, buffer: Vec<u8>) {
        debug_assert!(self.is_empty() && buffer.is_empty());
        self.gathered = buffer;
    }

    /// Bytes that have not left.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether everything has left.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of capacity that an emptied queue keeps.
    #[inline]
    pub(super) fn capacity(&self) -> usize {
        self.gathered.capacity()
    }

    /// Gives up the memory that an emptied queue keeps, if it is more than `limit` bytes.
    #[inline]
    pub(super) fn shrink(&mut self, limit: usize) {
        if self.gathered.capacity() > limit {
            self.gathered = Vec::new();
        }
    }

    /// Appends `additional` bytes or fewer through `write`, which gets the buffer to append to.
    #[inline]
    pub(crate) fn append(
        &mut self,
        additional: usize,
        pool: &mut BufferPool,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        self.seal();
        let buffer = self.tail(additional, pool);
        let before = buffer.len();
        write(buffer);
        let written = buffer.len() - before;
        debug_assert!(written <= additional);
        self.len += written;
    }

    /// Lets [`append_frame`](Self::append_frame) append at least `additional` bytes, and more
    /// up to `limit` bytes in all, until anything else is done with the queue. Returns `false`, and
    /// does nothing, if that is not possible: the bytes would not be the next ones in the queue's
    /// first buffer, or beyond the limit.
    pub(crate) fn open(&mut self, additional: usize, limit: usize) -> bool {
        if !self.rest.is_empty() || additional > limit.saturating_sub(self.len) {
            return false;
        }
        let kept = self.gathered.len();
        if self.gathered.capacity() - kept < additional {
            if kept + additional > MAX_GATHERED {
                return false;
            }
            self.gathered.reserve(additional.max(MIN_GATHERED));
        }
        self.room = (self.gathered.capacity() - kept).min(limit - self.len);
        true
    }

    /// Whether it is [open](Self::open) for this many bytes.
    #[inline]
    pub(crate) fn has_room(&self, additional: usize) -> bool {
        additional <= self.room
    }

    /// Ends what [`open`](Self::open) began.
    #[inline]
    pub(crate) fn seal(&mut self) {
        self.room = 0;
    }

    /// Begins an empty queue, [open](Self::open) up to `limit` bytes. With a limit of at least 1 KiB,
    /// it is open for as many.
    #[inline]
    pub(crate) fn begin(&mut self, limit: usize) {
        debug_assert!(self.is_empty());
        self.room = self.gathered.capacity().min(limit);
        if self.room < MIN_OPENED {
            self.open(MIN_OPENED.min(limit), limit);
        }
    }

    /// Appends a frame; false, and nothing done, if the queue is not [open](Self::open) for it.
    /// Nothing is called on the way of short frames.
    ///
    /// # Panics
    /// With a header of two bytes, if the payload is longer than 128 bytes.
    #[inline]
    pub(crate) fn append_frame<const HEADER: usize>(&mut self, header: [u8; HEADER], payload: &[u8]) -> bool {
        let len = HEADER + payload.len();
        if len > self.room {
            return false;
        }
        let Some(place) = self.gathered.spare_capacity_mut().get_mut(..len) else { return false };
        let (front, back) = place.split_at_mut(HEADER);
        for (place, byte) in front.iter_mut().zip(header) {
            place.write(byte);
        }
        // Such a header has room for lengths up to 125 only.
        if HEADER == 2 {
            mask::copy_short(payload, back);
        } else {
            // SAFETY: `back` has as many bytes as `payload`, and memory that is borrowed uniquely
            // does not overlap other memory.
            unsafe {
                back.as_mut_ptr().cast::<u8>().copy_from_nonoverlapping(payload.as_ptr(), payload.len());
            }
        }
        // SAFETY: the `len` bytes behind the old length are within the capacity and were just written.
        unsafe { self.gathered.set_len(self.gathered.len() + len) };
        self.len += len;
        self.room -= len;
        true
    }

    /// Appends memory whose bytes before `start` are not to be sent.
    pub(crate) fn push_owned(&mut self, data: Vec<u8>, start: usize) {
        debug_assert!(start <= data.len());
        if start < data.len() {
            self.len += data.len() - start;
            self.push(Chunk::Owned { data, start, gathers: false });
        }
    }

    /// Appends shared bytes.
    pub(crate) fn push_shared(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.len += bytes.len();
            self.push(Chunk::Shared(bytes));
        }
    }

    /// Fills `slices` with the bytes that leave next and returns how many slices there are.
    pub(crate) fn io_slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let gathered = Some(&self.gathered[self.start..]).filter(|bytes| !bytes.is_empty());
        let mut count = 0;
        for (slot, bytes) in
            slices.iter_mut().zip(gathered.into_iter().chain(self.rest.iter().map(Chunk::bytes)))
        {
            *slot = IoSlice::new(bytes);
            count += 1;
        }
        count
    }

    /// Number of separate pieces of memory.
    #[inline]
    pub(crate) fn chunk_count(&self) -> usize {
        usize::from(self.gathered.len() > self.start) + self.rest.len()
    }

    /// The bytes that leave next, in one piece: all of them if there is one chunk.
    #[inline]
    pub(crate) fn first(&self) -> &[u8] {
        match self.rest.front() {
            Some(front) if self.gathered.is_empty() => front.bytes(),
            _ => &self.gathered[self.start..],
        }
    }

    /// All bytes, if they are in one piece, as nearly always.
    #[inline]
    pub(crate) fn only_piece(&self) -> Option<&[u8]> {
        self.rest.is_empty().then(|| &self.gathered[self.start..])
    }

    /// Drops all bytes, which are in [one piece](Self::only_piece): they have left.
    #[inline]
    pub(crate) fn clear_gathered(&mut self) {
        debug_assert!(self.rest.is_empty());
        self.gathered.clear();
        self.start = 0;
        self.len = 0;
        self.room = 0;
    }

    /// Drops the first `n` bytes: they have left.
    ///
    /// # Panics
    /// If fewer than `n` bytes are queued.
    pub(crate) fn consume(&mut self, mut n: usize, pool: &mut BufferPool) {
        assert!(n <= self.len, "more bytes left than were queued");
        self.seal();
        self.len -= n;
        let gathered = self.gathered.len() - self.start;
        if n < gathered {
            self.start += n;
            return;
        }
        n -= gathered;
        self.gathered.clear();
        self.start = 0;
        while let Some(front) = self.rest.front_mut() {
            let available = front.bytes().len();
            if n < available {
                front.advance(n);
                return;
            }
            n -= available;
            if let Some(Chunk::Owned { data, .. }) = self.rest.pop_front() {
                pool.give_send(data);
            }
        }
        if !self.is_light() {
            self.rest = VecDeque::new();
        }
    }

    /// Whether little enough memory is held to keep the emptied queue for its next use.
    pub(crate) fn is_light(&self) -> bool {
        self.rest.capacity() <= MAX_KEPT_CHUNKS
    }

    /// Drops everything.
    pub(crate) fn clear(&mut self, pool: &mut BufferPool) {
        self.consume(self.len, pool);
    }

    fn push(&mut self, chunk: Chunk) {
        self.seal();
        self.rest.push_back(chunk);
    }

    /// The last buffer, if it may take `additional` bytes more, else a new one.
    #[inline]
    fn tail(&mut self, additional: usize, pool: &mut BufferPool) -> &mut Vec<u8> {
        // What is small costs less to copy than to send as a piece of its own.
        if let Some(Chunk::Shared(bytes)) = self.rest.front()
            && self.rest.len() == 1
            && self.gathered.is_empty()
            && bytes.len() <= SMALL_SHARED
        {
            self.gathered.reserve((bytes.len() + additional).max(MIN_GATHERED));
            self.gathered.extend_from_slice(bytes);
            self.rest.clear();
        }
        if self.rest.is_empty() && has_room(&self.gathered, additional) {
            if self.gathered.capacity() == 0 {
                self.gathered.reserve(additional.max(MIN_GATHERED));
            }
            return &mut self.gathered;
        }
        let is_open = matches!(
            self.rest.back(),
            Some(Chunk::Owned { data, gathers: true, .. }) if has_room(data, additional)
        );
        if !is_open {
            self.rest.push_back(Chunk::Owned { data: pool.take_send(additional), start: 0, gathers: true });
        }
        match self.rest.back_mut() {
            Some(Chunk::Owned { data, .. }) => data,
            _ => unreachable!("the last chunk is the owned one found or pushed above"),
        }
    }
}

/// Whether a buffer takes `additional` bytes more without a copy of much.
#[inline]
fn has_room(data: &Vec<u8>, additional: usize) -> bool {
    data.capacity() - data.len() >= additional || data.len() + additional <= MAX_GATHERED
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
        assert!(queue.is_empty());
        pool.give_queue(Box::new(queue));
        assert!(pool.retained() >= 1_000_000);
    }
}
