//! What carries the bytes of a connection.

use std::io::{self, IoSlice};
use std::net::{self, Shutdown, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix;
use std::time::SystemTime;

use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry};
use socket2::SockRef;

use crate::buf::RecvBuffer;
use crate::config::WSTuning;
use crate::{WSSocket, sys};

#[cfg(any(test, feature = "testkit"))]
use super::slots::Token;
#[cfg(feature = "tls")]
use super::tls_stream::TlsStream;
#[cfg(any(test, feature = "testkit"))]
use crate::testkit::SimStream;

/// A connected byte stream that never blocks.
///
/// To send and receive, sockets of both kinds are descriptors: one code for both.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    #[cfg(feature = "tls")]
    Tls(Box<TlsStream>),
    #[cfg(any(test, feature = "testkit"))]
    Sim(SimStream),
}

impl Stream {
    /// Receives into the spare room of `buffer`; `Ok(0)` is the end of the stream.
    #[inline]
    pub(crate) fn recv(&mut self, buffer: &mut RecvBuffer) -> io::Result<usize> {
        let socket = match self {
            Self::Tcp(socket) => (*socket).as_fd(),
            Self::Unix(socket) => (*socket).as_fd(),
            #[cfg(feature = "tls")]
            Self::Tls(tls) => return tls.recv(buffer),
            #[cfg(any(test, feature = "testkit"))]
            Self::Sim(sim) => return sim.recv(buffer),
        };
        sys::recv_into(&socket, buffer)
    }

    /// [`recv`](Self::recv), and when the kernel received it.
    pub(crate) fn recv_with_timestamp(
        &mut self,
        buffer: &mut RecvBuffer,
    ) -> io::Result<(usize, Option<SystemTime>)> {
        if let Self::Tcp(socket) = self {
            return sys::recv_with_timestamp(socket, buffer);
        }
        Ok((self.recv(buffer)?, None))
    }

