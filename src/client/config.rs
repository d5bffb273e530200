//! Configuration of a client.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;

use crate::connection::{ConnectionConfig, WSLimits, WSTuning, connection_setters, liveness_setters};
use crate::handshake::{WSHeaders, WSInvalidHeader, WSProxy, WSUrl};
use crate::net::WSResolver;
#[cfg(feature = "tls")]
use crate::tls::{TlsPeer, WSClientTls};

/// Configuration of [`ws_connect`](crate::ws_connect).
#[derive(Clone)]
pub struct WSConnectConfig {
    pub(crate) connection: ConnectionConfig,
    pub(crate) extra_headers: WSHeaders,
    /// The first header that was not added because it is invalid.
    pub(super) invalid_header: Option<WSInvalidHeader>,
    pub(crate) subprotocols: Vec<String>,
    pub(super) max_redirects: u32,
    pub(super) redirect_headers: Vec<String>,
    pub(crate) proxy: Option<WSProxy>,
    pub(crate) sockets: SocketHooks,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<WSClientTls>,
    #[cfg(feature = "tls")]
    pub(crate) proxy_tls: Option<WSClientTls>,
}

/// The application's part in the making of sockets.
#[derive(Clone, Default)]
pub(crate) struct SocketHooks {
    pub(crate) resolver: Option<Arc<dyn WSResolver>>,
    pub(crate) factory: Option<SocketFactory>,
    pub(crate) configure: Option<ConfigureSocket>,
}

pub(crate) type SocketFactory = Arc<dyn Fn(&WSUrl) -> io::Result<Option<TcpStream>> + Send + Sync>;
pub(crate) type ConfigureSocket = Arc<dyn Fn(SockRef<'_>, SocketAddr) -> io::Result<()> + Send + Sync>;

impl Default for WSConnectConfig {
    fn default() -> Self {
        Self {
            connection: ConnectionConfig::default(),
            extra_headers: WSHeaders::default(),
            invalid_header: None,
            subprotocols: Vec::new(),
            max_redirects: 5,
            redirect_headers: Vec::new(),
            proxy: None,
            sockets: SocketHooks::default(),
            #[cfg(feature = "tls")]
            tls: None,
            #[cfg(feature = "tls")]
            proxy_tls: None,
        }
    }
}

impl WSConnectConfig {
    connection_setters!();
    liveness_setters!();

    /// Sets the headers that are added to the request, in place of those set before. `Host` among
    /// them replaces the generated one. Default none.
    ///
    /// A redirection within the origin keeps all of them. To another origin follow only
    /// `User-Agent`, `Origin`, `Accept` and `Accept-*`, and those that
    /// [`redirect_headers`](Self::redirect_headers) names.
    #[must_use]
    pub fn extra_headers(mut self, headers: WSHeaders) -> Self {
        self.extra_headers = headers;
        self.invalid_header = None;
        self
    }

    /// Adds a header to the [`extra_headers`](Self::extra_headers).
    ///
    /// An invalid name or value is the error of the connect,
    /// [`WSConfigError::Header`](crate::WSConfigError::Header), before anything is sent.
    /// [`WSHeaders::append`] describes them.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let added = self.extra_headers.append(name, value);
        self.note(added)
    }

    /// Sends `Authorization: Bearer` with this token (RFC 6750 section 2.1), in place of another
    /// `Authorization` among the [`extra_headers`](Self::extra_headers).
    ///
    /// A token with a character that is not allowed there is the error of the connect, as for
    /// [`header`](Self::header). `Debug` of the configuration shows no values of headers.
    ///
    /// ```
    /// use femtows::WSConnectConfig;
    ///
    /// let config = WSConnectConfig::default().bearer("mF_9.B5f-4.1JqM").header("X-Client", "7");
    /// assert!(!format!("{config:?}").contains("mF_9"));
    /// ```
    #[must_use]
    pub fn bearer(mut self, token: &str) -> Self {
        const NAME: &str = "Authorization";
        let added = if is_token68(token) {
            self.extra_headers.insert(NAME, format!("Bearer {token}"))
        } else {
            let reason = "the bearer token is empty or has a character that RFC 6750 does not allow";
            Err(WSInvalidHeader { name: NAME.to_owned(), reason })
        };
        self.note(added)
    }

    /// Subprotocols to offer, the preferred one first (RFC 6455 section 1.9). Default none.
    ///
    /// They do not follow a redirection to another origin unless
    /// [`redirect_headers`](Self::redirect_headers) names `Sec-WebSocket-Protocol`.
    #[must_use]
    pub fn subprotocols<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.subprotocols = names.into_iter().map(Into::into).collect();
        self
    }

    /// How many redirections (301, 302, 303, 307, 308) are followed before one is an error. Default 5; 0 follows none.
    #[must_use]
    pub fn max_redirects(mut self, redirects: u32) -> Self {
        self.max_redirects = redirects;
        self
    }

    /// Sets the headers of the caller that follow a redirection to another origin, too. Default
    /// none.
    ///
    /// `Sec-WebSocket-Protocol` stands for the [`subprotocols`](Self::subprotocols). Two URLs have
    /// the same origin if scheme, host and port are the same (RFC 6454 section 4), where `http`
    /// counts as `ws` and `https` as `wss`; so `wss://h/` is another origin than `ws://h/`. User
    /// name and password of the URL and a client certificate never follow to another origin.
    /// The server that redirects, or an attacker in the network of a `ws` URL, chooses the server
    /// that receives the headers named here.
    ///
    /// ```
    /// use femtows::WSConnectConfig;
    ///
    /// let names = ["X-Api-Key", "Sec-WebSocket-Protocol"];
    /// let config = WSConnectConfig::default().redirect_headers(names);
    /// # let _ = config;
    /// ```
    #[must_use]
    pub fn redirect_headers<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.redirect_headers = names.into_iter().map(Into::into).collect();
        self
    }

    /// The proxy to go through. Default `None`: straight to the server. The environment (`http_proxy` and the like) is not looked at.
    #[must_use]
    pub fn proxy(mut self, proxy: impl Into<Option<WSProxy>>) -> Self {
        self.proxy = proxy.into();
        self
    }

    /// Looks names up in place of the system's resolver: those of servers, and of the
    /// [`proxy`](Self::proxy). [`WSResolver`] has an example and the contract. Default none.
    #[must_use]
    pub fn resolver(mut self, resolver: impl WSResolver + 'static) -> Self {
        self.sockets.resolver = Some(Arc::new(resolver));
        self
    }

    /// Makes connected sockets in place of the look-up and the connect. Default none.
    ///
    /// Called on the loop, which it must not block, once per URL: the one asked for, then each that a redirection leads to. `Ok(None)`
    /// goes the usual way. With a [`proxy`](Self::proxy) the socket is taken to be connected to that. An error is a
    /// [`WSConnectError::Io`](crate::WSConnectError::Io).
    #[must_use]
    pub fn socket_factory(
        mut self,
        factory: impl Fn(&WSUrl) -> io::Result<Option<TcpStream>> + Send + Sync + 'static,
    ) -> Self {
        self.sockets.factory = Some(Arc::new(factory));
        self
    }

    /// Sees each socket before it is connected to the address: to set options, or to bind a local address or a device. Default none.
    ///
    /// Called on the loop, which it must not block. An error gives this address up, and the next one is tried.
    #[must_use]
    pub fn configure_socket(
        mut self,
        configure: impl Fn(SockRef<'_>, SocketAddr) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        self.sockets.configure = Some(Arc::new(configure));
        self
    }

    /// How `wss` URLs are connected to (RFC 6455 section 3); without effect on `ws` URLs. Default: Mozilla's root certificates are
    /// trusted, no certificate is presented.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(mut self, tls: WSClientTls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// How an `https` [`proxy`](Self::proxy) is connected to, whatever the URL. Default: as [`tls`](Self::tls) says, but that no certificate
    /// is presented: that is the server's business.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn proxy_tls(mut self, tls: WSClientTls) -> Self {
        self.proxy_tls = Some(tls);
        self
    }

    /// Keeps the first error, for the connect.
    fn note(mut self, added: Result<(), WSInvalidHeader>) -> Self {
        self.invalid_header = self.invalid_header.or(added.err());
        self
    }

    /// Returns how TLS is spoken with the server, or with the proxy.
    #[cfg(feature = "tls")]
    pub(super) fn tls_with(&self, peer: TlsPeer) -> WSClientTls {
        let with_server = || self.tls.clone().unwrap_or_else(WSClientTls::shared_default);
        match peer {
            TlsPeer::Endpoint => with_server(),
            TlsPeer::Proxy => self.proxy_tls.clone().unwrap_or_else(|| with_server().without_identity()),
        }
    }
}

