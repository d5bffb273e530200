//! From received bytes to payloads that the caller can read, as a server does it.
//!
//! Each subject gets the same bytes, copies them into its own buffer, as a `recv` would, and shows every unmasked payload.
//! The frames are BINARY and not fragmented, which asks no one for assembling or a check of text. What differs by design is
//! the form of the payload: femtows and nexus-web lend a slice of their buffer, tungstenite hands out a counted
//! reference to it.

use std::io::{self, Read, Write};

use femtows::proto::internal::Receiver;
use femtows::proto::{Role, Rules};
use nexus_web::ws::FrameReader;
use tungstenite::WebSocket;

/// Bytes that arrive together.
pub const BUFFER: usize = 64 << 10;

/// The receiving half of a server's connection.
pub trait Parser {
    /// The name of the crate.
    const NAME: &'static str;

    /// A connection on which `wire` is going to arrive again and again: at most [`BUFFER`] bytes of whole frames.
    fn new(wire: Vec<u8>) -> Self;

    /// Receives `wire` once and shows each payload, unmasked.
    ///
    /// # Panics
    /// If a frame is not as RFC 6455 wants it.
    fn parse(&mut self, show: impl FnMut(&[u8]));
}

/// As many BINARY frames as fit into the buffer, masked, each with `len` bytes of payload; and their number.
pub fn wire(len: usize) -> (Vec<u8>, usize) {
    let key = [0x37, 0xFA, 0x21, 0x3D];
    let mut frame = match len {
        0..126 => vec![0x82, 0x80 | len as u8],
        126..65_536 => [&[0x82, 0x80 | 126][..], &(len as u16).to_be_bytes()].concat(),
        _ => [&[0x82, 0x80 | 127][..], &(len as u64).to_be_bytes()].concat(),
    };
    frame.extend(key);
    frame.extend((0..len).map(|at| at as u8 ^ key[at % 4]));
    let frames = BUFFER / frame.len();
    (frame.repeat(frames), frames)
}

/// femtows, as its event loop uses it.
pub struct Femtows {
    receiver: Receiver,
    rules: Rules,
    wire: Vec<u8>,
    buffer: Vec<u8>,
}

impl Parser for Femtows {
    const NAME: &'static str = "femtows";

    fn new(wire: Vec<u8>) -> Self {
        let rules = Rules::default();
        Self { receiver: Receiver::new(Role::Server, &rules), rules, wire, buffer: vec![0; BUFFER] }
    }

    #[inline]
    fn parse(&mut self, mut show: impl FnMut(&[u8])) {
        let mut rest = &mut self.buffer[..self.wire.len()];
        rest.copy_from_slice(&self.wire);
        while let Some(head) = self.receiver.poll(rest, &self.rules).expect("valid frames") {
            let (frame, tail) = rest.split_at_mut(head.wire_len());
            show(&frame[head.header.header_len()..]);
            rest = tail;
        }
    }
}

/// nexus-web, by its reader without I/O.
pub struct NexusWeb {
    reader: FrameReader,
    wire: Vec<u8>,
}

impl Parser for NexusWeb {
    const NAME: &'static str = "nexus-web";

    fn new(wire: Vec<u8>) -> Self {
        // Twice the room, so that it never has to move bytes to the front.
        let reader =
            FrameReader::builder().role(nexus_web::ws::Role::Server).buffer_capacity(2 * BUFFER).build();
        Self { reader, wire }
    }

    #[inline]
    fn parse(&mut self, mut show: impl FnMut(&[u8])) {
        self.reader.read(&self.wire).expect("room for the frames");
        while let Some(message) = self.reader.next().expect("valid frames") {
            let nexus_web::ws::Message::Binary(payload) = message else {
                unreachable!("only binary frames are sent")
            };
            show(payload);
        }
    }
}

/// tungstenite over a stream in memory. Its `FrameSocket` would not unmask.
pub struct Tungstenite(WebSocket<Arrived>);

impl Parser for Tungstenite {
    const NAME: &'static str = "tungstenite";

    fn new(wire: Vec<u8>) -> Self {
        let role = tungstenite::protocol::Role::Server;
        Self(WebSocket::from_raw_socket(Arrived { wire, read: 0 }, role, None))
    }

    #[inline]
    fn parse(&mut self, mut show: impl FnMut(&[u8])) {
        self.0.get_mut().read = 0;
        loop {
            match self.0.read() {
                Ok(tungstenite::Message::Binary(payload)) => show(&payload),
                Err(tungstenite::Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return,
                other => panic!("only binary frames are sent: {other:?}"),
            }
        }
    }
}

/// A stream on which `wire` has arrived.
struct Arrived {
    wire: Vec<u8>,
    /// Bytes of it that were read.
    read: usize,
}

impl Read for Arrived {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let len = out.len().min(self.wire.len() - self.read);
        if len == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        out[..len].copy_from_slice(&self.wire[self.read..][..len]);
        self.read += len;
        Ok(len)
    }
}

/// Nothing is sent: only control frames are answered.
impl Write for Arrived {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<P: Parser>() {
        for len in [0, 20, 125, 126, 512, 16 << 10] {
            let (wire, frames) = wire(len);
            let expected: Vec<u8> = (0..len).map(|at| at as u8).collect();
            let mut parser = P::new(wire);
            for round in 0..3 {
                let mut shown = 0;
                parser.parse(|payload| {
                    assert!(payload == expected, "{}, {len} bytes, frame {shown}", P::NAME);
                    shown += 1;
                });
                assert_eq!(shown, frames, "{}, {len} bytes, round {round}", P::NAME);
            }
        }
    }

    #[test]
    fn all_show_the_same_payloads() {
        check::<Femtows>();
        check::<NexusWeb>();
        check::<Tungstenite>();
    }
}