    #[inline]
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let socket = match self {
            Self::Tcp(socket) => (*socket).as_fd(),
            Self::Unix(socket) => (*socket).as_fd(),
            #[cfg(feature = "tls")]
            Self::Tls(tls) => return tls.send(&[IoSlice::new(bytes)]),
            #[cfg(any(test, feature = "testkit"))]
            Self::Sim(sim) => return sim.send(&[IoSlice::new(bytes)]),
        };
        sys::send(&socket, bytes)
    }

    pub(crate) fn send_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let socket = match self {
            Self::Tcp(socket) => (*socket).as_fd(),
            Self::Unix(socket) => (*socket).as_fd(),
            #[cfg(feature = "tls")]
            Self::Tls(tls) => return tls.send(slices),
            #[cfg(any(test, feature = "testkit"))]
            Self::Sim(sim) => return sim.send(slices),
        };
        sys::send_vectored(&socket, slices)
    }

    /// Whether a read of `n` bytes into room for `room` has shown that no more were there.
    #[inline]
    pub(crate) fn is_drained(&self, n: usize, room: usize) -> bool {
        match self {
            #[cfg(feature = "tls")]
            Self::Tls(tls) => !tls.is_unread(),
            _ => n < room,
        }
    }

    /// Returns `true` if reading has to go on without an event though it would block.
    pub(crate) fn is_unread(&self) -> bool {
        match self {
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.is_unread(),
            _ => false,
        }
    }

    /// Sends what was taken and did not leave: a stream that transforms bytes may hold some.
    ///
    /// # Errors
    /// `WouldBlock` if bytes are left.
    #[inline]
    #[cfg_attr(
        not(feature = "tls"),
        expect(clippy::unnecessary_wraps, reason = "without TLS no stream holds anything")
    )]
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        match self {
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.flush(),
            _ => Ok(()),
        }
    }

    /// Bytes that [`flush`](Self::flush) would send.
    #[inline]
    pub(crate) fn held(&self) -> usize {
        match self {
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.held(),
            _ => 0,
        }
    }

    /// Ends the outgoing half.
    pub(crate) fn shutdown_write(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => socket.shutdown(Shutdown::Write),
            Self::Unix(socket) => socket.shutdown(Shutdown::Write),
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.shutdown_write(),
            #[cfg(any(test, feature = "testkit"))]
            Self::Sim(sim) => sim.shutdown_write(),
        }
    }

    /// All was sent, and the stream is about to be dropped: says so, where the protocol has a word for it.
    pub(crate) fn part(&mut self) {
        match self {
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.part(),
            _ => {}
        }
    }

    /// Takes the error of the socket, if it has one: a reset that no read has met yet.
    pub(crate) fn take_error(&self) -> Option<io::Error> {
        match self {
            Self::Tcp(socket) => socket.take_error(),
            Self::Unix(socket) => socket.take_error(),
            #[cfg(feature = "tls")]
            Self::Tls(tls) => return tls.below().take_error(),
            #[cfg(any(test, feature = "testkit"))]
            Self::Sim(sim) => return sim.take_error(),
        }
        .unwrap_or_else(Some)
    }

    /// Whether the stream ended without the word that says it would.
    pub(crate) fn is_truncated(&self) -> bool {
        match self {
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.is_truncated(),
            _ => false,
        }
    }

    #[cfg(feature = "tls")]
    pub(crate) fn tls(&self) -> Option<&TlsStream> {
        if let Self::Tls(tls) = self { Some(tls) } else { None }
    }

    pub(crate) fn register(
        &mut self,
        registry: &Registry,
        token: mio::Token,
        interest: Interest,
    ) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => socket.register(registry, token, interest),
            Self::Unix(socket) => socket.register(registry, token, interest),
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.below_mut().register(registry, token, interest),
            #[cfg(any(test, feature = "testkit"))]
            Self::Sim(sim) => {
                sim.set_interest(Token::from_mio(token), interest);
                Ok(())
            }
        }
    }

    pub(crate) fn reregister(
        &mut self,
        registry: &Registry,
        token: mio::Token,
        interest: Interest,
    ) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => socket.reregister(registry, token, interest),
            Self::Unix(socket) => socket.reregister(registry, token, interest),
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.below_mut().reregister(registry, token, interest),
            #[cfg(any(test, feature = "testkit"))]
            Self::Sim(sim) => {
                sim.set_interest(Token::from_mio(token), interest);
                Ok(())
            }
        }
    }

    /// The socket, if there is one.
    #[cfg_attr(
        not(any(test, feature = "testkit", feature = "tls")),
        expect(clippy::unnecessary_wraps, reason = "simulated streams, which have none, are for tests")
    )]
    pub(crate) fn socket(&self) -> Option<SockRef<'_>> {
        match self {
            Self::Tcp(socket) => Some(SockRef::from(socket)),
            Self::Unix(socket) => Some(SockRef::from(socket)),
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.below().socket(),
            #[cfg(any(test, feature = "testkit"))]
            Self::Sim(_) => None,
        }
    }

    /// The socket, if it is one of TCP.
    pub(crate) fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Tcp(socket) => Some(socket),
            Self::Unix(_) => None,
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.below().tcp(),
            #[cfg(any(test, feature = "testkit"))]
            Self::Sim(_) => None,
        }
    }

    /// Sets the options of a socket that did not inherit them.
    pub(crate) fn tune(&self, tuning: &WSTuning) {
        let Some(socket) = self.tcp() else { return };
        let quick_ack = || if tuning.quick_ack { sys::set_quick_ack(socket) } else { Ok(()) };
        if let Err(error) = socket.set_nodelay(tuning.no_delay).and_then(|()| quick_ack()) {
            log::debug!("socket options: {error}");
        }
    }

    /// The socket for another loop. `None` if there is none.
    #[cfg_attr(
        not(any(test, feature = "testkit", feature = "tls")),
        expect(clippy::unnecessary_wraps, reason = "simulated streams, which have none, are for tests")
    )]
    pub(super) fn into_socket(self) -> Option<WSSocket> {
        match self {
            Self::Tcp(socket) => Some(net::TcpStream::from(OwnedFd::from(socket)).into()),
            Self::Unix(socket) => Some(unix::net::UnixStream::from(OwnedFd::from(socket)).into()),
            // TLS has state that no other loop has.
            #[cfg(feature = "tls")]
            Self::Tls(_) => None,
            #[cfg(any(test, feature = "testkit"))]
            Self::Sim(_) => None,
        }
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp().map_or_else(no_address, TcpStream::local_addr)
    }

    pub(crate) fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.tcp().map_or_else(no_address, TcpStream::peer_addr)
    }
}

fn no_address() -> io::Result<SocketAddr> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "this stream has no socket address"))
}
