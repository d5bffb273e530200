//! Connected byte streams that never block.

use std::fmt;
use std::io::{self, IoSlice};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::SystemTime;

use mio::event::Source;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use socket2::SockRef;

use crate::buf::RecvBuffer;
use crate::sys;

use super::options::SocketOptions;
#[cfg(feature = "tls")]
use super::tls_stream::TlsStream;

/// A socket, or a layer over another stream.
///
/// To read and write, sockets of all kinds are descriptors: a stream that is no layer costs one
/// predictable branch.
#[derive(Debug)]
pub(crate) enum Stream {
    Socket(Socket),
    #[cfg_attr(
        not(any(test, feature = "testkit", feature = "tls")),
        expect(dead_code, reason = "the layers are TLS and the simulated network")
    )]
    Layer(Box<dyn Layer>),
}

/// Result of a read.
#[derive(Debug)]
pub(crate) enum Read {
    /// `len` bytes were appended to the buffer.
    Data {
        len: usize,
        /// More bytes, or the end, may be there to read, and no event will announce them.
        more: bool,
    },
    /// No bytes are there.
    Blocked {
        /// Reading has to go on without an event nevertheless: a bound was reached.
        again: bool,
    },
    /// The end of the stream.
    End,
    Failed(io::Error),
}

impl Read {
    /// Interprets what a read into room for `room` bytes returned. If it did not fill the room, it
    /// has drained the stream, and the next bytes come with an event.
    #[inline]
    pub(crate) fn of(result: io::Result<usize>, room: usize) -> Self {
        debug_assert!(room > 0, "a read without room would look like the end of the stream");
        match result {
            Ok(0) => Self::End,
            Ok(len) => Self::Data { len, more: len >= room },
            Err(error) => Self::refused(error),
        }
    }

    #[cold]
    fn refused(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::WouldBlock {
            Self::Blocked { again: false }
        } else {
            Self::Failed(error)
        }
    }
}

/// A stream that is more than a descriptor.
pub(crate) trait Layer: fmt::Debug {
    /// Appends bytes to `buffer`, which has room.
    fn read(&mut self, buffer: &mut RecvBuffer) -> Read;

    /// Takes bytes; fewer than offered only if some wait or are refused.
    ///
    /// # Errors
    /// `WouldBlock` if none are taken.
    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Ends the outgoing half.
    fn shutdown_write(&mut self) -> io::Result<()>;

    /// Begins to report readiness.
    fn register(&mut self, registry: &Registry, token: Token, interest: Interest) -> io::Result<()>;

    /// Changes which readiness is reported.
    fn reregister(&mut self, registry: &Registry, token: Token, interest: Interest) -> io::Result<()>;

    /// Sends what was taken and has not left.
    ///
    /// # Errors
    /// `WouldBlock` if bytes are left.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Returns the number of bytes that [`flush`](Self::flush) would send.
    fn held(&self) -> usize {
        0
    }

    /// Sends the end marker of the layer's protocol. The stream is dropped next.
    fn part(&mut self) {}

    /// Takes the pending error of the socket.
    fn take_error(&self) -> Option<io::Error>;

    /// Returns `true` if the stream ended without the end marker of the layer's protocol.
    fn is_truncated(&self) -> bool {
        false
    }

    /// Returns the socket at the bottom.
    fn socket(&self) -> Option<&Socket> {
        None
    }

    #[cfg(feature = "tls")]
    fn tls(&self) -> Option<&TlsStream> {
        None
    }
}

impl Stream {
    #[cfg(any(test, feature = "testkit", feature = "tls"))]
    pub(crate) fn layer(layer: impl Layer + 'static) -> Self {
        Self::Layer(Box::new(layer))
    }

    /// Receives into the spare room of `buffer`.
    #[inline]
    pub(crate) fn read(&mut self, buffer: &mut RecvBuffer) -> Read {
        let room = buffer.spare();
        match self {
            Self::Socket(socket) => Read::of(sys::recv_into(socket, buffer), room),
            Self::Layer(layer) => layer.read(buffer),
        }
    }

