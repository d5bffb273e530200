//! One connection: how far its request was sent and its reply received.

use std::io::{self, ErrorKind};
use std::net::TcpStream;
use std::time::Instant;

use super::carrier::{Carrier, Received};
use super::{Fault, Target};

/// How many bytes at either end of a piece are compared when it is not compared in full.
const ENDS: usize = 64;

/// An upgraded, non-blocking connection.
#[derive(Debug)]
pub(super) struct Connection<C = TcpStream> {
    pub(super) stream: C,
    /// Number of the exchange in progress, over all runs.
    pub(super) exchange: usize,
    /// When it began.
    pub(super) started: Instant,
    /// Exchanges done in this run.
    pub(super) done: u64,
    /// Whether one is in progress.
    pub(super) is_busy: bool,
    sent: usize,
    received: usize,
}

impl<C: Carrier> Connection<C> {
    /// Opens connections to `path`, several at a time as a server under load sees them.
    pub(super) fn open_all(target: &Target, path: &str, count: usize) -> Result<Vec<Self>, Fault> {
        const WAVE: usize = 64;
        let mut connections = Vec::with_capacity(count);
        let mut buffer = C::buffer();
        while connections.len() < count {
            let wave = (count - connections.len()).min(WAVE);
            let mut streams = Vec::with_capacity(wave);
            for _ in 0..wave {
                streams.push(C::begin(target, path).map_err(|error| Fault::Io("connect", error))?);
            }
            for stream in &mut streams {
                stream.proceed(target, path, &mut buffer).map_err(|error| Fault::Io("handshake", error))?;
            }
            for mut stream in streams {
                stream.finish(&mut buffer).map_err(|error| Fault::Io("upgrade", error))?;
                connections.push(Self::new(stream));
            }
        }
        Ok(connections)
    }

    fn new(stream: C) -> Self {
        Self { stream, exchange: 0, started: Instant::now(), done: 0, is_busy: false, sent: 0, received: 0 }
    }

    /// Starts an exchange.
    pub(super) fn begin(&mut self, now: Instant) {
        self.started = now;
        self.sent = 0;
        self.received = 0;
        self.is_busy = true;
    }

    /// Ends an exchange.
    pub(super) fn finish(&mut self) {
        self.is_busy = false;
        self.exchange += 1;
        self.done += 1;
    }

    /// Sends what is left of `request`, as far as the kernel takes it.
    pub(super) fn send(&mut self, request: &[u8]) -> Result<(), Fault> {
        while self.sent < request.len() {
            match self.stream.send(&request[self.sent..]) {
                Ok(len) => self.sent += len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(lost("send", error)),
            }
        }
        Ok(())
    }

    /// Receives what is there of `reply` and compares it. Whether the reply is complete.
    pub(super) fn receive(&mut self, reply: &Expected<'_>, buffer: &mut C::Buffer) -> Result<bool, Fault> {
        loop {
            let Received { bytes, is_drained } = match self.stream.receive(buffer) {
                Ok(received) if received.bytes.is_empty() => return Err(Fault::Closed),
                Ok(received) => received,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(lost("receive", error)),
            };
            reply.compare(self.received, bytes)?;
            self.received += bytes.len();
            if self.received == reply.bytes.len() {
                return Ok(true);
            }
            if is_drained {
                return Ok(false);
            }
        }
    }
}

/// A reply that has to come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected<'a> {
    /// Every byte of it.
    pub(super) bytes: &'a [u8],
    /// Whether all are compared.
    pub(super) is_full: bool,
    /// For the fault.
    pub(super) size: usize,
    /// For the fault.
    pub(super) depth: usize,
}

impl Expected<'_> {
    /// Compares a piece that arrived after `offset` bytes.
    pub(super) fn compare(&self, offset: usize, piece: &[u8]) -> Result<(), Fault> {
        let end = offset + piece.len();
        let Some(wanted) = self.bytes.get(offset..end) else {
            return Err(Fault::Extra(end - self.bytes.len()));
        };
        let is_right = if self.is_full || piece.len() <= 2 * ENDS {
            piece == wanted
        } else {
            let tail = piece.len() - ENDS;
            piece[..ENDS] == wanted[..ENDS] && piece[tail..] == wanted[tail..]
        };
        if is_right {
            return Ok(());
        }
        let first = piece.iter().zip(wanted).position(|(is, should)| is != should).unwrap_or(0);
        Err(Fault::Wrong { at: offset + first, size: self.size, depth: self.depth })
    }
}

fn lost(doing: &'static str, error: io::Error) -> Fault {
    match error.kind() {
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => Fault::Closed,
        _ => Fault::Io(doing, error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expected(bytes: &[u8], is_full: bool) -> Expected<'_> {
        Expected { bytes, is_full, size: bytes.len(), depth: 1 }
    }

    #[test]
    fn a_wrong_byte_is_found_where_it_is() {
        let reply: Vec<u8> = (0..=255).collect();
        let mut piece = reply[10..].to_vec();
        expected(&reply, true).compare(10, &piece).unwrap();
        piece[100] ^= 1;
        let fault = expected(&reply, true).compare(10, &piece).unwrap_err();
        assert!(matches!(fault, Fault::Wrong { at: 110, .. }), "{fault}");
        expected(&reply, false).compare(10, &piece).unwrap();
        for at in [0, 63, piece.len() - 64, piece.len() - 1] {
            let mut piece = reply[10..].to_vec();
            piece[at] ^= 1;
            expected(&reply, false).compare(10, &piece).unwrap_err();
        }
    }

    #[test]
    fn bytes_beyond_the_reply_are_a_fault() {
        let fault = expected(&[1, 2, 3], true).compare(2, &[3, 4, 5]).unwrap_err();
        assert!(matches!(fault, Fault::Extra(2)), "{fault}");
    }
}
