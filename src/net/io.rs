//! A stream with its registration and its end-of-file state.

use std::fmt;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::time::SystemTime;

use mio::{Interest, Registry, Token};
use socket2::SockRef;

use crate::buf::RecvBuffer;

use super::options::SocketOptions;
use super::stream::{Read, Socket, Stream};
#[cfg(feature = "tls")]
use super::tls_stream::TlsStream;

/// A stream, its registration with the poll, and what is known of unread bytes.
///
/// Events are edge-triggered: what an event has announced is announced once. So this keeps what the
/// next owner of the stream, such as the connection after its handshake, has to know of earlier
/// events and reads.
pub(crate) struct Io {
    stream: Stream,
    /// Writable interest is armed.
    wants_write: bool,
    /// The kernel announced the end of the stream, or an error: only reading up to it finds it.
    end_ahead: bool,
    /// The stream may hold bytes, or its end, that no event will announce.
    unread: bool,
}

impl Io {
    pub(crate) fn new(stream: Stream) -> Self {
        Self { stream, wants_write: false, end_ahead: false, unread: false }
    }

    // --- registration --------------------------------------------------------------------------

    pub(crate) fn register(
        &mut self,
        registry: &Registry,
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        self.stream.register(registry, token, interest)?;
        self.wants_write = interest.is_writable();
        Ok(())
    }

    /// Arms or disarms writable interest. Without a change, makes no system call, and so no event
    /// repeats what is known.
    pub(crate) fn want_write(&mut self, registry: &Registry, token: Token, on: bool) -> io::Result<()> {
        if self.wants_write == on {
            return Ok(());
        }
        let interest = if on { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        self.stream.reregister(registry, token, interest)?;
        self.wants_write = on;
        Ok(())
    }

    // --- reading -------------------------------------------------------------------------------

    /// Notes whether an event announced the end of the stream.
    #[inline]
    pub(crate) fn note(&mut self, read_closed: bool) {
        self.end_ahead |= read_closed;
    }

    /// Returns `true` if the kernel announced the end of the stream.
    pub(crate) fn is_end_ahead(&self) -> bool {
        self.end_ahead
    }

    /// Returns `true` if reading has to go on without an event.
    pub(crate) fn is_unread(&self) -> bool {
        self.unread
    }

    /// Notes that an event was, or will be, served without reading.
    pub(crate) fn leave_unread(&mut self) {
        self.unread = true;
    }

    /// Receives into the spare room of `buffer`, which must not be empty.
    ///
    /// A read that does not fill the room has drained the stream, unless the end is announced: so
    /// most events take one system call.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "an event costs one; saving registers would cost as much again")]
    pub(crate) fn read(&mut self, buffer: &mut RecvBuffer) -> Read {
        let read = self.stream.read(buffer);
        self.note_read(read)
    }

    /// [`read`](Self::read), and when the kernel received the bytes, if it notes that.
    pub(crate) fn read_with_timestamp(&mut self, buffer: &mut RecvBuffer) -> (Read, Option<SystemTime>) {
        let (read, received_at) = self.stream.read_with_timestamp(buffer);
        (self.note_read(read), received_at)
    }

    #[inline]
    fn note_read(&mut self, read: Read) -> Read {
        let (read, unread) = match read {
            Read::Data { len, more } => {
                let more = more | self.end_ahead;
                (Read::Data { len, more }, more)
            }
            Read::Blocked { again } => (read, again),
            Read::End | Read::Failed(_) => (read, false),
        };
        self.unread = unread;
        read
    }

    // --- writing -------------------------------------------------------------------------------

    /// Writes from one piece of memory. Returns how many bytes were taken.
    #[inline]
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes)
    }

    /// Writes from several pieces of memory. Returns how many bytes were taken.
    #[inline]
    pub(crate) fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.stream.write_vectored(slices)
    }

    /// Sends what a layer took and could not send.
    ///
    /// # Errors
    /// `WouldBlock` if bytes are left.
    #[inline]
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }

    /// Returns the number of bytes that [`flush`](Self::flush) would send.
    #[inline]
    pub(crate) fn held(&self) -> usize {
        self.stream.held()
    }

    /// Writes `out`, of which `sent` bytes were taken before, and flushes. Returns `true` once all
    /// of it has left.
    pub(crate) fn write_all_from(&mut self, out: &[u8], sent: &mut usize) -> io::Result<bool> {
        let written = loop {
            match out.get(*sent..) {
                None | Some([]) => break self.stream.flush(),
                Some(rest) => match self.stream.write(rest) {
                    Ok(n) => *sent += n,
                    Err(error) => break Err(error),
                },
            }
        };
        match written {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Ends the outgoing half.
    pub(crate) fn shutdown_write(&mut self) -> io::Result<()> {
        self.stream.shutdown_write()
    }

    /// Sends `close_notify` on a TLS stream. The stream is dropped next.
    pub(crate) fn part(&mut self) {
        self.stream.part();
    }

    // --- questions -----------------------------------------------------------------------------

    /// Takes the pending error of the socket: a reset that no read has met yet.
    pub(crate) fn take_error(&self) -> Option<io::Error> {
        self.stream.take_error()
    }

    /// Returns `true` if TLS ended without `close_notify`.
    pub(crate) fn is_truncated(&self) -> bool {
        self.stream.is_truncated()
    }

    /// Returns `true` if the connect has succeeded, `false` if it is under way.
    ///
    /// # Errors
    /// If the connect has failed.
    pub(crate) fn is_connected(&self) -> io::Result<bool> {
        self.stream.socket().map_or(Ok(true), Socket::is_connected)
    }

    #[cfg(feature = "tls")]
    pub(crate) fn tls(&self) -> Option<&TlsStream> {
        self.stream.tls()
    }

    /// Returns the socket if it is one of TCP, below any layer.
    pub(crate) fn tcp(&self) -> Option<&Socket> {
        self.stream.tcp()
    }

    /// Returns the socket, below any layer. A simulated stream has none.
    pub(crate) fn socket(&self) -> Option<SockRef<'_>> {
        self.stream.socket().map(SockRef::from)
    }

    /// Sets the options of a TCP socket that did not inherit them.
    pub(crate) fn tune(&self, options: SocketOptions) {
        self.stream.tune(options);
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.stream.local_addr()
    }

    pub(crate) fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.stream.peer_addr()
    }

    /// Puts a layer over the stream. Registration and end-of-file state stay as they are.
    #[cfg(feature = "tls")]
    pub(crate) fn wrap<R>(self, wrap: impl FnOnce(Stream) -> (Stream, R)) -> (Self, R) {
        let (stream, result) = wrap(self.stream);
        (Self { stream, ..self }, result)
    }
}

impl fmt::Debug for Io {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Io").field("stream", &self.stream).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