    /// [`read`](Self::read), and when the kernel received the bytes. A layer does not know that.
    pub(crate) fn read_with_timestamp(&mut self, buffer: &mut RecvBuffer) -> (Read, Option<SystemTime>) {
        let Self::Socket(socket) = self else { return (self.read(buffer), None) };
        let room = buffer.spare();
        match sys::recv_with_timestamp(socket, buffer) {
            Ok((n, received_at)) => (Read::of(Ok(n), room), received_at),
            Err(error) => (Read::of(Err(error), room), None),
        }
    }

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "a plain socket's is one system call")]
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Socket(socket) => sys::send(socket, bytes),
            Self::Layer(layer) => layer.write(&[IoSlice::new(bytes)]),
        }
    }

    #[inline]
    pub(crate) fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Socket(socket) => sys::send_vectored(socket, slices),
            Self::Layer(layer) => layer.write(slices),
        }
    }

    /// Sends what was taken and has not left.
    ///
    /// # Errors
    /// `WouldBlock` if bytes are left.
    #[inline]
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Socket(_) => Ok(()),
            Self::Layer(layer) => layer.flush(),
        }
    }

    /// Returns the number of bytes that [`flush`](Self::flush) would send.
    #[inline]
    pub(crate) fn held(&self) -> usize {
        match self {
            Self::Socket(_) => 0,
            Self::Layer(layer) => layer.held(),
        }
    }

    /// Ends the outgoing half.
    pub(crate) fn shutdown_write(&mut self) -> io::Result<()> {
        match self {
            Self::Socket(socket) => SockRef::from(&*socket).shutdown(Shutdown::Write),
            Self::Layer(layer) => layer.shutdown_write(),
        }
    }

    /// Sends the end marker of the layer's protocol, if there is one. The stream is dropped next.
    pub(crate) fn part(&mut self) {
        if let Self::Layer(layer) = self {
            layer.part();
        }
    }

    /// Takes the pending error of the socket: a reset that no read has met yet.
    pub(crate) fn take_error(&self) -> Option<io::Error> {
        match self {
            Self::Socket(socket) => SockRef::from(socket).take_error().unwrap_or_else(Some),
            Self::Layer(layer) => layer.take_error(),
        }
    }

    /// Returns `true` if the stream ended without the end marker of the layer's protocol.
    pub(crate) fn is_truncated(&self) -> bool {
        matches!(self, Self::Layer(layer) if layer.is_truncated())
    }

    #[cfg(feature = "tls")]
    pub(crate) fn tls(&self) -> Option<&TlsStream> {
        if let Self::Layer(layer) = self { layer.tls() } else { None }
    }

    pub(crate) fn register(
        &mut self,
        registry: &Registry,
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        match self {
            Self::Socket(socket) => SourceFd(&socket.fd.as_raw_fd()).register(registry, token, interest),
            Self::Layer(layer) => layer.register(registry, token, interest),
        }
    }

    pub(crate) fn reregister(
        &mut self,
        registry: &Registry,
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        match self {
            Self::Socket(socket) => SourceFd(&socket.fd.as_raw_fd()).reregister(registry, token, interest),
            Self::Layer(layer) => layer.reregister(registry, token, interest),
        }
    }

    /// Returns the socket at the bottom. A simulated stream has none.
    pub(crate) fn socket(&self) -> Option<&Socket> {
        match self {
            Self::Socket(socket) => Some(socket),
            Self::Layer(layer) => layer.socket(),
        }
    }

    /// Returns the socket at the bottom if it is one of TCP.
    pub(crate) fn tcp(&self) -> Option<&Socket> {
        self.socket().filter(|socket| socket.kind == SocketKind::Tcp)
    }

    /// Sets the options of a TCP socket that did not inherit them.
    pub(crate) fn tune(&self, options: SocketOptions) {
        let Some(socket) = self.tcp() else { return };
        if let Err(error) = SockRef::from(socket).set_tcp_nodelay(options.no_delay) {
            log::debug!("TCP_NODELAY: {error}");
        }
        if options.quick_ack {
            self.acknowledge_quickly();
        }
    }

    /// Sets `TCP_QUICKACK`, which no accepted socket inherits.
    pub(crate) fn acknowledge_quickly(&self) {
        if let Some(socket) = self.tcp()
            && let Err(error) = sys::set_quick_ack(socket)
        {
            log::debug!("TCP_QUICKACK: {error}");
        }
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.address(|socket| socket.local_addr())
    }

    pub(crate) fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.address(|socket| socket.peer_addr())
    }

    fn address(
        &self,
        address: impl FnOnce(SockRef<'_>) -> io::Result<socket2::SockAddr>,
    ) -> io::Result<SocketAddr> {
        let address = self.tcp().map(|socket| address(socket.into())).transpose()?;
        address
            .and_then(|address| address.as_socket())
            .ok_or_else(|| io::Error::new(io::ErrorKind::Unsupported, "this stream has no socket address"))
    }
}

/// A connected socket, or one that connects.
#[derive(Debug)]
pub(crate) struct Socket {
    fd: OwnedFd,
    kind: SocketKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SocketKind {
    Tcp,
    Unix,
}

impl Socket {
    /// Takes over a socket that does not block.
    pub(crate) fn new(fd: OwnedFd, kind: SocketKind) -> Self {
        Self { fd, kind }
    }

    /// Returns `true` if the connect has succeeded, `false` if it is under way.
    ///
    /// # Errors
    /// If the connect has failed.
    pub(crate) fn is_connected(&self) -> io::Result<bool> {
        let socket = SockRef::from(self);
        if let Some(error) = socket.take_error()? {
            return Err(error);
        }
        match socket.peer_addr() {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl AsFd for Socket {
    #[inline]
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<Socket> for Stream {
    fn from(socket: Socket) -> Self {
        Self::Socket(socket)
    }
}
