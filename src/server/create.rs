use std::io;
use std::net::ToSocketAddrs;

use crate::config::WSServerConfig;
use crate::event_loop::Listening;
use crate::handshake::WSUpgradeRequest;
use crate::{WSError, WSListeningSocket, WSLoopHandle};

use super::{WSIntoUpgrade, WSServer};

/// Listens on `addr` and asks `factory` for the listener of each connection.
///
/// The factory runs on the loop's thread, once per request whose head is valid (RFC 6455 section 4.2.1; plain HTTP requests
/// included). What it may return is listed at [`WSIntoUpgrade`]. A panic in it answers 500.
///
/// `addr` may be an IPv4 or IPv6 address with a port, port 0 for any free one ([`WSServer::local_addr`] tells which), or a name that
/// resolves to one; the first address that can be bound is used. Looking up a name blocks.
///
/// The server accepts until [`WSServer::close`], or until the loop is dropped; dropping the returned handle changes nothing.
///
/// # Errors
/// [`WSError::Io`] if no address can be bound, [`WSError::Disconnected`] if the loop is gone, [`WSError::InvalidArgument`] if
/// the time-outs of auto-ping contradict each other; with feature `tls` `WSError::TlsConfig` if certificate and key cannot be used.
pub fn ws_create_server<F, R>(
    handle: &WSLoopHandle,
    factory: F,
    addr: impl ToSocketAddrs,
    config: WSServerConfig,
) -> Result<WSServer, WSError>
where
    F: FnMut(&WSUpgradeRequest) -> R + 'static,
    R: WSIntoUpgrade,
{
    let socket = Listening::bind(addr, &config).map_err(cannot_listen)?;
    WSServer::start(handle, factory, config)?.listen(socket)
}

/// [`ws_create_server`] on a socket that listens already: a Unix domain socket, one that was inherited from another process, or one
/// with options of its own. Of the configuration, what concerns binding is without effect.
///
/// ```no_run
/// # use femtows::*;
/// # struct Echo;
/// # impl WSListener for Echo {
/// #     fn on_ws_frame(&mut self, _: &WSTransport, _: &mut WSFrame<'_>) -> WSResult { Ok(()) }
/// # }
/// # fn serve(handle: &WSLoopHandle) -> Result<(), Box<dyn std::error::Error>> {
/// let socket = std::os::unix::net::UnixListener::bind("/run/echo.sock")?;
/// ws_create_server_on(handle, |_: &WSUpgradeRequest| Echo, socket, WSServerConfig::default())?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`WSError::Io`] if the socket cannot be used; otherwise as [`ws_create_server`].
pub fn ws_create_server_on<F, R>(
    handle: &WSLoopHandle,
    factory: F,
    socket: impl Into<WSListeningSocket>,
    config: WSServerConfig,
) -> Result<WSServer, WSError>
where
    F: FnMut(&WSUpgradeRequest) -> R + 'static,
    R: WSIntoUpgrade,
{
    let socket = socket.into().into_listening().map_err(cannot_listen)?;
    WSServer::start(handle, factory, config)?.listen(socket)
}

/// A server that does not listen: its connections are handed to [`WSServer::adopt`] or [`WSServerRemote::adopt`](crate::WSServerRemote::adopt).
///
/// # Errors
/// [`WSError::Disconnected`] if the loop is gone, [`WSError::InvalidArgument`] as [`ws_create_server`].
pub fn ws_create_server_without_socket<F, R>(
    handle: &WSLoopHandle,
    factory: F,
    config: WSServerConfig,
) -> Result<WSServer, WSError>
where
    F: FnMut(&WSUpgradeRequest) -> R + 'static,
    R: WSIntoUpgrade,
{
    WSServer::start(handle, factory, config)
}

pub(super) fn cannot_listen(error: io::Error) -> WSError {
    WSError::io("cannot listen", error)
}
