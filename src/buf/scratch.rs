/// Memory that a codec writes to piece by piece, and that is used again for the next message.
///
/// What was written once stays initialised, so no memory is zeroed for each message.
#[derive(Debug, Default)]
pub struct ScratchBuffer {
    /// All of it is initialised, so that a stream can be shown the rest of it.
    bytes: Vec<u8>,
    /// `len <= bytes.len()`; what is in use.
    len: usize,
}

/// Least that the memory grows to, in bytes.
const MIN_ROOM: usize = 256;

#[cfg_attr(not(feature = "deflate"), expect(dead_code, reason = "TLS needs only a part of it"))]
impl ScratchBuffer {
    /// Begins anew, behind `headroom` bytes of any content.
    pub fn begin(&mut self, headroom: usize) {
        if self.bytes.len() < headroom {
            self.bytes.resize(headroom, 0);
        }
        self.len = headroom;
    }

    /// What is in use, the headroom included.
    pub fn filled(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// [`filled`](Self::filled), to be changed.
    pub fn filled_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.len]
    }

    /// Bytes in use, the headroom included.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is in use.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of memory that are held.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Appends bytes.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        self.bytes.truncate(self.len);
        self.bytes.extend_from_slice(bytes);
        self.len = self.bytes.len();
    }

    /// Makes room for at least `wanted` bytes behind those in use, and for more the more there are, but for no more than `most` in all.
    pub(crate) fn at_least(&mut self, wanted: usize, most: usize) {
        let needed = self.len + wanted;
        if self.bytes.len() < needed {
            self.grow(needed.max((2 * self.bytes.len()).max(MIN_ROOM).min(most)));
        }
    }

    /// The bytes in use and what follows them, up to `most` in all.
    pub(crate) fn whole(&mut self, most: usize) -> &mut [u8] {
        let end = self.bytes.len().min(most);
        &mut self.bytes[..end]
    }

    /// What follows the bytes in use: at least `wanted` bytes.
    pub(crate) fn spare(&mut self, wanted: usize) -> &mut [u8] {
        let needed = self.len + wanted;
        if self.bytes.len() < needed {
            self.grow(needed);
        }
        &mut self.bytes[self.len..]
    }

    /// Extends the bytes in use by those that were `written` behind them.
    pub(crate) fn advance(&mut self, written: usize) {
        self.len += written;
        debug_assert!(self.len <= self.bytes.len());
    }

    /// So many bytes at the end are not in use any more.
    pub(crate) fn cut(&mut self, len: usize) {
        self.len -= len;
    }

    #[cold]
    fn grow(&mut self, len: usize) {
        self.bytes.reserve_exact(len - self.bytes.len());
        self.bytes.resize(len, 0);
    }
}
