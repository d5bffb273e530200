//! Connections whose opening handshake other code has done.

use std::cell::{Cell, OnceCell};
use std::fmt;
use std::io;
use std::rc::Rc;

use mio::Interest;

#[cfg(feature = "deflate")]
use crate::deflate::DeflateParameters;
use crate::net::{Io, WSSocket};
use crate::proto::Role;
use crate::runtime::{Command, LoopCore, Readiness, Shutdown, Source, TimerKind, Token};

use super::{Conn, Settings, WSListener, WSTransport};

/// A connection whose opening handshake (RFC 6455 section 4) other code has done: an HTTP server in
/// front of the loop, a proxy, another process.
///
/// [`WSServer::take_over`](crate::WSServer::take_over) takes the server's side,
/// [`ws_take_over`](crate::ws_take_over) the client's. The socket is a plain TCP or Unix domain
/// socket: a TLS session cannot be handed over. To have TLS and the opening handshake done on the
/// loop, hand over the accepted socket before a byte is read from it, with
/// [`WSServer::adopt`](crate::WSServer::adopt) or [`ws_connect_over`](crate::ws_connect_over).
///
/// The connection keeps neither request nor response:
/// [`WSTransport::request`](crate::WSTransport::request) and
/// [`subprotocol`](crate::WSTransport::subprotocol) return `None`.
pub struct WSUpgraded {
    socket: WSSocket,
    leftover: Vec<u8>,
    #[cfg(feature = "deflate")]
    deflate: Option<DeflateParameters>,
}

impl WSUpgraded {
    /// Wraps the socket of an upgraded connection. The socket is made non-blocking.
    pub fn new(socket: impl Into<WSSocket>) -> Self {
        Self {
            socket: socket.into(),
            leftover: Vec::new(),
            #[cfg(feature = "deflate")]
            deflate: None,
        }
    }

    /// Sets the bytes that were read behind the head of the request or response: the first bytes of
    /// the first frames. Default: none.
    #[must_use]
    pub fn leftover(self, bytes: impl Into<Vec<u8>>) -> Self {
        Self { leftover: bytes.into(), ..self }
    }

    /// Sets the parameters of permessage-deflate (RFC 7692) that the handshake agreed on, such as
    /// those of [`accept_offer`](crate::deflate::accept_offer). Without effect unless the
    /// configuration has compression. Default: messages are not compressed.
    #[cfg(feature = "deflate")]
    #[must_use]
    pub fn deflate(self, parameters: DeflateParameters) -> Self {
        Self { deflate: Some(parameters), ..self }
    }

    pub(crate) fn socket(&self) -> &WSSocket {
        &self.socket
    }

    /// Opens the connection on this loop. `on_ws_connected` and the leftover bytes follow when the
    /// current callback has returned. `seated` is called with the connection's token.
    ///
    /// # Errors
    /// If the socket cannot be made non-blocking or registered.
    pub(crate) fn open(
        self,
        core: &Rc<LoopCore>,
        settings: &Rc<Settings>,
        role: Role,
        listener: Box<dyn WSListener>,
        seated: impl FnOnce(Token),
    ) -> io::Result<WSTransport> {
        let stream = self.socket.into_stream()?;
        stream.tune(settings.tuning.socket);
        let opening = core.insert_with(|token| Opening {
            core: Rc::clone(core),
            token,
            conn: OnceCell::new(),
            leftover: Cell::new(self.leftover),
        });
        let token = opening.token;
        let mut io = Io::new(stream);
        if let Err(error) = io.register(core.registry(), token.to_mio(), Interest::READABLE) {
            drop(core.remove(token));
            return Err(error);
        }
        seated(token);
        let conn = Conn::open(core, settings, role, io, token, None, listener);
        #[cfg(feature = "deflate")]
        if let Some(parameters) = self.deflate
            && settings.deflate.is_some()
        {
            conn.enable_deflate(parameters);
        }
        // Taking over runs no user code, as it may be called while any callback runs. The connection
        // gets its slot back with the deferred call: an event of the socket may be served before.
        let _ = opening.conn.set(Rc::clone(&conn));
        drop(core.replace(token, &opening));
        core.defer_source(&opening, 0);
        Ok(WSTransport::new(conn))
    }
}

impl fmt::Debug for WSUpgraded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WSUpgraded")
            .field("socket", &self.socket)
            .field("leftover", &self.leftover.len())
            .finish_non_exhaustive()
    }
}

/// An open connection before `on_ws_connected`, in the connection's slot. It does not read.
pub(crate) struct Opening {
    core: Rc<LoopCore>,
    token: Token,
    conn: OnceCell<Rc<Conn>>,
    leftover: Cell<Vec<u8>>,
}

impl Opening {
    /// Returns the connection: always, once it is in its slot.
    pub(crate) fn conn(&self) -> Option<Rc<Conn>> {
        self.conn.get().map(Rc::clone)
    }
}

impl Source for Opening {
    fn ready(self: Rc<Self>, readiness: Readiness) {
        // What is readable is read after the deferred call.
        if readiness.writable
            && let Some(conn) = self.conn()
        {
            conn.ready(Readiness { writable: true, ..Readiness::default() });
        }
    }

    fn timer(self: Rc<Self>, kind: TimerKind) {
        if let Some(conn) = self.conn() {
            conn.timer(kind);
        }
    }

    fn deferred(self: Rc<Self>, _: u8) {
        let Some(conn) = self.conn() else { return };
        // The slot is free if the connection has ended meanwhile.
        drop(self.core.replace(self.token, &conn));
        conn.connected();
        conn.deliver_early(&self.leftover.take());
        self.core.make_ready(self.token);
    }

    fn command(self: Rc<Self>, command: Command) {
        if let Some(conn) = self.conn() {
            conn.command(command);
        }
    }

    fn shut_down(self: Rc<Self>, how: Shutdown<'_>) -> bool {
        self.conn().is_some_and(|conn| conn.shut_down(how))
    }

    fn kind(&self) -> &'static str {
        "upgraded connection"
    }
}
