//! What a ping-pong sends: no message equals the one before it, so that an old echo is not taken for a new one.

/// A message of fixed size that begins with its number, as far as it has room for it.
pub(crate) struct Payload {
    bytes: Vec<u8>,
    number: u64,
}

impl Payload {
    pub(crate) fn new(size: usize) -> Self {
        let bytes = (0..size).map(|at| (at ^ (at >> 8)) as u8).collect();
        Self { bytes, number: 0 }
    }

    /// Bytes of each message.
    #[allow(dead_code, reason = "not every example asks")]
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The next message.
    pub(crate) fn advance(&mut self) -> &[u8] {
        self.number += 1;
        for (byte, digit) in self.bytes.iter_mut().zip(self.number.to_le_bytes()) {
            *byte = digit;
        }
        &self.bytes
    }

    /// Compares every byte with the message sent last.
    ///
    /// # Errors
    /// What differs.
    pub(crate) fn check(&self, echo: &[u8]) -> Result<(), String> {
        if echo == self.bytes {
            return Ok(());
        }
        if echo.len() != self.bytes.len() {
            return Err(format!("sent {} bytes, got {} back", self.bytes.len(), echo.len()));
        }
        let at = self.bytes.iter().zip(echo).take_while(|(sent, got)| sent == got).count();
        Err(format!("message {}: byte {at} came back wrong", self.number))
    }
}
