//! Plain TCP, or TLS over it, so that one test can be run over both.

use std::fmt;
use std::net::SocketAddr;

use femtows::{WSConnectConfig, WSServerConfig};

use crate::support::peer::{Peer, PeerServer};
#[cfg(feature = "tls")]
use crate::{authority, support::secure};

/// How the bytes of a test get to the other end.
#[derive(Clone)]
pub(crate) struct Way {
    #[cfg(feature = "tls")]
    tls: Option<std::sync::Arc<Ends>>,
}

/// What the library's ends, and the peers, need for TLS.
#[cfg(feature = "tls")]
struct Ends {
    server: femtows::WSServerTls,
    client: femtows::WSClientTls,
    peer_server: std::sync::Arc<rustls::ServerConfig>,
    peer_client: std::sync::Arc<rustls::ClientConfig>,
}

#[cfg_attr(not(feature = "tls"), allow(clippy::unused_self, reason = "without TLS there is one way only"))]
impl Way {
    pub(crate) fn plain() -> Self {
        Self {
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    /// Certificates are made for this way and known to nobody else.
    #[cfg(feature = "tls")]
    pub(crate) fn tls() -> Self {
        let authority = authority::Authority::new();
        let identity = authority.issue(&["localhost"]);
        let ends = Ends {
            server: identity.server(),
            client: authority.client(),
            peer_server: secure::server_config(&identity.chain, &identity.key),
            peer_client: secure::client_config(&authority.pem),
        };
        Self { tls: Some(std::sync::Arc::new(ends)) }
    }

    /// Every way that this build has.
    pub(crate) fn all() -> Vec<Self> {
        vec![
            Self::plain(),
            #[cfg(feature = "tls")]
            Self::tls(),
        ]
    }

    pub(crate) fn is_secure(&self) -> bool {
        #[cfg(feature = "tls")]
        return self.tls.is_some();
        #[cfg(not(feature = "tls"))]
        false
    }

    /// The library's server.
    pub(crate) fn server(&self, config: WSServerConfig) -> WSServerConfig {
        #[cfg(feature = "tls")]
        if let Some(ends) = &self.tls {
            return config.tls(ends.server.clone());
        }
        config
    }

    /// The library's client.
    pub(crate) fn client(&self, config: WSConnectConfig) -> WSConnectConfig {
        #[cfg(feature = "tls")]
        if let Some(ends) = &self.tls {
            return config.tls(ends.client.clone());
        }
        config
    }

    pub(crate) fn url(&self, addr: SocketAddr) -> String {
        let (scheme, host) = if self.is_secure() { ("wss", "localhost") } else { ("ws", "127.0.0.1") };
        format!("{scheme}://{host}:{}/", addr.port())
    }

    /// A peer that is a client, before its request.
    pub(crate) fn dial(&self, addr: SocketAddr) -> Peer {
        let peer = Peer::connect_tcp(addr);
        #[cfg(feature = "tls")]
        if let Some(ends) = &self.tls {
            return peer.secured(secure::Session::client(&ends.peer_client));
        }
        peer
    }

    /// A peer that is a client, and open.
    pub(crate) fn connect(&self, addr: SocketAddr) -> Peer {
        self.dial(addr).upgraded()
    }

    /// A peer that is a server, before it has read the request.
    pub(crate) fn accept(&self, server: &PeerServer) -> Peer {
        let peer = server.accept_tcp();
        #[cfg(feature = "tls")]
        if let Some(ends) = &self.tls {
            return peer.secured(secure::Session::server(&ends.peer_server));
        }
        peer
    }

    /// The first message of a TLS client.
    pub(crate) fn client_hello(&self) -> Vec<u8> {
        #[cfg(feature = "tls")]
        if let Some(ends) = &self.tls {
            return secure::Session::client(&ends.peer_client).sealed();
        }
        panic!("{self:?} nobody says hello")
    }

    /// What a TLS server answers to this first message of a client.
    pub(crate) fn server_flight(&self, client_hello: &[u8]) -> Vec<u8> {
        #[cfg(feature = "tls")]
        if let Some(ends) = &self.tls {
            let mut session = secure::Session::server(&ends.peer_server);
            session.receive(&mut &*client_hello).unwrap();
            return session.sealed();
        }
        panic!("{self:?} nobody answers {client_hello:?}")
    }
}

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_secure() { "over TLS" } else { "over TCP" })
    }
}