/// Returns `true` for a `token68` (RFC 9110 section 11.2), which RFC 6750 calls `b64token`.
fn is_token68(token: &str) -> bool {
    let text = token.trim_end_matches('=');
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
    !text.is_empty() && text.bytes().all(is_allowed)
}

impl fmt::Debug for WSConnectConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Any header may be a credential.
        let names: Vec<&str> = self.extra_headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("WSConnectConfig")
            .field("connection", &self.connection)
            .field("extra_headers", &names)
            .field("subprotocols", &self.subprotocols)
            .field("max_redirects", &self.max_redirects)
            .field("redirect_headers", &self.redirect_headers)
            .field("proxy", &self.proxy)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6750 section 2.1.
    #[test]
    fn bearer_tokens_are_token68() {
        for token in ["a", "mF_9.B5f-4.1JqM", "a+/~==", "0"] {
            assert!(is_token68(token), "{token}");
        }
        for token in ["", "=", "a b", "a=b", "a\r\nX: y", "a\u{e4}", "a,b", "\"a\""] {
            assert!(!is_token68(token), "{token:?}");
        }
    }

    #[test]
    fn first_invalid_header_is_kept_and_extra_headers_replace_it() {
        let config = WSConnectConfig::default().header("a b", "c").bearer("").header("X", "y");
        assert_eq!(config.invalid_header.as_ref().expect("two were").name, "a b");
        assert_eq!(config.extra_headers.get("x"), Some("y"));
        let config = config.extra_headers(WSHeaders::new());
        assert!(config.invalid_header.is_none() && config.extra_headers.is_empty());
    }

    #[test]
    fn bearer_replaces_other_credentials() {
        let config = WSConnectConfig::default().header("authorization", "Basic x").bearer("a").bearer("b");
        assert_eq!(config.extra_headers.get_all("Authorization").collect::<Vec<_>>(), ["Bearer b"]);
    }

    #[test]
    fn debug_shows_no_values_of_headers() {
        let shown = format!("{:?}", WSConnectConfig::default().bearer("secret").header("X-Key", "secret"));
        assert!(!shown.contains("secret"), "{shown}");
        assert!(shown.contains("X-Key"), "{shown}");
    }
}
