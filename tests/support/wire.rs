//! Frames by the letter of RFC 6455 section 5.2, without any help of the library.

use std::fmt;

pub(crate) const CONTINUATION: u8 = 0x0;
pub(crate) const TEXT: u8 = 0x1;
pub(crate) const BINARY: u8 = 0x2;
pub(crate) const CLOSE: u8 = 0x8;
pub(crate) const PING: u8 = 0x9;
pub(crate) const PONG: u8 = 0xA;

#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) fin: bool,
    /// RSV1 is bit 2, RSV3 is bit 0.
    pub(crate) rsv: u8,
    pub(crate) opcode: u8,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    pub(crate) fn new(opcode: u8, payload: impl AsRef<[u8]>) -> Self {
        Self { fin: true, rsv: 0, opcode, payload: payload.as_ref().to_vec() }
    }

    pub(crate) fn text(payload: impl AsRef<[u8]>) -> Self {
        Self::new(TEXT, payload)
    }

    pub(crate) fn binary(payload: impl AsRef<[u8]>) -> Self {
        Self::new(BINARY, payload)
    }

    pub(crate) fn close(code: u16, reason: &str) -> Self {
        Self::new(CLOSE, [&code.to_be_bytes(), reason.as_bytes()].concat())
    }

    /// The code of a CLOSE frame.
    pub(crate) fn close_code(&self) -> Option<u16> {
        assert_eq!(self.opcode, CLOSE, "{self:?}");
        Some(u16::from_be_bytes(*self.payload.first_chunk::<2>()?))
    }

    pub(crate) fn bits(mut self, fin: bool, rsv: u8) -> Self {
        (self.fin, self.rsv) = (fin, rsv);
        self
    }

    /// The frame on the wire.
    pub(crate) fn encode(&self, key: Option<[u8; 4]>) -> Vec<u8> {
        let len = self.payload.len();
        let mut out = vec![u8::from(self.fin) << 7 | self.rsv << 4 | self.opcode];
        let mask_bit = if key.is_some() { 128 } else { 0 };
        if len <= 125 {
            out.push(mask_bit + len as u8);
        } else if len <= 65_535 {
            out.push(mask_bit + 126);
            out.extend((len as u16).to_be_bytes());
        } else {
            out.push(mask_bit + 127);
            out.extend((len as u64).to_be_bytes());
        }
        out.extend(key.iter().flatten());
        out.extend(masked(&self.payload, key.unwrap_or_default()));
        out
    }

    /// The frame at the front of `bytes` and its length on the wire; `None` if it is not whole.
    ///
    /// Panics if it is not as RFC 6455 wants it.
    pub(crate) fn decode(bytes: &[u8], is_masked: bool) -> Option<(Self, usize)> {
        let [first, second, rest @ ..] = bytes else { return None };
        assert_eq!(second & 0x80 != 0, is_masked, "a client masks, a server does not");
        let (len, rest) = match second & 0x7f {
            126 => {
                let (len, rest) = rest.split_first_chunk::<2>()?;
                let len = usize::from(u16::from_be_bytes(*len));
                assert!(len > 125, "length {len} in 16 bits");
                (len, rest)
            }
            127 => {
                let (len, rest) = rest.split_first_chunk::<8>()?;
                let len = usize::try_from(u64::from_be_bytes(*len)).unwrap();
                assert!(len > 65_535, "length {len} in 64 bits");
                (len, rest)
            }
            len => (usize::from(len), rest),
        };
        let (key, rest) = if is_masked { rest.split_first_chunk::<4>()? } else { (&[0; 4], rest) };
        let payload = masked(rest.get(..len)?, *key);
        let frame = Self { fin: first & 0x80 != 0, rsv: first >> 4 & 7, opcode: first & 0xf, payload };
        Some((frame, bytes.len() - rest.len() + len))
    }
}

/// RFC 6455 section 5.3, four bytes at a time: a debug build has to get through megabytes.
fn masked(payload: &[u8], key: [u8; 4]) -> Vec<u8> {
    let key_word = u32::from_ne_bytes(key);
    let (words, rest) = payload.as_chunks::<4>();
    let mut out = Vec::with_capacity(payload.len());
    for word in words {
        out.extend_from_slice(&(u32::from_ne_bytes(*word) ^ key_word).to_ne_bytes());
    }
    out.extend(rest.iter().zip(key).map(|(byte, key)| byte ^ key));
    out
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.payload[..self.payload.len().min(40)];
        write!(
            f,
            "Frame(opcode {}, fin {}, rsv {}, {} bytes: {:?})",
            self.opcode,
            self.fin,
            self.rsv,
            self.payload.len(),
            String::from_utf8_lossy(shown)
        )
    }
}
