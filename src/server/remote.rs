use std::fmt;

use crate::net::WSSocket;
use crate::runtime::WSRemoteError;

use super::accept::AcceptorRemote;

/// What other threads can ask of a server. `Send` and `Sync`; clones are handles to the same server.
///
/// Once the server accepts no more, nothing that is asked for here happens any more.
#[derive(Clone)]
pub struct WSServerRemote(pub(super) AcceptorRemote);

impl WSServerRemote {
    /// Adopts a socket as [`WSServer::adopt`](super::WSServer::adopt) does. It counts from this
    /// call on; if the server has no room for it, it is closed at once. A socket that cannot be
    /// used is closed, which is logged. A full inbox of the loop refuses no socket.
    ///
    /// # Errors
    /// [`WSRemoteError::LoopClosed`]; then the socket is closed.
    pub fn adopt(&self, socket: impl Into<WSSocket>) -> Result<(), WSRemoteError> {
        self.0.adopt(socket.into())
    }

    /// Replaces certificate and key as [`WSServer::set_tls`](super::WSServer::set_tls) does. A full
    /// inbox of the loop does not refuse it; of several that the loop has not taken up yet, the
    /// newest counts.
    ///
    /// # Errors
    /// [`WSError::TlsConfig`](crate::WSError::TlsConfig) if it cannot be used; then nothing has changed. [`WSError::Disconnected`](crate::WSError::Disconnected) if the loop is gone.
    #[cfg(feature = "tls")]
    pub fn set_tls(&self, tls: &crate::tls::WSServerTls) -> Result<(), crate::runtime::WSError> {
        tls.build()?;
        self.0.set_tls(tls.clone()).map_err(|_| crate::runtime::WSError::Disconnected)
    }

    /// Stops accepting as [`WSServer::close`](super::WSServer::close) does. A full inbox of the
    /// loop does not refuse it.
    ///
    /// # Errors
    /// [`WSRemoteError::LoopClosed`].
    pub fn close(&self) -> Result<(), WSRemoteError> {
        self.0.close()
    }
}

impl fmt::Debug for WSServerRemote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WSServerRemote").finish_non_exhaustive()
    }
}
