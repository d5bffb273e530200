use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

#[cfg(feature = "tls")]
use crate::connection::WSConfigError;
use crate::connection::{Conn, Opening, WSListener, WSTransport, WSUpgraded};
use crate::net::{Listening, WSSocket};
use crate::proto::WSCloseCode;
use crate::runtime::WSLoopHandle;
use crate::server::WSServerConfig;
#[cfg(feature = "tls")]
use crate::tls::{WSServerTls, WSTlsConfigError};

use super::accept::{Acceptor, Factory};
use super::{WSIntoUpgrade, WSServeError, WSServerRemote, WSUpgradeRequest};

/// A listening server. Clones are handles to the same server.
#[derive(Clone)]
pub struct WSServer {
    handle: WSLoopHandle,
    acceptor: Rc<Acceptor>,
}

impl WSServer {
    pub(super) fn start<F, R>(
        handle: &WSLoopHandle,
        factory: F,
        config: WSServerConfig,
    ) -> Result<Self, WSServeError>
    where
        F: FnMut(&WSUpgradeRequest) -> R + 'static,
        R: WSIntoUpgrade,
    {
        if handle.core().is_closed() {
            return Err(WSServeError::Gone);
        }
        config.connection.check()?;
        let acceptor = Acceptor::start(handle.core(), config, boxed(factory));
        #[cfg(feature = "tls")]
        if let Err(error) = acceptor.use_configured_tls() {
            acceptor.close();
            return Err(WSConfigError::from(error).into());
        }
        Ok(Self { handle: handle.clone(), acceptor })
    }

    /// A server whose streams come from a test kit; it takes no slot.
    #[cfg(any(test, feature = "testkit"))]
    pub(crate) fn simulated<F, R>(handle: &WSLoopHandle, factory: F, config: WSServerConfig) -> Self
    where
        F: FnMut(&WSUpgradeRequest) -> R + 'static,
        R: WSIntoUpgrade,
    {
        let acceptor = Acceptor::without_slot(handle.core(), config, boxed(factory));
        #[cfg(feature = "tls")]
        acceptor.use_configured_tls().expect("certificate and key can be used");
        Self { handle: handle.clone(), acceptor }
    }

    pub(super) fn listen(self, sockets: Vec<Listening>) -> Result<Self, WSServeError> {
        if let Err(error) = self.acceptor.listen(sockets) {
            self.acceptor.close();
            return Err(error);
        }
        Ok(self)
    }

    /// Returns the first address that it listens on; `0.0.0.0:0` if it does not listen on TCP.
    pub fn local_addr(&self) -> SocketAddr {
        let first = self.local_addrs().into_iter().next();
        first.unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)))
    }

    /// Returns all addresses that it listens on, in the order in which they were given; none if it
    /// does not listen on TCP.
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        self.acceptor.local_addrs()
    }

    /// Serves a socket that the application accepted itself, or got from elsewhere, as if it had come in through this server: limits,
    /// deadlines and the factory apply.
    ///
    /// # Errors
    /// [`WSServeError::Io`] if the socket cannot be used, [`WSServeError::Gone`] if the server accepts
    /// no more.
    pub fn adopt(&self, socket: impl Into<WSSocket>) -> Result<(), WSServeError> {
        if !self.is_listening() {
            return Err(WSServeError::Gone);
        }
        self.acceptor
            .adopt(socket.into(), None)
            .map_err(|error| WSServeError::io("cannot adopt the socket", error))
    }

    /// Takes over a connection whose opening handshake other code has done, as the server. Limits of
    /// connections, deadlines and [`shutdown`](Self::shutdown) apply; the factory is not called.
    ///
    /// `on_ws_connected` is called when the current callback has returned. What was sent through the
    /// transport before stays in order.
    ///
    /// # Errors
    /// [`WSServeError::Full`] if the server has no room, [`WSServeError::Io`] if the socket cannot be used,
    /// [`WSServeError::Gone`] if the server accepts no more. The socket is closed then.
    pub fn take_over<L: WSListener + 'static>(
        &self,
        upgraded: WSUpgraded,
        listener: L,
    ) -> Result<WSTransport, WSServeError> {
        if !self.is_listening() {
            return Err(WSServeError::Gone);
        }
        let admission = self.acceptor.admission();
        let Some(seat) = admission.let_in(|| upgraded.socket().peer_ip()) else {
            admission.refuse();
            return Err(WSServeError::Full);
        };
        self.acceptor
            .take_over(upgraded, Box::new(listener), seat)
            .map_err(|error| WSServeError::io("cannot take over the connection", error))
    }

    /// The twin for other threads; `None` once the server accepts no more.
    pub fn remote(&self) -> Option<WSServerRemote> {
        self.acceptor.remote()
    }

    pub(crate) fn acceptor(&self) -> &Rc<Acceptor> {
        &self.acceptor
    }

    /// Number of open connections, without those whose opening or closing is not done.
    pub fn connections(&self) -> usize {
        self.acceptor.settings.connections()
    }

    /// The open connections.
    pub fn transports(&self) -> Vec<WSTransport> {
        let (core, settings) = (self.handle.core(), &self.acceptor.settings);
        let open = core.sources(|conn: &Conn| conn.has_settings(settings));
        // Their slots are not the connections' own before `on_ws_connected`.
        let is_own = |opening: &Opening| opening.conn().is_some_and(|conn| conn.has_settings(settings));
        let taken_over = core.sources(is_own).into_iter().filter_map(|opening| opening.conn());
        open.into_iter().chain(taken_over).map(WSTransport::new).collect()
    }

    /// How many connections were closed unread because of [`max_connections`](WSServerConfig::max_connections) or
    /// [`max_connections_per_ip`](WSServerConfig::max_connections_per_ip).
    pub fn refused(&self) -> u64 {
        self.acceptor.admission().refused()
    }

    /// Whether it accepts connections.
    pub fn is_listening(&self) -> bool {
        self.acceptor.is_open()
    }

    /// Whether connections that are accepted now have to speak TLS.
    #[cfg(feature = "tls")]
    pub fn is_secure(&self) -> bool {
        self.acceptor.is_secure()
    }

    /// Changes certificate, key and all else that is said of TLS, for connections that are accepted from now on: a certificate is
    /// renewed without a restart. Open connections live on.
    ///
    /// # Errors
    /// If it cannot be used, such as a key that does not belong to the certificate; then nothing has
    /// changed.
    #[cfg(feature = "tls")]
    pub fn set_tls(&self, tls: &WSServerTls) -> Result<(), WSTlsConfigError> {
        self.acceptor.set_tls(tls)
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
                transport.conn().send_close(code, &reason);
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
                transport.abort();
            }
            left.len()
        }
    }
}

fn boxed<F, R>(mut factory: F) -> Factory
where
    F: FnMut(&WSUpgradeRequest) -> R + 'static,
    R: WSIntoUpgrade,
{
    Box::new(move |request| factory(request).into_upgrade())
}

impl fmt::Debug for WSServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WSServer")
            .field("local_addr", &self.local_addr())
            .field("connections", &self.connections())
            .finish_non_exhaustive()
    }
}
