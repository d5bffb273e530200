use std::fmt;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use crate::connection::{WSListener, WSUpgraded};
use crate::net::WSSocket;
use crate::runtime::{Bound, Once, Token, WSLoopHandle, WSLoopRemote, WSRemoteError};
#[cfg(feature = "tls")]
use crate::{connection::WSConfigError, tls::WSServerTls};

#[cfg(feature = "tls")]
use super::WSServeError;
use super::accept::Acceptor;
use super::admission::{Admission, Seat};

const STOP_ACCEPTING: Once = Once::first(0);
#[cfg(feature = "tls")]
const SET_TLS: Once = Once::newest(1);

/// What other threads can ask of a server. `Send` and `Sync`; clones are handles to the same server.
///
/// Once the server accepts no more, nothing that is asked for here happens any more.
#[derive(Clone)]
pub struct WSServerRemote {
    token: Token,
    on_loop: WSLoopRemote,
    admission: Arc<Admission>,
}

impl WSServerRemote {
    pub(super) fn new(token: Token, on_loop: WSLoopRemote, admission: Arc<Admission>) -> Self {
        Self { token, on_loop, admission }
    }

    /// Adopts a socket as [`WSServer::adopt`](super::WSServer::adopt) does. It counts from this
    /// call on; if the server has no room for it, it is closed at once. A socket that cannot be
    /// used is closed, which is logged. A full inbox of the loop refuses no socket.
    ///
    /// # Errors
    /// [`WSRemoteError::LoopClosed`]; then the socket is closed.
    pub fn adopt(&self, socket: impl Into<WSSocket>) -> Result<(), WSRemoteError> {
        let socket = socket.into();
        // Looks for room at once, so that sockets do not pile up in front of a busy loop.
        let Some(seat) = self.let_in(|| socket.peer_ip()) else {
            self.admission.refuse();
            return Ok(());
        };
        self.hand_over(socket, seat)
    }

    /// Takes over a connection whose opening handshake other code has done, as
    /// [`WSServer::take_over`](super::WSServer::take_over) does. `make_listener` is called on the
    /// thread of the server, so the listener need not be `Send`. The connection counts from this
    /// call on; if the server has no room for it, it is closed at once. A full inbox of the loop
    /// refuses none.
    ///
    /// # Errors
    /// [`WSRemoteError::LoopClosed`]; then the socket is closed.
    pub fn take_over<L: WSListener + 'static>(
        &self,
        upgraded: WSUpgraded,
        make_listener: impl FnOnce(&WSLoopHandle) -> L + Send + 'static,
    ) -> Result<(), WSRemoteError> {
        let Some(seat) = self.let_in(|| upgraded.socket().peer_ip()) else {
            self.admission.refuse();
            return Ok(());
        };
        let take_over = self.call(move |acceptor| {
            let listener = Box::new(make_listener(&WSLoopHandle::new(Rc::clone(&acceptor.core))));
            if let Err(error) = acceptor.take_over(upgraded, listener, seat) {
                warn_limited!("{acceptor}: a connection cannot be taken over: {error}");
            }
        });
        self.on_loop.post_within(Bound::Elsewhere, take_over)
    }

    /// Replaces certificate and key as [`WSServer::set_tls`](super::WSServer::set_tls) does. A full
    /// inbox of the loop does not refuse it; of several that the loop has not taken up yet, the
    /// newest counts.
    ///
    /// # Errors
    /// [`WSServeError::Config`] if it cannot be used; then nothing has changed.
    /// [`WSServeError::Gone`] if the loop is gone.
    #[cfg(feature = "tls")]
    pub fn set_tls(&self, tls: &WSServerTls) -> Result<(), WSServeError> {
        // Clones share what is built here.
        tls.build().map_err(WSConfigError::from)?;
        let tls = tls.clone();
        let set = self.call(move |acceptor| {
            if let Err(error) = acceptor.set_tls(&tls) {
                log::error!("{acceptor}: TLS cannot be changed: {error}");
            }
        });
        let bound = Bound::Once(self.token, SET_TLS);
        self.on_loop.post_within(bound, set).map_err(|_| WSServeError::Gone)
    }

    /// Stops accepting as [`WSServer::close`](super::WSServer::close) does. A full inbox of the
    /// loop does not refuse it.
    ///
    /// # Errors
    /// [`WSRemoteError::LoopClosed`].
    pub fn close(&self) -> Result<(), WSRemoteError> {
        let bound = Bound::Once(self.token, STOP_ACCEPTING);
        self.on_loop.post_within(bound, self.call(|acceptor| acceptor.close()))
    }

    pub(super) fn on_loop(&self) -> &WSLoopRemote {
        &self.on_loop
    }

    /// Returns `true` if this is the server in that slot of that loop.
    pub(super) fn is_at(&self, token: Token, on_loop: &WSLoopRemote) -> bool {
        self.token == token && self.on_loop.is_same(on_loop)
    }

    /// See [`Admission::let_in`].
    pub(super) fn let_in(&self, peer: impl FnOnce() -> Option<IpAddr>) -> Option<Seat> {
        self.admission.let_in(peer)
    }

    /// Adopts a socket for which there is room. Closes it if the server stops accepting meanwhile.
    pub(super) fn hand_over(&self, socket: WSSocket, seat: Seat) -> Result<(), WSRemoteError> {
        let adopt = self.call(move |acceptor| {
            if let Err(error) = acceptor.adopt(socket, Some(seat)) {
                warn_limited!("{acceptor}: a socket cannot be adopted: {error}");
            }
        });
        // Each socket holds a descriptor, so the system bounds how many there are.
        self.on_loop.post_within(Bound::Elsewhere, adopt)
    }

    /// Makes a call on the thread of the server, without effect if it has stopped accepting.
    fn call(
        &self,
        call: impl FnOnce(&Rc<Acceptor>) + Send + 'static,
    ) -> impl FnOnce(&WSLoopHandle) + Send + 'static {
        let token = self.token;
        move |handle| {
            if let Some(acceptor) = handle.core().source(token) {
                call(&acceptor);
            }
        }
    }
}

impl fmt::Debug for WSServerRemote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WSServerRemote").finish_non_exhaustive()
    }
}
