//! What carries the bytes of a connection.

use std::io::{self, IoSlice};
use std::net::{Shutdown, SocketAddr};

use mio::event::Source;
use mio::net::TcpStream;
use mio::{Interest, Registry};

use crate::buf::RecvBuffer;
use crate::sys;

#[cfg(any(test, feature = "testkit"))]
use super::slots::Token;
#[cfg(any(test, feature = "testkit"))]
use crate::testkit::SimStream;

/// A connected byte stream that never blocks.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    #[cfg(any(test, feature = "testkit"))]
    Sim(SimStream),
}

impl Stream {
    /// Receives into the spare room of `buffer`; `Ok(0)` is the end of the stream.
    #[inline]
    pub(crate) fn recv(&mut self, buffer: &mut RecvBuffer) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => sys::recv_into(socket, buffer),
            #[cfg(any(test, feature = "testkit"))]
            Self::Sim(sim) => sim.recv(buffer),
        }
    }

    #[inline]
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => sys::send(socket, bytes),
            #[cfg(any(test, feature = "testkit"))]
            Self::Sim(sim) => sim.send(&[IoSlice::new(bytes)]),
        }
    }

    pub(crate) fn send_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => sys::send_vectored(socket, slices),
            #[cfg(any(test, feature = "testkit"))]
            Self::Sim(sim) => sim.send(slices),
        }
    }

    /// Ends the outgoing half.
    pub(crate) fn shutdown_write(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => socket.shutdown(Shutdown::Write),
            #[cfg(any(test, feature = "testkit"))]
            Self::Sim(sim) => sim.shutdown_write(),
        }
    }

    pub(crate) fn register(
        &mut self,
        registry: &Registry,
        token: mio::Token,
        interest: Interest,
    ) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => socket.register(registry, token, interest),
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
            #[cfg(any(test, feature = "testkit"))]
            Self::Sim(sim) => {
                sim.set_interest(Token::from_mio(token), interest);
                Ok(())
            }
        }
    }

    /// The socket, if there is one.
    #[cfg_attr(
        not(any(test, feature = "testkit")),
        expect(clippy::unnecessary_wraps, reason = "simulated streams, which have none, are for tests")
    )]
    pub(crate) fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Tcp(socket) => Some(socket),
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
