//! What the configurations say of TLS.

use crate::{WSConnectConfig, WSLoopConfig, WSServerConfig};

use super::{WSClientTls, WSServerTls};

impl WSServerConfig {
    /// Speaks TLS, and nothing but TLS (RFC 6455 section 10.6). Default: plain TCP.
    ///
    /// The handshake is under the same deadline as the opening handshake inside:
    /// [`handshake_timeout`](Self::handshake_timeout). [`WSServer::set_tls`](crate::server::WSServer::set_tls) changes it later.
    #[must_use]
    pub fn tls(mut self, tls: WSServerTls) -> Self {
        self.tls = Some(tls);
        self
    }
}

impl WSConnectConfig {
    /// How `wss` URLs are connected to (RFC 6455 section 3); without effect on `ws` URLs. Default: Mozilla's root certificates are
    /// trusted, no certificate is presented.
    #[must_use]
    pub fn tls(mut self, tls: WSClientTls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// How an `https` [`proxy`](Self::proxy) is connected to, whatever the URL. Default: as [`tls`](Self::tls) says, but that no certificate
    /// is presented: that is the server's business.
    #[must_use]
    pub fn proxy_tls(mut self, tls: WSClientTls) -> Self {
        self.proxy_tls = Some(tls);
        self
    }
}

impl WSLoopConfig {
    /// Most TLS handshakes that servers of this loop answer in one turn; at least 1. Each costs this thread a signature, some tens
    /// to hundreds of microseconds, in which open connections wait; further ones wait for the next turn instead. Default 4.
    #[must_use]
    pub fn tls_handshakes_per_turn(mut self, handshakes: usize) -> Self {
        self.tls_handshakes_per_turn = handshakes.max(1);
        self
    }
}
