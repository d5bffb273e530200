use std::mem::MaybeUninit;

/// Bytes that arrived and are not parsed yet.
///
/// The memory past the filled part is never initialised and never zeroed: the system writes into it.
#[derive(Debug, Default)]
pub(crate) struct RecvBuffer {
    /// All that was received since the last [`clear`](Self::clear); the spare capacity behind it is uninitialised.
    data: Vec<u8>,
    /// Where the unconsumed part begins: `start <= data.len()`.
    start: usize,
}

impl RecvBuffer {
    /// An empty buffer that can take `capacity` bytes.
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self { data: Vec::with_capacity(capacity), start: 0 }
    }

    /// The unconsumed bytes.
    #[inline]
    pub(crate) fn filled(&self) -> &[u8] {
        &self.data[self.start..]
    }

    /// The unconsumed bytes, to be unmasked in place.
    #[inline]
    pub(crate) fn filled_mut(&mut self) -> &mut [u8] {
        &mut self.data[self.start..]
    }

    /// Whether every byte was consumed.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.data.len()
    }

    /// How many bytes are unconsumed.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.data.len() - self.start
    }

    /// Bytes of memory that this buffer holds.
    #[inline]
    pub(crate) fn capacity(&self) -> usize {
        self.data.capacity()
    }

    /// Bytes that fit behind the filled part without moving or growing anything.
    #[inline]
    pub(crate) fn spare(&self) -> usize {
        self.data.capacity() - self.data.len()
    }

    /// Marks the first `n` unconsumed bytes as consumed.
    ///
    /// # Panics
    /// If fewer than `n` bytes are unconsumed.
    #[inline]
    pub(crate) fn consume(&mut self, n: usize) {
        assert!(n <= self.len(), "consumed more than was received");
        self.start += n;
    }

    /// Forgets all bytes, keeps the memory.
    #[inline]
    pub(crate) fn clear(&mut self) {
        self.data.clear();
        self.start = 0;
    }

    /// Appends a copy of `bytes`.
    pub(crate) fn extend_from_slice(&mut self, bytes: &[u8]) {
        self.data.extend_from_slice(bytes);
    }

    /// Makes the spare room at least `room` bytes, first by moving the unconsumed bytes to the front, then by growing to exactly
    /// that: how far ahead to grow is the caller's question.
    pub(crate) fn make_room(&mut self, room: usize) {
        if self.spare() >= room {
            return;
        }
        if self.start > 0 {
            self.data.copy_within(self.start.., 0);
            self.data.truncate(self.data.len() - self.start);
            self.start = 0;
        }
        self.data.reserve_exact(room);
    }

    /// Lets `read` write into the spare memory and takes over as many bytes as it says it wrote.
    ///
    /// # Safety
    /// `read` must have initialised the first `n` bytes of the slice whenever it returns `Ok(n)`.
    ///
    /// # Errors
    /// Those of `read`; then nothing was added.
    ///
    /// # Panics
    /// If `read` claims more bytes than it was given.
    #[inline]
    pub(crate) unsafe fn fill_with<E>(
        &mut self,
        read: impl FnOnce(&mut [MaybeUninit<u8>]) -> Result<usize, E>,
    ) -> Result<usize, E> {
        let spare = self.data.spare_capacity_mut();
        let room = spare.len();
        let n = read(spare)?;
        assert!(n <= room, "the stream claims to have read more than there was room for");
        let filled = self.data.len() + n;
        // SAFETY: `filled <= capacity` by the assertion, and the caller vouches that `read` initialised these bytes.
        unsafe { self.data.set_len(filled) };
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(buffer: &mut RecvBuffer, bytes: &[u8]) -> usize {
        let read = |spare: &mut [MaybeUninit<u8>]| {
            let n = bytes.len().min(spare.len());
            spare[..n].write_copy_of_slice(&bytes[..n]);
            Ok::<_, ()>(n)
        };
        // SAFETY: `read` writes the `n` bytes that it reports.
        unsafe { buffer.fill_with(read).unwrap() }
    }

    #[test]
    fn fill_consume_and_compact() {
        let mut buffer = RecvBuffer::with_capacity(8);
        let capacity = buffer.capacity();
        assert_eq!(fill(&mut buffer, b"abcdefgh"), 8.min(capacity));
        buffer.consume(6);
        assert_eq!(buffer.filled(), b"gh");
        buffer.make_room(4);
        assert_eq!(buffer.capacity(), capacity, "compacting was enough");
        fill(&mut buffer, b"ij");
        assert_eq!(buffer.filled(), b"ghij");
        buffer.make_room(100);
        assert!(buffer.spare() >= 100);
        assert_eq!(buffer.filled_mut(), b"ghij");
    }

    #[test]
    #[should_panic(expected = "claims to have read more")]
    fn lying_reader() {
        let mut buffer = RecvBuffer::with_capacity(8);
        // SAFETY: never returns `Ok` within bounds; the assertion fires before the length is taken over.
        let _ = unsafe { buffer.fill_with(|spare| Ok::<_, ()>(spare.len() + 1)) };
    }

    #[test]
    #[should_panic(expected = "consumed more")]
    fn consume_too_much() {
        RecvBuffer::with_capacity(8).consume(1);
    }
}
