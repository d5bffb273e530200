//! The request that a factory decides on.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::ops::Deref;

use crate::connection::Conn;
use crate::handshake::WSRequestHead;
use crate::net::Io;
use crate::runtime::{Token, WSLoopHandle};
#[cfg(feature = "tls")]
use crate::tls::WSTlsInfo;

use super::opening::ServerOpening;

/// The request that opens a connection, with what is known of the connection.
///
/// Path, query and headers are those of its [head](WSRequestHead), to which it derefs. Addresses
/// and TLS are those of the connection at the time of the call, while the handshake goes on and when
/// it is open. The request belongs to the thread of its loop; [`head`](Self::head) can be sent to
/// another thread.
///
/// ```no_run
/// # use femtows::*;
/// # fn serve<L: WSListener + 'static>(handle: &WSLoopHandle, listener: fn() -> L) -> Result<(), WSError> {
/// let factory = move |request: &WSUpgradeRequest| {
///     println!("{:?} asks for {}", request.peer_addr(), request.path());
///     listener()
/// };
/// ws_create_server(handle, factory, "127.0.0.1:9001", WSServerConfig::default())?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct WSUpgradeRequest {
    head: WSRequestHead,
    handle: WSLoopHandle,
    /// The slot of the handshake, and then of the connection.
    token: Token,
    /// Names and values of the parameters of the route.
    parameters: Vec<(Box<str>, String)>,
}

impl WSUpgradeRequest {
    pub(crate) fn new(head: WSRequestHead, handle: WSLoopHandle, token: Token) -> Self {
        Self { head, handle, token, parameters: Vec::new() }
    }

    /// Returns the same request with the parameters of the route that it takes.
    pub(crate) fn with_path_parameters(&self, parameters: Vec<(Box<str>, String)>) -> Self {
        Self { parameters, ..self.clone() }
    }

    /// Returns the head of the request, which is all that was received.
    pub fn head(&self) -> &WSRequestHead {
        &self.head
    }

    /// Returns the loop that serves the connection: for tasks and timers.
    pub fn handle(&self) -> &WSLoopHandle {
        &self.handle
    }

    /// Returns the peer's address.
    ///
    /// # Errors
    /// [`NotConnected`](io::ErrorKind::NotConnected) when the connection is gone;
    /// [`Unsupported`](io::ErrorKind::Unsupported) for a stream that is not TCP.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        let addr = self.ask(Io::peer_addr, Conn::peer_addr);
        addr.unwrap_or_else(|| Err(io::ErrorKind::NotConnected.into()))
    }

    /// Returns the local address.
    ///
    /// # Errors
    /// Those of [`peer_addr`](Self::peer_addr).
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        let addr = self.ask(Io::local_addr, Conn::local_addr);
        addr.unwrap_or_else(|| Err(io::ErrorKind::NotConnected.into()))
    }

    /// Returns what the TLS handshake agreed on: version, cipher suite, the server name that the
    /// client sent, and the certificates of the client if it presented any. `None` without TLS, and
    /// when the connection is gone.
    #[cfg(feature = "tls")]
    pub fn tls(&self) -> Option<WSTlsInfo> {
        self.ask(|io| io.tls()?.info(), Conn::tls_info).flatten()
    }

    /// Returns a parameter of the path, percent-decoded, as the route names it: see
    /// [`Routes`](crate::Routes). `None` if there is no such parameter, and without routes.
    pub fn path_parameter(&self, name: &str) -> Option<&str> {
        let parameter = self.parameters.iter().find(|(known, _)| **known == *name);
        parameter.map(|(_, value)| value.as_str())
    }

    /// Calls what is in the slot now. `None` if the connection is gone.
    fn ask<R>(&self, opening: fn(&Io) -> R, open: fn(&Conn) -> R) -> Option<R> {
        let core = self.handle.core();
        match core.source::<ServerOpening>(self.token) {
            Some(handshake) => handshake.with_io(opening),
            None => core.source::<Conn>(self.token).map(|conn| open(&conn)),
        }
    }
}

impl Deref for WSUpgradeRequest {
    type Target = WSRequestHead;

    fn deref(&self) -> &WSRequestHead {
        &self.head
    }
}

impl fmt::Debug for WSUpgradeRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WSUpgradeRequest")
            .field("head", &self.head)
            .field("peer_addr", &self.peer_addr().ok())
            .finish_non_exhaustive()
    }
}
