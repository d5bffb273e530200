//! Sockets that the application brings along.

use std::io;
use std::net::{IpAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};

use crate::net::{Listening, Socket, SocketKind, Stream};

/// A connected socket that the application made, accepted or inherited: a `TcpStream` or a `UnixStream` of std.
///
/// Whoever takes it makes it non-blocking. Its options stay as they are, but for those that [`WSTuning`](crate::WSTuning) sets.
#[derive(Debug)]
pub struct WSSocket(Connected);

#[derive(Debug)]
enum Connected {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl From<TcpStream> for WSSocket {
    fn from(socket: TcpStream) -> Self {
        Self(Connected::Tcp(socket))
    }
}

impl From<UnixStream> for WSSocket {
    fn from(socket: UnixStream) -> Self {
        Self(Connected::Unix(socket))
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
        match &self.0 {
            Connected::Tcp(socket) => socket.peer_addr().ok().map(|addr| addr.ip()),
            Connected::Unix(_) => None,
        }
    }

    /// Returns the socket of a stream, for another loop. `None` if the stream is a layer: that has
    /// state which no other loop has.
    pub(crate) fn from_stream(stream: Stream) -> Option<Self> {
        let Stream::Socket(socket) = stream else { return None };
        Some(match socket.into_parts() {
            (fd, SocketKind::Tcp) => TcpStream::from(fd).into(),
            (fd, SocketKind::Unix) => UnixStream::from(fd).into(),
        })
    }

    pub(crate) fn into_stream(self) -> io::Result<Stream> {
        match self.0 {
            Connected::Tcp(socket) => {
                socket.set_nonblocking(true)?;
                Ok(Socket::new(socket.into(), SocketKind::Tcp).into())
            }
            Connected::Unix(socket) => {
                socket.set_nonblocking(true)?;
                Ok(Socket::new(socket.into(), SocketKind::Unix).into())
            }
        }
    }
}

/// A listening socket that the application made or inherited: a `TcpListener` or a `UnixListener` of std.
///
/// Whoever takes it makes it non-blocking. Its backlog and its options stay as they are, but for those that
/// [`WSTuning`](crate::WSTuning) sets.
#[derive(Debug)]
pub struct WSListeningSocket(Bound);

#[derive(Debug)]
enum Bound {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl From<TcpListener> for WSListeningSocket {
    fn from(socket: TcpListener) -> Self {
        Self(Bound::Tcp(socket))
    }
}

impl From<UnixListener> for WSListeningSocket {
    fn from(socket: UnixListener) -> Self {
        Self(Bound::Unix(socket))
    }
}

impl WSListeningSocket {
    pub(crate) fn into_listening(self) -> io::Result<Listening> {
        match self.0 {
            Bound::Tcp(socket) => {
                socket.set_nonblocking(true)?;
                Ok(Listening::new(socket.into(), SocketKind::Tcp))
            }
            Bound::Unix(socket) => {
                socket.set_nonblocking(true)?;
                Ok(Listening::new(socket.into(), SocketKind::Unix))
            }
        }
    }
}
