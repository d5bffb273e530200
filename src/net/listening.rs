//! The sockets of a server.

use std::io;
use std::net::{self, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::os::fd::{AsRawFd, OwnedFd};

use mio::event::Source;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, SockRef, Type};

use crate::sys;

use super::options::ListenOptions;
use super::stream::{Socket, SocketKind, Stream};

/// A listening socket that never blocks.
#[derive(Debug)]
pub(crate) enum Listening {
    Socket(OwnedFd, SocketKind),
    /// Fails with these errors, then has nothing to accept.
    #[cfg(test)]
    Failing(std::cell::RefCell<std::collections::VecDeque<i32>>),
}

/// Failure to listen, with the address that it concerns.
#[derive(Debug)]
pub(crate) struct ListenError {
    pub(crate) addr: Option<SocketAddr>,
    pub(crate) error: io::Error,
}

/// How often a free port is looked for that several addresses can share.
const PORT_ATTEMPTS: usize = 16;

impl Listening {
    /// Listens on each of the addresses, or on none, as asyncio's `create_server` does.
    ///
    /// An address that is repeated counts once. IPv6 addresses are skipped on a system without
    /// IPv6, unless there are no others. Addresses with port 0 all get the same free port.
    pub(crate) fn bind(addrs: impl ToSocketAddrs, options: ListenOptions) -> Result<Vec<Self>, ListenError> {
        let mut wanted: Vec<SocketAddr> = Vec::new();
        for addr in addrs.to_socket_addrs()? {
            if !wanted.contains(&addr) {
                wanted.push(addr);
            }
        }
        let sharing = wanted.iter().filter(|addr| addr.port() == 0).count();
        let mut attempts = if sharing > 1 { PORT_ATTEMPTS } else { 1 };
        loop {
            attempts -= 1;
            match bind_all(&wanted, options) {
                // The port that was free at the first address is taken at another one.
                Err(failed) if failed.error.kind() == io::ErrorKind::AddrInUse && attempts > 0 => {}
                outcome => return outcome,
            }
        }
    }

    /// Sets `TCP_NODELAY`, which accepted sockets inherit, so that it takes no system call for each
    /// of them.
    pub(crate) fn set_no_delay(&self, on: bool) -> io::Result<()> {
        let Self::Socket(fd, SocketKind::Tcp) = self else { return Ok(()) };
        SockRef::from(fd).set_tcp_nodelay(on)
    }

    pub(crate) fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Socket(fd, kind) => Ok(Socket::new(sys::accept(fd)?, *kind).into()),
            #[cfg(test)]
            Self::Failing(errors) => Err(match errors.borrow_mut().pop_front() {
                Some(errno) => io::Error::from_raw_os_error(errno),
                None => io::ErrorKind::WouldBlock.into(),
            }),
        }
    }

    pub(crate) fn register(&self, registry: &Registry, token: Token) -> io::Result<()> {
        match self {
            Self::Socket(fd, _) => SourceFd(&fd.as_raw_fd()).register(registry, token, Interest::READABLE),
            #[cfg(test)]
            Self::Failing(_) => Ok(()),
        }
    }

    /// Returns `None` for a Unix domain socket.
    pub(crate) fn local_addr(&self) -> io::Result<Option<SocketAddr>> {
        let Self::Socket(fd, SocketKind::Tcp) = self else { return Ok(None) };
        Ok(SockRef::from(fd).local_addr()?.as_socket())
    }
}

impl From<io::Error> for ListenError {
    fn from(error: io::Error) -> Self {
        Self { addr: None, error }
    }
}

/// Binds each address.
fn bind_all(wanted: &[SocketAddr], options: ListenOptions) -> Result<Vec<Listening>, ListenError> {
    let (mut sockets, mut port) = (Vec::new(), 0);
    let nothing = io::Error::new(io::ErrorKind::InvalidInput, "no address to listen on");
    let mut failed = ListenError::from(nothing);
    for &addr in wanted {
        let mut place = addr;
        if addr.port() == 0 {
            place.set_port(port);
        }
        // A socket of both families takes the port of the other family's addresses, too.
        let beside_ipv4 = || wanted.iter().any(|other| other.is_ipv4() && other.port() == addr.port());
        let bound = bind(place, options, options.ipv6_only || beside_ipv4()).and_then(|socket| {
            let local = socket.local_addr()?.as_socket();
            Ok((Listening::Socket(socket.into(), SocketKind::Tcp), local))
        });
        match bound {
            Ok((socket, local)) => {
                if addr.port() == 0 {
                    port = local.map_or(0, |local| local.port());
                }
                sockets.push(socket);
            }
            Err(error) if addr.is_ipv6() && lacks_ipv6() => {
                log::debug!("not listening on {place}: {error}");
                failed = ListenError { addr: Some(place), error };
            }
            Err(error) => return Err(ListenError { addr: Some(place), error }),
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

fn bind(addr: SocketAddr, options: ListenOptions, ipv6_only: bool) -> io::Result<socket2::Socket> {
    let socket = socket2::Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(ipv6_only)?;
    }
    socket.set_reuse_address(true)?;
    if options.reuse_port {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(options.backlog)?;
    Ok(socket)
}
