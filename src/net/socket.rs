//! Sockets that the application brings along.

use std::io;
use std::net::{IpAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};

use socket2::SockRef;

use super::listening::Listening;
use super::stream::{Socket, SocketKind, Stream};

/// A connected socket that the application made, accepted or inherited: a `TcpStream` or a `UnixStream` of std.
///
/// Whoever takes it makes it non-blocking. Its options stay as they are, but for those that [`WSTuning`](crate::WSTuning) sets.
#[derive(Debug)]
pub struct WSSocket(Socket);

impl From<TcpStream> for WSSocket {
    fn from(socket: TcpStream) -> Self {
        Self(Socket::new(socket.into(), SocketKind::Tcp))
    }
}

impl From<UnixStream> for WSSocket {
    fn from(socket: UnixStream) -> Self {
        Self(Socket::new(socket.into(), SocketKind::Unix))
    }
}

impl WSSocket {
    /// Two sockets that are connected to each other, inside this machine's memory: for tests, and for the two ends of a connection in
    /// one process.
    ///
    /// # Errors
    /// When the system has no descriptors left.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (one, other) = UnixStream::pair()?;
        Ok((one.into(), other.into()))
    }

    /// `None` for a Unix domain socket, and for one whose peer has gone.
    pub(crate) fn peer_ip(&self) -> Option<IpAddr> {
        SockRef::from(&self.0).peer_addr().ok()?.as_socket().map(|addr| addr.ip())
    }

    /// Returns the socket of a stream, for another loop. `None` if the stream is a layer: that has
    /// state which no other loop has.
    pub(crate) fn from_stream(stream: Stream) -> Option<Self> {
        if let Stream::Socket(socket) = stream { Some(Self(socket)) } else { None }
    }

    pub(crate) fn into_stream(self) -> io::Result<Stream> {
        SockRef::from(&self.0).set_nonblocking(true)?;
        Ok(self.0.into())
    }
}

/// A listening socket that the application made or inherited: a `TcpListener` or a `UnixListener` of std.
///
/// Whoever takes it makes it non-blocking. Its backlog and its options stay as they are, but for those that
/// [`WSTuning`](crate::WSTuning) sets.
#[derive(Debug)]
pub struct WSListeningSocket(OwnedFd, SocketKind);

impl From<TcpListener> for WSListeningSocket {
    fn from(socket: TcpListener) -> Self {
        Self(socket.into(), SocketKind::Tcp)
    }
}

impl From<UnixListener> for WSListeningSocket {
    fn from(socket: UnixListener) -> Self {
        Self(socket.into(), SocketKind::Unix)
    }
}

impl WSListeningSocket {
    pub(crate) fn into_listening(self) -> io::Result<Listening> {
        SockRef::from(&self.0).set_nonblocking(true)?;
        Ok(Listening::Socket(self.0, self.1))
    }
}
