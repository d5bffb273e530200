/// Sealed records on their way out.
///
/// rustls seals into initialised memory. What was written once stays initialised when it is
/// cleared, so no memory is zeroed for each record.
#[derive(Debug, Default)]
pub(crate) struct RecordBuffer {
    /// All memory that was ever used; the bytes from `filled` on have no meaning.
    memory: Vec<u8>,
    filled: usize,
}

impl RecordBuffer {
    #[inline]
    pub(crate) fn filled(&self) -> &[u8] {
        &self.memory[..self.filled]
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.filled
    }

    /// Forgets all bytes, keeps the memory.
    #[inline]
    pub(crate) fn clear(&mut self) {
        self.filled = 0;
    }

    #[inline]
    pub(crate) fn capacity(&self) -> usize {
        self.memory.capacity()
    }

    /// Appends as many bytes as `write` returns, of at least `room` that it may write to.
    ///
    /// # Errors
    /// Those of `write`; then nothing is appended.
    #[inline]
    pub(crate) fn fill_with<E>(
        &mut self,
        room: usize,
        write: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<(), E> {
        if self.memory.len() - self.filled < room {
            self.grow(room);
        }
        let place = &mut self.memory[self.filled..];
        let most = place.len();
        self.filled += write(place)?.min(most);
        Ok(())
    }

    #[cold]
    fn grow(&mut self, room: usize) {
        let len = self.filled + room;
        self.memory.reserve_exact(len - self.memory.len());
        self.memory.resize(len, 0);
    }
}
