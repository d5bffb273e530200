use std::net::ToSocketAddrs;

use crate::net::{ListenError, Listening, WSListeningSocket};
use crate::runtime::WSLoopHandle;
use crate::server::WSServerConfig;

use super::{WSIntoUpgrade, WSServeError, WSServer, WSUpgradeRequest};

/// Listens on `addr` and asks `factory` for the listener of each connection.
///
/// The factory runs on the loop's thread, once per request whose head is valid (RFC 6455 section 4.2.1; plain HTTP requests
/// included). What it may return is listed at [`WSIntoUpgrade`]. A panic in it answers 500.
///
/// Each address that `addr` yields is listened on: of a list, all of them, and of a name, all that
/// it resolves to, so that `localhost` is both `127.0.0.1` and `::1`. If one of them cannot be
/// bound, none is. IPv6 addresses are skipped on a system without IPv6, unless there are no others.
/// The lookup of a name blocks.
///
/// Port 0 is any free port, the same one for all addresses with port 0;
/// [`WSServer::local_addr`] and [`WSServer::local_addrs`] return it. (With asyncio, each address
/// has a port of its own.)
///
/// The server accepts until [`WSServer::close`], or until the loop is dropped; dropping the returned handle changes nothing.
///
/// # Errors
/// [`WSServeError::Io`], which names the address, if one cannot be bound;
/// [`WSServeError::Config`] if settings contradict each other, or certificate and key cannot be
/// used; [`WSServeError::Gone`] if the loop is gone.
pub fn ws_create_server<F, R>(
    handle: &WSLoopHandle,
    factory: F,
    addr: impl ToSocketAddrs,
    config: WSServerConfig,
) -> Result<WSServer, WSServeError>
where
    F: FnMut(&WSUpgradeRequest) -> R + 'static,
    R: WSIntoUpgrade,
{
    let sockets = Listening::bind(addr, config.listen)?;
    WSServer::start(handle, factory, config)?.listen(sockets)
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
/// [`WSServeError::Io`] if the socket cannot be used; otherwise as [`ws_create_server`].
pub fn ws_create_server_on<F, R>(
    handle: &WSLoopHandle,
    factory: F,
    socket: impl Into<WSListeningSocket>,
    config: WSServerConfig,
) -> Result<WSServer, WSServeError>
where
    F: FnMut(&WSUpgradeRequest) -> R + 'static,
    R: WSIntoUpgrade,
{
    let socket = socket.into().into_listening().map_err(ListenError::from)?;
    WSServer::start(handle, factory, config)?.listen(vec![socket])
}

/// A server that does not listen: its connections are handed to [`WSServer::adopt`] or [`WSServerRemote::adopt`](crate::WSServerRemote::adopt).
///
/// # Errors
/// [`WSServeError::Gone`] if the loop is gone, [`WSServeError::Config`] as [`ws_create_server`].
pub fn ws_create_server_without_socket<F, R>(
    handle: &WSLoopHandle,
    factory: F,
    config: WSServerConfig,
) -> Result<WSServer, WSServeError>
where
    F: FnMut(&WSUpgradeRequest) -> R + 'static,
    R: WSIntoUpgrade,
{
    WSServer::start(handle, factory, config)
}
