//! TLS as a carrier: each request is sealed into as few records as hold it, and leaves in one write.

use std::io::{self, ErrorKind, Write};
use std::net::TcpStream;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;

use crate::handshake;
use crate::tls::{Buffers, Outgoing, SERVER_NAME, Session};

use super::Target;
use super::carrier::{Carrier, Received, connect};

/// A connection by `wss`.
pub(crate) struct TlsStream {
    socket: TcpStream,
    session: Session<UnbufferedClientConnection>,
    /// Records that the kernel has not taken all.
    sealed: Outgoing,
    /// How much of `sealed` the kernel has: `0 <= flushed <= sealed.bytes().len()`.
    flushed: usize,
    /// Whether the request at hand is among them.
    has_request: bool,
}

impl TlsStream {
    /// Writes all records, to a socket that still blocks.
    fn flush_blocking(&mut self) -> io::Result<()> {
        self.socket.write_all(self.sealed.bytes())?;
        self.sealed.clear();
        Ok(())
    }
}

impl AsRawFd for TlsStream {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl Carrier for TlsStream {
    type Buffer = Buffers;

    fn buffer() -> Buffers {
        Buffers::new()
    }

    /// Sends the `ClientHello` (RFC 8446 section 4.1.2).
    fn begin(target: &Target, _: &str) -> io::Result<Self> {
        let config = target.tls.as_ref().ok_or(ErrorKind::InvalidInput)?;
        let name = ServerName::try_from(SERVER_NAME).map_err(io::Error::other)?;
        let session = Session::client(Arc::clone(config), name)?;
        let socket = connect(target)?;
        let mut stream =
            Self { socket, session, sealed: Outgoing::default(), flushed: 0, has_request: false };
        stream.session.start(&mut stream.sealed)?;
        stream.flush_blocking()?;
        Ok(stream)
    }

    /// Sends `Finished` and the request for the upgrade, in one piece.
    fn proceed(&mut self, target: &Target, path: &str, buffer: &mut Buffers) -> io::Result<()> {
        while self.session.is_handshaking() {
            self.session.receive(&self.socket, buffer, &mut self.sealed)?;
        }
        self.session.seal(handshake::request(&target.host, path).as_bytes(), &mut self.sealed)?;
        self.flush_blocking()
    }

    fn finish(&mut self, buffer: &mut Buffers) -> io::Result<()> {
        let mut head = Vec::new();
        while !handshake::is_accepted(&head)? {
            self.session.receive(&self.socket, buffer, &mut self.sealed)?;
            head.extend_from_slice(&buffer.plain);
        }
        self.socket.set_nonblocking(true)
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.has_request {
            self.session.seal(bytes, &mut self.sealed)?;
            self.has_request = true;
        }
        while self.flushed < self.sealed.bytes().len() {
            self.flushed += self.socket.write(&self.sealed.bytes()[self.flushed..])?;
        }
        self.sealed.clear();
        self.flushed = 0;
        self.has_request = false;
        Ok(bytes.len())
    }

    fn receive<'b>(&mut self, buffer: &'b mut Buffers) -> io::Result<Received<'b>> {
        loop {
            let is_drained = match self.session.receive(&self.socket, buffer, &mut self.sealed) {
                Ok(is_drained) => is_drained,
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                    return Ok(Received { bytes: &[], is_drained: true });
                }
                Err(error) => return Err(error),
            };
            if !buffer.plain.is_empty() {
                return Ok(Received { bytes: &buffer.plain, is_drained });
            }
            if is_drained {
                return Err(ErrorKind::WouldBlock.into());
            }
        }
    }
}
