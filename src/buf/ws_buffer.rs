use std::fmt;
use std::io;

/// Bytes of headroom in front of a payload: the longest frame header (RFC 6455 section 5.2: 2 + 8 + 4).
pub const WS_HEADROOM: usize = 14;

/// A payload with room for a frame header in front of it.
///
/// Sending one ([`WSTransport::send_buffer`](crate::WSTransport::send_buffer)) writes the header into the headroom and
/// hands the memory to the send queue: no byte of the payload is copied, not even when the kernel takes only a part.
#[derive(Clone)]
pub struct WSBuffer {
    /// [`WS_HEADROOM`] bytes of headroom, then the payload.
    data: Vec<u8>,
}

impl WSBuffer {
    /// An empty payload.
    pub fn new() -> Self {
        Self::with_capacity(0)
    }

    /// An empty payload with room for `capacity` bytes.
    pub fn with_capacity(capacity: usize) -> Self {
        let mut data = Vec::with_capacity(WS_HEADROOM + capacity);
        data.resize(WS_HEADROOM, 0);
        Self { data }
    }

    /// The payload.
    pub fn payload(&self) -> &[u8] {
        &self.data[WS_HEADROOM..]
    }

    /// The payload, to be changed in place.
    pub fn payload_mut(&mut self) -> &mut [u8] {
        &mut self.data[WS_HEADROOM..]
    }

    /// Length of the payload in bytes.
    pub fn len(&self) -> usize {
        self.data.len() - WS_HEADROOM
    }

    /// Whether the payload is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends to the payload.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        self.data.extend_from_slice(bytes);
    }

    /// Makes the payload `len` bytes long, filling with zeros.
    pub fn resize(&mut self, len: usize) {
        self.data.resize(WS_HEADROOM + len, 0);
    }

    /// Empties the payload, keeps the memory.
    pub fn clear(&mut self) {
        self.data.truncate(WS_HEADROOM);
    }

    /// The memory, headroom included.
    pub(crate) fn into_vec(self) -> Vec<u8> {
        self.data
    }
}

impl Default for WSBuffer {
    fn default() -> Self {
        Self::new()
    }
}

impl From<&[u8]> for WSBuffer {
    fn from(payload: &[u8]) -> Self {
        let mut buffer = Self::with_capacity(payload.len());
        buffer.extend_from_slice(payload);
        buffer
    }
}

impl From<&str> for WSBuffer {
    fn from(payload: &str) -> Self {
        payload.as_bytes().into()
    }
}

impl Extend<u8> for WSBuffer {
    fn extend<I: IntoIterator<Item = u8>>(&mut self, bytes: I) {
        self.data.extend(bytes);
    }
}

impl io::Write for WSBuffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for WSBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WSBuffer").field("len", &self.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn headroom_is_in_front() {
        let mut buffer = WSBuffer::from("ab");
        write!(buffer, "{}", 12).unwrap();
        buffer.extend(*b"z");
        assert_eq!(buffer.payload(), b"ab12z");
        buffer.payload_mut()[0] = b'A';
        assert_eq!(&buffer.clone().into_vec()[WS_HEADROOM..], b"Ab12z");
        buffer.clear();
        assert!(buffer.is_empty());
        buffer.resize(3);
        assert_eq!(buffer.payload(), [0; 3]);
    }
}
