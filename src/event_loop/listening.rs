//! The sockets of a server.

use std::io;
use std::net::{self, Ipv6Addr, SocketAddr, ToSocketAddrs};

use mio::event::Source;
use mio::net::{TcpListener, UnixListener};
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::WSError;
use crate::config::{WSServerConfig, WSTuning};

use super::stream::Stream;

/// A listening socket that never blocks.
#[derive(Debug)]
pub(crate) enum Listening {
    Tcp(TcpListener),
    Unix(UnixListener),
    /// Fails with these errors, then has nothing to accept.
    #[cfg(test)]
    Failing(std::cell::RefCell<std::collections::VecDeque<i32>>),
}

/// How often a free port is looked for that several addresses can share.
const PORT_ATTEMPTS: usize = 16;

impl Listening {
    /// Listens on each of the addresses, or on none, as asyncio's `create_server` does.
    ///
    /// An address that is repeated counts once. IPv6 addresses are skipped on a system without
    /// IPv6, unless there are no others. Addresses with port 0 all get the same free port.
    pub(crate) fn bind(addrs: impl ToSocketAddrs, config: &WSServerConfig) -> Result<Vec<Self>, WSError> {
        let mut wanted: Vec<SocketAddr> = Vec::new();
        for addr in addrs.to_socket_addrs().map_err(|error| cannot_listen(None, error))? {
            if !wanted.contains(&addr) {
                wanted.push(addr);
            }
        }
        let sharing = wanted.iter().filter(|addr| addr.port() == 0).count();
        let mut attempts = if sharing > 1 { PORT_ATTEMPTS } else { 1 };
        loop {
            attempts -= 1;
            match bind_all(&wanted, config) {
                // The port that was free at the first address is taken at another one.
                Err((_, error)) if error.kind() == io::ErrorKind::AddrInUse && attempts > 0 => {}
                outcome => return outcome.map_err(|(addr, error)| cannot_listen(addr, error)),
            }
        }
    }

    /// Sets what accepted sockets inherit, so that it takes no system call per connection.
    pub(super) fn tune(&self, tuning: &WSTuning) -> io::Result<()> {
        let Self::Tcp(socket) = self else { return Ok(()) };
        SockRef::from(socket).set_tcp_nodelay(tuning.no_delay)
    }

    pub(super) fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp(socket) => socket.accept().map(|(stream, _)| Stream::Tcp(stream)),
            Self::Unix(socket) => socket.accept().map(|(stream, _)| Stream::Unix(stream)),
            #[cfg(test)]
            Self::Failing(errors) => Err(match errors.borrow_mut().pop_front() {
                Some(errno) => io::Error::from_raw_os_error(errno),
                None => io::ErrorKind::WouldBlock.into(),
            }),
        }
    }

    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => socket.register(registry, token, Interest::READABLE),
            Self::Unix(socket) => socket.register(registry, token, Interest::READABLE),
            #[cfg(test)]
            Self::Failing(_) => Ok(()),
        }
    }

    /// `None` for a Unix domain socket.
    pub(crate) fn local_addr(&self) -> io::Result<Option<SocketAddr>> {
        match self {
            Self::Tcp(socket) => socket.local_addr().map(Some),
            Self::Unix(_) => Ok(None),
            #[cfg(test)]
            Self::Failing(_) => Ok(None),
        }
    }
}

pub(crate) fn cannot_listen(addr: Option<SocketAddr>, error: io::Error) -> WSError {
    match addr {
        Some(addr) => WSError::io(format!("cannot listen on {addr}"), error),
        None => WSError::io("cannot listen", error),
    }
}

/// Binds each address, or returns the error with the address that it concerns.
fn bind_all(
    wanted: &[SocketAddr],
    config: &WSServerConfig,
) -> Result<Vec<Listening>, (Option<SocketAddr>, io::Error)> {
    let (mut sockets, mut port) = (Vec::new(), 0);
    let mut failed = (None, io::Error::new(io::ErrorKind::InvalidInput, "no address to listen on"));
    for &addr in wanted {
        let mut place = addr;
        if addr.port() == 0 {
            place.set_port(port);
        }
        // A socket of both families takes the port of the other family's addresses, too.
        let beside_ipv4 = || wanted.iter().any(|other| other.is_ipv4() && other.port() == addr.port());
        let bound = bind(place, config, config.ipv6_only || beside_ipv4()).and_then(|socket| {
            let local = socket.local_addr()?.as_socket();
            Ok((TcpListener::from_std(socket.into()), local))
        });
        match bound {
            Ok((socket, local)) => {
                if addr.port() == 0 {
                    port = local.map_or(0, |local| local.port());
                }
                sockets.push(Listening::Tcp(socket));
            }
            Err(error) if addr.is_ipv6() && lacks_ipv6() => {
                log::debug!("not listening on {place}: {error}");
                failed = (Some(place), error);
            }
            Err(error) => return Err((Some(place), error)),
        }
    }
    if sockets.is_empty() { Err(failed) } else { Ok(sockets) }
}

/// Returns `true` if the system does not support IPv6, or it is turned off.
fn lacks_ipv6() -> bool {
    let probe = net::TcpListener::bind((Ipv6Addr::LOCALHOST, 0));
    let unsupported = [Some(libc::EAFNOSUPPORT), Some(libc::EADDRNOTAVAIL)];
    probe.is_err_and(|error| unsupported.contains(&error.raw_os_error()))
}

fn bind(addr: SocketAddr, config: &WSServerConfig, ipv6_only: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(ipv6_only)?;
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
