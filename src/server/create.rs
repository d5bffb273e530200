use std::future::Future;
use std::net::{SocketAddr, ToSocketAddrs};
use std::rc::Rc;
use std::time::Duration;

use crate::config::WSServerConfig;
use crate::event_loop::Acceptor;
use crate::handshake::WSUpgradeRequest;
use crate::{WSCloseCode, WSError, WSLoopHandle, WSTransport};

use super::WSIntoUpgrade;

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
/// [`WSError::Io`] if no address can be bound, [`WSError::Disconnected`] if the loop is gone.
pub fn ws_create_server<F, R>(
    handle: &WSLoopHandle,
    mut factory: F,
    addr: impl ToSocketAddrs,
    config: WSServerConfig,
) -> Result<WSServer, WSError>
where
    F: FnMut(&WSUpgradeRequest) -> R + 'static,
    R: WSIntoUpgrade,
{
    if handle.core().is_closed() {
        return Err(WSError::Disconnected);
    }
    let factory = Box::new(move |request: &WSUpgradeRequest| factory(request).into_upgrade());
    let acceptor = Acceptor::listen(handle.core(), addr, config, factory)
        .map_err(|error| WSError::io("cannot listen", error))?;
    Ok(WSServer { handle: handle.clone(), acceptor })
}

/// A listening server. Clones are handles to the same server.
#[derive(Clone)]
pub struct WSServer {
    handle: WSLoopHandle,
    acceptor: Rc<Acceptor>,
}

impl WSServer {
    /// The address that it listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.acceptor.local_addr()
    }

    /// Number of open connections, without those whose opening or closing is not done.
    pub fn connections(&self) -> usize {
        self.acceptor.settings().connections.get()
    }

    /// The open connections.
    pub fn transports(&self) -> Vec<WSTransport> {
        let conns = self.handle.core().conns(|conn| conn.has_settings(self.acceptor.settings()));
        conns.into_iter().map(WSTransport::new).collect()
    }

    /// Whether it accepts connections.
    pub fn is_listening(&self) -> bool {
        self.acceptor.is_listening()
    }

    /// Stops accepting. Open connections live on.
    pub fn close(&self) {
        self.acceptor.close();
    }

    /// Stops accepting, refuses with 503 what is not open yet, and closes every connection with this code and reason, evenly spread `over` a time, so that the clients
    /// do not all come back at once. Done when all are gone; those that are not by `deadline` are aborted. Both times count
    /// from the call, which begins at once, awaited or not.
    ///
    /// Returns how many had to be aborted.
    pub fn shutdown(
        &self,
        code: WSCloseCode,
        reason: &str,
        over: Duration,
        deadline: Duration,
    ) -> impl Future<Output = usize> + use<> {
        self.acceptor.drain();
        let transports = self.transports();
        let count = transports.len().max(1) as u32;
        let reason: Rc<str> = reason.into();
        for (transport, nth) in transports.into_iter().zip(0..) {
            let reason = Rc::clone(&reason);
            // Each task ends with its connection, or with the loop.
            let close = move || {
                transport.send_close(code, &reason);
            };
            self.handle.call_later(over / count * nth, close).detach();
        }
        let (server, until) = (self.clone(), self.handle.now().checked_add(deadline));
        async move {
            let gone = async {
                for transport in server.transports() {
                    let _ = transport.wait_disconnected().await;
                }
            };
            let in_time = if let Some(until) = until {
                server.handle.timeout_at(until, gone).await.is_ok()
            } else {
                gone.await;
                true
            };
            if in_time {
                return 0;
            }
            let left = server.transports();
            for transport in &left {
                transport.disconnect(false);
            }
            left.len()
        }
    }
}

impl std::fmt::Debug for WSServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WSServer")
            .field("local_addr", &self.local_addr())
            .field("connections", &self.connections())
            .finish_non_exhaustive()
    }
}
