//! The socket of a server.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};

use mio::event::Source;
use mio::net::{TcpListener, UnixListener};
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::config::{WSServerConfig, WSTuning};
use crate::sys;

use super::stream::Stream;

/// A listening socket that never blocks.
#[derive(Debug)]
pub(crate) enum Listening {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listening {
    /// Listens on the first of the addresses that lets itself be bound.
    pub(crate) fn bind(addrs: impl ToSocketAddrs, config: &WSServerConfig) -> io::Result<Self> {
        let mut last = io::Error::new(io::ErrorKind::InvalidInput, "no address to listen on");
        for addr in addrs.to_socket_addrs()? {
            match bind(addr, config) {
                Ok(socket) => return Ok(Self::Tcp(TcpListener::from_std(socket.into()))),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Sets what accepted sockets inherit, so that it takes no system call per connection.
    pub(super) fn tune(&self, tuning: &WSTuning) -> io::Result<()> {
        let Self::Tcp(socket) = self else { return Ok(()) };
        SockRef::from(socket).set_tcp_nodelay(tuning.no_delay)?;
        if let Err(error) = sys::set_busy_poll(socket, tuning.busy_poll) {
            log::warn!("SO_BUSY_POLL: {error}");
        }
        Ok(())
    }

    pub(super) fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp(socket) => socket.accept().map(|(stream, _)| Stream::Tcp(stream)),
            Self::Unix(socket) => socket.accept().map(|(stream, _)| Stream::Unix(stream)),
        }
    }

    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => socket.register(registry, token, Interest::READABLE),
            Self::Unix(socket) => socket.register(registry, token, Interest::READABLE),
        }
    }

    /// `None` for a Unix domain socket.
    pub(crate) fn local_addr(&self) -> io::Result<Option<SocketAddr>> {
        match self {
            Self::Tcp(socket) => socket.local_addr().map(Some),
            Self::Unix(_) => Ok(None),
        }
    }
}

fn bind(addr: SocketAddr, config: &WSServerConfig) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(config.ipv6_only)?;
    }
    socket.set_reuse_address(true)?;
    if config.reuse_port {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(config.backlog)?;
    Ok(socket)
}
