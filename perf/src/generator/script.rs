//! What is sent and what must come back, encoded beforehand.

use crate::peers::Reply;

use super::connection::Expected;
use super::{Check, Fault};

/// Room for all encoded exchanges of a script: they should stay in the cache of the generator's core.
const CACHE: usize = 512 * 1024;

/// Messages up to this size are always compared in full.
const SMALL: usize = 32 * 1024;

/// Every so many exchanges, large messages are compared in full.
const SAMPLE: usize = 16;

/// Type of a data message (RFC 6455 section 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opcode {
    /// Letters.
    Text = 1,
    /// Any bytes.
    Binary = 2,
}

/// A cycle of exchanges that all differ, so that no reply can be taken for another.
#[derive(Debug)]
pub(crate) struct Script {
    exchanges: Vec<Exchange>,
    /// Payload of each message in bytes.
    pub(crate) size: usize,
    /// Messages per exchange.
    pub(crate) depth: usize,
}

/// One request and the reply to it.
#[derive(Debug)]
pub(crate) struct Exchange {
    /// Masked frames.
    pub(crate) request: Vec<u8>,
    /// What has to come back.
    pub(crate) reply: Vec<u8>,
}

impl Script {
    /// Exchanges of `depth` messages of `size` bytes.
    pub(crate) fn new(opcode: Opcode, size: usize, depth: usize, reply: Reply) -> Self {
        let count = (CACHE / ((size + 14) * depth * 2)).clamp(2, 16);
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let exchanges = (0..count).map(|_| Exchange::new(&mut random, opcode, size, depth, reply)).collect();
        Self { exchanges, size, depth }
    }

    /// The exchange number `index`, counted on without end.
    pub(crate) fn exchange(&self, index: usize) -> &Exchange {
        &self.exchanges[index % self.exchanges.len()]
    }

    /// The payload of the first message of exchange number `index`, for a client with a codec of its own. Unmasked replies only.
    pub(crate) fn payload(&self, index: usize) -> &[u8] {
        let header = 2 + match self.size {
            0..126 => 0,
            126..0x1_0000 => 2,
            _ => 8,
        };
        &self.exchange(index).reply[header..header + self.size]
    }

    /// Compares the payload of an echo that a codec delivered.
    ///
    /// # Errors
    /// If it differs.
    pub(crate) fn compare_payload(&self, index: usize, payload: &[u8], check: Check) -> Result<(), Fault> {
        let is_full = self.compares_fully(index, check);
        let wanted = self.payload(index);
        let reply = Expected { bytes: wanted, is_full, size: self.size, depth: self.depth };
        if payload.len() == wanted.len() {
            reply.compare(0, payload)
        } else {
            Err(Fault::Wrong { at: payload.len().min(wanted.len()), size: self.size, depth: self.depth })
        }
    }

    /// Whether the reply number `index` is compared byte by byte.
    pub(crate) fn compares_fully(&self, index: usize, check: Check) -> bool {
        check == Check::Full || self.size <= SMALL || index.is_multiple_of(SAMPLE)
    }
}

impl Exchange {
    fn new(random: &mut Random, opcode: Opcode, size: usize, depth: usize, style: Reply) -> Self {
        let (mut request, mut reply) = (Vec::new(), Vec::new());
        for _ in 0..depth {
            let payload = random.payload(opcode, size);
            let key = random.next().to_be_bytes();
            encode(&mut request, opcode, &payload, Some([key[0], key[1], key[2], key[3]]));
            if style == Reply::Frame {
                encode(&mut reply, opcode, &payload, None);
            }
        }
        if style == Reply::Raw {
            reply.clone_from(&request);
        }
        Self { request, reply }
    }
}

/// Appends a whole message in one frame (RFC 6455 section 5.2).
pub(super) fn encode(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8], mask: Option<[u8; 4]>) {
    const FIN: u8 = 0x80;
    // Lengths of 2 and of 8 bytes follow these.
    const SHORT: u8 = 0x7e;
    const LONG: u8 = 0x7f;
    let masked = if mask.is_some() { 0x80 } else { 0 };
    out.push(FIN | opcode as u8);
    match payload.len() {
        len @ 0..126 => out.push(masked | len as u8),
        len @ 126..0x1_0000 => {
            out.push(masked | SHORT);
            out.extend((len as u16).to_be_bytes());
        }
        len => {
            out.push(masked | LONG);
            out.extend((len as u64).to_be_bytes());
        }
    }
    out.extend(mask.iter().flatten());
    let key = mask.unwrap_or_default();
    out.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
}

/// xorshift64: the same bytes in every run.
pub(super) struct Random(pub(super) u64);

impl Random {
    /// Any number but zero.
    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `bound`.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        // The high bits of the sequence are the better ones.
        (self.next() >> 16) % bound
    }

    fn payload(&mut self, opcode: Opcode, size: usize) -> Vec<u8> {
        let bytes = (0..size).map(|_| self.next().to_be_bytes()[0]);
        match opcode {
            Opcode::Binary => bytes.collect(),
            Opcode::Text => bytes.map(|byte| b'a' + byte % 26).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_rfc() {
        // Section 5.7.
        let mut frame = Vec::new();
        encode(&mut frame, Opcode::Text, b"Hello", None);
        assert_eq!(frame, [0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]);
        frame.clear();
        encode(&mut frame, Opcode::Text, b"Hello", Some([0x37, 0xfa, 0x21, 0x3d]));
        assert_eq!(frame, [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]);
    }

    #[test]
    fn lengths_take_the_shortest_form() {
        for (size, head) in [
            (125, vec![125]),
            (126, vec![126, 0, 126]),
            (65_535, vec![126, 255, 255]),
            (65_536, { vec![127, 0, 0, 0, 0, 0, 1, 0, 0] }),
        ] {
            let mut frame = Vec::new();
            encode(&mut frame, Opcode::Binary, &vec![0; size], None);
            assert_eq!(frame[1..=head.len()], head);
            assert_eq!(frame.len(), 1 + head.len() + size);
        }
    }

    #[test]
    fn exchanges_differ() {
        let script = Script::new(Opcode::Binary, 20, 3, Reply::Frame);
        assert_ne!(script.exchange(0).reply, script.exchange(1).reply);
        assert_eq!(script.exchange(0).reply.len(), 3 * 22);
        assert_eq!(script.exchange(0).request.len(), 3 * 26);
        let raw = Script::new(Opcode::Binary, 20, 3, Reply::Raw);
        assert_eq!(raw.exchange(0).request, raw.exchange(0).reply);
    }
}
