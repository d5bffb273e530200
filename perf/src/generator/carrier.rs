//! What carries the bytes of a connection: TCP, or TLS on it.
//!
//! The generator is compiled once for each, so that rows without TLS do nothing for the sake of those with it.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;

use crate::handshake;

use super::Target;

/// Size of the receive buffer in bytes.
const BUFFER: usize = 256 * 1024;

/// A connection to a server: blocking until [`finish`](Self::finish) has returned, and non-blocking from then on.
pub(crate) trait Carrier: AsRawFd + Sized {
    /// Memory for receiving, which all connections share.
    type Buffer;

    /// New memory for receiving.
    fn buffer() -> Self::Buffer;

    /// Connects, and sends what a client may send before it has heard anything.
    fn begin(target: &Target, path: &str) -> io::Result<Self>;

    /// Sends what could not be sent before the server had said something.
    fn proceed(&mut self, target: &Target, path: &str, buffer: &mut Self::Buffer) -> io::Result<()>;

    /// Waits for the answer to the upgrade.
    fn finish(&mut self, buffer: &mut Self::Buffer) -> io::Result<()>;

    /// Sends bytes, as far as the kernel takes them, and says how many are done with. After `WouldBlock` the same have to come again.
    fn send(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// Makes one `recv`.
    fn receive<'b>(&mut self, buffer: &'b mut Self::Buffer) -> io::Result<Received<'b>>;
}

/// What a `recv` gave.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Received<'b> {
    /// Bytes of frames; none at the end of the stream.
    pub(super) bytes: &'b [u8],
    /// Whether the socket has no more: the `recv` did not fill its buffer.
    pub(super) is_drained: bool,
}

impl Carrier for TcpStream {
    type Buffer = Box<[u8]>;

    fn buffer() -> Box<[u8]> {
        vec![0; BUFFER].into()
    }

    fn begin(target: &Target, path: &str) -> io::Result<Self> {
        let mut stream = connect(target)?;
        stream.write_all(handshake::request(&target.host, path).as_bytes())?;
        Ok(stream)
    }

    fn proceed(&mut self, _: &Target, _: &str, _: &mut Box<[u8]>) -> io::Result<()> {
        Ok(())
    }

    fn finish(&mut self, buffer: &mut Box<[u8]>) -> io::Result<()> {
        let mut head = Vec::new();
        while !handshake::is_accepted(&head)? {
            let Received { bytes, .. } = self.receive(buffer)?;
            if bytes.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            head.extend_from_slice(bytes);
        }
        self.set_nonblocking(true)
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write(bytes)
    }

    fn receive<'b>(&mut self, buffer: &'b mut Box<[u8]>) -> io::Result<Received<'b>> {
        let len = self.read(buffer)?;
        Ok(Received { bytes: &buffer[..len], is_drained: len < buffer.len() })
    }
}

/// A blocking TCP connection.
pub(super) fn connect(target: &Target) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&target.addr, super::PATIENCE)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(super::PATIENCE))?;
    stream.set_write_timeout(Some(super::PATIENCE))?;
    Ok(stream)
}
