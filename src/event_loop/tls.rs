//! Where TLS begins: on an accepted stream, and on a connected one.

use std::io;
use std::rc::Rc;

use rustls::pki_types::ServerName;

use crate::WSError;
use crate::net::{Io, Stream, TlsStream};
use crate::tls::{Session, TlsPeer, WSClientTls, WSServerTls, WSTlsConfigError, WSTlsError, WSTlsInfo};

use super::accept::Acceptor;
use super::client_opening::{ClientOpening, Opening, Phase};
use super::connection::Conn;

impl Acceptor {
    /// What is accepted from now on is secured so. Open connections stay as they are.
    ///
    /// # Errors
    /// If it cannot be used; then nothing has changed.
    pub(crate) fn set_tls(&self, tls: &WSServerTls) -> Result<(), WSTlsConfigError> {
        let config = tls.build()?;
        self.tls.replace(Some(config));
        Ok(())
    }

    /// Does what the server's configuration says of TLS.
    pub(crate) fn use_configured_tls(&self) -> Result<(), WSTlsConfigError> {
        self.config.tls.as_ref().map_or(Ok(()), |tls| self.set_tls(tls))
    }

    pub(crate) fn is_secure(&self) -> bool {
        self.tls.borrow().is_some()
    }

    /// TLS over an accepted stream, if that is what this server speaks; `None` if that failed, which was logged.
    pub(super) fn secure(&self, stream: Stream) -> Option<Stream> {
        let Some(config) = self.tls.borrow().clone() else { return Some(stream) };
        match Session::server(&config) {
            Ok(session) => {
                let tls = TlsStream::new(stream, session, TlsPeer::Endpoint, &self.core.tls);
                Some(Stream::layer(tls))
            }
            Err(error) => {
                error_limited!("no TLS session: {error}");
                None
            }
        }
    }
}

impl ClientOpening {
    /// Speaks TLS with the server of this name or address. What follows goes through it.
    pub(crate) async fn secure(self, host: &str, tls: &WSClientTls) -> Result<Self, WSError> {
        self.secure_with(TlsPeer::Endpoint, host, tls).await
    }

    /// [`secure`](Self::secure) with the proxy of this name or address.
    pub(crate) async fn secure_proxy(self, host: &str, tls: &WSClientTls) -> Result<Self, WSError> {
        self.secure_with(TlsPeer::Proxy, host, tls).await
    }

    async fn secure_with(self, whose: TlsPeer, host: &str, tls: &WSClientTls) -> Result<Self, WSError> {
        let setup = tls.build()?;
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| WSError::InvalidArgument("the host is not a name that a certificate can have"))?;
        let session = Session::client(&setup, name).map_err(|error| WSTlsError::new(error, whose))?;
        self.wrap_stream(|stream, core| {
            let mut tls = TlsStream::new(stream, session, whose, &core.tls);
            let begun = match tls.begin() {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
                _ => Ok(()),
            };
            (Stream::layer(tls), begun)
        })
        .map_err(|error| WSError::io("cannot begin TLS", error))?;
        self.inner.phase.replace(Phase::Securing);
        self.inner.begin_exchange();
        std::future::poll_fn(|cx| self.inner.poll_connected(cx)).await?;
        Ok(self)
    }
}

impl Opening {
    /// Something was received: it may have been the last of the TLS handshake.
    pub(super) fn check_secured(&self) {
        let done = self.io.borrow().as_ref().and_then(Io::tls).is_some_and(|tls| !tls.is_handshaking());
        if done && matches!(*self.phase.borrow(), Phase::Securing) {
            self.phase.replace(Phase::Connected);
            self.wake();
        }
    }
}

impl Conn {
    pub(crate) fn tls_info(self: &Rc<Self>) -> Option<WSTlsInfo> {
        self.io.borrow().as_ref()?.tls()?.info()
    }
}
